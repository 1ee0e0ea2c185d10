/* The seam for time: rooms that decide by time take a struct clock, tests give their own.
 * `mono_ms` counts through suspend (CLOCK_BOOTTIME) and is what deadlines are made of;
 * `wall_ms` (Unix time) is for people and records, never for a decision. */
#ifndef ANYLLM_BASE_CLOCK_H
#define ANYLLM_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*mono_ms)(void *user);
    int64_t (*wall_ms)(void *user);
    void *user;
};

extern const struct clock clock_system;

static inline uint64_t clock_mono_ms(const struct clock *c) {
    return c->mono_ms(c->user);
}

static inline int64_t clock_wall_ms(const struct clock *c) {
    return c->wall_ms(c->user);
}

#define CLOCK_ISO_BYTES 28
/* "2026-11-23T15:37:17.120314Z"-like, UTC, microseconds are milliseconds * 1000; out holds CLOCK_ISO_BYTES. */
void clock_iso8601(int64_t wall_ms, char *out);
/* The same without the zone: "2024-12-20T15:37:17.120314", as fal's log entries have it. */
void clock_iso8601_bare(int64_t wall_ms, char *out);

#endif
