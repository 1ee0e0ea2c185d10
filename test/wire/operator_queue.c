/* anyllm queue and anyllm backup as people run them, and one server that takes over from another. */
#include "operator_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE "/queue/fal-ai/any-llm"
#define SILENT "{\"prompt\":\"x\",\"model\":\"test/silent\"}"
#define SLOW "{\"prompt\":\"x\",\"model\":\"test/slow\"}"

static struct mock mock;

static char *submit(const char *headers, const char *body) {
    struct answer a = post(server.port, QUEUE, headers, body, strlen(body));
    expect_status("submit", &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

static void until(const char *name, unsigned long want) {
    for (uint64_t end = now_ms() + PATIENCE_MS; metric(server.port, name) != want; sleep_ms(5))
        if (now_ms() > end) fail_msg("%s does not become %lu", name, want);
}

/* Each stands after the one before it. */
static void expect_in_order(const char *text, char *const *ids, size_t n) {
    const char *at = text;
    for (size_t i = 0; i < n; i++) {
        const char *found = strstr(at, ids[i]);
        if (found == NULL) fail_msg("no %s after the one before it in:\n%s", ids[i], text);
        at = found;
    }
}

/* --- queue */

/* One runs, a low one waits behind two normal ones. In the order in which they start. */
static void fill(char *ids[4]) {
    ids[0] = submit("", SILENT);
    until("anyllm_queue_running", 1);
    ids[3] = submit("X-Fal-Queue-Priority: low\r\n", SILENT);
    ids[1] = submit("", SILENT);
    ids[2] = submit("", SILENT);
}

static void the_table_shows_what_runs_and_then_what_waits_in_order(void **state) {
    struct program p;
    char *ids[4];
    serve();
    fill(ids);
    COMMAND(&p, "queue");
    expect_code(&p, 0);
    expect_in(p.out, "waiting 3 (oldest ");
    expect_in(p.out, "running 1 (oldest ");
    expect_in(p.out, "quarantined 0");
    expect_in(p.out, "store writes, check ");
    expect_in(p.out, " free), log ");
    expect_in(p.out, "POSITION  STATE ");
    expect_in(p.out, "low       "); /* a column */
    expect_in_order(p.out, ids, 4);
    expect_not_in(p.out, "\033");
    COMMAND(&p, "queue", "--limit", "2");
    expect_in_order(p.out, ids, 2);
    expect_not_in(p.out, ids[3]);
    expect_in(p.out, "and 2 more\n");
    COMMAND(&p, "queue", "--json");
    expect_in_order(p.out, ids, 4);
    expect_in(p.out, "{\"live\":true,\"waiting\":3,\"running\":1,\"owners\":1,");
    /* shown to its caller before others came, so 0 */
    expect_in(p.out, "\"step\":\"waiting\",\"priority\":\"low\",\"attempt\":0,\"position\":0,");
    expect_in(p.out, "\"position\":1,");
    expect_in(p.out, "\"position\":null,");
    for (size_t i = 0; i < 4; i++) free(ids[i]);
}

static void without_a_server_the_queue_is_read_from_the_store(void **state) {
    struct program p;
    char *ids[4];
    serve();
    fill(ids);
    kill_server();
    COMMAND(&p, "queue");
    expect_code(&p, 0);
    expect_in(p.out, "waiting 3 (oldest ");
    expect_in(p.out, "running 1 (oldest ");
    expect_in(p.out, "no server runs");
    expect_not_in(p.out, "MiB"); /* not measured */
    expect_in_order(p.out, ids, 4);
    COMMAND(&p, "queue", "--json", "--limit", "3");
    expect_in(p.out, "{\"live\":false,");
    expect_in(p.out, "\"step\":\"lost\"");
    expect_in(p.out, "\"position\":null");
    expect_in(p.out, "\"more\":1}");
    expect_not_in(p.out, "bytes\":");
    serve(); /* the lock is free again */
    until("anyllm_queue_running", 1);
    for (size_t i = 0; i < 4; i++) free(ids[i]);
}

/* --- on a terminal */

struct terminal {
    int master, slave;
    struct text seen;
};

static struct terminal terminal_open(unsigned short lines) {
    struct terminal t = {.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    struct winsize size = {.ws_row = lines, .ws_col = 80};
    assert_true(t.master >= 0);
    assert_int_equal(grantpt(t.master), 0);
    assert_int_equal(unlockpt(t.master), 0);
    t.slave = open(ptsname(t.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(t.slave >= 0);
    assert_int_equal(ioctl(t.slave, TIOCSWINSZ, &size), 0);
    assert_int_equal(fcntl(t.master, F_SETFL, O_NONBLOCK), 0);
    return t;
}

static void terminal_read(struct terminal *t) {
    char bytes[4096];
    for (ssize_t n; (n = read(t->master, bytes, sizeof bytes)) > 0;)
        text_add(&t->seen, bytes, (size_t)n);
}

static void terminal_wait(struct terminal *t, const char *part) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(20)) {
        terminal_read(t);
        if (t->seen.p != NULL && strstr(t->seen.p, part) != NULL) return;
    }
    fail_msg("%s is never shown:\n%s", part, t->seen.p != NULL ? t->seen.p : "");
}

static void terminal_close(struct terminal *t) {
    close(t->slave);
    close(t->master);
    text_free(&t->seen);
}

#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static void expect_left(struct terminal *t) {
    terminal_read(t);
    assert_memory_equal(t->seen.p, ENTER, strlen(ENTER));
    assert_true(t->seen.len > strlen(LEAVE));
    assert_string_equal(t->seen.p + t->seen.len - strlen(LEAVE), LEAVE);
}

static void on_a_terminal_the_table_goes_on_until_it_is_interrupted(void **state) {
    struct terminal t = terminal_open(7);
    struct program p;
    char *ids[4];
    serve();
    command_to(&p, t.slave, ARGV("queue", "--config", file));
    terminal_wait(&t, "waiting 0");
    fill(ids);
    terminal_wait(&t, "waiting 3");
    terminal_wait(&t, ids[1]);
    terminal_wait(&t, "and 2 more");
    expect_not_in(t.seen.p, ids[2]); /* seven lines hold two requests */
    kill(p.pid, SIGINT);
    program_ends(&p);
    expect_code(&p, 0);
    expect_left(&t);
    assert_string_equal(p.err, "");
    terminal_close(&t);
    for (size_t i = 0; i < 4; i++) free(ids[i]);
}

static void the_terminal_is_left_when_the_server_ends(void **state) {
    struct terminal t = terminal_open(24);
    struct program p;
    serve();
    command_to(&p, t.slave, ARGV("queue", "--config", file));
    terminal_wait(&t, "waiting 0");
    kill_server();
    program_ends(&p);
    expect_code(&p, 3);
    expect_left(&t);
    expect_in(p.err, "anyllm queue: ");
    terminal_close(&t);
}

static void why_the_table_ended_is_said_after_the_screen_is_left(void **state) {
    struct terminal t = terminal_open(24);
    struct program p;
    serve();
    program_begin(&p, "/bin/sh", "", t.slave, ENV((char[]){"ASAN_OPTIONS=detect_leaks=0"}),
                  ARGV("-c", "exec \"$0\" queue --data \"$1\" --config \"$2\" 2>&1",
                       (char *)(uintptr_t)anyllm_path, data, file));
    terminal_wait(&t, "waiting 0");
    kill_server();
    program_ends(&p);
    expect_code(&p, 3);
    terminal_wait(&t, LEAVE "anyllm queue: ");
    terminal_close(&t);
}

static void on_a_terminal_once_is_once(void **state) {
    struct terminal t = terminal_open(24);
    struct program p;
    serve();
    command_to(&p, t.slave, ARGV("queue", "--once", "--config", file));
    program_ends(&p);
    expect_code(&p, 0);
    terminal_read(&t);
    expect_in(t.seen.p, "waiting 0");
    expect_not_in(t.seen.p, "\033");
    server_stop(&server);
    command_to(&p, t.slave,
               ARGV("queue", "--config", file)); /* nobody else could start meanwhile */
    program_ends(&p);
    expect_code(&p, 0);
    terminal_wait(&t, "no server runs");
    expect_not_in(t.seen.p, "\033");
    terminal_close(&t);
}

/* --- backup */

static void in_folder(char out[MAX_PATH + 32], const char *name) {
    snprintf(out, MAX_PATH + 32, "%s/%s", folder, name);
}

/* A server on the copy alone knows the request. */
static void expect_restored(const char *copy, char *const *ids, size_t n) {
    char from[MAX_PATH + 32], restored[MAX_PATH + 32], db[MAX_PATH + 64];
    struct server again;
    in_folder(from, copy);
    in_folder(restored, "restored");
    snprintf(db, sizeof db, "%s/anyllm.db", restored);
    assert_int_equal(mkdir(restored, 0700), 0);
    assert_int_equal(rename(from, db), 0);
    struct server_options o = {.config = config, .data = restored};
    server_start(&again, &o);
    for (size_t i = 0; i < n; i++) {
        struct answer a = result_of(again.port, QUEUE, "", ids[i]);
        expect_status("restored", &a, 200);
        answer_free(&a);
    }
    server_stop(&again);
}

static void a_backup_is_whole_and_overwrites_nothing(void **state) {
    char path[MAX_PATH + 32], *ids[20];
    struct program p;
    struct stat st;
    serve();
    for (size_t i = 0; i < 20; i++) ids[i] = submit("", SLOW);
    COMMAND(&p, "backup", "copy.db"); /* here, not in the server's folder */
    expect_code(&p, 0);
    in_folder(path, "copy.db");
    expect_in(p.out, path);
    expect_in(p.out, " MiB\n");
    assert_string_equal(p.err, "");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    COMMAND(&p, "backup", "copy.db");
    expect_code(&p, 1);
    expect_in(p.err, "anyllm backup: ");
    expect_in(p.err, "/copy.db is there already: a backup overwrites nothing\n");
    expect_not_in(p.err, "body.path");
    COMMAND(&p, "backup", "--json", "an other.db");
    expect_code(&p, 0);
    expect_in(p.out, "/an other.db\",\"bytes\":");
    COMMAND(&p, "backup", "none/copy.db");
    expect_code(&p, 1);
    expect_in(p.err, "anyllm backup: there is no folder ");
    expect_in(p.err, "/none\n");
    COMMAND(&p, "backup", "/proc/copy.db");
    expect_code(&p, 1);
    until("anyllm_queue_waiting", 0);
    assert_int_equal(metric(server.port, "anyllm_store_backups_total"), 2);
    server_stop(&server);
    expect_restored("copy.db", ids, 20);
    COMMAND(&p, "backup", "copy.db"); /* without a server */
    expect_code(&p, 0);
    for (size_t i = 0; i < 20; i++) free(ids[i]);
}

/* A key of scope ADMIN may list, but what files this machine has is for its users. */
static void backups_are_asked_for_over_the_socket_alone(void **state) {
    char path[MAX_PATH + 32], body[MAX_PATH + 64], header[256];
    struct program p;
    serve();
    COMMAND(&p, "keys", "create", "--scope", "ADMIN");
    expect_code(&p, 0);
    p.out[strlen(p.out) - 1] = '\0';
    snprintf(header, sizeof header, "Authorization: Key %s\r\n", p.out);
    in_folder(path, "copy.db");
    snprintf(body, sizeof body, "{\"path\":\"%s\"}", path);
    struct answer a = post(server.port, "/admin/backup", header, body, strlen(body));
    expect_status("over the network", &a, 403);
    expect_says("over the network", &a, "anyllm backup FILE");
    answer_free(&a);
    assert_int_equal(access(path, F_OK), -1);
    struct text ask_queue = {0};
    text_printf(&ask_queue, "GET /admin/queue HTTP/1.1\r\n" HOST "%s\r\n", header);
    a = ask(server.port, ask_queue.p, ask_queue.len);
    expect_status("the queue", &a, 200);
    answer_free(&a);
    text_free(&ask_queue);
}

/* --- one server after another */

static void Q13_a_second_server_on_the_folder_refuses_at_once(void **state) {
    char err[MAX_ERR];
    struct server_options o = {.config = config, .data = data};
    serve();
    assert_int_equal(server_fails(&o, err), 73);
    expect_in(err, data);
    expect_in(err, "is in use by another server");
    expect_in(err, "--wait-for-lock SECONDS");
    o.args[0] = "--wait-for-lock";
    o.args[1] = "1";
    assert_int_equal(server_fails(&o, err), 73);
    expect_in(err, "event=waiting_for_lock");
    expect_in(err, "is in use by another server");
    free(submit("", SLOW)); /* the first one has noticed nothing */
}

/* Ends the first server in a moment, from a process of its own. */
static pid_t end_later(pid_t pid, unsigned ms) {
    pid_t helper = fork();
    if (helper != 0) return helper;
    sleep_ms(ms);
    kill(pid, SIGTERM);
    _exit(0);
}

#define JOBS 200U /* at four at once of 50 ms each: more than what the first server has time for */

static void M8_a_new_server_takes_over_and_nothing_is_lost(void **state) {
    struct server_options o = {.config = config, .data = data, .args = {"--wait-for-lock", "30"}};
    struct server old;
    int status;
    char *ids[JOBS];
    serve();
    mock_reset(&mock);
    for (size_t i = 0; i < JOBS; i++) ids[i] = submit("", SLOW);
    old = server;
    pid_t helper = end_later(old.pid, 1500);
    server_start(&server, &o); /* stands by until the first one has ended */
    assert_int_equal(waitpid(helper, NULL, 0), helper);
    assert_int_equal(waitpid(old.pid, &status, WNOHANG), old.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    char *log = file_text(server.err, NULL);
    expect_in(log, "event=waiting_for_lock");
    free(log);
    for (size_t i = 0; i < JOBS; i++) {
        struct answer a = result_of(server.port, QUEUE, "", ids[i]);
        expect_status("taken over", &a, 200);
        answer_free(&a);
        free(ids[i]);
    }
    assert_int_equal(mock_count(&mock, "calls"), JOBS); /* what ran was finished, not run again */
    assert_true(metric(server.port, "anyllm_queue_completed_total") > 0);
    scratch_remove(old.dir);
}

/* --- the suite */

static int start(void **state) {
    mock_start(&mock);
    snprintf(
        config, sizeof config,
        "upstreams:\n"
        "  silent: { kind: openai, base_url: \"http://127.0.0.1:%u/silent/v1\", concurrency: 1 }\n"
        "  slow: { kind: openai, base_url: \"http://127.0.0.1:%u/delay/50/v1\", concurrency: 4 }\n"
        "routes:\n"
        "  - { model: \"test/silent\", to: [silent] }\n"
        "  - { model: \"test/slow\", to: [slow] }\n"
        "max_concurrent_calls_per_key: 4\n"
        "grace: 1\n",
        mock.port, mock.port);
    return 0;
}

static int stop(void **state) {
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        TEST(the_table_shows_what_runs_and_then_what_waits_in_order),
        TEST(without_a_server_the_queue_is_read_from_the_store),
        TEST(on_a_terminal_the_table_goes_on_until_it_is_interrupted),
        TEST(the_terminal_is_left_when_the_server_ends),
        TEST(why_the_table_ended_is_said_after_the_screen_is_left),
        TEST(on_a_terminal_once_is_once),
        TEST(a_backup_is_whole_and_overwrites_nothing),
        TEST(backups_are_asked_for_over_the_socket_alone),
        TEST(Q13_a_second_server_on_the_folder_refuses_at_once),
        TEST(M8_a_new_server_takes_over_and_nothing_is_lost),
    };
    return suite_main(argc, argv, "operator_queue", tests, sizeof tests / sizeof *tests, start,
                      stop);
}
