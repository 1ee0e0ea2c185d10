/* Who calls: keys held as SHA-256, looked up in memory in constant time; without keys, only loopback callers whose Host
 * and Origin are our own, so that no web page spends the operator's money by DNS rebinding or a stray fetch. */
#ifndef ANYLLM_API_AUTH_H
#define ANYLLM_API_AUTH_H

#include "base/config.h"
#include "net/server.h"

struct keyring;

struct keyring *keyring_new(const struct config *c);
void keyring_free(struct keyring *k);
bool keyring_is_open(const struct keyring *k); /* no keys are configured */

enum auth_verdict { AUTH_OK, AUTH_MISSING, AUTH_INVALID, AUTH_REPEATED, AUTH_HOST, AUTH_ORIGIN };

struct identity {
    struct slice owner, key_id; /* live as long as the keyring */
    size_t key;                 /* in config.keys; 0 when there are none */
    enum config_scope scope;
    const struct config_limits *limits;
};

/* AUTH_HOST and AUTH_ORIGIN come only when the keyring is open. */
enum auth_verdict auth_check(const struct keyring *k, const struct net_exchange *x,
                             struct identity *out);

/* Whom a call through the proxy without a key is charged to; false: nobody. */
bool auth_guest(const struct keyring *k, struct identity *out);

#endif
