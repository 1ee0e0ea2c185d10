/* Linked into every cmocka binary: TEST_FILTER='name*' runs the test functions whose names fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void filter_from_environment(void) {
    const char *pattern = getenv("TEST_FILTER");
    if (pattern != NULL && pattern[0] != '\0') cmocka_set_test_filter(pattern);
}
