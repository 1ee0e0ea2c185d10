#include "net/call.h"
#include "net/tls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* --- the idle list --- */

static void leave_idle(struct link *k) {
    struct net_origin *o = k->origin;
    if (!k->idle) return;
    k->idle = false;
    o->nidle--;
    if (k->above != NULL)
        k->above->below = k->below;
    else
        o->idle = k->below;
    if (k->below != NULL) k->below->above = k->above;
    k->above = k->below = NULL;
}

void link_keep(struct link *k) {
    struct net_origin *o = k->origin;
    if (o->freed || o->nidle >= o->max_idle || k->keep_ms == 0 || k->served >= k->max_served ||
        k->conn.ended || !k->conn.reading) {
        link_close(k);
        return;
    }
    k->idle = true;
    k->below = o->idle;
    if (o->idle != NULL) o->idle->above = k;
    o->idle = k;
    o->nidle++;
    net_timer_start(o->loop, &k->timer, k->keep_ms);
}

struct link *link_take(struct net_origin *o) {
    struct link *k = o->idle;
    if (k == NULL) return NULL;
    leave_idle(k);
    k->scan = (struct h1_scan){0};
    return k;
}

void link_close(struct link *k) {
    leave_idle(k);
    net_timer_stop(k->origin->loop, &k->timer);
    net_conn_close(&k->conn);
}

/* --- the answer --- */

/* "timeout=5, max=100": how long and how often the peer lets the connection be used. Servers mean by max either what is
 * left or the total; taking it for what is left is right for both, as the others announce the last answer with close. */
static void obey_keep_alive(struct link *k, const struct h1_head *head) {
    k->keep_ms = k->origin->idle_ms;
    for (struct slice rest = h1_get(head, SLICE("keep-alive"), NULL); rest.len > 0;) {
        struct slice item = slice_cut(rest, ',', &rest), value;
        struct slice name = slice_trim(slice_cut(item, '=', &value));
        uint64_t n;
        if (!slice_to_u64(slice_trim(value), &n)) continue;
        if (slice_eq_nocase(name, SLICE("timeout")) && n < k->keep_ms / 1000 + 1)
            k->keep_ms = n == 0 ? 0 : (uint32_t)n * 1000 - KEEP_ALIVE_MARGIN_MS;
        if (slice_eq_nocase(name, SLICE("max")) && n < UINT32_MAX && k->served + n < k->max_served)
            k->max_served = k->served + n;
    }
    if (k->keep_ms > k->origin->idle_ms) k->keep_ms = k->origin->idle_ms;
}

/* True when the call is still there and wants more. */
static bool still(const struct link *k, const struct net_call *c) {
    return k->call == c && !c->paused;
}

static bool head_read(struct link *k, struct net_call *c, const struct h1_head *head) {
    if (head->status < 200) {
        k->scan = (struct h1_scan){0};
        if (head->status != 101 && ++c->informational <= CALL_MAX_1XX) return true;
        call_end(c, NET_PROTOCOL,
                 head->status == 101 ? "unasked switch of protocols" : "too many 1xx answers");
        return false;
    }
    h1_body_init(&c->framing, H1_RESPONSE, head, strcmp(c->opt.method, "HEAD") == 0);
    c->keep_alive = head->keep_alive && c->framing.mode != H1_BODY_UNTIL_CLOSE;
    k->served++;
    obey_keep_alive(k, head);
    c->state = BODY;
    c->opt.hooks->on_head(c, head, c->opt.user);
    if (k->call == c && c->paused) net_conn_stop(&k->conn); /* perhaps since before the head */
    return still(k, c);
}

static bool read_head(struct link *k, struct net_call *c, struct slice *view) {
    struct h1_head *head =
        &k->origin->scratch; /* it and what it points into: until the hook returns */
    struct h1_error err = {0};
    size_t used = 0;
    switch (h1_head(H1_RESPONSE, view->ptr, view->len, &k->scan, head, &used, &err)) {
    case H1_MORE: return false;
    case H1_ERROR: call_end(c, NET_PROTOCOL, err.reason); return false;
    case H1_DONE: break;
    }
    *view = slice_from(*view, used);
    return head_read(k, c, head);
}

static bool read_body(struct link *k, struct net_call *c, struct slice *view) {
    struct h1_error err = {0};
    struct slice data = SLICE_NONE;
    size_t used = 0;
    enum h1_result r = h1_body_feed(&c->framing, view->ptr, view->len, &used, &data, &err);
    *view = slice_from(*view, used);
    if (r == H1_ERROR) {
        call_end(c, NET_PROTOCOL, err.reason);
        return false;
    }
    if (data.len > 0) c->opt.hooks->on_body(c, data, c->opt.user);
    if (k->call != c) return false;
    if (r == H1_MORE) return view->len > 0 && !c->paused;
    if (c->paused) return false; /* the end is told when it goes on */
    /* Bytes behind the answer, or an answer before the request was all sent: nobody knows what comes next here. */
    if (view->len > 0 || net_conn_queued(&k->conn) > 0) c->keep_alive = false;
    call_end(c, NET_OK, NULL);
    return false;
}

static void ended(struct link *k, struct net_call *c, int status) {
    if (c->state == BODY && c->framing.mode == H1_BODY_UNTIL_CLOSE && status == UV_EOF)
        call_end(c, NET_OK, NULL);
    else
        call_broken(c, status);
}

static void await_more(struct link *k, struct net_call *c) {
    if (c->state != BODY || c->paused) return;
    if (k->end_status != 0) {
        ended(k, c, k->end_status);
        return;
    }
    call_deadline(c, c->opt.deadlines.idle_ms);
}

/* Consumes what it can of the view; what is left stays in k->in. */
static void feed(struct link *k, struct slice view, bool own) {
    struct net_call *c = k->call;
    size_t before = view.len;
    bool go = true;
    while (go) {
        if (c->state == HEAD)
            go = view.len > 0 && read_head(k, c, &view);
        else
            go = read_body(k, c, &view);
    }
    if (k->call != c) return; /* over; the link is idle or closing */
    if (own)
        buf_consume(&k->in, before - view.len);
    else if (view.len > 0 && !buf_add(&k->in, view))
        call_end(c, NET_MEMORY, "answer too far ahead");
    if (k->call == c) await_more(k, c);
}

/* --- events --- */

static void on_data(struct net_conn *conn, const char *data, size_t len) {
    struct link *k = (struct link *)conn;
    struct net_call *c = k->call;
    if (c == NULL) { /* nobody asked */
        link_close(k);
        return;
    }
    bool waits = c->paused && c->state == BODY;
    c->got_bytes = true;
    if (buf_len(&k->in) == 0 && !waits)
        feed(k, slice_make(data, len), false);
    else if (!buf_add(&k->in, slice_make(data, len)))
        call_end(c, NET_MEMORY, "answer too far ahead");
    else if (!waits)
        feed(k, buf_slice(&k->in), true);
}

void link_resume(struct link *k) {
    struct net_call *c = k->call;
    if (c == NULL) return;
    net_conn_read(&k->conn);
    feed(k, buf_slice(&k->in), true);
}

static void on_end(struct net_conn *conn, int status) {
    struct link *k = (struct link *)conn;
    struct net_call *c = k->call;
    if (c == NULL)
        link_close(k);
    else if (c->paused && c->state == BODY)
        k->end_status = status;
    else
        ended(k, c, status);
}

static void on_secure(struct net_conn *conn, const char *why) {
    struct link *k = (struct link *)conn;
    struct net_call *c = k->call;
    if (c == NULL)
        link_close(k);
    else if (why != NULL)
        call_end(c, NET_TLS, why);
    else
        call_send(c);
}

static void on_flushed(struct net_conn *conn) {
    struct link *k = (struct link *)conn;
    struct net_call *c = k->call;
    /* A request that took its time to send: the wait for the answer begins now. */
    if (c != NULL && c->state == HEAD && net_conn_queued(conn) == 0)
        call_deadline(c, c->opt.deadlines.first_byte_ms);
}

static void on_closed(struct net_conn *conn) {
    struct link *k = (struct link *)conn;
    struct net_origin *o = k->origin;
    buf_free(&k->in);
    free(k);
    o->handles--;
    origin_maybe_release(o);
}

static void on_connected(struct net_conn *conn, int status) {
    dial_connected((struct link *)conn, status);
}

static void on_timer(struct net_timer *t) {
    struct link *k = (struct link *)((char *)t - offsetof(struct link, timer));
    if (k->idle) /* else it was taken meanwhile: the timer was not stopped for that */
        link_close(k);
    else if (k->call != NULL && k->call->state == CONNECTING)
        dial_timer(k);
}

static const struct net_conn_hooks hooks = {.on_connected = on_connected,
                                            .on_data = on_data,
                                            .on_end = on_end,
                                            .on_flushed = on_flushed,
                                            .on_closed = on_closed,
                                            .on_secure = on_secure};

struct link *link_new(struct net_origin *o, int family, int *status) {
    struct link *k = calloc(1, sizeof *k);
    int one = 1, fd = -1;
    *status = UV_ENOMEM;
    if (k == NULL) return NULL;
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        *status = -errno;
        goto fail;
    }
    if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((*status = net_conn_init(&k->conn, o->loop, fd, family != AF_UNIX, &hooks)) < 0) goto fail;
    k->origin = o;
    k->max_served = UINT64_MAX;
    k->timer.fire = on_timer;
    buf_init(&k->in, LINK_MAX_IN_BYTES);
    o->handles++;
    return k;
fail:
    if (fd >= 0) close(fd);
    free(k);
    return NULL;
}
