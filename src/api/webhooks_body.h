/* What a delivery carries: its body and its signed headers. Pure. */
#ifndef ANYLLM_API_WEBHOOKS_BODY_H
#define ANYLLM_API_WEBHOOKS_BODY_H

#include "api/signer.h"
#include "store/store.h"

#define WEBHOOK_MAX_PAYLOAD_BYTES (1U << 20)
#define WEBHOOK_MAX_DELIVERY_BYTES (WEBHOOK_MAX_PAYLOAD_BYTES + 65536U)

/* fal's document of a COMPLETED row with its result, keys sorted, as Python writes it. A result that is no JSON, too long or
 * gone is null, and payload_error says so; `link` is where it can be fetched. */
void webhook_body(struct buf *b, const struct store_row *row, struct slice link);

struct webhook_delivery {
    const char *id;    /* of the request */
    struct slice user; /* its owner */
    int64_t at_s;      /* Unix time of this try */
    unsigned hops;     /* deliveries that led to this one, itself counted */
    struct slice body;
};

/* What Standard Webhooks call a secret, of one owner: for its libraries that know HMAC alone. */
#define WEBHOOK_SECRET_BYTES SIGNER_MAC_BYTES
void webhook_secret(const struct signer *s, struct slice owner,
                    unsigned char secret[WEBHOOK_SECRET_BYTES]);

/* Lines of headers: fal's signature and that of Standard Webhooks. False when it cannot be signed. */
bool webhook_headers(struct buf *b, const struct signer *s, const struct webhook_delivery *d);

#endif
