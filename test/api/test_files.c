/* What a file is called, as what it is served, who may read it and which part of it: the pure half of files. */
#include "cmocka_all.h"

#include "api/files_held.h"
#include "api/files_names.h"
#include "api/files_quota.h"
#include "api/files_range.h"
#include "api/files_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

/* --- names */

static void names_become_labels_that_harm_nobody(void **state) {
    static const struct {
        struct slice name;
        const char *label;
    } cases[] = {
        {{"../../etc/passwd", 16}, "passwd"},
        {{"..\\..\\boot.ini", 14}, "boot.ini"},
        {{"%2e%2e%2fetc", 12}, "_2e_2e_2fetc"},
        {{"/abs/olute.txt", 14}, "olute.txt"},
        {{"C:\\x", 4}, "x"},
        {{"con", 3}, "_con"},
        {{"NUL.txt", 7}, "_NUL.txt"},
        {{"com1.png", 8}, "_com1.png"},
        {{"console.log", 11}, "console.log"},
        {{"", 0}, "file"},
        {{".", 1}, "file"},
        {{"..", 2}, "file"},
        {{"a/..", 4}, "file"},
        {{"   ", 3}, "file"},
        {{"x.exe. .", 8}, "x.exe"},
        {{"a\0b.txt", 7}, "ab.txt"},
        {{"a\r\nSet-Cookie: b", 16}, "aSet-Cookie_ b"},
        {{"say \"hi\".txt", 12}, "say _hi_.txt"},
        {{"\xe2\x80\xaegpj.exe", 10}, "gpj.exe"}, /* RTL override */
        {{"\xe2\x81\xa6x\xef\xbb\xbf", 7}, "x"},
        {{"gr\xc3\xbc\xc3\x9f.png", 10}, "gr\xc3\xbc\xc3\x9f.png"},
        {{"\xff\xfe.png", 6}, "__.png"},
        {{"\xed\xa0\x80x", 4}, "___x"}, /* a surrogate */
        {{"\xf0\x9f\x98\x80.gif", 8}, "\xf0\x9f\x98\x80.gif"},
    };
    char label[FILE_LABEL_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_label(cases[i].name, label);
        assert_string_equal(label, cases[i].label);
    }
}

static void a_long_name_is_cut_at_a_character(void **state) {
    char name[3 * 300], label[FILE_LABEL_BYTES];
    for (size_t i = 0; i < sizeof name; i += 3) memcpy(name + i, "\xe2\x82\xac", 3);
    file_label(slice_make(name, sizeof name), label);
    assert_in_range(strlen(label), FILE_LABEL_BYTES - 5, FILE_LABEL_BYTES - 1);
    assert_int_equal(strlen(label) % 3, 0);
}

static unsigned char drawn;

static void fill(void *user, void *out, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = drawn = (unsigned char)(drawn * 5 + 17);
}

static void ids_are_read_with_and_without_an_extension(void **state) {
    static const char *const bad[] = {"0123456789abcdef0123456789abcde",
                                      "0123456789abcdef0123456789abcdef0",
                                      "0123456789abcdef0123456789abcdeF",
                                      "0123456789abcdef0123456789abcdeg",
                                      "0123456789abcdef0123456789abcdef.",
                                      "0123456789abcdef0123456789abcdef.p/g",
                                      "0123456789abcdef0123456789abcdef.tar.gz",
                                      "0123456789abcdef0123456789abcdef.abcdefghi",
                                      ""};
    const struct random r = {fill, NULL};
    char id[FILE_ID_BYTES], text[64];
    struct slice read;
    file_id_new(&r, id);
    assert_int_equal(strlen(id), FILE_ID_BYTES - 1);
    assert_true(file_id_read(slice_of(id), &read));
    assert_true(slice_is(read, id));
    snprintf(text, sizeof text, "%s.PNG", id);
    assert_true(file_id_read(slice_of(text), &read));
    assert_true(slice_is(read, id));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(file_id_read(slice_of(bad[i]), &read));
}

static void extensions_are_short_and_plain(void **state) {
    static const struct {
        const char *label, *type, *extension;
    } cases[] = {
        {"a.PNG", "text/plain", ".png"},
        {"a", "image/jpeg", ".jpg"},
        {"a.tar.gz", "x/y", ".gz"},
        {"a.verylongone", "image/png", ".png"},
        {"a.x-y", "x/y", ""},
        {"png", "x/y", ""},
        {".bashrc", "x/y", ".bashrc"},
        {"a.", "x/y", ""},
    };
    char out[FILE_EXTENSION_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_extension(slice_of(cases[i].label), slice_of(cases[i].type), out);
        assert_string_equal(out, cases[i].extension);
    }
}

static void dispositions_quote_and_escape(void **state) {
    struct buf b;
    buf_init(&b, 1024);
    file_disposition(&b, true, SLICE("gr\xc3\xbc\xc3\x9f 1.png"));
    assert_true(slice_is(buf_slice(&b), "inline; filename=\"gr____ 1.png\"; "
                                        "filename*=UTF-8''gr%C3%BC%C3%9F%201.png"));
    buf_free(&b);
}

static void media_types_lose_case_and_parameters(void **state) {
    static const char *const bad[] = {
        "", "image", "image/", "/png", "image/png/x", "image png", "im\"age/png", "image/p\r\nng"};
    char out[FILE_TYPE_BYTES];
    assert_true(file_type(SLICE("Text/HTML; charset=utf-8"), out));
    assert_string_equal(out, "text/html");
    assert_true(file_type(SLICE(" image/svg+xml "), out));
    assert_string_equal(out, "image/svg+xml");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(file_type(slice_of(bad[i]), out));
}

/* --- contents */

static struct file_ends ends_of(const char *bytes, size_t len, size_t step) {
    struct file_ends e = {0};
    for (size_t i = 0; i < len; i += step)
        file_ends_add(&e, slice_make(bytes + i, len - i < step ? len - i : step));
    return e;
}

#define PNG "\x89PNG\r\n\x1a\n0000IHDR and more of it than the ends take"
#define ZIP_END "PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static void what_the_bytes_are_not_is_kept_as_octets(void **state) {
    static const struct {
        const char *declared, *bytes;
        size_t len;
        const char *kept;
    } cases[] = {
        {"image/png", PNG, sizeof PNG - 1, "image/png"},
        {"image/jpeg", PNG, sizeof PNG - 1, "image/png"}, /* a picture by a wrong name */
        {"image/png", "<!doctype html><script>", 23, "application/octet-stream"},
        {"image/png", "<svg xmlns=", 11, "application/octet-stream"},
        {"image/png", "%PDF-1.7 /JS", 12, "application/octet-stream"},
        {"image/gif", "GIF89a 0123456789" ZIP_END, 17 + 22, "application/octet-stream"},
        {"image/gif", "GIF89a 0123456789", 17, "image/gif"},
        {"image/png", "MIME-Version: 1.0", 17, "application/octet-stream"},
        {"image/png", "<?xml version=", 14, "application/octet-stream"},
        {"image/png", "", 0, "application/octet-stream"},
        {"application/pdf", "%PDF-1.7", 8, "application/pdf"},
        {"audio/mpeg", "ID3\4", 4, "audio/mpeg"},
        {"audio/mpeg", "\xff\xfb\x90\x00", 4, "audio/mpeg"},
        {"audio/aac", "\xff\xf1\x50\x80", 4, "audio/aac"},
        {"audio/wav", "RIFF....WAVEfmt ", 16, "audio/wav"},
        {"image/webp", "RIFF....WEBPVP8 ", 16, "image/webp"},
        {"video/mp4", "....ftypisom", 12, "video/mp4"},
        {"image/avif", "....ftypavif", 12, "image/avif"},
        {"video/mp4", "....ftypavif", 12, "application/octet-stream"},
        {"text/html", "<html>", 6, "text/html"}, /* served as octets all the same */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 64; step += 11) {
            struct file_ends e = ends_of(cases[i].bytes, cases[i].len, step);
            assert_string_equal(file_kept_type(cases[i].declared, &e), cases[i].kept);
        }
}

static void the_ends_of_parts_are_the_ends_of_the_whole(void **state) {
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t len = sizeof text - 1;
    struct file_ends whole = ends_of(text, len, len);
    for (size_t cut = 0; cut <= len; cut++) {
        struct file_ends a = ends_of(text, cut, 7), b = ends_of(text + cut, len - cut, 5);
        file_ends_join(&a, &b);
        assert_int_equal(a.nfirst, whole.nfirst);
        assert_int_equal(a.nlast, whole.nlast);
        assert_memory_equal(a.first, whole.first, a.nfirst);
        assert_memory_equal(a.last, whole.last, a.nlast);
    }
}

static void only_media_is_served_as_what_it_is(void **state) {
    static const char *const active[] = {"text/html",
                                         "image/svg+xml",
                                         "application/xhtml+xml",
                                         "text/xml",
                                         "application/javascript",
                                         "text/css",
                                         "application/x-shockwave-flash",
                                         "text/plain",
                                         "application/json",
                                         "multipart/related",
                                         ""};
    for (size_t i = 0; i < sizeof active / sizeof *active; i++) {
        struct file_served s = file_served_as(slice_of(active[i]));
        assert_string_equal(s.type, "application/octet-stream");
        assert_false(s.is_inline);
    }
    assert_true(file_served_as(SLICE("image/png")).is_inline);
    assert_true(file_served_as(SLICE("video/mp4")).is_inline);
    struct file_served pdf = file_served_as(SLICE("application/pdf"));
    assert_string_equal(pdf.type, "application/pdf");
    assert_false(pdf.is_inline);
}

/* --- rules */

static const char *lifecycle(const char *json, int64_t *ms, char acl[1024]) {
    struct buf b;
    buf_init(&b, 4096);
    *ms = -1;
    const char *why = file_lifecycle_read(slice_of(json), ms, &b);
    snprintf(acl, 1024, "%.*s", SLICE_ARG(buf_slice(&b)));
    buf_free(&b);
    return why;
}

static void lifetimes_are_seconds_words_or_none(void **state) {
    static const struct {
        const char *json;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"{\"expiration_duration_seconds\":3600}", 3600000},
        {"{\"expiration_duration_seconds\":60.5}", 60500},
        {"{\"expiration_duration_seconds\":null}", 0},
        {"{}", 0},
        {"{\"expiration_duration_seconds\":\"never\"}", 0},
        {"{\"expiration_duration_seconds\":\"immediate\"}", 60000},
        {"{\"expiration_duration_seconds\":\"1h\"}", 3600000},
        {"{\"expiration_duration_seconds\":\"1y\"}", 31536000000},
        {"{\"expiration_duration_seconds\":0}", -1},
        {"{\"expiration_duration_seconds\":-1}", -1},
        {"{\"expiration_duration_seconds\":1e18}", -1},
        {"{\"expiration_duration_seconds\":\"abc\"}", -1},
        {"{\"expiration_duration_seconds\":\"3600\"}", -1},
        {"{\"expiration_duration_seconds\":true}", -1},
        {"{\"expiration_duration_seconds\":[1]}", -1},
        {"{\"expiration_duration_seconds\":1", -1},
        {"abc", -1},
        {"null", -1},
        {"60", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms;
        char acl[1024];
        const char *why = lifecycle(cases[i].json, &ms, acl);
        if ((why == NULL) != (cases[i].ms >= 0)) fail_msg("%s: %s", cases[i].json, why);
        if (why == NULL) assert_int_equal(ms, cases[i].ms);
        assert_string_equal(acl, "");
    }
}

static void an_acl_says_who_may_read(void **state) {
    char acl[1024];
    int64_t ms;
    assert_null(lifecycle("{\"initial_acl\":{\"default\":\"forbid\",\"rules\":["
                          "{\"user\":\"ann\",\"decision\":\"allow\"},"
                          "{\"user\":\"ben\",\"decision\":\"hide\"},"
                          "{\"user\":\"ben\",\"decision\":\"allow\"}]}}",
                          &ms, acl));
    assert_int_equal(file_acl_judge(slice_of(acl), SLICE("ann")), FILE_ALLOW);
    assert_int_equal(file_acl_judge(slice_of(acl), SLICE("ben")), FILE_HIDE); /* the first rule */
    assert_int_equal(file_acl_judge(slice_of(acl), SLICE("eve")), FILE_FORBID);
    assert_int_equal(file_acl_judge(slice_of(acl), SLICE("")), FILE_FORBID);
    assert_int_equal(file_acl_judge(SLICE(""), SLICE("")), FILE_ALLOW);
    assert_int_equal(file_acl_judge(SLICE("{broken"), SLICE("ann")), FILE_HIDE);
}

static void acls_that_say_nothing_or_nonsense(void **state) {
    static const char *const nothing[] = {"{\"initial_acl\":{}}", "{\"initial_acl\":null}",
                                          "{\"initial_acl\":{\"default\":\"allow\",\"rules\":[]}}",
                                          "{\"initial_acl\":{\"default\":null,\"rules\":null}}"};
    static const char *const nonsense[] = {
        "{\"initial_acl\":\"forbid\"}",
        "{\"initial_acl\":{\"default\":\"deny\"}}",
        "{\"initial_acl\":{\"default\":1}}",
        "{\"initial_acl\":{\"rules\":{}}}",
        "{\"initial_acl\":{\"rules\":[{\"user\":\"\",\"decision\":\"allow\"}]}}",
        "{\"initial_acl\":{\"rules\":[{\"user\":\"a\"}]}}",
        "{\"initial_acl\":{\"rules\":[7]}}"};
    char acl[1024];
    int64_t ms;
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        assert_null(lifecycle(nothing[i], &ms, acl));
        assert_string_equal(acl, "");
    }
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        assert_non_null(lifecycle(nonsense[i], &ms, acl));
}

/* --- ranges and conditions */

#define ETAG "\"abc\""
#define MODIFIED 784111777123 /* Sun, 06 Nov 1994 08:49:37.123 GMT */

static struct file_part asked(enum h1_method m, const char *name, const char *value,
                              const char *name2, const char *value2, uint64_t bytes) {
    static struct h1_head h;
    h = (struct h1_head){.method = m};
    if (name != NULL) h.headers[h.nheaders++] = (struct h1_header){slice_of(name), slice_of(value)};
    if (name2 != NULL)
        h.headers[h.nheaders++] = (struct h1_header){slice_of(name2), slice_of(value2)};
    return file_part_asked(&h, SLICE(ETAG), MODIFIED, bytes);
}

static void ranges_of_rfc_9110(void **state) {
    static const struct {
        const char *range;
        uint64_t bytes;
        unsigned status;
        uint64_t from, length;
    } cases[] = {
        {"bytes=0-", 10, 206, 0, 10},
        {"bytes=0-0", 10, 206, 0, 1},
        {"bytes=9-", 10, 206, 9, 1},
        {"bytes=2-5", 10, 206, 2, 4},
        {"bytes=2-99999999999", 10, 206, 2, 8},
        {"bytes=-3", 10, 206, 7, 3},
        {"bytes=-99", 10, 206, 0, 10},
        {"BYTES=1-1", 10, 206, 1, 1},
        {"bytes=10-", 10, 416, 0, 0},
        {"bytes=-0", 10, 416, 0, 0},
        {"bytes=0-", 0, 416, 0, 0},
        {"bytes=-1", 0, 416, 0, 0},
        {"bytes=5-2", 10, 200, 0, 10},
        {"bytes=a-", 10, 200, 0, 10},
        {"bytes=-", 10, 200, 0, 10},
        {"bytes=1", 10, 200, 0, 10},
        {"lines=1-2", 10, 200, 0, 10},
        {"bytes=0-1,3-4", 10, 200, 0, 10},
        {"bytes=99999999999999999999-", 10, 200, 0, 10},
        {"", 10, 200, 0, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file_part p = asked(H1_GET, "Range", cases[i].range, NULL, NULL, cases[i].bytes);
        if (p.status != cases[i].status) fail_msg("%s: %u", cases[i].range, p.status);
        if (p.status == 416) continue;
        assert_int_equal(p.from, cases[i].from);
        assert_int_equal(p.length, cases[i].length);
    }
    assert_int_equal(asked(H1_HEAD, "Range", "bytes=0-1", NULL, NULL, 10).status, 200);
    assert_int_equal(asked(H1_GET, "Range", "bytes=0-1", "Range", "bytes=3-4", 10).status, 200);
}

static void conditions_of_rfc_9110(void **state) {
    static const char at[] = "Sun, 06 Nov 1994 08:49:37 GMT",
                      before[] = "Sun, 06 Nov 1994 08:49:36 GMT",
                      after[] = "Sun, 06 Nov 1994 08:49:38 GMT";
    const struct {
        const char *name, *value, *name2, *value2;
        unsigned status;
    } cases[] = {
        {"If-None-Match", ETAG, NULL, NULL, 304},
        {"If-None-Match", "W/" ETAG, NULL, NULL, 304},
        {"If-None-Match", "\"x\", " ETAG, NULL, NULL, 304},
        {"If-None-Match", "*", NULL, NULL, 304},
        {"If-None-Match", "\"x\"", NULL, NULL, 200},
        {"If-None-Match", "\"x\"", "If-Modified-Since", after, 200}, /* the date counts no more */
        {"If-Match", ETAG, NULL, NULL, 200},
        {"If-Match", "*", NULL, NULL, 200},
        {"If-Match", "W/" ETAG, NULL, NULL, 412},
        {"If-Match", "\"x\"", NULL, NULL, 412},
        {"If-Modified-Since", at, NULL, NULL, 304},
        {"If-Modified-Since", after, NULL, NULL, 304},
        {"If-Modified-Since", before, NULL, NULL, 200},
        {"If-Modified-Since", "yesterday", NULL, NULL, 200},
        {"If-Unmodified-Since", at, NULL, NULL, 200},
        {"If-Unmodified-Since", before, NULL, NULL, 412},
        {"If-Unmodified-Since", "never", NULL, NULL, 200},
        {"Range", "bytes=0-1", "If-Range", ETAG, 206},
        {"Range", "bytes=0-1", "If-Range", "W/" ETAG, 200},
        {"Range", "bytes=0-1", "If-Range", "\"x\"", 200},
        {"Range", "bytes=0-1", "If-Range", at, 206},
        {"Range", "bytes=0-1", "If-Range", after, 200},
        {"Range", "bytes=0-1", "If-None-Match", ETAG, 304},
        {"Range", "bytes=50-", "If-Match", "\"x\"", 412},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file_part p = asked(H1_GET, cases[i].name, cases[i].value, cases[i].name2,
                                   cases[i].value2, 10);
        if (p.status != cases[i].status)
            fail_msg("%s: %s gives %u", cases[i].name, cases[i].value, p.status);
    }
}

static void dates_have_three_forms(void **state) {
    static const char *const good[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      ",",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Abc 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 25:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08-49-37 GMT",
                                      "Sunday, 06-Nov-94 08:49:37",
                                      "784111777"};
    int64_t ms;
    char text[HTTP_DATE_BYTES];
    for (size_t i = 0; i < 3; i++) {
        assert_true(http_date_read(slice_of(good[i]), &ms));
        assert_int_equal(ms, 784111777000);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(http_date_read(slice_of(bad[i]), &ms));
    http_date(MODIFIED, text);
    assert_string_equal(text, good[0]);
}

/* --- quota */

static void a_quota_is_each_owners_own(void **state) {
    struct files_quota *q = files_quota_new(100);
    struct files_owner *a = files_owner(q, SLICE("ann")), *b = files_owner(q, SLICE("ben"));
    uint64_t files, bytes;
    assert_ptr_equal(a, files_owner(q, SLICE("ann")));
    assert_ptr_not_equal(a, b);
    assert_true(files_quota_take(q, a, 100));
    assert_false(files_quota_take(q, a, 1));
    assert_true(files_quota_take(q, a, 0));
    assert_true(files_quota_take(q, b, 60));
    assert_false(files_quota_take(q, b, UINT64_MAX));
    files_quota_give(q, a, 30);
    assert_true(files_quota_take(q, a, 30));
    files_quota_count(q, a, 1);
    files_quota_set(q, b, 3, 500); /* more than it may have, from before */
    assert_false(files_quota_take(q, b, 1));
    files_quota_count(q, b, -1);
    files_quota_totals(q, &files, &bytes);
    assert_int_equal(files, 3);
    assert_int_equal(bytes, 600);
    files_quota_free(q);
}

/* --- what was read lately */

static struct store_file row_of(size_t n, const char *name) {
    struct store_file f = {.name = slice_of(name), .owner = SLICE("ann"), .bytes = n};
    snprintf(f.id, sizeof f.id, "%04zx", n); /* all else of an id is alike here */
    return f;
}

static bool is_open(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0;
}

static void held_files_are_copies_and_the_oldest_goes(void **state) {
    struct files_held *h = files_held_new();
    int own = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = -1, first = -1;
    char name[8] = "name";
    for (size_t i = 0; i < FILES_HELD_MAX; i++) {
        struct store_file f = row_of(i, name);
        files_held_add(h, files_held_age(h), &f, own);
    }
    memset(name, 'x', 4);
    const struct store_file *f = files_held_find(h, SLICE("0000"), &first);
    assert_non_null(f); /* and so it is the newest */
    assert_true(slice_is(f->name, "name"));
    assert_int_not_equal(first, own);
    assert_non_null(files_held_find(h, SLICE("0001"), &fd));
    assert_non_null(files_held_find(h, SLICE("0000"), &first));
    for (size_t i = 0; i < FILES_HELD_MAX - 1; i++) {
        struct store_file more = row_of(1000 + i, name);
        files_held_add(h, files_held_age(h), &more, own);
    }
    assert_null(files_held_find(h, SLICE("0001"), &fd));
    assert_non_null(files_held_find(h, SLICE("0000"), &first));
    assert_true(is_open(first) && is_open(own));
    files_held_free(h);
    assert_false(is_open(first));
    close(own);
}

static void a_row_that_was_asked_for_before_a_change_is_not_held(void **state) {
    struct files_held *h = files_held_new();
    int own = open("/dev/null", O_RDONLY | O_CLOEXEC), fd;
    struct store_file f = row_of(7, "x");
    uint64_t age = files_held_age(h);
    files_held_changed(h, SLICE("0007"));
    files_held_add(h, age, &f, own);
    assert_null(files_held_find(h, SLICE("0007"), &fd));
    files_held_add(h, files_held_age(h), &f, own);
    files_held_add(h, files_held_age(h), &f, own);
    assert_non_null(files_held_find(h, SLICE("0007"), &fd));
    files_held_changed(h, SLICE("0007"));
    assert_null(files_held_find(h, SLICE("0007"), &fd));
    files_held_free(h);
    close(own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_labels_that_harm_nobody),
        cmocka_unit_test(a_long_name_is_cut_at_a_character),
        cmocka_unit_test(ids_are_read_with_and_without_an_extension),
        cmocka_unit_test(extensions_are_short_and_plain),
        cmocka_unit_test(dispositions_quote_and_escape),
        cmocka_unit_test(media_types_lose_case_and_parameters),
        cmocka_unit_test(what_the_bytes_are_not_is_kept_as_octets),
        cmocka_unit_test(the_ends_of_parts_are_the_ends_of_the_whole),
        cmocka_unit_test(only_media_is_served_as_what_it_is),
        cmocka_unit_test(lifetimes_are_seconds_words_or_none),
        cmocka_unit_test(an_acl_says_who_may_read),
        cmocka_unit_test(acls_that_say_nothing_or_nonsense),
        cmocka_unit_test(ranges_of_rfc_9110),
        cmocka_unit_test(conditions_of_rfc_9110),
        cmocka_unit_test(dates_have_three_forms),
        cmocka_unit_test(a_quota_is_each_owners_own),
        cmocka_unit_test(held_files_are_copies_and_the_oldest_goes),
        cmocka_unit_test(a_row_that_was_asked_for_before_a_change_is_not_held),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
