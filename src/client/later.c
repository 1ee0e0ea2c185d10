/* What fal.h promises and is being built: each goes with the file that brings it. */
#include "client/client.h"

#define NOT_YET(out)                                                     \
    do {                                                                 \
        fal_result **where_ = (out);                                     \
        fal_result *r_ = where_ != NULL ? client_result_new() : NULL;    \
        if (r_ == NULL) return FAL_ERR_ARGUMENT;                         \
        client_result_fail(r_, FAL_ERR_ARGUMENT, "%s", "not built yet"); \
        *where_ = r_;                                                    \
        return FAL_ERR_ARGUMENT;                                         \
    } while (0)

/* realtime */
enum fal_code fal_webhook_keys_fetch(fal_client *c, const struct fal_call_options *o,
                                     fal_result **r) {
    NOT_YET(r);
}
