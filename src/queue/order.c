/* What starts next, and how many come before. */
#include "queue/inside.h"

void put_in_order(struct queue *q, struct item *i, enum step step) {
    set_step(q, i, step);
    order_add(&q->order, i);
}

void wait_in_order(struct queue *q, struct item *i) {
    if (i->started) {
        put_in_order(q, i, STEP_LOST);
    } else {
        waiting_add(q, i);
        set_step(q, i, STEP_WAITING);
    }
}

void leave_order(struct queue *q, struct item *i) {
    if (i->step == STEP_WAITING)
        waiting_remove(q, i);
    else
        order_remove(&q->order, i);
}

/* As many as the runner takes; those whose start the store has not answered yet count as started. */
void start_what_may(struct queue *q) {
    const struct queue_runner *runner = &q->o.runner;
    struct item *i;
    if (!q->started || q->draining || now_ms(q) < q->paused_until_ms) return;
    while ((i = order_first(&q->order)) != NULL &&
           q->starting < runner->capacity(runner->user, 0)) {
        bool fresh = i->step == STEP_WAITING || i->step == STEP_LOST;
        if (fresh && q->at[STEP_BACKOFF] >= QUEUE_MAX_BACKOFF) return;
        if (start_one(q, i)) continue;
        pause_claims(q);
        return;
    }
}

/* Those in the queue that start before it, with those being claimed; what callers have seen in progress is not counted,
 * so a restart, which puts it into the order again, lets no position rise. The lowest shown is kept: one of higher
 * priority may come before it later. */
uint32_t position_of(struct queue *q, struct item *i) {
    size_t begun = q->at[STEP_LOST] + q->at[STEP_READY] + q->at[STEP_HELD], before = q->claiming;
    if (i->step == STEP_WAITING)
        before += order_rank(&q->order, i) - begun;
    else if (before > 0)
        before--;
    if (i->step == STEP_WAITING && !i->eligible)
        before += order_rank(&i->owner->waiting, i) - i->owner->eligible;
    if (before < i->shown) i->shown = (uint32_t)before;
    return i->shown;
}
