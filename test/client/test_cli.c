/* The client commands of the built program against a scripted server: what is asked, what stands on
 * standard output and what on standard error, and the exit codes. */
#include "client/program.h"
#include "client/script.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define QUEUED "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0}"
#define SUBMITTED {.status = 200, .body = QUEUED}
#define WAITING \
    {.status = 202, .body = "{\"status\":\"IN_QUEUE\",\"queue_position\":3,\"logs\":null}"}
#define RUNNING     \
    {.status = 202, \
     .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"route: \\u001b[2J local\"}]}"}
#define COMPLETED   \
    {.status = 200, \
     .body = "{\"status\":\"COMPLETED\",\"logs\":[{\"message\":\"route: \\u001b[2J local\"}]}"}
#define ANSWER {.status = 200, .body = "{\"output\":\"forty-two\",\"partial\":false}"}
#define WHOLE_WAY SUBMITTED, WAITING, RUNNING, COMPLETED, ANSWER

/* ---- run ---- */

#define RUN(p, ...) PROGRAM_RUN((p), ANYLLM_BINARY, no_environment, __VA_ARGS__)

static char *const no_environment[] = {NULL};

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

static void run_puts_the_answer_on_stdout_and_the_way_on_stderr(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    RUN(&p, "run", "--logs", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "forty-two\n");
    assert_string_equal(
        p.err, "request r1\nin queue, 3 ahead\nin progress\n  | route: ?[2J local\ncompleted\n");
    assert_true(script_asked(s, 0, "POST /queue/fal-ai/any-llm HTTP/1.1"));
    expect_in(script_request(s, 0), "\r\n\r\n{\"prompt\":\"What?\"}");
    assert_true(script_asked(s, 1, "GET /queue/fal-ai/any-llm/requests/r1/status?logs=1 HTTP/1.1"));
    script_stop(s);
}

/* A file, a pipe: nobody watches. And a pipe's reader wants the whole answer, by the queue. */
static void run_says_nothing_on_stderr_where_nobody_watches(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    RUN(&p, "run", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "forty-two\n");
    assert_string_equal(p.err, "");
    assert_true(script_asked(s, 1, "GET /queue/fal-ai/any-llm/requests/r1/status?logs=0 HTTP/1.1"));
    script_stop(s);
}

static void run_refuses_a_stream_through_the_queue(void **state) {
    (void)state;
    struct program p;
    RUN(&p, "run", "--stream", "--no-stream", "--base", "http://127.0.0.1:1", "What?");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--stream", "--priority", "low", "--base", "http://127.0.0.1:1", "What?");
    assert_int_equal(p.code, 2);
}

static void run_json_prints_the_servers_json(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    RUN(&p, "run", "--json", "--base", base_of(s), "What?");
    assert_string_equal(p.out, "{\"output\":\"forty-two\",\"partial\":false}\n");
    script_stop(s);
}

static void run_makes_the_input_of_its_options(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    RUN(&p, "run", "--base", base_of(s), "--endpoint", "fal-ai/any-llm/vision", "--model", "m/1",
        "--system", "be\tshort", "--temperature", "0.5", "--max-tokens", "7", "--input",
        "{\"x\":[1],\"model\":\"other\"}", "--", "-p");
    assert_int_equal(p.code, 0);
    assert_true(script_asked(s, 0, "POST /queue/fal-ai/any-llm/vision HTTP/1.1"));
    expect_in(script_request(s, 0), "\"x\":[1]");
    expect_in(script_request(s, 0), "\"prompt\":\"-p\"");
    expect_in(script_request(s, 0), "\"model\":\"m/1\"");
    expect_not_in(script_request(s, 0), "other");
    expect_in(script_request(s, 0), "\"system_prompt\":\"be\\tshort\"");
    expect_in(script_request(s, 0), "\"temperature\":0.5");
    expect_in(script_request(s, 0), "\"max_tokens\":7");
    script_stop(s);
}

static void run_reads_the_prompt_from_stdin(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "line \"one\"\nline two\n", -1, no_environment,
                  ARGV("run", "--base", base_of(s), "-"));
    program_end(&p);
    assert_int_equal(p.code, 0);
    expect_in(script_request(s, 0), "{\"prompt\":\"line \\\"one\\\"\\nline two\\n\"}");
    script_stop(s);
}

static void run_refuses_a_prompt_that_is_no_text(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    RUN(&p, "run", "--base", base_of(s), "a\xff");
    assert_int_equal(p.code, 2);
    assert_int_equal(script_count(s), 0);
    script_stop(s);
}

static void run_tells_the_servers_error_and_ends_with_1(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        SUBMITTED, {.status = 200, .body = "{\"status\":\"COMPLETED\",\"error\":\"no\"}"},
        {.status = 422,
         .body = "{\"detail\":[{\"loc\":[\"body\",\"model\"],\"msg\":\"unknown\","
                 "\"type\":\"one_of\"}]}",
         .headers = "x-fal-request-id: r1\r\n"});
    struct program p;
    RUN(&p, "run", "--quiet", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 1);
    assert_string_equal(p.out, "");
    assert_string_equal(p.err, "anyllm run: body.model: unknown (one_of, HTTP 422, request r1)\n");
    script_stop(s);
}

static void run_takes_an_error_inside_a_success_for_a_failure(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        SUBMITTED, COMPLETED,
        {.status = 200, .body = "{\"output\":\"\",\"error\":\"overloaded\"}"});
    struct program p;
    RUN(&p, "run", "--quiet", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 1);
    assert_string_equal(p.out, "");
    assert_string_equal(p.err, "anyllm run: the model failed: overloaded\n");
    script_stop(s);
}

static void no_server_is_exit_3(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct program p;
    char base[64];
    snprintf(base, sizeof(base), "%s", script_base(s));
    script_stop(s);
    RUN(&p, "run", "--base", base, "What?");
    assert_int_equal(p.code, 3);
    expect_in(p.err, base);
    RUN(&p, "status", "--base", base, "r1");
    assert_int_equal(p.code, 3);
}

static void expect_no_server_at(const char *path, const char *listen, const char *why) {
    struct program p;
    char base[128], expected[PATH_MAX + 512];
    snprintf(base, sizeof(base), "unix:%s", path);
    snprintf(
        expected, sizeof(expected),
        "no server at %s: %s; is one running there? start one with: anyllm serve --listen %s\n",
        base, why, listen);
    RUN(&p, "run", "--base", base, "What?");
    assert_int_equal(p.code, 3);
    expect_in(p.err, expected);
    RUN(&p, "status", "--base", base, "r1");
    assert_int_equal(p.code, 3);
    expect_in(p.err, expected);
    RUN(&p, "models", "--base", base);
    assert_int_equal(p.code, 3);
    expect_in(p.err, expected);
}

static void no_server_on_a_socket_names_it_and_says_how_to_start_one(void **state) {
    (void)state;
    char path[] = "/tmp/anyllm-socket-XXXXXX", listen[PATH_MAX + 16], here[PATH_MAX];
    close(mkstemp(path));
    unlink(path);
    snprintf(listen, sizeof(listen), "unix:%s", path);
    expect_no_server_at(path, listen, "No such file or directory");
    script_stop(script_start_unix(path, &(const struct script_step)ANSWER, 1));
    expect_no_server_at(path, listen, "Connection refused");
    unlink(path);
    assert_non_null(getcwd(here, sizeof(here)));
    snprintf(listen, sizeof(listen), "unix:%s/none.sock", here);
    expect_no_server_at("none.sock", listen, "No such file or directory");
}

static void what_is_no_socket_gets_no_server(void **state) {
    (void)state;
    struct program p;
    RUN(&p, "run", "--base", "unix:/tmp", "What?");
    assert_int_equal(p.code, 3);
    assert_string_equal(p.err, "anyllm run: no server at unix:/tmp: it is no socket\n");
}

static bool someone_listens_on_8787(void) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(8787), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool connected = connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
    close(fd);
    return connected;
}

static void no_server_at_the_default_address_says_how_to_start_one(void **state) {
    (void)state;
    struct program p;
    if (someone_listens_on_8787()) {
        print_message("skip: something listens on 127.0.0.1:8787\n");
        skip();
    }
    char runtime[64] =
        "XDG_RUNTIME_DIR=/tmp/anyllm-test-XXXXXX"; /* no private server lives there */
    assert_non_null(mkdtemp(strchr(runtime, '/')));
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(runtime), ARGV("status", "r1"));
    program_end(&p);
    assert_int_equal(p.code, 3);
    assert_string_equal(p.err, "anyllm status: no server at http://127.0.0.1:8787; start one with: "
                               "anyllm serve\n");
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(runtime), ARGV("models"));
    program_end(&p);
    assert_int_equal(p.code, 3);
    expect_in(p.err, "start one with: anyllm serve");
    snprintf(runtime + strlen(runtime), 8, "/anyllm");
    rmdir(strchr(runtime, '/'));
    *strrchr(runtime, '/') = '\0';
    rmdir(strchr(runtime, '/'));
}

static void a_broken_server_is_exit_3(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 200, .body = "nonsense"}, {.raw = "SSH-2.0-x\r\n"});
    struct program p;
    RUN(&p, "run", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 3);
    RUN(&p, "result", "--base", base_of(s), "r1");
    assert_int_equal(p.code, 3);
    script_stop(s);
}

static void run_over_its_time_is_exit_4_and_cancels(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, {.hang = true}, {.status = 202, .body = "{}"});
    struct program p;
    RUN(&p, "run", "--quiet", "--timeout", "0.5", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 4);
    assert_string_equal(p.err, "anyllm run: timed out after 500 ms (request r1)\n");
    assert_true(script_asked(s, 2, "PUT /queue/fal-ai/any-llm/requests/r1/cancel HTTP/1.1"));
    script_stop(s);
}

static atomic_int interrupted; /* the process to interrupt; 0 until it is known */

static void interrupt(void *user) {
    (void)user;
    while (atomic_load(&interrupted) == 0) {
        usleep(1000);
    }
    kill(atomic_load(&interrupted), SIGINT);
}

static void ctrl_c_cancels_the_request_and_is_exit_130(void **state) {
    (void)state;
    struct program p;
    struct script *s = SCRIPT(SUBMITTED, WAITING, {.hang = true, .hook = interrupt},
                              {.status = 202, .body = "{}"});
    program_begin(&p, ANYLLM_BINARY, "", -1, no_environment,
                  ARGV("run", "--quiet", "--base", base_of(s), "What?"));
    atomic_store(&interrupted, p.pid);
    program_end(&p);
    assert_int_equal(p.code, 130);
    assert_true(script_asked(s, 3, "PUT /queue/fal-ai/any-llm/requests/r1/cancel HTTP/1.1"));
    script_stop(s);
}

/* What the next connection would get, and the answer be written into it. */
static void a_closed_descriptor_is_nobody_elses(void **state) {
    (void)state;
    static char closes[][32] = {"exec \"$@\" >&-", "exec \"$@\" <&- >&-", "exec \"$@\" 2>&-"};
    for (size_t i = 0; i < sizeof(closes) / sizeof(closes[0]); i++) {
        struct script *s = SCRIPT(WHOLE_WAY);
        struct program p;
        program_begin(&p, "/bin/sh", "", -1, no_environment,
                      ARGV("-c", closes[i], "sh", ANYLLM_BINARY, "run", "--logs", "--base",
                           base_of(s), "What?"));
        program_end(&p);
        assert_int_equal(p.code, i < 2 ? 1 : 0);
        assert_string_equal(p.out, i < 2 ? "" : "forty-two\n");
        expect_in(p.err, i < 2 ? "cannot write to standard output: Bad file descriptor" : "");
        script_stop(s);
    }
}

static void a_full_disk_is_a_failure(void **state) {
    (void)state;
    struct script *s = SCRIPT(WHOLE_WAY);
    struct program p;
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    program_begin(&p, ANYLLM_BINARY, "", full, no_environment,
                  ARGV("run", "--quiet", "--base", base_of(s), "What?"));
    program_end(&p);
    close(full);
    assert_int_equal(p.code, 1);
    expect_in(p.err, "cannot write to standard output");
    script_stop(s);
}

/* ---- Where keys go ---- */

/* One `result` with this environment; true when the server got this Authorization (NULL: none). */
static bool sends(bool by_option, const char *base_variable, char *const *keys,
                  const char *credentials) {
    struct script *s = SCRIPT(ANSWER);
    struct program p;
    char variable[128], line[128];
    char *env[5] = {variable};
    snprintf(variable, sizeof(variable), "%s=%s", base_variable, script_base(s));
    for (size_t i = 0; keys[i] != NULL && i < 3; i++) {
        env[i + 1] = keys[i];
    }
    program_begin(&p, ANYLLM_BINARY, "", -1, env,
                  by_option ? ARGV("result", "--base", base_of(s), "r1") : ARGV("result", "r1"));
    program_end(&p);
    assert_int_equal(p.code, 0);
    snprintf(line, sizeof(line), "Authorization: Key %s", credentials);
    bool sent = script_has_header(s, 0, line);
    expect_not_in(p.err, "secret");
    expect_not_in(p.out, "secret");
    script_stop(s);
    return sent;
}

static void fal_key_goes_only_where_the_user_said_fal(void **state) {
    (void)state;
    char fal[] = "FAL_KEY=fal:secret", own[] = "ANYLLM_KEY=own:secret";
    assert_true(sends(true, "IGNORED", ENV(fal), "local"));
    assert_true(sends(false, "ANYLLM_BASE", ENV(fal), "local"));
    assert_true(sends(false, "FAL_BASE_URL", ENV(fal), "fal:secret"));
    assert_true(sends(false, "FAL_BASE_URL", ENV(fal, own), "own:secret"));
    assert_true(sends(true, "IGNORED", ENV(fal, own), "own:secret"));
    assert_true(sends(true, "FAL_BASE_URL", ENV(fal), "local"));
    assert_true(sends(true, "IGNORED", ENV(NULL), "local"));
}

static void fal_without_a_key_says_so(void **state) {
    (void)state;
    struct program p;
    char own[] = "ANYLLM_KEY=own:secret";
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(own), ARGV("run", "--base", "fal", "What?"));
    program_end(&p);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "set FAL_KEY");
}

static void a_refused_key_says_what_to_set(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 401, .body = "{\"detail\":\"invalid key credentials\"}"});
    struct program p;
    RUN(&p, "run", "--base", base_of(s), "What?");
    assert_int_equal(p.code, 1);
    expect_in(p.err, "invalid key credentials");
    expect_in(p.err, "set ANYLLM_KEY");
    script_stop(s);
}

/* ---- Usage ---- */

static void wrong_usage_is_exit_2(void **state) {
    (void)state;
    struct program p;
    RUN(&p, "dance");
    assert_int_equal(p.code, 2);
    expect_in(p.err, "no command 'dance'");
    RUN(&p, "run");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "two", "prompts");
    assert_int_equal(p.code, 2);
    RUN(&p, "models", "two", "queries");
    expect_in(p.err, "one query only");
    RUN(&p, "status", "two", "ids");
    expect_in(p.err, "one request id only");
    RUN(&p, "run", "--dance", "x");
    assert_int_equal(p.code, 2);
    expect_in(p.err, "no option '--dance'");
    RUN(&p, "status", "--model", "m", "r1");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "x", "--timeout");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--timeout", "-1", "x");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--temperature", "3", "x");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--max-tokens", "1.5", "x");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--input", "[]", "x");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--base", "ftp://x/", "x");
    assert_int_equal(p.code, 2);
    RUN(&p, "run", "--base", "http://127.0.0.1:1", "--endpoint", "nonsense", "x");
    assert_int_equal(p.code, 2);
    program_begin(&p, ANYLLM_BINARY, "", -1, no_environment,
                  (char *const[]){(char[]){"anyllm"}, NULL});
    program_end(&p);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "Usage: anyllm COMMAND");
}

static void every_command_helps(void **state) {
    (void)state;
    static const char *const names[] = {"serve",      "run",     "chat",     "stream", "submit",
                                        "status",     "result",  "cancel",   "upload", "models",
                                        "keys",       "usage",   "webhooks", "queue",  "backup",
                                        "completion", "version", "help"};
    struct program p;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char usage[64];
        snprintf(usage, sizeof(usage), "Usage: anyllm %s", names[i]);
        RUN(&p, (char *)(uintptr_t)names[i], "--help");
        assert_int_equal(p.code, 0);
        expect_in(p.out, usage);
        RUN(&p, "help", (char *)(uintptr_t)names[i]);
        expect_in(p.out, usage);
    }
    RUN(&p, "help");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        expect_in(p.out, names[i]);
    }
    expect_not_in(p.out, "engine-exec");
    expect_not_in(p.out, "private-serve");
    RUN(&p, "help", "engine-exec");
    assert_int_equal(p.code, 2);
    RUN(&p, "help", "run", "chat");
    assert_int_equal(p.code, 2);
    RUN(&p, "serve", "--help");
    expect_in(p.out, "--no-calibrate");
    expect_in(p.out, "--log-level LEVEL");
    expect_in(p.out, "[info]");
    RUN(&p, "run", "--help");
    expect_in(p.out, "--max-tokens NUMBER");
    expect_in(p.out, "FAL_KEY");
    RUN(&p, "--version");
    expect_in(p.out, "anyllm 0.");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_puts_the_answer_on_stdout_and_the_way_on_stderr),
        cmocka_unit_test(run_says_nothing_on_stderr_where_nobody_watches),
        cmocka_unit_test(run_refuses_a_stream_through_the_queue),
        cmocka_unit_test(run_json_prints_the_servers_json),
        cmocka_unit_test(run_makes_the_input_of_its_options),
        cmocka_unit_test(run_reads_the_prompt_from_stdin),
        cmocka_unit_test(run_refuses_a_prompt_that_is_no_text),
        cmocka_unit_test(run_tells_the_servers_error_and_ends_with_1),
        cmocka_unit_test(run_takes_an_error_inside_a_success_for_a_failure),
        cmocka_unit_test(no_server_is_exit_3),
        cmocka_unit_test(no_server_at_the_default_address_says_how_to_start_one),
        cmocka_unit_test(no_server_on_a_socket_names_it_and_says_how_to_start_one),
        cmocka_unit_test(what_is_no_socket_gets_no_server),
        cmocka_unit_test(a_broken_server_is_exit_3),
        cmocka_unit_test(run_over_its_time_is_exit_4_and_cancels),
        cmocka_unit_test(ctrl_c_cancels_the_request_and_is_exit_130),
        cmocka_unit_test(a_closed_descriptor_is_nobody_elses),
        cmocka_unit_test(a_full_disk_is_a_failure),
        cmocka_unit_test(fal_key_goes_only_where_the_user_said_fal),
        cmocka_unit_test(fal_without_a_key_says_so),
        cmocka_unit_test(a_refused_key_says_what_to_set),
        cmocka_unit_test(wrong_usage_is_exit_2),
        cmocka_unit_test(every_command_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
