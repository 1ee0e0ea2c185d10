/* Connections, the schema and its migrations, the statements. */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x616c6c6d /* "allm" */
#define BUSY_MS 5000

/* --- the schema */

/* seq orders by acceptance and is every other table's key, so that rows of one request lie together and are appended;
 * payload and result hold what is large, so that a request's row stays small. Times are Unix milliseconds, 0: not yet.
 * boot is empty when nobody holds the row (waiting, or released). */
static const char schema_1[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;"
    "CREATE TABLE request("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  state INTEGER NOT NULL DEFAULT 0," /* 0 IN_QUEUE, 1 IN_PROGRESS, 2 COMPLETED */
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  crashes INTEGER NOT NULL DEFAULT 0,"
    "  priority INTEGER NOT NULL,"
    "  no_retry INTEGER NOT NULL,"
    "  cancel_ms INTEGER NOT NULL DEFAULT 0,"
    "  endpoint TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  webhook TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  started_ms INTEGER NOT NULL DEFAULT 0,"
    "  completed_ms INTEGER NOT NULL DEFAULT 0,"
    "  node TEXT NOT NULL DEFAULT '',"
    "  boot TEXT NOT NULL DEFAULT '',"
    "  token INTEGER NOT NULL DEFAULT 0,"
    "  lease_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX request_open ON request(seq) WHERE state <> 2;"
    "CREATE TABLE payload(seq INTEGER PRIMARY KEY, input BLOB NOT NULL) STRICT;"
    "CREATE TABLE result("
    "  seq INTEGER PRIMARY KEY,"
    "  http_status INTEGER NOT NULL,"
    "  error TEXT NOT NULL,"
    "  error_type TEXT NOT NULL,"
    "  inference_ms INTEGER NOT NULL,"
    "  headers BLOB NOT NULL,"
    "  body BLOB NOT NULL) STRICT;"
    /* The ledger outlives the requests it tells of, so it repeats whose they were. */
    "CREATE TABLE usage("
    "  seq INTEGER NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  upstream TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  raw BLOB NOT NULL,"
    "  cost_microusd INTEGER," /* NULL: unknown, never 0 */
    "  at_ms INTEGER NOT NULL,"
    "  PRIMARY KEY(seq, attempt)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE webhook_outbox("
    "  seq INTEGER PRIMARY KEY,"
    "  url TEXT NOT NULL,"
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  created_ms INTEGER NOT NULL,"
    "  due_ms INTEGER NOT NULL,"
    "  delivered_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE log("
    "  seq INTEGER NOT NULL,"
    "  n INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL,"
    "  level TEXT NOT NULL,"
    "  message TEXT NOT NULL,"
    "  PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES('ping', 0);"
    "PRAGMA application_id = 1634495597;"; /* APPLICATION_ID */

static int to_1(sqlite3 *db) {
    return sqlite3_exec(db, schema_1, NULL, NULL, NULL);
}

/* What a request may ask of how it is run and kept. Rows written before wish nothing. */
static const char schema_2[] =
    "ALTER TABLE request ADD COLUMN start_timeout_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN no_store INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN no_fallback INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN retries_server_error INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN retries_timeout INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN retries_connection_error INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN owner_concurrency INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN hint TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN tags TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN forget_ms INTEGER NOT NULL DEFAULT 0;" /* 0: kept */
    "CREATE INDEX request_forget ON request(forget_ms) WHERE forget_ms > 0;";

static int to_2(sqlite3 *db) {
    return sqlite3_exec(db, schema_2, NULL, NULL, NULL);
}

/* migrations[n] brings version n to n + 1. To change the schema: append one, never edit one that was released. */
static int (*const migrations[])(sqlite3 *db) = {to_1, to_2};
const unsigned sqlite_schema_version = sizeof migrations / sizeof *migrations;

/* --- the statements */

/* In the order of put_wishes and take_wishes. */
#define WISHES                                                                        \
    "start_timeout_ms, no_store, no_fallback, retries_server_error, retries_timeout," \
    " retries_connection_error, owner_concurrency"

#define ROW_TEXT                                                                               \
    "SELECT seq, id, state, attempt, priority, no_retry, cancel_ms, endpoint, owner, webhook," \
    " created_ms, started_ms, completed_ms, http_status, error, error_type, inference_ms,"     \
    " input, headers, body, forget_ms, " WISHES ", hint, tags"                                 \
    " FROM request LEFT JOIN payload USING(seq) LEFT JOIN result USING(seq) WHERE id = ?1"

static const char *const texts[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_FIND] = "SELECT seq, state, webhook <> '' FROM request WHERE id = ?1",
    [ST_ROW] = ROW_TEXT,
    [ST_SUBMIT] =
        "INSERT INTO request(seq, id, priority, no_retry, endpoint, owner, webhook, created_ms," WISHES
        ", hint, tags)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    [ST_PAYLOAD] = "INSERT INTO payload(seq, input) VALUES(?1, ?2)",
    [ST_CLAIM] = "UPDATE request SET state = 1, attempt = attempt + 1,"
                 " crashes = crashes + (state = 1 AND boot <> ''),"
                 " started_ms = CASE started_ms WHEN 0 THEN ?3 ELSE started_ms END,"
                 " node = ?4, boot = ?5, token = ?6, lease_ms = ?7"
                 " WHERE seq = ?1 AND attempt = ?2 AND state <> 2 AND boot <> ?5",
    [ST_RETRY] =
        "UPDATE request SET attempt = attempt + 1, node = ?4, boot = ?5, token = ?6, lease_ms = ?7"
        " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_RELEASE] = "UPDATE request SET boot = '', token = 0, lease_ms = 0"
                   " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_COMPLETE] = "UPDATE request SET state = 2, completed_ms = ?4, forget_ms = ?5"
                    " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_FINISH] = "UPDATE request SET state = 2, completed_ms = ?4, forget_ms = ?5"
                  " WHERE seq = ?1 AND attempt = ?2 AND boot <> ?3 AND state <> 2",
    [ST_RESULT] =
        "INSERT INTO result(seq, http_status, error, error_type, inference_ms, headers, body)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_USAGE] =
        "INSERT INTO usage(seq, attempt, id, owner, endpoint, upstream, model, raw, cost_microusd, at_ms)"
        " SELECT seq, ?2, id, owner, endpoint, ?3, ?4, ?5, ?6, ?7 FROM request WHERE seq = ?1",
    [ST_OUTBOX] = "INSERT INTO webhook_outbox(seq, url, created_ms, due_ms)"
                  " SELECT seq, webhook, ?2, ?2 FROM request WHERE seq = ?1",
    [ST_DROP_INPUT] = "DELETE FROM payload WHERE seq = ?1",
    [ST_SWEEP_NEXT] = "SELECT seq FROM request INDEXED BY request_forget"
                      " WHERE forget_ms > 0 AND forget_ms <= ?1 ORDER BY forget_ms LIMIT 1",
    [ST_SWEEP_LOG] = "DELETE FROM log WHERE seq = ?1",
    [ST_SWEEP_RESULT] = "DELETE FROM result WHERE seq = ?1",
    [ST_SWEEP_REQUEST] = "DELETE FROM request WHERE seq = ?1",
    [ST_SWEEP_LEFT] = "SELECT ifnull(min(forget_ms), 0) FROM request INDEXED BY request_forget"
                      " WHERE forget_ms > 0",
    [ST_CANCEL] =
        "UPDATE request SET cancel_ms = ?2 WHERE seq = ?1 AND state <> 2 AND cancel_ms = 0",
    [ST_LOG_LAST] = "SELECT ifnull(max(n), 0) FROM log WHERE seq = ?1",
    [ST_LOG] = "INSERT INTO log(seq, n, at_ms, level, message) VALUES(?1, ?2, ?3, ?4, ?5)",
    [ST_PING] = "UPDATE meta SET value = ?1 WHERE key = 'ping'",
    [ST_PROBE] = "REPLACE INTO meta VALUES('probe', zeroblob(65536))",
    [ST_READ_ROW] = ROW_TEXT,
    [ST_READ_LOGS] = "SELECT at_ms, level, message FROM log"
                     " WHERE seq = (SELECT seq FROM request WHERE id = ?1) ORDER BY n",
    [ST_READ_PENDING] =
        "SELECT seq, id, state, attempt, crashes, priority, no_retry, cancel_ms, boot,"
        " created_ms, started_ms, endpoint, owner, webhook <> ''," WISHES
        " FROM request INDEXED BY request_open WHERE state <> 2 ORDER BY seq",
};

/* --- opening */

struct opening {
    struct sqlite_store *store;
    const char *path;
    enum store_fault *fault;
    char *reason;
    size_t size;
};

static int fail(struct opening *o, enum store_fault fault, const char *what, const char *todo) {
    *o->fault = fault;
    snprintf(o->reason, o->size, "%s: %s: %s", o->path, what, todo);
    return -1;
}

static int fail_sqlite(struct opening *o, sqlite3 *db, int rc) {
    const char *what = db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return fail(o, STORE_FAULT_DAMAGED, what,
                    "restore a backup, or move the file away to begin anew");
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return fail(o, STORE_FAULT_BUSY, what, "end the program that holds it");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_FULL:
    case SQLITE_IOERR:
        return fail(o, STORE_FAULT_FOLDER, what,
                    "needs a data folder with room that can be written");
    default: return fail(o, STORE_FAULT_SYSTEM, what, "cannot go on");
    }
}

/* SQLite gives -wal and -shm the file's own mode. */
static int create_private(struct opening *o) {
    struct stat st;
    int fd = open(o->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return fail(o, STORE_FAULT_FOLDER, strerror(errno),
                    "needs a data folder that can be written");
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && (st.st_mode & 077) != 0) fchmod(fd, 0600);
    close(fd);
    return regular ? 0 : fail(o, STORE_FAULT_FOLDER, "not a regular file", "choose another");
}

static int read_int(sqlite3 *db, const char *sql, int64_t *out) {
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Whose file it is, before anything in it is touched. */
static int judge_file(struct opening *o, sqlite3 *db, int64_t *version) {
    int64_t app = 0, tables = 0;
    int rc = read_int(db, "PRAGMA application_id", &app);
    if (rc == SQLITE_OK) rc = read_int(db, "PRAGMA user_version", version);
    if (rc == SQLITE_OK) rc = read_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc != SQLITE_OK) return fail_sqlite(o, db, rc);
    if (app != APPLICATION_ID && (tables > 0 || *version != 0))
        return fail(o, STORE_FAULT_VERSION, "is another program's database",
                    "choose another file or data folder");
    if (*version >= 0 && *version <= (int64_t)sqlite_schema_version) return 0;
    char what[80];
    snprintf(what, sizeof what, "written by a newer anyllm (schema %lld, this one knows %u)",
             (long long)*version, sqlite_schema_version);
    return fail(o, STORE_FAULT_VERSION, what, "run that version, or choose another data folder");
}

/* auto_vacuum must stand before the first table; the WAL hook replaces the automatic checkpoint. */
static const char writer_settings[] = "PRAGMA auto_vacuum = INCREMENTAL;"
                                      "PRAGMA journal_mode = WAL;"
                                      "PRAGMA synchronous = FULL;"
                                      "PRAGMA wal_autocheckpoint = 0;"
                                      "PRAGMA journal_size_limit = 67108864;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA trusted_schema = OFF;"
                                      "PRAGMA cache_size = -4096;";
static const char reader_settings[] = "PRAGMA query_only = ON;"
                                      "PRAGMA wal_autocheckpoint = 0;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA trusted_schema = OFF;"
                                      "PRAGMA cache_size = -2048;";

static int open_one(struct opening *o, sqlite3 **db, int flags) {
    int rc = sqlite3_open_v2(o->path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                             NULL);
    if (rc != SQLITE_OK) return fail_sqlite(o, *db, rc);
    sqlite3_busy_timeout(*db, BUSY_MS);
    sqlite3_extended_result_codes(*db, 1);
    return 0;
}

static int set(struct opening *o, sqlite3 *db, const char *settings) {
    int rc = sqlite3_exec(db, settings, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : fail_sqlite(o, db, rc);
}

/* All steps in one transaction: killed in it, the file is old or new. */
static int migrate(struct opening *o, sqlite3 *db, int64_t version) {
    char text[48];
    if (version == (int64_t)sqlite_schema_version) return 0;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int64_t v = version; v < (int64_t)sqlite_schema_version && rc == SQLITE_OK; v++)
        rc = migrations[v](db);
    snprintf(text, sizeof text, "PRAGMA user_version = %u; COMMIT", sqlite_schema_version);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK) return 0;
    fail_sqlite(o, db, rc);
    if (!sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

static int prepare(struct opening *o, sqlite3 *db, enum statement from, enum statement to) {
    for (unsigned n = from; n < to; n++) {
        int rc = sqlite3_prepare_v3(db, texts[n], -1, SQLITE_PREPARE_PERSISTENT,
                                    &o->store->statements[n], NULL);
        if (rc != SQLITE_OK) return fail_sqlite(o, db, rc);
    }
    return 0;
}

/* The ledger and the webhooks outlive requests: their seq must not be given again. */
static int take_seq(struct opening *o, sqlite3 *db) {
    int64_t last = 0;
    int rc = read_int(
        db,
        "SELECT max(ifnull((SELECT max(seq) FROM request), 0), ifnull((SELECT max(seq) FROM usage), 0),"
        " ifnull((SELECT max(seq) FROM webhook_outbox), 0))",
        &last);
    if (rc != SQLITE_OK) return fail_sqlite(o, db, rc);
    o->store->next_seq = (uint64_t)last + 1;
    return 0;
}

static int open_writer(struct opening *o) {
    sqlite3 **db = &o->store->writer.db;
    int64_t version = 0;
    if (create_private(o) != 0 || open_one(o, db, SQLITE_OPEN_READWRITE) != 0) return -1;
    if (judge_file(o, *db, &version) != 0 || set(o, *db, writer_settings) != 0) return -1;
    if (migrate(o, *db, version) != 0 || take_seq(o, *db) != 0) return -1;
    return prepare(o, *db, 0, ST_WRITER);
}

static int open_reader(struct opening *o) {
    sqlite3 **db = &o->store->reader.db;
    if (open_one(o, db, SQLITE_OPEN_READONLY) != 0 || set(o, *db, reader_settings) != 0) return -1;
    sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return prepare(o, *db, ST_WRITER, ST_COUNT);
}

int sqlite_open_connections(struct sqlite_store *s, const char *path, enum store_fault *fault,
                            char *reason, size_t size) {
    struct opening o = {s, path, fault, reason, size};
    return open_writer(&o) == 0 && open_reader(&o) == 0 ? 0 : -1;
}

void sqlite_close_connection(struct sqlite_store *s, sqlite3 **db) {
    if (*db == NULL) return;
    for (unsigned n = 0; n < ST_COUNT; n++) {
        if (s->statements[n] == NULL || sqlite3_db_handle(s->statements[n]) != *db) continue;
        sqlite3_finalize(s->statements[n]);
        s->statements[n] = NULL;
    }
    sqlite3_close(*db);
    *db = NULL;
}
