#include "cmocka_all.h"

#include "api/call.h"
#include "api/openapi.h"

#include <stdio.h>
#include <stdlib.h>

/* --- stand-ins for the rooms behind the handlers */

static struct h1_head head;
static struct arena arena;
static struct {
    unsigned status;
    char *body, *type;
} answered;

const struct h1_head *net_head(const struct net_exchange *x) {
    return &head;
}

struct arena *net_arena(struct net_exchange *x) {
    return &arena;
}

bool net_is_tls(const struct net_exchange *x) {
    return false;
}

struct slice net_peer(const struct net_exchange *x) {
    return SLICE("10.0.0.1");
}

bool net_peer_is_trusted(const struct net_exchange *x) {
    return false;
}

static void keep_answer(unsigned status, struct slice type, struct slice body) {
    free(answered.body);
    free(answered.type);
    answered.status = status;
    answered.body = slice_dup(body);
    answered.type = slice_dup(type);
}

void net_reply(struct net_exchange *x, unsigned status, struct slice type, struct slice body) {
    keep_answer(status, type, body);
}

void call_headers(struct call *c) {
}

void call_json(struct call *c, unsigned status, struct slice body) {
    keep_answer(status, JSON_TYPE, body);
}

void call_error(struct call *c, unsigned status, const char *type, struct slice detail) {
    keep_answer(status, SLICE("error"), detail);
}

struct buf *call_scratch(struct call *c) {
    buf_reset(&c->api->scratch, SIZE_MAX);
    return &c->api->scratch;
}

const struct llm_fault_info *llm_fault_info(enum llm_fault f) {
    return NULL;
}

/* --- the documents of every endpoint, read back */

static struct catalogue *catalogue;

static int read_catalogue(void **state) {
    struct config_error err;
    catalogue = catalogue_read(SLICE("{\"default\":\"blind/one\",\"models\":["
                                     "{\"id\":\"blind/one\"},{\"id\":\"odd/\\\"quote\"},"
                                     "{\"id\":\"eyes/one\",\"vision\":true},"
                                     "{\"id\":\"eyes/two\",\"vision\":true}]}"),
                               "test", &err);
    return catalogue != NULL ? 0 : -1;
}

static int free_catalogue(void **state) {
    catalogue_free(catalogue);
    return 0;
}

#define BASE "http://127.0.0.1:8787"

static char *document(const char *id, void (*write)(struct buf *, const struct endpoint *,
                                                    const struct catalogue *, struct slice)) {
    struct slice rest;
    struct buf b;
    buf_init(&b, 4U << 20);
    write(&b, endpoint_find(slice_of(id), &rest), catalogue, SLICE(BASE));
    size_t len;
    char *text = buf_take(&b, &len);
    assert_non_null(text);
    return text;
}

static yyjson_doc *schema(const char *id) {
    struct json_error err;
    char *text = document(id, openapi_json);
    yyjson_doc *doc = json_parse(slice_of(text), &err);
    if (doc == NULL)
        fail_msg("%s: %s at %zu: %.80s", id, err.reason, err.offset, text + err.offset);
    free(text);
    return doc;
}

/* A pointer of RFC 6901 with %s for the id's slashes. */
static yyjson_val *at(yyjson_doc *doc, const char *pointer) {
    return yyjson_doc_ptr_get(doc, pointer);
}

static yyjson_val *property(yyjson_doc *doc, const char *type, const char *field) {
    char pointer[160];
    snprintf(pointer, sizeof pointer, "/components/schemas/%s/properties/%s", type, field);
    return at(doc, pointer);
}

static bool has(yyjson_val *array, const char *text) {
    size_t i, n;
    yyjson_val *v;
    yyjson_arr_foreach(array, i, n, v) if (slice_is(json_str(v), text)) return true;
    return false;
}

static void assert_text(yyjson_val *v, const char *want) {
    if (!slice_is(json_str(v), want)) fail_msg("%.*s instead of %s", SLICE_ARG(json_str(v)), want);
}

static void openapi_is_one_document_for_every_endpoint(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        yyjson_doc *doc = schema(e->id);
        char path[160];
        assert_text(at(doc, "/openapi"), "3.0.4");
        assert_text(at(doc, "/info/x-fal-metadata/endpointId"), e->id);
        assert_text(at(doc, "/servers/0/url"), BASE "/queue");
        assert_text(at(doc, "/components/securitySchemes/apiKeyAuth/name"), "Authorization");
        assert_int_equal(yyjson_obj_size(at(doc, "/paths")), 4);
        snprintf(path, sizeof path, "/%s", e->id);
        assert_non_null(json_get(json_get(at(doc, "/paths"), path), "post"));
        snprintf(path, sizeof path, "/%s/requests/{request_id}/status", e->id);
        assert_non_null(json_get(json_get(at(doc, "/paths"), path), "get"));
        yyjson_doc_free(doc);
    }
}

/* A word that is not filled in, or one that the table of words lacks. */
static void check_no_word_left(const char *id, const char *text) {
    static const char *const words[] = {"id",          "owner_alias", "name",   "title",
                                        "description", "category",    "base",   "input",
                                        "output",      "fields",      "answer", "example"};
    for (const char *p = strchr(text, '@'); p != NULL; p = strchr(p + 1, '@')) {
        size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz_");
        if (n > 0 && p[1 + n] == '@') fail_msg("%s: %.40s", id, p);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char word[24];
        snprintf(word, sizeof word, "@%s@", words[i]);
        assert_null(strstr(text, word));
    }
}

static void documents_leave_no_word_unfilled(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const char *id = endpoint_at(i)->id;
        char *json = document(id, openapi_json), *text = document(id, llms_txt);
        check_no_word_left(id, json);
        check_no_word_left(id, text);
        free(json);
        free(text);
    }
}

/* Texts stand in JSON, in Markdown and in a shell's quotes as they are. */
static void table_texts_are_plain(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        const char *const texts[] = {e->id, e->title, e->category, e->description,
                                     e->asks != NULL ? e->asks : ""};
        for (size_t k = 0; k < 5; k++)
            for (const char *p = texts[k]; *p != '\0'; p++)
                if (*p < ' ' || *p > '~' || strchr("\"\\@<>&", *p) != NULL)
                    fail_msg("%s: %s", e->id, p);
    }
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const char *example = input_field_at((enum input_row)row)->example;
        assert_true(example == NULL || strchr(example, '\'') == NULL);
    }
}

static void openapi_tells_the_bounds_of_fields(void **state) {
    yyjson_doc *doc = schema("fal-ai/any-llm");
    yyjson_val *model = property(doc, "AnyLlmInput", "model"),
               *tokens = property(doc, "AnyLlmInput", "max_tokens"),
               *priority = property(doc, "AnyLlmInput", "priority");
    assert_int_equal(yyjson_arr_size(at(doc, "/components/schemas/AnyLlmInput/required")), 1);
    assert_true(has(at(doc, "/components/schemas/AnyLlmInput/required"), "prompt"));
    assert_text(json_get(model, "type"), "string");
    assert_text(json_get(model, "default"), "blind/one");
    assert_int_equal(yyjson_arr_size(json_get(model, "enum")), 4);
    assert_true(has(json_get(model, "enum"), "odd/\"quote"));
    assert_text(json_get(tokens, "type"), "integer");
    assert_int_equal(yyjson_get_num(json_get(tokens, "minimum")), 1);
    assert_int_equal(yyjson_get_num(json_get(tokens, "maximum")), 1000000);
    assert_text(json_get(priority, "default"), "latency");
    assert_true(has(json_get(priority, "enum"), "throughput"));
    assert_int_equal(yyjson_get_num(json_get(property(doc, "AnyLlmInput", "prompt"), "maxLength")),
                     8 << 20);
    assert_int_equal(
        yyjson_get_num(json_get(property(doc, "AnyLlmInput", "image_urls"), "maxItems")), 64);
    assert_true(yyjson_is_false(json_get(property(doc, "AnyLlmInput", "reasoning"), "default")));
    yyjson_doc_free(doc);
}

static void openapi_orders_the_fields(void **state) {
    yyjson_doc *doc = schema("openrouter/router");
    static const char *const order[] = {"prompt",    "system_prompt", "model",
                                        "reasoning", "temperature",   "max_tokens"};
    yyjson_val *names = at(doc, "/components/schemas/RouterInput/x-fal-order-properties");
    assert_int_equal(yyjson_arr_size(names), 6);
    for (size_t i = 0; i < 6; i++) assert_text(yyjson_arr_get(names, i), order[i]);
    names = at(doc, "/components/schemas/RouterOutput/x-fal-order-properties");
    assert_int_equal(yyjson_arr_size(names), 5);
    assert_text(yyjson_arr_get(names, 4), "usage");
    yyjson_doc_free(doc);
}

static void openapi_lists_models_that_see_where_images_are_needed(void **state) {
    yyjson_doc *doc = schema("fal-ai/any-llm/vision");
    yyjson_val *model = property(doc, "AnyLlmVisionInput", "model");
    assert_int_equal(yyjson_arr_size(json_get(model, "enum")), 2);
    assert_text(json_get(model, "default"), "eyes/one");
    assert_null(at(doc, "/components/schemas/AnyLlmVisionInput/anyOf"));
    yyjson_doc_free(doc);
    doc = schema("openrouter/router/vision");
    yyjson_val *either = at(doc, "/components/schemas/RouterVisionInput/anyOf");
    assert_int_equal(yyjson_arr_size(either), 2);
    assert_text(yyjson_arr_get(json_get(yyjson_arr_get(either, 1), "required"), 0), "image_urls");
    yyjson_doc_free(doc);
}

static void openapi_names_any_model_where_it_is_free(void **state) {
    yyjson_doc *doc = schema("openrouter/router/video");
    assert_null(json_get(property(doc, "RouterVideoInput", "model"), "enum"));
    assert_true(has(at(doc, "/components/schemas/RouterVideoInput/required"), "model"));
    assert_int_equal(yyjson_arr_size(at(doc, "/components/schemas/RouterVideoInput/not/required")),
                     2);
    assert_null(property(doc, "RouterVideoInput", "image_urls"));
    assert_null(property(doc, "RouterVideoOutput", "partial"));
    yyjson_doc_free(doc);
}

static void openapi_without_a_model_that_sees_lists_them_all(void **state) {
    struct config_error err;
    struct catalogue *kept = catalogue;
    catalogue = catalogue_read(SLICE("{\"default\":\"a/b\",\"models\":[{\"id\":\"a/b\"}]}"), "t",
                               &err);
    yyjson_doc *doc = schema("fal-ai/any-llm/vision");
    yyjson_val *model = property(doc, "AnyLlmVisionInput", "model");
    assert_int_equal(yyjson_arr_size(json_get(model, "enum")), 1);
    assert_text(json_get(model, "default"), "a/b");
    yyjson_doc_free(doc);
    catalogue_free(catalogue);
    catalogue = kept;
}

/* --- the page in Markdown */

static void llms_page_names_every_field(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        char *text = document(e->id, llms_txt), want[120];
        for (unsigned row = 0; row < IN_COUNT; row++) {
            snprintf(want, sizeof want, "\n- `%s` (", input_field_at((enum input_row)row)->name);
            bool there = strstr(text, want) != NULL;
            bool other_model = row == IN_MODEL || row == IN_ANY_MODEL;
            if ((e->takes & 1U << row) != 0 ? !there : there && !other_model)
                fail_msg("%s: %s", e->id, want);
        }
        snprintf(want, sizeof want, "POST " BASE "/run/%s`", e->id);
        assert_non_null(strstr(text, want));
        free(text);
    }
}

static void llms_page_shows_what_is_needed_in_its_example(void **state) {
    char *text = document("openrouter/router/vision", llms_txt);
    assert_non_null(strstr(text, "-d '{\"prompt\":\"What is in this picture?\","
                                 "\"model\":\"google/gemini-2.5-flash\","
                                 "\"image_urls\":[\"https://example.org/cat.png\"]}'"));
    assert_non_null(strstr(text, "REQUEST=" BASE "/queue/openrouter/router/requests/$REQUEST_ID"));
    assert_non_null(strstr(text, "import { fal } from \"@fal-ai/client\";"));
    free(text);
}

/* --- the handlers */

struct asked {
    struct config config;
    struct api api;
    struct call call;
};

static const struct config_alias aliases[] = {{{"workflows/me/chat", 17}, {"fal-ai/any-llm", 14}}};

static void ask(struct asked *a, const char *query, const char *app,
                void (*handle)(struct call *)) {
    arena_init(&arena, 1U << 20);
    a->api.config = &a->config;
    a->api.catalogue = catalogue;
    buf_init(&a->api.scratch, 4U << 20);
    a->call = (struct call){.api = &a->api, .app = slice_of(app)};
    a->call.at = (struct reach){.host = SLICE("localhost:8787"), .query = slice_of(query)};
    handle(&a->call);
    buf_free(&a->api.scratch);
    arena_free(&arena);
}

static void check_openapi(const char *query, const char *server, const char *id) {
    struct asked a = {.config.naliases = 1, .config.aliases = (struct config_alias *)aliases};
    struct json_error err;
    ask(&a, query, "", handle_openapi);
    if (id == NULL) {
        if (answered.status != 404) fail_msg("%s: %u", query, answered.status);
        assert_string_equal(answered.body, "null");
        return;
    }
    if (answered.status != 200) fail_msg("%s: %u", query, answered.status);
    assert_string_equal(answered.type, "application/json");
    yyjson_doc *doc = json_parse(slice_of(answered.body), &err);
    assert_text(at(doc, "/servers/0/url"), server);
    assert_text(at(doc, "/info/x-fal-metadata/endpointId"), id);
    yyjson_doc_free(doc);
}

#define LOCAL_QUEUE "http://localhost:8787/queue"

static void openapi_is_asked_by_any_spelling_of_an_id(void **state) {
    check_openapi("endpoint_id=fal-ai/any-llm", LOCAL_QUEUE, "fal-ai/any-llm");
    check_openapi("endpoint_id=fal-ai%2Fany-llm%2Fvision", LOCAL_QUEUE, "fal-ai/any-llm/vision");
    check_openapi("endpoint_id=110602490-any-llm", LOCAL_QUEUE, "fal-ai/any-llm");
    check_openapi("endpoint_id=workflows/me/chat/", LOCAL_QUEUE, "workflows/me/chat");
}

static void openapi_of_an_unknown_endpoint_is_null(void **state) {
    check_openapi("", NULL, NULL);
    check_openapi("endpoint_id=", NULL, NULL);
    check_openapi("endpoint_id=fal-ai/flux/dev", NULL, NULL);
    check_openapi("endpoint_id=fal-ai/any-llm/nothing", NULL, NULL);
    check_openapi("endpoint_id=workflows/me/chat/vision", NULL, NULL);
    check_openapi("endpoint_id=fal-ai/any-llm&endpoint_id=fal-ai/any-llm", NULL, NULL);
    check_openapi("endpoint_id=%zz", NULL, NULL);
}

static void openapi_is_reached_as_the_operator_says(void **state) {
    struct asked a = {.config.public_url = "https://llm.example.org/ai"};
    ask(&a, "endpoint_id=openrouter/router", "", handle_openapi);
    assert_non_null(strstr(answered.body, "\"url\": \"https://llm.example.org/ai/queue\""));
    assert_non_null(
        strstr(answered.body, "\"https://llm.example.org/ai/models/openrouter/router/llms.txt\""));
}

static void llms_page_is_served_for_known_endpoints(void **state) {
    struct asked a = {.config.naliases = 1, .config.aliases = (struct config_alias *)aliases};
    ask(&a, "", "workflows/me/chat", handle_llms);
    assert_int_equal(answered.status, 200);
    assert_string_equal(answered.type, "text/plain; charset=utf-8");
    assert_non_null(strstr(answered.body, "/queue/workflows/me/chat/requests/"));
    ask(&a, "", "fal-ai/flux", handle_llms);
    assert_int_equal(answered.status, 404);
}

static int free_answer(void **state) {
    free(answered.body);
    free(answered.type);
    return free_catalogue(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openapi_is_one_document_for_every_endpoint),
        cmocka_unit_test(documents_leave_no_word_unfilled),
        cmocka_unit_test(table_texts_are_plain),
        cmocka_unit_test(openapi_tells_the_bounds_of_fields),
        cmocka_unit_test(openapi_orders_the_fields),
        cmocka_unit_test(openapi_lists_models_that_see_where_images_are_needed),
        cmocka_unit_test(openapi_names_any_model_where_it_is_free),
        cmocka_unit_test(openapi_without_a_model_that_sees_lists_them_all),
        cmocka_unit_test(llms_page_names_every_field),
        cmocka_unit_test(llms_page_shows_what_is_needed_in_its_example),
        cmocka_unit_test(openapi_is_asked_by_any_spelling_of_an_id),
        cmocka_unit_test(openapi_of_an_unknown_endpoint_is_null),
        cmocka_unit_test(openapi_is_reached_as_the_operator_says),
        cmocka_unit_test(llms_page_is_served_for_known_endpoints),
    };
    return cmocka_run_group_tests(tests, read_catalogue, free_answer);
}
