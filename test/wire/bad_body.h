/* docs/bad-input.md, bodies, as data: what is sent as the body of a direct call, a stream and a submit. */
#ifndef ANYLLM_TEST_WIRE_BAD_BODY_H
#define ANYLLM_TEST_WIRE_BAD_BODY_H

#include <stddef.h>

/* What is refused at submit, what is accepted there and replayed as the result (field values, as fal does), and what is
 * good. */
enum when { AT_ONCE, AS_RESULT, GOOD };

struct row {
    const char *name, *body;
    size_t len;
    enum when when;
    const char *says, *says_too; /* in the 422; NULL: anything */
};

/* clang-format off */
#define ROW(name, body, when, says, too) {name, body, sizeof(body) - 1, when, says, too}
#define NOT_JSON(name, body) ROW(name, body, AT_ONCE, "\"type\":\"json_invalid\"", "\"msg\":\"JSON decode error\"")
#define NO_OBJECT(name, body) ROW(name, body, AT_ONCE, "\"loc\":[\"body\"]", NULL)
#define UNICODE(name, body) ROW(name, body, AT_ONCE, "\"msg\":\"invalid unicode\"", NULL)
#define FIELD(name, body, field, too) ROW(name, body, AS_RESULT, "\"loc\":[\"body\",\"" field "\"]", too)
#define PROMPT(name, value) FIELD(name, "{\"prompt\":" value "}", "prompt", "\"type\":\"string_type\"")
#define TEXT(name, bytes) UNICODE(name, "{\"prompt\":\"" bytes "\"}")
#define WITH(rest) "{\"prompt\":\"x\"," rest "}"
#define TEN(s) s s s s s s s s s s
#define DEEP_63(open) TEN(open) TEN(open) TEN(open) TEN(open) TEN(open) TEN(open) open open open

static const struct row rows[] = {
    ROW("J0_a_good_body_is_200", "{\"prompt\":\"x\"}", GOOD, NULL, NULL),

    NOT_JSON("J1_not_JSON_is_422", "hello"),
    NOT_JSON("J1_truncated_is_422", "{\"prompt\":\"x\""),
    NOT_JSON("J1_truncated_in_a_string_is_422", "{\"prompt\":\"x"),
    NOT_JSON("J1_open_brace_is_422", "{"),
    NOT_JSON("J1_trailing_comma_is_422", "{\"prompt\":\"x\",}"),
    NOT_JSON("J1_single_quotes_are_422", "{'prompt':'x'}"),
    NOT_JSON("J1_two_values_are_422", "{\"prompt\":\"x\"}{\"prompt\":\"y\"}"),
    NOT_JSON("J1_words_behind_are_422", "{\"prompt\":\"x\"} y"),
    NOT_JSON("J1_comment_is_422", "{\"prompt\":\"x\"/**/}"),
    NOT_JSON("J1_unquoted_key_is_422", "{prompt:\"x\"}"),
    NOT_JSON("J1_control_in_string_is_422", "{\"prompt\":\"x\ny\"}"),
    NOT_JSON("J1_raw_NUL_is_422", "{\"prompt\":\"x\0y\"}"),
    NOT_JSON("J1_NUL_behind_is_422", "{\"prompt\":\"x\"}\0"),
    NOT_JSON("J1_blank_is_422", " \r\n\t "),
    NOT_JSON("J1_form_is_422", "prompt=x"),
    NO_OBJECT("J1_array_is_422", "[{\"prompt\":\"x\"}]"),
    NO_OBJECT("J1_string_is_422", "\"x\""),
    NO_OBJECT("J1_number_is_422", "1"),
    NO_OBJECT("J1_null_is_422", "null"),
    NO_OBJECT("J1_true_is_422", "true"),

    ROW("J3_depth_64_is_200", WITH("\"a\":" DEEP_63("[") DEEP_63("]")), GOOD, NULL, NULL),
    ROW("J3_depth_65_is_422", WITH("\"a\":[" DEEP_63("[") DEEP_63("]") "]"), AT_ONCE, "nesting deeper than 64", NULL),
    ROW("J3_depth_65_of_objects_is_422", WITH("\"a\":[" DEEP_63("{\"a\":") "1" DEEP_63("}") "]"), AT_ONCE, "nesting deeper than 64", NULL),
    ROW("J3_brackets_in_a_string_are_200", "{\"prompt\":\"[" DEEP_63("[") "[{\"}", GOOD, NULL, NULL),

    PROMPT("J4_number_is_422", "1"),
    PROMPT("J4_true_is_422", "true"),
    PROMPT("J4_array_is_422", "[\"x\"]"),
    PROMPT("J4_object_is_422", "{\"x\":\"y\"}"),
    FIELD("J4_null_is_422", "{\"prompt\":null}", "prompt", NULL),
    FIELD("J4_missing_is_422", "{}", "prompt", "\"type\":\"missing\""),
    FIELD("J4_other_case_is_missing", "{\"Prompt\":\"x\"}", "prompt", "\"type\":\"missing\""),
    FIELD("J4_system_prompt_number_is_422", WITH("\"system_prompt\":1"), "system_prompt", "\"type\":\"string_type\""),

    ROW("J5_duplicate_key_is_422", "{\"prompt\":\"x\",\"prompt\":\"y\"}", AT_ONCE, "duplicate key", NULL),
    ROW("J5_same_value_is_422", "{\"prompt\":\"x\",\"prompt\":\"x\"}", AT_ONCE, "duplicate key", NULL),
    ROW("J5_duplicate_by_escape_is_422", "{\"prompt\":\"x\",\"\\u0070rompt\":\"y\"}", AT_ONCE, "duplicate key", NULL),
    ROW("J5_duplicate_further_in_is_422", WITH("\"a\":[{\"b\":1,\"c\":2,\"b\":3}]"), AT_ONCE, "duplicate key", NULL),
    ROW("J5_duplicate_of_an_unknown_key_is_422", WITH("\"z\":1,\"z\":2"), AT_ONCE, "duplicate key", NULL),
    ROW("J5_empty_keys_are_422", WITH("\"\":1,\"\":2"), AT_ONCE, "duplicate key", NULL),

    NOT_JSON("J6_NaN_is_422", WITH("\"temperature\":NaN")),
    NOT_JSON("J6_Infinity_is_422", WITH("\"temperature\":Infinity")),
    NOT_JSON("J6_minus_Infinity_is_422", WITH("\"temperature\":-Infinity")),
    ROW("J6_1e400_is_422", WITH("\"temperature\":1e400"), AT_ONCE, NULL, NULL),
    ROW("J6_1e400_elsewhere_is_422", WITH("\"a\":-1e400"), AT_ONCE, NULL, NULL),
    NOT_JSON("J6_leading_zero_is_422", WITH("\"max_tokens\":01")),
    NOT_JSON("J6_plus_is_422", WITH("\"max_tokens\":+1")),
    NOT_JSON("J6_hexadecimal_is_422", WITH("\"max_tokens\":0x1")),
    ROW("J6_minus_0_is_200", WITH("\"temperature\":-0"), GOOD, NULL, NULL),
    ROW("J6_1_point_0_for_an_integer_is_200", WITH("\"max_tokens\":1.0"), GOOD, NULL, NULL),
    FIELD("J6_1_point_5_for_an_integer_is_422", WITH("\"max_tokens\":1.5"), "max_tokens", NULL),
    FIELD("J6_2_to_the_53_and_1_is_422", WITH("\"max_tokens\":9007199254740993"), "max_tokens", NULL),
    FIELD("J6_2_to_the_64_is_422", WITH("\"max_tokens\":18446744073709551616"), "max_tokens", NULL),
    ROW("J6_2_to_the_53_and_1_elsewhere_is_200", WITH("\"a\":9007199254740993"), GOOD, NULL, NULL),

    TEXT("J7_lone_high_surrogate_is_422", "\\ud800"),
    TEXT("J7_lone_low_surrogate_is_422", "\\udc00"),
    TEXT("J7_high_surrogate_then_a_letter_is_422", "\\ud83dx"),
    TEXT("J7_two_high_surrogates_are_422", "\\ud83d\\ud83d"),
    TEXT("J7_swapped_surrogates_are_422", "\\ude00\\ud83d"),
    TEXT("J7_byte_ff_is_422", "\xff"),
    TEXT("J7_lone_continuation_is_422", "\x80"),
    TEXT("J7_cut_sequence_is_422", "\xe2\x82"),
    TEXT("J7_overlong_is_422", "\xc0\xaf"),
    TEXT("J7_overlong_of_three_is_422", "\xe0\x80\xaf"),
    TEXT("J7_surrogate_in_UTF_8_is_422", "\xed\xa0\x80"),
    TEXT("J7_beyond_10FFFF_is_422", "\xf4\x90\x80\x80"),
    UNICODE("J7_in_a_key_is_422", WITH("\"\xff\":1")),
    UNICODE("J7_lone_surrogate_in_a_key_is_422", WITH("\"\\ud800\":1")),
    ROW("J7_byte_order_mark_is_422", "\xef\xbb\xbf{\"prompt\":\"x\"}", AT_ONCE, NULL, NULL),
    ROW("J7_utf_16_is_422", "\xff\xfe{\0}\0", AT_ONCE, NULL, NULL),
    ROW("J7_a_pair_of_surrogates_is_200", "{\"prompt\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"}", GOOD, NULL, NULL),

    ROW("J8_escaped_NUL_is_200", "{\"prompt\":\"before\\u0000after\"}", GOOD, NULL, NULL),

    FIELD("J10_unknown_model_is_422", WITH("\"model\":\"nobody/nothing\""), "model", "\"msg\":\"unknown model\""),
    FIELD("J10_empty_model_is_422", WITH("\"model\":\"\""), "model", "\"msg\":\"unknown model\""),
    FIELD("J10_star_is_422", WITH("\"model\":\"*\""), "model", "\"msg\":\"unknown model\""),
    FIELD("J10_model_number_is_422", WITH("\"model\":1"), "model", "\"type\":\"string_type\""),
    FIELD("J10_model_array_is_422", WITH("\"model\":[\"test/a\"]"), "model", "\"type\":\"string_type\""),

    FIELD("J11_temperature_minus_1_is_422", WITH("\"temperature\":-1"), "temperature", "\"ctx\":{\"ge\":0"),
    FIELD("J11_temperature_2_point_1_is_422", WITH("\"temperature\":2.1"), "temperature", "\"ctx\":{\"le\":2"),
    FIELD("J11_temperature_text_is_422", WITH("\"temperature\":\"0.5\""), "temperature", NULL),
    FIELD("J11_temperature_true_is_422", WITH("\"temperature\":true"), "temperature", NULL),
    FIELD("J11_max_tokens_0_is_422", WITH("\"max_tokens\":0"), "max_tokens", "\"ctx\":{\"ge\":1"),
    FIELD("J11_max_tokens_minus_1_is_422", WITH("\"max_tokens\":-1"), "max_tokens", "\"ctx\":{\"ge\":1"),
    FIELD("J11_max_tokens_1e9_is_422", WITH("\"max_tokens\":1e9"), "max_tokens", "\"ctx\":{\"le\":"),
    FIELD("J11_max_tokens_text_is_422", WITH("\"max_tokens\":\"5\""), "max_tokens", NULL),
    FIELD("J11_reasoning_number_is_422", WITH("\"reasoning\":1"), "reasoning", NULL),
    FIELD("J11_unknown_priority_is_422", WITH("\"priority\":\"money\""), "priority", "\"expected\":["),
    FIELD("J11_image_urls_text_is_422", WITH("\"image_urls\":\"https://a.example/x.png\""), "image_urls", NULL),
    FIELD("J11_image_url_of_a_file_is_422", WITH("\"image_url\":\"file:///etc/passwd\""), "image_url", NULL),
    ROW("J11_bounds_are_200", WITH("\"temperature\":2,\"max_tokens\":1"), GOOD, NULL, NULL),
    ROW("J11_null_is_not_given", WITH("\"temperature\":null,\"max_tokens\":null,\"model\":null"), GOOD, NULL, NULL),

    ROW("K11_fields_of_the_server_are_ignored", WITH("\"user_id\":\"app2\",\"is_admin\":true,\"budget\":1e9,\"status\":\"COMPLETED\",\"owner\":\"x\",\"request_id\":\"x\""), GOOD, NULL, NULL),
};
/* clang-format on */

#define NROWS (sizeof rows / sizeof *rows)

#endif
