/* Slots, order, failover, back-pressure, cancel. */
#include "call_rig.h"

#include <stdio.h>
#include <stdlib.h>

static struct got a, b, c;

static struct llm_call *begin(struct rig *r, struct got *g, const char *how,
                              struct llm_error *err) {
    struct llm_request q = rig_request(how);
    const struct llm_sink *sink = strcmp(how, "direct") == 0   ? &rig_end_only
                                  : strcmp(how, "stream") == 0 ? &rig_sink
                                                               : &rig_queue;
    got_init(g, r);
    return g->call = llm_start(r->m, &q, sink, g, err);
}

static struct llm_upstream_stats stats(struct rig *r, size_t i) {
    struct llm_upstream_stats s;
    llm_get_stats(r->m, i, &s);
    return s;
}

static void end(struct rig *r) {
    got_free(&a);
    got_free(&b);
    got_free(&c);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memset(&c, 0, sizeof c);
    rig_close(r);
}

/* --- slots */

static void direct_call_over_the_slots_is_busy(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/delay/50/v1");
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "queue", &err));
    assert_null(begin(&r, &b, "direct", &err));
    assert_int_equal(err.fault, LLM_BUSY);
    assert_int_equal(stats(&r, 0).in_flight, 1);
    assert_int_equal(llm_capacity(r.m), 0);
    rig_wait(&a);
    assert_int_equal(llm_capacity(r.m), 1);
    rig_turns(&r, 1);
    assert_true(r.capacity_calls > 0);
    got_free(&b);
    assert_non_null(begin(&r, &b, "direct", &err));
    rig_wait(&b);
    assert_int_equal(b.fault, LLM_OK);
    end(&r);
}

static void queued_calls_get_slots_in_order(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/delay/30/v1");
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "queue", &err));
    assert_non_null(begin(&r, &b, "queue", &err));
    assert_non_null(begin(&r, &c, "queue", &err));
    assert_int_equal(stats(&r, 0).waiting, 2);
    assert_int_equal(llm_capacity(r.m), 0);
    rig_wait(&a);
    assert_int_equal(b.ends + c.ends, 0);
    rig_wait(&b);
    assert_int_equal(c.ends, 0);
    rig_wait(&c);
    assert_int_equal(a.fault + b.fault + c.fault, LLM_OK);
    assert_non_null(strstr(c.log, "waiting for a slot of u0: 1 running, 1 before this request"));
    end(&r);
}

static void nobody_overtakes_who_waits(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/delay/30/v1");
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "queue", &err));
    assert_non_null(begin(&r, &b, "queue", &err));
    rig_wait(&a); /* b has the slot now, though it has not begun yet */
    assert_null(begin(&r, &c, "direct", &err));
    assert_int_equal(err.fault, LLM_BUSY);
    rig_wait(&b);
    end(&r);
}

static void cancel_frees_the_slot_for_who_waits(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/v1");
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "queue", &err));
    assert_non_null(begin(&r, &b, "queue", &err));
    assert_non_null(begin(&r, &c, "queue", &err));
    llm_cancel(b.call); /* while it waits */
    llm_cancel(a.call); /* before it was sent */
    rig_wait(&c);
    assert_int_equal(a.ends + b.ends, 0);
    assert_int_equal(c.fault, LLM_OK);
    assert_int_equal(stats(&r, 0).in_flight + stats(&r, 0).waiting, 0);
    end(&r);
}

static void full_upstream_spills_to_the_next(void **state) {
    struct rig r;
    struct llm_error err;
    const char *paths[] = {"/delay/100/v1", "/v1"};
    rig_open(&r, paths, 2);
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "direct", &err));
    assert_non_null(begin(&r, &b, "direct", &err));
    rig_wait(&b);
    assert_string_equal(b.upstream, "u1");
    rig_wait(&a);
    assert_string_equal(a.upstream, "u0");
    end(&r);
}

/* --- failover */

static const struct {
    const char *first, *second, *how;
    enum llm_fault want;
    const char *upstream;
} fails[] = {
    {"/status/503/v1", "/v1", "direct", LLM_OK, "u1"},
    {"/status/500/v1", "/v1", "stream", LLM_OK, "u1"},
    {"/status/429/v1", "/v1", "queue", LLM_OK, "u1"},
    {"/status/401/v1", "/v1", "direct", LLM_OK, "u1"},
    {"/status/404/v1", "/v1", "direct", LLM_OK, "u1"},
    {RIG_NOBODY, "/v1", "direct", LLM_OK, "u1"},
    {"/silent/v1", "/v1", "stream", LLM_OK, "u1"},
    {"/html/v1", "/v1", "stream", LLM_OK, "u1"},
    {"/cut/200/v1", "/v1", "stream", LLM_OK, "u1"},
    {"/status/400/v1", "/v1", "direct", LLM_REFUSED, "u0"},
    {"/status/422/v1", "/v1", "stream", LLM_REFUSED, "u0"},
    {"/status/503/v1", "/status/400/v1", "direct", LLM_REFUSED, "u1"},
    {"/status/503/v1", "/status/429/retry-after/9/v1", "direct", LLM_RATE_LIMITED, "u1"},
    {"/cut/e4/v1", "/v1", "stream", LLM_CUT, "u0"},
    {"/cut/e4/v1", "/v1", "queue", LLM_CUT, "u0"},
    {"/error-in-stream/v1", "/v1", "stream", LLM_UPSTREAM_ERROR, "u0"},
};

static void failover_is_before_output_and_never_for_the_callers_mistake(void **state) {
    for (size_t i = 0; i < sizeof fails / sizeof *fails; i++) {
        struct rig r;
        const char *paths[] = {fails[i].first, fails[i].second};
        rig_open(&r, paths, 2);
        rig_call(&r, &a, fails[i].how);
        if (a.fault != fails[i].want || strcmp(a.upstream, fails[i].upstream) != 0)
            fail_msg("%s then %s, %s: fault %d by %s", fails[i].first, fails[i].second,
                     fails[i].how, (int)a.fault, a.upstream);
        assert_int_equal(stats(&r, 1).retries, strcmp(a.upstream, "u1") == 0);
        assert_int_equal(stats(&r, 0).in_flight + stats(&r, 1).in_flight, 0);
        end(&r);
    }
}

static void no_fallback_tries_the_first_upstream_only(void **state) {
    struct rig r;
    const char *paths[] = {"/status/503/v1", "/v1"};
    struct llm_request q = rig_request("direct");
    q.no_fallback = true;
    rig_open(&r, paths, 2);
    r.config.fallback_model = SLICE("meta-llama/llama-4-scout");
    rig_call_with(&r, &a, "direct", &q);
    assert_int_equal(a.fault, LLM_UPSTREAM_OVERLOADED);
    assert_int_equal(stats(&r, 0).calls, 1);
    assert_int_equal(stats(&r, 1).calls, 0);
    end(&r);
}

/* The first upstream is full when the hint is new; afterwards it is free, and the hint still leads to the second. */
static void hint_leads_back_to_the_upstream_that_answered(void **state) {
    struct rig r;
    struct llm_error err;
    const char *paths[] = {"/delay/100/v1", "/v1"};
    struct llm_request q = rig_request("direct");
    q.hint = SLICE("chat-1");
    rig_open(&r, paths, 2);
    r.upstreams[0].concurrency = 1;
    assert_non_null(begin(&r, &a, "direct", &err));
    rig_call_with(&r, &b, "direct", &q);
    assert_string_equal(b.upstream, "u1");
    rig_wait(&a);
    got_free(&b);
    rig_call_with(&r, &b, "direct", &q);
    assert_string_equal(b.upstream, "u1");
    got_free(&b);
    q.hint = SLICE("chat-2");
    rig_call_with(&r, &b, "direct", &q);
    assert_string_equal(b.upstream, "u0");
    got_free(&b);
    q.hint = SLICE("chat-1");
    r.upstreams[1].concurrency = 0; /* full */
    rig_call_with(&r, &b, "direct", &q);
    assert_string_equal(b.upstream, "u0");
    end(&r);
}

static void audio_goes_to_who_can_take_it(void **state) {
    static const struct slice sound = S("https://x.example/a.mp3");
    struct rig r;
    struct llm_error err;
    const char *paths[] = {"/v1", "/v1"};
    struct llm_request q = rig_request("direct");
    q.naudios = 1;
    q.audios = &sound;
    rig_open(&r, paths, 2);
    r.upstreams[0].kind = UPSTREAM_OPENROUTER;
    rig_call_with(&r, &a, "direct", &q);
    assert_string_equal(a.upstream, "u1");
    r.upstreams[1].kind = UPSTREAM_OPENROUTER;
    assert_null(llm_start(r.m, &q, &rig_end_only, &b, &err));
    assert_int_equal(err.fault, LLM_UNSUPPORTED);
    assert_true(
        slice_is(err.message, "the upstream of this model takes audio only as a base64 data URI"));
    end(&r);
}

static bool can_fetch(struct rig *r, bool sound) {
    return llm_can_fetch(r->m, rig_request("direct").model, sound);
}

static void addresses_are_fetched_where_all_of_the_route_can(void **state) {
    struct rig r;
    const char *paths[] = {"/v1", "/v1"};
    rig_open(&r, paths, 2);
    assert_true(can_fetch(&r, false) && can_fetch(&r, true));
    r.upstreams[1].kind = UPSTREAM_OPENROUTER;
    assert_true(can_fetch(&r, false) && !can_fetch(&r, true));
    r.upstreams[1].kind = UPSTREAM_LOCAL;
    r.upstreams[1].alias = SLICE("small");
    assert_false(can_fetch(&r, false) || can_fetch(&r, true));
    r.route.nto = 1; /* the local one only as fallback_model */
    r.config.fallback_model = SLICE("small");
    assert_true(can_fetch(&r, false) && can_fetch(&r, true));
    r.upstreams[1].kind = UPSTREAM_OPENAI;
    rig_close(&r);
}

static void u12_is_asked_for_once_more(void **state) {
    struct rig r;
    rig_open_one(&r, "/flaky/1/html/v1");
    rig_call(&r, &a, "direct");
    assert_int_equal(a.fault, LLM_OK);
    assert_int_equal(stats(&r, 0).calls, 2);
    end(&r);
    rig_open_one(&r, "/flaky/2/no-choices/v1");
    rig_call(&r, &a, "direct");
    assert_int_equal(a.fault, LLM_BAD_ANSWER);
    assert_int_equal(stats(&r, 0).calls, 2);
    end(&r);
    rig_open_one(&r, "/redirect/v1");
    rig_call(&r, &a, "direct");
    assert_int_equal(stats(&r, 0).calls, 1);
    end(&r);
}

static void fallback_answers_what_the_upstream_does_not_know(void **state) {
    struct rig r;
    const char *paths[] = {"/status/404/v1", "/v1"};
    struct config_route routes[] = {{S("meta-llama/*"), 1, NULL}, {S(RIG_MODEL), 1, NULL}};
    static const size_t first[] = {0}, second[] = {1};
    routes[0].to = second;
    routes[1].to = first;
    rig_open(&r, paths, 2);
    r.config.nroutes = 2;
    r.config.routes = routes;
    r.config.fallback_model = SLICE("meta-llama/llama-4-scout");
    rig_call(&r, &a, "direct");
    assert_int_equal(a.fault, LLM_OK);
    assert_string_equal(a.model, "meta-llama/llama-4-scout");
    end(&r);
}

static void failing_upstream_becomes_the_last_choice(void **state) {
    struct rig r;
    const char *paths[] = {"/status/503/v1", "/v1"};
    rig_open(&r, paths, 2);
    assert_true(stats(&r, 0).able);
    for (int i = 0; i < 8; i++) {
        rig_call(&r, &a, "direct");
        assert_int_equal(a.fault, LLM_OK);
        got_free(&a);
    }
    assert_false(stats(&r, 0).able);
    assert_int_equal(stats(&r, 0).calls, 5);
    assert_int_equal(stats(&r, 1).calls, 8);
    assert_true(llm_ready(r.m));
    end(&r);
}

static void unknown_model_is_refused_at_once(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/v1");
    struct llm_request q = rig_request("direct");
    q.model = SLICE("no/such-model");
    assert_false(llm_knows(r.m, q.model));
    assert_true(llm_knows(r.m, SLICE(RIG_MODEL)));
    got_init(&a, &r);
    assert_null(llm_start(r.m, &q, &rig_end_only, &a, &err));
    assert_int_equal(err.fault, LLM_NO_ROUTE);
    assert_true(err.message.len > 0);
    assert_int_equal(llm_capacity(r.m), 64);
    end(&r);
}

/* --- pools */

static const char *const three[] = {"/delay/50/v1", "/v1", "/v1"};

/* Upstream 0 has a/…, 1 has b/…, both have both/…; 2 answers what no other has. */
static void open_pools(struct rig *r, struct config_route routes[4], size_t to[4][2]) {
    rig_open(r, three, 3);
    to[0][0] = 0, to[1][0] = 1, to[2][0] = 0, to[2][1] = 1, to[3][0] = 2;
    routes[0] = (struct config_route){SLICE("a/*"), 1, to[0]};
    routes[1] = (struct config_route){SLICE("b/*"), 1, to[1]};
    routes[2] = (struct config_route){SLICE("both/*"), 2, to[2]};
    routes[3] = (struct config_route){SLICE("spare/x"), 1, to[3]};
    r->config.routes = routes;
    r->config.nroutes = 4;
    r->config.fallback_model = SLICE("spare/x");
    r->upstreams[0].concurrency = 2;
}

static unsigned pool(struct rig *r, const char *model) {
    return llm_pool(r->m, slice_of(model), false, false);
}

static void the_same_upstreams_are_one_pool(void **state) {
    struct rig r;
    struct config_route routes[4];
    size_t to[4][2];
    open_pools(&r, routes, to);
    unsigned a_ = pool(&r, "a/one"), b_ = pool(&r, "b/one"), both = pool(&r, "both/one");
    assert_true(a_ != b_ && a_ != both && b_ != both);
    assert_int_equal(pool(&r, "a/two"), a_);
    assert_int_equal(pool(&r, "spare/x"), pool(&r, "spare/x"));
    assert_int_equal(llm_pool(r.m, SLICE("both/one"), false, true), a_); /* the first one only */
    r.upstreams[1].keeps_nothing = true;
    assert_int_equal(llm_pool(r.m, SLICE("both/one"), true, false), b_);
    end(&r);
}

static void a_pool_has_the_room_of_its_upstreams(void **state) {
    struct rig r;
    struct config_route routes[4];
    size_t to[4][2];
    struct llm_error err;
    open_pools(&r, routes, to);
    unsigned a_ = pool(&r, "a/one"), b_ = pool(&r, "b/one"), both = pool(&r, "both/one");
    assert_int_equal(llm_pool_capacity(r.m, a_), 2);
    assert_int_equal(llm_pool_capacity(r.m, b_), 64);
    assert_int_equal(llm_pool_capacity(r.m, both), 66);
    struct got *all[] = {&a, &b, &c};
    for (unsigned k = 0; k < 3; k++) { /* the third waits */
        struct llm_request q = rig_request("queue");
        q.model = SLICE("a/one");
        got_init(all[k], &r);
        all[k]->call = llm_start(r.m, &q, &rig_queue, all[k], &err);
        assert_non_null(all[k]->call);
        assert_int_equal(llm_pool_capacity(r.m, a_), k == 0 ? 1 : 0);
    }
    assert_int_equal(llm_pool_capacity(r.m, b_), 64);
    assert_int_equal(llm_pool_capacity(r.m, both), 63);
    for (unsigned k = 0; k < 3; k++) rig_wait(all[k]);
    assert_int_equal(llm_pool_capacity(r.m, a_), 2);
    end(&r);
}

static void what_nobody_answers_may_always_begin(void **state) {
    struct rig r;
    struct config_route routes[4];
    size_t to[4][2];
    open_pools(&r, routes, to);
    r.config.fallback_model = SLICE("");
    unsigned nobody = pool(&r, "no/such-model");
    assert_true(llm_pool_capacity(r.m, nobody) > 0);
    assert_int_equal(pool(&r, ""), nobody);
    assert_int_equal(llm_pool(r.m, SLICE("a/one"), true, false), nobody); /* all keep something */
    char model[64];
    for (unsigned k = 0; k < 100000; k++) { /* names cost nothing */
        snprintf(model, sizeof model, "invented/%u", k);
        assert_int_equal(pool(&r, model), nobody);
    }
    end(&r);
}

/* Sixty-three sets of six upstreams: the first have pools of their own, the others one together. */
static void sets_beyond_the_pools_share_the_last(void **state) {
    enum { SETS = 63 };
    static const char *const paths[] = {"/v1", "/v1", "/v1", "/v1", "/v1", "/v1"};
    static struct config_route routes[SETS];
    static size_t to[SETS][6];
    static char names[SETS][16];
    struct rig r;
    rig_open(&r, paths, 6);
    for (size_t k = 0; k < SETS; k++) {
        size_t n = 0;
        for (size_t i = 0; i < 6; i++)
            if (((k + 1) >> i & 1) != 0) to[k][n++] = i;
        snprintf(names[k], sizeof names[k], "m/%zu", k);
        routes[k] = (struct config_route){slice_of(names[k]), n, to[k]};
    }
    r.config.routes = routes;
    r.config.nroutes = SETS;
    unsigned pools[SETS];
    for (size_t k = 0; k < SETS; k++) {
        pools[k] = pool(&r, names[k]);
        assert_in_range(pools[k], 1, LLM_POOLS - 1);
        for (size_t j = 0; j < k && k + 1 < LLM_POOLS - 1; j++)
            assert_int_not_equal(pools[j], pools[k]);
    }
    for (size_t k = 0; k < SETS; k++) assert_int_equal(pool(&r, names[k]), pools[k]);
    assert_int_equal(pools[SETS - 1], LLM_POOLS - 1);
    assert_int_equal(llm_pool_capacity(r.m, LLM_POOLS - 1), 6 * 64);
    end(&r);
}

/* --- cancel and back-pressure */

static void no_hook_after_cancel(void **state) {
    static const char *const paths[] = {"/silent/v1", "/delay/5000/v1",
                                        "/sse-interval/1/tokens/100000/v1"};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        struct llm_error err;
        rig_open_one(&r, paths[i]);
        assert_non_null(begin(&r, &a, "stream", &err));
        rig_turns(&r, 15);
        llm_cancel(a.call);
        a.call = NULL; /* every hook asserts that it is not */
        rig_turns(&r, 60);
        assert_int_equal(a.ends, 0);
        assert_int_equal(stats(&r, 0).in_flight, 0);
        end(&r);
    }
}

static void cancel_in_a_delta_is_the_last_of_it(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/tokens/1000/v1");
    assert_non_null(begin(&r, &a, "stream", &err));
    a.cancel_at_delta = 1;
    rig_turns(&r, 60);
    assert_int_equal(a.deltas, 1);
    assert_int_equal(a.ends, 0);
    end(&r);
}

static void paused_call_takes_nothing_and_goes_on_when_resumed(void **state) {
    struct rig r;
    struct llm_error err;
    rig_open_one(&r, "/tokens/100000/v1");
    assert_non_null(begin(&r, &a, "stream", &err));
    a.pause_at_delta = 3;
    rig_turns(&r, 400); /* longer than idle_ms: who pauses is not cut for it */
    assert_int_equal(a.deltas, 3);
    assert_int_equal(a.ends, 0);
    llm_resume(a.call);
    rig_wait(&a);
    assert_int_equal(a.fault, LLM_OK);
    assert_true(buf_len(&a.text) > 300000);
    end(&r);
}

static void answers_reach_who_asked(void **state) {
    enum { MANY = 40 };
    static struct got many[MANY];
    struct rig r;
    struct llm_error err;
    char prompts[MANY][32];
    rig_open_one(&r, "/tokens/3/v1");
    r.upstreams[0].concurrency = 8;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            struct llm_request q = rig_request(i % 2 ? "queue" : "stream");
            snprintf(prompts[i], sizeof prompts[i], "nonce:r%di%02d", round, i);
            q.prompt = slice_of(prompts[i]);
            q.wait = true;
            got_init(&many[i], &r);
            many[i].call = llm_start(r.m, &q, i % 2 ? &rig_queue : &rig_sink, &many[i], &err);
            assert_non_null(many[i].call);
        }
        for (int i = 0; i < MANY; i += 7) {
            llm_cancel(many[i].call);
            many[i].call = NULL;
        }
        for (int i = 0; i < MANY; i++) {
            if (i % 7 != 0) {
                rig_wait(&many[i]);
                assert_int_equal(many[i].fault, LLM_OK);
                assert_int_equal(strncmp(many[i].output, prompts[i], strlen(prompts[i])), 0);
            }
            got_free(&many[i]);
        }
    }
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
        cmocka_unit_test(direct_call_over_the_slots_is_busy),
        cmocka_unit_test(queued_calls_get_slots_in_order),
        cmocka_unit_test(nobody_overtakes_who_waits),
        cmocka_unit_test(cancel_frees_the_slot_for_who_waits),
        cmocka_unit_test(full_upstream_spills_to_the_next),
        cmocka_unit_test(failover_is_before_output_and_never_for_the_callers_mistake),
        cmocka_unit_test(no_fallback_tries_the_first_upstream_only),
        cmocka_unit_test(hint_leads_back_to_the_upstream_that_answered),
        cmocka_unit_test(audio_goes_to_who_can_take_it),
        cmocka_unit_test(addresses_are_fetched_where_all_of_the_route_can),
        cmocka_unit_test(u12_is_asked_for_once_more),
        cmocka_unit_test(fallback_answers_what_the_upstream_does_not_know),
        cmocka_unit_test(failing_upstream_becomes_the_last_choice),
        cmocka_unit_test(unknown_model_is_refused_at_once),
        cmocka_unit_test(the_same_upstreams_are_one_pool),
        cmocka_unit_test(a_pool_has_the_room_of_its_upstreams),
        cmocka_unit_test(what_nobody_answers_may_always_begin),
        cmocka_unit_test(sets_beyond_the_pools_share_the_last),
        cmocka_unit_test(no_hook_after_cancel),
        cmocka_unit_test(cancel_in_a_delta_is_the_last_of_it),
        cmocka_unit_test(paused_call_takes_nothing_and_goes_on_when_resumed),
        cmocka_unit_test(answers_reach_who_asked),
    };
    return cmocka_run_group_tests_name("llm/slots", tests, start, stop);
}
