/* One event loop and what belongs to it: coarse timers, posts from other threads, the clock of the request path.
 * Nothing here is global: a second loop is a second struct. All functions but net_loop_post run on the loop's thread. */
#ifndef ANYLLM_NET_LOOP_H
#define ANYLLM_NET_LOOP_H

#include "base/slice.h"

#include <uv.h>

/* A wheel of coarse timers: deadlines are armed and disarmed several times per request, so both are O(1) and touch
 * no heap; arming again for later only notes the new time. A timer fires at its time or up to NET_TICK_MS later, never
 * before; after a standstill of the process what came meanwhile is read first. The kernel's timer is set for the first
 * slot in use, so a loop with nothing due sleeps. */
#define NET_TICK_MS 20U
#define NET_WHEEL_SLOTS 512U
#define NET_LATE_MS 200U /* a tick that comes later than this lets the sockets be read first */

struct net_timer {
    struct net_timer *prev, *next; /* NULL when not armed */
    uint64_t due_ms;
    uint64_t tick; /* under which it lies in the wheel: not after due_ms */
    void (*fire)(struct net_timer *
                     t); /* the timer is disarmed before the call and may be armed or freed in it */
};

/* Work for when the present callback has returned: how "never calls back before it returned" is kept. Zero it first. */
struct net_defer {
    struct net_defer *prev, *next; /* NULL when not queued */
    void (*run)(struct net_defer
                    *d); /* taken off the queue before the call, may be queued or freed in it */
};

#define NET_READ_BYTES 65536U
#define NET_DATE_BYTES 30

struct net_loop {
    uv_loop_t uv;
    uv_timer_t tick;                         /* set for the first slot in use */
    uint64_t tick_ms;                        /* when it fires, UINT64_MAX when it is not set */
    struct net_timer wheel[NET_WHEEL_SLOTS]; /* list heads */
    uint64_t used[NET_WHEEL_SLOTS / 64]; /* slots that may hold a timer; cleared when found empty */
    uint64_t wheel_tick; /* the tick (ms / NET_TICK_MS) up to which the wheel has turned */
    size_t armed;
    bool polled;               /* a late tick has let the loop poll */
    uv_prepare_t before_poll;  /* runs what was deferred */
    struct net_defer deferred; /* list head */
    uv_async_t wake;
    uv_mutex_t post_lock;
    struct net_post *posts, **posts_tail;
    size_t holds;
    char read_buf[NET_READ_BYTES]; /* every read of every connection lands here first */
    char date[NET_DATE_BYTES];     /* "Mon, 23 Nov 2026 05:20:08 GMT", renewed once a second */
    uint64_t date_ms;
};

/* 0, or a negative uv error. The struct must not move afterwards. */
int net_loop_init(struct net_loop *l);
/* Until net_loop_stop, or until nothing is left to do: no handle, armed timer, deferred work or hold. */
void net_loop_run(struct net_loop *l);
void net_loop_stop(struct net_loop *l); /* from the loop's thread */
/* Closes the loop's own handles and runs until every handle is gone. Posts still queued are run; no other thread may
 * post any more. Handles of others must be closing or closed; armed timers are dropped. */
void net_loop_close(struct net_loop *l);

static inline uint64_t net_now_ms(struct net_loop *l) {
    return uv_now(&l->uv);
}

/* (Re)arms. Exactly one call of fire, unless stopped first. */
void net_timer_start(struct net_loop *l, struct net_timer *t, uint64_t after_ms);
void net_timer_stop(struct net_loop *l, struct net_timer *t); /* harmless when not armed */
static inline bool net_timer_armed(const struct net_timer *t) {
    return t->prev != NULL;
}

/* Runs d->run once before the loop next waits, in order of queuing; queued twice counts once. */
void net_defer(struct net_loop *l, struct net_defer *d);
void net_defer_cancel(struct net_loop *l, struct net_defer *d); /* harmless when not queued */

/* Callable from any thread: runs fn(arg) on the loop's thread, in order of posting, exactly once. -1: out of memory,
 * fn will not run. */
int net_loop_post(struct net_loop *l, void (*fn)(void *arg), void *arg);
/* A post is to come from another thread: net_loop_run does not return for want of work meanwhile. They nest. */
void net_loop_hold(struct net_loop *l);
void net_loop_release(struct net_loop *l);

/* The value of the Date header now. */
struct slice net_date(struct net_loop *l);

#endif
