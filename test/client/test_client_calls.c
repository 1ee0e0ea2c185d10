/* libfal's single calls against a scripted server: the bytes that leave, what is refused before any
 * leave. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- What leaves ---- */

static void run_sends_the_input_to_the_run_surface(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.start_timeout_s = 12.5;
    o.hint = "session-1";
    assert_int_equal(fal_run(c, APP "/vision", "{\"prompt\":\"h\xc3\xa9\"}", &o, &r), FAL_OK);
    assert_string_equal(fal_result_json(r), "{\"output\":\"42\"}");
    assert_string_equal(fal_result_string(r, "/output"), "42");
    assert_null(fal_result_string(r, "/none"));
    assert_string_equal(fal_result_request_id(r), "r1");
    assert_int_equal(fal_result_http_status(r), 200);
    assert_null(fal_result_status(r));
    assert_true(script_asked(s, 0, "POST /run/" APP "/vision HTTP/1.1"));
    assert_true(script_has_header(s, 0, "Authorization: Key kid:ksecret"));
    assert_true(script_has_header(s, 0, "Content-Type: application/json"));
    assert_true(script_has_header(s, 0, "Accept: application/json"));
    assert_true(script_has_header(s, 0, "User-Agent: libfal/0.1.0"));
    assert_true(script_has_header(s, 0, "x-fal-request-timeout: 12.5"));
    assert_true(script_has_header(s, 0, "x-fal-runner-hint: session-1"));
    assert_null(strstr(script_request(s, 0), "Idempotency-Key"));
    assert_non_null(strstr(script_request(s, 0), "\r\n\r\n{\"prompt\":\"h\xc3\xa9\"}"));
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void submit_sends_priority_key_and_webhook(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, SUBMITTED);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    o.priority = "low";
    o.webhook_url = "https://me.example/hook?a=b&c";
    o.start_timeout_s = 30;
    o.idempotency_key = "my-key";
    assert_int_equal(fal_queue_submit(c, APP, NULL, &o, &r), FAL_OK);
    assert_string_equal(fal_result_request_id(r), "r1");
    assert_int_equal(fal_result_status(r)->state, FAL_IN_QUEUE);
    assert_int_equal(fal_result_status(r)->queue_position, 0);
    assert_non_null(strstr(fal_result_status(r)->status_url, "/requests/r1/status"));
    assert_true(script_asked(s, 0,
                             "POST /queue/" APP
                             "?fal_webhook=https%3A%2F%2Fme.example%2Fhook%3Fa%3Db%26c HTTP/1.1"));
    assert_true(script_has_header(s, 0, "x-fal-queue-priority: low"));
    assert_true(script_has_header(s, 0, "Idempotency-Key: my-key"));
    assert_true(script_has_header(s, 0, "x-fal-request-timeout: 30"));
    assert_non_null(strstr(script_request(s, 0), "\r\n\r\n{}"));
    fal_result_free(r);
    assert_int_equal(fal_queue_submit(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_has_header(s, 1, "x-fal-queue-priority: normal"));
    assert_non_null(strstr(script_request(s, 1), "Idempotency-Key: "));
    assert_int_equal(script_connections(s), 1);
    fal_client_free(c);
    script_stop(s);
}

static void status_result_and_cancel_drop_the_sub_path(void **state) {
    (void)state;
    struct script *s = SCRIPT(IN_QUEUE, ANSWER,
                              {.status = 202, .body = "{\"status\":\"CANCELLATION_REQUESTED\"}"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.logs = true;
    assert_int_equal(fal_queue_status(c, APP "/vision", "r1", &o, &r), FAL_OK);
    assert_int_equal(fal_result_status(r)->queue_position, 2);
    fal_result_free(r);
    assert_int_equal(fal_queue_result(c, APP "/vision", "r1", NULL, &r), FAL_OK);
    fal_result_free(r);
    assert_int_equal(fal_queue_cancel(c, APP "/vision", "r1", NULL, &r), FAL_OK);
    assert_string_equal(fal_result_string(r, "/status"), "CANCELLATION_REQUESTED");
    assert_string_equal(fal_result_request_id(r), "r1");
    fal_result_free(r);
    assert_true(script_asked(s, 0, "GET /queue/" APP "/requests/r1/status?logs=1 HTTP/1.1"));
    assert_true(script_asked(s, 1, RESULT_LINE));
    assert_true(script_asked(s, 2, CANCEL_LINE));
    assert_true(script_has_header(s, 2, "Content-Length: 0"));
    for (size_t i = 0; i < 3; i++) {
        assert_true(script_has_header(s, i, "Authorization: Key kid:ksecret"));
    }
    fal_client_free(c);
    script_stop(s);
}

static void a_given_address_of_the_same_origin_is_followed(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, IN_QUEUE);
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    char url[128];
    snprintf(url, sizeof(url), "%s/elsewhere/r1?x=y", script_base(s));
    o.url = url;
    assert_int_equal(fal_queue_result(c, APP, "r1", &o, NULL), FAL_OK);
    assert_int_equal(fal_queue_status(c, APP, "r1", &o, NULL), FAL_OK);
    assert_true(script_asked(s, 0, "GET /elsewhere/r1?x=y HTTP/1.1"));
    assert_true(script_asked(s, 1, "GET /elsewhere/r1?x=y&logs=0 HTTP/1.1"));
    fal_client_free(c);
    script_stop(s);
}

static void credentials_come_from_the_environment(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, ANSWER, ANSWER);
    fal_client *c = NULL;
    setenv("FAL_BASE_URL", script_base(s), 1);
    setenv("FAL_KEY_ID", "id", 1);
    setenv("FAL_KEY_SECRET", "secret", 1);
    assert_int_equal(fal_client_new(NULL, &c), FAL_OK);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    fal_client_free(c);
    setenv("FAL_KEY", "whole:key", 1);
    assert_int_equal(fal_client_new(NULL, &c), FAL_OK);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    fal_client_free(c);
    struct fal_options o = FAL_OPTIONS_INIT;
    o.credentials = "";
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    fal_client_free(c);
    unsetenv("FAL_BASE_URL");
    unsetenv("FAL_KEY");
    unsetenv("FAL_KEY_ID");
    unsetenv("FAL_KEY_SECRET");
    assert_true(script_has_header(s, 0, "Authorization: Key id:secret"));
    assert_true(script_has_header(s, 1, "Authorization: Key whole:key"));
    assert_null(strstr(script_request(s, 2), "Authorization"));
    script_stop(s);
}

static void the_default_base_is_fals_own(void **state) {
    (void)state;
    fal_client *c = NULL;
    assert_int_equal(fal_client_new(NULL, &c), FAL_OK);
    assert_string_equal(fal_client_queue_url(c), "https://queue.fal.run");
    fal_client_free(c);
    struct fal_options o = FAL_OPTIONS_INIT;
    o.base_url = FAL_BASE_FAL;
    setenv("FAL_BASE_URL", "http://127.0.0.1:1", 1);
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    assert_string_equal(fal_client_queue_url(c), "https://queue.fal.run");
    fal_client_free(c);
    unsetenv("FAL_BASE_URL");
}

static void arguments_are_checked_before_anything_is_sent(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    static const char *const bad_inputs[] = {
        "", "{", "[]", "\"p\"", "{\"a\":1,}", "{} {}", "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof(bad_inputs) / sizeof(bad_inputs[0]); i++) {
        assert_int_equal(fal_run(c, APP, bad_inputs[i], NULL, NULL), FAL_ERR_ARGUMENT);
    }
    assert_int_equal(fal_run(NULL, APP, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_run(c, NULL, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_run(c, "no-slash", NULL, NULL, &r), FAL_ERR_ARGUMENT);
    assert_string_equal(fal_result_error(r)->message,
                        "endpoint_id must be in the format owner/alias");
    fal_result_free(r);
    assert_int_equal(fal_queue_status(c, APP, "", NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_cancel(c, APP, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_cancel(c, APP, "..", NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_stream_status(c, APP, ".", NULL, NULL), FAL_ERR_ARGUMENT);
    o.hint = "x\r\nAuthorization: Key other";
    assert_int_equal(fal_run(c, APP, NULL, &o, NULL), FAL_ERR_ARGUMENT);
    o.hint = NULL;
    o.start_timeout_s = 0.5;
    assert_int_equal(fal_run(c, APP, NULL, &o, NULL), FAL_ERR_ARGUMENT);
    o.size = 0;
    assert_int_equal(fal_run(c, APP, NULL, &o, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(script_count(s), 0);
    fal_client_free(c);
    script_stop(s);
    struct fal_options bad = FAL_OPTIONS_INIT;
    bad.credentials = "k\r\nX: y";
    assert_int_equal(fal_client_new(&bad, &c), FAL_ERR_ARGUMENT);
    assert_null(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_sends_the_input_to_the_run_surface),
        cmocka_unit_test(submit_sends_priority_key_and_webhook),
        cmocka_unit_test(status_result_and_cancel_drop_the_sub_path),
        cmocka_unit_test(a_given_address_of_the_same_origin_is_followed),
        cmocka_unit_test(credentials_come_from_the_environment),
        cmocka_unit_test(the_default_base_is_fals_own),
        cmocka_unit_test(arguments_are_checked_before_anything_is_sent),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
