/* Copies of a database that is in use. */
#include "store/fault_vfs.h"
#include "store/store_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path_of(struct fixture *f, const char *file) {
    static char paths[4][160];
    static unsigned at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof *paths, "%s/%s", f->dir, file);
    return path;
}

static uint64_t give_backup(struct fixture *f, const char *path) {
    uint64_t ticket = begin_giving(f);
    f->store->backend->backup(f->store, ticket, path);
    return end_giving(f);
}

static bool exists(struct fixture *f, const char *file) {
    struct stat st;
    return lstat(path_of(f, file), &st) == 0;
}

static void submit(struct fixture *f, unsigned n, size_t bytes) {
    static char input[20000];
    struct store_submit in = {
        .id = id_of(n), .endpoint = SLICE("a/b"), .input = slice_make(input, bytes)};
    give_submit(f, &in);
}

static void submit_many(struct fixture *f, unsigned from, unsigned n, size_t bytes) {
    for (unsigned k = 0; k < n; k++) submit(f, from + k, bytes);
    fixture_settle(f);
}

static int64_t ask(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    int rc = sqlite3_step(st);
    int64_t n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static void is_whole(const char *path) {
    assert_int_equal(ask(path, "SELECT count(*) FROM pragma_integrity_check"
                               " WHERE integrity_check = 'ok'"),
                     1);
    assert_int_equal(ask(path, "SELECT (SELECT count(*) FROM request)"
                               " = (SELECT count(*) FROM payload)"),
                     1);
}

static void refused(struct fixture *f, const char *path, const char *why) {
    f->refused[0] = '\0';
    assert_int_equal(status_of(f, give_backup(f, path)), STORE_UNAVAILABLE);
    print_message("%s\n", f->refused);
    assert_non_null(strstr(f->refused, why));
    assert_null(strchr(f->refused, '\n'));
}

/* --- the copy */

/* Keeps giving until the backup is answered. */
static unsigned submit_until(struct fixture *f, uint64_t ticket, unsigned from) {
    unsigned n = from;
    while (!f->answers[ticket].given) {
        submit(f, n++, 3000);
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        usleep(500);
        assert_true(n < 15000);
    }
    fixture_settle(f);
    return n - from;
}

static void a_copy_is_whole_while_submits_go_on(void **state) {
    struct fixture *f = *state;
    struct store_stats stats;
    submit_many(f, 0, 300, 20000);
    uint64_t t = give_backup(f, path_of(f, "copy.db"));
    unsigned during = submit_until(f, t, 300);
    assert_int_equal(f->answers[t].status, STORE_OK);
    is_whole(path_of(f, "copy.db"));
    int64_t there = ask(path_of(f, "copy.db"), "SELECT count(*) FROM request");
    print_message("300 before, %u during it, %lld in the copy\n", during, (long long)there);
    assert_in_range(there, 300, 300 + during);
    struct stat st;
    assert_int_equal(stat(path_of(f, "copy.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(exists(f, "copy.db.anyllm-part") || exists(f, "copy.db-wal"));
    f->store->backend->stats(f->store, &stats);
    assert_int_equal(stats.backups, 1);
    assert_int_equal(stats.backup_pages, 0);
}

static void its_progress_is_told(void **state) {
    struct fixture *f = *state;
    struct store_stats stats;
    uint64_t most = 0, done = 0;
    submit_many(f, 0, 400, 20000);
    uint64_t t = give_backup(f, path_of(f, "copy.db"));
    while (!f->answers[t].given) {
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        f->store->backend->stats(f->store, &stats);
        assert_true(stats.backup_done_pages <= stats.backup_pages);
        if (stats.backup_pages > most) most = stats.backup_pages;
        if (stats.backup_done_pages > done) done = stats.backup_done_pages;
    }
    fixture_settle(f);
    assert_true(most > 2000);
    assert_true(done > 0 && done <= most);
}

/* No log belongs to it: where nothing may be written it can be read. */
static void a_copy_can_be_read_where_nothing_may_be_written(void **state) {
    struct fixture *f = *state;
    submit_many(f, 0, 5, 100);
    mkdir(path_of(f, "out"), 0700);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "out/copy.db"))), STORE_OK);
    char mode[16] = "";
    int fd = open(path_of(f, "out/copy.db"), O_RDONLY);
    assert_int_equal(pread(fd, mode, 2, 18), 2);
    close(fd);
    assert_true(mode[0] == 1 && mode[1] == 1);
    is_whole(path_of(f, "out/copy.db"));
    assert_false(exists(f, "out/copy.db-wal") || exists(f, "out/copy.db-shm"));
}

static uint64_t join(struct fixture *f, const char *boot) {
    uint64_t ticket = begin_giving(f);
    f->store->backend->join(f->store, ticket, "node", boot, true, 1);
    return end_giving(f);
}

/* What ran when the copy was made runs once more, on whatever server it is restored. */
static void a_restored_copy_runs_what_was_running_once(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, join(f, "boot-1")), STORE_OK);
    submit_many(f, 0, 3, 100);
    assert_int_equal(status_of(f, give_claim(f, id_of(1), 0, "boot-1", 7)), STORE_OK);
    struct store_complete c = completion(id_of(2), 1, 8);
    give_claim(f, id_of(2), 0, "boot-1", 8);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "copy.db"))), STORE_OK);
    fixture_close(f);
    assert_int_equal(rename(path_of(f, "copy.db"), path_of(f, "anyllm.db")), 0);
    f->nanswers = f->tickets = 0;
    memset(f->answers, 0, sizeof f->answers);
    fixture_open(f);
    assert_int_equal(status_of(f, join(f, "boot-2")), STORE_OK);
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 2);
    assert_false(f->pending[0].held || f->pending[1].held);
    assert_int_equal(status_of(f, give_claim(f, id_of(1), 1, "boot-2", 9)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, id_of(1), 1, "boot-2", 10)), STORE_STALE);
    c = completion(id_of(1), 1, 7); /* of the boot that was copied */
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    assert_int_equal(status_of(f, ask_row(f, id_of(2), 0)), STORE_OK);
    assert_int_equal(f->row.state, STORE_COMPLETED);
}

static void a_copy_by_another_program_is_whole_too(void **state) {
    struct fixture *f = *state;
    char sql[240];
    sqlite3 *db;
    submit_many(f, 0, 300, 3000);
    for (unsigned n = 300; n < 900; n++) submit(f, n, 3000);
    uv_run(&f->loop.uv, UV_RUN_NOWAIT); /* they are being written */
    assert_int_equal(sqlite3_open_v2(path_of(f, "anyllm.db"), &db, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s'", path_of(f, "copy.db"));
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    fixture_settle(f);
    for (uint64_t t = 1; t <= f->tickets; t++) assert_int_equal(f->answers[t].status, STORE_OK);
    is_whole(path_of(f, "copy.db"));
    assert_in_range(ask(path_of(f, "copy.db"), "SELECT count(*) FROM request"), 300, 900);
}

/* --- what is in the way */

static void nothing_is_written_over(void **state) {
    struct fixture *f = *state;
    int fd = open(path_of(f, "copy.db"), O_WRONLY | O_CREAT, 0600);
    close(fd);
    refused(f, path_of(f, "copy.db"), "is there already");
    refused(f, path_of(f, "anyllm.db"), "is there already");
    assert_int_equal(symlink("nowhere", path_of(f, "link.db")), 0);
    refused(f, path_of(f, "link.db"), "is there already");
    refused(f, "copy.db", "absolute");
    refused(f, path_of(f, "none/copy.db"), "No such file");
    mkdir(path_of(f, "dir.db.anyllm-part"), 0700);
    refused(f, path_of(f, "dir.db"), "in the way");
}

static void what_a_kill_left_behind_is_removed(void **state) {
    struct fixture *f = *state;
    submit_many(f, 0, 5, 100);
    int fd = open(path_of(f, "copy.db.anyllm-part"), O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "SQLite format 3", 15), 15);
    close(fd);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "copy.db"))), STORE_OK);
    is_whole(path_of(f, "copy.db"));
    assert_false(exists(f, "copy.db.anyllm-part"));
}

static void a_backup_of_any_name_is_left_alone(void **state) {
    struct fixture *f = *state;
    submit_many(f, 0, 5, 100);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "copy.db.part"))), STORE_OK);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "copy.db"))), STORE_OK);
    is_whole(path_of(f, "copy.db.part"));
    is_whole(path_of(f, "copy.db"));
    refused(f, path_of(f, "other.db.anyllm-part"), "another name");
    refused(f, path_of(f, ".anyllm-part"), "another name");
    assert_false(exists(f, "other.db.anyllm-part"));
}

static void one_at_a_time(void **state) {
    struct fixture *f = *state;
    submit_many(f, 0, 400, 20000);
    uint64_t first = give_backup(f, path_of(f, "a.db")),
             second = give_backup(f, path_of(f, "b.db"));
    fixture_settle(f);
    assert_int_equal(f->answers[first].status, STORE_OK);
    assert_int_equal(f->answers[second].status, STORE_STALE);
    assert_non_null(strstr(f->refused, "under way"));
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "b.db"))), STORE_OK);
}

static void a_full_disk_ends_it_and_leaves_nothing(void **state) {
    struct fixture *f = *state;
    submit_many(f, 0, 400, 20000);
    fault_room(3000000);
    refused(f, path_of(f, "copy.db"), "full");
    assert_false(exists(f, "copy.db") || exists(f, "copy.db.anyllm-part"));
    fault_clear();
    assert_true(f->can_write);
    assert_int_equal(status_of(f, give_backup(f, path_of(f, "copy.db"))), STORE_OK);
    is_whole(path_of(f, "copy.db"));
}

static void each_failing_change_is_told_and_leaves_nothing(void **state) {
    struct fixture *f = *state;
    unsigned failed = 0;
    submit_many(f, 0, 40, 20000);
    for (uint64_t k = 1;; k += 1 + k / 8) {
        fault_at(k, SQLITE_IOERR_WRITE, false);
        enum store_status status = status_of(f, give_backup(f, path_of(f, "copy.db")));
        bool hit = fault_failed() > 0;
        fault_clear();
        assert_int_equal(status, hit ? STORE_UNAVAILABLE : STORE_OK);
        assert_true(exists(f, "copy.db") == !hit);
        assert_false(exists(f, "copy.db.anyllm-part"));
        if (!hit) break;
        failed++;
    }
    assert_true(failed > 5);
    is_whole(path_of(f, "copy.db"));
    assert_int_equal(f->breaks, 0); /* the copy's disk is not ours */
}

/* It may be faster now and then. */
static void the_end_of_the_store_ends_it(void **state) {
    struct fixture *f = *state;
    unsigned ended = 0;
    for (unsigned i = 0; i < 5 && ended == 0; i++) {
        submit_many(f, 0, 800, 20000);
        uint64_t t = give_backup(f, path_of(f, "copy.db"));
        fixture_close(f);
        assert_true(f->answers[t].given);
        ended = f->answers[t].status == STORE_UNAVAILABLE;
        assert_true(ended == !exists(f, "copy.db"));
        assert_false(exists(f, "copy.db.anyllm-part"));
        fixture_fresh(f);
    }
    assert_int_equal(ended, 1);
    assert_non_null(strstr(f->refused, "ending"));
}

static int teardown(void **state) {
    fault_clear();
    return fixture_teardown(state);
}

#define T(name) {#name, name, fixture_setup, teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite backup", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(a_copy_is_whole_while_submits_go_on),
        T(its_progress_is_told),
        T(a_copy_can_be_read_where_nothing_may_be_written),
        T(a_restored_copy_runs_what_was_running_once),
        T(a_copy_by_another_program_is_whole_too),
        T(nothing_is_written_over),
        T(what_a_kill_left_behind_is_removed),
        T(a_backup_of_any_name_is_left_alone),
        T(one_at_a_time),
        T(a_full_disk_ends_it_and_leaves_nothing),
        T(each_failing_change_is_told_and_leaves_nothing),
        T(the_end_of_the_store_ends_it),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
