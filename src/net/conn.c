#include "net/conn.h"
#include "net/tls.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

/* Full reads in a row from one connection before the others have their turn. */
#define READS_PER_WAKE 8
/* Parts that together are smaller leave from one piece: copying is cheaper than a vector. */
#define GATHER_BYTES 8192U

static void on_poll(uv_poll_t *handle, int status, int events);

static void set_interest(struct net_conn *c) {
    int want = 0;
    if (c->reading) want |= UV_READABLE;
    if (c->watching) want |= UV_DISCONNECT;
    if (c->connecting || c->filling || buf_len(&c->out) > 0) want |= UV_WRITABLE;
    if (want == c->interest || c->closing) return;
    c->interest = want;
    if (want == 0)
        uv_poll_stop(&c->poll);
    else
        uv_poll_start(&c->poll, want, on_poll);
}

int net_conn_init(struct net_conn *c, struct net_loop *l, int fd, bool is_tcp,
                  const struct net_conn_hooks *hooks) {
    c->loop = l;
    c->hooks = hooks;
    c->is_tcp = is_tcp;
    c->fd = fd;
    buf_init(&c->out, NET_MAX_QUEUED_BYTES);
    return uv_poll_init(&l->uv, &c->poll, fd);
}

int net_conn_connect(struct net_conn *c, const struct sockaddr *sa, socklen_t len) {
    if (connect(c->fd, sa, len) < 0 && errno != EINPROGRESS) return -errno;
    c->connecting = true;
    set_interest(c);
    return 0;
}

/* --- reading --- */

void net_conn_read(struct net_conn *c) {
    if (c->reading || c->ended || c->closing) return;
    c->reading = true;
    c->watching = false;
    set_interest(c);
}

void net_conn_stop(struct net_conn *c) {
    c->reading = c->watching = false;
    set_interest(c);
}

void net_conn_watch(struct net_conn *c) {
    if (c->ended || c->closing) return;
    c->reading = false;
    c->watching = true;
    set_interest(c);
}

void net_conn_fail(struct net_conn *c, int status) {
    if (c->ended || c->closing) return;
    c->ended = true;
    net_conn_stop(c);
    c->hooks->on_end(c, status);
}

static void received(struct net_conn *c, ssize_t n) {
    if (c->tls != NULL)
        net_tls_received(c, c->loop->read_buf, n);
    else if (n < 0)
        net_conn_fail(c, (int)n);
    else
        c->hooks->on_data(c, c->loop->read_buf, (size_t)n);
}

static void read_some(struct net_conn *c) {
    for (int i = 0; i < READS_PER_WAKE && c->reading && !c->closing; i++) {
        ssize_t n = recv(c->fd, c->loop->read_buf, NET_READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        received(c, n > 0 ? n : n == 0 ? UV_EOF : -errno);
        if (n < (ssize_t)NET_READ_BYTES) return;
    }
}

/* --- writing --- */

static void flush(struct net_conn *c) {
    size_t before = buf_len(&c->out);
    while (buf_len(&c->out) > 0) {
        struct slice left = buf_slice(&c->out);
        ssize_t n = send(c->fd, left.ptr, left.len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (n < 0) {
            int status = -errno;
            buf_reset(&c->out, 0);
            set_interest(c);
            net_conn_fail(c, status);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
    if (buf_len(&c->out) == 0) {
        buf_reset(&c->out, 0);
        set_interest(c);
    }
    if (buf_len(&c->out) < before) c->hooks->on_flushed(c);
}

/* How many bytes the kernel took, or a negative error. */
static ssize_t send_parts(struct net_conn *c, const uv_buf_t *parts, unsigned n, size_t all) {
    char together[GATHER_BYTES];
    ssize_t sent;
    if (n == 1) {
        sent = send(c->fd, parts[0].base, parts[0].len, MSG_NOSIGNAL);
    } else if (all <= sizeof together) {
        char *at = together;
        for (unsigned i = 0; i < n; i++) {
            memcpy(at, parts[i].base, parts[i].len);
            at += parts[i].len;
        }
        sent = send(c->fd, together, all, MSG_NOSIGNAL);
    } else {
        struct iovec v[4];
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
        for (unsigned i = 0; i < n; i++) v[i] = (struct iovec){parts[i].base, parts[i].len};
        sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    }
    if (sent >= 0) return sent;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int net_conn_write_raw(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    size_t all = 0, skip = 0;
    if (c->closing) return UV_ECANCELED;
    for (unsigned i = 0; i < n; i++) all += parts[i].len;
    c->written += all;
    if (buf_len(&c->out) == 0) {
        ssize_t sent = send_parts(c, parts, n, all);
        if (sent < 0) return (int)sent;
        skip = (size_t)sent;
        if (skip == all) return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t cut = skip < parts[i].len ? skip : parts[i].len;
        skip -= cut;
        if (!buf_add(&c->out, slice_make(parts[i].base + cut, parts[i].len - cut)))
            return UV_ENOBUFS;
    }
    set_interest(c);
    return 0;
}

int net_conn_write(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    return c->tls != NULL ? net_tls_write(c, parts, n) : net_conn_write_raw(c, parts, n);
}

ssize_t net_conn_send_file(struct net_conn *c, int fd, uint64_t at, size_t n) {
    off_t from = (off_t)at;
    if (c->closing) return UV_ECANCELED;
    ssize_t sent = sendfile(c->fd, fd, &from, n);
    if (sent > 0) c->written += (uint64_t)sent;
    if (sent != 0) return sent > 0 ? sent : errno == EINTR ? UV_EAGAIN : -errno;
    return UV_EOF;
}

void net_conn_fill(struct net_conn *c, bool yes) {
    c->filling = yes;
    set_interest(c);
}

/* --- events --- */

static int socket_error(const struct net_conn *c) {
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) error = errno;
    return -error;
}

static void connected(struct net_conn *c) {
    c->connecting = false;
    set_interest(c);
    c->hooks->on_connected(c, socket_error(c));
}

/* On an error of the socket libuv stops the handle and says so; what was received before it is still to be read. */
static void on_poll(uv_poll_t *handle, int status, int events) {
    struct net_conn *c = (struct net_conn *)handle;
    if (status < 0) c->interest = 0;
    if (c->connecting) {
        connected(c);
        return;
    }
    if (status < 0 && !c->reading) {
        int error = socket_error(c);
        buf_reset(&c->out, 0);
        net_conn_fail(c, error < 0 ? error : UV_ECONNRESET);
        if (c->filling && !c->closing) c->hooks->on_writable(c); /* who writes learns it so */
        return;
    }
    if (status < 0 || (events & UV_READABLE) != 0) read_some(c);
    if (!c->closing && (events & UV_DISCONNECT) != 0 && c->watching) net_conn_fail(c, UV_EOF);
    if (!c->closing && (events & UV_WRITABLE) != 0) {
        if (c->filling && buf_len(&c->out) == 0)
            c->hooks->on_writable(c);
        else
            flush(c);
    }
    if (status < 0) set_interest(c);
}

/* --- the end --- */

void net_conn_shutdown(struct net_conn *c) {
    if (c->closing) return;
    if (c->tls != NULL) {
        net_tls_goodbye(c);
        net_tls_drop(c);
    }
    shutdown(c->fd, SHUT_WR);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct net_conn *c = (struct net_conn *)handle;
    buf_free(&c->out);
    net_tls_drop(c);
    c->hooks->on_closed(c);
}

void net_conn_close(struct net_conn *c) {
    if (c->closing) return;
    c->closing = true;
    c->reading = c->watching = false;
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    close(c->fd);
}

void net_conn_reset(struct net_conn *c) {
    static const struct linger hard = {.l_onoff = 1};
    if (c->closing) return;
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    net_conn_close(c);
}
