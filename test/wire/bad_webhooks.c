/* docs/bad-input.md, webhooks: what may not be delivered to, and receivers that fail. Every delivery is verified as
 * docs/webhooks.md says, by the code that is shown there. */
#include "webhook_calls.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANGING 12U
#define RECEIVERS 300U

/* So many tries and no more, once the request's log says that it is over. */
static void expect_tries(const char *path, const char *says, unsigned tries) {
    char *id = hook_submit_to(path);
    hook_wait_log(id, says);
    if (receiver_count(&hooks.receiver, path) != tries)
        fail_msg("%s: %u tries instead of %u", path, receiver_count(&hooks.receiver, path), tries);
    for (unsigned n = 0; n < tries; n++) hook_expect(receiver_wait(&hooks.receiver, path, n), id);
    free(id);
}

/* --- what may not be delivered to */

static void expect_refused(const char *url, const char *says) {
    struct answer a = hook_try(hooks.server.port, url, "", "ok");
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
    struct answer a = hook_try(hooks.server.port, url.p, "", "ok");
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
    struct server usual = hooks.server;
    gethostname(own, sizeof own - 1);
    text_printf(&strict,
                "upstreams:\n  ok: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\" }\n"
                "routes:\n  - { model: \"*\", to: [ok] }\nwebhook_retries: 1\nwebhook_window: 1s\n",
                hooks.mock.port);
    server_start_with(&hooks.server, strict.p);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!leads_here(names[i])) continue;
        snprintf(url, sizeof url, "http://%s:%u/private", names[i], hooks.receiver.port);
        char *id = hook_submit(url, "", "ok");
        hook_wait_log(id, "webhook given up after 2 tries: address not allowed");
        free(id);
        tried++;
    }
    server_stop(&hooks.server);
    hooks.server = usual;
    text_free(&strict);
    assert_int_equal(receiver_count(&hooks.receiver, "/private"), 0);
    print_message("%s this machine has %u names of private addresses\n", tried == 0 ? "skip:" : "#",
                  tried);
    if (tried == 0) skip();
}

static void W6_a_name_that_is_not_there_is_tried_again(void **state) {
    char *id = hook_submit("http://no-such-name.invalid/x", "", "ok");
    hook_wait_log(id, "will be tried again at");
    hook_wait_log(id, "webhook given up after 4 tries");
    free(id);
}

/* --- deliveries */

/* The bytes of fal's own deliveries: sorted keys, Python's separators. */
static void W4_what_webhook_allow_names_is_delivered_as_fal_does(void **state) {
    char *id = hook_submit_to("/allowed?a=b%26c=d"), value[256], path[256];
    char *bad = hook_submit(hook_url("/error"), "", "nowhere");
    const struct delivered *d = receiver_wait(&hooks.receiver, "/allowed?a=b&c=d", 0);
    struct text expected = {0};
    hook_expect(d, id);
    snprintf(path, sizeof path, QUEUE "/requests/%s", id);
    struct answer result = get(hooks.server.port, path);
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
    hook_wait_log(id, "webhook delivered");
    d = receiver_wait(&hooks.receiver, "/error", 0);
    hook_expect(d, bad);
    assert_memory_equal(d->body.p,
                        "{\"error\": \"Invalid status code: 422\", \"gateway_request_id\": ", 60);
    assert_non_null(strstr(d->body.p, "\"payload\": {\"detail\":[{"));
    assert_non_null(strstr(d->body.p, "\"status\": \"ERROR\"}"));
    answer_free(&result);
    text_free(&expected);
    free(id);
    free(bad);
}

/* By libfal; each scheme by itself. A signature in hex is the same one in capitals. */
static void expect_flips_refused(struct fal_webhook *w, struct delivered *d, char *const parts[],
                                 size_t count) {
    int64_t at_s = strtoll(w->timestamp, NULL, 10);
    for (size_t p = 0; p <= count; p++) {
        char *part = p < count ? parts[p] : d->body.p;
        size_t len = p < count ? strlen(part) : d->body.len;
        for (size_t bit = 0; bit < len * 8; bit++) {
            if (part == w->signature && part[bit / 8] >= 'A' && bit % 8 == 5) continue;
            part[bit / 8] = (char)(part[bit / 8] ^ 1 << bit % 8);
            if (hook_verdict(w, hooks.jwks, hooks.secret, at_s) == FAL_WEBHOOK_VALID)
                fail_msg("bit %zu of part %zu makes no difference", bit, p);
            part[bit / 8] = (char)(part[bit / 8] ^ 1 << bit % 8);
        }
    }
}

static void expect_verdict(const struct fal_webhook *w, int64_t off_s,
                           enum fal_webhook_verdict verdict) {
    int64_t at_s = strtoll(w->timestamp, NULL, 10);
    assert_int_equal(hook_verdict(w, hooks.jwks, hooks.secret, at_s + off_s), verdict);
}

static void one_flipped_bit_anywhere_is_refused(void **state) {
    char *id = hook_submit_to("/flip");
    const struct delivered *d = receiver_wait(&hooks.receiver, "/flip", 0);
    struct hook_headers h;
    struct fal_webhook w = hook_signed(d, &h), fals = w, standard = w;
    fals.standard_id = NULL;
    standard.signature = NULL;
    expect_flips_refused(&fals, (struct delivered *)d,
                         (char *const[]){h.id, h.user, h.timestamp, h.signature}, 4);
    expect_flips_refused(&standard, (struct delivered *)d,
                         (char *const[]){h.standard_id, h.standard_timestamp}, 2);
    expect_verdict(&fals, 0, FAL_WEBHOOK_VALID);
    expect_verdict(&fals, 300, FAL_WEBHOOK_VALID);
    expect_verdict(&fals, 301, FAL_WEBHOOK_EXPIRED);
    expect_verdict(&standard, -300, FAL_WEBHOOK_VALID);
    expect_verdict(&standard, -301, FAL_WEBHOOK_EXPIRED);
    fals.signature = NULL;
    expect_verdict(&fals, 0, FAL_WEBHOOK_UNSIGNED);
    free(id);
}

static void W7_redirects_are_failed_tries(void **state) {
    static const unsigned statuses[] = {300, 301, 302, 303, 307, 308};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        char path[128], says[64];
        snprintf(path, sizeof path, "/first/1/status/%u/location/127.0.0.1:%u/landed", statuses[i],
                 hooks.receiver.port);
        snprintf(says, sizeof says, "webhook failed: Invalid status code: %u", statuses[i]);
        char *id = hook_submit_to(path);
        hook_wait_log(id, says);
        hook_wait_log(id, "webhook delivered");
        assert_int_equal(receiver_count(&hooks.receiver, path), 2);
        free(id);
    }
    assert_int_equal(receiver_count(&hooks.receiver, "/landed"), 0);
}

static void W8_slow_heads_and_endless_bodies(void **state) {
    expect_tries("/wait/300", "webhook delivered", 1);
    expect_tries("/endless", "webhook delivered", 1);
    pthread_mutex_lock(&hooks.receiver.lock);
    assert_in_range(hooks.receiver.endless_bytes, 65536,
                    20 << 20); /* what sockets hold goes beyond 64 KiB */
    pthread_mutex_unlock(&hooks.receiver.lock);
    expect_tries("/half", "webhook delivered", 1);
    char *id = hook_submit_to("/first/1/wait/1500");
    hook_wait_log(id, "webhook failed: no answer in time; will be tried again at");
    hook_wait_log(id, "webhook delivered");
    hook_expect(receiver_wait(&hooks.receiver, "/first/1/wait/1500", 1), id);
    assert_int_equal(receiver_count(&hooks.receiver, "/first/1/wait/1500"), 2);
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
    struct answer a = get(hooks.server.port, "/admin/webhooks?state=gone");
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
        uint64_t took = receiver_wait(&hooks.receiver, cases[i].path, 1)->at_ms -
                        receiver_wait(&hooks.receiver, cases[i].path, 0)->at_ms;
        assert_in_range(took, cases[i].least_ms, cases[i].most_ms);
    }
}

static void W13_a_receiver_without_TLS_is_not_reached_by_https(void **state) {
    char url[128];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/tls", hooks.server.port); /* it answers 400 */
    char *id = hook_submit(url, "", "ok");
    hook_wait_log(id, "webhook failed: TLS failed");
    free(id);
}

static void W14_what_is_sent_again_has_the_same_id_and_is_signed_anew(void **state) {
    expect_tries("/first/2/reset", "webhook delivered", 3);
    char a[32], b[32];
    assert_true(delivered_header(receiver_wait(&hooks.receiver, "/first/2/reset", 0),
                                 "x-fal-webhook-timestamp", a, sizeof a));
    sleep_ms(1100);
    char *id = hook_submit_to("/first/1/wait/1500/again");
    const struct delivered *d = receiver_wait(&hooks.receiver, "/first/1/wait/1500/again", 1);
    hook_expect(d, id);
    assert_true(delivered_header(d, "x-fal-webhook-timestamp", b, sizeof b));
    assert_string_not_equal(a, b);
    free(id);
}

static void W15_a_large_result_is_linked(void **state) {
    char *id = hook_submit(hook_url("/large"), "", "big"), link[256];
    const struct delivered *d = receiver_wait(&hooks.receiver, "/large", 0);
    hook_expect(d, id);
    snprintf(
        link, sizeof link,
        "\"payload\": null, \"payload_error\": \"Response payload is larger than 1 MiB. Fetch it "
        "from /queue/fal-ai/any-llm/requests/%s\"",
        id);
    assert_non_null(strstr(d->body.p, link));
    free(id);
    id = hook_submit(hook_url("/nearly"), "", "most");
    d = receiver_wait(&hooks.receiver, "/nearly", 0);
    hook_expect(d, id);
    assert_true(d->body.len > 900000);
    free(id);
}

static void W16_a_dead_receiver_is_listed_and_a_replay_delivers(void **state) {
    char body[128];
    char *id = hook_submit_to("/first/4/status/500/dead");
    hook_wait_log(id, "webhook given up after 4 tries: Invalid status code: 500");
    assert_int_equal(receiver_count(&hooks.receiver, "/first/4/status/500/dead"), RETRIES + 1);
    struct answer a = get(hooks.server.port, "/admin/webhooks?state=dead");
    expect_status("list", &a, 200);
    expect_says("list", &a, id);
    answer_free(&a);
    char *log = file_text(hooks.server.err, NULL);
    snprintf(body, sizeof body, "event=webhook_dead rid=%s", id);
    if (strstr(log, body) == NULL) fail_msg("no event in the log");
    free(log);
    snprintf(body, sizeof body, "{\"id\":\"%s\"}", id);
    a = post_json(hooks.server.port, "/admin/webhooks/replay", body);
    expect_status("replay", &a, 200);
    expect_says("replay", &a, "{\"replayed\":1}");
    answer_free(&a);
    hook_expect(receiver_wait(&hooks.receiver, "/first/4/status/500/dead", 4), id);
    hook_wait_log(id, "webhook delivered");
    free(id);
}

static void a_replay_of_what_is_not_there_is_404(void **state) {
    struct answer a = post_json(hooks.server.port, "/admin/webhooks/replay",
                                "{\"id\":\"11111111-2222-4333-8444-555555555555\"}");
    expect_status("replay", &a, 404);
    expect_says("replay", &a, "or its request was forgotten");
    answer_free(&a);
}

/* Many that hang, and one for another name of the same machine. */
static void W17_a_dead_host_holds_nobody_else_up(void **state) {
    char url[128];
    for (unsigned i = 0; i < HANGING; i++) free(hook_submit_to("/hang"));
    snprintf(url, sizeof url, "http://localhost:%u/other", hooks.receiver.port);
    char *id = hook_submit(url, "", "ok");
    uint64_t began = now_ms();
    hook_expect(receiver_wait(&hooks.receiver, "/other", 0), id);
    print_message("# delivered beside %u that hang in %u ms\n", HANGING,
                  (unsigned)(now_ms() - began));
    assert_in_range(receiver_most_hanging(&hooks.receiver), 1, PER_HOST);
    free(id);
    for (uint64_t end = now_ms() + 60000; metric(hooks.server.port, "anyllm_webhooks_waiting") +
                                              metric(hooks.server.port, "anyllm_webhooks_running") >
                                          0;
         sleep_ms(50))
        assert_true(now_ms() < end);
    assert_int_equal(receiver_count(&hooks.receiver, "/hang"), HANGING * (RETRIES + 1));
}

static void W18_deliveries_that_lead_to_deliveries_end(void **state) {
    char value[16];
    struct answer a = hook_try(hooks.server.port, hook_url("/hops"), "X-Anyllm-Hops: 4\r\n", "ok");
    expect_status("4 hops", &a, 422);
    answer_free(&a);
    a = hook_try(hooks.server.port, hook_url("/hops"), "X-Anyllm-Hops: -1\r\n", "ok");
    expect_status("no number", &a, 422);
    answer_free(&a);
    char *id = hook_submit(hook_url("/hops"), "X-Anyllm-Hops: 3\r\n", "ok");
    const struct delivered *d = receiver_wait(&hooks.receiver, "/hops", 0);
    hook_expect(d, id);
    assert_true(delivered_header(d, "x-anyllm-hops", value, sizeof value));
    assert_string_equal(value, "4");
    free(id);
}

static void W19_what_a_caller_says_of_signatures_is_ignored(void **state) {
    char *id = hook_submit(hook_url("/claims"),
                           "X-Fal-Webhook-Request-Id: other\r\nX-Fal-Webhook-User-Id: other\r\n"
                           "X-Fal-Webhook-Signature: 00\r\nX-Fal-Webhook-Timestamp: 1\r\n",
                           "ok");
    hook_expect(receiver_wait(&hooks.receiver, "/claims", 0), id);
    free(id);
}

/* Input and result of such a request go early; not before its delivery has ended. */
static void what_is_not_to_be_stored_is_delivered_whole(void **state) {
    char *id = hook_submit(hook_url("/first/2/status/500/unstored"), "x-fal-store-io: 0\r\n", "ok");
    const struct delivered *d = receiver_wait(&hooks.receiver, "/first/2/status/500/unstored", 2);
    hook_expect(d, id);
    assert_non_null(strstr(d->body.p, "\"payload\": {\"output\":"));
    free(id);
}

/* More than are kept: nobody listens at port 9 of these. */
static void receivers_without_number_come_and_go(void **state) {
    static const char dead[] = "anyllm_webhooks_dead_total";
    unsigned long before = metric(hooks.server.port, dead);
    char url[64];
    for (unsigned i = 0; i < RECEIVERS; i++) {
        snprintf(url, sizeof url, "http://127.1.%u.%u:9/x", i / 250, i % 250 + 1);
        free(hook_submit(url, "", "ok"));
    }
    for (uint64_t end = now_ms() + 3 * PATIENCE_MS;
         metric(hooks.server.port, dead) < before + RECEIVERS; sleep_ms(50))
        assert_true(now_ms() < end);
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
        cmocka_unit_test(a_replay_of_what_is_not_there_is_404),
        cmocka_unit_test(W18_deliveries_that_lead_to_deliveries_end),
        cmocka_unit_test(W19_what_a_caller_says_of_signatures_is_ignored),
        cmocka_unit_test(what_is_not_to_be_stored_is_delivered_whole),
        cmocka_unit_test(receivers_without_number_come_and_go),
        cmocka_unit_test(W17_a_dead_host_holds_nobody_else_up),
    };
    return suite_main(argc, argv, "bad_webhooks", tests, sizeof tests / sizeof *tests, hooks_start,
                      hooks_stop);
}
