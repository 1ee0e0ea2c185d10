/* What a test and the program whose allocations fail have in common: a file of this, mapped by both. */
#ifndef ANYLLM_TEST_WIRE_FAILING_MALLOC_H
#define ANYLLM_TEST_WIRE_FAILING_MALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct failing {
    _Atomic uint64_t count;   /* allocations so far */
    _Atomic uint64_t fail_at; /* the first that fails; 0: none */
    _Atomic uint64_t in_row;  /* so many */
    _Atomic uint64_t failed;  /* have failed */
};

#endif
