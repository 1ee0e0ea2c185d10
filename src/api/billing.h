/* Two amounts of money for each attempt, in whole micro-dollars: `cost` is what the upstream takes, `charge` what the key's
 * owner is charged. What is not known is null, never 0. docs/keys-and-usage.md has the rules. Pure. */
#ifndef ANYLLM_API_BILLING_H
#define ANYLLM_API_BILLING_H

#include "api/call.h"

#define BILLING_PREMIUM 10
#define BILLING_VISION 3

/* What an endpoint's charge counts. e NULL: OpenAI's paths of /v1. */
enum billing_unit { BILLING_REQUESTS, BILLING_DOLLARS };
enum billing_unit billing_unit(const struct endpoint *e);
/* Of one unit. */
int64_t billing_unit_price_microusd(const struct config *c, const struct endpoint *e);

/* Fills cost, charge, units, tokens and names of an attempt that reached an upstream; the slices are those of `res`.
 * failed: charged 0. */
void billing_fill(const struct api *a, const struct endpoint *e, const struct llm_request *r,
                  const struct llm_result *res, bool failed, struct store_usage *out);

#define BILLING_UNITS_BYTES 40
/* The value of x-fal-billable-units, in `text` or static; len 0: not known. */
struct slice billing_units(char text[BILLING_UNITS_BYTES], enum billing_unit unit,
                           const struct store_usage *u);
/* Appends dollars with six decimals: "0.001000". */
void billing_add_usd(struct buf *b, int64_t microusd);

#endif
