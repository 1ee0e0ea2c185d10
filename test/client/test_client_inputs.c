/* Files that go before the input that names them. */
#include "client/upload_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Upload n of those that come in any order. */
#define BEGUN(n)         \
    {.status = 200,      \
     .when = "initiate", \
     .body = "{\"upload_url\":\"$BASE/u/" #n "\",\"file_url\":\"http://f/" #n "\"}"}
#define SENT {.status = 200, .when = "PUT /u/"}
#define ONE BEGUN(1), SENT

static struct fal_file file_at(const char *pointer, const char *text) {
    struct fal_file f = FAL_FILE_INIT;
    f.pointer = pointer;
    f.data = text;
    f.data_bytes = strlen(text);
    f.name = "x.txt";
    return f;
}

static struct fal_files one_file(const struct fal_file *f) {
    struct fal_files files = FAL_FILES_INIT;
    files.files = f;
    files.file_count = 1;
    return files;
}

/* The input as it comes back, or the words of the error. */
static enum fal_code transform(struct script *s, const char *input, const struct fal_files *files,
                               char *out, size_t room) {
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    enum fal_code code = fal_storage_transform_input(c, input, files, &r);
    snprintf(out, room, "%s", code == FAL_OK ? fal_result_json(r) : fal_result_error(r)->message);
    fal_result_free(r);
    fal_client_free(c);
    return code;
}

static void expect_input(struct script *s, const char *input, const struct fal_files *files,
                         const char *wanted) {
    char out[1024];
    enum fal_code code = transform(s, input, files, out, sizeof(out));
    if (code != FAL_OK || strcmp(out, wanted) != 0) {
        fail_msg("%s: code %d, %s instead of %s", input, (int)code, out, wanted);
    }
}

static void expect_error(struct script *s, const char *input, const struct fal_files *files,
                         enum fal_code code, const char *says) {
    char out[1024];
    enum fal_code got = transform(s, input, files, out, sizeof(out));
    if (got != code || strstr(out, says) == NULL) {
        fail_msg("%s: code %d, \"%s\" does not say \"%s\"", input, (int)got, out, says);
    }
}

/* ---- Pointers ---- */

static void an_address_goes_where_its_pointer_says(void **state) {
    (void)state;
    static const struct {
        const char *input, *pointer, *output;
    } cases[] = {
        {NULL, "/image_url", "{\"image_url\":\"http://f/1\"}"},
        {"{\"image_url\":\"old\",\"n\":1}", "/image_url", "{\"image_url\":\"http://f/1\",\"n\":1}"},
        {"{\"a\":{\"b\":{}}}", "/a/b/c", "{\"a\":{\"b\":{\"c\":\"http://f/1\"}}}"},
        {"{\"a\":[]}", "/a/-", "{\"a\":[\"http://f/1\"]}"},
        {"{\"a\":[\"x\"]}", "/a/-", "{\"a\":[\"x\",\"http://f/1\"]}"},
        {"{\"a\":[\"x\"]}", "/a/1", "{\"a\":[\"x\",\"http://f/1\"]}"},
        {"{\"a\":[null,\"y\"]}", "/a/0", "{\"a\":[\"http://f/1\",\"y\"]}"},
        {"{\"a\":{\"b\":1}}", "/a", "{\"a\":\"http://f/1\"}"},
        {"{\"a/b\":{\"c~d\":0}}", "/a~1b/c~0d", "{\"a/b\":{\"c~d\":\"http://f/1\"}}"},
        {"{}", "/", "{\"\":\"http://f/1\"}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script *s = SCRIPT(ONE);
        struct fal_file f = file_at(cases[i].pointer, "text");
        struct fal_files files = one_file(&f);
        expect_input(s, cases[i].input, &files, cases[i].output);
        assert_int_equal(script_count(s), 2);
        script_stop(s);
    }
}

static void a_pointer_that_leads_nowhere_sends_nothing(void **state) {
    (void)state;
    static const struct {
        const char *input, *pointer, *says;
    } cases[] = {
        {"{}", "/a/b", "\"/a/b\" leads nowhere"},
        {"{}", "/a/-", "\"/a/-\" leads nowhere"},
        {"{\"a\":[]}", "/a/1", "leads nowhere"},
        {"{\"a\":[]}", "/a/x", "leads nowhere"},
        {"{\"a\":\"s\"}", "/a/b", "leads nowhere"},
        {"{}", "image_url", "pointer must say"},
        {"{}", "", "pointer must say"},
        {"{}", NULL, "pointer must say"},
        {"{}", "/a~2", "is no JSON Pointer"},
        {"[]", "/a", "not a JSON object"},
    };
    struct script *s = SCRIPT(ONE);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fal_file f = file_at(cases[i].pointer, "text");
        struct fal_files files = one_file(&f);
        expect_error(s, cases[i].input, &files, FAL_ERR_ARGUMENT, cases[i].says);
    }
    struct fal_file f = file_at("/a", "text");
    struct fal_files files = one_file(&f);
    f.data = NULL;
    expect_error(s, "{}", &files, FAL_ERR_ARGUMENT, "data is NULL");
    f.data_bytes = 0;
    f.path = "/nowhere/cat.png";
    expect_error(s, "{}", &files, FAL_ERR_ARGUMENT, "/nowhere/cat.png: No such file");
    files.files = NULL;
    expect_error(s, "{}", &files, FAL_ERR_ARGUMENT, "files is NULL");
    files.size = 1;
    expect_error(s, "{}", &files, FAL_ERR_ARGUMENT, "_INIT");
    assert_int_equal(script_count(s), 0);
    script_stop(s);
}

static void several_files_go_at_once_to_their_places(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 200,
         .when = "initiate",
         .body = "{\"upload_url\":\"$BASE/u/1\",\"file_url\":\"http://f/1\"}"},
        BEGUN(1), BEGUN(1), BEGUN(1), BEGUN(1), BEGUN(1), SENT, SENT, SENT, SENT, SENT, SENT);
    struct fal_file all[6];
    struct watched w = {0};
    struct fal_files files = FAL_FILES_INIT;
    for (size_t i = 0; i < 6; i++) {
        all[i] = file_at(i == 5 ? "/last" : "/urls/-", "text");
    }
    files.files = all;
    files.file_count = 6;
    files.on_progress = watch_progress;
    files.user = &w;
    expect_input(s, "{\"urls\":[\"x\"]}", &files,
                 "{\"urls\":[\"x\",\"http://f/1\",\"http://f/1\",\"http://f/1\",\"http://f/1\","
                 "\"http://f/1\"],\"last\":\"http://f/1\"}");
    assert_int_equal(script_count(s), 12);
    assert_false(w.fell);
    assert_int_equal(w.sent, 24);
    assert_int_equal(w.total, 24);
    script_stop(s);
}

static void each_place_gets_its_own_file(void **state) {
    (void)state;
    struct script *s = SCRIPT(ONE, BEGUN(2), SENT);
    struct fal_file all[2] = {file_at("/a", "first"), file_at("/b", "second")};
    struct fal_files files = one_file(all);
    files.file_count = 2;
    char out[256];
    const char *first = "", *second = "";
    assert_int_equal(transform(s, "{}", &files, out, sizeof(out)), FAL_OK);
    asked_how_often(s, "PUT /u/1 HTTP/1.1", &first);
    asked_how_often(s, "PUT /u/2 HTTP/1.1", &second);
    assert_string_equal(out, strcmp(first, "first") == 0
                                 ? "{\"a\":\"http://f/1\",\"b\":\"http://f/2\"}"
                                 : "{\"a\":\"http://f/2\",\"b\":\"http://f/1\"}");
    assert_int_equal(strlen(first) + strlen(second), 11);
    script_stop(s);
}

static void one_failure_ends_all_files(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 403, .when = "initiate", .body = "{\"detail\":\"full\"}"},
                              {.hang = true}, {.hang = true});
    struct fal_file all[3] = {file_at("/a", "1"), file_at("/b", "2"), file_at("/c", "3")};
    struct fal_files files = one_file(all);
    files.file_count = 3;
    expect_error(s, "{}", &files, FAL_ERR_HTTP, "full");
    script_stop(s);
}

static void a_lifecycle_goes_with_each_file(void **state) {
    (void)state;
    struct script *s = SCRIPT(ONE);
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct fal_file f = file_at("/a", "1");
    struct fal_files files = one_file(&f);
    l.expires_in_s = 3600;
    files.lifecycle = &l;
    expect_input(s, "{}", &files, "{\"a\":\"http://f/1\"}");
    assert_true(
        script_has_header(s, 0, "X-Fal-Object-Lifecycle: {\"expiration_duration_seconds\":3600}"));
    l.expires_in_s = -7;
    expect_error(s, "{}", &files, FAL_ERR_ARGUMENT, "lifecycle");
    script_stop(s);
}

/* ---- file:// ---- */

static void file_strings_become_addresses_when_asked_for(void **state) {
    (void)state;
    char path[40], input[256], wanted[256];
    struct fal_files files = FAL_FILES_INIT;
    file_of(path, ".png", "picture", 7);
    snprintf(input, sizeof(input),
             "{\"a\":\"file://%s\",\"b\":[{\"c\":\"file://localhost%s\"},\"http://x\",\"file:/x\"],"
             "\"file://k\":1}",
             path, path);
    struct script *s = SCRIPT(ONE);
    expect_input(s, input, &files, input);
    assert_int_equal(script_count(s), 0);
    files.file_urls = true;
    snprintf(wanted, sizeof(wanted),
             "{\"a\":\"http://f/1\",\"b\":[{\"c\":\"http://f/1\"},\"http://x\",\"file:/x\"],"
             "\"file://k\":1}");
    expect_input(s, input, &files, wanted);
    assert_int_equal(script_count(s), 2); /* the same file once */
    assert_non_null(strstr(body_of(s, 0), "image/png"));
    assert_string_equal(body_of(s, 1), "picture");
    expect_input(s, "{\"n\":1}", &files, "{\"n\":1}");
    assert_int_equal(script_count(s), 2);
    script_stop(s);
    unlink(path);
}

static void file_strings_that_are_none_send_nothing(void **state) {
    (void)state;
    struct fal_files files = FAL_FILES_INIT;
    struct script *s = SCRIPT(ONE);
    files.file_urls = true;
    expect_error(s, "{\"a\":\"file://cat.png\"}", &files, FAL_ERR_ARGUMENT,
                 "file://cat.png: only file:///path");
    expect_error(s, "{\"a\":[\"file:///nowhere/x\"]}", &files, FAL_ERR_ARGUMENT,
                 "/nowhere/x: No such file");
    expect_error(s, "{\"a\":\"file:///a%2\"}", &files, FAL_ERR_ARGUMENT, "hexadecimal");
    assert_int_equal(script_count(s), 0);
    script_stop(s);
}

static void a_place_that_a_file_takes_is_not_uploaded(void **state) {
    (void)state;
    struct script *s = SCRIPT(ONE);
    struct fal_file f = file_at("/a", "1");
    struct fal_files files = one_file(&f);
    files.file_urls = true;
    expect_input(s, "{\"a\":\"file:///nowhere\"}", &files, "{\"a\":\"http://f/1\"}");
    script_stop(s);
}

static void an_input_too_deep_to_look_through_is_refused(void **state) {
    (void)state;
    enum { DEEP = 3000 };
    struct fal_files files = FAL_FILES_INIT;
    char *input = calloc(1, 2 * DEEP + 16);
    struct script *s = SCRIPT(ONE);
    assert_non_null(input);
    memcpy(input, "{\"a\":", 5);
    memset(input + 5, '[', DEEP);
    memset(input + 5 + DEEP, ']', DEEP);
    input[5 + 2 * DEEP] = '}';
    files.file_urls = true;
    expect_error(s, input, &files, FAL_ERR_ARGUMENT, "nested deeper");
    script_stop(s);
    free(input);
}

static void what_is_not_touched_stays_as_it_was_written(void **state) {
    (void)state;
    struct script *s = SCRIPT(ONE);
    struct fal_file f = file_at("/a", "1");
    struct fal_files files = one_file(&f);
    expect_input(
        s, "{\"big\":12345678901234567890123,\"e\":1.10e2,\"a\":0,\"s\":\"\xc3\xa9\",\"z\":-0}",
        &files,
        "{\"big\":12345678901234567890123,\"e\":1.10e2,\"a\":\"http://f/1\","
        "\"s\":\"\xc3\xa9\",\"z\":-0}");
    script_stop(s);
}

/* ---- In calls ---- */

static void a_run_sends_its_files_first(void **state) {
    (void)state;
    struct script *s = SCRIPT(ONE, ANSWER);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct fal_file f = file_at("/image_url", "1");
    struct fal_files files = one_file(&f);
    l.acl = FAL_ACL_HIDE;
    o.files = &files;
    o.lifecycle = &l;
    assert_int_equal(fal_run(c, APP, "{\"prompt\":\"p\"}", &o, &r), FAL_OK);
    assert_string_equal(fal_result_string(r, "/output"), "42");
    assert_string_equal(fal_result_request_id(r), "r1");
    fal_result_free(r);
    assert_true(script_asked(s, 2, "POST /run/" APP " HTTP/1.1"));
    assert_string_equal(body_of(s, 2), "{\"prompt\":\"p\",\"image_url\":\"http://f/1\"}");
    assert_true(script_has_header(
        s, 2, "x-fal-object-lifecycle-preference: {\"initial_acl\":{\"default\":\"hide\"}}"));
    fal_client_free(c);
    script_stop(s);
}

static void a_submit_whose_file_fails_is_not_sent(void **state) {
    (void)state;
    struct script *s = SCRIPT(BEGUN(1),
                              {.status = 413, .when = "PUT", .body = "{\"detail\":\"too much\"}"});
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    struct fal_file f = file_at("/image_url", "1");
    struct fal_files files = one_file(&f);
    o.files = &files;
    assert_int_equal(fal_queue_submit(c, APP, NULL, &o, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_http_status(r), 413);
    assert_string_equal(fal_result_error(r)->message, "too much");
    fal_result_free(r);
    assert_int_equal(script_count(s), 2);
    fal_client_free(c);
    script_stop(s);
}

static void a_deadline_counts_the_files(void **state) {
    (void)state;
    struct script *s = SCRIPT(BEGUN(1), {.hang = true});
    fal_client *c = client_for(s);
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    struct fal_file f = file_at("/image_url", "1");
    struct fal_files files = one_file(&f);
    o.files = &files;
    o.timeout_ms = 100;
    assert_int_equal(fal_subscribe(c, APP, NULL, &o, NULL), FAL_ERR_TIMEOUT);
    assert_true(script_count(s) <= 2);
    fal_client_free(c);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_goes_where_its_pointer_says),
        cmocka_unit_test(a_pointer_that_leads_nowhere_sends_nothing),
        cmocka_unit_test(several_files_go_at_once_to_their_places),
        cmocka_unit_test(each_place_gets_its_own_file),
        cmocka_unit_test(one_failure_ends_all_files),
        cmocka_unit_test(a_lifecycle_goes_with_each_file),
        cmocka_unit_test(file_strings_become_addresses_when_asked_for),
        cmocka_unit_test(file_strings_that_are_none_send_nothing),
        cmocka_unit_test(a_place_that_a_file_takes_is_not_uploaded),
        cmocka_unit_test(an_input_too_deep_to_look_through_is_refused),
        cmocka_unit_test(what_is_not_touched_stays_as_it_was_written),
        cmocka_unit_test(a_run_sends_its_files_first),
        cmocka_unit_test(a_submit_whose_file_fails_is_not_sent),
        cmocka_unit_test(a_deadline_counts_the_files),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
