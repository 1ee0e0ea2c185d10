/* The parts of uploads that decide, build and read: no sockets. */
#include "client/inputs.h"
#include "client/mime.h"
#include "client/token.h"
#include "client/upload.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Types and names ---- */

static void the_ending_says_the_type(void **state) {
    (void)state;
    static const struct {
        const char *name, *type;
    } cases[] = {
        {"cat.png", "image/png"},
        {"CAT.JPG", "image/jpeg"},
        {"/a.b/c.tar.gz", "application/gzip"},
        {"a.webm", "video/webm"},
        {"a.mp3", "audio/mpeg"},
        {"a.json", "application/json"},
        {"a.pdf", "application/pdf"},
        {"a.zip", "application/zip"},
        {"a.txt", "text/plain"},
        {"lora.safetensors", "application/octet-stream"},
        {"a.png/b", "application/octet-stream"},
        {".png", "application/octet-stream"},
        {"a.", "application/octet-stream"},
        {"png", "application/octet-stream"},
        {"", "application/octet-stream"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(client_mime_of(cases[i].name), cases[i].type);
    }
}

static void what_has_no_name_is_named_by_time_and_type(void **state) {
    (void)state;
    static const struct {
        const char *type, *name;
    } cases[] = {
        {"image/png", "17.png"},
        {"application/octet-stream", "17.octet"},
        {"video/mp4", "17.mp4"},
        {"text/plain; charset=utf-8", "17.plain"},
        {"image/", "17.bin"},
        {"nonsense", "17.bin"},
        {"image/svg+xml", "17.svg+xml"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf name;
        buf_init(&name, 100);
        assert_true(client_mime_name(&name, 17, cases[i].type));
        assert_true(slice_is(buf_slice(&name), cases[i].name));
        buf_free(&name);
    }
}

/* ---- Lifecycles ---- */

static void expect_lifecycle(const struct fal_lifecycle *l, const char *json) {
    char *text = NULL;
    assert_int_equal(client_lifecycle_json(l, &text), FAL_OK);
    if (json == NULL) {
        assert_null(text);
    } else {
        assert_string_equal(text, json);
    }
    free(text);
}

static void a_lifecycle_is_written_as_the_wire_has_it(void **state) {
    (void)state;
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    const struct fal_acl_rule rules[] = {{"team-b", FAL_ACL_ALLOW}, {"\"\xc3\xa9", FAL_ACL_HIDE}};
    expect_lifecycle(NULL, NULL);
    expect_lifecycle(&l, NULL);
    l.expires_in_s = FAL_EXPIRES_NEVER;
    expect_lifecycle(&l, NULL);
    l.expires_in_s = 3600;
    expect_lifecycle(&l, "{\"expiration_duration_seconds\":3600}");
    l.acl = FAL_ACL_FORBID;
    expect_lifecycle(&l, "{\"expiration_duration_seconds\":3600,"
                         "\"initial_acl\":{\"default\":\"forbid\"}}");
    l.expires_in_s = 0;
    l.rules = rules;
    l.rule_count = 2;
    expect_lifecycle(&l, "{\"initial_acl\":{\"default\":\"forbid\",\"rules\":["
                         "{\"user\":\"team-b\",\"decision\":\"allow\"},"
                         "{\"user\":\"\\\"\\u00e9\",\"decision\":\"hide\"}]}}");
    l.acl = FAL_ACL_DEFAULT;
    l.rule_count = 1;
    expect_lifecycle(
        &l, "{\"initial_acl\":{\"rules\":[{\"user\":\"team-b\",\"decision\":\"allow\"}]}}");
}

static void a_lifecycle_that_is_none_is_refused(void **state) {
    (void)state;
    char *text, long_user[8192];
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct fal_acl_rule rule = {"u", FAL_ACL_DEFAULT};
    l.expires_in_s = -2;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    l.expires_in_s = 1;
    l.acl = (enum fal_acl)9;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    l.acl = FAL_ACL_ALLOW;
    l.rule_count = 1;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    l.rules = &rule;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    rule = (struct fal_acl_rule){NULL, FAL_ACL_ALLOW};
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    memset(long_user, 'u', sizeof(long_user) - 1);
    long_user[sizeof(long_user) - 1] = '\0';
    rule.user = long_user;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
    assert_null(text);
    l.size = 0;
    assert_int_equal(client_lifecycle_json(&l, &text), FAL_ERR_ARGUMENT);
}

/* ---- Parts ---- */

static void parts_are_at_most_ten_thousand(void **state) {
    (void)state;
    const uint64_t mib = 1 << 20, ten = 10 * mib;
    assert_int_equal(client_part_bytes(0, ten), ten);
    assert_int_equal(client_part_bytes(1, 1), 1);
    assert_int_equal(client_part_bytes(10000, 1), 1);
    assert_int_equal(client_part_bytes(10001, 1), mib);
    assert_int_equal(client_part_bytes(10000 * ten, ten), ten);
    assert_int_equal(client_part_bytes(10000 * ten + 1, ten), ten + mib);
    assert_int_equal(client_part_bytes(5000 * mib * 1000, ten), 500 * mib);
    assert_true(client_part_bytes(UINT64_MAX, 1) >= UINT64_MAX / 10000);
}

static void a_parts_number_goes_before_the_query(void **state) {
    (void)state;
    static const struct {
        const char *url, *tail, *whole;
    } cases[] = {
        {"http://h/u/1", "7", "http://h/u/1/7"},
        {"http://h/u/1?a=b&c=/d?e", "7", "http://h/u/1/7?a=b&c=/d?e"},
        {"http://h/u/1?a=b#f", "complete", "http://h/u/1/complete?a=b"},
        {"http://h/u/1#f?x", "1", "http://h/u/1/1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_init(&out, CLIENT_URL_BYTES);
        assert_true(client_part_url(&out, cases[i].url, cases[i].tail));
        assert_string_equal(buf_slice(&out).ptr, cases[i].whole);
        buf_free(&out);
    }
}

static int64_t never_read(void *buffer, size_t room, void *user) {
    return -1;
}

static void a_file_has_exactly_one_source(void **state) {
    (void)state;
    struct fal_file f = FAL_FILE_INIT;
    assert_non_null(client_file_fault(&f));
    f.data = "";
    assert_null(client_file_fault(&f));
    f.path = "/tmp/x";
    assert_non_null(client_file_fault(&f));
    f.data = NULL;
    assert_null(client_file_fault(&f));
    f.read = never_read;
    assert_non_null(client_file_fault(&f));
    f.path = NULL;
    assert_null(client_file_fault(&f));
    f.read = NULL;
    f.data_bytes = 1;
    assert_non_null(client_file_fault(&f));
    f.data = "x";
    f.content_type = "text/plain\r\nX: y";
    assert_non_null(client_file_fault(&f));
    f.content_type = "";
    assert_non_null(client_file_fault(&f));
}

/* ---- Sources ---- */

static void make_file(char path[32], const char *text) {
    memcpy(path, "/tmp/fal-files-XXXXXX", 22);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void a_file_is_read_where_it_is_asked_for(void **state) {
    (void)state;
    char path[32], out[16], message[CLIENT_MESSAGE_BYTES] = "";
    struct fal_file f = FAL_FILE_INIT;
    struct client_source s;
    make_file(path, "0123456789");
    f.path = path;
    assert_int_equal(client_source_open(&s, &f, message), FAL_OK);
    assert_int_equal(s.size_bytes, 10);
    assert_int_equal(client_source_read(&s, 4, out, 3, message), 3);
    assert_memory_equal(out, "456", 3);
    assert_int_equal(client_source_read(&s, 8, out, sizeof(out), message), 2);
    assert_int_equal(client_source_read(&s, 10, out, sizeof(out), message), 0);
    client_source_close(&s);
    unlink(path);
}

static void a_file_that_changes_is_an_error(void **state) {
    (void)state;
    char path[32], out[16], message[CLIENT_MESSAGE_BYTES] = "";
    struct fal_file f = FAL_FILE_INIT;
    struct client_source s;
    struct timespec later[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
    make_file(path, "0123456789");
    f.path = path;
    assert_int_equal(client_source_open(&s, &f, message), FAL_OK);
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(client_source_read(&s, 0, out, 3, message), -1);
    assert_non_null(strstr(message, "changed"));
    assert_non_null(strstr(message, path));
    client_source_close(&s);
    message[0] = '\0';
    assert_int_equal(client_source_open(&s, &f, message), FAL_OK);
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    assert_int_equal(client_source_read(&s, 0, out, 5, message), -1);
    assert_non_null(strstr(message, "changed"));
    client_source_close(&s);
    unlink(path);
}

static void what_cannot_be_sent_is_said_with_its_path(void **state) {
    (void)state;
    static const struct {
        const char *path, *says;
    } cases[] = {{"/nowhere/at/all.png", "/nowhere/at/all.png: No such file"},
                 {"/tmp", "/tmp: Is a directory"},
                 {"/dev/null", "/dev/null: not a regular file"},
                 {"/tmp/two\nlines", "/tmp/two lines: No such file"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char message[CLIENT_MESSAGE_BYTES] = "";
        struct fal_file f = FAL_FILE_INIT;
        struct client_source s;
        f.path = cases[i].path;
        assert_int_equal(client_source_open(&s, &f, message), FAL_ERR_ARGUMENT);
        assert_memory_equal(message, cases[i].says, strlen(cases[i].says));
    }
}

/* ---- file:// ---- */

static void a_file_url_is_a_path_of_this_machine(void **state) {
    (void)state;
    static const struct {
        const char *url, *path; /* NULL: refused */
    } cases[] = {
        {"file:///tmp/cat.png", "/tmp/cat.png"},
        {"file://localhost/tmp/cat.png", "/tmp/cat.png"},
        {"file://LOCALHOST/tmp/cat.png", "/tmp/cat.png"},
        {"file:///tmp/a%20b%C3%a9%25.png", "/tmp/a b\xc3\xa9%.png"},
        {"file:///tmp/%3F%23", "/tmp/?#"},
        {"file://", NULL},
        {"file:///", NULL},
        {"file://localhost", NULL},
        {"file://cat.png", NULL},
        {"file://server/share/cat.png", NULL},
        {"file://localhost.evil/cat.png", NULL},
        {"file:///tmp/a?b", NULL},
        {"file:///tmp/a#b", NULL},
        {"file:///tmp/a%2", NULL},
        {"file:///tmp/a%zz", NULL},
        {"file:///tmp/a%00b", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = NULL;
        enum fal_code code;
        char *path = client_file_url_path(slice_of(cases[i].url), &code, &why);
        if (cases[i].path == NULL) {
            assert_null(path);
            assert_non_null(why);
            assert_int_equal(code, FAL_ERR_ARGUMENT);
        } else {
            assert_non_null(path);
            assert_string_equal(path, cases[i].path);
        }
        free(path);
    }
}

/* ---- Tokens ---- */

static void a_token_is_read_however_it_is_wrapped(void **state) {
    (void)state;
    static const char *const whole[] = {"\"t1\"", "{\"token\":\"t1\"}", "{\"detail\":\"t1\"}",
                                        "{\"detail\":\"no\",\"token\":\"t1\"}"};
    static const char *const none[] = {"", "\"\"", "{}", "[\"t1\"]", "{\"token\":7}", "t1"};
    enum fal_code code;
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        char *token = client_token_read(slice_of(whole[i]), &code);
        assert_int_equal(code, FAL_OK);
        assert_string_equal(token, "t1");
        free(token);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_null(client_token_read(slice_of(none[i]), &code));
        assert_int_equal(code, FAL_ERR_PROTOCOL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ending_says_the_type),
        cmocka_unit_test(what_has_no_name_is_named_by_time_and_type),
        cmocka_unit_test(a_lifecycle_is_written_as_the_wire_has_it),
        cmocka_unit_test(a_lifecycle_that_is_none_is_refused),
        cmocka_unit_test(parts_are_at_most_ten_thousand),
        cmocka_unit_test(a_parts_number_goes_before_the_query),
        cmocka_unit_test(a_file_has_exactly_one_source),
        cmocka_unit_test(a_file_is_read_where_it_is_asked_for),
        cmocka_unit_test(a_file_that_changes_is_an_error),
        cmocka_unit_test(what_cannot_be_sent_is_said_with_its_path),
        cmocka_unit_test(a_file_url_is_a_path_of_this_machine),
        cmocka_unit_test(a_token_is_read_however_it_is_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
