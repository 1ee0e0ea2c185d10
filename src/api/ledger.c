/* A batch is filled, then given to the store, and goes when the store has it:
 *
 *   FILLING --window over, or full--> GIVEN --written--> gone
 *      ^                                |
 *      +--------the store could not-----+      (then it is given again with the next window) */
#include "api/ledger.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct batch {
    struct batch *next;
    struct ledger *ledger;
    bool given; /* until the store answers */
    size_t n, used;
    struct store_charge rows[LEDGER_BATCH_ROWS];
    char text[LEDGER_BATCH_TEXT_BYTES]; /* what the slices of the rows point at */
};

struct ledger {
    struct api *api;
    struct net_timer timer;
    struct batch *first, *last; /* oldest first; the last one may be FILLING */
    struct batch *spare;        /* one is kept, so that a steady stream asks for no memory */
    size_t nbatches, waiting;
    uint64_t written, lost;
    bool closing;
};

/* --- batches */

static void batch_drop(struct ledger *l, struct batch *b) {
    struct batch **at = &l->first, *before = NULL;
    while (*at != b) {
        before = *at;
        at = &before->next;
    }
    *at = b->next;
    if (l->last == b) l->last = before;
    l->nbatches--;
    l->waiting -= b->n;
    if (l->spare != NULL) {
        free(b);
        return;
    }
    l->spare = b;
}

static void give_up(struct ledger *l, size_t rows, const char *why) {
    l->lost += rows;
    log_line(LOG_ERROR, "ledger_lost", "rows=%zu total=%llu reason=\"%s\"", rows,
             (unsigned long long)l->lost, why);
}

/* The oldest one that the store does not have at the moment. */
static void make_room(struct ledger *l) {
    struct batch *b = l->first;
    while (b != NULL && b->given) b = b->next;
    if (b == NULL) return;
    give_up(l, b->n, "the store has not written for too long");
    batch_drop(l, b);
}

static struct batch *batch_new(struct ledger *l) {
    if (l->nbatches == LEDGER_MAX_BATCHES) make_room(l);
    if (l->nbatches == LEDGER_MAX_BATCHES) return NULL;
    struct batch *b = l->spare != NULL ? l->spare : malloc(sizeof *b);
    if (b == NULL) return NULL;
    l->spare = NULL;
    b->next = NULL;
    b->ledger = l;
    b->given = false;
    b->n = b->used = 0;
    if (l->last != NULL)
        l->last->next = b;
    else
        l->first = b;
    l->last = b;
    l->nbatches++;
    return b;
}

/* --- to the store */

static void on_window(struct net_timer *t);

static void window_start(struct ledger *l) {
    if (!net_timer_armed(&l->timer)) net_timer_start(l->api->loop, &l->timer, LEDGER_WINDOW_MS);
}

static void given(void *user, uint64_t arg, const struct store_reply *r) {
    struct batch *b = user;
    struct ledger *l = b->ledger;
    b->given = false;
    if (r->status != STORE_UNAVAILABLE && r->status != STORE_MEMORY) {
        if (r->status == STORE_OK)
            l->written += b->n;
        else
            give_up(l, b->n, store_status_name(r->status));
        batch_drop(l, b);
    } else if (l->closing) {
        give_up(l, b->n, "the store cannot write at the end");
        batch_drop(l, b);
    } else {
        window_start(l);
    }
}

static void give(struct ledger *l, struct batch *b) {
    const struct api *a = l->api;
    uint64_t ticket = desk_ask(a->desk, given, b, 0);
    if (ticket == 0) {
        window_start(l);
        return;
    }
    b->given = true;
    a->store->backend->ledger_add(a->store, ticket, b->rows, b->n);
}

static void give_all(struct ledger *l) {
    for (struct batch *b = l->first; b != NULL; b = b->next)
        if (!b->given && b->n > 0) give(l, b);
}

static void on_window(struct net_timer *t) {
    give_all((struct ledger *)(void *)((char *)t - offsetof(struct ledger, timer)));
}

/* Full batches wait for the window, so that many of them are one commit, until they take half of the room. */
static void batch_full(struct ledger *l, struct batch *b) {
    if (l->nbatches < LEDGER_MAX_BATCHES / 2)
        window_start(l);
    else if (l->nbatches == LEDGER_MAX_BATCHES / 2)
        give_all(l);
    else
        give(l, b); /* the store is behind, or cannot write: those before it have been given */
}

/* --- rows */

static size_t text_of(const struct store_charge *row) {
    const struct store_usage *u = &row->usage;
    return row->owner.len + row->key_id.len + row->endpoint.len + u->upstream.len + u->model.len +
           u->raw.len;
}

static void keep(struct batch *b, struct slice *s) {
    char *to = b->text + b->used;
    if (s->len > 0) memcpy(to, s->ptr, s->len);
    s->ptr = to;
    b->used += s->len;
}

/* The row's slices are copied. */
static void add(struct ledger *l, const struct store_charge *row) {
    size_t bytes = text_of(row);
    struct batch *b = l->last;
    bool fits = b != NULL && !b->given && b->n < LEDGER_BATCH_ROWS &&
                bytes <= sizeof b->text - b->used;
    if (!fits && b != NULL && !b->given) batch_full(l, b);
    if (!fits) b = bytes <= LEDGER_BATCH_TEXT_BYTES ? batch_new(l) : NULL;
    if (b == NULL) {
        give_up(l, 1, "no memory");
        return;
    }
    struct store_charge *to = &b->rows[b->n++];
    *to = *row;
    keep(b, &to->owner);
    keep(b, &to->key_id);
    keep(b, &to->endpoint);
    keep(b, &to->usage.upstream);
    keep(b, &to->usage.model);
    keep(b, &to->usage.raw);
    l->waiting++;
    if (b->n == LEDGER_BATCH_ROWS)
        batch_full(l, b);
    else
        window_start(l);
}

/* /v1 is the same as the router's path of that dialect. */
static struct slice endpoint_of(const struct call *c) {
    return c->endpoint != NULL ? c->app : SLICE("openrouter/router/openai/v1/chat/completions");
}

static enum store_call_kind kind_of(const struct call *c) {
    if (c->route->kind == SERVED_REALTIME) return STORE_CALL_REALTIME;
    if (c->route->kind == SERVED_STREAM) return STORE_CALL_STREAM;
    return c->openai ? STORE_CALL_OPENAI : STORE_CALL_RUN;
}

static void add_call(struct call *c, const struct llm_result *r, unsigned http_status,
                     const struct store_usage *u) {
    int64_t now = clock_wall_ms(c->api->clock);
    struct store_charge row = {.kind = kind_of(c),
                               .owner = identity_owner(&c->who),
                               .key_id = c->who.key_id,
                               .endpoint = endpoint_of(c),
                               .started_ms = now - (int64_t)r->took_ms,
                               .at_ms = now,
                               .http_status = http_status,
                               .usage = *u};
    memcpy(row.id, c->request_id, sizeof row.id);
    add(c->api->ledger, &row);
}

void ledger_call(struct call *c, const struct llm_result *r, unsigned http_status, bool partial) {
    struct store_usage u;
    if (!r->sent || c->api->ledger == NULL) return;
    billing_fill(c->api, c->endpoint, &c->request, r, http_status >= 400 && http_status != 499, &u);
    u.partial = partial;
    add_call(c, r, http_status, &u);
}

void ledger_answer(struct call *c, const struct llm_result *r) {
    struct store_usage u;
    char text[BILLING_UNITS_BYTES];
    billing_fill(c->api, c->endpoint, &c->request, r, false, &u);
    struct slice units = billing_units(text, billing_unit(c->endpoint), &u);
    if (units.len > 0) net_header(c->x, SLICE("x-fal-billable-units"), units);
    if (c->api->ledger != NULL) add_call(c, r, 200, &u);
}

void ledger_failed(struct call *c, const struct llm_result *r, const struct llm_error *err) {
    ledger_call(c, r,
                c->openai ? openai_status(err->fault) : llm_fault_info(err->fault)->http_status,
                r->shown || r->output.len > 0);
}

void ledger_left(struct call *c, unsigned http_status) {
    struct llm_result r;
    llm_so_far(c->llm, &r);
    ledger_call(c, &r, http_status, true);
}

/* --- the part */

bool ledger_open(struct api *a, char *reason, size_t size) {
    struct ledger *l = a->ledger = calloc(1, sizeof *l);
    if (l == NULL) {
        snprintf(reason, size, "out of memory");
        return false;
    }
    l->api = a;
    l->timer.fire = on_window;
    return true;
}

void ledger_load(struct api *a) {
    api_loaded(a, true);
}

/* What is there is written while the last calls end. */
void ledger_drain(struct api *a) {
    if (a->ledger != NULL) give_all(a->ledger);
}

/* No call is left. The store finishes what it is given here before it closes. */
void ledger_close(struct api *a) {
    struct ledger *l = a->ledger;
    if (l == NULL) return;
    net_timer_stop(a->loop, &l->timer);
    l->closing = true;
    give_all(l);
}

void ledger_free(struct api *a) {
    struct ledger *l = a->ledger;
    if (l == NULL) return;
    while (l->first != NULL) batch_drop(l, l->first);
    free(l->spare);
    free(l);
    a->ledger = NULL;
}

struct ledger_stats ledger_get_stats(const struct api *a) {
    const struct ledger *l = a->ledger;
    if (l == NULL) return (struct ledger_stats){0};
    return (struct ledger_stats){.waiting = l->waiting, .written = l->written, .lost = l->lost};
}
