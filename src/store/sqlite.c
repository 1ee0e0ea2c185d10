/* The threads: operations in, batches through one transaction, replies out. */
#include "store/sqlite.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What one transaction takes at most. A thousand of the largest usual requests still commit in some 50 ms, and the
 * dirty pages of 32 MiB stay a small part of the machine's memory. */
#define BATCH_OPS 1024U
#define BATCH_BYTES (32U << 20)
#define PROBE_EVERY_NS 500000000ULL

/* --- delivery */

static void free_op(struct sqlite_store *s, struct op *op) {
    arena_free(&op->mem);
    if (!op->reserved) {
        free(op);
        return;
    }
    op->next = s->reserve;
    s->reserve = op;
}

/* What damage has ended does not begin again. */
static void tell_health(struct sqlite_store *s, const struct op *op) {
    char quoted[LOG_QUOTE_BYTES];
    if (op->in.health.damaged)
        log_line(LOG_ERROR, "database_damaged",
                 "found=%s todo=\"stop the server, restore a backup (docs/operations.md)\"",
                 log_quote(quoted, slice_of(op->in.health.reason)));
    if (s->hooks.on_health == NULL || (s->damaged && op->in.health.can_write)) return;
    s->hooks.on_health(s->user, op->in.health.can_write, op->in.health.reason);
}

static void deliver_one(struct sqlite_store *s, struct op *op) {
    switch (op->kind) {
    case OP_HEALTH: tell_health(s, op); break;
    case OP_BROKEN:
        if (s->hooks.on_broken != NULL) s->hooks.on_broken(s->user, op->in.health.reason);
        break;
    default: s->hooks.on_done(s->user, op->ticket, &op->reply); /* fall through */
    case OP_UNANSWERED: net_loop_release(s->loop); break;
    }
    free_op(s, op);
}

static void deliver(void *arg) {
    struct sqlite_store *s = arg;
    uv_mutex_lock(&s->done_lock);
    struct op *op = s->done.first, *next;
    list_init(&s->done);
    s->posted = false;
    uv_mutex_unlock(&s->done_lock);
    for (; op != NULL; op = next) {
        next = op->next;
        if (op->kind == OP_CLOSED) {
            sqlite_closed(s);
            return;
        }
        deliver_one(s, op);
    }
}

/* Any thread. One post serves everything that is done until it runs. */
static void hand_back(struct sqlite_store *s, struct op_list *ops) {
    uv_mutex_lock(&s->done_lock);
    list_join(&s->done, ops);
    bool post = !s->posted;
    s->posted = true;
    uv_mutex_unlock(&s->done_lock);
    while (post && net_loop_post(s->loop, deliver, s) != 0)
        usleep(1000); /* out of memory: it must come */
}

void sqlite_hand_back(struct sqlite_store *s, struct op *op) {
    struct op_list one;
    list_init(&one);
    list_add(&one, op);
    hand_back(s, &one);
}

/* --- giving */

/* One lock and one wake-up for all that a turn of the loop gives: the batch is larger and the loop is not preempted
 * at the first operation. */
void sqlite_hand_over(struct net_defer *d) {
    struct sqlite_worker *w = (struct sqlite_worker *)((char *)d -
                                                       offsetof(struct sqlite_worker, hand));
    uv_mutex_lock(&w->lock);
    bool idle = w->given.first == NULL;
    list_join(&w->given, &w->fresh);
    uv_mutex_unlock(&w->lock);
    if (idle) uv_cond_signal(&w->more);
}

void sqlite_give(struct sqlite_store *s, struct op *op) {
    struct sqlite_worker *w = op->kind < OP_WRITES  ? &s->writer
                              : op->kind < OP_READS ? &s->reader
                                                    : &s->scanner;
    net_loop_hold(s->loop);
    if (op->kind == OP_BACKUP) {
        sqlite_backup(s, op);
        return;
    }
    list_add(&w->fresh, op);
    net_defer(s->loop, &w->hand);
}

/* No memory for an operation: its answer comes from the reserve. Thirty-two of them unanswered at once without one
 * malloc succeeding in between is a process that cannot go on; what it has accepted is on disk. */
void sqlite_give_failed(struct sqlite_store *s, uint64_t ticket) {
    struct op *op = s->reserve;
    if (op == NULL) {
        log_line(LOG_ERROR, "out_of_memory", "room=store");
        abort();
    }
    s->reserve = op->next;
    memset(op, 0, sizeof *op);
    op->reserved = true;
    op->ticket = ticket;
    op->reply.status = STORE_MEMORY;
    net_loop_hold(s->loop);
    sqlite_hand_back(s, op);
}

/* --- transactions */

enum store_status sqlite_status(int rc) {
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return STORE_MEMORY;
    case SQLITE_CONSTRAINT: return STORE_STALE;
    default: return STORE_UNAVAILABLE;
    }
}

/* An error that belongs to one operation; any other says that the store cannot write. */
static bool of_one_op(int rc) {
    int base = rc & 0xff;
    return base == SQLITE_NOMEM || base == SQLITE_CONSTRAINT || base == SQLITE_TOOBIG ||
           sqlite_is_damage(rc); /* of the pages that it needs */
}

/* fsync has failed: the kernel may have dropped what it could not write and says so once (fsyncgate). Trying again would
 * succeed and be a lie. */
static bool is_lost(int rc) {
    return rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC;
}

static int step(struct sqlite_store *s, enum statement n) {
    sqlite3_step(s->statements[n]);
    return sqlite3_reset(s->statements[n]);
}

static void clear_reply(struct op *op) {
    arena_reset(&op->mem);
    op->reply = (struct store_reply){.status = STORE_OK};
    op->row = (struct store_row){.inference_ms = -1};
}

/* A damaged database takes no new request; those it has go on. */
static int apply(struct sqlite_store *s, struct op *op) {
    clear_reply(op);
    if (op->kind != OP_SUBMIT || !s->damaged) return sqlite_apply(s, op);
    op->reply.status = STORE_UNAVAILABLE;
    return SQLITE_OK;
}

static int commit(struct sqlite_store *s, size_t n) {
    uint64_t began = uv_hrtime();
    int rc = step(s, ST_COMMIT);
    if (rc != SQLITE_OK) return rc;
    sqlite_note_commit(s, n, (uv_hrtime() - began) / 1000);
    if (!s->marked) s->marked = s->mark_in_log = true;
    return rc;
}

static int run_transaction(struct sqlite_store *s, struct op **ops, size_t n) {
    int rc = step(s, ST_BEGIN);
    sqlite_hours_forget(s);
    if (rc == SQLITE_OK && !s->marked) rc = sqlite_mark(s, s->file);
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) rc = apply(s, ops[i]);
    if (rc == SQLITE_OK) rc = sqlite_hours_write(s);
    if (rc == SQLITE_OK) rc = sqlite_measure(s);
    if (rc == SQLITE_OK) rc = commit(s, n);
    if (rc == SQLITE_OK) {
        sqlite_hours_committed(s);
        return rc;
    }
    if (!sqlite3_get_autocommit(s->writer.db)) step(s, ST_ROLLBACK);
    return rc;
}

static void fail_all(struct op **ops, size_t n, int rc) {
    for (size_t i = 0; i < n; i++) {
        clear_reply(ops[i]);
        ops[i]->reply.status = sqlite_status(rc);
    }
}

/* One transaction for all. When it fails because of one operation, or because the disk has no room for all of it, the
 * halves are tried apart, so that the smallest set fails; twice the batch's count of tries in the worst case. Any
 * other failure is everyone's. Returns the last transaction's outcome. */
static int run_batch(struct sqlite_store *s, struct op **ops, size_t n) {
    int rc = run_transaction(s, ops, n);
    if (rc == SQLITE_OK) return rc;
    if (n > 1 && (of_one_op(rc) || (rc & 0xff) == SQLITE_FULL)) {
        rc = run_batch(s, ops, n / 2);
        return is_lost(rc) ? rc : run_batch(s, ops + n / 2, n - n / 2);
    }
    if (sqlite_is_damage(rc)) sqlite_found_damage(s, sqlite3_errstr(rc));
    fail_all(ops, n, rc);
    return rc;
}

/* --- health */

/* Nothing that was synced can be relied on: whatever waits for an answer is on disk or not, the next start will see. */
static void break_down(struct sqlite_store *s) {
    struct op *op = s->broken_news;
    s->broken = true;
    s->broken_news = NULL;
    int e = sqlite3_system_errno(s->writer.db);
    snprintf(op->in.health.reason, sizeof op->in.health.reason, "fsync failed: %s",
             e != 0 ? strerror(e) : "disk I/O error");
    sqlite_hand_back(s, op);
}

static int probe(struct sqlite_store *s) {
    int rc = step(s, ST_BEGIN);
    if (rc == SQLITE_OK) rc = step(s, ST_PROBE);
    if (rc == SQLITE_OK) rc = step(s, ST_COMMIT);
    if (!sqlite3_get_autocommit(s->writer.db)) step(s, ST_ROLLBACK);
    return rc;
}

/* A full disk lets a small write through now and then: only the probe's 64 KiB say that writing works again. */
static void judge_health(struct sqlite_store *s, int rc, struct op_list *out) {
    if (!s->can_write && rc == SQLITE_OK) rc = probe(s);
    if (is_lost(rc)) {
        break_down(s);
        return;
    }
    bool can_write = rc == SQLITE_OK || of_one_op(rc);
    if (can_write == s->can_write) return;
    struct op *op = calloc(1, sizeof *op);
    if (op == NULL) return; /* told at the next occasion */
    s->can_write = can_write;
    op->kind = OP_HEALTH;
    op->in.health.can_write = can_write;
    snprintf(op->in.health.reason, sizeof op->in.health.reason, "%s",
             can_write ? "" : sqlite3_errmsg(s->writer.db));
    list_add(out, op);
}

/* --- the writer */

static size_t take_batch(struct op_list *given, struct op **batch) {
    size_t n = 0, bytes = 0;
    while (given->first != NULL && n < BATCH_OPS && (n == 0 || bytes < BATCH_BYTES)) {
        struct op *op = given->first;
        given->first = op->next;
        bytes += op->bytes;
        batch[n++] = op;
    }
    if (given->first == NULL) given->last = &given->first;
    return n;
}

/* Waits for work, if told to. False when ending and nothing is left. While writing fails, or something waits for an idle
 * moment, it returns with *n == 0. */
static bool next_batch(struct sqlite_store *s, struct op **batch, size_t *n, bool wait) {
    struct sqlite_worker *w = &s->writer;
    int timed_out = wait ? 0 : UV_ETIMEDOUT;
    uv_mutex_lock(&w->lock);
    while (w->given.first == NULL && !w->ending && timed_out == 0) {
        if ((s->can_write && !s->mark_in_log) || s->broken)
            uv_cond_wait(&w->more, &w->lock);
        else
            timed_out = uv_cond_timedwait(&w->more, &w->lock,
                                          s->can_write ? s->quiet_ns : PROBE_EVERY_NS);
    }
    *n = take_batch(&w->given, batch);
    bool more = *n > 0 || !w->ending;
    uv_mutex_unlock(&w->lock);
    return more;
}

static int on_wal(void *user, sqlite3 *db, const char *name, int frames) {
    struct sqlite_store *s = user;
    if (frames <= s->wal_frames) s->wal_frames = s->wal_copied = 0; /* it begins anew */
    s->wal_added = frames - s->wal_frames;
    s->wal_frames = frames;
    return SQLITE_OK;
}

void sqlite_close_connections(struct sqlite_store *s) {
    sqlite_leash_free(s);
    sqlite_close_connection(s, &s->scanner.db);
    sqlite_close_connection(s, &s->reader.db);
    sqlite_close_connection(s, &s->writer.db);
}

static int note_end(struct sqlite_store *s, int64_t unclean) {
    int rc = step(s, ST_BEGIN);
    if (rc == SQLITE_OK) rc = sqlite_mark(s, unclean);
    if (rc == SQLITE_OK) rc = step(s, ST_COMMIT);
    if (!sqlite3_get_autocommit(s->writer.db)) step(s, ST_ROLLBACK);
    return rc;
}

/* The close writes the log back and removes it, unless it is told not to: as it is from the opening on (sqlite_open.c). */
static void give_log_up(struct sqlite_store *s) {
    sqlite3_db_config(s->writer.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
}

/* The last transaction says that it was, and that the log goes. A note whose sync failed stands in the log all the same:
 * another one is written over it. */
static void end_well(struct sqlite_store *s) {
    struct store_stats now;
    sqlite_stats(&s->base, &now);
    bool well = !s->damaged && (!s->unclean || now.check == STORE_SOUND);
    if (s->broken) return;
    int rc = s->marked || s->found == s->file ? note_end(s, well ? 0 : 1) : SQLITE_OK;
    if (rc == SQLITE_OK) give_log_up(s);
    if (!is_lost(rc)) return;
    note_end(s, s->file);
    break_down(s); /* who is told may end the process at once */
}

static void end_writer(struct sqlite_store *s) {
    uv_thread_join(&s->reader.thread);
    uv_thread_join(&s->scanner.thread);
    sqlite_end_check(s);
    sqlite_join_aside(&s->backup);
    end_well(s);
    sqlite_close_connections(s);
    list_add(&s->unanswered, s->closed);
    hand_back(s, &s->unanswered);
}

/* Replies in `out`; none when the disk has lost what it synced. */
static void write_batch(struct sqlite_store *s, struct op **batch, size_t n, struct op_list *out) {
    int rc = n > 0 && !s->broken ? run_batch(s, batch, n) : SQLITE_OK;
    if (is_lost(rc)) break_down(s);
    uint64_t stale = 0;
    for (size_t i = 0; i < n; i++) {
        stale += batch[i]->reply.status == STORE_STALE;
        if (s->broken) batch[i]->kind = OP_UNANSWERED;
        list_add(s->broken ? &s->unanswered : out, batch[i]);
    }
    if (stale > 0) sqlite_note_stale(s, stale);
    if (!s->broken) judge_health(s, rc, out);
}

void sqlite_write_all(void *arg) {
    struct sqlite_store *s = arg;
    struct op *batch[BATCH_OPS];
    size_t n;
    bool more = false; /* of the log waits to be written back, and nothing holds it */
    sqlite3_wal_hook(s->writer.db, on_wal, s);
    while (next_batch(s, batch, &n, !more)) {
        struct op_list out;
        list_init(&out);
        if (n > 0 || !s->can_write) write_batch(s, batch, n, &out);
        if (out.first != NULL) hand_back(s, &out);
        /* After the replies are out: nobody waits for it but the next batch. */
        if (!s->broken && is_lost(sqlite_checkpoint(s, n == 0, &more))) break_down(s);
        if (s->broken) more = false;
    }
    end_writer(s);
}

/* --- the reader and the scanner */

void sqlite_read_all(void *arg) {
    struct sqlite_worker *w = arg;
    struct sqlite_store *s = w->store;
    struct op *batch[BATCH_OPS];
    for (;;) {
        uv_mutex_lock(&w->lock);
        while (w->given.first == NULL && !w->ending) uv_cond_wait(&w->more, &w->lock);
        size_t n = take_batch(&w->given, batch);
        uv_mutex_unlock(&w->lock);
        if (n == 0) return;
        struct op_list out;
        list_init(&out);
        for (size_t i = 0; i < n; i++) {
            clear_reply(batch[i]);
            sqlite_answer(s, batch[i]);
            list_add(&out, batch[i]);
        }
        hand_back(s, &out);
    }
}
