/* The operator's routes: what was used and what it cost, summed up by day, endpoint, key or owner. */
#include "api/admin.h"

#include <stdlib.h>

#define DAY_MS 86400000LL
#define TO_MAX_S 253402300799ULL /* the year 9999 */

static int by_nothing(const struct store_sum *a, const struct store_sum *b) {
    return 0;
}

static int by_day(const struct store_sum *a, const struct store_sum *b) {
    return (a->bucket_ms > b->bucket_ms) - (a->bucket_ms < b->bucket_ms);
}

static int by_text(struct slice a, struct slice b) {
    int n = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return n != 0 ? n : (a.len > b.len) - (a.len < b.len);
}

static int by_endpoint(const struct store_sum *a, const struct store_sum *b) {
    return by_text(a->endpoint, b->endpoint);
}

static int by_owner(const struct store_sum *a, const struct store_sum *b) {
    return by_text(a->owner, b->owner);
}

/* Two owners may have had keys of the same id, one after the other, in the configuration. */
static int by_key(const struct store_sum *a, const struct store_sum *b) {
    int n = by_text(a->key_id, b->key_id);
    return n != 0 ? n : by_owner(a, b);
}

static const struct grouping {
    const char *name;
    int (*order)(const struct store_sum *a, const struct store_sum *b);
    int64_t bucket_ms;
} groupings[] = {{"", by_nothing, 0},
                 {"day", by_day, DAY_MS},
                 {"endpoint", by_endpoint, 0},
                 {"key", by_key, 0},
                 {"owner", by_owner, 0}};

struct usage_question {
    const struct grouping *by;
    uint64_t from_s, to_s;
};

/* --- summing up */

static void join(struct store_sum *to, const struct store_sum *from) {
    to->calls += from->calls;
    to->errors += from->errors;
    to->user_errors += from->user_errors;
    to->duration_ms += from->duration_ms;
    to->prompt_tokens += from->prompt_tokens;
    to->completion_tokens += from->completion_tokens;
    to->cached_tokens += from->cached_tokens;
    to->reasoning_tokens += from->reasoning_tokens;
    to->costs_unknown += from->costs_unknown;
    to->charges_unknown += from->charges_unknown;
    to->cost_microusd += from->cost_microusd;
    to->charge_microusd += from->charge_microusd;
}

static const struct grouping *ordering; /* qsort has no argument for it; one thread */

static int compare(const void *a, const void *b) {
    return ordering->order(a, b);
}

/* Sorts them and leaves one of each group, in place. Returns how many. */
static size_t group(struct store_sum *sums, size_t n, const struct grouping *by) {
    size_t kept = 0;
    ordering = by;
    if (n > 1) qsort(sums, n, sizeof *sums, compare);
    for (size_t i = 0; i < n; i++)
        if (kept > 0 && by->order(&sums[kept - 1], &sums[i]) == 0)
            join(&sums[kept - 1], &sums[i]);
        else
            sums[kept++] = sums[i];
    return kept;
}

/* --- the answer */

static void add_money(struct buf *b, const char *name, int64_t microusd, bool known) {
    unsigned long long u = microusd < 0 ? 0 - (unsigned long long)microusd
                                        : (unsigned long long)microusd;
    if (known)
        buf_printf(b, ",\"%s\":%s%llu.%06llu", name, microusd < 0 ? "-" : "", u / 1000000,
                   u % 1000000);
    else
        buf_printf(b, ",\"%s\":null", name);
}

static void add_count(struct buf *b, const char *name, uint64_t n) {
    buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)n);
}

static void add_group(struct buf *b, const struct grouping *by, const struct store_sum *s) {
    char day[CLOCK_ISO_BYTES];
    if (by->order == by_day) {
        clock_iso8601(s->bucket_ms, day);
        buf_printf(b, ",\"day\":\"%.10s\"", day);
    }
    if (by->order == by_endpoint) admin_text(b, "endpoint", s->endpoint);
    if (by->order == by_key) admin_text(b, "key_id", s->key_id);
    if (by->order == by_key || by->order == by_owner) admin_text(b, "owner", s->owner);
}

static void add_sum(struct buf *b, const struct grouping *by, const struct store_sum *s) {
    buf_printf(b, "{\"calls\":%llu", (unsigned long long)s->calls);
    add_group(b, by, s);
    add_count(b, "errors", s->errors);
    add_count(b, "user_errors", s->user_errors);
    add_count(b, "duration_ms", s->duration_ms);
    add_count(b, "prompt_tokens", s->prompt_tokens);
    add_count(b, "completion_tokens", s->completion_tokens);
    add_count(b, "cached_tokens", s->cached_tokens);
    add_count(b, "reasoning_tokens", s->reasoning_tokens);
    add_money(b, "cost_usd", s->cost_microusd, s->costs_unknown < s->calls);
    add_count(b, "costs_unknown", s->costs_unknown);
    add_money(b, "charge_usd", s->charge_microusd, s->charges_unknown < s->calls);
    add_count(b, "charges_unknown", s->charges_unknown);
    buf_addc(b, '}');
}

static void on_sums(void *user, uint64_t exchange, const struct store_reply *r) {
    struct call *c = call_of(user, exchange);
    if (c == NULL) return;
    const struct usage_question *q = c->own;
    size_t bytes = r->nsums * sizeof(struct store_sum);
    struct store_sum *sums = arena_alloc(net_arena(c->x), bytes + 1);
    if (r->status != STORE_OK || sums == NULL) {
        admin_unavailable(c);
        return;
    }
    if (bytes > 0) memcpy(sums, r->sums, bytes);
    size_t n = group(sums, r->nsums, q->by);
    struct buf *b = call_scratch(c);
    buf_printf(b, "{\"by\":\"%s\"", q->by->name);
    admin_time(b, "from", (int64_t)q->from_s * 1000);
    admin_time(b, "to", (int64_t)q->to_s * 1000);
    buf_puts(b, ",\"usage\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) buf_addc(b, ',');
        add_sum(b, q->by, &sums[i]);
    }
    buf_puts(b, "]}");
    call_scratch_json(c, 200);
}

static bool read_grouping(struct call *c, const struct grouping **out) {
    struct slice text;
    if (!admin_query(c, "by", &text)) return false;
    for (size_t i = 0; i < sizeof groupings / sizeof *groupings; i++) {
        *out = &groupings[i];
        if (slice_is(text, groupings[i].name)) return true;
    }
    admin_refuse(c, "query", "by", "wants day, endpoint, key or owner");
    return false;
}

void handle_admin_usage(struct call *c) {
    struct api *a = c->api;
    struct usage_question *q = arena_zalloc(net_arena(c->x), sizeof *q);
    struct store_ledger_query ask = {0};
    struct slice endpoint;
    if (q == NULL) {
        admin_unavailable(c);
        return;
    }
    if (!read_grouping(c, &q->by) || !admin_query_u64(c, "from", TO_MAX_S, &q->from_s) ||
        !admin_query_u64(c, "to", TO_MAX_S, &q->to_s) || !admin_query(c, "owner", &ask.owner) ||
        !admin_query(c, "key", &ask.key_id) || !admin_query(c, "endpoint", &endpoint))
        return;
    c->own = q;
    ask.from_ms = (int64_t)q->from_s * 1000;
    ask.to_ms = (int64_t)q->to_s * 1000;
    ask.bucket_ms = q->by->bucket_ms;
    ask.endpoints = &endpoint;
    ask.nendpoints = endpoint.len > 0;
    uint64_t ticket = desk_ask(a->desk, on_sums, a, net_exchange_id(c->x));
    if (ticket != 0)
        a->store->backend->ledger_sums(a->store, ticket, &ask);
    else
        admin_unavailable(c);
}
