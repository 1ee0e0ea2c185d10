/* docs/bad-input.md, the browser's proxy: what may be named as a target, who may use it, and that it leads nowhere but to
 * this server's own handlers. What leaves for fal with proxy.forward is in proxy.test.mjs. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server open_to_all, keyed,
    guests; /* without keys; with; with a key for calls that have none */
static struct mock mock;

#define BODY "{\"prompt\":\"x\"}"
#define APP1 "Authorization: Key app1:" CANARY_CLIENT "\r\n"
#define APP2 "Authorization: Key app2:" CANARY_OTHER "\r\n"
#define PROXY "/api/fal/proxy"
#define RUN_URL "https://fal.run/fal-ai/any-llm"
#define QUEUE_URL "https://queue.fal.run/fal-ai/any-llm"

static struct answer call(unsigned port, const char *method, const char *headers) {
    struct text t = {0};
    bool body = strcmp(method, "POST") == 0;
    text_printf(&t, "%s " PROXY " HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", method,
                strstr(headers, "Host:") == NULL ? HOST : "", headers, body ? 14 : 0,
                body ? BODY : "");
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

static struct answer through(unsigned port, const char *method, const char *target,
                             const char *headers) {
    struct text t = {0};
    text_printf(&t, "x-fal-target-url: %s\r\n%s", target, headers);
    struct answer a = call(port, method, t.p);
    text_free(&t);
    return a;
}

static void expect(const char *what, struct answer *a, unsigned status, const char *says) {
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
    if (says != NULL && !answer_says(a, says)) fail_msg("%s: %s", what, a->body.p);
}

static void expect_body(const char *what, struct answer *a, unsigned status, const char *body) {
    expect(what, a, status, NULL);
    assert_string_equal(a->body.p, body);
}

/* --- P1, P2 */

static void expect_invalid(const char *what, const char *headers) {
    static const struct server *const all[] = {&open_to_all, &keyed};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = call(all[i]->port, "POST", headers);
        expect_body(what, &a, 400, "\"Invalid request\"");
        answer_free(&a);
    }
}

static void P1_no_target_is_400(void **state) {
    expect_invalid("no target", "");
    expect_invalid("no target, with a key", APP1);
    expect_invalid("an empty one", "x-fal-target-url:\r\n" APP1);
    expect_invalid("in the query of another header", "target-url: " RUN_URL "\r\n" APP1);
}

static void P2_targets_that_are_not_fals_are_400(void **state) {
    static const char *const targets[] = {
        "https://evil.com",
        "https://queue.fal.run.evil.com",
        "https://queue.fal.run@evil.com",
        "https://evil.com@queue.fal.run/fal-ai/any-llm",
        "https://evil.com/queue.fal.run",
        "https://evil.com#.fal.run",
        RUN_URL "#x",
        "https://fal.run\\@evil.com",
        "https://fal\t.run/fal-ai/any-llm",
        "https://fal.run/fal-ai\t/any-llm",
        "https://fal.run/fal-ai/any llm",
        "http://fal.run/fal-ai/any-llm",
        "https://fal.run:8443/fal-ai/any-llm",
        "https://fal.run:80/fal-ai/any-llm",
        "https://xn--fl-7kc.run/fal-ai/any-llm",
        "https://f\xd0\xb0l.run/fal-ai/any-llm",
        "//fal.run/fal-ai/any-llm",
        "/fal-ai/any-llm",
        "fal.run/fal-ai/any-llm",
        "https://api.fal.ai/v1/keys",
        "https://rest.fal.ai/billing",
        "https://v3.fal.media/files/x",
        "https://localhost/fal-ai/any-llm",
        "http://127.0.0.1:1/queue/fal-ai/any-llm",
        "https://169.254.169.254/latest/meta-data",
        "https://fal.run/%66al-ai/any-llm",
        "https://fal.run/fal-ai/../any-llm",
        "https://fal.run//fal-ai/any-llm",
        RUN_URL "," RUN_URL,
        RUN_URL ", " RUN_URL,
    };
    mock_reset(&mock);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct text t = {0};
        text_printf(&t, "x-fal-target-url: %s\r\n" APP1, targets[i]);
        expect_invalid(targets[i], t.p);
        text_free(&t);
    }
    expect_invalid("two headers",
                   "x-fal-target-url: " RUN_URL "\r\nX-Fal-Target-Url: " RUN_URL "\r\n" APP1);
    expect_invalid("two, one empty", "x-fal-target-url: " RUN_URL "\r\nx-fal-target-url:\r\n" APP1);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

static void P2_upper_case_and_a_last_dot_are_fals_too(void **state) {
    static const char *const targets[] = {RUN_URL, "HTTPS://FAL.RUN/fal-ai/any-llm",
                                          "https://fal.run./fal-ai/any-llm",
                                          "https://fal.run:443/fal-ai/any-llm/"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct answer a = through(open_to_all.port, "POST", targets[i], "");
        expect(targets[i], &a, 200, "\"output\":\"");
        answer_free(&a);
    }
}

/* --- what it leads to */

static void what_fals_hosts_do_not_have_is_not_to_be_had(void **state) {
    static const struct {
        const char *method, *target;
        unsigned status;
    } cases[] = {
        {"GET", "https://fal.run/metrics", 404},
        {"GET", "https://queue.fal.run/metrics", 404},
        {"GET", "https://fal.run/healthz", 404},
        {"GET", "http://127.0.0.1/metrics", 404},
        {"POST", "https://fal.run" PROXY, 404},
        {"POST", "http://127.0.0.1" PROXY, 404},
        {"GET", "http://127.0.0.1/rest/keys", 400},
        {"GET", "http://127.0.0.1/platform/v1/keys", 400},
        {"POST", "https://fal.run/queue/fal-ai/any-llm", 404},
        {"POST", "https://fal.run/no/such", 404},
        {"POST", "https://fal.run", 404},
        {"GET", RUN_URL, 405},
        {"PUT", QUEUE_URL, 405},
        {"GET", "http://127.0.0.1/admin/keys", 404}, /* the operator's own */
        {"POST", "http://127.0.0.1/admin/webhooks/replay", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = through(open_to_all.port, cases[i].method, cases[i].target, "");
        expect(cases[i].target, &a, cases[i].status, NULL);
        answer_free(&a);
    }
}

static char *field(const struct answer *a, const char *name) {
    yyjson_doc *doc = answer_json(name, a);
    const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
    char *copy = strdup(text != NULL ? text : "");
    yyjson_doc_free(doc);
    return copy;
}

/* With a public_url too, the caller's client is at fal.run. */
static void addresses_in_answers_are_fals(void **state) {
    static const struct server *const all[] = {&open_to_all, &guests};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = through(all[i]->port, "POST", QUEUE_URL, "");
        expect("submit", &a, 200, "\"status_url\":\"" QUEUE_URL "/requests/");
        char *status_url = field(&a, "status_url"), *cancel_url = field(&a, "cancel_url");
        answer_free(&a);
        a = through(all[i]->port, "GET", status_url, "");
        assert_true(a.status == 200 || a.status == 202);
        answer_free(&a);
        a = through(all[i]->port, "PUT", cancel_url, "");
        assert_true(a.status == 202 || a.status == 400);
        answer_free(&a);
        free(status_url);
        free(cancel_url);
    }
}

static void addresses_of_our_own_can_be_followed(void **state) {
    struct answer a = post_json(open_to_all.port, "/queue/fal-ai/any-llm", BODY);
    char *status_url = field(&a, "status_url");
    answer_free(&a);
    assert_non_null(strstr(status_url, "http://127.0.0.1/queue/"));
    a = through(open_to_all.port, "GET", status_url, "");
    expect(status_url, &a, a.status == 200 ? 200 : 202, "\"status_url\":\"http://127.0.0.1/queue/");
    answer_free(&a);
    free(status_url);
    a = through(guests.port, "GET",
                "https://llm.example.org/ai/queue/fal-ai/any-llm/requests/x/status", "");
    expect("by public_url", &a, 404, "Request not found");
    answer_free(&a);
}

/* --- P3, P4 */

static void P3_only_listed_endpoints_take_a_POST(void **state) {
    static const struct {
        const char *method, *target;
        unsigned status;
    } cases[] = {
        {"POST", RUN_URL, 200},
        {"POST", RUN_URL "/stream", 200},
        {"POST", QUEUE_URL, 200},
        {"POST", RUN_URL "/vision", 400},
        {"POST", RUN_URL "/vision/stream", 400},
        {"POST", "https://fal.run/openrouter/router", 400},
        {"POST", "https://queue.fal.run/openrouter/router", 400},
        {"POST", "https://fal.run/no/such", 400},
        {"GET", "https://queue.fal.run/openrouter/router/requests/x/status", 404},
        {"PUT", "https://queue.fal.run/openrouter/router/requests/x/cancel", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = through(guests.port, cases[i].method, cases[i].target, "");
        expect(cases[i].target, &a, cases[i].status,
               cases[i].status == 400 ? "\"Invalid request\"" : NULL);
        answer_free(&a);
    }
}

#define ASK_TOKEN(apps) "{\"allowed_apps\":[" apps "]}"

static struct answer ask_token(unsigned port, const char *path, const char *body) {
    struct text t = {0};
    text_printf(&t,
                "POST " PROXY " HTTP/1.1\r\n" HOST "x-fal-target-url: https://rest.fal.ai/%s\r\n"
                "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                path, strlen(body), body);
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

/* A token opens all that is below an id, and an alias of every owner: each of it must be listed. */
static void P3_tokens_are_for_listed_endpoints_only(void **state) {
    static const struct {
        unsigned status;
        const char *body;
    } cases[] = {
        {200, ASK_TOKEN("\"fal-ai/flux\"")},
        {200, ASK_TOKEN("\"fal-ai/flux/realtime\"")},
        {200, ASK_TOKEN("\"fal-ai/flux/dev/stream\",\"fal-ai/flux\"")},
        {200, ASK_TOKEN("\"everybodys\"")},
        {200, ASK_TOKEN("\"everybodys/realtime\"")},
        {400, ASK_TOKEN("\"openrouter/router\"")},
        {400, ASK_TOKEN("\"openrouter/router/realtime\"")},
        {400, ASK_TOKEN("\"fal-ai/flux\",\"openrouter/router\"")},
        {400, ASK_TOKEN("\"fal-ai/any-llm\"")}, /* and its /vision, which is not listed */
        {400, ASK_TOKEN("\"fal-ai/any-llm/vision\"")},
        {400, ASK_TOKEN("\"fal-ai/fluxx\"")},
        {400, ASK_TOKEN("\"any-llm\"")},
        {400, ASK_TOKEN("\"flux\"")},
        {400, ASK_TOKEN("\"router\"")},
        {400, ASK_TOKEN("\"router/stream\"")},
        {422, ASK_TOKEN("")},
    };
    static const char *const paths[] = {"tokens/", "tokens/realtime"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 2; k++) {
            struct answer a = ask_token(guests.port, paths[k], cases[i].body);
            expect(cases[i].body, &a, cases[i].status,
                   cases[i].status == 400 ? "\"Invalid request\"" : NULL);
            answer_free(&a);
        }
    struct answer a = ask_token(open_to_all.port, "tokens/", ASK_TOKEN("\"router\""));
    expect("without a list", &a, 200, NULL);
    answer_free(&a);
}

/* What earlier tests have queued has ended: it must not be counted as a call of this one. */
static void queue_empties(const struct server *s, const char *key) {
    struct text t = {0};
    text_printf(&t, "GET /metrics HTTP/1.1\r\n" HOST "%s\r\n", key);
    for (int i = 0; i < 1000; i++) {
        struct answer a = ask(s->port, t.p, t.len);
        bool idle = answer_says(&a, "\nanyllm_queue_waiting 0\n") &&
                    answer_says(&a, "\nanyllm_queue_running 0\n");
        answer_free(&a);
        if (idle) {
            text_free(&t);
            return;
        }
        sleep_ms(10);
    }
    fail_msg("the queue does not empty");
}

static void P4_no_key_where_one_is_needed_is_401(void **state) {
    char value[32];
    queue_empties(&open_to_all, "");
    queue_empties(&keyed, APP1);
    queue_empties(&guests, APP1);
    mock_reset(&mock);
    struct answer a = through(keyed.port, "POST", RUN_URL, "");
    expect_body("no key", &a, 401, "\"Unauthorized\"");
    assert_true(answer_header(&a, "www-authenticate", value, sizeof value));
    answer_free(&a);
    a = through(keyed.port, "POST", QUEUE_URL, "Cookie: key=app1:" CANARY_CLIENT "\r\n");
    expect_body("no key", &a, 401, "\"Unauthorized\"");
    answer_free(&a);
    a = through(keyed.port, "POST", RUN_URL, "Authorization: Key app1:wrong\r\n");
    expect("a wrong key", &a, 401, "Invalid API key");
    answer_free(&a);
    a = through(guests.port, "POST", RUN_URL, "Authorization: Key app1:wrong\r\n");
    expect("a wrong key where none would do", &a, 401, "Invalid API key");
    answer_free(&a);
    a = through(keyed.port, "POST", RUN_URL, APP1 APP2);
    expect("two keys", &a, 400, "repeated Authorization");
    answer_free(&a);
    assert_int_equal(mock_count(&mock, "calls"), 0);
    a = through(keyed.port, "POST", RUN_URL, APP1);
    expect("the right key", &a, 200, "\"output\":\"");
    answer_free(&a);
}

/* A call without a key is app1's: app1 sees it, app2 does not, and app2's own calls are app2's. */
static void P4_calls_without_a_key_are_charged_to_one(void **state) {
    struct answer a = through(guests.port, "POST", QUEUE_URL, "");
    expect("submit as a guest", &a, 200, NULL);
    char *url = field(&a, "status_url");
    answer_free(&a);
    a = through(guests.port, "GET", url, APP1);
    assert_true(a.status == 200 || a.status == 202);
    answer_free(&a);
    a = through(guests.port, "GET", url, APP2);
    expect("another's", &a, 404, "Request not found");
    answer_free(&a);
    free(url);
    a = through(guests.port, "POST", QUEUE_URL, APP2);
    url = field(&a, "status_url");
    answer_free(&a);
    a = through(guests.port, "GET", url, "");
    expect("app2's, as a guest", &a, 404, "Request not found");
    answer_free(&a);
    free(url);
}

/* The guest's key is for the proxy alone. */
static void P4_a_guest_is_none_beside_the_proxy(void **state) {
    struct answer a = post_json(guests.port, "/run/fal-ai/any-llm", BODY);
    expect("without the proxy", &a, 401, "Authentication is required");
    answer_free(&a);
    a = post(guests.port, "/run/fal-ai/any-llm", "x-fal-target-url: " RUN_URL "\r\n", BODY,
             strlen(BODY));
    expect("with the header", &a, 401, "Authentication is required");
    answer_free(&a);
    a = get(guests.port, "/metrics");
    expect("metrics", &a, 401, NULL);
    answer_free(&a);
}

/* --- P7, P8 */

static void P7_too_many_or_too_large_headers_are_431(void **state) {
    struct text t = {0};
    text_puts(&t, "POST " PROXY " HTTP/1.1\r\n" HOST "x-fal-target-url: " RUN_URL "\r\n");
    for (int i = 0; i < 100; i++) text_printf(&t, "x-fal-%d: y\r\n", i);
    text_puts(&t, "Content-Length: 14\r\n\r\n" BODY);
    struct answer a = ask(open_to_all.port, t.p, t.len);
    expect("100 headers", &a, 431, NULL);
    answer_free(&a);
    for (size_t n = 1; n <= 8; n += 7) { /* one of 64 KiB, or eight of 8 */
        t.len = 0;
        text_puts(&t, "POST " PROXY " HTTP/1.1\r\n" HOST "x-fal-target-url: " RUN_URL "\r\n");
        for (size_t i = 0; i < n; i++) {
            text_printf(&t, "x-fal-tags-%zu: a=", i);
            text_fill(&t, 'x', (64U << 10) / n);
            text_puts(&t, "\r\n");
        }
        text_puts(&t, "Content-Length: 14\r\n\r\n" BODY);
        a = ask(open_to_all.port, t.p, t.len);
        expect("64 KiB", &a, 431, NULL);
        answer_free(&a);
    }
    t.len = 0; /* a target as long as a header may be */
    text_puts(&t, "x-fal-target-url: " RUN_URL "?");
    text_fill(&t, 'x', 9000);
    text_puts(&t, "\r\n");
    expect_invalid("9 KB", t.p);
    text_free(&t);
}

static void P8_methods(void **state) {
    static const char *const refused[] = {"DELETE", "PATCH", "TRACE"};
    char value[64];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct answer a = through(open_to_all.port, refused[i], RUN_URL, "");
        expect(refused[i], &a, 405, NULL);
        assert_true(answer_header(&a, "allow", value, sizeof value));
        if (i < 2) assert_string_equal(value, "GET, HEAD, POST, PUT");
        answer_free(&a);
    }
    struct peer p = peer_open(open_to_all.port);
    peer_puts(&p, "HEAD " PROXY " HTTP/1.1\r\n" HOST "x-fal-target-url: " QUEUE_URL
                  "/requests/x/status\r\n\r\n");
    const struct answer *a = peer_answer_to_head(&p);
    assert_true(a != NULL && a->status == 404);
    peer_close(&p);
}

/* --- web pages */

static void pages_may_ask_by_the_same_rules_as_elsewhere(void **state) {
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {
        {"Origin: http://localhost:3000\r\n", 200},
        {"Origin: https://evil.example\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Host: evil.example\r\n", 403},
        {"Host: 127.0.0.1.nip.io:8787\r\n", 403},
        {"Host: evil.example\r\nOrigin: http://evil.example\r\n", 403},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = through(open_to_all.port, "POST", RUN_URL, cases[i].headers);
        expect(cases[i].headers, &a, cases[i].status, NULL);
        answer_free(&a);
    }
    struct answer a = through(keyed.port, "POST", RUN_URL, APP1 "Origin: https://any.example\r\n");
    expect("with a key from anywhere", &a, 200, NULL);
    answer_free(&a);
}

/* 30 origins, every kind of answer: always *, never with credentials, never the origin (check_answer looks at each). */
static void CORS_is_open_and_without_credentials_everywhere(void **state) {
    static const char *const origins[] = {
        "https://a.example", "http://localhost:3000", "null", "https://fal.ai",
        "file://",           "chrome-extension://x"};
    static const struct {
        const char *method, *path, *headers;
    } routes[] = {
        {"POST", "/run/fal-ai/any-llm", APP1},
        {"POST", "/run/fal-ai/any-llm", ""},
        {"POST", "/run/fal-ai/any-llm/stream", APP1},
        {"POST", "/queue/fal-ai/any-llm", APP1},
        {"POST", "/queue/no/such", APP1},
        {"GET", "/queue/fal-ai/any-llm/requests/x/status", APP1},
        {"GET", "/queue/fal-ai/any-llm/requests/x/status/stream", APP1},
        {"GET", "/queue/fal-ai/any-llm/requests/x", APP1},
        {"PUT", "/queue/fal-ai/any-llm/requests/x/cancel", APP1},
        {"DELETE", "/queue/fal-ai/any-llm", APP1},
        {"POST", "/v1/chat/completions", APP1},
        {"GET", "/v1/models", APP1},
        {"GET", "/v1/models", ""},
        {"GET", "/healthz", ""},
        {"GET", "/nothing", ""},
        {"POST", PROXY, "x-fal-target-url: " RUN_URL "\r\n" APP1},
        {"POST", PROXY, "x-fal-target-url: " RUN_URL "\r\n"},
        {"POST", PROXY, APP1},
    };
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        for (size_t k = 0; k < sizeof origins / sizeof *origins; k++) {
            struct text t = {0};
            char value[1024];
            bool body = strcmp(routes[i].method, "POST") == 0;
            text_printf(&t,
                        "%s %s HTTP/1.1\r\n" HOST "%sOrigin: %s\r\nContent-Length: %d\r\n\r\n%s",
                        routes[i].method, routes[i].path, routes[i].headers, origins[k],
                        body ? 14 : 0, body ? BODY : "");
            struct answer a = ask(keyed.port, t.p, t.len);
            assert_true(answer_header(&a, "access-control-expose-headers", value, sizeof value));
            assert_non_null(strstr(value, "x-fal-request-id"));
            answer_free(&a);
            text_free(&t);
        }
}

static void a_preflight_allows_what_clients_send(void **state) {
    static const char *const names[] = {"*",
                                        "authorization",
                                        "content-type",
                                        "accept",
                                        "x-fal-target-url",
                                        "x-fal-queue-priority",
                                        "x-fal-runner-hint",
                                        "x-fal-request-timeout",
                                        "x-fal-object-lifecycle-preference",
                                        "x-fal-store-io",
                                        "x-fal-user-agent",
                                        "x-app-fal-disable-fallback"};
    static const char *const paths[] = {PROXY, "/run/fal-ai/any-llm", "/v1/chat/completions"};
    for (size_t i = 0; i < 3; i++) {
        struct text t = {0};
        char value[2048];
        text_printf(
            &t,
            "OPTIONS %s HTTP/1.1\r\n" HOST "Origin: https://app.example\r\n"
            "Access-Control-Request-Method: POST\r\n"
            "Access-Control-Request-Headers: authorization,content-type,x-fal-target-url\r\n\r\n",
            paths[i]);
        struct answer a = ask(keyed.port, t.p, t.len);
        expect(paths[i], &a, 204, NULL);
        assert_true(answer_header(&a, "access-control-allow-methods", value, sizeof value));
        assert_non_null(strstr(value, "PUT"));
        assert_true(answer_header(&a, "access-control-allow-headers", value, sizeof value));
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (strstr(value, names[k]) == NULL) fail_msg("%s is not allowed: %s", names[k], value);
        answer_free(&a);
        text_free(&t);
    }
}

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
    server_start_with(&open_to_all, config.p);
    text_puts(&config, "keys:\n"
                       "  - { id: app1, secret: " CANARY_CLIENT " }\n"
                       "  - { id: app2, secret: " CANARY_OTHER " }\n");
    server_start_with(&keyed, config.p);
    text_puts(
        &config,
        "public_url: https://llm.example.org/ai\n"
        "proxy: { key: app1, endpoints: [fal-ai/any-llm, fal-ai/flux/**, \"**/everybodys/**\"] }\n");
    server_start_with(&guests, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&open_to_all);
    server_stop(&keyed);
    server_stop(&guests);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(P1_no_target_is_400),
        cmocka_unit_test(P2_targets_that_are_not_fals_are_400),
        cmocka_unit_test(P2_upper_case_and_a_last_dot_are_fals_too),
        cmocka_unit_test(what_fals_hosts_do_not_have_is_not_to_be_had),
        cmocka_unit_test(addresses_in_answers_are_fals),
        cmocka_unit_test(addresses_of_our_own_can_be_followed),
        cmocka_unit_test(P3_only_listed_endpoints_take_a_POST),
        cmocka_unit_test(P3_tokens_are_for_listed_endpoints_only),
        cmocka_unit_test(P4_no_key_where_one_is_needed_is_401),
        cmocka_unit_test(P4_calls_without_a_key_are_charged_to_one),
        cmocka_unit_test(P4_a_guest_is_none_beside_the_proxy),
        cmocka_unit_test(P7_too_many_or_too_large_headers_are_431),
        cmocka_unit_test(P8_methods),
        cmocka_unit_test(pages_may_ask_by_the_same_rules_as_elsewhere),
        cmocka_unit_test(CORS_is_open_and_without_credentials_everywhere),
        cmocka_unit_test(a_preflight_allows_what_clients_send),
    };
    return suite_main(argc, argv, "bad_proxy", tests, sizeof tests / sizeof *tests, start, stop);
}
