/* submit, status, result, cancel of the built program against a scripted server. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define QUEUED "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0}"
#define SUBMITTED {.status = 200, .body = QUEUED}
#define WAITING \
    {.status = 202, .body = "{\"status\":\"IN_QUEUE\",\"queue_position\":3,\"logs\":null}"}
#define RUNNING     \
    {.status = 202, \
     .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"route: \\u001b[2J local\"}]}"}
#define ANSWER {.status = 200, .body = "{\"output\":\"forty-two\",\"partial\":false}"}

#define RUN(p, ...) PROGRAM_RUN((p), ANYLLM_BINARY, no_environment, __VA_ARGS__)

static char *const no_environment[] = {NULL};

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

static void submit_prints_the_id(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, SUBMITTED);
    struct program p;
    RUN(&p, "submit", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "r1\n");
    RUN(&p, "submit", "--json", "--base", base_of(s), "What?");
    assert_string_equal(p.out, QUEUED "\n");
    script_stop(s);
}

static void status_says_how_it_stands(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        WAITING, RUNNING,
        {.status = 200, .body = "{\"status\":\"COMPLETED\",\"error\":\"cancelled\"}"},
        {.status = 404, .body = "{\"status\":\"NOT_FOUND\"}"});
    struct program p;
    RUN(&p, "status", "--base", base_of(s), "r1");
    assert_string_equal(p.out, "in queue, 3 ahead\n");
    RUN(&p, "status", "--logs", "--base", base_of(s), "r1");
    assert_string_equal(p.out, "  | route: ?[2J local\nin progress\n");
    assert_true(script_asked(s, 1, "GET /queue/fal-ai/any-llm/requests/r1/status?logs=1 HTTP/1.1"));
    RUN(&p, "status", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "completed, failed: cancelled\n");
    RUN(&p, "status", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 1);
    assert_string_equal(p.err, "anyllm status: HTTP 404 NOT_FOUND (request r1)\n");
    script_stop(s);
}

static void result_and_cancel_say_what_the_server_says(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        ANSWER, {.status = 200, .body = "[1,2]"},
        {.status = 400, .body = "{\"detail\":\"Request is still in progress\"}"},
        {.status = 202, .body = "{\"status\":\"CANCELLATION_REQUESTED\"}"},
        {.status = 400, .body = "{\"status\":\"ALREADY_COMPLETED\"}"});
    struct program p;
    RUN(&p, "result", "--base", base_of(s), "r1");
    assert_string_equal(p.out, "forty-two\n");
    RUN(&p, "result", "--base", base_of(s), "r1");
    assert_string_equal(p.out, "[1,2]\n");
    RUN(&p, "result", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 1);
    expect_in(p.err, "Request is still in progress");
    RUN(&p, "cancel", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "CANCELLATION_REQUESTED\n");
    RUN(&p, "cancel", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 1);
    expect_in(p.err, "ALREADY_COMPLETED");
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_prints_the_id),
        cmocka_unit_test(status_says_how_it_stands),
        cmocka_unit_test(result_and_cancel_say_what_the_server_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
