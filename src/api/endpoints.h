/* The table of endpoints: id, input fields with type, bounds, default and enum, output fields. Validation reads it;
 * later the OpenAPI document and the playground's form will too. */
#ifndef ANYLLM_API_ENDPOINTS_H
#define ANYLLM_API_ENDPOINTS_H

#include "base/arena.h"
#include "base/json.h"
#include "llm/llm.h"

enum input_type {
    INPUT_STRING,
    INPUT_MODEL,
    INPUT_BOOL,
    INPUT_NUMBER,
    INPUT_INTEGER,
    INPUT_ENUM,
    INPUT_URL,
    INPUT_URLS
};

struct input_field {
    const char *name;
    enum input_type type;
    bool required;
    double min, max;           /* of a number; INPUT_STRING: max is its longest, in bytes */
    const char *const *values; /* INPUT_ENUM, NULL-terminated */
    const char *description;
    /* Puts the checked value into the request; NULL: accepted and ignored. */
    void (*set)(struct llm_request *r, yyjson_val *v, struct arena *a);
};

enum output_field {
    OUTPUT_TEXT = 1,
    OUTPUT_REASONING = 2,
    OUTPUT_PARTIAL = 4,
    OUTPUT_ERROR = 8,
    OUTPUT_USAGE = 16
};

struct endpoint {
    const char *id;
    const struct input_field *inputs; /* ends with name NULL */
    unsigned outputs;                 /* enum output_field */
    bool keeps_nothing;               /* only upstreams that keep nothing */
};

/* The endpoint whose id is `path` or its beginning on whole segments; *rest gets what follows ("" or "stream"…). */
const struct endpoint *endpoint_find(struct slice path, struct slice *rest);
size_t endpoint_count(void);
const struct endpoint *endpoint_at(size_t i);

/* Collects detail[] entries; the first one opens it. */
struct faults {
    struct buf json; /* "[{…},{…}" without the closing bracket */
    size_t count;
    struct buf text; /* the first one for people: "body.prompt: Field required" */
};
void faults_init(struct faults *f);
void faults_free(struct faults *f);
/* {"detail":[…],"message":…}; b fails when there are none: what failed then was memory. */
void faults_json(struct buf *b, const struct faults *f);
/* loc: ready JSON array, `ctx` ready JSON object or NULL; `input` may be NULL. */
void faults_add(struct faults *f, const char *loc, const char *msg, const char *type,
                const char *ctx, yyjson_val *input);

/* Fills *r from the input object; everything wrong goes into *faults. True when nothing is. The request borrows from the
 * document and the arena. `llm` says which models are known, `catalogue` the default. */
bool endpoint_read(const struct endpoint *e, yyjson_val *input, const struct llm *llm,
                   const struct catalogue *catalogue, struct arena *a, struct llm_request *r,
                   struct faults *faults);
/* Parses a body as far as a submit does: JSON, one object. NULL and a fault otherwise. An empty body is {}. */
yyjson_doc *endpoint_parse(struct slice body, struct faults *faults);

#endif
