/* Whose requests they are, and how many of one owner may be in progress at once.
 *
 * What waits of an owner stands in lines, one for each pool and priority. In each pool so many of the first of them as the
 * owner has room for are eligible: only they have slots in the pool's order (order.c), where they compete with everybody's;
 * the others hold nobody up and are not looked at until there is room. Room comes and goes one by one, so each change
 * moves one request in each pool in which the owner waits: O(log n).
 *
 *    limit 5, three in progress: two may start     normal  [ a b c d e f g ]     in another pool  [ x y z ]
 *                                                            | |                                    | |
 *                                                  slots of the pool …[a]…[a]…                    …[a]…[a]…
 *
 * A limit that changes may move all that waits of its owner, so it does that seldom: keys of one owner may have different
 * ones, and each submit says that of its key.
 *
 * Direct calls of the owner take of its room too; nothing is held back for either. */
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
    o->len = (uint16_t)name.len;
    if (name.len > 0) memcpy(o->name, name.ptr, name.len);
    if (q->owners.count >= q->owners.buckets) grow(&q->owners);
    struct owner **head = head_of(&q->owners, name);
    o->same_hash = *head;
    *head = o;
    q->owners.count++;
    return o;
}

static void limit_no_more(struct owner *o) {
    if (o->limit_at == NULL) return;
    *o->limit_at = o->next_limit;
    if (o->next_limit != NULL) o->next_limit->limit_at = o->limit_at;
    o->limit_at = NULL;
}

static void drop(struct queue *q, struct owner *o) {
    limit_no_more(o);
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
            for (struct line *l = o->lines, *after; l != NULL; l = after) {
                after = l->next;
                free(l);
            }
            free(o);
        }
    }
    free(t->heads);
    *t = (struct owners){0};
}

/* --- whose an item is */

/* Where the owner's line for this pool and priority stands, or belongs. */
static struct line **line_at(struct owner *o, unsigned pool, uint8_t priority) {
    struct line **at = &o->lines;
    while (*at != NULL &&
           ((*at)->pool < pool || ((*at)->pool == pool && (*at)->priority < priority)))
        at = &(*at)->next;
    return at;
}

static struct line *line_for(struct queue *q, struct owner *o, unsigned pool, uint8_t priority) {
    struct line **at = line_at(o, pool, priority), *l = *at;
    if (l != NULL && l->pool == pool && l->priority == priority) return l;
    l = calloc(1, sizeof *l);
    if (l == NULL) return NULL;
    l->owner = o;
    l->waiting = ORDER(in_line, random_u64(q->o.random), false);
    l->pool = (uint8_t)pool;
    l->priority = priority;
    l->next = *at;
    *at = l;
    return l;
}

bool item_join(struct queue *q, struct item *i, struct slice name,
               const struct queue_place *where) {
    struct owner *o = owner_find(q, name);
    if (o == NULL) o = add(q, name);
    if (o == NULL) return false;
    i->line = line_for(q, o, pool_for(q, where), i->priority);
    if (i->line != NULL) i->line->items++;
    if (o->lines == NULL) drop(q, o);
    return i->line != NULL;
}

void item_free(struct queue *q, struct item *i) {
    struct line *l = i->line;
    deadlines_remove(&q->deadlines, i);
    free(i);
    if (l == NULL || --l->items > 0) return;
    struct owner *o = l->owner;
    *line_at(o, l->pool, l->priority) = l->next;
    free(l);
    if (o->lines == NULL) drop(q, o);
}

/* --- who may start */

/* In each pool the first of what waits, dearer ones before, as many as there is room for. */
static void balance(struct queue *q, struct owner *o) {
    uint32_t taken = o->running + o->calls, left = 0;
    uint32_t room = o->limit == 0 ? UINT32_MAX : o->limit > taken ? o->limit - taken : 0;
    unsigned pool = QUEUE_POOLS;
    for (struct line *l = o->lines; l != NULL; l = l->next) {
        if (l->pool != pool) left = room;
        pool = l->pool;
        uint32_t n = (uint32_t)order_count(&l->waiting), eligible = n < left ? n : left;
        line_fit(q, l, eligible);
        left -= eligible;
    }
}

#define LIMIT_MS 100U /* between two changes of the limit of one owner */

static void limit_later(struct queue *q, struct owner *o) {
    if (o->limit_at != NULL) return;
    if (q->limits == NULL || o->limit_due_ms < q->limits_due_ms) q->limits_due_ms = o->limit_due_ms;
    o->next_limit = q->limits;
    o->limit_at = &q->limits;
    q->limits = o;
    if (o->next_limit != NULL) o->next_limit->limit_at = &o->next_limit;
    at_latest(q, q->limits_due_ms);
}

static void limit_now(struct queue *q, struct owner *o) {
    limit_no_more(o);
    if (o->limit == o->wanted) return;
    o->limit = o->wanted;
    if (o->queued > 0) o->limit_due_ms = now_ms(q) + LIMIT_MS;
    balance(q, o);
    soon(q);
}

/* Where nothing waits, nothing is moved. What is being loaded has its limit when it is whole. */
void owner_limit(struct queue *q, struct owner *o, uint64_t limit) {
    bool may = q->loads.whole && now_ms(q) >= o->limit_due_ms;
    o->wanted = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    if (o->wanted == o->limit) return;
    if (may || o->queued == 0)
        limit_now(q, o);
    else
        limit_later(q, o);
}

uint64_t limits_run(struct queue *q, uint64_t now) {
    if (q->limits == NULL || !q->loads.whole) return UINT64_MAX;
    if (now < q->limits_due_ms) return q->limits_due_ms;
    q->limits_due_ms = UINT64_MAX;
    for (struct owner *o = q->limits, *next; o != NULL; o = next) {
        next = o->next_limit;
        if (o->limit_due_ms <= now)
            limit_now(q, o);
        else if (o->limit_due_ms < q->limits_due_ms)
            q->limits_due_ms = o->limit_due_ms;
    }
    return q->limits_due_ms;
}

enum { RUNNING = 1, QUEUED = 2, STARTING = 4, CLAIMING = 8, BACKOFF = 16 };

static uint8_t counts_as(const struct item *i) {
    switch ((enum step)i->step) {
    case STEP_NEW: return i->started ? 0 : QUEUED;
    case STEP_WAITING: return QUEUED;
    case STEP_CLAIMING: return RUNNING | STARTING | (i->started ? 0 : QUEUED | CLAIMING);
    case STEP_RETRYING: return RUNNING | STARTING;
    case STEP_BACKOFF: return RUNNING | BACKOFF;
    case STEP_ENDING: return i->started ? RUNNING : 0; /* until the store has it */
    default: return RUNNING;
    }
}

static void count_one(uint32_t *n, const struct item *i, uint8_t as, uint8_t what) {
    *n += (as & what) != 0;
    *n -= (i->counted & what) != 0;
}

static void count(struct queue *q, struct item *i, uint8_t as) {
    struct owner *o = i->line->owner;
    struct pool *p = item_pool(q, i);
    count_one(&o->running, i, as, RUNNING);
    count_one(&o->queued, i, as, QUEUED);
    count_one(&p->starting, i, as, STARTING);
    count_one(&p->claiming, i, as, CLAIMING);
    count_one(&p->backoff, i, as, BACKOFF);
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
    const struct owner *o = q->owners.count > 0 ? owner_find(q, owner) : NULL;
    return o != NULL ? o->running : 0;
}

void queue_owner_calls(struct queue *q, struct slice owner, size_t calls) {
    struct owner *o = q->owners.count > 0 ? owner_find(q, owner) : NULL;
    uint32_t n = calls < UINT32_MAX / 2 ? (uint32_t)calls : UINT32_MAX / 2;
    if (o == NULL || o->calls == n) return;
    o->calls = n;
    if (o->limit == 0) return;
    balance(q, o);
    soon(q);
}
