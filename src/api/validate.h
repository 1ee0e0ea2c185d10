/* Judges what callers send against the table of endpoints. Everything wrong is told at once, in fal's detail[]. */
#ifndef ANYLLM_API_VALIDATE_H
#define ANYLLM_API_VALIDATE_H

#include "api/endpoints.h"

/* Collects detail[] entries; the first one opens it. */
struct faults {
    struct buf json; /* "[{…},{…}" without the closing bracket */
    size_t count;
    struct buf text; /* the first one for people: "body.prompt: Field required" */
    bool memory;     /* it was not looked at to the end */
};
void faults_init(struct faults *f);
void faults_free(struct faults *f);
/* Whether it was the server's fault and not the input's: 503, and another try may help. */
static inline bool faults_of_memory(const struct faults *f) {
    return f->memory || f->count == 0 || f->json.failed;
}
/* {"detail":[…],"message":…}; b fails when there are none: what failed then was memory. */
void faults_json(struct buf *b, const struct faults *f);
/* loc: ready JSON array, `ctx` ready JSON object or NULL; `input` may be NULL. */
void faults_add(struct faults *f, const char *loc, const char *msg, const char *type,
                const char *ctx, yyjson_val *input);

/* Fills *r from the input object; everything wrong goes into *faults. True when nothing is. The request borrows from the
 * document and the arena. `llm` says which models are known, `catalogue` the default. Fields the endpoint does not take
 * are ignored. */
bool endpoint_read(const struct endpoint *e, yyjson_val *input, const struct llm *llm,
                   const struct catalogue *catalogue, struct arena *a, struct llm_request *r,
                   struct faults *faults);
/* Parses a body as far as a submit does: JSON, one object. NULL and a fault otherwise. An empty body is {}. */
yyjson_doc *endpoint_parse(struct slice body, struct faults *faults);

#endif
