/* Files: what is known of a blob. */
#include "store/sqlite_cells.h"

#define PAGE_MAX 10000U

static struct slice hash(const unsigned char sha256[32]) {
    return slice_make((const char *)sha256, 32);
}

int sqlite_file_add(struct sqlite_store *s, struct op *op) {
    const struct store_file *f = &op->in.file;
    struct binder b = start(s, ST_FILE_ADD);
    put_text(&b, slice_of(f->id));
    put_int(&b, f->state);
    put_text(&b, f->owner);
    put_text(&b, f->name);
    put_text(&b, f->content_type);
    put_text(&b, f->acl);
    put_int(&b, (int64_t)f->bytes);
    put_blob(&b, hash(f->sha256));
    put_int(&b, f->created_ms);
    put_int(&b, f->lifetime_ms);
    put_int(&b, f->expires_ms);
    return run(&b);
}

/* No row was as the statement asked: another by now, or none. */
static int unchanged(struct sqlite_store *s, struct op *op, const char *id) {
    struct binder b = start(s, ST_FILE_THERE);
    put_text(&b, slice_of(id));
    int rc = next(&b);
    finish(&b);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return rc;
    return rc == SQLITE_ROW ? stale(op) : not_there(op);
}

int sqlite_file_finish(struct sqlite_store *s, struct op *op) {
    const struct store_file *f = &op->in.file;
    struct binder b = start(s, ST_FILE_FINISH);
    put_text(&b, slice_of(f->id));
    put_int(&b, (int64_t)f->bytes);
    put_blob(&b, hash(f->sha256));
    put_text(&b, f->content_type);
    put_int(&b, f->expires_ms);
    int rc = run(&b);
    return rc != SQLITE_OK || changed(s) ? rc : unchanged(s, op, f->id);
}

int sqlite_file_set_acl(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_FILE_SET_ACL);
    put_text(&b, slice_of(op->in.one.id));
    put_text(&b, op->in.one.text);
    int rc = run(&b);
    return rc != SQLITE_OK || changed(s) ? rc : not_there(op);
}

int sqlite_file_remove(struct sqlite_store *s, struct op *op) {
    const struct store_file *f = &op->in.file;
    struct binder b = start(s, ST_FILE_REMOVE);
    put_text(&b, slice_of(f->id));
    put_int(&b, f->state);
    put_int(&b, (int64_t)f->bytes);
    put_int(&b, f->expires_ms);
    int rc = run(&b);
    return rc != SQLITE_OK || changed(s) ? rc : unchanged(s, op, f->id);
}

/* --- reading */

static void take_file(struct op *op, sqlite3_stmt *st, struct store_file *f) {
    *f = (struct store_file){.state = (enum store_file_state)sqlite3_column_int(st, 1)};
    take_id(op, f->id, st, 0);
    f->owner = take_text(op, st, 2);
    f->name = take_text(op, st, 3);
    f->content_type = take_text(op, st, 4);
    f->acl = take_text(op, st, 5);
    f->bytes = take_count(st, 6);
    take_hash(op, f->sha256, st, 7);
    f->created_ms = sqlite3_column_int64(st, 8);
    f->lifetime_ms = sqlite3_column_int64(st, 9);
    f->expires_ms = sqlite3_column_int64(st, 10);
}

/* At most `limit` rows of the statement; reply.more when it has another. */
static int take_files(struct op *op, struct binder *b, size_t limit) {
    struct store_file *files = NULL;
    size_t n = 0, room = 0;
    int rc;
    while ((rc = next(b)) == SQLITE_ROW && n < limit) {
        files = grow(op, files, n, &room, sizeof *files);
        if (files == NULL) break;
        take_file(op, b->st, &files[n++]);
    }
    op->reply.more = rc == SQLITE_ROW;
    op->reply.files = files;
    op->reply.nfiles = n;
    finish(b);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

int sqlite_file_get(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_READ_FILE);
    put_text(&b, slice_of(op->in.one.id));
    int rc = take_files(op, &b, 1);
    if (rc == SQLITE_DONE && op->reply.nfiles == 0) op->reply.status = STORE_NOT_FOUND;
    return rc;
}

int sqlite_files(struct sqlite_store *s, struct op *op) {
    const struct store_file_query *q = &op->in.files;
    unsigned limit = q->limit == 0 || q->limit > PAGE_MAX ? PAGE_MAX : q->limit;
    struct binder b = start(s, q->owner.len > 0           ? ST_FILES_OF_OWNER
                               : q->expires_before_ms > 0 ? ST_FILES_EXPIRED
                                                          : ST_FILES_ALL);
    put_text(&b, q->owner);
    put_int(&b, q->expires_before_ms);
    put_text(&b, slice_of(q->after));
    put_int(&b, (int64_t)limit + 1);
    return take_files(op, &b, limit);
}

int sqlite_file_sums(struct sqlite_store *s, struct op *op) {
    struct binder b = start(s, ST_FILE_SUMS);
    struct store_file_sum *sums = NULL;
    size_t n = 0, room = 0;
    int rc;
    while ((rc = next(&b)) == SQLITE_ROW) {
        sums = grow(op, sums, n, &room, sizeof *sums);
        if (sums == NULL) break;
        sums[n].owner = take_text(op, b.st, 0);
        sums[n].files = take_count(b.st, 1);
        sums[n].bytes = take_count(b.st, 2);
        sums[n++].pending = take_count(b.st, 3);
    }
    op->reply.file_sums = sums;
    op->reply.nfile_sums = n;
    finish(&b);
    return rc;
}
