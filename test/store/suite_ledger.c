/* The contract's ledger and its list of requests, whatever stands behind it. */
#include "store/store_suite.h"

#include <stdio.h>
#include <stdlib.h>

#define ID "11111111-2222-4333-8444-555555555555"

static struct store_usage usage(int64_t cost, int64_t charge) {
    return (struct store_usage){.present = true,
                                .upstream = SLICE("lab"),
                                .model = SLICE("m"),
                                .raw = SLICE("{\"cost\":1}"),
                                .has_cost = cost >= 0,
                                .has_charge = charge >= 0,
                                .cost_microusd = cost,
                                .charge_microusd = charge,
                                .units_micro = 1000000,
                                .prompt_tokens = 10,
                                .completion_tokens = 20,
                                .cached_tokens = 3,
                                .reasoning_tokens = 4};
}

/* A direct call that took half a second. */
static struct store_charge charge(unsigned n, int64_t at_ms) {
    struct store_charge c = {.kind = STORE_CALL_RUN,
                             .owner = SLICE("app1"),
                             .key_id = SLICE("key1"),
                             .endpoint = SLICE("a/b"),
                             .started_ms = at_ms - 500,
                             .at_ms = at_ms,
                             .http_status = 200,
                             .usage = usage(100, 200)};
    snprintf(c.id, sizeof c.id, "%s", id_of(n));
    return c;
}

static void add(struct fixture *f, const struct store_charge *rows, size_t n) {
    assert_int_equal(status_of(f, give_charges(f, rows, n)), STORE_OK);
}

static void same_usage(const struct store_usage *a, const struct store_usage *b) {
    assert_true(slice_eq(a->upstream, b->upstream) && slice_eq(a->model, b->model) &&
                slice_eq(a->raw, b->raw));
    assert_int_equal(a->partial, b->partial);
    assert_int_equal(a->has_cost, b->has_cost);
    assert_int_equal(a->has_charge, b->has_charge);
    if (b->has_cost) assert_int_equal(a->cost_microusd, b->cost_microusd);
    if (b->has_charge) assert_int_equal(a->charge_microusd, b->charge_microusd);
    assert_int_equal(a->units_micro, b->units_micro);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->completion_tokens, b->completion_tokens);
    assert_int_equal(a->cached_tokens, b->cached_tokens);
    assert_int_equal(a->reasoning_tokens, b->reasoning_tokens);
}

static void same_charge(const struct store_charge *a, const struct store_charge *b) {
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->kind, b->kind);
    assert_true(slice_eq(a->owner, b->owner) && slice_eq(a->key_id, b->key_id) &&
                slice_eq(a->endpoint, b->endpoint));
    assert_int_equal(a->started_ms, b->started_ms);
    assert_int_equal(a->at_ms, b->at_ms);
    assert_int_equal(a->http_status, b->http_status);
    same_usage(&a->usage, &b->usage);
}

/* All rows that the query chooses. */
static size_t rows_of(struct fixture *f, struct store_ledger_query q) {
    assert_int_equal(READ(f, ask_ledger(f, &q)), STORE_OK);
    return f->ncharges;
}

/* --- rows */

static void ledger_gives_back_what_it_was_given(void **state) {
    struct fixture *f = *state;
    static const char odd[] = "\xf0\x9f\x98\x80 \0 \xff'\";--";
    struct store_charge rows[5];
    for (unsigned i = 0; i < 5; i++) {
        rows[i] = charge(i, 9000 - i);
        rows[i].kind = (enum store_call_kind)i;
        rows[i].http_status = 200 + i;
    }
    rows[0].attempt = 3;
    rows[1].owner = rows[1].key_id = rows[1].endpoint = slice_make(odd, sizeof odd - 1);
    rows[1].usage.raw = rows[1].usage.model = rows[1].usage.upstream = rows[1].owner;
    rows[2].usage = (struct store_usage){.present = true, .partial = true};
    rows[3].usage = usage(0, 0);
    rows[4].started_ms = 0;
    add(f, rows, 5);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(rows_of(f, (struct store_ledger_query){0}), 5);
        for (unsigned i = 0; i < 5; i++) same_charge(&f->charges[i], &rows[i]);
        fixture_close(f);
        fixture_open(f);
    }
}

static void money_that_is_not_known_is_not_0(void **state) {
    struct fixture *f = *state;
    struct store_charge rows[3] = {charge(1, 3000), charge(2, 2000), charge(3, 1000)};
    rows[0].usage = usage(-1, -1);
    rows[0].usage.cost_microusd = rows[0].usage.charge_microusd = 77; /* says nothing */
    rows[1].usage = usage(0, -1);
    rows[2].usage = usage(-1, 5);
    for (unsigned i = 0; i < 3; i++) rows[i].kind = STORE_CALL_QUEUE;
    add(f, rows, 3);
    assert_int_equal(rows_of(f, (struct store_ledger_query){0}), 3);
    for (unsigned i = 0; i < 3; i++) same_charge(&f->charges[i], &rows[i]);
    assert_int_equal(f->backend->count(f, "money", ""), 2);
    struct store_ledger_query all = {0};
    assert_int_equal(READ(f, ask_sums(f, &all)), STORE_OK);
    assert_int_equal(f->nsums, 1);
    assert_int_equal(f->sums[0].costs_unknown, 2);
    assert_int_equal(f->sums[0].charges_unknown, 2);
    assert_int_equal(f->sums[0].cost_microusd, 0);
    assert_int_equal(f->sums[0].charge_microusd, 5);
}

static void an_attempt_of_the_queue_is_charged_once(void **state) {
    struct fixture *f = *state;
    struct store_charge queued = charge(0, 3000), direct = charge(1, 3000);
    snprintf(queued.id, sizeof queued.id, "%s", ID);
    queued.kind = STORE_CALL_QUEUE;
    queued.attempt = 1;
    add(f, &queued, 1);
    queued.usage = usage(999, 999);
    add(f, &queued, 1);
    queued.attempt = 2;
    struct store_charge twice[] = {queued, queued, direct, direct};
    add(f, twice, 4);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.id = SLICE(ID)}), 2);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.id = slice_of(direct.id)}), 2);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    c.usage = usage(5, 5);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.id = SLICE(ID)}), 2);
    for (unsigned i = 0; i < 2; i++)
        if (f->charges[i].attempt == 1) assert_int_equal(f->charges[i].usage.cost_microusd, 100);
}

static void submit_with_key(struct fixture *f) {
    struct store_submit in = {.id = ID,
                              .endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("team"),
                              .key_id = SLICE("key-9"),
                              .input = SLICE("{}"),
                              .created_ms = 1000};
    give_submit(f, &in);
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_OK);
    assert_true(slice_is(f->row.key_id, "key-9"));
}

static void each_attempt_has_a_row_with_its_own_times(void **state) {
    struct fixture *f = *state;
    struct store_usage first = usage(1, 2);
    submit_with_key(f);
    give_claim(f, ID, 0, "boot-1", 7);                                            /* at 2000 */
    assert_int_equal(status_of(f, give_retry(f, ID, 1, 7, 8, &first)), STORE_OK); /* at 2500 */
    struct store_complete c = completion(ID, 2, 8);
    c.usage = usage(-1, 4);
    c.usage.partial = true;
    c.http_status = 502;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK); /* at 3000 */
    struct store_charge expected = {.id = ID,
                                    .attempt = 2,
                                    .kind = STORE_CALL_QUEUE,
                                    .owner = SLICE("team"),
                                    .key_id = SLICE("key-9"),
                                    .endpoint = SLICE("fal-ai/any-llm"),
                                    .started_ms = 2500,
                                    .at_ms = 3000,
                                    .http_status = 502,
                                    .usage = c.usage};
    assert_int_equal(rows_of(f, (struct store_ledger_query){.owner = SLICE("team")}), 2);
    same_charge(&f->charges[0], &expected);
    expected.attempt = 1;
    expected.started_ms = 2000;
    expected.at_ms = 2500;
    expected.http_status = 0; /* no caller got it */
    expected.usage = first;
    same_charge(&f->charges[1], &expected);
}

static void release_and_finish_waiting_charge_what_was_spent(void **state) {
    struct fixture *f = *state;
    struct store_usage first = usage(1, 2);
    submit_with_key(f);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_release(f, ID, 1, 8, &first)), STORE_STALE);
    assert_int_equal(f->backend->count(f, "ledger", ID), 0);
    assert_int_equal(status_of(f, give_release(f, ID, 1, 7, &first)), STORE_OK);
    give_claim(f, ID, 1, "boot-2", 9);
    struct store_complete c = completion(ID, 2, 0);
    c.boot = "boot-3";
    c.http_status = 499;
    c.usage = usage(3, 4);
    assert_int_equal(status_of(f, give_end(f, &c)), STORE_OK);
    assert_int_equal(rows_of(f, (struct store_ledger_query){0}), 2);
    assert_int_equal(f->charges[0].attempt, 2);
    assert_int_equal(f->charges[0].http_status, 499);
    assert_int_equal(f->charges[1].attempt, 1);
    assert_int_equal(f->charges[1].at_ms, 2600);
    same_usage(&f->charges[1].usage, &first);
}

/* --- pages */

#define MANY 250U

/* Many share a time; they are added out of order. */
static void add_many(struct fixture *f) {
    static struct store_charge rows[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        unsigned n = i * 101U % MANY;
        rows[i] = charge(n, 10000 + n / 7);
        if (n % 2) rows[i].owner = SLICE("app2");
        if (n % 3 == 1) rows[i].endpoint = SLICE("c/d");
        if (n % 3 == 2) rows[i].endpoint = SLICE("e");
        if (n % 5 == 0) rows[i].key_id = SLICE("key2");
    }
    add(f, rows, MANY / 2);
    add(f, rows + MANY / 2, MANY - MANY / 2);
}

/* The pages together: newest first, each row once. How many rows. */
static unsigned walk(struct fixture *f, struct store_ledger_query q,
                     bool (*is_chosen)(unsigned n)) {
    bool seen[MANY] = {false};
    unsigned all = 0, expected = 0;
    int64_t last = INT64_MAX;
    q.limit = 40;
    do {
        uint64_t t = ask_ledger(f, &q);
        assert_int_equal(READ(f, t), STORE_OK);
        assert_true(f->ncharges <= 40);
        assert_true(f->answers[t].next == 0 || f->ncharges == 40);
        for (size_t i = 0; i < f->ncharges; i++) {
            unsigned n = (unsigned)strtoul(f->charges[i].id + 24, NULL, 10);
            assert_true(n < MANY && !seen[n] && is_chosen(n));
            assert_true(f->charges[i].at_ms <= last);
            seen[n] = true;
            last = f->charges[i].at_ms;
        }
        all += (unsigned)f->ncharges;
        q.after = f->answers[t].next;
    } while (q.after != 0);
    for (unsigned n = 0; n < MANY; n++) expected += is_chosen(n);
    assert_int_equal(all, expected);
    return all;
}

static bool any(unsigned n) {
    return true;
}

static bool of_app2(unsigned n) {
    return n % 2;
}

static bool of_two_endpoints(unsigned n) {
    return n % 3 != 0;
}

static bool of_app2_and_key2(unsigned n) {
    return n % 2 && n % 5 == 0;
}

static bool in_time(unsigned n) {
    return n / 7 >= 5 && n / 7 < 20;
}

static bool in_time_of_app2(unsigned n) {
    return in_time(n) && of_app2(n);
}

static void ledger_pages_newest_first_by_owner_key_endpoint_and_time(void **state) {
    struct fixture *f = *state;
    const struct slice two[] = {SLICE("c/d"), SLICE("e")}, nobodys[] = {SLICE("c"), SLICE("")};
    add_many(f);
    assert_int_equal(walk(f, (struct store_ledger_query){0}, any), MANY);
    walk(f, (struct store_ledger_query){.owner = SLICE("app2")}, of_app2);
    walk(f, (struct store_ledger_query){.endpoints = two, .nendpoints = 2}, of_two_endpoints);
    walk(f, (struct store_ledger_query){.owner = SLICE("app2"), .key_id = SLICE("key2")},
         of_app2_and_key2);
    walk(f, (struct store_ledger_query){.from_ms = 10005, .to_ms = 10020}, in_time);
    walk(f, (struct store_ledger_query){.owner = SLICE("app2"), .from_ms = 10005, .to_ms = 10020},
         in_time_of_app2);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.endpoints = nobodys, .nendpoints = 2}),
                     0);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.owner = SLICE("app")}), 0);
    assert_int_equal(rows_of(f, (struct store_ledger_query){.from_ms = 10100}), 0);
}

static void ledger_of_an_id_is_its_owners(void **state) {
    struct fixture *f = *state;
    add_many(f);
    struct store_ledger_query q = {.id = slice_of(id_of(8))};
    assert_int_equal(rows_of(f, q), 1);
    q.owner = SLICE("app1");
    assert_int_equal(rows_of(f, q), 1);
    q.owner = SLICE("app2");
    assert_int_equal(rows_of(f, q), 0);
}

/* Those of one millisecond are told apart by numbers that begin anew when the store is opened. */
static void no_row_is_lost_when_the_clock_is_set_back(void **state) {
    struct fixture *f = *state;
    struct store_charge late = charge(0, 9000), early = charge(1, 1000);
    early.kind = STORE_CALL_QUEUE;
    add(f, &late, 1);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 5; i++) {
            early.attempt = 5 * round + i + 1;
            add(f, &early, 1);
        }
        fixture_close(f);
        fixture_open(f);
    }
    add(f, &early, 1); /* the same attempt again */
    assert_int_equal(rows_of(f, (struct store_ledger_query){0}), 21);
}

static void a_thousand_rows_are_one_operation_and_none_is_one_too(void **state) {
    struct fixture *f = *state;
    static struct store_charge rows[1000];
    for (unsigned i = 0; i < 1000; i++) rows[i] = charge(i, 1000 + i);
    add(f, rows, 1000);
    add(f, NULL, 0);
    assert_int_equal(f->nanswers, 2);
    assert_int_equal(rows_of(f, (struct store_ledger_query){0}), 1000);
}

/* --- sums */

static const struct store_sum *sum_of(struct fixture *f, int64_t bucket_ms, const char *endpoint,
                                      const char *key) {
    for (size_t i = 0; i < f->nsums; i++)
        if (f->sums[i].bucket_ms == bucket_ms && slice_is(f->sums[i].endpoint, endpoint) &&
            slice_is(f->sums[i].key_id, key))
            return &f->sums[i];
    fail_msg("no sum of %s %s", endpoint, key);
    return NULL;
}

/* Two hours, two endpoints, two keys; a failure of each kind, an attempt that was tried again, a clock set back. */
static void add_hours(struct fixture *f) {
    struct store_charge rows[7];
    for (unsigned i = 0; i < 7; i++) rows[i] = charge(i, i < 4 ? 3600000 : 7200000 + i);
    rows[1].http_status = 503;
    rows[1].started_ms = rows[1].at_ms - 2000;
    rows[2].http_status = 422;
    rows[2].usage = usage(-1, 7);
    rows[3].http_status = 0;
    rows[3].kind = STORE_CALL_QUEUE;
    rows[3].attempt = 1;
    rows[4].started_ms = rows[4].at_ms + 99999;
    rows[5].endpoint = SLICE("c/d");
    rows[6].key_id = SLICE("key2");
    rows[6].owner = SLICE("app2");
    add(f, rows, 7);
}

static void sums_count_calls_failures_tokens_and_money(void **state) {
    struct fixture *f = *state;
    struct store_ledger_query q = {.bucket_ms = 3600000};
    add_hours(f);
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 4);
    const struct store_sum *s = sum_of(f, 3600000, "a/b", "key1");
    assert_int_equal(s->calls, 3);
    assert_int_equal(s->errors, 1);
    assert_int_equal(s->user_errors, 1);
    assert_int_equal(s->duration_ms, 3500);
    assert_int_equal(s->max_duration_ms, 2000);
    assert_int_equal(s->prompt_tokens, 40);
    assert_int_equal(s->completion_tokens, 80);
    assert_int_equal(s->cached_tokens, 12);
    assert_int_equal(s->reasoning_tokens, 16);
    assert_int_equal(s->costs_unknown, 1);
    assert_int_equal(s->charges_unknown, 0);
    assert_int_equal(s->cost_microusd, 300);
    assert_int_equal(s->charge_microusd, 607);
    assert_int_equal(s->units_micro, 4000000);
    assert_int_equal(sum_of(f, 7200000, "a/b", "key1")->duration_ms, 0);
    assert_int_equal(sum_of(f, 7200000, "c/d", "key1")->calls, 1);
    assert_true(slice_is(sum_of(f, 7200000, "a/b", "key2")->owner, "app2"));
    for (size_t i = 1; i < f->nsums; i++)
        assert_true(f->sums[i].bucket_ms >= f->sums[i - 1].bucket_ms);
}

static void sums_choose_by_owner_key_endpoint_and_time(void **state) {
    struct fixture *f = *state;
    const struct slice one[] = {SLICE("c/d")};
    add_hours(f);
    struct store_ledger_query q = {0};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 3);
    assert_int_equal(f->sums[0].bucket_ms, 0);
    assert_int_equal(f->sums[0].calls, 4);
    q.owner = SLICE("app2");
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 1);
    assert_true(slice_is(f->sums[0].key_id, "key2"));
    q = (struct store_ledger_query){.owner = SLICE("app1"), .key_id = SLICE("key2")};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 0);
    q = (struct store_ledger_query){.endpoints = one, .nendpoints = 1};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 1);
    q = (struct store_ledger_query){.from_ms = 3600001, .to_ms = 7200005};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 1);
    assert_int_equal(f->sums[0].calls, 1);
    q = (struct store_ledger_query){.id = slice_of(id_of(6))};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 1);
}

#define RANDOM_ROWS 600U

static uint64_t draw(uint64_t below) {
    static uint64_t x = 88172645463325252U;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % below;
}

/* Over five hours; some attempts of the queue are given twice. In operations of 1 to 50 rows. */
static void add_random(struct fixture *f, struct store_charge *rows) {
    static const struct slice owners[] = {SLICE("app1"), SLICE("app2")},
                              keys[] = {SLICE("key1"), SLICE("key2")},
                              endpoints[] = {SLICE("a/b"), SLICE("c/d")};
    for (unsigned i = 0; i < RANDOM_ROWS; i++) {
        rows[i] = charge(i, (int64_t)(7000000 + draw(6000000) + i * 20000)); /* some are late */
        rows[i].owner = owners[draw(2)];
        rows[i].key_id = keys[draw(2)];
        rows[i].endpoint = endpoints[draw(2)];
        rows[i].started_ms = rows[i].at_ms - (int64_t)draw(5000) + 100;
        rows[i].http_status = (unsigned)draw(6) * 100;
        rows[i].usage = usage((int64_t)draw(100) - 20, (int64_t)draw(100) - 20);
        rows[i].usage.prompt_tokens = draw(1000);
        if (i % 3 == 0) rows[i].kind = STORE_CALL_QUEUE;
        if (i % 3 == 0) rows[i].attempt = 1;
    }
    for (size_t i = 0, n; i < RANDOM_ROWS; i += n) {
        n = 1 + draw(50);
        if (n > RANDOM_ROWS - i) n = RANDOM_ROWS - i;
        give_charges(f, rows + i, n);
        if (rows[i].kind == STORE_CALL_QUEUE) give_charges(f, rows + i, 1);
        if (draw(4) > 0) continue;
        fixture_close(f); /* within an hour */
        fixture_open(f);
    }
    fixture_settle(f);
}

static bool belongs(const struct store_charge *c, const struct store_ledger_query *q,
                    const struct store_sum *s) {
    int64_t bucket = q->bucket_ms > 0 ? c->at_ms / q->bucket_ms * q->bucket_ms : 0;
    return c->at_ms >= q->from_ms && (q->to_ms == 0 || c->at_ms < q->to_ms) &&
           bucket == s->bucket_ms && slice_eq(c->owner, s->owner) &&
           slice_eq(c->key_id, s->key_id) && slice_eq(c->endpoint, s->endpoint);
}

/* The sum added up from the rows; returns how many they are. */
static unsigned agrees(const struct store_charge *rows, const struct store_ledger_query *q,
                       const struct store_sum *s) {
    struct store_sum e = {0};
    unsigned n = 0;
    for (unsigned i = 0; i < RANDOM_ROWS; i++) {
        const struct store_charge *c = &rows[i];
        if (!belongs(c, q, s)) continue;
        int64_t duration = c->at_ms > c->started_ms ? c->at_ms - c->started_ms : 0;
        n++;
        e.calls += c->http_status != 0;
        e.errors += c->http_status == 500;
        e.user_errors += c->http_status == 400;
        e.duration_ms += (uint64_t)duration;
        if ((uint64_t)duration > e.max_duration_ms) e.max_duration_ms = (uint64_t)duration;
        e.prompt_tokens += c->usage.prompt_tokens;
        e.completion_tokens += 20;
        e.costs_unknown += !c->usage.has_cost;
        e.charges_unknown += !c->usage.has_charge;
        if (c->usage.has_cost) e.cost_microusd += c->usage.cost_microusd;
        if (c->usage.has_charge) e.charge_microusd += c->usage.charge_microusd;
        e.units_micro += 1000000;
    }
    assert_true(n > 0 && s->calls == e.calls && s->errors == e.errors &&
                s->user_errors == e.user_errors);
    assert_true(s->duration_ms == e.duration_ms && s->max_duration_ms == e.max_duration_ms);
    assert_true(s->prompt_tokens == e.prompt_tokens && s->completion_tokens == e.completion_tokens);
    assert_true(s->costs_unknown == e.costs_unknown && s->charges_unknown == e.charges_unknown);
    assert_true(s->cost_microusd == e.cost_microusd && s->charge_microusd == e.charge_microusd &&
                s->units_micro == e.units_micro);
    return n;
}

/* However the time is cut, in whole hours or not. */
static void sums_are_those_of_their_rows(void **state) {
    struct fixture *f = *state;
    static struct store_charge rows[RANDOM_ROWS];
    static const int64_t buckets[] = {0, 60000, 3600000, 7200000, 5400000, 86400000};
    add_random(f, rows);
    for (unsigned round = 0; round < 60; round++) {
        struct store_ledger_query q = {.bucket_ms = buckets[round % 6]};
        if (round % 4 > 0) q.from_ms = (int64_t)draw(26000000);
        if (round % 5 > 0) q.to_ms = q.from_ms + (int64_t)draw(20000000) + 1;
        if (round % 7 == 0) q.from_ms -= q.from_ms % 3600000;
        if (round % 9 == 0 && q.to_ms > 0) q.to_ms += 3600000 - q.to_ms % 3600000;
        assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
        unsigned n = 0, expected = 0;
        for (size_t i = 0; i < f->nsums; i++) n += agrees(rows, &q, &f->sums[i]);
        for (unsigned i = 0; i < RANDOM_ROWS; i++)
            expected += rows[i].at_ms >= q.from_ms && (q.to_ms == 0 || rows[i].at_ms < q.to_ms);
        assert_int_equal(n, expected);
        if (round == 30) {
            fixture_close(f);
            fixture_open(f);
        }
    }
}

static void a_thousand_endpoints_in_one_hour_have_a_sum_each(void **state) {
    struct fixture *f = *state;
    static struct store_charge rows[1000];
    static char names[1000][8];
    for (unsigned i = 0; i < 1000; i++) {
        rows[i] = charge(i, 1000);
        snprintf(names[i], sizeof names[i], "e/%u", i);
        rows[i].endpoint = slice_of(names[i]);
    }
    add(f, rows, 1000);
    add(f, rows, 500);
    struct store_ledger_query q = {.bucket_ms = 3600000};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_int_equal(f->nsums, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(sum_of(f, 0, names[i], "key1")->calls, i < 500 ? 2 : 1);
}

static void absurd_counts_have_a_sum(void **state) {
    struct fixture *f = *state;
    static struct store_charge rows[1000];
    for (unsigned i = 0; i < 1000; i++) {
        rows[i] = charge(i, 1000);
        rows[i].usage.prompt_tokens = UINT64_MAX - i;
        rows[i].usage.cost_microusd = INT64_MAX - i;
        rows[i].usage.charge_microusd = INT64_MIN + i;
        rows[i].usage.units_micro = INT64_MAX;
    }
    add(f, rows, 1000);
    struct store_ledger_query q = {0};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    assert_true(f->sums[0].prompt_tokens > 1000000000000 && f->sums[0].cost_microusd > 0 &&
                f->sums[0].charge_microusd < 0);
}

/* --- requests */

/* Queued ones 0 to 29 end at 1000 * n + 3000 with the bodies "r<n>", direct ones 30 to 39 half a second later; 40 and 41
 * have not ended. */
static void give_requests(struct fixture *f) {
    for (unsigned n = 0; n < 42; n++) {
        char body[32];
        snprintf(body, sizeof body, "\"r%u\"", n);
        struct store_submit in = {.id = id_of(n),
                                  .endpoint = n % 2 ? SLICE("a/b") : SLICE("a/b/c"),
                                  .owner = n % 3 ? SLICE("app1") : SLICE("app2"),
                                  .input = slice_of(body),
                                  .created_ms = 1500};
        struct store_complete c = completion(in.id, 1, 7);
        c.completed_ms = 1000 * n + 3000;
        c.http_status = n % 10 == 5 ? 422 : n % 10 == 6 ? 500 : 200;
        c.body = slice_of(body);
        c.usage = usage(1, 1);
        struct store_charge direct = charge(n, 1000 * (n - 30) + 3500);
        direct.started_ms = direct.at_ms - 100000 - n;
        if (n >= 30 && n < 40) {
            add(f, &direct, 1);
            continue;
        }
        give_submit(f, &in);
        if (n != 40) give_claim(f, in.id, 0, "boot-1", 7);
        if (n < 30) give_complete(f, &c);
    }
    fixture_settle(f);
}

static unsigned number_of(const struct store_request *r) {
    return (unsigned)strtoul(r->id + 24, NULL, 10);
}

static size_t list(struct fixture *f, struct store_request_query q) {
    assert_int_equal(READ(f, ask_requests(f, &q)), STORE_OK);
    return f->nrequests;
}

static void requests_are_the_completed_and_the_direct_ones_latest_first(void **state) {
    struct fixture *f = *state;
    give_requests(f);
    assert_int_equal(list(f, (struct store_request_query){.limit = 100}), 40);
    assert_false(f->answers[f->tickets].more);
    for (unsigned i = 1; i < 40; i++)
        assert_true(f->requests[i].ended_ms < f->requests[i - 1].ended_ms);
    const struct store_request *r = &f->requests[0];
    assert_int_equal(number_of(r), 29);
    assert_int_equal(r->created_ms, 1500);
    assert_int_equal(r->started_ms, 2000);
    assert_int_equal(r->ended_ms, 32000);
    assert_int_equal(r->http_status, 200);
    assert_true(slice_is(r->endpoint, "a/b"));
    assert_int_equal(r->input.len + r->output.len, 0);
    r = &f->requests[39 - 1];
    assert_int_equal(number_of(r), 30);
    assert_int_equal(r->created_ms, r->started_ms);
    assert_int_equal(r->ended_ms, 3500);
}

static void requests_page_by_offset(void **state) {
    struct fixture *f = *state;
    bool seen[40] = {false};
    give_requests(f);
    struct store_request_query q = {.owner = SLICE("app1"), .limit = 7};
    unsigned all = 0;
    do {
        size_t n = list(f, q);
        assert_true(n == 7 || !f->answers[f->tickets].more);
        for (size_t i = 0; i < n; i++) {
            unsigned k = number_of(&f->requests[i]);
            assert_true(k < 40 && !seen[k] && (k >= 30 || k % 3 != 0));
            seen[k] = true;
        }
        all += (unsigned)n;
        q.offset += 7;
    } while (f->answers[f->tickets].more);
    assert_int_equal(all, 30);
    q.offset = 1000;
    assert_int_equal(list(f, q), 0);
}

static void requests_choose_by_status_endpoint_id_and_time(void **state) {
    struct fixture *f = *state;
    give_requests(f);
    assert_int_equal(list(f, (struct store_request_query){.status = STORE_SUCCESS}), 34);
    assert_int_equal(list(f, (struct store_request_query){.status = STORE_ERROR}), 3);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(f->requests[i].http_status, 500);
    assert_int_equal(list(f, (struct store_request_query){.status = STORE_USER_ERROR}), 3);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(f->requests[i].http_status, 422);
    assert_int_equal(list(f, (struct store_request_query){.endpoint = SLICE("a/b/c")}), 15);
    assert_int_equal(list(f, (struct store_request_query){.endpoint = SLICE("a/b")}), 25);
    assert_int_equal(list(f, (struct store_request_query){.from_ms = 3000, .to_ms = 4500}), 3);
    struct store_request_query one = {.id = slice_of(id_of(7))};
    assert_int_equal(list(f, one), 1);
    one.owner = SLICE("app2");
    assert_int_equal(list(f, one), 0);
    assert_int_equal(list(f, (struct store_request_query){.id = slice_of(id_of(33))}), 1);
    assert_int_equal(list(f, (struct store_request_query){.id = slice_of(id_of(40))}), 0);
}

static void requests_come_longest_first_when_asked(void **state) {
    struct fixture *f = *state;
    give_requests(f);
    give_id(f, ID);
    give_finish(f, ID, 0, "boot-1"); /* never started: no duration */
    assert_int_equal(list(f, (struct store_request_query){.by_duration = true}), 41);
    assert_int_equal(number_of(&f->requests[0]), 39);
    for (unsigned i = 1; i < 40; i++) {
        const struct store_request *a = &f->requests[i - 1], *b = &f->requests[i];
        assert_true(a->ended_ms - a->started_ms >= b->ended_ms - b->started_ms);
    }
    assert_string_equal(f->requests[40].id, ID);
}

static void requests_have_the_parts_named(void **state) {
    struct fixture *f = *state;
    give_requests(f);
    struct store_request_query q = {.id = slice_of(id_of(3)), .parts = STORE_INPUT};
    assert_int_equal(list(f, q), 1);
    assert_true(slice_is(f->requests[0].input, "\"r3\"") && f->requests[0].output.len == 0);
    q.parts = STORE_RESULT;
    assert_int_equal(list(f, q), 1);
    assert_true(slice_is(f->requests[0].output, "\"r3\"") && f->requests[0].input.len == 0);
    q = (struct store_request_query){.parts = STORE_INPUT | STORE_RESULT};
    assert_int_equal(list(f, q), 40);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(f->requests[i].input.len > 0, number_of(&f->requests[i]) < 30);
}

/* What a page of large ones takes in memory is bounded; the next page begins where it ended. */
static void a_page_of_large_requests_ends_early(void **state) {
    struct fixture *f = *state;
    size_t len = 12U << 20;
    char *big = malloc(len);
    memset(big, 'x', len);
    for (unsigned n = 0; n < 5; n++) {
        struct store_submit in = {
            .id = id_of(n), .endpoint = SLICE("a/b"), .input = slice_make(big, len)};
        give_submit(f, &in);
        assert_int_equal(status_of(f, give_finish(f, in.id, 0, "boot-1")), STORE_OK);
    }
    struct store_request_query q = {.parts = STORE_INPUT, .limit = 100};
    assert_int_equal(list(f, q), 3);
    assert_true(f->answers[f->tickets].more);
    assert_int_equal(f->requests[2].input.len, len);
    q.offset = 3;
    assert_int_equal(list(f, q), 2);
    assert_false(f->answers[f->tickets].more);
    q = (struct store_request_query){.limit = 100};
    assert_int_equal(list(f, q), 5);
    free(big);
}

/* Its id is in no index, but a version 7 tells when it was drawn; clocks may be set by a little. */
static void a_direct_call_is_found_by_its_id(void **state) {
    struct fixture *f = *state;
    static const char *const ids[] = {"019aaf2b-5c00-7abc-8def-0123456789ab",
                                      "c19aaf2b-5c00-4abc-8def-0123456789ab", "req-1",
                                      "019aaf2b-5c0G-7abc-8def-0123456789ab"};
    int64_t drawn_ms = 0x019aaf2b5c00;
    for (unsigned i = 0; i < 4; i++) {
        struct store_charge late = charge(i, drawn_ms + 86400000), early = late;
        snprintf(late.id, sizeof late.id, "%s", ids[i]);
        early = late;
        early.at_ms = drawn_ms - 1800000;
        add(f, &late, 1);
        add(f, &early, 1);
        assert_int_equal(rows_of(f, (struct store_ledger_query){.id = slice_of(ids[i])}), 2);
        assert_int_equal(list(f, (struct store_request_query){.id = slice_of(ids[i])}), 2);
    }
}

static void drop_payload_is_the_owners_and_leaves_the_row(void **state) {
    struct fixture *f = *state;
    give_requests(f);
    const char *done = id_of(4), *waiting = id_of(40), *direct = id_of(30); /* app1's */
    int64_t rows = f->backend->count(f, "all ledger", "");
    assert_int_equal(status_of(f, give_drop(f, ID, SLICE_NONE)), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_drop(f, direct, SLICE_NONE)), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_drop(f, done, SLICE("app2"))), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_drop(f, waiting, SLICE("app1"))), STORE_STALE);
    assert_int_equal(READ(f, ask_row(f, done, STORE_INPUT | STORE_RESULT)), STORE_OK);
    assert_true(slice_is(f->row.input, "\"r4\"") && slice_is(f->row.body, "\"r4\""));
    assert_int_equal(status_of(f, give_drop(f, done, SLICE("app1"))), STORE_OK);
    assert_int_equal(READ(f, ask_row(f, done, STORE_INPUT | STORE_RESULT)), STORE_OK);
    assert_int_equal(f->row.input.len + f->row.body.len, 0);
    assert_int_equal(f->row.http_status, 200);
    assert_int_equal(status_of(f, give_drop(f, done, SLICE_NONE)), STORE_OK);
    assert_int_equal(READ(f, ask_row(f, waiting, STORE_INPUT)), STORE_OK);
    assert_true(slice_is(f->row.input, "\"r40\""));
    assert_int_equal(f->backend->count(f, "all ledger", ""), rows);
}

static void what_the_ledger_is_given_is_copied(void **state) {
    struct fixture *f = *state;
    char text[] = "some text";
    struct slice all = slice_of(text), endpoints[] = {all, SLICE("x")};
    struct store_charge row = charge(1, 2000), expected = row;
    row.owner = row.key_id = row.endpoint = all;
    row.usage.upstream = row.usage.model = row.usage.raw = all;
    expected.owner = expected.key_id = expected.endpoint = SLICE("some text");
    expected.usage.upstream = expected.usage.model = expected.usage.raw = SLICE("some text");
    give_charges(f, &row, 1);
    memset(text, 'x', sizeof text - 1);
    memset(&row, 'x', sizeof row);
    fixture_settle(f);
    memcpy(text, "some text", sizeof text);
    struct store_ledger_query q = {
        .owner = all, .key_id = all, .endpoints = endpoints, .nendpoints = 2};
    ask_ledger(f, &q);
    memset(text, 'x', sizeof text - 1);
    memset(endpoints, 0, sizeof endpoints);
    fixture_settle(f);
    assert_int_equal(f->ncharges, 1);
    same_charge(&f->charges[0], &expected);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_ledger(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(ledger_gives_back_what_it_was_given),
        T(money_that_is_not_known_is_not_0),
        T(an_attempt_of_the_queue_is_charged_once),
        T(each_attempt_has_a_row_with_its_own_times),
        T(release_and_finish_waiting_charge_what_was_spent),
        T(ledger_pages_newest_first_by_owner_key_endpoint_and_time),
        T(ledger_of_an_id_is_its_owners),
        T(no_row_is_lost_when_the_clock_is_set_back),
        T(a_thousand_rows_are_one_operation_and_none_is_one_too),
        T(sums_count_calls_failures_tokens_and_money),
        T(sums_choose_by_owner_key_endpoint_and_time),
        T(sums_are_those_of_their_rows),
        T(a_thousand_endpoints_in_one_hour_have_a_sum_each),
        T(absurd_counts_have_a_sum),
        T(requests_are_the_completed_and_the_direct_ones_latest_first),
        T(requests_page_by_offset),
        T(requests_choose_by_status_endpoint_id_and_time),
        T(requests_come_longest_first_when_asked),
        T(requests_have_the_parts_named),
        T(a_page_of_large_requests_ends_early),
        T(a_direct_call_is_found_by_its_id),
        T(drop_payload_is_the_owners_and_leaves_the_row),
        T(what_the_ledger_is_given_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
