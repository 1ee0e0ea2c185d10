/* Faults on purpose. A suite that guards a promise must find the fault that breaks it: BREAK=NAME plants one in programs
 * built with ANYLLM_BREAKABLE (the tests' own copies of the rooms). In every other program all of this is false at
 * compile time and leaves no code. */
#ifndef ANYLLM_BASE_BROKEN_H
#define ANYLLM_BASE_BROKEN_H

#include <stdbool.h>

#define BROKEN_FAULTS(X)                                                                     \
    X(ANSWER_BEFORE_COMMIT, "answer-before-commit") /* a submit is answered, then written */ \
    X(NO_LEASE_CHECK, "no-lease-check") /* what another server runs is taken at once */      \
    X(SYNC_OFF, "sync-off")             /* a commit is not synced */                         \
    X(TWO_CHARGES, "two-charges")       /* an attempt's usage is given twice */              \
    X(LATE_WRITE, "late-write")         /* a result with an old token counts */              \
    X(POSITION_RISES, "position-rises") /* the position is shown as it is now */

enum broken {
#define X(name, text) BROKEN_##name,
    BROKEN_FAULTS(X)
#undef X
        BROKEN_COUNT
};

#ifdef ANYLLM_BREAKABLE
bool broken(enum broken fault);
#else
static inline bool broken(enum broken fault) {
    (void)fault;
    return false;
}
#endif

#endif
