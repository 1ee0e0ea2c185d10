/* fal's queue: submit, status, result, cancel. */
#include "api/admit.h"
#include "api/webhook.h"
#include "llm/route.h"

#include <stdio.h>

/* --- addresses: absolute, as the caller reached us */

static void add_url(struct buf *b, const struct call *c, const char *name,
                    const struct queue_reply *r, const char *tail) {
    buf_printf(b, ",\"%s\":\"", name);
    reach_base(b, c->api->config, &c->at);
    buf_printf(b, "/%.*s/requests/%s%s\"", SLICE_ARG(endpoint_owner_alias(r->endpoint)), r->id,
               tail);
}

static void add_urls(struct buf *b, const struct call *c, const struct queue_reply *r) {
    add_url(b, c, "response_url", r, "");
    add_url(b, c, "status_url", r, "/status");
    add_url(b, c, "cancel_url", r, "/cancel");
}

/* --- the status document */

/* Both shapes that clients read: level and source flat (JavaScript) and under labels (Java, Swift). */
static void add_log(struct buf *b, const struct queue_log *l) {
    char at[CLOCK_ISO_BYTES];
    clock_iso8601_bare(l->at_ms, at);
    buf_puts(b, "{\"message\":");
    json_add_string(b, l->message, true);
    buf_printf(b, ",\"timestamp\":\"%s\",\"level\":\"%.*s\",\"source\":\"USER\"", at,
               SLICE_ARG(l->level));
    buf_printf(b, ",\"labels\":{\"level\":\"%.*s\",\"source\":\"USER\"}}", SLICE_ARG(l->level));
}

static void add_logs(struct buf *b, const struct call *c, const struct queue_reply *r,
                     size_t from) {
    if (!c->logs) {
        buf_puts(b, ",\"logs\":null");
        return;
    }
    buf_puts(b, ",\"logs\":[");
    for (size_t i = from; i < r->nlogs; i++) {
        if (i > from) buf_addc(b, ',');
        add_log(b, &r->logs[i]);
    }
    buf_addc(b, ']');
}

static void add_completed(struct buf *b, const struct store_row *row) {
    if (row->inference_ms >= 0)
        buf_printf(b, ",\"metrics\":{\"inference_time\":%lld.%03lld}",
                   (long long)(row->inference_ms / 1000), (long long)(row->inference_ms % 1000));
    else
        buf_puts(b, ",\"metrics\":{\"inference_time\":null}");
    if (row->error.len == 0) return;
    buf_puts(b, ",\"error\":");
    json_add_string(b, row->error, true);
    if (row->error_type.len == 0) return;
    buf_puts(b, ",\"error_type\":");
    json_add_string(b, row->error_type, true);
}

void status_json(struct buf *b, const struct call *c, const struct queue_reply *r, size_t from) {
    static const char *const names[] = {"IN_QUEUE", "IN_PROGRESS", "COMPLETED"};
    buf_printf(b, "{\"status\":\"%s\",\"request_id\":\"%s\"", names[r->state], r->id);
    if (r->state == STORE_IN_QUEUE)
        buf_printf(b, ",\"queue_position\":%llu", (unsigned long long)r->position);
    add_urls(b, c, r);
    add_logs(b, c, r, from);
    if (r->state == STORE_COMPLETED && r->row != NULL)
        add_completed(b, r->row);
    else
        buf_puts(b, ",\"metrics\":{}");
    buf_addc(b, '}');
}

/* --- completions: by id, because the caller may have left */

struct call *call_of(struct api *a, uint64_t ticket) {
    struct net_exchange *x = a->server != NULL ? net_exchange_find(a->server, ticket) : NULL;
    return x != NULL ? net_get_user(x) : NULL;
}

struct queue_done call_done(struct call *c, void (*done)(void *user, uint64_t ticket,
                                                         const struct queue_reply *r)) {
    return (struct queue_done){.done = done, .user = c->api, .ticket = net_exchange_id(c->x)};
}

static void unavailable(struct call *c) {
    net_header(c->x, SLICE("retry-after"), SLICE("1"));
    call_error(c, 503, "internal_error",
               c->api->draining ? SLICE("the server is ending; nothing was accepted, try again")
                                : SLICE("storage unavailable; nothing was accepted, try again"));
}

static void not_found(struct call *c) {
    call_json(
        c, 404,
        SLICE(
            "{\"status\":\"NOT_FOUND\",\"detail\":\"Request not found\",\"message\":\"Request not found\"}"));
}

static void other_body(struct call *c) {
    struct faults f;
    faults_init(&f);
    faults_add(
        &f, "[\"header\",\"idempotency-key\"]",
        "this key was used for another request: its body, webhook or options were other ones",
        "value_error", NULL, NULL);
    call_faults(c, &f);
    faults_free(&f);
}

void call_queue_refusal(struct call *c, enum queue_code code) {
    switch (code) {
    case QUEUE_NOT_FOUND: not_found(c); return;
    case QUEUE_NOT_READY:
        call_error(c, 400, "bad_request", SLICE("Request is still in progress"));
        return;
    case QUEUE_ALREADY_COMPLETED:
        call_json(c, 400, SLICE("{\"status\":\"ALREADY_COMPLETED\"}"));
        return;
    case QUEUE_FULL:
        limits_count(c->api->limits, LIMIT_QUEUE_LENGTH);
        net_header(c->x, SLICE("retry-after"), SLICE("1"));
        call_error(c, 429, "queue_full",
                   SLICE("the queue is longer than allowed; try again later"));
        return;
    case QUEUE_OTHER_BODY: other_body(c); return;
    default: unavailable(c); return;
    }
}

/* --- submit */

/* A delivery says how many deliveries led to it. Its submit's webhook carries that on, as a fragment, which no caller's URL
 * has. */
static const char *keep_hops(struct call *c, struct slice *url) {
    struct slice text = h1_get(net_head(c->x), SLICE(WEBHOOK_HOPS_HEADER), NULL);
    uint64_t hops;
    if (text.len == 0) return NULL;
    if (!slice_to_range(text, 0, WEBHOOK_MAX_HOPS, &hops)) return "too many deliveries led to this";
    char *with = arena_printf(net_arena(c->x), "%.*s#hops=%u", SLICE_ARG(*url), (unsigned)hops);
    if (with == NULL) return "out of memory";
    *url = slice_of(with);
    return NULL;
}

static bool webhook_fault(struct call *c, struct faults *f, struct slice *url) {
    size_t count, len;
    struct slice raw = h1_query(c->at.query, SLICE("fal_webhook"), &count);
    *url = SLICE("");
    if (count == 0) return false;
    char *text = arena_alloc(net_arena(c->x), raw.len + 1);
    const char *why = count > 1 ? "given twice" : text == NULL ? "out of memory" : NULL;
    if (why == NULL && !h1_unescape(raw, true, text, &len)) why = "invalid percent-encoding";
    if (why == NULL) {
        *url = slice_make(text, len);
        why = webhook_url_fault(c->api->config, *url);
    }
    if (why == NULL) why = keep_hops(c, url);
    if (why == NULL) return false;
    faults_add(f, "[\"query\",\"fal_webhook\"]", why, "value_error", NULL, NULL);
    return true;
}

static bool number_query(struct call *c, struct faults *f, const char *name, uint64_t *out) {
    size_t count;
    struct slice v = h1_query(c->at.query, slice_of(name), &count);
    char loc[64];
    if (count == 0 || (count == 1 && slice_to_u64(v, out))) return true;
    snprintf(loc, sizeof loc, "[\"query\",\"%s\"]", name);
    faults_add(f, loc, count > 1 ? "given twice" : "Input should be a whole number", "int_parsing",
               NULL, NULL);
    return false;
}

#define NO_MODEL SLICE("?") /* nobody's: it starts, and fails, at once */

/* The model for one that names none: see endpoint_read. */
static struct slice default_model(const struct call *c, yyjson_val *body) {
    bool images = (c->endpoint->takes & IN(IMAGE_URL)) != 0 &&
                  (yyjson_is_str(json_get(body, "image_url")) ||
                   yyjson_arr_size(json_get(body, "image_urls")) > 0);
    return images ? endpoint_default_model(c->api->catalogue, true) : SLICE("");
}

/* The model decides which upstreams may run it; whether it is one at all is told when it runs. */
static bool read_body(struct call *c, struct faults *f, struct slice *model) {
    yyjson_doc *doc = endpoint_parse(net_body(c->x), f);
    yyjson_val *body = yyjson_doc_get_root(doc), *v = json_get(body, "model");
    if (v == NULL || yyjson_is_null(v))
        *model = default_model(c, body);
    else if (yyjson_get_len(v) > ROUTE_MAX_MODEL_BYTES || !yyjson_is_str(v))
        *model = NO_MODEL;
    else
        *model = arena_copy(net_arena(c->x), json_str(v));
    yyjson_doc_free(doc);
    return doc != NULL;
}

static bool read_idempotency(struct call *c, struct queue_submit *in) {
    if (in->idempotency_key.len == 0) return true;
    if (options_hash(&c->options, in->webhook, in->input, call_scratch(c), in->body_hash))
        return true;
    call_queue_refusal(c, QUEUE_UNAVAILABLE);
    return false;
}

static void submitted(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    if (c == NULL) return;
    if (r->code != QUEUE_OK) {
        call_queue_refusal(c, r->code);
        return;
    }
    snprintf(c->request_id, sizeof c->request_id, "%s", r->id);
    if (r->again) net_header(c->x, SLICE("idempotent-replayed"), SLICE("true"));
    status_json(call_scratch(c), c, r, 0);
    call_scratch_json(c, 200);
}

static struct queue_submit submit_of(struct call *c) {
    const struct call_options *o = &c->options;
    const struct config_limits *limits = c->who.limits;
    return (struct queue_submit){.endpoint = c->app,
                                 .owner = identity_owner(&c->who),
                                 .key_id = c->who.key_id,
                                 .input = net_body(c->x).len > 0 ? net_body(c->x) : SLICE("{}"),
                                 .priority = o->low_priority ? 1 : 0,
                                 .no_retry = o->no_retry,
                                 .start_timeout_ms = o->start_timeout_ms,
                                 .no_store = o->no_store,
                                 .no_fallback = o->no_fallback,
                                 .hint = o->hint,
                                 .tags = o->tags,
                                 .retries_server_error = o->retries_server_error,
                                 .retries_timeout = o->retries_timeout,
                                 .retries_connection_error = o->retries_connection_error,
                                 .owner_concurrency = limits->concurrent_calls,
                                 .owner_queue_length = limits->queue_length};
}

static bool key_ok(struct call *c, struct queue_submit *in) {
    const char *why = options_read_idempotency_key(net_head(c->x), &in->idempotency_key);
    if (why != NULL) call_error(c, 400, "bad_request", slice_of(why));
    return why == NULL;
}

void handle_submit(struct call *c) {
    struct faults f;
    if (!call_wants_json(c) || !call_endpoint(c) || !call_options_ok(c)) return;
    struct queue_submit in = submit_of(c);
    if (!key_ok(c, &in)) return;
    faults_init(&f);
    if (webhook_fault(c, &f, &in.webhook) ||
        !number_query(c, &f, "fal_max_queue_length", &in.max_queue_length) ||
        !read_body(c, &f, &in.model))
        call_faults(c, &f);
    else if (read_idempotency(c, &in)) {
        queue_submit(c->api->queue, &in, call_done(c, submitted));
        admit_tell_queue(c);
    }
    faults_free(&f);
}

/* --- status, result, cancel */

struct queue_find call_find(struct call *c) {
    if (c->id.len == UUID_BYTES - 1) memcpy(c->request_id, c->id.ptr, c->id.len);
    return (struct queue_find){.id = c->id, .owner = identity_owner(&c->who), .endpoint = c->app};
}

bool call_reads_logs(struct call *c) {
    size_t count;
    struct slice v = h1_query(c->at.query, SLICE("logs"), &count);
    c->logs = slice_is(v, "1") || slice_is(v, "true") || slice_is(v, "True");
    if (count == 0 || c->logs || v.len == 0 || slice_is(v, "0") || slice_is(v, "false") ||
        slice_is(v, "False"))
        return true;
    struct faults f;
    faults_init(&f);
    faults_add(&f, "[\"query\",\"logs\"]", "Input should be 1, 0, true or false", "bool_parsing",
               NULL, NULL);
    call_faults(c, &f);
    faults_free(&f);
    return false;
}

static void status_done(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    if (c == NULL) return;
    if (r->code != QUEUE_OK) {
        call_queue_refusal(c, r->code);
        return;
    }
    status_json(call_scratch(c), c, r, 0);
    call_scratch_json(c, r->state == STORE_COMPLETED ? 200 : 202);
}

void handle_status(struct call *c) {
    struct queue_find f = call_find(c);
    if (call_reads_logs(c)) queue_status(c->api->queue, &f, c->logs, call_done(c, status_done));
}

/* The headers that came with the answer, as the runner wrote them: "name: value\r\n" lines. */
static void replay_headers(struct call *c, struct slice lines) {
    while (lines.ptr != NULL && lines.len > 0) {
        struct slice rest, value, line = slice_cut(lines, '\n', &rest);
        struct slice name = slice_cut(line, ':', &value);
        if (value.len > 0 && value.ptr[value.len - 1] == '\r') value.len--;
        if (name.len > 0 && value.len > 0) net_header(c->x, name, slice_trim(value));
        lines = rest;
    }
}

static void result_done(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    if (c == NULL) return;
    if (r->code != QUEUE_OK) {
        call_queue_refusal(c, r->code);
        return;
    }
    if (r->row->body.len == 0) { /* no result is empty: by the platform API's deletion */
        call_error(c, 410, "payload_deleted",
                   SLICE("The input and the result of this request were deleted."));
        return;
    }
    replay_headers(c, r->row->headers);
    /* What ended without a run, as a cancelled one, has no headers of its own. */
    if (r->row->headers.len == 0 && r->row->error_type.len > 0)
        net_header(c->x, SLICE("x-fal-error-type"), r->row->error_type);
    call_json(c, r->row->http_status, r->row->body);
}

void handle_result(struct call *c) {
    struct queue_find f = call_find(c);
    queue_result(c->api->queue, &f, call_done(c, result_done));
}

static void cancel_done(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    if (c == NULL) return;
    if (r->code == QUEUE_OK)
        call_json(c, 202, SLICE("{\"status\":\"CANCELLATION_REQUESTED\"}"));
    else
        call_queue_refusal(c, r->code);
}

void handle_cancel(struct call *c) {
    struct queue_find f = call_find(c);
    queue_cancel(c->api->queue, &f, call_done(c, cancel_done));
}
