#ifndef ANYLLM_API_TOKENS_H
#define ANYLLM_API_TOKENS_H

#include "api/call.h"

void handle_token(struct call *c);
void handle_token_realtime(struct call *c);
void handle_jwks(struct call *c);
/* Reads and checks a token of ours: signature, expiry, allowed_apps against c->app, the key behind it still valid. NULL: *out is
 * set, else one line that says why. */
const char *token_identity(struct call *c, struct slice token, struct identity *out);

#endif
