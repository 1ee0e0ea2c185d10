#include "kill_books.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_QUEUE, IN_PROGRESS, COMPLETED };
/* A crash is counted when the request is taken up again: the one that ends it is not in its row. */
enum { POISON_CRASHES = 2 };

uint64_t hash_of(const char *bytes, size_t len) {
    uint64_t h = 14695981039346656037U;
    for (size_t i = 0; i < len; i++) h = (h ^ (unsigned char)bytes[i]) * 1099511628211U;
    return h;
}

/* --- reading */

static unsigned prompt_in(const char *text, size_t len) {
    const char *at = text != NULL ? memmem(text, len, "nonce:k", 7) : NULL;
    return at != NULL && at + 14 <= text + len ? (unsigned)strtoul(at + 7, NULL, 10) : UINT_MAX;
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct book_row *)a)->id, ((const struct book_row *)b)->id);
}

static const char rows_sql[] =
    "SELECT r.id, r.state, r.attempt, r.crashes, r.created_ms, r.completed_ms, p.input,"
    "  ifnull(t.http_status, 0), ifnull(t.error_type, ''), t.body,"
    "  (SELECT count(*) FROM ledger l WHERE l.kind = 0 AND l.id = r.id),"
    "  (SELECT ifnull(max(attempt), 0) FROM ledger l WHERE l.kind = 0 AND l.id = r.id),"
    "  (SELECT ifnull(max(http_status), 0) FROM ledger l"
    "    WHERE l.kind = 0 AND l.id = r.id AND l.attempt = r.attempt),"
    "  (SELECT CASE count(*) WHEN 0 THEN -1 WHEN 1 THEN max(state) ELSE 99 END"
    "    FROM webhook_outbox w WHERE w.id = r.id)"
    " FROM request r LEFT JOIN payload p USING(seq) LEFT JOIN result t USING(seq)";

static void read_row(struct book_row *r, sqlite3_stmt *s) {
    snprintf(r->id, sizeof r->id, "%s", sqlite3_column_text(s, 0));
    r->state = (unsigned)sqlite3_column_int(s, 1);
    r->attempt = (unsigned)sqlite3_column_int(s, 2);
    r->crashes = (unsigned)sqlite3_column_int(s, 3);
    r->created_ms = sqlite3_column_int64(s, 4);
    r->completed_ms = sqlite3_column_int64(s, 5);
    r->n = prompt_in(sqlite3_column_blob(s, 6), (size_t)sqlite3_column_bytes(s, 6));
    r->http_status = (unsigned)sqlite3_column_int(s, 7);
    snprintf(r->error_type, sizeof r->error_type, "%s", sqlite3_column_text(s, 8));
    const char *body = sqlite3_column_blob(s, 9);
    size_t len = (size_t)sqlite3_column_bytes(s, 9);
    r->repeats = r->n != UINT_MAX && prompt_in(body, len) == r->n;
    r->body = hash_of(body, len);
    r->charges = (unsigned)sqlite3_column_int(s, 10);
    r->last_charge = (unsigned)sqlite3_column_int(s, 11);
    r->charge_status = (unsigned)sqlite3_column_int(s, 12);
    r->webhook = sqlite3_column_int(s, 13);
}

void books_read(struct books *b, const char *data) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/anyllm.db", data);
    books_read_file(b, path);
}

void books_read_file(struct books *b, const char *path) {
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, rows_sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW) {
        if (b->n == b->cap) {
            b->cap = b->cap == 0 ? 1024 : b->cap * 2;
            b->rows = realloc(b->rows, b->cap * sizeof *b->rows);
            assert_non_null(b->rows);
        }
        read_row(&b->rows[b->n++], s);
    }
    assert_int_equal(sqlite3_finalize(s), SQLITE_OK);
    sqlite3_close(db);
    qsort(b->rows, b->n, sizeof *b->rows, by_id);
}

void books_read_calls(struct books *b, const struct mock *m) {
    yyjson_doc *doc = mock_stats(m);
    yyjson_val *root = yyjson_doc_get_root(doc), *key, *value;
    size_t i, max;
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "uncounted")), 0);
    yyjson_obj_foreach(yyjson_obj_get(root, "calls_by_prompt"), i, max, key, value) {
        unsigned n = prompt_in(yyjson_get_str(key), yyjson_get_len(key));
        if (n < MAX_PROMPTS) b->calls[n] = (unsigned)yyjson_get_uint(value);
    }
    yyjson_doc_free(doc);
}

const struct book_row *books_find(const struct books *b, const char *id) {
    struct book_row wanted;
    if (b->n == 0) return NULL;
    snprintf(wanted.id, sizeof wanted.id, "%s", id);
    return bsearch(&wanted, b->rows, b->n, sizeof *b->rows, by_id);
}

void books_read_deliveries(struct books *b, struct receiver *r) {
    char id[64];
    pthread_mutex_lock(&r->lock);
    for (const struct delivered *d = r->first; d != NULL; d = d->next) {
        unsigned n = (unsigned)strtoul(d->path + 2, NULL, 10);
        if (n >= MAX_PROMPTS) continue;
        b->deliveries[n]++;
        delivered_header(d, "webhook-id", id, sizeof id);
        const struct book_row *row = books_find(b, id);
        b->wrong_ids += row == NULL || row->n != n;
    }
    pthread_mutex_unlock(&r->lock);
}

void books_free(struct books *b) {
    free(b->rows);
    free(b);
}

/* --- one row */

static bool is(const struct book_row *r, unsigned status, const char *error_type) {
    return r->http_status == status && strcmp(r->error_type, error_type) == 0;
}

static bool crashed(const struct book_row *r, unsigned least) {
    return is(r, 503, "runner_disconnected") && r->crashes >= least;
}

static void check_end(const struct book_row *r, enum kind kind, unsigned kills,
                      struct findings *f) {
    bool may_be_cancelled = kind == CANCELLED || kind == FLAKY || kind == LATER;
    if (r->state != COMPLETED) {
        found(f, FOUND_STUCK, "%s is in state %u", r->id, r->state);
        return;
    }
    if (r->http_status == 0) found(f, FOUND_RESULT, "%s has no result", r->id);
    if (r->http_status == 200 && !r->repeats)
        found(f, FOUND_RESULT, "%s has the result of another one", r->id);
    bool known = is(r, 200, "") || (may_be_cancelled && is(r, 499, "client_cancelled")) ||
                 (kind == TIMED && is(r, 504, "request_timeout")) ||
                 crashed(r, kind == NO_RETRY ? 0 : POISON_CRASHES);
    if (!known)
        found(f, FOUND_RESULT, "%s ended with %u %s in attempt %u after %u crashes", r->id,
              r->http_status, r->error_type, r->attempt, r->crashes);
    if (r->crashes + crashed(r, 0) > kills)
        found(f, FOUND_RESULT, "%s: %u crashes, %u kills", r->id, r->crashes, kills);
}

/* The only call that fails is the first of a FLAKY or LATER one, and the mock outlives the kills. */
static void check_calls(const struct book_row *r, enum kind kind, unsigned kills, unsigned calls,
                        struct findings *f) {
    bool fails_once = kind == FLAKY || kind == LATER;
    unsigned most = kind == NO_RETRY ? 1 : 1 + kills + fails_once;
    if (calls > most)
        found(f, FOUND_CALLS, "%s: %u upstream calls with %u kills, not %u at most", r->id, calls,
              kills, most);
    if (calls > r->attempt)
        found(f, FOUND_CALLS, "%s: %u upstream calls in %u attempts", r->id, calls, r->attempt);
    if (calls == 0 && r->http_status == 200)
        found(f, FOUND_CALLS, "%s has an answer that no upstream gave", r->id);
}

/* What a killed attempt used is known to nobody: it has no row. */
static void check_charges(const struct book_row *r, unsigned kills, unsigned calls,
                          struct findings *f) {
    unsigned lost = r->crashes + (r->http_status != 200 && kills > r->crashes);
    if (r->charges > calls || r->charges + lost < calls)
        found(f, FOUND_CHARGE, "%s: %u rows in the ledger, %u calls, %u ended by kills", r->id,
              r->charges, calls, lost);
    if (r->last_charge > r->attempt)
        found(f, FOUND_CHARGE, "%s: charged for attempt %u of %u", r->id, r->last_charge,
              r->attempt);
    if (r->http_status == 200 && r->charge_status != 200)
        found(f, FOUND_CHARGE, "%s: the attempt that answered is not charged", r->id);
}

static void check_webhook(const struct book_row *r, enum kind kind, unsigned deliveries,
                          struct findings *f) {
    enum { DELIVERED = 1 };
    if (kind != HOOK && (r->webhook >= 0 || deliveries > 0))
        found(f, FOUND_WEBHOOK, "%s has a webhook", r->id);
    if (kind == HOOK && (r->webhook != DELIVERED || deliveries == 0))
        found(f, FOUND_WEBHOOK, "%s: webhook in state %d, %u deliveries", r->id, r->webhook,
              deliveries);
}

static void check_row(const struct books *b, const struct book_row *r, const struct load *l,
                      const struct killed *k, struct findings *f) {
    enum kind kind = l->kind_of[r->n];
    unsigned kills = killed_between(k, r->created_ms, r->completed_ms);
    check_end(r, kind, kills, f);
    check_calls(r, kind, kills, b->calls[r->n], f);
    check_charges(r, kills, b->calls[r->n], f);
    check_webhook(r, kind, b->deliveries[r->n], f);
}

/* --- all */

static void check_accepted(const struct books *b, const struct accepted *a, struct findings *f) {
    const struct book_row *r = books_find(b, a->id);
    if (r == NULL)
        found(f, FOUND_LOST, "%s was accepted and is not there", a->id);
    else if (r->n != a->n)
        found(f, FOUND_RESULT, "%s is another one's request", a->id);
    else if (a->cancel == 202 && !is(r, 499, "client_cancelled"))
        found(f, FOUND_RESULT, "%s: cancelled, and then %u %s", a->id, r->http_status,
              r->error_type);
    else if (a->cancel == 400 && is(r, 499, "client_cancelled"))
        found(f, FOUND_RESULT, "%s: had ended when it was cancelled, and then 499", a->id);
}

/* A crash quarantines one request at most. */
static unsigned poisoned(const struct books *b, const struct load *l) {
    unsigned n = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->rows[i].n < MAX_PROMPTS && l->kind_of[b->rows[i].n] != NO_RETRY)
            n += crashed(&b->rows[i], POISON_CRASHES);
    return n;
}

void books_check(const struct books *b, const struct load *l, const struct killed *k,
                 struct findings *f) {
    unsigned char *seen = calloc(MAX_PROMPTS, 1);
    for (size_t i = 0; i < b->n; i++) {
        const struct book_row *r = &b->rows[i];
        if (r->n >= atomic_load(&l->prompts)) {
            found(f, FOUND_RESULT, "%s is nobody's request", r->id);
            continue;
        }
        if (seen[r->n]++ > 0) found(f, FOUND_TWICE, "prompt %u has two requests", r->n);
        check_row(b, r, l, k, f);
    }
    free(seen);
    for (size_t i = 0; i < atomic_load(&l->naccepted); i++) check_accepted(b, &l->accepted[i], f);
    if (poisoned(b, l) > k->kills)
        found(f, FOUND_RESULT, "%u kills quarantined %u requests", k->kills, poisoned(b, l));
    if (b->wrong_ids > 0) found(f, FOUND_WEBHOOK, "%u deliveries of another id", b->wrong_ids);
}

struct sums {
    unsigned kinds[KINDS], calls, most_calls, most_no_retry, charges, crashes, ended, poison;
    unsigned deliveries, again;
};

static void add_row(struct sums *s, const struct books *b, const struct book_row *r,
                    enum kind kind) {
    unsigned calls = b->calls[r->n], *most = &s->most_calls;
    if (kind == NO_RETRY) most = &s->most_no_retry;
    if (calls > *most) *most = calls;
    s->kinds[kind]++;
    s->calls += calls;
    s->charges += r->charges;
    s->crashes += r->crashes + crashed(r, 0);
    s->ended += crashed(r, 0);
    s->poison += kind != NO_RETRY && crashed(r, POISON_CRASHES);
    s->deliveries += b->deliveries[r->n];
    if (b->deliveries[r->n] > 1) s->again += b->deliveries[r->n] - 1;
}

static void print_sums(const struct sums *s, const struct load *l, const struct findings *f) {
    print_message("# T2: %u upstream calls, at most %u for one request and %u with no-retry "
                  "(%u such), %u too many; %u charges, %u wrong; %u attempts ended by kills, %u "
                  "requests by one with no-retry, %u by three\n",
                  s->calls, s->most_calls, s->most_no_retry, s->kinds[NO_RETRY],
                  f->count[FOUND_CALLS], s->charges, f->count[FOUND_CHARGE], s->crashes,
                  s->ended - s->poison, s->poison);
    if (s->kinds[HOOK] > 0)
        print_message("# T2: %u webhooks, %u deliveries, %u of them a second time, %u wrong\n",
                      s->kinds[HOOK], s->deliveries, s->again, f->count[FOUND_WEBHOOK]);
    if (l->keys > 0)
        print_message("# T15: %u idempotency keys, each from %u clients at once: %u requests, %u "
                      "twice; another body refused %u of %u\n",
                      l->keys, COPIES, s->kinds[KEYED], f->count[FOUND_TWICE],
                      atomic_load(&l->other_bodies), l->keys);
}

void books_print(const struct books *b, const struct load *l, struct killed *k,
                 const struct findings *f) {
    struct sums s = {0};
    for (size_t i = 0; i < b->n; i++)
        if (b->rows[i].n < MAX_PROMPTS) add_row(&s, b, &b->rows[i], l->kind_of[b->rows[i].n]);
    print_message("# T1: %u kills, %u accepted (%u without an answer, %u refused): %u lost, %u "
                  "stuck, %u wrong results, %u steps backwards; database damaged %u times\n",
                  k->kills, atomic_load(&l->naccepted), atomic_load(&l->unanswered),
                  atomic_load(&l->refused), f->count[FOUND_LOST], f->count[FOUND_STUCK],
                  f->count[FOUND_RESULT], f->count[FOUND_BACK], f->count[FOUND_DATABASE]);
    if (k->readies > 0)
        print_message("# T1: listening again %s; ready %s\n", spread(k->listening_ms, k->kills),
                      spread(k->ready_ms, k->readies));
    print_sums(&s, l, f);
}

void books_end(struct load *l, struct receiver *r, struct findings *f) {
    struct killed *k = l->server;
    struct books *b = calloc(1, sizeof *b);
    uint64_t from = now_ms();
    if (!killed_idle(k)) found(f, FOUND_STUCK, "not idle 60 s after the last start");
    print_message("# idle %llu ms after the last of all\n", (unsigned long long)(now_ms() - from));
    killed_stop(k);
    killed_check(k, f);
    books_read(b, k->data);
    books_read_calls(b, &mock);
    if (r != NULL) books_read_deliveries(b, r);
    books_check(b, l, k, f);
    books_print(b, l, k, f);
    books_free(b);
}
