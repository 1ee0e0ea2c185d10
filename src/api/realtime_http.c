/* HTTP over WebSocket: GET /run/{app}[/stream], fal's ws.fal.run. Each message is the JSON body of a request to the application;
 * they are answered in order: {"type":"start",…}, frames of the body, {"type":"end",…}. The body of …/stream is what the model's
 * stream is by HTTP, an event or more in a frame. */
#include "api/realtime.h"

#include "api/ledger.h"
#include "api/realtime_input.h"
#include "api/realtime_socket.h"
#include "api/telling.h"

#define HTTP_PAUSE_BYTES (256U << 10)
#define HTTP_KEEP_BYTES (64U << 10)
#define HTTP_BODY_MAX_BYTES (64U << 20)

struct over {
    struct socket socket; /* first: c->own is its address as well */
    struct input input;
    struct telling telling;
    struct buf text;
    uint64_t began_ms, first_ms; /* of the present request */
    bool streams;                /* the path ends in /stream */
    bool begun;                  /* its start was said */
    bool paused;
};

/* --- frames */

static void say(struct over *o, struct buf *b) {
    if (b->failed)
        socket_close(&o->socket, WS_INTERNAL, SLICE("out of memory"));
    else
        socket_say(&o->socket, WS_TEXT, buf_slice(b));
}

static struct buf *fresh(struct over *o) {
    buf_reset(&o->text, HTTP_KEEP_BYTES);
    return &o->text;
}

static void add_header(struct buf *b, const char *name, struct slice value) {
    if (value.len == 0) return;
    buf_printf(b, ",\"%s\":", name);
    json_add_string(b, value, true);
}

static void say_start(struct over *o, unsigned status, bool events, struct slice upstream,
                      struct slice model) {
    struct call *c = o->socket.call;
    struct buf *b = fresh(o);
    if (o->begun) return;
    o->begun = true;
    o->first_ms = clock_mono_ms(c->api->clock);
    buf_printf(b, "{\"type\":\"start\",\"request_id\":\"%s\",\"status\":%u,\"headers\":{",
               c->request_id, status);
    buf_printf(b, "\"content-type\":\"%s\"", events ? "text/event-stream" : "application/json");
    add_header(b, "x-fal-request-id", slice_of(c->request_id));
    add_header(b, "x-fal-served-from", upstream);
    add_header(b, "x-anyllm-upstream", upstream);
    add_header(b, "x-anyllm-model", model);
    buf_puts(b, "}}");
    say(o, b);
}

static void say_end(struct over *o, unsigned status) {
    struct buf *b = fresh(o);
    uint64_t ms = o->first_ms - o->began_ms;
    buf_printf(b, "{\"type\":\"end\",\"request_id\":\"%s\",\"status\":%u,",
               o->socket.call->request_id, status);
    buf_printf(b, "\"time_to_first_byte_seconds\":%llu.%03u}", (unsigned long long)ms / 1000,
               (unsigned)(ms % 1000));
    say(o, b);
    o->paused = false;
    input_end(&o->input);
    telling_reset(&o->telling);
    socket_done(&o->socket);
}

static void say_event(struct over *o, bool partial, const struct llm_usage *usage,
                      const struct llm_error *err) {
    struct buf *b = fresh(o);
    buf_puts(b, "data: ");
    telling_open(&o->telling, b, o->socket.call->request.reasoning, partial, usage, err);
    buf_puts(b, "}\n\n");
    say(o, b);
}

/* The status of an answer that has begun cannot change: its last event says what happened, and its end. */
static void refuse(struct over *o, const struct input_refusal *why) {
    if (why->key_ended) {
        socket_close(&o->socket, WS_POLICY, SLICE("Unauthorized"));
        socket_done(&o->socket);
        return;
    }
    if (o->begun) {
        say_event(o, true, NULL, why->err);
    } else {
        say_start(o, why->status, false, SLICE(""), SLICE(""));
        input_body(fresh(o), why);
        say(o, &o->text);
    }
    say_end(o, why->status);
}

/* --- the model's hooks */

static void on_start(void *user, struct slice upstream, struct slice model) {
    struct call *c = user;
    say_start(c->own, 200, true, upstream, model);
}

static void on_delta(void *user, struct slice text, struct slice reasoning) {
    static const struct llm_error too_large = {
        LLM_BAD_ANSWER, {"the answer is larger than the server's limit", 44}, -1};
    struct call *c = user;
    struct over *o = c->own;
    struct input_refusal why;
    if (!c->request.reasoning) reasoning = SLICE("");
    if (text.len == 0 && reasoning.len == 0) return;
    if (!telling_add(&o->telling, text, reasoning)) {
        ledger_left(c, llm_fault_info(too_large.fault)->http_status);
        llm_cancel(c->llm);
        c->llm = NULL;
        input_failed(&o->input, &too_large, &why);
        refuse(o, &why);
    } else if (!o->socket.blocked && telling_is_due(&o->telling)) {
        say_event(o, true, NULL, NULL);
    } else if (o->socket.blocked && !o->paused && buf_len(&o->telling.text) > HTTP_PAUSE_BYTES) {
        o->paused = true;
        llm_pause(c->llm);
    }
}

static void on_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct over *o = c->own;
    struct input_refusal why;
    c->llm = NULL;
    if (err != NULL) {
        ledger_failed(c, r, err);
        input_failed(&o->input, err, &why);
        refuse(o, &why);
        return;
    }
    ledger_call(c, r, 200, false);
    say_start(o, 200, o->streams, r->upstream, r->model);
    if (o->streams) {
        say_event(o, false, &r->usage, NULL);
    } else {
        output_json(fresh(o), c->endpoint, &c->request, r, NULL);
        say(o, &o->text);
    }
    say_end(o, 200);
}

/* --- the socket's hooks */

static void on_message(struct call *c, enum ws_kind kind, struct slice data) {
    static const struct llm_sink streamed = {
        .on_start = on_start, .on_delta = on_delta, .on_end = on_end};
    static const struct llm_sink whole = {.on_end = on_end};
    struct over *o = c->own;
    struct input_refusal why;
    if (kind != WS_TEXT) {
        socket_close(&o->socket, WS_UNSUPPORTED, SLICE("a request is JSON text"));
        socket_done(&o->socket);
        return;
    }
    o->begun = false;
    o->began_ms = clock_mono_ms(c->api->clock);
    if (!input_start(&o->input, data, o->streams, o->streams ? &streamed : &whole, &why))
        refuse(o, &why);
}

static void on_drained(struct call *c) {
    struct over *o = c->own;
    if (o->streams && c->llm != NULL && telling_is_due(&o->telling)) say_event(o, true, NULL, NULL);
    if (!o->paused || o->socket.blocked || c->llm == NULL) return;
    o->paused = false;
    llm_resume(c->llm);
}

static void nothing(struct call *c) {
}

static void on_gone(struct call *c) {
    struct over *o = c->own;
    input_free(&o->input);
    telling_free(&o->telling);
    buf_free(&o->text);
}

/* fal-ai/any-llm, or fal-ai/any-llm/stream. */
static bool reaches(struct call *c, bool *streams) {
    *streams = c->endpoint != NULL && slice_is(c->beyond, "stream");
    if (*streams) c->beyond = SLICE("");
    if (!call_endpoint(c)) return false;
    if (c->endpoint->dialect != ENDPOINT_OPENAI) return true;
    call_error(c, 404, NULL, SLICE("This endpoint speaks OpenAI's dialect, by HTTP only"));
    return false;
}

void handle_http_over_websocket(struct call *c) {
    static const struct socket_hooks hooks = {.message = on_message,
                                              .drained = on_drained,
                                              .dropped = nothing,
                                              .idle = nothing,
                                              .gone = on_gone};
    bool streams;
    if (!reaches(c, &streams) || !call_options_ok(c)) return;
    struct over *o = arena_zalloc(net_arena(c->x), sizeof *o);
    if (o == NULL) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    o->streams = streams;
    c->own = o;
    if (!socket_open(&o->socket, c, &hooks, 0)) return;
    input_init(&o->input, c);
    telling_init(&o->telling);
    buf_init(&o->text, HTTP_BODY_MAX_BYTES);
    if (c->who.limits != NULL) return;
    socket_say(&o->socket, WS_TEXT, SLICE("{\"status\":\"error\",\"error\":\"Unauthorized\"}"));
    socket_close(&o->socket, WS_POLICY, SLICE("Unauthorized"));
}
