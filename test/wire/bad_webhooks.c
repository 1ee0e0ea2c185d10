/* docs/bad-input.md, webhooks: what may not be delivered to, receivers that fail, and a server that is killed. Every delivery
 * is verified as docs/webhooks.md says, by the code that is shown there. */
#include "../../examples/webhooks/verify.h"
#include "calls.h"
#include "receiver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE "/queue/fal-ai/any-llm"
#define RETRIES 3U
#define TIMEOUT_MS 700U
#define MAX_KEYS 8U
#define HANGING 12U

static struct server server;
static struct mock mock;
static struct receiver receiver;
static struct text config;
static struct webhook_key keys[MAX_KEYS];
static size_t nkeys;

/* --- submits */

static struct answer try_submit(unsigned port, const char *url, const char *headers,
                                const char *model) {
    struct text path = {0};
    char body[128];
    text_printf(&path, QUEUE "?fal_webhook=%s", url);
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    struct answer a = post(port, path.p, headers, body, strlen(body));
    text_free(&path);
    return a;
}

static char *submit(const char *url, const char *headers, const char *model) {
    struct answer a = try_submit(server.port, url, headers, model);
    expect_status(url, &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

static const char *here(const char *path) {
    static char url[512];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", receiver.port, path);
    return url;
}

/* Delivered to this path of the receiver. */
static char *submit_to(const char *path) {
    return submit(here(path), "", "ok");
}

static struct answer status_of(const char *id) {
    char path[256];
    snprintf(path, sizeof path, QUEUE "/requests/%s/status?logs=1", id);
    return get(server.port, path);
}

/* Until the request's log lines say so. */
static void wait_log(const char *id, const char *says) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(10)) {
        struct answer a = status_of(id);
        bool there = answer_says(&a, says);
        answer_free(&a);
        if (there) return;
    }
    struct answer a = status_of(id);
    fail_msg("no \"%s\" in the log: %s", says, a.body.p);
}

/* --- deliveries */

static void read_keys(unsigned port) {
    struct answer a = get(port, "/.well-known/jwks.json");
    yyjson_doc *doc = answer_json("the keys", &a);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "keys"), *k;
    size_t i, n;
    nkeys = 0;
    yyjson_arr_foreach(list, i, n, k) {
        const char *x = yyjson_get_str(yyjson_obj_get(k, "x"));
        assert_int_equal(strlen(x), 44); /* padded */
        assert_true(nkeys < MAX_KEYS && webhook_key_read(x, &keys[nkeys++]));
    }
    assert_true(nkeys > 0);
    yyjson_doc_free(doc);
    answer_free(&a);
}

struct signed_headers {
    char id[64], user[64], timestamp[32], signature[160];
};

static struct webhook read_signed(const struct delivered *d, struct signed_headers *h) {
    delivered_header(d, "x-fal-webhook-request-id", h->id, sizeof h->id);
    delivered_header(d, "x-fal-webhook-user-id", h->user, sizeof h->user);
    delivered_header(d, "x-fal-webhook-timestamp", h->timestamp, sizeof h->timestamp);
    delivered_header(d, "x-fal-webhook-signature", h->signature, sizeof h->signature);
    return (struct webhook){h->id, h->user, h->timestamp, h->signature, d->body.p, d->body.len};
}

static void expect_verified(const struct delivered *d) {
    struct signed_headers h;
    struct webhook w = read_signed(d, &h);
    if (!webhook_verify(&w, keys, nkeys, time(NULL)))
        fail_msg("not verified: %s%s", d->head.p, d->body.p);
}

static void expect_of(const struct delivered *d, const char *id) {
    char value[64];
    expect_verified(d);
    assert_true(delivered_header(d, "x-fal-webhook-request-id", value, sizeof value));
    assert_string_equal(value, id);
    assert_true(delivered_header(d, "webhook-id", value, sizeof value));
    assert_string_equal(value, id);
}

/* So many tries and no more, once the request's log says that it is over. */
static void expect_tries(const char *path, const char *says, unsigned tries) {
    char *id = submit_to(path);
    wait_log(id, says);
    if (receiver_count(&receiver, path) != tries)
        fail_msg("%s: %u tries instead of %u", path, receiver_count(&receiver, path), tries);
    for (unsigned n = 0; n < tries; n++) expect_of(receiver_wait(&receiver, path, n), id);
    free(id);
}

/* --- what may not be delivered to */

static void expect_refused(const char *url, const char *says) {
    struct answer a = try_submit(server.port, url, "", "ok");
    expect_status(url, &a, 422);
    expect_says(url, &a, "\"loc\":[\"query\",\"fal_webhook\"]");
    expect_says(url, &a, says);
    answer_free(&a);
}

static void W1_other_schemes_are_422(void **state) {
    static const char *const urls[] = {"file:///etc/passwd", "gopher://a/",         "ftp://a/",
                                       "dict://a/",          "javascript:alert(1)", "data:,x",
                                       "unix:/run/x"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        expect_refused(urls[i], "scheme must be http or https");
}

/* Loopback is allowed here: test_webhook.c has the loopback ones. */
static void W3_private_literals_are_422(void **state) {
    static const char *const urls[] = {"http://10.0.0.1/",
                                       "http://172.16.0.1/",
                                       "http://192.168.0.1/",
                                       "http://169.254.169.254/latest/meta-data",
                                       "http://169.254.170.2/",
                                       "http://100.64.0.1/",
                                       "http://[fd00:ec2::254]/",
                                       "http://metadata.google.internal/",
                                       "http://167772161/",
                                       "http://0xa9fea9fe/",
                                       "http://0/",
                                       "http://[::]/",
                                       "http://[64:ff9b::a00:1]/",
                                       "http://[2002:a00:1::]/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        expect_refused(urls[i], "address not allowed");
    expect_refused("http://[fe80::1%25eth0]/", "invalid host");
}

static void W5_odd_URLs_are_422(void **state) {
    static const char *const urls[] = {
        "http://user:pass@example.com/",
        "http://example.com/%23frag",
        "http://exa%20mple.com/",
        "http://example.com/%0d%0aX:%20y",
        "http://example.com/%00",
        "http://ex%c3%a4mple.com/",
        "http://example.com:0/",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:70000/",
        "",
        "http://",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) expect_refused(urls[i], "\"msg\":");
    struct text url = {0};
    text_puts(&url, "http://example.com/");
    text_fill(&url, 'a', 65536);
    struct answer a = try_submit(server.port, url.p, "", "ok");
    expect_status("64 KiB", &a, 414); /* no request line may be so long */
    answer_free(&a);
    text_free(&url);
}

static bool leads_here(const char *name) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(name, NULL, &hints, &list) != 0) return false;
    struct in6_addr *six = &((struct sockaddr_in6 *)(void *)list->ai_addr)->sin6_addr;
    uint32_t four = ntohl(((struct sockaddr_in *)(void *)list->ai_addr)->sin_addr.s_addr);
    bool here = list->ai_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(six)
                                            : four >> 24 == 127 || four >> 24 == 10 ||
                                                  four >> 16 == 0xc0a8 || four >> 20 == 0xac1;
    freeaddrinfo(list);
    return here;
}

/* Known only when it is connected to: this machine's own names are such. */
static void W2_W6_a_name_of_a_private_address_is_not_connected_to(void **state) {
    char own[256] = "", url[512];
    const char *const names[] = {own, "ip6-localhost", "ip6-loopback", "localhost.localdomain"};
    unsigned tried = 0;
    struct text strict = {0};
    struct server usual = server;
    gethostname(own, sizeof own - 1);
    text_printf(&strict,
                "upstreams:\n  ok: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\" }\n"
                "routes:\n  - { model: \"*\", to: [ok] }\nwebhook_retries: 1\nwebhook_window: 1s\n",
                mock.port);
    server_start_with(&server, strict.p);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!leads_here(names[i])) continue;
        snprintf(url, sizeof url, "http://%s:%u/private", names[i], receiver.port);
        char *id = submit(url, "", "ok");
        wait_log(id, "webhook given up after 2 tries: address not allowed");
        free(id);
        tried++;
    }
    server_stop(&server);
    server = usual;
    text_free(&strict);
    assert_int_equal(receiver_count(&receiver, "/private"), 0);
    print_message("%s this machine has %u names of private addresses\n", tried == 0 ? "skip:" : "#",
                  tried);
    if (tried == 0) skip();
}

static void W6_a_name_that_is_not_there_is_tried_again(void **state) {
    char *id = submit("http://no-such-name.invalid/x", "", "ok");
    wait_log(id, "will be tried again at");
    wait_log(id, "webhook given up after 4 tries");
    free(id);
}

/* --- deliveries */

/* The bytes of fal's own deliveries: sorted keys, Python's separators. */
static void W4_what_webhook_allow_names_is_delivered_as_fal_does(void **state) {
    char *id = submit_to("/allowed?a=b%26c=d"), value[256], path[256];
    char *bad = submit(here("/error"), "", "nowhere");
    const struct delivered *d = receiver_wait(&receiver, "/allowed?a=b&c=d", 0);
    struct text expected = {0};
    expect_of(d, id);
    snprintf(path, sizeof path, QUEUE "/requests/%s", id);
    struct answer result = get(server.port, path);
    text_printf(
        &expected,
        "{\"error\": null, \"gateway_request_id\": \"%s\", \"payload\": %s, \"request_id\": "
        "\"%s\", \"status\": \"OK\"}",
        id, result.body.p, id);
    assert_string_equal(d->body.p, expected.p);
    assert_true(delivered_header(d, "content-type", value, sizeof value));
    assert_string_equal(value, "application/json");
    assert_true(delivered_header(d, "user-agent", value, sizeof value));
    assert_memory_equal(value, "anyllm/", 7);
    assert_true(delivered_header(d, "x-fal-webhook-user-id", value, sizeof value));
    assert_string_equal(value, "local");
    assert_true(delivered_header(d, "webhook-signature", value, sizeof value));
    assert_memory_equal(value, "v1a,", 4);
    assert_memory_equal(value + 4 + 88, " v1,", 4);
    assert_int_equal(strlen(value), 4 + 88 + 4 + 44);
    wait_log(id, "webhook delivered");
    d = receiver_wait(&receiver, "/error", 0);
    expect_of(d, bad);
    assert_memory_equal(d->body.p,
                        "{\"error\": \"Invalid status code: 422\", \"gateway_request_id\": ", 60);
    assert_non_null(strstr(d->body.p, "\"payload\": {\"detail\":[{"));
    assert_non_null(strstr(d->body.p, "\"status\": \"ERROR\"}"));
    answer_free(&result);
    text_free(&expected);
    free(id);
    free(bad);
}

/* By the code of docs/webhooks.md. */
static void one_flipped_bit_anywhere_is_refused(void **state) {
    char *id = submit_to("/flip");
    const struct delivered *d = receiver_wait(&receiver, "/flip", 0);
    struct signed_headers h;
    struct webhook w = read_signed(d, &h);
    assert_true(webhook_verify(&w, keys, nkeys, time(NULL)));
    char *const parts[] = {h.id, h.user, h.timestamp, h.signature, d->body.p};
    for (size_t p = 0; p < 5; p++) {
        size_t len = p == 4 ? d->body.len : strlen(parts[p]);
        for (size_t bit = 0; bit < len * 8; bit++) {
            parts[p][bit / 8] = (char)(parts[p][bit / 8] ^ 1 << bit % 8);
            if (webhook_verify(&w, keys, nkeys, time(NULL)))
                fail_msg("bit %zu of part %zu makes no difference", bit, p);
            parts[p][bit / 8] = (char)(parts[p][bit / 8] ^ 1 << bit % 8);
        }
    }
    assert_true(webhook_verify(&w, keys, nkeys, time(NULL)));
    assert_true(webhook_verify(&w, keys, nkeys, time(NULL) + 290));
    assert_false(webhook_verify(&w, keys, nkeys, time(NULL) + 310));
    assert_false(webhook_verify(&w, keys, nkeys, time(NULL) - 310));
    w.signature = NULL;
    assert_false(webhook_verify(&w, keys, nkeys, time(NULL)));
    free(id);
}

static void W7_redirects_are_failed_tries(void **state) {
    static const unsigned statuses[] = {300, 301, 302, 303, 307, 308};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        char path[128], says[64];
        snprintf(path, sizeof path, "/first/1/status/%u/location/127.0.0.1:%u/landed", statuses[i],
                 receiver.port);
        snprintf(says, sizeof says, "webhook failed: Invalid status code: %u", statuses[i]);
        char *id = submit_to(path);
        wait_log(id, says);
        wait_log(id, "webhook delivered");
        assert_int_equal(receiver_count(&receiver, path), 2);
        free(id);
    }
    assert_int_equal(receiver_count(&receiver, "/landed"), 0);
}

static void W8_slow_heads_and_endless_bodies(void **state) {
    expect_tries("/wait/300", "webhook delivered", 1);
    expect_tries("/endless", "webhook delivered", 1);
    pthread_mutex_lock(&receiver.lock);
    assert_in_range(receiver.endless_bytes, 65536,
                    20 << 20); /* what sockets hold goes beyond 64 KiB */
    pthread_mutex_unlock(&receiver.lock);
    expect_tries("/half", "webhook delivered", 1);
    char *id = submit_to("/first/1/wait/1500");
    wait_log(id, "webhook failed: no answer in time; will be tried again at");
    wait_log(id, "webhook delivered");
    expect_of(receiver_wait(&receiver, "/first/1/wait/1500", 1), id);
    assert_int_equal(receiver_count(&receiver, "/first/1/wait/1500"), 2);
    free(id);
}

static void W9_every_2xx_is_success_and_no_1xx(void **state) {
    expect_tries("/status/204", "webhook delivered", 1);
    expect_tries("/status/299", "webhook delivered", 1);
    expect_tries("/first/1/only/100", "webhook delivered", 2);
    expect_tries("/first/1/only/199", "webhook delivered", 2);
}

static void W10_errors_are_tried_again(void **state) {
    expect_tries("/first/1/status/404", "webhook delivered", 2);
    expect_tries("/first/1/status/500", "webhook delivered", 2);
    expect_tries("/first/1/status/502", "webhook delivered", 2);
    expect_tries("/first/1/status/504", "webhook delivered", 2);
    expect_tries("/first/2/status/503", "webhook delivered", 3);
}

static void W11_410_ends_the_tries(void **state) {
    expect_tries("/status/410", "webhook given up after 1 try: Invalid status code: 410", 1);
    struct answer a = get(server.port, "/admin/webhooks?state=gone");
    expect_says("gone", &a, "/status/410\"");
    answer_free(&a);
}

/* The longest pause is 1.14 s here. */
static void W12_Retry_After_is_honoured_up_to_the_longest_pause(void **state) {
    static const struct {
        const char *path;
        uint64_t least_ms, most_ms;
    } cases[] = {{"/first/1/status/429/retry-after/1", 1000, 5000},
                 {"/first/1/status/503/retry-after/1000000000", 1100, 5000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_tries(cases[i].path, "webhook delivered", 2);
        uint64_t took = receiver_wait(&receiver, cases[i].path, 1)->at_ms -
                        receiver_wait(&receiver, cases[i].path, 0)->at_ms;
        assert_in_range(took, cases[i].least_ms, cases[i].most_ms);
    }
}

static void W13_a_receiver_without_TLS_is_not_reached_by_https(void **state) {
    char url[128];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/tls", server.port); /* it answers 400 */
    char *id = submit(url, "", "ok");
    wait_log(id, "webhook failed: TLS failed");
    free(id);
}

static void W14_what_is_sent_again_has_the_same_id_and_is_signed_anew(void **state) {
    expect_tries("/first/2/reset", "webhook delivered", 3);
    char a[32], b[32];
    assert_true(delivered_header(receiver_wait(&receiver, "/first/2/reset", 0),
                                 "x-fal-webhook-timestamp", a, sizeof a));
    sleep_ms(1100);
    char *id = submit_to("/first/1/wait/1500/again");
    const struct delivered *d = receiver_wait(&receiver, "/first/1/wait/1500/again", 1);
    expect_of(d, id);
    assert_true(delivered_header(d, "x-fal-webhook-timestamp", b, sizeof b));
    assert_string_not_equal(a, b);
    free(id);
}

static void W15_a_large_result_is_linked(void **state) {
    char *id = submit(here("/large"), "", "big"), link[256];
    const struct delivered *d = receiver_wait(&receiver, "/large", 0);
    expect_of(d, id);
    snprintf(
        link, sizeof link,
        "\"payload\": null, \"payload_error\": \"Response payload is larger than 1 MiB. Fetch it "
        "from /queue/fal-ai/any-llm/requests/%s\"",
        id);
    assert_non_null(strstr(d->body.p, link));
    free(id);
    id = submit(here("/nearly"), "", "most");
    d = receiver_wait(&receiver, "/nearly", 0);
    expect_of(d, id);
    assert_true(d->body.len > 900000);
    free(id);
}

static void W16_a_dead_receiver_is_listed_and_a_replay_delivers(void **state) {
    char body[128];
    char *id = submit_to("/first/4/status/500/dead");
    wait_log(id, "webhook given up after 4 tries: Invalid status code: 500");
    assert_int_equal(receiver_count(&receiver, "/first/4/status/500/dead"), RETRIES + 1);
    struct answer a = get(server.port, "/admin/webhooks?state=dead");
    expect_status("list", &a, 200);
    expect_says("list", &a, id);
    answer_free(&a);
    char *log = file_text(server.err, NULL);
    snprintf(body, sizeof body, "event=webhook_dead rid=%s", id);
    if (strstr(log, body) == NULL) fail_msg("no event in the log");
    free(log);
    snprintf(body, sizeof body, "{\"id\":\"%s\"}", id);
    a = post_json(server.port, "/admin/webhooks/replay", body);
    expect_status("replay", &a, 200);
    expect_says("replay", &a, "{\"replayed\":1}");
    answer_free(&a);
    expect_of(receiver_wait(&receiver, "/first/4/status/500/dead", 4), id);
    wait_log(id, "webhook delivered");
    free(id);
}

/* Many that hang, and one for another name of the same machine. */
static void W17_a_dead_host_holds_nobody_else_up(void **state) {
    char url[128];
    for (unsigned i = 0; i < HANGING; i++) free(submit_to("/hang"));
    snprintf(url, sizeof url, "http://localhost:%u/other", receiver.port);
    char *id = submit(url, "", "ok");
    uint64_t began = now_ms();
    expect_of(receiver_wait(&receiver, "/other", 0), id);
    print_message("# delivered beside %u that hang in %u ms\n", HANGING,
                  (unsigned)(now_ms() - began));
    assert_in_range(receiver_most_hanging(&receiver), 1, 4);
    free(id);
    for (uint64_t end = now_ms() + 60000; metric(server.port, "anyllm_webhooks_waiting") +
                                              metric(server.port, "anyllm_webhooks_running") >
                                          0;
         sleep_ms(50))
        assert_true(now_ms() < end);
    assert_int_equal(receiver_count(&receiver, "/hang"), HANGING * (RETRIES + 1));
}

static void W18_deliveries_that_lead_to_deliveries_end(void **state) {
    char value[16];
    struct answer a = try_submit(server.port, here("/hops"), "X-Anyllm-Hops: 4\r\n", "ok");
    expect_status("4 hops", &a, 422);
    answer_free(&a);
    a = try_submit(server.port, here("/hops"), "X-Anyllm-Hops: -1\r\n", "ok");
    expect_status("no number", &a, 422);
    answer_free(&a);
    char *id = submit(here("/hops"), "X-Anyllm-Hops: 3\r\n", "ok");
    const struct delivered *d = receiver_wait(&receiver, "/hops", 0);
    expect_of(d, id);
    assert_true(delivered_header(d, "x-anyllm-hops", value, sizeof value));
    assert_string_equal(value, "4");
    free(id);
}

static void W19_what_a_caller_says_of_signatures_is_ignored(void **state) {
    char *id = submit(here("/claims"),
                      "X-Fal-Webhook-Request-Id: other\r\nX-Fal-Webhook-User-Id: other\r\n"
                      "X-Fal-Webhook-Signature: 00\r\nX-Fal-Webhook-Timestamp: 1\r\n",
                      "ok");
    expect_of(receiver_wait(&receiver, "/claims", 0), id);
    free(id);
}

/* Input and result of such a request go early; not before its delivery has ended. */
static void what_is_not_to_be_stored_is_delivered_whole(void **state) {
    char *id = submit(here("/first/2/status/500/unstored"), "x-fal-store-io: 0\r\n", "ok");
    const struct delivered *d = receiver_wait(&receiver, "/first/2/status/500/unstored", 2);
    expect_of(d, id);
    assert_non_null(strstr(d->body.p, "\"payload\": {\"output\":"));
    free(id);
}

/* --- a server that ends */

#define ROUNDS 5U
#define PER_ROUND 40U

static void start_on(struct server *s, const char *data) {
    const struct server_options o = {
        .config = config.p, .data = data, .args = {"--log-level", "warn"}};
    server_start(s, &o);
}

static void kill_server(struct server *s) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    scratch_remove(s->dir);
    s->pid = 0;
}

static unsigned tries_of(const char *path, const char *id) {
    char value[64];
    unsigned n = 0;
    pthread_mutex_lock(&receiver.lock);
    for (struct delivered *d = receiver.first; d != NULL; d = d->next)
        n += strcmp(d->path, path) == 0 && delivered_header(d, "webhook-id", value, sizeof value) &&
             strcmp(value, id) == 0;
    pthread_mutex_unlock(&receiver.lock);
    return n;
}

/* Each delivery comes; twice only where the kill was between the receiver's answer and our commit. */
static void W20_no_delivery_is_lost_to_kills(void **state) {
    char data[MAX_PATH], *ids[ROUNDS * PER_ROUND];
    unsigned n = 0, twice = 0;
    struct server s;
    scratch_make(data);
    for (unsigned round = 0; round < ROUNDS; round++) {
        start_on(&s, data);
        for (unsigned i = 0; i < PER_ROUND; i++) {
            struct answer a = try_submit(s.port, here("/wait/3/kill"), "", "ok");
            expect_status("submit", &a, 200);
            ids[n++] = submitted_id(&a);
            answer_free(&a);
        }
        sleep_ms(3 + round * 7);
        kill_server(&s);
    }
    start_on(&s, data);
    for (uint64_t end = now_ms() + PATIENCE_MS;
         metric(s.port, "anyllm_webhooks_waiting") + metric(s.port, "anyllm_webhooks_running") +
             metric(s.port, "anyllm_queue_waiting") + metric(s.port, "anyllm_queue_running") >
         0;
         sleep_ms(20))
        assert_true(now_ms() < end);
    for (unsigned i = 0; i < n; i++) {
        unsigned tries = tries_of("/wait/3/kill", ids[i]);
        if (tries == 0) fail_msg("delivery %u of %u is lost", i, n);
        twice += tries - 1;
        free(ids[i]);
    }
    print_message("# %u deliveries, %u kills, %u came once more\n", n, ROUNDS, twice);
    assert_true(twice <= ROUNDS * 4);
    server_stop(&s);
    scratch_remove(data);
}

/* What is on its way at SIGTERM is let end and written down: it does not come twice. */
static void what_runs_at_the_end_is_let_end(void **state) {
    char data[MAX_PATH];
    struct server s;
    scratch_make(data);
    start_on(&s, data);
    struct answer a = try_submit(s.port, here("/wait/300/term"), "", "ok");
    char *id = submitted_id(&a);
    answer_free(&a);
    receiver_wait(&receiver, "/wait/300/term", 0);
    server_stop(&s);
    start_on(&s, data);
    assert_int_equal(metric(s.port, "anyllm_webhooks_waiting"), 0);
    assert_int_equal(metric(s.port, "anyllm_webhooks_running"), 0);
    server_stop(&s);
    assert_int_equal(receiver_count(&receiver, "/wait/300/term"), 1);
    scratch_remove(data);
    free(id);
}

/* The end of the server waits for no receiver; the next start delivers. */
static void what_hangs_at_the_end_is_delivered_after_the_next_start(void **state) {
    char data[MAX_PATH];
    struct server s;
    scratch_make(data);
    start_on(&s, data);
    struct answer a = try_submit(s.port, here("/first/1/hang/end"), "", "ok");
    char *id = submitted_id(&a);
    answer_free(&a);
    receiver_wait(&receiver, "/first/1/hang/end", 0);
    server_stop(&s);
    start_on(&s, data);
    read_keys(s.port);
    expect_of(receiver_wait(&receiver, "/first/1/hang/end", 1), id);
    server_stop(&s);
    scratch_remove(data);
    free(id);
}

/* --- */

static int start(void **state) {
    mock_start(&mock);
    receiver_start(&receiver);
    text_printf(
        &config,
        "upstreams:\n"
        "  ok:   { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\" }\n"
        "  big:  { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/40000/wide/50/v1\" }\n"
        "  most: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/20000/wide/50/v1\" }\n"
        "routes:\n  - { model: \"test/ok\", to: [ok] }\n  - { model: \"test/big\", to: [big] }\n"
        "  - { model: \"test/most\", to: [most] }\n"
        "webhook_allow: [127.0.0.0/8, \"::1\"]\nwebhook_timeout: %ums\nwebhook_retries: %u\n"
        "webhook_window: 2s\nwebhook_at_once_per_host: 4\nwebhook_at_once: 20\n",
        mock.port, mock.port, mock.port, TIMEOUT_MS, RETRIES);
    server_start_with(&server, config.p);
    read_keys(server.port);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    receiver_stop(&receiver);
    mock_stop(&mock);
    text_free(&config);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(W1_other_schemes_are_422),
        cmocka_unit_test(W3_private_literals_are_422),
        cmocka_unit_test(W5_odd_URLs_are_422),
        cmocka_unit_test(W2_W6_a_name_of_a_private_address_is_not_connected_to),
        cmocka_unit_test(W6_a_name_that_is_not_there_is_tried_again),
        cmocka_unit_test(W4_what_webhook_allow_names_is_delivered_as_fal_does),
        cmocka_unit_test(one_flipped_bit_anywhere_is_refused),
        cmocka_unit_test(W7_redirects_are_failed_tries),
        cmocka_unit_test(W8_slow_heads_and_endless_bodies),
        cmocka_unit_test(W9_every_2xx_is_success_and_no_1xx),
        cmocka_unit_test(W10_errors_are_tried_again),
        cmocka_unit_test(W11_410_ends_the_tries),
        cmocka_unit_test(W12_Retry_After_is_honoured_up_to_the_longest_pause),
        cmocka_unit_test(W13_a_receiver_without_TLS_is_not_reached_by_https),
        cmocka_unit_test(W14_what_is_sent_again_has_the_same_id_and_is_signed_anew),
        cmocka_unit_test(W15_a_large_result_is_linked),
        cmocka_unit_test(W16_a_dead_receiver_is_listed_and_a_replay_delivers),
        cmocka_unit_test(W18_deliveries_that_lead_to_deliveries_end),
        cmocka_unit_test(W19_what_a_caller_says_of_signatures_is_ignored),
        cmocka_unit_test(what_is_not_to_be_stored_is_delivered_whole),
        cmocka_unit_test(W17_a_dead_host_holds_nobody_else_up),
        cmocka_unit_test(W20_no_delivery_is_lost_to_kills),
        cmocka_unit_test(what_runs_at_the_end_is_let_end),
        cmocka_unit_test(what_hangs_at_the_end_is_delivered_after_the_next_start),
    };
    return suite_main(argc, argv, "bad_webhooks", tests, sizeof tests / sizeof *tests, start, stop);
}
