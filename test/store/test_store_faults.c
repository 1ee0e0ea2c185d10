/* SQLite on a disk that fails, and on one that fills up. */
#include "store/fault_vfs.h"
#include "store/store_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 12U

#define ROWS 3U /* in one ledger_add */

/* A scripted piece of work whose every answer is checked against the database afterwards. */
struct work {
    uint64_t submit[COUNT], claim[COUNT], complete[COUNT], cancel[COUNT];
    uint64_t charges[COUNT], note[COUNT], add[COUNT], finish[COUNT], key[COUNT], drop[COUNT];
};

/* Each in another hour, so that the sums of the one before are written with it. */
static uint64_t give_rows(struct fixture *f, int64_t hour) {
    struct store_charge rows[ROWS];
    for (unsigned i = 0; i < ROWS; i++)
        rows[i] = (struct store_charge){
            .kind = STORE_CALL_RUN, .owner = SLICE("app1"), .at_ms = hour * 3600000 + i};
    return give_charges(f, rows, ROWS);
}

static struct store_file file(unsigned n) {
    struct store_file file = {.owner = SLICE("app1"), .bytes = 1};
    snprintf(file.id, sizeof file.id, "%s", id_of(n));
    return file;
}

/* What stands beside the queue. */
static void do_more(struct fixture *f, struct work *w, unsigned i) {
    struct store_webhook_note n = {.id = id_of(i), .state = STORE_WEBHOOK_GONE};
    struct store_file one = file(i), whole = one;
    struct store_key key = {.id = slice_of(one.id)};
    whole.bytes = 2;
    w->charges[i] = give_rows(f, i % 7);
    w->note[i] = give_note(f, &n);
    w->add[i] = give_file(f, &one);
    if (i % 3 == 2) fixture_settle(f);
    w->finish[i] = give_whole(f, &whole);
    w->key[i] = give_key(f, &key);
    w->drop[i] = give_drop(f, one.id, SLICE_NONE);
}

static void do_work(struct fixture *f, struct work *w) {
    static char input[6000];
    memset(input, 'i', sizeof input);
    for (unsigned i = 0; i < COUNT; i++) {
        struct store_submit in = {.id = id_of(i),
                                  .endpoint = SLICE("a/b"),
                                  .webhook = SLICE("http://h/"),
                                  .input = slice_make(input, sizeof input)};
        w->submit[i] = give_submit(f, &in);
        if (i % 4 == 3) fixture_settle(f);
        w->claim[i] = give_claim(f, id_of(i), 0, "boot-1", i + 1);
        if (i % 5 == 4) fixture_settle(f);
        struct store_complete c = completion(id_of(i), 1, i + 1);
        c.usage = (struct store_usage){.present = true, .raw = SLICE("{}")};
        w->complete[i] = give_complete(f, &c);
        w->cancel[i] = give_cancel(f, id_of(i));
        do_more(f, w, i);
    }
    fixture_settle(f);
}

static int64_t count(struct fixture *f, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static bool ok(struct fixture *f, uint64_t ticket) {
    return f->answers[ticket].status == STORE_OK;
}

static unsigned oks(struct fixture *f, const uint64_t *tickets) {
    unsigned n = 0;
    for (unsigned i = 0; i < COUNT; i++) n += ok(f, tickets[i]);
    return n;
}

static void check_more(struct fixture *f, const struct work *w) {
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(status_of(f, ask_file(f, id_of(i))),
                         ok(f, w->add[i]) ? STORE_OK : STORE_NOT_FOUND);
        if (f->nfiles > 0) {
            assert_int_equal(f->files[0].state, ok(f, w->finish[i]));
            assert_int_equal(f->files[0].bytes, 1 + ok(f, w->finish[i]));
        }
        if (!ok(f, w->add[i])) assert_false(ok(f, w->finish[i]));
        if (!ok(f, w->complete[i])) assert_false(ok(f, w->note[i]) || ok(f, w->drop[i]));
    }
    unsigned charged = oks(f, w->complete) + ROWS * oks(f, w->charges);
    assert_int_equal(count(f, "SELECT (SELECT count(*) FROM ledger WHERE id <> 'last')"
                              " + (SELECT count(*) FROM ledger_direct"
                              "    WHERE instr(row, CAST('last' AS BLOB)) = 0)"),
                     charged);
    assert_int_equal(count(f, "SELECT sum(costs_unknown) FROM ledger_hour"), charged);
    assert_int_equal(count(f, "SELECT count(*) FROM api_key"), oks(f, w->key));
    assert_int_equal(count(f, "SELECT count(*) FROM webhook_outbox WHERE state = 3"),
                     oks(f, w->note));
    assert_int_equal(count(f, "SELECT count(*) FROM webhook_outbox WHERE attempt = 1"),
                     oks(f, w->note));
    assert_int_equal(count(f, "SELECT count(*) FROM result WHERE body = x''"), oks(f, w->drop));
}

/* What was answered OK is there, what was not has left nothing. */
static void check_work(struct fixture *f, const struct work *w) {
    unsigned completed = 0, submitted = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        enum store_status there = status_of(f, ask_row(f, id_of(i), 0));
        assert_int_equal(there, ok(f, w->submit[i]) ? STORE_OK : STORE_NOT_FOUND);
        if (there != STORE_OK) {
            assert_false(ok(f, w->claim[i]) || ok(f, w->complete[i]) || ok(f, w->cancel[i]));
            continue;
        }
        assert_int_equal(f->row.attempt, ok(f, w->claim[i]) ? 1 : 0);
        assert_int_equal(f->row.state, ok(f, w->complete[i]) ? STORE_COMPLETED
                                       : ok(f, w->claim[i])  ? STORE_IN_PROGRESS
                                                             : STORE_IN_QUEUE);
        submitted++;
        completed += ok(f, w->complete[i]);
    }
    assert_int_equal(count(f, "SELECT count(*) FROM request"), submitted);
    assert_int_equal(count(f, "SELECT count(*) FROM payload"), submitted - oks(f, w->drop));
    assert_int_equal(count(f, "SELECT count(*) FROM result"), completed);
    assert_int_equal(count(f, "SELECT count(*) FROM webhook_outbox"), completed);
    check_more(f, w);
    assert_int_equal(
        count(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

/* All other hours are over: their sums are written. */
static void end_hours(struct fixture *f) {
    struct store_charge row = {.id = "last", .at_ms = 360000000, .kind = STORE_CALL_RUN};
    assert_int_equal(status_of(f, give_charges(f, &row, 1)), STORE_OK);
}

/* The k-th change of a file fails once, for every k of the work. */
static void each_change_fails_once(struct fixture *f, int code) {
    uint64_t failed = 0;
    for (uint64_t k = 1;; k++) {
        struct work w;
        fault_at(k, code, false);
        do_work(f, &w);
        bool hit = fault_failed() > 0;
        failed += hit;
        fault_clear();
        assert_int_equal(status_of(f, give_ping(f)), STORE_OK);
        assert_true(f->can_write);
        assert_int_equal(f->health_changes % 2, 0);
        end_hours(f);
        check_work(f, &w);
        fixture_close(f);
        fixture_open(f);
        check_work(f, &w);
        if (!hit) break;
        fixture_fresh(f);
    }
    print_message("%u places failed\n", (unsigned)failed);
    assert_true(failed > 40);
}

static void no_answered_write_is_lost_when_any_write_fails_with_eio(void **state) {
    each_change_fails_once(*state, SQLITE_IOERR_WRITE);
}

static void no_answered_write_is_lost_when_any_write_finds_the_disk_full(void **state) {
    each_change_fails_once(*state, SQLITE_FULL);
}

/* --- forgetting */

static void complete_some(struct fixture *f) {
    for (unsigned i = 0; i < COUNT; i++) {
        struct store_log lines[] = {{id_of(i), 1, SLICE("INFO"), SLICE("one")},
                                    {id_of(i), 2, SLICE("INFO"), SLICE("two")}};
        struct store_complete c = completion(id_of(i), 1, 7);
        c.forget_ms = 100;
        c.logs = lines;
        c.nlogs = 2;
        give_id(f, id_of(i));
        give_claim(f, id_of(i), 0, "boot-1", 7);
        give_complete(f, &c);
    }
    fixture_settle(f);
}

/* A sweep in which the k-th change of a file fails: what it answers is what is there, and nothing is there by half. */
static void a_sweep_is_whole_or_not_at_all(void **state) {
    struct fixture *f = *state;
    unsigned failed = 0;
    for (uint64_t k = 1;; k++) {
        complete_some(f);
        fault_at(k, SQLITE_IOERR_WRITE, false);
        uint64_t t = give_sweep(f, 100, 100);
        enum store_status status = status_of(f, t);
        bool hit = fault_failed() > 0;
        fault_clear();
        assert_int_equal(status_of(f, give_ping(f)), STORE_OK);
        unsigned left = status == STORE_OK ? 0 : COUNT;
        failed += left > 0;
        assert_int_equal(count(f, "SELECT count(*) FROM request"), left);
        assert_int_equal(count(f, "SELECT count(*) FROM result"), left);
        assert_int_equal(count(f, "SELECT count(*) FROM log"), 2 * left);
        assert_int_equal(count(f, "SELECT count(*) FROM payload"), 0);
        if (!hit) break;
        fixture_fresh(f);
    }
    assert_true(failed > 2);
}

/* --- a disk that fills up */

static void on_a_full_disk_submits_fail_and_reads_go_on(void **state) {
    struct fixture *f = *state;
    unsigned accepted = 1;
    assert_int_equal(status_of(f, give_id(f, id_of(0))), STORE_OK);
    for (unsigned cycle = 0; cycle < 20; cycle++) {
        static char input[20000];
        unsigned first = 1000 * (cycle + 1), n = 0;
        struct store_submit in = {.endpoint = SLICE("a/b"),
                                  .input = slice_make(input, sizeof input)};
        fault_room(300000);
        do {
            assert_true(n < 100);
            in.id = id_of(first + n++);
        } while (status_of(f, give_submit(f, &in)) == STORE_OK);
        assert_int_equal(f->answers[f->tickets].status, STORE_UNAVAILABLE);
        assert_false(f->can_write);
        accepted += n - 1;
        assert_int_equal(status_of(f, ask_row(f, id_of(0), STORE_INPUT)), STORE_OK);
        assert_int_equal(status_of(f, ask_row(f, in.id, 0)), STORE_NOT_FOUND);
        fault_clear();
        assert_int_equal(status_of(f, give_submit(f, &in)), STORE_OK);
        assert_true(f->can_write);
    }
    assert_int_equal(
        count(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

static void a_large_write_that_finds_no_room_does_not_fail_the_small_ones(void **state) {
    struct fixture *f = *state;
    static char big[3000000];
    uint64_t small[60], large = 0;
    fault_room(1500000);
    for (unsigned i = 0; i < 60; i++) {
        small[i] = give_id(f, id_of(i));
        struct store_submit in = {
            .id = id_of(999), .endpoint = SLICE("a/b"), .input = slice_make(big, sizeof big)};
        if (i == 30) large = give_submit(f, &in);
    }
    assert_int_equal(status_of(f, large), STORE_UNAVAILABLE);
    for (unsigned i = 0; i < 60; i++) assert_int_equal(f->answers[small[i]].status, STORE_OK);
    fault_clear();
    assert_int_equal(status_of(f, ask_row(f, id_of(999), 0)), STORE_NOT_FOUND);
}

static void stop_on_recovery(void *user, bool can_write) {
    if (can_write) net_loop_stop(&((struct fixture *)user)->loop);
}

/* Nothing is given after the failure: the store finds out by itself. */
static void writing_is_found_to_work_again_by_itself(void **state) {
    struct fixture *f = *state;
    fault_at(1, SQLITE_FULL, true);
    assert_int_equal(status_of(f, give_id(f, id_of(0))), STORE_UNAVAILABLE);
    assert_false(f->can_write);
    fault_clear();
    f->on_health = stop_on_recovery;
    net_loop_hold(&f->loop);
    net_loop_run(&f->loop);
    net_loop_release(&f->loop);
    assert_true(f->can_write);
    assert_int_equal(f->health_changes, 2);
    assert_int_equal(status_of(f, give_id(f, id_of(0))), STORE_OK);
}

static void a_disk_that_stays_broken_is_told_once(void **state) {
    struct fixture *f = *state;
    fault_at(1, SQLITE_IOERR_WRITE, true);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(status_of(f, give_id(f, id_of(i))), STORE_UNAVAILABLE);
    assert_int_equal(f->health_changes, 1);
    fault_clear();
    assert_int_equal(status_of(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 0);
}

static int teardown(void **state) {
    fault_clear();
    return fixture_teardown(state);
}

#define T(name) {#name, name, fixture_setup, teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite faults", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(no_answered_write_is_lost_when_any_write_fails_with_eio),
        T(no_answered_write_is_lost_when_any_write_finds_the_disk_full),
        T(a_sweep_is_whole_or_not_at_all),
        T(on_a_full_disk_submits_fail_and_reads_go_on),
        T(a_large_write_that_finds_no_room_does_not_fail_the_small_ones),
        T(writing_is_found_to_work_again_by_itself),
        T(a_disk_that_stays_broken_is_told_once),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
