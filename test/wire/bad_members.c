/* docs/bad-input.md J12 and T36: members of a body, and headers of a caller, that must not steer where a request goes, with
 * which key, or who answers it. At fal's endpoints nothing travels but the fields they take; in OpenAI's dialect what would
 * steer a gateway is dropped from the top level, the rest is the caller's data. */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static struct mock mock;

#define JSON "Content-Type: application/json\r\n"
#define CHAT "/v1/chat/completions"
#define CHAT_ID "openrouter/router/openai/v1/chat/completions"
#define EXTRA_KEYS 300

/* Names that a body must not steer by. */
static const char *const surprises[] = {
    "api_base",
    "base_url",
    "api_key",
    "apiKey",
    "key",
    "user_config",
    "extra_headers",
    "extra_body",
    "extra_query",
    "headers",
    "default_headers",
    "organization",
    "custom_llm_provider",
    "litellm_params",
    "api_version",
    "azure_endpoint",
    "proxy",
    "proxies",
    "http_client",
    "timeout",
    "__proto__",
    "constructor",
    "prototype",
    "messages",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "tools",
    "tool_choice",
    "functions",
    "response_format",
    "logit_bias",
    "stop",
    "user",
    "metadata",
    "provider",
    "models",
    "route",
    "transforms",
    "plugins",
    "usage",
    "Authorization",
    "authorization",
    "Host",
    "host",
    "upstream",
    "endpoint",
    "webhook",
    "fal_webhook",
    "keeps_nothing",
    "no_fallback",
    "members",
    "hint",
};
#define NSURPRISES (sizeof surprises / sizeof *surprises)

static void add_surprise(struct text *t, const char *name, int shape) {
    switch (shape) {
    case 0: text_printf(t, ",\"%s\":\"http://evil.example/v1\"", name); break;
    case 1:
        text_printf(t,
                    ",\"%s\":{\"in\":{\"%s\":\"http://evil.example\"},\"all\":[{\"%s\":\"evil\"}]}",
                    name, name, name);
        break;
    case 2:
        text_printf(
            t,
            ",\"%s\":[{\"model_name\":\"x\",\"litellm_params\":{\"%s\":\"http://evil.example\"}}]",
            name, name);
        break;
    case 3: text_printf(t, ",\"%s\":true", name); break;
    case 4: text_printf(t, ",\"%s\":7", name); break;
    default: text_printf(t, ",\"%s\":null", name); break;
    }
}

/* --- what the upstream got: path, headers and body as text */

static char *sent(void) {
    yyjson_doc *doc = mock_stats(&mock);
    yyjson_val *root = yyjson_doc_get_root(doc);
    char *headers = yyjson_val_write(yyjson_obj_get(root, "last_headers"), 0, NULL);
    const char *path = yyjson_get_str(yyjson_obj_get(root, "last_path"));
    const char *body = yyjson_get_str(yyjson_obj_get(root, "last_body"));
    struct text t = {0};
    if (path == NULL || headers == NULL || body == NULL) fail_msg("the mock has no last call");
    text_printf(&t, "%s\n%s\n%s", path, headers, body);
    free(headers);
    yyjson_doc_free(doc);
    return t.p;
}

static char *sent_for(const char *path, const char *headers, const char *body, size_t len) {
    mock_reset(&mock);
    struct answer a = strncmp(path, "/queue/", 7) == 0
                          ? queued(server.port, path, headers, body, len)
                          : post(server.port, path, headers, body, len);
    expect_status(path, &a, 200);
    answer_free(&a);
    return sent();
}

static void expect_same(const char *path, const char *what, char *plain, char *with) {
    if (strcmp(plain, with) != 0)
        fail_msg("%s: %s reaches the upstream:\n%s\n\n%s", path, what, plain, with);
    assert_null(strstr(with, "evil"));
    free(plain);
    free(with);
}

/* --- fal's endpoints: no byte changes, whatever stands beside the fields */

#define PROMPT \
    "{\"prompt\":\"x\",\"system_prompt\":\"y\",\"temperature\":0.5,\"max_tokens\":9,\"model\":\"test/a\""
#define IMAGES ",\"image_urls\":[\"https://a.example/x.png\"]"

static const struct {
    const char *id, *good;
} endpoints[] = {
    {"fal-ai/any-llm", PROMPT},
    {"fal-ai/any-llm/vision", PROMPT IMAGES},
    {"fal-ai/any-llm/enterprise", PROMPT},
    {"openrouter/router", PROMPT},
    {"openrouter/router/vision", PROMPT IMAGES},
    {"openrouter/router/enterprise", PROMPT},
    {"openrouter/router/audio", PROMPT ",\"audio_url\":\"data:audio/wav;base64,AAAA\""},
    {"openrouter/router/video", PROMPT ",\"video_url\":\"https://a.example/x.mp4\""},
    {"openrouter/router/video/enterprise", PROMPT ",\"video_url\":\"https://a.example/x.mp4\""},
};
#define NENDPOINTS (sizeof endpoints / sizeof *endpoints)

static struct text with_all(const char *good, int shape) {
    struct text t = {0};
    text_puts(&t, good);
    for (size_t i = 0; i < NSURPRISES; i++) add_surprise(&t, surprises[i], shape);
    for (size_t i = NSURPRISES; i < EXTRA_KEYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "extra_%zu", i);
        add_surprise(&t, name, shape);
    }
    text_puts(&t, "}");
    return t;
}

static void T36_300_extra_keys_change_no_byte_sent_upstream(void **state) {
    for (size_t e = 0; e < NENDPOINTS; e++)
        for (int kind = 0; kind < 3; kind++) {
            char path[96], good[512];
            snprintf(path, sizeof path, "%s/%s%s", kind == 2 ? "/queue" : "/run", endpoints[e].id,
                     kind == 1 ? "/stream" : "");
            snprintf(good, sizeof good, "%s}", endpoints[e].good);
            for (int shape = 0; shape < 6; shape++) {
                struct text t = with_all(endpoints[e].good, shape);
                expect_same(path, "one of the extra keys", sent_for(path, JSON, good, strlen(good)),
                            sent_for(path, JSON, t.p, t.len));
                text_free(&t);
            }
        }
}

static void J12_each_extra_key_alone_changes_no_byte(void **state) {
    static const char path[] = "/run/fal-ai/any-llm", good[] = PROMPT "}";
    for (size_t i = 0; i < NSURPRISES; i++)
        for (int shape = 0; shape < 2; shape++) {
            struct text t = {0};
            text_puts(&t, PROMPT);
            add_surprise(&t, surprises[i], shape);
            text_puts(&t, "}");
            expect_same(path, surprises[i], sent_for(path, JSON, good, strlen(good)),
                        sent_for(path, JSON, t.p, t.len));
            text_free(&t);
        }
}

/* --- OpenAI's dialect */

#define TALK "{\"model\":\"test/a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static const char *const chats[] = {CHAT, "/run/" CHAT_ID, "/queue/" CHAT_ID};

/* docs/openai.md, both rows of names. */
static const char *const steering[] = {
    "api_base",
    "api_key",
    "api_type",
    "api_version",
    "azure_endpoint",
    "base_url",
    "custom_llm_provider",
    "default_headers",
    "extra_body",
    "extra_headers",
    "extra_query",
    "headers",
    "litellm_params",
    "organization",
    "user_config",
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "model_list",
    "models",
    "preset",
    "route",
};
#define NSTEERING (sizeof steering / sizeof *steering)

static void expect_chat_same(const char *what, const struct text *body) {
    static const char good[] = TALK "}";
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++)
        expect_same(chats[i], what, sent_for(chats[i], JSON, good, strlen(good)),
                    sent_for(chats[i], JSON, body->p, body->len));
}

static void J12_what_steers_a_gateway_is_dropped(void **state) {
    for (int shape = 0; shape < 6; shape++) {
        struct text t = {0};
        text_puts(&t, TALK);
        for (size_t i = 0; i < NSTEERING; i++) add_surprise(&t, steering[i], shape);
        text_puts(&t, "}");
        expect_chat_same("one of the steering members", &t);
        text_free(&t);
    }
}

static void J12_each_alone_and_first_and_escaped(void **state) {
    for (size_t i = 0; i < NSTEERING; i++) {
        struct text t = {0};
        text_printf(&t, "{\"\\u%04x%s\" : {\"evil\":[\"]}\",{}]}\t,%s}", steering[i][0],
                    steering[i] + 1, TALK + 1);
        expect_chat_same(steering[i], &t);
        text_free(&t);
    }
}

/* In the middle, at the end, between spaces: no comma too many or too few is left. */
static void J12_dropping_leaves_JSON(void **state) {
    static const char *const bodies[] = {
        "{\"api_base\":1,\"model\":\"test/a\",\"messages\":[]}",
        "{\"model\":\"test/a\",\"messages\":[],\"api_base\":1}",
        "{\"model\":\"test/a\",\"api_base\":1,\"messages\":[]}",
        "{ \"model\" : \"test/a\" , \"api_key\" : \"evil\" , \"headers\" : { } , \"messages\" : [ ] }",
        "\r\n{\"headers\":[],\"api_key\":\"\\\"},evil\",\"messages\":[],\"model\":\"test/a\"}\n",
        "{\"stream\":false,\"stream_options\":null,\"messages\":[],\"model\":\"test/a\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char *got = sent_for(CHAT, JSON, bodies[i], strlen(bodies[i]));
        const char *body = strrchr(got, '\n') + 1;
        yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
        if (doc == NULL || yyjson_obj_size(yyjson_doc_get_root(doc)) != 2)
            fail_msg("%s became %s", bodies[i], body);
        yyjson_doc_free(doc);
        free(got);
    }
}

/* Further down they are data: a tool may well have a parameter of that name. */
static void deeper_members_travel_byte_for_byte(void **state) {
    static const char inner[] =
        ",\"tools\":[{\"api_base\":\"https://good.example\",\"headers\":{\"api_key\":[1.50,-0,1e2]}}],"
        "\"Api_Base\":\"kept\",\"api_base_\":\"kept\"";
    struct text t = {0};
    text_printf(&t, "%s%s,\"api_base\":\"http://evil.example\"}", TALK, inner);
    for (size_t i = 0; i < 2; i++) {
        char *got = sent_for(chats[i], JSON, t.p, t.len);
        if (strstr(got, inner) == NULL) fail_msg("not as written: %s", got);
        assert_null(strstr(got, "evil"));
        free(got);
    }
    text_free(&t);
}

/* With 300 other members none is lost, none comes twice, and none of the steering ones is among them. */
static void T36_300_extra_members_travel_once(void **state) {
    struct text t = {0};
    size_t i, n, count = 0;
    yyjson_val *key, *value;
    text_puts(&t, TALK);
    for (size_t k = 0; k < EXTRA_KEYS; k++) {
        text_printf(&t, ",\"extra_%zu\":%zu", k, k);
        if (k < NSTEERING) add_surprise(&t, steering[k], (int)(k % 6));
    }
    text_puts(&t, "}");
    char *got = sent_for(CHAT, JSON, t.p, t.len);
    yyjson_doc *doc = yyjson_read(strrchr(got, '\n') + 1, strlen(strrchr(got, '\n') + 1), 0);
    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, n, key, value) {
        if (strncmp(yyjson_get_str(key), "extra_", 6) != 0) continue;
        assert_int_equal(yyjson_get_uint(value), count);
        count++;
    }
    assert_int_equal(count, EXTRA_KEYS);
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(doc)), EXTRA_KEYS + 2);
    yyjson_doc_free(doc);
    free(got);
    text_free(&t);
}

/* --- headers: the caller's own do not travel, at any surface */

#define EVIL_HEADERS                                                                               \
    JSON "Authorization: Key evil:evil\r\nX-Api-Base: http://evil.example\r\n"                     \
         "HTTP-Referer: http://evil.example\r\nX-Title: evil\r\nOpenAI-Organization: evil\r\n"     \
         "OpenAI-Project: evil\r\nX-Stainless-Lang: evil\r\nX-Api-Key: evil\r\nCookie: evil=1\r\n" \
         "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6;host=evil\r\nUser-Agent: evil\r\n"    \
         "Accept-Encoding: evil\r\nX-Fal-Target-Url: http://evil.example\r\n"                      \
         "Idempotency-Key: evil\r\nX-Generation-Id: evil\r\nTraceparent: evil\r\n"

static void T36_headers_of_the_caller_do_not_reach_the_upstream(void **state) {
    static const struct {
        const char *path, *body;
    } cases[] = {{"/run/fal-ai/any-llm", PROMPT "}"},   {"/run/fal-ai/any-llm/stream", PROMPT "}"},
                 {"/queue/fal-ai/any-llm", PROMPT "}"}, {CHAT, TALK "}"},
                 {CHAT, TALK ",\"stream\":true}"},      {"/queue/" CHAT_ID, TALK "}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_same(cases[i].path, "a header",
                    sent_for(cases[i].path, JSON, cases[i].body, strlen(cases[i].body)),
                    sent_for(cases[i].path, EVIL_HEADERS, cases[i].body, strlen(cases[i].body)));
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
    text_puts(&config, "routes:\n  - { model: \"test/*\", to: [up] }\n");
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
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T36_300_extra_keys_change_no_byte_sent_upstream),
        cmocka_unit_test(J12_each_extra_key_alone_changes_no_byte),
        cmocka_unit_test(J12_what_steers_a_gateway_is_dropped),
        cmocka_unit_test(J12_each_alone_and_first_and_escaped),
        cmocka_unit_test(J12_dropping_leaves_JSON),
        cmocka_unit_test(deeper_members_travel_byte_for_byte),
        cmocka_unit_test(T36_300_extra_members_travel_once),
        cmocka_unit_test(T36_headers_of_the_caller_do_not_reach_the_upstream),
    };
    return suite_main(argc, argv, "bad_members", tests, sizeof tests / sizeof *tests, start, stop);
}
