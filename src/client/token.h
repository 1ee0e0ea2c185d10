/* Tokens that open some endpoints for a while. */
#ifndef ANYLLM_CLIENT_TOKEN_H
#define ANYLLM_CLIENT_TOKEN_H

#include "client/client.h"

#define CLIENT_TOKEN_S 120 /* as fal's own clients ask */

/* NULL when all is well, else what is wrong. Static. */
const char *client_token_fault(const char *const *apps, size_t app_count, int64_t expiration_s);
/* Address and body of the POST; r is init'ed. `body` is yours, not yet init'ed, and must live as long as the request. The apps
 * are without fault. False: no memory (`body` is to be freed all the same). */
bool client_token_request(struct client_request *r, struct buf *body, const fal_client *c,
                          const char *const *apps, size_t app_count, int64_t expiration_s);
/* The token of an answer: a JSON string, {"token": …} or {"detail": …}. From malloc. NULL: *code is FAL_ERR_PROTOCOL or
 * FAL_ERR_MEMORY. */
char *client_token_read(struct slice reply_json, enum fal_code *code);

#endif
