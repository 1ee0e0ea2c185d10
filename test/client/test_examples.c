/* The examples of the documents, as built, against a scripted server. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void example_subscribe_prints_logs_and_answer(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 200, .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\"}"},
        {.status = 202,
         .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"loading\"}]}"},
        {.status = 200, .body = "{\"status\":\"COMPLETED\",\"logs\":[{\"message\":\"loading\"}]}"},
        {.status = 200, .body = "{\"output\":\"42\"}"});
    struct program p;
    char base[80], key[] = "FAL_KEY=kid:ksecret";
    snprintf(base, sizeof(base), "FAL_BASE_URL=%s", script_base(s));
    program_begin(&p, EXAMPLE_SUBSCRIBE, "", -1, ENV(base, key), ARGV(NULL));
    program_end(&p);
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "{\"output\":\"42\"}\n");
    assert_string_equal(p.err, "loading\n");
    assert_true(script_has_header(s, 0, "Authorization: Key kid:ksecret"));
    expect_in(script_request(s, 0), "What is the meaning of life?");
    script_stop(s);
}

static void example_run_prints_answer_or_error(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 200, .body = "{\"output\":\"Paris\"}"},
                              {.status = 401, .body = "{\"detail\":\"invalid key credentials\"}"});
    struct program p;
    char base[80];
    snprintf(base, sizeof(base), "FAL_BASE_URL=%s", script_base(s));
    program_begin(&p, EXAMPLE_RUN, "", -1, ENV(base), ARGV(NULL));
    program_end(&p);
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "Paris\n");
    program_begin(&p, EXAMPLE_RUN, "", -1, ENV(base), ARGV(NULL));
    program_end(&p);
    assert_int_equal(p.code, 1);
    assert_string_equal(p.err, "the server answered with an error: invalid key credentials\n");
    script_stop(s);
}

/* Three calls at once, in each kind of loop. */
static void expect_three_answers(const char *path) {
    struct script *s = SCRIPT({.status = 200, .body = "{\"output\":\"a\"}", .hold = 3},
                              {.status = 200, .body = "{\"output\":\"a\"}", .hold = 3},
                              {.status = 200, .body = "{\"output\":\"a\"}", .hold = 3},
                              {.status = 401, .body = "{\"detail\":\"no\"}"},
                              {.status = 401, .body = "{\"detail\":\"no\"}"},
                              {.status = 401, .body = "{\"detail\":\"no\"}"});
    struct program p;
    char base[80];
    snprintf(base, sizeof(base), "FAL_BASE_URL=%s", script_base(s));
    PROGRAM_RUN(&p, path, ENV(base), NULL);
    assert_string_equal(p.err, "");
    assert_string_equal(p.out, "{\"output\":\"a\"}\n{\"output\":\"a\"}\n{\"output\":\"a\"}\n");
    assert_int_equal(p.code, 0);
    assert_int_equal(script_connections(s), 3);
    PROGRAM_RUN(&p, path, ENV(base), NULL);
    expect_in(p.err, "the server answered with an error: no\n");
    assert_int_equal(p.code, 1);
    script_stop(s);
}

static void example_poll_loop_asks_three_at_once(void **state) {
    (void)state;
    expect_three_answers(EXAMPLE_POLL);
}

static void example_epoll_loop_asks_three_at_once(void **state) {
    (void)state;
    expect_three_answers(EXAMPLE_EPOLL);
}

static void example_uv_loop_asks_three_at_once(void **state) {
    (void)state;
    expect_three_answers(EXAMPLE_UV);
}

/* Nothing invalid is read and nothing is lost, as valgrind sees it; not under the sanitizers, which do not bear it. */
static void examples_are_clean_under_valgrind(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#else
    static const char valgrind[] = "/usr/bin/valgrind";
    static const char *const paths[] = {EXAMPLE_SUBSCRIBE, EXAMPLE_EPOLL};
    if (access(valgrind, X_OK) != 0) {
        skip();
    }
    for (size_t i = 0; i < 2; i++) {
        struct script *s = SCRIPT({.status = 200, .body = "{\"request_id\":\"r1\"}"},
                                  {.status = 200, .body = "{\"status\":\"COMPLETED\"}"},
                                  {.status = 200, .body = "{\"output\":\"42\"}"});
        struct program p;
        char base[80], path[512];
        snprintf(base, sizeof(base), "FAL_BASE_URL=%s", script_base(s));
        snprintf(path, sizeof(path), "%s", paths[i]);
        PROGRAM_RUN(&p, valgrind, ENV(base), "-q", "--leak-check=full",
                    "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=99", path);
        assert_string_equal(p.err, "");
        assert_int_equal(p.code, 0);
        script_stop(s);
    }
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_subscribe_prints_logs_and_answer),
        cmocka_unit_test(example_run_prints_answer_or_error),
        cmocka_unit_test(example_poll_loop_asks_three_at_once),
        cmocka_unit_test(example_epoll_loop_asks_three_at_once),
        cmocka_unit_test(example_uv_loop_asks_three_at_once),
        cmocka_unit_test(examples_are_clean_under_valgrind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
