/* Seeds, steps, the command line.
 *
 *   sim [--verbose] [--must-find RULE] [--servers N] FIRST [LAST]
 *
 * A step is something that a caller, a fault or time does. After the last one faults stop, and all that was accepted must
 * end. 0: every seed kept the rules; 1: one did not; 2: used wrongly. */
#include "sim/rules.h"

#include "base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

FILE *told;

void trace(struct sim *s, const char *fmt, ...) {
    char *at = s->trace[s->traced++ % TRACE_LINES];
    int n = snprintf(at, TRACE_BYTES, "%4u %8" PRIu64 " ", s->step, s->now_ms);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(at + n, TRACE_BYTES - (size_t)n, fmt, ap);
    va_end(ap);
    if (s->verbose) fprintf(told, "%s\n", at);
}

/* --- events: what is due */

enum event {
    EVENT_NONE,
    EVENT_TICK,
    EVENT_OPS,
    EVENT_START,
    EVENT_ABANDON,
    EVENT_CLOSE,
    EVENT_FAILED,
    EVENT_RESTED,
    EVENT_CALL,
    EVENT_CALLER,
    EVENT_HOOK
};

struct next {
    uint64_t at_ms;
    enum event event;
    unsigned number, rivals;
};

/* The earliest; of those at the same time, or already due, any. */
static void consider(struct sim *s, struct next *n, uint64_t at_ms, enum event e, unsigned number) {
    if (at_ms == NEVER) return;
    if (at_ms < s->now_ms) at_ms = s->now_ms;
    if (at_ms > n->at_ms) return;
    n->rivals = at_ms == n->at_ms ? n->rivals + 1 : 1;
    if (at_ms == n->at_ms && draw(s, n->rivals) > 0) return;
    n->at_ms = at_ms;
    n->event = e;
    n->number = number;
}

static void consider_server(struct sim *s, struct next *n, unsigned k) {
    const struct server *v = &s->servers[k];
    if (v->life == DOWN) {
        consider(s, n, v->start_ms, EVENT_START, k);
        return;
    }
    if (v->tired_ms != 0) consider(s, n, server_later(v, v->tired_ms), EVENT_RESTED, k);
    if (v->idle) consider(s, n, server_later(v, s->now_ms), EVENT_CLOSE, k);
    if (v->failed) consider(s, n, server_later(v, s->now_ms), EVENT_FAILED, k);
    if (v->life == DRAINING) consider(s, n, server_later(v, v->abandon_ms), EVENT_ABANDON, k);
    consider(s, n, server_later(v, v->tick_ms), EVENT_TICK, k);
    consider(s, n, server_later(v, ops_due(v)), EVENT_OPS, k);
}

static struct next next_event(struct sim *s) {
    struct next n = {.at_ms = NEVER};
    for (unsigned k = 0; k < s->habits.servers; k++) consider_server(s, &n, k);
    for (size_t k = s->first_call; k < s->ncalls; k++)
        if (s->calls[k].active)
            consider(s, &n, server_later(&s->servers[s->calls[k].server], s->calls[k].end_ms),
                     EVENT_CALL, (unsigned)k);
    consider(s, &n, callers_due(s), EVENT_CALLER, 0);
    consider(s, &n, hooks_due(s), EVENT_HOOK, 0);
    return n;
}

static void happen(struct sim *s, const struct next *n) {
    struct server *v = &s->servers[n->number < SERVERS ? n->number : 0];
    s->now_ms = n->at_ms;
    s->totals.events++;
    switch (n->event) {
    case EVENT_TICK: server_tick(v); break;
    case EVENT_OPS: ops_run(v); break;
    case EVENT_START: server_start(v); break;
    case EVENT_ABANDON: server_abandon(v); break;
    case EVENT_CLOSE: server_close(v); break;
    case EVENT_FAILED: server_crash(v, false); break;
    case EVENT_RESTED: server_rested(v); break;
    case EVENT_CALL: upstream_end(s, n->number); break;
    case EVENT_CALLER: callers_run(s); break;
    case EVENT_HOOK: hooks_run(s); break;
    case EVENT_NONE: break;
    }
}

/* Everything that is due until then. */
static void pass_until(struct sim *s, uint64_t until_ms) {
    for (;;) {
        struct next n = next_event(s);
        if (n.event == EVENT_NONE || n.at_ms > until_ms) break;
        happen(s, &n);
    }
    if (s->now_ms < until_ms) s->now_ms = until_ms;
}

/* --- steps */

static void freeze(struct server *v) {
    struct sim *s = v->sim;
    uint64_t until_ms = s->now_ms + draw(s, 3 * s->habits.lease_ms);
    if (until_ms <= v->frozen_until_ms) return;
    uint64_t from_ms = v->frozen_until_ms > s->now_ms ? v->frozen_until_ms : s->now_ms;
    v->frozen_until_ms = until_ms;
    v->stood_ms += until_ms - from_ms;
    v->stood++;
    trace(s, "%s: stands still until %" PRIu64, v->name, v->frozen_until_ms);
}

/* One of them, or all, as when their host stands still. */
static void freeze_some(struct sim *s, struct server *one) {
    if (draw(s, 4) > 0) {
        freeze(one);
        return;
    }
    for (unsigned k = 0; k < s->habits.servers; k++)
        if (s->servers[k].life != DOWN) freeze(&s->servers[k]);
}

static void cut(struct server *v) {
    struct sim *s = v->sim;
    v->cut_until_ms = s->now_ms + draw(s, 3 * s->habits.lease_ms);
    trace(s, "%s: its store is out of reach until %" PRIu64, v->name, v->cut_until_ms);
}

/* True when one came. */
static bool fault(struct sim *s) {
    const struct habits *h = &s->habits;
    struct server *v = &s->servers[draw(s, h->servers)];
    unsigned dice = (unsigned)draw(s, 1000);
    if (v->life == DOWN) return false;
    if (dice < h->crash)
        server_crash(v, draw(s, 5) == 0);
    else if ((dice -= h->crash) < h->freeze)
        freeze_some(s, v);
    else if ((dice -= h->freeze) < h->cut)
        cut(v);
    else if ((dice -= h->cut) < h->tire && v->tired_ms == 0)
        server_tire(v);
    else if ((dice -= h->tire) < h->jump)
        server_jump(v);
    else if ((dice -= h->jump) < h->drain && v->life == UP)
        server_drain(v);
    else
        return false;
    return true;
}

static void act(struct sim *s) {
    const struct habits *h = &s->habits;
    unsigned dice = (unsigned)draw(s, h->submit + h->poll + h->cancel + h->result);
    if (dice < h->submit)
        callers_submit(s);
    else if ((dice -= h->submit) < h->poll)
        callers_ask(s, ASK_STATUS);
    else if ((dice -= h->poll) < h->cancel)
        callers_ask(s, ASK_CANCEL);
    else
        callers_ask(s, ASK_RESULT);
}

static void new_room(struct sim *s) {
    struct server *v = &s->servers[draw(s, s->habits.servers)];
    if (v->queue == NULL || s->now_ms < v->frozen_until_ms) return;
    v->room[draw(s, POOLS)] = draw(s, 5);
    queue_wake(v->queue);
    server_soon(v);
}

static void step(struct sim *s) {
    unsigned dice = (unsigned)draw(s, 100);
    if (fault(s)) return;
    if (dice < 45) {
        act(s);
    } else if (dice < 75) {
        struct next n = next_event(s);
        if (n.event != EVENT_NONE) happen(s, &n);
    } else if (dice < 97) {
        pass_until(s, s->now_ms + draw_skewed(s, 4000));
    } else if (dice < 98) {
        pass_until(s, s->now_ms + draw(s, 2 * s->habits.lease_ms));
    } else if (dice < 99) {
        new_room(s);
    } else {
        callers_watch(s);
    }
}

/* --- what a seed must not end with: told with its number */

static struct sim *present;

static void died(int signal) {
    rule_broken(present, RULE_ALIVE, signal == SIGALRM ? "a seed runs for ever" : "signal %d",
                signal);
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>

/* A fault of memory is theirs to tell. */
static void catch_faults(int report_fd) {
    __sanitizer_set_report_fd((void *)(intptr_t)report_fd);
}
#else
static void catch_faults(int report_fd) {
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
    for (size_t k = 0; k < sizeof fatal / sizeof *fatal; k++) signal(fatal[k], died);
}
#endif

/* The queue's own log is for --verbose. */
static void prepare(bool verbose) {
    told = stderr;
    signal(SIGALRM, died);
    int ours = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    FILE *f = ours >= 0 && nowhere >= 0 ? fdopen(ours, "w") : NULL;
    catch_faults(f != NULL ? ours : STDERR_FILENO);
    if (f == NULL) return;
    told = f;
    if (!verbose) dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

/* --- a seed */

#define SEED_SECONDS 120U /* some milliseconds, and some hundred under sanitizers */

static unsigned wanted_servers;

static unsigned often(struct sim *s, unsigned most) {
    return chance(s, 60) ? (unsigned)draw(s, most) + 1 : 0;
}

static void draw_habits(struct sim *s) {
    struct habits *h = &s->habits;
    h->servers = wanted_servers > 0 ? wanted_servers : 1 + (unsigned)draw(s, SERVERS);
    h->alone = h->servers == 1 && chance(s, 70);
    h->steps = 200 + (unsigned)draw_skewed(s, 400);
    h->lease_ms = chance(s, 50) ? QUEUE_LEASE_MS : QUEUE_LEASE_MS / 10;
    h->crash = often(s, 30);
    h->drain = often(s, 12);
    h->freeze = often(s, 20);
    h->cut = often(s, 20);
    h->tire = often(s, 15);
    h->jump = often(s, 10);
    h->lose = often(s, 30);
    h->slow_store = often(s, 20);
    h->fail = often(s, 60);
    h->submit = 20 + (unsigned)draw(s, 60);
    h->poll = 20 + (unsigned)draw(s, 60);
    h->cancel = (unsigned)draw(s, 20);
    h->result = (unsigned)draw(s, 20);
    h->call_ms = chance(s, 50) ? 2000 : 20000;
    h->retention_ms = chance(s, 15) ? 60000 : 0;
    h->crowd = chance(s, 20) ? 40 : 0;
    h->idempotent = often(s, 80);
    h->hooked = often(s, 80);
    h->timed = often(s, 50);
    h->limited = often(s, 50);
    h->no_retry = often(s, 60);
}

/* Nothing fails any more, and there is room for all. */
static void calm_down(struct sim *s) {
    s->calm = true;
    s->calm_ms = s->now_ms;
    trace(s, "calm");
    for (unsigned k = 0; k < s->habits.servers; k++) {
        struct server *v = &s->servers[k];
        if (v->life == DOWN) v->start_ms = s->now_ms;
        server_thaw(v);
        if (v->cut_until_ms > s->now_ms) v->cut_until_ms = s->now_ms;
        if (v->tired_ms != 0) v->tired_ms = s->now_ms;
        for (unsigned p = 0; p < POOLS; p++) v->room[p] = 4;
        if (v->queue != NULL) queue_wake(v->queue);
        if (v->queue != NULL) server_soon(v);
    }
}

#define LOOKED_THROUGH \
    11U /* leases: by then a queue has forgotten what others have ended (queue/loading.c) */

#define WAITS_MS 120000U /* a Retry-After, back-offs, all calls one after another */

static void come_to_rest(struct sim *s) {
    uint64_t rest_ms = LOOKED_THROUGH * s->habits.lease_ms + WAITS_MS;
    uint64_t until_ms = s->now_ms + rest_ms;
    while (!rules_rest(s) && s->now_ms < until_ms) {
        pass_until(s, s->now_ms + 200);
        rules_overdue(s);
    }
    if (rules_rest(s)) return;
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        RULE(s, ENDS, r->state == STORE_COMPLETED,
             "%s has not ended %" PRIu64 " ms after the last fault: state %d, attempt %u, %s%s",
             r->id, rest_ms, (int)r->state, r->attempt, r->boot, r->loose ? ", loose" : "");
    }
    rule_broken(s, RULE_ENDS, "calls, deliveries or servers are not at rest after %" PRIu64 " ms",
                rest_ms);
}

/* Everybody asks for everything once more, at every server. */
static void ask_all(struct sim *s) {
    for (unsigned k = 0; k < s->habits.servers; k++)
        for (size_t n = 0; n < s->nrows; n++)
            if (s->rows[n]->accepted)
                callers_ask_at(&s->servers[k], chance(s, 50) ? ASK_STATUS : ASK_RESULT, s->rows[n]);
    come_to_rest(s);
}

static void sim_free(struct sim *s) {
    for (unsigned k = 0; k < s->habits.servers; k++)
        if (s->servers[k].queue != NULL) server_crash(&s->servers[k], false);
    for (size_t k = 0; k < s->nrows; k++) {
        free(s->rows[k]->lines.base);
        free(s->rows[k]);
    }
    free(s->charges);
    free(s->calls);
    free(s->asks);
    free(s);
}

static void add_totals(struct totals *all, const struct totals *one) {
    uint64_t *to = (uint64_t *)all;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t k = 0; k < sizeof *all / sizeof *to; k++) to[k] += from[k];
}

static void run_seed(uint64_t seed, bool verbose, struct totals *all) {
    struct sim *s = present = need(calloc(1, sizeof *s));
    alarm(SEED_SECONDS);
    s->seed = seed;
    s->draws = seed * 0x2545f4914f6cdd1dULL;
    s->verbose = verbose;
    s->first_call = s->first_ask = s->ncalls = s->nasks = 1; /* [0] is none */
    s->calls = need(calloc(s->call_room = 64, sizeof *s->calls));
    s->asks = need(calloc(s->ask_room = 64, sizeof *s->asks));
    draw_habits(s);
    for (unsigned k = 0; k < s->habits.servers; k++) server_init(s, k);
    for (unsigned k = 0; k < s->habits.servers; k++) server_start(&s->servers[k]);
    for (; s->step < s->habits.steps; s->step++) {
        step(s);
        struct server *v = &s->servers[s->step % s->habits.servers];
        if (v->queue != NULL) rules_stats(v);
        rules_overdue(s);
    }
    calm_down(s);
    come_to_rest(s);
    ask_all(s);
    if (s->habits.servers > 1) pass_until(s, s->now_ms + LOOKED_THROUGH * s->habits.lease_ms);
    rules_at_rest(s);
    if (s->habits.alone && !s->wall_jumped && chance(s, 20)) {
        pass_until(s, s->now_ms + QUEUE_SHORT_KEEP_MS * 103 / 100 + QUEUE_SWEEP_MS * 2);
        rules_forgotten(s);
    }
    s->totals.steps = s->step;
    add_totals(all, &s->totals);
    sim_free(s);
}

/* --- the command line */

static const char *planted(void) {
    const char *fault = getenv("BREAK");
    return fault != NULL && fault[0] != '\0' ? fault : NULL;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const struct totals *t, uint64_t seeds, double took) {
    printf("# T16 %" PRIu64 " seeds, %" PRIu64 " steps, %" PRIu64
           " events in %.1f s (%.0f seeds/s): "
           "%" PRIu64 " accepted, %" PRIu64 " submits repeated, %" PRIu64 " upstream calls, "
           "%" PRIu64 " crashes, %" PRIu64 " takeovers, %" PRIu64 " boots buried, "
           "%" PRIu64 " runs of zombies, %" PRIu64 " late writes refused, %" PRIu64 " cancelled, "
           "%" PRIu64 " deliveries\n",
           seeds, t->steps, t->events, took, (double)seeds / took, t->accepted, t->repeated,
           t->calls, t->crashes, t->takeovers, t->buried, t->lost_leases, t->late_writes,
           t->cancelled, t->deliveries);
}

static void run_all(uint64_t first, uint64_t last, bool verbose) {
    struct totals totals = {0};
    double began = seconds(), said = began;
    for (volatile uint64_t seed = first; seed <= last; seed++) {
        if (setjmp(rules_next_seed) == 0) run_seed(seed, verbose, &totals);
        double now = seconds();
        if (now - said < 10) continue;
        said = now;
        fprintf(told, "sim: %" PRIu64 " of %" PRIu64 " seeds\n", seed - first + 1,
                last - first + 1);
    }
    say(&totals, last - first + 1, seconds() - began);
}

static int usage(void) {
    fputs("sim [--verbose] [--must-find RULE] [--servers 1..3] FIRST [LAST]\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    bool verbose = false;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[at], "--must-find") == 0 && at + 1 < argc)
            rules_must_find = argv[++at];
        else if (strcmp(argv[at], "--servers") == 0 && at + 1 < argc)
            wanted_servers = (unsigned)strtoul(argv[++at], NULL, 10);
        else
            return usage();
    }
    if (at >= argc || wanted_servers > SERVERS) return usage();
    uint64_t first = strtoull(argv[at], NULL, 10);
    uint64_t last = at + 1 < argc ? strtoull(argv[at + 1], NULL, 10) : first;
    if (planted() != NULL && strcmp(planted(), "sync-off") == 0) {
        fputs(
            "sync-off cannot be found here: what this store has applied is durable, a kill keeps what was "
            "written. The power-cut suite finds it.\n",
            stderr);
        return 2;
    }
    if (rules_must_find != NULL && (planted() == NULL || !rules_known(rules_must_find)))
        return usage();
    log_set_level(verbose ? LOG_DEBUG : LOG_ERROR);
    prepare(verbose);
    run_all(first, last, verbose);
    if (rules_must_find == NULL) return 0;
    printf("BREAK=%s has not broken %s in seeds %" PRIu64 " to %" PRIu64 "\n", planted(),
           rules_must_find, first, last);
    return 1;
}
