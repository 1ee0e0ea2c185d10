/* What serve puts together, in one process without sockets: store, queue, blobs and a runner on one loop, with a clock that goes
 * when it is told to and draws that a seed repeats. What is given to the disk is so the same for the same seed, whatever the
 * threads do: each step is over before the next is begun. */
#ifndef TEST_POWER_SERVICE_H
#define TEST_POWER_SERVICE_H

#include "queue/queue.h"
#include "store/blobs.h"
#include "store/desk.h"

#define SERVICE_RUNS 8U
#define SERVICE_DIR_BYTES 128
#define SERVICE_ENDPOINT "fal-ai/any-llm"

struct service_run {
    uint64_t run;
    unsigned n; /* of the request */
    uint32_t attempt;
    bool busy, cancelled;
};

struct service {
    char dir[SERVICE_DIR_BYTES], boot[STORE_ID_BYTES], why[256]; /* why it does not open */
    struct net_loop loop;
    struct store *store;
    struct blobs *blobs;
    struct queue *queue;
    struct desk *desk;
    struct clock clock;
    struct random random;
    uint64_t seed, mono_ms;
    struct service_run runs[SERVICE_RUNS];
    size_t nruns;
    unsigned started;
    bool ready, ready_ok, can_write, broken, keep_age;
    unsigned health_changes;
    unsigned checkpoint_pages; /* 10 to 24, of the seed */
    /* A run begins: durable is what the queue promises of it. A webhook's row is durable. */
    void (*on_start)(void *user, const char *id, unsigned n, uint32_t attempt);
    void (*on_webhook)(void *user, const char *id);
    void (*on_opened)(void *user); /* the store is open, nothing has been begun */
    void *user;
};

/* False with `why`: it does not open. The loop stays until service_end. */
void service_begin(struct service *s, const char *dir, uint64_t seed);
bool service_open(struct service *s);
/* Until nothing is left to do at this time of the clock, or the store is broken: then only service_close may follow. */
void service_settle(struct service *s);
void service_pass(struct service *s, uint64_t ms); /* the clock goes on, and what is due is done */
/* As a crash leaves it, but for the store's own end; or after a drain. */
void service_close(struct service *s, bool gracefully);
void service_end(struct service *s);

/* A run ends well or otherwise. */
void service_end_run(struct service *s, struct service_run *r, const struct queue_outcome *o);

/* The input of request n says who it is: {"n":N,… */
unsigned service_number(struct slice input);
/* SQL on a connection of its own that only reads: the first number of the first row; -1: no row. */
int64_t service_count(struct service *s, const char *sql);

#endif
