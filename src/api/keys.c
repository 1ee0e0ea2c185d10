#include "api/keys.h"
#include "api/credential.h"

#include <stdlib.h>

/* A change that the store has been asked for. */
struct change {
    struct api *api;
    keys_done *done;
    struct keyring_key key;                /* create: its slices lie in the bytes below */
    size_t at;                             /* revoke: in the keyring */
    char credential[CREDENTIAL_BYTES + 1]; /* create; wiped with the change */
    char text[];
};

/* --- the start */

static struct keyring_key key_of_row(const struct store_key *row) {
    struct keyring_key key = {.id = row->id,
                              .alias = row->alias,
                              .owner = row->owner,
                              .scope = row->scope == SCOPE_ADMIN ? SCOPE_ADMIN : SCOPE_API,
                              .created_ms = row->created_ms,
                              .expires_ms = row->expires_ms,
                              .revoked_ms = row->revoked_ms};
    memcpy(key.sha256, row->sha256, sizeof key.sha256);
    return key;
}

static void on_keys(void *user, uint64_t arg, const struct store_reply *r) {
    struct api *a = user;
    bool ok = r->status == STORE_OK;
    for (size_t i = 0; ok && i < r->nkeys; i++) {
        struct keyring_key key = key_of_row(&r->keys[i]);
        ok = keyring_add(a->keys, &key);
    }
    api_loaded(a, ok);
}

void keys_load(struct api *a) {
    uint64_t ticket = desk_ask(a->desk, on_keys, a, 0);
    if (ticket != 0)
        a->store->backend->keys(a->store, ticket);
    else
        api_loaded(a, false);
}

/* --- changes */

static void answer(struct call *c, keys_done *done, const struct keys_made *m) {
    if (c != NULL) done(c, m);
}

static void fail(struct call *c, keys_done *done, enum keys_result r) {
    answer(c, done, &(struct keys_made){.result = r});
}

static void change_free(struct change *g) {
    secret_wipe(g->credential, sizeof g->credential);
    free(g);
}

static enum keys_result result_of(enum store_status s) {
    if (s == STORE_OK) return KEYS_OK;
    return s == STORE_NOT_FOUND || s == STORE_STALE ? KEYS_NOT_FOUND : KEYS_UNAVAILABLE;
}

static void on_added(void *user, uint64_t exchange, const struct store_reply *r) {
    struct change *g = user;
    struct api *a = g->api;
    struct slice credential = slice_make(g->credential, CREDENTIAL_BYTES);
    struct keys_made m = {.result = KEYS_UNAVAILABLE};
    if (r->status == STORE_OK && keyring_add(a->keys, &g->key))
        m = (struct keys_made){.result = KEYS_OK,
                               .key = keyring_key(a->keys, keyring_count(a->keys) - 1),
                               .credential = credential,
                               .secret = slice_from(credential, CREDENTIAL_ID_BYTES + 1)};
    answer(call_of(a, exchange), g->done, &m);
    change_free(g);
}

static struct change *change_new(struct api *a, const struct keys_new *in, struct slice owner) {
    struct change *g = calloc(1, sizeof *g + in->alias.len + owner.len);
    if (g == NULL) return NULL;
    g->api = a;
    if (in->alias.len > 0) memcpy(g->text, in->alias.ptr, in->alias.len);
    memcpy(g->text + in->alias.len, owner.ptr, owner.len);
    credential_make(a->random, g->credential);
    g->key = (struct keyring_key){.id = slice_make(g->credential, CREDENTIAL_ID_BYTES),
                                  .alias = slice_make(g->text, in->alias.len),
                                  .owner = slice_make(g->text + in->alias.len, owner.len),
                                  .scope = in->scope,
                                  .created_ms = clock_wall_ms(a->clock),
                                  .expires_ms = in->expires_ms};
    if (secret_sha256(slice_make(g->credential, CREDENTIAL_BYTES), g->key.sha256)) return g;
    change_free(g);
    return NULL;
}

/* The first key closes the server for those without one: that is for whoever may open the admin socket, not for any caller
 * on this machine. */
void keys_create(struct call *c, const struct keys_new *in, keys_done *done) {
    struct api *a = c->api;
    struct slice owner = in->owner.len > 0 ? in->owner : identity_owner(&c->who);
    if (keyring_is_open(a->keys) && c->who.owner.len > 0) {
        fail(c, done, KEYS_FIRST);
        return;
    }
    struct change *g = change_new(a, in, owner);
    uint64_t ticket = g == NULL ? 0 : desk_ask(a->desk, on_added, g, net_exchange_id(c->x));
    if (ticket == 0) {
        if (g != NULL) change_free(g);
        fail(c, done, KEYS_UNAVAILABLE);
        return;
    }
    g->done = done;
    struct store_key row = {.id = g->key.id,
                            .alias = g->key.alias,
                            .owner = g->key.owner,
                            .scope = g->key.scope,
                            .created_ms = g->key.created_ms,
                            .expires_ms = g->key.expires_ms};
    memcpy(row.sha256, g->key.sha256, sizeof row.sha256);
    a->store->backend->key_add(a->store, ticket, &row);
}

static void on_revoked(void *user, uint64_t exchange, const struct store_reply *r) {
    struct change *g = user;
    struct keys_made m = {.result = result_of(r->status)};
    if (m.result == KEYS_OK) m.key = keyring_key(g->api->keys, g->at);
    answer(call_of(g->api, exchange), g->done, &m);
    change_free(g);
}

/* In memory first: it opens nothing any more even if the store cannot write it down now. */
void keys_revoke(struct call *c, struct slice id, keys_done *done) {
    struct api *a = c->api;
    size_t at;
    int64_t now = clock_wall_ms(a->clock);
    bool found = keyring_find(a->keys, id, &at);
    if (!found || keyring_key(a->keys, at)->configured) {
        fail(c, done, found ? KEYS_CONFIGURED : KEYS_NOT_FOUND);
        return;
    }
    if (keyring_key(a->keys, at)->revoked_ms == 0) keyring_revoke(a->keys, at, now);
    struct change *g = calloc(1, sizeof *g);
    uint64_t ticket = g == NULL ? 0 : desk_ask(a->desk, on_revoked, g, net_exchange_id(c->x));
    if (ticket == 0) {
        free(g);
        fail(c, done, KEYS_UNAVAILABLE);
        return;
    }
    *g = (struct change){.api = a, .done = done, .at = at};
    a->store->backend->key_revoke(a->store, ticket, keyring_key(a->keys, at)->id, now);
}

/* --- faults */

static bool is_plain(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) return false;
    return true;
}

const char *keys_fault(const struct api *a, const struct keys_new *in) {
    if (in->alias.len > KEYS_ALIAS_BYTES) return "alias: longer than 200 bytes";
    if (in->owner.len > KEYS_OWNER_BYTES) return "owner: longer than 200 bytes";
    if (!is_plain(in->alias)) return "alias: holds control characters";
    if (!is_plain(in->owner)) return "owner: holds control characters";
    if (in->expires_ms != 0 && in->expires_ms <= clock_wall_ms(a->clock))
        return "expires: lies in the past";
    return NULL;
}

void keys_refuse(struct call *c, enum keys_result r) {
    switch (r) {
    case KEYS_NOT_FOUND: call_error(c, 404, NULL, SLICE("Key not found")); return;
    case KEYS_CONFIGURED:
        call_error(c, 409, NULL,
                   SLICE("This key stands in the configuration; take it out there and restart"));
        return;
    case KEYS_FIRST:
        call_error(c, 403, NULL,
                   SLICE("The first key is made on the server's machine: anyllm keys create"));
        return;
    default:
        net_header(c->x, SLICE("retry-after"), SLICE("1"));
        call_error(c, 503, "internal_error", SLICE("storage unavailable; try again"));
    }
}
