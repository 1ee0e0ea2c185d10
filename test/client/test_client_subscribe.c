/* fal_subscribe and cancelling, against a scripted server. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

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
    o.timeout_ms = 1500; /* within it three requests are to be there */
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

int main(void) {
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
