/* From birth to end: due work, drain. */
#include "queue/inside.h"

#include "base/log.h"

#include <stdlib.h>

/* --- due work */

static void on_defer(struct net_defer *d) {
    queue_tick((struct queue *)((char *)d - offsetof(struct queue, defer)));
}

static void on_timer(struct net_timer *t) {
    queue_tick((struct queue *)((char *)t - offsetof(struct queue, timer)));
}

void soon(struct queue *q) {
    q->wake_wanted = true;
    if (q->o.loop != NULL) net_defer(q->o.loop, &q->defer);
}

void at_latest(struct queue *q, uint64_t at_ms) {
    if (at_ms >= q->timer_due_ms) return;
    uint64_t now = now_ms(q);
    q->timer_due_ms = at_ms;
    if (q->o.loop != NULL) net_timer_start(q->o.loop, &q->timer, at_ms > now ? at_ms - now : 0);
}

static void earlier(uint64_t *due, uint64_t at_ms) {
    if (at_ms < *due) *due = at_ms;
}

/* Back-offs that are over, lines that have waited long enough. When the next of them is due. */
static uint64_t look_at_runs(struct queue *q, uint64_t now) {
    uint64_t due = UINT64_MAX;
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        next = r->next;
        enum step step = (enum step)r->item->step;
        /* A line that is given now would come after a retry that is on its way, and be dropped as of the attempt before. */
        if (step == STEP_SETTLING || step == STEP_GIVING_BACK || step == STEP_RETRYING) continue;
        if (r->item->step == STEP_BACKOFF && r->due_ms <= now) back_off_over(q, r->item);
        if (r->item->step == STEP_BACKOFF) earlier(&due, r->due_ms);
        if (r->flush_due_ms != 0 && r->flush_due_ms <= now) flush_logs(q, r);
        if (r->flush_due_ms != 0) earlier(&due, r->flush_due_ms);
    }
    return due;
}

static size_t busy(const struct queue *q) {
    return q->at[STEP_NEW] + q->at[STEP_CLAIMING] + q->at[STEP_RUNNING] + q->at[STEP_RETRYING] +
           q->at[STEP_SETTLING] + q->at[STEP_ENDING] + q->at[STEP_GIVING_BACK];
}

static void tell_idle(struct queue *q) {
    void (*idle)(void *user) = q->idle;
    if (!q->draining || idle == NULL || busy(q) > 0 || !leases_left(q)) return;
    q->idle = NULL;
    idle(q->idle_user);
}

uint64_t queue_tick(struct queue *q) {
    uint64_t now = now_ms(q), due;
    q->timer_due_ms = UINT64_MAX;
    q->wake_wanted = false;
    calls_run(q);
    if (q->stuck != NULL && now >= q->stuck_due_ms) try_stuck_again(q);
    due = look_at_runs(q, now);
    earlier(&due, leases_tick(q, now));
    earlier(&due, loads_tick(q, now));
    suspects_tick(q);
    earlier(&due, limits_run(q, now));
    earlier(&due, deadlines_run(q, now)); /* before anything starts */
    sweep_if_due(q, now);
    retain_if_due(q, now);
    start_what_may(q);
    watch_tick(q, now);
    if (q->stuck != NULL) earlier(&due, q->stuck_due_ms);
    if (q->paused_until_ms > now && (order_waits(q) || q->suspects != NULL))
        earlier(&due, q->paused_until_ms);
    earlier(&due, q->timer_due_ms); /* what the work above has asked for */
    q->timer_due_ms = UINT64_MAX;
    if (due != UINT64_MAX) at_latest(q, due);
    bool again = q->wake_wanted || q->calls != NULL || q->nrefusals > 0;
    tell_idle(q); /* last: it may begin the end of everything */
    if (again) return 0;
    return due == UINT64_MAX ? UINT64_MAX : due > now ? due - now : 0;
}

void queue_wake(struct queue *q) {
    soon(q);
}

/* Who joins the rooms says it in the log. */
void queue_store_health(void *queue, bool can_write, const char *reason) {
    struct queue *q = queue;
    q->stats.can_write = can_write;
    if (!can_write) return;
    q->paused_until_ms = q->stuck_due_ms = 0;
    soon(q);
}

/* --- birth */

struct queue *queue_new(const struct queue_options *o) {
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL) return NULL;
    if (!table_init(&q->items) || !owners_init(&q->owners)) {
        table_free(&q->items, NULL);
        free(q);
        return NULL;
    }
    q->o = *o;
    pools_init(q);
    q->sweep_due_ms = q->retain_due_ms = UINT64_MAX;
    leases_init(q);
    q->calls_tail = &q->calls;
    q->defer.run = on_defer;
    q->timer.fire = on_timer;
    q->timer_due_ms = UINT64_MAX;
    q->stats.can_write = true;
    return q;
}

/* --- end */

void queue_drain(struct queue *q, void (*idle)(void *user), void *user) {
    q->draining = true;
    q->idle = idle;
    q->idle_user = user;
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        struct item *i = r->item;
        next = r->next;
        bool in_order = i->step == STEP_READY || i->step == STEP_HELD;
        if (in_order) leave_order(q, i);
        if (in_order || i->step == STEP_BACKOFF) give_back(q, i);
    }
    soon(q);
}

/* The runner is told to stop and what it still says is dropped: the run's id is gone. */
static void abandon_run(struct queue *q, struct run *r) {
    const struct queue_runner *runner = &q->o.runner;
    uint64_t id = r->id;
    if (runner->spent != NULL) {
        const struct store_usage spent = runner->spent(runner->user, id);
        run_keep_spent(r, &spent);
    }
    slots_take(&q->run_ids, id);
    r->id = 0;
    r->item->verdict = VERDICT_LOST;
    if (r->item->no_retry || doomed(r->item))
        settle(q, r->item);
    else
        give_back(q, r->item);
    runner->cancel(runner->user, id);
}

void queue_abandon(struct queue *q) {
    q->draining = q->abandoned = true;
    for (struct item *i = q->stuck, *next; i != NULL; i = next) {
        next = i->next_stuck;
        forget(q, i);
    }
    q->stuck = NULL;
    q->nstuck = 0;
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        next = r->next;
        if (r->item->step == STEP_RUNNING) abandon_run(q, r);
    }
    soon(q);
}

static void free_item(struct item *i) {
    free(i);
}

static void free_tickets(struct queue *q) {
    for (uint32_t k = 0; k < q->tickets.count; k++) {
        struct ticket *t = q->tickets.base[k].ptr;
        if (t == NULL) continue;
        free(t->item);
        free(t->call);
        free(t);
    }
    slots_free(&q->tickets);
}

void queue_free(struct queue *q) {
    if (q == NULL) return;
    if (q->o.loop != NULL) {
        net_timer_stop(q->o.loop, &q->timer);
        net_defer_cancel(q->o.loop, &q->defer);
    }
    while (q->runs != NULL) run_free(q, q->runs);
    free_tickets(q);
    slots_free(&q->run_ids);
    table_free(&q->items, free_item);
    owners_free(&q->owners);
    free(q->deadlines.base);
    free(q->loads.left);
    leases_free(q);
    calls_free(q);
    free(q);
}

void queue_get_stats(const struct queue *q, struct queue_stats *out) {
    *out = q->stats;
    out->waiting = q->waiting_ages.count;
    out->running = q->running_ages.count;
    out->oldest_waiting_ms = oldest_ms(q, &q->waiting_ages);
    out->oldest_running_ms = oldest_ms(q, &q->running_ages);
    out->owners = q->owners.count;
    out->loading = !q->loads.whole;
}
