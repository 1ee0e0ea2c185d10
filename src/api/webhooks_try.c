/* One try of one delivery. */
#include "api/endpoints.h"
#include "api/webhooks_body.h"
#include "api/webhooks_inner.h"
#include "llm/fault.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_HEADERS_BYTES 8192U
#define MAX_LINK_BYTES 4096U
#define CONNECT_MS 10000U

/* --- life */

static struct delivery *delivery_new(struct webhooks *w, uint64_t ticket, const char *id) {
    struct delivery *d = calloc(1, sizeof *d);
    if (d == NULL) return NULL;
    d->handle = slots_add(&w->handles, d);
    if (d->handle == 0) {
        free(d);
        return NULL;
    }
    d->w = w;
    d->ticket = ticket;
    d->retry_after_ms = -1;
    memcpy(d->id, id, strlen(id) + 1);
    buf_init(&d->headers, MAX_HEADERS_BYTES);
    buf_init(&d->body, WEBHOOK_MAX_DELIVERY_BYTES);
    d->next = w->deliveries;
    if (d->next != NULL) d->next->prev = d;
    w->deliveries = d;
    return d;
}

/* What it was sent is no longer needed. */
static void drop_call(struct delivery *d) {
    if (d->call != NULL) net_call_cancel(d->call);
    if (d->receiver != NULL) receiver_put(d->w, d->receiver);
    d->call = NULL;
    d->receiver = NULL;
    buf_free(&d->headers);
    buf_free(&d->body);
    free(d->path);
    d->path = NULL;
}

static void delivery_free(struct delivery *d) {
    struct webhooks *w = d->w;
    drop_call(d);
    net_timer_stop(w->api->loop, &d->again);
    slots_take(&w->handles, d->handle);
    if (d->prev != NULL)
        d->prev->next = d->next;
    else
        w->deliveries = d->next;
    if (d->next != NULL) d->next->prev = d->prev;
    free(d);
}

void webhooks_cut(struct webhooks *w) {
    while (w->deliveries != NULL) delivery_free(w->deliveries);
}

static void again_in(struct delivery *d, uint64_t in_ms) {
    struct webhooks *w = d->w;
    outbox_retry(w->outbox, d->ticket, in_ms);
    delivery_free(d);
}

static void is_over(struct delivery *d) {
    struct webhooks *w = d->w;
    outbox_done(w->outbox, d->ticket);
    delivery_free(d);
}

/* --- NOTING */

static void note(struct delivery *d);

static void count(struct delivery *d) {
    struct webhooks_stats *s = &d->w->stats;
    char error[LOG_QUOTE_BYTES];
    s->failed += d->state != STORE_WEBHOOK_DELIVERED;
    s->delivered += d->state == STORE_WEBHOOK_DELIVERED;
    s->dead += d->state == STORE_WEBHOOK_DEAD;
    s->gone += d->state == STORE_WEBHOOK_GONE;
    log_quote(error, slice_of(d->error));
    if (d->state == STORE_WEBHOOK_DEAD || d->state == STORE_WEBHOOK_GONE)
        log_request(LOG_WARN, d->id, "webhook_dead", "tries=%u status=%u error=%s", d->attempt + 1,
                    d->status, error);
    else if (d->state == STORE_WEBHOOK_WAITING && log_allow(&d->w->failed_log, 10))
        log_request(LOG_INFO, d->id, "webhook_failed",
                    "tries=%u status=%u error=%s again_in_ms=%llu", d->attempt + 1, d->status,
                    error, (unsigned long long)d->in_ms);
}

static void noted(void *user, uint64_t handle, const struct store_reply *r) {
    struct webhooks *w = user;
    struct delivery *d = slots_get(&w->handles, handle);
    if (d == NULL) return;
    if (r->status == STORE_UNAVAILABLE || r->status == STORE_MEMORY) {
        net_timer_start(w->api->loop, &d->again, WEBHOOKS_AGAIN_MS);
        return;
    }
    if (r->status == STORE_OK) count(d);
    if (r->status == STORE_STALE) webhooks_reread_later(w); /* it was replayed meanwhile */
    if (r->status == STORE_OK && d->state == STORE_WEBHOOK_WAITING)
        again_in(d, d->in_ms);
    else
        is_over(d);
    webhooks_turn(w);
}

static void note_again(struct net_timer *t) {
    note((struct delivery *)(void *)((char *)t - offsetof(struct delivery, again)));
}

static void nothing(void *user, uint64_t arg, const struct store_reply *r) {
}

/* What the caller sees among the request's log lines. */
static void tell_caller(struct delivery *d, int64_t now_ms) {
    struct api *a = d->w->api;
    char text[256], when[CLOCK_ISO_BYTES];
    struct store_log line = {.id = d->id, .at_ms = now_ms, .level = SLICE("WARN")};
    uint64_t t = desk_ask(a->desk, nothing, NULL, 0);
    if (t == 0) return;
    clock_iso8601(now_ms + (int64_t)d->in_ms, when);
    if (d->state == STORE_WEBHOOK_DELIVERED)
        snprintf(text, sizeof text, "webhook delivered");
    else if (d->state == STORE_WEBHOOK_WAITING)
        snprintf(text, sizeof text, "webhook failed: %s; will be tried again at %s", d->error,
                 when);
    else
        snprintf(text, sizeof text, "webhook given up after %u %s: %s", d->attempt + 1,
                 d->attempt == 0 ? "try" : "tries", d->error);
    if (d->state == STORE_WEBHOOK_DELIVERED) line.level = SLICE("INFO");
    line.message = slice_of(text);
    a->store->backend->log(a->store, t, &line, 1);
}

static void note(struct delivery *d) {
    struct api *a = d->w->api;
    int64_t now = clock_wall_ms(a->clock);
    struct store_webhook_note n = {.id = d->id,
                                   .attempt = d->attempt,
                                   .state = d->state,
                                   .at_ms = now,
                                   .due_ms = now + (int64_t)d->in_ms,
                                   .status = d->status,
                                   .error = slice_of(d->error)};
    uint64_t t = desk_ask(a->desk, noted, d->w, d->handle);
    d->again.fire = note_again;
    if (t == 0)
        net_timer_start(a->loop, &d->again, WEBHOOKS_AGAIN_MS);
    else
        a->store->backend->webhook_note(a->store, t, &n);
}

/* -> NOTING. `why`: static, where no answer came. */
static void conclude(struct delivery *d, const char *why) {
    drop_call(d);
    if (d->status != 0 && (d->status < 200 || d->status > 299))
        snprintf(d->error, sizeof d->error, "Invalid status code: %u", d->status);
    else if (d->status == 0)
        snprintf(d->error, sizeof d->error, "%s", why);
    if (d->status >= 200 && d->status <= 299)
        d->state = STORE_WEBHOOK_DELIVERED;
    else if (d->status == 410)
        d->state = STORE_WEBHOOK_GONE;
    else if (outbox_next_try(d->w->outbox, d->attempt + 1, d->retry_after_ms, &d->in_ms))
        d->state = STORE_WEBHOOK_WAITING;
    else
        d->state = STORE_WEBHOOK_DEAD;
    tell_caller(d, clock_wall_ms(d->w->api->clock));
    note(d);
}

/* -> NOTING. Its request was removed; there are no log lines to write to either. */
static void conclude_forgotten(struct delivery *d, const struct store_webhook *h) {
    d->attempt = h->attempt;
    d->state = STORE_WEBHOOK_DEAD;
    snprintf(d->error, sizeof d->error, "The result was forgotten before it could be delivered.");
    note(d);
}

/* --- CALLING */

static const char *fault_text(enum net_fault f) {
    switch (f) {
    case NET_DNS: return "name not found";
    case NET_FORBIDDEN: return "address not allowed";
    case NET_REFUSED: return "connection refused";
    case NET_CONNECT_TIMEOUT:
    case NET_FIRST_BYTE_TIMEOUT:
    case NET_IDLE_TIMEOUT:
    case NET_TOTAL_TIMEOUT: return "no answer in time";
    case NET_TLS: return "TLS failed";
    case NET_CUT: return "connection lost before the answer";
    case NET_PROTOCOL: return "the answer is not HTTP";
    default: return "out of memory";
    }
}

static void on_head(struct net_call *c, const struct h1_head *head, void *user) {
    struct delivery *d = user;
    d->status = head->status;
    if (head->status == 429 || head->status == 503)
        d->retry_after_ms = fault_retry_after(head, clock_wall_ms(d->w->api->clock));
}

/* The status has decided; a body without end is not waited for. */
static void on_body(struct net_call *c, struct slice data, void *user) {
    struct delivery *d = user;
    d->response_bytes += data.len;
    if (d->response_bytes > WEBHOOKS_MAX_RESPONSE_BYTES) conclude(d, "");
}

static void on_end(struct net_call *c, const struct net_call_end *end, void *user) {
    struct delivery *d = user;
    d->call = NULL;
    conclude(d, fault_text(end->fault));
}

static bool write_path(struct delivery *d, struct slice path) {
    bool rooted = path.len > 0 && path.ptr[0] == '/';
    d->path = malloc(path.len + 2);
    if (d->path == NULL) return false;
    snprintf(d->path, path.len + 2, "%s%.*s", rooted ? "" : "/", SLICE_ARG(path));
    return true;
}

static bool write_delivery(struct delivery *d, const struct store_reply *r, unsigned hops) {
    struct api *a = d->w->api;
    const struct store_webhook *h = &r->webhooks[0];
    struct buf link;
    buf_init(&link, MAX_LINK_BYTES);
    buf_printf(&link, "%s/queue/%.*s/requests/%s",
               a->config->public_url != NULL ? a->config->public_url : "",
               SLICE_ARG(endpoint_owner_alias(h->endpoint)), h->id);
    webhook_body(&d->body, r->row, buf_slice(&link));
    bool ok = !link.failed && !d->body.failed;
    buf_free(&link);
    struct webhook_delivery w = {.id = h->id,
                                 .user = h->owner,
                                 .at_s = clock_wall_ms(a->clock) / 1000,
                                 .hops = hops + 1,
                                 .body = buf_slice(&d->body)};
    return ok && webhook_headers(&d->headers, a->signer, &w);
}

static bool call_receiver(struct delivery *d, const struct webhook_url *url) {
    static const struct net_call_hooks hooks = {
        .on_head = on_head, .on_body = on_body, .on_end = on_end};
    uint32_t timeout = d->w->api->config->webhook_timeout_ms;
    d->receiver = receiver_get(d->w, url);
    if (d->receiver == NULL) return false;
    struct net_call_options o = {
        .method = "POST",
        .path = slice_of(d->path),
        .headers = buf_slice(&d->headers),
        .body = buf_slice(&d->body),
        .deadlines = {timeout < CONNECT_MS ? timeout : CONNECT_MS, timeout, timeout, timeout},
        .hooks = &hooks,
        .user = d};
    d->call = net_call_start(d->receiver->origin, &o);
    return d->call != NULL;
}

/* -> CALLING, or NOTING at once. */
static void begin(struct delivery *d, const struct store_reply *r) {
    const struct store_webhook *h = &r->webhooks[0];
    struct slice text = h->url;
    struct webhook_url url;
    unsigned hops = webhook_hops(&text);
    const char *why = webhook_url_read(d->w->api->config, text, &url);
    d->attempt = h->attempt;
    if (why != NULL)
        conclude(d, why);
    else if (!write_path(d, url.path) || !write_delivery(d, r, hops) || !call_receiver(d, &url))
        again_in(d, WEBHOOKS_AGAIN_MS); /* no memory: nothing was sent, and no try is spent */
}

/* --- READING */

static void row_read(void *user, uint64_t handle, const struct store_reply *r) {
    struct webhooks *w = user;
    struct delivery *d = slots_get(&w->handles, handle);
    if (d == NULL) return;
    bool waits = r->status == STORE_OK && r->nwebhooks == 1 &&
                 r->webhooks[0].state == STORE_WEBHOOK_WAITING;
    if (waits && r->row != NULL)
        begin(d, r);
    else if (waits)
        conclude_forgotten(d, &r->webhooks[0]);
    else if (r->status == STORE_UNAVAILABLE || r->status == STORE_MEMORY)
        again_in(d, WEBHOOKS_AGAIN_MS);
    else
        is_over(d); /* it has ended, or was swept */
    webhooks_turn(w);
}

void webhooks_start(void *webhooks, uint64_t ticket, const char *id) {
    struct webhooks *w = webhooks;
    struct api *a = w->api;
    struct delivery *d = delivery_new(w, ticket, id);
    if (d == NULL) {
        outbox_retry(w->outbox, ticket, WEBHOOKS_AGAIN_MS);
        return;
    }
    if (w->at_hand != NULL && strcmp(w->at_hand->webhooks[0].id, id) == 0) {
        begin(d, w->at_hand);
        return;
    }
    uint64_t t = desk_ask(a->desk, row_read, w, d->handle);
    if (t != 0)
        a->store->backend->webhook_get(a->store, t, id);
    else
        again_in(d, WEBHOOKS_AGAIN_MS);
}
