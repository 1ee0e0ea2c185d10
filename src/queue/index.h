/* What is unfinished: found by id, in the order in which it will start, by the deadline of its start. */
#ifndef ANYLLM_QUEUE_INDEX_H
#define ANYLLM_QUEUE_INDEX_H

#include "base/slice.h"
#include "store/store.h"

struct run;
struct line;

struct link {
    struct link *next, **at; /* at: what points here; NULL: in no list */
};

/* Where a request stands. The transitions are drawn in queue.c. */
enum step {
    STEP_NEW,      /* submit given to the store, not yet answered */
    STEP_WAITING,  /* in order, or for its owner's others to end */
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
    VERDICT_LATE,   /* it had not begun at its deadline */
    VERDICT_POISON, /* its server ended too often */
    VERDICT_TOO_LARGE,
    VERDICT_MEMORY
};

struct node {
    struct node *left, *right;
    uint32_t count;  /* nodes of the subtree */
    uint32_t weight; /* a parent's is not below its children's */
};

/* About 240 bytes for a request that waits: its input stays in the store. */
struct item {
    uint64_t seq;
    uint64_t tag;                  /* of the slot it carries; CLAIMING: of the one it used up */
    struct node in_order, in_line; /* in its pool's order, in line->waiting */
    struct item *same_hash, *next_stuck;
    struct line *line;
    struct run *run; /* from the claim on, and for a lost one */
    struct link *watches;
    struct item *older, *younger;   /* in queue.waiting_ages or running_ages, as `aged` says, … */
    int64_t since_ms;               /* … by this: mono, since it waits, or since its first claim */
    int64_t created_ms, started_ms; /* wall clock; started 0: not yet */
    uint64_t deadline_ms;           /* of its start, mono; 0: none */
    uint32_t deadline_at; /* its place among the deadlines, counted from 1; 0: not there */
    uint32_t attempt;
    uint32_t epoch; /* life of our boot in which it came into memory */
    uint32_t shown; /* the lowest position shown; UINT32_MAX before the first */
    uint16_t endpoint_len;
    uint8_t priority;
    uint8_t step, verdict;
    uint8_t counted; /* how its owner and its pool count it */
    uint8_t aged;
    bool started : 1;  /* IN_PROGRESS to callers */
    bool eligible : 1; /* WAITING: it carries a slot, in_order is that slot's node */
    bool no_retry : 1, no_store : 1, has_webhook : 1;
    bool cancel_requested : 1; /* it will end as cancelled */
    bool cancel_wanted : 1;    /* so it will if the end already given fails */
    bool late : 1;             /* its deadline has passed: no attempt begins any more */
    bool timed_out : 1;        /* … before one had begun: it will end so */
    bool given : 1;            /* its end is with the store */
    bool suspect : 1;          /* when the server ends once more while it runs, it is quarantined */
    bool aside : 1;            /* LOST: not in order, until its turn (suspects.c) */
    bool stuck : 1;            /* its end waits for the store to write again */
    char id[STORE_ID_BYTES];
    char endpoint[];
};

static inline struct slice item_endpoint(const struct item *i) {
    return slice_make(i->endpoint, i->endpoint_len);
}

/* NULL when out of memory, or when the endpoint is longer than 65,535 bytes. Of no line yet. */
struct item *item_new(const char *id, struct slice endpoint);

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

/* --- in order. A treap: all O(log n) */

/* Where something stands in its order: by priority, then by `at`, then by `born`. No two are the same. */
struct place {
    uint8_t priority;
    uint64_t at, born;
};

struct order {
    struct node *root;
    uint32_t seed;   /* of the weights, not 0 */
    uint32_t offset; /* of its nodes in an item */
    bool of_slots;   /* by the tags of the slots that items carry; else by the items' age */
};

#define ORDER(field, seed, of_slots) \
    ((struct order){NULL, (uint32_t)(seed) | 1, offsetof(struct item, field), of_slots})

void order_add(struct order *o, struct item *i);
void order_remove(struct order *o, struct item *i);
/* `to`, which is not in the order, takes the place of `from`. */
void order_hand_over(struct order *o, struct item *from, struct item *to);
struct item *order_first(const struct order *o);
/* The one with so many before it, NULL when there are not that many. */
struct item *order_at(const struct order *o, size_t rank);
/* The one that stands there, NULL when none does. */
struct item *order_find(const struct order *o, struct place p);
size_t order_count(const struct order *o);
/* How many of them come before this place, at which none need stand. */
uint32_t order_rank(const struct order *o, struct place p);
static inline struct place place_by_age(const struct item *i) {
    return (struct place){i->priority, i->seq, 0};
}

/* What waits of one owner, in one pool, with one priority. */
struct line {
    struct line *next; /* of its owner: by pool, then by priority */
    struct owner *owner;
    struct order waiting; /* all of it that are WAITING, by age … */
    uint32_t slots;       /* … the first so many of them are eligible: there are as many slots */
    uint32_t items;       /* in memory; with the last one the line is forgotten */
    uint64_t first;       /* tag of the first slot; each further one is LINE_STEP later */
    uint64_t served;      /* tag of the slot that was claimed last, 0: none was */
    uint64_t born;        /* counts up: when it had its first slot after it had none */
    struct line *over_next, **over_at; /* in queue.over, when more wait than are eligible */
    uint8_t pool, priority;
};

#define LINE_STEP 2U

/* --- by deadline. A heap: the first is at hand, adding and removing are O(log n) */

struct deadlines {
    struct item **base;
    uint32_t n, room;
};

/* By i->deadline_ms. False when out of memory. */
bool deadlines_add(struct deadlines *d, struct item *i);
/* Also of one that is not there. */
void deadlines_remove(struct deadlines *d, struct item *i);
struct item *deadlines_first(const struct deadlines *d);

#endif
