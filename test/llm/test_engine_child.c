/* The supervisor against a scripted engine that crashes, hangs, lies and ignores signals. */
#include "engine_rig.h"

#include "llm/calibrate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int set_up(void **state) {
    *state = rig_new();
    return 0;
}

static int tear_down(void **state) {
    struct rig *r = *state;
    if (r->engine != NULL) rig_stop(r);
    rig_free(r);
    return 0;
}

/* --- coming up --- */

static void engine_is_loading_until_health_says_200(void **state) {
    struct rig *r = *state;
    rig_script(r, "load 200");
    rig_make(r, false, NULL);
    assert_int_equal(engine_get_state(r->engine), ENGINE_STOPPED);
    engine_start(r->engine);
    assert_int_equal(engine_get_state(r->engine), ENGINE_LOADING);
    assert_string_equal(engine_state_text(r->engine), "loading tiny.gguf");
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(r->nstates, 2);
    assert_int_equal(engine_slots(r->engine), 8);
    assert_int_equal(secret_reveal(engine_key(r->engine)).len, 64);
    assert_string_equal(engine_socket(r->engine), rig_path(r, "engine.sock"));
}

static void key_is_in_a_private_file_and_not_in_the_arguments(void **state) {
    struct rig *r = *state;
    struct stat st;
    char path[64], line[16384];
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(stat(rig_path(r, "engine.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(path, sizeof path, "/proc/%d/cmdline", engine_child_process(r->engine));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(line, 1, sizeof line, f);
    fclose(f);
    struct slice key = secret_reveal(engine_key(r->engine));
    assert_true(n > 0);
    assert_null(memmem(line, n, key.ptr, key.len));
}

static void child_has_only_the_standard_descriptors_and_a_session_of_its_own(void **state) {
    struct rig *r = *state;
    char command[128], line[256] = "";
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might leave one */
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    int pid = engine_child_process(r->engine);
    close(leak);
    assert_int_equal(getsid(pid), pid);
    snprintf(command, sizeof command, "readlink /proc/%d/fd/* | grep -c /dev/null", pid);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    pclose(p);
    assert_string_equal(line, "1\n"); /* standard input */
}

static void socket_left_over_by_a_dead_engine_is_no_hindrance(void **state) {
    struct rig *r = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/engine.sock", r->dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(r->ndown, 0);
}

static void engines_of_one_data_folder_do_not_meet(void **state) {
    struct rig *r = *state;
    struct engine_options o = {.loop = &r->loop,
                               .random = &random_system,
                               .model_file = r->model,
                               .program = r->program,
                               .cache_dir = r->dir,
                               .data_dir = r->dir,
                               .self = r->self,
                               .slots = 8,
                               .number = 1};
    rig_make(r, false, NULL);
    struct engine *other = engine_new(&o, r->reason, sizeof r->reason);
    assert_non_null(other);
    assert_string_not_equal(engine_socket(r->engine), engine_socket(other));
    engine_free(other);
}

static void much_output_does_not_hold_the_engine_up(void **state) {
    struct rig *r = *state;
    rig_script(r, "hiss 1");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
}

/* --- trouble --- */

static void engine_comes_back_after_it_was_killed(void **state) {
    struct rig *r = *state;
    rig_make(r, false, NULL);
    engine_start(r->engine);
    for (size_t i = 1; i <= 3; i++) {
        assert_true(rig_until_ready(r, i));
        assert_int_equal(kill(engine_child_process(r->engine), SIGKILL), 0);
        assert_true(rig_until_down(r, i));
        assert_non_null(strstr(r->text, "signal 9"));
        assert_int_equal(engine_child_process(r->engine), 0);
    }
    assert_true(rig_until_ready(r, 4));
    assert_int_equal(rig_starts(r), 4);
}

static void text_carries_what_a_failing_engine_said(void **state) {
    struct rig *r = *state;
    rig_script(r, "exit 3");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_down(r, 1));
    assert_non_null(strstr(
        r->text, "ended with code 3: llama_model_load: error loading model: the tensor is bad"));
    assert_non_null(strstr(r->text, "starts again in 0."));
    assert_true(rig_until_down(r, 2));
    assert_int_equal(r->states[2], ENGINE_LOADING);
}

static void waits_between_starts_grow_to_a_limit(void **state) {
    struct rig *r = *state;
    struct engine_times t = {20, 4000, 50, 300, 40, 400, 60000, 300, true};
    double last = 0;
    rig_script(r, "exit 1");
    rig_make(r, false, &t);
    engine_start(r->engine);
    for (size_t i = 1; i <= 8; i++) {
        assert_true(rig_until_down(r, i));
        const char *at = strstr(r->text, "starts again in ");
        assert_non_null(at);
        last = strtod(at + strlen("starts again in "), NULL);
        assert_true(last <= 0.5); /* 400 ms and a quarter of it */
    }
    assert_true(last >= 0.2); /* it began at 0.04 */
}

static void engine_that_hangs_is_ended_and_started_again(void **state) {
    struct rig *r = *state;
    rig_script(r, "stop 50");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    int pid = engine_child_process(r->engine);
    assert_true(rig_until_down(r, 1));
    assert_non_null(strstr(r->text, "hung"));
    assert_true(rig_gone(pid));
    rig_script(r, "");
    assert_true(rig_until_ready(r, 2));
}

static void engine_that_never_answers_is_ended(void **state) {
    struct rig *r = *state;
    struct engine_times t = {20, 300, 50, 300, 100, 1000, 60000, 300, true};
    rig_script(r, "silent 1");
    rig_make(r, false, &t);
    engine_start(r->engine);
    assert_true(rig_until_down(r, 1));
    assert_non_null(strstr(r->text, "did not answer while loading"));
    assert_true(rig_gone(rig_started_pid(r, 0)));
}

static void program_that_cannot_be_executed_is_told(void **state) {
    struct rig *r = *state;
    snprintf(r->program, sizeof r->program, "%s/not-elf", r->dir);
    FILE *f = fopen(r->program, "w");
    assert_non_null(f);
    fputs("\177ELF but not really", f);
    fclose(f);
    assert_int_equal(chmod(r->program, 0755), 0);
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_down(r, 1));
    assert_non_null(strstr(r->text, "cannot execute"));
    assert_non_null(strstr(r->text, "Exec format error"));
}

static void run_folder_that_vanished_is_told(void **state) {
    struct rig *r = *state;
    char data[128];
    snprintf(data, sizeof data, "%s/data", r->dir);
    assert_int_equal(mkdir(data, 0700), 0);
    struct engine_options o = {.loop = &r->loop,
                               .random = &random_system,
                               .model_file = r->model,
                               .program = r->program,
                               .cache_dir = r->dir,
                               .data_dir = data,
                               .self = r->self,
                               .slots = 1};
    r->engine = engine_new(&o, r->reason, sizeof r->reason);
    assert_non_null(r->engine);
    assert_int_equal(rmdir(data), 0);
    engine_start(r->engine);
    assert_int_equal(engine_get_state(r->engine), ENGINE_DOWN);
    assert_non_null(strstr(engine_state_text(r->engine), "no such file"));
}

/* cache/engine holds a build for another CPU, cache/engine-src one that fits. */
static void lay_out_two_programs(struct rig *r, const char *first, const char *second) {
    const char *const folders[] = {"engine", "engine-src"}, *const scripts[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        char command[16384];
        assert_int_equal(mkdir(rig_path(r, folders[i]), 0755), 0);
        snprintf(command, sizeof command, "cp '%s' '%s/%s/llama-server' && echo '%s' >'%s/%s/fake'",
                 r->program, r->dir, folders[i], scripts[i], r->dir, folders[i]);
        assert_int_equal(system(command), 0);
    }
    r->program[0] = '\0'; /* look for it */
}

static void engine_unfit_for_the_cpu_gives_way_to_the_next_one(void **state) {
    struct rig *r = *state;
    lay_out_two_programs(r, "signal 4", "load 10");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(r->ndown, 0);
    assert_int_equal(rig_starts(r), 2);
}

static void engine_unfit_for_the_cpu_gives_way_during_calibration_too(void **state) {
    struct rig *r = *state;
    lay_out_two_programs(r, "signal 4", "load 10");
    rig_make(r, true, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(r->ndown, 0);
}

static void engine_unfit_for_the_cpu_without_another_says_what_to_do(void **state) {
    struct rig *r = *state;
    lay_out_two_programs(r, "signal 4", "signal 4");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_down(r, 1));
    assert_non_null(strstr(r->text, "make engine-from-source"));
}

/* --- stopping --- */

static void stop_ends_the_child_and_leaves_nothing(void **state) {
    struct rig *r = *state;
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    int pid = engine_child_process(r->engine);
    assert_true(rig_stop(r));
    assert_int_equal(r->states[r->nstates - 1], ENGINE_STOPPED);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(access(rig_path(r, "engine.sock"), F_OK), -1);
    assert_int_equal(access(rig_path(r, "engine.key"), F_OK), -1);
}

static void stop_kills_a_child_that_ignores_term(void **state) {
    struct rig *r = *state;
    rig_script(r, "deaf 1");
    rig_make(r, false, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    int pid = engine_child_process(r->engine);
    assert_true(rig_stop(r));
    assert_int_equal(kill(pid, 0), -1);
}

static void stop_works_in_every_state(void **state) {
    struct rig *r = *state;
    rig_make(r, false, NULL); /* never started */
    assert_true(rig_stop(r));
    rig_script(r, "load 100000");
    rig_make(r, false, NULL); /* loading */
    engine_start(r->engine);
    rig_turn(r, 200);
    assert_true(rig_stop(r));
    rig_script(r, "exit 1");
    rig_make(r, false, NULL); /* down */
    engine_start(r->engine);
    assert_true(rig_until_down(r, r->ndown + 1));
    assert_true(rig_stop(r));
    rig_script(r, "load 100000");
    rig_make(r, true, NULL); /* calibrating */
    engine_start(r->engine);
    rig_turn(r, 200);
    assert_int_equal(engine_get_state(r->engine), ENGINE_CALIBRATING);
    assert_true(rig_stop(r));
    for (size_t i = 0; i < rig_starts(r); i++) assert_int_equal(kill(rig_started_pid(r, i), 0), -1);
}

static void child_dies_with_a_parent_that_is_killed(void **state) {
    struct rig *r = *state;
    rig_script(r, "deaf 1");
    pid_t parent = fork();
    if (parent == 0) {
        execl(r->self, r->self, "hold", r->dir, (char *)NULL);
        _exit(127);
    }
    while (rig_starts(r) == 0) usleep(10000);
    int pid = rig_started_pid(r, 0);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_true(rig_gone(pid));
}

static void orphan_does_not_start_an_engine(void **state) {
    (void)state;
    char *args[] = {"engine-exec", "1", "/bin/true", NULL}; /* our parent is not process 1 */
    if (getppid() == 1) skip();
    pid_t child = fork();
    int status = 0;
    if (child == 0) _exit(engine_exec_main(3, args));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 69);
}

/* --- calibration --- */

static struct finding kept_finding(struct rig *r, bool *found) {
    struct machine m;
    struct finding f = {0};
    machine_read(&m);
    struct finding_key k = {r->dir, r->program, r->model, 8, &m};
    char real[4096];
    if (realpath(r->program, real) != NULL) k.program = real;
    *found = finding_load(&k, &f);
    return f;
}

static bool one_core(void) {
    struct machine m;
    machine_read(&m);
    return m.cores < 2;
}

static void calibration_finds_the_fastest_keeps_it_and_uses_it_again(void **state) {
    struct rig *r = *state;
    bool found;
    if (one_core()) skip();
    rig_script(r,
               "spin 400 plain 60 single 400"); /* sleeping threads win here, against the default */
    rig_make(r, true, NULL);
    engine_start(r->engine);
    assert_int_equal(engine_get_state(r->engine), ENGINE_CALIBRATING);
    assert_true(rig_until_ready(r, 1));
    struct finding f = kept_finding(r, &found);
    if (found) { /* not on a machine too busy for it */
        assert_int_equal(f.tuning.spin, 0);
        assert_true(f.tuning.threads > 1);
    }
    assert_null(strstr(r->text, "awake"));
    assert_true(rig_stop(r));
    if (!found) return;
    size_t starts = rig_starts(r);
    r->nstates = r->nready = 0;
    rig_make(r, true, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    assert_int_equal(r->states[0], ENGINE_LOADING);
    assert_int_equal(rig_starts(r), starts + 1);
    assert_null(strstr(r->text, "awake"));
}

static void calibration_waits_for_idle_cores(void **state) {
    struct rig *r = *state;
    struct engine_times t = {20, 4000, 50, 300, 100, 1000, 60000, 300, false};
    pid_t busy[64];
    struct machine m;
    bool found;
    machine_read(&m);
    if (m.cores < 2 || m.cores > 64) skip();
    for (unsigned i = 0; i < m.cores; i++) {
        busy[i] = fork();
        while (busy[i] == 0) continue;
    }
    rig_make(r, true, &t);
    engine_start(r->engine);
    bool ready = rig_until_ready(r, 1);
    for (unsigned i = 0; i < m.cores; i++) {
        kill(busy[i], SIGKILL);
        waitpid(busy[i], NULL, 0);
    }
    assert_true(ready);
    assert_int_equal(rig_starts(r), 1); /* no candidate, the engine alone */
    kept_finding(r, &found);
    assert_false(found);
}

static void calibration_that_fails_leaves_the_default(void **state) {
    struct rig *r = *state;
    bool found;
    if (one_core()) skip();
    rig_script(r, "exit 5");
    rig_make(r, true, NULL);
    engine_start(r->engine);
    rig_script(r, "exit 5");
    assert_true(rig_until_down(r, 1));
    kept_finding(r, &found);
    assert_false(found);
    rig_script(r, "");
    assert_true(rig_until_ready(r, 1));
    assert_non_null(strstr(r->text, "awake"));
}

static void calibration_leaves_no_child_and_no_socket(void **state) {
    struct rig *r = *state;
    if (one_core()) skip();
    rig_script(r, "spin 20 plain 20 single 20 deaf 1");
    rig_make(r, true, NULL);
    engine_start(r->engine);
    assert_true(rig_until_ready(r, 1));
    size_t starts = rig_starts(r);
    assert_true(starts >= 5); /* four candidates at least, and the engine itself */
    for (size_t i = 0; i + 1 < starts; i++) assert_int_equal(kill(rig_started_pid(r, i), 0), -1);
    assert_int_equal(access(rig_path(r, "try0.0.sock"), F_OK), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv) {
    int code;
    if (rig_is_helper(argc, argv, &code)) return code;
    const struct CMUnitTest tests[] = {
        TEST(engine_is_loading_until_health_says_200),
        TEST(key_is_in_a_private_file_and_not_in_the_arguments),
        TEST(child_has_only_the_standard_descriptors_and_a_session_of_its_own),
        TEST(socket_left_over_by_a_dead_engine_is_no_hindrance),
        TEST(engines_of_one_data_folder_do_not_meet),
        TEST(much_output_does_not_hold_the_engine_up),
        TEST(engine_comes_back_after_it_was_killed),
        TEST(text_carries_what_a_failing_engine_said),
        TEST(waits_between_starts_grow_to_a_limit),
        TEST(engine_that_hangs_is_ended_and_started_again),
        TEST(engine_that_never_answers_is_ended),
        TEST(program_that_cannot_be_executed_is_told),
        TEST(run_folder_that_vanished_is_told),
        TEST(engine_unfit_for_the_cpu_gives_way_to_the_next_one),
        TEST(engine_unfit_for_the_cpu_gives_way_during_calibration_too),
        TEST(engine_unfit_for_the_cpu_without_another_says_what_to_do),
        TEST(stop_ends_the_child_and_leaves_nothing),
        TEST(stop_kills_a_child_that_ignores_term),
        TEST(stop_works_in_every_state),
        TEST(child_dies_with_a_parent_that_is_killed),
        TEST(orphan_does_not_start_an_engine),
        TEST(calibration_finds_the_fastest_keeps_it_and_uses_it_again),
        TEST(calibration_waits_for_idle_cores),
        TEST(calibration_that_fails_leaves_the_default),
        TEST(calibration_leaves_no_child_and_no_socket),
    };
    return cmocka_run_group_tests_name("engine_child", tests, NULL, NULL);
}
