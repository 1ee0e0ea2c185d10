/* The queue on the real store and loop: full cycles, kill -9 in the middle of its work, a hundred thousand waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/queue.h"

#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CALLS 2048U
#define MAX_RUNS 64U

struct one_run {
    struct net_defer defer;
    struct service *s;
    uint64_t run;
    char id[STORE_ID_BYTES];
    bool busy, cancelled;
};

/* What serve does: store, queue and runner on one loop. Each run ends at the loop's next turn. */
struct service {
    char dir[64];
    struct net_loop loop;
    struct store *store;
    struct queue *queue;
    size_t capacity, nruns;
    unsigned started;
    struct one_run runs[MAX_RUNS];
    bool hold_runs, ready_ok, can_write;
    int told; /* pipe: one byte per run that begins; -1: none */
    /* answers */
    uint64_t calls, answered;
    enum queue_code codes[MAX_CALLS];
    char ids[MAX_CALLS][STORE_ID_BYTES];
    enum store_state states[MAX_CALLS];
    unsigned http_status[MAX_CALLS];
    size_t nlogs[MAX_CALLS];
};

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

static void store_done(void *user, uint64_t ticket, const struct store_reply *r) {
    queue_store_done(((struct service *)user)->queue, ticket, r);
}

static void store_health(void *user, bool can_write, const char *reason) {
    ((struct service *)user)->can_write = can_write;
    queue_store_health(((struct service *)user)->queue, can_write, reason);
}

static void open_service(struct service *s) {
    static char boot[UUID_BYTES];
    char reason[256] = "";
    struct store_options so = {.url = "sqlite:anyllm.db",
                               .dir = s->dir,
                               .loop = &s->loop,
                               .hooks = {store_done, store_health},
                               .user = s};
    random_uuid(&unpooled, boot);
    s->store = store_open(&so, reason, sizeof reason);
    if (s->store == NULL) fail_msg("%s", reason);
    struct queue_options qo = {
        .loop = &s->loop,
        .clock = &clock_system,
        .random = &unpooled,
        .store = s->store,
        .runner = {.capacity = capacity, .start = start, .cancel = stop, .user = s},
        .node = "node",
        .boot = boot,
        .alone = true};
    s->queue = queue_new(&qo);
    assert_non_null(s->queue);
    queue_start(s->queue, on_ready, s);
}

static void on_closed(void *user) {
    ((struct service *)user)->store = NULL;
}

static void close_service(struct service *s) {
    s->store->backend->close(s->store, on_closed, s);
    net_loop_run(&s->loop);
    assert_null(s->store);
    queue_free(s->queue);
    memset(s->runs, 0, sizeof s->runs);
    s->nruns = 0;
}

static int setup(void **state) {
    struct service *s = calloc(1, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%s/anyllm-queue.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(s->dir) == NULL || net_loop_init(&s->loop) != 0) return -1;
    s->capacity = 4;
    s->told = -1;
    open_service(s);
    net_loop_run(&s->loop);
    *state = s;
    return s->ready_ok ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    return remove(path);
}

static int teardown(void **state) {
    struct service *s = *state;
    close_service(s);
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

static struct queue_done next(struct service *s) {
    assert_true(s->calls + 1 < MAX_CALLS);
    return (struct queue_done){on_done, s, ++s->calls};
}

static uint64_t submit(struct service *s, bool no_retry) {
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .no_retry = no_retry};
    queue_submit(s->queue, &in, next(s));
    return s->calls;
}

static struct queue_find find(const char *id) {
    return (struct queue_find){slice_of(id), SLICE("app1"), SLICE("fal-ai/any-llm")};
}

static uint64_t ask(struct service *s, const char *id, char what) {
    struct queue_find f = find(id);
    if (what == 's') queue_status(s->queue, &f, true, next(s));
    if (what == 'r') queue_result(s->queue, &f, next(s));
    if (what == 'c') queue_cancel(s->queue, &f, next(s));
    net_loop_run(&s->loop);
    return s->calls;
}

static int64_t count(struct service *s, const char *sql) {
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

static void five_hundred_requests_complete_with_one_result_each(void **state) {
    struct service *s = *state;
    for (unsigned k = 0; k < 500; k++) submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->answered, 500);
    assert_int_equal(s->started, 500);
    for (unsigned k = 1; k <= 500; k += 7) {
        uint64_t n = ask(s, s->ids[k], 's');
        assert_int_equal(s->states[n], STORE_COMPLETED);
        assert_int_equal(s->nlogs[n], 1);
        assert_int_equal(s->http_status[ask(s, s->ids[k], 'r')], 200);
    }
    assert_int_equal(count(s, "SELECT count(*) FROM result"), 500);
    assert_int_equal(count(s, "SELECT count(*) FROM ledger"), 500);
}

static void cancel_waiting_running_and_done(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    s->capacity = 1;
    uint64_t running = submit(s, false), waiting = submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[ask(s, s->ids[waiting], 'c')], QUEUE_OK);
    assert_int_equal(s->http_status[ask(s, s->ids[waiting], 'r')], 499);
    assert_int_equal(s->codes[ask(s, s->ids[running], 'c')], QUEUE_OK);
    assert_true(s->runs[0].cancelled);
    net_defer(&s->loop, &s->runs[0].defer);
    net_loop_run(&s->loop);
    assert_int_equal(s->http_status[ask(s, s->ids[running], 'r')], 499);
    assert_int_equal(s->codes[ask(s, s->ids[running], 'c')], QUEUE_ALREADY_COMPLETED);
}

static void a_restart_takes_up_what_ran(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    for (unsigned k = 0; k < 10; k++) submit(s, k == 1);
    net_loop_run(&s->loop);
    assert_int_equal(s->nruns, 4);
    close_service(s); /* without a drain: as a crash leaves it */
    s->hold_runs = false;
    s->started = 0;
    open_service(s);
    net_loop_run(&s->loop);
    assert_true(s->ready_ok);
    assert_int_equal(s->started, 9);
    assert_int_equal(count(s, "SELECT count(*) FROM result WHERE http_status = 200"), 9);
    assert_int_equal(
        count(s, "SELECT count(*) FROM result WHERE error_type = 'runner_disconnected'"), 1);
    assert_int_equal(count(s, "SELECT max(crashes) FROM request"), 1);
}

/* --- wishes, on the real clock and the real store */

static void turn_until(struct service *s, const uint64_t *what, uint64_t value) {
    while (*what < value) uv_run(&s->loop.uv, UV_RUN_ONCE);
}

/* Without waiting for the queue's timers. */
static void die(struct service *s) {
    s->store->backend->close(s->store, on_closed, s);
    while (s->store != NULL) uv_run(&s->loop.uv, UV_RUN_ONCE);
    queue_free(s->queue);
    memset(s->runs, 0, sizeof s->runs);
    s->nruns = 0;
}

static void a_start_timeout_goes_on_over_a_restart(void **state) {
    struct service *s = *state;
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .start_timeout_ms = 400};
    uint64_t began = uv_hrtime();
    s->capacity = 0;
    queue_submit(s->queue, &in, next(s));
    turn_until(s, &s->answered, 1);
    die(s);
    open_service(s);
    net_loop_run(&s->loop); /* until no timer is left */
    assert_true(uv_hrtime() - began >= 390 * 1000000ULL);
    assert_int_equal(s->http_status[ask(s, s->ids[1], 'r')], 504);
    assert_int_equal(count(s, "SELECT count(*) FROM result WHERE error_type = 'request_timeout'"
                              " AND http_status = 504 AND length(headers) > 60"),
                     1);
}

static void without_storing_no_text_stays_and_a_sweep_forgets_the_rest(void **state) {
    struct service *s = *state;
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .no_store = true};
    queue_submit(s->queue, &in, next(s));
    turn_until(s, &s->answered, 1);
    struct queue_stats stats = {0};
    for (; stats.completed == 0; queue_get_stats(s->queue, &stats))
        uv_run(&s->loop.uv, UV_RUN_ONCE);
    assert_int_equal(count(s, "SELECT count(*) FROM payload"), 0);
    assert_int_equal(count(s, "SELECT forget_ms - completed_ms FROM request"), QUEUE_SHORT_KEEP_MS);
    die(s);
    sqlite3 *db;
    char path[128];
    snprintf(path, sizeof path, "%s/anyllm.db", s->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE request SET forget_ms = 1", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    open_service(s);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[ask(s, s->ids[1], 'r')], QUEUE_NOT_FOUND);
    assert_int_equal(count(s,
                           "SELECT (SELECT count(*) FROM request) + (SELECT count(*) FROM result)"
                           " + (SELECT count(*) FROM log)"),
                     0);
    assert_int_equal(count(s, "SELECT count(*) FROM ledger"), 1);
}

/* --- kill -9 */

static void run_child(struct service *s, int accepted, int runs) {
    if (net_loop_init(&s->loop) != 0) _exit(5);
    s->told = runs;
    open_service(s);
    net_loop_run(&s->loop);
    for (unsigned k = 0; k < 20; k++) submit(s, k % 5 == 0);
    for (uint64_t seen = 0;;) {
        uv_run(&s->loop.uv, UV_RUN_ONCE);
        for (; seen < s->answered; seen++)
            if (write(accepted, s->ids[seen + 1], STORE_ID_BYTES) != STORE_ID_BYTES) _exit(6);
    }
}

static void twenty_requests_survive_kill_9_in_the_middle(void **state) {
    struct service *s = *state;
    char ids[20][STORE_ID_BYTES];
    close_service(s);
    for (unsigned round = 0; round < 12; round++) {
        int pipes[2], runs[2];
        size_t n = 0;
        assert_int_equal(pipe(pipes), 0);
        assert_int_equal(pipe(runs), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) run_child(s, pipes[1], runs[1]);
        close(pipes[1]);
        close(runs[1]);
        char byte;
        for (unsigned k = 0; k <= round; k++) assert_int_equal(read(runs[0], &byte, 1), 1);
        usleep((unsigned)rand() % 2000);
        kill(pid, SIGKILL);
        while (n < 20 && read(pipes[0], ids[n], STORE_ID_BYTES) == STORE_ID_BYTES) n++;
        waitpid(pid, NULL, 0);
        close(pipes[0]);
        close(runs[0]);
        s->calls = s->answered = 0;
        open_service(s);
        net_loop_run(&s->loop);
        assert_true(n > 0);
        for (size_t k = 0; k < n; k++) {
            uint64_t c = ask(s, ids[k], 'r');
            assert_int_equal(s->codes[c], QUEUE_OK);
            assert_true(s->http_status[c] == 200 || s->http_status[c] == 503);
        }
        assert_int_equal(count(s, "SELECT count(*) FROM request WHERE state <> 2"), 0);
        assert_int_equal(
            count(
                s,
                "SELECT count(*) FROM request LEFT JOIN result USING(seq) WHERE result.seq IS NULL"),
            0);
        assert_int_equal(
            count(
                s,
                "SELECT count(*) FROM result WHERE http_status = 503 AND seq NOT IN (SELECT seq FROM request WHERE no_retry)"),
            0);
        assert_int_equal(
            count(s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
            1);
        close_service(s);
    }
    open_service(s);
    net_loop_run(&s->loop);
}

static void a_hundred_thousand_waiting_are_loaded(void **state) {
    struct service *s = *state;
    char path[128];
    sqlite3 *db;
    close_service(s);
    snprintf(path, sizeof path, "%s/anyllm.db", s->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(
            db,
            "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
            " INSERT INTO request(seq, id, priority, no_retry, endpoint, owner, webhook, created_ms)"
            " SELECT i, printf('%08x-0000-4000-8000-%012x', i * 2654435761 % 4294967296, i), 0, 0,"
            " 'fal-ai/any-llm', 'app1', '', i FROM n",
            NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    s->capacity = 0;
    uint64_t before = uv_hrtime();
    open_service(s);
    net_loop_run(&s->loop);
    print_message("loaded 100,000 in %u ms\n", (unsigned)((uv_hrtime() - before) / 1000000));
    struct queue_stats stats;
    queue_get_stats(s->queue, &stats);
    assert_int_equal(stats.waiting, 100000);
    uint64_t n = submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[n], QUEUE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(five_hundred_requests_complete_with_one_result_each, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(cancel_waiting_running_and_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_takes_up_what_ran, setup, teardown),
        cmocka_unit_test_setup_teardown(a_start_timeout_goes_on_over_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(without_storing_no_text_stays_and_a_sweep_forgets_the_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(twenty_requests_survive_kill_9_in_the_middle, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_hundred_thousand_waiting_are_loaded, setup, teardown),
    };
    srand((unsigned)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
