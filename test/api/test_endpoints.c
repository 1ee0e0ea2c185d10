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
    assert_true(r.request.reasoning && r.request.priority == LLM_PRIORITY_LATENCY);
    assert_int_equal(r.request.nimages, 2);
    assert_true(slice_is(r.request.images[0], "https://a/1"));
    assert_true(slice_is(r.request.images[1], "data:image/png;base64,AAAA"));
    done(&r);
}

/* --- what differs between the endpoints */

#define ROUTER "\"prompt\":\"x\",\"model\":\"known/a\""
#define BODY(field) "[\"body\",\"" field "\"]"

static void endpoint_needs_what_its_schema_needs(void **state) {
    static const struct {
        const char *id;
        struct row row;
    } rows[] = {
        {"fal-ai/any-llm/vision", {"{\"prompt\":\"x\"}", NULL, NULL, NULL}},
        {"fal-ai/any-llm/vision", {"{\"prompt\":\"x\",\"image_urls\":[]}", NULL, NULL, NULL}},
        {"fal-ai/any-llm/vision",
         {"{\"prompt\":\"x\",\"image_url\":\"https://a/b\"}", NULL, NULL, NULL}},
        {"fal-ai/any-llm/vision",
         {"{\"prompt\":\"x\",\"image_urls\":[\"https://a/b\"]}", NULL, NULL, NULL}},
        {"fal-ai/any-llm/enterprise", {"{\"prompt\":\"x\"}", NULL, NULL, NULL}},
        {"openrouter/router", {"{\"prompt\":\"x\"}", BODY("model"), "missing", NULL}},
        {"openrouter/router",
         {"{\"prompt\":\"x\",\"model\":null}", BODY("model"), "string_type", NULL}},
        {"openrouter/router", {"{" ROUTER "}", NULL, NULL, NULL}},
        {"openrouter/router", {"{" ROUTER ",\"priority\":\"fast\"}", NULL, NULL, NULL}},
        {"openrouter/router", {"{" ROUTER ",\"image_urls\":7}", NULL, NULL, NULL}},
        {"openrouter/router/enterprise", {"{\"prompt\":\"x\"}", BODY("model"), "missing", NULL}},
        {"openrouter/router/vision", {"{" ROUTER "}", BODY("image_urls"), "missing", NULL}},
        {"openrouter/router/vision",
         {"{" ROUTER ",\"image_url\":null,\"image_urls\":null}", BODY("image_urls"), "missing",
          NULL}},
        {"openrouter/router/vision",
         {"{" ROUTER ",\"image_urls\":[]}", BODY("image_urls"), "sequence_too_short",
          "\"ctx\":{\"min_length\":1}"}},
        {"openrouter/router/vision",
         {"{" ROUTER ",\"image_url\":\"https://a/b\"}", NULL, NULL, NULL}},
        {"openrouter/router/audio", {"{" ROUTER "}", BODY("audio_url"), "missing", NULL}},
        {"openrouter/router/audio",
         {"{" ROUTER ",\"audio_url\":null}", BODY("audio_url"), "string_type", NULL}},
        {"openrouter/router/audio",
         {"{" ROUTER ",\"audio_url\":[\"https://a/b\"]}", BODY("audio_url"), "string_type", NULL}},
        {"openrouter/router/video", {"{" ROUTER "}", NULL, NULL, NULL}},
        {"openrouter/router/video",
         {"{" ROUTER ",\"video_url\":\"https://a/b\",\"video_urls\":[\"https://a/c\"]}",
          BODY("video_urls"), "value_error", NULL}},
        {"openrouter/router/video",
         {"{" ROUTER ",\"video_url\":\"https://a/b\",\"video_urls\":[]}", NULL, NULL, NULL}},
        {"openrouter/router/video/enterprise",
         {"{" ROUTER ",\"video_urls\":\"https://a/b\"}", BODY("video_urls"), "list_type", NULL}},
        {"openrouter/router/openai/v1/chat/completions",
         {"{\"model\":\"known/a\"}", BODY("messages"), "missing", NULL}},
        {"openrouter/router/openai/v1/chat/completions",
         {"{\"model\":\"known/a\",\"messages\":\"x\"}", BODY("messages"), "list_type", NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row_of(rows[i].id, &rows[i].row);
}

static void check_media(const char *id, const char *field, const char *url, const char *type,
                        const char *ctx) {
    char body[512], loc[64];
    snprintf(body, sizeof body, "{" ROUTER ",\"%s\":\"%s\"}", field, url);
    snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", field);
    check_row_of(id, &(struct row){body, loc, type, ctx});
}

static void media_may_be_an_address_or_a_data_uri(void **state) {
    static const char *const good[] = {
        "https://a/b.png",
        "http://[::1]:8080/b?c=d#e",
        "https://example.org",
        "data:image/png;base64,AAAA",
        "data:image/png;base64,AAA=",
        "data:image/png;base64,AA==",
        "data:IMAGE/JPEG;name=a.jpg;BASE64,+/az09AZ",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check_media("openrouter/router/vision", "image_url", good[i], NULL, NULL);
    check_media("openrouter/router/audio", "audio_url", "data:audio/wav;base64,AAAA", NULL, NULL);
    check_media("openrouter/router/video", "video_url", "data:video/mp4;base64,AAAA", NULL, NULL);
}

static void media_of_another_kind_is_not_supported(void **state) {
    static const char *const images[] = {
        "data:text/html;base64,AAAA", "data:;base64,AAAA",       "data:,x",
        "data:image;base64,AAAA",     "data:image/;base64,AAAA", "data:audio/wav;base64,AAAA",
        "data:imageX/png;base64,AAAA"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        check_media("openrouter/router/vision", "image_url", images[i], "unsupported_image_format",
                    "\"ctx\":{\"supported_formats\":[\"image/*\"]}");
    check_media("openrouter/router/audio", "audio_url", "data:image/png;base64,AAAA",
                "unsupported_audio_format", "\"audio/*\"");
    check_media("openrouter/router/video", "video_url", "data:image/png;base64,AAAA",
                "unsupported_video_format", "\"video/*\"");
}

static void media_that_cannot_be_read_is_told(void **state) {
    static const char *const images[] = {"data:image/png",
                                         "data:image/png,AAAA",
                                         "data:image/png;base64",
                                         "data:image/png;base64,",
                                         "data:image/png;base64,A",
                                         "data:image/png;base64,AA",
                                         "data:image/png;base64,AAA",
                                         "data:image/png;base64,A===",
                                         "data:image/png;base64,====",
                                         "data:image/png;base64,AA=A",
                                         "data:image/png;base64,AA-_",
                                         "data:image/png;base64,AA A",
                                         "data:image/png;base64,AAAA\\n",
                                         "data:image/png;xbase64,AAAA",
                                         "data:image/png;base64;q=1,AAAA"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        check_media("openrouter/router/vision", "image_url", images[i], "image_load_error", NULL);
    check_media("openrouter/router/audio", "audio_url", "data:audio/wav;base64,?",
                "file_download_error", NULL);
    check_media("openrouter/router/video", "video_url", "data:video/mp4;base64,?",
                "file_download_error", NULL);
}

/* A bad byte is found wherever it stands: blocks of 64, and what is left of them. */
static void media_bytes_are_looked_at_one_by_one(void **state) {
    for (size_t at = 0; at < 140; at++) {
        char bytes[141], url[256];
        memset(bytes, 'A', 140);
        bytes[140] = '\0';
        bytes[at] = '!';
        snprintf(url, sizeof url, "data:image/png;base64,%s", bytes);
        check_media("openrouter/router/vision", "image_url", url, "image_load_error", NULL);
        bytes[at] = 'z';
        snprintf(url, sizeof url, "data:image/png;base64,%s", bytes);
        check_media("openrouter/router/vision", "image_url", url, NULL, NULL);
    }
}

static bool letter_of_base64(unsigned char c) {
    return c != '\0' &&
           strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c) != NULL;
}

static void media_bytes_are_base64s_alphabet(void **state) {
    for (unsigned c = ' '; c < 127; c++) {
        char url[64];
        if (c == '"' || c == '\\' || c == '=') continue;
        snprintf(url, sizeof url, "data:image/png;base64,AA%cA", (char)c);
        check_media("openrouter/router/vision", "image_url", url,
                    letter_of_base64((unsigned char)c) ? NULL : "image_load_error", NULL);
    }
}

static void media_addresses_are_sound(void **state) {
    static const struct {
        const char *url, *type;
    } rows[] = {
        {"", "url_scheme"},
        {"ftp://a/b", "url_scheme"},
        {"file:///etc/passwd", "url_scheme"},
        {"//a/b", "url_scheme"},
        {"javascript:alert(1)", "url_scheme"},
        {"https://", "url_parsing"},
        {"https:///b", "url_parsing"},
        {"http://:80/", "url_parsing"},
        {"http://?a", "url_parsing"},
        {"https://a b/", "url_parsing"},
        {"https://a/\\r\\nHost: b", "url_parsing"},
        {"https://a/\\u0000", "url_parsing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_media("openrouter/router/vision", "image_url", rows[i].url, rows[i].type, NULL);
}

static void media_addresses_have_a_longest(void **state) {
    struct reading r;
    struct buf b;
    for (size_t extra = 0; extra < 2; extra++) {
        buf_init(&b, 1U << 20);
        buf_puts(&b, "{" ROUTER ",\"image_url\":\"https://a/");
        for (size_t i = 0; i < 16384 - 10 + extra; i++) buf_addc(&b, 'x');
        buf_puts(&b, "\"}");
        buf_addc(&b, '\0');
        read_body_of(&r, "openrouter/router/vision", buf_slice(&b).ptr);
        assert_int_equal(r.ok, extra == 0);
        done(&r);
        buf_free(&b);
    }
}

static void media_faults_name_each_item(void **state) {
    struct reading r;
    read_body_of(&r, "openrouter/router/vision",
                 "{" ROUTER ",\"image_urls\":[\"x\",\"https://a/b\",7]}");
    assert_int_equal(r.faults.count, 2);
    assert_true(slice_starts(buf_slice(&r.faults.text), SLICE("body.image_urls.0: ")));
    char *json = slice_dup(buf_slice(&r.faults.json));
    assert_non_null(strstr(json, "[\"body\",\"image_urls\",2]"));
    free(json);
    done(&r);
}

static void endpoint_takes_sixty_four_images(void **state) {
    for (size_t n = 64; n <= 65; n++) {
        struct reading r;
        struct buf b;
        buf_init(&b, 1U << 16);
        buf_puts(&b, "{" ROUTER ",\"image_urls\":[\"https://a/0\"");
        for (size_t i = 1; i < n; i++) buf_printf(&b, ",\"https://a/%zu\"", i);
        buf_puts(&b, "]}");
        buf_addc(&b, '\0');
        read_body_of(&r, "openrouter/router/vision", buf_slice(&b).ptr);
        assert_int_equal(r.ok, n == 64);
        if (r.ok) assert_true(slice_is(r.request.images[63], "https://a/63"));
        done(&r);
        buf_free(&b);
    }
}

static void endpoint_fills_audios_and_videos(void **state) {
    struct reading r;
    read_body_of(&r, "openrouter/router/audio", "{" ROUTER ",\"audio_url\":\"https://a/1\"}");
    assert_true(r.ok && r.request.naudios == 1 && r.request.nvideos == 0);
    assert_true(slice_is(r.request.audios[0], "https://a/1"));
    done(&r);
    read_body_of(&r, "openrouter/router/video",
                 "{" ROUTER ",\"video_urls\":[\"https://a/1\",\"https://a/2\"]}");
    assert_true(r.ok && r.request.nvideos == 2 && r.request.naudios == 0);
    assert_true(slice_is(r.request.videos[1], "https://a/2"));
    done(&r);
    read_body_of(&r, "openrouter/router", "{" ROUTER ",\"video_url\":\"https://a/1\"}");
    assert_true(r.ok && r.request.nvideos == 0);
    done(&r);
}

static void check_default(const char *id, const char *body, const char *model) {
    struct reading r;
    read_body_of(&r, id, body);
    assert_true(r.ok);
    if (!slice_is(r.request.model, model))
        fail_msg("%s %s: %.*s", id, body, SLICE_ARG(r.request.model));
    done(&r);
}

static void endpoint_chooses_a_model_that_sees_for_images(void **state) {
    const char *with = "{\"prompt\":\"x\",\"image_url\":\"https://a/b\"}";
    check_default("fal-ai/any-llm", "{\"prompt\":\"x\"}", "known/default");
    check_default("fal-ai/any-llm", with, "known/eyes");
    check_default("fal-ai/any-llm/vision", with, "known/eyes");
    check_default("fal-ai/any-llm/vision", "{\"prompt\":\"x\"}", "known/eyes");
    check_default("fal-ai/any-llm/enterprise", "{\"prompt\":\"x\",\"model\":\"\\u006bnown/x\"}",
                  "known/x");
}

/* Nobody pays premium, or is sent to what is gone, without having asked for it. */
static void endpoint_default_that_sees_is_the_fittest(void **state) {
    static const struct {
        const char *models, *want;
    } rows[] = {
        {"{\"id\":\"a\",\"vision\":true,\"premium\":true},"
         "{\"id\":\"b\",\"vision\":true,\"replaced_by\":\"c\"},{\"id\":\"c\",\"vision\":true},"
         "{\"id\":\"d\",\"vision\":true}",
         "c"},
        {"{\"id\":\"a\",\"vision\":true,\"premium\":true},"
         "{\"id\":\"b\",\"vision\":true,\"replaced_by\":\"c\"},{\"id\":\"c\"}",
         "b"},
        {"{\"id\":\"a\",\"vision\":true,\"premium\":true,\"replaced_by\":\"b\"},"
         "{\"id\":\"b\",\"vision\":true,\"premium\":true}",
         "b"},
        {"{\"id\":\"a\"}", "z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_error err;
        char text[512];
        snprintf(text, sizeof text, "{\"default\":\"z\",\"models\":[{\"id\":\"z\"},%s]}",
                 rows[i].models);
        struct catalogue *c = catalogue_read(slice_of(text), "test", &err);
        if (c == NULL) fail_msg("%s", err.text);
        assert_true(slice_is(endpoint_default_model(c, false), "z"));
        assert_true(slice_is(endpoint_default_model(c, true), rows[i].want));
        catalogue_free(c);
    }
}

static void endpoint_default_stays_when_it_sees(void **state) {
    struct config_error err;
    struct catalogue *c = catalogue_load(NULL, &err);
    assert_non_null(c);
    assert_true(slice_eq(endpoint_default_model(c, true), catalogue_default(c)));
    catalogue_free(c);
}

static void enterprise_keeps_nothing(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        assert_int_equal(e->keeps_nothing, slice_ends(slice_of(e->id), SLICE("/enterprise")));
        struct reading r;
        read_body_of(&r, e->id, "{}");
        assert_int_equal(r.request.keeps_nothing, e->keeps_nothing);
        done(&r);
    }
}

static void endpoint_prefers_latency_where_it_has_a_priority(void **state) {
    static const struct {
        const char *id, *body;
        enum llm_priority priority;
    } rows[] = {
        {"fal-ai/any-llm", "{\"prompt\":\"x\"}", LLM_PRIORITY_LATENCY},
        {"fal-ai/any-llm", "{\"prompt\":\"x\",\"priority\":null}", LLM_PRIORITY_LATENCY},
        {"fal-ai/any-llm", "{\"prompt\":\"x\",\"priority\":\"latency\"}", LLM_PRIORITY_LATENCY},
        {"fal-ai/any-llm", "{\"prompt\":\"x\",\"priority\":\"throughput\"}",
         LLM_PRIORITY_THROUGHPUT},
        {"openrouter/router", "{" ROUTER "}", LLM_PRIORITY_NONE},
        {"openrouter/router", "{" ROUTER ",\"priority\":\"latency\"}", LLM_PRIORITY_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reading r;
        read_body_of(&r, rows[i].id, rows[i].body);
        assert_true(r.ok);
        assert_int_equal(r.request.priority, rows[i].priority);
        done(&r);
    }
}

/* J12: what other gateways obey in a body reaches no request. */
static void endpoint_ignores_what_it_does_not_know_at_any_depth(void **state) {
    struct reading plain, loaded;
    read_body_of(&plain, "openrouter/router", "{" ROUTER "}");
    read_body_of(
        &loaded, "openrouter/router",
        "{" ROUTER ",\"api_base\":\"http://evil\",\"extra_headers\":{\"a\":{\"base_url\":1}},"
        "\"user_config\":[{\"api_key\":\"k\"}],\"messages\":7,\"hint\":\"x\",\"members\":\"y\"}");
    assert_true(plain.ok && loaded.ok);
    assert_true(loaded.request.hint.len == 0 && loaded.request.members.len == 0);
    plain.request.prompt = loaded.request.prompt;
    plain.request.model = loaded.request.model;
    assert_memory_equal(&plain.request, &loaded.request, sizeof plain.request);
    done(&plain);
    done(&loaded);
}

/* --- the table itself */

static void table_of_endpoints_is_sound(void **state) {
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        assert_int_equal((e->needs | e->needs_one | e->one_only) & ~e->takes, 0);
        assert_false((e->takes & IN(MODEL)) != 0 && (e->takes & IN(ANY_MODEL)) != 0);
        assert_true(e->dialect == ENDPOINT_OPENAI || (e->outputs & OUTPUT_TEXT) != 0);
        assert_true(e->title != NULL && e->description != NULL && e->category != NULL);
    }
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const struct input_field *in = input_field_at((enum input_row)row);
        bool media = in->type == INPUT_URL || in->type == INPUT_URLS;
        assert_non_null(in->name);
        assert_non_null(in->description);
        assert_int_equal(media, in->media != MEDIA_NONE);
        assert_int_equal(in->type == INPUT_ENUM, in->values != NULL);
        assert_true(in->set != NULL || row == IN_MESSAGES);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoint_judges_every_field),
        cmocka_unit_test(endpoint_refuses_what_is_not_an_object_of_json),
        cmocka_unit_test(endpoint_names_every_fault_at_once),
        cmocka_unit_test(endpoint_tells_people_the_first_fault),
        cmocka_unit_test(endpoint_fills_the_request),
        cmocka_unit_test(endpoint_needs_what_its_schema_needs),
        cmocka_unit_test(media_may_be_an_address_or_a_data_uri),
        cmocka_unit_test(media_of_another_kind_is_not_supported),
        cmocka_unit_test(media_that_cannot_be_read_is_told),
        cmocka_unit_test(media_bytes_are_looked_at_one_by_one),
        cmocka_unit_test(media_bytes_are_base64s_alphabet),
        cmocka_unit_test(media_addresses_are_sound),
        cmocka_unit_test(media_addresses_have_a_longest),
        cmocka_unit_test(media_faults_name_each_item),
        cmocka_unit_test(endpoint_takes_sixty_four_images),
        cmocka_unit_test(endpoint_fills_audios_and_videos),
        cmocka_unit_test(endpoint_chooses_a_model_that_sees_for_images),
        cmocka_unit_test(endpoint_default_that_sees_is_the_fittest),
        cmocka_unit_test(endpoint_default_stays_when_it_sees),
        cmocka_unit_test(enterprise_keeps_nothing),
        cmocka_unit_test(endpoint_prefers_latency_where_it_has_a_priority),
        cmocka_unit_test(endpoint_ignores_what_it_does_not_know_at_any_depth),
        cmocka_unit_test(table_of_endpoints_is_sound),
    };
    return cmocka_run_group_tests(tests, read_catalogue, free_catalogue);
}
