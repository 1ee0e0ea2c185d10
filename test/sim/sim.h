/* A world for the real queue: one shared store, up to three servers that crash, stand still and lose their store,
 * clocks that go wrong, an upstream, a receiver of webhooks, callers. One seed decides everything that happens in it.
 *
 *   main.c      seeds, steps, the command line      rules.c    what must hold, numbered in rules.h
 *   disk.c      what is durable, and its guards     ops.c      operations on their way to it and back
 *   servers.c   boots of the queue, their clocks    upstream.c runs of the queue, and what they cost
 *   callers.c   submits, polls, results, cancels    hooks.c    deliveries, by the real outbox
 *
 * Time is counted twice: sim.now_ms is the truth that nobody in the world can read; each server has clocks of its own.
 * Nothing here outlives its seed. */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include "base/broken.h"
#include "queue/outbox.h"
#include "queue/queue.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS 3U
#define MAX_ROWS 512U
#define OWNERS 4U
#define POOLS 2U
#define TRACE_LINES 40U
#define TRACE_BYTES 200U
#define NEVER UINT64_MAX

struct sim;

struct line {
    int64_t at_ms;
    unsigned call; /* of the upstream that said it, 0: the queue's own */
    char text[88];
};

struct lines {
    struct line *base;
    size_t n;
};

/* How a request ended. */
struct end {
    unsigned http_status;
    char headers[104], body[240], error[88], error_type[24];
    int64_t inference_ms;
};

/* A request as the store keeps it, and below what the rules remember of it. */
struct row {
    char id[STORE_ID_BYTES], boot[STORE_ID_BYTES];
    char endpoint[32], owner[8], key_id[8], model[8], input[16], webhook[24];
    char idempotency[16];
    unsigned char body_hash[32];
    int64_t asked_ms, idempotency_until_ms; /* by its server's steady clock */
    struct store_wishes wishes;
    enum store_state state;
    int priority;
    bool no_retry, cancel_requested, released, swept;
    bool loose; /* held by nobody who lives */
    uint32_t attempt, crashes;
    uint64_t seq, token;
    int64_t created_ms, started_ms, completed_ms, forget_ms;
    struct end end;
    struct lines lines;
    enum store_webhook_state hook_state;
    uint32_t hook_tries;
    int64_t hook_due_ms;

    unsigned ask; /* that made it */
    bool accepted;
    unsigned results, hooks, deliveries; /* how often written; tried */
    unsigned calls, retryable, losses;   /* of the upstream; that may be tried again; leases lost */
    unsigned holder, holder_boots;       /* the process that has, or had, the lease */
    uint64_t born_ms, claimed_ms, ended_ms; /* truth */
    uint64_t end_given_ms, touched_ms;      /* when its end was given; something of it came back */
    uint32_t claimed_attempt;               /* of the present lease, before its retries */
    enum store_state seen;                  /* highest state an answer has shown */
    struct {
        unsigned lives; /* of the server, when … */
        uint64_t position;
        uint64_t since;                      /* accepts counted when this position was shown … */
        unsigned before;                     /* … and how many of them began since */
        unsigned overtaken[OWNERS], cheaper; /* that began since it was accepted here */
        unsigned rank;                       /* of its owner's own at that time; 0: not here */
    } at[SERVERS];
    uint64_t accept;               /* accepts counted */
    bool put_back;                 /* the store could not write its claim: others may pass it */
    bool watched;                  /* its position was computed and not told */
    bool by_retry;                 /* the present lease */
    uint64_t leased_at, marked_at; /* applies counted: present lease; mark of a cancel … */
    unsigned marked_by, marked_boots;
    uint64_t lost_ms; /* when its last lease was lost: truth */
    unsigned born_server, born_lives;
    uint64_t born_mono_ms; /* of that server */
    uint64_t told_ms;      /* … and when the holder, if it is another one, was told: truth */
    bool overtook_mark;    /* ended when its holder did not know of the mark of another server */
    unsigned ended_by;
    bool cancelled;           /* CANCELLATION_REQUESTED was answered, and it is durable … */
    unsigned cancel_at;       /* … or in the memory of this server (counted from 1) … */
    unsigned cancel_at_boots; /* … in this boot of it */
    unsigned attempt_call[QUEUE_MAX_ATTEMPTS * 4]; /* call of each attempt, 0: none */
};

struct living {
    char boot[STORE_ID_BYTES], node[8];
    uint64_t beat, seen_ms;     /* seen_ms: truth, of the last one */
    uint64_t stood_ms[SERVERS]; /* how long, and how often, each server had stood still then */
    unsigned stood[SERVERS];
    int64_t at_ms;
};

struct charge {
    struct row *row;
    uint32_t attempt;
    unsigned call;
};

enum op_kind {
    OP_JOIN,
    OP_BEAT,
    OP_BURY,
    OP_LEAVE,
    OP_SUBMIT,
    OP_CLAIM,
    OP_RETRY,
    OP_RELEASE,
    OP_COMPLETE,
    OP_FINISH,
    OP_CANCEL,
    OP_SWEEP,
    OP_RETAIN,
    OP_LOG,
    OP_HOOK_NOTE,
    OP_NODES, /* the first read */
    OP_GET,
    OP_LOGS,
    OP_PENDING,
    OP_HOOKS,
    OP_KINDS
};

/* An operation, and what it is answered with: a picture of the moment at which it was applied. */
struct op {
    struct op *next;
    enum op_kind kind;
    uint64_t ticket, given_ms, due_ms;
    char id[STORE_ID_BYTES], boot[STORE_ID_BYTES], node[8];
    uint32_t attempt;
    uint64_t token, next_token, number; /* number: beat, after, max_bytes */
    unsigned limit, parts, call;        /* call: of the usage, 0: none */
    int64_t at_ms, due_at_ms;
    bool alone, only_known;
    enum store_webhook_state hook_state;
    struct row *row; /* submit; the end in row->end; of the reply */
    struct lines lines;
    struct store_reply reply;
    struct store_row out; /* of the reply */
    void *list;           /* of the reply */
};

struct ops {
    struct op *given, **given_tail, *applied, **applied_tail;
    uint64_t apply_ms; /* when the next of the given ones are applied */
};

enum life { DOWN, STARTING, UP, DRAINING };

struct server {
    struct store store; /* first: the queue's calls come with it */
    struct sim *sim;
    unsigned number, boots, lives; /* a boot that was buried has another life */
    char name[8], boot[STORE_ID_BYTES];
    enum life life;
    struct queue *queue;
    struct outbox *outbox;
    struct ops ops[2]; /* writes, reads */
    struct clock clock;
    struct random random;
    uint64_t mono_base_ms, mono_since_ms; /* mono at this true time */
    int64_t wall_base_ms;                 /* wall clock less the true time */
    int64_t drift_ppm;
    uint64_t tick_ms, outbox_ms;
    uint64_t frozen_until_ms; /* its process stands still */
    uint64_t stood_ms;        /* so long in all … */
    unsigned stood;           /* … and so often */
    bool unwritten;           /* something could not be written in this boot */
    uint64_t cut_until_ms;    /* its store is out of reach */
    uint64_t start_ms;        /* DOWN: when it starts again */
    uint64_t abandon_ms;      /* DRAINING: when its time is over */
    uint64_t tired_ms;        /* its store cannot write until then; 0: it can */
    uint64_t well_ms;         /* since then it works, and so does its store; NEVER: it does not */
    unsigned well_lives;      /* … in this life */
    size_t room[POOLS];
    bool idle, failed; /* drained; its start did not succeed */
    bool new_machine;  /* at its next start */
};

/* A run of a queue at the upstream. */
struct call {
    struct row *row;
    unsigned server, boots, pool;
    char boot[STORE_ID_BYTES];
    uint64_t run, began_ms, end_ms;
    int64_t retry_after_ms;
    uint32_t attempt;
    bool active, cancelled, reached, slow, retryable;
    bool well; /* it ended with a result, and nobody had told it to stop */
    bool said; /* a line, to a queue that knew the run */
};

enum ask_kind { ASK_SUBMIT, ASK_STATUS, ASK_RESULT, ASK_CANCEL };

/* What one caller wants once, and what was answered. */
struct ask {
    enum ask_kind kind;
    unsigned server, boots;
    bool open, lost, answered, refused; /* lost: nobody hears the answer */
    struct row *row;                    /* of what it asks for */
    enum store_state floor;             /* seen when it was asked */
    uint64_t floor_position;
    uint64_t asked_ms, due_ms;
    unsigned
        again; /* submit: so many more times, from due_ms on, when no answer or a temporary refusal comes */
    unsigned owner, model, concurrency, queue_length;
    int priority, retries;
    bool no_retry, no_store, has_webhook;
    unsigned idempotency; /* number of its key, 0: none */
    unsigned char body;
    uint64_t start_timeout_ms;
};

/* What this seed does, drawn at its start: in parts of a thousand steps, or per hundred. */
struct habits {
    unsigned servers, steps;
    bool alone;
    unsigned crash, drain, freeze, cut, tire, jump; /* per mille of steps */
    unsigned lose, slow_store, fail;                /* per cent of answers, operations, calls */
    unsigned submit, poll, cancel, result;          /* weights */
    uint64_t call_ms, lease_ms;
    int64_t retention_ms;
    unsigned crowd; /* submits of one owner at the beginning */
    unsigned idempotent, hooked, timed, limited, no_retry; /* per cent of submits */
};

struct sim {
    uint64_t seed, draws, now_ms;
    unsigned step;
    bool verbose, calm; /* calm: faults have stopped */
    struct habits habits;
    struct server servers[SERVERS];
    /* durable */
    struct row *rows[MAX_ROWS];
    size_t nrows;
    uint64_t seq, lives, applies, accepts;
    struct living living[SERVERS * 4];
    size_t nliving;
    struct charge *charges;
    size_t ncharges, charge_room;
    /* the rest of the world */
    struct call *calls;                   /* [0] is none */
    size_t ncalls, call_room, first_call; /* no active ones before first_call */
    struct ask *asks;                     /* [0] is none */
    size_t nasks, ask_room, first_ask;
    unsigned again[64]; /* asks that will be repeated */
    size_t nagain;
    struct {
        struct row *row;
        unsigned server, boots;
        uint64_t ticket, due_ms;
        uint32_t tries;
    } deliveries[64];
    size_t ndeliveries;
    struct watch {
        struct sim *sim;
        struct row *row;
        struct queue_watch *watch; /* NULL: none */
        unsigned server;
        bool saw_end; /* was told when the end was durable */
    } watches[32];
    bool wall_jumped;
    uint64_t calm_ms;
    struct totals {
        uint64_t steps, events, accepted, repeated, calls, takeovers, lost_leases, buried, crashes,
            cancelled, deliveries, late_writes;
    } totals;
    char trace[TRACE_LINES][TRACE_BYTES];
    unsigned traced;
};

static inline uint64_t draw_u64(struct sim *s) {
    uint64_t z = s->draws += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

/* Below n; 0 when n is. */
static inline uint64_t draw(struct sim *s, uint64_t n) {
    return n > 0 ? draw_u64(s) % n : 0;
}

static inline bool chance(struct sim *s, unsigned percent) {
    return draw(s, 100) < percent;
}

/* Small ones mostly, up to n. */
static inline uint64_t draw_skewed(struct sim *s, uint64_t n) {
    return draw(s, draw(s, draw(s, n) + 1) + 1);
}

static inline void *need(void *p) {
    if (p == NULL) abort();
    return p;
}

static inline void copy_text(char *out, size_t size, struct slice from) {
    size_t len = from.len < size ? from.len : size - 1;
    if (len > 0) memcpy(out, from.ptr, len);
    out[len] = '\0';
}
#define COPY(field, from) copy_text(field, sizeof(field), from)

/* main.c */
extern FILE *told; /* where rules, steps and progress are told */
void trace(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* disk.c */
void disk_apply(struct server *by, struct op *op);
struct row *disk_row(struct sim *s, const char *id); /* NULL: not there, or swept */
struct row *disk_had(struct sim *s, const char *id); /* swept ones too */
bool disk_lives(const struct sim *s, const char *boot);

/* ops.c */
extern const struct store_backend ops_backend;
extern const char *const op_names[OP_KINDS];
struct op *op_give(struct store *s, enum op_kind kind, uint64_t ticket, const char *id);
void op_free(struct op *op);
uint64_t ops_due(const struct server *v); /* true time; NEVER */
void ops_run(struct server *v);           /* the next of them: applied, or answered */
void ops_drop(struct server *v);          /* the process has died */
void ops_finish(struct server *v);        /* the store is closed: all is applied and answered */

/* servers.c */
void server_init(struct sim *s, unsigned number);
void server_start(struct server *v);
void server_crash(struct server *v, bool machine);
void server_drain(struct server *v);
void server_close(struct server *v); /* the end of a drain */
void server_abandon(struct server *v);
void server_tire(struct server *v);   /* its store cannot write until v->tired_ms … */
void server_rested(struct server *v); /* … and can again */
void server_jump(struct server *v);   /* of its wall clock */
void server_thaw(struct server *v);
void server_tick(struct server *v);
void server_soon(struct server *v); /* the queue was called: it wants its tick */
uint64_t server_mono(const struct server *v);
int64_t server_wall(const struct server *v);
bool server_hears(const struct server *v);                      /* it takes calls */
uint64_t server_later(const struct server *v, uint64_t due_ms); /* not while it stands still */

/* upstream.c */
struct queue_runner upstream_runner(struct server *v);
void upstream_end(struct sim *s, unsigned number);
void upstream_drop(struct server *v);       /* its process has died */
unsigned upstream_number(struct slice raw); /* of the call that a usage or a body names */

/* callers.c */
void callers_submit(struct sim *s);
void callers_ask(struct sim *s, enum ask_kind kind);
void callers_ask_at(struct server *v, enum ask_kind kind, struct row *r);
uint64_t callers_due(const struct sim *s); /* true time; NEVER */
void callers_run(struct sim *s);           /* one submit is repeated */
void callers_hang_up(struct server *v);    /* its process has died */
void callers_watch(struct sim *s);         /* one request, for as long as the server lives */
void callers_unwatch(struct server *v);
unsigned pool_of_row(const struct row *r);

/* hooks.c */
struct outbox *hooks_new(struct server *v);
void hooks_load(struct server *v);
void hooks_wanted(void *server, const char *id);
void hooks_answered(struct server *v, const struct op *op);
uint64_t hooks_due(const struct sim *s); /* true time; NEVER */
void hooks_run(struct sim *s);           /* one receiver answers */

#endif
