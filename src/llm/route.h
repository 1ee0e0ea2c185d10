/* Which upstreams answer a model id, in which order, and as what. Pure.
 *
 * With routes in the configuration: the exact id, else the longest prefix, else `*`; a local upstream's alias is its
 * own, unless it has an exact route. Without routes: the alias goes to its local upstream, models of the catalogue go to
 * the openrouter upstreams, else to the openai ones, in the order of the file; when there are only local upstreams,
 * they answer every model of the catalogue. Last come the steps of fallback_model. Ids that are neither in the
 * catalogue nor an alias nor named by a route (exactly or by prefix) are unknown. */
#ifndef ANYLLM_LLM_ROUTE_H
#define ANYLLM_LLM_ROUTE_H

#include "llm/catalogue.h"

#define ROUTE_MAX_STEPS 16U
#define ROUTE_MAX_MODEL_BYTES 256U /* of an id */

struct route_step {
    size_t upstream;          /* index into the configuration */
    struct slice model;       /* what answers, for X-Anyllm-Model: a catalogue id or an alias */
    struct slice upstream_id; /* what the upstream calls it */
    const struct catalogue_model
        *entry;    /* of `model`; NULL for an alias or an id that only a route names */
    bool fallback; /* only when no other step has the model */
};

/* Fills at most ROUTE_MAX_STEPS and returns how many. `keeps_nothing`: only upstreams that keep nothing (those marked
 * so, local ones, and OpenRouter, which is asked to use such providers only). */
size_t route_find(const struct config *cfg, const struct catalogue *cat, struct slice model,
                  bool keeps_nothing, struct route_step *out);
bool route_knows(const struct config *cfg, const struct catalogue *cat, struct slice model);
/* How models are answered, in one line. */
void route_describe(const struct config *cfg, char *out, size_t size);

#endif
