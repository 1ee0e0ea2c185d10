/* Clients that submit while the server is killed: eight that never say anything twice, and crowds that send one submit in
 * many copies under an Idempotency-Key. What they were told is kept for kill_books.h. */
#ifndef ANYLLM_TEST_WIRE_KILL_LOAD_H
#define ANYLLM_TEST_WIRE_KILL_LOAD_H

#include "kill_rig.h"

#define CLIENTS 8U
#define COPIES 20U
#define MAX_PROMPTS 60000U /* the mock counts them apart */

enum kind { PLAIN, SLOW, HOOK, NO_RETRY, CANCELLED, FLAKY, PICTURE, TIMED, KEYED, LATER, KINDS };

/* A submit that was answered with an id. */
struct accepted {
    char id[ID_BYTES];
    unsigned n; /* of its prompt: PROMPT */
    enum kind kind;
    unsigned cancel; /* what its cancel was answered; 0: none, or no answer */
};
/* Fixed width: no prompt is the beginning of another one. The mock's answers repeat it. */
#define PROMPT "nonce:k%07u"

struct load {
    /* Given. */
    struct killed *server;
    struct findings *findings;
    unsigned hook_port;
    unsigned weight[KINDS]; /* shares of the kinds before KEYED */
    unsigned pause_ms;      /* at most, between two submits of a client */
    unsigned most;          /* submits in all, below MAX_PROMPTS */
    unsigned keys;          /* for KEYED: each of them from COPIES clients at the same time */
    unsigned keys_pause_ms;
    uint64_t seed;
    /* Found. */
    struct accepted *accepted; /* in no order */
    atomic_uint naccepted;
    enum kind kind_of[MAX_PROMPTS]; /* of every prompt that was sent, answered or not */
    atomic_uint prompts, unanswered, refused, other_bodies;
    /* Inside. */
    atomic_bool over;
    pthread_t clients[CLIENTS], copies[COPIES];
    pthread_barrier_t together;
    char (*key_ids)[ID_BYTES]; /* what the first copy of each key was answered */
    unsigned *key_prompts;
    pthread_mutex_t lock;
};

/* The configuration of the server: upstreams test/quick, test/slow, test/flaky, test/later at the mock, webhooks to this
 * machine. */
char *load_config(const struct mock *m);
void load_init(struct load *l);
void load_start(struct load *l);
/* A submit by the main thread, of the next prompt; NULL: it was not answered with an id. */
struct accepted *load_submit(struct load *l, struct line *at, enum kind kind);
void load_cancel(struct load *l, struct line *at, struct accepted *a);
/* They stop submitting; the server must run. */
void load_stop(struct load *l);
void load_free(struct load *l);

#endif
