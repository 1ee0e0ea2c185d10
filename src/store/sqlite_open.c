/* Opening: whose file it is, the connections and their settings, the migration. */
#include "store/sqlite_packed.h"

#include "base/broken.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x616c6c6d /* "allm" */
#define BUSY_MS 5000

struct opening {
    struct sqlite_store *store;
    const char *path;
    enum store_fault *fault;
    char *reason;
    size_t size;
    char file[PATH_MAX]; /* the path without links */
    bool log_missing;    /* the file is one with a log, and there is none */
    bool log_torn_off;   /* nor did SQLite remove it */
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

/* Bytes it has, `len` at most, as many when they cannot be read; -1: there is none. */
static ssize_t head_of(const char *path, const char *suffix, void *head, size_t len) {
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s%s", path, suffix);
    int fd = n > 0 && (size_t)n < sizeof name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return errno == ENOENT ? -1 : (ssize_t)len;
    ssize_t got = pread(fd, head, len, 0);
    close(fd);
    return got >= 0 ? got : (ssize_t)len;
}

/* The index of an empty log stays when it was cut off, or when who opened the file could not or did not come to write
 * (walformat.html, 2.1: two equal heads of 48 bytes; isInit at 12, mxFrame at 16). */
static bool is_of_no_log(const unsigned char *heads) {
    static const unsigned char none[4];
    return memcmp(heads, heads + 48, 48) == 0 && heads[12] == 1 && memcmp(heads + 16, none, 4) == 0;
}

/* The head of a file that has a log says so (fileformat2.html, 1.3.3); a log that was ever used has a head of 32 bytes. Who
 * writes a log back removes -shm, then -wal. */
static void look_for_log(struct opening *o, int fd) {
    unsigned char versions[2] = {0, 0}, head[32], index[96] = {0};
    bool has = pread(fd, versions, sizeof versions, 18) == sizeof versions && versions[1] == 2;
    /* they stand beside the file, not beside a link to it */
    if (!has || realpath(o->path, o->file) == NULL) return;
    o->log_missing = head_of(o->file, "-wal", head, sizeof head) < (ssize_t)sizeof head;
    if (!o->log_missing) return;
    ssize_t n = head_of(o->file, "-shm", index, sizeof index);
    o->log_torn_off = n >= 0 && !(n == sizeof index && is_of_no_log(index));
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
    o->store->file = regular && st.st_ino > 1 ? (int64_t)st.st_ino : 2;
    if (regular) look_for_log(o, fd);
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

static int read_note(struct opening *o, sqlite3 *db) {
    return read_int(db, "SELECT max(value) FROM meta WHERE key = 'unclean'", &o->store->found);
}

static void make_uri(const char *path, char *uri) {
    char *at = stpcpy(uri, "file://");
    for (const char *p = path; *p != '\0'; p++) {
        if (strchr("%?#", *p) != NULL)
            at += snprintf(at, sizeof "%00", "%%%02x", (unsigned)*p);
        else
            *at++ = *p;
    }
    stpcpy(at, "?immutable=1");
}

/* Read without making a log and an index: a start that refuses leaves both as they were. What cannot be read is told by who
 * opens it. */
static bool says_it_has_a_log(struct opening *o) {
    static const char around[] = "file://?immutable=1";
    char uri[3 * PATH_MAX + sizeof around];
    sqlite3 *db;
    make_uri(o->file, uri);
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK) rc = read_note(o, db);
    sqlite3_close(db);
    return rc == SQLITE_OK && o->store->found == o->store->file;
}

static int find_log(struct opening *o) {
    if (!o->log_missing || !says_it_has_a_log(o)) return 0;
    if (o->log_torn_off)
        return fail(o, STORE_FAULT_DAMAGED, "its log (-wal) is gone, and what only the log held",
                    "put it back, restore a backup, or remove -shm to go on without it");
    log_line(LOG_WARN, "database_log_gone",
             "reason=\"the server before did not end well, and another program has removed or "
             "emptied its log\"");
    return 0;
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

/* SQLite counts the bytes it holds under one lock for the process: nobody asks, and each malloc pays. */
static void count_no_bytes(void) {
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* refused when SQLITE is running: as well */
}

static int open_one(struct opening *o, sqlite3 **db, int flags) {
    int rc = sqlite3_open_v2(o->path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                             NULL);
    if (rc != SQLITE_OK) return fail_sqlite(o, *db, rc);
    sqlite3_busy_timeout(*db, BUSY_MS);
    sqlite3_extended_result_codes(*db, 1);
    rc = sqlite_packed_register(*db);
    return rc == SQLITE_OK ? 0 : fail_sqlite(o, *db, rc);
}

int sqlite_open_aside(struct sqlite_store *s, sqlite3 **db) {
    int rc = sqlite3_open_v2(sqlite3_db_filename(s->writer.db, "main"), db,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                             NULL);
    if (rc != SQLITE_OK) return rc;
    sqlite3_busy_timeout(*db, BUSY_MS);
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return sqlite3_exec(*db, reader_settings, NULL, NULL, NULL);
}

static int set(struct opening *o, sqlite3 *db, const char *settings) {
    int rc = sqlite3_exec(db, settings, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : fail_sqlite(o, db, rc);
}

static int recover(struct opening *o) {
    int err, rc = sqlite_recover(o->store, &err);
    if (rc != SQLITE_OK) return fail_sqlite(o, NULL, rc);
    if (err == ENOMEM) return fail_sqlite(o, NULL, SQLITE_NOMEM);
    if (err == 0) return 0;
    return fail(o, STORE_FAULT_FOLDER, strerror(err),
                "its log (-wal) needs a disk that can be read and written");
}

/* All steps in one transaction: killed in it, the file is old or new. */
static int migrate(struct opening *o, sqlite3 *db, int64_t version) {
    char text[48];
    if (version == (int64_t)sqlite_schema_version) return 0;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int64_t v = version; v < (int64_t)sqlite_schema_version && rc == SQLITE_OK; v++)
        rc = sqlite_migrate(db, v);
    snprintf(text, sizeof text, "PRAGMA user_version = %u; COMMIT", sqlite_schema_version);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK) return 0;
    fail_sqlite(o, db, rc);
    if (!sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

static int prepare(struct opening *o, sqlite3 *db, enum statement from, enum statement to) {
    for (unsigned n = from; n < to; n++) {
        int rc = sqlite3_prepare_v3(db, sqlite_texts[n], -1, SQLITE_PREPARE_PERSISTENT,
                                    &o->store->statements[n], NULL);
        if (rc != SQLITE_OK) return fail_sqlite(o, db, rc);
    }
    return 0;
}

/* Earlier versions' webhooks outlived their requests: their seq must not be given again. */
static int take_numbers(struct opening *o, sqlite3 *db) {
    int64_t seq = 0, charge = 0;
    int rc = read_int(db,
                      "SELECT max(ifnull((SELECT max(seq) FROM request), 0),"
                      " ifnull((SELECT max(seq) FROM webhook_outbox), 0))",
                      &seq);
    if (rc == SQLITE_OK)
        rc = read_int(db,
                      "SELECT max(ifnull((SELECT max(n) FROM ledger), 0),"
                      " ifnull((SELECT max(n) FROM ledger_direct), 0))",
                      &charge);
    if (rc != SQLITE_OK) return fail_sqlite(o, db, rc);
    o->store->next_seq = (uint64_t)seq + 1;
    o->store->next_charge = (uint32_t)charge + 1;
    return 0;
}

static int look_around(struct opening *o, sqlite3 *db) {
    int rc = read_note(o, db);
    if (rc == SQLITE_OK) rc = read_int(db, "PRAGMA page_size", &o->store->page_bytes);
    if (rc == SQLITE_OK) rc = sqlite_hours_load(o->store);
    o->store->unclean = o->store->found != 0;
    return rc == SQLITE_OK ? 0 : fail_sqlite(o, db, rc);
}

static int open_writer(struct opening *o) {
    sqlite3 **db = &o->store->writer.db;
    int64_t version = 0;
    if (create_private(o) != 0 || find_log(o) != 0) return -1;
    if (open_one(o, db, SQLITE_OPEN_READWRITE) != 0) return -1;
    /* Until the end: what is not on the disk must not be written back, as the close of a start that fails would do. */
    sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (judge_file(o, *db, &version) != 0) return -1;
    /* The settings are a transaction already, and with a long log write it back. */
    if (recover(o) != 0 || set(o, *db, writer_settings) != 0) return -1;
    if (migrate(o, *db, version) != 0 || take_numbers(o, *db) != 0) return -1;
    if (broken(BROKEN_SYNC_OFF) && set(o, *db, "PRAGMA synchronous = OFF") != 0) return -1;
    return prepare(o, *db, 0, ST_WRITER) == 0 ? look_around(o, *db) : -1;
}

static int open_reader(struct opening *o, sqlite3 **db, enum statement from, enum statement to) {
    if (open_one(o, db, SQLITE_OPEN_READONLY) != 0 || set(o, *db, reader_settings) != 0) return -1;
    sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return prepare(o, *db, from, to);
}

int sqlite_open_connections(struct sqlite_store *s, const char *path, enum store_fault *fault,
                            char *reason, size_t size) {
    struct opening o = {s, path, fault, reason, size};
    count_no_bytes();
    if (open_writer(&o) != 0) return -1;
    if (open_reader(&o, &s->reader.db, ST_WRITER, ST_READER) != 0) return -1;
    return open_reader(&o, &s->scanner.db, ST_READER, ST_COUNT);
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
