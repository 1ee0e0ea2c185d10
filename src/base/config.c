/* Loading: defaults, then the file, the environment, the flags; then what follows from what was not said. */
#include "base/config.h"

#include "base/config_keys.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES (16U << 20)
#define ALIAS_MAX_BYTES 200U
#define MODEL_FILE_NAME "SmolLM2-135M-Instruct.Q4_1.gguf"

/* A variable set to nothing counts as not set. */
static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* NULL without the variable and a home folder. */
static const char *xdg(struct config_loader *l, const char *variable, const char *below_home) {
    const char *base = getenv(variable), *home;
    if (base != NULL && base[0] == '/') return arena_printf(&l->config->arena, "%s/anyllm", base);
    home = config_home(l);
    return home != NULL ? arena_printf(&l->config->arena, "%s/%s/anyllm", home, below_home) : NULL;
}

static void set_defaults(struct config_loader *l) {
    static const char *const store = "sqlite:anyllm.db";
    struct config *c = l->config;
    c->data_dir = xdg(l, "XDG_DATA_HOME", ".local/share");
    c->cache_dir = xdg(l, "XDG_CACHE_HOME", ".cache");
    c->store_url = store;
    c->log_level = LOG_INFO;
    c->grace_s = 30;
    c->calibrate = true;
    c->max_connections = 10000;
    c->max_connections_per_address = 256;
    c->max_body_bytes = 32U << 20;
    c->max_concurrent_calls = 4096;
    c->key_limits = (struct config_limits){.concurrent_calls = 1024,
                                           .status_polls_per_second = 500};
    c->max_wrong_keys_per_minute = 100;
    c->standard_rate_microusd = 1000;
    c->markup_micro = 1000000;
    c->webhook_timeout_ms = 15000;
    c->webhook_retries = 10;
    c->webhook_window_s = 7200;
    c->webhook_at_once = 64;
    c->webhook_at_once_per_host = 10;
    c->max_file_bytes = 5ULL << 30;
    c->min_free_bytes = 256ULL << 20;
    c->max_input_file_bytes = 20ULL << 20;
    c->upload_expiry_s = 86400;
    c->realtime_idle_s = 60;
    c->retention_age_s = 30U * 86400U;
    c->retention_bytes = 10ULL << 30;
    c->lease_s = 30;
    c->wal_checkpoint_pages = 1000;
}

void config_upstream_defaults(struct config_upstream *u) {
    u->concurrency = u->kind == UPSTREAM_LOCAL ? 8 : 64;
    u->connect_ms = 5000;
    u->first_byte_ms = 120000;
    u->idle_ms = 120000;
    u->total_ms = 3600000;
    u->default_max_tokens = 1024;
    if (u->kind != UPSTREAM_OPENROUTER) return;
    u->host = "openrouter.ai";
    u->port = 443;
    u->tls = true;
    u->base_path = SLICE("/api/v1");
    u->x_title = SLICE("anyllm");
}

bool config_add_key(struct config_loader *l, const struct config_key *key) {
    struct config *c = l->config;
    struct config_key *keys = c->keys;
    for (size_t i = 0; i < c->nkeys;
         i++) /* two secrets are a change of secrets, two owners a mistake */
        if (slice_eq(keys[i].id, key->id) && !slice_eq(keys[i].owner, key->owner))
            return config_fail(l, 78, "keys", "key %.*s has two owners, %.*s and %.*s",
                               SLICE_ARG(key->id), SLICE_ARG(keys[i].owner), SLICE_ARG(key->owner));
    if ((c->nkeys & (c->nkeys - 1)) ==
        0) { /* full at each power of two: an operator may have thousands */
        size_t room = c->nkeys == 0 ? 1 : c->nkeys * 2;
        keys = arena_alloc(&c->arena, room * sizeof *keys);
        if (keys == NULL) return config_fail(l, 71, "keys", "out of memory");
        if (c->nkeys > 0) memcpy(keys, c->keys, c->nkeys * sizeof *keys);
    }
    keys[c->nkeys++] = *key;
    c->keys = keys;
    return true;
}

bool config_add_key_text(struct config_loader *l, struct slice text, const char *where) {
    struct arena *a = &l->config->arena;
    do {
        struct slice one = slice_trim(slice_cut(text, ',', &text)), secret;
        struct slice id = slice_cut(one, ':', &secret);
        struct config_key k = {
            .id = arena_copy(a, id), .owner = arena_copy(a, id), .limits = CONFIG_LIMITS_UNSET};
        if (!config_id_ok(id) || secret.len == 0)
            return config_fail(l, 78, where, "wants ID:SECRET, several separated by commas");
        if (!secret_sha256(one, k.sha256)) return config_fail(l, 71, where, "out of memory");
        if (!config_add_key(l, &k)) return false;
    } while (text.ptr != NULL);
    return true;
}

bool config_add_upstream(struct config_loader *l, const struct config_upstream *u) {
    struct config *c = l->config;
    struct config_upstream *grown = arena_alloc(&c->arena, (c->nupstreams + 1) * sizeof *grown);
    if (grown == NULL) return config_fail(l, 71, "upstreams", "out of memory");
    if (c->nupstreams > 0) memcpy(grown, c->upstreams, c->nupstreams * sizeof *grown);
    grown[c->nupstreams++] = *u;
    c->upstreams = grown;
    return true;
}

/* --- environment and flags */

static bool read_environment(struct config_loader *l) {
    for (size_t i = 0; i < config_nfields; i++) {
        const struct field *f = &config_fields[i];
        char name[64];
        int n = snprintf(name, sizeof name, "ANYLLM_%s", f->name);
        for (int k = 0; k < n; k++) name[k] = (char)toupper((unsigned char)name[k]);
        const char *value = (f->use & USE_ENV) != 0 ? environment(name) : NULL;
        if (value == NULL) continue;
        struct slice rest = slice_of(value), v;
        bool list = f->type == FIELD_TEXTS || f->type == FIELD_SLICES, first = true;
        do {
            v = list ? slice_trim(slice_cut(rest, ',', &rest)) : rest;
            if (!config_set(l, f, l->config, v, first, name)) return false;
            first = false;
        } while (list && rest.ptr != NULL);
    }
    const char *keys = getenv("ANYLLM_KEYS"); /* whoever sets it to nothing did not mean: no keys */
    return keys == NULL || config_add_key_text(l, slice_of(keys), "ANYLLM_KEYS");
}

static bool flag_is(struct slice flag, const char *name) {
    if (flag.len != strlen(name)) return false;
    for (size_t i = 0; i < flag.len; i++)
        if (flag.ptr[i] != (name[i] == '_' ? '-' : name[i])) return false;
    return true;
}

static const struct field *find_flag(struct slice flag, bool *negated) {
    *negated = slice_starts(flag, SLICE("no-"));
    struct slice bare = *negated ? slice_from(flag, 3) : flag;
    for (size_t i = 0; i < config_nfields; i++) {
        const struct field *f = &config_fields[i];
        if ((f->use & USE_FLAG) == 0) continue;
        if (flag_is(*negated && f->type == FIELD_BOOL ? bare : flag, f->name)) return f;
    }
    return NULL;
}

static bool read_flag(struct config_loader *l, int argc, char **argv, int *i, bool *seen) {
    char given[64]; /* without the value: it may be meant as a secret */
    struct slice value, flag = slice_cut(slice_of(argv[*i] + 2), '=', &value);
    snprintf(given, sizeof given, "--%.*s", (int)(flag.len < 60 ? flag.len : 60), flag.ptr);
    bool negated;
    const struct field *f = find_flag(flag, &negated);
    if (f == NULL) return config_fail(l, 64, given, "unknown option; see anyllm serve --help");
    if (f->type == FIELD_BOOL) {
        if (negated && value.ptr != NULL) return config_fail(l, 64, given, "takes no value");
        if (value.ptr == NULL) value = negated ? SLICE("false") : SLICE("true");
    } else if (value.ptr == NULL) {
        if (*i + 1 >= argc) return config_fail(l, 64, given, "wants a value");
        value = slice_of(argv[++*i]);
    }
    bool first = !seen[f - config_fields];
    seen[f - config_fields] = true;
    if (config_set(l, f, l->config, value, first, given)) return true;
    l->err->exit_code = 64;
    return false;
}

static bool read_flags(struct config_loader *l, int argc, char **argv) {
    bool *seen = arena_zalloc(&l->config->arena, config_nfields);
    if (seen == NULL) return config_fail(l, 71, "serve", "out of memory");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 || strcmp(argv[i], "--help") == 0) {
            i += argv[i][2] == 'c';
            continue;
        }
        if (strncmp(argv[i], "--config=", 9) == 0) continue;
        if (strncmp(argv[i], "--", 2) != 0)
            return config_fail(l, 64, argv[i], "serve takes options only; see --help");
        if (!read_flag(l, argc, argv, &i, seen)) return false;
    }
    return true;
}

/* --- which file */

static bool find_file(struct config_loader *l, int argc, char **argv) {
    struct config *c = l->config;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) c->file = argv[i] + 9;
        if (strcmp(argv[i], "--config") != 0) continue;
        if (i + 1 >= argc) return config_fail(l, 64, "--config", "wants a file");
        c->file = argv[++i];
    }
    if (c->file == NULL) c->file = environment("ANYLLM_CONFIG");
    if (c->file != NULL) {
        c->file = arena_dup(&c->arena, slice_of(c->file));
        return config_read_file(l, c->file);
    }
    const char *own = xdg(l, "XDG_CONFIG_HOME", ".config");
    const char *places[] = {own != NULL ? arena_printf(&c->arena, "%s/anyllm.yaml", own) : NULL,
                            "/etc/anyllm/anyllm.yaml"};
    for (size_t i = 0; i < 2; i++) {
        if (places[i] == NULL || access(places[i], F_OK) != 0) continue;
        c->file = places[i];
        return config_read_file(l, c->file);
    }
    return true;
}

/* --- what follows */

static bool add_openrouter(struct config_loader *l, const char *key) {
    struct config_upstream u = {.name = SLICE("openrouter"), .kind = UPSTREAM_OPENROUTER};
    config_upstream_defaults(&u);
    if (!secret_set(&u.key, slice_of(key)))
        return config_fail(l, 71, "OPENROUTER_API_KEY", "out of memory");
    return config_add_upstream(l, &u);
}

/* "SmolLM2-135M-Instruct.Q4_1.gguf" answers to "local/smollm2-135m-instruct". */
static struct slice alias_of(struct config *c, const char *file) {
    const char *slash = strrchr(file, '/');
    struct slice stem = slice_of(slash != NULL ? slash + 1 : file);
    if (slice_ends(stem, SLICE(".gguf"))) stem.len -= 5;
    ptrdiff_t dot = slice_find(stem, '.');
    if (dot > 0 && stem.ptr[dot + 1] == 'Q') stem.len = (size_t)dot;
    if (stem.len > ALIAS_MAX_BYTES) stem.len = ALIAS_MAX_BYTES;
    char *alias = arena_printf(&c->arena, "local/%.*s", SLICE_ARG(stem));
    if (alias == NULL) return SLICE("local/model");
    for (char *p = alias; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789-_./", *p) == NULL) *p = '-';
    }
    return slice_of(alias);
}

static const char *model_at_hand(struct config *c) {
    if (c->local_model != NULL) return c->local_model;
    const char *cached = arena_printf(&c->arena, "%s/" MODEL_FILE_NAME, c->cache_dir);
    return cached != NULL && access(cached, R_OK) == 0 ? cached : NULL;
}

/* Model and engine of flag and environment win over the upstream's own. */
static bool finish_local(struct config_loader *l, struct config_upstream *u) {
    struct config *c = l->config;
    const char *engine = environment("ANYLLM_ENGINE");
    if (engine != NULL) u->engine = arena_dup(&c->arena, slice_of(engine));
    if (u->model_file == NULL || c->local_model != l->file_model) u->model_file = model_at_hand(c);
    if (u->model_file == NULL)
        return config_fail(l, 66, "upstreams",
                           "%.*s has no model: run `make demo` once, or name one with model: FILE",
                           SLICE_ARG(u->name));
    if (u->alias.len == 0) u->alias = alias_of(c, u->model_file);
    return true;
}

static bool add_local(struct config_loader *l) {
    struct config *c = l->config;
    bool wanted = c->local_model != NULL || c->nupstreams == 0 || c->fallback_model.len > 0;
    if (!wanted || model_at_hand(c) == NULL) return true;
    struct config_upstream u = {.name = SLICE("local"), .kind = UPSTREAM_LOCAL};
    config_upstream_defaults(&u);
    return config_add_upstream(l, &u);
}

static bool finish_upstreams(struct config_loader *l) {
    struct config *c = l->config;
    const char *key = environment("OPENROUTER_API_KEY");
    bool has_local = false;
    if (c->nupstreams == 0 && key != NULL && !add_openrouter(l, key)) return false;
    for (size_t i = 0; i < c->nupstreams; i++) {
        struct config_upstream *u = &c->upstreams[i];
        has_local = has_local || u->kind == UPSTREAM_LOCAL;
        if (u->kind == UPSTREAM_OPENROUTER && key != NULL && !secret_is_set(&u->key) &&
            !secret_set(&u->key, slice_of(key)))
            return config_fail(l, 71, "OPENROUTER_API_KEY", "out of memory");
    }
    if (!has_local && !add_local(l)) return false;
    for (size_t i = 0; i < c->nupstreams; i++)
        if (c->upstreams[i].kind == UPSTREAM_LOCAL && !finish_local(l, &c->upstreams[i]))
            return false;
    return true;
}

static bool finish_folders(struct config_loader *l) {
    struct config *c = l->config;
    if (c->data_dir == NULL)
        return config_fail(l, 78, "data", "there is no home folder; name one with --data DIR");
    if (c->cache_dir == NULL) c->cache_dir = arena_printf(&c->arena, "%s/cache", c->data_dir);
    return true;
}

static void default_to(uint32_t *limit, uint32_t standard) {
    if (*limit == UINT32_MAX) *limit = standard;
}

static void finish_key_limits(struct config *c) {
    for (size_t i = 0; i < c->nkeys; i++) {
        struct config_limits *k = &c->keys[i].limits;
        default_to(&k->concurrent_calls, c->key_limits.concurrent_calls);
        default_to(&k->requests_per_minute, c->key_limits.requests_per_minute);
        default_to(&k->queue_length, c->key_limits.queue_length);
        default_to(&k->status_polls_per_second, c->key_limits.status_polls_per_second);
    }
}

static bool finish_tls(struct config_loader *l) {
    const struct config *c = l->config;
    if ((c->nlisten_tls > 0 || c->tls_cert != NULL || c->tls_key != NULL) &&
        (c->tls_cert == NULL || c->tls_key == NULL))
        return config_fail(l, 78, "listen_tls", "wants both tls_cert and tls_key");
    return true;
}

/* A key of the proxy's that is not there would let everybody in or nobody. */
static bool finish_proxy(struct config_loader *l) {
    struct config_proxy *p = &l->config->proxy;
    const char *key = environment("FAL_KEY");
    bool found = p->key.len == 0;
    for (size_t i = 0; i < l->config->nkeys && !found; i++)
        found = slice_eq(l->config->keys[i].id, p->key);
    if (!found) return config_fail(l, 78, "proxy", "no key has the id %.*s", SLICE_ARG(p->key));
    if (!p->forward) return true;
    if (key != NULL && !secret_is_set(&p->fal_key) && !secret_set(&p->fal_key, slice_of(key)))
        return config_fail(l, 71, "FAL_KEY", "out of memory");
    return secret_is_set(&p->fal_key) ||
           config_fail(l, 78, "proxy", "forward wants fal_key, or FAL_KEY in the environment");
}

static bool finish(struct config_loader *l) {
    static const char *standard[] = {"127.0.0.1:8787"};
    struct config *c = l->config;
    if (c->nlisten == 0 && c->nlisten_tls == 0) {
        c->listen = standard;
        c->nlisten = 1;
    }
    finish_key_limits(c);
    if (!finish_folders(l) || !finish_upstreams(l) || !finish_tls(l) || !finish_proxy(l))
        return false;
    return !c->arena.failed || config_fail(l, 71, "configuration", "out of memory");
}

static bool read_all(struct config_loader *l, int argc, char **argv) {
    if (!find_file(l, argc, argv)) return false;
    l->file_model = l->config->local_model;
    return read_environment(l) && read_flags(l, argc, argv) && finish(l);
}

struct config *config_load(int argc, char **argv, bool *help, struct config_error *err) {
    *err = (struct config_error){0};
    *help = false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) *help = true;
    if (*help) return NULL;
    struct config *c = calloc(1, sizeof *c);
    struct config_loader l = {.config = c, .err = err};
    if (c == NULL) {
        config_fail(&l, 71, "configuration", "out of memory");
        return NULL;
    }
    arena_init(&c->arena, CONFIG_MAX_BYTES);
    set_defaults(&l);
    if (read_all(&l, argc, argv)) return c;
    config_free(c);
    return NULL;
}

void config_free(struct config *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < c->nupstreams; i++) secret_free(&c->upstreams[i].key);
    secret_free(&c->proxy.fal_key);
    arena_free(&c->arena);
    free(c);
}

static void describe_flag(const struct field *f, struct config_flag *out) {
    bool off = f->type == FIELD_BOOL && f->fallback[0] == 't';
    *out = (struct config_flag){.arg = f->arg, .help = f->help};
    out->fallback = f->type != FIELD_BOOL ? f->fallback : NULL;
    out->words = f->type == FIELD_LEVEL ? "error|warn|info|debug|trace" : NULL;
    snprintf(out->name, sizeof out->name, "%s%s", off ? "no-" : "", f->name);
    for (char *p = out->name; *p != '\0'; p++) *p = *p == '_' ? '-' : *p;
}

bool config_flag_at(size_t i, struct config_flag *out) {
    for (const struct field *f = config_fields; f < config_fields + config_nfields; f++) {
        if ((f->use & USE_FLAG) != 0 && i-- == 0) {
            describe_flag(f, out);
            return true;
        }
    }
    return false;
}
