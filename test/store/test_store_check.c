/* After a server that did not end well its file is looked at; damage stops new requests and nothing else. */
#include "store/fault_vfs.h"
#include "store/store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 400U

static const char *path_of(struct fixture *f) {
    static char path[160];
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    return path;
}

static int64_t ask(struct fixture *f, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(path_of(f), &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* leaves the log */
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    int rc = sqlite3_step(st);
    int64_t n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static int64_t unclean(struct fixture *f) {
    return ask(f, "SELECT ifnull(max(value), 0) <> 0 FROM meta WHERE key = 'unclean'");
}

static void open_again(struct fixture *f) {
    f->nanswers = f->tickets = f->health_changes = 0;
    memset(f->answers, 0, sizeof f->answers);
    fixture_open(f);
}

static int check_of(struct fixture *f) {
    struct store_stats s;
    f->store->backend->stats(f->store, &s);
    return s.check;
}

/* Until the look is over and what it found has been told. */
static int look_ends(struct fixture *f) {
    for (unsigned i = 0; check_of(f) == STORE_CHECKING; i++) {
        assert_true(i < 20000);
        usleep(1000);
    }
    give_ping(f);
    fixture_settle(f);
    for (unsigned i = 0; check_of(f) == STORE_DAMAGED && f->health_changes == 0; i++) {
        assert_true(i < 400);
        usleep(10000);
        give_ping(f); /* a loop that waits for nothing hears nothing */
        fixture_settle(f);
    }
    return check_of(f);
}

static void fill(struct fixture *f) {
    static char input[3000];
    memset(input, 'i', sizeof input);
    for (unsigned n = 0; n < ROWS; n++) {
        struct store_submit in = {.id = id_of(n),
                                  .endpoint = SLICE("a/b"),
                                  .owner = SLICE("app1"),
                                  .input = slice_make(input, sizeof input)};
        give_submit(f, &in);
        give_claim(f, id_of(n), 0, "boot-1", 7);
        struct store_complete c = completion(id_of(n), 1, 7);
        give_complete(f, &c);
    }
    fixture_settle(f);
}

static void close_unclean(struct fixture *f) {
    fixture_close(f);
    ask(f, "REPLACE INTO meta VALUES('unclean', 1)");
}

static int64_t leaf(struct fixture *f, const char *name, unsigned k) {
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT pageno FROM dbstat WHERE name = '%s' AND pagetype = 'leaf'"
             " ORDER BY pageno LIMIT 1 OFFSET %u",
             name, k);
    int64_t page = ask(f, sql);
    assert_true(page > 1);
    return page;
}

/* Overwrites a part of the k-th leaf of a table or an index: its kind is at 0, where its cells are at 8. */
static void damage(struct fixture *f, const char *name, unsigned k, unsigned at) {
    char junk[64];
    int64_t page = leaf(f, name, k);
    memset(junk, 0xfe, sizeof junk);
    int fd = open(path_of(f), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, sizeof junk, (page - 1) * 4096 + at), (ssize_t)sizeof junk);
    close(fd);
}

/* --- a good end, a bad end */

static void an_orderly_end_is_noted_and_nothing_is_looked_at(void **state) {
    struct fixture *f = *state;
    assert_int_equal(unclean(f), 0);
    assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
    assert_int_equal(unclean(f), 1);
    fixture_close(f);
    assert_int_equal(unclean(f), 0);
    open_again(f);
    assert_int_equal(check_of(f), STORE_UNCHECKED);
    fixture_close(f);
    assert_int_equal(unclean(f), 0);
}

/* The note of a good end may be on disk or not: it is taken back, and told of as every failed sync is. */
static void an_end_whose_sync_fails_is_no_good_end(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
    fault_sync(1);
    fixture_close(f);
    assert_int_equal(fault_failed(), 1);
    fault_clear();
    assert_int_equal(f->breaks, 1);
    assert_int_equal(unclean(f), 1);
    f->breaks = 0;
    open_again(f);
    assert_int_equal(look_ends(f), STORE_SOUND);
    assert_int_equal(status_of(f, ask_row(f, id_of(1), 0)), STORE_OK);
    fixture_close(f);
    assert_int_equal(unclean(f), 0);
    open_again(f);
}

static void run_and_be_killed(struct fixture *f) {
    if (net_loop_init(&f->loop) != 0) _exit(5);
    fixture_open(f);
    fill(f);
    raise(SIGKILL);
}

static void after_a_kill_the_file_is_looked_at_while_the_store_works(void **state) {
    struct fixture *f = *state;
    int status;
    fixture_close(f);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) run_and_be_killed(f);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    open_again(f);
    assert_int_equal(status_of(f, give_id(f, id_of(5000))), STORE_OK);
    assert_int_equal(look_ends(f), STORE_SOUND);
    assert_true(f->can_write);
    fixture_close(f);
    assert_int_equal(unclean(f), 0);
}

static void a_look_that_the_end_cuts_short_is_begun_anew(void **state) {
    struct fixture *f = *state;
    fill(f);
    close_unclean(f);
    open_again(f);
    if (check_of(f) == STORE_CHECKING) {
        fixture_close(f);
        /* it may have come to its end */
        int64_t left = unclean(f);
        assert_in_range(left, 0, 1);
        open_again(f);
    }
    look_ends(f);
    assert_true(f->can_write);
}

/* --- damage */

static void is_damaged(struct fixture *f) {
    open_again(f);
    assert_int_equal(look_ends(f), STORE_DAMAGED);
    assert_false(f->can_write);
    assert_int_equal(f->health_changes, 1);
    assert_int_equal(strncmp(f->why, "damaged: ", 9), 0);
    print_message("%s\n", f->why);
}

static void refuses_requests_and_reads(struct fixture *f, unsigned n) {
    assert_int_equal(status_of(f, give_id(f, id_of(6000))), STORE_UNAVAILABLE);
    assert_int_equal(status_of(f, give_ping(f)), STORE_OK); /* what runs can be written … */
    assert_int_equal(status_of(f, give_id(f, id_of(6000))), STORE_UNAVAILABLE); /* … and no more */
    assert_false(f->can_write);
    assert_int_equal(f->health_changes, 1);
    assert_int_equal(status_of(f, ask_row(f, id_of(n), 0)), STORE_OK);
}

static void a_damaged_table_is_found(void **state) {
    struct fixture *f = *state;
    fill(f);
    close_unclean(f);
    damage(f, "request", 3, 8);
    is_damaged(f);
    refuses_requests_and_reads(f, ROWS - 1);
    fixture_close(f);
    assert_int_equal(unclean(f), 1);
    is_damaged(f); /* again */
}

static void a_damaged_index_is_found(void **state) {
    struct fixture *f = *state;
    fill(f);
    close_unclean(f);
    damage(f, "request_ended", 1, 8);
    is_damaged(f);
    refuses_requests_and_reads(f, 0);
}

/* Nothing of the tree is out of order: only a look at each row finds this. */
static void an_index_that_lacks_a_row_is_found(void **state) {
    struct fixture *f = *state;
    char page[4096];
    fill(f);
    close_unclean(f);
    int64_t at = (leaf(f, "request_ended", 1) - 1) * (int64_t)sizeof page;
    int fd = open(path_of(f), O_RDWR);
    assert_int_equal(pread(fd, page, sizeof page, at), (ssize_t)sizeof page);
    char *name = memmem(page + 2000, sizeof page - 2000, "app1", 4);
    assert_non_null(name);
    name[3] = '2';
    assert_int_equal(pwrite(fd, page, sizeof page, at), (ssize_t)sizeof page);
    close(fd);
    is_damaged(f);
}

/* The last server ended well; the page is met while the store works. */
static void damage_that_is_met_is_for_good_too(void **state) {
    struct fixture *f = *state;
    fill(f);
    fixture_close(f);
    damage(f, "result", 2, 0);
    open_again(f);
    unsigned failed = 0;
    for (unsigned n = 0; n < ROWS; n++)
        failed += status_of(f, ask_row(f, id_of(n), STORE_RESULT)) == STORE_UNAVAILABLE;
    assert_in_range(failed, 1, ROWS / 2);
    assert_false(f->can_write);
    refuses_requests_and_reads(f, 0);
    fixture_close(f);
    assert_int_equal(unclean(f), 1);
}

static void one_operation_on_a_damaged_page_fails_alone(void **state) {
    struct fixture *f = *state;
    fill(f);
    fixture_close(f);
    damage(f, "payload", 2, 0);
    open_again(f);
    uint64_t drops[ROWS], ping = give_ping(f);
    unsigned failed = 0;
    for (unsigned n = 0; n < ROWS; n++) drops[n] = give_drop(f, id_of(n), SLICE_NONE);
    assert_int_equal(status_of(f, ping), STORE_OK);
    for (unsigned n = 0; n < ROWS; n++) failed += f->answers[drops[n]].status != STORE_OK;
    assert_in_range(failed, 1, ROWS / 2);
    assert_false(f->can_write);
    assert_int_equal(f->health_changes, 1);
}

static void a_disk_that_works_again_does_not_end_damage(void **state) {
    struct fixture *f = *state;
    fill(f);
    close_unclean(f);
    damage(f, "payload", 3, 8);
    is_damaged(f);
    fault_at(1, SQLITE_FULL, true);
    assert_int_equal(status_of(f, give_ping(f)), STORE_UNAVAILABLE);
    fault_clear();
    assert_int_equal(status_of(f, give_ping(f)), STORE_OK);
    assert_false(f->can_write);
    assert_int_equal(status_of(f, give_id(f, id_of(6000))), STORE_UNAVAILABLE);
}

static void a_damaged_database_is_not_backed_up(void **state) {
    struct fixture *f = *state;
    char path[160];
    fill(f);
    close_unclean(f);
    damage(f, "payload", 3, 8);
    is_damaged(f);
    snprintf(path, sizeof path, "%s/copy.db", f->dir);
    uint64_t t = begin_giving(f);
    f->store->backend->backup(f->store, t, path);
    end_giving(f);
    assert_int_equal(status_of(f, t), STORE_UNAVAILABLE);
    assert_non_null(strstr(f->refused, "damaged"));
    assert_int_equal(access(path, F_OK), -1);
}

/* --- a look that cannot be finished */

/* A reads' fault in the middle of a table, which nothing but the look reads. */
static int look_with_faults(struct fixture *f, uint64_t times, int code) {
    fill(f);
    close_unclean(f);
    fault_reads((leaf(f, "payload", 40) - 1) * 4096, times, code);
    open_again(f);
    int state = look_ends(f);
    assert_true(fault_failed() >= 1);
    fault_clear();
    return state;
}

static void serves_on(struct fixture *f) {
    assert_true(f->can_write);
    assert_int_equal(f->health_changes, 0);
    assert_int_equal(status_of(f, give_id(f, id_of(6000))), STORE_OK);
}

static void memory_that_was_short_for_a_moment_is_no_damage(void **state) {
    assert_int_equal(look_with_faults(*state, 1, SQLITE_NOMEM), STORE_SOUND);
    serves_on(*state);
}

static void a_page_that_is_read_the_second_time_is_no_damage(void **state) {
    assert_int_equal(look_with_faults(*state, 1, SQLITE_IOERR_READ), STORE_SOUND);
    serves_on(*state);
}

static void what_one_look_alone_finds_is_no_damage(void **state) {
    assert_int_equal(look_with_faults(*state, 1, SQLITE_CORRUPT), STORE_SOUND);
    serves_on(*state);
}

static void what_each_look_finds_is_damage(void **state) {
    struct fixture *f = *state;
    assert_int_equal(look_with_faults(f, UINT64_MAX, SQLITE_CORRUPT), STORE_DAMAGED);
    assert_false(f->can_write);
}

static void a_look_that_is_never_finished_says_nothing_of_the_file(void **state) {
    struct fixture *f = *state;
    assert_int_equal(look_with_faults(f, UINT64_MAX, SQLITE_NOMEM), STORE_UNCHECKED);
    serves_on(f);
    fixture_close(f);
    assert_int_equal(unclean(f), 1); /* so the next start looks again */
    open_again(f);
    assert_int_equal(look_ends(f), STORE_SOUND);
}

static void the_end_does_not_wait_for_the_next_look(void **state) {
    struct fixture *f = *state;
    fill(f);
    close_unclean(f);
    fault_reads((leaf(f, "payload", 40) - 1) * 4096, UINT64_MAX, SQLITE_NOMEM);
    open_again(f);
    while (fault_failed() == 0) usleep(1000);
    fixture_close(f);
    assert_in_range(fault_failed(), 1, 2);
    fault_clear();
    assert_int_equal(unclean(f), 1);
    open_again(f);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite check", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(an_orderly_end_is_noted_and_nothing_is_looked_at),
        T(an_end_whose_sync_fails_is_no_good_end),
        T(after_a_kill_the_file_is_looked_at_while_the_store_works),
        T(a_look_that_the_end_cuts_short_is_begun_anew),
        T(a_damaged_table_is_found),
        T(a_damaged_index_is_found),
        T(an_index_that_lacks_a_row_is_found),
        T(damage_that_is_met_is_for_good_too),
        T(one_operation_on_a_damaged_page_fails_alone),
        T(a_disk_that_works_again_does_not_end_damage),
        T(a_damaged_database_is_not_backed_up),
        T(memory_that_was_short_for_a_moment_is_no_damage),
        T(a_page_that_is_read_the_second_time_is_no_damage),
        T(what_one_look_alone_finds_is_no_damage),
        T(what_each_look_finds_is_damage),
        T(a_look_that_is_never_finished_says_nothing_of_the_file),
        T(the_end_does_not_wait_for_the_next_look),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
