/* The HTTP/1.1 codec. Every connection of h1_rows.h is read whole, one byte at a time and split at every offset; each
 * way must end in the same transcript. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1_rows.h"
#include "h1_run.h"
#include "net/h1_text.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = sizeof rows / sizeof *rows };

static void expect(const struct row *r, const struct transcript *t, const char *how, size_t n) {
    if (strcmp(t->text, r->expect) == 0) return;
    fail_msg("%s, %s %zu: expected\n%.300s\ngot\n%.300s", r->id, how, n, r->expect, t->text);
}

/* `stride`: distance of the tried splits, 1 but for large rows. */
static void read_every_way(const struct row *r, size_t stride) {
    struct transcript t = {0};
    run_connection(&t, r->kind, r->bytes, r->len, 0, 0);
    expect(r, &t, "whole", 0);
    run_connection(&t, r->kind, r->bytes, r->len, 1, 1);
    expect(r, &t, "steps of", 1);
    for (size_t at = 1; at < r->len; at += stride) {
        run_connection(&t, r->kind, r->bytes, r->len, at, 0);
        expect(r, &t, "split at", at);
    }
    transcript_free(&t);
}

static void h1_answers_every_row_of_the_table(void **state) {
    for (size_t i = 0; i < ROWS; i++) read_every_way(&rows[i], 1);
}

/* --- limits: connections too large to write down */

struct text {
    char bytes[200000];
    size_t len;
};

static void add(struct text *t, const char *s) {
    size_t n = strlen(s);
    assert_true(t->len + n <= sizeof t->bytes);
    memcpy(t->bytes + t->len, s, n);
    t->len += n;
}

static void fill(struct text *t, char c, size_t n) {
    assert_true(t->len + n <= sizeof t->bytes);
    memset(t->bytes + t->len, c, n);
    t->len += n;
}

static void expect_text(const char *id, enum h1_kind kind, const struct text *t, const char *want) {
    struct row r = {id, kind, t->bytes, t->len, want};
    read_every_way(&r, 997);
}

static struct text text; /* large; one at a time */

static struct text *fresh(const char *start) {
    text.len = 0;
    add(&text, start);
    return &text;
}

static void expect_start(const char *id, enum h1_kind kind, const struct text *t,
                         const char *want_start) {
    struct transcript whole = {0}, cut = {0};
    run_connection(&whole, kind, t->bytes, t->len, 0, 0);
    if (strncmp(whole.text, want_start, strlen(want_start)) != 0)
        fail_msg("%s: got\n%.100s", id, whole.text);
    run_connection(&cut, kind, t->bytes, t->len, 1, 1);
    assert_string_equal(whole.text, cut.text);
    transcript_free(&whole);
    transcript_free(&cut);
}

static void h1_refuses_a_request_line_over_8_kib(void **state) {
    size_t around = strlen("GET / HTTP/1.1");
    struct text *t = fresh("GET /");
    fill(t, 'a', H1_MAX_REQUEST_LINE_BYTES - around);
    add(t, " HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_start("L1 at", H1_REQUEST, t, "GET /aaaa");
    t = fresh("GET /");
    fill(t, 'a', H1_MAX_REQUEST_LINE_BYTES - around + 1);
    add(t, " HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_text("L1 over", H1_REQUEST, t, "! 414 URI too long\n");
    t = fresh("GET /");
    fill(t, 'a', H1_MAX_REQUEST_LINE_BYTES + 2 - 5);
    expect_text("L1 unended", H1_REQUEST, t, "! 414 URI too long\n");
    t->len--;
    expect_text("L1 still possible", H1_REQUEST, t, "~\n");
}

static void h1_refuses_a_header_over_16_kib(void **state) {
    struct text *t = fresh("GET / HTTP/1.1\r\nHost: a\r\nX:");
    fill(t, 'x', H1_MAX_HEADER_BYTES - 2);
    add(t, "\r\n\r\n");
    expect_text("L2 at", H1_REQUEST, t, "GET / <>\n");
    t->len -= 4;
    add(t, "x\r\n\r\n");
    expect_text("L2 over", H1_REQUEST, t, "! 431 headers too large\n");
    t = fresh("GET / HTTP/1.1\r\n");
    fill(t, 'x', 20000);
    expect_text("L2 unended", H1_REQUEST, t, "! 431 headers too large\n");
}

/* A head of exactly `bytes`, in lines of 1,000. */
static struct text *head_of(const char *start, size_t bytes) {
    struct text *t = fresh(start);
    while (t->len + 2 < bytes) {
        size_t left = bytes - 2 - t->len, line = left < 1010 ? left : left < 2000 ? left / 2 : 1000;
        add(t, "X:");
        fill(t, 'x', line - 4);
        add(t, "\r\n");
    }
    add(t, "\r\n");
    assert_int_equal(t->len, bytes);
    return t;
}

static void h1_refuses_a_head_over_32_kib(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    expect_text("L2 at", H1_REQUEST, head_of(get, H1_MAX_HEAD_BYTES), "GET / <>\n");
    expect_text("L2 over", H1_REQUEST, head_of(get, H1_MAX_HEAD_BYTES + 1),
                "! 431 headers too large\n");
    expect_text("U18 at", H1_RESPONSE, head_of(ok, H1_MAX_HEAD_BYTES), "200 <>\n");
    expect_text("U18 over", H1_RESPONSE, head_of(ok, H1_MAX_HEAD_BYTES + 1),
                "! 502 headers too large\n");
}

static void h1_refuses_more_than_100_headers(void **state) {
    struct text *t = fresh("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 99; i++) add(t, "X: y\r\n");
    add(t, "\r\n");
    expect_text("L2 100", H1_REQUEST, t, "GET / <>\n");
    t->len -= 2;
    add(t, "X: y\r\n\r\n");
    expect_text("L2 101", H1_REQUEST, t, "! 431 headers too large\n");
}

static void h1_refuses_a_method_of_100_kb_at_its_33rd_byte(void **state) {
    struct text *t = fresh("");
    fill(t, 'A', 100000);
    expect_text("H33", H1_REQUEST, t, "! 400 invalid method\n");
    t->len = 33;
    expect_text("H33 early", H1_REQUEST, t, "! 400 invalid method\n");
    t->len = 32;
    expect_text("H33 still possible", H1_REQUEST, t, "~\n");
}

static void h1_reads_a_thousand_pipelined_requests(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct text *t = fresh("");
    struct transcript got = {0};
    for (int i = 0; i < 1000; i++) add(t, get);
    run_connection(&got, H1_REQUEST, t->bytes, t->len, 0, 0);
    assert_int_equal(got.len, 1000 * strlen("GET / <>\n"));
    run_connection(&got, H1_REQUEST, t->bytes, t->len, 0, 1000);
    assert_int_equal(got.len, 1000 * strlen("GET / <>\n"));
    transcript_free(&got);
}

#define CHUNKED_HEAD "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

static void h1_bounds_chunk_extensions(void **state) {
    struct text *t = fresh(CHUNKED_HEAD "1;");
    fill(t, 'e', H1_MAX_CHUNK_EXT_BYTES);
    add(t, "\r\nx\r\n0\r\n\r\n");
    expect_text("H23 at", H1_REQUEST, t, "POST / <x>\n");
    t = fresh(CHUNKED_HEAD "1;");
    fill(t, 'e', H1_MAX_CHUNK_EXT_BYTES + 1);
    expect_text("H23 over", H1_REQUEST, t, "! 400 chunk extension\n");
    t = fresh(CHUNKED_HEAD);
    for (size_t i = 0; i <= H1_MAX_CHUNK_EXT_TOTAL_BYTES / 256; i++) {
        add(t, "1;");
        fill(t, 'e', 256);
        add(t, "\r\nx\r\n");
    }
    struct transcript got = {0};
    run_connection(&got, H1_REQUEST, t->bytes, t->len, 0, 0);
    assert_non_null(strstr(got.text, "xx! 400 chunk extension\n"));
    assert_int_equal(strspn(strchr(got.text, '<') + 1, "x"), H1_MAX_CHUNK_EXT_TOTAL_BYTES / 256);
    transcript_free(&got);
}

static void h1_refuses_one_byte_chunks_before_200_kib(void **state) {
    static const char chunk[] = "1\r\nx\r\n";
    struct h1_head head = {.chunked = true};
    struct h1_body b;
    h1_body_init(&b, H1_REQUEST, &head, false);
    size_t read = 0;
    enum h1_result result = H1_MORE;
    struct h1_error e = {0};
    for (int i = 0; i < 1000000 && result != H1_ERROR; i++) {
        for (size_t at = 0, used; at < sizeof chunk - 1 && result != H1_ERROR;
             at += used, read += used) {
            struct slice out;
            result = h1_body_feed(&b, chunk + at, sizeof chunk - 1 - at, &used, &out, &e);
        }
    }
    assert_int_equal(result, H1_ERROR);
    assert_int_equal(e.status, 400);
    assert_string_equal(e.reason, "chunk overhead");
    assert_in_range(read, H1_MAX_CHUNK_OVERHEAD_BYTES, 200U << 10);
}

static void h1_takes_small_chunks_of_a_quarter_payload(void **state) {
    static const char chunk[] = "4\r\nabcd\r\n"; /* 5 of framing */
    struct h1_head head = {.chunked = true, .status = 200};
    struct h1_body b;
    h1_body_init(&b, H1_RESPONSE, &head, false);
    for (int i = 0; i < 100000; i++) {
        struct slice out;
        struct h1_error e;
        size_t used;
        assert_int_equal(h1_body_feed(&b, chunk, sizeof chunk - 1, &used, &out, &e), H1_MORE);
        assert_int_equal(used, sizeof chunk - 1);
        assert_int_equal(out.len, 4);
    }
}

static void h1_bounds_trailers(void **state) {
    struct text *t = fresh(CHUNKED_HEAD "0\r\nX:");
    fill(t, 'x', H1_MAX_TRAILER_BYTES - 4);
    add(t, "\r\n\r\n");
    expect_text("H26 at", H1_REQUEST, t, "POST / <>\n");
    t->len -= 4;
    add(t, "x\r\n\r\n");
    expect_text("H26 over", H1_REQUEST, t, "! 431 trailers too large\n");
}

/* --- what a head says */

static struct h1_head parse(enum h1_kind kind, const char *bytes) {
    static struct h1_head head;
    struct h1_scan scan = {0};
    struct h1_error e = {0};
    size_t used;
    memset(&head, 0xa5, sizeof head);
    if (h1_head(kind, bytes, strlen(bytes), &scan, &head, &used, &e) != H1_DONE)
        fail_msg("%s", e.reason);
    assert_int_equal(used, strlen(bytes));
    return head;
}

#define assert_slice(s, text) assert_true(slice_is((s), (text)))

static void h1_splits_a_request(void **state) {
    struct h1_head h = parse(
        H1_REQUEST,
        "POST /a%20b?x=1&y HTTP/1.1\r\nHost: h:80\r\nX-One:  1 \t\r\nExpect: 100-continue\r\n"
        "Content-Length: 9223372036854775807\r\nx-one: 2\r\n\r\n");
    size_t count;
    assert_int_equal(h.method, H1_POST);
    assert_slice(h.target, "/a%20b?x=1&y");
    assert_slice(h.path, "/a%20b");
    assert_slice(h.query, "x=1&y");
    assert_slice(h.host, "h:80");
    assert_true(h.expect_continue);
    assert_true(h.keep_alive);
    assert_true(h.has_length);
    assert_int_equal(h.content_length, INT64_MAX);
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.nheaders, 5);
    assert_slice(h.headers[1].name, "X-One");
    assert_slice(h1_get(&h, SLICE("X-ONE"), &count), "1");
    assert_int_equal(count, 2);
    assert_slice(h1_get(&h, SLICE("x-one"), NULL), "1");
    assert_null(h1_get(&h, SLICE("x-two"), &count).ptr);
    assert_int_equal(count, 0);
}

static void h1_splits_every_form_of_target(void **state) {
    struct h1_head h = parse(H1_REQUEST, "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_slice(h.path, "/");
    assert_slice(h.query, "q");
    h = parse(H1_REQUEST, "GET HTTPS://h:1/p?q?r HTTP/1.0\r\n\r\n");
    assert_slice(h.host, "h:1");
    assert_slice(h.path, "/p");
    assert_slice(h.query, "q?r");
    h = parse(H1_REQUEST, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_slice(h.path, "*");
    assert_int_equal(h.query.len, 0);
    h = parse(H1_REQUEST, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_slice(h.path, "h:443");
    h = parse(H1_REQUEST, "GET /? HTTP/1.0\r\n\r\n");
    assert_slice(h.path, "/");
    assert_int_equal(h.query.len, 0);
    assert_null(h.host.ptr);
}

static void h1_ignores_100_continue_from_http_1_0(void **state) {
    struct h1_head h = parse(
        H1_REQUEST, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_false(h.expect_continue);
}

static void h1_knows_which_answers_have_no_body(void **state) {
    struct h1_head h = parse(H1_RESPONSE, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct h1_body b;
    h1_body_init(&b, H1_RESPONSE, &h, true);
    assert_int_equal(b.mode, H1_BODY_NONE);
    assert_true(b.done);
    h1_body_init(&b, H1_RESPONSE, &h, false);
    assert_int_equal(b.mode, H1_BODY_CHUNKED);
    h = parse(H1_RESPONSE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    h1_body_init(&b, H1_RESPONSE, &h, false);
    assert_int_equal(b.mode, H1_BODY_NONE);
    h = parse(H1_RESPONSE, "HTTP/1.1 500 No\r\n\r\n");
    h1_body_init(&b, H1_RESPONSE, &h, false);
    assert_int_equal(b.mode, H1_BODY_UNTIL_CLOSE);
}

/* A head only half there may move before the rest comes; nothing may point at where it was. */
static void h1_points_into_the_bytes_of_the_last_call(void **state) {
    static const char bytes[] = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    struct h1_scan scan = {0};
    struct h1_head head;
    struct h1_error e;
    size_t used, len = sizeof bytes - 1;
    char *first = malloc(20), *second = malloc(len);
    assert_non_null(first);
    assert_non_null(second);
    memcpy(first, bytes, 20);
    memcpy(second, bytes, len);
    assert_int_equal(h1_head(H1_REQUEST, first, 20, &scan, &head, &used, &e), H1_MORE);
    free(first);
    assert_int_equal(h1_head(H1_REQUEST, second, len, &scan, &head, &used, &e), H1_DONE);
    assert_ptr_equal(head.target.ptr, second + 4);
    assert_ptr_equal(head.path.ptr, second + 4);
    free(second);
}

/* However slowly a head comes, no byte is searched twice for the end of its line. */
static void h1_scans_a_head_in_linear_time(void **state) {
    struct text *t = fresh("GET / HTTP/1.1\r\nX: ");
    fill(t, 'x', 10000);
    struct h1_scan scan = {0};
    struct h1_head head;
    struct h1_error e;
    size_t used;
    for (size_t n = 1; n <= t->len; n++) {
        assert_int_equal(h1_head(H1_REQUEST, t->bytes, n, &scan, &head, &used, &e), H1_MORE);
        assert_int_equal(scan.at, n);
    }
}

/* --- values, names, escapes, queries */

static void h1_classes_are_those_of_the_grammar(void **state) {
    static const char tokens[] = "!#$%&'*+-.^_`|~";
    for (unsigned i = 0; i < 256; i++) {
        bool upper = i >= 'A' && i <= 'Z', lower = i >= 'a' && i <= 'z',
             digit = i >= '0' && i <= '9';
        bool hex = digit || (i >= 'a' && i <= 'f') || (i >= 'A' && i <= 'F'),
             word = upper || lower || digit;
        char c = (char)i;
        assert_int_equal(h1_is(c, H1_C_TOKEN),
                         word || (i != 0 && i < 128 && strchr(tokens, c) != NULL));
        assert_int_equal(h1_is(c, H1_C_VALUE), i == '\t' || (i >= ' ' && i != 0x7f));
        assert_int_equal(h1_is(c, H1_C_TARGET), i > ' ' && i < 0x7f && i != '#');
        assert_int_equal(h1_is(c, H1_C_HOST), word || i == '-' || i == '.' || i == '_' || i == '~');
        assert_int_equal(h1_is(c, H1_C_HEX), hex);
        assert_int_equal(h1_is(c, H1_C_DIGIT), digit);
        assert_int_equal(h1_is(c, H1_C_LOWER), lower);
        if (hex) assert_int_equal(h1_hex(c), strtoul((char[]){c, '\0'}, NULL, 16));
    }
}

static void h1_refuses_line_ends_in_values_to_send(void **state) {
    assert_true(h1_value_ok(SLICE("")));
    assert_true(h1_value_ok(SLICE("a\tb \xc3\xa9")));
    assert_false(h1_value_ok(SLICE("a\r\nX: y")));
    assert_false(h1_value_ok(SLICE("a\n")));
    assert_false(h1_value_ok(SLICE("a\0")));
    assert_false(h1_value_ok(SLICE("\x7f")));
    assert_true(h1_name_ok(SLICE("X-Fal")));
    assert_false(h1_name_ok(SLICE("")));
    assert_false(h1_name_ok(SLICE("X:")));
    assert_false(h1_name_ok(SLICE("X Y")));
    assert_false(h1_name_ok(SLICE("X\n")));
}

static void h1_unescapes(void **state) {
    static const struct {
        struct slice in;
        bool plus;
        const char *out; /* NULL: refused */
    } cases[] = {
        {{"", 0}, false, ""},
        {{"abc", 3}, false, "abc"},
        {{"a%2Fb%2fc", 9}, false, "a/b/c"},
        {{"a+b", 3}, false, "a+b"},
        {{"a+b", 3}, true, "a b"},
        {{"%2b+", 4}, true, "+ "},
        {{"%c3%A9", 6}, false, "\xc3\xa9"},
        {{"%25", 3}, false, "%"},
        {{"%2525", 5}, false, "%25"},
        {{"%", 1}, false, NULL},
        {{"%4", 2}, false, NULL},
        {{"%4g", 3}, false, NULL},
        {{"%g4", 3}, false, NULL},
        {{"a%00b", 5}, false, NULL},
        {{"a\0b", 3}, false, NULL},
        {{"%%41", 4}, false, NULL},
        {{"%u0041", 6}, false, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[16];
        size_t len = 99;
        bool ok = h1_unescape(cases[i].in, cases[i].plus, out, &len);
        assert_int_equal(ok, cases[i].out != NULL);
        if (ok) assert_true(slice_is(slice_make(out, len), cases[i].out));
    }
}

static void h1_finds_query_parameters(void **state) {
    size_t count;
    struct slice q = SLICE("logs=1&fal_webhook=http%3a//x&empty=&bare&logs=2&&=x&a=b=c");
    assert_slice(h1_query(q, SLICE("logs"), &count), "1");
    assert_int_equal(count, 2);
    assert_slice(h1_query(q, SLICE("fal_webhook"), NULL), "http%3a//x");
    assert_slice(h1_query(q, SLICE("a"), &count), "b=c");
    assert_int_equal(count, 1);
    assert_int_equal(h1_query(q, SLICE("empty"), NULL).len, 0);
    assert_non_null(h1_query(q, SLICE("empty"), NULL).ptr);
    assert_int_equal(h1_query(q, SLICE("bare"), &count).len, 0);
    assert_non_null(h1_query(q, SLICE("bare"), NULL).ptr);
    assert_int_equal(count, 1);
    assert_null(h1_query(q, SLICE("log"), &count).ptr);
    assert_int_equal(count, 0);
    assert_null(h1_query(SLICE(""), SLICE("logs"), NULL).ptr);
    assert_null(h1_query(SLICE_NONE, SLICE("logs"), NULL).ptr);
    assert_null(h1_query(SLICE("LOGS=1"), SLICE("logs"), NULL).ptr);
}

/* --- mutations */

static uint64_t draw(uint64_t *seed, uint64_t bound) {
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (*seed >> 33) % bound;
}

static void mutate(struct text *t, uint64_t *seed) {
    static const char special[] = "\r\n\0 \t:;,=#%/0159afAF\x7f\x80\xff";
    size_t at = t->len > 0 ? draw(seed, t->len) : 0, n = 1 + draw(seed, 4);
    if (n > t->len - at) n = t->len - at;
    switch (draw(seed, 5)) {
    case 0: t->bytes[at] = special[draw(seed, sizeof special - 1)]; break;
    case 1: t->bytes[at] = (char)draw(seed, 256); break;
    case 2: /* drop a few bytes */
        memmove(t->bytes + at, t->bytes + at + n, t->len - at - n);
        t->len -= n;
        break;
    case 3: /* double a few bytes */
        memmove(t->bytes + at + n, t->bytes + at, t->len - at);
        t->len += n;
        break;
    default: /* put one between */
        memmove(t->bytes + at + 1, t->bytes + at, t->len - at);
        t->bytes[at] = special[draw(seed, sizeof special - 1)];
        t->len++;
    }
}

static void h1_gives_one_verdict_for_mutations_however_cut(void **state) {
    uint64_t seed = 20261123;
    struct transcript whole = {0}, cut = {0};
    for (int round = 0; round < 20000; round++) {
        const struct row *r = &rows[draw(&seed, ROWS)];
        text.len = 0;
        memcpy(text.bytes, r->bytes, r->len);
        text.len = r->len;
        for (uint64_t i = 0, n = 1 + draw(&seed, 4); i < n; i++) mutate(&text, &seed);
        run_connection(&whole, r->kind, text.bytes, text.len, 0, 0);
        struct row mutated = {r->id, r->kind, text.bytes, text.len, whole.text};
        run_connection(&cut, r->kind, text.bytes, text.len, 1, 1);
        expect(&mutated, &cut, "mutation, steps of 1, round", (size_t)round);
        size_t at = 1 + draw(&seed, text.len + 1);
        run_connection(&cut, r->kind, text.bytes, text.len, at, 1 + draw(&seed, 40));
        expect(&mutated, &cut, "mutation, pieces from", at);
    }
    transcript_free(&whole);
    transcript_free(&cut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h1_answers_every_row_of_the_table),
        cmocka_unit_test(h1_refuses_a_request_line_over_8_kib),
        cmocka_unit_test(h1_refuses_a_header_over_16_kib),
        cmocka_unit_test(h1_refuses_a_head_over_32_kib),
        cmocka_unit_test(h1_refuses_more_than_100_headers),
        cmocka_unit_test(h1_refuses_a_method_of_100_kb_at_its_33rd_byte),
        cmocka_unit_test(h1_reads_a_thousand_pipelined_requests),
        cmocka_unit_test(h1_bounds_chunk_extensions),
        cmocka_unit_test(h1_refuses_one_byte_chunks_before_200_kib),
        cmocka_unit_test(h1_takes_small_chunks_of_a_quarter_payload),
        cmocka_unit_test(h1_bounds_trailers),
        cmocka_unit_test(h1_splits_a_request),
        cmocka_unit_test(h1_splits_every_form_of_target),
        cmocka_unit_test(h1_ignores_100_continue_from_http_1_0),
        cmocka_unit_test(h1_knows_which_answers_have_no_body),
        cmocka_unit_test(h1_points_into_the_bytes_of_the_last_call),
        cmocka_unit_test(h1_scans_a_head_in_linear_time),
        cmocka_unit_test(h1_classes_are_those_of_the_grammar),
        cmocka_unit_test(h1_refuses_line_ends_in_values_to_send),
        cmocka_unit_test(h1_unescapes),
        cmocka_unit_test(h1_finds_query_parameters),
        cmocka_unit_test(h1_gives_one_verdict_for_mutations_however_cut),
    };
    return cmocka_run_group_tests_name("h1", tests, NULL, NULL);
}
