/* docs/bad-input.md: too often and too many at once (K10, Q8, Q17 and the limits of a key), by callers who say who they
 * are. What is refused is answered 429 with Retry-After, in the shape of the surface; what was accepted goes on. */
#include "peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server calls, rates; /* limits of what runs at once; of how often */
static struct mock mock;

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define OK "{\"prompt\":\"x\",\"model\":\"test/ok\"}"
#define SILENT "{\"prompt\":\"x\",\"model\":\"test/silent\"}"
#define CHAT "{\"model\":\"test/%s\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"
#define APP1 "Authorization: Key app1:" CANARY_CLIENT "\r\n"
#define APP2 "Authorization: Bearer app2:" CANARY_OTHER "\r\n"
#define MATE "Authorization: Key mate:mate-secret\r\n" /* of app1's owner */
#define OPS "Authorization: Key ops:ops-secret\r\n"

static void expect(const char *what, const struct answer *a, unsigned status, const char *says) {
    if (a == NULL) fail_msg("%s: no answer", what);
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
    if (says != NULL && !answer_says(a, says)) fail_msg("%s: %s", what, a->body.p);
}

static unsigned long retry_after(const char *what, const struct answer *a) {
    char value[32];
    if (!answer_header(a, "retry-after", value, sizeof value) || strtoul(value, NULL, 10) == 0)
        fail_msg("%s: Retry-After: \"%s\"", what, value);
    return strtoul(value, NULL, 10);
}

static void expect_429(const char *what, const struct answer *a, const char *type) {
    expect(what, a, 429, type);
    retry_after(what, a);
}

static struct answer post_as(const struct server *s, const char *key, const char *path,
                             const char *body) {
    return post(s->port, path, key, body, strlen(body));
}

static struct answer get_as(const struct server *s, const char *key, const char *path) {
    struct text t = {0};
    text_printf(&t, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", path, key);
    struct answer a = ask(s->port, t.p, t.len);
    text_free(&t);
    return a;
}

static unsigned long number(const struct server *s, const char *name) {
    struct answer a = get_as(s, OPS, "/metrics");
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    if (at == NULL) fail_msg("no metric %s", name);
    unsigned long v = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return v;
}

static void until(const struct server *s, const char *name, unsigned long want) {
    for (uint64_t end = now_ms() + PATIENCE_MS; number(s, name) != want; sleep_ms(5))
        if (now_ms() > end) fail_msg("%s is %lu, not %lu", name, number(s, name), want);
}

static char *submit(const struct server *s, const char *key, const char *body) {
    struct answer a = post_as(s, key, QUEUE, body);
    expect("submit", &a, 200, NULL);
    yyjson_doc *doc = answer_json("submit", &a);
    char *id = strdup(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "request_id")));
    yyjson_doc_free(doc);
    answer_free(&a);
    return id;
}

static void cancel(const struct server *s, const char *key, const char *id) {
    struct text t = {0};
    text_printf(&t,
                "PUT " QUEUE "/requests/%s/cancel HTTP/1.1\r\n" HOST "%sContent-Length: 0\r\n\r\n",
                id, key);
    struct answer a = ask(s->port, t.p, t.len);
    expect("cancel", &a, 202, NULL);
    answer_free(&a);
    text_free(&t);
}

/* --- at once. The server's limits: 2 for a key, 3 in all */

/* A call that goes on until it is closed. */
static struct peer begin(const char *key, const char *path, const char *body) {
    unsigned long before = number(&calls, "anyllm_calls");
    struct peer p = peer_open(calls.port);
    struct text t = {0};
    text_printf(&t,
                "POST %s HTTP/1.1\r\n" HOST "%sContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n%s",
                path, key, strlen(body), body);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    until(&calls, "anyllm_calls", before + 1);
    return p;
}

static void expect_full(const char *key, const char *path, const char *body) {
    char value[8];
    struct answer a = post_as(&calls, key, path, body);
    expect_429(path, &a, "concurrent_requests_limit");
    assert_true(answer_header(&a, "x-fal-needs-retry", value, sizeof value));
    assert_string_equal(value, "1");
    answer_free(&a);
}

static void expect_room(const char *key) {
    struct answer a = post_as(&calls, key, RUN, OK);
    expect("a call where there is room", &a, 200, NULL);
    answer_free(&a);
}

static void calls_at_once_over_the_keys_limit_are_429(void **state) {
    char chat[128], chat_url[] = "/v1/chat/completions";
    snprintf(chat, sizeof chat, CHAT, "ok");
    struct peer one = begin(APP1, RUN, SILENT), two = begin(MATE, RUN "/stream", SILENT);
    expect_full(APP1, RUN, OK);
    expect_full(MATE, RUN "/stream", OK);
    expect_full(APP1, chat_url, chat);
    expect_full(APP1, "/run/openrouter/router/openai/v1/chat/completions", chat);
    struct answer a = post_as(&calls, APP1, chat_url, chat);
    expect("OpenAI's shape", &a, 429, "{\"error\":{\"message\":\"");
    assert_true(answer_says(&a, "\"code\":\"concurrent_requests_limit\""));
    answer_free(&a);
    a = post(calls.port, "/api/fal/proxy",
             APP1 "x-fal-target-url: https://fal.run/fal-ai/any-llm\r\n", OK, strlen(OK));
    expect_429("through the proxy", &a, "concurrent_requests_limit");
    answer_free(&a);
    expect_room(APP2);
    char *id = submit(&calls, APP1, OK); /* it waits for them, as a direct call may not */
    sleep_ms(200);
    assert_int_equal(number(&calls, "anyllm_queue_completed_total"), 0);
    peer_close(&one);
    until(&calls, "anyllm_queue_completed_total", 1);
    until(&calls, "anyllm_calls", 1);
    expect_room(APP1);
    peer_close(&two);
    until(&calls, "anyllm_calls", 0);
    free(id);
}

static void calls_at_once_over_the_servers_limit_are_429(void **state) {
    struct peer open[] = {begin(APP1, RUN, SILENT), begin(APP1, RUN, SILENT),
                          begin(APP2, RUN, SILENT)};
    unsigned long before = number(&calls, "anyllm_limited_total{limit=\"server_calls\"}");
    expect_full(APP2, RUN, OK);
    assert_int_equal(number(&calls, "anyllm_limited_total{limit=\"server_calls\"}"), before + 1);
    struct answer a = get_as(&calls, OPS, "/healthz"); /* what is no call goes on */
    expect("healthz", &a, 200, NULL);
    answer_free(&a);
    peer_close(&open[0]);
    until(&calls, "anyllm_calls", 2);
    expect_room(APP2);
    peer_close(&open[1]);
    peer_close(&open[2]);
    until(&calls, "anyllm_calls", 0);
}

static void queued_requests_in_progress_count_with_the_calls(void **state) {
    char *id = submit(&calls, APP1, SILENT);
    until(&calls, "anyllm_queue_running", 1);
    struct peer one = begin(APP1, RUN, SILENT);
    expect_full(APP1, RUN, OK);
    expect_full(MATE, RUN, OK);
    expect_room(APP2);
    cancel(&calls, APP1, id);
    until(&calls, "anyllm_queue_running", 0);
    expect_room(APP1);
    peer_close(&one);
    until(&calls, "anyllm_calls", 0);
    free(id);
}

/* Wherever the caller leaves, and however the call ends, its place is free again. */
static void a_place_is_given_back_whenever_the_caller_leaves(void **state) {
    static const char *const paths[] = {RUN, RUN "/stream", "/v1/chat/completions", "/run/no/such"};
    static const char *const bodies[] = {OK, SILENT, "{", "{\"prompt\":1}",
                                         "{\"prompt\":\"x\",\"model\":\"test/cut\"}"};
    unsigned turn = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++)
            for (int when = 0; when < 4; when++) {
                struct peer p = peer_open(calls.port);
                struct text t = {0};
                text_printf(&t, "POST %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n%s",
                            paths[i], turn++ % 2 == 0 ? APP1 : APP2, strlen(bodies[k]), bodies[k]);
                peer_send(&p, t.p, when == 0 ? t.len - 1 : t.len);
                if (when == 2) peer_half_close(&p);
                if (when == 3) sleep_ms(3);
                peer_close(&p);
                text_free(&t);
            }
    until(&calls, "anyllm_calls", 0);
    for (int i = 0; i < 10; i++) expect_room(i % 2 == 0 ? APP1 : APP2);
    until(&calls, "anyllm_calls", 0);
}

/* --- how often. Of a key: 5 requests a minute, 20 polls a second, 2 in the queue; 20 wrong keys */

static void requests_over_the_keys_rate_are_429(void **state) {
    char chat[128];
    snprintf(chat, sizeof chat, CHAT, "ok");
    static const char *const paths[] = {RUN, QUEUE, RUN "/stream", "/v1/chat/completions", RUN};
    for (size_t i = 0; i < 5; i++) {
        struct answer a = post_as(&rates, i % 2 == 0 ? APP1 : MATE, paths[i], i == 3 ? chat : OK);
        expect(paths[i], &a, 200, NULL);
        answer_free(&a);
    }
    for (size_t i = 0; i < 5; i++) {
        struct answer a = post_as(&rates, i % 2 == 0 ? MATE : APP1, paths[i], i == 3 ? chat : OK);
        expect_429(paths[i], &a, "rate_limit_exceeded");
        assert_true(retry_after(paths[i], &a) <= 12); /* a fifth of a minute */
        if (i == 3) assert_true(answer_says(&a, "{\"error\":{\"message\":\""));
        answer_free(&a);
    }
    assert_int_equal(number(&rates, "anyllm_limited_total{limit=\"requests\"}"), 5);
    struct answer a = post_as(&rates, APP2, RUN, OK); /* another's is untouched */
    expect("app2", &a, 200, NULL);
    answer_free(&a);
    for (int i = 0; i < 20; i++) { /* a limit of its own */
        a = post_as(&rates, OPS, RUN, OK);
        expect("ops", &a, 200, NULL);
        answer_free(&a);
    }
}

/* 200 at last, and until then `meanwhile`. */
static void expect_in_time(const char *path, unsigned meanwhile) {
    unsigned status = 0;
    for (uint64_t end = now_ms() + PATIENCE_MS; status != 200; sleep_ms(10)) {
        struct answer a = get_as(&rates, OPS, path);
        status = a.status;
        answer_free(&a);
        if (status != 200) assert_int_equal(status, meanwhile);
        assert_true(now_ms() < end);
    }
}

/* One connection, as fast as it goes: the first ones are answered, most are 429, the request comes to its end. */
static void Q17_polls_over_the_keys_rate_are_429(void **state) {
    char *id = submit(&rates, OPS, "{\"prompt\":\"x\",\"model\":\"test/slow\"}");
    struct peer p = peer_open(rates.port);
    struct text t = {0};
    unsigned fine = 0, refused = 0;
    text_printf(&t, "GET " QUEUE "/requests/%s/status HTTP/1.1\r\n" HOST "%s\r\n", id, OPS);
    for (int i = 0; i < 1000; i++) {
        peer_send(&p, t.p, t.len);
        const struct answer *a = peer_answer(&p);
        if (a != NULL && (a->status == 200 || a->status == 202)) {
            fine++;
            continue;
        }
        expect_429("a poll", a, "rate_limit_exceeded");
        refused++;
    }
    peer_close(&p);
    assert_true(fine >= 20 && refused > 0);
    t.len = 0;
    text_printf(&t, QUEUE "/requests/%s", id);
    expect_in_time(t.p, 400); /* a result is no poll, and never 429 */
    text_puts(&t, "/status");
    expect_in_time(t.p, 429); /* and polls are taken again */
    text_free(&t);
    free(id);
}

static void Q17_a_status_stream_is_one_poll(void **state) {
    unsigned refused = 0;
    for (int i = 0; i < 200; i++) {
        struct answer a = get_as(&rates, APP2, QUEUE "/requests/x/status/stream");
        if (a.status == 429) expect_429("a stream", &a, "rate_limit_exceeded");
        refused += a.status == 429;
        answer_free(&a);
    }
    assert_true(refused > 0);
}

static void Q8_a_keys_queue_has_a_length(void **state) {
    char *ids[4];
    for (int i = 0; i < 4; i++) { /* one runs, two wait, … */
        ids[i] = NULL;
        struct answer a = post_as(&rates, APP2, QUEUE, SILENT);
        if (i < 3) {
            expect("within the length", &a, 200, NULL);
            yyjson_doc *doc = answer_json("submit", &a);
            ids[i] = strdup(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "request_id")));
            yyjson_doc_free(doc);
        } else { /* … and the next one is refused */
            expect_429("over the length", &a, "queue_full");
        }
        answer_free(&a);
        if (i == 0) until(&rates, "anyllm_queue_running", 1);
    }
    assert_int_equal(number(&rates, "anyllm_limited_total{limit=\"queue_length\"}"), 1);
    char *other = submit(&rates, OPS, OK);
    for (int i = 2; i >= 0; i--) cancel(&rates, APP2, ids[i]);
    for (int i = 0; i < 3; i++) free(ids[i]);
    free(other);
    until(&rates, "anyllm_queue_running", 0);
}

/* --- K10 */

static struct peer open_from(const char *address, unsigned port) {
    struct sockaddr_in from = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(p.fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(p.fd, (struct sockaddr *)&to, sizeof to), 0);
    return p;
}

static unsigned guess(struct peer *p, const char *header) {
    struct text t = {0};
    text_printf(&t, "GET " QUEUE "/requests/x HTTP/1.1\r\n" HOST "%s\r\n", header);
    peer_send(p, t.p, t.len);
    text_free(&t);
    const struct answer *a = peer_answer(p);
    assert_non_null(a);
    if (a->status == 429) expect_429("a wrong key", a, "rate_limit_exceeded");
    if (a->status == 401) assert_true(answer_says(a, "Invalid API key"));
    return a->status;
}

static void K10_many_wrong_keys_of_an_address_are_429(void **state) {
    struct peer p = open_from("127.0.0.9", rates.port), other = open_from("127.0.0.10", rates.port);
    unsigned refused = 0, limited = 0;
    for (int i = 0; i < 1000; i++) {
        char header[96];
        snprintf(header, sizeof header,
                 i % 2 == 0
                     ? "Authorization: Key app%d:guess-%d\r\n"
                     : "Authorization: Key 00000000-0000-4000-8000-00000000000%d:anyllm_%d\r\n",
                 i % 3, i);
        unsigned status = guess(&p, header);
        if (status == 401)
            refused++;
        else
            limited++;
        assert_true(status == 401 || status == 429);
        if (i == 20) assert_int_equal(status, 429);
        if (i % 100 == 0) assert_int_equal(guess(&p, OPS), 404); /* a right key still opens */
    }
    assert_true(refused >= 20 && refused <= 40); /* a second or so of slowness lets some more in */
    assert_int_equal(limited, 1000 - refused);
    assert_int_equal(guess(&other, "Authorization: Key app1:guess\r\n"), 401);
    struct answer a = get_as(&rates, "", QUEUE "/requests/x"); /* no key is no wrong key */
    expect("none", &a, 401, "Authentication is required");
    answer_free(&a);
    peer_close(&p);
    peer_close(&other);
}

static void write_config(struct text *t) {
    static const char *const ups[] = {"ok", "silent", "cut/300", "delay/1500"}, *const names[] = {
                                                                                    "ok", "silent",
                                                                                    "cut", "slow"};
    text_puts(t, "upstreams:\n");
    for (size_t i = 0; i < 4; i++)
        text_printf(t, "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u/%s/v1\", key: %s }\n",
                    names[i], mock.port, ups[i], CANARY_UPSTREAM);
    text_puts(t, "routes:\n");
    for (size_t i = 0; i < 4; i++)
        text_printf(t, "  - { model: test/%s, to: [%s] }\n", names[i], names[i]);
}

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    write_config(&config);
    text_puts(&config, "max_concurrent_calls_per_key: 2\nmax_concurrent_calls: 3\n"
                       "keys:\n"
                       "  - { id: app1, secret: " CANARY_CLIENT ", owner: team-a }\n"
                       "  - { id: mate, secret: mate-secret, owner: team-a }\n"
                       "  - { id: app2, secret: " CANARY_OTHER " }\n"
                       "  - { id: ops, secret: ops-secret }\n");
    server_start_with(&calls, config.p);
    config.len = 0;
    write_config(&config);
    text_puts(&config,
              "max_requests_per_minute_per_key: 5\nmax_status_polls_per_second_per_key: 20\n"
              "max_queue_length_per_key: 2\nmax_wrong_keys_per_minute: 20\n"
              "keys:\n"
              "  - { id: app1, secret: " CANARY_CLIENT ", owner: team-a }\n"
              "  - { id: mate, secret: mate-secret, owner: team-a }\n"
              "  - { id: app2, secret: " CANARY_OTHER ", concurrent_calls: 1 }\n"
              "  - { id: ops, secret: ops-secret, requests_per_minute: 0, queue_length: 0 }\n");
    server_start_with(&rates, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&calls);
    server_stop(&rates);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_at_once_over_the_keys_limit_are_429),
        cmocka_unit_test(calls_at_once_over_the_servers_limit_are_429),
        cmocka_unit_test(queued_requests_in_progress_count_with_the_calls),
        cmocka_unit_test(a_place_is_given_back_whenever_the_caller_leaves),
        cmocka_unit_test(requests_over_the_keys_rate_are_429),
        cmocka_unit_test(Q17_polls_over_the_keys_rate_are_429),
        cmocka_unit_test(Q17_a_status_stream_is_one_poll),
        cmocka_unit_test(Q8_a_keys_queue_has_a_length),
        cmocka_unit_test(K10_many_wrong_keys_of_an_address_are_429),
    };
    return suite_main(argc, argv, "bad_rates", tests, sizeof tests / sizeof *tests, start, stop);
}
