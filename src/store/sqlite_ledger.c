/* The ledger: what each attempt cost, and the requests as people list them. */
#include "store/sqlite_cells.h"

/* No call counts more (35 million dollars); a quarter of a million rows that claim to, out of what an upstream says,
 * still have a sum. */
#define COUNT_MAX (1LL << 45)

/* A page has no more rows than this, whatever is asked for. */
#define PAGE_MAX 10000U

/* One with inputs and results ends early when it is as large as this; the last of it may be as large as one result. */
#define PAGE_BYTES (32U << 20)

static unsigned page(unsigned limit) {
    return limit == 0 || limit > PAGE_MAX ? PAGE_MAX : limit;
}

/* --- writing */

static int64_t within(int64_t v) {
    return v > COUNT_MAX ? COUNT_MAX : v < -COUNT_MAX ? -COUNT_MAX : v;
}

static void put_count(struct binder *b, uint64_t v) {
    put_int(b, v > (uint64_t)COUNT_MAX ? COUNT_MAX : (int64_t)v);
}

static void put_usage(struct binder *b, const struct store_usage *u) {
    put_text(b, u->upstream);
    put_text(b, u->model);
    put_blob(b, u->raw);
    put_int(b, u->partial);
    put_known(b, u->has_cost, within(u->cost_microusd));
    put_known(b, u->has_charge, within(u->charge_microusd));
    put_int(b, within(u->units_micro));
    put_count(b, u->prompt_tokens);
    put_count(b, u->completion_tokens);
    put_count(b, u->cached_tokens);
    put_count(b, u->reasoning_tokens);
}

/* A row's n: when, and a number that tells apart. Times are positive and below 2 to the power of 43 (the year 2248). */
#define NUMBER_BITS 20
#define NUMBER_MAX ((1LL << NUMBER_BITS) - 1)
#define TIME_MAX ((1LL << (63 - NUMBER_BITS)) - 1)

static int64_t place(int64_t at_ms, int64_t number) {
    int64_t t = at_ms < 0 ? 0 : at_ms > TIME_MAX ? TIME_MAX : at_ms;
    return t << NUMBER_BITS | (number & NUMBER_MAX);
}

static void put_place(struct binder *b, struct sqlite_store *s, int64_t at_ms) {
    put_int(b, place(at_ms, s->next_charge++));
}

static int add_attempt(struct sqlite_store *s, int64_t seq, uint32_t attempt, int64_t started_ms,
                       int64_t at_ms, unsigned http_status, const struct store_usage *u) {
    struct binder b = start(s, ST_ATTEMPT_CHARGE);
    put_int(&b, seq);
    put_int(&b, attempt);
    put_int(&b, started_ms);
    put_int(&b, at_ms);
    put_int(&b, http_status);
    put_usage(&b, u);
    put_place(&b, s, at_ms);
    return run(&b);
}

static int add(struct sqlite_store *s, const struct store_charge *c) {
    struct binder b = start(s, c->kind == STORE_CALL_QUEUE ? ST_CHARGE_QUEUED : ST_CHARGE);
    put_text(&b, slice_of(c->id));
    put_int(&b, c->attempt);
    put_int(&b, c->kind);
    put_text(&b, c->owner);
    put_text(&b, c->key_id);
    put_text(&b, c->endpoint);
    put_int(&b, c->started_ms);
    put_int(&b, c->at_ms);
    put_int(&b, c->http_status);
    put_usage(&b, &c->usage);
    put_place(&b, s, c->at_ms);
    return run(&b);
}

/* A clock that was set back can find its place taken: the next one is free, or one soon after. */
static bool is_taken(int rc) {
    return rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID;
}

int sqlite_charge_attempt(struct sqlite_store *s, int64_t seq, uint32_t attempt, int64_t started_ms,
                          int64_t at_ms, unsigned http_status, const struct store_usage *u) {
    int rc = SQLITE_OK;
    if (!u->present) return rc;
    for (int64_t tries = 0; tries <= NUMBER_MAX; tries++) {
        rc = add_attempt(s, seq, attempt, started_ms, at_ms, http_status, u);
        if (!is_taken(rc)) break;
    }
    return rc;
}

static int add_somewhere(struct sqlite_store *s, const struct store_charge *c) {
    int rc = SQLITE_OK;
    for (int64_t tries = 0; tries <= NUMBER_MAX; tries++) {
        rc = add(s, c);
        if (!is_taken(rc)) break;
    }
    return rc;
}

int sqlite_ledger_add(struct sqlite_store *s, struct op *op) {
    int rc = SQLITE_OK;
    for (size_t i = 0; i < op->in.charges.n && rc == SQLITE_OK; i++)
        rc = add_somewhere(s, &op->in.charges.rows[i]);
    return rc;
}

int sqlite_drop_payload(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_DROP_FIND);
    put_text(&b, slice_of(op->in.one.id));
    put_text(&b, op->in.one.text);
    int rc = next(&b);
    int64_t seq = rc == SQLITE_ROW ? sqlite3_column_int64(b.st, 0) : 0;
    bool completed = rc == SQLITE_ROW && sqlite3_column_int(b.st, 1) == STORE_COMPLETED;
    finish(&b);
    if (rc != SQLITE_ROW) return rc == SQLITE_DONE ? not_there(op) : rc;
    if (!completed) return stale(op);
    b = start(s, ST_DROP_INPUT);
    put_int(&b, seq);
    rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    b = start(s, ST_DROP_RESULT);
    put_int(&b, seq);
    return run(&b);
}

/* --- the rows */

static bool chosen(const struct store_ledger_query *q, struct slice endpoint) {
    for (size_t i = 0; i < q->nendpoints; i++)
        if (slice_eq(q->endpoints[i], endpoint)) return true;
    return q->nendpoints == 0;
}

/* When the id was drawn, less what clocks are set by; 0 when it does not say (a UUID of version 7 does). */
static int64_t drawn_ms(struct slice id) {
    int64_t ms = 0;
    if (id.len != 36 || id.ptr[14] != '7') return 0;
    for (size_t i = 0; i < 13; i++) {
        char c = id.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (i == 8 && c == '-') continue;
        if (digit < 0) return 0;
        ms = ms << 4 | digit;
    }
    return ms > 3600000 ? ms - 3600000 : 0;
}

/* Of from_ms <= t < to_ms, where 0 is open: as places. A direct call is in no index of ids: all are scanned that ended
 * since the id was drawn. */
static int64_t first_place(int64_t from_ms, struct slice scanned) {
    int64_t drawn = drawn_ms(scanned);
    return place(drawn > from_ms ? drawn : from_ms, 0);
}

static int64_t last_place(int64_t to_ms) {
    return place(to_ms > 0 ? to_ms - 1 : INT64_MAX, NUMBER_MAX);
}

static void put_query(struct binder *b, const struct store_ledger_query *q, struct slice scanned) {
    int64_t last = last_place(q->to_ms);
    put_text(b, q->owner);
    put_text(b, q->key_id);
    put_text(b, q->id);
    put_int(b, first_place(q->from_ms, scanned));
    put_int(b, q->after != 0 && (int64_t)q->after <= last ? (int64_t)q->after - 1 : last);
}

static void take_usage(struct op *op, sqlite3_stmt *st, int column, struct store_usage *u) {
    u->present = true;
    u->upstream = take_text(op, st, column++);
    u->model = take_text(op, st, column++);
    u->raw = take_blob(op, st, column++);
    u->partial = sqlite3_column_int(st, column++) != 0;
    u->has_cost = sqlite3_column_type(st, column) != SQLITE_NULL;
    u->cost_microusd = sqlite3_column_int64(st, column++);
    u->has_charge = sqlite3_column_type(st, column) != SQLITE_NULL;
    u->charge_microusd = sqlite3_column_int64(st, column++);
    u->units_micro = sqlite3_column_int64(st, column++);
    u->prompt_tokens = take_count(st, column++);
    u->completion_tokens = take_count(st, column++);
    u->cached_tokens = take_count(st, column++);
    u->reasoning_tokens = take_count(st, column);
}

static void take_charge(struct op *op, sqlite3_stmt *st, struct store_charge *c) {
    *c = (struct store_charge){.attempt = (uint32_t)sqlite3_column_int64(st, 2)};
    take_id(c->id, st, 1);
    c->kind = (enum store_call_kind)sqlite3_column_int(st, 3);
    c->owner = take_text(op, st, 4);
    c->key_id = take_text(op, st, 5);
    c->endpoint = take_text(op, st, 6);
    c->started_ms = sqlite3_column_int64(st, 7);
    c->at_ms = sqlite3_column_int64(st, 8);
    c->http_status = (unsigned)sqlite3_column_int64(st, 9);
    take_usage(op, st, 10, &c->usage);
}

static struct slice borrow_text(sqlite3_stmt *st, int column) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    return slice_make(text, (size_t)sqlite3_column_bytes(st, column));
}

/* One more than the page tells that there is another. */
static int take_charges(struct op *op, struct binder *b) {
    const struct store_ledger_query *q = &op->in.ledger;
    struct store_charge *rows = NULL;
    size_t n = 0, room = 0, limit = page(q->limit);
    uint64_t number = 0;
    int rc;
    while ((rc = next(b)) == SQLITE_ROW) {
        if (!chosen(q, borrow_text(b->st, 6))) continue;
        if (n == limit) {
            op->reply.next = number;
            rc = SQLITE_DONE;
            break;
        }
        rows = grow(op, rows, n, &room, sizeof *rows);
        if (rows == NULL) break;
        number = take_count(b->st, 0);
        take_charge(op, b->st, &rows[n++]);
    }
    op->reply.charges = rows;
    op->reply.ncharges = n;
    return rc;
}

static int list_charges(struct sqlite_store *s, struct op *op, enum statement n) {
    struct binder b = start(s, n);
    put_query(&b, &op->in.ledger, n == ST_LEDGER ? op->in.ledger.id : SLICE_NONE);
    int rc = take_charges(op, &b);
    finish(&b);
    return rc;
}

int sqlite_ledger(struct sqlite_store *s, struct op *op) {
    int rc = SQLITE_DONE;
    if (op->in.ledger.id.len > 0) rc = list_charges(s, op, ST_LEDGER_QUEUED);
    if (rc == SQLITE_DONE && op->reply.ncharges == 0) rc = list_charges(s, op, ST_LEDGER);
    return rc;
}

/* --- sums */

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
        if (!chosen(&op->in.ledger, borrow_text(b->st, 1))) continue;
        sums = grow(op, sums, n, &room, sizeof *sums);
        if (sums == NULL) break;
        take_sum(op, b->st, &sums[n++]);
    }
    op->reply.sums = sums;
    op->reply.nsums = n;
    return rc;
}

/* All in one: the bucket is longer than time. */
int sqlite_ledger_sums(struct sqlite_store *s, struct op *op) {
    const struct store_ledger_query *q = &op->in.ledger;
    struct binder b = start(s, ST_SUMS);
    put_query(&b, q, SLICE_NONE);
    put_int(&b, q->bucket_ms > 0 ? q->bucket_ms : INT64_MAX);
    int rc = take_sums(op, &b);
    finish(&b);
    return rc;
}

/* --- requests */

static enum statement requests_of(const struct store_request_query *q) {
    if (q->owner.len == 0) return q->by_duration ? ST_LONGEST : ST_REQUESTS;
    return q->by_duration ? ST_LONGEST_OF_OWNER : ST_REQUESTS_OF_OWNER;
}

static void put_requests(struct binder *b, const struct store_request_query *q,
                         struct slice scanned) {
    static const int64_t statuses[][2] = {[STORE_ANY] = {0, INT64_MAX},
                                          [STORE_SUCCESS] = {0, 399},
                                          [STORE_ERROR] = {500, INT64_MAX},
                                          [STORE_USER_ERROR] = {400, 499}};
    put_text(b, q->owner);
    put_text(b, q->endpoint);
    put_text(b, q->id);
    put_int(b, first_place(q->from_ms, scanned));
    put_int(b, last_place(q->to_ms));
    put_int(b, statuses[q->status][0]);
    put_int(b, statuses[q->status][1]);
    put_int(b, (int64_t)page(q->limit) + 1);
    put_int(b, q->offset);
}

static int take_part(struct sqlite_store *s, struct op *op, enum statement n, int64_t seq,
                     struct slice *out) {
    struct binder b = start(s, n);
    put_int(&b, seq);
    int rc = next(&b);
    if (rc == SQLITE_ROW) *out = take_blob(op, b.st, 0);
    finish(&b);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int take_request(struct sqlite_store *s, struct op *op, sqlite3_stmt *st,
                        struct store_request *r) {
    unsigned parts = op->in.requests.parts;
    bool direct = sqlite3_column_int(st, 1) != 0;
    int64_t seq = sqlite3_column_int64(st, 2);
    *r = (struct store_request){.created_ms = sqlite3_column_int64(st, 5)};
    take_id(r->id, st, 3);
    r->endpoint = take_text(op, st, 4);
    r->started_ms = sqlite3_column_int64(st, 6);
    r->ended_ms = sqlite3_column_int64(st, 7);
    r->http_status = (unsigned)sqlite3_column_int64(st, 8);
    if (direct) return SQLITE_OK;
    int rc = parts & STORE_INPUT ? take_part(s, op, ST_INPUT, seq, &r->input) : SQLITE_OK;
    if (rc == SQLITE_OK && parts & STORE_RESULT) rc = take_part(s, op, ST_BODY, seq, &r->output);
    return rc;
}

static int list_requests(struct sqlite_store *s, struct op *op, enum statement st) {
    struct binder b = start(s, st);
    size_t n = 0, room = page(op->in.requests.limit);
    put_requests(&b, &op->in.requests,
                 st == ST_REQUEST_DIRECT ? op->in.requests.id : SLICE_NONE);
    struct store_request *rows = arena_alloc(&op->mem, room * sizeof *rows);
    int rc = rows != NULL ? next(&b) : SQLITE_NOMEM;
    while (rc == SQLITE_ROW && n < room && op->mem.used_bytes < PAGE_BYTES) {
        rc = take_request(s, op, b.st, &rows[n++]);
        if (rc == SQLITE_OK) rc = next(&b);
    }
    op->reply.more = rc == SQLITE_ROW;
    op->reply.requests = rows;
    op->reply.nrequests = n;
    finish(&b);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

int sqlite_requests(struct sqlite_store *s, struct op *op) {
    if (op->in.requests.id.len == 0) return list_requests(s, op, requests_of(&op->in.requests));
    int rc = list_requests(s, op, ST_REQUEST_QUEUED);
    if (rc == SQLITE_DONE && op->reply.nrequests == 0)
        rc = list_requests(s, op, ST_REQUEST_DIRECT);
    return rc;
}
