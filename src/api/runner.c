/* Runs the queue's jobs on models: the same reading and writing as the direct call, its end told to the queue. */
#include "api/billing.h"
#include "api/inputs.h"
#include "api/openai.h"

#include <stdlib.h>

struct run {
    struct run *next, **link;
    struct net_defer end; /* of one that never began, or is given up */
    struct api *api;
    uint64_t id;
    struct arena arena;
    const struct endpoint *endpoint;
    yyjson_doc *input;
    struct llm_request request;
    struct llm_call *llm;
    struct inputs *inputs; /* its files; NULL: none */
    unsigned pool;         /* whose slot it will want */
    struct faults faults;
    struct openai_fault openai_fault; /* instead of faults, in OpenAI's dialect */
    struct llm_error refusal;         /* of llm_start */
    bool refused, cancelled;
    struct store_usage spent; /* of a cancelled one */
};

#define RUN_ARENA_BYTES (64U << 20)
#define INVALID_MAX_BYTES (1U << 20)

static void run_free(struct run *r) {
    net_defer_cancel(r->api->loop, &r->end);
    *r->link = r->next;
    if (r->next != NULL) r->next->link = r->link;
    inputs_free(r->inputs);
    yyjson_doc_free(r->input);
    faults_free(&r->faults);
    arena_free(&r->arena);
    free(r);
}

static void run_finish(struct run *r, const struct queue_outcome *o) {
    queue_run_done(r->api->queue, r->id, o);
    run_free(r);
}

/* --- ends */

static struct store_usage usage_of(const struct run *r, const struct llm_result *res, bool failed) {
    struct store_usage u = {0};
    if (res->sent) billing_fill(r->api, r->endpoint, &r->request, res, failed, &u);
    return u;
}

/* What a run that is not to end by itself has used. The caller cancelled: it is charged as one that leaves is. */
static struct store_usage usage_so_far(const struct run *r, bool failed) {
    struct llm_result res;
    if (r->llm == NULL) return (struct store_usage){0};
    llm_so_far(r->llm, &res);
    struct store_usage u = usage_of(r, &res, failed);
    u.partial = true;
    return u;
}

static void finish_cancelled(struct run *r) {
    const struct queue_outcome o = {
        .http_status = 499,
        .body =
            {"{\"detail\":\"Request cancelled by the client.\",\"error_type\":\"client_cancelled\"}",
             75},
        .error = {"Request cancelled by the client.", 32},
        .error_type = {"client_cancelled", 16},
        .usage = r->spent,
        .retry_after_ms = -1};
    run_finish(r, &o);
}

static bool speaks_openai(const struct run *r) {
    return r->endpoint != NULL && r->endpoint->dialect == ENDPOINT_OPENAI;
}

static struct slice add_invalid(const struct run *r, struct buf *body) {
    const struct openai_fault *f = &r->openai_fault;
    if (f->status == 0) {
        faults_json(body, &r->faults);
        return r->faults.text.failed ? SLICE("invalid input") : buf_slice(&r->faults.text);
    }
    openai_error_json(body, f->status, f->code, slice_of(f->param), slice_of(f->message));
    return slice_of(f->message);
}

#define TEXT(lit) {(lit), sizeof(lit) - 1}

/* It was accepted, so it can be read and run: later. */
static const struct queue_outcome no_memory = {
    .http_status = 503,
    .body = TEXT("{\"detail\":\"out of memory\",\"error_type\":\"internal_error\"}"),
    .headers = TEXT("x-fal-error-type: internal_error\r\nx-fal-billable-units: 0\r\n"),
    .error = TEXT("out of memory"),
    .error_type = TEXT("internal_error"),
    .retryable = true,
    .max_attempts = QUEUE_MAX_ATTEMPTS,
    .retry_after_ms = -1};

static void finish_invalid(struct run *r) {
    struct buf body;
    if (r->openai_fault.status != 0 ? r->openai_fault.status == 503
                                    : faults_of_memory(&r->faults)) {
        run_finish(r, &no_memory);
        return;
    }
    buf_init(&body, INVALID_MAX_BYTES);
    struct queue_outcome o = {
        .http_status = r->openai_fault.status != 0 ? r->openai_fault.status : 422,
        .error = add_invalid(r, &body),
        .retry_after_ms = -1,
        .headers = SLICE("x-fal-retryable: false\r\nx-fal-billable-units: 0\r\n")};
    o.body = body.failed ? SLICE("{\"detail\":\"out of memory\"}") : buf_slice(&body);
    run_finish(r, &o);
    buf_free(&body);
}

static void add_header(struct buf *b, const char *name, struct slice value) {
    if (value.len > 0) buf_printf(b, "%s: %.*s\r\n", name, SLICE_ARG(value));
}

static void add_names(struct buf *b, const struct run *r, const struct llm_result *res) {
    add_header(b, "x-anyllm-model", res->model);
    add_header(b, "x-anyllm-upstream", res->upstream);
    add_header(b, "x-fal-served-from", res->upstream);
    add_header(b, "x-fal-runner-hints", r->request.hint);
}

static void fill_output(const struct run *r, struct buf *body, struct buf *headers,
                        const struct llm_result *res, const struct store_usage *u) {
    char text[BILLING_UNITS_BYTES];
    if (speaks_openai(r))
        buf_add(body, res->body);
    else
        output_json(body, r->endpoint, &r->request, res, NULL);
    add_header(headers, "x-fal-billable-units", billing_units(text, billing_unit(r->endpoint), u));
}

/* What was produced is kept apart from a result. */
static void add_error(struct buf *body, const struct llm_result *res, const struct llm_error *err) {
    error_json(body, err);
    if (res->output.len == 0 || body->end == body->start) return;
    body->end--;
    buf_puts(body, ",\"partial_output\":");
    json_add_string(body, res->output, true);
    buf_addc(body, '}');
}

static void fill_error(const struct run *r, struct queue_outcome *o, struct buf *body,
                       struct buf *headers, const struct llm_result *res,
                       const struct llm_error *err) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    if (speaks_openai(r))
        openai_model_error_json(body, err);
    else
        add_error(body, res, err);
    if (info->model_error)
        buf_printf(headers, "x-fal-retryable: %s\r\n", info->retryable ? "true" : "false");
    else
        buf_printf(headers, "x-fal-error-type: %s\r\n", info->error_type);
    buf_puts(headers, "x-fal-billable-units: 0\r\n");
    static const enum queue_failure failures[] = {
        [LLM_FAILURE_OTHER] = QUEUE_FAILURE_OTHER,
        [LLM_FAILURE_SERVER_ERROR] = QUEUE_FAILURE_SERVER_ERROR,
        [LLM_FAILURE_TIMEOUT] = QUEUE_FAILURE_TIMEOUT,
        [LLM_FAILURE_CONNECTION] = QUEUE_FAILURE_CONNECTION};
    o->failure = failures[info->failure];
    o->http_status = speaks_openai(r) ? openai_status(err->fault) : info->http_status;
    o->error = err->message;
    o->error_type = info->model_error ? SLICE("") : slice_of(info->error_type);
    o->retryable = info->retryable;
    o->max_attempts = info->max_attempts;
    o->retry_after_ms = err->retry_after_ms;
}

/* As the queue says it of a whole answer that is too large; one that did not fit the buffer is not whole. */
static void fill_too_large(const struct run *r, struct queue_outcome *o, struct buf *body,
                           struct buf *headers) {
    static const char text[] = "The result is larger than 10 MiB.";
    buf_reset(body, 0);
    buf_reset(headers, SIZE_MAX);
    buf_puts(headers, "x-fal-error-type: result_too_large\r\nx-fal-billable-units: 0\r\n");
    if (speaks_openai(r))
        openai_error_json(body, 500, "result_too_large", SLICE(""), slice_of(text));
    else
        buf_printf(body, "{\"detail\":\"%s\",\"error_type\":\"result_too_large\"}", text);
    o->http_status = 500;
    o->error = slice_of(text);
    o->error_type = SLICE("result_too_large");
    o->retryable = false;
}

/* As the queue says it when it has no memory for the copy. The upstream was asked and is paid: not again. */
static const struct queue_outcome result_lost = {
    .http_status = 500,
    .body = TEXT("{\"detail\":\"The server had no memory for the result.\","
                 "\"error_type\":\"internal_error\"}"),
    .headers = TEXT("x-fal-error-type: internal_error\r\nx-fal-billable-units: 0\r\n"),
    .error = TEXT("The server had no memory for the result."),
    .error_type = TEXT("internal_error"),
    .retry_after_ms = -1};

static void run_end_hook(void *user, const struct llm_result *res, const struct llm_error *err) {
    struct run *r = user;
    struct buf body, headers;
    struct queue_outcome o = {
        .http_status = 200, .retry_after_ms = -1, .usage = usage_of(r, res, err != NULL)};
    o.usage.partial = o.usage.present && err != NULL && res->output.len > 0;
    r->llm = NULL;
    buf_init(&body, QUEUE_MAX_RESULT_BYTES + (1U << 20));
    buf_init(&headers, 64U << 10);
    add_names(&headers, r, res);
    if (err == NULL)
        fill_output(r, &body, &headers, res, &o.usage);
    else
        fill_error(r, &o, &body, &headers, res, err);
    bool lost = body.no_memory || headers.no_memory;
    if (!lost && (body.failed || buf_len(&body) > QUEUE_MAX_RESULT_BYTES)) {
        fill_too_large(r, &o, &body, &headers);
        o.usage = usage_of(r, res, true);
    }
    o.body = buf_slice(&body);
    o.headers = buf_slice(&headers);
    if (lost || body.failed) {
        o = result_lost;
        o.usage = usage_of(r, res, true);
    }
    run_finish(r, &o);
    buf_free(&body);
    buf_free(&headers);
}

static void run_log(void *user, const char *level, struct slice line) {
    struct run *r = user;
    queue_run_log(r->api->queue, r->id, level, line);
}

/* --- beginning */

/* The end of a run that never began; later, because a start never ends its own run. */
static void finish_unstarted(struct net_defer *d) {
    static const struct llm_result nothing = {.output = {"", 0}};
    struct run *r = (struct run *)(void *)((char *)d - offsetof(struct run, end));
    if (r->cancelled)
        finish_cancelled(r);
    else if (r->refused)
        run_end_hook(r, &nothing, &r->refusal);
    else
        finish_invalid(r);
}

static bool read_input(struct run *r, const struct queue_job *job) {
    struct api *a = r->api;
    if (speaks_openai(r)) {
        bool ok = openai_read(job->input, a->llm, &r->arena, &r->request, &r->openai_fault);
        r->request.stream = false; /* a result is whole */
        return ok;
    }
    r->request.stream = true; /* so that the log can say when the first token came */
    r->input = endpoint_parse(job->input, &r->faults);
    return r->input != NULL && endpoint_read(r->endpoint, yyjson_doc_get_root(r->input), a->llm,
                                             a->catalogue, &r->arena, &r->request, &r->faults);
}

static bool prepare(struct run *r, const struct queue_job *job) {
    const struct config *cfg = r->api->config;
    struct slice rest;
    faults_init(&r->faults);
    r->endpoint = endpoint_resolve(job->endpoint, cfg->aliases, cfg->naliases, &rest);
    if (r->endpoint == NULL) { /* accepted by an earlier version of the table */
        faults_add(&r->faults, "[\"path\"]", "Application not found", "value_error", NULL, NULL);
        return false;
    }
    r->request.request_id = job->request_id;
    r->request.wait = true;
    r->request.hint = job->hint;
    r->request.no_fallback = job->no_fallback;
    r->request.keeps_nothing = r->endpoint->keeps_nothing;
    return read_input(r, job);
}

static const struct llm_sink sink = {.on_log = run_log, .on_end = run_end_hook};

static void inputs_ready(void *user, const struct llm_error *err) {
    static const struct llm_result nothing = {.output = {"", 0}};
    struct run *r = user;
    if (err == NULL) {
        r->llm = llm_start(r->api->llm, &r->request, &sink, r, &r->refusal);
        err = &r->refusal;
    }
    if (r->llm == NULL) run_end_hook(r, &nothing, err);
}

/* False: it cannot run, r->refusal says why. */
static bool run_begin(struct run *r, const struct queue_job *job) {
    const struct inputs_asker asker = {.owner = job->owner,
                                       .endpoint = speaks_openai(r) ? NULL : r->endpoint,
                                       .input = yyjson_doc_get_root(r->input)};
    if (!inputs_needed(r->api, &r->request)) {
        r->llm = llm_start(r->api->llm, &r->request, &sink, r, &r->refusal);
        return r->llm != NULL;
    }
    r->pool = llm_pool(r->api->llm, r->request.model, r->request.keeps_nothing,
                       r->request.no_fallback);
    r->inputs = inputs_start(r->api, &asker, &r->request, inputs_ready, r);
    if (r->inputs == NULL)
        r->refusal = (struct llm_error){
            .fault = LLM_MEMORY, .message = SLICE("out of memory"), .retry_after_ms = -1};
    return r->inputs != NULL;
}

static void finish_unbegun(struct net_defer *d) {
    struct api *a = (struct api *)(void *)((char *)d - offsetof(struct api, end_unbegun));
    while (a->nunbegun > 0) queue_run_done(a->queue, a->unbegun[--a->nunbegun], &no_memory);
}

/* No memory for a run: its end needs none. */
static void keep_unbegun(struct api *a, const struct queue_job *job) {
    a->unbegun[a->nunbegun++] = job->run;
    a->end_unbegun.run = finish_unbegun;
    net_defer(a->loop, &a->end_unbegun);
}

static void runner_start(void *user, const struct queue_job *job) {
    struct api *a = user;
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL) {
        keep_unbegun(a, job);
        return;
    }
    r->api = a;
    r->end.run = finish_unstarted;
    r->id = job->run;
    arena_init(&r->arena, RUN_ARENA_BYTES);
    r->next = a->runs;
    r->link = &a->runs;
    if (r->next != NULL) r->next->link = &r->next;
    a->runs = r;
    if (prepare(r, job)) {
        if (run_begin(r, job)) return;
        r->refused = true;
    }
    net_defer(a->loop, &r->end);
}

static struct run *find(struct api *a, uint64_t id) {
    struct run *r = a->runs;
    while (r != NULL && r->id != id) r = r->next;
    return r;
}

static void runner_cancel(void *user, uint64_t id) {
    struct api *a = user;
    struct run *r = find(a, id);
    if (r == NULL || r->cancelled) return;
    r->cancelled = true;
    if (r->llm == NULL && !inputs_pending(r->inputs)) return; /* its end is on its way */
    r->spent = usage_so_far(r, false);
    r->spent.raw = arena_copy(&r->arena, r->spent.raw);
    if (r->llm != NULL) llm_cancel(r->llm);
    r->llm = NULL;
    inputs_free(r->inputs);
    r->inputs = NULL;
    net_defer(a->loop, &r->end);
}

static bool runner_begun(void *user, uint64_t id) {
    struct run *r = find(user, id);
    return r == NULL || (r->llm != NULL && llm_sent(r->llm));
}

/* What the server gives up costs the caller nothing: it is done once more. */
static struct store_usage runner_spent(void *user, uint64_t id) {
    const struct run *r = find(user, id);
    return r != NULL ? usage_so_far(r, true) : (struct store_usage){0};
}

_Static_assert(LLM_POOLS == QUEUE_POOLS, "a pool of the queue is one of the models'");

/* The model that the run will ask for: see endpoint_read. A caller who names none is asked about by its endpoint alone; the
 * submit has named the one for pictures. */
static unsigned runner_pool(void *user, const struct queue_place *where) {
    struct api *a = user;
    struct slice rest, model = where->model;
    const struct endpoint *e = endpoint_resolve(where->endpoint, a->config->aliases,
                                                a->config->naliases, &rest);
    if (e == NULL) return llm_pool(a->llm, SLICE(""), false, false); /* fails at once */
    if (model.len == 0 && e->dialect == ENDPOINT_FAL)
        model = endpoint_default_model(a->catalogue, e->sees);
    return llm_pool(a->llm, model, e->keeps_nothing, where->no_fallback);
}

static size_t runner_capacity(void *user, unsigned pool) {
    const struct api *a = user;
    if (a->nunbegun == RUNNER_UNBEGUN) return 0;
    size_t capacity = llm_pool_capacity(a->llm, pool), reading = 0;
    for (const struct run *r = inputs_running(a) > 0 ? a->runs : NULL; r != NULL; r = r->next)
        reading += r->pool == pool && inputs_pending(r->inputs); /* they will want a slot */
    return capacity > reading ? capacity - reading : 0;
}

struct queue_runner api_runner(struct api *a) {
    return (struct queue_runner){.pool = runner_pool,
                                 .capacity = runner_capacity,
                                 .start = runner_start,
                                 .cancel = runner_cancel,
                                 .begun = runner_begun,
                                 .spent = runner_spent,
                                 .user = a};
}
