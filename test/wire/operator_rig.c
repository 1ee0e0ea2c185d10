#include "operator_rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct server server;
char folder[MAX_PATH], data[MAX_PATH + 8], file[MAX_PATH + 16], config[1024];

int begin(void **state) {
    scratch_make(folder);
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(file, sizeof file, "%s/anyllm.yaml", folder);
    file_write(file, config, strlen(config));
    return 0;
}

int end(void **state) {
    server_stop(&server);
    scratch_remove(folder);
    return 0;
}

void serve(void) {
    struct server_options o = {.config = config, .data = data};
    server_start(&server, &o);
}

void kill_server(void) {
    kill(server.pid, SIGKILL);
    waitpid(server.pid, NULL, 0);
    server.pid = 0;
    scratch_remove(server.dir);
}

void command_to(struct program *p, int out, char *const *argv) {
    char home[MAX_PATH + 8], dir[MAX_PATH + 32], was[MAX_PATH];
    snprintf(home, sizeof home, "HOME=%s", folder);
    snprintf(dir, sizeof dir, "ANYLLM_DATA=%s", data);
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(folder), 0);
    program_begin(p, anyllm_path, "", out, ENV(home, dir, (char[]){"ASAN_OPTIONS=detect_leaks=0"}),
                  argv);
    assert_int_equal(chdir(was), 0);
}

void command(struct program *p, char *const *argv) {
    command_to(p, -1, argv);
}

void program_ends(struct program *p) {
    siginfo_t ended = {0};
    for (uint64_t end = now_ms() + PATIENCE_MS; ended.si_pid == 0 && now_ms() < end; sleep_ms(10))
        assert_int_equal(waitid(P_PID, (id_t)p->pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    if (ended.si_pid == 0) kill(p->pid, SIGKILL);
    program_end(p);
}

void expect_code(const struct program *p, int code) {
    if (p->code != code) fail_msg("%d instead of %d:\n%s%s", p->code, code, p->out, p->err);
}
