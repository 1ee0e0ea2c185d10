/* One file: every way it can go. */
#include "client/upload_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Parts of four bytes from the fifth byte on. */
static struct fal_upload_options small_parts(struct watched *w) {
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    o.multipart_bytes = 4;
    o.part_bytes = 4;
    o.on_progress = watch_progress;
    o.user = w;
    return o;
}

static struct fal_file memory(const char *text) {
    struct fal_file f = FAL_FILE_INIT;
    f.data = text;
    f.data_bytes = strlen(text);
    f.name = "m.txt";
    return f;
}

/* Uploads with these options; the code and, in *message, its words. */
static enum fal_code upload(struct script *s, const struct fal_file *f,
                            const struct fal_upload_options *o, char message[256]) {
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    enum fal_code code = fal_storage_upload(c, f, o, &r);
    snprintf(message, 256, "%s",
             code == FAL_OK ? fal_result_string(r, "/url") : fal_result_error(r)->message);
    assert_int_equal(fal_result_error(r)->code, code);
    fal_result_free(r);
    fal_client_free(c);
    return code;
}

static void expect_url(struct script *s, const struct fal_file *f,
                       const struct fal_upload_options *o) {
    char url[256], wanted[256];
    enum fal_code code = upload(s, f, o, url);
    if (code != FAL_OK) {
        fail_msg("code %d: %s", (int)code, url);
    }
    snprintf(wanted, sizeof(wanted), "%s/f/1", script_base(s));
    assert_string_equal(url, wanted);
}

static void expect_error(struct script *s, const struct fal_file *f,
                         const struct fal_upload_options *o, enum fal_code code, const char *says) {
    char message[256];
    assert_int_equal(upload(s, f, o, message), code);
    if (strstr(message, says) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", message, says);
    }
}

static void expect_part(struct script *s, unsigned number, const char *bytes, size_t times) {
    char line[64];
    const char *body = "";
    snprintf(line, sizeof(line), "PUT /u/1/%u?sig=x HTTP/1.1", number);
    assert_int_equal(asked_how_often(s, line, &body), times);
    if (times > 0) {
        assert_string_equal(body, bytes);
    }
}

static void expect_begins(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", text, with);
    }
}

/* ---- In one piece ---- */

static void a_small_file_goes_in_one_piece(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE);
    struct fal_file f = FAL_FILE_INIT;
    struct watched w = {0};
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    char path[40], wanted[128];
    file_of(path, ".png", "picture", 7);
    f.path = path;
    o.on_progress = watch_progress;
    o.user = &w;
    expect_url(s, &f, &o);
    assert_true(script_asked(s, 0, INITIATE_LINE));
    assert_true(script_has_header(s, 0, "Authorization: Key kid:ksecret"));
    assert_true(script_has_header(s, 0, "Content-Type: application/json"));
    snprintf(wanted, sizeof(wanted), "{\"content_type\":\"image/png\",\"file_name\":\"%s\"}",
             path + 5);
    assert_string_equal(body_of(s, 0), wanted);
    assert_null(strcasestr(script_request(s, 0), "X-Fal-Object-Lifecycle"));
    assert_true(script_asked(s, 1, PUT_LINE));
    assert_true(script_has_header(s, 1, "Content-Type: image/png"));
    assert_null(strcasestr(script_request(s, 1), "Authorization"));
    assert_null(strcasestr(script_request(s, 1), "Expect"));
    assert_string_equal(body_of(s, 1), "picture");
    assert_int_equal(script_count(s), 2);
    assert_false(w.fell);
    assert_int_equal(w.sent, 7);
    assert_int_equal(w.total, 7);
    unlink(path);
    script_stop(s);
}

static void what_has_no_name_gets_one(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, INITIATED, PUT_DONE);
    struct fal_file f = memory("x");
    f.name = NULL;
    f.content_type = "video/mp4";
    expect_url(s, &f, NULL);
    const char *body = body_of(s, 0);
    expect_begins(body, "{\"content_type\":\"video/mp4\",\"file_name\":\"1");
    assert_non_null(strstr(body, ".mp4\"}"));
    f.content_type = NULL;
    expect_url(s, &f, NULL);
    assert_non_null(strstr(body_of(s, 2), "application/octet-stream"));
    assert_non_null(strstr(body_of(s, 2), ".octet\"}"));
    assert_true(script_has_header(s, 3, "Content-Type: application/octet-stream"));
    script_stop(s);
}

static void an_empty_file_is_a_file(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, INITIATED, PUT_DONE, INITIATED, PUT_DONE);
    struct dribble d = {"", 0, 1, false};
    char path[40];
    file_of(path, ".txt", "", 0);
    struct fal_file files[3] = {memory(""), FAL_FILE_INIT, FAL_FILE_INIT};
    files[1].path = path;
    files[2].read = read_dribble;
    files[2].user = &d;
    for (size_t i = 0; i < 3; i++) {
        struct watched w = {0};
        struct fal_upload_options o = small_parts(&w);
        expect_url(s, &files[i], &o);
        assert_true(script_asked(s, 2 * i + 1, PUT_LINE));
        assert_true(script_has_header(s, 2 * i + 1, "Content-Length: 0"));
        assert_int_equal(w.total, 0);
        assert_int_equal(w.calls, 1);
    }
    unlink(path);
    script_stop(s);
}

static void the_lifecycle_goes_with_the_beginning(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, INITIATED, PART(1), PART(2), COMPLETED_PARTS);
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("abc");
    l.expires_in_s = 60;
    o.lifecycle = &l;
    expect_url(s, &f, &o);
    assert_true(
        script_has_header(s, 0, "X-Fal-Object-Lifecycle: {\"expiration_duration_seconds\":60}"));
    assert_null(strcasestr(script_request(s, 1), "Lifecycle"));
    f = memory("abcdef");
    expect_url(s, &f, &o);
    assert_true(script_asked(s, 2, MULTIPART_LINE));
    assert_true(
        script_has_header(s, 2, "X-Fal-Object-Lifecycle: {\"expiration_duration_seconds\":60}"));
    script_stop(s);
}

static void what_the_upload_address_says_is_the_error(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.status = 413, .body = "{\"detail\":\"too much\"}"});
    struct fal_file f = memory("abc");
    expect_error(s, &f, NULL, FAL_ERR_HTTP, "too much");
    assert_int_equal(script_count(s), 2);
    script_stop(s);
}

static void a_put_that_breaks_is_sent_again(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.raw = ""}, {.status = 503}, {.cut_bytes = 1}, PUT_DONE);
    struct watched w = {0};
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = FAL_FILE_INIT;
    char path[40];
    file_of(path, ".bin", "0123456789", 10);
    f.path = path;
    o.on_progress = watch_progress;
    o.user = &w;
    expect_url(s, &f, &o);
    assert_string_equal(body_of(s, 4), "0123456789");
    assert_false(w.fell);
    assert_int_equal(w.sent, 10);
    unlink(path);
    script_stop(s);
}

/* ---- Beginning ---- */

static void a_beginning_is_tried_again(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 503}, {.raw = ""}, {.status = 502}, INITIATED, PUT_DONE);
    struct fal_file f = memory("abc");
    expect_url(s, &f, NULL);
    assert_int_equal(script_count(s), 5);
    script_stop(s);
}

/* 500 is not tried again unless the caller says so. */
static void a_beginning_is_tried_again_as_the_caller_says(void **state) {
    (void)state;
    static const int statuses[] = {500};
    struct script *s = SCRIPT({.status = 500}, {.status = 500}, INITIATED, PUT_DONE);
    struct fal_options o = FAL_OPTIONS_INIT;
    struct fal_file f = memory("abc");
    fal_client *c = NULL;
    o.base_url = script_base(s);
    o.credentials = "";
    o.retry_base_ms = 1;
    o.retry_statuses = statuses;
    o.retry_status_count = 1;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    assert_int_equal(fal_storage_upload(c, &f, NULL, NULL), FAL_OK);
    assert_int_equal(script_count(s), 4);
    fal_client_free(c);
    script_stop(s);
}

static void a_beginning_that_fails_says_why(void **state) {
    (void)state;
    struct fal_file f = memory("abc");
    static const struct {
        struct script_step step;
        enum fal_code code;
        const char *says;
    } cases[] = {
        {{.status = 500, .body = "{\"detail\":\"broken\"}"}, FAL_ERR_HTTP, "broken"},
        {{.status = 401, .body = "{\"detail\":\"no key\"}"}, FAL_ERR_HTTP, "no key"},
        {{.status = 200, .body = "{}"}, FAL_ERR_PROTOCOL, "upload_url"},
        {{.status = 200, .body = "{\"upload_url\":\"http://h\"}"}, FAL_ERR_PROTOCOL, "file_url"},
        {{.status = 200, .body = "<html>"}, FAL_ERR_PROTOCOL, "upload_url"},
        {{.status = 200, .body = "{\"upload_url\":\"file:///etc/x\",\"file_url\":\"u\"}"},
         FAL_ERR_PROTOCOL,
         ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script *s = script_start(&cases[i].step, 1);
        expect_error(s, &f, NULL, cases[i].code, cases[i].says);
        assert_int_equal(script_count(s), 1);
        script_stop(s);
    }
}

/* ---- In parts ---- */

static void a_large_file_goes_in_parts(void **state) {
    (void)state;
    char path[40];
    file_of(path, ".bin", "0123456789", 10);
    struct dribble d = {"0123456789", 10, 3, false};
    struct fal_file files[3] = {memory("0123456789"), FAL_FILE_INIT, FAL_FILE_INIT};
    files[1].path = path;
    files[2].read = read_dribble;
    files[2].user = &d;
    for (size_t i = 0; i < 3; i++) {
        struct script *s = SCRIPT(INITIATED, PART(1), PART(2), PART(3), COMPLETED_PARTS);
        struct watched w = {0};
        struct fal_upload_options o = small_parts(&w);
        expect_url(s, &files[i], &o);
        assert_true(script_asked(s, 0, MULTIPART_LINE));
        expect_part(s, 1, "0123", 1);
        expect_part(s, 2, "4567", 1);
        expect_part(s, 3, "89", 1);
        assert_null(strcasestr(script_request(s, 1), "Authorization"));
        assert_null(strcasestr(script_request(s, 1), "Content-Type"));
        assert_true(script_asked(s, 4, COMPLETE_LINE));
        assert_true(script_has_header(s, 4, "Content-Type: application/json"));
        assert_null(strcasestr(script_request(s, 4), "Authorization"));
        assert_string_equal(body_of(s, 4), "{\"parts\":[{\"partNumber\":1,\"etag\":\"e1\"},"
                                           "{\"partNumber\":2,\"etag\":\"e2\"},"
                                           "{\"partNumber\":3,\"etag\":\"e3\"}]}");
        assert_false(w.fell);
        assert_int_equal(w.sent, 10);
        assert_int_equal(w.total, 10);
        script_stop(s);
    }
    unlink(path);
}

static void whole_parts_leave_no_empty_one(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct script *s = SCRIPT(INITIATED, PART(1), PART(2), COMPLETED_PARTS);
        struct watched w = {0};
        struct fal_upload_options o = small_parts(&w);
        struct dribble d = {"01234567", 8, 8, false};
        struct fal_file f = memory("01234567");
        if (i == 1) {
            f = (struct fal_file)FAL_FILE_INIT;
            f.read = read_dribble;
            f.user = &d;
        }
        expect_url(s, &f, &o);
        expect_part(s, 1, "0123", 1);
        expect_part(s, 2, "4567", 1);
        expect_part(s, 3, "", 0);
        assert_int_equal(script_count(s), 4);
        assert_int_equal(w.sent, 8);
        assert_int_equal(w.total, 8);
        script_stop(s);
    }
}

/* Four bytes are not more than four; a callback that has filled a part may go on. */
static void the_threshold_is_the_last_that_goes_whole(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PUT_DONE, INITIATED, PART(1), COMPLETED_PARTS, INITIATED,
                              PART(1), PART(2), COMPLETED_PARTS);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123");
    expect_url(s, &f, &o);
    assert_true(script_asked(s, 1, PUT_LINE));
    struct dribble d = {"0123", 4, 9, false};
    struct fal_file source = FAL_FILE_INIT;
    source.read = read_dribble;
    source.user = &d;
    w = (struct watched){0};
    expect_url(s, &source, &o);
    assert_int_equal(w.sent, 4);
    assert_string_equal(body_of(s, 4), "{\"parts\":[{\"partNumber\":1,\"etag\":\"e1\"}]}");
    f = memory("01234");
    w = (struct watched){0};
    expect_url(s, &f, &o);
    assert_true(script_asked(s, 5, MULTIPART_LINE));
    script_stop(s);
}

static void a_part_that_breaks_is_sent_again_alone(void **state) {
    (void)state;
    struct dribble d = {"0123456789", 10, 10, false};
    struct fal_file files[2] = {memory("0123456789"), FAL_FILE_INIT};
    files[1].read = read_dribble;
    files[1].user = &d;
    for (size_t i = 0; i < 2; i++) {
        struct script *s = SCRIPT(
            INITIATED, {.raw = "", .when = "/1/1?"}, {.status = 502, .when = "/1/1?"},
            {.cut_bytes = 60, .when = "/1/1?"}, PART(1), PART(2), PART(3), COMPLETED_PARTS);
        struct watched w = {0};
        struct fal_upload_options o = small_parts(&w);
        expect_url(s, &files[i], &o);
        expect_part(s, 1, "0123", 4);
        expect_part(s, 2, "4567", 1);
        expect_part(s, 3, "89", 1);
        assert_true(script_asked(s, 7, COMPLETE_LINE));
        expect_begins(body_of(s, 7), "{\"parts\":[{\"partNumber\":1,\"etag\":\"e1\"}");
        assert_false(w.fell);
        assert_int_equal(w.sent, 10);
        script_stop(s);
    }
}

static void a_connection_cut_within_a_part_is_no_end(void **state) {
    (void)state;
    enum { LEN = 3 << 20 };
    char *bytes = malloc(LEN + 1), path[40];
    assert_non_null(bytes);
    for (size_t i = 0; i < LEN; i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    bytes[LEN] = '\0';
    file_of(path, ".bin", bytes, LEN);
    struct script *s = SCRIPT(INITIATED, {.cut_bytes = 300000, .when = "/1/2?"}, PART(1), PART(2),
                              PART(3), COMPLETED_PARTS);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = FAL_FILE_INIT;
    o.part_bytes = 1 << 20;
    f.path = path;
    expect_url(s, &f, &o);
    const char *part = "";
    assert_int_equal(asked_how_often(s, "PUT /u/1/2?sig=x HTTP/1.1", &part), 2);
    assert_int_equal(strlen(part), 1 << 20);
    assert_memory_equal(part, bytes + (1 << 20), 1 << 20);
    assert_false(w.fell);
    assert_int_equal(w.sent, LEN);
    unlink(path);
    free(bytes);
    script_stop(s);
}

/* ---- What stalls ---- */

static void a_part_that_stalls_is_sent_again_alone(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PART(1), {.hang = true, .when = "/1/2?"}, PART(2), PART(3),
                              COMPLETED_PARTS);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789");
    o.stall_timeout_ms = 400;
    o.timeout_ms = 10000;
    expect_url(s, &f, &o);
    expect_part(s, 1, "0123", 1);
    expect_part(s, 2, "4567", 2);
    expect_part(s, 3, "89", 1);
    assert_false(w.fell);
    script_stop(s);
}

static void a_file_that_stalls_is_sent_again(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true}, PUT_DONE);
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = memory("0123");
    o.stall_timeout_ms = 400;
    o.timeout_ms = 10000;
    expect_url(s, &f, &o);
    assert_int_equal(script_count(s), 3);
    script_stop(s);
}

static void what_stalls_each_time_is_an_error(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true}, {.hang = true}, {.hang = true},
                              {.hang = true}, {.hang = true}, {.hang = true});
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = memory("0123");
    o.stall_timeout_ms = 200;
    o.timeout_ms = 20000;
    expect_error(s, &f, &o, FAL_ERR_TRANSPORT, "nothing moved for 200 ms");
    assert_int_equal(script_count(s), 7);
    script_stop(s);
}

static void a_stall_that_is_never_one_waits_for_the_deadline(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true});
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = memory("0123");
    o.stall_timeout_ms = -1;
    o.timeout_ms = 300;
    expect_error(s, &f, &o, FAL_ERR_TIMEOUT, "timed out");
    assert_int_equal(script_count(s), 2);
    script_stop(s);
}

/* Uploads so many bytes whole to the sluggard; how many connections it took. */
static size_t upload_to(struct sluggard *slow, size_t bytes, int64_t stall_ms) {
    char body[128];
    snprintf(body, sizeof(body), "{\"upload_url\":\"http://127.0.0.1:%u/u\",\"file_url\":\"f\"}",
             sluggard_port(slow));
    struct script *s = SCRIPT({.status = 200, .body = body});
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = FAL_FILE_INIT;
    char message[256], *data = calloc(1, bytes);
    f.data = data;
    f.data_bytes = bytes;
    o.stall_timeout_ms = stall_ms;
    o.timeout_ms = 30000;
    enum fal_code code = upload(s, &f, &o, message);
    size_t connections = sluggard_stop(slow);
    free(data);
    script_stop(s);
    if (code != FAL_OK) {
        fail_msg("code %d: %s", (int)code, message);
    }
    return connections;
}

static void a_server_that_reads_nothing_is_tried_again(void **state) {
    (void)state;
    assert_int_equal(upload_to(sluggard_start(0, 0), 16U << 20, 400), 2);
}

/* It takes more than three times the stall, and the system here has taken all bytes long before the server has. */
static void what_is_slow_and_moves_has_not_stalled(void **state) {
    (void)state;
    assert_int_equal(upload_to(sluggard_start(16384, 20), 3U << 20, 1000), 1);
}

static void a_part_that_is_refused_ends_all(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true, .when = "/1/1?"},
                              {.status = 403, .when = "/1/2?", .body = "{\"detail\":\"late\"}"},
                              {.hang = true, .when = "/1/3?"});
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789");
    expect_error(s, &f, &o, FAL_ERR_HTTP, "late");
    expect_part(s, 2, "4567", 1);
    script_stop(s);
}

static void a_completion_that_is_refused_says_why(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        INITIATED, PART(1), PART(2),
        {.status = 400, .when = "complete", .body = "{\"detail\":\"part 2 is torn\"}"});
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("01234");
    expect_error(s, &f, &o, FAL_ERR_HTTP, "part 2 is torn");
    script_stop(s);
}

static void a_completion_that_breaks_is_sent_again(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PART(1), PART(2), {.raw = "", .when = "complete"},
                              {.status = 504, .when = "complete"}, COMPLETED_PARTS);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("01234");
    expect_url(s, &f, &o);
    assert_string_equal(body_of(s, 3), body_of(s, 5));
    script_stop(s);
}

static void an_etag_is_in_the_body_or_the_head(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED,
                              {.status = 200, .when = "/1/1?", .headers = "ETag: \"h1\"\r\n"},
                              {.status = 200,
                               .when = "/1/2?",
                               .body = "{\"etag\":\"b2\"}",
                               .headers = "ETag: \"h2\"\r\n"},
                              COMPLETED_PARTS);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("01234");
    expect_url(s, &f, &o);
    assert_string_equal(body_of(s, 3), "{\"parts\":[{\"partNumber\":1,\"etag\":\"\\\"h1\\\"\"},"
                                       "{\"partNumber\":2,\"etag\":\"b2\"}]}");
    script_stop(s);
    s = SCRIPT(INITIATED, PART(1), {.status = 200, .when = "/1/2?", .body = "{}"});
    expect_error(s, &f, &o, FAL_ERR_PROTOCOL, "part 2 names no etag");
    script_stop(s);
}

static void cancel_at(void *client) {
    fal_client_cancel(*(fal_client **)client);
}

static void no_more_parts_run_than_are_allowed(void **state) {
    (void)state;
    fal_client *c = NULL;
    struct script_step steps[] = {INITIATED,
                                  {.hang = true, .when = "PUT"},
                                  {.hang = true, .when = "PUT", .hook = cancel_at, .user = &c},
                                  {.hang = true, .when = "PUT"}};
    struct script *s = script_start(steps, 4);
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789abcdefghij");
    c = client_for(s);
    o.parallel_parts = 2;
    assert_int_equal(fal_storage_upload(c, &f, &o, NULL), FAL_ERR_CANCELLED);
    assert_int_equal(script_count(s), 3);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Sources that fail ---- */

static void nothing_is_sent_of_what_cannot_be_opened(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED);
    struct fal_file f = FAL_FILE_INIT;
    expect_error(s, &f, NULL, FAL_ERR_ARGUMENT, "one of path, data and read");
    f.path = "/nowhere/cat.png";
    expect_error(s, &f, NULL, FAL_ERR_ARGUMENT, "/nowhere/cat.png: No such file");
    f.path = "/tmp";
    expect_error(s, &f, NULL, FAL_ERR_ARGUMENT, "/tmp: Is a directory");
    f.size = 0;
    expect_error(s, &f, NULL, FAL_ERR_ARGUMENT, "");
    f = memory("x");
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    o.parallel_parts = 17;
    expect_error(s, &f, &o, FAL_ERR_ARGUMENT, "parallel_parts");
    o.parallel_parts = 0;
    o.timeout_ms = -1;
    expect_error(s, &f, &o, FAL_ERR_ARGUMENT, "timeout_ms");
    assert_int_equal(fal_storage_upload(NULL, &f, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(script_count(s), 0);
    script_stop(s);
}

static void a_source_that_fails_ends_the_upload(void **state) {
    (void)state;
    struct dribble d = {"012", 3, 2, true};
    struct fal_file f = FAL_FILE_INIT;
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct script *s = SCRIPT(INITIATED, PART(1), PART(2), PART(3));
    f.read = read_dribble;
    f.user = &d;
    expect_error(s, &f, &o, FAL_ERR_ARGUMENT, "read callback failed");
    assert_int_equal(script_count(s), 0);
    d = (struct dribble){"0123456789", 10, 3, true};
    expect_error(s, &f, &o, FAL_ERR_ARGUMENT, "read callback failed");
    assert_int_equal(script_count(s) > 0 && !script_asked(s, script_count(s) - 1, COMPLETE_LINE),
                     true);
    script_stop(s);
}

static void shrink(void *user) {
    assert_int_equal(truncate(user, 2), 0);
}

static void a_file_that_shrinks_is_an_error(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[40];
        file_of(path, ".bin", "0123456789", 10);
        struct script_step steps[] = {INITIATED, PART(1), PART(2), PART(3), COMPLETED_PARTS};
        steps[0].hook = shrink;
        steps[0].user = path;
        struct script *s = script_start(steps, 5);
        struct fal_file f = FAL_FILE_INIT;
        struct watched w = {0};
        struct fal_upload_options o = small_parts(&w);
        f.path = path;
        o.multipart_bytes = i == 0 ? 100 : 4;
        expect_error(s, &f, &o, FAL_ERR_ARGUMENT, "changed while it was sent");
        assert_int_equal(script_count(s), 1);
        unlink(path);
        script_stop(s);
    }
}

/* ---- Ends ---- */

static void cancel(void *client) {
    fal_client_cancel(client);
}

static void a_cancel_ends_all_parts_at_once(void **state) {
    (void)state;
    struct script_step steps[] = {
        INITIATED, PART(1), {.hang = true, .when = "/1/2?"}, {.hang = true, .when = "/1/3?"}};
    struct script *s = script_start(steps, 4);
    fal_client *c = client_for(s);
    fal_result *r = NULL;
    struct watched w = {.then = cancel, .user = c};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789");
    assert_int_equal(fal_storage_upload(c, &f, &o, &r), FAL_ERR_CANCELLED);
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void a_deadline_ends_all_parts_at_once(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, PART(1), {.hang = true, .when = "/1/2?"},
                              {.hang = true, .when = "/1/3?"});
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789");
    o.timeout_ms = 100;
    expect_error(s, &f, &o, FAL_ERR_TIMEOUT, "timed out after 100 ms");
    script_stop(s);
}

struct ended {
    size_t count;
    enum fal_code code;
    char url[256];
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ended *e = user;
    const char *url = fal_result_string(result, "/url");
    e->count++;
    e->code = code;
    snprintf(e->url, sizeof(e->url), "%s", url != NULL ? url : fal_result_error(result)->message);
    fal_result_free(result);
}

static void uploads_that_do_not_block_run_side_by_side(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 200,
                               .when = "initiate",
                               .body = "{\"upload_url\":\"$BASE/u/1?sig=x\",\"file_url\":\"f1\"}"},
                              {.status = 200,
                               .when = "initiate",
                               .body = "{\"upload_url\":\"$BASE/u/2?sig=x\",\"file_url\":\"f2\"}"},
                              {.status = 200, .when = "PUT"}, {.status = 200, .when = "PUT"});
    fal_client *c = client_for(s);
    struct ended ends[3] = {{0}, {0}, {0}};
    struct fal_file files[3] = {memory("a"), memory("b"), FAL_FILE_INIT};
    files[2].path = "/nowhere/x";
    for (size_t i = 0; i < 3; i++) {
        struct fal_done done = {note_end, &ends[i]};
        assert_int_equal(fal_storage_upload_start(c, &files[i], NULL, done, NULL), FAL_OK);
    }
    files[0].name = files[1].name = NULL; /* what was passed in is copied */
    while (fal_client_pending(c) > 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ends[i].count, 1);
    }
    assert_true(ends[0].code == FAL_OK && ends[1].code == FAL_OK);
    assert_true(ends[0].url[0] == 'f' && ends[1].url[0] == 'f');
    assert_string_not_equal(ends[0].url, ends[1].url);
    assert_int_equal(ends[2].code, FAL_ERR_ARGUMENT);
    assert_non_null(strstr(ends[2].url, "No such file"));
    fal_client_free(c);
    script_stop(s);
}

static void an_upload_that_does_not_block_can_be_cancelled(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true});
    fal_client *c = client_for(s);
    struct ended end = {0};
    struct fal_file f = memory("a");
    fal_call *call = NULL;
    assert_int_equal(
        fal_storage_upload_start(c, &f, NULL, (struct fal_done){note_end, &end}, &call), FAL_OK);
    while (script_count(s) < 2) {
        assert_int_equal(fal_client_wait(c, 10), FAL_OK);
    }
    fal_call_cancel(call);
    while (fal_client_pending(c) > 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    assert_int_equal(end.count, 1);
    assert_int_equal(end.code, FAL_ERR_CANCELLED);
    fal_call_free(call);
    fal_client_free(c);
    script_stop(s);
}

static void a_client_is_freed_while_parts_run(void **state) {
    (void)state;
    struct script *s = SCRIPT(INITIATED, {.hang = true}, {.hang = true}, {.hang = true});
    fal_client *c = client_for(s);
    struct ended end = {0};
    struct watched w = {0};
    struct fal_upload_options o = small_parts(&w);
    struct fal_file f = memory("0123456789");
    assert_int_equal(fal_storage_upload_start(c, &f, &o, (struct fal_done){note_end, &end}, NULL),
                     FAL_OK);
    while (script_count(s) < 2) {
        assert_int_equal(fal_client_wait(c, 10), FAL_OK);
    }
    fal_client_free(c);
    assert_int_equal(end.count, 1);
    assert_int_equal(end.code, FAL_ERR_CANCELLED);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_goes_in_one_piece),
        cmocka_unit_test(what_has_no_name_gets_one),
        cmocka_unit_test(an_empty_file_is_a_file),
        cmocka_unit_test(the_lifecycle_goes_with_the_beginning),
        cmocka_unit_test(what_the_upload_address_says_is_the_error),
        cmocka_unit_test(a_put_that_breaks_is_sent_again),
        cmocka_unit_test(a_beginning_is_tried_again),
        cmocka_unit_test(a_beginning_is_tried_again_as_the_caller_says),
        cmocka_unit_test(a_beginning_that_fails_says_why),
        cmocka_unit_test(a_large_file_goes_in_parts),
        cmocka_unit_test(whole_parts_leave_no_empty_one),
        cmocka_unit_test(the_threshold_is_the_last_that_goes_whole),
        cmocka_unit_test(a_part_that_breaks_is_sent_again_alone),
        cmocka_unit_test(a_connection_cut_within_a_part_is_no_end),
        cmocka_unit_test(a_part_that_stalls_is_sent_again_alone),
        cmocka_unit_test(a_file_that_stalls_is_sent_again),
        cmocka_unit_test(what_stalls_each_time_is_an_error),
        cmocka_unit_test(a_stall_that_is_never_one_waits_for_the_deadline),
        cmocka_unit_test(a_server_that_reads_nothing_is_tried_again),
        cmocka_unit_test(what_is_slow_and_moves_has_not_stalled),
        cmocka_unit_test(a_part_that_is_refused_ends_all),
        cmocka_unit_test(a_completion_that_is_refused_says_why),
        cmocka_unit_test(a_completion_that_breaks_is_sent_again),
        cmocka_unit_test(an_etag_is_in_the_body_or_the_head),
        cmocka_unit_test(no_more_parts_run_than_are_allowed),
        cmocka_unit_test(nothing_is_sent_of_what_cannot_be_opened),
        cmocka_unit_test(a_source_that_fails_ends_the_upload),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
        cmocka_unit_test(a_cancel_ends_all_parts_at_once),
        cmocka_unit_test(a_deadline_ends_all_parts_at_once),
        cmocka_unit_test(uploads_that_do_not_block_run_side_by_side),
        cmocka_unit_test(an_upload_that_does_not_block_can_be_cancelled),
        cmocka_unit_test(a_client_is_freed_while_parts_run),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
