/* Times and buckets of the platform API. */
#include "cmocka_all.h"

#include "api/platform_time.h"

#include <stdio.h>
#include <time.h>

static int64_t at(const char *text) {
    int64_t ms;
    if (!platform_time(slice_of(text), &ms)) fail_msg("%s is no time", text);
    return ms;
}

static void times_are_read_in_all_their_forms(void **state) {
    assert_int_equal(at("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(at("1970-01-01"), 0);
    assert_int_equal(at("2026-11-23T12:34:56.789Z"), 1795437296789);
    assert_int_equal(at("2026-11-23t12:34:56.789123456z"), 1795437296789);
    assert_int_equal(at("2026-11-23 12:34:56,7Z"), 1795437296700);
    assert_int_equal(at("2026-11-23T12:34Z"), 1795437240000);
    assert_int_equal(at("2026-11-23T14:34:56+02:00"), 1795437296000);
    assert_int_equal(at("2026-11-23T14:34:56 02:00"),
                     1795437296000); /* a plus that became a space */
    assert_int_equal(at("2026-11-23T07:04:56-0530"), 1795437296000);
    assert_int_equal(at("2026-11-23T12:34:56"), 1795437296000);
    assert_int_equal(at("1969-12-31T23:59:59.999Z"), -1);
    assert_int_equal(at("0000-01-01"), -62167219200000);
    assert_int_equal(at("9999-12-31T23:59:59Z"), 253402300799000);
    assert_int_equal(at("2024-02-29") - at("2024-02-28"), 86400000);
}

static void what_is_no_time_is_refused(void **state) {
    static const char *const texts[] = {"",
                                        "2026",
                                        "2026-11",
                                        "2026-11-23T",
                                        "2026-11-23T12",
                                        "2026-11-23T12:",
                                        "2026-11-23T12:34:56.Z",
                                        "2026-11-23T24:00Z",
                                        "2026-11-23T12:60Z",
                                        "2026-11-23T12:34:61Z",
                                        "2026-00-01",
                                        "2026-13-01",
                                        "2026-01-00",
                                        "2026-01-32",
                                        "2026-02-29",
                                        "1900-02-29",
                                        "2026-11-23T12:34:56+2:00",
                                        "2026-11-23T12:34:56+24:00",
                                        "2026-11-23T12:34:56Zx",
                                        "20261123",
                                        "yesterday",
                                        "1795437296",
                                        "-026-11-23",
                                        "2026-11-23T12:34:56+02:60",
                                        "+2026-11-23"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t ms;
        if (platform_time(slice_of(texts[i]), &ms)) fail_msg("%s was taken", texts[i]);
    }
}

static void zones_are_utc_or_an_offset(void **state) {
    static const struct {
        const char *text;
        int64_t minutes;
        bool ok;
    } rows[] = {{"UTC", 0, true},      {"Z", 0, true},         {"+05:30", 330, true},
                {" 05:30", 330, true}, {"-08:00", -480, true}, {"+14:00", 840, true},
                {"+14:01", 0, false},  {"-15:00", 0, false},   {"Europe/Berlin", 0, false},
                {"utc+1", 0, false},   {"", 0, false},         {"+5", 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ms;
        assert_int_equal(platform_zone(slice_of(rows[i].text), &ms), rows[i].ok);
        if (rows[i].ok) assert_int_equal(ms, rows[i].minutes * 60000);
    }
}

static void check(enum platform_frame frame, int64_t east_min, const char *time, int64_t later,
                  const char *want) {
    int64_t got = platform_bucket(frame, east_min * 60000, at(time), later);
    if (got != at(want)) fail_msg("%s gave %lld, not %s", time, (long long)got, want);
}

static void buckets_follow_the_calendar(void **state) {
    check(FRAME_MINUTE, 0, "2026-11-23T12:34:56Z", 0, "2026-11-23T12:34:00Z");
    check(FRAME_HOUR, 0, "2026-11-23T12:34:56Z", 1, "2026-11-23T13:00:00Z");
    check(FRAME_HOUR, 330, "2026-11-23T12:34:56Z", 0, "2026-11-23T12:30:00Z");
    check(FRAME_DAY, 0, "2026-11-23T12:34:56Z", 0, "2026-11-23");
    check(FRAME_DAY, -480, "2026-11-23T07:59:59Z", 0, "2026-11-22T00:00:00-08:00");
    check(FRAME_WEEK, 0, "2026-11-23T00:00:00Z", 0, "2026-11-23"); /* a Monday */
    check(FRAME_WEEK, 0, "2026-11-22T23:59:59Z", 0, "2026-11-16");
    check(FRAME_WEEK, 60, "2026-11-22T23:59:59Z", 0, "2026-11-23T00:00:00+01:00");
    check(FRAME_WEEK, 0, "1969-12-31", 0, "1969-12-29");
    check(FRAME_MONTH, 0, "2026-11-23T12:34:56Z", 0, "2026-11-01");
    check(FRAME_MONTH, 0, "2026-12-31T23:59:59Z", 1, "2027-01-01");
    check(FRAME_MONTH, 0, "2024-02-29T12:00:00Z", 0, "2024-02-01");
    check(FRAME_MONTH, 0, "2024-02-29T12:00:00Z", 1, "2024-03-01");
    check(FRAME_MONTH, 330, "2026-10-31T18:30:00Z", 0, "2026-11-01T00:00:00+05:30");
    check(FRAME_MONTH, 0, "1969-12-31T23:59:59Z", 0, "1969-12-01");
}

/* Every day of eight centuries against the C library's calendar. */
static void months_agree_with_the_c_librarys(void **state) {
    for (time_t t = -12622780800; t < 12622780800; t += 86400) {
        struct tm tm;
        gmtime_r(&t, &tm);
        char want[40];
        snprintf(want, sizeof want, "%04d-%02d-01", tm.tm_year + 1900, tm.tm_mon + 1);
        if (platform_bucket(FRAME_MONTH, 0, (int64_t)t * 1000, 0) != at(want))
            fail_msg("%lld is not in %s", (long long)t, want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_in_all_their_forms),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(zones_are_utc_or_an_offset),
        cmocka_unit_test(buckets_follow_the_calendar),
        cmocka_unit_test(months_agree_with_the_c_librarys),
    };
    return cmocka_run_group_tests_name("api_platform_time", tests, NULL, NULL);
}
