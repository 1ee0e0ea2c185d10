/* The direct call: POST /run/{app}. No store is touched while the caller waits. */
#include "api/call.h"
#include "api/inputs.h"
#include "api/ledger.h"
#include "api/openai.h"

/* --- what the direct calls share */

void call_names(struct call *c, struct slice upstream, struct slice model) {
    if (model.len > 0) net_header(c->x, SLICE("x-anyllm-model"), model);
    if (upstream.len > 0) {
        net_header(c->x, SLICE("x-anyllm-upstream"), upstream);
        net_header(c->x, SLICE("x-fal-served-from"), upstream);
    }
    if (c->options.hint.len > 0) net_header(c->x, SLICE("x-fal-runner-hints"), c->options.hint);
}

/* Parses and checks the body into c->request; answers 422 itself. */
bool call_read_input(struct call *c) {
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
    if (!call_runs(c) || (c->llm != NULL && llm_sent(c->llm))) return;
    if (c->llm != NULL) llm_cancel(c->llm);
    c->llm = NULL;
    inputs_free(c->inputs);
    c->inputs = NULL;
    if (c->hooks == NULL || c->hooks->timed_out == NULL || !c->hooks->timed_out(c))
        start_timed_out(c);
}

static void inputs_ready(void *user, const struct llm_error *err) {
    static const struct llm_result nothing = {.output = {"", 0}};
    struct call *c = user;
    struct llm_error refusal;
    if (err == NULL) {
        c->llm = llm_start(c->api->llm, &c->request, c->sink, c, &refusal);
        err = &refusal;
    }
    if (c->llm == NULL) c->sink->on_end(c, &nothing, err);
}

bool call_launch(struct call *c, const struct llm_sink *sink, struct llm_error *err) {
    const struct inputs_asker asker = {.owner = identity_owner(&c->who),
                                       .endpoint = c->endpoint,
                                       .input = yyjson_doc_get_root(c->input)};
    if (!inputs_needed(c->api, &c->request)) {
        c->llm = llm_start(c->api->llm, &c->request, sink, c, err);
        return c->llm != NULL;
    }
    c->sink = sink;
    c->inputs = inputs_start(c->api, &asker, &c->request, inputs_ready, c);
    if (c->inputs == NULL)
        *err = (struct llm_error){
            .fault = LLM_MEMORY, .message = SLICE("out of memory"), .retry_after_ms = -1};
    return c->inputs != NULL;
}

void call_start(struct call *c, const struct llm_sink *sink) {
    struct llm_error err;
    if (!call_launch(c, sink, &err)) {
        call_model_error(c, &err);
        return;
    }
    if (c->options.start_timeout_ms == 0) return;
    c->start.fire = start_is_due;
    net_timer_start(c->api->loop, &c->start, c->options.start_timeout_ms);
}

bool call_runs(const struct call *c) {
    return c->llm != NULL || inputs_pending(c->inputs);
}

/* --- one answer */

static void run_end(void *user, const struct llm_result *r, const struct llm_error *err) {
    struct call *c = user;
    c->llm = NULL;
    call_names(c, r->upstream, r->model);
    if (err != NULL) {
        ledger_failed(c, r, err);
        call_model_error(c, err);
        return;
    }
    ledger_answer(c, r);
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
    else if (call_read_input(c))
        call_start(c, &sink);
}
