/* docs/bad-input.md Q7 and J15: the x-fal-* headers of a call and the queries of the queue, at every surface that takes
 * them. What cannot be understood is refused by name, stores nothing and calls nobody. */
#include "calls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server;
static struct mock mock;

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define CHAT "/v1/chat/completions"
#define CHAT_ID "openrouter/router/openai/v1/chat/completions"
#define TARGET "x-fal-target-url: https://"

static const struct {
    const char *path, *headers;
    bool openai;
} surfaces[] = {
    {RUN, "", false},
    {RUN "/stream", "", false},
    {QUEUE, "", false},
    {CHAT, "", true},
    {"/run/" CHAT_ID, "", true},
    {"/queue/" CHAT_ID, "", false},
    {"/api/fal/proxy", TARGET "fal.run/fal-ai/any-llm\r\n", false},
    {"/api/fal/proxy", TARGET "fal.run/fal-ai/any-llm/stream\r\n", false},
    {"/api/fal/proxy", TARGET "queue.fal.run/fal-ai/any-llm\r\n", false},
};
#define NSURFACES (sizeof surfaces / sizeof *surfaces)

static struct answer call_model(size_t surface, const char *headers, const char *model) {
    char body[256];
    struct text h = {0};
    snprintf(
        body, sizeof body,
        "{\"model\":\"test/%s\",\"prompt\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
        model);
    text_printf(&h, "%s%s", surfaces[surface].headers, headers);
    struct answer a = post(server.port, surfaces[surface].path, h.p, body, strlen(body));
    text_free(&h);
    return a;
}

static struct answer call(size_t surface, const char *headers) {
    return call_model(surface, headers, "ok");
}

static unsigned long submitted(void) {
    return metric(server.port, "anyllm_queue_submitted_total");
}

static void until(const char *name, unsigned long want) {
    for (uint64_t end = now_ms() + PATIENCE_MS; metric(server.port, name) != want; sleep_ms(5))
        if (now_ms() > end) fail_msg("%s does not become %lu", name, want);
}

/* Every submit so far is over. */
static void settle(void) {
    until("anyllm_queue_waiting", 0);
    until("anyllm_queue_running", 0);
}

/* --- headers that cannot be understood */

#define RETRY "X-Fal-Retry-Config: "

static const struct {
    const char *name; /* that the answer says */
    const char *line;
} bad_headers[] = {
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 0.001"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 0"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: -1"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: abc"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout:"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: NaN"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: inf"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 0x10"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 30s"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 30, 30"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 1e-400"},
    {"x-fal-request-timeout", "X-Fal-Request-Timeout: 30\r\nX-Fal-Request-Timeout: x"},
    {"x-fal-queue-priority", "X-Fal-Queue-Priority: high"},
    {"x-fal-queue-priority", "X-Fal-Queue-Priority:"},
    {"x-fal-queue-priority", "X-Fal-Queue-Priority: 1"},
    {"x-fal-queue-priority", "X-Fal-Queue-Priority: normal, low"},
    {"x-fal-runner-hint", "X-Fal-Runner-Hint:"},
    {"x-fal-runner-hint", "X-Fal-Runner-Hint: a b"},
    {"x-fal-runner-hint", "X-Fal-Runner-Hint: a,b"},
    {"x-fal-runner-hint", "X-Fal-Runner-Hint: a\tb"},
    {"x-fal-runner-hint", "X-Fal-Runner-Hint: caf\xc3\xa9"},
    {"x-fal-store-io", "X-Fal-Store-IO: 2"},
    {"x-fal-store-io", "X-Fal-Store-IO:"},
    {"x-fal-store-io", "X-Fal-Store-IO: off"},
    {"x-fal-no-retry", "X-Fal-No-Retry: maybe"},
    {"x-fal-no-retry", "X-Fal-No-Retry: -1"},
    {"x-fal-retry-config", RETRY},
    {"x-fal-retry-config", RETRY "2"},
    {"x-fal-retry-config", RETRY "[]"},
    {"x-fal-retry-config", RETRY "{"},
    {"x-fal-retry-config", RETRY "{\"server_error\":2}"},
    {"x-fal-retry-config", RETRY "{\"server_error\":{\"retries\":-1}}"},
    {"x-fal-retry-config", RETRY "{\"server_error\":{\"retries\":10}}"},
    {"x-fal-retry-config", RETRY "{\"server_error\":{\"retries\":1e9}}"},
    {"x-fal-retry-config", RETRY "{\"timeout\":{\"retries\":\"1\"}}"},
    {"x-fal-retry-config", RETRY "{\"timeout\":{\"retries\":1},\"timeout\":{\"retries\":2}}"},
    {"x-fal-retry-config", RETRY "{\"x\":\"\xff\"}"},
    {"x-app-fal-disable-fallback", "X-App-Fal-Disable-Fallback: 2"},
    {"x-app-fal-disable-fallback", "X-App-Fal-Disable-Fallback: perhaps"},
    {"x-fal-tags", "X-Fal-Tags:"},
    {"x-fal-tags", "X-Fal-Tags: a"},
    {"x-fal-tags", "X-Fal-Tags: =1"},
    {"x-fal-tags", "X-Fal-Tags: a=1,,b=2"},
    {"x-fal-tags", "X-Fal-Tags: a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10,k=11"},
};

static void expect_refused(size_t surface, const char *name, const char *line) {
    struct text h = {0};
    text_printf(&h, "%s\r\n", line);
    struct answer a = call(surface, h.p);
    expect_status(line, &a, 400);
    expect_says(line, &a, name);
    expect_says(line, &a, "bad_request");
    if (surfaces[surface].openai) expect_says(line, &a, "{\"error\":{\"message\":\"");
    if (!surfaces[surface].openai) expect_header(line, &a, "x-fal-error-type", "bad_request");
    answer_free(&a);
    text_free(&h);
}

static void Q7_headers_that_cannot_be_understood_are_400(void **state) {
    unsigned long before = submitted();
    mock_reset(&mock);
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++)
        for (size_t s = 0; s < NSURFACES; s++)
            expect_refused(s, bad_headers[i].name, bad_headers[i].line);
    assert_int_equal(submitted(), before);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

static void Q7_long_headers_are_400(void **state) {
    static const char *const starts[][2] = {{"x-fal-runner-hint", "a"},
                                            {"x-fal-tags", "a=1"},
                                            {"x-fal-request-timeout", "1"},
                                            {"x-fal-queue-priority", "low"},
                                            {"x-fal-retry-config", "{\"a\":[[[[["}};
    for (size_t i = 0; i < 5; i++)
        for (size_t s = 0; s < NSURFACES; s++) {
            struct text line = {0};
            text_printf(&line, "%s: %s", starts[i][0], starts[i][1]);
            text_fill(&line, i == 4 ? '[' : '1', 15000);
            expect_refused(s, starts[i][0], line.p);
            text_free(&line);
        }
}

static void headers_that_can_be_understood_are_taken(void **state) {
    static const char *const good[] = {"X-Fal-Request-Timeout: 30\r\n",
                                       "X-Fal-Request-Timeout: 30.0\r\n",
                                       "X-Fal-Request-Timeout: 1e9\r\n", /* counts as a day */
                                       "X-Fal-Queue-Priority: LOW\r\n",
                                       "X-Fal-Queue-Priority: normal\r\n",
                                       "X-Fal-Runner-Hint: session-1:~!@#$%^&*()\r\n",
                                       "X-Fal-Store-IO: 0\r\n",
                                       "X-Fal-No-Retry: yes\r\n",
                                       "X-Fal-No-Retry: 0\r\n",
                                       RETRY "{\"server_error\":{\"retries\":0},\"other\":[1]}\r\n",
                                       RETRY "{}\r\n",
                                       "X-App-Fal-Disable-Fallback: TRUE\r\n",
                                       "X-Fal-Tags: a=1,b=,c = d\r\n",
                                       "X-Fal-Unknown: \xff\r\n",
                                       "X-Fal-Object-Lifecycle-Preference: {\r\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (size_t s = 0; s < NSURFACES; s++) {
            struct answer a = call(s, good[i]);
            expect_status(good[i], &a, 200);
            answer_free(&a);
        }
    settle();
}

/* --- Q7: the start timeout. The model "deaf" leads to a listener that never takes the connection. */

static void expect_timed_out(const char *what, const struct answer *a) {
    expect_status(what, a, 504);
    expect_says(what, a, "request_timeout");
    expect_header(what, a, "x-fal-request-timeout-type", "user");
    expect_header(what, a, "x-fal-needs-retry", "");
    expect_header(what, a, "retry-after", "");
}

static void Q7_a_call_that_cannot_begin_is_504_in_time(void **state) {
    for (size_t s = 0; s < NSURFACES; s++) {
        if (strstr(surfaces[s].path, "queue") != NULL ||
            strstr(surfaces[s].headers, "queue") != NULL)
            continue;
        uint64_t before = now_ms();
        struct answer a = call_model(s, "X-Fal-Request-Timeout: 0.2\r\n", "deaf");
        expect_timed_out(surfaces[s].path, &a);
        expect_says(surfaces[s].path, &a, surfaces[s].openai ? "\"error\":{" : "\"detail\":");
        if (now_ms() - before >= 4000) fail_msg("that was the upstream's own time");
        answer_free(&a);
    }
}

/* Another 504 is not the user's. */
static void Q7_an_upstream_that_is_silent_is_no_start_timeout(void **state) {
    struct answer a = call_model(0, "X-Fal-Request-Timeout: 0.1\r\n", "silent");
    expect_status("silent", &a, 504);
    expect_header("silent", &a, "x-fal-request-timeout-type", "");
    answer_free(&a);
    a = call_model(0, "X-Fal-Request-Timeout: 0.1\r\n",
                   "slow"); /* it has begun: running does not count */
    expect_status("slow", &a, 200);
    answer_free(&a);
}

static char *submit(const char *path, const char *headers, const char *model) {
    char body[256];
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\",\"messages\":[]}", model);
    struct answer a = post(server.port, path, headers, body, strlen(body));
    expect_status("submit", &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

static void expect_queue_timed_out(const char *path, const char *model) {
    char *id = submit(path, "X-Fal-Request-Timeout: 0.2\r\n", model), status[160];
    struct answer a = result_of(server.port, path, "", id);
    expect_timed_out(model, &a);
    answer_free(&a);
    snprintf(status, sizeof status, "%s/requests/%s/status", path, id);
    a = get(server.port, status);
    expect_says(model, &a, "\"error_type\":\"request_timeout\"");
    answer_free(&a);
    free(id);
}

/* Before work starts: the upstream never hears of it. */
static void Q7_a_queued_request_that_cannot_begin_is_504(void **state) {
    char *holds = submit(QUEUE, "", "one"), path[128];
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") == 0; sleep_ms(5))
        assert_true(now_ms() < end);
    mock_reset(&mock);
    expect_queue_timed_out(QUEUE, "one");
    expect_queue_timed_out("/queue/openrouter/router", "one");
    expect_queue_timed_out("/queue/" CHAT_ID, "one");
    assert_int_equal(mock_count(&mock, "calls"), 0);
    expect_queue_timed_out(QUEUE, "deaf");    /* it connects, and has sent nothing */
    expect_queue_timed_out(QUEUE, "refused"); /* it waits between attempts */
    snprintf(path, sizeof path, "PUT " QUEUE "/requests/%s/cancel HTTP/1.1\r\n" HOST "\r\n", holds);
    struct answer a = ask_text(server.port, path);
    expect_status("cancel", &a, 202);
    answer_free(&a);
    free(holds);
    settle();
}

/* --- fal_max_queue_length and logs */

static void J15_forms_of_fal_max_queue_length(void **state) {
    static const char *const bad[] = {"x",
                                      "-1",
                                      "",
                                      "1.5",
                                      "1e3",
                                      "0x1",
                                      "+1",
                                      "%31",
                                      "1%20",
                                      "null",
                                      "99999999999999999999999",
                                      "1&fal_max_queue_length=1"};
    static const char *const ids[] = {"fal-ai/any-llm", "openrouter/router", CHAT_ID};
    unsigned long before = submitted();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t k = 0; k < 3; k++) {
            char path[256];
            snprintf(path, sizeof path, "/queue/%s?fal_max_queue_length=%s", ids[k], bad[i]);
            struct answer a = post_json(server.port, path, "{\"prompt\":\"x\"}");
            expect_status(path, &a, 422);
            expect_says(path, &a, "\"loc\":[\"query\",\"fal_max_queue_length\"]");
            answer_free(&a);
        }
    assert_int_equal(submitted(), before);
}

/* Of a server with room for one. */
static char *submit_to(const struct server *to) {
    struct answer a = post_json(to->port, QUEUE, "{\"prompt\":\"x\",\"model\":\"test/one\"}");
    expect_status("submit", &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

static void J15_a_queue_longer_than_the_caller_wants_is_429(void **state) {
    struct server small;
    struct text config = {0};
    text_printf(
        &config,
        "grace: 1\nupstreams:\n  one: { kind: openai, base_url: \"http://127.0.0.1:%u/silent/v1\", "
        "concurrency: 1 }\nroutes:\n  - { model: \"test/*\", to: [one] }\n",
        mock.port);
    server_start_with(&small, config.p);
    for (int i = 0; i < 3; i++) free(submit_to(&small)); /* one runs, two wait */
    for (uint64_t end = now_ms() + PATIENCE_MS; metric(small.port, "anyllm_queue_running") != 1;)
        assert_true(now_ms() < end);
    struct answer a = post_json(small.port, QUEUE "?fal_max_queue_length=1",
                                "{\"prompt\":\"x\",\"model\":\"test/one\"}");
    expect_status("longer", &a, 429);
    expect_header("longer", &a, "x-fal-error-type", "queue_full");
    expect_header("longer", &a, "retry-after", "1");
    answer_free(&a);
    assert_int_equal(metric(small.port, "anyllm_queue_submitted_total"), 3);
    a = post_json(small.port, QUEUE "?fal_max_queue_length=100",
                  "{\"prompt\":\"x\",\"model\":\"test/one\"}");
    expect_status("not longer", &a, 200);
    answer_free(&a);
    text_free(&config);
    server_stop(&small);
}

static void J15_forms_of_logs_on_status_and_its_stream(void **state) {
    static const struct {
        const char *query, *says; /* NULL: 422 */
    } cases[] = {{"", "\"logs\":null"},
                 {"?logs=", "\"logs\":null"},
                 {"?logs=0", "\"logs\":null"},
                 {"?logs=false", "\"logs\":null"},
                 {"?logs=False", "\"logs\":null"},
                 {"?logs=1", "\"logs\":["},
                 {"?logs=true", "\"logs\":["},
                 {"?logs=True", "\"logs\":["},
                 {"?x=1&logs=1", "\"logs\":["},
                 {"?logs=2", NULL},
                 {"?logs=-1", NULL},
                 {"?logs=yes;drop", NULL},
                 {"?logs=%00", NULL},
                 {"?logs=TRUE%0d%0aX:y", NULL}};
    char *id = submit(QUEUE, "", "ok"), path[160];
    struct answer a = result_of(server.port, QUEUE, "", id);
    answer_free(&a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int stream = 0; stream < 2; stream++) {
            snprintf(path, sizeof path, QUEUE "/requests/%s/status%s%s", id,
                     stream ? "/stream" : "", cases[i].query);
            a = get(server.port, path);
            expect_status(path, &a, cases[i].says != NULL ? 200 : 422);
            expect_says(path, &a, cases[i].says != NULL ? cases[i].says : "[\"query\",\"logs\"]");
            answer_free(&a);
        }
    free(id);
}

/* --- the suite */

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

static int start(void **state) {
    static const struct {
        const char *name, *path, *options;
    } ups[] = {{"ok", "/ok", ""},
               {"silent", "/silent", ", first_byte_timeout: 600ms"},
               {"slow", "/delay/500", ""},
               {"one", "/silent", ", concurrency: 1"}};
    struct text config = {0}, routes = {0};
    mock_start(&mock);
    text_puts(&config, "grace: 1\nupstreams:\n");
    for (size_t i = 0; i < 4; i++)
        text_printf(&config,
                    "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u%s/v1\", key: %s%s }\n",
                    ups[i].name, mock.port, ups[i].path, CANARY_UPSTREAM, ups[i].options);
    text_printf(
        &config,
        "  deaf: { kind: openai, base_url: \"http://127.0.0.1:%u/v1\", connect_timeout: 5s }\n"
        "  refused: { kind: openai, base_url: \"http://127.0.0.1:1/v1\" }\nroutes:\n",
        deaf_listener());
    for (size_t i = 0; i < 6; i++) {
        const char *name = i < 4 ? ups[i].name : i == 4 ? "deaf" : "refused";
        text_printf(&routes, "  - { model: \"test/%s\", to: [%s] }\n", name, name);
    }
    text_puts(&config, routes.p);
    server_start_with(&server, config.p);
    text_free(&config);
    text_free(&routes);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    for (size_t i = 0; i < 8; i++) close(deaf_fds[i]);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(Q7_headers_that_cannot_be_understood_are_400),
        cmocka_unit_test(Q7_long_headers_are_400),
        cmocka_unit_test(headers_that_can_be_understood_are_taken),
        cmocka_unit_test(Q7_a_call_that_cannot_begin_is_504_in_time),
        cmocka_unit_test(Q7_an_upstream_that_is_silent_is_no_start_timeout),
        cmocka_unit_test(Q7_a_queued_request_that_cannot_begin_is_504),
        cmocka_unit_test(J15_forms_of_fal_max_queue_length),
        cmocka_unit_test(J15_a_queue_longer_than_the_caller_wants_is_429),
        cmocka_unit_test(J15_forms_of_logs_on_status_and_its_stream),
    };
    return suite_main(argc, argv, "bad_options", tests, sizeof tests / sizeof *tests, start, stop);
}
