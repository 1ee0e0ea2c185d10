#include "store/power_service.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/power_draw.h"

#define EPOCH_MS 1795000000000 /* the clock of people at the first start */

static uint64_t mono(void *user) {
    return ((struct service *)user)->mono_ms;
}

static int64_t wall(void *user) {
    return EPOCH_MS + (int64_t)((struct service *)user)->mono_ms;
}

static void fill(void *user, void *out, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = (unsigned char)draw(&((struct service *)user)->seed);
}

unsigned service_number(struct slice input) {
    unsigned n = 0;
    for (size_t i = 5; i < input.len && input.ptr[i] >= '0' && input.ptr[i] <= '9'; i++)
        n = 10 * n + (unsigned)(input.ptr[i] - '0');
    return n;
}

/* --- the runner */

static size_t capacity(void *user, unsigned pool) {
    return pool == 0 ? SERVICE_RUNS - ((struct service *)user)->nruns : 0;
}

static void start(void *user, const struct queue_job *job) {
    struct service *s = user;
    struct service_run *r = s->runs;
    while (r->busy) r++;
    *r = (struct service_run){job->run, service_number(job->input), job->attempt, true, false};
    s->nruns++;
    s->started++;
    if (s->on_start != NULL) s->on_start(s->user, job->request_id, r->n, job->attempt);
}

static void stop(void *user, uint64_t run) {
    struct service *s = user;
    for (size_t i = 0; i < SERVICE_RUNS; i++)
        if (s->runs[i].busy && s->runs[i].run == run) s->runs[i].cancelled = true;
}

void service_end_run(struct service *s, struct service_run *r, const struct queue_outcome *o) {
    r->busy = false;
    s->nruns--;
    queue_run_done(s->queue, r->run, o);
}

/* --- hooks */

static void on_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct service *s = user;
    if (desk_owns(ticket))
        desk_answer(s->desk, ticket, r);
    else
        queue_store_done(s->queue, ticket, r);
}

static void on_health(void *user, bool can_write, const char *reason) {
    struct service *s = user;
    s->can_write = can_write;
    s->health_changes++;
    queue_store_health(s->queue, can_write, reason);
}

static void on_broken(void *user, const char *reason) {
    struct service *s = user;
    s->broken = true;
    snprintf(s->why, sizeof s->why, "%s", reason);
    net_loop_stop(&s->loop); /* as serve ends: the writes under way are not answered any more */
}

static void on_ready(void *user, bool ok) {
    struct service *s = user;
    s->ready = true;
    s->ready_ok = ok;
}

static void on_webhook(void *user, const char *id) {
    struct service *s = user;
    if (s->on_webhook != NULL) s->on_webhook(s->user, id);
}

/* --- life */

void service_begin(struct service *s, const char *dir, uint64_t seed) {
    *s = (struct service){.seed = seed, .checkpoint_pages = 10 + (unsigned)(seed % 3) * 7};
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    s->clock = (struct clock){mono, wall, s};
    s->random = (struct random){fill, s};
    if (net_loop_init(&s->loop) != 0) abort();
}

static bool open_queue(struct service *s) {
    struct queue_options o = {
        .clock = &s->clock,
        .random = &s->random,
        .store = s->store,
        .runner = {.capacity = capacity, .start = start, .cancel = stop, .user = s},
        .node = "node",
        .boot = s->boot,
        .alone = true,
        .retention_age_ms = s->keep_age ? 3600000 : 0,
        .on_webhook = on_webhook,
        .webhook_user = s};
    s->queue = queue_new(&o);
    return s->queue != NULL;
}

bool service_open(struct service *s) {
    char files[SERVICE_DIR_BYTES + 8];
    struct store_options o = {.url = "sqlite:anyllm.db",
                              .dir = s->dir,
                              .loop = &s->loop,
                              .hooks = {on_done, on_health, on_broken},
                              .user = s,
                              .wal_checkpoint_pages = s->checkpoint_pages,
                              .quiet_ms = 4000000000U}; /* what is written depends on no clock */
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(s->seed | 1), NULL);
    random_uuid(&s->random, s->boot);
    s->ready = s->ready_ok = s->broken = false;
    s->can_write = true;
    s->store = store_open(&o, s->why, sizeof s->why);
    if (s->store == NULL) return false;
    if (s->on_opened != NULL) s->on_opened(s->user);
    snprintf(files, sizeof files, "%s/files", s->dir);
    s->blobs = blobs_open_dir(&s->loop, files, s->why, sizeof s->why);
    s->desk = desk_new();
    if (s->desk == NULL || !open_queue(s)) abort();
    queue_start(s->queue, on_ready, s);
    service_settle(s);
    return s->blobs != NULL;
}

void service_settle(struct service *s) {
    while (!s->broken) {
        net_loop_run(&s->loop);
        if (s->broken) return;
        if (queue_tick(s->queue) > 0 && s->loop.holds == 0) return;
    }
}

void service_pass(struct service *s, uint64_t ms) {
    s->mono_ms += ms;
    service_settle(s);
}

static void on_closed(void *user) {
    *(bool *)user = true;
}

static void on_idle(void *user) {
    *(bool *)user = true;
}

static void drain(struct service *s) {
    bool idle = false;
    queue_drain(s->queue, on_idle, &idle);
    service_settle(s);
    if (!idle) queue_abandon(s->queue);
    service_settle(s);
}

void service_close(struct service *s, bool gracefully) {
    bool blobs = s->blobs == NULL, store = s->store == NULL;
    if (gracefully && s->queue != NULL && !s->broken) drain(s);
    if (!blobs) blobs_close(s->blobs, on_closed, &blobs);
    if (!store) s->store->backend->close(s->store, on_closed, &store);
    net_loop_run(&s->loop);
    if (!blobs || !store) net_loop_run(&s->loop); /* on_broken stopped it */
    if (!blobs || !store) abort();
    if (s->queue != NULL) queue_free(s->queue);
    desk_free(s->desk);
    s->store = NULL;
    s->blobs = NULL;
    s->queue = NULL;
    s->desk = NULL;
    memset(s->runs, 0, sizeof s->runs);
    s->nruns = 0;
}

void service_end(struct service *s) {
    net_loop_close(&s->loop);
}

int64_t service_count(struct service *s, const char *sql) {
    char path[SERVICE_DIR_BYTES + 16];
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int64_t n = -1;
    snprintf(path, sizeof path, "%s/anyllm.db", s->dir);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW) n = sqlite3_column_int64(st, 0);
    } else {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}
