/* What must hold in every world, whatever fails in it. Each is looked at when something happens that could break it; a
 * broken one ends the seed. */
#ifndef TEST_SIM_RULES_H
#define TEST_SIM_RULES_H

#include "sim/sim.h"

#include <setjmp.h>

#define RULES(X)                                                                                  \
    X(DURABLE_FIRST, "a submit is answered only when its row is durable")                         \
    X(NEVER_LOST, "what was accepted is found for as long as it is kept")                         \
    X(ENDS, "what was accepted ends when faults have stopped")                                    \
    X(REFUSED_IS_NOTHING, "a refused submit leaves nothing behind")                               \
    X(ONE_RESULT, "a request has one result, which never changes")                                \
    X(RESULT_OF_HOLDER, "the result is that of the attempt which held the lease")                 \
    X(ONE_CHARGE, "an attempt is charged once at most, with what it cost")                        \
    X(ONE_WEBHOOK, "a request with a webhook has one row in the outbox, written with its end")    \
    X(STATE_FORWARD, "nobody sees a state that is behind one seen before, or ahead of the store") \
    X(POSITION_FALLS, "the position that a boot shows of a request never rises")                  \
    X(LEASE_KEPT, "no lease is taken while its holder shows that it lives")                       \
    X(DRAINED, "who ends in good order leaves no lease behind")                                   \
    X(CALLS, "upstream calls: one, one for each lost lease, one for each failure that allows it") \
    X(NO_RETRY, "one upstream call at most when the caller wants no retry")                       \
    X(POISON, "what has ended its server three times is not run again")                           \
    X(ONE_SUSPECT, "of what has ended a server twice, one runs at a time")                        \
    X(ZOMBIE, "what a boot writes of a lease that it has lost changes nothing")                   \
    X(IDEMPOTENT, "one request for a key and body, another body is refused")                      \
    X(CANCELLED, "an answered cancel ends as cancelled, unless the result was durable before")    \
    X(START_TIMEOUT, "the start timeout ends a request neither early nor late")                   \
    X(RESULT_STAYS, "a run that began in time and ended well never ends as request_timeout")      \
    X(POSITION_TRUE,                                                                              \
      "no more begin before a request than its position said, of those that were there")          \
    X(FAIR, "an owner's request waits for a bounded number of each other owner's")                \
    X(PLACES, "no more runs of a pool, or of an owner, than there are places")                    \
    X(RETRY_AFTER, "no attempt begins before the upstream has allowed it")                        \
    X(CANCEL_ARRIVES, "a cancel that is answered has reached the run")                            \
    X(WATCHED, "a watch is told of the end")                                                      \
    X(FORGOTTEN, "what was not to be kept is forgotten after an hour, and nothing else")          \
    X(KEPT, "nothing is forgotten before its hour, or its age, is over")                          \
    X(DESERVED, "runner_disconnected is the end of what may not run again, or has crashed three") \
    X(LINES, "what a run has said is in the log of the end that its server writes")               \
    X(ONE_ANSWER, "each call is answered once, after it has returned")                            \
    X(STATS, "the figures are those of this world")                                               \
    X(ALIVE, "no server crashes by itself, and none stands in a loop")                            \
    X(HARMLESS, "a call is refused only for a reason")

enum rule {
    RULE_NONE,
#define X(name, text) RULE_##name,
    RULES(X)
#undef X
        RULE_COUNT
};

/* Says which, and the last steps; ends the process with 1. */
_Noreturn void rule_broken(struct sim *s, enum rule which, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define RULE(s, name, holds, ...)                                 \
    do {                                                          \
        if (!(holds)) rule_broken((s), RULE_##name, __VA_ARGS__); \
    } while (0)
/* In a run that must find a fault, the rule that it breaks: found, the process ends with 0. When it breaks another one
 * first, the next seed is tried. */
extern const char *rules_must_find;
extern jmp_buf rules_next_seed;
bool rules_known(const char *name);

#define TAIL(r) ((r)->id + 28) /* tells ids apart */

/* Clocks of this world may be wrong by a part of a span. */
static inline uint64_t less_drift(uint64_t ms) {
    return ms - ms / 33;
}

/* disk.c: after a write was let through. */
void rules_claimed(struct server *by, struct row *r, const struct op *op);
void rules_ended(struct server *by, struct row *r, const struct op *op, bool by_holder);
void rules_charged(struct sim *s, struct row *r, uint32_t attempt, unsigned call);
void rules_paid(struct sim *s, const struct row *r, const struct op *op);
void rules_logged(struct server *by, struct row *r, const struct line *l);
void rules_completed(struct server *by, struct row *r, const struct op *op); /* with its lines */
void rules_swept(struct server *by, struct row *r, uint64_t age_ms);
void rules_buried(struct server *by, const struct living *l);
void rules_left(struct server *v);
/* upstream.c: a run begins. */
void rules_started(struct server *v, struct row *r, const struct queue_job *job);
/* ops.c: the first lease of a request is answered, callers see it in progress. */
void rules_leased(struct server *v, const struct row *r);
void rules_given_up(struct server *v); /* servers.c: it was buried, and has joined again */
/* callers.c: an answer. */
void rules_answered(struct server *v, struct ask *a, const struct queue_reply *r);
void rules_cancel_arrived(struct server *v, const struct row *r);
/* Of a boot. */
void rules_boot_over(struct server *v);
void rules_stats(struct server *v);
/* After each step. */
void rules_overdue(struct sim *s);
/* When all is over. */
void rules_at_rest(struct sim *s);
void rules_forgotten(struct sim *s);
bool rules_rest(const struct sim *s); /* nothing is left to be done */

#endif
