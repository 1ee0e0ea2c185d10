/* docs/bad-input.md 2.10: what the machine does to a server: no memory, no threads, no room for the log, no name service, a
 * crash. Rows of starts are in bad_start.c, of full disks in disk_full.c. */
#include "calls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"

static struct mock mock;
static char config[512];

static int set_up(void **state) {
    mock_start(&mock);
    snprintf(config, sizeof config,
             "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/v1\", key: %s }\n",
             mock.port, CANARY_UPSTREAM);
    return 0;
}

static int tear_down(void **state) {
    mock_stop(&mock);
    return 0;
}

static void expect_to_work(unsigned port) {
    struct answer a = post_json(port, RUN, "{\"prompt\":\"still there?\"}");
    expect_status("a direct call", &a, 200);
    answer_free(&a);
    static const char body[] = "{\"prompt\":\"and the queue?\"}";
    a = queued(port, QUEUE, "", body, sizeof body - 1);
    expect_status("a queued request", &a, 200);
    answer_free(&a);
}

/* --- M2 */

#define CALLERS 40U
#define LARGE (7U << 20)

struct large_caller {
    pthread_t thread;
    const char *path;
    unsigned port, status;
    bool of_memory;
    char said[300];
};

/* Not peer.c's: nothing of cmocka may be called here. A 503 comes before the body is taken. */
static void *send_large(void *arg) {
    struct large_caller *c = arg;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
    char head[256], answer[8192];
    char *body = malloc(LARGE);
    size_t got = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (body == NULL || fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) abort();
    memset(body, 'a', LARGE);
    memcpy(body, "{\"prompt\":\"", 11);
    memcpy(body + LARGE - 2, "\"}", 2);
    int n = snprintf(
        head, sizeof head,
        "POST %s HTTP/1.1\r\n" HOST
        "Connection: close\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n",
        c->path, LARGE);
    bool sent = send(fd, head, (size_t)n, MSG_NOSIGNAL) == n;
    for (size_t at_byte = 0; sent && at_byte < LARGE;) {
        ssize_t m = send(fd, body + at_byte, LARGE - at_byte, MSG_NOSIGNAL);
        sent = m > 0;
        if (sent) at_byte += (size_t)m;
    }
    for (ssize_t m;
         got < sizeof answer - 1 && (m = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0;)
        got += (size_t)m;
    answer[got] = '\0';
    if (got > 12) c->status = (unsigned)strtoul(answer + 9, NULL, 10);
    const char *end = strstr(answer, "\r\n\r\n");
    snprintf(c->said, sizeof c->said, "%s", end != NULL ? end + 4 : "");
    c->of_memory = strstr(answer, "memory") != NULL || strstr(answer, "storage") != NULL;
    close(fd);
    free(body);
    return NULL;
}

static void send_many_large(unsigned port, const char *path) {
    struct large_caller callers[CALLERS] = {0};
    unsigned refused = 0;
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i].path = path;
        callers[i].port = port;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, send_large, &callers[i]), 0);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        if (callers[i].status != 200 && !(callers[i].status == 503 && callers[i].of_memory))
            fail_msg("%s: a large request got %u: %s", path, callers[i].status, callers[i].said);
        refused += callers[i].status == 503;
    }
    if (refused == 0) fail_msg("%s: no request met the ceiling", path);
}

static void M2_over_the_ceiling_of_memory_is_503(void **state) {
    struct server s;
    struct server_options o = {.config = config,
                               .args = {"--log-level", "warn"},
                               .through = {"prlimit", "--as=268435456"}};
    server_start(&s, &o);
    send_many_large(s.port, RUN);
    send_many_large(s.port, QUEUE);
    expect_to_work(s.port);
    server_stop(&s);
}

/* --- M3 */

static bool others_may_run_us(void) {
    return geteuid() == 0 &&
           system("setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null") == 0;
}

/* A start that dies of what it lacks says it: root has no limit of processes, so it is another user's. */
static void M3_no_threads_at_the_start_is_71(void **state) {
    char err[MAX_ERR], place[MAX_PATH], command[MAX_PATH * 4];
    if (!others_may_run_us()) {
        print_message("skip: wants to be root and setpriv\n");
        skip();
    }
    scratch_make(place);
    snprintf(command, sizeof command, "cp '%s' '%s/anyllm' && chmod 755 '%s'", anyllm_path, place,
             place);
    assert_int_equal(system(command), 0);
    const char *ours = anyllm_path;
    char copy[MAX_PATH + 8];
    snprintf(copy, sizeof copy, "%s/anyllm", place);
    anyllm_path = copy;
    struct server_options o = {.through = {"setpriv", "--reuid=65534", "--regid=65534",
                                           "--clear-groups", "prlimit", "--nproc=2"}};
    int code = server_fails(&o, err);
    anyllm_path = ours;
    scratch_remove(place);
    if (code != 71 || strstr(err, "threads can be started") == NULL)
        fail_msg("exit %d, and it said: %s", code, err);
    assert_ptr_equal(strchr(err, '\n') + 1, err + strlen(err));
}

/* --- M6 */

static unsigned free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static bool listens(unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return yes;
}

/* The server with this descriptor as stderr (-1: closed), so it cannot say where it listens. */
static pid_t launch(int err, unsigned port, const char *dir) {
    char listen[32], data[MAX_PATH + 8], file[MAX_PATH + 16];
    snprintf(listen, sizeof listen, "127.0.0.1:%u", port);
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(file, sizeof file, "%s/anyllm.yaml", dir);
    file_write(file, config, strlen(config));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_RDWR), STDOUT_FILENO);
        if (err >= 0)
            dup2(err, STDERR_FILENO);
        else
            close(STDERR_FILENO);
        execl(anyllm_path, "anyllm", "serve", "--config", file, "--listen", listen, "--data", data,
              "--log-level", "trace", (char *)NULL);
        _exit(127);
    }
    for (uint64_t end = now_ms() + PATIENCE_MS; !listens(port); sleep_ms(20))
        if (now_ms() > end) fail_msg("the server does not listen");
    return pid;
}

static void end(pid_t pid) {
    kill(pid, SIGTERM);
    int code = process_end(pid, PATIENCE_MS);
    if (code == INT32_MIN) kill(pid, SIGKILL);
    if (code == INT32_MIN) fail_msg("the server does not end");
    if (code != 0) fail_msg("the server ended with %d", code);
}

static void expect_to_work_without_log(int err) {
    char dir[MAX_PATH];
    unsigned port = free_port();
    scratch_make(dir);
    pid_t pid = launch(err, port, dir);
    for (int i = 0; i < 50; i++) expect_to_work(port);
    if (err >= 0) assert_true(metric(port, "anyllm_log_lines_dropped_total") > 0);
    end(pid);
    scratch_remove(dir);
}

static void M6_a_full_disk_of_the_log_stops_nothing(void **state) {
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    expect_to_work_without_log(full);
    close(full);
}

/* A reader of the log that stands still, as a stalled journal does: the pipe is full after 4 KiB. */
static void M6_a_reader_of_the_log_that_stalls_stops_nothing(void **state) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    expect_to_work_without_log(ends[1]);
    close(ends[0]);
    close(ends[1]);
}

static void M6_a_closed_log_stops_nothing(void **state) {
    expect_to_work_without_log(-1);
}

/* --- M7 */

static bool may_unshare(void) {
    return system("unshare -m true 2>/dev/null") == 0;
}

/* An empty /dev and no resolv.conf: chance comes from the kernel, names are an error of the calls that need one. */
static void M7_no_urandom_and_no_resolv_conf(void **state) {
    struct server s;
    static const char hide[] =
        "mount -t tmpfs none /dev && : >/dev/null && mount --bind /dev/null /etc/resolv.conf && exec \"$@\"";
    if (!may_unshare()) {
        print_message("skip: wants a mount namespace of its own\n");
        skip();
    }
    struct server_options o = {.config = config,
                               .args = {"--log-level", "warn"},
                               .through = {"unshare", "-m", "sh", "-c", hide, "sh"}};
    server_start(&s, &o);
    expect_to_work(s.port);
    server_stop(&s);
}

/* --- M10 */

static bool leaves_core(pid_t pid) {
    int status = 0;
    kill(pid, SIGSEGV);
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        fail_msg("it did not die of the signal");
    return WCOREDUMP(status);
}

static bool cores_are_made_here(void) {
    void (*caught)(int) = signal(SIGSEGV, SIG_DFL); /* by cmocka */
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir("/tmp") != 0) _exit(1);
        pause();
        _exit(0);
    }
    signal(SIGSEGV, caught);
    bool yes = leaves_core(pid);
    char path[64];
    snprintf(path, sizeof path, "/tmp/core.%d", (int)pid);
    unlink(path);
    unlink("/tmp/core");
    return yes;
}

static void M10_a_crash_leaves_no_core(void **state) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY}, was;
    struct server s;
    getrlimit(RLIMIT_CORE, &was);
    if (setrlimit(RLIMIT_CORE, &all) != 0 || !cores_are_made_here()) {
        setrlimit(RLIMIT_CORE, &was);
        print_message("skip: this machine makes no core files\n");
        skip();
    }
    server_start_with(&s, config);
    bool core = leaves_core(s.pid);
    setrlimit(RLIMIT_CORE, &was);
    scratch_remove(s.dir);
    assert_false(core);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(M2_over_the_ceiling_of_memory_is_503),
        cmocka_unit_test(M3_no_threads_at_the_start_is_71),
        cmocka_unit_test(M6_a_full_disk_of_the_log_stops_nothing),
        cmocka_unit_test(M6_a_reader_of_the_log_that_stalls_stops_nothing),
        cmocka_unit_test(M6_a_closed_log_stops_nothing),
        cmocka_unit_test(M7_no_urandom_and_no_resolv_conf),
        cmocka_unit_test(M10_a_crash_leaves_no_core),
    };
    return suite_main(argc, argv, "bad_machine", tests, sizeof tests / sizeof *tests, set_up,
                      tear_down);
}
