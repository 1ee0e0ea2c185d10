/* What every exchange goes through: route, key, endpoint; and the answers that handlers share. */
#include "api/call.h"
#include "api/admit.h"
#include "api/inputs.h"
#include "api/ledger.h"
#include "api/proxy.h"

#include <stdio.h>

#define ANSWER_MAX_BYTES (64U << 20)
#define SCRATCH_KEEP_BYTES (256U << 10)

void call_headers(struct call *c) {
    net_header(c->x, SLICE("x-fal-request-id"), slice_of(c->request_id));
    if (c->openai) net_header(c->x, SLICE("x-request-id"), slice_of(c->request_id));
    net_header(c->x, SLICE("x-content-type-options"), SLICE("nosniff"));
    net_header(c->x, SLICE("access-control-allow-origin"), SLICE("*"));
    if (h1_get(net_head(c->x), SLICE("origin"), NULL).ptr == NULL) return;
    net_header(
        c->x, SLICE("access-control-expose-headers"),
        SLICE(
            "x-fal-request-id, x-fal-error-type, x-fal-retryable, x-fal-needs-retry, x-fal-request-timeout-type, "
            "x-fal-billable-units, x-fal-runner-hints, x-fal-served-from, x-fal-cdn-token, x-anyllm-model, "
            "x-anyllm-upstream, x-request-id, idempotent-replayed, retry-after, etag, last-modified, accept-ranges, "
            "content-range, content-disposition"));
}

void call_header_u64(struct call *c, const char *name, uint64_t v) {
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    net_header(c->x, slice_of(name), slice_make(text, (size_t)n));
}

void call_json(struct call *c, unsigned status, struct slice body) {
    if (status >= 400) c->api->errors[c->route != NULL ? c->route->kind : SERVED_NONE]++;
    call_headers(c);
    net_reply(c->x, status, JSON_TYPE, body);
}

void call_scratch_json(struct call *c, unsigned status) {
    const struct buf *b = &c->api->scratch;
    if (b->failed)
        call_json(c, 503,
                  SLICE("{\"detail\":\"out of memory\",\"error_type\":\"internal_error\"}"));
    else
        call_json(c, status, buf_slice(b));
}

struct buf *call_scratch(struct call *c) {
    buf_reset(&c->api->scratch, SCRATCH_KEEP_BYTES);
    return &c->api->scratch;
}

void call_error(struct call *c, unsigned status, const char *type, struct slice detail) {
    if (c->openai) {
        call_error_param(c, status, type, NULL, detail);
        return;
    }
    struct buf *b = call_scratch(c);
    if (c->platform) {
        platform_error_json(b, status, NULL, detail, c->request_id);
        call_scratch_json(c, status);
        return;
    }
    flat_json(b, detail, type);
    if (type != NULL) net_header(c->x, SLICE("x-fal-error-type"), slice_of(type));
    call_scratch_json(c, status);
}

void call_error_param(struct call *c, unsigned status, const char *code, const char *param,
                      struct slice message) {
    struct buf *b = call_scratch(c);
    openai_error_json(b, status, code, slice_of(param), message);
    call_scratch_json(c, status);
}

/* "body.prompt: Field required" of OpenAI's parameter "prompt" */
static void openai_fault(struct call *c, const struct faults *f) {
    struct slice text = buf_slice(&f->text), message, place = slice_cut(text, ':', &message);
    struct buf *b = call_scratch(c);
    struct slice param = slice_starts(place, SLICE("body.")) ? slice_from(place, 5) : SLICE("");
    openai_error_json(b, 400, NULL, param, text);
    call_scratch_json(c, 400);
}

void call_faults(struct call *c, const struct faults *f) {
    if (faults_of_memory(f)) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    net_header(c->x, SLICE("x-fal-billable-units"), SLICE("0"));
    if (c->openai) {
        openai_fault(c, f);
        return;
    }
    struct buf *b = call_scratch(c);
    faults_json(b, f);
    net_header(c->x, SLICE("x-fal-retryable"), SLICE("false"));
    call_scratch_json(c, 422);
}

/* Said where waiting helps: as the upstream told, and always with a 429, the one status that every client repeats. */
static void say_retry_after(struct call *c, const struct llm_error *err,
                            const struct llm_fault_info *info) {
    if (!info->retryable) return;
    if (err->retry_after_ms >= 0)
        call_header_u64(c, "retry-after", (uint64_t)(err->retry_after_ms + 999) / 1000);
    else if (info->http_status == 429)
        call_header_u64(c, "retry-after", 1);
}

void call_model_error(struct call *c, const struct llm_error *err) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    struct buf *b = call_scratch(c);
    if (c->openai)
        openai_model_error_json(b, err);
    else
        error_json(b, err);
    if (info->model_error) {
        net_header(c->x, SLICE("x-fal-retryable"),
                   info->retryable ? SLICE("true") : SLICE("false"));
    } else {
        net_header(c->x, SLICE("x-fal-error-type"), slice_of(info->error_type));
    }
    net_header(c->x, SLICE("x-fal-billable-units"), SLICE("0"));
    if (c->openai) /* its SDKs repeat a 5xx unless told otherwise */
        net_header(c->x, SLICE("x-should-retry"), info->retryable ? SLICE("true") : SLICE("false"));
    if (err->fault == LLM_BUSY) net_header(c->x, SLICE("x-fal-needs-retry"), SLICE("1"));
    say_retry_after(c, err, info);
    call_scratch_json(c, c->openai ? openai_status(err->fault) : info->http_status);
}

static const char *platform_type(unsigned status) {
    switch (status) {
    case 400:
    case 422: return "validation_error";
    case 401:
    case 403: return "authorization_error";
    case 404:
    case 405: return "not_found";
    case 429: return "rate_limited";
    case 501: return "not_implemented";
    default: return status < 500 ? "validation_error" : "server_error";
    }
}

void platform_error_json(struct buf *b, unsigned status, const char *type, struct slice message,
                         const char *request_id) {
    buf_printf(
        b, "{\"error\":{\"type\":\"%s\",\"message\":", type != NULL ? type : platform_type(status));
    json_add_string(b, message, true);
    buf_printf(b, ",\"request_id\":\"%s\"}}", request_id);
}

/* --- checks handlers share */

static bool media_type_is(struct slice value, const char *type) {
    struct slice rest;
    return slice_eq_nocase(slice_trim(slice_cut(value, ';', &rest)), slice_of(type));
}

static bool charset_ok(struct slice value) {
    struct slice params;
    slice_cut(value, ';', &params);
    while (params.ptr != NULL && params.len > 0) {
        struct slice rest, v, name = slice_trim(slice_cut(params, ';', &rest));
        name = slice_cut(name, '=', &v);
        if (slice_eq_nocase(name, SLICE("charset")) && !slice_eq_nocase(v, SLICE("utf-8")) &&
            !slice_eq_nocase(v, SLICE("\"utf-8\"")) && !slice_eq_nocase(v, SLICE("utf8")) &&
            !slice_eq_nocase(v, SLICE("us-ascii")))
            return false;
        params = rest;
    }
    return true;
}

bool call_wants_json(struct call *c) {
    const struct h1_head *h = net_head(c->x);
    struct slice type = h1_get(h, SLICE("content-type"), NULL),
                 coding = h1_get(h, SLICE("content-encoding"), NULL);
    if (coding.ptr != NULL && !slice_eq_nocase(coding, SLICE("identity"))) {
        call_error(c, 415, "bad_request",
                   SLICE("content encoding not supported; send the body as it is"));
        return false;
    }
    /* As fal: no type or text/plain is read as JSON. */
    bool ok = type.len == 0 || media_type_is(type, "application/json") ||
              media_type_is(type, "text/plain") || media_type_is(type, "application/octet-stream");
    if (ok && charset_ok(type)) return true;
    call_error(
        c, 415, "bad_request",
        SLICE(
            "Content-Type should be application/json in UTF-8 (curl: -H 'Content-Type: application/json')"));
    return false;
}

bool call_options_ok(struct call *c) {
    const char *why = options_read(net_head(c->x), &c->options);
    if (why == NULL) return true;
    call_error(c, 400, "bad_request", slice_of(why));
    return false;
}

bool call_endpoint(struct call *c) {
    char text[256];
    if (c->endpoint != NULL && c->beyond.len == 0) return true;
    net_header(c->x, SLICE("x-fal-billable-units"), SLICE("0"));
    int n = c->endpoint == NULL
                ? snprintf(text, sizeof text, "Application \"%.*s\" not found",
                           (int)(c->app.len < 200 ? c->app.len : 200), c->app.ptr)
                : snprintf(text, sizeof text, "Path /%.*s not found",
                           (int)(c->beyond.len < 200 ? c->beyond.len : 200), c->beyond.ptr);
    call_error(c, 404, NULL, slice_make(text, (size_t)n));
    return false;
}

/* --- hooks of the server */

static struct call *call_new(struct net_exchange *x, struct api *a) {
    struct call *c = arena_zalloc(net_arena(x), sizeof *c);
    if (c == NULL) return NULL;
    c->api = a;
    c->x = x;
    /* by the time in it the store finds the ledger's row without an index of ids */
    random_uuid7(a->random, clock_wall_ms(a->clock), c->request_id);
    net_set_user(x, c);
    return c;
}

static void answer_no_route(struct call *c, unsigned status, const char *allow) {
    if (status == 405) {
        net_header(c->x, SLICE("allow"), slice_of(allow));
        call_error(c, 405, NULL, SLICE("Method Not Allowed"));
    } else if (status == 400) {
        call_error(c, 400, "bad_request", SLICE("Bad request: invalid path"));
    } else {
        call_error(c, status, NULL, SLICE("Not Found"));
    }
}

/* Known before anything can go wrong: errors have the shape that the caller's SDK reads. */
static bool speaks_openai(const struct call *c) {
    if (c->route == NULL)
        return c->at.surface != SURFACE_PLATFORM && slice_starts(c->at.path, SLICE("/v1/"));
    return (c->route->flags & ROUTE_OPENAI) != 0 ||
           (c->route->kind == SERVED_RUN && c->endpoint != NULL &&
            c->endpoint->dialect == ENDPOINT_OPENAI);
}

static bool speaks_platform(const struct call *c) {
    return c->route != NULL ? (c->route->flags & ROUTE_PLATFORM) != 0
                            : c->at.surface == SURFACE_PLATFORM;
}

static void on_head(struct net_exchange *x, void *user) {
    struct api *a = user;
    struct call *c = call_new(x, a);
    const char *allow = "GET";
    unsigned status;
    if (c == NULL) {
        net_reply(x, 503, JSON_TYPE, SLICE("{\"detail\":\"out of memory\"}"));
        return;
    }
    enum h1_method m = net_head(x)->method;
    reach_of(&c->at, a->config, x);
    if (m == H1_OPTIONS) return; /* answered when its body, if it has one, was read and dropped */
    c->route = m == H1_TRACE || m == H1_CONNECT ? NULL : routes_find(c, &status, &allow);
    if (m == H1_TRACE || m == H1_CONNECT) status = 405;
    if (c->route != NULL && c->route->kind == SERVED_PROXY && !proxy_enter(c, &status, &allow))
        return;
    if (c->route != NULL && a->operator_only && c->route->kind != SERVED_ADMIN) {
        c->route = NULL;
        status = 404;
    }
    if (c->route != NULL && c->app.len > 0)
        c->endpoint = endpoint_resolve(c->app, a->config->aliases, a->config->naliases, &c->beyond);
    c->openai = speaks_openai(c);
    c->platform = speaks_platform(c);
    a->requests[c->route != NULL ? c->route->kind : SERVED_NONE]++;
    if (c->route == NULL)
        answer_no_route(c, status, allow);
    else if (((c->route->flags & ROUTE_OPEN) != 0 || admit(c)) && c->route->head != NULL)
        c->route->head(c);
}

static void on_body(struct net_exchange *x, struct slice data, void *user) {
    struct call *c = net_get_user(x);
    if (c != NULL && c->hooks != NULL && c->hooks->body != NULL) c->hooks->body(c, data);
}

static void on_request(struct net_exchange *x, void *user) {
    struct call *c = net_get_user(x);
    if (c == NULL || net_answered(x)) return;
    if (net_head(x)->method == H1_OPTIONS)
        admit_preflight(c);
    else if (c->route != NULL && admit_call(c))
        c->route->handle(c);
}

static void on_drain(struct net_exchange *x, void *user) {
    struct call *c = net_get_user(x);
    if (c != NULL && c->hooks != NULL && c->hooks->drained != NULL) c->hooks->drained(c);
}

static void log_call(struct call *c, const char *how) {
    if (log_get_level() < LOG_DEBUG) return;
    char path[LOG_QUOTE_BYTES];
    const struct h1_head *h = net_head(c->x);
    log_request(LOG_DEBUG, c->request_id, how, "method=%s path=%s key=%.*s",
                h1_method_name(h->method), log_quote(path, c->at.path), SLICE_ARG(c->who.key_id));
}

void call_drop_input(struct call *c) {
    const struct catalogue_model *m = catalogue_find(c->api->catalogue, c->request.model);
    c->request.model = m != NULL ? m->id : SLICE("");
    yyjson_doc_free(c->input);
    c->input = NULL;
    inputs_free(c->inputs);
    c->inputs = NULL;
}

static void call_gone(struct call *c) {
    admit_gone(c);
    if (c->llm != NULL) {
        ledger_left(c, 499);
        llm_cancel(c->llm);
    }
    c->llm = NULL;
    net_timer_stop(c->api->loop, &c->start);
    if (c->hooks != NULL && c->hooks->gone != NULL) c->hooks->gone(c);
    inputs_free(c->inputs);
    c->inputs = NULL;
    yyjson_doc_free(c->input);
    c->input = NULL;
}

static void on_done(struct net_exchange *x, void *user) {
    struct call *c = net_get_user(x);
    if (c == NULL) return;
    log_call(c, "answered");
    call_gone(c);
}

static void on_gone(struct net_exchange *x, void *user) {
    struct call *c = net_get_user(x);
    if (c == NULL) return;
    log_call(c, "caller_gone");
    call_gone(c);
}

static void on_fault(struct net_exchange *x, bool has_request, unsigned status, const char *reason,
                     struct buf *body, void *user) {
    struct api *a = user;
    struct call bare = {.api = a, .x = x}, *c = has_request ? net_get_user(x) : NULL;
    const char *type = status == 500 || status == 503 ? "internal_error" : "bad_request";
    char text[160];
    if (c == NULL) {
        c = &bare;
        random_uuid(a->random, bare.request_id);
    }
    a->errors[SERVED_NONE]++;
    call_headers(c);
    net_header(x, SLICE("x-fal-error-type"), slice_of(type));
    snprintf(text, sizeof text, "%s%s", status == 400 ? "Bad request: " : "", reason);
    flat_json(body, slice_of(text), type);
}

struct net_server_hooks api_hooks(void) {
    return (struct net_server_hooks){.on_head = on_head,
                                     .on_request = on_request,
                                     .on_body = on_body,
                                     .on_drain = on_drain,
                                     .on_done = on_done,
                                     .on_gone = on_gone,
                                     .on_fault = on_fault};
}
