/* msgpack to JSON and back: rows of bytes, also cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/msgpack_json.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_BYTES (64U << 20)

static bool image_url_is_a_file(void *user, struct slice member) {
    return slice_is(member, "image_url") || slice_is(member, "image_urls");
}

static const struct row {
    const char *id, *bytes;
    size_t len;
    const char *json; /* NULL: a fault */
} rows[] = {
#define ROW(id, bytes, json) {id, bytes, sizeof(bytes) - 1, json}
    ROW("map", "\x81\xa6prompt\xa2hi", "{\"prompt\":\"hi\"}"),
    ROW("empty_map", "\x80", "{}"),
    ROW("array", "\x93\x01\xff\xc0", "[1,-1,null]"),
    ROW("bools", "\x92\xc2\xc3", "[false,true]"),
    ROW("uints", "\x94\xcc\xff\xcd\xff\xff\xce\xff\xff\xff\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        "[255,65535,4294967295,18446744073709551615]"),
    ROW("ints", "\x94\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
        "[-128,-32768,-2147483648,-9223372036854775808]"),
    ROW("floats", "\x92\xca\x3f\x00\x00\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "[0.5,1.5]"),
    ROW("str_8_16_32",
        "\x93\xd9\x01"
        "a\xda\x00\x01"
        "b\xdb\x00\x00\x00\x01"
        "c",
        "[\"a\",\"b\",\"c\"]"),
    ROW("array_16_32", "\x92\xdc\x00\x01\x01\xdd\x00\x00\x00\x01\x02", "[[1],[2]]"),
    ROW("map_16_32", "\x92\xde\x00\x01\xa1x\x01\xdf\x00\x00\x00\x01\xa1y\x02",
        "[{\"x\":1},{\"y\":2}]"),
    ROW("escapes",
        "\xa5"
        "a\"\\\n\x01",
        "\"a\\u0022\\u005c\\u000a\\u0001\""),
    ROW("nul_in_text",
        "\xa3"
        "a\0b",
        "\"a\\u0000b\""),
    ROW("utf8", "\xa3\xe2\x82\xac", "\"\xe2\x82\xac\""),
    ROW("file", "\x81\xa9image_url\xc4\x04\x89PNG",
        "{\"image_url\":\"data:image/png;base64,iVBORw==\"}"),
    ROW("files", "\x81\xaaimage_urls\x92\xc4\x03\xff\xd8\xff\xc4\x00",
        "{\"image_urls\":[\"data:image/jpeg;base64,/9j/\",\"data:application/octet-stream;base64,\"]}"),
    ROW("file_where_none_is", "\x81\xa6prompt\xc4\x02hi", NULL),
    ROW("file_of_a_nested_name", "\x81\xa1x\x81\xa9image_url\xc4\x01y", NULL),
    ROW("file_alone", "\xc4\x02hi", NULL),
    ROW("file_after_its_member", "\x82\xa9image_url\xa1x\xa1p\xc4\x01y", NULL),
    ROW("ext", "\xd4\x01x", NULL),
    ROW("timestamp", "\xd6\xff\0\0\0\0", NULL),
    ROW("ext_8", "\xc7\x01\x01x", NULL),
    ROW("never_used", "\xc1", NULL),
    ROW("nothing", "", NULL),
    ROW("two_values", "\x01\x02", NULL),
    ROW("name_no_string", "\x81\x01\x02", NULL),
    ROW("name_of_bytes", "\x81\xc4\x01x\x02", NULL),
    ROW("nan", "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", NULL),
    ROW("infinity", "\xca\x7f\x80\x00\x00", NULL),
    ROW("array_of_4_billion", "\xdd\xff\xff\xff\xff", NULL),
    ROW("map_of_4_billion", "\xdf\xff\xff\xff\xff\xa1x", NULL),
    ROW("str_of_4_gb", "\xdb\xff\xff\xff\xffx", NULL),
    ROW("html", "<html>", NULL),
    ROW("json", "{\"prompt\":1}", NULL),
};

static void msgpack_to_json_is_the_same_value(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        buf_init(&b, MAX_BYTES);
        const char *why = msgpack_to_json(slice_make(rows[i].bytes, rows[i].len),
                                          image_url_is_a_file, NULL, &b);
        if ((why == NULL) != (rows[i].json != NULL) ||
            (why == NULL && !slice_is(buf_slice(&b), rows[i].json)))
            fail_msg("%s: %s %.*s", rows[i].id, why, SLICE_ARG(buf_slice(&b)));
        buf_free(&b);
    }
}

/* Minimal images have no locale with a decimal comma. */
static void msgpack_floats_have_a_point_in_every_locale(void **state) {
    static const char in[] = "\x93\xcb\xbf\xf8\0\0\0\0\0\0\xcb\x7f\xef\xff\xff\xff\xff\xff\xff"
                             "\xcb\x40\x08\0\0\0\0\0\0";
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL) {
        printf("skip: no locale de_DE.UTF-8\n");
        skip();
    }
    struct buf b;
    buf_init(&b, MAX_BYTES);
    assert_null(msgpack_to_json(slice_make(in, sizeof in - 1), NULL, NULL, &b));
    setlocale(LC_NUMERIC, "C");
    assert_true(slice_is(buf_slice(&b), "[-1.5,1.7976931348623157e+308,3]"));
    buf_free(&b);
}

/* In memory of its own, so that a read past the end is seen. */
static void msgpack_cut_anywhere_is_a_fault(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t n = 0; n < rows[i].len && rows[i].json != NULL; n++) {
            struct buf b;
            char *copy = malloc(n + 1);
            assert_non_null(copy);
            memcpy(copy + 1, rows[i].bytes, n);
            buf_init(&b, MAX_BYTES);
            const char *why = msgpack_to_json(slice_make(copy + 1, n), image_url_is_a_file, NULL,
                                              &b);
            if (why == NULL || strstr(why, "cut short") == NULL)
                fail_msg("%s cut at %zu: %s", rows[i].id, n, why);
            buf_free(&b);
            free(copy);
        }
    }
}

/* n arrays in each other around a 1. */
static bool reads_nested(size_t n) {
    struct buf b;
    char *in = malloc(n + 1);
    assert_non_null(in);
    memset(in, 0x91, n);
    in[n] = 1;
    buf_init(&b, MAX_BYTES);
    bool ok = msgpack_to_json(slice_make(in, n + 1), NULL, NULL, &b) == NULL;
    buf_free(&b);
    free(in);
    return ok;
}

static void msgpack_depth_is_bounded(void **state) {
    assert_true(reads_nested(MSGPACK_MAX_DEPTH));
    assert_false(reads_nested(MSGPACK_MAX_DEPTH + 1));
    assert_false(reads_nested(1000000));
}

static void msgpack_number_of_values_is_bounded(void **state) {
    struct buf b;
    size_t n = JSON_MAX_VALUES;
    char *in = calloc(1, n + 5);
    assert_non_null(in);
    in[0] = (char)0xdd;
    for (unsigned i = 0; i < 4; i++) in[1 + i] = (char)(n >> (24 - 8 * i));
    buf_init(&b, MAX_BYTES);
    assert_string_equal(msgpack_to_json(slice_make(in, n + 5), NULL, NULL, &b),
                        "the message has too many values");
    in[4]--;
    in[3]--;
    in[4] = (char)0xff; /* one less, with the array itself as many as may be */
    in[2] = 3;
    in[3] = (char)0xff;
    assert_null(msgpack_to_json(slice_make(in, n + 4), NULL, NULL, &b));
    buf_free(&b);
    free(in);
}

static void msgpack_over_the_buffer_is_a_fault(void **state) {
    struct buf b;
    buf_init(&b, 5);
    assert_string_equal(msgpack_to_json(SLICE("\xa6prompt"), NULL, NULL, &b),
                        "the message is too large");
    buf_free(&b);
}

static void json_goes_and_comes_back(void **state) {
    static const char *const texts[] = {
        "{\"output\":\"\xe2\x82\xac\",\"partial\":true,\"error\":null,\"usage\":{\"cost\":0.0001,\"n\":-5,"
        "\"big\":18446744073709551615,\"list\":[1,2.5,\"x\",false]}}",
        "[]",
        "{}",
        "\"\"",
        "0",
        "-1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf packed, text;
        struct json_error err;
        buf_init(&packed, MAX_BYTES);
        buf_init(&text, MAX_BYTES);
        assert_true(msgpack_from_json(slice_of(texts[i]), &packed));
        assert_null(msgpack_to_json(buf_slice(&packed), NULL, NULL, &text));
        yyjson_doc *a = json_parse(slice_of(texts[i]), &err),
                   *b = json_parse(buf_slice(&text), &err);
        assert_true(yyjson_equals(yyjson_doc_get_root(a), yyjson_doc_get_root(b)));
        yyjson_doc_free(a);
        yyjson_doc_free(b);
        buf_free(&packed);
        buf_free(&text);
    }
    struct buf none;
    buf_init(&none, MAX_BYTES);
    assert_false(msgpack_from_json(SLICE("{"), &none));
    buf_free(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msgpack_to_json_is_the_same_value),
        cmocka_unit_test(msgpack_floats_have_a_point_in_every_locale),
        cmocka_unit_test(msgpack_cut_anywhere_is_a_fault),
        cmocka_unit_test(msgpack_depth_is_bounded),
        cmocka_unit_test(msgpack_number_of_values_is_bounded),
        cmocka_unit_test(msgpack_over_the_buffer_is_a_fault),
        cmocka_unit_test(json_goes_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
