/* What is too old or too much goes: the earliest end first, whatever kind it is of.
 *
 * 1. Rows of the ledger go only with their hour in the table of sums (sqlite_hours.c): a start would not find them again.
 * 2. A request whose webhook waits stays; the look goes on behind it, some of them at a time.
 * 3. A transaction that removes is shared with submits: it takes TAKES_NS and ends, and the next one goes on. */
#include "store/sqlite_ledger.h"

#define HOUR_MS 3600000
#define TAKES_NS 4000000ULL
#define SKIPS 1000U /* requests that stay, in one operation */
/* Free pages are kept for what comes next: 4 MiB, or an eighth of the file. */
#define FREE_PAGES 1024
#define FREE_SHARE 8

enum kind { REQUEST, LEDGER, DIRECT, WEBHOOK, KINDS };

struct look {
    const struct store_retention *wanted;
    struct op *op;
    uint64_t until_ns;
    unsigned gone[KINDS], skipped;
    bool there[KINDS];
    int64_t key[KINDS], at_ms[KINDS]; /* of the earliest */
};

/* One goes, however slow the machine is. */
static bool time_is_over(const struct look *l) {
    return l->op->reply.swept > 0 && uv_hrtime() >= l->until_ns;
}

/* --- the earliest of each kind */

/* SQLITE_ROW: one that may go. SQLITE_DONE: none. */
static int find_request(struct sqlite_store *s, struct look *l) {
    struct binder b = start(s, ST_OLD_REQUEST);
    int rc;
    put_int(&b, s->retain_from);
    while ((rc = next(&b)) == SQLITE_ROW) {
        int64_t place = sqlite3_column_int64(b.st, 1);
        l->key[REQUEST] = sqlite3_column_int64(b.st, 0);
        l->at_ms[REQUEST] = place >> NUMBER_BITS;
        if (sqlite3_column_int(b.st, 2) == 0 || l->skipped == SKIPS) break;
        s->retain_from = place;
        l->skipped++;
    }
    finish(&b);
    return rc;
}

static int find_row(struct sqlite_store *s, struct look *l, enum kind k, enum statement n) {
    struct binder b = start(s, n);
    int rc = next(&b);
    if (rc == SQLITE_ROW) {
        l->key[k] = sqlite3_column_int64(b.st, 0);
        l->at_ms[k] = sqlite3_column_int64(b.st, 1);
    }
    finish(&b);
    bool of_ledger = k == LEDGER || k == DIRECT;
    if (rc == SQLITE_ROW && of_ledger && l->at_ms[k] / HOUR_MS >= sqlite_hours_end(s))
        return SQLITE_DONE;
    return rc;
}

static int find(struct sqlite_store *s, struct look *l, enum kind k) {
    static const enum statement finds[KINDS] = {
        [LEDGER] = ST_OLD_LEDGER, [DIRECT] = ST_OLD_DIRECT, [WEBHOOK] = ST_OLD_WEBHOOK};
    int rc = k == REQUEST ? find_request(s, l) : find_row(s, l, k, finds[k]);
    l->there[k] = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static enum kind earliest(const struct look *l) {
    enum kind first = KINDS;
    for (unsigned k = 0; k < KINDS; k++)
        if (l->there[k] && (first == KINDS || l->at_ms[k] < l->at_ms[first])) first = (enum kind)k;
    return first;
}

/* --- removing */

static int is_too_much(struct sqlite_store *s, const struct look *l, bool *yes) {
    int64_t pages = 0, free_pages = 0;
    *yes = false;
    if (l->wanted->max_bytes == 0) return SQLITE_OK;
    int rc = sqlite_pages(s, ST_PAGES, &pages);
    if (rc == SQLITE_OK) rc = sqlite_pages(s, ST_FREE_PAGES, &free_pages);
    *yes = (uint64_t)((pages - free_pages) * s->page_bytes) > l->wanted->max_bytes;
    return rc;
}

static int drop(struct sqlite_store *s, struct look *l, enum kind k) {
    static const enum statement drops[KINDS] = {
        [LEDGER] = ST_DROP_LEDGER, [DIRECT] = ST_DROP_DIRECT, [WEBHOOK] = ST_SWEEP_WEBHOOK};
    l->gone[k]++;
    l->op->reply.swept++;
    if (k == REQUEST) return sqlite_forget(s, l->key[k]);
    struct binder b = start(s, drops[k]);
    put_int(&b, l->key[k]);
    return run(&b);
}

/* Until nothing is due, the operation's measure is full or its time is over; then reply.more. */
static int remove_due(struct sqlite_store *s, struct look *l) {
    for (;;) {
        enum kind k = earliest(l);
        if (k == KINDS) return SQLITE_OK;
        bool due = l->at_ms[k] < l->wanted->older_than_ms;
        int rc = due ? SQLITE_OK : is_too_much(s, l, &due);
        if (rc != SQLITE_OK || !due) return rc;
        l->op->reply.more = l->gone[k] == l->wanted->max || l->skipped == SKIPS || time_is_over(l);
        if (l->op->reply.more) return SQLITE_OK;
        rc = drop(s, l, k);
        if (rc == SQLITE_OK) rc = find(s, l, k);
        if (rc != SQLITE_OK) return rc;
    }
}

/* --- free pages back to the disk */

static int shrink(struct sqlite_store *s, struct look *l) {
    int64_t pages = 0, free_pages = 0;
    int rc = sqlite_pages(s, ST_PAGES, &pages);
    if (rc == SQLITE_OK) rc = sqlite_pages(s, ST_FREE_PAGES, &free_pages);
    int64_t kept = pages / FREE_SHARE > FREE_PAGES ? pages / FREE_SHARE : FREE_PAGES;
    int64_t extra = free_pages - kept;
    if (rc != SQLITE_OK || extra <= 0) return rc;
    struct binder b = start(s, ST_VACUUM);
    do {
        rc = next(&b);
    } while (rc == SQLITE_ROW && --extra > 0 && uv_hrtime() < l->until_ns);
    finish(&b);
    l->op->reply.more = extra > 0;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sqlite_retain(struct sqlite_store *s, struct op *op) {
    struct look l = {.wanted = &op->in.retain, .op = op, .until_ns = uv_hrtime() + TAKES_NS};
    int rc = SQLITE_OK;
    sqlite_hours_over(s, op->in.retain.older_than_ms / HOUR_MS);
    for (unsigned k = 0; k < KINDS && rc == SQLITE_OK; k++) rc = find(s, &l, (enum kind)k);
    if (rc == SQLITE_OK) rc = remove_due(s, &l);
    if (rc == SQLITE_OK && !op->reply.more) s->retain_from = 0;
    if (rc == SQLITE_OK && !op->reply.more) rc = shrink(s, &l);
    s->measured_ns = 0;
    return rc;
}
