/* The surfaces: one file per surface parses, calls a room, encodes. routes.c is THE table of what is served.
 * Loop's thread only. */
#ifndef ANYLLM_API_API_H
#define ANYLLM_API_API_H

#include "base/config.h"
#include "llm/llm.h"
#include "net/server.h"
#include "queue/queue.h"

struct api;

struct api_options {
    struct net_loop *loop;
    const struct clock *clock;
    const struct random *random;
    const struct config *config;       /* borrowed for life */
    const struct catalogue *catalogue; /* borrowed for life */
    struct llm *llm;                   /* borrowed for life */
};

struct api *api_new(const struct api_options *o); /* NULL when out of memory */
struct desk;
/* Opens what the api keeps in the data folder and the store, both borrowed until api_close: signing keys, files, webhooks, ledger.
 * Not for --check. False with one line in reason. */
bool api_open(struct api *a, struct store *s, struct desk *d, char *reason, size_t size);
/* Reads what it needs before the first request; `ready` is called once, perhaps before this has returned. */
void api_load(struct api *a, void (*ready)(void *user, bool ok), void *user);
/* In place of both, for an operator's command where no server runs: only the operator's routes answer, nothing is run, delivered
 * or swept. */
void api_load_operator(struct api *a, struct store *s, struct desk *d,
                       void (*ready)(void *user, bool ok), void *user);
/* There never was a key, as far as is loaded: callers need none. */
bool api_is_open(const struct api *a);
/* The queue's on_webhook: a request with a webhook has ended. */
void webhooks_due(void *api, const char *id);
/* While the server ends: no delivery runs, or those that do have had WEBHOOKS_QUIET_MS and would be cut. */
bool webhooks_quiet(const struct api *a);
/* The queue is made after the api (it takes the api's runner) and given here before the first request. */
void api_set_queue(struct api *a, struct queue *q);
/* NULL before the server is closed: answers of the queue that come later find nobody. */
void api_set_server(struct api *a, struct net_server *s);
struct net_server_hooks api_hooks(void); /* their user is the api */
struct queue_runner api_runner(struct api *a);
/* The operator has changed something in the data folder (SIGHUP): the signing keys are read again. */
void api_reload(struct api *a);
/* From now on /readyz says 503. */
void api_set_draining(struct api *a);
void api_set_store_ok(struct api *a, bool can_write);
/* Closes the connections that the api has of its own, after the server is closed and while the loop runs. NULL is fine. */
void api_close(struct api *a);
void api_free(struct api *a); /* after the loop */

/* --- for tests: pure parts */
/* NULL when `url` may be delivered to, as far as its text tells, else why not. */
const char *webhook_url_fault(const struct config *cfg, struct slice url);

#endif
