#include "wire_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_RELAYS 256
#define PLAIN_BYTES 16384

struct relay {
    int test;       /* the test's end of the pair: the name it goes by */
    int plain, net; /* -1: closed */
    SSL *ssl;
    BIO *in, *out;
    char read[PLAIN_BYTES]; /* plain text the test has not taken */
    size_t read_bytes;
    bool said_goodbye, got_goodbye, shut; /* close_notify sent, received; FIN sent */
    int fault;
};

static struct {
    SSL_CTX *ctx;
    SSL_SESSION *session;
    size_t piece;
    struct relay *relays[MAX_RELAYS];
} w;

static void wire_tls_pump(void);

/* --- making one --- */

/* Over TCP, so that RST passes through. */
static void make_pair(int pair[2]) {
    uint16_t port;
    int listener = wire_listen(&port), one = 1;
    pair[0] = wire_connect_plain(port);
    assert_int_equal(fcntl(listener, F_SETFL, 0), 0);
    pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(pair[1] >= 0);
    for (int i = 0; i < 2; i++) setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

static void forget(struct relay *r) {
    if (r->plain >= 0) close(r->plain);
    if (r->net >= 0) close(r->net);
    SSL_free(r->ssl);
    free(r);
}

/* A place whose relay is over, or whose descriptor the test has closed and got again. */
static struct relay **place(int fd) {
    struct relay **found = NULL;
    for (size_t i = 0; i < MAX_RELAYS; i++) {
        struct relay *r = w.relays[i];
        if (r != NULL && (r->test == fd || (r->plain < 0 && r->net < 0 && r->fault == 0))) {
            assert_true(r->test != fd || r->plain < 0 || r->net < 0 || r->said_goodbye);
            forget(r);
            w.relays[i] = NULL;
        }
        if (w.relays[i] == NULL && found == NULL) found = &w.relays[i];
    }
    assert_non_null(found);
    return found;
}

static int tls_connect(uint16_t port) {
    int pair[2], one = 1;
    struct relay *r = calloc(1, sizeof *r);
    assert_non_null(r);
    int net = wire_connect_plain(port);
    setsockopt(net, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    make_pair(pair);
    wire_tls_pump(); /* lets relays see what was closed before */
    r->test = pair[0];
    r->plain = pair[1];
    r->net = net;
    r->ssl = SSL_new(w.ctx);
    r->in = BIO_new(BIO_s_mem());
    r->out = BIO_new(BIO_s_mem());
    assert_true(r->ssl != NULL && r->in != NULL && r->out != NULL);
    BIO_set_mem_eof_return(r->in, -1);
    SSL_set_bio(r->ssl, r->in, r->out);
    SSL_set_connect_state(r->ssl);
    if (w.session != NULL) SSL_set_session(r->ssl, w.session);
    *place(pair[0]) = r;
    return pair[0];
}

/* --- turning it --- */

static void reset(int *fd) {
    static const struct linger hard = {.l_onoff = 1};
    if (*fd < 0) return;
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(*fd);
    *fd = -1;
}

static void reset_both(struct relay *r) {
    reset(&r->plain);
    reset(&r->net);
}

/* Each step below is true when something moved. */

static size_t piece(size_t bytes) {
    return w.piece > 0 && w.piece < bytes ? w.piece : bytes;
}

/* -1: over. */
static ssize_t receive(int fd, char *data, size_t max) {
    ssize_t n = recv(fd, data, max, MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN ? 0 : n > 0 ? n : n == 0 ? -1 : -2;
}

static bool from_net(struct relay *r) {
    char data[PLAIN_BYTES];
    if (r->net < 0 || r->read_bytes > 0 || BIO_pending(r->in) > 0) return false;
    ssize_t n = receive(r->net, data, piece(sizeof data));
    if (n > 0) BIO_write(r->in, data, (int)n);
    if (n >= 0) return n > 0;
    if (n == -2 || !r->got_goodbye)
        reset_both(r); /* cut */
    else if (r->shut) {
        close(r->net);
        r->net = -1;
    } else
        return false;
    return true;
}

static bool open_records(struct relay *r) {
    if (r->net < 0 || r->read_bytes > 0 || r->got_goodbye) return false;
    ERR_clear_error();
    int n = SSL_read(r->ssl, r->read, sizeof r->read);
    if (n > 0) {
        r->read_bytes = (size_t)n;
        return true;
    }
    int error = SSL_get_error(r->ssl, n);
    if (error == SSL_ERROR_ZERO_RETURN) {
        r->got_goodbye = true;
        if (r->plain >= 0) shutdown(r->plain, SHUT_WR);
        return true;
    }
    if (error == SSL_ERROR_WANT_READ) return false;
    r->fault = ERR_GET_REASON(ERR_peek_last_error());
    reset_both(r);
    return true;
}

static bool to_test(struct relay *r) {
    if (r->read_bytes == 0) return false;
    ssize_t n = r->plain >= 0 ? send(r->plain, r->read, r->read_bytes, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : -1;
    if (n < 0 && r->plain >= 0 && errno == EAGAIN) return false;
    if (n < 0) {
        r->read_bytes = 0;
        reset_both(r);
        return true;
    }
    memmove(r->read, r->read + n, r->read_bytes - (size_t)n);
    r->read_bytes -= (size_t)n;
    return n > 0;
}

static bool from_test(struct relay *r) {
    char data[PLAIN_BYTES];
    if (r->plain < 0 || r->net < 0 || r->said_goodbye || BIO_pending(r->out) > 0 ||
        !SSL_is_init_finished(r->ssl))
        return false;
    ssize_t n = receive(r->plain, data, sizeof data);
    if (n > 0) assert_int_equal(SSL_write(r->ssl, data, (int)n), n);
    if (n == -2) reset_both(r);
    if (n != -1) return n != 0;
    SSL_shutdown(r->ssl);
    r->said_goodbye = true;
    return true;
}

static bool to_net(struct relay *r) {
    char *data, drop[PLAIN_BYTES];
    size_t len = (size_t)BIO_get_mem_data(r->out, &data);
    if (r->net < 0) return false;
    if (len == 0) {
        if (!r->said_goodbye || r->shut) return false;
        shutdown(r->net, SHUT_WR);
        return r->shut = true;
    }
    ssize_t n = send(r->net, data, piece(len < sizeof drop ? len : sizeof drop),
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0) { /* what the server said before is still to be read */
        BIO_reset(r->out);
        r->said_goodbye = r->shut = true;
        return true;
    }
    BIO_read(r->out, drop, (int)n);
    return true;
}

static bool turn(struct relay *r) {
    bool moved = from_net(r);
    moved |= open_records(r);
    moved |= to_test(r);
    moved |= from_test(r);
    moved |= to_net(r);
    return moved;
}

static void wire_tls_pump(void) {
    for (size_t i = 0; i < MAX_RELAYS; i++) {
        struct relay *r = w.relays[i];
        while (r != NULL && turn(r))
            if (w.piece > 0) break;
    }
}

/* --- the face --- */

void wire_tls_use(SSL_CTX *ctx) {
    w.ctx = ctx;
    wire_pump = wire_tls_pump;
    wire_connect_other = ctx != NULL ? tls_connect : NULL;
}

void wire_tls_piece(size_t bytes) {
    w.piece = bytes;
}

void wire_tls_resume(SSL_SESSION *session) {
    w.session = session;
}

static struct relay *find(int fd) {
    for (size_t i = 0; i < MAX_RELAYS; i++)
        if (w.relays[i] != NULL && w.relays[i]->test == fd) return w.relays[i];
    fail_msg("%d does not speak TLS", fd);
    return NULL;
}

SSL *wire_tls_ssl(int fd) {
    return find(fd)->ssl;
}

int wire_tls_socket(int fd) {
    return find(fd)->net;
}

int wire_tls_fault(int fd) {
    return find(fd)->fault;
}

void wire_tls_end(void) {
    for (size_t i = 0; i < MAX_RELAYS; i++)
        if (w.relays[i] != NULL) {
            forget(w.relays[i]);
            w.relays[i] = NULL;
        }
    w.piece = 0;
    w.session = NULL;
    wire_tls_use(NULL);
}
