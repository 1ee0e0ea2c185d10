/* SQLite's log is written back in pieces, however long a reader has let it grow, and a kill between two of them loses nothing. */
#include "store/fault_vfs.h"
#include "store/store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 20U
#define KEPT 250U /* submits that a reader keeps in the log: some 3,000 frames */

struct reader {
    sqlite3 *db;
};

static const char *path_of(struct fixture *f) {
    static char path[160];
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    return path;
}

static void begin_reading(struct fixture *f, struct reader *r) {
    assert_int_equal(sqlite3_open_v2(path_of(f), &r->db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(r->db, "BEGIN; SELECT count(*) FROM meta", NULL, NULL, NULL),
                     SQLITE_OK);
}

static void submit(struct fixture *f, unsigned n) {
    static char input[30000];
    struct store_submit in = {
        .id = id_of(n), .endpoint = SLICE("a/b"), .input = slice_make(input, sizeof input)};
    give_submit(f, &in);
    if (n % 3 == 2) fixture_settle(f);
}

static struct store_stats stats_of(struct fixture *f) {
    struct store_stats s;
    f->store->backend->stats(f->store, &s);
    return s;
}

static int64_t ask(struct fixture *f, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open_v2(path_of(f), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static bool is_sound(struct fixture *f) {
    return ask(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'") == 1;
}

static void open_with_small_pieces(struct fixture *f) {
    f->wal_checkpoint_pages = PAGES;
    fixture_fresh(f);
}

/* What the pieces are for is their number: one call for all would stop the writer as long as all takes. */
static uint64_t pieces_of_a_long_log(struct fixture *f, struct reader *r) {
    for (unsigned n = 0; n < KEPT; n++) submit(f, n);
    fixture_settle(f);
    struct store_stats before = stats_of(f);
    assert_true(before.wal_bytes > 2000 * 4096);
    sqlite3_close(r->db);
    uint64_t last = before.checkpoint_us.count;
    for (unsigned quiet = 0, k = 0; quiet < 200; quiet++) {
        if (k < 40) submit(f, KEPT + k++); /* it waits for the next piece */
        usleep(1000);
        if (stats_of(f).checkpoint_us.count == last) continue;
        last = stats_of(f).checkpoint_us.count;
        quiet = 0;
    }
    fixture_settle(f);
    uint64_t pieces = last - before.checkpoint_us.count;
    print_message("%llu pieces\n", (unsigned long long)pieces);
    give_ping(f);
    fixture_settle(f);
    assert_true(stats_of(f).wal_bytes < 1000 * 4096); /* all was, so it has begun anew */
    assert_true(is_sound(f));
    assert_int_equal(ask(f, "SELECT count(*) FROM request"), KEPT + 40);
    return pieces;
}

static void a_long_log_is_written_back_in_pieces(void **state) {
    struct fixture *f = *state;
    struct reader r;
    open_with_small_pieces(f);
    begin_reading(f, &r);
    assert_in_range(pieces_of_a_long_log(f, &r), 40, 1000);
}

/* What holds a checkpoint back is a connection of its own: that it could not be opened once is of that moment. */
static void a_failure_to_hold_it_is_not_for_good(void **state) {
    struct fixture *f = *state;
    struct reader r;
    open_with_small_pieces(f);
    begin_reading(f, &r);
    fault_opens(3, SQLITE_NOMEM);
    assert_in_range(pieces_of_a_long_log(f, &r), 40, 1000);
    assert_int_equal(fault_failed(), 3);
}

static unsigned said(const char *path, const char *what) {
    char text[16384] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) n++;
    return n;
}

static void an_index_of_an_unknown_format_is_said_once(void **state) {
    struct fixture *f = *state;
    struct reader r;
    char path[160];
    open_with_small_pieces(f);
    begin_reading(f, &r);
    fault_strange_index();
    snprintf(path, sizeof path, "%s/stderr", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), old = dup(2);
    dup2(fd, 2);
    uint64_t pieces = pieces_of_a_long_log(f, &r);
    dup2(old, 2);
    close(old);
    close(fd);
    assert_in_range(pieces, 1, 39); /* all at once, and what came meanwhile */
    assert_int_equal(fault_failed(), 1);
    assert_int_equal(said(path, "event=checkpoint_in_one"), 1);
}

/* A reader who begins between two pieces reads the whole state. */
static void readers_between_two_pieces_read_what_was_committed(void **state) {
    struct fixture *f = *state;
    struct reader r;
    open_with_small_pieces(f);
    begin_reading(f, &r);
    for (unsigned n = 0; n < KEPT; n++) submit(f, n);
    fixture_settle(f);
    sqlite3_close(r.db);
    for (unsigned n = KEPT; n < KEPT + 60; n++) {
        submit(f, n);
        if (n % 3 != 2) continue;
        assert_int_equal(ask(f, "SELECT count(*) FROM request"), n + 1);
        if (n % 15 == 2) assert_true(is_sound(f));
        for (unsigned k = 0; k < 5; k++) {
            unsigned some = (n * 31 + k * 77) % n;
            assert_int_equal(READ(f, ask_row(f, id_of(some), STORE_INPUT)), STORE_OK);
            assert_int_equal(f->row.input.len, 30000);
        }
    }
}

static int answers; /* the child's pipe */

static void tell_parent(struct fixture *f, uint64_t ticket) {
    uint32_t n = (uint32_t)ticket;
    if (f->answers[ticket].status != STORE_OK || write(answers, &n, sizeof n) != sizeof n) _exit(3);
}

static void work_until_killed(struct fixture *f, uint64_t k) {
    struct reader r;
    if (net_loop_init(&f->loop) != 0) _exit(5);
    fixture_open(f);
    f->on_answer = tell_parent;
    begin_reading(f, &r);
    for (unsigned n = 1; n <= 90; n++) submit(f, n);
    fixture_settle(f);
    sqlite3_close(r.db);
    fault_kill_at(k);
    for (unsigned n = 91; n <= 400; n++) submit(f, n);
    _exit(6);
}

/* Tickets and numbers of requests are the same. How many were answered before the kill; 0: it was not killed. */
static uint32_t kill_in(struct fixture *f, uint64_t k) {
    int pipes[2], status;
    uint32_t n, last = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        answers = pipes[1];
        work_until_killed(f, k);
    }
    close(pipes[1]);
    while (read(pipes[0], &n, sizeof n) == sizeof n) last = n;
    close(pipes[0]);
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) assert_int_equal(WEXITSTATUS(status), 6);
    return WIFSIGNALED(status) ? last : 0;
}

static void a_kill_between_two_pieces_loses_nothing(void **state) {
    struct fixture *f = *state;
    unsigned kills = 0;
    open_with_small_pieces(f);
    for (uint64_t k = 3;; k += 97, kills++) {
        fixture_close(f);
        uint32_t answered = kill_in(f, k);
        if (answered == 0 || k > 4000) break;
        assert_true(is_sound(f));
        char sql[100];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM request WHERE seq <= %u", answered);
        assert_int_equal(ask(f, sql), answered);
        fixture_fresh(f);
    }
    print_message("%u kills\n", kills);
    assert_true(kills > 10);
}

static int teardown(void **state) {
    fault_clear();
    return fixture_teardown(state);
}

#define T(name) {#name, name, fixture_setup, teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite log", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(a_long_log_is_written_back_in_pieces),
        T(a_failure_to_hold_it_is_not_for_good),
        T(an_index_of_an_unknown_format_is_said_once),
        T(readers_between_two_pieces_read_what_was_committed),
        T(a_kill_between_two_pieces_loses_nothing),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
