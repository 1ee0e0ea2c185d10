#include "tap.h"

#include "llm/answer.h"

static struct answer_reader reader;

static int set_up(void **state) {
    return answer_init(&reader) ? 0 : 1;
}

static int tear_down(void **state) {
    answer_free(&reader);
    return 0;
}

static void whole_answer_gives_text_usage_and_cost(void **state) {
    struct answer a;
    assert_true(answer_read(
        &reader,
        SLICE(
            "{\"id\":\"gen-1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
            "{\"role\":\"assistant\",\"content\":\"caf\\u00e9 \\ud83d\\ude00\",\"reasoning\":\"hm\"}}],"
            "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":63,\"total_tokens\":75,\"cost\":0.0005595,"
            "\"prompt_tokens_details\":{\"cached_tokens\":5,\"cache_write_tokens\":2},"
            "\"completion_tokens_details\":{\"reasoning_tokens\":9}}}"),
        ANSWER_WHOLE, &a));
    expect_text(a.content, "caf\xc3\xa9 \xf0\x9f\x98\x80");
    expect_text(a.reasoning, "hm");
    expect_text(a.finish_reason, "stop");
    assert_false(a.has_error);
    assert_true(a.usage.known && a.usage.has_cost);
    assert_int_equal(a.usage.prompt_tokens, 12);
    assert_int_equal(a.usage.completion_tokens, 63);
    assert_int_equal(a.usage.total_tokens, 75);
    assert_int_equal(a.usage.cached_tokens, 5);
    assert_int_equal(a.usage.cache_write_tokens, 2);
    assert_int_equal(a.usage.reasoning_tokens, 9);
    assert_int_equal(a.usage.cost_microusd, 560);
    expect_text(
        a.usage.raw,
        "{\"prompt_tokens\":12,\"completion_tokens\":63,\"total_tokens\":75,\"cost\":0.0005595,"
        "\"prompt_tokens_details\":{\"cached_tokens\":5,\"cache_write_tokens\":2},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":9}}");
}

static const struct {
    const char *json, *content, *reasoning, *finish;
} wholes[] = {
    {"{\"choices\":[{\"message\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}", "", "",
     "length"},
    {"{\"choices\":[{\"message\":{\"content\":null}}]}", "", "", ""},
    {"{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{\"type\":\"image\"}]}}]}",
     "ab", "", ""},
    {"{\"choices\":[{\"message\":{\"content\":\"a\",\"reasoning_content\":\"because\"}}]}", "a",
     "because", ""},
    {"{\"choices\":[{\"message\":{\"content\":\"a\",\"reasoning\":null,\"reasoning_content\":\"r\"}}]}",
     "a", "r", ""},
    {"{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"I will not\"}}]}", "I will not",
     "", ""},
    {"\xef\xbb\xbf{\"choices\":[{\"message\":{\"content\":\"bom\"}}],\"extra\":{\"a\":[1,2]}}",
     "bom", "", ""},
    {"{\"choices\":[{\"message\":{\"content\":\"x\\u0000y\"},\"finish_reason\":\"content_filter\"}]}",
     NULL, "", "content_filter"},
};

static void whole_answers_of_every_dialect_are_read(void **state) {
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        struct answer a;
        if (!answer_read(&reader, slice_of(wholes[i].json), ANSWER_WHOLE, &a))
            fail_msg("%s", wholes[i].json);
        if (wholes[i].content != NULL)
            expect_text(a.content, wholes[i].content);
        else
            assert_int_equal(a.content.len, 3); /* a NUL inside stays */
        expect_text(a.reasoning, wholes[i].reasoning);
        expect_text(a.finish_reason, wholes[i].finish);
        assert_false(a.has_error);
        assert_false(a.usage.known);
    }
}

static const char *const bad_wholes[] = {
    "",
    "null",
    "[]",
    "7",
    "\"text\"",
    "<html><body>502</body></html>",
    "{}",
    "{\"choices\":[]}",
    "{\"choices\":null}",
    "{\"choices\":{}}",
    "{\"choices\":[null]}",
    "{\"choices\":[{}]}",
    "{\"choices\":[{\"message\":\"hi\"}]}",
    "{\"choices\":[{\"message\":{\"content\":\"cut",
    "{\"choices\":[{\"message\":{\"content\":\"a\"}}]} trailing"};

static void u12_answers_without_choices_are_bad(void **state) {
    for (size_t i = 0; i < sizeof bad_wholes / sizeof *bad_wholes; i++) {
        struct answer a;
        if (answer_read(&reader, slice_of(bad_wholes[i]), ANSWER_WHOLE, &a))
            fail_msg("%s", bad_wholes[i]);
    }
}

static const struct {
    const char *json, *content, *finish;
    bool ok;
} chunks[] = {
    {"{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}", "", "", true},
    {"{\"choices\":[{\"delta\":{\"content\":\"He\"},\"finish_reason\":null}]}", "He", "", true},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}", "", "stop", true},
    {"{\"choices\":[{\"finish_reason\":\"stop\"}]}", "", "stop", true},
    {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}", "", "", true},
    {"{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}", "", "", true},
    {"{}", "", "", false},
    {"null", "", "", false},
    {"{\"choices\":7}", "", "", false},
    {"[DONE]", "", "", false},
};

static void chunks_are_read(void **state) {
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct answer a;
        assert_int_equal(answer_read(&reader, slice_of(chunks[i].json), ANSWER_CHUNK, &a),
                         chunks[i].ok);
        if (!chunks[i].ok) continue;
        expect_text(a.content, chunks[i].content);
        expect_text(a.finish_reason, chunks[i].finish);
    }
}

static void u14_errors_inside_an_answer_are_seen(void **state) {
    static const struct {
        const char *json, *code, *message;
    } rows[] = {
        {"{\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},\"choices\":[{\"delta\":{\"content\":\"\"},"
         "\"finish_reason\":\"error\"}]}",
         "502", "Provider disconnected"},
        {"{\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}", "server_error", "m"},
        {"{\"error\":\"plain words\"}", "", "plain words"},
        {"{\"choices\":[{\"error\":{\"code\":429,\"message\":\"slow\"},\"delta\":{}}]}", "429",
         "slow"},
        {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a;
        assert_true(answer_read(&reader, slice_of(rows[i].json), ANSWER_CHUNK, &a));
        assert_true(a.has_error);
        expect_text(a.error.code, rows[i].code);
        expect_text(a.error.message, rows[i].message);
    }
    static const struct {
        const char *json, *message, *code;
    } bare[] = {
        {"{\"object\":\"error\",\"message\":\"too long\",\"type\":\"BadRequestError\",\"code\":400}",
         "too long", "400"},
        {"{\"detail\":\"Not Found\"}", "Not Found", ""},
        {"{\"error\":{\"message\":\"a\"},\"detail\":\"b\"}", "a", ""},
    };
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        struct answer a;
        assert_true(answer_read(&reader, slice_of(bare[i].json), ANSWER_WHOLE, &a));
        assert_true(a.has_error);
        expect_text(a.error.code, bare[i].code);
        expect_text(a.error.message, bare[i].message);
    }
    struct answer none;
    assert_true(answer_read(
        &reader, SLICE("{\"error\":null,\"choices\":[{\"message\":{\"content\":\"a\"}}]}"),
        ANSWER_WHOLE, &none));
    assert_false(none.has_error);
    struct answer flagged;
    assert_true(answer_read(
        &reader,
        SLICE("{\"error\":{\"code\":403,\"message\":\"m\",\"metadata\":{\"reasons\":[\"x\"]}}}"),
        ANSWER_WHOLE, &flagged));
    assert_true(flagged.error.flagged);
}

/* An event that only gives a role leaves the choice of another upstream open. */
static void events_say_more_than_a_role_or_not(void **state) {
#define DELTA(text) "{\"choices\":[{\"index\":0,\"delta\":" text "}]}"
    static const struct {
        const char *json;
        bool says, only_usage;
    } rows[] = {
        {DELTA("{\"role\":\"assistant\",\"content\":\"\"}"), false, false},
        {DELTA("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[],\"x\":{}}"), false,
         false},
        {DELTA("{}"), false, false},
        {DELTA("{},\"finish_reason\":null"), false, false},
        {"{\"choices\":[],\"prompt_filter_results\":[1]}", false, false},
        {"{\"choices\":[],\"usage\":null}", false, false},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", false, true},
        {"{\"usage\":{}}", false, true},
        {"{\"choices\":[{\"delta\":{}}],\"usage\":{}}", false, false},
        {DELTA("{\"content\":\"a\"}"), true, false},
        {DELTA("{\"content\":null,\"tool_calls\":[{\"index\":0}]}"), true, false},
        {DELTA("{\"reasoning_details\":[{}]}"), true, false},
        {DELTA("{\"n\":0}"), true, false},
        {DELTA("{},\"finish_reason\":\"stop\""), true, false},
        {"{\"choices\":[{\"delta\":{}},{\"delta\":{}}]}", true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a;
        assert_true(answer_read(&reader, slice_of(rows[i].json), ANSWER_EVENT, &a));
        if (a.says != rows[i].says || a.only_usage != rows[i].only_usage)
            fail_msg("row %zu: %d %d", i, a.says, a.only_usage);
        assert_false(a.repaired);
    }
}

static void u17_text_passed_on_keeps_its_escapes(void **state) {
    struct buf b;
    struct answer a;
    buf_init(&b, 1024);
    assert_true(
        answer_read(&reader, SLICE("{\"choices\":[],\"x\":\"\\ud83d\"}"), ANSWER_CHUNK, &a));
    assert_true(a.repaired);
    assert_true(answer_add_utf8(&b, SLICE("\"\\ud83d\\\\ \xff\xc3\xa9\xe2\x82\"")));
    expect_text(buf_slice(&b), "\"\\ud83d\\\\ \xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\"");
    buf_free(&b);
}

static void u17_broken_characters_become_one_replacement_each(void **state) {
#define WITH(text) "{\"choices\":[{\"message\":{\"content\":\"" text "\"}}]}"
    static const struct {
        const char *json, *want;
    } rows[] = {
        {WITH("a\xff"
              "b"),
         "a\xef\xbf\xbd"
         "b"},
        {WITH("a\xe2\x82"), "a\xef\xbf\xbd"},
        {WITH("\xf0\x9f\x98x"), "\xef\xbf\xbdx"},
        {WITH("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd"},
        {WITH("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {WITH("\\ud83d alone"), "\xef\xbf\xbd alone"},
        {WITH("\\ude00\\u00e9"), "\xef\xbf\xbd\xc3\xa9"},
        {WITH("\\ud83d\\ud83d\\ude00"), "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {WITH("\\\\ud83d \\\" \\ud83d"), "\\ud83d \" \xef\xbf\xbd"},
    };
    uint64_t before = reader.repaired;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a;
        if (!answer_read(&reader, slice_of(rows[i].json), ANSWER_WHOLE, &a)) fail_msg("row %zu", i);
        expect_text(a.content, rows[i].want);
    }
    assert_int_equal(reader.repaired - before, 12);
}

static void u22_odd_usage_is_no_usage(void **state) {
    static const char *const rows[] = {
        "{\"prompt_tokens\":-1,\"completion_tokens\":2,\"cost\":-0.5}",
        "{\"prompt_tokens\":1000000000000,\"completion_tokens\":2,\"cost\":\"free\"}",
        "{\"prompt_tokens\":1.5,\"completion_tokens\":2}",
        "{\"completion_tokens\":2,\"cost\":null}", "{}"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a;
        char json[256];
        snprintf(json, sizeof json, "{\"choices\":[],\"usage\":%s}", rows[i]);
        assert_true(answer_read(&reader, slice_of(json), ANSWER_CHUNK, &a));
        assert_false(a.usage.known);
        assert_false(a.usage.has_cost);
    }
}

static void money_is_exact_and_rounds_half_up(void **state) {
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } rows[] = {
        {"0", 0},
        {"0.0", 0},
        {"1", 1000000},
        {"0.0005595", 560},
        {"0.0005594", 559},
        {"0.0005594999999999999999", 559},
        {"0.0000005", 1},
        {"0.00000049", 0},
        {"0.00000005", 0},
        {"5.595e-4", 560},
        {"5.595E-04", 560},
        {"1e2", 100000000},
        {"1.5e-6", 2},
        {"0.1", 100000},
        {"123456.7890125", 123456789013},
        {"9e-400", 0},
        {"1e-7", 0},
        {"5e-7", 1},
        {"1000000", 1000000000000},
        {"1000001", -1},
        {"1e30", -1},
        {"1e99999999999", -1},
        {"0e99", 0},
        {"-1", -1},
        {"", -1},
        {"x", -1},
        {"1e", -1},
        {"1x", -1},
        {".5", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t got = -1;
        if (!answer_money(slice_of(rows[i].text), &got)) got = -1;
        if (got != rows[i].want) print_error("%s gave %lld\n", rows[i].text, (long long)got);
        assert_int_equal(got, rows[i].want);
    }
}

static int64_t cost_of(struct llm_usage u, int64_t prompt, int64_t completion, int64_t cached) {
    const struct catalogue_model m = {
        .prompt_picousd = prompt, .completion_picousd = completion, .cached_picousd = cached};
    return answer_cost(&u, &m);
}

static void costs_are_summed_before_they_are_rounded(void **state) {
    struct llm_usage u = {.prompt_tokens = 3, .completion_tokens = 1};
    assert_int_equal(cost_of(u, 100000, 200000, -1), 1); /* 0.5 micro-dollars */
    assert_int_equal(cost_of(u, 100000, 199999, -1), 0);
    u.prompt_tokens = u.completion_tokens = 1000000000;
    assert_int_equal(cost_of(u, 1000000000000, 1000000000000, -1), 1000000000000);
}

static void cached_and_reasoning_tokens_are_counted_once(void **state) {
    struct llm_usage u = {.prompt_tokens = 1000,
                          .completion_tokens = 500,
                          .cached_tokens = 600,
                          .reasoning_tokens = 400};
    assert_int_equal(cost_of(u, 1000000, 2000000, -1), 2000);
    assert_int_equal(cost_of(u, 1000000, 2000000, 100000), 1460);
    assert_int_equal(cost_of(u, 1000000, 2000000, 0), 1400);
    u.cached_tokens = 5000; /* more than there are */
    assert_int_equal(cost_of(u, 1000000, 2000000, 100000), 1100);
}

static void answers_larger_than_the_pool_are_read(void **state) {
    struct buf b;
    struct answer a;
    buf_init(&b, 2 << 20);
    buf_puts(&b, "{\"choices\":[{\"message\":{\"content\":\"");
    for (int i = 0; i < 100000; i++) buf_puts(&b, "0123456789");
    buf_puts(&b, "\"}}]}");
    for (int i = 0; i < 2; i++) {
        assert_true(answer_read(&reader, buf_slice(&b), ANSWER_WHOLE, &a));
        assert_int_equal(a.content.len, 1000000);
    }
    buf_free(&b);
}

/* A stack of a kilobyte per level would be a crash: neither yyjson's reader nor ours recurses. */
static void deep_nesting_is_no_crash(void **state) {
    struct buf b;
    struct answer a;
    buf_init(&b, 4 << 20);
    buf_puts(&b, "{\"usage\":");
    for (int i = 0; i < 100000; i++) buf_addc(&b, '[');
    for (int i = 0; i < 100000; i++) buf_addc(&b, ']');
    buf_puts(&b, ",\"choices\":[{\"message\":{\"content\":\"a\"}}]}");
    assert_true(answer_read(&reader, buf_slice(&b), ANSWER_WHOLE, &a));
    expect_text(a.content, "a");
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_summed_before_they_are_rounded),
        cmocka_unit_test(cached_and_reasoning_tokens_are_counted_once),
        cmocka_unit_test(whole_answer_gives_text_usage_and_cost),
        cmocka_unit_test(whole_answers_of_every_dialect_are_read),
        cmocka_unit_test(u12_answers_without_choices_are_bad),
        cmocka_unit_test(chunks_are_read),
        cmocka_unit_test(u14_errors_inside_an_answer_are_seen),
        cmocka_unit_test(events_say_more_than_a_role_or_not),
        cmocka_unit_test(u17_text_passed_on_keeps_its_escapes),
        cmocka_unit_test(u17_broken_characters_become_one_replacement_each),
        cmocka_unit_test(u22_odd_usage_is_no_usage),
        cmocka_unit_test(money_is_exact_and_rounds_half_up),
        cmocka_unit_test(answers_larger_than_the_pool_are_read),
        cmocka_unit_test(deep_nesting_is_no_crash),
    };
    return cmocka_run_group_tests_name("llm/answer", tests, set_up, tear_down);
}
