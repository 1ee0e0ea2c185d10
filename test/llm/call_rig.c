#include "call_rig.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the mock */

static pid_t mock_pid;
static uint16_t port;

static void exec_mock(int out, const char *path) {
    const char *program = getenv("MOCKLLM");
    dup2(out, STDOUT_FILENO);
    if (path != NULL)
        execl(program, program, "--port", "0", "--die-with-parent", "--unix", path, (char *)NULL);
    else
        execl(program, program, "--port", "0", "--die-with-parent", (char *)NULL);
    _exit(127);
}

int mock_start(const char *path) {
    int fds[2];
    char line[64] = "";
    unsigned n = 0;
    if (getenv("MOCKLLM") == NULL || pipe(fds) != 0) return 1;
    mock_pid = fork();
    if (mock_pid == 0) exec_mock(fds[1], path);
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    while (f != NULL && port == 0 && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "listening on %u\n", &n) == 1 && n < 65536) port = (uint16_t)n;
    if (f != NULL) fclose(f);
    return port != 0 ? 0 : 1;
}

void mock_stop(void) {
    kill(mock_pid, SIGTERM);
    waitpid(mock_pid, NULL, 0);
}

uint16_t mock_port(void) {
    return port;
}

/* A port that was free a moment ago. */
static uint16_t dead_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* --- the room */

static void on_capacity(void *user) {
    ((struct rig *)user)->capacity_calls++;
}

static void fill_upstream(struct rig *r, size_t i, const char *path) {
    static const char *const names[RIG_UPSTREAMS] = {"u0", "u1", "u2", "u3"};
    bool nobody = strcmp(path, RIG_NOBODY) == 0;
    r->upstreams[i] = (struct config_upstream){.name = slice_of(names[i]),
                                               .kind = UPSTREAM_OPENAI,
                                               .host = "127.0.0.1",
                                               .port = nobody ? dead_port() : port,
                                               .base_path = slice_of(nobody ? "/v1" : path),
                                               .concurrency = 64,
                                               .connect_ms = 2000,
                                               .first_byte_ms = 300,
                                               .idle_ms = 300,
                                               .total_ms = 20000,
                                               .default_max_tokens = 1024};
    assert_true(secret_set(&r->upstreams[i].key, SLICE(RIG_KEY)));
    r->to[i] = i;
}

void rig_open(struct rig *r, const char *const *paths, size_t n) {
    struct config_error err = {0};
    *r = (struct rig){0};
    log_set_level(LOG_ERROR);
    assert_int_equal(net_loop_init(&r->loop), 0);
    for (size_t i = 0; i < n; i++) fill_upstream(r, i, paths[i]);
    r->route = (struct config_route){SLICE("*"), n, r->to};
    r->config.nupstreams = n;
    r->config.upstreams = r->upstreams;
    r->config.nroutes = 1;
    r->config.routes = &r->route;
    r->catalogue = catalogue_load(NULL, &err);
    assert_non_null(r->catalogue);
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

void rig_open_one(struct rig *r, const char *path) {
    rig_open(r, &path, 1);
}

static void on_closed(void *user) {
    ((struct rig *)user)->closed = true;
}

void rig_close(struct rig *r) {
    llm_close(r->m, on_closed, r);
    while (!r->closed) uv_run(&r->loop.uv, UV_RUN_ONCE);
    net_loop_close(&r->loop);
    catalogue_free(r->catalogue);
    for (size_t i = 0; i < r->config.nupstreams; i++) secret_free(&r->upstreams[i].key);
}

static void tick(struct net_timer *t) {
    (void)t;
}

void rig_turns(struct rig *r, unsigned ms) {
    struct net_timer t = {.fire = tick};
    net_timer_start(&r->loop, &t, ms);
    while (net_timer_armed(&t)) uv_run(&r->loop.uv, UV_RUN_ONCE);
}

/* --- the sink */

static void copy(char *out, size_t size, struct slice s) {
    size_t n = s.len < size ? s.len : size - 1;
    if (n > 0) memcpy(out, s.ptr, n);
    out[n] = '\0';
}

static void on_log(void *user, const char *level, struct slice line) {
    struct got *g = user;
    size_t at = strlen(g->log);
    assert_int_equal(g->ends, 0);
    assert_non_null(g->call);
    g->logs++;
    snprintf(g->log + at, sizeof g->log - at, "%s %.*s\n", level, SLICE_ARG(line));
}

static void on_start(void *user, struct slice upstream, struct slice model) {
    struct got *g = user;
    assert_int_equal(g->starts++, 0);
    assert_int_equal(g->deltas + g->ends, 0);
    copy(g->upstream, sizeof g->upstream, upstream);
    copy(g->model, sizeof g->model, model);
}

static void on_delta(void *user, struct slice text, struct slice reasoning) {
    struct got *g = user;
    assert_int_equal(g->starts, 1);
    assert_int_equal(g->ends, 0);
    assert_true(text.len + reasoning.len > 0);
    g->deltas++;
    buf_add(&g->text, text);
    buf_add(&g->thoughts, reasoning);
    if (g->deltas == g->pause_at_delta) llm_pause(g->call);
    if (g->deltas == g->cancel_at_delta) {
        llm_cancel(g->call);
        g->call = NULL;
    }
}

static void on_events(void *user, struct slice sse) {
    struct got *g = user;
    assert_int_equal(g->starts, 1);
    assert_int_equal(g->deltas + g->ends, 0);
    assert_true(slice_starts(sse, SLICE("data: ")) && slice_ends(sse, SLICE("\n\n")));
    g->events++;
    buf_add(&g->sse, sse);
    if (g->events == g->pause_at_delta) llm_pause(g->call);
    if (g->events == g->cancel_at_delta) {
        llm_cancel(g->call);
        g->call = NULL;
    }
}

static void on_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct got *g = user;
    assert_non_null(g->call);
    g->call = NULL;
    g->ends++;
    g->fault = err != NULL ? err->fault : LLM_OK;
    g->retry_after_ms = err != NULL ? err->retry_after_ms : -1;
    copy(g->message, sizeof g->message, err != NULL ? err->message : SLICE_NONE);
    copy(g->code, sizeof g->code, err != NULL ? err->code : SLICE_NONE);
    copy(g->output, sizeof g->output, r->output);
    copy(g->reasoning, sizeof g->reasoning, r->reasoning);
    copy(g->finish, sizeof g->finish, r->finish_reason);
    copy(g->upstream, sizeof g->upstream, r->upstream);
    copy(g->model, sizeof g->model, r->model);
    copy(g->raw, sizeof g->raw, r->usage.raw);
    buf_add(&g->body, r->body);
    g->usage = r->usage;
    g->shown = r->shown;
}

const struct llm_sink rig_sink = {on_log, on_start, on_delta, on_events, on_end};
const struct llm_sink rig_end_only = {.on_end = on_end};
const struct llm_sink rig_queue = {.on_log = on_log, .on_end = on_end};

void got_init(struct got *g, struct rig *r) {
    memset(g, 0, sizeof *g);
    g->rig = r;
    buf_init(&g->text, 64U << 20);
    buf_init(&g->thoughts, 64U << 20);
    buf_init(&g->sse, 64U << 20);
    buf_init(&g->body, 64U << 20);
}

void got_free(struct got *g) {
    buf_free(&g->text);
    buf_free(&g->thoughts);
    buf_free(&g->sse);
    buf_free(&g->body);
}

void rig_wait(struct got *g) {
    uint64_t until = clock_mono_ms(&clock_system) + 10000;
    while (g->ends == 0 && clock_mono_ms(&clock_system) < until)
        uv_run(&g->rig->loop.uv, UV_RUN_ONCE);
    assert_int_equal(g->ends, 1);
}

struct llm_request rig_request(const char *how) {
    return (struct llm_request){.request_id = "00000000-0000-4000-8000-000000000000",
                                .model = SLICE(RIG_MODEL),
                                .prompt = SLICE("What is the meaning of life?"),
                                .stream = strcmp(how, "direct") != 0,
                                .wait = strcmp(how, "queue") == 0};
}

void rig_call(struct rig *r, struct got *g, const char *how) {
    struct llm_request q = rig_request(how);
    rig_call_with(r, g, how, &q);
}

void rig_call_with(struct rig *r, struct got *g, const char *how, const struct llm_request *q) {
    const struct llm_sink *sink = strcmp(how, "direct") == 0   ? &rig_end_only
                                  : strcmp(how, "stream") == 0 ? &rig_sink
                                                               : &rig_queue;
    struct llm_error err = {0};
    got_init(g, r);
    g->call = llm_start(r->m, q, sink, g, &err);
    assert_non_null(g->call);
    assert_int_equal(g->logs + g->starts + g->deltas + g->events + g->ends, 0);
    rig_wait(g);
}
