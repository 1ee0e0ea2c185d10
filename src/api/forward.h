/* The proxy as a real one (proxy.forward): a call goes on to fal itself with the server's own key.
 *
 * Outward travel: the method, path and query of the target, Authorization with our key, content-type, accept, user-agent
 * and the x-fal-* headers, but those that speak of the way here or of another account. Back: the status, content-type,
 * content-encoding, cache-control, etag, retry-after and x-fal-*. Nothing else, redirects are not followed, no answer is asked
 * for again (net/client.h repeats what a kept connection was closed on before any byte of an answer). The answer is passed on
 * as it comes; a caller that reads slowly slows the upstream down, one that leaves ends it. */
#ifndef ANYLLM_API_FORWARD_H
#define ANYLLM_API_FORWARD_H

#include "base/config.h"
#include "net/client.h"

struct forwarder; /* of the api: connections to fal */

/* NULL when out of memory, or without TLS. */
struct forwarder *forwarder_new(struct net_loop *l, const struct config *c);
/* Running calls end; while the loop still runs. */
void forwarder_close(struct forwarder *f);
/* After the loop. NULL is fine. */
void forwarder_free(struct forwarder *f);

#endif
