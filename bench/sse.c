/* HEAD -> SIZE -> DATA -> DATA_END -> SIZE ... -> TRAILER -> ENDED; anything else is BAD.
 * Answers without chunks end with HEAD -> BAD: a stream that fell back to an error is one. */
#include "sse.h"

#include <stdlib.h>
#include <string.h>

static void keep_tail(struct sse *s, const char *p, size_t n) {
    size_t room = sizeof s->tail;
    if (n >= room) {
        memcpy(s->tail, p + n - room, room);
        s->tail_len = room;
        return;
    }
    size_t keep = s->tail_len + n > room ? room - n : s->tail_len;
    memmove(s->tail, s->tail + s->tail_len - keep, keep);
    memcpy(s->tail + keep, p, n);
    s->tail_len = keep + n;
}

static void end_event(struct sse *s) {
    if (s->event_first != ':') s->events++;
    if (s->event_bytes > s->largest_bytes) s->largest_bytes = s->event_bytes;
    s->event_bytes = 0;
}

/* Events end in two LF: JSON on one line holds neither. */
static void body(struct sse *s, const char *p, size_t n) {
    keep_tail(s, p, n);
    while (n > 0) {
        const char *lf = memchr(p, '\n', n);
        size_t step = lf ? (size_t)(lf - p) + 1 : n;
        if (s->event_bytes == 0) s->event_first = *p;
        bool blank = lf && (step > 1 ? p[step - 2] : s->last) == '\n';
        s->event_bytes += step;
        s->last = p[step - 1];
        if (blank && s->event_bytes > 1) end_event(s);
        p += step;
        n -= step;
    }
}

static bool tail_has(const struct sse *s, const char *text) {
    return memmem(s->tail, s->tail_len, text, strlen(text)) != NULL;
}

static void end_answer(struct sse *s) {
    s->whole = tail_has(s, "data: [DONE]") || tail_has(s, "\"partial\":false,\"error\":null");
    s->state = SSE_ENDED;
}

static void end_line(struct sse *s) {
    switch (s->state) {
    case SSE_HEAD:
        if (s->line_len < 4 || memcmp(s->line + s->line_len - 4, "\r\n\r\n", 4)) return;
        s->line[s->line_len] = 0;
        s->status = s->line_len > 12 ? (int)strtol(s->line + 9, NULL, 10) : 0;
        s->state = strcasestr(s->line, "\r\ntransfer-encoding: chunked\r\n") ? SSE_SIZE : SSE_BAD;
        break;
    case SSE_SIZE:
        s->line[s->line_len] = 0;
        s->chunk_left = strtoul(s->line, NULL, 16);
        s->state = s->chunk_left ? SSE_DATA : SSE_TRAILER;
        break;
    case SSE_DATA_END: s->state = SSE_SIZE; break;
    default:
        if (s->line_len == 2) end_answer(s);
        break;
    }
    s->line_len = 0;
}

static size_t line(struct sse *s, const char *p, size_t n) {
    const char *lf = memchr(p, '\n', n);
    size_t step = lf ? (size_t)(lf - p) + 1 : n;
    if (s->line_len + step >= sizeof s->line) {
        s->state = SSE_BAD;
        return n;
    }
    memcpy(s->line + s->line_len, p, step);
    s->line_len += step;
    if (lf) end_line(s);
    return step;
}

size_t sse_feed(struct sse *s, const char *p, size_t n) {
    size_t used = 0;
    while (used < n && s->state < SSE_ENDED) {
        size_t step = n - used;
        if (s->state == SSE_DATA) {
            if (step > s->chunk_left) step = s->chunk_left;
            body(s, p + used, step);
            s->chunk_left -= step;
            if (s->chunk_left == 0) s->state = SSE_DATA_END;
        } else {
            step = line(s, p + used, step);
        }
        used += step;
    }
    s->bytes += used;
    return used;
}
