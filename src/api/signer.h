/* The server's own keys, in DATA/keys (0600): an Ed25519 pair that signs webhooks and tokens, and a secret for addresses that
 * carry their own permission. Made at the first start. Loop's thread only. */
#ifndef ANYLLM_API_SIGNER_H
#define ANYLLM_API_SIGNER_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/slice.h"

struct signer;

#define SIGNER_SIGNATURE_BYTES 64
#define SIGNER_MAC_BYTES 32

/* NULL with one line in reason. The clock and the random source are borrowed for life. */
struct signer *signer_open(const char *data_dir, const struct clock *clock,
                           const struct random *random, char *reason, size_t size);
void signer_free(struct signer *s); /* NULL is fine */
/* By the present key. False: out of memory, or OpenSSL cannot. */
bool signer_sign(const struct signer *s, struct slice message,
                 unsigned char signature[SIGNER_SIGNATURE_BYTES]);
/* By the key of that id, or by any when kid.len is 0: keys that were replaced count until their overlap is over. */
bool signer_verify(const struct signer *s, struct slice kid, struct slice message,
                   const unsigned char signature[SIGNER_SIGNATURE_BYTES]);
struct slice signer_kid(const struct signer *s);         /* of the present key */
void signer_jwks(const struct signer *s, struct buf *b); /* {"keys":[…]}, x padded */
/* HMAC-SHA256 with a secret that never leaves this server. */
void signer_mac(const struct signer *s, struct slice message, unsigned char mac[SIGNER_MAC_BYTES]);

#endif
