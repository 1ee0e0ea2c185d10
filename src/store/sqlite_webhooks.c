/* The outbox. A request whose webhook waits keeps forget_ms below 0, so that no sweep sees it. */
#include "store/sqlite_cells.h"

#define PAGE_MAX 10000U

struct found {
    int64_t seq;
    enum store_webhook_state state;
    uint32_t attempt;
    bool whole; /* with its request */
};

/* SQLITE_ROW, SQLITE_DONE or an error. */
static int find(struct sqlite_store *s, const char *id, struct slice owner, struct found *f) {
    struct binder b = start(s, ST_WEBHOOK_FIND);
    put_text(&b, slice_of(id));
    put_text(&b, owner);
    int rc = next(&b);
    if (rc == SQLITE_ROW) {
        f->seq = sqlite3_column_int64(b.st, 0);
        f->state = (enum store_webhook_state)sqlite3_column_int(b.st, 1);
        f->attempt = (uint32_t)sqlite3_column_int64(b.st, 2);
        f->whole = sqlite3_column_int(b.st, 3) != 0;
    }
    finish(&b);
    return rc;
}

static int hold(struct sqlite_store *s, enum statement n, int64_t seq) {
    struct binder b = start(s, n);
    put_int(&b, seq);
    return run(&b);
}

int sqlite_webhook_note(struct sqlite_store *s, struct op *op) {
    const struct store_webhook_note *n = &op->in.note;
    bool ends = n->state != STORE_WEBHOOK_WAITING;
    struct found f;
    int rc = find(s, n->id, SLICE_NONE, &f);
    if (rc != SQLITE_ROW) return rc == SQLITE_DONE ? not_there(op) : rc;
    if (f.state != STORE_WEBHOOK_WAITING || f.attempt != n->attempt) return stale(op);
    struct binder b = start(s, ST_WEBHOOK_NOTE);
    put_int(&b, f.seq);
    put_int(&b, n->state);
    put_int(&b, ends ? n->at_ms : n->due_ms);
    put_int(&b, ends ? n->at_ms : 0);
    put_int(&b, n->status);
    put_text(&b, n->error);
    rc = run(&b);
    return rc == SQLITE_OK && ends ? hold(s, ST_WEBHOOK_FREE, f.seq) : rc;
}

/* --- again */

static int replay_one(struct sqlite_store *s, struct op *op) {
    struct found f;
    int rc = find(s, op->in.one.id, op->in.one.text, &f);
    if (rc == SQLITE_DONE || (rc == SQLITE_ROW && !f.whole)) return not_there(op);
    if (rc != SQLITE_ROW) return rc;
    if (f.state == STORE_WEBHOOK_WAITING) return stale(op);
    struct binder b = start(s, ST_WEBHOOK_REPLAY);
    put_int(&b, op->in.one.at_ms);
    put_int(&b, f.seq);
    rc = run(&b);
    op->reply.count = 1;
    return rc == SQLITE_OK ? hold(s, ST_WEBHOOK_HOLD, f.seq) : rc;
}

static int replay_dead(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_WEBHOOK_HOLD_DEAD);
    put_text(&b, op->in.one.text);
    int rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    b = start(s, ST_WEBHOOK_REPLAY_DEAD);
    put_int(&b, op->in.one.at_ms);
    put_text(&b, op->in.one.text);
    rc = run(&b);
    op->reply.count = (size_t)sqlite3_changes64(s->writer.db);
    return rc;
}

int sqlite_webhook_replay(struct sqlite_store *s, struct op *op) {
    return op->in.one.all ? replay_dead(s, op) : replay_one(s, op);
}

/* --- reading */

static void take_webhook(struct op *op, sqlite3_stmt *st, struct store_webhook *w) {
    *w = (struct store_webhook){.seq = take_count(st, 0)};
    take_id(op, w->id, st, 1);
    w->state = (enum store_webhook_state)sqlite3_column_int(st, 2);
    w->url = take_text(op, st, 3);
    w->owner = take_text(op, st, 4);
    w->endpoint = take_text(op, st, 5);
    w->attempt = (uint32_t)sqlite3_column_int64(st, 6);
    w->created_ms = sqlite3_column_int64(st, 7);
    w->due_ms = sqlite3_column_int64(st, 8);
    w->ended_ms = sqlite3_column_int64(st, 9);
    w->last_status = (unsigned)sqlite3_column_int64(st, 10);
    w->last_error = take_text(op, st, 11);
}

/* At most `limit` rows of the statement; SQLITE_ROW when it has another. */
static int take_webhooks(struct op *op, struct binder *b, size_t limit) {
    struct store_webhook *rows = NULL;
    size_t n = 0, room = 0;
    int rc;
    while ((rc = next(b)) == SQLITE_ROW && n < limit) {
        rows = grow(op, rows, n, &room, sizeof *rows);
        if (rows == NULL) break;
        take_webhook(op, b->st, &rows[n++]);
    }
    op->reply.webhooks = rows;
    op->reply.nwebhooks = n;
    finish(b);
    return rc;
}

int sqlite_webhooks_pending(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_READ_WAITING);
    return take_webhooks(op, &b, SIZE_MAX);
}

int sqlite_webhook_get(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_READ_WEBHOOK);
    put_text(&b, slice_of(op->in.one.id));
    int rc = take_webhooks(op, &b, 2);
    if (rc != SQLITE_DONE) return rc;
    if (op->reply.nwebhooks == 0) {
        op->reply.status = STORE_NOT_FOUND;
        return rc;
    }
    rc = sqlite_read_row(s->statements[ST_READ_ROW], op, op->in.one.id, STORE_RESULT);
    op->reply.status = STORE_OK;
    op->reply.row = rc == SQLITE_ROW ? &op->row : NULL;
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

int sqlite_webhooks(struct sqlite_store *s, struct op *op) {
    const struct store_webhook_query *q = &op->in.webhooks;
    unsigned limit = q->limit == 0 || q->limit > PAGE_MAX ? PAGE_MAX : q->limit;
    struct binder b = start(s, q->owner.len > 0 ? ST_WEBHOOKS_OF_OWNER
                               : q->state >= 0  ? ST_WEBHOOKS_OF_STATE
                                                : ST_WEBHOOKS_ALL);
    put_text(&b, q->owner);
    put_int(&b, q->state);
    put_int(&b, q->after != 0 ? (int64_t)q->after : INT64_MAX);
    put_int(&b, (int64_t)limit + 1);
    int rc = take_webhooks(op, &b, limit);
    if (rc != SQLITE_ROW) return rc;
    op->reply.next = op->reply.webhooks[limit - 1].seq;
    return SQLITE_DONE;
}
