/* The table of configuration keys, and the one function that sets a field from text. */
#include "base/config_keys.h"

#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT(f) offsetof(struct config, f), 0
#define LIST(f, n) offsetof(struct config, f), offsetof(struct config, n)

const struct field config_fields[] = {
    {"listen", FIELD_TEXTS, USE_ALL, LIST(listen, nlisten), 0, 0, "127.0.0.1:8787", "ADDR:PORT",
     "address to serve on, or unix:/PATH; may repeat; port 0 lets the system choose"},
    {"listen_tls", FIELD_TEXTS, USE_ALL, LIST(listen_tls, nlisten_tls), 0, 0, "none", "ADDR:PORT",
     "the same with TLS; wants tls_cert and tls_key; may repeat"},
    {"tls_cert", FIELD_PATH, USE_ALL, AT(tls_cert), 0, 0, "none", "FILE",
     "certificate chain in PEM; SIGHUP reads it again"},
    {"tls_key", FIELD_PATH, USE_ALL, AT(tls_key), 0, 0, "none", "FILE",
     "its private key in PEM, readable by its owner only"},
    {"data", FIELD_PATH, USE_ALL, AT(data_dir), 0, 0, "$XDG_DATA_HOME/anyllm", "DIR",
     "folder of the database and the lock"},
    {"public_url", FIELD_URL, USE_ALL, AT(public_url), 0, 0, "the Host of each request", "URL",
     "how callers reach this server, for the URLs in its answers"},
    {"store", FIELD_TEXT, USE_ALL, AT(store_url), 0, 0, "sqlite:anyllm.db", "URL",
     "where the queue is kept"},
    {"catalogue", FIELD_PATH, USE_ALL, AT(catalogue_file), 0, 0, "a built-in copy", "FILE",
     "models, prices, successors"},
    {"local_model", FIELD_PATH, USE_ALL, AT(local_model), 0, 0, "the one `make demo` fetched",
     "FILE", "GGUF file that the local engine serves"},
    {"calibrate", FIELD_BOOL, USE_ALL, AT(calibrate), 0, 0, "true", NULL,
     "measure the best way to start the local engine, once per machine"},
    {"fallback_model", FIELD_ID, USE_ALL, AT(fallback_model), 0, 0, "none", "ID",
     "answers what no upstream has, and says so"},
    {"log_level", FIELD_LEVEL, USE_ALL, AT(log_level), 0, 0, "info", "LEVEL",
     "error, warn, info, debug or trace"},
    {"grace", FIELD_SECONDS32, USE_ALL, AT(grace_s), 0, 86400, "30", "SECONDS",
     "how long running calls may take to finish after SIGTERM"},
    {"wait_for_lock", FIELD_SECONDS32, USE_ALL, AT(wait_for_lock_s), 0, 86400, "0", "SECONDS",
     "how long to wait for another server on the same data folder to end"},
    {"idle_exit", FIELD_SECONDS32, USE_ALL, AT(idle_exit_s), 0, 31536000, "0 (never)", "SECONDS",
     "end after so long without a connection and a request"},
    {"allowed_hosts", FIELD_SLICES, USE_ALL, LIST(allowed_hosts, nallowed_hosts), 0, 0, "none",
     "NAME", "host names, besides loopback and fal's own, that callers without keys may use"},
    {"allowed_origins", FIELD_SLICES, USE_ALL, LIST(allowed_origins, nallowed_origins), 0, 0,
     "none", "ORIGIN", "web pages, besides those on loopback, that may call without keys"},
    {"trusted_proxies", FIELD_TEXTS, USE_ALL, LIST(trusted_proxies, ntrusted_proxies), 0, 0, "none",
     "CIDR", "reverse proxies: their Forwarded headers count, and no connection limit per address"},
    {"max_connections", FIELD_SIZE, USE_ALL, AT(max_connections), 1, 1000000, "10000", "N",
     "connections at once; the next one gets 503"},
    {"max_connections_per_address", FIELD_SIZE, USE_ALL, AT(max_connections_per_address), 1,
     1000000, "256", "N",
     "the same for one address; loopback, Unix sockets and trusted proxies excepted"},
    {"max_body_bytes", FIELD_BYTES, USE_ALL, AT(max_body_bytes), 1024, 1U << 30, "32MiB", "BYTES",
     "largest request body; beyond it 413"},
    {"max_queue_length", FIELD_U64, USE_ALL, AT(max_queue_length), 0, UINT64_MAX, "0 (no limit)",
     "N", "requests waiting in the queue; beyond it 429"},
    {"max_concurrent_calls", FIELD_SIZE, USE_ALL, AT(max_concurrent_calls), 0, 1000000, "4096", "N",
     "direct calls at once, of all keys; beyond it 429; 0: no limit"},
    {"max_concurrent_calls_per_key", FIELD_U32, USE_ALL, AT(key_limits.concurrent_calls), 0,
     1000000, "1024", "N",
     "calls at once of a key: direct ones beyond it get 429, queued ones wait; 0: no limit"},
    {"max_requests_per_minute_per_key", FIELD_U32, USE_ALL, AT(key_limits.requests_per_minute), 0,
     UINT32_MAX, "0 (no limit)", "N", "calls and submits of a key in a minute; beyond it 429"},
    {"max_queue_length_per_key", FIELD_U32, USE_ALL, AT(key_limits.queue_length), 0, UINT32_MAX,
     "0 (no limit)", "N", "requests of a key that wait in the queue; beyond it 429"},
    {"max_status_polls_per_second_per_key", FIELD_U32, USE_ALL,
     AT(key_limits.status_polls_per_second), 0, UINT32_MAX, "500", "N",
     "status requests of a key in a second; beyond it 429; 0: no limit"},
    {"max_wrong_keys_per_minute", FIELD_U32, USE_ALL, AT(max_wrong_keys_per_minute), 0, UINT32_MAX,
     "100", "N", "refused keys of one address in a minute; beyond it 429; 0: no limit"},
    {"standard_rate", FIELD_MICRO, USE_ALL, AT(standard_rate_microusd), 0, 1000000000, "0.001",
     "DOLLARS", "charge for a request of fal-ai/any-llm; a premium model is 10 times that"},
    {"markup", FIELD_MICRO, USE_ALL, AT(markup_micro), 0, 1000000000, "1", "FACTOR",
     "charge of openrouter/* and /v1: what the upstream takes, times this"},
    {"webhook_allow", FIELD_TEXTS, USE_ALL, LIST(webhook_allow, nwebhook_allow), 0, 0, "none",
     "CIDR", "private addresses that webhooks and input files may come from and go to; may repeat"},
    {"webhook_timeout", FIELD_MS, USE_ALL, AT(webhook_timeout_ms), 100, 600000, "15s", "DURATION",
     "for one try to deliver a webhook"},
    {"webhook_retries", FIELD_UNSIGNED, USE_ALL, AT(webhook_retries), 0, 100, "10", "N",
     "tries after the first"},
    {"webhook_window", FIELD_SECONDS32, USE_ALL, AT(webhook_window_s), 1, 2592000, "2h", "DURATION",
     "over which these tries are spread"},
    {"webhook_at_once", FIELD_UNSIGNED, USE_ALL, AT(webhook_at_once), 1, 10000, "64", "N",
     "deliveries at once"},
    {"webhook_at_once_per_host", FIELD_UNSIGNED, USE_ALL, AT(webhook_at_once_per_host), 1, 10000,
     "10", "N", "the same to one host"},
    {"max_file_bytes", FIELD_BYTES, USE_ALL, AT(max_file_bytes), 1, 1ULL << 50, "5GiB", "BYTES",
     "largest uploaded file; beyond it 413"},
    {"max_stored_bytes_per_key", FIELD_BYTES, USE_ALL, AT(max_stored_bytes_per_key), 0, 1ULL << 50,
     "0 (no limit)", "BYTES", "files that a key's owner may keep; beyond it 403"},
    {"min_free_bytes", FIELD_BYTES, USE_ALL, AT(min_free_bytes), 0, 1ULL << 50, "256MiB", "BYTES",
     "room on the disk below which no upload is taken; 507"},
    {"max_input_file_bytes", FIELD_BYTES, USE_ALL, AT(max_input_file_bytes), 1024, 1U << 30,
     "20MiB", "BYTES", "one picture, sound or film in an input; beyond it 413"},
    {"upload_expiry", FIELD_SECONDS32, USE_ALL, AT(upload_expiry_s), 1, 2592000, "24h", "DURATION",
     "how long an upload that was begun is waited for"},
    {"realtime_idle", FIELD_SECONDS32, USE_ALL, AT(realtime_idle_s), 1, 86400, "60", "SECONDS",
     "a realtime connection without inputs is ended after this"},
    {"lease", FIELD_SECONDS32, USE_ALL, AT(lease_s), 2, 3600, "30", "SECONDS",
     "how long what a silent server runs stays its own; changes nothing with SQLite"},
    {"wal_checkpoint_pages", FIELD_UNSIGNED, USE_ALL, AT(wal_checkpoint_pages), 10, 1000000, "1000",
     "PAGES", "SQLite's log is written back into the database in pieces of this many pages"},
    {"check", FIELD_BOOL, USE_FLAG, AT(check), 0, 0, "false", NULL,
     "look at what a start looks at, say what is wrong, exit"},
};
const size_t config_nfields = sizeof config_fields / sizeof *config_fields;

#define UP(f) offsetof(struct config_upstream, f), 0

const struct field upstream_fields[] = {
    {"key", FIELD_SECRET, USE_FILE, UP(key), 0, 0, NULL, NULL, "credential sent to the upstream"},
    {"ca_file", FIELD_PATH, USE_FILE, UP(ca_file), 0, 0, NULL, NULL,
     "certificates to trust instead of the system's"},
    {"model", FIELD_PATH, USE_FILE, UP(model_file), 0, 0, NULL, NULL, "GGUF file (local)"},
    {"engine", FIELD_PATH, USE_FILE, UP(engine), 0, 0, NULL, NULL, "llama-server to run (local)"},
    {"alias", FIELD_ID, USE_FILE, UP(alias), 0, 0, NULL, NULL,
     "the model id it answers to (local)"},
    {"concurrency", FIELD_UNSIGNED, USE_FILE, UP(concurrency), 1, 65536, NULL, NULL,
     "calls at once"},
    {"keeps_nothing", FIELD_BOOL, USE_FILE, UP(keeps_nothing), 0, 0, NULL, NULL,
     "stores no prompts"},
    {"connect_timeout", FIELD_MS, USE_FILE, UP(connect_ms), 10, 600000, NULL, NULL,
     "name, connect, TLS"},
    {"first_byte_timeout", FIELD_MS, USE_FILE, UP(first_byte_ms), 10, 86400000, NULL, NULL,
     "to the first byte"},
    {"idle_timeout", FIELD_MS, USE_FILE, UP(idle_ms), 10, 86400000, NULL, NULL, "between bytes"},
    {"total_timeout", FIELD_MS, USE_FILE, UP(total_ms), 10, 86400000, NULL, NULL, "the whole call"},
    {"default_max_tokens", FIELD_U32, USE_FILE, UP(default_max_tokens), 1, 10000000, NULL, NULL,
     "max_tokens where the caller names none"},
    {"http_referer", FIELD_SLICE, USE_FILE, UP(http_referer), 0, 0, NULL, NULL,
     "HTTP-Referer (openrouter)"},
    {"x_title", FIELD_SLICE, USE_FILE, UP(x_title), 0, 0, NULL, NULL, "X-Title (openrouter)"},
};
const size_t upstream_nfields = sizeof upstream_fields / sizeof *upstream_fields;

bool config_fail(struct config_loader *l, int exit_code, const char *where, const char *fmt, ...) {
    if (l->failed) return false;
    l->failed = true;
    l->err->exit_code = exit_code;
    int n = snprintf(l->err->text, sizeof l->err->text, "%s: ", where);
    if (n < 0 || (size_t)n >= sizeof l->err->text) return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->err->text + n, sizeof l->err->text - (size_t)n, fmt, ap);
    va_end(ap);
    return false;
}

struct unit {
    const char *suffix;
    uint64_t factor;
};

static bool with_unit(struct slice v, const struct unit *units, uint64_t *out) {
    size_t digits = 0;
    while (digits < v.len && v.ptr[digits] >= '0' && v.ptr[digits] <= '9') digits++;
    struct slice suffix = slice_trim(slice_from(v, digits));
    if (!slice_to_u64(slice_make(v.ptr, digits), out)) return false;
    for (; units->suffix != NULL; units++)
        if (slice_is(suffix, units->suffix))
            return !__builtin_mul_overflow(*out, units->factor, out);
    return false;
}

static bool to_number(const struct field *f, struct slice v, uint64_t *out) {
    static const struct unit plain[] = {{"", 1}, {NULL, 0}};
    static const struct unit bytes[] = {{"", 1},           {"B", 1},          {"KiB", 1U << 10},
                                        {"MiB", 1U << 20}, {"GiB", 1U << 30}, {"TiB", 1ULL << 40},
                                        {NULL, 0}};
    static const struct unit seconds[] = {{"", 1},     {"s", 1},     {"m", 60},
                                          {"h", 3600}, {"d", 86400}, {NULL, 0}};
    static const struct unit ms[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                                     {"m", 60000}, {"h", 3600000}, {NULL, 0}};
    const struct unit *units = f->type == FIELD_BYTES                                   ? bytes
                               : f->type == FIELD_SECONDS || f->type == FIELD_SECONDS32 ? seconds
                               : f->type == FIELD_MS                                    ? ms
                                                                                        : plain;
    uint64_t max = f->max != 0 ? f->max : UINT64_MAX;
    return with_unit(v, units, out) && *out >= f->min && *out <= max;
}

static void store_number(const struct field *f, void *at, uint64_t n) {
    switch (f->type) {
    case FIELD_UNSIGNED: *(unsigned *)at = (unsigned)n; break;
    case FIELD_U32:
    case FIELD_SECONDS32:
    case FIELD_MS: *(uint32_t *)at = (uint32_t)n; break;
    case FIELD_SIZE: *(size_t *)at = (size_t)n; break;
    default: *(uint64_t *)at = n; break;
    }
}

/* Whole and up to six decimals, no sign: "0.001". */
static bool to_micro(const struct field *f, struct slice v, uint64_t *out) {
    struct slice decimals, whole = slice_cut(v, '.', &decimals);
    uint64_t part = 0;
    if (!slice_to_u64(whole, out) || __builtin_mul_overflow(*out, 1000000, out)) return false;
    if (decimals.ptr != NULL) {
        if (decimals.len > 6 || !slice_to_u64(decimals, &part)) return false;
        for (size_t i = decimals.len; i < 6; i++) part *= 10;
    }
    return !__builtin_add_overflow(*out, part, out) && *out <= f->max;
}

static bool to_bool(struct slice v, bool *out) {
    *out = slice_is(v, "true") || slice_is(v, "yes") || slice_is(v, "1") || slice_is(v, "on");
    return *out || slice_is(v, "false") || slice_is(v, "no") || slice_is(v, "0") ||
           slice_is(v, "off");
}

/* Never a folder that belongs to everybody: engine and model are looked for below it. */
const char *config_home(struct config_loader *l) {
    const char *home = getenv("HOME");
    if (home != NULL && home[0] == '/') return home;
    const struct passwd *p = getpwuid(geteuid());
    if (p == NULL || p->pw_dir == NULL || p->pw_dir[0] != '/') return NULL;
    return arena_dup(&l->config->arena, slice_of(p->pw_dir));
}

bool config_id_ok(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || s.ptr[i] == '"' || s.ptr[i] == '\\')
            return false;
    return s.len > 0 && s.len <= 256;
}

static const char *to_path(struct config_loader *l, struct slice v) {
    const char *home = slice_starts(v, SLICE("~/")) ? config_home(l) : NULL;
    if (home != NULL)
        return arena_printf(&l->config->arena, "%s/%.*s", home, SLICE_ARG(slice_from(v, 2)));
    return arena_dup(&l->config->arena, v);
}

/* Lists grow by copying: they are short and read once. */
static bool append(struct config_loader *l, const struct field *f, char *target, struct slice v,
                   bool first) {
    size_t *n = (size_t *)(void *)(target + f->count_offset);
    void **list = (void **)(void *)(target + f->offset);
    size_t size = f->type == FIELD_TEXTS ? sizeof(char *) : sizeof(struct slice);
    if (first) *n = 0;
    char *grown = arena_alloc(&l->config->arena, (*n + 1) * size);
    struct slice copy = arena_copy(&l->config->arena, v);
    if (grown == NULL || copy.ptr == NULL) return false;
    if (*n > 0) memcpy(grown, *list, *n * size);
    if (f->type == FIELD_TEXTS)
        memcpy(grown + *n * size, &copy.ptr, size);
    else
        memcpy(grown + *n * size, &copy, size);
    *list = grown;
    (*n)++;
    return true;
}

static const char *expected(const struct field *f) {
    switch (f->type) {
    case FIELD_BOOL: return "true or false";
    case FIELD_LEVEL: return "error, warn, info, debug or trace";
    case FIELD_BYTES: return "a size such as 1048576 or 32MiB";
    case FIELD_SECONDS:
    case FIELD_SECONDS32: return "a duration such as 30, 90s or 30d";
    case FIELD_MS: return "a duration such as 500ms or 5s";
    case FIELD_URL: return "http://HOST[:PORT][/PATH] or https://…";
    case FIELD_ID: return "at most 256 visible ASCII characters without quotes";
    case FIELD_MICRO: return "a number such as 0.001, with at most six decimals";
    default: return "a whole number";
    }
}

static bool refuse(struct config_loader *l, const struct field *f, const char *where) {
    if (f->type == FIELD_MICRO)
        return config_fail(l, 78, where, "%s wants %s, at most 1000", f->name, expected(f));
    if (f->max != 0)
        return config_fail(l, 78, where, "%s wants %s from %llu to %llu", f->name, expected(f),
                           (unsigned long long)f->min, (unsigned long long)f->max);
    if (f->min != 0)
        return config_fail(l, 78, where, "%s wants %s of at least %llu", f->name, expected(f),
                           (unsigned long long)f->min);
    return config_fail(l, 78, where, "%s wants %s", f->name, expected(f));
}

static bool set_text(struct config_loader *l, const struct field *f, void *target, struct slice v,
                     bool first, const char *where) {
    struct arena *a = &l->config->arena;
    void *at = (char *)target + f->offset;
    bool ok = true;
    if (v.len == 0) return config_fail(l, 78, where, "%s wants a value", f->name);
    if ((f->type == FIELD_URL && !config_url_ok(v, &v)) ||
        (f->type == FIELD_ID && !config_id_ok(v)))
        return refuse(l, f, where);
    switch (f->type) {
    case FIELD_PATH: ok = (*(const char **)at = to_path(l, v)) != NULL; break;
    case FIELD_ID: ok = (*(struct slice *)at = arena_copy(a, v)).ptr != NULL; break;
    case FIELD_TEXTS:
    case FIELD_SLICES: ok = append(l, f, target, v, first); break;
    default: ok = (*(const char **)at = arena_dup(a, v)) != NULL; break;
    }
    return ok || config_fail(l, 71, where, "out of memory");
}

bool config_set(struct config_loader *l, const struct field *f, void *target, struct slice v,
                bool first, const char *where) {
    void *at = (char *)target + f->offset;
    uint64_t n;
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_PATH:
    case FIELD_URL:
    case FIELD_ID:
    case FIELD_TEXTS:
    case FIELD_SLICES: return set_text(l, f, target, v, first, where);
    case FIELD_SLICE:
        *(struct slice *)at = arena_copy(&l->config->arena, v);
        return ((struct slice *)at)->ptr != NULL || config_fail(l, 71, where, "out of memory");
    case FIELD_SECRET: return secret_set(at, v) || config_fail(l, 71, where, "out of memory");
    case FIELD_BOOL: return to_bool(v, at) || refuse(l, f, where);
    case FIELD_LEVEL: return log_level_parse(v, at) || refuse(l, f, where);
    case FIELD_MICRO:
        if (!to_micro(f, v, &n)) return refuse(l, f, where);
        *(int64_t *)at = (int64_t)n;
        return true;
    default:
        if (!to_number(f, v, &n)) return refuse(l, f, where);
        store_number(f, at, n);
        return true;
    }
}
