/* What is unfinished: found by id, and in the order in which it will start. */
#ifndef ANYLLM_QUEUE_INDEX_H
#define ANYLLM_QUEUE_INDEX_H

#include "base/slice.h"
#include "store/store.h"

struct run;

struct link {
    struct link *next, **at; /* at: what points here; NULL: in no list */
};

/* Where a request stands. The transitions are drawn in queue.c. */
enum step {
    STEP_NEW,      /* submit given to the store, not yet answered */
    STEP_WAITING,  /* in order */
    STEP_LOST,     /* in order: IN_PROGRESS without a holder, since its server ended */
    STEP_CLAIMING, /* claim given */
    STEP_HELD,     /* in order: claimed, and the runner has no room any more */
    STEP_RUNNING,
    STEP_BACKOFF,     /* between two attempts, until run->due_ms */
    STEP_READY,       /* in order: the next attempt waits for room */
    STEP_RETRYING,    /* retry given */
    STEP_SETTLING,    /* complete given, or waiting for a log flush or for the store */
    STEP_ENDING,      /* finish_waiting given, or waiting for the store */
    STEP_GIVING_BACK, /* release given */
    STEP_COUNT
};

/* Why a request ends without, or in spite of, what its runner said. */
enum verdict {
    VERDICT_RUNNER,
    VERDICT_CANCELLED,
    VERDICT_LOST,   /* its server ended, and it must not run twice */
    VERDICT_POISON, /* its server ended too often */
    VERDICT_TOO_LARGE,
    VERDICT_MEMORY
};

/* About 160 bytes for a request that waits: its input stays in the store. */
struct item {
    struct item *same_hash;
    struct item *left, *right, *parent; /* in order; `left` links the queue's list of stuck ones */
    uint32_t count;                     /* items of the subtree */
    uint32_t weight;                    /* a parent's is not below its children's */
    uint64_t seq;
    int64_t created_ms;
    uint32_t attempt;
    uint32_t shown; /* the lowest position shown; UINT32_MAX before the first */
    uint8_t step, verdict;
    uint8_t priority;
    bool started; /* IN_PROGRESS to callers */
    bool no_retry, has_webhook;
    bool cancel_requested; /* it will end as cancelled */
    bool cancel_wanted;    /* so it will if the end already given fails */
    bool given;            /* its end is with the store */
    bool stuck;            /* its end waits for the store to write again */
    struct run *run;       /* from the claim on, and for a lost one */
    struct link *watches;
    uint16_t endpoint_len, owner_len;
    char id[STORE_ID_BYTES];
    char text[]; /* endpoint, owner */
};

static inline struct slice item_endpoint(const struct item *i) {
    return slice_make(i->text, i->endpoint_len);
}

static inline struct slice item_owner(const struct item *i) {
    return slice_make(i->text + i->endpoint_len, i->owner_len);
}

/* NULL when out of memory, or when a text is longer than 65,535 bytes. */
struct item *item_new(const char *id, struct slice endpoint, struct slice owner);

/* --- by id */

struct table {
    struct item **heads;
    size_t buckets, count;
};

bool table_init(struct table *t);
void table_add(struct table *t, struct item *i);
struct item *table_find(const struct table *t, struct slice id);
void table_remove(struct table *t, struct item *i);
/* Frees every item with `each`. */
void table_free(struct table *t, void (*each)(struct item *i));

/* --- in order: what has started before first, then priority, then age. A treap: all O(log n) */

struct order {
    struct item *root;
    uint32_t seed; /* of the weights, not 0 */
};

void order_add(struct order *o, struct item *i);
void order_remove(struct order *o, struct item *i);
struct item *order_first(const struct order *o);
size_t order_count(const struct order *o);
/* How many come before it. */
uint32_t order_rank(const struct item *i);

#endif
