#include "net/session.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_FAULT_BYTES 16384U

static void release(struct net_defer *d);

struct net_server *net_server_new(struct net_loop *l, const struct net_server_limits *limits,
                                  const struct net_server_hooks *hooks, void *user) {
    struct net_server *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->loop = l;
    s->limits = *limits;
    s->hooks = *hooks;
    s->user = user;
    s->free_slot = NO_SLOT;
    s->release.run = release;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    buf_init(&s->out, H1_MAX_HEAD_BYTES + MAX_FAULT_BYTES + 4096);
    buf_init(&s->fault_body, MAX_FAULT_BYTES);
    s->census = net_census_new();
    s->spare = session_new(s);
    if (s->census != NULL && s->spare != NULL) return s;
    s->closed = true;
    release(&s->release);
    return NULL;
}

static void release(struct net_defer *d) {
    struct net_server *s = (struct net_server *)((char *)d - offsetof(struct net_server, release));
    if (s->reserve_fd >= 0) close(s->reserve_fd);
    net_census_free(s->census);
    session_free(s->spare);
    buf_free(&s->out);
    buf_free(&s->fault_body);
    free(s->piece);
    free(s->trusted);
    free(s->slots);
    free(s);
}

int net_server_trust(struct net_server *s, const char *const *cidrs, size_t n) {
    struct net_cidr *all = calloc(n > 0 ? n : 1, sizeof *all);
    if (all == NULL) return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (!net_cidr_parse(cidrs[i], &all[i])) {
            free(all);
            return -EINVAL;
        }
    free(s->trusted);
    s->trusted = all;
    s->ntrusted = n;
    return 0;
}

void net_server_drain(struct net_server *s) {
    if (s->draining) return;
    listeners_sweep(s);
    listeners_close(s);
    s->draining = true;
    for (uint32_t i = 0; i < s->nslots; i++)
        if (s->slots[i].session != NULL) session_drain(s->slots[i].session);
}

void net_server_close(struct net_server *s) {
    if (s->closed) return;
    s->closed = s->draining = true;
    listeners_close(s);
    for (uint32_t i = 0; i < s->nslots; i++)
        if (s->slots[i].session != NULL) session_close(s->slots[i].session);
    if (s->handles == 0) net_defer(s->loop, &s->release);
}

void server_handle_closed(struct net_server *s) {
    s->handles--;
    if (s->closed && s->handles == 0) net_defer(s->loop, &s->release);
}

const struct net_server_stats *net_server_get_stats(const struct net_server *s) {
    return &s->stats;
}

/* --- slots --- */

static bool grow_slots(struct net_server *s) {
    uint32_t n = s->nslots > 0 ? 2 * s->nslots : 64;
    struct slot *slots = n <= MAX_SLOTS ? realloc(s->slots, n * sizeof *slots) : NULL;
    if (slots == NULL) return false;
    for (uint32_t i = n; i-- > s->nslots;) {
        slots[i] = (struct slot){.next_free = s->free_slot};
        s->free_slot = i;
    }
    s->slots = slots;
    s->nslots = n;
    return true;
}

bool server_take_slot(struct net_server *s, struct session *session) {
    if (s->free_slot == NO_SLOT && !grow_slots(s)) return false;
    session->slot = s->free_slot;
    s->free_slot = s->slots[session->slot].next_free;
    s->slots[session->slot].session = session;
    return true;
}

void server_free_slot(struct net_server *s, struct session *session) {
    struct slot *slot = &s->slots[session->slot];
    slot->session = NULL;
    slot->next_free = s->free_slot;
    s->free_slot = session->slot;
    if (session->refused)
        s->refusing--;
    else
        s->stats.connections--;
    if (session->counted) net_census_remove(s->census, &session->address);
}

uint64_t net_exchange_id(const struct net_exchange *x) {
    return x->id;
}

struct net_exchange *net_exchange_find(struct net_server *s, uint64_t id) {
    uint64_t slot = id & (MAX_SLOTS - 1);
    if (id == 0 || slot >= s->nslots || s->slots[slot].session == NULL) return NULL;
    struct net_exchange *x = &s->slots[slot].session->x;
    return x->id == id ? x : NULL;
}

/* --- the request --- */

static const struct session *session_of(const struct net_exchange *x) {
    return (const struct session *)((const char *)x - offsetof(struct session, x));
}

const struct h1_head *net_head(const struct net_exchange *x) {
    return x->head;
}

struct slice net_body(const struct net_exchange *x) {
    return x->body;
}

struct arena *net_arena(struct net_exchange *x) {
    return &x->arena;
}

struct slice net_peer(const struct net_exchange *x) {
    const struct session *s = session_of(x);
    return slice_make(s->peer, s->peer_len);
}

bool net_peer_is_loopback(const struct net_exchange *x) {
    return session_of(x)->loopback;
}

bool net_peer_is_trusted(const struct net_exchange *x) {
    const struct session *s = session_of(x);
    for (size_t i = 0; i < s->server->ntrusted; i++)
        if (net_cidr_has(&s->server->trusted[i], &s->address)) return true;
    return false;
}

bool net_is_tls(const struct net_exchange *x) {
    return session_of(x)->conn.tls != NULL;
}

void net_set_user(struct net_exchange *x, void *data) {
    x->user = data;
}

void *net_get_user(const struct net_exchange *x) {
    return x->user;
}
