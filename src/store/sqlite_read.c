/* The reads. A row and its log lines may come from two states of the database: log lines of a COMPLETED row are all
 * there before it is. */
#include "store/sqlite_cells.h"

/* The columns of ST_ROW and ST_READ_ROW, in their order. */
enum {
    COL_SEQ,
    COL_ID,
    COL_STATE,
    COL_ATTEMPT,
    COL_PRIORITY,
    COL_NO_RETRY,
    COL_CANCEL_MS,
    COL_ENDPOINT,
    COL_OWNER,
    COL_WEBHOOK,
    COL_CREATED_MS,
    COL_STARTED_MS,
    COL_COMPLETED_MS,
    COL_HTTP_STATUS,
    COL_ERROR,
    COL_ERROR_TYPE,
    COL_INFERENCE_MS,
    COL_INPUT,
    COL_HEADERS,
    COL_BODY,
    COL_FORGET_MS,
    COL_WISHES,
    COL_HINT = COL_WISHES + 7,
    COL_TAGS,
    COL_KEY_ID,
    COL_MODEL
};

static void take_wishes(struct store_wishes *w, sqlite3_stmt *st, int column) {
    w->start_timeout_ms = sqlite3_column_int64(st, column++);
    w->no_store = sqlite3_column_int(st, column++) != 0;
    w->no_fallback = sqlite3_column_int(st, column++) != 0;
    w->retries_server_error = sqlite3_column_int(st, column++);
    w->retries_timeout = sqlite3_column_int(st, column++);
    w->retries_connection_error = sqlite3_column_int(st, column++);
    w->owner_concurrency = sqlite3_column_int64(st, column);
}

static void take_result(struct op *op, sqlite3_stmt *st, unsigned parts) {
    struct store_row *row = &op->row;
    row->http_status = (unsigned)sqlite3_column_int(st, COL_HTTP_STATUS);
    row->error = take_text(op, st, COL_ERROR);
    row->error_type = take_text(op, st, COL_ERROR_TYPE);
    row->inference_ms = sqlite3_column_int64(st, COL_INFERENCE_MS);
    if (!(parts & STORE_RESULT)) return;
    row->headers = take_blob(op, st, COL_HEADERS);
    row->body = take_blob(op, st, COL_BODY);
}

static void take_row(struct op *op, sqlite3_stmt *st, unsigned parts) {
    struct store_row *row = &op->row;
    *row = (struct store_row){.inference_ms = -1};
    take_id(op, row->id, st, COL_ID);
    row->seq = (uint64_t)sqlite3_column_int64(st, COL_SEQ);
    row->state = (enum store_state)sqlite3_column_int(st, COL_STATE);
    row->attempt = (uint32_t)sqlite3_column_int64(st, COL_ATTEMPT);
    row->priority = sqlite3_column_int(st, COL_PRIORITY);
    row->no_retry = sqlite3_column_int(st, COL_NO_RETRY) != 0;
    row->cancel_requested = sqlite3_column_int64(st, COL_CANCEL_MS) != 0;
    row->endpoint = take_text(op, st, COL_ENDPOINT);
    row->owner = take_text(op, st, COL_OWNER);
    row->webhook = take_text(op, st, COL_WEBHOOK);
    row->created_ms = sqlite3_column_int64(st, COL_CREATED_MS);
    row->started_ms = sqlite3_column_int64(st, COL_STARTED_MS);
    row->completed_ms = sqlite3_column_int64(st, COL_COMPLETED_MS);
    row->forget_ms = sqlite3_column_int64(st, COL_FORGET_MS);
    take_wishes(&row->wishes, st, COL_WISHES);
    row->hint = take_text(op, st, COL_HINT);
    row->tags = take_text(op, st, COL_TAGS);
    row->key_id = take_text(op, st, COL_KEY_ID);
    row->model = take_text(op, st, COL_MODEL);
    if (parts & STORE_INPUT) row->input = take_blob(op, st, COL_INPUT);
    if (row->state == STORE_COMPLETED) take_result(op, st, parts);
}

int sqlite_read_row(sqlite3_stmt *st, struct op *op, const char *id, unsigned parts) {
    int rc = sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        take_row(op, st, parts);
    else if (rc == SQLITE_DONE)
        op->reply.status = STORE_NOT_FOUND;
    sqlite3_reset(st);
    return op->mem.failed ? SQLITE_NOMEM : rc;
}

static int read_logs(struct sqlite_store *s, struct op *op) {
    sqlite3_stmt *st = s->statements[ST_READ_LOGS];
    struct store_log *lines = NULL;
    size_t n = 0, room = 0;
    int rc = sqlite3_bind_text(st, 1, op->in.one.id, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK) return rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        lines = grow(op, lines, n, &room, sizeof *lines);
        if (lines == NULL) break;
        lines[n] = (struct store_log){.id = op->in.one.id, .at_ms = sqlite3_column_int64(st, 0)};
        lines[n].level = take_text(op, st, 1);
        lines[n].message = take_text(op, st, 2);
        n++;
    }
    sqlite3_reset(st);
    op->reply.logs = lines;
    op->reply.nlogs = n;
    return rc;
}

static int read_get(struct sqlite_store *s, struct op *op) {
    sqlite3_stmt *st = s->statements[ST_READ_ROW];
    int rc = sqlite_read_row(st, op, op->in.one.id, op->in.one.parts);
    if (rc != SQLITE_ROW) return rc;
    op->reply.row = &op->row;
    return op->in.one.parts & STORE_LOGS ? read_logs(s, op) : SQLITE_DONE;
}

/* As the row before has it: there is one copy then. */
static struct slice take_again(struct op *op, sqlite3_stmt *st, int column, struct slice before) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    size_t len = (size_t)sqlite3_column_bytes(st, column);
    look_at_value(op, st, text);
    if (len == before.len && before.ptr != NULL && memcmp(text, before.ptr, len) == 0)
        return before;
    return arena_copy(&op->mem, slice_make(text, len));
}

static void take_pending(struct op *op, sqlite3_stmt *st, const struct store_pending *before,
                         struct store_pending *p) {
    *p = (struct store_pending){.seq = (uint64_t)sqlite3_column_int64(st, 0)};
    take_id(op, p->id, st, 1);
    p->state = (enum store_state)sqlite3_column_int(st, 2);
    p->attempt = (uint32_t)sqlite3_column_int64(st, 3);
    p->crashes = (uint32_t)sqlite3_column_int64(st, 4);
    p->priority = sqlite3_column_int(st, 5);
    p->no_retry = sqlite3_column_int(st, 6) != 0;
    p->cancel_requested = sqlite3_column_int64(st, 7) != 0;
    take_id(op, p->boot, st, 8);
    p->released = p->state == STORE_IN_PROGRESS && p->boot[0] == '\0';
    p->created_ms = sqlite3_column_int64(st, 9);
    p->started_ms = sqlite3_column_int64(st, 10);
    p->endpoint = take_again(op, st, 11, before->endpoint);
    p->owner = take_again(op, st, 12, before->owner);
    p->has_webhook = sqlite3_column_int(st, 13) != 0;
    p->model = take_again(op, st, 14, before->model);
    p->held = sqlite3_column_int(st, 15) != 0;
    take_wishes(&p->wishes, st, 16);
}

static int read_pending(struct sqlite_store *s, struct op *op) {
    static const struct store_pending none;
    sqlite3_stmt *st = s->statements[ST_READ_PENDING];
    size_t n = 0, limit = op->in.pending.limit > 0 ? op->in.pending.limit : SIZE_MAX;
    size_t room = limit < 10000 ? limit : 1024; /* a piece does not grow */
    struct store_pending *rows = arena_alloc(&op->mem, room * sizeof *rows);
    sqlite3_bind_int64(st, 1, (int64_t)op->in.pending.after);
    sqlite3_bind_int64(st, 2, limit < INT64_MAX ? (int64_t)limit + 1 : -1);
    int rc = SQLITE_NOMEM;
    while (rows != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW && n < limit) {
        rows = grow(op, rows, n, &room, sizeof *rows);
        if (rows == NULL) break;
        take_pending(op, st, n > 0 ? &rows[n - 1] : &none, &rows[n]);
        n++;
    }
    sqlite3_reset(st);
    op->reply.pending = rows;
    op->reply.npending = n;
    op->reply.more = rc == SQLITE_ROW;
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

void sqlite_answer(struct sqlite_store *s, struct op *op) {
    static int (*const reads[OP_SCANS])(struct sqlite_store *s, struct op *op) = {
        [OP_GET] = read_get,
        [OP_LOGS] = read_logs,
        [OP_PENDING] = read_pending,
        [OP_NODES] = sqlite_nodes,
        [OP_FILE_GET] = sqlite_file_get,
        [OP_WEBHOOKS_PENDING] = sqlite_webhooks_pending,
        [OP_WEBHOOK_GET] = sqlite_webhook_get,
        [OP_KEYS] = sqlite_keys,
        [OP_LEDGER] = sqlite_ledger,
        [OP_LEDGER_SUMS] = sqlite_ledger_sums,
        [OP_REQUESTS] = sqlite_requests,
        [OP_FILES] = sqlite_files,
        [OP_FILE_SUMS] = sqlite_file_sums,
        [OP_WEBHOOKS] = sqlite_webhooks,
    };
    int rc = reads[op->kind](s, op);
    if (op->mem.failed) rc = SQLITE_NOMEM;
    if (rc == SQLITE_DONE) return;
    if (sqlite_is_damage(rc)) sqlite_found_damage(s, sqlite3_errstr(rc));
    op->reply = (struct store_reply){.status = sqlite_status(rc)};
}
