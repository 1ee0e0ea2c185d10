#include "llm/breaker.h"

#include "llm/inner.h"

#define KNOCK_MS 5000U /* for the whole exchange */

static void knock(struct upstream *up);

static struct upstream *of_timer(struct net_timer *t) {
    return (struct upstream *)(void *)((char *)t - offsetof(struct upstream, breaker.timer));
}

/* A knock that was answered when nothing was open only keeps the next one away for a while. */
static void on_timer(struct net_timer *t) {
    struct upstream *up = of_timer(t);
    if (up->breaker.open) knock(up);
}

static void wait_for_next(struct upstream *up) {
    up->breaker.timer.fire = on_timer;
    net_timer_start(up->m->o.loop, &up->breaker.timer, LLM_UNABLE_MS);
}

static void close_it(struct upstream *up) {
    struct breaker *b = &up->breaker;
    uint64_t now = net_now_ms(up->m->o.loop);
    b->open = false;
    up->faults_in_row = 0;
    log_line(LOG_INFO, "upstream_back", "upstream=%.*s after_ms=%llu", SLICE_ARG(up->cfg->name),
             (unsigned long long)(now - b->since_ms));
    llm_tell_capacity(up->m);
}

static void open_it(struct upstream *up) {
    struct breaker *b = &up->breaker;
    b->open = true;
    b->since_ms = net_now_ms(up->m->o.loop);
    log_line(LOG_WARN, "upstream_out", "upstream=%.*s fault=%s knock_ms=%u",
             SLICE_ARG(up->cfg->name), fault_name(b->fault), LLM_UNABLE_MS);
}

static void knock_ended(struct upstream *up, bool answered) {
    up->breaker.knock = NULL;
    if (answered && up->breaker.open)
        close_it(up);
    else if (!answered && !up->breaker.open)
        open_it(up);
    else if (!answered && !breaker_blocks(up)) /* the outage is too long: jobs may fail now */
        llm_tell_capacity(up->m);
    wait_for_next(up);
}

static void on_head(struct net_call *c, const struct h1_head *head, void *user) {
    bool answered = head->status < 500;
    net_call_cancel(c);
    knock_ended(user, answered);
}

static void on_body(struct net_call *c, struct slice data, void *user) {
}

static void on_end(struct net_call *c, const struct net_call_end *end, void *user) {
    knock_ended(user, false);
}

static void knock(struct upstream *up) {
    static const struct net_call_hooks hooks = {on_head, on_body, on_end};
    struct net_call_options o = {.method = "GET",
                                 .path = buf_slice(&up->breaker.path),
                                 .headers = buf_slice(&up->whole_head),
                                 .deadlines = {KNOCK_MS, KNOCK_MS, KNOCK_MS, KNOCK_MS},
                                 .hooks = &hooks,
                                 .user = up};
    up->breaker.knock = net_call_start(up->origin, &o);
    if (up->breaker.knock == NULL) wait_for_next(up);
}

bool breaker_init(struct upstream *up) {
    buf_init(&up->breaker.path, 4096);
    buf_add(&up->breaker.path, up->cfg->base_path);
    return buf_puts(&up->breaker.path, "/models");
}

void breaker_free(struct upstream *up) {
    if (up->breaker.knock != NULL) net_call_cancel(up->breaker.knock);
    up->breaker.knock = NULL;
    net_timer_stop(up->m->o.loop, &up->breaker.timer);
    buf_free(&up->breaker.path);
}

/* What waiting may heal. Wrong keys and answers that are none are told to each caller. */
static bool may_open(enum llm_fault f) {
    return fault_blames_upstream(f) && llm_fault_info(f)->retryable;
}

void breaker_judge(struct upstream *up, enum llm_fault f) {
    struct breaker *b = &up->breaker;
    if (up->engine != NULL) return;
    if (f == LLM_OK && b->open) close_it(up);
    if (!may_open(f) || up->faults_in_row < LLM_UNABLE_AFTER) return;
    b->fault = f;
    if (!b->open && b->knock == NULL && !net_timer_armed(&b->timer)) knock(up);
}

bool breaker_blocks(const struct upstream *up) {
    return up->breaker.open && net_now_ms(up->m->o.loop) - up->breaker.since_ms < LLM_OUTAGE_MS;
}
