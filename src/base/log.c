#include "base/log.h"

#include "base/clock.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES 2048

static atomic_int current = LOG_INFO;
static atomic_uint_fast64_t dropped;
static const char *const names[] = {"error", "warn", "info", "debug", "trace"};

void log_set_level(enum log_level level) {
    atomic_store(&current, (int)level);
}

enum log_level log_get_level(void) {
    return (enum log_level)atomic_load(&current);
}

bool log_level_parse(struct slice name, enum log_level *out) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!slice_is(name, names[i])) continue;
        *out = (enum log_level)i;
        return true;
    }
    return false;
}

/* Asked first: stderr is shared with others, so it cannot be made non-blocking. What a pipe says it takes is PIPE_BUF
 * at least, more than a line. */
static bool takes_a_line(void) {
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static void emit(char *line, size_t len) {
    if (len > LINE_BYTES - 1) len = LINE_BYTES - 1;
    line[len] = '\n';
    if (!takes_a_line() || write(STDERR_FILENO, line, len + 1) != (ssize_t)(len + 1))
        atomic_fetch_add(&dropped, 1);
}

static size_t clip(size_t at, int n) {
    at += n > 0 ? (size_t)n : 0;
    return at < LINE_BYTES - 1 ? at : LINE_BYTES - 1;
}

__attribute__((format(printf, 4, 0))) static void vline(enum log_level level, const char *event,
                                                        const char *rid, const char *fmt,
                                                        va_list ap) {
    char line[LINE_BYTES], when[CLOCK_ISO_BYTES];
    clock_iso8601(clock_wall_ms(&clock_system), when);
    size_t at = clip(0, snprintf(line, sizeof line, "time=%s level=%s event=%s%s%s", when,
                                 names[level], event, rid != NULL ? " rid=" : "",
                                 rid != NULL ? rid : ""));
    if (fmt[0] != '\0' && at < LINE_BYTES - 2) {
        line[at++] = ' ';
        at = clip(at, vsnprintf(line + at, sizeof line - at, fmt, ap));
    }
    emit(line, at);
}

void log_line(enum log_level level, const char *event, const char *fmt, ...) {
    if ((int)level > atomic_load_explicit(&current, memory_order_relaxed)) return;
    va_list ap;
    va_start(ap, fmt);
    vline(level, event, NULL, fmt, ap);
    va_end(ap);
}

void log_request(enum log_level level, const char *request_id, const char *event, const char *fmt,
                 ...) {
    if ((int)level > atomic_load_explicit(&current, memory_order_relaxed)) return;
    va_list ap;
    va_start(ap, fmt);
    vline(level, event, request_id, fmt, ap);
    va_end(ap);
}

static size_t quote_char(char *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

const char *log_quote(char out[LOG_QUOTE_BYTES], struct slice s) {
    size_t at = 0, i;
    out[at++] = '"';
    for (i = 0; i < s.len && at + 4 + 5 < LOG_QUOTE_BYTES; i++)
        at += quote_char(out + at, (unsigned char)s.ptr[i]);
    if (i < s.len)
        for (int k = 0; k < 3; k++) out[at++] = '.';
    out[at++] = '"';
    out[at] = '\0';
    return out;
}

bool log_allow(struct log_rate *r, unsigned burst) {
    uint64_t second = clock_mono_ms(&clock_system) / 1000;
    if (second != r->second) {
        r->second = second;
        r->count = 0;
    }
    if (r->count < burst) {
        r->count++;
        return true;
    }
    r->suppressed++;
    return false;
}

uint64_t log_dropped(void) {
    return atomic_load(&dropped);
}
