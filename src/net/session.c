#include "net/session.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TOO_MANY "too many connections"

/* --- answers --- */

/* A body that is still to come: read and dropped when that is little and certain to come, else the connection ends. */
void session_answering(struct session *s) {
    const struct h1_body *b = &s->x.framing;
    bool certain = b->mode == H1_BODY_LENGTH && b->left <= SESSION_DROP_BYTES &&
                   !s->x.head->expect_continue;
    if (!b->done && !certain) s->x.keep = false;
    if (s->server->draining) s->x.keep = false;
    s->state = ANSWER;
}

void session_answered(struct session *s) {
    if (!s->running) net_defer(s->server->loop, &s->defer);
}

void session_fault(struct session *s, unsigned status, const char *reason) {
    struct net_server *server = s->server;
    if (s->x.answer != ANSWER_NONE)
        return; /* cannot be: only a request still being read is found fault with */
    if (status < 500) server->stats.bad_requests++;
    session_answering(s);
    s->x.keep = false;
    answer_format_fault(s, status, reason);
    s->x.answer = ANSWER_WHOLE;
    uv_buf_t all = uv_buf_init(server->out.base + server->out.start,
                               (unsigned)buf_len(&server->out));
    answer_send(s, &all, 1);
    session_answered(s);
}

/* --- HEAD --- */

void session_next(struct session *s) {
    s->state = HEAD;
    s->guarded = false;
    s->scan = (struct h1_scan){0};
    s->idle = s->view.len == 0;
    if (!s->idle)
        session_deadline(s, s->server->limits.head_ms);
    else
        session_deadline(s, s->server->draining ? SESSION_DRAIN_MS : s->server->limits.idle_ms);
}

/* The head is whole: the first `used` bytes of the view. A body that lies whole behind it is copied with it. */
static bool on_head(struct session *s, const struct h1_head *head, size_t used) {
    struct net_server *server = s->server;
    struct net_exchange *x = &s->x;
    h1_body_init(&x->framing, H1_REQUEST, head, false);
    x->drops = head->method == H1_GET || head->method == H1_HEAD || head->method == H1_OPTIONS;
    x->max_body_bytes = x->drops ? SESSION_DROP_BYTES : server->limits.max_body_bytes;
    size_t here = s->view.len - used, body = 0;
    if (x->framing.mode == H1_BODY_LENGTH && !x->drops && x->framing.left <= here &&
        x->framing.left <= x->max_body_bytes)
        body = (size_t)x->framing.left;
    if (!exchange_keep(s, head, used, body)) {
        session_fault(s, 503, "out of memory");
        return true;
    }
    if (body > 0)
        x->framing = (struct h1_body){.mode = H1_BODY_LENGTH, .total = body, .done = true};
    s->view = slice_from(s->view, used + body);
    exchange_begin(s);
    server->hooks.on_head(x, server->user);
    if (s->state == CLOSED) return false;
    return x->answer == ANSWER_NONE ? body_begin(s) : true;
}

static bool read_head(struct session *s) {
    struct h1_head *head = &s->server->scratch;
    struct h1_error err = {0};
    size_t used = 0;
    if (s->view.len == 0) return false;
    switch (h1_head(H1_REQUEST, s->view.ptr, s->view.len, &s->scan, head, &used, &err)) {
    case H1_MORE:
        if (s->idle) session_deadline(s, s->server->limits.head_ms);
        s->idle = false;
        return false;
    case H1_ERROR: session_fault(s, err.status, err.reason); return true;
    case H1_DONE: break;
    }
    return on_head(s, head, used);
}

/* --- ANSWER --- */

static bool linger(struct session *s) {
    if (s->half_closed) {
        session_close(s);
        return false;
    }
    s->state = LINGER;
    s->view = SLICE("");
    s->linger_left = SESSION_LINGER_BYTES;
    session_deadline(s, SESSION_LINGER_MS);
    net_conn_shutdown(&s->conn);
    net_conn_read(&s->conn);
    return false;
}

static bool finish_answer(struct session *s) {
    struct net_exchange *x = &s->x;
    if (x->answer == ANSWER_LOST) {
        session_close(s);
        return false;
    }
    if (x->answer == ANSWER_ABORTED) {
        bool looks_whole = !x->chunked; /* HTTP/1.0: there the end of the stream is FIN */
        exchange_end(s, s->server->hooks.on_gone);
        s->reset = looks_whole;
        if (s->state != CLOSED) s->state = FLUSH;
        return s->state != CLOSED;
    }
    if (x->answer == ANSWER_FILE) {
        file_send(s);
        return x->answer != ANSWER_FILE && s->state != CLOSED;
    }
    if (x->answer != ANSWER_WHOLE || net_conn_queued(&s->conn) > 0) return false;
    bool keep = x->keep && !s->half_closed, unread = !x->framing.done;
    struct h1_body framing = x->framing;
    exchange_end(s, s->server->hooks.on_done);
    if (s->state == CLOSED) return false;
    if (!keep) return linger(s);
    if (!unread) {
        session_next(s);
        return true;
    }
    s->state = DROP;
    s->x.framing = framing;
    s->x.max_body_bytes =
        UINT64_MAX; /* small enough to be dropped: that was looked at before it was kept */
    session_deadline(s, s->server->limits.body_grace_ms);
    return true;
}

/* --- FLUSH --- */

static bool flush_rest(struct session *s) {
    if (net_conn_queued(&s->conn) > 0) return false;
    if (!s->reset) return linger(s);
    session_close(s);
    return false;
}

/* --- events --- */

static void session_run(struct session *s) {
    bool go = !s->running;
    s->running = true;
    while (go) {
        switch (s->state) {
        case HEAD: go = read_head(s); break;
        case BODY: go = body_read(s); break;
        case ANSWER: go = finish_answer(s); break;
        case TUNNEL: go = body_tunnel(s); break;
        case DROP: go = body_drop(s); break;
        case FLUSH: go = flush_rest(s); break;
        case LINGER:
        case CLOSED: go = false; break;
        }
    }
    s->running = false;
}

/* A client that sends ahead is read from up to a bound, one whose body is held not at all; while nothing is read, only
 * its leaving is heard. */
static void throttle(struct session *s) {
    if (s->state == LINGER || s->state == CLOSED || s->half_closed) return;
    size_t ahead = buf_len(&s->in);
    if (ahead == 0) buf_reset(&s->in, 2048);
    if (s->x.held || (s->state == ANSWER && ahead > SESSION_AHEAD_BYTES))
        net_conn_watch(&s->conn);
    else
        net_conn_read(&s->conn);
}

/* Goes on with what was read before. */
static void resume(struct session *s) {
    if (s->state == CLOSED) return;
    s->view = buf_slice(&s->in);
    size_t before = s->view.len;
    session_run(s);
    if (s->state == LINGER || s->state == CLOSED) return;
    buf_consume(&s->in, before - s->view.len);
    throttle(s);
}

static void on_data(struct net_conn *c, const char *data, size_t len) {
    struct session *s = (struct session *)c;
    if (s->state == LINGER) {
        s->linger_left -= len < s->linger_left ? len : s->linger_left;
        if (s->linger_left == 0) session_close(s);
        return;
    }
    if (buf_len(&s->in) > 0 || s->state == ANSWER || s->state == FLUSH) {
        if (!buf_add(&s->in, slice_make(data, len)))
            session_close(s);
        else
            resume(s);
        return;
    }
    s->view = slice_make(data, len);
    session_run(s);
    if (s->state == LINGER || s->state == CLOSED) return;
    if (s->view.len > 0 && !buf_add(&s->in, s->view))
        session_close(s);
    else
        throttle(s);
}

/* FIN from a client whose answer is already made only says that no further request comes. Otherwise it has left:
 * a client that half-closes its connection after the request counts as gone. */
static void on_end(struct net_conn *c, int status) {
    struct session *s = (struct session *)c;
    bool settled = s->state == FLUSH || s->x.answer == ANSWER_WHOLE || s->x.answer == ANSWER_FILE;
    if (status == UV_EOF && settled)
        s->half_closed = true;
    else
        session_close(s);
}

static void on_flushed(struct net_conn *c) {
    struct session *s = (struct session *)c;
    struct net_server *server = s->server;
    s->guarded = false;
    if (net_conn_queued(c) > 0) session_guard(s);
    if ((s->state == ANSWER || s->state == TUNNEL) && s->x.paused &&
        net_conn_queued(c) <= server->limits.write_high_bytes / 2) {
        s->x.paused = false;
        if (server->hooks.on_drain != NULL) server->hooks.on_drain(&s->x, server->user);
    }
    if (net_conn_queued(c) == 0) resume(s);
}

void session_free(struct session *s) {
    if (s == NULL) return;
    arena_free(&s->x.arena);
    buf_free(&s->x.headers);
    buf_free(&s->in);
    buf_free(&s->body);
    free(s);
}

/* What TLS did not like is told by its alert; that arrives like any last word. */
static void on_secure(struct net_conn *c, const char *why) {
    struct session *s = (struct session *)c;
    if (why == NULL && s->refused)
        session_fault(s, 503, TOO_MANY);
    else if (why != NULL && s->state == HEAD)
        linger(s);
    else if (why != NULL)
        session_close(s);
}

static void on_plain(struct net_conn *c) {
    session_fault((struct session *)c, 400,
                  "this is an https address, the request came without TLS");
}

/* A file is being sent and the socket takes more of it. */
static void on_writable(struct net_conn *c) {
    resume((struct session *)c);
}

static void on_closed(struct net_conn *c) {
    struct session *s = (struct session *)c;
    struct net_server *server = s->server;
    session_free(s);
    server_handle_closed(server);
}

static void on_deferred(struct net_defer *d) {
    resume((struct session *)((char *)d - offsetof(struct session, defer)));
}

/* --- deadlines --- */

/* The timer is set when something has to wait, again with every byte taken: when it fires, none was for that long.
 * A session whose answer is being made and that has nothing to send has no deadline: the timer of the state before is left
 * as it is (stopping and starting it would cost every request) and means nothing. */
void session_guard(struct session *s) {
    if (s->guarded || (s->state != ANSWER && s->state != TUNNEL && s->state != FLUSH)) return;
    s->guarded = true;
    session_deadline(s, s->server->limits.write_stall_ms);
}

static void stalled(struct session *s) {
    if (!s->guarded) return;
    s->reset = true;
    session_close(s);
}

static void on_timer(struct net_timer *t) {
    struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));
    switch (s->state) {
    case HEAD:
        if (buf_len(&s->in) > 0)
            session_fault(s, 408, "Request header too slow");
        else
            session_close(s);
        break;
    case BODY: body_late(s); break;
    case ANSWER:
    case TUNNEL:
    case FLUSH: stalled(s); break;
    case DROP:
    case LINGER: session_close(s); break;
    case CLOSED: break;
    }
}

/* --- beginning and end --- */

static const struct net_conn_hooks conn_hooks = {.on_data = on_data,
                                                 .on_end = on_end,
                                                 .on_flushed = on_flushed,
                                                 .on_writable = on_writable,
                                                 .on_closed = on_closed,
                                                 .on_secure = on_secure,
                                                 .on_plain = on_plain};

struct session *session_new(struct net_server *server) {
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->server = server;
    s->slot = NO_SLOT;
    s->timer.fire = on_timer;
    s->defer.run = on_deferred;
    arena_init(&s->x.arena, ARENA_MAX_BYTES);
    buf_init(&s->x.headers, H1_MAX_HEAD_BYTES);
    buf_init(&s->in, SESSION_MAX_IN_BYTES);
    buf_init(&s->body, server->limits.max_body_bytes + NET_READ_BYTES);
    s->x.file = -1;
    exchange_clear(s);
    return s;
}

struct session *session_open(struct net_server *server, int fd, bool is_tcp,
                             const struct net_address *address, struct net_tls_server *tls) {
    struct session *s = session_new(server);
    if (s == NULL || net_conn_init(&s->conn, server->loop, fd, is_tcp, &conn_hooks) < 0) {
        session_free(s);
        close(fd);
        return NULL;
    }
    server->handles++;
    if ((tls != NULL && !net_tls_expect(&s->conn, tls)) || !server_take_slot(server, s)) {
        s->state = CLOSED;
        net_conn_close(&s->conn);
        return NULL;
    }
    s->address = *address;
    s->loopback = !is_tcp || net_address_is_loopback(address);
    s->peer_len = is_tcp ? net_address_text(address, s->peer) : 0;
    return s;
}

void session_begin(struct session *s) {
    s->state = HEAD;
    session_deadline(s, s->server->limits.head_ms);
    net_conn_read(&s->conn);
}

void session_refuse(struct session *s) {
    s->refused = true;
    s->server->refusing++;
    session_begin(s);
    if (s->conn.tls == NULL) session_fault(s, 503, TOO_MANY);
}

void session_close(struct session *s) {
    if (s->state == CLOSED) return;
    s->state = CLOSED;
    /* A goodbye in the middle of an exchange could make a cut answer look whole. */
    if (s->conn.tls != NULL && s->x.id == 0 && !s->reset) net_tls_goodbye(&s->conn);
    net_timer_stop(s->server->loop, &s->timer);
    net_defer_cancel(s->server->loop, &s->defer);
    if (s->reset)
        net_conn_reset(&s->conn);
    else
        net_conn_close(&s->conn);
    exchange_end(s, s->server->hooks.on_gone);
    server_free_slot(s->server, s);
}

/* Connections between two requests end soon; a request already on its way is still answered. */
void session_drain(struct session *s) {
    if (s->state == HEAD && buf_len(&s->in) == 0) session_deadline(s, SESSION_DRAIN_MS);
}
