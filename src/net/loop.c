#include "net/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct net_post {
    struct net_post *next;
    void (*fn)(void *arg);
    void *arg;
};

/* --- timers ---
 * A timer lies in the slot of a tick (of NET_TICK_MS), modulo the number of slots. When it is armed that is the first
 * tick at which its time has come; armed again for later it stays where it lies, and is moved on when its slot is
 * visited. So are timers of later turns, which lie in the same lists. */

static uint64_t slot_of(uint64_t tick) {
    return tick % NET_WHEEL_SLOTS;
}

static void set_tick(struct net_loop *l, uint64_t at_ms);

static uint64_t tick_of(const struct net_loop *l, uint64_t due_ms) {
    uint64_t tick = (due_ms + NET_TICK_MS - 1) / NET_TICK_MS;
    return tick > l->wheel_tick ? tick : l->wheel_tick + 1;
}

static void link_timer(struct net_loop *l, struct net_timer *t) {
    t->tick = tick_of(l, t->due_ms);
    uint64_t slot = slot_of(t->tick);
    struct net_timer *head = &l->wheel[slot];
    t->prev = head->prev;
    t->next = head;
    head->prev->next = t;
    head->prev = t;
    l->used[slot / 64] |= 1ULL << (slot % 64);
}

static void unlink_timer(struct net_timer *t) {
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

static void fire_slot(struct net_loop *l, uint64_t slot, uint64_t now_ms) {
    struct net_timer *head = &l->wheel[slot], turn;
    l->used[slot / 64] &= ~(1ULL << (slot % 64));
    if (head->next == head) return;
    turn.next = head->next; /* timers armed from here on are not of this visit */
    turn.prev = head->prev;
    turn.next->prev = turn.prev->next = &turn;
    head->next = head->prev = head;
    while (turn.next != &turn) {
        struct net_timer *t = turn.next;
        unlink_timer(t);
        if (t->due_ms > now_ms) {
            link_timer(l, t);
            continue;
        }
        if (--l->armed == 0) uv_unref((uv_handle_t *)&l->tick);
        t->fire(t);
    }
}

/* The first tick after `after` whose slot holds a timer; UINT64_MAX when there is none. */
static uint64_t first_used(struct net_loop *l, uint64_t after) {
    for (uint64_t n = 1; n <= NET_WHEEL_SLOTS; n++) {
        uint64_t slot = slot_of(after + n), word = l->used[slot / 64] >> (slot % 64);
        if (word == 0) {
            n += 63 - slot % 64;
            continue;
        }
        n += (uint64_t)__builtin_ctzll(word);
        slot = slot_of(after + n);
        if (l->wheel[slot].next != &l->wheel[slot]) return after + n;
        l->used[slot / 64] &= ~(1ULL << (slot % 64)); /* its timers were stopped meanwhile */
    }
    return UINT64_MAX;
}

/* The process stood still (SIGSTOP, a machine that slept): libuv runs timers before it reads, so timeouts would fire over
 * answers that lie in the sockets. One poll comes first. */
static bool stood_still(struct net_loop *l, uint64_t now_ms) {
    l->polled = !l->polled && now_ms > l->tick_ms + NET_LATE_MS;
    return l->polled;
}

static void on_tick(uv_timer_t *handle) {
    struct net_loop *l = handle->data;
    uint64_t now_ms = net_now_ms(l), from = l->wheel_tick, to = now_ms / NET_TICK_MS;
    if (stood_still(l, now_ms)) {
        uv_timer_start(handle, on_tick, 1, 0);
        return;
    }
    l->tick_ms = UINT64_MAX;
    l->wheel_tick = to;
    for (uint64_t n = 1; n <= NET_WHEEL_SLOTS && from + n <= to; n++) {
        uint64_t slot = slot_of(from + n);
        if (l->used[slot / 64] & 1ULL << (slot % 64)) fire_slot(l, slot, now_ms);
    }
    uint64_t next = l->armed > 0 ? first_used(l, to) : UINT64_MAX;
    if (next != UINT64_MAX) set_tick(l, next * NET_TICK_MS);
}

static void set_tick(struct net_loop *l, uint64_t at_ms) {
    if (at_ms >= l->tick_ms) return;
    uint64_t now_ms = net_now_ms(l);
    l->tick_ms = at_ms;
    uv_timer_start(&l->tick, on_tick, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

void net_timer_start(struct net_loop *l, struct net_timer *t, uint64_t after_ms) {
    t->due_ms = net_now_ms(l) + after_ms;
    if (net_timer_armed(t)) {
        if (tick_of(l, t->due_ms) >= t->tick) return;
        unlink_timer(t);
    } else if (l->armed++ == 0) {
        uv_ref((uv_handle_t *)&l->tick);
    }
    link_timer(l, t);
    /* A slot that comes round earlier than the timer's turn costs one look at it, no more. */
    uint64_t last = l->wheel_tick + NET_WHEEL_SLOTS;
    set_tick(l, (t->tick < last ? t->tick : last) * NET_TICK_MS);
}

void net_timer_stop(struct net_loop *l, struct net_timer *t) {
    if (!net_timer_armed(t)) return;
    unlink_timer(t);
    if (--l->armed == 0) uv_unref((uv_handle_t *)&l->tick);
}

/* --- deferred work --- */

static void unlink_deferred(struct net_loop *l, struct net_defer *d) {
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->prev = d->next = NULL;
    if (l->deferred.next == &l->deferred) uv_unref((uv_handle_t *)&l->before_poll);
}

static void run_deferred(uv_prepare_t *handle) {
    struct net_loop *l = handle->data;
    while (l->deferred.next != &l->deferred) {
        struct net_defer *d = l->deferred.next;
        unlink_deferred(l, d);
        d->run(d);
    }
}

void net_defer(struct net_loop *l, struct net_defer *d) {
    if (d->prev != NULL) return;
    if (l->deferred.next == &l->deferred) uv_ref((uv_handle_t *)&l->before_poll);
    d->prev = l->deferred.prev;
    d->next = &l->deferred;
    l->deferred.prev->next = d;
    l->deferred.prev = d;
}

void net_defer_cancel(struct net_loop *l, struct net_defer *d) {
    if (d->prev != NULL) unlink_deferred(l, d);
}

/* --- posts --- */

static struct net_post *take_posts(struct net_loop *l) {
    uv_mutex_lock(&l->post_lock);
    struct net_post *list = l->posts;
    l->posts = NULL;
    l->posts_tail = &l->posts;
    uv_mutex_unlock(&l->post_lock);
    return list;
}

static void run_posts(uv_async_t *handle) {
    struct net_loop *l = handle->data;
    for (struct net_post *p = take_posts(l), *next; p != NULL; p = next) {
        next = p->next;
        p->fn(p->arg);
        free(p);
    }
}

int net_loop_post(struct net_loop *l, void (*fn)(void *arg), void *arg) {
    struct net_post *p = malloc(sizeof *p);
    if (p == NULL) return -1;
    *p = (struct net_post){.fn = fn, .arg = arg};
    uv_mutex_lock(&l->post_lock);
    *l->posts_tail = p;
    l->posts_tail = &p->next;
    /* Under the lock, so that a thread that takes the post last cannot find the handle closed. */
    uv_async_send(&l->wake);
    uv_mutex_unlock(&l->post_lock);
    return 0;
}

void net_loop_hold(struct net_loop *l) {
    if (l->holds++ == 0) uv_ref((uv_handle_t *)&l->wake);
}

void net_loop_release(struct net_loop *l) {
    if (--l->holds == 0) uv_unref((uv_handle_t *)&l->wake);
}

/* --- the loop --- */

int net_loop_init(struct net_loop *l) {
    memset(l, 0, offsetof(struct net_loop, read_buf));
    l->date_ms = 0;
    l->tick_ms = UINT64_MAX;
    l->posts_tail = &l->posts;
    l->deferred.prev = l->deferred.next = &l->deferred;
    for (size_t i = 0; i < NET_WHEEL_SLOTS; i++) l->wheel[i].prev = l->wheel[i].next = &l->wheel[i];
    int r = uv_loop_init(&l->uv);
    if (r < 0) return r;
    if ((r = uv_mutex_init(&l->post_lock)) < 0) goto no_lock;
    if ((r = uv_async_init(&l->uv, &l->wake, run_posts)) < 0) goto no_async;
    uv_unref((uv_handle_t *)&l->wake);
    uv_timer_init(&l->uv, &l->tick);
    uv_unref((uv_handle_t *)&l->tick);
    uv_prepare_init(&l->uv, &l->before_poll);
    uv_prepare_start(&l->before_poll, run_deferred);
    uv_unref((uv_handle_t *)&l->before_poll);
    l->wake.data = l->tick.data = l->before_poll.data = l;
    l->wheel_tick = net_now_ms(l) / NET_TICK_MS;
    return 0;
no_async:
    uv_mutex_destroy(&l->post_lock);
no_lock:
    uv_loop_close(&l->uv);
    return r;
}

void net_loop_run(struct net_loop *l) {
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *l) {
    uv_stop(&l->uv);
}

void net_loop_close(struct net_loop *l) {
    run_posts(&l->wake);
    run_deferred(&l->before_poll);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&l->before_poll,
             NULL); /* last: closing callbacks of others may still defer */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    uv_mutex_destroy(&l->post_lock);
}

/* --- the date --- */

struct slice net_date(struct net_loop *l) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    uint64_t now_ms = net_now_ms(l);
    if (l->date_ms == 0 || now_ms - l->date_ms >= 1000) {
        struct timespec wall;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &wall);
        gmtime_r(&wall.tv_sec, &tm);
        snprintf(l->date, sizeof l->date, "%s, %02u %s %04u %02u:%02u:%02u GMT",
                 days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
                 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
        /* The next renewal is due when the wall clock's second ends. */
        uint64_t into_ms = (uint64_t)wall.tv_nsec / 1000000U;
        l->date_ms = now_ms > into_ms ? now_ms - into_ms : 1;
    }
    return slice_make(l->date, sizeof l->date - 1);
}
