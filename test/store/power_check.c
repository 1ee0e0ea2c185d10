#include "store/power_check.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What had been told by the cut. */
struct told {
    const char *id;
    bool submitted, cancelled, outbox, dropping, dropped, may_be_gone;
    uint64_t attempt, state, result, notes; /* 0: nothing told */
};

struct check {
    const struct flow *f;
    struct service s;
    const char *folder;
    sqlite3 *db;
    size_t marks;
    unsigned later; /* requests below may be forgotten */
    uint64_t charges_later;
    struct told told[MAX_REQUESTS];
    unsigned seen[MAX_REQUESTS]; /* rows of each in the table */
    int64_t highest_seq;
};

static char why[400];
static uint64_t requests_seen, files_seen;

uint64_t check_requests(void) {
    return requests_seen;
}

uint64_t check_files(void) {
    return files_seen;
}

/* The first fault is kept. */
__attribute__((format(printf, 1, 2))) static void fault(const char *format, ...) {
    va_list args;
    if (why[0] != '\0') return;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
}

/* --- what was told */

static void take(struct check *c, const struct mark *m) {
    struct told *t = &c->told[m->n < MAX_REQUESTS ? m->n : 0];
    switch (m->kind) {
    case MARK_SUBMITTED:
        t->submitted = true;
        t->id = m->id;
        break;
    case MARK_STARTED:
        if (m->value > t->attempt) t->attempt = m->value;
        if (t->state < STORE_IN_PROGRESS) t->state = STORE_IN_PROGRESS;
        break;
    case MARK_STATE:
        if (m->value > t->state) t->state = m->value;
        break;
    case MARK_RESULT:
        t->state = STORE_COMPLETED;
        t->result = m->value;
        break;
    case MARK_CANCELLED: t->cancelled = true; break;
    case MARK_OUTBOX:
        t->outbox = true;
        t->state = STORE_COMPLETED;
        break;
    case MARK_NOTED: t->notes = m->value; break;
    case MARK_DROPPING: t->dropping = true; break;
    case MARK_DROPPED: t->dropped = true; break;
    case MARK_LATER:
        if (m->n > c->later) c->later = m->n;
        break;
    default: break;
    }
}

static void take_marks(struct check *c, size_t cut) {
    while (c->marks < c->f->nmarks && c->f->marks[c->marks].at <= cut)
        take(c, &c->f->marks[c->marks++]);
}

/* Any mark of this kind and number; NULL: there is none. */
static const struct mark *mark_of(const struct check *c, enum mark_kind kind, unsigned n) {
    for (size_t i = 0; i < c->marks; i++)
        if (c->f->marks[i].kind == kind && c->f->marks[i].n == n) return &c->f->marks[i];
    return NULL;
}

/* --- the database, past the store */

static sqlite3_stmt *prepare(struct check *c, const char *sql) {
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) != SQLITE_OK)
        fault("%s: %s", sql, sqlite3_errmsg(c->db));
    return st;
}

static int64_t count(struct check *c, const char *sql) {
    sqlite3_stmt *st = prepare(c, sql);
    int64_t n = st != NULL && sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    return n;
}

static void none(struct check *c, const char *what, const char *sql) {
    char text[600];
    snprintf(text, sizeof text, "%s", sql);
    if (strchr(sql, '$') != NULL) snprintf(strchr(text, '$'), 12, "%u", c->later);
    int64_t n = count(c, text);
    if (n != 0) fault("%lld of: %s", (long long)n, what);
}

static void check_sound(struct check *c) {
    sqlite3_stmt *st = prepare(c, "PRAGMA integrity_check");
    if (st != NULL && sqlite3_step(st) == SQLITE_ROW &&
        strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        fault("corrupt: %s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
}

#define NEW " AND CAST(substr(tags, 3) AS INTEGER) >= $"

/* What must hold of every row, told or not. Of a request that is old the ledger and an ended webhook may go before itself. */
static void check_rules(struct check *c) {
    none(c, "completed without a result",
         "SELECT count(*) FROM request WHERE state = 2 AND seq NOT IN (SELECT seq FROM result)");
    none(c, "results of nothing that is completed",
         "SELECT count(*) FROM result WHERE seq NOT IN (SELECT seq FROM request WHERE state = 2)");
    none(c, "completed with a webhook and no row in the outbox",
         "SELECT count(*) FROM request WHERE state = 2 AND webhook <> ''"
         " AND id NOT IN (SELECT id FROM webhook_outbox)" NEW);
    none(c, "rows in the outbox of nothing that is completed",
         "SELECT count(*) FROM webhook_outbox WHERE id NOT IN"
         " (SELECT id FROM request WHERE state = 2 AND webhook <> '')");
    none(c, "successes that were not charged once",
         "SELECT count(*) FROM request r JOIN result USING(seq) WHERE http_status = 200 AND 1 <>"
         " (SELECT count(*) FROM ledger l WHERE l.id = r.id AND l.attempt = r.attempt)" NEW);
    none(c, "charges of an attempt that never was",
         "SELECT count(*) FROM ledger l JOIN request r USING(id) WHERE l.attempt > r.attempt"
         " OR (l.attempt = r.attempt AND r.state = 0)");
    none(c, "unfinished without an input",
         "SELECT count(*) FROM request WHERE state <> 2"
         " AND seq NOT IN (SELECT seq FROM payload)");
}

/* --- requests */

#define COL(n) sqlite3_column_int64(st, n)

static void check_result(struct check *c, sqlite3_stmt *st, unsigned n) {
    const struct told *t = &c->told[n];
    struct slice body = slice_make(sqlite3_column_blob(st, 6), (size_t)sqlite3_column_bytes(st, 6));
    if (t->dropped && body.len > 0) fault("request %u: a removed result is there again", n);
    if (t->result != 0 && !t->dropping && told_result((unsigned)COL(5), body) != t->result)
        fault("request %u: another result than was told: %u %.*s", n, (unsigned)COL(5),
              (int)body.len, body.ptr);
}

static void check_request(struct check *c, sqlite3_stmt *st, unsigned n) {
    const struct told *t = &c->told[n];
    uint64_t state = (uint64_t)COL(2);
    uint64_t tries = t->notes & 0xff, ended = t->notes >> 8;
    requests_seen += t->submitted;
    if (t->submitted && strcmp(t->id, (const char *)sqlite3_column_text(st, 1)) != 0)
        fault("request %u: another id than was told", n);
    if (state < t->state)
        fault("request %u: state %u was told, is %u", n, (unsigned)t->state, (unsigned)state);
    if ((uint64_t)COL(3) < t->attempt)
        fault("request %u: attempt %u had begun, is %u", n, (unsigned)t->attempt, (unsigned)COL(3));
    if (t->cancelled && state != STORE_COMPLETED && COL(4) == 0)
        fault("request %u: a cancel is forgotten", n);
    if (state == STORE_COMPLETED) check_result(c, st, n);
    if (t->outbox && sqlite3_column_type(st, 7) == SQLITE_NULL)
        fault("request %u: its webhook is forgotten", n);
    if ((uint64_t)COL(7) < tries || (ended != STORE_WEBHOOK_WAITING && (uint64_t)COL(8) != ended))
        fault("request %u: %u tries and state %u of its webhook are now %u and %u", n,
              (unsigned)tries, (unsigned)ended, (unsigned)COL(7), (unsigned)COL(8));
}

static void check_requests_told(struct check *c) {
    sqlite3_stmt *st = prepare(
        c, "SELECT CAST(substr(tags, 3) AS INTEGER), r.id, r.state, r.attempt, cancel_ms,"
           " http_status, body, o.attempt, o.state, r.seq FROM request r"
           " LEFT JOIN result USING(seq) LEFT JOIN webhook_outbox o ON o.seq = r.seq");
    memset(c->seen, 0, sizeof c->seen);
    while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
        unsigned n = (unsigned)COL(0);
        if (n >= c->f->requests) {
            fault("request %u was never given", n);
            continue;
        }
        if (c->seen[n]++ > 0) fault("request %u is there twice", n);
        if (COL(9) > c->highest_seq) c->highest_seq = COL(9);
        check_request(c, st, n);
    }
    sqlite3_finalize(st);
    for (unsigned n = 0; n < c->f->requests; n++)
        if (c->told[n].submitted && c->seen[n] == 0 && n >= c->later)
            fault("request %u (%s) was accepted and is lost", n, c->told[n].id);
}

/* --- beside the queue */

static void check_charges(struct check *c) {
    char sql[160];
    for (size_t i = 0; i < c->marks; i++) {
        const struct mark *m = &c->f->marks[i];
        if (m->kind == MARK_LATER && m->n > 0) c->charges_later = i;
    }
    for (size_t i = c->charges_later; i < c->marks; i++) {
        const struct mark *m = &c->f->marks[i];
        for (unsigned k = 0; m->kind == MARK_CHARGED && k < m->value; k++) {
            snprintf(
                sql, sizeof sql,
                "SELECT count(*) FROM ledger_direct WHERE instr(row, CAST('direct-%04u' AS BLOB))",
                m->n + k);
            if (count(c, sql) != 1) fault("the charge of direct call %u is lost", m->n + k);
        }
    }
}

static void check_keys(struct check *c) {
    char sql[160];
    for (unsigned n = 0; n < c->f->keys; n++) {
        bool revoked = mark_of(c, MARK_REVOKED, n) != NULL;
        if (mark_of(c, MARK_KEY, n) == NULL) continue;
        snprintf(sql, sizeof sql, "SELECT revoked_ms FROM api_key WHERE id = 'key-%04u'", n);
        int64_t at = count(c, sql);
        if (at < 0) fault("key %u is lost", n);
        if (revoked && at == 0) fault("key %u is valid again", n);
    }
}

static bool hash_of(const char *path, int64_t *bytes, unsigned char hash[32]) {
    unsigned char piece[65536];
    ssize_t n;
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *bytes = 0;
    if (fd < 0 || sha == NULL || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1) {
        if (fd >= 0) close(fd);
        EVP_MD_CTX_free(sha);
        return false;
    }
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        EVP_DigestUpdate(sha, piece, (size_t)n);
        *bytes += n;
    }
    close(fd);
    EVP_DigestFinal_ex(sha, hash, NULL);
    EVP_MD_CTX_free(sha);
    return n == 0;
}

static void check_whole_files(struct check *c) {
    char path[SERVICE_DIR_BYTES + 64];
    unsigned char hash[32];
    int64_t bytes;
    sqlite3_stmt *st = prepare(c, "SELECT id, bytes, sha256 FROM file WHERE state = 1");
    while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(st, 0);
        files_seen++;
        snprintf(path, sizeof path, "%s/files/%.2s/%s", c->folder, id, id);
        if (!hash_of(path, &bytes, hash))
            fault("file %s is whole and has no bytes", id);
        else if (bytes != COL(1) || memcmp(hash, sqlite3_column_blob(st, 2), 32) != 0)
            fault("file %s is whole and has other bytes", id);
    }
    sqlite3_finalize(st);
}

static void check_files_told(struct check *c) {
    char sql[120], id[STORE_ID_BYTES];
    check_whole_files(c);
    for (unsigned n = 0; n < c->f->files; n++) {
        file_id(n, id);
        snprintf(sql, sizeof sql, "SELECT state FROM file WHERE id = '%s'", id);
        int64_t state = count(c, sql);
        if (mark_of(c, MARK_REMOVED, n) != NULL && state >= 0) fault("file %u is there again", n);
        if (mark_of(c, MARK_FILE, n) != NULL && mark_of(c, MARK_REMOVING, n) == NULL && state != 1)
            fault("file %u is lost", n);
    }
}

/* It holds every request that had been told of when it was asked for. */
static void check_backup(struct check *c, const struct mark *told) {
    char sql[120];
    int64_t want = 0;
    for (size_t i = 0; told != NULL && i < told->value; i++) {
        const struct mark *m = &c->f->marks[i];
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= c->f->marks[k].kind == MARK_SUBMITTED && c->f->marks[k].n == m->n;
        want += m->kind == MARK_SUBMITTED && m->n >= c->later && !again;
    }
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM request WHERE CAST(substr(tags, 3) AS INTEGER) >= %u", c->later);
    int64_t got = count(c, sql);
    if (got < want) fault("a backup holds %lld of %lld requests", (long long)got, (long long)want);
}

static void check_backups(struct check *c) {
    char path[SERVICE_DIR_BYTES + 24];
    sqlite3 *db = c->db;
    for (unsigned n = 0; n < c->f->backups; n++) {
        snprintf(path, sizeof path, "%s/backup-%u.db", c->folder, n);
        const struct mark *told = mark_of(c, MARK_BACKED_UP, n);
        if (access(path, F_OK) != 0) {
            if (told != NULL) fault("backup %u is lost", n);
            continue;
        }
        c->db = NULL;
        if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
            fault("backup %u does not open", n);
        check_sound(c);
        check_backup(c, told);
        sqlite3_close(c->db);
        c->db = db;
    }
}

/* --- the start */

static void on_start(void *user, const char *id, unsigned n, uint32_t attempt) {
    struct check *c = user;
    const struct told *t = &c->told[n];
    if (attempt <= t->attempt) fault("attempt %u of request %u begins twice", (unsigned)attempt, n);
    if (wish_of(c->f->seed, n).no_retry && attempt > 1)
        fault("request %u (%s) runs again and must not", n, id);
    if (t->state == STORE_COMPLETED) fault("request %u runs and had ended", n);
    if (t->cancelled) fault("request %u runs and was cancelled", n);
}

static void check_opened(void *user) {
    struct check *c = user;
    char path[SERVICE_DIR_BYTES + 16];
    snprintf(path, sizeof path, "%s/anyllm.db", c->folder);
    if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        fault("%s does not open", path);
    check_sound(c);
    check_rules(c);
    check_requests_told(c);
    check_charges(c);
    check_keys(c);
    check_files_told(c);
    check_backups(c);
}

static bool end_runs(struct check *c) {
    static const struct queue_outcome o = {.http_status = 200,
                                           .body = SLICE("{\"output\":\"after\"}"),
                                           .retry_after_ms = -1,
                                           .usage = {.present = true}};
    bool any = false;
    for (unsigned i = 0; i < SERVICE_RUNS; i++) {
        if (!c->s.runs[i].busy) continue;
        any = true;
        service_end_run(&c->s, &c->s.runs[i], &o);
    }
    return any;
}

static void run_all(struct check *c) {
    struct queue_stats x;
    for (unsigned i = 0; i < 400; i++) {
        service_settle(&c->s);
        queue_get_stats(c->s.queue, &x);
        if (!end_runs(c) && x.waiting == 0 && x.running == 0) return;
        if (x.running == 0 || i > 100) service_pass(&c->s, 1000);
    }
    fault("%zu wait and %zu run for ever", x.waiting, x.running);
}

struct answer {
    enum queue_code code;
    bool again;
    char id[STORE_ID_BYTES];
};

static void on_reply(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct answer *a = user;
    (void)ticket;
    a->code = r->code;
    a->again = r->again;
    snprintf(a->id, sizeof a->id, "%s", r->id != NULL ? r->id : "");
}

static struct answer submit(struct check *c, unsigned n) {
    char tags[TAGS_BYTES], *input = malloc(INPUT_BYTES);
    struct answer a = {.code = QUEUE_UNAVAILABLE};
    if (input == NULL) abort();
    struct queue_submit in = submit_of(c->f->seed, n, tags, input);
    queue_submit(c->s.queue, &in, (struct queue_done){on_reply, &a, 0});
    service_settle(&c->s);
    free(input);
    return a;
}

/* One that was accepted with a key is found by it, one that is new gets a new place. */
static void check_submits(struct check *c) {
    char sql[120];
    for (unsigned k = 0, n = c->f->requests; k < 2 && n-- > c->later;) {
        if (!c->told[n].submitted || !wish_of(c->f->seed, n).idempotent) continue;
        struct answer a = submit(c, n);
        k++;
        if (a.code != QUEUE_OK || !a.again || strcmp(a.id, c->told[n].id) != 0)
            fault("request %u comes again, and is not found by its key", n);
    }
    struct answer a = submit(c, c->f->requests);
    if (a.code != QUEUE_OK) fault("a new request is not taken: %d", (int)a.code);
    snprintf(sql, sizeof sql, "SELECT seq FROM request WHERE id = '%s'", a.id);
    if (count(c, sql) <= c->highest_seq) fault("a number is given twice");
}

static void check_running(struct check *c) {
    run_all(c);
    none(c, "not completed in the end", "SELECT count(*) FROM request WHERE state <> 2");
    check_rules(c);
    check_requests_told(c);
    check_submits(c);
    run_all(c);
    check_sound(c);
}

const char *check_folder(const struct flow *told, size_t cut, const char *folder) {
    static struct check c;
    c = (struct check){.f = told, .folder = folder};
    why[0] = '\0';
    take_marks(&c, cut);
    service_begin(&c.s, folder, told->seed + cut);
    c.s.mono_ms = c.marks > 0 ? told->marks[c.marks - 1].mono_ms : 0;
    c.s.on_start = on_start;
    c.s.on_opened = check_opened;
    c.s.user = &c;
    if (!service_open(&c.s))
        fault("does not open: %s", c.s.why);
    else if (!c.s.ready_ok)
        fault("opens and is never ready");
    else
        check_running(&c);
    sqlite3_close(c.db);
    service_close(&c.s, false);
    service_end(&c.s);
    return why[0] != '\0' ? why : NULL;
}
