/* Calls to the local model: the engine here is a stand-in whose states the test sets, behind it the scripted upstream on
 * a Unix socket. */
#include "call_rig.h"

#include <stdlib.h>
#include <unistd.h>

#define ALIAS "local/small"

/* --- the stand-in for engine.c */

struct engine {
    struct engine_options o;
    struct secret key;
    enum engine_state state;
    const char *text;
    char socket[108];
};

static struct engine *present; /* the one of the test that runs */
static char folder[64], path[108];

struct engine *engine_new(const struct engine_options *o, char *reason, size_t size) {
    struct engine *e = calloc(1, sizeof *e);
    if (strcmp(o->model_file, "missing.gguf") == 0) {
        free(e);
        snprintf(reason, size, "no model: run `make demo` once");
        return NULL;
    }
    e->o = *o;
    e->state = ENGINE_DOWN;
    e->text = "not started";
    assert_true(secret_set(&e->key, SLICE("engine-key")));
    snprintf(e->socket, sizeof e->socket, "%s", path);
    return present = e;
}

static void set_state(enum engine_state s, const char *text) {
    present->state = s;
    present->text = text;
    present->o.on_state(present->o.user, s, text);
}

void engine_start(struct engine *e) {
    set_state(ENGINE_LOADING, "loading small.gguf");
}

enum engine_state engine_get_state(const struct engine *e) {
    return e->state;
}

const char *engine_state_text(const struct engine *e) {
    return e->text;
}

unsigned engine_slots(const struct engine *e) {
    return e->o.slots;
}

const char *engine_socket(const struct engine *e) {
    return e->socket;
}

const struct secret *engine_key(const struct engine *e) {
    return &e->key;
}

void engine_stop(struct engine *e, void (*on_stopped)(void *user), void *user) {
    e->state = ENGINE_STOPPED;
    on_stopped(user);
}

void engine_free(struct engine *e) {
    secret_free(&e->key);
    free(e);
    present = NULL;
}

/* --- the room with a local upstream, and maybe a second one */

static struct got a, b;

static void on_capacity(void *user) {
    ((struct rig *)user)->capacity_calls++;
}

static void on_closed(void *user) {
    ((struct rig *)user)->closed = true;
}

static void open_local(struct rig *r, bool with_lab) {
    struct config_error err = {0};
    *r = (struct rig){0};
    log_set_level(LOG_ERROR);
    assert_int_equal(net_loop_init(&r->loop), 0);
    r->upstreams[0] = (struct config_upstream){.name = SLICE("local"),
                                               .kind = UPSTREAM_LOCAL,
                                               .model_file = "small.gguf",
                                               .alias = SLICE(ALIAS),
                                               .concurrency = 8,
                                               .connect_ms = 1000,
                                               .first_byte_ms = 200,
                                               .idle_ms = 1000,
                                               .total_ms = 5000,
                                               .default_max_tokens = 16};
    r->upstreams[1] = r->upstreams[0];
    r->upstreams[1].name = SLICE("lab");
    r->upstreams[1].kind = UPSTREAM_OPENAI;
    r->upstreams[1].host = "127.0.0.1";
    r->upstreams[1].port = mock_port();
    r->upstreams[1].base_path = SLICE("/v1");
    r->to[1] = 1;
    r->route = (struct config_route){SLICE("*"), 2, r->to};
    r->config = (struct config){.nupstreams = with_lab ? 2 : 1,
                                .upstreams = r->upstreams,
                                .nroutes = with_lab,
                                .routes = &r->route};
    r->catalogue = catalogue_load(NULL, &err);
    struct llm_options o = {.loop = &r->loop,
                            .clock = &clock_system,
                            .random = &random_system,
                            .config = &r->config,
                            .catalogue = r->catalogue,
                            .on_capacity = on_capacity,
                            .user = r};
    r->m = llm_new(&o, &err);
    assert_non_null(r->m);
}

static void close_local(struct rig *r) {
    got_free(&a);
    got_free(&b);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    llm_close(r->m, on_closed, r);
    while (!r->closed) uv_run(&r->loop.uv, UV_RUN_ONCE);
    net_loop_close(&r->loop);
    catalogue_free(r->catalogue);
}

static void begin(struct rig *r, struct got *g, const char *how) {
    struct llm_request q = rig_request(how);
    struct llm_error err;
    got_init(g, r);
    g->call = llm_start(r->m, &q, strcmp(how, "direct") == 0 ? &rig_end_only : &rig_queue, g, &err);
    assert_non_null(g->call);
}

static void only_a_local_model_answers_every_model(void **state) {
    struct rig r;
    open_local(&r, false);
    assert_false(llm_ready(r.m));
    llm_start_engines(r.m);
    set_state(ENGINE_READY, "ready");
    assert_true(llm_ready(r.m));
    rig_call(&r, &a, "direct");
    assert_int_equal(a.fault, LLM_OK);
    assert_string_equal(a.model, ALIAS);
    assert_string_equal(a.upstream, "local");
    close_local(&r);
}

static void calls_wait_for_the_engine_and_say_so(void **state) {
    struct rig r;
    open_local(&r, false);
    llm_start_engines(r.m);
    begin(&r, &a, "queue");
    begin(&r, &b, "direct");
    rig_turns(&r, 30);
    set_state(ENGINE_CALIBRATING, "measuring thread counts");
    rig_turns(&r, 30);
    assert_int_equal(a.ends + b.ends, 0);
    set_state(ENGINE_READY, "ready");
    rig_wait(&a);
    if (b.ends == 0) rig_wait(&b);
    assert_int_equal(a.fault + b.fault, LLM_OK);
    assert_non_null(strstr(a.log, "INFO waiting for the engine: loading small.gguf\n"));
    assert_non_null(strstr(a.log, "INFO waiting for the engine: measuring thread counts\n"));
    assert_non_null(
        strstr(a.log, "upstream local answers; " RIG_MODEL " was asked for, " ALIAS " is used\n"));
    close_local(&r);
}

static void direct_call_waits_for_the_engine_no_longer_than_first_byte(void **state) {
    struct rig r;
    open_local(&r, false);
    llm_start_engines(r.m);
    begin(&r, &a, "direct");
    begin(&r, &b, "queue");
    rig_wait(&a);
    assert_int_equal(a.fault, LLM_ENGINE);
    assert_string_equal(a.message, "the local engine is not running: loading small.gguf");
    assert_int_equal(b.ends, 0);
    llm_cancel(b.call);
    b.call = NULL;
    struct llm_upstream_stats s;
    llm_get_stats(r.m, 0, &s);
    assert_int_equal(s.in_flight, 0);
    close_local(&r);
}

static void direct_call_goes_elsewhere_while_the_engine_loads(void **state) {
    struct rig r;
    open_local(&r, true);
    llm_start_engines(r.m);
    begin(&r, &a, "direct");
    rig_wait(&a);
    assert_string_equal(a.upstream, "lab");
    got_free(&a);
    begin(&r, &a, "queue"); /* a queued one waits for it */
    rig_turns(&r, 50);
    assert_int_equal(a.ends, 0);
    set_state(ENGINE_READY, "ready");
    rig_wait(&a);
    assert_string_equal(a.upstream, "local");
    close_local(&r);
}

/* The engine died and its news have not come yet. */
static void refused_socket_is_the_engines_fault(void **state) {
    struct rig r;
    open_local(&r, false);
    llm_start_engines(r.m);
    set_state(ENGINE_READY, "ready");
    char there[sizeof path + 8];
    snprintf(there, sizeof there, "%s.away", path);
    assert_int_equal(rename(path, there), 0);
    rig_call(&r, &a, "queue");
    assert_int_equal(rename(there, path), 0);
    assert_int_equal(a.fault, LLM_ENGINE);
    assert_true(llm_fault_info(a.fault)->retryable);
    assert_null(strstr(a.message, folder));
    close_local(&r);
}

static void restarted_engine_gets_fresh_connections(void **state) {
    struct rig r;
    open_local(&r, false);
    llm_start_engines(r.m);
    for (int i = 0; i < 3; i++) {
        set_state(ENGINE_READY, "ready");
        rig_turns(&r, 1);
        assert_true(r.capacity_calls > 0);
        rig_call(&r, &a, "direct");
        assert_int_equal(a.fault, LLM_OK);
        got_free(&a);
        set_state(ENGINE_DOWN, "ended by signal 9, starting again");
        assert_false(llm_ready(r.m));
    }
    close_local(&r);
}

static void missing_model_is_said_with_exit_66(void **state) {
    struct net_loop loop;
    struct config_upstream up = {
        .name = SLICE("local"), .kind = UPSTREAM_LOCAL, .model_file = "missing.gguf"};
    struct config config = {.nupstreams = 1, .upstreams = &up};
    struct config_error err = {0};
    assert_int_equal(net_loop_init(&loop), 0);
    struct catalogue *cat = catalogue_load(NULL, &err);
    struct llm_options o = {
        .loop = &loop, .clock = &clock_system, .config = &config, .catalogue = cat};
    assert_null(llm_new(&o, &err));
    assert_int_equal(err.exit_code, 66);
    assert_string_equal(err.text, "no model: run `make demo` once");
    catalogue_free(cat);
    net_loop_close(&loop);
}

static int start(void **state) {
    snprintf(folder, sizeof folder, "/tmp/anyllm-local-XXXXXX");
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(path, sizeof path, "%s/engine.sock", folder);
    return mock_start(path);
}

static int stop(void **state) {
    mock_stop();
    unlink(path);
    rmdir(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_local_model_answers_every_model),
        cmocka_unit_test(calls_wait_for_the_engine_and_say_so),
        cmocka_unit_test(direct_call_waits_for_the_engine_no_longer_than_first_byte),
        cmocka_unit_test(direct_call_goes_elsewhere_while_the_engine_loads),
        cmocka_unit_test(refused_socket_is_the_engines_fault),
        cmocka_unit_test(restarted_engine_gets_fresh_connections),
        cmocka_unit_test(missing_model_is_said_with_exit_66),
    };
    return cmocka_run_group_tests_name("llm/local", tests, start, stop);
}
