/* Two servers over one real store: the one under test, and another one that the test plays by operations of its own. */
#include "itself.h"
#include "queue/service.h"

#include <stdio.h>
#include <string.h>

#define LEASE_MS 600U
#define OTHER "11111111-2222-4333-8444-555555555555"
#define TOKEN 77U

/* Gives one operation of the other server and waits for its answer. */
#define GIVE(s, name, ...)                                                            \
    ((s)->store->backend->name((s)->store, SERVICE_OTHER __VA_OPT__(, ) __VA_ARGS__), \
     service_other(s))

static int setup(void **state) {
    if (service_setup(state) != 0) return -1;
    struct service *s = *state;
    service_die(s);
    s->lease_ms = LEASE_MS;
    s->ready_ok = false;
    service_open(s);
    while (!s->ready_ok) uv_run(&s->loop.uv, UV_RUN_ONCE);
    return GIVE(s, join, "other", OTHER, false, 1) == STORE_OK ? 0 : -1;
}

/* Waits until the query gives this number. */
static void until(struct service *s, const char *sql, int64_t n) {
    while (service_count(s, sql) != n) {
        uv_run(&s->loop.uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

/* A request of ours whose waiting the other server ends: it runs it. */
static void other_runs_one(struct service *s) {
    s->capacity = 0;
    uint64_t n = service_submit(s, false);
    service_turn_until(s, &s->answered, n);
    struct store_lease lease = {.node = "other", .boot = OTHER, .token = TOKEN};
    assert_int_equal(GIVE(s, claim, s->ids[n], 0, &lease, 2), STORE_OK);
}

static struct store_complete result_of_other(struct service *s) {
    return (struct store_complete){.id = s->ids[1],
                                   .attempt = 1,
                                   .token = TOKEN,
                                   .http_status = 200,
                                   .body = SLICE("\"of the other\""),
                                   .usage = {.present = true, .upstream = SLICE("u")}};
}

static void one_result_and_one_charge(struct service *s, const char *body) {
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM result WHERE CAST(body AS TEXT) = '%s'", body);
    assert_int_equal(service_count(s, "SELECT count(*) FROM result"), 1);
    assert_int_equal(service_count(s, sql), 1);
    assert_int_equal(service_count(s, "SELECT count(*) FROM ledger"), 1);
}

static const struct store_backend *real;
static struct store_backend counting;
static unsigned looks;

static void count_look(struct store *s, uint64_t ticket) {
    looks++;
    real->nodes(s, ticket);
}

static void count_looks(struct service *s) {
    real = s->store->backend;
    counting = *real;
    counting.nodes = count_look;
    s->store->backend = &counting;
}

/* The second is given once the first was answered, and a burial that came of it before: what the test gives then comes
 * after it. Two are less than a lease, however slow the machine: a look counts for two pauses between looks at most. */
static void two_looks(struct service *s) {
    unsigned before = looks;
    while (looks - before < 2) uv_run(&s->loop.uv, UV_RUN_ONCE);
}

/* --- the other one is silent, beats, leaves */

static void what_a_silent_server_ran_is_taken_over_once_its_lease_is_over(void **state) {
    struct service *s = *state;
    uint64_t began = uv_hrtime();
    other_runs_one(s);
    s->capacity = 4;
    queue_wake(s->queue);
    until(s, "SELECT count(*) FROM request WHERE state = 2", 1);
    assert_true(uv_hrtime() - began >= LEASE_MS * 1000000ULL * 5 / 6);
    struct store_complete late = result_of_other(s);
    assert_int_equal(GIVE(s, beat, OTHER, 3), STORE_STALE);
    assert_int_equal(GIVE(s, complete, &late), STORE_STALE);
    one_result_and_one_charge(s, "{\"output\":\"42\"}");
    assert_int_equal(service_count(s, "SELECT crashes * 10 + attempt FROM request"), 12);
}

static void what_a_server_that_beats_runs_is_left_to_it(void **state) {
    struct service *s = *state;
    other_runs_one(s);
    s->capacity = 4;
    queue_wake(s->queue);
    count_looks(s);
    for (unsigned i = 0; i < 9; i++) { /* three leases */
        two_looks(s);
        assert_int_equal(GIVE(s, beat, OTHER, 3), STORE_OK);
    }
    assert_int_equal(s->started, 0);
    struct store_complete c = result_of_other(s);
    assert_int_equal(GIVE(s, complete, &c), STORE_OK);
    one_result_and_one_charge(s, "\"of the other\"");
    uint64_t n = service_ask(s, s->ids[1], 'r');
    assert_int_equal(s->http_status[n], 200);
}

static void what_a_server_leaves_behind_is_taken_over_at_the_next_look(void **state) {
    struct service *s = *state;
    other_runs_one(s);
    s->capacity = 4;
    queue_wake(s->queue);
    for (uint64_t began = uv_hrtime(); uv_hrtime() - began < LEASE_MS * 1000000ULL / 3;)
        uv_run(&s->loop.uv, UV_RUN_ONCE); /* a look has met it */
    assert_int_equal(s->started, 0);
    assert_int_equal(GIVE(s, leave, OTHER), STORE_OK);
    until(s, "SELECT count(*) FROM request WHERE state = 2", 1);
    one_result_and_one_charge(s, "{\"output\":\"42\"}");
}

/* --- we are the silent one */

static void bury_us(struct service *s) {
    for (;;) { /* its beat may move between the look and the burial */
        assert_int_equal(GIVE(s, nodes), STORE_OK);
        for (size_t k = 0; k < s->nliving; k++)
            if (strcmp(s->living[k], OTHER) != 0 &&
                GIVE(s, bury, s->living[k], s->beats[k]) == STORE_OK)
                return;
    }
}

static void a_buried_server_gives_up_its_runs_and_takes_them_up_anew(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    for (unsigned k = 0; k < 3; k++) service_submit(s, false);
    while (s->nruns < 3) uv_run(&s->loop.uv, UV_RUN_ONCE);
    bury_us(s);
    while (s->buried == 0) uv_run(&s->loop.uv, UV_RUN_ONCE);
    assert_int_equal(s->lost, 3);
    for (unsigned k = 0; k < 3; k++) {
        assert_true(s->runs[k].cancelled);
        net_defer(&s->loop, &s->runs[k].defer); /* its result comes all the same: late */
    }
    s->hold_runs = false;
    until(s, "SELECT count(*) FROM request WHERE state = 2", 3);
    assert_int_equal(service_count(s, "SELECT count(*) FROM ledger"), 3);
    assert_int_equal(service_count(s, "SELECT count(*) FROM ledger WHERE attempt = 2"), 3);
    assert_int_equal(service_count(s, "SELECT count(*) FROM result WHERE http_status = 200"), 3);
    assert_int_equal(GIVE(s, nodes), STORE_OK);
    assert_int_equal(s->nliving, 2);
    for (unsigned k = 0; k < 2; k++) assert_string_not_equal(s->living[k], s->boot);
}

/* The other one was faster than our next beat. */
static void what_was_taken_from_a_buried_server_is_left_to_its_new_holder(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    uint64_t n = service_submit(s, false);
    while (s->nruns < 1) uv_run(&s->loop.uv, UV_RUN_ONCE);
    struct store_lease lease = {.node = "other", .boot = OTHER, .token = TOKEN};
    bury_us(s);
    assert_int_equal(GIVE(s, claim, s->ids[n], 1, &lease, 2), STORE_OK);
    net_defer(&s->loop, &s->runs[0].defer); /* our result, before we know */
    while (s->buried == 0) uv_run(&s->loop.uv, UV_RUN_ONCE);
    struct store_complete c = result_of_other(s);
    c.attempt = 2;
    assert_int_equal(GIVE(s, complete, &c), STORE_OK);
    one_result_and_one_charge(s, "\"of the other\"");
    n = service_ask(s, s->ids[n], 'r');
    assert_int_equal(s->http_status[n], 200);
}

static void a_cancel_that_another_server_marks_reaches_the_run(void **state) {
    struct service *s = *state;
    s->hold_runs = true;
    uint64_t n = service_submit(s, false);
    while (s->nruns < 1) uv_run(&s->loop.uv, UV_RUN_ONCE);
    assert_int_equal(GIVE(s, request_cancel, s->ids[n], 3), STORE_OK);
    while (!s->runs[0].cancelled) uv_run(&s->loop.uv, UV_RUN_ONCE);
    net_defer(&s->loop, &s->runs[0].defer);
    until(s, "SELECT count(*) FROM result WHERE error_type = 'client_cancelled'", 1);
    assert_int_equal(service_count(s, "SELECT count(*) FROM cancelled"), 0);
}

static void planted_faults_are_found(void **state) {
    static const char *const faults[][2] = {
        {"no-lease-check", "what_a_server_that_beats_runs_is_left_to_it"},
        {"late-write", "what_was_taken_from_a_buried_server_is_left_to_its_new_holder"},
    };
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        assert_int_equal(run_itself("", faults[i][1]), 0);
        assert_int_equal(run_itself(faults[i][0], faults[i][1]), 1);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, service_teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        T(what_a_silent_server_ran_is_taken_over_once_its_lease_is_over),
        T(what_a_server_that_beats_runs_is_left_to_it),
        T(what_a_server_leaves_behind_is_taken_over_at_the_next_look),
        T(a_buried_server_gives_up_its_runs_and_takes_them_up_anew),
        T(what_was_taken_from_a_buried_server_is_left_to_its_new_holder),
        T(a_cancel_that_another_server_marks_reaches_the_run),
        cmocka_unit_test(planted_faults_are_found),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
