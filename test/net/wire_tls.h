/* TLS for the raw sockets of wire.h: each connection goes through a relay that speaks TLS to the server and plain to the
 * test, turned with the loop, in the same thread. Tests see what they see without TLS: close_notify is FIN to them and
 * their FIN is close_notify; RST, a FIN without close_notify and a fault of TLS are RST. */
#ifndef ANYLLM_TEST_NET_WIRE_TLS_H
#define ANYLLM_TEST_NET_WIRE_TLS_H

#include "wire.h"

#include <openssl/ssl.h>

/* wire_connect's connections speak TLS from now on, with ctx's settings; NULL: plain. Relays there are stay. */
void wire_tls_use(SSL_CTX *ctx);
/* What one turn takes from or gives to the network at most; 0: all. */
void wire_tls_piece(size_t bytes);
/* The next connections offer this session; NULL: none. Borrowed. */
void wire_tls_resume(SSL_SESSION *session);
/* Of a connection that wire_connect made; dies with it. */
SSL *wire_tls_ssl(int fd);
/* The server's side of the relay, to cut it without a goodbye. */
int wire_tls_socket(int fd);
/* Why TLS failed on this connection: OpenSSL's reason, 0 when it did not. */
int wire_tls_fault(int fd);
void wire_tls_end(void); /* closes all relays */

#endif
