/* An upstream's answer on its way to the sink: whole, as a stream of chunks, or as an error.
 *
 * Deltas that came in one read are given as one. A stream is whole when a finish_reason and [DONE] came: without either it
 * was cut, however politely the connection ended. */
#include "llm/inner.h"

#include <stdio.h>

void relay_reset(struct llm_call *c) {
    buf_reset(&c->in, SIZE_MAX);
    buf_reset(&c->output, SIZE_MAX);
    buf_reset(&c->thoughts, SIZE_MAX);
    buf_reset(&c->events, SIZE_MAX);
    buf_reset(&c->raw_usage, SIZE_MAX);
    if (c->streamed) sse_free(&c->sse);
    c->streamed = c->saw_chunk = c->saw_finish = c->saw_done = c->says = false;
    c->told = c->thoughts_told = 0;
    c->usage = (struct llm_usage){0};
    c->finish_reason[0] = '\0';
    c->first_ms = 0;
    c->status = 0;
    c->retry_after_ms = -1;
}

/* The present upstream failed while its call runs. Nothing of c is to be touched afterwards but by call_leave. */
static void drop(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
                 const char *detail) {
    call_abort_net(c);
    call_fail(c, f, e, detail);
}

/* --- the head */

static bool is_type(struct slice value, struct slice type) {
    struct slice rest;
    return slice_eq_nocase(slice_trim(slice_cut(value, ';', &rest)), type);
}

static bool is_stream(const struct llm_call *c, const struct h1_head *head) {
    struct slice type = h1_get(head, SLICE("content-type"), NULL);
    return type.ptr == NULL ? c->streamed : is_type(type, SLICE("text/event-stream"));
}

/* What a caller who is answered in the upstream's own words did not ask for cannot be given to it. */
static bool stream_is_unasked(const struct llm_call *c) {
    return call_is_raw(c) && !c->r.stream;
}

static void on_head(struct net_call *n, const struct h1_head *head, void *user) {
    struct llm_call *c = user;
    struct slice coding = h1_get(head, SLICE("content-encoding"), NULL);
    call_enter(c);
    c->status = head->status;
    say_generation(c, h1_get(head, SLICE("x-generation-id"), NULL));
    if (head->status >= 300) {
        c->state = CALL_ERROR; /* redirects too: our key would travel (U20) */
        c->retry_after_ms = fault_retry_after(head, clock_wall_ms(c->m->o.clock));
    } else if (coding.len > 0 && !slice_eq_nocase(coding, SLICE("identity"))) {
        c->status = 0; /* asking again would not help */
        drop(c, LLM_BAD_ANSWER, NULL, "a content encoding that was not asked for");
    } else if (is_stream(c, head) && stream_is_unasked(c)) {
        drop(c, LLM_BAD_ANSWER, NULL, "a stream that was not asked for");
    } else if (is_stream(c, head)) {
        if (!c->streamed) sse_init(&c->sse, LLM_MAX_LINE_BYTES, LLM_MAX_EVENT_BYTES);
        c->streamed = true;
        c->state = CALL_STREAM;
    } else {
        c->state = CALL_WHOLE;
    }
    call_leave(c);
}

/* --- a stream */

static void start(struct llm_call *c) {
    if (c->started) return;
    c->started = true;
    buf_reset(&c->body, 0); /* the request will not be sent again */
    if (c->sink->on_start != NULL)
        c->sink->on_start(c->user, c->up->cfg->name, c->steps[c->at].model);
}

/* False: a hook cancelled the call. */
static bool tell(struct llm_call *c, struct slice text, struct slice thoughts) {
    if (!c->r.stream || (text.len == 0 && thoughts.len == 0)) return true;
    start(c);
    if (c->state == CALL_OVER) return false;
    if (c->sink->on_delta == NULL) return true;
    c->shown = true;
    c->sink->on_delta(c->user, text, thoughts);
    return c->state != CALL_OVER;
}

/* Events that only give a role wait for more: until then another upstream can answer. */
static bool tell_events(struct llm_call *c) {
    if (!c->says || buf_len(&c->events) == 0) return true;
    start(c);
    if (c->state == CALL_OVER) return false;
    if (c->sink->on_events != NULL) {
        c->shown = true;
        c->sink->on_events(c->user, buf_slice(&c->events));
    }
    if (c->state == CALL_OVER) return false;
    buf_reset(&c->events, SIZE_MAX);
    return true;
}

static bool tell_deltas(struct llm_call *c) {
    if (call_is_raw(c)) return tell_events(c);
    struct slice text = slice_from(buf_slice(&c->output), c->told);
    struct slice thoughts = slice_from(buf_slice(&c->thoughts), c->thoughts_told);
    c->told = buf_len(&c->output);
    c->thoughts_told = buf_len(&c->thoughts);
    return tell(c, text, thoughts);
}

static void keep_usage(struct llm_call *c, const struct llm_usage *u) {
    if (u->raw.len == 0) return;
    buf_reset(&c->raw_usage, SIZE_MAX);
    buf_add(&c->raw_usage, u->raw);
    c->usage = *u;
    c->usage.raw = buf_slice(&c->raw_usage);
}

static void keep_finish(struct llm_call *c, struct slice reason) {
    if (reason.len == 0) return;
    size_t n = reason.len < sizeof c->finish_reason ? reason.len : sizeof c->finish_reason - 1;
    memcpy(c->finish_reason, reason.ptr, n);
    c->finish_reason[n] = '\0';
    c->saw_finish = true;
}

static void note_first_token(struct llm_call *c) {
    if (c->first_ms != 0) return;
    c->first_ms = net_now_ms(c->m->o.loop);
    say_first_token(c);
}

static void keep_text(struct llm_call *c, const struct answer *a) {
    if (a->content.len == 0 && a->reasoning.len == 0) return;
    buf_add(&c->output, a->content);
    if (c->r.reasoning) buf_add(&c->thoughts, a->reasoning);
    note_first_token(c);
}

/* A line break between an event's tokens becomes a space: one line each. */
static void add_line(struct buf *b, struct slice data, bool repaired) {
    size_t before = buf_len(b);
    bool ok = repaired ? answer_add_utf8(b, data) : buf_add(b, data);
    char *p = ok ? b->base + b->start + before : NULL;
    while (ok && (p = memchr(p, '\n', (size_t)(b->base + b->end - p))) != NULL) *p = ' ';
}

static void keep_event(struct llm_call *c, struct slice data, const struct answer *a) {
    if (a->has_error || (a->only_usage && !c->r.wants_usage)) return;
    buf_puts(&c->events, "data: ");
    add_line(&c->events, data, a->repaired);
    buf_puts(&c->events, "\n\n");
    if (!a->says) return;
    c->says = true;
    note_first_token(c);
}

/* What came before the fault is told first. Returns false: the stream is not to be read on. */
static bool fail_stream(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
                        const char *detail) {
    if (tell_deltas(c)) drop(c, f, e, detail);
    return false;
}

static bool take_chunk(struct llm_call *c, struct slice data) {
    struct answer a;
    if (c->saw_done || data.len == 0) return true;
    if (slice_eq(slice_trim(data), SLICE("[DONE]"))) {
        c->saw_done = true;
        return true;
    }
    if (!answer_read(&c->m->reader, data, call_is_raw(c) ? ANSWER_EVENT : ANSWER_CHUNK, &a))
        return fail_stream(c, LLM_BAD_ANSWER, NULL, "a chunk that is none");
    if (call_is_raw(c))
        keep_event(c, data, &a);
    else
        keep_text(c, &a);
    if (c->output.failed || c->thoughts.failed || c->events.failed)
        return fail_stream(c, LLM_BAD_ANSWER, NULL, "an answer larger than the server's limit");
    keep_usage(c, &a.usage);
    if (a.has_error)
        return fail_stream(c, fault_of_error(200, &a.error), &a.error, "an error in the stream");
    keep_finish(c, a.finish_reason);
    c->saw_chunk = c->saw_chunk || a.has_choice;
    return true;
}

static void stream_body(struct llm_call *c, struct slice data) {
    struct sse_event ev;
    size_t used;
    while (data.len > 0) {
        enum sse_result r = sse_feed(&c->sse, data.ptr, data.len, &used, &ev);
        data = slice_from(data, used);
        if (r == SSE_TOO_LONG) {
            fail_stream(c, LLM_BAD_ANSWER, NULL, "a line over the limit");
            return;
        }
        if (r == SSE_EVENT && !take_chunk(c, ev.data)) return;
    }
    net_defer(c->m->o.loop, &c->tell);
}

/* All that one read brought, in however many chunks of HTTP, is told at once. */
void relay_tell(struct net_defer *d) {
    struct llm_call *c = (struct llm_call *)(void *)((char *)d - offsetof(struct llm_call, tell));
    call_enter(c);
    if (c->state == CALL_STREAM) tell_deltas(c);
    call_leave(c);
}

/* --- the end of an answer */

/* The upstream's own figure first, else what the catalogue says of the model that answers; else unknown, which is not 0. */
void relay_price(const struct llm_call *c, struct llm_usage *u) {
    const struct catalogue_model *m = c->steps[c->at].entry;
    if (u->has_cost || !u->known) return;
    if (m == NULL) m = catalogue_find(c->m->o.catalogue, c->steps[c->at].model);
    if (m == NULL || !m->has_price) return;
    u->has_cost = true;
    u->cost_microusd = answer_cost(u, m);
}

/* Silence that a filter made is no answer; what it let through, or a caller of OpenAI's dialect, is told the reason. */
static bool is_withheld(const struct llm_call *c, const struct llm_result *r) {
    return !call_is_raw(c) && r->output.len == 0 && r->reasoning.len == 0 &&
           slice_is(r->finish_reason, "content_filter");
}

static void succeed(struct llm_call *c, struct llm_result *r) {
    if (is_withheld(c, r)) {
        call_fail(c, LLM_CONTENT_POLICY, NULL, "finish_reason content_filter");
        return;
    }
    relay_price(c, &r->usage);
    if (!r->usage.known && !r->usage.has_cost && r->usage.raw.len > 0) say_odd_usage(c, &r->usage);
    if (c->r.stream) start(c);
    if (c->state != CALL_OVER) call_finish(c, r);
}

/* Some servers end with "data: [DONE]" and no blank line behind it. */
static bool done_is_pending(struct llm_call *c) {
    struct sse_event e;
    size_t used;
    return c->streamed && sse_pending(&c->sse) &&
           sse_feed(&c->sse, "\n\n", 2, &used, &e) == SSE_EVENT && slice_is(e.data, "[DONE]");
}

/* What the end of a stream means when nothing broke. */
static enum llm_fault stream_verdict(struct llm_call *c, enum net_fault f) {
    if (f == NET_OK && !c->saw_done) c->saw_done = done_is_pending(c);
    if (c->saw_finish && c->saw_done)
        return LLM_OK; /* what the connection does after that is its own affair */
    if (f != NET_OK) return fault_of_net(f);
    return c->saw_chunk ? LLM_CUT : LLM_BAD_ANSWER;
}

static void end_stream(struct llm_call *c, const struct net_call_end *end) {
    if (!tell_deltas(c)) return;
    enum llm_fault f = stream_verdict(c, end->fault);
    struct llm_result r = {.output = buf_slice(&c->output),
                           .reasoning = buf_slice(&c->thoughts),
                           .finish_reason = slice_of(c->finish_reason),
                           .usage = c->usage};
    if (f == LLM_OK)
        succeed(c, &r);
    else
        call_fail(c, f, NULL, f == LLM_BAD_ANSWER ? "an empty stream" : net_fault_name(end->fault));
}

/* As it came, but for a byte order mark and bytes that are no UTF-8. */
static struct slice raw_body(struct llm_call *c, const struct answer *a) {
    struct slice body = buf_slice(&c->in);
    if (slice_starts(body, SLICE("\xef\xbb\xbf"))) body = slice_from(body, 3);
    return a->repaired && answer_add_utf8(&c->events, body) ? buf_slice(&c->events) : body;
}

static void end_whole(struct llm_call *c, const struct net_call_end *end) {
    struct answer a;
    if (end->fault != NET_OK) {
        call_fail(c, fault_of_net(end->fault), NULL, net_fault_name(end->fault));
        return;
    }
    if (!answer_read(&c->m->reader, buf_slice(&c->in), ANSWER_WHOLE, &a)) {
        call_fail(c, LLM_BAD_ANSWER, NULL, "not an answer with choices");
        return;
    }
    if (a.has_error) {
        call_fail(c, fault_of_error(200, &a.error), &a.error, "an error with status 200");
        return;
    }
    if (call_is_raw(c) && c->r.stream) {
        call_fail(c, LLM_BAD_ANSWER, NULL, "a whole answer where a stream was asked for");
        return;
    }
    struct llm_result r = {.output = a.content,
                           .reasoning = c->r.reasoning ? a.reasoning : SLICE_NONE,
                           .finish_reason = a.finish_reason,
                           .body = call_is_raw(c) ? raw_body(c, &a) : SLICE_NONE,
                           .usage = a.usage};
    if (tell(c, r.output, r.reasoning)) succeed(c, &r);
}

/* The status decides even when the body is cut, late or no JSON. */
static void end_error(struct llm_call *c) {
    struct answer a;
    char detail[32];
    (void)answer_read(&c->m->reader, buf_slice(&c->in), ANSWER_WHOLE, &a);
    const struct upstream_error *e = a.has_error ? &a.error : NULL;
    snprintf(detail, sizeof detail, "status %u", c->status);
    call_fail(c, fault_of_error(c->status, e), e, detail);
}

/* No answer began. A refused connection to the engine's socket is the engine's trouble. */
static void end_unanswered(struct llm_call *c, const struct net_call_end *end) {
    enum llm_fault f = fault_of_net(end->fault);
    if (c->up->engine != NULL && (f == LLM_CONNECT || f == LLM_CONNECT_TIMEOUT)) f = LLM_ENGINE;
    call_fail(c, f, NULL, end->detail != NULL ? end->detail : net_fault_name(end->fault));
}

/* --- hooks */

static void whole_body(struct llm_call *c, struct slice data) {
    if (!buf_add(&c->in, data))
        drop(c, LLM_BAD_ANSWER, NULL, "an answer larger than the server's limit");
}

static void error_body(struct llm_call *c, struct slice data) {
    if (buf_len(&c->in) + data.len <= LLM_MAX_ERROR_BYTES && buf_add(&c->in, data)) return;
    call_abort_net(c);
    end_error(c);
}

static void on_body(struct net_call *n, struct slice data, void *user) {
    struct llm_call *c = user;
    call_enter(c);
    if (c->state == CALL_STREAM)
        stream_body(c, data);
    else if (c->state == CALL_WHOLE)
        whole_body(c, data);
    else if (c->state == CALL_ERROR)
        error_body(c, data);
    call_leave(c);
}

static void on_end(struct net_call *n, const struct net_call_end *end, void *user) {
    struct llm_call *c = user;
    call_enter(c);
    c->net = NULL;
    if (c->state == CALL_STREAM)
        end_stream(c, end);
    else if (c->state == CALL_WHOLE)
        end_whole(c, end);
    else if (c->state == CALL_ERROR)
        end_error(c);
    else if (c->state == CALL_SENT)
        end_unanswered(c, end);
    call_leave(c);
}

const struct net_call_hooks relay_hooks = {on_head, on_body, on_end};
