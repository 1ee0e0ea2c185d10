/* What the client commands make of --input, prompt, pipes, images and files; and that no key stays in argv. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SUBMITTED \
    {.status = 200, .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0}"}

static char *const no_environment[] = {NULL};

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

/* One `submit` with these words after it and this on standard input; its input is looked at. */
static void submit(struct program *p, const char *stdin_text, struct script *s, char *a, char *b,
                   char *c, char *d) {
    char *argv[9] = {
        (char[]){"anyllm"}, (char[]){"submit"}, (char[]){"--base"}, base_of(s), a, b, c, d};
    program_begin(p, ANYLLM_BINARY, stdin_text, -1, no_environment, argv);
    program_end(p);
}

#define SAYS(stdin_text, expected, ...)                                          \
    do {                                                                         \
        struct script *s_ = SCRIPT(SUBMITTED);                                   \
        struct program p_;                                                       \
        submit(&p_, stdin_text, s_, PICK4(__VA_ARGS__, NULL, NULL, NULL, NULL)); \
        assert_string_equal(p_.err, "");                                         \
        assert_int_equal(p_.code, 0);                                            \
        expect_in(script_request(s_, 0), "\r\n\r\n" expected);                   \
        script_stop(s_);                                                         \
    } while (0)
#define PICK4(a, b, c, d, ...) a, b, c, d

static void what_is_piped_comes_after_the_prompt(void **state) {
    (void)state;
    SAYS("a diff\n", "{\"prompt\":\"Write a message\\n\\na diff\\n\"}", "Write a message");
    SAYS("", "{\"prompt\":\"alone\"}", "alone");
}

static void what_is_piped_is_the_prompt_where_none_is_given(void **state) {
    (void)state;
    SAYS("What?", "{\"prompt\":\"What?\"}", NULL);
    SAYS("What?", "{\"prompt\":\"What?\"}", "-");
}

static void input_is_read_from_a_file_and_from_standard_input(void **state) {
    (void)state;
    char path[] = "/tmp/anyllm-input-XXXXXX", at[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"x\":1}", 7), 7);
    close(fd);
    snprintf(at, sizeof(at), "@%s", path);
    SAYS("", "{\"x\":1}", "--input", at);
    SAYS("", "{\"x\":1,\"prompt\":\"hi\"}", "--input", at, "hi");
    SAYS("{\"y\":[2]}", "{\"y\":[2]}", "--input", "-");
    SAYS("{\"y\":[2]}", "{\"y\":[2],\"prompt\":\"hi\"}", "--input", "-", "hi");
    unlink(path);
}

static void images_that_are_addresses_go_as_they_are(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED);
    struct program p;
    submit(&p, "", s, "--image=https://x.test/1.png", "-i", "data:image/png;base64,AA==", "What?");
    assert_int_equal(p.code, 0);
    assert_true(script_asked(s, 0, "POST /queue/fal-ai/any-llm/vision HTTP/1.1"));
    expect_in(script_request(s, 0), "\"image_urls\":[\"https://x.test/1.png\",\"data:image/png;");
    script_stop(s);
}

/* Nothing is sent then. */
static void refuses(const char *why, const char *stdin_text, char *a, char *b, char *c, char *d) {
    struct script *s = SCRIPT(SUBMITTED);
    struct program p;
    submit(&p, stdin_text, s, a, b, c, d);
    assert_int_equal(p.code, 2);
    expect_in(p.err, why);
    assert_int_equal(script_count(s), 0);
    script_stop(s);
}

static void what_cannot_be_read_is_said_before_anything_is_sent(void **state) {
    (void)state;
    refuses("/none/a.png: No such file", "", "--image", "/none/a.png", "What?", NULL);
    refuses("/tmp is a folder", "", "--image", "/tmp", "What?", NULL);
    refuses("POINTER=FILE", "", "--file", "a.png", "What?", NULL);
    refuses("/none: No such file", "", "--input", "@/none", NULL, NULL);
    refuses("not JSON", "", "--input", "{", NULL, NULL);
    refuses("must be a JSON object", "", "--input", "[]", NULL, NULL);
    refuses("cannot be read twice", "{}", "--input", "-", "-", NULL);
    refuses("the prompt is empty", "", "-", NULL, NULL, NULL);
    refuses("the prompt is empty", "", NULL, NULL, NULL, NULL);
    refuses("image_urls in --input is not a list", "", "--input={\"image_urls\":1}", "-i",
            "http://x.test/", "What?");
    refuses("must be one of normal|low", "", "--priority", "high", "What?", NULL);
}

static void options_of_a_submit_become_headers(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED);
    struct program p;
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "submit", "--base", base_of(s), "--priority",
                "low", "--hint", "h1", "--start-timeout", "30", "--idempotency-key", "once", "-H",
                "X-Fal-No-Retry: 1", "--webhook", "https://x.test/hook?a=b", "What?");
    assert_int_equal(p.code, 0);
    assert_true(script_has_header(s, 0, "x-fal-queue-priority: low"));
    assert_true(script_has_header(s, 0, "x-fal-runner-hint: h1"));
    assert_true(script_has_header(s, 0, "X-Fal-Request-Timeout: 30"));
    assert_true(script_has_header(s, 0, "Idempotency-Key: once"));
    assert_true(script_has_header(s, 0, "X-Fal-No-Retry: 1"));
    expect_in(script_request(s, 0), "fal_webhook=https%3A%2F%2Fx.test%2Fhook%3Fa%3Db");
    script_stop(s);
}

/* Refused, and not said again. */
static void keeps_quiet_about(const char *secret, char *const *env, char *const *argv) {
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "", -1, env, argv);
    program_end(&p);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "set ANYLLM_KEY, or FAL_KEY for fal");
    expect_not_in(p.err, secret);
    expect_not_in(p.out, secret);
}

static void a_key_in_argv_is_refused(void **state) {
    (void)state;
    char env[] = "FAL_KEY=my-id:my-secret";
    keeps_quiet_about("my-secret", ENV(env), ARGV("run", "What is my-id:my-secret?"));
    keeps_quiet_about("my-secret", ENV(env), ARGV("run", "-s", "my-id:my-secret", "What?"));
    keeps_quiet_about("s3cret", no_environment, ARGV("run", "--key=s3cret", "What?"));
    keeps_quiet_about("s3cret", no_environment, ARGV("run", "--api-key", "s3cret", "What?"));
    keeps_quiet_about("s3cret", no_environment,
                      ARGV("run", "-H", "authorization: Key s3cret", "What?"));
    keeps_quiet_about("0123456789", no_environment,
                      ARGV("run", "-H", "X-Mine: a1b2-c3:0123456789abcdef0123456789", "What?"));
    keeps_quiet_about("s3cret", no_environment, ARGV("run", "--base", "http://i:s3cret@h", "x"));
    keeps_quiet_about("0123456789", no_environment,
                      ARGV("usage", "--key", "a1b2-c3:0123456789abcdef0123456789"));
}

static void a_header_that_is_no_secret_passes(void **state) {
    (void)state;
    SAYS("", "{\"prompt\":\"hi\"}", "-H", "X-Trace:0123456789abcdef0123456789", "hi");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_piped_comes_after_the_prompt),
        cmocka_unit_test(what_is_piped_is_the_prompt_where_none_is_given),
        cmocka_unit_test(input_is_read_from_a_file_and_from_standard_input),
        cmocka_unit_test(images_that_are_addresses_go_as_they_are),
        cmocka_unit_test(what_cannot_be_read_is_said_before_anything_is_sent),
        cmocka_unit_test(options_of_a_submit_become_headers),
        cmocka_unit_test(a_key_in_argv_is_refused),
        cmocka_unit_test(a_header_that_is_no_secret_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
