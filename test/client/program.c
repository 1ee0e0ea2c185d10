#include "client/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int scratch_file(void) {
    FILE *f = tmpfile();
    assert_non_null(f);
    int fd = dup(fileno(f));
    fclose(f);
    assert_true(fd >= 0);
    return fd;
}

static void become(const struct program *p, const char *path, int in, int out, char *const *env,
                   char *const *argv) {
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(p->err_fd, 2) < 0) {
        _exit(126);
    }
    execve(path, argv, env);
    _exit(127);
}

void program_begin(struct program *p, const char *path, const char *input, int out,
                   char *const *env, char *const *argv) {
    *p = (struct program){.out_fd = scratch_file(), .err_fd = scratch_file()};
    int in = scratch_file();
    assert_int_equal(write(in, input, strlen(input)), strlen(input));
    lseek(in, 0, SEEK_SET);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        become(p, path, in, out >= 0 ? out : p->out_fd, env, argv);
    }
    close(in);
}

static void read_back(int fd, char text[PROGRAM_OUTPUT_BYTES]) {
    ssize_t n = pread(fd, text, PROGRAM_OUTPUT_BYTES - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    close(fd);
}

void program_end(struct program *p) {
    int status = 0;
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    read_back(p->out_fd, p->out);
    read_back(p->err_fd, p->err);
}

void expect_in(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", part, text);
    }
}

void expect_not_in(const char *text, const char *part) {
    if (strstr(text, part) != NULL) {
        fail_msg("\"%s\" is in:\n%s", part, text);
    }
}
