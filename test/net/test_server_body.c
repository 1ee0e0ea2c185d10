/* Bodies that are not kept: net_stream_body, on_body, net_body_pause. Arguments: "tls" or "plain", and how many MiB the
 * largest one has. */
#include "app.h"
#include "wire_tls.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUT(length, more) \
    "PUT /put HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n" more "\r\n"
#define CHUNKED "PUT /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static char block[65536];
static unsigned mebibytes = 256;

static void again(struct app *a, int fd, const char *text, const char *expected) {
    buf_reset(&a->in, SIZE_MAX);
    wire_sends(&a->loop, fd, text);
    wire_expect(&a->loop, fd, &a->in, expected);
}

static void expect_answer_and_close(struct app *a, int fd, const char *status) {
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_true(wire_has(&a->in, status));
    assert_true(wire_has(&a->in, "Connection: close\r\n"));
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 "), 1);
    close(fd);
}

static void expect_given(const struct app *a, const char *text) {
    assert_int_equal(a->given, strlen(text));
    assert_true(a->sum == app_sum(0, slice_of(text)));
}

static void a_body_is_given_however_it_comes(void **state) {
    struct app *a = *state;
    static const char *const ways[] = {
        PUT("11", "") "hello world" GET("/echo"),
        CHUNKED "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n" GET("/echo"),
        CHUNKED "1\r\nh\r\n1\r\ne\r\n9\r\nllo world\r\n0\r\n\r\n" GET("/echo"),
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        int fd = app_ask(a, ways[i], "X-Path: /echo");
        assert_int_equal(wire_count(&a->in, "\r\n\r\n11 bytes"), 1);
        expect_given(a, "hello world");
        again(a, fd, ways[i], "X-Path: /echo");
        buf_reset(&a->in, SIZE_MAX);
        for (const char *p = ways[i]; *p != '\0'; p++) {
            wire_send(&a->loop, fd, slice_make(p, 1));
            wire_turn(&a->loop);
        }
        wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
        assert_int_equal(wire_count(&a->in, "\r\n\r\n11 bytes"), 1);
        expect_given(a, "hello world");
        close(fd);
    }
}

static void an_empty_body_is_a_request_and_no_piece(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, PUT("0", ""), "\r\n\r\n0 bytes");
    again(a, fd, CHUNKED "0\r\n\r\n", "\r\n\r\n0 bytes");
    again(a, fd, "PUT /put HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n0 bytes");
    assert_int_equal(a->pieces, 0);
    close(fd);
}

static void expect_continue_is_answered(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, PUT("2", "Expect: 100-continue\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    again(a, fd, "ok" GET("/echo"), "X-Path: /echo");
    assert_true(wire_has(&a->in, "\r\n\r\n2 bytes"));
    close(fd);
}

static void a_get_body_is_dropped_all_the_same(void **state) {
    struct app *a = *state;
    close(app_ask(a, "GET /put HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" GET("/two"),
                  "X-Path: /two"));
    assert_int_equal(a->pieces, 0);
    close(app_ask(a, "GET /put HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", "413"));
}

/* Its own limit stands in place of the server's, in both directions. */
static void a_body_over_its_limit_is_413(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    l.max_body_bytes = 5;
    app_restart(a, &l);
    a->max_stream = 10;
    close(app_ask(a, PUT("10", "") "0123456789", "\r\n\r\n10 bytes"));
    close(app_ask(a, CHUNKED "a\r\n0123456789\r\n0\r\n\r\n", "\r\n\r\n10 bytes"));
    a->pieces = 0;
    static const char *const large[] = {PUT("11", "Expect: 100-continue\r\n"), PUT("11", ""),
                                        PUT("11", "") "0123456789a", PUT("3000000000000", ""),
                                        CHUNKED "b\r\n0123456789a\r\n0\r\n\r\n"};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        int fd = app_ask(a, large[i], "413 Content Too Large");
        assert_true(wire_has(&a->in, "Body larger than 10 bytes"));
        expect_answer_and_close(a, fd, "413 ");
        assert_int_equal(a->pieces, 0);
    }
    int fd = app_send(a, CHUNKED "ff\r\n0123456789");
    APP_UNTIL(a, a->given == 10);
    wire_sends(&a->loop, fd, "x");
    buf_reset(&a->in, SIZE_MAX);
    expect_answer_and_close(a, fd, "413 ");
    assert_int_equal(a->given, 10);
    assert_int_equal(a->requests, 2);
}

/* One that lies whole behind its head too. */
static void a_limit_below_the_servers_counts(void **state) {
    struct app *a = *state;
    a->max_stream = 10;
    int fd = app_send(a, PUT("11", "") "0123456789a");
    expect_answer_and_close(a, fd, "413 ");
    assert_int_equal(a->pieces, 0);
    assert_int_equal(a->requests, 0);
}

static void broken_framing_ends_it(void **state) {
    struct app *a = *state;
    buf_reset(&a->in, SIZE_MAX);
    int fd = app_send(a, CHUNKED "5\r\nhello\r\nzz\r\n");
    expect_answer_and_close(a, fd, "400 ");
    expect_given(a, "hello");
    assert_int_equal(a->requests, 0);
    assert_int_equal(a->dones, 1);
}

/* --- answers in the middle --- */

static void an_answer_in_the_middle_drops_a_small_rest(void **state) {
    struct app *a = *state;
    a->answer_at = 3;
    int fd = app_send(a, PUT("100", "") "abc");
    wire_expect(&a->loop, fd, &a->in, "enough");
    assert_false(wire_has(&a->in, "Connection: close"));
    a->answer_at = 0;
    wire_send(&a->loop, fd, slice_make(block, 97));
    again(a, fd, GET("/echo"), "X-Path: /echo");
    assert_int_equal(a->given, 3);
    assert_int_equal(a->dones, 2);
    assert_int_equal(a->requests, 1);
    close(fd);
    a->answer_at = 3; /* at its last byte, in one piece with the next request */
    fd = app_ask(a, PUT("3", "") "abc" GET("/echo"), "X-Path: /echo");
    assert_int_equal(a->requests, 2);
    close(fd);
}

static void an_answer_in_the_middle_ends_the_connection_when_the_rest_is_large(void **state) {
    struct app *a = *state;
    a->answer_at = 3;
    int fd = app_send(a, PUT("100000", "") "abc");
    wire_expect(&a->loop, fd, &a->in, "enough");
    for (int i = 0; i < 100; i++) wire_send(&a->loop, fd, slice_make(block, 900));
    expect_answer_and_close(a, fd, "409 ");
    fd = app_send(a, CHUNKED "3\r\nabc\r\n");
    buf_reset(&a->in, SIZE_MAX);
    expect_answer_and_close(a, fd, "409 ");
    assert_int_equal(a->requests, 0);
    assert_int_equal(a->gones, 0);
}

/* From outside of any hook, held or not. */
static void an_answer_may_come_while_the_body_does(void **state) {
    struct app *a = *state;
    for (int i = 0; i < 2; i++) {
        a->hold = i > 0;
        a->given = 0;
        int fd = app_send(a, PUT("100", "") "abc");
        APP_UNTIL(a, a->given == 3);
        if (i > 0) wire_send(&a->loop, fd, slice_make(block, 50)), wire_turn_for(&a->loop, 20);
        net_reply(app_waiting(a), 507, SLICE("text/plain"), SLICE("full"));
        net_body_resume(app_waiting(a));
        buf_reset(&a->in, SIZE_MAX);
        wire_expect(&a->loop, fd, &a->in, "full");
        wire_send(&a->loop, fd, slice_make(block, i > 0 ? 47 : 97));
        again(a, fd, GET("/echo"), "X-Path: /echo");
        assert_int_equal(a->given, 3);
        close(fd);
    }
}

/* --- the client leaves --- */

static void leaving_in_the_middle_is_gone(void **state) {
    struct app *a = *state;
    for (unsigned i = 0; i < 4; i++) {
        a->hold = i >= 2;
        a->given = 0;
        int fd = app_send(a, i % 2 == 0 ? PUT("100", "") "abc" : CHUNKED "3\r\nabc\r\n");
        APP_UNTIL(a, a->given == 3);
        close(fd);
        APP_UNTIL(a, a->gones == i + 1);
        assert_null(app_waiting(a));
    }
    assert_int_equal(a->requests, 0);
    assert_int_equal(a->dones, 0);
}

/* --- pausing --- */

/* Sends until the peer takes no more for a while; how much it took in all. */
static size_t send_until_stuck(struct app *a, int fd, size_t max) {
    size_t sent = 0;
    for (unsigned stuck = 0; stuck < 150 && sent < max; wire_turn(&a->loop)) {
        ssize_t n = send(fd, block, max - sent < sizeof block ? max - sent : sizeof block,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0) sent += (size_t)n;
    }
    return sent;
}

static void a_held_body_stops_the_peer(void **state) {
    struct app *a = *state;
    size_t all = 64U << 20;
    a->hold = true;
    int fd = app_send(a, PUT("67108864", ""));
    APP_UNTIL(a, a->heads == 1);
    size_t sent = send_until_stuck(a, fd, all);
    assert_true(sent < all / 2);
    assert_int_equal(a->pieces, 1);
    a->hold = false;
    net_body_resume(app_waiting(a));
    assert_int_equal(a->pieces, 1); /* not before it has returned */
    while (sent < all) sent += send_until_stuck(a, fd, all - sent);
    wire_expect(&a->loop, fd, &a->in, "\r\n\r\n67108864 bytes");
    again(a, fd, GET("/echo"), "X-Path: /echo");
    close(fd);
}

static void a_body_may_be_held_before_it_begins_and_at_every_piece(void **state) {
    struct app *a = *state;
    static const char *const ways[] = {
        PUT("11", "") "hello world" GET("/echo"),
        CHUNKED "1\r\nh\r\n1\r\ne\r\n9\r\nllo world\r\n0\r\n\r\n" GET("/echo")};
    for (size_t i = 0; i < 2; i++) {
        a->hold = a->hold_head = true;
        a->pieces = a->requests = 0;
        int fd = app_send(a, ways[i]);
        wire_turn_for(&a->loop, 30);
        assert_int_equal(a->pieces, 0);
        unsigned turns = 0;
        while (a->requests == 0) {
            size_t before = a->pieces;
            net_body_resume(app_waiting(a));
            wire_turn_for(&a->loop, 5);
            assert_true(a->pieces <= before + 1);
            assert_true(a->requests == 0 || a->pieces == before); /* held at its last byte */
            assert_true(turns++ < 20);
        }
        expect_given(a, "hello world");
        buf_reset(&a->in, SIZE_MAX);
        wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
        close(fd);
    }
}

/* Pausing and resuming at once changes nothing; without a body to hold neither does it. */
static void idle_words_are_harmless(void **state) {
    struct app *a = *state;
    int fd = app_send(a, PUT("6", "") "abc");
    APP_UNTIL(a, a->given == 3);
    for (int i = 0; i < 3; i++) {
        net_body_resume(app_waiting(a));
        net_body_pause(app_waiting(a));
        net_body_pause(app_waiting(a));
        net_body_resume(app_waiting(a));
    }
    net_stream_body(app_waiting(a), 1);
    again(a, fd, "def", "\r\n\r\n6 bytes");
    again(a, fd, GET("/stream"), "5\r\nfirst\r\n");
    net_body_pause(app_waiting(a));
    wire_sends(&a->loop, fd, GET("/echo"));
    net_stream_end(app_waiting(a));
    wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
    close(fd);
}

/* However large, and with a reader that stops now and then. */
static void a_large_body_moves_memory_little(void **state) {
    struct app *a = *state;
    const uint64_t all = (uint64_t)mebibytes << 20;
    size_t first = 0, most = 0;
    char head[128];
    snprintf(head, sizeof head, "PUT /put HTTP/1.1\r\nHost: h\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)all);
    a->count_only = true;
    int fd = app_send(a, head);
    uint64_t sent = 0;
    for (unsigned turn = 0; a->requests == 0; turn++) {
        for (ssize_t n = 1; n > 0 && sent < all; sent += n > 0 ? (uint64_t)n : 0)
            n = send(fd, block, all - sent < sizeof block ? (size_t)(all - sent) : sizeof block,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
        a->hold = turn % 4 == 0;
        uv_run(&a->loop.uv, UV_RUN_NOWAIT);
        if (wire_pump != NULL) wire_pump();
        if (app_waiting(a) != NULL) net_body_resume(app_waiting(a));
        size_t now = app_resident();
        if (a->given < 16U << 20) first = now;
        if (now > most) most = now;
    }
    assert_int_equal(a->given, all);
    if (mebibytes > 1000)
        print_message("%u MiB moved memory by %zu KiB\n", mebibytes, (most - first) >> 10);
    if (app_counts_memory) assert_true(most < first + (8U << 20));
    close(fd);
}

/* --- time --- */

static void the_clock_stands_while_a_body_is_held(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    l.body_grace_ms = 200;
    l.body_min_bytes_per_s = 0;
    app_restart(a, &l);
    a->hold = true;
    int fd = app_send(a, PUT("100", "") "abc");
    APP_UNTIL(a, a->given == 3);
    wire_turn_for(&a->loop, 600);
    assert_int_equal(a->faults, 0);
    a->hold = false;
    net_body_resume(app_waiting(a));
    wire_send(&a->loop, fd, slice_make(block, 96));
    APP_UNTIL(a, a->given == 99);
    assert_int_equal(a->faults, 0);
    buf_reset(&a->in, SIZE_MAX); /* and goes on afterwards */
    expect_answer_and_close(a, fd, "408 ");
    assert_int_equal(a->requests, 0);
}

int main(int argc, char **argv) {
    app_over_tls(argc > 1 && strcmp(argv[1], "tls") == 0);
    if (argc > 2) mebibytes = (unsigned)strtoul(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        APP_TEST(a_body_is_given_however_it_comes),
        APP_TEST(an_empty_body_is_a_request_and_no_piece),
        APP_TEST(expect_continue_is_answered),
        APP_TEST(a_get_body_is_dropped_all_the_same),
        APP_TEST(a_body_over_its_limit_is_413),
        APP_TEST(a_limit_below_the_servers_counts),
        APP_TEST(broken_framing_ends_it),
        APP_TEST(an_answer_in_the_middle_drops_a_small_rest),
        APP_TEST(an_answer_in_the_middle_ends_the_connection_when_the_rest_is_large),
        APP_TEST(an_answer_may_come_while_the_body_does),
        APP_TEST(leaving_in_the_middle_is_gone),
        APP_TEST(a_held_body_stops_the_peer),
        APP_TEST(a_body_may_be_held_before_it_begins_and_at_every_piece),
        APP_TEST(idle_words_are_harmless),
        APP_TEST(a_large_body_moves_memory_little),
        APP_TEST(the_clock_stands_while_a_body_is_held),
    };
    return cmocka_run_group_tests_name("server_body", tests, NULL, NULL);
}
