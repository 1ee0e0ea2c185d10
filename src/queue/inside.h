/* The queue's inside: who holds what. The rules are in queue.c. */
#ifndef ANYLLM_QUEUE_INSIDE_H
#define ANYLLM_QUEUE_INSIDE_H

#include "base/arena.h"
#include "base/log.h"
#include "queue/index.h"
#include "queue/queue.h"
#include "queue/slots.h"

/* How a run ended, copied from the runner until the store has it. */
struct result {
    unsigned http_status;
    struct slice headers, body, error, error_type;
    struct store_usage usage;
    char *bytes; /* what the slices point at */
};

/* What there is of one owner. */
struct owner {
    struct owner *same_hash;
    struct line *lines;    /* by pool, then by priority; with the last one the owner is forgotten */
    uint32_t limit;        /* in progress at once, 0: none */
    uint32_t wanted;       /* the limit of the latest submit, which counts soon */
    uint64_t limit_due_ms; /* no change of the limit before this, mono … */
    struct owner *next_limit,
        **limit_at;   /* … in queue.limits until then; limit_at NULL: not there */
    uint32_t running; /* in progress: from the claim to the end in the store, with the lost ones */
    uint32_t calls;   /* direct ones, which count with those */
    uint32_t queued;  /* what callers see in the queue, and submits under way */
    uint16_t len;
    char name[];
};

static inline struct slice owner_name(const struct owner *o) {
    return slice_make(o->name, o->len);
}

static inline struct slice item_owner(const struct item *i) {
    return owner_name(i->line->owner);
}

/* Requests that run in the same places. Its counts are kept with those of the owners. */
struct pool {
    struct order begun;           /* LOST, HELD, READY: by priority, then age */
    struct order slots;           /* of what is eligible: by priority, then tag */
    uint32_t starting;            /* claims and retries given, not yet answered … */
    uint32_t claiming;            /* … of these, claims of requests that callers see in the queue */
    uint32_t backoff;             /* between two attempts */
    uint64_t started;             /* counts up over all pools: when one of it was started last */
    uint64_t turn[UINT8_MAX + 1]; /* by priority: the tag that was claimed last */
};

struct owners {
    struct owner **heads;
    size_t buckets, count;
};

/* A claimed request: its attempt, its log lines, its result. */
struct run {
    struct run *prev, *next; /* in queue.runs */
    struct item *item;
    uint64_t id; /* of the present attempt in queue.run_ids; 0: the runner has none */
    uint64_t token, next_token; /* of the lease; of the one a retry asks for */
    uint64_t began_ms;          /* of the present attempt, mono; 0: none began */
    int64_t inference_ms;       /* of the last attempt that ended, -1: none */
    uint64_t due_ms;            /* STEP_BACKOFF: when it may start again, mono */
    uint64_t flush_due_ms;      /* when unsent lines go to the store, mono; 0: none wait */
    uint32_t epoch;             /* life of our boot in which the lease was asked for */
    int64_t stamped_ms;         /* the latest date given to the store for it */
    bool told;                  /* runner.cancel has been called for this attempt */
    char *input;                /* while an attempt runs; the hint follows it */
    size_t input_len, hint_len;
    bool no_fallback;
    int32_t retries[QUEUE_FAILURE_COUNT]; /* as the submit said, -1: nothing */
    struct result result;
    /* Lines [0, stored) are in the store, [stored, sent) on their way, the rest here only. */
    struct queue_log *lines;
    size_t nlines, room, stored, sent, log_bytes;
    struct arena log_text;
    bool log_full;
    /* Those of earlier attempts, of a lost one: they come from the store before any of these goes there. */
    enum { LINES_HERE, LINES_WANTED, LINES_ASKED } old_lines;
};

struct run *run_new(struct queue *q, struct item *i);
void run_free(struct queue *q, struct run *r);
/* Takes the line with its limits; what is over them is dropped and the last line says so. */
void run_add_log(struct queue *q, struct run *r, struct slice level, struct slice message,
                 int64_t at_ms);
/* Lines of earlier attempts, which the store has, come before those that are here. */
void run_take_lines(struct queue *q, struct run *r, const struct store_log *lines, size_t n);
void run_keep_result(struct run *r, const struct queue_outcome *o);
/* Of an attempt that is given up. */
void run_keep_spent(struct run *r, const struct store_usage *u);
/* Input, hint and wishes of the row. */
bool run_keep_input(struct run *r, const struct store_row *row);
void run_forget_input(struct run *r);
uint64_t backoff_ms(const struct random *random, uint32_t attempt, int64_t retry_after_ms);

/* --- what has been given to the store */

struct call;

enum asked {
    ASKED_PENDING,
    ASKED_LOST_LOGS,
    ASKED_SUBMIT,
    ASKED_CLAIM,
    ASKED_RETRY,
    ASKED_COMPLETE,
    ASKED_END,
    ASKED_GIVE_BACK,
    ASKED_FLUSH,
    ASKED_CANCEL,
    ASKED_GET,
    ASKED_SWEEP,
    ASKED_RETAIN,
    ASKED_JOIN,
    ASKED_BEAT,
    ASKED_LEAVE,
    ASKED_NODES,
    ASKED_BURY,
    ASKED_COUNT
};

struct ticket {
    enum asked asked;
    uint32_t epoch;          /* of the item, else of the queue: another one's answer is not ours */
    char id[STORE_ID_BYTES]; /* looked up when the answer comes: the item may be gone. Bury: boot */
    struct call *call; /* submit, get, cancel, and the end of a waiting one that was cancelled */
    struct item *item; /* submit: not yet in the table */
};

/* 0 when out of memory: nothing was given, nothing will be answered. */
uint64_t ask(struct queue *q, enum asked asked, const struct item *i, struct call *call);

/* --- callers */

enum call_kind { CALL_SUBMIT, CALL_STATUS, CALL_RESULT, CALL_CANCEL };

struct call {
    struct call *next;
    enum call_kind kind;
    bool logs;
    uint8_t parked; /* how often it has waited for what is being loaded */
    bool again;     /* a submit that was there already: CALL_STATUS of its first request */
    struct queue_done done;
    enum queue_code refused; /* submit: answered with this */
    char id[STORE_ID_BYTES];
    uint16_t endpoint_len, owner_len;
    char text[]; /* endpoint, owner */
};

#define REFUSALS 64U /* answers that need no memory */

/* --- leases.c */

enum life { LIFE_OUT, LIFE_JOINING, LIFE_IN, LIFE_LEAVING, LIFE_LEFT };

/* Another server's boot, as our looks have seen it. */
struct other {
    char boot[STORE_ID_BYTES];
    uint64_t beat, still_ms; /* so much of our time with this beat */
    bool lives;              /* at the present look */
};

struct leases {
    enum life life;
    char boot[STORE_ID_BYTES];
    uint64_t lease_ms, heartbeat_ms, scan_ms;
    /* All mono; due: UINT64_MAX when not, or when under way. */
    uint64_t join_due_ms, beat_due_ms, look_due_ms;
    uint64_t given_ms;      /* the last join or beat */
    uint64_t sure_until_ms; /* nobody can have buried us before this */
    uint64_t look_given_ms, looked_ms;
    size_t lost; /* runs given up since the last join */
    struct other *others;
    size_t nothers, room;
};

/* --- loading.c */

struct loads {
    bool running, again; /* a pass; another one is wanted */
    bool whole;          /* the first pass is over */
    uint64_t after, again_after;
    uint64_t due_ms;      /* of a piece to be asked for again, mono; UINT64_MAX: none */
    uint64_t full_due_ms; /* of the next pass over everything, mono; not when alone */
    /* What left memory since the piece was asked for: it may still be in it, as it was. */
    uint64_t *left;
    size_t nleft, room;
    bool left_more; /* no memory for them all */
};

/* --- times.c */

/* Oldest first; an item is in one of them at most. */
struct ages {
    struct item *oldest, *youngest, *last; /* last: added last */
    size_t count;
};

struct steady {
    bool known, jumped;
    int64_t offset, jump; /* wall - mono: as believed, as it has been since … */
    uint64_t since_ms;    /* mono */
};

struct queue {
    struct queue_options o;
    uint32_t epoch; /* how often our boot was buried */
    struct leases leases;
    struct loads loads;
    struct steady steady;
    struct ages waiting_ages, running_ages;
    struct table items;
    struct pool pools[QUEUE_POOLS];
    unsigned npools;            /* those from this one on were never used */
    uint64_t starts;            /* counts up */
    uint64_t births;            /* of lines: counts up */
    struct line *over;          /* lines of which more wait than are eligible */
    struct deadlines deadlines; /* of what has a start timeout, until it is due or over */
    struct owners owners;
    struct owner *limits;   /* whose limit is to change */
    uint64_t limits_due_ms; /* not before this, mono */
    struct run *runs;
    struct slots run_ids, tickets;
    struct item *suspects; /* aside, linked by `next_stuck` */
    struct item *suspect;  /* the one whose turn it is; NULL: none's */
    /* Steps that wait for the store to write again, linked by `next_stuck`. */
    struct item *stuck, *stuck_last;
    size_t nstuck;
    size_t at[STEP_COUNT];

    /* Life. */
    bool started, draining, abandoned;
    void (*ready)(void *user, bool ok);
    void *ready_user;
    void (*idle)(void *user);
    void *idle_user;

    /* Watches. */
    struct link *news;           /* to be told at the end of the tick */
    struct link *elsewhere;      /* of what is not in memory */
    struct link *queued, *round; /* of what callers see in the queue; still to be compared */
    bool moved;                  /* positions may have changed since the last round began */
    uint64_t round_due_ms;       /* no round before this, mono */

    /* Due work. */
    struct call *calls, **calls_tail;
    struct call *parked; /* wait for what is being loaded */
    struct queue_done refusals[REFUSALS];
    size_t nrefusals;
    bool wake_wanted;
    uint64_t paused_until_ms; /* no claims before this, mono */
    uint64_t stuck_due_ms;
    uint64_t
        sweep_due_ms; /* mono; UINT64_MAX: nothing is to be forgotten, or a sweep is under way */
    uint64_t retain_due_ms;    /* mono; UINT64_MAX: all is kept, or the store is looking */
    uint64_t retain_by_age_ms; /* mono; nothing goes by its age before */
    struct net_defer defer;
    struct net_timer timer;
    uint64_t timer_due_ms; /* UINT64_MAX: not armed */

    struct queue_stats stats;
    struct log_rate refused_log;
};

static inline uint64_t now_ms(const struct queue *q) {
    return clock_mono_ms(q->o.clock);
}

static inline int64_t wall_ms(const struct queue *q) {
    return clock_wall_ms(q->o.clock);
}

/* Nobody else can have what we hold: memory is right about it, and it may run. */
static inline bool lease_sure(const struct queue *q) {
    return q->o.alone || (q->leases.life == LIFE_IN && now_ms(q) < q->leases.sure_until_ms);
}

/* We have its lease, and nothing that would end it is on its way. */
static inline bool holds(const struct item *i) {
    return i->step == STEP_HELD || i->step == STEP_RUNNING || i->step == STEP_BACKOFF ||
           i->step == STEP_READY || i->step == STEP_RETRYING;
}

static inline bool may_start(const struct queue *q) {
    return q->started && q->loads.whole && !q->draining && now_ms(q) >= q->paused_until_ms &&
           lease_sure(q);
}

/* queue.c: the transitions, and what they need. */
void set_step(struct queue *q, struct item *i, enum step step);
const char *step_name(enum step step);
/* It is the first of its pool, and there is room. False when memory is short. */
bool start_one(struct queue *q, struct item *i);
void pause_claims(struct queue *q); /* for QUEUE_STORE_RETRY_MS */
void back_off_over(struct queue *q, struct item *i);
/* The store refused a write because the row was not as we knew it: somebody else's word counts. Frees i. */
void stale(struct queue *q, struct item *i, const char *what);
/* Somebody else has taken up what we did not hold; the store knows how it stands. Frees i. */
void taken(struct queue *q, struct item *i, const char *what);
void pass_on_cancel(struct queue *q, const struct item *i);
bool store_failed(const struct store_reply *r);
/* The caller's wish to cancel `i`, which is unfinished. Takes the call. */
void cancel_item(struct queue *q, struct item *i, struct call *call);
void cancel_running(struct queue *q, struct item *i);
/* The mark of a cancel is in the store. */
void cancel_marked(struct queue *q, struct item *i);
/* A wish to cancel or a deadline has decided how it ends. */
static inline bool doomed(const struct item *i) {
    return i->cancel_requested || i->timed_out;
}
void forget(struct queue *q, struct item *i);
void run_log(struct queue *q, struct run *r, const char *level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* order.c: what starts next. */
void pools_init(struct queue *q);
/* Of a new request: where it may run. */
unsigned pool_for(struct queue *q, const struct queue_place *where);
static inline struct pool *item_pool(struct queue *q, const struct item *i) {
    return &q->pools[i->line->pool];
}
bool pool_has_room(struct queue *q, const struct item *i);
void wait_in_order(struct queue *q, struct item *i);
void put_in_order(struct queue *q, struct item *i, enum step step);
void leave_order(struct queue *q, struct item *i);
void leave_to_start(struct queue *q, struct item *i); /* it was the first of its pool */
bool order_waits(const struct queue *q);              /* something would start if there were room */
/* Its first so many are eligible. */
void line_fit(struct queue *q, struct line *l, uint32_t eligible);
void start_what_may(struct queue *q);
/* In the order in which they would start, NULL when there are not that many. */
struct item *order_eligible_at(const struct queue *q, unsigned pool, size_t rank);
uint32_t position_of(struct queue *q, struct item *i); /* of what callers see in the queue */

/* owners.c */
bool owners_init(struct owners *t);
void owners_free(struct owners *t);
struct owner *owner_find(const struct queue *q, struct slice name);
void owner_limit(struct queue *q, struct owner *o, uint64_t limit);
uint64_t limits_run(struct queue *q, uint64_t now); /* when the next one counts */
/* The item's owner counts it as its step says, and lets as many start as may. */
void owner_counts(struct queue *q, struct item *i);
void owner_leaves(struct queue *q, struct item *i);
/* Its priority is known. False: no memory. */
bool item_join(struct queue *q, struct item *i, struct slice owner,
               const struct queue_place *where);
void item_free(struct queue *q, struct item *i);

/* Ends under way at which further ones wait for the answers of these: ten thousand due in one moment neither stop the
 * loop nor fill the memory, and a store that cannot write is not asked for more at a time. */
#define ENDS_AT_ONCE 1000U

/* due.c */
bool start_by(struct queue *q, struct item *i, uint64_t in_ms); /* false: no memory */
uint64_t deadlines_run(struct queue *q, uint64_t now);          /* when the next is due */
void deadline_check(struct queue *q, struct item *i);
void sweep_later(struct queue *q);
void sweep_if_due(struct queue *q, uint64_t now);
void sweep_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void retain_begin(struct queue *q);
void retain_if_due(struct queue *q, uint64_t now);
void retain_answered(struct queue *q, struct ticket *t, const struct store_reply *r);

/* watch.c */
void watch_news(struct queue *q, struct item *i); /* its state or its log lines have changed */
void watch_left(struct queue *q, struct item *i); /* it leaves memory */
void watch_found(struct queue *q);                /* what is watched may have come into memory */
void watch_elsewhere(struct queue *q);            /* look again at what is not in memory */
void watch_tick(struct queue *q, uint64_t now);

/* ending.c */
void settle(struct queue *q, struct item *i);
void end_waiting(struct queue *q, struct item *i, enum verdict v, struct call *call);
void give_back(struct queue *q, struct item *i);
void try_stuck_again(struct queue *q);
void flush_logs(struct queue *q, struct run *r);
void lost_logs_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void flush_answered(struct queue *q, struct item *i, const struct store_reply *r);
void complete_answered(struct queue *q, struct item *i, const struct store_reply *r);
void end_answered(struct queue *q, struct item *i, struct ticket *t, const struct store_reply *r);

/* leases.c */
void leases_init(struct queue *q);
void leases_free(struct queue *q);
void leases_join(struct queue *q);
bool leases_left(
    struct queue *q); /* at the end of a drain: true when nothing is to be waited for */
void leases_doubt(struct queue *q);
uint64_t leases_tick(struct queue *q, uint64_t now);
void join_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void beat_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void leave_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void nodes_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
void bury_answered(struct queue *q, struct ticket *t, const struct store_reply *r);

/* loading.c */
void load_from(struct queue *q, uint64_t after);
void load_stop(struct queue *q);
void load_failed(struct queue *q);
void load_left(struct queue *q, uint64_t seq); /* it leaves memory */
uint64_t loads_tick(struct queue *q, uint64_t now);
void pending_answered(struct queue *q, struct ticket *t, const struct store_reply *r);

/* suspects.c */
bool suspect_aside(struct queue *q,
                   struct item *i); /* a LOST one: true when its turn has not come */
void suspect_back(struct queue *q, struct item *i);
void suspect_left(struct queue *q, struct item *i); /* memory */
void suspects_tick(struct queue *q);

/* times.c */
int64_t steady_ms(struct queue *q); /* the wall clock without its jumps: for decisions */
void item_born(struct queue *q, struct item *i);
void item_dates(struct queue *q, struct item *i, int64_t created_ms, int64_t started_ms);
int64_t stamp_ms(const struct queue *q, const struct item *i); /* not before its earlier ones */
void age_counts(struct queue *q, struct item *i);
void age_leaves(struct queue *q, struct item *i);
int64_t oldest_ms(const struct queue *q, const struct ages *a);

/* life.c */
void soon(struct queue *q); /* queue_tick once the present callback has returned */
void at_latest(struct queue *q, uint64_t at_ms); /* queue_tick at this time, mono */

/* submit.c */
void submit_answered(struct queue *q, struct ticket *t, const struct store_reply *r);

/* callers.c */
void calls_run(struct queue *q);
void calls_free(struct queue *q);
struct call *call_new(struct slice endpoint, struct slice owner); /* NULL: no memory, too long */
/* Taken up at the end of the turn; refused without a call, when there is no memory for one. */
void call_keep(struct queue *q, struct call *c);
void call_refuse(struct queue *q, struct queue_done d);
/* It waits until what is unfinished has been loaded, then it is taken up again. */
void call_park(struct queue *q, struct call *c);
void calls_unpark(struct queue *q);
/* How an unfinished request stands. */
struct queue_reply call_reply(struct queue *q, struct item *i);
void call_answer(struct queue *q, struct call *c, const struct queue_reply *r);
void call_answer_code(struct queue *q, struct call *c, enum queue_code code);
void get_answered(struct queue *q, struct ticket *t, const struct store_reply *r);
enum queue_code cancel_kept(const struct queue *q); /* not in the store: the answer */
void ask_cancel(struct queue *q, const char *id, struct call *call); /* call NULL: nobody waits */
void cancel_answered(struct queue *q, struct ticket *t, const struct store_reply *r);

#endif
