#include "api/billing.h"

#include <stdio.h>

#define MILLION 1000000
#define MAX_MICROUSD \
    (1000000LL * MILLION * MILLION) /* a million million dollars: no sum of them overflows soon */

enum billing_unit billing_unit(const struct endpoint *e) {
    return e != NULL && slice_starts(slice_make(e->id, e->id_len), SLICE("fal-ai/"))
               ? BILLING_REQUESTS
               : BILLING_DOLLARS;
}

int64_t billing_unit_price_microusd(const struct config *c, const struct endpoint *e) {
    return billing_unit(e) == BILLING_REQUESTS ? c->standard_rate_microusd : MILLION;
}

/* a * b / 1e6, half up. */
static int64_t scale(int64_t a, int64_t b_micro) {
    __int128 v = ((__int128)a * b_micro + MILLION / 2) / MILLION;
    return v > MAX_MICROUSD ? MAX_MICROUSD : (int64_t)v;
}

/* The model that was asked for decides, whatever stands for it now; but nobody pays premium for the fallback. */
static bool is_premium(const struct api *a, const struct llm_request *r,
                       const struct llm_result *res) {
    struct slice fallback = a->config->fallback_model;
    bool fell_back = fallback.len > 0 && slice_eq(res->model, fallback);
    const struct catalogue_model *m = catalogue_find(a->catalogue, fell_back ? fallback : r->model);
    return m != NULL && m->premium;
}

static void charge_request(const struct api *a, const struct endpoint *e,
                           const struct llm_request *r, const struct llm_result *res,
                           struct store_usage *out) {
    int64_t units = (is_premium(a, r, res) ? BILLING_PREMIUM : 1) *
                    (e->sees || r->nimages > 0 ? BILLING_VISION : 1);
    out->has_charge = true;
    out->units_micro = units * MILLION;
    out->charge_microusd = scale(a->config->standard_rate_microusd, out->units_micro);
}

static void charge_cost(const struct api *a, struct store_usage *out) {
    out->has_charge = out->has_cost;
    if (!out->has_cost) return;
    out->charge_microusd = scale(out->cost_microusd, a->config->markup_micro);
    out->units_micro = out->charge_microusd;
}

void billing_fill(const struct api *a, const struct endpoint *e, const struct llm_request *r,
                  const struct llm_result *res, bool failed, struct store_usage *out) {
    const struct llm_usage *u = &res->usage;
    *out = (struct store_usage){.present = true,
                                .upstream = res->upstream,
                                .model = res->model,
                                .raw = u->raw,
                                .has_cost = u->has_cost,
                                .cost_microusd = u->cost_microusd};
    if (u->known) {
        out->prompt_tokens = u->prompt_tokens;
        out->completion_tokens = u->completion_tokens;
        out->cached_tokens = u->cached_tokens;
        out->reasoning_tokens = u->reasoning_tokens;
    }
    if (failed)
        out->has_charge = true;
    else if (billing_unit(e) == BILLING_REQUESTS)
        charge_request(a, e, r, res, out);
    else
        charge_cost(a, out);
}

struct slice billing_units(char text[BILLING_UNITS_BYTES], enum billing_unit unit,
                           const struct store_usage *u) {
    if (!u->has_charge) return SLICE("");
    if (u->units_micro == 0) return SLICE("0");
    long long whole = u->units_micro / MILLION, rest = u->units_micro % MILLION;
    if (unit == BILLING_DOLLARS)
        snprintf(text, BILLING_UNITS_BYTES, "%lld.%06lld00", whole, rest);
    else if (whole == 1)
        return SLICE("1");
    else
        snprintf(text, BILLING_UNITS_BYTES, "%lld", whole);
    return slice_of(text);
}

/* Each answer with a cost does this: digits by hand take a tenth of what printf does. */
void billing_add_usd(struct buf *b, int64_t microusd) {
    char text[7] = ".";
    uint64_t rest = (uint64_t)(microusd % MILLION);
    for (size_t i = 6; i > 0; i--, rest /= 10) text[i] = (char)('0' + rest % 10);
    buf_u64(b, (uint64_t)(microusd / MILLION));
    buf_add(b, slice_make(text, sizeof text));
}
