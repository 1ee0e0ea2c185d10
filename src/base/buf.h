/* A growing byte buffer with a maximum and sticky failure: append everything, then look at `failed` once.
 * Bytes are taken from the front with buf_consume. */
#ifndef ANYLLM_BASE_BUF_H
#define ANYLLM_BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    char *base;
    size_t start, end, cap; /* the content is base[start..end) */
    size_t max_bytes;
    bool failed;    /* an append was refused: over the maximum, or … */
    bool no_memory; /* … out of memory */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_free(struct buf *b);
/* Empties it and clears `failed`; keeps the memory if it is at most keep_bytes. */
void buf_reset(struct buf *b, size_t keep_bytes);

static inline size_t buf_len(const struct buf *b) {
    return b->end - b->start;
}

static inline struct slice buf_slice(const struct buf *b) {
    return (struct slice){b->base != NULL ? b->base + b->start : "", b->end - b->start};
}

/* Room for at least `bytes` more at the end; false (and failed) when that passes the maximum. */
bool buf_grow(struct buf *b, size_t bytes); /* the slow half of buf_reserve */

/* What the memory holds is within the maximum: cap is at most max_bytes + 1, the one for buf_take's NUL. */
static inline bool buf_reserve(struct buf *b, size_t bytes) {
    return (!b->failed && b->cap - b->end > bytes) || buf_grow(b, bytes);
}

static inline bool buf_add(struct buf *b, struct slice s) {
    if (!buf_reserve(b, s.len)) return false;
    if (s.len > 0) memcpy(b->base + b->end, s.ptr, s.len);
    b->end += s.len;
    return true;
}

static inline bool buf_addc(struct buf *b, char c) {
    if (!buf_reserve(b, 1)) return false;
    b->base[b->end++] = c;
    return true;
}

/* Inline, so that the length of a literal is known when it is compiled. */
static inline bool buf_puts(struct buf *b, const char *s) {
    return buf_add(b, slice_of(s));
}

bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_u64(struct buf *b, uint64_t v);
void buf_consume(struct buf *b, size_t bytes);
/* The content, NUL-terminated and handed to the caller (free), the buffer empty. NULL when failed. */
char *buf_take(struct buf *b, size_t *len);

#endif
