/* Callers: they submit, poll, cancel and fetch at any server that hears them. Answers get lost; then, and after a temporary
 * refusal, a submit is repeated as fal's clients do it, three times at most, with its idempotency key if it has one. */
#include "sim/rules.h"

static const char *const owners[OWNERS] = {"o0", "o1", "o2", "o3"};

static unsigned new_ask(struct sim *s, enum ask_kind kind) {
    if (s->nasks == s->ask_room)
        s->asks = need(realloc(s->asks, (s->ask_room += 128) * sizeof *s->asks));
    s->asks[s->nasks] = (struct ask){.kind = kind};
    return (unsigned)s->nasks++;
}

static struct server *any_server(struct sim *s) {
    unsigned first = (unsigned)draw(s, s->habits.servers);
    for (unsigned k = 0; k < s->habits.servers; k++) {
        struct server *v = &s->servers[(first + k) % s->habits.servers];
        if (server_hears(v)) return v;
    }
    return NULL;
}

static void again_later(struct sim *s, struct ask *a) {
    if (a->kind != ASK_SUBMIT || a->again == 0 || s->nagain == sizeof s->again / sizeof *s->again)
        return;
    a->due_ms = s->now_ms + 500 + draw(s, 4000 >> a->again);
    s->again[s->nagain++] = (unsigned)(a - s->asks);
}

static void answered(void *server, uint64_t ticket, const struct queue_reply *r) {
    struct server *v = server;
    struct sim *s = v->sim;
    struct ask *a = &s->asks[ticket];
    RULE(s, ONE_ANSWER, ticket < s->nasks && a->open && a->boots == v->boots,
         "call %u is answered again, or before it has returned", (unsigned)ticket);
    a->open = false;
    a->answered = true;
    rules_answered(v, a, r);
    if (!s->calm && chance(s, s->habits.lose)) a->lost = true;
    if (a->lost || r->code == QUEUE_UNAVAILABLE) again_later(s, a);
    server_soon(v);
}

static void begin(struct sim *s, unsigned n, struct server *v) {
    struct ask *a = &s->asks[n];
    a->server = v->number;
    a->boots = v->boots;
    a->asked_ms = s->now_ms;
}

static struct queue_done done_of(struct server *v, unsigned n) {
    return (struct queue_done){answered, v, n};
}

/* An answer inside the call finds a->open false. */
static void send_submit(struct sim *s, unsigned n, struct server *v) {
    begin(s, n, v);
    struct ask *a = &s->asks[n];
    char input[16], key[16], owner_key[8];
    snprintf(input, sizeof input, "%u", n);
    snprintf(key, sizeof key, "same-%u", a->idempotency);
    snprintf(owner_key, sizeof owner_key, "k%u", a->owner);
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = slice_of(owners[a->owner]),
                              .key_id = slice_of(owner_key),
                              .input = slice_of(input),
                              .webhook = a->has_webhook ? SLICE("http://h/hook") : SLICE_NONE,
                              .priority = a->priority,
                              .no_retry = a->no_retry,
                              .no_store = a->no_store,
                              .start_timeout_ms = a->start_timeout_ms,
                              .model = a->model ? SLICE("other") : SLICE("one"),
                              .retries_server_error = -1,
                              .retries_timeout = a->retries,
                              .retries_connection_error = -1,
                              .owner_concurrency = a->concurrency,
                              .owner_queue_length = a->queue_length};
    if (a->idempotency != 0) {
        in.idempotency_key = slice_of(key);
        memset(in.body_hash, a->body, sizeof in.body_hash);
    }
    trace(s, "%s: submit %u of %s%s%s", v->name, n, owners[a->owner],
          a->idempotency != 0 ? " with key " : "", a->idempotency != 0 ? key : "");
    queue_submit(v->queue, &in, done_of(v, n));
    s->asks[n].open = true;
    server_soon(v);
}

/* Several callers use the same key now and then, and some of them for another body. */
static void draw_wishes(struct sim *s, struct ask *a) {
    const struct habits *h = &s->habits;
    a->owner = (unsigned)draw_skewed(s, OWNERS);
    if (h->limited > 0 && draw(s, 3) == 0) a->owner = OWNERS - 1; /* the one that has a limit */
    a->model = draw(s, 4) == 0;
    a->priority = (int)(draw(s, 3) == 0);
    a->retries = draw(s, 4) == 0 ? (int)draw(s, 3) : -1;
    a->no_retry = chance(s, h->no_retry);
    a->no_store = chance(s, 10);
    a->has_webhook = chance(s, h->hooked);
    a->again = chance(s, 70) ? 3 : 0;
    if (chance(s, h->timed)) a->start_timeout_ms = 1 + draw_skewed(s, 60000);
    if (chance(s, h->idempotent)) a->idempotency = 1 + (unsigned)draw(s, 6);
    if (a->idempotency != 0) a->body = (unsigned char)draw(s, draw(s, 3) + 1);
    if (a->owner == OWNERS - 1 && h->limited > 0) a->concurrency = 1 + (unsigned)draw(s, 2);
    if (chance(s, h->limited)) a->queue_length = 3;
}

/* At the beginning one owner may send many at once. */
void callers_submit(struct sim *s) {
    struct server *v = any_server(s);
    if (v == NULL || s->nrows + 40 >= MAX_ROWS) return;
    unsigned n = new_ask(s, ASK_SUBMIT);
    struct ask *a = &s->asks[n];
    draw_wishes(s, a);
    if (s->habits.crowd > 0) {
        s->habits.crowd--;
        *a = (struct ask){.kind = ASK_SUBMIT, .retries = -1};
    }
    send_submit(s, n, v);
}

uint64_t callers_due(const struct sim *s) {
    uint64_t due = NEVER;
    for (size_t k = 0; k < s->nagain; k++)
        if (s->asks[s->again[k]].due_ms < due) due = s->asks[s->again[k]].due_ms;
    return due;
}

void callers_run(struct sim *s) {
    size_t k = 0;
    while (s->asks[s->again[k]].due_ms > s->now_ms) k++;
    unsigned first = s->again[k];
    s->again[k] = s->again[--s->nagain];
    struct server *v = any_server(s);
    if (v == NULL) {
        again_later(s, &s->asks[first]);
        return;
    }
    unsigned n = new_ask(s, ASK_SUBMIT);
    s->asks[n] = s->asks[first];
    s->asks[n].open = s->asks[n].lost = s->asks[n].answered = s->asks[n].refused = false;
    s->asks[n].again--;
    s->asks[n].row = NULL;
    s->totals.repeated++;
    send_submit(s, n, v);
}

/* --- questions */

void callers_ask_at(struct server *v, enum ask_kind kind, struct row *r) {
    static const char *const names[] = {"submit", "status", "result", "cancel"};
    struct sim *s = v->sim;
    unsigned n = new_ask(s, kind);
    struct ask *a = &s->asks[n];
    begin(s, n, v);
    a->row = r;
    r->watched = r->watched || kind != ASK_STATUS;
    a->floor = r->seen;
    a->floor_position = r->at[v->number].lives == v->lives ? r->at[v->number].position : NEVER;
    struct queue_find f = {slice_of(r->id), slice_of(r->owner),
                           chance(s, 50) ? slice_of(r->endpoint) : SLICE("fal-ai/any-llm")};
    trace(s, "%s: %s of %.8s (call %u)", v->name, names[kind], r->id + 28, n);
    switch (kind) {
    case ASK_STATUS: queue_status(v->queue, &f, chance(s, 30), done_of(v, n)); break;
    case ASK_RESULT: queue_result(v->queue, &f, done_of(v, n)); break;
    default: queue_cancel(v->queue, &f, done_of(v, n)); break;
    }
    s->asks[n].open = true;
    server_soon(v);
}

/* Of what was accepted; the latest ones mostly. */
void callers_ask(struct sim *s, enum ask_kind kind) {
    struct server *v = any_server(s);
    size_t recent = chance(s, 20) || s->nrows < 20 ? s->nrows : 20;
    if (v == NULL || recent == 0) return;
    struct row *r = s->rows[s->nrows - 1 - draw(s, recent)];
    if (r->accepted) callers_ask_at(v, kind, r);
}

/* Their connections break. */
void callers_hang_up(struct server *v) {
    struct sim *s = v->sim;
    while (s->first_ask < s->nasks && !s->asks[s->first_ask].open) s->first_ask++;
    for (size_t k = s->first_ask; k < s->nasks; k++) {
        struct ask *a = &s->asks[k];
        if (!a->open || a->server != v->number) continue;
        a->open = false;
        a->lost = true;
        again_later(s, a);
    }
}

/* --- watches */

static void changed(void *user) {
    struct watch *w = user;
    struct server *v = &w->sim->servers[w->server];
    w->saw_end = w->row->state == STORE_COMPLETED;
    if (server_hears(v)) callers_ask_at(v, ASK_STATUS, w->row);
}

void callers_watch(struct sim *s) {
    struct server *v = any_server(s);
    struct watch *w = &s->watches[draw(s, sizeof s->watches / sizeof *s->watches)];
    if (v == NULL || s->nrows == 0 || w->watch != NULL) return;
    struct row *r = s->rows[s->nrows - 1 - draw_skewed(s, s->nrows)];
    if (!r->accepted) return;
    r->watched = true;
    *w = (struct watch){.sim = s, .row = r, .server = v->number};
    w->watch = need(queue_watch(v->queue, r->id, changed, w));
    trace(s, "%s: watch of %.8s", v->name, r->id + 28);
    server_soon(v);
}

void callers_unwatch(struct server *v) {
    for (size_t k = 0; k < sizeof v->sim->watches / sizeof *v->sim->watches; k++) {
        struct watch *w = &v->sim->watches[k];
        if (w->watch == NULL || w->server != v->number) continue;
        queue_unwatch(v->queue, w->watch);
        w->watch = NULL;
    }
}
