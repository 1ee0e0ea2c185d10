/* The ledger: what each attempt cost. Sums of its hours are kept beside it (sqlite_hours.c). */
#include "store/sqlite_ledger.h"
#include "store/sqlite_packed.h"

#include <stdlib.h>

/* No call counts more (35 million dollars), whatever an upstream says: so that there is always a sum. */
#define COUNT_MAX (1LL << 45)

/* --- writing */

static int64_t bounded(int64_t v) {
    return v > COUNT_MAX ? COUNT_MAX : v < -COUNT_MAX ? -COUNT_MAX : v;
}

static uint64_t bounded_count(uint64_t v) {
    return v > (uint64_t)COUNT_MAX ? (uint64_t)COUNT_MAX : v;
}

static void bound(struct store_usage *u) {
    u->cost_microusd = bounded(u->cost_microusd);
    u->charge_microusd = bounded(u->charge_microusd);
    u->units_micro = bounded(u->units_micro);
    u->prompt_tokens = bounded_count(u->prompt_tokens);
    u->completion_tokens = bounded_count(u->completion_tokens);
    u->cached_tokens = bounded_count(u->cached_tokens);
    u->reasoning_tokens = bounded_count(u->reasoning_tokens);
}

static void put_usage(struct binder *b, const struct store_usage *u) {
    put_text(b, u->upstream);
    put_text(b, u->model);
    put_blob(b, u->raw);
    put_int(b, u->partial);
    put_known(b, u->has_cost, u->cost_microusd);
    put_known(b, u->has_charge, u->charge_microusd);
    put_int(b, u->units_micro);
    put_int(b, (int64_t)u->prompt_tokens);
    put_int(b, (int64_t)u->completion_tokens);
    put_int(b, (int64_t)u->cached_tokens);
    put_int(b, (int64_t)u->reasoning_tokens);
}

static int add_queued(struct sqlite_store *s, const struct store_charge *c, int64_t n) {
    struct binder b = start(s, ST_CHARGE_QUEUED);
    put_int(&b, n);
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
    return run(&b);
}

/* Most rows fit on the stack. */
static int add_direct(struct sqlite_store *s, const struct store_charge *c, int64_t n) {
    char own[1024];
    size_t bytes = sqlite_packed_bytes(c);
    char *row = bytes <= sizeof own ? own : malloc(bytes);
    if (row == NULL) return SQLITE_NOMEM;
    struct binder b = start(s, ST_CHARGE);
    put_int(&b, n);
    put_blob(&b, slice_make(row, sqlite_pack(c, row)));
    int rc = run(&b);
    if (row != own) free(row);
    return rc;
}

static int add_at(struct sqlite_store *s, const struct store_charge *c, int64_t n) {
    return c->kind == STORE_CALL_QUEUE ? add_queued(s, c, n) : add_direct(s, c, n);
}

/* A clock that was set back can find its place taken: the next one is free, or one soon after. */
static bool is_taken(int rc) {
    return rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID;
}

static int add(struct sqlite_store *s, struct store_charge c) {
    int rc = SQLITE_OK;
    bound(&c.usage);
    for (int64_t tries = 0; tries <= NUMBER_MAX; tries++) {
        rc = add_at(s, &c, place(c.at_ms, s->next_charge++));
        if (!is_taken(rc)) break;
    }
    bool is_new = rc == SQLITE_OK && changed(s); /* else the attempt is charged already */
    return is_new ? sqlite_hours_add(s, &c) : rc;
}

static struct slice borrow_text(sqlite3_stmt *st, int column) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    return slice_make(text, (size_t)sqlite3_column_bytes(st, column));
}

int sqlite_charge_attempt(struct sqlite_store *s, const struct store_charge *c) {
    return add(s, *c);
}

int sqlite_ledger_add(struct sqlite_store *s, struct op *op) {
    int rc = SQLITE_OK;
    for (size_t i = 0; i < op->in.charges.n && rc == SQLITE_OK; i++)
        rc = add(s, op->in.charges.rows[i]);
    return rc;
}

/* --- reading */

int64_t sqlite_drawn_ms(struct slice id) {
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

static void put_query(struct binder *b, const struct store_ledger_query *q, int64_t drawn_ms) {
    int64_t last = last_place(q->to_ms);
    put_text(b, q->owner);
    put_text(b, q->key_id);
    put_text(b, q->id);
    put_int(b, first_place(drawn_ms > q->from_ms ? drawn_ms : q->from_ms));
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
    take_id(op, c->id, st, 1);
    c->kind = (enum store_call_kind)sqlite3_column_int(st, 3);
    c->owner = take_text(op, st, 4);
    c->key_id = take_text(op, st, 5);
    c->endpoint = take_text(op, st, 6);
    c->started_ms = sqlite3_column_int64(st, 7);
    c->at_ms = sqlite3_column_int64(st, 8);
    c->http_status = (unsigned)sqlite3_column_int64(st, 9);
    take_usage(op, st, 10, &c->usage);
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
    put_query(&b, &op->in.ledger, n == ST_LEDGER ? sqlite_drawn_ms(op->in.ledger.id) : 0);
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
