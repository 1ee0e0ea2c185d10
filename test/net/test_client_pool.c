#include "upstream.h"

#include <unistd.h>

static bool body_is(const struct record *r, const char *text) {
    return slice_is(buf_slice(&r->body), text);
}

/* The peer's side of a connection the client has closed. */
static void expect_closed(struct up *u, int fd) {
    wire_drain(&u->loop, fd, &u->in);
    close(fd);
}

static void the_newest_idle_connection_is_used_first(void **state) {
    struct up *u = *state;
    struct record *a = up_post(u, 0), *b = up_post(u, 1);
    int one = up_accept(u), two = up_accept(u);
    up_answer(u, one, UP_OK);
    UP_UNTIL(u, a->ends + b->ends == 1);
    up_answer(u, two, UP_OK);
    UP_UNTIL(u, a->ends + b->ends == 2);
    struct record *c = up_post(u, 2);
    up_answer(u, two, UP_OK);
    up_end(u, c, NET_OK);
    close(one);
    close(two);
}

static void a_call_may_be_started_from_the_end_of_another(void **state) {
    struct up *u = *state;
    u->r[0].again = true;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    up_answer(u, fd, UP_OK);
    up_end(u, &u->r[1], NET_OK);
    assert_true(u->r[1].end.reused);
    close(fd);
}

static void a_connection_closed_between_requests_is_replaced_unseen(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    r = up_post(u, 1); /* on its way while the peer closes */
    up_read(u, fd);
    close(fd);
    fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_false(r->end.reused);
    r = up_post(u,
                2); /* the peer closed before it was written: the kernel knows, the loop not yet */
    up_read(u, fd);
    wire_sends(&u->loop, fd, UP_OK);
    up_end(u, r, NET_OK);
    close(fd);
    r = up_post(u, 3);
    fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    close(fd);
}

static void a_request_is_repeated_only_once_and_never_after_a_byte(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    r = up_post(u, 1);
    up_read(u, fd);
    close(fd);
    fd = up_accept(u);
    up_read(u, fd);
    close(fd);
    up_end(u, r, NET_CUT);
    r = up_post(u, 2);
    fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    r = up_post(u, 3);
    up_answer(u, fd, "H");
    wire_turn_for(&u->loop, 20);
    close(fd);
    up_end(u, r, NET_CUT);
    assert_true(up_nobody_waits(u));
}

static void keep_alive_headers_are_obeyed(void **state) {
    struct up *u = *state;
    static const char *const last[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5, max=0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: max=100, timeout=0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\n",
    };
    for (size_t i = 0; i < 6; i++) {
        struct record *r = up_post(u, i);
        int fd = up_accept(u);
        up_answer(u, fd, last[i]);
        up_end(u, r, NET_OK);
        expect_closed(u, fd);
    }
}

static void an_idle_connection_ends_before_the_peer_ends_it(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd,
              "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=1, max=9\r\n\r\n");
    up_end(u, r, NET_OK);
    uint64_t began = uv_hrtime();
    expect_closed(u, fd);
    assert_true(uv_hrtime() - began < 1000000000ULL);
}

static void bytes_nobody_asked_for_end_an_idle_connection(void **state) {
    struct up *u = *state;
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    wire_sends(&u->loop, fd, UP_OK);
    expect_closed(u, fd);
    r = up_post(u, 1);
    fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
    up_end(u, r, NET_OK);
    assert_true(body_is(r, "new"));
    close(fd);
}

static void flushing_closes_what_is_idle_only(void **state) {
    struct up *u = *state;
    struct record *a = up_post(u, 0), *b = up_post(u, 1);
    int one = up_accept(u), two = up_accept(u);
    up_answer(u, one, UP_OK);
    UP_UNTIL(u, a->ends + b->ends == 1);
    net_origin_flush(u->origin);
    expect_closed(u, one);
    up_answer(u, two, UP_OK);
    UP_UNTIL(u, a->ends + b->ends == 2);
    assert_int_equal(a->end.fault + b->end.fault, NET_OK);
    close(two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        UP_TEST(the_newest_idle_connection_is_used_first),
        UP_TEST(a_call_may_be_started_from_the_end_of_another),
        UP_TEST(a_connection_closed_between_requests_is_replaced_unseen),
        UP_TEST(a_request_is_repeated_only_once_and_never_after_a_byte),
        UP_TEST(keep_alive_headers_are_obeyed),
        UP_TEST(an_idle_connection_ends_before_the_peer_ends_it),
        UP_TEST(bytes_nobody_asked_for_end_an_idle_connection),
        UP_TEST(flushing_closes_what_is_idle_only),
    };
    return cmocka_run_group_tests_name("client_pool", tests, NULL, NULL);
}
