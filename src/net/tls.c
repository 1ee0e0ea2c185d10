#include "net/tls.h"
#include "net/call.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define RECORD_BYTES 16384U /* plain text of one record at most */

struct net_tls {
    SSL_CTX *ctx;
    char plain[RECORD_BYTES];  /* what was read, while on_data runs */
    char gather[RECORD_BYTES]; /* what is written: head and body as one record */
};

struct net_tls_session {
    struct net_tls *tls;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool secure;
};

/* --- settings --- */

/* The newest ticket of an origin resumes its next connection. */
static int on_ticket(SSL *ssl, SSL_SESSION *ticket) {
    struct net_origin *o = SSL_get_app_data(ssl);
    net_tls_ticket_free(o->tls_ticket);
    o->tls_ticket = ticket;
    return 1; /* kept */
}

void net_tls_ticket_free(void *ticket) {
    if (ticket != NULL) SSL_SESSION_free(ticket);
}

static bool set_up(SSL_CTX *ctx, const char *ca_file) {
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_ticket);
    static const unsigned char alpn[] = "\x08http/1.1";
    if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1) != 0) return false;
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) return false;
    return (ca_file != NULL ? SSL_CTX_load_verify_file(ctx, ca_file)
                            : SSL_CTX_set_default_verify_paths(ctx)) == 1;
}

struct net_tls *net_tls_new(const char *ca_file) {
    struct net_tls *t = calloc(1, sizeof *t);
    if (t == NULL) return NULL;
    t->ctx = SSL_CTX_new(TLS_client_method());
    if (t->ctx != NULL && set_up(t->ctx, ca_file)) return t;
    ERR_clear_error();
    net_tls_free(t);
    return NULL;
}

void net_tls_free(struct net_tls *t) {
    if (t == NULL) return;
    SSL_CTX_free(t->ctx);
    free(t);
}

/* --- a connection --- */

static int out_of_bio(struct net_conn *c) {
    char *data;
    long len = BIO_get_mem_data(c->tls->out, &data);
    if (len <= 0 || c->closing) return 0;
    uv_buf_t part = uv_buf_init(data, (unsigned)len);
    int r = net_conn_write_raw(c, &part, 1);
    (void)BIO_reset(c->tls->out);
    return r;
}

/* Static text for what went wrong, certificates first. */
static const char *why(struct net_tls_session *t) {
    long verdict = SSL_get_verify_result(t->ssl);
    unsigned long error = ERR_peek_last_error();
    const char *reason = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                                              : ERR_reason_error_string(error);
    ERR_clear_error();
    return reason != NULL ? reason : "TLS failed";
}

static bool aim(SSL *ssl, const char *host) {
    union net_sockaddr sa;
    socklen_t len;
    if (net_sockaddr_parse(host, 0, &sa, &len))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static bool session_new_for(struct net_tls_session *t, struct net_origin *o) {
    t->ssl = SSL_new(t->tls->ctx);
    if (t->ssl == NULL) return false;
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->in == NULL || t->out == NULL) {
        BIO_free(t->in);
        BIO_free(t->out);
        return false;
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_app_data(t->ssl, o);
    SSL_set_connect_state(t->ssl);
    if (o->tls_ticket != NULL) SSL_set_session(t->ssl, o->tls_ticket);
    return aim(t->ssl, o->host);
}

static void fail(struct net_conn *c, const char *reason) {
    if (c->ended || c->closing) return;
    c->ended = true;
    net_conn_stop(c);
    c->hooks->on_secure(c, reason);
}

/* True when the handshake is done. */
static bool handshake(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    int error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
    const char *reason = error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ ? NULL : why(t);
    out_of_bio(c); /* also the alert that says what we refused */
    if (reason != NULL) {
        fail(c, reason);
        return false;
    }
    if (r != 1) return false;
    t->secure = true;
    c->hooks->on_secure(c, NULL);
    return !c->closing;
}

const char *net_tls_begin(struct net_conn *c, struct net_origin *o) {
    c->tls = calloc(1, sizeof *c->tls);
    if (c->tls == NULL) return "out of memory";
    c->tls->tls = o->tls;
    if (!session_new_for(c->tls, o)) return why(c->tls);
    handshake(c);
    return NULL;
}

static void read_plain(struct net_conn *c) {
    struct net_tls_session *t = c->tls;
    int n = 1;
    while (n > 0 && !c->closing && !c->ended) {
        ERR_clear_error();
        n = SSL_read(t->ssl, t->tls->plain, RECORD_BYTES);
        if (n > 0) c->hooks->on_data(c, t->tls->plain, (size_t)n);
    }
    if (c->closing || c->ended) return;
    int error = SSL_get_error(t->ssl, n);
    if (error == SSL_ERROR_ZERO_RETURN)
        net_conn_fail(c, UV_EOF);
    else if (error != SSL_ERROR_WANT_READ)
        fail(c, why(t));
    else
        out_of_bio(c); /* an answer to a key update, say */
}

void net_tls_received(struct net_conn *c, const char *data, ssize_t len) {
    struct net_tls_session *t = c->tls;
    if (len < 0) {
        if (!t->secure)
            fail(c, "closed during the handshake");
        else
            net_conn_fail(c, len == UV_EOF ? UV_ECONNRESET : (int)len);
        return;
    }
    if (BIO_write(t->in, data, (int)len) != (int)len) {
        net_conn_fail(c, UV_ENOMEM);
        return;
    }
    if (t->secure || handshake(c)) read_plain(c);
}

/* Parts as few records: a request's head and body leave as one when they fit. */
int net_tls_write(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    struct net_tls_session *t = c->tls;
    size_t used = 0;
    ERR_clear_error();
    for (unsigned i = 0; i < n; i++) {
        for (size_t at = 0; at < parts[i].len;) {
            size_t room = RECORD_BYTES - used, left = parts[i].len - at,
                   take = left < room ? left : room;
            memcpy(t->tls->gather + used, parts[i].base + at, take);
            used += take;
            at += take;
            if (used < RECORD_BYTES) continue;
            if (SSL_write(t->ssl, t->tls->gather, (int)used) <= 0) return UV_EPROTO;
            used = 0;
        }
    }
    if (used > 0 && SSL_write(t->ssl, t->tls->gather, (int)used) <= 0) return UV_EPROTO;
    return out_of_bio(c);
}

void net_tls_goodbye(struct net_conn *c) {
    if (!c->tls->secure) return;
    ERR_clear_error();
    SSL_shutdown(c->tls->ssl);
    out_of_bio(c);
}

void net_tls_session_free(struct net_tls_session *t) {
    if (t == NULL) return;
    /* OpenSSL takes a session without a goodbye for broken and spoils its ticket; what was cut HTTP itself sees. */
    if (t->secure) SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    free(t);
}
