#include "base/json.h"

#include "base/random.h"

#include <stdlib.h>

#define FEW_KEYS 16U /* so many are compared each with each, without memory */

static const char deep[] = "nesting deeper than 64", many[] = "more than 262144 values";

static yyjson_doc *fault(struct json_error *err, yyjson_doc *doc, enum json_fault f, size_t at,
                         const char *reason) {
    *err = (struct json_error){f, at, reason};
    yyjson_doc_free(doc);
    return NULL;
}

/* Where the string ends whose first quote is at `i`: an odd run of backslashes before a quote escapes it. */
static size_t string_end(struct slice text, size_t i) {
    for (size_t from = i + 1; from < text.len; from = i + 1) {
        const char *quote = memchr(text.ptr + from, '"', text.len - from);
        if (quote == NULL) break;
        i = (size_t)(quote - text.ptr);
        size_t run = 0;
        while (i - run > from && text.ptr[i - run - 1] == '\\') run++;
        if (run % 2 == 0) return i;
    }
    return text.len;
}

/* What is wrong with the shape of a text, and where: the bracket that opens the 65th level, or the comma, colon or
 * bracket that begins one value too many. For texts that were refused, to say why; for large ones before they are
 * read. */
static enum json_fault judge_shape(struct slice text, size_t *at) {
    size_t depth = 0, values = 1;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') i = string_end(text, i);
        bool opens = c == '[' || c == '{';
        depth += opens;
        if ((c == ']' || c == '}') && depth > 0) depth--;
        values += opens || c == ',' || c == ':';
        *at = i;
        if (depth > JSON_MAX_DEPTH) return JSON_DEPTH;
        if (values > JSON_MAX_VALUES) return JSON_SYNTAX;
    }
    return JSON_OK;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Keyed: whoever chooses the keys of an object must not be able to choose their places in the table. */
static uint64_t hash(struct slice s) {
    static _Thread_local uint64_t key;
    if (key == 0) key = random_u64(&random_system) | 1U;
    uint64_t h = key ^ s.len, word;
    for (; s.len >= sizeof word; s = slice_from(s, sizeof word)) {
        memcpy(&word, s.ptr, sizeof word);
        h = mix(h ^ word, key);
    }
    word = 0;
    memcpy(&word, s.ptr, s.len);
    return mix(mix(h ^ word, key), 0x9e3779b97f4a7c15U);
}

static bool few_repeat(yyjson_val *obj) {
    struct slice keys[FEW_KEYS];
    size_t n = 0;
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL; n++) {
        keys[n] = json_str(k);
        for (size_t i = 0; i < n; i++)
            if (slice_eq(keys[i], keys[n])) return true;
    }
    return false;
}

struct slot {
    uint32_t tag; /* of the key's hash */
    uint32_t at;  /* distance of the key from its object, in values; 0: free */
};

/* An open table at most half full. False: the key is there already. */
static bool put_key(struct slot *table, size_t mask, yyjson_val *obj, yyjson_val *key) {
    uint64_t h = hash(json_str(key));
    uint32_t tag = (uint32_t)(h >> 32);
    size_t i = h & mask;
    for (; table[i].at != 0; i = (i + 1) & mask)
        if (table[i].tag == tag && slice_eq(json_str(obj + table[i].at), json_str(key)))
            return false;
    table[i] = (struct slot){tag, (uint32_t)(key - obj)};
    return true;
}

static enum json_fault many_repeat(yyjson_val *obj, size_t n) {
    size_t slots = 4 * FEW_KEYS;
    while (slots < 2 * n) slots *= 2;
    struct slot *table = calloc(slots, sizeof *table);
    if (table == NULL) return JSON_MEMORY;
    enum json_fault f = JSON_OK;
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    for (yyjson_val *k; f == JSON_OK && (k = yyjson_obj_iter_next(&it)) != NULL;)
        if (!put_key(table, slots - 1, obj, k)) f = JSON_DUPLICATE;
    free(table);
    return f;
}

static bool has_long_key(yyjson_val *obj) {
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;)
        if (yyjson_get_len(k) > JSON_MAX_KEY_BYTES) return true;
    return false;
}

static enum json_fault check_keys(yyjson_val *obj) {
    size_t n = yyjson_obj_size(obj);
    if (n > JSON_MAX_MEMBERS || has_long_key(obj)) return JSON_SYNTAX;
    if (n > FEW_KEYS) return many_repeat(obj, n);
    return n > 1 && few_repeat(obj) ? JSON_DUPLICATE : JSON_OK;
}

/* yyjson lays a document's values out in one array, so one flat pass meets every object and knows by the ends of the
 * containers around it how deep it is. yyjson itself does not recurse, but a reader of the result may. */
static enum json_fault check(yyjson_doc *doc) {
    yyjson_val *v = yyjson_doc_get_root(doc), *end = v + yyjson_doc_get_val_count(doc);
    yyjson_val *ends[JSON_MAX_DEPTH];
    size_t depth = 0;
    for (; v < end; v++) {
        while (depth > 0 && v >= ends[depth - 1]) depth--;
        if (!yyjson_is_ctn(v)) continue;
        if (depth == JSON_MAX_DEPTH) return JSON_DEPTH;
        ends[depth++] = unsafe_yyjson_get_next(v);
        enum json_fault f = yyjson_is_obj(v) ? check_keys(v) : JSON_OK;
        if (f != JSON_OK) return f;
    }
    return JSON_OK;
}

static bool has_unicode_fault(const yyjson_read_err *e) {
    return e->code == YYJSON_READ_ERROR_INVALID_STRING &&
           (strstr(e->msg, "UTF-8") != NULL || strstr(e->msg, "surrogate") != NULL);
}

static yyjson_doc *refuse(struct slice text, const yyjson_read_err *e, struct json_error *err) {
    size_t at;
    if (e->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return fault(err, NULL, JSON_MEMORY, 0, "out of memory");
    if (judge_shape(text, &at) == JSON_DEPTH) return fault(err, NULL, JSON_DEPTH, at, deep);
    if (has_unicode_fault(e)) return fault(err, NULL, JSON_UNICODE, e->pos, "invalid unicode");
    return fault(err, NULL, JSON_SYNTAX, e->pos, "JSON decode error");
}

yyjson_doc *json_parse(struct slice text, struct json_error *err) {
    size_t at = 0;
    *err = (struct json_error){JSON_OK, 0, ""};
    if (slice_starts(text, SLICE("\xef\xbb\xbf")))
        return fault(err, NULL, JSON_UNICODE, 0, "byte order mark");
    if (text.len == 0) return fault(err, NULL, JSON_SYNTAX, 0, "empty");
    if (text.len > 2 * JSON_MAX_VALUES) { /* a value takes two bytes at least */
        enum json_fault f = judge_shape(text, &at);
        if (f != JSON_OK) return fault(err, NULL, f, at, f == JSON_DEPTH ? deep : many);
    }
    yyjson_read_err e;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len, 0, NULL, &e);
    if (doc == NULL) return refuse(text, &e, err);
    switch (check(doc)) {
    case JSON_DEPTH: judge_shape(text, &at); return fault(err, doc, JSON_DEPTH, at, deep);
    case JSON_SYNTAX:
        return fault(err, doc, JSON_SYNTAX, 0,
                     "object of more than 65536 members, or a name of more than 65536 bytes");
    case JSON_DUPLICATE: return fault(err, doc, JSON_DUPLICATE, 0, "duplicate key");
    case JSON_MEMORY: return fault(err, doc, JSON_MEMORY, 0, "out of memory");
    default: return doc;
    }
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

/* Sixteen bytes at a time, in the compiler's own vectors: SSE2, NEON or plain words, as the machine has it. */
typedef signed char lanes __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

/* How many bytes from p on need no escape. Most text is one long run, and this is the direct path. */
static size_t plain_run(const unsigned char *p, size_t len) {
    size_t i = 0;
    for (; i + sizeof(lanes) <= len; i += sizeof(lanes)) {
        lanes v;
        memcpy(&v, p + i, sizeof v);
        /* as signed numbers, control characters and everything outside ASCII are below a space */
        halves odd = (halves)((v < 0x20) | (v == '"') | (v == '\\') | (v == 0x7f));
        if ((odd[0] | odd[1]) != 0) break;
    }
    while (i < len && is_plain(p[i])) i++;
    return i;
}

bool json_add_string(struct buf *b, struct slice s, bool ascii) {
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;
    buf_reserve(b, s.len + 2); /* often all that is needed */
    buf_addc(b, '"');
    while (i < s.len) {
        size_t run = plain_run(p + i, s.len - i);
        if (run > 0) buf_add(b, slice_make(s.ptr + i, run));
        i += run;
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
