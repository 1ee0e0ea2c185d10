/* Boots that live. A row says in which life of which boot it is held (request.life); when that life is over its row in
 * `node` is gone, and that alone frees all it held: no row of a request is touched. */
#include "store/sqlite_cells.h"

static int ask_life(struct sqlite_store *s, const char *boot, int64_t *life) {
    struct binder b = start(s, ST_LIFE);
    put_text(&b, slice_of(boot));
    int rc = next(&b);
    *life = rc == SQLITE_ROW ? sqlite3_column_int64(b.st, 0) : 0;
    finish(&b);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Each claim asks, and it is the one that joined last that claims. Should that have been buried, or its join rolled
 * back: its number is in no row of `node`, and what is claimed under it is held by nobody. */
int sqlite_life(struct sqlite_store *s, const char *boot, int64_t *life) {
    *life = s->life;
    return strcmp(boot, s->boot) == 0 ? SQLITE_OK : ask_life(s, boot, life);
}

static int remember(struct sqlite_store *s, const char *boot) {
    s->boot[0] = '\0';
    int rc = ask_life(s, boot, &s->life);
    if (rc == SQLITE_OK) memcpy(s->boot, boot, strlen(boot) + 1);
    return rc;
}

int sqlite_join(struct sqlite_store *s, struct op *op) {
    if (strlen(op->in.node.boot) >= STORE_ID_BYTES) return not_there(op);
    struct binder b = start(s, ST_JOIN_ALONE);
    put_int(&b, op->in.node.alone);
    put_text(&b, op->in.node.node);
    put_text(&b, slice_of(op->in.node.boot));
    int rc = run(&b);
    b = start(s, ST_JOIN_NUMBER);
    if (rc == SQLITE_OK) rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    b = start(s, ST_JOIN);
    put_text(&b, op->in.node.node);
    put_text(&b, slice_of(op->in.node.boot));
    put_int(&b, op->in.node.at_ms);
    rc = run(&b);
    return rc == SQLITE_OK ? remember(s, op->in.node.boot) : rc;
}

/* What others asked to be cancelled of what this boot holds. */
static int reply_cancelled(struct sqlite_store *s, struct op *op) {
    struct store_pending *rows = NULL;
    size_t n = 0, room = 0;
    int64_t life;
    int rc = sqlite_life(s, op->in.node.boot, &life);
    if (rc != SQLITE_OK) return rc;
    struct binder b = start(s, ST_CANCELLED);
    put_int(&b, life);
    while ((rc = next(&b)) == SQLITE_ROW) {
        rows = grow(op, rows, n, &room, sizeof *rows);
        if (rows == NULL) break;
        rows[n] = (struct store_pending){.seq = take_count(b.st, 0), .state = STORE_IN_PROGRESS};
        take_id(op, rows[n++].id, b.st, 1);
    }
    finish(&b);
    op->reply.pending = rows;
    op->reply.npending = n;
    return rc == SQLITE_DONE ? SQLITE_OK : rc == SQLITE_ROW ? SQLITE_NOMEM : rc;
}

int sqlite_beat(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_BEAT);
    put_text(&b, slice_of(op->in.node.boot));
    put_int(&b, op->in.node.at_ms);
    int rc = run(&b);
    if (rc != SQLITE_OK) return rc;
    return changed(s) ? reply_cancelled(s, op) : stale(op);
}

int sqlite_bury(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_BURY);
    put_text(&b, slice_of(op->in.node.boot));
    put_int(&b, (int64_t)op->in.node.beat);
    int rc = run(&b);
    return rc == SQLITE_OK && !changed(s) ? stale(op) : rc;
}

int sqlite_leave(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_LEAVE);
    put_text(&b, slice_of(op->in.node.boot));
    int rc = run(&b);
    return rc == SQLITE_OK && !changed(s) ? stale(op) : rc;
}

int sqlite_nodes(struct sqlite_store *s, struct op *op) {
    struct store_node *rows = NULL;
    size_t n = 0, room = 0;
    int rc;
    struct binder b = start(s, ST_READ_NODES);
    while ((rc = next(&b)) == SQLITE_ROW) {
        rows = grow(op, rows, n, &room, sizeof *rows);
        if (rows == NULL) break;
        rows[n] = (struct store_node){.node = take_text(op, b.st, 1),
                                      .beat = take_count(b.st, 2),
                                      .at_ms = sqlite3_column_int64(b.st, 3)};
        take_id(op, rows[n++].boot, b.st, 0);
    }
    finish(&b);
    op->reply.living = rows;
    op->reply.nliving = n;
    return rc;
}
