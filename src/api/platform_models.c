/* Models, what they cost, and what so much of them would. */
#include "api/platform_inner.h"

#include "api/openapi.h"

/* --- the list of endpoints: those of the table, then the operator's names for them */

static size_t listed_count(const struct api *a) {
    return endpoint_count() + a->config->naliases;
}

/* By its own name or an alias. */
static struct endpoint listed_at(struct call *c, size_t i) {
    const struct api *a = c->api;
    if (i < endpoint_count()) return *endpoint_at(i);
    const struct config_alias *alias = &a->config->aliases[i - endpoint_count()];
    struct endpoint e = *platform_endpoint(a, alias->endpoint);
    char *name = arena_dup(net_arena(c->x), alias->name);
    if (name == NULL) return e;
    e.id = name;
    e.id_len = alias->name.len;
    return e;
}

static struct slice id_of(const struct endpoint *e) {
    return slice_make(e->id, e->id_len);
}

/* --- GET /models */

enum {
    MODELS_LIMIT,
    MODELS_CURSOR,
    MODELS_ID,
    MODELS_Q,
    MODELS_CATEGORY,
    MODELS_STATUS,
    MODELS_EXPAND
};
enum { EXPAND_OPENAPI = 1, EXPAND_ENTERPRISE = 2 };
enum { STATUS_DEPRECATED = 2 };

static const char *const statuses[] = {"active", "deprecated", NULL}, *const model_expands[] = {
                                                                          "openapi-3.0",
                                                                          "enterprise_status",
                                                                          NULL};

static const struct param models_rows[] = {
    [MODELS_LIMIT] = {"limit", PARAM_INTEGER, .min = 1, .max = 100,
                      .description = "How many at most, 50 when not given."},
    [MODELS_CURSOR] = {"cursor", PARAM_CURSOR, .description = "next_cursor of the page before."},
    [MODELS_ID] = {"endpoint_id", PARAM_ENDPOINTS, .description = "Only these."},
    [MODELS_Q] = {"q", PARAM_TEXT,
                  .description = "Only what has this in its id, title or description."},
    [MODELS_CATEGORY] = {"category", PARAM_TEXT, .description = "Only this category."},
    [MODELS_STATUS] = {"status", PARAM_CHOICE, .values = statuses,
                       .description = "Every endpoint here is active."},
    [MODELS_EXPAND] = {"expand", PARAM_CHOICES, .values = model_expands,
                       .description = "What else to tell of each."},
};
const struct params models_params = PARAMS("@models@", models_rows);

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool contains(struct slice text, struct slice part) {
    for (size_t at = 0; at + part.len <= text.len; at++) {
        size_t i = 0;
        while (i < part.len && lower(text.ptr[at + i]) == lower(part.ptr[i])) i++;
        if (i == part.len) return true;
    }
    return false;
}

static bool among(const struct param_value *v, struct slice text) {
    for (size_t i = 0; i < v->n; i++)
        if (slice_eq(v->texts[i], text)) return true;
    return v->n == 0;
}

static bool wanted(const struct endpoint *e, const struct param_value *v) {
    if ((v[MODELS_STATUS].choices & STATUS_DEPRECATED) != 0 || !among(&v[MODELS_ID], id_of(e)) ||
        !among(&v[MODELS_CATEGORY], slice_of(e->category)))
        return false;
    if (v[MODELS_Q].n == 0) return true;
    struct slice q = v[MODELS_Q].texts[0];
    return contains(id_of(e), q) || contains(slice_of(e->title), q) ||
           contains(slice_of(e->description), q);
}

static void add_text(struct buf *b, const char *name, const char *text) {
    buf_printf(b, ",\"%s\":", name);
    json_add_string(b, slice_of(text), true);
}

/* Where this server is reached, without a surface's prefix. */
static void add_base(struct call *c, struct buf *b) {
    struct reach run = c->at;
    struct buf base;
    buf_init(&base, 8192);
    run.surface = SURFACE_QUEUE;
    run.prefix = SLICE("/queue");
    reach_base(&base, c->api->config, &run);
    struct slice s = buf_slice(&base);
    if (s.len > run.prefix.len) output_add_escaped(b, slice_make(s.ptr, s.len - run.prefix.len));
    buf_free(&base);
}

/* When the table of endpoints was changed last. */
#define TABLE_TIME "2026-11-23T00:00:00.000000Z"

static void add_metadata(struct call *c, struct buf *b, const struct endpoint *e) {
    buf_puts(b, "\"metadata\":{\"display_name\":");
    json_add_string(b, slice_of(e->title), true);
    add_text(b, "category", e->category);
    add_text(b, "description", e->description);
    buf_puts(b, ",\"status\":\"active\",\"tags\":[],\"updated_at\":\"" TABLE_TIME
                "\",\"date\":\"" TABLE_TIME "\",\"is_favorited\":false,\"thumbnail_url\":\"\","
                "\"model_url\":\"");
    add_base(c, b);
    buf_printf(b, "/models/%s/llms.txt\"", e->id);
    if (e->dialect != ENDPOINT_OPENAI) {
        buf_puts(b, ",\"stream_url\":\"");
        add_base(c, b);
        buf_printf(b, "/run/%s/stream\"", e->id);
    }
    buf_puts(b, ",\"highlighted\":false,\"kind\":\"inference\",\"pinned\":false}");
}

static void add_model(struct call *c, struct buf *b, const struct endpoint *e, unsigned expand) {
    buf_puts(b, "{\"endpoint_id\":");
    json_add_string(b, id_of(e), true);
    buf_addc(b, ',');
    add_metadata(c, b, e);
    if ((expand & EXPAND_OPENAPI) != 0) {
        struct buf base;
        buf_init(&base, 8192);
        add_base(c, &base);
        buf_puts(b, ",\"openapi\":");
        openapi_json(b, e, c->api->catalogue, buf_slice(&base));
        buf_free(&base);
    }
    if ((expand & EXPAND_ENTERPRISE) != 0) buf_puts(b, ",\"enterprise_status\":\"ready\"");
    buf_addc(b, '}');
}

void handle_platform_models(struct call *c) {
    const struct param_value *v = platform_read(c, &models_params);
    if (v == NULL) return;
    size_t limit = v[MODELS_LIMIT].n > 0 ? (size_t)v[MODELS_LIMIT].number : 50, n = 0;
    size_t i = v[MODELS_CURSOR].cursor.at < 0 ? 0 : (size_t)v[MODELS_CURSOR].cursor.at;
    struct cursor next = {0};
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"models\":[");
    for (; i < listed_count(c->api); i++) {
        const struct endpoint e = listed_at(c, i);
        if (!wanted(&e, v)) continue;
        if (n == limit) break;
        if (n++ > 0) buf_addc(b, ',');
        add_model(c, b, &e, v[MODELS_EXPAND].choices);
    }
    next.at = (int64_t)i;
    buf_addc(b, ']');
    platform_add_page(b, i < listed_count(c->api) ? &next : NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

/* --- GET /models/pricing */

static const struct param pricing_rows[] = {
    {"endpoint_id", PARAM_ENDPOINTS, .required = true, .description = "Of which endpoints."},
    {"cursor", PARAM_CURSOR, .description = "There is one page."},
    {"limit", PARAM_INTEGER, .min = 1, .max = 100, .description = "There is one page."},
};
const struct params pricing_params = PARAMS("@pricing@", pricing_rows);

const char *platform_unit(const struct endpoint *e) {
    return billing_unit(e) == BILLING_REQUESTS ? "requests" : "dollars";
}

void handle_platform_pricing(struct call *c) {
    const struct param_value *v = platform_read(c, &pricing_params);
    if (v == NULL) return;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"prices\":[");
    for (size_t i = 0; i < v[0].n; i++) {
        const struct endpoint *e = platform_endpoint(c->api, v[0].texts[i]);
        buf_puts(b, i > 0 ? ",{\"endpoint_id\":" : "{\"endpoint_id\":");
        json_add_string(b, v[0].texts[i], true);
        buf_puts(b, ",\"unit_price\":");
        billing_add_usd(b, billing_unit_price_microusd(c->api->config, e));
        buf_printf(b, ",\"unit\":\"%s\",\"currency\":\"USD\"}", platform_unit(e));
    }
    buf_addc(b, ']');
    platform_add_page(b, NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

/* --- POST /models/pricing/estimate */

#define MAX_QUANTITY 1e12
#define HISTORY_MS (30 * PLATFORM_DAY_MS)

struct asked {
    struct slice id;
    double quantity;
};

struct estimate {
    struct platform_state base;
    bool historical;
    size_t n;
    struct asked asked[PLATFORM_MAX_IDS];
    struct slice ids[PLATFORM_MAX_IDS];
};

static void answer_estimate(struct call *c, bool historical, double usd) {
    struct buf *b = call_scratch(c);
    buf_printf(b, "{\"estimate_type\":\"%s\",\"total_cost\":%.6f,\"currency\":\"USD\"}",
               historical ? "historical_api_price" : "unit_price", usd);
    call_scratch_json(c, 200);
}

static double unit_usd(const struct call *c, struct slice id) {
    return (double)billing_unit_price_microusd(c->api->config, platform_endpoint(c->api, id)) / 1e6;
}

/* What a call was charged on average; one of a request's price has one before the first call. */
static bool call_usd(struct call *c, struct slice id, const struct store_reply *r, double *usd) {
    double charged = 0, calls = 0;
    for (size_t i = 0; i < r->nsums; i++) {
        const struct store_sum *s = &r->sums[i];
        if (!slice_eq(s->endpoint, id)) continue;
        charged += (double)s->charge_microusd / 1e6;
        calls += (double)s->calls - (double)s->charges_unknown;
    }
    bool by_request = billing_unit(platform_endpoint(c->api, id)) == BILLING_REQUESTS;
    *usd = calls > 0 ? charged / calls : unit_usd(c, id);
    return calls > 0 || by_request;
}

static void estimated(struct call *c, const struct store_reply *r) {
    const struct estimate *e = c->own;
    double total = 0, usd;
    for (size_t i = 0; i < e->n; i++) {
        if (!call_usd(c, e->asked[i].id, r, &usd)) {
            platform_refuse(c, 404, "No call of \"%.*s\" with a known charge in the last 30 days",
                            SLICE_ARG(e->asked[i].id));
            return;
        }
        total += usd * e->asked[i].quantity;
    }
    answer_estimate(c, true, total);
}

static void ask_history(struct call *c, struct estimate *e) {
    struct api *a = c->api;
    int64_t now = clock_wall_ms(a->clock);
    uint64_t ticket = platform_ask(c, &e->base, estimated);
    if (ticket == 0) return;
    for (size_t i = 0; i < e->n; i++) e->ids[i] = e->asked[i].id;
    const struct store_ledger_query q = {.owner = platform_owner(c),
                                         .endpoints = e->ids,
                                         .nendpoints = e->n,
                                         .from_ms = now - HISTORY_MS,
                                         .to_ms = now + 1};
    a->store->backend->ledger_sums(a->store, ticket, &q);
}

static bool read_asked(struct call *c, struct estimate *e, struct slice id, yyjson_val *v) {
    const char *name = e->historical ? "call_quantity" : "unit_quantity";
    yyjson_val *quantity = json_get(v, name);
    double n = yyjson_get_num(quantity), least = e->historical ? 1 : 0;
    if (platform_endpoint(c->api, id) == NULL)
        return platform_refuse(c, 404, "Endpoint \"%.*s\" not found",
                               (int)(id.len < 100 ? id.len : 100), id.ptr);
    if (!yyjson_is_num(quantity) || !(n >= least && n <= MAX_QUANTITY) ||
        (e->historical && !yyjson_is_int(quantity)))
        return platform_refuse(c, 400,
                               "endpoints: wants {\"ID\": {\"%s\": NUMBER}} of at most 1e12", name);
    e->asked[e->n++] = (struct asked){id, n};
    return true;
}

static bool read_estimate(struct call *c, yyjson_val *root, struct estimate *e) {
    struct slice type = json_str(json_get(root, "estimate_type"));
    yyjson_val *endpoints = json_get(root, "endpoints");
    e->historical = slice_is(type, "historical_api_price");
    if (!e->historical && !slice_is(type, "unit_price"))
        return platform_refuse(c, 400, "estimate_type: is historical_api_price or unit_price");
    size_t n = yyjson_is_obj(endpoints) ? yyjson_obj_size(endpoints) : 0;
    if (n == 0 || n > PLATFORM_MAX_IDS)
        return platform_refuse(c, 400, "endpoints: is an object of 1 to %u endpoints",
                               PLATFORM_MAX_IDS);
    yyjson_obj_iter it = yyjson_obj_iter_with(endpoints);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;) {
        struct slice id = arena_copy(net_arena(c->x), json_str(k));
        if (id.ptr == NULL) return platform_refuse(c, 503, "out of memory");
        if (!read_asked(c, e, id, yyjson_obj_iter_get_val(k))) return false;
    }
    return true;
}

void handle_platform_estimate(struct call *c) {
    struct json_error err;
    if (!call_wants_json(c)) return;
    struct estimate *e = platform_alloc(c, sizeof *e);
    if (e == NULL) return;
    yyjson_doc *doc = json_parse(net_body(c->x), &err);
    bool ok = doc != NULL ? read_estimate(c, yyjson_doc_get_root(doc), e)
                          : platform_refuse(c, 400, "the body is no JSON: %s", err.reason);
    yyjson_doc_free(doc);
    if (!ok) return;
    if (e->historical) {
        ask_history(c, e);
        return;
    }
    double total = 0;
    for (size_t i = 0; i < e->n; i++) total += unit_usd(c, e->asked[i].id) * e->asked[i].quantity;
    answer_estimate(c, false, total);
}
