/* What tls.c, tls_client.c and tls_server.c share. Private to these three. */
#ifndef ANYLLM_NET_TLS_PUMP_H
#define ANYLLM_NET_TLS_PUMP_H

#include "net/tls.h"

#include <openssl/ssl.h>

#define TLS_RECORD_BYTES 16384U /* plain text of one record at most */

/* Buffers that are in use during one call only, so all connections of one loop with the same settings share them. */
struct tls_scratch {
    char plain[TLS_RECORD_BYTES];  /* what was read, while on_data runs */
    char gather[TLS_RECORD_BYTES]; /* what is written: head and body as one record */
    char sealed[4 * TLS_RECORD_BYTES];
    size_t sealed_bytes; /* records for the socket; 0 whenever a hook runs */
};

struct net_tls_session {
    struct net_conn *conn;
    struct tls_scratch *scratch;
    struct net_tls_server *server; /* NULL: client */
    SSL *ssl;                      /* server: NULL until the first byte */
    struct slice in;               /* from the socket, not yet taken by ssl */
    bool secure;
};

/* On a connection without TLS. NULL when out of memory. */
struct net_tls_session *tls_attach(struct net_conn *c, struct tls_scratch *scratch);
/* False when out of memory. */
bool tls_start(struct net_tls_session *t, SSL_CTX *ctx);
/* True when the handshake is done and the connection still there. */
bool tls_handshake(struct net_conn *c);
/* Static text for what went wrong, certificates first. */
const char *tls_why(SSL *ssl);

/* tls_server.c */
/* What the first bytes say: true when they may be TLS (then ssl is there), else a hook has been called. */
bool tls_greet(struct net_conn *c, const char *data);

#endif
