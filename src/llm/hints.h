/* Which upstream answered the last call of a hint: so that the next one finds its prompt warm there. A table of fixed
 * size; two hints that meet in a row forget each other, which costs no more than a cold prompt. Pure. */
#ifndef ANYLLM_LLM_HINTS_H
#define ANYLLM_LLM_HINTS_H

#include "base/slice.h"

#define HINTS_ROWS 4096U
#define HINTS_NONE SIZE_MAX

struct hints {
    uint64_t seed;
    struct hint_row {
        uint64_t hash;
        size_t upstream; /* plus one; 0: empty */
    } rows[HINTS_ROWS];
};

/* HINTS_NONE: not known. An empty hint is never known. */
size_t hints_find(const struct hints *h, struct slice hint);
void hints_keep(struct hints *h, struct slice hint, size_t upstream);

#endif
