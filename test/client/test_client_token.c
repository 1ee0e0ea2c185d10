/* Tokens for the browser. */
#include "client/upload_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_token_is_asked_for_by_alias(void **state) {
    (void)state;
    static const char *const answers[] = {"\"t1\"", "{\"token\":\"t1\"}", "{\"detail\":\"t1\"}"};
    const char *const apps[] = {"fal-ai/any-llm/vision", "workflows/me/flow", "123-legacy"};
    for (size_t i = 0; i < 3; i++) {
        const struct script_step step = {.status = 201, .body = answers[i]};
        struct script *s = script_start(&step, 1);
        fal_client *c = client_for(s);
        fal_result *r = NULL;
        assert_int_equal(fal_token_create(c, apps, 3, 0, NULL, &r), FAL_OK);
        assert_string_equal(fal_result_string(r, "/token"), "t1");
        assert_string_equal(fal_result_json(r), "{\"token\":\"t1\"}");
        assert_true(script_asked(s, 0, "POST /rest/tokens/ HTTP/1.1"));
        assert_true(script_has_header(s, 0, "Authorization: Key kid:ksecret"));
        assert_string_equal(
            body_of(s, 0),
            "{\"allowed_apps\":[\"any-llm\",\"flow\",\"legacy\"],\"token_expiration\":120}");
        fal_result_free(r);
        fal_client_free(c);
        script_stop(s);
    }
}

static void a_token_lasts_as_long_as_it_is_said(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 503}, {.raw = ""}, {.status = 200, .body = "\"t1\""});
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    const char *const apps[] = {"fal-ai/any-llm"}, *const lines[] = {"X-Mine: 1"};
    o.headers = lines;
    o.header_count = 1;
    assert_int_equal(fal_token_create(c, apps, 1, 10, &o, NULL), FAL_OK);
    assert_string_equal(body_of(s, 2), "{\"allowed_apps\":[\"any-llm\"],\"token_expiration\":10}");
    assert_true(script_has_header(s, 2, "X-Mine: 1"));
    fal_client_free(c);
    script_stop(s);
}

static void a_refusal_has_the_servers_words(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 401, .body = "{\"detail\":\"no such key\"}"},
                              {.status = 200, .body = "{}"}, {.status = 200, .body = "<html>"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    const char *const apps[] = {"fal-ai/any-llm"};
    assert_int_equal(fal_token_create(c, apps, 1, 0, NULL, &r), FAL_ERR_HTTP);
    assert_string_equal(fal_result_error(r)->message, "no such key");
    fal_result_free(r);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fal_token_create(c, apps, 1, 0, NULL, &r), FAL_ERR_PROTOCOL);
        assert_string_equal(fal_result_error(r)->message, "the answer holds no token");
        fal_result_free(r);
    }
    fal_client_free(c);
    script_stop(s);
}

static void arguments_are_checked_first(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 200, .body = "\"t\""});
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    const char *const apps[] = {"fal-ai/any-llm", "alias"}, *const lines[] = {"no header"};
    assert_int_equal(fal_token_create(NULL, apps, 1, 0, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_token_create(c, NULL, 1, 0, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_token_create(c, apps, 0, 0, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_token_create(c, apps, 2, 0, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_token_create(c, apps, 1, -1, NULL, NULL), FAL_ERR_ARGUMENT);
    o.headers = lines;
    o.header_count = 1;
    assert_int_equal(fal_token_create(c, apps, 1, 0, &o, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(script_count(s), 0);
    fal_client_free(c);
    script_stop(s);
}

struct ended {
    size_t count;
    enum fal_code code;
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ended *e = user;
    e->count++;
    e->code = code;
    fal_result_free(result);
}

static void a_token_can_be_had_without_blocking(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 200, .body = "\"t\""}, {.hang = true});
    fal_client *c = client_for(s);
    const char *const apps[] = {"fal-ai/any-llm"};
    struct ended first = {0}, second = {0};
    fal_call *call = NULL;
    assert_int_equal(
        fal_token_create_start(c, apps, 1, 0, NULL, (struct fal_done){note_end, &first}, NULL),
        FAL_OK);
    while (fal_client_pending(c) > 0) {
        fal_client_wait(c, -1);
    }
    assert_int_equal(
        fal_token_create_start(c, apps, 1, 0, NULL, (struct fal_done){note_end, &second}, &call),
        FAL_OK);
    while (script_count(s) < 2) {
        fal_client_wait(c, 10);
    }
    fal_call_cancel(call);
    while (fal_client_pending(c) > 0) {
        fal_client_wait(c, -1);
    }
    assert_int_equal(first.count, 1);
    assert_int_equal(first.code, FAL_OK);
    assert_int_equal(second.count, 1);
    assert_int_equal(second.code, FAL_ERR_CANCELLED);
    fal_call_free(call);
    fal_client_free(c);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_asked_for_by_alias),
        cmocka_unit_test(a_token_lasts_as_long_as_it_is_said),
        cmocka_unit_test(a_refusal_has_the_servers_words),
        cmocka_unit_test(arguments_are_checked_first),
        cmocka_unit_test(a_token_can_be_had_without_blocking),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
