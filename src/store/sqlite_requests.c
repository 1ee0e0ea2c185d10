/* Requests as people list them: what the queue completed, and direct calls of the ledger. */
#include "store/sqlite_ledger.h"

/* A page with inputs and results ends early when it is as large as this; the last of it may be as large as one result. */
#define PAGE_BYTES (32U << 20)

static enum statement requests_of(const struct store_request_query *q) {
    if (q->owner.len == 0) return q->by_duration ? ST_LONGEST : ST_REQUESTS;
    return q->by_duration ? ST_LONGEST_OF_OWNER : ST_REQUESTS_OF_OWNER;
}

static void put_requests(struct binder *b, const struct store_request_query *q, int64_t drawn_ms) {
    static const int64_t statuses[][2] = {[STORE_ANY] = {0, INT64_MAX},
                                          [STORE_SUCCESS] = {0, 399},
                                          [STORE_ERROR] = {500, INT64_MAX},
                                          [STORE_USER_ERROR] = {400, 499}};
    put_text(b, q->owner);
    put_text(b, q->endpoint);
    put_text(b, q->id);
    put_int(b, first_place(drawn_ms > q->from_ms ? drawn_ms : q->from_ms));
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
    take_id(op, r->id, st, 3);
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
    const struct store_request_query *q = &op->in.requests;
    struct binder b = start(s, st);
    size_t n = 0, room = page(q->limit);
    put_requests(&b, q, st == ST_REQUEST_DIRECT ? sqlite_drawn_ms(q->id) : 0);
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
    if (rc == SQLITE_DONE && op->reply.nrequests == 0) rc = list_requests(s, op, ST_REQUEST_DIRECT);
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
    b = start(s, ST_SWEEP_LOG);
    put_int(&b, seq);
    rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    b = start(s, ST_DROP_RESULT);
    put_int(&b, seq);
    return run(&b);
}
