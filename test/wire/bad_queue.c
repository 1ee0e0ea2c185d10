/* docs/bad-input.md, queue: what is asked of it too early, too late, twice, of nobody, or for too much. What comes while it
 * is killed or stands still is in kill_*.c. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

#define QUEUE "/queue/fal-ai/any-llm"
#define ID "00000000-0000-4000-8000-000000000000"

static void expect_status(const char *what, const struct answer *a, unsigned status) {
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

static void expect_says(const char *what, const struct answer *a, const char *says) {
    if (!answer_says(a, says)) fail_msg("%s: does not say %s: %s", what, says, a->body.p);
}

static struct answer ask_about(const char *method, const char *id, const char *tail) {
    struct text t = {0};
    text_printf(&t, "%s " QUEUE "/requests/%s%s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
                method, id, tail);
    struct answer a = ask(server.port, t.p, t.len);
    text_free(&t);
    return a;
}

static void expect_about(const char *method, const char *id, const char *tail, unsigned status,
                         const char *says) {
    struct answer a = ask_about(method, id, tail);
    expect_status(tail, &a, status);
    expect_says(tail, &a, says);
    answer_free(&a);
}

static char *submit(const char *model) {
    char body[128];
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    struct answer a = post_json(server.port, QUEUE, body);
    expect_status("submit", &a, 200);
    yyjson_doc *doc = answer_json("submit", &a);
    char *id = strdup(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "request_id"))),
         header[64];
    assert_true(answer_header(&a, "x-fal-request-id", header, sizeof header));
    assert_string_equal(header, id);
    yyjson_doc_free(doc);
    answer_free(&a);
    return id;
}

/* Until the status is 200, or says `says`. */
static void wait_for(const char *id, const char *says) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(5)) {
        struct answer a = ask_about("GET", id, "/status");
        bool there = says != NULL ? answer_says(&a, says) : a.status == 200;
        answer_free(&a);
        if (there) return;
    }
    fail_msg("%s never comes to %s", id, says != NULL ? says : "its end");
}

static void Q1_unknown_apps_and_paths_are_404(void **state) {
    static const struct {
        const char *path, *says;
    } cases[] = {
        {"/queue/no/such", "Application \\\"no/such\\\" not found"},
        {"/run/no/such", "Application \\\"no/such\\\" not found"},
        {"/no/such", "Application \\\"no/such\\\" not found"},
        {"/queue/no/such/app/at/all", "not found"},
        {QUEUE "/x", "Path /x not found"},
        {"/run/fal-ai/any-llm/x", "Path /x not found"},
        {"/run/fal-ai", "Not Found"},
        {"/queue", "Not Found"},
        {"/", "Not Found"},
        {"/run/fal-ai/any-llmx", "not found"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = post_json(server.port, cases[i].path, "{\"prompt\":\"x\"}");
        expect_status(cases[i].path, &a, 404);
        expect_says(cases[i].path, &a, cases[i].says);
        answer_free(&a);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void Q2_the_result_of_what_still_runs_is_400(void **state) {
    char *id = submit("silent");
    expect_about("GET", id, "", 400, "\"detail\":\"Request is still in progress\"");
    wait_for(id, "IN_PROGRESS");
    expect_about("GET", id, "", 400, "\"detail\":\"Request is still in progress\"");
    expect_about("GET", id, "/status", 202, "\"logs\":null");
    expect_about("PUT", id, "/cancel", 202, "CANCELLATION_REQUESTED");
    free(id);
}

static void Q3_cancel_of_what_runs_of_what_waits_and_of_what_is_over(void **state) {
    char *running = submit("silent"), *waiting = submit("silent"), *done = submit("ok");
    wait_for(running, "IN_PROGRESS");
    expect_about("GET", waiting, "/status", 202, "\"status\":\"IN_");
    expect_about("PUT", waiting, "/cancel", 202, "{\"status\":\"CANCELLATION_REQUESTED\"}");
    expect_about("PUT", running, "/cancel", 202, "{\"status\":\"CANCELLATION_REQUESTED\"}");
    wait_for(waiting, NULL);
    wait_for(running, NULL);
    wait_for(done, NULL);
    expect_about("PUT", done, "/cancel", 400, "{\"status\":\"ALREADY_COMPLETED\"}");
    expect_about("PUT", ID, "/cancel", 404, "\"status\":\"NOT_FOUND\"");
    const char *const ended[] = {waiting, running};
    for (size_t i = 0; i < 2; i++) {
        expect_about("GET", ended[i], "/status", 200, "\"error_type\":\"client_cancelled\"");
        expect_about("GET", ended[i], "", 499, "client_cancelled");
    }
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") > 0; sleep_ms(5))
        assert_true(now_ms() < end);
    free(running);
    free(waiting);
    free(done);
}

static void Q5_cancel_twice_and_by_other_methods(void **state) {
    static const char *const methods[] = {"POST", "GET", "DELETE"};
    char *id = submit("silent"), allow[32];
    for (size_t i = 0; i < 3; i++) {
        struct answer a = ask_about(methods[i], id, "/cancel");
        expect_status(methods[i], &a, 405);
        assert_true(answer_header(&a, "allow", allow, sizeof allow));
        assert_string_equal(allow, "PUT");
        answer_free(&a);
    }
    expect_about("GET", id, "/status", 202, "\"status\":\"IN_"); /* none of these cancelled it */
    expect_about("PUT", id, "/cancel", 202, "CANCELLATION_REQUESTED");
    struct answer a = ask_about("PUT", id, "/cancel");
    assert_true(a.status == 202 || a.status == 400); /* 400 once it has ended */
    answer_free(&a);
    wait_for(id, NULL);
    expect_about("PUT", id, "/cancel", 400, "ALREADY_COMPLETED");
    free(id);
}

/* Nothing is cut: the whole result, or none. */
static void Q19_a_result_over_10_MiB_fails_and_one_below_comes_whole(void **state) {
    static const struct {
        const char *model;
        unsigned status;
    } cases[] = {{"below", 200}, {"over", 500}};
    for (size_t i = 0; i < 2; i++) {
        char *id = submit(cases[i].model);
        wait_for(id, NULL);
        struct answer a = ask_about("GET", id, "");
        expect_status(cases[i].model, &a, cases[i].status);
        if (a.status == 200)
            assert_true(a.body.len > 200000 * 50);
        else
            expect_says(cases[i].model, &a, "\"error_type\":\"result_too_large\"");
        answer_free(&a);
        free(id);
    }
}

static void wrong_headers_of_a_submit_are_400(void **state) {
    static const char *const headers[] = {"x-fal-queue-priority: high\r\n",
                                          "x-fal-queue-priority: \r\n",
                                          "x-fal-queue-priority: 1\r\n"};
    unsigned long before = metric(server.port, "anyllm_queue_submitted_total");
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct answer a = post(server.port, QUEUE, headers[i], "{\"prompt\":\"x\"}", 14);
        expect_status(headers[i], &a, 400);
        expect_says(headers[i], &a, "\"error_type\":\"bad_request\"");
        answer_free(&a);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), before);
}

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n"
        "  ok:     { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n"
        "  silent: { kind: openai, base_url: \"http://127.0.0.1:%u/silent/v1\", concurrency: 1 }\n"
        "  below:  { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/200000/wide/50/v1\" }\n"
        "  over:   { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/220000/wide/50/v1\" }\n"
        "routes:\n  - { model: \"*\", to: [ok] }\n  - { model: \"test/ok\", to: [ok] }\n"
        "  - { model: \"test/silent\", to: [silent] }\n"
        "  - { model: \"test/below\", to: [below] }\n  - { model: \"test/over\", to: [over] }\n",
        mock.port, CANARY_UPSTREAM, mock.port, mock.port, mock.port);
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
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(Q1_unknown_apps_and_paths_are_404), /* before anything was submitted */
        cmocka_unit_test(Q2_the_result_of_what_still_runs_is_400),
        cmocka_unit_test(Q3_cancel_of_what_runs_of_what_waits_and_of_what_is_over),
        cmocka_unit_test(Q5_cancel_twice_and_by_other_methods),
        cmocka_unit_test(Q19_a_result_over_10_MiB_fails_and_one_below_comes_whole),
        cmocka_unit_test(wrong_headers_of_a_submit_are_400),
    };
    return suite_main(argc, argv, "bad_queue", tests, sizeof tests / sizeof *tests, start, stop);
}
