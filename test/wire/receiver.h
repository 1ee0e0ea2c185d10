/* A receiver of webhooks: keeps what comes, and answers as its path says. A thread for each connection.
 *
 *   /status/N           answers N (200 without it)
 *   /retry-after/VALUE  with this header
 *   /location/URL…      with this header: everything behind it
 *   /first/K            only the first K deliveries of this path get what the words before it say, later ones 200
 *   /wait/MS            so long before the answer
 *   /hang               never answers
 *   /endless            200, and a body without end
 *   /half               200, and a body that is cut
 *   /reset              RST in place of an answer
 *   /only/N             a head of this 1xx status, then the end of the connection */
#ifndef ANYLLM_TEST_WIRE_RECEIVER_H
#define ANYLLM_TEST_WIRE_RECEIVER_H

#include "peer.h"

#include <pthread.h>

struct delivered {
    struct delivered *next;
    char path[256];
    struct text head, body; /* the head up to its blank line */
    uint64_t at_ms;         /* now_ms() */
};

struct receiver {
    unsigned port;
    /* Inside. */
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    struct delivered *first, **last;
    size_t endless_bytes;           /* taken by the other end of /endless */
    unsigned hanging, most_hanging; /* on paths with /hang or /wait: now, and at most at once */
};

void receiver_start(struct receiver *r);
void receiver_stop(struct receiver *r); /* forgets what came */
/* How many came on this path. */
unsigned receiver_count(struct receiver *r, const char *path);
/* The n-th of this path (from 0), waited for; fails the test when it does not come. Lives until receiver_stop. */
const struct delivered *receiver_wait(struct receiver *r, const char *path, unsigned n);
unsigned receiver_most_hanging(struct receiver *r);
/* The value of a header; false when it is not there. */
bool delivered_header(const struct delivered *d, const char *name, char *out, size_t size);

#endif
