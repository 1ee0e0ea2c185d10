/* Lines end with LF, CR or CRLF, and may be cut anywhere. A line that stands whole in the bytes at hand is read where it
 * stands; one cut by their end is collected in `line`. */
#include "client/client.h"

#define KEEP_BYTES 65536U
#define SEARCH_BYTES 512U

void client_sse_init(struct client_sse *s) {
    *s = (struct client_sse){0};
    buf_init(&s->line, FAL_MAX_REPLY_BYTES);
    buf_init(&s->data, FAL_MAX_REPLY_BYTES);
}

void client_sse_free(struct client_sse *s) {
    buf_free(&s->line);
    buf_free(&s->data);
}

/* Index of the first LF or CR, or the length. In windows, so that each byte is looked at once for either. */
static size_t find_line_end(struct slice bytes) {
    for (size_t at = 0; at < bytes.len; at += SEARCH_BYTES) {
        size_t n = bytes.len - at < SEARCH_BYTES ? bytes.len - at : SEARCH_BYTES;
        const char *lf = memchr(bytes.ptr + at, '\n', n);
        n = lf != NULL ? (size_t)(lf - bytes.ptr) - at : n;
        const char *cr = memchr(bytes.ptr + at, '\r', n);
        if (cr != NULL || lf != NULL) {
            return (size_t)((cr != NULL ? cr : lf) - bytes.ptr);
        }
    }
    return bytes.len;
}

/* Only data counts: a comment is a field without a name, and what fal's events are called says nothing. */
static bool read_field(struct client_sse *s, struct slice line) {
    struct slice value, name = slice_cut(line, ':', &value);
    if (!slice_eq(name, SLICE("data"))) {
        return true;
    }
    if (value.len > 0 && value.ptr[0] == ' ') {
        value = slice_from(value, 1);
    }
    if (s->has_data) {
        buf_addc(&s->data, '\n');
    }
    s->has_data = true;
    return buf_add(&s->data, value);
}

static bool read_line(struct client_sse *s, struct slice line,
                      bool (*event)(void *user, struct slice data), void *user) {
    if (!s->begun && slice_starts(line, SLICE("\xef\xbb\xbf"))) {
        line = slice_from(line, 3);
    }
    s->begun = true;
    if (line.len > 0) {
        return read_field(s, line);
    }
    bool more = !s->has_data || event(user, buf_slice(&s->data));
    s->has_data = false;
    buf_reset(&s->data, KEEP_BYTES);
    return more;
}

/* Takes one line and its end from the front, or all when it is not whole. False: no more is to be read. */
static bool take_line(struct client_sse *s, struct slice *bytes,
                      bool (*event)(void *user, struct slice data), void *user) {
    size_t end = find_line_end(*bytes);
    bool whole = end < bytes->len, collected = buf_len(&s->line) > 0;
    struct slice line = slice_make(bytes->ptr, end);
    s->after_cr = whole && bytes->ptr[end] == '\r';
    *bytes = slice_from(*bytes, end + 1);
    if (!whole || collected) {
        if (!buf_add(&s->line, line) || !whole) {
            return !s->line.failed;
        }
        line = buf_slice(&s->line);
    }
    bool more = read_line(s, line, event, user);
    if (collected) {
        buf_reset(&s->line, KEEP_BYTES);
    }
    return more;
}

bool client_sse_feed(struct client_sse *s, struct slice bytes,
                     bool (*event)(void *user, struct slice data), void *user) {
    bool more = !s->line.failed && !s->data.failed;
    while (more && bytes.len > 0) {
        if (s->after_cr && bytes.ptr[0] == '\n') { /* the second half of a CRLF */
            bytes = slice_from(bytes, 1);
            s->after_cr = false;
        } else {
            more = take_line(s, &bytes, event, user);
        }
    }
    return more;
}
