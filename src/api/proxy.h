/* The browser's proxy: `/api/fal/proxy` with the address meant in x-fal-target-url. The address is parsed once, strictly
 * (target.c), and what it names is then served here as any call is: same handlers, keys, limits and ownership. Nothing is
 * fetched from an address of the caller's; with proxy.forward the only hosts ever asked are fal's own. */
#ifndef ANYLLM_API_PROXY_H
#define ANYLLM_API_PROXY_H

#include "api/call.h"
#include "api/target.h"

/* Sets c->at to the target and c->route to what serves it (NULL with *status, as routes_find). False: answered. */
bool proxy_enter(struct call *c, unsigned *status, const char **allow);

#endif
