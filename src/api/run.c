/* The direct call: POST /run/{app} and …/stream. No store is touched while the caller waits. */
#include "api/call.h"
#include "api/openai.h"

#include <stdio.h>
#include <stdlib.h>

static bool stream_timed_out(struct stream *s);

/* --- what both share */

void call_names(struct call *c, struct slice upstream, struct slice model) {
    if (model.len > 0) net_header(c->x, SLICE("x-anyllm-model"), model);
    if (upstream.len > 0) {
        net_header(c->x, SLICE("x-anyllm-upstream"), upstream);
        net_header(c->x, SLICE("x-fal-served-from"), upstream);
    }
    if (c->options.hint.len > 0) net_header(c->x, SLICE("x-fal-runner-hints"), c->options.hint);
}

void call_units(struct call *c, const struct llm_usage *u) {
    char text[OUTPUT_UNITS_BYTES];
    if (c->endpoint == NULL) return;
    struct slice units = output_units(text, c->endpoint, c->api->catalogue, &c->request, u);
    if (units.len > 0) net_header(c->x, SLICE("x-fal-billable-units"), units);
}

/* Parses and checks the body into c->request; answers 422 itself. */
static bool read_input(struct call *c) {
    struct faults f;
    faults_init(&f);
    c->input = endpoint_parse(net_body(c->x), &f);
    bool ok = c->input != NULL &&
              endpoint_read(c->endpoint, yyjson_doc_get_root(c->input), c->api->llm,
                            c->api->catalogue, net_arena(c->x), &c->request, &f);
    c->request.request_id = c->request_id;
    c->request.hint = c->options.hint;
    c->request.no_fallback = c->options.no_fallback;
    if (!ok) call_faults(c, &f);
    faults_free(&f);
    return ok;
}

static void start_timed_out(struct call *c) {
    net_header(c->x, SLICE("x-fal-request-timeout-type"), SLICE("user"));
    call_error(c, 504, "request_timeout", SLICE("Request timed out"));
}

/* The caller's time for beginning is over: what has reached an upstream goes on. */
static void start_is_due(struct net_timer *t) {
    struct call *c = (struct call *)(void *)((char *)t - offsetof(struct call, start));
    if (c->llm == NULL || llm_sent(c->llm)) return;
    llm_cancel(c->llm);
    c->llm = NULL;
    if (c->stream != NULL && stream_timed_out(c->stream)) return;
    if (openai_timed_out(c)) return;
    start_timed_out(c);
}

void call_start(struct call *c, const struct llm_sink *sink) {
    struct llm_error err;
    c->llm = llm_start(c->api->llm, &c->request, sink, c, &err);
    if (c->llm == NULL) {
        call_model_error(c, &err);
        return;
    }
    if (c->options.start_timeout_ms == 0) return;
    c->start.fire = start_is_due;
    net_timer_start(c->api->loop, &c->start, c->options.start_timeout_ms);
}

static void begin(struct call *c, const struct llm_sink *sink) {
    if (!read_input(c)) return;
    c->request.stream = c->stream != NULL;
    call_start(c, sink);
}

/* --- one answer */

static void run_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    c->llm = NULL;
    call_names(c, r->upstream, r->model);
    if (err != NULL) {
        call_model_error(c, err);
        return;
    }
    call_units(c, &r->usage);
    struct buf *b = call_scratch(c);
    output_json(b, c->endpoint, &c->request, r, NULL);
    if (b->failed)
        call_error(c, 500, "result_too_large",
                   SLICE("the answer is larger than the server's limit"));
    else
        call_json(c, 200, buf_slice(b));
}

void handle_run(struct call *c) {
    static const struct llm_sink sink = {.on_end = run_end};
    if (!call_wants_json(c) || !call_endpoint(c) || !call_options_ok(c)) return;
    if (c->endpoint->dialect == ENDPOINT_OPENAI)
        openai_run(c);
    else
        begin(c, &sink);
}

/* --- a stream: cumulative output, one event per delta, the newest only when the caller reads slowly */

#define STREAM_PING_MS 15000U
#define STREAM_TEXT_MAX_BYTES (16U << 20)
#define STREAM_PAUSE_BYTES (256U << 10)
/* Each event repeats all of the text: told in small steps, an answer would cost the square of its length. While it is
 * shorter than this every delta is an event; then the next one waits until the text has grown by a fourteenth. With
 * the last event, which is whole again, an answer of 100 KB stays under 18 times its length: 15 for the sum of the
 * series, 1 for the end, 2 for the beginning in steps of 50 bytes. */
#define STREAM_EVERY_DELTA_BYTES 4096U
#define STREAM_GROWTH 14U

struct stream {
    struct call *call;
    struct net_timer ping;
    struct buf text, reasoning; /* escaped, without quotes: what every event repeats */
    struct buf event;
    size_t told; /* how much of both the last event held */
    bool begun, blocked, dirty, paused;
};

static size_t stream_length(const struct stream *s) {
    return buf_len(&s->text) + buf_len(&s->reasoning);
}

static bool stream_is_due(const struct stream *s) {
    size_t now = stream_length(s);
    return s->dirty && !s->blocked &&
           (now < STREAM_EVERY_DELTA_BYTES || now - s->told >= s->told / STREAM_GROWTH);
}

static void stream_open(struct stream *s) {
    if (s->begun) return;
    s->begun = true;
    call_headers(s->call);
    net_header(s->call->x, SLICE("cache-control"), SLICE("no-store"));
    net_header(s->call->x, SLICE("x-accel-buffering"), SLICE("no"));
    net_stream_begin(s->call->x, 200, SLICE("text/event-stream"));
}

static void stream_write(struct stream *s, struct slice bytes) {
    s->blocked = !net_stream_write(s->call->x, bytes);
    net_timer_start(s->call->api->loop, &s->ping, STREAM_PING_MS);
}

/* A long silence before the first token must not look like a dead server: the answer begins with a comment then, and an
 * error that comes later is told in the stream. */
static void stream_ping(struct net_timer *t) {
    struct stream *s = (struct stream *)(void *)((char *)t - offsetof(struct stream, ping));
    stream_open(s);
    stream_write(s, SLICE(": ping\n\n"));
}

static bool stream_event(struct stream *s, bool partial, const struct llm_usage *usage,
                         const struct llm_error *err) {
    struct buf *b = &s->event;
    buf_reset(b, SIZE_MAX);
    buf_puts(b, "data: {\"output\":\"");
    buf_add(b, buf_slice(&s->text));
    if (s->call->request.reasoning) {
        buf_puts(b, "\",\"reasoning\":\"");
        buf_add(b, buf_slice(&s->reasoning));
    }
    buf_puts(b, partial ? "\",\"partial\":true,\"error\":" : "\",\"partial\":false,\"error\":");
    if (err != NULL)
        json_add_string(b, err->message, true);
    else
        buf_puts(b, "null");
    if (usage != NULL && usage->known) output_usage(b, usage);
    buf_puts(b, "}\n\n");
    s->dirty = false;
    s->told = stream_length(s);
    if (!b->failed) stream_write(s, buf_slice(b));
    return !b->failed;
}

/* A cut answer never looks finished. */
static void stream_finish(struct stream *s, const struct llm_usage *usage,
                          const struct llm_error *err) {
    bool whole = stream_event(s, err != NULL, usage, err) && err == NULL;
    net_timer_stop(s->call->api->loop, &s->ping);
    if (whole)
        net_stream_end(s->call->x);
    else
        net_stream_abort(s->call->x);
}

/* False: nothing was said yet, so the answer can be an error of its own. */
static bool stream_timed_out(struct stream *s) {
    static const struct llm_error late = {LLM_TIMEOUT, {"Request timed out", 17}, -1};
    net_timer_stop(s->call->api->loop, &s->ping);
    if (s->begun) stream_finish(s, NULL, &late);
    return s->begun;
}

static void stream_start(void *user, struct slice upstream, struct slice model) {
    struct stream *s = ((struct call *)user)->stream;
    if (!s->begun) call_names(s->call, upstream, model);
    stream_open(s);
}

static void stream_delta(void *user, struct slice text, struct slice reasoning) {
    static const struct llm_error too_large = {
        LLM_BAD_ANSWER, {"the answer is larger than the server's limit", 44}, -1};
    struct call *c = user;
    struct stream *s = c->stream;
    if (!c->request.reasoning) reasoning = SLICE("");
    if (text.len == 0 && reasoning.len == 0) return;
    if (!output_add_escaped(&s->text, text) || !output_add_escaped(&s->reasoning, reasoning)) {
        llm_cancel(c->llm);
        c->llm = NULL;
        stream_finish(s, NULL, &too_large);
        return;
    }
    s->dirty = true;
    if (stream_is_due(s)) {
        stream_event(s, true, NULL, NULL);
    } else if (s->blocked && !s->paused && buf_len(&s->text) > STREAM_PAUSE_BYTES) {
        s->paused = true;
        llm_pause(c->llm);
    }
}

void stream_drained(struct call *c) {
    struct stream *s = c->stream;
    openai_drained(c);
    if (s == NULL) return;
    s->blocked = false;
    if (stream_is_due(s)) stream_event(s, true, NULL, NULL);
    if (!s->paused || s->blocked || c->llm == NULL) return;
    s->paused = false;
    llm_resume(c->llm);
}

static void stream_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct stream *s = c->stream;
    c->llm = NULL;
    if (!s->begun && err != NULL) {
        net_timer_stop(c->api->loop, &s->ping);
        call_names(c, r->upstream, r->model);
        call_model_error(c, err);
        return;
    }
    stream_open(s);
    stream_finish(s, &r->usage, err);
}

void handle_stream(struct call *c) {
    static const struct llm_sink sink = {
        .on_start = stream_start, .on_delta = stream_delta, .on_end = stream_end};
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
    s->call = c;
    s->ping.fire = stream_ping;
    buf_init(&s->text, STREAM_TEXT_MAX_BYTES);
    buf_init(&s->reasoning, STREAM_TEXT_MAX_BYTES);
    buf_init(&s->event, 3 * STREAM_TEXT_MAX_BYTES);
    c->stream = s;
    begin(c, &sink);
    if (c->llm != NULL) net_timer_start(c->api->loop, &s->ping, STREAM_PING_MS);
}

void run_gone(struct call *c) {
    if (c->llm != NULL) llm_cancel(c->llm);
    c->llm = NULL;
    net_timer_stop(c->api->loop, &c->start);
    yyjson_doc_free(c->input);
    c->input = NULL;
    openai_gone(c);
    if (c->stream == NULL) return;
    net_timer_stop(c->api->loop, &c->stream->ping);
    buf_free(&c->stream->text);
    buf_free(&c->stream->reasoning);
    buf_free(&c->stream->event);
    c->stream = NULL;
}
