#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect(struct slice got, const char *want) {
    if (!slice_is(got, want)) fail_msg("got \"%.*s\", wanted \"%s\"", SLICE_ARG(got), want);
}

/* Names, values and whole texts of all members, one a line. */
static void list(struct slice object, struct buf *out) {
    struct slice rest = json_inside(object);
    struct json_member m;
    buf_reset(out, SIZE_MAX);
    while (json_next_member(&rest, &m))
        buf_printf(out, "%.*s=%.*s\n", SLICE_ARG(m.name), SLICE_ARG(m.value));
}

static const struct {
    const char *object, *want;
} rows[] = {
    {"{}", ""},
    {" { } ", ""},
    {"{\"a\":1}", "a=1\n"},
    {"{\"a\":1},\"b\":2}", "a=1\n"},
    {"\n{ \"a\" : 1 , \"b\"\t:\r\n[1, {\"c\" : \"}]\"} ] }\n", "a=1\nb=[1, {\"c\" : \"}]\"} ]\n"},
    {"{\"a,b\":\"x\\\"y,\\\\\",\"c\":null}", "a,b=\"x\\\"y,\\\\\"\nc=null\n"},
    {"{\"top_p\":0.50,\"n\":1e400,\"z\":-0}", "top_p=0.50\nn=1e400\nz=-0\n"},
    {"{\"\":{},\"\\\"\":[[],{\"{\":\"[\"}]}", "={}\n\\\"=[[],{\"{\":\"[\"}]\n"},
    {"{\"caf\xc3\xa9\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"}",
     "caf\xc3\xa9=\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"\n"},
};

static void json_members_are_given_as_written(void **state) {
    struct buf b;
    buf_init(&b, 65536);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        list(slice_of(rows[i].object), &b);
        expect(buf_slice(&b), rows[i].want);
    }
    buf_free(&b);
}

static void json_member_text_is_name_and_value(void **state) {
    struct slice rest = SLICE("  \"a\" :  [1, 2]  , \"b\":true ");
    struct json_member m;
    assert_true(json_next_member(&rest, &m));
    expect(m.text, "\"a\" :  [1, 2]");
    assert_true(json_next_member(&rest, &m));
    expect(m.text, "\"b\":true");
    assert_false(json_next_member(&rest, &m));
}

/* Every beginning of every row, each in memory of just its size: the sanitizer sees a byte read too many. */
static void json_members_of_cut_text_are_read_safely(void **state) {
    struct buf b;
    buf_init(&b, 65536);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t n = 0; n <= strlen(rows[i].object); n++) {
            char *copy = malloc(n + 1);
            struct json_member m;
            memcpy(copy, rows[i].object, n);
            char *tight = realloc(copy, n > 0 ? n : 1);
            struct slice text = {tight, n}, rest = n > 0 ? slice_from(text, 1) : text;
            list(text, &b);
            while (json_next_member(&rest, &m))
                assert_true(m.text.ptr >= tight && m.text.ptr + m.text.len <= tight + n);
            free(tight);
        }
    buf_free(&b);
}

static void json_what_is_no_object_has_no_members(void **state) {
    static const char *const texts[] = {"",      "[]",      "\"a\"",    "{",         "}",
                                        "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "null"};
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        list(slice_of(texts[i]), &b);
        expect(buf_slice(&b), "");
    }
    buf_free(&b);
}

static void json_names_are_compared_without_their_escapes(void **state) {
    assert_true(json_name_is(SLICE("model"), "model"));
    assert_true(json_name_is(SLICE("mod\\u0065l"), "model"));
    assert_true(json_name_is(SLICE("\\u006D\\u006fdel"), "model"));
    assert_true(json_name_is(SLICE("a\\/b\\n"), "a/b\n"));
    assert_false(json_name_is(SLICE("mode"), "model"));
    assert_false(json_name_is(SLICE("models"), "model"));
    assert_false(json_name_is(SLICE("m\\u00f6del"), "model"));
    assert_false(json_name_is(SLICE("model\\u0000"), "model"));
    assert_false(json_name_is(SLICE("model\\"), "model"));
    assert_false(json_name_is(SLICE("\\u006"), "l"));
    assert_false(json_name_is(SLICE(""), "model"));
    assert_true(json_name_is(SLICE(""), ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_members_are_given_as_written),
        cmocka_unit_test(json_member_text_is_name_and_value),
        cmocka_unit_test(json_members_of_cut_text_are_read_safely),
        cmocka_unit_test(json_what_is_no_object_has_no_members),
        cmocka_unit_test(json_names_are_compared_without_their_escapes),
    };
    return cmocka_run_group_tests_name("json_members", tests, NULL, NULL);
}
