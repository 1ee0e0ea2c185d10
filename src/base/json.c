#include "base/json.h"

#include <stdlib.h>

static yyjson_doc *fault(struct json_error *err, yyjson_doc *doc, enum json_fault f, size_t at,
                         const char *reason) {
    *err = (struct json_error){f, at, reason};
    yyjson_doc_free(doc);
    return NULL;
}

/* Brackets outside strings, counted before yyjson builds anything: its memory is bounded by the text, but a reader
 * that recurses over the result would not be. */
static bool too_deep(struct slice text, size_t *at) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH) {
                *at = i;
                return true;
            }
        } else if ((c == ']' || c == '}') && depth > 0)
            depth--;
    }
    return false;
}

static int by_key(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int d = n > 0 ? memcmp(x->ptr, y->ptr, n) : 0;
    return d != 0 ? d : (x->len > y->len) - (x->len < y->len);
}

/* 1: a key stands twice. -1: out of memory. Objects of ordinary size need no allocation. */
static int object_repeats(yyjson_val *obj) {
    enum { FEW = 16 };
    struct slice few[FEW], *keys = few;
    size_t n = yyjson_obj_size(obj), i = 0;
    if (n < 2) return 0;
    if (n > FEW && (keys = malloc(n * sizeof *keys)) == NULL) return -1;
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;) keys[i++] = json_str(k);
    int found = 0;
    if (n <= FEW) {
        for (size_t a = 1; a < n && !found; a++)
            for (size_t b = 0; b < a && !found; b++) found = slice_eq(keys[a], keys[b]);
    } else {
        qsort(keys, n, sizeof *keys, by_key);
        for (size_t a = 1; a < n && !found; a++) found = slice_eq(keys[a], keys[a - 1]);
        free(keys);
    }
    return found;
}

/* yyjson lays a document's values out in one array, so one flat pass meets every object. */
static int repeats(yyjson_doc *doc) {
    yyjson_val *v = yyjson_doc_get_root(doc);
    for (size_t i = 0, n = yyjson_doc_get_val_count(doc); i < n; i++, v++) {
        int r = yyjson_is_obj(v) ? object_repeats(v) : 0;
        if (r != 0) return r;
    }
    return 0;
}

static bool has_unicode_fault(const yyjson_read_err *e) {
    return e->code == YYJSON_READ_ERROR_INVALID_STRING &&
           (strstr(e->msg, "UTF-8") != NULL || strstr(e->msg, "surrogate") != NULL);
}

yyjson_doc *json_parse(struct slice text, struct json_error *err) {
    size_t at = 0;
    *err = (struct json_error){JSON_OK, 0, ""};
    if (slice_starts(text, SLICE("\xef\xbb\xbf")))
        return fault(err, NULL, JSON_UNICODE, 0, "byte order mark");
    if (text.len == 0) return fault(err, NULL, JSON_SYNTAX, 0, "empty");
    if (too_deep(text, &at)) return fault(err, NULL, JSON_DEPTH, at, "nesting deeper than 64");
    yyjson_read_err e;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len, 0, NULL, &e);
    if (doc == NULL) {
        if (e.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            return fault(err, NULL, JSON_MEMORY, 0, "out of memory");
        if (has_unicode_fault(&e)) return fault(err, NULL, JSON_UNICODE, e.pos, "invalid unicode");
        return fault(err, NULL, JSON_SYNTAX, e.pos, "JSON decode error");
    }
    int r = repeats(doc);
    if (r < 0) return fault(err, doc, JSON_MEMORY, 0, "out of memory");
    if (r > 0) return fault(err, doc, JSON_DUPLICATE, 0, "duplicate key");
    return doc;
}

yyjson_val *json_get(yyjson_val *obj, const char *key) {
    return yyjson_obj_get(obj, key);
}

/* Decodes one code point. Invalid bytes give one U+FFFD for each maximal part of a sequence, as
 * browsers, Node and Python decode. The range of the second byte shuts out overlong forms,
 * surrogates and what lies above U+10FFFF. */
static uint32_t decode(const unsigned char *p, size_t left, size_t *used) {
    unsigned c = p[0], low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    uint32_t cp = n < 2 ? c : c & 0x7fU >> n;
    *used = 1;
    if (n == 0) return 0xfffd;
    for (; *used < n; ++*used) {
        if (*used == left || p[*used] < low || p[*used] > high) return 0xfffd;
        cp = cp << 6 | (p[*used] & 0x3fU);
        low = 0x80;
        high = 0xbf;
    }
    return cp;
}

static void add_u16(struct buf *b, uint32_t unit) {
    static const char hex[] = "0123456789abcdef";
    char out[6] = {
        '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    buf_add(b, slice_make(out, sizeof out));
}

static void add_code_point(struct buf *b, const unsigned char *p, size_t used, uint32_t cp,
                           bool ascii) {
    if (!ascii) {
        buf_add(b, cp == 0xfffd ? SLICE("\xef\xbf\xbd") : slice_make((const char *)p, used));
    } else if (cp >= 0x10000) {
        add_u16(b, 0xd800 + ((cp - 0x10000) >> 10));
        add_u16(b, 0xdc00 + ((cp - 0x10000) & 0x3ff));
    } else {
        add_u16(b, cp);
    }
}

static void add_escape(struct buf *b, unsigned char c) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *at = c != 0 ? strchr(from, c) : NULL;
    if (at == NULL) {
        add_u16(b, c);
        return;
    }
    buf_addc(b, '\\');
    buf_addc(b, to[at - from]);
}

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

bool json_add_string(struct buf *b, struct slice s, bool ascii) {
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;
    buf_addc(b, '"');
    while (i < s.len) {
        size_t run = i;
        while (i < s.len && is_plain(p[i])) i++;
        if (i > run) buf_add(b, slice_make(s.ptr + run, i - run));
        if (i == s.len) break;
        if (p[i] < 0x80) {
            add_escape(b, p[i++]);
            continue;
        }
        size_t used;
        uint32_t cp = decode(p + i, s.len - i, &used);
        add_code_point(b, p + i, used, cp, ascii);
        i += used;
    }
    return buf_addc(b, '"');
}

bool json_add_value(struct buf *b, yyjson_val *v, bool ascii) {
    size_t len;
    yyjson_write_flag flags = ascii ? YYJSON_WRITE_ESCAPE_UNICODE : YYJSON_WRITE_NOFLAG;
    char *text = yyjson_val_write(v, flags, &len);
    if (text == NULL) {
        b->failed = true;
        return false;
    }
    buf_add(b, slice_make(text, len));
    free(text);
    return !b->failed;
}
