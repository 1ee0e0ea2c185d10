/* The api's parts: what each needs of the data folder and the store is opened before the first request and closed after the
 * last one. */
#include "api/files.h"
#include "api/inputs.h"
#include "api/keys.h"
#include "api/ledger.h"
#include "api/realtime_socket.h"
#include "api/webhooks.h"

#include <stdlib.h>

#define ANSWER_MAX_BYTES (64U << 20)

static bool signer_open_part(struct api *a, char *reason, size_t size) {
    a->signer = signer_open(a->config->data_dir, a->clock, a->random, reason, size);
    return a->signer != NULL;
}

static void signer_free_part(struct api *a) {
    signer_free(a->signer);
}

static void key_mac(const void *user, struct slice message, unsigned char mac[KEYRING_MAC_BYTES]) {
    signer_mac(user, message, mac);
}

/* The keyring was made with the api. */
static bool keys_open_part(struct api *a, char *reason, size_t size) {
    keyring_seal(a->keys, key_mac, a->signer);
    return true;
}

/* Opened and loaded in this order. `load` may be NULL; else it ends with one api_loaded. close: the server is closed, the
 * loop and the store still run. free: after both. */
static const struct part {
    bool (*open)(struct api *a, char *reason, size_t size);
    void (*load)(struct api *a), (*drain)(struct api *a), (*close)(struct api *a),
        (*free)(struct api *a);
} parts[] = {
    {signer_open_part, NULL, NULL, NULL, signer_free_part},
    {keys_open_part, keys_load, NULL, NULL, NULL},
    {files_open, files_load, files_drain, files_close, files_free},
    {inputs_open, NULL, NULL, NULL, inputs_close_part},
    {webhooks_open, webhooks_load, webhooks_drain, webhooks_close, webhooks_free},
    {ledger_open, ledger_load, ledger_drain, ledger_close, ledger_free},
};

#define NPARTS (sizeof parts / sizeof *parts)

struct api *api_new(const struct api_options *o) {
    struct api *a = calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->loop = o->loop;
    a->clock = o->clock;
    a->random = o->random;
    a->config = o->config;
    a->catalogue = o->catalogue;
    a->llm = o->llm;
    a->store_ok = true;
    buf_init(&a->scratch, ANSWER_MAX_BYTES);
    a->started_ms = clock_mono_ms(o->clock);
    a->limits = limits_new(o->config, o->random);
    if (a->limits != NULL) a->keys = keyring_new(o->config, a->limits, o->clock);
    if (o->config->proxy.forward) a->forwarder = forwarder_new(o->loop, o->config);
    if (a->keys != NULL && a->limits != NULL && (a->forwarder != NULL || !o->config->proxy.forward))
        return a;
    api_close(a);
    api_free(a);
    return NULL;
}

bool api_open(struct api *a, struct store *s, struct desk *d, char *reason, size_t size) {
    a->store = s;
    a->desk = d;
    for (size_t i = 0; i < NPARTS; i++)
        if (!parts[i].open(a, reason, size)) return false;
    return true;
}

void api_loaded(struct api *a, bool ok) {
    a->load_failed = a->load_failed || !ok;
    if (--a->loading == 0) a->loaded(a->loaded_user, !a->load_failed);
}

void api_load(struct api *a, void (*ready)(void *user, bool ok), void *user) {
    a->loaded = ready;
    a->loaded_user = user;
    a->loading = 1;
    for (size_t i = 0; i < NPARTS; i++) {
        if (parts[i].load == NULL) continue;
        a->loading++;
        parts[i].load(a);
    }
    api_loaded(a, true);
}

void api_load_operator(struct api *a, struct store *s, struct desk *d,
                       void (*ready)(void *user, bool ok), void *user) {
    a->store = s;
    a->desk = d;
    a->operator_only = true;
    a->loaded = ready;
    a->loaded_user = user;
    a->loading = 1;
    keys_load(a);
}

bool api_is_open(const struct api *a) {
    return keyring_is_open(a->keys);
}

void api_set_queue(struct api *a, struct queue *q) {
    a->queue = q;
}

void api_set_server(struct api *a, struct net_server *s) {
    a->server = s;
}

void api_set_draining(struct api *a) {
    a->draining = true;
    followers_end(a);
    sockets_end(a);
    for (size_t i = 0; i < NPARTS; i++)
        if (parts[i].drain != NULL) parts[i].drain(a);
}

void api_reload(struct api *a) {
    char reason[512], text[LOG_QUOTE_BYTES];
    if (a == NULL || a->signer == NULL) return;
    if (signer_reload(a->signer, reason, sizeof reason))
        log_line(LOG_INFO, "reloaded", "what=signing_keys");
    else
        log_line(LOG_ERROR, "reload_failed", "what=signing_keys reason=%s",
                 log_quote(text, slice_of(reason)));
}

void api_set_store_ok(struct api *a, bool can_write) {
    a->store_ok = can_write;
}

void api_close(struct api *a) {
    if (a == NULL) return;
    forwarder_close(a->forwarder);
    for (size_t i = NPARTS; i-- > 0;)
        if (parts[i].close != NULL) parts[i].close(a);
}

void api_free(struct api *a) {
    if (a == NULL) return;
    for (size_t i = NPARTS; i-- > 0;)
        if (parts[i].free != NULL) parts[i].free(a);
    keyring_free(a->keys);
    limits_free(a->limits);
    forwarder_free(a->forwarder);
    buf_free(&a->scratch);
    free(a);
}
