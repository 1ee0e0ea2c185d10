/* anyllm upload, and files that go before an input, of the built program against a scripted server. */
#include "client/program.h"
#include "client/pty.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define INITIATED \
    {.status = 200, .body = "{\"upload_url\":\"$BASE/u/1\",\"file_url\":\"$BASE/f/1\"}"}
#define PUT_DONE {.status = 200}
#define SUBMITTED \
    {.status = 200, .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0}"}

#define RUN(p, ...) PROGRAM_RUN((p), ANYLLM_BINARY, no_environment, __VA_ARGS__)

static char *const no_environment[] = {NULL};

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

static char picture[40]; /* the path of a file that ends in .png */

static int make_picture(void **state) {
    (void)state;
    snprintf(picture, sizeof(picture), "/tmp/anyllm-XXXXXX.png");
    int fd = mkstemps(picture, 4);
    bool made = fd >= 0 && write(fd, "bytes", 5) == 5;
    close(fd);
    return made ? 0 : -1;
}

static int remove_picture(void **state) {
    (void)state;
    return unlink(picture);
}

static void upload_prints_the_address(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, INITIATED, PUT_DONE);
    struct program p;
    char expected[64];
    RUN(&p, "upload", "--base", base_of(s), picture);
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    snprintf(expected, sizeof(expected), "%s/f/1\n", script_base(s));
    assert_string_equal(p.out, expected);
    expect_in(script_request(s, 0), "\"content_type\":\"image/png\"");
    expect_in(script_request(s, 0), picture + strlen("/tmp/"));
    expect_in(script_request(s, 1), "\r\n\r\nbytes");
    RUN(&p, "upload", "--json", "--base", base_of(s), picture);
    expect_in(p.out, "\"url\":");
    script_stop(s);
}

static void upload_reads_standard_input_and_takes_name_type_and_life(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE);
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "from a pipe", -1, no_environment,
                  ARGV("upload", "--base", base_of(s), "--name", "a.bin", "--content-type",
                       "text/x-mine", "--expires", "1h", "-"));
    program_end(&p);
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    expect_in(script_request(s, 0), "\"content_type\":\"text/x-mine\"");
    expect_in(script_request(s, 0), "\"file_name\":\"a.bin\"");
    expect_in(script_request(s, 0), "3600");
    expect_in(script_request(s, 1), "\r\n\r\nfrom a pipe");
    script_stop(s);
}

static void upload_refuses_before_anything_is_sent(void **state) {
    (void)state;
    struct program p;
    RUN(&p, "upload", "--base", "http://127.0.0.1:1", "/none/a.png");
    assert_int_equal(p.code, 2);
    expect_in(p.err, "/none/a.png: No such file");
    RUN(&p, "upload", "--base", "http://127.0.0.1:1", "--expires", "soon", picture);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "--expires 'soon'");
    RUN(&p, "upload");
    assert_int_equal(p.code, 2);
    expect_in(p.err, "usage: anyllm upload");
}

static void upload_shows_its_progress_on_a_terminal(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE);
    struct pty *p = calloc(1, sizeof(*p));
    char term[] = "TERM=xterm";
    assert_non_null(p);
    pty_start(p, ANYLLM_BINARY, ENV(term), ARGV("upload", "--base", base_of(s), picture));
    pty_expect(p, "100 % of 0.0 MiB");
    pty_expect(p, "/f/1");
    pty_end(p);
    assert_int_equal(p->code, 0);
    free(p);
    script_stop(s);
}

/* All that it writes to a terminal. */
static void watch_upload(struct pty *p, char *const *env) {
    struct script *s = SCRIPT(INITIATED, PUT_DONE);
    pty_start(p, ANYLLM_BINARY, env, ARGV("upload", "--base", base_of(s), picture));
    pty_end(p);
    assert_int_equal(p->code, 0);
    script_stop(s);
}

static void there_is_no_colour_with_NO_COLOR(void **state) {
    (void)state;
    struct pty *p = calloc(1, sizeof(*p));
    char term[] = "TERM=xterm", no_colour[] = "NO_COLOR=1";
    assert_non_null(p);
    watch_upload(p, ENV(term));
    expect_in(p->text, "\033[2m");
    watch_upload(p, ENV(term, no_colour));
    expect_in(p->text, "100 %");
    expect_not_in(p->text, "\033[2m");
    expect_not_in(p->text, "\033[0m");
    free(p);
}

static void images_that_are_files_are_uploaded_and_keep_their_place(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED);
    struct program p;
    char expected[128];
    RUN(&p, "submit", "--base", base_of(s), "-i", picture, "-i", "https://x.test/2.png", "What?");
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    assert_true(script_asked(s, 2, "POST /queue/fal-ai/any-llm/vision HTTP/1.1"));
    snprintf(expected, sizeof(expected), "\"image_urls\":[\"%s/f/1\",\"https://x.test/2.png\"]",
             script_base(s));
    expect_in(script_request(s, 2), expected);
    script_stop(s);
}

static void submit_shows_the_upload_on_a_terminal(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED);
    struct pty *p = calloc(1, sizeof(*p));
    char term[] = "TERM=xterm";
    assert_non_null(p);
    pty_start(p, ANYLLM_BINARY, ENV(term),
              ARGV("submit", "--base", base_of(s), "-i", picture, "What?"));
    pty_expect(p, "uploading, 100 %");
    pty_expect(p, "r1");
    pty_end(p);
    assert_int_equal(p->code, 0);
    free(p);
    script_stop(s);
}

#define COMPLETED {.status = 200, .body = "{\"status\":\"COMPLETED\"}"}
#define ANSWER {.status = 200, .body = "{\"output\":\"a cat\"}"}
#define BIG_BYTES ((off_t)4 << 20)

static void run_shows_the_upload_and_then_its_place(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED, COMPLETED, ANSWER);
    struct pty *p = calloc(1, sizeof(*p));
    char term[] = "TERM=xterm";
    assert_non_null(p);
    assert_int_equal(truncate(picture, BIG_BYTES), 0);
    pty_start(p, ANYLLM_BINARY, ENV(term),
              ARGV("run", "--no-stream", "--base", base_of(s), "-i", picture, "What?"));
    pty_expect(p, " % of 4.0 MiB");
    pty_expect(p, "uploading, 100 % of 4.0 MiB");
    pty_expect(p, "in queue");
    pty_expect(p, "a cat");
    pty_end(p);
    assert_int_equal(p->code, 0);
    assert_int_equal(truncate(picture, 5), 0);
    free(p);
    script_stop(s);
}

/* Each on a line of its own. */
static void run_logs_do_not_run_into_the_upload(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED, COMPLETED, ANSWER);
    struct pty *p = calloc(1, sizeof(*p));
    char term[] = "TERM=xterm";
    assert_non_null(p);
    pty_start(p, ANYLLM_BINARY, ENV(term),
              ARGV("run", "--logs", "--base", base_of(s), "-i", picture, "What?"));
    pty_expect(p, "uploading, 100 %");
    pty_expect(p, "\r\033[Krequest r1\r\n");
    pty_end(p);
    free(p);
    script_stop(s);
}

/* What follows the upload is not the upload any more. */
static void a_stream_shows_the_upload_and_then_waits(void **state) {
    (void)state;
    char run[] = "run", stream[] = "stream", *const commands[] = {run, stream};
    char term[] = "TERM=xterm";
    struct pty *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct script *s = SCRIPT(INITIATED, PUT_DONE, {.hang = true});
        pty_start(p, ANYLLM_BINARY, ENV(term),
                  ARGV(commands[i], "--base", base_of(s), "-i", picture, "What?"));
        pty_expect(p, "uploading, 100 %");
        pty_expect(p, "waiting");
        pty_type(p, "\x03");
        pty_end(p);
        assert_int_equal(p->code, 130);
        script_stop(s);
    }
    free(p);
}

static void run_shows_no_upload_where_nobody_watches(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED, COMPLETED, ANSWER, INITIATED,
                              PUT_DONE, SUBMITTED, COMPLETED, ANSWER);
    struct program p;
    struct pty *t = calloc(1, sizeof(*t));
    char term[] = "TERM=xterm";
    assert_non_null(t);
    RUN(&p, "run", "--base", base_of(s), "-i", picture, "What?");
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    pty_start(t, ANYLLM_BINARY, ENV(term),
              ARGV("run", "--no-stream", "--quiet", "--base", base_of(s), "-i", picture, "What?"));
    pty_end(t);
    assert_string_equal(t->text, "a cat\r\n");
    free(t);
    script_stop(s);
}

static void a_file_goes_where_its_pointer_says(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, SUBMITTED);
    struct program p;
    char option[64], expected[128];
    snprintf(option, sizeof(option), "/audio_url=%s", picture);
    RUN(&p, "submit", "--base", base_of(s), "--endpoint", "a/b", "--file", option, "What?");
    assert_int_equal(p.code, 0);
    snprintf(expected, sizeof(expected), "\"audio_url\":\"%s/f/1\"", script_base(s));
    expect_in(script_request(s, 2), expected);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upload_prints_the_address),
        cmocka_unit_test(upload_reads_standard_input_and_takes_name_type_and_life),
        cmocka_unit_test(upload_refuses_before_anything_is_sent),
        cmocka_unit_test(upload_shows_its_progress_on_a_terminal),
        cmocka_unit_test(there_is_no_colour_with_NO_COLOR),
        cmocka_unit_test(images_that_are_files_are_uploaded_and_keep_their_place),
        cmocka_unit_test(submit_shows_the_upload_on_a_terminal),
        cmocka_unit_test(run_shows_the_upload_and_then_its_place),
        cmocka_unit_test(run_logs_do_not_run_into_the_upload),
        cmocka_unit_test(a_stream_shows_the_upload_and_then_waits),
        cmocka_unit_test(run_shows_no_upload_where_nobody_watches),
        cmocka_unit_test(a_file_goes_where_its_pointer_says),
    };
    return cmocka_run_group_tests(tests, make_picture, remove_picture);
}
