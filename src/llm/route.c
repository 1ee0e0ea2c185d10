#include "llm/route.h"

#include <stdio.h>

/* The steps found so far. */
struct steps {
    const struct config *cfg;
    const struct catalogue *cat;
    bool keeps_nothing;
    struct route_step *out;
    size_t n;
};

static bool has_kind(const struct config *cfg, enum config_kind kind) {
    for (size_t i = 0; i < cfg->nupstreams; i++)
        if (cfg->upstreams[i].kind == kind) return true;
    return false;
}

static bool only_local(const struct config *cfg) {
    return !has_kind(cfg, UPSTREAM_OPENAI) && !has_kind(cfg, UPSTREAM_OPENROUTER);
}

static bool allowed(const struct config_upstream *up, bool keeps_nothing) {
    return !keeps_nothing || up->keeps_nothing || up->kind != UPSTREAM_OPENAI;
}

static void add_step(struct steps *s, size_t upstream, struct slice model, bool fallback) {
    const struct config_upstream *up = &s->cfg->upstreams[upstream];
    struct route_step step = {
        .upstream = upstream, .model = model, .upstream_id = model, .fallback = fallback};
    if (s->n == ROUTE_MAX_STEPS || !allowed(up, s->keeps_nothing)) return;
    if (up->kind == UPSTREAM_LOCAL) {
        step.model = step.upstream_id = up->alias;
    } else if ((step.entry = catalogue_find(s->cat, model)) != NULL) {
        step.entry = catalogue_current(s->cat, step.entry, up->kind);
        step.model = step.entry->id;
        step.upstream_id = catalogue_upstream_id(step.entry, up->kind);
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->out[i].upstream == upstream && slice_eq(s->out[i].upstream_id, step.upstream_id))
            return;
    s->out[s->n++] = step;
}

static void add_kind(struct steps *s, enum config_kind kind, struct slice model, bool fallback) {
    for (size_t i = 0; i < s->cfg->nupstreams; i++)
        if (s->cfg->upstreams[i].kind == kind) add_step(s, i, model, fallback);
}

static bool add_alias(struct steps *s, struct slice model, bool fallback) {
    bool found = false;
    for (size_t i = 0; i < s->cfg->nupstreams; i++)
        if (s->cfg->upstreams[i].kind == UPSTREAM_LOCAL &&
            slice_eq(s->cfg->upstreams[i].alias, model)) {
            add_step(s, i, model, fallback);
            found = true;
        }
    return found;
}

static bool is_alias(const struct config *cfg, struct slice model) {
    for (size_t i = 0; i < cfg->nupstreams; i++)
        if (cfg->upstreams[i].kind == UPSTREAM_LOCAL && slice_eq(cfg->upstreams[i].alias, model))
            return true;
    return false;
}

/* 0: does not match; else the better the larger. A pattern is nobody's id. */
static size_t rank(struct slice pattern, struct slice model) {
    if (pattern.len == 0 || pattern.ptr[pattern.len - 1] != '*')
        return slice_eq(pattern, model) ? SIZE_MAX : 0;
    return slice_starts(model, slice_make(pattern.ptr, pattern.len - 1)) ? pattern.len : 0;
}

/* The first of the best; NULL when none is at least `least`. */
static const struct config_route *best_route(const struct config *cfg, struct slice model,
                                             size_t least) {
    const struct config_route *best = NULL;
    size_t best_rank = least - 1;
    for (size_t i = 0; i < cfg->nroutes; i++) {
        size_t r = rank(cfg->routes[i].model, model);
        if (r > best_rank) {
            best = &cfg->routes[i];
            best_rank = r;
        }
    }
    return best;
}

static void add_by_default(struct steps *s, struct slice model, bool fallback) {
    if (has_kind(s->cfg, UPSTREAM_OPENROUTER))
        add_kind(s, UPSTREAM_OPENROUTER, model, fallback);
    else if (has_kind(s->cfg, UPSTREAM_OPENAI))
        add_kind(s, UPSTREAM_OPENAI, model, fallback);
    else
        add_kind(s, UPSTREAM_LOCAL, model, fallback);
}

static void add_model(struct steps *s, struct slice model, bool fallback) {
    const struct config_route *exact = best_route(s->cfg, model, SIZE_MAX), *route = exact;
    if (exact == NULL && add_alias(s, model, fallback)) return;
    if (route == NULL) route = best_route(s->cfg, model, 1);
    if (route != NULL)
        for (size_t i = 0; i < route->nto; i++) add_step(s, route->to[i], model, fallback);
    else if (s->cfg->nroutes == 0)
        add_by_default(s, model, fallback);
}

size_t route_find(const struct config *cfg, const struct catalogue *cat, struct slice model,
                  bool keeps_nothing, struct route_step *out) {
    struct steps s = {.cfg = cfg, .cat = cat, .keeps_nothing = keeps_nothing, .out = out};
    if (!route_knows(cfg, cat, model)) return 0;
    add_model(&s, model, false);
    if (cfg->fallback_model.len > 0) add_model(&s, cfg->fallback_model, true);
    return s.n;
}

/* A route may take any id, but the id stands in a header of the answer and in the log. */
static bool can_be_named(struct slice model) {
    for (size_t i = 0; i < model.len; i++)
        if (model.ptr[i] <= ' ' || model.ptr[i] >= 0x7f) return false;
    return model.len > 0 && model.len <= ROUTE_MAX_MODEL_BYTES;
}

bool route_knows(const struct config *cfg, const struct catalogue *cat, struct slice model) {
    if (!can_be_named(model)) return false;
    return catalogue_find(cat, model) != NULL || is_alias(cfg, model) ||
           best_route(cfg, model, 2) != NULL;
}

static size_t first_of_kind(const struct config *cfg, enum config_kind kind) {
    size_t i = 0;
    while (i < cfg->nupstreams && cfg->upstreams[i].kind != kind) i++;
    return i;
}

void route_describe(const struct config *cfg, char *out, size_t size) {
    char fallback[256] = "";
    if (cfg->fallback_model.len > 0)
        snprintf(fallback, sizeof fallback, "; %.*s answers what no upstream has",
                 SLICE_ARG(cfg->fallback_model));
    if (cfg->nupstreams == 0) {
        snprintf(out, size, "no upstream is configured: no model can be answered");
    } else if (cfg->nroutes > 0) {
        snprintf(out, size, "%zu route%s over %zu upstream%s%s", cfg->nroutes,
                 cfg->nroutes == 1 ? "" : "s", cfg->nupstreams, cfg->nupstreams == 1 ? "" : "s",
                 fallback);
    } else if (only_local(cfg)) {
        snprintf(out, size, "every model is answered by %.*s", SLICE_ARG(cfg->upstreams[0].alias));
    } else {
        size_t i = first_of_kind(cfg, UPSTREAM_OPENROUTER);
        if (i == cfg->nupstreams) i = first_of_kind(cfg, UPSTREAM_OPENAI);
        snprintf(out, size, "models are answered by upstream %.*s%s",
                 SLICE_ARG(cfg->upstreams[i].name), fallback);
    }
}
