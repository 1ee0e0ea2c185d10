#include "net/tls_pump.h"

#include <openssl/err.h>
#include <stdlib.h>

/* --- between OpenSSL and the socket --- */

static void flush(struct net_tls_session *t, int *status) {
    struct tls_scratch *s = t->scratch;
    if (s->sealed_bytes == 0) return;
    uv_buf_t part = uv_buf_init(s->sealed, (unsigned)s->sealed_bytes);
    s->sealed_bytes = 0;
    int r = net_conn_write_raw(t->conn, &part, 1);
    if (r < 0 && status != NULL) *status = r;
}

static int bio_write(BIO *b, const char *data, int len) {
    struct net_tls_session *t = BIO_get_data(b);
    struct tls_scratch *s = t->scratch;
    int status = 0;
    BIO_clear_retry_flags(b);
    for (size_t at = 0, all = (size_t)len; at < all && status == 0;) {
        size_t room = sizeof s->sealed - s->sealed_bytes, take = all - at < room ? all - at : room;
        memcpy(s->sealed + s->sealed_bytes, data + at, take);
        s->sealed_bytes += take;
        at += take;
        if (s->sealed_bytes == sizeof s->sealed) flush(t, &status);
    }
    return status == 0 ? len : -1;
}

static int bio_read(BIO *b, char *out, int max) {
    struct net_tls_session *t = BIO_get_data(b);
    size_t n = t->in.len < (size_t)max ? t->in.len : (size_t)max;
    BIO_clear_retry_flags(b);
    if (n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(out, t->in.ptr, n);
    t->in = slice_from(t->in, n);
    return (int)n;
}

static long bio_ctrl(BIO *b, int command, long number, void *arg) {
    return command == BIO_CTRL_FLUSH;
}

/* The one table of these functions in the process, the same for all; BIOs may outlive any settings. */
static BIO_METHOD *method;

static void make_method(void) {
    method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "net_conn");
    if (method == NULL) return;
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

/* --- beginning and end --- */

struct net_tls_session *tls_attach(struct net_conn *c, struct tls_scratch *scratch) {
    struct net_tls_session *t = calloc(1, sizeof *t);
    if (t == NULL) return NULL;
    *t = (struct net_tls_session){.conn = c, .scratch = scratch};
    c->tls = t;
    return t;
}

bool tls_start(struct net_tls_session *t, SSL_CTX *ctx) {
    static uv_once_t once = UV_ONCE_INIT;
    uv_once(&once, make_method);
    t->ssl = method != NULL ? SSL_new(ctx) : NULL;
    BIO *b = t->ssl != NULL ? BIO_new(method) : NULL;
    if (b == NULL) return false;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(t->ssl, b, b);
    return true;
}

void net_tls_drop(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    if (t == NULL) return;
    c->tls = NULL;
    /* OpenSSL takes a session without a goodbye for broken and spoils its ticket; what was cut HTTP itself sees. */
    if (t->secure) SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    free(t);
}

const char *tls_why(SSL *ssl) {
    long verdict = ssl != NULL ? SSL_get_verify_result(ssl) : X509_V_OK;
    unsigned long error = ERR_peek_last_error();
    const char *reason = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                                              : ERR_reason_error_string(error);
    ERR_clear_error();
    return reason != NULL ? reason : "TLS failed";
}

/* SSL_get_error looks for errors of this call alone; there are hardly ever any old ones, and looking is cheaper. */
static void clear_errors(void) {
    if (ERR_peek_error() != 0) ERR_clear_error();
}

/* --- events --- */

/* A hook may have closed the connection or taken TLS off it; then t is gone. */
static bool goes_on(const struct net_conn *c, const struct net_tls_session *t) {
    return c->tls == t && !c->closing && !c->ended;
}

static void fail(struct net_conn *c, const char *reason) {
    if (c->ended || c->closing) return;
    net_tls_drop(c);
    c->hooks->on_secure(c, reason);
}

bool tls_handshake(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    clear_errors();
    int r = SSL_do_handshake(t->ssl);
    int error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
    const char *reason = error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ ? NULL
                                                                                 : tls_why(t->ssl);
    flush(t, NULL); /* also the alert that says what we refused */
    if (reason != NULL) {
        fail(c, reason);
        return false;
    }
    if (r != 1) return false;
    t->secure = true;
    c->hooks->on_secure(c, NULL);
    return goes_on(c, t);
}

/* OpenSSL takes no more than the record it hands out, so there is none left when nothing is. */
static void read_plain(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    for (;;) {
        clear_errors();
        int n = SSL_read(t->ssl, t->scratch->plain, TLS_RECORD_BYTES);
        int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
        bool broken = error != SSL_ERROR_NONE && error != SSL_ERROR_ZERO_RETURN &&
                      error != SSL_ERROR_WANT_READ;
        const char *reason = broken ? tls_why(t->ssl) : NULL;
        flush(t, NULL); /* an alert, or the answer to an update of keys */
        if (broken)
            fail(c, reason);
        else if (error == SSL_ERROR_ZERO_RETURN)
            net_conn_fail(c, UV_EOF);
        if (n <= 0) return;
        c->hooks->on_data(c, t->scratch->plain, (size_t)n);
        if (!goes_on(c, t) || t->in.len == 0) return;
    }
}

static void broken_off(struct net_conn *c, int status) {
    struct net_tls_session *t = c->tls;
    if (t->server == NULL && !t->secure)
        fail(c, "closed during the handshake");
    else
        net_conn_fail(c, status == UV_EOF ? UV_ECONNRESET : status);
}

void net_tls_received(struct net_conn *c, const char *data, ssize_t len) {
    struct net_tls_session *t = c->tls;
    if (len < 0) {
        broken_off(c, (int)len);
        return;
    }
    if (t->ssl == NULL && !tls_greet(c, data)) return;
    t->in = slice_make(data, (size_t)len);
    if (t->secure || tls_handshake(c)) read_plain(c);
    if (c->tls == t) t->in = SLICE_NONE; /* all of it was taken, or nobody wants the rest */
}

/* --- writing --- */

/* Parts as few records: a head and its body leave as one when they fit. */
int net_tls_write(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    struct net_tls_session *t = c->tls;
    char *gather = t->scratch->gather;
    size_t used = 0;
    int status = 0;
    if (!t->secure) return UV_EPROTO; /* cannot be: nobody answers before on_secure */
    clear_errors();
    for (unsigned i = 0; i < n; i++) {
        for (size_t at = 0; at < parts[i].len;) {
            size_t room = TLS_RECORD_BYTES - used, left = parts[i].len - at,
                   take = left < room ? left : room;
            memcpy(gather + used, parts[i].base + at, take);
            used += take;
            at += take;
            if (used < TLS_RECORD_BYTES) continue;
            if (SSL_write(t->ssl, gather, (int)used) <= 0) goto fail;
            used = 0;
        }
    }
    if (used > 0 && SSL_write(t->ssl, gather, (int)used) <= 0) goto fail;
    flush(t, &status);
    return status;
fail:
    t->scratch->sealed_bytes = 0;
    return UV_EPROTO;
}

void net_tls_goodbye(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    if (!t->secure || c->closing || net_conn_queued(c) > 0) return;
    clear_errors();
    SSL_shutdown(t->ssl);
    flush(t, NULL);
}
