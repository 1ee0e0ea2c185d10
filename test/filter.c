/* Linked into every cmocka binary. TEST_FILTER='name*' runs the test functions whose names fit. The output that
 * CMOCKA_MESSAGE_OUTPUT asks for is kept when a test clears its environment: cmocka looks there for each line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

__attribute__((constructor)) static void obey_environment(void) {
    const char *pattern = getenv("TEST_FILTER"), *output = getenv("CMOCKA_MESSAGE_OUTPUT");
    if (pattern != NULL && pattern[0] != '\0') cmocka_set_test_filter(pattern);
    if (output != NULL && strcmp(output, "TAP") == 0) cmocka_set_message_output(CM_OUTPUT_TAP);
}
