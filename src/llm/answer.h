/* Answers of upstreams, whole or in chunks, as neutral values. Pure. Numbers are kept as their decimal text until they
 * are integers; bytes that are no UTF-8 and lone surrogates become U+FFFD (counted in `repaired`). */
#ifndef ANYLLM_LLM_ANSWER_H
#define ANYLLM_LLM_ANSWER_H

#include "base/json.h"
#include "llm/fault.h"
#include "llm/llm.h"

struct answer_reader {
    void *pool; /* yyjson's memory, reused by every answer that fits */
    yyjson_doc *doc;
    struct buf text, reasoning; /* content given as parts, joined */
    struct buf clean;           /* the answer with its broken characters replaced */
    struct buf raw_usage;
    uint64_t repaired;
};

struct answer {
    bool has_choice;
    struct slice content, reasoning, finish_reason; /* len 0: none */
    bool has_error;
    struct upstream_error error;
    struct llm_usage usage;
    bool says;       /* chunk: more than a role and empty text */
    bool only_usage; /* chunk: usage and no choices */
    bool repaired;   /* broken characters were replaced */
};

/* False when out of memory. */
bool answer_init(struct answer_reader *r);
void answer_free(struct answer_reader *r);

/* An event is a chunk that is given on as it came: then it matters whether it says anything. */
enum answer_kind { ANSWER_WHOLE, ANSWER_CHUNK, ANSWER_EVENT };

/* False: not what the wire allows (docs/bad-input.md U12). *out lives until the next call or answer_done. */
bool answer_read(struct answer_reader *r, struct slice json, enum answer_kind kind,
                 struct answer *out);
/* Appends the text with each byte that is no UTF-8 as U+FFFD and its escapes as they are: how a repaired answer is passed
 * on unread (halves of a pair may find each other in the caller's hands). */
bool answer_add_utf8(struct buf *b, struct slice text);
/* Gives the memory of an unusually large answer back. */
void answer_done(struct answer_reader *r);

/* "0.0005595" dollars to 560 micro-dollars: exact decimal, half up. False when it is negative, not a JSON number or
 * above 1e12 micro-dollars. */
bool answer_money(struct slice decimal, int64_t *microusd);
/* Cost by the model's price, half up. Cached tokens are among those of the prompt, reasoning among the completion's: each
 * is counted once. */
int64_t answer_cost(const struct llm_usage *u, const struct catalogue_model *m);

#endif
