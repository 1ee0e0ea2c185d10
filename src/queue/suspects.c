/* Requests that ran when the server ended as often as may be: the next time they are quarantined. Run together, one that
 * kills the server would take the others with it, so they are tried one after the other: the next one begins when the one
 * before has ended, or has run for QUEUE_SUSPECT_MS and killed nobody. Those whose turn has not come are LOST, aside of
 * the order. */
#include "queue/inside.h"

/* It has no room in its pool for so long: the others do not wait for that. */
static void turn(struct queue *q, struct item *i) {
    q->suspect = i;
    q->suspect_due_ms = now_ms(q) + QUEUE_SUSPECT_MS;
}

bool suspect_aside(struct queue *q, struct item *i) {
    struct item **at = &q->suspects;
    if (!i->suspect || q->suspect == i) return false;
    while (*at != NULL) at = &(*at)->next_stuck;
    *at = i;
    i->next_stuck = NULL;
    i->aside = true;
    return true;
}

void suspect_back(struct queue *q, struct item *i) {
    struct item **at = &q->suspects;
    while (*at != i) at = &(*at)->next_stuck;
    *at = i->next_stuck;
    i->aside = false;
}

void suspect_begins(struct queue *q, struct item *i) {
    if (q->suspect == i) turn(q, i);
}

void suspect_left(struct queue *q, struct item *i) {
    if (q->suspect == i) q->suspect = NULL;
}

uint64_t suspects_tick(struct queue *q, uint64_t now) {
    struct item *i = q->suspects;
    if (i == NULL || !may_start(q)) return UINT64_MAX;
    if (q->suspect != NULL && now < q->suspect_due_ms) return q->suspect_due_ms;
    suspect_back(q, i);
    turn(q, i);
    put_in_order(q, i, STEP_LOST);
    return q->suspects != NULL ? q->suspect_due_ms : UINT64_MAX;
}
