/* A fresh store of the backend under test on a loop of its own, and what it has answered so far. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "store/store.h"

struct fixture;

/* How the contract's suite meets a backend. */
struct suite_backend {
    const char *name;
    const char *url;
    /* "all marks" counts what is kept of cancels that are not over. Rows of `table` ("ledger", "outbox", "result") that belong to the request, read past the store. "all ledger", "all
     * outbox", "all large" (inputs, results, log lines) and "money" (of the ledger, that is known) ask for no request. */
    int64_t (*count)(struct fixture *f, const char *table, const char *id);
};

#define MAX_TICKETS 16384U

struct answer {
    bool given;
    unsigned times;
    enum store_status status;
    uint64_t seq;
    enum store_state state;
    size_t swept, count;
    int64_t forget_ms;
    uint64_t next;
    bool more, same_body;
    size_t npending;
};

#define STORE_NEVER_QUIET 4000000000U

struct fixture {
    const struct suite_backend *backend;
    struct net_loop loop;
    struct store *store;
    char dir[64];
    uint64_t tickets; /* the next is tickets + 1 */
    struct answer answers[MAX_TICKETS];
    uint64_t order[MAX_TICKETS]; /* tickets as they were answered */
    size_t nanswers;
    bool in_call; /* an operation is being given: no answer may come */
    /* what the last answer that had some held */
    struct arena mem;
    struct store_row row;
    const struct store_log *logs;
    size_t nlogs;
    const struct store_pending *pending;
    size_t npending;
    const struct store_node *living;
    size_t nliving;
    const struct store_charge *charges;
    size_t ncharges;
    const struct store_sum *sums;
    size_t nsums;
    const struct store_request *requests;
    size_t nrequests;
    const struct store_file *files;
    size_t nfiles;
    const struct store_file_sum *file_sums;
    size_t nfile_sums;
    const struct store_webhook *webhooks;
    size_t nwebhooks;
    const struct store_key *keys;
    size_t nkeys;
    bool has_row; /* of the last answer with webhooks */
    /* health */
    unsigned health_changes, breaks;
    bool can_write;
    char why[160], refused[256];   /* of the last of these; of the last answer that had a reason */
    unsigned wal_checkpoint_pages; /* 0: as the store likes */
    unsigned quiet_ms;             /* 0: never, so that what is written depends on no clock */
    /* optional: called on each answer */
    void (*on_answer)(struct fixture *f, uint64_t ticket);
    void (*on_health)(void *f, bool can_write);
    unsigned step;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
/* Closes, begins anew with an empty store and no answers. */
void fixture_fresh(struct fixture *f);
/* Runs the loop until everything given is answered. */
void fixture_settle(struct fixture *f);

/* Each gives one operation and returns its ticket. */
uint64_t give_submit(struct fixture *f, const struct store_submit *in);
uint64_t give_id(struct fixture *f, const char *id);
uint64_t give_claim(struct fixture *f, const char *id, uint32_t attempt, const char *boot,
                    uint64_t token);
uint64_t give_retry(struct fixture *f, const char *id, uint32_t attempt, uint64_t token,
                    uint64_t next, const struct store_usage *usage);
uint64_t give_release(struct fixture *f, const char *id, uint32_t attempt, uint64_t token,
                      const struct store_usage *usage);
uint64_t give_complete(struct fixture *f, const struct store_complete *in);
uint64_t give_finish(struct fixture *f, const char *id, uint32_t attempt, const char *boot);
uint64_t give_end(struct fixture *f, const struct store_complete *in);
uint64_t give_cancel(struct fixture *f, const char *id);
uint64_t give_sweep(struct fixture *f, int64_t now_ms, unsigned max);
uint64_t give_logs(struct fixture *f, const struct store_log *lines, size_t n);
uint64_t ask_row(struct fixture *f, const char *id, unsigned parts);
uint64_t ask_logs(struct fixture *f, const char *id);
uint64_t ask_pending(struct fixture *f);
uint64_t give_ping(struct fixture *f);
/* Boots of the node named "node". */
uint64_t give_join(struct fixture *f, const char *boot);
uint64_t give_join_of(struct fixture *f, const char *node, const char *boot, bool alone);
uint64_t give_beat(struct fixture *f, const char *boot);
uint64_t give_bury(struct fixture *f, const char *boot, uint64_t beat);
uint64_t give_leave(struct fixture *f, const char *boot);
uint64_t ask_nodes(struct fixture *f);
uint64_t ask_pending_after(struct fixture *f, uint64_t after, unsigned limit);

/* store_given.c: the other operations. */
uint64_t give_charges(struct fixture *f, const struct store_charge *rows, size_t n);
uint64_t ask_ledger(struct fixture *f, const struct store_ledger_query *q);
uint64_t ask_sums(struct fixture *f, const struct store_ledger_query *q);
uint64_t ask_requests(struct fixture *f, const struct store_request_query *q);
uint64_t give_drop(struct fixture *f, const char *id, struct slice owner);
uint64_t give_file(struct fixture *f, const struct store_file *file);
uint64_t give_whole(struct fixture *f, const struct store_file *file);
uint64_t give_acl(struct fixture *f, const char *id, struct slice acl);
uint64_t give_removal(struct fixture *f, const struct store_file *seen);
uint64_t ask_file(struct fixture *f, const char *id);
uint64_t ask_files(struct fixture *f, const struct store_file_query *q);
uint64_t ask_file_sums(struct fixture *f);
uint64_t ask_waiting(struct fixture *f);
uint64_t ask_webhook(struct fixture *f, const char *id);
uint64_t ask_webhooks(struct fixture *f, const struct store_webhook_query *q);
uint64_t give_note(struct fixture *f, const struct store_webhook_note *n);
uint64_t give_replay(struct fixture *f, const char *id, struct slice owner, int64_t at_ms);
uint64_t give_key(struct fixture *f, const struct store_key *k);
uint64_t give_revocation(struct fixture *f, struct slice id, int64_t at_ms);
uint64_t ask_keys(struct fixture *f);
/* Keeps what the reply to one of these holds. */
void keep_given(struct fixture *f, const struct store_reply *r);

/* For each operation of the two files. */
uint64_t begin_giving(struct fixture *f);
uint64_t end_giving(struct fixture *f);

/* Settles, then the answer's status. */
enum store_status status_of(struct fixture *f, uint64_t ticket);
/* A completion of attempt 1, token `token`, with a body. */
struct store_complete completion(const char *id, uint32_t attempt, uint64_t token);
/* "00000000-0000-4000-8000-%012u", in a buffer of its own for the last 16 calls. */
const char *id_of(unsigned n);

/* A read is promised to see only what was answered before it was given. */
#define READ(f, ask) (fixture_settle(f), status_of(f, ask))

#endif
