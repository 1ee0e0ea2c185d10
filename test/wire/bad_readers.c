/* Who may read a file, which part of it (H44), and who may upload one. */
#include "files_calls.h"

#include <stdio.h>
#include <string.h>

static struct server server;

/* --- who may read */

static void closed_files_open_to_owners_rules_and_signatures(void **state) {
#define CLOSED(how) \
    "X-Fal-Object-Lifecycle: {\"initial_acl\":{\"default\":\"" how "\",\"rules\":[]}}\r\n"
    char forbidden[512], hidden[512], acl[600], sign[600], path[512], body[128];
    post_file(server.port, ANN TEXT CLOSED("forbid"), "secret", 6, forbidden);
    post_file(server.port, ANN TEXT CLOSED("hide"), "secret", 6, hidden);
    expect("nobody", get(server.port, forbidden), 403, NULL);
    expect("another", send_request(server.port, "GET", forbidden, BEN, "", 0), 403, NULL);
    expect("nobody", get(server.port, hidden), 404, NULL);
    expect("another", send_request(server.port, "GET", hidden, BEN, "", 0), 404, NULL);
    expect("a wrong key",
           send_request(server.port, "GET", hidden, "Authorization: Key ann:x\r\n", "", 0), 404,
           NULL);
    expect_file(server.port, forbidden, ANN, "secret", 6);
    expect_file(server.port, hidden, ANN, "secret", 6);

    snprintf(acl, sizeof acl, "/platform/v1/storage/files/acl?url=http://127.0.0.1%s", hidden);
    snprintf(sign, sizeof sign, "/platform/v1/storage/files/sign?url=http://127.0.0.1%s", hidden);
    expect("another's ACL", send_request(server.port, "GET", acl, BEN, "", 0), 404,
           "\"not_found\"");
    expect("another's ACL", send_request(server.port, "PUT", acl, BEN JSON, "{}", 2), 404, NULL);
    expect("another's sign", send_request(server.port, "POST", sign, BEN JSON, "{}", 2), 404, NULL);
    expect("no url", send_request(server.port, "GET", "/platform/v1/storage/files/acl", ANN, "", 0),
           400, NULL);
    expect("no ACL", send_request(server.port, "PUT", acl, ANN JSON, "[]", 2), 400,
           "validation_error");
    expect("ACL", send_request(server.port, "GET", acl, ANN, "", 0), 200,
           "{\"default\":\"hide\",\"rules\":[]}");

    static const char rules[] =
        "{\"default\":\"hide\",\"rules\":[{\"user\":\"ben\",\"decision\":\"allow\"}]}";
    expect("rules", send_request(server.port, "PUT", acl, ANN JSON, rules, sizeof rules - 1), 200,
           "ben");
    expect_file(server.port, hidden, BEN, "secret", 6);
    expect("nobody", get(server.port, hidden), 404, NULL);

    static const char *const bad[] = {"0", "-1", "604801", "\"x\"", "1.5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(body, sizeof body, "{\"expiration_seconds\":%s}", bad[i]);
        expect(body, send_request(server.port, "POST", sign, ANN JSON, body, strlen(body)), 400,
               NULL);
    }
    struct answer a = send_request(server.port, "POST", sign, ANN JSON,
                                   "{\"expiration_seconds\":1}", 24);
    answer_path(&a, "signed_url", path);
    answer_free(&a);
    expect_file(server.port, path, "", "secret", 6);
    path[strlen(path) - 1] ^= 1;
    expect("bit flipped", get(server.port, path), 403, NULL);
    path[strlen(path) - 1] ^= 1;
    sleep_ms(1100);
    expect("over", get(server.port, path), 403, NULL);
}

/* --- keys that were revoked */

/* A key made by the server; its id in `id`, "Authorization: Key …" in `header`. */
static void make_key(char id[64], char header[256]) {
    char credential[160];
    struct answer a = send_request(server.port, "POST", "/platform/v1/keys", ANN JSON,
                                   "{\"alias\":\"short\"}", 17);
    assert_int_equal(a.status, 201);
    a.status = 200;
    answer_text(&a, "key_id", id, 64);
    answer_text(&a, "key", credential, sizeof credential);
    answer_free(&a);
    snprintf(header, 256, "Authorization: Key %s\r\n", credential);
}

static void what_a_key_permitted_ends_with_the_key(void **state) {
    char id[64], key[256], headers[512], token[320], path[512], sign[600], signed_path[512];
    make_key(id, key);
    snprintf(headers, sizeof headers, "%s" JSON, key);
    struct answer a = send_request(server.port, "POST", "/rest/storage/auth/token", headers, "{}",
                                   2);
    answer_text(&a, "token", token, sizeof token);
    answer_free(&a);
    struct begun b = begin_upload(server.port, key, "text/plain", -1);
    snprintf(headers, sizeof headers, "%s" TEXT CLOSED("hide"), key);
    post_file(server.port, headers, "secret", 6, path);
    snprintf(sign, sizeof sign, "/platform/v1/storage/files/sign?url=http://127.0.0.1%s", path);
    snprintf(headers, sizeof headers, "%s" JSON, key);
    a = send_request(server.port, "POST", sign, headers, "{}", 2);
    answer_path(&a, "signed_url", signed_path);
    answer_free(&a);
    expect_file(server.port, signed_path, "", "secret", 6);
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token);
    expect("token", send_request(server.port, "POST", UPLOAD, headers, "x", 1), 200, NULL);

    snprintf(sign, sizeof sign, "/platform/v1/keys/%s", id);
    expect("revoke", send_request(server.port, "DELETE", sign, ANN, "", 0), 204, NULL);
    expect("token", send_request(server.port, "POST", UPLOAD, headers, "x", 1), 401, NULL);
    expect("PUT", send_request(server.port, "PUT", b.upload, TEXT, "x", 1), 403, "no longer valid");
    expect("GET", get(server.port, signed_path), 403, NULL);
    expect_file(server.port, path, ANN, "secret", 6); /* the owner's other keys still read it */
}

static void start_with_keys(struct server *s, const char *data, const char *keys) {
    struct text config = {0};
    struct server_options o = {.data = data, .env = {keys}};
    files_config(&config, "min_free_bytes: 0\n");
    o.config = config.p;
    server_start(s, &o);
    text_free(&config);
}

static bool opens_stream(unsigned port, const char *jwt) {
    char path[1024];
    snprintf(path, sizeof path, "/run/fal-ai/any-llm/stream?fal_jwt_token=%s", jwt);
    struct answer a = send_request(port, "POST", path, JSON, "{\"prompt\":\"x\"}", 14);
    bool opens = a.status != 401;
    answer_free(&a);
    return opens;
}

#define ROT "Authorization: Key rot:one\r\n"

/* Whoever gives an id another secret wants nothing left open that the old one had opened. */
static void what_a_key_permitted_ends_with_its_secret(void **state) {
    static const struct {
        const char *keys;
        bool old_holds;
    } restarts[] = {{"ANYLLM_KEYS=rot:one", true},
                    {"ANYLLM_KEYS=rot:two", false},
                    {"ANYLLM_KEYS=rot:two,rot:one", true}};
    char data[MAX_PATH], token[320], jwt[800], path[512], sign[600], signed_path[512], headers[400];
    struct server s;
    scratch_make(data);
    start_with_keys(&s, data, restarts[0].keys);
    struct answer a = send_request(s.port, "POST", "/rest/storage/auth/token", ROT JSON, "{}", 2);
    answer_text(&a, "token", token, sizeof token);
    answer_free(&a);
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token);
    a = send_request(s.port, "POST", "/rest/tokens/realtime", ROT JSON,
                     "{\"allowed_apps\":[\"any-llm\"]}", 28);
    answer_text(&a, "token", jwt, sizeof jwt);
    answer_free(&a);
    post_file(s.port, ROT TEXT CLOSED("hide"), "secret", 6, path);
    snprintf(sign, sizeof sign, "/platform/v1/storage/files/sign?url=http://127.0.0.1%s", path);
    a = send_request(s.port, "POST", sign, ROT JSON, "{}", 2);
    answer_path(&a, "signed_url", signed_path);
    answer_free(&a);
    for (size_t i = 0; i < sizeof restarts / sizeof *restarts; i++) {
        bool holds = restarts[i].old_holds;
        struct begun b = {0};
        server_stop(&s);
        start_with_keys(&s, data, restarts[i].keys);
        expect("signed", get(s.port, signed_path), holds ? 200 : 403, NULL);
        expect("token", send_request(s.port, "POST", UPLOAD, headers, "x", 1), holds ? 200 : 401,
               NULL);
        assert_int_equal(opens_stream(s.port, jwt), holds);
        if (!holds) continue;
        b = begin_upload(s.port, ROT, "text/plain", -1);
        expect("PUT", send_request(s.port, "PUT", b.upload, TEXT, "x", 1), 200, NULL);
    }
    server_stop(&s);
    scratch_remove(data);
}

static void keys_guessed_at_a_closed_file_are_counted(void **state) {
    struct server s;
    char path[512];
    files_start(&s, "max_wrong_keys_per_minute: 3\n");
    post_file(s.port, ANN TEXT CLOSED("hide"), "secret", 6, path);
    for (unsigned i = 0; i < 3; i++)
        expect("a guess", send_request(s.port, "GET", path, "Authorization: Key ann:x\r\n", "", 0),
               404, NULL);
    expect("one too many", send_request(s.port, "GET", path, "Authorization: Key ann:x\r\n", "", 0),
           429, NULL);
    expect_file(s.port, path, ANN, "secret", 6);
    server_stop(&s);
}

/* --- reading */

static void H44_many_ranges_are_answered_with_the_whole(void **state) {
    struct text headers = {0};
    char path[512];
    post_file(server.port, ANN TEXT, "0123456789", 10, path);
    text_puts(&headers, "Range: bytes=0-0");
    for (unsigned i = 1; i < 1000; i++) text_printf(&headers, ",%u-%u", i % 10, i % 10);
    text_puts(&headers, "\r\n");
    expect_file(server.port, path, headers.p, "0123456789", 10);
    struct answer a = send_request(server.port, "GET", path, "Range: bytes=3-5\r\n", "", 0);
    expect_status("a range", &a, 206);
    assert_string_equal(a.body.p, "345");
    expect_header("a range", &a, "content-range", "bytes 3-5/10");
    answer_free(&a);
    a = send_request(server.port, "GET", path, "Range: bytes=10-\r\n", "", 0);
    expect_status("beyond", &a, 416);
    expect_header("beyond", &a, "content-range", "bytes */10");
    answer_free(&a);
    text_free(&headers);
}

static void readers_are_told_when_nothing_has_changed(void **state) {
    char path[512], etag[128], header[160];
    post_file(server.port, ANN TEXT, "0123456789", 10, path);
    struct answer a = send_request(server.port, "HEAD", path, "", "", 0);
    expect_status("HEAD", &a, 200);
    expect_header("HEAD", &a, "content-length", "10");
    expect_header("HEAD", &a, "accept-ranges", "bytes");
    answer_header(&a, "etag", etag, sizeof etag);
    assert_int_equal(strlen(etag), 66);
    answer_free(&a);
    snprintf(header, sizeof header, "If-None-Match: %s\r\n", etag);
    expect("the same", send_request(server.port, "GET", path, header, "", 0), 304, NULL);
    expect("another", send_request(server.port, "GET", path, "If-Match: \"x\"\r\n", "", 0), 412,
           NULL);
    snprintf(header, sizeof header, "Range: bytes=0-1\r\nIf-Range: %s\r\n", etag);
    expect("of the same", send_request(server.port, "GET", path, header, "", 0), 206, NULL);
    expect("of another",
           send_request(server.port, "GET", path, "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n", "", 0),
           200, NULL);
}

/* --- keys */

static void uploads_want_a_key_or_a_token_of_ours(void **state) {
    static const char *const wrong[] = {"", "Authorization: Key ann:wrong\r\n",
                                        "Authorization: Bearer storage.1.61.00\r\n",
                                        "Authorization: Bearer storage.\r\n"};
    char token[256], header[320], path[512];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect(wrong[i], send_request(server.port, "POST", UPLOAD, wrong[i], "x", 1), 401, NULL);
        expect(wrong[i], send_request(server.port, "POST", UPLOAD "/multipart", wrong[i], "", 0),
               401, NULL);
    }
    expect("initiate", post_json(server.port, "/rest/storage/upload/initiate", "{}"), 401, NULL);
    struct answer a = send_request(
        server.port, "POST", "/rest/storage/auth/token?storage_type=fal-cdn-v3", BEN JSON, "{}", 2);
    answer_text(&a, "expires_at", token, sizeof token);
    assert_string_equal(token + strlen(token) - 6, "+00:00");
    answer_text(&a, "base_url", token, sizeof token);
    assert_string_equal(token, "http://127.0.0.1/cdn");
    answer_text(&a, "token", token, sizeof token);
    answer_free(&a);
    snprintf(header, sizeof header, "Authorization: Bearer %s\r\n" TEXT, token);
    post_file(server.port, header, "by token", 8, path);
    expect("ben's, not ann's", send_request(server.port, "DELETE", path, ANN, "", 0), 404, NULL);
    expect("ben's", send_request(server.port, "DELETE", path, BEN, "", 0), 204, NULL);
    for (size_t i = 0; token[i] != '\0'; i++) {
        token[i] ^= 1;
        snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", token);
        expect(header, send_request(server.port, "POST", UPLOAD, header, "x", 1), 401, NULL);
        token[i] ^= 1;
    }
}

static void bodies_of_initiate_that_are_none(void **state) {
    static const char *const bodies[] = {"",
                                         "[]",
                                         "{",
                                         "{\"content_type\":7}",
                                         "{\"content_type\":\"png\"}",
                                         "{\"file_name\":[]}",
                                         "{\"file_size\":-1}",
                                         "{\"file_size\":1.5}",
                                         "{\"file_size\":\"1\"}",
                                         "{\"content_type\":\"text/html\\r\\nX: y\"}"};
    for (size_t i = 1; i < sizeof bodies / sizeof *bodies; i++)
        expect(bodies[i],
               post(server.port, "/rest/storage/upload/initiate", ANN JSON, bodies[i],
                    strlen(bodies[i])),
               422, "\"loc\"");
}

static int start(void **state) {
    files_start(&server, "min_free_bytes: 0\n");
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_files_open_to_owners_rules_and_signatures),
        cmocka_unit_test(what_a_key_permitted_ends_with_the_key),
        cmocka_unit_test(what_a_key_permitted_ends_with_its_secret),
        cmocka_unit_test(keys_guessed_at_a_closed_file_are_counted),
        cmocka_unit_test(H44_many_ranges_are_answered_with_the_whole),
        cmocka_unit_test(readers_are_told_when_nothing_has_changed),
        cmocka_unit_test(uploads_want_a_key_or_a_token_of_ours),
        cmocka_unit_test(bodies_of_initiate_that_are_none),
    };
    return suite_main(argc, argv, "bad_readers", tests, sizeof tests / sizeof *tests, start, stop);
}
