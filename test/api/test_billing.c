/* What an attempt costs and what its owner is charged: docs/keys-and-usage.md. */
#include "cmocka_all.h"

#include "api/billing.h"

static const struct catalogue_model premium = {.premium = true};

const struct catalogue_model *catalogue_find(const struct catalogue *c, struct slice id) {
    return slice_is(id, "premium") ? &premium : NULL;
}

static struct config config;
static const struct api api = {.config = &config};

#define ENDPOINT(text) .id = text, .id_len = sizeof text - 1
static const struct endpoint any = {ENDPOINT("fal-ai/any-llm")},
                             vision = {ENDPOINT("fal-ai/any-llm/vision"), .sees = true},
                             router = {ENDPOINT("openrouter/router")},
                             sees = {ENDPOINT("openrouter/router/vision"), .sees = true};

static int set_up(void **state) {
    config = (struct config){.standard_rate_microusd = 1000, .markup_micro = 1000000};
    return 0;
}

static struct store_usage fill(const struct endpoint *e, struct llm_request r, struct llm_usage u,
                               bool failed) {
    const struct llm_result res = {.upstream = SLICE("lab"), .model = SLICE("x"), .usage = u};
    struct store_usage out;
    billing_fill(&api, e, &r, &res, failed, &out);
    assert_true(out.present && slice_is(out.upstream, "lab") && slice_is(out.model, "x"));
    return out;
}

static void check(const struct endpoint *e, struct llm_request r, struct llm_usage u,
                  int64_t charge, const char *units) {
    char text[BILLING_UNITS_BYTES];
    struct store_usage out = fill(e, r, u, false);
    assert_int_equal(out.has_charge, charge >= 0);
    if (charge >= 0) assert_int_equal(out.charge_microusd, charge);
    assert_true(slice_is(billing_units(text, billing_unit(e), &out), units));
}

static const struct llm_request plain = {.model = {"a", 1}}, best = {.model = {"premium", 7}},
                                image = {.model = {"a", 1}, .nimages = 1},
                                best_image = {.model = {"premium", 7}, .nimages = 2};
static const struct llm_usage unknown = {0}, cost = {.has_cost = true, .cost_microusd = 1000560},
                              free_of_cost = {.has_cost = true};

static void any_llm_is_charged_by_request(void **state) {
    check(&any, plain, unknown, 1000, "1");
    check(&any, plain, cost, 1000, "1");
    check(&any, best, unknown, 10000, "10");
    check(&any, image, unknown, 3000, "3");
    check(&any, best_image, unknown, 30000, "30");
    check(&vision, plain, unknown, 3000, "3");
    check(&vision, best_image, cost, 30000, "30");
    config.standard_rate_microusd = 2500;
    check(&any, best_image, unknown, 75000, "30");
    config.standard_rate_microusd = 0;
    check(&any, best, unknown, 0, "10");
}

static void the_router_and_v1_are_charged_the_cost_times_markup(void **state) {
    check(&router, best_image, cost, 1000560, "1.00056000");
    check(&sees, plain, cost, 1000560, "1.00056000");
    check(NULL, plain, cost, 1000560, "1.00056000");
    config.markup_micro = 1500000;
    check(&router, plain, cost, 1500840, "1.50084000");
    config.markup_micro = 1200000;
    check(&router, plain, (struct llm_usage){.has_cost = true, .cost_microusd = 2}, 2,
          "0.00000200"); /* 2.4 */
    check(&router, plain, (struct llm_usage){.has_cost = true, .cost_microusd = 3}, 4,
          "0.00000400"); /* 3.6 */
}

static void an_unknown_cost_is_null_and_never_0(void **state) {
    check(&router, plain, unknown, -1, "");
    check(NULL, plain, (struct llm_usage){.known = true, .prompt_tokens = 5}, -1, "");
    assert_false(fill(&any, plain, unknown, false).has_cost);
    assert_false(fill(&any, plain, unknown, true).has_cost);
    check(&router, plain, free_of_cost, 0, "0");
}

static void what_failed_is_charged_0_and_keeps_its_cost(void **state) {
    const struct endpoint *const all[] = {&any, &vision, &router, NULL};
    for (size_t i = 0; i < 4; i++) {
        char text[BILLING_UNITS_BYTES];
        struct store_usage out = fill(all[i], best_image, cost, true);
        assert_true(out.has_charge && out.charge_microusd == 0 && out.units_micro == 0);
        assert_true(out.has_cost && out.cost_microusd == 1000560);
        assert_true(slice_is(billing_units(text, billing_unit(all[i]), &out), "0"));
    }
}

static void nobody_pays_premium_for_the_fallback(void **state) {
    config.fallback_model = SLICE("x"); /* what answers in fill() */
    check(&any, best, unknown, 1000, "1");
    config.fallback_model = SLICE("y");
    check(&any, best, unknown, 10000, "10");
}

static void absurd_amounts_do_not_overflow(void **state) {
    config.markup_micro = 1000000000000;
    struct store_usage out = fill(
        &router, plain, (struct llm_usage){.has_cost = true, .cost_microusd = 1000000000000},
        false);
    assert_true(out.charge_microusd > 0);
    config.standard_rate_microusd = 1000000000000000;
    assert_true(fill(&vision, best, unknown, false).charge_microusd > 0);
}

static void tokens_are_those_that_the_upstream_told_well(void **state) {
    struct llm_usage u = {.known = true,
                          .prompt_tokens = 10,
                          .completion_tokens = 7,
                          .cached_tokens = 4,
                          .reasoning_tokens = 3,
                          .raw = SLICE("{}")};
    struct store_usage out = fill(&any, plain, u, false);
    assert_int_equal(out.prompt_tokens, 10);
    assert_int_equal(out.completion_tokens, 7);
    assert_int_equal(out.cached_tokens, 4);
    assert_int_equal(out.reasoning_tokens, 3);
    assert_true(slice_is(out.raw, "{}"));
    u.known = false; /* one of them was absurd */
    assert_int_equal(fill(&any, plain, u, false).completion_tokens, 0);
}

static void dollars_have_six_decimals(void **state) {
    struct buf b;
    buf_init(&b, 64);
    billing_add_usd(&b, 0);
    buf_addc(&b, ' ');
    billing_add_usd(&b, 560);
    buf_addc(&b, ' ');
    billing_add_usd(&b, 1234567890);
    assert_true(slice_is(buf_slice(&b), "0.000000 0.000560 1234.567890"));
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(any_llm_is_charged_by_request, set_up),
        cmocka_unit_test_setup(the_router_and_v1_are_charged_the_cost_times_markup, set_up),
        cmocka_unit_test_setup(an_unknown_cost_is_null_and_never_0, set_up),
        cmocka_unit_test_setup(what_failed_is_charged_0_and_keeps_its_cost, set_up),
        cmocka_unit_test_setup(nobody_pays_premium_for_the_fallback, set_up),
        cmocka_unit_test_setup(absurd_amounts_do_not_overflow, set_up),
        cmocka_unit_test(dollars_have_six_decimals),
        cmocka_unit_test_setup(tokens_are_those_that_the_upstream_told_well, set_up),
    };
    return cmocka_run_group_tests_name("api_billing", tests, NULL, NULL);
}
