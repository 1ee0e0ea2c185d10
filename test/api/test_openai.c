#include "cmocka_all.h"

#include "api/openai.h"

#include <stdlib.h>

/* --- what the room of models says here */

bool llm_knows(const struct llm *m, struct slice model) {
    return slice_starts(model, SLICE("known/"));
}

static struct arena arena;

static bool read_text(struct slice body, struct llm_request *r, struct openai_fault *f) {
    *r = (struct llm_request){0};
    *f = (struct openai_fault){0};
    return openai_read(body, NULL, &arena, r, f);
}

#define GOOD "\"model\":\"known/a\",\"messages\":[]"

static void expect(struct slice got, const char *want) {
    if (!slice_is(got, want)) fail_msg("got %.*s, wanted %s", SLICE_ARG(got), want);
}

/* --- what travels */

static const struct {
    const char *body, *members;
} travelling[] = {
    {"{\"model\":\"known/a\",\"messages\":[]}", "\"messages\":[]"},
    {"{\"top_p\" : 0.50, \"messages\":[ {\"role\":\"user\"} ],\n \"model\":\"known/a\",\"n\":1e40}",
     "\"top_p\" : 0.50,\"messages\":[ {\"role\":\"user\"} ],\"n\":1e40"},
    {"{" GOOD ",\"x\":{\"model\":\"b\",\"stream\":1,\"api_key\":\"in a value\"}}",
     "\"messages\":[],\"x\":{\"model\":\"b\",\"stream\":1,\"api_key\":\"in a value\"}"},
    {"{" GOOD
     ",\"caf\xc3\xa9\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\",\"big\":12345678901234567890123}",
     "\"messages\":[],\"caf\xc3\xa9\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\",\"big\":12345678901234567890123"},
    {"{\"stream\":true,\"stream_options\":{\"include_usage\":true}," GOOD "}", "\"messages\":[]"},
    {"{\"stream\":null,\"stream_options\":null," GOOD "}", "\"messages\":[]"},
    {"{\"str\\u0065am\":false," GOOD "}", "\"messages\":[]"},
};

static void openai_members_travel_as_written(void **state) {
    for (size_t i = 0; i < sizeof travelling / sizeof *travelling; i++) {
        struct llm_request r;
        struct openai_fault f;
        if (!read_text(slice_of(travelling[i].body), &r, &f)) fail_msg("row %zu: %s", i, f.message);
        expect(r.members, travelling[i].members);
        expect(r.model, "known/a");
    }
}

static void openai_reads_stream_and_usage(void **state) {
    static const struct {
        const char *more;
        bool stream, usage;
        const char *options;
    } rows[] = {
        {"", false, false},
        {",\"stream\":true", true, false},
        {",\"stream\":false", false, false},
        {",\"stream\":true,\"stream_options\":{\"include_usage\":true}", true, true},
        {",\"stream\":true,\"stream_options\":{\"include_usage\":false}", true, false},
        {",\"stream\":true,\"stream_options\":{}", true, false, NULL},
        {",\"stream\":true,\"stream_options\":{\"include\\u005fusage\":true, \"new\" : [1] }", true,
         true, "\"new\" : [1]"},
        {",\"stream\":false,\"stream_options\":{\"new\":1}", false, false, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct llm_request r;
        struct openai_fault f;
        char body[256];
        snprintf(body, sizeof body, "{" GOOD "%s}", rows[i].more);
        assert_true(read_text(slice_of(body), &r, &f));
        assert_int_equal(r.stream, rows[i].stream);
        assert_int_equal(r.wants_usage, rows[i].usage);
        expect(r.stream_options, rows[i].options != NULL ? rows[i].options : "");
    }
}

/* J12: at the top level, where gateways and upstreams would obey; however the name is spelt. */
static void j12_members_that_steer_gateways_never_travel(void **state) {
    static const char *const names[] = {"api_base",
                                        "api_key",
                                        "api_type",
                                        "api_version",
                                        "azure_endpoint",
                                        "base_url",
                                        "context_window_fallbacks",
                                        "content_policy_fallbacks",
                                        "custom_llm_provider",
                                        "default_headers",
                                        "extra_body",
                                        "extra_headers",
                                        "extra_query",
                                        "fallbacks",
                                        "headers",
                                        "litellm_params",
                                        "model_list",
                                        "models",
                                        "organization",
                                        "preset",
                                        "route",
                                        "user_config",
                                        "\\u0061pi_base",
                                        "api\\u005Fkey"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct llm_request r;
        struct openai_fault f;
        char body[256];
        snprintf(body, sizeof body, "{\"%s\":{\"a\":\"CANARY\"}," GOOD ",\"user\":\"u\"}",
                 names[i]);
        assert_true(read_text(slice_of(body), &r, &f));
        expect(r.members, "\"messages\":[],\"user\":\"u\"");
    }
}

/* --- what is refused */

static const struct {
    const char *body;
    unsigned status;
    const char *code, *param;
} refused[] = {
    {"", 400, NULL, NULL},
    {"{", 400, NULL, NULL},
    {"[]", 400, NULL, NULL},
    {"null", 400, NULL, NULL},
    {"{\"model\":\"known/a\",\"model\":\"known/b\",\"messages\":[]}", 400, NULL, NULL},
    {"{" GOOD ",\"a\":NaN}", 400, NULL, NULL},
    {"{" GOOD "} {}", 400, NULL, NULL},
    {"{" GOOD ",\"a\":\"\xff\"}", 400, NULL, NULL},
    {"{\"model\":\"known/a\"}", 400, NULL, "messages"},
    {"{\"model\":\"known/a\",\"messages\":\"hi\"}", 400, NULL, "messages"},
    {"{\"model\":\"known/a\",\"messages\":null}", 400, NULL, "messages"},
    {"{\"messages\":[]}", 400, NULL, "model"},
    {"{\"messages\":[],\"model\":\"\"}", 400, NULL, "model"},
    {"{\"messages\":[],\"model\":[\"known/a\"]}", 400, NULL, "model"},
    {"{\"messages\":[],\"model\":\"other/a\"}", 404, "model_not_found", "model"},
    {"{" GOOD ",\"stream\":\"true\"}", 400, NULL, "stream"},
    {"{" GOOD ",\"stream\":1}", 400, NULL, "stream"},
    {"{" GOOD ",\"stream_options\":true}", 400, NULL, "stream_options"},
};

static bool same(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void openai_says_what_is_wrong_and_where(void **state) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct llm_request r;
        struct openai_fault f;
        assert_false(read_text(slice_of(refused[i].body), &r, &f));
        if (f.status != refused[i].status || !same(f.code, refused[i].code) ||
            !same(f.param, refused[i].param))
            fail_msg("%s: %u %s %s", refused[i].body, f.status, f.code, f.param);
        assert_true(f.message[0] != '\0');
    }
}

static void j2_depth_is_bounded(void **state) {
    struct llm_request r;
    struct openai_fault f;
    char body[512];
    for (int depth = 60; depth < 70; depth++) {
        int n = snprintf(body, sizeof body, "{" GOOD ",\"a\":");
        memset(body + n, '[', (size_t)depth);
        memset(body + n + depth, ']', (size_t)depth);
        memcpy(body + n + 2 * depth, "}", 2);
        assert_int_equal(read_text(slice_of(body), &r, &f), depth < 64);
    }
}

/* Every beginning of a good body: refused, whatever it lacks, and read no further than it goes. */
static void openai_refuses_a_body_cut_anywhere(void **state) {
    for (size_t i = 0; i < sizeof travelling / sizeof *travelling; i++)
        for (size_t n = 0; n < strlen(travelling[i].body); n++) {
            struct llm_request r;
            struct openai_fault f;
            char *tight = malloc(n > 0 ? n : 1);
            memcpy(tight, travelling[i].body, n);
            assert_false(read_text(slice_make(tight, n), &r, &f));
            free(tight);
        }
}

static int start(void **state) {
    arena_init(&arena, ARENA_MAX_BYTES);
    return 0;
}

static int stop(void **state) {
    arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_members_travel_as_written),
        cmocka_unit_test(openai_reads_stream_and_usage),
        cmocka_unit_test(j12_members_that_steer_gateways_never_travel),
        cmocka_unit_test(openai_says_what_is_wrong_and_where),
        cmocka_unit_test(j2_depth_is_bounded),
        cmocka_unit_test(openai_refuses_a_body_cut_anywhere),
    };
    return cmocka_run_group_tests_name("api/openai", tests, start, stop);
}
