/* Connections that speak something else from now on: net_upgrade. */
#include "app.h"
#include "wire_tls.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define UPGRADE(path) \
    "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n"
#define HEAD_OF_101 "\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n"

static char block[65536];

static void expect_101(struct app *a) {
    assert_true(wire_has(&a->in, "HTTP/1.1 101 Switching Protocols\r\nDate: "));
    assert_true(wire_has(&a->in, "\r\nX-Accept: it\r\n"));
    assert_true(wire_has(&a->in, HEAD_OF_101));
    assert_int_equal(wire_count(&a->in, "onnection:"), 1);
    assert_false(wire_has(&a->in, "Content-"));
    assert_false(wire_has(&a->in, "Transfer-"));
}

static void bytes_go_both_ways_unframed(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    expect_101(a);
    wire_sends(&a->loop, fd, "GET / HTTP/9\r\n\r\n\x01\x02");
    APP_UNTIL(a, a->given == 18);
    assert_true(a->sum == app_sum(0, SLICE("GET / HTTP/9\r\n\r\n\x01\x02")));
    buf_reset(&a->in, SIZE_MAX);
    assert_true(net_stream_write(app_waiting(a), SLICE("from here")));
    wire_expect(&a->loop, fd, &a->in, "from here");
    assert_int_equal(buf_len(&a->in), 9);
    net_stream_end(app_waiting(a));
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(buf_len(&a->in), 9);
    assert_int_equal(a->dones, 1);
    assert_int_equal(a->faults, 0);
    close(fd);
}

static void bytes_right_behind_the_head_come_by_on_body(void **state) {
    struct app *a = *state;
    static const char *const paths[] = {UPGRADE("/upgrade") "early",
                                        UPGRADE("/upgrade-at-head") "early"};
    a->echo = true;
    for (unsigned i = 0; i < 2; i++) {
        a->given = a->sum = 0;
        int fd = app_ask(a, paths[i], HEAD_OF_101 "early");
        expect_101(a);
        assert_int_equal(a->given, 5);
        wire_sends(&a->loop, fd, " bird");
        wire_expect(&a->loop, fd, &a->in, HEAD_OF_101 "early bird");
        close(fd);
        APP_UNTIL(a, a->gones == i + 1);
        assert_null(app_waiting(a));
    }
    assert_int_equal(a->requests, 1);
}

static void it_may_come_later_than_the_request(void **state) {
    struct app *a = *state;
    int fd = app_send(a, UPGRADE("/upgrade-later") "early");
    APP_UNTIL(a, a->requests == 1);
    wire_turn_for(&a->loop, 10);
    assert_int_equal(a->pieces, 0);
    net_upgrade(app_waiting(a), SLICE("tunnel"));
    assert_int_equal(a->pieces, 0); /* not before it has returned */
    wire_expect(&a->loop, fd, &a->in, HEAD_OF_101);
    APP_UNTIL(a, a->given == 5);
    close(fd);
}

/* Whatever would have become of the connection otherwise. */
static void a_connection_about_to_close_is_upgraded_like_any_other(void **state) {
    struct app *a = *state;
    int fd = app_send(
        a, "GET /upgrade-later HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\n\r\n");
    APP_UNTIL(a, a->requests == 1);
    net_server_drain(a->server);
    net_header(app_waiting(a), SLICE("X-Accept"), SLICE("it"));
    net_upgrade(app_waiting(a), SLICE("tunnel"));
    wire_expect(&a->loop, fd, &a->in, HEAD_OF_101);
    expect_101(a);
    close(fd);
}

static void one_byte_at_a_time(void **state) {
    struct app *a = *state;
    const char *text = UPGRADE("/upgrade") "hello";
    a->echo = true;
    int fd = wire_connect(a->port);
    for (const char *p = text; *p != '\0'; p++) {
        wire_send(&a->loop, fd, slice_make(p, 1));
        wire_turn(&a->loop);
    }
    wire_expect(&a->loop, fd, &a->in, HEAD_OF_101 "hello");
    close(fd);
}

static void what_cannot_be_upgraded_is_400(void **state) {
    struct app *a = *state;
    static const char *const requests[] = {
        "GET /upgrade HTTP/1.0\r\nConnection: Upgrade\r\n\r\n",
        "POST /upgrade-at-head HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
        "POST /upgrade-at-head HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int fd = app_ask(a, requests[i], "HTTP/1.1 400 ");
        assert_true(wire_drain(&a->loop, fd, &a->in));
        assert_false(wire_has(&a->in, " 101 "));
        close(fd);
    }
    assert_int_equal(a->dones, 3);
}

/* --- ends --- */

static void a_peer_that_finishes_or_breaks_off_is_gone(void **state) {
    struct app *a = *state;
    for (unsigned i = 0; i < 3; i++) {
        a->given = 0;
        int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
        wire_sends(&a->loop, fd, "last words");
        if (i == 0) shutdown(fd, SHUT_WR);
        if (i == 1) close(fd);
        if (i == 2) {
            APP_UNTIL(a, a->given == 10);
            struct linger hard = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(fd);
        }
        APP_UNTIL(a, a->gones == i + 1);
        assert_int_equal(a->given, 10);
        if (i == 0) close(fd);
    }
    assert_int_equal(a->dones, 0);
}

static void an_aborted_one_is_reset(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    net_stream_abort(app_waiting(a));
    assert_false(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(a->gones, 1);
    close(fd);
}

static void ending_it_from_within_on_body(void **state) {
    struct app *a = *state;
    for (unsigned i = 0; i < 2; i++) {
        int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
        a->end = i == 0 ? net_stream_end : net_stream_abort;
        wire_sends(&a->loop, fd, "x");
        assert_int_equal(wire_drain(&a->loop, fd, &a->in), i == 0);
        a->end = NULL;
        close(fd);
    }
    assert_int_equal(a->dones, 1);
    assert_int_equal(a->gones, 1);
}

/* A peer that goes on sending after the end does not keep it from its goodbye. */
static void what_comes_after_the_end_is_dropped(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    net_stream_write(app_waiting(a), SLICE("goodbye"));
    net_stream_end(app_waiting(a));
    for (int i = 0; i < 20; i++) wire_send(&a->loop, fd, slice_make(block, 50000));
    wire_expect(&a->loop, fd, &a->in, "goodbye");
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(a->pieces, 0);
    close(fd);
}

/* --- time, and slow ones --- */

static void silence_has_no_deadline(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    l.head_ms = l.idle_ms = l.body_grace_ms = l.write_stall_ms = 100;
    app_restart(a, &l);
    a->echo = true;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    wire_turn_for(&a->loop, 500);
    wire_sends(&a->loop, fd, "still here");
    wire_expect(&a->loop, fd, &a->in, "still here");
    close(fd);
}

static void a_peer_that_does_not_read_is_reset(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    l.write_stall_ms = 200;
    app_restart(a, &l);
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    bool takes_more = true;
    for (int i = 0; i < 480; i++)
        takes_more = net_stream_write(app_waiting(a), slice_make(block, sizeof block));
    assert_false(takes_more);
    APP_UNTIL(a, a->gones == 1);
    assert_int_equal(a->drains, 0);
    assert_false(wire_drain(&a->loop, fd, &a->in));
    close(fd);
}

static void a_slow_reader_drains(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    buf_reset(&a->in, SIZE_MAX);
    size_t sent = sizeof block;
    while (net_stream_write(app_waiting(a), slice_make(block, sizeof block))) sent += sizeof block;
    APP_UNTIL(a, wire_read(fd, &a->in, NULL) && a->drains == 1);
    APP_UNTIL(a, wire_read(fd, &a->in, NULL) && buf_len(&a->in) == sent);
    close(fd);
}

static void a_held_one_stops_the_peer(void **state) {
    struct app *a = *state;
    a->hold = true;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    size_t sent = 0;
    for (unsigned stuck = 0; stuck < 150; wire_turn(&a->loop)) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0) sent += (size_t)n;
        assert_true(sent < 64U << 20);
    }
    assert_int_equal(a->pieces, 1);
    a->hold = false;
    net_body_resume(app_waiting(a));
    APP_UNTIL(a, a->given == sent);
    net_body_pause(app_waiting(a)); /* from outside, and its leaving is heard all the same */
    wire_sends(&a->loop, fd, "more");
    wire_turn_for(&a->loop, 30);
    assert_int_equal(a->given, sent);
    close(fd);
    APP_UNTIL(a, a->gones == 1);
}

static void draining_leaves_it_to_the_application(void **state) {
    struct app *a = *state;
    a->echo = true;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    net_server_drain(a->server);
    wire_turn_for(&a->loop, 300);
    wire_sends(&a->loop, fd, "still here");
    wire_expect(&a->loop, fd, &a->in, "still here");
    net_stream_end(app_waiting(a));
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(a->dones, 1);
    close(fd);
}

static void closing_the_server_is_gone(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, UPGRADE("/upgrade"), HEAD_OF_101);
    net_server_close(a->server);
    assert_int_equal(a->gones, 1);
    close(fd);
}

int main(int argc, char **argv) {
    app_over_tls(argc > 1 && strcmp(argv[1], "tls") == 0);
    const struct CMUnitTest tests[] = {
        APP_TEST(bytes_go_both_ways_unframed),
        APP_TEST(bytes_right_behind_the_head_come_by_on_body),
        APP_TEST(it_may_come_later_than_the_request),
        APP_TEST(a_connection_about_to_close_is_upgraded_like_any_other),
        APP_TEST(one_byte_at_a_time),
        APP_TEST(what_cannot_be_upgraded_is_400),
        APP_TEST(a_peer_that_finishes_or_breaks_off_is_gone),
        APP_TEST(an_aborted_one_is_reset),
        APP_TEST(ending_it_from_within_on_body),
        APP_TEST(what_comes_after_the_end_is_dropped),
        APP_TEST(silence_has_no_deadline),
        APP_TEST(a_peer_that_does_not_read_is_reset),
        APP_TEST(a_slow_reader_drains),
        APP_TEST(a_held_one_stops_the_peer),
        APP_TEST(draining_leaves_it_to_the_application),
        APP_TEST(closing_the_server_is_gone),
    };
    return cmocka_run_group_tests_name("server_upgrade", tests, NULL, NULL);
}
