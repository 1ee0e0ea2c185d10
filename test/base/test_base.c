/* Slices, arena, buffer, clock, randomness, secrets, log quoting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/hex.h"
#include "base/random.h"
#include "base/secret.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define assert_slice(s, text) assert_true(slice_is((s), (text)))

/* --- slices */

static void slice_compares(void **state) {
    assert_true(slice_eq(SLICE("ab"), SLICE("ab")));
    assert_false(slice_eq(SLICE("ab"), SLICE("abc")));
    assert_false(slice_eq(SLICE("ab"), SLICE("aB")));
    assert_true(slice_eq(SLICE_NONE, SLICE("")));
    assert_true(slice_eq_nocase(SLICE("Content-LENGTH"), SLICE("content-length")));
    assert_false(slice_eq_nocase(SLICE("a@"), SLICE("a`")));
    assert_false(slice_eq_nocase(SLICE("\xc3\x89"), SLICE("\xc3\xa9"))); /* ASCII only */
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
    assert_false(slice_starts(SLICE("a"), SLICE("ab")));
    assert_true(slice_ends(SLICE("abc"), SLICE("bc")));
    assert_false(slice_ends(SLICE("c"), SLICE("bc")));
}

static void slice_takes_none_for_empty(void **state) {
    assert_true(slice_starts(SLICE_NONE, SLICE_NONE));
    assert_true(slice_starts(SLICE_NONE, SLICE("")));
    assert_true(slice_ends(SLICE_NONE, SLICE_NONE));
    assert_true(slice_is(SLICE_NONE, ""));
    assert_int_equal(slice_find(SLICE_NONE, 'x'), -1);
    assert_int_equal(slice_trim(SLICE_NONE).len, 0);
    assert_int_equal(slice_of(NULL).len, 0);
    char *copy = slice_dup(SLICE_NONE);
    assert_string_equal(copy, "");
    free(copy);
}

static void slice_cuts(void **state) {
    struct slice rest;
    assert_slice(slice_cut(SLICE("a=b=c"), '=', &rest), "a");
    assert_slice(rest, "b=c");
    assert_slice(slice_cut(SLICE("a="), '=', &rest), "a");
    assert_int_equal(rest.len, 0);
    assert_non_null(rest.ptr);
    assert_slice(slice_cut(SLICE("a"), '=', &rest), "a");
    assert_null(rest.ptr);
    assert_slice(slice_trim(SLICE(" \t a b\t ")), "a b");
    assert_slice(slice_trim(SLICE(" \t ")), "");
    assert_slice(slice_trim(SLICE("\r\na\n")), "\r\na\n"); /* spaces and tabs only */
    assert_slice(slice_from(SLICE("abc"), 1), "bc");
    assert_int_equal(slice_from(SLICE("abc"), 4).len, 0);
}

static void slice_reads_only_plain_decimal_numbers(void **state) {
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "0x1",
                                      "1e3",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "\xd9\xa1"};
    uint64_t v = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(slice_to_u64(slice_of(bad[i]), &v));
    assert_false(slice_to_u64(SLICE("1\0"), &v));
    assert_int_equal(v, 7);
    assert_true(slice_to_u64(SLICE("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_true(slice_to_u64(SLICE("007"), &v));
    assert_int_equal(v, 7);
    assert_true(slice_to_range(SLICE("5"), 5, 5, &v));
    assert_false(slice_to_range(SLICE("4"), 5, 6, &v));
    assert_false(slice_to_range(SLICE("7"), 5, 6, &v));
}

/* --- arena */

static void arena_gives_aligned_memory_that_stays(void **state) {
    struct arena a;
    char *given[400];
    arena_init(&a, ARENA_MAX_BYTES);
    for (size_t i = 0; i < 400; i++) {
        size_t bytes = 1 + i * 37 % 6000;
        given[i] = arena_alloc(&a, bytes);
        assert_non_null(given[i]);
        assert_int_equal((uintptr_t)given[i] % 16, 0);
        memset(given[i], (int)(i & 127), bytes);
    }
    for (size_t i = 0; i < 400; i++) {
        size_t bytes = 1 + i * 37 % 6000;
        for (size_t k = 0; k < bytes; k++) assert_int_equal(given[i][k], (int)(i & 127));
    }
    arena_free(&a);
}

static void arena_keeps_one_chunk_over_a_reset(void **state) {
    struct arena a;
    arena_init(&a, ARENA_MAX_BYTES);
    char *first = arena_alloc(&a, 100);
    assert_non_null(arena_alloc(&a, 100000));
    assert_non_null(arena_alloc(&a, 50));
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 100), first);
    assert_int_equal(a.used_bytes, ARENA_CHUNK_BYTES);
    arena_free(&a);
}

/* A request whose values are a little over a quarter chunk each must not spend a chunk's free part on every one. */
static void arena_keeps_the_free_part_behind_a_middling_value(void **state) {
    struct arena a;
    arena_init(&a, ARENA_MAX_BYTES);
    char *small = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 2000));
    assert_non_null(arena_alloc(&a, 3000)); /* does not fit */
    char *next = arena_alloc(&a, 16);
    assert_ptr_equal(next, small + 16 + 2000);
    arena_free(&a);
}

static void arena_stays_failed_beyond_its_maximum(void **state) {
    struct arena a;
    arena_init(&a, 10000);
    assert_non_null(arena_alloc(&a, 4000));
    assert_null(arena_alloc(&a, 9000));
    assert_true(a.failed);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    arena_reset(&a);
    assert_false(a.failed);
    assert_non_null(arena_alloc(&a, 5000));
    arena_free(&a);
}

static void arena_copies(void **state) {
    struct arena a;
    arena_init(&a, ARENA_MAX_BYTES);
    assert_string_equal(arena_dup(&a, SLICE("abc")), "abc");
    assert_string_equal(arena_dup(&a, SLICE_NONE), "");
    assert_slice(arena_copy(&a, SLICE("x")), "x");
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "y"), "7-y");
    char *zero = arena_zalloc(&a, 100);
    for (int i = 0; i < 100; i++) assert_int_equal(zero[i], 0);
    arena_free(&a);
}

/* --- buffer */

static void buf_appends_and_consumes(void **state) {
    struct buf b;
    buf_init(&b, 100000);
    assert_slice(buf_slice(&b), "");
    buf_puts(&b, "hello ");
    buf_addc(&b, 'w');
    buf_add(&b, SLICE_NONE);
    buf_printf(&b, "%s %d ", "orld", 42);
    buf_u64(&b, 0);
    buf_u64(&b, UINT64_MAX);
    assert_slice(buf_slice(&b), "hello world 42 018446744073709551615");
    buf_consume(&b, 6);
    assert_slice(buf_slice(&b), "world 42 018446744073709551615");
    buf_consume(&b, 1000);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(b.start, 0);
    buf_free(&b);
}

/* Against a plain model: a queue of counted bytes. */
static void buf_is_a_queue(void **state) {
    struct buf b;
    uint64_t seed = 1;
    unsigned char in = 0, out = 0;
    buf_init(&b, 3000);
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        size_t n = (seed >> 40) % 300;
        if (seed >> 63) {
            if (n > 3000 - buf_len(&b)) n = 3000 - buf_len(&b);
            for (size_t k = 0; k < n; k++) assert_true(buf_addc(&b, (char)in++));
        } else {
            if (n > buf_len(&b)) n = buf_len(&b);
            for (size_t k = 0; k < n; k++)
                assert_int_equal((unsigned char)buf_slice(&b).ptr[k], out++);
            buf_consume(&b, n);
        }
    }
    assert_false(b.failed);
    buf_free(&b);
}

static void buf_stays_failed_beyond_its_maximum(void **state) {
    struct buf b;
    size_t len;
    buf_init(&b, 10);
    assert_true(buf_add(&b, SLICE("0123456789")));
    assert_false(buf_addc(&b, 'x'));
    assert_true(b.failed);
    buf_consume(&b, 5);
    assert_false(buf_addc(&b, 'x')); /* sticky */
    assert_null(buf_take(&b, &len));
    buf_reset(&b, 0);
    assert_false(b.failed);
    assert_null(b.base);
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_free(&b);
    buf_init(&b, 10);
    assert_true(buf_puts(&b, "0123456789"));
    buf_consume(&b, 4);
    assert_true(buf_puts(&b, "abcd"));
    assert_slice(buf_slice(&b), "456789abcd");
    assert_false(buf_printf(&b, "%d", 1));
    buf_free(&b);
}

static void buf_hands_out_a_terminated_string(void **state) {
    struct buf b;
    size_t len = 9;
    buf_init(&b, 1000);
    char *empty = buf_take(&b, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    buf_puts(&b, "xabc");
    buf_consume(&b, 1);
    char *s = buf_take(&b, &len);
    assert_string_equal(s, "abc");
    assert_int_equal(len, 3);
    assert_int_equal(buf_len(&b), 0);
    assert_true(buf_puts(&b, "again"));
    buf_free(&b);
    free(empty);
    free(s);
}

/* --- clock, randomness */

static void clock_writes_iso_8601(void **state) {
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000"},
        {1, "1970-01-01T00:00:00.001000"},
        {-1, "1969-12-31T23:59:59.999000"},
        {-1000, "1969-12-31T23:59:59.000000"},
        {1734709037120, "2024-12-20T15:37:17.120000"},
        {1709164800000, "2024-02-29T00:00:00.000000"},
        {2147483648000, "2038-01-19T03:14:08.000000"},
        {253402300799999, "9999-12-31T23:59:59.999000"},
    };
    char out[CLOCK_ISO_BYTES + 4], want[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clock_iso8601_bare(cases[i].ms, out);
        assert_string_equal(out, cases[i].text);
        clock_iso8601(cases[i].ms, out);
        snprintf(want, sizeof want, "%sZ", cases[i].text);
        assert_string_equal(out, want);
    }
    memset(out, '#', sizeof out);
    clock_iso8601(INT64_MAX, out);
    assert_int_equal(out[CLOCK_ISO_BYTES], '#');
    clock_iso8601(INT64_MIN, out);
    assert_int_equal(out[CLOCK_ISO_BYTES], '#');
}

static void clock_goes_forward(void **state) {
    uint64_t before = clock_mono_ms(&clock_system);
    assert_true(clock_mono_ms(&clock_system) >= before);
    assert_true(clock_wall_ms(&clock_system) > 1700000000000);
}

static void random_uuid_is_version_4(void **state) {
    char a[UUID_BYTES], b[UUID_BYTES];
    for (int round = 0; round < 1000; round++) {
        random_uuid(&random_system, a);
        assert_int_equal(strlen(a), 36);
        for (int i = 0; i < 36; i++) {
            if (i == 8 || i == 13 || i == 18 || i == 23)
                assert_int_equal(a[i], '-');
            else
                assert_true(isxdigit((unsigned char)a[i]) && !isupper((unsigned char)a[i]));
        }
        assert_int_equal(a[14], '4');
        assert_non_null(strchr("89ab", a[19]));
        random_uuid(&random_system, b);
        assert_string_not_equal(a, b);
    }
}

static void counted_fill(void *user, void *out, size_t bytes) {
    unsigned char *next = user;
    for (size_t i = 0; i < bytes; i++) ((unsigned char *)out)[i] = (*next)++;
}

static void random_is_a_seam(void **state) {
    unsigned char next = 0;
    struct random r = {counted_fill, &next};
    char id[UUID_BYTES];
    random_uuid(&r, id);
    assert_string_equal(id, "00010203-0405-4607-8809-0a0b0c0d0e0f");
}

static void random_below_stays_below_and_meets_all(void **state) {
    unsigned seen[7] = {0};
    for (int i = 0; i < 7000; i++) {
        uint64_t v = random_below(&random_system, 7);
        assert_in_range(v, 0, 6);
        seen[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 600, 1500); /* 1,000 +- 14 standard deviations */
    assert_int_equal(random_below(&random_system, 1), 0);
    assert_true(random_below(&random_system, UINT64_MAX) < UINT64_MAX);
}

/* The highest draws would make small results likelier: they are drawn again. */
static void high_then_five(void *user, void *out, size_t bytes) {
    int *calls = user;
    memset(out, (*calls)++ == 0 ? 0xff : 0, bytes);
    if (*calls > 1) *(unsigned char *)out = 5;
}

static void random_below_has_no_bias(void **state) {
    int calls = 0;
    struct random r = {high_then_five, &calls};
    assert_int_equal(random_below(&r, 10), 5);
    assert_int_equal(calls, 2);
}

static void random_fills_more_than_its_pool(void **state) {
    unsigned char big[2000] = {0};
    size_t zeros = 0;
    random_fill(&random_system, big, sizeof big);
    for (size_t i = 0; i < sizeof big; i++) zeros += big[i] == 0;
    assert_true(zeros < 60);
}

/* --- secrets */

static void secret_holds_and_forgets(void **state) {
    struct secret s = {0};
    assert_false(secret_is_set(&s));
    assert_true(secret_set(&s, SLICE("key-1")));
    assert_true(secret_is_set(&s));
    assert_slice(secret_reveal(&s), "key-1");
    assert_string_equal(s.bytes, "key-1");
    assert_true(secret_set(&s, secret_reveal(&s))); /* of itself */
    assert_slice(secret_reveal(&s), "key-1");
    secret_free(&s);
    assert_false(secret_is_set(&s));
    secret_free(&s);
    char text[] = "secret";
    secret_wipe(text, sizeof text);
    assert_memory_equal(text, "\0\0\0\0\0\0", sizeof text);
}

static void secret_hashes_with_sha_256(void **state) {
    static const unsigned char abc[SECRET_HASH_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const unsigned char empty[4] = {0xe3, 0xb0, 0xc4, 0x42};
    unsigned char got[SECRET_HASH_BYTES];
    for (int i = 0; i < 3; i++) { /* the context is used again */
        assert_true(secret_sha256(SLICE("abc"), got));
        assert_true(secret_equal(got, abc, sizeof got));
        assert_true(secret_sha256(SLICE(""), got));
        assert_memory_equal(got, empty, sizeof empty);
    }
    got[31] ^= 1;
    unsigned char other[SECRET_HASH_BYTES];
    assert_true(secret_sha256(SLICE(""), other));
    assert_false(secret_equal(got, other, sizeof got));
}

/* --- log */

static void log_quote_escapes_what_would_break_a_line(void **state) {
    char out[LOG_QUOTE_BYTES];
    assert_string_equal(log_quote(out, SLICE("")), "\"\"");
    assert_string_equal(log_quote(out, SLICE("a b=c")), "\"a b=c\"");
    assert_string_equal(log_quote(out, SLICE("a\"b\\c")), "\"a\\\"b\\\\c\"");
    assert_string_equal(log_quote(out, SLICE("a\r\nb\t\x1b[31m\0\x7f")),
                        "\"a\\x0d\\x0ab\\x09\\x1b[31m\\x00\\x7f\"");
    assert_string_equal(log_quote(out, SLICE("\xc3\xa9")), "\"\\xc3\\xa9\"");
}

static void log_quote_cuts_at_its_size(void **state) {
    for (int c = 0; c < 256; c += 17) {
        for (size_t len = 50; len < 300; len++) {
            char in[300], out[LOG_QUOTE_BYTES + 1];
            memset(in, c, len);
            out[LOG_QUOTE_BYTES] = '#';
            log_quote(out, slice_make(in, len));
            assert_int_equal(out[LOG_QUOTE_BYTES], '#');
            size_t n = strlen(out);
            assert_true(n < LOG_QUOTE_BYTES);
            assert_int_equal(out[n - 1], '"');
            if (len == 299) assert_memory_equal(out + n - 4, "...\"", 4);
        }
    }
}

static void log_levels_have_names(void **state) {
    enum log_level level = LOG_TRACE;
    assert_true(log_level_parse(SLICE("warn"), &level));
    assert_int_equal(level, LOG_WARN);
    assert_false(log_level_parse(SLICE("WARN"), &level));
    assert_false(log_level_parse(SLICE(""), &level));
    assert_int_equal(level, LOG_WARN);
}

static void log_allow_bounds_a_second(void **state) {
    struct log_rate r = {0};
    unsigned allowed = 0;
    for (int i = 0; i < 1000; i++) allowed += log_allow(&r, 5);
    assert_in_range(allowed, 5, 10); /* 10: the second turned on the way */
    assert_int_equal(r.suppressed, 1000 - allowed);
}

/* Whoever reads our stderr may stop: a full pipe must not stop us. Without an answer the alarm ends the test. */
static void log_drops_what_stderr_does_not_take(void **state) {
    int own = dup(STDERR_FILENO), ends[2];
    char line[256];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    alarm(20);
    uint64_t before = log_dropped();
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 10000; i++) log_line(LOG_INFO, "test", "text=%.*s", (int)sizeof line, line);
    alarm(0);
    uint64_t dropped = log_dropped() - before;
    assert_int_equal(read(ends[0], line, 5), 5);
    dup2(own, STDERR_FILENO);
    assert_memory_equal(line, "time=", 5);
    assert_in_range(dropped, 9000, 9999); /* 64 KiB were taken */
    close(own);
    close(ends[0]);
    close(ends[1]);
}

static void hex_is_written_and_read_whole(void **state) {
    unsigned char all[256], back[256];
    char text[513];
    for (size_t i = 0; i < 256; i++) all[i] = (unsigned char)i;
    hex_write(text, all, 256);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_read(slice_of(text), back, 256));
    assert_memory_equal(all, back, 256);
    assert_true(hex_read(SLICE("aBFf"), back, 2) && back[0] == 0xab && back[1] == 0xff);
    assert_false(hex_read(SLICE("abc"), back, 1) || hex_read(SLICE("abcd"), back, 1));
    assert_false(hex_read(SLICE("0g"), back, 1) || hex_read(SLICE("/0"), back, 1));
}

static void uuid7_begins_with_the_time(void **state) {
    char a[UUID_BYTES], b[UUID_BYTES];
    random_uuid7(&random_system, 0x0123456789ab, a);
    random_uuid7(&random_system, 0x0123456789ab, b);
    assert_memory_equal(a, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", a[19]));
    assert_int_equal(strlen(a), 36);
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_compares),
        cmocka_unit_test(slice_takes_none_for_empty),
        cmocka_unit_test(slice_cuts),
        cmocka_unit_test(slice_reads_only_plain_decimal_numbers),
        cmocka_unit_test(hex_is_written_and_read_whole),
        cmocka_unit_test(uuid7_begins_with_the_time),
        cmocka_unit_test(arena_gives_aligned_memory_that_stays),
        cmocka_unit_test(arena_keeps_one_chunk_over_a_reset),
        cmocka_unit_test(arena_keeps_the_free_part_behind_a_middling_value),
        cmocka_unit_test(arena_stays_failed_beyond_its_maximum),
        cmocka_unit_test(arena_copies),
        cmocka_unit_test(buf_appends_and_consumes),
        cmocka_unit_test(buf_is_a_queue),
        cmocka_unit_test(buf_stays_failed_beyond_its_maximum),
        cmocka_unit_test(buf_hands_out_a_terminated_string),
        cmocka_unit_test(clock_writes_iso_8601),
        cmocka_unit_test(clock_goes_forward),
        cmocka_unit_test(random_uuid_is_version_4),
        cmocka_unit_test(random_is_a_seam),
        cmocka_unit_test(random_below_stays_below_and_meets_all),
        cmocka_unit_test(random_below_has_no_bias),
        cmocka_unit_test(random_fills_more_than_its_pool),
        cmocka_unit_test(secret_holds_and_forgets),
        cmocka_unit_test(secret_hashes_with_sha_256),
        cmocka_unit_test(log_quote_escapes_what_would_break_a_line),
        cmocka_unit_test(log_quote_cuts_at_its_size),
        cmocka_unit_test(log_levels_have_names),
        cmocka_unit_test(log_allow_bounds_a_second),
        cmocka_unit_test(log_drops_what_stderr_does_not_take),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
