/* Deliveries: the real outbox decides when, a receiver answers or does not. What the server's webhooks room does with the
 * store is done here in its simplest form: all waiting ones at the start, a note of each try. */
#include "sim/rules.h"

#define AT_ONCE 4U
#define MAX_TRIES 4U

static void start(void *server, uint64_t ticket, const char *id) {
    struct server *v = server;
    struct sim *s = v->sim;
    struct row *r = disk_had(s, id); /* another server may have delivered it and all be swept */
    RULE(s, ONE_WEBHOOK, r != NULL && r->state == STORE_COMPLETED && r->hooks == 1,
         "%s delivers %s, which has no row in the outbox", v->name, id);
    if (s->ndeliveries == sizeof s->deliveries / sizeof *s->deliveries) abort();
    r->deliveries++;
    s->totals.deliveries++;
    s->deliveries[s->ndeliveries].row = r;
    s->deliveries[s->ndeliveries].server = v->number;
    s->deliveries[s->ndeliveries].boots = v->boots;
    s->deliveries[s->ndeliveries].ticket = ticket;
    s->deliveries[s->ndeliveries].tries = r->hook_tries;
    s->deliveries[s->ndeliveries++].due_ms = s->now_ms + 1 + draw_skewed(s, 15000);
    trace(s, "%s: delivers %.8s", v->name, id + 28);
}

struct outbox *hooks_new(struct server *v) {
    struct outbox_options o = {.clock = &v->clock,
                               .random = &v->random,
                               .at_once = AT_ONCE,
                               .at_once_per_host = 2,
                               .retries = MAX_TRIES - 1,
                               .window_ms = 20000,
                               .start = start,
                               .user = v};
    return need(outbox_new(&o));
}

void hooks_load(struct server *v) {
    op_give(&v->store, OP_HOOKS, 0, NULL);
}

static void add(struct server *v, const char *id, int64_t due_ms) {
    char host[2] = {id[35], '\0'};
    if (!outbox_add(v->outbox, id, slice_of(host), due_ms)) abort();
    server_soon(v);
}

void hooks_wanted(void *server, const char *id) {
    struct server *v = server;
    const struct row *r = disk_had(v->sim, id); /* delivered by another server, and swept, by now */
    RULE(v->sim, ONE_WEBHOOK, r != NULL && r->hooks == 1, "told of %s, which has no row there", id);
    add(v, id, server_wall(v));
}

void hooks_answered(struct server *v, const struct op *op) {
    uint64_t in_ms = 1000;
    bool tired = op->reply.status == STORE_UNAVAILABLE || op->reply.status == STORE_MEMORY;
    if (op->kind == OP_HOOKS && op->reply.status != STORE_OK) {
        hooks_load(v);
    } else if (op->kind == OP_HOOKS) {
        for (size_t k = 0; k < op->reply.nwebhooks; k++)
            add(v, op->reply.webhooks[k].id, op->reply.webhooks[k].due_ms);
    } else if (tired || (op->reply.status == STORE_OK && op->hook_state == STORE_WEBHOOK_WAITING)) {
        if (!tired) outbox_next_try(v->outbox, op->attempt + 1, -1, &in_ms);
        outbox_retry(v->outbox, op->ticket, in_ms);
    } else {
        outbox_done(v->outbox, op->ticket);
    }
}

static uint64_t due_of(const struct sim *s, size_t k) {
    return server_later(&s->servers[s->deliveries[k].server], s->deliveries[k].due_ms);
}

uint64_t hooks_due(const struct sim *s) {
    uint64_t due = NEVER;
    for (size_t k = 0; k < s->ndeliveries; k++)
        if (due_of(s, k) < due) due = due_of(s, k);
    return due;
}

/* A second answer of what another server has delivered meanwhile is noted nowhere: its guard does not match. */
void hooks_run(struct sim *s) {
    size_t k = 0;
    while (due_of(s, k) > s->now_ms) k++;
    struct server *v = &s->servers[s->deliveries[k].server];
    uint64_t ticket = s->deliveries[k].ticket;
    struct row *r = s->deliveries[k].row;
    bool here = v->boots == s->deliveries[k].boots && v->queue != NULL,
         ok = s->calm || chance(s, 70);
    uint32_t tries = s->deliveries[k].tries;
    s->deliveries[k] = s->deliveries[--s->ndeliveries];
    if (!here) return;
    struct op *op = op_give(&v->store, OP_HOOK_NOTE, ticket, r->id);
    op->attempt = tries;
    op->hook_state = ok                      ? STORE_WEBHOOK_DELIVERED
                     : tries + 1 < MAX_TRIES ? STORE_WEBHOOK_WAITING
                                             : STORE_WEBHOOK_DEAD;
    op->due_at_ms = server_wall(v) + 1000;
}
