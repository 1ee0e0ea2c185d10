#include "certs.h"
#include "upstream.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum ending { GOODBYE, NO_GOODBYE };

/* A blocking TLS server in a thread of its own, for a given number of connections. */
struct peer {
    SSL_CTX *ctx;
    int listener, connections;
    unsigned requests;  /* per connection */
    const char *answer; /* NULL: none, it just waits for the client to leave */
    size_t body_bytes;  /* 'z's behind the answer */
    enum ending ending;
    unsigned resumed, http11;
    uv_thread_t thread;
};

struct tls_case {
    struct up *up;
    struct cert ca, leaf;
    struct peer peer;
    char dir[40], ca_path[64];
};

static int pick_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                     const unsigned char *in, unsigned inlen, void *arg) {
    struct peer *p = arg;
    if (inlen == 9 && memcmp(in, "\x08http/1.1", 9) == 0) p->http11++;
    *out = in + 1;
    *len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static bool read_request(SSL *ssl) {
    char data[4096];
    size_t used = 0;
    while (used < sizeof data) {
        int n = SSL_read(ssl, data + used, (int)(sizeof data - used));
        if (n <= 0) return false;
        used += (size_t)n;
        if (memmem(data, used, "{\"a\":1}", 7) != NULL) return true;
    }
    return false;
}

static void answer(struct peer *p, SSL *ssl) {
    char block[4000];
    memset(block, 'z', sizeof block);
    SSL_write(ssl, p->answer, (int)strlen(p->answer));
    for (size_t left = p->body_bytes; left > 0;) {
        size_t n = left < sizeof block ? left : sizeof block;
        if (SSL_write(ssl, block, (int)n) <= 0) return;
        left -= n;
    }
}

static void talk(struct peer *p, int fd) {
    SSL *ssl = SSL_new(p->ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        p->resumed += SSL_session_reused(ssl) ? 1 : 0;
        bool more = true;
        for (unsigned i = 0; i < p->requests && more; i++)
            if ((more = read_request(ssl)) && p->answer != NULL) answer(p, ssl);
        if (p->ending == GOODBYE) SSL_shutdown(ssl);
    }
    shutdown(fd, SHUT_WR);
    char drop[4096];
    while (recv(fd, drop, sizeof drop, 0) > 0) continue;
    SSL_free(ssl);
    close(fd);
}

static void serve(void *arg) {
    struct peer *p = arg;
    for (int i = 0; i < p->connections; i++) {
        int fd = accept(p->listener, NULL, NULL);
        if (fd < 0) return;
        talk(p, fd);
    }
}

static int set_up(void **state) {
    struct tls_case *t = calloc(1, sizeof *t);
    void *up = NULL;
    if (t == NULL || up_set_up(&up) != 0) return -1;
    *state = t;
    t->up = up;
    snprintf(t->dir, sizeof t->dir, "/tmp/anyllm-tls-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->ca_path, sizeof t->ca_path, "%s/ca.pem", t->dir);
    t->ca = cert_make("Test CA", NULL, NULL, -1, 1);
    cert_write(&t->ca, t->ca_path);
    t->up->tls = net_tls_new(t->ca_path);
    assert_non_null(t->up->tls);
    t->peer = (struct peer){.requests = 1, .connections = 1, .answer = UP_OK};
    return 0;
}

/* The peer with this certificate, and an origin that reaches it as `host`. */
static void start(struct tls_case *t, struct cert leaf, const char *host) {
    struct up *u = t->up;
    t->leaf = leaf;
    t->peer.ctx = SSL_CTX_new(TLS_server_method());
    t->peer.listener = u->listener;
    assert_int_equal(SSL_CTX_use_certificate(t->peer.ctx, leaf.x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(t->peer.ctx, leaf.key), 1);
    SSL_CTX_set_alpn_select_cb(t->peer.ctx, pick_alpn, &t->peer);
    fcntl(u->listener, F_SETFL, 0);
    up_origin(u, &(struct net_origin_options){.host = host, .port = u->port, .tls = u->tls});
    assert_int_equal(uv_thread_create(&t->peer.thread, serve, &t->peer), 0);
}

static int tear_down(void **state) {
    struct tls_case *t = *state;
    void *up = t->up;
    net_origin_free(t->up->origin);
    t->up->origin = NULL;
    if (t->peer.ctx != NULL) {
        wire_turn_for(&t->up->loop, 5); /* closes our ends */
        shutdown(t->up->listener, SHUT_RDWR);
        uv_thread_join(&t->peer.thread);
        SSL_CTX_free(t->peer.ctx);
    }
    int r = up_tear_down(&up);
    unlink(t->ca_path);
    rmdir(t->dir);
    cert_free(&t->ca);
    cert_free(&t->leaf);
    free(t);
    return r;
}

static struct cert good(const struct tls_case *t) {
    return cert_make("peer", "DNS:localhost,IP:127.0.0.1", &t->ca, -1, 1);
}

static void a_good_certificate_is_accepted_and_the_connection_kept(void **state) {
    struct tls_case *t = *state;
    struct up *u = t->up;
    t->peer.requests = 3;
    start(t, good(t), "localhost");
    for (size_t i = 0; i < 3; i++) {
        struct record *r = up_post(u, i);
        up_end(u, r, NET_OK);
        assert_true(slice_is(buf_slice(&r->body), "ok"));
        assert_int_equal(r->end.reused, i > 0);
    }
    assert_int_equal(t->peer.http11, 1);
}

static void an_address_is_checked_as_an_address(void **state) {
    struct tls_case *t = *state;
    start(t, good(t), "127.0.0.1");
    up_end(t->up, up_post(t->up, 0), NET_OK);
}

static void refused(struct tls_case *t, struct cert leaf, const char *host, const char *detail) {
    start(t, leaf, host);
    struct record *r = up_post(t->up, 0);
    up_end(t->up, r, NET_TLS);
    assert_false(r->end.sent);
    if (strcasestr(r->end.detail, detail) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", r->end.detail, detail);
}

static void a_certificate_for_another_name_is_refused(void **state) {
    struct tls_case *t = *state;
    refused(t, cert_make("localhost", "DNS:other.example", &t->ca, -1, 1), "localhost",
            "hostname mismatch");
}

static void a_certificate_for_another_address_is_refused(void **state) {
    struct tls_case *t = *state;
    refused(t, cert_make("127.0.0.1", "DNS:localhost", &t->ca, -1, 1), "127.0.0.1",
            "IP address mismatch");
}

static void a_certificate_of_another_authority_is_refused(void **state) {
    struct tls_case *t = *state;
    struct cert other = cert_make("Other CA", NULL, NULL, -1, 1);
    struct cert leaf = cert_make("peer", "DNS:localhost", &other, -1, 1);
    cert_free(&other);
    refused(t, leaf, "localhost", "unable to get local issuer");
}

static void a_self_signed_certificate_is_refused(void **state) {
    struct tls_case *t = *state;
    refused(t, cert_make("localhost", "DNS:localhost", NULL, -1, 1), "localhost", "self-signed");
}

static void an_expired_certificate_is_refused(void **state) {
    struct tls_case *t = *state;
    refused(t, cert_make("peer", "DNS:localhost", &t->ca, -3, -1), "localhost", "expired");
}

static void a_plain_server_is_a_tls_fault(void **state) {
    struct tls_case *t = *state;
    struct up *u = t->up;
    up_origin(u, &(struct net_origin_options){.host = "localhost", .port = u->port, .tls = u->tls});
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    wire_sends(&u->loop, fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    up_end(u, r, NET_TLS);
    close(fd);
    r = up_post(u, 1);
    fd = up_accept(u);
    wire_turn_for(&u->loop, 10);
    close(fd); /* in the middle of the handshake */
    up_end(u, r, NET_TLS);
}

static void a_handshake_that_does_not_come_has_the_connect_deadline(void **state) {
    struct tls_case *t = *state;
    struct up *u = t->up;
    u->deadlines.connect_ms = 60;
    up_origin(u, &(struct net_origin_options){.host = "localhost", .port = u->port, .tls = u->tls});
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_end(u, r, NET_CONNECT_TIMEOUT);
    close(fd);
}

static void a_large_answer_comes_whole_also_when_paused(void **state) {
    struct tls_case *t = *state;
    struct up *u = t->up;
    t->peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n";
    t->peer.body_bytes = 3000000;
    u->r[0].pause_in_body = true;
    start(t, good(t), "localhost");
    struct record *r = up_post(u, 0);
    for (size_t seen = 0; r->ends == 0; net_call_resume(r->call)) {
        UP_UNTIL(u, r->pieces > seen || r->ends > 0);
        if (r->ends > 0) break;
        seen = r->pieces;
        wire_turn_for(&u->loop, 3);
        assert_int_equal(r->pieces, seen); /* nothing comes while paused */
    }
    up_end(u, r, NET_OK);
    assert_int_equal(buf_len(&r->body), 3000000);
}

/* A body that ends with the connection: only TLS's goodbye tells the end from a cut. */
static void an_end_without_goodbye_is_a_cut(void **state) {
    struct tls_case *t = *state;
    t->peer.answer = "HTTP/1.0 200 OK\r\n\r\nsome";
    t->peer.ending = NO_GOODBYE;
    start(t, good(t), "localhost");
    up_end(t->up, up_post(t->up, 0), NET_CUT);
}

static void an_end_with_goodbye_is_an_end(void **state) {
    struct tls_case *t = *state;
    t->peer.answer = "HTTP/1.0 200 OK\r\n\r\nsome";
    start(t, good(t), "localhost");
    up_end(t->up, up_post(t->up, 0), NET_OK);
    assert_true(slice_is(buf_slice(&t->up->r[0].body), "some"));
}

static void the_next_connection_resumes_the_session(void **state) {
    struct tls_case *t = *state;
    t->peer.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    t->peer.connections = 2;
    start(t, good(t), "localhost");
    up_end(t->up, up_post(t->up, 0), NET_OK);
    up_end(t->up, up_post(t->up, 1), NET_OK);
    assert_int_equal(t->peer.resumed, 1);
}

static void a_kept_connection_that_closed_is_replaced_over_tls_too(void **state) {
    struct tls_case *t = *state;
    t->peer.connections = 2;
    start(t, good(t), "localhost");
    up_end(t->up, up_post(t->up, 0), NET_OK);
    up_end(t->up, up_post(t->up, 1), NET_OK);
    assert_false(t->up->r[1].end.reused);
}

static void a_missing_ca_file_is_an_error(void **state) {
    assert_null(net_tls_new("/nonexistent/ca.pem"));
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_good_certificate_is_accepted_and_the_connection_kept),
        T(an_address_is_checked_as_an_address),
        T(a_certificate_for_another_name_is_refused),
        T(a_certificate_for_another_address_is_refused),
        T(a_certificate_of_another_authority_is_refused),
        T(a_self_signed_certificate_is_refused),
        T(an_expired_certificate_is_refused),
        T(a_plain_server_is_a_tls_fault),
        T(a_handshake_that_does_not_come_has_the_connect_deadline),
        T(a_large_answer_comes_whole_also_when_paused),
        T(an_end_without_goodbye_is_a_cut),
        T(an_end_with_goodbye_is_an_end),
        T(the_next_connection_resumes_the_session),
        T(a_kept_connection_that_closed_is_replaced_over_tls_too),
        T(a_missing_ca_file_is_an_error),
    };
    return cmocka_run_group_tests_name("client_tls", tests, NULL, NULL);
}
