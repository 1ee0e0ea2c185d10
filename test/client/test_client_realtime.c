/* Realtime connections against a server that follows a script. */
#include "client/rig.h"
#include "client/ws_peer.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

static fal_client *client_of(const struct ws_peer *p) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = ws_peer_base(p);
    o.credentials = "kid:ksecret";
    o.retry_base_ms = 1;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

/* With the key, so that no token is fetched. */
static struct fal_realtime_options with_key(void) {
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.use_key = true;
    return o;
}

static fal_realtime *open_it(fal_client *c, const struct fal_realtime_options *o) {
    fal_realtime *rt = NULL;
    fal_result *r = NULL;
    if (fal_realtime_open(c, APP, o, &rt, &r) != FAL_OK)
        fail_msg("not open: %s", fal_result_error(r)->message);
    assert_non_null(rt);
    fal_result_free(r);
    return rt;
}

static void expect_message(fal_realtime *rt, const char *json) {
    fal_result *r = NULL;
    enum fal_code code = fal_realtime_receive(rt, PATIENCE_MS, &r);
    if (code != FAL_OK) fail_msg("no message: %s", fal_result_error(r)->message);
    assert_string_equal(fal_result_json(r), json);
    fal_result_free(r);
}

static void expect_no_message(fal_realtime *rt, enum fal_code code, const char *message) {
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), code);
    assert_string_equal(fal_result_error(r)->message, message);
    fal_result_free(r);
}

static void stop(struct ws_peer *p, fal_client *c, bool all) {
    fal_client_free(c);
    ws_peer_stop(p, all);
    ws_peer_free(p);
}

static void expect_begins(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) != 0) fail_msg("%s", text);
}

/* --- opening */

static void realtime_fetches_a_token_and_talks_msgpack(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(
        WS_TOKEN("t+1/2="), WS_OPENED,
        {.what = WS_EXPECT, .first = WS_BINARY_FRAME, .text = "\x81\xa6prompt\xa2hi"},
        {.what = WS_SEND, .first = WS_BINARY_FRAME, .text = "\x81\xa6output\xa2ho"},
        WS_JSON("{\"output\":\"hu\"}"), WS_CLOSED);
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.token_expiration_s = 60;
    o.max_buffering = 7;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_client_pending(c), 1);
    assert_int_equal(fal_realtime_send(rt, "{\"prompt\":\"hi\"}"), FAL_OK);
    expect_message(rt, "{\"output\":\"ho\"}");
    expect_message(rt, "{\"output\":\"hu\"}");
    fal_realtime_close(rt);
    assert_int_equal(fal_client_pending(c), 0);
    fal_client_free(c);
    ws_peer_stop(p, true);
    const char *token = ws_peer_request(p, 0), *hello = ws_peer_request(p, 1);
    expect_begins(token, "POST /rest/tokens/ HTTP/1.1\r\n");
    assert_non_null(strstr(token, "\r\nAuthorization: Key kid:ksecret\r\n"));
    assert_non_null(strstr(token, "{\"allowed_apps\":[\"any-llm\"],\"token_expiration\":60}"));
    expect_begins(hello, "GET /run/" APP "/realtime?fal_jwt_token=t%2B1%2F2%3D&max_buffering=7 ");
    assert_null(strstr(hello, "Authorization"));
    assert_non_null(strstr(hello, "\r\nUser-Agent: libfal/"));
    ws_peer_free(p);
}

static void realtime_path_and_token_are_the_callers(void **state) {
    (void)state;
    static const struct {
        const char *id, *path, *line;
    } rows[] = {
        {APP, NULL, "GET /run/" APP "/realtime?fal_jwt_token=mine HTTP/1.1\r\n"},
        {APP "/realtime", NULL, "GET /run/" APP "/realtime?fal_jwt_token=mine HTTP/1.1\r\n"},
        {APP, "", "GET /run/" APP "?fal_jwt_token=mine HTTP/1.1\r\n"},
        {APP, "ws", "GET /run/" APP "/ws?fal_jwt_token=mine HTTP/1.1\r\n"},
        {APP "/vision", "/ws", "GET /run/" APP "/vision/ws?fal_jwt_token=mine HTTP/1.1\r\n"},
        {APP "/xws", "ws", "GET /run/" APP "/xws/ws?fal_jwt_token=mine HTTP/1.1\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ws_peer *p = WS_PEER(WS_OPENED, WS_CLOSED);
        fal_client *c = client_of(p);
        struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
        fal_realtime *rt = NULL;
        o.token = "mine";
        o.path = rows[i].path;
        assert_int_equal(fal_realtime_open(c, rows[i].id, &o, &rt, NULL), FAL_OK);
        fal_realtime_close(rt);
        fal_client_free(c);
        ws_peer_stop(p, true);
        assert_memory_equal(ws_peer_request(p, 0), rows[i].line, strlen(rows[i].line));
        ws_peer_free(p);
    }
}

static void realtime_key_goes_in_the_handshake(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(
        WS_OPENED, {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{ }"}, WS_CLOSED);
    struct fal_options co = FAL_OPTIONS_INIT;
    struct fal_realtime_options o = with_key();
    fal_client *c = NULL;
    co.base_url = ws_peer_base(p);
    co.credentials = "kid:ksecret";
    co.headers = (const char *const[]){"X-Mine: 1"};
    co.header_count = 1;
    co.user_agent = "mine/1";
    assert_int_equal(fal_client_new(&co, &c), FAL_OK);
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, "{ }"), FAL_OK);
    fal_realtime_close(rt);
    fal_client_free(c);
    ws_peer_stop(p, true);
    const char *hello = ws_peer_request(p, 0);
    expect_begins(hello, "GET /run/" APP "/realtime HTTP/1.1\r\nHost: 127.0.0.1:");
    assert_non_null(strstr(hello, "\r\nAuthorization: Key kid:ksecret\r\n"));
    assert_non_null(strstr(hello, "\r\nX-Mine: 1\r\n"));
    assert_non_null(strstr(hello, "\r\nUser-Agent: mine/1 libfal/"));
    ws_peer_free(p);
}

static void refuses(struct ws_peer *p, const struct fal_realtime_options *o, enum fal_code code,
                    int status, const char *message) {
    fal_client *c = client_of(p);
    fal_realtime *rt = (void *)&c;
    fal_result *r = NULL;
    enum fal_code got = fal_realtime_open(c, APP, o, &rt, &r);
    if (got != code || strcmp(fal_result_error(r)->message, message) != 0)
        fail_msg("%d \"%s\"", (int)got, fal_result_error(r)->message);
    assert_null(rt);
    assert_int_equal(fal_result_error(r)->code, code);
    assert_int_equal(fal_result_error(r)->http_status, status);
    assert_int_equal(fal_client_pending(c), 0);
    fal_result_free(r);
    stop(p, c, false);
}

static void realtime_refused_says_why(void **state) {
    (void)state;
    struct fal_realtime_options key = with_key(), token = FAL_REALTIME_OPTIONS_INIT;
    refuses(WS_PEER({.what = WS_ACCEPT},
                    {.what = WS_SAY,
                     .text = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
                             "Content-Length: 24\r\n\r\n{\"detail\":\"invalid key\"}"},
                    {.what = WS_HANG}),
            &key, FAL_ERR_HTTP, 401, "invalid key");
    refuses(WS_PEER({.what = WS_ACCEPT},
                    {.what = WS_SAY,
                     .text = "HTTP/1.1 502 X\r\nContent-Type: text/html\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n"},
                    {.what = WS_HANG}),
            &key, FAL_ERR_HTTP, 502, "HTTP 502");
    refuses(WS_PEER({.what = WS_ACCEPT},
                    {.what = WS_SAY, .text = "HTTP/1.1 200 OK\r\n\r\n{\"message\":\"no\"}"},
                    {.what = WS_END}),
            &key, FAL_ERR_HTTP, 200, "no");
    refuses(WS_PEER({.what = WS_ACCEPT},
                    {.what = WS_SAY,
                     .text = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: "
                             "Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"},
                    {.what = WS_HANG}),
            &key, FAL_ERR_PROTOCOL, 0, "the server's Sec-WebSocket-Accept is wrong");
    refuses(
        WS_PEER({.what = WS_ACCEPT}, {.what = WS_SAY, .text = "HTTP/1.1 101"}, {.what = WS_END}),
        &key, FAL_ERR_TRANSPORT, 0, "the server closed the connection before it answered");
    refuses(WS_PEER({.what = WS_ACCEPT}, {.what = WS_SAY, .filler = 20000, .text = "HTTP/1.1 "},
                    {.what = WS_HANG}),
            &key, FAL_ERR_PROTOCOL, 0, "the head of the server's answer is too long");
    refuses(
        WS_PEER({.what = WS_ACCEPT},
                {.what = WS_SAY,
                 .text = "HTTP/1.1 403 X\r\nConnection: close\r\n\r\n{\"detail\":\"no tokens\"}"},
                {.what = WS_END}),
        &token, FAL_ERR_HTTP, 403, "no tokens");
    refuses(WS_PEER({.what = WS_ACCEPT},
                    {.what = WS_SAY, .text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}"},
                    {.what = WS_END}),
            &token, FAL_ERR_PROTOCOL, 0, "the answer holds no token");
}

static void realtime_arguments_are_checked(void **state) {
    (void)state;
    struct fal_options co = FAL_OPTIONS_INIT;
    struct fal_realtime_options o = with_key();
    fal_client *c = NULL;
    fal_realtime *rt = NULL;
    co.base_url = "http://127.0.0.1:1";
    assert_int_equal(fal_client_new(&co, &c), FAL_OK);
    assert_int_equal(fal_realtime_open(c, "x", &o, &rt, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_open(c, NULL, &o, &rt, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_open(NULL, APP, &o, &rt, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_open(c, APP, &o, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_start(c, APP, &o, NULL), FAL_ERR_ARGUMENT);
    o.token = "t";
    assert_int_equal(fal_realtime_open(c, APP, &o, &rt, NULL), FAL_ERR_ARGUMENT);
    o = with_key();
    o.max_buffering = 61;
    assert_int_equal(fal_realtime_start(c, APP, &o, &rt), FAL_ERR_ARGUMENT);
    o = with_key();
    o.path = "/a?b=c";
    assert_int_equal(fal_realtime_start(c, APP, &o, &rt), FAL_ERR_ARGUMENT);
    o = with_key();
    o.open_timeout_ms = -1;
    assert_int_equal(fal_realtime_start(c, APP, &o, &rt), FAL_ERR_ARGUMENT);
    o.open_timeout_ms = 0;
    o.size = 3;
    assert_int_equal(fal_realtime_start(c, APP, &o, &rt), FAL_ERR_ARGUMENT);
    o = with_key();
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_open(c, APP, &o, &rt, &r), FAL_ERR_CONNECT);
    assert_true(fal_result_error(r)->message[0] != '\0');
    fal_result_free(r);
    assert_int_equal(fal_realtime_receive(NULL, 0, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_send(NULL, "{}"), FAL_ERR_ARGUMENT);
    fal_realtime_close(NULL);
    fal_client_free(c);
}

static void realtime_opens_in_its_time_or_not(void **state) {
    (void)state;
    struct fal_realtime_options o = with_key();
    o.open_timeout_ms = 50;
    refuses(WS_PEER({.what = WS_ACCEPT}, {.what = WS_HANG}), &o, FAL_ERR_TIMEOUT, 0,
            "not open after 50 ms");
}

/* --- messages */

static void realtime_messages_may_come_in_pieces(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(
        {.what = WS_ACCEPT}, {.what = WS_SLOWLY}, WS_SWITCH,
        {.what = WS_SEND, .first = 0x01, .text = "{\"a\""},
        {.what = WS_SEND, .first = WS_PING_FRAME, .text = "are you there"},
        {.what = WS_SEND, .first = 0x00, .text = ":"},
        {.what = WS_EXPECT, .first = WS_PONG_FRAME, .text = "are you there"},
        {.what = WS_SEND, .first = 0x80, .text = "1}"},
        {.what = WS_SEND, .first = WS_PONG_FRAME, .text = "unasked"}, WS_JSON("{\"b\":2}"),
        WS_CLOSED);
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    fal_realtime *rt = open_it(c, &o);
    expect_message(rt, "{\"a\":1}");
    expect_message(rt, "{\"b\":2}");
    fal_realtime_close(rt);
    stop(p, c, true);
}

/* {"a":"xxx…"} */
static char *long_json(size_t n) {
    char *json = malloc(n + 16);
    assert_non_null(json);
    memcpy(json, "{\"a\":\"", 6);
    memset(json + 6, 'x', n);
    memcpy(json + 6 + n, "\"}", 3);
    return json;
}

static void realtime_large_messages_pass_both_ways(void **state) {
    (void)state;
    enum { N = 3 << 20 };
    struct ws_peer *p = WS_PEER(WS_OPENED,
                                {.what = WS_EXPECT,
                                 .first = WS_TEXT_FRAME,
                                 .text = "{\"a\":\"",
                                 .filler = N,
                                 .tail = "\"}"},
                                {.what = WS_SEND, .first = 0x01, .text = "{\"a\":\"", .filler = N},
                                {.what = WS_SEND, .first = 0x80, .text = "\"}"}, WS_CLOSED);
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    char *json = long_json(N);
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    expect_message(rt, json);
    free(json);
    fal_realtime_close(rt);
    stop(p, c, true);
}

/* 80 MiB come before anybody reads: libfal holds 64 MiB and leaves the rest to the connection. */
static void realtime_messages_that_nobody_takes_are_bounded(void **state) {
    (void)state;
    enum { N = 4 << 20, COUNT = 20 };
    struct ws_step steps[COUNT + 6] = {WS_OPENED};
    for (size_t i = 0; i < COUNT; i++)
        steps[2 + i] = (struct ws_step){.what = WS_SEND,
                                        .first = WS_TEXT_FRAME,
                                        .text = "{\"a\":\"",
                                        .filler = N,
                                        .tail = "\"}"};
    steps[2 + COUNT] = (struct ws_step)WS_JSON("{\"last\":1}");
    struct ws_peer *p = ws_peer_start(steps, COUNT + 3);
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    fal_realtime *rt = open_it(c, &o);
    for (uint64_t quiet = 0; quiet < 20; quiet++) fal_client_wait(c, 20);
    size_t bytes = 0;
    for (fal_result *r = NULL;; bytes += N) {
        assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), FAL_OK);
        bool last = strcmp(fal_result_json(r), "{\"last\":1}") == 0;
        fal_result_free(r);
        if (last) break;
    }
    assert_int_equal(bytes, (size_t)N * COUNT);
    fal_realtime_close(rt);
    stop(p, c, true);
}

static void realtime_control_messages_are_not_outputs(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(
        WS_OPENED, WS_JSON("{\"type\":\"x-fal-message\",\"action\":\"timings\",\"timing\":0.42}"),
        WS_JSON(
            "{\"type\":\"x-fal-error\",\"error\":\"VALIDATION_ERROR\",\"reason\":\"body.prompt: "
            "Field required\",\"status\":422,\"detail\":[]}"),
        WS_JSON("{\"type\":\"x-fal-error\",\"error\":\"RATE_LIMIT_EXCEEDED\",\"status\":429,"
                "\"retry_after\":7}"),
        WS_JSON("{\"type\":\"x-fal-error\",\"error\":\"INTERNAL_ERROR\",\"reason\":\"oops\"}"),
        WS_JSON("{\"output\":\"x\"}"), WS_CLOSED);
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    fal_realtime *rt = open_it(c, &o);
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), FAL_ERR_HTTP);
    const struct fal_error *e = fal_result_error(r);
    assert_int_equal(e->http_status, 422);
    assert_string_equal(e->error_type, "VALIDATION_ERROR");
    assert_string_equal(e->message, "body.prompt: Field required");
    assert_false(e->retryable);
    assert_non_null(strstr(fal_result_json(r), "\"detail\":[]"));
    fal_result_free(r);
    assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), FAL_ERR_HTTP);
    e = fal_result_error(r);
    assert_true(e->http_status == 429 && e->retryable && e->retry_after_s > 6.9);
    assert_string_equal(e->message, "RATE_LIMIT_EXCEEDED");
    fal_result_free(r);
    assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_error(r)->http_status, 400);
    fal_result_free(r);
    expect_message(rt, "{\"output\":\"x\"}");
    fal_realtime_close(rt);
    stop(p, c, true);
}

#define UNAUTHORIZED WS_JSON("{\"status\":\"error\",\"error\":\"Unauthorized\"}")

static void realtime_unauthorized_gets_one_new_token(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_TOKEN("old"), WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{\"n\":1}"},
                                UNAUTHORIZED, {.what = WS_END}, WS_TOKEN("new"), WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{\"n\":1}"},
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{\"n\":2}"},
                                WS_JSON("{\"output\":1}"), UNAUTHORIZED, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, "{\"n\":1}"), FAL_OK);
    assert_int_equal(fal_realtime_send(rt, "{\"n\":2}"), FAL_OK);
    expect_message(rt, "{\"output\":1}");
    expect_no_message(rt, FAL_ERR_HTTP, "Unauthorized");
    expect_no_message(rt, FAL_ERR_HTTP, "Unauthorized");
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_ERR_TRANSPORT);
    fal_realtime_close(rt);
    fal_client_free(c);
    ws_peer_stop(p, false);
    assert_non_null(strstr(ws_peer_request(p, 3), "?fal_jwt_token=new "));
    ws_peer_free(p);
}

static void note(void *flag) {
    atomic_store((atomic_bool *)flag, true);
}

static void realtime_sends_while_it_gets_a_new_token(void **state) {
    (void)state;
    atomic_bool renewing = false;
    struct ws_peer *p = WS_PEER(WS_TOKEN("old"), WS_OPENED, UNAUTHORIZED, {.what = WS_END},
                                {.what = WS_ACCEPT},
                                {.what = WS_HANG, .hook = note, .user = &renewing});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    for (int i = 0; i < 10000 && !atomic_load(&renewing); i++) fal_client_wait(c, 10);
    assert_true(atomic_load(&renewing));
    assert_int_equal(fal_realtime_send(rt, "{\"n\":1}"), FAL_OK);
    fal_realtime_close(rt);
    stop(p, c, false);
}

static void turn_until(fal_client *c, atomic_bool *flag) {
    for (int i = 0; i < 10000 && !atomic_load(flag); i++) fal_client_wait(c, 10);
    assert_true(atomic_load(flag));
}

/* 80 MiB went out before the server said anything: libfal has let them go. */
static void realtime_unauthorized_ends_when_more_was_sent_than_is_kept(void **state) {
    (void)state;
    atomic_bool half = false;
    struct ws_peer *p = WS_PEER(
        WS_TOKEN("old"), WS_OPENED, {.what = WS_EXPECT, .first = WS_TEXT_FRAME},
        {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .hook = note, .user = &half}, UNAUTHORIZED,
        {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    char *json = long_json(40U << 20);
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    turn_until(c, &half);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    free(json);
    expect_no_message(rt, FAL_ERR_HTTP,
                      "Unauthorized, and more was sent than is kept for another token");
    fal_realtime_close(rt);
    fal_client_free(c);
    ws_peer_stop(p, false);
    assert_string_equal(ws_peer_request(p, 2), ""); /* no second token */
    ws_peer_free(p);
}

static void note_and_wait(void *flags) {
    atomic_bool *both = flags;
    atomic_store(&both[0], true);
    for (int i = 0; i < 20000 && !atomic_load(&both[1]); i++) usleep(1000);
}

/* What goes again counts among what waits. */
static void realtime_sends_what_fits_while_it_gets_a_new_token(void **state) {
    (void)state;
    atomic_bool renewing = false, said = false, read_and_queued[2] = {false, false};
    struct ws_peer *p = WS_PEER(WS_TOKEN("old"), WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME},
                                {.what = WS_SEND,
                                 .first = WS_TEXT_FRAME,
                                 .text = "{\"status\":\"error\",\"error\":\"Unauthorized\"}",
                                 .hook = note_and_wait,
                                 .user = read_and_queued},
                                {.what = WS_END, .hook = note, .user = &said}, {.what = WS_ACCEPT},
                                {.what = WS_HANG, .hook = note, .user = &renewing});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    char *json = long_json(40U << 20);
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    turn_until(c, &read_and_queued[0]);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    free(json);
    atomic_store(&read_and_queued[1], true);
    for (int i = 0; i < 20000 && !atomic_load(&said); i++) usleep(1000); /* it is read first */
    turn_until(c, &renewing);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_ERR_TOO_LARGE);
    fal_realtime_close(rt);
    stop(p, c, false);
}

static void realtime_unauthorized_ends_when_the_token_is_the_callers(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED, UNAUTHORIZED, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.token = "t";
    fal_realtime *rt = open_it(c, &o);
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_receive(rt, PATIENCE_MS, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_error(r)->http_status, 401);
    fal_result_free(r);
    fal_realtime_close(rt);
    stop(p, c, false);
}

static void realtime_sends_what_is_sound_and_fits(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_send(rt, "[1]"), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_realtime_send(rt, "{\"a\":}"), FAL_ERR_ARGUMENT);
    char *json = long_json(24U << 20);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    assert_int_equal(fal_realtime_send(rt, json), FAL_ERR_TOO_LARGE);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_OK);
    free(json);
    ws_peer_stop(p, false);
    fal_client_free(c);
    fal_realtime_close(rt);
    ws_peer_free(p);
}

/* --- ends */

struct seen {
    char text[1024];
    fal_realtime *rt;
    bool close_on_open, close_on_message, close_on_close;
    fal_client *client;
};

static void see(struct seen *s, const char *what) {
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s;", what);
}

static void on_open(void *user) {
    struct seen *s = user;
    see(s, "open");
    if (s->close_on_open) fal_realtime_close(s->rt);
}

static void on_message(const char *json, void *user) {
    struct seen *s = user;
    see(s, json);
    if (s->client != NULL) {
        assert_int_equal(fal_run(s->client, APP, NULL, NULL, NULL), FAL_ERR_BUSY);
        assert_int_equal(fal_client_wait(s->client, 0), FAL_ERR_BUSY);
    }
    if (s->close_on_message) fal_realtime_close(s->rt);
}

static void on_close(const struct fal_error *e, int close_code, void *user) {
    struct seen *s = user;
    char text[512];
    snprintf(text, sizeof text, "close %d %d %s", (int)e->code, close_code, e->message);
    see(s, text);
    if (s->close_on_close) fal_realtime_close(s->rt);
}

static struct fal_realtime_options watched_by(struct seen *s) {
    struct fal_realtime_options o = with_key();
    o.on_open = on_open;
    o.on_message = on_message;
    o.on_close = on_close;
    o.user = s;
    return o;
}

static void turn_until_nothing_is_left(fal_client *c) {
    for (int i = 0; i < 10000 && fal_client_pending(c) > 0; i++) fal_client_wait(c, 1000);
    assert_int_equal(fal_client_pending(c), 0);
}

static const struct {
    const char *id;
    struct ws_step steps[3];
    const char *seen;
} ends[] = {
    {"in_order",
     {WS_CLOSES("\x03\xe8"), {.what = WS_END}, {.what = WS_HANG}},
     "open;close 0 1000 ;"},
    {"going_away",
     {WS_CLOSES("\x03\xe9"
                "bye"),
      {.what = WS_END},
      {.what = WS_HANG}},
     "open;close 0 1001 ;"},
    {"without_code",
     {{.what = WS_SEND, .first = 0x88}, {.what = WS_END}, {.what = WS_HANG}},
     "open;close 0 1005 ;"},
    {"error",
     {WS_CLOSES("\x03\xf3"
                "oops"),
      {.what = WS_END},
      {.what = WS_HANG}},
     "open;close 5 1011 the server closed the connection: 1011 oops;"},
    {"own_code",
     {WS_CLOSES("\x0f\xa0"), {.what = WS_END}, {.what = WS_HANG}},
     "open;close 5 4000 the server closed the connection: 4000 ;"},
    {"cut",
     {{.what = WS_SAY, .text = "\x81\x05{"}, {.what = WS_END}, {.what = WS_HANG}},
     "open;close 5 1006 the connection broke;"},
    {"reset",
     {{.what = WS_SAY, .text = "\x81\x05{"}, {.what = WS_CUT}, {.what = WS_ACCEPT}},
     "open;close 5 1006 the connection broke;"},
    {"masked",
     {{.what = WS_SAY, .text = "\x81\x82\x01\x01\x01\x01{}"}, {.what = WS_HANG}, {.what = WS_HANG}},
     "open;close 7 1002 the server's answer makes no sense;"},
    {"no_json",
     {WS_JSON("hello"), {.what = WS_HANG}, {.what = WS_HANG}},
     "open;close 7 1007 the server's answer makes no sense;"},
    {"no_msgpack",
     {{.what = WS_SEND, .first = WS_BINARY_FRAME, .text = "\xc1"},
      {.what = WS_HANG},
      {.what = WS_HANG}},
     "open;close 7 1007 the server's answer makes no sense;"},
    {"too_large",
     {{.what = WS_SEND, .first = WS_TEXT_FRAME, .text = "\"", .filler = 2000, .tail = "\""},
      {.what = WS_HANG},
      {.what = WS_HANG}},
     "open;close 8 1009 the server's message is too large;"},
    {"in_one_with_the_answer",
     {WS_JSON("{\"a\":1}"), WS_CLOSES("\x03\xe8"), {.what = WS_END}},
     "open;{\"a\":1};close 0 1000 ;"},
};

/* The answer to its close cannot be sent. */
static void realtime_end_does_not_wait_for_a_peer_that_reads_nothing(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{}"},
                                WS_CLOSES("\x03\xe8"), {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    char *json = long_json(32U << 20);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_OK);
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    free(json);
    expect_no_message(rt, FAL_ERR_TRANSPORT, "the connection is closed");
    fal_realtime_close(rt);
    stop(p, c, false);
}

static void realtime_end_is_told_once_with_its_code(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct ws_step steps[] = {WS_OPENED, ends[i].steps[0], ends[i].steps[1], ends[i].steps[2]};
        struct ws_peer *p = ws_peer_start(steps, 5);
        fal_client *c = client_of(p);
        struct seen seen = {.close_on_close = i % 2 == 1};
        struct fal_realtime_options o = watched_by(&seen);
        o.max_message_bytes = 1000;
        assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
        assert_int_equal(fal_client_pending(c), 1);
        assert_string_equal(seen.text, "");
        turn_until_nothing_is_left(c);
        if (strcmp(seen.text, ends[i].seen) != 0) fail_msg("%s: %s", ends[i].id, seen.text);
        if (!seen.close_on_close) {
            assert_int_equal(fal_realtime_send(seen.rt, "{}"), FAL_ERR_TRANSPORT);
            fal_realtime_close(seen.rt);
        }
        assert_string_equal(seen.text, ends[i].seen);
        stop(p, c, false);
    }
}

static void realtime_start_says_what_went_wrong(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER({.what = WS_ACCEPT},
                                {.what = WS_SAY,
                                 .text = "HTTP/1.1 404 X\r\nContent-Length: 22\r\n\r\n"
                                         "{\"detail\":\"not there\"}"},
                                {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen);
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    turn_until_nothing_is_left(c);
    assert_string_equal(seen.text, "close 6 1006 not there;");
    fal_realtime_close(seen.rt);
    stop(p, c, false);
}

/* What was sent before it is open goes out, and what is queued at the close too. */
static void realtime_close_sends_what_is_queued(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{\"n\":1}"},
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{\"n\":2}"},
                                WS_JSON("{\"late\":1}"), WS_CLOSED);
    fal_client *c = client_of(p);
    struct seen seen = {.close_on_open = true};
    struct fal_realtime_options o = watched_by(&seen);
    o.text = true;
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    assert_int_equal(fal_realtime_send(seen.rt, "{\"n\":1}"), FAL_OK);
    assert_int_equal(fal_realtime_send(seen.rt, "{\"n\":2}"), FAL_OK);
    turn_until_nothing_is_left(c);
    assert_string_equal(seen.text, "open;close 0 1000 ;"); /* and nothing after it */
    stop(p, c, true);
}

static void realtime_close_within_a_message_is_safe(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(
        WS_OPENED, {.what = WS_SAY, .text = "\x81\x07{\"a\":1}\x81\x07{\"a\":2}"}, WS_CLOSED);
    fal_client *c = client_of(p);
    struct seen seen = {.close_on_message = true, .client = c};
    struct fal_realtime_options o = watched_by(&seen);
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    turn_until_nothing_is_left(c);
    assert_string_equal(seen.text, "open;{\"a\":1};close 0 1000 ;");
    stop(p, c, true);
}

static void realtime_close_waits_for_the_peer_a_second_at_most(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen);
    seen.rt = open_it(c, &o);
    fal_realtime_close(seen.rt);
    assert_string_equal(seen.text, "open;close 5 1006 the server did not close;");
    assert_int_equal(fal_client_pending(c), 0);
    stop(p, c, false);
}

static void realtime_given_back_before_it_is_open_is_dropped(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER({.what = WS_ACCEPT}, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen);
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    for (int i = 0; i < 20; i++) fal_client_wait(c, 5);
    fal_realtime_close(seen.rt);
    assert_string_equal(seen.text, "close 10 1006 cancelled;");
    assert_int_equal(fal_client_pending(c), 0);
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    fal_realtime_close(seen.rt);
    assert_int_equal(fal_client_pending(c), 0);
    stop(p, c, false);
}

static void start_another(enum fal_code code, fal_result *result, void *user) {
    struct seen *s = user;
    struct fal_realtime_options o = with_key();
    fal_realtime *rt = NULL;
    assert_int_equal(code, FAL_ERR_CANCELLED);
    assert_int_equal(fal_realtime_start(s->client, APP, &o, &rt), FAL_ERR_BUSY);
    assert_null(rt);
    see(s, "refused");
    fal_result_free(result);
}

static void realtime_is_not_started_while_its_client_is_freed(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER({.what = WS_HANG});
    struct seen seen = {.client = client_of(p)};
    struct fal_done done = {start_another, &seen};
    assert_int_equal(fal_run_start(seen.client, APP, "{}", NULL, done, NULL), FAL_OK);
    fal_client_free(seen.client);
    assert_string_equal(seen.text, "refused;");
    stop(p, NULL, false);
}

static void realtime_ends_with_its_client(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen);
    fal_realtime *rt = open_it(c, &o);
    fal_client_free(c);
    assert_string_equal(seen.text, "open;");
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_ERR_TRANSPORT);
    fal_realtime_close(rt);
    stop(p, NULL, false);
}

/* --- waiting */

static void *cancel(void *client) {
    fal_client_cancel(client);
    return NULL;
}

static void realtime_cancel_ends_opening_and_receiving(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER({.what = WS_ACCEPT}, {.what = WS_HANG});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen), plain = with_key();
    fal_realtime *rt = NULL;
    pthread_t thread;
    pthread_create(&thread, NULL, cancel, c);
    assert_int_equal(fal_realtime_open(c, APP, &o, &rt, NULL), FAL_ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_null(rt);
    assert_string_equal(seen.text, ""); /* the call has said it */
    stop(p, c, false);
    p = WS_PEER(WS_OPENED, {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{}"},
                WS_JSON("{\"a\":1}"), WS_CLOSED);
    c = client_of(p);
    plain.text = true;
    rt = open_it(c, &plain);
    pthread_create(&thread, NULL, cancel, c);
    expect_no_message(rt, FAL_ERR_CANCELLED, "cancelled");
    pthread_join(thread, NULL);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_OK);
    expect_message(rt, "{\"a\":1}");
    fal_realtime_close(rt);
    stop(p, c, true);
}

static void realtime_receive_waits_as_long_as_it_is_told(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER(WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{}"},
                                WS_JSON("{\"a\":1}"), WS_CLOSES("\x03\xe8"), {.what = WS_END});
    fal_client *c = client_of(p);
    struct fal_realtime_options o = with_key();
    fal_result *r = NULL;
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_receive(rt, -1, &r), FAL_ERR_TIMEOUT);
    fal_result_free(r);
    assert_int_equal(fal_realtime_receive(rt, 1, NULL), FAL_ERR_TIMEOUT);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_OK);
    assert_int_equal(fal_realtime_receive(rt, 0, NULL), FAL_OK);
    expect_no_message(rt, FAL_ERR_TRANSPORT, "the connection is closed");
    expect_no_message(rt, FAL_ERR_TRANSPORT, "the connection is closed");
    fal_realtime_close(rt);
    stop(p, c, true);
}

/* Other calls of the client go on beside it. */
static void realtime_runs_beside_calls(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, ANSWER);
    struct ws_peer *p = WS_PEER(WS_OPENED,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{}"},
                                WS_JSON("{\"a\":1}"), WS_CLOSED);
    struct fal_options co = FAL_OPTIONS_INIT;
    struct fal_realtime_options o = with_key();
    fal_client *c = NULL;
    char run[96];
    snprintf(run, sizeof run, "%s/run", ws_peer_base(p));
    co.base_url = script_base(s);
    co.run_url = run;
    co.queue_url = script_base(s);
    co.credentials = "k";
    assert_int_equal(fal_client_new(&co, &c), FAL_OK);
    o.text = true;
    fal_realtime *rt = open_it(c, &o);
    assert_int_equal(fal_realtime_send(rt, "{}"), FAL_OK);
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_OK);
    expect_message(rt, "{\"a\":1}");
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_OK);
    fal_realtime_close(rt);
    stop(p, c, true);
    script_stop(s);
}

/* As a program does whose loop it is: poll with the client's descriptors. */
static void realtime_runs_in_the_callers_loop(void **state) {
    (void)state;
    struct ws_peer *p = WS_PEER({.what = WS_ACCEPT}, {.what = WS_SLOWLY}, WS_SWITCH,
                                {.what = WS_EXPECT, .first = WS_TEXT_FRAME, .text = "{}"},
                                WS_JSON("{\"a\":1}"), WS_CLOSES("\x03\xe8"), {.what = WS_END});
    fal_client *c = client_of(p);
    struct seen seen = {0};
    struct fal_realtime_options o = watched_by(&seen);
    o.text = true;
    assert_int_equal(fal_realtime_start(c, APP, &o, &seen.rt), FAL_OK);
    assert_int_equal(fal_realtime_send(seen.rt, "{}"), FAL_OK);
    while (fal_client_pending(c) > 0) {
        struct fal_fd wanted[16];
        struct pollfd fds[16];
        size_t n = fal_client_fds(c, wanted, 16);
        int64_t ms = fal_client_timeout_ms(c);
        for (size_t i = 0; i < n; i++)
            fds[i] = (struct pollfd){
                wanted[i].fd,
                (short)(((wanted[i].events & FAL_READABLE) != 0 ? POLLIN : 0) |
                        ((wanted[i].events & FAL_WRITABLE) != 0 ? POLLOUT : 0)),
                0};
        assert_true(poll(fds, n, ms < 0 || ms > PATIENCE_MS ? PATIENCE_MS : (int)ms) >= 0);
        for (size_t i = 0; i < n; i++)
            if (fds[i].revents != 0)
                fal_client_ready(c, fds[i].fd,
                                 ((fds[i].revents & ~POLLOUT) != 0 ? FAL_READABLE : 0) |
                                     ((fds[i].revents & POLLOUT) != 0 ? FAL_WRITABLE : 0));
        fal_client_ready(c, -1, 0);
    }
    assert_string_equal(seen.text, "open;{\"a\":1};close 0 1000 ;");
    fal_realtime_close(seen.rt);
    stop(p, c, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(realtime_fetches_a_token_and_talks_msgpack),
        cmocka_unit_test(realtime_path_and_token_are_the_callers),
        cmocka_unit_test(realtime_key_goes_in_the_handshake),
        cmocka_unit_test(realtime_refused_says_why),
        cmocka_unit_test(realtime_arguments_are_checked),
        cmocka_unit_test(realtime_opens_in_its_time_or_not),
        cmocka_unit_test(realtime_messages_may_come_in_pieces),
        cmocka_unit_test(realtime_large_messages_pass_both_ways),
        cmocka_unit_test(realtime_messages_that_nobody_takes_are_bounded),
        cmocka_unit_test(realtime_control_messages_are_not_outputs),
        cmocka_unit_test(realtime_unauthorized_gets_one_new_token),
        cmocka_unit_test(realtime_sends_while_it_gets_a_new_token),
        cmocka_unit_test(realtime_unauthorized_ends_when_more_was_sent_than_is_kept),
        cmocka_unit_test(realtime_sends_what_fits_while_it_gets_a_new_token),
        cmocka_unit_test(realtime_unauthorized_ends_when_the_token_is_the_callers),
        cmocka_unit_test(realtime_sends_what_is_sound_and_fits),
        cmocka_unit_test(realtime_end_does_not_wait_for_a_peer_that_reads_nothing),
        cmocka_unit_test(realtime_end_is_told_once_with_its_code),
        cmocka_unit_test(realtime_start_says_what_went_wrong),
        cmocka_unit_test(realtime_close_sends_what_is_queued),
        cmocka_unit_test(realtime_close_within_a_message_is_safe),
        cmocka_unit_test(realtime_close_waits_for_the_peer_a_second_at_most),
        cmocka_unit_test(realtime_given_back_before_it_is_open_is_dropped),
        cmocka_unit_test(realtime_is_not_started_while_its_client_is_freed),
        cmocka_unit_test(realtime_ends_with_its_client),
        cmocka_unit_test(realtime_cancel_ends_opening_and_receiving),
        cmocka_unit_test(realtime_receive_waits_as_long_as_it_is_told),
        cmocka_unit_test(realtime_runs_beside_calls),
        cmocka_unit_test(realtime_runs_in_the_callers_loop),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
