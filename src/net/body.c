/* The bytes of a request behind its head: kept, given to on_body as they come, or dropped; and those of an upgraded
 * connection, which are all given to on_body. */
#include "net/session.h"

#include <inttypes.h>
#include <stdio.h>

static bool request_whole(struct session *s) {
    struct net_server *server = s->server;
    s->state = ANSWER;
    server->hooks.on_request(&s->x, server->user);
    return s->state != CLOSED;
}

static void refuse_body(struct session *s) {
    char reason[64];
    snprintf(reason, sizeof reason, "Body larger than %" PRIu64 " bytes", s->x.max_body_bytes);
    session_fault(s, 413, reason);
}

/* A body that is to be given to on_body may lie whole behind its head already. */
bool body_begin(struct session *s) {
    struct net_exchange *x = &s->x;
    if (x->framing.done && !x->streams) return request_whole(s);
    if (x->framing.left > x->max_body_bytes || x->framing.total > x->max_body_bytes) {
        refuse_body(s);
        return true;
    }
    if (x->head->expect_continue && x->head->minor > 0 && s->view.len == 0 && !x->framing.done) {
        static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
        uv_buf_t part = uv_buf_init((char *)line, sizeof line - 1);
        answer_send(s, &part, 1);
    }
    if (x->answer == ANSWER_LOST) {
        s->state = ANSWER;
        return true;
    }
    s->state = BODY;
    s->body_ms = x->held_ms = net_now_ms(s->server->loop);
    session_deadline(s, s->server->limits.body_grace_ms);
    return true;
}

/* Room for the whole body at once when it is announced and not large: a lie costs the peer a connection. */
static bool add_to_body(struct session *s, struct slice data) {
    struct net_exchange *x = &s->x;
    if (x->drops) return true;
    size_t all = x->framing.mode == H1_BODY_LENGTH ? data.len + (size_t)x->framing.left : data.len;
    if (buf_len(&s->body) == 0 && all <= 2 * NET_READ_BYTES) buf_reserve(&s->body, all);
    return buf_add(&s->body, data);
}

static void give(struct session *s, struct slice data) {
    const struct net_server *server = s->server;
    if (data.len > 0 && server->hooks.on_body != NULL)
        server->hooks.on_body(&s->x, data, server->user);
}

static void take(struct session *s, struct slice data) {
    if (s->x.streams)
        give(s, data);
    else if (!add_to_body(s, data))
        session_fault(s, 503, "out of memory");
}

/* Consumes what the view has of the body; stops where it is held, answered or found fault with. */
static void feed(struct session *s, bool drop) {
    struct net_exchange *x = &s->x;
    enum session_state state = s->state;
    while (s->state == state && !x->held && !x->framing.done && s->view.len > 0) {
        struct h1_error err = {0};
        struct slice data;
        size_t used = 0;
        enum h1_result r = h1_body_feed(&x->framing, s->view.ptr, s->view.len, &used, &data, &err);
        s->view = slice_from(s->view, used);
        if (r == H1_ERROR)
            session_fault(s, err.status, err.reason);
        else if (x->framing.total > x->max_body_bytes)
            refuse_body(s);
        else if (!drop)
            take(s, data);
    }
}

bool body_read(struct session *s) {
    struct net_exchange *x = &s->x;
    if (x->held) return false;
    if (x->streams && x->body.len > 0) {
        struct slice data = x->body;
        x->body = SLICE("");
        give(s, data);
    } else {
        feed(s, false);
    }
    if (s->state != BODY) return true;
    if (x->held || !x->framing.done) return false;
    x->body = buf_slice(&s->body);
    return request_whole(s);
}

bool body_drop(struct session *s) {
    feed(s, true);
    if (s->state == DROP && s->x.framing.done) session_next(s);
    return s->state != DROP;
}

bool body_tunnel(struct session *s) {
    if (s->x.answer != ANSWER_TUNNEL) { /* ended, broken off or lost */
        s->state = ANSWER;
        return true;
    }
    if (s->x.held || s->view.len == 0) return false;
    struct slice data = s->view;
    s->view = SLICE("");
    give(s, data);
    return true;
}

/* --- time --- */

/* The clock stands while the body is held. */
static uint64_t time_left_ms(const struct session *s) {
    const struct net_server_limits *l = &s->server->limits;
    uint64_t allowed = l->body_grace_ms, passed = net_now_ms(s->server->loop) - s->body_ms;
    if (l->body_min_bytes_per_s > 0) allowed += s->x.framing.total * 1000 / l->body_min_bytes_per_s;
    return passed < allowed ? allowed - passed : 0;
}

void body_late(struct session *s) {
    if (s->x.held) return; /* armed again when it goes on */
    uint64_t left = time_left_ms(s);
    if (left > 0)
        session_deadline(s, left);
    else
        session_fault(s, 408, "Request body too slow");
}

/* --- the face --- */

static struct session *session_of(struct net_exchange *x) {
    return (struct session *)((char *)x - offsetof(struct session, x));
}

void net_stream_body(struct net_exchange *x, uint64_t max_bytes) {
    if (x->id == 0 || session_of(x)->state != HEAD || x->drops) return;
    x->streams = true;
    x->max_body_bytes = max_bytes;
}

/* Is there anything that could still come by on_body? */
static bool is_given(const struct net_exchange *x) {
    return x->id != 0 && ((x->streams && x->answer == ANSWER_NONE) || x->answer == ANSWER_TUNNEL);
}

/* What the next read brings is kept; then, or behind what is being given now, reading stops. */
void net_body_pause(struct net_exchange *x) {
    struct session *s = session_of(x);
    if (!is_given(x) || x->held) return;
    x->held = true;
    x->held_ms = net_now_ms(s->server->loop);
}

void net_body_resume(struct net_exchange *x) {
    struct session *s = session_of(x);
    if (!is_given(x) || !x->held) return;
    x->held = false;
    s->body_ms += net_now_ms(s->server->loop) - x->held_ms;
    if (s->state == BODY && !net_timer_armed(&s->timer)) session_deadline(s, time_left_ms(s));
    session_answered(s);
}
