/* The operator's routes: deliveries of webhooks, and those that are to be tried again. */
#include "api/admin.h"
#include "api/webhooks.h"

static const char *const states[] = {[STORE_WEBHOOK_WAITING] = "waiting",
                                     [STORE_WEBHOOK_DELIVERED] = "delivered",
                                     [STORE_WEBHOOK_DEAD] = "dead",
                                     [STORE_WEBHOOK_GONE] = "gone"};
#define NSTATES ((int)(sizeof states / sizeof *states))

static void add_webhook(struct buf *b, const struct store_webhook *w) {
    buf_printf(b, "{\"request_id\":\"%s\"", w->id);
    admin_text(b, "state", slice_of(states[w->state]));
    admin_text(b, "url", w->url);
    admin_text(b, "owner", w->owner);
    admin_text(b, "endpoint", w->endpoint);
    buf_printf(b, ",\"attempts\":%u", w->attempt);
    admin_time(b, "created_at", w->created_ms);
    admin_time(b, "due_at", w->ended_ms == 0 ? w->due_ms : 0);
    admin_time(b, "ended_at", w->ended_ms);
    if (w->last_status != 0)
        buf_printf(b, ",\"last_status\":%u", w->last_status);
    else
        buf_puts(b, ",\"last_status\":null");
    admin_text(b, "last_error", w->last_error);
    buf_addc(b, '}');
}

static void on_webhooks(void *user, uint64_t exchange, const struct store_reply *r) {
    struct call *c = call_of(user, exchange);
    if (c == NULL) return;
    if (r->status != STORE_OK) {
        admin_unavailable(c);
        return;
    }
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"webhooks\":[");
    for (size_t i = 0; i < r->nwebhooks; i++) {
        if (i > 0) buf_addc(b, ',');
        add_webhook(b, &r->webhooks[i]);
    }
    if (r->next != 0)
        buf_printf(b, "],\"next\":%llu}", (unsigned long long)r->next);
    else
        buf_puts(b, "],\"next\":null}");
    call_scratch_json(c, 200);
}

static bool read_state(struct call *c, int *out) {
    struct slice text;
    if (!admin_query(c, "state", &text)) return false;
    for (*out = 0; *out < NSTATES; ++*out)
        if (slice_is(text, states[*out])) return true;
    *out = -1;
    if (text.len > 0) admin_refuse(c, "query", "state", "wants waiting, delivered, dead or gone");
    return text.len == 0;
}

#define PAGE 100U
#define PAGE_MAX 1000U

void handle_admin_webhooks(struct call *c) {
    struct api *a = c->api;
    struct store_webhook_query q = {0};
    uint64_t limit = PAGE;
    if (!read_state(c, &q.state) || !admin_query(c, "owner", &q.owner) ||
        !admin_query_u64(c, "after", INT64_MAX, &q.after) ||
        !admin_query_u64(c, "limit", PAGE_MAX, &limit))
        return;
    q.limit = limit > 0 ? (unsigned)limit : PAGE;
    uint64_t ticket = desk_ask(a->desk, on_webhooks, a, net_exchange_id(c->x));
    if (ticket != 0)
        a->store->backend->webhooks(a->store, ticket, &q);
    else
        admin_unavailable(c);
}

/* --- once more */

static void on_replayed(void *user, uint64_t exchange, const struct store_reply *r) {
    struct api *a = user;
    if (r->status == STORE_OK && !a->operator_only) webhooks_replayed(a);
    struct call *c = call_of(a, exchange);
    if (c == NULL) return;
    switch (r->status) {
    case STORE_OK:
        buf_printf(call_scratch(c), "{\"replayed\":%zu}", r->count);
        call_scratch_json(c, 200);
        return;
    case STORE_NOT_FOUND:
        call_error(c, 404, NULL, SLICE("No webhook of that request, or its request was forgotten"));
        return;
    case STORE_STALE:
        call_error(c, 409, NULL, SLICE("This webhook is waiting for its next try already"));
        return;
    default: admin_unavailable(c);
    }
}

static void replay(struct call *c, const char *id, struct slice owner) {
    struct api *a = c->api;
    uint64_t ticket = desk_ask(a->desk, on_replayed, a, net_exchange_id(c->x));
    if (ticket != 0)
        a->store->backend->webhook_replay(a->store, ticket, id, owner, clock_wall_ms(a->clock));
    else
        admin_unavailable(c);
}

void handle_admin_webhooks_replay(struct call *c) {
    yyjson_doc *doc = admin_body(c);
    if (doc == NULL) return;
    yyjson_val *root = yyjson_doc_get_root(doc), *id = json_get(root, "id"),
               *owner = json_get(root, "owner");
    bool all = yyjson_is_true(json_get(root, "all"));
    if (all == (id != NULL) || (id != NULL && !yyjson_is_str(id)))
        admin_refuse(c, "body", "id", "wants the id of a request, or all: true in its place");
    else if (owner != NULL && !yyjson_is_str(owner))
        admin_refuse(c, "body", "owner", "wants text");
    else
        replay(c, all ? NULL : yyjson_get_str(id), owner != NULL ? json_str(owner) : SLICE(""));
    yyjson_doc_free(doc);
}
