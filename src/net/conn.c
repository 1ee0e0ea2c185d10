#include "net/conn.h"
#include "net/tls.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* What did not fit into the kernel's buffer: one write is on its way (`flying`), what comes meanwhile waits and goes
 * as one write afterwards, so that many small pieces to a slow peer cost no request each. */
struct net_outq {
    uv_write_t request;
    struct buf flying, waiting;
    bool busy;
};

int net_conn_init(struct net_conn *c, struct net_loop *l, bool is_tcp,
                  const struct net_conn_hooks *hooks) {
    c->loop = l;
    c->hooks = hooks;
    c->is_tcp = is_tcp;
    return is_tcp ? uv_tcp_init(&l->uv, &c->h.tcp) : uv_pipe_init(&l->uv, &c->h.pipe, 0);
}

int net_conn_open(struct net_conn *c, int fd) {
    return c->is_tcp ? uv_tcp_open(&c->h.tcp, fd) : uv_pipe_open(&c->h.pipe, fd);
}

/* --- reading --- */

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    struct net_conn *c = (struct net_conn *)handle;
    *out = uv_buf_init(c->loop->read_buf, NET_READ_BYTES);
}

void net_conn_fail(struct net_conn *c, int status) {
    if (c->ended || c->closing) return;
    c->ended = true;
    net_conn_stop(c);
    c->hooks->on_end(c, status);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct net_conn *c = (struct net_conn *)stream;
    if (nread == 0 || c->closing || c->ended) return;
    if (c->tls != NULL)
        net_tls_received(c, buf->base, nread);
    else if (nread < 0)
        net_conn_fail(c, (int)nread);
    else
        c->hooks->on_data(c, buf->base, (size_t)nread);
}

int net_conn_read(struct net_conn *c) {
    if (c->reading || c->ended || c->closing) return 0;
    int r = uv_read_start(&c->h.stream, give_buffer, on_read);
    c->reading = r == 0;
    return r;
}

void net_conn_stop(struct net_conn *c) {
    if (!c->reading) return;
    c->reading = false;
    uv_read_stop(&c->h.stream);
}

bool net_conn_peer_left(const struct net_conn *c) {
    struct pollfd p = {.events = POLLRDHUP};
    if (uv_fileno(&c->h.any, &p.fd) < 0) return true;
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* --- writing --- */

static int fly(struct net_conn *c);

static void on_written(uv_write_t *request, int status) {
    struct net_conn *c = request->data;
    struct net_outq *q = c->out;
    q->busy = false;
    if (c->closing) return;
    buf_reset(&q->flying, NET_READ_BYTES);
    if (status == 0 && buf_len(&q->waiting) > 0) status = fly(c);
    if (status < 0)
        net_conn_fail(c, status);
    else
        c->hooks->on_flushed(c);
}

static int fly(struct net_conn *c) {
    struct net_outq *q = c->out;
    struct buf next = q->waiting;
    q->waiting = q->flying;
    q->flying = next;
    uv_buf_t bytes = uv_buf_init(q->flying.base + q->flying.start, (unsigned)buf_len(&q->flying));
    q->request.data = c;
    int r = uv_write(&q->request, &c->h.stream, &bytes, 1, on_written);
    q->busy = r == 0;
    return r;
}

/* Queues what lies behind the first `skip` bytes of the parts. */
static int queue_rest(struct net_conn *c, const uv_buf_t *parts, unsigned n, size_t skip) {
    if (c->out == NULL) {
        c->out = calloc(1, sizeof *c->out);
        if (c->out == NULL) return UV_ENOMEM;
        buf_init(&c->out->flying, NET_MAX_QUEUED_BYTES);
        buf_init(&c->out->waiting, NET_MAX_QUEUED_BYTES);
    }
    for (unsigned i = 0; i < n; i++) {
        size_t cut = skip < parts[i].len ? skip : parts[i].len;
        skip -= cut;
        if (!buf_add(&c->out->waiting, slice_make(parts[i].base + cut, parts[i].len - cut)))
            return UV_ENOBUFS;
    }
    return c->out->busy ? 0 : fly(c);
}

int net_conn_write_raw(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    if (c->closing) return UV_ECANCELED;
    size_t all = 0;
    for (unsigned i = 0; i < n; i++) all += parts[i].len;
    c->written += all;
    if (c->out != NULL && c->out->busy) return queue_rest(c, parts, n, 0);
    int sent = uv_try_write(&c->h.stream, parts, n);
    if (sent < 0 && sent != UV_EAGAIN) return sent;
    if (sent == (int)all) return 0;
    return queue_rest(c, parts, n, sent < 0 ? 0 : (size_t)sent);
}

int net_conn_write(struct net_conn *c, const uv_buf_t *parts, unsigned n) {
    return c->tls != NULL ? net_tls_write(c, parts, n) : net_conn_write_raw(c, parts, n);
}

size_t net_conn_queued(const struct net_conn *c) {
    if (c->out == NULL || !c->out->busy) return 0;
    return uv_stream_get_write_queue_size(&c->h.stream) + buf_len(&c->out->waiting);
}

/* --- the end --- */

void net_conn_shutdown(struct net_conn *c) {
    uv_os_fd_t fd;
    if (c->closing) return;
    if (c->tls != NULL) net_tls_goodbye(c);
    if (uv_fileno(&c->h.any, &fd) == 0) shutdown(fd, SHUT_WR);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct net_conn *c = (struct net_conn *)handle;
    if (c->out != NULL) {
        buf_free(&c->out->flying);
        buf_free(&c->out->waiting);
        free(c->out);
        c->out = NULL;
    }
    net_tls_session_free(c->tls);
    c->tls = NULL;
    c->hooks->on_closed(c);
}

void net_conn_close(struct net_conn *c) {
    if (c->closing) return;
    c->closing = true;
    c->reading = false;
    uv_close(&c->h.any, on_handle_closed);
}

void net_conn_reset(struct net_conn *c) {
    if (c->closing) return;
    if (c->is_tcp && uv_tcp_close_reset(&c->h.tcp, on_handle_closed) == 0) {
        c->closing = true;
        c->reading = false;
        return;
    }
    net_conn_close(c);
}
