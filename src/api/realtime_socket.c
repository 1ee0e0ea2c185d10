#include "api/realtime_socket.h"

#include <stdlib.h>

struct socket_waiting {
    struct socket_waiting *next;
    enum ws_kind kind;
    size_t len;
    char data[];
};

static struct socket *socket_of(struct call *c) {
    return c->own; /* the first member of what the handlers keep */
}

/* --- writing */

static void set_ping(struct socket *s) {
    if (s->busy && !s->over)
        net_timer_start(s->call->api->loop, &s->ping, SOCKET_PING_MS);
    else
        net_timer_stop(s->call->api->loop, &s->ping);
}

static void set_idle(struct socket *s) {
    const struct api *a = s->call->api;
    if (s->busy || s->nwaiting > 0 || ws_is_closing(s->ws))
        net_timer_stop(a->loop, &s->idle);
    else
        net_timer_start(a->loop, &s->idle, a->config->realtime_idle_s * UINT64_C(1000));
}

static void end(struct socket *s) {
    if (s->over) return;
    s->over = true;
    net_timer_stop(s->call->api->loop, &s->bye);
    set_ping(s);
    net_stream_end(s->call->x);
}

/* Not read from while it does not read itself, or while enough waits. A closing one is read on, for its own close. */
static void set_pace(struct socket *s) {
    bool full = !s->drops &&
                (s->nwaiting >= s->max_waiting || s->waiting_bytes > SOCKET_WAITING_BYTES);
    bool pause = (s->blocked || full) && !ws_is_closing(s->ws);
    if (pause == s->paused || s->over) return;
    s->paused = pause;
    if (pause)
        net_body_pause(s->call->x);
    else
        net_body_resume(s->call->x);
}

/* After every call of ws: what it has for the peer, and whether that was the last. */
static void flush(struct socket *s) {
    struct buf *out = ws_out(s->ws);
    if (s->over) return;
    if (buf_len(out) > 0) {
        if (!net_stream_write(s->call->x, buf_slice(out))) s->blocked = true;
        buf_reset(out, 0);
        set_ping(s);
    }
    if (ws_is_over(s->ws))
        end(s);
    else if (ws_is_closing(s->ws) && !net_timer_armed(&s->bye))
        net_timer_start(s->call->api->loop, &s->bye, SOCKET_BYE_MS);
    set_pace(s);
}

void socket_say(struct socket *s, enum ws_kind kind, struct slice data) {
    if (!ws_send(s->ws, kind, data) && !ws_is_closing(s->ws))
        ws_close(s->ws, WS_INTERNAL, SLICE("out of memory"));
    flush(s);
}

void socket_close(struct socket *s, enum ws_code code, struct slice reason) {
    net_timer_stop(s->call->api->loop, &s->idle);
    ws_close(s->ws, code, reason);
    flush(s);
}

/* --- messages */

static void forget_first(struct socket *s) {
    struct socket_waiting *w = s->first;
    s->first = w->next;
    if (s->first == NULL) s->last = &s->first;
    s->nwaiting--;
    s->waiting_bytes -= w->len;
    free(w);
}

static bool may_begin(const struct socket *s) {
    return !s->busy && !s->blocked && !s->ending && !ws_is_closing(s->ws);
}

static void begin(struct socket *s, enum ws_kind kind, struct slice data) {
    s->busy = true;
    set_idle(s);
    set_ping(s);
    s->hooks->message(s->call, kind, data);
}

/* Deferred: a message may end within the hook that began it, or within one of the model's. */
static void go_on(struct net_defer *d) {
    struct socket *s = (struct socket *)(void *)((char *)d - offsetof(struct socket, go_on));
    if (s->ending && !s->busy) socket_close(s, WS_GOING_AWAY, SLICE("the server is ending"));
    while (s->first != NULL && may_begin(s)) {
        struct socket_waiting *w = s->first;
        begin(s, w->kind, slice_make(w->data, w->len));
        forget_first(s);
    }
    set_pace(s);
    set_idle(s);
}

void socket_done(struct socket *s) {
    s->busy = false;
    set_ping(s);
    net_defer(s->call->api->loop, &s->go_on);
}

static void wait_for_turn(struct socket *s, enum ws_kind kind, struct slice data) {
    struct socket_waiting *w = malloc(sizeof *w + data.len);
    if (w == NULL) {
        socket_close(s, WS_INTERNAL, SLICE("out of memory"));
        return;
    }
    *w = (struct socket_waiting){.kind = kind, .len = data.len};
    if (data.len > 0) memcpy(w->data, data.ptr, data.len);
    *s->last = w;
    s->last = &w->next;
    s->nwaiting++;
    s->waiting_bytes += w->len;
    while (s->drops && s->nwaiting > 1 &&
           (s->nwaiting > s->max_waiting || s->waiting_bytes > SOCKET_WAITING_BYTES)) {
        forget_first(s);
        s->hooks->dropped(s->call);
    }
}

static void on_message(void *user, enum ws_kind kind, struct slice data) {
    struct socket *s = user;
    if (s->ending) return;
    if (s->first == NULL && may_begin(s))
        begin(s, kind, data);
    else
        wait_for_turn(s, kind, data);
}

/* --- timers */

static void idle_is_due(struct net_timer *t) {
    struct socket *s = (struct socket *)(void *)((char *)t - offsetof(struct socket, idle));
    s->hooks->idle(s->call);
    socket_close(s, WS_NORMAL, SLICE("no inputs"));
}

static void ping_is_due(struct net_timer *t) {
    struct socket *s = (struct socket *)(void *)((char *)t - offsetof(struct socket, ping));
    ws_ping(s->ws);
    flush(s);
    set_ping(s);
}

static void bye_is_due(struct net_timer *t) {
    end((struct socket *)(void *)((char *)t - offsetof(struct socket, bye)));
}

/* --- the exchange */

static void on_bytes(struct call *c, struct slice data) {
    struct socket *s = socket_of(c);
    ws_feed(s->ws, data);
    flush(s);
}

static void on_drained(struct call *c) {
    struct socket *s = socket_of(c);
    s->blocked = false;
    s->hooks->drained(c);
    if (s->blocked) return;
    net_defer(c->api->loop, &s->go_on);
    set_pace(s);
}

static void on_gone(struct call *c) {
    struct socket *s = socket_of(c);
    s->over = true;
    net_timer_stop(c->api->loop, &s->idle);
    net_timer_stop(c->api->loop, &s->ping);
    net_timer_stop(c->api->loop, &s->bye);
    net_defer_cancel(c->api->loop, &s->go_on);
    *s->link = s->next;
    if (s->next != NULL) s->next->link = s->link;
    s->hooks->gone(c);
    while (s->first != NULL) forget_first(s);
    ws_free(s->ws);
}

static void enlist(struct socket *s) {
    struct socket **at = &s->call->api->sockets;
    s->next = *at;
    s->link = at;
    if (s->next != NULL) s->next->link = &s->next;
    *at = s;
}

static void refuse(struct call *c, unsigned status, const char *reason) {
    if (status == 426) net_header(c->x, SLICE("sec-websocket-version"), SLICE("13"));
    call_error(c, status, status == 503 ? "internal_error" : "bad_request", slice_of(reason));
}

bool socket_buffering(struct call *c, size_t *out) {
    uint64_t n = 0;
    size_t count;
    struct slice text = h1_query(c->at.query, SLICE("max_buffering"), &count);
    *out = 0;
    if (count == 0) return true;
    if (count > 1 || !slice_to_range(text, 1, SOCKET_MAX_BUFFERING, &n)) {
        refuse(c, 400, "max_buffering should be a number from 1 to 60");
        return false;
    }
    *out = (size_t)n;
    return true;
}

bool socket_open(struct socket *s, struct call *c, const struct socket_hooks *hooks,
                 size_t max_buffering) {
    static const struct call_hooks mine = {
        .drained = on_drained, .gone = on_gone, .body = on_bytes};
    char accept[WS_ACCEPT_BYTES];
    const char *reason;
    unsigned status;
    if (!ws_handshake(net_head(c->x), accept, &status, &reason)) {
        refuse(c, status, reason);
        return false;
    }
    *s = (struct socket){.call = c,
                         .hooks = hooks,
                         .last = &s->first,
                         .drops = max_buffering > 0,
                         .max_waiting = max_buffering > 0 ? max_buffering : SOCKET_WAITING,
                         .ending = c->api->draining};
    s->idle.fire = idle_is_due;
    s->ping.fire = ping_is_due;
    s->bye.fire = bye_is_due;
    s->go_on.run = go_on;
    s->ws = ws_new(c->api->config->max_body_bytes, on_message, s);
    if (s->ws == NULL) {
        refuse(c, 503, "out of memory");
        return false;
    }
    enlist(s);
    c->hooks = &mine;
    call_headers(c);
    net_header(c->x, SLICE("sec-websocket-accept"), slice_of(accept));
    net_upgrade(c->x, SLICE("websocket"));
    set_idle(s);
    net_defer(c->api->loop, &s->go_on);
    return true;
}

void sockets_end(struct api *a) {
    for (struct socket *s = a->sockets; s != NULL; s = s->next) {
        s->ending = true;
        net_defer(a->loop, &s->go_on);
    }
}
