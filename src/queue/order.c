/* What starts next, and how many come before.
 *
 * Each pool has what has begun in an order of its own (priority, then age); it goes first. Behind it stand slots. A slot
 * belongs to a line, which is what waits of one owner in that pool with one priority: the k-th slot of a line, in the
 * order of their tags, stands for the k-th request of it, in the order of their age.
 *
 *    line of a   requests  a1 a2 a3 a4 …      tags 5  7  9  11 …       slots of the pool, with turn 3 (a's, just claimed):
 *    line of b   requests  b1                 tags 4                   b:4  a:5  a:7  a:9  a:11 …
 *
 * `turn` is the tag that was claimed last in its priority. A line that comes gets turn + 1, each further slot of a line
 * LINE_STEP more than the one before: so who was not served in this round goes before who was; among equal tags, the line
 * that came first. Whatever request leaves a line takes a slot with it: a claimed one, which is the first, the first slot, any
 * other the last. So the tags of a line have no gaps, a request's is known from its rank, and its position is the rank
 * of its tag in the pool. Everything is O(log n).
 *
 * A slot has no memory of its own: each eligible request carries one of its line's in in_order and tag, not always the
 * one that stands for it. */
#include "queue/inside.h"

#include "base/broken.h"

/* --- pools */

void pools_init(struct queue *q) {
    for (unsigned k = 0; k < QUEUE_POOLS; k++) {
        q->pools[k].begun = ORDER(in_order, random_u64(q->o.random), false);
        q->pools[k].slots = ORDER(in_order, random_u64(q->o.random), true);
    }
    q->npools = 1;
}

unsigned pool_for(struct queue *q, const struct queue_place *where) {
    const struct queue_runner *r = &q->o.runner;
    unsigned pool = r->pool != NULL ? r->pool(r->user, where) : 0;
    if (pool >= QUEUE_POOLS) pool = QUEUE_POOLS - 1;
    if (pool >= q->npools) q->npools = pool + 1;
    return pool;
}

bool pool_has_room(struct queue *q, const struct item *i) {
    return q->o.runner.capacity(q->o.runner.user, i->line->pool) > 0;
}

static bool is_empty(const struct pool *p) {
    return p->begun.root == NULL && p->slots.root == NULL;
}

bool order_waits(const struct queue *q) {
    unsigned k = 0;
    while (k < q->npools && is_empty(&q->pools[k])) k++;
    return k < q->npools;
}

/* --- lines and their slots */

static struct pool *pool_of(struct queue *q, const struct line *l) {
    return &q->pools[l->pool];
}

/* A line has no claim to turns that it had no use for, and one that was served in this round none to another in it. Of those
 * that wait for their owner's others to end, the next is no newcomer. */
static uint64_t next_tag(struct queue *q, const struct line *l) {
    uint64_t turn = pool_of(q, l)->turn[l->priority] + (l->over_at != NULL ? LINE_STEP : 1);
    if (l->slots > 0) return l->first + (uint64_t)LINE_STEP * l->slots;
    return turn > l->served + LINE_STEP ? turn : l->served + LINE_STEP;
}

static void carry(struct queue *q, struct item *i, uint64_t tag) {
    struct line *l = i->line;
    if (l->slots++ == 0) l->born = ++q->births;
    if (l->slots == 1 || tag < l->first) l->first = tag;
    i->tag = tag;
    i->eligible = true;
    order_add(&pool_of(q, l)->slots, i);
}

/* The line's slot with this tag goes, and i carries none any more. */
static void carry_no_more(struct queue *q, struct item *i, uint64_t tag) {
    struct line *l = i->line;
    struct order *slots = &pool_of(q, l)->slots;
    struct item *carrier = order_find(slots, (struct place){l->priority, tag, l->born});
    order_remove(slots, carrier);
    if (carrier != i) order_hand_over(slots, i, carrier);
    l->slots--;
    i->eligible = false;
    i->tag = 0;
}

static void lose_last(struct queue *q, struct item *i) {
    carry_no_more(q, i, i->line->first + (uint64_t)LINE_STEP * (i->line->slots - 1));
}

/* A claimed one keeps the tag that it used up. */
static void use_first(struct queue *q, struct item *i) {
    struct line *l = i->line;
    uint64_t tag = l->first, *turn = &pool_of(q, l)->turn[l->priority];
    carry_no_more(q, i, tag);
    l->first += LINE_STEP;
    l->served = tag;
    i->tag = tag;
    if (tag > *turn) *turn = tag;
}

static void lower(uint64_t *n, uint64_t to) {
    if (*n > to) *n = to;
}

/* Its claim failed: the slot that it used up comes back, to the end of the line at which it was, and so does the turn. */
static void carry_again(struct queue *q, struct item *i) {
    struct line *l = i->line;
    uint64_t tag = i->tag, before = tag > LINE_STEP ? tag - LINE_STEP : 0;
    if (l->slots == 0)
        carry(q, i, tag);
    else
        carry(q, i, tag < l->first ? l->first - LINE_STEP : next_tag(q, l));
    lower(&pool_of(q, l)->turn[l->priority], before);
    lower(&l->served, before);
}

static void keep_over(struct queue *q, struct line *l) {
    bool over = order_count(&l->waiting) > l->slots;
    if (over == (l->over_at != NULL)) return;
    if (over) {
        l->over_next = q->over;
        l->over_at = &q->over;
        q->over = l;
        if (l->over_next != NULL) l->over_next->over_at = &l->over_next;
        return;
    }
    *l->over_at = l->over_next;
    if (l->over_next != NULL) l->over_next->over_at = l->over_at;
    l->over_at = NULL;
}

void line_fit(struct queue *q, struct line *l, uint32_t eligible) {
    while (l->slots < eligible) carry(q, order_at(&l->waiting, l->slots), next_tag(q, l));
    while (l->slots > eligible) lose_last(q, order_at(&l->waiting, l->slots - 1));
    keep_over(q, l);
}

/* The eligible ones are the first, without a gap: before one of them it is one too. */
static void line_add(struct queue *q, struct item *i) {
    struct line *l = i->line;
    uint32_t rank = order_rank(&l->waiting, place_by_age(i));
    order_add(&l->waiting, i);
    if (i->tag != 0 && rank <= l->slots)
        carry_again(q, i);
    else if (rank < l->slots)
        carry(q, i, next_tag(q, l));
    else
        i->tag = 0;
}

/* --- in and out */

void put_in_order(struct queue *q, struct item *i, enum step step) {
    set_step(q, i, step);
    order_add(&item_pool(q, i)->begun, i);
}

void wait_in_order(struct queue *q, struct item *i) {
    if (i->started) {
        set_step(q, i, STEP_LOST);
        if (!suspect_aside(q, i)) order_add(&item_pool(q, i)->begun, i);
    } else {
        line_add(q, i);
        set_step(q, i, STEP_WAITING); /* with it the owner's room is shared out anew */
    }
}

static void leave(struct queue *q, struct item *i,
                  void (*with_slot)(struct queue *q, struct item *i)) {
    if (i->aside) {
        suspect_back(q, i);
        return;
    }
    if (i->step != STEP_WAITING) {
        order_remove(&item_pool(q, i)->begun, i);
        return;
    }
    if (i->eligible) with_slot(q, i);
    order_remove(&i->line->waiting, i);
    keep_over(q, i->line);
}

void leave_order(struct queue *q, struct item *i) {
    leave(q, i, lose_last);
}

void leave_to_start(struct queue *q, struct item *i) {
    item_pool(q, i)->started = ++q->starts;
    leave(q, i, use_first);
}

/* --- what starts next */

/* Which request the slot stands for that i carries. */
static struct item *stands_for(const struct item *i) {
    return order_at(&i->line->waiting, (size_t)(i->tag - i->line->first) / LINE_STEP);
}

static struct item *first_of(const struct pool *p) {
    struct item *i = order_first(&p->begun), *carrier = order_first(&p->slots);
    return i != NULL || carrier == NULL ? i : stands_for(carrier);
}

struct item *order_eligible_at(const struct queue *q, unsigned pool, size_t rank) {
    const struct item *carrier = order_at(&q->pools[pool].slots, rank);
    return carrier != NULL ? stands_for(carrier) : NULL;
}

static bool is_fresh(const struct item *i) {
    return i->step == STEP_WAITING || i->step == STEP_LOST;
}

/* Those whose start the store has not answered yet count as started. */
static bool may_begin(struct queue *q, unsigned pool, const struct item *first) {
    const struct queue_runner *r = &q->o.runner;
    const struct pool *p = &q->pools[pool];
    if (is_fresh(first) && p->backoff >= QUEUE_MAX_BACKOFF) return false;
    return r->capacity(r->user, pool) > p->starting;
}

/* Pools that share places take turns, so that none of them holds up another. */
static bool goes_before(struct queue *q, const struct item *a, const struct item *b) {
    bool fresh = a->step == STEP_WAITING;
    if (fresh != (b->step == STEP_WAITING)) return !fresh;
    if (a->priority != b->priority) return a->priority < b->priority;
    return item_pool(q, a)->started < item_pool(q, b)->started;
}

static struct item *next_to_start(struct queue *q) {
    struct item *best = NULL, *i;
    for (unsigned k = 0; k < q->npools; k++) {
        if (is_empty(&q->pools[k])) continue;
        i = first_of(&q->pools[k]);
        if (may_begin(q, k, i) && (best == NULL || goes_before(q, i, best))) best = i;
    }
    return best;
}

void start_what_may(struct queue *q) {
    struct item *i;
    if (!may_start(q)) return;
    while ((i = next_to_start(q)) != NULL) {
        if (start_one(q, i)) continue;
        pause_claims(q);
        return;
    }
}

/* --- position */

/* Of the owner's own that are over its limit: those that it holds dearer, in this pool. */
static uint32_t dearer_over(const struct line *l) {
    uint32_t n = 0;
    for (const struct line *k = l->owner->lines; k != l; k = k->next)
        if (k->pool == l->pool) n += (uint32_t)order_count(&k->waiting) - k->slots;
    return n;
}

/* How many slots come before its own, which it has or would have if its owner had no limit, and of its owner's that have
 * none, those before it. */
static uint32_t before_in_line(struct queue *q, const struct item *i) {
    const struct line *l = i->line;
    uint32_t rank = order_rank(&l->waiting, place_by_age(i));
    uint64_t first = l->slots > 0 ? l->first : next_tag(q, l);
    struct place place = {l->priority, first + (uint64_t)LINE_STEP * rank,
                          l->slots > 0 ? l->born : UINT64_MAX};
    uint32_t before = order_rank(&pool_of(q, l)->slots, place);
    return i->eligible ? before : before + rank - l->slots + dearer_over(l);
}

/* Those in the queue that start before it in its pool, with those being claimed; what callers have seen in progress is not
 * counted, so a restart, which puts it into the order again, lets no position rise. The lowest shown is kept: a dearer
 * one may come before it later. */
uint32_t position_of(struct queue *q, struct item *i) {
    uint32_t before = item_pool(q, i)->claiming;
    if (i->step == STEP_WAITING)
        before += before_in_line(q, i);
    else if (before > 0)
        before--;
    if (!q->loads.whole) return before; /* not all that come before are known: nobody is shown it */
    if (before < i->shown || broken(BROKEN_POSITION_RISES)) i->shown = before;
    return i->shown;
}
