/* TLS over a net_conn, through OpenSSL and memory BIOs. Private to the room. */
#ifndef ANYLLM_NET_TLS_H
#define ANYLLM_NET_TLS_H

#include "net/conn.h"

struct net_origin;
struct net_tls_session;

/* Starts the client's handshake on a connected transport; on_secure follows. NULL, or why it cannot be (static). */
const char *net_tls_begin(struct net_conn *c, struct net_origin *o);
/* Bytes from the peer, or a negative uv error: goes on with the handshake, hands plain text to on_data. An end without
 * TLS's own goodbye is not UV_EOF: it may be a cut. */
void net_tls_received(struct net_conn *c, const char *data, ssize_t len);
int net_tls_write(struct net_conn *c, const uv_buf_t *parts, unsigned n);
void net_tls_goodbye(struct net_conn *c);             /* close_notify */
void net_tls_session_free(struct net_tls_session *t); /* NULL is fine */
void net_tls_ticket_free(void *ticket);               /* NULL is fine */

#endif
