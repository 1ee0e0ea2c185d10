#include "api/auth.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define CREDENTIAL_MAX_BYTES 1024U

/* Open addressing over the first bytes of the hash; at most half full. */
struct keyring {
    const struct config *config;
    const struct config_key **slots;
    size_t mask;
    const struct config_key *guest; /* of proxy.key; NULL: none */
};

static size_t slot_of(const unsigned char *hash) {
    uint64_t v;
    memcpy(&v, hash, sizeof v);
    return (size_t)v;
}

struct keyring *keyring_new(const struct config *c) {
    struct keyring *k = calloc(1, sizeof *k);
    size_t n = 16;
    while (n < c->nkeys * 2) n *= 2;
    if (k == NULL || (k->slots = calloc(n, sizeof *k->slots)) == NULL) {
        free(k);
        return NULL;
    }
    k->config = c;
    k->mask = n - 1;
    for (size_t i = 0; i < c->nkeys; i++) {
        size_t at = slot_of(c->keys[i].sha256);
        while (k->slots[at & k->mask] != NULL) at++;
        k->slots[at & k->mask] = &c->keys[i];
        if (c->proxy.key.len > 0 && slice_eq(c->keys[i].id, c->proxy.key)) k->guest = &c->keys[i];
    }
    return k;
}

void keyring_free(struct keyring *k) {
    if (k == NULL) return;
    free(k->slots);
    free(k);
}

bool keyring_is_open(const struct keyring *k) {
    return k->config->nkeys == 0;
}

/* The hash hides which bytes of a wrong key were right; the compare is constant-time besides. */
static const struct config_key *find(const struct keyring *k, struct slice credential) {
    unsigned char hash[SECRET_HASH_BYTES];
    if (!secret_sha256(credential, hash)) return NULL;
    for (size_t at = slot_of(hash);; at++) {
        const struct config_key *key = k->slots[at & k->mask];
        if (key == NULL || secret_equal(key->sha256, hash, sizeof hash)) return key;
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

static bool is_loopback_name(struct slice name) {
    struct in_addr v4;
    char text[16];
    if (slice_eq_nocase(name, SLICE("localhost")) || slice_is(name, "[::1]")) return true;
    if (name.len == 0 || name.len >= sizeof text) return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return inet_pton(AF_INET, text, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
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
    if (is_loopback_name(name) || is_fal_name(name)) return true;
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
    return is_loopback_name(name);
}

static enum auth_verdict check_open(const struct keyring *k, const struct net_exchange *x,
                                    struct identity *out) {
    const struct h1_head *h = net_head(x);
    size_t n;
    struct slice origin = h1_get(h, SLICE("origin"), &n);
    if (!host_ok(k->config, h->host)) return AUTH_HOST;
    if (n > 1 || (n == 1 && !origin_ok(k->config, origin))) return AUTH_ORIGIN;
    *out = (struct identity){.owner = SLICE("local"),
                             .key_id = SLICE("local"),
                             .scope = SCOPE_ADMIN,
                             .limits = &k->config->key_limits};
    return AUTH_OK;
}

static struct identity identity_of(const struct keyring *k, const struct config_key *key) {
    return (struct identity){.owner = key->owner,
                             .key_id = key->id,
                             .key = (size_t)(key - k->config->keys),
                             .scope = key->scope,
                             .limits = &key->limits};
}

bool auth_guest(const struct keyring *k, struct identity *out) {
    if (k->guest != NULL) *out = identity_of(k, k->guest);
    return k->guest != NULL;
}

enum auth_verdict auth_check(const struct keyring *k, const struct net_exchange *x,
                             struct identity *out) {
    size_t n;
    struct slice credential, header = h1_get(net_head(x), SLICE("authorization"), &n);
    if (n > 1) return AUTH_REPEATED;
    if (keyring_is_open(k)) return check_open(k, x, out);
    if (n == 0) return AUTH_MISSING;
    if (!credential_of(header, &credential)) return AUTH_INVALID;
    const struct config_key *key = find(k, credential);
    if (key == NULL) return AUTH_INVALID;
    *out = identity_of(k, key);
    return AUTH_OK;
}
