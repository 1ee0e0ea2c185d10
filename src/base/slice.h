/* Borrowed bytes. A slice never owns; who hands it out says until when it lives. */
#ifndef ANYLLM_BASE_SLICE_H
#define ANYLLM_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE(lit) ((struct slice){(lit), sizeof(lit) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})
/* For printf's "%.*s". */
#define SLICE_ARG(s) (int)(s).len, (s).ptr

static inline struct slice slice_of(const char *s) {
    return (struct slice){s, s != NULL ? strlen(s) : 0};
}

static inline struct slice slice_make(const char *ptr, size_t len) {
    return (struct slice){ptr, len};
}

static inline bool slice_eq(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *s) {
    return slice_eq(a, slice_of(s));
}

static inline struct slice slice_from(struct slice s, size_t at) {
    return at >= s.len ? (struct slice){s.ptr + s.len, 0} : (struct slice){s.ptr + at, s.len - at};
}

static inline bool slice_starts(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_ends(struct slice s, struct slice tail) {
    return s.len >= tail.len &&
           (tail.len == 0 || memcmp(s.ptr + s.len - tail.len, tail.ptr, tail.len) == 0);
}

/* ASCII case folded; header names, schemes, hosts. */
bool slice_eq_nocase(struct slice a, struct slice b);
/* Cuts leading and trailing spaces and tabs. */
struct slice slice_trim(struct slice s);
/* The part before the first `c`, and *rest what follows it (len 0 with ptr NULL when there is no `c`). */
struct slice slice_cut(struct slice s, char c, struct slice *rest);
/* Index of `c` or -1. */
ptrdiff_t slice_find(struct slice s, char c);
/* Decimal digits only, no sign, no space, at least one digit; false on anything else or overflow. */
bool slice_to_u64(struct slice s, uint64_t *out);
/* Same, within [min, max]. */
bool slice_to_range(struct slice s, uint64_t min, uint64_t max, uint64_t *out);
/* A NUL-terminated copy from malloc, NULL when out of memory. */
char *slice_dup(struct slice s);

#endif
