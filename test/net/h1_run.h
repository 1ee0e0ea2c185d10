/* Reads a connection's bytes with the codec as a server or a client would, in pieces, and writes down what it saw. */
#ifndef ANYLLM_TEST_H1_RUN_H
#define ANYLLM_TEST_H1_RUN_H

#include "net/h1.h"

struct transcript {
    char *text;
    size_t len, cap;
};

/* Pieces: the first has `first` bytes (0: all), each further one `step` (0: the rest). Every call of the codec sees its
 * bytes end at a page that cannot be read. The text is the callee's until the next call with the same transcript. */
void run_connection(struct transcript *t, enum h1_kind kind, const char *bytes, size_t len,
                    size_t first, size_t step);
void transcript_free(struct transcript *t);

#endif
