/* The ledger of direct calls: one row for each that reached an upstream, gathered in memory and written behind, so that no
 * caller waits for the disk: after LEDGER_WINDOW_MS, or when LEDGER_BATCH_ROWS are there.
 *
 * A graceful end loses nothing; a kill loses what has not been written, LEDGER_WINDOW_MS at most while the store writes. When
 * the store cannot write, rows are kept and tried again each LEDGER_WINDOW_MS; beyond LEDGER_MAX_BATCHES batches the oldest
 * is given up, which is said in the log and counted. Rows of queued requests are the queue's: they travel with the result. */
#ifndef ANYLLM_API_LEDGER_H
#define ANYLLM_API_LEDGER_H

#include "api/billing.h"

/* A part of the api: see life.c. */
bool ledger_open(struct api *a, char *reason, size_t size);
void ledger_load(struct api *a); /* ends with api_loaded */
void ledger_drain(struct api *a);
void ledger_close(struct api *a);
void ledger_free(struct api *a);

#define LEDGER_WINDOW_MS \
    1000 /* what a kill may lose of direct calls; a graceful end loses nothing */
#define LEDGER_BATCH_ROWS 256U
#define LEDGER_BATCH_TEXT_BYTES (64U << 10) /* of its rows' names and raw usage */
#define LEDGER_MAX_BATCHES 64U              /* 10 MB, 16,384 rows at most */

/* The row of a direct call (its kind by the route), once for each that was sent. Called where the answer is known, and from
 * call_gone for one that the caller left (status 499). http_status of 400 and above is charged 0, but for 499. Nothing is
 * written for a result that reached no upstream. `r` is copied. */
void ledger_call(struct call *c, const struct llm_result *r, unsigned http_status, bool partial);
/* The same for a good answer of 200 whose head is not sent yet: x-fal-billable-units is added. */
void ledger_answer(struct call *c, const struct llm_result *r);
/* The same for an error. */
void ledger_failed(struct call *c, const struct llm_result *r, const struct llm_error *err);
/* The same for c->llm, which is about to be cancelled. */
void ledger_left(struct call *c, unsigned http_status);

struct ledger_stats {
    size_t waiting; /* rows not yet in the store */
    uint64_t written, lost;
};
struct ledger_stats ledger_get_stats(const struct api *a);

#endif
