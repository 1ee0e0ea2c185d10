/* docs/bad-input.md U27: an upstream that is gone is left alone, and found again. */
#include "call_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct got g;

static struct llm_upstream_stats stats(struct rig *r, size_t i) {
    struct llm_upstream_stats s;
    llm_get_stats(r->m, i, &s);
    return s;
}

static void fail_calls(struct rig *r, size_t n, enum llm_fault want) {
    for (size_t i = 0; i < n; i++) {
        rig_call(r, &g, "direct");
        assert_int_equal(g.fault, want);
        got_free(&g);
    }
    rig_turns(r, 30); /* a knock, where there is one */
}

static void until_capacity(struct rig *r, size_t want) {
    for (int i = 0; i < 400 && llm_capacity(r->m) != want; i++) rig_turns(r, 25);
    assert_int_equal(llm_capacity(r->m), want);
}

static void expect_refused(struct rig *r, const char *how, enum llm_fault want) {
    struct llm_request q = rig_request(how);
    struct llm_error err = {0};
    got_init(&g, r);
    assert_null(llm_start(r->m, &q, &rig_end_only, &g, &err));
    assert_int_equal(err.fault, want);
    assert_int_equal(err.retry_after_ms, 5000);
    assert_true(err.message.len > 0);
    assert_true(llm_fault_info(err.fault)->retryable);
    got_free(&g);
}

static void u27_nothing_is_sent_to_an_upstream_that_is_gone(void **state) {
    static const char *const paths[] = {RIG_NOBODY, "/status/503/v1"};
    static const enum llm_fault faults[] = {LLM_CONNECT, LLM_UPSTREAM_OVERLOADED};
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        rig_open_one(&r, paths[i]);
        fail_calls(&r, 4, faults[i]);
        assert_int_equal(llm_capacity(r.m), 64);
        fail_calls(&r, 1, faults[i]);
        unsigned pool = llm_pool(r.m, SLICE(RIG_MODEL), false, false);
        until_capacity(&r, 0);
        assert_int_equal(llm_pool_capacity(r.m, pool), 0);
        assert_false(stats(&r, 0).able);
        expect_refused(&r, "direct", faults[i]);
        expect_refused(&r, "queue", faults[i]);
        assert_int_equal(stats(&r, 0).calls, 5);
        rig_close(&r);
    }
}

/* /error-in-stream answers a knock: it lives, only these requests fail. */
static void u27_requests_that_fail_do_not_shut_out_others(void **state) {
    struct rig r;
    rig_open_one(&r, "/error-in-stream/v1");
    fail_calls(&r, 9, LLM_UPSTREAM_ERROR);
    assert_int_equal(stats(&r, 0).calls, 9);
    assert_int_equal(llm_capacity(r.m), 64);
    rig_close(&r);
}

/* Waiting heals no wrong key: each caller is told. */
static void u27_wrong_keys_open_nothing(void **state) {
    struct rig r;
    rig_open_one(&r, "/status/401/v1");
    fail_calls(&r, 7, LLM_CREDENTIALS);
    assert_int_equal(stats(&r, 0).calls, 7);
    rig_close(&r);
}

static void u27_another_upstream_answers_meanwhile(void **state) {
    struct rig r;
    const char *paths[] = {RIG_NOBODY, "/v1"};
    rig_open(&r, paths, 2);
    for (int i = 0; i < 12; i++) {
        rig_call(&r, &g, i % 2 ? "direct" : "queue");
        assert_int_equal(g.fault, LLM_OK);
        assert_string_equal(g.upstream, "u1");
        got_free(&g);
    }
    assert_int_equal(stats(&r, 0).calls, 5);
    until_capacity(&r, 64);
    rig_close(&r);
}

static pid_t mock_on(uint16_t port) {
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    pid_t pid = fork();
    if (pid != 0) return pid;
    const char *program = getenv("MOCKLLM");
    execl(program, program, "--port", text, "--die-with-parent", (char *)NULL);
    _exit(127);
}

static void u27_it_is_found_again_when_it_is_back(void **state) {
    struct rig r;
    rig_open_one(&r, RIG_NOBODY);
    fail_calls(&r, 5, LLM_CONNECT);
    until_capacity(&r, 0);
    expect_refused(&r, "queue", LLM_CONNECT);
    pid_t pid = mock_on(r.upstreams[0].port);
    size_t told = r.capacity_calls;
    until_capacity(&r, 64);
    rig_turns(&r, 1);
    assert_true(r.capacity_calls > told);
    assert_int_equal(stats(&r, 0).calls, 5);
    rig_call(&r, &g, "queue");
    assert_int_equal(g.fault, LLM_OK);
    got_free(&g);
    rig_close(&r);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

static int start(void **state) {
    return mock_start(NULL);
}

static int stop(void **state) {
    mock_stop();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u27_nothing_is_sent_to_an_upstream_that_is_gone),
        cmocka_unit_test(u27_requests_that_fail_do_not_shut_out_others),
        cmocka_unit_test(u27_wrong_keys_open_nothing),
        cmocka_unit_test(u27_another_upstream_answers_meanwhile),
        cmocka_unit_test(u27_it_is_found_again_when_it_is_back),
    };
    return cmocka_run_group_tests_name("llm/breaker", tests, start, stop);
}
