/* Starts the real server and the mock upstream for a test, each in a folder of its own, and ends them. The programs'
 * paths are the first two arguments of every suite here. A fault of the set-up fails the test. */
#ifndef ANYLLM_TEST_WIRE_SERVER_H
#define ANYLLM_TEST_WIRE_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

/* What must never come out of a server: in no answer (peer.c looks at each), in no log (server_stop looks). Every
 * suite uses these as its keys. */
#define CANARY_CLIENT "canary-client-secret-Zk4vB9"
#define CANARY_OTHER "canary-other-secret-Wm7xT2"
#define CANARY_UPSTREAM "sk-canary-upstream-Qm2rJ8"
/* The canary found in the bytes, or NULL. */
const char *canary_in(const char *bytes, size_t len);

#define MAX_PATH 256

struct server {
    pid_t pid; /* 0: not running */
    unsigned port;
    char dir[MAX_PATH], data[MAX_PATH + 8], err[MAX_PATH + 8]; /* scratch, data folder, stderr */
};

struct server_options {
    const char *config;   /* text of the file; NULL: none is named */
    const char *listen;   /* NULL: 127.0.0.1:0 */
    const char *data;     /* NULL: a folder of its own */
    const char *args[8];  /* more arguments */
    const char *env[8];   /* NAME=value, besides PATH, HOME and XDG_… of its own */
    unsigned descriptors; /* limit of descriptors; 0: the test's own */
    /* Programs that become the server, each by exec: {"prlimit", "--as=268435456"}. */
    const char *through[8];
};

/* Returns when it listens. */
void server_start(struct server *s, const struct server_options *o);
void server_start_with(struct server *s, const char *config);
/* SIGTERM; it must end with 0, and its log and its data folder hold no canary. Removes the folder. */
void server_stop(struct server *s);
/* CPU time used so far, and resident memory. */
unsigned long server_cpu_ms(const struct server *s);
size_t server_rss_kib(const struct server *s);

/* For starts that must fail: runs to the end, returns the exit code; -1 if it still runs after 10 s or was killed.
 * `err` gets what it said. */
#define MAX_ERR 8192
int server_fails(const struct server_options *o, char err[MAX_ERR]);

/* The exit code of a child, -signal, or INT32_MIN while it still runs after so long. */
int process_end(pid_t pid, unsigned ms);

struct mock {
    pid_t pid;
    unsigned port;
};
void mock_start(struct mock *m);
void mock_start_at(struct mock *m, unsigned port); /* 0: any */
void mock_stop(struct mock *m);

/* The whole of a file, NUL-terminated; free it. */
char *file_text(const char *path, size_t *len);
void file_write(const char *path, const char *bytes, size_t len);
/* A new scratch folder, and away with it. */
void scratch_make(char dir[MAX_PATH]);
void scratch_remove(const char *dir);

extern const char *anyllm_path, *mockllm_path;

/* Milliseconds of a clock that only goes forward. */
uint64_t now_ms(void);
void sleep_ms(unsigned ms);

/* Runs one suite: main() of each program. */
int suite_main(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n,
               CMFixtureFunction setup, CMFixtureFunction teardown);

#endif
