/* Who wants to know: a watch is told of a change at the end of the tick, once for however many there were. State and log
 * lines make news at once; positions are compared in rounds, so that a claim costs the same with ten thousand watching. */
#include "queue/inside.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUND_SLICE 256U /* watches compared in one tick: some 50 us */

struct queue_watch {
    struct link of_item, in_news, in_queue;
    struct item *item; /* NULL: not in memory, then of_item is in queue.elsewhere */
    char id[STORE_ID_BYTES];
    uint32_t position; /* at the last round */
    void (*changed)(void *user);
    void *user;
};

#define WATCH_OF(link, field) \
    ((struct queue_watch *)(void *)((char *)(link) - offsetof(struct queue_watch, field)))

/* --- links */

static void link_in(struct link **head, struct link *l) {
    l->next = *head;
    l->at = head;
    if (l->next != NULL) l->next->at = &l->next;
    *head = l;
}

static void link_out(struct link *l) {
    if (l->at == NULL) return;
    *l->at = l->next;
    if (l->next != NULL) l->next->at = l->at;
    *l = (struct link){0};
}

static void link_move(struct link **to, struct link **from) {
    *to = *from;
    *from = NULL;
    if (*to != NULL) (*to)->at = to;
}

/* --- news */

static void news(struct queue *q, struct queue_watch *w) {
    if (w->in_news.at != NULL) return;
    link_in(&q->news, &w->in_news);
    soon(q);
}

void watch_news(struct queue *q, struct item *i) {
    for (struct link *l = i->watches; l != NULL; l = l->next) {
        struct queue_watch *w = WATCH_OF(l, of_item);
        if (i->started) link_out(&w->in_queue);
        news(q, w);
    }
}

void watch_left(struct queue *q, struct item *i) {
    while (i->watches != NULL) {
        struct queue_watch *w = WATCH_OF(i->watches, of_item);
        link_out(&w->of_item);
        link_out(&w->in_queue);
        w->item = NULL;
        link_in(&q->elsewhere, &w->of_item);
        news(q, w);
    }
}

static void follow(struct queue *q, struct queue_watch *w) {
    link_in(&w->item->watches, &w->of_item);
    if (w->item->started || w->item->step == STEP_ENDING) return;
    w->position = q->loads.whole ? position_of(q, w->item) : UINT32_MAX;
    link_in(&q->queued, &w->in_queue);
}

void watch_found(struct queue *q) {
    for (struct link *l = q->elsewhere, *next; l != NULL; l = next) {
        struct queue_watch *w = WATCH_OF(l, of_item);
        next = l->next;
        w->item = table_find(&q->items, slice_of(w->id));
        if (w->item != NULL) {
            link_out(l);
            follow(q, w);
        }
        news(q, w);
    }
}

void watch_elsewhere(struct queue *q) {
    for (struct link *l = q->elsewhere; l != NULL; l = l->next) news(q, WATCH_OF(l, of_item));
}

/* What makes news while these are told is for the next tick. */
static void tell(struct queue *q) {
    struct link *batch;
    link_move(&batch, &q->news);
    while (batch != NULL) {
        struct queue_watch *w = WATCH_OF(batch, in_news);
        link_out(&w->in_news);
        w->changed(w->user);
    }
}

/* --- positions */

static void compare(struct queue *q, struct queue_watch *w) {
    uint32_t position = position_of(q, w->item);
    if (position == w->position) return;
    w->position = position;
    news(q, w);
}

static void compare_some(struct queue *q) {
    for (unsigned n = 0; n < ROUND_SLICE && q->round != NULL; n++) {
        struct link *l = q->round;
        link_out(l);
        link_in(&q->queued, l);
        compare(q, WATCH_OF(l, in_queue));
    }
    if (q->round != NULL) soon(q);
}

void watch_tick(struct queue *q, uint64_t now) {
    if (q->loads.whole && q->moved && q->round == NULL && q->queued != NULL &&
        now >= q->round_due_ms) {
        q->moved = false;
        q->round_due_ms = now + QUEUE_POSITION_NEWS_MS;
        link_move(&q->round, &q->queued);
    }
    compare_some(q);
    if (q->loads.whole && q->moved && q->queued != NULL) at_latest(q, q->round_due_ms);
    tell(q);
}

/* --- the face */

struct queue_watch *queue_watch(struct queue *q, const char *id, void (*changed)(void *user),
                                void *user) {
    struct queue_watch *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->changed = changed;
    w->user = user;
    w->item = table_find(&q->items, slice_of(id));
    snprintf(w->id, sizeof w->id, "%s", id);
    if (w->item == NULL) {
        link_in(&q->elsewhere, &w->of_item);
        news(q, w);
    } else {
        follow(q, w);
    }
    return w;
}

void queue_unwatch(struct queue *q, struct queue_watch *w) {
    (void)q;
    link_out(&w->of_item);
    link_out(&w->in_news);
    link_out(&w->in_queue);
    free(w);
}
