/* The store's contract: durable rows of the queue, behind which SQLite stands (PostgreSQL later).
 *
 * Every operation is asynchronous. It is given a `ticket` of the caller's choice and answered exactly once by
 * hooks.on_done on the loop's thread, never before the operation has returned. What an operation is given is copied;
 * what a reply points at lives until on_done returns. Operations are applied in the order in which they were given.
 * A write is answered only after it is durable (fsync; several share one commit): never before.
 *
 * A guarded write names id, attempt and lease token; when the row is not in that state it changes nothing and answers
 * STORE_STALE. The store decides no policy: order, retries and positions are the queue's.
 *
 * A store that cannot write tries again by itself, twice a second, and says so by on_health; reads go on meanwhile. */
#ifndef ANYLLM_STORE_STORE_H
#define ANYLLM_STORE_STORE_H

#include "base/slice.h"
#include "net/loop.h"

#define STORE_ID_BYTES \
    37 /* UUID text and NUL; ids must be shorter than this, else the row is STORE_NOT_FOUND */

enum store_status {
    STORE_OK,
    STORE_STALE, /* the guard did not match: another writer was there first (submit: the id is taken) */
    STORE_NOT_FOUND,
    STORE_UNAVAILABLE, /* disk full, I/O error, locked by an outsider, read-only: nothing was written */
    STORE_MEMORY
};
const char *store_status_name(enum store_status s);

enum store_state { STORE_IN_QUEUE, STORE_IN_PROGRESS, STORE_COMPLETED };

/* How a request wants to be run and kept. Written by submit, given back with the row. */
struct store_wishes {
    int64_t start_timeout_ms; /* counted from created_ms; 0: none */
    bool no_store;            /* see store_complete.forget_ms */
    bool no_fallback;
    int32_t retries_server_error, retries_timeout, retries_connection_error; /* -1: not told */
    int64_t owner_concurrency; /* as its owner had it at the submit; 0: no limit */
};

/* What submit writes. */
struct store_submit {
    const char *id;
    struct slice endpoint; /* full id as submitted: "fal-ai/any-llm/vision" */
    struct slice owner;    /* of the key */
    struct slice input;    /* JSON */
    struct slice webhook;  /* URL or empty */
    int priority;          /* 0 normal, 1 low */
    bool no_retry;
    int64_t created_ms; /* wall clock */
    struct store_wishes wishes;
    struct slice hint, tags; /* text for the runner and for people, may be empty */
};

struct store_lease {
    const char *node; /* this server's id, kept in the data folder */
    const char *boot; /* drawn at each start */
    uint64_t token;   /* fencing token of this attempt, drawn by the queue, never 0 */
    int64_t until_ms; /* wall clock; for other nodes and for people */
};

/* A row as it stands. For store_get the result fields are filled when it is COMPLETED. */
struct store_row {
    char id[STORE_ID_BYTES];
    struct slice endpoint, owner, input, webhook;
    enum store_state state;
    int priority;
    bool no_retry, cancel_requested;
    uint32_t attempt;                             /* 0 before the first claim */
    uint64_t seq;                                 /* order of acceptance, unique, increasing */
    int64_t created_ms, started_ms, completed_ms; /* wall clock, 0 = not yet */
    int64_t forget_ms;                            /* wall clock, 0 = kept */
    struct store_wishes wishes;
    struct slice hint, tags;
    /* result */
    unsigned http_status;
    struct slice headers;    /* "Name: value\r\n" lines replayed with the result, may be empty */
    struct slice body;       /* JSON */
    struct slice error;      /* text, empty on success */
    struct slice error_type; /* "", "client_cancelled", … */
    int64_t inference_ms;    /* -1: never ran */
};

/* The ledger: one row per attempt that reached an upstream. */
struct store_usage {
    bool present;
    struct slice upstream, model, raw; /* raw: JSON of the upstream, may be empty */
    bool has_cost;
    int64_t cost_microusd;
};

struct store_log {
    const char *id;
    int64_t at_ms;
    struct slice level, message; /* level: INFO, WARN, ERROR, DEBUG */
};

struct store_complete {
    const char *id;
    uint32_t attempt;
    uint64_t token;   /* complete */
    const char *boot; /* finish_waiting: this server's */
    unsigned http_status;
    struct slice headers, body, error, error_type;
    int64_t inference_ms, completed_ms;
    /* 0: kept. Else the input is removed in this transaction, and `sweep` may remove the rest from this time on. */
    int64_t forget_ms;
    struct store_usage usage;
    const struct store_log *logs; /* the lines not yet written, of this id */
    size_t nlogs;
};

/* Ids and order of what is not COMPLETED, for the queue's memory at start. */
struct store_pending {
    char id[STORE_ID_BYTES];
    enum store_state state;
    uint32_t attempt;
    uint32_t
        crashes; /* how often a claim found it IN_PROGRESS with its server gone; the present loss not counted */
    uint64_t seq;
    int priority;
    bool no_retry, cancel_requested, has_webhook;
    bool released; /* IN_PROGRESS, given back by `release`: nobody crashed */
    struct slice endpoint, owner;
    int64_t created_ms, started_ms;
    struct store_wishes wishes;
};

struct store_reply {
    enum store_status status;
    uint64_t seq;                 /* submit: of the new row */
    enum store_state state;       /* cancel: the state before */
    const struct store_row *row;  /* get, claim: the row (without result for claim) */
    const struct store_log *logs; /* logs, get */
    size_t nlogs;
    const struct store_pending *pending; /* pending: all of them, in order of seq */
    size_t npending;
    size_t swept;      /* sweep: how many went */
    int64_t forget_ms; /* sweep: the earliest time among those left, 0: there are none */
};

enum { STORE_INPUT = 1, STORE_RESULT = 2, STORE_LOGS = 4 };

struct store_hooks {
    void (*on_done)(void *user, uint64_t ticket, const struct store_reply *r);
    /* Writing began to fail or works again (for readiness). */
    void (*on_health)(void *user, bool can_write, const char *reason);
};

struct store;

struct store_backend {
    const char *name;
    /* Inserts IN_QUEUE. */
    void (*submit)(struct store *s, uint64_t ticket, const struct store_submit *in);
    /* IN_QUEUE -> IN_PROGRESS, attempt + 1, lease set; or IN_PROGRESS of another boot (a lease lost) likewise. Guard:
     * the row's attempt equals `attempt`, it is not COMPLETED and not leased by this boot. Replies the row with input. */
    void (*claim)(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                  const struct store_lease *lease, int64_t started_ms);
    /* The next attempt of a row this boot holds: attempt + 1, new token; the failed attempt's usage is recorded.
     * Guard: attempt and token. Replies the row with input. */
    void (*retry)(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                  uint64_t token, const struct store_lease *lease, const struct store_usage *usage,
                  int64_t at_ms);
    /* Gives a lease back without a result: the row stays IN_PROGRESS, the next claim counts no crash. `usage` as in
     * retry. Guard: attempt and token. */
    void (*release)(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                    uint64_t token, const struct store_usage *usage, int64_t at_ms);
    /* Result, log lines, usage, state and (when the row has a webhook) the outbox row: one transaction. Guard: attempt,
     * token. */
    void (*complete)(struct store *s, uint64_t ticket, const struct store_complete *in);
    /* A row nobody runs (IN_QUEUE, or a lost lease with attempt as given) ends with an error: cancelled, start timeout,
     * poison. Same transaction as complete. Guard: attempt unchanged, not leased by in->boot, not COMPLETED. */
    void (*finish_waiting)(struct store *s, uint64_t ticket, const struct store_complete *in);
    /* Marks that a cancel was asked for (survives a restart). Replies the state before. */
    void (*request_cancel)(struct store *s, uint64_t ticket, const char *id, int64_t at_ms);
    /* Removes row, result, input and log lines of at most `max` requests whose forget_ms is not after now_ms, the earliest
     * first: from then on they are STORE_NOT_FOUND. Usage stays, and so does a webhook row. */
    void (*sweep)(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max);
    /* Appends log lines; lines of an id that is not there are dropped. */
    void (*log)(struct store *s, uint64_t ticket, const struct store_log *lines, size_t n);
    /* Reads see every write answered before they were given, and may be answered before writes given earlier.
     * parts: STORE_INPUT, STORE_RESULT (headers, body) and STORE_LOGS (in the reply) are read only when named. */
    void (*get)(struct store *s, uint64_t ticket, const char *id, unsigned parts);
    void (*logs)(struct store *s, uint64_t ticket, const char *id);
    void (*pending)(struct store *s, uint64_t ticket);
    /* Writes and commits one small row: can we write? */
    void (*ping)(struct store *s, uint64_t ticket);
    /* Finishes every operation already given (their replies are delivered), closes, frees; then calls on_closed. */
    void (*close)(struct store *s, void (*on_closed)(void *user), void *user);
};

struct store {
    const struct store_backend *backend;
};

/* Why store_open failed; what it means for the exit code is the caller's. */
enum store_fault {
    STORE_FAULT_NONE,
    STORE_FAULT_URL,     /* not a store address we know: configuration */
    STORE_FAULT_FOLDER,  /* missing, unwritable, full: data folder */
    STORE_FAULT_VERSION, /* written by a newer version, or not ours */
    STORE_FAULT_DAMAGED, /* not a database, or damaged */
    STORE_FAULT_BUSY,    /* somebody else holds it locked */
    STORE_FAULT_SYSTEM   /* memory, threads */
};

struct store_options {
    const char *url; /* "sqlite:anyllm.db" relative to dir, or "sqlite:/abs/path" */
    const char *dir; /* data folder, exists */
    struct net_loop *loop;
    struct store_hooks hooks; /* copied */
    void *user;
    enum store_fault *fault;       /* optional: set when store_open fails */
    unsigned wal_checkpoint_pages; /* SQLite: size of one checkpoint, 0 = 1,000 */
};

/* Opens and migrates, synchronously (start-up). NULL on failure: *reason (size bytes) gets one line that says what to do. */
struct store *store_open(const struct store_options *o, char *reason, size_t size);

#endif
