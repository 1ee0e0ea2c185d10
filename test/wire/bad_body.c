/* docs/bad-input.md: bodies that are no good input, at `fal-ai/any-llm`; bad_endpoints.c takes them to the others. */
#include "bad_body.h"

#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define JSON "Content-Type: application/json\r\n"

/* CPU time of the server for one large body. Sanitizers take their part. */
#if defined(__SANITIZE_ADDRESS__)
#define CPU_MS 1500U
#else
#define CPU_MS 100U
#endif

static struct answer result(const char *id) {
    return result_of(server.port, QUEUE, "", id);
}

/* --- rows */

static void expect_refused(const struct row *r, const struct answer *a) {
    char value[16];
    expect_status(r->name, a, 422);
    expect_says(r->name, a, r->says);
    expect_says(r->name, a, r->says_too);
    assert_true(answer_header(a, "x-fal-retryable", value, sizeof value));
    assert_string_equal(value, "false");
    assert_true(answer_header(a, "x-fal-billable-units", value, sizeof value));
    assert_string_equal(value, "0");
}

static void expect_run(const struct row *r, const char *path) {
    struct answer a = post(server.port, path, JSON, r->body, r->len);
    if (r->when == GOOD)
        expect_status(r->name, &a, 200);
    else
        expect_refused(r, &a);
    answer_free(&a);
}

/* What was accepted runs, and its result is what the direct call says. */
static void expect_submit(const struct row *r) {
    struct answer a = post(server.port, QUEUE, JSON, r->body, r->len);
    if (r->when == AT_ONCE) {
        expect_refused(r, &a);
        answer_free(&a);
        return;
    }
    expect_status(r->name, &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    a = result(id);
    if (r->when == GOOD)
        expect_status(r->name, &a, 200);
    else
        expect_refused(r, &a);
    answer_free(&a);
    free(id);
}

static void row_is_answered_as_written(void **state) {
    const struct row *r = *state;
    unsigned long before = metric(server.port, "anyllm_queue_submitted_total");
    expect_run(r, RUN);
    expect_run(r, RUN "/stream");
    expect_run(r, "/fal-ai/any-llm");
    expect_submit(r);
    unsigned long stored = metric(server.port, "anyllm_queue_submitted_total") - before;
    assert_int_equal(stored, r->when == AT_ONCE ? 0 : 1);
}

/* --- L12 */

static void L12_POST_without_a_body_is_422(void **state) {
    static const char *const heads[] = {"", "Content-Length: 0\r\n", JSON};
    for (size_t i = 0; i < 3; i++) {
        struct text t = {0};
        text_printf(&t, "POST " RUN " HTTP/1.1\r\n" HOST "%s\r\n", heads[i]);
        struct answer a = ask(server.port, t.p, t.len);
        expect_status("L12", &a, 422);
        expect_says("L12", &a, "\"type\":\"missing\"");
        answer_free(&a);
        text_free(&t);
    }
}

/* --- J2, J8, J9: bodies that are made */

static void expect_both_refuse(const char *name, const struct text *body, const char *says) {
    static const char *const paths[] = {RUN, QUEUE};
    for (size_t i = 0; i < 2; i++) {
        unsigned long before = server_cpu_ms(&server);
        struct answer a = post(server.port, paths[i], JSON, body->p, body->len);
        unsigned long cpu = server_cpu_ms(&server) - before;
        if (a.status != 413) expect_status(name, &a, 422);
        expect_says(name, &a, says);
        if (a.body.len > 4096) fail_msg("%s: an answer of %zu bytes", name, a.body.len);
        if (cpu > CPU_MS) fail_msg("%s: %lu ms of CPU", name, cpu);
        answer_free(&a);
    }
}

static void J2_100000_brackets_are_422(void **state) {
    static const char *const units[] = {"[", "{\"a\":", "[{\"a\":"};
    for (size_t i = 0; i < 3; i++) {
        struct text t = {0};
        for (int n = 0; n < 100000; n++) text_puts(&t, units[i]);
        expect_both_refuse(units[i], &t, "nesting deeper than 64");
        text_free(&t);
    }
}

static void J2_closed_brackets_are_422(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"x\",\"a\":");
    text_fill(&t, '[', 100000);
    text_fill(&t, ']', 100000);
    text_puts(&t, "}");
    expect_both_refuse("closed", &t, "nesting deeper than 64");
    text_free(&t);
}

static size_t sent_prompt(char *out, size_t size) {
    yyjson_doc *stats = mock_stats(&mock);
    const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(stats), "last_body"));
    assert_non_null(text);
    yyjson_doc *body = yyjson_read(text, strlen(text), 0);
    yyjson_val *messages = yyjson_obj_get(yyjson_doc_get_root(body), "messages");
    yyjson_val *content = yyjson_obj_get(yyjson_arr_get_last(messages), "content");
    size_t len = yyjson_get_len(content);
    assert_true(len < size);
    memcpy(out, yyjson_get_str(content), len);
    yyjson_doc_free(body);
    yyjson_doc_free(stats);
    return len;
}

static void J8_escaped_NUL_is_stored_and_sent_whole(void **state) {
    static const char want[] = "before\0after";
    static const char body[] = "{\"prompt\":\"before\\u0000after\"}";
    char got[64];
    struct answer a = post_json(server.port, RUN, body);
    expect_status("J8", &a, 200);
    answer_free(&a);
    assert_int_equal(sent_prompt(got, sizeof got), sizeof want - 1);
    assert_memory_equal(got, want, sizeof want - 1);
    mock_reset(&mock);
    a = post_json(server.port, QUEUE, body);
    char *id = submitted_id(&a);
    answer_free(&a);
    a = result(id);
    expect_status("J8 queued", &a, 200);
    answer_free(&a);
    free(id);
    assert_int_equal(sent_prompt(got, sizeof got), sizeof want - 1);
    assert_memory_equal(got, want, sizeof want - 1);
}

static void J9_a_prompt_of_10_MB_is_413_or_422(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"");
    text_fill(&t, 'x', 10000000);
    text_puts(&t, "\"}");
    struct answer a = post(server.port, RUN, JSON, t.p, t.len);
    if (a.status != 413) expect_status("J9", &a, 422);
    if (a.body.len > 4096) fail_msg("an answer of %zu bytes", a.body.len);
    answer_free(&a);
    text_free(&t);
}

static void J9_a_million_keys_are_422(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"x\"");
    for (int i = 0; i < 1000000; i++) text_printf(&t, ",\"%d\":0", i);
    text_puts(&t, "}");
    expect_both_refuse("a million keys", &t, NULL);
    text_free(&t);
}

static void J9_a_key_of_1_MB_is_422(void **state) {
    static const char *const before[] = {"{\"prompt\":\"x\",\"", "{\"prompt\":\"x\",\"a\":{\"",
                                         "{\""};
    static const char *const behind[] = {"\":1}", "\":1}}", "\":1,\"prompt\":\"x\"}"};
    for (size_t i = 0; i < 3; i++) {
        struct text t = {0};
        text_puts(&t, before[i]);
        text_fill(&t, 'k', 1000000);
        text_puts(&t, behind[i]);
        expect_both_refuse("a key of 1 MB", &t, NULL);
        text_free(&t);
    }
}

/* Every key has the same hash by the function of Java and its like: "Aa" and "BB" do, and so do their rows. */
static void add_colliding_keys(struct text *t, unsigned bits, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        text_puts(t, ",\"");
        for (unsigned b = 0; b < bits; b++) text_puts(t, i >> b & 1 ? "Aa" : "BB");
        text_puts(t, "\":0");
    }
}

static void J9_keys_that_collide_cost_no_more(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"x\"");
    add_colliding_keys(&t, 17, 131072);
    text_puts(&t, "}");
    expect_both_refuse("131,072 colliding keys", &t, NULL);
    t.len = 0;
    text_puts(&t, "{\"prompt\":\"x\"");
    add_colliding_keys(&t, 16, 60000);
    text_puts(&t, "}");
    unsigned long before = server_cpu_ms(&server);
    struct answer a = post(server.port, RUN, JSON, t.p, t.len);
    assert_true(server_cpu_ms(&server) - before <= CPU_MS);
    answer_free(&a);
    text_free(&t);
}

/* A refusal repeats no more of the input than is small. */
static void a_422_does_not_repeat_large_values(void **state) {
    struct text t = {0};
    text_puts(&t, "{\"prompt\":\"x\",\"model\":\"");
    text_fill(&t, 'm', 50000);
    text_puts(&t, "\",\"temperature\":\"");
    text_fill(&t, 't', 50000);
    text_puts(&t, "\"}");
    struct answer a = post(server.port, RUN, JSON, t.p, t.len);
    expect_status("large values", &a, 422);
    expect_says("large values", &a, "\"loc\":[\"body\",\"model\"]");
    expect_says("large values", &a, "\"loc\":[\"body\",\"temperature\"]");
    assert_true(a.body.len < 4096);
    answer_free(&a);
    text_free(&t);
}

/* --- J13, J14: what the body is said to be */

static void J13_J14_content_types(void **state) {
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {
        {"", 200},
        {"Content-Type: text/plain\r\n", 200},
        {"Content-Type: text/plain; charset=utf-8\r\n", 200},
        {"Content-Type: application/json\r\n", 200},
        {"content-type: Application/JSON; Charset=\"UTF-8\"\r\n", 200},
        {"Content-Type: application/json; charset=utf-16\r\n", 415},
        {"Content-Type: application/json;charset=UTF-16LE\r\n", 415},
        {"Content-Type: application/json; charset=iso-8859-1\r\n", 415},
        {"Content-Type: application/x-www-form-urlencoded\r\n", 415},
        {"Content-Type: multipart/form-data; boundary=x\r\n", 415},
        {"Content-Type: text/html\r\n", 415},
        {"Content-Type: application/xml\r\n", 415},
        {"Content-Type: application/jsonx\r\n", 415},
        {"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 415},
        {"Content-Type: application/json\r\nContent-Encoding: br\r\n", 415},
        {"Content-Type: application/json\r\nContent-Encoding: gzip, identity\r\n", 415},
    };
    static const char *const paths[] = {RUN, RUN "/stream", QUEUE};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t p = 0; p < 3; p++) {
            struct answer a = post(server.port, paths[p], cases[i].headers, "{\"prompt\":\"x\"}",
                                   14);
            expect_status(cases[i].headers, &a, cases[i].status);
            answer_free(&a);
        }
}

/* --- J15: the query */

static void J15_queries(void **state) {
    static const struct {
        const char *path;
        unsigned status;
        const char *says;
    } cases[] = {
        {QUEUE "?fal_webhook=https://a.example/&fal_webhook=https://b.example/", 422,
         "[\"query\",\"fal_webhook\"]"},
        {QUEUE "?fal_webhook=https://a.example/&fal_webhook=https://a.example/", 422,
         "[\"query\",\"fal_webhook\"]"},
        {QUEUE "?fal_webhook=ftp://a.example/", 422, "scheme must be http or https"},
        {QUEUE "?fal_webhook=", 422, "[\"query\",\"fal_webhook\"]"},
        {QUEUE "?fal_webhook=http%3A%2F%2F127.0.0.1%2F", 422, "[\"query\",\"fal_webhook\"]"},
        {QUEUE "?fal_webhook=http://a.example/%", 422, "[\"query\",\"fal_webhook\"]"},
        {QUEUE "?fal_max_queue_length=x", 422, "[\"query\",\"fal_max_queue_length\"]"},
        {QUEUE "?fal_max_queue_length=-1", 422, "[\"query\",\"fal_max_queue_length\"]"},
    };
    unsigned long before = metric(server.port, "anyllm_queue_submitted_total");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = post_json(server.port, cases[i].path, "{\"prompt\":\"x\"}");
        expect_status(cases[i].path, &a, cases[i].status);
        expect_says(cases[i].path, &a, cases[i].says);
        answer_free(&a);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), before);
}

static void J15_logs_in_the_query(void **state) {
    static const struct {
        const char *query;
        unsigned status;
        const char *says;
    } cases[] = {{"", 200, "\"logs\":null"},
                 {"?logs=", 200, "\"logs\":null"},
                 {"?logs=0", 200, "\"logs\":null"},
                 {"?logs=false", 200, "\"logs\":null"},
                 {"?logs=1", 200, "\"logs\":["},
                 {"?logs=true", 200, "\"logs\":["},
                 {"?logs=2", 422, "[\"query\",\"logs\"]"},
                 {"?logs=yes;drop", 422, "[\"query\",\"logs\"]"}};
    struct answer a = post_json(server.port, QUEUE, "{\"prompt\":\"x\"}");
    char *id = submitted_id(&a), path[160];
    answer_free(&a);
    a = result(id);
    answer_free(&a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, QUEUE "/requests/%s/status%s", id, cases[i].query);
        a = get(server.port, path);
        expect_status(cases[i].query, &a, cases[i].status);
        expect_says(cases[i].query, &a, cases[i].says);
        answer_free(&a);
    }
    free(id);
}

/* --- the suite */

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
    text_puts(
        &config,
        "routes:\n  - { model: \"google/*\", to: [up] }\n  - { model: \"test/*\", to: [up] }\n");
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
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(L12_POST_without_a_body_is_422),
        cmocka_unit_test(J2_100000_brackets_are_422),
        cmocka_unit_test(J2_closed_brackets_are_422),
        cmocka_unit_test(J8_escaped_NUL_is_stored_and_sent_whole),
        cmocka_unit_test(J9_a_prompt_of_10_MB_is_413_or_422),
        cmocka_unit_test(J9_a_million_keys_are_422),
        cmocka_unit_test(J9_a_key_of_1_MB_is_422),
        cmocka_unit_test(J9_keys_that_collide_cost_no_more),
        cmocka_unit_test(a_422_does_not_repeat_large_values),
        cmocka_unit_test(J13_J14_content_types),
        cmocka_unit_test(J15_queries),
        cmocka_unit_test(J15_logs_in_the_query),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NROWS + NMADE];
    for (size_t i = 0; i < NROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_is_answered_as_written, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    memcpy(tests + NROWS, made, sizeof made);
    return suite_main(argc, argv, "bad_body", tests, NROWS + NMADE, start, stop);
}
