/* Requests that ran when the server ended as often as may be: the next time they are quarantined. Run together, one that
 * kills the server would take the others with it, so they are tried one after the other: the next one begins when the one
 * before has ended. Those whose turn has not come are LOST, aside of the order. */
#include "queue/inside.h"

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

void suspect_left(struct queue *q, struct item *i) {
    if (q->suspect == i) q->suspect = NULL;
}

/* Whose turn it is and has not begun for want of room makes way for one of a pool that has some. */
static struct item *next_turn(struct queue *q) {
    const struct item *now = q->suspect;
    struct item *i = q->suspects;
    if (now == NULL) return i;
    if (now->step != STEP_LOST || pool_has_room(q, now)) return NULL;
    while (i != NULL && (i->line->pool == now->line->pool || !pool_has_room(q, i)))
        i = i->next_stuck;
    return i;
}

void suspects_tick(struct queue *q) {
    if (q->suspects == NULL || !may_start(q)) return;
    struct item *i = next_turn(q), *before = q->suspect;
    if (i == NULL) return;
    suspect_back(q, i);
    q->suspect = i;
    put_in_order(q, i, STEP_LOST);
    if (before == NULL) return;
    leave_order(q, before);
    suspect_aside(q, before);
}
