/* Loading: defaults, then the file, the environment, the flags; then what follows from what was not said. */
#include "base/config.h"

#include "base/config_keys.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES (16U << 20)
#define MODEL_FILE_NAME "SmolLM2-135M-Instruct.Q4_1.gguf"

static const char *xdg(struct config *c, const char *variable, const char *below_home) {
    const char *base = getenv(variable), *home = getenv("HOME");
    if (base != NULL && base[0] == '/') return arena_printf(&c->arena, "%s/anyllm", base);
    return arena_printf(&c->arena, "%s/%s/anyllm", home != NULL && home[0] != '\0' ? home : "/tmp",
                        below_home);
}

static void set_defaults(struct config *c) {
    static const char *const store = "sqlite:anyllm.db";
    c->data_dir = xdg(c, "XDG_DATA_HOME", ".local/share");
    c->cache_dir = xdg(c, "XDG_CACHE_HOME", ".cache");
    c->store_url = store;
    c->log_level = LOG_INFO;
    c->grace_s = 30;
    c->calibrate = true;
    c->max_connections = 10000;
    c->max_connections_per_address = 256;
    c->max_body_bytes = 32U << 20;
    c->retention_age_s = 30U * 86400U;
    c->retention_bytes = 10ULL << 30;
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

static bool split_port(struct slice *host, uint16_t *port) {
    struct slice tail = *host;
    if (host->len > 0 && host->ptr[0] == '[') {
        ptrdiff_t end = slice_find(*host, ']');
        if (end < 0) return false;
        tail = slice_from(*host, (size_t)end + 1);
        *host = slice_make(host->ptr + 1, (size_t)end - 1);
        if (tail.len == 0) return true;
        if (tail.ptr[0] != ':') return false;
        tail = slice_from(tail, 1);
    } else {
        *host = slice_cut(*host, ':', &tail);
        if (tail.ptr == NULL) return true;
    }
    uint64_t n;
    if (!slice_to_range(tail, 1, 65535, &n)) return false;
    *port = (uint16_t)n;
    return true;
}

bool config_set_base_url(struct config_loader *l, struct config_upstream *u, struct slice url,
                         const char *where) {
    struct slice rest;
    u->tls = slice_starts(url, SLICE("https://"));
    if (!u->tls && !slice_starts(url, SLICE("http://")))
        return config_fail(l, 78, where, "base_url wants http://HOST[:PORT]/PATH or https://…");
    url = slice_from(url, u->tls ? 8 : 7);
    struct slice host = slice_cut(url, '/', &rest);
    u->port = u->tls ? 443 : 80;
    if (!split_port(&host, &u->port) || host.len == 0 || slice_find(url, '@') >= 0 ||
        slice_find(url, '?') >= 0)
        return config_fail(
            l, 78, where, "base_url wants http://HOST[:PORT]/PATH without user, password or query");
    while (rest.len > 0 && rest.ptr[rest.len - 1] == '/') rest.len--;
    char *path = arena_printf(&l->config->arena, "%s%.*s", rest.len > 0 ? "/" : "",
                              SLICE_ARG(rest));
    u->base_path = slice_of(path);
    u->host = arena_dup(&l->config->arena, host);
    return (path != NULL && u->host != NULL) || config_fail(l, 71, where, "out of memory");
}

bool config_add_key(struct config_loader *l, const struct config_key *key) {
    struct config *c = l->config;
    struct config_key *keys = c->keys;
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
    struct slice rest;
    struct arena *a = &l->config->arena;
    while (text.ptr != NULL && text.len > 0) {
        struct slice one = slice_trim(slice_cut(text, ',', &rest)), secret;
        struct slice id = slice_cut(one, ':', &secret);
        struct config_key k = {.id = arena_copy(a, id), .owner = arena_copy(a, id)};
        if (id.len == 0 || secret.ptr == NULL || secret.len == 0)
            return config_fail(l, 78, where, "wants ID:SECRET, several separated by commas");
        if (!secret_sha256(one, k.sha256)) return config_fail(l, 71, where, "out of memory");
        if (!config_add_key(l, &k)) return false;
        text = rest;
    }
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
        const char *value = (f->use & USE_ENV) != 0 ? getenv(name) : NULL;
        if (value == NULL) continue;
        struct slice rest = slice_of(value), v;
        bool list = f->type == FIELD_TEXTS || f->type == FIELD_SLICES, first = true;
        do {
            v = list ? slice_trim(slice_cut(rest, ',', &rest)) : rest;
            if (!config_set(l, f, l->config, v, first, name)) return false;
            first = false;
        } while (list && rest.ptr != NULL);
    }
    const char *keys = getenv("ANYLLM_KEYS");
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
    struct slice value, flag = slice_cut(slice_of(argv[*i] + 2), '=', &value);
    bool negated;
    const struct field *f = find_flag(flag, &negated);
    if (f == NULL) return config_fail(l, 64, argv[*i], "unknown option; see anyllm serve --help");
    if (f->type == FIELD_BOOL) {
        if (value.ptr == NULL) value = negated ? SLICE("false") : SLICE("true");
    } else if (value.ptr == NULL) {
        if (*i + 1 >= argc) return config_fail(l, 64, argv[*i], "wants a value");
        value = slice_of(argv[++*i]);
    }
    bool first = !seen[f - config_fields];
    seen[f - config_fields] = true;
    if (config_set(l, f, l->config, value, first, argv[*i])) return true;
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
    if (c->file == NULL) c->file = getenv("ANYLLM_CONFIG");
    if (c->file != NULL) {
        c->file = arena_dup(&c->arena, slice_of(c->file));
        return config_read_file(l, c->file);
    }
    const char *places[] = {
        arena_printf(&c->arena, "%s/anyllm.yaml", xdg(c, "XDG_CONFIG_HOME", ".config")),
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
    char *alias = arena_printf(&c->arena, "local/%.*s", SLICE_ARG(stem));
    if (alias == NULL) return SLICE("local/model");
    for (char *p = alias; *p != '\0'; p++) *p = (char)tolower((unsigned char)*p);
    return slice_of(alias);
}

static const char *model_at_hand(struct config *c) {
    if (c->local_model != NULL) return c->local_model;
    const char *cached = arena_printf(&c->arena, "%s/" MODEL_FILE_NAME, c->cache_dir);
    return cached != NULL && access(cached, R_OK) == 0 ? cached : NULL;
}

static bool finish_local(struct config *c) {
    bool has_local = false;
    for (size_t i = 0; i < c->nupstreams; i++) {
        struct config_upstream *u = &c->upstreams[i];
        if (u->kind != UPSTREAM_LOCAL) continue;
        has_local = true;
        if (u->model_file == NULL || c->local_model != NULL) u->model_file = model_at_hand(c);
        if (u->model_file != NULL && u->alias.len == 0) u->alias = alias_of(c, u->model_file);
    }
    return has_local;
}

static bool finish_upstreams(struct config_loader *l) {
    struct config *c = l->config;
    const char *key = getenv("OPENROUTER_API_KEY");
    if (key != NULL && key[0] == '\0') key = NULL;
    bool configured = c->nupstreams > 0;
    if (!configured && key != NULL && !add_openrouter(l, key)) return false;
    for (size_t i = 0; i < c->nupstreams && key != NULL; i++)
        if (c->upstreams[i].kind == UPSTREAM_OPENROUTER && !secret_is_set(&c->upstreams[i].key))
            if (!secret_set(&c->upstreams[i].key, slice_of(key)))
                return config_fail(l, 71, "OPENROUTER_API_KEY", "out of memory");
    if (finish_local(c)) return true;
    const char *model = model_at_hand(c);
    bool wanted = c->local_model != NULL || c->nupstreams == 0 || c->fallback_model.len > 0;
    if (!wanted || model == NULL) return true;
    struct config_upstream u = {.name = SLICE("local"),
                                .kind = UPSTREAM_LOCAL,
                                .model_file = model,
                                .alias = alias_of(c, model)};
    config_upstream_defaults(&u);
    return config_add_upstream(l, &u);
}

static bool finish_listen(struct config_loader *l) {
    static const char *standard = "127.0.0.1:8787";
    struct config *c = l->config;
    if (c->nlisten == 0) {
        c->listen = arena_alloc(&c->arena, sizeof *c->listen);
        if (c->listen == NULL) return config_fail(l, 71, "listen", "out of memory");
        c->listen[0] = standard;
        c->nlisten = 1;
    }
    const char *engine = getenv("ANYLLM_ENGINE");
    for (size_t i = 0; i < c->nupstreams && engine != NULL && engine[0] != '\0'; i++)
        if (c->upstreams[i].kind == UPSTREAM_LOCAL && c->upstreams[i].engine == NULL)
            c->upstreams[i].engine = arena_dup(&c->arena, slice_of(engine));
    return !c->arena.failed || config_fail(l, 71, "configuration", "out of memory");
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
    set_defaults(c);
    if (find_file(&l, argc, argv) && read_environment(&l) && read_flags(&l, argc, argv) &&
        finish_upstreams(&l) && finish_listen(&l))
        return c;
    config_free(c);
    return NULL;
}

void config_free(struct config *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < c->nupstreams; i++) secret_free(&c->upstreams[i].key);
    arena_free(&c->arena);
    free(c);
}

static void print_option(const struct field *f) {
    char left[64];
    int n = snprintf(left, sizeof left, "--%s%s",
                     f->type == FIELD_BOOL && f->fallback[0] == 't' ? "no-" : "", f->name);
    for (int i = 2; i < n; i++)
        if (left[i] == '_') left[i] = '-';
    if (f->arg != NULL) snprintf(left + n, sizeof left - (size_t)n, " %s", f->arg);
    printf("  %-32s %s", left, f->help);
    if (f->type != FIELD_BOOL) printf(" [%s]", f->fallback);
    printf("\n");
}

void config_print_help(void) {
    printf(
        "usage: anyllm serve [OPTION]...\n\n"
        "Serves every model behind fal's API. Without options: http://127.0.0.1:8787, the local model.\n\n"
        "  %-32s %s\n",
        "--config FILE",
        "YAML file [$XDG_CONFIG_HOME/anyllm/anyllm.yaml, /etc/anyllm/anyllm.yaml]");
    for (size_t i = 0; i < config_nfields; i++)
        if ((config_fields[i].use & USE_FLAG) != 0) print_option(&config_fields[i]);
    printf("  %-32s %s\n\n", "--help", "this text");
    printf(
        "Each option can stand in the file (log_level: debug) and in the environment (ANYLLM_LOG_LEVEL=debug).\n"
        "Flags win over the environment, the environment over the file. Keys, upstreams and routes stand in the file;\n"
        "ANYLLM_KEYS=ID:SECRET,… and OPENROUTER_API_KEY need no file. docs/configuration.md has all of it.\n\n"
        "Exit codes: 64 usage, 66 model or engine, 69 port, 73 data folder, 78 configuration.\n");
}
