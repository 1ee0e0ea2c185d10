#include "base/slice.h"

#include <stdlib.h>

static unsigned char fold(char c) {
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

bool slice_eq_nocase(struct slice a, struct slice b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.ptr[i]) != fold(b.ptr[i])) return false;
    return true;
}

struct slice slice_trim(struct slice s) {
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) s.len--;
    return s;
}

ptrdiff_t slice_find(struct slice s, char c) {
    const char *at = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;
    return at != NULL ? at - s.ptr : -1;
}

struct slice slice_cut(struct slice s, char c, struct slice *rest) {
    ptrdiff_t at = slice_find(s, c);
    if (at < 0) {
        *rest = SLICE_NONE;
        return s;
    }
    *rest = slice_make(s.ptr + at + 1, s.len - (size_t)at - 1);
    return slice_make(s.ptr, (size_t)at);
}

bool slice_to_u64(struct slice s, uint64_t *out) {
    uint64_t v = 0;
    if (s.len == 0) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10U, &v)) return false;
        if (__builtin_add_overflow(v, (uint64_t)(s.ptr[i] - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool slice_to_range(struct slice s, uint64_t min, uint64_t max, uint64_t *out) {
    uint64_t v;
    if (!slice_to_u64(s, &v) || v < min || v > max) return false;
    *out = v;
    return true;
}

char *slice_dup(struct slice s) {
    char *copy = malloc(s.len + 1);
    if (copy == NULL) return NULL;
    if (s.len > 0) memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}
