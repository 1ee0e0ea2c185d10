/* OpenAI's chat completions, answered with the upstream's own words. */
#include "api/openai.h"

#include "api/events.h"
#include "api/ledger.h"

#include <stdio.h>

struct openai_stream {
    struct events events;
    bool paused;
};

/* --- one answer */

static void whole_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    c->llm = NULL;
    call_names(c, r->upstream, r->model);
    if (err != NULL) {
        ledger_failed(c, r, err);
        call_model_error(c, err);
        return;
    }
    ledger_answer(c, r);
    call_json(c, 200, r->body);
}

/* --- a stream: events as they came; after [DONE] nothing, without it the connection is cut */

static void stream_write(struct openai_stream *s, struct slice bytes) {
    struct call *c = s->events.call;
    events_write(&s->events, bytes);
    if (!s->events.blocked || s->paused || c->llm == NULL) return;
    s->paused = true;
    llm_pause(c->llm);
}

/* SDKs raise an event with an `error`; that the stream ends without [DONE] tells the others. */
static void stream_fail(struct openai_stream *s, const struct llm_error *err) {
    struct buf *b = call_scratch(s->events.call);
    buf_puts(b, "data: ");
    openai_model_error_json(b, err);
    buf_puts(b, "\n\n");
    if (!b->failed) events_write(&s->events, buf_slice(b));
    events_abort(&s->events);
}

static void stream_start(void *user, struct slice upstream, struct slice model) {
    struct call *c = user;
    struct openai_stream *s = c->own;
    if (!s->events.begun) call_names(c, upstream, model);
    events_open(&s->events);
}

static void stream_events(void *user, struct slice sse) {
    stream_write(((struct call *)user)->own, sse);
}

static void stream_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct openai_stream *s = c->own;
    c->llm = NULL;
    if (err != NULL)
        ledger_failed(c, r, err);
    else
        ledger_call(c, r, 200, false);
    if (err == NULL) {
        events_write(&s->events, SLICE("data: [DONE]\n\n"));
        events_end(&s->events);
    } else if (s->events.begun) {
        stream_fail(s, err);
    } else {
        events_stop(&s->events);
        call_names(c, r->upstream, r->model);
        call_model_error(c, err);
    }
}

static void stream_drained(struct call *c) {
    struct openai_stream *s = c->own;
    s->events.blocked = false;
    if (!s->paused || c->llm == NULL) return;
    s->paused = false;
    llm_resume(c->llm);
}

static bool stream_timed_out(struct call *c) {
    static const struct llm_error late = {
        .fault = LLM_TIMEOUT, .message = {"Request timed out", 17}, .retry_after_ms = -1};
    struct openai_stream *s = c->own;
    events_stop(&s->events);
    if (s->events.begun) stream_fail(s, &late);
    return s->events.begun;
}

static void stream_gone(struct call *c) {
    events_stop(&((struct openai_stream *)c->own)->events);
}

/* --- beginning */

static bool read_input(struct call *c) {
    struct openai_fault f;
    if (!openai_read(net_body(c->x), c->api->llm, net_arena(c->x), &c->request, &f)) {
        net_header(c->x, SLICE("x-fal-billable-units"), SLICE("0"));
        call_error_param(c, f.status, f.code, f.param, slice_of(f.message));
        return false;
    }
    c->request.request_id = c->request_id;
    c->request.hint = c->options.hint;
    c->request.no_fallback = c->options.no_fallback;
    c->request.keeps_nothing = c->endpoint != NULL && c->endpoint->keeps_nothing;
    return true;
}

static void begin_stream(struct call *c) {
    static const struct llm_sink sink = {
        .on_start = stream_start, .on_events = stream_events, .on_end = stream_end};
    static const struct call_hooks hooks = {stream_drained, stream_timed_out, stream_gone};
    struct openai_stream *s = arena_zalloc(net_arena(c->x), sizeof *s);
    if (s == NULL) {
        call_error(c, 503, NULL, SLICE("out of memory"));
        return;
    }
    events_start(&s->events, c);
    c->own = s;
    c->hooks = &hooks;
    call_start(c, &sink);
    if (!call_runs(c)) events_stop(&s->events);
}

void openai_run(struct call *c) {
    static const struct llm_sink sink = {.on_end = whole_end};
    if (!read_input(c)) return;
    if (c->request.stream)
        begin_stream(c);
    else
        call_start(c, &sink);
}

void handle_chat(struct call *c) {
    if (call_wants_json(c) && call_options_ok(c)) openai_run(c);
}

/* --- the list of models */

static void add_model(struct buf *b, struct slice id) {
    struct slice rest, maker = slice_cut(id, '/', &rest);
    buf_puts(b, "{\"id\":");
    json_add_string(b, id, true);
    buf_puts(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
    json_add_string(b, rest.ptr != NULL ? maker : SLICE("anyllm"), true);
    buf_addc(b, '}');
}

void handle_models(struct call *c) {
    struct buf *b = call_scratch(c);
    struct slice id;
    size_t n = 0;
    buf_puts(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; llm_model_at(c->api->llm, i, &id); i++) {
        if (id.len == 0) continue;
        if (n++ > 0) buf_addc(b, ',');
        add_model(b, id);
    }
    buf_puts(b, "]}");
    call_scratch_json(c, 200);
}

void handle_model(struct call *c) {
    char text[320];
    if (llm_knows(c->api->llm, c->id)) {
        add_model(call_scratch(c), c->id);
        call_scratch_json(c, 200);
        return;
    }
    int n = snprintf(text, sizeof text, "The model `%.*s` does not exist here",
                     (int)(c->id.len < 200 ? c->id.len : 200), c->id.ptr);
    call_error_param(c, 404, "model_not_found", "model", slice_make(text, (size_t)n));
}
