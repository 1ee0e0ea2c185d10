#include "tap.h"

#include "llm/hints.h"

#include <stdlib.h>

static void hint_leads_to_who_answered_last(void **state) {
    struct hints *h = calloc(1, sizeof *h);
    assert_int_equal(hints_find(h, SLICE("a")), HINTS_NONE);
    hints_keep(h, SLICE("a"), 0);
    hints_keep(h, SLICE("b"), 3);
    assert_int_equal(hints_find(h, SLICE("a")), 0);
    assert_int_equal(hints_find(h, SLICE("b")), 3);
    hints_keep(h, SLICE("a"), 2);
    assert_int_equal(hints_find(h, SLICE("a")), 2);
    assert_int_equal(hints_find(h, SLICE("c")), HINTS_NONE);
    hints_keep(h, SLICE(""), 1);
    assert_int_equal(hints_find(h, SLICE("")), HINTS_NONE);
    free(h);
}

/* However many there are, none leads to another's upstream, and most of the last ones are still known. */
static void hints_beyond_the_table_forget_but_never_mistake(void **state) {
    struct hints *h = calloc(1, sizeof *h);
    size_t known = 0;
    h->seed = 77;
    for (size_t i = 0; i < 20000; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "chat-%zu", i);
        hints_keep(h, slice_make(name, (size_t)n), i);
    }
    for (size_t i = 0; i < 20000; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "chat-%zu", i);
        size_t found = hints_find(h, slice_make(name, (size_t)n));
        assert_true(found == i || found == HINTS_NONE);
        known += found == i && i >= 19000;
    }
    assert_in_range(known, 800, 1000);
    free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hint_leads_to_who_answered_last),
        cmocka_unit_test(hints_beyond_the_table_forget_but_never_mistake),
    };
    return cmocka_run_group_tests_name("llm/hints", tests, NULL, NULL);
}
