#include "verify.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE_S 300
#define SIGNATURE_BYTES 64
#define MESSAGE_BYTES 1024

bool webhook_key_read(const char *x, struct webhook_key *out) {
    unsigned char text[44], bytes[33];
    size_t len = strlen(x);
    if (len != 43 && len != 44) return false;
    memcpy(text, x, 43);
    text[43] = '=';
    for (size_t i = 0; i < 43; i++) text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    if (EVP_DecodeBlock(bytes, text, sizeof text) != (int)sizeof bytes) return false;
    memcpy(out->bytes, bytes, sizeof out->bytes);
    return true;
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static bool read_hex(const char *text, unsigned char *out, size_t bytes) {
    if (strlen(text) != 2 * bytes) return false;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static bool is_new(const char *timestamp, time_t now) {
    char *end;
    long long at = strtoll(timestamp, &end, 10), off = at - (long long)now;
    return end != timestamp && *end == '\0' && off >= -TOLERANCE_S && off <= TOLERANCE_S;
}

/* Four lines: request id, user id, timestamp, SHA-256 of the body in hex. 0: it is longer than may be. */
static size_t write_message(const struct webhook *w, char out[MESSAGE_BYTES]) {
    unsigned char hash[32];
    int n = snprintf(out, MESSAGE_BYTES, "%s\n%s\n%s\n", w->request_id, w->user_id, w->timestamp);
    if (n < 0 || (size_t)n + 2 * sizeof hash >= MESSAGE_BYTES) return 0;
    if (EVP_Digest(w->body, w->body_bytes, hash, NULL, EVP_sha256(), NULL) != 1) return 0;
    for (size_t i = 0; i < sizeof hash; i++, n += 2) snprintf(out + n, 3, "%02x", hash[i]);
    return (size_t)n;
}

static bool verified_by(const struct webhook_key *key, const char *message, size_t bytes,
                        const unsigned char signature[SIGNATURE_BYTES]) {
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes,
                                              sizeof key->bytes);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = k != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k) == 1 &&
              EVP_DigestVerify(ctx, signature, SIGNATURE_BYTES, (const unsigned char *)message,
                               bytes) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(k);
    return ok;
}

bool webhook_verify(const struct webhook *w, const struct webhook_key *keys, size_t nkeys,
                    time_t now) {
    unsigned char signature[SIGNATURE_BYTES];
    char message[MESSAGE_BYTES];
    if (w->request_id == NULL || w->user_id == NULL || w->timestamp == NULL || w->signature == NULL)
        return false;
    if (!is_new(w->timestamp, now) || !read_hex(w->signature, signature, sizeof signature))
        return false;
    size_t bytes = write_message(w, message);
    for (size_t i = 0; bytes > 0 && i < nkeys; i++)
        if (verified_by(&keys[i], message, bytes, signature)) return true;
    return false;
}
