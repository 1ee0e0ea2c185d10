/* docs/bad-input.md: what goes wrong upstream, as the caller of a direct call and of a stream sees it. */
#include "peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server, plain; /* the second stands for an upstream that knows no TLS */
static struct mock mock;

/* How a stream ends: as the direct call does (nothing was sent before the fault), by an error in its last event and a
 * cut connection, or well. BEFORE: as SAME, while the direct call is well. */
enum stream { SAME, IN_BAND, WELL, BEFORE };

struct row {
    const char *name;
    const char *path; /* of the mock */
    unsigned status;  /* of the direct call */
    const char *type; /* error_type; NULL: an answer, or a fault list */
    const char *says; /* in the answer; NULL: anything */
    enum stream stream;
    unsigned calls;      /* that reached the upstream, for one direct call; 0: any */
    const char *options; /* of the upstream, as YAML */
};

#define SHORT ", first_byte_timeout: 300ms, idle_timeout: 300ms"
#define ODD "unexpected upstream response"
#define TEXT "\"output\":\"The meaning of life"

/* clang-format off */
static const struct row rows[] = {
    {"good", "/ok", 200, NULL, TEXT, WELL, 1, ""},

    {"U3_401_of_the_upstream_is_502", "/status/401", 502, "runner_server_error", "upstream rejected the server's credentials", SAME, 1, ""},
    {"U3_403_of_the_upstream_is_502", "/status/403", 502, "runner_server_error", "upstream rejected the server's credentials", SAME, 1, ""},
    {"U4_400_is_422", "/status/400", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U4_422_is_422", "/status/422", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U5_404_is_502", "/status/404", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U7_no_quota_is_502", "/status/429/error-code/insufficient_quota", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U7_no_quota_with_retry_after_is_502", "/status/429/retry-after/7/error-code/insufficient_quota", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U8_500_is_502", "/status/500", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U8_502_is_502", "/status/502", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U9_503_is_503", "/status/503", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_504_is_503", "/status/504", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_524_is_503", "/status/524", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_529_is_503", "/status/529", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},

    {"U10_no_headers_is_504", "/silent", 504, "request_timeout", NULL, SAME, 1, SHORT},
    {"U11_silence_behind_the_head_is_504", "/stall/200", 504, "request_timeout", NULL, SAME, 0, SHORT},
    {"U11_silence_in_a_stream_is_told_in_it", "/stall/e3", 0, NULL, NULL, IN_BAND, 0, SHORT},

    {"U12_HTML_is_502", "/html", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_empty_body_is_502", "/empty", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_null_is_502", "/null", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_no_choices_is_502", "/no-choices", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_empty_choices_are_502", "/choices-empty", 502, "runner_server_error", ODD, SAME, 2, ""},

    {"U13_cut_body_is_502", "/cut/300", 502, "runner_incomplete_response", NULL, SAME, 0, ""},
    {"U13_reset_body_is_502", "/reset/300", 502, "runner_incomplete_response", NULL, SAME, 0, ""},
    {"U13_stream_cut_by_FIN", "/cut/e5", 0, NULL, NULL, IN_BAND, 0, ""},
    {"U13_stream_cut_by_RST", "/sse-interval/5/reset/e5", 0, NULL, NULL, IN_BAND, 0, ""},
    {"U13_stream_without_DONE", "/no-done", 0, NULL, NULL, IN_BAND, 0, ""},
    {"U13_stream_without_finish_reason", "/no-finish", 0, NULL, NULL, IN_BAND, 0, ""},
    {"U13_stream_without_either", "/no-finish/no-done", 0, NULL, NULL, IN_BAND, 0, ""},

    {"U14_error_in_the_body_is_502", "/error-in-stream", 502, "runner_server_error", NULL, IN_BAND, 0, ""},
    {"U14_error_429_in_the_body_is_429", "/error-in-stream/429", 429, "rate_limit_exceeded", NULL, IN_BAND, 0, ""},
    {"U14_error_503_in_the_body_is_503", "/error-in-stream/503", 503, "runner_scheduling_failure", NULL, IN_BAND, 0, ""},

    {"U15_lines_that_end_in_CR", "/cr-only", 0, NULL, NULL, WELL, 0, ""},
    {"U15_lines_that_end_in_CRLF", "/crlf", 0, NULL, NULL, WELL, 0, ""},
    {"U15_byte_order_mark", "/bom", 0, NULL, NULL, WELL, 0, ""},
    {"U15_flood_of_comments", "/comments/200", 0, NULL, NULL, WELL, 0, ""},
    {"U15_line_of_100_KB", "/bigline/100000", 200, NULL, NULL, WELL, 1, ""},
    {"U15_line_of_900_KB", "/bigline/900000", 200, NULL, NULL, WELL, 1, ""},
    {"U15_line_over_1_MiB", "/bigline/1100000", 200, NULL, NULL, BEFORE, 0, ""},
    {"U15_line_of_10_MB", "/bigline/10000000", 0, NULL, NULL, BEFORE, 0, ""},
    {"U15_data_in_1000_lines", "/data-lines/1000", 0, NULL, NULL, WELL, 0, ""},
    {"U15_other_fields", "/sse-fields", 0, NULL, NULL, WELL, 0, ""},
    {"U16_one_byte_at_a_time", "/onebyte/tokens/20", 200, NULL, TEXT, WELL, 1, ""},
    {"U16_chunks_of_one_byte", "/chunked/1", 200, NULL, TEXT, WELL, 1, ""},

    {"U18_flood_of_1xx_is_502", "/flood-1xx", 502, NULL, NULL, SAME, 0, ""},
    {"U18_10_MB_of_headers_is_502", "/headers-big", 502, NULL, NULL, SAME, 0, ""},
    {"U19_length_longer_than_the_body_is_502", "/longer-cl", 502, "runner_incomplete_response", NULL, WELL, 0, ""},
    {"U19_length_shorter_than_the_body_is_502", "/shorter-cl", 502, "runner_server_error", NULL, WELL, 0, ""},

    {"U20_301_is_not_followed", "/status/301", 502, NULL, NULL, SAME, 0, ""},
    {"U20_302_is_not_followed", "/status/302", 502, NULL, NULL, SAME, 0, ""},
    {"U20_307_is_not_followed", "/redirect", 502, NULL, NULL, SAME, 0, ""},
    {"U20_308_is_not_followed", "/status/308", 502, NULL, NULL, SAME, 0, ""},

    {"U21_gzip_is_502", "/gzip", 502, "runner_server_error", NULL, SAME, 0, ""},
    {"U21_unknown_encoding_is_502", "/encoding/br", 502, "runner_server_error", NULL, SAME, 0, ""},
    {"U21_identity_is_good", "/encoding/identity", 200, NULL, TEXT, WELL, 1, ""},

    {"U22_no_usage", "/usage/missing", 200, NULL, TEXT, WELL, 1, ""},
    {"U22_negative_usage", "/usage/negative", 200, NULL, TEXT, WELL, 1, ""},
    {"U22_absurd_usage", "/usage/absurd", 200, NULL, TEXT, WELL, 1, ""},

    {"U23_finish_reason_length", "/length-finish", 200, NULL, "\"partial\":false", WELL, 1, ""},
    {"U23_finish_reason_content_filter", "/finish/content_filter", 200, NULL, "\"partial\":false", WELL, 1, ""},
    {"U23_unknown_finish_reason", "/finish/tired", 200, NULL, "\"partial\":false", WELL, 1, ""},

    {"U26_echoed_key_is_scrubbed", "/echo-auth", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U26_echoed_key_in_a_400_is_scrubbed", "/status/400/echo-auth", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U26_echoed_key_in_a_500_is_scrubbed", "/status/500/echo-auth", 502, NULL, NULL, SAME, 0, ""},
    {"U26_echoed_key_in_a_429_is_scrubbed", "/status/429/echo-auth", 429, NULL, NULL, SAME, 0, ""},
};
/* clang-format on */

#define NROWS (sizeof rows / sizeof *rows)

static void expect_status(const char *what, const struct answer *a, unsigned status) {
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

static struct answer direct(const char *model) {
    char body[256];
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    return post_json(server.port, "/run/fal-ai/any-llm", body);
}

static void expect_usage_sane(const char *what, const struct answer *a) {
    yyjson_doc *doc = answer_json(what, a);
    yyjson_val *usage = yyjson_obj_get(yyjson_doc_get_root(doc), "usage"), *k, *v;
    size_t i, n;
    yyjson_obj_foreach(usage, i, n, k, v) if (yyjson_is_sint(v) && yyjson_get_sint(v) < 0)
        fail_msg("%s: negative usage: %s", what, a->body.p);
    yyjson_doc_free(doc);
}

static void expect_direct(const struct row *r) {
    char value[32];
    mock_reset(&mock);
    struct answer a = direct(r->name);
    expect_status(r->name, &a, r->status);
    if (r->says != NULL && !answer_says(&a, r->says))
        fail_msg("%s: does not say %s: %s", r->name, r->says, a.body.p);
    answer_header(&a, "x-fal-error-type", value, sizeof value);
    if (r->type != NULL && strcmp(value, r->type) != 0)
        fail_msg("%s: error type \"%s\" instead of %s", r->name, value, r->type);
    if (answer_says(&a, "127.0.0.1") || answer_says(&a, "/v1"))
        fail_msg("%s: names the address: %s", r->name, a.body.p);
    if (r->status == 502 && answer_header(&a, "retry-after", value, sizeof value))
        fail_msg("%s: says Retry-After: %s although waiting does not help", r->name, value);
    if (a.status == 200) expect_usage_sane(r->name, &a);
    unsigned long calls = mock_count(&mock, "calls");
    if (r->calls != 0 && calls != r->calls)
        fail_msg("%s: %lu calls instead of %u", r->name, calls, r->calls);
    answer_free(&a);
}

/* --- streams */

/* All that came, from the status line to the end of the connection or of the answer. */
struct streamed {
    unsigned status;
    struct text last; /* the data of the last event */
    size_t events;
    bool whole; /* the last chunk came */
};

static void note_event(struct streamed *s, const char *data, size_t len) {
    s->last.len = 0;
    text_add(&s->last, data, len);
    s->events++;
}

static void read_events(struct streamed *s, const struct text *body) {
    const char *at = body->len > 0 ? body->p : "";
    for (const char *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2)
        if (strncmp(at, "data: ", 6) == 0) note_event(s, at + 6, (size_t)(end - at - 6));
    if (*at != '\0') fail_msg("the stream ends within an event: %s", at);
}

/* Whole chunks only; a chunk that is cut is no event. */
static bool dechunk_all(const char *p, size_t len, struct text *body) {
    while (len > 0) {
        char *line_end;
        size_t size = strtoul(p, &line_end, 16), head = (size_t)(line_end - p) + 2;
        if (len < head + size + 2) return false;
        text_add(body, p + head, size);
        p += head + size + 2;
        len -= head + size + 2;
        if (size == 0) return true;
    }
    return false;
}

static struct streamed stream(const char *model) {
    struct peer p = peer_open(server.port);
    struct streamed s = {0};
    struct text t = {0}, body = {0};
    text_printf(&t, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    struct text request = {0};
    text_printf(&request,
                "POST /run/fal-ai/any-llm/stream HTTP/1.1\r\n" HOST
                "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                t.len, t.p);
    peer_send(&p, request.p, request.len);
    peer_listen(&p, PATIENCE_MS);
    if (p.end == PEER_OPEN) fail_msg("%s: the stream does not end", model);
    const char *blank = p.in.len > 0 ? strstr(p.in.p, "\r\n\r\n") : NULL;
    if (blank == NULL) fail_msg("%s: no answer", model);
    s.status = (unsigned)strtoul(p.in.p + 9, NULL, 10);
    if (strstr(p.in.p, "text/event-stream") != NULL) {
        s.whole = dechunk_all(blank + 4, p.in.len - (size_t)(blank + 4 - p.in.p), &body);
        read_events(&s, &body);
    }
    text_free(&t);
    text_free(&request);
    text_free(&body);
    peer_close(&p);
    return s;
}

static void expect_last(const char *what, const struct streamed *s, bool failed) {
    yyjson_doc *doc = s->last.len > 0 ? yyjson_read(s->last.p, s->last.len, 0) : NULL;
    if (doc == NULL)
        fail_msg("%s: the last event is no JSON: %s", what, s->last.len > 0 ? s->last.p : "(none)");
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool error = yyjson_is_str(yyjson_obj_get(root, "error")),
         partial = yyjson_get_bool(yyjson_obj_get(root, "partial"));
    if (error != failed || partial != failed || s->whole == failed ||
        !yyjson_is_str(yyjson_obj_get(root, "output")))
        fail_msg("%s: should end %s, last event, last chunk %s: %s", what,
                 failed ? "with an error" : "well", s->whole ? "sent" : "not sent", s->last.p);
    yyjson_doc_free(doc);
}

static void expect_stream(const struct row *r) {
    struct streamed s = stream(r->name);
    unsigned want = r->stream == SAME ? r->status : r->stream == BEFORE ? 502 : 200;
    if (s.status != want)
        fail_msg("%s: the stream begins with %u instead of %u", r->name, s.status, want);
    if (want != 200 && s.events > 0) fail_msg("%s: events in an error", r->name);
    if (want == 200) expect_last(r->name, &s, r->stream == IN_BAND);
    text_free(&s.last);
}

static void row_is_answered_as_written(void **state) {
    const struct row *r = *state;
    if (r->status != 0) expect_direct(r);
    expect_stream(r);
}

/* --- U1, U2 */

static void U1_nobody_listens_is_503(void **state) {
    static const char *const models[] = {"refused", "no-name"};
    for (size_t i = 0; i < 2; i++) {
        char type[48];
        struct answer a = direct(models[i]);
        expect_status(models[i], &a, 503);
        answer_header(&a, "x-fal-error-type", type, sizeof type);
        if (strcmp(type, "runner_connection_refused") != 0 &&
            (i == 0 || strcmp(type, "runner_connection_timeout") != 0))
            fail_msg("%s: %s", models[i], type);
        answer_free(&a);
    }
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
    char type[48];
    struct answer a = direct("deaf");
    expect_status("deaf", &a, 503);
    answer_header(&a, "x-fal-error-type", type, sizeof type);
    assert_string_equal(type, "runner_connection_timeout");
    answer_free(&a);
}

static void U2_no_TLS_at_the_other_end_is_502(void **state) {
    struct answer a = direct("tls");
    expect_status("tls", &a, 502);
    assert_true(answer_says(&a, "upstream TLS error"));
    answer_free(&a);
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
    text_free(&s.last);
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
    text_free(&s.last);
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

static void add_upstream(struct text *up, struct text *routes, const char *name, const char *base,
                         const char *options) {
    text_printf(up, "  %s: { kind: openai, base_url: \"%s/v1\", key: %s%s }\n", name, base,
                CANARY_UPSTREAM, options);
    text_printf(routes, "  - { model: \"test/%s\", to: [%s] }\n", name, name);
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
