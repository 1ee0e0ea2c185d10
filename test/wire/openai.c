/* OpenAI's dialect through sockets: what travels, what comes back, how it ends. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

/* How a stream ends: refused as the whole answer is, by an event with an error and a cut, or by [DONE]. */
enum stream { SAME, IN_BAND, WELL };

struct row {
    const char *name, *path; /* of the mock */
    unsigned status;         /* of the whole answer; 0: not asked for */
    const char *code;        /* of the error; NULL: null, or an answer */
    enum stream stream;
    const char *retry; /* x-should-retry; NULL: not said */
};

#define SHORT ", first_byte_timeout: 300ms, idle_timeout: 300ms"

/* clang-format off */
static const struct row rows[] = {
    {"good", "/ok", 200, NULL, WELL, NULL},
    {"openrouter", "/openrouter", 200, NULL, WELL, NULL},
    {"U3_401_of_the_upstream_is_502", "/status/401", 502, "runner_server_error", SAME, "false"},
    {"U4_400_is_400", "/status/400", 400, NULL, SAME, "false"},
    {"U4_400_has_the_upstreams_code", "/status/400/error-code/context_length_exceeded", 400, "context_length_exceeded", SAME, "false"},
    {"U4_422_is_400", "/status/422/error-code/unsupported_value", 400, "unsupported_value", SAME, "false"},
    {"U5_404_is_502", "/status/404", 502, "runner_server_error", SAME, "false"},
    {"U6_429_is_429", "/status/429/retry-after/7", 429, "rate_limit_exceeded", SAME, "true"},
    {"U7_no_quota_is_502", "/status/429/error-code/insufficient_quota", 502, "runner_server_error", SAME, "false"},
    {"U8_500_is_502", "/status/500", 502, "runner_server_error", SAME, "true"},
    {"U9_503_is_503", "/openrouter/status/503", 503, "runner_scheduling_failure", SAME, "true"},
    {"U10_no_headers_is_504", "/silent", 504, "request_timeout", SAME, "true"},
    {"U11_silence_is_told_in_the_stream", "/stall/e3", 0, "request_timeout", IN_BAND, NULL},
    {"U12_HTML_is_502", "/html", 502, "runner_server_error", SAME, "false"},
    {"U12_empty_choices_are_502", "/choices-empty", 502, "runner_server_error", SAME, "false"},
    {"U13_cut_body_is_502", "/cut/300", 502, "runner_incomplete_response", SAME, "true"},
    {"U13_stream_cut_by_FIN", "/cut/e5", 0, "runner_incomplete_response", IN_BAND, NULL},
    {"U13_stream_without_DONE", "/no-done", 0, "runner_incomplete_response", IN_BAND, NULL},
    {"U13_stream_without_finish_reason", "/no-finish", 0, "runner_incomplete_response", IN_BAND, NULL},
    {"U14_error_in_the_body_is_502", "/openrouter/error-in-stream", 502, "runner_server_error", IN_BAND, "true"},
    {"U14_error_503_in_the_body_is_503", "/openrouter/error-in-stream/503", 503, "runner_scheduling_failure", IN_BAND, "true"},
    {"U15_comments_and_fields", "/comments/20/sse-fields", 0, NULL, WELL, NULL},
    {"U16_one_byte_at_a_time", "/onebyte/tokens/20", 200, NULL, WELL, NULL},
    {"U23_finish_reason_content_filter", "/finish/content_filter", 200, NULL, WELL, NULL},
    {"U26_echoed_key_is_scrubbed", "/status/400/echo-auth", 400, NULL, SAME, "false"},
};
/* clang-format on */

#define NROWS (sizeof rows / sizeof *rows)
#define CHAT "/v1/chat/completions"

static char *body_for(const char *model, bool stream, const char *more) {
    static char body[1024];
    snprintf(body, sizeof body,
             "{\"model\":\"test/%s\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
             "\"stream\":%s%s}",
             model, stream ? "true" : "false", more);
    return body;
}

static void expect_error(const char *what, yyjson_val *root, const char *code) {
    yyjson_val *e = yyjson_obj_get(root, "error"), *c = yyjson_obj_get(e, "code");
    if (!yyjson_is_str(yyjson_obj_get(e, "message")) || !yyjson_is_str(yyjson_obj_get(e, "type")) ||
        yyjson_obj_get(e, "param") == NULL || c == NULL)
        fail_msg("%s: the error is not OpenAI's", what);
    const char *got = yyjson_get_str(c);
    if (code == NULL ? !yyjson_is_null(c) : got == NULL || strcmp(got, code) != 0)
        fail_msg("%s: code %s instead of %s", what, got, code);
}

static void expect_whole(const struct row *r) {
    char value[64], id[64];
    struct answer a = post_json(server.port, CHAT, body_for(r->name, false, ""));
    if (a.status != r->status)
        fail_msg("%s: %u instead of %u: %s", r->name, a.status, r->status, a.body.p);
    yyjson_doc *doc = answer_json(r->name, &a);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (r->status != 200) expect_error(r->name, root, r->code);
    if (r->status == 200) assert_non_null(yyjson_obj_get(root, "choices"));
    answer_header(&a, "x-should-retry", value, sizeof value);
    assert_string_equal(value, r->retry != NULL ? r->retry : "");
    assert_true(answer_header(&a, "x-request-id", value, sizeof value));
    answer_header(&a, "x-fal-request-id", id, sizeof id);
    assert_string_equal(value, id);
    assert_int_equal(answer_header(&a, "retry-after", value, sizeof value),
                     r->status == 429 || strstr(r->path, "openrouter/status/503") != NULL);
    if (answer_says(&a, "127.0.0.1")) fail_msg("%s: names the address: %s", r->name, a.body.p);
    yyjson_doc_free(doc);
    answer_free(&a);
}

/* --- streams */

struct streamed {
    unsigned status;
    struct text body; /* chunks joined */
    bool whole;       /* the last chunk came */
};

static bool dechunk(const char *p, size_t len, struct text *body) {
    while (len > 0) {
        char *line_end;
        size_t size = strtoul(p, &line_end, 16), head = (size_t)(line_end - p) + 2;
        if (len < head + size + 2) return false;
        text_add(body, p + head, size);
        if (size == 0) return true;
        p += head + size + 2;
        len -= head + size + 2;
    }
    return false;
}

static struct peer begin(const char *path, const char *body) {
    struct peer p = peer_open(server.port);
    struct text t = {0};
    text_printf(&t,
                "POST %s HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                path, strlen(body), body);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    return p;
}

static struct streamed stream(const char *path, const char *body) {
    struct peer p = begin(path, body);
    struct streamed s = {0};
    peer_listen(&p, PATIENCE_MS);
    if (p.end == PEER_OPEN) fail_msg("%s: the stream does not end", body);
    const char *blank = p.in.len > 0 ? strstr(p.in.p, "\r\n\r\n") : NULL;
    if (blank == NULL) fail_msg("%s: no answer", body);
    s.status = (unsigned)strtoul(p.in.p + 9, NULL, 10);
    bool chunked = strstr(p.in.p, "text/event-stream") != NULL;
    if (chunked)
        s.whole = dechunk(blank + 4, p.in.len - (size_t)(blank + 4 - p.in.p), &s.body);
    else
        text_puts(&s.body, blank + 4);
    peer_close(&p);
    return s;
}

/* Every line is a data line of one JSON object, or empty, or [DONE] at the very end. Returns the last object. */
static yyjson_doc *read_events(const char *what, const struct text *body, bool *done) {
    yyjson_doc *last = NULL;
    const char *at = body->len > 0 ? body->p : "";
    *done = false;
    for (const char *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2) {
        if (*done) fail_msg("%s: more behind [DONE]: %s", what, at);
        if (strncmp(at, "data: ", 6) != 0) fail_msg("%s: no event: %s", what, at);
        *done = strncmp(at, "data: [DONE]\n", 13) == 0;
        if (*done) continue;
        yyjson_doc_free(last);
        last = yyjson_read(at + 6, (size_t)(end - at - 6), 0);
        if (last == NULL) fail_msg("%s: no JSON: %s", what, at);
    }
    if (*at != '\0') fail_msg("%s: the stream ends within an event: %s", what, at);
    return last;
}

static void expect_stream(const struct row *r) {
    bool done;
    struct streamed s = stream(CHAT, body_for(r->name, true, ""));
    unsigned want = r->stream == SAME ? r->status : 200;
    if (s.status != want) fail_msg("%s: stream: %u: %s", r->name, s.status, s.body.p);
    if (want == 200) {
        yyjson_doc *last = read_events(r->name, &s.body, &done);
        yyjson_val *error = yyjson_obj_get(yyjson_doc_get_root(last), "error");
        bool failed = r->stream == IN_BAND;
        if (done == failed || s.whole == failed || (error != NULL) != failed)
            fail_msg("%s: ends wrongly: %s", r->name, s.body.p);
        if (failed) expect_error(r->name, yyjson_doc_get_root(last), r->code);
        yyjson_doc_free(last);
    }
    text_free(&s.body);
}

static void row_is_answered_as_written(void **state) {
    const struct row *r = *state;
    if (r->status != 0) expect_whole(r);
    expect_stream(r);
}

/* --- what travels */

static void members_reach_the_upstream_as_written(void **state) {
    static const char want[] =
        "{\"model\":\"test/good\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
        "\"top_p\" : 0.50,\"x_new\":{\"big\":123456789012345678901,\"e\":\"\\u00e9\"}}";
    mock_reset(&mock);
    struct answer a = post_json(
        server.port, CHAT,
        body_for("good", false,
                 ", \"top_p\" : 0.50,\"api_base\":\"http://127.0.0.1:1\","
                 "\"x_new\":{\"big\":123456789012345678901,\"e\":\"\\u00e9\"}"));
    assert_int_equal(a.status, 200);
    yyjson_doc *doc = mock_stats(&mock);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "last_body")),
                        want);
    yyjson_doc_free(doc);
    answer_free(&a);
}

static void usage_chunk_is_for_who_asks(void **state) {
    for (int asks = 0; asks < 2; asks++) {
        struct streamed s = stream(
            CHAT,
            body_for("good", true, asks ? ",\"stream_options\":{\"include_usage\":true}" : ""));
        assert_true(s.whole);
        assert_int_equal(strstr(s.body.p, "\"choices\":[],\"usage\":{") != NULL, asks);
        text_free(&s.body);
    }
}

static void run_surface_speaks_it_too(void **state) {
    static const char path[] = "/run/openrouter/router/openai/v1/chat/completions";
    bool done;
    struct answer a = post_json(server.port, path, body_for("good", false, ""));
    assert_int_equal(a.status, 200);
    answer_free(&a);
    struct streamed s = stream(path, body_for("good", true, ""));
    yyjson_doc_free(read_events("run", &s.body, &done));
    assert_true(done && s.whole);
    text_free(&s.body);
    a = post_json(server.port, path, "{\"model\":\"test/good\"}");
    assert_int_equal(a.status, 400);
    yyjson_doc *doc = answer_json("run", &a);
    expect_error("run", yyjson_doc_get_root(doc), NULL);
    yyjson_doc_free(doc);
    answer_free(&a);
    a = post_json(server.port, "/run/openrouter/router/openai/v1/chat/completions/stream", "{}");
    assert_int_equal(a.status, 404);
    assert_true(answer_says(&a, "\"detail\""));
    answer_free(&a);
}

static void models_are_listed_and_found(void **state) {
    static const struct {
        const char *path;
        unsigned status;
    } cases[] = {{"/v1/models/openai/gpt-4o", 200},
                 {"/v1/models/openai%2Fgpt-4o", 200},
                 {"/v1/models/test/good", 200},
                 {"/v1/models/no/such-model", 404},
                 {"/v1/models/%zz", 400}};
    struct answer a = get(server.port, "/v1/models");
    assert_int_equal(a.status, 200);
    assert_true(answer_says(&a, "{\"id\":\"test/good\",\"object\":\"model\""));
    assert_true(answer_says(&a, "{\"id\":\"openai/gpt-4o\",\"object\":\"model\""));
    answer_free(&a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        a = get(server.port, cases[i].path);
        if (a.status != cases[i].status) fail_msg("%s: %u", cases[i].path, a.status);
        if (a.status == 404) assert_true(answer_says(&a, "model_not_found"));
        answer_free(&a);
    }
}

/* --- the caller who leaves, and the one who does not read */

static void caller_who_leaves_ends_the_upstreams_call(void **state) {
    static const char *const models[] = {"slow", "hang", "hang"};
    for (int i = 0; i < 3; i++) {
        mock_reset(&mock);
        struct peer p = begin(CHAT, body_for(models[i], i < 2, ""));
        for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") == 0; sleep_ms(5))
            assert_true(now_ms() < end);
        peer_close(&p);
        for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") > 0; sleep_ms(5))
            assert_true(now_ms() < end);
    }
}

/* 60 MB for a caller who reads nothing: the upstream waits, the server's memory does not grow. */
static void caller_who_does_not_read_slows_the_upstream(void **state) {
    size_t before = server_rss_kib(&server);
    struct peer p = begin(CHAT, body_for("endless", true, ""));
    sleep_ms(700);
    unsigned long events = mock_count(&mock, "events");
    sleep_ms(300);
    assert_int_equal(mock_count(&mock, "events"), events);
    size_t after = server_rss_kib(&server);
    if (after > before + 4096) fail_msg("%zu KiB more", after - before);
    peer_close(&p);
}

/* The upstream waits, and goes on: nothing is lost on the way. */
static void caller_who_reads_late_gets_it_all(void **state) {
    struct peer p = begin(CHAT, body_for("long", true, ""));
    struct text body = {0};
    bool done;
    sleep_ms(500);
    peer_listen(&p, PATIENCE_MS);
    const char *blank = p.in.len > 0 ? strstr(p.in.p, "\r\n\r\n") : NULL;
    assert_non_null(blank);
    assert_true(dechunk(blank + 4, p.in.len - (size_t)(blank + 4 - p.in.p), &body));
    yyjson_doc_free(read_events("long", &body, &done));
    assert_true(done);
    size_t events = 0;
    for (const char *at = body.p; (at = strstr(at, "data: ")) != NULL; at++) events++;
    assert_int_equal(events, 300 + 3); /* the role, the words, the end, [DONE] */
    text_free(&body);
    peer_close(&p);
}

/* --- the suite */

static void add(struct text *config, struct text *routes, const char *name, const char *path) {
    text_printf(config,
                "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u%s/v1\", key: %s%s }\n", name,
                mock.port, path, CANARY_UPSTREAM,
                strstr(path, "silent") != NULL || strstr(path, "stall") != NULL ? SHORT : "");
    text_printf(routes, "  - { model: \"test/%s\", to: [%s] }\n", name, name);
}

static int start(void **state) {
    struct text config = {0}, routes = {0};
    mock_start(&mock);
    text_puts(&config, "upstreams:\n");
    for (size_t i = 0; i < NROWS; i++) add(&config, &routes, rows[i].name, rows[i].path);
    add(&config, &routes, "slow", "/sse-interval/50/tokens/100000");
    add(&config, &routes, "hang", "/delay/60000");
    add(&config, &routes, "endless", "/tokens/300000");
    add(&config, &routes, "long", "/tokens/300/wide/50000");
    text_printf(&config, "routes:\n%s  - { model: \"*\", to: [good] }\n", routes.p);
    server_start_with(&server, config.p);
    text_free(&config);
    text_free(&routes);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(members_reach_the_upstream_as_written),
        cmocka_unit_test(usage_chunk_is_for_who_asks),
        cmocka_unit_test(run_surface_speaks_it_too),
        cmocka_unit_test(models_are_listed_and_found),
        cmocka_unit_test(caller_who_leaves_ends_the_upstreams_call),
        cmocka_unit_test(caller_who_does_not_read_slows_the_upstream),
        cmocka_unit_test(caller_who_reads_late_gets_it_all),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NROWS + NMADE];
    for (size_t i = 0; i < NROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_is_answered_as_written, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    memcpy(tests + NROWS, made, sizeof made);
    return suite_main(argc, argv, "openai", tests, NROWS + NMADE, start, stop);
}
