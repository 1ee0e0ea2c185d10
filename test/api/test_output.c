/* Answers of models as fal's endpoints write them. */
#include "cmocka_all.h"

#include "api/call.h"

#include <stdio.h>

const struct llm_fault_info *llm_fault_info(enum llm_fault f) {
    static const struct llm_fault_info model = {422, "content_policy_violation", true, false, 1},
                                       platform = {504, "request_timeout", false, true, 4};
    return f == LLM_CONTENT_POLICY ? &model : &platform;
}

const struct catalogue_model *catalogue_find(const struct catalogue *c, struct slice id) {
    return NULL;
}

static void output_errors_have_openais_shape_there(void **state) {
    struct buf b;
    buf_init(&b, 1024);
    openai_error_json(&b, 404, "model_not_found", SLICE("model"), SLICE("no \"x\""));
    assert_true(
        slice_is(buf_slice(&b),
                 "{\"error\":{\"message\":\"no \\\"x\\\"\",\"type\":\"invalid_request_error\","
                 "\"param\":\"model\",\"code\":\"model_not_found\"}}"));
    buf_reset(&b, 0);
    openai_error_json(&b, 503, NULL, SLICE(""), SLICE("m"));
    assert_true(slice_is(buf_slice(&b), "{\"error\":{\"message\":\"m\",\"type\":\"server_error\","
                                        "\"param\":null,\"code\":null}}"));
    buf_free(&b);
}

static void output_escapes_without_quotes(void **state) {
    struct buf b;
    buf_init(&b, 1024);
    assert_true(output_add_escaped(&b, SLICE("a\"b")));
    assert_true(output_add_escaped(&b, SLICE("")));
    assert_true(output_add_escaped(&b, SLICE("\xc3\xa9\n")));
    assert_true(slice_is(buf_slice(&b), "a\\\"b\\u00e9\\n"));
    buf_free(&b);
}

/* What is already there goes into the last event of the stream: half an escape or a quote would break it. */
static void output_that_does_not_fit_adds_nothing(void **state) {
    for (size_t max = 4; max < 40; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_true(output_add_escaped(&b, SLICE("ab")));
        bool fits = output_add_escaped(&b, SLICE("\xc3\xa9\xc3\xa9\xc3\xa9\"\"\""));
        assert_int_equal(fits, max >= 28);
        assert_true(slice_is(buf_slice(&b), fits ? "ab\\u00e9\\u00e9\\u00e9\\\"\\\"\\\"" : "ab"));
        buf_free(&b);
    }
}

static void output_errors_have_both_shapes(void **state) {
    struct buf b;
    struct llm_error err = {LLM_CONTENT_POLICY, SLICE("no"), -1};
    buf_init(&b, 1024);
    error_json(&b, &err);
    assert_true(slice_starts(buf_slice(&b), SLICE("{\"detail\":[{\"loc\":[\"body\",\"prompt\"],")));
    buf_reset(&b, 1024);
    err.fault = LLM_TIMEOUT;
    error_json(&b, &err);
    assert_true(slice_is(buf_slice(&b), "{\"detail\":\"no\",\"message\":\"no\","
                                        "\"error_type\":\"request_timeout\"}"));
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_errors_have_openais_shape_there),
        cmocka_unit_test(output_escapes_without_quotes),
        cmocka_unit_test(output_that_does_not_fit_adds_nothing),
        cmocka_unit_test(output_errors_have_both_shapes),
    };
    return cmocka_run_group_tests_name("api_output", tests, NULL, NULL);
}
