#include "cmocka_all.h"

#include "api/validate.h"

#include <stdio.h>
#include <stdlib.h>

bool llm_knows(const struct llm *m, struct slice model) {
    return slice_starts(model, SLICE("known/"));
}

static struct catalogue *catalogue;

/* The default does not see; the first that does is known/eyes. */
static int read_catalogue(void **state) {
    struct config_error err;
    catalogue = catalogue_read(SLICE("{\"default\":\"known/default\",\"models\":["
                                     "{\"id\":\"known/default\"},"
                                     "{\"id\":\"known/eyes\",\"vision\":true},"
                                     "{\"id\":\"known/more-eyes\",\"vision\":true}]}"),
                               "test", &err);
    return catalogue != NULL ? 0 : -1;
}

static int free_catalogue(void **state) {
    catalogue_free(catalogue);
    return 0;
}

struct reading {
    struct arena arena;
    yyjson_doc *doc;
    struct llm_request request;
    struct faults faults;
    bool ok;
};

static void read_body_of(struct reading *r, const char *id, const char *body) {
    struct slice rest;
    memset(r, 0, sizeof *r);
    arena_init(&r->arena, 1U << 20);
    faults_init(&r->faults);
    r->doc = endpoint_parse(slice_of(body), &r->faults);
    if (r->doc == NULL) return;
    const struct endpoint *e = endpoint_find(slice_of(id), &rest);
    r->ok = endpoint_read(e, yyjson_doc_get_root(r->doc), NULL, catalogue, &r->arena, &r->request,
                          &r->faults);
}

static void read_body(struct reading *r, const char *body) {
    read_body_of(r, "fal-ai/any-llm", body);
}

static void done(struct reading *r) {
    yyjson_doc_free(r->doc);
    faults_free(&r->faults);
    arena_free(&r->arena);
}

struct row {
    const char *body;
    const char *loc, *type; /* of the first fault; NULL: accepted */
    const char *ctx;        /* part of it that must stand there */
};

static void check_row_of(const char *id, const struct row *row) {
    struct reading r;
    char want[256];
    read_body_of(&r, id, row->body);
    if (r.ok != (row->type == NULL)) fail_msg("%s: %s", row->body, r.ok ? "accepted" : "refused");
    if (row->type != NULL) {
        char *json = slice_dup(buf_slice(&r.faults.json));
        snprintf(want, sizeof want, "\"loc\":%s", row->loc);
        if (strstr(json, want) == NULL) fail_msg("%s: no %s in %s", row->body, want, json);
        snprintf(want, sizeof want, "\"type\":\"%s\"", row->type);
        if (strstr(json, want) == NULL) fail_msg("%s: no %s in %s", row->body, want, json);
        if (row->ctx != NULL && strstr(json, row->ctx) == NULL)
            fail_msg("%s: no %s in %s", row->body, row->ctx, json);
        free(json);
    }
    done(&r);
}

static void check_row(const struct row *row) {
    check_row_of("fal-ai/any-llm", row);
}

#define PROMPT "[\"body\",\"prompt\"]"
#define TEMPERATURE "[\"body\",\"temperature\"]"
#define TOKENS "[\"body\",\"max_tokens\"]"

static void endpoint_judges_every_field(void **state) {
    static const struct row rows[] = {
        {"{\"prompt\":\"x\"}", NULL, NULL, NULL},
        {"", PROMPT, "missing", NULL},
        {"{}", PROMPT, "missing", NULL},
        {"{\"prompt\":1}", PROMPT, "string_type", "\"input\":1"},
        {"{\"prompt\":null}", PROMPT, "string_type", NULL},
        {"{\"prompt\":[\"x\"]}", PROMPT, "string_type", NULL},
        {"{\"prompt\":{}}", PROMPT, "string_type", NULL},
        {"{\"prompt\":\"x\",\"model\":\"known/a\"}", NULL, NULL, NULL},
        {"{\"prompt\":\"x\",\"model\":\"other\"}", "[\"body\",\"model\"]", "one_of",
         "unknown model"},
        {"{\"prompt\":\"x\",\"model\":null}", NULL, NULL, NULL},
        {"{\"prompt\":\"x\",\"temperature\":-1}", TEMPERATURE, "greater_than_equal",
         "\"ctx\":{\"ge\":0}"},
        {"{\"prompt\":\"x\",\"temperature\":2.1}", TEMPERATURE, "less_than_equal",
         "\"ctx\":{\"le\":2}"},
        {"{\"prompt\":\"x\",\"temperature\":\"0.5\"}", TEMPERATURE, "float_type", NULL},
        {"{\"prompt\":\"x\",\"temperature\":-0}", NULL, NULL, NULL},
        {"{\"prompt\":\"x\",\"max_tokens\":0}", TOKENS, "greater_than_equal", "\"ctx\":{\"ge\":1}"},
        {"{\"prompt\":\"x\",\"max_tokens\":-1}", TOKENS, "greater_than_equal", NULL},
        {"{\"prompt\":\"x\",\"max_tokens\":1e9}", TOKENS, "less_than_equal",
         "\"ctx\":{\"le\":1000000}"},
        {"{\"prompt\":\"x\",\"max_tokens\":9007199254740993}", TOKENS, "less_than_equal", NULL},
        {"{\"prompt\":\"x\",\"max_tokens\":1.0}", NULL, NULL, NULL},
        {"{\"prompt\":\"x\",\"max_tokens\":1.5}", TOKENS, "int_from_float", NULL},
        {"{\"prompt\":\"x\",\"reasoning\":\"yes\"}", "[\"body\",\"reasoning\"]", "bool_type", NULL},
        {"{\"prompt\":\"x\",\"priority\":\"fast\"}", "[\"body\",\"priority\"]", "one_of",
         "\"expected\":[\"throughput\",\"latency\"]"},
        {"{\"prompt\":\"x\",\"image_urls\":[\"https://a/b\",7]}", "[\"body\",\"image_urls\",1]",
         "string_type", NULL},
        {"{\"prompt\":\"x\",\"image_url\":\"file:///etc/passwd\"}", "[\"body\",\"image_url\"]",
         "url_scheme", NULL},
        {"{\"prompt\":\"x\",\"api_base\":\"http://evil\",\"user_config\":{\"a\":1},\"messages\":[]}",
         NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(&rows[i]);
}

static void endpoint_refuses_what_is_not_an_object_of_json(void **state) {
    static const struct row rows[] = {
        {"{\"prompt\":", "[\"body\",", "json_invalid", NULL},
        {"{\"prompt\":\"x\",}", "[\"body\",", "json_invalid", NULL},
        {"{'prompt':'x'}", "[\"body\",", "json_invalid", NULL},
        {"{} {}", "[\"body\",", "json_invalid", NULL},
        {"[]", "[\"body\"]", "dict_type", NULL},
        {"\"x\"", "[\"body\"]", "dict_type", NULL},
        {"null", "[\"body\"]", "dict_type", NULL},
        {"{\"prompt\":NaN}", "[\"body\",", "json_invalid", NULL},
        {"{\"prompt\":\"a\",\"prompt\":\"b\"}", "[\"body\"]", "json_invalid", "duplicate key"},
        {"{\"prompt\":\"\\ud800\"}", "[\"body\",", "json_invalid", "invalid unicode"},
        {"{\"prompt\":\"\xff\"}", "[\"body\",", "json_invalid", "invalid unicode"},
        {"\xef\xbb\xbf{\"prompt\":\"x\"}", "[\"body\",", "json_invalid", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(&rows[i]);
}

static void endpoint_names_every_fault_at_once(void **state) {
    struct reading r;
    read_body(&r, "{\"temperature\":9,\"max_tokens\":\"many\"}");
    assert_int_equal(r.faults.count, 3);
    assert_true(slice_is(buf_slice(&r.faults.text), "body.prompt: Field required"));
    done(&r);
}

/* JavaScript's ApiError shows `message`, libfal the same text for detail[]. */
static void endpoint_tells_people_the_first_fault(void **state) {
    struct reading r;
    struct buf b;
    buf_init(&b, 4096);
    read_body(&r, "{\"prompt\":1}");
    faults_json(&b, &r.faults);
    assert_true(slice_ends(
        buf_slice(&b), SLICE("],\"message\":\"body.prompt: Input should be a valid string\"}")));
    done(&r);
    read_body(&r, "{\"prompt\":");
    assert_true(slice_is(buf_slice(&r.faults.text), "body.10: JSON decode error"));
    done(&r);
    buf_free(&b);
}

static void endpoint_fills_the_request(void **state) {
    struct reading r;
    read_body(
        &r,
        "{\"prompt\":\"p\\u0000q\",\"system_prompt\":\"s\",\"temperature\":0.25,\"max_tokens\":7,\"reasoning\":true,"
        "\"priority\":\"latency\",\"image_url\":\"https://a/1\",\"image_urls\":[\"data:image/png;base64,AAAA\"]}");
    assert_true(r.ok);
    assert_int_equal(r.request.prompt.len, 3);
    assert_true(slice_is(r.request.system_prompt, "s"));
    assert_true(slice_is(r.request.model, "known/eyes"));
    assert_true(r.request.has_temperature && r.request.temperature == 0.25);
    assert_true(r.request.has_max_tokens && r.request.max_tokens == 7);
    assert_true(r.request.reasoning && r.request.latency);
    assert_int_equal(r.request.nimages, 2);
    assert_true(slice_is(r.request.images[1], "data:image/png;base64,AAAA"));
    done(&r);
}

static void endpoint_is_found_on_whole_segments(void **state) {
    struct slice rest;
    assert_non_null(endpoint_find(SLICE("fal-ai/any-llm"), &rest));
    assert_int_equal(rest.len, 0);
    assert_non_null(endpoint_find(SLICE("fal-ai/any-llm/x/y"), &rest));
    assert_true(slice_is(rest, "x/y"));
    assert_null(endpoint_find(SLICE("fal-ai/any-llm2"), &rest));
    assert_null(endpoint_find(SLICE("fal-ai"), &rest));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoint_judges_every_field),
        cmocka_unit_test(endpoint_refuses_what_is_not_an_object_of_json),
        cmocka_unit_test(endpoint_names_every_fault_at_once),
        cmocka_unit_test(endpoint_tells_people_the_first_fault),
        cmocka_unit_test(endpoint_fills_the_request),
        cmocka_unit_test(endpoint_is_found_on_whole_segments),
    };
    return cmocka_run_group_tests(tests, read_catalogue, free_catalogue);
}
