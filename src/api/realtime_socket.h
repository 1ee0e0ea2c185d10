/* One WebSocket on an exchange: its messages one at a time and in order, its pace both ways, its end.
 *
 *   OPEN --close said, by us or the peer; a fault of the peer; idle; the server ends--> CLOSING
 *   CLOSING --the peer has answered, or SOCKET_BYE_MS are over--> OVER    the connection is shut down
 *   any --the peer is gone--> OVER
 *
 * While a message is worked at the next ones wait. When SOCKET_WAITING of them do, or SOCKET_WAITING_BYTES, the peer is not read
 * from, nor while it does not read itself. One that said how many may wait (max_buffering) is read on: then the newest count, and
 * the oldest one goes. */
#ifndef ANYLLM_API_REALTIME_SOCKET_H
#define ANYLLM_API_REALTIME_SOCKET_H

#include "api/call.h"
#include "net/ws.h"

#define SOCKET_WAITING 16U
#define SOCKET_WAITING_BYTES (1U << 20)
#define SOCKET_MAX_BUFFERING 60U /* as fal's clients bound it */
#define SOCKET_PING_MS 15000U    /* of silence while a message is worked at */
#define SOCKET_BYE_MS 2000U

struct socket_waiting;

struct socket_hooks {
    /* The next message, valid during the call. socket_done is due when it was answered, at once or later; no other comes before. */
    void (*message)(struct call *c, enum ws_kind kind, struct slice data);
    void (*drained)(struct call *c); /* the peer reads again */
    void (*dropped)(struct call *c); /* a waiting message has made room for a newer one */
    void (*idle)(struct call *c);    /* no message for realtime_idle; the socket closes after it */
    void (*gone)(struct call *c);    /* it is over: give everything back */
};

struct socket {
    struct socket *next, **link; /* in api.sockets */
    struct call *call;
    const struct socket_hooks *hooks;
    struct ws *ws;
    struct socket_waiting *first, **last;
    size_t nwaiting, waiting_bytes, max_waiting;
    bool drops;   /* the newest messages count */
    bool busy;    /* a message is worked at */
    bool blocked; /* the peer reads slowly: `drained` follows */
    bool paused;  /* the peer is not read from */
    bool ending;  /* the server ends: no message is begun any more */
    bool over;
    struct net_timer idle, ping, bye;
    struct net_defer go_on;
};

/* max_buffering of the query: 0: not said. False: answered, 400. */
bool socket_buffering(struct call *c, size_t *out);
/* Answers 101, or what is wrong with the handshake (then false). c->own must lead to s for the hooks, c->hooks are set. */
bool socket_open(struct socket *s, struct call *c, const struct socket_hooks *hooks,
                 size_t max_buffering);
/* One message; it is taken in any case but when the socket is closing. */
void socket_say(struct socket *s, enum ws_kind kind, struct slice data);
void socket_done(struct socket *s);
void socket_close(struct socket *s, enum ws_code code, struct slice reason);
/* The server is ending: sockets close with 1001, each when the message that is worked at was answered. */
void sockets_end(struct api *a);

#endif
