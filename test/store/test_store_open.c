/* Opening SQLite's file: what must be refused and how, migration, modes, an outsider's lock, kill -9. */
#include "store/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *path_of(struct fixture *f, const char *file) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", f->dir, file);
    return path;
}

static void sql(struct fixture *f, const char *text) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of(f, "anyllm.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void write_file(const char *path, const char *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

/* The reason is one line that names the file. */
static void refuses(struct fixture *f, const char *url, const char *dir,
                    enum store_fault expected) {
    char reason[256] = "";
    enum store_fault fault = STORE_FAULT_NONE;
    struct store_options o = {.url = url, .dir = dir, .loop = &f->loop, .fault = &fault};
    assert_null(store_open(&o, reason, sizeof reason));
    assert_int_equal(fault, expected);
    assert_null(strchr(reason, '\n'));
    assert_true(strlen(reason) > 20);
    print_message("%s\n", reason);
}

static void refuses_urls_it_does_not_know(void **state) {
    struct fixture *f = *state;
    refuses(f, "postgresql://h/db", f->dir, STORE_FAULT_URL);
    refuses(f, "anyllm.db", f->dir, STORE_FAULT_URL);
    refuses(f, "sqlite:", f->dir, STORE_FAULT_URL);
}

static void refuses_a_folder_it_cannot_use(void **state) {
    struct fixture *f = *state;
    refuses(f, "sqlite:anyllm.db", "/nonexistent/folder", STORE_FAULT_FOLDER);
    refuses(f, "sqlite:anyllm.db/x.db", f->dir, STORE_FAULT_FOLDER);
    refuses(f, "sqlite:/dev/null", f->dir, STORE_FAULT_FOLDER);
    mkdir(path_of(f, "sub"), 0700);
    refuses(f, "sqlite:sub", f->dir, STORE_FAULT_FOLDER);
}

static void refuses_a_newer_schema_and_leaves_it_alone(void **state) {
    struct fixture *f = *state;
    give_id(f, id_of(1));
    fixture_close(f);
    sql(f, "PRAGMA user_version = 9999");
    refuses(f, f->backend->url, f->dir, STORE_FAULT_VERSION);
    sql(f, "PRAGMA user_version = 4");
    fixture_open(f);
    assert_int_equal(status_of(f, ask_row(f, id_of(1), 0)), STORE_OK);
}

static void refuses_the_database_of_another_program(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    unlink(path_of(f, "anyllm.db"));
    sql(f, "CREATE TABLE theirs(a); INSERT INTO theirs VALUES(1)");
    refuses(f, f->backend->url, f->dir, STORE_FAULT_VERSION);
    sql(f, "INSERT INTO theirs VALUES(2); CREATE TABLE more(b)");
}

static void refuses_a_corrupt_header(void **state) {
    struct fixture *f = *state;
    static char garbage[8192];
    fixture_close(f);
    memset(garbage, 'x', sizeof garbage);
    write_file(path_of(f, "anyllm.db"), garbage, sizeof garbage);
    refuses(f, f->backend->url, f->dir, STORE_FAULT_DAMAGED);
}

static void an_empty_file_is_a_new_database(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    write_file(path_of(f, "anyllm.db"), "", 0);
    fixture_open(f);
    assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
}

static unsigned mode_of(struct fixture *f, const char *file) {
    struct stat st;
    assert_int_equal(stat(path_of(f, file), &st), 0);
    return st.st_mode & 0777;
}

static void files_are_private(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
    assert_int_equal(mode_of(f, "anyllm.db"), 0600);
    assert_int_equal(mode_of(f, "anyllm.db-wal"), 0600);
    assert_int_equal(mode_of(f, "anyllm.db-shm"), 0600);
    fixture_close(f);
    chmod(path_of(f, "anyllm.db"), 0644);
    fixture_open(f);
    assert_int_equal(mode_of(f, "anyllm.db"), 0600);
}

static void close_leaves_one_file(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 50; i++) give_id(f, id_of(i));
    fixture_close(f);
    assert_int_equal(access(path_of(f, "anyllm.db-wal"), F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

/* --- an outsider */

struct outsider {
    struct fixture *f;
    sqlite3 *db;
    uv_timer_t timer;
};

static void let_go(uv_timer_t *t) {
    struct outsider *o = t->data;
    sqlite3_exec(o->db, "ROLLBACK", NULL, NULL, NULL);
    uv_close((uv_handle_t *)t, NULL);
}

static void a_write_waits_for_an_outsiders_lock_and_reads_do_not(void **state) {
    struct fixture *f = *state;
    struct outsider o = {.f = f};
    assert_int_equal(status_of(f, give_id(f, id_of(1))), STORE_OK);
    assert_int_equal(sqlite3_open(path_of(f, "anyllm.db"), &o.db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(o.db, "PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE", NULL, NULL, NULL),
        SQLITE_OK);
    uv_timer_init(&f->loop.uv, &o.timer);
    o.timer.data = &o;
    uv_timer_start(&o.timer, let_go, 150, 0);
    uint64_t write = give_id(f, id_of(2)), read = ask_row(f, id_of(1), 0);
    fixture_settle(f);
    assert_int_equal(f->answers[write].status, STORE_OK);
    assert_int_equal(f->answers[read].status, STORE_OK);
    assert_int_equal(f->order[f->nanswers - 1], write);
    sqlite3_close(o.db);
}

static void an_outsider_who_keeps_the_lock_makes_writes_unavailable(void **state) {
    struct fixture *f = *state;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of(f, "anyllm.db"), &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(status_of(f, give_id(f, id_of(2))), STORE_UNAVAILABLE);
    assert_false(f->can_write);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(status_of(f, give_id(f, id_of(2))), STORE_OK);
    assert_true(f->can_write);
}

static void a_backup_by_an_outsider_disturbs_nothing(void **state) {
    struct fixture *f = *state;
    sqlite3 *from, *to;
    for (unsigned i = 0; i < 200; i++) give_id(f, id_of(i));
    fixture_settle(f);
    char copy[200];
    snprintf(copy, sizeof copy, "%s", path_of(f, "copy.db"));
    assert_int_equal(sqlite3_open_v2(path_of(f, "anyllm.db"), &from, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_open(copy, &to), SQLITE_OK);
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    assert_non_null(b);
    for (unsigned i = 200; i < 400; i++) give_id(f, id_of(i));
    int rc;
    while ((rc = sqlite3_backup_step(b, 5)) == SQLITE_OK || rc == SQLITE_BUSY ||
           rc == SQLITE_LOCKED)
        continue;
    assert_int_equal(rc, SQLITE_DONE);
    sqlite3_backup_finish(b);
    sqlite3_close(to);
    sqlite3_close(from);
    fixture_settle(f);
    for (uint64_t t = 1; t <= 400; t++) assert_int_equal(f->answers[t].status, STORE_OK);
}

/* --- kill -9 */

/* The child: gives 60 operations ahead and writes the number of each answered submit into the pipe. */
struct load {
    unsigned next;
    uint64_t first[MAX_TICKETS];
    int pipe;
};
static struct load load; /* the child's alone */

static void give_more(struct fixture *f) {
    static char input[3000];
    struct store_submit in = {
        .id = id_of(load.next), .endpoint = SLICE("a/b"), .input = slice_make(input, sizeof input)};
    uint64_t t = give_submit(f, &in);
    load.first[t] = ++load.next; /* its number + 1; 0 for other tickets */
    give_claim(f, in.id, 0, "boot-1", 7);
    struct store_complete c = completion(in.id, 1, 7);
    give_complete(f, &c);
}

static void on_load_answer(struct fixture *f, uint64_t ticket) {
    if (f->answers[ticket].status != STORE_OK) _exit(3);
    if (load.first[ticket] == 0) return;
    uint32_t n = (uint32_t)load.first[ticket] - 1;
    if (write(load.pipe, &n, sizeof n) != sizeof n) _exit(4);
    if (f->tickets + 4 < MAX_TICKETS) give_more(f);
}

static void run_load(struct fixture *f, int to_parent) {
    load = (struct load){.pipe = to_parent, .next = f->step};
    if (net_loop_init(&f->loop) != 0) _exit(5);
    fixture_open(f);
    f->on_answer = on_load_answer;
    for (unsigned i = 0; i < 20; i++) give_more(f);
    net_loop_run(&f->loop);
    for (;;) pause();
}

static size_t kill_one(struct fixture *f, unsigned delay_us, uint32_t *accepted) {
    int pipes[2];
    size_t n = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        run_load(f, pipes[1]);
    }
    close(pipes[1]);
    if (read(pipes[0], &accepted[n], sizeof *accepted) == sizeof *accepted) n++;
    usleep(delay_us);
    kill(pid, SIGKILL);
    while (n < MAX_TICKETS && read(pipes[0], &accepted[n], sizeof *accepted) == sizeof *accepted)
        n++;
    close(pipes[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return n;
}

static void no_answered_submit_is_lost_by_kill_9(void **state) {
    struct fixture *f = *state;
    static uint32_t accepted[MAX_TICKETS];
    size_t all = 0;
    fixture_close(f);
    for (unsigned round = 0; round < 20; round++) {
        f->step = round * MAX_TICKETS;
        size_t n = kill_one(f, 500 + (unsigned)rand() % 30000, accepted);
        assert_true(n > 0);
        fixture_open(f);
        f->tickets = f->nanswers = 0;
        memset(f->answers, 0, sizeof f->answers);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(status_of(f, ask_row(f, id_of(accepted[i]), 0)), STORE_OK);
        fixture_close(f);
        all += n;
        sqlite3 *db;
        sqlite3_stmt *st;
        assert_int_equal(sqlite3_open(path_of(f, "anyllm.db"), &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        assert_string_equal((const char *)sqlite3_column_text(st, 0), "ok");
        sqlite3_finalize(st);
        sqlite3_close(db);
    }
    print_message("%u answered submits, 20 kills\n", (unsigned)all);
    fixture_open(f);
}

/* --- a log that is gone */

/* What the file says of itself without its log. */
static int64_t note_of(const char *path) {
    char uri[200];
    sqlite3 *db;
    sqlite3_stmt *st = NULL;
    int64_t n = -1;
    snprintf(uri, sizeof uri, "file:%s?immutable=1", path);
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'unclean'", -1, &st, NULL);
    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* A server that has accepted one request and had nothing to do for a while. */
static pid_t start_and_rest(struct fixture *f) {
    fixture_close(f);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (net_loop_init(&f->loop) != 0) _exit(5);
        f->quiet_ms = 1;
        fixture_open(f);
        if (status_of(f, give_id(f, id_of(1))) != STORE_OK) _exit(3);
        for (;;) pause();
    }
    for (unsigned i = 0; note_of(path_of(f, "anyllm.db")) <= 1; i++) {
        assert_true(i < 6000);
        usleep(5000);
    }
    return pid;
}

static void end_by_kill(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void crash(struct fixture *f) {
    end_by_kill(start_and_rest(f));
}

static void move(struct fixture *f, const char *from, const char *to) {
    char path[200];
    snprintf(path, sizeof path, "%s", path_of(f, from));
    assert_int_equal(rename(path, path_of(f, to)), 0);
}

static void copy(struct fixture *f, const char *from, const char *to) {
    static char bytes[1U << 20];
    int fd = open(path_of(f, from), O_RDONLY);
    ssize_t n = read(fd, bytes, sizeof bytes);
    assert_in_range(n, 4096, sizeof bytes - 1);
    close(fd);
    write_file(path_of(f, to), bytes, (size_t)n);
}

static void opens_with(struct fixture *f, enum store_status first) {
    f->nanswers = f->tickets = 0;
    memset(f->answers, 0, sizeof f->answers);
    fixture_open(f);
    assert_int_equal(status_of(f, ask_row(f, id_of(1), 0)), first);
}

static void misses_a_log_that_was_deleted_after_a_crash(void **state) {
    struct fixture *f = *state;
    crash(f);
    move(f, "anyllm.db-wal", "kept");
    refuses(f, "sqlite:anyllm.db", f->dir, STORE_FAULT_DAMAGED);
    refuses(f, "sqlite:anyllm.db", f->dir, STORE_FAULT_DAMAGED);
    move(f, "kept", "anyllm.db-wal");
    opens_with(f, STORE_OK);
    fixture_close(f); /* which writes the log back and says so */
    opens_with(f, STORE_OK);
}

static void misses_the_log_of_a_file_behind_a_link(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    move(f, "anyllm.db", "else%41?#where.db");
    assert_int_equal(symlink("else%41?#where.db", path_of(f, "anyllm.db")), 0);
    fixture_open(f);
    crash(f);
    assert_int_equal(unlink(path_of(f, "else%41?#where.db-wal")), 0);
    refuses(f, "sqlite:anyllm.db", f->dir, STORE_FAULT_DAMAGED);
    unlink(path_of(f, "else%41?#where.db-shm"));
    opens_with(f, STORE_OK);
}

static void an_empty_log_is_none(void **state) {
    struct fixture *f = *state;
    crash(f);
    write_file(path_of(f, "anyllm.db-wal"), "", 0);
    refuses(f, "sqlite:anyllm.db", f->dir, STORE_FAULT_DAMAGED);
    unlink(path_of(f, "anyllm.db-shm")); /* as the reason says */
    opens_with(f, STORE_OK);
}

static void a_log_that_another_program_has_written_back_is_not_missed(void **state) {
    struct fixture *f = *state;
    crash(f);
    sql(f, "SELECT count(*) FROM request");
    assert_int_equal(access(path_of(f, "anyllm.db-wal"), F_OK), -1);
    opens_with(f, STORE_OK);
}

/* As `sqlite3 -readonly`: who may not write leaves an empty log and its index. */
static void an_empty_log_that_a_reader_left_is_not_missed(void **state) {
    struct fixture *f = *state;
    sqlite3 *db;
    crash(f);
    sql(f, "SELECT count(*) FROM request");
    assert_int_equal(access(path_of(f, "anyllm.db-wal"), F_OK), -1);
    assert_int_equal(sqlite3_open_v2(path_of(f, "anyllm.db"), &db, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT count(*) FROM request", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(access(path_of(f, "anyllm.db-shm"), F_OK), 0);
    opens_with(f, STORE_OK);
}

/* What another program has written back and cut off beside a server that was then killed. */
static void a_log_that_was_cut_off_beside_a_server_is_not_missed(void **state) {
    struct fixture *f = *state;
    sqlite3 *db;
    pid_t pid = start_and_rest(f);
    assert_int_equal(sqlite3_open(path_of(f, "anyllm.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    end_by_kill(pid);
    opens_with(f, STORE_OK);
}

static void a_copy_misses_no_log(void **state) {
    struct fixture *f = *state;
    crash(f);
    unlink(path_of(f, "anyllm.db-wal"));
    copy(f, "anyllm.db", "copy.db");
    move(f, "copy.db", "anyllm.db");
    opens_with(f, STORE_OK);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite open", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(refuses_urls_it_does_not_know),
        T(refuses_a_folder_it_cannot_use),
        T(refuses_a_newer_schema_and_leaves_it_alone),
        T(refuses_the_database_of_another_program),
        T(refuses_a_corrupt_header),
        T(misses_a_log_that_was_deleted_after_a_crash),
        T(misses_the_log_of_a_file_behind_a_link),
        T(an_empty_log_is_none),
        T(a_log_that_another_program_has_written_back_is_not_missed),
        T(an_empty_log_that_a_reader_left_is_not_missed),
        T(a_log_that_was_cut_off_beside_a_server_is_not_missed),
        T(a_copy_misses_no_log),
        T(an_empty_file_is_a_new_database),
        T(files_are_private),
        T(close_leaves_one_file),
        T(a_write_waits_for_an_outsiders_lock_and_reads_do_not),
        T(an_outsider_who_keeps_the_lock_makes_writes_unavailable),
        T(a_backup_by_an_outsider_disturbs_nothing),
        T(no_answered_submit_is_lost_by_kill_9),
    };
    srand((unsigned)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
