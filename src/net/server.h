/* The server side of HTTP/1.1: listeners, connections, exchanges (one request and its answer).
 *
 * The hooks are called on the loop's thread. For every exchange: on_head once; then on_request once, unless it was
 * answered before, the client left or the server found fault with the body (413, 408, 400: on_fault); then exactly one of
 * on_done (a whole answer, the application's or the server's own, was handed to the kernel) or on_gone (the client left
 * or did not take its answer, the stream was aborted, the server was closed), last. After on_done/on_gone the exchange
 * and all slices of its request are gone. Answering never calls a hook before the answering function has returned;
 * only an invalid header calls on_fault from within it. Pipelined requests are answered in order, one exchange at a time.
 *
 * A client that half-closes its connection before its answer is made counts as gone: on_gone comes with the FIN.
 * A connection the server ends is shut down for writing and lingered on for up to 2 s, so that the answer arrives even
 * while the client still sends. */
#ifndef ANYLLM_NET_SERVER_H
#define ANYLLM_NET_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "net/h1.h"
#include "net/loop.h"

struct net_server;
struct net_tls_server;
struct net_exchange;

struct net_server_limits {
    size_t max_connections; /* 10,000; the next one gets 503 and close (L8) */
    size_t
        max_connections_per_address; /* 256; loopback, Unix sockets and trusted addresses excepted */
    size_t max_body_bytes;           /* 32 MiB; 413 (L3, L4), chunked bodies alike */
    uint32_t
        head_ms; /* 10,000: from accept, or from the first byte on a kept connection, to the whole head (L5) */
    uint32_t body_grace_ms;        /* 10,000, then body_min_bytes_per_s (L6) */
    uint32_t body_min_bytes_per_s; /* 1,024 */
    uint32_t write_stall_ms;       /* 30,000 without a byte taken: reset (L7) */
    uint32_t idle_ms;              /* 60,000 between requests */
    size_t write_high_bytes;       /* 256 KiB: net_stream_write says pause above this */
};
#define NET_SERVER_LIMITS_DEFAULT \
    {10000, 256, 32U << 20, 10000, 10000, 1024, 30000, 60000, 256U << 10}

struct net_server_hooks {
    /* The head is whole, the body not read. Answer here (net_reply) to refuse, e.g. 401 before a large body or before
     * 100 Continue; the rest of the request is then dropped or the connection closed. Else return: the body is read. */
    void (*on_head)(struct net_exchange *x, void *user);
    void (*on_request)(struct net_exchange *x, void *user); /* body whole in net_body */
    /* After net_stream_body: the body as it comes, before on_request; after net_upgrade: what the peer sends. Valid during
     * the hook, never empty. May be NULL. */
    void (*on_body)(struct net_exchange *x, struct slice data, void *user);
    void (*on_drain)(struct net_exchange *x,
                     void *user); /* after net_stream_write said pause: write again */
    void (*on_done)(struct net_exchange *x, void *user);
    void (*on_gone)(struct net_exchange *x, void *user);
    /* An answer the server makes itself (400, 408, 413, 414, 431, 501, 503, 505 …, before or without on_request; 500 in
     * place of an answer with an invalid header): adds the common headers with net_header and formats the body into
     * `body`, application/json. The connection ends with it; Retry-After: 1 is added to a 503.
     * When `has_request` is false x has no request and no on_done or on_gone will come: keep nothing in net_set_user;
     * its head is empty, and its peer is too when a connection over the limit got none of its own. Required. */
    void (*on_fault)(struct net_exchange *x, bool has_request, unsigned status, const char *reason,
                     struct buf *body, void *user);
};

struct net_server_stats {
    uint64_t accepted, refused, requests, bad_requests;
    size_t connections, exchanges;
};

/* The hooks and limits are copied. NULL when out of memory. */
struct net_server *net_server_new(struct net_loop *l, const struct net_server_limits *limits,
                                  const struct net_server_hooks *hooks, void *user);
/* address:port, [v6]:port; port 0 = the kernel chooses. *port gets the bound one. Returns 0 or a negative errno. */
int net_server_listen(struct net_server *s, const char *address, uint16_t port,
                      uint16_t *bound_port);
/* The same with TLS; several listeners and servers of one loop may share t. t NULL: plain. */
int net_server_listen_tls(struct net_server *s, const char *address, uint16_t port,
                          struct net_tls_server *t, uint16_t *bound_port);
/* `peer` is what net_peer says of those who come by it: who may open the file is decided by mode and folder, so each path
 * stands for another kind of caller. Kept, not copied. */
int net_server_listen_unix(struct net_server *s, const char *path, unsigned mode, const char *peer);
/* Addresses (CIDR) of reverse proxies: their connections do not count per address, what they say of the caller is
 * believed; copied. */
int net_server_trust(struct net_server *s, const char *const *cidrs, size_t n);
/* Graceful end: listeners close at once, idle connections close, running exchanges finish with Connection: close. */
void net_server_drain(struct net_server *s);
/* Everything closes at once (on_gone for what runs). The memory is freed when the loop has run the closing. */
void net_server_close(struct net_server *s);
const struct net_server_stats *net_server_get_stats(const struct net_server *s);

/* --- TLS: 1.2 and 1.3, HTTP/1.1 only, resumed from tickets, never renegotiated
 * head_ms covers the handshake. A client that speaks plain HTTP to it gets a plain 400 (on_fault, net_is_tls is false).
 * A connection over the limit gets its 503 after the handshake. */
/* Certificate (its chain behind it) and key, PEM; both may lie in one file. The paths are copied, the files read at once. A
 * key that everybody can read is refused. NULL: `reason` (256 bytes are enough for all but the paths) is one line that
 * names the file and says what to do. */
struct net_tls_server *net_tls_server_new(const char *cert_file, const char *key_file, char *reason,
                                          size_t size);
/* Reads both files again: connections from now on get the new pair (their first one is not resumed), those that are there
 * keep theirs. False, with a reason: nothing changed. */
bool net_tls_server_reload(struct net_tls_server *t, char *reason, size_t size);
/* After net_server_close of the servers using it. NULL is fine. */
void net_tls_server_free(struct net_tls_server *t);

/* --- the request; valid until on_done/on_gone */
/* Only as large as its nheaders: look into it, never copy the struct. */
const struct h1_head *net_head(const struct net_exchange *x);
struct slice net_body(const struct net_exchange *x);
struct arena *net_arena(struct net_exchange *x); /* lives as long as the exchange */
/* Address of the peer as text ("127.0.0.1", or as net_server_listen_unix was told), and whether it is loopback or a Unix socket. */
struct slice net_peer(const struct net_exchange *x);
bool net_peer_is_loopback(const struct net_exchange *x);
bool net_peer_is_trusted(const struct net_exchange *x); /* one of net_server_trust's addresses */
bool net_is_tls(const struct net_exchange *x);
/* One pointer of the caller's per exchange (NULL at first). */
void net_set_user(struct net_exchange *x, void *data);
void *net_get_user(const struct net_exchange *x);
/* For completions that may come after the exchange ended: ids are never reused. NULL when it is gone. */
uint64_t net_exchange_id(const struct net_exchange *x);
struct net_exchange *net_exchange_find(struct net_server *s, uint64_t id);

/* --- bodies that are not kept. Only within on_head: the body goes to on_body, net_body stays empty, and max_bytes stands in
 * place of max_body_bytes (413, at the head when the length is told, else at the byte that crosses). A body of GET, HEAD and
 * OPTIONS is dropped all the same. Answering before the body is whole, at any time, drops the rest as ever. */
void net_stream_body(struct net_exchange *x, uint64_t max_bytes);
/* Stops reading from the peer: back-pressure through TCP; the deadlines of a slow body stand still. Until net_body_resume
 * neither on_body nor on_request comes (on_gone may). For upgraded connections too; without either it does nothing.
 * Resuming calls no hook before it has returned. */
void net_body_pause(struct net_exchange *x);
void net_body_resume(struct net_exchange *x);

/* --- the answer. All slices are borrowed for the duration of the call only. Once answered, more calls are ignored. */
/* Before the reply; a name or value that may not stand in a header makes the whole answer a 500 (H45). */
void net_header(struct net_exchange *x, struct slice name, struct slice value);
/* Whole answer. Date, Content-Length and Connection are added here. For HEAD the body is left out. */
void net_reply(struct net_exchange *x, unsigned status, struct slice content_type,
               struct slice body);
/* Streamed answer: chunked for HTTP/1.1, until close for 1.0. The head goes out at once. */
void net_stream_begin(struct net_exchange *x, unsigned status, struct slice content_type);
/* Whole answer whose body is `length` bytes of a file from `offset` on. The descriptor is taken over and closed in any case.
 * sendfile where the connection is plain, for which SIGPIPE must be ignored; pieces of 64 KiB where it is not. For HEAD
 * the body is left out. A file that ends too early or cannot be read resets the connection (on_gone). */
void net_reply_file(struct net_exchange *x, unsigned status, struct slice content_type, int fd,
                    uint64_t offset, uint64_t length);
/* 101, with Connection, Upgrade and what net_header set: from now on the bytes both ways are the caller's own. What the peer
 * sends comes by on_body, what it sent right behind its head too, never before this has returned; net_stream_write, _end and
 * _abort write and end as for a stream, unframed. A peer that finishes or breaks off is on_gone. No deadline but that of a peer
 * that does not read; net_server_drain leaves it to the caller to end it. In on_head, on_request or later; a request of
 * HTTP/1.0 or one whose body is not yet read gets a 400 instead. */
void net_upgrade(struct net_exchange *x, struct slice protocol);
/* One call = one chunk = one write to the socket if it takes it. False: more than write_high_bytes wait; on_drain follows. */
bool net_stream_write(struct net_exchange *x, struct slice data);
void net_stream_end(struct net_exchange *x);
/* The stream must not look finished: close without the last chunk. on_gone follows. */
void net_stream_abort(struct net_exchange *x);
bool net_answered(const struct net_exchange *x);

#endif
