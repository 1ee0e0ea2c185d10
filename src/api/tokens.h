#ifndef ANYLLM_API_TOKENS_H
#define ANYLLM_API_TOKENS_H

#include "api/call.h"

void handle_token(struct call *c);
void handle_token_realtime(struct call *c);
void handle_jwks(struct call *c);

#endif
