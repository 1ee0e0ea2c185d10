/* libfal's streams from the real server, whose upstream is the mock. */
#include "calls.h"
#include "fal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "fal-ai/any-llm"

static struct server server;
static struct mock mock;

/* ---- What callbacks are told ---- */

struct seen {
    char text[8192]; /* all that is new, one behind the other */
    char logs[8192]; /* likewise, a line each */
    char states[64]; /* without repeats */
    size_t events, restarts, cancel_after;
    fal_client *client;
};

static void add(char *out, size_t room, const char *text) {
    size_t len = strlen(out);
    assert_true(strlen(text) < room - len);
    snprintf(out + len, room - len, "%s", text);
}

static void note_event(const char *json, void *user) {
    struct seen *s = user;
    if (++s->events == s->cancel_after) fal_client_cancel(s->client);
}

static void note_delta(const char *delta, size_t bytes, bool restart, void *user) {
    struct seen *s = user;
    assert_int_equal(strlen(delta), bytes);
    s->restarts += restart;
    add(s->text, sizeof s->text, delta);
}

static void note_update(const struct fal_status *status, void *user) {
    static const char names[] = "QPC";
    struct seen *s = user;
    char name[2] = {names[status->state], '\0'};
    size_t len = strlen(s->states);
    if (len == 0 || s->states[len - 1] != name[0]) add(s->states, sizeof s->states, name);
    for (size_t i = status->first_new_log; i < status->log_count; i++) {
        add(s->logs, sizeof s->logs, status->logs[i]->message);
        add(s->logs, sizeof s->logs, "\n");
    }
    note_event("", s);
}

static fal_client *client(void) {
    char base[64];
    fal_client *c = NULL;
    struct fal_options o = FAL_OPTIONS_INIT;
    snprintf(base, sizeof base, "http://127.0.0.1:%u", server.port);
    o.base_url = base;
    o.credentials = "";
    o.retry_base_ms = 50;
    o.max_retries = 100;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

static const char *input(const char *model) {
    static char text[128];
    snprintf(text, sizeof text, "{\"prompt\":\"%s\",\"model\":\"test/%s\"}", model, model);
    return text;
}

static struct fal_stream_options telling(struct seen *s) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    o.on_event = note_event;
    o.on_delta = note_delta;
    o.user = s;
    return o;
}

/* ---- A model's stream ---- */

static void stream_is_what_run_gives_piece_by_piece(void **state) {
    static const char *const models[] = {"words", "long"};
    for (size_t i = 0; i < 2; i++) {
        fal_client *c = client();
        fal_result *whole = NULL, *streamed = NULL;
        struct seen s = {.client = c};
        struct fal_stream_options o = telling(&s);
        assert_int_equal(fal_run(c, ID, input(models[i]), NULL, &whole), FAL_OK);
        assert_int_equal(fal_stream(c, ID, input(models[i]), &o, &streamed), FAL_OK);
        assert_string_equal(s.text, fal_result_string(whole, "/output"));
        assert_string_equal(s.text, fal_result_string(streamed, "/output"));
        assert_non_null(strstr(fal_result_json(streamed), "\"partial\":false"));
        assert_string_not_equal(fal_result_request_id(streamed), "");
        assert_int_equal(s.restarts, 0);
        assert_true(i > 0 || s.events > 1); /* the one that is slow comes in pieces */
        fal_result_free(whole);
        fal_result_free(streamed);
        fal_client_free(c);
    }
}

static void stream_that_fails_midway_ends_with_the_servers_words(void **state) {
    fal_client *c = client();
    fal_result *r = NULL;
    struct seen s = {.client = c};
    struct fal_stream_options o = telling(&s);
    assert_int_equal(fal_stream(c, ID, input("cut"), &o, &r), FAL_ERR_HTTP);
    assert_string_not_equal(fal_result_error(r)->message, "");
    assert_string_not_equal(s.text, "");
    assert_string_equal(fal_result_string(r, "/output"), s.text);
    fal_result_free(r);
    fal_client_free(c);
}

static void stream_that_cannot_begin_is_refused(void **state) {
    static const struct {
        const char *id, *model;
        int status;
    } rows[] = {{ID, "refused", 502},
                {"openrouter/router/openai/v1/chat/completions", "words", 404}};
    for (size_t i = 0; i < 2; i++) {
        fal_client *c = client();
        fal_result *r = NULL;
        assert_int_equal(fal_stream(c, rows[i].id, input(rows[i].model), NULL, &r), FAL_ERR_HTTP);
        assert_int_equal(fal_result_error(r)->http_status, rows[i].status);
        assert_string_not_equal(fal_result_error(r)->message, "");
        fal_result_free(r);
        fal_client_free(c);
    }
}

static void cancelled_stream_ends_the_upstreams_call(void **state) {
    fal_client *c = client();
    struct seen s = {.client = c, .cancel_after = 2};
    struct fal_stream_options o = telling(&s);
    mock_reset(&mock);
    assert_int_equal(fal_stream(c, ID, input("slow"), &o, NULL), FAL_ERR_CANCELLED);
    assert_int_equal(s.events, 2);
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") > 0; sleep_ms(5))
        assert_true(now_ms() < end);
    fal_client_free(c);
}

/* ---- The stream of a status ---- */

static void status_stream_tells_what_polls_tell(void **state) {
    fal_client *c = client();
    fal_result *submitted = NULL, *followed = NULL, *polled = NULL;
    struct seen s = {.client = c};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    struct fal_call_options with_logs = FAL_CALL_OPTIONS_INIT;
    o.logs = with_logs.logs = true;
    o.on_queue_update = note_update;
    o.user = &s;
    assert_int_equal(fal_queue_submit(c, ID, input("words"), NULL, &submitted), FAL_OK);
    const char *id = fal_result_request_id(submitted);
    assert_int_equal(fal_queue_stream_status(c, ID, id, &o, &followed), FAL_OK);
    assert_int_equal(fal_queue_status(c, ID, id, &with_logs, &polled), FAL_OK);
    const struct fal_status *a = fal_result_status(followed), *b = fal_result_status(polled);
    assert_int_equal(a->state, FAL_COMPLETED);
    assert_int_equal(a->log_count, b->log_count);
    assert_true(b->log_count > 1);
    char lines[8192] = "";
    for (size_t i = 0; i < b->log_count; i++) {
        assert_string_equal(a->logs[i]->message, b->logs[i]->message);
        add(lines, sizeof lines, b->logs[i]->message);
        add(lines, sizeof lines, "\n");
    }
    assert_string_equal(s.logs, lines); /* each once */
    fal_result_free(submitted);
    fal_result_free(followed);
    fal_result_free(polled);
    fal_client_free(c);
}

static void subscribe_follows_the_stream_to_the_output(void **state) {
    fal_client *c = client();
    fal_result *r = NULL;
    struct seen s = {.client = c};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.streaming = true;
    o.on_queue_update = note_update;
    o.user = &s;
    assert_int_equal(fal_subscribe(c, ID, input("words"), &o, &r), FAL_OK);
    assert_string_not_equal(fal_result_string(r, "/output"), "");
    assert_int_equal(s.states[strlen(s.states) - 1], 'C');
    fal_result_free(r);
    fal_client_free(c);
}

static void cancelled_subscribe_cancels_what_it_follows(void **state) {
    fal_client *c = client();
    fal_result *r = NULL, *after = NULL;
    struct seen s = {.client = c, .cancel_after = 1};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.streaming = true;
    o.on_queue_update = note_update;
    o.user = &s;
    assert_int_equal(fal_subscribe(c, ID, input("slow"), &o, &r), FAL_ERR_CANCELLED);
    assert_int_equal(fal_queue_stream_status(c, ID, fal_result_request_id(r), &o, &after), FAL_OK);
    assert_string_equal(fal_result_status(after)->error_type, "client_cancelled");
    fal_result_free(r);
    fal_result_free(after);
    fal_client_free(c);
}

/* The server goes and comes back on its port, with its queue. */
static char config_text[2048], data[MAX_PATH];

static void start_again(void) {
    char listen[32];
    snprintf(listen, sizeof listen, "127.0.0.1:%u", server.port);
    server_stop(&server);
    server_start(&server,
                 &(struct server_options){.config = config_text, .listen = listen, .data = data});
}

static void note_end(enum fal_code code, fal_result *result, void *user) {
    *(enum fal_code *)user = code;
    if (code != FAL_OK) print_message("%s\n", fal_result_error(result)->message);
    fal_result_free(result);
}

static void followed_request_outlives_a_restart(void **state) {
    fal_client *c = client();
    struct seen s = {.client = c};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    enum fal_code code = FAL_ERR_BUSY;
    struct fal_done done = {note_end, &code};
    o.streaming = true;
    o.logs = true;
    o.on_queue_update = note_update;
    o.user = &s;
    assert_int_equal(fal_subscribe_start(c, ID, input("late"), &o, done, NULL), FAL_OK);
    while (strchr(s.states, 'P') == NULL) assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    start_again();
    while (fal_client_pending(c) > 0) assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    assert_int_equal(code, FAL_OK);
    assert_int_equal(s.states[strlen(s.states) - 1], 'C');
    fal_client_free(c);
}

/* ---- The suite ---- */

static const struct {
    const char *name, *path;
} models[] = {{"words", "/tokens/20/sse-interval/40"},
              {"long", "/tokens/300"},
              {"cut", "/cut/e5"},
              {"refused", "/html"},
              {"slow", "/sse-interval/50/tokens/100000"},
              {"late", "/delay/1500"}};

static int start(void **state) {
    struct text upstreams = {0}, routes = {0};
    mock_start(&mock);
    scratch_make(data);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        text_printf(&upstreams,
                    "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u%s/v1\", key: %s }\n",
                    models[i].name, mock.port, models[i].path, CANARY_UPSTREAM);
        text_printf(&routes, "  - { model: \"test/%s\", to: [%s] }\n", models[i].name,
                    models[i].name);
    }
    snprintf(config_text, sizeof config_text, "upstreams:\n%sroutes:\n%s", upstreams.p, routes.p);
    text_free(&upstreams);
    text_free(&routes);
    server_start(&server, &(struct server_options){.config = config_text, .data = data});
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    scratch_remove(data);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_what_run_gives_piece_by_piece),
        cmocka_unit_test(stream_that_fails_midway_ends_with_the_servers_words),
        cmocka_unit_test(stream_that_cannot_begin_is_refused),
        cmocka_unit_test(cancelled_stream_ends_the_upstreams_call),
        cmocka_unit_test(status_stream_tells_what_polls_tell),
        cmocka_unit_test(subscribe_follows_the_stream_to_the_output),
        cmocka_unit_test(cancelled_subscribe_cancels_what_it_follows),
        cmocka_unit_test(followed_request_outlives_a_restart),
    };
    return suite_main(argc, argv, "libfal_streams", tests, sizeof tests / sizeof *tests, start,
                      stop);
}
