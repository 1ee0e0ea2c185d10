#include "api/files_range.h"

#include <time.h>

/* --- dates */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* The program stays in the C locale. */
void http_date(int64_t wall_ms, char out[HTTP_DATE_BYTES]) {
    time_t s = (time_t)(wall_ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    if (strftime(out, HTTP_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &t) == 0) out[0] = '\0';
}

static bool number(struct slice s, size_t at, size_t n, int max, int *out) {
    uint64_t v;
    struct slice digits = slice_make(s.ptr + at, n);
    if (n == 2 && digits.ptr[0] == ' ') digits = slice_from(digits, 1); /* asctime's day */
    if (!slice_to_range(digits, 0, (uint64_t)max, &v)) return false;
    *out = (int)v;
    return true;
}

static bool month(struct slice s, size_t at, int *out) {
    for (int i = 0; i < 12; i++) {
        if (memcmp(s.ptr + at, months + 3 * i, 3) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static bool clock_at(struct slice s, size_t at, struct tm *t) {
    return s.ptr[at + 2] == ':' && s.ptr[at + 5] == ':' && number(s, at, 2, 23, &t->tm_hour) &&
           number(s, at + 3, 2, 59, &t->tm_min) && number(s, at + 6, 2, 60, &t->tm_sec);
}

static bool date_and_year(struct slice s, size_t day, size_t mon, size_t year, size_t nyear,
                          struct tm *t) {
    bool ok = number(s, day, 2, 31, &t->tm_mday) && t->tm_mday > 0 && month(s, mon, &t->tm_mon) &&
              number(s, year, nyear, 9999, &t->tm_year);
    if (nyear == 2) t->tm_year += t->tm_year < 70 ? 100 : 0;
    if (nyear == 4) t->tm_year -= 1900;
    return ok;
}

bool http_date_read(struct slice s, int64_t *wall_ms) {
    struct tm t = {0};
    ptrdiff_t comma = slice_find(s, ',');
    bool ok = false;
    if (s.len == 29 && comma == 3) /* Sun, 06 Nov 1994 08:49:37 GMT */
        ok = date_and_year(s, 5, 8, 12, 4, &t) && clock_at(s, 17, &t) &&
             slice_ends(s, SLICE(" GMT"));
    else if (s.len == 24 && comma < 0) /* Sun Nov  6 08:49:37 1994 */
        ok = date_and_year(s, 8, 4, 20, 4, &t) && clock_at(s, 11, &t);
    else if (comma > 3 && s.len == (size_t)comma + 24) { /* Sunday, 06-Nov-94 08:49:37 GMT */
        struct slice d = slice_from(s, (size_t)comma + 2);
        ok = d.ptr[2] == '-' && date_and_year(d, 0, 3, 7, 2, &t) && clock_at(d, 10, &t);
    }
    if (ok) *wall_ms = (int64_t)timegm(&t) * 1000;
    return ok;
}

/* --- conditions */

/* Strong: a weak one matches nothing. If-None-Match compares weakly, so there W/ is cut. */
static bool lists_etag(const struct h1_head *h, const char *name, struct slice etag, bool weak) {
    for (size_t i = 0; i < h->nheaders; i++) {
        struct slice rest = h->headers[i].value;
        if (!slice_eq_nocase(h->headers[i].name, slice_of(name))) continue;
        if (slice_is(rest, "*")) return true;
        while (rest.ptr != NULL) {
            struct slice one = slice_trim(slice_cut(rest, ',', &rest));
            if (weak && slice_starts(one, SLICE("W/"))) one = slice_from(one, 2);
            if (slice_eq(one, etag)) return true;
        }
    }
    return false;
}

static struct slice header(const struct h1_head *h, const char *name) {
    return h1_get(h, slice_of(name), NULL);
}

/* Last-Modified is told in whole seconds. */
static bool modified_since(const struct h1_head *h, const char *name, int64_t modified_ms,
                           bool otherwise) {
    int64_t then;
    if (!http_date_read(header(h, name), &then)) return otherwise;
    return modified_ms / 1000 > then / 1000;
}

static unsigned judge(const struct h1_head *h, struct slice etag, int64_t modified_ms) {
    if (header(h, "if-match").ptr != NULL) {
        if (!lists_etag(h, "if-match", etag, false)) return 412;
    } else if (header(h, "if-unmodified-since").ptr != NULL &&
               modified_since(h, "if-unmodified-since", modified_ms, false)) {
        return 412;
    }
    if (header(h, "if-none-match").ptr != NULL)
        return lists_etag(h, "if-none-match", etag, true) ? 304 : 200;
    if (header(h, "if-modified-since").ptr != NULL &&
        !modified_since(h, "if-modified-since", modified_ms, true))
        return 304;
    return 200;
}

/* --- ranges */

/* The part is of the very file the caller has already: its ETag, or exactly its date. */
static bool range_holds(const struct h1_head *h, struct slice etag, int64_t modified_ms) {
    struct slice v = header(h, "if-range");
    int64_t then;
    if (v.ptr == NULL || slice_eq(v, etag)) return true;
    return http_date_read(v, &then) && then / 1000 == modified_ms / 1000;
}

/* 200: to be ignored, as what is no range of bytes, or more than one, is. */
static struct file_part read_range(struct slice v, uint64_t bytes) {
    struct file_part whole = {200, 0, bytes}, none = {416, 0, 0};
    uint64_t from = 0, to = UINT64_MAX;
    if (v.len < 6 || !slice_eq_nocase(slice_make(v.ptr, 6), SLICE("bytes=")) ||
        slice_find(v, ',') >= 0)
        return whole;
    struct slice rest, first = slice_trim(slice_cut(slice_from(v, 6), '-', &rest));
    if (rest.ptr == NULL) return whole;
    rest = slice_trim(rest);
    if (first.len == 0) { /* the last so many */
        if (!slice_to_u64(rest, &to)) return whole;
        if (to == 0 || bytes == 0) return none;
        return to >= bytes ? (struct file_part){206, 0, bytes}
                           : (struct file_part){206, bytes - to, to};
    }
    if (!slice_to_u64(first, &from) || (rest.len > 0 && !slice_to_u64(rest, &to)) || to < from)
        return whole;
    if (from >= bytes) return none;
    if (to > bytes - 1) to = bytes - 1;
    return (struct file_part){206, from, to - from + 1};
}

struct file_part file_part_asked(const struct h1_head *h, struct slice etag, int64_t modified_ms,
                                 uint64_t bytes) {
    struct file_part whole = {judge(h, etag, modified_ms), 0, bytes};
    size_t n;
    struct slice range = h1_get(h, SLICE("range"), &n);
    if (whole.status != 200 || h->method != H1_GET || n != 1 || !range_holds(h, etag, modified_ms))
        return whole;
    return read_range(range, bytes);
}
