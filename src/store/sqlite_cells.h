/* Values into statements and out of rows. */
#ifndef ANYLLM_STORE_SQLITE_CELLS_H
#define ANYLLM_STORE_SQLITE_CELLS_H

#include "store/sqlite.h"

/* Binds one column after the other; the first failure stays. */
struct binder {
    sqlite3_stmt *st;
    int at, rc;
};

static inline struct binder start(struct sqlite_store *s, enum statement n) {
    return (struct binder){s->statements[n], 0, SQLITE_OK};
}

static inline void note(struct binder *b, int rc) {
    if (b->rc == SQLITE_OK) b->rc = rc;
}

static inline void put_int(struct binder *b, int64_t v) {
    note(b, sqlite3_bind_int64(b->st, ++b->at, v));
}

/* NULL when it is not known. */
static inline void put_known(struct binder *b, bool known, int64_t v) {
    if (known)
        put_int(b, v);
    else
        note(b, sqlite3_bind_null(b->st, ++b->at));
}

static inline void put_text(struct binder *b, struct slice s) {
    note(b, sqlite3_bind_text64(b->st, ++b->at, s.ptr != NULL ? s.ptr : "", s.len, SQLITE_STATIC,
                                SQLITE_UTF8));
}

static inline void put_blob(struct binder *b, struct slice s) {
    note(b, sqlite3_bind_blob64(b->st, ++b->at, s.ptr != NULL ? s.ptr : "", s.len, SQLITE_STATIC));
}

/* The next row: SQLITE_ROW, SQLITE_DONE or the error. */
static inline int next(struct binder *b) {
    return b->rc == SQLITE_OK ? sqlite3_step(b->st) : b->rc;
}

/* Takes the bound values back. */
static inline int finish(struct binder *b) {
    int rc = sqlite3_reset(b->st);
    sqlite3_clear_bindings(b->st);
    return b->rc != SQLITE_OK ? b->rc : rc;
}

/* Runs it to its end. SQLITE_OK or the error. */
static inline int run(struct binder *b) {
    if (b->rc == SQLITE_OK) sqlite3_step(b->st);
    return finish(b);
}

static inline bool changed(struct sqlite_store *s) {
    return sqlite3_changes(s->writer.db) > 0;
}

/* --- out of rows */

/* SQLite gives NULL for an empty value, and where memory for one is short: then the whole read has failed, or a request
 * would have no input and a result would be gone. */
static inline void look_at_value(struct op *op, sqlite3_stmt *st, const void *value) {
    if (value == NULL && (sqlite3_errcode(sqlite3_db_handle(st)) & 0xff) == SQLITE_NOMEM)
        op->mem.failed = true;
}

static inline struct slice take_text(struct op *op, sqlite3_stmt *st, int column) {
    const unsigned char *text = sqlite3_column_text(st, column);
    look_at_value(op, st, text);
    return arena_copy(&op->mem,
                      slice_make((const char *)text, (size_t)sqlite3_column_bytes(st, column)));
}

static inline struct slice take_blob(struct op *op, sqlite3_stmt *st, int column) {
    const void *bytes = sqlite3_column_blob(st, column);
    look_at_value(op, st, bytes);
    return arena_copy(&op->mem, slice_make(bytes, (size_t)sqlite3_column_bytes(st, column)));
}

static inline uint64_t take_count(sqlite3_stmt *st, int column) {
    return (uint64_t)sqlite3_column_int64(st, column);
}

/* Rows are written with ids shorter than out. */
static inline void take_id(struct op *op, char out[STORE_ID_BYTES], sqlite3_stmt *st, int column) {
    const unsigned char *text = sqlite3_column_text(st, column);
    look_at_value(op, st, text);
    size_t len = (size_t)sqlite3_column_bytes(st, column);
    if (text == NULL) len = 0;
    if (len >= STORE_ID_BYTES) len = STORE_ID_BYTES - 1;
    if (len > 0) memcpy(out, text, len);
    out[len] = '\0';
}

/* A hash; all zeros when there is none. */
static inline void take_hash(struct op *op, unsigned char out[32], sqlite3_stmt *st, int column) {
    const void *bytes = sqlite3_column_blob(st, column);
    look_at_value(op, st, bytes);
    memset(out, 0, 32);
    if (bytes != NULL && sqlite3_column_bytes(st, column) == 32) memcpy(out, bytes, 32);
}

/* An array in the arena that doubles; what it outgrows stays there until the reply is freed. NULL: out of memory. */
static inline void *grow(struct op *op, void *old, size_t n, size_t *room, size_t each) {
    if (n < *room) return old;
    size_t want = *room == 0 ? 16 : *room * 2;
    void *p = want <= SIZE_MAX / each ? arena_alloc(&op->mem, want * each) : NULL;
    if (p == NULL) return NULL;
    if (n > 0) memcpy(p, old, n * each);
    *room = want;
    return p;
}

/* --- what an operation answers */

static inline int stale(struct op *op) {
    op->reply.status = STORE_STALE;
    return SQLITE_OK;
}

static inline int not_there(struct op *op) {
    op->reply.status = STORE_NOT_FOUND;
    return SQLITE_OK;
}

#endif
