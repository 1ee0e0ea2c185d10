#include "api/auth.h"
#include "api/credential.h"
#include "base/hex.h"
#include "base/loopback.h"

#include <stdlib.h>

#define CREDENTIAL_MAX_BYTES 1024U
#define NEVER INT64_MAX
#define SEAL_BYTES 9U /* a dot and 8 digits */

struct held {
    struct keyring_key key;
    int64_t ends_ms; /* wall clock; NEVER, or 0 once it is revoked */
    size_t account;
    const struct config_limits *limits;
    struct slice name; /* the id and what follows it */
    char text[];       /* id and seal, alias, owner */
};

/* Two tables over the same keys, both open addressing and at most half full: by the first bytes of the hash, and by id. Nothing
 * ever leaves them. */
struct keyring {
    const struct config *config;
    struct limits *limits;
    const struct clock *clock;
    struct held **keys;
    size_t n, size; /* of keys; the tables have four times as many places */
    struct held **by_hash;
    uint32_t *by_id;          /* index + 1, 0: free */
    size_t local;             /* the account of callers without a key */
    const struct held *guest; /* of proxy.key; NULL: none */
    keyring_mac *mac;         /* NULL: not sealed yet */
    const void *mac_user;
    struct keyring_stats stats;
};

/* --- life */

static size_t slot_of(const unsigned char *hash) {
    uint64_t v;
    memcpy(&v, hash, sizeof v);
    return (size_t)v;
}

/* FNV-1a: ids are drawn by us or chosen by the operator, nobody can make them collide. */
static size_t slot_of_id(struct slice id) {
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < id.len; i++) h = (h ^ (unsigned char)id.ptr[i]) * 0x100000001b3;
    return (size_t)(h ^ h >> 32);
}

static void put(struct keyring *k, size_t i) {
    size_t mask = k->size * 4 - 1, at = slot_of(k->keys[i]->key.sha256),
           id = slot_of_id(k->keys[i]->key.id);
    while (k->by_hash[at & mask] != NULL) at++;
    k->by_hash[at & mask] = k->keys[i];
    while (k->by_id[id & mask] != 0) id++;
    k->by_id[id & mask] = (uint32_t)i + 1;
}

static bool grow(struct keyring *k) {
    size_t size = k->size > 0 ? k->size * 2 : 16;
    struct held **keys = calloc(size, sizeof *keys), **by_hash = calloc(size * 4, sizeof *by_hash);
    uint32_t *by_id = calloc(size * 4, sizeof *by_id);
    if (keys == NULL || by_hash == NULL || by_id == NULL) {
        free(keys);
        free(by_hash);
        free(by_id);
        return false;
    }
    if (k->n > 0) memcpy(keys, k->keys, k->n * sizeof *keys);
    free(k->keys);
    free(k->by_hash);
    free(k->by_id);
    k->keys = keys;
    k->by_hash = by_hash;
    k->by_id = by_id;
    k->size = size;
    for (size_t i = 0; i < k->n; i++) put(k, i);
    return true;
}

static struct slice keep(char **at, struct slice s) {
    struct slice kept = slice_make(*at, s.len);
    if (s.len > 0) memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return kept;
}

/* The digits say nothing of the secret to whoever has not the server's own: names stand in addresses. */
static void seal(const struct keyring *k, struct held *h) {
    char message[4 + SECRET_HASH_BYTES] = {'k', 'e', 'y', '\n'}, digits[SEAL_BYTES];
    unsigned char mac[KEYRING_MAC_BYTES] = {0};
    memcpy(message + 4, h->key.sha256, SECRET_HASH_BYTES);
    if (k->mac != NULL) k->mac(k->mac_user, slice_make(message, sizeof message), mac);
    hex_write(digits, mac, (SEAL_BYTES - 1) / 2);
    memcpy(h->text + h->key.id.len + 1, digits, SEAL_BYTES - 1);
}

void keyring_seal(struct keyring *k, keyring_mac *mac, const void *user) {
    k->mac = mac;
    k->mac_user = user;
    for (size_t i = 0; i < k->n; i++) seal(k, k->keys[i]);
}

static bool add(struct keyring *k, const struct keyring_key *key,
                const struct config_limits *limits) {
    struct held *h;
    if ((k->n == k->size && !grow(k)) ||
        (h = calloc(1, sizeof *h + key->id.len + SEAL_BYTES + key->alias.len + key->owner.len)) ==
            NULL)
        return false;
    char *at = h->text;
    h->key = *key;
    h->key.id = keep(&at, key->id);
    h->name = slice_make(h->text, key->id.len + SEAL_BYTES);
    keep(&at, SLICE(".00000000"));
    h->key.alias = keep(&at, key->alias);
    h->key.owner = keep(&at, key->owner);
    h->ends_ms = key->revoked_ms != 0 ? 0 : key->expires_ms != 0 ? key->expires_ms : NEVER;
    h->limits = limits;
    seal(k, h);
    if (!limits_account(k->limits, h->key.owner, &h->account)) {
        free(h);
        return false;
    }
    k->keys[k->n++] = h;
    put(k, k->n - 1);
    return true;
}

bool keyring_add(struct keyring *k, const struct keyring_key *key) {
    return add(k, key, &k->config->key_limits);
}

static bool add_configured(struct keyring *k) {
    const struct config *c = k->config;
    for (size_t i = 0; i < c->nkeys; i++) {
        struct keyring_key key = {.id = c->keys[i].id,
                                  .owner = c->keys[i].owner,
                                  .scope = c->keys[i].scope,
                                  .configured = true};
        memcpy(key.sha256, c->keys[i].sha256, sizeof key.sha256);
        if (!add(k, &key, &c->keys[i].limits)) return false;
        if (c->proxy.key.len > 0 && slice_eq(key.id, c->proxy.key)) k->guest = k->keys[i];
    }
    return true;
}

struct keyring *keyring_new(const struct config *c, struct limits *l, const struct clock *clock) {
    struct keyring *k = calloc(1, sizeof *k);
    if (k == NULL) return NULL;
    k->config = c;
    k->limits = l;
    k->clock = clock;
    if (grow(k) && limits_account(l, SLICE("local"), &k->local) && add_configured(k)) return k;
    keyring_free(k);
    return NULL;
}

void keyring_free(struct keyring *k) {
    if (k == NULL) return;
    for (size_t i = 0; i < k->n; i++) free(k->keys[i]);
    free(k->keys);
    free(k->by_hash);
    free(k->by_id);
    free(k);
}

void keyring_revoke(struct keyring *k, size_t i, int64_t at_ms) {
    k->keys[i]->key.revoked_ms = at_ms;
    k->keys[i]->ends_ms = 0;
}

/* --- what there is */

bool keyring_is_open(const struct keyring *k) {
    return k->n == 0;
}

size_t keyring_count(const struct keyring *k) {
    return k->n;
}

const struct keyring_key *keyring_key(const struct keyring *k, size_t i) {
    return &k->keys[i]->key;
}

const struct keyring_stats *keyring_get_stats(const struct keyring *k) {
    return &k->stats;
}

static bool is_usable(const struct keyring *k, const struct held *h) {
    return h->ends_ms == NEVER || clock_wall_ms(k->clock) < h->ends_ms;
}

/* Ids of the configuration may repeat: the first usable one counts, else the first. */
bool keyring_find(const struct keyring *k, struct slice id, size_t *i) {
    size_t mask = k->size * 4 - 1;
    bool found = false;
    for (size_t at = slot_of_id(id); k->by_id[at & mask] != 0; at++) {
        size_t this = k->by_id[at & mask] - 1;
        if (!slice_eq(k->keys[this]->key.id, id)) continue;
        if (!found || is_usable(k, k->keys[this])) *i = this;
        found = true;
        if (is_usable(k, k->keys[this])) break;
    }
    return found;
}

bool keyring_is_usable(const struct keyring *k, const struct keyring_key *key) {
    return is_usable(k, (const struct held *)(const void *)key);
}

/* --- the question */

/* The hash hides which bytes of a wrong key were right; the compare is constant-time besides. */
static const struct held *find(struct keyring *k, struct slice credential) {
    unsigned char hash[SECRET_HASH_BYTES];
    size_t mask = k->size * 4 - 1;
    if (!secret_sha256(credential, hash)) return NULL;
    k->stats.lookups++;
    for (size_t at = slot_of(hash);; at++) {
        const struct held *h = k->by_hash[at & mask];
        if (h == NULL || secret_equal(h->key.sha256, hash, sizeof hash)) return h;
    }
}

static bool credential_of(struct slice header, struct slice *out) {
    struct slice rest, scheme = slice_cut(header, ' ', &rest);
    if (!slice_eq_nocase(scheme, SLICE("Key")) && !slice_eq_nocase(scheme, SLICE("Bearer")))
        return false;
    *out = slice_trim(rest);
    return out->len > 0 && out->len <= CREDENTIAL_MAX_BYTES;
}

/* Host without its port; brackets of a v6 address stay. */
static struct slice without_port(struct slice host) {
    if (host.len > 0 && host.ptr[0] == '[') {
        ptrdiff_t end = slice_find(host, ']');
        return end > 0 ? slice_make(host.ptr, (size_t)end + 1) : host;
    }
    struct slice rest;
    return slice_cut(host, ':', &rest);
}

/* A caller who reaches us under fal's own names has pointed them here (DNS or a hosts file). */
static bool is_fal_name(struct slice name) {
    static const char *const names[] = {"fal.run",           "queue.fal.run",   "rest.fal.ai",
                                        "rest.alpha.fal.ai", "v3.fal.media",    "v3b.fal.media",
                                        "fal.media",         "ws.fal.run",      "api.fal.ai",
                                        "falrun.com",        "queue.falrun.com"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq_nocase(name, slice_of(names[i]))) return true;
    return false;
}

static bool listed(const struct slice *list, size_t n, struct slice name) {
    for (size_t i = 0; i < n; i++)
        if (slice_eq_nocase(list[i], name)) return true;
    return false;
}

static bool host_ok(const struct config *c, struct slice host) {
    struct slice name = without_port(host);
    if (loopback_is_host(name) || is_fal_name(name)) return true;
    return listed(c->allowed_hosts, c->nallowed_hosts, name) ||
           listed(c->allowed_hosts, c->nallowed_hosts, host);
}

/* scheme://name[:port] and nothing more: http://localhost:1@evil.example is none. */
static bool origin_ok(const struct config *c, struct slice origin) {
    uint64_t port;
    if (listed(c->allowed_origins, c->nallowed_origins, origin)) return true;
    struct slice host = slice_starts(origin, SLICE("http://"))    ? slice_from(origin, 7)
                        : slice_starts(origin, SLICE("https://")) ? slice_from(origin, 8)
                                                                  : SLICE("");
    struct slice name = without_port(host), rest = slice_from(host, name.len);
    if (rest.len > 0 &&
        (rest.ptr[0] != ':' || !slice_to_range(slice_from(rest, 1), 1, 65535, &port)))
        return false;
    return loopback_is_host(name);
}

static struct identity local_identity(const struct keyring *k) {
    return (struct identity){.owner = SLICE("local"),
                             .key_id = SLICE("local"),
                             .key_name = SLICE("local"),
                             .account = k->local,
                             .scope = SCOPE_ADMIN,
                             .limits = &k->config->key_limits};
}

static enum auth_verdict check_open(const struct keyring *k, const struct net_exchange *x,
                                    struct identity *out) {
    const struct h1_head *h = net_head(x);
    size_t n;
    struct slice origin = h1_get(h, SLICE("origin"), &n);
    if (!host_ok(k->config, h->host)) return AUTH_HOST;
    if (n > 1 || (n == 1 && !origin_ok(k->config, origin))) return AUTH_ORIGIN;
    *out = local_identity(k);
    return AUTH_OK;
}

/* No Host or Origin is looked at: no web page reaches a Unix socket. */
static enum auth_verdict check_socket(const struct keyring *k, struct identity *out) {
    *out = local_identity(k);
    out->owner = SLICE("");
    return AUTH_OK;
}

static struct identity identity_of(const struct held *h) {
    return (struct identity){.owner = h->key.owner,
                             .key_id = h->key.id,
                             .key_name = h->name,
                             .account = h->account,
                             .scope = h->key.scope,
                             .limits = h->limits};
}

bool auth_guest(const struct keyring *k, struct identity *out) {
    if (k->guest != NULL) *out = identity_of(k->guest);
    return k->guest != NULL;
}

bool keyring_identity(const struct keyring *k, struct slice name, struct identity *out) {
    size_t mask = k->size * 4 - 1;
    if (keyring_is_open(k)) {
        *out = local_identity(k);
        return slice_eq(name, out->key_name);
    }
    if (name.len <= SEAL_BYTES) return false;
    struct slice id = slice_make(name.ptr, name.len - SEAL_BYTES);
    for (size_t at = slot_of_id(id); k->by_id[at & mask] != 0; at++) {
        const struct held *h = k->keys[k->by_id[at & mask] - 1];
        if (!slice_eq(h->name, name) || !is_usable(k, h)) continue;
        *out = identity_of(h);
        return true;
    }
    return false;
}

static enum auth_verdict check_key(struct keyring *k, struct slice credential,
                                   struct identity *out) {
    if (credential_look(credential) == CREDENTIAL_DAMAGED) {
        k->stats.malformed++;
        return AUTH_INVALID;
    }
    const struct held *h = find(k, credential);
    if (h == NULL || !is_usable(k, h)) {
        ++*(h == NULL ? &k->stats.unknown : &k->stats.ended);
        return AUTH_INVALID;
    }
    *out = identity_of(h);
    return AUTH_OK;
}

enum auth_verdict auth_check(struct keyring *k, const struct net_exchange *x,
                             struct identity *out) {
    size_t n;
    struct slice credential, header = h1_get(net_head(x), SLICE("authorization"), &n);
    if (n > 1) return AUTH_REPEATED;
    if (slice_is(net_peer(x), AUTH_ADMIN_PEER)) return check_socket(k, out);
    if (keyring_is_open(k)) return check_open(k, x, out);
    if (n == 0) return AUTH_MISSING;
    if (credential_of(header, &credential)) return check_key(k, credential, out);
    k->stats.malformed++;
    return AUTH_INVALID;
}
