/* What must find a planted fault does: this program runs itself with BREAK=…, and without it as a check of the check. */
#include "store/store_suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The exit status of the suite's cases of this name. */
static int run_with(const char *fault, const char *cases) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) _exit(127);
        if (setenv("BREAK", fault, 1) != 0) _exit(127);
        execl("/proc/self/exe", "test_store_breaks", cases, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_late_write_is_found(void **state) {
    static const char *const cases[] = {"writes_of_a_lost_lease_change_nothing",
                                        "a_takeover_and_a_late_write_in_one_batch"};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(run_with("", cases[i]), 0);
        assert_int_equal(run_with("late-write", cases[i]), 1);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_late_write_is_found)};
    if (argc < 2) return cmocka_run_group_tests(tests, NULL, NULL);
    cmocka_set_test_filter(argv[1]);
    return store_suite_leases(&store_suite_sqlite);
}
