#include "api/webhooks_body.h"

#include "api/webhook.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/secret.h"

#include <openssl/hmac.h>
#include <stdio.h>

#define MAX_MESSAGE_BYTES (WEBHOOK_MAX_DELIVERY_BYTES + 256U)
#define MAX_USER_BYTES 256U

/* --- body */

/* Why the result cannot be in it, NULL: it can. */
static const char *payload_fault(struct slice payload) {
    struct json_error err;
    if (payload.len == 0) return "Response payload is no longer stored.";
    if (payload.len > WEBHOOK_MAX_PAYLOAD_BYTES) return "Response payload is larger than 1 MiB.";
    yyjson_doc *doc = json_parse(payload, &err);
    yyjson_doc_free(doc);
    return doc != NULL ? NULL : "Response payload is not JSON serializable.";
}

void webhook_body(struct buf *b, const struct store_row *row, struct slice link) {
    bool failed = row->error.len > 0 || row->http_status >= 400;
    const char *why = payload_fault(row->body);
    buf_puts(b, "{\"error\": ");
    if (failed)
        buf_printf(b, "\"Invalid status code: %u\"", row->http_status);
    else
        buf_puts(b, "null");
    buf_printf(b, ", \"gateway_request_id\": \"%s\", \"payload\": ", row->id);
    buf_add(b, why == NULL ? row->body : SLICE("null"));
    if (why != NULL) {
        buf_printf(b, ", \"payload_error\": \"%s Fetch it from ", why);
        buf_add(b, link);
        buf_addc(b, '"');
    }
    buf_printf(b, ", \"request_id\": \"%s\", \"status\": \"%s\"}", row->id,
               failed ? "ERROR" : "OK");
}

/* --- headers */

/* As it can stand in a header and come out of one unchanged. */
static struct slice safe_user(struct slice user, char text[MAX_USER_BYTES]) {
    size_t n = user.len < MAX_USER_BYTES ? user.len : MAX_USER_BYTES;
    for (size_t i = 0; i < n; i++)
        text[i] = user.ptr[i] > ' ' && user.ptr[i] < 0x7f ? user.ptr[i] : '_';
    return n > 0 ? slice_make(text, n) : SLICE("_");
}

/* A hash or a signature. */
static void add_hex(struct buf *b, const unsigned char *bytes, size_t n) {
    char text[2 * SIGNER_SIGNATURE_BYTES + 1];
    hex_write(text, bytes, n);
    buf_puts(b, text);
}

static bool sign_as_fal(struct buf *b, const struct signer *s, const struct webhook_delivery *d) {
    unsigned char hash[SECRET_HASH_BYTES], signature[SIGNER_SIGNATURE_BYTES];
    char text[MAX_USER_BYTES];
    struct slice user = safe_user(d->user, text);
    struct buf message;
    buf_init(&message, MAX_MESSAGE_BYTES);
    bool ok = secret_sha256(d->body, hash) &&
              buf_printf(&message, "%s\n%.*s\n%lld\n", d->id, SLICE_ARG(user), (long long)d->at_s);
    add_hex(&message, hash, sizeof hash);
    ok = ok && !message.failed && signer_sign(s, buf_slice(&message), signature);
    buf_free(&message);
    if (!ok) return false;
    buf_printf(b,
               "X-Fal-Webhook-Request-Id: %s\r\nX-Fal-Webhook-User-Id: %.*s\r\n"
               "X-Fal-Webhook-Timestamp: %lld\r\nX-Fal-Webhook-Signature: ",
               d->id, SLICE_ARG(user), (long long)d->at_s);
    add_hex(b, signature, sizeof signature);
    return buf_puts(b, "\r\n");
}

void webhook_secret(const struct signer *s, struct slice owner,
                    unsigned char secret[WEBHOOK_SECRET_BYTES]) {
    struct buf b;
    buf_init(&b, 65536 + 32);
    buf_puts(&b, "webhook secret of ");
    buf_add(&b, owner);
    signer_mac(s, buf_slice(&b), secret);
    buf_free(&b);
}

/* v1 by the owner's secret; v1a by each of the published keys: whoever has one of them by heart finds his signature. */
static void add_signatures(struct buf *b, const struct signer *s, struct slice owner,
                           struct slice message) {
    unsigned char signatures[SIGNER_MAX_KEYS][SIGNER_SIGNATURE_BYTES], mac[SIGNER_MAC_BYTES],
        secret[WEBHOOK_SECRET_BYTES], text[(SIGNER_SIGNATURE_BYTES + 2) / 3 * 4 + 1];
    size_t n = signer_sign_all(s, message, signatures);
    webhook_secret(s, owner, secret);
    if (n == 0 || HMAC(EVP_sha256(), secret, sizeof secret, (const unsigned char *)message.ptr,
                       message.len, mac, NULL) == NULL)
        b->failed = true;
    secret_wipe(secret, sizeof secret);
    for (size_t i = 0; i < n; i++) {
        EVP_EncodeBlock(text, signatures[i], SIGNER_SIGNATURE_BYTES);
        buf_printf(b, "v1a,%s ", (const char *)text);
    }
    EVP_EncodeBlock(text, mac, sizeof mac);
    buf_printf(b, "v1,%s\r\n", (const char *)text);
}

static bool sign_as_standard(struct buf *b, const struct signer *s,
                             const struct webhook_delivery *d) {
    struct buf message;
    buf_init(&message, MAX_MESSAGE_BYTES);
    buf_printf(&message, "%s.%lld.", d->id, (long long)d->at_s);
    buf_add(&message, d->body);
    buf_printf(b, "webhook-id: %s\r\nwebhook-timestamp: %lld\r\nwebhook-signature: ", d->id,
               (long long)d->at_s);
    if (message.failed)
        b->failed = true;
    else
        add_signatures(b, s, d->user, buf_slice(&message));
    buf_free(&message);
    return !b->failed;
}

bool webhook_headers(struct buf *b, const struct signer *s, const struct webhook_delivery *d) {
    buf_puts(b, "Content-Type: application/json\r\nUser-Agent: anyllm/" ANYLLM_VERSION "\r\n");
    buf_printf(b, WEBHOOK_HOPS_HEADER ": %u\r\n", d->hops);
    return sign_as_fal(b, s, d) && sign_as_standard(b, s, d) && !b->failed;
}
