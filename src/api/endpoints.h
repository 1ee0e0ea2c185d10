/* THE table of endpoints: which fields each takes, which it needs, what it answers; and the ids by which they are called.
 * validate.c judges inputs by it, openapi.c writes the documents from it, docs/endpoints.md is tested against it. */
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
    INPUT_URLS,
    INPUT_MESSAGES
};

/* What an address leads to. */
enum media { MEDIA_NONE, MEDIA_IMAGE, MEDIA_AUDIO, MEDIA_VIDEO };

struct input_field {
    const char *name;
    enum input_type type;
    enum media media;          /* INPUT_URL, INPUT_URLS */
    bool lists_models;         /* INPUT_MODEL: the schema names the models of the catalogue */
    double min, max;           /* of a number; INPUT_STRING: max is its longest, in bytes */
    const char *const *values; /* INPUT_ENUM, NULL-terminated */
    const char *standard;      /* default, as JSON; NULL: none, or written by openapi.c (model) */
    const char *example;       /* as JSON */
    const char *title, *description;
    /* Puts the checked value into the request; NULL: accepted and ignored. */
    void (*set)(struct llm_request *r, yyjson_val *v, struct arena *a);
};

/* Rows of the table of fields. IN_ANY_MODEL is IN_MODEL without the list of models. */
enum input_row {
    IN_PROMPT,
    IN_SYSTEM_PROMPT,
    IN_MODEL,
    IN_ANY_MODEL,
    IN_MESSAGES,
    IN_REASONING,
    IN_PRIORITY,
    IN_TEMPERATURE,
    IN_MAX_TOKENS,
    IN_IMAGE_URL,
    IN_IMAGE_URLS,
    IN_AUDIO_URL,
    IN_VIDEO_URL,
    IN_VIDEO_URLS,
    IN_COUNT
};
#define IN(row) (1U << IN_##row)
#define INPUT_MAX_URLS 64U
const struct input_field *input_field_at(enum input_row row);

enum output_field {
    OUTPUT_TEXT = 1,
    OUTPUT_REASONING = 2,
    OUTPUT_PARTIAL = 4,
    OUTPUT_ERROR = 8,
    OUTPUT_USAGE = 16
};

enum endpoint_dialect {
    ENDPOINT_FAL,   /* read by endpoint_read */
    ENDPOINT_OPENAI /* read by openai.c, which passes unknown members on; the table only describes */
};

struct endpoint {
    const char *id;
    size_t id_len;
    bool sees; /* its default model takes images, whether there are any or not */
    enum endpoint_dialect dialect;
    bool keeps_nothing; /* only upstreams that keep nothing */
    /* Sets of input rows: IN(…) | IN(…). */
    unsigned takes, needs;
    unsigned needs_one; /* at least one of these */
    unsigned one_only;  /* at most one of these */
    unsigned outputs;   /* enum output_field; 0 for OpenAI's */
    const char *category, *title, *description;
    const char *asks; /* the prompt of its example; NULL: that of the field */
};

/* The endpoint whose id is `path` or its beginning on whole segments, the longest one; *rest gets what follows ("" or
 * "stream"…). */
const struct endpoint *endpoint_find(struct slice path, struct slice *rest);
size_t endpoint_count(void);
const struct endpoint *endpoint_at(size_t i);
/* The model for a request that names none: the catalogue's default; `sees`: one that takes images, not a premium or retired
 * one if that can be. */
struct slice endpoint_default_model(const struct catalogue *c, bool sees);

/* --- ids, as they stand in a path or a query: [ns/]owner/alias[/path…] */

struct endpoint_id {
    struct slice ns;           /* "workflows", "comfy"; len 0: none */
    struct slice owner, alias; /* fal's old number for itself reads as fal-ai */
    struct slice path; /* what follows the alias, without slashes around it; len 0: nothing */
};

/* Slashes around it do not count; 110602490-any-llm is 110602490/any-llm. False: no id. The parts borrow from `text`. */
bool endpoint_id_parse(struct slice text, struct endpoint_id *id);
/* The canonical spelling: ns/owner/alias, with /path when `whole`. ptr NULL: no memory. */
struct slice endpoint_id_text(const struct endpoint_id *id, bool whole, struct arena *a);
/* The [ns/]owner/alias at the beginning of a canonical id: by it status, result and cancel find a request. */
struct slice endpoint_owner_alias(struct slice canonical);

/* endpoint_find that knows the operator's aliases as well: the longest id wins, the operator's where two are the same. */
const struct endpoint *endpoint_resolve(struct slice path, const struct config_alias *aliases,
                                        size_t n, struct slice *rest);
/* Why an alias cannot be: static text; NULL: it can. */
const char *endpoint_alias_fault(const struct config_alias *alias);

#endif
