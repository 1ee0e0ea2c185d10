/* A JSON walker that finds values and checks nothing. It never recurses and never reads past the
 * end; on nonsense it yields nothing. */
#include "mock.h"

#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

/* p stands on the opening quote. Returns the place after the closing one, or NULL. */
static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end; p++) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        const char *slash = quote ? memchr(p, '\\', (size_t)(quote - p)) : NULL;
        if (!slash) return quote ? quote + 1 : NULL;
        p = slash + 1;
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end) {
    size_t depth = 0;
    while (p && p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            if (depth == 0) return p;
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if ((*p == '}' || *p == ']') && depth > 0 && --depth == 0)
            return p + 1;
        else if (depth == 0 && strchr(",}] \t\r\n", *p))
            return p;
        p++;
    }
    return depth == 0 ? p : NULL;
}

static bool key_is(const char *quoted, const char *after, const char *key) {
    struct span s = {quoted + 1, (size_t)(after - quoted) - 2};
    return span_is(s, key);
}

bool json_get(struct span obj, const char *key, struct span *out) {
    const char *end = obj.p + obj.len;
    const char *p = skip_space(obj.p, end);
    if (p == end || *p != '{') return false;
    for (p = skip_space(p + 1, end); p < end && *p == '"';) {
        const char *after = skip_string(p, end);
        if (!after) return false;
        bool found = key_is(p, after, key);
        p = skip_space(after, end);
        if (p == end || *p != ':') return false;
        p = skip_space(p + 1, end);
        const char *value_end = skip_value(p, end);
        if (!value_end) return false;
        if (found) {
            *out = (struct span){p, (size_t)(value_end - p)};
            return true;
        }
        p = skip_space(value_end, end);
        if (p < end && *p == ',') p = skip_space(p + 1, end);
    }
    return false;
}

bool json_next(struct span *cursor, struct span *element) {
    const char *end = cursor->p + cursor->len;
    const char *p = skip_space(cursor->p, end);
    if (p == end || (*p != '[' && *p != ',')) return false;
    p = skip_space(p + 1, end);
    const char *value_end = p < end && *p != ']' ? skip_value(p, end) : NULL;
    if (!value_end || value_end == p) return false;
    *element = (struct span){p, (size_t)(value_end - p)};
    *cursor = (struct span){value_end, (size_t)(end - value_end)};
    return true;
}

static void add_utf8(struct buf *out, unsigned cp) {
    char u[4];
    size_t n = 0;
    if (cp < 0x80) {
        u[n++] = (char)cp;
    } else if (cp < 0x800) {
        u[n++] = (char)(0xC0 | (cp >> 6));
    } else if (cp < 0x10000) {
        u[n++] = (char)(0xE0 | (cp >> 12));
        u[n++] = (char)(0x80 | ((cp >> 6) & 0x3F));
    } else {
        u[n++] = (char)(0xF0 | (cp >> 18));
        u[n++] = (char)(0x80 | ((cp >> 12) & 0x3F));
        u[n++] = (char)(0x80 | ((cp >> 6) & 0x3F));
    }
    if (cp >= 0x80) u[n++] = (char)(0x80 | (cp & 0x3F));
    buf_add(out, u, n);
}

static unsigned hex4(const char *p, const char *end) {
    char digits[5] = {0};
    if (end - p < 4) return '?';
    memcpy(digits, p, 4);
    return (unsigned)strtoul(digits, NULL, 16);
}

/* p stands after the backslash. Returns the place after the escape. */
static const char *add_escape(const char *p, const char *end, struct buf *out) {
    static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
    if (*p != 'u') {
        const char *at = strchr(from, *p);
        buf_add(out, at && *at ? &to[at - from] : p, 1);
        return p + 1;
    }
    unsigned cp = hex4(p + 1, end);
    p += end - p < 5 ? end - p : 5;
    if (cp >= 0xD800 && cp < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        unsigned low = hex4(p + 2, end);
        if (low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            p += 6;
        }
    }
    add_utf8(out, cp);
    return p;
}

bool json_text(struct span raw, struct buf *out) {
    if (raw.len < 2 || raw.p[0] != '"') return false;
    const char *end = raw.p + raw.len - 1;
    for (const char *p = raw.p + 1; p < end;) {
        const char *plain = p;
        p = memchr(p, '\\', (size_t)(end - p));
        p = p ? p : end;
        buf_add(out, plain, (size_t)(p - plain));
        if (p + 1 < end)
            p = add_escape(p + 1, end, out);
        else if (p < end)
            break;
    }
    return true;
}
