/* The rules of deliveries: what is due when, how many run at once. No HTTP and no SQL here; clock, random and what makes a
 * try are arguments. Loop's thread only.
 *
 *   outbox_add --> WAITING --due, and room for it--> STARTED --outbox_done--> forgotten
 *                     ^                                 |
 *                     +----------- outbox_retry --------+
 *
 * The first try comes at once. The pauses before the further ones double (the tenth and later ones stay) and fill the window
 * together, each up to a fifth longer or shorter than that.
 *
 * At most so many tries run for one host, and so many in all. Of the hosts that have something due, the one with the fewest
 * running goes first: hosts that do not answer hold their own deliveries up and nobody else's. All is O(log n). */
#ifndef ANYLLM_QUEUE_OUTBOX_H
#define ANYLLM_QUEUE_OUTBOX_H

#include "base/clock.h"
#include "base/random.h"
#include "base/slice.h"

struct outbox;

struct outbox_options {
    const struct clock *clock;
    const struct random *random;
    size_t at_once, at_once_per_host; /* 1 or more */
    unsigned retries;                 /* tries after the first */
    uint64_t window_ms;               /* over which they are spread */
    /* Begins a try, out of outbox_tick; ends with outbox_done or outbox_retry. `id` lives until then. */
    void (*start)(void *user, uint64_t ticket, const char *id);
    void *user;
};

struct outbox *outbox_new(const struct outbox_options *o); /* NULL when out of memory */
void outbox_free(struct outbox *o);                        /* NULL is fine */

/* One that waits until due_ms (wall clock, but never longer than the longest pause). One that is here already stays as it is.
 * False: out of memory, or the id is longer than a UUID. */
bool outbox_add(struct outbox *o, const char *id, struct slice host, int64_t due_ms);
/* Whether another try follows on a failed one when there were `tries`, that one counted, and in how many milliseconds. What
 * the receiver asked for (-1: nothing) makes the pause longer, up to the longest. */
bool outbox_next_try(const struct outbox *o, uint32_t tries, int64_t retry_after_ms,
                     uint64_t *in_ms);
/* Waits for its next try. */
void outbox_retry(struct outbox *o, uint64_t ticket, uint64_t in_ms);
/* It is over: forgotten. */
void outbox_done(struct outbox *o, uint64_t ticket);
/* Starts what is due and may run, and returns in how many milliseconds there is some again, if none ends before (UINT64_MAX:
 * none). To be called again after each of the functions above. */
uint64_t outbox_tick(struct outbox *o);
/* Nothing starts any more. */
void outbox_stop(struct outbox *o);

size_t outbox_waiting(const struct outbox *o); /* known and not started */
size_t outbox_running(const struct outbox *o); /* started */

#endif
