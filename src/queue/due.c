/* What time alone brings about: the deadline of a start, the sweep of what was not to be kept, and the end of what is too
 * old or too much. */
#include "queue/inside.h"

/* --- the start timeout */

bool start_by(struct queue *q, struct item *i, uint64_t in_ms) {
    i->deadline_ms = now_ms(q) + in_ms;
    return deadlines_add(&q->deadlines, i);
}

static bool has_begun(struct queue *q, const struct run *r) {
    const struct queue_runner *runner = &q->o.runner;
    return runner->begun == NULL || runner->begun(runner->user, r->id);
}

/* How it ends is decided, whether the store has it or not. */
static bool is_ending(enum step step) {
    return step == STEP_SETTLING || step == STEP_ENDING || step == STEP_GIVING_BACK;
}

/* No attempt begins from now on. One that has begun runs on; what has not ends here, or when the store's or the
 * runner's answer that is on its way has come. A result that waits for the store stays the result. */
static void end_late(struct queue *q, struct item *i) {
    enum step step = (enum step)i->step;
    i->late = true;
    if (is_ending(step)) return;
    if (step == STEP_RUNNING && has_begun(q, i->run)) return;
    i->timed_out = true;
    switch (step) {
    case STEP_WAITING:
    case STEP_LOST:
        leave_order(q, i);
        end_waiting(q, i, VERDICT_LATE, NULL);
        break;
    case STEP_HELD:
    case STEP_READY:
        leave_order(q, i);
        settle(q, i);
        break;
    case STEP_BACKOFF: settle(q, i); break;
    case STEP_RUNNING: cancel_running(q, i); break;
    default: break; /* NEW, CLAIMING, RETRYING: their answer ends it */
    }
}

/* Before an attempt begins: the store's answer may come before the tick that is due. */
void deadline_check(struct queue *q, struct item *i) {
    if (i->deadline_at == 0 || i->deadline_ms > now_ms(q)) return;
    deadlines_remove(&q->deadlines, i);
    end_late(q, i);
}

/* While draining, what waits stays for the next start: its clock goes on there. */
static bool left_for_later(const struct queue *q, const struct item *i) {
    return q->draining && (i->step == STEP_WAITING || i->step == STEP_LOST);
}

uint64_t deadlines_run(struct queue *q, uint64_t now) {
    struct item *i;
    if (!q->started || !q->loads.whole || q->abandoned) return UINT64_MAX;
    while ((i = deadlines_first(&q->deadlines)) != NULL && i->deadline_ms <= now) {
        if (q->at[STEP_ENDING] + q->at[STEP_SETTLING] >= ENDS_AT_ONCE)
            return UINT64_MAX; /* what is claimed meanwhile meets deadline_check */
        deadlines_remove(&q->deadlines, i);
        if (!left_for_later(q, i)) end_late(q, i);
    }
    return i != NULL ? i->deadline_ms : UINT64_MAX;
}

/* By which things are removed: a clock that is set ahead or back makes nothing older than it is. */
static int64_t careful_ms(struct queue *q) {
    int64_t wall = wall_ms(q), steady = steady_ms(q);
    return wall < steady ? wall : steady;
}

/* --- the sweep */

#define SWEEP_BATCH 100U /* requests that the store forgets in one transaction */

/* Something is there to be forgotten some time. */
void sweep_later(struct queue *q) {
    if (q->sweep_due_ms == UINT64_MAX) q->sweep_due_ms = now_ms(q) + QUEUE_SWEEP_MS;
    at_latest(q, q->sweep_due_ms);
}

void sweep_if_due(struct queue *q, uint64_t now) {
    if (!q->started || q->draining || q->sweep_due_ms == UINT64_MAX) return;
    if (now < q->sweep_due_ms) {
        at_latest(q, q->sweep_due_ms);
        return;
    }
    uint64_t ticket = ask(q, ASKED_SWEEP, NULL, NULL);
    q->sweep_due_ms = UINT64_MAX;
    if (ticket != 0)
        q->o.store->backend->sweep(q->o.store, ticket, careful_ms(q), SWEEP_BATCH);
    else
        sweep_later(q);
}

void sweep_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    (void)t;
    if (r->status == STORE_OK && r->swept == SWEEP_BATCH) {
        q->sweep_due_ms = now_ms(q);
        soon(q);
    } else if (r->status != STORE_OK || r->forget_ms != 0) {
        sweep_later(q);
    }
}

/* --- retention */

/* A clock that is wrong when the server starts is put right soon after; nothing goes by its age until then. */
#define RETAIN_TRUST_MS 3600000
#define RETAIN_TRUST_SHARE 24 /* or this part of the age, when that is less */

void retain_begin(struct queue *q) {
    int64_t age = q->o.retention_age_ms, trust = age / RETAIN_TRUST_SHARE;
    if (age <= 0 && q->o.retention_bytes == 0) return;
    if (trust > RETAIN_TRUST_MS) trust = RETAIN_TRUST_MS;
    q->retain_by_age_ms = now_ms(q) + (uint64_t)trust;
    q->retain_due_ms = now_ms(q);
}

static void retain_in(struct queue *q, uint64_t in_ms) {
    q->retain_due_ms = now_ms(q) + in_ms;
    at_latest(q, q->retain_due_ms);
}

static int64_t too_old_ms(struct queue *q, uint64_t now) {
    int64_t at = careful_ms(q) - q->o.retention_age_ms;
    return q->o.retention_age_ms > 0 && now >= q->retain_by_age_ms && at > 0 ? at : 0;
}

void retain_if_due(struct queue *q, uint64_t now) {
    if (!q->started || q->draining || q->retain_due_ms == UINT64_MAX) return;
    if (now < q->retain_due_ms) {
        at_latest(q, q->retain_due_ms);
        return;
    }
    struct store_retention r = {.older_than_ms = too_old_ms(q, now),
                                .max_bytes = q->o.retention_bytes,
                                .max = QUEUE_RETAIN_ROWS};
    uint64_t ticket = ask(q, ASKED_RETAIN, NULL, NULL);
    if (ticket == 0) {
        retain_in(q, QUEUE_RETAIN_MS);
        return;
    }
    q->retain_due_ms = UINT64_MAX;
    q->o.store->backend->retain(q->o.store, ticket, &r);
}

void retain_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    (void)t;
    if (r->status == STORE_OK) q->stats.retained += r->swept;
    retain_in(q, r->status == STORE_OK && r->more ? QUEUE_RETAIN_PAUSE_MS : QUEUE_RETAIN_MS);
}
