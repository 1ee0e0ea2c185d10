/* The hidden subcommand `engine-exec`: the last steps between our program and llama-server, in the child.
 *
 * Order matters: the death signal is set first, then the parent is looked for. If it died in between, nobody would
 * send the signal, but then we are somebody else's child already and leave. */
#include "llm/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USAGE = 64, EXIT_ORPHAN = 69, EXIT_NOT_FOUND = 127 };

static void reset_signals(void) {
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL); /* KILL, STOP and libc's own refuse; that is fine */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_descriptors(void) {
    struct rlimit limit;
    if (close_range(3, ~0U, 0) == 0) return;
    int end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur
                                                                              : 65536;
    for (int fd = 3; fd < end; fd++) close(fd);
}

/* When memory runs out the engine goes, not the server that can start it again. */
static void offer_to_oom_killer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "500", 3) < 0) errno = 0;
    close(fd);
}

/* The engine's libraries lie beside it. Set here and not in our own environment: this program must never load them. */
static void prepend_library_path(const char *program) {
    char path[PATH_MAX * 2], folder[PATH_MAX];
    const char *old = getenv("LD_LIBRARY_PATH");
    if (realpath(program, folder) == NULL) return;
    char *slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder) return;
    *slash = '\0';
    bool has_old = old != NULL && old[0] != '\0';
    int n = snprintf(path, sizeof path, "%s%s%s", folder, has_old ? ":" : "", has_old ? old : "");
    if (n > 0 && (size_t)n < sizeof path) setenv("LD_LIBRARY_PATH", path, 1);
}

int engine_exec_main(int argc, char **argv) {
    uint64_t parent;
    if (argc < 3 || !slice_to_range(slice_of(argv[1]), 1, INT_MAX, &parent)) {
        fputs("engine-exec is used by `anyllm serve` alone\n", stderr);
        return EXIT_USAGE;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != (pid_t)parent) return EXIT_ORPHAN;
    setsid(); /* Ctrl-C at the terminal is for the server, which ends the engine when the last answer is out */
    reset_signals();
    close_descriptors();
    offer_to_oom_killer();
    prepend_library_path(argv[2]);
    execv(argv[2], argv + 2);
    fprintf(stderr, "cannot execute %s: %s\n", argv[2], strerror(errno));
    return EXIT_NOT_FOUND;
}
