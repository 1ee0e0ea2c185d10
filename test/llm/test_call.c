/* Calls over sockets against the scripted upstream: the rows of docs/bad-input.md this room decides. */
#include "call_rig.h"

#include <stdlib.h>

static struct got g;

#define BEGINS "The meaning of life is a question"

/* fault_stream: when it differs; where the mock plays a fault only in one of the forms, the other says LLM_OK. */
static const struct {
    const char *rule, *path;
    enum llm_fault whole, stream;
} rows[] = {
    {"good", "/ok/v1", LLM_OK, LLM_OK},
    {"U1 refused", RIG_NOBODY, LLM_CONNECT, LLM_CONNECT},
    {"U3", "/status/401/v1", LLM_CREDENTIALS, LLM_CREDENTIALS},
    {"U3", "/status/403/v1", LLM_CREDENTIALS, LLM_CREDENTIALS},
    {"U4", "/status/400/v1", LLM_REFUSED, LLM_REFUSED},
    {"U4", "/status/422/v1", LLM_REFUSED, LLM_REFUSED},
    {"U5", "/status/404/v1", LLM_UNKNOWN_MODEL, LLM_UNKNOWN_MODEL},
    {"U6", "/status/429/v1", LLM_RATE_LIMITED, LLM_RATE_LIMITED},
    {"U7", "/status/429/error-code/insufficient_quota/v1", LLM_QUOTA, LLM_QUOTA},
    {"U7", "/status/402/v1", LLM_QUOTA, LLM_QUOTA},
    {"U8", "/status/500/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR},
    {"U8", "/status/502/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR},
    {"U9", "/status/503/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED},
    {"U9", "/status/504/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED},
    {"U9", "/status/524/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED},
    {"U9", "/status/529/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED},
    {"U10", "/silent/v1", LLM_TIMEOUT, LLM_TIMEOUT},
    {"U11", "/stall/e2/v1", LLM_OK, LLM_TIMEOUT},
    {"U11", "/stall/300/v1", LLM_TIMEOUT, LLM_TIMEOUT},
    {"U12", "/html/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U12", "/empty/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U12", "/null/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U12", "/no-choices/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U12", "/choices-empty/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U13 no head", "/cut/0/v1", LLM_CUT, LLM_CUT},
    {"U13 in the head", "/cut/30/v1", LLM_CUT, LLM_CUT},
    {"U13 FIN", "/cut/300/v1", LLM_CUT, LLM_CUT},
    {"U13 RST", "/reset/300/v1", LLM_CUT, LLM_CUT},
    {"U13 events", "/cut/e3/v1", LLM_OK, LLM_CUT},
    {"U13 no [DONE], no finish_reason", "/no-done/no-finish/v1", LLM_OK, LLM_CUT},
    {"U13 no [DONE]", "/no-done/v1", LLM_OK, LLM_CUT},
    {"U13 no finish_reason", "/no-finish/v1", LLM_OK, LLM_CUT},
    {"U14", "/error-in-stream/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR},
    {"U14", "/error-in-stream/503/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED},
    {"U14", "/error-in-stream/429/v1", LLM_RATE_LIMITED, LLM_RATE_LIMITED},
    {"U15 CR", "/cr-only/v1", LLM_OK, LLM_OK},
    {"U15 CRLF", "/crlf/v1", LLM_OK, LLM_OK},
    {"U15 BOM", "/bom/v1", LLM_OK, LLM_OK},
    {"U15 comments", "/comments/200/tokens/20/v1", LLM_OK, LLM_OK},
    {"U15 many data lines", "/data-lines/20/v1", LLM_OK, LLM_OK},
    {"U15 fields", "/sse-fields/v1", LLM_OK, LLM_OK},
    {"U15 no blank line at the end", "/no-blank/v1", LLM_OK, LLM_OK},
    {"U15 line", "/bigline/1200000/v1", LLM_OK, LLM_BAD_ANSWER},
    {"U16", "/onebyte/tokens/20/v1", LLM_OK, LLM_OK},
    {"U18 1xx", "/flood-1xx/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U18 headers", "/headers-big/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U19 longer", "/longer-cl/v1", LLM_CUT, LLM_OK},
    {"U19 shorter", "/shorter-cl/v1", LLM_BAD_ANSWER, LLM_OK},
    {"U20", "/redirect/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U20", "/status/301/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U21", "/gzip/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U21", "/encoding/br/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER},
    {"U22", "/usage/negative/v1", LLM_OK, LLM_OK},
    {"U22", "/usage/absurd/v1", LLM_OK, LLM_OK},
    {"U22", "/usage/missing/v1", LLM_OK, LLM_OK},
    {"U23", "/length-finish/v1", LLM_OK, LLM_OK},
    {"chunked", "/chunked/7/v1", LLM_OK, LLM_OK},
    {"until close", "/eof/v1", LLM_OK, LLM_OK},
};

static void check_row(size_t i, const char *how) {
    enum llm_fault want = strcmp(how, "direct") == 0 ? rows[i].whole : rows[i].stream;
    struct rig r;
    rig_open_one(&r, rows[i].path);
    rig_call(&r, &g, how);
    bool special = strstr(rows[i].path, "bigline") != NULL;
    bool good = g.fault == want &&
                (want != LLM_OK || special || strncmp(g.output, BEGINS, strlen(BEGINS)) == 0);
    if (!good)
        print_error("%s %s %s: fault %d, wanted %d: %s [%.40s]\n", rows[i].rule, rows[i].path, how,
                    (int)g.fault, (int)want, g.message, g.output);
    assert_true(good);
    assert_true(want == LLM_OK || g.message[0] != '\0');
    assert_null(strstr(g.message, "127.0.0.1"));
    assert_null(strstr(g.message, RIG_KEY));
    assert_string_equal(g.upstream, "u0");
    assert_string_equal(g.model, RIG_MODEL);
    struct llm_upstream_stats s;
    llm_get_stats(r.m, 0, &s);
    assert_int_equal(s.in_flight, 0);
    got_free(&g);
    rig_close(&r);
}

static void direct_calls_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "direct");
}

static void streamed_calls_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "stream");
}

static void queued_calls_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "queue");
}

/* --- T25: a cut stream never looks finished, wherever it is cut */

static void u13_cut_at_any_byte_is_no_success(void **state) {
    for (unsigned at = 1;; at += 7) {
        struct rig r;
        char path[64];
        snprintf(path, sizeof path, "/tokens/4/%s/%u/v1", at % 2 ? "cut" : "reset", at);
        rig_open_one(&r, path);
        rig_call(&r, &g, "stream");
        bool ok = g.fault == LLM_OK;
        if (ok)
            assert_string_equal(g.output, "The meaning of life");
        else
            assert_int_equal(g.fault, LLM_CUT);
        got_free(&g);
        rig_close(&r);
        if (ok) return; /* past the end */
        assert_true(at < 5000);
    }
}

/* --- what an answer carries */

static void usage_cost_and_finish_are_kept(void **state) {
    static const char *const hows[] = {"direct", "stream", "queue"};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        rig_open_one(&r, "/cost/reasoning/v1");
        rig_call(&r, &g, hows[i]);
        assert_true(g.usage.known);
        assert_true(g.usage.has_cost);
        assert_true(g.usage.cost_microusd > 0);
        assert_true(g.usage.completion_tokens > 0);
        assert_non_null(strstr(g.raw, "\"completion_tokens\""));
        assert_string_equal(g.finish, "stop");
        assert_string_equal(g.reasoning, ""); /* not asked for */
        assert_int_equal(g.shown, i == 1);
        got_free(&g);
        rig_close(&r);
    }
}

static void reasoning_is_given_when_asked_for(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/reasoning/v1");
    for (int i = 0; i < 2; i++) {
        struct llm_request q = rig_request(i == 0 ? "direct" : "stream");
        q.reasoning = true;
        got_init(&g, &r);
        g.call = llm_start(r.m, &q, i == 0 ? &rig_end_only : &rig_sink, &g, &err);
        rig_wait(&g);
        assert_true(strlen(g.reasoning) > 0);
        if (i == 1) expect_text(buf_slice(&g.thoughts), g.reasoning);
        got_free(&g);
    }
    rig_close(&r);
}

static void deltas_add_up_to_the_output(void **state) {
    struct rig r;
    rig_open_one(&r, "/surrogate-split/v1");
    rig_call(&r, &g, "stream");
    expect_text(buf_slice(&g.text), "smile \xf0\x9f\x98\x80 \xf0\x9f\x98\x80 caf\xc3\xa9 end");
    assert_string_equal(g.output, "smile \xf0\x9f\x98\x80 \xf0\x9f\x98\x80 caf\xc3\xa9 end");
    got_free(&g);
    rig_close(&r);
}

static void u17_broken_bytes_are_replaced(void **state) {
    struct rig r;
    rig_open_one(&r, "/badutf8/v1");
    rig_call(&r, &g, "stream");
    assert_string_equal(g.output, "before \xef\xbf\xbd\xef\xbf\xbd( after");
    got_free(&g);
    rig_call(&r, &g, "direct");
    assert_string_equal(g.output, "before \xef\xbf\xbd\xef\xbf\xbd( after");
    got_free(&g);
    rig_close(&r);
}

static void u14_keeps_what_came_before_the_error(void **state) {
    struct rig r;
    rig_open_one(&r, "/error-in-stream/v1");
    rig_call(&r, &g, "stream");
    assert_true(g.shown);
    assert_true(strlen(g.output) > 0);
    expect_text(buf_slice(&g.text), g.output);
    got_free(&g);
    rig_close(&r);
}

static void u6_retry_after_reaches_the_caller(void **state) {
    struct rig r;
    rig_open_one(&r, "/status/429/retry-after/7/v1");
    rig_call(&r, &g, "direct");
    assert_int_equal(g.retry_after_ms, 7000);
    got_free(&g);
    rig_close(&r);
}

static void u26_an_echoed_key_goes_nowhere(void **state) {
    static const char *const paths[] = {"/echo-auth/v1", "/status/400/echo-auth/v1",
                                        "/status/503/echo-auth/v1"};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        rig_open_one(&r, paths[i]);
        rig_call(&r, &g, "queue");
        assert_int_not_equal(g.fault, LLM_OK);
        assert_null(strstr(g.message, "CANARY"));
        assert_null(strstr(g.log, "CANARY"));
        got_free(&g);
        rig_close(&r);
    }
}

static void log_lines_tell_the_way(void **state) {
    struct rig r;
    struct llm_error err;
    const char *paths[] = {"/status/503/v1", "/sse-interval/5/tokens/5/v1"};
    rig_open(&r, paths, 2);
    struct llm_request q = rig_request("queue");
    q.model = SLICE("google/gemini-flash-1.5");
    got_init(&g, &r);
    g.call = llm_start(r.m, &q, &rig_queue, &g, &err);
    rig_wait(&g);
    static const char *const lines[] = {
        "INFO upstream u0 answers; google/gemini-flash-1.5 was asked for, google/gemini-2.5-flash-lite is used\n",
        "WARN u0: the upstream is overloaded",
        "WARN trying upstream u1\n",
        "INFO upstream u1 answers; ",
        "INFO first token after ",
        " tokens in 0.0",
        " tokens per second"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strstr(g.log, lines[i]) == NULL) fail_msg("no line: %s\nin:\n%s", lines[i], g.log);
    assert_string_equal(g.model, "google/gemini-2.5-flash-lite");
    got_free(&g);
    rig_close(&r);
}

static int start(void **state) {
    return mock_start(NULL);
}

static int stop(void **state) {
    mock_stop();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_calls_meet_each_fault_as_promised),
        cmocka_unit_test(streamed_calls_meet_each_fault_as_promised),
        cmocka_unit_test(queued_calls_meet_each_fault_as_promised),
        cmocka_unit_test(u13_cut_at_any_byte_is_no_success),
        cmocka_unit_test(usage_cost_and_finish_are_kept),
        cmocka_unit_test(reasoning_is_given_when_asked_for),
        cmocka_unit_test(deltas_add_up_to_the_output),
        cmocka_unit_test(u17_broken_bytes_are_replaced),
        cmocka_unit_test(u14_keeps_what_came_before_the_error),
        cmocka_unit_test(u6_retry_after_reaches_the_caller),
        cmocka_unit_test(u26_an_echoed_key_goes_nowhere),
        cmocka_unit_test(log_lines_tell_the_way),
    };
    return cmocka_run_group_tests_name("llm/call", tests, start, stop);
}
