/* Connections to receivers, kept for a while: one origin for scheme, host and port. */
#include "api/webhooks_inner.h"

#include <stdlib.h>

#define IDLE_MS 60000U
#define MAX_IDLE 256U /* receivers; beyond it the one idle for longest is given up */

static bool allowed(void *user, const struct sockaddr *address) {
    return webhook_address_allowed(user, address);
}

static bool is_for(const struct receiver *r, const struct webhook_url *url) {
    return r->port == url->port && r->tls == url->tls &&
           slice_eq_nocase(slice_make(r->host, r->host_len), url->host);
}

/* The system's certificates cost 25 ms and a megabyte: they are read for the first receiver that wants them. */
static bool tls_ready(struct webhooks *w) {
    if (w->tls == NULL) w->tls = net_tls_new(NULL);
    return w->tls != NULL;
}

static struct receiver *receiver_new(struct webhooks *w, const struct webhook_url *url) {
    const struct config *cfg = w->api->config;
    if (url->tls && !tls_ready(w)) return NULL;
    struct receiver *r = calloc(1, sizeof *r + url->host.len + 1);
    if (r == NULL) return NULL;
    r->tls = url->tls;
    r->port = url->port;
    r->host_len = (uint16_t)url->host.len;
    memcpy(r->host, url->host.ptr, url->host.len);
    struct net_origin_options o = {.host = r->host,
                                   .port = r->port,
                                   .tls = r->tls ? w->tls : NULL,
                                   .max_idle = cfg->webhook_at_once_per_host,
                                   .idle_ms = IDLE_MS / 2,
                                   .allow = allowed,
                                   .allow_user = (void *)cfg};
    r->origin = net_origin_new(w->api->loop, &o);
    if (r->origin != NULL) return r;
    free(r);
    return NULL;
}

struct receiver *receiver_get(struct webhooks *w, const struct webhook_url *url) {
    struct receiver *r = w->receivers;
    while (r != NULL && !is_for(r, url)) r = r->next;
    if (r == NULL) {
        r = receiver_new(w, url);
        if (r == NULL) return NULL;
        r->next = w->receivers;
        w->receivers = r;
    }
    r->running++;
    return r;
}

static void drop(struct webhooks *w, struct receiver *r) {
    struct receiver **at = &w->receivers;
    while (*at != r) at = &(*at)->next;
    *at = r->next;
    net_origin_free(r->origin);
    free(r);
}

static void keep_few(struct webhooks *w) {
    struct receiver *oldest = NULL;
    size_t idle = 0;
    for (struct receiver *r = w->receivers; r != NULL; r = r->next) {
        if (r->running > 0) continue;
        idle++;
        if (oldest == NULL || r->idle_since_ms < oldest->idle_since_ms) oldest = r;
    }
    if (idle > MAX_IDLE) drop(w, oldest);
}

void receiver_put(struct webhooks *w, struct receiver *r) {
    if (--r->running > 0) return;
    r->idle_since_ms = clock_mono_ms(w->api->clock);
    keep_few(w);
}

void receivers_sweep(struct webhooks *w) {
    uint64_t now = clock_mono_ms(w->api->clock);
    for (struct receiver *r = w->receivers, *next; r != NULL; r = next) {
        next = r->next;
        if (r->running == 0 && now - r->idle_since_ms >= IDLE_MS) drop(w, r);
    }
}

void receivers_close(struct webhooks *w) {
    while (w->receivers != NULL) drop(w, w->receivers);
}
