#include "client/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void become(int terminal, const char *path, char *const *env, char *const *argv) {
    setsid();
    if (ioctl(terminal, TIOCSCTTY, 0) != 0 || dup2(terminal, 0) < 0 || dup2(terminal, 1) < 0 ||
        dup2(terminal, 2) < 0) {
        _exit(126);
    }
    execve(path, argv, env);
    _exit(127);
}

void pty_start(struct pty *p, const char *path, char *const *env, char *const *argv) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char name[64];
    *p = (struct pty){.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    assert_true(p->fd >= 0);
    assert_int_equal(grantpt(p->fd) | unlockpt(p->fd) | ptsname_r(p->fd, name, sizeof(name)), 0);
    int theirs = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(theirs >= 0);
    assert_int_equal(ioctl(p->fd, TIOCSWINSZ, &size), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        become(theirs, path, env, argv);
    }
    close(theirs);
}

void pty_type(struct pty *p, const char *text) {
    assert_int_equal(write(p->fd, text, strlen(text)), strlen(text));
}

/* False: the program has closed the terminal. */
static bool read_more(struct pty *p, const char *wanted) {
    struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
    if (poll(&poll_fd, 1, PTY_WAIT_S * 1000) <= 0) {
        kill(p->pid, SIGKILL);
        fail_msg("\"%s\" did not come; the terminal shows:\n%s", wanted, p->text);
    }
    assert_true(p->bytes < PTY_BYTES - 1);
    ssize_t n = read(p->fd, p->text + p->bytes, PTY_BYTES - 1 - p->bytes);
    p->bytes += n > 0 ? (size_t)n : 0;
    p->text[p->bytes] = '\0';
    return n > 0 || (n < 0 && errno == EINTR);
}

void pty_expect(struct pty *p, const char *text) {
    const char *at;
    while ((at = strstr(p->text, text)) == NULL) {
        if (!read_more(p, text)) {
            fail_msg("\"%s\" did not come before the end; the terminal shows:\n%s", text, p->text);
        }
    }
    size_t end = (size_t)(at - p->text) + strlen(text);
    p->bytes -= end;
    memmove(p->text, p->text + end, p->bytes + 1);
}

void pty_end(struct pty *p) {
    int status = 0;
    while (read_more(p, "the end of the program")) {
    }
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    close(p->fd);
}
