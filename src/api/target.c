#include "api/target.h"

#include "net/h1.h"

#include <stdio.h>

/* --- the URL */

static bool starts_nocase(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && slice_eq_nocase(slice_make(s.ptr, prefix.len), prefix);
}

/* Nothing that one reader of URLs takes for something else than another does. */
static bool visible(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || memchr("\\#\"<>", s.ptr[i], 5) != NULL)
            return false;
    return true;
}

/* No path of fal's that is served here needs an escape. */
static bool path_ok(struct slice path) {
    struct slice rest = slice_from(path, 1);
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) continue;
        if (memchr("/-._~", c, 5) == NULL) return false;
    }
    while (rest.len > 0) {
        struct slice s = slice_cut(rest, '/', &rest);
        if (s.len == 0 || slice_is(s, ".") || slice_is(s, "..")) return false;
    }
    return true;
}

static size_t find_any(struct slice s, char a, char b) {
    size_t i = 0;
    while (i < s.len && s.ptr[i] != a && s.ptr[i] != b) i++;
    return i;
}

bool target_split(struct slice text, struct target_url *out) {
    out->tls = starts_nocase(text, SLICE("https://"));
    if (text.len > TARGET_MAX_BYTES || !visible(text)) return false;
    if (!out->tls && !starts_nocase(text, SLICE("http://"))) return false;
    struct slice rest = slice_from(text, out->tls ? 8 : 7);
    size_t n = find_any(rest, '/', '?');
    out->host = slice_make(rest.ptr, n);
    rest = slice_from(rest, n);
    n = find_any(rest, '?', '?');
    out->path = n > 0 ? slice_make(rest.ptr, n) : SLICE("/");
    out->query = slice_from(rest, n + 1);
    return h1_host_ok(out->host) && path_ok(out->path);
}

/* --- what it may name */

static const struct {
    const char *name;
    enum config_surface surface;
} fal_hosts[TARGET_FAL_HOSTS] = {{"fal.run", SURFACE_RUN},
                                 {"queue.fal.run", SURFACE_QUEUE},
                                 {"rest.fal.ai", SURFACE_REST},
                                 {"rest.alpha.fal.ai", SURFACE_REST}};

const char *target_fal_host(size_t i) {
    return fal_hosts[i].name;
}

static bool fal_target(const struct target_url *u, struct reach *out) {
    struct slice port, name = slice_cut(u->host, ':', &port);
    if (!u->tls || (port.ptr != NULL && !slice_is(port, "443"))) return false;
    if (name.len > 0 && name.ptr[name.len - 1] == '.') name.len--;
    for (size_t i = 0; i < TARGET_FAL_HOSTS; i++) {
        if (!slice_eq_nocase(name, slice_of(fal_hosts[i].name))) continue;
        *out = (struct reach){.tls = true,
                              .host = slice_of(fal_hosts[i].name),
                              .path = u->path,
                              .query = u->query,
                              .surface = fal_hosts[i].surface,
                              .by_host = fal_hosts[i].surface != SURFACE_RUN,
                              .as_fal = true};
        return true;
    }
    return false;
}

/* Where public_url ends in the address and our own path begins; SIZE_MAX: it is none of public_url's. */
static size_t public_base(const struct target_url *u, const struct config *cfg) {
    struct target_url public;
    if (cfg->public_url == NULL || !target_split(slice_of(cfg->public_url), &public) ||
        public.tls != u->tls || !slice_eq_nocase(public.host, u->host))
        return SIZE_MAX;
    if (slice_is(public.path, "/")) return 0;
    size_t n = public.path.len;
    return slice_starts(u->path, public.path) && u->path.len > n && u->path.ptr[n] == '/'
               ? n
               : SIZE_MAX;
}

/* An address out of an answer of ours, which the caller follows. */
static bool own_target(const struct target_url *u, const struct config *cfg,
                       const struct reach *own, struct reach *out) {
    size_t base = public_base(u, cfg);
    if (base == SIZE_MAX && (u->tls != own->tls || !slice_eq_nocase(u->host, own->host)))
        return false;
    *out = (struct reach){.tls = u->tls,
                          .host = u->host,
                          .path = slice_from(u->path, base == SIZE_MAX ? 0 : base),
                          .query = u->query};
    reach_decide(out, cfg);
    return true;
}

bool target_read(struct slice text, const struct config *cfg, const struct reach *own,
                 struct reach *out) {
    struct target_url u;
    if (!target_split(text, &u)) return false;
    return fal_target(&u, out) || (own != NULL && own_target(&u, cfg, own, out));
}

/* --- the allow-lists */

/* Greedy, going back to the last star: linear in the pattern times the text. */
static bool segment_matches(struct slice pattern, struct slice s) {
    size_t p = 0, i = 0, star = SIZE_MAX, from = 0;
    while (i < s.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            from = i;
        } else if (p < pattern.len && pattern.ptr[p] == s.ptr[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') p++;
    return p == pattern.len;
}

/* A slice with ptr NULL has no segments left. */
bool target_glob(struct slice pattern, struct slice path) {
    struct slice star = SLICE_NONE, from = SLICE_NONE, p = pattern, s = path, p_rest, s_rest;
    while (s.ptr != NULL) {
        struct slice want = slice_cut(p, '/', &p_rest), is = slice_cut(s, '/', &s_rest);
        if (p.ptr != NULL && slice_is(want, "**")) {
            if (p_rest.ptr == NULL) return true;
            star = p = p_rest;
            from = s;
        } else if (p.ptr != NULL && segment_matches(want, is)) {
            p = p_rest;
            s = s_rest;
        } else if (star.ptr != NULL) {
            slice_cut(from, '/', &from);
            p = star;
            s = from;
        } else {
            return false;
        }
    }
    while (p.ptr != NULL && slice_is(slice_cut(p, '/', &p_rest), "**")) p = p_rest;
    return p.ptr == NULL;
}

/* Below the prefix, without slashes at either end. */
static struct slice meant(const struct reach *at) {
    struct slice path = slice_from(at->path, at->prefix.len + 1);
    if (path.len > 0 && path.ptr[path.len - 1] == '/') path.len--;
    return path;
}

/* What a token names is in the body, which on its way to fal is not looked at. */
static bool rest_allows(const struct config_proxy *p, struct slice path) {
    static const char *const paths[] = {"storage/upload/initiate",
                                        "storage/upload/initiate-multipart",
                                        "storage/upload/complete-multipart",
                                        "tokens",
                                        "tokens/realtime",
                                        "storage/auth/token"};
    if (p->forward && p->nendpoints > 0 && slice_starts(path, SLICE("tokens"))) return false;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (slice_is(path, paths[i])) return true;
    return false;
}

/* An endpoint that may be called may be streamed. */
static bool listed(const struct config_proxy *p, struct slice path) {
    if (p->nendpoints == 0) return true;
    struct slice id = path;
    if (slice_ends(id, SLICE("/stream"))) id.len -= strlen("/stream");
    for (size_t i = 0; i < p->nendpoints; i++)
        if (target_glob(p->endpoints[i], path) || target_glob(p->endpoints[i], id)) return true;
    return false;
}

/* Only a list's entry that ends in ** holds all that is below an id. */
static bool listed_below(const struct config_proxy *p, struct slice id) {
    for (size_t i = 0; i < p->nendpoints; i++) {
        struct slice one = p->endpoints[i];
        if ((slice_is(one, "**") || slice_ends(one, SLICE("/**"))) && target_glob(one, id))
            return true;
    }
    return false;
}

/* No id and no entry has a byte 1, only stars match it: what is listed of that owner is listed of every owner. */
bool target_token_allowed(const struct config_proxy *p, struct slice app) {
    static const char *const owners[] = {"\1/", "workflows/\1/", "comfy/\1/"};
    char id[TARGET_MAX_BYTES];
    if (p->nendpoints == 0) return true;
    if (slice_find(app, '/') >= 0) return listed_below(p, app);
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        int n = snprintf(id, sizeof id, "%s%.*s", owners[i], SLICE_ARG(app));
        if (n < 0 || (size_t)n >= sizeof id || !listed_below(p, slice_make(id, (size_t)n)))
            return false;
    }
    return true;
}

bool target_allowed(const struct config_proxy *p, const struct reach *at, bool post) {
    switch (at->surface) {
    case SURFACE_RUN:
    case SURFACE_QUEUE: return !post || listed(p, meant(at));
    case SURFACE_REST: return rest_allows(p, meant(at));
    default: return false;
    }
}
