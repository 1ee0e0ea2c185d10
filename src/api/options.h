/* The x-fal-* headers of a request, and Idempotency-Key: what they ask for, and what they may not be. */
#ifndef ANYLLM_API_OPTIONS_H
#define ANYLLM_API_OPTIONS_H

#include "base/buf.h"
#include "base/secret.h"
#include "net/h1.h"

#define OPTION_MIN_START_TIMEOUT_MS 100U
#define OPTION_MAX_START_TIMEOUT_MS 86400000U /* longer ones count as this: a day */
#define OPTION_MAX_HINT_BYTES 256U
#define OPTION_MAX_TAGS 10U
#define OPTION_MAX_TAGS_BYTES 1024U
#define OPTION_MAX_RETRIES 9U /* ten attempts in all */
#define OPTION_MAX_IDEMPOTENCY_KEY_BYTES 255U

struct call_options {
    bool low_priority;         /* x-fal-queue-priority: low */
    bool no_retry;             /* x-fal-no-retry */
    bool no_store;             /* x-fal-store-io: 0 */
    bool no_fallback;          /* x-app-fal-disable-fallback */
    uint64_t start_timeout_ms; /* x-fal-request-timeout, seconds there; 0: none */
    int retries_server_error, retries_timeout,
        retries_connection_error; /* x-fal-retry-config; -1: not said */
    struct slice hint, tags;      /* x-fal-runner-hint, x-fal-tags; len 0: none */
};

/* NULL, or one line that names the header and what it wants. The slices borrow from the head. */
const char *options_read(const struct h1_head *h, struct call_options *o);
/* The same, of a submit. *key has len 0 when there is none. */
const char *options_read_idempotency_key(const struct h1_head *h, struct slice *key);
/* SHA-256 of what a submit asks for: body, webhook, and the options that decide how it is run and kept, which are all but the
 * hint. Kept for a day, so the same in all versions. `scratch` is empty. False: no memory. */
bool options_hash(const struct call_options *o, struct slice webhook, struct slice body,
                  struct buf *scratch, unsigned char out[SECRET_HASH_BYTES]);

#endif
