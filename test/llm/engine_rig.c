#include "engine_rig.h"

#include "base/log.h"
#include "gguf_make.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct engine_times quick = {20, 4000, 50, 300, 100, 1000, 60000, 300, true};

/* `hold DIR`: starts the engine of DIR with the fake and waits to be killed. */
static int hold(const char *dir) {
    struct rig *r = calloc(1, sizeof *r);
    if (r == NULL || net_loop_init(&r->loop) != 0) return 1;
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    snprintf(r->model, sizeof r->model, "%s/tiny.gguf", dir);
    snprintf(r->program, sizeof r->program, "%s", getenv("FAKE_ENGINE"));
    if (readlink("/proc/self/exe", r->self, sizeof r->self - 1) < 0) return 1;
    struct engine_options o = {.loop = &r->loop,
                               .random = &random_system,
                               .model_file = r->model,
                               .program = r->program,
                               .cache_dir = r->dir,
                               .data_dir = r->dir,
                               .self = r->self,
                               .slots = 8};
    r->engine = engine_new(&o, r->reason, sizeof r->reason);
    if (r->engine == NULL) return 66;
    engine_start(r->engine);
    net_loop_run(&r->loop);
    return 0;
}

bool rig_is_helper(int argc, char **argv, int *code) {
    signal(SIGPIPE, SIG_IGN);
    if (getenv("TEST_LOG") == NULL)
        log_set_level(LOG_ERROR);
    else
        log_set_level(LOG_DEBUG);
    if (argc > 2 && strcmp(argv[1], "engine-exec") == 0)
        *code = engine_exec_main(argc - 1, argv + 1);
    else if (argc == 3 && strcmp(argv[1], "hold") == 0)
        *code = hold(argv[2]);
    else
        return false;
    return true;
}

struct rig *rig_new(void) {
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    assert_int_equal(net_loop_init(&r->loop), 0);
    snprintf(r->dir, sizeof r->dir, "/tmp/anyllm-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->model, sizeof r->model, "%s/tiny.gguf", r->dir);
    assert_true(gguf_make_file(r->model));
    assert_true(readlink("/proc/self/exe", r->self, sizeof r->self - 1) > 0);
    const char *fake = getenv("FAKE_ENGINE");
    snprintf(r->program, sizeof r->program, "%s", fake != NULL ? fake : "fake_engine");
    rig_script(r, "");
    return r;
}

void rig_free(struct rig *r) {
    char command[128];
    net_loop_close(&r->loop);
    snprintf(command, sizeof command, "rm -rf '%s'", r->dir);
    assert_int_equal(system(command), 0);
    free(r);
}

const char *rig_path(struct rig *r, const char *name) {
    static char paths[4][4096];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", r->dir, name);
    return p;
}

void rig_script(struct rig *r, const char *words) {
    FILE *f = fopen(rig_path(r, "fake"), "w");
    assert_non_null(f);
    fputs(words, f);
    fclose(f);
}

static void on_state(void *user, enum engine_state state, const char *text) {
    struct rig *r = user;
    assert_true(r->nstates < RIG_STATES);
    r->states[r->nstates++] = state;
    r->nready += state == ENGINE_READY;
    r->ndown += state == ENGINE_DOWN;
    snprintf(r->text, sizeof r->text, "%s", text);
    if ((state == ENGINE_READY && r->nready == r->want_ready) ||
        (state == ENGINE_DOWN && r->ndown == r->want_down))
        net_loop_stop(&r->loop);
}

void rig_make(struct rig *r, bool calibrate, const struct engine_times *times) {
    struct engine_options o = {.loop = &r->loop,
                               .random = &random_system,
                               .model_file = r->model,
                               .program = r->program[0] != '\0' ? r->program : NULL,
                               .cache_dir = r->dir,
                               .data_dir = r->dir,
                               .self = r->self,
                               .slots = 8,
                               .calibrate = calibrate,
                               .on_state = on_state,
                               .user = r};
    r->engine = engine_new(&o, r->reason, sizeof r->reason);
    if (r->engine == NULL) fail_msg("%s", r->reason);
    engine_set_times(r->engine, times != NULL ? times : &quick);
}

static void on_patience(struct net_timer *t) {
    net_loop_stop(&((struct rig *)((char *)t - offsetof(struct rig, patience)))->loop);
}

void rig_turn(struct rig *r, uint32_t ms) {
    r->patience.fire = on_patience;
    uv_update_time(&r->loop.uv);
    net_timer_start(&r->loop, &r->patience, ms);
    net_loop_run(&r->loop);
    net_timer_stop(&r->loop, &r->patience);
}

bool rig_until_ready(struct rig *r, size_t times) {
    r->want_ready = times;
    if (r->nready < times) rig_turn(r, RIG_PATIENCE_MS);
    r->want_ready = 0;
    return r->nready >= times;
}

bool rig_until_down(struct rig *r, size_t times) {
    r->want_down = times;
    if (r->ndown < times) rig_turn(r, RIG_PATIENCE_MS);
    r->want_down = 0;
    return r->ndown >= times;
}

static void on_stopped(void *user) {
    struct rig *r = user;
    r->stopped = true;
    engine_free(r->engine);
    r->engine = NULL;
    net_loop_stop(&r->loop);
}

bool rig_stop(struct rig *r) {
    r->stopped = false;
    engine_stop(r->engine, on_stopped, r);
    assert_false(r->stopped); /* never inside engine_stop */
    rig_turn(r, RIG_PATIENCE_MS);
    return r->stopped;
}

int rig_started_pid(struct rig *r, size_t i) {
    int pid = 0, n = 0;
    FILE *f = fopen(rig_path(r, "starts"), "r");
    for (size_t k = 0; f != NULL && k <= i && (n = fscanf(f, "%d", &pid)) == 1; k++) continue;
    if (f != NULL) fclose(f);
    return n == 1 ? pid : 0;
}

size_t rig_starts(struct rig *r) {
    size_t n = 0;
    while (rig_started_pid(r, n) != 0) n++;
    return n;
}

/* A zombie is as good as gone: it only waits for whoever inherited it. */
static bool is_zombie(int pid) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return true;
    if (fscanf(f, "%*d %*s %c", &state) != 1) state = 0;
    fclose(f);
    return state == 'Z' || state == 'X';
}

bool rig_gone(int pid) {
    for (unsigned waited = 0; waited < RIG_PATIENCE_MS; waited += 10) {
        if (kill(pid, 0) != 0 || is_zombie(pid)) return true;
        usleep(10000);
    }
    return false;
}
