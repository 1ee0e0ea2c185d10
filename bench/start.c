/* start N PROGRAM ARGUMENT...: N times from exec to the first 200 of GET /readyz, in ms:
 * "p50 p99 min max count". The program says "listening on http://127.0.0.1:PORT" on stderr; it is
 * ended with SIGTERM after each run. */
#include "http.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(char **argv, int *err) {
    int p[2];
    if (pipe(p) != 0) bench_die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[1], 2);
        close(p[0]);
        close(p[1]);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(p[1]);
    *err = p[0];
    return pid;
}

/* Reads stderr up to the line with the address; false when the program ended before. */
static bool find_address(int err, struct http_target *t, char *said, size_t size) {
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(err, said + len, size - 1 - len)) > 0;) {
        len += (size_t)n;
        said[len] = 0;
        char *at = strstr(said, "listening on http://");
        if (at && strchr(at, '\n')) return http_target_parse(at + 13, t);
    }
    return false;
}

static bool ready(const struct http_target *t) {
    struct http c;
    struct http_reply r;
    if (!http_open(&c, t)) return false;
    bool ok = http_call(&c, "/readyz", NULL, NULL, NULL, &r) && r.status == 200;
    free(r.body);
    http_close(&c);
    return ok;
}

static double one_run(char **argv) {
    struct http_target t;
    char said[16384] = "";
    int err;
    int64_t begin = now_ns(), until = begin + 10000000000;
    pid_t pid = start(argv, &err);
    bool up = find_address(err, &t, said, sizeof said);
    while (up && !ready(&t)) {
        usleep(100);
        up = now_ns() < until;
    }
    double ms = (double)(now_ns() - begin) / 1e6;
    kill(pid, SIGTERM);
    close(err);
    waitpid(pid, NULL, 0);
    if (!up) {
        fprintf(stderr, "bench: %s did not become ready; it said: %s\n", argv[0], said);
        exit(1);
    }
    return ms;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    size_t n = strtoul(argv[1], NULL, 10);
    double *ms = calloc(n + 1, sizeof *ms);
    if (!ms) return 1;
    for (size_t i = 0; i < n; i++) ms[i] = one_run(argv + 2);
    print_spread(ms, n);
    free(ms);
    return 0;
}
