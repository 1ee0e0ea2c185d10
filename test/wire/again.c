/* docs/bad-input.md Q6 and docs/queue.md, submitting once: Idempotency-Key, at every surface that submits. */
#include "calls.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static struct server server;
static struct mock mock;

#define QUEUE "/queue/fal-ai/any-llm"
#define CHAT "/queue/openrouter/router/openai/v1/chat/completions"
#define OK_BODY "{\"prompt\":\"x\",\"model\":\"test/ok\"}"
#define SILENT_BODY "{\"prompt\":\"x\",\"model\":\"test/silent\"}"
#define ONE "Authorization: Key one:" CANARY_CLIENT "\r\n"
#define TWO "Authorization: Key two:" CANARY_OTHER "\r\n"

/* --- submits */

static struct answer submit(const char *path, const char *headers, const char *key,
                            const char *body) {
    struct text h = {0};
    text_printf(&h, "%sIdempotency-Key: %s\r\n", headers, key);
    struct answer a = post(server.port, path, h.p, body, strlen(body));
    text_free(&h);
    return a;
}

/* The id of the request that answers; it is a repeat or it is not. */
static char *taken(const char *path, const char *headers, const char *key, const char *body,
                   bool again) {
    struct answer a = submit(path, headers, key, body);
    expect_status(key, &a, 200);
    expect_header(key, &a, "idempotent-replayed", again ? "true" : "");
    char *id = submitted_id(&a);
    expect_header(key, &a, "x-fal-request-id", id);
    expect_says(key, &a, "\"status_url\":\"http");
    answer_free(&a);
    return id;
}

static void expect_taken(const char *id, const char *path, const char *headers, const char *key,
                         const char *body, bool again) {
    char *got = taken(path, headers, key, body, again);
    bool same = strcmp(got, id) == 0;
    if (same != again) fail_msg("%s: %s after %s", key, got, id);
    free(got);
}

static void expect_refused(const char *path, const char *headers, const char *key,
                           const char *body) {
    struct answer a = submit(path, headers, key, body);
    expect_status(key, &a, 422);
    expect_says(key, &a, "\"loc\":[\"header\",\"idempotency-key\"]");
    expect_says(key, &a, "this key was used for another request");
    expect_header(key, &a, "x-fal-retryable", "false");
    answer_free(&a);
}

static struct answer about(const char *method, const char *id, const char *tail) {
    struct text t = {0};
    text_printf(&t, "%s " QUEUE "/requests/%s%s HTTP/1.1\r\n" HOST ONE "Content-Length: 0\r\n\r\n",
                method, id, tail);
    struct answer a = ask(server.port, t.p, t.len);
    text_free(&t);
    return a;
}

static void wait_for(const char *id, const char *says) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(5)) {
        struct answer a = about("GET", id, "/status");
        bool there = answer_says(&a, says);
        answer_free(&a);
        if (there) return;
    }
    fail_msg("%s never comes to %s", id, says);
}

static unsigned long counted(const char *name) {
    struct answer a = ask_text(server.port, "GET /metrics HTTP/1.1\r\n" HOST ONE "\r\n");
    char line[96];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    if (at == NULL) fail_msg("no %s", name);
    unsigned long n = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return n;
}

static void cancel(char *id) {
    struct answer a = about("PUT", id, "/cancel");
    expect_status("cancel", &a, 202);
    answer_free(&a);
    wait_for(id, "\"status\":\"COMPLETED\"");
    free(id);
}

/* What earlier tests submitted is over. */
static void settle(void) {
    for (uint64_t end = now_ms() + PATIENCE_MS;
         counted("anyllm_queue_waiting") + counted("anyllm_queue_running") > 0; sleep_ms(5))
        assert_true(now_ms() < end);
}

/* --- the same again */

static void Q6_a_repeat_is_answered_with_the_first_request_however_it_stands(void **state) {
    char *id = taken(QUEUE, ONE, "stands", SILENT_BODY, false);
    expect_taken(id, QUEUE, ONE, "stands", SILENT_BODY, true);
    wait_for(id, "IN_PROGRESS");
    expect_taken(id, QUEUE, ONE, "stands", SILENT_BODY, true);
    cancel(strdup(id));
    struct answer a = submit(QUEUE, ONE, "stands", SILENT_BODY);
    expect_status("cancelled", &a, 200);
    expect_says("cancelled", &a, id);
    expect_says("cancelled", &a, "\"status\":\"COMPLETED\"");
    expect_says("cancelled", &a, "\"error_type\":\"client_cancelled\"");
    answer_free(&a);
    free(id);
    id = taken(QUEUE, ONE, "done", OK_BODY, false);
    wait_for(id, "COMPLETED");
    mock_reset(&mock);
    expect_taken(id, QUEUE, ONE, "done", OK_BODY, true);
    assert_int_equal(mock_count(&mock, "calls"), 0);
    free(id);
}

static void Q6_another_body_webhook_or_option_is_422(void **state) {
    static const char *const options[] = {
        "X-Fal-Queue-Priority: low\r\n",
        "X-Fal-Request-Timeout: 60\r\n",
        "X-Fal-Store-IO: 0\r\n",
        "X-Fal-No-Retry: 1\r\n",
        "X-Fal-Retry-Config: {\"timeout\":{\"retries\":0}}\r\n",
        "X-App-Fal-Disable-Fallback: true\r\n",
        "X-Fal-Tags: a=1\r\n",
    };
    struct text h = {0};
    char *id = taken(QUEUE, ONE, "other", OK_BODY, false);
    expect_refused(QUEUE, ONE, "other", SILENT_BODY);
    expect_refused(QUEUE, ONE, "other", OK_BODY " ");
    expect_refused(QUEUE "?fal_webhook=https://example.org/x", ONE, "other", OK_BODY);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        h.len = 0;
        text_printf(&h, "%s%s", ONE, options[i]);
        expect_refused(QUEUE, h.p, "other", OK_BODY);
    }
    /* what decides nothing about the answer may change */
    h.len = 0;
    text_printf(&h, ONE "X-Fal-Runner-Hint: warm\r\nX-Fal-Queue-Priority: normal\r\n");
    expect_taken(id, QUEUE "?fal_max_queue_length=100", h.p, "other", OK_BODY, true);
    expect_taken(id, QUEUE, ONE, "other", OK_BODY, true);
    text_free(&h);
    free(id);
}

static void Q6_a_key_is_of_one_caller_and_one_endpoint(void **state) {
    char *id = taken(QUEUE, ONE, "scope", OK_BODY, false), *chat;
    expect_taken(id, QUEUE, TWO, "scope", OK_BODY, false);
    expect_taken(id, QUEUE "/vision", ONE, "scope", OK_BODY, false);
    expect_taken(id, QUEUE, ONE, "Scope", OK_BODY, false);
    expect_taken(id, "/queue/110602490-any-llm", ONE, "scope", OK_BODY, true);
    chat = taken(CHAT, ONE, "scope", "{\"model\":\"test/ok\",\"messages\":[]}", false);
    expect_refused(CHAT, ONE, "scope", "{\"model\":\"test/ok\",\"messages\":[1]}");
    expect_taken(id, "/api/fal/proxy",
                 ONE "x-fal-target-url: https://queue.fal.run/fal-ai/any-llm\r\n", "by-proxy",
                 OK_BODY, false);
    free(chat);
    free(id);
}

static void Q6_keys_that_are_none_are_400(void **state) {
    char longest[256] = {0}, longer[257] = {0};
    memset(longest, 'k', 255);
    memset(longer, 'k', 256);
    const char *bad[] = {"",
                         "a b",
                         "caf\xc3\xa9",
                         "a\tb",
                         longer,
                         "a\r\nIdempotency-Key: a",
                         "a\r\nIdempotency-Key: b"};
    unsigned long before = counted("anyllm_queue_submitted_total");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        static const char *const paths[] = {QUEUE, CHAT};
        for (size_t k = 0; k < 2; k++) {
            struct answer a = submit(paths[k], ONE, bad[i], OK_BODY);
            expect_status(bad[i], &a, 400);
            expect_says(bad[i], &a, "\"detail\":\"Idempotency-Key ");
            expect_header(bad[i], &a, "x-fal-error-type", "bad_request");
            answer_free(&a);
        }
    }
    assert_int_equal(counted("anyllm_queue_submitted_total"), before);
    free(taken(QUEUE, ONE, longest, OK_BODY, false));
    /* a direct call is not kept: the header is one that it does not know */
    struct answer a = submit("/run/fal-ai/any-llm", TWO, "", OK_BODY);
    expect_status("a direct call", &a, 200);
    answer_free(&a);
}

/* --- where nothing more is taken */

static void Q6_a_full_queue_answers_repeats(void **state) {
    char *ids[4], name[8];
    settle();
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "full%zu", i);
        ids[i] = taken(QUEUE, ONE, name, SILENT_BODY, false);
        if (i == 0) wait_for(ids[0], "IN_PROGRESS");
    }
    struct answer a = submit(QUEUE, ONE, "one-too-many", SILENT_BODY);
    expect_status("full", &a, 429);
    answer_free(&a);
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "full%zu", i);
        expect_taken(ids[i], QUEUE, ONE, name, SILENT_BODY, true);
        expect_taken(ids[i], QUEUE "?fal_max_queue_length=0", ONE, name, SILENT_BODY, true);
        expect_refused(QUEUE, ONE, name, OK_BODY);
    }
    for (size_t i = 0; i < 4; i++) cancel(ids[i]);
    /* what was refused left no trace */
    free(taken(QUEUE, ONE, "one-too-many", OK_BODY, false));
}

static void a_repeat_counts_for_the_rate_of_its_key(void **state) {
    static const char three[] = "Authorization: Key three:" CANARY_OTHER "\r\n";
    char *id = taken(QUEUE, three, "rate", OK_BODY, false);
    expect_taken(id, QUEUE, three, "rate", OK_BODY, true);
    expect_taken(id, QUEUE, three, "rate", OK_BODY, true);
    struct answer a = submit(QUEUE, three, "rate", OK_BODY);
    expect_status("over the rate", &a, 429);
    answer_free(&a);
    free(id);
}

/* --- over a restart */

static char config[2048], folder[MAX_PATH], data[MAX_PATH + 8];

static void serve(void) {
    struct server_options o = {.config = config, .data = data};
    server_start(&server, &o);
}

static void Q6_a_repeat_is_known_after_a_crash(void **state) {
    settle();
    char *done = taken(QUEUE, ONE, "crash-done", OK_BODY, false),
         *running = taken(QUEUE, ONE, "crash-running", SILENT_BODY, false),
         *waiting = taken(QUEUE, ONE, "crash-waiting", SILENT_BODY, false);
    wait_for(done, "COMPLETED");
    kill(server.pid, SIGKILL);
    waitpid(server.pid, NULL, 0);
    scratch_remove(server.dir);
    serve();
    expect_taken(running, QUEUE, ONE, "crash-running", SILENT_BODY, true);
    expect_taken(waiting, QUEUE, ONE, "crash-waiting", SILENT_BODY, true);
    expect_taken(done, QUEUE, ONE, "crash-done", OK_BODY, true);
    expect_refused(QUEUE, ONE, "crash-waiting", OK_BODY);
    cancel(running);
    cancel(waiting);
    free(done);
}

/* --- T15 */

#define KEYS 1000U
#define COPIES 20U
#define AT_ONCE 50U

static void send_keys(struct peer *p, unsigned from, unsigned copy, const char *body) {
    struct text t = {0};
    for (unsigned k = 0; k < AT_ONCE; k++) { /* each in an order of its own */
        unsigned key = from + (k * 7 + copy * 13) % AT_ONCE;
        text_printf(&t,
                    "POST " QUEUE " HTTP/1.1\r\n" HOST TWO "Idempotency-Key: t15-%u\r\n"
                    "Content-Length: %zu\r\n\r\n%s",
                    key, strlen(body), body);
    }
    assert_true(peer_send(p, t.p, t.len));
    text_free(&t);
}

static void T15_many_copies_at_once_are_one_request(void **state) {
    static char ids[KEYS][40];
    static struct peer peers[COPIES];
    unsigned firsts = 0;
    unsigned long before = counted("anyllm_queue_submitted_total");
    for (unsigned c = 0; c < COPIES; c++) peers[c] = peer_open(server.port);
    for (unsigned from = 0; from < KEYS; from += AT_ONCE) {
        for (unsigned c = 0; c < COPIES; c++) send_keys(&peers[c], from, c, OK_BODY);
        for (unsigned i = 0; i < COPIES * AT_ONCE; i++) {
            unsigned c = i / AT_ONCE, key = from + (i % AT_ONCE * 7 + c * 13) % AT_ONCE;
            const struct answer *a = peer_answer(&peers[c]);
            char again[8];
            assert_non_null(a);
            expect_status("a copy", a, 200);
            firsts += !answer_header(a, "idempotent-replayed", again, sizeof again);
            char *id = submitted_id(a);
            if (ids[key][0] == '\0') snprintf(ids[key], sizeof ids[key], "%s", id);
            assert_string_equal(id, ids[key]);
            free(id);
        }
    }
    assert_int_equal(firsts, KEYS);
    assert_int_equal(counted("anyllm_queue_submitted_total") - before, KEYS);
    for (unsigned from = 0; from < KEYS; from += AT_ONCE) {
        send_keys(&peers[0], from, 0, SILENT_BODY);
        for (unsigned i = 0; i < AT_ONCE; i++)
            expect_status("another body", peer_answer(&peers[0]), 422);
    }
    for (unsigned c = 0; c < COPIES; c++) peer_close(&peers[c]);
    assert_int_equal(counted("anyllm_queue_submitted_total") - before, KEYS);
}

/* --- the suite */

static int start(void **state) {
    mock_start(&mock);
    scratch_make(folder);
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(
        config, sizeof config,
        "keys:\n"
        "  - { id: one, secret: " CANARY_CLIENT ", queue_length: 3, concurrent_calls: 1 }\n"
        "  - { id: two, secret: " CANARY_OTHER " }\n"
        "  - { id: three, secret: " CANARY_OTHER ", requests_per_minute: 3 }\n"
        "upstreams:\n"
        "  up:     { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n"
        "  silent: { kind: openai, base_url: \"http://127.0.0.1:%u/silent/v1\", concurrency: 1 }\n"
        "routes:\n"
        "  - { model: \"test/silent\", to: [silent] }\n"
        "  - { model: \"test/*\", to: [up] }\n"
        "grace: 1\n",
        mock.port, CANARY_UPSTREAM, mock.port);
    serve();
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    scratch_remove(folder);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(Q6_a_repeat_is_answered_with_the_first_request_however_it_stands),
        cmocka_unit_test(Q6_another_body_webhook_or_option_is_422),
        cmocka_unit_test(Q6_a_key_is_of_one_caller_and_one_endpoint),
        cmocka_unit_test(Q6_keys_that_are_none_are_400),
        cmocka_unit_test(Q6_a_full_queue_answers_repeats),
        cmocka_unit_test(a_repeat_counts_for_the_rate_of_its_key),
        cmocka_unit_test(Q6_a_repeat_is_known_after_a_crash),
        cmocka_unit_test(T15_many_copies_at_once_are_one_request),
    };
    return suite_main(argc, argv, "again", tests, sizeof tests / sizeof *tests, start, stop);
}
