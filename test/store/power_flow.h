/* A day of the service out of a seed: submits, runs that end well, badly or are tried again, cancels, restarts, webhooks, files,
 * direct calls, keys, results that are removed. What callers are told is taken down as marks between the calls of the record
 * (power_calls.h), so that for each moment it is known what was promised by then. */
#ifndef TEST_POWER_FLOW_H
#define TEST_POWER_FLOW_H

#include "store/power_service.h"

enum mark_kind {
    MARK_SUBMITTED, /* request n is `id` */
    MARK_STARTED,   /* its attempt `value` has reached the runner */
    MARK_STATE,     /* its status was told: `value` */
    MARK_RESULT,    /* its result was told: told_result() */
    MARK_CANCELLED, /* told: cancellation requested */
    MARK_OUTBOX,    /* its webhook may be sent */
    MARK_NOTED,     /* of its webhook: `value` tries, state `value` >> 8 */
    MARK_DROPPING,  /* input and result are to go: … */
    MARK_DROPPED,   /* … are gone */
    MARK_FILE,      /* file n is whole: its owner was told */
    MARK_REMOVING,  /* file n is to go: … */
    MARK_REMOVED,   /* … is gone */
    MARK_CHARGING,  /* direct call n ends: … */
    MARK_CHARGED,   /* … its charge is written */
    MARK_KEY,       /* key n is there */
    MARK_REVOKED,   /* key n is revoked */
    MARK_LATER,     /* hours go by: requests below n may be forgotten */
    MARK_BACKED_UP, /* backup n holds what was told before mark `value` */
};

struct mark {
    size_t at; /* calls of the record before it */
    enum mark_kind kind;
    unsigned n;
    uint64_t value, mono_ms;
    char id[STORE_ID_BYTES];
};

#define MAX_REQUESTS 600U
#define MAX_FILES 100U
#define MAX_CHARGES 400U
#define MAX_KEYS 100U

/* What is asked of request n, of the seed alone. */
struct wish {
    bool webhook, no_retry, no_store, idempotent;
    int priority;
    size_t input;
};
struct wish wish_of(uint64_t seed, unsigned n);
/* What a told result is known by. */
uint64_t told_result(unsigned http_status, struct slice body);
void file_id(unsigned n, char id[STORE_ID_BYTES]);
struct queue_submit submit_of(uint64_t seed, unsigned n, char *tags, char *input);
#define INPUT_BYTES 70000U
#define TAGS_BYTES 16

struct flow {
    struct service s;
    uint64_t seed, draws;
    struct mark *marks;
    size_t nmarks, room;
    unsigned requests, files, charges, keys, backups; /* given so far */
    uint64_t calls, answers;                          /* of the queue's callers */
    unsigned unavailable;                             /* answers that say so */
    bool calm;                                        /* no hours go by */
    bool
        all_known; /* nothing is forgotten yet: status and cancel must be answered, whatever the disk does */
    const char *wrong; /* what must not be, seen on the way */
    /* as told so far */
    struct known {
        char id[STORE_ID_BYTES];
        bool completed, outbox, dropping, old; /* old: may be forgotten, and its key with it */
        uint32_t notes;
    } known[MAX_REQUESTS];
    struct store_file whole[MAX_FILES]; /* id "": none */
    char *input;
    struct sqlite3 *reader; /* holds the log back; NULL: nobody does */
};

void flow_begin(struct flow *f, const char *dir, uint64_t seed);
/* So many steps. It must be open; whether it is after it is told by f->s.store. */
void flow_steps(struct flow *f, unsigned steps);
/* Requests that ask for a webhook, nothing else; each has run. */
void flow_few(struct flow *f, unsigned requests);
/* All that waits runs to its end, if the store can write. */
void flow_finish(struct flow *f);
/* Until the next restart or the end of the work. */
void flow_read(struct flow *f);
void flow_restart(struct flow *f, bool gracefully);
void flow_end(struct flow *f);

#endif
