/* One arena per request: everything that lives as long as the request is taken from it and freed at once.
 * A reset keeps one chunk, so that on a kept connection a request of ordinary size costs no malloc.
 * On exhaustion calls return NULL and `failed` stays set: build everything, then look once. */
#ifndef ANYLLM_BASE_ARENA_H
#define ANYLLM_BASE_ARENA_H

#include "base/slice.h"

#include <stdarg.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *head; /* newest chunk */
    char *at, *end;           /* free part of the newest chunk */
    size_t used_bytes;        /* taken from malloc beyond the first chunk */
    size_t max_bytes;         /* upper bound for used_bytes */
    bool failed;              /* sticky */
};

#define ARENA_CHUNK_BYTES 4096U
#define ARENA_MAX_BYTES (64U << 20)

void arena_init(struct arena *a, size_t max_bytes);
/* Frees all but keeps the arena usable; the newest ordinary chunk is kept for the next request. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

void *arena_alloc(struct arena *a, size_t bytes); /* 16-byte aligned, not zeroed */
void *arena_zalloc(struct arena *a, size_t bytes);
/* NUL-terminated copies. */
char *arena_dup(struct arena *a, struct slice s);
struct slice arena_copy(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
