#include "api/reach.h"

static const char *const prefixes[] = {[SURFACE_RUN] = "run",
                                       [SURFACE_QUEUE] = "queue",
                                       [SURFACE_REST] = "rest",
                                       [SURFACE_CDN] = "cdn",
                                       [SURFACE_PLATFORM] = "platform"};

/* fal's own names, for those who point them at their own machine. */
static const struct {
    const char *name;
    enum config_surface surface;
} hosts[] = {
    {"fal.run", SURFACE_RUN},         {"ws.fal.run", SURFACE_RUN},
    {"queue.fal.run", SURFACE_QUEUE}, {"queue.*", SURFACE_QUEUE},
    {"rest.fal.ai", SURFACE_REST},    {"rest.alpha.fal.ai", SURFACE_REST},
    {"v3.fal.media", SURFACE_CDN},    {"api.fal.ai", SURFACE_PLATFORM},
    {"falrun.com", SURFACE_RUN}, /* where clients turn to when fal.run does not answer */
};

bool reach_prefix(struct slice segment, enum config_surface *out) {
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (!slice_is(segment, prefixes[i])) continue;
        *out = (enum config_surface)i;
        return true;
    }
    return false;
}

const char *reach_prefix_name(enum config_surface s) {
    return prefixes[s];
}

/* Without its port and the dot that may end a full name. */
static struct slice name_of(struct slice host) {
    struct slice rest, name = host;
    if (host.len > 0 && host.ptr[0] == '[') {
        ptrdiff_t end = slice_find(host, ']');
        return end > 0 ? slice_make(host.ptr, (size_t)end + 1) : host;
    }
    name = slice_cut(host, ':', &rest);
    if (name.len > 1 && name.ptr[name.len - 1] == '.') name.len--;
    return name;
}

/* "queue.*" and "*.example.org" stand for at least one label more. */
static bool matches(struct slice pattern, struct slice name) {
    if (slice_ends(pattern, SLICE(".*"))) {
        size_t n = pattern.len - 1;
        return name.len > n && slice_eq_nocase(slice_make(name.ptr, n), slice_make(pattern.ptr, n));
    }
    if (slice_starts(pattern, SLICE("*."))) {
        size_t n = pattern.len - 1;
        return name.len > n &&
               slice_eq_nocase(slice_from(name, name.len - n), slice_from(pattern, 1));
    }
    return slice_eq_nocase(pattern, name);
}

bool reach_host(const struct config *cfg, struct slice host, enum config_surface *out) {
    struct slice name = name_of(host);
    for (size_t i = 0; i < cfg->nvirtual_hosts; i++) {
        if (!matches(cfg->virtual_hosts[i].name, name)) continue;
        *out = cfg->virtual_hosts[i].surface;
        return true;
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        if (!matches(slice_of(hosts[i].name), name)) continue;
        *out = hosts[i].surface;
        return true;
    }
    return false;
}

void reach_decide(struct reach *r, const struct config *cfg) {
    struct slice rest, first = slice_cut(slice_from(r->path, r->path.len > 0 ? 1 : 0), '/', &rest);
    enum config_surface of_host = SURFACE_RUN;
    reach_host(cfg, r->host, &of_host);
    r->by_host = of_host != SURFACE_RUN;
    r->prefix = SLICE("");
    if (reach_prefix(first, &r->surface))
        r->prefix = slice_make(r->path.ptr, first.len + 1);
    else
        r->surface = of_host;
}

/* --- behind a reverse proxy */

/* Of a list the last one counts: the proxy that we trust wrote it. */
static struct slice last_of(struct slice list) {
    struct slice rest, last = slice_trim(slice_cut(list, ',', &rest));
    while (rest.ptr != NULL) last = slice_trim(slice_cut(rest, ',', &rest));
    return last;
}

static struct slice unquoted(struct slice v) {
    if (v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"')
        return slice_make(v.ptr + 1, v.len - 2);
    return v;
}

/* RFC 7239: for=…;proto=https;host="llm.example.org:8443" */
static struct slice forwarded(struct slice element, const char *name) {
    while (element.ptr != NULL) {
        struct slice rest, value,
            key = slice_trim(slice_cut(slice_cut(element, ';', &rest), '=', &value));
        if (slice_eq_nocase(key, slice_of(name)) && value.ptr != NULL)
            return unquoted(slice_trim(value));
        element = rest;
    }
    return SLICE("");
}

/* "192.0.2.1:4711" and "[2001:db8::1]:4711" without the rest; an IPv6 address without brackets has no port. */
static struct slice bare_address(struct slice text) {
    struct slice rest, tail;
    if (text.len > 0 && text.ptr[0] == '[') return slice_cut(slice_from(text, 1), ']', &rest);
    struct slice v4 = slice_cut(text, ':', &rest);
    slice_cut(rest, ':', &tail);
    return rest.ptr != NULL && tail.ptr == NULL ? v4 : text;
}

struct slice reach_peer(const struct net_exchange *x) {
    const struct h1_head *h = net_head(x);
    if (!net_peer_is_trusted(x)) return net_peer(x);
    struct slice by = forwarded(last_of(h1_get(h, SLICE("forwarded"), NULL)), "for");
    if (by.len == 0) by = last_of(h1_get(h, SLICE("x-forwarded-for"), NULL));
    return by.len > 0 ? bare_address(by) : net_peer(x);
}

static void believe(struct reach *r, const struct h1_head *h) {
    struct slice element = last_of(h1_get(h, SLICE("forwarded"), NULL)),
                 proto = forwarded(element, "proto"), host = forwarded(element, "host");
    if (proto.len == 0) proto = last_of(h1_get(h, SLICE("x-forwarded-proto"), NULL));
    if (host.len == 0) host = last_of(h1_get(h, SLICE("x-forwarded-host"), NULL));
    if (slice_eq_nocase(proto, SLICE("https")) || slice_eq_nocase(proto, SLICE("http")))
        r->tls = proto.len == 5;
    if (host.len > 0 && h1_host_ok(host)) r->host = host;
}

void reach_of(struct reach *r, const struct config *cfg, const struct net_exchange *x) {
    const struct h1_head *h = net_head(x);
    *r = (struct reach){.tls = net_is_tls(x), .host = h->host, .path = h->path, .query = h->query};
    if (cfg->ntrusted_proxies > 0 && net_peer_is_trusted(x)) believe(r, h);
    reach_decide(r, cfg);
}

/* A public address says nothing of virtual hosts, so there the prefix always stands. */
void reach_base(struct buf *b, const struct config *cfg, const struct reach *r) {
    struct slice host = r->host;
    if (cfg->public_url != NULL && !r->as_fal) {
        buf_printf(b, "%s/%s", cfg->public_url, prefixes[r->surface]);
        return;
    }
    if (host.len == 0) /* HTTP/1.0 may leave it out */
        host = slice_of(cfg->nlisten > 0 ? cfg->listen[0] : cfg->listen_tls[0]);
    buf_printf(b, "%s://%.*s%.*s", r->tls ? "https" : "http", SLICE_ARG(host),
               SLICE_ARG(r->prefix));
}
