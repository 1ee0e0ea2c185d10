/* Delivers the webhooks of the outbox: the rules are queue/outbox.h, here are body, signature and the call.
 *
 * At least once: what came of a try is durable before the next one, and the end of a delivery before it is forgotten. A server
 * that dies between the receiver's answer and that delivers once more, with the same id. */
#ifndef ANYLLM_API_WEBHOOKS_H
#define ANYLLM_API_WEBHOOKS_H

#include "api/call.h"

/* A part of the api: see life.c. */
bool webhooks_open(struct api *a, char *reason, size_t size);
void webhooks_load(struct api *a);  /* ends with api_loaded */
void webhooks_drain(struct api *a); /* no new tries; those that run go on until close */
void webhooks_close(struct api *a); /* what still runs is cut and waits for the next start */
void webhooks_free(struct api *a);

/* GET /rest/webhooks/secret: what the caller verifies its deliveries with, where HMAC alone is known. */
void handle_webhook_secret(struct call *c);

/* The queue says that a request with a webhook has ended: its row is durable. */
void webhooks_due(void *api, const char *id);
/* The store has put some back to WAITING: they are read again. */
void webhooks_replayed(struct api *a);

struct webhooks_stats {
    size_t waiting, running;
    uint64_t delivered, failed; /* failed: tries */
    uint64_t dead, gone;
};
void webhooks_get_stats(const struct api *a, struct webhooks_stats *out);

#endif
