/* The private server of the client commands, run as people run them: nothing listens at the default address, the folders are
 * the test's own, the mock is the upstream. And what `serve` has for it: unix: addresses, --idle-exit. */
#include "client/pty.h"
#include "operator_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOTICE "started a private server"
#define MOCKS_ANSWER "The meaning of life"
#define ENV_COUNT 12

static struct mock mock;
static char runtime[MAX_PATH + 16], state_dir[MAX_PATH + 16], log_path[MAX_PATH + 64];
static char variables[ENV_COUNT][MAX_PATH + 64];
static char *environment[ENV_COUNT + 1];

/* ---- The surroundings ---- */

static bool default_address_is_taken(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8787)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
    close(fd);
    return taken;
}

static void set_variable(const char *name, const char *value) {
    size_t i = 0;
    while (environment[i] != NULL && strncmp(environment[i], name, strlen(name)) != 0) i++;
    assert_true(i < ENV_COUNT);
    snprintf(variables[i], sizeof variables[i], "%s=%s", name, value);
    environment[i] = variables[i];
}

static void write_config(const char *prefix, const char *more) {
    char text[1024], path[MAX_PATH + 64];
    snprintf(path, sizeof path, "%s/config/anyllm/anyllm.yaml", folder);
    snprintf(text, sizeof text,
             "upstreams: { m: { kind: openai, base_url: http://127.0.0.1:%u%s/v1 } }\n"
             "routes: [{ model: \"*\", to: [m] }]\n%s",
             mock.port, prefix, more);
    file_write(path, text, strlen(text));
    chmod(path, 0600);
}

static void make_folder(const char *name, char out[MAX_PATH + 16]) {
    assert_true(snprintf(out, MAX_PATH + 16, "%s/%s", folder, name) < MAX_PATH + 16);
    assert_int_equal(mkdir(out, 0700), 0);
}

static int arrange(void **state) {
    char path[MAX_PATH + 16], sub[MAX_PATH + 64];
    static const char *const others[] = {"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"};
    static const char *const names[] = {"config", "cache", "data"};
    scratch_make(folder);
    memset(environment, 0, sizeof environment);
    make_folder("run", runtime);
    make_folder("state", state_dir);
    snprintf(log_path, sizeof log_path, "%s/anyllm/private.log", state_dir);
    for (size_t i = 0; i < 3; i++) {
        make_folder(names[i], path);
        set_variable(others[i], path);
    }
    set_variable("HOME", folder);
    set_variable("PATH", "/usr/bin:/bin");
    set_variable("XDG_RUNTIME_DIR", runtime);
    set_variable("XDG_STATE_HOME", state_dir);
    set_variable("ASAN_OPTIONS", "detect_leaks=0");
    snprintf(sub, sizeof sub, "%s/config/anyllm", folder);
    assert_int_equal(mkdir(sub, 0700), 0);
    mock_reset(&mock);
    write_config("", "");
    return 0;
}

static int suite_begins(void **state) {
    mock_start(&mock);
    return 0;
}

static int suite_ends(void **state) {
    mock_stop(&mock);
    return 0;
}

/* ---- The private server, seen from outside ---- */

/* The process that listens there; 0: nobody. */
static pid_t listener(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct ucred who = {0};
    socklen_t len = sizeof who;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(at.sun_path, sizeof at.sun_path, "%s/anyllm/server.sock", runtime);
    assert_true(n < (int)sizeof at.sun_path);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
    close(fd);
    return who.pid;
}

/* Ours, because this process takes in the orphans; or of a command that still runs. */
static bool has_ended(pid_t pid) {
    char path[64], text[512] = "";
    if (waitpid(pid, NULL, WNOHANG) == pid) return true;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    bool there = f != NULL && fread(text, 1, sizeof text - 1, f) > 0;
    if (f != NULL) fclose(f);
    return !there || strstr(text, ") Z ") != NULL;
}

static void wait_for_end(pid_t pid) {
    for (uint64_t end = now_ms() + PATIENCE_MS; !has_ended(pid) && now_ms() < end;) sleep_ms(5);
    assert_true(has_ended(pid));
}

static int tidy(void **state) {
    pid_t pid = listener();
    if (pid > 0) {
        kill(pid, SIGKILL);
        wait_for_end(pid);
    }
    scratch_remove(folder);
    return 0;
}

static size_t count_in(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) n++;
    return n;
}

static void expect_log(const char *says) {
    size_t len;
    char *text = file_text(log_path, &len);
    expect_in(text, says);
    free(text);
}

static void client(struct program *p, char *const *argv) {
    program_begin(p, anyllm_path, "", -1, environment, argv);
    program_ends(p);
}

#define ASK(p, ...) client((p), ARGV(__VA_ARGS__))

static void wait_for_mock(const char *name, unsigned long n) {
    uint64_t end = now_ms() + PATIENCE_MS;
    while (mock_count(&mock, name) != n && now_ms() < end) sleep_ms(10);
    assert_int_equal(mock_count(&mock, name), n);
}

/* ---- One command answers ---- */

static void one_command_answers_and_the_next_finds_its_server(void **state) {
    struct program p;
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    assert_int_equal(count_in(p.err, "\n"), 1);
    expect_in(p.err, NOTICE);
    expect_in(p.err, "5 minutes");
    expect_in(p.err, log_path);
    pid_t first = listener();
    assert_true(first > 0);
    ASK(&p, "run", "again");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    assert_string_equal(p.err, "");
    assert_int_equal(listener(), first);
    ASK(&p, "stream", "again");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    assert_int_equal(listener(), first);
}

/* Where another command may have started it, its request is found, too. */
static void the_other_commands_take_one_that_runs_and_start_none(void **state) {
    struct program p;
    char id[128];
    ASK(&p, "submit", "hi");
    expect_code(&p, 3);
    expect_in(p.err, "anyllm serve");
    assert_int_equal(listener(), 0);
    ASK(&p, "run", "--quiet", "hi");
    expect_code(&p, 0);
    assert_string_equal(p.err, "");
    ASK(&p, "submit", "hi");
    expect_code(&p, 0);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(p.out, "\n"), p.out);
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(10)) {
        ASK(&p, "result", id);
        if (p.code == 0) break;
    }
    expect_in(p.out, MOCKS_ANSWER);
}

static void pictures_reach_it(void **state) {
    struct program p;
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/cat.png", folder);
    file_write(path, "\x89PNG\r\n\x1a\n", 8);
    ASK(&p, "run", "--image", path, "what?");
    expect_code(&p, 0);
    ASK(&p, "stream", "--image", path, "what?");
    expect_code(&p, 0);
    yyjson_doc *doc = mock_stats(&mock);
    expect_in(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "last_body")),
              "\"url\":\"data:image/png;base64,iVBORw0KGgo=\"");
    yyjson_doc_free(doc);
}

/* The reader of the pipe sees its end although the server lives on. */
static void it_holds_none_of_the_callers_pipes(void **state) {
    struct program p;
    set_variable("ANYLLM", anyllm_path);
    program_begin(&p, "/bin/sh", "", -1, environment, ARGV("-c", "\"$ANYLLM\" run hi 2>&1 | cat"));
    program_ends(&p);
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    assert_true(listener() > 0);
}

static void several_at_once_start_one(void **state) {
    enum { COMMANDS = 6 };
    struct program p[COMMANDS];
    size_t notices = 0, len;
    for (size_t i = 0; i < COMMANDS; i++)
        program_begin(&p[i], anyllm_path, "", -1, environment, ARGV("run", "hi"));
    for (size_t i = 0; i < COMMANDS; i++) {
        program_ends(&p[i]);
        expect_code(&p[i], 0);
        expect_in(p[i].out, MOCKS_ANSWER);
        notices += count_in(p[i].err, NOTICE);
    }
    assert_int_equal(notices, 1);
    char *text = file_text(log_path, &len), old[MAX_PATH + 80];
    assert_int_equal(count_in(text, "event=started"), 1);
    free(text);
    snprintf(old, sizeof old, "%s.old", log_path);
    assert_int_not_equal(access(old, F_OK), 0);
}

/* ---- Its end ---- */

static void it_ends_when_nobody_comes(void **state) {
    struct program p;
    set_variable("ANYLLM_PRIVATE_IDLE", "1");
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.err, "1 s without use");
    pid_t first = listener();
    if (first > 0) wait_for_end(first); /* on a slow machine it has ended before */
    assert_int_equal(listener(), 0);
    expect_log("reason=idle");
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.err, NOTICE);
}

/* Thinking may take longer than it stays. (A kept connection of chat's is closed by the server after a minute.) */
static void chat_outlives_its_server(void **state) {
    static struct pty p;
    set_variable("TERM", "xterm");
    pty_start(&p, anyllm_path, environment, ARGV("chat", "--quiet"));
    for (int i = 0; i < 2; i++) {
        pty_expect(&p, "> ");
        pty_type(&p, "hi\r");
        pty_expect(&p, MOCKS_ANSWER);
        pty_expect(&p, "> ");
        pid_t pid = listener();
        assert_true(pid > 0);
        kill(pid, SIGTERM);
        wait_for_end(pid);
        pty_type(&p, "\r");
    }
    pty_type(&p, "\x04");
    pty_end(&p);
    assert_int_equal(p.code, 0);
}

/* Also one who is gone before the server looks. Where this test itself was held up for too long it shows nothing. */
static void whoever_comes_keeps_it(void **state) {
    struct program p;
    set_variable("ANYLLM_PRIVATE_IDLE", "1");
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    pid_t first = listener(), last = first;
    uint64_t end = now_ms() + 2500, before = now_ms(), longest = 0;
    for (uint64_t now = before; now < end && last == first; now = now_ms()) {
        longest = now - before > longest ? now - before : longest;
        before = now;
        sleep_ms(70);
        last = listener();
    }
    assert_true(first == last || longest > 500);
}

static void a_request_that_runs_keeps_it(void **state) {
    struct program p;
    set_variable("ANYLLM_PRIVATE_IDLE", "1");
    write_config("/delay/2500", "");
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    ASK(&p, "submit", "--quiet", "hi");
    if (p.code == 3) return; /* this test was held up: the server had ended before */
    expect_code(&p, 0);
    sleep_ms(1600);
    pid_t pid = listener();
    assert_true(pid > 0 || mock_count(&mock, "open") == 0);
    if (pid > 0) wait_for_end(pid);
    wait_for_mock("open", 0);
    assert_int_equal(mock_count(&mock, "aborted"), 0);
    assert_int_equal(mock_count(&mock, "calls"), 2);
}

static void after_kill_9_the_next_command_starts_another(void **state) {
    struct program p;
    ASK(&p, "run", "hi");
    pid_t first = listener();
    assert_true(first > 0);
    kill(first, SIGKILL);
    wait_for_end(first);
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    expect_in(p.err, NOTICE);
    assert_int_not_equal(listener(), first);
}

/* Stopped, it takes connections and answers nobody. */
static void a_timeout_holds_while_it_is_not_ready(void **state) {
    struct program p;
    client(&p, ARGV("run", "hi"));
    expect_code(&p, 0);
    pid_t pid = listener();
    assert_true(pid > 0);
    kill(pid, SIGSTOP);
    client(&p, ARGV("run", "--timeout", "1", "hi"));
    kill(pid, SIGCONT);
    expect_code(&p, 4);
    expect_in(p.err, "the private server is not ready yet");
}

/* As a command that starts the server holds it. */
static int hold_the_start(void) {
    char path[MAX_PATH + 64];
    snprintf(path, sizeof path, "%s/anyllm", runtime);
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/anyllm/server.lock", runtime);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

static void a_timeout_holds_while_another_command_starts_it(void **state) {
    static const char *const commands[] = {"run", "stream", "chat"};
    struct program p;
    int lock = hold_the_start();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        uint64_t began = now_ms();
        program_begin(&p, anyllm_path, "hi\n", -1, environment,
                      ARGV((char *)(uintptr_t)commands[i], "--timeout", "0.5"));
        program_ends(&p);
        expect_code(&p, 4);
        expect_in(p.err, "timed out: the private server is not ready yet");
        assert_true(now_ms() - began >= 500);
    }
    assert_int_equal(listener(), 0);
    close(lock);
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
}

static void a_wait_for_another_command_ends_when_it_has_started_it(void **state) {
    struct program p;
    int lock = hold_the_start();
    program_begin(&p, anyllm_path, "", -1, environment, ARGV("run", "--timeout", "60", "hi"));
    sleep_ms(300);
    close(lock);
    program_ends(&p);
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
}

static void ctrl_c_ends_a_wait_for_another_command(void **state) {
    static struct pty p;
    set_variable("TERM", "xterm");
    pty_start(&p, anyllm_path, environment, ARGV("chat"));
    pty_expect(&p, "> ");
    pid_t pid = listener();
    assert_true(pid > 0);
    kill(pid, SIGTERM);
    wait_for_end(pid);
    int lock = hold_the_start();
    pty_type(&p, "hi\r");
    pty_expect(&p, "waiting for a private server");
    pty_type(&p, "\x03");
    pty_expect(&p, "> ");
    pty_type(&p, "\x04");
    pty_end(&p);
    assert_int_equal(p.code, 0);
    close(lock);
}

/* At a logout the folder goes: nobody could come any more, and the data folder would stay locked. */
static void without_its_socket_it_ends(void **state) {
    struct program p;
    char path[MAX_PATH + 64];
    ASK(&p, "run", "hi");
    pid_t first = listener();
    assert_true(first > 0);
    snprintf(path, sizeof path, "%s/anyllm/server.sock", runtime);
    unlink(path);
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.err, NOTICE);
    wait_for_end(first);
}

/* ---- Alone ---- */

/* The file's keys, certificates and addresses are for `serve`; its upstreams are for both. */
static void it_takes_no_keys_and_opens_no_port(void **state) {
    struct program p;
    write_config("", "keys: [{ id: a, secret: " CANARY_CLIENT " }]\nlisten: 127.0.0.1:8787\n"
                     "listen_tls: 127.0.0.1:0\ntls_cert: /nonexistent\ntls_key: /nonexistent\n"
                     "public_url: https://llm.example.org\nstore: sqlite:/nonexistent/other.db\n");
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    assert_false(default_address_is_taken());
}

static void a_later_serve_never_meets_it(void **state) {
    struct program p;
    char path[MAX_PATH + 64];
    struct server_options o = {
        .config = "upstreams: { m: { kind: openai, base_url: http://127.0.0.1:1/v1 } }\n",
        .data = path};
    snprintf(path, sizeof path, "%s/data/anyllm", folder);
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    server_start(&server, &o);
    ASK(&p, "run", "hi");
    expect_code(&p, 0);
    assert_string_equal(p.err, "");
    server_stop(&server);
}

/* ---- What goes wrong is said in one line ---- */

static void expect_refusal(const char *says, const char *and_says) {
    struct program p;
    ASK(&p, "run", "hi");
    expect_code(&p, 3);
    assert_int_equal(count_in(p.err, "\n"), 1);
    expect_in(p.err, says);
    expect_in(p.err, and_says);
    expect_in(p.err, "--base");
    assert_string_equal(p.out, "");
    assert_int_equal(listener(), 0);
}

static void without_a_model_it_says_what_to_do(void **state) {
    char path[MAX_PATH + 64];
    snprintf(path, sizeof path, "%s/config/anyllm/anyllm.yaml", folder);
    unlink(path);
    expect_refusal("make demo", "OPENROUTER_API_KEY");
}

static void a_wrong_configuration_is_named_by_its_line(void **state) {
    write_config("", "nonsense: 1\n");
    expect_refusal("anyllm.yaml:3", "nonsense");
}

static void a_folder_that_others_can_read_is_refused(void **state) {
    char path[MAX_PATH + 64];
    snprintf(path, sizeof path, "%s/anyllm", runtime);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0755), 0);
    expect_refusal(path, "only you can read");
}

static void a_path_too_long_for_a_socket_is_named(void **state) {
    char path[MAX_PATH + 16], name[101];
    memset(name, 'x', 100);
    name[100] = '\0';
    make_folder(name, path);
    set_variable("XDG_RUNTIME_DIR", path);
    expect_refusal(path, "XDG_RUNTIME_DIR");
}

/* ---- Ctrl-C ---- */

static void ctrl_c_stops_the_upstreams_work(char *how) {
    static struct pty p;
    write_config("/silent", "");
    set_variable("TERM", "xterm");
    pty_start(&p, anyllm_path, environment, ARGV("run", how, "hi"));
    wait_for_mock("open", 1);
    pty_type(&p, "\x03");
    pty_end(&p);
    assert_int_equal(p.code, 130);
    wait_for_mock("aborted", 1);
}

static void ctrl_c_cancels_what_is_queued(void **state) {
    ctrl_c_stops_the_upstreams_work((char[]){"--no-stream"});
}

static void ctrl_c_cancels_a_stream(void **state) {
    ctrl_c_stops_the_upstreams_work((char[]){"--stream"});
}

/* ---- serve: unix: and --idle-exit ---- */

static void serve_on(struct program *p, const char *listen, const char *idle) {
    program_begin(p, anyllm_path, "", -1, environment,
                  ARGV("serve", "--listen", (char *)(uintptr_t)listen, "--idle-exit",
                       (char *)(uintptr_t)idle));
}

static void serve_ends_after_idle_exit(void **state) {
    struct program p;
    char listen[MAX_PATH + 64];
    struct stat st;
    snprintf(listen, sizeof listen, "unix:%s/own.sock", runtime);
    serve_on(&p, listen, "1");
    program_ends(&p);
    expect_code(&p, 0);
    expect_in(p.err, "listening on unix:/");
    expect_in(p.err, "reason=idle");
    assert_int_not_equal(stat(listen + 5, &st), 0);
}

static void a_unix_address_is_for_its_user_and_takes_keys(void **state) {
    struct program p, served;
    char listen[MAX_PATH + 64];
    struct stat st = {0};
    snprintf(listen, sizeof listen, "unix:%s/own.sock", runtime);
    write_config("", "keys: [{ id: a, secret: " CANARY_CLIENT " }]\n");
    serve_on(&served, listen, "30");
    for (uint64_t end = now_ms() + PATIENCE_MS; stat(listen + 5, &st) != 0 && now_ms() < end;)
        sleep_ms(10);
    assert_int_equal(st.st_mode & 0777, 0600);
    ASK(&p, "run", "--base", listen, "hi");
    expect_code(&p, 1);
    expect_in(p.err, "HTTP 401");
    set_variable("ANYLLM_KEY", "a:" CANARY_CLIENT);
    ASK(&p, "run", "--base", listen, "hi");
    expect_code(&p, 0);
    expect_in(p.out, MOCKS_ANSWER);
    kill(served.pid, SIGTERM);
    program_ends(&served);
    expect_code(&served, 0);
}

static void a_unix_address_is_an_absolute_path_that_fits(void **state) {
    struct program p;
    char path[200] = "unix:/";
    serve_on(&p, "unix:own.sock", "1");
    program_ends(&p);
    expect_code(&p, 78);
    expect_in(p.err, "absolute path");
    memset(path + 6, 'x', sizeof path - 7);
    serve_on(&p, path, "1");
    program_ends(&p);
    expect_code(&p, 78);
    expect_in(p.err, "107 bytes");
}

#define PRIVATE(t) cmocka_unit_test_setup_teardown(t, arrange, tidy)

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        PRIVATE(one_command_answers_and_the_next_finds_its_server),
        PRIVATE(the_other_commands_take_one_that_runs_and_start_none),
        PRIVATE(pictures_reach_it),
        PRIVATE(it_holds_none_of_the_callers_pipes),
        PRIVATE(several_at_once_start_one),
        PRIVATE(it_ends_when_nobody_comes),
        PRIVATE(chat_outlives_its_server),
        PRIVATE(whoever_comes_keeps_it),
        PRIVATE(a_request_that_runs_keeps_it),
        PRIVATE(after_kill_9_the_next_command_starts_another),
        PRIVATE(a_timeout_holds_while_it_is_not_ready),
        PRIVATE(a_timeout_holds_while_another_command_starts_it),
        PRIVATE(a_wait_for_another_command_ends_when_it_has_started_it),
        PRIVATE(ctrl_c_ends_a_wait_for_another_command),
        PRIVATE(without_its_socket_it_ends),
        PRIVATE(it_takes_no_keys_and_opens_no_port),
        PRIVATE(a_later_serve_never_meets_it),
        PRIVATE(without_a_model_it_says_what_to_do),
        PRIVATE(a_wrong_configuration_is_named_by_its_line),
        PRIVATE(a_folder_that_others_can_read_is_refused),
        PRIVATE(a_path_too_long_for_a_socket_is_named),
        PRIVATE(ctrl_c_cancels_what_is_queued),
        PRIVATE(ctrl_c_cancels_a_stream),
        PRIVATE(serve_ends_after_idle_exit),
        PRIVATE(a_unix_address_is_for_its_user_and_takes_keys),
        PRIVATE(a_unix_address_is_an_absolute_path_that_fits),
    };
    if (default_address_is_taken()) {
        print_message("skip: something listens on 127.0.0.1:8787\n");
        return 77;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return suite_main(argc, argv, "private", tests, sizeof tests / sizeof *tests, suite_begins,
                      suite_ends);
}
