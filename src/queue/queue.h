/* The rules of the queue: states, order, leases, retries, cancel. No HTTP and no SQL here; clock, random, store and
 * runner are arguments, so that a simulator can drive everything. Loop's thread only.
 *
 *            submit (durable before the answer)
 *                |
 *   IN_QUEUE --claim--> IN_PROGRESS --complete--> COMPLETED   (result, usage, webhook row: one transaction)
 *      |  ^                 |   |
 *      |  |                 |   +--retry (attempt + 1, new token; stays IN_PROGRESS)
 *      |  +---- never: a poller sees no step backwards; a lost lease is claimed again while IN_PROGRESS
 *      +--cancel--> COMPLETED (client_cancelled) <--cancel-- (cooperative, closes the upstream call)
 *      +--start timeout--> COMPLETED (request_timeout) <--start timeout-- between two attempts, or not yet begun
 *
 * Every call with a ticket is answered exactly once by its `done`, never before it has returned; what a reply points at
 * lives until `done` returns. A request of another owner or endpoint is QUEUE_NOT_FOUND, as an unknown id is. */
#ifndef ANYLLM_QUEUE_QUEUE_H
#define ANYLLM_QUEUE_QUEUE_H

#include "base/clock.h"
#include "base/random.h"
#include "store/store.h"

struct queue;

enum queue_code {
    QUEUE_OK,
    QUEUE_NOT_FOUND,
    QUEUE_NOT_READY,         /* result: still in queue or in progress */
    QUEUE_ALREADY_COMPLETED, /* cancel */
    QUEUE_FULL,        /* submit: the caller's max_queue_length or the server's limit is reached */
    QUEUE_UNAVAILABLE, /* the store cannot write, or the server is ending */
    QUEUE_OTHER_BODY,  /* submit: its idempotency key was used for another body */
};

struct queue_log {
    int64_t at_ms;
    struct slice level, message;
};

struct queue_reply {
    enum queue_code code;
    const char *id;
    struct slice endpoint;
    enum store_state state;
    uint64_t position;            /* IN_QUEUE: how many start before this one */
    const struct queue_log *logs; /* when asked for */
    size_t nlogs;
    const struct store_row *row; /* COMPLETED: with the result */
    bool again;                  /* submit: this request was there already */
};

struct queue_done {
    void (*done)(void *user, uint64_t ticket, const struct queue_reply *r);
    void *user;
    uint64_t ticket;
};

struct queue_submit {
    struct slice endpoint, owner, input, webhook;
    int priority;
    bool no_retry;
    uint64_t max_queue_length; /* of the caller: more wait before this one: QUEUE_FULL. 0: none */
    /* 0: none. Not begun by then (waiting, between two attempts, or runner.begun says no) it ends with 504,
     * request_timeout and the header x-fal-request-timeout-type: user, and is never tried again. */
    uint64_t start_timeout_ms;
    bool no_store; /* the input goes with the end, the result QUEUE_SHORT_KEEP_MS later */
    bool no_fallback;
    struct slice hint;   /* with no_fallback handed to the runner */
    struct slice tags;   /* kept with the row: "k=v,k=v" */
    struct slice key_id; /* kept with the row, for the ledger */
    struct slice model;  /* as asked for: finds the runner's pool; may be empty */
    /* Empty: none. Again within QUEUE_IDEMPOTENCY_MS from the same owner, key and endpoint: the first request is answered, as it
     * stands now (any state, `again` is set), whatever limits are reached; with another body_hash QUEUE_OTHER_BODY. */
    struct slice idempotency_key;
    unsigned char body_hash[32];
    /* How often it may be tried again after a failure of this class; -1: as the outcome says. */
    int retries_server_error, retries_timeout, retries_connection_error;
    /* Of this owner, 0: none. The latest submit's values count for all that the owner has here: while they
     * change with every submit, at the latest a tenth of a second later. */
    uint64_t owner_concurrency;  /* in progress at once; further ones wait and hold nobody up */
    uint64_t owner_queue_length; /* waiting, this one included; beyond it QUEUE_FULL */
};

struct queue_find {
    struct slice
        id; /* as the caller sent it; anything that is not a UUID in lower case is not found */
    struct slice owner;
    struct slice
        endpoint; /* owner/alias or more; must be a whole-segment prefix of the submitted id or equal to it */
};

/* --- the runner: runs models without the queue knowing them */
struct queue_job {
    uint64_t run; /* id of this run, for the calls below */
    const char *request_id;
    struct slice endpoint, owner, input, hint; /* valid until the run is done */
    bool no_fallback;
    uint32_t attempt;
};

/* Which of the submit's retry counts applies. */
enum queue_failure {
    QUEUE_FAILURE_OTHER,
    QUEUE_FAILURE_SERVER_ERROR,
    QUEUE_FAILURE_TIMEOUT,
    QUEUE_FAILURE_CONNECTION,
    QUEUE_FAILURE_COUNT
};

struct queue_outcome {
    unsigned http_status;
    struct slice headers, body;     /* replayed with the result */
    struct slice error, error_type; /* empty on success */
    bool retryable;        /* another attempt may help, and nothing was shown to the caller */
    unsigned max_attempts; /* for this kind of failure (U8: 4, U9: 10) */
    enum queue_failure failure;
    int64_t retry_after_ms;   /* -1: not told */
    struct store_usage usage; /* for the ledger, copied; present: it reached an upstream */
};

#define QUEUE_POOLS 32U

/* What decides where a request may run. Valid during the call. */
struct queue_place {
    struct slice endpoint;
    struct slice model; /* as the submit said, may be empty */
    bool no_fallback;
};

struct queue_runner {
    /* Requests of one pool run in the same places (upstreams): a full pool holds up nobody else. The number of the pool,
     * below QUEUE_POOLS; the same for the same values while the queue lives. NULL: all are of pool 0. */
    unsigned (*pool)(void *user, const struct queue_place *where);
    /* How many more runs of this pool may start now; the queue asks after each start. It must call queue_wake when this
     * grows for another reason than a run's end. */
    size_t (*capacity)(void *user, unsigned pool);
    /* Begins a run; ends with exactly one queue_run_done, not before start has returned. */
    void (*start)(void *user, const struct queue_job *job);
    /* The caller cancelled, or it had not begun at the deadline of its start: end soon (queue_run_done is still due). */
    void (*cancel)(void *user, uint64_t run);
    /* Asked at the deadline of the start of a run that has not ended: has it begun? NULL: when it was started. */
    bool (*begun)(void *user, uint64_t run);
    /* A run is given up before its end: what the ledger is to say of it; not present when it reached no upstream. Lives until
     * `cancel`, which follows. NULL: nothing is known. */
    struct store_usage (*spent)(void *user, uint64_t run);
    void *user;
};

void queue_run_log(struct queue *q, uint64_t run, const char *level, struct slice message);
void queue_run_done(struct queue *q, uint64_t run, const struct queue_outcome *o);
void queue_wake(struct queue *q);

/* --- life */
#define QUEUE_LEASE_MS \
    30000 /* a boot whose beat has not grown for this long, by our own monotonic clock, is buried */
#define QUEUE_HEARTBEAT_MS 10000 /* between two beats of ours */
#define QUEUE_SCAN_MS \
    5000 /* between two looks at what others have left, when there may be others */
#define QUEUE_LOAD_ROWS \
    1000U /* of one piece when what is unfinished is loaded: about 1 ms of the loop */
#define QUEUE_IDEMPOTENCY_MS 86400000 /* a day */
#define QUEUE_RETAIN_MS \
    60000 /* between two looks for what is too old or too much, when the last found nothing more … */
#define QUEUE_RETAIN_PAUSE_MS 200 /* … and when it did */
#define QUEUE_RETAIN_ROWS 200U
#define QUEUE_MAX_LOG_LINES 10000U
#define QUEUE_MAX_LOG_BYTES 8192U /* of a line */
#define QUEUE_MAX_LOG_TOTAL \
    (4U << 20) /* of a request's lines: a thousand running ones fit in memory */
#define QUEUE_MAX_RESULT_BYTES (10U << 20)
#define QUEUE_MAX_CRASHES \
    3U /* with the same request running; then it fails as runner_disconnected */
#define QUEUE_BACKOFF_MS 500 /* full jitter: uniform below this, doubled with each attempt … */
#define QUEUE_BACKOFF_CAP_MS 30000 /* … up to this */
#define QUEUE_RETRY_AFTER_CAP_MS 300000
#define QUEUE_MAX_BACKOFF \
    256U /* requests of a pool between two attempts; at this many nothing new of it is claimed */
#define QUEUE_MAX_ATTEMPTS 10U      /* whatever the outcome and the submit say */
#define QUEUE_SHORT_KEEP_MS 3600000 /* a result that was not to be stored, after its completion */
#define QUEUE_SWEEP_MS \
    60000 /* how often the store is asked to forget what is due, while there is some */
#define QUEUE_START_TIMEOUT_CAP_MS 31536000000 /* a year: longer ones mean this */
#define QUEUE_POSITION_NEWS_MS 500
#define QUEUE_STORE_RETRY_MS 1000 /* between two tries while the store cannot write */
#define QUEUE_LOG_FLUSH_MS \
    1000 /* a line of a running request is given to the store after this at the latest */

struct queue_options {
    struct net_loop *loop; /* timers and deferred work only; NULL: see queue_tick */
    const struct clock *clock;
    const struct random *random;
    struct store *store; /* its hooks must be given to the queue: see queue_store_done */
    struct queue_runner runner;
    const char *node, *boot;
    /* One server at a time can open the store, and this is it: no other boot lives, nothing is looked for after the start. */
    bool alone;
    uint64_t lease_ms, heartbeat_ms, scan_ms; /* 0: the defaults above */
    int64_t retention_age_ms;                 /* 0: for ever */
    uint64_t retention_bytes;                 /* 0: no bound */
    uint64_t max_queue_length;                /* of the server, this one included; 0: none */
    /* This boot was buried while it lived (its process stood still for longer than a lease): what ran is given up, and it
     * has joined again. For the log. NULL: nobody asks. */
    void (*on_lost)(void *user, size_t runs);
    void *lost_user;
    /* A request with a webhook has ended, and its row in the outbox is durable. It may give the store operations; it must not
     * call the queue. NULL: nobody asks. */
    void (*on_webhook)(void *user, const char *id);
    void *webhook_user;
};

struct queue *queue_new(
    const struct queue_options *o); /* strings borrowed for life; NULL when out of memory */
/* The store's on_done goes here (serve wires it): tickets of the queue are the queue's own. */
void queue_store_done(void *queue, uint64_t ticket, const struct store_reply *r);
void queue_store_health(void *queue, bool can_write, const char *reason);
/* Loads what is unfinished and begins to claim; `ready` is called once, when the first piece is there (ok) or has failed.
 * The rest comes after it: stats.loading until all of it has. */
void queue_start(struct queue *q, void (*ready)(void *user, bool ok), void *user);
/* Graceful end: no new submits, no new claims; `idle` is called once, not before the call has returned, when no run is
 * left: running ones finish, those between two attempts are given back to the store. */
void queue_drain(struct queue *q, void (*idle)(void *user), void *user);
/* After queue_drain, when its time is over: runs are cancelled and given back, their rows stay IN_PROGRESS and are
 * claimed again at the next start without counting as crashed, unless the store could not write that (with no_retry they
 * end as runner_disconnected). What a
 * runner says about them from now on is dropped. `idle` follows. */
void queue_abandon(struct queue *q);
/* After the store has been closed, so that no answer of it can come any more. Callers not yet answered are not. */
void queue_free(struct queue *q);
/* Does all work that is due and returns in how many milliseconds there is some again (UINT64_MAX: not by itself). With a
 * loop the queue calls this itself; without one (loop NULL) a simulator does. */
uint64_t queue_tick(struct queue *q);

/* --- callers */
void queue_submit(struct queue *q, const struct queue_submit *in, struct queue_done d);
void queue_status(struct queue *q, const struct queue_find *f, bool logs, struct queue_done d);
void queue_result(struct queue *q, const struct queue_find *f, struct queue_done d);
void queue_cancel(struct queue *q, const struct queue_find *f, struct queue_done d);

/* How many of this owner are in progress, from their claim until their end is durable. Cheap when the queue holds nothing
 * of it. */
size_t queue_owner_running(const struct queue *q, struct slice owner);
/* The owner has so many direct calls now: they count against its concurrency. Cheap when the queue holds nothing of it. */
void queue_owner_calls(struct queue *q, struct slice owner, size_t calls);

/* --- what an operator sees */
struct queue_entry {
    const char *id;
    struct slice endpoint, owner;
    const char *step; /* "waiting", "running", … */
    enum store_state state;
    int priority;
    uint32_t attempt;
    uint64_t position;              /* IN_QUEUE */
    int64_t created_ms, started_ms; /* wall clock; started 0: not yet */
};
/* What is in progress first, then what waits in the order in which it would start; `each` must not call the queue. Returns how many
 * there are in all. */
size_t queue_list(struct queue *q, size_t limit,
                  void (*each)(void *user, const struct queue_entry *e), void *user);

/* --- watch: what is behind a status stream
 *
 * `changed` is called when what queue_status would say of this request may have changed: state and log lines at once, the
 * position at most every QUEUE_POSITION_NEWS_MS, and once more when it has left the queue's memory (completed). Never
 * before queue_watch has returned, coalesced, from queue_tick. An id that the queue does not hold gets one call at once.
 * `changed` may call everything here, queue_unwatch of its own or another watch too. */
struct queue_watch;
/* NULL when out of memory. It stays until queue_unwatch, which must come before queue_free. */
struct queue_watch *queue_watch(struct queue *q, const char *id, void (*changed)(void *user),
                                void *user);
void queue_unwatch(struct queue *q, struct queue_watch *w);

struct queue_stats {
    uint64_t submitted, claimed, retried;
    uint64_t completed;         /* all that ended: well, … */
    uint64_t failed, cancelled; /* … with an error, by the caller */
    uint64_t recovered;         /* claimed again after a crash or an abandoned run */
    uint64_t stale_writes;      /* of an attempt that is no longer the present one: dropped */
    uint64_t lost_leases;       /* runs given up because this boot was buried */
    uint64_t buried;            /* other boots that this one has buried */
    uint64_t quarantined;       /* ended because the server ended too often while they ran */
    uint64_t again;             /* submits that an idempotency key found again */
    uint64_t retained;          /* rows removed because they were too old or too much */
    int64_t oldest_waiting_ms;  /* age of the oldest that waits, 0: none */
    int64_t oldest_running_ms;  /* since its first claim */
    size_t waiting, running;    /* IN_QUEUE and IN_PROGRESS, as their callers see it */
    size_t owners;
    bool loading; /* what is unfinished is still being read: nothing starts yet */
    bool can_write;
};
void queue_get_stats(const struct queue *q, struct queue_stats *out);

#endif
