/* fal_stream, against a scripted server. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM_LINE "POST /run/" APP "/stream HTTP/1.1"
#define HEAD                   \
    "HTTP/1.1 200 OK\r\n"      \
    "x-fal-request-id: r1\r\n" \
    "Content-Type: text/event-stream; charset=utf-8\r\n"
#define EVENTS(text) {.raw = HEAD "Connection: close\r\n\r\n" text}
/* Cut off: more was promised. */
#define CUT(text) {.raw = HEAD "Content-Length: 9999\r\n\r\n" text}
#define HE "data: {\"output\":\"He\",\"partial\":true}\n\n"
#define HELLO "data: {\"output\":\"Hello\",\"partial\":false}\n\n"
#define HELLO_JSON "{\"output\":\"Hello\",\"partial\":false}"

/* What the callbacks were told: "e" an event, "t(text)", "d(delta)", "r(delta)" a restart. */
struct seen {
    char text[1024];
    fal_client *client;
    fal_call *call;
    int events, cancel_after;
};

static void add(struct seen *s, const char *text) {
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof(s->text) - len, "%s", text);
}

static void note(struct seen *s, const char *mark, const char *text) {
    add(s, mark);
    add(s, "(");
    add(s, text);
    add(s, ")");
}

static void note_event(const char *json, void *user) {
    struct seen *s = user;
    add(s, json[0] == '{' ? "e" : "?");
    if (++s->events == s->cancel_after) {
        if (s->call != NULL) {
            fal_call_cancel(s->call);
        } else {
            fal_client_cancel(s->client);
        }
    }
}

static void note_text(const char *text, void *user) {
    note(user, "t", text);
}

static void note_delta(const char *delta, size_t bytes, bool restart, void *user) {
    assert_int_equal(strlen(delta), bytes);
    note(user, restart ? "r" : "d", delta);
}

static struct fal_stream_options watching(struct seen *seen) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    o.on_event = note_event;
    o.on_text = note_text;
    o.on_delta = note_delta;
    o.user = seen;
    return o;
}

/* One stream from its script to its result. */
struct run {
    struct script *script;
    fal_client *client;
    fal_result *result;
    enum fal_code code;
    struct seen seen;
    struct fal_stream_options options;
};

static struct run *begin(struct run *t, struct script *s) {
    *t = (struct run){.script = s, .client = client_for(s)};
    t->seen.client = t->client;
    t->options = watching(&t->seen);
    return t;
}

static enum fal_code go(struct run *t) {
    t->code = fal_stream(t->client, APP, "{\"prompt\":\"p\"}", &t->options, &t->result);
    assert_int_equal(t->code, fal_result_error(t->result)->code);
    return t->code;
}

static void end(struct run *t) {
    fal_result_free(t->result);
    fal_client_free(t->client);
    script_stop(t->script);
}

static void stream_gives_each_event_its_text_and_what_is_new(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS(": ping\n\n" HE HELLO)));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(t.seen.text, "et(He)d(He)et(Hello)d(llo)");
    assert_string_equal(fal_result_json(t.result), HELLO_JSON);
    assert_string_equal(fal_result_string(t.result, "/output"), "Hello");
    assert_string_equal(fal_result_request_id(t.result), "r1");
    assert_int_equal(fal_result_http_status(t.result), 200);
    assert_true(script_asked(t.script, 0, STREAM_LINE));
    assert_true(script_has_header(t.script, 0, "Accept: application/json, text/event-stream"));
    assert_true(script_has_header(t.script, 0, "Content-Type: application/json"));
    assert_true(script_has_header(t.script, 0, "Authorization: Key kid:ksecret"));
    assert_non_null(strstr(script_request(t.script, 0), "\r\n\r\n{\"prompt\":\"p\"}"));
    end(&t);
}

static void stream_says_the_callers_own_headers(void **state) {
    (void)state;
    const char *const lines[] = {"x-own: 1"};
    struct run t;
    begin(&t, SCRIPT(EVENTS(HELLO)));
    t.options.hint = "h";
    t.options.start_timeout_s = 12.5;
    t.options.headers = lines;
    t.options.header_count = 1;
    assert_int_equal(go(&t), FAL_OK);
    assert_true(script_has_header(t.script, 0, "x-fal-runner-hint: h"));
    assert_true(script_has_header(t.script, 0, "x-fal-request-timeout: 12.5"));
    assert_true(script_has_header(t.script, 0, "x-own: 1"));
    end(&t);
}

static void stream_reads_bytes_that_come_one_by_one(void **state) {
    (void)state;
    struct run t;
    begin(&t,
          SCRIPT({.raw = HEAD "Connection: close\r\n\r\n"
                              "data: {\"output\":\"h\xc3\xa9\"}\r\n\r\n"
                              ": \xf0\x9f\x98\x80\r\n"
                              "data: {\"output\":\r\ndata: \"h\xc3\xa9\xf0\x9f\x98\x80\"}\r\n\r\n",
                  .drip = true}));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(t.seen.text, "et(h\xc3\xa9)d(h\xc3\xa9)"
                                     "et(h\xc3\xa9\xf0\x9f\x98\x80)d(\xf0\x9f\x98\x80)");
    end(&t);
}

static void stream_restarts_when_the_text_is_another(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS("data: {\"output\":\"ab\"}\n\ndata: {\"output\":\"ab\"}\n\n"
                            "data: {\"output\":\"ax\"}\n\ndata: {\"step\":1}\n\n"
                            "data: {\"output\":\"\"}\n\ndata: {\"output\":\"z\"}\n\n")));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(t.seen.text, "et(ab)d(ab)et(ab)et(ax)r(ax)eet()r()et(z)d(z)");
    end(&t);
}

static void stream_goes_on_after_events_without_text(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS("data: {\"step\":0}\n\ndata: {\"output\":\"ab\"}\n\n"
                            "data: {\"step\":1}\n\ndata: {\"step\":2}\n\n"
                            "data: {\"output\":\"abc\"}\n\ndata: {\"step\":3}\n\n")));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(t.seen.text, "eet(ab)d(ab)eeet(abc)d(c)e");
    assert_string_equal(fal_result_json(t.result), "{\"step\":3}");
    end(&t);
}

static void stream_ends_at_done_and_waits_no_longer(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE HELLO "data: [DONE]\n\n" HE, .stay = true}, ANSWER));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(fal_result_json(t.result), HELLO_JSON);
    assert_int_equal(t.seen.events, 2);
    assert_int_equal(fal_run(t.client, APP, NULL, NULL, NULL),
                     FAL_OK); /* the client is free again */
    end(&t);
}

static void stream_without_an_event_is_no_answer(void **state) {
    (void)state;
    static const char *const texts[] = {"", ": ping\n\n", "data:\n\n", "data: [DONE]\n\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char raw[512];
        struct run t;
        snprintf(raw, sizeof(raw), "%sConnection: close\r\n\r\n%s", HEAD, texts[i]);
        begin(&t, SCRIPT({.raw = raw}));
        assert_int_equal(go(&t), FAL_ERR_PROTOCOL);
        assert_string_equal(fal_result_error(t.result)->message,
                            "the stream ended without an event");
        assert_null(fal_result_json(t.result));
        assert_string_equal(fal_result_request_id(t.result), "r1");
        end(&t);
    }
}

static void stream_ends_with_the_error_of_an_event(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD
                      "\r\n" HE "data: {\"output\":\"He\",\"partial\":true,\"error\":\"too long\","
                      "\"error_type\":\"generation_timeout\"}\n\n",
                      .stay = true}));
    assert_int_equal(go(&t), FAL_ERR_HTTP);
    const struct fal_error *e = fal_result_error(t.result);
    assert_string_equal(e->message, "too long");
    assert_string_equal(e->error_type, "generation_timeout");
    assert_string_equal(e->request_id, "r1");
    assert_string_equal(fal_result_string(t.result, "/output"), "He");
    assert_int_equal(t.seen.events, 2);
    end(&t);
}

static void stream_refuses_an_event_that_is_not_json(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE "data: {\"output\":\n\n" HELLO, .stay = true}));
    assert_int_equal(go(&t), FAL_ERR_PROTOCOL);
    assert_string_equal(fal_result_error(t.result)->message, "an event is not JSON");
    assert_int_equal(t.seen.events, 1);
    end(&t);
}

/* Not so with a last event that lacks only its blank line: HTTP says that the answer is whole. */
static void stream_gives_a_last_event_without_its_blank_line(void **state) {
    (void)state;
    static const char *const ends[] = {"", "\n", "\r\n", "\r"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char raw[512];
        struct run t;
        snprintf(raw, sizeof(raw), "%sConnection: close\r\n\r\n%sdata: %s%s", HEAD, HE, HELLO_JSON,
                 ends[i]);
        begin(&t, SCRIPT({.raw = raw}));
        assert_int_equal(go(&t), FAL_OK);
        assert_string_equal(fal_result_json(t.result), HELLO_JSON);
        end(&t);
    }
}

static void stream_takes_no_event_over_the_limit(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE "data: {\"output\":\"",
                      .filler_bytes = FAL_MAX_REPLY_BYTES + (1U << 20)}));
    assert_int_equal(go(&t), FAL_ERR_TOO_LARGE);
    assert_int_equal(t.seen.events, 1);
    end(&t);
}

static void stream_cut_within_an_event_is_not_whole(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(EVENTS(HE "data: {\"output\":\"Hel")));
    assert_int_equal(go(&t), FAL_ERR_PROTOCOL);
    assert_string_equal(fal_result_error(t.result)->message, "the stream ended within an event");
    assert_string_equal(fal_result_string(t.result, "/output"), "He");
    end(&t);
}

static void stream_that_breaks_is_not_asked_for_again(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(CUT(HE), EVENTS(HELLO)));
    assert_int_equal(go(&t), FAL_ERR_TRANSPORT);
    assert_string_equal(t.seen.text, "et(He)d(He)");
    assert_string_equal(fal_result_string(t.result, "/output"), "He");
    assert_string_equal(fal_result_request_id(t.result), "r1");
    assert_int_equal(script_count(t.script), 1);
    end(&t);
}

static void stream_takes_plain_json_for_one_event(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT(ANSWER));
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(t.seen.text, "et(42)d(42)");
    assert_string_equal(fal_result_string(t.result, "/output"), "42");
    assert_string_equal(fal_result_request_id(t.result), "r1");
    end(&t);
}

static void stream_refuses_a_page(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.status = 200,
                      .headers = "Content-Type: text/html\r\n",
                      .body = "data: <p>login</p>\n\n"}));
    assert_int_equal(go(&t), FAL_ERR_PROTOCOL);
    assert_int_equal(t.seen.events, 0);
    end(&t);
}

/* As every POST: what was certainly not carried out. */
static void stream_is_tried_again_before_it_begins(void **state) {
    (void)state;
    struct run t;
    begin(&t,
          SCRIPT({.status = 503}, {.status = 429, .headers = "Retry-After: 0\r\n"}, EVENTS(HELLO)));
    assert_int_equal(go(&t), FAL_OK);
    assert_int_equal(script_count(t.script), 3);
    end(&t);
    begin(&t, SCRIPT({.status = 502}, EVENTS(HELLO)));
    assert_int_equal(go(&t), FAL_ERR_HTTP);
    assert_int_equal(script_count(t.script), 1);
    end(&t);
}

static void stream_says_what_the_server_refused(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.status = 422,
                      .body = "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"missing\","
                              "\"type\":\"missing\"}]}"}));
    assert_int_equal(go(&t), FAL_ERR_HTTP);
    assert_string_equal(fal_result_error(t.result)->message, "body.prompt: missing");
    assert_int_equal(fal_result_error(t.result)->http_status, 422);
    assert_int_equal(t.seen.events, 0);
    end(&t);
}

static void stream_that_falls_silent_has_timed_out(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE, .stay = true}, EVENTS(HELLO)));
    t.options.idle_timeout_ms = 800;
    assert_int_equal(go(&t), FAL_ERR_TIMEOUT);
    assert_string_equal(fal_result_error(t.result)->message, "the stream was silent for 800 ms");
    assert_string_equal(fal_result_string(t.result, "/output"), "He");
    assert_int_equal(script_count(t.script), 1);
    end(&t);
}

static void stream_that_never_answers_has_timed_out(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.hang = true}));
    t.options.idle_timeout_ms = 50;
    assert_int_equal(go(&t), FAL_ERR_TIMEOUT);
    end(&t);
}

/* Longer than the longest silence in all, with comments only. */
static void stream_lives_on_the_servers_comments(void **state) {
    (void)state;
    struct run t;
    begin(&t,
          SCRIPT({.raw = HEAD "Connection: close\r\n\r\n:.................................\n" HELLO,
                  .drip = true,
                  .drip_ms = 12}));
    t.options.idle_timeout_ms = 1500;
    assert_int_equal(go(&t), FAL_OK);
    end(&t);
}

static void take_time(const char *json, void *user) {
    (void)json;
    (void)user;
    usleep(1300000);
}

/* Longer than the longest silence: what comes meanwhile is there afterwards. */
static void stream_lives_on_when_a_callback_takes_its_time(void **state) {
    (void)state;
    struct run t;
    begin(&t,
          SCRIPT({.raw = HEAD "Connection: close\r\n\r\n" HE HELLO, .drip = true, .drip_ms = 3}));
    t.options.idle_timeout_ms = 1000;
    t.options.on_event = take_time;
    assert_int_equal(go(&t), FAL_OK);
    assert_string_equal(fal_result_json(t.result), HELLO_JSON);
    end(&t);
}

static void stream_ends_when_its_time_is_over(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE, .stay = true}));
    t.options.timeout_ms = 200;
    t.options.idle_timeout_ms = -1;
    assert_int_equal(go(&t), FAL_ERR_TIMEOUT);
    assert_string_equal(fal_result_error(t.result)->message, "timed out after 200 ms");
    end(&t);
}

static void stream_cancelled_by_a_callback_tells_nothing_more(void **state) {
    (void)state;
    struct run t;
    begin(&t, SCRIPT({.raw = HEAD "\r\n" HE HELLO HE HELLO, .stay = true}));
    t.seen.cancel_after = 2;
    assert_int_equal(go(&t), FAL_ERR_CANCELLED);
    assert_int_equal(t.seen.events, 2);
    assert_string_equal(fal_result_json(t.result), HELLO_JSON);
    end(&t);
    begin(&t, SCRIPT(EVENTS(HELLO))); /* also when it was the last one */
    t.seen.cancel_after = 1;
    assert_int_equal(go(&t), FAL_ERR_CANCELLED);
    end(&t);
}

static fal_client *to_cancel;

static void cancel_it(void *user) {
    (void)user;
    fal_client_cancel(to_cancel);
}

static void stream_is_cancelled_from_another_thread(void **state) {
    (void)state;
    struct run t;
    alarm(8);
    begin(&t, SCRIPT({.hang = true, .hook = cancel_it}));
    to_cancel = t.client;
    assert_int_equal(go(&t), FAL_ERR_CANCELLED);
    alarm(0);
    end(&t);
}

static void stream_path_stands_behind_the_endpoint_once(void **state) {
    (void)state;
    static const struct {
        const char *id, *path, *line;
    } rows[] = {
        {"a/b", NULL, "POST /run/a/b/stream HTTP/1.1"},
        {"a/b/stream", NULL, "POST /run/a/b/stream HTTP/1.1"},
        {"a/b/stream/", NULL, "POST /run/a/b/stream HTTP/1.1"},
        {"a/b/vision", NULL, "POST /run/a/b/vision/stream HTTP/1.1"},
        {"1234-b", NULL, "POST /run/1234/b/stream HTTP/1.1"},
        {"a/b", "", "POST /run/a/b HTTP/1.1"},
        {"a/b", "live", "POST /run/a/b/live HTTP/1.1"},
        {"a/b", "/live", "POST /run/a/b/live HTTP/1.1"},
        {"a/b/live", "/live", "POST /run/a/b/live HTTP/1.1"},
        {"a/blive", "live", "POST /run/a/blive/live HTTP/1.1"},
        {"a/b/live", "live", "POST /run/a/b/live HTTP/1.1"},
        {"a/stream", NULL, "POST /run/a/stream HTTP/1.1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
        struct script *s = SCRIPT(EVENTS(HELLO));
        fal_client *c = client_for(s);
        o.path = rows[i].path;
        assert_int_equal(fal_stream(c, rows[i].id, NULL, &o, NULL), FAL_OK);
        if (!script_asked(s, 0, rows[i].line)) {
            fail_msg("%s", script_request(s, 0));
        }
        fal_client_free(c);
        script_stop(s);
    }
}

static void stream_refuses_what_is_no_call(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    fal_client *c = client_for(s);
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    fal_result *r = NULL;
    assert_int_equal(fal_stream(NULL, APP, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_stream(c, NULL, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_stream(c, "a", NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_stream(c, APP, "[]", NULL, &r), FAL_ERR_ARGUMENT);
    assert_string_not_equal(fal_result_error(r)->message, "");
    fal_result_free(r);
    o.timeout_ms = -1;
    assert_int_equal(fal_stream(c, APP, NULL, &o, NULL), FAL_ERR_ARGUMENT);
    o.timeout_ms = 0;
    o.path = "a?b=c";
    assert_int_equal(fal_stream(c, APP, NULL, &o, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(script_count(s), 0);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Streams that are only started ---- */

struct ended {
    int count;
    enum fal_code code;
    char json[128];
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ended *e = user;
    e->count++;
    e->code = code;
    snprintf(e->json, sizeof(e->json), "%s",
             fal_result_json(result) != NULL ? fal_result_json(result) : "");
    fal_result_free(result);
}

struct starter {
    fal_client *client;
    struct ended ended;
    int events;
};

static void start_a_run(const char *json, void *user) {
    struct starter *s = user;
    struct fal_done done = {note_end, &s->ended};
    if (s->events++ == 0) {
        assert_int_equal(fal_run_start(s->client, APP, NULL, NULL, done, NULL), FAL_OK);
        assert_int_equal(fal_run(s->client, APP, NULL, NULL, NULL), FAL_ERR_BUSY);
    }
}

static void wait_for(fal_client *c) {
    while (fal_client_pending(c) > 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
}

static void a_callback_may_start_another_call(void **state) {
    (void)state;
    struct script *s = SCRIPT(EVENTS(HE HELLO), ANSWER);
    struct starter starter = {.client = client_for(s)};
    struct ended ended = {0};
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    struct fal_done done = {note_end, &ended};
    o.on_event = start_a_run;
    o.user = &starter;
    assert_int_equal(fal_stream_start(starter.client, APP, NULL, &o, done, NULL), FAL_OK);
    assert_int_equal(ended.count, 0);
    wait_for(starter.client);
    assert_int_equal(ended.count, 1);
    assert_int_equal(ended.code, FAL_OK);
    assert_string_equal(ended.json, HELLO_JSON);
    assert_int_equal(starter.events, 2);
    assert_int_equal(starter.ended.count, 1);
    assert_string_equal(starter.ended.json, "{\"output\":\"42\"}");
    fal_client_free(starter.client);
    script_stop(s);
}

static void one_of_two_streams_is_cancelled(void **state) {
    (void)state;
    struct script_step step = {.raw = HEAD "\r\n" HE HELLO, .stay = true};
    struct script *s = SCRIPT(step, step);
    fal_client *c = client_for(s);
    struct seen seen[2] = {{.cancel_after = 1}, {.cancel_after = 0}};
    struct ended ended[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        struct fal_stream_options o = watching(&seen[i]);
        struct fal_done done = {note_end, &ended[i]};
        o.idle_timeout_ms = -1;
        assert_int_equal(fal_stream_start(c, APP, NULL, &o, done, &seen[i].call), FAL_OK);
    }
    while (ended[0].count == 0 || seen[1].events < 2) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    assert_int_equal(ended[0].code, FAL_ERR_CANCELLED);
    assert_int_equal(seen[0].events, 1);
    assert_int_equal(ended[1].count, 0);
    fal_call_cancel(seen[1].call);
    wait_for(c);
    assert_int_equal(ended[1].code, FAL_ERR_CANCELLED);
    assert_string_equal(ended[1].json, HELLO_JSON);
    assert_int_equal(ended[0].count + ended[1].count, 2);
    fal_call_free(seen[0].call);
    fal_call_free(seen[1].call);
    fal_client_free(c);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_gives_each_event_its_text_and_what_is_new),
        cmocka_unit_test(stream_says_the_callers_own_headers),
        cmocka_unit_test(stream_reads_bytes_that_come_one_by_one),
        cmocka_unit_test(stream_restarts_when_the_text_is_another),
        cmocka_unit_test(stream_goes_on_after_events_without_text),
        cmocka_unit_test(stream_ends_at_done_and_waits_no_longer),
        cmocka_unit_test(stream_without_an_event_is_no_answer),
        cmocka_unit_test(stream_ends_with_the_error_of_an_event),
        cmocka_unit_test(stream_refuses_an_event_that_is_not_json),
        cmocka_unit_test(stream_gives_a_last_event_without_its_blank_line),
        cmocka_unit_test(stream_takes_no_event_over_the_limit),
        cmocka_unit_test(stream_cut_within_an_event_is_not_whole),
        cmocka_unit_test(stream_that_breaks_is_not_asked_for_again),
        cmocka_unit_test(stream_takes_plain_json_for_one_event),
        cmocka_unit_test(stream_refuses_a_page),
        cmocka_unit_test(stream_is_tried_again_before_it_begins),
        cmocka_unit_test(stream_says_what_the_server_refused),
        cmocka_unit_test(stream_that_falls_silent_has_timed_out),
        cmocka_unit_test(stream_that_never_answers_has_timed_out),
        cmocka_unit_test(stream_lives_on_the_servers_comments),
        cmocka_unit_test(stream_lives_on_when_a_callback_takes_its_time),
        cmocka_unit_test(stream_ends_when_its_time_is_over),
        cmocka_unit_test(stream_cancelled_by_a_callback_tells_nothing_more),
        cmocka_unit_test(stream_is_cancelled_from_another_thread),
        cmocka_unit_test(stream_path_stands_behind_the_endpoint_once),
        cmocka_unit_test(stream_refuses_what_is_no_call),
        cmocka_unit_test(a_callback_may_start_another_call),
        cmocka_unit_test(one_of_two_streams_is_cancelled),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
