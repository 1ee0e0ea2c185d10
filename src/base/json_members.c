/* Members of an object as they stand in its text: for what is passed on unchanged. */
#include "base/json.h"

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice skip_space(struct slice s) {
    size_t n = 0;
    while (n < s.len && is_space(s.ptr[n])) n++;
    return slice_from(s, n);
}

/* Length of the string that begins s, with its quotes; 0 when it has no end. */
static size_t string_len(struct slice s) {
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"') return i + 1;
        if (s.ptr[i] == '\\') i++;
    }
    return 0;
}

/* Length of the value that begins s: up to the comma or bracket that does not belong to it, spaces included. */
static size_t value_len(struct slice s) {
    size_t depth = 0, n;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"') {
            if ((n = string_len(slice_from(s, i))) == 0) return 0;
            i += n - 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth-- == 0) return i;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return s.len;
}

static struct slice without_space_behind(struct slice s) {
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) s.len--;
    return s;
}

struct slice json_inside(struct slice object) {
    struct slice s = without_space_behind(skip_space(object));
    if (s.len < 2 || s.ptr[0] != '{' || s.ptr[s.len - 1] != '}') return SLICE("");
    return slice_make(s.ptr + 1, s.len - 2);
}

bool json_next_member(struct slice *rest, struct json_member *out) {
    struct slice s = skip_space(*rest);
    if (s.len > 0 && s.ptr[0] == ',') s = skip_space(slice_from(s, 1));
    size_t n = s.len > 0 && s.ptr[0] == '"' ? string_len(s) : 0;
    if (n == 0) return false;
    out->name = slice_make(s.ptr + 1, n - 2);
    struct slice after = skip_space(slice_from(s, n));
    if (after.len == 0 || after.ptr[0] != ':') return false;
    after = skip_space(slice_from(after, 1));
    n = value_len(after);
    out->value = without_space_behind(slice_make(after.ptr, n));
    if (out->value.len == 0) return false;
    out->text = slice_make(s.ptr, (size_t)(out->value.ptr + out->value.len - s.ptr));
    *rest = slice_from(after, n);
    return true;
}

/* The character that an escape stands for, 0 for one outside ASCII; *used is the escape's length. */
static char unescape(struct slice s, size_t *used) {
    unsigned v = 0;
    *used = 2;
    if (s.len < 2) return 0;
    if (s.ptr[1] != 'u') {
        const char *at = memchr("\"\\/bfnrt", s.ptr[1], 8);
        return at != NULL ? "\"\\/\b\f\n\r\t"[at - "\"\\/bfnrt"] : 0;
    }
    *used = 6;
    for (size_t i = 2; i < 6; i++) {
        const char *at = i < s.len ? memchr("0123456789abcdefABCDEF", s.ptr[i], 22) : NULL;
        if (at == NULL) return 0;
        size_t digit = (size_t)(at - "0123456789abcdefABCDEF");
        v = v << 4 | (unsigned)(digit > 15 ? digit - 6 : digit);
    }
    return v < 0x80 ? (char)v : 0;
}

bool json_name_is(struct slice name, const char *ascii) {
    size_t used;
    while (name.len > 0 && *ascii != '\0') {
        char c = name.ptr[0];
        used = 1;
        if (c == '\\') c = unescape(name, &used);
        if (c != *ascii++) return false;
        name = slice_from(name, used);
    }
    return name.len == 0 && *ascii == '\0';
}
