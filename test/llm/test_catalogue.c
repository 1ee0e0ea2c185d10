#include "tap.h"

#include "llm/catalogue.h"

#include <stdlib.h>
#include <unistd.h>

static struct catalogue *builtin(void) {
    struct config_error err = {0};
    struct catalogue *c = catalogue_load(NULL, &err);
    if (c == NULL) print_error("%s\n", err.text);
    assert_non_null(c);
    return c;
}

/* fal's schemas: the first list, then what came until 2025-10-17, then the models of /vision alone. */
static const char *const fal_ids[] = {"anthropic/claude-3.5-sonnet",
                                      "anthropic/claude-3-5-haiku",
                                      "anthropic/claude-3-haiku",
                                      "google/gemini-pro-1.5",
                                      "google/gemini-flash-1.5",
                                      "google/gemini-flash-1.5-8b",
                                      "meta-llama/llama-3.2-1b-instruct",
                                      "meta-llama/llama-3.2-3b-instruct",
                                      "meta-llama/llama-3.1-8b-instruct",
                                      "meta-llama/llama-3.1-70b-instruct",
                                      "openai/gpt-4o-mini",
                                      "openai/gpt-4o",
                                      "deepseek/deepseek-r1",
                                      "anthropic/claude-3.7-sonnet",
                                      "google/gemini-2.0-flash-001",
                                      "google/gemini-2.5-flash",
                                      "google/gemini-2.5-flash-lite",
                                      "google/gemini-2.5-pro",
                                      "openai/gpt-oss-120b",
                                      "openai/gpt-4.1",
                                      "openai/o3",
                                      "openai/gpt-5-chat",
                                      "openai/gpt-5-mini",
                                      "openai/gpt-5-nano",
                                      "meta-llama/llama-4-maverick",
                                      "meta-llama/llama-4-scout",
                                      "meta-llama/llama-3.2-90b-vision-instruct"};

static void builtin_holds_every_id_of_fal(void **state) {
    struct catalogue *c = builtin();
    for (size_t i = 0; i < sizeof fal_ids / sizeof *fal_ids; i++) {
        const struct catalogue_model *m = catalogue_find(c, slice_of(fal_ids[i]));
        if (m == NULL) print_error("missing: %s\n", fal_ids[i]);
        assert_non_null(m);
    }
    expect_text(catalogue_default(c), "google/gemini-flash-1.5");
    catalogue_free(c);
}

static void builtin_marks_premium_and_vision_as_fal_does(void **state) {
    static const char *const premium[] = {"anthropic/claude-3.5-sonnet",
                                          "anthropic/claude-3-5-haiku", "google/gemini-pro-1.5",
                                          "openai/gpt-4o"};
    static const char *const vision[] = {"anthropic/claude-3.7-sonnet",
                                         "anthropic/claude-3.5-sonnet",
                                         "anthropic/claude-3-haiku",
                                         "google/gemini-pro-1.5",
                                         "google/gemini-flash-1.5",
                                         "google/gemini-flash-1.5-8b",
                                         "google/gemini-2.0-flash-001",
                                         "google/gemini-2.5-flash",
                                         "google/gemini-2.5-flash-lite",
                                         "google/gemini-2.5-pro",
                                         "openai/gpt-4o",
                                         "openai/gpt-4.1",
                                         "openai/gpt-5-chat",
                                         "meta-llama/llama-3.2-90b-vision-instruct",
                                         "meta-llama/llama-4-maverick",
                                         "meta-llama/llama-4-scout"};
    struct catalogue *c = builtin();
    for (size_t i = 0; i < sizeof fal_ids / sizeof *fal_ids; i++) {
        const struct catalogue_model *m = catalogue_find(c, slice_of(fal_ids[i]));
        bool is_premium = false, sees = false;
        for (size_t k = 0; k < sizeof premium / sizeof *premium; k++)
            is_premium |= slice_is(m->id, premium[k]);
        for (size_t k = 0; k < sizeof vision / sizeof *vision; k++)
            sees |= slice_is(m->id, vision[k]);
        if (m->premium != is_premium || m->vision != sees) print_error("flags of %s\n", fal_ids[i]);
        assert_int_equal(m->premium, is_premium);
        assert_int_equal(m->vision, sees);
    }
    catalogue_free(c);
}

static void retired_model_is_sent_as_its_successor(void **state) {
    struct catalogue *c = builtin();
    const struct catalogue_model *m = catalogue_find(c, catalogue_default(c));
    m = catalogue_current(c, m, UPSTREAM_OPENROUTER);
    expect_text(m->id, "google/gemini-2.5-flash-lite");
    expect_text(catalogue_upstream_id(m, UPSTREAM_OPENROUTER), "google/gemini-2.5-flash-lite");
    assert_int_equal(m->prompt_picousd, 100000);
    catalogue_free(c);
}

static void upstream_id_keeps_a_retired_model_for_its_kind(void **state) {
    struct config_error err;
    struct catalogue *c = catalogue_read(
        SLICE(
            "{\"default\":\"b\",\"models\":["
            "{\"id\":\"b\",\"replaced_by\":\"c\",\"upstream_id\":{\"openai\":\"old-b\"}},"
            "{\"id\":\"a\",\"replaced_by\":\"b\",\"price\":{\"prompt\":0.0375,\"completion\":37.5}},"
            "{\"id\":\"c\",\"context_tokens\":null,\"price\":null}]}"),
        "f", &err);
    assert_non_null(c);
    const struct catalogue_model *a = catalogue_find(c, SLICE("a"));
    assert_int_equal(a->prompt_picousd, 37500);
    assert_int_equal(a->completion_picousd, 37500000);
    expect_text(catalogue_upstream_id(catalogue_current(c, a, UPSTREAM_OPENAI), UPSTREAM_OPENAI),
                "old-b");
    expect_text(catalogue_current(c, a, UPSTREAM_OPENROUTER)->id, "c");
    expect_text(catalogue_at(c, 0)->id, "b");
    assert_false(catalogue_find(c, SLICE("c"))->has_price);
    assert_null(catalogue_find(c, SLICE("d")));
    assert_null(catalogue_find(c, SLICE("")));
    assert_null(catalogue_at(c, 3));
    catalogue_free(c);
}

#define IN_MODEL(text) "{\"default\":\"a\",\"models\":[{\"id\":\"a\"}," text "]}"

static const struct {
    const char *text, *says;
} bad[] = {
    {"", "f: empty"},
    {"{\"default\":\"a\",\n \"models\":[}", "f:2:12: "},
    {"[]", "f: : must be an object"},
    {"{\"models\":[{\"id\":\"a\"}]}", "/default: must be a model id"},
    {"{\"default\":\"x\",\"models\":[{\"id\":\"a\"}]}", "/default: names a model that is not"},
    {"{\"default\":\"a\"}", "/models: must be a list"},
    {"{\"default\":\"a\",\"models\":[]}", "/models: must be a list"},
    {"{\"default\":\"a\",\"models\":[{\"id\":\"a\"}],\"more\":1}", "none of default, models"},
    {"{\"default\":\"a\",\"default\":\"a\",\"models\":[]}", "duplicate key"},
    {IN_MODEL("7"), "/models/1: must be an object"},
    {IN_MODEL("{\"premium\":true}"), "/models/1/id: is missing"},
    {IN_MODEL("{\"id\":\"\"}"), "/models/1/id: must be a model id"},
    {IN_MODEL("{\"id\":\"a b\"}"), "/models/1/id: holds a space"},
    {IN_MODEL("{\"id\":\"a\"}"), "/models/1/id: stands twice"},
    {IN_MODEL("{\"id\":\"b\",\"premium\":1}"), "/models/1/premium: must be true or false"},
    {IN_MODEL("{\"id\":\"b\",\"vision\":\"no\"}"), "/models/1/vision: must be true or false"},
    {IN_MODEL("{\"id\":\"b\",\"context_tokens\":0}"), "/models/1/context_tokens: must be a number"},
    {IN_MODEL("{\"id\":\"b\",\"context_tokens\":1.5}"),
     "/models/1/context_tokens: must be a number"},
    {IN_MODEL("{\"id\":\"b\",\"price\":0}"), "/models/1/price: must be {"},
    {IN_MODEL("{\"id\":\"b\",\"price\":{\"prompt\":1}}"),
     "/models/1/price/completion: must be US dollars"},
    {IN_MODEL("{\"id\":\"b\",\"price\":{\"prompt\":\"1\",\"completion\":1}}"),
     "/price/prompt: must be US dollars"},
    {IN_MODEL("{\"id\":\"b\",\"price\":{\"prompt\":-1,\"completion\":1}}"),
     "/price/prompt: must be from 0"},
    {IN_MODEL("{\"id\":\"b\",\"price\":{\"prompt\":0.0000001,\"completion\":1}}"),
     "more than 6 decimals"},
    {IN_MODEL("{\"id\":\"b\",\"price\":{\"prompt\":1,\"completion\":1,\"image\":1}}"),
     "/models/1/price: has a key"},
    {IN_MODEL("{\"id\":\"b\",\"upstream_id\":{\"azure\":\"b\"}}"),
     "/models/1/upstream_id: has a key"},
    {IN_MODEL("{\"id\":\"b\",\"replaced_by\":\"x\"}"),
     "/models/1/replaced_by: names a model that is not"},
    {IN_MODEL("{\"id\":\"b\",\"replaced_by\":\"b\"}"), "/models/1/replaced_by: runs in a circle"},
    {IN_MODEL("{\"id\":\"b\",\"replaced_by\":\"c\"},{\"id\":\"c\",\"replaced_by\":\"b\"}"),
     "runs in a circle"},
    {IN_MODEL("{\"id\":\"b\",\"colour\":1}"), "/models/1/colour: unknown key"},
};

static void faults_of_a_file_name_their_place(void **state) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config_error err = {0};
        struct catalogue *c = catalogue_read(slice_of(bad[i].text), "f", &err);
        if (c != NULL || strstr(err.text, bad[i].says) == NULL)
            print_error("%s\n  said: %s\n  want: %s\n", bad[i].text, err.text, bad[i].says);
        assert_null(c);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_int_equal(err.exit_code, 78);
    }
}

static void file_replaces_the_builtin_copy(void **state) {
    char path[] = "/tmp/anyllm-catalogue-XXXXXX";
    static const char text[] =
        "{\"default\":\"x/y\",\"models\":[{\"id\":\"x/y\",\"comment\":\"ours\"}]}";
    int fd = mkstemp(path);
    struct config_error err;
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    struct catalogue *c = catalogue_load(path, &err);
    assert_non_null(c);
    assert_int_equal(catalogue_count(c), 1);
    catalogue_free(c);
    unlink(path);
    assert_null(catalogue_load(path, &err));
    assert_non_null(strstr(err.text, "No such file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtin_holds_every_id_of_fal),
        cmocka_unit_test(builtin_marks_premium_and_vision_as_fal_does),
        cmocka_unit_test(retired_model_is_sent_as_its_successor),
        cmocka_unit_test(upstream_id_keeps_a_retired_model_for_its_kind),
        cmocka_unit_test(faults_of_a_file_name_their_place),
        cmocka_unit_test(file_replaces_the_builtin_copy),
    };
    return cmocka_run_group_tests_name("llm/catalogue", tests, NULL, NULL);
}
