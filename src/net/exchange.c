#include "net/keep.h"
#include "net/session.h"

static const struct h1_head no_head = {.minor = 1};

/* Once: this is the only copy of a request that comes in one read. */
bool exchange_keep(struct session *s, const struct h1_head *parsed, size_t used, size_t body) {
    struct net_exchange *x = &s->x;
    struct h1_head *head = arena_alloc(&x->arena, keep_head_bytes(parsed));
    char *to = arena_alloc(&x->arena, used + body);
    if (head == NULL || to == NULL) return false;
    memcpy(to, s->view.ptr, used + body);
    keep_head(head, parsed, s->view.ptr, used, to);
    x->head = head;
    x->body = slice_make(to + used, body);
    return true;
}

void exchange_clear(struct session *s) {
    struct net_exchange *x = &s->x;
    arena_reset(&x->arena);
    buf_reset(&x->headers, 1024);
    buf_reset(&s->body, 16384);
    x->id = 0;
    x->head = &no_head;
    x->body = SLICE("");
    x->user = NULL;
    x->answer = ANSWER_NONE;
    x->bad_header = x->keep = x->chunked = x->drops = x->paused = x->streams = x->held = false;
    if (x->file >= 0) file_close(x);
    x->framing = (struct h1_body){.done = true};
}

/* Takes the exchange off the books and calls its last hook. */
void exchange_end(struct session *s, void (*hook)(struct net_exchange *x, void *user)) {
    struct net_server *server = s->server;
    if (s->x.id == 0) {
        exchange_clear(s);
        return;
    }
    server->stats.exchanges--;
    if (hook != NULL) hook(&s->x, server->user);
    exchange_clear(s);
}

void exchange_begin(struct session *s) {
    struct net_server *server = s->server;
    s->x.id = ++server->slots[s->slot].count << SLOT_BITS | s->slot;
    s->x.keep = s->x.head->keep_alive && !server->draining;
    server->stats.requests++;
    server->stats.exchanges++;
}
