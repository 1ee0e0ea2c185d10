/* Runs a built program for a test and keeps what it printed. Faults of the set-up fail the test. */
#ifndef ANYLLM_TEST_CLIENT_PROGRAM_H
#define ANYLLM_TEST_CLIENT_PROGRAM_H

#include <sys/types.h>

#define PROGRAM_OUTPUT_BYTES 16384

struct program {
    pid_t pid;
    int out_fd, err_fd;
    int code; /* exit code, or -signal */
    char out[PROGRAM_OUTPUT_BYTES], err[PROGRAM_OUTPUT_BYTES];
};

/* Starts `path` with the text `input` on its standard input. Its standard output goes to `out`, or
 * into p->out when that is negative. */
void program_begin(struct program *p, const char *path, const char *input, int out,
                   char *const *env, char *const *argv);
/* Waits for it and fills code, out and err. */
void program_end(struct program *p);

void expect_in(const char *text, const char *part);
void expect_not_in(const char *text, const char *part);

#define ARGV(...) ((char *const[]){(char[]){"program"}, __VA_ARGS__, NULL})
#define ENV(...) ((char *const[]){__VA_ARGS__, NULL})
#define PROGRAM_RUN(p, path, env, ...) \
    (program_begin((p), (path), "", -1, (env), ARGV(__VA_ARGS__)), program_end(p))

#endif
