#include "base/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

bool secret_set(struct secret *s, struct slice value) {
    char *copy = slice_dup(value);
    if (copy == NULL) return false;
    secret_free(s);
    s->bytes = copy;
    s->len = value.len;
    return true;
}

void secret_free(struct secret *s) {
    if (s->bytes != NULL) OPENSSL_cleanse(s->bytes, s->len);
    free(s->bytes);
    *s = (struct secret){0};
}

struct slice secret_reveal(const struct secret *s) {
    return slice_make(s->bytes, s->len);
}

bool secret_equal(const void *a, const void *b, size_t bytes) {
    return CRYPTO_memcmp(a, b, bytes) == 0;
}

bool secret_sha256(struct slice value, unsigned char out[SECRET_HASH_BYTES]) {
    static _Thread_local EVP_MD_CTX
        *ctx; /* lives as long as its thread: a handful in the process */
    static _Thread_local EVP_MD *md;
    unsigned int n = 0;
    if (ctx == NULL) ctx = EVP_MD_CTX_new();
    if (md == NULL) md = EVP_MD_fetch(NULL, "SHA256", NULL);
    return ctx != NULL && md != NULL && EVP_DigestInit_ex2(ctx, md, NULL) == 1 &&
           EVP_DigestUpdate(ctx, value.ptr, value.len) == 1 &&
           EVP_DigestFinal_ex(ctx, out, &n) == 1;
}

void secret_wipe(void *p, size_t bytes) {
    OPENSSL_cleanse(p, bytes);
}
