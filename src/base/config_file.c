/* The YAML file, read through libfyaml: unknown keys and wrong types are errors with line and column. */
#include "base/buf.h"
#include "base/config_keys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1U << 20)

struct reader {
    struct config_loader *l;
    const char *path;
    bool exposed;  /* everybody can read the file */
    bool replaced; /* the last value came, in part, from the environment */
};

/* "anyllm.yaml:3:5" of a node, in one static buffer: it goes into an error at once. */
static const char *where(const struct reader *r, struct fy_node *n) {
    static char text[512];
    struct fy_token *t = n != NULL ? fy_node_get_scalar_token(n) : NULL;
    const struct fy_mark *m = t != NULL ? fy_token_start_mark(t) : NULL;
    if (m == NULL && n != NULL && fy_node_get_type(n) != FYNT_SCALAR) {
        void *it = NULL;
        if (fy_node_is_mapping(n)) {
            struct fy_node_pair *p = fy_node_mapping_iterate(n, &it);
            if (p != NULL) return where(r, fy_node_pair_key(p));
        } else {
            struct fy_node *item = fy_node_sequence_iterate(n, &it);
            if (item != NULL) return where(r, item);
        }
    }
    if (m == NULL)
        snprintf(text, sizeof text, "%s", r->path);
    else
        snprintf(text, sizeof text, "%s:%d:%d", r->path, m->line + 1, m->column + 1);
    return text;
}

static struct slice scalar(struct fy_node *n) {
    size_t len = 0;
    const char *p = fy_node_get_scalar(n, &len);
    return p != NULL ? slice_make(p, len) : SLICE("");
}

static bool is_name(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.ptr[i]) && s.ptr[i] != '_') return false;
    return s.len > 0;
}

/* The NAME of the next $(NAME) in s, *before what stands in front of it, *after what follows. False: there is none. */
static bool next_name(struct slice s, struct slice *before, struct slice *name,
                      struct slice *after) {
    for (size_t i = 0; i + 2 < s.len; i++) {
        if (s.ptr[i] != '$' || s.ptr[i + 1] != '(') continue;
        *name = slice_cut(slice_from(s, i + 2), ')', after);
        *before = slice_make(s.ptr, i);
        if (after->ptr != NULL && is_name(*name)) return true;
    }
    return false;
}

/* ${NAME} in any value is the environment's; a name that is not set is an error, not an empty key. YAML does not
 * allow braces in an unquoted value of { key: value }, where keys are mostly written, so protect() has made them
 * parentheses, which it does allow, before the text was parsed. */
static bool expand(struct reader *r, struct fy_node *n, struct slice *out) {
    struct slice s = scalar(n), before, name, after;
    struct buf b;
    *out = s;
    r->replaced = next_name(s, &before, &name, &after);
    if (!r->replaced) return true;
    buf_init(&b, FILE_MAX_BYTES);
    for (; next_name(s, &before, &name, &after); s = after) {
        char *variable = arena_dup(&r->l->config->arena, name);
        const char *value = variable != NULL ? getenv(variable) : NULL;
        if (value == NULL) {
            buf_free(&b);
            return config_fail(r->l, 78, where(r, n), "the environment has no variable %.*s",
                               SLICE_ARG(name));
        }
        buf_add(&b, before);
        buf_puts(&b, value);
    }
    buf_add(&b, s);
    *out = b.failed ? SLICE_NONE : arena_copy(&r->l->config->arena, buf_slice(&b));
    secret_wipe(b.base, b.cap);
    buf_free(&b);
    return out->ptr != NULL || config_fail(r->l, 71, r->path, "out of memory");
}

static bool want_scalar(struct reader *r, struct fy_node *n, const char *name, struct slice *out) {
    if (n == NULL || !fy_node_is_scalar(n) || fy_node_is_alias(n) || fy_node_is_null(n))
        return config_fail(r->l, 78, where(r, n), "%s wants one value", name);
    return expand(r, n, out);
}

/* Wiped by wipe_secret when it has been used. */
static bool want_secret(struct reader *r, struct fy_node *n, const char *name, struct slice *out) {
    if (!want_scalar(r, n, name, out)) return false;
    if (!r->exposed || r->replaced || out->len == 0) return true;
    return config_fail(r->l, 78, where(r, n),
                       "everybody can read this file and the %s in it; chmod o-r it, or write "
                       "${NAME} and set that variable",
                       name);
}

/* Of the copy in the arena; the file's own text is wiped when all is read. */
static void wipe_secret(bool replaced, struct slice s) {
    if (replaced) secret_wipe((char *)(uintptr_t)s.ptr, s.len);
}

static bool set_secret(struct reader *r, const struct field *f, void *target, struct fy_node *n) {
    struct slice v;
    if (!want_secret(r, n, f->name, &v)) return false;
    bool ok = config_set(r->l, f, target, v, true, where(r, n));
    wipe_secret(r->replaced, v);
    return ok;
}

static bool set_field(struct reader *r, const struct field *f, void *target, struct fy_node *n) {
    struct slice v;
    bool list = f->type == FIELD_TEXTS || f->type == FIELD_SLICES, first = true;
    if (f->type == FIELD_SECRET) return set_secret(r, f, target, n);
    if (!list || fy_node_is_scalar(n))
        return want_scalar(r, n, f->name, &v) && config_set(r->l, f, target, v, true, where(r, n));
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, where(r, n), "%s wants a list", f->name);
    void *it = NULL;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL; first = false)
        if (!want_scalar(r, item, f->name, &v) ||
            !config_set(r->l, f, target, v, first, where(r, item)))
            return false;
    return true;
}

static const struct field *find(const struct field *fields, size_t n, struct slice name,
                                unsigned use) {
    for (size_t i = 0; i < n; i++)
        if ((fields[i].use & use) != 0 && slice_is(name, fields[i].name)) return &fields[i];
    return NULL;
}

static bool unknown(struct reader *r, struct fy_node *key, const char *section) {
    struct slice k = scalar(key);
    return config_fail(r->l, 78, where(r, key),
                       "unknown key \"%.*s\"%s%s; docs/configuration.md lists all of them",
                       SLICE_ARG(k), section[0] != '\0' ? " in " : "", section);
}

static bool hex32(struct slice s, unsigned char *out) {
    if (s.len != (size_t)SECRET_HASH_BYTES * 2) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return false;
        out[i / 2] = (unsigned char)(i % 2 == 0 ? d << 4 : out[i / 2] | d);
    }
    return true;
}

struct key_text {
    struct slice id, secret, sha256, scope, owner;
    bool replaced; /* of the secret */
};

static bool key_field(struct reader *r, struct fy_node_pair *p, struct key_text *k) {
    struct slice name = scalar(fy_node_pair_key(p)), *at = NULL;
    if (slice_is(name, "secret")) {
        bool ok = want_secret(r, fy_node_pair_value(p), "secret", &k->secret);
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
    else
        return unknown(r, fy_node_pair_key(p), "keys");
    return want_scalar(r, fy_node_pair_value(p), "a key's field", at);
}

static bool add_key(struct reader *r, struct fy_node *n, const struct key_text *t) {
    struct arena *a = &r->l->config->arena;
    struct config_key k = {.id = arena_copy(a, t->id),
                           .owner = arena_copy(a, t->owner.len > 0 ? t->owner : t->id)};
    if (!config_id_ok(t->id) || slice_find(t->id, ':') >= 0)
        return config_fail(r->l, 78, where(r, n),
                           "a key wants an id of visible ASCII without colon and quotes");
    if ((t->secret.len > 0) == (t->sha256.len > 0))
        return config_fail(r->l, 78, where(r, n), "key %.*s wants either secret or sha256",
                           SLICE_ARG(t->id));
    if (slice_is(t->scope, "ADMIN"))
        k.scope = SCOPE_ADMIN;
    else if (t->scope.len > 0 && !slice_is(t->scope, "API"))
        return config_fail(r->l, 78, where(r, n), "scope wants API or ADMIN");
    if (t->sha256.len > 0) {
        if (!hex32(t->sha256, k.sha256))
            return config_fail(r->l, 78, where(r, n),
                               "sha256 wants 64 hexadecimal digits, of the text id:secret");
    } else {
        char *joined = arena_printf(a, "%.*s:%.*s", SLICE_ARG(t->id), SLICE_ARG(t->secret));
        if (joined == NULL || !secret_sha256(slice_of(joined), k.sha256))
            return config_fail(r->l, 71, r->path, "out of memory");
        secret_wipe(joined, strlen(joined));
        wipe_secret(t->replaced, t->secret);
    }
    return config_add_key(r->l, &k);
}

static bool read_keys(struct reader *r, struct fy_node *n) {
    void *it = NULL;
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, where(r, n), "keys wants a list of { id, secret }");
    for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL;) {
        struct key_text t = {0};
        void *pit = NULL;
        if (!fy_node_is_mapping(item))
            return config_fail(r->l, 78, where(r, item), "keys wants a list of { id, secret }");
        for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(item, &pit)) != NULL;)
            if (!key_field(r, p, &t)) return false;
        if (!add_key(r, item, &t)) return false;
    }
    return r->l->config->nkeys > 0 ||
           config_fail(r->l, 78, where(r, n),
                       "keys is empty; leave it out to serve loopback without keys");
}

static bool set_kind(struct reader *r, struct config_upstream *u, struct fy_node *n) {
    static const char *const kinds[] = {"openai", "openrouter", "local"};
    struct slice v;
    if (!want_scalar(r, n, "kind", &v)) return false;
    for (size_t i = 0; i < 3; i++) {
        if (!slice_is(v, kinds[i])) continue;
        u->kind = (enum config_kind)i;
        return true;
    }
    return config_fail(r->l, 78, where(r, n), "kind wants openai, openrouter or local");
}

static bool upstream_field(struct reader *r, struct config_upstream *u, struct fy_node_pair *p) {
    struct fy_node *key = fy_node_pair_key(p), *value = fy_node_pair_value(p);
    struct slice v;
    if (slice_is(scalar(key), "kind")) return true; /* read first */
    if (slice_is(scalar(key), "base_url"))
        return want_scalar(r, value, "base_url", &v) &&
               config_set_base_url(r->l, u, v, where(r, value));
    const struct field *f = find(upstream_fields, upstream_nfields, scalar(key), USE_FILE);
    return f != NULL ? set_field(r, f, u, value) : unknown(r, key, "an upstream");
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
    struct config_upstream u = {.name = arena_copy(&r->l->config->arena, scalar(key))};
    if (!upstream_name_ok(u.name))
        return config_fail(r->l, 78, where(r, key),
                           "the name of an upstream wants letters, digits, '-', '_' and '.'");
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, where(r, key), "an upstream wants { kind: …, … }");
    struct fy_node *kind = fy_node_mapping_lookup_by_string(n, "kind", (size_t)-1);
    if (kind == NULL)
        return config_fail(r->l, 78, where(r, key), "upstream %.*s has no kind", SLICE_ARG(u.name));
    if (!set_kind(r, &u, kind)) return false;
    config_upstream_defaults(&u);
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;)
        if (!upstream_field(r, &u, p)) return false;
    if (u.kind == UPSTREAM_OPENAI && u.host == NULL)
        return config_fail(r->l, 78, where(r, key), "upstream %.*s wants a base_url",
                           SLICE_ARG(u.name));
    return config_add_upstream(r->l, &u);
}

static bool read_upstreams(struct reader *r, struct fy_node *n) {
    void *it = NULL;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, where(r, n), "upstreams wants NAME: { kind: …, … }");
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;)
        if (!read_upstream(r, fy_node_pair_key(p), fy_node_pair_value(p))) return false;
    return true;
}

static bool route_target(struct reader *r, struct fy_node *n, size_t *out) {
    const struct config *c = r->l->config;
    struct slice name;
    if (!want_scalar(r, n, "to", &name)) return false;
    for (size_t i = 0; i < c->nupstreams; i++) {
        if (!slice_eq(c->upstreams[i].name, name)) continue;
        *out = i;
        return true;
    }
    return config_fail(r->l, 78, where(r, n), "no upstream is named %.*s", SLICE_ARG(name));
}

static bool route_to(struct reader *r, struct fy_node *n, struct config_route *route) {
    enum { MOST = 16 };
    size_t to[MOST], count = 0;
    if (n == NULL || fy_node_is_mapping(n))
        return config_fail(r->l, 78, where(r, n), "a route wants to: [UPSTREAM, …]");
    if (fy_node_is_scalar(n)) {
        if (!route_target(r, n, &to[count++])) return false;
    } else {
        void *it = NULL;
        for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL;) {
            if (count == MOST)
                return config_fail(r->l, 78, where(r, item), "a route has at most 16 upstreams");
            if (!route_target(r, item, &to[count++])) return false;
        }
    }
    size_t *copy = arena_alloc(&r->l->config->arena, sizeof to);
    if (copy == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    memcpy(copy, to, count * sizeof *to);
    route->to = copy;
    route->nto = count;
    return count > 0 || config_fail(r->l, 78, where(r, n), "a route wants at least one upstream");
}

static bool read_route(struct reader *r, struct fy_node *n, struct config_route *route) {
    struct slice v;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, where(r, n), "a route wants { model: …, to: […] }");
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;) {
        struct slice k = scalar(fy_node_pair_key(p));
        if (!slice_is(k, "model") && !slice_is(k, "to"))
            return unknown(r, fy_node_pair_key(p), "a route");
    }
    struct fy_node *model = fy_node_mapping_lookup_by_string(n, "model", (size_t)-1);
    if (model == NULL) return config_fail(r->l, 78, where(r, n), "a route wants a model");
    if (!want_scalar(r, model, "model", &v)) return false;
    if (v.len == 0 || (slice_find(v, '*') >= 0 && slice_find(v, '*') != (ptrdiff_t)v.len - 1))
        return config_fail(r->l, 78, where(r, model),
                           "a route's model is an id, or a prefix that ends in *");
    route->model = arena_copy(&r->l->config->arena, v);
    return route_to(r, fy_node_mapping_lookup_by_string(n, "to", (size_t)-1), route);
}

static bool read_routes(struct reader *r, struct fy_node *n) {
    struct config *c = r->l->config;
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, where(r, n), "routes wants a list of { model, to }");
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

static bool read_retention(struct reader *r, struct fy_node *n) {
    static const struct field fields[] = {
        {"age", FIELD_SECONDS, USE_FILE, offsetof(struct config, retention_age_s), 0, 60, 0, NULL,
         NULL, NULL},
        {"bytes", FIELD_BYTES, USE_FILE, offsetof(struct config, retention_bytes), 0, 1U << 20, 0,
         NULL, NULL, NULL}};
    void *it = NULL;
    if (!fy_node_is_mapping(n))
        return config_fail(r->l, 78, where(r, n), "retention wants { age: …, bytes: … }");
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it)) != NULL;) {
        const struct field *f = find(fields, 2, scalar(fy_node_pair_key(p)), USE_FILE);
        if (f == NULL) return unknown(r, fy_node_pair_key(p), "retention");
        if (!set_field(r, f, r->l->config, fy_node_pair_value(p))) return false;
    }
    return true;
}

static const struct section {
    const char *name;
    bool (*read)(struct reader *r, struct fy_node *n);
} sections[] = {{"keys", read_keys}, {"upstreams", read_upstreams}, {"retention", read_retention}};

static bool read_pair(struct reader *r, struct fy_node *key, struct fy_node *value) {
    struct slice name = scalar(key);
    if (slice_is(name, "routes")) return true; /* last: they name upstreams */
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (slice_is(name, sections[i].name)) return sections[i].read(r, value);
    const struct field *f = find(config_fields, config_nfields, name, USE_FILE);
    return f != NULL ? set_field(r, f, r->l->config, value) : unknown(r, key, "");
}

static bool read_root(struct reader *r, struct fy_node *root) {
    if (root == NULL || fy_node_is_null(root)) return true; /* an empty file changes nothing */
    if (!fy_node_is_mapping(root))
        return config_fail(r->l, 78, where(r, root), "wants keys and values, like log_level: info");
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(root, &it)) != NULL;)
        if (!read_pair(r, fy_node_pair_key(p), fy_node_pair_value(p))) return false;
    struct fy_node *routes = fy_node_mapping_lookup_by_string(root, "routes", (size_t)-1);
    return routes == NULL || read_routes(r, routes);
}

static bool syntax_error(struct reader *r, struct fy_diag *diag) {
    void *it = NULL;
    struct fy_diag_error *e = fy_diag_errors_iterate(diag, &it);
    char at[512];
    if (e == NULL) return true; /* nothing but white space and comments */
    snprintf(at, sizeof at, "%s:%d:%d", r->path, e->line, e->column);
    return config_fail(r->l, 78, at, "%s", e->msg);
}

static bool read_text(struct reader *r, struct slice text) {
    struct fy_diag_cfg dcfg;
    fy_diag_cfg_default(&dcfg);
    dcfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&dcfg);
    if (diag == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = diag};
    struct fy_document *doc = fy_document_build_from_string(&cfg, text.ptr, text.len);
    bool ok = doc != NULL ? read_root(r, fy_document_root(doc)) : syntax_error(r, diag);
    fy_document_destroy(doc);
    fy_diag_destroy(diag);
    return ok;
}

/* Columns stay as they are: one character for one. */
static void protect(char *text, size_t len) {
    for (size_t i = 0; i + 2 < len; i++) {
        if (text[i] != '$' || text[i + 1] != '{') continue;
        ptrdiff_t end = slice_find(slice_make(text + i + 2, len - i - 2), '}');
        if (end < 0 || !is_name(slice_make(text + i + 2, (size_t)end))) continue;
        text[i + 1] = '(';
        text[i + 2 + (size_t)end] = ')';
    }
}

bool config_read_file(struct config_loader *l, const char *path) {
    struct reader r = {.l = l, .path = path};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us */
    if (fd < 0 || fstat(fd, &st) != 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        return config_fail(l, 78, path, "cannot be read: %s", strerror(e));
    }
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX_BYTES) {
        close(fd);
        return config_fail(l, 78, path, "is not a file of at most 1 MiB");
    }
    r.exposed = (st.st_mode & S_IROTH) != 0;
    char *text = calloc(1, (size_t)st.st_size + 1);
    ssize_t n = text != NULL ? read(fd, text, (size_t)st.st_size) : -1;
    close(fd);
    if (n > 0) protect(text, (size_t)n);
    bool ok = n < 0 ? config_fail(l, 78, path, "cannot be read")
                    : read_text(&r, slice_make(text, (size_t)n));
    if (text != NULL) secret_wipe(text, (size_t)st.st_size);
    free(text);
    return ok;
}
