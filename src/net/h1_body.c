/* Bodies. The chunk reader is our own: its strictness (CRLF only, no space about the size, bounded extensions, framing
 * that may not outweigh payload) is what this file is for.
 *
 *   SIZE_FIRST --hex--> SIZE --';'--> EXT_FIRST --token--> EXT
 *   SIZE, EXT --CR--> SIZE_LF --LF--> DATA (size > 0) or LINE_FIRST (size = 0)
 *   DATA --payload whole--> DATA_CR --CR--> DATA_LF --LF--> SIZE_FIRST
 *   LINE_FIRST --token--> NAME --':'--> VALUE --CR--> LINE_LF --LF--> LINE_FIRST       (trailers: read, dropped)
 *   LINE_FIRST --CR--> LAST_LF --LF--> done
 *
 * A step that refuses a byte changes nothing, so the same byte is refused again when it is fed again. */
#include "net/h1.h"

#include "net/h1_text.h"

#define MAX_SIZE_DIGITS 16U

enum state {
    SIZE_FIRST,
    SIZE,
    EXT_FIRST,
    EXT,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE_FIRST,
    NAME,
    VALUE,
    LINE_LF,
    LAST_LF
};

static bool refuse(struct h1_error *err, unsigned status, const char *reason) {
    *err = (struct h1_error){status, reason};
    return false;
}

static bool go(struct h1_body *b, enum state to) {
    b->state = (int)to;
    return true;
}

static bool size_digit(struct h1_body *b, char c, struct h1_error *err) {
    if (b->digits == MAX_SIZE_DIGITS || b->left > INT64_MAX >> 4)
        return refuse(err, 400, "chunk size out of range");
    b->left = b->left << 4 | h1_hex(c);
    b->digits++;
    return go(b, SIZE);
}

static bool on_size_first(struct h1_body *b, char c, struct h1_error *err) {
    if (!h1_is(c, H1_C_HEX)) return refuse(err, 400, "invalid chunk size");
    b->left = 0;
    b->digits = 0;
    b->ext = 0;
    return size_digit(b, c, err);
}

static bool on_size(struct h1_body *b, char c, struct h1_error *err) {
    if (h1_is(c, H1_C_HEX)) return size_digit(b, c, err);
    if (c == '\r') return go(b, SIZE_LF);
    if (c == ';') return go(b, EXT_FIRST);
    return refuse(err, 400, c == '\n' ? "line must end in CRLF" : "invalid chunk size");
}

static bool ext_byte(struct h1_body *b, struct h1_error *err) {
    if (b->ext == H1_MAX_CHUNK_EXT_BYTES || b->ext_total == H1_MAX_CHUNK_EXT_TOTAL_BYTES)
        return refuse(err, 400, "chunk extension");
    b->ext++;
    b->ext_total++;
    return go(b, EXT);
}

static bool on_ext_first(struct h1_body *b, char c, struct h1_error *err) {
    return h1_is(c, H1_C_TOKEN) ? ext_byte(b, err) : refuse(err, 400, "chunk extension");
}

static bool on_ext(struct h1_body *b, char c, struct h1_error *err) {
    if (c == '\r') return go(b, SIZE_LF);
    return h1_is(c, H1_C_VALUE) ? ext_byte(b, err) : refuse(err, 400, "chunk extension");
}

static bool on_size_lf(struct h1_body *b, char c, struct h1_error *err) {
    if (c != '\n') return refuse(err, 400, "line must end in CRLF");
    return go(b, b->left > 0 ? DATA : LINE_FIRST);
}

static bool on_data_cr(struct h1_body *b, char c, struct h1_error *err) {
    return c == '\r' ? go(b, DATA_LF) : refuse(err, 400, "chunk data differs from its size");
}

static bool on_data_lf(struct h1_body *b, char c, struct h1_error *err) {
    return c == '\n' ? go(b, SIZE_FIRST) : refuse(err, 400, "chunk data differs from its size");
}

static bool trailer_byte(struct h1_body *b, enum state to, struct h1_error *err) {
    if (b->trailer == H1_MAX_TRAILER_BYTES) return refuse(err, 431, "trailers too large");
    b->trailer++;
    return go(b, to);
}

static bool on_line_first(struct h1_body *b, char c, struct h1_error *err) {
    if (c == '\r') return go(b, LAST_LF);
    if (h1_is(c, H1_C_TOKEN)) return trailer_byte(b, NAME, err);
    return refuse(err, 400, c == '\n' ? "line must end in CRLF" : "invalid trailer");
}

static bool on_name(struct h1_body *b, char c, struct h1_error *err) {
    if (c == ':') return trailer_byte(b, VALUE, err);
    return h1_is(c, H1_C_TOKEN) ? trailer_byte(b, NAME, err) : refuse(err, 400, "invalid trailer");
}

static bool on_value(struct h1_body *b, char c, struct h1_error *err) {
    if (c == '\r') return trailer_byte(b, LINE_LF, err);
    if (h1_is(c, H1_C_VALUE)) return trailer_byte(b, VALUE, err);
    return refuse(err, 400, c == '\n' ? "line must end in CRLF" : "invalid trailer");
}

static bool on_line_lf(struct h1_body *b, char c, struct h1_error *err) {
    return c == '\n' ? trailer_byte(b, LINE_FIRST, err) : refuse(err, 400, "line must end in CRLF");
}

static bool on_last_lf(struct h1_body *b, char c, struct h1_error *err) {
    if (c != '\n') return refuse(err, 400, "line must end in CRLF");
    b->done = true;
    return true;
}

typedef bool step_fn(struct h1_body *b, char c, struct h1_error *err);

static step_fn *const steps[] = {
    [SIZE_FIRST] = on_size_first, [SIZE] = on_size,
    [EXT_FIRST] = on_ext_first,   [EXT] = on_ext,
    [SIZE_LF] = on_size_lf,       [DATA_CR] = on_data_cr,
    [DATA_LF] = on_data_lf,       [NAME] = on_name,
    [VALUE] = on_value,           [LINE_LF] = on_line_lf,
    [LINE_FIRST] = on_line_first, [LAST_LF] = on_last_lf,
};

/* One byte of framing. Past 100 KiB of it the payload must be at least a quarter: a million one-byte chunks cost the
 * sender nothing and us a million steps. */
static bool framing(struct h1_body *b, char c, struct h1_error *err) {
    if (b->overhead >= H1_MAX_CHUNK_OVERHEAD_BYTES && b->total < b->overhead / 4)
        return refuse(err, 400, "chunk overhead");
    if (!steps[b->state](b, c, err)) return false;
    b->overhead++;
    return true;
}

static struct slice take(struct h1_body *b, const char *data, size_t len) {
    size_t n = b->left < len ? (size_t)b->left : len;
    b->left -= n;
    b->total += n;
    return slice_make(data, n);
}

/* Payload of at most one chunk, with all framing before and behind it. What follows it and is wrong is left for the
 * next call, so that payload before a fault is given out however the bytes arrive. */
static enum h1_result feed_chunked(struct h1_body *b, const char *data, size_t len, size_t *used,
                                   struct slice *out, struct h1_error *err) {
    size_t at = 0;
    while (at < len && !b->done) {
        if (b->state == DATA) {
            if (out->len > 0) break;
            *out = take(b, data + at, len - at);
            at += out->len;
            if (b->left == 0) b->state = DATA_CR;
        } else if (framing(b, data[at], err)) {
            at++;
        } else if (out->len > 0) {
            break;
        } else {
            *used = at;
            return H1_ERROR;
        }
    }
    *used = at;
    return b->done ? H1_DONE : H1_MORE;
}

static enum h1_result feed_length(struct h1_body *b, const char *data, size_t len, size_t *used,
                                  struct slice *out) {
    *out = take(b, data, len);
    *used = out->len;
    b->done = b->left == 0;
    return b->done ? H1_DONE : H1_MORE;
}

static enum h1_result feed_all(struct h1_body *b, const char *data, size_t len, size_t *used,
                               struct slice *out) {
    *out = slice_make(data, len);
    *used = len;
    b->total += len;
    return H1_MORE;
}

static enum h1_body_mode mode_of(enum h1_kind kind, const struct h1_head *head, bool head_request) {
    bool bodyless = head->status < 200 || head->status == 204 || head->status == 304 ||
                    head_request;
    if (kind == H1_RESPONSE && bodyless) return H1_BODY_NONE;
    if (head->chunked) return H1_BODY_CHUNKED;
    if (head->has_length) return head->content_length > 0 ? H1_BODY_LENGTH : H1_BODY_NONE;
    return kind == H1_RESPONSE ? H1_BODY_UNTIL_CLOSE : H1_BODY_NONE;
}

void h1_body_init(struct h1_body *b, enum h1_kind kind, const struct h1_head *head,
                  bool head_request) {
    *b = (struct h1_body){.mode = mode_of(kind, head, head_request),
                          .state = SIZE_FIRST,
                          .response = kind == H1_RESPONSE};
    if (b->mode == H1_BODY_LENGTH) b->left = head->content_length;
    b->done = b->mode == H1_BODY_NONE;
}

enum h1_result h1_body_feed(struct h1_body *b, const char *data, size_t len, size_t *used,
                            struct slice *out, struct h1_error *err) {
    enum h1_result result = H1_DONE;
    *used = 0;
    *out = slice_make(data, 0);
    if (b->done) return H1_DONE;
    switch (b->mode) {
    case H1_BODY_NONE: break;
    case H1_BODY_LENGTH: result = feed_length(b, data, len, used, out); break;
    case H1_BODY_CHUNKED: result = feed_chunked(b, data, len, used, out, err); break;
    case H1_BODY_UNTIL_CLOSE: result = feed_all(b, data, len, used, out); break;
    }
    if (result == H1_ERROR && b->response) err->status = 502;
    return result;
}
