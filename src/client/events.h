/* An exchange whose answer is read as server-sent events: what a model's stream and the stream of a status share.
 *
 * libcurl hands bytes out inside itself, where no call can be begun; a caller's callback may begin one. So the bytes are
 * collected, and read from a timer that is due at once.
 *
 *   `event` gets each event's data, which lives until it returns. False: no more of them.
 *   `done` comes exactly once, from the loop, after the last event: when event said false, when nothing was heard for
 *   idle_ms (`silent`), or when the exchange is over. In it, or later, the owner calls client_events_end. */
#ifndef ANYLLM_CLIENT_EVENTS_H
#define ANYLLM_CLIENT_EVENTS_H

#include "base/sse.h"
#include "client/client.h"

#define CLIENT_IDLE_MS 60000

struct client_events {
    struct client_try request; /* the owner builds it between _init and _begin */
    int64_t idle_ms;           /* longest silence; 0: any */
    struct sse_reader sse;
    struct buf bytes; /* not read yet; of a 2xx answer that is no event stream: all */
    struct client_timer work, idle;
    uint64_t heard_ms, sent_bytes;
    unsigned heard_attempt;
    bool came;    /* a byte of a 2xx answer */
    bool silent;  /* out */
    bool stopped; /* out: event said false, and the exchange may be running */
    bool at_end;  /* the event at hand has no blank line after it, and the answer is over */
    bool over;    /* done was called */
    bool (*event)(struct client_events *e, struct slice data);
    void (*done)(struct client_events *e);
    void *owner;
};

void client_events_init(struct client_events *e, fal_client *c, enum client_method method);
/* FAL_ERR_MEMORY: done will not come. */
enum fal_code client_events_begin(struct client_events *e);
/* Aborts what runs and frees all. Nothing on a zeroed one. Not from `event`. */
void client_events_end(struct client_events *e);

/* A 2xx answer of events came, or is coming. */
bool client_events_streaming(const struct client_events *e);
/* FAL_ERR_MEMORY, FAL_ERR_TOO_LARGE: why reading ended; else FAL_OK. */
enum fal_code client_events_fault(const struct client_events *e);

/* The caller has cancelled it, the loop will end it: nothing more is told. */
static inline bool client_call_cancelled(const fal_call *call) {
    return atomic_load(&call->cancelled) ||
           (call->blocking && atomic_load(&call->client->cancelled));
}

#endif
