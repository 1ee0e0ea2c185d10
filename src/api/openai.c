/* OpenAI's chat completions, answered with the upstream's own words. */
#include "api/openai.h"

#include "api/call.h"

#include <stdio.h>

#define PING_MS 15000U

struct openai_stream {
    struct call *call;
    struct net_timer ping;
    bool begun, paused;
};

/* --- one answer */

static void whole_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    c->llm = NULL;
    call_names(c, r->upstream, r->model);
    if (err != NULL) {
        call_model_error(c, err);
        return;
    }
    call_units(c, &r->usage);
    call_json(c, 200, r->body);
}

/* --- a stream: events as they came; after [DONE] nothing, without it the connection is cut */

static void stream_open(struct openai_stream *s) {
    if (s->begun) return;
    s->begun = true;
    call_headers(s->call);
    net_header(s->call->x, SLICE("cache-control"), SLICE("no-store"));
    net_header(s->call->x, SLICE("x-accel-buffering"), SLICE("no"));
    net_stream_begin(s->call->x, 200, SLICE("text/event-stream; charset=utf-8"));
}

static void stream_write(struct openai_stream *s, struct slice bytes) {
    struct call *c = s->call;
    net_timer_start(c->api->loop, &s->ping, PING_MS);
    if (net_stream_write(c->x, bytes) || s->paused || c->llm == NULL) return;
    s->paused = true;
    llm_pause(c->llm);
}

/* While an upstream thinks, proxies on the way must not take us for dead. */
static void stream_ping(struct net_timer *t) {
    struct openai_stream *s =
        (struct openai_stream *)(void *)((char *)t - offsetof(struct openai_stream, ping));
    stream_open(s);
    stream_write(s, SLICE(": ping\n\n"));
}

/* SDKs raise an event with an `error`; that the stream ends without [DONE] tells the others. */
static void stream_fail(struct openai_stream *s, const struct llm_error *err) {
    struct buf *b = call_scratch(s->call);
    buf_puts(b, "data: ");
    openai_model_error_json(b, err);
    buf_puts(b, "\n\n");
    if (!b->failed) stream_write(s, buf_slice(b));
    net_timer_stop(s->call->api->loop, &s->ping);
    net_stream_abort(s->call->x);
}

static void stream_start(void *user, struct slice upstream, struct slice model) {
    struct openai_stream *s = ((struct call *)user)->openai_stream;
    if (!s->begun) call_names(s->call, upstream, model);
    stream_open(s);
}

static void stream_events(void *user, struct slice sse) {
    stream_write(((struct call *)user)->openai_stream, sse);
}

static void stream_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct openai_stream *s = c->openai_stream;
    c->llm = NULL;
    if (err == NULL) {
        stream_open(s);
        stream_write(s, SLICE("data: [DONE]\n\n"));
        net_timer_stop(c->api->loop, &s->ping);
        net_stream_end(c->x);
    } else if (s->begun) {
        stream_fail(s, err);
    } else {
        net_timer_stop(c->api->loop, &s->ping);
        call_names(c, r->upstream, r->model);
        call_model_error(c, err);
    }
}

void openai_drained(struct call *c) {
    struct openai_stream *s = c->openai_stream;
    if (s == NULL || !s->paused || c->llm == NULL) return;
    s->paused = false;
    llm_resume(c->llm);
}

bool openai_timed_out(struct call *c) {
    static const struct llm_error late = {
        .fault = LLM_TIMEOUT, .message = {"Request timed out", 17}, .retry_after_ms = -1};
    struct openai_stream *s = c->openai_stream;
    if (s == NULL) return false;
    net_timer_stop(c->api->loop, &s->ping);
    if (s->begun) stream_fail(s, &late);
    return s->begun;
}

void openai_gone(struct call *c) {
    if (c->openai_stream == NULL) return;
    net_timer_stop(c->api->loop, &c->openai_stream->ping);
    c->openai_stream = NULL;
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
    struct openai_stream *s = arena_zalloc(net_arena(c->x), sizeof *s);
    if (s == NULL) {
        call_error(c, 503, NULL, SLICE("out of memory"));
        return;
    }
    s->call = c;
    s->ping.fire = stream_ping;
    c->openai_stream = s;
    call_start(c, &sink);
    if (c->llm != NULL) net_timer_start(c->api->loop, &s->ping, PING_MS);
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
