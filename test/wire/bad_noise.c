/* 10,000 requests that were good before they were mutated, from a seed, against the live server: every answer has its
 * shape, none is a 500, the server lives, the next good request works, memory stays where it was. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 10000U
#define WARM_UP 3000U
#define RSS_GROWTH_KIB 2048U
#define SEED 20260301U

static struct server server;
static struct mock mock;

static uint64_t seed = SEED;

static uint32_t below(uint32_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

#define JSON "Content-Type: application/json\r\n"
#define ID "00000000-0000-4000-8000-000000000000"

static const char *const good[] = {
    HEALTHZ,
    HEALTHZ "GET /readyz HTTP/1.1\r\n" HOST "Accept: */*\r\n\r\n",
    "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST JSON
    "Authorization: Key a:b\r\nContent-Length: 48\r\n\r\n"
    "{\"prompt\":\"hello\",\"temperature\":0.5,\"model\":null}",
    "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
    "5\r\n{\"pro\r\n9;a=\"b\"\r\nmpt\":\"x\"}\r\n0\r\nX-Sum: 1\r\n\r\n",
    "POST /fal-ai/any-llm/stream HTTP/1.1\r\n" HOST JSON
    "Content-Length: 14\r\n\r\n{\"prompt\":\"x\"}",
    "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST JSON "Content-Length: 53\r\n\r\n"
    "{\"a\":[{\"b\":[1,2.5e3,-0]},\"\\u00e9\\ud83d\\ude00\"],\"c\":{}}    ",
    "GET /queue/fal-ai/any-llm/requests/" ID "/status?logs=1 HTTP/1.1\r\n" HOST "\r\n",
    "PUT /queue/fal-ai/any-llm/requests/" ID "/cancel HTTP/1.1\r\n" HOST
    "Content-Length: 0\r\n\r\n",
    "OPTIONS /run/fal-ai/any-llm HTTP/1.1\r\n" HOST
    "Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    "HEAD /healthz HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\n" HOST JSON "Content-Length: 103\r\n\r\n"
    "{\"model\":\"openai/gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
    "\"top_p\":1.50,\"x\":[{}, \"a\"]}       ",
    "POST /run/openrouter/router/openai/v1/chat/completions HTTP/1.1\r\n" HOST JSON
    "Content-Length: 83\r\n\r\n"
    "{\"stream\":true,\"messages\":[],\"model\":\"openai/gpt-4o\",\"stream_options\":{\"a\":1}}     ",
    "GET /v1/models/openai%2Fgpt-4o HTTP/1.1\r\n" HOST "Authorization: Bearer a:b\r\n\r\n",
    "GET /api/openapi/queue/openapi.json?endpoint_id=fal-ai%2Fany-llm HTTP/1.1\r\n" HOST "\r\n",
    "GET /models/fal-ai/any-llm/llms.txt HTTP/1.1\r\n" HOST "\r\n",
    "POST /api/fal/proxy HTTP/1.1\r\n" HOST JSON
    "x-fal-target-url: https://queue.fal.run/fal-ai/any-llm?fal_max_queue_length=9\r\n"
    "Content-Length: 14\r\n\r\n{\"prompt\":\"x\"}",
    "GET /api/fal/proxy HTTP/1.1\r\n" HOST
    "x-fal-target-url: https://queue.fal.run/fal-ai/any-llm/requests/" ID "/status\r\n\r\n",
    "POST /queue/110602490-any-llm HTTP/1.1\r\n" HOST JSON
    "x-fal-queue-priority: low\r\nx-fal-request-timeout: 12.5\r\nx-fal-runner-hint: s1\r\n"
    "x-fal-retry-config: {\"timeout\":{\"retries\":2}}\r\nx-fal-tags: a=1,b=2\r\n"
    "x-fal-store-io: 0\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"x\"}",
    "POST /fal-ai/any-llm/vision HTTP/1.1\r\nHost: queue.fal.run\r\n" JSON
    "Content-Length: 71\r\n\r\n"
    "{\"prompt\":\"x\",\"image_urls\":[\"data:image/png;base64,iVBORw0KGgo=\"]}     ",
    "GET /queue/fal-ai/any-llm/requests/" ID "/status/stream?logs=1 HTTP/1.1\r\n" HOST
    "Forwarded: for=192.0.2.1;proto=https;host=\"a:1\"\r\n\r\n",
};
#define NGOOD (sizeof good / sizeof *good)

/* What often stands where readers disagree. */
static const struct {
    const char *p;
    size_t len;
} bits[] = {{"\r\n", 2},
            {"\n", 1},
            {"\r", 1},
            {"\0", 1},
            {" ", 1},
            {"\t", 1},
            {":", 1},
            {",", 1},
            {";", 1},
            {"%", 1},
            {"%00", 3},
            {"\xff", 1},
            {"\xc0\x80", 2},
            {"\r\n\r\n", 4},
            {"Content-Length: 5\r\n", 19},
            {"Transfer-Encoding: chunked\r\n", 28},
            {"chunked", 7},
            {"18446744073709551616", 20},
            {"-1", 2},
            {"0x10", 4},
            {"1e999", 5},
            {"\"", 1},
            {"{", 1},
            {"[[[[", 4},
            {"\\ud800", 6},
            {"\\u0000", 6},
            {"/../", 4},
            {"HTTP/1.0", 8},
            {"Host: b\r\n", 9},
            {"Connection: close\r\n", 19}};

static void splice(struct text *t, size_t at, size_t drop, const char *with, size_t len) {
    struct text out = {0};
    if (at > t->len) at = t->len;
    if (drop > t->len - at) drop = t->len - at;
    text_add(&out, t->p, at);
    text_add(&out, with, len);
    text_add(&out, t->p + at + drop, t->len - at - drop);
    text_free(t);
    *t = out;
}

static void mutate(struct text *t) {
    size_t at = below((uint32_t)t->len + 1), bit = below(sizeof bits / sizeof *bits);
    char byte = (char)below(256), copy[64];
    size_t span = 1 + below(sizeof copy - 1);
    switch (below(6)) {
    case 0: splice(t, at, 1, &byte, 1); break;
    case 1: splice(t, at, span % 8, "", 0); break;
    case 2: splice(t, at, 0, bits[bit].p, bits[bit].len); break;
    case 3: splice(t, at, bits[bit].len, bits[bit].p, bits[bit].len); break;
    case 4: /* a piece twice */
        if (at + span > t->len) break;
        memcpy(copy, t->p + at, span);
        splice(t, below((uint32_t)t->len), 0, copy, span);
        break;
    default: splice(t, at, t->len, "", 0); break; /* cut off */
    }
}

static void send_one(void) {
    struct text t = {0};
    struct peer p = peer_open(server.port);
    text_puts(&t, good[below(NGOOD)]);
    for (uint32_t n = 1 + below(4); n > 0 && t.len > 0; n--) mutate(&t);
    peer_send(&p, t.p, t.len);
    peer_half_close(&p);
    bool head = t.len > 4 && memcmp(t.p, "HEAD", 4) == 0;
    const struct answer *a;
    while ((a = head ? peer_answer_to_head(&p) : peer_answer(&p)) != NULL)
        if (a->status == 500) fail_msg("500 to:\n%s\n\n%s", t.p, a->head.p);
    if (p.end == PEER_OPEN) fail_msg("the connection stays open after:\n%s", t.p);
    peer_close(&p);
    text_free(&t);
}

static void expect_alive(unsigned n) {
    struct answer a = get(server.port, "/healthz");
    if (a.status != 200) fail_msg("dead after %u requests", n);
    answer_free(&a);
    a = post_json(server.port, "/run/fal-ai/any-llm", "{\"prompt\":\"x\"}");
    if (a.status != 200) fail_msg("no good answer after %u requests: %u", n, a.status);
    answer_free(&a);
}

static void malformed_requests_change_nothing(void **state) {
    size_t warm = 0;
    for (unsigned n = 0; n < REQUESTS + WARM_UP; n++) {
        if (n % 500 == 0) expect_alive(n);
        if (n == WARM_UP) warm = server_rss_kib(&server);
        send_one();
    }
    expect_alive(REQUESTS);
    assert_int_equal(metric(server.port, "anyllm_connections"), 1);
    assert_true(metric(server.port, "anyllm_bad_requests_total") > REQUESTS / 4);
#if !defined(__SANITIZE_ADDRESS__)
    size_t rss = server_rss_kib(&server);
    if (rss > warm + RSS_GROWTH_KIB) fail_msg("grew from %zu KiB to %zu KiB", warm, rss);
#endif
    (void)warm;
}

static int start(void **state) {
    struct text config = {0};
    const char *other = getenv("TEST_SEED"); /* by hand, for other runs */
    if (other != NULL) seed = strtoull(other, NULL, 10) | 1;
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/5/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
    struct server_options o = {.config = config.p};
    server_start(&server, &o);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(malformed_requests_change_nothing)};
    return suite_main(argc, argv, "bad_noise", tests, 1, start, stop);
}
