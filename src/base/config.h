/* The server's configuration as plain data: flags > environment > file > defaults. One name in three spellings:
 * --log-level = ANYLLM_LOG_LEVEL = log_level:. A config is immutable once loaded (a reload makes a new one).
 * The table of keys is in config_keys.c; `make lint` checks that each is documented. */
#ifndef ANYLLM_BASE_CONFIG_H
#define ANYLLM_BASE_CONFIG_H

#include "base/arena.h"
#include "base/log.h"
#include "base/secret.h"

enum config_scope { SCOPE_API, SCOPE_ADMIN };

struct config_key {
    struct slice id, owner; /* owner defaults to id */
    enum config_scope scope;
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

struct config {
    struct arena arena;
    const char *file; /* NULL: none was read */
    size_t nlisten;
    const char **listen; /* "127.0.0.1:8787" */
    const char *data_dir, *cache_dir;
    const char *public_url;     /* NULL: the Host the caller used */
    const char *store_url;      /* "sqlite:anyllm.db" */
    const char *catalogue_file; /* NULL: the built-in copy */
    const char *local_model;    /* --local-model; NULL: the cached one if it is there */
    enum log_level log_level;
    uint32_t grace_s;
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
    uint64_t retention_age_s, retention_bytes;
};

struct config_error {
    int exit_code;  /* 64 usage, 78 configuration, 66 missing input */
    char text[512]; /* one line: where, what, what to do */
};

/* argv is that of `serve`. NULL with *err on a fault. *help is set when --help was asked for (then NULL, no error). */
struct config *config_load(int argc, char **argv, bool *help, struct config_error *err);
void config_free(struct config *c);
/* The text of `anyllm serve --help`, made from the table. */
void config_print_help(void);

#endif
