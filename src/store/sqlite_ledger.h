/* What the files of the ledger share: places in time, pages, bounds. */
#ifndef ANYLLM_STORE_SQLITE_LEDGER_H
#define ANYLLM_STORE_SQLITE_LEDGER_H

#include "store/sqlite_cells.h"

/* A row's n: when, and a number that tells apart. Times are positive and below 2 to the power of 43 (the year 2248). */
#define NUMBER_BITS 20
#define NUMBER_MAX ((1LL << NUMBER_BITS) - 1)
#define TIME_MAX ((1LL << (63 - NUMBER_BITS)) - 1)

static inline int64_t within_time(int64_t at_ms) {
    return at_ms < 0 ? 0 : at_ms > TIME_MAX ? TIME_MAX : at_ms;
}

static inline int64_t place(int64_t at_ms, int64_t number) {
    return within_time(at_ms) << NUMBER_BITS | (number & NUMBER_MAX);
}

/* Of from_ms <= t < to_ms, where 0 is open: as places. */
static inline int64_t first_place(int64_t from_ms) {
    return place(from_ms, 0);
}

static inline int64_t last_place(int64_t to_ms) {
    return place(to_ms > 0 ? to_ms - 1 : TIME_MAX, NUMBER_MAX);
}

/* A page has no more rows than this, whatever is asked for. */
#define PAGE_MAX 10000U

static inline unsigned page(unsigned limit) {
    return limit == 0 || limit > PAGE_MAX ? PAGE_MAX : limit;
}

/* Whether the query's endpoints hold this one. */
static inline bool chosen(const struct store_ledger_query *q, struct slice endpoint) {
    for (size_t i = 0; i < q->nendpoints; i++)
        if (slice_eq(q->endpoints[i], endpoint)) return true;
    return q->nendpoints == 0;
}

/* A direct call is in no index of ids: all are scanned that ended since the id was drawn. When that was, in ms, less what
 * clocks are set by; 0 when the id does not say (a UUID of version 7 does). */
int64_t sqlite_drawn_ms(struct slice id);

#endif
