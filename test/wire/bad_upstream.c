/* docs/bad-input.md: what goes wrong upstream, as each surface tells it: the direct call, the stream and the queue of fal's
 * endpoints, and the same in OpenAI's dialect. */
#include "bad_upstream.h"

#include "calls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server, plain; /* the second stands for an upstream that knows no TLS */
static struct mock mock;

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define CHAT "/v1/chat/completions"
#define CHAT_QUEUE "/queue/openrouter/router/openai/v1/chat/completions"
#define ONCE "X-Fal-No-Retry: 1\r\n"
#define MAX_BODY 384

static const char *prompt_for(const char *model) {
    static char body[MAX_BODY];
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    return body;
}

/* Each row has an upstream for each dialect, so that no breaker opens. */
static const char *chat_for(const char *model, bool stream) {
    static char body[MAX_BODY];
    snprintf(body, sizeof body,
             "{\"model\":\"chat/%s\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s}",
             model, stream ? ",\"stream\":true" : "");
    return body;
}

static struct answer direct(const char *model) {
    return post_json(server.port, RUN, prompt_for(model));
}

static struct streamed stream(const char *model) {
    const char *body = prompt_for(model);
    return stream_of(server.port, RUN "/stream", "", body, strlen(body));
}

/* --- what every failure has */

static void expect_no_address(const char *what, const struct answer *a) {
    char value[32];
    if (answer_says(a, "127.0.0.1") || answer_says(a, "/v1"))
        fail_msg("%s: names the address: %s", what, a->body.p);
    if (a->status == 502 && answer_header(a, "retry-after", value, sizeof value))
        fail_msg("%s: says Retry-After: %s although waiting does not help", what, value);
}

static void expect_calls(const struct row *r) {
    unsigned long calls = mock_count(&mock, "calls");
    if (r->calls != 0 && calls != r->calls)
        fail_msg("%s: %lu calls instead of %u", r->name, calls, r->calls);
}

/* --- fal's dialect */

static void expect_usage_sane(const char *what, const struct answer *a) {
    yyjson_doc *doc = answer_json(what, a);
    yyjson_val *usage = yyjson_obj_get(yyjson_doc_get_root(doc), "usage"), *k, *v;
    char units[32];
    size_t i, n;
    yyjson_obj_foreach(usage, i, n, k, v) if (yyjson_is_sint(v) && yyjson_get_sint(v) < 0)
        fail_msg("%s: negative usage: %s", what, a->body.p);
    if (!answer_header(a, "x-fal-billable-units", units, sizeof units) || units[0] == '-')
        fail_msg("%s: %s units", what, units);
    yyjson_doc_free(doc);
}

static void expect_direct(const struct row *r) {
    mock_reset(&mock);
    struct answer a = direct(r->name);
    expect_status(r->name, &a, r->status);
    expect_says(r->name, &a, r->says);
    if (r->type != NULL) expect_header(r->name, &a, "x-fal-error-type", r->type);
    if (a.status == 200)
        expect_usage_sane(r->name, &a);
    else
        expect_no_address(r->name, &a);
    expect_calls(r);
    answer_free(&a);
}

static void expect_last(const char *what, const struct streamed *s, bool failed) {
    yyjson_doc *doc = s->last.len > 0 ? yyjson_read(s->last.p, s->last.len, 0) : NULL;
    if (doc == NULL)
        fail_msg("%s: the last event is no JSON: %s", what, s->last.len > 0 ? s->last.p : "(none)");
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool error = yyjson_is_str(yyjson_obj_get(root, "error")),
         partial = yyjson_get_bool(yyjson_obj_get(root, "partial"));
    if (error != failed || partial != failed || s->whole == failed || s->done ||
        !yyjson_is_str(yyjson_obj_get(root, "output")))
        fail_msg("%s: should end %s, last event, last chunk %s: %s", what,
                 failed ? "with an error" : "well", s->whole ? "sent" : "not sent", s->last.p);
    yyjson_doc_free(doc);
}

/* 502 where what begins the stream is bad; 200 where the stream has begun. */
static unsigned stream_status(const struct row *r, unsigned refused) {
    return r->stream == SAME ? refused : r->stream == BEFORE ? 502 : 200;
}

static void expect_stream(const struct row *r) {
    struct streamed s = stream(r->name);
    unsigned want = stream_status(r, r->status);
    if (s.status != want)
        fail_msg("%s: the stream begins with %u instead of %u", r->name, s.status, want);
    if (want != 200 && s.events > 0) fail_msg("%s: events in an error", r->name);
    if (want == 200) expect_last(r->name, &s, r->stream == IN_BAND);
    streamed_free(&s);
}

/* --- the queue */

static unsigned status_of_type(const char *type) {
    static const struct {
        const char *type;
        unsigned status;
    } known[] = {
        {"request_timeout", 504}, {"rate_limit_exceeded", 429}, {"runner_scheduling_failure", 503}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i].type) == 0) return known[i].status;
    return 502;
}

static void expect_status_says(const struct row *r, const char *id, bool failed) {
    char path[128], want[96];
    snprintf(path, sizeof path, QUEUE "/requests/%s/status", id);
    struct answer a = get(server.port, path);
    expect_status(r->name, &a, 200);
    if (answer_says(&a, "\"error\":") != failed) fail_msg("%s: the status: %s", r->name, a.body.p);
    snprintf(want, sizeof want, "\"error_type\":\"%s\"", r->type != NULL ? r->type : "");
    if (failed && r->type != NULL) expect_says(r->name, &a, want);
    answer_free(&a);
}

/* One attempt. A failure is a failure also where text had come, and says what had come. */
static void expect_queued(const struct row *r) {
    const char *body = prompt_for(r->name);
    mock_reset(&mock);
    struct answer a = post(server.port, QUEUE, ONCE, body, strlen(body));
    expect_status(r->name, &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    a = result_of(server.port, QUEUE, "", id);
    unsigned want = r->stream == IN_BAND ? status_of_type(r->type) : stream_status(r, r->status);
    expect_status(r->name, &a, want);
    if (want != 200) {
        if (r->type != NULL) expect_header(r->name, &a, "x-fal-error-type", r->type);
        if (r->stream == IN_BAND) expect_says(r->name, &a, "\"partial_output\":\"The meaning");
        expect_no_address(r->name, &a);
    }
    if (r->stream != BEFORE) expect_calls(r);
    expect_status_says(r, id, want != 200);
    answer_free(&a);
    free(id);
}

/* --- OpenAI's dialect: 400 where fal says 422, and the type as the code */

static unsigned chat_status(unsigned fals) {
    return fals == 422 ? 400 : fals;
}

static void expect_error(const struct row *r, const char *text, size_t len) {
    yyjson_doc *doc = yyjson_read(text, len, 0);
    yyjson_val *e = yyjson_obj_get(yyjson_doc_get_root(doc), "error"),
               *code = yyjson_obj_get(e, "code");
    if (!yyjson_is_str(yyjson_obj_get(e, "message")) || !yyjson_is_str(yyjson_obj_get(e, "type")) ||
        yyjson_obj_get(e, "param") == NULL || code == NULL)
        fail_msg("%s: the error is not OpenAI's: %.*s", r->name, (int)len, text);
    if (r->type != NULL && !yyjson_equals_str(code, r->type))
        fail_msg("%s: code %s instead of %s", r->name, yyjson_get_str(code), r->type);
    yyjson_doc_free(doc);
}

static void expect_chat_answer(const struct row *r, const struct answer *a, unsigned want) {
    expect_status(r->name, a, want);
    if (want == 200) {
        expect_says(r->name, a, "\"choices\"");
        return;
    }
    expect_error(r, a->body.p, a->body.len);
    expect_no_address(r->name, a);
}

static void expect_chat(const struct row *r) {
    mock_reset(&mock);
    struct answer a = post_json(server.port, CHAT, chat_for(r->name, false));
    expect_chat_answer(r, &a, chat_status(r->status));
    expect_calls(r);
    answer_free(&a);
    mock_reset(&mock);
    const char *body = chat_for(r->name, false);
    a = queued(server.port, CHAT_QUEUE, ONCE, body, strlen(body));
    expect_chat_answer(r, &a, chat_status(r->status));
    expect_calls(r);
    answer_free(&a);
}

static void expect_chat_stream(const struct row *r) {
    const char *body = chat_for(r->name, true);
    struct streamed s = stream_of(server.port, CHAT, "", body, strlen(body));
    unsigned want = stream_status(r, chat_status(r->status));
    bool failed = r->stream == IN_BAND;
    if (s.status != want)
        fail_msg("%s: OpenAI's stream begins with %u instead of %u", r->name, s.status, want);
    if (want == 200) {
        if (s.done == failed || s.whole == failed)
            fail_msg("%s: OpenAI's stream ends wrongly: %s", r->name, s.last.p);
        if (failed) expect_error(r, s.last.p, s.last.len);
        if (!failed && strstr(s.body.p, "\"finish_reason\":\"") == NULL)
            fail_msg("%s: no finish_reason: %s", r->name, s.body.p);
    } else if (s.events_type) {
        fail_msg("%s: an error as a stream", r->name);
    }
    streamed_free(&s);
}

/* The breaker of an upstream looks after five faults in a row: these are fewer of each. */
static void row_is_answered_as_written(void **state) {
    const struct row *r = *state;
    if (r->status != 0) expect_direct(r);
    expect_stream(r);
    expect_queued(r);
    if (r->status != 0) expect_chat(r);
    expect_chat_stream(r);
}

/* What waiting cannot heal is not tried again. */
static void the_queue_tries_nothing_again_that_cannot_heal(void **state) {
    static const char *const names[] = {"U3_401_",  "U4_400_",   "U5_404_", "U7_no_quota_is",
                                        "U12_HTML", "U18_10_MB", "U20_301", "U21_gzip"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < NROWS; k++) {
            const struct row *r = &rows[k];
            if (strncmp(r->name, names[i], strlen(names[i])) != 0) continue;
            const char *body = prompt_for(r->name);
            mock_reset(&mock);
            struct answer a = queued(server.port, QUEUE, "", body, strlen(body));
            expect_status(r->name, &a, r->status);
            assert_true(mock_count(&mock, "calls") <= 2);
            answer_free(&a);
        }
}

/* U8: the queue comes back by itself, the direct call says what happened. */
static void the_queue_tries_again_what_may_heal(void **state) {
    static const char *const models[] = {"heals-500", "heals-503", "heals-cut"};
    for (size_t i = 0; i < 3; i++) {
        char body[MAX_BODY];
        snprintf(body, sizeof body, "{\"prompt\":\"direct\",\"model\":\"test/%s\"}", models[i]);
        struct answer a = post_json(server.port, RUN, body);
        expect_status(models[i], &a, i == 1 ? 503 : 502);
        answer_free(&a);
        const char *again = prompt_for(models[i]);
        mock_reset(&mock);
        a = queued(server.port, QUEUE, "", again, strlen(again));
        expect_status(models[i], &a, 200);
        assert_int_equal(mock_count(&mock, "calls"), 2);
        answer_free(&a);
    }
}

/* --- U1, U2 */

/* At every surface the same fault, in its shape. */
static void expect_everywhere(const struct row *r) {
    const char *body;
    expect_direct(r);
    expect_stream(r);
    body = prompt_for(r->name);
    struct answer a = queued(server.port, QUEUE, ONCE, body, strlen(body));
    expect_status(r->name, &a, r->status);
    expect_header(r->name, &a, "x-fal-error-type", r->type);
    answer_free(&a);
    expect_chat(r);
    expect_chat_stream(r);
}

static void U1_nobody_listens_is_503(void **state) {
    static const struct row refused = {
        .name = "refused", .status = 503, .type = "runner_connection_refused"};
    expect_everywhere(&refused);
    char type[48];
    struct answer a = direct("no-name");
    expect_status("no-name", &a, 503);
    answer_header(&a, "x-fal-error-type", type, sizeof type);
    assert_true(strcmp(type, "runner_connection_refused") == 0 ||
                strcmp(type, "runner_connection_timeout") == 0);
    answer_free(&a);
}

/* A listener whose queue of connections is full takes no more: connecting to it hangs. */
static int deaf_fds[8];

static unsigned deaf_listener(void) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    deaf_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(deaf_fds[0], (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(deaf_fds[0], 0), 0);
    assert_int_equal(getsockname(deaf_fds[0], (struct sockaddr *)&a, &len), 0);
    for (size_t i = 1; i < 8; i++) {
        deaf_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(deaf_fds[i], (struct sockaddr *)&a, sizeof a);
    }
    return ntohs(a.sin_port);
}

static void U1_connect_timeout_is_503(void **state) {
    static const struct row deaf = {
        .name = "deaf", .status = 503, .type = "runner_connection_timeout"};
    expect_everywhere(&deaf);
}

static void U2_no_TLS_at_the_other_end_is_502(void **state) {
    static const struct row tls = {.name = "tls",
                                   .status = 502,
                                   .type = "runner_connection_error",
                                   .says = "upstream TLS error"};
    expect_everywhere(&tls);
}

/* --- U6 */

static void U6_retry_after_reaches_the_caller(void **state) {
    static const struct {
        const char *model;
        unsigned min, max;
    } cases[] = {{"ra-7", 7, 7},         {"ra-date", 300, 300}, {"ra-1e9", 300, 300},
                 {"ra-ms", 2, 2},        {"ra-past", 0, 1},     {"ra-minus", 0, 300},
                 {"ra-garbage", 0, 300}, {"ra-none", 0, 300}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[32];
        struct answer a = direct(cases[i].model);
        expect_status(cases[i].model, &a, 429);
        if (!answer_header(&a, "retry-after", value, sizeof value))
            fail_msg("%s: no Retry-After", cases[i].model);
        unsigned long n = strtoul(value, NULL, 10);
        if (n < cases[i].min || n > cases[i].max)
            fail_msg("%s: Retry-After: %s", cases[i].model, value);
        struct answer chat = post_json(server.port, CHAT, chat_for(cases[i].model, false));
        expect_status(cases[i].model, &chat, 429);
        if (i != 1 && i != 4) expect_header(cases[i].model, &chat, "retry-after", value);
        answer_free(&chat);
        answer_free(&a);
    }
}

/* --- U10: the upstream's socket is closed */

static void U10_the_upstream_is_let_go(void **state) {
    struct answer a = direct("U10_no_headers_is_504");
    expect_status("silent", &a, 504);
    answer_free(&a);
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") > 0; sleep_ms(5))
        assert_true(now_ms() < end);
}

/* --- U16, U17: text that is hard */

static void expect_output(const char *model, const char *want) {
    struct answer a = direct(model);
    struct streamed s = stream(model);
    expect_status(model, &a, 200);
    yyjson_doc *doc = answer_json(model, &a), *event = yyjson_read(s.last.p, s.last.len, 0);
    assert_non_null(event);
    const char *once = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "output"));
    const char *streamed = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(event), "output"));
    if (once == NULL || strstr(once, want) == NULL) fail_msg("%s: %s", model, a.body.p);
    if (streamed == NULL || strstr(streamed, want) == NULL)
        fail_msg("%s streamed: %s", model, s.last.p);
    for (size_t i = 0; i < s.last.len; i++)
        assert_true((unsigned char)s.last.p[i] < 0x80); /* no character can be cut */
    yyjson_doc_free(doc);
    yyjson_doc_free(event);
    answer_free(&a);
    streamed_free(&s);
}

static void U16_characters_split_anywhere_come_whole(void **state) {
    expect_output("surrogates", "smile \xf0\x9f\x98\x80 \xf0\x9f\x98\x80 caf\xc3\xa9");
}

static void U17_invalid_UTF_8_becomes_the_replacement_character(void **state) {
    expect_output("bad-utf8", "\xef\xbf\xbd");
}

static void U17_a_surrogate_split_over_two_deltas_is_no_fault(void **state) {
    struct streamed s = stream("lone-surrogate");
    assert_int_equal(s.status, 200);
    expect_last("lone-surrogate", &s, false);
    streamed_free(&s);
}

/* --- U18: what an answer leaves behind on its connection is nobody's answer */

static void expect_own_nonce(const char *model, unsigned n) {
    char body[256], want[64];
    snprintf(body, sizeof body, "{\"prompt\":\"nonce:q%u\",\"model\":\"test/%s\"}", n, model);
    snprintf(want, sizeof want, "\"output\":\"nonce:q%u ", n);
    struct answer a = post_json(server.port, "/run/fal-ai/any-llm", body);
    if (a.status != 200 && a.status != 502) fail_msg("%s: %u: %s", model, a.status, a.body.p);
    if (a.status == 200 && !answer_says(&a, want))
        fail_msg("%s: the answer to %s: %s", model, body, a.body.p);
    answer_free(&a);
}

static void U18_surplus_is_never_another_ones_answer(void **state) {
    static const char *const models[] = {"surplus", "two-responses", "good", "close-after",
                                         "close-reused"};
    for (unsigned n = 0; n < 60; n++) expect_own_nonce(models[n % 5], n);
    mock_reset(&mock);
    for (unsigned n = 60; n < 70; n++) expect_own_nonce(n % 2 ? "surplus" : "two-responses", n);
    assert_true(mock_count(&mock, "accepted") >= 10); /* a connection each */
}

/* A reused connection that closes before any byte is tried once more on a fresh one. */
static void a_connection_closed_between_requests_is_no_fault(void **state) {
    for (unsigned n = 0; n < 10; n++) {
        struct answer a = direct(n % 2 ? "close-after" : "close-reused");
        expect_status("closed between", &a, 200);
        answer_free(&a);
    }
}

/* --- the suite */

/* One for each dialect. */
static void add_upstream(struct text *up, struct text *routes, const char *name, const char *base,
                         const char *options) {
    static const char *const dialects[] = {"test", "chat"};
    for (size_t i = 0; i < 2; i++) {
        text_printf(up, "  %s-%s: { kind: openai, base_url: \"%s/v1\", key: %s%s }\n", dialects[i],
                    name, base, CANARY_UPSTREAM, options);
        text_printf(routes, "  - { model: \"%s/%s\", to: [%s-%s] }\n", dialects[i], name,
                    dialects[i], name);
    }
}

static const struct {
    const char *name, *path, *options;
} more[] = {
    {"ra-7", "/status/429/retry-after/7", ""},
    {"ra-date", "/status/429/retry-after/Wed,%2021%20Oct%202099%2007:28:00%20GMT", ""},
    {"ra-past", "/status/429/retry-after/Wed,%2021%20Oct%202015%2007:28:00%20GMT", ""},
    {"ra-1e9", "/status/429/retry-after/1000000000", ""},
    {"ra-minus", "/status/429/retry-after/-1", ""},
    {"ra-garbage", "/status/429/retry-after/soon", ""},
    {"ra-ms", "/status/429/retry-after-ms/1500", ""},
    {"ra-none", "/status/429", ""},
    {"surrogates", "/surrogate-split", ""},
    {"bad-utf8", "/badutf8", ""},
    {"lone-surrogate", "/lone-surrogate", ""},
    {"surplus", "/surplus", ""},
    {"two-responses", "/two-responses", ""},
    {"close-after", "/close-after", ""},
    {"close-reused", "/close-reused", ""},
    {"heals-500", "/flaky/1/status/500", ""},
    {"heals-503", "/flaky/1/status/503", ""},
    {"heals-cut", "/flaky/1/cut/300", ""},
};

static void fill(struct text *up, struct text *routes) {
    char base[512];
    for (size_t i = 0; i < NROWS; i++) {
        snprintf(base, sizeof base, "http://127.0.0.1:%u%s", mock.port, rows[i].path);
        add_upstream(up, routes, rows[i].name, base, rows[i].options);
    }
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        snprintf(base, sizeof base, "http://127.0.0.1:%u%s", mock.port, more[i].path);
        add_upstream(up, routes, more[i].name, base, more[i].options);
    }
    add_upstream(up, routes, "refused", "http://127.0.0.1:1", "");
    add_upstream(up, routes, "no-name", "http://no-such-host.invalid", ", connect_timeout: 3s");
    snprintf(base, sizeof base, "https://127.0.0.1:%u", plain.port);
    add_upstream(up, routes, "tls", base, "");
    snprintf(base, sizeof base, "http://127.0.0.1:%u", deaf_listener());
    add_upstream(up, routes, "deaf", base, ", connect_timeout: 300ms");
}

static int start(void **state) {
    struct text config = {0}, routes = {0};
    mock_start(&mock);
    server_start_with(&plain,
                      "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:1/v1\" }\n");
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
    server_stop(&plain);
    mock_stop(&mock);
    for (size_t i = 0; i < 8; i++) close(deaf_fds[i]);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(the_queue_tries_nothing_again_that_cannot_heal),
        cmocka_unit_test(the_queue_tries_again_what_may_heal),
        cmocka_unit_test(U1_nobody_listens_is_503),
        cmocka_unit_test(U1_connect_timeout_is_503),
        cmocka_unit_test(U2_no_TLS_at_the_other_end_is_502),
        cmocka_unit_test(U6_retry_after_reaches_the_caller),
        cmocka_unit_test(U10_the_upstream_is_let_go),
        cmocka_unit_test(U16_characters_split_anywhere_come_whole),
        cmocka_unit_test(U17_invalid_UTF_8_becomes_the_replacement_character),
        cmocka_unit_test(U17_a_surrogate_split_over_two_deltas_is_no_fault),
        cmocka_unit_test(U18_surplus_is_never_another_ones_answer),
        cmocka_unit_test(a_connection_closed_between_requests_is_no_fault),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NROWS + NMADE];
    for (size_t i = 0; i < NROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_is_answered_as_written, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    memcpy(tests + NROWS, made, sizeof made);
    return suite_main(argc, argv, "bad_upstream", tests, NROWS + NMADE, start, stop);
}
