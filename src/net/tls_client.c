#include "net/call.h"
#include "net/tls_pump.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct net_tls {
    SSL_CTX *ctx;
    struct tls_scratch scratch;
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

static bool aim(SSL *ssl, const char *host) {
    union net_sockaddr sa;
    socklen_t len;
    if (net_sockaddr_parse(host, 0, &sa, &len))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

const char *net_tls_begin(struct net_conn *c, struct net_origin *o) {
    struct net_tls_session *t = tls_attach(c, &o->tls->scratch);
    if (t == NULL || !tls_start(t, o->tls->ctx)) return "out of memory";
    SSL_set_app_data(t->ssl, o);
    SSL_set_connect_state(t->ssl);
    if (o->tls_ticket != NULL) SSL_set_session(t->ssl, o->tls_ticket);
    if (!aim(t->ssl, o->host)) return tls_why(t->ssl);
    tls_handshake(c);
    return NULL;
}
