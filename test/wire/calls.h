/* What the suites of bad input ask of the server, above single answers: submits and their results, streams read to their
 * end. Each fails the test when nothing comes. */
#ifndef ANYLLM_TEST_WIRE_CALLS_H
#define ANYLLM_TEST_WIRE_CALLS_H

#include "peer.h"

void expect_status(const char *what, const struct answer *a, unsigned status);
void expect_says(const char *what, const struct answer *a, const char *says); /* NULL: anything */
void expect_header(const char *what, const struct answer *a, const char *name, const char *value);

/* The request_id of an answered submit. Free it. */
char *submitted_id(const struct answer *a);
/* Waits until it is completed, and asks for its result. `queue` is "/queue/fal-ai/any-llm"; the lines of `headers` go with
 * each request. */
struct answer result_of(unsigned port, const char *queue, const char *headers, const char *id);
/* Submits and waits: the result. */
struct answer queued(unsigned port, const char *queue, const char *headers, const char *body,
                     size_t len);

/* A POST whose answer is read to the end of its connection. Free with streamed_free. */
struct streamed {
    unsigned status;
    struct text body; /* of a stream: its chunks joined, those that came whole */
    struct text last; /* data of the last event, [DONE] not counted */
    size_t events;
    bool events_type; /* it was a stream at all */
    bool whole;       /* the last chunk came */
    bool done;        /* [DONE] came, and last */
};
struct streamed stream_of(unsigned port, const char *path, const char *headers, const char *body,
                          size_t len);
void streamed_free(struct streamed *s);

#endif
