/* What the suites that kill share: a server that is ended without a word and started again on the same data, connections
 * that outlive it, and findings from any thread (cmocka's own failures are for the main one). */
#ifndef ANYLLM_TEST_WIRE_KILL_RIG_H
#define ANYLLM_TEST_WIRE_KILL_RIG_H

#include "calls.h"

#include <pthread.h>
#include <stdatomic.h>

#define QUEUE "/queue/fal-ai/any-llm"
#define ID_BYTES 40

/* The third argument of each suite: the program with faults that BREAK plants. */
extern const char *breakable_path;
/* The mock upstream of the suite. */
extern struct mock mock;
/* main(): takes the third argument away, starts the mock, then suite_main. */
int kill_main(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n);
/* ANYLLM_LONG=1: the long forms (make soak). */
unsigned long_or(unsigned many, unsigned few);
/* ANYLLM_SEED, or drawn and printed. */
uint64_t seed_of(const char *what);
uint64_t draw(uint64_t *seed, uint64_t below);
int64_t wall_ms(void);

/* --- what was found wrong */

enum found {
    FOUND_LOST,     /* accepted, and not there */
    FOUND_STUCK,    /* not completed */
    FOUND_RESULT,   /* none, another one's, or not as its answers said */
    FOUND_CALLS,    /* more upstream calls than there may be */
    FOUND_CHARGE,   /* not one charge per attempt that the upstream saw */
    FOUND_TWICE,    /* one submit, two requests */
    FOUND_WEBHOOK,  /* not one row, or no delivery */
    FOUND_BACK,     /* a step backwards, a position that rises, another result than before */
    FOUND_ANSWER,   /* an answer that must not be */
    FOUND_DATABASE, /* damaged */
    FOUND_KINDS
};
struct findings {
    pthread_mutex_t lock;
    unsigned count[FOUND_KINDS];
    char first[FOUND_KINDS][512]; /* of each kind */
};
void findings_init(struct findings *f);
void found(struct findings *f, enum found kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
unsigned findings_all(const struct findings *f);
/* Fails the test and says the first of each kind. */
void findings_expect_none(const struct findings *f);

/* --- the server */

#define MAX_KILLS 1024U

struct killed {
    struct server server;
    char data[MAX_PATH];
    const char *config, *program;
    const char *break_env; /* "BREAK=NAME" or NULL */
    const char *env[3];
    bool clock_jumps; /* no time in the database says anything */
    const char *args[6];
    atomic_uint port;           /* 0: it does not run */
    atomic_uint run;            /* grows with each start */
    int64_t kill_ms[MAX_KILLS]; /* wall clock */
    unsigned kills;
    unsigned listening_ms[MAX_KILLS], ready_ms[MAX_KILLS]; /* after a kill, from the start on */
    unsigned starts, readies;
    uint64_t began_ms; /* the last start */
};
void killed_init(struct killed *k, const char *config);
void killed_start(struct killed *k);
/* Until /readyz says so, measured from the start. */
void killed_wait_ready(struct killed *k);
/* kill -9. */
void killed_kill(struct killed *k);
/* PRAGMA integrity_check; it does not run. */
void killed_check(struct killed *k, struct findings *f);
void database_check(const char *path, struct findings *f);
/* Until nothing waits or runs, webhooks included; false after 60 s. */
bool killed_idle(struct killed *k);
/* SIGTERM; it must end with 0. The data stays until killed_free. */
void killed_stop(struct killed *k);
void killed_free(struct killed *k);
unsigned killed_between(const struct killed *k, int64_t from_ms, int64_t to_ms);
/* "p50 12, max 30 ms" */
const char *spread(unsigned *ms, unsigned n);

/* --- a connection of one thread */

struct line {
    unsigned port;
    int fd; /* -1: closed */
    struct text in, body;
    unsigned status;
};
#define LINE_CLOSED {.fd = -1}
/* One request on a kept connection, opened when need be. False: it broke before the answer was whole. */
bool line_ask(struct line *l, unsigned port, const char *bytes, size_t len);
void line_close(struct line *l);
/* METHOD /queue/…/requests/ID TAIL */
bool line_about(struct line *l, unsigned port, const char *method, const char *id,
                const char *tail);
/* The request_id of the body. */
bool line_id(const struct line *l, char id[ID_BYTES]);

#endif
