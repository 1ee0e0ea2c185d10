/* What every test file here includes first. */
#ifndef TEST_LLM_TAP_H
#define TEST_LLM_TAP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"

#include <stdio.h>

/* SLICE for initialisers of static tables, where a compound literal is no constant. */
#define S(lit) {(lit), sizeof(lit) - 1}

/* Byte comparison that shows both texts. */
static inline void expect_text(struct slice got, const char *want) {
    bool same = slice_is(got, want);
    if (!same) print_error("got:  %.*s\nwant: %s\n", SLICE_ARG(got), want != NULL ? want : "");
    assert_true(same);
}

#endif
