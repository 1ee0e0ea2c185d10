#include "net/call.h"
#include "net/put.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>

const char *net_fault_name(enum net_fault f) {
    static const char *const names[] = {
        [NET_OK] = "ok",
        [NET_DNS] = "dns",
        [NET_FORBIDDEN] = "forbidden",
        [NET_REFUSED] = "refused",
        [NET_CONNECT_TIMEOUT] = "connect_timeout",
        [NET_TLS] = "tls",
        [NET_FIRST_BYTE_TIMEOUT] = "first_byte_timeout",
        [NET_IDLE_TIMEOUT] = "idle_timeout",
        [NET_TOTAL_TIMEOUT] = "total_timeout",
        [NET_CUT] = "cut",
        [NET_PROTOCOL] = "protocol",
        [NET_CANCELLED] = "cancelled",
        [NET_MEMORY] = "memory",
    };
    return f < sizeof names / sizeof names[0] ? names[f] : "unknown";
}

/* --- origins --- */

static void release(struct net_defer *d) {
    struct net_origin *o = (struct net_origin *)((char *)d - offsetof(struct net_origin, release));
    for (struct net_call *c = o->spare, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    net_tls_ticket_free(o->tls_ticket);
    buf_free(&o->host_line);
    buf_free(&o->out);
    free(o->host);
    free(o->unix_path);
    free(o);
}

void origin_maybe_release(struct net_origin *o) {
    if (o->freed && o->handles == 0 && !o->resolving) net_defer(o->loop, &o->release);
}

static bool put_host_line(struct net_origin *o) {
    bool v6 = strchr(o->host, ':') != NULL && o->host[0] != '[';
    buf_puts(&o->host_line, "Host: ");
    buf_printf(&o->host_line, v6 ? "[%s]" : "%s", o->host);
    if (o->unix_path == NULL && o->port != (o->tls != NULL ? 443 : 80))
        buf_printf(&o->host_line, ":%u", o->port);
    return buf_puts(&o->host_line, "\r\n");
}

struct net_origin *net_origin_new(struct net_loop *l, const struct net_origin_options *opt) {
    struct net_origin *o = calloc(1, sizeof *o);
    socklen_t len;
    if (o == NULL) return NULL;
    o->loop = l;
    o->port = opt->port;
    o->tls = opt->tls;
    o->max_idle = opt->max_idle > 0 ? opt->max_idle : 1024;
    o->idle_ms = opt->idle_ms > 0 ? opt->idle_ms : 60000;
    o->allow = opt->allow;
    o->allow_user = opt->allow_user;
    o->release.run = release;
    buf_init(&o->host_line, 1024);
    buf_init(&o->out, 1U << 20);
    o->host = slice_dup(slice_of(opt->unix_path != NULL ? "localhost" : opt->host));
    if (opt->unix_path != NULL) o->unix_path = slice_dup(slice_of(opt->unix_path));
    if (o->host == NULL || (opt->unix_path != NULL && o->unix_path == NULL) || !put_host_line(o)) {
        release(&o->release);
        return NULL;
    }
    o->literal = net_sockaddr_parse(o->host, o->port, &o->addresses[0], &len);
    o->naddresses = o->literal ? 1 : 0;
    return o;
}

void net_origin_flush(struct net_origin *o) {
    while (o->idle != NULL) link_close(o->idle);
}

void net_origin_free(struct net_origin *o) {
    if (o == NULL || o->freed) return;
    o->freed = true;
    while (o->calls != NULL) call_end(o->calls, NET_CANCELLED, "origin closed");
    net_origin_flush(o);
    if (o->resolving) uv_cancel((uv_req_t *)&o->lookup);
    origin_maybe_release(o);
}

/* --- calls --- */

static void arm(struct net_call *c) {
    uint64_t now_ms = net_now_ms(c->origin->loop),
             due_ms = c->due_ms < c->total_ms ? c->due_ms : c->total_ms;
    net_timer_start(c->origin->loop, &c->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

void call_deadline(struct net_call *c, uint64_t after_ms) {
    c->due_ms = net_now_ms(c->origin->loop) + after_ms;
    arm(c);
}

static void on_timer(struct net_timer *t) {
    struct net_call *c = (struct net_call *)((char *)t - offsetof(struct net_call, timer));
    uint64_t now_ms = net_now_ms(c->origin->loop);
    if (now_ms >= c->total_ms) {
        call_end(c, NET_TOTAL_TIMEOUT, "not complete in time");
        return;
    }
    if (now_ms < c->due_ms) {
        arm(c);
        return;
    }
    switch (c->state) {
    case RESOLVING: call_end(c, NET_CONNECT_TIMEOUT, "name not resolved in time"); break;
    case CONNECTING: call_end(c, NET_CONNECT_TIMEOUT, "not connected in time"); break;
    case HEAD: call_end(c, NET_FIRST_BYTE_TIMEOUT, "no answer in time"); break;
    case BODY: call_end(c, NET_IDLE_TIMEOUT, "silent for too long"); break;
    case ENDED: break;
    }
}

static void on_deferred(struct net_defer *d) {
    struct net_call *c = (struct net_call *)((char *)d - offsetof(struct net_call, defer));
    if (c->end.fault != NET_OK)
        call_end(c, c->end.fault, c->end.detail);
    else if (!c->paused && c->link != NULL)
        link_resume(c->link);
}

static struct net_call *take_call(struct net_origin *o) {
    struct net_call *c = o->spare;
    if (c != NULL) {
        o->spare = c->next;
        o->nspare--;
    } else if ((c = malloc(sizeof *c)) == NULL) {
        return NULL;
    }
    *c = (struct net_call){.origin = o, .next = o->calls};
    c->timer.fire = on_timer;
    c->defer.run = on_deferred;
    if (o->calls != NULL) o->calls->prev = c;
    o->calls = c;
    return c;
}

/* Off the books: no timer, no hook reaches it any more. */
static void unhook(struct net_call *c) {
    struct net_origin *o = c->origin;
    net_timer_stop(o->loop, &c->timer);
    net_defer_cancel(o->loop, &c->defer);
    c->state = ENDED;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        o->calls = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
}

static void give_back(struct net_call *c) {
    struct net_origin *o = c->origin;
    if (o->nspare >= ORIGIN_SPARE_CALLS) {
        free(c);
        return;
    }
    c->next = o->spare;
    o->spare = c;
    o->nspare++;
}

static void part_from_link(struct net_call *c, bool keep) {
    struct link *k = c->link;
    if (k == NULL) return;
    c->link = NULL;
    k->call = NULL;
    if (keep)
        link_keep(k);
    else
        link_close(k);
}

void call_end(struct net_call *c, enum net_fault fault, const char *detail) {
    if (c->state == ENDED) return;
    struct net_call_end end = c->end;
    end.fault = fault;
    end.detail = detail;
    unhook(c);
    part_from_link(c, fault == NET_OK && c->keep_alive);
    c->opt.hooks->on_end(c, &end, c->opt.user);
    give_back(c);
}

void call_end_later(struct net_call *c, enum net_fault fault, const char *detail) {
    c->end.fault = fault;
    c->end.detail = detail;
    net_defer(c->origin->loop, &c->defer);
}

static bool put_request_head(struct net_call *c) {
    struct net_origin *o = c->origin;
    struct buf *out = &o->out;
    struct slice method = slice_of(c->opt.method), host = buf_slice(&o->host_line);
    buf_reset(out, NET_READ_BYTES);
    char *at = put_begin(out, 128 + method.len + c->opt.path.len + host.len + c->opt.headers.len);
    if (at == NULL) return false;
    at = put(PUT(put(at, method), " "), c->opt.path);
    at = put(PUT(at, " HTTP/1.1\r\n"), host);
    at = put(at, c->opt.headers);
    if (c->opt.body.len > 0 || !(slice_is(method, "GET") || slice_is(method, "HEAD")))
        at = PUT(put_u64(PUT(at, "Content-Length: "), c->opt.body.len), "\r\n");
    put_done(out, PUT(at, "\r\n"));
    return true;
}

void call_send(struct net_call *c) {
    struct net_origin *o = c->origin;
    if (!put_request_head(c)) {
        call_end_later(c, NET_MEMORY, "request head too large");
        return;
    }
    uv_buf_t parts[2] = {
        uv_buf_init(o->out.base + o->out.start, (unsigned)buf_len(&o->out)),
        uv_buf_init((char *)(uintptr_t)c->opt.body.ptr, (unsigned)c->opt.body.len)};
    c->state = HEAD;
    c->end.sent = true;
    call_deadline(c, c->opt.deadlines.first_byte_ms);
    int r = net_conn_write(&c->link->conn, parts, c->opt.body.len > 0 ? 2 : 1);
    if (r < 0) call_broken(c, r);
}

bool net_call_sent(const struct net_call *c) {
    return c->end.sent;
}

/* A kept connection may have been closed by the peer while the request was on its way: that is nobody's fault, and the
 * peer has not begun to answer. Once, on a fresh one. */
void call_broken(struct net_call *c, int status) {
    struct net_call_end *end = &c->end;
    if (end->reused && !c->repeated && !c->got_bytes) {
        part_from_link(c, false);
        c->repeated = true;
        end->reused = false;
        call_dial(c);
        return;
    }
    call_end_later(c, NET_CUT, uv_strerror(status));
    if (c->link != NULL) net_conn_stop(&c->link->conn);
}

struct net_call *net_call_start(struct net_origin *o, const struct net_call_options *opt) {
    struct net_call *c = o->freed ? NULL : take_call(o);
    if (c == NULL) return NULL;
    c->opt = *opt;
    c->total_ms = net_now_ms(o->loop) + opt->deadlines.total_ms;
    struct link *k = link_take(o);
    if (k == NULL) {
        call_dial(c);
        return c;
    }
    c->link = k;
    k->call = c;
    c->end.reused = true;
    call_send(c);
    return c;
}

void net_call_pause(struct net_call *c) {
    if (c->paused || c->state == ENDED) return;
    c->paused = true;
    if (c->state != BODY) return; /* the answer's head is still waited for */
    c->due_ms = UINT64_MAX;       /* the timer finds out when it fires */
    if (c->link != NULL) net_conn_stop(&c->link->conn);
}

void net_call_resume(struct net_call *c) {
    if (!c->paused || c->state == ENDED) return;
    c->paused = false;
    if (c->state == BODY) net_defer(c->origin->loop, &c->defer);
}

void net_call_cancel(struct net_call *c) {
    if (c->state == ENDED) return;
    unhook(c);
    part_from_link(c, false);
    give_back(c);
}
