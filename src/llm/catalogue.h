/* The catalogue of models: data an operator can edit. A built-in copy (catalogue.json, embedded) is replaced by the
 * file named in the configuration. Immutable once loaded. */
#ifndef ANYLLM_LLM_CATALOGUE_H
#define ANYLLM_LLM_CATALOGUE_H

#include "base/arena.h"
#include "base/config.h"

struct catalogue_model {
    struct slice id;
    bool premium, vision;
    bool
        max_completion_tokens; /* openai upstreams: the name of max_tokens, which OpenAI's newer models refuse */
    uint32_t context_tokens; /* 0: unknown */
    bool has_price;
    int64_t prompt_picousd, completion_picousd; /* per token = micro-dollars per million tokens */
    int64_t cached_picousd; /* of a token of the prompt that came from a cache; -1: as any other */
    struct slice upstream_id[3]; /* by enum config_kind; len 0: the same as id */
    struct slice replaced_by;    /* retired upstream: sent as this model; len 0: not */
    size_t next; /* where replaced_by stands in the catalogue, SIZE_MAX when it is empty */
};

struct catalogue;

/* file NULL: the built-in copy. NULL on failure, *err says where and what (exit 78). */
struct catalogue *catalogue_load(const char *file, struct config_error *err);
/* The same from text; `name` stands in messages. */
struct catalogue *catalogue_read(struct slice text, const char *name, struct config_error *err);
void catalogue_free(struct catalogue *c);
/* NULL: unknown id. */
const struct catalogue_model *catalogue_find(const struct catalogue *c, struct slice id);
/* The model that stands for `m` at upstreams of that kind: follows replaced_by, unless the entry names an upstream_id
 * for the kind (then that upstream still has it). Loops are refused when the file is read. */
const struct catalogue_model *catalogue_current(const struct catalogue *c,
                                                const struct catalogue_model *m,
                                                enum config_kind kind);
/* The id to send to upstreams of that kind. */
struct slice catalogue_upstream_id(const struct catalogue_model *m, enum config_kind kind);
size_t catalogue_count(const struct catalogue *c);
const struct catalogue_model *catalogue_at(const struct catalogue *c, size_t i);
/* The id used when the caller names none. */
struct slice catalogue_default(const struct catalogue *c);

#endif
