/* An answer that grows and is told again and again as a whole, as fal's model streams and realtime answers are. Each telling
 * repeats all of the text: told in small steps, an answer would cost the square of its length. While it is shorter than
 * TELLING_EVERY_DELTA_BYTES every delta is told; then the next one waits until the text has grown by a fourteenth. With the
 * last telling, which is whole again, an answer of 100 KB stays under 18 times its length: 15 for the sum of the series, 1
 * for the end, 2 for the beginning in steps of 50 bytes. */
#ifndef ANYLLM_API_TELLING_H
#define ANYLLM_API_TELLING_H

#include "api/call.h"

#define TELLING_MAX_BYTES (16U << 20)
#define TELLING_EVERY_DELTA_BYTES 4096U
#define TELLING_GROWTH 14U

struct telling {
    struct buf text, reasoning; /* escaped, without quotes: what every telling repeats */
    size_t told;                /* how much of both the last one held */
    bool dirty;                 /* there is more than that */
};

void telling_init(struct telling *t);
void telling_reset(struct telling *t); /* for the next answer */
void telling_free(struct telling *t);
/* False: the answer is larger than TELLING_MAX_BYTES; nothing of it was added. */
bool telling_add(struct telling *t, struct slice text, struct slice reasoning);
bool telling_is_due(const struct telling *t);
/* Appends {"output":…,"partial":…,"error":… with reasoning and usage where there are; the brace is left to the caller, who
 * looks at b->failed. */
void telling_open(struct telling *t, struct buf *b, bool reasoning, bool partial,
                  const struct llm_usage *usage, const struct llm_error *err);

#endif
