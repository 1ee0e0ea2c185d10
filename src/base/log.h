/* Key=value lines on stderr: time, level, event, then the pairs. One write(2) per line; a line that
 * stderr does not take at once is dropped and counted, the service never waits for its log. */
#ifndef ANYLLM_BASE_LOG_H
#define ANYLLM_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Set once before threads start. Default LOG_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_level_parse(struct slice name, enum log_level *out);

/* `fmt` gives the pairs, already in key=value form; values that may hold spaces or foreign bytes go through
 * log_quote. Example: log_line(LOG_INFO, "listening", "url=http://%s:%d", host, port). No secrets: struct secret
 * has no formatter on purpose. Thread-safe. Returns at once when the level is off. */
void log_line(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with rid=ID as the first pair. */
void log_request(enum log_level level, const char *request_id, const char *event, const char *fmt,
                 ...) __attribute__((format(printf, 4, 5)));

#define LOG_QUOTE_BYTES 256
/* "…" with \", \\ and \xNN escapes, cut with … at the size of out. Returns out. */
const char *log_quote(char out[LOG_QUOTE_BYTES], struct slice s);

/* True at most `burst` times per second per struct: for warnings an attacker can cause. */
struct log_rate {
    uint64_t second;
    unsigned count;
    uint64_t suppressed;
};
bool log_allow(struct log_rate *r, unsigned burst);

uint64_t log_dropped(void); /* lines lost since the start */

#endif
