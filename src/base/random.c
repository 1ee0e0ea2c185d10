#include "base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* One system call serves about 250 request ids. The pool is wiped as it is used. */
#define POOL_BYTES 4096U

static _Thread_local struct {
    unsigned char bytes[POOL_BYTES];
    size_t left;
} pool;

static void from_kernel(unsigned char *out, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = getrandom(out, bytes, 0);
        if (n < 0 && errno != EINTR) abort();
        if (n <= 0) continue;
        out += n;
        bytes -= (size_t)n;
    }
}

static void system_fill(void *user, void *out, size_t bytes) {
    if (bytes > POOL_BYTES) {
        from_kernel(out, bytes);
        return;
    }
    if (pool.left < bytes) {
        from_kernel(pool.bytes, POOL_BYTES);
        pool.left = POOL_BYTES;
    }
    unsigned char *at = pool.bytes + POOL_BYTES - pool.left;
    memcpy(out, at, bytes);
    memset(at, 0, bytes);
    pool.left -= bytes;
}

const struct random random_system = {system_fill, NULL};

uint64_t random_u64(const struct random *r) {
    uint64_t v;
    random_fill(r, &v, sizeof v);
    return v;
}

uint64_t random_below(const struct random *r, uint64_t bound) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound, v;
    do v = random_u64(r);
    while (v >= limit);
    return v % bound;
}

void random_uuid(const struct random *r, char *out) {
    static const char hex[] = "0123456789abcdef";
    unsigned char b[16];
    random_fill(r, b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
        *out++ = hex[b[i] >> 4];
        *out++ = hex[b[i] & 15];
    }
    *out = '\0';
}

void random_uuid7(const struct random *r, int64_t wall_ms, char *out) {
    static const char hex[] = "0123456789abcdef";
    uint64_t ms = (uint64_t)wall_ms;
    random_uuid(r, out);
    for (int i = 12; i >= 0; i--) { /* 12 digits, a dash among them */
        if (i == 8) continue;
        out[i] = hex[ms & 15];
        ms >>= 4;
    }
    out[14] = '7';
}
