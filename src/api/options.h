/* The x-fal-* headers of a request: what they ask for, and what they may not be. */
#ifndef ANYLLM_API_OPTIONS_H
#define ANYLLM_API_OPTIONS_H

#include "base/slice.h"
#include "net/h1.h"

#define OPTION_MIN_START_TIMEOUT_MS 100U
#define OPTION_MAX_START_TIMEOUT_MS 86400000U /* longer ones count as this: a day */
#define OPTION_MAX_HINT_BYTES 256U
#define OPTION_MAX_TAGS 10U
#define OPTION_MAX_TAGS_BYTES 1024U
#define OPTION_MAX_RETRIES 9U /* ten attempts in all */

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

#endif
