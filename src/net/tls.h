/* TLS over a net_conn, through OpenSSL and memory BIOs. Private to the room. */
#ifndef ANYLLM_NET_TLS_H
#define ANYLLM_NET_TLS_H

#include "net/conn.h"

struct net_tls_session;

/* Bytes from the peer: goes on with the handshake, hands plain text to on_data. */
void net_tls_received(struct net_conn *c, const char *data, size_t len);
int net_tls_write(struct net_conn *c, const uv_buf_t *parts, unsigned n);
void net_tls_goodbye(struct net_conn *c);             /* close_notify */
void net_tls_session_free(struct net_tls_session *t); /* NULL is fine */

#endif
