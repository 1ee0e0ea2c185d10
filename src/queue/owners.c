/* Whose requests they are, and how many of one owner may be in progress at once.
 *
 * An owner keeps all that waits for it in an order of its own. So many of the first of them as it has room for are
 * eligible: they stand in the queue's order too, where they compete with everybody's; the others hold nobody up and are
 * not looked at until there is room. Room comes and goes one by one, so each change moves one request: O(log n).
 *
 *    owner->waiting   [ a b c d e f g ]        limit 5, three in progress: two may start
 *                       | |
 *    queue.order      …[a]…[b]…
 *
 * Being fair between owners is then a matter of what the queue's order compares, not of this. */
#include "queue/inside.h"

#include <stdlib.h>

/* --- by name */

#define FIRST_BUCKETS 64U

static struct owner **head_of(const struct owners *t, struct slice name) {
    uint64_t h = 0xcbf29ce484222325ULL;
    for (size_t k = 0; k < name.len; k++) h = (h ^ (unsigned char)name.ptr[k]) * 0x100000001b3ULL;
    return &t->heads[(h ^ h >> 32) & (t->buckets - 1)];
}

bool owners_init(struct owners *t) {
    *t = (struct owners){.heads = calloc(FIRST_BUCKETS, sizeof *t->heads),
                         .buckets = FIRST_BUCKETS};
    return t->heads != NULL;
}

/* Without memory it stays as it is. */
static void grow(struct owners *t) {
    struct owners larger = {.heads = calloc(t->buckets * 2, sizeof *t->heads),
                            .buckets = t->buckets * 2,
                            .count = t->count};
    if (larger.heads == NULL) return;
    for (size_t b = 0; b < t->buckets; b++) {
        for (struct owner *o = t->heads[b], *next; o != NULL; o = next) {
            struct owner **head = head_of(&larger, owner_name(o));
            next = o->same_hash;
            o->same_hash = *head;
            *head = o;
        }
    }
    free(t->heads);
    *t = larger;
}

struct owner *owner_find(const struct queue *q, struct slice name) {
    for (struct owner *o = *head_of(&q->owners, name); o != NULL; o = o->same_hash)
        if (slice_eq(owner_name(o), name)) return o;
    return NULL;
}

static struct owner *add(struct queue *q, struct slice name) {
    if (name.len > UINT16_MAX) return NULL;
    struct owner *o = calloc(1, sizeof *o + name.len);
    if (o == NULL) return NULL;
    o->waiting = ORDER(in_owner, random_u64(q->o.random));
    o->len = (uint16_t)name.len;
    if (name.len > 0) memcpy(o->name, name.ptr, name.len);
    if (q->owners.count >= q->owners.buckets) grow(&q->owners);
    struct owner **head = head_of(&q->owners, name);
    o->same_hash = *head;
    *head = o;
    q->owners.count++;
    return o;
}

static void drop(struct queue *q, struct owner *o) {
    struct owner **link = head_of(&q->owners, owner_name(o));
    while (*link != o) link = &(*link)->same_hash;
    *link = o->same_hash;
    q->owners.count--;
    free(o);
}

void owners_free(struct owners *t) {
    for (size_t b = 0; t->heads != NULL && b < t->buckets; b++) {
        for (struct owner *o = t->heads[b], *next; o != NULL; o = next) {
            next = o->same_hash;
            free(o);
        }
    }
    free(t->heads);
    *t = (struct owners){0};
}

/* --- whose an item is */

bool item_join(struct queue *q, struct item *i, struct slice name) {
    struct owner *o = owner_find(q, name);
    if (o == NULL) o = add(q, name);
    if (o == NULL) return false;
    i->owner = o;
    o->items++;
    return true;
}

void item_free(struct queue *q, struct item *i) {
    struct owner *o = i->owner;
    deadlines_remove(&q->deadlines, i);
    free(i);
    if (o != NULL && --o->items == 0) drop(q, o);
}

/* --- who may start */

/* The first of o->waiting that are eligible are exactly as many as may be. */
static void balance(struct queue *q, struct owner *o) {
    size_t want = order_count(&o->waiting);
    size_t room = o->limit > o->running ? o->limit - o->running : 0;
    if (o->limit > 0 && want > room) want = room;
    while (o->eligible < want) {
        struct item *i = order_at(&o->waiting, o->eligible++);
        i->eligible = true;
        order_add(&q->order, i);
    }
    while (o->eligible > want) {
        struct item *i = order_at(&o->waiting, --o->eligible);
        i->eligible = false;
        order_remove(&q->order, i);
    }
}

void owner_limit(struct queue *q, struct owner *o, uint64_t limit) {
    uint32_t most = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    if (o->limit == most) return;
    o->limit = most;
    balance(q, o);
    soon(q);
}

/* The eligible ones are the first, without a gap: before one of them it is one too. */
void waiting_add(struct queue *q, struct item *i) {
    struct owner *o = i->owner;
    order_add(&o->waiting, i);
    i->eligible = o->limit == 0 || order_rank(&o->waiting, i) < o->eligible;
    if (!i->eligible) return;
    o->eligible++;
    order_add(&q->order, i);
}

void waiting_remove(struct queue *q, struct item *i) {
    struct owner *o = i->owner;
    order_remove(&o->waiting, i);
    if (!i->eligible) return;
    i->eligible = false;
    o->eligible--;
    order_remove(&q->order, i);
}

enum { RUNNING = 1, QUEUED = 2 };

static uint8_t counts_as(const struct item *i) {
    switch ((enum step)i->step) {
    case STEP_NEW: return i->started ? 0 : QUEUED;
    case STEP_WAITING: return QUEUED;
    case STEP_CLAIMING: return i->started ? RUNNING : RUNNING | QUEUED;
    case STEP_ENDING: return i->started ? RUNNING : 0; /* until the store has it */
    default: return RUNNING;
    }
}

static void count(struct queue *q, struct item *i, uint8_t as) {
    struct owner *o = i->owner;
    o->running += as & RUNNING ? 1U : 0U;
    o->running -= i->counted & RUNNING ? 1U : 0U;
    o->queued += as & QUEUED ? 1U : 0U;
    o->queued -= i->counted & QUEUED ? 1U : 0U;
    i->counted = as;
    balance(q, o);
}

void owner_counts(struct queue *q, struct item *i) {
    count(q, i, counts_as(i));
}

void owner_leaves(struct queue *q, struct item *i) {
    count(q, i, 0);
}

size_t queue_owner_running(const struct queue *q, struct slice owner) {
    const struct owner *o = owner_find(q, owner);
    return o != NULL ? o->running : 0;
}

void queue_owner_calls(struct queue *q, struct slice owner, size_t calls) {
    (void)q;
    (void)owner;
    (void)calls;
}
