#include "api/webhooks_body.h"
#include "api/webhooks_inner.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define SWEEP_MS 30000U
#define KEYS_MS 86400000U /* how often the signer looks for a pair that has come of age */
#define REREAD_MS 5000U

#define WEBHOOKS_OF(timer, member) \
    ((struct webhooks *)(void *)((char *)(timer) - offsetof(struct webhooks, member)))

void webhooks_turn(struct webhooks *w) {
    uint64_t in_ms = outbox_tick(w->outbox);
    if (in_ms == UINT64_MAX)
        net_timer_stop(w->api->loop, &w->turn);
    else
        net_timer_start(w->api->loop, &w->turn, in_ms);
}

static void on_turn(struct net_timer *t) {
    webhooks_turn(WEBHOOKS_OF(t, turn));
}

static void look_at_keys(struct webhooks *w) {
    char reason[512], text[LOG_QUOTE_BYTES];
    uint64_t now = clock_mono_ms(w->api->clock);
    if (now < w->keys_due_ms) return;
    w->keys_due_ms = now + KEYS_MS;
    if (!signer_reload(w->api->signer, reason, sizeof reason))
        log_line(LOG_ERROR, "keys_not_read", "reason=%s", log_quote(text, slice_of(reason)));
}

static void on_sweep(struct net_timer *t) {
    struct webhooks *w = WEBHOOKS_OF(t, sweep);
    receivers_sweep(w);
    look_at_keys(w);
    net_timer_start(w->api->loop, &w->sweep, SWEEP_MS);
}

/* --- rows that wait */

static void add(struct webhooks *w, const struct store_webhook *h) {
    struct slice text = h->url;
    struct webhook_url url;
    webhook_hops(&text);
    /* What may no longer be called shares a place: it ends without a call. */
    struct slice host = webhook_url_read(w->api->config, text, &url) == NULL ? url.host : SLICE("");
    if (!outbox_add(w->outbox, h->id, host, h->due_ms)) webhooks_reread_later(w);
}

static void pending_read(void *user, uint64_t arg, const struct store_reply *r) {
    struct webhooks *w = user;
    bool ok = r->status == STORE_OK, loading = w->loading;
    w->loading = false;
    if (!w->stopped) {
        for (size_t i = 0; ok && i < r->nwebhooks; i++) add(w, &r->webhooks[i]);
        webhooks_turn(w);
        if (!ok && !loading) webhooks_reread_later(w);
    }
    if (loading) api_loaded(w->api, ok);
}

static void read_pending(struct webhooks *w) {
    struct api *a = w->api;
    uint64_t t = desk_ask(a->desk, pending_read, w, 0);
    if (t != 0)
        a->store->backend->webhooks_pending(a->store, t);
    else if (w->loading)
        api_loaded(a, false);
    else
        webhooks_reread_later(w);
}

static void on_reread(struct net_timer *t) {
    read_pending(WEBHOOKS_OF(t, reread));
}

void webhooks_reread_later(struct webhooks *w) {
    if (!w->stopped && !net_timer_armed(&w->reread))
        net_timer_start(w->api->loop, &w->reread, REREAD_MS);
}

void webhooks_replayed(struct api *a) {
    if (a->webhooks != NULL && !a->webhooks->stopped) read_pending(a->webhooks);
}

/* With its result: when it may start at once, as most may, it is not read again. */
static void due_read(void *user, uint64_t arg, const struct store_reply *r) {
    struct webhooks *w = user;
    if (w->stopped) return;
    if (r->status != STORE_OK || r->nwebhooks != 1 || r->row == NULL) {
        if (r->status != STORE_NOT_FOUND) webhooks_reread_later(w);
        return;
    }
    if (r->webhooks[0].state != STORE_WEBHOOK_WAITING) return;
    w->at_hand = r;
    add(w, &r->webhooks[0]);
    webhooks_turn(w);
    w->at_hand = NULL;
}

void webhooks_due(void *api, const char *id) {
    struct api *a = api;
    struct webhooks *w = a->webhooks;
    if (w == NULL || w->stopped) return;
    uint64_t t = desk_ask(a->desk, due_read, w, 0);
    if (t != 0)
        a->store->backend->webhook_get(a->store, t, id);
    else
        webhooks_reread_later(w);
}

void handle_webhook_secret(struct call *c) {
    unsigned char secret[WEBHOOK_SECRET_BYTES], text[(WEBHOOK_SECRET_BYTES + 2) / 3 * 4 + 1];
    struct buf *b = call_scratch(c);
    webhook_secret(c->api->signer, identity_owner(&c->who), secret);
    EVP_EncodeBlock(text, secret, sizeof secret);
    buf_printf(b, "{\"secret\":\"whsec_%s\"}", (const char *)text);
    net_header(c->x, SLICE("cache-control"), SLICE("no-store"));
    call_scratch_json(c, 200);
    secret_wipe(secret, sizeof secret);
    secret_wipe(text, sizeof text);
}

/* --- a part of the api */

static bool make(struct webhooks *w) {
    struct api *a = w->api;
    struct outbox_options o = {.clock = a->clock,
                               .random = a->random,
                               .at_once = a->config->webhook_at_once,
                               .at_once_per_host = a->config->webhook_at_once_per_host,
                               .retries = a->config->webhook_retries,
                               .window_ms = a->config->webhook_window_s * 1000ULL,
                               .start = webhooks_start,
                               .user = w};
    w->outbox = outbox_new(&o);
    return w->outbox != NULL;
}

bool webhooks_open(struct api *a, char *reason, size_t size) {
    a->webhooks = calloc(1, sizeof *a->webhooks);
    if (a->webhooks != NULL) a->webhooks->api = a;
    if (a->webhooks != NULL && make(a->webhooks)) return true;
    snprintf(reason, size, "out of memory");
    return false;
}

void webhooks_load(struct api *a) {
    struct webhooks *w = a->webhooks;
    w->turn.fire = on_turn;
    w->reread.fire = on_reread;
    w->sweep.fire = on_sweep;
    w->keys_due_ms = clock_mono_ms(a->clock) + KEYS_MS;
    w->loading = true;
    net_timer_start(a->loop, &w->sweep, SWEEP_MS);
    read_pending(w);
}

void webhooks_drain(struct api *a) {
    struct webhooks *w = a->webhooks;
    if (w == NULL) return;
    if (!w->stopped) w->stopped_ms = clock_mono_ms(a->clock);
    w->stopped = true;
    outbox_stop(w->outbox);
    net_timer_stop(a->loop, &w->turn);
    net_timer_stop(a->loop, &w->reread);
}

bool webhooks_quiet(const struct api *a) {
    const struct webhooks *w = a->webhooks;
    return w == NULL || w->deliveries == NULL || !w->stopped ||
           clock_mono_ms(a->clock) - w->stopped_ms >= WEBHOOKS_QUIET_MS;
}

void webhooks_close(struct api *a) {
    struct webhooks *w = a->webhooks;
    if (w == NULL || w->outbox == NULL) return;
    webhooks_drain(a);
    net_timer_stop(a->loop, &w->sweep);
    webhooks_cut(w);
    receivers_close(w);
}

void webhooks_free(struct api *a) {
    struct webhooks *w = a->webhooks;
    if (w == NULL) return;
    outbox_free(w->outbox);
    net_tls_free(w->tls);
    slots_free(&w->handles);
    free(w);
    a->webhooks = NULL;
}

void webhooks_get_stats(const struct api *a, struct webhooks_stats *out) {
    const struct webhooks *w = a->webhooks;
    *out = (struct webhooks_stats){0};
    if (w == NULL) return;
    *out = w->stats;
    out->waiting = outbox_waiting(w->outbox);
    out->running = outbox_running(w->outbox);
}
