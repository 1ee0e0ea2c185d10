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

#define EVENTS(text) \
    {.raw = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" text}
#define STATE(state, more) "data: {\"status\":\"" state "\",\"request_id\":\"r1\"" more "}\n\n"
#define LOG(text) ",\"logs\":[{\"message\":\"" text "\",\"timestamp\":\"" text "\"}]"
#define STREAM_LINE(logs) \
    "GET /queue/fal-ai/any-llm/requests/r1/status/stream?logs=" logs " HTTP/1.1"

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

static void status_follow_prints_each_change_until_the_end(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        EVENTS(STATE("IN_QUEUE", ",\"queue_position\":2") STATE("IN_QUEUE", ",\"queue_position\":2")
                   STATE("IN_QUEUE", ",\"queue_position\":1") STATE("IN_PROGRESS", LOG("one"))
                       STATE("IN_PROGRESS", LOG("two")) STATE("COMPLETED", "")));
    struct program p;
    RUN(&p, "status", "--follow", "--logs", "--base", base_of(s), "r1");
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "in queue, 2 ahead\nin queue, 1 ahead\n  | one\nin progress\n"
                               "  | two\nin progress\ncompleted\n");
    assert_true(script_asked(s, 0, STREAM_LINE("1")));
    assert_int_equal(script_count(s), 1);
    script_stop(s);
}

static void status_follow_json_prints_a_line_for_each_event(void **state) {
    (void)state;
    struct script *s = SCRIPT(EVENTS(STATE("IN_PROGRESS", "") STATE("COMPLETED", "")));
    struct program p;
    RUN(&p, "status", "-f", "-j", "--base", base_of(s), "r1");
    assert_string_equal(p.out, "{\"status\":\"IN_PROGRESS\",\"request_id\":\"r1\"}\n"
                               "{\"status\":\"COMPLETED\",\"request_id\":\"r1\"}\n");
    script_stop(s);
}

static void result_wait_waits_and_fetches(void **state) {
    (void)state;
    struct script *s = SCRIPT(EVENTS(STATE("IN_QUEUE", "") STATE("COMPLETED", "")), ANSWER);
    struct program p;
    RUN(&p, "result", "--wait", "--base", base_of(s), "r1");
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "forty-two\n");
    assert_true(script_asked(s, 1, "GET /queue/fal-ai/any-llm/requests/r1 HTTP/1.1"));
    script_stop(s);
}

static void result_wait_over_its_time_is_exit_4_and_cancels_nothing(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true}, ANSWER);
    struct program p;
    RUN(&p, "result", "--wait", "--timeout", "0.2", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 4);
    assert_string_equal(p.out, "");
    assert_true(script_count(s) <= 1);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_prints_the_id),
        cmocka_unit_test(status_says_how_it_stands),
        cmocka_unit_test(status_follow_prints_each_change_until_the_end),
        cmocka_unit_test(status_follow_json_prints_a_line_for_each_event),
        cmocka_unit_test(result_wait_waits_and_fetches),
        cmocka_unit_test(result_wait_over_its_time_is_exit_4_and_cancels_nothing),
        cmocka_unit_test(result_and_cancel_say_what_the_server_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
