#include "api/proxy.h"

static bool find_target(struct call *c, struct reach *out) {
    const struct config *cfg = c->api->config;
    size_t n;
    struct slice url = h1_get(net_head(c->x), SLICE("x-fal-target-url"), &n);
    return n == 1 && target_read(url, cfg, cfg->proxy.forward ? NULL : &c->at, out) &&
           target_allowed(&cfg->proxy, out, net_head(c->x)->method == H1_POST);
}

/* Of what is served here, fal's hosts have this; the operator's own paths are not to be had through the proxy. */
static bool is_fals(enum served kind) {
    return kind != SERVED_OPS && kind != SERVED_ADMIN && kind != SERVED_DOCS &&
           kind != SERVED_PROXY;
}

bool proxy_enter(struct call *c, unsigned *status, const char **allow) {
    struct reach at;
    if (!find_target(c, &at)) {
        c->api->requests[SERVED_PROXY]++;
        call_json(c, 400, SLICE("\"Invalid request\""));
        return false;
    }
    c->at = at;
    c->proxied = true;
    if (c->api->config->proxy.forward) return true;
    c->route = routes_find(c, status, allow);
    if (c->route != NULL && !is_fals(c->route->kind)) {
        c->route = NULL;
        *status = 404;
    }
    return true;
}
