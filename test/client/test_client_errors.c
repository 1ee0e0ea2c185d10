/* Errors, retries and bad answers, against a scripted server. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* One call of fal_run, and its end expected. */
static void expect_run(struct script *s, enum fal_code code, size_t requests) {
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_run(c, APP, "{\"prompt\":\"p\"}", NULL, &r), code);
    assert_int_equal(fal_result_error(r)->code, code);
    assert_int_equal(script_count(s), requests);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void expect_result(struct script *s, enum fal_code code, size_t requests) {
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, &r), code);
    assert_int_equal(script_count(s), requests);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Errors and retries ---- */

static void run_reports_the_servers_error(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 401,
         .body = "{\"detail\":\"invalid key credentials\"}",
         .headers = "x-fal-request-id: r9\r\nX-Fal-Error-Type: unauthorized\r\n"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_HTTP);
    const struct fal_error *e = fal_result_error(r);
    assert_int_equal(e->http_status, 401);
    assert_string_equal(e->message, "invalid key credentials");
    assert_string_equal(e->error_type, "unauthorized");
    assert_string_equal(e->request_id, "r9");
    assert_false(e->retryable);
    assert_true(e->retry_after_s < 0);
    assert_string_equal(fal_result_json(r), "{\"detail\":\"invalid key credentials\"}");
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

#define NOW .headers = "Retry-After: 0\r\n"

static void a_full_server_is_asked_again(void **state) {
    (void)state;
    expect_run(SCRIPT({.status = 429, NOW}, {.status = 503, NOW}, ANSWER), FAL_OK, 3);
    expect_result(SCRIPT({.status = 408, NOW}, {.status = 409, NOW}, {.status = 502, NOW},
                         {.status = 504, NOW}, ANSWER),
                  FAL_OK, 5);
}

static void retries_end(void **state) {
    (void)state;
    expect_result(SCRIPT({.status = 503, NOW}, {.status = 503, NOW}, {.status = 503, NOW},
                         {.status = 503, NOW}, {.status = 503, NOW}, {.status = 503, NOW}, ANSWER),
                  FAL_ERR_HTTP, 6);
}

static void a_wait_too_long_is_the_callers_to_decide(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 429, .headers = "Retry-After: 3600\r\n"}, ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_HTTP);
    assert_true(fal_result_error(r)->retry_after_s == 3600.0);
    assert_true(fal_result_error(r)->retryable);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void a_wait_past_the_deadline_is_not_begun(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 429, .headers = "Retry-After: 100\r\n"}, ANSWER);
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.timeout_ms = 50000;
    assert_int_equal(fal_run(c, APP, NULL, &o, NULL), FAL_ERR_HTTP);
    fal_client_free(c);
    script_stop(s);
}

static void the_callers_own_start_timeout_is_not_retried(void **state) {
    (void)state;
    expect_result(
        SCRIPT({.status = 504,
                .headers = "Retry-After: 0\r\nX-Fal-Request-Timeout-Type: user\r\n",
                .body = "{\"detail\":\"Request timed out\",\"error_type\":\"request_timeout\"}"},
               ANSWER),
        FAL_ERR_HTTP, 1);
}

/* The header means something with a 504 only. */
static void the_timeouts_header_of_another_status_says_nothing(void **state) {
    (void)state;
    expect_result(
        SCRIPT({.status = 503, .headers = "Retry-After: 0\r\nX-Fal-Request-Timeout-Type: user\r\n"},
               ANSWER),
        FAL_OK, 2);
}

static void what_the_server_calls_final_is_not_retried(void **state) {
    (void)state;
    expect_result(
        SCRIPT({.status = 503, .headers = "Retry-After: 0\r\nX-Fal-Retryable: false\r\n"}, ANSWER),
        FAL_ERR_HTTP, 1);
}

static void a_run_of_unknown_fate_is_not_repeated(void **state) {
    (void)state;
    expect_run(SCRIPT({.raw = ""}, ANSWER), FAL_ERR_TRANSPORT, 1);
    expect_run(SCRIPT({.status = 502, NOW}, ANSWER), FAL_ERR_HTTP, 1);
}

/* libcurl by itself asks again on a new connection when a kept one ends without a byte. */
static void a_run_is_not_repeated_when_a_kept_connection_breaks(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, {.raw = ""}, ANSWER, {.raw = ""}, ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(fal_run(c, APP, "{\"prompt\":\"p\"}", NULL, &r), FAL_ERR_TRANSPORT);
    assert_true(fal_result_error(r)->retryable);
    assert_int_equal(script_count(s), 2);
    assert_int_equal(fal_run(c, APP, "{\"prompt\":\"p\"}", NULL, NULL), FAL_OK);
    assert_int_equal(fal_stream(c, APP, NULL, NULL, NULL), FAL_ERR_TRANSPORT);
    assert_int_equal(script_count(s), 4);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void a_submit_of_unknown_fate_is_repeated_with_the_same_key(void **state) {
    (void)state;
    struct script *s = SCRIPT({.raw = ""}, {.status = 502, NOW}, SUBMITTED);
    fal_client *c = client_for(s);
    assert_int_equal(fal_queue_submit(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(script_count(s), 3);
    const char *first = strstr(script_request(s, 0), "Idempotency-Key: ");
    assert_non_null(first);
    for (size_t i = 1; i < 3; i++) {
        const char *again = strstr(script_request(s, i), "Idempotency-Key: ");
        assert_memory_equal(first, again, strlen("Idempotency-Key: ") + 36);
    }
    fal_client_free(c);
    script_stop(s);
}

static void a_refused_connection_ends_at_once_when_asked_to(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    fal_result *r = NULL;
    char base[64];
    snprintf(base, sizeof(base), "%s", script_base(s));
    script_stop(s);
    o.base_url = base;
    o.no_connect_retry = true;
    o.retry_base_ms = 600000;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, &r), FAL_ERR_CONNECT);
    assert_int_equal(fal_result_http_status(r), 0);
    assert_string_not_equal(fal_result_error(r)->message, "");
    fal_result_free(r);
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_ERR_CONNECT);
    fal_client_free(c);
}

/* A handle of libcurl that was used before says nothing of the time before. */
static void a_server_that_went_away_is_a_failed_connection(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 504, .headers = "X-Fal-Request-Timeout-Type: user\r\n"},
                              ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_HTTP);
    assert_true(fal_result_error(r)->start_timeout);
    fal_result_free(r);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    script_stop(s);
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_CONNECT);
    assert_true(fal_result_error(r)->retryable);
    assert_false(fal_result_error(r)->start_timeout);
    assert_int_equal(fal_result_http_status(r), 0);
    fal_result_free(r);
    o.timeout_ms = 1;
    fal_run(c, APP, NULL, &o, NULL);
    fal_client_free(c);
}

static void run_over_its_time_ends(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.timeout_ms = 50;
    assert_int_equal(fal_run(c, APP, NULL, &o, &r), FAL_ERR_TIMEOUT);
    assert_string_equal(fal_result_error(r)->message, "timed out after 50 ms");
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Bad answers ---- */

static void an_answer_cut_short_is_a_transport_error(void **state) {
    (void)state;
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"output\":\"4"}),
               FAL_ERR_TRANSPORT, 1);
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"out"}),
               FAL_ERR_TRANSPORT, 1);
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nContent-Le"}), FAL_ERR_TRANSPORT, 1);
    expect_run(SCRIPT({.raw = "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n"}), FAL_ERR_TRANSPORT,
               1);
}

static void interim_answers_and_trailers_are_taken(void **state) {
    (void)state;
    expect_run(
        SCRIPT(
            {.raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"}),
        FAL_OK, 1);
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
                              "2\r\n{}\r\n0\r\nX: y\r\n\r\n"}),
               FAL_OK, 1);
}

static void an_answer_that_is_no_http_is_a_protocol_error(void **state) {
    (void)state;
    expect_run(SCRIPT({.raw = "SSH-2.0-OpenSSH_9.2\r\n"}), FAL_ERR_PROTOCOL, 1);
}

static void an_answer_that_is_no_json_is_a_protocol_error(void **state) {
    (void)state;
    expect_run(SCRIPT({.status = 200, .body = "{\"output\":"}), FAL_ERR_PROTOCOL, 1);
    expect_run(SCRIPT({.status = 200, .body = ""}), FAL_ERR_PROTOCOL, 1);
    expect_run(SCRIPT({.status = 200, .body = "{\"output\":\"\xff\"}"}), FAL_ERR_PROTOCOL, 1);
    expect_run(SCRIPT({.status = 200, .body = "<html>", .headers = "Content-Type: text/html\r\n"}),
               FAL_ERR_PROTOCOL, 1);
    expect_run(SCRIPT({.status = 302, .headers = "Location: http://127.0.0.1:1/\r\n"}),
               FAL_ERR_HTTP, 1);
}

static void a_submit_without_an_id_is_a_protocol_error(void **state) {
    (void)state;
    static const char *const bodies[] = {"{}", "[]", "{\"request_id\":7}",
                                         "{\"request_id\":\"a\",\"request_id\":\"b\"}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct script *s = SCRIPT({.status = 200, .body = bodies[i]});
        fal_client *c = client_for(s);
        fal_result *r = NULL;
        assert_int_equal(fal_subscribe(c, APP, NULL, NULL, &r), FAL_ERR_PROTOCOL);
        assert_string_equal(fal_result_request_id(r), "");
        assert_int_equal(script_count(s), 1);
        fal_result_free(r);
        fal_client_free(c);
        script_stop(s);
    }
}

static void an_answer_over_the_maximum_is_refused(void **state) {
    (void)state;
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{"}),
               FAL_ERR_TOO_LARGE, 1);
    expect_run(SCRIPT({.raw = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
                       .filler_bytes = FAL_MAX_REPLY_BYTES + 1}),
               FAL_ERR_TOO_LARGE, 1);
}

static void expect_message(struct script *s, bool stream, const char *message) {
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    enum fal_code code = stream ? fal_stream(c, APP, NULL, NULL, &r)
                                : fal_queue_cancel(c, APP, "r1", NULL, &r);
    assert_int_equal(code, FAL_ERR_HTTP);
    assert_string_equal(fal_result_error(r)->message, message);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void a_message_is_one_line_whoever_says_it(void **state) {
    (void)state;
    expect_message(SCRIPT({.status = 400, .body = "{\"status\":\"A\\nB\\u001b[31m\"}"}), false,
                   "HTTP 400 A B [31m");
    expect_message(SCRIPT({.status = 200,
                           .headers = "Content-Type: text/event-stream\r\n",
                           .body = "data: {\"error\":\"A\\r\\nB\\u001b[31m\"}\n\n"}),
                   true, "A  B [31m");
}

static void a_foreign_page_as_an_error_keeps_its_bytes(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 500, .body = "<html>nginx</html>", .headers = "Content-Type: text/html\r\n"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    size_t bytes = 0;
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_HTTP);
    assert_string_equal(fal_result_error(r)->message, "HTTP 500");
    assert_null(fal_result_json(r));
    assert_string_equal(fal_result_body(r, &bytes), "<html>nginx</html>");
    assert_int_equal(bytes, 18);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void accessors_take_null(void **state) {
    (void)state;
    size_t bytes = 7;
    fal_result_free(NULL);
    fal_client_free(NULL);
    fal_client_cancel(NULL);
    assert_null(fal_result_json(NULL));
    assert_string_equal(fal_result_body(NULL, &bytes), "");
    assert_int_equal(bytes, 0);
    assert_null(fal_result_status(NULL));
    assert_null(fal_result_string(NULL, "/output"));
    assert_string_equal(fal_result_request_id(NULL), "");
    assert_int_equal(fal_result_error(NULL)->code, FAL_ERR_MEMORY);
    assert_string_equal(fal_strerror((enum fal_code)4711), "unknown error");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_reports_the_servers_error),
        cmocka_unit_test(a_full_server_is_asked_again),
        cmocka_unit_test(retries_end),
        cmocka_unit_test(a_wait_too_long_is_the_callers_to_decide),
        cmocka_unit_test(a_wait_past_the_deadline_is_not_begun),
        cmocka_unit_test(the_callers_own_start_timeout_is_not_retried),
        cmocka_unit_test(the_timeouts_header_of_another_status_says_nothing),
        cmocka_unit_test(what_the_server_calls_final_is_not_retried),
        cmocka_unit_test(a_run_of_unknown_fate_is_not_repeated),
        cmocka_unit_test(a_run_is_not_repeated_when_a_kept_connection_breaks),
        cmocka_unit_test(a_submit_of_unknown_fate_is_repeated_with_the_same_key),
        cmocka_unit_test(a_refused_connection_ends_at_once_when_asked_to),
        cmocka_unit_test(a_server_that_went_away_is_a_failed_connection),
        cmocka_unit_test(run_over_its_time_ends),
        cmocka_unit_test(an_answer_cut_short_is_a_transport_error),
        cmocka_unit_test(interim_answers_and_trailers_are_taken),
        cmocka_unit_test(an_answer_that_is_no_http_is_a_protocol_error),
        cmocka_unit_test(an_answer_that_is_no_json_is_a_protocol_error),
        cmocka_unit_test(a_submit_without_an_id_is_a_protocol_error),
        cmocka_unit_test(an_answer_over_the_maximum_is_refused),
        cmocka_unit_test(a_message_is_one_line_whoever_says_it),
        cmocka_unit_test(a_foreign_page_as_an_error_keeps_its_bytes),
        cmocka_unit_test(accessors_take_null),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
