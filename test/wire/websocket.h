/* A WebSocket's other end, on a peer: frames out, frames in. Written for these tests alone, as peer.h is. */
#ifndef ANYLLM_TEST_WIRE_WEBSOCKET_H
#define ANYLLM_TEST_WIRE_WEBSOCKET_H

#include "peer.h"

#define HANDSHAKE                                                                \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

struct frame {
    unsigned opcode, code; /* code: of a close, 0: none */
    struct text data;      /* without the code */
};

/* The request for one; socket_open takes the 101 as well. `headers`: HANDSHAKE and more lines. */
struct peer socket_dial(const struct server *s, const char *path, const char *headers);
struct peer socket_open(const struct server *s, const char *path, const char *headers);

/* A masked frame; `head` is its first byte. */
void frame_add(struct text *t, unsigned head, const char *data, size_t len);
bool frame_send(struct peer *p, unsigned head, const char *data, size_t len);
bool frame_send_text(struct peer *p, const char *json);
/* The next one; false: the connection ended. The server masks nothing and fragments nothing. Free f->data at last. */
bool frame_next(struct peer *p, struct frame *f);
void expect_frame_text(const char *what, struct peer *p, const char *part);
/* Whatever comes before it, then the close, then the end; closes the peer. */
void expect_frame_close(const char *what, struct peer *p, unsigned code);
/* Outputs of an input whose prompt begins with nonce:ws, up to the last. */
void expect_frame_answer(const char *what, struct peer *p);

#endif
