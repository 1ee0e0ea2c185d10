/* How long things are kept, what is told of it, and what a disk that loses what it synced ends. On SQLite. */
#include "store/fault_vfs.h"
#include "store/store_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define HOUR_MS 3600000LL
#define OLD_MS (1000 * HOUR_MS) /* when what is old ended */
#define BIG 20000U

static int64_t ask(struct fixture *f, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    int rc = sqlite3_step(st);
    int64_t n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static uint64_t give_retention(struct fixture *f, int64_t older_than_ms, uint64_t max_bytes,
                               unsigned max) {
    struct store_retention r = {older_than_ms, max_bytes, max};
    uint64_t ticket = begin_giving(f);
    f->store->backend->retain(f->store, ticket, &r);
    return end_giving(f);
}

/* Until nothing is left to do. How many rows went. */
static size_t retain_all(struct fixture *f, int64_t older_than_ms, uint64_t max_bytes) {
    size_t gone = 0;
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t t = give_retention(f, older_than_ms, max_bytes, 50);
        assert_int_equal(status_of(f, t), STORE_OK);
        gone += f->answers[t].swept;
        if (!f->answers[t].more) return gone;
    }
    fail_msg("it never ends");
    return 0;
}

struct wanted {
    unsigned n;
    int64_t ended_ms;
    size_t input_bytes;
    bool webhook, charged;
};

/* A request from its submit to its end, with two log lines. */
static void complete(struct fixture *f, struct wanted w) {
    static char input[BIG];
    memset(input, 'i', sizeof input);
    const char *id = id_of(w.n);
    struct store_submit in = {.id = id,
                              .endpoint = SLICE("a/b"),
                              .owner = w.n % 2 ? SLICE("app1") : SLICE("app2"),
                              .webhook = w.webhook ? SLICE("http://h/") : SLICE_NONE,
                              .input = slice_make(input, w.input_bytes),
                              .created_ms = w.ended_ms - 5};
    struct store_log lines[] = {{.id = id, .level = SLICE("INFO"), .message = SLICE("one")},
                                {.id = id, .level = SLICE("INFO"), .message = SLICE("two")}};
    struct store_complete c = completion(id, 1, 7);
    c.completed_ms = w.ended_ms;
    c.logs = lines;
    c.nlogs = 2;
    if (w.charged)
        c.usage = (struct store_usage){.present = true, .has_cost = true, .cost_microusd = 10};
    give_submit(f, &in);
    give_claim(f, id, 0, "boot-1", 7);
    give_complete(f, &c);
}

static struct wanted plain(unsigned n, int64_t ended_ms) {
    return (struct wanted){.n = n, .ended_ms = ended_ms, .input_bytes = 100};
}

static bool is_there(struct fixture *f, unsigned n) {
    return READ(f, ask_row(f, id_of(n), 0)) == STORE_OK;
}

static void charge_direct(struct fixture *f, int64_t at_ms) {
    struct store_charge row = {
        .id = "call", .kind = STORE_CALL_RUN, .owner = SLICE("app1"), .at_ms = at_ms};
    row.usage = (struct store_usage){.present = true, .has_cost = true, .cost_microusd = 10};
    give_charges(f, &row, 1);
}

/* All that the ledger says was spent. */
static int64_t cost(struct fixture *f) {
    struct store_ledger_query q = {.bucket_ms = HOUR_MS};
    assert_int_equal(READ(f, ask_sums(f, &q)), STORE_OK);
    int64_t sum = 0;
    for (size_t i = 0; i < f->nsums; i++) sum += f->sums[i].cost_microusd;
    return sum;
}

/* --- by age */

static void what_ended_before_goes_with_all_that_belongs_to_it(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 6; n++) complete(f, plain(n, OLD_MS + n));
    fixture_settle(f);
    assert_int_equal(retain_all(f, OLD_MS + 4, 0), 4);
    for (unsigned n = 0; n < 6; n++) assert_int_equal(is_there(f, n), n >= 4);
    assert_int_equal(ask(f, "SELECT count(*) FROM payload"), 2);
    assert_int_equal(ask(f, "SELECT count(*) FROM result"), 2);
    assert_int_equal(ask(f, "SELECT count(*) FROM log"), 4);
}

static void what_is_not_completed_stays_however_old_it_is(void **state) {
    struct fixture *f = *state;
    give_id(f, id_of(1));
    give_id(f, id_of(2));
    give_claim(f, id_of(2), 0, "boot-1", 7);
    fixture_settle(f);
    assert_int_equal(retain_all(f, INT64_MAX / 2, 1), 0);
    assert_true(is_there(f, 1) && is_there(f, 2));
}

static void a_request_whose_webhook_waits_stays_and_holds_nobody_up(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 40; n++) {
        struct wanted w = plain(n, OLD_MS + n);
        w.webhook = n < 30;
        complete(f, w);
    }
    fixture_settle(f);
    assert_int_equal(retain_all(f, OLD_MS + 1000, 0), 10);
    for (unsigned n = 0; n < 40; n++) assert_int_equal(is_there(f, n), n < 30);
    struct store_webhook_note note = {
        .id = id_of(3), .state = STORE_WEBHOOK_DELIVERED, .at_ms = OLD_MS};
    assert_int_equal(status_of(f, give_note(f, &note)), STORE_OK);
    assert_int_equal(retain_all(f, OLD_MS + 1000, 0), 1);
    assert_false(is_there(f, 3));
    assert_int_equal(ask(f, "SELECT count(*) FROM webhook_outbox"), 29);
}

/* Version 2 forgot requests and left their webhooks. */
static void a_webhook_without_a_request_goes_when_it_is_old(void **state) {
    struct fixture *f = *state;
    char path[128], *error = NULL;
    sqlite3 *db;
    complete(f, plain(9, OLD_MS));
    fixture_close(f);
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(
        db,
        "UPDATE request SET seq = 10; UPDATE result SET seq = 10;"
        "INSERT INTO webhook_outbox(seq, id, state, owner, endpoint, url, created_ms, due_ms,"
        " ended_ms) VALUES(1, 'seq-1', 2, '', '', 'u', 5, 5, 5),"
        " (2, 'seq-2', 2, '', '', 'u', 5, 5, 9000)",
        NULL, NULL, &error);
    assert_null(error);
    sqlite3_close(db);
    fixture_open(f);
    f->nanswers = f->tickets = 0;
    memset(f->answers, 0, sizeof f->answers);
    assert_int_equal(retain_all(f, 100, 0), 1);
    assert_int_equal(ask(f, "SELECT count(*) FROM webhook_outbox"), 1);
    assert_true(is_there(f, 9));
}

/* --- the ledger */

static void rows_of_the_ledger_go_and_what_was_spent_stays(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 8; n++) {
        struct wanted w = plain(n, OLD_MS + n * HOUR_MS / 2);
        w.charged = true;
        complete(f, w);
        charge_direct(f, OLD_MS + n * HOUR_MS / 2);
    }
    fixture_settle(f);
    assert_int_equal(cost(f), 160);
    retain_all(f, OLD_MS + 2 * HOUR_MS, 0);
    assert_int_equal(ask(f, "SELECT count(*) FROM ledger"), 4);
    assert_int_equal(ask(f, "SELECT count(*) FROM ledger_direct"), 4);
    assert_int_equal(cost(f), 160);
}

/* The hour is in memory alone: it is written before its rows go. */
static void an_hour_without_a_later_row_keeps_its_sum(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 5; n++) charge_direct(f, OLD_MS + n);
    fixture_settle(f);
    assert_int_equal(retain_all(f, OLD_MS + 30 * HOUR_MS, 0), 5);
    assert_int_equal(cost(f), 50);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(cost(f), 50);
    charge_direct(f, OLD_MS + 7); /* late, for an hour that is over */
    fixture_settle(f);
    assert_int_equal(cost(f), 60);
}

static void rows_of_the_hour_that_is_not_over_stay(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 5; n++) charge_direct(f, OLD_MS + n);
    fixture_settle(f);
    assert_int_equal(retain_all(f, OLD_MS + 3, 1), 0);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(cost(f), 50);
}

/* --- by size */

static void too_much_takes_the_earliest_end_first(void **state) {
    struct fixture *f = *state;
    struct store_stats stats;
    for (unsigned n = 0; n < 60; n++) { /* ends in another order than they came */
        struct wanted w = plain(n, OLD_MS + (n * 37) % 60);
        w.input_bytes = BIG;
        complete(f, w);
    }
    fixture_settle(f);
    uint64_t bound = 40 * (uint64_t)BIG;
    size_t gone = retain_all(f, 0, bound);
    assert_in_range(gone, 20, 59);
    for (unsigned n = 0; n < 60; n++) assert_int_equal(is_there(f, n), (n * 37) % 60 >= gone);
    give_ping(f);
    fixture_settle(f);
    f->store->backend->stats(f->store, &stats);
    assert_true(stats.bytes - stats.free_bytes <= bound);
    assert_true(stats.bytes - stats.free_bytes > bound - 2 * BIG); /* and no further */
    assert_int_equal(retain_all(f, 0, bound), 0);
}

static void direct_calls_are_too_much_as_well(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3000; n++) charge_direct(f, OLD_MS + n);
    charge_direct(f, OLD_MS + HOUR_MS);
    fixture_settle(f);
    int64_t before = cost(f);
    size_t gone = retain_all(f, 0, 250000);
    assert_in_range(gone, 100, 3000);
    assert_int_equal(ask(f, "SELECT count(*) FROM ledger_direct"), 3001 - (int64_t)gone);
    assert_int_equal(cost(f), before);
}

static void an_operation_removes_so_many_of_a_kind_at_most(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 30; n++) complete(f, plain(n, OLD_MS));
    fixture_settle(f);
    uint64_t t = give_retention(f, OLD_MS + 1, 0, 7);
    assert_int_equal(status_of(f, t), STORE_OK);
    size_t gone = f->answers[t].swept; /* fewer on a slow machine */
    assert_in_range(gone, 1, 7);
    assert_true(f->answers[t].more);
    assert_int_equal(ask(f, "SELECT count(*) FROM request"), 30 - (int64_t)gone);
}

static void free_pages_go_back_to_the_disk(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 600; n++) {
        struct wanted w = plain(n, OLD_MS + n);
        w.input_bytes = BIG;
        complete(f, w);
        if (n % 50 == 49) fixture_settle(f);
    }
    int64_t before = ask(f, "PRAGMA page_count");
    retain_all(f, OLD_MS + 1000, 0);
    int64_t after = ask(f, "PRAGMA page_count");
    print_message("%lld pages, then %lld\n", (long long)before, (long long)after);
    assert_true(after < before * 2 / 3);
    assert_int_equal(ask(f, "SELECT count(*) FROM pragma_integrity_check"
                            " WHERE integrity_check = 'ok'"),
                     1);
    int64_t free_pages = ask(f, "PRAGMA freelist_count");
    assert_in_range(free_pages, 1, 1024); /* what comes next finds some */
}

/* --- a payload that is dropped */

static void a_dropped_payload_takes_its_log_lines(void **state) {
    struct fixture *f = *state;
    complete(f, plain(1, OLD_MS));
    fixture_settle(f);
    assert_int_equal(status_of(f, give_drop(f, id_of(1), SLICE_NONE)), STORE_OK);
    assert_int_equal(ask(f, "SELECT count(*) FROM log"), 0);
    assert_true(is_there(f, 1));
}

/* --- statistics */

static uint64_t sum_of(const struct store_histogram *h) {
    uint64_t n = 0;
    for (unsigned k = 0; k < STORE_BUCKETS; k++) n += h->buckets[k];
    return n;
}

static void statistics_count_batches_commits_and_what_was_refused(void **state) {
    struct fixture *f = *state;
    struct store_stats s;
    f->store->backend->stats(f->store, &s);
    assert_int_equal(s.batch.count, 0);
    for (unsigned n = 0; n < 20; n++) give_id(f, id_of(n));
    fixture_settle(f);
    give_claim(f, id_of(1), 5, "boot-1", 7);
    fixture_settle(f);
    f->store->backend->stats(f->store, &s);
    assert_int_equal(s.batch.sum, 21);
    assert_in_range(s.batch.count, 2, 21);
    assert_int_equal(sum_of(&s.batch), s.batch.count);
    assert_int_equal(s.commit_us.count, s.batch.count);
    assert_int_equal(sum_of(&s.commit_us), s.batch.count);
    assert_true(s.commit_us.sum > 0);
    assert_int_equal(s.stale, 1);
    assert_true(s.bytes > 0 && s.wal_bytes > 0);
    assert_int_equal(s.check, STORE_UNCHECKED);
}

/* --- a disk that loses what it synced */

/* Runs the loop until it is told, or until everything is answered. */
static void run_until_told(struct fixture *f) {
    if (f->breaks == 0) net_loop_run(&f->loop);
}

/* Every change of a file fails as if a sync of it had: the first is told, nothing is answered, reads go on. */
static void after_a_failed_sync_no_write_is_answered(void **state) {
    struct fixture *f = *state;
    for (unsigned code = 0; code < 2; code++) {
        assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
        fault_at(1, code == 0 ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_DIR_FSYNC, false);
        uint64_t lost = give_id(f, id_of(2));
        run_until_told(f);
        assert_int_equal(f->breaks, 1);
        assert_non_null(strstr(f->why, "fsync failed"));
        uint64_t after = give_id(f, id_of(3));
        for (unsigned i = 0; i < 3; i++) {
            uint64_t read = ask_row(f, id_of(1), 0);
            f->on_answer = NULL;
            while (!f->answers[read].given) uv_run(&f->loop.uv, UV_RUN_ONCE);
            assert_int_equal(f->answers[read].status, STORE_OK);
        }
        assert_false(f->answers[lost].given || f->answers[after].given);
        assert_int_equal(f->breaks, 1);
        fixture_close(f);
        assert_false(f->answers[lost].given || f->answers[after].given);
        fault_clear();
        fixture_fresh(f);
    }
}

/* The second sync from each submit on is one of the checkpoint, or the commit's own when the log began anew. True: the former. */
static bool a_checkpoint_fails(struct fixture *f) {
    static char input[BIG];
    struct store_submit in = {.input = slice_make(input, sizeof input)};
    uint64_t last = 0;
    for (unsigned k = 1; f->breaks == 0; k++) {
        assert_true(k < 500);
        in.id = id_of(k);
        fault_sync(2);
        last = give_submit(f, &in);
        run_until_told(f);
    }
    for (unsigned i = 0; i < 20; i++) uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    if (f->answers[last].given) assert_int_equal(f->answers[last].status, STORE_OK);
    return f->answers[last].given;
}

static void a_failed_sync_of_a_checkpoint_ends_it_too(void **state) {
    struct fixture *f = *state;
    f->wal_checkpoint_pages = 50;
    unsigned tries = 0;
    do {
        fault_clear();
        fixture_fresh(f);
        assert_true(tries++ < 50);
    } while (!a_checkpoint_fails(f));
    uint64_t after = give_id(f, id_of(999));
    for (unsigned i = 0; i < 20; i++) uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    assert_false(f->answers[after].given);
    assert_int_equal(f->breaks, 1);
    fault_clear();
}

#define CYCLES 12U

struct cycle {
    uint64_t submit, complete;
};

static void cycles_until_told(struct fixture *f, struct cycle *cycles) {
    static char input[6000];
    for (unsigned i = 0; i < CYCLES && f->breaks == 0; i++) {
        struct store_submit in = {.id = id_of(i), .input = slice_make(input, sizeof input)};
        struct store_complete c = completion(in.id, 1, 7);
        cycles[i].submit = give_submit(f, &in);
        if (i % 3 == 1) run_until_told(f);
        give_claim(f, in.id, 0, "boot-1", 7);
        cycles[i].complete = give_complete(f, &c);
        run_until_told(f);
    }
}

/* Whatever sync it is: what was answered is there after the next start, and none was answered with anything else. */
static void no_answered_write_is_lost_when_any_sync_fails(void **state) {
    static struct answer answers[MAX_TICKETS];
    struct fixture *f = *state;
    unsigned failed = 0;
    f->wal_checkpoint_pages = 10;
    for (uint64_t k = 1;; k++) {
        struct cycle cycles[CYCLES] = {{0, 0}};
        fault_clear();
        fixture_fresh(f);
        fault_sync(k);
        cycles_until_told(f, cycles);
        bool hit = f->breaks > 0;
        failed += hit;
        fixture_close(f);
        fault_clear();
        memcpy(answers, f->answers, sizeof answers);
        memset(f->answers, 0, sizeof f->answers);
        f->nanswers = f->tickets = 0;
        fixture_open(f);
        for (unsigned i = 0; i < CYCLES; i++) {
            const struct answer *s = &answers[cycles[i].submit], *c = &answers[cycles[i].complete];
            assert_true(!s->given || s->status == STORE_OK);
            assert_true(!c->given || c->status == STORE_OK);
            if (s->given) assert_true(is_there(f, i));
            if (c->given) assert_int_equal(f->row.state, STORE_COMPLETED);
        }
        assert_int_equal(ask(f, "SELECT count(*) FROM pragma_integrity_check"
                                " WHERE integrity_check = 'ok'"),
                         1);
        if (!hit) break;
    }
    print_message("%u syncs failed\n", failed);
    assert_true(failed > 15);
}

static void another_error_of_the_disk_is_tried_again(void **state) {
    static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_IOERR_TRUNCATE, SQLITE_FULL,
                                SQLITE_IOERR};
    struct fixture *f = *state;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        fault_at(1, codes[i], true);
        assert_int_equal(status_of(f, give_id(f, id_of(i))), STORE_UNAVAILABLE);
        assert_false(f->can_write);
        fault_clear();
        assert_int_equal(status_of(f, give_id(f, id_of(i))), STORE_OK);
        assert_true(f->can_write);
    }
    assert_int_equal(f->breaks, 0);
}

static int teardown(void **state) {
    fault_clear();
    return fixture_teardown(state);
}

#define T(name) {#name, name, fixture_setup, teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite keep", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(what_ended_before_goes_with_all_that_belongs_to_it),
        T(what_is_not_completed_stays_however_old_it_is),
        T(a_request_whose_webhook_waits_stays_and_holds_nobody_up),
        T(a_webhook_without_a_request_goes_when_it_is_old),
        T(rows_of_the_ledger_go_and_what_was_spent_stays),
        T(an_hour_without_a_later_row_keeps_its_sum),
        T(rows_of_the_hour_that_is_not_over_stay),
        T(too_much_takes_the_earliest_end_first),
        T(direct_calls_are_too_much_as_well),
        T(an_operation_removes_so_many_of_a_kind_at_most),
        T(free_pages_go_back_to_the_disk),
        T(a_dropped_payload_takes_its_log_lines),
        T(statistics_count_batches_commits_and_what_was_refused),
        T(after_a_failed_sync_no_write_is_answered),
        T(a_failed_sync_of_a_checkpoint_ends_it_too),
        T(no_answered_write_is_lost_when_any_sync_fails),
        T(another_error_of_the_disk_is_tried_again),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
