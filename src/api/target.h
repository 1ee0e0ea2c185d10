/* The address that a call through the browser's proxy is meant for. Pure. */
#ifndef ANYLLM_API_TARGET_H
#define ANYLLM_API_TARGET_H

#include "api/reach.h"

#define TARGET_MAX_BYTES 8192U /* as a request line */

/* http:// or https:// without user and fragment, no escapes and dot segments in its path, every byte visible ASCII. */
struct target_url {
    bool tls;
    struct slice host; /* host[:port] as written */
    struct slice path, query;
};
bool target_split(struct slice text, struct target_url *out);

#define TARGET_FAL_HOSTS 4
const char *target_fal_host(size_t i); /* "fal.run" */

/* The address as a reach: one of fal's hosts over https; or, with `own`, an address of this server: the one by which the
 * caller came, or public_url. False: neither. The slices borrow from the text. */
bool target_read(struct slice text, const struct config *cfg, const struct reach *own,
                 struct reach *out);
/* fal's own allow-list: on rest only what uploads and tokens need; POST only to what `endpoints` lists. */
bool target_allowed(const struct config_proxy *p, const struct reach *at, bool post);
/* Everything that `app` in a token opens is listed: below an id all, of a bare alias every owner's. */
bool target_token_allowed(const struct config_proxy *p, struct slice app);
/* Segments match as they stand, * within a segment, ** for any number of them. */
bool target_glob(struct slice pattern, struct slice path);

#endif
