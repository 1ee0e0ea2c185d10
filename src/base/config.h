/* The server's configuration as plain data: flags > environment > file > defaults. One name in three spellings:
 * --log-level = ANYLLM_LOG_LEVEL = log_level:. A config is immutable once loaded (a reload makes a new one).
 * The table of keys is in config_keys.c; `make lint` checks that each is documented. */
#ifndef ANYLLM_BASE_CONFIG_H
#define ANYLLM_BASE_CONFIG_H

#include "base/arena.h"
#include "base/log.h"
#include "base/secret.h"

enum config_scope { SCOPE_API, SCOPE_ADMIN };

/* Counted per owner: keys of one owner share what they may use. 0: no limit. */
struct config_limits {
    uint32_t concurrent_calls, requests_per_minute, queue_length, status_polls_per_second;
};
#define CONFIG_LIMITS_UNSET {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}

struct config_key {
    struct slice id, owner; /* owner defaults to id */
    enum config_scope scope;
    struct config_limits limits;
    unsigned char sha256[SECRET_HASH_BYTES]; /* of "id:secret" */
};

enum config_kind { UPSTREAM_OPENAI, UPSTREAM_OPENROUTER, UPSTREAM_LOCAL };

struct config_upstream {
    struct slice name;
    enum config_kind kind;
    /* openai, openrouter */
    bool tls;
    const char *host;
    uint16_t port;
    struct slice base_path; /* "/api/v1", no trailing slash */
    struct secret key;
    const char *ca_file; /* NULL: the system's */
    /* local */
    const char *model_file; /* GGUF */
    const char *engine;     /* llama-server, NULL: looked for */
    struct slice alias;     /* the model id it answers to */
    /* all */
    unsigned concurrency; /* 64; local: the engine's slots, 8 */
    bool keeps_nothing;
    uint32_t connect_ms, first_byte_ms, idle_ms, total_ms;
    uint32_t default_max_tokens; /* 1,024 */
    struct slice http_referer, x_title;
};

struct config_route {
    struct slice model; /* exact id, a prefix that ends in a star, or a star */
    size_t nto;
    const size_t *to; /* indices into upstreams, in order */
};

/* What answers a path: by its prefix, else by the Host it came to. */
enum config_surface { SURFACE_RUN, SURFACE_QUEUE, SURFACE_REST, SURFACE_CDN, SURFACE_PLATFORM };

struct config_virtual_host {
    struct slice name; /* without port; "*.example.org" and "queue.*" stand for many */
    enum config_surface surface;
};

struct config_alias {
    struct slice name, endpoint; /* "workflows/me/chat", "fal-ai/any-llm" */
};

struct config_proxy {
    struct slice key; /* id of the key that calls without one are charged to; len 0: none */
    bool forward;     /* to fal itself, with fal_key */
    const char
        *forward_to; /* NULL: fal's own hosts; else a server with fal's surfaces under prefixes */
    struct secret fal_key; /* $FAL_KEY */
    size_t nendpoints;
    const struct slice *endpoints; /* what may be called through it, with * and **; none: all */
};

struct config {
    struct arena arena;
    const char *file; /* NULL: none was read */
    size_t nlisten;
    const char **listen; /* "127.0.0.1:8787", "unix:/path" */
    size_t nlisten_tls;
    const char **listen_tls;
    const char *tls_cert, *tls_key; /* PEM files; both, when listen_tls is set */
    const char *data_dir, *cache_dir;
    const char *public_url;     /* NULL: the Host the caller used */
    const char *store_url;      /* "sqlite:anyllm.db" */
    const char *catalogue_file; /* NULL: the built-in copy */
    const char *local_model;    /* --local-model; NULL: the cached one if it is there */
    enum log_level log_level;
    uint32_t grace_s, wait_for_lock_s;
    uint32_t idle_exit_s; /* 0: never */
    bool calibrate, check;
    size_t nkeys;
    struct config_key *keys;
    size_t nupstreams;
    struct config_upstream *upstreams;
    size_t nroutes;
    const struct config_route *routes;
    struct slice fallback_model; /* len 0: none */
    size_t nallowed_hosts, nallowed_origins, ntrusted_proxies;
    const struct slice *allowed_hosts, *allowed_origins;
    const char *const *trusted_proxies; /* CIDR */
    size_t max_connections, max_connections_per_address, max_body_bytes;
    uint64_t max_queue_length;
    size_t max_concurrent_calls; /* direct ones, of all keys; 0: no limit */
    struct config_limits key_limits;
    uint32_t max_wrong_keys_per_minute; /* of one address; 0: no limit */
    size_t nvirtual_hosts;
    struct config_virtual_host *virtual_hosts;
    size_t naliases;
    struct config_alias *aliases;
    struct config_proxy proxy;
    /* prices: what a request of fal's own endpoints is charged, and what others' cost is multiplied by; in millionths */
    int64_t standard_rate_microusd, markup_micro;
    /* webhooks */
    size_t nwebhook_allow;
    const char *const *webhook_allow; /* CIDR of private addresses that may be delivered to */
    uint32_t webhook_timeout_ms, webhook_window_s;
    unsigned webhook_retries, webhook_at_once, webhook_at_once_per_host;
    /* files */
    uint64_t max_file_bytes, max_stored_bytes_per_key, min_free_bytes, max_input_file_bytes;
    uint32_t upload_expiry_s;
    uint32_t realtime_idle_s; /* a realtime connection without inputs is ended after this */
    uint64_t retention_age_s, retention_bytes;
    uint32_t lease_s;              /* how long a server that is silent keeps what it runs */
    unsigned wal_checkpoint_pages; /* SQLite's log is written back in pieces of this many pages */
};

struct config_error {
    int exit_code;  /* 64 usage, 78 configuration, 66 missing input */
    char text[512]; /* one line: where, what, what to do */
};

/* argv is that of `serve`. NULL with *err on a fault. *help is set when --help was asked for (then NULL, no error). */
struct config *config_load(int argc, char **argv, bool *help, struct config_error *err);
void config_free(struct config *c);

/* One option of `anyllm serve`, for its help; texts are static. */
struct config_flag {
    char name[48];   /* "log-level", "no-calibrate" */
    const char *arg; /* NULL: takes none */
    const char *help;
    const char *fallback; /* the default as text; NULL: none to speak of */
    const char *words;    /* "error|warn|…" where it is one of these, else NULL */
};
/* Number i of them, from 0; false: there are no more. */
bool config_flag_at(size_t i, struct config_flag *out);

#endif
