/* libfal's calls against a scripted server: the bytes that leave, and what the caller gets for the
 * bytes that come. */
#include "client/script.h"
#include "fal.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define APP "fal-ai/any-llm"
#define URLS                                                    \
    "\"status_url\":\"$BASE/queue/" APP                         \
    "/requests/r1/status\",\"response_url\":\"$BASE/queue/" APP \
    "/requests/r1\",\"cancel_url\":\"$BASE/queue/" APP "/requests/r1/cancel\""
#define SUBMITTED   \
    {.status = 200, \
     .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0," URLS "}"}
#define IN_QUEUE    \
    {.status = 202, \
     .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":2,\"logs\":null}"}
#define COMPLETED   \
    {.status = 200, \
     .body = "{\"status\":\"COMPLETED\",\"request_id\":\"r1\",\"logs\":null,\"metrics\":{}}"}
#define ANSWER {.status = 200, .body = "{\"output\":\"42\"}", .headers = "x-fal-request-id: r1\r\n"}
#define STATUS_LINE "GET /queue/" APP "/requests/r1/status?logs=0 HTTP/1.1"
#define RESULT_LINE "GET /queue/" APP "/requests/r1 HTTP/1.1"
#define CANCEL_LINE "PUT /queue/" APP "/requests/r1/cancel HTTP/1.1"

static fal_client *client_for(struct script *s) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = script_base(s);
    o.credentials = "kid:ksecret";
    o.retry_base_ms = 1;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

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
    assert_true(script_has_header(s, 0, "x-fal-request-timeout: 12.500"));
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

/* ---- Subscribe ---- */

struct seen {
    char text[1024];
    fal_client *client;
    int enqueued;
    enum fal_code inner;
};

static void note_enqueue(const char *request_id, void *user) {
    struct seen *seen = user;
    seen->enqueued++;
    strncat(seen->text, request_id, sizeof(seen->text) - strlen(seen->text) - 1);
}

static void note_update(const struct fal_status *s, void *user) {
    static const char *const names[] = {" Q", " P", " C"};
    struct seen *seen = user;
    strncat(seen->text, names[s->state], sizeof(seen->text) - strlen(seen->text) - 1);
    for (size_t i = s->first_new_log; i < s->log_count; i++) {
        strncat(seen->text, s->logs[i]->message, sizeof(seen->text) - strlen(seen->text) - 1);
    }
}

static struct fal_subscribe_options watching(struct seen *seen) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.logs = true;
    o.poll_interval_ms = 1;
    o.on_enqueue = note_enqueue;
    o.on_queue_update = note_update;
    o.user = seen;
    return o;
}

#define LOG_A "{\"message\":\"a\",\"timestamp\":\"1\"}"
#define LOG_B "{\"message\":\"b\",\"timestamp\":\"2\"}"

static void subscribe_goes_through_all_states_to_the_answer(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        SUBMITTED, IN_QUEUE,
        {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[" LOG_A "]}"},
        {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[" LOG_A "," LOG_B "]}"},
        {.status = 200,
         .body = "{\"status\":\"COMPLETED\",\"logs\":[" LOG_A "," LOG_B
                 "],\"metrics\":{\"inference_time\":1.5}}"},
        ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct seen seen = {0};
    struct fal_subscribe_options o = watching(&seen);
    assert_int_equal(fal_subscribe(c, APP, "{\"prompt\":\"p\"}", &o, &r), FAL_OK);
    assert_string_equal(seen.text, "r1 Q Pa Pb C");
    assert_int_equal(seen.enqueued, 1);
    assert_string_equal(fal_result_string(r, "/output"), "42");
    assert_string_equal(fal_result_request_id(r), "r1");
    assert_true(fal_result_status(r)->inference_time_s == 1.5);
    assert_int_equal(fal_result_error(r)->code, FAL_OK);
    assert_int_equal(script_count(s), 6);
    assert_true(script_asked(s, 0, "POST /queue/" APP " HTTP/1.1"));
    assert_true(script_asked(s, 1, "GET /queue/" APP "/requests/r1/status?logs=1 HTTP/1.1"));
    assert_true(script_asked(s, 5, RESULT_LINE));
    assert_int_equal(script_connections(s), 1);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void subscribe_follows_the_addresses_of_its_own_server(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 200,
         .body = "{\"request_id\":\"r1\",\"status_url\":\"$BASE/s/1\","
                 "\"response_url\":\"$BASE/r/1\",\"cancel_url\":\"$BASE/c/1\"}"},
        COMPLETED, ANSWER);
    fal_client *c = client_for(s);
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_asked(s, 1, "GET /s/1?logs=0 HTTP/1.1"));
    assert_true(script_asked(s, 2, "GET /r/1 HTTP/1.1"));
    fal_client_free(c);
    script_stop(s);
}

static void subscribe_sends_nothing_to_a_foreign_address(void **state) {
    (void)state;
    struct script *stranger = SCRIPT(COMPLETED, ANSWER);
    char body[512];
    snprintf(
        body, sizeof(body),
        "{\"request_id\":\"r1\",\"status_url\":\"%s/s\",\"response_url\":\"%s/r\",\"cancel_url\":\"%s/c\"}",
        script_base(stranger), script_base(stranger), script_base(stranger));
    struct script *s = SCRIPT({.status = 200, .body = body}, COMPLETED, ANSWER);
    fal_client *c = client_for(s);
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_asked(s, 1, STATUS_LINE));
    assert_true(script_asked(s, 2, RESULT_LINE));
    assert_int_equal(script_connections(stranger), 0);
    fal_client_free(c);
    script_stop(s);
    script_stop(stranger);
}

static void subscribe_ends_with_the_models_own_error(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        SUBMITTED,
        {.status = 200,
         .body =
             "{\"status\":\"COMPLETED\",\"error\":\"failed\",\"error_type\":\"generation_timeout\"}"},
        {.status = 504,
         .body =
             "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"too slow\",\"type\":\"generation_timeout\"}]}",
         .headers = "x-fal-request-id: r1\r\nX-Fal-Retryable: true\r\n"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, &r), FAL_ERR_HTTP);
    const struct fal_error *e = fal_result_error(r);
    assert_int_equal(e->http_status, 504);
    assert_string_equal(e->message, "body: too slow");
    assert_string_equal(e->error_type, "generation_timeout");
    assert_string_equal(e->request_id, "r1");
    assert_true(e->retryable);
    assert_string_equal(fal_result_status(r)->error, "failed");
    assert_int_equal(script_count(s), 3); /* a stored error is not asked for again */
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void subscribe_survives_a_server_that_restarts(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        SUBMITTED, {.raw = ""}, {.status = 503, .headers = "Retry-After: 0\r\n"}, IN_QUEUE,
        {.raw = "HTTP/1.1 200 OK\r\nContent-Le"}, COMPLETED, {.raw = ""}, ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct seen seen = {0};
    struct fal_subscribe_options o = watching(&seen);
    assert_int_equal(fal_subscribe(c, APP, NULL, &o, &r), FAL_OK);
    assert_string_equal(seen.text, "r1 Q C");
    assert_string_equal(fal_result_string(r, "/output"), "42");
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void subscribe_over_its_time_cancels_on_the_server(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, IN_QUEUE, {.hang = true}, {.status = 202, .body = "{}"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.timeout_ms = 300;
    o.poll_interval_ms = 1;
    assert_int_equal(fal_subscribe(c, APP, NULL, &o, &r), FAL_ERR_TIMEOUT);
    assert_int_equal(script_count(s), 4);
    assert_true(script_asked(s, 3, CANCEL_LINE));
    assert_true(script_has_header(s, 3, "Authorization: Key kid:ksecret"));
    assert_string_equal(fal_result_request_id(r), "r1");
    assert_string_equal(fal_result_error(r)->request_id, "r1");
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

/* Filled in when the client exists: the script is written before. */
static fal_client *to_cancel;

static void cancel_it(void *user) {
    (void)user;
    fal_client_cancel(to_cancel);
}

/* Without a wake-up the call would sleep until a timer of libcurl's own, 10 s later: the alarm ends
 * the program before. */
static void cancel_from_another_thread_ends_a_waiting_call(void **state) {
    (void)state;
    alarm(8);
    struct script *s = SCRIPT(SUBMITTED, {.hang = true, .hook = cancel_it},
                              {.status = 202, .body = "{}"}, ANSWER);
    fal_client *c = to_cancel = client_for(s);
    fal_result *r = NULL;
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, &r), FAL_ERR_CANCELLED);
    assert_int_equal(script_count(s), 3);
    assert_true(script_asked(s, 2, CANCEL_LINE));
    assert_string_equal(fal_result_request_id(r), "r1");
    fal_result_free(r);
    alarm(0);
    /* One cancellation ends one call: the next one works. */
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_OK);
    fal_client_free(c);
    script_stop(s);
}

static void a_second_cancel_ends_the_wait_for_the_server(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, {.hang = true, .hook = cancel_it},
                              {.hang = true, .hook = cancel_it}, ANSWER);
    fal_client *c = to_cancel = client_for(s);
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, NULL), FAL_ERR_CANCELLED);
    assert_int_equal(script_count(s), 3);
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_OK);
    fal_client_free(c);
    script_stop(s);
}

static void a_cancellation_before_a_call_ends_it_at_once(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    fal_client *c = client_for(s);
    fal_client_cancel(c);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_ERR_CANCELLED);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(script_count(s), 1);
    fal_client_free(c);
    script_stop(s);
}

static void cancel_in_update(const struct fal_status *status, void *user) {
    (void)status;
    fal_client_cancel(user);
}

static void cancel_from_a_callback_works(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, IN_QUEUE,
                              {.status = 400, .body = "{\"status\":\"ALREADY_COMPLETED\"}"});
    fal_client *c = client_for(s);
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.on_queue_update = cancel_in_update;
    o.user = c;
    assert_int_equal(fal_subscribe(c, APP, NULL, &o, NULL), FAL_ERR_CANCELLED);
    assert_true(script_asked(s, 2, CANCEL_LINE));
    fal_client_free(c);
    script_stop(s);
}

static void call_inside(const struct fal_status *status, void *user) {
    struct seen *seen = user;
    fal_result *r = NULL;
    (void)status;
    seen->inner = fal_run(seen->client, APP, NULL, NULL, &r);
    assert_int_equal(fal_result_error(r)->code, seen->inner);
    fal_result_free(r);
}

static void a_call_inside_a_callback_is_refused(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, COMPLETED, ANSWER);
    struct seen seen = {.client = client_for(s)};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.on_queue_update = call_inside;
    o.user = &seen;
    assert_int_equal(fal_subscribe(seen.client, APP, NULL, &o, NULL), FAL_OK);
    assert_int_equal(seen.inner, FAL_ERR_BUSY);
    fal_client_free(seen.client);
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

static int forget_the_environment(void **state) {
    (void)state;
    static const char *const names[] = {"FAL_KEY",      "FAL_KEY_ID", "FAL_KEY_SECRET",
                                        "FAL_BASE_URL", "http_proxy", "HTTP_PROXY",
                                        "all_proxy",    "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unsetenv(names[i]);
    }
    /* The loopback is never asked for through a proxy. */
    return setenv("http_proxy", "http://127.0.0.1:1", 1);
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
        cmocka_unit_test(subscribe_goes_through_all_states_to_the_answer),
        cmocka_unit_test(subscribe_follows_the_addresses_of_its_own_server),
        cmocka_unit_test(subscribe_sends_nothing_to_a_foreign_address),
        cmocka_unit_test(subscribe_ends_with_the_models_own_error),
        cmocka_unit_test(subscribe_survives_a_server_that_restarts),
        cmocka_unit_test(subscribe_over_its_time_cancels_on_the_server),
        cmocka_unit_test(cancel_from_another_thread_ends_a_waiting_call),
        cmocka_unit_test(a_second_cancel_ends_the_wait_for_the_server),
        cmocka_unit_test(a_cancellation_before_a_call_ends_it_at_once),
        cmocka_unit_test(cancel_from_a_callback_works),
        cmocka_unit_test(a_call_inside_a_callback_is_refused),
        cmocka_unit_test(run_reports_the_servers_error),
        cmocka_unit_test(a_full_server_is_asked_again),
        cmocka_unit_test(retries_end),
        cmocka_unit_test(a_wait_too_long_is_the_callers_to_decide),
        cmocka_unit_test(a_wait_past_the_deadline_is_not_begun),
        cmocka_unit_test(the_callers_own_start_timeout_is_not_retried),
        cmocka_unit_test(what_the_server_calls_final_is_not_retried),
        cmocka_unit_test(a_run_of_unknown_fate_is_not_repeated),
        cmocka_unit_test(a_submit_of_unknown_fate_is_repeated_with_the_same_key),
        cmocka_unit_test(a_refused_connection_ends_at_once_when_asked_to),
        cmocka_unit_test(run_over_its_time_ends),
        cmocka_unit_test(an_answer_cut_short_is_a_transport_error),
        cmocka_unit_test(interim_answers_and_trailers_are_taken),
        cmocka_unit_test(an_answer_that_is_no_http_is_a_protocol_error),
        cmocka_unit_test(an_answer_that_is_no_json_is_a_protocol_error),
        cmocka_unit_test(a_submit_without_an_id_is_a_protocol_error),
        cmocka_unit_test(an_answer_over_the_maximum_is_refused),
        cmocka_unit_test(a_foreign_page_as_an_error_keeps_its_bytes),
        cmocka_unit_test(accessors_take_null),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
