/* Sums of each hour of the ledger, by owner, key and endpoint: a month is read in some hundreds of rows.
 *
 * 1. ledger_hour has the hours before `hours.end` (meta 'summed'), whole; what comes late for one of them is added at once.
 * 2. The sums since then are in memory, of rows that are committed; after a start they are read from the rows.
 * 3. The first row of a later hour moves what is before it from memory into the table, in its own transaction.
 * So a row costs an addition, and an hour is written once. */
#include "store/sqlite_ledger.h"

#include <stdlib.h>

#define HOUR_MS 3600000

/* In the order of the table. */
enum {
    CALLS,
    ERRORS,
    USER_ERRORS,
    DURATION,
    MAX_DURATION,
    PROMPT,
    COMPLETION,
    CACHED,
    REASONING,
    COSTS_UNKNOWN,
    CHARGES_UNKNOWN,
    COST,
    CHARGE,
    UNITS,
    VALUES
};

struct hour_sum {
    struct hour_sum *next, *older; /* of its chain; of its set */
    uint32_t chain;
    int64_t hour, values[VALUES];
    struct slice owner, key_id, endpoint; /* behind this struct */
};

#define SUM_MAX \
    (1LL << 50) /* of an hour, as CAPPED of sqlite_text.c has it: 8,192 of them still have a sum */

static void plus(int64_t *sum, int64_t v) {
    *sum += v; /* both below 2 to the power of 51 */
    if (*sum > SUM_MAX) *sum = SUM_MAX;
    if (*sum < -SUM_MAX) *sum = -SUM_MAX;
}

/* --- sets of sums */

static uint32_t hash(uint32_t h, struct slice s) {
    for (size_t i = 0; i < s.len; i++) h = (h ^ (unsigned char)s.ptr[i]) * 16777619U;
    return (h ^ 255) * 16777619U;
}

static uint32_t chain_of(const struct hour_sum *k) {
    return hash(hash(hash((uint32_t)k->hour, k->owner), k->key_id), k->endpoint) % HOUR_CHAINS;
}

static bool same(const struct hour_sum *a, const struct hour_sum *b) {
    return a->hour == b->hour && slice_eq(a->owner, b->owner) && slice_eq(a->key_id, b->key_id) &&
           slice_eq(a->endpoint, b->endpoint);
}

static struct slice put_behind(char **at, struct slice s) {
    struct slice copy = slice_make(*at, s.len);
    if (s.len > 0) memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

/* The sum with this hour and these names, made when it is not there. NULL: out of memory. */
static struct hour_sum *sum_for(struct hour_set *set, const struct hour_sum *k) {
    uint32_t chain = chain_of(k);
    struct hour_sum *h = set->chains[chain];
    while (h != NULL && !same(h, k)) h = h->next;
    if (h != NULL) return h;
    h = malloc(sizeof *h + k->owner.len + k->key_id.len + k->endpoint.len);
    if (h == NULL) return NULL;
    char *text = (char *)(h + 1);
    *h = (struct hour_sum){.next = set->chains[chain], .older = set->newest, .chain = chain};
    h->hour = k->hour;
    h->owner = put_behind(&text, k->owner);
    h->key_id = put_behind(&text, k->key_id);
    h->endpoint = put_behind(&text, k->endpoint);
    set->chains[chain] = set->newest = h;
    return h;
}

static void add_values(struct hour_sum *h, const int64_t values[VALUES]) {
    for (unsigned i = 0; i < VALUES; i++) {
        if (i != MAX_DURATION)
            plus(&h->values[i], values[i]);
        else if (values[i] > h->values[i])
            h->values[i] = values[i];
    }
}

static void unchain(struct hour_set *set, const struct hour_sum *h) {
    struct hour_sum **at = &set->chains[h->chain];
    while (*at != h) at = &(*at)->next;
    *at = h->next;
}

static void drop_before(struct hour_set *set, int64_t end) {
    struct hour_sum **at = &set->newest;
    while (*at != NULL) {
        struct hour_sum *h = *at;
        if (h->hour >= end) {
            at = &h->older;
            continue;
        }
        *at = h->older;
        unchain(set, h);
        free(h);
    }
}

/* --- a transaction's rows */

static void values_of(const struct store_charge *c, int64_t v[VALUES]) {
    const struct store_usage *u = &c->usage;
    int64_t duration = within_time(c->at_ms) - within_time(c->started_ms);
    v[CALLS] = c->http_status != 0;
    v[ERRORS] = c->http_status >= 500;
    v[USER_ERRORS] = c->http_status >= 400 && c->http_status < 500;
    v[DURATION] = v[MAX_DURATION] = duration > 0 ? duration : 0;
    v[PROMPT] = (int64_t)u->prompt_tokens;
    v[COMPLETION] = (int64_t)u->completion_tokens;
    v[CACHED] = (int64_t)u->cached_tokens;
    v[REASONING] = (int64_t)u->reasoning_tokens;
    v[COSTS_UNKNOWN] = !u->has_cost;
    v[CHARGES_UNKNOWN] = !u->has_charge;
    v[COST] = u->has_cost ? u->cost_microusd : 0;
    v[CHARGE] = u->has_charge ? u->charge_microusd : 0;
    v[UNITS] = u->units_micro;
}

int sqlite_hours_add(struct sqlite_store *s, const struct store_charge *c) {
    const struct hour_sum k = {.hour = within_time(c->at_ms) / HOUR_MS,
                               .owner = c->owner,
                               .key_id = c->key_id,
                               .endpoint = c->endpoint};
    struct hour_sum *h = sum_for(&s->hours.fresh, &k);
    int64_t values[VALUES];
    if (h == NULL) return SQLITE_NOMEM;
    values_of(c, values);
    add_values(h, values);
    if (k.hour > s->hours.newest) s->hours.newest = k.hour;
    return SQLITE_OK;
}

static int write_one(struct sqlite_store *s, const struct hour_sum *h) {
    struct binder b = start(s, ST_HOUR);
    put_int(&b, h->hour);
    put_text(&b, h->owner);
    put_text(&b, h->key_id);
    put_text(&b, h->endpoint);
    for (unsigned i = 0; i < VALUES; i++) put_int(&b, h->values[i]);
    return run(&b);
}

static int write_before(struct sqlite_store *s, const struct hour_set *set, int64_t end) {
    int rc = SQLITE_OK;
    for (const struct hour_sum *h = set->newest; h != NULL && rc == SQLITE_OK; h = h->older)
        if (h->hour < end) rc = write_one(s, h);
    return rc;
}

/* So that nothing can fail after the COMMIT. */
static int make_room(struct sqlite_store *s, int64_t end) {
    for (const struct hour_sum *h = s->hours.fresh.newest; h != NULL; h = h->older)
        if (h->hour >= end && sum_for(&s->hours.kept, h) == NULL) return SQLITE_NOMEM;
    return SQLITE_OK;
}

void sqlite_hours_over(struct sqlite_store *s, int64_t hour) {
    if (s->hours.kept.newest != NULL && hour > s->hours.newest) s->hours.newest = hour;
}

/* The end that this transaction brings: that of the hours which are over. */
static int64_t next_end(const struct sqlite_store *s) {
    return s->hours.newest > s->hours.end ? s->hours.newest : s->hours.end;
}

int64_t sqlite_hours_end(const struct sqlite_store *s) {
    return next_end(s);
}

int sqlite_hours_write(struct sqlite_store *s) {
    int64_t end = next_end(s);
    if (s->hours.fresh.newest == NULL && end == s->hours.end) return SQLITE_OK;
    int rc = make_room(s, end);
    if (rc == SQLITE_OK) rc = write_before(s, &s->hours.fresh, end);
    if (rc != SQLITE_OK || end == s->hours.end) return rc;
    rc = write_before(s, &s->hours.kept, end);
    if (rc != SQLITE_OK) return rc;
    struct binder b = start(s, ST_SUMMED);
    put_int(&b, end);
    return run(&b);
}

void sqlite_hours_committed(struct sqlite_store *s) {
    int64_t end = next_end(s);
    if (s->hours.fresh.newest == NULL && end == s->hours.end) return;
    if (end != s->hours.end) drop_before(&s->hours.kept, end);
    s->hours.end = end;
    for (const struct hour_sum *h = s->hours.fresh.newest; h != NULL; h = h->older)
        if (h->hour >= end) add_values(sum_for(&s->hours.kept, h), h->values); /* make_room */
    sqlite_hours_forget(s);
}

void sqlite_hours_forget(struct sqlite_store *s) {
    drop_before(&s->hours.fresh, INT64_MAX);
    s->hours.newest = 0;
}

void sqlite_hours_free(struct sqlite_store *s) {
    drop_before(&s->hours.fresh, INT64_MAX);
    drop_before(&s->hours.kept, INT64_MAX);
}

/* --- at the start */

static struct slice borrow(sqlite3_stmt *st, int column) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    return slice_make(text, (size_t)sqlite3_column_bytes(st, column));
}

static int keep_row(struct sqlite_store *s, sqlite3_stmt *st) {
    const struct hour_sum k = {.hour = sqlite3_column_int64(st, 0),
                               .owner = borrow(st, 1),
                               .key_id = borrow(st, 2),
                               .endpoint = borrow(st, 3)};
    struct hour_sum *h = sum_for(&s->hours.kept, &k);
    if (h == NULL) return SQLITE_NOMEM;
    int64_t values[VALUES];
    for (int i = 0; i < VALUES; i++) values[i] = sqlite3_column_int64(st, 4 + i);
    add_values(h, values);
    return SQLITE_OK;
}

int sqlite_hours_load(struct sqlite_store *s) {
    struct binder b = start(s, ST_SUMMED_UNTIL);
    int rc = next(&b);
    if (rc == SQLITE_ROW) s->hours.end = sqlite3_column_int64(b.st, 0);
    finish(&b);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return rc;
    b = start(s, ST_UNSUMMED);
    put_int(&b, place(s->hours.end * HOUR_MS, 0));
    while ((rc = next(&b)) == SQLITE_ROW && keep_row(s, b.st) == SQLITE_OK) continue;
    finish(&b);
    return rc == SQLITE_DONE ? SQLITE_OK : rc == SQLITE_ROW ? SQLITE_NOMEM : rc;
}

/* --- reading */

static void take_sum(struct op *op, sqlite3_stmt *st, struct store_sum *sum) {
    *sum = (struct store_sum){.bucket_ms = sqlite3_column_int64(st, 0)};
    sum->endpoint = take_text(op, st, 1);
    sum->key_id = take_text(op, st, 2);
    sum->owner = take_text(op, st, 3);
    sum->calls = take_count(st, 4);
    sum->errors = take_count(st, 5);
    sum->user_errors = take_count(st, 6);
    sum->duration_ms = take_count(st, 7);
    sum->max_duration_ms = take_count(st, 8);
    sum->prompt_tokens = take_count(st, 9);
    sum->completion_tokens = take_count(st, 10);
    sum->cached_tokens = take_count(st, 11);
    sum->reasoning_tokens = take_count(st, 12);
    sum->costs_unknown = take_count(st, 13);
    sum->charges_unknown = take_count(st, 14);
    sum->cost_microusd = sqlite3_column_int64(st, 15);
    sum->charge_microusd = sqlite3_column_int64(st, 16);
    sum->units_micro = sqlite3_column_int64(st, 17);
}

static int take_sums(struct op *op, struct binder *b) {
    struct store_sum *sums = NULL;
    size_t n = 0, room = 0;
    int rc;
    while ((rc = next(b)) == SQLITE_ROW) {
        if (!chosen(&op->in.ledger, borrow(b->st, 1))) continue;
        sums = grow(op, sums, n, &room, sizeof *sums);
        if (sums == NULL) break;
        take_sum(op, b->st, &sums[n++]);
    }
    op->reply.sums = sums;
    op->reply.nsums = n;
    return rc;
}

static void put_rows(struct binder *b, int64_t from_ms, int64_t before_ms) {
    put_int(b, place(from_ms, 0));
    put_int(b, before_ms > from_ms ? place(before_ms - 1, NUMBER_MAX) : -1);
}

/* Until when there are sums: what is after is read from the rows. */
static int summed_until(struct sqlite_store *s, int64_t *hour) {
    struct binder b = start(s, ST_READ_SUMMED);
    int rc = next(&b);
    *hour = rc == SQLITE_ROW ? sqlite3_column_int64(b.st, 0) : 0;
    finish(&b);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Whole hours from their sums, what is before and after them from the rows; all from the rows when a bucket cuts hours. */
static void put_spans(struct binder *b, const struct store_ledger_query *q, int64_t summed) {
    int64_t from_ms = within_time(q->from_ms);
    int64_t to_ms = q->to_ms > 0 && q->to_ms <= TIME_MAX ? q->to_ms : TIME_MAX + 1;
    int64_t first = (from_ms + HOUR_MS - 1) / HOUR_MS, end = to_ms / HOUR_MS;
    if (end > summed) end = summed;
    bool by_hours = q->id.len == 0 && q->bucket_ms % HOUR_MS == 0 && first < end;
    put_rows(b, from_ms, by_hours ? first * HOUR_MS : to_ms);
    put_int(b, q->bucket_ms > 0 ? q->bucket_ms : INT64_MAX); /* all in one */
    put_int(b, by_hours ? first : 0);
    put_int(b, by_hours ? end - 1 : -1);
    put_rows(b, by_hours ? end * HOUR_MS : to_ms, to_ms);
}

int sqlite_ledger_sums(struct sqlite_store *s, struct op *op) {
    const struct store_ledger_query *q = &op->in.ledger;
    int64_t summed;
    int rc = summed_until(s, &summed);
    if (rc != SQLITE_OK) return rc;
    struct binder b = start(s, ST_SUMS);
    put_text(&b, q->owner);
    put_text(&b, q->key_id);
    put_text(&b, q->id);
    put_spans(&b, q, summed);
    rc = take_sums(op, &b);
    finish(&b);
    return rc;
}
