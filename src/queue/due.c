/* What time alone brings about: the deadline of a start, and the sweep of what was not to be kept. */
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

/* No attempt begins from now on. One that has begun runs on; what has not ends here, or when the store's or the
 * runner's answer that is on its way has come. */
static void end_late(struct queue *q, struct item *i) {
    enum step step = (enum step)i->step;
    i->late = true;
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
    default: break; /* NEW, CLAIMING, RETRYING: their answer ends it; the others are at their end */
    }
}

/* Before an attempt begins: the store's answer may come before the tick that is due. */
void deadline_check(struct queue *q, struct item *i) {
    if (i->deadline_at == 0 || i->deadline_ms > now_ms(q)) return;
    deadlines_remove(&q->deadlines, i);
    end_late(q, i);
}

/* Ends under way at which further ones wait for the answers of these: ten thousand due in one moment neither stop the
 * loop nor fill the memory. What is claimed meanwhile meets deadline_check. */
#define LATE_AT_ONCE 1000U

/* While draining, what waits stays for the next start: its clock goes on there. */
static bool left_for_later(const struct queue *q, const struct item *i) {
    return q->draining && (i->step == STEP_WAITING || i->step == STEP_LOST);
}

uint64_t deadlines_run(struct queue *q, uint64_t now) {
    struct item *i;
    if (!q->started || q->abandoned) return UINT64_MAX;
    while ((i = deadlines_first(&q->deadlines)) != NULL && i->deadline_ms <= now) {
        if (q->at[STEP_ENDING] + q->at[STEP_SETTLING] >= LATE_AT_ONCE) return UINT64_MAX;
        deadlines_remove(&q->deadlines, i);
        if (!left_for_later(q, i)) end_late(q, i);
    }
    return i != NULL ? i->deadline_ms : UINT64_MAX;
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
        q->o.store->backend->sweep(q->o.store, ticket, wall_ms(q), SWEEP_BATCH);
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
