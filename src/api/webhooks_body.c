#include "api/webhooks_body.h"

#include "api/webhook.h"
#include "base/json.h"
#include "base/secret.h"

#include <openssl/evp.h>
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
    buf_printf(b, ", \"request_id\": \"%s\", \"status\": \"%s\"}", row->id, failed ? "ERROR" : "OK");
}

/* --- headers */

/* As it can stand in a header and come out of one unchanged. */
static struct slice safe_user(struct slice user, char text[MAX_USER_BYTES]) {
    size_t n = user.len < MAX_USER_BYTES ? user.len : MAX_USER_BYTES;
    for (size_t i = 0; i < n; i++)
        text[i] = user.ptr[i] > ' ' && user.ptr[i] < 0x7f ? user.ptr[i] : '_';
    return n > 0 ? slice_make(text, n) : SLICE("_");
}

static void add_hex(struct buf *b, const unsigned char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) buf_printf(b, "%02x", bytes[i]);
}

static bool sign_as_fal(struct buf *b, const struct signer *s, const struct webhook_delivery *d) {
    unsigned char hash[SECRET_HASH_BYTES], signature[SIGNER_SIGNATURE_BYTES];
    char text[MAX_USER_BYTES];
    struct slice user = safe_user(d->user, text);
    struct buf message;
    buf_init(&message, MAX_MESSAGE_BYTES);
    bool ok = secret_sha256(d->body, hash) && buf_printf(&message, "%s\n%.*s\n%lld\n", d->id,
                                                         SLICE_ARG(user), (long long)d->at_s);
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

/* Whoever has one of the published keys by heart finds his signature among them. */
static bool sign_as_standard(struct buf *b, const struct signer *s,
                             const struct webhook_delivery *d) {
    unsigned char signatures[SIGNER_MAX_KEYS][SIGNER_SIGNATURE_BYTES],
        text[(SIGNER_SIGNATURE_BYTES + 2) / 3 * 4 + 1];
    struct buf message;
    buf_init(&message, MAX_MESSAGE_BYTES);
    buf_printf(&message, "%s.%lld.", d->id, (long long)d->at_s);
    buf_add(&message, d->body);
    size_t n = message.failed ? 0 : signer_sign_all(s, buf_slice(&message), signatures);
    buf_free(&message);
    buf_printf(b, "webhook-id: %s\r\nwebhook-timestamp: %lld\r\nwebhook-signature:", d->id,
               (long long)d->at_s);
    for (size_t i = 0; i < n; i++) {
        EVP_EncodeBlock(text, signatures[i], SIGNER_SIGNATURE_BYTES);
        buf_printf(b, " v1a,%s", (const char *)text);
    }
    return buf_puts(b, "\r\n") && n > 0;
}

bool webhook_headers(struct buf *b, const struct signer *s, const struct webhook_delivery *d) {
    buf_puts(b, "Content-Type: application/json\r\nUser-Agent: anyllm/" ANYLLM_VERSION "\r\n");
    buf_printf(b, WEBHOOK_HOPS_HEADER ": %u\r\n", d->hops);
    return sign_as_fal(b, s, d) && sign_as_standard(b, s, d) && !b->failed;
}
