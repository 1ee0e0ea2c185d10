/* An answer of server-sent events: its head, its pings, its end. */
#ifndef ANYLLM_API_EVENTS_H
#define ANYLLM_API_EVENTS_H

#include "api/call.h"

/* After this long without a byte a comment goes out: proxies on the way must not take us for dead. */
#define EVENTS_PING_MS 15000U

struct events {
    struct call *call;
    struct net_timer ping;
    bool begun;   /* the head is out: what fails now is told as an event */
    bool blocked; /* the caller reads slowly: the exchange's drained hook follows */
};

/* From now on a ping is due, which opens the answer by itself. */
void events_start(struct events *e, struct call *c);
/* The head, once. */
void events_open(struct events *e);
/* Whole events or a comment; opens the answer. */
void events_write(struct events *e, struct slice bytes);
/* No ping comes any more. The answer can be another one, unless it has begun. */
void events_stop(struct events *e);
void events_end(struct events *e);
/* The stream must not look whole. */
void events_abort(struct events *e);

#endif
