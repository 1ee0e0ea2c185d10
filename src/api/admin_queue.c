/* The operator's routes: how the queue stands. From its memory while it runs; where no server does, from the store, which
 * knows no positions. */
#include "api/admin.h"
#include "api/ops.h"

#include <stdio.h>

#define LIST 100U
#define LIST_MAX 1000U
#define PAGE QUEUE_LOAD_ROWS

static void add_seconds(struct buf *b, const char *name, int64_t ms) {
    buf_printf(b, ",\"%s\":%.3f", name, (double)(ms > 0 ? ms : 0) / 1000);
}

static void add_store(struct buf *b, const struct api *a) {
    struct store_stats s = ops_store_stats(a);
    bool can_write = a->operator_only || (a->store_ok && s.check != STORE_DAMAGED);
    buf_printf(b, ",\"store\":{\"can_write\":%s,\"check\":\"%s\"", can_write ? "true" : "false",
               ops_check_name((int)s.check));
    if (s.bytes >
        0) /* measured with each commit, and an operator's command that only looks makes none */
        buf_printf(b, ",\"bytes\":%llu,\"free_bytes\":%llu,\"wal_bytes\":%llu",
                   (unsigned long long)s.bytes, (unsigned long long)s.free_bytes,
                   (unsigned long long)s.wal_bytes);
    buf_addc(b, '}');
}

static void add_entry(struct buf *b, const struct queue_entry *e, bool positions, int64_t now_ms) {
    bool waits = e->state == STORE_IN_QUEUE;
    buf_printf(b, "{\"request_id\":\"%s\"", e->id);
    admin_text(b, "endpoint", e->endpoint);
    admin_text(b, "owner", e->owner);
    buf_printf(b, ",\"state\":\"%s\",\"step\":\"%s\",\"priority\":\"%s\",\"attempt\":%u",
               waits ? "IN_QUEUE" : "IN_PROGRESS", e->step, e->priority > 0 ? "low" : "normal",
               e->attempt);
    if (waits && positions)
        buf_printf(b, ",\"position\":%llu", (unsigned long long)e->position);
    else
        buf_puts(b, ",\"position\":null");
    admin_time(b, "created_at", e->created_ms);
    admin_time(b, "started_at", e->started_ms);
    add_seconds(b, "age_seconds", now_ms - e->created_ms);
    buf_addc(b, '}');
}

/* --- while the server runs */

struct list {
    struct buf *b;
    int64_t now_ms;
    size_t n;
};

static void list_one(void *user, const struct queue_entry *e) {
    struct list *l = user;
    if (l->n++ > 0) buf_addc(l->b, ',');
    add_entry(l->b, e, true, l->now_ms);
}

static void answer_live(struct call *c, size_t limit) {
    struct api *a = c->api;
    struct queue_stats q;
    struct list l = {.b = call_scratch(c), .now_ms = clock_wall_ms(a->clock)};
    queue_get_stats(a->queue, &q);
    buf_printf(l.b, "{\"live\":true,\"waiting\":%zu,\"running\":%zu,\"owners\":%zu", q.waiting,
               q.running, q.owners);
    add_seconds(l.b, "oldest_waiting_seconds", q.oldest_waiting_ms);
    add_seconds(l.b, "oldest_running_seconds", q.oldest_running_ms);
    buf_printf(l.b, ",\"quarantined\":%llu,\"loading\":%s,\"draining\":%s",
               (unsigned long long)q.quarantined, q.loading ? "true" : "false",
               a->draining ? "true" : "false");
    add_store(l.b, a);
    buf_puts(l.b, ",\"requests\":[");
    size_t all = queue_list(a->queue, limit, list_one, &l);
    buf_printf(l.b, "],\"more\":%zu}", all > l.n ? all - l.n : 0);
    call_scratch_json(c, 200);
}

/* --- where none runs: all that is unfinished is read, piece by piece */

enum kept { STARTED, NORMAL, LOW, KEPT_KINDS };

/* In the exchange's arena. The first of each kind are kept, which come in order of age. */
struct walk {
    struct queue_entry *kept[KEPT_KINDS];
    char (*ids[KEPT_KINDS])[STORE_ID_BYTES];
    size_t nkept[KEPT_KINDS], limit, waiting, running;
    int64_t oldest_waiting_ms, oldest_running_ms; /* wall clock, 0: none */
};

static void earliest(int64_t *oldest_ms, int64_t at_ms) {
    if (at_ms != 0 && (*oldest_ms == 0 || at_ms < *oldest_ms)) *oldest_ms = at_ms;
}

static void keep_row(struct walk *w, struct arena *mem, const struct store_pending *p) {
    bool waits = p->state == STORE_IN_QUEUE;
    enum kept kind = !waits ? STARTED : p->priority > 0 ? LOW : NORMAL;
    *(waits ? &w->waiting : &w->running) += 1;
    earliest(waits ? &w->oldest_waiting_ms : &w->oldest_running_ms,
             waits ? p->created_ms : p->started_ms);
    if (w->nkept[kind] == w->limit) return;
    size_t n = w->nkept[kind]++;
    memcpy(w->ids[kind][n], p->id, STORE_ID_BYTES);
    w->kept[kind][n] = (struct queue_entry){.id = w->ids[kind][n],
                                            .endpoint = arena_copy(mem, p->endpoint),
                                            .owner = arena_copy(mem, p->owner),
                                            .step = waits ? "waiting" : "lost",
                                            .state = p->state,
                                            .priority = p->priority,
                                            .attempt = p->attempt,
                                            .created_ms = p->created_ms,
                                            .started_ms = p->started_ms};
}

static struct walk *walk_new(struct call *c, size_t limit) {
    struct arena *mem = net_arena(c->x);
    struct walk *w = arena_zalloc(mem, sizeof *w);
    if (w == NULL) return NULL;
    w->limit = limit;
    for (size_t k = 0; k < KEPT_KINDS; k++) {
        w->kept[k] = arena_alloc(mem, (limit + 1) * sizeof *w->kept[k]);
        w->ids[k] = arena_alloc(mem, (limit + 1) * sizeof *w->ids[k]);
        if (w->kept[k] == NULL || w->ids[k] == NULL) return NULL;
    }
    return w;
}

static void answer_walked(struct call *c, const struct walk *w) {
    struct api *a = c->api;
    int64_t now = clock_wall_ms(a->clock);
    struct buf *b = call_scratch(c);
    size_t n = 0;
    buf_printf(b, "{\"live\":false,\"waiting\":%zu,\"running\":%zu,\"owners\":null", w->waiting,
               w->running);
    add_seconds(b, "oldest_waiting_seconds", w->waiting > 0 ? now - w->oldest_waiting_ms : 0);
    add_seconds(b, "oldest_running_seconds", w->running > 0 ? now - w->oldest_running_ms : 0);
    buf_puts(b, ",\"quarantined\":null,\"loading\":false,\"draining\":false");
    add_store(b, a);
    buf_puts(b, ",\"requests\":[");
    for (size_t k = 0; k < KEPT_KINDS; k++)
        for (size_t i = 0; i < w->nkept[k] && n < w->limit; i++) {
            if (n++ > 0) buf_addc(b, ',');
            add_entry(b, &w->kept[k][i], false, now);
        }
    buf_printf(b, "],\"more\":%zu}", w->waiting + w->running - n);
    call_scratch_json(c, 200);
}

static void on_rows(void *user, uint64_t exchange, const struct store_reply *r);

static void ask_rows(struct call *c, uint64_t after) {
    struct api *a = c->api;
    uint64_t ticket = desk_ask(a->desk, on_rows, a, net_exchange_id(c->x));
    if (ticket != 0)
        a->store->backend->pending(a->store, ticket, after, PAGE);
    else
        admin_unavailable(c);
}

static void on_rows(void *user, uint64_t exchange, const struct store_reply *r) {
    struct call *c = call_of(user, exchange);
    if (c == NULL) return;
    if (r->status != STORE_OK) {
        admin_unavailable(c);
        return;
    }
    for (size_t i = 0; i < r->npending; i++) keep_row(c->own, net_arena(c->x), &r->pending[i]);
    if (r->more && r->npending > 0)
        ask_rows(c, r->pending[r->npending - 1].seq);
    else
        answer_walked(c, c->own);
}

void handle_admin_queue(struct call *c) {
    uint64_t limit = LIST;
    if (!admin_query_u64(c, "limit", LIST_MAX, &limit)) return;
    if (!c->api->operator_only) {
        answer_live(c, limit);
        return;
    }
    c->own = walk_new(c, limit);
    if (c->own != NULL)
        ask_rows(c, 0);
    else
        admin_unavailable(c);
}
