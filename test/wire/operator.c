/* The operator's commands (anyllm keys, usage, webhooks) as people run them: against a server, and where none runs. */
#include "operator_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define RUN_PATH "/run/fal-ai/any-llm"
#define BODY "{\"prompt\":\"x\"}"
#define SECRET_BYTES 56U
#define KEY_BYTES (36U + 1U + SECRET_BYTES)

static struct mock mock;

static void is_a_key(const char *text) {
    assert_int_equal(strlen(text), KEY_BYTES + 1);
    assert_int_equal(text[36], ':');
    assert_memory_equal(text + 37, "anyllm_", 7);
    assert_int_equal(text[KEY_BYTES], '\n');
}

/* "id:secret" of a new key. */
static void create(char key[KEY_BYTES + 1]) {
    struct program p;
    COMMAND(&p, "keys", "create");
    expect_code(&p, 0);
    is_a_key(p.out);
    snprintf(key, KEY_BYTES + 1, "%.93s", p.out);
}

static unsigned status_with(const char *key) {
    struct text header = {0};
    if (key != NULL) text_printf(&header, "Authorization: Key %s\r\n", key);
    struct answer a = post(server.port, RUN_PATH, key != NULL ? header.p : "", BODY, strlen(BODY));
    unsigned status = a.status;
    answer_free(&a);
    text_free(&header);
    return status;
}

static size_t lines(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) n += *text == '\n';
    return n;
}

static void path_in(char out[MAX_PATH + 32], const char *name) {
    snprintf(out, MAX_PATH + 32, "%s/%s", data, name);
}

/* --- keys */

static void the_first_key_closes_an_open_server(void **state) {
    struct program p;
    serve();
    assert_int_equal(status_with(NULL), 200);
    COMMAND(&p, "keys", "create", "--alias", "first");
    expect_code(&p, 0);
    is_a_key(p.out);
    p.out[KEY_BYTES] = '\0';
    expect_not_in(p.err, p.out + 37);
    expect_in(p.err, "from now on it serves nobody without one");
    assert_int_equal(status_with(NULL), 401);
    assert_int_equal(status_with(p.out), 200);
    char key[KEY_BYTES + 1], stale[KEY_BYTES + 1];
    create(stale);
    snprintf(key, sizeof key, "%.93s", p.out);
    server_stop(&server); /* and it stays closed */
    serve();
    assert_int_equal(status_with(NULL), 401);
    assert_int_equal(status_with(key), 200);
    assert_int_equal(status_with(stale), 200);
}

static void a_revoked_key_opens_nothing_from_then_on(void **state) {
    char key[KEY_BYTES + 1], other[KEY_BYTES + 1], id[37];
    struct program p;
    serve();
    create(key);
    create(other);
    snprintf(id, sizeof id, "%.36s", key);
    assert_int_equal(status_with(key), 200);
    COMMAND(&p, "keys", "revoke", id);
    expect_code(&p, 0);
    expect_in(p.out, "revoked ");
    assert_int_equal(status_with(key), 401);
    assert_int_equal(status_with(other), 200);
    COMMAND(&p, "keys", "list");
    expect_not_in(p.out, id);
    COMMAND(&p, "keys", "list", "--all");
    expect_in(p.out, id);
    expect_in(p.out, "revoked");
    server_stop(&server);
    serve();
    assert_int_equal(status_with(key), 401);
    assert_int_equal(status_with(other), 200);
}

static void a_list_shows_what_a_key_is(void **state) {
    struct program p;
    serve();
    COMMAND(&p, "keys", "create", "--alias", "the \x1b[2J lap\ttop", "--owner", "x");
    expect_code(&p, 1); /* no control characters */
    COMMAND(&p, "keys", "create", "--alias", "l\xc3\xa4ptop", "--owner", "team b", "--scope",
            "ADMIN", "--expires", "30d");
    expect_code(&p, 0);
    COMMAND(&p, "keys", "list");
    expect_code(&p, 0);
    assert_int_equal(lines(p.out), 2);
    expect_in(p.out, "KEY ID ");
    expect_in(p.out, "l\xc3\xa4ptop  team b  ADMIN  active  20");
    COMMAND(&p, "keys", "list", "--json");
    expect_in(p.out, "\"owner\":\"team b\",\"scope\":\"ADMIN\",\"state\":\"active\"");
    expect_not_in(p.out, "anyllm_");
}

static void a_key_ends_at_its_time(void **state) {
    struct program p;
    serve();
    COMMAND(&p, "keys", "create", "--expires", "1s");
    expect_code(&p, 0);
    p.out[KEY_BYTES] = '\0';
    for (uint64_t until = now_ms() + PATIENCE_MS; status_with(p.out) != 401; sleep_ms(50))
        assert_true(now_ms() < until);
    COMMAND(&p, "keys", "list");
    expect_in(p.out, "expired");
    assert_int_equal(status_with(NULL), 401); /* an expiry opens nothing */
}

static int look_for(const char *path, const char *bytes, size_t len) {
    size_t n;
    struct stat st;
    if (stat(path, &st) != 0) return 0;
    char *text = file_text(path, &n);
    int found = memmem(text, n, bytes, len) != NULL;
    free(text);
    return found;
}

static void no_secret_is_kept(void **state) {
    static const char *const names[] = {"anyllm.db", "anyllm.db-wal"};
    char key[KEY_BYTES + 1], path[MAX_PATH + 32];
    serve();
    create(key);
    assert_int_equal(status_with(key), 200);
    for (size_t i = 0; i < 2; i++) {
        path_in(path, names[i]);
        assert_int_equal(look_for(path, key + 37 + 7, SECRET_BYTES - 7), 0);
    }
    assert_int_equal(look_for(server.err, key + 37 + 7, SECRET_BYTES - 7), 0);
    path_in(path, "anyllm.db-wal");
    assert_int_equal(look_for(path, key, 36), 1); /* so it was looked for in the right place */
}

static void a_key_of_the_configuration_is_not_revoked(void **state) {
    struct text with = {0};
    struct program p;
    text_printf(&with, "%skeys: [{ id: conf, secret: " CANARY_CLIENT " }]\n", config);
    struct server_options o = {.config = with.p, .data = data};
    server_start(&server, &o);
    COMMAND(&p, "keys", "revoke", "conf");
    expect_code(&p, 1);
    expect_in(p.err, "configuration");
    COMMAND(&p, "keys", "list");
    expect_in(p.out, "conf");
    COMMAND(&p, "keys", "revoke", "none");
    expect_code(&p, 1);
    expect_in(p.err, "Key not found");
    assert_int_equal(status_with("conf:" CANARY_CLIENT), 200);
    text_free(&with);
}

static void disk(bool full) {
    struct rlimit r = {full ? 0 : RLIM_INFINITY, RLIM_INFINITY};
    assert_int_equal(prlimit(server.pid, RLIMIT_FSIZE, &r, NULL), 0);
}

/* What cannot be written down is not made; what is to end ends all the same. */
static void a_full_disk_makes_no_key_and_keeps_none(void **state) {
    char key[KEY_BYTES + 1], id[37];
    struct program p;
    serve();
    create(key);
    snprintf(id, sizeof id, "%.36s", key);
    disk(true);
    COMMAND(&p, "keys", "create");
    expect_code(&p, 1);
    expect_in(p.err, "storage unavailable");
    assert_string_equal(p.out, "");
    assert_int_equal(status_with(key), 200);
    COMMAND(&p, "keys", "revoke", id);
    expect_code(&p, 1);
    expect_in(p.err, "storage unavailable");
    assert_int_equal(status_with(key), 401);
    disk(false);
    uint64_t until = now_ms() + PATIENCE_MS;
    do {
        assert_true(now_ms() < until);
        sleep_ms(50);
        COMMAND(&p, "keys", "revoke", id);
    } while (p.code != 0);
    server_stop(&server);
    serve();
    assert_int_equal(status_with(key), 401);
    COMMAND(&p, "keys", "list", "--all");
    assert_int_equal(lines(p.out), 2);
}

/* --- without a server */

static void without_a_server_the_command_does_it_itself(void **state) {
    char key[KEY_BYTES + 1], path[MAX_PATH + 32], id[37];
    struct program p;
    create(key);
    snprintf(id, sizeof id, "%.36s", key);
    COMMAND(&p, "keys", "list");
    expect_code(&p, 0);
    expect_in(p.out, id);
    COMMAND(&p, "usage");
    expect_code(&p, 0);
    COMMAND(&p, "webhooks", "list");
    expect_code(&p, 0);
    path_in(path, "command.sock");
    assert_int_equal(access(path, F_OK), -1); /* nothing is left running */
    serve();
    assert_int_equal(status_with(NULL), 401);
    assert_int_equal(status_with(key), 200);
    server_stop(&server);
    COMMAND(&p, "keys", "revoke", id);
    expect_code(&p, 0);
    serve();
    assert_int_equal(status_with(key), 401);
}

static void commands_at_once_wait_for_each_other(void **state) {
    enum { N = 8 };
    static struct program p[N];
    for (size_t i = 0; i < N; i++) command(&p[i], ARGV("keys", "create", "--config", file));
    for (size_t i = 0; i < N; i++) {
        program_end(&p[i]);
        expect_code(&p[i], 0);
        is_a_key(p[i].out);
    }
    COMMAND(&p[0], "keys", "list");
    assert_int_equal(lines(p[0].out), N + 1);
}

/* As a server does that starts or ends: the lock is held, nobody answers. */
static void a_held_lock_is_waited_for(void **state) {
    char key[KEY_BYTES + 1], path[MAX_PATH + 32];
    struct program p;
    create(key);
    path_in(path, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    command(&p, ARGV("keys", "list", "--config", file));
    sleep_ms(300);
    assert_int_equal(waitpid(p.pid, NULL, WNOHANG), 0);
    close(fd);
    program_end(&p);
    expect_code(&p, 0);
    assert_int_equal(lines(p.out), 2);
}

/* The other way round: the server waits for the command. */
static void a_server_waits_for_a_command(void **state) {
    char key[KEY_BYTES + 1], path[MAX_PATH + 32];
    create(key);
    path_in(path, "lock");
    pid_t pid = fork();
    if (pid == 0) { /* as a command that takes its time */
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (flock(fd, LOCK_EX) != 0) _exit(1);
        sleep_ms(400);
        _exit(0);
    }
    for (int fd = open(path, O_RDWR | O_CLOEXEC); flock(fd, LOCK_EX | LOCK_NB) == 0; sleep_ms(1))
        flock(fd, LOCK_UN);
    serve();
    assert_int_equal(status_with(key), 200);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void only_a_new_key_makes_a_folder(void **state) {
    struct program p;
    COMMAND(&p, "keys", "list");
    expect_code(&p, 1);
    expect_in(p.err, data);
    assert_int_equal(access(data, F_OK), -1);
    char key[KEY_BYTES + 1];
    create(key);
    assert_int_equal(access(data, F_OK), 0);
}

/* --- who is let in */

static void the_socket_is_its_owners_alone(void **state) {
    char path[MAX_PATH + 32], key[KEY_BYTES + 1];
    struct stat st;
    serve();
    path_in(path, "admin.sock");
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    server_stop(&server);
    assert_int_equal(stat(path, &st), -1);
    serve();
    kill_server(); /* leaves its socket */
    assert_int_equal(stat(path, &st), 0);
    create(key);
    serve();
    create(key);
    assert_int_equal(status_with(key), 200);
}

static void a_long_data_folder_has_a_socket_too(void **state) {
    char key[KEY_BYTES + 1];
    size_t n = strlen(data);
    memset(data + n, 'd', MAX_PATH - 40 - n);
    data[MAX_PATH - 40] = '\0';
    create(key);
    serve();
    assert_int_equal(status_with(key), 200);
    create(key);
    assert_int_equal(status_with(key), 200);
}

/* -1: nobody is there. */
static int connect_to(const char *name) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%.90s/%s", data, name);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    close(fd);
    return -1;
}

static struct answer ask_on(int fd, const char *request) {
    struct peer p = {.fd = fd};
    assert_true(fd >= 0);
    assert_true(peer_puts(&p, request));
    const struct answer *a = peer_answer(&p);
    assert_non_null(a);
    struct answer out = *a;
    p.answer = (struct answer){0};
    peer_close(&p);
    return out;
}

static struct answer over_the_socket(const char *request) {
    return ask_on(connect_to("admin.sock"), request);
}

/* Whatever Host and key it brings: and what it makes is local's. */
static void the_socket_opens_every_surface(void **state) {
    char key[KEY_BYTES + 1], header[KEY_BYTES + 32], path[128];
    serve();
    create(key);
    struct answer a = over_the_socket("POST /queue/fal-ai/any-llm HTTP/1.1\r\nHost: x.example\r\n"
                                      "Authorization: Key a:b\r\nContent-Length: 14\r\n\r\n" BODY);
    assert_int_equal(a.status, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    snprintf(path, sizeof path, "/queue/fal-ai/any-llm/requests/%s/status", id);
    snprintf(header, sizeof header, "Authorization: Key %s\r\n", key);
    struct text request = {0};
    text_printf(&request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    a = over_the_socket(request.p);
    assert_true(a.status == 200 || a.status == 202);
    answer_free(&a);
    a = result_of(server.port, "/queue/fal-ai/any-llm", header, id);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    text_free(&request);
    free(id);
}

static unsigned small_status(const char *line) {
    struct text request = {0};
    text_printf(&request, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", line,
                line[0] == 'P' ? strlen(BODY) : 0, line[0] == 'P' ? BODY : "");
    struct answer a = ask_on(connect_to("command.sock"), request.p);
    unsigned status = a.status;
    answer_free(&a);
    text_free(&request);
    return status;
}

/* A terminal on which Ctrl-S was pressed: who prints a line there waits, whatever else has happened so far. */
static int open_stopped_terminal(int *slave) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*slave >= 0);
    assert_int_equal(tcflow(*slave, TCOOFF), 0);
    return master;
}

/* It ends its small server after it has printed. */
static void wait_for_small_server(void) {
    int fd;
    for (uint64_t end = now_ms() + PATIENCE_MS; (fd = connect_to("command.sock")) < 0;
         sleep_ms(5)) {
        assert_true(now_ms() < end);
    }
    close(fd);
}

static void the_small_server_is_the_operators_alone(void **state) {
    static const char *const others[] = {"GET /healthz",
                                         "GET /readyz",
                                         "GET /metrics",
                                         "GET /v1/models",
                                         "POST /run/fal-ai/any-llm",
                                         "POST /queue/fal-ai/any-llm",
                                         "POST /rest/tokens",
                                         "POST /cdn/files/upload",
                                         "GET /platform/v1/models",
                                         "GET /api/openapi/queue/openapi.json"};
    char key[KEY_BYTES + 1];
    struct program p;
    int slave, master = open_stopped_terminal(&slave);
    create(key);
    command_to(&p, slave, ARGV("keys", "list", "--config", file));
    wait_for_small_server();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (small_status(others[i]) != 404) fail_msg("%s", others[i]);
    assert_int_equal(small_status("GET /admin/keys"), 200);
    assert_int_equal(tcflow(slave, TCOON), 0);
    program_end(&p);
    expect_code(&p, 0);
    close(slave);
    close(master);
}

/* 10.1.2.3 is no address of this machine: 69 says that the keys were enough to listen there. */
static void stored_keys_let_a_server_listen_elsewhere(void **state) {
    char err[MAX_ERR], key[KEY_BYTES + 1];
    struct server_options o = {.config = config, .data = data, .listen = "10.1.2.3:0"}, look = o;
    look.args[0] = "--check";
    assert_int_equal(server_fails(&look, err), 78);
    expect_in(err, "anyllm keys create");
    assert_int_equal(server_fails(&o, err), 78);
    expect_in(err, "anyllm keys create");
    create(key);
    assert_int_equal(server_fails(&o, err), 69);
    assert_int_equal(server_fails(&look, err), 0);
}

/* --- usage, webhooks */

static void usage_adds_up(void **state) {
    char key[KEY_BYTES + 1], id[37];
    struct program p;
    serve();
    create(key);
    snprintf(id, sizeof id, "%.36s", key);
    for (int i = 0; i < 3; i++) assert_int_equal(status_with(key), 200);
    uint64_t until = now_ms() + PATIENCE_MS;
    do { /* rows of direct calls are written a little later */
        assert_true(now_ms() < until);
        sleep_ms(50);
        COMMAND(&p, "usage", "--by", "key", "--json");
        expect_code(&p, 0);
    } while (strstr(p.out, "\"calls\":3,") == NULL);
    expect_in(p.out, id);
    COMMAND(&p, "usage", "--by", "key", "--since", "1h");
    assert_int_equal(lines(p.out), 2);
    expect_in(p.out, id);
    COMMAND(&p, "usage", "--by", "endpoint", "--owner", "local");
    expect_in(p.out, "fal-ai/any-llm");
    COMMAND(&p, "usage");
    assert_int_equal(lines(p.out), 2);
    expect_in(p.out, "DAY");
    COMMAND(&p, "usage", "--owner", "nobody");
    assert_int_equal(lines(p.out), 1);
    COMMAND(&p, "usage", "--until", "2020-01-01");
    assert_int_equal(lines(p.out), 1);
    COMMAND(&p, "usage", "--key", "none");
    assert_int_equal(lines(p.out), 1);
    server_stop(&server);
    COMMAND(&p, "usage", "--by", "owner", "--json");
    expect_in(p.out, "\"calls\":3,\"owner\":\"local\"");
}

static void a_dead_webhook_is_listed_and_replayed(void **state) {
    struct text with = {0};
    struct program p;
    text_printf(&with, "%swebhook_allow: [127.0.0.0/8]\nwebhook_retries: 0\n", config);
    struct server_options o = {.config = with.p, .data = data};
    server_start(&server, &o);
    struct answer a = post(server.port,
                           "/queue/fal-ai/any-llm?fal_webhook=http%3A%2F%2F127.0.0.1%3A1%2Fhook",
                           "", BODY, strlen(BODY));
    assert_int_equal(a.status, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    uint64_t until = now_ms() + PATIENCE_MS;
    do {
        assert_true(now_ms() < until);
        sleep_ms(50);
        COMMAND(&p, "webhooks", "list", "--state", "dead");
        expect_code(&p, 0);
    } while (lines(p.out) < 2);
    expect_in(p.out, id);
    expect_in(p.out, "http://127.0.0.1:1/hook");
    COMMAND(&p, "webhooks", "list", "--state", "delivered");
    assert_int_equal(lines(p.out), 1);
    COMMAND(&p, "webhooks", "replay", "--all");
    expect_code(&p, 0);
    assert_string_equal(p.out, "1 to be tried again\n");
    server_stop(&server);
    COMMAND(&p, "webhooks", "list");
    expect_in(p.out, id);
    COMMAND(&p, "webhooks", "replay", "no-such-request");
    expect_code(&p, 1);
    free(id);
    text_free(&with);
}

/* --- what is no command */

static void wrong_usage_is_2(void **state) {
    static const char *const wrong[][4] = {{"keys"},
                                           {"keys", "frob"},
                                           {"keys", "revoke"},
                                           {"keys", "revoke", "../usage"},
                                           {"keys", "revoke", "--all"},
                                           {"keys", "create", "x"},
                                           {"keys", "create", "--since", "7d"},
                                           {"keys", "create", "--expires", "soon"},
                                           {"keys", "list", "--alias", "x"},
                                           {"keys", "create", "--alias"},
                                           {"usage", "x"},
                                           {"usage", "--since", "yesterday"},
                                           {"usage", "--until", "2026-13-01"},
                                           {"webhooks", "replay"},
                                           {"webhooks", "replay", "x", "--all"},
                                           {"queue", "x"},
                                           {"queue", "--owner", "x"},
                                           {"queue", "--limit", "x"},
                                           {"queue", "--limit", "0"},
                                           {"queue", "--limit", "1001"},
                                           {"webhooks", "list", "--limit", ""},
                                           {"backup"},
                                           {"backup", "a", "b"},
                                           {"backup", "caf\xe9"},
                                           {"backup", ""},
                                           {"backup", "--once", "a"}};
    serve();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *argv[6] = {(char[]){"anyllm"}};
        struct program p;
        for (size_t n = 0; n < 4; n++) argv[n + 1] = (char *)(uintptr_t)wrong[i][n];
        command(&p, argv);
        program_end(&p);
        if (p.code != 2) fail_msg("%zu: %d\n%s", i, p.code, p.err);
        assert_string_equal(p.out, "");
    }
}

static void every_command_says_how_it_is_used(void **state) {
    static const char *const names[] = {"keys", "usage", "webhooks", "queue", "backup"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct program p;
        command(&p, ARGV((char *)(uintptr_t)names[i], "--help"));
        program_end(&p);
        expect_code(&p, 0);
        expect_in(p.out, "--data DIR");
        expect_in(p.out, "Exit codes:");
    }
}

/* --- the suite */

static int start(void **state) {
    mock_start(&mock);
    snprintf(
        config, sizeof config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: " CANARY_UPSTREAM
        " }\n",
        mock.port);
    return 0;
}

static int stop(void **state) {
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        TEST(the_first_key_closes_an_open_server),
        TEST(a_revoked_key_opens_nothing_from_then_on),
        TEST(a_list_shows_what_a_key_is),
        TEST(a_key_ends_at_its_time),
        TEST(no_secret_is_kept),
        TEST(a_key_of_the_configuration_is_not_revoked),
        TEST(a_full_disk_makes_no_key_and_keeps_none),
        TEST(without_a_server_the_command_does_it_itself),
        TEST(commands_at_once_wait_for_each_other),
        TEST(a_held_lock_is_waited_for),
        TEST(a_server_waits_for_a_command),
        TEST(only_a_new_key_makes_a_folder),
        TEST(the_socket_is_its_owners_alone),
        TEST(the_socket_opens_every_surface),
        TEST(the_small_server_is_the_operators_alone),
        TEST(a_long_data_folder_has_a_socket_too),
        TEST(stored_keys_let_a_server_listen_elsewhere),
        TEST(usage_adds_up),
        TEST(a_dead_webhook_is_listed_and_replayed),
        TEST(wrong_usage_is_2),
        TEST(every_command_says_how_it_is_used),
    };
    return suite_main(argc, argv, "operator", tests, sizeof tests / sizeof *tests, start, stop);
}
