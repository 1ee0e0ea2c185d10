/* Limits against a clock of the test's own. */
#include "cmocka_all.h"

#include "api/limits.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t now;

static void fill(void *user, void *out, size_t bytes) {
    static unsigned char next = 7;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = next = (unsigned char)(next * 37 + 11);
}

static const struct random fixed = {fill, NULL};

static struct config cfg;
enum { A, B, C, OWNERS };

static size_t account_of(struct limits *l, const char *owner) {
    size_t account = SIZE_MAX;
    assert_true(limits_account(l, slice_of(owner), &account));
    return account;
}

static struct limits *fresh(void) {
    struct limits *l = limits_new(&cfg, &fixed);
    assert_non_null(l);
    assert_int_equal(account_of(l, "team-a"), A);
    assert_int_equal(account_of(l, "team-b"), B);
    assert_int_equal(account_of(l, "c"), C);
    assert_int_equal(account_of(l, "team-a"), A);
    return l;
}

/* How many of `tries` are let through now. */
static size_t let_through(struct limits *l, size_t account, uint32_t limit, size_t tries) {
    size_t n = 0;
    for (size_t i = 0; i < tries; i++) n += limits_request(l, account, limit, now) == 0;
    return n;
}

static void a_rate_lets_its_limit_through_and_refills_evenly(void **state) {
    static const uint32_t limits[] = {1, 2, 7, 60, 600, 1000, 59999};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct limits *l = fresh();
        uint32_t limit = limits[i];
        now = 5000000;
        assert_int_equal(let_through(l, A, limit, limit + 50), limit);
        now += 30000;
        size_t half = let_through(l, A, limit, limit);
        assert_true(half == limit / 2 || half == limit / 2 + 1);
        now += 3600000; /* never more than full */
        assert_int_equal(let_through(l, A, limit, 2 * (size_t)limit), limit);
        limits_free(l);
    }
}

static void a_refusal_says_when_and_takes_nothing(void **state) {
    struct limits *l = fresh();
    now = 1;
    assert_int_equal(let_through(l, A, 3, 3), 3);
    for (int i = 0; i < 1000; i++) assert_int_equal(limits_request(l, A, 3, now), 20000);
    now += 19999;
    assert_int_equal(limits_request(l, A, 3, now), 1);
    now += 1;
    assert_int_equal(limits_request(l, A, 3, now), 0);
    assert_int_equal(limits_request(l, A, 3, now), 20000);
    assert_int_equal(limits_counted(l, LIMIT_REQUESTS), 1002);
    limits_free(l);
}

/* Whatever wait a refusal names: a ms earlier it is too soon, then there is room. */
static void the_time_named_is_right_to_the_millisecond(void **state) {
    static const uint32_t limits[] = {1, 3, 7, 61, 500, 999};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct limits *l = fresh();
        now = 77;
        for (int turn = 0; turn < 50; turn++) {
            uint64_t wait;
            while ((wait = limits_request(l, A, limits[i], now)) == 0) continue;
            now += wait - 1;
            assert_int_equal(limits_request(l, A, limits[i], now), 1);
            now++;
            assert_int_equal(limits_request(l, A, limits[i], now), 0);
        }
        limits_free(l);
    }
}

static void keys_of_one_owner_share_and_others_do_not(void **state) {
    struct limits *l = fresh();
    now = 1000;
    assert_int_equal(let_through(l, A, 10, 4), 4);
    assert_int_equal(let_through(l, A, 10, 4), 4);
    assert_int_equal(let_through(l, A, 10, 4), 2);
    assert_int_equal(let_through(l, B, 10, 20), 10);
    assert_int_equal(let_through(l, C, 10, 20), 10);
    limits_free(l);
}

static void a_limit_of_zero_is_none(void **state) {
    struct limits *l = fresh();
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(limits_request(l, A, 0, 5), 0);
        assert_int_equal(limits_poll(l, A, 0, 5), 0);
        assert_int_equal(limits_call_begin(l, A, 0, 1000000), LIMIT_NONE);
    }
    assert_int_equal(limits_all_calls(l), 100000);
    limits_free(l);
}

static void polls_count_by_the_second_and_apart_from_requests(void **state) {
    struct limits *l = fresh();
    now = 10;
    assert_int_equal(let_through(l, A, 5, 9), 5);
    for (int i = 0; i < 500; i++) assert_int_equal(limits_poll(l, A, 500, now), 0);
    assert_int_equal(limits_poll(l, A, 500, now), 2);
    now += 100;
    for (int i = 0; i < 50; i++) assert_int_equal(limits_poll(l, A, 500, now), 0);
    assert_int_equal(limits_poll(l, A, 500, now), 2);
    assert_int_equal(limits_counted(l, LIMIT_POLLS), 2);
    assert_int_equal(limits_poll(l, A, UINT32_MAX, now + 1), 0);
    limits_free(l);
}

static void calls_at_once_are_bounded_by_owner_and_server(void **state) {
    cfg.max_concurrent_calls = 5;
    struct limits *l = fresh();
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, A, 3, 1), LIMIT_KEY_CALLS); /* one runs in the queue */
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_KEY_CALLS);
    assert_int_equal(limits_call_begin(l, B, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, C, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, C, 3, 0), LIMIT_SERVER_CALLS);
    assert_int_equal(limits_calls(l, A), 3);
    limits_call_end(l, A);
    assert_int_equal(limits_call_begin(l, C, 3, 0), LIMIT_NONE);
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_SERVER_CALLS);
    limits_call_end(l, C);
    assert_int_equal(limits_call_begin(l, A, 3, 0), LIMIT_NONE);
    static const size_t rest[] = {A, A, A, B, C};
    for (size_t i = 0; i < 5; i++) limits_call_end(l, rest[i]);
    assert_int_equal(limits_all_calls(l), 0);
    for (size_t i = 0; i < OWNERS; i++) assert_int_equal(limits_calls(l, i), 0);
    assert_int_equal(limits_counted(l, LIMIT_KEY_CALLS), 2);
    assert_int_equal(limits_counted(l, LIMIT_SERVER_CALLS), 2);
    cfg.max_concurrent_calls = 0;
    limits_free(l);
}

static void owners_come_at_any_time_and_keep_their_accounts(void **state) {
    enum { N = 3000 };
    struct limits *l = fresh();
    char name[16];
    for (size_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "owner-%zu", i);
        assert_int_equal(account_of(l, name), OWNERS + i);
        assert_int_equal(limits_call_begin(l, OWNERS + i, 1, 0), LIMIT_NONE);
    }
    for (size_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "owner-%zu", i);
        assert_int_equal(account_of(l, name), OWNERS + i);
        assert_int_equal(limits_call_begin(l, OWNERS + i, 1, 0), LIMIT_KEY_CALLS);
        limits_call_end(l, OWNERS + i);
    }
    assert_int_equal(limits_all_calls(l), 0);
    limits_free(l);
}

/* --- addresses */

static bool same(const char *a, const char *b) {
    unsigned char x[LIMITS_ADDRESS_BYTES], y[LIMITS_ADDRESS_BYTES];
    limits_address(slice_of(a), x);
    limits_address(slice_of(b), y);
    return memcmp(x, y, sizeof x) == 0;
}

static void an_address_is_a_v4_or_64_bits_of_a_v6(void **state) {
    assert_false(same("1.2.3.4", "1.2.3.5"));
    assert_true(same("1.2.3.4", "::ffff:1.2.3.4"));
    assert_false(same("::ffff:1.2.3.4", "::ffff:1.2.3.5"));
    assert_true(same("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_false(same("2001:db8:0:1::1", "2001:db8:0:2::1"));
    assert_false(same("2001:db8::", "2002:db8::"));
    assert_true(same("unix", ""));
    assert_false(same("unix", "::"));
    assert_false(same("unix", "::1"));
    assert_false(same("unix", "0.0.0.0"));
    unsigned char out[LIMITS_ADDRESS_BYTES];
    char long_text[200];
    memset(long_text, '1', sizeof long_text);
    limits_address(slice_make(long_text, sizeof long_text), out);
}

static uint64_t wrong(struct limits *l, uint32_t v4) {
    unsigned char a[LIMITS_ADDRESS_BYTES];
    char text[32];
    snprintf(text, sizeof text, "%u.%u.%u.%u", v4 >> 24, v4 >> 16 & 255, v4 >> 8 & 255, v4 & 255);
    limits_address(slice_of(text), a);
    return limits_wrong_key(l, a, now);
}

static void wrong_keys_are_limited_by_address(void **state) {
    cfg.max_wrong_keys_per_minute = 100;
    struct limits *l = fresh();
    now = 0; /* even at the very start */
    for (int i = 0; i < 100; i++) assert_int_equal(wrong(l, 0x01020304), 0);
    assert_int_equal(wrong(l, 0x01020304), 600);
    assert_int_equal(wrong(l, 0x01020305), 0);
    now += 600;
    assert_int_equal(wrong(l, 0x01020304), 0);
    assert_int_equal(wrong(l, 0x01020304), 600);
    assert_int_equal(limits_counted(l, LIMIT_WRONG_KEYS), 2);
    limits_free(l);
}

/* Many addresses cannot make the table grow, and a loud one stays in it while quiet ones come and go. */
static void a_flood_of_addresses_forgets_the_quiet_first(void **state) {
    struct limits *l = fresh();
    now = 1000;
    for (int i = 0; i < 100; i++) wrong(l, 0x01020304);
    for (uint32_t i = 0; i < 10 * LIMITS_ADDRESSES; i++) {
        assert_int_equal(wrong(l, 0x0a000000 + i), 0);
        if (i % 100 == 0) assert_true(wrong(l, 0x01020304) > 0);
    }
    assert_true(wrong(l, 0x01020304) > 0);
    limits_free(l);
}

static void every_address_of_a_full_table_has_a_place(void **state) {
    struct limits *l = fresh();
    size_t limited = 0;
    now = 1000;
    for (int turn = 0; turn < 110; turn++)
        for (uint32_t i = 0; i < LIMITS_ADDRESSES / 2; i++) limited += wrong(l, 0x0a000000 + i) > 0;
    /* half full, spread well: nearly all are still known */
    assert_true(limited > LIMITS_ADDRESSES / 2 * 10 * 9 / 10);
    limits_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_lets_its_limit_through_and_refills_evenly),
        cmocka_unit_test(a_refusal_says_when_and_takes_nothing),
        cmocka_unit_test(the_time_named_is_right_to_the_millisecond),
        cmocka_unit_test(keys_of_one_owner_share_and_others_do_not),
        cmocka_unit_test(a_limit_of_zero_is_none),
        cmocka_unit_test(polls_count_by_the_second_and_apart_from_requests),
        cmocka_unit_test(calls_at_once_are_bounded_by_owner_and_server),
        cmocka_unit_test(owners_come_at_any_time_and_keep_their_accounts),
        cmocka_unit_test(an_address_is_a_v4_or_64_bits_of_a_v6),
        cmocka_unit_test(wrong_keys_are_limited_by_address),
        cmocka_unit_test(a_flood_of_addresses_forgets_the_quiet_first),
        cmocka_unit_test(every_address_of_a_full_table_has_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
