/* The folder of the signer's keys: reads, makes and removes files. Private to the signer. */
#ifndef ANYLLM_API_SIGNER_FILES_H
#define ANYLLM_API_SIGNER_FILES_H

#include "api/signer.h"

#include <openssl/evp.h>

#define SIGNER_PUBLIC_BYTES 32
#define SIGNER_SECRET_BYTES 32
#define SIGNER_KID_BYTES 17 /* 16 hex digits of the public key's SHA-256, and NUL */

struct signer_key {
    int64_t made_s;
    char kid[SIGNER_KID_BYTES];
    unsigned char x[SIGNER_PUBLIC_BYTES];
    EVP_PKEY *pair;
};

struct signer_ring {
    struct signer_key keys[SIGNER_MAX_KEYS]; /* the oldest first */
    size_t n;
    unsigned char secret[SIGNER_SECRET_BYTES];
};

/* Reads DATA/keys, making what is missing, due or asked for, and removing pairs whose overlap is over. False with one line in
 * reason; *out is then empty. */
bool signer_read(const char *data_dir, int64_t now_s, const struct random *random,
                 struct signer_ring *out, char *reason, size_t size);
void signer_ring_free(struct signer_ring *r);
/* Whether the key of that place is published: it is the newest, or its overlap is not over. */
bool signer_published(const struct signer_ring *r, size_t i, int64_t now_s);

#endif
