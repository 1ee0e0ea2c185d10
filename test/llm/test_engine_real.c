/* The supervisor with the real llama-server and the real model of the cache folder, as `make test` fetches them.
 * Skipped, with the reason, where they are not there or the engine does not run on this CPU. */
#include "base/json.h"
#include "engine_rig.h"
#include "llm/calibrate.h"
#include "llm/engine_child.h"
#include "llm/gguf.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

static char cache[2048], why[512];

static bool leave_out(const char *reason) {
    snprintf(why, sizeof why, "%s", reason);
    return false;
}

static bool find_cache(void) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg != NULL && xdg[0] == '/')
        snprintf(cache, sizeof cache, "%s/anyllm", xdg);
    else
        snprintf(cache, sizeof cache, "%s/.cache/anyllm", home != NULL ? home : "");
    char model[4096];
    snprintf(model, sizeof model, "%s/" MODEL, cache);
    return access(model, R_OK) == 0 ||
           leave_out("no model " MODEL " in the cache folder; scripts/fetch-model.sh fetches it");
}

static void on_state(void *user, enum engine_state state, const char *text) {
    struct rig *r = user;
    r->nready += state == ENGINE_READY;
    r->ndown += state == ENGINE_DOWN;
    snprintf(r->text, sizeof r->text, "%s", text);
    if ((state == ENGINE_READY && r->nready == r->want_ready) ||
        (state == ENGINE_DOWN && r->ndown == r->want_down))
        net_loop_stop(&r->loop);
}

/* Findings go to the rig's folder, the engine comes from the cache folder. */
static bool make_real(struct rig *r, bool calibrate) {
    char link[4096], target[4096];
    snprintf(r->model, sizeof r->model, "%s/" MODEL, cache);
    for (size_t i = 0; i < 2; i++) {
        snprintf(target, sizeof target, "%s/%s", cache, i == 0 ? "engine" : "engine-src");
        snprintf(link, sizeof link, "%s/%s", r->dir, i == 0 ? "engine" : "engine-src");
        if (symlink(target, link) != 0 && access(link, F_OK) != 0) unlink(link);
    }
    struct engine_options o = {.loop = &r->loop,
                               .random = &random_system,
                               .model_file = r->model,
                               .program = getenv("ANYLLM_ENGINE"),
                               .cache_dir = r->dir,
                               .data_dir = r->dir,
                               .self = r->self,
                               .slots = 8,
                               .calibrate = calibrate,
                               .on_state = on_state,
                               .user = r};
    r->engine = engine_new(&o, r->reason, sizeof r->reason);
    return r->engine != NULL || leave_out(r->reason);
}

/* READY, or false with `why` when there is no engine for this machine. */
static bool start_real(struct rig *r, bool calibrate) {
    if (!find_cache() || !make_real(r, calibrate)) return false;
    struct engine_times times = ENGINE_TIMES_DEFAULT;
    times.calibrate_busy = true;
    engine_set_times(r->engine, &times);
    engine_start(r->engine);
    r->want_down = 1;
    bool ready = rig_until_ready(r, 1);
    r->want_down = 0;
    if (!ready && strstr(r->text, "instructions that this CPU does not have") != NULL)
        return leave_out(r->text);
    if (!ready) fail_msg("%s", r->text);
    return true;
}

#define START_OR_SKIP(r, calibrate)       \
    if (!start_real((r), (calibrate))) {  \
        print_message("skip: %s\n", why); \
        skip();                           \
    }

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

struct answer {
    struct rig *rig;
    unsigned status;
    char body[16384];
};

static void on_answer(void *user, unsigned status, struct slice body) {
    struct answer *a = user;
    a->status = status;
    snprintf(a->body, sizeof a->body, "%.*s", SLICE_ARG(body));
    net_loop_stop(&a->rig->loop);
}

static void ask(struct rig *r, struct answer *a, const struct secret *key) {
    *a = (struct answer){.rig = r};
    struct engine_call_options o = {
        .loop = &r->loop,
        .socket = engine_socket(r->engine),
        .key = key,
        .path = "/v1/chat/completions",
        .body = SLICE(
            "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the meaning of life?\"}],"
            "\"max_tokens\":32,\"temperature\":0}"),
        .timeout_ms = 60000,
        .on_end = on_answer,
        .user = a};
    assert_non_null(engine_call_start(&o));
    rig_turn(r, RIG_PATIENCE_MS);
}

static void real_engine_answers_with_its_key_only(void **state) {
    struct rig *r = *state;
    struct answer a;
    START_OR_SKIP(r, false);
    ask(r, &a, engine_key(r->engine));
    assert_int_equal(a.status, 200);
    /* What a model of this size says is left to it. */
    if (strstr(a.body, "\"completion_tokens\":") == NULL ||
        strstr(a.body, "\"content\":\"\"") != NULL)
        fail_msg("%s", a.body);
    ask(r, &a, NULL);
    assert_int_equal(a.status, 401);
}

static void real_engine_comes_back_after_kill_9_and_leaves_nothing(void **state) {
    struct rig *r = *state;
    struct answer a;
    START_OR_SKIP(r, false);
    int first = engine_child_process(r->engine);
    assert_int_equal(kill(first, SIGKILL), 0);
    assert_true(rig_until_ready(r, 2));
    int second = engine_child_process(r->engine);
    assert_int_not_equal(first, second);
    ask(r, &a, engine_key(r->engine));
    assert_int_equal(a.status, 200);
    assert_true(rig_stop(r));
    assert_int_equal(kill(second, 0), -1);
    assert_int_equal(access(rig_path(r, "engine.sock"), F_OK), -1);
}

static void real_engine_is_calibrated_and_runs(void **state) {
    struct rig *r = *state;
    struct answer a;
    START_OR_SKIP(r, true);
    ask(r, &a, engine_key(r->engine));
    assert_int_equal(a.status, 200);
}

static void real_model_cut_anywhere_is_refused_before_the_start(void **state) {
    struct rig *r = *state;
    struct gguf_info info;
    char from[4096], command[12000];
    if (!find_cache()) {
        print_message("skip: %s\n", why);
        skip();
    }
    snprintf(from, sizeof from, "%s/" MODEL, cache);
    assert_true(gguf_check_file(from, &info, r->reason, sizeof r->reason));
    assert_true(info.context_tokens > 0);
    for (unsigned kib = 1; kib < 98362432 / 1024; kib = kib * 3 + 1) {
        snprintf(command, sizeof command, "head -c %uK '%s' >'%s'", kib, from, r->model);
        assert_int_equal(system(command), 0);
        assert_false(gguf_check_file(r->model, &info, r->reason, sizeof r->reason));
        assert_non_null(strstr(r->reason, "is cut off"));
    }
    snprintf(command, sizeof command, "head -c -1 '%s' >'%s'", from, r->model);
    assert_int_equal(system(command), 0);
    assert_false(gguf_check_file(r->model, &info, r->reason, sizeof r->reason));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv) {
    int code;
    if (rig_is_helper(argc, argv, &code)) return code;
    const struct CMUnitTest tests[] = {
        TEST(real_model_cut_anywhere_is_refused_before_the_start),
        TEST(real_engine_answers_with_its_key_only),
        TEST(real_engine_comes_back_after_kill_9_and_leaves_nothing),
        TEST(real_engine_is_calibrated_and_runs),
    };
    return cmocka_run_group_tests_name("engine_real", tests, NULL, NULL);
}
