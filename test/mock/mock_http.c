/* A tolerant reader of HTTP/1.x requests: takes what it can make sense of, so that whatever the
 * product sends reaches /_stats as it was sent. */
#include "mock.h"

#include <stdlib.h>
#include <string.h>

bool http_next_header(struct span *cursor, struct span *name, struct span *value) {
    while (cursor->len) {
        const char *eol = memchr(cursor->p, '\n', cursor->len);
        size_t len = eol ? (size_t)(eol - cursor->p) + 1 : cursor->len;
        struct span line = {cursor->p, len};
        cursor->p += len;
        cursor->len -= len;
        const char *colon = memchr(line.p, ':', line.len);
        if (!colon) continue;
        *name = (struct span){line.p, (size_t)(colon - line.p)};
        *value = span_trim((struct span){colon + 1, (size_t)(line.p + line.len - colon) - 1});
        return true;
    }
    return false;
}

static size_t number(struct span s, int base) {
    char digits[24] = {0};
    memcpy(digits, s.p, s.len < sizeof digits ? s.len : sizeof digits - 1);
    return strtoull(digits, NULL, base);
}

static bool request_line(struct span head, struct request *out, struct span *rest) {
    const char *eol = memchr(head.p, '\n', head.len);
    const char *sp = memchr(head.p, ' ', head.len);
    if (!eol || !sp || sp > eol) return false;
    out->method = (struct span){head.p, (size_t)(sp - head.p)};
    const char *target = sp + 1;
    sp = memchr(target, ' ', (size_t)(eol - target));
    if (!sp) return false;
    out->target = (struct span){target, (size_t)(sp - target)};
    out->close = memmem(sp, (size_t)(eol - sp), "HTTP/1.0", 8) != NULL;
    *rest = (struct span){eol + 1, (size_t)(head.p + head.len - eol) - 1};
    return true;
}

static bool parse_head(struct reader *r, struct span head, struct request *out) {
    if (!request_line(head, out, &out->headers)) return false;
    struct span cursor = out->headers, name, value;
    while (http_next_header(&cursor, &name, &value)) {
        if (span_is_nocase(name, "content-length"))
            r->need = number(value, 10);
        else if (span_is_nocase(name, "transfer-encoding"))
            r->chunked = true;
        else if (span_is_nocase(name, "connection") && span_is_nocase(value, "close"))
            out->close = true;
        else if (span_is_nocase(name, "authorization"))
            out->authorization = value;
        else if (span_is_nocase(name, "expect"))
            out->expect_continue = true;
    }
    return true;
}

/* Decodes the chunks that are whole; r->done when the last one and its trailer were. */
static enum http_result read_chunks(struct reader *r, const struct buf *in) {
    for (;;) {
        const char *line = in->data + r->pos;
        const char *eol = memchr(line, '\n', in->len - r->pos);
        if (!eol) return HTTP_MORE;
        size_t head = (size_t)(eol - line) + 1;
        size_t n = number((struct span){line, head}, 16);
        if (n > MOCK_MAX_REQUEST_BYTES) return HTTP_BAD;
        if (n == 0) {
            const char *end = memmem(line, in->len - r->pos, "\r\n\r\n", 4);
            if (!end) return HTTP_MORE;
            r->pos = (size_t)(end - in->data) + 4;
            r->done = true;
            return HTTP_REQUEST;
        }
        if (in->len - r->pos < head + n + 2) return HTTP_MORE;
        buf_add(&r->body, line + head, n);
        r->pos += head + n + 2;
    }
}

enum http_result http_read(struct reader *r, const struct buf *in, struct request *out) {
    *out = (struct request){0};
    if (r->head_len == 0) {
        const char *end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL;
        if (!end) return in->len > (1 << 20) ? HTTP_BAD : HTTP_MORE;
        r->head_len = (size_t)(end - in->data) + 4;
        r->pos = r->head_len;
    }
    if (!parse_head(r, (struct span){in->data, r->head_len}, out)) return HTTP_BAD;
    if (r->chunked) {
        enum http_result res = r->done ? HTTP_REQUEST : read_chunks(r, in);
        out->body = (struct span){r->body.data, r->body.len};
        return res;
    }
    if (r->need > MOCK_MAX_REQUEST_BYTES) return HTTP_BAD;
    if (in->len - r->head_len < r->need) return HTTP_MORE;
    out->body = (struct span){in->data + r->head_len, r->need};
    return HTTP_REQUEST;
}

void http_consume(struct reader *r, struct buf *in) {
    buf_drop(in, r->chunked ? r->pos : r->head_len + r->need);
    r->head_len = r->need = r->pos = 0;
    r->chunked = r->done = false;
    r->body.len = 0;
    buf_trim(&r->body);
    buf_trim(in);
}

void http_reader_free(struct reader *r) {
    buf_free(&r->body);
}
