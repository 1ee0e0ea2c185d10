/* The SQLite backend's inside.
 *
 *   loop's thread          writer thread                      reader thread      scanner thread
 *   give ── writes ──────▶ BEGIN IMMEDIATE … COMMIT (fsync)
 *        ├─ reads ────────────────────────────────────────▶ few rows each
 *        └─ scans ────────────────────────────────────────────────────────────▶ many rows each
 *   deliver ◀── done list, one post per batch ──────────────┴───────────────────┘
 *
 *   aside, each with a connection of its own: a backup, a check (they come and go)
 *
 * 1. One connection writes and checkpoints, the writer's. SQLite before 3.51.3 can lose commits when a second one does
 *    (the WAL-reset bug), so the others are read-only, never checkpoint and are closed before the writer. They are several
 *    so that a month's sums do not stand before a caller's status. What retention frees is given back by the writer, too.
 * 2. A write is delivered only after its COMMIT has returned; a read sees every COMMIT that returned before it.
 * 3. A struct op belongs to one thread at a time: the giver's, then the worker's, then the loop's.
 * 4. Nothing of a batch that failed stays: it is rolled back before anything is delivered.
 * 5. After a failed sync no write is answered: what was given may be on disk or not, and the next start will see. */
#ifndef ANYLLM_STORE_SQLITE_H
#define ANYLLM_STORE_SQLITE_H

#include "base/arena.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdalign.h>

enum op_kind {
    OP_JOIN,
    OP_BEAT,
    OP_BURY,
    OP_LEAVE,
    OP_SUBMIT,
    OP_CLAIM,
    OP_RETRY,
    OP_RELEASE,
    OP_COMPLETE,
    OP_FINISH_WAITING,
    OP_REQUEST_CANCEL,
    OP_SWEEP,
    OP_LOG,
    OP_PING,
    OP_LEDGER_ADD,
    OP_DROP_PAYLOAD,
    OP_FILE_ADD,
    OP_FILE_FINISH,
    OP_FILE_SET_ACL,
    OP_FILE_REMOVE,
    OP_WEBHOOK_NOTE,
    OP_WEBHOOK_REPLAY,
    OP_KEY_ADD,
    OP_KEY_REVOKE,
    OP_RETAIN,
    OP_WRITES, /* those below read a few rows */
    OP_GET = OP_WRITES,
    OP_LOGS,
    OP_PENDING,
    OP_NODES,
    OP_FILE_GET,
    OP_WEBHOOKS_PENDING,
    OP_WEBHOOK_GET,
    OP_KEYS,
    OP_READS, /* those below may read many */
    OP_LEDGER = OP_READS,
    OP_LEDGER_SUMS,
    OP_REQUESTS,
    OP_FILES,
    OP_FILE_SUMS,
    OP_WEBHOOKS,
    OP_SCANS, /* of a thread of its own */
    OP_BACKUP = OP_SCANS,
    OP_NEWS, /* those below come from a worker */
    OP_HEALTH = OP_NEWS,
    OP_BROKEN,
    OP_UNANSWERED, /* a write that nothing true can be said of */
    OP_CLOSED
};

#define HEALTH_REASON_BYTES 160

union op_in {
    struct store_submit submit;
    struct {
        const char *id;
        uint32_t attempt;
        uint64_t token;
        struct store_lease lease;
        struct store_usage usage;
        int64_t at_ms;
    } lease; /* claim, retry, release */
    struct store_complete complete;
    struct {
        const char *id;
        int64_t at_ms;
        unsigned parts;
        unsigned max;
        struct slice text; /* owner, acl, id of a key */
        bool all;
        struct sqlite_store *store; /* for the thread of a backup */
    } one;                          /* what names one thing or none */
    struct {
        struct slice node;
        const char *boot;
        uint64_t beat;
        int64_t at_ms;
        bool alone;
    } node; /* join, beat, bury, leave */
    struct {
        uint64_t after;
        unsigned limit;
    } pending;
    struct {
        const struct store_log *lines;
        size_t n;
    } log;
    struct {
        const struct store_charge *rows;
        size_t n;
    } charges;
    struct store_ledger_query ledger;
    struct store_request_query requests;
    struct store_file file;
    struct store_file_query files;
    struct store_webhook_note note;
    struct store_webhook_query webhooks;
    struct store_key key;
    struct store_retention retain;
    struct {
        bool can_write, damaged;
        char reason[HEALTH_REASON_BYTES];
    } health;
};

struct op {
    struct op *next;
    uint64_t ticket;
    enum op_kind kind;
    bool reserved; /* one of sqlite_store.reserve */
    size_t bytes;  /* of what was copied, for the bound of a batch */
    union op_in in;
    struct store_reply reply;
    struct store_row row;
    struct arena mem;          /* what the reply points at */
    alignas(16) char copies[]; /* what `in` points at */
};

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_JOIN_ALONE,
    ST_JOIN_NUMBER,
    ST_JOIN,
    ST_BEAT,
    ST_BURY,
    ST_LEAVE,
    ST_LIFE,
    ST_CANCELLED,
    ST_FIND,
    ST_ROW,
    ST_SUBMIT,
    ST_PAYLOAD,
    ST_KNOWN,
    ST_KNOWN_ROW,
    ST_KNOW,
    ST_KNOWN_OLD,
    ST_CLAIM,
    ST_RETRY,
    ST_RELEASE,
    ST_COMPLETE,
    ST_FINISH,
    ST_RESULT,
    ST_OUTBOX,
    ST_DROP_INPUT,
    ST_CANCEL,
    ST_CANCEL_MARK,
    ST_CANCEL_OVER,
    ST_SWEEP_NEXT,
    ST_SWEEP_LOG,
    ST_SWEEP_RESULT,
    ST_SWEEP_WEBHOOK,
    ST_SWEEP_REQUEST,
    ST_SWEEP_LEFT,
    ST_LOG_FIND,
    ST_LOG_LAST,
    ST_LOG,
    ST_PING,
    ST_PROBE,
    ST_CHARGE,
    ST_CHARGE_QUEUED,
    ST_HOUR,
    ST_SUMMED,
    ST_SUMMED_UNTIL,
    ST_UNSUMMED,
    ST_DROP_FIND,
    ST_DROP_RESULT,
    ST_FILE_ADD,
    ST_FILE_FINISH,
    ST_FILE_THERE,
    ST_FILE_SET_ACL,
    ST_FILE_REMOVE,
    ST_WEBHOOK_FIND,
    ST_WEBHOOK_NOTE,
    ST_WEBHOOK_FREE,
    ST_WEBHOOK_HOLD,
    ST_WEBHOOK_REPLAY,
    ST_WEBHOOK_HOLD_DEAD,
    ST_WEBHOOK_REPLAY_DEAD,
    ST_KEY_ADD,
    ST_KEY_REVOKE,
    ST_MARK,
    ST_OLD_REQUEST,
    ST_OLD_LEDGER,
    ST_OLD_DIRECT,
    ST_OLD_WEBHOOK,
    ST_DROP_LEDGER,
    ST_DROP_DIRECT,
    ST_PAGES,
    ST_FREE_PAGES,
    ST_VACUUM,
    ST_WRITER, /* count of the writer's */
    ST_READ_ROW = ST_WRITER,
    ST_READ_LOGS,
    ST_READ_PENDING,
    ST_READ_NODES,
    ST_READ_FILE,
    ST_READ_WAITING,
    ST_READ_WEBHOOK,
    ST_READ_KEYS,
    ST_READER, /* the reader's end here */
    ST_LEDGER = ST_READER,
    ST_LEDGER_QUEUED,
    ST_SUMS,
    ST_READ_SUMMED,
    ST_REQUESTS,
    ST_REQUESTS_OF_OWNER,
    ST_LONGEST,
    ST_LONGEST_OF_OWNER,
    ST_REQUEST_QUEUED,
    ST_REQUEST_DIRECT,
    ST_INPUT,
    ST_BODY,
    ST_FILES_ALL,
    ST_FILES_OF_OWNER,
    ST_FILES_EXPIRED,
    ST_FILE_SUMS,
    ST_WEBHOOKS_ALL,
    ST_WEBHOOKS_OF_OWNER,
    ST_WEBHOOKS_OF_STATE,
    ST_COUNT
};

struct op_list {
    struct op *first, **last;
};

/* Sums of hours of the ledger: sqlite_hours.c. */
#define HOUR_CHAINS 256U

struct hour_set {
    struct hour_sum *chains[HOUR_CHAINS], *newest;
};

struct hours {
    int64_t end,
        newest; /* hours since 1970: the table has those before; the newest of the present transaction */
    struct hour_set fresh, kept; /* of the present transaction; committed and not in the table */
};

/* A thread with its connection and the operations given to it. */
struct sqlite_worker {
    struct sqlite_store *store;
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t more;
    struct op_list
        fresh; /* the loop's alone: what its present turn gives, handed over at once at its end */
    struct net_defer hand; /* the loop's alone */
    struct op_list given;  /* under lock */
    bool ending;           /* under lock */
    sqlite3 *db;
};

/* A thread that comes and goes: a backup, a check. Its connection is its own. */
struct sqlite_aside {
    uv_thread_t thread;
    bool started;      /* to be joined: by the next one's start, or by the end */
    _Atomic bool busy; /* until the last of its work, false before its answer is handed back */
};

/* Holds a checkpoint back: sqlite_leash.c. The writer's alone. */
struct sqlite_leash {
    sqlite3 *db;
    sqlite3_file *file;
    volatile uint32_t *index; /* the head of SQLite's wal-index */
    bool unusable;            /* for good: its format is not known */
    int slot;                 /* the read mark that is held, 0: none */
};

/* When malloc fails for an operation, one of these carries its STORE_MEMORY. */
#define OP_RESERVE 32U

struct sqlite_store {
    struct store base;
    struct net_loop *loop;
    struct store_hooks hooks;
    void *user;
    struct sqlite_worker writer, reader, scanner;
    sqlite3_stmt *statements[ST_COUNT];

    uv_mutex_t done_lock;
    struct op_list done; /* under done_lock */
    bool posted;         /* under done_lock: a post that will deliver is under way */
    struct op *closed, *broken_news,
        *damage_news; /* allocated at the start: telling these cannot fail */

    uv_mutex_t stats_lock;
    struct store_stats stats;  /* under stats_lock */
    sqlite3 *checking;         /* under stats_lock: the check's connection */
    _Atomic bool ending;       /* what takes long ends early */
    _Atomic bool damaged;      /* found by the check, for good */
    struct sqlite_aside check; /* begun at the opening */

    /* The loop's alone. */
    struct op *reserve;
    void (*on_closed)(void *user);
    void *on_closed_user;
    struct sqlite_aside backup;

    /* The writer's alone. */
    uint64_t next_seq;
    char boot[STORE_ID_BYTES]; /* joined last; what its rows are held under: sqlite_nodes.c */
    int64_t life;
    uint32_t next_charge; /* tells apart rows of the ledger of one millisecond */
    struct hours hours;
    int wal_frames;            /* as the last COMMIT left the WAL */
    int wal_added, wal_copied; /* of them, by that COMMIT; into the database */
    int checkpoint_pages, checkpoint_at;
    struct sqlite_leash leash;
    int64_t retain_from;  /* the place after which the next piece of a look begins */
    uint64_t measured_ns; /* when the file was last measured */
    int64_t page_bytes;
    int64_t file,
        found; /* the file's number; what it said of itself when it was opened (sqlite_check.c) */
    bool marked,
        unclean; /* this process has noted that it writes; the one before did and did not end well */
    bool mark_in_log;  /* and nowhere else yet: … */
    uint64_t quiet_ns; /* … until there was nothing to do for so long */
    bool can_write, broken;
    struct op_list unanswered;
};

/* sqlite_open.c: opens the connections and brings the schema to this version. The path is absolute or relative to
 * the process. 0, or -1 with *fault and the reason. */
int sqlite_open_connections(struct sqlite_store *s, const char *path, enum store_fault *fault,
                            char *reason, size_t size);
void sqlite_close_connection(struct sqlite_store *s, sqlite3 **db);
/* sqlite_recover.c: the log that the last process left is on the disk, not only in the machine's memory. SQLITE_OK or SQLite's
 * error; *err: errno of the log itself, or 0. */
int sqlite_recover(struct sqlite_store *s, int *err);
/* sqlite_schema.c: from this version to the next. SQLITE_OK or the error: then the transaction must be rolled back. */
int sqlite_migrate(sqlite3 *db, int64_t version);
extern const unsigned sqlite_schema_version;
/* sqlite_text.c: the statements. */
extern const char *const sqlite_texts[ST_COUNT];

/* sqlite_write.c: applies one write inside a transaction. SQLITE_OK with op->reply set, or SQLite's error: then the
 * transaction must be rolled back. */
int sqlite_apply(struct sqlite_store *s, struct op *op);
/* sqlite_read.c: answers one read or scan. */
void sqlite_answer(struct sqlite_store *s, struct op *op);
/* The row as ST_ROW or ST_READ_ROW finds it, copied into op->row. SQLITE_ROW, SQLITE_DONE or an error. */
int sqlite_read_row(sqlite3_stmt *st, struct op *op, const char *id, unsigned parts);
enum store_status sqlite_status(int rc);

/* Of one operation each. Writes: as sqlite_apply. Reads: SQLITE_DONE with op->reply set, or the error. */
int sqlite_charge_attempt(struct sqlite_store *s, const struct store_charge *c);
/* Add a row that is new, write what is due before the COMMIT, take over after it, forget what was rolled back. */
int sqlite_hours_add(struct sqlite_store *s, const struct store_charge *c);
int sqlite_hours_write(struct sqlite_store *s);
void sqlite_hours_committed(struct sqlite_store *s);
void sqlite_hours_forget(struct sqlite_store *s);
/* Hours before this one are over: their sums are written with this transaction. Those before the end then are. */
void sqlite_hours_over(struct sqlite_store *s, int64_t hour);
int64_t sqlite_hours_end(const struct sqlite_store *s);
int sqlite_hours_load(struct sqlite_store *s); /* at the start. SQLITE_OK or the error */
void sqlite_hours_free(struct sqlite_store *s);
/* Under what number this boot holds rows, 0: it does not live. SQLITE_OK or the error. */
int sqlite_life(struct sqlite_store *s, const char *boot, int64_t *life);
int sqlite_join(struct sqlite_store *s, struct op *op);
int sqlite_beat(struct sqlite_store *s, struct op *op);
int sqlite_bury(struct sqlite_store *s, struct op *op);
int sqlite_leave(struct sqlite_store *s, struct op *op);
int sqlite_nodes(struct sqlite_store *s, struct op *op);
int sqlite_ledger_add(struct sqlite_store *s, struct op *op);
int sqlite_ledger(struct sqlite_store *s, struct op *op);
int sqlite_ledger_sums(struct sqlite_store *s, struct op *op);
int sqlite_requests(struct sqlite_store *s, struct op *op);
int sqlite_drop_payload(struct sqlite_store *s, struct op *op);
int sqlite_file_add(struct sqlite_store *s, struct op *op);
int sqlite_file_finish(struct sqlite_store *s, struct op *op);
int sqlite_file_set_acl(struct sqlite_store *s, struct op *op);
int sqlite_file_remove(struct sqlite_store *s, struct op *op);
int sqlite_file_get(struct sqlite_store *s, struct op *op);
int sqlite_files(struct sqlite_store *s, struct op *op);
int sqlite_file_sums(struct sqlite_store *s, struct op *op);
int sqlite_webhook_note(struct sqlite_store *s, struct op *op);
int sqlite_webhook_replay(struct sqlite_store *s, struct op *op);
int sqlite_webhooks_pending(struct sqlite_store *s, struct op *op);
int sqlite_webhook_get(struct sqlite_store *s, struct op *op);
int sqlite_webhooks(struct sqlite_store *s, struct op *op);
int sqlite_key_add(struct sqlite_store *s, struct op *op);
int sqlite_key_revoke(struct sqlite_store *s, struct op *op);
int sqlite_keys(struct sqlite_store *s, struct op *op);

/* sqlite_stats.c */
void sqlite_stats(struct store *s, struct store_stats *out);
void sqlite_note_commit(struct sqlite_store *s, size_t ops, uint64_t us);
void sqlite_note_checkpoint(struct sqlite_store *s, uint64_t us);
void sqlite_note_stale(struct sqlite_store *s, uint64_t n);
int sqlite_measure(struct sqlite_store *s); /* inside a transaction. SQLITE_OK or the error */
int sqlite_pages(struct sqlite_store *s, enum statement n, int64_t *out);

/* sqlite_retain.c: as sqlite_apply. */
int sqlite_retain(struct sqlite_store *s, struct op *op);
int sqlite_forget(struct sqlite_store *s, int64_t seq); /* sqlite_write.c: all of one request */

/* sqlite_checkpoint.c: what is due after a batch, or when there is nothing to do, one piece at most. SQLITE_OK or the error; *more:
 * another one is due. */
int sqlite_checkpoint(struct sqlite_store *s, bool idle, bool *more);
/* sqlite_leash.c: no checkpoint copies more frames than these until it is let go. False: it cannot be held. */
bool sqlite_leash_hold(struct sqlite_store *s, uint32_t piece);
int sqlite_leash_let_go(struct sqlite_store *s); /* syncs what was copied. SQLITE_OK or the error */
/* At the start: the next checkpoint copies all of the log. SQLITE_OK or the error. */
int sqlite_leash_copy_anew(struct sqlite_store *s);
void sqlite_leash_free(struct sqlite_store *s);

/* sqlite_check.c: notes that this process writes; whether the one before ended well; a look at all of the file. */
int sqlite_mark(struct sqlite_store *s, int64_t unclean); /* inside a transaction */
bool sqlite_is_damage(int rc);
/* Any thread. The first time it is told. */
void sqlite_found_damage(struct sqlite_store *s, const char *what);
void sqlite_end_check(struct sqlite_store *s);  /* `ending` is set */
int sqlite_begin_check(struct sqlite_store *s); /* 0 or -1: no thread */
/* sqlite_backup.c: on the loop's thread; the answer comes from another. */
void sqlite_backup(struct sqlite_store *s, struct op *op);

/* sqlite_open.c: a connection that only reads the store's file, for a thread of its own. SQLITE_OK or the error; the
 * connection is to be closed in both cases, before the writer's. */
int sqlite_open_aside(struct sqlite_store *s, sqlite3 **db);

/* sqlite_give.c: the face. */
extern const struct store_backend sqlite_backend;

/* sqlite.c: the threads. */
void sqlite_write_all(void *store);
void sqlite_read_all(void *worker);
void sqlite_hand_over(struct net_defer *d); /* a worker's */
void sqlite_close_connections(struct sqlite_store *s);

/* sqlite_life.c */
struct store *sqlite_store_open(const struct store_options *o, const char *path,
                                enum store_fault *fault, char *reason, size_t size);
void sqlite_closed(struct sqlite_store *s); /* the writer has ended */
int sqlite_start_aside(struct sqlite_aside *a, void (*run)(void *arg), void *arg); /* 0 or -1 */
void sqlite_join_aside(struct sqlite_aside *a);
void sqlite_give(struct sqlite_store *s, struct op *op);
void sqlite_give_failed(struct sqlite_store *s, uint64_t ticket);
/* Any thread: to the loop's. */
void sqlite_hand_back(struct sqlite_store *s, struct op *op);
void sqlite_close(struct store *s, void (*on_closed)(void *user), void *user);

static inline void list_init(struct op_list *l) {
    l->first = NULL;
    l->last = &l->first;
}

static inline void list_add(struct op_list *l, struct op *op) {
    op->next = NULL;
    *l->last = op;
    l->last = &op->next;
}

static inline void list_join(struct op_list *l, struct op_list *tail) {
    if (tail->first == NULL) return;
    *l->last = tail->first;
    l->last = tail->last;
    list_init(tail);
}

static inline struct sqlite_store *sqlite_of(struct store *s) {
    return (struct sqlite_store *)s; /* base is its first member */
}

#endif
