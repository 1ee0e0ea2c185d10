#include "cmocka_all.h"

#include "api/options.h"

static struct call_options got;

static const char *read_one(const char *name, const char *value) {
    static struct {
        struct h1_head h;
    } box;
    box.h.nheaders = 1;
    box.h.headers[0] = (struct h1_header){slice_of(name), slice_of(value)};
    return options_read(&box.h, &got);
}

static void accepts(const char *name, const char *value) {
    const char *why = read_one(name, value);
    if (why != NULL) fail_msg("%s: %s refused: %s", name, value, why);
}

static void refuses(const char *name, const char *value) {
    const char *why = read_one(name, value);
    if (why == NULL) fail_msg("%s: %s accepted", name, value);
    if (strncmp(why, name, strlen(name)) != 0) fail_msg("%s does not name %s", why, name);
}

static void options_read_a_start_timeout_as_both_clients_write_it(void **state) {
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {{"30", 30000},  {"12.5", 12500},  {"30.0", 30000},   {"0.1", 100},
                {"2", 2000},    {"1e3", 1000000}, {"1e9", 86400000}, {"1000000000.0", 86400000},
                {"0.1001", 101}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        accepts("x-fal-request-timeout", rows[i].text);
        assert_int_equal(got.start_timeout_ms, rows[i].ms);
    }
    static const char *const bad[] = {"",     "0",  "0.001", "-1", "abc", "nan", "inf",
                                      "0x10", "1s", "1 2",   "1e", "--1", "."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refuses("x-fal-request-timeout", bad[i]);
}

static void options_read_priority_and_switches(void **state) {
    accepts("x-fal-queue-priority", "low");
    assert_true(got.low_priority);
    accepts("X-Fal-Queue-Priority", "Normal");
    assert_false(got.low_priority);
    refuses("x-fal-queue-priority", "high");
    accepts("x-fal-no-retry", "yes");
    assert_true(got.no_retry);
    accepts("x-fal-store-io", "0");
    assert_true(got.no_store);
    accepts("x-fal-store-io", "1");
    assert_false(got.no_store);
    refuses("x-fal-store-io", "2");
    accepts("x-app-fal-disable-fallback", "true");
    assert_true(got.no_fallback);
    refuses("x-app-fal-disable-fallback", "maybe");
}

static void options_read_retry_counts_per_class(void **state) {
    accepts("x-fal-retry-config",
            "{\"server_error\":{\"retries\":2},\"timeout\":{\"retries\":0},\"other\":1}");
    assert_int_equal(got.retries_server_error, 2);
    assert_int_equal(got.retries_timeout, 0);
    assert_int_equal(got.retries_connection_error, -1);
    static const char *const bad[] = {"",
                                      "2",
                                      "[]",
                                      "{",
                                      "{\"timeout\":2}",
                                      "{\"timeout\":{}}",
                                      "{\"timeout\":{\"retries\":-1}}",
                                      "{\"timeout\":{\"retries\":10}}",
                                      "{\"timeout\":{\"retries\":1.5}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refuses("x-fal-retry-config", bad[i]);
}

static void options_read_hints_and_tags(void **state) {
    accepts("x-fal-runner-hint", "session-1");
    assert_true(slice_is(got.hint, "session-1"));
    refuses("x-fal-runner-hint", "");
    refuses("x-fal-runner-hint", "a,b");
    refuses("x-fal-runner-hint", "a b");
    accepts("x-fal-tags", "team=a, run=7,empty=");
    assert_true(slice_is(got.tags, "team=a, run=7,empty="));
    refuses("x-fal-tags", "team");
    refuses("x-fal-tags", "=a");
    refuses("x-fal-tags", "a=1,");
    accepts("x-fal-tags", "a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1");
    refuses("x-fal-tags", "a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_read_a_start_timeout_as_both_clients_write_it),
        cmocka_unit_test(options_read_priority_and_switches),
        cmocka_unit_test(options_read_retry_counts_per_class),
        cmocka_unit_test(options_read_hints_and_tags),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
