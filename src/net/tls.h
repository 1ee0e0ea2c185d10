/* TLS under a net_conn, both sides. Private to the room.
 *
 *   tls.c         the pump: bytes of the socket into OpenSSL, plain text out of it, and back
 *   tls_client.c  settings and tickets of an origin's connections (net/client.h has their face)
 *   tls_server.c  certificate, key and tickets of a listener's (net/server.h has theirs)
 *
 * OpenSSL is given the bytes where they lie and its records go to the socket at once, so between two events a
 * connection holds no buffer: neither ours nor, by SSL_MODE_RELEASE_BUFFERS, OpenSSL's two of 17 KB. What stays is the
 * session itself, about 14 KB.
 *
 * A connection that TLS has given up or that says goodbye goes on without it (tls is NULL): what still comes is raw,
 * for a hook that only drops it. */
#ifndef ANYLLM_NET_TLS_H
#define ANYLLM_NET_TLS_H

#include "net/conn.h"

struct net_origin;
struct net_tls_server;
struct net_tls_session;

/* Starts the client's handshake on a connected transport; on_secure follows. NULL, or why it cannot be (static). */
const char *net_tls_begin(struct net_conn *c, struct net_origin *o);
/* The server's: the handshake begins with the first byte; on_secure or on_plain follows. False when out of memory. */
bool net_tls_expect(struct net_conn *c, struct net_tls_server *t);
/* Bytes from the peer, or a negative uv error: goes on with the handshake, hands plain text to on_data. An end without
 * TLS's own goodbye is not UV_EOF: it may be a cut. */
void net_tls_received(struct net_conn *c, const char *data, ssize_t len);
int net_tls_write(struct net_conn *c, const uv_buf_t *parts, unsigned n);
/* close_notify, when the handshake is done and nothing waits to be sent. */
void net_tls_goodbye(struct net_conn *c);
/* The connection goes on without TLS. */
void net_tls_drop(struct net_conn *c);

void net_tls_ticket_free(void *ticket); /* NULL is fine */
/* Takes new keys for the tickets when the old ones have had their time; with every connection. */
void net_tls_server_renew(struct net_tls_server *t, uint64_t now_ms);

#endif
