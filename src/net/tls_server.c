#include "net/server.h"
#include "net/tls_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A ticket holds what a TLS 1.2 session was encrypted with: its own key must not live for ever. The tickets of before
 * then cost one full handshake each. */
#define TICKET_KEYS_MS (12U * 3600U * 1000U)
#define TICKET_KEYS_BYTES 80U /* name, HMAC and AES, as OpenSSL wants them */
#define TICKET_S 7200         /* how long a client may use one */
/* Of TLS 1.2: forward secrecy and authenticated encryption. All are strong, so the client's order counts: it knows
 * whether its processor has AES. */
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
/* No curve that is dear to us and cheap to ask for. */
#define GROUPS "X25519:P-256:P-384"

struct net_tls_server {
    SSL_CTX *ctx; /* of connections from now on; each one holds on to the one it began with */
    char *cert_file, *key_file;
    uint64_t keys_ms; /* since when tickets have these keys */
    struct tls_scratch scratch;
};

/* --- certificate and key --- */

/* One line for who started the server. */
struct reason {
    char *text;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct reason *r, const char *format,
                                                         ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->text, r->size, format, args);
    va_end(args);
    return false;
}

/* Opened and known to be a file that can be read to its end: a pipe must not hold us. */
static FILE *open_file(const char *path, struct stat *st, struct reason *r) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) < 0) {
        refuse(r, "%s: cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(st->st_mode)) {
        refuse(r, "%s: is not a file", path);
    } else {
        FILE *f = fdopen(fd, "r");
        if (f != NULL) return f;
        refuse(r, "%s: out of memory", path);
    }
    if (fd >= 0) close(fd);
    return NULL;
}

/* The server's own first, then those that lead to the root. */
static bool use_chain(SSL_CTX *ctx, FILE *f, const char *path, struct reason *r) {
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    if (x == NULL)
        return refuse(r,
                      "%s: holds no certificate; tls_cert is a PEM file with the server's own "
                      "certificate first, then its chain",
                      path);
    bool ok = SSL_CTX_use_certificate(ctx, x) == 1;
    X509_free(x);
    if (!ok)
        return refuse(r, "%s: the certificate is refused (%s); get one with a stronger key", path,
                      tls_why(NULL));
    while ((x = PEM_read_X509(f, NULL, NULL, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
            X509_free(x);
            return refuse(r, "%s: a certificate of the chain is refused (%s)", path, tls_why(NULL));
        }
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) return true;
    return refuse(r, "%s: a certificate of the chain cannot be read (%s); copy the file again",
                  path, tls_why(NULL));
}

static int no_passphrase(char *out, int size, int writing, void *asked) {
    *(bool *)asked = true;
    return -1;
}

static bool use_key(SSL_CTX *ctx, FILE *f, const struct net_tls_server *t, struct reason *r) {
    bool asked = false;
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, no_passphrase, &asked);
    bool ok = false;
    if (asked)
        refuse(r,
               "%s: the key has a passphrase that nobody is there to type; store it without one "
               "(openssl pkey -in OLD -out NEW)",
               t->key_file);
    else if (key == NULL)
        refuse(r, "%s: holds no private key; tls_key is a PEM file with the certificate's key",
               t->key_file);
    else if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1)
        refuse(r, "%s: is not the key of the certificate in %s; give the two that belong together",
               t->key_file, t->cert_file);
    else if (!(ok = SSL_CTX_use_PrivateKey(ctx, key) == 1))
        refuse(r, "%s: the key is refused (%s)", t->key_file, tls_why(NULL));
    EVP_PKEY_free(key);
    return ok;
}

static bool load_pair(SSL_CTX *ctx, const struct net_tls_server *t, struct reason *r) {
    struct stat st;
    FILE *f = open_file(t->cert_file, &st, r);
    bool ok = f != NULL && use_chain(ctx, f, t->cert_file, r);
    if (f != NULL) fclose(f);
    if (!ok) return false;
    f = open_file(t->key_file, &st, r);
    if (f == NULL) return false;
    if ((st.st_mode & S_IROTH) != 0)
        ok = refuse(r, "%s: everybody can read this key; chmod o-r it", t->key_file);
    else
        ok = use_key(ctx, f, t, r);
    fclose(f);
    return ok;
}

/* --- settings --- */

/* A client that offers protocols and not ours is refused, as RFC 7301 wants it: it would speak HTTP/2 next, and its
 * alert no_application_protocol says more than our 505. One that offers none speaks HTTP/1.1. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    int r = SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len);
    *out = chosen;
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Sessions are resumed from tickets alone: nothing is kept for clients that may come again. No early data: a request
 * in it could be played again by others. */
static bool set_up(SSL_CTX *ctx) {
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_S);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(ctx, 1) == 1 && SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

bool net_tls_server_reload(struct net_tls_server *t, char *reason, size_t size) {
    struct reason r = {reason, size};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool ok = ctx != NULL && set_up(ctx);
    if (!ok)
        refuse(&r, "OpenSSL cannot be set up: %s", tls_why(NULL));
    else
        ok = load_pair(ctx, t, &r);
    ERR_clear_error();
    if (!ok) {
        SSL_CTX_free(ctx);
        return false;
    }
    SSL_CTX_free(t->ctx);
    t->ctx = ctx;
    t->keys_ms = 0;
    return true;
}

struct net_tls_server *net_tls_server_new(const char *cert_file, const char *key_file, char *reason,
                                          size_t size) {
    struct net_tls_server *t = calloc(1, sizeof *t);
    if (t != NULL) {
        t->cert_file = slice_dup(slice_of(cert_file));
        t->key_file = slice_dup(slice_of(key_file));
    }
    if (t == NULL || t->cert_file == NULL || t->key_file == NULL)
        snprintf(reason, size, "out of memory");
    else if (net_tls_server_reload(t, reason, size))
        return t;
    net_tls_server_free(t);
    return NULL;
}

void net_tls_server_free(struct net_tls_server *t) {
    if (t == NULL) return;
    SSL_CTX_free(t->ctx);
    free(t->cert_file);
    free(t->key_file);
    free(t);
}

void net_tls_server_renew(struct net_tls_server *t, uint64_t now_ms) {
    unsigned char keys[TICKET_KEYS_BYTES];
    if (t->keys_ms == 0) t->keys_ms = now_ms; /* OpenSSL made the first itself */
    if (now_ms - t->keys_ms < TICKET_KEYS_MS || RAND_priv_bytes(keys, sizeof keys) != 1) return;
    SSL_CTX_set_tlsext_ticket_keys(t->ctx, keys, sizeof keys);
    OPENSSL_cleanse(keys, sizeof keys);
    t->keys_ms = now_ms;
}

/* --- a connection --- */

bool net_tls_expect(struct net_conn *c, struct net_tls_server *server) {
    struct net_tls_session *t = tls_attach(c, &server->scratch);
    if (t == NULL) return false;
    t->server = server;
    return true;
}

/* A hello is a record of type 22; a request without TLS begins with a capital letter. What is neither OpenSSL refuses. */
bool tls_greet(struct net_conn *c, const char *data) {
    struct net_tls_session *t = c->tls;
    if (data[0] >= 'A' && data[0] <= 'Z') {
        net_tls_drop(c);
        c->hooks->on_plain(c);
        return false;
    }
    net_tls_server_renew(t->server, net_now_ms(c->loop));
    if (!tls_start(t, t->server->ctx)) {
        net_conn_fail(c, UV_ENOMEM);
        return false;
    }
    SSL_set_accept_state(t->ssl);
    return true;
}
