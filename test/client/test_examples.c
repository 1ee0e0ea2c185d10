/* The examples of the documents, as built, against a scripted server. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_subscribe_prints_logs_and_answer),
        cmocka_unit_test(example_run_prints_answer_or_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
