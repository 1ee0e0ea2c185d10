/* Private to the platform API: what its files share. */
#ifndef ANYLLM_API_PLATFORM_INNER_H
#define ANYLLM_API_PLATFORM_INNER_H

#include "api/billing.h"
#include "api/platform.h"
#include "api/platform_query.h"

/* The parameters of each call, in the file of its handler. */
extern const struct params models_params, pricing_params, usage_params, analytics_params,
    billing_events_params, requests_params, keys_params, billing_params;

/* Whose things the caller may see: the operator everybody's (empty). */
static inline struct slice platform_owner(const struct call *c) {
    return c->who.scope == SCOPE_ADMIN ? SLICE("") : c->who.owner;
}

/* "requests", "dollars" */
const char *platform_unit(const struct endpoint *e);

#define PLATFORM_DAY_MS 86400000LL
/* The span that start and end name, the last day when they do not. False: answered. */
bool platform_span(struct call *c, const struct param_value *start, const struct param_value *end,
                   const struct param_value *cursor, struct cursor *out);

/* "name":"2026-…Z" */
void platform_add_time(struct buf *b, const char *name, int64_t at_ms);
/* Micro-units as a number with six decimals, or null. */
void platform_add_micro(struct buf *b, const char *name, bool known, int64_t micro);

#endif
