/* docs/bad-input.md U13, U16 and U27: a stream that breaks off at any byte never looks finished, however it is cut into
 * pieces the same text arrives, and an upstream that is away is left alone until it is back. */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

#define STREAM "/run/fal-ai/any-llm/stream"
#define QUEUE "/queue/fal-ai/any-llm"
#define CHAT "/v1/chat/completions"
#define PROMPT "{\"prompt\":\"x\",\"model\":\"test/%s\"}"
#define TALK \
    "{\"model\":\"test/%s\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true}"

/* --- what the upstream sends, head and all, as it does on a connection that is kept */

#define WORDS "/tokens/4"
#define STEP 16U

static struct text recorded;
static size_t done_at; /* where [DONE] is whole */

static void record(void) {
    static const char body[] =
        "{\"model\":\"test/cut\",\"stream\":true,\"stream_options\":{\"include_usage\":"
        "true},\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    struct peer p = peer_open(mock.port);
    struct text t = {0};
    text_printf(&t,
                "POST " WORDS
                "/v1/chat/completions HTTP/1.1\r\nHost: m\r\nContent-Length: %zu\r\n\r\n%s",
                sizeof body - 1, body);
    peer_send(&p, t.p, t.len);
    while (p.end == PEER_OPEN && (p.in.len == 0 || strstr(p.in.p, "\r\n0\r\n\r\n") == NULL))
        peer_listen(&p, 20);
    text_add(&recorded, p.in.p, p.in.len);
    peer_close(&p);
    text_free(&t);
    const char *done = strstr(recorded.p, "[DONE]\n");
    if (done == NULL) fail_msg("no stream of the mock:\n%s", recorded.p);
    done_at = (size_t)(done - recorded.p) + 7;
}

/* Ends at this byte are failures: before the text they are errors of their own, behind it the last event tells. */
static void expect_fals(const char *model, bool may_be_whole) {
    char body[128];
    snprintf(body, sizeof body, PROMPT, model);
    struct streamed s = stream_of(server.port, STREAM, "", body, strlen(body));
    bool looks_whole = s.status == 200 && (s.whole || s.last.len == 0 ||
                                           strstr(s.last.p, "\"partial\":true") == NULL ||
                                           strstr(s.last.p, "\"error\":\"") == NULL);
    if (looks_whole && !may_be_whole) fail_msg("%s looks finished: %s", model, s.last.p);
    if (s.status != 200 && s.status != 502) fail_msg("%s: %u: %s", model, s.status, s.body.p);
    streamed_free(&s);
}

static void expect_openais(const char *model, bool may_be_whole) {
    char body[160];
    snprintf(body, sizeof body, TALK, model);
    struct streamed s = stream_of(server.port, CHAT, "", body, strlen(body));
    bool looks_whole = s.status == 200 &&
                       (s.whole || s.done || s.last.len == 0 ||
                        strncmp(s.last.p, "{\"error\":{\"message\":\"", 21) != 0);
    if (looks_whole && !may_be_whole) fail_msg("%s looks finished: %s", model, s.body.p);
    if (s.status != 200 && s.status != 502) fail_msg("%s: %u: %s", model, s.status, s.body.p);
    streamed_free(&s);
}

static void expect_queues(const char *model, bool may_be_whole) {
    char body[128];
    snprintf(body, sizeof body, PROMPT, model);
    struct answer a = queued(server.port, QUEUE, "X-Fal-No-Retry: 1\r\n", body, strlen(body));
    if (a.status != 502 && !(a.status == 200 && may_be_whole))
        fail_msg("%s: %u: %s", model, a.status, a.body.p);
    answer_free(&a);
}

static size_t positions(void) {
    return recorded.len / STEP + 1;
}

static void expect_cut_at_every_position(const char *how) {
    for (size_t i = 1; i < positions(); i++) {
        char model[32];
        bool may = i * STEP >= done_at;
        snprintf(model, sizeof model, "%s-%zu", how, i * STEP);
        expect_fals(model, may);
        expect_openais(model, may);
        if (i % 4 == 0) expect_queues(model, may);
    }
}

static void T25_a_stream_cut_by_FIN_at_any_byte_never_looks_finished(void **state) {
    expect_cut_at_every_position("cut");
}

static void T25_a_stream_cut_by_RST_at_any_byte_never_looks_finished(void **state) {
    expect_cut_at_every_position("reset");
}

/* Each byte around the end, where a codec counts wrongly. */
static void U13_the_last_bytes_of_a_stream_all_count(void **state) {
    for (size_t at = done_at - 24; at < done_at + 8; at++) {
        char model[32];
        snprintf(model, sizeof model, "end-%zu", at);
        expect_fals(model, at >= done_at);
        expect_openais(model, at >= done_at);
    }
}

/* --- U16 */

static void expect_same_stream(const char *path, const char *format, const char *one,
                               const char *other) {
    const char *models[] = {one, other};
    struct streamed s[2];
    for (int i = 0; i < 2; i++) {
        char body[160];
        snprintf(body, sizeof body, strcmp(format, "talk") == 0 ? TALK : PROMPT, models[i]);
        s[i] = stream_of(server.port, path, "", body, strlen(body));
        if (!s[i].whole) fail_msg("%s does not end well: %s", models[i], s[i].body.p);
    }
    const char *want = strstr(s[0].last.p, "\"output\""), *got = strstr(s[1].last.p, "\"output\"");
    if (want != NULL && (got == NULL || strcmp(want, got) != 0))
        fail_msg("%s and %s differ:\n%s\n%s", one, other, s[0].last.p, s[1].last.p);
    if (want == NULL && s[0].events != s[1].events)
        fail_msg("%s and %s: %zu and %zu events", one, other, s[0].events, s[1].events);
    for (int i = 0; i < 2; i++) streamed_free(&s[i]);
}

static void U16_pieces_change_nothing(void **state) {
    static const char *const pieces[] = {"onebyte", "crlf", "cr", "bom", "comments", "lines"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        expect_same_stream(STREAM, "prompt", "words", pieces[i]);
        expect_same_stream(CHAT, "talk", "words", pieces[i]);
    }
}

/* Characters and escapes split anywhere come whole; what OpenAI's clients get is what the upstream wrote. */
static void U16_characters_split_anywhere_reach_OpenAIs_clients(void **state) {
    char body[160];
    struct text all = {0};
    snprintf(body, sizeof body, TALK, "surrogates");
    struct streamed s = stream_of(server.port, CHAT, "", body, strlen(body));
    for (const char *at = s.body.p; at != NULL && (at = strstr(at, "data: {")) != NULL; at++) {
        yyjson_doc *doc = yyjson_read(at + 6, (size_t)(strstr(at, "\n") - at - 6), 0);
        yyjson_val *choice = yyjson_arr_get_first(
            yyjson_obj_get(yyjson_doc_get_root(doc), "choices"));
        const char *text = yyjson_get_str(
            yyjson_obj_get(yyjson_obj_get(choice, "delta"), "content"));
        if (text != NULL) text_puts(&all, text);
        yyjson_doc_free(doc);
    }
    if (all.len == 0 ||
        strstr(all.p, "smile \xf0\x9f\x98\x80 \xf0\x9f\x98\x80 caf\xc3\xa9") == NULL)
        fail_msg("surrogates: %s", s.body.p);
    assert_true(s.whole && s.done);
    text_free(&all);
    streamed_free(&s);
}

static void U17_invalid_UTF_8_is_replaced_for_OpenAIs_clients_too(void **state) {
    char body[160];
    snprintf(body, sizeof body, TALK, "bad-utf8");
    struct streamed s = stream_of(server.port, CHAT, "", body, strlen(body));
    assert_true(s.whole && s.done);
    assert_non_null(strstr(s.body.p, "\xef\xbf\xbd"));
    assert_null(strchr(s.body.p, '\xff'));
    streamed_free(&s);
}

/* --- U27 */

static void expect_away(unsigned port, struct text *first) {
    struct answer a = post_json(port, "/run/fal-ai/any-llm",
                                "{\"prompt\":\"x\",\"model\":\"test/x\"}");
    expect_status("away", &a, 503);
    expect_header("away", &a, "x-fal-error-type", "runner_connection_refused");
    if (first->len == 0) text_add(first, a.body.p, a.body.len);
    assert_string_equal(a.body.p, first->p);
    answer_free(&a);
}

static void expect_left_alone(unsigned port) {
    char value[16];
    static const char talk[] = "{\"model\":\"test/x\",\"messages\":[]}";
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(20)) {
        struct answer a = post_json(port, CHAT, talk);
        expect_status("left alone", &a, 503);
        bool told = answer_header(&a, "retry-after", value, sizeof value);
        answer_free(&a);
        if (!told) continue;
        assert_in_range(strtoul(value, NULL, 10), 1, 5);
        return;
    }
    fail_msg("no breaker opens");
}

/* The mock goes, five calls fail, then nothing is sent; queued jobs wait and use up no attempt; it comes back at the same
 * address, and everything goes on. */
static void U27_an_upstream_that_is_away_is_left_alone_until_it_is_back(void **state) {
    struct server s;
    struct mock up;
    struct text config = {0}, first = {0};
    char *ids[3];
    mock_start(&up);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n"
        "routes:\n  - { model: \"test/*\", to: [up] }\n",
        up.port, CANARY_UPSTREAM);
    server_start_with(&s, config.p);
    unsigned port = up.port;
    mock_stop(&up);
    for (int i = 0; i < 5; i++) expect_away(s.port, &first);
    expect_left_alone(s.port);
    for (int i = 0; i < 3; i++) {
        struct answer a = post_json(s.port, QUEUE, "{\"prompt\":\"x\",\"model\":\"test/x\"}");
        ids[i] = submitted_id(&a);
        answer_free(&a);
    }
    sleep_ms(300);
    assert_int_equal(metric(s.port, "anyllm_queue_waiting"), 3);
    mock_start_at(&up, port);
    for (int i = 0; i < 3; i++) {
        struct answer a = result_of(s.port, QUEUE, "", ids[i]);
        expect_status("back", &a, 200);
        answer_free(&a);
        free(ids[i]);
    }
    struct answer a = post_json(s.port, "/run/fal-ai/any-llm",
                                "{\"prompt\":\"x\",\"model\":\"test/x\"}");
    expect_status("back", &a, 200);
    answer_free(&a);
    assert_int_equal(mock_count(&up, "calls"), 4);
    server_stop(&s);
    mock_stop(&up);
    text_free(&config);
    text_free(&first);
}

/* --- the suite */

static void add(struct text *up, struct text *routes, const char *name, const char *path) {
    text_printf(up, "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u%s/v1\", key: %s }\n",
                name, mock.port, path, CANARY_UPSTREAM);
    text_printf(routes, "  - { model: \"test/%s\", to: [%s] }\n", name, name);
}

static void add_point(struct text *up, struct text *routes, const char *name, const char *how,
                      size_t at) {
    char whole[32], path[64];
    snprintf(whole, sizeof whole, "%s-%zu", name, at);
    snprintf(path, sizeof path, WORDS "/%s/%zu", how, at);
    add(up, routes, whole, path);
}

static void fill(struct text *up, struct text *routes) {
    static const char *const others[][2] = {{"words", WORDS},
                                            {"onebyte", WORDS "/onebyte"},
                                            {"crlf", WORDS "/crlf/onebyte"},
                                            {"cr", WORDS "/cr-only/onebyte"},
                                            {"bom", WORDS "/bom/onebyte"},
                                            {"comments", WORDS "/comments/3/onebyte"},
                                            {"lines", WORDS "/data-lines/9/onebyte"},
                                            {"surrogates", "/surrogate-split"},
                                            {"bad-utf8", "/badutf8"}};
    for (size_t i = 1; i < positions(); i++) {
        add_point(up, routes, "cut", "cut", i * STEP);
        add_point(up, routes, "reset", "reset", i * STEP);
    }
    for (size_t at = done_at - 24; at < done_at + 8; at++) add_point(up, routes, "end", "cut", at);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        add(up, routes, others[i][0], others[i][1]);
}

static int start(void **state) {
    struct text config = {0}, routes = {0};
    mock_start(&mock);
    record();
    text_puts(&config, "upstreams:\n");
    fill(&config, &routes);
    text_printf(&config, "routes:\n%s", routes.p);
    server_start_with(&server, config.p);
    text_free(&config);
    text_free(&routes);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    text_free(&recorded);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T25_a_stream_cut_by_FIN_at_any_byte_never_looks_finished),
        cmocka_unit_test(T25_a_stream_cut_by_RST_at_any_byte_never_looks_finished),
        cmocka_unit_test(U13_the_last_bytes_of_a_stream_all_count),
        cmocka_unit_test(U16_pieces_change_nothing),
        cmocka_unit_test(U16_characters_split_anywhere_reach_OpenAIs_clients),
        cmocka_unit_test(U17_invalid_UTF_8_is_replaced_for_OpenAIs_clients_too),
        cmocka_unit_test(U27_an_upstream_that_is_away_is_left_alone_until_it_is_back),
    };
    return suite_main(argc, argv, "bad_cuts", tests, sizeof tests / sizeof *tests, start, stop);
}
