#include "tap.h"

#include "llm/route.h"

#define ALIAS "local/small"

static const size_t to_lab[] = {1}, to_lab_router[] = {1, 0}, to_router_local[] = {0, 2},
                    to_local[] = {2};

static struct config_upstream three[] = {
    {.name = S("openrouter"), .kind = UPSTREAM_OPENROUTER},
    {.name = S("lab"), .kind = UPSTREAM_OPENAI},
    {.name = S("local"), .kind = UPSTREAM_LOCAL, .alias = S(ALIAS)},
};
static struct config_upstream two_labs[] = {
    {.name = S("one"), .kind = UPSTREAM_OPENAI},
    {.name = S("two"), .kind = UPSTREAM_OPENAI, .keeps_nothing = true},
};
static struct config_upstream one_local[] = {
    {.name = S("local"), .kind = UPSTREAM_LOCAL, .alias = S(ALIAS)}};

static const struct config_route table[] = {
    {S("*"), 2, to_router_local},
    {S("meta-llama/*"), 1, to_lab},
    {S("meta-llama/llama-4*"), 2, to_lab_router},
    {S("openai/gpt-4o"), 1, to_local},
    {S("house/own-model"), 1, to_lab},
};

static struct config routed = {.nupstreams = 3, .upstreams = three, .nroutes = 5, .routes = table};
static struct config with_fallback = {.nupstreams = 3,
                                      .upstreams = three,
                                      .nroutes = 4,
                                      .routes = table + 1,
                                      .fallback_model = S(ALIAS)};
static struct config unrouted = {.nupstreams = 3, .upstreams = three};
static struct config unrouted_fallback = {
    .nupstreams = 3, .upstreams = three, .fallback_model = S(ALIAS)};
static struct config two_vendors = {.nupstreams = 2, .upstreams = two_labs};
static struct config embedded = {.nupstreams = 1, .upstreams = one_local};
static struct config nothing = {0};

/* Steps as "upstream=model" or "upstream=model>upstream id", "?" before those of the fallback. */
static const struct {
    const char *rule;
    const struct config *cfg;
    const char *model;
    bool keeps_nothing;
    const char *want;
} rows[] = {
    {"exact beats prefix", &routed, "openai/gpt-4o", false, "local=" ALIAS},
    {"prefix beats star", &routed, "meta-llama/llama-3.1-8b-instruct", false,
     "lab=meta-llama/llama-3.1-8b-instruct"},
    {"the longer prefix", &routed, "meta-llama/llama-4-scout", false,
     "lab=meta-llama/llama-4-scout openrouter=meta-llama/llama-4-scout"},
    {"star, and a retired id", &routed, "google/gemini-flash-1.5", false,
     "openrouter=google/gemini-2.5-flash-lite local=" ALIAS},
    {"an id only a route names", &routed, "house/own-model", false, "lab=house/own-model"},
    {"a prefix is a promise", &routed, "meta-llama/unheard-of", false, "lab=meta-llama/unheard-of"},
    {"J10: star is none", &routed, "unheard/of", false, ""},
    {"the alias is the local one's", &routed, ALIAS, false, "local=" ALIAS},
    {"no route, a fallback", &with_fallback, "google/gemini-2.5-pro", false, "?local=" ALIAS},
    {"route, then fallback", &with_fallback, "meta-llama/llama-4-scout", false,
     "lab=meta-llama/llama-4-scout openrouter=meta-llama/llama-4-scout ?local=" ALIAS},
    {"J10: fallback is for known ids", &with_fallback, "unheard/of", false, ""},
    {"no routes: openrouter", &unrouted, "google/gemini-2.5-pro", false,
     "openrouter=google/gemini-2.5-pro"},
    {"no routes: alias", &unrouted, ALIAS, false, "local=" ALIAS},
    {"no routes: fallback", &unrouted_fallback, "google/gemini-2.5-pro", false,
     "openrouter=google/gemini-2.5-pro ?local=" ALIAS},
    {"no routes: vendors in order", &two_vendors, "openai/gpt-4o", false,
     "one=openai/gpt-4o>gpt-4o two=openai/gpt-4o>gpt-4o"},
    {"enterprise", &two_vendors, "openai/gpt-4o", true, "two=openai/gpt-4o>gpt-4o"},
    {"enterprise over openrouter", &unrouted, "openai/o3", true, "openrouter=openai/o3"},
    {"enterprise, lab kept out", &routed, "meta-llama/llama-4-scout", true,
     "openrouter=meta-llama/llama-4-scout"},
    {"only a local one", &embedded, "anthropic/claude-3.5-sonnet", false, "local=" ALIAS},
    {"only a local one, unknown id", &embedded, "unheard/of", false, ""},
    {"nothing", &nothing, "openai/gpt-4o", false, ""},
    {"empty id", &embedded, "", false, ""},
    {"a pattern is no id", &routed, "*", false, ""},
    {"nor is what no header can hold", &routed, "meta-llama/x\ny", false, ""},
    {"nor bytes beyond ASCII", &routed, "meta-llama/\xc3\xa9", false, ""},
};

static void print_steps(const struct config *cfg, const struct route_step *steps, size_t n,
                        struct slice *out, char *text, size_t size) {
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        bool same = slice_eq(steps[i].model, steps[i].upstream_id);
        len += (size_t)snprintf(text + len, size - len, "%s%s%.*s=%.*s%s%.*s", i > 0 ? " " : "",
                                steps[i].fallback ? "?" : "",
                                SLICE_ARG(cfg->upstreams[steps[i].upstream].name),
                                SLICE_ARG(steps[i].model), same ? "" : ">",
                                same ? 0 : (int)steps[i].upstream_id.len, steps[i].upstream_id.ptr);
    }
    *out = slice_make(text, len);
}

static void models_find_their_upstreams(void **state) {
    struct config_error err;
    struct catalogue *cat = catalogue_load(NULL, &err);
    assert_non_null(cat);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct route_step steps[ROUTE_MAX_STEPS];
        struct slice got;
        char text[512];
        size_t n = route_find(rows[i].cfg, cat, slice_of(rows[i].model), rows[i].keeps_nothing,
                              steps);
        print_steps(rows[i].cfg, steps, n, &got, text, sizeof text);
        if (!slice_is(got, rows[i].want)) print_error("%s:\n", rows[i].rule);
        expect_text(got, rows[i].want);
    }
    catalogue_free(cat);
}

static void the_start_up_line_says_who_answers(void **state) {
    static const struct {
        const struct config *cfg;
        const char *want;
    } lines[] = {
        {&embedded, "every model is answered by " ALIAS},
        {&unrouted, "models are answered by upstream openrouter"},
        {&unrouted_fallback,
         "models are answered by upstream openrouter; " ALIAS " answers what no upstream has"},
        {&routed, "5 routes over 3 upstreams"},
        {&nothing, "no upstream is configured: no model can be answered"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[256];
        route_describe(lines[i].cfg, line, sizeof line);
        assert_string_equal(line, lines[i].want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_find_their_upstreams),
        cmocka_unit_test(the_start_up_line_says_who_answers),
    };
    return cmocka_run_group_tests_name("llm/route", tests, NULL, NULL);
}
