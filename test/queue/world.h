/* A queue in a world of its own: a store in memory that answers when it is told to, a clock that stands still, seeded
 * random, a runner whose runs end when the test says so. */
#ifndef TEST_QUEUE_WORLD_H
#define TEST_QUEUE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/queue.h"

#define MAX_ROWS 12000U
#define MAX_CALLS 60000U
#define MAX_RUNS 512U

struct fake_log {
    char text[64];
};

/* A row as the store keeps it. */
struct fake_row {
    char id[STORE_ID_BYTES];
    char endpoint[48], owner[24], input[64], webhook[32], hint[32], tags[32], model[8];
    struct store_wishes wishes; /* their texts: see above */
    int64_t forget_ms;
    bool swept;
    enum store_state state;
    int priority;
    bool no_retry, cancel_requested;
    uint32_t attempt, crashes;
    uint64_t seq, token;
    char boot[STORE_ID_BYTES]; /* who has or had it; whether that lives, world.nodes says */
    unsigned webhooks;         /* told of by the queue; the last one's id */
    char webhook_id[STORE_ID_BYTES];
    int64_t created_ms, started_ms, completed_ms;
    unsigned http_status;
    char body[320], error[80], error_type[32], headers[96];
    int64_t inference_ms;
    unsigned results, usages, outbox; /* how often written */
    struct fake_log *logs;
    size_t nlogs;
};

struct fake_op;

struct fake_node {
    char boot[STORE_ID_BYTES], node[24];
    uint64_t beat;
};

#define SEATS 4U

struct run_seen {
    uint64_t run;
    char id[STORE_ID_BYTES], input[64], owner[24], hint[32];
    unsigned pool;
    uint32_t attempt;
    bool cancelled, no_fallback;
    bool slow; /* has not begun, as a start timeout understands it */
};

struct answer {
    unsigned times;
    enum queue_code code;
    char id[STORE_ID_BYTES];
    enum store_state state;
    uint64_t position;
    unsigned http_status;
    char error_type[32], body[320], headers[96];
    size_t nlogs;
    char last_log[96], first_log[96];
};

/* One of several servers over one store. */
struct seat {
    struct queue *queue;
    struct run_seen runs[MAX_RUNS];
    size_t nruns, capacity;
    bool ready, ready_ok, idle;
    bool stopped; /* as by SIGSTOP: nothing of it happens */
};

struct world {
    struct store store; /* first: the queue's backend calls come with it */
    struct queue *queue;
    /* clock, random */
    struct clock clock;
    struct random random;
    uint64_t mono_ms, seed;
    int64_t wall_ms;
    /* store */
    struct fake_row rows[MAX_ROWS];
    size_t nrows;
    uint64_t next_seq;
    struct fake_op *first, **last; /* given, not yet applied */
    unsigned fail_next;            /* so many of the next writes fail */
    unsigned fail_percent;
    unsigned piece;             /* so many rows at most in an answer of pending, 0: as asked for */
    bool fail_reads;            /* pending, logs and nodes count among those that fail */
    struct fake_node nodes[64]; /* that live */
    size_t nnodes;
    unsigned beats, looks, burials; /* given */
    enum store_status fail_with;
    bool can_write;
    /* runner */
    size_t capacity;
    bool pooled; /* a model names its pool: "0", "1" …; each has room for so many too */
    size_t rooms[QUEUE_POOLS];
    bool slow;              /* runs that start are slow */
    const char *limited[4]; /* owners no more than limits[] of whose requests may be in progress */
    unsigned limits[4];
    struct run_seen *runs; /* of the present seat */
    size_t nruns;
    unsigned started, cancels;
    /* seats: what is above and below of one server is of the present one */
    struct seat seats[SEATS];
    unsigned seat, nseats;
    bool together; /* servers that start are not alone */
    size_t lost;   /* told by on_lost */
    unsigned losses;
    unsigned webhooks; /* told of by the queue; the last one's id */
    char webhook_id[STORE_ID_BYTES];
    /* callers */
    struct answer answers[MAX_CALLS];
    uint64_t calls;
    bool in_call;
    bool ready, ready_ok, idle;
};

struct world *world_new(uint64_t seed);
void world_free(struct world *w);
/* A new queue over what the store holds, as after a restart; loads it. */
void world_start(struct world *w);
/* What is said to `queue` from now on is said to this one; a new one is started with world_start. */
void world_sit(struct world *w, unsigned seat);
/* The process dies: what was given to the store and not applied is lost, runs are gone. */
void world_crash(struct world *w);

uint64_t draw(struct world *w, uint64_t below);

/* The store applies and answers the next operation. False when there is none. */
bool store_step(struct world *w);
/* The store applies the next operation; its answer comes after those of all others that are waiting now. */
void store_step_late(struct world *w);
/* The next operation comes after all others that are waiting now. */
void store_put_off(struct world *w);
size_t store_waiting(const struct world *w);
/* Everything that can happen without time passing or a run ending. */
void settle_world(struct world *w);
/* The same, and the clock goes on. */
void pass(struct world *w, uint64_t ms);

/* Each gives the number of its answer. */
uint64_t submit(struct world *w, int priority, bool no_retry);
struct queue_submit plain(void);
uint64_t submit_in(struct world *w, const struct queue_submit *in);
uint64_t status(struct world *w, const char *id, bool logs);
uint64_t status_find(struct world *w, const struct queue_find *f);
uint64_t result(struct world *w, const char *id);
uint64_t cancel(struct world *w, const char *id);
/* Submits, settles, and returns the id (in the answer). */
const char *submitted_in(struct world *w, const struct queue_submit *in);
const char *submitted(struct world *w, int priority, bool no_retry);

struct fake_row *row_of(struct world *w, const char *id);
/* The run of this request, or NULL. */
struct run_seen *run_of(struct world *w, const char *id);
void end_run(struct world *w, uint64_t run, const struct queue_outcome *o);
struct queue_outcome good(void);
struct queue_outcome retryable(unsigned max_attempts);
struct queue_stats stats_of(struct world *w);
void advance(struct world *w, uint64_t ms); /* both clocks */

/* Asks, settles, and gives the answer. */
struct answer *ask_status(struct world *w, const char *id);
struct answer *ask_result(struct world *w, const char *id);
enum queue_code ask_cancelled(struct world *w, const char *id);
/* Ends the run of this request so, and settles. */
void finish(struct world *w, const char *id, struct queue_outcome o);
/* The process dies and starts again. */
void restart(struct world *w);
/* A second and a third server beside the first one. */
struct world *world_together(uint64_t seed, unsigned seats);
/* How many servers think that they run this request. */
unsigned seats_running(struct world *w, const char *id);

/* What must hold at any moment. */
void check_world(struct world *w);

/* This program, run again with a fault (BREAK), fails in this case of its own. */
void suite_must_find(const char *const faults[][2], size_t n);

int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

#endif
