/* The writes. Each finds its row by id, then changes it by seq under its guard; what the guard does not let through
 * answers STORE_STALE and leaves the transaction as it was. */
#include "store/sqlite_cells.h"

#include "base/broken.h"

#include <inttypes.h>
#include <stdio.h>

static int run_with(struct sqlite_store *s, enum statement n, int64_t value) {
    struct binder b = start(s, n);
    put_int(&b, value);
    return run(&b);
}

/* The first column of the first row, 0 when there is none. */
static int ask_int(struct sqlite_store *s, enum statement n, int64_t value, int64_t *out) {
    struct binder b = start(s, n);
    *out = 0;
    if (sqlite3_bind_parameter_count(b.st) > 0) put_int(&b, value);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc == SQLITE_ROW) *out = sqlite3_column_int64(b.st, 0);
    sqlite3_reset(b.st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

struct found {
    int64_t seq;
    enum store_state state;
    bool has_webhook, cancelled;
    int64_t attempt_ms;
    struct slice owner, key_id, endpoint; /* when there is something to charge */
};

/* SQLITE_ROW, SQLITE_DONE (and the reply says so) or an error. `charged`: whose it is, too. */
static int find(struct sqlite_store *s, struct op *op, const char *id, bool charged,
                struct found *f) {
    struct binder b = start(s, ST_FIND);
    put_text(&b, slice_of(id));
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc == SQLITE_ROW) {
        f->seq = sqlite3_column_int64(b.st, 0);
        f->state = (enum store_state)sqlite3_column_int(b.st, 1);
        f->has_webhook = sqlite3_column_int(b.st, 2) != 0;
        f->attempt_ms = sqlite3_column_int64(b.st, 3);
        f->cancelled = sqlite3_column_int64(b.st, 4) != 0;
        f->owner = charged ? take_text(op, b.st, 5) : SLICE_NONE;
        f->key_id = charged ? take_text(op, b.st, 6) : SLICE_NONE;
        f->endpoint = charged ? take_text(op, b.st, 7) : SLICE_NONE;
    } else if (rc == SQLITE_DONE) {
        op->reply.status = STORE_NOT_FOUND;
    }
    sqlite3_reset(b.st);
    return op->mem.failed ? SQLITE_NOMEM : rc;
}

/* What an apply function returns when its find did not give a row. */
static int not_found(int rc) {
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* --- submit */

static void put_wishes(struct binder *b, const struct store_wishes *w) {
    put_int(b, w->start_timeout_ms);
    put_int(b, w->no_store);
    put_int(b, w->no_fallback);
    put_int(b, w->retries_server_error);
    put_int(b, w->retries_timeout);
    put_int(b, w->retries_connection_error);
    put_int(b, w->owner_concurrency);
}

static void put_key(struct binder *b, const struct store_submit *in) {
    put_text(b, in->owner);
    put_text(b, in->key_id);
    put_text(b, in->endpoint);
    put_text(b, in->idempotency_key);
}

/* Or it may be forgotten from now on: who asks for it is told that it is not there. */
static bool is_forgotten(const struct store_row *row, int64_t now_ms) {
    return row->forget_ms != 0 && row->forget_ms <= now_ms;
}

/* SQLITE_ROW: its key has a request, which is replied. SQLITE_DONE: it has none, or that one is forgotten. */
static int find_known(struct sqlite_store *s, struct op *op) {
    const struct store_submit *in = &op->in.submit;
    char id[STORE_ID_BYTES];
    unsigned char hash[32];
    struct binder b = start(s, ST_KNOWN);
    put_key(&b, in);
    put_int(&b, in->now_ms);
    int rc = next(&b);
    if (rc == SQLITE_ROW) {
        take_id(op, id, b.st, 0);
        take_hash(op, hash, b.st, 1);
    }
    finish(&b);
    if (rc == SQLITE_ROW) rc = sqlite_read_row(s->statements[ST_KNOWN_ROW], op, id, 0);
    if (rc == SQLITE_ROW && is_forgotten(&op->row, in->now_ms)) rc = SQLITE_DONE;
    op->reply.status = rc == SQLITE_ROW ? STORE_KNOWN : STORE_OK;
    if (rc != SQLITE_ROW) return rc;
    op->reply.row = &op->row;
    op->reply.seq = op->row.seq;
    op->reply.same_body = memcmp(hash, in->body_hash, sizeof hash) == 0;
    return rc;
}

static int know(struct sqlite_store *s, const struct store_submit *in) {
    struct binder b = start(s, ST_KNOW);
    put_key(&b, in);
    put_text(&b, slice_of(in->id));
    put_blob(&b, slice_make((const char *)in->body_hash, sizeof in->body_hash));
    put_int(&b, in->idempotency_until_ms);
    return run(&b);
}

static int apply_submit(struct sqlite_store *s, struct op *op) {
    const struct store_submit *in = &op->in.submit;
    if (strlen(in->id) >= STORE_ID_BYTES) return not_there(op);
    if (in->idempotency_key.len > 0) {
        int found = find_known(s, op);
        if (found != SQLITE_DONE) return found == SQLITE_ROW ? SQLITE_OK : found;
    }
    if (in->only_known) return not_there(op);
    uint64_t seq = s->next_seq++;
    struct binder b = start(s, ST_SUBMIT);
    put_int(&b, (int64_t)seq);
    put_text(&b, slice_of(in->id));
    put_int(&b, in->priority);
    put_int(&b, in->no_retry);
    put_text(&b, in->endpoint);
    put_text(&b, in->owner);
    put_text(&b, in->webhook);
    put_int(&b, in->created_ms);
    put_wishes(&b, &in->wishes);
    put_text(&b, in->hint);
    put_text(&b, in->tags);
    put_text(&b, in->key_id);
    put_text(&b, in->model);
    int rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    b = start(s, ST_PAYLOAD);
    put_int(&b, (int64_t)seq);
    put_blob(&b, in->input);
    op->reply.seq = seq;
    rc = run(&b);
    return rc == SQLITE_OK && in->idempotency_key.len > 0 ? know(s, in) : rc;
}

/* --- leases */

static void put_lease(struct binder *b, const struct store_lease *l) {
    put_text(b, slice_of(l->node));
    put_text(b, slice_of(l->boot));
    put_int(b, (int64_t)l->token);
    put_int(b, l->until_ms);
}

static int reply_leased_row(struct sqlite_store *s, struct op *op, int64_t started_ms) {
    if (!changed(s)) return stale(op);
    op->row.state = STORE_IN_PROGRESS;
    op->row.attempt = op->in.lease.attempt + 1;
    if (op->row.started_ms == 0) op->row.started_ms = started_ms;
    op->reply.row = &op->row;
    op->reply.seq = op->row.seq;
    return SQLITE_OK;
}

static int apply_claim(struct sqlite_store *s, struct op *op) {
    int rc = sqlite_read_row(s->statements[ST_ROW], op, op->in.lease.id, STORE_INPUT);
    if (rc != SQLITE_ROW) return not_found(rc);
    int64_t life;
    rc = sqlite_life(s, op->in.lease.lease.boot, &life);
    if (rc != SQLITE_OK) return rc;
    struct binder b = start(s, ST_CLAIM);
    put_int(&b, (int64_t)op->row.seq);
    put_int(&b, op->in.lease.attempt);
    put_int(&b, op->in.lease.at_ms);
    put_lease(&b, &op->in.lease.lease);
    put_int(&b, life);
    rc = run(&b);
    return rc == SQLITE_OK ? reply_leased_row(s, op, op->in.lease.at_ms) : rc;
}

/* What the attempt that ends here has cost. `id` is the row's: it fits. */
static int charge(struct sqlite_store *s, const char *id, const struct found *f, uint32_t attempt,
                  int64_t at_ms, unsigned http_status, const struct store_usage *u) {
    if (!u->present) return SQLITE_OK;
    struct store_charge c = {.attempt = attempt,
                             .kind = STORE_CALL_QUEUE,
                             .owner = f->owner,
                             .key_id = f->key_id,
                             .endpoint = f->endpoint,
                             .started_ms = f->attempt_ms,
                             .at_ms = at_ms,
                             .http_status = http_status,
                             .usage = *u};
    memcpy(c.id, id, strnlen(id, sizeof c.id - 1));
    return sqlite_charge_attempt(s, &c);
}

static int charge_lease(struct sqlite_store *s, struct op *op, const struct found *f) {
    return charge(s, op->in.lease.id, f, op->in.lease.attempt, op->in.lease.at_ms, 0,
                  &op->in.lease.usage);
}

static int apply_retry(struct sqlite_store *s, struct op *op) {
    struct found f;
    int rc = find(s, op, op->in.lease.id, op->in.lease.usage.present, &f);
    if (rc == SQLITE_ROW)
        rc = sqlite_read_row(s->statements[ST_ROW], op, op->in.lease.id, STORE_INPUT);
    if (rc != SQLITE_ROW) return not_found(rc);
    struct binder b = start(s, ST_RETRY);
    put_int(&b, f.seq);
    put_int(&b, op->in.lease.attempt);
    put_int(&b, (int64_t)op->in.lease.token);
    put_lease(&b, &op->in.lease.lease);
    put_int(&b, op->in.lease.at_ms);
    rc = run(&b);
    if (rc != SQLITE_OK || !changed(s)) return rc != SQLITE_OK ? rc : stale(op);
    reply_leased_row(s, op, 0);
    return charge_lease(s, op, &f);
}

static int apply_release(struct sqlite_store *s, struct op *op) {
    struct found f;
    int rc = find(s, op, op->in.lease.id, op->in.lease.usage.present, &f);
    if (rc != SQLITE_ROW) return not_found(rc);
    struct binder b = start(s, ST_RELEASE);
    put_int(&b, f.seq);
    put_int(&b, op->in.lease.attempt);
    put_int(&b, (int64_t)op->in.lease.token);
    rc = run(&b);
    if (rc != SQLITE_OK || !changed(s)) return rc != SQLITE_OK ? rc : stale(op);
    return charge_lease(s, op, &f);
}

/* --- log lines */

static int write_logs(struct sqlite_store *s, int64_t seq, const struct store_log *lines,
                      size_t n) {
    int64_t last = 0;
    int rc = n > 0 ? ask_int(s, ST_LOG_LAST, seq, &last) : SQLITE_OK;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        struct binder b = start(s, ST_LOG);
        put_int(&b, seq);
        put_int(&b, ++last);
        put_int(&b, lines[i].at_ms);
        put_text(&b, lines[i].level);
        put_text(&b, lines[i].message);
        rc = run(&b);
    }
    return rc;
}

static bool of_one_attempt(const struct store_log *a, const struct store_log *b) {
    return a->attempt == b->attempt && a->token == b->token && strcmp(a->id, b->id) == 0;
}

/* The row that may have this line, 0: none. */
static int find_logged(struct sqlite_store *s, const struct store_log *line, int64_t *seq) {
    struct binder b = start(s, ST_LOG_FIND);
    put_text(&b, slice_of(line->id));
    put_int(&b, line->attempt);
    put_int(&b, (int64_t)line->token);
    int rc = next(&b);
    *seq = rc == SQLITE_ROW ? sqlite3_column_int64(b.st, 0) : 0;
    finish(&b);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int apply_log(struct sqlite_store *s, struct op *op) {
    const struct store_log *lines = op->in.log.lines;
    int rc = SQLITE_OK;
    for (size_t i = 0, n; i < op->in.log.n && rc == SQLITE_OK; i += n) {
        int64_t seq;
        for (n = 1; i + n < op->in.log.n && of_one_attempt(&lines[i], &lines[i + n]);) n++;
        rc = find_logged(s, &lines[i], &seq);
        if (rc == SQLITE_OK && seq != 0) rc = write_logs(s, seq, lines + i, n);
    }
    return rc;
}

/* --- the end of a request */

static int write_result(struct sqlite_store *s, const struct found *f,
                        const struct store_complete *in) {
    struct binder b = start(s, ST_RESULT);
    put_int(&b, f->seq);
    put_int(&b, in->http_status);
    put_text(&b, in->error);
    put_text(&b, in->error_type);
    put_int(&b, in->inference_ms);
    put_blob(&b, in->headers);
    put_blob(&b, in->body);
    int rc = run(&b);
    if (rc == SQLITE_OK)
        rc = charge(s, in->id, f, in->attempt, in->completed_ms, in->http_status, &in->usage);
    if (rc == SQLITE_OK && broken(BROKEN_TWO_CHARGES))
        rc = charge(s, in->id, f, in->attempt + 1, in->completed_ms, 0, &in->usage);
    if (rc == SQLITE_OK) rc = write_logs(s, f->seq, in->logs, in->nlogs);
    if (rc == SQLITE_OK && in->forget_ms > 0) rc = run_with(s, ST_DROP_INPUT, f->seq);
    if (rc == SQLITE_OK && f->cancelled) rc = run_with(s, ST_CANCEL_OVER, f->seq);
    if (rc != SQLITE_OK || !f->has_webhook) return rc;
    b = start(s, ST_OUTBOX);
    put_int(&b, f->seq);
    put_int(&b, in->completed_ms);
    return run(&b);
}

/* 0 says that it is not COMPLETED, whatever the clock says. */
static int64_t completed_ms(const struct store_complete *in) {
    return in->completed_ms != 0 ? in->completed_ms : 1;
}

/* Below 0: not while its webhook waits. */
static int64_t forget_ms(const struct found *f, const struct store_complete *in) {
    return f->has_webhook ? -in->forget_ms : in->forget_ms;
}

/* BREAK=late-write: whatever the row is by now, this result counts. */
static void make_room(struct sqlite_store *s, int64_t seq, const struct store_complete *in) {
    char text[320];
    snprintf(text, sizeof text,
             "UPDATE request SET state = 1, attempt = %" PRIu32 ", token = %" PRId64
             " WHERE seq = %" PRId64 "; DELETE FROM result WHERE seq = %" PRId64
             "; DELETE FROM webhook_outbox WHERE seq = %" PRId64,
             in->attempt, (int64_t)in->token, seq, seq, seq);
    sqlite3_exec(s->writer.db, text, NULL, NULL, NULL);
}

static int apply_complete(struct sqlite_store *s, struct op *op) {
    const struct store_complete *in = &op->in.complete;
    struct found f;
    int rc = find(s, op, in->id, in->usage.present, &f);
    if (rc != SQLITE_ROW) return not_found(rc);
    if (broken(BROKEN_LATE_WRITE)) make_room(s, f.seq, in);
    struct binder b = start(s, ST_COMPLETE);
    put_int(&b, f.seq);
    put_int(&b, in->attempt);
    put_int(&b, (int64_t)in->token);
    put_int(&b, completed_ms(in));
    put_int(&b, forget_ms(&f, in));
    rc = run(&b);
    if (rc != SQLITE_OK || !changed(s)) return rc != SQLITE_OK ? rc : stale(op);
    return write_result(s, &f, in);
}

static int apply_finish_waiting(struct sqlite_store *s, struct op *op) {
    const struct store_complete *in = &op->in.complete;
    struct found f;
    int rc = find(s, op, in->id, in->usage.present, &f);
    if (rc != SQLITE_ROW) return not_found(rc);
    struct binder b = start(s, ST_FINISH);
    put_int(&b, f.seq);
    put_int(&b, in->attempt);
    put_int(&b, completed_ms(in));
    put_int(&b, forget_ms(&f, in));
    rc = run(&b);
    if (rc != SQLITE_OK || !changed(s)) return rc != SQLITE_OK ? rc : stale(op);
    return write_result(s, &f, in);
}

static int apply_request_cancel(struct sqlite_store *s, struct op *op) {
    struct found f;
    int rc = find(s, op, op->in.one.id, false, &f);
    if (rc != SQLITE_ROW) return not_found(rc);
    op->reply.state = f.state;
    struct binder b = start(s, ST_CANCEL);
    put_int(&b, f.seq);
    put_int(&b, op->in.one.at_ms);
    rc = run(&b);
    return rc == SQLITE_OK && changed(s) ? run_with(s, ST_CANCEL_MARK, f.seq) : rc;
}

int sqlite_forget(struct sqlite_store *s, int64_t seq) {
    static const enum statement parts[] = {ST_SWEEP_LOG, ST_SWEEP_RESULT, ST_DROP_INPUT,
                                           ST_SWEEP_WEBHOOK, ST_SWEEP_REQUEST};
    int rc = SQLITE_OK;
    for (size_t k = 0; k < sizeof parts / sizeof *parts && rc == SQLITE_OK; k++)
        rc = run_with(s, parts[k], seq);
    return rc;
}

/* Keys that are over take what room is left, and are counted: as many as there is room for says that there may be more. */
static int sweep_keys(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_KNOWN_OLD);
    put_int(&b, op->in.one.at_ms);
    put_int(&b, (int64_t)(op->in.one.max - op->reply.swept));
    int rc = run(&b);
    if (rc == SQLITE_OK) op->reply.swept += (size_t)sqlite3_changes(s->writer.db);
    return rc;
}

static int apply_sweep(struct sqlite_store *s, struct op *op) {
    int64_t seq;
    int rc = ask_int(s, ST_SWEEP_NEXT, op->in.one.at_ms, &seq);
    while (rc == SQLITE_OK && seq != 0 && op->reply.swept < op->in.one.max) {
        rc = sqlite_forget(s, seq);
        op->reply.swept++;
        if (rc == SQLITE_OK) rc = ask_int(s, ST_SWEEP_NEXT, op->in.one.at_ms, &seq);
    }
    if (rc == SQLITE_OK) rc = sweep_keys(s, op);
    return rc == SQLITE_OK ? ask_int(s, ST_SWEEP_LEFT, 0, &op->reply.forget_ms) : rc;
}

static int apply_ping(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_PING);
    put_int(&b, (int64_t)op->ticket);
    return run(&b);
}

int sqlite_apply(struct sqlite_store *s, struct op *op) {
    static int (*const apply[OP_WRITES])(struct sqlite_store *s, struct op *op) = {
        [OP_JOIN] = sqlite_join,
        [OP_BEAT] = sqlite_beat,
        [OP_BURY] = sqlite_bury,
        [OP_LEAVE] = sqlite_leave,
        [OP_SUBMIT] = apply_submit,
        [OP_CLAIM] = apply_claim,
        [OP_RETRY] = apply_retry,
        [OP_RELEASE] = apply_release,
        [OP_COMPLETE] = apply_complete,
        [OP_FINISH_WAITING] = apply_finish_waiting,
        [OP_REQUEST_CANCEL] = apply_request_cancel,
        [OP_SWEEP] = apply_sweep,
        [OP_LOG] = apply_log,
        [OP_PING] = apply_ping,
        [OP_LEDGER_ADD] = sqlite_ledger_add,
        [OP_DROP_PAYLOAD] = sqlite_drop_payload,
        [OP_FILE_ADD] = sqlite_file_add,
        [OP_FILE_FINISH] = sqlite_file_finish,
        [OP_FILE_SET_ACL] = sqlite_file_set_acl,
        [OP_FILE_REMOVE] = sqlite_file_remove,
        [OP_WEBHOOK_NOTE] = sqlite_webhook_note,
        [OP_WEBHOOK_REPLAY] = sqlite_webhook_replay,
        [OP_KEY_ADD] = sqlite_key_add,
        [OP_KEY_REVOKE] = sqlite_key_revoke,
        [OP_RETAIN] = sqlite_retain,
    };
    return apply[op->kind](s, op);
}
