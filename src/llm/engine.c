/* The supervisor of the local engine.
 *
 * STOPPED ──start──▶ CALIBRATING ──finding──▶ LOADING ──/health 200──▶ READY
 *    ▲                                        ▲     │ exit, silence        │ exit, 3 probes failed
 *    │                                        │     ▼                      ▼
 *    └────────stop, from every state        backoff passed ◀──────────── DOWN
 *
 * state        waits for                        leaves through
 * STOPPED      engine_start                     begin
 * CALIBRATING  the calibration's end            on_calibrated (skipped with a kept finding: begin goes to LOADING)
 * LOADING      /health 200, polled              on_probe; the child's end: on_child_exit
 * READY        a probe now and then             on_child_exit (on_probe ends a child that does not answer)
 * DOWN         the backoff, 0.5 s doubling      on_timer
 *
 * Invariants: 1. at most one child runs, and none in DOWN and STOPPED (once stopped for good);
 *             2. at most one probe is under way, and none without a child;
 *             3. the timer is armed for exactly one purpose, that of the state. */
#include "llm/engine.h"

#include "base/log.h"
#include "llm/calibrate.h"
#include "llm/engine_child.h"
#include "llm/engine_inner.h"
#include "llm/gguf.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FAILED_PROBES 3U
#define KEY_BYTES 32U
#define TEXT_BYTES 384U
/* Above this a comparison of several engines costs more than it finds. */
#define CALIBRATE_MAX_MODEL_BYTES (2ULL << 30)

struct engine {
    struct net_loop *loop;
    const struct random *random;
    void (*on_state)(void *user, enum engine_state state, const char *text);
    void *user;
    char *model_file, *cache_dir, *self;
    struct slice alias;
    char *programs[ENGINE_MAX_PROGRAMS]; /* the next one is tried when the CPU cannot run one */
    size_t nprograms, program;
    char run_dir[PATH_MAX], socket[PATH_MAX], key_file[PATH_MAX];
    struct secret key;
    struct gguf_info model;
    unsigned slots, number;
    bool calibrate;
    struct engine_times times;

    enum engine_state state;
    char text[TEXT_BYTES];
    char trouble[TEXT_BYTES / 2]; /* why it went down last, "" when it has been ready since */
    struct engine_tuning tuning;
    struct calibration *calibration;
    struct engine_child *child;
    struct engine_call *probe;
    struct net_timer timer;
    uint64_t since_ms; /* of the state; LOADING: of the last answer */
    uint64_t load_began_ms;
    unsigned failed_probes, backoff_ms;
    bool was_ready; /* the present child */
    bool given_up;  /* we ended the present child */
    bool stopping;
    struct net_defer stopped;
    void (*on_stopped)(void *user);
    void *stopped_user;
};

/* --- making one --- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool make_key(struct engine *e) {
    unsigned char raw[KEY_BYTES];
    char hex[2 * KEY_BYTES + 1];
    random_fill(e->random, raw, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++) snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    bool ok = secret_set(&e->key, slice_make(hex, sizeof hex - 1));
    secret_wipe(raw, sizeof raw);
    secret_wipe(hex, sizeof hex);
    return ok;
}

static bool find_run_dir(struct engine *e, const struct engine_options *o, char *reason,
                         size_t size) {
    const char *temp = getenv("TMPDIR");
    char name[32] = "engine", socket[40];
    if (o->number > 0) snprintf(name, sizeof name, "engine-%u", o->number);
    snprintf(socket, sizeof socket, "%s.sock", name);
    if (!engine_choose_run_dir(o->data_dir, socket, getenv("XDG_RUNTIME_DIR"),
                               temp != NULL ? temp : "/tmp", e->run_dir, reason, size))
        return false;
    int n = snprintf(e->socket, sizeof e->socket, "%s/%s", e->run_dir, socket);
    int m = snprintf(e->key_file, sizeof e->key_file, "%s/%s.key", e->run_dir, name);
    return n > 0 && m > 0 && (size_t)n < sizeof e->socket && (size_t)m < sizeof e->key_file;
}

static bool find_all(struct engine *e, const struct engine_options *o, char *reason, size_t size) {
    const char *path = getenv("PATH");
    if (!gguf_check_file(o->model_file, &e->model, reason, size)) return false;
    e->nprograms = engine_find_programs(o->program, path != NULL ? path : "", o->cache_dir,
                                        e->programs, reason, size);
    return e->nprograms > 0 && find_run_dir(e, o, reason, size);
}

static void on_timer(struct net_timer *t);
static void run_stopped(struct net_defer *d);

struct engine *engine_new(const struct engine_options *o, char *reason, size_t size) {
    struct engine *e = calloc(1, sizeof *e);
    snprintf(reason, size, "out of memory");
    if (e == NULL) return NULL;
    e->loop = o->loop;
    e->random = o->random;
    e->on_state = o->on_state;
    e->user = o->user;
    e->slots = o->slots > 0 ? o->slots : 1;
    e->number = o->number;
    e->calibrate = o->calibrate;
    e->times = (struct engine_times)ENGINE_TIMES_DEFAULT;
    e->timer.fire = on_timer;
    e->stopped.run = run_stopped;
    e->alias = o->alias;
    e->model_file = strdup(o->model_file);
    e->cache_dir = strdup(o->cache_dir);
    e->self = strdup(o->self);
    e->state = ENGINE_STOPPED;
    snprintf(e->text, sizeof e->text, "not started");
    bool ok = e->model_file != NULL && e->cache_dir != NULL && e->self != NULL && make_key(e);
    if (ok && find_all(e, o, reason, size)) return e;
    engine_free(e);
    return NULL;
}

void engine_set_times(struct engine *e, const struct engine_times *t) {
    e->times = *t;
}

/* --- states --- */

static void set_state(struct engine *e, enum engine_state s) {
    static const char *const names[] = {"calibrating", "loading", "ready", "down", "stopped"};
    char quoted[LOG_QUOTE_BYTES];
    e->state = s;
    e->since_ms = net_now_ms(e->loop);
    log_line(s == ENGINE_DOWN ? LOG_WARN : LOG_INFO, "engine", "state=%s text=%s", names[s],
             log_quote(quoted, slice_of(e->text)));
    if (e->on_state != NULL) e->on_state(e->user, s, e->text);
}

static struct engine_launch launch_of(const struct engine *e) {
    return (struct engine_launch){.self = e->self,
                                  .program = e->programs[e->program],
                                  .model_file = e->model_file,
                                  .alias = e->alias,
                                  .socket = e->socket,
                                  .key_file = e->key_file,
                                  .parent_pid = (int)getpid(),
                                  .slots = e->slots,
                                  .model_context_tokens = e->model.context_tokens,
                                  .tuning = e->tuning};
}

static void enter_down(struct engine *e, const char *trouble) {
    unsigned jitter = e->backoff_ms / 2 > 0
                          ? (unsigned)random_below(e->random, e->backoff_ms / 2 + 1)
                          : 0;
    unsigned wait_ms = e->backoff_ms - e->backoff_ms / 4 +
                       jitter; /* three quarters to five quarters */
    e->backoff_ms = e->backoff_ms > e->times.backoff_max_ms / 2 ? e->times.backoff_max_ms
                                                                : 2 * e->backoff_ms;
    snprintf(e->trouble, sizeof e->trouble, "%s", trouble);
    snprintf(e->text, sizeof e->text, "%s; starts again in %u.%u s", e->trouble, wait_ms / 1000,
             wait_ms / 100 % 10);
    net_timer_start(e->loop, &e->timer, wait_ms);
    set_state(e, ENGINE_DOWN);
}

static void on_child_exit(void *user, const struct engine_exit *how);

/* 0, or a negative errno with the child not started. */
static int start_child(struct engine *e) {
    struct engine_launch l = launch_of(e);
    int err = -engine_write_key(e->key_file, &e->key);
    if (err == 0 && unlink(e->socket) != 0 && errno != ENOENT) err = -errno;
    if (err != 0) return err;
    char **args = engine_build_args(&l), **env = engine_build_env(&l, environ);
    struct engine_child_options o = {e->loop, args, env, e->times.term_ms, on_child_exit, e};
    err = UV_ENOMEM;
    if (args != NULL && env != NULL) e->child = engine_child_start(&o, &err);
    engine_free_list(args);
    engine_free_list(env);
    return e->child != NULL ? 0 : err;
}

static void enter_loading(struct engine *e) {
    char trouble[128];
    int err = start_child(e);
    if (err != 0) {
        snprintf(trouble, sizeof trouble, "llama-server cannot be started (%s)", uv_strerror(err));
        enter_down(e, trouble);
        return;
    }
    e->was_ready = e->given_up = false;
    e->failed_probes = 0;
    e->load_began_ms = net_now_ms(e->loop);
    bool again = e->trouble[0] != '\0';
    snprintf(e->text, sizeof e->text, "loading %s%s%s", base_name(e->model_file),
             again ? " again; before: " : "", e->trouble);
    net_timer_start(e->loop, &e->timer, e->times.load_poll_ms);
    set_state(e, ENGINE_LOADING);
}

static void enter_ready(struct engine *e) {
    uint64_t took_ms = net_now_ms(e->loop) - e->load_began_ms;
    e->was_ready = true;
    e->trouble[0] = '\0';
    snprintf(e->text, sizeof e->text, "%s is loaded: %u slots, %u threads%s",
             base_name(e->model_file), e->slots, e->tuning.threads,
             e->tuning.spin > 0 ? " that wait awake" : "");
    log_line(LOG_INFO, "engine_loaded", "ms=%llu pid=%d", (unsigned long long)took_ms,
             engine_child_pid(e->child));
    net_timer_start(e->loop, &e->timer, e->times.probe_every_ms);
    set_state(e, ENGINE_READY);
}

/* --- calibration --- */

static void use_finding(struct engine *e, const struct finding *f, const char *source) {
    e->tuning = f->tuning;
    log_line(LOG_INFO, "engine_tuning",
             "source=%s threads=%u batch_threads=%u spin=%u tokens_per_s=%.0f tokens_per_s_%u=%.0f",
             source, f->tuning.threads, f->tuning.batch_threads, f->tuning.spin,
             f->tokens_per_s_one, CALIBRATE_STREAMS, f->tokens_per_s_many);
}

static void begin(struct engine *e);

/* The CPU lacks an instruction that this build of the engine uses: is there another one? */
static bool next_program(struct engine *e, int sig) {
    char quoted[LOG_QUOTE_BYTES];
    if (sig != SIGILL || e->program + 1 >= e->nprograms) return false;
    log_line(LOG_WARN, "engine_unfit",
             "program=%s reason=\"uses instructions that this CPU does not have\"",
             log_quote(quoted, slice_of(e->programs[e->program])));
    e->program++;
    return true;
}

static void keep_finding(struct engine *e, const struct machine *m, const struct finding *f) {
    struct finding_key key = {e->cache_dir, e->programs[e->program], e->model_file, e->slots, m};
    int err = finding_save(&key, f);
    if (err != 0) log_line(LOG_WARN, "engine_finding", "kept=0 reason=\"%s\"", strerror(err));
}

static void finish_stop(struct engine *e);

static void on_calibrated(void *user, const struct calibrate_result *r) {
    struct engine *e = user;
    struct machine m;
    e->calibration = NULL;
    if (e->stopping) {
        finish_stop(e);
        return;
    }
    machine_read(&m);
    if (r->ok) {
        use_finding(e, &r->finding, "calibration");
        if (r->steady)
            keep_finding(e, &m, &r->finding);
        else
            log_line(LOG_WARN, "engine_finding",
                     "kept=0 reason=\"the machine was busy; the next start tries again\"");
    } else if (next_program(e, r->signal)) {
        begin(e);
        return;
    } else {
        char quoted[LOG_QUOTE_BYTES];
        log_line(LOG_WARN, "engine_calibration", "done=0 reason=%s",
                 log_quote(quoted, slice_of(r->text)));
    }
    enter_loading(e);
}

/* True when a calibration runs; e->tuning is set in any case. */
static bool tune(struct engine *e) {
    struct machine m;
    struct finding found;
    const char *why = "the model is large";
    machine_read(&m);
    struct finding_key key = {e->cache_dir, e->programs[e->program], e->model_file, e->slots, &m};
    if (finding_load(&key, &found)) {
        use_finding(e, &found, "kept");
        return false;
    }
    e->tuning = calibrate_default(&m);
    struct calibrate_options o = {.loop = e->loop,
                                  .launch = launch_of(e),
                                  .run_dir = e->run_dir,
                                  .number = e->number,
                                  .key = &e->key,
                                  .machine = &m,
                                  .model_bytes = e->model.data_bytes,
                                  .even_when_busy = e->times.calibrate_busy,
                                  .on_end = on_calibrated,
                                  .user = e};
    if (!e->calibrate)
        why = "calibrate is off";
    else if (e->model.data_bytes <= CALIBRATE_MAX_MODEL_BYTES &&
             engine_write_key(e->key_file, &e->key) == 0)
        e->calibration = calibrate_start(&o, &why);
    if (e->calibration != NULL) return true;
    log_line(LOG_INFO, "engine_tuning", "source=default threads=%u spin=%u reason=\"%s\"",
             e->tuning.threads, e->tuning.spin, why);
    return false;
}

static void begin(struct engine *e) {
    if (!tune(e)) {
        enter_loading(e);
        return;
    }
    snprintf(e->text, sizeof e->text,
             "finding out how %s runs fastest on this machine (some seconds, once)",
             base_name(e->model_file));
    if (e->state != ENGINE_CALIBRATING) set_state(e, ENGINE_CALIBRATING);
}

void engine_start(struct engine *e) {
    if (e->state != ENGINE_STOPPED || e->stopping) return;
    e->backoff_ms = e->times.backoff_min_ms;
    begin(e);
}

/* --- watching --- */

static void give_up(struct engine *e, const char *why) {
    snprintf(e->trouble, sizeof e->trouble, "%s", why);
    e->given_up = true;
    log_line(LOG_WARN, "engine_kill", "pid=%d reason=\"%s\"", engine_child_pid(e->child), why);
    engine_child_kill(e->child); /* a hung one would not hear TERM */
}

static void probed_loading(struct engine *e, unsigned status) {
    uint64_t now_ms = net_now_ms(e->loop);
    if (status == 200) {
        enter_ready(e);
        return;
    }
    if (status != 0)
        e->since_ms = now_ms; /* 503: it lives and loads, however long a large model takes */
    if (now_ms - e->since_ms > e->times.load_silent_ms)
        give_up(e, "llama-server did not answer while loading");
    else
        net_timer_start(e->loop, &e->timer, e->times.load_poll_ms);
}

static void probed_ready(struct engine *e, unsigned status) {
    e->failed_probes = status == 200 ? 0 : e->failed_probes + 1;
    if (e->failed_probes >= FAILED_PROBES)
        give_up(e, "llama-server hung");
    else
        net_timer_start(e->loop, &e->timer, e->times.probe_every_ms);
}

static void on_probe(void *user, unsigned status, struct slice body) {
    (void)body;
    struct engine *e = user;
    e->probe = NULL;
    if (e->state == ENGINE_LOADING)
        probed_loading(e, status);
    else if (e->state == ENGINE_READY)
        probed_ready(e, status);
}

static void on_timer(struct net_timer *t) {
    struct engine *e = (struct engine *)((char *)t - offsetof(struct engine, timer));
    if (e->state == ENGINE_DOWN) {
        enter_loading(e);
        return;
    }
    struct engine_call_options o = {.loop = e->loop,
                                    .socket = e->socket,
                                    .path = "/health",
                                    .timeout_ms = e->times.probe_timeout_ms,
                                    .on_end = on_probe,
                                    .user = e};
    e->probe = engine_call_start(&o);
    if (e->probe == NULL)
        net_timer_start(e->loop, &e->timer, e->times.probe_every_ms); /* out of memory: later */
}

static void describe_exit(const struct engine *e, const struct engine_exit *how, char *out,
                          size_t size) {
    const char *said = how->last_line[0] != '\0' ? ": " : "";
    if (how->signal == SIGILL)
        snprintf(
            out, size,
            "llama-server uses instructions that this CPU does not have; `make engine-from-source` builds one that fits");
    else if (e->given_up)
        snprintf(out, size, "%s", e->trouble);
    else if (how->signal != 0)
        snprintf(out, size, "llama-server was ended by signal %d (%s)%s%s", how->signal,
                 strsignal(how->signal), said, how->last_line);
    else
        snprintf(out, size, "llama-server ended with code %d%s%s", (int)how->status, said,
                 how->last_line);
}

static void on_child_exit(void *user, const struct engine_exit *how) {
    struct engine *e = user;
    char trouble[TEXT_BYTES / 2];
    net_timer_stop(e->loop, &e->timer);
    if (e->probe != NULL) engine_call_cancel(e->probe);
    e->probe = NULL;
    if (e->stopping) {
        e->child = NULL;
        finish_stop(e);
        return;
    }
    engine_child_log_tail(e->child, LOG_WARN);
    e->child = NULL;
    if (e->was_ready && net_now_ms(e->loop) - e->since_ms >= e->times.healthy_ms)
        e->backoff_ms = e->times.backoff_min_ms;
    if (!e->was_ready && next_program(e, how->signal)) {
        begin(e);
        return;
    }
    describe_exit(e, how, trouble, sizeof trouble);
    enter_down(e, trouble);
}

/* --- the end --- */

static void run_stopped(struct net_defer *d) {
    struct engine *e = (struct engine *)((char *)d - offsetof(struct engine, stopped));
    if (e->on_stopped != NULL) e->on_stopped(e->stopped_user); /* may free e */
}

static void finish_stop(struct engine *e) {
    unlink(e->socket);
    unlink(e->key_file);
    net_defer(e->loop, &e->stopped);
}

void engine_stop(struct engine *e, void (*on_stopped)(void *user), void *user) {
    if (e->stopping) return;
    e->stopping = true;
    e->on_stopped = on_stopped;
    e->stopped_user = user;
    net_timer_stop(e->loop, &e->timer);
    snprintf(e->text, sizeof e->text, "stopped");
    if (e->state != ENGINE_STOPPED) set_state(e, ENGINE_STOPPED);
    if (e->calibration != NULL)
        calibrate_stop(e->calibration);
    else if (e->child != NULL)
        engine_child_stop(e->child);
    else
        finish_stop(e);
}

void engine_free(struct engine *e) {
    if (e == NULL) return;
    for (size_t i = 0; i < e->nprograms; i++) free(e->programs[i]);
    secret_free(&e->key);
    free(e->model_file);
    free(e->cache_dir);
    free(e->self);
    free(e);
}

/* --- what others see --- */

enum engine_state engine_get_state(const struct engine *e) {
    return e->state;
}

const char *engine_state_text(const struct engine *e) {
    return e->text;
}

unsigned engine_slots(const struct engine *e) {
    return e->slots;
}

const char *engine_socket(const struct engine *e) {
    return e->socket;
}

const struct secret *engine_key(const struct engine *e) {
    return &e->key;
}

int engine_child_process(const struct engine *e) {
    return e->child != NULL ? engine_child_pid(e->child) : 0;
}
