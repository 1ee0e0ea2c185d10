/* docs/bad-input.md, files: names, contents, sizes, signed addresses, lifetimes. */
#include "files_calls.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct server server;

#define MAX_BYTES 1048576

/* --- F1: names */

static void expect_plain_address(const char *path) {
    static const char prefix[] = "/cdn/files/b/";
    assert_memory_equal(path, prefix, sizeof prefix - 1);
    const char *id = path + sizeof prefix - 1;
    assert_int_equal(strspn(id, "0123456789abcdef"), 32);
    const char *rest = id + 32;
    if (*rest == '\0') return;
    assert_int_equal(*rest, '.');
    assert_int_equal(strspn(rest + 1, "abcdefghijklmnopqrstuvwxyz0123456789"), strlen(rest + 1));
    assert_in_range(strlen(rest + 1), 1, 8);
}

static void expect_harmless_label(const char *path) {
    char label[1024];
    struct answer a = get(server.port, path);
    expect_status(path, &a, 200);
    assert_true(answer_header(&a, "content-disposition", label, sizeof label));
    const char *quoted = strstr(label, "filename=\"") + 10, *end = strchr(quoted, '"');
    assert_non_null(end);
    if (strncmp(end, "\"; filename*=UTF-8''", 19) != 0) fail_msg("%s", label);
    for (const char *p = quoted; p < end; p++)
        if (*p < ' ' || *p > '~' || strchr("/\\<>:|*?", *p) != NULL) fail_msg("%s", label);
    if (strncmp(quoted, "..", 2) == 0 || end == quoted) fail_msg("%s", label);
    if (strpbrk(end + 19, "/\\\"<> ") != NULL) fail_msg("%s", label);
    answer_free(&a);
}

static void F1_names_are_kept_as_labels_alone(void **state) {
    static const char *const in_json[] = {"../../etc/passwd",
                                          "..\\\\..\\\\boot.ini",
                                          "%2e%2e%2fetc%2fpasswd",
                                          "/abs/olute",
                                          "C:\\\\x",
                                          "con",
                                          "",
                                          ".",
                                          "..",
                                          "a\\u0000b",
                                          "\\u202egpj.exe",
                                          "a\\r\\nSet-Cookie: x=1",
                                          "say \\\"x\\\"",
                                          "gr\\u00fc\\u00df.png",
                                          "\\ud83d\\ude00.gif"};
    static const char *const in_header[] = {"../../etc/passwd", "a\"; filename=\"b", "con",
                                            "\xff\xfe\xfd", "gr\xc3\xbc\xc3\x9f.png"};
    size_t before = blobs_count(&server), made = 0;
    char text[600], body[1024];
    for (size_t i = 0; i <= sizeof in_json / sizeof *in_json; i++, made++) {
        bool longest = i == sizeof in_json / sizeof *in_json;
        memset(text, 'x', 300);
        text[300] = '\0';
        snprintf(body, sizeof body, "{\"content_type\":\"text/plain\",\"file_name\":\"%s\"}",
                 longest ? text : in_json[i]);
        struct answer a = post(server.port, "/rest/storage/upload/initiate", ANN JSON, body,
                               strlen(body));
        struct begun b;
        answer_path(&a, "upload_url", b.upload);
        answer_path(&a, "file_url", b.file);
        answer_free(&a);
        expect_plain_address(b.file);
        expect(body, send_request(server.port, "PUT", b.upload, TEXT, "x", 1), 200, NULL);
        expect_harmless_label(b.file);
    }
    for (size_t i = 0; i < sizeof in_header / sizeof *in_header; i++, made++) {
        char path[512];
        snprintf(text, sizeof text, ANN TEXT "X-Fal-File-Name: %s\r\n", in_header[i]);
        post_file(server.port, text, "x", 1, path);
        expect_plain_address(path);
        expect_harmless_label(path);
    }
    expect_blobs(&server, before + made);
}

/* --- F2, F3: contents */

#define PNG "\x89PNG\r\n\x1a\n"
#define ZIP_END "PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static void expect_served(const char *type, const char *bytes, size_t len, const char *served,
                          const char *how) {
    char headers[256], path[512], value[128];
    snprintf(headers, sizeof headers, ANN "Content-Type: %s\r\nX-Fal-File-Name: x.html\r\n", type);
    post_file(server.port, headers, bytes, len, path);
    struct answer a = get(server.port, path);
    expect_status(type, &a, 200);
    expect_header(type, &a, "content-type", served);
    expect_header(type, &a, "x-content-type-options", "nosniff");
    expect_header(type, &a, "content-security-policy", "sandbox; default-src 'none'");
    assert_true(answer_header(&a, "content-disposition", value, sizeof value));
    if (strncmp(value, how, strlen(how)) != 0) fail_msg("%s (%s): %s", type, served, value);
    answer_free(&a);
}

static void F2_what_is_not_what_it_says_is_an_attachment_of_octets(void **state) {
    static const struct {
        const char *bytes;
        size_t len;
    } lies[] = {
        {"<!doctype html><script>alert(1)</script>", 40},
        {"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>", 52},
        {"%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>", 38},
        {"GIF89a\1\0\1\0;" ZIP_END, 11 + 22}, /* GIFAR */
        {"MIME-Version: 1.0\r\nContent-Type: multipart/related", 50},
        {"<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='#x'?>", 65},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        expect_served("image/png", lies[i].bytes, lies[i].len, "application/octet-stream",
                      "attachment;");
    expect_served("image/png", PNG "....", 12, "image/png", "inline;");
    expect_served("image/jpeg", PNG "....", 12, "image/png", "inline;");
    expect_served("application/pdf", "%PDF-1.7\n", 9, "application/pdf", "attachment;");
}

static void F3_active_types_are_attachments_of_octets(void **state) {
    static const char *const types[] = {"image/svg+xml",
                                        "text/html",
                                        "text/xml",
                                        "application/xml",
                                        "application/xhtml+xml",
                                        "text/javascript",
                                        "text/css",
                                        "application/javascript",
                                        "application/x-shockwave-flash",
                                        "text/html; charset=utf-8",
                                        "message/rfc822",
                                        "text/plain"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        expect_served(types[i], PNG "<script>", 16, "application/octet-stream", "attachment;");
}

/* --- F4, F5: sizes */

static void F4_more_or_less_than_was_declared(void **state) {
    static const char bytes[] = "0123456789a";
    static const struct {
        size_t len;
        unsigned status;
        const char *says;
    } wrong[] = {{11, 413, "larger than was declared"},
                 {9, 400, "incomplete upload"},
                 {0, 400, "incomplete upload"}};
    size_t before = blobs_count(&server);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct begun b = begin_upload(server.port, ANN, "text/plain", 10);
        expect("length", send_request(server.port, "PUT", b.upload, TEXT, bytes, wrong[i].len),
               wrong[i].status, wrong[i].says);
        expect("chunks", send_chunked(server.port, "PUT", b.upload, TEXT, bytes, wrong[i].len),
               wrong[i].status, wrong[i].says);
        expect("nothing there", get(server.port, b.file), 404, "File not found");
        expect_blobs(&server, before);
        expect("the right size", send_request(server.port, "PUT", b.upload, TEXT, bytes, 10), 200,
               NULL);
        expect_file(server.port, b.file, "", bytes, 10);
        before++;
    }
    struct begun b = begin_upload(server.port, ANN, "text/plain", 0);
    expect("nothing, as declared", send_request(server.port, "PUT", b.upload, TEXT, "", 0), 200,
           NULL);
    expect_file(server.port, b.file, "", "", 0);
}

static void F4_a_piece_of_a_file_or_a_packed_one_is_none(void **state) {
    struct begun b = begin_upload(server.port, ANN, "text/plain", -1);
    static const char range[] = TEXT "Content-Range: bytes 0-4/10\r\n",
                      gzip[] = TEXT "Content-Encoding: gzip\r\n";
    expect("a piece", send_request(server.port, "PUT", b.upload, range, "hello", 5), 400,
           "Content-Range");
    expect("packed", send_request(server.port, "PUT", b.upload, gzip, "hello", 5), 415, "encoding");
    expect("packed",
           send_request(server.port, "POST", UPLOAD, ANN "Content-Encoding: br\r\n", "x", 1), 415,
           NULL);
    expect("nothing there", get(server.port, b.file), 404, NULL);
}

/* Cut off in the middle: nothing stays, the address may be used again. */
static void F4_an_upload_that_breaks_off_leaves_nothing(void **state) {
    struct begun b = begin_upload(server.port, ANN, "text/plain", -1);
    struct text head = {0};
    size_t before = blobs_count(&server);
    text_printf(&head, "PUT %s HTTP/1.1\r\n" HOST TEXT "Content-Length: 1000\r\n\r\n0123",
                b.upload);
    struct peer p = peer_open(server.port);
    peer_send(&p, head.p, head.len);
    for (uint64_t end = now_ms() + PATIENCE_MS; file_metric(server.port, "anyllm_uploads") == 0;)
        assert_true(now_ms() < end);
    expect("while it is used", send_request(server.port, "PUT", b.upload, TEXT, "x", 1), 409, NULL);
    peer_close(&p);
    for (uint64_t end = now_ms() + PATIENCE_MS; file_metric(server.port, "anyllm_uploads") > 0;)
        assert_true(now_ms() < end);
    expect("nothing there", get(server.port, b.file), 404, NULL);
    expect("again", send_request(server.port, "PUT", b.upload, TEXT, "whole", 5), 200, NULL);
    expect_file(server.port, b.file, "", "whole", 5);
    expect_blobs(&server, before + 1);
    text_free(&head);
}

static void F5_over_the_limit_of_one_file(void **state) {
    char *large = calloc(1, MAX_BYTES + 1);
    struct begun b = begin_upload(server.port, ANN, "text/plain", -1);
    static const char body[] = "{\"content_type\":\"text/plain\",\"file_size\":1048577}";
    size_t before = blobs_count(&server);
    expect("initiate",
           post(server.port, "/rest/storage/upload/initiate", ANN JSON, body, sizeof body - 1), 413,
           "1048576");
    expect("PUT", send_request(server.port, "PUT", b.upload, TEXT, large, MAX_BYTES + 1), 413,
           "1048576");
    expect("chunks", send_chunked(server.port, "PUT", b.upload, TEXT, large, MAX_BYTES + 1), 413,
           NULL);
    expect("POST", send_request(server.port, "POST", UPLOAD, ANN TEXT, large, MAX_BYTES + 1), 413,
           NULL);
    expect("chunks", send_chunked(server.port, "POST", UPLOAD, ANN TEXT, large, MAX_BYTES + 1), 413,
           NULL);
    expect_blobs(&server, before);
    expect("the largest", send_request(server.port, "PUT", b.upload, TEXT, large, MAX_BYTES), 200,
           NULL);
    expect_file(server.port, b.file, "", large, MAX_BYTES);
    free(large);
}

static void F5_over_the_quota_of_an_owner(void **state) {
    struct server s;
    char path[512], bytes[600] = {0};
    files_start(&s, "max_stored_bytes_per_key: 1000\n");
    post_file(s.port, ANN TEXT, bytes, 600, path);
    expect("POST", send_request(s.port, "POST", UPLOAD, ANN TEXT, bytes, 401), 403,
           "quota_exceeded");
    expect("chunks", send_chunked(s.port, "POST", UPLOAD, ANN TEXT, bytes, 401), 403, NULL);
    struct begun promised = begin_upload(s.port, ANN, "text/plain", 300);
    expect("with what was promised", send_request(s.port, "POST", UPLOAD, ANN TEXT, bytes, 101),
           403, NULL);
    struct begun open = begin_upload(s.port, ANN, "text/plain", -1);
    expect("PUT", send_request(s.port, "PUT", open.upload, TEXT, bytes, 101), 403, NULL);
    expect("another owner", send_request(s.port, "POST", UPLOAD, BEN TEXT, bytes, 600), 200, NULL);
    expect("the promised one", send_request(s.port, "PUT", promised.upload, TEXT, bytes, 300), 200,
           NULL);
    expect("to the brim", send_request(s.port, "PUT", open.upload, TEXT, bytes, 100), 200, NULL);
    expect("one more", send_request(s.port, "POST", UPLOAD, ANN TEXT, bytes, 1), 403, NULL);
    assert_int_equal(file_metric(s.port, "anyllm_file_bytes"), 1600);
    expect("room is made", send_request(s.port, "DELETE", path, ANN, "", 0), 204, NULL);
    expect("again", send_request(s.port, "POST", UPLOAD, ANN TEXT, bytes, 600), 200, NULL);
    server_stop(&s);
}

static void F5_a_disk_that_is_nearly_full(void **state) {
    static const char body[] = "{\"content_type\":\"text/plain\"}";
    struct server s;
    files_start(&s, "min_free_bytes: 1000TiB\n");
    expect("initiate",
           post(s.port, "/rest/storage/upload/initiate", ANN JSON, body, sizeof body - 1), 507,
           "insufficient storage");
    expect("POST", send_request(s.port, "POST", UPLOAD, ANN TEXT, "x", 1), 507,
           "insufficient storage");
    expect("parts", send_request(s.port, "POST", UPLOAD "/multipart", ANN TEXT, "", 0), 507, NULL);
    server_stop(&s);
}

/* --- F8: signed addresses */

static void F8_what_a_signed_address_does_not_permit(void **state) {
    struct begun b = begin_upload(server.port, ANN, "text/plain", 5);
    expect("other type",
           send_request(server.port, "PUT", b.upload, "Content-Type: text/html\r\n", "hello", 5),
           400, "Content-Type");
    expect("other size", send_request(server.port, "PUT", b.upload, TEXT, "hell", 4), 400, NULL);
    for (char *p = strstr(b.upload, "/upload/") + 8; *p != '\0'; p++) {
        char was = *p;
        *p = (char)(was ^ 1);
        if (was != '?' && *p > ' ' && strchr("\"#<>\\^`{|}", *p) == NULL) {
            struct answer a = send_request(server.port, "PUT", b.upload, TEXT, "hello", 5);
            /* of the path: perhaps no address any more */
            bool path = strchr(b.upload, '?') == NULL || p < strchr(b.upload, '?');
            if (a.status != 403 && !(path && (a.status == 404 || a.status == 405)) &&
                !(a.status == 400 && was == '%'))
                fail_msg("%s: %u", b.upload, a.status);
            answer_free(&a);
        }
        *p = was;
    }
    char *query = strchr(b.upload, '?');
    *query = '\0';
    expect("unsigned", send_request(server.port, "PUT", b.upload, TEXT, "hello", 5), 403, NULL);
    *query = '?';
    /* A key that comes along is not looked at, right or wrong. */
    expect("with a wrong key",
           send_request(server.port, "PUT", b.upload, TEXT "Authorization: Key ann:wrong\r\n",
                        "hello", 5),
           200, NULL);
    expect("used twice", send_request(server.port, "PUT", b.upload, TEXT, "hello", 5), 409, NULL);
    expect_file(server.port, b.file, "", "hello", 5);
    b = begin_upload(server.port, ANN, "text/plain", -1);
    expect("with the right one", send_request(server.port, "PUT", b.upload, TEXT ANN, "hello", 5),
           200, NULL);
}

static void F8_a_signed_address_ends_with_its_time(void **state) {
    struct server s;
    files_start(&s, "upload_expiry: 1s\n");
    struct begun b = begin_upload(s.port, ANN, "text/plain", -1), parts = begin_parts(s.port, ANN);
    char path[600];
    sleep_ms(1200);
    expect("PUT", send_request(s.port, "PUT", b.upload, TEXT, "x", 1), 403, "expired");
    char *query = strchr(parts.upload, '?');
    snprintf(path, sizeof path, "%.*s/1%s", (int)(query - parts.upload), parts.upload, query);
    expect("part", send_request(s.port, "PUT", path, "", "x", 1), 403, "expired");
    server_stop(&s);
}

/* --- F9, F10: lifetimes */

static void F9_lifetimes_that_are_none(void **state) {
    static const struct {
        const char *lifecycle;
        unsigned status;
    } cases[] = {
        {"{\"expiration_duration_seconds\":0}", 422},
        {"{\"expiration_duration_seconds\":-1}", 422},
        {"{\"expiration_duration_seconds\":1e18}", 422},
        {"{\"expiration_duration_seconds\":\"abc\"}", 422},
        {"{\"expiration_duration_seconds\":", 422},
        {"abc", 422},
        {"[]", 422},
        {"{\"initial_acl\":{\"default\":\"deny\"}}", 422},
        {"{\"expiration_duration_seconds\":null}", 200},
        {"{\"expiration_duration_seconds\":\"never\"}", 200},
        {"{\"expiration_duration_seconds\":\"immediate\"}", 200},
        {"{\"expiration_duration_seconds\":60}", 200},
        {"{}", 200},
    };
    static const char *const names[] = {"X-Fal-Object-Lifecycle",
                                        "x-fal-object-lifecycle-preference"};
    static const char body[] = "{\"content_type\":\"text/plain\"}";
    char headers[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t j = 0; j < 2; j++) {
            snprintf(headers, sizeof headers, ANN JSON "%s: %s\r\n", names[j], cases[i].lifecycle);
            expect(
                cases[i].lifecycle,
                post(server.port, "/rest/storage/upload/initiate", headers, body, sizeof body - 1),
                cases[i].status, NULL);
            expect(cases[i].lifecycle, post(server.port, UPLOAD, headers, "x", 1), cases[i].status,
                   NULL);
            expect(cases[i].lifecycle, post(server.port, UPLOAD "/multipart", headers, "", 0),
                   cases[i].status, NULL);
        }
}

static void F10_expired_foreign_and_deleted_files_are_404(void **state) {
    char path[512], kept[512], blob[512];
    post_file(server.port,
              ANN TEXT "X-Fal-Object-Lifecycle: {\"expiration_duration_seconds\":1}\r\n",
              "soon gone", 9, path);
    post_file(server.port, ANN TEXT, "kept", 4, kept);
    blob_path(&server, path, blob);
    assert_int_equal(access(blob, F_OK), 0);
    expect_file(server.port, path, "", "soon gone", 9);
    sleep_ms(1100);
    expect("expired", get(server.port, path), 404, "File not found");
    for (uint64_t end = now_ms() + PATIENCE_MS; access(blob, F_OK) == 0; sleep_ms(20))
        assert_true(now_ms() < end); /* its bytes go soon after */
    expect("foreign", send_request(server.port, "DELETE", kept, BEN, "", 0), 404, "File not found");
    expect("nobody's", send_request(server.port, "DELETE", kept, "", "", 0), 401, NULL);
    expect_file(server.port, kept, BEN, "kept", 4);
    blob_path(&server, kept, blob);
    expect("mine", send_request(server.port, "DELETE", kept, ANN, "", 0), 204, NULL);
    expect("deleted", get(server.port, kept), 404, "File not found");
    expect("twice", send_request(server.port, "DELETE", kept, ANN, "", 0), 404, NULL);
    for (uint64_t end = now_ms() + PATIENCE_MS; access(blob, F_OK) == 0; sleep_ms(5))
        assert_true(now_ms() < end);
    expect("no id", get(server.port, "/cdn/files/b/x"), 404, NULL);
    expect("no file", get(server.port, "/cdn/files/b/00000000000000000000000000000000"), 404, NULL);
}

/* Asked for in the very moment when the sweeper would begin: a server that slept is slow to remove. */
static void F10_a_file_is_gone_by_its_own_time(void **state) {
    char path[512];
    struct text request = {0};
    post_file(server.port,
              ANN TEXT "X-Fal-Object-Lifecycle: {\"expiration_duration_seconds\":1}\r\n",
              "soon gone", 9, path);
    struct peer p = peer_open(server.port);
    assert_true(peer_puts(&p, HEALTHZ) && peer_answer(&p) != NULL);
    kill(server.pid, SIGSTOP);
    sleep_ms(1100);
    text_printf(&request, "GET %s HTTP/1.1\r\n" HOST "\r\n", path);
    peer_send(&p, request.p, request.len);
    kill(server.pid, SIGCONT);
    const struct answer *a = peer_answer(&p);
    assert_non_null(a);
    expect_status("expired", a, 404);
    peer_close(&p);
    text_free(&request);
}

static int start(void **state) {
    files_start(&server, "max_file_bytes: 1MiB\nmin_free_bytes: 0\n");
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(F1_names_are_kept_as_labels_alone),
        cmocka_unit_test(F2_what_is_not_what_it_says_is_an_attachment_of_octets),
        cmocka_unit_test(F3_active_types_are_attachments_of_octets),
        cmocka_unit_test(F4_more_or_less_than_was_declared),
        cmocka_unit_test(F4_a_piece_of_a_file_or_a_packed_one_is_none),
        cmocka_unit_test(F4_an_upload_that_breaks_off_leaves_nothing),
        cmocka_unit_test(F5_over_the_limit_of_one_file),
        cmocka_unit_test(F5_over_the_quota_of_an_owner),
        cmocka_unit_test(F5_a_disk_that_is_nearly_full),
        cmocka_unit_test(F8_what_a_signed_address_does_not_permit),
        cmocka_unit_test(F8_a_signed_address_ends_with_its_time),
        cmocka_unit_test(F9_lifetimes_that_are_none),
        cmocka_unit_test(F10_expired_foreign_and_deleted_files_are_404),
        cmocka_unit_test(F10_a_file_is_gone_by_its_own_time),
    };
    return suite_main(argc, argv, "bad_files", tests, sizeof tests / sizeof *tests, start, stop);
}
