/* Credentials live in this type and no other: no formatter takes it, its memory is wiped when freed.
 * The bytes come out only through secret_reveal, whose callers can be counted with grep. */
#ifndef ANYLLM_BASE_SECRET_H
#define ANYLLM_BASE_SECRET_H

#include "base/slice.h"

struct secret {
    char *bytes; /* NUL-terminated for C APIs */
    size_t len;
};

#define SECRET_HASH_BYTES 32

bool secret_set(struct secret *s, struct slice value); /* copies; false when out of memory */
void secret_free(struct secret *s);
/* Only for writing to a wire or a key file. Lives as long as the secret. */
struct slice secret_reveal(const struct secret *s);
static inline bool secret_is_set(const struct secret *s) {
    return s->len > 0;
}

/* Constant time in the length of both; lengths themselves are not secret. */
bool secret_equal(const void *a, const void *b, size_t bytes);
/* SHA-256. About 0.3 us for a key: the digest object is fetched once per thread. */
bool secret_sha256(struct slice value, unsigned char out[SECRET_HASH_BYTES]);
void secret_wipe(void *p, size_t bytes);

#endif
