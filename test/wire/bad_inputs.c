/* docs/bad-input.md F13, and docs/files.md "Files as inputs": what the upstream receives of a file that is named by an address of
 * ours, by somebody else's address, or as a data URI; and what is refused. A small host of files stands on another port. */
#include "calls.h"
#include "file_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server, strict,
    public; /* strict: no private address may be called; public: has a public_url */
static struct mock mock;

#define JSON "Content-Type: application/json\r\n"
#define KEY_A "Authorization: Key a:" CANARY_CLIENT "\r\n"
#define KEY_B "Authorization: Key b:" CANARY_OTHER "\r\n"
#define VISION "/run/openrouter/router/vision"
#define AUDIO "/run/openrouter/router/audio"
#define CHAT "/v1/chat/completions"
#define CHAT_ID "/run/openrouter/router/openai/v1/chat/completions"

/* --- asking */

static struct answer ask_as(const struct server *s, const char *key, const char *path,
                            const char *body) {
    char headers[256];
    snprintf(headers, sizeof headers, JSON "%s", key);
    return post(s->port, path, headers, body, strlen(body));
}

/* {"prompt":"x","model":MODEL,FIELD:["URL"]} */
static char *input(const char *model, const char *field, const char *url) {
    struct text t = {0};
    bool list = strcmp(field, "image_urls") == 0;
    text_printf(&t, "{\"prompt\":\"x\",\"model\":\"%s\",\"%s\":%s\"%s\"%s}", model, field,
                list ? "[" : "", url, list ? "]" : "");
    return t.p;
}

static struct answer ask_with(const struct server *s, const char *key, const char *path,
                              const char *model, const char *field, const char *url) {
    char *body = input(model, field, url);
    struct answer a = ask_as(s, key, path, body);
    free(body);
    return a;
}

static bool upstream_got(const char *part) {
    yyjson_doc *doc = mock_stats(&mock);
    const char *body = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "last_body"));
    bool got = body != NULL && strstr(body, part) != NULL;
    if (!got) print_message("the upstream got: %.300s\n", body != NULL ? body : "nothing");
    yyjson_doc_free(doc);
    return got;
}

static void expect_refused(const char *what, struct answer *a, unsigned status, const char *type,
                           const char *loc) {
    char says[128];
    expect_status(what, a, status);
    snprintf(says, sizeof says, "\"type\":\"%s\"", type);
    expect_says(what, a, says);
    snprintf(says, sizeof says, "\"loc\":[\"body\",%s]", loc);
    expect_says(what, a, says);
    expect_header(what, a, "x-fal-retryable", "false");
    expect_header(what, a, "x-fal-billable-units", "0");
    if (answer_says(a, "127.0.0.1") || answer_says(a, "secret"))
        fail_msg("%s: tells too much: %s", what, a->body.p);
    assert_int_equal(mock_count(&mock, "calls"), 0);
    answer_free(a);
}

/* --- files of ours */

static void store_with(const struct server *s, const char *headers, const char *bytes, size_t len,
                       char url[256]) {
    struct answer a = post(s->port, "/cdn/files/upload", headers, bytes, len);
    assert_true(a.status == 200 || a.status == 201);
    yyjson_doc *doc = answer_json("upload", &a);
    const char *at = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "access_url"));
    snprintf(url, 256, "%s", at != NULL ? at : "");
    yyjson_doc_free(doc);
    answer_free(&a);
}

static void store(const struct server *s, const char *key, const char *type, const char *bytes,
                  size_t len, char url[256]) {
    char headers[256];
    snprintf(headers, sizeof headers, "%sContent-Type: %s\r\n", key, type);
    store_with(s, headers, bytes, len, url);
}

static void file_of_ours_travels_as_a_data_uri(void **state) {
    static const char *const ways[] = {VISION, VISION "/stream", "/queue/openrouter/router/vision"};
    char url[256];
    store(&server, KEY_A, "image/png", PNG, 8, url);
    for (size_t i = 0; i < 3; i++) {
        mock_reset(&mock);
        char *body = input("test/a", "image_urls", url);
        struct answer a = {0};
        if (i == 0) {
            a = ask_as(&server, KEY_A, ways[i], body);
        } else if (i == 1) {
            struct streamed s = stream_of(server.port, ways[i], JSON KEY_A, body, strlen(body));
            assert_true(s.events_type && s.whole);
            a.status = s.status;
            streamed_free(&s);
        } else {
            a = queued(server.port, ways[i], JSON KEY_A, body, strlen(body));
        }
        expect_status(ways[i], &a, 200);
        assert_true(upstream_got("\"url\":\"" PNG64 "\""));
        assert_int_equal(mock_count(&mock, "calls"), 1);
        free(body);
        answer_free(&a);
    }
}

/* By fal's own name of its CDN, which stands for this server. */
static void file_by_fals_name_is_ours(void **state) {
    char url[256], theirs[512];
    store(&server, KEY_A, "image/png", PNG, 8, url);
    const char *id = strstr(url, "/files/b/");
    assert_non_null(id);
    snprintf(theirs, sizeof theirs, "https://v3.fal.media%s", id);
    mock_reset(&mock);
    struct answer a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", theirs);
    expect_status("by fal's name", &a, 200);
    assert_true(upstream_got("\"url\":\"" PNG64 "\""));
    answer_free(&a);
}

static void several_files_travel_in_their_order(void **state) {
    char first[256], second[256];
    struct text body = {0};
    store(&server, KEY_A, "image/png", PNG, 8, first);
    store(&server, KEY_A, "image/webp", WEBP, 12, second);
    text_printf(
        &body,
        "{\"prompt\":\"x\",\"model\":\"test/a\",\"image_url\":\"%s\",\"image_urls\":[\"https://a.example/"
        "x.png\",\"%s\",\"data:image/gif;base64,R0lG\"]}",
        second, first);
    mock_reset(&mock);
    struct answer a = ask_as(&server, KEY_A, "/run/fal-ai/any-llm/vision", body.p);
    if (a.status == 422) { /* one of both fields only */
        answer_free(&a);
        text_free(&body);
        text_printf(
            &body,
            "{\"prompt\":\"x\",\"model\":\"test/a\",\"image_urls\":[\"%s\",\"https://a.example/x.png\",\"%s\","
            "\"data:image/gif;base64,R0lG\"]}",
            second, first);
        a = ask_as(&server, KEY_A, "/run/fal-ai/any-llm/vision", body.p);
    }
    expect_status("several", &a, 200);
    assert_true(upstream_got(
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" WEBP64 "\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://a.example/x.png\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PNG64 "\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/gif;base64,R0lG\"}}"));
    answer_free(&a);
    text_free(&body);
}

static void file_in_openais_dialect_is_rewritten_and_nothing_else(void **state) {
    char url[256], sound[256];
    struct text body = {0};
    store(&server, KEY_A, "image/png", PNG, 8, url);
    store(&server, KEY_A, "audio/wav", SOUND, SOUND_BYTES, sound);
    text_printf(
        &body,
        "{\"model\":\"test/a\",\"temperature\":0.50,\"seed\":12345678901234567890123,\"messages\":[{\"role\":"
        "\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e4 %s\"},{\"type\":\"image_url\",\"image_url\":"
        "{\"url\":\"%s\",\"detail\":\"low\"}},{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"%s\",\"format\":"
        "\"wav\"}},{\"type\":\"file\",\"file\":{\"filename\":\"x\",\"file_data\":\"%s\"}}]}],\"x\":1e3}",
        "http://a.example", url, sound, url);
    static const char *const ways[] = {CHAT, CHAT_ID};
    for (size_t i = 0; i < 2; i++) {
        mock_reset(&mock);
        struct answer a = ask_as(&server, KEY_A, ways[i], body.p);
        expect_status(ways[i], &a, 200);
        assert_true(upstream_got("\"image_url\":{\"url\":\"" PNG64 "\",\"detail\":\"low\"}"));
        assert_true(upstream_got("\"input_audio\":{\"data\":\"" SOUND64 "\",\"format\":\"wav\"}"));
        assert_true(upstream_got("\"file_data\":\"" PNG64 "\""));
        assert_true(upstream_got("\"temperature\":0.50,\"seed\":12345678901234567890123,"));
        assert_true(upstream_got("http://a.example"));
        assert_true(upstream_got("\"x\":1e3"));
        answer_free(&a);
    }
    text_free(&body);
}

static const char UNKNOWN[] = "http://127.0.0.1:1/cdn/files/b/00000000000000000000000000000000.png";

static void file_that_is_not_there_is_422_on_its_field(void **state) {
    mock_reset(&mock);
    struct answer a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", UNKNOWN);
    expect_refused("unknown", &a, 422, "file_download_error", "\"image_urls\",0");
    char *body = input("test/a", "image_urls", UNKNOWN);
    a = queued(server.port, "/queue/openrouter/router/vision", JSON KEY_A, body, strlen(body));
    expect_refused("unknown, queued", &a, 422, "file_download_error", "\"image_urls\",0");
    a = ask_as(&server, KEY_A, VISION "/stream", body);
    expect_refused("unknown, streamed", &a, 422, "file_download_error", "\"image_urls\",0");
    free(body);
    a = ask_as(
        &server, KEY_A, CHAT,
        "{\"model\":\"test/a\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://127.0.0.1:1/cdn/files/b/"
        "00000000000000000000000000000000.png\"}}]}]}");
    expect_status("unknown, OpenAI's dialect", &a, 400);
    expect_says("unknown", &a,
                "\"param\":\"messages.0.content.1\",\"code\":\"file_download_error\"");
    answer_free(&a);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

static void file_closed_to_the_caller_is_as_one_that_is_not_there(void **state) {
    char url[256];
    store_with(&server,
               KEY_A "Content-Type: image/png\r\nX-Fal-Object-Lifecycle: "
                     "{\"initial_acl\":{\"default\":\"forbid\",\"rules\":[]}}\r\n",
               PNG, 8, url);
    mock_reset(&mock);
    struct answer a = ask_with(&server, KEY_B, VISION, "test/a", "image_urls", url);
    struct answer none = ask_with(&server, KEY_B, VISION, "test/a", "image_urls", UNKNOWN);
    assert_int_equal(a.status, 422);
    assert_string_equal(a.body.p, none.body.p);
    answer_free(&none);
    expect_refused("closed", &a, 422, "file_download_error", "\"image_urls\",0");
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", url);
    expect_status("the owner's", &a, 200);
    answer_free(&a);
}

static void file_of_another_kind_or_too_large_is_refused(void **state) {
    static char bytes[MAX_FILE + 1] = PNG;
    char html[256], large[256], most[256];
    store(&server, KEY_A, "text/html", "<script>", 8, html);
    store(&server, KEY_A, "image/png", bytes, MAX_FILE + 1, large);
    store(&server, KEY_A, "image/png", bytes, MAX_FILE, most);
    mock_reset(&mock);
    struct answer a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", html);
    expect_refused("html", &a, 422, "unsupported_image_format", "\"image_urls\",0");
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", large);
    expect_refused("large", &a, 413, "file_too_large", "\"image_urls\",0");
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", most);
    expect_status("as large as may be", &a, 200);
    answer_free(&a);
}

static void with_a_public_url_the_upstream_gets_a_signed_address(void **state) {
    char url[256];
    store(&public, KEY_A, "image/png", PNG, 8, url);
    mock_reset(&mock);
    struct answer a = ask_with(&public, KEY_A, VISION, "test/a", "image_urls", url);
    expect_status("public", &a, 200);
    assert_true(upstream_got("\"url\":\"https://files.example/cdn/files/b/"));
    assert_true(upstream_got("&sig="));
    answer_free(&a);
    store(&public, KEY_A, "audio/wav", SOUND, SOUND_BYTES, url);
    a = ask_with(&public, KEY_A, AUDIO, "sound/a", "audio_url", url);
    expect_status("sound", &a, 200);
    assert_true(upstream_got("\"input_audio\":{\"data\":\"" SOUND64 "\",\"format\":\"wav\"}"));
    answer_free(&a);
}

/* --- F13: data URIs */

static char *data_uri(size_t bytes) {
    struct text t = {0};
    text_puts(&t, "data:image/png;base64,");
    text_fill(&t, 'A', bytes / 3 * 4);
    return t.p;
}

static void F13_data_uris(void **state) {
    struct answer a;
    mock_reset(&mock);
    char *uri = data_uri(MAX_FILE + 3);
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", uri);
    expect_refused("too large", &a, 413, "file_too_large", "\"image_urls\",0");
    struct text chat = {0};
    text_printf(
        &chat,
        "{\"model\":\"test/a\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
        "\"image_url\":{\"url\":\"%s\"}}]}]}",
        uri);
    a = ask_as(&server, KEY_A, CHAT, chat.p);
    expect_status("too large, OpenAI's dialect", &a, 413);
    expect_says("too large", &a, "\"param\":\"messages.0.content.0\",\"code\":\"file_too_large\"");
    answer_free(&a);
    text_free(&chat);
    free(uri);
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", "data:image/png;base64,A===");
    expect_refused("no base64", &a, 422, "image_load_error", "\"image_urls\",0");
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls",
                 "data:text/html;base64,PHNjcmlwdD4=");
    expect_refused("html", &a, 422, "unsupported_image_format", "\"image_urls\",0");
    uri = data_uri(MAX_FILE - 3);
    a = ask_with(&server, KEY_A, VISION, "test/a", "image_urls", uri);
    expect_status("not too large", &a, 200);
    answer_free(&a);
    free(uri);
}

static void F13_50_MB_is_413(void **state) {
    char *uri = data_uri(50U << 20), *body = input("test/a", "image_urls", uri);
    mock_reset(&mock);
    struct answer a = ask_as(&server, KEY_A, VISION, body);
    expect_status("50 MB", &a, 413);
    answer_free(&a);
    free(body);
    free(uri);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

/* --- other people's addresses, for an upstream that takes sound as bytes only */

static void address_is_passed_on_where_the_upstream_fetches(void **state) {
    unsigned before = host_asked();
    mock_reset(&mock);
    struct answer a = ask_with(&server, KEY_A, AUDIO, "test/a", "audio_url", host_url("/ok"));
    expect_status("passed on", &a, 200);
    assert_true(upstream_got(host_url("/ok")));
    assert_int_equal(host_asked(), before);
    answer_free(&a);
}

static void address_is_fetched_where_the_upstream_cannot(void **state) {
    static const char *const paths[] = {"/ok", "/ok?x=1"};
    for (size_t i = 0; i < 2; i++) {
        mock_reset(&mock);
        struct answer a = ask_with(&server, KEY_A, AUDIO, "sound/a", "audio_url",
                                   host_url(paths[i]));
        expect_status(paths[i], &a, 200);
        assert_true(upstream_got("\"input_audio\":{\"data\":\"" SOUND64 "\",\"format\":\"wav\"}"));
        answer_free(&a);
    }
    struct answer a = ask_with(&server, KEY_A, AUDIO, "sound/a", "audio_url", host_url("/most"));
    expect_status("as large as may be", &a, 200);
    answer_free(&a);
}

static void fetch_that_fails_is_422_and_says_no_more(void **state) {
    static const struct {
        const char *path, *type;
        unsigned status;
    } cases[] = {
        {"/more", "file_too_large", 413},
        {"/declared", "file_too_large", 413},
        {"/html", "unsupported_audio_format", 422},
        {"/picture", "unsupported_audio_format", 422},
        {"/typeless", "unsupported_audio_format", 422},
        {"/odd-type", "unsupported_audio_format", 422},
        {"/gzip", "file_download_error", 422},
        {"/cut", "file_download_error", 422},
        {"/redirect", "file_download_error", 422},
        {"/secret-in-the-body", "file_download_error", 422},
        {"/missing", "file_download_error", 422},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mock_reset(&mock);
        struct answer a = ask_with(&server, KEY_A, AUDIO, "sound/a", "audio_url",
                                   host_url(cases[i].path));
        expect_refused(cases[i].path, &a, cases[i].status, cases[i].type, "\"audio_url\"");
    }
}

/* T39's rows are test_webhook's; here, that the same rules stand before a fetch: nothing reaches the host. */
static void private_addresses_are_not_fetched(void **state) {
    const char *port = strrchr(host_url(""), ':') + 1;
    static const char *const names[] = {"127.0.0.1",          "localhost", "0x7f000001", "[::1]",
                                        "[::ffff:127.0.0.1]", "127.1",     "2130706433"};
    unsigned before = host_asked();
    char url[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(url, sizeof url, "http://%s:%s/ok", names[i], port);
        mock_reset(&mock);
        struct answer a = ask_with(&strict, KEY_A, AUDIO, "sound/a", "audio_url", url);
        expect_refused(names[i], &a, 422, "file_download_error", "\"audio_url\"");
    }
    assert_int_equal(host_asked(), before);
}

static void caller_who_leaves_ends_the_fetch(void **state) {
    char *body = input("sound/a", "audio_url", host_url("/stuck"));
    struct peer p = peer_open(server.port);
    struct text t = {0};
    text_printf(&t, "POST " AUDIO " HTTP/1.1\r\n" HOST JSON KEY_A "Content-Length: %zu\r\n\r\n%s",
                strlen(body), body);
    peer_send(&p, t.p, t.len);
    host_wait_stuck();
    peer_close(&p);
    assert_true(host_is_left());
    text_free(&t);
    free(body);
}

static void start_timeout_covers_the_fetch(void **state) {
    char *body = input("sound/a", "audio_url", host_url("/stuck"));
    static const char *const ways[] = {AUDIO, AUDIO "/stream"};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = post(server.port, ways[i], JSON KEY_A "X-Fal-Request-Timeout: 1\r\n",
                               body, strlen(body));
        expect_status("start timeout", &a, 504);
        expect_header("start timeout", &a, "x-fal-request-timeout-type", "user");
        assert_true(host_is_left());
        answer_free(&a);
    }
    free(body);
}

static void cancelled_job_ends_the_fetch(void **state) {
    char *body = input("sound/a", "audio_url", host_url("/stuck")), path[256];
    struct answer a = ask_as(&server, KEY_A, "/queue/openrouter/router/audio", body);
    char *id = submitted_id(&a);
    answer_free(&a);
    host_wait_stuck();
    struct text t = {0};
    snprintf(path, sizeof path, "/queue/openrouter/router/requests/%s/cancel", id);
    text_printf(&t, "PUT %s HTTP/1.1\r\n" HOST KEY_A "Content-Length: 0\r\n\r\n", path);
    a = ask_text(server.port, t.p);
    expect_status("cancel", &a, 202);
    answer_free(&a);
    assert_true(host_is_left());
    a = result_of(server.port, "/queue/openrouter/router", JSON KEY_A, id);
    expect_status("cancelled", &a, 499);
    answer_free(&a);
    text_free(&t);
    free(id);
    free(body);
}

/* --- the suite */

static void start_one(struct server *s, const char *more) {
    struct text config = {0};
    text_printf(
        &config,
        "max_input_file_bytes: %d\n%s"
        "keys:\n  - { id: a, secret: \"%s\", owner: alice }\n"
        "  - { id: b, secret: \"%s\", owner: bob }\n"
        "upstreams:\n"
        "  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s, keeps_nothing: true }\n"
        "  sound: { kind: openrouter, base_url: \"http://127.0.0.1:%u/openrouter/v1\", key: %s }\n"
        "routes:\n  - { model: \"test/*\", to: [up] }\n  - { model: \"sound/*\", to: [sound] }\n",
        MAX_FILE, more, CANARY_CLIENT, CANARY_OTHER, mock.port, CANARY_UPSTREAM, mock.port,
        CANARY_UPSTREAM);
    server_start_with(s, config.p);
    text_free(&config);
}

static int start(void **state) {
    mock_start(&mock);
    host_start();
    start_one(&server, "webhook_allow: [\"127.0.0.1/32\"]\n");
    start_one(&strict, "");
    start_one(&public, "public_url: \"https://files.example\"\n");
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    server_stop(&strict);
    server_stop(&public);
    host_stop();
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_of_ours_travels_as_a_data_uri),
        cmocka_unit_test(file_by_fals_name_is_ours),
        cmocka_unit_test(several_files_travel_in_their_order),
        cmocka_unit_test(file_in_openais_dialect_is_rewritten_and_nothing_else),
        cmocka_unit_test(file_that_is_not_there_is_422_on_its_field),
        cmocka_unit_test(file_closed_to_the_caller_is_as_one_that_is_not_there),
        cmocka_unit_test(file_of_another_kind_or_too_large_is_refused),
        cmocka_unit_test(with_a_public_url_the_upstream_gets_a_signed_address),
        cmocka_unit_test(F13_data_uris),
        cmocka_unit_test(F13_50_MB_is_413),
        cmocka_unit_test(address_is_passed_on_where_the_upstream_fetches),
        cmocka_unit_test(address_is_fetched_where_the_upstream_cannot),
        cmocka_unit_test(fetch_that_fails_is_422_and_says_no_more),
        cmocka_unit_test(private_addresses_are_not_fetched),
        cmocka_unit_test(caller_who_leaves_ends_the_fetch),
        cmocka_unit_test(start_timeout_covers_the_fetch),
        cmocka_unit_test(cancelled_job_ends_the_fetch),
    };
    return suite_main(argc, argv, "bad_inputs", tests, sizeof tests / sizeof *tests, start, stop);
}
