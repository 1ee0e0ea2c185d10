/* The log is written back in pieces, by the writer and between its batches. */
#include "store/sqlite.h"

/* A piece of a log that has grown long is a part of it: each call looks at all frames that are not yet copied, which
 * for many small pieces would cost more than the copying. And more than batches add, or it would grow for ever. */
#define PARTS 100

static int piece_of(const struct sqlite_store *s) {
    int piece = s->checkpoint_pages, part = (s->wal_frames - s->wal_copied) / PARTS;
    if (piece < part) piece = part;
    return piece < 2 * s->wal_added ? 2 * s->wal_added : piece;
}

static bool is_due(struct sqlite_store *s, bool idle) {
    if (s->wal_frames < s->checkpoint_pages) s->checkpoint_at = s->checkpoint_pages;
    return s->wal_frames >= s->checkpoint_at || (idle && s->mark_in_log);
}

int sqlite_checkpoint(struct sqlite_store *s, bool idle, bool *more) {
    int in_wal = 0, copied = 0, piece = piece_of(s);
    *more = false;
    if (!is_due(s, idle)) return SQLITE_OK;
    uint64_t began = uv_hrtime();
    bool held = s->wal_frames - s->wal_copied > 2 * piece && sqlite_leash_hold(s, (uint32_t)piece);
    int rc = sqlite3_wal_checkpoint_v2(s->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal,
                                       &copied);
    if (held) {
        int synced = sqlite_leash_let_go(s);
        if (rc == SQLITE_OK) rc = synced;
    }
    sqlite_note_checkpoint(s, (uv_hrtime() - began) / 1000);
    *more = rc == SQLITE_OK && held && copied > s->wal_copied;
    if (rc == SQLITE_OK) s->wal_copied = copied;
    bool all = rc == SQLITE_OK && in_wal == copied;
    if (all) {
        s->checkpoint_at = s->checkpoint_pages;
        s->mark_in_log = false;
    } else if (!*more) /* a reader holds the rest back: again one piece later */
        s->checkpoint_at = s->wal_frames + s->checkpoint_pages;
    return rc;
}
