/* The reader of server-sent events: every stream of the table is read whole, one byte at a time and split at every
 * offset; each way must give the same events. They are written as "[data]", LF in data as '/'. */
#include "client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct stream {
    const char *name, *bytes, *events;
    size_t len; /* 0: strlen */
};

static const struct stream streams[] = {
    {"lf", "data: a\n\n", "[a]"},
    {"crlf", "data: a\r\n\r\n", "[a]"},
    {"cr", "data: a\r\rdata: b\r\r", "[a][b]"},
    {"mixed ends", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r", "[a][b][c][d]"},
    {"one end, not two", "data: a\r\ndata: b\r\n\r\n", "[a/b]"},
    {"two lines", "data: a\ndata: b\n\n", "[a/b]"},
    {"an empty line of data", "data: a\ndata:\ndata: b\n\n", "[a//b]"},
    {"no space", "data:a\n\n", "[a]"},
    {"one space only", "data:  a \n\n", "[ a ]"},
    {"colons in data", "data: {\"a\":\"b: c\"}\n\n", "[{\"a\":\"b: c\"}]"},
    {"no colon", "data\n\n", "[]"},
    {"empty data", "data:\n\n", "[]"},
    {"comment", ": ping\n\ndata: a\n\n", "[a]"},
    {"comment inside", "data: a\n: ping\ndata: b\n\n", "[a/b]"},
    {"comments only", ":\n:\n\n:\n\n", ""},
    {"other fields", "event: e\nid: 1\nretry: 5\ndata: a\nevent\n\n", "[a]"},
    {"event without data", "event: e\n\ndata: a\n\n", "[a]"},
    {"names that begin so", "datas: x\ndat: x\nDATA: x\n data: x\ndata: a\n\n", "[a]"},
    {"bom",
     "\xef\xbb\xbf"
     "data: a\n\n",
     "[a]"},
    {"bom and an empty line", "\xef\xbb\xbf\ndata: a\n\n", "[a]"},
    {"bom on a later line",
     "data: a\n\xef\xbb\xbf"
     "data: b\n\n",
     "[a]"},
    {"bom in data", "data: \xef\xbb\xbf\n\n", "[\xef\xbb\xbf]"},
    {"half a bom", "\xef\xbb\ndata: a\n\n", "[a]"},
    {"a character of four bytes", "data: \xf0\x9f\x98\x80\n\n", "[\xf0\x9f\x98\x80]"},
    {"no blank line", "data: a\n\ndata: b\n", "[a]"},
    {"no end of line", "data: a\n\ndata: b", "[a]"},
    {"nothing", "", ""},
    {"blank lines", "\n\r\n\r\r\n", ""},
    {"nul in data", "data: a\0b\n\n", "[a_b]", 11},
};

struct notes {
    char text[256];
    size_t len, events, stop_after;
};

static bool note(void *user, struct slice data) {
    struct notes *n = user;
    assert_true(n->len + data.len + 3 < sizeof(n->text));
    n->text[n->len++] = '[';
    for (size_t i = 0; i < data.len; i++) {
        char c = data.ptr[i];
        n->text[n->len++] = c == '\n' ? '/' : c == '\0' ? '_' : c;
    }
    n->text[n->len++] = ']';
    n->text[n->len] = '\0';
    return ++n->events != n->stop_after;
}

/* From a copy that ends where the part ends, so that a byte read too far is seen. */
static bool feed(struct client_sse *s, struct slice bytes, struct notes *n) {
    char *copy = malloc(bytes.len > 0 ? bytes.len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes.ptr, bytes.len);
    bool more = client_sse_feed(s, slice_make(copy, bytes.len), note, n);
    free(copy);
    return more;
}

static void check(const struct stream *t, size_t first, size_t step) {
    size_t len = t->len > 0 ? t->len : strlen(t->bytes);
    struct notes n = {0};
    struct client_sse s;
    client_sse_init(&s);
    for (size_t at = 0, size = first; at < len; at += size, size = step) {
        size = size < len - at ? size : len - at;
        assert_true(feed(&s, slice_make(t->bytes + at, size), &n));
    }
    if (strcmp(n.text, t->events) != 0) {
        fail_msg("%s (%zu, then %zu): %s", t->name, first, step, n.text);
    }
    client_sse_free(&s);
}

static void sse_reads_each_stream_however_it_is_split(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        check(&streams[i], 1, 1);
        check(&streams[i], SIZE_MAX, 1);
        for (size_t at = 1; at < 60; at++) {
            check(&streams[i], at, SIZE_MAX);
            check(&streams[i], at, 1);
        }
    }
}

static void sse_joins_data_lines(void **state) {
    (void)state;
    struct notes n = {0};
    struct client_sse s;
    client_sse_init(&s);
    assert_true(feed(&s, SLICE("data: {\ndata: \"a\": 1\ndata: }\n\n"), &n));
    assert_string_equal(n.text, "[{/\"a\": 1/}]");
    client_sse_free(&s);
}

static void sse_reads_no_further_when_told_so(void **state) {
    (void)state;
    struct notes n = {.stop_after = 2};
    struct client_sse s;
    client_sse_init(&s);
    assert_false(feed(&s, SLICE("data: a\n\ndata: b\n\ndata: c\n\n"), &n));
    assert_string_equal(n.text, "[a][b]");
    client_sse_free(&s);
}

/* What is too long is too long in parts too, and stays so. */
static void sse_takes_no_event_over_the_limit(void **state) {
    (void)state;
    size_t part = 1U << 20;
    char *bytes = malloc(part);
    assert_non_null(bytes);
    for (int lines = 0; lines < 2; lines++) {
        struct notes n = {0};
        struct client_sse s;
        size_t fed = 0;
        client_sse_init(&s);
        memset(bytes, 'x', part);
        assert_true(client_sse_feed(&s, SLICE("data: "), note, &n));
        if (lines) {
            memcpy(bytes + part - 6, "\ndata:", 6);
        }
        while (fed <= FAL_MAX_REPLY_BYTES + part &&
               client_sse_feed(&s, slice_make(bytes, part), note, &n)) {
            fed += part;
        }
        assert_true(fed <= FAL_MAX_REPLY_BYTES);
        assert_true(fed >= FAL_MAX_REPLY_BYTES - 2 * part);
        assert_true(s.line.failed || s.data.failed);
        assert_false(client_sse_feed(&s, SLICE("\n\n"), note, &n));
        assert_int_equal(n.events, 0);
        client_sse_free(&s);
    }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_reads_each_stream_however_it_is_split),
        cmocka_unit_test(sse_joins_data_lines),
        cmocka_unit_test(sse_reads_no_further_when_told_so),
        cmocka_unit_test(sse_takes_no_event_over_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
