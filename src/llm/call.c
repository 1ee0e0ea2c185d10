/* The way of a call: which upstream, its slot, the engine, failover, the end. inner.h draws the states.
 *
 * Rules: an upstream's slots are never over-used, direct and queued calls count together; who waits for a slot gets it
 * in order; nothing is tried elsewhere once output exists, or after a mistake of the caller's own; no hook is called
 * after llm_cancel; on_end is called with the slot already free. */
#include "llm/inner.h"

#include "llm/adapter.h"

#include <stdlib.h>

/* --- lists and memory */

void call_list_add(struct call_list *l, struct llm_call *c) {
    c->list = l;
    c->prev = l->last;
    c->next = NULL;
    if (l->last != NULL)
        l->last->next = c;
    else
        l->first = c;
    l->last = c;
    l->n++;
}

void call_unlist(struct llm_call *c) {
    struct call_list *l = c->list;
    if (l == NULL) return;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        l->first = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        l->last = c->prev;
    l->n--;
    c->list = NULL;
}

static void reset_buffers(struct llm_call *c, size_t keep) {
    buf_reset(&c->body, keep);
    buf_reset(&c->in, keep);
    buf_reset(&c->output, keep);
    buf_reset(&c->thoughts, keep);
    buf_reset(&c->events, keep);
    buf_reset(&c->raw_usage, keep);
    buf_reset(&c->message, keep);
    if (c->streamed) sse_free(&c->sse);
    c->streamed = false;
}

static void recycle(struct llm_call *c) {
    struct llm *m = c->m;
    if (m->nfree >= LLM_KEEP_CALLS) {
        reset_buffers(c, 0);
        free(c);
        return;
    }
    reset_buffers(c, LLM_KEEP_BYTES);
    c->next = m->free;
    m->free = c;
    m->nfree++;
}

static struct llm_call *fresh(struct llm *m) {
    struct llm_call *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    buf_init(&c->body, LLM_MAX_REQUEST_BYTES);
    buf_init(&c->in, LLM_MAX_ANSWER_BYTES);
    buf_init(&c->output, LLM_MAX_OUTPUT_BYTES);
    buf_init(&c->thoughts, LLM_MAX_OUTPUT_BYTES);
    buf_init(&c->events, LLM_MAX_OUTPUT_BYTES);
    buf_init(&c->raw_usage, LLM_MAX_MESSAGE_BYTES * 2);
    buf_init(&c->message, LLM_MAX_MESSAGE_BYTES);
    c->m = m;
    c->tell.run = relay_tell;
    return c;
}

/* All but the buffers as if new. */
static struct llm_call *take(struct llm *m) {
    struct llm_call *c = m->free;
    if (c == NULL) return fresh(m);
    m->free = c->next;
    m->nfree--;
    c->next = NULL;
    c->tried = 0;
    c->has_slot = c->paused = c->again = c->started = c->shown = c->failing = false;
    c->fault = LLM_OK;
    return c;
}

void call_enter(struct llm_call *c) {
    c->depth++;
}

void call_leave(struct llm_call *c) {
    if (--c->depth == 0 && c->state == CALL_OVER) recycle(c);
}

void call_abort_net(struct llm_call *c) {
    if (c->net != NULL) net_call_cancel(c->net);
    c->net = NULL;
}

/* --- slots */

/* Nobody waits then: a slot that becomes free goes to the first of those at once. */
static bool has_free_slot(const struct upstream *up) {
    return up->in_flight < up->cfg->concurrency;
}

static void take_slot(struct llm_call *c) {
    c->up->in_flight++;
    c->has_slot = true;
    c->state = CALL_BEGIN;
}

/* The longest waiting one takes it over. */
static void release_slot(struct llm_call *c) {
    if (!c->has_slot) return;
    struct upstream *up = c->up;
    struct llm_call *w = up->waiting.first;
    c->has_slot = false;
    up->in_flight--;
    if (w != NULL) {
        call_unlist(w);
        take_slot(w);
        call_begin_later(w);
    }
    llm_tell_capacity(c->m);
}

/* --- the choice of an upstream */

/* A queued call waits for an engine that is on its way; a direct one goes elsewhere if it can. */
static bool able_for(const struct llm_call *c, const struct upstream *up) {
    enum engine_state s = up->engine != NULL ? engine_get_state(up->engine) : ENGINE_READY;
    return upstream_able(up) || (c->r.wait && (s == ENGINE_LOADING || s == ENGINE_CALIBRATING));
}

/* The fallback model answers only what no other upstream has. */
static bool eligible(const struct llm_call *c, size_t i) {
    return (c->tried & 1U << i) == 0 &&
           (!c->steps[i].fallback || c->steps[0].fallback || c->fault == LLM_UNKNOWN_MODEL);
}

/* The step of the upstream that answered the last call of this hint, if it can answer now; else nsteps. */
static size_t hinted(const struct llm_call *c) {
    size_t upstream = hints_find(&c->m->hints, c->r.hint);
    for (size_t i = 0; i < c->nsteps && upstream != HINTS_NONE; i++) {
        const struct upstream *up = &c->m->upstreams[c->steps[i].upstream];
        if (c->steps[i].upstream == upstream && eligible(c, i) && has_free_slot(up) &&
            able_for(c, up))
            return i;
    }
    return c->nsteps;
}

/* The first able one with a free slot, else the first with a free slot; nsteps when there is none. */
static size_t choose(const struct llm_call *c) {
    size_t second = c->nsteps, warm = hinted(c);
    if (warm < c->nsteps) return warm;
    for (size_t i = 0; i < c->nsteps; i++) {
        const struct upstream *up = &c->m->upstreams[c->steps[i].upstream];
        if (!eligible(c, i) || !has_free_slot(up) || breaker_blocks(up)) continue;
        if (able_for(c, up)) return i;
        if (second == c->nsteps) second = i;
    }
    return second;
}

static void go_to(struct llm_call *c, size_t step) {
    c->at = step;
    c->tried |= 1U << step;
    c->up = &c->m->upstreams[c->steps[step].upstream];
}

/* --- beginning */

static void run_later(struct net_defer *d) {
    struct llm_call *c = (struct llm_call *)(void *)((char *)d - offsetof(struct llm_call, later));
    call_enter(c);
    if (c->failing) {
        c->failing = false;
        call_fail(c, c->fault, NULL, NULL);
    } else if (c->state == CALL_SLOT) {
        say_waiting_slot(c);
    } else {
        call_begin(c);
    }
    call_leave(c);
}

static void defer(struct llm_call *c) {
    c->later.run = run_later;
    net_defer(c->m->o.loop, &c->later);
}

void call_begin_later(struct llm_call *c) {
    defer(c);
}

static void fail_later(struct llm_call *c, enum llm_fault f) {
    c->failing = true;
    c->fault = f;
    defer(c);
}

static void on_engine_late(struct net_timer *t) {
    struct llm_call *c = (struct llm_call *)(void *)((char *)t - offsetof(struct llm_call, timer));
    call_enter(c);
    call_unlist(c);
    call_fail(c, LLM_ENGINE, NULL, "not ready in time");
    call_leave(c);
}

static void wait_for_engine(struct llm_call *c) {
    const struct config_upstream *cfg = c->up->cfg;
    c->state = CALL_ENGINE;
    call_list_add(&c->up->starting, c);
    c->timer.fire = on_engine_late;
    net_timer_start(c->m->o.loop, &c->timer, c->r.wait ? cfg->total_ms : cfg->first_byte_ms);
    say_waiting_engine(c);
}

static void send_request(struct llm_call *c) {
    struct upstream *up = c->up;
    bool stream = c->r.stream || (c->r.wait && !call_is_raw(c));
    buf_reset(&c->body, SIZE_MAX);
    relay_reset(c);
    if (stream) sse_init(&c->sse, LLM_MAX_LINE_BYTES, LLM_MAX_EVENT_BYTES);
    c->streamed = stream;
    struct net_call_options o = {.method = "POST",
                                 .path = buf_slice(&up->path),
                                 .headers = buf_slice(stream ? &up->stream_head : &up->whole_head),
                                 .deadlines = up->deadlines,
                                 .hooks = &relay_hooks,
                                 .user = c};
    if (adapter_body(&c->body, up->cfg, &c->steps[c->at], &c->r, stream)) {
        o.body = buf_slice(&c->body);
        c->net = net_call_start(up->origin, &o);
    }
    c->state = CALL_SENT;
    up->calls++;
    c->sent_ms = net_now_ms(c->m->o.loop);
    if (c->net == NULL) fail_later(c, LLM_MEMORY);
}

/* With a slot. */
void call_begin(struct llm_call *c) {
    say_route(c);
    if (c->up->engine != NULL && engine_get_state(c->up->engine) != ENGINE_READY)
        wait_for_engine(c);
    else
        send_request(c);
}

/* --- the end */

static void over(struct llm_call *c) {
    net_timer_stop(c->m->o.loop, &c->timer);
    net_defer_cancel(c->m->o.loop, &c->later);
    net_defer_cancel(c->m->o.loop, &c->tell);
    call_unlist(c);
    release_slot(c);
    c->state = CALL_OVER;
}

static void fill_names(const struct llm_call *c, struct llm_result *r) {
    r->upstream = c->up->cfg->name;
    r->model = c->steps[c->at].model;
    r->shown = c->shown;
    r->took_ms = net_now_ms(c->m->o.loop) - c->begun_ms;
}

static void log_end(struct llm_call *c, enum llm_fault f, const struct llm_result *r) {
    if (log_get_level() < LOG_DEBUG) return;
    log_request(LOG_DEBUG, c->r.request_id, "upstream_call",
                "upstream=%.*s model=%.*s fault=%s status=%u ms=%llu tokens=%llu",
                SLICE_ARG(r->upstream), SLICE_ARG(r->model), fault_name(f), c->status,
                (unsigned long long)(net_now_ms(c->m->o.loop) - c->begun_ms),
                (unsigned long long)r->usage.completion_tokens);
}

void call_finish(struct llm_call *c, struct llm_result *r) {
    upstream_judge(c->up, LLM_OK);
    hints_keep(&c->m->hints, c->r.hint, c->steps[c->at].upstream);
    fill_names(c, r);
    r->sent = true;
    say_done(c, r);
    log_end(c, LLM_OK, r);
    over(c);
    c->sink->on_end(c->user, r, NULL);
}

/* What has come of a stream; the usage as far as it was told. */
static struct llm_result unfinished(const struct llm_call *c) {
    struct llm_result r = {.output = buf_slice(&c->output),
                           .reasoning = buf_slice(&c->thoughts),
                           .finish_reason = slice_of(c->finish_reason),
                           .usage = c->usage};
    relay_price(c, &r.usage);
    fill_names(c, &r);
    return r;
}

/* The upstream that failed last had the request. */
static bool reached(enum llm_fault f) {
    switch (f) {
    case LLM_BUSY:
    case LLM_NO_ROUTE:
    case LLM_CONNECT:
    case LLM_CONNECT_TIMEOUT:
    case LLM_TLS:
    case LLM_ENGINE:
    case LLM_UNSUPPORTED:
    case LLM_MEMORY: return false;
    default: return true;
    }
}

static void end_with_fault(struct llm_call *c) {
    struct llm_result r = unfinished(c);
    struct llm_error e = {c->fault, buf_slice(&c->message), c->retry_after_ms, slice_of(c->code),
                          slice_of(c->param)};
    r.sent = reached(c->fault);
    log_end(c, c->fault, &r);
    over(c);
    c->sink->on_end(c->user, &r, &e);
}

/* Nothing that the sink has seen, or would have to see twice, exists yet. */
static bool unseen(const struct llm_call *c) {
    return buf_len(&c->output) == 0 && buf_len(&c->thoughts) == 0 && !c->shown &&
           !(c->started && c->sink->on_start != NULL);
}

/* docs/bad-input.md U12: an answer that is none (200, but HTML, empty, no choices) is asked for once more. */
static bool worth_repeating(const struct llm_call *c, enum llm_fault f) {
    return f == LLM_BAD_ANSWER && c->status == 200 && !c->again;
}

static bool try_elsewhere(struct llm_call *c, enum llm_fault f) {
    size_t next;
    if (!unseen(c)) return false;
    if (fault_fails_over(f) && (next = choose(c)) < c->nsteps) {
        release_slot(c);
        go_to(c, next);
        take_slot(c);
        say(c, "WARN", "trying upstream %.*s", SLICE_ARG(c->up->cfg->name));
    } else if (worth_repeating(c, f)) {
        c->again = true;
        c->state = CALL_BEGIN;
        say(c, "WARN", "trying once more");
    } else {
        return false;
    }
    c->up->retries++;
    call_begin_later(c);
    return true;
}

void call_fail(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
               const char *detail) {
    net_timer_stop(c->m->o.loop, &c->timer);
    c->fault = f;
    say_names(c, f, e);
    say_message(c, f, e, detail);
    say_fault(c, f, detail);
    upstream_judge(c->up, f);
    if (!try_elsewhere(c, f)) end_with_fault(c);
}

/* --- the face */

static struct llm_call *refuse(struct llm_call *c, enum llm_fault f, const char *why,
                               struct llm_error *err) {
    *err = (struct llm_error){.fault = f,
                              .message = slice_of(why != NULL ? why : fault_sentence(f)),
                              .retry_after_ms = -1};
    if (c != NULL) recycle(c);
    return NULL;
}

/* The first upstream whose slots are worth waiting for; nsteps: to none anything may be sent. */
static size_t first_unblocked(const struct llm_call *c) {
    size_t i = 0;
    while (i < c->nsteps &&
           (!eligible(c, i) || breaker_blocks(&c->m->upstreams[c->steps[i].upstream])))
        i++;
    return i;
}

/* No slot is free: why the call cannot begin at once, LLM_OK where it may wait. */
static enum llm_fault no_slot(const struct llm_call *c) {
    if (first_unblocked(c) == c->nsteps) return c->m->upstreams[c->steps[0].upstream].breaker.fault;
    return c->r.wait ? LLM_OK : LLM_BUSY;
}

/* The steps that may be tried. LLM_OK, or why there is none; *why says more, or is NULL. */
static enum llm_fault find_steps(struct llm_call *c, const char **why) {
    const struct llm *m = c->m;
    size_t kept = 0, real = 0, n;
    n = route_find(m->o.config, m->o.catalogue, c->r.model, c->r.keeps_nothing, c->steps);
    *why = NULL;
    if (n > 1 && c->r.no_fallback) n = 1;
    for (size_t i = 0; i < n; i++) {
        real += !c->steps[i].fallback;
        const char *no = adapter_refuses(m->upstreams[c->steps[i].upstream].cfg, &c->r);
        if (no == NULL)
            c->steps[kept++] = c->steps[i];
        else
            *why = no;
    }
    c->nsteps = kept;
    if (n == 0) return LLM_NO_ROUTE;
    return kept > 0 && (real == 0 || !c->steps[0].fallback) ? LLM_OK : LLM_UNSUPPORTED;
}

struct llm_call *llm_start(struct llm *m, const struct llm_request *r, const struct llm_sink *sink,
                           void *user, struct llm_error *err) {
    struct llm_call *c = take(m);
    const char *why;
    if (c == NULL) return refuse(NULL, LLM_MEMORY, NULL, err);
    c->r = *r;
    if (r->model.len > 0 && r->model.len <= sizeof c->model) {
        memcpy(c->model, r->model.ptr, r->model.len);
        c->r.model.ptr = c->model;
    }
    c->sink = sink;
    c->user = user;
    c->begun_ms = net_now_ms(m->o.loop);
    relay_reset(c);
    enum llm_fault f = find_steps(c, &why);
    if (f != LLM_OK) return refuse(c, f, why, err);
    size_t step = choose(c);
    if (step == c->nsteps && (f = no_slot(c)) != LLM_OK) {
        refuse(c, f, NULL, err);
        if (f != LLM_BUSY) err->retry_after_ms = LLM_UNABLE_MS;
        return NULL;
    }
    go_to(c, step < c->nsteps ? step : first_unblocked(c));
    if (step < c->nsteps)
        take_slot(c);
    else {
        c->state = CALL_SLOT;
        call_list_add(&c->up->waiting, c);
    }
    /* a log hook may want to know the call: it is not called before we have returned */
    if (c->state == CALL_SLOT || sink->on_log != NULL)
        defer(c);
    else
        call_begin(c);
    return c;
}

void llm_pause(struct llm_call *c) {
    c->paused = true;
    if (c->net != NULL) net_call_pause(c->net);
}

void llm_resume(struct llm_call *c) {
    if (!c->paused) return;
    c->paused = false;
    if (c->net != NULL) net_call_resume(c->net);
}

bool llm_sent(const struct llm_call *c) {
    if (c->state == CALL_SENT) return c->net != NULL && net_call_sent(c->net);
    return c->state == CALL_WHOLE || c->state == CALL_STREAM || c->state == CALL_ERROR;
}

void llm_so_far(const struct llm_call *c, struct llm_result *out) {
    *out = unfinished(c);
    out->sent = llm_sent(c);
}

void llm_cancel(struct llm_call *c) {
    call_abort_net(c);
    over(c);
    if (c->depth == 0) recycle(c);
}
