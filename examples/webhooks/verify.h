/* Verifies a webhook with OpenSSL 3: is it from this server, is it new, is it whole? */
#ifndef WEBHOOK_VERIFY_H
#define WEBHOOK_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct webhook {
    const char *request_id, *user_id, *timestamp, *signature; /* X-Fal-Webhook-…; NULL: not there */
    const void *body;                                         /* as it came */
    size_t body_bytes;
};

/* A key of /.well-known/jwks.json by its "x": 32 bytes in base64url. Keep them for a day at most. */
struct webhook_key {
    unsigned char bytes[32];
};
bool webhook_key_read(const char *x, struct webhook_key *out);

bool webhook_verify(const struct webhook *w, const struct webhook_key *keys, size_t nkeys,
                    time_t now);

#endif
