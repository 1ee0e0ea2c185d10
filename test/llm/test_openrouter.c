/* OpenRouter's wire, spoken by the scripted upstream as design.md section 8 says: comments, late usage with cost, its error
 * objects before and after the first byte. */
#include "call_rig.h"

static struct got g;

static void open_router(struct rig *r, const char *path) {
    rig_open_one(r, path);
    r->upstreams[0].kind = UPSTREAM_OPENROUTER;
}

static void end(struct rig *r) {
    got_free(&g);
    rig_close(r);
}

static void usage_and_cost_come_last_and_are_kept(void **state) {
    static const struct {
        const char *how;
        bool raw;
    } rows[] = {
        {"direct", false}, {"stream", false}, {"queue", false}, {"direct", true}, {"stream", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig r;
        struct llm_request q = rig_request(rows[i].how);
        if (rows[i].raw) q.members = SLICE("\"messages\":[]");
        open_router(&r, "/openrouter/tokens/12/v1");
        rig_call_with(&r, &g, rows[i].how, &q);
        assert_int_equal(g.fault, LLM_OK);
        assert_true(g.usage.known && g.usage.has_cost);
        assert_int_equal(g.usage.cost_microusd, 560);
        assert_int_equal(g.usage.completion_tokens, 12);
        assert_int_equal(g.usage.cached_tokens, 3);
        assert_int_equal(g.usage.reasoning_tokens, 2);
        assert_non_null(strstr(g.raw, "\"cost\":0.0005595"));
        end(&r);
    }
}

static void comments_are_read_over(void **state) {
    struct rig r;
    struct llm_request q = rig_request("stream");
    q.members = SLICE("\"messages\":[]");
    open_router(&r, "/openrouter/tokens/40/v1");
    rig_call_with(&r, &g, "stream", &q);
    assert_int_equal(g.fault, LLM_OK);
    struct slice sse = buf_slice(&g.sse);
    assert_null(memmem(sse.ptr, sse.len, "PROCESSING", 10));
    assert_non_null(memmem(sse.ptr, sse.len, "\"provider\":\"Mock\"", 17));
    end(&r);
}

/* The price of the catalogue stands in where the upstream tells no cost. */
static void list_price_is_used_where_no_cost_is_told(void **state) {
    struct rig r;
    open_router(&r, "/tokens/1000/v1");
    rig_call(&r, &g, "direct");
    const struct catalogue_model *m = catalogue_find(r.catalogue, SLICE(RIG_MODEL));
    if (m->has_price) assert_true(g.usage.has_cost);
    end(&r);
}

/* A price is the model's, whoever answers it; the model of a local engine has none. */
static void list_price_is_used_at_other_upstreams_too(void **state) {
    struct rig r;
    rig_open_one(&r, "/tokens/1000/v1");
    rig_call(&r, &g, "direct");
    const struct catalogue_model *m = catalogue_find(r.catalogue, SLICE(RIG_MODEL));
    assert_int_equal(g.usage.has_cost, m->has_price);
    end(&r);
}

static const struct {
    const char *path;
    enum llm_fault want;
    int64_t retry_after_ms;
    bool shown;
} faults[] = {
    {"/openrouter/status/400/v1", LLM_REFUSED, -1, false},
    {"/openrouter/status/400/error-code/context_length_exceeded/v1", LLM_REFUSED, -1, false},
    {"/openrouter/status/403/error-code/content_policy_violation/v1", LLM_CONTENT_POLICY, -1,
     false},
    {"/openrouter/status/401/v1", LLM_CREDENTIALS, -1, false},
    {"/openrouter/status/402/v1", LLM_QUOTA, -1, false},
    {"/openrouter/status/403/v1", LLM_CREDENTIALS, -1, false},
    {"/openrouter/status/429/v1", LLM_RATE_LIMITED, 2000, false},
    {"/openrouter/status/502/v1", LLM_UPSTREAM_ERROR, -1, false},
    {"/openrouter/status/503/v1", LLM_UPSTREAM_OVERLOADED, 2000, false},
    {"/openrouter/status/504/v1", LLM_UPSTREAM_OVERLOADED, -1, false},
    {"/openrouter/error-in-stream/v1", LLM_UPSTREAM_ERROR, -1, true},
    {"/openrouter/error-in-stream/429/v1", LLM_RATE_LIMITED, -1, true},
    {"/openrouter/error-in-stream/503/v1", LLM_UPSTREAM_OVERLOADED, -1, true},
    {"/openrouter/error-in-stream/400/v1", LLM_REFUSED, -1, true},
    {"/openrouter/error-in-stream/502/error-code/content_policy_violation/v1", LLM_CONTENT_POLICY,
     -1, true},
};

static void errors_before_and_after_the_first_byte_are_classified(void **state) {
    for (size_t i = 0; i < 2 * sizeof faults / sizeof *faults; i++) {
        struct rig r;
        size_t row = i / 2;
        struct llm_request q = rig_request("stream");
        if (i % 2) q.members = SLICE("\"messages\":[]");
        open_router(&r, faults[row].path);
        rig_call_with(&r, &g, "stream", &q);
        if (g.fault != faults[row].want || g.retry_after_ms != faults[row].retry_after_ms)
            fail_msg("%s: fault %d, Retry-After %lld", faults[row].path, (int)g.fault,
                     (long long)g.retry_after_ms);
        assert_int_equal(g.shown, faults[row].shown);
        assert_true(g.message[0] != '\0');
        end(&r);
    }
}

/* A filter's silence is no answer; what a filter cut short is one, and says so (U23). */
static void withheld_answer_is_a_content_policy_error(void **state) {
    static const char *const hows[] = {"direct", "stream", "queue"};
    for (size_t i = 0; i < 6; i++) {
        struct rig r;
        bool text = i >= 3;
        open_router(&r, text ? "/finish/content_filter/v1" : "/finish/content_filter/mute/v1");
        rig_call(&r, &g, hows[i % 3]);
        assert_int_equal(g.fault, text ? LLM_OK : LLM_CONTENT_POLICY);
        if (text) assert_string_equal(g.finish, "content_filter");
        end(&r);
    }
}

static void model_may_have_nothing_to_say(void **state) {
    static const char *const hows[] = {"direct", "stream", "queue"};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        open_router(&r, "/openrouter/mute/v1");
        rig_call(&r, &g, hows[i]);
        assert_int_equal(g.fault, LLM_OK);
        assert_string_equal(g.output, "");
        end(&r);
    }
}

static void raw_call_gets_what_it_asked_for_or_an_error(void **state) {
    for (int i = 0; i < 2; i++) {
        struct rig r;
        struct llm_request q = rig_request(i == 0 ? "stream" : "direct");
        q.members = SLICE("\"messages\":[]");
        open_router(&r, i == 0 ? "/whole/v1" : "/streams/v1");
        rig_call_with(&r, &g, i == 0 ? "stream" : "direct", &q);
        assert_int_equal(g.fault, LLM_BAD_ANSWER);
        assert_false(g.shown);
        end(&r);
    }
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
        cmocka_unit_test(usage_and_cost_come_last_and_are_kept),
        cmocka_unit_test(comments_are_read_over),
        cmocka_unit_test(list_price_is_used_where_no_cost_is_told),
        cmocka_unit_test(list_price_is_used_at_other_upstreams_too),
        cmocka_unit_test(errors_before_and_after_the_first_byte_are_classified),
        cmocka_unit_test(withheld_answer_is_a_content_policy_error),
        cmocka_unit_test(model_may_have_nothing_to_say),
        cmocka_unit_test(raw_call_gets_what_it_asked_for_or_an_error),
    };
    return cmocka_run_group_tests_name("llm/openrouter", tests, start, stop);
}
