/* One connection's bytes, plain or TLS, TCP or Unix: what server and client stand on. Private to the room.
 *
 * Sockets of our own on uv_poll instead of libuv's streams: send and recv without the detour over files, one queue that
 * many small pieces go into, and a FIN that is seen while nothing is read.
 * Reads land in the loop's shared buffer and are handed on at once. Writes go to the kernel directly; what it does not
 * take is copied and follows by itself. A hook may close the connection it is called for; its memory stays until
 * on_closed. */
#ifndef ANYLLM_NET_CONN_H
#define ANYLLM_NET_CONN_H

#include "base/buf.h"
#include "net/loop.h"

#include <sys/socket.h>

/* What one connection may hold back for a slow peer at the very most. */
#define NET_MAX_QUEUED_BYTES (256U << 20)

struct net_conn;
struct net_tls_session;

struct net_conn_hooks {
    void (*on_connected)(struct net_conn *c,
                         int status); /* after net_conn_connect; 0 or a negative uv error */
    void (*on_data)(struct net_conn *c, const char *data,
                    size_t len); /* data valid during the hook */
    /* The peer finished (UV_EOF) or the connection broke (another uv error, also of a write that was queued).
     * At most once; nothing is read afterwards. */
    void (*on_end)(struct net_conn *c, int status);
    void (*on_flushed)(struct net_conn *c);  /* some or all of the queue went out */
    void (*on_writable)(struct net_conn *c); /* after net_conn_fill: nothing waits, more is taken */
    void (*on_closed)(struct net_conn *c);   /* the last hook; the memory may be freed */
    /* TLS only: why is NULL when the handshake is done (once), else what TLS refused (static): the connection is then
     * without TLS, to be closed or lingered on. */
    void (*on_secure)(struct net_conn *c, const char *why);
    /* TLS of a server only: the client began to speak HTTP without it. The connection is without TLS, the bytes in
     * hand are dropped. */
    void (*on_plain)(struct net_conn *c);
};

struct net_conn {
    uv_poll_t poll;
    struct net_loop *loop;
    const struct net_conn_hooks *hooks;
    struct net_tls_session *tls; /* NULL: plain */
    struct buf out;              /* what the kernel did not take yet */
    uint64_t written;            /* bytes accepted for writing since the start */
    int fd;
    int interest; /* what uv_poll was told */
    bool is_tcp, connecting, reading, watching, filling, ended, closing;
};

/* Takes over a socket; the struct must be zeroed. Afterwards net_conn_close is needed, and on_closed comes.
 * On an error the descriptor remains the caller's. */
int net_conn_init(struct net_conn *c, struct net_loop *l, int fd, bool is_tcp,
                  const struct net_conn_hooks *hooks);
/* 0: on_connected follows (perhaps at once, but not before it has returned). UV_EAGAIN: a Unix socket's queue is full,
 * try again a little later. Otherwise what was wrong. */
int net_conn_connect(struct net_conn *c, const struct sockaddr *sa, socklen_t len);
void net_conn_read(struct net_conn *c); /* harmless when reading already */
void net_conn_stop(struct net_conn *c); /* reads no more: back-pressure through TCP */
/* The same, but the peer's leaving is still told by on_end; what it sent before is then lost. */
void net_conn_watch(struct net_conn *c);
/* All parts, now or later, or a negative uv error (then the connection is of no more use). Never calls a hook. */
int net_conn_write(struct net_conn *c, const uv_buf_t *parts, unsigned n);
/* Plain connections with an empty queue: at most n bytes of a file go to the kernel directly. How many, UV_EAGAIN when it
 * takes none, UV_EOF when the file has none, UV_EINVAL when the file cannot be sent so, or what is wrong. A broken
 * connection raises SIGPIPE, which the process must ignore. */
ssize_t net_conn_send_file(struct net_conn *c, int fd, uint64_t at, size_t n);
/* From now on on_writable is called, once per turn of the loop, whenever the kernel would take more. */
void net_conn_fill(struct net_conn *c, bool yes);
/* Bytes accepted but not yet the kernel's. */
static inline size_t net_conn_queued(const struct net_conn *c) {
    return buf_len(&c->out);
}
/* Sends FIN, TLS's close_notify before it; only with an empty queue. What still comes is for the bin: of TLS it comes
 * as it is. */
void net_conn_shutdown(struct net_conn *c);
void net_conn_close(struct net_conn *c);
void net_conn_reset(
    struct net_conn *c); /* close with RST: the peer must not take what came for whole */

/* For tls.c: the same without TLS in between. */
int net_conn_write_raw(struct net_conn *c, const uv_buf_t *parts, unsigned n);
void net_conn_fail(struct net_conn *c, int status);

#endif
