/* Runs a built program on a terminal for a test. Faults of the set-up, and waits of more than PTY_WAIT_S for what does not
 * come, fail the test. */
#ifndef ANYLLM_TEST_CLIENT_PTY_H
#define ANYLLM_TEST_CLIENT_PTY_H

#include <stddef.h>
#include <sys/types.h>

#define PTY_WAIT_S 60
#define PTY_BYTES 65536

struct pty {
    pid_t pid;
    int fd;
    int code; /* exit code, or -signal */
    size_t bytes;
    char text[PTY_BYTES]; /* what the terminal was sent since the last pty_expect */
};

/* A terminal of 24 lines and 80 columns; standard error is on it too. */
void pty_start(struct pty *p, const char *path, char *const *env, char *const *argv);
/* Types it; "\x03" is Ctrl-C, "\x04" Ctrl-D, "\x1b[A" arrow-up. */
void pty_type(struct pty *p, const char *text);
/* Waits until the terminal shows it, and forgets everything to its end. */
void pty_expect(struct pty *p, const char *text);
/* Waits for the program's end; `text` holds what came last. */
void pty_end(struct pty *p);

#endif
