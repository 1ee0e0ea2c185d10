/* docs/bad-input.md: what is too much. What is too slow is in bad_slow.c. */
#include "peer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define BODY_LIMIT 65536U

static struct server server; /* max_body_bytes: 64 KiB */
static struct mock mock;

static void expect_status(const char *what, const struct answer *a, unsigned status) {
    if (a == NULL) fail_msg("%s: no answer", what);
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

static void expect_retry_after(const char *what, const struct answer *a) {
    char value[32];
    if (!answer_header(a, "retry-after", value, sizeof value) || strtoul(value, NULL, 10) == 0)
        fail_msg("%s: Retry-After: \"%s\"", what, value);
}

/* The bytes alone and behind a good request: the status, then the end. */
static void expect_refused(const char *what, const struct text *t, unsigned status,
                           const char *says) {
    for (int second = 0; second < 2; second++) {
        struct peer p = peer_open(server.port);
        if (second) peer_puts(&p, HEALTHZ);
        peer_send(&p, t->p, t->len);
        peer_puts(&p, "POST " QUEUE " HTTP/1.1\r\n" HOST
                      "Content-Length: 14\r\n\r\n{\"prompt\":\"x\"}");
        if (second) expect_status(what, peer_answer(&p), 200);
        expect_status(what, peer_answer(&p), status);
        if (!answer_says(&p.answer, says)) fail_msg("%s: %s", what, p.answer.body.p);
        assert_true(p.answer.close);
        assert_true(peer_is_ended(&p));
        peer_close(&p);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void expect_good(const struct text *t, unsigned status) {
    struct peer p = peer_open(server.port);
    peer_send(&p, t->p, t->len);
    expect_status("within the limit", peer_answer(&p), status);
    assert_true(peer_is_kept(&p));
    peer_close(&p);
}

/* --- L1, L2 */

static void fill_request_line(struct text *t, size_t len) {
    t->len = 0;
    text_puts(t, "GET /");
    text_fill(t, 'a', len - strlen("GET / HTTP/1.1"));
    text_puts(t, " HTTP/1.1\r\n" HOST "\r\n");
}

static void L1_request_line_over_8_KiB_is_414(void **state) {
    static const size_t over[] = {8193, 9000, 100000, 2000000};
    struct text t = {0};
    for (size_t i = 0; i < 4; i++) {
        fill_request_line(&t, over[i]);
        expect_refused("L1", &t, 414, "URI too long");
    }
    fill_request_line(&t, 8192);
    expect_good(&t, 404);
    t.len = 0; /* no end in sight: refused before it comes */
    text_puts(&t, "GET /");
    text_fill(&t, 'a', 8300);
    expect_refused("L1 without an end", &t, 414, "URI too long");
    text_free(&t);
}

static void begin_headers(struct text *t) {
    t->len = 0;
    text_puts(t, "GET /healthz HTTP/1.1\r\n" HOST);
}

static void L2_too_many_or_too_large_headers_are_431(void **state) {
    struct text t = {0};
    begin_headers(&t);
    for (int i = 0; i < 100; i++) text_printf(&t, "X-%d: y\r\n", i); /* and Host: 101 */
    text_puts(&t, "\r\n");
    expect_refused("101 headers", &t, 431, "headers too large");
    begin_headers(&t);
    for (int i = 0; i < 100000; i++) text_puts(&t, "X:\r\n");
    text_puts(&t, "\r\n");
    expect_refused("100,000 headers", &t, 431, "headers too large");
    begin_headers(&t);
    text_puts(&t, "X: ");
    text_fill(&t, 'y', 16385);
    text_puts(&t, "\r\n\r\n");
    expect_refused("a header over 16 KiB", &t, 431, "headers too large");
    begin_headers(&t);
    text_fill(&t, 'X', 17000);
    text_puts(&t, ": y\r\n\r\n");
    expect_refused("a name over 16 KiB", &t, 431, "headers too large");
    begin_headers(&t);
    for (int i = 0; i < 40; i++) {
        text_puts(&t, "X: ");
        text_fill(&t, 'y', 1000);
        text_puts(&t, "\r\n");
    }
    text_puts(&t, "\r\n");
    expect_refused("40 KB in all", &t, 431, "headers too large");
    begin_headers(&t);
    for (int i = 0; i < 99; i++) text_printf(&t, "X-%d: y\r\n", i);
    text_puts(&t, "\r\n");
    expect_good(&t, 200);
    begin_headers(&t);
    text_puts(&t, "X: ");
    text_fill(&t, 'y', 16000);
    text_puts(&t, "\r\n\r\n");
    expect_good(&t, 200);
    text_free(&t);
}

/* --- L3, L4 */

static void L3_body_over_the_limit_by_length_is_413_at_once(void **state) {
    static const char *const lengths[] = {"65537", "33554433", "9223372036854775807"};
    for (size_t i = 0; i < 3; i++) {
        struct peer p = peer_open(server.port);
        struct text t = {0};
        text_printf(&t, "POST " QUEUE " HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\n",
                    lengths[i]);
        peer_send(&p, t.p, t.len); /* and nothing of the body */
        expect_status(lengths[i], peer_answer(&p), 413);
        assert_true(answer_says(&p.answer, "\"detail\":\"Body larger than 65536 bytes\""));
        assert_true(peer_is_ended(&p));
        peer_close(&p);
        text_free(&t);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void L3_a_client_that_sends_it_all_first_sees_its_413(void **state) {
    struct text t = {0};
    text_printf(&t, "POST " QUEUE " HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", 8 << 20);
    text_fill(&t, ' ', 8U << 20);
    struct answer a = ask(server.port, t.p, t.len);
    expect_status("8 MiB", &a, 413);
    answer_free(&a);
    text_free(&t);
}

static void L3_a_body_of_just_the_limit_is_good(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"");
    text_fill(&t, 'x', BODY_LIMIT - t.len - 2);
    text_puts(&t, "\"}");
    struct answer a = post_json(server.port, RUN, t.p);
    expect_status("the limit", &a, 200);
    answer_free(&a);
    text_free(&t);
}

static void L4_body_over_the_limit_by_chunks_is_413_at_the_byte_that_crosses(void **state) {
    struct text t = {0};
    struct peer p = peer_open(server.port);
    text_puts(&t, "POST " QUEUE " HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfffff\r\n");
    text_fill(&t, ' ', BODY_LIMIT);
    peer_send(&p, t.p, t.len);
    assert_null(peer_answer_within(&p, 200)); /* not yet */
    peer_puts(&p, " ");
    expect_status("the byte that crosses", peer_answer(&p), 413);
    assert_true(answer_says(&p.answer, "Body larger than 65536 bytes"));
    assert_true(peer_is_ended(&p));
    peer_close(&p);
    t.len = 0;
    text_puts(&t, "POST " QUEUE " HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++) {
        text_puts(&t, "1000\r\n");
        text_fill(&t, ' ', 4096);
        text_puts(&t, "\r\n");
    }
    text_puts(&t, "0\r\n\r\n");
    expect_refused("in many chunks", &t, 413, "Body larger than 65536 bytes");
    text_free(&t);
}

/* --- L8, L9 */

static void start_small(struct server *s, const char *settings, unsigned descriptors) {
    struct text config = {0};
    text_printf(&config,
                "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:1/v1\" }\n%s",
                settings);
    struct server_options o = {
        .config = config.p, .descriptors = descriptors, .args = {"--log-level", "trace"}};
    server_start(s, &o);
    text_free(&config);
}

#define CONNECTIONS 20

static void L8_one_connection_too_many_is_503(void **state) {
    struct server s;
    struct peer held[CONNECTIONS];
    start_small(&s, "max_connections: 20\n", 0);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        held[i] = peer_open(s.port);
        assert_true(peer_is_kept(&held[i]));
    }
    for (int i = 0; i < 5; i++) {
        struct peer p = peer_open(s.port); /* says nothing */
        expect_status("one too many", peer_answer(&p), 503);
        assert_true(answer_says(&p.answer, "too many connections"));
        assert_true(p.answer.close);
        expect_retry_after("one too many", &p.answer);
        assert_true(peer_is_ended(&p));
        peer_close(&p);
    }
    for (size_t i = 0; i < CONNECTIONS; i++)
        assert_true(peer_is_kept(&held[i])); /* these do not suffer */
    peer_close(&held[0]);
    for (uint64_t end = now_ms() + PATIENCE_MS;; sleep_ms(5)) { /* and one may come in its place */
        struct peer p = peer_open(s.port);
        bool in = peer_is_kept(&p);
        peer_close(&p);
        if (in) break;
        assert_true(now_ms() < end);
    }
    for (size_t i = 1; i < CONNECTIONS; i++) peer_close(&held[i]);
    server_stop(&s);
}

static void L8_loopback_does_not_count_per_address(void **state) {
    struct server s;
    struct peer held[CONNECTIONS];
    start_small(&s, "max_connections_per_address: 3\n", 0);
    for (size_t i = 0; i < CONNECTIONS; i++) held[i] = peer_open(s.port);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        assert_true(peer_is_kept(&held[i]));
        peer_close(&held[i]);
    }
    server_stop(&s);
}

#define DESCRIPTORS 64
#define CROWD 200

/* Out of descriptors it answers 503 or closes, does not spin, and goes on when there are some again. */
static void L9_without_descriptors_it_refuses_and_does_not_spin(void **state) {
    struct server s;
    static struct peer crowd[CROWD];
    start_small(&s, "", DESCRIPTORS);
    size_t refused = 0, served = 0;
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = peer_open(s.port);
        peer_puts(&crowd[i], HEALTHZ);
    }
    for (size_t i = 0; i < CROWD; i++) {
        const struct answer *a = peer_answer_within(&crowd[i], 2000);
        if (a != NULL && a->status == 200) served++;
        if (a != NULL && a->status == 503) expect_retry_after("L9", a);
        if ((a != NULL && a->status == 503) || (a == NULL && crowd[i].end != PEER_OPEN)) refused++;
    }
    assert_true(served > 0);
    if (served + refused != CROWD)
        fail_msg("%zu served, %zu refused, the others hang", served, refused);
    unsigned long before = server_cpu_ms(&s);
    sleep_ms(500);
    assert_true(server_cpu_ms(&s) - before < 250);
    for (size_t i = 0; i < CROWD; i++) peer_close(&crowd[i]);
    for (uint64_t end = now_ms() + PATIENCE_MS;; sleep_ms(20)) {
        struct peer p = peer_open(s.port);
        bool in = peer_is_kept(&p);
        peer_close(&p);
        if (in) break;
        assert_true(now_ms() < end);
    }
    server_stop(&s);
}

/* --- L10, L11 */

static void L10_a_compressed_body_is_415(void **state) {
    static const char *const codings[] = {"gzip", "GZIP",     "deflate",    "br",
                                          "zstd", "compress", "gzip, gzip", "x"};
    char bomb[1024] = "\x1f\x8b\x08";
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++) {
        char header[64];
        snprintf(header, sizeof header, "Content-Encoding: %s\r\n", codings[i]);
        struct answer a = post(server.port, QUEUE, header, bomb, sizeof bomb);
        expect_status(codings[i], &a, 415);
        assert_true(answer_says(&a, "content encoding not supported"));
        answer_free(&a);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void L11_more_direct_calls_than_slots_are_429(void **state) {
    struct peer p = peer_open(server.port);
    char value[16];
    peer_puts(&p, "POST " RUN " HTTP/1.1\r\n" HOST
                  "Content-Length: 36\r\n\r\n{\"prompt\":\"x\",\"model\":\"test/narrow\"}");
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") == 0; sleep_ms(2))
        assert_true(now_ms() < end);
    static const char *const paths[] = {RUN, RUN "/stream"};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = post_json(server.port, paths[i],
                                    "{\"prompt\":\"x\",\"model\":\"test/narrow\"}");
        expect_status("the second", &a, 429);
        assert_true(answer_says(&a, "\"error_type\":\"concurrent_requests_limit\""));
        expect_retry_after("the second", &a);
        assert_true(answer_header(&a, "x-fal-needs-retry", value, sizeof value));
        assert_string_equal(value, "1");
        answer_free(&a);
    }
    expect_status("the first", peer_answer(&p), 200);
    peer_close(&p);
}

static void L11_a_longer_queue_than_allowed_is_429(void **state) {
    static const char body[] = "{\"prompt\":\"x\"}";
    struct server s;
    struct text config = {0};
    text_printf(
        &config,
        "upstreams:\n  narrow: { kind: openai, base_url: \"http://127.0.0.1:%u/silent/v1\", concurrency: 1 }\n"
        "max_queue_length: 2\ngrace: 1\n",
        mock.port);
    server_start_with(&s, config.p);
    unsigned accepted = 0, refused = 0;
    for (int i = 0; i < 10; i++) {
        struct answer a = post_json(s.port, QUEUE, body);
        if (a.status == 200) accepted++;
        if (a.status == 429) {
            refused++;
            expect_retry_after("the queue is full", &a);
        }
        answer_free(&a);
    }
    assert_int_equal(accepted + refused, 10);
    assert_in_range(accepted, 2, 3); /* two wait; one runs, if it was claimed in time */
    assert_int_equal(metric(s.port, "anyllm_queue_submitted_total"), accepted);
    struct answer a = post_json(s.port, QUEUE "?fal_max_queue_length=1", body);
    expect_status("the caller's own limit", &a, 429);
    expect_retry_after("the caller's own limit", &a);
    answer_free(&a);
    server_stop(&s);
    text_free(&config);
}

/* --- the suite */

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n"
        "  up:     { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n"
        "  narrow: { kind: openai, base_url: \"http://127.0.0.1:%u/delay/500/v1\", concurrency: 1 }\n"
        "routes:\n  - { model: \"*\", to: [up] }\n  - { model: \"test/narrow\", to: [narrow] }\n"
        "max_body_bytes: 64KiB\n",
        mock.port, CANARY_UPSTREAM, mock.port);
    server_start_with(&server, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(L1_request_line_over_8_KiB_is_414),
        cmocka_unit_test(L2_too_many_or_too_large_headers_are_431),
        cmocka_unit_test(L3_body_over_the_limit_by_length_is_413_at_once),
        cmocka_unit_test(L3_a_client_that_sends_it_all_first_sees_its_413),
        cmocka_unit_test(L3_a_body_of_just_the_limit_is_good),
        cmocka_unit_test(L4_body_over_the_limit_by_chunks_is_413_at_the_byte_that_crosses),
        cmocka_unit_test(L8_one_connection_too_many_is_503),
        cmocka_unit_test(L8_loopback_does_not_count_per_address),
        cmocka_unit_test(L9_without_descriptors_it_refuses_and_does_not_spin),
        cmocka_unit_test(L10_a_compressed_body_is_415),
        cmocka_unit_test(L11_more_direct_calls_than_slots_are_429),
        cmocka_unit_test(L11_a_longer_queue_than_allowed_is_429),
    };
    return suite_main(argc, argv, "bad_limits", tests, sizeof tests / sizeof *tests, start, stop);
}
