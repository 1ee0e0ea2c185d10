/* Times as callers write them, and the calendar's spans. Pure. */
#include "api/platform_time.h"

#define DAY_MS 86400000LL

/* Days since 1970 of a date of the proleptic Gregorian calendar; years begin in March, so that the day that leaps is last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400, of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool digits(struct slice *s, size_t n, int64_t *out) {
    uint64_t v;
    if (s->len < n || !slice_to_u64(slice_make(s->ptr, n), &v)) return false;
    *out = (int64_t)v;
    *s = slice_from(*s, n);
    return true;
}

static bool sign(struct slice *s, const char *any) {
    if (s->len == 0 || strchr(any, s->ptr[0]) == NULL) return false;
    *s = slice_from(*s, 1);
    return true;
}

static bool read_date(struct slice *s, int64_t *days) {
    static const int64_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day;
    if (!digits(s, 4, &year) || !sign(s, "-") || !digits(s, 2, &month) || !sign(s, "-") ||
        !digits(s, 2, &day) || month < 1 || month > 12)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    *days = days_of(year, month, day);
    return day >= 1 && day <= lengths[month - 1] + (month == 2 && leap);
}

/* .123456: what is below a millisecond does not count. */
static bool read_fraction(struct slice *s, int64_t *ms) {
    *ms = 0;
    if (!sign(s, ".,")) return true;
    size_t before = s->len;
    for (int64_t scale = 100, d; digits(s, 1, &d); scale /= 10) *ms += d * scale;
    return s->len < before;
}

static bool read_clock(struct slice *s, int64_t *ms) {
    int64_t hour, minute, second = 0, fraction = 0;
    if (!digits(s, 2, &hour) || !sign(s, ":") || !digits(s, 2, &minute)) return false;
    if (sign(s, ":") && (!digits(s, 2, &second) || !read_fraction(s, &fraction))) return false;
    *ms = ((hour * 60 + minute) * 60 + second) * 1000 + fraction;
    return hour < 24 && minute < 60 && second <= 60;
}

/* A plus that nobody escaped has become a space. */
static bool read_offset(struct slice *s, int64_t *ms) {
    int64_t hour, minute;
    bool west = s->len > 0 && s->ptr[0] == '-';
    if (!sign(s, "+- ") || !digits(s, 2, &hour)) return false;
    sign(s, ":");
    if (!digits(s, 2, &minute) || hour > 23 || minute > 59) return false;
    *ms = (hour * 60 + minute) * (west ? -60000 : 60000);
    return true;
}

bool platform_zone(struct slice text, int64_t *ms) {
    *ms = 0;
    if (slice_is(text, "UTC") || slice_is(text, "GMT") || slice_is(text, "Z")) return true;
    return read_offset(&text, ms) && text.len == 0 && *ms >= -14 * 3600000LL &&
           *ms <= 14 * 3600000LL;
}

bool platform_time(struct slice text, int64_t *ms) {
    int64_t days, clock = 0, offset = 0;
    if (!read_date(&text, &days)) return false;
    if (text.len > 0 && (!sign(&text, "Tt ") || !read_clock(&text, &clock))) return false;
    if (text.len > 0 && !sign(&text, "Zz") && !read_offset(&text, &offset)) return false;
    *ms = days * DAY_MS + clock - offset;
    return text.len == 0;
}

/* --- buckets, in the zone's own time */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* The first day of the month of a day, both counted from 1970; plus some months. */
static int64_t month_start(int64_t day, int64_t months) {
    int64_t z = day + 719468, era = floor_div(z, 146097), of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
    int64_t count = (year + era * 400) * 12 + m + 2 + months; /* months since January of year 0 */
    return days_of(floor_div(count, 12), count - floor_div(count, 12) * 12 + 1, 1);
}

int64_t platform_bucket(enum platform_frame frame, int64_t east_ms, int64_t at_ms, int64_t later) {
    static const int64_t lengths[] = {60000, 3600000, DAY_MS, 7 * DAY_MS};
    int64_t local = at_ms + east_ms;
    if (frame == FRAME_MONTH)
        return month_start(floor_div(local, DAY_MS), later) * DAY_MS - east_ms;
    /* 1970 began on a Thursday */
    int64_t length = lengths[frame], first = frame == FRAME_WEEK ? 4 * DAY_MS : 0;
    return (floor_div(local - first, length) + later) * length + first - east_ms;
}
