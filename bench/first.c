/* first RUNS PROGRAM ARGUMENT...: so many times from exec to the first byte on its standard output, in ms: "p50 p99 min max
 * count". Then it may end by itself. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static double one_run(char **argv) {
    int out[2], status = 0;
    char byte;
    if (pipe(out) != 0) bench_die("pipe");
    int64_t begin = now_ns();
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(out[1]);
    bool answered = read(out[0], &byte, 1) == 1;
    double ms = (double)(now_ns() - begin) / 1e6;
    while (read(out[0], &byte, 1) == 1) continue;
    close(out[0]);
    waitpid(pid, &status, 0);
    if (!answered || status != 0) bench_die("the program gave no answer");
    return ms;
}

int main(int argc, char **argv) {
    size_t runs = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    double *ms = calloc(runs + 1, sizeof *ms);
    if (runs == 0 || ms == NULL) bench_die("first RUNS PROGRAM ARGUMENT...");
    for (size_t i = 0; i < runs; i++) ms[i] = one_run(argv + 2);
    print_spread(ms, runs);
    return 0;
}
