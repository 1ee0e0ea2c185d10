/* What serve does, in a test: a real store, a queue and a runner whose runs end by themselves, on one loop. */
#ifndef TEST_QUEUE_SERVICE_H
#define TEST_QUEUE_SERVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/queue.h"

#define MAX_CALLS 2048U
#define MAX_RUNS 64U

struct one_run {
    struct net_defer defer;
    struct service *s;
    uint64_t run;
    char id[STORE_ID_BYTES];
    bool busy, cancelled;
};

/* Each run ends at the loop's next turn, unless they are held. */
struct service {
    char dir[64];
    struct net_loop loop;
    struct store *store;
    struct queue *queue;
    size_t capacity, nruns;
    unsigned started;
    struct one_run runs[MAX_RUNS];
    bool hold_runs, ready_ok, can_write;
    char boot[UUID_BYTES]; /* as it was first drawn */
    size_t lost;           /* runs given up because it was buried, as it said */
    unsigned buried;       /* how often it said so */
    uint64_t lease_ms;     /* not 0: others may stand beside it; six beats and looks a lease */
    int told;              /* pipe: one byte per run that begins; -1: none */
    /* answers */
    uint64_t calls, answered;
    enum queue_code codes[MAX_CALLS];
    char ids[MAX_CALLS][STORE_ID_BYTES];
    enum store_state states[MAX_CALLS];
    unsigned http_status[MAX_CALLS];
    size_t nlogs[MAX_CALLS];
    /* What another server's operation was answered: service_others. */
    unsigned others;
    enum store_status other;
    char living[4][STORE_ID_BYTES];
    uint64_t beats[4];
    size_t nliving;
};

int service_setup(void **state);
int service_teardown(void **state);
void service_open(struct service *s);
void service_close(struct service *s); /* when nothing is due any more */
void service_die(struct service *s);   /* without waiting for the queue's timers */
uint64_t service_submit(struct service *s, bool no_retry);
struct queue_done service_next(struct service *s); /* for one more call */
/* Status, result or cancel of this id ('s', 'r', 'c'): the number of the call. */
uint64_t service_ask(struct service *s, const char *id, char what);
/* The first column of the first row. */
int64_t service_count(struct service *s, const char *sql);
/* The ticket of an operation that another server gives, played by the test: one at a time. */
#define SERVICE_OTHER UINT64_MAX
enum store_status service_other(struct service *s); /* turns the loop until it is answered */
void service_turn_until(struct service *s, const uint64_t *what, uint64_t value);

#endif
