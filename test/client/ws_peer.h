/* A WebSocket server that follows a script, one connection after the other, in a thread of the test, on 127.0.0.1. */
#ifndef ANYLLM_TEST_CLIENT_WS_PEER_H
#define ANYLLM_TEST_CLIENT_WS_PEER_H

#include <stdbool.h>
#include <stddef.h>

enum ws_do {
    WS_ACCEPT, /* the next connection, and its request with its body */
    WS_SAY,    /* text as it is; "$ACCEPT" stands for the right Sec-WebSocket-Accept */
    WS_SEND,   /* a frame: `first` is its first byte, `text` its payload */
    WS_EXPECT, /* a masked frame like this; text NULL: whatever payload */
    WS_SLOWLY, /* from here on one byte at a time */
    WS_END,    /* of the connection: the peer has read all of it */
    WS_CUT,    /* at once, with a reset */
    WS_HANG    /* until the end of the test */
};

struct ws_step {
    enum ws_do what;
    unsigned char first;
    const char *text;
    size_t bytes;             /* 0: strlen */
    size_t filler;            /* so many 'x' behind it */
    const char *tail;         /* and this behind them; NULL: nothing */
    void (*hook)(void *user); /* called in the peer's thread before the step */
    void *user;
};

#define WS_TEXT_FRAME 0x81
#define WS_BINARY_FRAME 0x82
#define WS_CLOSE_FRAME 0x88
#define WS_PING_FRAME 0x89
#define WS_PONG_FRAME 0x8a
#define WS_SWITCH                                                                            \
    {.what = WS_SAY,                                                                         \
     .text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade" \
             "\r\nSec-WebSocket-Accept: $ACCEPT\r\n\r\n"}
#define WS_JSON(t) {.what = WS_SEND, .first = WS_TEXT_FRAME, .text = (t)}
#define WS_CLOSES(code_bytes) \
    {.what = WS_SEND, .first = WS_CLOSE_FRAME, .text = code_bytes, .bytes = sizeof(code_bytes) - 1}
#define WS_OPENED {.what = WS_ACCEPT}, WS_SWITCH
#define WS_CLOSED                                                          \
    {.what = WS_EXPECT, .first = WS_CLOSE_FRAME}, WS_CLOSES("\x03\xe8"), { \
        .what = WS_END                                                     \
    }
#define WS_TOKEN(t)                                                                               \
    {.what = WS_ACCEPT},                                                                          \
        {.what = WS_SAY,                                                                          \
         .text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" \
                 "\"" t "\""},                                                                    \
    {                                                                                             \
        .what = WS_END                                                                            \
    }

struct ws_peer;
struct ws_peer *ws_peer_start(const struct ws_step *steps, size_t count);
/* Fails the test when a step went wrong, or, with `all`, was not reached. */
void ws_peer_stop(struct ws_peer *p, bool all);
const char *ws_peer_base(const struct ws_peer *p);
/* Head and body of request i. Not before ws_peer_stop, or the peer is known to be beyond it. */
const char *ws_peer_request(const struct ws_peer *p, size_t i);
void ws_peer_free(struct ws_peer *p);
/* Stop and free, whatever went wrong. */
void ws_peer_drop(struct ws_peer *p);

#define WS_PEER(...)                                     \
    ws_peer_start((const struct ws_step[]){__VA_ARGS__}, \
                  sizeof((const struct ws_step[]){__VA_ARGS__}) / sizeof(struct ws_step))

#endif
