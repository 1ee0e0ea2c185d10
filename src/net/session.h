/* The inside of the server: one session is one accepted connection with its one exchange at a time. Private.
 *
 *   HEAD   --head whole--> BODY                        --refused, broken or late--> ANSWER
 *   BODY   --body whole, on_request--> ANSWER          --too large, broken or late--> ANSWER
 *   BODY   --answered before it was whole--> ANSWER
 *   ANSWER --whole answer with the kernel, on_done-->  HEAD (kept), DROP (body unread), LINGER (not kept)
 *   ANSWER --stream aborted or file too short, on_gone--> FLUSH
 *   any with a request --net_upgrade--> TUNNEL         --ended or aborted--> ANSWER
 *   DROP   --rest of the body read--> HEAD
 *   FLUSH  --queue empty--> LINGER
 *   LINGER --peer finished, or time or bytes are up--> CLOSED
 *   any    --peer left or reset, write stalled--> CLOSED (on_gone when an exchange was running)
 *
 * A connection we end is lingered on: FIN is sent and what still comes is dropped for a while, because closing with
 * unread bytes makes the kernel send RST, and that takes the answer out of the client's hands. */
#ifndef ANYLLM_NET_SESSION_H
#define ANYLLM_NET_SESSION_H

#include "net/address.h"
#include "net/conn.h"
#include "net/server.h"

/* Of a body nobody wants, before the connection is closed instead. */
#define SESSION_DROP_BYTES 65536U
/* Of pipelined requests read while one is being answered; and a read on top of that, twice. */
#define SESSION_AHEAD_BYTES 65536U
#define SESSION_MAX_IN_BYTES (256U << 10)
/* A client that sends 32 MiB before it reads still sees its 413. */
#define SESSION_LINGER_BYTES (64U << 20)
#define SESSION_LINGER_MS 2000U
/* At the end, for requests already on their way. */
#define SESSION_DRAIN_MS 100U
/* Connections over the limit that are lingered on; the others are just closed. */
#define SERVER_MAX_REFUSING 64U

enum answer {
    ANSWER_NONE,
    ANSWER_STREAM,
    ANSWER_FILE, /* its head has gone out, the file is being sent */
    ANSWER_TUNNEL,
    ANSWER_WHOLE,
    ANSWER_ABORTED,
    ANSWER_LOST /* a write failed: nobody will get it */
};

struct net_exchange {
    uint64_t id; /* 0: no request yet, no hook is owed */
    const struct h1_head *head;
    struct slice body;
    struct h1_body framing; /* how far the body has been read */
    uint64_t max_body_bytes;
    struct arena arena;
    struct buf headers; /* ready lines for the answer */
    void *user;
    enum answer answer;
    bool bad_header, keep, chunked;
    bool drops;   /* GET, HEAD, OPTIONS: a body is read and dropped */
    bool streams; /* the body goes to on_body */
    bool held;    /* net_body_pause: neither on_body nor on_request, nothing is read */
    bool paused;  /* net_stream_write said so */
    uint64_t held_ms;
    int file; /* -1: none; what is left of it to send: */
    uint64_t file_at, file_left;
};

enum session_state { HEAD, BODY, ANSWER, TUNNEL, DROP, FLUSH, LINGER, CLOSED };

struct session {
    struct net_conn conn; /* first: hooks cast */
    struct net_exchange x;
    struct net_server *server;
    enum session_state state;
    uint32_t slot;
    bool running;     /* in session_run: answers given meanwhile are seen by it */
    bool guarded;     /* the timer watches over what waits to be sent */
    bool idle;        /* no byte of the next head has come yet, on a kept connection */
    bool half_closed; /* the peer sent FIN after its whole request was answered */
    bool reset;       /* closing must not look like an end: RST */
    bool refused, counted, loopback;
    struct net_timer timer; /* of the state */
    struct net_defer defer;
    struct buf in;     /* bytes read and not yet consumed */
    struct slice view; /* what is being consumed: `in` or the read buffer */
    struct h1_scan scan;
    struct buf body;  /* of a request that did not come in one read */
    uint64_t body_ms; /* when its reading began */
    size_t linger_left;
    struct net_address address;
    char peer[NET_ADDRESS_TEXT_BYTES];
    size_t peer_len;
};

/* Ids of exchanges: slot in the low bits, the slot's own count above. A slot outlives its sessions, so that no id
 * comes again before 2^44 requests on one slot. */
#define SLOT_BITS 20U
#define MAX_SLOTS (1U << SLOT_BITS)
#define NO_SLOT UINT32_MAX

struct slot {
    struct session *session; /* NULL: free */
    uint64_t count;
    uint32_t next_free;
};

struct net_server {
    struct net_loop *loop;
    struct net_server_limits limits;
    struct net_server_hooks hooks;
    void *user;
    struct net_server_stats stats;
    struct listener *listeners;
    struct slot *slots;
    uint32_t nslots, free_slot;
    struct net_cidr *trusted;
    size_t ntrusted;
    struct net_census *census;
    struct net_defer release;
    size_t handles; /* not yet closed: while there are some the server stays */
    size_t refusing;
    int reserve_fd; /* given up to be able to say 503 when descriptors are gone */
    bool draining, closed;
    struct session *spare; /* for answers to connections that get no session */
    struct h1_head scratch;
    struct buf out, fault_body;
    char *piece; /* SERVER_PIECE_BYTES of a file on their way; NULL until one was sent */
};

/* Of a file at a time where it has to pass through here: what a slow client keeps waiting at most. */
#define SERVER_PIECE_BYTES 65536U

static inline void session_deadline(struct session *s, uint64_t after_ms) {
    net_timer_start(s->server->loop, &s->timer, after_ms);
}

/* exchange.c */
/* Moves the request's bytes out of the view: `used` of the head, `body` behind it. False when out of memory. */
bool exchange_keep(struct session *s, const struct h1_head *parsed, size_t used, size_t body);
void exchange_begin(struct session *s);
/* Takes the exchange off the books and calls its last hook, when one is owed. */
void exchange_end(struct session *s, void (*hook)(struct net_exchange *x, void *user));
void exchange_clear(struct session *s);

/* session.c */
struct session *session_new(
    struct net_server *s); /* without a connection; NULL when out of memory */
void session_free(struct session *s);
/* Takes the descriptor; NULL (descriptor closed) when out of memory. tls NULL: plain. */
struct session *session_open(struct net_server *s, int fd, bool is_tcp,
                             const struct net_address *address, struct net_tls_server *tls);
/* Lets the connection wait for its first request. */
void session_begin(struct session *s);
/* One too many: 503 at once, over TLS when the handshake is done. */
void session_refuse(struct session *s);
/* At once; on_gone when an exchange was running. */
void session_close(struct session *s);
void session_drain(struct session *s);
/* The server's own answer; the connection ends after it. */
void session_fault(struct session *s, unsigned status, const char *reason);
/* An answer has begun: no more of the request is wanted; whether the connection can be kept is settled. */
void session_answering(struct session *s);
/* An answer has ended one way or another: goes on when the caller has returned. */
void session_answered(struct session *s);
/* Looks after a peer that does not take its answer. */
void session_guard(struct session *s);
/* The connection is kept: waits for the next request. */
void session_next(struct session *s);

/* body.c; each step is true when the state may have changed and the next is due */
/* The head was not answered: what is there of the body, and whether there will be more. */
bool body_begin(struct session *s);
bool body_read(struct session *s);
bool body_drop(struct session *s);
bool body_tunnel(struct session *s);
/* The deadline fired. */
void body_late(struct session *s);

/* file.c */
/* The answer's head and what it tells of; takes the descriptor. */
void file_begin(struct session *s, const uv_buf_t *head, int fd, uint64_t offset, uint64_t length);
/* Sends what the peer takes of the file, and no more than is fair to the others. */
void file_send(struct session *s);
void file_close(struct net_exchange *x);

/* answer.c */
/* Formats the server's own answer, head and body, into server->out. */
void answer_format_fault(struct session *s, unsigned status, const char *reason);
void answer_send(struct session *s, const uv_buf_t *parts, unsigned n);

/* listen.c */
void listeners_close(struct net_server *s);
/* Takes what the kernel has already accepted for us. */
void listeners_sweep(struct net_server *s);

/* server.c */
bool server_take_slot(struct net_server *s, struct session *session);
void server_free_slot(struct net_server *s, struct session *session);
void server_handle_closed(struct net_server *s);

#endif
