/* The seam for randomness: rooms that draw take a struct random, the simulator gives a seeded one. */
#ifndef ANYLLM_BASE_RANDOM_H
#define ANYLLM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    void (*fill)(void *user, void *out, size_t bytes);
    void *user;
};

/* getrandom(2) behind a small per-thread pool; aborts the process only if the kernel has no randomness at all. */
extern const struct random random_system;

static inline void random_fill(const struct random *r, void *out, size_t bytes) {
    r->fill(r->user, out, bytes);
}

uint64_t random_u64(const struct random *r);
/* Uniform in [0, bound). bound > 0. */
uint64_t random_below(const struct random *r, uint64_t bound);

#define UUID_BYTES 37
/* A version 4 UUID in lower case with its NUL; out holds UUID_BYTES. */
void random_uuid(const struct random *r, char *out);
/* Version 7: 48 bits of time, 74 random ones; ids that grow with time. */
void random_uuid7(const struct random *r, int64_t wall_ms, char *out);

#endif
