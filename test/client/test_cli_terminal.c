/* `anyllm run` and `stream` on a terminal, against a scripted server: the line that says how things stand, the answer as it
 * grows, Ctrl-C. */
#include "client/program.h"
#include "client/pty.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SUBMITTED \
    {.status = 200, .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0}"}
#define WAITING \
    {.status = 202, .body = "{\"status\":\"IN_QUEUE\",\"queue_position\":3,\"logs\":null}"}
#define ROUTE "{\"message\":\"upstream lab answers a/b\"}"
#define ENGINE "{\"message\":\"waiting for the engine: \\u001b[2Jloading\"}"
#define RUNNING \
    {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[" ROUTE "," ENGINE "]}"}
#define COMPLETED                                                         \
    {.status = 200,                                                       \
     .body = "{\"status\":\"COMPLETED\",\"logs\":[" ROUTE "," ENGINE "]," \
             "\"metrics\":{\"inference_time\":2.0}}"}
#define ANSWER      \
    {.status = 200, \
     .body = "{\"output\":\"forty-\\u001b[2Jtwo\",\"usage\":{\"completion_tokens\":84}}"}
#define WHOLE_WAY SUBMITTED, WAITING, RUNNING, COMPLETED, ANSWER

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define PIECE(text) "data: {\"output\":\"" text "\",\"partial\":true}\n\n"
#define LAST(text)                                      \
    "data: {\"output\":\"" text "\",\"partial\":false," \
    "\"usage\":{\"completion_tokens\":7}}\n\n"

static char plain_terminal[] = "TERM=xterm", dumb_terminal[] = "TERM=dumb",
            no_colour[] = "NO_COLOR=1";

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

static void on_terminal(struct pty *p, char *const *env, char *const *argv) {
    pty_start(p, ANYLLM_BINARY, env, argv);
}

/* ---- The line ---- */

static void the_line_says_place_and_model_and_goes_away(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_expect(&p, "in queue, 3 ahead");
    pty_expect(&p, "\r\033[K");
    pty_expect(&p, "a/b: waiting for the engine: ?[2Jloading");
    pty_expect(&p, "\r\033[Kforty-?[2Jtwo\r\n");
    pty_expect(&p, "a/b: 84 tokens, 42.0 tokens per second, ");
    pty_end(&p);
    assert_int_equal(p.code, 0);
    script_stop(s);
}

static void the_model_that_was_asked_for_stands_there_at_once(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(plain_terminal),
                ARGV("run", "--no-stream", "-m", "x/y", "--base", base_of(s), "What?"));
    pty_expect(&p, "x/y: in queue, 3 ahead");
    pty_end(&p);
    script_stop(s);
}

static void no_colour_is_no_colour(void **state) {
    (void)state;
    struct pty p;
    struct script *s = SCRIPT(WHOLE_WAY);
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_end(&p);
    expect_in(p.text, "\033[2m");
    script_stop(s);
    s = SCRIPT(WHOLE_WAY);
    on_terminal(&p, ENV(plain_terminal, no_colour),
                ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_end(&p);
    expect_not_in(p.text, "m");
    script_stop(s);
}

/* A line for each change, and nothing that such a terminal would print. */
static void a_dumb_terminal_gets_plain_lines(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(dumb_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_end(&p);
    expect_in(p.text,
              "in queue\r\nin queue, 3 ahead\r\na/b: waiting for the engine: ?[2Jloading\r\n"
              "forty-?[2Jtwo\r\na/b: 84 tokens, ");
    expect_not_in(p.text, "\033");
    script_stop(s);
}

static void quiet_is_the_answer_alone(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(plain_terminal),
                ARGV("run", "--no-stream", "--quiet", "--base", base_of(s), "What?"));
    pty_end(&p);
    assert_string_equal(p.text, "forty-?[2Jtwo\r\n");
    script_stop(s);
}

static void a_long_line_is_cut_to_the_terminal(void **state) {
    (void)state;
    char model[200];
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    memset(model, 'x', sizeof(model) - 1);
    model[sizeof(model) - 1] = '\0';
    on_terminal(&p, ENV(plain_terminal, no_colour),
                ARGV("run", "--no-stream", "-m", model, "--base", base_of(s), "What?"));
    pty_end(&p);
    const char *line = strstr(p.text, "\033[K");
    assert_non_null(line);
    assert_int_equal(strspn(line + 3, "x"), 79);
    assert_int_equal(line[3 + 79], '\r');
    script_stop(s);
}

/* ---- The answer grows ---- */

static void a_terminal_sees_the_answer_grow(void **state) {
    (void)state;
    static const char events[] = STREAM PIECE("for") PIECE("forty-\\u001b[2Jt")
        LAST("forty-\\u001b[2Jtwo");
    struct script *s = SCRIPT({.raw = events, .drip = true, .drip_ms = 1});
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "-m", "x/y", "--base", base_of(s), "What?"));
    pty_expect(&p, "x/y: waiting");
    pty_expect(&p, "\r\033[Kfor");
    pty_expect(&p, "ty-?[2Jt");
    pty_expect(&p, "wo\r\n");
    pty_expect(&p, "x/y: 7 tokens, ");
    pty_expect(&p, " tokens per second, ");
    pty_end(&p);
    assert_int_equal(p.code, 0);
    assert_true(script_asked(s, 0, "POST /run/fal-ai/any-llm/stream HTTP/1.1"));
    script_stop(s);
}

/* The first piece is on the screen while the rest has not been sent. */
static void a_piece_is_shown_when_it_comes(void **state) {
    (void)state;
    static const char events[] = STREAM PIECE("for");
    struct script *s = SCRIPT({.raw = events, .stay = true});
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--base", base_of(s), "What?"));
    pty_expect(&p, "for");
    pty_type(&p, "\x03");
    pty_end(&p);
    assert_int_equal(p.code, 130);
    expect_in(p.text, "\r\nanyllm run: ");
    script_stop(s);
}

static void another_endpoint_goes_through_the_queue(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(plain_terminal),
                ARGV("run", "--endpoint", "fal-ai/flux", "--base", base_of(s), "What?"));
    pty_expect(&p, "forty-");
    pty_end(&p);
    assert_true(script_asked(s, 0, "POST /queue/fal-ai/flux HTTP/1.1"));
    script_stop(s);
}

static void a_failure_in_the_middle_ends_the_line_first(void **state) {
    (void)state;
    static const char events[] = STREAM PIECE(
        "for") "data: {\"output\":\"for\",\"partial\":true,\"error\":\"no more\"}\n\n";
    struct script *s = SCRIPT({.raw = events});
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--base", base_of(s), "What?"));
    pty_expect(&p, "for\r\nanyllm run: no more");
    pty_end(&p);
    assert_int_equal(p.code, 1);
    script_stop(s);
}

#define RUN(p, ...) PROGRAM_RUN((p), ANYLLM_BINARY, ENV(NULL), __VA_ARGS__)

static void stream_into_a_pipe_is_the_text_or_json_lines(void **state) {
    (void)state;
    static const char events[] = STREAM PIECE("for") LAST("forty-two");
    struct script *s = SCRIPT({.raw = events}, {.raw = events}, {.raw = events}, {.raw = events});
    struct program p;
    RUN(&p, "stream", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "forty-two\n");
    assert_string_equal(p.err, "");
    RUN(&p, "stream", "--json", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "{\"output\":\"for\",\"partial\":true}\n"
                               "{\"output\":\"forty-two\",\"partial\":false,"
                               "\"usage\":{\"completion_tokens\":7}}\n");
    RUN(&p, "run", "--stream", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "forty-two\n");
    RUN(&p, "run", "--stream", "--json", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "{\"output\":\"forty-two\",\"partial\":false,"
                               "\"usage\":{\"completion_tokens\":7}}\n");
    assert_int_equal(p.code, 0);
    script_stop(s);
}

static void an_answer_that_begins_anew_stands_on_its_own_line(void **state) {
    (void)state;
    static const char events[] = STREAM PIECE("for") LAST("seven");
    struct script *s = SCRIPT({.raw = events});
    struct program p;
    RUN(&p, "stream", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "for\nseven\n");
    script_stop(s);
}

/* ---- Ctrl-C ---- */

static void ctrl_c_cancels_the_request_on_the_server(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, WAITING, {.hang = true}, {.status = 202, .body = "{}"});
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_expect(&p, "in queue, 3 ahead");
    while (script_count(s) < 3) {
        usleep(1000);
    }
    pty_type(&p, "\x03");
    pty_end(&p);
    assert_int_equal(p.code, 130);
    assert_true(script_asked(s, 3, "PUT /queue/fal-ai/any-llm/requests/r1/cancel HTTP/1.1"));
    script_stop(s);
}

/* The server does not answer the cancellation: the second one does not wait for it. */
static void ctrl_c_twice_ends_at_once(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, WAITING, {.hang = true}, {.hang = true});
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_expect(&p, "in queue, 3 ahead");
    while (script_count(s) < 3) {
        usleep(1000);
    }
    pty_type(&p, "\x03");
    while (script_count(s) < 4) {
        usleep(1000);
    }
    pty_type(&p, "\x03");
    pty_end(&p);
    assert_int_equal(p.code, 130);
    script_stop(s);
}

/* ---- JSON ---- */

/* JSON lets DEL and C1 stand in strings as they are: U+009B is CSI, to some terminals. */
#define C1 "\x7f\xc2\x9bm\xc3\x9b\xc2\xa0"
#define C1_ESCAPED "\\u007f\\u009bm\xc3\x9b\xc2\xa0"
#define C1_ANSWER {.status = 200, .body = "{\"output\":\t\"" C1 "\"}"}
#define C1_STATUS {.status = 200, .body = "{\"status\":\"COMPLETED\",\"error\":\t\"" C1 "\"}"}
#define C1_EVENTS {.raw = STREAM "data: {\"output\":\"" C1 "\",\"partial\":false}\n\n"}
#define C1_STATES {.raw = STREAM "data: {\"status\":\"COMPLETED\",\"error\":\"" C1 "\"}\n\n"}

static char json_option[] = "--json", base_option[] = "--base";

#define JSON_COMMANDS 9
static const struct {
    const char *command, *more, *operand;
    const struct script_step steps[4];
    const char *last; /* what it ends with, around C1 */
} json_commands[JSON_COMMANDS] = {
    {"run", "--no-stream", "What?", {SUBMITTED, COMPLETED, C1_ANSWER}, "\"}"},
    {"run", "--stream", "What?", {C1_EVENTS}, "\",\"partial\":false}"},
    {"stream", "--timeout=9", "What?", {C1_EVENTS}, "\",\"partial\":false}"},
    {"result", "--timeout=9", "r1", {C1_ANSWER}, "\"}"},
    {"status", "--timeout=9", "r1", {C1_STATUS}, "\"}"},
    {"status", "--follow", "r1", {C1_STATES}, "\"}"},
    {"cancel", "--timeout=9", "r1", {C1_STATUS}, "\"}"},
    {"submit",
     "--timeout=9",
     "What?",
     {{.status = 200, .body = "{\"request_id\":\"r1\",\"x\":\t\"" C1 "\"}"}},
     "\"}"},
    {"models",
     "--timeout=9",
     "",
     {{.status = 200, .body = "{\"data\":[{\"id\":\"" C1 "\"}]}"}},
     "\"}]}"},
};

static struct script *json_script(size_t i) {
    size_t count = 0;
    while (count < 4 && (json_commands[i].steps[count].status != 0 ||
                         json_commands[i].steps[count].raw != NULL)) {
        count++;
    }
    return script_start(json_commands[i].steps, count);
}

#define JSON_ARGV(i, s)                                                     \
    ARGV((char *)(uintptr_t)json_commands[i].command, json_option,          \
         (char *)(uintptr_t)json_commands[i].more, base_option, base_of(s), \
         (char *)(uintptr_t)json_commands[i].operand)

static void json_cannot_drive_a_terminal(void **state) {
    (void)state;
    char expected[128];
    struct pty p;
    for (size_t i = 0; i < JSON_COMMANDS; i++) {
        struct script *s = json_script(i);
        print_message("anyllm %s %s --json\n", json_commands[i].command, json_commands[i].more);
        on_terminal(&p, ENV(plain_terminal), JSON_ARGV(i, s));
        pty_end(&p);
        snprintf(expected, sizeof(expected), "\"" C1_ESCAPED "%s\r\n", json_commands[i].last);
        expect_in(p.text, expected);
        assert_int_equal(p.code, 0);
        script_stop(s);
    }
}

static void json_goes_into_a_pipe_as_it_is(void **state) {
    (void)state;
    char expected[128];
    struct program p;
    for (size_t i = 0; i < JSON_COMMANDS; i++) {
        struct script *s = json_script(i);
        print_message("anyllm %s %s --json\n", json_commands[i].command, json_commands[i].more);
        program_begin(&p, ANYLLM_BINARY, "", -1, ENV(NULL), JSON_ARGV(i, s));
        program_end(&p);
        snprintf(expected, sizeof(expected), "\"" C1 "%s\n", json_commands[i].last);
        expect_in(p.out, expected);
        assert_int_equal(p.code, 0);
        script_stop(s);
    }
}

/* ---- Standard input ---- */

static void a_terminal_as_stdin_is_not_read(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct pty p;
    on_terminal(&p, ENV(plain_terminal), ARGV("run", "--no-stream", "--base", base_of(s), "What?"));
    pty_expect(&p, "forty-");
    pty_end(&p);
    assert_non_null(strstr(script_request(s, 0), "{\"prompt\":\"What?\"}"));
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_says_place_and_model_and_goes_away),
        cmocka_unit_test(the_model_that_was_asked_for_stands_there_at_once),
        cmocka_unit_test(no_colour_is_no_colour),
        cmocka_unit_test(a_dumb_terminal_gets_plain_lines),
        cmocka_unit_test(quiet_is_the_answer_alone),
        cmocka_unit_test(a_long_line_is_cut_to_the_terminal),
        cmocka_unit_test(a_terminal_sees_the_answer_grow),
        cmocka_unit_test(a_piece_is_shown_when_it_comes),
        cmocka_unit_test(another_endpoint_goes_through_the_queue),
        cmocka_unit_test(a_failure_in_the_middle_ends_the_line_first),
        cmocka_unit_test(stream_into_a_pipe_is_the_text_or_json_lines),
        cmocka_unit_test(an_answer_that_begins_anew_stands_on_its_own_line),
        cmocka_unit_test(ctrl_c_cancels_the_request_on_the_server),
        cmocka_unit_test(ctrl_c_twice_ends_at_once),
        cmocka_unit_test(json_cannot_drive_a_terminal),
        cmocka_unit_test(json_goes_into_a_pipe_as_it_is),
        cmocka_unit_test(a_terminal_as_stdin_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
