/* Tokens for those who must not hold a key: browsers that open a realtime connection or a stream of their own. */
#ifndef ANYLLM_API_TOKENS_H
#define ANYLLM_API_TOKENS_H

#include "api/call.h"

#define TOKEN_STANDARD_S 120U
#define TOKEN_MAX_S 3600U

void handle_token(struct call *c);          /* answers a JSON string */
void handle_token_realtime(struct call *c); /* answers {"token":…} */
void handle_jwks(struct call *c);
/* Reads and checks a token of ours: signature, expiry, allowed_apps against c->app, the key behind it still valid. NULL: *out is
 * set, else one line that says why. On a server without keys its rules for hosts and origins hold as well. */
const char *token_identity(struct call *c, struct slice token, struct identity *out);

#endif
