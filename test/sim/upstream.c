/* What the runs of a queue meet: an upstream that answers, fails, is slow, or says something when nobody wants it any
 * more. A call has a number, and its answer, its cost and its log lines name it. */
#include "sim/rules.h"

static struct call *call_of(struct server *v, uint64_t run) {
    struct sim *s = v->sim;
    for (size_t k = s->ncalls; k-- > s->first_call;) {
        struct call *c = &s->calls[k];
        if (c->active && c->run == run && c->server == v->number && c->boots == v->boots) return c;
    }
    return NULL;
}

static size_t busy(const struct server *v, unsigned pool) {
    const struct sim *s = v->sim;
    size_t n = 0;
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        n += c->active && c->pool == pool && c->server == v->number && c->boots == v->boots;
    }
    return n;
}

unsigned pool_of_row(const struct row *r) {
    return strcmp(r->model, "other") == 0 ? 1 : 0;
}

static unsigned pool_of(void *server, const struct queue_place *where) {
    return slice_is(where->model, "other") ? 1 : 0;
}

static size_t capacity(void *server, unsigned pool) {
    struct server *v = server;
    if (pool >= POOLS) return 0;
    size_t n = busy(v, pool);
    return v->room[pool] > n ? v->room[pool] - n : 0;
}

static unsigned new_call(struct sim *s) {
    if (s->ncalls == s->call_room)
        s->calls = need(realloc(s->calls, (s->call_room += 64) * sizeof *s->calls));
    s->calls[s->ncalls] = (struct call){.active = true};
    return (unsigned)s->ncalls++;
}

static uint64_t duration_ms(struct sim *s) {
    if (s->calm) return 1 + draw(s, 500);
    return draw(s, 12) == 0 ? draw(s, 90000) : 1 + draw_skewed(s, s->habits.call_ms);
}

static void start(void *server, const struct queue_job *job) {
    struct server *v = server;
    struct sim *s = v->sim;
    char id[STORE_ID_BYTES];
    COPY(id, slice_of(job->request_id));
    struct row *r = disk_row(s, id);
    RULE(s, RESULT_OF_HOLDER, r != NULL, "a run begins of %s, which the store does not know", id);
    unsigned pool = pool_of_row(r);
    RULE(s, PLACES, capacity(v, pool) > 0, "pool %u of %s is full", pool, v->name);
    unsigned n = new_call(s);
    struct call *c = &s->calls[n];
    *c = (struct call){.row = r,
                       .server = v->number,
                       .boots = v->boots,
                       .pool = pool,
                       .run = job->run,
                       .attempt = job->attempt,
                       .began_ms = s->now_ms,
                       .active = true,
                       .reached = !chance(s, 5),
                       .slow = chance(s, 20)};
    COPY(c->boot, slice_of(v->boot));
    c->end_ms = s->now_ms + duration_ms(s);
    trace(s, "%s: call %u of %.8s attempt %u", v->name, n, id + 28, job->attempt);
    rules_started(v, r, job);
    if (job->attempt < sizeof r->attempt_call / sizeof *r->attempt_call)
        r->attempt_call[job->attempt] = n;
    server_soon(v);
}

static void cancel(void *server, uint64_t run) {
    struct server *v = server;
    struct sim *s = v->sim;
    struct call *c = call_of(v, run);
    RULE(s, ONE_ANSWER, c != NULL, "a run is cancelled that is not");
    c->cancelled = true;
    uint64_t soon_ms = s->now_ms + draw(s, chance(s, 10) ? 20000 : 50);
    if (soon_ms < c->end_ms) c->end_ms = soon_ms;
    trace(s, "%s: call %u is cancelled", v->name, (unsigned)(c - s->calls));
}

static bool begun(void *server, uint64_t run) {
    struct server *v = server;
    struct call *c = call_of(v, run);
    RULE(v->sim, ONE_ANSWER, c != NULL, "asked about a run that is not");
    return !c->slow || v->sim->now_ms > c->began_ms + 200;
}

/* The raw text lives as long as the answer to `spent` and the outcome of queue_run_done must. */
static struct store_usage usage_of(const struct call *c, unsigned number) {
    static char raw[16];
    if (!c->reached) return (struct store_usage){.present = false};
    snprintf(raw, sizeof raw, "%u", number);
    return (struct store_usage){.present = true,
                                .upstream = SLICE("up"),
                                .model = SLICE("m"),
                                .raw = slice_of(raw),
                                .has_cost = true,
                                .cost_microusd = number};
}

unsigned upstream_number(struct slice raw) {
    char text[16];
    COPY(text, raw);
    return (unsigned)strtoul(text, NULL, 10);
}

static struct store_usage spent(void *server, uint64_t run) {
    struct server *v = server;
    struct call *c = call_of(v, run);
    RULE(v->sim, ONE_ANSWER, c != NULL, "asked what a run has cost that is not");
    return usage_of(c, (unsigned)(c - v->sim->calls));
}

struct queue_runner upstream_runner(struct server *v) {
    return (struct queue_runner){.pool = pool_of,
                                 .capacity = capacity,
                                 .start = start,
                                 .cancel = cancel,
                                 .begun = begun,
                                 .spent = spent,
                                 .user = v};
}

/* --- the end of a run */

/* Whether another attempt may follow, as outcome and submit say. */
static bool allowed(const struct call *c, const struct queue_outcome *o) {
    int32_t retries = o->failure == QUEUE_FAILURE_TIMEOUT ? c->row->wishes.retries_timeout : -1;
    unsigned most = retries >= 0 ? (unsigned)retries + 1 : o->max_attempts;
    if (most > QUEUE_MAX_ATTEMPTS) most = QUEUE_MAX_ATTEMPTS;
    return o->retryable && !c->row->no_retry && c->attempt < most;
}

static struct queue_outcome failure(struct sim *s, struct call *c) {
    struct queue_outcome o = {.http_status = 502,
                              .body = SLICE("{\"detail\":\"bad\"}"),
                              .error = SLICE("bad"),
                              .error_type = SLICE("downstream"),
                              .retry_after_ms = -1,
                              .retryable = !c->cancelled && chance(s, 70),
                              .max_attempts = 1 + (unsigned)draw(s, 5)};
    o.failure = c->reached ? (enum queue_failure)draw(s, QUEUE_FAILURE_COUNT)
                           : QUEUE_FAILURE_CONNECTION;
    if (chance(s, 10)) o.retry_after_ms = (int64_t)draw(s, 20000);
    c->retryable = allowed(c, &o);
    c->retry_after_ms = o.retry_after_ms;
    return o;
}

static struct queue_outcome outcome_of(struct sim *s, struct call *c, char body[24],
                                       unsigned number) {
    bool cut = c->cancelled && !chance(s, 20); /* else the answer was there already */
    if (!c->reached || cut || (!s->calm && chance(s, s->habits.fail))) return failure(s, c);
    snprintf(body, 24, "%u", number);
    return (struct queue_outcome){.http_status = 200, .body = slice_of(body), .retry_after_ms = -1};
}

static void drop_ended(struct sim *s) {
    while (s->first_call < s->ncalls && !s->calls[s->first_call].active) s->first_call++;
}

void upstream_end(struct sim *s, unsigned number) {
    struct call *c = &s->calls[number];
    struct server *v = &s->servers[c->server];
    char body[24], text[40];
    if (chance(s, 30)) {
        snprintf(text, sizeof text, "line of call %u", number);
        bool given_up = v->life == DRAINING && v->abandon_ms == NEVER;
        c->said = !given_up;
        queue_run_log(v->queue, c->run, "INFO", slice_of(text));
    }
    struct queue_outcome o = outcome_of(s, c, body, number);
    o.usage = usage_of(c, number);
    trace(s, "%s: call %u ends with %u%s", v->name, number, o.http_status,
          c->retryable ? ", may be tried again" : "");
    c->active = false;
    c->well = o.http_status == 200 && !c->cancelled;
    c->end_ms = s->now_ms;
    c->row->retryable += c->retryable;
    c->row->touched_ms = s->now_ms;
    drop_ended(s);
    queue_run_done(v->queue, c->run, &o);
    server_soon(v);
}

void upstream_drop(struct server *v) {
    struct sim *s = v->sim;
    for (size_t k = s->first_call; k < s->ncalls; k++)
        if (s->calls[k].server == v->number) s->calls[k].active = false;
    drop_ended(s);
}
