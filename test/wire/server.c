#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 20000U
#define STOP_MS 15000U
#define FAIL_MS 10000U

const char *anyllm_path, *mockllm_path;

/* --- small things */

uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sleep_ms(unsigned ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

const char *canary_in(const char *bytes, size_t len) {
    static const char *const canaries[] = {CANARY_CLIENT, CANARY_OTHER, CANARY_UPSTREAM};
    for (size_t i = 0; i < sizeof canaries / sizeof *canaries; i++)
        if (memmem(bytes, len, canaries[i], strlen(canaries[i])) != NULL) return canaries[i];
    return NULL;
}

char *file_text(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    size_t cap = 1U << 16, n = 0, got;
    char *text = malloc(cap);
    if (f == NULL || text == NULL) fail_msg("%s: %s", path, strerror(errno));
    while ((got = fread(text + n, 1, cap - n - 1, f)) > 0) {
        n += got;
        if (cap - n > 1) continue;
        cap *= 2;
        text = realloc(text, cap);
        assert_non_null(text);
    }
    fclose(f);
    text[n] = '\0';
    if (len != NULL) *len = n;
    return text;
}

void file_write(const char *path, const char *bytes, size_t len) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len) fail_msg("%s: %s", path, strerror(errno));
    close(fd);
}

void scratch_make(char dir[MAX_PATH]) {
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, MAX_PATH, "%s/anyllm-bad-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) fail_msg("%s: %s", dir, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    return remove(path);
}

void scratch_remove(const char *dir) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- processes */

/* Only what the child needs, so that nothing of the user's own reaches it. No look for leaks at the end: the server is
 * not dumpable, and the sanitizer cannot look into such a process. */
struct environment {
    const char *list[24];
    char text[5][MAX_PATH + 32];
};

static void fill_environment(struct environment *e, const char *home, const char *const *more) {
    static const char *const passed[] = {"PATH=", "UBSAN_OPTIONS="};
    extern char **environ;
    size_t n = 0;
    for (char **v = environ; *v != NULL; v++)
        for (size_t i = 0; i < 2; i++)
            if (strncmp(*v, passed[i], strlen(passed[i])) == 0) e->list[n++] = *v;
    static const char *const names[] = {"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(e->text[i], sizeof e->text[i], "%s=%s", names[i], home);
        e->list[n++] = e->text[i];
    }
    for (size_t i = 0; i < 8 && more[i] != NULL; i++) e->list[n++] = more[i];
    e->list[n++] = "ASAN_OPTIONS=detect_leaks=0"; /* the first of a name counts */
    e->list[n] = NULL;
}

static void become(const char *program, const char *const *argv, const char *const *env, int out,
                   unsigned descriptors) {
    struct rlimit r = {descriptors, descriptors};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (descriptors > 0) setrlimit(RLIMIT_NOFILE, &r);
    if (dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
    execvpe(program, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
    _exit(127);
}

static pid_t spawn(const char *program, const char *const *argv, const char *const *env,
                   const char *out_path, unsigned descriptors) {
    int out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) become(program, argv, env, out, descriptors);
    close(out);
    return pid;
}

/* The exit code, -signal, or INT32_MIN while it runs. */
static int ended(pid_t pid) {
    int status;
    if (waitpid(pid, &status, WNOHANG) != pid) return INT32_MIN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int process_end(pid_t pid, unsigned ms) {
    int code = INT32_MIN;
    for (uint64_t end = now_ms() + ms; code == INT32_MIN && now_ms() < end; sleep_ms(2))
        code = ended(pid);
    return code;
}

static void kill_now(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The number behind `mark` in the file, once its line is whole. 0: the program ended or took too long. */
static unsigned wait_port(pid_t pid, const char *path, const char *mark) {
    for (uint64_t end = now_ms() + START_MS; now_ms() < end; sleep_ms(2)) {
        char *text = file_text(path, NULL), *at = strstr(text, mark);
        unsigned port = 0;
        if (at != NULL && strchr(at, '\n') != NULL)
            port = (unsigned)strtoul(at + strlen(mark), NULL, 10);
        free(text);
        if (port != 0) return port;
        if (kill(pid, 0) != 0 || waitpid(pid, NULL, WNOHANG) == pid) return 0;
    }
    return 0;
}

/* --- the server */

static pid_t begin(const struct server *s, const struct server_options *o) {
    char config[MAX_PATH + 16];
    const char *argv[32];
    size_t n = 0;
    struct environment env;
    for (; n < 8 && o->through[n] != NULL; n++) argv[n] = o->through[n];
    const char *program = n > 0 ? argv[0] : anyllm_path;
    argv[n] = n > 0 ? anyllm_path : "anyllm";
    argv[++n] = "serve";
    n++;
    if (o->config != NULL) {
        snprintf(config, sizeof config, "%s/anyllm.yaml", s->dir);
        file_write(config, o->config, strlen(o->config));
        argv[n++] = "--config";
        argv[n++] = config;
    }
    argv[n++] = "--listen";
    argv[n++] = o->listen != NULL ? o->listen : "127.0.0.1:0";
    argv[n++] = "--data";
    argv[n++] = s->data;
    for (size_t i = 0; i < 8 && o->args[i] != NULL; i++) argv[n++] = o->args[i];
    argv[n] = NULL;
    fill_environment(&env, s->dir, o->env);
    return spawn(program, argv, env.list, s->err, o->descriptors);
}

static void prepare(struct server *s, const struct server_options *o) {
    *s = (struct server){0};
    scratch_make(s->dir);
    snprintf(s->err, sizeof s->err, "%s/err", s->dir);
    if (o->data != NULL)
        snprintf(s->data, sizeof s->data, "%s", o->data);
    else
        snprintf(s->data, sizeof s->data, "%s/data", s->dir);
}

void server_start(struct server *s, const struct server_options *o) {
    prepare(s, o);
    s->pid = begin(s, o);
    s->port = wait_port(s->pid, s->err, "listening on http://127.0.0.1:");
    if (s->port != 0) return;
    kill_now(s->pid);
    s->pid = 0;
    fail_msg("the server did not start:\n%s", file_text(s->err, NULL));
}

void server_start_with(struct server *s, const char *config) {
    struct server_options o = {.config = config, .args = {"--log-level", "trace"}};
    server_start(s, &o);
}

static int look_for_canary(const char *path, const struct stat *st, int type, struct FTW *at) {
    size_t len;
    if (type != FTW_F || strstr(path, "anyllm.yaml") != NULL) return 0;
    char *text = file_text(path, &len);
    const char *found = canary_in(text, len);
    free(text);
    if (found != NULL) print_error("%s stands in %s\n", found, path);
    return found != NULL;
}

/* The log, the database and whatever else it wrote. */
static void expect_no_canary(const struct server *s) {
    if (nftw(s->dir, look_for_canary, 16, FTW_PHYS) == 0) return;
    fail_msg("a key leaked into a file; the folder %s is left", s->dir);
}

/* A sanitizer that goes on after what it found says it here only. */
static void expect_no_sanitizer(const struct server *s) {
    char *log = file_text(s->err, NULL);
    if (strstr(log, "runtime error: ") != NULL || strstr(log, "Sanitizer: ") != NULL)
        fail_msg("a sanitizer found fault:\n%s", log);
    free(log);
}

void server_stop(struct server *s) {
    if (s->pid == 0) return;
    kill(s->pid, SIGTERM);
    int code = process_end(s->pid, STOP_MS);
    if (code == INT32_MIN) kill_now(s->pid);
    s->pid = 0;
    if (code != 0) fail_msg("the server ended with %d:\n%s", code, file_text(s->err, NULL));
    expect_no_sanitizer(s);
    expect_no_canary(s);
    scratch_remove(s->dir);
}

int server_fails(const struct server_options *o, char err[MAX_ERR]) {
    struct server s;
    prepare(&s, o);
    s.pid = begin(&s, o);
    int code = process_end(s.pid, FAIL_MS);
    if (code == INT32_MIN) kill_now(s.pid);
    char *text = file_text(s.err, NULL);
    snprintf(err, MAX_ERR, "%s", text);
    free(text);
    scratch_remove(s.dir);
    return code < 0 ? -1 : code;
}

/* Field `field` of /proc/PID/stat counted from the state, which is 0. */
static unsigned long stat_field(pid_t pid, unsigned field) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *text = file_text(path, NULL), *at = strrchr(text, ')') + 2;
    for (; field > 0; field--) at = strchr(at, ' ') + 1;
    unsigned long v = strtoul(at, NULL, 10);
    free(text);
    return v;
}

unsigned long server_cpu_ms(const struct server *s) {
    unsigned long ticks = stat_field(s->pid, 11) + stat_field(s->pid, 12);
    return ticks * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

size_t server_rss_kib(const struct server *s) {
    return stat_field(s->pid, 21) * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* --- the mock */

void mock_start(struct mock *m) {
    mock_start_at(m, 0);
}

void mock_start_at(struct mock *m, unsigned port) {
    char dir[MAX_PATH], out[MAX_PATH + 8], number[16];
    struct environment env;
    static const char *const none[8];
    const char *argv[] = {"mockllm", "--port", number, "--die-with-parent", NULL};
    snprintf(number, sizeof number, "%u", port);
    scratch_make(dir);
    snprintf(out, sizeof out, "%s/out", dir);
    fill_environment(&env, dir, none);
    m->pid = spawn(mockllm_path, argv, env.list, out, 0);
    m->port = wait_port(m->pid, out, "listening on ");
    scratch_remove(dir);
    if (m->port == 0) fail_msg("the mock upstream did not start");
}

void mock_stop(struct mock *m) {
    if (m->pid != 0) kill_now(m->pid);
    m->pid = 0;
}

/* cmocka counts no test, and so no failure, when the set-up of a group fails. */
static CMFixtureFunction suite_setup, suite_teardown;
static bool was_set_up, was_torn_down;

static int set_up(void **state) {
    int rc = suite_setup(state);
    was_set_up = rc == 0;
    return rc;
}

static int tear_down(void **state) {
    int rc = suite_teardown(state);
    was_torn_down = rc == 0;
    return rc;
}

int suite_main(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n,
               CMFixtureFunction setup, CMFixtureFunction teardown) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s ANYLLM MOCKLLM\n", argv[0]);
        return 2;
    }
    anyllm_path = realpath(argv[1], NULL); /* some tests change the folder */
    mockllm_path = realpath(argv[2], NULL);
    if (anyllm_path == NULL || mockllm_path == NULL) {
        perror(anyllm_path == NULL ? argv[1] : argv[2]);
        return 2;
    }
    suite_setup = setup;
    suite_teardown = teardown;
    signal(SIGPIPE, SIG_IGN);
    int failed = _cmocka_run_group_tests(name, tests, n, set_up, tear_down);
    return failed == 0 && was_set_up && was_torn_down ? 0 : 1;
}
