/* One streamed answer as it arrives: an incremental reader of an HTTP/1.1 answer whose body is
 * server-sent events. It counts and checks, it keeps no text. Nothing of src/. */
#ifndef BENCH_SSE_H
#define BENCH_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sse_state { SSE_HEAD, SSE_SIZE, SSE_DATA, SSE_DATA_END, SSE_TRAILER, SSE_ENDED, SSE_BAD };

/* All zero is the beginning of an answer. */
struct sse {
    enum sse_state state;
    int status;
    size_t events;        /* ended by a blank line; comments do not count */
    size_t bytes;         /* of the answer, head and framing included */
    size_t event_bytes;   /* of the event at hand */
    size_t largest_bytes; /* of an event */
    bool whole;           /* the last event says that the answer is complete */
    /* inside */
    char line[2048]; /* head or size line so far */
    size_t line_len, chunk_left;
    char tail[512]; /* the last bytes of the body, to recognize its end */
    size_t tail_len;
    char event_first, last;
};

/* Takes bytes until the answer ends; returns how many it took (all, unless the answer ended). */
size_t sse_feed(struct sse *s, const char *p, size_t n);

#endif
