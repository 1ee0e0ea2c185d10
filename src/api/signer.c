#include "api/signer.h"

#include "api/signer_files.h"
#include "base/secret.h"

#include <openssl/hmac.h>
#include <stdlib.h>

struct signer {
    const struct clock *clock;
    const struct random *random;
    char *data_dir;
    struct signer_ring ring; /* never empty */
};

static int64_t now_s(const struct signer *s) {
    return clock_wall_ms(s->clock) / 1000;
}

struct signer *signer_open(const char *data_dir, const struct clock *clock,
                           const struct random *random, char *reason, size_t size) {
    struct signer *s = calloc(1, sizeof *s);
    char *dir = slice_dup(slice_of(data_dir));
    if (s == NULL || dir == NULL) {
        free(s);
        free(dir);
        snprintf(reason, size, "out of memory");
        return NULL;
    }
    *s = (struct signer){.clock = clock, .random = random, .data_dir = dir};
    if (signer_read(dir, now_s(s), random, &s->ring, reason, size)) return s;
    signer_free(s);
    return NULL;
}

void signer_free(struct signer *s) {
    if (s == NULL) return;
    signer_ring_free(&s->ring);
    free(s->data_dir);
    free(s);
}

bool signer_reload(struct signer *s, char *reason, size_t size) {
    struct signer_ring fresh;
    if (!signer_read(s->data_dir, now_s(s), s->random, &fresh, reason, size)) return false;
    signer_ring_free(&s->ring);
    s->ring = fresh;
    secret_wipe(&fresh, sizeof fresh);
    return true;
}

/* The newest that was published for long enough; without one the oldest. */
static size_t present(const struct signer *s) {
    size_t i = s->ring.n;
    int64_t now = now_s(s);
    while (i > 1 && s->ring.keys[i - 1].made_s + SIGNER_AHEAD_S > now) i--;
    return i - 1;
}

static bool sign_by(const struct signer_key *k, struct slice message,
                    unsigned char signature[SIGNER_SIGNATURE_BYTES]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = SIGNER_SIGNATURE_BYTES;
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pair) == 1 &&
              EVP_DigestSign(ctx, signature, &n, (const unsigned char *)message.ptr, message.len) ==
                  1 &&
              n == SIGNER_SIGNATURE_BYTES;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool signer_sign(const struct signer *s, struct slice message,
                 unsigned char signature[SIGNER_SIGNATURE_BYTES]) {
    return sign_by(&s->ring.keys[present(s)], message, signature);
}

size_t signer_sign_all(const struct signer *s, struct slice message,
                       unsigned char signatures[SIGNER_MAX_KEYS][SIGNER_SIGNATURE_BYTES]) {
    size_t first = present(s), n = 1;
    int64_t now = now_s(s);
    if (!sign_by(&s->ring.keys[first], message, signatures[0])) return 0;
    for (size_t i = s->ring.n; i-- > 0;) {
        if (i == first || !signer_published(&s->ring, i, now)) continue;
        if (!sign_by(&s->ring.keys[i], message, signatures[n++])) return 0;
    }
    return n;
}

static bool verified_by(const struct signer_key *k, struct slice message,
                        const unsigned char signature[SIGNER_SIGNATURE_BYTES]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k->pair) == 1 &&
              EVP_DigestVerify(ctx, signature, SIGNER_SIGNATURE_BYTES,
                               (const unsigned char *)message.ptr, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool signer_verify(const struct signer *s, struct slice kid, struct slice message,
                   const unsigned char signature[SIGNER_SIGNATURE_BYTES]) {
    int64_t now = now_s(s);
    for (size_t i = s->ring.n; i-- > 0;) {
        const struct signer_key *k = &s->ring.keys[i];
        if (!signer_published(&s->ring, i, now) || (kid.len > 0 && !slice_is(kid, k->kid)))
            continue;
        if (verified_by(k, message, signature)) return true;
    }
    return false;
}

struct slice signer_kid(const struct signer *s) {
    return slice_of(s->ring.keys[present(s)].kid);
}

/* base64url, with padding: fal's sample in Python adds none. */
static void jwk(const struct signer_key *k, struct buf *b) {
    unsigned char x[(SIGNER_PUBLIC_BYTES + 2) / 3 * 4 + 1];
    int n = EVP_EncodeBlock(x, k->x, SIGNER_PUBLIC_BYTES);
    for (int i = 0; i < n; i++) x[i] = x[i] == '+' ? '-' : x[i] == '/' ? '_' : x[i];
    buf_printf(
        b,
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"%s\","
        "\"x\":\"%s\"}",
        k->kid, (const char *)x);
}

void signer_jwks(const struct signer *s, struct buf *b) {
    int64_t now = now_s(s);
    const char *comma = "";
    buf_puts(b, "{\"keys\":[");
    for (size_t i = s->ring.n; i-- > 0;) {
        if (!signer_published(&s->ring, i, now)) continue;
        buf_puts(b, comma);
        jwk(&s->ring.keys[i], b);
        comma = ",";
    }
    buf_puts(b, "]}");
}

void signer_mac(const struct signer *s, struct slice message, unsigned char mac[SIGNER_MAC_BYTES]) {
    if (HMAC(EVP_sha256(), s->ring.secret, SIGNER_SECRET_BYTES, (const unsigned char *)message.ptr,
             message.len, mac, NULL) == NULL)
        random_fill(&random_system, mac, SIGNER_MAC_BYTES); /* no memory: equal to nothing */
}
