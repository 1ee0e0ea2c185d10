/* The text of the keys that this server makes: "ID:anyllm_SECRETCHECK". ID is a UUID, SECRET 256 random bits in base62,
 * CHECK the CRC-32 of all before it in base62: a mistyped key is told from a wrong one without looking for it, and scanners
 * for lost secrets know what they have found. Pure. */
#ifndef ANYLLM_API_CREDENTIAL_H
#define ANYLLM_API_CREDENTIAL_H

#include "base/random.h"
#include "base/slice.h"

#define CREDENTIAL_ID_BYTES 36U
#define CREDENTIAL_PREFIX "anyllm_"
#define CREDENTIAL_DRAWN_BYTES 43U /* 62^43 > 2^256 */
#define CREDENTIAL_CHECK_BYTES 6U  /* 62^6 > 2^32 */
#define CREDENTIAL_BYTES                                                                 \
    (CREDENTIAL_ID_BYTES + 1U + sizeof CREDENTIAL_PREFIX - 1U + CREDENTIAL_DRAWN_BYTES + \
     CREDENTIAL_CHECK_BYTES)

/* With its NUL. The caller wipes it. */
void credential_make(const struct random *r, char out[CREDENTIAL_BYTES + 1]);

enum credential_form {
    CREDENTIAL_OTHER, /* of no form that we make: the configuration's keys may look like anything else */
    CREDENTIAL_OURS, /* and its checksum is right */
    CREDENTIAL_DAMAGED /* ours but for a letter wrong, missing or added behind the prefix, or a wrong one in the id */
};
enum credential_form credential_look(struct slice text);

#endif
