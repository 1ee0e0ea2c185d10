/* JSON: what is refused and why, duplicate keys, depth, and strings written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

struct text_case {
    const char *text;
    enum json_fault fault;
    size_t len; /* 0: strlen */
};

static const struct text_case texts[] = {
    {"{}", JSON_OK},
    {" \r\n\t[1, 2.5e3, \"x\", null, true, false] \n", JSON_OK},
    {"\"a\"", JSON_OK},
    {"1", JSON_OK},
    {"{\"a\":{\"a\":{\"a\":[]}}}", JSON_OK}, /* the same key in other objects */
    {"[{\"a\":1},{\"a\":1}]", JSON_OK},
    {"{\"\":1,\"a\":2}", JSON_OK},
    {"\"\\u0000\"", JSON_OK},
    {"-0", JSON_OK},
    {"9007199254740993", JSON_OK},
    {"\"\\ud83d\\ude00\"", JSON_OK},
    {"\"[[[[\\\"]]\"", JSON_OK},

    {"", JSON_SYNTAX},
    {" ", JSON_SYNTAX},
    {"not json", JSON_SYNTAX},
    {"{\"a\":1", JSON_SYNTAX},
    {"{\"a\":1,}", JSON_SYNTAX},
    {"[1,]", JSON_SYNTAX},
    {"[,1]", JSON_SYNTAX},
    {"{'a':1}", JSON_SYNTAX},
    {"{a:1}", JSON_SYNTAX},
    {"{} {}", JSON_SYNTAX},
    {"1 2", JSON_SYNTAX},
    {"{}x", JSON_SYNTAX},
    {"{}\0", JSON_SYNTAX, 3},
    {"\0", JSON_SYNTAX, 1},
    {"]", JSON_SYNTAX},
    {"}}}}", JSON_SYNTAX},
    {"[}", JSON_SYNTAX},
    {"/* c */ 1", JSON_SYNTAX},
    {"1 // c", JSON_SYNTAX},
    {"NaN", JSON_SYNTAX},
    {"nan", JSON_SYNTAX},
    {"Infinity", JSON_SYNTAX},
    {"-Infinity", JSON_SYNTAX},
    {"[1e400]", JSON_SYNTAX},
    {"01", JSON_SYNTAX},
    {"+1", JSON_SYNTAX},
    {".5", JSON_SYNTAX},
    {"1.", JSON_SYNTAX},
    {"0x10", JSON_SYNTAX},
    {"\"a", JSON_SYNTAX},
    {"\"a\nb\"", JSON_SYNTAX},
    {"\"\\x41\"", JSON_SYNTAX},
    {"\"\\u12\"", JSON_SYNTAX},
    {"\f{}", JSON_SYNTAX},

    {"\xef\xbb\xbf{}", JSON_UNICODE},
    {"\"\\ud800\"", JSON_UNICODE},
    {"\"\\ud800x\"", JSON_UNICODE},
    {"\"\\ud800\\n\"", JSON_UNICODE},
    {"\"\\ud800\\u0041\"", JSON_UNICODE},
    {"\"\\ud800\\ud800\"", JSON_UNICODE},
    {"\"\\udc00\"", JSON_UNICODE},
    {"{\"\\ud800\":1}", JSON_UNICODE},
    {"\"\xff\"", JSON_UNICODE},
    {"\"\x80\"", JSON_UNICODE},
    {"\"\xc3\"", JSON_UNICODE},
    {"\"\xc0\xaf\"", JSON_UNICODE},         /* overlong */
    {"\"\xe0\x80\xaf\"", JSON_UNICODE},     /* overlong */
    {"\"\xed\xa0\x80\"", JSON_UNICODE},     /* surrogate in UTF-8 */
    {"\"\xf4\x90\x80\x80\"", JSON_UNICODE}, /* above U+10FFFF */

    {"{\"a\":1,\"a\":1}", JSON_DUPLICATE},
    {"{\"a\":1,\"b\":2,\"a\":3}", JSON_DUPLICATE},
    {"{\"a\":1,\"\\u0061\":2}", JSON_DUPLICATE},
    {"{\"\":1,\"\":2}", JSON_DUPLICATE},
    {"{\"x\":[1,{\"y\":{\"a\":1,\"a\":2}}]}", JSON_DUPLICATE},
    {"[0,{\"a\\u0000b\":1,\"a\\u0000b\":2}]", JSON_DUPLICATE},
    {"{\"a\\u0000b\":1,\"a\\u0000c\":2}", JSON_OK},
    {"{\"a\":1,\"A\":2,\"a \":3}", JSON_OK},
};

static enum json_fault fault_of(struct slice text) {
    struct json_error e;
    char *exact = malloc(text.len > 0 ? text.len : 1); /* an overread is seen */
    assert_non_null(exact);
    if (text.len > 0) memcpy(exact, text.ptr, text.len);
    yyjson_doc *doc = json_parse(slice_make(exact, text.len), &e);
    assert_int_equal(doc == NULL, e.fault != JSON_OK);
    assert_non_null(e.reason);
    assert_true(e.offset <= text.len);
    yyjson_doc_free(doc);
    free(exact);
    return e.fault;
}

static void json_says_what_is_wrong(void **state) {
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct text_case *c = &texts[i];
        enum json_fault got = fault_of(slice_make(c->text, c->len > 0 ? c->len : strlen(c->text)));
        if (got != c->fault) fail_msg("%s: fault %d, expected %d", c->text, got, c->fault);
    }
}

static enum json_fault nested(char open, size_t depth, bool closed) {
    char *text = malloc(depth * 6 + 1), *at = text;
    assert_non_null(text);
    for (size_t i = 0; i < depth; i++) {
        *at++ = open;
        if (open == '{' && i + 1 < depth) at = (char *)memcpy(at, "\"a\":", 4) + 4;
    }
    for (size_t i = 0; closed && i < depth; i++) *at++ = open == '{' ? '}' : ']';
    enum json_fault f = fault_of(slice_make(text, (size_t)(at - text)));
    free(text);
    return f;
}

static void json_refuses_depth_65_and_takes_64(void **state) {
    assert_int_equal(nested('[', 64, true), JSON_OK);
    assert_int_equal(nested('[', 65, true), JSON_DEPTH);
    assert_int_equal(nested('{', 64, true), JSON_OK);
    assert_int_equal(nested('{', 65, true), JSON_DEPTH);
    assert_int_equal(nested('[', 64, false), JSON_SYNTAX);
    assert_int_equal(nested('[', 100000, false), JSON_DEPTH);
    assert_int_equal(nested('[', 100000, true), JSON_DEPTH);
    assert_int_equal(nested('{', 100000, true), JSON_DEPTH);
}

/* An object of n keys "k0" ... in which key `twice` stands a second time at the end (escaped if told). */
static enum json_fault big_object(size_t n, size_t twice, bool escaped) {
    struct buf b;
    buf_init(&b, 64U << 20);
    buf_puts(&b, "[{");
    for (size_t i = 0; i < n; i++) buf_printf(&b, "%s\"k%zu\":%zu", i > 0 ? "," : "", i, i);
    if (twice < n) buf_printf(&b, ",\"%s%zu\":0", escaped ? "\\u006b" : "k", twice);
    buf_puts(&b, "}]");
    enum json_fault f = fault_of(buf_slice(&b));
    buf_free(&b);
    return f;
}

static void json_finds_a_key_twice_in_objects_of_any_size(void **state) {
    static const size_t sizes[] = {1, 2, 15, 16, 17, 18, 100, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        assert_int_equal(big_object(n, SIZE_MAX, false), JSON_OK);
        for (size_t twice = 0; twice < n; twice += 1 + n / 20) {
            assert_int_equal(big_object(n, twice, false), JSON_DUPLICATE);
            assert_int_equal(big_object(n, twice, true), JSON_DUPLICATE);
        }
    }
}

static void json_refuses_more_than_65536_members(void **state) {
    assert_int_equal(big_object(JSON_MAX_MEMBERS, SIZE_MAX, false), JSON_OK);
    assert_int_equal(big_object(JSON_MAX_MEMBERS - 1, 40000, false), JSON_DUPLICATE);
    assert_int_equal(big_object(JSON_MAX_MEMBERS + 1, SIZE_MAX, false), JSON_SYNTAX);
    assert_int_equal(big_object(1000000, SIZE_MAX, false), JSON_SYNTAX);
}

/* The depth counted by yyjson's containers is that of the brackets. */
/* `n` values in one array; each third is a string of quotes, brackets and backslashes that count for nothing. */
static enum json_fault big_array(size_t n) {
    struct json_error err;
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++) {
        buf_addc(&b, i == 0 ? '[' : ',');
        buf_puts(&b, i % 3 == 0 ? "\"[,\\\"{:\\\\\"" : "10");
    }
    buf_addc(&b, ']');
    yyjson_doc *doc = json_parse(buf_slice(&b), &err);
    yyjson_doc_free(doc);
    buf_free(&b);
    return err.fault;
}

/* Bounds the memory a body can ask for: 16 bytes a value. */
static void json_refuses_more_than_262144_values(void **state) {
    assert_int_equal(big_array(JSON_MAX_VALUES - 1), JSON_OK); /* with the array itself */
    assert_int_equal(big_array(JSON_MAX_VALUES), JSON_SYNTAX);
}

static void json_counts_depth_of_siblings_apart(void **state) {
    struct buf b;
    buf_init(&b, 100000);
    buf_puts(&b, "[");
    for (int i = 0; i < 100; i++) buf_puts(&b, "[[],{\"a\":{}}],");
    for (unsigned i = 0; i < JSON_MAX_DEPTH - 1; i++) buf_puts(&b, "{\"a\":");
    buf_puts(&b, "1");
    for (unsigned i = 0; i < JSON_MAX_DEPTH - 1; i++) buf_puts(&b, "}");
    buf_puts(&b, "]");
    assert_int_equal(fault_of(buf_slice(&b)), JSON_OK);
    buf_free(&b);
}

static void json_says_where_it_is_too_deep(void **state) {
    struct json_error e;
    char text[200];
    memset(text, '[', 70);
    memset(text + 70, ']', 70);
    assert_null(json_parse(slice_make(text, 140), &e));
    assert_int_equal(e.fault, JSON_DEPTH);
    assert_int_equal(e.offset, 64);
    assert_null(json_parse(slice_make(text, 70), &e)); /* not JSON either: depth is what is said */
    assert_int_equal(e.fault, JSON_DEPTH);
    assert_int_equal(e.offset, 64);
    memcpy(text, "\"\\\"[[", 5); /* brackets behind an escaped quote are in the string */
    memset(text + 5, '[', 100);
    text[105] = '"';
    assert_int_equal(fault_of(slice_make(text, 106)), JSON_OK);
    assert_int_equal(fault_of(slice_make(text, 105)), JSON_SYNTAX);
}

static void json_gets_members(void **state) {
    struct json_error e;
    yyjson_doc *doc = json_parse(SLICE("{\"a\":\"x\\u0000y\",\"n\":1}"), &e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_true(slice_eq(json_str(json_get(root, "a")), SLICE("x\0y")));
    assert_null(json_str(json_get(root, "n")).ptr);
    assert_null(json_get(root, "b"));
    assert_null(json_get(NULL, "a"));
    assert_null(json_get(json_get(root, "a"), "a"));
    assert_null(json_str(NULL).ptr);
    yyjson_doc_free(doc);
}

/* --- writing */

#define FFFD "\xef\xbf\xbd"

static const struct {
    struct slice in;
    const char *utf8, *ascii;
} strings[] = {
    {{"", 0}, "\"\"", "\"\""},
    {{"abc /", 5}, "\"abc /\"", "\"abc /\""},
    {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""},
    {{"\n\r\t\b\f\x01\x1f\0\x7f", 9},
     "\"\\n\\r\\t\\b\\f\\u0001\\u001f\\u0000\\u007f\"",
     "\"\\n\\r\\t\\b\\f\\u0001\\u001f\\u0000\\u007f\""},
    {{"caf\xc3\xa9", 5}, "\"caf\xc3\xa9\"", "\"caf\\u00e9\""},
    {{"\xe2\x82\xac", 3}, "\"\xe2\x82\xac\"", "\"\\u20ac\""},
    {{"\xf0\x9f\x98\x80!", 5}, "\"\xf0\x9f\x98\x80!\"", "\"\\ud83d\\ude00!\""},
    {{"\xf4\x8f\xbf\xbf", 4}, "\"\xf4\x8f\xbf\xbf\"", "\"\\udbff\\udfff\""},
    {{"\xe2\x80\xa8", 3}, "\"\xe2\x80\xa8\"", "\"\\u2028\""},
    {{FFFD, 3}, "\"" FFFD "\"", "\"\\ufffd\""},
    /* invalid: one U+FFFD for each maximal part, as browsers, Node and Python decode */
    {{"a\xff"
      "b",
      3},
     "\"a" FFFD "b\"",
     "\"a\\ufffdb\""},
    {{"\x80", 1}, "\"" FFFD "\"", "\"\\ufffd\""},
    {{"\xc3", 1}, "\"" FFFD "\"", "\"\\ufffd\""},
    {{"\xc3(", 2}, "\"" FFFD "(\"", "\"\\ufffd(\""},
    {{"\xe2\x82", 2}, "\"" FFFD "\"", "\"\\ufffd\""},
    {{"\xe2\x82(", 3}, "\"" FFFD "(\"", "\"\\ufffd(\""},
    {{"\xf0\x9f\x98", 3}, "\"" FFFD "\"", "\"\\ufffd\""},
    {{"\xf0\x9f\xc3\xa9", 4}, "\"" FFFD "\xc3\xa9\"", "\"\\ufffd\\u00e9\""},
    {{"\xc0\xaf", 2}, "\"" FFFD FFFD "\"", "\"\\ufffd\\ufffd\""},
    {{"\xe0\x80\xaf", 3}, "\"" FFFD FFFD FFFD "\"", "\"\\ufffd\\ufffd\\ufffd\""},
    {{"\xed\xa0\x80", 3}, "\"" FFFD FFFD FFFD "\"", "\"\\ufffd\\ufffd\\ufffd\""},
    {{"\xf4\x90\x80\x80", 4}, "\"" FFFD FFFD FFFD FFFD "\"", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    {{"\xf8\x88\x80\x80\x80", 5},
     "\"" FFFD FFFD FFFD FFFD FFFD "\"",
     "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\""},
};

static void check_string(struct slice in, bool ascii, const char *want) {
    struct buf b;
    char *exact = malloc(in.len > 0 ? in.len : 1);
    assert_non_null(exact);
    memcpy(exact, in.ptr, in.len);
    buf_init(&b, 1000);
    assert_true(json_add_string(&b, slice_make(exact, in.len), ascii));
    buf_addc(&b, '\0');
    assert_string_equal(buf_slice(&b).ptr, want);
    buf_consume(&b, 0);
    buf_free(&b);
    free(exact);
}

static void json_writes_strings(void **state) {
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        check_string(strings[i].in, false, strings[i].utf8);
        check_string(strings[i].in, true, strings[i].ascii);
    }
}

/* Whatever the bytes: what is written is JSON, and ASCII where that was asked for. */
static void json_writes_json_for_any_bytes(void **state) {
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char in[12];
        struct buf b;
        for (size_t i = 0; i < sizeof in; i++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            in[i] = (char)(seed >> 33 & 1 ? 0x80 | seed >> 56 : seed >> 56);
        }
        for (int ascii = 0; ascii < 2; ascii++) {
            buf_init(&b, 1000);
            assert_true(json_add_string(&b, slice_make(in, sizeof in), ascii != 0));
            assert_int_equal(fault_of(buf_slice(&b)), JSON_OK);
            for (size_t i = 0; ascii && i < buf_len(&b); i++)
                assert_in_range(buf_slice(&b).ptr[i], 0x20, 0x7e);
            buf_free(&b);
        }
    }
}

/* Every code point comes back as it was, through either form. */
static void json_keeps_every_code_point(void **state) {
    for (uint32_t cp = 1; cp <= 0x10ffff;
         cp += cp < 0x3000 || (cp > 0xd000 && cp < 0x10100) ? 1 : 61) {
        if (cp >= 0xd800 && cp < 0xe000) continue;
        char in[4];
        size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n - 1; i > 0; i--) in[i] = (char)(0x80 | (cp >> 6 * (n - 1 - i) & 0x3f));
        in[0] = (char)(lead[n] | cp >> 6 * (n - 1));
        for (int ascii = 0; ascii < 2; ascii++) {
            struct buf b;
            struct json_error e;
            buf_init(&b, 100);
            json_add_string(&b, slice_make(in, n), ascii != 0);
            yyjson_doc *doc = json_parse(buf_slice(&b), &e);
            if (!slice_eq(json_str(yyjson_doc_get_root(doc)), slice_make(in, n)))
                fail_msg("U+%04X", cp);
            yyjson_doc_free(doc);
            buf_free(&b);
        }
    }
}

static void json_writes_values(void **state) {
    static const char text[] =
        "{ \"a\" : [1, -0, 2.5, \"caf\xc3\xa9 \\ud83d\\ude00\"], \"b\": {} }";
    struct json_error e;
    struct buf b;
    yyjson_doc *doc = json_parse(SLICE(text), &e);
    buf_init(&b, 1000);
    assert_true(json_add_value(&b, yyjson_doc_get_root(doc), false));
    assert_true(
        slice_is(buf_slice(&b), "{\"a\":[1,0,2.5,\"caf\xc3\xa9 \xf0\x9f\x98\x80\"],\"b\":{}}") ||
        slice_is(buf_slice(&b), "{\"a\":[1,-0,2.5,\"caf\xc3\xa9 \xf0\x9f\x98\x80\"],\"b\":{}}"));
    buf_reset(&b, 1000);
    assert_true(json_add_value(&b, json_get(yyjson_doc_get_root(doc), "a"), true));
    for (size_t i = 0; i < buf_len(&b); i++) assert_in_range(buf_slice(&b).ptr[i], 0x20, 0x7e);
    assert_int_equal(fault_of(buf_slice(&b)), JSON_OK);
    buf_reset(&b, 0);
    assert_false(json_add_value(&b, NULL, false));
    assert_true(b.failed);
    buf_free(&b);
    buf_init(&b, 3);
    assert_false(json_add_value(&b, yyjson_doc_get_root(doc), false));
    assert_false(json_add_string(&b, SLICE("abcd"), true));
    buf_free(&b);
    yyjson_doc_free(doc);
}

/* Plain bytes are passed eight at a time: every byte must be seen wherever it lies among them. */
static void json_escapes_a_byte_at_every_position(void **state) {
    (void)state;
    for (unsigned c = 0; c < 256; c++)
        for (size_t at = 0; at < 19; at++) {
            char text[20];
            struct buf whole, one;
            memset(text, 'a' + (int)at % 26, sizeof text);
            text[at] = (char)c;
            buf_init(&whole, 1024);
            buf_init(&one, 1024);
            json_add_string(&whole, slice_make(text, sizeof text), true);
            json_add_string(&one, slice_make(text + at, 1), true);
            struct slice escaped = buf_slice(&one), got = buf_slice(&whole);
            assert_int_equal(got.len, escaped.len + sizeof text - 1);
            assert_memory_equal(got.ptr + 1, text, at);
            assert_memory_equal(got.ptr + 1 + at, escaped.ptr + 1, escaped.len - 2);
            assert_memory_equal(got.ptr + at + escaped.len - 1, text + at + 1,
                                sizeof text - at - 1);
            buf_free(&whole);
            buf_free(&one);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_says_what_is_wrong),
        cmocka_unit_test(json_refuses_depth_65_and_takes_64),
        cmocka_unit_test(json_finds_a_key_twice_in_objects_of_any_size),
        cmocka_unit_test(json_refuses_more_than_65536_members),
        cmocka_unit_test(json_refuses_more_than_262144_values),
        cmocka_unit_test(json_counts_depth_of_siblings_apart),
        cmocka_unit_test(json_says_where_it_is_too_deep),
        cmocka_unit_test(json_gets_members),
        cmocka_unit_test(json_writes_strings),
        cmocka_unit_test(json_writes_json_for_any_bytes),
        cmocka_unit_test(json_keeps_every_code_point),
        cmocka_unit_test(json_escapes_a_byte_at_every_position),
        cmocka_unit_test(json_writes_values),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
