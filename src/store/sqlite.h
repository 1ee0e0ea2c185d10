/* The SQLite backend's inside.
 *
 *   loop's thread          writer thread                      reader thread
 *   give ── writes ──────▶ BEGIN IMMEDIATE … COMMIT (fsync)
 *        └─ reads ────────────────────────────────────────▶ one SELECT each
 *   deliver ◀── done list, one post per batch ──────────────┘
 *
 * 1. One connection writes and checkpoints, the writer's. SQLite before 3.51.3 can lose commits when a second one does
 *    (the WAL-reset bug), so the reader is read-only, never checkpoints and is closed before the writer.
 * 2. A write is delivered only after its COMMIT has returned; a read sees every COMMIT that returned before it.
 * 3. A struct op belongs to one thread at a time: the giver's, then the worker's, then the loop's.
 * 4. Nothing of a batch that failed stays: it is rolled back before anything is delivered. */
#ifndef ANYLLM_STORE_SQLITE_H
#define ANYLLM_STORE_SQLITE_H

#include "base/arena.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdalign.h>

enum op_kind {
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
    OP_WRITES, /* those below read */
    OP_GET = OP_WRITES,
    OP_LOGS,
    OP_PENDING,
    OP_READS, /* those below come from a worker */
    OP_HEALTH = OP_READS,
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
    } one; /* request_cancel, sweep, get, logs, ping */
    struct {
        const struct store_log *lines;
        size_t n;
    } log;
    struct {
        bool can_write;
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
    ST_FIND,
    ST_ROW,
    ST_SUBMIT,
    ST_PAYLOAD,
    ST_CLAIM,
    ST_RETRY,
    ST_RELEASE,
    ST_COMPLETE,
    ST_FINISH,
    ST_RESULT,
    ST_USAGE,
    ST_OUTBOX,
    ST_DROP_INPUT,
    ST_CANCEL,
    ST_SWEEP_NEXT,
    ST_SWEEP_LOG,
    ST_SWEEP_RESULT,
    ST_SWEEP_REQUEST,
    ST_SWEEP_LEFT,
    ST_LOG_LAST,
    ST_LOG,
    ST_PING,
    ST_PROBE,
    ST_WRITER, /* count of the writer's */
    ST_READ_ROW = ST_WRITER,
    ST_READ_LOGS,
    ST_READ_PENDING,
    ST_COUNT
};

struct op_list {
    struct op *first, **last;
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

/* When malloc fails for an operation, one of these carries its STORE_MEMORY. */
#define OP_RESERVE 32U

struct sqlite_store {
    struct store base;
    struct net_loop *loop;
    struct store_hooks hooks;
    void *user;
    struct sqlite_worker writer, reader;
    sqlite3_stmt *statements[ST_COUNT];

    uv_mutex_t done_lock;
    struct op_list done; /* under done_lock */
    bool posted;         /* under done_lock: a post that will deliver is under way */
    struct op *closed;   /* allocated at the start: closing cannot fail */

    /* The loop's alone. */
    struct op *reserve;
    void (*on_closed)(void *user);
    void *on_closed_user;

    /* The writer's alone. */
    uint64_t next_seq;
    int wal_frames; /* as the last COMMIT left the WAL */
    int checkpoint_pages, checkpoint_at;
    bool can_write;
};

/* sqlite_schema.c: opens the connections and brings the schema to this version. The path is absolute or relative to
 * the process. 0, or -1 with *fault and the reason. */
int sqlite_open_connections(struct sqlite_store *s, const char *path, enum store_fault *fault,
                            char *reason, size_t size);
void sqlite_close_connection(struct sqlite_store *s, sqlite3 **db);
extern const unsigned sqlite_schema_version;

/* sqlite_write.c: applies one write inside a transaction. SQLITE_OK with op->reply set, or SQLite's error: then the
 * transaction must be rolled back. */
int sqlite_apply(struct sqlite_store *s, struct op *op);
/* sqlite_read.c: answers one read. */
void sqlite_read(struct sqlite_store *s, struct op *op);
/* The row as ST_ROW or ST_READ_ROW finds it, copied into op->row. SQLITE_ROW, SQLITE_DONE or an error. */
int sqlite_read_row(sqlite3_stmt *st, struct op *op, const char *id, unsigned parts);
enum store_status sqlite_status(int rc);

/* sqlite_give.c: the face. */
extern const struct store_backend sqlite_backend;

/* sqlite.c: the threads. */
struct store *sqlite_store_open(const struct store_options *o, const char *path,
                                enum store_fault *fault, char *reason, size_t size);
void sqlite_give(struct sqlite_store *s, struct op *op);
void sqlite_give_failed(struct sqlite_store *s, uint64_t ticket);
void sqlite_close(struct store *s, void (*on_closed)(void *user), void *user);

static inline struct sqlite_store *sqlite_of(struct store *s) {
    return (struct sqlite_store *)s; /* base is its first member */
}

#endif
