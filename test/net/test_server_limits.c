#include "app.h"
#include "wire_tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct net_server_limits limits(void) {
    return (struct net_server_limits)NET_SERVER_LIMITS_DEFAULT;
}

static void expect_answer_and_close(struct app *a, int fd, const char *status) {
    buf_reset(&a->in, SIZE_MAX);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_true(wire_has(&a->in, status));
    assert_true(wire_has(&a->in, "Connection: close\r\n"));
    assert_int_equal(wire_count(&a->in, "HTTP/1.1 "), 1);
    close(fd);
}

/* --- sizes --- */

static void a_body_over_the_limit_is_413_at_its_head(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.max_body_bytes = 100;
    app_restart(a, &l);
    int fd = app_send(a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n");
    expect_answer_and_close(a, fd, "413 Content Too Large");
    assert_true(wire_has(&a->in, "Body larger than 100 bytes"));
    fd = app_send(a,
                  "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n");
    expect_answer_and_close(a, fd, "400 ");
    close(app_ask(a, "POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n", "401 "));
    assert_int_equal(a->requests, 0);
}

static void a_chunked_body_is_413_at_the_byte_that_crosses(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.max_body_bytes = 10;
    app_restart(a, &l);
    const char *head =
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123456789";
    int fd = app_send(a, head);
    wire_turn_for(&a->loop, 20);
    assert_int_equal(a->faults, 0);
    wire_sends(&a->loop, fd, "x");
    expect_answer_and_close(a, fd, "413 ");
    assert_int_equal(a->requests, 0);
    assert_int_equal(a->dones, 1);
}

/* A client that sends everything before it reads still gets the answer: the connection is lingered on. */
static void a_refusal_reaches_a_client_that_is_still_sending(void **state) {
    struct app *a = *state;
    struct buf all;
    buf_init(&all, 40U << 20);
    buf_puts(&all, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 33554433\r\n\r\n");
    assert_true(buf_reserve(&all, 33554433));
    memset(all.base + all.end, 'x', 33554433);
    all.end += 33554433;
    int fd = wire_connect(a->port);
    wire_send(&a->loop, fd, buf_slice(&all));
    expect_answer_and_close(a, fd, "413 ");
    buf_free(&all);
}

static void heads_too_large_are_refused(void **state) {
    struct app *a = *state;
    struct buf all;
    buf_init(&all, 1U << 20);
    buf_puts(&all, "GET /");
    for (int i = 0; i < 9000; i++) buf_addc(&all, 'a');
    buf_puts(&all, " HTTP/1.1\r\nHost: h\r\n\r\n");
    int fd = wire_connect(a->port);
    wire_send(&a->loop, fd, buf_slice(&all));
    expect_answer_and_close(a, fd, "414 ");
    buf_reset(&all, SIZE_MAX);
    buf_puts(&all, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 101; i++) buf_printf(&all, "X-%d: 1\r\n", i);
    buf_puts(&all, "\r\n");
    fd = wire_connect(a->port);
    wire_send(&a->loop, fd, buf_slice(&all));
    expect_answer_and_close(a, fd, "431 ");
    buf_free(&all);
}

/* --- slowness --- */

static void a_slow_head_is_408_and_a_silent_connection_just_ends(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.head_ms = 60;
    l.idle_ms = 60;
    app_restart(a, &l);
    int fd = app_send(a, "GET /echo HTTP/1.1\r\nHo");
    expect_answer_and_close(a, fd, "408 Request Timeout");
    assert_false(a->fault_had_request);
    fd = app_send(a, "");
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(a->faults, 1);
    close(fd);
}

/* One byte now and then does not buy time. */
static void a_trickling_head_is_408_all_the_same(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.head_ms = 100;
    app_restart(a, &l);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    wire_sends(&a->loop, fd, "GET /");
    for (int i = 0; i < 1000 && a->faults == 0; i++) {
        wire_sends(&a->loop, fd, "a");
        wire_turn_for(&a->loop, 10);
    }
    expect_answer_and_close(a, fd, "408 ");
}

static void an_idle_connection_ends_without_a_word(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.idle_ms = 60;
    app_restart(a, &l);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(wire_count(&a->in, "HTTP/1.1"), 1);
    assert_int_equal(a->faults, 0);
    close(fd);
}

static void a_slow_body_is_408(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.body_grace_ms = 60;
    l.body_min_bytes_per_s = 100000;
    app_restart(a, &l);
    int fd = app_send(a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
    expect_answer_and_close(a, fd, "408 ");
    assert_true(a->fault_had_request);
    assert_int_equal(a->requests, 0);
    assert_int_equal(a->dones, 1);
}

static void a_body_fast_enough_outlives_the_grace(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.body_grace_ms = 40;
    l.body_min_bytes_per_s = 100;
    app_restart(a, &l);
    char part[101] = "";
    memset(part, 'p', 100);
    char head[256];
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n%s",
             part);
    int fd = app_send(a, head);
    for (int i = 0; i < 9; i++) {
        wire_sends(&a->loop, fd, part); /* each buys a second */
        wire_turn_for(&a->loop, 20);
    }
    wire_expect(&a->loop, fd, &a->in, "200 OK");
    close(fd);
}

static void a_reader_that_stalls_is_reset(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.write_stall_ms = 80;
    app_restart(a, &l);
    a->big = 30U << 20;
    int fd = app_send(a, GET("/big"));
    APP_UNTIL(a, a->gones == 1);
    assert_int_equal(a->dones, 0);
    assert_false(wire_drain(&a->loop, fd, &a->in));
    close(fd);
}

/* Each time more is read than the kernel waits for before it asks the server for more; then there is a pause. */
static void a_slow_reader_that_goes_on_is_not_reset(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.write_stall_ms = 1500;
    app_restart(a, &l);
    a->big = 60U << 20;
    static char part[1 << 19];
    int fd = app_send(a, GET("/big"));
    uint64_t began = uv_hrtime();
    while (a->dones == 0) {
        for (size_t got = 0; got < 3U << 20 && a->dones == 0; wire_turn(&a->loop)) {
            ssize_t n = recv(fd, part, sizeof part, MSG_DONTWAIT);
            if (n > 0) got += (size_t)n;
            assert_int_equal(a->gones, 0);
        }
        wire_turn_for(&a->loop, 200);
    }
    assert_true(uv_hrtime() - began > 1600 * 1000000ULL);
    close(fd);
}

/* --- how many --- */

static void one_connection_too_many_gets_503(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.max_connections = 2;
    app_restart(a, &l);
    int one = app_ask(a, GET("/echo"), "200 OK"), two = app_ask(a, GET("/echo"), "200 OK");
    int three = app_send(a, GET("/echo"));
    expect_answer_and_close(a, three, "503 Service Unavailable");
    assert_true(wire_has(&a->in, "\r\nRetry-After: 1\r\n"));
    assert_true(wire_has(&a->in, "too many connections"));
    assert_int_equal(net_server_get_stats(a->server)->refused, 1);
    close(two);
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 1);
    two = app_ask(a, GET("/echo"), "200 OK");
    close(one);
    close(two);
}

/* Nothing is kept for this one, so nobody waits for its handshake to tell it why. */
static void expect_cut(struct app *a, int fd) {
    buf_reset(&a->in, SIZE_MAX);
    assert_false(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(buf_len(&a->in), 0);
    assert_int_equal(wire_tls_fault(fd), 0); /* what is not TLS would be a fault of it */
    close(fd);
}

/* A crowd over the limit costs no more than a bounded number of connections kept for it. */
static void a_crowd_over_the_limit_is_refused_without_being_kept(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.max_connections = 1;
    app_restart(a, &l);
    int held = app_ask(a, GET("/echo"), "200 OK"), crowd[150];
    for (size_t i = 0; i < 150; i++) crowd[i] = wire_connect(a->port);
    APP_UNTIL(a, net_server_get_stats(a->server)->refused == 150);
    for (size_t i = 0; i < 150; i++) {
        if (a->tls == NULL || i < 64)
            expect_answer_and_close(a, crowd[i], "503 ");
        else
            expect_cut(a, crowd[i]);
    }
    close(held);
}

static struct app *counting(void **state, size_t max) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    l.max_connections_per_address = max;
    app_restart(a, &l);
    return a;
}

static void loopback_is_not_counted_per_address(void **state) {
    struct app *a = counting(state, 1);
    int one = app_ask(a, GET("/echo"), "200 OK"), two = app_ask(a, GET("/echo"), "200 OK");
    close(one);
    close(two);
}

/* Gives up every descriptor but a few, so that accepting fails. */
static void out_of_descriptors_is_503_without_spinning(void **state) {
    struct app *a = *state;
    struct rlimit before, low;
    int held[16], filler[256];
    size_t n = 0;
    for (size_t i = 0; i < 16; i++) held[i] = wire_connect(a->port);
    getrlimit(RLIMIT_NOFILE, &before);
    low = (struct rlimit){64, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < 256 && (filler[n] = dup(0)) >= 0) n++;
    uint64_t cpu = (uint64_t)clock();
    wire_turn_for(&a->loop, 500);
    assert_true((uint64_t)clock() - cpu < CLOCKS_PER_SEC / 4);
    if (a->tls == NULL)
        expect_answer_and_close(a, held[0], "503 Service Unavailable");
    else
        expect_cut(a, held[0]);
    assert_int_equal(net_server_get_stats(a->server)->connections, 0);
    for (size_t i = 1; i < 16; i++) close(held[i]);
    while (n > 0) close(filler[--n]);
    setrlimit(RLIMIT_NOFILE, &before);
    close(app_ask(a, GET("/echo"), "200 OK"));
}

/* --- the end --- */

static void draining_finishes_what_runs_and_ends_the_rest(void **state) {
    struct app *a = *state;
    int idle = app_ask(a, GET("/echo"), "200 OK"), running = app_send(a, GET("/later"));
    APP_UNTIL(a, a->requests == 2);
    int late = wire_connect(a->port); /* still in the kernel's queue */
    wire_sends(&a->loop, late, GET("/echo"));
    net_server_drain(a->server);
    expect_answer_and_close(a, late, "200 OK");
    assert_true(wire_drain(&a->loop, idle, &a->in));
    net_reply(app_waiting(a), 200, SLICE_NONE, SLICE("the last"));
    expect_answer_and_close(a, running, "200 OK");
    assert_true(wire_has(&a->in, "the last"));
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    close(idle);
}

static void closing_ends_everything_at_once(void **state) {
    struct app *a = *state;
    int one = app_send(a, GET("/later")), two = app_send(a, GET("/stream"));
    APP_UNTIL(a, a->requests == 2);
    app_restart(a, &(struct net_server_limits)NET_SERVER_LIMITS_DEFAULT);
    assert_int_equal(a->gones, 2);
    wire_drain(&a->loop, one, &a->in);
    wire_drain(&a->loop, two, &a->in);
    assert_false(wire_has(&a->in, "\r\n0\r\n\r\n"));
    close(one);
    close(two);
}

/* --- Unix sockets --- */

static void a_unix_socket_has_its_mode_and_replaces_a_stale_one(void **state) {
    struct app *a = *state;
    char dir[] = "/tmp/anyllm-net-XXXXXX", path[64];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    memcpy(sa.sun_path, path, strlen(path));
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&sa, sizeof sa), 0);
    close(stale);
    assert_int_equal(net_server_listen_unix(a->server, path, 0600, "someone"), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(net_server_listen_unix(a->server, path, 0600, "someone") <
                0); /* it is in use now */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    wire_sends(&a->loop, fd, GET("/later"));
    APP_UNTIL(a, a->requests == 1);
    struct net_exchange *x = app_waiting(a);
    assert_true(slice_is(net_peer(x), "someone") && net_peer_is_loopback(x));
    net_reply(x, 200, SLICE_NONE, SLICE("over unix"));
    wire_expect(&a->loop, fd, &a->in, "over unix");
    close(fd);
    net_server_drain(a->server);
    assert_int_equal(access(path, F_OK), -1);
    rmdir(dir);
}

int main(int argc, char **argv) {
    app_over_tls(argc > 1 && strcmp(argv[1], "tls") == 0);
    const struct CMUnitTest tests[] = {
        APP_TEST(a_body_over_the_limit_is_413_at_its_head),
        APP_TEST(a_chunked_body_is_413_at_the_byte_that_crosses),
        APP_TEST(a_refusal_reaches_a_client_that_is_still_sending),
        APP_TEST(heads_too_large_are_refused),
        APP_TEST(a_slow_head_is_408_and_a_silent_connection_just_ends),
        APP_TEST(a_trickling_head_is_408_all_the_same),
        APP_TEST(an_idle_connection_ends_without_a_word),
        APP_TEST(a_slow_body_is_408),
        APP_TEST(a_body_fast_enough_outlives_the_grace),
        APP_TEST(a_reader_that_stalls_is_reset),
        APP_TEST(a_slow_reader_that_goes_on_is_not_reset),
        APP_TEST(one_connection_too_many_gets_503),
        APP_TEST(a_crowd_over_the_limit_is_refused_without_being_kept),
        APP_TEST(loopback_is_not_counted_per_address),
        APP_TEST(out_of_descriptors_is_503_without_spinning),
        APP_TEST(draining_finishes_what_runs_and_ends_the_rest),
        APP_TEST(closing_ends_everything_at_once),
        APP_TEST(a_unix_socket_has_its_mode_and_replaces_a_stale_one),
    };
    return cmocka_run_group_tests_name("server_limits", tests, NULL, NULL);
}
