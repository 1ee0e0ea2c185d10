/* The comparison itself.
 *
 *   LISTENING ──the cores are idle──▶ LOADING ──all loaded, or dead──▶ MEASURING ──rounds done──▶ ENDING ──▶ on_end
 *   every state ──limit, stop, all dead; LISTENING: somebody else uses the cores──▶ ENDING, left when no child is left
 *
 * All candidates run at the same time but generate one after the other: a round visits each of them once, first with one
 * stream, then with several, so a disturbance of the machine falls on all alike. Of each the best round counts, because
 * a disturbance only ever slows down. An idle engine costs nothing, spinning or not. */
#include "llm/calibrate.h"

#include "base/json.h"
#include "base/log.h"
#include "llm/engine_child.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 2U
#define MAX_ROUNDS 3U /* one more when the winner's rounds do not agree */
#define LIMIT_MS 15000U
#define POLL_MS 50U
/* Before the start: what share of the cores nobody else may use, and how long that is looked at. */
#define LISTEN_MS 300U
#define MIN_IDLE 0.6
#define CALL_MS 15000U
#define TERM_MS 500U
/* Tokens of a measurement: of one stream, of each of several. Larger models take longer for each. */
#define ONE_TOKENS 24U
#define MANY_TOKENS 8U
#define LARGE_MODEL_BYTES (512ULL << 20)
#define LARGE_ONE_TOKENS 8U
#define LARGE_MANY_TOKENS 3U
#define CONTEXT_TOKENS 128U /* per slot: the prompt and the tokens fit twice */
/* Under this nothing is established on a machine that others use too. */
#define WORTH_A_CHANGE 1.10
#define AGREE 1.30
/* A candidate so far behind after a round is not run again. */
#define HOPELESS 0.33

enum phase { CAL_LISTENING, CAL_LOADING, CAL_MEASURING, CAL_ENDING };

struct runner {
    struct calibration *owner;
    struct engine_tuning tuning;
    struct engine_child *child; /* NULL: ended */
    struct engine_call *probe;
    char socket[PATH_MAX];
    bool loaded, out;
    double one[MAX_ROUNDS], many[MAX_ROUNDS]; /* tokens per second */
    unsigned rounds;
};

struct stream {
    struct calibration *owner;
    struct engine_call *call;
};

struct calibration {
    struct calibrate_options o;
    enum phase phase;
    struct runner runners[CALIBRATE_MAX_CANDIDATES];
    size_t count, at;              /* at: whose turn it is */
    unsigned round, rounds, width; /* width: streams of the second measurement */
    bool many;                     /* the second measurement of the turn */
    struct stream streams[CALIBRATE_STREAMS];
    size_t pending;
    uint64_t tokens, began_ns;
    uint64_t idle, total;         /* CPU time when listening began */
    struct net_timer poll, limit; /* poll: LISTENING and LOADING */
    struct net_defer ended;       /* no child was left when it ended */
    int signal;
    const char *failure; /* NULL: none */
    char said[200];
};

static double best(const double *rates, unsigned n) {
    double max = 0;
    for (unsigned i = 0; i < n; i++) max = rates[i] > max ? rates[i] : max;
    return max;
}

static double score(const struct finding *f) {
    return sqrt(f->tokens_per_s_one * f->tokens_per_s_many);
}

size_t calibrate_choose(const struct finding *measured, size_t n) {
    size_t w = n;
    for (size_t i = 0; i < n; i++) {
        double own = score(&measured[i]), bonus = w == 0 ? WORTH_A_CHANGE : 1.0;
        if (own > 0 && (w == n || own > score(&measured[w]) * bonus)) w = i;
    }
    return w;
}

static struct finding finding_of(const struct runner *r) {
    return (struct finding){r->tuning, best(r->one, r->rounds), best(r->many, r->rounds)};
}

/* NULL: nothing was measured. */
static const struct runner *winner(const struct calibration *c) {
    struct finding f[CALIBRATE_MAX_CANDIDATES] = {0};
    for (size_t i = 0; i < c->count; i++) f[i] = finding_of(&c->runners[i]);
    size_t w = calibrate_choose(f, c->count);
    return w < c->count ? &c->runners[w] : NULL;
}

static bool agree(const double *rates, unsigned n) {
    double first = 0, second = 0;
    for (unsigned i = 0; i < n; i++) {
        if (rates[i] > first) {
            second = first;
            first = rates[i];
        } else if (rates[i] > second)
            second = rates[i];
    }
    return n >= 2 && first <= second * AGREE;
}

static bool is_steady(const struct runner *r) {
    return agree(r->one, r->rounds) && agree(r->many, r->rounds);
}

/* --- the end --- */

static bool children_left(const struct calibration *c) {
    for (size_t i = 0; i < c->count; i++)
        if (c->runners[i].child != NULL) return true;
    return false;
}

static void report(struct calibration *c) {
    const struct runner *w = c->failure == NULL ? winner(c) : NULL;
    struct calibrate_result r = {.ok = w != NULL, .signal = c->signal};
    if (w != NULL) {
        r.steady = is_steady(w);
        r.finding = finding_of(w);
    } else {
        r.text = c->said[0] != '\0'   ? c->said
                 : c->failure != NULL ? c->failure
                                      : "nothing could be measured";
    }
    c->o.on_end(c->o.user, &r);
    free(c);
}

static void on_ended(struct net_defer *d) {
    report((struct calibration *)((char *)d - offsetof(struct calibration, ended)));
}

static void cancel_call(struct engine_call **call) {
    if (*call != NULL) engine_call_cancel(*call);
    *call = NULL;
}

static void finish(struct calibration *c, const char *failure) {
    if (c->phase == CAL_ENDING) return;
    c->phase = CAL_ENDING;
    c->failure = failure;
    net_timer_stop(c->o.loop, &c->poll);
    net_timer_stop(c->o.loop, &c->limit);
    for (size_t i = 0; i < CALIBRATE_STREAMS; i++) cancel_call(&c->streams[i].call);
    for (size_t i = 0; i < c->count; i++) {
        struct runner *r = &c->runners[i];
        cancel_call(&r->probe);
        if (r->child != NULL)
            engine_child_kill(r->child); /* it holds nothing worth an orderly end */
    }
    if (!children_left(c)) net_defer(c->o.loop, &c->ended);
}

static void next_turn(struct calibration *c);
static void look_if_loaded(struct calibration *c);

static void on_child_exit(void *user, const struct engine_exit *how) {
    struct runner *r = user;
    struct calibration *c = r->owner;
    r->child = NULL;
    unlink(r->socket);
    if (c->phase == CAL_ENDING) {
        if (!children_left(c)) report(c);
        return;
    }
    r->out = true;
    cancel_call(&r->probe);
    c->signal = how->signal;
    snprintf(c->said, sizeof c->said, "an engine ended: %s",
             how->signal == SIGILL ? "it uses instructions that this CPU does not have"
                                   : how->last_line);
    if (!children_left(c))
        finish(c, "every engine ended");
    else if (c->phase == CAL_LOADING)
        look_if_loaded(c); /* MEASURING: its calls fail and end its turn */
}

/* --- measuring --- */

static uint64_t tokens_of(struct slice body) {
    struct json_error err;
    yyjson_doc *doc = json_parse(body, &err);
    uint64_t n = doc != NULL
                     ? yyjson_get_uint(json_get(yyjson_doc_get_root(doc), "tokens_predicted"))
                     : 0;
    yyjson_doc_free(doc);
    return n;
}

static void end_measurement(struct calibration *c) {
    struct runner *r = &c->runners[c->at];
    double seconds = (double)(uv_hrtime() - c->began_ns) / 1e9;
    double rate = seconds > 0 ? (double)c->tokens / seconds : 0;
    if (c->tokens == 0) r->out = true;
    if (!c->many) {
        r->one[r->rounds] = rate;
    } else {
        r->many[r->rounds] = rate;
        if (!r->out) r->rounds++;
        log_line(LOG_DEBUG, "engine_measured",
                 "threads=%u spin=%u round=%u tokens_per_s=%.0f tokens_per_s_%u=%.0f",
                 r->tuning.threads, r->tuning.spin, c->round, r->one[r->rounds - !r->out], c->width,
                 rate);
    }
    c->many = !c->many && !r->out;
    if (!c->many) c->at++;
    next_turn(c);
}

static void on_generated(void *user, unsigned status, struct slice body) {
    struct stream *s = user;
    struct calibration *c = s->owner;
    uint64_t n = status == 200 ? tokens_of(body) : 0;
    s->call = NULL;
    c->tokens += n;
    if (n == 0)
        c->runners[c->at].out = true; /* a candidate that cannot answer once is not the fastest */
    if (--c->pending == 0) end_measurement(c);
}

static bool generate(struct calibration *c, struct stream *s, unsigned tokens) {
    char body[256];
    int n = snprintf(
        body, sizeof body,
        "{\"prompt\":\"Once upon a time there was a small house\",\"n_predict\":%u,\"temperature\":0,"
        "\"ignore_eos\":true,\"cache_prompt\":false}",
        tokens);
    struct engine_call_options o = {.loop = c->o.loop,
                                    .socket = c->runners[c->at].socket,
                                    .key = c->o.key,
                                    .path = "/completion",
                                    .body = slice_make(body, (size_t)n),
                                    .timeout_ms = CALL_MS,
                                    .on_end = on_generated,
                                    .user = s};
    s->owner = c;
    s->call = engine_call_start(&o);
    return s->call != NULL;
}

static unsigned tokens_per_stream(const struct calibration *c) {
    bool large = c->o.model_bytes > LARGE_MODEL_BYTES;
    if (c->many) return large ? LARGE_MANY_TOKENS : MANY_TOKENS;
    return large ? LARGE_ONE_TOKENS : ONE_TOKENS;
}

static void measure(struct calibration *c) {
    unsigned streams = c->many ? c->width : 1;
    c->tokens = 0;
    c->began_ns = uv_hrtime();
    for (unsigned i = 0; i < streams; i++)
        if (generate(c, &c->streams[i], tokens_per_stream(c))) c->pending++;
    if (c->pending == 0) finish(c, "out of memory");
}

static void end_round(struct calibration *c) {
    const struct runner *w = winner(c);
    c->at = 0;
    c->round++;
    if (c->round == c->rounds && w != NULL && !is_steady(w) && c->rounds < MAX_ROUNDS) c->rounds++;
    if (w == NULL || c->round == c->rounds) {
        finish(c, NULL);
        return;
    }
    struct finding leader = finding_of(w);
    for (size_t i = 1; i < c->count; i++) {
        struct finding f = finding_of(&c->runners[i]);
        if (score(&f) < HOPELESS * score(&leader)) c->runners[i].out = true;
    }
    next_turn(c);
}

static void next_turn(struct calibration *c) {
    while (c->at < c->count && c->runners[c->at].out) c->at++;
    if (c->at < c->count)
        measure(c);
    else
        end_round(c);
}

/* --- loading --- */

static void look_if_loaded(struct calibration *c) {
    if (c->phase != CAL_LOADING) return;
    for (size_t i = 0; i < c->count; i++)
        if (!c->runners[i].loaded && !c->runners[i].out) return;
    c->phase = CAL_MEASURING;
    net_timer_stop(c->o.loop, &c->poll);
    next_turn(c);
}

static void on_probe(void *user, unsigned status, struct slice body) {
    (void)body;
    struct runner *r = user;
    r->probe = NULL;
    r->loaded = status == 200;
    if (r->loaded) look_if_loaded(r->owner);
}

static void poll_health(struct calibration *c) {
    for (size_t i = 0; i < c->count; i++) {
        struct runner *r = &c->runners[i];
        struct engine_call_options o = {.loop = c->o.loop,
                                        .socket = r->socket,
                                        .path = "/health",
                                        .timeout_ms = CALL_MS,
                                        .on_end = on_probe,
                                        .user = r};
        if (!r->loaded && !r->out && r->probe == NULL) r->probe = engine_call_start(&o);
    }
    net_timer_start(c->o.loop, &c->poll, POLL_MS);
}

static void on_limit(struct net_timer *t) {
    struct calibration *c = (struct calibration *)((char *)t - offsetof(struct calibration, limit));
    size_t measured = 0;
    for (size_t i = 0; i < c->count; i++) measured += c->runners[i].rounds > 0;
    finish(c, measured < 2 ? "the machine is too busy to compare anything" : NULL);
}

/* --- the beginning --- */

static void start_runner(struct calibration *c, struct runner *r, size_t i) {
    struct engine_launch l = c->o.launch;
    int err = UV_ENOMEM;
    r->owner = c;
    r->out = true;
    int n = snprintf(r->socket, sizeof r->socket, "%s/try%u.%zu.sock", c->o.run_dir, c->o.number,
                     i);
    if (n < 0 || (size_t)n >= sizeof r->socket) return;
    unlink(r->socket);
    l.socket = r->socket;
    l.tuning = r->tuning;
    if (l.model_context_tokens == 0 || l.model_context_tokens > CONTEXT_TOKENS)
        l.model_context_tokens = CONTEXT_TOKENS;
    char **args = engine_build_args(&l), **env = engine_build_env(&l, environ);
    struct engine_child_options o = {c->o.loop, args, env, TERM_MS, on_child_exit, r};
    if (args != NULL && env != NULL) r->child = engine_child_start(&o, &err);
    r->out = r->child == NULL;
    engine_free_list(args);
    engine_free_list(env);
}

/* The engines run side by side: each holds its weights (some builds lay them out anew in memory) and its buffers. */
static size_t fitting(const struct calibrate_options *o, size_t wanted) {
    uint64_t each = 2 * o->model_bytes + (256U << 20), room = o->machine->free_bytes / 2;
    return room / each < wanted ? (size_t)(room / each) : wanted;
}

static void start_all(struct calibration *c) {
    c->phase = CAL_LOADING;
    for (size_t i = 0; i < c->count; i++) start_runner(c, &c->runners[i], i);
    if (children_left(c))
        net_timer_start(c->o.loop, &c->poll, POLL_MS);
    else
        finish(c, "no engine could be started");
}

/* What is measured beside a compiler says nothing about the machine, and takes long. */
static bool others_use_cores(const struct calibration *c) {
    uint64_t idle, total;
    if (c->o.even_when_busy || c->total == 0 || !machine_cpu_time(&idle, &total) ||
        total <= c->total)
        return false;
    return (double)(idle - c->idle) < MIN_IDLE * (double)(total - c->total);
}

static void on_poll(struct net_timer *t) {
    struct calibration *c = (struct calibration *)((char *)t - offsetof(struct calibration, poll));
    if (c->phase == CAL_LOADING)
        poll_health(c);
    else if (others_use_cores(c))
        finish(c, "something else uses the cores; the next start tries again");
    else
        start_all(c);
}

struct calibration *calibrate_start(const struct calibrate_options *o, const char **why) {
    struct engine_tuning tunings[CALIBRATE_MAX_CANDIDATES];
    size_t candidates = calibrate_candidates(o->machine, tunings), n = fitting(o, candidates);
    *why = candidates < 2 ? "one core: nothing to compare" : "too little memory to compare";
    if (n < 2) return NULL;
    struct calibration *c = calloc(1, sizeof *c);
    *why = "out of memory";
    if (c == NULL) return NULL;
    c->o = *o;
    c->count = n;
    c->rounds = ROUNDS;
    c->width = o->launch.slots < CALIBRATE_STREAMS ? o->launch.slots : CALIBRATE_STREAMS;
    c->poll.fire = on_poll;
    c->limit.fire = on_limit;
    c->ended.run = on_ended;
    for (size_t i = 0; i < n; i++) c->runners[i].tuning = tunings[i];
    if (!machine_cpu_time(&c->idle, &c->total)) c->total = 0;
    net_timer_start(o->loop, &c->limit, o->limit_ms > 0 ? o->limit_ms : LIMIT_MS);
    net_timer_start(o->loop, &c->poll, LISTEN_MS);
    return c;
}

void calibrate_stop(struct calibration *c) {
    finish(c, "it was stopped");
}
