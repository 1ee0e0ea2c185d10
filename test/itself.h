/* A test program runs itself with a fault planted (base/broken.h): what guards a promise must find it. It is built with
 * breakable_dep, and its main gives argv[1] to cmocka_set_test_filter. */
#ifndef TEST_ITSELF_H
#define TEST_ITSELF_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* How many of these cases failed; "" plants nothing. -1: it did not come to its end. */
static inline int run_itself(const char *fault, const char *cases) {
    int status;
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null >= 0 && dup2(null, 1) >= 0 && dup2(null, 2) >= 0 && setenv("BREAK", fault, 1) == 0)
            execl("/proc/self/exe", "itself", cases, (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) == 127)
        return -1;
    return WEXITSTATUS(status);
}

#endif
