/* Which calls compete for the same upstreams: those of one set of upstreams are of one pool. The sets are numbered as they
 * are met; names of models are not kept, so callers may invent as many as they like. */
#include "llm/inner.h"

#include <stdlib.h>

/* Pool 0 is of what nobody answers: it may start and fail at once, so many at a time. */
#define NOBODYS_ROOM 64U

static bool *set_at(const struct llm *m, unsigned pool) {
    return m->pools + (size_t)pool * (m->nupstreams + 1);
}

bool upstream_sets_init(struct llm *m, size_t nupstreams) {
    m->npools = 1;
    m->pools = calloc(LLM_POOLS + 1, (nupstreams + 1) * sizeof *m->pools);
    return m->pools != NULL;
}

void upstream_sets_free(struct llm *m) {
    free(m->pools);
}

/* The upstreams that may get the call at its start; a fallback model's only where there are no others. */
static bool find_set(const struct llm *m, struct slice model, bool keeps_nothing, bool no_fallback,
                     bool *set) {
    struct route_step steps[ROUTE_MAX_STEPS];
    size_t n = route_find(m->o.config, m->o.catalogue, model, keeps_nothing, steps);
    if (n > 1 && no_fallback) n = 1;
    memset(set, 0, m->nupstreams * sizeof *set);
    for (size_t i = 0; i < n; i++)
        if (!steps[i].fallback || steps[0].fallback) set[steps[i].upstream] = true;
    return n > 0;
}

unsigned llm_pool(struct llm *m, struct slice model, bool keeps_nothing, bool no_fallback) {
    bool *set = set_at(m, LLM_POOLS), *last = set_at(m, LLM_POOLS - 1);
    unsigned pool = 1;
    if (!find_set(m, model, keeps_nothing, no_fallback, set)) return 0;
    while (pool < m->npools && memcmp(set_at(m, pool), set, m->nupstreams * sizeof *set) != 0)
        pool++;
    if (pool < m->npools) return pool;
    if (pool ==
        LLM_POOLS) { /* they share the last one, which stands for the upstreams of them all */
        for (size_t i = 0; i < m->nupstreams; i++) last[i] = last[i] || set[i];
        return LLM_POOLS - 1;
    }
    memcpy(set_at(m, pool), set, m->nupstreams * sizeof *set);
    m->npools++;
    return pool;
}

/* Those that wait for a slot of one upstream take none of another, but count: so no more of them can be started than slots are
 * free elsewhere. */
size_t llm_pool_capacity(const struct llm *m, unsigned pool) {
    size_t room = 0, waiting = 0;
    if (pool == 0) return NOBODYS_ROOM;
    for (size_t i = 0; i < m->nupstreams; i++) {
        if (pool >= m->npools || !set_at(m, pool)[i]) continue;
        room += upstream_room(&m->upstreams[i]);
        waiting += m->upstreams[i].waiting.n;
    }
    return room > waiting ? room - waiting : 0;
}
