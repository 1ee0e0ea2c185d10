/* How much one owner, one address and all callers together may ask for. Pure: the caller brings the time. Every question
 * is O(1) and allocates nothing; owners get an account when their first key is known, addresses have a table of fixed size.
 *
 * Rates are buckets that refill evenly: a full one holds as many requests as the limit says, an empty one is full again
 * after the period. Keys of one owner draw from the same bucket; where their limits differ, each request takes the
 * part of the bucket that it is of its own key's limit. */
#ifndef ANYLLM_API_LIMITS_H
#define ANYLLM_API_LIMITS_H

#include "base/config.h"
#include "base/random.h"

enum limit {
    LIMIT_NONE,
    LIMIT_SERVER_CALLS, /* direct calls at once, of all keys */
    LIMIT_KEY_CALLS,    /* of one owner, its queued requests in progress among them */
    LIMIT_REQUESTS,     /* calls and submits per minute */
    LIMIT_POLLS,        /* status requests per second */
    LIMIT_WRONG_KEYS,   /* of one address per minute */
    LIMIT_QUEUE_LENGTH, /* the queue said so */
    LIMIT_COUNT
};
const char *limit_name(enum limit kind); /* "server_calls" */

struct limits;

/* NULL when out of memory. The configuration is borrowed for life. */
struct limits *limits_new(const struct config *c, const struct random *r);
void limits_free(struct limits *l);

/* The owner's account, made at the first question; it stays. The name is copied. False when out of memory. */
bool limits_account(struct limits *l, struct slice owner, size_t *account);

/* The answer is 0, or in how many ms there is room again; what
 * is refused takes nothing. A limit of 0 is none. */
uint64_t limits_request(struct limits *l, size_t account, uint32_t per_minute, uint64_t now_ms);
uint64_t limits_poll(struct limits *l, size_t account, uint32_t per_second, uint64_t now_ms);

#define LIMITS_ADDRESS_BYTES 16
/* What counts as one address: IPv4 whole, IPv6 its first 64 bits. What is neither (a Unix socket) is one address too. */
void limits_address(struct slice text, unsigned char out[LIMITS_ADDRESS_BYTES]);
#define LIMITS_ADDRESSES \
    4096U /* remembered; beyond it those that have been quiet longest are forgotten */
uint64_t limits_wrong_key(struct limits *l, const unsigned char address[LIMITS_ADDRESS_BYTES],
                          uint64_t now_ms);

/* A direct call begins, or which limit forbids it. `queued` are the owner's requests in progress. After LIMIT_NONE exactly
 * one limits_call_end is due. */
enum limit limits_call_begin(struct limits *l, size_t account, uint32_t at_once, size_t queued);
void limits_call_end(struct limits *l, size_t account);
size_t limits_calls(const struct limits *l, size_t account); /* of the owner */
size_t limits_all_calls(const struct limits *l);

/* For the metrics. */
void limits_count(struct limits *l, enum limit kind);
uint64_t limits_counted(const struct limits *l, enum limit kind);

#endif
