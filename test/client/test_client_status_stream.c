/* The event stream of a request's status, by itself and under fal_subscribe, against a scripted server. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STREAM_PATH "/queue/" APP "/requests/r1/status/stream"
#define STREAM_LINE "GET " STREAM_PATH "?logs=0 HTTP/1.1"
#define LOGS_LINE "GET " STREAM_PATH "?logs=1 HTTP/1.1"
#define HEAD                   \
    "HTTP/1.1 200 OK\r\n"      \
    "x-fal-request-id: r1\r\n" \
    "Content-Type: text/event-stream\r\n"
#define EVENTS(text) {.raw = HEAD "Connection: close\r\n\r\n" text}
#define CUT(text) {.raw = HEAD "Content-Length: 9999\r\n\r\n" text}
#define STATE(state, logs) \
    "data: {\"status\":\"" state "\",\"request_id\":\"r1\",\"logs\":[" logs "]}\n\n"
#define LOG(n) "{\"message\":\"" n "\",\"timestamp\":\"" n "\"}"
#define QUEUED STATE("IN_QUEUE", "")
#define RUNS STATE("IN_PROGRESS", "")
#define DONE STATE("COMPLETED", "")

struct seen {
    char text[1024];
    int updates, cancel_after;
    fal_client *client;
};

static void add(struct seen *s, const char *text) {
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof(s->text) - len, "%s", text);
}

/* "Q", "P" or "C", then all lines so far with the new ones behind a bar. */
static void note_update(const struct fal_status *s, void *user) {
    static const char *const names[] = {"Q", "P", "C"};
    struct seen *seen = user;
    add(seen, names[s->state]);
    for (size_t i = 0; i < s->log_count; i++) {
        add(seen, i == s->first_new_log ? "|" : "");
        add(seen, s->logs[i]->message);
    }
    add(seen, " ");
    if (++seen->updates == seen->cancel_after) {
        fal_client_cancel(seen->client);
    }
}

struct run {
    struct script *script;
    fal_client *client;
    fal_result *result;
    enum fal_code code;
    struct seen seen;
    struct fal_subscribe_options options;
};

static struct run *begin(struct run *t, struct script *s) {
    *t = (struct run){.script = s, .client = client_for(s)};
    t->seen.client = t->client;
    t->options = (struct fal_subscribe_options)FAL_SUBSCRIBE_OPTIONS_INIT;
    t->options.on_queue_update = note_update;
    t->options.user = &t->seen;
    t->options.poll_interval_ms = 1;
    t->options.streaming = true;
    return t;
}

static enum fal_code follow(struct run *t) {
    t->code = fal_queue_stream_status(t->client, APP "/vision", "r1", &t->options, &t->result);
    assert_int_equal(t->code, fal_result_error(t->result)->code);
    return t->code;
}

static enum fal_code subscribe(struct run *t) {
    t->code = fal_subscribe(t->client, APP, "{\"prompt\":\"p\"}", &t->options, &t->result);
    assert_int_equal(t->code, fal_result_error(t->result)->code);
    return t->code;
}

static void end(struct run *t) {
    fal_result_free(t->result);
    fal_client_free(t->client);
    script_stop(t->script);
}

/* ---- fal_queue_stream_status ---- */

static void status_stream_tells_each_event_until_completed(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" QUEUED ": ping\n\n" RUNS DONE RUNS, .stay = true}));
    assert_int_equal(follow(&t), FAL_OK);
    assert_string_equal(t.seen.text, "Q P C ");
    assert_int_equal(fal_result_status(t.result)->state, FAL_COMPLETED);
    assert_string_equal(fal_result_string(t.result, "/status"), "COMPLETED");
    assert_string_equal(fal_result_request_id(t.result), "r1");
    assert_true(script_asked(t.script, 0, STREAM_LINE));
    assert_true(script_has_header(t.script, 0, "Accept: application/json, text/event-stream"));
    assert_true(script_has_header(t.script, 0, "Authorization: Key kid:ksecret"));
    assert_int_equal(script_count(t.script), 1);
    end(&t);
}

static void status_stream_gathers_the_log_lines(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS(QUEUED STATE("IN_PROGRESS", LOG("1") "," LOG("2"))
                                RUNS STATE("IN_PROGRESS", LOG("3")) STATE("COMPLETED", LOG("4")))));
    t.options.logs = true;
    assert_int_equal(follow(&t), FAL_OK);
    assert_string_equal(t.seen.text, "Q P|12 P12 P12|3 C123|4 ");
    const struct fal_status *s = fal_result_status(t.result);
    assert_int_equal(s->log_count, 4);
    assert_string_equal(s->logs[0]->message, "1");
    assert_string_equal(s->logs[3]->timestamp, "4");
    assert_int_equal(s->first_new_log, 3);
    assert_true(script_asked(t.script, 0, LOGS_LINE));
    end(&t);
}

/* The new stream begins with what is known, or does not. */
static void status_stream_that_breaks_is_opened_again(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(CUT(STATE("IN_PROGRESS", LOG("1") "," LOG("2"))),
                     EVENTS(STATE("IN_PROGRESS", LOG("1") "," LOG("2") "," LOG("3"))),
                     CUT(STATE("IN_PROGRESS", LOG("4"))), {.status = 503},
                     EVENTS(STATE("IN_PROGRESS", LOG("3") "," LOG("4")) DONE)));
    t.options.logs = true;
    assert_int_equal(follow(&t), FAL_OK);
    assert_string_equal(t.seen.text, "P|12 P12|3 P123|4 P1234 C1234 ");
    assert_int_equal(script_count(t.script), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(script_asked(t.script, i, LOGS_LINE));
    }
    end(&t);
}

static void status_stream_that_only_ends_is_given_up(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS(""), EVENTS(": ping\n\n"), EVENTS(QUEUED), EVENTS(""), EVENTS(""),
                     EVENTS(""), EVENTS(""), EVENTS(""), EVENTS("")));
    assert_int_equal(follow(&t), FAL_ERR_PROTOCOL);
    assert_string_equal(fal_result_error(t.result)->message,
                        "the status stream ends before COMPLETED");
    assert_int_equal(fal_result_status(t.result)->state, FAL_IN_QUEUE);
    assert_int_equal(script_count(t.script), 9); /* five again after the last event */
    end(&t);
}

static void status_stream_says_what_the_server_refused(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.status = 404, .body = "{\"detail\":\"Request not found\"}"}));
    assert_int_equal(follow(&t), FAL_ERR_HTTP);
    assert_int_equal(fal_result_error(t.result)->http_status, 404);
    assert_string_equal(fal_result_error(t.result)->message, "Request not found");
    end(&t);
    begin(&t, SCRIPT(COMPLETED));
    assert_int_equal(follow(&t), FAL_ERR_PROTOCOL);
    end(&t);
    begin(&t, SCRIPT(EVENTS(QUEUED "data: {\"status\":\"WELL\"}\n\n" DONE)));
    assert_int_equal(follow(&t), FAL_ERR_PROTOCOL);
    assert_string_equal(fal_result_error(t.result)->message, "an event is not a queue status");
    end(&t);
}

static void status_stream_cancels_nothing(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" QUEUED, .stay = true}));
    t.options.timeout_ms = 1000;
    assert_int_equal(follow(&t), FAL_ERR_TIMEOUT);
    assert_int_equal(fal_result_status(t.result)->state, FAL_IN_QUEUE);
    assert_int_equal(script_count(t.script), 1);
    end(&t);
    begin(&t, SCRIPT({.raw = HEAD "\r\n" QUEUED RUNS DONE, .stay = true}));
    t.seen.cancel_after = 2;
    assert_int_equal(follow(&t), FAL_ERR_CANCELLED);
    assert_string_equal(t.seen.text, "Q P ");
    assert_int_equal(script_count(t.script), 1);
    end(&t);
}

static void status_stream_refuses_what_is_no_call(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(ANSWER));
    assert_int_equal(fal_queue_stream_status(t.client, APP, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_stream_status(t.client, APP, "", NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_stream_status(t.client, "a", "r1", NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_stream_status(NULL, APP, "r1", NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(script_count(t.script), 0);
    end(&t);
}

struct ended {
    int count;
    enum fal_code code;
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ended *e = user;
    e->count++;
    e->code = code;
    assert_int_equal(fal_result_status(result)->state, FAL_COMPLETED);
    fal_result_free(result);
}

static void status_stream_can_be_started(void **state) {
    (void)state;
    struct run t;
    struct ended ended = {0};
    struct fal_done done = {note_end, &ended};
    begin(&t, SCRIPT(CUT(QUEUED), EVENTS(RUNS DONE)));
    assert_int_equal(fal_queue_stream_status_start(t.client, APP, "r1", &t.options, done, NULL),
                     FAL_OK);
    while (fal_client_pending(t.client) > 0) {
        assert_int_equal(fal_client_wait(t.client, -1), FAL_OK);
    }
    assert_int_equal(ended.count, 1);
    assert_int_equal(ended.code, FAL_OK);
    assert_string_equal(t.seen.text, "Q P C ");
    end(&t);
}

/* ---- fal_subscribe with streaming ---- */

static void subscribe_follows_the_stream(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(SUBMITTED, CUT(STATE("IN_PROGRESS", LOG("1"))),
                     EVENTS(STATE("IN_PROGRESS", LOG("1") "," LOG("2")) DONE), ANSWER));
    t.options.logs = true;
    assert_int_equal(subscribe(&t), FAL_OK);
    assert_string_equal(t.seen.text, "P|1 P1|2 C12 ");
    assert_string_equal(fal_result_string(t.result, "/output"), "42");
    assert_int_equal(fal_result_status(t.result)->log_count, 2);
    assert_true(script_asked(t.script, 1, LOGS_LINE));
    assert_true(script_asked(t.script, 2, LOGS_LINE));
    assert_true(script_asked(t.script, 3, RESULT_LINE));
    assert_int_equal(script_count(t.script), 4);
    end(&t);
}

static void subscribe_polls_a_server_without_streams(void **state) {
    (void)state;
    static const struct script_step refusals[] = {
        {.status = 404, .body = "{\"detail\":\"Path not found\"}"},
        {.status = 405},
        COMPLETED,
        {.status = 200, .headers = "Content-Type: text/html\r\n", .body = "<p>"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct run t;
        begin(&t, SCRIPT(SUBMITTED, refusals[i], IN_QUEUE, COMPLETED, ANSWER));
        assert_int_equal(subscribe(&t), FAL_OK);
        assert_string_equal(t.seen.text, "Q C ");
        assert_true(script_asked(t.script, 1, STREAM_LINE));
        assert_true(script_asked(t.script, 2, STATUS_LINE));
        assert_true(script_asked(t.script, 3, STATUS_LINE));
        assert_true(script_asked(t.script, 4, RESULT_LINE));
        end(&t);
    }
}

static void subscribe_over_its_time_cancels_what_it_streams(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(SUBMITTED, {.raw = HEAD "\r\n" QUEUED, .stay = true},
                     {.status = 202, .body = "{}"}));
    t.options.timeout_ms = 1000;
    assert_int_equal(subscribe(&t), FAL_ERR_TIMEOUT);
    assert_true(script_asked(t.script, 2, CANCEL_LINE));
    end(&t);
    begin(&t, SCRIPT(SUBMITTED, {.raw = HEAD "\r\n" QUEUED RUNS DONE, .stay = true},
                     {.status = 202, .body = "{}"}));
    t.seen.cancel_after = 1;
    assert_int_equal(subscribe(&t), FAL_ERR_CANCELLED);
    assert_string_equal(t.seen.text, "Q ");
    assert_true(script_asked(t.script, 2, CANCEL_LINE));
    end(&t);
}

static void a_known_request_is_followed_by_its_stream(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS(RUNS DONE), ANSWER));
    assert_int_equal(fal_queue_subscribe_to_status(t.client, APP, "r1", &t.options, &t.result),
                     FAL_OK);
    assert_string_equal(t.seen.text, "P C ");
    assert_true(script_asked(t.script, 0, STREAM_LINE));
    assert_true(script_asked(t.script, 1, RESULT_LINE));
    end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_stream_tells_each_event_until_completed),
        cmocka_unit_test(status_stream_gathers_the_log_lines),
        cmocka_unit_test(status_stream_that_breaks_is_opened_again),
        cmocka_unit_test(status_stream_that_only_ends_is_given_up),
        cmocka_unit_test(status_stream_says_what_the_server_refused),
        cmocka_unit_test(status_stream_cancels_nothing),
        cmocka_unit_test(status_stream_refuses_what_is_no_call),
        cmocka_unit_test(status_stream_can_be_started),
        cmocka_unit_test(subscribe_follows_the_stream),
        cmocka_unit_test(subscribe_polls_a_server_without_streams),
        cmocka_unit_test(subscribe_over_its_time_cancels_what_it_streams),
        cmocka_unit_test(a_known_request_is_followed_by_its_stream),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
