#include "upstream.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool body_is(const struct record *r, const char *text) {
    return slice_is(buf_slice(&r->body), text);
}

/* The peer's side of a connection the client has closed. */
static void expect_closed(struct up *u, int fd) {
    wire_drain(&u->loop, fd, &u->in);
    close(fd);
}

static void answers_come_whole_and_connections_are_kept(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    char host[64];
    snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", u->port);
    assert_true(wire_has(&u->in, "POST /v1/chat?x=1 HTTP/1.1\r\n"));
    assert_true(wire_has(&u->in, host));
    assert_true(wire_has(&u->in, "\r\nContent-Type: application/json\r\n"));
    assert_true(wire_has(&u->in, "\r\nContent-Length: 7\r\n"));
    assert_int_equal(r->status, 200);
    assert_true(body_is(r, "ok") && !r->end.reused && r->end.sent);
    assert_string_equal(r->x, "y");
    struct record *second = up_post(u, 1);
    up_answer(u, fd, UP_OK);
    up_end(u, second, NET_OK);
    assert_true(second->end.reused && body_is(second, "ok"));
    assert_true(up_nobody_waits(u));
    close(fd);
}

static void an_answer_may_come_byte_by_byte(void **state) {
    struct up *u = *state;
    static const char *const answers[] = {
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX: y\r\n\r\nhello world",
    };
    int fd = -1;
    for (size_t i = 0; i < 2; i++) {
        struct record *r = up_post(u, i);
        if (fd < 0) fd = up_accept(u);
        up_read(u, fd);
        for (const char *p = answers[i]; *p != '\0'; p++) {
            wire_send(&u->loop, fd, slice_make(p, 1));
            wire_turn(&u->loop);
        }
        up_end(u, r, NET_OK);
        assert_true(body_is(r, "hello world"));
        assert_string_equal(r->x, "y");
    }
    close(fd);
}

static void a_body_until_close_ends_with_fin(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.0 200 OK\r\n\r\nall of it");
    UP_UNTIL(u, buf_len(&r->body) == 9);
    assert_int_equal(r->ends, 0);
    close(fd);
    up_end(u, r, NET_OK);
    up_post(u, 1);
    close(up_accept(u)); /* not kept */
}

static void head_204_and_304_have_no_body(void **state) {
    struct up *u = *state;
    struct record *r = up_call(u, 0, "HEAD", SLICE_NONE);
    int fd = up_accept(u);
    wire_expect(&u->loop, fd, &u->in, "\r\n\r\n");
    assert_false(wire_has(&u->in, "Content-Length"));
    wire_sends(&u->loop, fd, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    up_end(u, r, NET_OK);
    r = up_post(u, 1);
    up_answer(u, fd, "HTTP/1.1 204 No Content\r\n\r\n");
    up_end(u, r, NET_OK);
    r = up_post(u, 2);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    close(fd);
}

/* --- faults --- */

static void every_way_to_fail_has_its_name(void **state) {
    struct up *u = *state;
    static const struct {
        const char *answer; /* then FIN */
        enum net_fault fault;
    } rows[] = {
        {"", NET_CUT},
        {"HTTP/1.1 200 OK\r\nContent-", NET_CUT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", NET_CUT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", NET_CUT},
        {"<html>not http</html>\r\n\r\n", NET_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", NET_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", NET_PROTOCOL},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", NET_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct record *r = up_post(u, i);
        int fd = up_accept(u);
        up_answer(u, fd, rows[i].answer);
        shutdown(fd, SHUT_WR);
        up_end(u, r, rows[i].fault);
        assert_true(r->end.sent && !r->end.reused && r->end.detail != NULL);
        expect_closed(u, fd);
    }
}

static void a_flood_of_1xx_or_of_headers_is_a_broken_protocol(void **state) {
    struct up *u = *state;
    struct buf flood;
    buf_init(&flood, 1U << 20);
    for (int i = 0; i < 1000; i++) buf_puts(&flood, "HTTP/1.1 103 Early Hints\r\n\r\n");
    for (size_t i = 0; i < 2; i++) {
        struct record *r = up_post(u, i);
        int fd = up_accept(u);
        up_read(u, fd);
        wire_send(&u->loop, fd, buf_slice(&flood));
        up_end(u, r, NET_PROTOCOL);
        expect_closed(u, fd);
        buf_reset(&flood, SIZE_MAX);
        buf_puts(&flood, "HTTP/1.1 200 OK\r\n");
        for (int n = 0; n < 90; n++) buf_printf(&flood, "X-%d: %0500d\r\n", n, n);
        buf_puts(&flood, "\r\n");
    }
    buf_free(&flood);
}

static void nobody_listening_is_refused(void **state) {
    struct up *u = *state;
    close(u->listener);
    u->listener = -1;
    up_end(u, up_post(u, 0), NET_REFUSED);
    assert_false(u->r[0].end.sent);
    up_origin(u, &(struct net_origin_options){.unix_path = "/nonexistent/socket"});
    up_end(u, up_post(u, 1), NET_REFUSED);
}

static void an_unknown_name_is_a_dns_fault(void **state) {
    struct up *u = *state;
    up_origin(u, &(struct net_origin_options){.host = "no-such-host.invalid", .port = 80});
    struct record *a = up_post(u, 0), *b = up_post(u, 1);
    up_end(u, a, NET_DNS);
    up_end(u, b, NET_DNS);
}

static void all_addresses_of_a_name_are_tried(void **state) {
    struct up *u = *state;
    up_origin(u, &(struct net_origin_options){.host = "localhost",
                                              .port = u->port}); /* perhaps ::1 first */
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_true(wire_has(&u->in, "\r\nHost: localhost:"));
    close(fd);
}

/* A full listening queue swallows connections: nothing answers, nothing refuses. */
static void a_connection_that_does_not_come_up_has_its_deadline(void **state) {
    struct up *u = *state;
    int filler[200];
    size_t n = 0;
    assert_int_equal(listen(u->listener, 0), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(u->port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (; n < 4; n++) {
        filler[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(filler[n], (struct sockaddr *)&sa, sizeof sa);
    }
    u->deadlines.connect_ms = 60;
    struct record *r = up_post(u, 0);
    up_end(u, r, NET_CONNECT_TIMEOUT);
    assert_false(r->end.sent);
    while (n > 0) close(filler[--n]);
}

static void each_deadline_ends_the_call_and_the_connection(void **state) {
    struct up *u = *state;
    u->deadlines.first_byte_ms = 60;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_end(u, r, NET_FIRST_BYTE_TIMEOUT);
    expect_closed(u, fd);
    u->deadlines = (struct net_deadlines)NET_DEADLINES_DEFAULT;
    u->deadlines.idle_ms = 60;
    r = up_post(u, 1);
    fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
    up_end(u, r, NET_IDLE_TIMEOUT);
    expect_closed(u, fd);
    u->deadlines = (struct net_deadlines)NET_DEADLINES_DEFAULT;
    u->deadlines.total_ms = 100;
    r = up_post(u, 2);
    fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (r->ends == 0) {
        wire_sends(&u->loop, fd, "1\r\nx\r\n");
        wire_turn(&u->loop);
    }
    up_end(u, r, NET_TOTAL_TIMEOUT);
    expect_closed(u, fd);
}

static void bytes_now_and_then_move_the_deadline_between_them(void **state) {
    struct up *u = *state;
    u->deadlines.idle_ms = 1000;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        wire_sends(&u->loop, fd, "x");
        wire_turn_for(&u->loop, 150);
    }
    up_end(u, r, NET_OK);
    close(fd);
}

/* --- cancel, pause --- */

static void cancelling_closes_the_connection_and_calls_no_hook(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_read(u, fd);
    net_call_cancel(r->call);
    expect_closed(u, fd);
    u->r[1].cancel_in_head = u->r[2].cancel_in_body = true;
    for (size_t i = 1; i < 3; i++) {
        r = up_post(u, i);
        fd = up_accept(u);
        up_answer(u, fd, UP_OK);
        expect_closed(u, fd);
        assert_null(r->call);
    }
    net_call_cancel(up_post(u, 3)->call); /* before it connected */
    wire_turn_for(&u->loop, 20);
    for (size_t i = 0; i < 4; i++) assert_int_equal(u->r[i].ends, 0);
}

static void freeing_the_origin_ends_its_calls(void **state) {
    struct up *u = *state;
    struct record *a = up_post(u, 0), *b = up_post(u, 1);
    int fd = up_accept(u);
    up_origin(u, &(struct net_origin_options){.host = "127.0.0.1", .port = u->port});
    assert_int_equal(a->end.fault, NET_CANCELLED);
    assert_int_equal(b->end.fault, NET_CANCELLED);
    expect_closed(u, fd);
}

static void a_paused_call_stops_the_peer(void **state) {
    struct up *u = *state;
    static char block[65536];
    u->deadlines.idle_ms = 500; /* stopped while paused */
    u->r[0].pause_in_body = true;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    size_t sent = 0, all = 32U << 20;
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\nX: y\r\n\r\n");
    for (unsigned stuck = 0; stuck < 100;) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0) sent += (size_t)n;
        assert_true(sent < all);
        wire_turn(&u->loop);
    }
    wire_turn_for(&u->loop, 700);
    assert_int_equal(r->pieces, 1);
    assert_int_equal(r->ends, 0);
    r->pause_in_body = false;
    net_call_resume(r->call);
    assert_int_equal(r->pieces, 1); /* not before it has returned */
    while (sent < all && r->ends == 0) {
        ssize_t n = send(fd, block, all - sent < sizeof block ? all - sent : sizeof block,
                         MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        wire_turn(&u->loop);
    }
    up_end(u, r, NET_OK);
    assert_int_equal(buf_len(&r->body), all);
    close(fd);
}

/* The head is told, the body waits, and what waits is bounded. */
static void a_call_may_be_paused_before_its_answer_begins(void **state) {
    struct up *u = *state;
    static char block[65536];
    struct record *r = up_post(u, 0);
    net_call_pause(r->call);
    int fd = up_accept(u);
    size_t sent = 0, all = 32U << 20;
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    for (unsigned stuck = 0; stuck < 50;) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0) sent += (size_t)n;
        assert_true(sent < all);
        wire_turn(&u->loop);
    }
    assert_int_equal(r->heads, 1);
    assert_int_equal(r->pieces + r->ends, 0);
    net_call_resume(r->call);
    UP_UNTIL(u, buf_len(&r->body) == sent);
    net_call_cancel(r->call);
    expect_closed(u, fd);
}

static void a_call_paused_at_its_last_byte_ends_when_resumed(void **state) {
    struct up *u = *state;
    u->r[0].pause_in_body = true;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    UP_UNTIL(u, r->pieces == 1);
    wire_turn_for(&u->loop, 20);
    assert_int_equal(r->ends, 0);
    net_call_resume(r->call);
    up_end(u, r, NET_OK);
    r = up_post(u, 1);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_true(r->end.reused);
    close(fd);
}

static void a_large_request_is_sent_whole_to_a_slow_peer(void **state) {
    struct up *u = *state;
    size_t n = 20U << 20;
    char *body = malloc(n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++) body[i] = (char)(i * 31 >> 3);
    struct record *r = up_call(u, 0, "POST", slice_make(body, n));
    int fd = up_accept(u);
    wire_turn_for(&u->loop, 20);
    while (buf_len(&u->in) < n) {
        assert_true(wire_read(fd, &u->in, NULL));
        wire_turn(&u->loop);
    }
    const char *at = memmem(buf_slice(&u->in).ptr, buf_len(&u->in), "\r\n\r\n", 4);
    UP_UNTIL(u,
             wire_read(fd, &u->in, NULL) && buf_len(&u->in) >= n + (size_t)(at + 4 - u->in.base));
    at = memmem(buf_slice(&u->in).ptr, buf_len(&u->in), "\r\n\r\n", 4);
    assert_memory_equal(at + 4, body, n);
    wire_sends(&u->loop, fd, UP_OK);
    up_end(u, r, NET_OK);
    free(body);
    close(fd);
}

static void an_answer_before_the_request_was_sent_is_not_reused(void **state) {
    struct up *u = *state;
    size_t n = 20U << 20;
    char *body = calloc(1, n);
    struct record *r = up_call(u, 0, "POST", slice_make(body, n));
    int fd = up_accept(u);
    wire_turn_for(&u->loop, 20);
    wire_sends(&u->loop, fd, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    up_end(u, r, NET_OK);
    assert_int_equal(r->status, 413);
    expect_closed(u, fd);
    free(body);
}

static void a_unix_socket_is_an_origin_too(void **state) {
    struct up *u = *state;
    char dir[] = "/tmp/anyllm-net-XXXXXX", path[64];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    memcpy(sa.sun_path, path, strlen(path));
    close(u->listener);
    u->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(u->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(u->listener, 8), 0);
    up_origin(u, &(struct net_origin_options){.unix_path = path});
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_true(wire_has(&u->in, "\r\nHost: localhost\r\n"));
    close(fd);
    unlink(path);
    rmdir(dir);
}

/* A Unix socket whose queue is full answers EAGAIN instead of letting the caller wait. */
static void a_full_queue_of_a_unix_socket_is_waited_for(void **state) {
    struct up *u = *state;
    char dir[] = "/tmp/anyllm-net-XXXXXX", path[64];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd[6];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    memcpy(sa.sun_path, path, strlen(path));
    close(u->listener);
    u->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(u->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(u->listener, 1), 0);
    up_origin(u, &(struct net_origin_options){.unix_path = path});
    for (size_t i = 0; i < 6; i++) up_post(u, i);
    wire_turn_for(&u->loop, 50);
    for (size_t i = 0; i < 6; i++) assert_int_equal(u->r[i].ends, 0);
    for (size_t i = 0; i < 6; i++) {
        fd[i] = up_accept(u);
        up_answer(u, fd[i], UP_OK);
    }
    for (size_t i = 0; i < 6; i++) up_end(u, &u->r[i], NET_OK);
    for (size_t i = 0; i < 6; i++) close(fd[i]);
    close(u->listener);
    u->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    unlink(path);
    assert_int_equal(bind(u->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(u->listener, 0), 0);
    u->deadlines.connect_ms = 80;
    net_origin_flush(u->origin);
    up_post(u, 6);
    up_end(u, up_post(u, 7), NET_CONNECT_TIMEOUT); /* the other fills the queue */
    net_call_cancel(u->r[6].call);
    unlink(path);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        UP_TEST(answers_come_whole_and_connections_are_kept),
        UP_TEST(an_answer_may_come_byte_by_byte),
        UP_TEST(a_body_until_close_ends_with_fin),
        UP_TEST(head_204_and_304_have_no_body),
        UP_TEST(every_way_to_fail_has_its_name),
        UP_TEST(a_flood_of_1xx_or_of_headers_is_a_broken_protocol),
        UP_TEST(nobody_listening_is_refused),
        UP_TEST(an_unknown_name_is_a_dns_fault),
        UP_TEST(all_addresses_of_a_name_are_tried),
        UP_TEST(a_connection_that_does_not_come_up_has_its_deadline),
        UP_TEST(each_deadline_ends_the_call_and_the_connection),
        UP_TEST(bytes_now_and_then_move_the_deadline_between_them),
        UP_TEST(cancelling_closes_the_connection_and_calls_no_hook),
        UP_TEST(freeing_the_origin_ends_its_calls),
        UP_TEST(a_paused_call_stops_the_peer),
        UP_TEST(a_call_may_be_paused_before_its_answer_begins),
        UP_TEST(a_call_paused_at_its_last_byte_ends_when_resumed),
        UP_TEST(a_large_request_is_sent_whole_to_a_slow_peer),
        UP_TEST(an_answer_before_the_request_was_sent_is_not_reused),
        UP_TEST(a_unix_socket_is_an_origin_too),
        UP_TEST(a_full_queue_of_a_unix_socket_is_waited_for),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
