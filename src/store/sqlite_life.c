/* A store's beginning and end. */
#include "store/sqlite.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

int sqlite_start_aside(struct sqlite_aside *a, void (*run)(void *arg), void *arg) {
    sqlite_join_aside(a);
    a->busy = true;
    a->started = uv_thread_create(&a->thread, run, arg) == 0;
    if (!a->started) a->busy = false;
    return a->started ? 0 : -1;
}

void sqlite_join_aside(struct sqlite_aside *a) {
    if (a->started) uv_thread_join(&a->thread);
    a->started = false;
}

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
    s->ending = true;
    net_loop_hold(s->loop);
    end(&s->reader);
    end(&s->scanner);
    end(&s->writer);
}

/* w->store says that it has been initialised. */
static int init_worker(struct sqlite_store *s, struct sqlite_worker *w) {
    list_init(&w->given);
    list_init(&w->fresh);
    w->hand.run = sqlite_hand_over;
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
    sqlite_close_connections(s);
    sqlite_hours_free(s);
    free_worker(&s->scanner);
    free_worker(&s->reader);
    free_worker(&s->writer);
    uv_mutex_destroy(&s->stats_lock);
    uv_mutex_destroy(&s->done_lock);
    for (struct op *op = s->reserve, *next; op != NULL; op = next) {
        next = op->next;
        free(op);
    }
    free(s->closed);
    free(s->broken_news);
    free(s->damage_news);
    free(s);
}

void sqlite_closed(struct sqlite_store *s) {
    void (*on_closed)(void *user) = s->on_closed;
    void *user = s->on_closed_user;
    uv_thread_join(&s->writer.thread);
    net_loop_release(s->loop);
    free_store(s);
    on_closed(user);
}

static struct op *new_news(enum op_kind kind) {
    struct op *op = calloc(1, sizeof *op);
    if (op != NULL) op->kind = kind;
    return op;
}

static bool fill_reserve(struct sqlite_store *s) {
    for (unsigned i = 0; i < OP_RESERVE; i++) {
        struct op *op = calloc(1, sizeof *op);
        if (op == NULL) return false;
        op->next = s->reserve;
        s->reserve = op;
    }
    return (s->closed = new_news(OP_CLOSED)) != NULL &&
           (s->broken_news = new_news(OP_BROKEN)) != NULL &&
           (s->damage_news = new_news(OP_HEALTH)) != NULL;
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
    s->quiet_ns = (o->quiet_ms > 0 ? o->quiet_ms : 500) * UINT64_C(1000000);
    list_init(&s->done);
    list_init(&s->unanswered);
    if (uv_mutex_init(&s->done_lock) != 0) {
        free(s);
        return NULL;
    }
    if (uv_mutex_init(&s->stats_lock) != 0) {
        uv_mutex_destroy(&s->done_lock);
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
    if (uv_thread_create(&s->reader.thread, sqlite_read_all, &s->reader) != 0) return -1;
    if (uv_thread_create(&s->scanner.thread, sqlite_read_all, &s->scanner) == 0) {
        if (uv_thread_create(&s->writer.thread, sqlite_write_all, s) == 0) return 0;
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
    if (s != NULL && start_threads(s) == 0) {
        if (s->unclean && sqlite_begin_check(s) != 0)
            log_line(LOG_WARN, "database_not_checked", "reason=\"no memory or no thread\"");
        return &s->base;
    }
    if (s != NULL) free_store(s);
    *fault = STORE_FAULT_SYSTEM;
    snprintf(reason, size, "store: no memory or no thread to be had");
    return NULL;
}
