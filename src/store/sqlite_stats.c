/* How the store works, for those who ask at any moment. The lock is held for a copy or an addition. */
#include "store/sqlite_cells.h"

#define MEASURE_EVERY_NS 100000000ULL
#define FRAME_HEAD_BYTES 24 /* of a page in the log */
#define LOG_HEAD_BYTES 32

void sqlite_stats(struct store *base, struct store_stats *out) {
    struct sqlite_store *s = sqlite_of(base);
    uv_mutex_lock(&s->stats_lock);
    *out = s->stats;
    uv_mutex_unlock(&s->stats_lock);
}

static void add(struct store_histogram *h, uint64_t value) {
    unsigned k = 0;
    for (uint64_t v = value >> 1; v > 0 && k < STORE_BUCKETS - 1; v >>= 1) k++;
    h->count++;
    h->sum += value;
    h->buckets[k]++;
}

void sqlite_note_commit(struct sqlite_store *s, size_t ops, uint64_t us) {
    uint64_t frame = (uint64_t)s->page_bytes + FRAME_HEAD_BYTES;
    uv_mutex_lock(&s->stats_lock);
    add(&s->stats.batch, ops);
    add(&s->stats.commit_us, us);
    s->stats.wal_bytes = LOG_HEAD_BYTES + (uint64_t)s->wal_frames * frame;
    uv_mutex_unlock(&s->stats_lock);
}

void sqlite_note_checkpoint(struct sqlite_store *s, uint64_t us) {
    uv_mutex_lock(&s->stats_lock);
    add(&s->stats.checkpoint_us, us);
    uv_mutex_unlock(&s->stats_lock);
}

void sqlite_note_stale(struct sqlite_store *s, uint64_t n) {
    uv_mutex_lock(&s->stats_lock);
    s->stats.stale += n;
    uv_mutex_unlock(&s->stats_lock);
}

int sqlite_pages(struct sqlite_store *s, enum statement n, int64_t *out) {
    struct binder b = start(s, n);
    int rc = next(&b);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(b.st, 0) : 0;
    finish(&b);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* A transaction holds the locks that both questions take: outside of one they would cost as much as a small write. */
int sqlite_measure(struct sqlite_store *s) {
    uint64_t now = uv_hrtime();
    int64_t pages, free_pages;
    if (now - s->measured_ns < MEASURE_EVERY_NS) return SQLITE_OK;
    int rc = sqlite_pages(s, ST_PAGES, &pages);
    if (rc == SQLITE_OK) rc = sqlite_pages(s, ST_FREE_PAGES, &free_pages);
    if (rc != SQLITE_OK) return rc;
    s->measured_ns = now;
    uv_mutex_lock(&s->stats_lock);
    s->stats.bytes = (uint64_t)(pages * s->page_bytes);
    s->stats.free_bytes = (uint64_t)(free_pages * s->page_bytes);
    uv_mutex_unlock(&s->stats_lock);
    return SQLITE_OK;
}
