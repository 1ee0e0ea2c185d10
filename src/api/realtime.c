/* fal's realtime protocol: GET /run/{app}/realtime. An input is a message, msgpack (binary) or JSON (text); its outputs come in
 * the same form, cumulative as those of a model stream, then the next input is begun. What goes wrong with one is an x-fal-error
 * in JSON, whatever the form: no client reads it otherwise. The connection stays. */
#include "api/realtime.h"

#include "api/ledger.h"
#include "api/realtime_input.h"
#include "api/realtime_socket.h"
#include "api/telling.h"
#include "base/msgpack_json.h"

#define REALTIME_PAUSE_BYTES (256U << 10)
#define REALTIME_KEEP_BYTES (64U << 10)

struct realtime {
    struct socket socket; /* first: c->own is its address as well */
    struct input input;
    struct telling telling;
    struct buf text, packed; /* a message being read or made */
    enum ws_kind kind;       /* of the present input */
    bool paused;             /* the model, for a peer that reads slowly */
};

/* --- telling */

static void say_text(struct realtime *rt, struct buf *b) {
    if (b->failed)
        socket_close(&rt->socket, WS_INTERNAL, SLICE("out of memory"));
    else
        socket_say(&rt->socket, WS_TEXT, buf_slice(b));
}

static void say_output(struct realtime *rt, bool partial, const struct llm_usage *usage) {
    struct buf *b = &rt->text;
    buf_reset(b, REALTIME_KEEP_BYTES);
    telling_open(&rt->telling, b, rt->socket.call->request.reasoning, partial, usage, NULL);
    if (rt->input.id.len > 0) buf_addc(b, ',');
    input_add_id(b, &rt->input);
    buf_addc(b, '}');
    if (rt->kind == WS_TEXT || b->failed) {
        say_text(rt, b);
        return;
    }
    buf_reset(&rt->packed, REALTIME_KEEP_BYTES);
    if (msgpack_from_json(buf_slice(b), &rt->packed))
        socket_say(&rt->socket, WS_BINARY, buf_slice(&rt->packed));
    else
        socket_close(&rt->socket, WS_INTERNAL, SLICE("out of memory"));
}

static void say_unauthorized(struct socket *s) {
    socket_say(s, WS_TEXT, SLICE("{\"status\":\"error\",\"error\":\"Unauthorized\"}"));
    socket_close(s, WS_POLICY, SLICE("Unauthorized"));
}

static void done(struct realtime *rt) {
    rt->paused = false;
    input_end(&rt->input);
    telling_reset(&rt->telling);
    socket_done(&rt->socket);
}

static void refuse(struct realtime *rt, const struct input_refusal *why) {
    if (why->key_ended) {
        say_unauthorized(&rt->socket);
    } else {
        buf_reset(&rt->text, REALTIME_KEEP_BYTES);
        input_event(&rt->text, &rt->input, why);
        say_text(rt, &rt->text);
    }
    done(rt);
}

/* --- the model's hooks */

static void on_delta(void *user, struct slice text, struct slice reasoning) {
    static const struct llm_error too_large = {
        LLM_BAD_ANSWER, {"the answer is larger than the server's limit", 44}, -1};
    struct call *c = user;
    struct realtime *rt = c->own;
    struct input_refusal why;
    if (!c->request.reasoning) reasoning = SLICE("");
    if (text.len == 0 && reasoning.len == 0) return;
    if (!telling_add(&rt->telling, text, reasoning)) {
        ledger_left(c, llm_fault_info(too_large.fault)->http_status);
        llm_cancel(c->llm);
        c->llm = NULL;
        input_failed(&rt->input, &too_large, &why);
        refuse(rt, &why);
    } else if (!rt->socket.blocked && telling_is_due(&rt->telling)) {
        say_output(rt, true, NULL);
    } else if (rt->socket.blocked && !rt->paused &&
               buf_len(&rt->telling.text) > REALTIME_PAUSE_BYTES) {
        rt->paused = true;
        llm_pause(c->llm);
    }
}

static void on_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    struct realtime *rt = c->own;
    struct input_refusal why;
    c->llm = NULL;
    if (err != NULL) {
        ledger_failed(c, r, err);
        input_failed(&rt->input, err, &why);
        refuse(rt, &why);
        return;
    }
    ledger_call(c, r, 200, false);
    say_output(rt, false, &r->usage);
    done(rt);
}

/* --- the socket's hooks */

static bool takes_file(void *user, struct slice member) {
    const struct endpoint *e = user;
    for (unsigned i = 0; i < IN_COUNT; i++) {
        const struct input_field *f = input_field_at((enum input_row)i);
        if ((e->takes >> i & 1) != 0 && f->media != MEDIA_NONE && slice_is(member, f->name))
            return true;
    }
    return false;
}

static void on_message(struct call *c, enum ws_kind kind, struct slice data) {
    static const struct llm_sink sink = {.on_delta = on_delta, .on_end = on_end};
    struct realtime *rt = c->own;
    struct input_refusal why = {.status = 400, .type = "bad_request"};
    const char *fault = NULL;
    rt->kind = kind;
    if (kind == WS_BINARY) {
        buf_reset(&rt->packed, REALTIME_KEEP_BYTES);
        fault = msgpack_to_json(data, takes_file, (void *)(uintptr_t)c->endpoint, &rt->packed);
        data = buf_slice(&rt->packed);
    }
    why.reason = slice_of(fault);
    if (fault != NULL || !input_start(&rt->input, data, true, &sink, &why)) refuse(rt, &why);
}

static void on_drained(struct call *c) {
    struct realtime *rt = c->own;
    if (c->llm != NULL && telling_is_due(&rt->telling)) say_output(rt, true, NULL);
    if (!rt->paused || rt->socket.blocked || c->llm == NULL) return;
    rt->paused = false;
    llm_resume(c->llm);
}

/* A message that fal's clients pass over; who looks at the frames can count. */
static void on_dropped(struct call *c) {
    socket_say(c->own, WS_TEXT, SLICE("{\"type\":\"x-fal-message\",\"action\":\"dropped\"}"));
}

static void on_idle(struct call *c) {
    socket_say(
        c->own, WS_TEXT,
        SLICE(
            "{\"type\":\"x-fal-error\",\"error\":\"TIMEOUT\",\"reason\":\"no inputs, reconnect when needed!\"}"));
}

static void on_gone(struct call *c) {
    struct realtime *rt = c->own;
    input_free(&rt->input);
    telling_free(&rt->telling);
    buf_free(&rt->text);
    buf_free(&rt->packed);
}

void handle_realtime(struct call *c) {
    static const struct socket_hooks hooks = {.message = on_message,
                                              .drained = on_drained,
                                              .dropped = on_dropped,
                                              .idle = on_idle,
                                              .gone = on_gone};
    size_t buffering;
    if (!call_endpoint(c) || !call_options_ok(c) || !socket_buffering(c, &buffering)) return;
    if (c->endpoint->dialect == ENDPOINT_OPENAI) {
        call_error(c, 404, NULL,
                   SLICE("Path /realtime not found: this endpoint speaks OpenAI's dialect"));
        return;
    }
    struct realtime *rt = arena_zalloc(net_arena(c->x), sizeof *rt);
    if (rt == NULL) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    c->own = rt;
    if (!socket_open(&rt->socket, c, &hooks, buffering)) return;
    input_init(&rt->input, c);
    telling_init(&rt->telling);
    buf_init(&rt->text, 3 * TELLING_MAX_BYTES);
    buf_init(&rt->packed, 2 * c->api->config->max_body_bytes + 3 * TELLING_MAX_BYTES);
    if (c->who.limits == NULL) say_unauthorized(&rt->socket);
}
