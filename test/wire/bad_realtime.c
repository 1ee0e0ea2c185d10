/* docs/bad-input.md, realtime: handshakes, frames, sizes, tokens, floods. What a good conversation looks like is in
 * test_realtime.py. */
#include "websocket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BODY 100000U
#define REALTIME "/run/fal-ai/any-llm/realtime"
#define REQUEST "/queue/fal-ai/any-llm/requests/00000000-0000-4000-8000-000000000000"
#define ASK "{\"prompt\":\"nonce:ws hello\"}"
#define KEY_LINE "Authorization: Key app1:" CANARY_CLIENT "\r\n"
#define ADMIN_LINE "Authorization: Key chief:chief-secret\r\n"

static struct server server, other; /* the other one has keys of its own */
static struct mock mock;

static void start(struct server *s, const char *more) {
    struct text t = {0};
    text_printf(
        &t,
        "upstreams:\n"
        "  ok: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: " CANARY_UPSTREAM
        " }\n"
        "  slow: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/100000/sse-interval/2/v1\" }\n"
        "  wide: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/100000000/wide/4096/v1\" }\n"
        "routes: [{ model: test/slow, to: [slow] }, { model: test/wide, to: [wide] }, "
        "{ model: '*', to: [ok] }]\n"
        "max_body_bytes: %u\n"
        "realtime_idle: 2\n"
        "keys:\n"
        "  - { id: app1, secret: " CANARY_CLIENT " }\n"
        "  - { id: chief, secret: chief-secret, scope: ADMIN }\n%s",
        mock.port, mock.port, mock.port, MAX_BODY, more);
    server_start_with(s, t.p);
    text_free(&t);
}

static int setup(void **state) {
    mock_start(&mock);
    start(&server, "");
    start(&other, "max_wrong_keys_per_minute: 5\n");
    return 0;
}

static int teardown(void **state) {
    server_stop(&server);
    server_stop(&other);
    mock_stop(&mock);
    return 0;
}

static struct peer talking(void) {
    return socket_open(&server, REALTIME, HANDSHAKE KEY_LINE);
}

static void expect_lives(const char *what, const struct server *s) {
    struct answer a = ask_text(s->port, HEALTHZ);
    if (a.status != 200) fail_msg("%s: the server does not answer", what);
    answer_free(&a);
}

/* --- S1, S2 */

#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define NONCE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static void S1_a_bad_handshake_is_refused_in_http(void **state) {
    static const struct {
        const char *id, *path, *headers;
        unsigned status;
    } rows[] = {
        {"no version", REALTIME, UPGRADE NONCE KEY_LINE, 400},
        {"version 8", REALTIME, UPGRADE NONCE "Sec-WebSocket-Version: 8\r\n" KEY_LINE, 426},
        {"no key", REALTIME, UPGRADE VERSION KEY_LINE, 400},
        {"two keys", REALTIME, UPGRADE VERSION NONCE NONCE KEY_LINE, 400},
        {"short key", REALTIME, UPGRADE VERSION "Sec-WebSocket-Key: YQ==\r\n" KEY_LINE, 400},
        {"no connection", REALTIME, "Upgrade: websocket\r\n" VERSION NONCE KEY_LINE, 400},
        {"body", REALTIME, HANDSHAKE KEY_LINE "Content-Length: 2\r\n", 400},
        {"no key of ours", REALTIME, HANDSHAKE, 401},
        {"wrong key", REALTIME, HANDSHAKE "Authorization: Key app1:wrong\r\n", 401},
        {"unknown application", "/run/fal-ai/nothing/realtime", HANDSHAKE KEY_LINE, 404},
        {"unknown path", "/run/fal-ai/any-llm/else/realtime", HANDSHAKE KEY_LINE, 404},
        {"on the queue", "/queue/fal-ai/any-llm/realtime", HANDSHAKE KEY_LINE, 405},
        {"max_buffering 0", REALTIME "?max_buffering=0", HANDSHAKE KEY_LINE, 400},
        {"max_buffering 61", REALTIME "?max_buffering=61", HANDSHAKE KEY_LINE, 400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer p = socket_dial(&server, rows[i].path, rows[i].headers);
        if (strstr(rows[i].headers, "Content-Length") != NULL) peer_puts(&p, "{}");
        const struct answer *a = peer_answer(&p);
        char version[8];
        if (a == NULL || a->status != rows[i].status)
            fail_msg("%s: %u", rows[i].id, a != NULL ? a->status : 0);
        if (a->status == 426) {
            assert_true(answer_header(a, "sec-websocket-version", version, sizeof version));
            assert_string_equal(version, "13");
        }
        peer_close(&p);
    }
}

static void S2_other_upgrades_are_ignored(void **state) {
    struct peer p = socket_dial(&server, "/healthz", "Upgrade: h2c\r\nConnection: Upgrade\r\n");
    assert_int_equal(peer_answer(&p)->status, 200);
    peer_close(&p);
    p = socket_dial(&server, "/healthz", HANDSHAKE);
    assert_int_equal(peer_answer(&p)->status, 200);
    peer_close(&p);
    p = socket_dial(&server, REALTIME, KEY_LINE);
    assert_int_equal(peer_answer(&p)->status, 405);
    peer_close(&p);
}

/* --- S3, S4 */

static void S3_frames_against_the_rules_close_with_1002(void **state) {
    static const struct {
        const char *id, *bytes;
        size_t len;
    } rows[] = {
        {"unmasked", "\x81\x02{}", 4},
        {"reserved bit", "\xc1\x82\0\0\0\0{}", 8},
        {"unknown opcode", "\x83\x80\0\0\0\0", 6},
        {"continuation of nothing", "\x80\x80\0\0\0\0", 6},
        {"fragmented ping", "\x09\x80\0\0\0\0", 6},
        {"ping of 126 bytes", "\x89\xfe\0\x7e\0\0\0\0", 8},
        {"length beyond 63 bits", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14},
        {"length in too many bytes", "\x81\xfe\0\x01\0\0\0\0a", 9},
        {"HTTP again", "GET /healthz HTTP/1.1\r\n\r\n", 25},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer p = talking();
        peer_send(&p, rows[i].bytes, rows[i].len);
        expect_frame_close(rows[i].id, &p, 1002);
        p = talking();
        peer_trickle(&p, rows[i].bytes, rows[i].len);
        expect_frame_close(rows[i].id, &p, 1002);
    }
}

static void S4_text_that_is_not_utf8_closes_with_1007(void **state) {
    struct peer p = talking();
    frame_send_text(&p, "{\"prompt\":\"\xff\"}");
    expect_frame_close("not UTF-8", &p, 1007);
}

/* --- S5 */

static void S5_a_message_over_max_body_bytes_closes_with_1009(void **state) {
    struct text big = {0};
    text_puts(&big, "{\"prompt\":\"");
    text_fill(&big, 'a', MAX_BODY);
    struct peer p = talking();
    frame_send(&p, 0x81, big.p, MAX_BODY + 1);
    expect_frame_close("one frame", &p, 1009);
    p = talking();
    for (int i = 0; i < 3 && frame_send(&p, i == 0 ? 0x01 : 0x00, big.p, MAX_BODY / 2); i++);
    expect_frame_close("fragments", &p, 1009);
    p = talking();
    peer_send(&p, "\x82\xff\0\0\0\x20\0\0\0\0abcdx", 15); /* 137 GB to come, and the first byte */
    expect_frame_close("announced", &p, 1009);
    text_free(&big);
    expect_lives("after 1009", &server);
}

static void S5_fragments_of_nothing_cost_nothing(void **state) {
    struct text t = {0};
    struct peer p = talking();
    frame_add(&t, 0x01, "", 0);
    for (int i = 0; i < 200000; i++) frame_add(&t, 0x00, "", 0);
    frame_add(&t, 0x80, ASK, strlen(ASK));
    size_t before = server_rss_kib(&server);
    peer_send(&p, t.p, t.len);
    expect_frame_answer("after 200,000 empty fragments", &p);
    size_t after = server_rss_kib(&server);
    if (after > before + 8192) fail_msg("from %zu to %zu KiB", before, after);
    peer_close(&p);
    text_free(&t);
}

/* --- S6 to S8: tokens */

/* Of the body of /rest/tokens/, without its quotes. Free it. */
static char *token_from(const struct server *s, const char *headers, const char *body) {
    struct answer a = post(s->port, "/rest/tokens/", headers, body, strlen(body));
    if (a.status != 200) fail_msg("no token: %u %s", a.status, a.body.p);
    char *token = strndup(a.body.p + 1, a.body.len - 2);
    answer_free(&a);
    return token;
}

static void expect_unauthorized(const char *what, const struct server *s, const char *token) {
    struct text path = {0};
    text_printf(&path, REALTIME "?fal_jwt_token=%s", token);
    struct peer p = socket_open(s, path.p, HANDSHAKE);
    frame_send_text(&p, ASK);
    expect_frame_text(what, &p, "{\"status\":\"error\",\"error\":\"Unauthorized\"}");
    expect_frame_close(what, &p, 1008);
    text_free(&path);
}

static void S6_a_token_that_opens_nothing_is_told_and_closed(void **state) {
    char *foreign = token_from(&other, KEY_LINE, "{\"allowed_apps\":[\"any-llm\"]}"),
         *elsewhere = token_from(&server, KEY_LINE, "{\"allowed_apps\":[\"other\"]}"),
         *good = token_from(&server, KEY_LINE, "{\"allowed_apps\":[\"any-llm\"]}"),
         *brief = token_from(&server, KEY_LINE,
                             "{\"allowed_apps\":[\"any-llm\"],\"token_expiration\":1}");
    mock_reset(&mock);
    expect_unauthorized("empty", &server, "");
    expect_unauthorized("three dots", &server, "a.b.c");
    expect_unauthorized("of another server", &server, foreign);
    expect_unauthorized("for another application", &server, elsewhere);
    good[strlen(good) / 2] ^= 1;
    expect_unauthorized("changed", &server, good);
    expect_unauthorized(
        "algorithm none", &server,
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIiwia2lkIjoieCJ9."
        "eyJzdWIiOiJhcHAxIiwia2V5X2lkIjoiYXBwMSIsImFsbG93ZWRfYXBwcyI6WyJhbnktbGxtIl0sImV4cCI6OTk5OTk5OTk5OX0.");
    sleep_ms(1100);
    expect_unauthorized("expired", &server, brief);
    assert_int_equal(mock_count(&mock, "calls"), 0);
    free(foreign);
    free(elsewhere);
    free(good);
    free(brief);
}

static unsigned status_of(const char *method, const char *path, const char *token,
                          const char *headers) {
    struct text t = {0};
    text_printf(&t, "%s %s%s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n%s", method, path,
                token, headers, strlen(ASK), ASK);
    struct answer a = ask(server.port, t.p, t.len);
    unsigned status = a.status;
    answer_free(&a);
    text_free(&t);
    return status;
}

static void S7_a_token_opens_realtime_and_streams_alone(void **state) {
    char *token = token_from(&server, ADMIN_LINE, "{\"allowed_apps\":[\"fal-ai/any-llm\"]}");
    struct text header = {0};
    text_printf(&header, "Authorization: Key %s\r\n", token);
    assert_int_equal(status_of("POST", "/run/fal-ai/any-llm/stream?fal_jwt_token=", token, ""),
                     200);
    assert_int_equal(status_of("POST", "/run/fal-ai/any-llm?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("POST", "/queue/fal-ai/any-llm?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("POST", "/rest/tokens/?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("GET", "/admin/keys?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("GET", "/metrics?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("GET", REQUEST "/status/stream?fal_jwt_token=", token, ""), 404);
    assert_int_equal(status_of("GET", REQUEST "/status?fal_jwt_token=", token, ""), 401);
    assert_int_equal(status_of("POST", "/run/fal-ai/any-llm", "", header.p), 401);
    assert_int_equal(status_of("POST", "/run/fal-ai/any-llm/stream?fal_jwt_token=", "a.b.c", ""),
                     401);
    text_free(&header);
    free(token);
}

static void S8_a_revoked_key_ends_its_connections_and_tokens(void **state) {
    struct answer a = post(server.port, "/admin/keys", ADMIN_LINE, "{\"owner\":\"leaver\"}", 18);
    yyjson_doc *doc = answer_json("a key", &a);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *id = yyjson_get_str(yyjson_obj_get(root, "key_id")),
               *key = yyjson_get_str(yyjson_obj_get(root, "key"));
    struct text line = {0}, path = {0};
    if (id == NULL || key == NULL) fail_msg("%s", a.body.p);
    text_printf(&line, "%sAuthorization: Key %s\r\n", HANDSHAKE, key);
    text_printf(&path, "DELETE /admin/keys/%s HTTP/1.1\r\n" HOST ADMIN_LINE "\r\n", id);
    char *token = token_from(&server, strstr(line.p, "Authorization"),
                             "{\"allowed_apps\":[\"any-llm\"]}");
    struct peer p = socket_open(&server, REALTIME, line.p);
    frame_send_text(&p, ASK);
    expect_frame_answer("before", &p);
    struct answer gone = ask_text(server.port, path.p);
    assert_int_equal(gone.status / 100, 2);
    frame_send_text(&p, ASK);
    expect_frame_text("after", &p, "{\"status\":\"error\",\"error\":\"Unauthorized\"}");
    expect_frame_close("after", &p, 1008);
    expect_unauthorized("its token", &server, token);
    answer_free(&gone);
    free(token);
    text_free(&line);
    text_free(&path);
    yyjson_doc_free(doc);
    answer_free(&a);
}

static void S9_tokens_cannot_be_guessed_quickly(void **state) {
    for (int i = 0; i < 5; i++) expect_unauthorized("guessed", &other, "a.b.c");
    struct peer p = socket_dial(&other, REALTIME "?fal_jwt_token=a.b.c", HANDSHAKE);
    assert_int_equal(peer_answer(&p)->status, 429);
    peer_close(&p);
    p = socket_open(&other, REALTIME, HANDSHAKE KEY_LINE);
    frame_send_text(&p, ASK);
    expect_frame_answer("the right key", &p);
    peer_close(&p);
}

/* --- S10 to S13 */

static void S10_a_bad_input_is_told_and_the_connection_stays(void **state) {
    static const struct {
        const char *id, *bytes;
        size_t len;
        bool binary;
        const char *says;
    } rows[] = {
#define ROW(id, bytes, binary, says) {id, bytes, sizeof(bytes) - 1, binary, says}
        ROW("not JSON", "{", false, "\"error\":\"VALIDATION_ERROR\""),
        ROW("no object", "[1]", false, "\"error\":\"VALIDATION_ERROR\""),
        ROW("a key twice", "{\"prompt\":1,\"prompt\":2}", false, "\"error\":\"VALIDATION_ERROR\""),
        ROW("wrong type", "{\"prompt\":1}", false, "\"loc\":[\"body\",\"prompt\"]"),
        ROW("not msgpack", "\xc1", true, "\"error\":\"BAD_REQUEST\""),
        ROW("array of 4 billion", "\xdd\xff\xff\xff\xff", true, "cut short"),
        ROW("map of 4 billion", "\xdf\xff\xff\xff\xff", true, "cut short"),
        ROW("ext", "\xd4\x01x", true, "ext types"),
        ROW("bytes as prompt", "\x81\xa6prompt\xc4\x01x", true, "where no file is taken"),
        ROW("two values", "\x80\x80", true, "more than one"),
        ROW("request_id comes back", "{\"request_id\":\"r-\\u00e9\"}", false,
            "\"request_id\":\"r-\\u00e9\""),
#undef ROW
    };
    struct peer p = talking();
    struct text deep = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        frame_send(&p, rows[i].binary ? 0x82 : 0x81, rows[i].bytes, rows[i].len);
        expect_frame_text(rows[i].id, &p, rows[i].says);
    }
    text_fill(&deep, (char)0x91, 90000);
    frame_send(&p, 0x82, deep.p, deep.len);
    expect_frame_text("90,000 arrays in each other", &p, "nested too deeply");
    frame_send_text(&p, ASK);
    expect_frame_answer("after all that", &p);
    peer_close(&p);
    text_free(&deep);
}

/* Sends inputs without reading an answer until the server takes no more. */
static void S11_a_flood_of_inputs_is_held_back(void **state) {
    struct peer p = talking();
    struct text t = {0};
    for (int i = 0; i < 200; i++)
        frame_add(&t, 0x81, "{\"prompt\":\"nonce:ws\",\"model\":\"test/slow\"}", 41);
    size_t before = server_rss_kib(&server);
    uint64_t until = now_ms() + 3000;
    while (now_ms() < until && peer_send(&p, t.p, t.len)) peer_listen(&p, 1);
    size_t after = server_rss_kib(&server);
    if (after > before + 32768) fail_msg("from %zu to %zu KiB", before, after);
    peer_close(&p);
    text_free(&t);
    expect_lives("after a flood", &server);
}

static void S12_a_flood_of_pings_is_answered(void **state) {
    struct peer p = talking();
    struct text t = {0};
    struct frame f = {0};
    for (int i = 0; i < 20000; i++) frame_add(&t, 0x89, "p", 1);
    size_t before = server_rss_kib(&server);
    peer_send(&p, t.p, t.len);
    for (int i = 0; i < 20000; i++)
        if (!frame_next(&p, &f) || f.opcode != 10) fail_msg("pong %d: opcode %u", i, f.opcode);
    if (server_rss_kib(&server) > before + 8192) fail_msg("grew beyond 8 MiB");
    frame_send_text(&p, ASK);
    expect_frame_answer("after 20,000 pings", &p);
    text_free(&f.data);
    text_free(&t);
    peer_close(&p);
}

static void S13_a_silent_peer_is_closed_after_realtime_idle(void **state) {
    struct peer p = talking();
    peer_send(&p, "\x81\xfe", 2); /* half a frame is no input */
    expect_frame_text("idle", &p, "\"error\":\"TIMEOUT\"");
    expect_frame_close("idle", &p, 1000);
}

static void S14_leaving_anywhere_leaves_nothing_behind(void **state) {
    struct text t = {0};
    frame_add(&t, 0x81, "{\"prompt\":\"nonce:ws\",\"model\":\"test/slow\"}", 41);
    mock_reset(&mock);
    for (size_t cut = 1; cut <= t.len; cut++) {
        struct peer p = talking();
        peer_send(&p, t.p, cut);
        if (cut % 2 == 0) peer_listen(&p, 5);
        peer_close(&p);
    }
    for (int i = 0; i < 200 && mock_count(&mock, "open") > 0; i++) sleep_ms(20);
    assert_int_equal(mock_count(&mock, "open"), 0);
    text_free(&t);
    expect_lives("after they left", &server);
}

/* An answer of 16 MiB would end by itself; what is not read stays upstream. */
static void S15_a_slow_reader_holds_the_upstream_back(void **state) {
    mock_reset(&mock);
    size_t before = server_rss_kib(&server);
    struct peer p = talking();
    frame_send_text(&p, "{\"prompt\":\"nonce:ws\",\"model\":\"test/wide\"}");
    sleep_ms(4000);
    size_t after = server_rss_kib(&server);
    if (after > before + 65536) fail_msg("from %zu to %zu KiB", before, after);
    assert_int_equal(mock_count(&mock, "open"), 1);
    peer_close(&p);
    for (int i = 0; i < 200 && mock_count(&mock, "open") > 0; i++) sleep_ms(20);
    assert_int_equal(mock_count(&mock, "open"), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(S1_a_bad_handshake_is_refused_in_http),
        cmocka_unit_test(S2_other_upgrades_are_ignored),
        cmocka_unit_test(S3_frames_against_the_rules_close_with_1002),
        cmocka_unit_test(S4_text_that_is_not_utf8_closes_with_1007),
        cmocka_unit_test(S5_a_message_over_max_body_bytes_closes_with_1009),
        cmocka_unit_test(S5_fragments_of_nothing_cost_nothing),
        cmocka_unit_test(S6_a_token_that_opens_nothing_is_told_and_closed),
        cmocka_unit_test(S7_a_token_opens_realtime_and_streams_alone),
        cmocka_unit_test(S8_a_revoked_key_ends_its_connections_and_tokens),
        cmocka_unit_test(S9_tokens_cannot_be_guessed_quickly),
        cmocka_unit_test(S10_a_bad_input_is_told_and_the_connection_stays),
        cmocka_unit_test(S11_a_flood_of_inputs_is_held_back),
        cmocka_unit_test(S12_a_flood_of_pings_is_answered),
        cmocka_unit_test(S13_a_silent_peer_is_closed_after_realtime_idle),
        cmocka_unit_test(S14_leaving_anywhere_leaves_nothing_behind),
        cmocka_unit_test(S15_a_slow_reader_holds_the_upstream_back),
    };
    return suite_main(argc, argv, "bad_realtime", tests, sizeof tests / sizeof *tests, setup,
                      teardown);
}
