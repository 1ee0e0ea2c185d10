/* The reader goes line by line. A line that ends in the bytes at hand is read where it stands; one cut by their end is
 * collected in `line`. Data of an event whose first and only data line stands in the bytes at hand is given from
 * there (`here`); all other data is collected in `data`. */
#include "base/sse.h"

#define KEEP_BYTES 65536U
#define SEARCH_BYTES 512U

void sse_init(struct sse_reader *r, size_t max_line_bytes, size_t max_event_bytes) {
    *r = (struct sse_reader){.event_name = SLICE("")};
    buf_init(&r->line, max_line_bytes);
    buf_init(&r->data, max_event_bytes);
}

void sse_free(struct sse_reader *r) {
    buf_free(&r->line);
    buf_free(&r->data);
}

bool sse_pending(const struct sse_reader *r) {
    return buf_len(&r->line) > 0 || r->has_data || r->event_name.len > 0;
}

/* Index of the first LF or CR, or len. In windows: both are looked for in each byte once, whichever the peer uses. */
static size_t find_line_end(const char *p, size_t len) {
    for (size_t at = 0; at < len; at += SEARCH_BYTES) {
        size_t n = len - at < SEARCH_BYTES ? len - at : SEARCH_BYTES;
        const char *lf = memchr(p + at, '\n', n);
        if (lf != NULL) n = (size_t)(lf - p) - at;
        const char *cr = memchr(p + at, '\r', n);
        if (cr != NULL) return (size_t)(cr - p);
        if (lf != NULL) return (size_t)(lf - p);
    }
    return len;
}

struct step {
    struct sse_reader *r;
    struct slice here; /* the event's data so far, when it stands in the caller's bytes */
    bool is_copy;      /* the line being read stands in r->line */
    bool failed;
};

static void keep(struct step *s, struct slice data) {
    if (!buf_add(&s->r->data, data)) s->failed = true;
}

/* What lies in the caller's bytes must be copied before they go. */
static void keep_here(struct step *s) {
    if (s->here.ptr != NULL) keep(s, s->here);
    s->here = SLICE_NONE;
}

static void on_data(struct step *s, struct slice value) {
    struct sse_reader *r = s->r;
    if (!r->has_data) {
        r->has_data = true;
        buf_reset(&r->data, KEEP_BYTES);
        if (!s->is_copy)
            s->here = value;
        else
            keep(s, value);
        return;
    }
    keep_here(s);
    keep(s, SLICE("\n"));
    keep(s, value);
}

static void on_event_name(struct sse_reader *r, struct slice value) {
    size_t n = value.len < sizeof r->name ? value.len : sizeof r->name;
    memcpy(r->name, value.ptr, n);
    r->event_name = slice_make(r->name, n);
}

static enum sse_result on_field(struct step *s, struct slice line) {
    struct slice value, name = slice_cut(line, ':', &value);
    if (value.ptr == NULL)
        value = SLICE("");
    else if (name.len == 0)
        return SSE_COMMENT;
    if (value.len > 0 && value.ptr[0] == ' ') value = slice_from(value, 1);
    if (slice_eq(name, SLICE("data")))
        on_data(s, value);
    else if (slice_eq(name, SLICE("event")))
        on_event_name(s->r, value);
    return SSE_MORE;
}

static enum sse_result on_blank(struct step *s, struct sse_event *out) {
    struct sse_reader *r = s->r;
    bool given = r->has_data;
    if (given)
        *out = (struct sse_event){r->event_name,
                                  s->here.ptr != NULL ? s->here : buf_slice(&r->data)};
    s->here = SLICE_NONE;
    r->has_data = false;
    r->event_name = SLICE("");
    return given ? SSE_EVENT : SSE_MORE;
}

static enum sse_result on_line(struct step *s, struct slice line, struct sse_event *out) {
    struct sse_reader *r = s->r;
    if (line.len > r->line.max_bytes) return SSE_TOO_LONG;
    if (!r->seen_first_line && slice_starts(line, SLICE("\xef\xbb\xbf")))
        line = slice_from(line, 3);
    r->seen_first_line = true;
    return line.len == 0 ? on_blank(s, out) : on_field(s, line);
}

/* Takes one line and its end from the front of data; *whole says whether there was one. */
static enum sse_result take_line(struct step *s, const char *data, size_t len, size_t *taken,
                                 struct sse_event *out) {
    struct sse_reader *r = s->r;
    size_t end = find_line_end(data, len);
    bool whole = end < len;
    struct slice line = slice_make(data, end);
    s->is_copy = !whole || buf_len(&r->line) > 0;
    if (s->is_copy && !buf_add(&r->line, line)) return SSE_TOO_LONG;
    *taken = whole ? end + 1 : end;
    if (!whole) return SSE_MORE;
    r->after_cr = data[end] == '\r';
    enum sse_result result = on_line(s, s->is_copy ? buf_slice(&r->line) : line, out);
    if (s->is_copy) buf_reset(&r->line, KEEP_BYTES);
    return result;
}

enum sse_result sse_feed(struct sse_reader *r, const char *data, size_t len, size_t *used,
                         struct sse_event *out) {
    struct step s = {.r = r, .here = SLICE_NONE};
    enum sse_result result = r->failed ? SSE_TOO_LONG : SSE_MORE;
    size_t at = 0;
    while (at < len && result == SSE_MORE && !s.failed) {
        size_t taken = 1;
        bool second_half = r->after_cr && data[at] == '\n'; /* of a CRLF */
        r->after_cr = false;
        if (!second_half) result = take_line(&s, data + at, len - at, &taken, out);
        at += taken;
    }
    if (result != SSE_EVENT) keep_here(&s);
    if (s.failed) result = SSE_TOO_LONG;
    r->failed = result == SSE_TOO_LONG;
    *used = at;
    return result;
}
