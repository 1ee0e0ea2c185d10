/* What must find a planted fault does: this program runs itself with BREAK=…, and without it as a check of the check. */
#include "itself.h"
#include "store/store_suite.h"

static void a_late_write_is_found(void **state) {
    static const char *const cases[] = {"writes_of_a_lost_lease_change_nothing",
                                        "a_takeover_and_a_late_write_in_one_batch"};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(run_itself("", cases[i]), 0);
        assert_int_equal(run_itself("late-write", cases[i]), 1);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_late_write_is_found)};
    if (argc < 2) return cmocka_run_group_tests(tests, NULL, NULL);
    cmocka_set_test_filter(argv[1]);
    return store_suite_leases(&store_suite_sqlite);
}
