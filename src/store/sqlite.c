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

/* --- lists and delivery */

static void list_init(struct op_list *l) {
    l->first = NULL;
    l->last = &l->first;
}

static void list_add(struct op_list *l, struct op *op) {
    op->next = NULL;
    *l->last = op;
    l->last = &op->next;
}

static void list_join(struct op_list *l, struct op_list *tail) {
    if (tail->first == NULL) return;
    *l->last = tail->first;
    l->last = tail->last;
    list_init(tail);
}

static void free_op(struct sqlite_store *s, struct op *op) {
    arena_free(&op->mem);
    if (!op->reserved) {
        free(op);
        return;
    }
    op->next = s->reserve;
    s->reserve = op;
}

static void closed(struct sqlite_store *s);

static void deliver_one(struct sqlite_store *s, struct op *op) {
    if (op->kind == OP_HEALTH) {
        if (s->hooks.on_health != NULL)
            s->hooks.on_health(s->user, op->in.health.can_write, op->in.health.reason);
    } else {
        s->hooks.on_done(s->user, op->ticket, &op->reply);
        net_loop_release(s->loop);
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
            closed(s);
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

/* --- giving */

/* One lock and one wake-up for all that a turn of the loop gives: the batch is larger and the loop is not preempted
 * at the first operation. */
static void hand_over(struct net_defer *d) {
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
    struct op_list one;
    list_init(&one);
    list_add(&one, op);
    net_loop_hold(s->loop);
    hand_back(s, &one);
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
    return base == SQLITE_NOMEM || base == SQLITE_CONSTRAINT || base == SQLITE_TOOBIG;
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

static int run_transaction(struct sqlite_store *s, struct op **ops, size_t n) {
    int rc = step(s, ST_BEGIN);
    sqlite_hours_forget(s);
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        clear_reply(ops[i]);
        rc = sqlite_apply(s, ops[i]);
    }
    if (rc == SQLITE_OK) rc = sqlite_hours_write(s);
    if (rc == SQLITE_OK) rc = step(s, ST_COMMIT);
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
        run_batch(s, ops, n / 2);
        return run_batch(s, ops + n / 2, n - n / 2);
    }
    fail_all(ops, n, rc);
    return rc;
}

/* --- health */

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

/* Waits for work. False when ending and nothing is left. While writing fails it returns with *n == 0 to probe. */
static bool next_batch(struct sqlite_store *s, struct op **batch, size_t *n) {
    struct sqlite_worker *w = &s->writer;
    int timed_out = 0;
    uv_mutex_lock(&w->lock);
    while (w->given.first == NULL && !w->ending && timed_out == 0) {
        if (s->can_write)
            uv_cond_wait(&w->more, &w->lock);
        else
            timed_out = uv_cond_timedwait(&w->more, &w->lock, PROBE_EVERY_NS);
    }
    *n = take_batch(&w->given, batch);
    bool more = *n > 0 || !w->ending;
    uv_mutex_unlock(&w->lock);
    return more;
}

static int on_wal(void *user, sqlite3 *db, const char *name, int frames) {
    ((struct sqlite_store *)user)->wal_frames = frames;
    return SQLITE_OK;
}

/* After the replies are out: nobody waits for a checkpoint but the next batch. What a reader holds back is tried again
 * one piece later. */
static void checkpoint(struct sqlite_store *s) {
    int in_wal = 0, copied = 0;
    if (s->wal_frames < s->checkpoint_pages) s->checkpoint_at = s->checkpoint_pages;
    if (s->wal_frames < s->checkpoint_at) return;
    int rc = sqlite3_wal_checkpoint_v2(s->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal,
                                       &copied);
    bool all = rc == SQLITE_OK && in_wal == copied;
    s->checkpoint_at = all ? s->checkpoint_pages : s->wal_frames + s->checkpoint_pages;
}

static void close_connections(struct sqlite_store *s) {
    sqlite_close_connection(s, &s->scanner.db);
    sqlite_close_connection(s, &s->reader.db);
    sqlite_close_connection(s, &s->writer.db);
}

static void end_writer(struct sqlite_store *s) {
    uv_thread_join(&s->reader.thread);
    uv_thread_join(&s->scanner.thread);
    close_connections(s);
    struct op_list last;
    list_init(&last);
    list_add(&last, s->closed);
    hand_back(s, &last);
}

static void write_all(void *arg) {
    struct sqlite_store *s = arg;
    struct op *batch[BATCH_OPS];
    size_t n;
    sqlite3_wal_hook(s->writer.db, on_wal, s);
    while (next_batch(s, batch, &n)) {
        struct op_list out;
        list_init(&out);
        int rc = n > 0 ? run_batch(s, batch, n) : SQLITE_OK;
        for (size_t i = 0; i < n; i++) list_add(&out, batch[i]);
        judge_health(s, rc, &out);
        if (out.first != NULL) hand_back(s, &out);
        checkpoint(s);
    }
    end_writer(s);
}

/* --- the reader and the scanner */

static void read_all(void *arg) {
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

/* --- life */

static void end(struct sqlite_worker *w) {
    net_defer_cancel(w->store->loop, &w->hand);
    uv_mutex_lock(&w->lock);
    list_join(&w->given, &w->fresh);
    w->ending = true;
    uv_mutex_unlock(&w->lock);
    uv_cond_signal(&w->more);
}

void sqlite_close(struct store *base, void (*on_closed)(void *user), void *user) {
    struct sqlite_store *s = sqlite_of(base);
    s->on_closed = on_closed;
    s->on_closed_user = user;
    net_loop_hold(s->loop);
    end(&s->reader);
    end(&s->scanner);
    end(&s->writer);
}

/* w->store says that it has been initialised. */
static int init_worker(struct sqlite_store *s, struct sqlite_worker *w) {
    list_init(&w->given);
    list_init(&w->fresh);
    w->hand.run = hand_over;
    if (uv_mutex_init(&w->lock) != 0) return -1;
    if (uv_cond_init(&w->more) != 0) {
        uv_mutex_destroy(&w->lock);
        return -1;
    }
    w->store = s;
    return 0;
}

static void free_worker(struct sqlite_worker *w) {
    if (w->store == NULL) return;
    uv_cond_destroy(&w->more);
    uv_mutex_destroy(&w->lock);
}

static void free_store(struct sqlite_store *s) {
    close_connections(s);
    sqlite_hours_free(s);
    free_worker(&s->scanner);
    free_worker(&s->reader);
    free_worker(&s->writer);
    uv_mutex_destroy(&s->done_lock);
    for (struct op *op = s->reserve, *next; op != NULL; op = next) {
        next = op->next;
        free(op);
    }
    free(s->closed);
    free(s);
}

static void closed(struct sqlite_store *s) {
    void (*on_closed)(void *user) = s->on_closed;
    void *user = s->on_closed_user;
    uv_thread_join(&s->writer.thread);
    net_loop_release(s->loop);
    free_store(s);
    on_closed(user);
}

static bool fill_reserve(struct sqlite_store *s) {
    for (unsigned i = 0; i < OP_RESERVE; i++) {
        struct op *op = calloc(1, sizeof *op);
        if (op == NULL) return false;
        op->next = s->reserve;
        s->reserve = op;
    }
    s->closed = calloc(1, sizeof *s->closed);
    if (s->closed != NULL) s->closed->kind = OP_CLOSED;
    return s->closed != NULL;
}

static struct sqlite_store *new_store(const struct store_options *o) {
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->base.backend = &sqlite_backend;
    s->loop = o->loop;
    s->hooks = o->hooks;
    s->user = o->user;
    s->can_write = true;
    s->checkpoint_pages = o->wal_checkpoint_pages > 0 ? (int)o->wal_checkpoint_pages : 1000;
    s->checkpoint_at = s->checkpoint_pages;
    list_init(&s->done);
    if (uv_mutex_init(&s->done_lock) != 0) {
        free(s);
        return NULL;
    }
    if (fill_reserve(s) && init_worker(s, &s->reader) == 0 && init_worker(s, &s->scanner) == 0 &&
        init_worker(s, &s->writer) == 0)
        return s;
    free_store(s);
    return NULL;
}

static void join(struct sqlite_worker *w) {
    end(w);
    uv_thread_join(&w->thread);
}

/* The writer joins the others, so it starts last. */
static int start_threads(struct sqlite_store *s) {
    if (uv_thread_create(&s->reader.thread, read_all, &s->reader) != 0) return -1;
    if (uv_thread_create(&s->scanner.thread, read_all, &s->scanner) == 0) {
        if (uv_thread_create(&s->writer.thread, write_all, s) == 0) return 0;
        join(&s->scanner);
    }
    join(&s->reader);
    return -1;
}

struct store *sqlite_store_open(const struct store_options *o, const char *path,
                                enum store_fault *fault, char *reason, size_t size) {
    struct sqlite_store *s = new_store(o);
    if (s != NULL && sqlite_open_connections(s, path, fault, reason, size) != 0) {
        free_store(s);
        return NULL;
    }
    if (s != NULL && start_threads(s) == 0) return &s->base;
    if (s != NULL) free_store(s);
    *fault = STORE_FAULT_SYSTEM;
    snprintf(reason, size, "store: no memory or no thread to be had");
    return NULL;
}
