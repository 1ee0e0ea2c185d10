/* What went wrong upstream, in this room's words. Pure: no I/O, no state. llm.h has the table for callers. */
#ifndef ANYLLM_LLM_FAULT_H
#define ANYLLM_LLM_FAULT_H

#include "base/buf.h"
#include "llm/llm.h"
#include "net/client.h"

/* What the relay does about a fault before the first byte of output. */
bool fault_fails_over(enum llm_fault f);
/* Says something about the upstream's health (the caller's own mistakes do not). */
bool fault_blames_upstream(enum llm_fault f);
const char *fault_name(enum llm_fault f); /* "rate_limited", for logs */
const char *fault_sentence(
    enum llm_fault f); /* for the caller when the upstream said nothing fit to repeat */

/* The error object of an answer, or of a chunk. Slices as long as the parsed text. */
struct upstream_error {
    struct slice message, type, code, param; /* code: text or digits */
    bool flagged;                            /* a moderation verdict came with it */
};

/* status: of HTTP; 200 for an error inside an answer or a stream, then the error's own code decides. e may be NULL. */
enum llm_fault fault_of_error(unsigned status, const struct upstream_error *e);
/* The code to tell a caller of OpenAI's dialect, in OpenAI's words; len 0: none. */
struct slice fault_code(const struct upstream_error *e);
enum llm_fault fault_of_net(enum net_fault f);

#define FAULT_MAX_RETRY_AFTER_MS 300000
/* retry-after-ms, then retry-after as seconds or as a date; capped at 300 s; -1 when absent, negative or not readable. */
int64_t fault_retry_after(const struct h1_head *head, int64_t wall_ms);

#define FAULT_MAX_TEXT_BYTES 500U
/* What must not leave in a text of the upstream's. */
struct fault_secrets {
    struct slice key, host;
};
/* Appends `text` without keys, addresses and control characters, at most FAULT_MAX_TEXT_BYTES, as valid UTF-8. */
void fault_scrub(struct buf *out, struct slice text, const struct fault_secrets *s);

#endif
