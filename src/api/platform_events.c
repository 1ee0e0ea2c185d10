/* Single calls: what each was charged, and the requests themselves. */
#include "api/platform_inner.h"

/* --- GET /models/billing-events */

enum { E_START, E_END, E_ENDPOINT, E_REQUEST, E_KEY, E_OWNER, E_EXPAND, E_LIMIT, E_CURSOR };
static const char *const event_expands[] = {"auth_method", NULL};
static const struct param events_rows[] = {
    [E_START] = {"start", PARAM_TIME,
                 .description = "From when on; a day before end when not given."},
    [E_END] = {"end", PARAM_TIME,
               .description = "Until when, itself not included; now when not given."},
    [E_ENDPOINT] = {"endpoint_id", PARAM_ENDPOINTS, .description = "Only these."},
    [E_REQUEST] = {"request_id", PARAM_TEXT, .description = "Only attempts of this request."},
    [E_KEY] = {"api_key_id", PARAM_TEXT, .description = "Only this key."},
    [E_OWNER] = {"login_username", PARAM_TEXT, .description = "Only keys of this owner."},
    [E_EXPAND] = {"expand", PARAM_CHOICES, .values = event_expands,
                  .description = "By which key each call was made."},
    [E_LIMIT] = {"limit", PARAM_INTEGER, .min = 1, .max = 1000,
                 .description = "How many at most, 100 when not given."},
    [E_CURSOR] = {"cursor", PARAM_CURSOR, .description = "next_cursor of the page before."},
};
const struct params billing_events_params = PARAMS("@billing_events@", events_rows);

struct events {
    struct platform_state base;
    struct cursor span;
    bool auth;
};

/* Nano-dollars: no cost is lost to rounding on the way. */
static void add_nano(struct buf *b, const struct store_usage *u) {
    if (u->has_charge)
        buf_printf(b, ",\"cost_estimate_nano_usd\":%lld", (long long)u->charge_microusd * 1000);
    else
        buf_puts(b, ",\"cost_estimate_nano_usd\":null");
}

static void add_tokens(struct buf *b, const struct store_usage *u) {
    buf_puts(b, ",\"prompt_tokens\":");
    buf_u64(b, u->prompt_tokens);
    buf_puts(b, ",\"completion_tokens\":");
    buf_u64(b, u->completion_tokens);
}

static void add_event(struct buf *b, const struct call *c, const struct store_charge *row,
                      bool auth) {
    const struct store_usage *u = &row->usage;
    const struct endpoint *e = platform_endpoint(c->api, row->endpoint);
    buf_printf(b, "{\"request_id\":\"%s\",\"endpoint_id\":", row->id);
    json_add_string(b, row->endpoint, true);
    buf_addc(b, ',');
    platform_add_time(b, "timestamp", row->at_ms);
    buf_addc(b, ',');
    platform_add_micro(b, "output_units", u->has_charge, u->units_micro);
    buf_addc(b, ',');
    platform_add_micro(b, "unit_price", true, billing_unit_price_microusd(c->api->config, e));
    buf_puts(b, ",\"percent_discount\":0,\"cost_discount\":0,");
    platform_add_micro(b, "cost_subtotal", u->has_charge, u->charge_microusd);
    buf_addc(b, ',');
    platform_add_micro(b, "cost_total", u->has_charge, u->charge_microusd);
    add_nano(b, u);
    buf_addc(b, ',');
    platform_add_micro(b, "upstream_cost", u->has_cost, u->cost_microusd);
    buf_printf(b, ",\"status_code\":%u,\"attempt\":%u,\"partial\":%s,\"model\":", row->http_status,
               row->attempt, u->partial ? "true" : "false");
    json_add_string(b, u->model, true);
    add_tokens(b, u);
    if (auth) {
        buf_puts(b, ",\"auth_method\":");
        json_add_string(b, row->key_id, true);
    }
    buf_addc(b, '}');
}

static void events_listed(struct call *c, const struct store_reply *r) {
    struct events *e = c->own;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"billing_events\":[");
    for (size_t i = 0; i < r->ncharges; i++) {
        if (i > 0) buf_addc(b, ',');
        add_event(b, c, &r->charges[i], e->auth);
    }
    buf_addc(b, ']');
    e->span.at = (int64_t)r->next;
    platform_add_page(b, r->next != 0 ? &e->span : NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

static struct slice text_of(const struct param_value *v) {
    return v->n > 0 ? v->texts[0] : SLICE("");
}

void handle_platform_billing_events(struct call *c) {
    const struct param_value *v = platform_read(c, &billing_events_params);
    struct events *e = v != NULL ? platform_alloc(c, sizeof *e) : NULL;
    if (e == NULL || !platform_span(c, &v[E_START], &v[E_END], &v[E_CURSOR], &e->span)) return;
    e->auth = v[E_EXPAND].choices != 0;
    uint64_t ticket = platform_ask(c, &e->base, events_listed);
    if (ticket == 0) return;
    const struct store_ledger_query q = {
        .owner = v[E_OWNER].n > 0 ? v[E_OWNER].texts[0] : platform_owner(c),
        .key_id = text_of(&v[E_KEY]),
        .id = text_of(&v[E_REQUEST]),
        .endpoints = v[E_ENDPOINT].texts,
        .nendpoints = v[E_ENDPOINT].n,
        .from_ms = e->span.from_ms,
        .to_ms = e->span.to_ms,
        .after = (uint64_t)e->span.at,
        .limit = v[E_LIMIT].n > 0 ? (unsigned)v[E_LIMIT].number : 100};
    c->api->store->backend->ledger(c->api->store, ticket, &q);
}

/* --- GET /models/requests/by-endpoint */

enum { R_ENDPOINT, R_START, R_END, R_STATUS, R_REQUEST, R_EXPAND, R_SORT, R_LIMIT, R_CURSOR };
static const char *const request_statuses[] = {"success", "error", "user_error", NULL},
                         *const request_expands[] = {"payloads", NULL},
                         *const request_sorts[] = {"ended_at", "duration", NULL};
static const struct param requests_rows[] = {
    [R_ENDPOINT] = {"endpoint_id", PARAM_ENDPOINT, .required = true,
                    .description = "Of which endpoint."},
    [R_START] = {"start", PARAM_TIME,
                 .description = "Ended from then on; a day before end when not given."},
    [R_END] = {"end", PARAM_TIME, .description = "Ended before; now when not given."},
    [R_STATUS] = {"status", PARAM_CHOICE, .values = request_statuses,
                  .description = "success: below 400, user_error: 4xx, error: 5xx."},
    [R_REQUEST] = {"request_id", PARAM_TEXT, .description = "Only this one."},
    [R_EXPAND] = {"expand", PARAM_CHOICES, .values = request_expands,
                  .description =
                      "Inputs and outputs of queued requests; direct calls are not kept."},
    [R_SORT] = {"sort_by", PARAM_CHOICE, .values = request_sorts,
                .description = "The latest end first, or the longest."},
    [R_LIMIT] = {"limit", PARAM_INTEGER, .min = 1, .max = 100,
                 .description = "How many at most, 50 when not given."},
    [R_CURSOR] = {"cursor", PARAM_CURSOR, .description = "next_cursor of the page before."},
};
const struct params requests_params = PARAMS("@requests@", requests_rows);

#define MAX_OFFSET 1000000

struct requests {
    struct platform_state base;
    struct cursor span;
    bool payloads;
};

/* What was stored is JSON, or was removed. */
static void add_payload(struct buf *b, const char *name, struct slice json) {
    buf_printf(b, ",\"%s\":", name);
    if (json.len > 0)
        buf_add(b, json);
    else
        buf_puts(b, "null");
}

static void add_request(struct buf *b, const struct store_request *r, bool payloads) {
    int64_t started = r->started_ms > 0 ? r->started_ms : r->ended_ms;
    int64_t ms = r->ended_ms > started ? r->ended_ms - started : 0;
    buf_printf(b, "{\"request_id\":\"%s\",\"endpoint_id\":", r->id);
    json_add_string(b, r->endpoint, true);
    buf_addc(b, ',');
    platform_add_time(b, "started_at", started);
    buf_addc(b, ',');
    platform_add_time(b, "sent_at", r->created_ms);
    buf_addc(b, ',');
    platform_add_time(b, "ended_at", r->ended_ms);
    buf_printf(b, ",\"status_code\":%u,\"duration\":%lld.%03lld", r->http_status,
               (long long)(ms / 1000), (long long)(ms % 1000));
    if (payloads) {
        add_payload(b, "json_input", r->input);
        add_payload(b, "json_output", r->output);
    }
    buf_addc(b, '}');
}

static void requests_listed(struct call *c, const struct store_reply *r) {
    struct requests *q = c->own;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"items\":[");
    for (size_t i = 0; i < r->nrequests; i++) {
        if (i > 0) buf_addc(b, ',');
        add_request(b, &r->requests[i], q->payloads);
    }
    buf_addc(b, ']');
    q->span.at += (int64_t)r->nrequests;
    platform_add_page(b, r->more && q->span.at <= MAX_OFFSET ? &q->span : NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

void handle_platform_requests(struct call *c) {
    const struct param_value *v = platform_read(c, &requests_params);
    struct requests *q = v != NULL ? platform_alloc(c, sizeof *q) : NULL;
    if (q == NULL || !platform_span(c, &v[R_START], &v[R_END], &v[R_CURSOR], &q->span)) return;
    if (q->span.at > MAX_OFFSET) q->span.at = MAX_OFFSET;
    q->payloads = v[R_EXPAND].choices != 0;
    uint64_t ticket = platform_ask(c, &q->base, requests_listed);
    if (ticket == 0) return;
    struct store_request_query in = {.owner = platform_owner(c),
                                     .endpoint = v[R_ENDPOINT].texts[0],
                                     .id = text_of(&v[R_REQUEST]),
                                     .from_ms = q->span.from_ms,
                                     .to_ms = q->span.to_ms,
                                     .by_duration = (v[R_SORT].choices & 2) != 0,
                                     .parts = q->payloads ? STORE_INPUT | STORE_RESULT : 0,
                                     .offset = (unsigned)q->span.at,
                                     .limit = v[R_LIMIT].n > 0 ? (unsigned)v[R_LIMIT].number : 50};
    in.status = (v[R_STATUS].choices & 1) != 0   ? STORE_SUCCESS
                : (v[R_STATUS].choices & 2) != 0 ? STORE_ERROR
                : (v[R_STATUS].choices & 4) != 0 ? STORE_USER_ERROR
                                                 : STORE_ANY;
    c->api->store->backend->requests(c->api->store, ticket, &in);
}

/* --- DELETE /models/requests/{id}/payloads */

static void payloads_dropped(struct call *c, const struct store_reply *r) {
    if (r->status == STORE_OK)
        call_json(c, 200, SLICE("{\"cdn_delete_results\":[]}"));
    else if (r->status == STORE_NOT_FOUND)
        platform_refuse(c, 404, "Request not found");
    else
        platform_refuse(c, 400, "The request is still in progress; cancel it first");
}

/* Done twice it is as done once: an Idempotency-Key changes nothing. */
void handle_platform_drop_payloads(struct call *c) {
    struct platform_state *s = platform_alloc(c, sizeof *s);
    char *id = s != NULL ? arena_dup(net_arena(c->x), c->id) : NULL;
    if (s == NULL) return;
    if (id == NULL || c->id.len >= STORE_ID_BYTES) {
        platform_refuse(c, 404, "Request not found");
        return;
    }
    uint64_t ticket = platform_ask(c, s, payloads_dropped);
    if (ticket != 0)
        c->api->store->backend->drop_payload(c->api->store, ticket, id, platform_owner(c));
}
