/* The breaker of an upstream (docs/bad-input.md U27).
 *
 *   CLOSED --LLM_UNABLE_AFTER faults in a row, and it does not answer a knock--> OPEN
 *   OPEN   --a knock every LLM_UNABLE_MS, answered; or a call that was under way ends well--> CLOSED
 *
 * A knock is GET <base>/models: any answer below 500 will do, so requests that make a living upstream fail cannot open it.
 * While it is open nothing is sent: calls fail at once with the fault that opened it, and the queue is told of no capacity,
 * so that where no upstream is left its jobs wait and use up no attempt. After LLM_OUTAGE_MS they are let through again,
 * and fail as they must. The local engine has states of its own and no breaker. */
#ifndef ANYLLM_LLM_BREAKER_H
#define ANYLLM_LLM_BREAKER_H

#include "llm/fault.h"

#define LLM_OUTAGE_MS 900000U

struct upstream;

struct breaker {
    bool open;
    struct net_timer timer; /* until the next knock, or until one is allowed again */
    struct net_call *knock;
    enum llm_fault fault; /* that opened it, or makes us knock */
    uint64_t since_ms;    /* of being open */
    struct buf path;
};

/* False: out of memory. */
bool breaker_init(struct upstream *up);
void breaker_free(struct upstream *up);
/* After each call, and after faults_in_row was counted. */
void breaker_judge(struct upstream *up, enum llm_fault f);
/* Nothing may be sent. */
bool breaker_blocks(const struct upstream *up);

#endif
