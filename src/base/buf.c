#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max_bytes) {
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_free(struct buf *b) {
    free(b->base);
    buf_init(b, b->max_bytes);
}

void buf_reset(struct buf *b, size_t keep_bytes) {
    b->start = b->end = 0;
    b->failed = b->no_memory = false;
    if (b->cap <= keep_bytes) return;
    free(b->base);
    b->base = NULL;
    b->cap = 0;
}

static bool fail(struct buf *b) {
    b->failed = true;
    return false;
}

bool buf_grow(struct buf *b, size_t bytes) {
    if (b->failed) return false;
    size_t len = buf_len(b);
    if (bytes > b->max_bytes || len > b->max_bytes - bytes) return fail(b);
    if (b->cap - b->end >= bytes + 1) return true; /* + 1: buf_take's NUL */
    if (b->start > 0) {
        memmove(b->base, b->base + b->start, len);
        b->start = 0;
        b->end = len;
        if (b->cap - b->end >= bytes + 1) return true;
    }
    size_t cap = b->cap < 256 ? 256 : b->cap * 2;
    if (cap < len + bytes + 1) cap = len + bytes + 1;
    if (cap > b->max_bytes + 1) cap = b->max_bytes + 1;
    char *base = realloc(b->base, cap);
    b->no_memory = base == NULL;
    if (base == NULL) return fail(b);
    b->base = base;
    b->cap = cap;
    return true;
}

/* Most lines fit what is there: formatted once then, twice only when the buffer has to grow. */
bool buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    if (!buf_reserve(b, 0)) return false;
    va_start(ap, fmt);
    int n = vsnprintf(b->base + b->end, b->cap - b->end, fmt, ap);
    va_end(ap);
    if (n < 0) return fail(b);
    size_t room = b->cap - b->end, len = (size_t)n;
    if (!buf_reserve(b, len)) return false;
    if (len >= room) {
        va_start(ap, fmt);
        vsnprintf(b->base + b->end, len + 1, fmt, ap);
        va_end(ap);
    }
    b->end += len;
    return true;
}

bool buf_u64(struct buf *b, uint64_t v) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    return buf_add(b, slice_make(digits + at, sizeof digits - at));
}

void buf_consume(struct buf *b, size_t bytes) {
    if (bytes > buf_len(b)) bytes = buf_len(b);
    b->start += bytes;
    if (b->start == b->end) b->start = b->end = 0;
}

char *buf_take(struct buf *b, size_t *len) {
    if (!buf_reserve(b, 0)) return NULL;
    char *out;
    if (b->start > 0) memmove(b->base, b->base + b->start, buf_len(b));
    out = b->base;
    *len = buf_len(b);
    out[*len] = '\0';
    buf_init(b, b->max_bytes);
    return out;
}
