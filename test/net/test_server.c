#include "app.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(path, length, body) \
    "POST " path " HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n" body

static void again(struct app *a, int fd, const char *text, const char *expected) {
    buf_reset(&a->in, SIZE_MAX);
    wire_sends(&a->loop, fd, text);
    wire_expect(&a->loop, fd, &a->in, expected);
}

/* After an answer that ends the connection nothing more is read as a request. */
static void expect_closed(struct app *a, int fd) {
    unsigned heads = a->heads;
    wire_sends(&a->loop, fd, GET("/echo"));
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(a->heads, heads);
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 "), 1);
    close(fd);
}

static void keeps_the_connection_between_requests(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, POST("/echo", "5", "hello"), "\r\n\r\nhello");
    assert_true(wire_has(&a->in, "HTTP/1.1 200 OK\r\nDate: "));
    assert_true(wire_has(&a->in, "\r\nContent-Length: 5\r\n"));
    assert_true(wire_has(&a->in, "\r\nX-Path: /echo\r\n"));
    assert_false(wire_has(&a->in, "Connection:"));
    again(a, fd, POST("/echo", "3", "two"), "\r\n\r\ntwo");
    APP_UNTIL(a, a->dones == 2);
    assert_int_equal(net_server_get_stats(a->server)->connections, 1);
    assert_int_equal(net_server_get_stats(a->server)->exchanges, 0);
    close(fd);
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    assert_int_equal(a->gones, 0);
}

static void answers_a_request_that_comes_byte_by_byte(void **state) {
    struct app *a = *state;
    const char *text = POST("/echo", "11", "hello world");
    int fd = wire_connect(a->port);
    for (const char *p = text; *p != '\0'; p++) {
        wire_send(&a->loop, fd, slice_make(p, 1));
        wire_turn(&a->loop);
    }
    wire_expect(&a->loop, fd, &a->in, "\r\n\r\nhello world");
    again(a, fd, POST("/echo", "2", "ok"), "\r\n\r\nok");
    close(fd);
}

static void answers_pipelined_requests_in_order_and_then_refuses_garbage(void **state) {
    struct app *a = *state;
    struct buf all;
    char line[64];
    buf_init(&all, 1U << 20);
    for (int i = 0; i < 1000; i++) buf_printf(&all, "GET /n/%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
    buf_puts(&all, "!garbage\r\n\r\n");
    int fd = wire_connect(a->port);
    wire_send(&a->loop, fd, buf_slice(&all));
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 200 OK"), 1000);
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 400 Bad Request"), 1);
    const char *at = a->in.base;
    for (int i = 0; i < 1000 && at != NULL; i++) {
        snprintf(line, sizeof line, "\r\nX-Path: /n/%d\r\n", i);
        at = strstr(at, line);
    }
    assert_non_null(at);
    assert_false(a->fault_had_request);
    buf_free(&all);
    close(fd);
}

/* More than is read ahead, with the answers made later: reading stops, nothing is lost. */
static void reads_ahead_only_so_far(void **state) {
    struct app *a = *state;
    struct buf all;
    buf_init(&all, 4U << 20);
    for (int i = 0; i < 20000; i++) buf_puts(&all, GET("/later"));
    int fd = wire_connect(a->port);
    size_t sent = 0, answered = 0;
    while (answered < 20000) {
        if (sent < buf_len(&all)) {
            ssize_t n = send(fd, all.base + sent, buf_len(&all) - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) sent += (size_t)n;
        }
        uv_run(&a->loop.uv, UV_RUN_NOWAIT);
        assert_true(a->heads <= answered + 1);
        struct net_exchange *x = app_waiting(a);
        if (x != NULL && !net_answered(x)) {
            net_reply(x, 200, SLICE_NONE, SLICE("x"));
            answered++;
        }
        wire_read(fd, &a->in, NULL);
    }
    APP_UNTIL(a, wire_read(fd, &a->in, NULL) && a->dones == 20000);
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 200 OK"), 20000);
    buf_free(&all);
    close(fd);
}

static void every_framing_fault_ends_the_connection(void **state) {
    struct app *a = *state;
    static const struct {
        const char *text, *status;
    } rows[] = {
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
         "400"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\nhello", "400"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
         "400"},
        {"GET /echo HTTP/1.1\r\n\r\n", "400"},
        {"GET /echo HTTP/1.1\nHost: h\n\n", "400"},
        {"GET  /echo HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
        {"GET /echo HTTP/2.0\r\nHost: h\r\n\r\n", "505"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
        {"FROB /echo HTTP/1.1\r\nHost: h\r\n\r\n", "501"},
        {"GET /echo HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n", "417"},
        {"\x16\x03\x01\x02\x01\x01\x00\x01\xfc\x03\x03 hello, TLS\r\n\r\n", "400"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "HTTP/1.1 %s ", rows[i].status);
        int fd = app_ask(a, rows[i].text, expected);
        assert_true(wire_has(&a->in, "\r\nConnection: close\r\n"));
        assert_true(wire_has(&a->in, "\r\nX-Fault: yes\r\n"));
        expect_closed(a, fd);
    }
    assert_int_equal(a->requests, 0);
}

static void connection_close_is_obeyed_and_the_rest_dropped(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/second"),
                     "200 OK");
    assert_true(wire_has(&a->in, "\r\nConnection: close\r\n"));
    expect_closed(a, fd);
    assert_int_equal(a->requests, 1);
}

static void http_1_0_is_kept_only_when_asked(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, "GET /echo HTTP/1.0\r\n\r\n", "200 OK");
    expect_closed(a, fd);
    fd = app_ask(a, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                 "\r\nConnection: keep-alive\r\n");
    again(a, fd, GET("/echo"), "200 OK");
    close(fd);
}

static void head_and_204_have_no_body(void **state) {
    struct app *a = *state;
    a->big = 1000;
    int fd = app_ask(a, "HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n" GET("/none") GET("/echo"),
                     "X-Path: /echo");
    APP_UNTIL(a, a->dones == 3);
    wire_read(fd, &a->in, NULL);
    assert_true(wire_has(&a->in, "\r\nContent-Length: 1000\r\n"));
    assert_false(wire_has(&a->in, "bbb"));
    assert_true(wire_has(&a->in, "HTTP/1.1 204 No Content\r\n"));
    assert_false(wire_has(&a->in, "not sent"));
    assert_int_equal(wire_count(&a->in, "Content-Length"), 2);
    close(fd);
}

static void a_chunked_request_is_read_whole(void **state) {
    struct app *a = *state;
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nHost: evil\r\n\r\n";
    int fd = app_ask(a, text, "\r\n\r\nhello world");
    again(a, fd, GET("/echo"), "200 OK");
    close(fd);
    assert_int_equal(a->last_body_len, 0);
}

/* A body split from its head, and one that needs many reads. */
static void a_body_may_come_in_pieces(void **state) {
    struct app *a = *state;
    struct buf all;
    int fd = app_send(a, POST("/echo", "5", ""));
    APP_UNTIL(a, a->heads == 1);
    assert_int_equal(a->requests, 0);
    wire_sends(&a->loop, fd, "hello");
    wire_expect(&a->loop, fd, &a->in, "\r\n\r\nhello");
    buf_init(&all, 8U << 20);
    buf_puts(&all, POST("/later", "4000000", ""));
    for (int i = 0; i < 400000; i++) buf_puts(&all, "0123456789");
    wire_send(&a->loop, fd, buf_slice(&all));
    APP_UNTIL(a, a->requests == 2);
    struct slice body = net_body(app_waiting(a));
    assert_int_equal(body.len, 4000000);
    assert_memory_equal(body.ptr, buf_slice(&all).ptr + buf_len(&all) - 4000000, 4000000);
    net_reply(app_waiting(a), 200, SLICE_NONE, SLICE("got it"));
    wire_expect(&a->loop, fd, &a->in, "got it");
    buf_free(&all);
    close(fd);
}

static void expect_continue_is_answered_before_the_body_and_not_when_refused(void **state) {
    struct app *a = *state;
    int fd = app_ask(
        a, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n");
    again(a, fd, "ok", "\r\n\r\nok");
    close(fd);
    fd = app_ask(
        a, "POST /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "401");
    assert_false(wire_has(&a->in, "100 Continue"));
    expect_closed(a, fd);
}

static void a_refused_body_is_dropped_when_small_and_ends_the_connection_when_large(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, POST("/refuse", "10", ""), "401 Unauthorized");
    assert_false(wire_has(&a->in, "Connection: close"));
    again(a, fd, "0123456789" GET("/echo"), "X-Path: /echo");
    close(fd);
    fd = app_ask(a, POST("/refuse", "100000", ""), "401 Unauthorized");
    expect_closed(a, fd);
    fd = app_ask(a, POST("/refuse", "3", "abc") GET("/echo"), "X-Path: /echo");
    close(fd);
}

static void a_get_body_is_dropped_up_to_64_kib(void **state) {
    struct app *a = *state;
    int fd = app_ask(a,
                     "GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" GET("/two"),
                     "X-Path: /two");
    assert_int_equal(a->last_body_len, 0);
    close(fd);
    fd = app_ask(a, "GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", "413");
    expect_closed(a, fd);
}

static void a_header_that_may_not_be_sent_makes_the_answer_500(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, GET("/header"), "HTTP/1.1 500 ");
    assert_false(wire_has(&a->in, "X-Evil"));
    assert_true(a->fault_had_request);
    expect_closed(a, fd);
    assert_int_equal(a->dones, 1);
}

/* --- streams --- */

static void a_stream_is_chunked_one_write_each(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, GET("/stream"), "5\r\nfirst\r\n");
    assert_true(wire_has(&a->in, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_true(net_stream_write(app_waiting(a), SLICE("second, longer than sixteen")));
    wire_expect(&a->loop, fd, &a->in, "1b\r\nsecond, longer than sixteen\r\n");
    net_stream_end(app_waiting(a));
    net_stream_end(app_waiting(a));
    wire_expect(&a->loop, fd, &a->in, "\r\n0\r\n\r\n");
    APP_UNTIL(a, a->dones == 1);
    again(a, fd, GET("/echo"), "200 OK");
    close(fd);
}

static void a_stream_to_http_1_0_ends_with_the_connection(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\n\r\nfirst");
    assert_false(wire_has(&a->in, "chunked"));
    net_stream_end(app_waiting(a));
    assert_true(wire_drain(&a->loop, fd, &a->in));
    close(fd);
}

static void an_aborted_stream_never_looks_finished(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, GET("/abort"), "first\r\n");
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_false(wire_has(&a->in, "0\r\n\r\n"));
    close(fd);
    fd = app_send(a, "GET /abort HTTP/1.0\r\n\r\n");
    assert_false(wire_drain(&a->loop, fd, &a->in)); /* RST: FIN would be the end of the body */
    close(fd);
    assert_int_equal(a->gones, 2);
}

static void a_stream_says_pause_and_drains(void **state) {
    struct app *a = *state;
    static char block[65536];
    size_t sent = 0;
    memset(block, 's', sizeof block);
    int fd = app_ask(a, GET("/stream"), "first");
    while (net_stream_write(app_waiting(a), slice_make(block, sizeof block))) {
        sent += sizeof block;
        assert_true(sent < 64U << 20);
    }
    wire_turn_for(&a->loop, 20);
    assert_int_equal(a->drains, 0);
    while (a->drains == 0) {
        assert_true(wire_read(fd, &a->in, NULL));
        wire_turn(&a->loop);
    }
    net_stream_end(app_waiting(a));
    wire_expect(&a->loop, fd, &a->in, "\r\n0\r\n\r\n");
    APP_UNTIL(a, a->dones == 1);
    close(fd);
}

/* --- the client leaves --- */

static void gone_comes_once_when_the_client_leaves(void **state) {
    struct app *a = *state;
    static const char *const requests[] = {POST("/echo", "5", "hel"), GET("/later"),
                                           GET("/stream")};
    for (unsigned i = 0; i < 6; i++) {
        int fd = app_send(a, requests[i % 3]);
        APP_UNTIL(a, a->heads == i + 1 && (i % 3 == 0 || a->requests > 0));
        if (i >= 3) { /* by RST */
            struct linger hard = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        }
        close(fd);
        APP_UNTIL(a, a->gones == i + 1);
        assert_null(app_waiting(a));
    }
    assert_int_equal(a->dones, 0);
}

static void a_half_closed_client_counts_as_gone(void **state) {
    struct app *a = *state;
    int fd = app_send(a, GET("/later"));
    APP_UNTIL(a, a->requests == 1);
    shutdown(fd, SHUT_WR);
    APP_UNTIL(a, a->gones == 1);
    close(fd);
}

static void a_half_closed_client_still_gets_an_answer_already_made(void **state) {
    struct app *a = *state;
    a->big = 20U << 20;
    int fd = app_send(a, GET("/big"));
    shutdown(fd, SHUT_WR);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_true(buf_len(&a->in) > a->big);
    assert_int_equal(a->dones, 1);
    close(fd);
}

/* Nothing is read from a client that sent too far ahead; that it left is seen all the same. */
static void leaving_is_noticed_while_nothing_is_read(void **state) {
    struct app *a = *state;
    static char ahead[100000];
    memset(ahead, 'x', sizeof ahead);
    int fd = app_send(a, GET("/later"));
    wire_send(&a->loop, fd, slice_make(ahead, sizeof ahead));
    APP_UNTIL(a, a->requests == 1);
    wire_turn_for(&a->loop, 50);
    assert_int_equal(a->gones, 0);
    close(fd);
    APP_UNTIL(a, a->gones == 1);
}

/* --- garbage --- */

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

static void mutate(struct buf *b, uint64_t *seed) {
    static const char spice[] = "\r\n\0 :;,\t0123456789abcdefGET/HTTP.1*?#%\x80\xff";
    for (uint64_t n = 1 + next_random(seed) % 4; n > 0 && buf_len(b) > 1; n--) {
        size_t at = b->start + next_random(seed) % buf_len(b), len = 1 + next_random(seed) % 8;
        char c = spice[next_random(seed) % (sizeof spice - 1)];
        if (len > b->end - at) len = b->end - at;
        switch (next_random(seed) % 4) {
        case 0: b->base[at] = c; break;
        case 1: memset(b->base + at, c, len); break;
        case 2:
            memmove(b->base + at, b->base + at + len, b->end - at - len);
            b->end -= len;
            break;
        default: buf_add(b, slice_make(b->base + at, len)); break;
        }
    }
}

/* Whatever comes, every exchange that began ends, and every connection too. */
static void survives_mutated_requests(void **state) {
    struct app *a = *state;
    static const char *const seeds[] = {
        GET("/echo") GET("/stream"),
        POST("/echo", "5", "hello") GET("/echo"),
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" GET(
            "/later"),
        "POST /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n",
        "GET /abort HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/header"),
        "PUT /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" POST(
            "/put", "5", "hello"),
        GET("/upgrade") "bytes",
    };
    struct buf b;
    uint64_t seed = 88172645463325252ULL;
    buf_init(&b, 1U << 16);
    for (int i = 0; i < 1500; i++) {
        buf_reset(&b, SIZE_MAX);
        buf_reset(&a->in, SIZE_MAX);
        buf_puts(&b, seeds[next_random(&seed) % (sizeof seeds / sizeof seeds[0])]);
        mutate(&b, &seed);
        int fd = wire_connect(a->port);
        wire_send(&a->loop, fd, buf_slice(&b));
        shutdown(fd, SHUT_WR);
        wire_drain(&a->loop, fd, &a->in);
        close(fd);
    }
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    assert_int_equal(net_server_get_stats(a->server)->exchanges, 0);
    assert_true(a->faults > 100 && a->dones > 100);
    buf_free(&b);
}

int main(int argc, char **argv) {
    app_over_tls(argc > 1 && strcmp(argv[1], "tls") == 0);
    const struct CMUnitTest tests[] = {
        APP_TEST(keeps_the_connection_between_requests),
        APP_TEST(answers_a_request_that_comes_byte_by_byte),
        APP_TEST(answers_pipelined_requests_in_order_and_then_refuses_garbage),
        APP_TEST(reads_ahead_only_so_far),
        APP_TEST(every_framing_fault_ends_the_connection),
        APP_TEST(connection_close_is_obeyed_and_the_rest_dropped),
        APP_TEST(http_1_0_is_kept_only_when_asked),
        APP_TEST(head_and_204_have_no_body),
        APP_TEST(a_chunked_request_is_read_whole),
        APP_TEST(a_body_may_come_in_pieces),
        APP_TEST(expect_continue_is_answered_before_the_body_and_not_when_refused),
        APP_TEST(a_refused_body_is_dropped_when_small_and_ends_the_connection_when_large),
        APP_TEST(a_get_body_is_dropped_up_to_64_kib),
        APP_TEST(a_header_that_may_not_be_sent_makes_the_answer_500),
        APP_TEST(a_stream_is_chunked_one_write_each),
        APP_TEST(a_stream_to_http_1_0_ends_with_the_connection),
        APP_TEST(an_aborted_stream_never_looks_finished),
        APP_TEST(a_stream_says_pause_and_drains),
        APP_TEST(gone_comes_once_when_the_client_leaves),
        APP_TEST(a_half_closed_client_counts_as_gone),
        APP_TEST(a_half_closed_client_still_gets_an_answer_already_made),
        APP_TEST(leaving_is_noticed_while_nothing_is_read),
        APP_TEST(survives_mutated_requests),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
