#include "queue/service.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* random_system keeps a pool, which a fork would share. */
static void fill(void *user, void *out, size_t bytes) {
    assert_int_equal(getrandom(out, bytes, 0), (ssize_t)bytes);
}

static const struct random unpooled = {fill, NULL};

static size_t capacity(void *user, unsigned pool) {
    struct service *s = user;
    return s->capacity - s->nruns;
}

static void end_run(struct net_defer *d) {
    struct one_run *r = (struct one_run *)((char *)d - offsetof(struct one_run, defer));
    struct queue_outcome o = {
        .http_status = 200,
        .body = SLICE("{\"output\":\"42\"}"),
        .retry_after_ms = -1,
        .usage = {.present = true, .upstream = SLICE("u"), .model = SLICE("m")}};
    queue_run_log(r->s->queue, r->run, "INFO", SLICE("ran"));
    r->busy = false;
    r->s->nruns--;
    queue_run_done(r->s->queue, r->run, &o);
}

static void start(void *user, const struct queue_job *job) {
    struct service *s = user;
    struct one_run *r = s->runs;
    while (r->busy) r++;
    *r = (struct one_run){.s = s, .run = job->run, .busy = true, .defer = {.run = end_run}};
    memcpy(r->id, job->request_id, sizeof r->id);
    assert_true(slice_is(job->input, "{\"prompt\":\"x\"}"));
    s->nruns++;
    s->started++;
    if (s->told >= 0 && write(s->told, "r", 1) != 1) _exit(9);
    if (!s->hold_runs) net_defer(&s->loop, &r->defer);
}

static void stop(void *user, uint64_t run) {
    struct service *s = user;
    for (size_t k = 0; k < MAX_RUNS; k++)
        if (s->runs[k].busy && s->runs[k].run == run) s->runs[k].cancelled = true;
}

static void on_ready(void *user, bool ok) {
    ((struct service *)user)->ready_ok = ok;
}

static void other_done(struct service *s, const struct store_reply *r) {
    s->others++;
    s->other = r->status;
    for (s->nliving = 0; s->nliving < r->nliving && s->nliving < 4; s->nliving++) {
        memcpy(s->living[s->nliving], r->living[s->nliving].boot, STORE_ID_BYTES);
        s->beats[s->nliving] = r->living[s->nliving].beat;
    }
}

enum store_status service_other(struct service *s) {
    for (unsigned before = s->others; s->others == before;) uv_run(&s->loop.uv, UV_RUN_ONCE);
    return s->other;
}

static void store_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct service *s = user;
    if (ticket == SERVICE_OTHER)
        other_done(s, r);
    else if (s->queue != NULL)
        queue_store_done(s->queue, ticket, r);
}

static void on_lost(void *user, size_t runs) {
    struct service *s = user;
    s->lost += runs;
    s->buried++;
}

static void store_health(void *user, bool can_write, const char *reason) {
    struct service *s = user;
    s->can_write = can_write;
    if (s->queue != NULL) queue_store_health(s->queue, can_write, reason);
}

void service_open(struct service *s) {
    char reason[256] = "";
    struct store_options so = {.url = "sqlite:anyllm.db",
                               .dir = s->dir,
                               .loop = &s->loop,
                               .hooks = {store_done, store_health},
                               .user = s};
    random_uuid(&unpooled, s->boot);
    s->store = store_open(&so, reason, sizeof reason);
    if (s->store == NULL) fail_msg("%s", reason);
    struct queue_options qo = {
        .loop = &s->loop,
        .clock = &clock_system,
        .random = &unpooled,
        .store = s->store,
        .runner = {.capacity = capacity, .start = start, .cancel = stop, .user = s},
        .node = "node",
        .boot = s->boot,
        .alone = s->lease_ms == 0,
        .lease_ms = s->lease_ms,
        .heartbeat_ms = s->lease_ms / 6,
        .scan_ms = s->lease_ms / 6,
        .on_lost = on_lost,
        .lost_user = s};
    s->queue = queue_new(&qo);
    assert_non_null(s->queue);
    queue_start(s->queue, on_ready, s);
}

static void on_closed(void *user) {
    ((struct service *)user)->store = NULL;
}

void service_close(struct service *s) {
    s->store->backend->close(s->store, on_closed, s);
    net_loop_run(&s->loop);
    assert_null(s->store);
    queue_free(s->queue);
    memset(s->runs, 0, sizeof s->runs);
    s->nruns = 0;
}

int service_setup(void **state) {
    struct service *s = calloc(1, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%s/anyllm-queue.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(s->dir) == NULL || net_loop_init(&s->loop) != 0) return -1;
    s->capacity = 4;
    s->told = -1;
    service_open(s);
    net_loop_run(&s->loop);
    *state = s;
    return s->ready_ok ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    return remove(path);
}

int service_teardown(void **state) {
    struct service *s = *state;
    service_die(s);
    net_loop_close(&s->loop);
    nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

static void on_done(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct service *s = user;
    s->answered++;
    s->codes[ticket] = r->code;
    s->states[ticket] = r->state;
    s->nlogs[ticket] = r->nlogs;
    snprintf(s->ids[ticket], STORE_ID_BYTES, "%s", r->id);
    if (r->row != NULL) s->http_status[ticket] = r->row->http_status;
}

struct queue_done service_next(struct service *s) {
    assert_true(s->calls + 1 < MAX_CALLS);
    return (struct queue_done){on_done, s, ++s->calls};
}

uint64_t service_submit(struct service *s, bool no_retry) {
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .no_retry = no_retry};
    queue_submit(s->queue, &in, service_next(s));
    return s->calls;
}

static struct queue_find find(const char *id) {
    return (struct queue_find){slice_of(id), SLICE("app1"), SLICE("fal-ai/any-llm")};
}

uint64_t service_ask(struct service *s, const char *id, char what) {
    struct queue_find f = find(id);
    if (what == 's') queue_status(s->queue, &f, true, service_next(s));
    if (what == 'r') queue_result(s->queue, &f, service_next(s));
    if (what == 'c') queue_cancel(s->queue, &f, service_next(s));
    uint64_t call = s->calls;
    if (s->lease_ms == 0) net_loop_run(&s->loop);
    service_turn_until(s, &s->answered, call);
    return call;
}

int64_t service_count(struct service *s, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/anyllm.db", s->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

void service_turn_until(struct service *s, const uint64_t *what, uint64_t value) {
    while (*what < value) uv_run(&s->loop.uv, UV_RUN_ONCE);
}

/* Without waiting for the queue's timers. */
void service_die(struct service *s) {
    queue_free(s->queue); /* first: its timers would give more to a store that closes */
    s->queue = NULL;
    s->store->backend->close(s->store, on_closed, s);
    while (s->store != NULL) uv_run(&s->loop.uv, UV_RUN_ONCE);
    memset(s->runs, 0, sizeof s->runs);
    s->nruns = 0;
}
