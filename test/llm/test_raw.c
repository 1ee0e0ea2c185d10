/* OpenAI's dialect: the caller's members go up as they are, the answer comes down as it came, but checked. */
#include "call_rig.h"

static struct got g;

#define MEMBERS "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"foo\":1"

static void call(struct rig *r, const char *how, bool wants_usage) {
    struct llm_request q = rig_request(how);
    q.members = SLICE(MEMBERS);
    q.wants_usage = wants_usage;
    if (strcmp(how, "queue") == 0) q.stream = false;
    rig_call_with(r, &g, how, &q);
}

static void end(struct rig *r) {
    struct llm_upstream_stats s;
    llm_get_stats(r->m, 0, &s);
    assert_int_equal(s.in_flight, 0);
    got_free(&g);
    rig_close(r);
}

static bool contains(const struct buf *b, const char *what) {
    struct slice s = buf_slice(b);
    return memmem(s.ptr, s.len, what, strlen(what)) != NULL;
}

static size_t count(const struct buf *b, const char *what) {
    struct slice s = buf_slice(b);
    size_t n = 0;
    for (const char *at; (at = memmem(s.ptr, s.len, what, strlen(what))) != NULL; n++)
        s = slice_from(s, (size_t)(at - s.ptr) + strlen(what));
    return n;
}

/* --- what each fault becomes; U rows of docs/bad-input.md. `shown`: some of it had reached the caller already */

static const struct {
    const char *rule, *path;
    enum llm_fault whole, stream;
    bool shown;
} rows[] = {
    {"good", "/ok/v1", LLM_OK, LLM_OK, true},
    {"U1 refused", RIG_NOBODY, LLM_CONNECT, LLM_CONNECT, false},
    {"U3", "/status/401/v1", LLM_CREDENTIALS, LLM_CREDENTIALS, false},
    {"U4", "/status/400/v1", LLM_REFUSED, LLM_REFUSED, false},
    {"U5", "/status/404/v1", LLM_UNKNOWN_MODEL, LLM_UNKNOWN_MODEL, false},
    {"U6", "/status/429/v1", LLM_RATE_LIMITED, LLM_RATE_LIMITED, false},
    {"U8", "/status/500/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR, false},
    {"U9", "/status/503/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED, false},
    {"U10", "/silent/v1", LLM_TIMEOUT, LLM_TIMEOUT, false},
    {"U11", "/stall/e3/v1", LLM_OK, LLM_TIMEOUT, true},
    {"U12", "/html/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U12", "/empty/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U12", "/null/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U12", "/no-choices/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U12", "/choices-empty/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U13 events", "/cut/e3/v1", LLM_OK, LLM_CUT, true},
    {"U13 only the role", "/cut/e1/v1", LLM_OK, LLM_CUT, false},
    {"U13 RST", "/reset/e3/v1", LLM_OK, LLM_CUT, true},
    {"U13 no [DONE]", "/no-done/v1", LLM_OK, LLM_CUT, true},
    {"U13 no finish_reason", "/no-finish/v1", LLM_OK, LLM_CUT, true},
    {"U14", "/error-in-stream/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR, true},
    {"U14", "/error-in-stream/503/v1", LLM_UPSTREAM_OVERLOADED, LLM_UPSTREAM_OVERLOADED, true},
    {"U15 CR", "/cr-only/v1", LLM_OK, LLM_OK, true},
    {"U15 CRLF", "/crlf/v1", LLM_OK, LLM_OK, true},
    {"U15 BOM", "/bom/v1", LLM_OK, LLM_OK, true},
    {"U15 comments", "/comments/200/tokens/20/v1", LLM_OK, LLM_OK, true},
    {"U15 many data lines", "/data-lines/20/v1", LLM_OK, LLM_OK, true},
    {"U15 fields", "/sse-fields/v1", LLM_OK, LLM_OK, true},
    {"U15 no blank line at the end", "/no-blank/v1", LLM_OK, LLM_OK, true},
    {"U16", "/onebyte/tokens/20/v1", LLM_OK, LLM_OK, true},
    {"U20", "/redirect/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U21", "/gzip/v1", LLM_BAD_ANSWER, LLM_BAD_ANSWER, false},
    {"U23", "/length-finish/v1", LLM_OK, LLM_OK, true},
    {"U23", "/finish/content_filter/v1", LLM_OK, LLM_OK, true},
    {"finish_reason error", "/finish/error/v1", LLM_UPSTREAM_ERROR, LLM_UPSTREAM_ERROR, true},
};

static void check_row(size_t i, const char *how) {
    bool stream = strcmp(how, "stream") == 0;
    enum llm_fault want = stream ? rows[i].stream : rows[i].whole;
    struct rig r;
    rig_open_one(&r, rows[i].path);
    call(&r, how, false);
    if (g.fault != want)
        fail_msg("%s %s %s: fault %d, wanted %d: %s", rows[i].rule, rows[i].path, how, (int)g.fault,
                 (int)want, g.message);
    assert_int_equal(g.deltas, 0);
    assert_int_equal(g.shown, stream && rows[i].shown);
    assert_int_equal(g.events > 0, g.shown);
    assert_int_equal(g.starts, g.shown);
    assert_int_equal(buf_len(&g.body) > 0, !stream && want == LLM_OK);
    assert_false(contains(&g.sse, "[DONE]"));
    assert_false(contains(&g.sse, "\"error\""));
    if (want == LLM_OK && stream) assert_true(contains(&g.sse, "\"finish_reason\":\""));
    if (want == LLM_OK) assert_true(g.usage.known);
    end(&r);
}

static void raw_calls_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "direct");
}

static void raw_streams_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "stream");
}

static void raw_queued_calls_meet_each_fault_as_promised(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(i, "queue");
}

/* --- what is given on */

static void whole_answer_is_the_upstreams_own(void **state) {
    struct rig r;
    rig_open_one(&r, "/tokens/2/cost/reasoning/v1");
    call(&r, "direct", false);
    assert_true(slice_starts(buf_slice(&g.body), SLICE("{\"id\":\"chatcmpl-mock-")));
    assert_true(slice_ends(buf_slice(&g.body),
                           SLICE("\"cost\":0.000123},\"system_fingerprint\":\"fp_mock\"}")));
    assert_true(contains(&g.body, "\"reasoning\":\"First I think."));
    assert_true(g.usage.has_cost);
    assert_string_equal(g.finish, "stop");
    end(&r);
}

static void stream_is_the_upstreams_own(void **state) {
    struct rig r;
    rig_open_one(&r, "/tokens/3/reasoning/comments/sse-fields/v1");
    call(&r, "stream", false);
    assert_int_equal(count(&g.sse, "data: {\"id\":\"chatcmpl-mock-"), 6);
    assert_int_equal(count(&g.sse, "\n\n"), 6);
    assert_int_equal(count(&g.sse, "\n"), 12);
    assert_true(slice_ends(buf_slice(&g.sse),
                           SLICE("\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                 "\"finish_reason\":\"stop\"}]}\n\n")));
    end(&r);
}

static void usage_chunk_is_for_who_asked(void **state) {
    for (int wants = 0; wants < 2; wants++) {
        struct rig r;
        rig_open_one(&r, "/tokens/3/v1");
        call(&r, "stream", wants);
        assert_int_equal(count(&g.sse, "\"choices\":[],\"usage\":{"), wants);
        assert_true(g.usage.known);
        assert_int_equal(g.usage.completion_tokens, 3);
        end(&r);
    }
}

static void many_data_lines_become_one(void **state) {
    struct rig r;
    rig_open_one(&r, "/tokens/2/data-lines/9/v1");
    call(&r, "stream", false);
    assert_int_equal(count(&g.sse, "data: "), 4);
    assert_int_equal(count(&g.sse, "\n"), 8);
    end(&r);
}

static void halves_of_a_pair_are_left_to_the_caller(void **state) {
    struct rig r;
    rig_open_one(&r, "/lone-surrogate/v1");
    call(&r, "stream", false);
    assert_int_equal(g.fault, LLM_OK);
    assert_true(contains(&g.sse, "\\ud83d\""));
    assert_true(contains(&g.sse, "\"\\ude00"));
    end(&r);
}

static void u17_bytes_that_are_no_utf8_are_replaced(void **state) {
    struct rig r;
    static const char *const hows[] = {"stream", "direct"};
    for (int i = 0; i < 2; i++) {
        rig_open_one(&r, "/badutf8/v1");
        call(&r, hows[i], false);
        const struct buf *got = i == 0 ? &g.sse : &g.body;
        assert_int_equal(g.fault, LLM_OK);
        assert_int_equal(count(got, "\xef\xbf\xbd"), 2);
        assert_false(contains(got, "\xff"));
        end(&r);
    }
}

/* OpenAI's SDKs branch on it. Only of the caller's own mistakes, and only what is a name and no key. */
static void code_of_a_mistake_reaches_the_caller(void **state) {
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"/status/400/error-code/context_length_exceeded/v1", "context_length_exceeded"},
        {"/openrouter/status/400/error-code/context_length_exceeded/v1", "context_length_exceeded"},
        {"/status/400/error-code/content_policy_violation/v1", "content_policy_violation"},
        {"/status/400/v1", ""},
        {"/status/400/error-code/no%20name/v1", ""},
        {"/status/400/error-code/x-" RIG_KEY "/v1", ""},
        {"/status/503/error-code/secret_pool_7/v1", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        rig_open_one(&r, cases[i].path);
        call(&r, i % 2 ? "stream" : "direct", false);
        if (strcmp(g.code, cases[i].want) != 0) fail_msg("%s: %s", cases[i].path, g.code);
        end(&r);
    }
}

static void failover_is_possible_until_more_than_a_role_came(void **state) {
    static const char *const firsts[] = {"/cut/e1/v1", "/cut/e2/v1", "/status/503/v1"};
    static const enum llm_fault want[] = {LLM_OK, LLM_CUT, LLM_OK};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        const char *paths[] = {firsts[i], "/tokens/2/v1"};
        rig_open(&r, paths, 2);
        call(&r, "stream", false);
        assert_int_equal(g.fault, want[i]);
        assert_string_equal(g.upstream, want[i] == LLM_OK ? "u1" : "u0");
        assert_int_equal(count(&g.sse, "\"role\""), 1);
        end(&r);
    }
}

static void until_events(struct rig *r, size_t n) {
    while (g.events < n && g.ends == 0) uv_run(&r->loop.uv, UV_RUN_ONCE);
    assert_int_equal(g.ends, 0);
}

static void cancel_and_pause_work_in_on_events(void **state) {
    struct rig r;
    struct llm_error err;
    struct llm_request q = rig_request("stream");
    q.members = SLICE(MEMBERS);
    rig_open_one(&r, "/sse-interval/1/tokens/100000/v1");
    got_init(&g, &r);
    g.cancel_at_delta = 2;
    g.call = llm_start(r.m, &q, &rig_sink, &g, &err);
    until_events(&r, 2);
    rig_turns(&r, 30);
    assert_int_equal(g.events, 2);
    assert_int_equal(g.ends, 0);
    got_free(&g);
    got_init(&g, &r);
    g.pause_at_delta = 1;
    g.call = llm_start(r.m, &q, &rig_sink, &g, &err);
    until_events(&r, 1);
    rig_turns(&r, 30);
    assert_int_equal(g.events, 1);
    llm_resume(g.call);
    until_events(&r, 3);
    llm_cancel(g.call);
    end(&r);
}

static void sent_is_said_once_it_left(void **state) {
    struct rig r;
    struct llm_error err;
    struct llm_request q = rig_request("queue");
    struct got first;
    rig_open_one(&r, "/silent/v1");
    r.upstreams[0].concurrency = 1;
    got_init(&first, &r);
    got_init(&g, &r);
    first.call = llm_start(r.m, &q, &rig_end_only, &first, &err);
    g.call = llm_start(r.m, &q, &rig_end_only, &g, &err);
    assert_false(llm_sent(first.call)); /* connecting */
    for (int i = 0; i < 100 && !llm_sent(first.call); i++) uv_run(&r.loop.uv, UV_RUN_ONCE);
    assert_true(llm_sent(first.call));
    assert_false(llm_sent(g.call)); /* waits for the slot */
    llm_cancel(first.call);
    for (int i = 0; i < 100 && !llm_sent(g.call); i++) uv_run(&r.loop.uv, UV_RUN_ONCE);
    assert_true(llm_sent(g.call));
    llm_cancel(g.call);
    got_free(&first);
    end(&r);
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
        cmocka_unit_test(raw_calls_meet_each_fault_as_promised),
        cmocka_unit_test(raw_streams_meet_each_fault_as_promised),
        cmocka_unit_test(raw_queued_calls_meet_each_fault_as_promised),
        cmocka_unit_test(whole_answer_is_the_upstreams_own),
        cmocka_unit_test(stream_is_the_upstreams_own),
        cmocka_unit_test(usage_chunk_is_for_who_asked),
        cmocka_unit_test(many_data_lines_become_one),
        cmocka_unit_test(halves_of_a_pair_are_left_to_the_caller),
        cmocka_unit_test(u17_bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(code_of_a_mistake_reaches_the_caller),
        cmocka_unit_test(failover_is_possible_until_more_than_a_role_came),
        cmocka_unit_test(cancel_and_pause_work_in_on_events),
        cmocka_unit_test(sent_is_said_once_it_left),
    };
    return cmocka_run_group_tests_name("llm/raw", tests, start, stop);
}
