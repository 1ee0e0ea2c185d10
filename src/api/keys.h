/* Keys made while the server runs: the store keeps them, the keyring knows them. A key is made before it is answered and
 * opens from then on; a revoked one opens nothing from the moment it is asked for. Loop's thread only. */
#ifndef ANYLLM_API_KEYS_H
#define ANYLLM_API_KEYS_H

#include "api/call.h"

/* The api's part: reads the stored keys before the first request. */
void keys_load(struct api *a);

enum keys_result {
    KEYS_OK,
    KEYS_NOT_FOUND,
    KEYS_CONFIGURED,  /* it stands in the configuration and goes with it */
    KEYS_FIRST,       /* there never was a key: the first one is made over the admin socket */
    KEYS_UNAVAILABLE, /* the store cannot write, or out of memory */
};

#define KEYS_ALIAS_BYTES 200U /* the longest, UTF-8 */
#define KEYS_OWNER_BYTES 200U

struct keys_new {
    struct slice alias; /* may be empty */
    struct slice owner; /* empty: the maker's */
    enum config_scope scope;
    int64_t expires_ms; /* wall clock, 0: never */
};

struct keys_made {
    enum keys_result result;
    const struct keyring_key *key; /* NULL unless KEYS_OK; lives as long as the api */
    struct slice
        credential;      /* create: "id:secret", until `done` returns; this once and never again */
    struct slice secret; /* its part behind the colon */
};

/* NULL, or what is wrong: "alias: longer than 200 bytes". To be asked before keys_create. */
const char *keys_fault(const struct api *a, const struct keys_new *in);

/* `done` is called exactly once, perhaps before these have returned, unless the caller left: then never. What is given is
 * copied. A caller answers what is not KEYS_OK with keys_refuse. */
typedef void keys_done(struct call *c, const struct keys_made *m);
void keys_create(struct call *c, const struct keys_new *in, keys_done *done);
/* Once more is KEYS_OK too. */
void keys_revoke(struct call *c, struct slice id, keys_done *done);
/* In the shape of the errors that the route has. */
void keys_refuse(struct call *c, enum keys_result r);

/* To list: keyring_count, keyring_key, keyring_is_usable (api/auth.h) with c->api->keys: all keys, of every owner. */

#endif
