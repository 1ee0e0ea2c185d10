/* A realtime connection, in parts:
 *
 *   realtime.c           the public functions
 *   realtime_life.c      its life, from the token to the end
 *   realtime_messages.c  what waits for the peer and for the caller, and what a message of the server means
 *   realtime_link.c      the connection, by libcurl: bytes in, bytes out
 *   realtime_upgrade.c   the handshake of RFC 6455. Pure.
 *   realtime_frames.c    its frames, by wslay. Pure. */
#ifndef ANYLLM_CLIENT_REALTIME_H
#define ANYLLM_CLIENT_REALTIME_H

#include "client/client.h"

#include <wslay/wslay.h>

#define REALTIME_TOKEN_S 120
#define REALTIME_OPEN_MS 90000
#define REALTIME_CLOSE_MS 1000
#define REALTIME_MESSAGE_BYTES ((size_t)64 << 20)
#define REALTIME_QUEUED_BYTES ((size_t)64 << 20) /* that wait for the peer, and for the caller */
#define REALTIME_KEPT_BYTES ((size_t)64 << 20)   /* sent, as long as the token may be none */
#define REALTIME_PONG_BYTES 125U                 /* one waits: the answer to the newest ping */

/* ---- realtime_upgrade.c ---- */

#define UPGRADE_HEAD_BYTES 16384U
#define UPGRADE_BODY_BYTES 65536U /* of a refusal; what is longer is cut */

enum client_upgrade_state {
    UPGRADE_HEAD,    /* of the answer is being read */
    UPGRADE_BODY,    /* of a refusal */
    UPGRADE_OPEN,    /* frames follow */
    UPGRADE_REFUSED, /* http_status, head and body say why */
    UPGRADE_BROKEN /* `why` does: FAL_ERR_PROTOCOL, or FAL_ERR_MEMORY when head or body says no_memory */
};

struct client_upgrade {
    enum client_upgrade_state state;
    char key[25], accept[29];
    struct buf head, body;
    int http_status;
    const char *why;  /* static */
    unsigned interim; /* answers before the answer */
    size_t left;      /* of the body or of its chunk */
    int chunk;        /* enum of the .c; 0: it has no chunks */
};

/* Draws the key. False: no memory. */
bool client_upgrade_init(struct client_upgrade *u, const struct random *random);
void client_upgrade_free(struct client_upgrade *u);
/* Appends the request for `url`, http or https; `lines` are further headers, each NUL-terminated. */
bool client_upgrade_write(const struct client_upgrade *u, struct slice url, struct slice lines,
                          struct buf *out);
/* Reads the answer; how many bytes it took: all but those that follow UPGRADE_OPEN. */
size_t client_upgrade_feed(struct client_upgrade *u, struct slice bytes);
/* The peer has closed: the state is UPGRADE_REFUSED or UPGRADE_BROKEN now. */
void client_upgrade_end(struct client_upgrade *u);
/* A header of the answer; ptr NULL: it has none. */
struct slice client_upgrade_header(const struct client_upgrade *u, const char *name);

/* ---- realtime_frames.c ---- */

struct client_frames {
    wslay_event_context_ptr ctx;
    const struct random *random;
    /* A whole message of the peer, from within client_frames_feed; client_frames_send and _close may be called in it. None
     * comes after client_frames_close. */
    void (*message)(void *owner, bool text, struct slice data);
    void *owner;
    size_t max_message_bytes;
    struct slice in; /* of the present feed: not yet read */
    char *out;       /* of the present take */
    size_t room;
    struct buf partial;  /* a message that is not whole yet */
    bool in_control;     /* the present frame is one: its bytes belong to no message */
    bool closing;        /* we said so */
    bool over;           /* nothing is read any more: end when client_frames_take has nothing */
    enum fal_code fault; /* FAL_ERR_PROTOCOL, _TOO_LARGE, _MEMORY */
    char reason[128];    /* of the peer's close */
    /* Where the peer's bytes stand, ahead of wslay: in the head of a frame, in its length, in its payload; and the newest
     * ping's payload. */
    unsigned head, length_left;
    uint64_t payload_left;
    bool in_ping, pong_waits;
    size_t pong_bytes;
    char pong[REALTIME_PONG_BYTES];
};

enum fal_code client_frames_init(struct client_frames *f, const struct random *random,
                                 size_t max_message_bytes,
                                 void (*message)(void *owner, bool text, struct slice data),
                                 void *owner);
void client_frames_free(struct client_frames *f); /* zeroed is fine */
/* All the bytes. The newest ping is answered, a close is echoed, a fault closes. */
void client_frames_feed(struct client_frames *f, struct slice data);
/* One message, copied. False: closing, or out of memory. */
bool client_frames_send(struct client_frames *f, bool text, struct slice data);
/* A message has been given to send and not been taken whole. */
bool client_frames_is_sending(const struct client_frames *f);
/* In order, once; after it no message is sent, whole or not. */
void client_frames_close(struct client_frames *f, unsigned code);
/* The peer is at fault, or memory is: closes, and reads no more. */
void client_frames_refuse(struct client_frames *f, enum fal_code fault, unsigned code);
/* Bytes for the peer; 0: none now. */
size_t client_frames_take(struct client_frames *f, char *out, size_t room);
/* As RFC 6455 says: the peer's, 1005 when it gave none, else what we closed with, 1006: nobody did. */
int client_frames_code(const struct client_frames *f);
bool client_frames_peer_closed(const struct client_frames *f);

/* ---- realtime_link.c ---- */

#define LINK_SOCKETS 8U /* that libcurl has open at once until it is connected */
#define LINK_OUT_BYTES 16384U

struct client_link;
struct client_link_socket {
    struct client_watch watch;
    struct client_link *link;
};

struct client_link {
    fal_client *client;
    /* Its own: one that is shared closes idle connections to make room for others, and to libcurl this one is idle. */
    CURLM *multi;
    CURL *easy;
    struct client_link_socket sockets[LINK_SOCKETS];
    struct client_timer timer; /* libcurl's */
    struct client_watch watch; /* of the connection, once it stands */
    bool settled;              /* connected, or not to be */
    char error[CURL_ERROR_SIZE];
    char out[LINK_OUT_BYTES];
    size_t out_at, out_end; /* what is to be sent again in the very same way (OpenSSL wants that) */
    /* From the loop, once: it stands, or not; client_link_close may be called in it. */
    void (*connected)(struct client_link *link, CURLcode rc);
    /* From the loop: there may be something to do. */
    void (*ready)(struct client_link *link);
};

/* `url` is http or https. FAL_OK: `connected` will come. FAL_ERR_MEMORY: it will not; close it all the same. */
enum fal_code client_link_open(struct client_link *l, fal_client *c, const char *url,
                               void (*connected)(struct client_link *link, CURLcode rc),
                               void (*ready)(struct client_link *link));
void client_link_close(struct client_link *l); /* at once; zeroed is fine */
/* CURLE_OK: *n bytes, 0 at the end. CURLE_AGAIN: none now. Else it is broken. */
CURLcode client_link_receive(struct client_link *l, char *out, size_t room, size_t *n);
/* Sends what `take` gives until it gives 0 or the socket is full, then waits for what is needed: the socket's room, and bytes
 * to read when `reading`. False: it is broken, or no memory. */
bool client_link_send(struct client_link *l,
                      size_t (*take)(struct client_link *l, char *out, size_t room), bool reading);
static inline bool client_link_has_sent(const struct client_link *l) {
    return l->out_at == l->out_end;
}

/* ---- realtime_messages.c ---- */

struct client_message {
    struct client_message *next;
    size_t len;
    char data[]; /* and a NUL */
};

struct client_messages {
    struct client_message *first, **last;
    size_t bytes; /* of memory */
};

void client_messages_init(struct client_messages *q);
void client_messages_free(struct client_messages *q);
/* Copies. False: no memory. */
bool client_messages_add(struct client_messages *q, struct slice data);
/* The first, the caller's to free; NULL: none. */
struct client_message *client_messages_take(struct client_messages *q);
void client_messages_append(struct client_messages *q, struct client_message *m);
/* Puts all of `front` before what is in q, and empties it. */
void client_messages_put_back(struct client_messages *q, struct client_messages *front);

enum client_said {
    SAID_OUTPUT,
    SAID_NOTHING,      /* x-fal-message: for fal's own clients */
    SAID_ERROR,        /* x-fal-error */
    SAID_UNAUTHORIZED, /* the token opens nothing */
    SAID_NONSENSE,
    SAID_NO_MEMORY
};
/* What a message of the server is; a binary one is written into *json, a text is copied there. */
enum client_said client_said_read(bool text, struct slice data, struct buf *json);
/* A message of the caller's, as it goes out. FAL_ERR_ARGUMENT: no JSON object. */
enum fal_code client_message_pack(bool text, const char *json, struct buf *out);
/* A message that came as a result; an x-fal-error one is its error. Takes `m`. NULL: no memory. */
fal_result *client_message_result(struct client_message *m);

/* ---- realtime_life.c ---- */

/* Of a connection; realtime_life.c draws their order. */
enum client_realtime_state {
    REALTIME_NEW,
    REALTIME_TOKEN,
    REALTIME_CONNECTING,
    REALTIME_UPGRADING,
    REALTIME_OPEN,
    REALTIME_CLOSING,
    REALTIME_CLOSED
};

struct fal_realtime {
    fal_client *client; /* not read any more once it is CLOSED */
    enum client_realtime_state state;
    struct client_endpoint endpoint;
    char *url;                     /* without its query */
    char *token;                   /* NULL: none yet, or the key */
    struct fal_realtime_options o; /* its texts are not read any more */
    bool fetches;                  /* the token is ours to get */
    struct client_try try;
    struct buf body, hello; /* of the token's request; of the handshake's, what is not sent */
    struct client_link link;
    struct client_upgrade upgrade;
    struct client_frames frames;
    struct client_timer limit, soon;
    struct client_messages inbox, outbox,
        sent;        /* sent: as long as the token may turn out to be none */
    bool let_go;     /* not all that was sent is among these */
    fal_result *end; /* how it ended */
    int close_code;
    unsigned inside;
    bool blocking; /* opened by fal_realtime_open */
    bool opened, given_back;
    bool quiet;        /* on_close is not called (any more) */
    bool heard;        /* a message came through this connection */
    bool unauthorized; /* it was that the token opens nothing */
    bool renewed;
    struct fal_realtime *next, **prev;
};

/* The timers and lists of a zeroed one. */
void client_realtime_init(fal_realtime *rt);
/* Puts it into its client's list: it begins with the next turn of the loop. */
void client_realtime_enlist(fal_realtime *rt);
/* The memory of one that is not in the list. */
void client_realtime_free(fal_realtime *rt);
/* Around all that may call the caller back: one that he gives back meanwhile is freed by the last leave. */
void client_realtime_enter(fal_realtime *rt);
void client_realtime_leave(fal_realtime *rt);
/* The loop goes on with it at its next turn. */
void client_realtime_soon(fal_realtime *rt);
/* What can be done now. */
void client_realtime_act(fal_realtime *rt);
void client_realtime_limit(fal_realtime *rt, int64_t ms); /* until it is open, or closed */
/* Ends it, with fal_strerror's words; nothing when it has ended. */
void client_realtime_fail(fal_realtime *rt, enum fal_code code);
void client_realtime_tell(fal_realtime *rt); /* on_close, once */

#endif
