/* Delivers the webhooks of the outbox: the rules are queue/outbox.h, here are body, signature and the call. */
#ifndef ANYLLM_API_WEBHOOKS_H
#define ANYLLM_API_WEBHOOKS_H

#include "api/call.h"

/* A part of the api: see life.c. */
bool webhooks_open(struct api *a, char *reason, size_t size);
void webhooks_load(struct api *a); /* ends with api_loaded */
void webhooks_drain(struct api *a);
void webhooks_close(struct api *a);
void webhooks_free(struct api *a);

/* The store has put some back to WAITING: read them again. */
void webhooks_replayed(struct api *a);
/* The queue says that a request with a webhook has ended: its row is durable. */
void webhooks_due(void *api, const char *id);

#endif
