/* From a name to a connection: every address in turn, all within connect_ms. */
#include "net/call.h"
#include "net/tls.h"

#include <sys/un.h>

static void connect_next(struct net_call *c);

/* --- names --- */

static void keep_addresses(struct net_origin *o, const struct addrinfo *list) {
    o->naddresses = 0;
    for (const struct addrinfo *a = list; a != NULL && o->naddresses < ORIGIN_MAX_ADDRESSES;
         a = a->ai_next) {
        union net_sockaddr *sa = &o->addresses[o->naddresses];
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
        memcpy(sa, a->ai_addr, a->ai_family == AF_INET ? sizeof sa->v4 : sizeof sa->v6);
        *(a->ai_family == AF_INET ? &sa->v4.sin_port : &sa->v6.sin6_port) = htons(o->port);
        o->naddresses++;
    }
    o->resolved_ms = o->naddresses > 0 ? net_now_ms(o->loop) : 0;
}

static struct net_call *first_waiting(struct net_origin *o) {
    struct net_call *c = o->calls;
    while (c != NULL && (c->state != RESOLVING || c->end.fault != NET_OK)) c = c->next;
    return c;
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list) {
    struct net_origin *o = lookup->data;
    o->resolving = false;
    if (status == 0) keep_addresses(o, list);
    uv_freeaddrinfo(list);
    if (status == 0 && o->naddresses == 0) status = UV_EAI_NONAME;
    for (struct net_call *c; (c = first_waiting(o)) != NULL;) {
        if (status < 0)
            call_end(c, NET_DNS, uv_strerror(status));
        else
            connect_next(c);
    }
    origin_maybe_release(o);
}

/* 0, or why it cannot be; on_resolved follows. */
static int look_up(struct net_origin *o) {
    if (o->resolving) return 0;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    o->lookup.data = o;
    int r = uv_getaddrinfo(&o->loop->uv, &o->lookup, on_resolved, o->host, NULL, &hints);
    o->resolving = r == 0;
    return r;
}

static void resolve(struct net_call *c) {
    c->state = RESOLVING;
    int r = look_up(c->origin);
    if (r < 0) call_end_later(c, NET_DNS, uv_strerror(r));
}

static bool known_for_less_than(const struct net_origin *o, uint64_t ms) {
    return o->resolved_ms > 0 && net_now_ms(o->loop) - o->resolved_ms < ms;
}

/* --- connections --- */

static void next_address(struct net_call *c, int status) {
    struct link *k = c->link;
    c->error = status;
    c->link = NULL;
    k->call = NULL;
    link_close(k);
    connect_next(c);
}

void dial_connected(struct link *k, int status) {
    struct net_call *c = k->call;
    if (c == NULL) { /* cancelled, or its time was up */
        link_close(k);
        return;
    }
    net_timer_stop(k->origin->loop, &k->timer);
    if (status < 0) {
        next_address(c, status);
        return;
    }
    net_conn_read(&k->conn);
    if (k->origin->tls == NULL) {
        call_send(c);
        return;
    }
    const char *why = net_tls_begin(&k->conn, k->origin);
    if (why != NULL) call_end(c, NET_TLS, why);
}

/* The address gets its share of the time that is left, so that one that swallows packets does not use up all of it. */
static void share_time(struct net_call *c, struct link *k, size_t left) {
    uint64_t now_ms = net_now_ms(c->origin->loop);
    if (left > 1 && c->due_ms > now_ms)
        net_timer_start(c->origin->loop, &k->timer, (c->due_ms - now_ms) / left);
}

/* Addresses of the origin: the file of a Unix socket, or what the name stands for. */
static size_t addresses(const struct net_origin *o) {
    return o->unix_path != NULL ? 1 : o->naddresses;
}

static int connect_link(struct link *k, size_t address) {
    const struct net_origin *o = k->origin;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (o->unix_path != NULL) {
        size_t len = strlen(o->unix_path);
        if (len >= sizeof un.sun_path) return UV_ENAMETOOLONG;
        memcpy(un.sun_path, o->unix_path, len);
        return net_conn_connect(&k->conn, (const struct sockaddr *)&un, sizeof un);
    }
    const union net_sockaddr *sa = &o->addresses[address];
    return net_conn_connect(&k->conn, &sa->any,
                            sa->any.sa_family == AF_INET ? sizeof sa->v4 : sizeof sa->v6);
}

static void try_address(struct net_call *c, struct link *k) {
    struct net_origin *o = c->origin;
    int status = connect_link(k, c->address - 1);
    k->queue_full = status == UV_EAGAIN && o->unix_path != NULL;
    if (k->queue_full)
        net_timer_start(o->loop, &k->timer, DIAL_AGAIN_MS);
    else if (status < 0)
        next_address(c, status);
    else
        share_time(c, k, addresses(o) - c->address + 1);
}

void dial_timer(struct link *k) {
    if (k->queue_full)
        try_address(k->call, k);
    else
        next_address(k->call, UV_ETIMEDOUT);
}

static bool allowed(const struct net_origin *o, size_t address) {
    return o->allow == NULL || o->unix_path != NULL ||
           o->allow(o->allow_user, &o->addresses[address].any);
}

/* No address is left to try; those of a while ago were perhaps the wrong ones. */
static void give_up(struct net_call *c) {
    struct net_origin *o = c->origin;
    bool renewed = c->stale && known_for_less_than(o, ORIGIN_NAME_MS);
    if (!renewed) o->resolved_ms = 0;
    if (!c->stale) {
        bool tried = c->error != 0;
        call_end_later(c, tried ? NET_REFUSED : NET_FORBIDDEN,
                       tried ? uv_strerror(c->error) : "the address is not allowed");
        return;
    }
    c->stale = false;
    c->address = 0;
    c->error = 0;
    if (renewed)
        connect_next(c);
    else
        resolve(c);
}

/* Each address is judged here and connected to in the same breath: a name that means another one a moment later gains
 * nothing by it. */
static void connect_next(struct net_call *c) {
    struct net_origin *o = c->origin;
    int status;
    c->state = CONNECTING;
    while (c->address < addresses(o) && !allowed(o, c->address)) c->address++;
    if (c->address >= addresses(o)) {
        give_up(c);
        return;
    }
    int family = o->unix_path != NULL ? AF_UNIX : o->addresses[c->address].any.sa_family;
    struct link *k = link_new(o, family, &status);
    if (k == NULL) {
        call_end_later(c, status == UV_ENOMEM ? NET_MEMORY : NET_REFUSED, uv_strerror(status));
        return;
    }
    c->address++;
    c->link = k;
    k->call = c;
    try_address(c, k);
}

/* A name that was known is asked for again beside the call: a name server that is slow, or busy with the names of others,
 * holds up nobody whose peer stayed where it was. */
void call_dial(struct net_call *c) {
    struct net_origin *o = c->origin;
    bool fixed = o->unix_path != NULL || o->literal;
    c->address = 0;
    c->error = 0;
    call_deadline(c, c->opt.deadlines.connect_ms);
    c->stale = !fixed && !known_for_less_than(o, ORIGIN_NAME_MS) &&
               known_for_less_than(o, ORIGIN_STALE_MS);
    if (c->stale) look_up(o);
    if (fixed || known_for_less_than(o, ORIGIN_STALE_MS))
        connect_next(c);
    else
        resolve(c);
}
