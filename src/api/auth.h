/* Who calls: keys held as SHA-256, looked up in memory in constant time, those of the configuration and those made while the
 * server runs (api/keys.h); without any key, only loopback callers whose Host and Origin are our own, so that no web page
 * spends the operator's money by DNS rebinding or a stray fetch. Whoever may open the admin socket needs no key.
 *
 * A key that was revoked or has expired stays known, and refused: a server that ever had a key does not open again. */
#ifndef ANYLLM_API_AUTH_H
#define ANYLLM_API_AUTH_H

#include "api/limits.h"
#include "base/clock.h"
#include "base/config.h"
#include "net/server.h"

struct keyring;

struct keyring_key {
    struct slice id, alias, owner; /* alias: a label, may be empty */
    enum config_scope scope;
    bool configured; /* by the file or the environment: stays until the restart */
    int64_t created_ms, expires_ms, revoked_ms; /* wall clock, 0: never; created 0: configured */
    unsigned char sha256[SECRET_HASH_BYTES];    /* of "id:secret" */
};

/* All borrowed for life. NULL when out of memory. */
struct keyring *keyring_new(const struct config *c, struct limits *l, const struct clock *clock);
void keyring_free(struct keyring *k);
bool keyring_is_open(const struct keyring *k); /* there never was a key */
/* HMAC with a secret of the server's own, which outlives a restart (signer_mac). From then on a key's name tells it from a key
 * of the same id and another secret; before that all seals are alike. The user is borrowed for life. */
#define KEYRING_MAC_BYTES 32
typedef void keyring_mac(const void *user, struct slice message,
                         unsigned char mac[KEYRING_MAC_BYTES]);
void keyring_seal(struct keyring *k, keyring_mac *mac, const void *user);
/* Copied. False when out of memory. */
bool keyring_add(struct keyring *k, const struct keyring_key *key);
/* From now on it opens nothing. */
void keyring_revoke(struct keyring *k, size_t i, int64_t at_ms);
/* The configuration's first, then in the order in which they were added. */
size_t keyring_count(const struct keyring *k);
const struct keyring_key *keyring_key(const struct keyring *k, size_t i);
bool keyring_find(const struct keyring *k, struct slice id, size_t *i);
/* It is not revoked and has not expired. */
bool keyring_is_usable(const struct keyring *k, const struct keyring_key *key);

/* How often the keys were searched for one, and what became of credentials that opened nothing. */
struct keyring_stats {
    uint64_t lookups, malformed, unknown, ended;
};
const struct keyring_stats *keyring_get_stats(const struct keyring *k);

/* net_peer of those who come by the admin socket. */
#define AUTH_ADMIN_PEER "admin"

enum auth_verdict { AUTH_OK, AUTH_MISSING, AUTH_INVALID, AUTH_REPEATED, AUTH_HOST, AUTH_ORIGIN };

struct identity {
    struct slice
        owner; /* empty: everybody's things may be seen (the admin socket). Slices live as long as the keyring */
    struct slice key_id;
    struct slice
        key_name; /* the very key, for permits: "app1.1a2b3c4d", an id may have had other secrets */
    size_t account; /* of the owner, in the limits */
    enum config_scope scope;
    const struct config_limits *limits;
};

/* Whose things become that this caller makes. */
static inline struct slice identity_owner(const struct identity *who) {
    return who->owner.len > 0 ? who->owner : SLICE("local");
}

/* AUTH_HOST and AUTH_ORIGIN come only when the keyring is open. */
enum auth_verdict auth_check(struct keyring *k, const struct net_exchange *x, struct identity *out);

/* By its key_name, for tokens and signed addresses; false: unknown, revoked, expired, another secret. */
bool keyring_identity(const struct keyring *k, struct slice name, struct identity *out);

/* Whom a call through the proxy without a key is charged to; false: nobody. */
bool auth_guest(const struct keyring *k, struct identity *out);

#endif
