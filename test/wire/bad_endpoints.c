/* docs/bad-input.md, bodies: the rows of bad_body.h at every endpoint (direct, as a stream, through the queue) and in
 * OpenAI's dialect, with its shape and its statuses. `fal-ai/any-llm` itself is bad_body.c's. */
#include "bad_body.h"

#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

#define JSON "Content-Type: application/json\r\n"
#define CHAT "/v1/chat/completions"
#define CHAT_ID "openrouter/router/openai/v1/chat/completions"
#define MODEL "\"model\":\"test/a\""
#define IMAGE "\"image_url\":\"https://a.example/x.png\""
#define VIDEO "\"video_url\":\"https://a.example/x.mp4\""
#define AUDIO "\"audio_url\":\"https://a.example/x.mp3\""
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

/* What a good input of the endpoint has besides a prompt, and which fields of the rows it does not take: those are
 * ignored there, whatever they hold. */
static const struct target {
    const char *id;
    const char *members[2];
    const char *ignores[4];
    bool wants_model, openai;
} targets[] = {
    {"fal-ai/any-llm/vision", {IMAGE}, {""}, false, false},
    {"fal-ai/any-llm/enterprise", {NULL}, {""}, false, false},
    {"openrouter/router", {MODEL}, {"priority", "image_url", "image_urls"}, true, false},
    {"openrouter/router/vision", {MODEL, IMAGE}, {"priority"}, true, false},
    {"openrouter/router/enterprise", {MODEL}, {"priority", "image_url", "image_urls"}, true, false},
    {"openrouter/router/audio",
     {MODEL, AUDIO},
     {"priority", "image_url", "image_urls"},
     true,
     false},
    {"openrouter/router/video",
     {MODEL, VIDEO},
     {"priority", "image_url", "image_urls"},
     true,
     false},
    {"openrouter/router/video/enterprise",
     {MODEL, VIDEO},
     {"priority", "image_url", "image_urls"},
     true,
     false},
    {CHAT_ID, {MODEL, MESSAGES}, {NULL}, true, true},
};
#define NTARGETS (sizeof targets / sizeof *targets)

/* "model" of {"model":"test/a"}, with its quotes. */
static bool names(const struct row *r, const char *member) {
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)(strchr(member, ':') - member), member);
    return memmem(r->body, r->len, name, strlen(name)) != NULL;
}

/* The row's body with the members that this endpoint needs, where the row does not speak of them itself. */
static struct text body_at(const struct target *at, const struct row *r) {
    struct text t = {0};
    bool first = r->len > 1 && r->body[1] == '}';
    if (r->len == 0 || r->body[0] != '{') {
        text_add(&t, r->body, r->len);
        return t;
    }
    text_puts(&t, "{");
    for (size_t i = 0; i < 2 && at->members[i] != NULL; i++) {
        if (names(r, at->members[i])) continue;
        text_printf(&t, "%s%s", i > 0 && first && t.len > 1 ? "," : "", at->members[i]);
        if (!first) text_puts(&t, ",");
    }
    text_add(&t, r->body + 1, r->len - 1);
    return t;
}

static bool ignores(const struct target *at, const struct row *r) {
    for (size_t i = 0; i < 4 && at->ignores[i] != NULL; i++) {
        char loc[64];
        snprintf(loc, sizeof loc, "\"loc\":[\"body\",\"%s\"]", at->ignores[i]);
        if (r->says != NULL && strcmp(r->says, loc) == 0) return true;
    }
    return false;
}

static bool has_null_model(const struct row *r) {
    return strstr(r->body, "\"model\":null") != NULL;
}

/* --- fal's endpoints */

/* The row as it is at this endpoint. */
static struct row row_at(const struct target *at, const struct row *r) {
    struct row mine = *r;
    if (r->when == AS_RESULT && ignores(at, r)) mine.when = GOOD;
    if (!at->wants_model || !has_null_model(r)) return mine;
    mine.when = AS_RESULT;
    mine.says = "\"loc\":[\"body\",\"model\"]";
    mine.says_too = "\"type\":\"string_type\""; /* only what may be left out may be null */
    return mine;
}

static void expect_end(const char *what, const struct row *r, const struct answer *a) {
    if (r->when == GOOD) {
        expect_status(what, a, 200);
        return;
    }
    expect_status(what, a, 422);
    expect_says(what, a, r->says);
    expect_says(what, a, r->says_too);
    expect_header(what, a, "x-fal-retryable", "false");
    expect_header(what, a, "x-fal-billable-units", "0");
}

static void expect_queue(const char *what, const char *path, const struct row *r,
                         const struct text *body) {
    struct answer a = post(server.port, path, JSON, body->p, body->len);
    if (r->when != AT_ONCE) {
        expect_status(what, &a, 200);
        char *id = submitted_id(&a);
        answer_free(&a);
        a = result_of(server.port, path, "", id);
        free(id);
    }
    expect_end(what, r, &a);
    answer_free(&a);
}

static void expect_at(const struct target *at, const struct row *row) {
    char what[240], path[96];
    struct row r = row_at(at, row);
    struct text body = body_at(at, row);
    for (int stream = 0; stream < 2; stream++) {
        snprintf(path, sizeof path, "/run/%s%s", at->id, stream ? "/stream" : "");
        snprintf(what, sizeof what, "%s: %s", r.name, path);
        struct answer a = post(server.port, path, JSON, body.p, body.len);
        expect_end(what, &r, &a);
        answer_free(&a);
    }
    snprintf(path, sizeof path, "/queue/%s", at->id);
    snprintf(what, sizeof what, "%s: %s", r.name, path);
    expect_queue(what, path, &r, &body);
    text_free(&body);
}

/* --- OpenAI's dialect: what is no JSON is 400, unknown models are 404, other members are the upstream's business */

static unsigned openai_status(const struct row *r) {
    if (r->when == AT_ONCE) return 400;
    if (strstr(r->name, "_unknown_model_") != NULL || strstr(r->name, "_star_") != NULL) return 404;
    if (strstr(r->name, "J10_") == r->name || has_null_model(r)) return 400;
    return 200;
}

static void expect_openai(const char *what, const struct answer *a, unsigned status) {
    char value[64], id[64];
    expect_status(what, a, status);
    answer_header(a, "x-fal-request-id", id, sizeof id);
    if (answer_header(a, "x-request-id", value, sizeof value)) assert_string_equal(value, id);
    if (status == 200) return;
    yyjson_doc *doc = answer_json(what, a);
    yyjson_val *e = yyjson_obj_get(yyjson_doc_get_root(doc), "error"),
               *code = yyjson_obj_get(e, "code"), *param = yyjson_obj_get(e, "param");
    if (!yyjson_is_str(yyjson_obj_get(e, "message")) || code == NULL || param == NULL)
        fail_msg("%s: not OpenAI's shape: %s", what, a->body.p);
    expect_says(what, a, "\"type\":\"invalid_request_error\"");
    if (status == 404) assert_string_equal(yyjson_get_str(code), "model_not_found");
    if (yyjson_obj_get(yyjson_doc_get_root(doc), "detail") != NULL)
        fail_msg("%s: fal's shape: %s", what, a->body.p);
    yyjson_doc_free(doc);
}

static void expect_at_openai(const struct target *at, const struct row *r) {
    static const char *const paths[] = {CHAT, "/run/" CHAT_ID, "/" CHAT_ID};
    struct text body = body_at(at, r);
    char what[160];
    unsigned status = openai_status(r);
    for (size_t i = 0; i < 3; i++) {
        struct answer a = post(server.port, paths[i], JSON, body.p, body.len);
        snprintf(what, sizeof what, "%s: %s", r->name, paths[i]);
        expect_openai(what, &a, status);
        answer_free(&a);
    }
    struct answer a = post(server.port, "/queue/" CHAT_ID, JSON, body.p, body.len);
    expect_status(r->name, &a, r->when == AT_ONCE ? 422 : 200);
    if (r->when != AT_ONCE) {
        char *id = submitted_id(&a);
        answer_free(&a);
        a = result_of(server.port, "/queue/" CHAT_ID, "", id);
        expect_openai(r->name, &a, status);
        free(id);
    }
    answer_free(&a);
    text_free(&body);
}

static void row_at_every_endpoint(void **state) {
    const struct row *r = *state;
    unsigned long before = metric(server.port, "anyllm_queue_submitted_total");
    for (size_t i = 0; i < NTARGETS; i++)
        if (targets[i].openai)
            expect_at_openai(&targets[i], r);
        else
            expect_at(&targets[i], r);
    unsigned long stored = metric(server.port, "anyllm_queue_submitted_total") - before;
    assert_int_equal(stored, r->when == AT_ONCE ? 0 : NTARGETS);
}

/* --- members of OpenAI's body that we decide by */

static const struct {
    const char *name, *body;
    unsigned status;
    const char *param; /* NULL: null */
} chats[] = {
    {"good", "{" MODEL "," MESSAGES "}", 200, NULL},
    {"empty", "", 400, NULL},
    {"no messages", "{" MODEL "}", 400, "messages"},
    {"messages null", "{" MODEL ",\"messages\":null}", 400, "messages"},
    {"messages text", "{" MODEL ",\"messages\":\"x\"}", 400, "messages"},
    {"messages object", "{" MODEL ",\"messages\":{\"role\":\"user\"}}", 400, "messages"},
    {"messages number", "{" MODEL ",\"messages\":1}", 400, "messages"},
    {"no model", "{" MESSAGES "}", 400, "model"},
    {"model empty", "{\"model\":\"\"," MESSAGES "}", 400, "model"},
    {"model array", "{\"model\":[\"test/a\"]," MESSAGES "}", 400, "model"},
    {"unknown model", "{\"model\":\"nobody/nothing\"," MESSAGES "}", 404, "model"},
    {"model of a route", "{\"model\":\"*\"," MESSAGES "}", 404, "model"},
    {"model with NUL", "{\"model\":\"test/a\\u0000b\"," MESSAGES "}", 404, "model"},
    {"model with CRLF", "{\"model\":\"test/a\\r\\nX: y\"," MESSAGES "}", 404, "model"},
    {"model with a space", "{\"model\":\"test/a b\"," MESSAGES "}", 404, "model"},
    {"model beyond ASCII", "{\"model\":\"test/\\u00e9\"," MESSAGES "}", 404, "model"},
    {"stream text", "{" MODEL "," MESSAGES ",\"stream\":\"true\"}", 400, "stream"},
    {"stream number", "{" MODEL "," MESSAGES ",\"stream\":1}", 400, "stream"},
    {"stream array", "{" MODEL "," MESSAGES ",\"stream\":[]}", 400, "stream"},
    {"stream null", "{" MODEL "," MESSAGES ",\"stream\":null}", 200, NULL},
    {"stream_options text", "{" MODEL "," MESSAGES ",\"stream_options\":\"x\"}", 400,
     "stream_options"},
    {"stream_options list", "{" MODEL "," MESSAGES ",\"stream_options\":[true]}", 400,
     "stream_options"},
    {"stream twice", "{" MODEL "," MESSAGES ",\"stream\":false,\"stream\":true}", 400, NULL},
    {"stream twice, escaped", "{" MODEL "," MESSAGES ",\"stream\":false,\"str\\u0065am\":true}",
     400, NULL},
    {"model twice", "{" MODEL "," MESSAGES ",\"model\":\"test/b\"}", 400, NULL},
};

static void J_members_of_OpenAIs_body(void **state) {
    static const char *const paths[] = {CHAT, "/run/" CHAT_ID};
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++)
        for (size_t p = 0; p < 2; p++) {
            struct answer a = post_json(server.port, paths[p], chats[i].body);
            expect_openai(chats[i].name, &a, chats[i].status);
            char want[48];
            if (chats[i].param == NULL)
                snprintf(want, sizeof want, "\"param\":null");
            else
                snprintf(want, sizeof want, "\"param\":\"%s\"", chats[i].param);
            if (chats[i].status != 200) expect_says(chats[i].name, &a, want);
            answer_free(&a);
        }
}

static void J2_J9_large_bodies_are_refused_in_OpenAIs_shape(void **state) {
    static const char *const units[] = {"[", "{\"a\":", ",\"k\":0", "[1,"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct text t = {0};
        text_puts(&t, "{" MODEL "," MESSAGES);
        if (i != 2) text_puts(&t, ",\"a\":");
        for (int n = 0; n < 300000; n++) text_puts(&t, units[i]);
        text_puts(&t, "}");
        struct answer a = post(server.port, CHAT, JSON, t.p, t.len);
        expect_openai(units[i], &a, 400);
        assert_true(a.body.len < 4096);
        answer_free(&a);
        text_free(&t);
    }
}

/* --- J13, J14 on the other surfaces */

static void J13_J14_content_types_everywhere(void **state) {
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {{"", 200},
                 {"Content-Type: text/plain\r\n", 200},
                 {"Content-Type: application/json; charset=utf-16\r\n", 415},
                 {"Content-Type: application/x-www-form-urlencoded\r\n", 415},
                 {"Content-Type: multipart/form-data; boundary=x\r\n", 415},
                 {"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 415}};
    static const struct {
        const char *path, *shape;
    } paths[] = {{CHAT, "{\"error\":{\"message\":"},
                 {"/run/" CHAT_ID, "{\"error\":{\"message\":"},
                 {"/queue/" CHAT_ID, "\"detail\":"},
                 {"/run/openrouter/router", "\"detail\":"},
                 {"/run/openrouter/router/stream", "\"detail\":"},
                 {"/queue/openrouter/router", "\"detail\":"}};
    static const char body[] = "{" MODEL "," MESSAGES ",\"prompt\":\"x\"}";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
            struct answer a = post(server.port, paths[p].path, cases[i].headers, body,
                                   sizeof body - 1);
            expect_status(paths[p].path, &a, cases[i].status);
            if (a.status != 200) expect_says(paths[p].path, &a, paths[p].shape);
            answer_free(&a);
        }
}

/* --- media: what each endpoint says of addresses that are none */

static void J11_addresses_of_media(void **state) {
    static const struct {
        const char *id, *field, *value, *type;
    } cases[] = {
        {"fal-ai/any-llm", "image_url", "\"file:///etc/passwd\"", "url_scheme"},
        {"fal-ai/any-llm/vision", "image_url", "\"gopher://a.example/x\"", "url_scheme"},
        {"fal-ai/any-llm/vision", "image_url", "\"http://\"", "url_parsing"},
        {"fal-ai/any-llm/vision", "image_url", "\"https://a.example/a b\"", "url_parsing"},
        {"fal-ai/any-llm/vision", "image_url", "\"https://a.example/\\r\\nX: y\"", "url_parsing"},
        {"fal-ai/any-llm/vision", "image_url", "\"data:text/html;base64,PGI+\"",
         "unsupported_image_format"},
        {"fal-ai/any-llm/vision", "image_url", "\"data:image/png;base64,@@@\"", "image_load_error"},
        {"openrouter/router/vision", "image_urls", "[]", "sequence_too_short"},
        {"openrouter/router/vision", "image_urls", "[1]", "string_type"},
        {"openrouter/router/audio", "audio_url", "\"data:image/png;base64,AAAA\"",
         "unsupported_audio_format"},
        {"openrouter/router/audio", "audio_url", "\"data:audio/wav,AAAA\"", "file_download_error"},
        {"openrouter/router/audio", "audio_url", "null", "string_type"},
        {"openrouter/router/video", "video_url", "\"javascript:alert(1)\"", "url_scheme"},
        {"openrouter/router/video", "video_urls", "[\"data:video/mp4;base64,\\u0000\"]",
         "file_download_error"},
        {"openrouter/router/video/enterprise", "video_urls", "{}", "list_type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256], path[96], want[64];
        snprintf(body, sizeof body, "{\"prompt\":\"x\"," MODEL ",\"%s\":%s}", cases[i].field,
                 cases[i].value);
        snprintf(want, sizeof want, "\"type\":\"%s\"", cases[i].type);
        for (int kind = 0; kind < 3; kind++) {
            snprintf(path, sizeof path, "%s/%s%s", kind == 2 ? "/queue" : "/run", cases[i].id,
                     kind == 1 ? "/stream" : "");
            struct answer a = kind == 2 ? queued(server.port, path, JSON, body, strlen(body))
                                        : post_json(server.port, path, body);
            expect_status(body, &a, 422);
            expect_says(body, &a, want);
            answer_free(&a);
        }
    }
    assert_true(mock_count(&mock, "calls") > 0);
}

/* --- the suite */

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s, "
        "keeps_nothing: true }\n",
        mock.port, CANARY_UPSTREAM);
    text_puts(&config,
              "routes:\n  - { model: \"*\", to: [up] }\n  - { model: \"test/*\", to: [up] }\n");
    server_start_with(&server, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(J_members_of_OpenAIs_body),
        cmocka_unit_test(J2_J9_large_bodies_are_refused_in_OpenAIs_shape),
        cmocka_unit_test(J13_J14_content_types_everywhere),
        cmocka_unit_test(J11_addresses_of_media),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NROWS + NMADE];
    for (size_t i = 0; i < NROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_at_every_endpoint, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    memcpy(tests + NROWS, made, sizeof made);
    return suite_main(argc, argv, "bad_endpoints", tests, NROWS + NMADE, start, stop);
}
