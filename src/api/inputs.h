/* Files that are inputs: pictures, sound and films of a request, before it goes to llm_start.
 *
 * - An address of a file of ours travels as a data URI with the stored content type; as a signed address when public_url is
 *   set, leads out of this machine, and every upstream of the model's route fetches addresses.
 * - Another http(s) address is passed on; where an upstream cannot fetch it, we do, under the address rules of webhooks:
 *   no private address, no redirects, 30 s, the answer's own media type. It travels as a data URI.
 * - A data URI was checked by validate.c (fal's inputs) or is the upstream's to judge (OpenAI's dialect); here its size counts.
 *
 * Held for one request until inputs_free: at most INPUTS_MAX_BYTES of text, beyond which 413 (in OpenAI's dialect twice while
 * it is rewritten, and the body three times); for all requests together INPUTS_MAX_HELD_BYTES, beyond which 503. One file of a
 * request at a time is read or fetched. */
#ifndef ANYLLM_API_INPUTS_H
#define ANYLLM_API_INPUTS_H

#include "api/call.h"

#define INPUTS_MAX_BYTES (128U << 20)
#define INPUTS_MAX_HELD_BYTES (512U << 20)
#define INPUTS_FETCH_MS 30000U
#define INPUTS_SIGNED_S 7200U /* an answer's longest time, and as much for waiting */

struct inputs;

struct inputs_asker {
    struct slice owner; /* whose files, as files_find has it; borrowed until done */
    /* What names the field of a file that is refused; NULL in OpenAI's dialect. Read by inputs_start only. */
    const struct endpoint *endpoint;
    yyjson_val *input;
};

bool inputs_look(const struct api *a, const struct llm_request *r); /* the slow half */

/* Whether inputs_start has something to do. */
static inline bool inputs_needed(const struct api *a, const struct llm_request *r) {
    return (r->nimages + r->naudios + r->nvideos > 0 || r->has_addresses || r->longest_data > 0) &&
           inputs_look(a, r);
}

/* Then `done`, exactly once unless freed before, never before this has returned: err NULL and *r changed, so that it can be
 * given to llm_start; or what is wrong (LLM_FILE, LLM_FILE_TOO_LARGE, LLM_MEMORY), which lives until done returns. What *r
 * has from here lives until inputs_free, which may be called in done. NULL: out of memory. */
struct inputs *inputs_start(struct api *a, const struct inputs_asker *asker, struct llm_request *r,
                            void (*done)(void *user, const struct llm_error *err), void *user);
bool inputs_pending(const struct inputs *i); /* done has not been called; false for NULL */
/* At any time; NULL is fine. What is under way is left, and done not called. */
void inputs_free(struct inputs *i);

/* How many are pending. They have no slot of an upstream yet. */
size_t inputs_running(const struct api *a);

/* A part of the api: see life.c. */
bool inputs_open(struct api *a, char *reason, size_t size);
void inputs_close_part(struct api *a);

#endif
