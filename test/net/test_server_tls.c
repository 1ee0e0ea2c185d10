/* What only TLS has; the server's other scenarios run over TLS in test_server and test_server_limits ("tls"). */
#include "app.h"
#include "wire_tls.h"

#include <fcntl.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/tls.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct net_server_limits limits(void) {
    return (struct net_server_limits)NET_SERVER_LIMITS_DEFAULT;
}

static void again(struct app *a, int fd, const char *text, const char *expected) {
    buf_reset(&a->in, SIZE_MAX);
    wire_sends(&a->loop, fd, text);
    wire_expect(&a->loop, fd, &a->in, expected);
}

static void only(struct app *a, int version) {
    assert_int_equal(SSL_CTX_set_min_proto_version(a->client, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(a->client, version), 1);
}

/* The handshake fails, as the client sees it, for this reason; nothing of it reaches the application. */
static void expect_fault(struct app *a, int reason) {
    int fd = app_send(a, "");
    APP_UNTIL(a, wire_tls_fault(fd) != 0);
    if (wire_tls_fault(fd) != reason)
        fail_msg("%s", ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, wire_tls_fault(fd))));
    close(fd);
    assert_int_equal(a->heads + a->faults, 0);
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
}

/* --- what is spoken --- */

static void speaks_1_2_and_1_3_and_nothing_older(void **state) {
    struct app *a = *state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    assert_int_equal(SSL_CTX_set_cipher_list(a->client, "DEFAULT@SECLEVEL=0"), 1);
    only(a, TLS1_1_VERSION);
    expect_fault(a, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    for (size_t i = 0; i < 2; i++) {
        only(a, versions[i]);
        int fd = app_ask(a, GET("/echo"), "200 OK");
        assert_int_equal(SSL_version(wire_tls_ssl(fd)), versions[i]);
        assert_null(SSL_get_current_compression(wire_tls_ssl(fd)));
        close(fd);
    }
}

/* Keys of a session must not follow from the certificate's key; no padding oracles. */
static void ciphers_without_forward_secrecy_or_authentication_are_refused(void **state) {
    struct app *a = *state;
    static const char *const weak[] = {"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256",
                                       "AES128-GCM-SHA256", "AES128-SHA"};
    only(a, TLS1_2_VERSION);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(SSL_CTX_set_cipher_list(a->client, weak[i]), 1);
        expect_fault(a, SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
    }
}

static void renegotiation_is_refused(void **state) {
    struct app *a = *state;
    only(a, TLS1_2_VERSION);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    SSL *ssl = wire_tls_ssl(fd);
    assert_int_equal(SSL_renegotiate(ssl), 1);
    SSL_do_handshake(ssl);
    wire_turn_for(&a->loop, 30);
    assert_int_equal(wire_tls_fault(fd), SSL_R_NO_RENEGOTIATION);
    close(fd);
}

static void new_keys_of_tls_1_3_are_taken(void **state) {
    struct app *a = *state;
    only(a, TLS1_3_VERSION);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(wire_tls_ssl(fd), SSL_KEY_UPDATE_REQUESTED), 1);
        again(a, fd, GET("/echo"), "200 OK");
    }
    close(fd);
}

/* RFC 7301: a client that names protocols and not ours gets no_application_protocol. */
static void alpn_is_http_1_1_or_none(void **state) {
    struct app *a = *state;
    static const struct {
        const char *offer;
        unsigned chosen;
    } rows[] = {
        {"", 0}, {"\x08http/1.1", 8}, {"\x02h2\x08http/1.1", 8}, {"\x08http/1.0\x08http/1.1", 8}};
    const unsigned char *chosen;
    unsigned len;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *offer = rows[i].offer;
        SSL_CTX_set_alpn_protos(a->client, (const unsigned char *)offer, (unsigned)strlen(offer));
        int fd = app_ask(a, GET("/echo"), "200 OK");
        SSL_get0_alpn_selected(wire_tls_ssl(fd), &chosen, &len);
        assert_int_equal(len, rows[i].chosen);
        close(fd);
    }
    a->heads = a->dones = 0;
    SSL_CTX_set_alpn_protos(a->client, (const unsigned char *)"\x02h2", 3);
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    expect_fault(a, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
}

/* --- resumption --- */

static SSL_SESSION *newest;

static int on_ticket(SSL *ssl, SSL_SESSION *session) {
    SSL_SESSION_free(newest);
    newest = session;
    return 1;
}

/* One request with the newest ticket; true when the session was resumed. */
static bool ask_resumed(struct app *a) {
    wire_tls_resume(newest);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    bool resumed = SSL_session_reused(wire_tls_ssl(fd)) == 1;
    shutdown(fd, SHUT_WR); /* a goodbye: without one OpenSSL spoils the session */
    assert_true(wire_drain(&a->loop, fd, &a->in));
    close(fd);
    return resumed;
}

static void resumes(struct app *a, int version) {
    char why[256];
    only(a, version);
    SSL_CTX_set_session_cache_mode(a->client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(a->client, on_ticket);
    assert_false(ask_resumed(a));
    assert_non_null(newest);
    assert_int_equal(SSL_SESSION_get_max_early_data(newest), 0);
    for (int i = 0; i < 3; i++) assert_true(ask_resumed(a));
    net_tls_server_renew(a->tls, net_now_ms(&a->loop) + 11 * 3600 * 1000);
    assert_true(ask_resumed(a));
    net_tls_server_renew(a->tls, net_now_ms(&a->loop) + 13 * 3600 * 1000);
    assert_false(ask_resumed(a));
    assert_true(net_tls_server_reload(a->tls, why, sizeof why));
    assert_false(ask_resumed(a));
    assert_true(ask_resumed(a));
    SSL_SESSION_free(newest);
    newest = NULL;
    wire_tls_resume(NULL);
}

static void a_session_of_1_2_is_resumed_until_the_keys_change(void **state) {
    resumes(*state, TLS1_2_VERSION);
}

static void a_session_of_1_3_is_resumed_until_the_keys_change(void **state) {
    resumes(*state, TLS1_3_VERSION);
}

/* --- clients that do not speak TLS, or not to the end --- */

static void plain_http_is_told_that_this_is_an_https_address(void **state) {
    struct app *a = *state;
    static const char *const requests[] = {
        GET("/echo"), "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"};
    wire_tls_use(NULL);
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&a->in, SIZE_MAX);
        int fd = app_send(a, requests[i]);
        assert_true(wire_drain(&a->loop, fd, &a->in));
        assert_true(wire_has(&a->in, "HTTP/1.1 400 Bad Request\r\n"));
        assert_true(wire_has(&a->in, "\r\nConnection: close\r\n"));
        assert_true(wire_has(&a->in, "https"));
        assert_int_equal(wire_count(&a->in, "HTTP/1.1 "), 1);
        close(fd);
    }
    int fd = app_send(a, "G");
    assert_true(wire_drain(&a->loop, fd, &a->in));
    close(fd);
    assert_int_equal(a->heads, 0);
}

static void a_handshake_that_is_not_finished_has_the_deadline_of_a_head(void **state) {
    struct app *a = *state;
    struct net_server_limits l = limits();
    char hello[] = "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03 and 32 bytes that are random";
    l.head_ms = 80;
    app_restart(a, &l);
    wire_tls_use(NULL);
    int silent = app_send(a, ""), half = app_send(a, hello), slow = app_send(a, "");
    bool open = true;
    for (size_t i = 0; i < 1000 && open; i++) { /* a byte now and then does not buy time */
        wire_send(&a->loop, slow, slice_make(hello + i % 20, 1));
        wire_turn_for(&a->loop, 20);
        open = wire_read(slow, &a->in, NULL);
    }
    assert_false(open);
    wire_drain(&a->loop, half, &a->in);
    wire_drain(&a->loop, silent, &a->in);
    wire_tls_use(a->client);
    int done = app_send(a, ""); /* the handshake, then nothing */
    assert_true(wire_drain(&a->loop, done, &a->in));
    assert_int_equal(a->faults, 0);
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    close(silent);
    close(half);
    close(slow);
    close(done);
}

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

static void send_garbage(struct app *a, struct slice data) {
    int fd = wire_connect(a->port);
    wire_send(&a->loop, fd, data);
    shutdown(fd, SHUT_WR);
    wire_drain(&a->loop, fd, &a->in);
    close(fd);
    buf_reset(&a->in, SIZE_MAX);
}

/* A hello of a client, with bytes changed, cut short or sent twice. */
static void survives_garbage_and_mutated_hellos(void **state) {
    struct app *a = *state;
    SSL *ssl = SSL_new(a->client);
    BIO *out = BIO_new(BIO_s_mem());
    unsigned char hello[4096];
    uint64_t seed = 88172645463325252ULL;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_connect(ssl);
    int len = BIO_read(out, hello, sizeof hello);
    SSL_free(ssl);
    assert_true(len > 100);
    wire_tls_use(NULL);
    for (int i = 0; i < 600; i++) {
        char mutant[4096];
        size_t n = (size_t)len;
        memcpy(mutant, hello, n);
        for (uint64_t k = next_random(&seed) % 4; k > 0; k--)
            mutant[next_random(&seed) % n] = (char)next_random(&seed);
        if (i % 3 == 0) n = next_random(&seed) % n;
        if (i % 3 == 1) memcpy(mutant + n, hello, n), n *= 2;
        send_garbage(a, slice_make(mutant, n));
    }
    for (int first = 0; first < 256; first++) {
        char noise[64];
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (char)next_random(&seed);
        noise[0] = (char)first;
        send_garbage(a, slice_make(noise, sizeof noise));
    }
    APP_UNTIL(a, net_server_get_stats(a->server)->connections == 0);
    assert_int_equal(a->heads, 0);
    assert_true(a->faults >= 26); /* capital letters */
    wire_tls_use(a->client);
    close(app_ask(a, GET("/echo"), "200 OK"));
}

/* --- bytes --- */

static void records_may_come_byte_by_byte(void **state) {
    struct app *a = *state;
    wire_tls_piece(1);
    int fd = app_ask(a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world",
                     "\r\n\r\nhello world");
    again(a, fd, GET("/two"), "X-Path: /two");
    close(fd);
}

static void large_bodies_travel_whole_both_ways(void **state) {
    struct app *a = *state;
    static const size_t sizes[] = {16000, 16384, 65536, 70001, 24U << 20};
    uint64_t seed = 1;
    struct buf all;
    buf_init(&all, 32U << 20);
    int fd = wire_connect(a->port);
    for (size_t i = 0; i < 5; i++) {
        buf_reset(&all, SIZE_MAX);
        buf_reset(&a->in, SIZE_MAX);
        buf_printf(&all, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        size_t head = buf_len(&all);
        while (buf_len(&all) < head + sizes[i]) buf_addc(&all, (char)next_random(&seed));
        wire_send(&a->loop, fd, buf_slice(&all));
        wire_expect(&a->loop, fd, &a->in, "\r\n\r\n");
        const char *end = memmem(a->in.base, buf_len(&a->in), "\r\n\r\n", 4);
        size_t answer_head = (size_t)(end + 4 - a->in.base);
        APP_UNTIL(a, wire_read(fd, &a->in, NULL) && buf_len(&a->in) >= answer_head + sizes[i]);
        assert_int_equal(buf_len(&a->in), answer_head + sizes[i]);
        assert_memory_equal(a->in.base + answer_head, all.base + head, sizes[i]);
    }
    close(fd);
    buf_free(&all);
}

/* The buffers of TLS are shared by all connections: nothing of one may reach another. */
static void many_streams_do_not_mix(void **state) {
    struct app *a = *state;
    enum { N = 20 };
    uint64_t ids[N];
    int fds[N];
    char line[64];
    for (unsigned i = 0; i < N; i++) {
        fds[i] = app_ask(a, GET("/stream"), "first");
        ids[i] = a->waiting;
    }
    for (unsigned n = 0; n < 50; n++)
        for (unsigned i = 0; i < N; i++) {
            snprintf(line, sizeof line, "<stream %u event %u>", i, n);
            net_stream_write(net_exchange_find(a->server, ids[i]), slice_of(line));
        }
    for (unsigned i = 0; i < N; i++) {
        net_stream_end(net_exchange_find(a->server, ids[i]));
        buf_reset(&a->in, SIZE_MAX);
        wire_expect(&a->loop, fds[i], &a->in, "\r\n0\r\n\r\n");
        snprintf(line, sizeof line, "<stream %u event ", i);
        assert_int_equal(wire_count(&a->in, line), 50);
        assert_int_equal(wire_count(&a->in, "<stream "), 50);
        close(fds[i]);
    }
}

/* --- ends --- */

/* FIN without close_notify may be anybody's: a request it ends was cut, a whole one's client has left. */
static void a_cut_without_goodbye_is_gone(void **state) {
    struct app *a = *state;
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel", GET("/later"),
        GET("/stream")};
    for (unsigned i = 0; i < 3; i++) {
        int fd = app_send(a, requests[i]);
        APP_UNTIL(a, a->heads == i + 1 && a->requests == i);
        shutdown(wire_tls_socket(fd), SHUT_WR);
        APP_UNTIL(a, a->gones == i + 1);
        assert_int_equal(a->dones, 0);
        assert_false(wire_drain(&a->loop, fd, &a->in));
        close(fd);
    }
    a->big = 30U << 20;
    int fd = app_send(a, GET("/big")); /* of which it does not take all */
    APP_UNTIL(a, a->requests == 3);
    wire_turn_for(&a->loop, 30);
    shutdown(wire_tls_socket(fd), SHUT_WR);
    APP_UNTIL(a, a->gones == 4);
    close(fd);
}

static void a_goodbye_is_answered_with_one(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, GET("/echo"), "200 OK");
    shutdown(fd, SHUT_WR);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    close(fd);
    fd = app_send(a, "");
    wire_turn_for(&a->loop, 20);
    shutdown(fd, SHUT_WR);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    close(fd);
}

/* An answer that ends with the connection must not look whole when the server is closed in its middle. */
static void closing_in_the_middle_of_an_answer_is_no_goodbye(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, "GET /stream HTTP/1.0\r\n\r\n", "first");
    app_restart(a, &(struct net_server_limits)NET_SERVER_LIMITS_DEFAULT);
    assert_int_equal(a->gones, 1);
    assert_false(wire_drain(&a->loop, fd, &a->in));
    close(fd);
}

static void a_broken_record_ends_the_connection(void **state) {
    struct app *a = *state;
    int fd = app_ask(a, GET("/stream"), "first");
    static const char record[] = "\x17\x03\x03\x00\x20 thirty-two bytes nobody sealed..";
    wire_send(&a->loop, wire_tls_socket(fd), slice_make(record, 37));
    APP_UNTIL(a, a->gones == 1);
    close(fd);
}

/* --- memory --- */

static void hold_connections(struct app *a, int n, int until) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char answer[1024];
    for (int i = 0; i < n; i++) {
        SSL *ssl = SSL_new(ctx);
        int fd = wire_connect_plain(a->port);
        fcntl(fd, F_SETFL, 0);
        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) != 1 || SSL_write(ssl, GET("/echo"), sizeof GET("/echo") - 1) <= 0 ||
            SSL_read(ssl, answer, sizeof answer) <= 0)
            _exit(1);
    }
    ssize_t ignored = read(until, answer, 1);
    _exit(ignored > 0);
}

/* 14 KB are OpenSSL's, 5 KB ours; its buffers would be 34 KB more. */
static void an_idle_connection_holds_little_memory(void **state) {
    struct app *a = *state;
    enum { N = 50 };
    int end[2], status;
    size_t before = mallinfo2().uordblks;
    if (before == 0) { /* a sanitizer's malloc */
        printf("skip: the allocator does not count\n");
        skip();
    }
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        hold_connections(a, N, end[0]);
    }
    close(end[0]);
    APP_UNTIL(a, a->dones == N);
    size_t each = (mallinfo2().uordblks - before) / N;
    if (each > 26000) fail_msg("%zu bytes for each", each);
    close(end[1]);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

int main(void) {
    app_over_tls(true);
    const struct CMUnitTest tests[] = {
        APP_TEST(speaks_1_2_and_1_3_and_nothing_older),
        APP_TEST(ciphers_without_forward_secrecy_or_authentication_are_refused),
        APP_TEST(renegotiation_is_refused),
        APP_TEST(new_keys_of_tls_1_3_are_taken),
        APP_TEST(alpn_is_http_1_1_or_none),
        APP_TEST(a_session_of_1_2_is_resumed_until_the_keys_change),
        APP_TEST(a_session_of_1_3_is_resumed_until_the_keys_change),
        APP_TEST(plain_http_is_told_that_this_is_an_https_address),
        APP_TEST(a_handshake_that_is_not_finished_has_the_deadline_of_a_head),
        APP_TEST(survives_garbage_and_mutated_hellos),
        APP_TEST(records_may_come_byte_by_byte),
        APP_TEST(large_bodies_travel_whole_both_ways),
        APP_TEST(many_streams_do_not_mix),
        APP_TEST(a_cut_without_goodbye_is_gone),
        APP_TEST(a_goodbye_is_answered_with_one),
        APP_TEST(closing_in_the_middle_of_an_answer_is_no_goodbye),
        APP_TEST(a_broken_record_ends_the_connection),
        APP_TEST(an_idle_connection_holds_little_memory),
    };
    return cmocka_run_group_tests_name("server_tls", tests, NULL, NULL);
}
