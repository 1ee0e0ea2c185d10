#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t system_mono_ms(void *user) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000U + (uint64_t)t.tv_nsec / 1000000U;
}

static int64_t system_wall_ms(void *user) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const struct clock clock_system = {system_mono_ms, system_wall_ms, NULL};

static void iso(int64_t wall_ms, const char *zone, char *out) {
    time_t s = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    struct tm tm;
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    gmtime_r(&s, &tm);
    size_t n = strftime(out, CLOCK_ISO_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, CLOCK_ISO_BYTES - n, ".%03d000%s", ms, zone);
}

void clock_iso8601(int64_t wall_ms, char *out) {
    iso(wall_ms, "Z", out);
}

void clock_iso8601_bare(int64_t wall_ms, char *out) {
    iso(wall_ms, "", out);
}
