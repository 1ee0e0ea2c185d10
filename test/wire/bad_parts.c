/* docs/bad-input.md, files: uploads in parts (F6, F7), what lies planted in the store (F11), kills (F12), what is begun and
 * left (F14). */
#include "files_calls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static struct server server;

/* --- an upload in parts, as JavaScript's (signed) or Python's (by key) */

struct upload {
    char base[700], query[600], file[512]; /* base/{n}query, base/complete query */
    const char *key;
};

static struct upload signed_upload(unsigned port) {
    struct begun b = begin_parts(port, ANN);
    char *query = strchr(b.upload, '?');
    struct upload u = {.key = ""};
    snprintf(u.query, sizeof u.query, "%s", query);
    snprintf(u.base, sizeof u.base, "%.*s", (int)(query - b.upload), b.upload);
    snprintf(u.file, sizeof u.file, "%s", b.file);
    return u;
}

static struct upload keyed_upload(unsigned port) {
    struct upload u = {.key = ANN};
    char id[64];
    struct answer a = post(port, UPLOAD "/multipart", ANN TEXT "X-Fal-File-Name: a.txt\r\n", "", 0);
    answer_path(&a, "access_url", u.file);
    answer_text(&a, "uploadId", id, sizeof id);
    answer_free(&a);
    snprintf(u.base, sizeof u.base, "%s/multipart/%s", u.file, id);
    return u;
}

static struct answer put_part(unsigned port, const struct upload *u, const char *n,
                              const char *bytes, size_t len) {
    char path[2048];
    snprintf(path, sizeof path, "%s/%s%s", u->base, n, u->query);
    return send_request(port, "PUT", path, u->key, bytes, len);
}

/* Its ETag without quotes, from the header; the JSON must say the same. */
static void good_part(unsigned port, const struct upload *u, unsigned n, const char *bytes,
                      char etag[80]) {
    char number[16], in_json[80], quoted[80];
    snprintf(number, sizeof number, "%u", n);
    struct answer a = put_part(port, u, number, bytes, strlen(bytes));
    expect_status(number, &a, 200);
    assert_true(answer_header(&a, "etag", quoted, sizeof quoted));
    answer_text(&a, "etag", in_json, sizeof in_json);
    assert_string_equal(quoted, in_json);
    snprintf(etag, 80, "%.64s", quoted + 1);
    answer_free(&a);
}

static struct answer complete(unsigned port, const struct upload *u, const char *parts) {
    char path[2048], headers[256];
    struct text body = {0};
    snprintf(path, sizeof path, "%s/complete%s", u->base, u->query);
    snprintf(headers, sizeof headers, "%s" JSON, u->key);
    text_printf(&body, "{\"parts\":%s}", parts);
    struct answer a = post(port, path, headers, body.p, body.len);
    text_free(&body);
    return a;
}

/* --- F6, F7 */

static void with_parts(struct upload (*begin)(unsigned port)) {
    unsigned port = server.port;
    struct upload u = begin(port);
    char one[80], two[80], old[80], three[80], parts[800];
    size_t before = blobs_count(&server);
    expect("nothing yet", complete(port, &u, "[]"), 400, NULL);
    good_part(port, &u, 3, "ghi", three);
    good_part(port, &u, 1, "abc", one);
    snprintf(parts, sizeof parts,
             "[{\"partNumber\":1,\"etag\":\"%s\"},{\"partNumber\":3,\"etag\":\"%s\"}]", one, three);
    expect("one is missing", complete(port, &u, parts), 400, "part 2: is missing");
    good_part(port, &u, 2, "xxxx", old);
    good_part(port, &u, 2, "def", two); /* the last one counts */
    expect("not listed", complete(port, &u, parts), 400, "part 2: was uploaded and is not listed");
    snprintf(
        parts, sizeof parts,
        "[{\"partNumber\":1,\"etag\":\"%s\"},{\"partNumber\":2,\"etag\":\"%s\"},{\"partNumber\":3,\"etag\":\"%s\"}]",
        one, old, three);
    expect("an older ETag", complete(port, &u, parts), 400, "part 2: the ETag");
    snprintf(parts, sizeof parts,
             "[{\"partNumber\":1,\"etag\":\"%s\"},{\"partNumber\":1,\"etag\":\"%s\"}]", one, one);
    expect("twice", complete(port, &u, parts), 400, "part 1: is listed twice");
    snprintf(parts, sizeof parts, "[{\"partNumber\":4,\"etag\":\"%s\"}]", one);
    expect("not there", complete(port, &u, parts), 400, "part 4: was not uploaded");
    static const char *const nonsense[] = {"[{\"partNumber\":0,\"etag\":\"x\"}]",
                                           "[{\"partNumber\":10001,\"etag\":\"x\"}]",
                                           "[{\"partNumber\":-1,\"etag\":\"x\"}]",
                                           "[{\"partNumber\":\"1\",\"etag\":\"x\"}]",
                                           "[{\"partNumber\":1}]",
                                           "[{\"etag\":\"x\"}]",
                                           "[1]",
                                           "{}",
                                           "7",
                                           "null",
                                           "["};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        expect(nonsense[i], complete(port, &u, nonsense[i]), 400, NULL);
    expect("not there before", get(port, u.file), 404, NULL);
    /* unsorted, one quoted */
    snprintf(parts, sizeof parts,
             "[{\"partNumber\":3,\"etag\":\"%s\"},{\"partNumber\":1,\"etag\":\"\\\"%s\\\"\"},"
             "{\"partNumber\":2,\"etag\":\"%s\"}]",
             three, one, two);
    expect("complete", complete(port, &u, parts), 200, "access_url");
    expect_file(port, u.file, "", "abcdefghi", 9);
    expect("again", complete(port, &u, parts), 200, "access_url"); /* whose answer was lost */
    expect("too late", put_part(port, &u, "1", "x", 1), 409, NULL);
    expect_blobs(&server, before + 1);
}

static void F7_parts_out_of_order_twice_missing_or_wrong_signed(void **state) {
    with_parts(signed_upload);
}

static void F7_parts_out_of_order_twice_missing_or_wrong_by_key(void **state) {
    with_parts(keyed_upload);
}

static void F6_numbers_of_parts_are_1_to_10000(void **state) {
    static const char *const bad[] = {"0",   "10001", "99999999999999999999", "-1", "x",
                                      "1.5", "01x"};
    struct upload u = signed_upload(server.port);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char says[64];
        snprintf(says, sizeof says, "part %s", bad[i]);
        expect(bad[i], put_part(server.port, &u, bad[i], "x", 1), 400, says);
    }
    expect("the last", put_part(server.port, &u, "10000", "x", 1), 200, NULL);
    char big[1200];
    memset(big, 'x', sizeof big);
    expect("together too large", put_part(server.port, &u, "9999", big, sizeof big), 413, NULL);
}

/* The head of a PUT of `told` bytes, and the first `len` of them. */
static struct peer begun_part(unsigned port, const struct upload *u, unsigned n,
                              unsigned long long told, size_t len) {
    struct text t = {0};
    struct peer p = peer_open(port);
    text_printf(&t, "PUT %s/%u%s HTTP/1.1\r\n" HOST "%sContent-Length: %llu\r\n\r\n", u->base, n,
                u->query, u->key, told);
    text_fill(&t, 'x', len);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    return p;
}

static void F6_parts_at_the_same_time_are_together_no_larger_than_a_file(void **state) {
    struct upload u = keyed_upload(server.port);
    struct peer peers[3];
    unsigned stored = 0;
    size_t before = blobs_count(&server);
    for (unsigned i = 0; i < 3; i++) peers[i] = begun_part(server.port, &u, i + 1, 600, 599);
    while (file_metric(server.port, "anyllm_uploads") < 3) sleep_ms(1);
    for (unsigned i = 0; i < 3; i++) {
        peer_send(&peers[i], "x", 1);
        const struct answer *a = peer_answer(&peers[i]);
        assert_non_null(a);
        stored += a->status == 200;
        if (a->status != 200) expect_status("a part too many", a, 413);
        peer_close(&peers[i]);
    }
    assert_int_equal(stored, 1);
    expect_blobs(&server, before + 1);
}

static void F6_an_empty_part_is_the_first(void **state) {
    struct upload u = keyed_upload(server.port);
    char etag[80], parts[200];
    expect("empty", put_part(server.port, &u, "2", "", 0), 400, "part 2: is empty");
    good_part(server.port, &u, 1, "", etag);
    snprintf(parts, sizeof parts, "[{\"partNumber\":1,\"etag\":\"%s\"}]", etag);
    expect("an empty file", complete(server.port, &u, parts), 200, NULL);
    expect_file(server.port, u.file, "", "", 0);
}

static void F6_ten_thousand_parts_and_one(void **state) {
    struct upload u = keyed_upload(server.port);
    struct text parts = {0};
    char etag[80];
    text_puts(&parts, "[");
    for (unsigned i = 1; i <= 10000; i++) {
        if (i <= 3) good_part(server.port, &u, i, "abc", etag);
        text_printf(&parts, "%s{\"partNumber\":%u,\"etag\":\"%s\"}", i > 1 ? "," : "", i, etag);
    }
    text_puts(&parts, ",{\"partNumber\":10001,\"etag\":\"x\"}]");
    expect("all in one list", complete(server.port, &u, parts.p), 400, "part 4: was not uploaded");
    text_free(&parts);
    expect("multipart/form-data is octets like any other",
           post(server.port, UPLOAD, ANN "Content-Type: multipart/form-data; boundary=x\r\n",
                "--x\r\n", 5),
           200, NULL);
}

static void another_owners_upload_is_unknown(void **state) {
    struct upload u = keyed_upload(server.port);
    char etag[80];
    good_part(server.port, &u, 1, "abc", etag);
    u.key = BEN;
    expect("part", put_part(server.port, &u, "1", "x", 1), 404, NULL);
    expect("complete", complete(server.port, &u, "[]"), 404, NULL);
    u.key = "";
    expect("part", put_part(server.port, &u, "1", "x", 1), 401, NULL);
    u.key = ANN;
    u.base[strlen(u.base) - 1] ^= 1;
    expect("another id", put_part(server.port, &u, "1", "x", 1), 404, NULL);
}

/* --- F11 */

static void F11_what_is_planted_in_the_store_is_not_followed(void **state) {
    char path[512], blob[512], secret[512];
    post_file(server.port, ANN TEXT, "as it was", 9, path);
    blob_path(&server, path, blob);
    snprintf(secret, sizeof secret, "%s/secret", server.dir);
    file_write(secret, "not to be", 9);
    assert_int_equal(unlink(blob), 0);
    assert_int_equal(symlink(secret, blob), 0);
    expect("a link", get(server.port, path), 503, NULL);
    assert_int_equal(unlink(blob), 0);
    assert_int_equal(mkfifo(blob, 0600), 0);
    expect("a pipe", get(server.port, path), 503, NULL);
    assert_int_equal(unlink(blob), 0);
    expect("nothing", get(server.port, path), 503, NULL);
    char *log = file_text(server.err, NULL);
    assert_non_null(strstr(log, "file_damaged"));
    free(log);
    expect("it can be deleted", send_request(server.port, "DELETE", path, ANN, "", 0), 204, NULL);
}

/* --- F12 */

static void restart(struct server *s, const char *data, const char *more) {
    struct text config = {0};
    struct server_options o = {.data = data};
    files_config(&config, more);
    o.config = config.p;
    server_start(s, &o);
    text_free(&config);
}

static void kill_server(struct server *s) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
    scratch_remove(s->dir);
}

/* Half of a body sent, the rest never. */
static struct peer half_upload(unsigned port, const char *method, const char *path,
                               const char *headers, size_t len) {
    struct text t = {0};
    struct peer p = peer_open(port);
    text_printf(&t, "%s %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n", method, path,
                headers, 2 * len);
    text_fill(&t, 'h', len);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    return p;
}

static void F12_kills_in_uploads_leave_no_half_file(void **state) {
    char data[MAX_PATH], kept[512], whole[3000];
    const char *times = getenv("ANYLLM_KILLS");
    unsigned kills = times != NULL ? (unsigned)strtoul(times, NULL, 10) : 10;
    struct server s;
    scratch_make(data);
    memset(whole, 'w', sizeof whole);
    restart(&s, data, "");
    post_file(s.port, ANN TEXT, whole, sizeof whole, kept);
    size_t files = 1;
    for (unsigned i = 0; i < kills; i++) {
        size_t len = i % 2 == 0 ? 100 : 700000;
        struct begun b = begin_upload(s.port, ANN, "text/plain", (long)(2 * len));
        struct upload u = keyed_upload(s.port);
        char etag[80];
        good_part(s.port, &u, 1, "a part", etag);
        struct peer put = half_upload(s.port, "PUT", b.upload, TEXT, len),
                    posted = half_upload(s.port, "POST", UPLOAD, ANN TEXT, len);
        sleep_ms(i * 7 % 40);
        kill_server(&s);
        peer_close(&put);
        peer_close(&posted);
        restart(&s, data, "");
        expect("half", get(s.port, b.file), 404, NULL);
        expect("of parts", get(s.port, u.file), 404, NULL);
        expect("its parts are gone", put_part(s.port, &u, "2", "x", 1), 404, NULL);
        expect_blobs(&s, files);
        expect_file(s.port, kept, "", whole, sizeof whole);
        char *body = calloc(2, len);
        expect("the signed address survives",
               send_request(s.port, "PUT", b.upload, TEXT, body, 2 * len), 200, NULL);
        files++;
        expect_file(s.port, b.file, "", body, 2 * len);
        free(body);
    }
    assert_int_equal(file_metric(s.port, "anyllm_files"), files);
    server_stop(&s);
    scratch_remove(data);
}

/* A whole body, killed while it is made durable: there with all its bytes, or not at all. */
static void F12_a_kill_at_the_end_of_an_upload(void **state) {
    char data[MAX_PATH], *bytes = calloc(1, 300000);
    struct server s;
    scratch_make(data);
    restart(&s, data, "");
    for (unsigned i = 0; i < 10; i++) {
        struct begun b = begin_upload(s.port, ANN, "text/plain", 300000);
        struct text t = {0};
        struct peer p = peer_open(s.port);
        text_printf(&t, "PUT %s HTTP/1.1\r\n" HOST TEXT "Content-Length: 300000\r\n\r\n", b.upload);
        text_add(&t, bytes, 300000);
        peer_send(&p, t.p, t.len);
        if (i > 0) peer_listen(&p, i / 2);
        bool told = p.in.len > 0 && strstr(p.in.p, "HTTP/1.1 200") != NULL;
        kill_server(&s);
        peer_close(&p);
        text_free(&t);
        restart(&s, data, "");
        struct answer a = get(s.port, b.file);
        if (a.status == 404 && !told)
            expect("once more", send_request(s.port, "PUT", b.upload, TEXT, bytes, 300000), 200,
                   NULL);
        else
            expect_status("whole", &a, 200);
        answer_free(&a);
        expect_file(s.port, b.file, "", bytes, 300000);
    }
    server_stop(&s);
    scratch_remove(data);
    free(bytes);
}

static void an_upload_that_runs_has_the_grace_of_a_server_that_ends(void **state) {
    char data[MAX_PATH], path[512];
    struct server s;
    scratch_make(data);
    restart(&s, data, "");
    struct peer p = half_upload(s.port, "POST", UPLOAD, ANN TEXT, 1000);
    while (file_metric(s.port, "anyllm_uploads") == 0) sleep_ms(1);
    kill(s.pid, SIGTERM);
    sleep_ms(100);
    struct text rest = {0};
    text_fill(&rest, 'h', 1000);
    peer_send(&p, rest.p, rest.len);
    const struct answer *a = peer_answer(&p);
    assert_non_null(a);
    answer_path(a, "access_url", path);
    peer_close(&p);
    server_stop(&s);
    restart(&s, data, "");
    struct answer file = get(s.port, path);
    expect_status("after the restart", &file, 200);
    assert_int_equal(file.body.len, 2000);
    answer_free(&file);
    server_stop(&s);
    scratch_remove(data);
    text_free(&rest);
}

/* --- F5 */

/* Two bodies of half of what is free each, with a quarter to be left: whoever else writes meanwhile, one has room. */
static void F5_bodies_that_come_are_counted_before_they_are_there(void **state) {
    char data[MAX_PATH], more[128];
    struct statvfs v;
    struct server s;
    scratch_make(data);
    assert_int_equal(statvfs(data, &v), 0);
    unsigned long long free_bytes = (unsigned long long)v.f_bavail * v.f_frsize;
    snprintf(more, sizeof more, "max_file_bytes: %llu\nmin_free_bytes: %llu\n", free_bytes,
             free_bytes / 4);
    restart(&s, data, more);
    struct upload u = keyed_upload(s.port);
    for (unsigned round = 0; round < 2; round++) {
        struct peer first = begun_part(s.port, &u, 1, free_bytes / 2, 10), second;
        while (file_metric(s.port, "anyllm_uploads") == 0) sleep_ms(1);
        second = begun_part(s.port, &u, 2, free_bytes / 2, 10);
        const struct answer *a = peer_answer(&second);
        assert_non_null(a);
        expect_status("no room beside the first", a, 507);
        peer_close(&first);
        peer_close(&second);
        while (file_metric(s.port, "anyllm_uploads") > 0) sleep_ms(1);
    }
    server_stop(&s);
    scratch_remove(data);
}

/* --- F14 */

static void F14_what_is_begun_and_left_counts_and_is_given_up(void **state) {
    struct server s;
    char etag[80];
    files_start(&s, "upload_expiry: 5s\nmax_stored_bytes_per_key: 100000\n");
    static const char body[] = "{\"content_type\":\"text/plain\",\"file_size\":100}";
    for (unsigned i = 0; i < 990; i++)
        expect("begun",
               post(s.port, "/rest/storage/upload/initiate", ANN JSON, body, sizeof body - 1), 200,
               NULL);
    for (unsigned i = 0; i < 10; i++) {
        struct upload u = keyed_upload(s.port);
        char bytes[101];
        memset(bytes, 'x', 100);
        bytes[100] = '\0';
        good_part(s.port, &u, 1, bytes, etag);
    }
    bool soon = file_metric(s.port, "anyllm_file_bytes") ==
                100000; /* else the first are gone again */
    if (soon)
        expect("over the quota",
               post(s.port, "/rest/storage/upload/initiate", ANN JSON, body, sizeof body - 1), 403,
               NULL);
    else
        print_message("# the machine took more than 5 s to begin them\n");
    for (uint64_t end = now_ms() + PATIENCE_MS;
         file_metric(s.port, "anyllm_file_bytes") > 0 || file_metric(s.port, "anyllm_files") > 0 ||
         file_metric(s.port, "anyllm_uploads_in_parts") > 0 || blobs_count(&s) > 0;
         sleep_ms(50))
        if (now_ms() >= end)
            fail_msg("%lu files, %lu bytes, %lu in parts, %zu blobs are left",
                     file_metric(s.port, "anyllm_files"), file_metric(s.port, "anyllm_file_bytes"),
                     file_metric(s.port, "anyllm_uploads_in_parts"), blobs_count(&s));
    server_stop(&s);
}

static int start(void **state) {
    files_start(&server, "max_file_bytes: 1KiB\n");
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(F7_parts_out_of_order_twice_missing_or_wrong_signed),
        cmocka_unit_test(F7_parts_out_of_order_twice_missing_or_wrong_by_key),
        cmocka_unit_test(F6_numbers_of_parts_are_1_to_10000),
        cmocka_unit_test(F6_parts_at_the_same_time_are_together_no_larger_than_a_file),
        cmocka_unit_test(F6_an_empty_part_is_the_first),
        cmocka_unit_test(F6_ten_thousand_parts_and_one),
        cmocka_unit_test(another_owners_upload_is_unknown),
        cmocka_unit_test(F11_what_is_planted_in_the_store_is_not_followed),
        cmocka_unit_test(F12_kills_in_uploads_leave_no_half_file),
        cmocka_unit_test(F12_a_kill_at_the_end_of_an_upload),
        cmocka_unit_test(an_upload_that_runs_has_the_grace_of_a_server_that_ends),
        cmocka_unit_test(F5_bodies_that_come_are_counted_before_they_are_there),
        cmocka_unit_test(F14_what_is_begun_and_left_counts_and_is_given_up),
    };
    return suite_main(argc, argv, "bad_parts", tests, sizeof tests / sizeof *tests, start, stop);
}
