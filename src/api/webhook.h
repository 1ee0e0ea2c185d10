/* Addresses that this server calls because a caller named them: webhooks, and files that are inputs. What the text tells is
 * refused at once, so that the caller learns of it; the connected address is looked at again (net_origin_options.allow). */
#ifndef ANYLLM_API_WEBHOOK_H
#define ANYLLM_API_WEBHOOK_H

#include "base/config.h"

#include <sys/socket.h>

#define WEBHOOK_MAX_BYTES 8192U
/* So many deliveries may lead one to the next: a webhook that leads to a submit of ours with a webhook, and so on. */
#define WEBHOOK_MAX_HOPS 3U
#define WEBHOOK_HOPS_HEADER "X-Anyllm-Hops"

/* The slices point into the URL. */
struct webhook_url {
    bool tls;
    struct slice host; /* without brackets */
    uint16_t port;
    struct slice path; /* with its query; may be empty or begin with '?' */
};

/* NULL, and *out is filled, when the URL may be called, as far as its text tells; else why not (static). */
const char *webhook_url_read(const struct config *cfg, struct slice url, struct webhook_url *out);
/* Takes "#hops=N" off a webhook as the store has it: N, 0 without it. */
unsigned webhook_hops(struct slice *url);
/* A public address, or one that webhook_allow names. */
bool webhook_address_allowed(const struct config *cfg, const struct sockaddr *address);
/* The first of webhook_allow that is no range of addresses, or NULL. */
const char *webhook_allow_fault(const struct config *cfg);

#endif
