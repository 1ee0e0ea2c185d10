/* Server-sent events: every stream of the table is read whole, one byte at a time and split at every offset; each way
 * must give the same transcript. A transcript is one line per result: "[name]data" with LF in data shown as '/',
 * ":" for a comment, "!" for too long, and "~" at the end when something is pending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sse.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LINE_BYTES (1U << 20)
#define MAX_EVENT_BYTES (4U << 20)

struct stream {
    const char *id, *bytes, *expect;
    size_t len; /* 0: strlen */
};

static const struct stream streams[] = {
    {"lf", "data: a\n\n", "[]a\n"},
    {"crlf", "data: a\r\n\r\n", "[]a\n"},
    {"cr", "data: a\r\rdata: b\r\r", "[]a\n[]b\n"},
    {"mixed_ends", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r", "[]a\n[]b\n[]c\n[]d\n"},
    {"cr_then_line", "data: a\rdata: b\r\n\r\n", "[]a/b\n"},
    {"lf_after_cr_is_one_end", "data: a\r\ndata: b\r\n\r\n", "[]a/b\n"},
    {"line_after_cr_keeps_its_lf", "data\rdata\n\n", "[]/\n"},
    {"bom",
     "\xef\xbb\xbf"
     "data: a\n\n",
     "[]a\n"},
    {"bom_only_once",
     "\xef\xbb\xbf\xef\xbb\xbf"
     "data: a\n\ndata: b\n\n",
     "[]b\n"},
    {"bom_on_a_later_line",
     "data: a\n\xef\xbb\xbf"
     "data: b\n\n",
     "[]a\n"},
    {"bom_and_blank", "\xef\xbb\xbf\n\ndata: a\n\n", "[]a\n"},
    {"bom_later_is_data", "data: \xef\xbb\xbf\n\n", "[]\xef\xbb\xbf\n"},
    {"comment", ": ping\n\ndata: a\n\n", ":\n[]a\n"},
    {"comment_inside_event", "data: a\n: ping\ndata: b\n\n", ":\n[]a/b\n"},
    {"comment_alone", ":\n", ":\n"},
    {"comment_flood", ":\n:\n:\n:\n\n", ":\n:\n:\n:\n"},
    {"two_lines", "data: a\ndata: b\n\n", "[]a/b\n"},
    {"lines_after_empty_line", "data:\ndata: b\ndata\n\n", "[]/b/\n"},
    {"no_space", "data:a\n\n", "[]a\n"},
    {"only_one_space_is_cut", "data:  a \n\n", "[] a \n"},
    {"colons_in_value", "data: a: b\n\n", "[]a: b\n"},
    {"no_colon", "data\n\n", "[]\n"},
    {"empty_data", "data:\n\n", "[]\n"},
    {"name", "event: error\ndata: {}\n\ndata: x\n\n", "[error]{}\n[]x\n"},
    {"last_name_wins", "event: a\nevent: b\ndata: x\n\n", "[b]x\n"},
    {"name_behind_data", "data: x\nevent: e\n\n", "[e]x\n"},
    {"name_without_data_gives_nothing", "event: e\n\ndata: x\n\n", "[]x\n"},
    {"name_without_colon_is_empty", "event: a\nevent\ndata: x\n\n", "[]x\n"},
    {"id_and_retry_are_read_over", "id: 3\nretry: 0\nretry: x\ndata: x\nid\n\n", "[]x\n"},
    {"id_with_nul", "id: a\0b\ndata: x\n\n", "[]x\n", 17},
    {"nul_in_data", "data: a\0b\n\n", "[]a\\0b\n", 11},
    {"half_a_bom", "\xef\xbb\ndata: a\n\n", "[]a\n"},
    {"field_that_begins_so", "datas: x\ndat: x\ndata: a\n\n", "[]a\n"},
    {"unknown_field", "date: a\nDATA: b\n data: c\ndata : d\n\n", ""},
    {"blank_lines", "\n\n\ndata: a\n\n\n\ndata: b\n\n", "[]a\n[]b\n"},
    {"utf8", "data: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n\n",
     "[]\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n"},
    {"surrogates", "data: {\"c\":\"\\ud83d\\ude00\"}\n\n", "[]{\"c\":\"\\ud83d\\ude00\"}\n"},
    {"invalid_utf8_passes", "data: \xff\xc3\n\n", "[]\xff\xc3\n"},
    {"done", "data: {\"a\":1}\n\ndata: [DONE]\n\n", "[]{\"a\":1}\n[][DONE]\n"},
    {"cut_before_blank_line", "data: a\n\ndata: b\n", "[]a\n~\n"},
    {"cut_in_line", "data: a\n\ndat", "[]a\n~\n"},
    {"cut_before_lf_of_blank", "data: a\r\n\r", "[]a\n"},
    {"cut_after_name", "event: error\n", "~\n"},
    {"nothing", "", ""},
};

struct transcript {
    char text[4096];
    size_t len;
};

static void put(struct transcript *t, const char *p, size_t n) {
    assert_true(t->len + n < sizeof t->text);
    memcpy(t->text + t->len, p, n);
    t->len += n;
    t->text[t->len] = '\0';
}

static void put_data(struct transcript *t, struct slice data) {
    for (size_t i = 0; i < data.len; i++) {
        char c = data.ptr[i];
        if (c == '\n')
            put(t, "/", 1);
        else if (c == '\0')
            put(t, "\\0", 2);
        else
            put(t, &c, 1);
    }
}

static void note(struct transcript *t, enum sse_result result, const struct sse_event *e) {
    if (result == SSE_COMMENT) put(t, ":\n", 2);
    if (result == SSE_TOO_LONG) put(t, "!\n", 2);
    if (result != SSE_EVENT) return;
    put(t, "[", 1);
    put_data(t, e->name);
    put(t, "]", 1);
    put_data(t, e->data);
    put(t, "\n", 1);
}

/* Every piece stands in memory of its own, freed afterwards: a slice that outlives its call is found by ASan. */
static void feed(struct sse_reader *r, struct transcript *t, const char *bytes, size_t len) {
    char *piece = malloc(len > 0 ? len : 1);
    assert_non_null(piece);
    if (len > 0) memcpy(piece, bytes, len);
    for (size_t at = 0; at < len;) {
        struct sse_event e;
        size_t used = 0;
        enum sse_result result = sse_feed(r, piece + at, len - at, &used, &e);
        note(t, result, &e);
        if (result == SSE_TOO_LONG) break;
        assert_true(used > 0 && used <= len - at);
        if (result == SSE_MORE) assert_int_equal(used, len - at);
        at += used;
    }
    free(piece);
}

/* Pieces of `first` bytes and the rest; `step` > 0: pieces of that size. */
static void read_in_pieces(const struct stream *s, size_t first, size_t step,
                           struct transcript *t) {
    size_t len = s->len > 0 ? s->len : strlen(s->bytes);
    struct sse_reader r;
    *t = (struct transcript){0};
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    for (size_t at = 0; at < len;) {
        size_t n = step > 0 ? step : at == 0 && first > 0 ? first : len - at;
        if (n > len - at) n = len - at;
        feed(&r, t, s->bytes + at, n);
        at += n;
    }
    if (sse_pending(&r)) put(t, "~\n", 2);
    sse_free(&r);
}

static void expect(const struct stream *s, const struct transcript *t, const char *how, size_t n) {
    if (strcmp(t->text, s->expect) == 0) return;
    fail_msg("%s, %s %zu: expected\n%sgot\n%s", s->id, how, n, s->expect, t->text);
}

static void sse_reads_every_stream_of_the_table(void **state) {
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct stream *s = &streams[i];
        size_t len = s->len > 0 ? s->len : strlen(s->bytes);
        struct transcript t;
        read_in_pieces(s, 0, 0, &t);
        expect(s, &t, "whole", 0);
        for (size_t step = 1; step <= 3; step++) {
            read_in_pieces(s, 0, step, &t);
            expect(s, &t, "steps of", step);
        }
        for (size_t at = 1; at < len; at++) {
            read_in_pieces(s, at, 0, &t);
            expect(s, &t, "split at", at);
        }
    }
}

static void sse_gives_a_whole_event_without_a_copy(void **state) {
    static const char bytes[] = "event: x\ndata: hello\n\n";
    struct sse_reader r;
    struct sse_event e;
    size_t used;
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    assert_int_equal(sse_feed(&r, bytes, sizeof bytes - 1, &used, &e), SSE_EVENT);
    assert_ptr_equal(e.data.ptr, bytes + 15);
    assert_null(r.data.base);
    sse_free(&r);
}

static void sse_cuts_long_event_names(void **state) {
    char bytes[200], want[100];
    memset(want, 'n', sizeof want);
    int n = snprintf(bytes, sizeof bytes, "event: %.100s\ndata: a\n\n", want);
    struct sse_reader r;
    struct sse_event e;
    size_t used;
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    assert_int_equal(sse_feed(&r, bytes, (size_t)n, &used, &e), SSE_EVENT);
    assert_int_equal(e.name.len, 64);
    sse_free(&r);
}

/* A data line of `len` bytes in all, fed in pieces of `step`. */
static enum sse_result read_long_line(size_t len, size_t step, size_t *data_len) {
    char *bytes = malloc(len + 2);
    assert_non_null(bytes);
    memset(bytes, 'x', len);
    memcpy(bytes, "data:", 5);
    memcpy(bytes + len, "\n\n", 2);
    struct sse_reader r;
    struct sse_event e = {0};
    enum sse_result result = SSE_MORE;
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    for (size_t at = 0, used; at < len + 2 && result == SSE_MORE; at += used)
        result = sse_feed(&r, bytes + at, step < len + 2 - at ? step : len + 2 - at, &used, &e);
    *data_len = result == SSE_EVENT ? e.data.len : 0;
    if (result == SSE_EVENT) assert_memory_equal(e.data.ptr, bytes + 5, e.data.len);
    if (result == SSE_TOO_LONG) { /* and it stays so */
        size_t used;
        assert_int_equal(sse_feed(&r, "data: a\n\n", 9, &used, &e), SSE_TOO_LONG);
    }
    sse_free(&r);
    free(bytes);
    return result;
}

static void sse_refuses_a_line_over_its_maximum(void **state) {
    static const size_t steps[] = {SIZE_MAX, 65536, 1000, MAX_LINE_BYTES, MAX_LINE_BYTES + 1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        size_t n;
        assert_int_equal(read_long_line(MAX_LINE_BYTES, steps[i], &n), SSE_EVENT);
        assert_int_equal(n, MAX_LINE_BYTES - 5);
        assert_int_equal(read_long_line(MAX_LINE_BYTES + 1, steps[i], &n), SSE_TOO_LONG);
        assert_int_equal(read_long_line(10U << 20, steps[i], &n), SSE_TOO_LONG);
    }
}

static void sse_refuses_an_event_over_its_maximum(void **state) {
    enum { LINE = 1000 };
    char line[LINE + 1];
    memset(line, 'x', LINE);
    memcpy(line, "data:", 5);
    line[LINE] = '\n';
    struct sse_reader r;
    struct sse_event e;
    enum sse_result result = SSE_MORE;
    size_t lines = 0, used;
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    while (result == SSE_MORE && lines < 10000) {
        result = sse_feed(&r, line, sizeof line, &used, &e);
        lines++;
    }
    assert_int_equal(result, SSE_TOO_LONG);
    assert_in_range(lines, MAX_EVENT_BYTES / LINE, MAX_EVENT_BYTES / (LINE - 5) + 2);
    sse_free(&r);
}

static void sse_joins_a_thousand_data_lines(void **state) {
    struct sse_reader r;
    struct sse_event e;
    size_t used;
    sse_init(&r, MAX_LINE_BYTES, MAX_EVENT_BYTES);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sse_feed(&r, "data: x\n", 8, &used, &e), SSE_MORE);
    assert_int_equal(sse_feed(&r, "\n", 1, &used, &e), SSE_EVENT);
    assert_int_equal(e.data.len, 1999);
    sse_free(&r);
}

/* Random streams of the bytes that matter, whole against one byte at a time. */
static void sse_gives_the_same_for_random_streams_however_cut(void **state) {
    static const char alphabet[] = "\r\n\r\n:data: event: \xef\xbb\xbf x";
    uint64_t seed = 42;
    for (int round = 0; round < 20000; round++) {
        char bytes[60];
        struct stream s = {.id = "random", .bytes = bytes};
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        s.len = 1 + (seed >> 33) % sizeof bytes;
        for (size_t i = 0; i < s.len;) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            uint64_t pick = seed >> 33;
            if (pick % 4 == 0 && s.len - i >= 5) {
                memcpy(bytes + i, "data:", 5);
                i += 5;
            } else {
                bytes[i++] = alphabet[(pick >> 2) % (sizeof alphabet - 1)];
            }
        }
        struct transcript whole, cut;
        read_in_pieces(&s, 0, 0, &whole);
        s.expect = whole.text;
        read_in_pieces(&s, 0, 1 + (size_t)(round % 3), &cut);
        expect(&s, &cut, "round", (size_t)round);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_reads_every_stream_of_the_table),
        cmocka_unit_test(sse_gives_a_whole_event_without_a_copy),
        cmocka_unit_test(sse_cuts_long_event_names),
        cmocka_unit_test(sse_refuses_a_line_over_its_maximum),
        cmocka_unit_test(sse_refuses_an_event_over_its_maximum),
        cmocka_unit_test(sse_joins_a_thousand_data_lines),
        cmocka_unit_test(sse_gives_the_same_for_random_streams_however_cut),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
