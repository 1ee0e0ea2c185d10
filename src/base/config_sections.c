/* The sections of the file that are more than one value: keys, upstreams, routes, maps. */
#include "base/config_reader.h"
#include "base/hex.h"

#include <ctype.h>
#include <stddef.h>

struct key_text {
    struct slice id, secret, sha256, scope, owner;
    bool replaced; /* of the secret */
    struct config_limits limits;
};

#define LIMIT(name, f)                                                               \
    {name, FIELD_U32, USE_FILE, offsetof(struct config_limits, f), 0, 0, UINT32_MAX, \
     NULL, NULL,      NULL}

static const struct field limit_fields[] = {
    LIMIT("concurrent_calls", concurrent_calls), LIMIT("requests_per_minute", requests_per_minute),
    LIMIT("queue_length", queue_length), LIMIT("status_polls_per_second", status_polls_per_second)};

static bool key_field(struct reader *r, struct fy_node_pair *p, struct key_text *k) {
    struct slice name = config_scalar(fy_node_pair_key(p)), *at = NULL;
    if (slice_is(name, "secret")) {
        bool ok = config_want_secret(r, fy_node_pair_value(p), "secret", &k->secret);
        k->replaced = r->replaced;
        return ok;
    }
    if (slice_is(name, "id"))
        at = &k->id;
    else if (slice_is(name, "sha256"))
        at = &k->sha256;
    else if (slice_is(name, "scope"))
        at = &k->scope;
    else if (slice_is(name, "owner"))
        at = &k->owner;
    if (at != NULL) return config_want_scalar(r, fy_node_pair_value(p), "a key's field", at);
    const struct field *f = config_find(limit_fields, sizeof limit_fields / sizeof *limit_fields,
                                        name, USE_FILE);
    return f != NULL ? config_set_node(r, f, &k->limits, fy_node_pair_value(p))
                     : config_unknown(r, fy_node_pair_key(p), "keys");
}

static bool add_key(struct reader *r, struct fy_node *n, const struct key_text *t) {
    struct arena *a = &r->l->config->arena;
    struct config_key k = {.id = arena_copy(a, t->id),
                           .owner = arena_copy(a, t->owner.len > 0 ? t->owner : t->id),
                           .limits = t->limits};
    if (!config_id_ok(t->id) || slice_find(t->id, ':') >= 0)
        return config_fail(r->l, 78, config_where(r, n),
                           "a key wants an id of visible ASCII without colon and quotes");
    if ((t->secret.len > 0) == (t->sha256.len > 0))
        return config_fail(r->l, 78, config_where(r, n), "key %.*s wants either secret or sha256",
                           SLICE_ARG(t->id));
    if (slice_is(t->scope, "ADMIN"))
        k.scope = SCOPE_ADMIN;
    else if (t->scope.len > 0 && !slice_is(t->scope, "API"))
        return config_fail(r->l, 78, config_where(r, n), "scope wants API or ADMIN");
    if (t->sha256.len > 0) {
        if (!hex_read(t->sha256, k.sha256, SECRET_HASH_BYTES))
            return config_fail(r->l, 78, config_where(r, n),
                               "sha256 wants 64 hexadecimal digits, of the text id:secret");
    } else {
        char *joined = arena_printf(a, "%.*s:%.*s", SLICE_ARG(t->id), SLICE_ARG(t->secret));
        if (joined == NULL || !secret_sha256(slice_of(joined), k.sha256))
            return config_fail(r->l, 71, r->path, "out of memory");
        secret_wipe(joined, strlen(joined));
        config_wipe_secret(t->replaced, t->secret);
    }
    return config_add_key(r->l, &k);
}

static bool read_keys(struct reader *r, struct fy_node *n) {
    void *it = NULL;
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, config_where(r, n), "keys wants a list of { id, secret }");
    for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL;) {
        struct key_text t = {.limits = CONFIG_LIMITS_UNSET};
        void *pit = NULL;
        if (!fy_node_is_mapping(item))
            return config_fail(r->l, 78, config_where(r, item),
                               "keys wants a list of { id, secret }");
        for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(item, &pit)) != NULL;)
            if (!key_field(r, p, &t)) return false;
        if (!add_key(r, item, &t)) return false;
    }
    return r->l->config->nkeys > 0 ||
           config_fail(r->l, 78, config_where(r, n),
                       "keys is empty; leave it out to serve loopback without keys");
}

static bool set_kind(struct reader *r, struct config_upstream *u, struct fy_node *n) {
    static const char *const kinds[] = {"openai", "openrouter", "local"};
    struct slice v;
    if (!config_want_scalar(r, n, "kind", &v)) return false;
    for (size_t i = 0; i < 3; i++) {
        if (!slice_is(v, kinds[i])) continue;
        u->kind = (enum config_kind)i;
        return true;
    }
    return config_fail(r->l, 78, config_where(r, n), "kind wants openai, openrouter or local");
}

static bool upstream_field(struct reader *r, struct config_upstream *u, struct fy_node_pair *p) {
    struct fy_node *key = fy_node_pair_key(p), *value = fy_node_pair_value(p);
    struct slice v;
    if (slice_is(config_scalar(key), "kind")) return true; /* read first */
    if (slice_is(config_scalar(key), "base_url"))
        return config_want_scalar(r, value, "base_url", &v) &&
               config_set_base_url(r->l, u, v, config_where(r, value));
    const struct field *f = config_find(upstream_fields, upstream_nfields, config_scalar(key),
                                        USE_FILE);
    return f != NULL ? config_set_node(r, f, u, value) : config_unknown(r, key, "an upstream");
}

/* It stands in headers, labels and log lines. */
static bool upstream_name_ok(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!isalnum((unsigned char)c) && c != '-' && c != '_' && c != '.') return false;
    }
    return s.len > 0 && s.len <= 64;
}

static bool read_upstream(struct reader *r, struct fy_node *key, struct fy_node *n) {
    struct config_upstream u = {.name = arena_copy(&r->l->config->arena, config_scalar(key))};
    if (!upstream_name_ok(u.name))
        return config_fail(r->l, 78, config_where(r, key),
                           "the name of an upstream wants letters, digits, '-', '_' and '.'");
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, key), "an upstream wants { kind: …, … }");
    struct fy_node *kind = fy_node_mapping_lookup_by_string(n, "kind", (size_t)-1);
    if (kind == NULL)
        return config_fail(r->l, 78, config_where(r, key), "upstream %.*s has no kind",
                           SLICE_ARG(u.name));
    if (!set_kind(r, &u, kind)) return false;
    config_upstream_defaults(&u);
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;)
        if (!upstream_field(r, &u, p)) return false;
    if (u.kind == UPSTREAM_OPENAI && u.host == NULL)
        return config_fail(r->l, 78, config_where(r, key), "upstream %.*s wants a base_url",
                           SLICE_ARG(u.name));
    return config_add_upstream(r->l, &u);
}

static bool read_upstreams(struct reader *r, struct fy_node *n) {
    void *it = NULL;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, n), "upstreams wants NAME: { kind: …, … }");
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;)
        if (!read_upstream(r, fy_node_pair_key(p), fy_node_pair_value(p))) return false;
    return true;
}

static bool route_target(struct reader *r, struct fy_node *n, size_t *out) {
    const struct config *c = r->l->config;
    struct slice name;
    if (!config_want_scalar(r, n, "to", &name)) return false;
    for (size_t i = 0; i < c->nupstreams; i++) {
        if (!slice_eq(c->upstreams[i].name, name)) continue;
        *out = i;
        return true;
    }
    return config_fail(r->l, 78, config_where(r, n), "no upstream is named %.*s", SLICE_ARG(name));
}

static bool route_to(struct reader *r, struct fy_node *n, struct config_route *route) {
    enum { MOST = 16 };
    size_t to[MOST], count = 0;
    if (n == NULL || fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, n), "a route wants to: [UPSTREAM, …]");
    if (fy_node_is_scalar(n)) {
        if (!route_target(r, n, &to[count++])) return false;
    } else {
        void *it = NULL;
        for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL;) {
            if (count == MOST)
                return config_fail(r->l, 78, config_where(r, item),
                                   "a route has at most 16 upstreams");
            if (!route_target(r, item, &to[count++])) return false;
        }
    }
    size_t *copy = arena_alloc(&r->l->config->arena, sizeof to);
    if (copy == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    memcpy(copy, to, count * sizeof *to);
    route->to = copy;
    route->nto = count;
    return count > 0 ||
           config_fail(r->l, 78, config_where(r, n), "a route wants at least one upstream");
}

static bool read_route(struct reader *r, struct fy_node *n, struct config_route *route) {
    struct slice v;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, n), "a route wants { model: …, to: […] }");
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;) {
        struct slice k = config_scalar(fy_node_pair_key(p));
        if (!slice_is(k, "model") && !slice_is(k, "to"))
            return config_unknown(r, fy_node_pair_key(p), "a route");
    }
    struct fy_node *model = fy_node_mapping_lookup_by_string(n, "model", (size_t)-1);
    if (model == NULL) return config_fail(r->l, 78, config_where(r, n), "a route wants a model");
    if (!config_want_scalar(r, model, "model", &v)) return false;
    if (v.len == 0 || (slice_find(v, '*') >= 0 && slice_find(v, '*') != (ptrdiff_t)v.len - 1))
        return config_fail(r->l, 78, config_where(r, model),
                           "a route's model is an id, or a prefix that ends in *");
    route->model = arena_copy(&r->l->config->arena, v);
    return route_to(r, fy_node_mapping_lookup_by_string(n, "to", (size_t)-1), route);
}

bool config_read_routes(struct reader *r, struct fy_node *n) {
    struct config *c = r->l->config;
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, config_where(r, n), "routes wants a list of { model, to }");
    int count = fy_node_sequence_item_count(n);
    struct config_route *routes = arena_zalloc(&c->arena,
                                               (size_t)(count > 0 ? count : 1) * sizeof *routes);
    if (routes == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    void *it = NULL;
    size_t i = 0;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL; i++)
        if (!read_route(r, item, &routes[i])) return false;
    c->routes = routes;
    c->nroutes = i;
    return true;
}

/* Each a few fields of the configuration under one name. */
static bool read_fields(struct reader *r, struct fy_node *n, const struct field *fields,
                        size_t count, const char *section) {
    void *it = NULL;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, n), "%s wants { KEY: VALUE, … }", section);
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;) {
        struct fy_node *key = fy_node_pair_key(p);
        const struct field *f = config_find(fields, count, config_scalar(key), USE_FILE);
        if (f == NULL) return config_unknown(r, key, section);
        if (!config_set_node(r, f, r->l->config, fy_node_pair_value(p))) return false;
    }
    return true;
}

#define FILE_FIELD(name, type, f, min, max) \
    {name, type, USE_FILE, offsetof(struct config, f), 0, min, max, NULL, NULL, NULL}

static bool read_retention(struct reader *r, struct fy_node *n) {
    static const struct field fields[] = {
        FILE_FIELD("age", FIELD_SECONDS, retention_age_s, 60, 0),
        FILE_FIELD("bytes", FIELD_BYTES, retention_bytes, 1U << 20, 0)};
    return read_fields(r, n, fields, 2, "retention");
}

static bool read_proxy(struct reader *r, struct fy_node *n) {
    static const struct field fields[] = {
        FILE_FIELD("key", FIELD_ID, proxy.key, 0, 0),
        FILE_FIELD("forward", FIELD_BOOL, proxy.forward, 0, 0),
        FILE_FIELD("forward_to", FIELD_URL, proxy.forward_to, 0, 0),
        FILE_FIELD("fal_key", FIELD_SECRET, proxy.fal_key, 0, 0),
        {"endpoints", FIELD_SLICES, USE_FILE, offsetof(struct config, proxy.endpoints),
         offsetof(struct config, proxy.nendpoints), 0, 0, NULL, NULL, NULL}};
    return read_fields(r, n, fields, sizeof fields / sizeof *fields, "proxy");
}

/* --- maps of names */

typedef bool take_pair(struct reader *r, struct fy_node *key, struct slice name, struct slice value,
                       void *slot);

/* NAME: VALUE pairs, each into one element of *list. */
static bool read_map(struct reader *r, struct fy_node *n, const char *section, size_t size,
                     void **list, size_t *count, take_pair *take) {
    struct slice value;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, config_where(r, n), "%s wants { NAME: VALUE, … }", section);
    int most = fy_node_mapping_item_count(n);
    char *at = arena_zalloc(&r->l->config->arena, (size_t)(most > 0 ? most : 1) * size);
    if (at == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    *list = at;
    *count = 0;
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL; at += size) {
        struct fy_node *key = fy_node_pair_key(p);
        if (!config_want_scalar(r, fy_node_pair_value(p), section, &value)) return false;
        if (!take(r, key, config_scalar(key), value, at)) return false;
        (*count)++;
    }
    return !r->l->config->arena.failed || config_fail(r->l, 71, r->path, "out of memory");
}

static bool take_host(struct reader *r, struct fy_node *key, struct slice name, struct slice value,
                      void *slot) {
    static const char *const surfaces[] = {"run", "queue", "rest", "cdn", "platform"};
    struct config_virtual_host *h = slot;
    if (!config_id_ok(name) || slice_find(name, ':') >= 0 || slice_find(name, '/') >= 0)
        return config_fail(r->l, 78, config_where(r, key),
                           "a virtual host is a name without port, or *.NAME, or NAME.*");
    h->name = arena_copy(&r->l->config->arena, name);
    for (size_t i = 0; i < sizeof surfaces / sizeof *surfaces; i++) {
        if (!slice_is(value, surfaces[i])) continue;
        h->surface = (enum config_surface)i;
        return true;
    }
    return config_fail(r->l, 78, config_where(r, key),
                       "a virtual host wants run, queue, rest, cdn or platform");
}

static bool read_virtual_hosts(struct reader *r, struct fy_node *n) {
    struct config *c = r->l->config;
    return read_map(r, n, "virtual_hosts", sizeof *c->virtual_hosts, (void **)&c->virtual_hosts,
                    &c->nvirtual_hosts, take_host);
}

static bool take_alias(struct reader *r, struct fy_node *key, struct slice name, struct slice value,
                       void *slot) {
    struct config_alias *a = slot;
    if (!config_id_ok(name) || slice_find(name, '/') < 1)
        return config_fail(r->l, 78, config_where(r, key),
                           "an endpoint's alias wants OWNER/ALIAS, as callers write it");
    a->name = arena_copy(&r->l->config->arena, name);
    a->endpoint = arena_copy(&r->l->config->arena, value);
    return true;
}

static bool read_aliases(struct reader *r, struct fy_node *n) {
    struct config *c = r->l->config;
    return read_map(r, n, "endpoint_aliases", sizeof *c->aliases, (void **)&c->aliases,
                    &c->naliases, take_alias);
}

static const struct section {
    const char *name;
    bool (*read)(struct reader *r, struct fy_node *n);
} sections[] = {{"keys", read_keys},
                {"upstreams", read_upstreams},
                {"retention", read_retention},
                {"proxy", read_proxy},
                {"virtual_hosts", read_virtual_hosts},
                {"endpoint_aliases", read_aliases}};

bool config_read_section(struct reader *r, struct slice name, struct fy_node *n, bool *known) {
    *known = true;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (slice_is(name, sections[i].name)) return sections[i].read(r, n);
    *known = false;
    return false;
}
