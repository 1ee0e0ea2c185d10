/* Holds a checkpoint back. SQLite copies all that no reader needs in one call: what a long read has kept in the log, some
 * 100,000 frames of a busy minute, would stop the writer for seconds. A checkpoint never goes beyond a read mark that is
 * held; so one is held some frames further on, as a reader would hold it who began there.
 *
 * Where the marks lie and how they are locked is part of SQLite's file format (walformat.html, 2.2 and 2.3):
 *   0 iVersion   16 mxFrame   96 nBackfill   100 five read marks;   the lock of mark k is 3 + k, mark 0 is not used here;
 *   that of a checkpoint is 1. */
#include "store/sqlite.h"

#include "base/broken.h"
#include "base/log.h"

#include <unistd.h>

#define INDEX_VERSION 3007000U
#define AT_VERSION 0
#define AT_FRAMES 4 /* as 32-bit words */
#define AT_COPIED 24
#define AT_MARKS 25
#define MARKS 5
#define LOCK_OF(mark) (3 + (mark))
#define CHECKPOINT_LOCK 1
#define BUSY_TRIES 50U
#define BUSY_US 100000

static int lock(struct sqlite_leash *l, int slot, int how) {
    return l->file->pMethods->xShmLock(l->file, LOCK_OF(slot), 1, how);
}

/* A file may lie beside a log and not use it; what is mapped then SQLite does not unmap. */
static bool uses_log(sqlite3 *db) {
    sqlite3_stmt *st = NULL;
    bool uses = sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &st, NULL) == SQLITE_OK &&
                sqlite3_step(st) == SQLITE_ROW &&
                strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
    sqlite3_finalize(st);
    return uses;
}

/* SQLITE_OK, or the error. The connection has read something, so that its part of the index is there. */
static int open_leash(struct sqlite_store *s) {
    struct sqlite_leash *l = &s->leash;
    void volatile *head = NULL;
    int rc = sqlite_open_aside(s, &l->db);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(l->db, "SELECT 1 FROM sqlite_schema LIMIT 1", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(l->db, "main", SQLITE_FCNTL_FILE_POINTER, &l->file);
    if (rc == SQLITE_OK && l->file->pMethods->iVersion >= 2 && uses_log(l->db))
        rc = l->file->pMethods->xShmMap(l->file, 0, 32768, 0, &head);
    l->index = head;
    return rc;
}

static void close_leash(struct sqlite_leash *l) {
    sqlite3_close(l->db);
    l->db = NULL;
    l->file = NULL;
    l->index = NULL;
}

static bool is_known(const struct sqlite_leash *l) {
    return l->index != NULL && l->index[AT_VERSION] == INDEX_VERSION;
}

/* Of a failure that is not of the format nothing is kept: the next long log tries again. */
static bool is_open(struct sqlite_store *s) {
    struct sqlite_leash *l = &s->leash;
    if (l->db != NULL || l->unusable) return !l->unusable;
    int rc = open_leash(s);
    if (rc == SQLITE_OK && is_known(l)) return true;
    l->unusable = rc == SQLITE_OK;
    if (l->unusable)
        log_line(LOG_WARN, "checkpoint_in_one",
                 "reason=\"SQLite's wal-index is of a format that is not known\" sqlite=%s",
                 sqlite3_libversion());
    close_leash(l);
    return false;
}

/* As a reader takes a mark: alone to set it, then shared, and it must not have been set anew in between. */
static bool take(struct sqlite_leash *l, int slot, uint32_t frame) {
    if (lock(l, slot, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) != SQLITE_OK) return false;
    l->index[AT_MARKS + slot] = frame;
    lock(l, slot, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
    if (lock(l, slot, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) != SQLITE_OK) return false;
    l->file->pMethods->xShmBarrier(l->file);
    if (l->index[AT_MARKS + slot] == frame) return true;
    lock(l, slot, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
    return false;
}

bool sqlite_leash_hold(struct sqlite_store *s, uint32_t piece) {
    struct sqlite_leash *l = &s->leash;
    if (!is_open(s)) return false;
    uint32_t frame = l->index[AT_COPIED] + piece;
    if (frame >= l->index[AT_FRAMES]) return false;
    for (l->slot = MARKS - 1; l->slot > 0; l->slot--)
        if (take(l, l->slot, frame)) return true;
    return false;
}

/* SQLite syncs the database at the end of the log only: then all pieces' pages at once. */
int sqlite_leash_let_go(struct sqlite_store *s) {
    struct sqlite_leash *l = &s->leash;
    if (l->slot == 0) return SQLITE_OK;
    lock(l, l->slot, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
    l->slot = 0;
    if (broken(BROKEN_SYNC_OFF)) return SQLITE_OK;
    return l->file->pMethods->xSync(l->file, SQLITE_SYNC_NORMAL);
}

static int lock_checkpoints(struct sqlite_leash *l) {
    int rc = SQLITE_BUSY, how = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
    for (unsigned n = 0; n < BUSY_TRIES; n++) {
        rc = l->file->pMethods->xShmLock(l->file, CHECKPOINT_LOCK, 1, how);
        if (rc != SQLITE_BUSY) break;
        usleep(BUSY_US);
    }
    return rc;
}

/* A part that was copied while someone read is noted before it is synced: of that the machine's memory may know, the disk not. */
int sqlite_leash_copy_anew(struct sqlite_store *s) {
    struct sqlite_leash *l = &s->leash;
    int rc = open_leash(s);
    bool known = rc == SQLITE_OK && is_known(l);
    if (known) rc = lock_checkpoints(l);
    if (known && rc == SQLITE_OK) {
        l->index[AT_COPIED] = 0;
        l->file->pMethods->xShmLock(l->file, CHECKPOINT_LOCK, 1,
                                    SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
    }
    close_leash(l);
    return rc;
}

void sqlite_leash_free(struct sqlite_store *s) {
    close_leash(&s->leash);
}
