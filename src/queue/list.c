/* What an operator sees of the queue. Only as much of it is walked as is shown. */
#include "queue/inside.h"

struct listing {
    struct queue *q;
    size_t left;
    void (*each)(void *user, const struct queue_entry *e);
    void *user;
};

static void show(struct listing *l, struct item *i) {
    struct queue_entry e = {.id = i->id,
                            .endpoint = item_endpoint(i),
                            .owner = item_owner(i),
                            .step = step_name((enum step)i->step),
                            .state = i->started ? STORE_IN_PROGRESS : STORE_IN_QUEUE,
                            .priority = i->priority,
                            .attempt = i->attempt,
                            .created_ms = i->created_ms,
                            .started_ms = i->started_ms};
    if (!i->started) e.position = position_of(l->q, i);
    l->left--;
    l->each(l->user, &e);
}

static void show_claimed(struct listing *l, bool started) {
    for (struct run *r = l->q->runs; r != NULL && l->left > 0; r = r->next)
        if (r->item->started == started && r->item->step != STEP_WAITING) show(l, r->item);
}

/* In progress to callers, and not yet taken up again. */
static void show_lost(struct listing *l) {
    for (unsigned k = 0; k < l->q->npools; k++) {
        const struct order *begun = &l->q->pools[k].begun;
        for (size_t n = 0; n < order_count(begun) && l->left > 0; n++)
            if (order_at(begun, n)->run == NULL) show(l, order_at(begun, n));
    }
    for (struct item *i = l->q->suspects; i != NULL && l->left > 0; i = i->next_stuck) show(l, i);
}

/* Of the pools' requests at `at[]` in their orders, the one that the fewest of its pool precede; dearer ones first. */
static struct item *next_of(struct queue *q, uint32_t at[QUEUE_POOLS]) {
    struct item *best = NULL;
    for (unsigned k = 0; k < q->npools; k++) {
        struct item *i = order_eligible_at(q, k, at[k]);
        if (i == NULL) continue;
        unsigned b = best != NULL ? best->line->pool : 0;
        if (best == NULL || i->priority < best->priority ||
            (i->priority == best->priority && at[k] < at[b]))
            best = i;
    }
    if (best != NULL) at[best->line->pool]++;
    return best;
}

static void show_eligible(struct listing *l) {
    uint32_t at[QUEUE_POOLS] = {0};
    struct item *i;
    while (l->left > 0 && (i = next_of(l->q, at)) != NULL) show(l, i);
}

/* What waits for its owner's others to end. */
static void show_over(struct listing *l) {
    for (const struct line *k = l->q->over; k != NULL; k = k->over_next)
        for (size_t n = k->slots; n < order_count(&k->waiting) && l->left > 0; n++)
            show(l, order_at(&k->waiting, n));
}

size_t queue_list(struct queue *q, size_t limit,
                  void (*each)(void *user, const struct queue_entry *e), void *user) {
    struct listing l = {q, limit, each, user};
    show_claimed(&l, true);
    show_lost(&l);
    show_claimed(&l, false);
    show_eligible(&l);
    show_over(&l);
    return q->items.count;
}
