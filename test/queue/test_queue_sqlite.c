/* The queue on the real store and loop: full cycles, kill -9 in the middle of its work, a hundred thousand waiting. */
#include "queue/service.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void five_hundred_requests_complete_with_one_result_each(void **state) {
    struct service *s = *state;
    for (unsigned k = 0; k < 500; k++) service_submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->answered, 500);
    assert_int_equal(s->started, 500);
    for (unsigned k = 1; k <= 500; k += 7) {
        uint64_t n = service_ask(s, s->ids[k], 's');
        assert_int_equal(s->states[n], STORE_COMPLETED);
        assert_int_equal(s->nlogs[n], 1);
        assert_int_equal(s->http_status[service_ask(s, s->ids[k], 'r')], 200);
    }
    assert_int_equal(service_count(s, "SELECT count(*) FROM result"), 500);
    assert_int_equal(service_count(s, "SELECT count(*) FROM ledger"), 500);
}

static void cancel_waiting_running_and_done(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    s->capacity = 1;
    uint64_t running = service_submit(s, false), waiting = service_submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[service_ask(s, s->ids[waiting], 'c')], QUEUE_OK);
    assert_int_equal(s->http_status[service_ask(s, s->ids[waiting], 'r')], 499);
    assert_int_equal(s->codes[service_ask(s, s->ids[running], 'c')], QUEUE_OK);
    assert_true(s->runs[0].cancelled);
    net_defer(&s->loop, &s->runs[0].defer);
    net_loop_run(&s->loop);
    assert_int_equal(s->http_status[service_ask(s, s->ids[running], 'r')], 499);
    assert_int_equal(s->codes[service_ask(s, s->ids[running], 'c')], QUEUE_ALREADY_COMPLETED);
}

static void a_restart_takes_up_what_ran(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    for (unsigned k = 0; k < 10; k++) service_submit(s, k == 1);
    net_loop_run(&s->loop);
    assert_int_equal(s->nruns, 4);
    service_close(s); /* without a drain: as a crash leaves it */
    s->hold_runs = false;
    s->started = 0;
    service_open(s);
    net_loop_run(&s->loop);
    assert_true(s->ready_ok);
    assert_int_equal(s->started, 9);
    assert_int_equal(service_count(s, "SELECT count(*) FROM result WHERE http_status = 200"), 9);
    assert_int_equal(
        service_count(s, "SELECT count(*) FROM result WHERE error_type = 'runner_disconnected'"),
        1);
    assert_int_equal(service_count(s, "SELECT max(crashes) FROM request"), 1);
}

/* --- wishes, on the real clock and the real store */

static void a_start_timeout_goes_on_over_a_restart(void **state) {
    struct service *s = *state;
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .start_timeout_ms = 400};
    uint64_t began = uv_hrtime();
    s->capacity = 0;
    queue_submit(s->queue, &in, service_next(s));
    service_turn_until(s, &s->answered, 1);
    service_die(s);
    service_open(s);
    net_loop_run(&s->loop); /* until no timer is left */
    assert_true(uv_hrtime() - began >= 390 * 1000000ULL);
    assert_int_equal(s->http_status[service_ask(s, s->ids[1], 'r')], 504);
    assert_int_equal(
        service_count(s, "SELECT count(*) FROM result WHERE error_type = 'request_timeout'"
                         " AND http_status = 504 AND length(headers) > 60"),
        1);
}

static void without_storing_no_text_stays_and_a_sweep_forgets_the_rest(void **state) {
    struct service *s = *state;
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{\"prompt\":\"x\"}"),
                              .no_store = true};
    queue_submit(s->queue, &in, service_next(s));
    service_turn_until(s, &s->answered, 1);
    struct queue_stats stats = {0};
    for (; stats.completed == 0; queue_get_stats(s->queue, &stats))
        uv_run(&s->loop.uv, UV_RUN_ONCE);
    assert_int_equal(service_count(s, "SELECT count(*) FROM payload"), 0);
    assert_int_equal(service_count(s, "SELECT forget_ms - completed_ms FROM request"),
                     QUEUE_SHORT_KEEP_MS);
    service_die(s);
    sqlite3 *db;
    char path[128];
    snprintf(path, sizeof path, "%s/anyllm.db", s->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE request SET forget_ms = 1", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    service_open(s);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[service_ask(s, s->ids[1], 'r')], QUEUE_NOT_FOUND);
    assert_int_equal(
        service_count(s, "SELECT (SELECT count(*) FROM request) + (SELECT count(*) FROM result)"
                         " + (SELECT count(*) FROM log)"),
        0);
    assert_int_equal(service_count(s, "SELECT count(*) FROM ledger"), 1);
}

/* --- kill -9 */

static void run_child(struct service *s, int accepted, int runs) {
    if (net_loop_init(&s->loop) != 0) _exit(5);
    s->told = runs;
    service_open(s);
    net_loop_run(&s->loop);
    for (unsigned k = 0; k < 20; k++) service_submit(s, k % 5 == 0);
    for (uint64_t seen = 0;;) {
        uv_run(&s->loop.uv, UV_RUN_ONCE);
        for (; seen < s->answered; seen++)
            if (write(accepted, s->ids[seen + 1], STORE_ID_BYTES) != STORE_ID_BYTES) _exit(6);
    }
}

static void twenty_requests_survive_kill_9_in_the_middle(void **state) {
    struct service *s = *state;
    char ids[20][STORE_ID_BYTES];
    service_close(s);
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
        service_open(s);
        net_loop_run(&s->loop);
        assert_true(n > 0);
        for (size_t k = 0; k < n; k++) {
            uint64_t c = service_ask(s, ids[k], 'r');
            assert_int_equal(s->codes[c], QUEUE_OK);
            assert_true(s->http_status[c] == 200 || s->http_status[c] == 503);
        }
        assert_int_equal(service_count(s, "SELECT count(*) FROM request WHERE state <> 2"), 0);
        assert_int_equal(
            service_count(
                s,
                "SELECT count(*) FROM request LEFT JOIN result USING(seq) WHERE result.seq IS NULL"),
            0);
        assert_int_equal(
            service_count(
                s,
                "SELECT count(*) FROM result WHERE http_status = 503 AND seq NOT IN (SELECT seq FROM request WHERE no_retry)"),
            0);
        assert_int_equal(
            service_count(
                s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
            1);
        service_close(s);
    }
    service_open(s);
    net_loop_run(&s->loop);
}

static void a_hundred_thousand_waiting_are_loaded(void **state) {
    struct service *s = *state;
    char path[128];
    sqlite3 *db;
    service_close(s);
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
    service_open(s);
    net_loop_run(&s->loop);
    print_message("loaded 100,000 in %u ms\n", (unsigned)((uv_hrtime() - before) / 1000000));
    struct queue_stats stats;
    queue_get_stats(s->queue, &stats);
    assert_int_equal(stats.waiting, 100000);
    uint64_t n = service_submit(s, false);
    net_loop_run(&s->loop);
    assert_int_equal(s->codes[n], QUEUE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(five_hundred_requests_complete_with_one_result_each,
                                        service_setup, service_teardown),
        cmocka_unit_test_setup_teardown(cancel_waiting_running_and_done, service_setup,
                                        service_teardown),
        cmocka_unit_test_setup_teardown(a_restart_takes_up_what_ran, service_setup,
                                        service_teardown),
        cmocka_unit_test_setup_teardown(a_start_timeout_goes_on_over_a_restart, service_setup,
                                        service_teardown),
        cmocka_unit_test_setup_teardown(without_storing_no_text_stays_and_a_sweep_forgets_the_rest,
                                        service_setup, service_teardown),
        cmocka_unit_test_setup_teardown(twenty_requests_survive_kill_9_in_the_middle, service_setup,
                                        service_teardown),
        cmocka_unit_test_setup_teardown(a_hundred_thousand_waiting_are_loaded, service_setup,
                                        service_teardown),
    };
    srand((unsigned)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
