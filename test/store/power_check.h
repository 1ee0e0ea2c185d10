/* Starts the service on a folder as a fault has left it, and compares with what callers had been told by then. */
#ifndef TEST_POWER_CHECK_H
#define TEST_POWER_CHECK_H

#include "store/power_flow.h"

/* `told`: the flow, with the marks whose `at` is not after `cut`. NULL: all is well; else what is not, which lives until the next
 * call. `run`: what is unfinished is then run to its end, and the end looked at again. */
const char *check_folder(const struct flow *told, size_t cut, const char *folder);
/* Rows looked at so far: requests and files that had been told of. */
uint64_t check_requests(void), check_files(void);

#endif
