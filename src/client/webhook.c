/* Deliveries of webhooks, for who receives them: fal's ED25519 signature over four lines, and Standard Webhooks' list of
 * signatures over id, time and body. Each signature that came is judged by itself; the best verdict counts. */
#include "base/hex.h"
#include "base/json.h"
#include "client/client.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#define HASH_BYTES 32
#define KEY_BYTES 32
#define SIGNATURE_BYTES 64
#define MAX_KEYS 32U
#define MAX_SECRET_BYTES 256U
#define TOLERANCE_S 300
/* Each costs 0.1 ms, and who sends them need not be one of those whose keys these are. */
#define MAX_CHECKS 64U

struct keyring {
    EVP_PKEY *keys[MAX_KEYS];
    size_t count;
    unsigned char secret[MAX_SECRET_BYTES];
    size_t secret_bytes;
    int64_t tolerance_s, now_s;
    size_t checks; /* made so far */
    bool no_memory;
};

/* --- base64 */

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

/* Of either alphabet, padded or not. Returns how many bytes it holds, 0 when it is none or does not fit. */
static size_t read_base64(struct slice text, unsigned char *out, size_t room) {
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;
    if (text.len % 4 == 0 && slice_ends(text, SLICE("=")))
        text.len -= slice_ends(text, SLICE("==")) ? 2 : 1;
    if (text.len % 4 == 1) return 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.ptr[i]);
        if (digit < 0) return 0;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        if (n == room) return 0;
        out[n++] = (unsigned char)(bits >> held);
    }
    return n;
}

/* --- keys */

static bool says(yyjson_val *key, const char *member, const char *value) {
    yyjson_val *v = json_get(key, member);
    return v == NULL || slice_is(json_str(v), value);
}

/* A key that is for something else, or cannot be read, is passed over. */
static void add_key(struct keyring *r, yyjson_val *key) {
    unsigned char bytes[KEY_BYTES + 1];
    struct slice x = json_str(json_get(key, "x"));
    if (r->count == MAX_KEYS || !says(key, "kty", "OKP") || !says(key, "crv", "Ed25519")) return;
    if (x.ptr == NULL || read_base64(x, bytes, sizeof bytes) != KEY_BYTES) return;
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes, KEY_BYTES);
    if (k == NULL)
        r->no_memory = true;
    else
        r->keys[r->count++] = k;
}

static void read_jwks(struct keyring *r, const char *text) {
    struct json_error err = {0};
    yyjson_val *key;
    size_t i, n;
    yyjson_doc *doc = json_parse(slice_of(text), &err);
    if (doc == NULL) r->no_memory |= err.fault == JSON_MEMORY;
    yyjson_val *list = json_get(yyjson_doc_get_root(doc), "keys");
    yyjson_arr_foreach(list, i, n, key) add_key(r, key);
    yyjson_doc_free(doc);
}

static void keyring_read(struct keyring *r, const struct fal_webhook_keys *k) {
    *r = (struct keyring){.tolerance_s = k->tolerance_s != 0 ? k->tolerance_s : TOLERANCE_S,
                          .now_s = k->now_s != 0 ? k->now_s : clock_wall_ms(&clock_system) / 1000};
    if (k->jwks_json != NULL) read_jwks(r, k->jwks_json);
    if (k->secret != NULL) {
        struct slice secret = slice_trim(slice_of(k->secret));
        if (slice_starts(secret, SLICE("whsec_"))) secret = slice_from(secret, 6);
        r->secret_bytes = read_base64(secret, r->secret, sizeof r->secret);
    }
}

static void keyring_free(struct keyring *r) {
    for (size_t i = 0; i < r->count; i++) EVP_PKEY_free(r->keys[i]);
    OPENSSL_cleanse(r->secret, sizeof r->secret);
}

/* --- one signature */

static bool fits(struct keyring *r, EVP_PKEY *key, struct slice message,
                 const unsigned char signature[SIGNATURE_BYTES]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) != 1) {
        EVP_MD_CTX_free(ctx);
        r->no_memory = true;
        return false;
    }
    bool ok = EVP_DigestVerify(ctx, signature, SIGNATURE_BYTES, (const unsigned char *)message.ptr,
                               message.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static enum fal_webhook_verdict judge_ed25519(struct keyring *r, struct slice message,
                                              const unsigned char signature[SIGNATURE_BYTES]) {
    if (r->count == 0) return FAL_WEBHOOK_NO_KEY;
    for (size_t i = 0; i < r->count && r->checks < MAX_CHECKS; i++, r->checks++)
        if (fits(r, r->keys[i], message, signature)) return FAL_WEBHOOK_VALID;
    return FAL_WEBHOOK_FORGED;
}

static enum fal_webhook_verdict judge_hmac(struct keyring *r, struct slice message,
                                           const unsigned char signature[HASH_BYTES]) {
    unsigned char mac[HASH_BYTES];
    if (r->secret_bytes == 0) return FAL_WEBHOOK_NO_KEY;
    if (HMAC(EVP_sha256(), r->secret, (int)r->secret_bytes, (const unsigned char *)message.ptr,
             message.len, mac, NULL) == NULL) {
        r->no_memory = true;
        return FAL_WEBHOOK_FORGED;
    }
    bool ok = CRYPTO_memcmp(mac, signature, HASH_BYTES) == 0;
    OPENSSL_cleanse(mac, sizeof mac);
    return ok ? FAL_WEBHOOK_VALID : FAL_WEBHOOK_FORGED;
}

static enum fal_webhook_verdict better(enum fal_webhook_verdict a, enum fal_webhook_verdict b) {
    static const int rank[] = {[FAL_WEBHOOK_VALID] = 4,
                               [FAL_WEBHOOK_EXPIRED] = 3,
                               [FAL_WEBHOOK_FORGED] = 2,
                               [FAL_WEBHOOK_NO_KEY] = 1,
                               [FAL_WEBHOOK_UNSIGNED] = 0};
    return rank[b] > rank[a] ? b : a;
}

/* --- what is signed */

/* As it can have stood in a header. What separates the parts of a message is in none of them: else one message could be read
 * as another. */
static bool header_ok(const char *s) {
    return s != NULL && s[0] != '\0' && client_text_is_header(s);
}

static bool read_time(const char *text, int64_t *out) {
    uint64_t n = 0;
    if (text == NULL || !slice_to_range(slice_of(text), 0, INT64_MAX, &n)) return false;
    *out = (int64_t)n;
    return true;
}

/* A right signature, and when it was made. */
static enum fal_webhook_verdict in_time(const struct keyring *r, enum fal_webhook_verdict verdict,
                                        int64_t at_s) {
    int64_t off = 0;
    if (verdict != FAL_WEBHOOK_VALID) return verdict;
    bool near = !__builtin_sub_overflow(r->now_s, at_s, &off) && off <= r->tolerance_s &&
                off >= -r->tolerance_s;
    return near ? FAL_WEBHOOK_VALID : FAL_WEBHOOK_EXPIRED;
}

static enum fal_webhook_verdict judge_fal(struct keyring *r, const struct fal_webhook *w) {
    unsigned char signature[SIGNATURE_BYTES], hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    int64_t at_s;
    struct buf message;
    if (!header_ok(w->request_id) || !header_ok(w->user_id) || !read_time(w->timestamp, &at_s) ||
        w->signature == NULL || !hex_read(slice_of(w->signature), signature, sizeof signature))
        return FAL_WEBHOOK_UNSIGNED;
    buf_init(&message, FAL_MAX_REPLY_BYTES);
    buf_printf(&message, "%s\n%s\n%s\n", w->request_id, w->user_id, w->timestamp);
    if (EVP_Digest(w->body, w->body_bytes, hash, NULL, EVP_sha256(), NULL) == 1) {
        hex_write(hex, hash, sizeof hash);
        buf_puts(&message, hex);
    } else
        message.failed = true;
    r->no_memory |= message.failed;
    enum fal_webhook_verdict verdict = message.failed
                                           ? FAL_WEBHOOK_FORGED
                                           : judge_ed25519(r, buf_slice(&message), signature);
    buf_free(&message);
    return in_time(r, verdict, at_s);
}

/* "v1,BASE64" or "v1a,BASE64"; what else Standard Webhooks may name one day is passed over. */
static enum fal_webhook_verdict judge_listed(struct keyring *r, struct slice one,
                                             struct slice message) {
    unsigned char signature[SIGNATURE_BYTES + 1];
    struct slice text, version = slice_cut(one, ',', &text);
    bool mac = slice_is(version, "v1");
    if (text.ptr == NULL || (!mac && !slice_is(version, "v1a"))) return FAL_WEBHOOK_UNSIGNED;
    if (read_base64(text, signature, sizeof signature) != (mac ? HASH_BYTES : SIGNATURE_BYTES))
        return FAL_WEBHOOK_UNSIGNED;
    return mac ? judge_hmac(r, message, signature) : judge_ed25519(r, message, signature);
}

static enum fal_webhook_verdict judge_list(struct keyring *r, struct slice list,
                                           struct slice message) {
    enum fal_webhook_verdict best = FAL_WEBHOOK_UNSIGNED;
    for (size_t n = 0; list.ptr != NULL && n < MAX_CHECKS && best != FAL_WEBHOOK_VALID; n++) {
        struct slice one = slice_cut(list, ' ', &list);
        best = better(best, judge_listed(r, one, message));
    }
    return best;
}

static enum fal_webhook_verdict judge_standard(struct keyring *r, const struct fal_webhook *w) {
    int64_t at_s;
    struct buf message;
    if (!header_ok(w->standard_id) || strchr(w->standard_id, '.') != NULL ||
        !read_time(w->standard_timestamp, &at_s) || w->standard_signature == NULL)
        return FAL_WEBHOOK_UNSIGNED;
    buf_init(&message, SIZE_MAX / 4);
    buf_printf(&message, "%s.%s.", w->standard_id, w->standard_timestamp);
    buf_add(&message, slice_make(w->body, w->body_bytes));
    r->no_memory |= message.failed;
    enum fal_webhook_verdict verdict = FAL_WEBHOOK_FORGED;
    if (!message.failed)
        verdict = judge_list(r, slice_of(w->standard_signature), buf_slice(&message));
    buf_free(&message);
    return in_time(r, verdict, at_s);
}

enum fal_webhook_verdict fal_webhook_verify(const struct fal_webhook *webhook,
                                            const struct fal_webhook_keys *keys) {
    struct fal_webhook w;
    struct fal_webhook_keys k;
    struct keyring ring;
    if (!client_options_copy(&w, sizeof w, webhook) || (w.body == NULL && w.body_bytes > 0))
        return FAL_WEBHOOK_UNSIGNED;
    if (!client_options_copy(&k, sizeof k, keys)) return FAL_WEBHOOK_NO_KEY;
    if (w.body == NULL) w.body = "";
    keyring_read(&ring, &k);
    enum fal_webhook_verdict verdict = judge_fal(&ring, &w);
    if (verdict != FAL_WEBHOOK_VALID) verdict = better(verdict, judge_standard(&ring, &w));
    bool no_memory = ring.no_memory;
    keyring_free(&ring);
    return no_memory && verdict != FAL_WEBHOOK_VALID ? FAL_WEBHOOK_NO_MEMORY : verdict;
}
