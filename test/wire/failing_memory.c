/* The n-th allocation fails (T9), for every n of what a request needs from its first byte to the end of its answer, and of the
 * work it starts: the server lives, answers 503 or as it should, and the next request is answered as it should. The program
 * is `anyllm-failing` (failing_malloc.c).
 *
 *   test_failing_memory ANYLLM-FAILING MOCKLLM       ANYLLM_LONG=1: every n; else about thirty of each request */
#include "calls.h"
#include "failing_malloc.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDPOINT "fal-ai/any-llm"
#define JSON_TYPE "Content-Type: application/json\r\n"

static struct server server;
static struct mock mock;
static struct failing *failing;
static char shared_path[MAX_PATH + 16], known_id[64], file_path[256];

/* What a request may be answered besides 503 (and besides no answer: the connection is ended when there is no memory for it). */
struct script {
    const char *name, *method, *path, *headers, *body;
    unsigned status;
    bool
        waits; /* a submit: its request is waited for, and ends well or with an error of the server's */
    const char *says;
};

#define COUNTER "%llu" /* in headers: another number each time */
#define ASK "{\"prompt\":\"What is the meaning of life?\"}"
#define CHAT \
    "{\"model\":\"openai/gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
#define CHAT_STREAM \
    "{\"model\":\"openai/gpt-4o-mini\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"

static const struct script scripts[] = {
    {"a direct call", "POST", "/run/" ENDPOINT, JSON_TYPE, ASK, 200, false, "\"output\""},
    {"a direct call with options", "POST", "/run/openrouter/router",
     JSON_TYPE "x-fal-request-timeout: 30\r\n",
     "{\"model\":\"openai/gpt-4o-mini\",\"prompt\":\"a\",\"system_prompt\":\"b\",\"temperature\":0.5,\"max_tokens\":20}",
     200, false, "\"output\""},
    {"a stream", "POST", "/run/" ENDPOINT "/stream", JSON_TYPE, ASK, 200, false, "data: "},
    {"OpenAI's chat", "POST", "/v1/chat/completions", JSON_TYPE, CHAT, 200, false, "\"choices\""},
    {"OpenAI's stream", "POST", "/v1/chat/completions", JSON_TYPE, CHAT_STREAM, 200, false,
     "data: "},
    {"a picture as data", "POST", "/run/" ENDPOINT "/vision", JSON_TYPE,
     "{\"prompt\":\"what?\",\"image_url\":\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\"}",
     200, false, NULL},
    {"a submit", "POST", "/queue/" ENDPOINT, JSON_TYPE, ASK, 200, true, "\"request_id\""},
    {"a submit with a webhook", "POST", "/queue/" ENDPOINT "?fal_webhook=http://127.0.0.1:9/hook",
     JSON_TYPE, ASK, 200, true, "\"request_id\""},
    {"a submit with a new key of idempotency", "POST", "/queue/" ENDPOINT,
     JSON_TYPE "Idempotency-Key: new-" COUNTER "\r\n", ASK, 200, true, "\"request_id\""},
    {"a submit with a known key of idempotency", "POST", "/queue/" ENDPOINT,
     JSON_TYPE "Idempotency-Key: again\r\n", ASK, 200, false, "\"request_id\""},
    {"a submit with a start timeout", "POST", "/queue/" ENDPOINT,
     JSON_TYPE "x-fal-request-timeout: 30\r\nx-fal-queue-priority: low\r\n", ASK, 200, true,
     "\"request_id\""},
    {"a status", "GET", "/queue/" ENDPOINT "/requests/%s/status?logs=1", "", NULL, 200, false,
     "COMPLETED"},
    {"a status stream", "GET", "/queue/" ENDPOINT "/requests/%s/status/stream", "", NULL, 200,
     false, "COMPLETED"},
    {"a result", "GET", "/queue/" ENDPOINT "/requests/%s", "", NULL, 200, false, "\"output\""},
    {"a cancel", "PUT", "/queue/" ENDPOINT "/requests/%s/cancel", "", NULL, 400, false,
     "ALREADY_COMPLETED"},
    {"an unknown request", "GET",
     "/queue/" ENDPOINT "/requests/01999999-0000-7000-8000-000000000000/status", "", NULL, 404,
     false, NULL},
    {"an upload", "POST", "/rest/storage/upload/initiate?storage_type=fal-cdn-v3", JSON_TYPE,
     "{\"file_name\":\"a.txt\",\"content_type\":\"text/plain\"}", 200, false, "upload_url"},
    {"a file", "GET", "FILE", "", NULL, 200, false, "of the file"},
    {"a bad body", "POST", "/run/" ENDPOINT, JSON_TYPE, "{\"prompt\":7}", 422, false, "prompt"},
    {"broken JSON", "POST", "/run/" ENDPOINT, JSON_TYPE, "{\"prompt\":", 422, false, NULL},
    {"an unknown path", "GET", "/queue/nobody/nothing/requests", "", NULL, 404, false, NULL},
    {"a preflight", "OPTIONS", "/run/" ENDPOINT,
     "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n", NULL, 204, false,
     NULL},
    {"models", "GET", "/v1/models", "", NULL, 200, false, "\"data\""},
    {"metrics", "GET", "/metrics", "", NULL, 200, false, "anyllm_uptime_seconds"},
    {"readiness", "GET", "/readyz", "", NULL, 200, false, "ready"},
    {"requests of the platform", "GET", "/v1/models/requests/by-endpoint?endpoint_id=" ENDPOINT,
     "Host: api.fal.ai\r\n", NULL, 200, false, NULL},
};

/* --- one request */

struct heard {
    unsigned status; /* 0: none */
    struct text body, head;
};

static void put_headers(struct text *t, const char *headers) {
    static unsigned long long counter;
    const char *at = strstr(headers, COUNTER);
    if (at == NULL)
        text_puts(t, headers);
    else
        text_printf(t, "%.*s%llu%s", (int)(at - headers), headers, ++counter, at + strlen(COUNTER));
}

static void say(struct peer *p, const struct script *s) {
    struct text t = {0};
    char path[512];
    if (strcmp(s->path, "FILE") == 0)
        snprintf(path, sizeof path, "%s", file_path);
    else if (strstr(s->path, "%s") != NULL)
        snprintf(path, sizeof path, "%.*s%s%s", (int)(strstr(s->path, "%s") - s->path), s->path,
                 known_id, strstr(s->path, "%s") + 2);
    else
        snprintf(path, sizeof path, "%s", s->path);
    text_printf(&t, "%s %s HTTP/1.1\r\n%sConnection: close\r\n", s->method, path,
                strncmp(s->headers, "Host", 4) == 0 ? "" : HOST);
    put_headers(&t, s->headers);
    if (s->body != NULL) text_printf(&t, "Content-Length: %zu\r\n", strlen(s->body));
    text_puts(&t, "\r\n");
    if (s->body != NULL) text_puts(&t, s->body);
    peer_send(p, t.p, t.len);
    text_free(&t);
}

/* To the end of the connection, whatever came; the status and the raw text. */
static struct heard hear(const struct script *s) {
    struct heard h = {0};
    struct peer p = peer_open(server.port);
    say(&p, s);
    peer_listen(&p, PATIENCE_MS);
    if (p.end == PEER_OPEN) fail_msg("%s: the connection stays open", s->name);
    if (p.in.len > 12) h.status = (unsigned)strtoul(p.in.p + 9, NULL, 10);
    if (p.in.p != NULL) text_add(&h.body, p.in.p, p.in.len);
    peer_close(&p);
    return h;
}

static bool has(const struct heard *h, const char *says) {
    return says == NULL || (h->body.p != NULL && strstr(h->body.p, says) != NULL);
}

static void expect_alive(const struct script *s, uint64_t n) {
    int status;
    if (waitpid(server.pid, &status, WNOHANG) == 0) return;
    server.pid = 0;
    fail_msg("%s, allocation %llu: the server died (%x):\n%s", s->name, (unsigned long long)n,
             (unsigned)status, file_text(server.err, NULL));
}

/* The request of a submit ends: with its answer, or with an error that is the server's. A poll may meet the fault too. */
static void wait_for_end(const struct script *s, const struct heard *h, uint64_t n) {
    struct script poll = {"a poll", "GET", "/queue/" ENDPOINT "/requests/%s/status", "", NULL};
    struct script result = {"its result", "GET", "/queue/" ENDPOINT "/requests/%s", "", NULL};
    char kept[sizeof known_id];
    const char *at = strstr(h->body.p, "\"request_id\":\"");
    if (at == NULL) fail_msg("%s: no request_id", s->name);
    memcpy(kept, known_id, sizeof kept);
    snprintf(known_id, sizeof known_id, "%.36s", at + 14);
    struct heard a = hear(&poll);
    for (uint64_t end = now_ms() + PATIENCE_MS; !has(&a, "COMPLETED"); a = hear(&poll)) {
        if (now_ms() > end)
            fail_msg("%s, allocation %llu: its request does not end: %s", s->name,
                     (unsigned long long)n, a.body.p != NULL ? a.body.p : "");
        text_free(&a.body);
        sleep_ms(2);
    }
    text_free(&a.body);
    a = hear(&result);
    if (a.status != 0 && a.status != 200 && a.status < 500)
        fail_msg("%s, allocation %llu: its request ended with %u: %s", s->name,
                 (unsigned long long)n, a.status, a.body.p);
    text_free(&a.body);
    memcpy(known_id, kept, sizeof kept);
}

/* Its answer without any fault, which also says how many allocations it takes. */
static uint64_t unharmed(const struct script *s, uint64_t n) {
    atomic_store(&failing->fail_at, 0);
    uint64_t before = atomic_load(&failing->count);
    struct heard h = hear(s);
    expect_alive(s, n);
    if (h.status != s->status || !has(&h, s->says))
        fail_msg("%s, after allocation %llu failed: the next one got %u: %s", s->name,
                 (unsigned long long)n, h.status, h.body.p != NULL ? h.body.p : "");
    if (s->waits) wait_for_end(s, &h, n);
    text_free(&h.body);
    return atomic_load(&failing->count) - before;
}

static unsigned silent, harmed;

/* No answer comes only where one of the connection's own allocations fails: what it wants before it has read a request; or
 * where the refusal has no memory either. */
#define OF_A_CONNECTION 3U

static void note_silence(const struct script *s, uint64_t n, uint64_t in_row) {
    if (atomic_load(&failing->failed) == 0)
        fail_msg("%s, allocation %llu: no answer, and nothing failed", s->name,
                 (unsigned long long)n);
    if (n > OF_A_CONNECTION && in_row == 1)
        fail_msg("%s, allocation %llu: no answer", s->name, (unsigned long long)n);
    silent++;
}

static void harmed_once(const struct script *s, uint64_t n, uint64_t in_row) {
    atomic_store(&failing->failed, 0);
    atomic_store(&failing->in_row, in_row);
    atomic_store(&failing->fail_at, atomic_load(&failing->count) + n);
    struct heard h = hear(s);
    expect_alive(s, n);
    bool fine = h.status == 0 || h.status == s->status || h.status == 503 ||
                (h.status >= 500 && has(&h, "memory"));
    if (!fine)
        fail_msg("%s, allocation %llu: %s", s->name, (unsigned long long)n,
                 h.body.p != NULL ? h.body.p : "");
    if (h.status == 0) note_silence(s, n, in_row);
    harmed += atomic_load(&failing->failed) > 0;
    if (s->waits && h.status == 200 && has(&h, "\"request_id\"")) {
        wait_for_end(s, &h, n);
        expect_alive(s, n);
    }
    atomic_store(&failing->fail_at, 0);
    text_free(&h.body);
}

static void fail_in(const struct script *s) {
    unharmed(s, 0);
    uint64_t all = unharmed(s, 0) + 8, step = getenv("ANYLLM_LONG") != NULL ? 1 : all / 30 + 1;
    for (uint64_t n = 1; n <= all; n += step) {
        harmed_once(s, n, 1);
        if (n % (5 * step) == 1) unharmed(s, n);
    }
    for (uint64_t n = 1; n <= all; n += 3 * step)
        harmed_once(s, n, 4); /* it stays short for a while */
    unharmed(s, all);
}

static void T9_each_allocation_of_each_request_may_fail(void **state) {
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) fail_in(&scripts[i]);
    print_message("# T9: %u requests met a failed allocation, %u of them, in their first %u, got "
                  "no answer\n",
                  harmed, silent, OF_A_CONNECTION);
    assert_true(harmed > 100);
    assert_true(silent <= harmed / 4);
}

/* --- the rig */

static void make_shared(void) {
    static char dir[MAX_PATH];
    scratch_make(dir);
    snprintf(shared_path, sizeof shared_path, "%s/fail", dir);
    int fd = open(shared_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, sizeof *failing), 0);
    failing = mmap(NULL, sizeof *failing, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(failing != MAP_FAILED);
    close(fd);
}

static void store_a_file(void) {
    struct answer a = post_json(server.port,
                                "/rest/storage/upload/initiate?storage_type=fal-cdn-v3",
                                "{\"file_name\":\"a.txt\",\"content_type\":\"text/plain\"}");
    expect_status("initiate", &a, 200);
    yyjson_doc *doc = answer_json("initiate", &a);
    const char *up = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "upload_url"));
    const char *at = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "file_url"));
    struct text t = {0};
    text_printf(&t,
                "PUT %s HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 17\r\n\r\n"
                "bytes of the file",
                up + strcspn(up + 8, "/") + 8);
    struct answer put = ask(server.port, t.p, t.len);
    expect_status("PUT", &put, 200);
    snprintf(file_path, sizeof file_path, "%s", at + strcspn(at + 8, "/") + 8);
    answer_free(&put);
    text_free(&t);
    yyjson_doc_free(doc);
    answer_free(&a);
}

static int set_up(void **state) {
    static char config[256], env[MAX_PATH + 64];
    make_shared();
    mock_start(&mock);
    snprintf(config, sizeof config,
             "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/v1\", key: %s }\n"
             "webhook_allow: [127.0.0.0/8]\n",
             mock.port, CANARY_UPSTREAM);
    snprintf(env, sizeof env, "ANYLLM_FAIL_AT=%s", shared_path);
    struct server_options o = {.config = config,
                               .env = {env, "ASAN_OPTIONS=detect_leaks=1"},
                               .args = {"--log-level", "warn"}};
    server_start(&server, &o);
    struct answer a = post_json(server.port, "/queue/" ENDPOINT, ASK);
    char *id = submitted_id(&a);
    snprintf(known_id, sizeof known_id, "%s", id);
    answer_free(&a);
    a = result_of(server.port, "/queue/" ENDPOINT, "", id);
    expect_status("the first request", &a, 200);
    answer_free(&a);
    free(id);
    store_a_file();
    return 0;
}

static int tear_down(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    unlink(shared_path);
    *strrchr(shared_path, '/') = '\0';
    rmdir(shared_path);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T9_each_allocation_of_each_request_may_fail),
    };
    return suite_main(argc, argv, "failing_memory", tests, 1, set_up, tear_down);
}
