/* Server-sent events as in WHATWG's HTML standard, pure. Lines may end in LF, CR or CRLF; comments, `id`, `retry` are
 * read over; several `data` lines are joined with LF. Bytes are kept until a line is whole, so a character cut between
 * two reads is never harmed. */
#ifndef ANYLLM_BASE_SSE_H
#define ANYLLM_BASE_SSE_H

#include "base/buf.h"

struct sse_reader {
    struct buf line, data;
    struct slice event_name; /* of the event being read, points into `name` */
    char name[64];
    bool after_cr, seen_first_line, has_data, failed;
};

struct sse_event {
    struct slice name; /* "" when none was given */
    struct slice data; /* both valid until the next call */
};

enum sse_result { SSE_MORE, SSE_EVENT, SSE_COMMENT, SSE_TOO_LONG };

/* The largest line, and the data of the largest event. */
void sse_init(struct sse_reader *r, size_t max_line_bytes, size_t max_event_bytes);
void sse_free(struct sse_reader *r);
/* Consumes from the front of data up to and including the end of one event (*used); call again with the rest.
 * SSE_MORE: everything was consumed. SSE_COMMENT: a comment line was read (a sign of life). An event whose blank line
 * never comes is not given: EOF without it means a cut stream. An event of one data line lying whole in `data` is given
 * without a copy. SSE_TOO_LONG: a line or an event passed its maximum (or memory ended: sse_no_memory); it stays so. Names of events
 * are cut at 64 bytes. */
enum sse_result sse_feed(struct sse_reader *r, const char *data, size_t len, size_t *used,
                         struct sse_event *out);
/* True when the reader holds the beginning of an event or line: at EOF, that the stream was cut. */
bool sse_pending(const struct sse_reader *r);

static inline bool sse_no_memory(const struct sse_reader *r) {
    return r->line.no_memory || r->data.no_memory;
}

#endif
