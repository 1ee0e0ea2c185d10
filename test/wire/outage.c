/* docs/bad-input.md U27: the only upstream is gone for a while, and comes back. */
#include "calls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS 20U
#define QUEUE "/queue/fal-ai/any-llm"
#define SENT "anyllm_upstream_calls_total{upstream=\"up\"}"
#define ABLE "anyllm_upstream_able{upstream=\"up\"}"
#define DONE "anyllm_queue_completed_total"
#define FAILED "anyllm_queue_failed_total"

static struct server server;
static struct mock mock;

static void until(const char *name, unsigned long want) {
    for (uint64_t end = now_ms() + 2 * PATIENCE_MS; metric(server.port, name) != want; sleep_ms(50))
        if (now_ms() > end) fail_msg("%s is %lu, not %lu", name, metric(server.port, name), want);
}

static void submit(unsigned n) {
    char body[64];
    snprintf(body, sizeof body, "{\"prompt\":\"job %u\"}", n);
    struct answer a = post_json(server.port, QUEUE, body);
    expect_status("submit", &a, 200);
    answer_free(&a);
}

static pid_t mock_back_on(unsigned port) {
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    pid_t pid = fork();
    if (pid != 0) return pid;
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO); /* ours is TAP */
    execl(mockllm_path, "mockllm", "--port", text, "--die-with-parent", (char *)NULL);
    _exit(127);
}

static void U27_queued_jobs_outlive_an_outage(void **state) {
    char value[16];
    submit(0);
    until(DONE, 1);
    mock_stop(&mock);
    for (unsigned n = 1; n <= JOBS; n++) submit(n);
    until(ABLE, 0);
    unsigned long sent = metric(server.port, SENT);
    struct answer a = post_json(server.port, "/run/fal-ai/any-llm", "{\"prompt\":\"x\"}");
    expect_status("direct", &a, 503);
    assert_true(answer_header(&a, "retry-after", value, sizeof value));
    answer_free(&a);
    sleep_ms(6000); /* longer than between two knocks */
    assert_int_equal(metric(server.port, SENT), sent);
    assert_int_equal(metric(server.port, DONE), 1);
    pid_t back = mock_back_on(mock.port);
    until(DONE, 1 + JOBS);
    assert_int_equal(metric(server.port, FAILED), 0);
    assert_int_equal(metric(server.port, ABLE), 1);
    kill(back, SIGKILL);
    waitpid(back, NULL, 0);
}

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
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
    static const struct CMUnitTest tests[] = {cmocka_unit_test(U27_queued_jobs_outlive_an_outage)};
    return suite_main(argc, argv, "outage", tests, 1, start, stop);
}
