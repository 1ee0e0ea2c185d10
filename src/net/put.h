/* Writing a head: room for all of it is reserved once, then pieces are laid down without looking again. Private. */
#ifndef ANYLLM_NET_PUT_H
#define ANYLLM_NET_PUT_H

#include "base/buf.h"

static inline char *put(char *at, struct slice s) {
    if (s.len > 0) memcpy(at, s.ptr, s.len);
    return at + s.len;
}
/* Of a literal: a few moves, no call. */
#define PUT(at, lit) ((char *)memcpy((at), (lit), sizeof(lit) - 1) + (sizeof(lit) - 1))

#define PUT_U64_BYTES 20U
static inline char *put_u64(char *at, uint64_t v) {
    char digits[PUT_U64_BYTES];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    return put(at, slice_make(digits + first, sizeof digits - first));
}

/* Where to write when `bytes` more fit, else NULL; put_done takes what was written in. */
static inline char *put_begin(struct buf *b, size_t bytes) {
    return buf_reserve(b, bytes) ? b->base + b->end : NULL;
}
static inline void put_done(struct buf *b, const char *at) {
    b->end = (size_t)(at - b->base);
}

#endif
