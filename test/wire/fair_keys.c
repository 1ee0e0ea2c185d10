/* One key's ten thousand requests and another's single one (T13); upstreams that hold up nobody else's requests. */
#include "calls.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE "/queue/fal-ai/any-llm"
#define ROUTER "/queue/openrouter/router"
#define KEY_A "Authorization: Key a:" CANARY_CLIENT "\r\n"
#define KEY_B "Authorization: Key b:" CANARY_OTHER "\r\n"
#define KEYS                                                                                     \
    "keys:\n  - { id: a, secret: " CANARY_CLIENT " }\n  - { id: b, secret: " CANARY_OTHER " }\n" \
    "  - { id: ops, secret: ops-secret, scope: ADMIN }\n"
#define OPS "Authorization: Key ops:ops-secret\r\n"

static struct server server;
static struct mock mock;

static struct answer get_as(const char *key, const char *path) {
    struct text t = {0};
    text_printf(&t, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", path, key);
    struct answer a = ask(server.port, t.p, t.len);
    text_free(&t);
    return a;
}

static unsigned long number(const char *name) {
    struct answer a = get_as(OPS, "/metrics");
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    if (at == NULL) fail_msg("no metric %s", name);
    unsigned long v = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return v;
}

static char *submit_as(const char *key, const char *queue, const char *body) {
    struct answer a = post(server.port, queue, key, body, strlen(body));
    expect_status("submit", &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

/* -1: not in the queue any more, as its status says. */
static long position(const char *key, const char *queue, const char *id) {
    struct text path = {0};
    text_printf(&path, "%s/requests/%s/status", queue, id);
    struct answer a = get_as(key, path.p);
    if (a.status != 200 && a.status != 202) fail_msg("status: %u %s", a.status, a.body.p);
    const char *at = strstr(a.body.p, "\"queue_position\":");
    long n = at != NULL ? strtol(at + strlen("\"queue_position\":"), NULL, 10) : -1;
    answer_free(&a);
    text_free(&path);
    return n;
}

/* --- T13 */

#define LINES 50U  /* connections that submit at once … */
#define EACH 200U  /* … so many each, one after the other */
#define WORKERS 4U /* slots of the upstream; a job takes 50 ms */
#define WATCHED 20U

static unsigned count_answers(const struct text *t) {
    unsigned n = 0;
    for (const char *p = t->p; p != NULL && (p = strstr(p, "HTTP/1.1 200")) != NULL; p++) n++;
    return n;
}

/* The first one's id of each line. */
static void ten_thousand_of_a(char *ids[LINES]) {
    struct peer lines[LINES];
    struct text t = {0};
    for (unsigned k = 0; k < EACH; k++)
        text_puts(&t,
                  "POST " QUEUE " HTTP/1.1\r\n" HOST KEY_A
                  "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}");
    for (unsigned k = 0; k < LINES; k++) {
        lines[k] = peer_open(server.port);
        assert_true(peer_send(&lines[k], t.p, t.len));
    }
    for (unsigned k = 0; k < LINES; k++) {
        for (uint64_t end = now_ms() + 3 * PATIENCE_MS;
             count_answers(&lines[k].in) < EACH && now_ms() < end;)
            peer_listen(&lines[k], 20);
        assert_int_equal(count_answers(&lines[k].in), EACH);
        const char *id = strstr(lines[k].in.p, "\"request_id\":\"");
        assert_non_null(id);
        ids[k] = strndup(id + strlen("\"request_id\":\""), 36);
        peer_close(&lines[k]);
    }
    text_free(&t);
}

/* A few of a's are looked at: no position rises. */
static void look(char *const ids[LINES], long shown[LINES]) {
    for (unsigned k = 0; k < WATCHED; k++) {
        long now = position(KEY_A, QUEUE, ids[k]);
        if (now < 0) continue;
        assert_true(shown[k] < 0 || now <= shown[k]);
        shown[k] = now;
    }
}

static void T13_a_single_request_starts_within_two_jobs(void **state) {
    static const char started[] = "anyllm_upstream_calls_total{upstream=\"up\"}";
    char *ids[LINES];
    long shown[LINES];
    ten_thousand_of_a(ids);
    assert_true(number("anyllm_queue_waiting") > 5000);
    for (unsigned k = 0; k < LINES; k++) shown[k] = -1;
    for (unsigned n = 0; n < 5; n++) {
        look(ids, shown);
        char *id = submit_as(KEY_B, QUEUE, "{\"prompt\":\"b\"}");
        unsigned long before = number(started);
        /* Those that had begun when it was still to wait: however long this test itself stands still between. */
        for (unsigned long others = 0; position(KEY_B, QUEUE, id) >= 0;) {
            if (others > 2 * WORKERS) fail_msg("%lu others began while it waited", others);
            others = number(started) - before;
        }
        struct answer a = result_of(server.port, QUEUE, KEY_B, id);
        expect_status("b's", &a, 200);
        answer_free(&a);
        free(id);
    }
    look(ids, shown);
    for (unsigned k = 0; k < LINES; k++) free(ids[k]);
}

static void start(const char *upstreams) {
    struct text config = {0};
    mock_start(&mock);
    text_puts(&config, KEYS "grace: 1\nmax_status_polls_per_second_per_key: 0\n");
    for (const char *at = upstreams; *at != '\0'; at++) {
        if (*at == '@')
            text_printf(&config, "kind: openai, base_url: \"http://127.0.0.1:%u", mock.port);
        else
            text_add(&config, at, 1);
    }
    server_start_with(&server, config.p);
    text_free(&config);
}

static int start_slow(void **state) {
    start("upstreams:\n  up: { @/delay/50/v1\", key: " CANARY_UPSTREAM ", concurrency: 4 }\n");
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

/* --- upstreams */

static int start_two(void **state) {
    start("upstreams:\n"
          "  hung: { @/silent/v1\", key: " CANARY_UPSTREAM ", concurrency: 2 }\n"
          "  well: { @/v1\", key: " CANARY_UPSTREAM ", concurrency: 2 }\n"
          "routes:\n"
          "  - { model: \"hung/*\", to: [hung] }\n"
          "  - { model: \"well/*\", to: [well] }\n"
          "  - { model: \"both/*\", to: [hung, well] }\n");
    return 0;
}

static void expect_answered(const char *key, const char *body, unsigned status) {
    char *id = submit_as(key, ROUTER, body);
    struct answer a = result_of(server.port, ROUTER, key, id);
    expect_status(body, &a, status);
    answer_free(&a);
    free(id);
}

#define ASK(model) "{\"prompt\":\"x\",\"model\":\"" model "\"}"

static void a_hung_upstream_holds_up_nobody_of_another(void **state) {
    char *hung[40];
    for (unsigned k = 0; k < 40; k++) hung[k] = submit_as(KEY_A, ROUTER, ASK("hung/x"));
    for (unsigned k = 0; k < 5; k++) {
        expect_answered(KEY_B, ASK("well/x"), 200);
        expect_answered(KEY_A, ASK("well/y"), 200); /* nor of the same key */
        expect_answered(KEY_B, ASK("both/x"), 200);
    }
    expect_answered(KEY_A, ASK("nobody/x"), 422);
    expect_answered(KEY_A, "{\"prompt\":\"x\",\"model\":7}", 422);
    /* The first upstream only: it waits there, and holds up nobody either. */
    char *first = submit_as(KEY_A "x-app-fal-disable-fallback: 1\r\n", ROUTER, ASK("both/x"));
    expect_answered(KEY_B, ASK("both/x"), 200);
    assert_int_equal(number("anyllm_upstream_calls_total{upstream=\"hung\"}"), 2);
    assert_int_equal(number("anyllm_queue_running"), 2); /* the others are not even claimed */
    assert_int_equal(position(KEY_A, ROUTER, hung[39]), 37);
    assert_true(position(KEY_A, ROUTER, first) >= 0);
    for (unsigned k = 0; k < 40; k++) free(hung[k]);
    free(first);
}

static int nothing(void **state) {
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(T13_a_single_request_starts_within_two_jobs, start_slow,
                                        stop),
        cmocka_unit_test_setup_teardown(a_hung_upstream_holds_up_nobody_of_another, start_two,
                                        stop),
    };
    return suite_main(argc, argv, "fair_keys", tests, 2, nothing, nothing);
}
