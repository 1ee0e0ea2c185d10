/* For the engine's own tests: the supervisor's times, so that a hung engine is found in a test's patience. */
#ifndef ANYLLM_LLM_ENGINE_INNER_H
#define ANYLLM_LLM_ENGINE_INNER_H

#include "llm/engine.h"

struct engine_times {
    uint32_t load_poll_ms;   /* /health while it loads */
    uint32_t load_silent_ms; /* loading without any answer: ended */
    uint32_t probe_every_ms; /* /health while it is ready */
    uint32_t probe_timeout_ms;
    uint32_t backoff_min_ms, backoff_max_ms;
    uint32_t healthy_ms; /* ready for so long: the backoff begins anew */
    uint32_t term_ms;    /* from TERM to KILL */
    bool calibrate_busy; /* also on a machine whose cores are taken */
};
#define ENGINE_TIMES_DEFAULT {50, 60000, 10000, 8000, 500, 30000, 60000, 2000, false}

void engine_set_times(struct engine *e, const struct engine_times *t); /* before engine_start */
int engine_child_process(const struct engine *e);                      /* pid, 0: none runs */

#endif
