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
    STORE_KNOWN, /* submit: its idempotency key has a request already: reply.row, reply.same_body */
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
    struct slice key_id;     /* of the key that submitted it: the ledger names it */
    struct slice model;      /* as asked for: which upstreams may run it; may be empty */
    /* Empty: none. A later submit of the same owner, key_id and endpoint with it writes nothing and is STORE_KNOWN,
     * until idempotency_until_ms. That goes by now_ms: the giver's clock without jumps, as `sweep` is told it. */
    struct slice idempotency_key;
    unsigned char body_hash[32]; /* SHA-256; another one with the same key: same_body is false */
    int64_t now_ms, idempotency_until_ms;
    /* Nothing new is taken: STORE_NOT_FOUND when its idempotency key has no request. For a full queue, which still answers
     * repeats. */
    bool only_known;
};

/* Who holds rows: one boot of one server. It lives from `join` until it leaves or another one buries it; rows of a boot that
 * does not live may be claimed by anybody. */
struct store_node {
    char boot[STORE_ID_BYTES]; /* drawn at each start */
    struct slice node;         /* the server's id, kept in the data folder */
    uint64_t beat;             /* grows with each `beat` */
    int64_t at_ms;             /* of the last one, wall clock of that server: for people */
};

struct store_lease {
    const char *node; /* this server's id, kept in the data folder */
    const char *boot; /* drawn at each start */
    uint64_t token;   /* fencing token of this attempt, drawn by the queue, never 0 */
    int64_t until_ms; /* wall clock, for people: whether a lease is over is never decided by it */
};

/* A row as it stands. For store_get the result fields are filled when it is COMPLETED. */
struct store_row {
    char id[STORE_ID_BYTES];
    struct slice endpoint, owner, key_id, input, webhook;
    enum store_state state;
    int priority;
    bool no_retry, cancel_requested;
    uint32_t attempt;                             /* 0 before the first claim */
    uint64_t seq;                                 /* order of acceptance, unique, increasing */
    int64_t created_ms, started_ms, completed_ms; /* wall clock, 0 = not yet */
    int64_t forget_ms;                            /* wall clock, 0 = kept */
    struct store_wishes wishes;
    struct slice hint, tags, model;
    /* result */
    unsigned http_status;
    struct slice headers;    /* "Name: value\r\n" lines replayed with the result, may be empty */
    struct slice body;       /* JSON */
    struct slice error;      /* text, empty on success */
    struct slice error_type; /* "", "client_cancelled", … */
    int64_t inference_ms;    /* -1: never ran */
};

/* What the ledger says of one attempt that reached an upstream. */
struct store_usage {
    bool present;
    struct slice upstream, model, raw; /* raw: JSON of the upstream, may be empty */
    bool has_cost, has_charge;         /* false: not known, which is not 0 */
    bool partial;                      /* ended before the answer was whole */
    int64_t cost_microusd;             /* what the upstream takes */
    int64_t charge_microusd;           /* what the key's owner is charged */
    int64_t units_micro; /* what the charge counts, in millionths: requests, or dollars */
    uint64_t prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens;
};

/* --- the ledger: one row per attempt */
enum store_call_kind {
    STORE_CALL_QUEUE,
    STORE_CALL_RUN,
    STORE_CALL_STREAM,
    STORE_CALL_OPENAI,
    STORE_CALL_REALTIME
};

struct store_charge {
    char id[STORE_ID_BYTES];
    uint32_t attempt; /* of a queued request; 0: a direct call */
    enum store_call_kind kind;
    struct slice owner, key_id, endpoint;
    int64_t started_ms, at_ms; /* wall clock */
    unsigned http_status;      /* as the caller got it; 499: the caller left; 0: no caller got it */
    struct store_usage usage;
};

/* Rows with from_ms <= at_ms < to_ms; what is empty or 0 does not choose. Here and in the other queries a page has no
 * more than 10,000 rows, whatever `limit` is (0: so many). */
struct store_ledger_query {
    struct slice owner, key_id, id;
    const struct slice *endpoints;
    size_t nendpoints;
    int64_t from_ms, to_ms;
    int64_t bucket_ms; /* ledger_sums: rows of one such span are summed up; 0: all in one */
    uint64_t after;    /* ledger: rows older than the one with this number (store_reply.next) */
    unsigned limit;
};

/* Of one bucket, endpoint and key. */
struct store_sum {
    int64_t bucket_ms; /* where it begins */
    struct slice owner, key_id, endpoint;
    uint64_t calls, errors, user_errors; /* by http_status: not 0; 5xx; 4xx */
    uint64_t duration_ms, max_duration_ms;
    uint64_t prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens;
    uint64_t costs_unknown, charges_unknown; /* rows that say nothing of them */
    int64_t cost_microusd, charge_microusd, units_micro;
};

/* --- requests as the platform API lists them: queued ones that are COMPLETED, and direct calls of the ledger */
struct store_request_query {
    struct slice owner, endpoint, id;
    int64_t from_ms, to_ms; /* of the end; 0: open */
    enum { STORE_ANY, STORE_SUCCESS, STORE_ERROR, STORE_USER_ERROR } status;
    bool by_duration; /* longest first; else latest end first */
    unsigned parts;   /* STORE_INPUT, STORE_RESULT */
    unsigned offset,
        limit; /* a page with parts ends early when it is large: see store_reply.more */
};

struct store_request {
    char id[STORE_ID_BYTES];
    struct slice endpoint, input, output; /* JSON; a direct call has neither */
    int64_t created_ms, started_ms, ended_ms;
    unsigned http_status;
};

/* --- files: what is known of a blob; its bytes are the blobs' (store/blobs.h) */
enum store_file_state { STORE_FILE_PENDING, STORE_FILE_WHOLE };

struct store_file {
    char id[STORE_ID_BYTES]; /* of its blob too */
    enum store_file_state state;
    struct slice owner, name, content_type; /* name: a label, already made safe */
    struct slice acl;                       /* JSON, empty: whoever has the address */
    uint64_t bytes;                         /* PENDING: as declared, 0: not */
    unsigned char sha256[32];
    int64_t created_ms;
    int64_t lifetime_ms; /* from the moment it is whole, 0: kept */
    int64_t expires_ms;  /* wall clock, 0: never. PENDING: when the upload is given up */
};

struct store_file_query {
    struct slice owner;        /* empty: all */
    int64_t expires_before_ms; /* 0: does not choose */
    const char *after;         /* in order of id; NULL: from the first */
    unsigned limit;
};

struct store_file_sum {
    struct slice owner;
    uint64_t files, bytes; /* PENDING ones with their declared bytes */
    uint64_t pending;      /* of these files */
};

/* --- webhooks: one row per request that has one, written with its result */
enum store_webhook_state {
    STORE_WEBHOOK_WAITING,
    STORE_WEBHOOK_DELIVERED,
    STORE_WEBHOOK_DEAD, /* all tries failed */
    STORE_WEBHOOK_GONE  /* the receiver answered 410 */
};

struct store_webhook {
    char id[STORE_ID_BYTES]; /* of the request */
    uint64_t seq;
    enum store_webhook_state state;
    struct slice url, owner, endpoint;
    uint32_t attempt;                     /* tries so far */
    int64_t created_ms, due_ms, ended_ms; /* wall clock; ended 0: waiting */
    unsigned last_status;                 /* 0: none came */
    struct slice last_error;
};

struct store_webhook_note {
    const char *id;
    uint32_t attempt; /* guard: tries before this one; the row gets one more */
    enum store_webhook_state state;
    int64_t at_ms, due_ms; /* due_ms: when WAITING */
    unsigned status;
    struct slice error;
};

struct store_webhook_query {
    struct slice owner; /* empty: all */
    int state;          /* enum store_webhook_state, -1: any */
    uint64_t after;     /* older than this seq; 0: from the newest */
    unsigned limit;
};

/* --- keys made while the server runs; those of the configuration are not here */
struct store_key {
    struct slice id, alias, owner;
    unsigned scope;                             /* enum config_scope */
    unsigned char sha256[32];                   /* of "id:secret" */
    int64_t created_ms, expires_ms, revoked_ms; /* wall clock, 0: never */
};

struct store_log {
    const char *id;
    int64_t at_ms;
    struct slice level, message; /* level: INFO, WARN, ERROR, DEBUG */
    /* To `log`, the guard as for every write of a lease; token 0: none, of a request that is COMPLETED. */
    uint32_t attempt;
    uint64_t token;
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
    bool released;             /* IN_PROGRESS, given back by `release`: nobody crashed */
    bool held;                 /* IN_PROGRESS, by a boot that lives */
    char boot[STORE_ID_BYTES]; /* its holder, living or not; empty: none */
    struct slice endpoint, owner, model;
    int64_t created_ms, started_ms;
    struct store_wishes wishes;
};

/* What is removed when it is too old or too much: whole requests that are COMPLETED (not while their webhook waits), the
 * earliest end first, and rows of the ledger and of ended webhooks. Hourly sums stay. */
struct store_retention {
    int64_t older_than_ms; /* wall clock; 0: age does not choose */
    uint64_t max_bytes; /* of the database, its free pages not counted; 0: size does not choose */
    unsigned max;       /* so many rows of each kind at most in one operation */
};

/* How the store works; counters grow for ever. Bucket k of a histogram counts values in [2^k, 2^(k+1)); the last one all above. */
#define STORE_BUCKETS 24
struct store_histogram {
    uint64_t count, sum, buckets[STORE_BUCKETS];
};
struct store_stats {
    struct store_histogram batch;          /* operations in a commit */
    struct store_histogram commit_us;      /* COMMIT, the fsync in it */
    struct store_histogram checkpoint_us;  /* one piece */
    uint64_t stale;                        /* writes that a guard refused */
    uint64_t bytes, free_bytes, wal_bytes; /* database: whole file, free pages of it; its log */
    uint64_t backups;
    uint64_t backup_done_pages, backup_pages; /* of the one under way; 0 of 0: none */
    enum { STORE_UNCHECKED, STORE_CHECKING, STORE_SOUND, STORE_DAMAGED } check;
};

struct store_reply {
    enum store_status status;
    const char *reason;              /* backup: why not, one line; else NULL */
    bool same_body;                  /* submit, STORE_KNOWN */
    const struct store_node *living; /* nodes: all that live */
    size_t nliving;
    uint64_t seq;                 /* submit: of the new row */
    enum store_state state;       /* cancel: the state before */
    const struct store_row *row;  /* get, claim: the row (without result for claim) */
    const struct store_log *logs; /* logs, get */
    size_t nlogs;
    const struct store_pending *
        pending; /* pending: in order of seq. beat: those this boot holds that a cancel was asked for (id only) */
    size_t npending;
    const struct store_charge *charges; /* ledger */
    size_t ncharges;
    const struct store_sum *sums; /* ledger_sums: in order of bucket, endpoint, key */
    size_t nsums;
    const struct store_request *requests;
    size_t nrequests;
    const struct store_file *files; /* file_get (one), files */
    size_t nfiles;
    const struct store_file_sum *file_sums;
    size_t nfile_sums;
    const struct store_webhook
        *webhooks; /* webhook_get (one, and row with its result), webhooks, webhooks_pending */
    size_t nwebhooks;
    const struct store_key *keys;
    size_t nkeys;
    uint64_t next;     /* ledger, webhooks: `after` of the next page, 0: there is none */
    bool more;         /* requests, files, pending, retain: there are more */
    size_t count;      /* webhook_replay: how many */
    size_t swept;      /* sweep, retain: how many went */
    int64_t forget_ms; /* sweep: the earliest time among those left, 0: there are none */
};

enum { STORE_INPUT = 1, STORE_RESULT = 2, STORE_LOGS = 4 };

struct store_hooks {
    void (*on_done)(void *user, uint64_t ticket, const struct store_reply *r);
    /* Writing began to fail or works again (for readiness). Damage that a check found is told so too, and is for good. */
    void (*on_health)(void *user, bool can_write, const char *reason);
    /* The disk said that what was synced may be lost (fsync failed): nothing that is answered from now on would be true. No
     * write is answered any more; the process must end, the next start recovers from what is on disk. Told once. */
    void (*on_broken)(void *user, const char *reason);
};

struct store;

struct store_backend {
    const char *name;
    /* This boot lives. Earlier boots of the same node do not any more; `alone`: neither does any other (one server at a
     * time can open this store, and this is it). Given before everything else: what a boot claims that never joined is
     * held by nobody. A name that was used before begins a new life, which holds nothing of the earlier one's. */
    void (*join)(struct store *s, uint64_t ticket, const char *node, const char *boot, bool alone,
                 int64_t at_ms);
    /* It still lives: its beat grows. STALE: it was buried, all its leases are lost. */
    void (*beat)(struct store *s, uint64_t ticket, const char *boot, int64_t at_ms);
    /* It does not live any more. Guard: it lives, and its beat is still this one (bury), or whatever it is (leave). */
    void (*bury)(struct store *s, uint64_t ticket, const char *boot, uint64_t beat);
    void (*leave)(struct store *s, uint64_t ticket, const char *boot);
    void (*nodes)(struct store *s, uint64_t ticket);
    /* Inserts IN_QUEUE. STORE_KNOWN: see idempotency_key; nothing was written. */
    void (*submit)(struct store *s, uint64_t ticket, const struct store_submit *in);
    /* IN_QUEUE -> IN_PROGRESS, attempt + 1, lease set; or IN_PROGRESS of a boot that does not live (a lease lost) likewise.
     * Guard: the row's attempt equals `attempt`, it is not COMPLETED and not leased by a boot that lives. Replies the row with input. */
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
     * poison. Same transaction as complete. Guard: attempt unchanged, not leased by a boot that lives, not COMPLETED. */
    void (*finish_waiting)(struct store *s, uint64_t ticket, const struct store_complete *in);
    /* Marks that a cancel was asked for (survives a restart). Replies the state before. */
    void (*request_cancel)(struct store *s, uint64_t ticket, const char *id, int64_t at_ms);
    /* Removes row, result, input, log lines and webhook of at most `max` requests whose forget_ms is not after now_ms, the
     * earliest first: from then on they are STORE_NOT_FOUND. The ledger stays; a request whose webhook is WAITING stays
     * until that has ended. Keys of idempotency that are over go too, are counted in `swept` and looked to in forget_ms. */
    void (*sweep)(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max);
    /* Removes what is too old or too much; reply.more: there is more of it, give it again. */
    void (*retain)(struct store *s, uint64_t ticket, const struct store_retention *r);
    /* A consistent copy of the database while it is in use, into a new file (path absolute, made with mode 0600; it appears under
     * its name when it is whole and synced). One at a time: a second one is STORE_STALE. */
    void (*backup)(struct store *s, uint64_t ticket, const char *path);
    /* At any moment, any thread of the giver's: no operation. */
    void (*stats)(struct store *s, struct store_stats *out);
    /* Appends log lines; lines of an id that is not there, or whose guard does not match, are dropped. */
    void (*log)(struct store *s, uint64_t ticket, const struct store_log *lines, size_t n);
    /* Reads see every write answered before they were given, and may be answered before writes given earlier.
     * parts: STORE_INPUT, STORE_RESULT (headers, body) and STORE_LOGS (in the reply) are read only when named. */
    void (*get)(struct store *s, uint64_t ticket, const char *id, unsigned parts);
    void (*logs)(struct store *s, uint64_t ticket, const char *id);
    /* What is not COMPLETED with seq > after, `limit` at most (0: all). */
    void (*pending)(struct store *s, uint64_t ticket, uint64_t after, unsigned limit);
    /* Writes and commits one small row: can we write? */
    void (*ping)(struct store *s, uint64_t ticket);
    /* --- ledger */
    void (*ledger_add)(struct store *s, uint64_t ticket, const struct store_charge *rows, size_t n);
    void (*ledger)(struct store *s, uint64_t ticket,
                   const struct store_ledger_query *q); /* newest first */
    void (*ledger_sums)(struct store *s, uint64_t ticket, const struct store_ledger_query *q);
    void (*requests)(struct store *s, uint64_t ticket, const struct store_request_query *q);
    /* Input, log lines and result body of a COMPLETED request of this owner (empty: anybody's) are removed; the row stays. STALE: it is
     * not COMPLETED. */
    void (*drop_payload)(struct store *s, uint64_t ticket, const char *id, struct slice owner);
    /* --- files */
    void (*file_add)(struct store *s, uint64_t ticket,
                     const struct store_file *f); /* PENDING or WHOLE */
    /* PENDING -> WHOLE: bytes, sha256, content_type and expires_ms are taken over. STALE: it was whole already. */
    void (*file_finish)(struct store *s, uint64_t ticket, const struct store_file *f);
    void (*file_set_acl)(struct store *s, uint64_t ticket, const char *id, struct slice acl);
    /* Before its blob. STALE: its state, bytes or time are other ones than were seen (the rest is not looked at). */
    void (*file_remove)(struct store *s, uint64_t ticket, const struct store_file *seen);
    void (*file_get)(struct store *s, uint64_t ticket, const char *id);
    void (*files)(struct store *s, uint64_t ticket, const struct store_file_query *q);
    void (*file_sums)(struct store *s, uint64_t ticket);
    /* --- webhooks */
    void (*webhooks_pending)(struct store *s,
                             uint64_t ticket); /* all that are WAITING, in order of due_ms */
    void (*webhook_get)(struct store *s, uint64_t ticket, const char *id);
    void (*webhook_note)(struct store *s, uint64_t ticket, const struct store_webhook_note *n);
    void (*webhooks)(struct store *s, uint64_t ticket,
                     const struct store_webhook_query *q); /* newest first */
    /* DEAD, GONE or DELIVERED -> WAITING, no tries so far, due at at_ms. id NULL: all DEAD ones of this owner (empty: anybody's).
     * STALE: it is waiting already. One whose request is no longer there is NOT_FOUND, and not among all. */
    void (*webhook_replay)(struct store *s, uint64_t ticket, const char *id, struct slice owner,
                           int64_t at_ms);
    /* --- keys */
    void (*key_add)(struct store *s, uint64_t ticket,
                    const struct store_key *k); /* STALE: the id is taken */
    void (*key_revoke)(struct store *s, uint64_t ticket, struct slice id, int64_t at_ms);
    void (*keys)(struct store *s, uint64_t ticket);
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
    unsigned quiet_ms; /* SQLite: without work so long, the start's note is written back, 0 = 500 */
};

/* Opens and migrates, synchronously (start-up). NULL on failure: *reason (size bytes) gets one line that says what to do. */
struct store *store_open(const struct store_options *o, char *reason, size_t size);

#endif
