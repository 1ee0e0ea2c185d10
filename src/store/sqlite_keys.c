/* Keys made while the server runs. */
#include "store/sqlite_cells.h"

int sqlite_key_add(struct sqlite_store *s, struct op *op) {
    const struct store_key *k = &op->in.key;
    struct binder b = start(s, ST_KEY_ADD);
    put_text(&b, k->id);
    put_text(&b, k->alias);
    put_text(&b, k->owner);
    put_int(&b, k->scope);
    put_blob(&b, slice_make((const char *)k->sha256, sizeof k->sha256));
    put_int(&b, k->created_ms);
    put_int(&b, k->expires_ms);
    put_int(&b, k->revoked_ms);
    return run(&b);
}

/* Revoked is revoked: the first time stays. */
int sqlite_key_revoke(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_KEY_REVOKE);
    put_text(&b, op->in.one.text);
    put_int(&b, op->in.one.at_ms);
    int rc = run(&b);
    return rc != SQLITE_OK || changed(s) ? rc : not_there(op);
}

static void take_key(struct op *op, sqlite3_stmt *st, struct store_key *k) {
    *k = (struct store_key){.scope = (unsigned)sqlite3_column_int64(st, 3)};
    k->id = take_text(op, st, 0);
    k->alias = take_text(op, st, 1);
    k->owner = take_text(op, st, 2);
    take_hash(op, k->sha256, st, 4);
    k->created_ms = sqlite3_column_int64(st, 5);
    k->expires_ms = sqlite3_column_int64(st, 6);
    k->revoked_ms = sqlite3_column_int64(st, 7);
}

int sqlite_keys(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_READ_KEYS);
    struct store_key *keys = NULL;
    size_t n = 0, room = 0;
    int rc;
    while ((rc = next(&b)) == SQLITE_ROW) {
        keys = grow(op, keys, n, &room, sizeof *keys);
        if (keys == NULL) break;
        take_key(op, b.st, &keys[n++]);
    }
    op->reply.keys = keys;
    op->reply.nkeys = n;
    finish(&b);
    return rc;
}
