#include "api/tokens.h"

void handle_token(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_token_realtime(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_jwks(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

const char *token_identity(struct call *c, struct slice token, struct identity *out) {
    return "tokens are not given out yet";
}
