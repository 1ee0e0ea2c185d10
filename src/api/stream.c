/* The direct call as a stream: POST /run/{app}/stream. Cumulative output, an event for each read from the upstream; the
 * newest only when the caller reads slowly or the text is long. */
#include "api/events.h"
#include "api/ledger.h"
#include "api/telling.h"

#define STREAM_PAUSE_BYTES (256U << 10)

struct stream {
    struct events events;
    struct telling telling;
    struct buf event;
    bool paused;
};

static bool stream_event(struct stream *s, bool partial, const struct llm_usage *usage,
                         const struct llm_error *err) {
    struct buf *b = &s->event;
    buf_reset(b, SIZE_MAX);
    buf_puts(b, "data: ");
    telling_open(&s->telling, b, s->events.call->request.reasoning, partial, usage, err);
    buf_puts(b, "}\n\n");
    if (!b->failed) events_write(&s->events, buf_slice(b));
    return !b->failed;
}

/* A cut answer never looks finished. */
static void stream_finish(struct stream *s, const struct llm_usage *usage,
                          const struct llm_error *err) {
    bool whole = stream_event(s, err != NULL, usage, err) && err == NULL;
    if (whole)
        events_end(&s->events);
    else
        events_abort(&s->events);
}

/* False: nothing was said yet, so the answer can be an error of its own. */
static bool stream_timed_out(struct call *c) {
    static const struct llm_error late = {LLM_TIMEOUT, {"Request timed out", 17}, -1};
    struct stream *s = c->own;
    events_stop(&s->events);
    if (s->events.begun) stream_finish(s, NULL, &late);
    return s->events.begun;
}

/* No other upstream will be tried: what was kept for one is of no more use. */
static void stream_start(void *user, struct slice upstream, struct slice model) {
    struct call *c = user;
    struct stream *s = c->own;
    if (!s->events.begun) call_names(c, upstream, model);
    events_open(&s->events);
    call_drop_input(c);
}

static void stream_delta(void *user, struct slice text, struct slice reasoning) {
    static const struct llm_error too_large = {
        LLM_BAD_ANSWER, {"the answer is larger than the server's limit", 44}, -1};
    struct call *c = user;
    struct stream *s = c->own;
    if (!c->request.reasoning) reasoning = SLICE("");
    if (text.len == 0 && reasoning.len == 0) return;
    if (!telling_add(&s->telling, text, reasoning)) {
        ledger_left(c, llm_fault_info(too_large.fault)->http_status);
        llm_cancel(c->llm);
        c->llm = NULL;
        stream_finish(s, NULL, &too_large);
        return;
    }
    if (!s->events.blocked && telling_is_due(&s->telling)) {
        stream_event(s, true, NULL, NULL);
    } else if (s->events.blocked && !s->paused && buf_len(&s->telling.text) > STREAM_PAUSE_BYTES) {
        s->paused = true;
        llm_pause(c->llm);
    }
}

static void stream_drained(struct call *c) {
    struct stream *s = c->own;
    s->events.blocked = false;
    if (telling_is_due(&s->telling)) stream_event(s, true, NULL, NULL);
    if (!s->paused || s->events.blocked || c->llm == NULL) return;
    s->paused = false;
    llm_resume(c->llm);
}

static void stream_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct stream *s = c->own;
    c->llm = NULL;
    if (err != NULL)
        ledger_failed(c, r, err);
    else
        ledger_call(c, r, 200, false);
    if (!s->events.begun && err != NULL) {
        events_stop(&s->events);
        call_names(c, r->upstream, r->model);
        call_model_error(c, err);
        return;
    }
    stream_finish(s, &r->usage, err);
}

static void stream_gone(struct call *c) {
    struct stream *s = c->own;
    events_stop(&s->events);
    telling_free(&s->telling);
    buf_free(&s->event);
}

void handle_stream(struct call *c) {
    static const struct llm_sink sink = {
        .on_start = stream_start, .on_delta = stream_delta, .on_end = stream_end};
    static const struct call_hooks hooks = {stream_drained, stream_timed_out, stream_gone};
    if (!call_wants_json(c) || !call_endpoint(c) || !call_options_ok(c)) return;
    if (c->endpoint->dialect == ENDPOINT_OPENAI) {
        call_error(
            c, 404, NULL,
            SLICE("Path /stream not found: this endpoint streams what asks for \"stream\": true"));
        return;
    }
    struct stream *s = arena_zalloc(net_arena(c->x), sizeof *s);
    if (s == NULL) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    if (!call_read_input(c)) return;
    telling_init(&s->telling);
    buf_init(&s->event, 3 * TELLING_MAX_BYTES);
    events_start(&s->events, c);
    c->own = s;
    c->hooks = &hooks;
    c->request.stream = true;
    call_start(c, &sink);
    if (!call_runs(c)) events_stop(&s->events);
}
