/* The server's own keys, in DATA/keys (0700, files 0600): Ed25519 pairs that sign webhooks and tokens, and a secret for
 * addresses that carry their own permission. Made at the first start. Loop's thread only.
 *
 *     sign-SECONDS-KID.pem   PKCS#8; SECONDS: when it was made (Unix time)
 *     secret                 32 bytes
 *     rotate                 made by the operator: wants a new pair at the next start or signer_reload, which removes it
 *
 * Receivers may keep the list of public keys for 24 h, so a pair is published at once and signs only a day later:
 *
 *   PUBLISHED --a day, or there is no older one--> SIGNING --a newer one signs--> REPLACED --two days--> file removed
 *
 * A pair that was made 90 days ago is replaced like one for which `rotate` was made. A stolen pair is got rid of by removing
 * its file. All of them verify. */
#ifndef ANYLLM_API_SIGNER_H
#define ANYLLM_API_SIGNER_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/slice.h"

struct signer;

#define SIGNER_SIGNATURE_BYTES 64
#define SIGNER_MAC_BYTES 32
#define SIGNER_MAX_KEYS 8U
#define SIGNER_AHEAD_S 86400       /* published before it signs: how long receivers keep the list */
#define SIGNER_OVERLAP_S 172800    /* replaced, still published */
#define SIGNER_LIFE_S (90 * 86400) /* then a new one is made */

/* NULL with one line in reason: a file that others can read, a damaged one. The clock and the random source are borrowed for
 * life. */
struct signer *signer_open(const char *data_dir, const struct clock *clock,
                           const struct random *random, char *reason, size_t size);
void signer_free(struct signer *s); /* NULL is fine */
/* Looks at the folder again: what is there, what is to be made or removed. False with one line in reason: the keys are as they
 * were. */
bool signer_reload(struct signer *s, char *reason, size_t size);
/* By the present key. False: out of memory, or OpenSSL cannot. */
bool signer_sign(const struct signer *s, struct slice message,
                 unsigned char signature[SIGNER_SIGNATURE_BYTES]);
/* By each of the published keys, the present one first. Returns how many, 0 on failure. */
size_t signer_sign_all(const struct signer *s, struct slice message,
                       unsigned char signatures[SIGNER_MAX_KEYS][SIGNER_SIGNATURE_BYTES]);
/* By the key of that id, or by any when kid.len is 0: keys that were replaced count until their overlap is over. */
bool signer_verify(const struct signer *s, struct slice kid, struct slice message,
                   const unsigned char signature[SIGNER_SIGNATURE_BYTES]);
struct slice signer_kid(const struct signer *s); /* of the present key; until signer_reload */
void signer_jwks(const struct signer *s, struct buf *b); /* {"keys":[…]}, x padded */
/* HMAC-SHA256 with a secret that never leaves this server. */
void signer_mac(const struct signer *s, struct slice message, unsigned char mac[SIGNER_MAC_BYTES]);

#endif
