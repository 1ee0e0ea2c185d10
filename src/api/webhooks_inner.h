/* Private to webhooks*.c. */
#ifndef ANYLLM_API_WEBHOOKS_INNER_H
#define ANYLLM_API_WEBHOOKS_INNER_H

#include "api/webhook.h"
#include "api/webhooks.h"
#include "queue/outbox.h"
#include "queue/slots.h"

#define WEBHOOKS_AGAIN_MS 1000U /* while there is no memory, or the store does not answer */
#define WEBHOOKS_QUIET_MS 1000U /* a try that is cut at the end may come twice */
#define WEBHOOKS_MAX_RESPONSE_BYTES 65536U
#define WEBHOOKS_MAX_ERROR_BYTES 64U

/* Connections to one receiver. */
struct receiver {
    struct receiver *next;
    struct net_origin *origin;
    size_t running;
    uint64_t idle_since_ms; /* when running is 0, mono */
    bool tls;
    uint16_t port;
    uint16_t host_len;
    char host[]; /* and NUL */
};

/* One try.
 *
 *   READING  the row and its result are asked for  --answered--> CALLING, or NOTING when it cannot be called
 *   CALLING  --answered, or not--> NOTING          --the server ends--> cut: the row waits as before
 *   NOTING   what came of it is with the store     --durable--> gone; the outbox forgets it or waits for the next try
 *                                                  --the store cannot write--> NOTING, a second later */
struct delivery {
    struct delivery *prev, *next;
    struct webhooks *w;
    uint64_t ticket, handle; /* of the outbox; for answers that come later */
    char id[STORE_ID_BYTES];
    uint32_t attempt;          /* tries before this one */
    struct receiver *receiver; /* NULL: not called */
    struct net_call *call;
    struct buf headers, body;
    char *path;
    /* What came of it. */
    unsigned status; /* 0: no answer */
    int64_t retry_after_ms;
    size_t response_bytes;
    enum store_webhook_state state;
    uint64_t in_ms; /* WAITING: until the next try */
    char error[WEBHOOKS_MAX_ERROR_BYTES];
    struct net_timer again; /* NOTING */
};

struct webhooks {
    struct api *api;
    struct outbox *outbox;
    struct slots handles; /* of deliveries */
    struct delivery *deliveries;
    struct receiver *receivers;
    struct net_tls *tls;
    struct net_timer turn, reread, sweep;
    const struct store_reply *at_hand; /* a row just read, while the outbox may start it */
    uint64_t stopped_ms;               /* mono */
    uint64_t keys_due_ms;              /* when the signer looks at its folder again, mono */
    bool loading, stopped;
    struct webhooks_stats stats;
    struct log_rate failed_log;
};

/* webhooks.c */
void webhooks_turn(struct webhooks *w); /* after each word to the outbox */
void webhooks_reread_later(struct webhooks *w);

/* webhooks_try.c: the outbox's start; all that run are dropped, their rows wait. */
void webhooks_start(void *webhooks, uint64_t ticket, const char *id);
void webhooks_cut(struct webhooks *w);

/* webhooks_receivers.c: NULL when out of memory. Each `get` wants one `put`. */
struct receiver *receiver_get(struct webhooks *w, const struct webhook_url *url);
void receiver_put(struct webhooks *w, struct receiver *r);
void receivers_sweep(struct webhooks *w); /* gives up what was idle for long */
void receivers_close(struct webhooks *w);

#endif
