#include "cmocka_all.h"

#include "api/endpoints.h"

static void endpoint_is_found_on_whole_segments(void **state) {
    struct slice rest;
    assert_non_null(endpoint_find(SLICE("fal-ai/any-llm"), &rest));
    assert_int_equal(rest.len, 0);
    assert_non_null(endpoint_find(SLICE("fal-ai/any-llm/x/y"), &rest));
    assert_true(slice_is(rest, "x/y"));
    assert_null(endpoint_find(SLICE("fal-ai/any-llm2"), &rest));
    assert_null(endpoint_find(SLICE("fal-ai"), &rest));
}

static void endpoint_of_the_longest_id_is_found(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        char path[128];
        struct slice rest;
        snprintf(path, sizeof path, "%s/stream", endpoint_at(i)->id);
        assert_ptr_equal(endpoint_find(slice_of(endpoint_at(i)->id), &rest), endpoint_at(i));
        assert_int_equal(rest.len, 0);
        assert_ptr_equal(endpoint_find(slice_of(path), &rest), endpoint_at(i));
        assert_true(slice_is(rest, "stream"));
    }
}

static void check_id(const char *text, const char *ns, const char *owner, const char *alias,
                     const char *path, const char *whole) {
    struct endpoint_id id;
    struct arena a;
    arena_init(&a, 1U << 16);
    if (endpoint_id_parse(slice_of(text), &id) != (whole != NULL)) fail_msg("%s", text);
    if (whole != NULL) {
        if (!slice_is(id.ns, ns) || !slice_is(id.owner, owner) || !slice_is(id.alias, alias) ||
            !slice_is(id.path, path))
            fail_msg("%s: %.*s|%.*s|%.*s|%.*s", text, SLICE_ARG(id.ns), SLICE_ARG(id.owner),
                     SLICE_ARG(id.alias), SLICE_ARG(id.path));
        struct slice canonical = endpoint_id_text(&id, true, &a);
        if (!slice_is(canonical, whole)) fail_msg("%s: %.*s", text, SLICE_ARG(canonical));
        assert_true(slice_eq(endpoint_owner_alias(canonical), endpoint_id_text(&id, false, &a)));
    }
    arena_free(&a);
}

static void ids_are_read_as_the_clients_write_them(void **state) {
    check_id("fal-ai/any-llm", "", "fal-ai", "any-llm", "", "fal-ai/any-llm");
    check_id("fal-ai/any-llm/", "", "fal-ai", "any-llm", "", "fal-ai/any-llm");
    check_id("/fal-ai/any-llm//", "", "fal-ai", "any-llm", "", "fal-ai/any-llm");
    check_id("fal-ai/any-llm/vision", "", "fal-ai", "any-llm", "vision", "fal-ai/any-llm/vision");
    check_id("a/b/c/d/e/", "", "a", "b", "c/d/e", "a/b/c/d/e");
    check_id("workflows/me/chat", "workflows", "me", "chat", "", "workflows/me/chat");
    check_id("comfy/me/chat/x/y", "comfy", "me", "chat", "x/y", "comfy/me/chat/x/y");
    check_id("110602490-any-llm", "", "fal-ai", "any-llm", "", "fal-ai/any-llm");
    check_id("/110602490-any-llm/", "", "fal-ai", "any-llm", "", "fal-ai/any-llm");
    check_id("110602490/any-llm/vision", "", "fal-ai", "any-llm", "vision",
             "fal-ai/any-llm/vision");
    check_id("workflows/110602490/x", "workflows", "fal-ai", "x", "", "workflows/fal-ai/x");
    check_id("7-a-b", "", "7", "a-b", "", "7/a-b");
    check_id("7/a", "", "7", "a", "", "7/a");
    check_id("110602490-any-llm/vision", "", "110602490-any-llm", "vision", "",
             "110602490-any-llm/vision");
}

static void ids_without_owner_and_alias_are_none(void **state) {
    static const char *const bad[] = {"",
                                      "/",
                                      "//",
                                      "fal-ai",
                                      "any-llm-7",
                                      "7",
                                      "7-",
                                      "-a",
                                      "7-a_b",
                                      "7-a.b",
                                      "workflows",
                                      "workflows/a",
                                      "workflows//a/b",
                                      "a//b",
                                      "a/b//c",
                                      "a/../b",
                                      "a/./b",
                                      "a/b/..",
                                      "a/b c",
                                      "a/b%2f",
                                      "a/b?c",
                                      "a/\xc3\xa9",
                                      "a/requests",
                                      "a/b/requests/c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check_id(bad[i], "", "", "", "", NULL);
    check_id("comfy/a/b/", "comfy", "a", "b", "", "comfy/a/b");
}

static void ids_have_no_text_without_memory(void **state) {
    struct endpoint_id id;
    struct arena a;
    char text[20000];
    memset(text, 'a', sizeof text);
    text[1] = '/';
    arena_init(&a, 8192);
    assert_true(endpoint_id_parse(slice_make(text, sizeof text), &id));
    assert_null(endpoint_id_text(&id, true, &a).ptr);
    arena_free(&a);
}

#define TEXT(lit) {(lit), sizeof(lit) - 1}

static void aliases_stand_for_endpoints(void **state) {
    static const struct config_alias aliases[] = {
        {TEXT("workflows/me/chat"), TEXT("fal-ai/any-llm")},
        {TEXT("workflows/me/chat/eyes"), TEXT("openrouter/router/vision")},
        {TEXT("fal-ai/any-llm/vision"), TEXT("openrouter/router")},
        {TEXT("me/nowhere"), TEXT("fal-ai/any-llm/nowhere")},
        {TEXT("me/self"), TEXT("workflows/me/chat")},
        {TEXT("me/long/one"), TEXT("openrouter/router")},
        {TEXT("me/long"), TEXT("fal-ai/any-llm")},
    };
    static const struct {
        const char *path, *id, *rest;
    } rows[] = {
        {"workflows/me/chat", "fal-ai/any-llm", ""},
        {"workflows/me/chat/stream", "fal-ai/any-llm", "stream"},
        {"workflows/me/chat/eyes", "openrouter/router/vision", ""},
        {"workflows/me/chat/eyes/a/b", "openrouter/router/vision", "a/b"},
        {"workflows/me/chats", NULL, ""},
        {"fal-ai/any-llm/vision", "openrouter/router", ""},
        {"fal-ai/any-llm", "fal-ai/any-llm", ""},
        {"fal-ai/any-llm/x", "fal-ai/any-llm", "x"},
        {"me/nowhere", NULL, ""},
        {"me/self", NULL, ""},
        {"me/long/one", "openrouter/router", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice rest = SLICE("");
        const struct endpoint *e = endpoint_resolve(slice_of(rows[i].path), aliases, 7, &rest);
        if ((e == NULL) != (rows[i].id == NULL)) fail_msg("%s", rows[i].path);
        if (e == NULL) continue;
        assert_string_equal(e->id, rows[i].id);
        if (!slice_is(rest, rows[i].rest)) fail_msg("%s: %.*s", rows[i].path, SLICE_ARG(rest));
    }
}

static void aliases_that_cannot_be_are_told(void **state) {
    static const struct {
        struct config_alias alias;
        const char *why;
    } rows[] = {
        {{TEXT("workflows/me/chat"), TEXT("fal-ai/any-llm")}, NULL},
        {{TEXT("me/chat"), TEXT("openrouter/router/openai/v1/chat/completions")}, NULL},
        {{TEXT("chat"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("workflows/chat"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("me/chat/"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("/me/chat"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("110602490/chat"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("7-chat"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("me/requests"), TEXT("fal-ai/any-llm")}, "is no endpoint id"},
        {{TEXT("me/chat"), TEXT("fal-ai/flux")}, "does not exist"},
        {{TEXT("me/chat"), TEXT("fal-ai/any-llm/nowhere")}, "does not exist"},
        {{TEXT("me/chat"), TEXT("")}, "does not exist"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why = endpoint_alias_fault(&rows[i].alias);
        if ((why == NULL) != (rows[i].why == NULL) ||
            (why != NULL && strstr(why, rows[i].why) == NULL))
            fail_msg("%.*s: %s", SLICE_ARG(rows[i].alias.name), why != NULL ? why : "accepted");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoint_is_found_on_whole_segments),
        cmocka_unit_test(endpoint_of_the_longest_id_is_found),
        cmocka_unit_test(ids_are_read_as_the_clients_write_them),
        cmocka_unit_test(ids_without_owner_and_alias_are_none),
        cmocka_unit_test(ids_have_no_text_without_memory),
        cmocka_unit_test(aliases_stand_for_endpoints),
        cmocka_unit_test(aliases_that_cannot_be_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
