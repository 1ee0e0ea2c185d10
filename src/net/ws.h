/* WebSocket (RFC 6455), the server's side: bytes in, messages out, bytes out. No sockets, no clock. The framing is wslay's;
 * messages are gathered here, so that what a peer announces or cuts into small pieces costs no memory before it is there.
 * No extension is spoken: a frame with a reserved bit is a fault. */
#ifndef ANYLLM_NET_WS_H
#define ANYLLM_NET_WS_H

#include "base/buf.h"
#include "net/h1.h"

/* --- the handshake */

#define WS_ACCEPT_BYTES 29
/* Whether this head may become a WebSocket: *accept gets the value of Sec-WebSocket-Accept. Else *status (400 or 426: then
 * Sec-WebSocket-Version: 13 belongs into the answer) and a static reason. Upgrade itself was looked at by who asks. */
bool ws_handshake(const struct h1_head *head, char accept[WS_ACCEPT_BYTES], unsigned *status,
                  const char **reason);

/* --- the connection */

enum ws_code {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002, /* by itself: unmasked, fragmented control, unknown opcode, … */
    WS_UNSUPPORTED = 1003,
    WS_BAD_TEXT = 1007, /* by itself: text that is not UTF-8 */
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009, /* by itself: over max_message_bytes */
    WS_INTERNAL = 1011
};

enum ws_kind { WS_TEXT, WS_BINARY };

struct ws;

/* A whole message of the peer, from within ws_feed; `data` is valid during the call. ws_send, ws_ping and ws_close may be called in
 * it, ws_feed and ws_free may not. None comes after ws_close. */
typedef void ws_on_message(void *user, enum ws_kind kind, struct slice data);

/* NULL when out of memory. */
struct ws *ws_new(size_t max_message_bytes, ws_on_message *on_message, void *user);
void ws_free(struct ws *w); /* NULL is fine */
/* Takes bytes of the peer, all of them. Pings are answered, a close is echoed, a fault closes. */
void ws_feed(struct ws *w, struct slice data);
/* One message, one frame. False: it is closing, or out of memory. */
bool ws_send(struct ws *w, enum ws_kind kind, struct slice data);
bool ws_ping(struct ws *w);
/* Says goodbye, once; `reason` is at most 123 bytes of UTF-8. */
void ws_close(struct ws *w, enum ws_code code, struct slice reason);
/* What is to be written to the peer; the caller consumes it. Look after each of the calls above. */
struct buf *ws_out(struct ws *w);
/* Nothing more is sent than what lies in ws_out: a close was said by one of both. */
bool ws_is_closing(const struct ws *w);
/* Both have said it, or the peer is at fault: end the connection when ws_out is written. */
bool ws_is_over(const struct ws *w);
/* What the peer closed with; 1005: without a code, 1006: it did not. */
unsigned ws_peer_code(const struct ws *w);

#endif
