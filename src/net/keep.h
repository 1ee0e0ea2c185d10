/* Parsed heads outlive the read buffer they point into: the struct up to its last header and the bytes behind it are
 * copied, the slices follow. Private. */
#ifndef ANYLLM_NET_KEEP_H
#define ANYLLM_NET_KEEP_H

#include "net/h1.h"

static inline size_t keep_head_bytes(const struct h1_head *head) {
    return offsetof(struct h1_head, headers) + head->nheaders * sizeof head->headers[0];
}

static inline void keep_slice(struct slice *s, const char *from, size_t len, const char *to) {
    if (s->ptr >= from && s->ptr <= from + len) s->ptr = to + (s->ptr - from);
}

/* `head` has room for keep_head_bytes(parsed); `to` already holds the len bytes that stood at `from`. */
static inline void keep_head(struct h1_head *head, const struct h1_head *parsed, const char *from,
                             size_t len, const char *to) {
    memcpy(head, parsed, keep_head_bytes(parsed));
    keep_slice(&head->target, from, len, to);
    keep_slice(&head->path, from, len, to);
    keep_slice(&head->query, from, len, to);
    keep_slice(&head->host, from, len, to);
    for (size_t i = 0; i < head->nheaders; i++) {
        keep_slice(&head->headers[i].name, from, len, to);
        keep_slice(&head->headers[i].value, from, len, to);
    }
}

#endif
