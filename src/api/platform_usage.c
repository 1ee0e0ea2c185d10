/* Usage and analytics: the ledger summed up over spans of time.
 *
 * The store sums over spans of equal length; days, weeks and months of a zone are put together here from what is shorter:
 * days where the zone is UTC, else hours or quarters of them. */
#include "api/platform_inner.h"

#define HOUR_MS 3600000LL
#define QUARTER_MS 900000LL
#define MAX_SPANS \
    100000 /* that the store is asked for: eleven years of hours, ten weeks of minutes */

static const char *const frames[] = {"minute", "hour", "day", "week", "month", NULL},
                         *const booleans[] = {"true", "false", NULL},
                         *const usage_expands[] = {"time_series", "summary", "auth_method", NULL},
                         *const analytics_expands[] = {
                             "time_series",   "summary",          "request_count",
                             "success_count", "user_error_count", "error_count",
                             "avg_duration",  "max_duration",     NULL};
enum { EXPAND_SERIES = 1, EXPAND_SUMMARY = 2, EXPAND_AUTH = 4, EXPAND_FIGURES = 252 };

enum {
    P_START,
    P_END,
    P_ZONE,
    P_FRAME,
    P_BOUND,
    P_ENDPOINT,
    P_EXPAND,
    P_LIMIT,
    P_CURSOR,
    P_KEY,
    P_OWNER
};

#define TIMES                                                                                     \
    [P_START] = {"start", PARAM_TIME,                                                             \
                 .description = "From when on; a day before end when not given."},                \
    [P_END] = {"end", PARAM_TIME,                                                                 \
               .description = "Until when, itself not included; now when not given."},            \
    [P_ZONE] = {"timezone", PARAM_ZONE,                                                           \
                .description = "Where buckets begin: UTC, or an offset from it."},                \
    [P_FRAME] = {"timeframe", PARAM_CHOICE, .values = frames,                                     \
                 .description = "How long a bucket is; chosen by the span when not given."},      \
    [P_BOUND] = {"bound_to_timeframe", PARAM_CHOICE, .values = booleans,                          \
                 .description =                                                                   \
                     "Whether start and end are widened to whole buckets: true when not given."}, \
    [P_LIMIT] = {"limit", PARAM_INTEGER, .min = 1, .max = 1000,                                   \
                 .description = "How many buckets at most, 100 when not given."},                 \
    [P_CURSOR] = {"cursor", PARAM_CURSOR, .description = "next_cursor of the page before."}

static const struct param usage_rows[] = {
    TIMES,
    [P_ENDPOINT] = {"endpoint_id", PARAM_ENDPOINTS, .description = "Only these."},
    [P_EXPAND] = {"expand", PARAM_CHOICES, .values = usage_expands,
                  .description =
                      "time_series when not given; auth_method: for each key by itself."},
    [P_KEY] = {"api_key_id", PARAM_TEXT, .description = "Only this key."},
    [P_OWNER] = {"login_username", PARAM_TEXT, .description = "Only keys of this owner."},
};
const struct params usage_params = PARAMS("@usage@", usage_rows);

static const struct param analytics_rows[] = {
    TIMES,
    [P_ENDPOINT] = {"endpoint_id", PARAM_ENDPOINTS, .required = true, .description = "Of these."},
    [P_EXPAND] = {"expand", PARAM_CHOICES, .values = analytics_expands,
                  .description = "time_series with all figures when not given."},
};
const struct params analytics_params = PARAMS("@analytics@", analytics_rows);

struct ask {
    struct platform_state base;
    struct cursor span;
    enum platform_frame frame;
    int64_t from_bucket; /* of this page */
    int64_t east_ms;     /* of UTC */
    size_t limit;
    unsigned expand;
    bool per_key;
    void (*add)(struct buf *b, const struct call *c, const struct ask *a,
                const struct store_sum *s);
};

/* --- buckets */

static int64_t bucket_of(const struct ask *a, int64_t at_ms, int64_t later) {
    return platform_bucket(a->frame, a->east_ms, at_ms, later);
}

/* What the store sums over. */
static int64_t span_ms(const struct ask *a) {
    if (a->frame == FRAME_MINUTE) return 60000;
    if (a->frame >= FRAME_DAY && a->east_ms == 0) return PLATFORM_DAY_MS;
    return a->east_ms % HOUR_MS == 0 ? HOUR_MS : QUARTER_MS;
}

static enum platform_frame frame_for(int64_t ms) {
    static const struct {
        int64_t below_ms;
        enum platform_frame frame;
    } rows[] = {{2 * HOUR_MS, FRAME_MINUTE},
                {3 * PLATFORM_DAY_MS, FRAME_HOUR},
                {64 * PLATFORM_DAY_MS, FRAME_DAY},
                {183 * PLATFORM_DAY_MS, FRAME_WEEK}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ms <= rows[i].below_ms) return rows[i].frame;
    return FRAME_MONTH;
}

/* --- sums of one bucket, put together by endpoint (and key) */

struct groups {
    struct store_sum *rows; /* room for as many as the store has given */
    size_t n;
};

static void merge(struct store_sum *to, const struct store_sum *s) {
    to->calls += s->calls;
    to->errors += s->errors;
    to->user_errors += s->user_errors;
    to->duration_ms += s->duration_ms;
    if (s->max_duration_ms > to->max_duration_ms) to->max_duration_ms = s->max_duration_ms;
    to->prompt_tokens += s->prompt_tokens;
    to->completion_tokens += s->completion_tokens;
    to->cached_tokens += s->cached_tokens;
    to->reasoning_tokens += s->reasoning_tokens;
    to->costs_unknown += s->costs_unknown;
    to->charges_unknown += s->charges_unknown;
    to->cost_microusd += s->cost_microusd;
    to->charge_microusd += s->charge_microusd;
    to->units_micro += s->units_micro;
}

static void group(struct groups *g, const struct ask *a, const struct store_sum *s) {
    size_t i = 0;
    for (; i < g->n; i++)
        if (slice_eq(g->rows[i].endpoint, s->endpoint) &&
            (!a->per_key || slice_eq(g->rows[i].key_id, s->key_id)))
            break;
    if (i < g->n)
        merge(&g->rows[i], s);
    else
        g->rows[g->n++] = *s;
}

static void add_groups(struct buf *b, const struct call *c, const struct ask *a,
                       const struct groups *g) {
    buf_addc(b, '[');
    for (size_t i = 0; i < g->n; i++) {
        if (i > 0) buf_addc(b, ',');
        a->add(b, c, a, &g->rows[i]);
    }
    buf_addc(b, ']');
}

/* The buckets from the cursor on, as many as a page holds. True: more follow. The frame goes with the cursor: what was chosen
 * by the span stays when the span was widened. */
static bool add_series(struct buf *b, const struct call *c, struct ask *a, struct groups *g,
                       const struct store_reply *r) {
    size_t i = 0, buckets = 0;
    while (i < r->nsums && bucket_of(a, r->sums[i].bucket_ms, 0) < a->from_bucket) i++;
    buf_puts(b, "\"time_series\":[");
    while (i < r->nsums && buckets < a->limit) {
        int64_t begins = bucket_of(a, r->sums[i].bucket_ms, 0);
        for (g->n = 0; i < r->nsums && bucket_of(a, r->sums[i].bucket_ms, 0) == begins; i++)
            group(g, a, &r->sums[i]);
        buf_puts(b, buckets++ > 0 ? ",{" : "{");
        platform_add_time(b, "bucket", begins);
        buf_puts(b, ",\"results\":");
        add_groups(b, c, a, g);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
    if (i < r->nsums) a->span.at = bucket_of(a, r->sums[i].bucket_ms, 0) * 8 + (int64_t)a->frame;
    return i < r->nsums;
}

static void summed(struct call *c, const struct store_reply *r) {
    struct ask *a = c->own;
    struct groups g = {platform_alloc(c, (r->nsums + 1) * sizeof *g.rows), 0};
    bool more = false;
    if (g.rows == NULL) return;
    struct buf *b = call_scratch(c);
    buf_addc(b, '{');
    if ((a->expand & EXPAND_SERIES) != 0) more = add_series(b, c, a, &g, r);
    if ((a->expand & EXPAND_SUMMARY) != 0) {
        buf_puts(b, (a->expand & EXPAND_SERIES) != 0 ? ",\"summary\":" : "\"summary\":");
        g.n = 0;
        for (size_t i = 0; i < r->nsums; i++) group(&g, a, &r->sums[i]);
        add_groups(b, c, a, &g);
    }
    platform_add_page(b, more ? &a->span : NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

/* --- asking */

/* The zone is the caller's with each page; bounds and frame are the first one's. */
static bool read_ask(struct call *c, const struct param_value *v, struct ask *a) {
    if (!platform_span(c, &v[P_START], &v[P_END], &v[P_CURSOR], &a->span)) return false;
    a->east_ms = v[P_ZONE].number;
    a->limit = v[P_LIMIT].n > 0 ? (size_t)v[P_LIMIT].number : 100;
    a->frame = frame_for(a->span.to_ms - a->span.from_ms);
    for (unsigned f = FRAME_MINUTE; f <= FRAME_MONTH; f++)
        if ((v[P_FRAME].choices & 1U << f) != 0) a->frame = (enum platform_frame)f;
    if (v[P_CURSOR].n > 0) {
        a->from_bucket = a->span.at / 8;
        a->frame = a->span.at % 8 < FRAME_MONTH ? (enum platform_frame)(a->span.at % 8)
                                                : FRAME_MONTH;
    } else if ((v[P_BOUND].choices & 2) == 0) {
        a->span.from_ms = bucket_of(a, a->span.from_ms, 0);
        a->span.to_ms = bucket_of(a, a->span.to_ms - 1, 1);
        if (a->span.from_ms < 1) a->span.from_ms = 1;
    }
    a->expand = v[P_EXPAND].choices;
    if ((a->expand & (EXPAND_SERIES | EXPAND_SUMMARY)) == 0) a->expand |= EXPAND_SERIES;
    return (a->span.to_ms - a->span.from_ms) / span_ms(a) <= MAX_SPANS ||
           platform_refuse(c, 400, "timeframe: too short for so long a span");
}

static void ask_sums(struct call *c, const struct param_value *v, struct ask *a,
                     struct store_ledger_query q) {
    uint64_t ticket = platform_ask(c, &a->base, summed);
    if (ticket == 0) return;
    q.endpoints = v[P_ENDPOINT].texts;
    q.nendpoints = v[P_ENDPOINT].n;
    q.from_ms = a->span.from_ms;
    q.to_ms = a->span.to_ms;
    q.bucket_ms = span_ms(a);
    c->api->store->backend->ledger_sums(c->api->store, ticket, &q);
}

/* --- GET /models/usage */

static void add_usage(struct buf *b, const struct call *c, const struct ask *a,
                      const struct store_sum *s) {
    const struct endpoint *e = platform_endpoint(c->api, s->endpoint);
    bool known = s->charges_unknown < s->calls || s->charges_unknown == 0;
    buf_puts(b, "{\"endpoint_id\":");
    json_add_string(b, s->endpoint, true);
    buf_printf(b, ",\"unit\":\"%s\",", platform_unit(e));
    platform_add_micro(b, "quantity", known, s->units_micro);
    buf_addc(b, ',');
    platform_add_micro(b, "unit_price", true, billing_unit_price_microusd(c->api->config, e));
    buf_puts(b, ",\"percent_discount\":0,\"cost_discount\":0,");
    platform_add_micro(b, "cost_subtotal", known, s->charge_microusd);
    buf_addc(b, ',');
    platform_add_micro(b, "cost_total", known, s->charge_microusd);
    buf_addc(b, ',');
    platform_add_micro(b, "cost", known, s->charge_microusd);
    buf_puts(b, ",\"currency\":\"USD\",");
    platform_add_micro(b, "upstream_cost", s->costs_unknown < s->calls || s->costs_unknown == 0,
                       s->cost_microusd);
    buf_printf(b, ",\"calls\":%llu,\"calls_without_charge\":%llu,\"calls_without_cost\":%llu",
               (unsigned long long)s->calls, (unsigned long long)s->charges_unknown,
               (unsigned long long)s->costs_unknown);
    buf_printf(b, ",\"prompt_tokens\":%llu,\"completion_tokens\":%llu",
               (unsigned long long)s->prompt_tokens, (unsigned long long)s->completion_tokens);
    if (a->per_key) {
        buf_puts(b, ",\"auth_method\":");
        json_add_string(b, s->key_id, true);
    }
    buf_addc(b, '}');
}

void handle_platform_usage(struct call *c) {
    const struct param_value *v = platform_read(c, &usage_params);
    struct ask *a = v != NULL ? platform_alloc(c, sizeof *a) : NULL;
    if (a == NULL || !read_ask(c, v, a)) return;
    a->add = add_usage;
    a->per_key = (a->expand & EXPAND_AUTH) != 0;
    ask_sums(c, v, a,
             (struct store_ledger_query){.key_id = v[P_KEY].n > 0 ? v[P_KEY].texts[0] : SLICE(""),
                                         .owner = v[P_OWNER].n > 0 ? v[P_OWNER].texts[0]
                                                                   : platform_owner(c)});
}

/* --- GET /models/analytics */

static void add_seconds(struct buf *b, uint64_t ms) {
    buf_printf(b, "%llu.%03llu", (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

static void add_analytics(struct buf *b, const struct call *c, const struct ask *a,
                          const struct store_sum *s) {
    const uint64_t bad = s->errors + s->user_errors;
    const uint64_t figures[] = {
        s->calls,  s->calls > bad ? s->calls - bad : 0,          s->user_errors,
        s->errors, s->calls > 0 ? s->duration_ms / s->calls : 0, s->max_duration_ms};
    bool all = (a->expand & EXPAND_FIGURES) == 0;
    buf_puts(b, "{\"endpoint_id\":");
    json_add_string(b, s->endpoint, true);
    for (unsigned i = 0; i < 6; i++) {
        if (!all && (a->expand & 4U << i) == 0) continue;
        buf_printf(b, ",\"%s\":", analytics_expands[2 + i]);
        if (i < 4)
            buf_u64(b, figures[i]);
        else
            add_seconds(b, figures[i]);
    }
    buf_addc(b, '}');
}

void handle_platform_analytics(struct call *c) {
    const struct param_value *v = platform_read(c, &analytics_params);
    struct ask *a = v != NULL ? platform_alloc(c, sizeof *a) : NULL;
    if (a == NULL || !read_ask(c, v, a)) return;
    a->add = add_analytics;
    ask_sums(c, v, a, (struct store_ledger_query){.owner = platform_owner(c)});
}
