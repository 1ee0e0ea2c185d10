/* The query parameters of the platform API as tables: the same rows read a request and describe it in the OpenAPI document. */
#ifndef ANYLLM_API_PLATFORM_QUERY_H
#define ANYLLM_API_PLATFORM_QUERY_H

#include "api/call.h"
#include "api/platform_time.h"

#define PLATFORM_MAX_IDS 50U
#define PLATFORM_MAX_TEXT 200U

enum param_kind {
    PARAM_TEXT,
    PARAM_INTEGER,   /* min to max */
    PARAM_TIME,      /* RFC 3339, or a date: midnight UTC */
    PARAM_ZONE,      /* UTC, or an offset: +02:00 */
    PARAM_CHOICE,    /* one of values */
    PARAM_CHOICES,   /* several of values: repeated, or separated by commas */
    PARAM_ENDPOINT,  /* id of an endpoint that is here, else 404 */
    PARAM_ENDPOINTS, /* several */
    PARAM_CURSOR     /* what a page before gave */
};

struct param {
    const char *name;
    enum param_kind kind;
    bool required;
    unsigned min, max;
    const char *const *values; /* NULL-terminated */
    const char *description;
};

struct params {
    const char *name; /* by which the OpenAPI template asks for them: @usage@ */
    size_t n;
    const struct param *rows;
};
#define PARAMS(label, rows) {label, sizeof(rows) / sizeof *(rows), rows}

/* Where the next page begins, within bounds that were fixed with the first one. */
struct cursor {
    int64_t from_ms, to_ms, at;
};

struct param_value {
    size_t n; /* 0: not given */
    struct slice *texts;
    int64_t number;   /* INTEGER; TIME: ms; ZONE: ms east of UTC */
    unsigned choices; /* CHOICE, CHOICES: bits of values */
    struct cursor cursor;
};

/* One value for each row, in the request's arena. NULL: answered with 400 or 404. */
struct param_value *platform_read(struct call *c, const struct params *p);
/* The endpoint that this id, or the operator's alias, names; NULL: none. */
const struct endpoint *platform_endpoint(const struct api *a, struct slice id);

/* ,"next_cursor":…,"has_more":… ; next NULL: the last page. */
void platform_add_page(struct buf *b, const struct cursor *next);
/* Answers 503. */
void platform_unavailable(struct call *c);
/* Answers with this status and text. Always false. */
bool platform_refuse(struct call *c, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What a handler keeps until the store answers; its own struct begins with it. In the request's arena. */
typedef void platform_done(struct call *c, const struct store_reply *r);
struct platform_state {
    platform_done *done;
};
/* A ticket for one operation; `done` finds the state in c->own, and is not called when the caller has left or the store
 * cannot answer. 0: answered. */
uint64_t platform_ask(struct call *c, struct platform_state *s, platform_done *done);
/* Zeroed. NULL: answered. */
void *platform_alloc(struct call *c, size_t bytes);

/* The parameters as OpenAPI has them, an array. */
void platform_params_json(struct buf *b, const struct config *cfg, const struct params *p);

#endif
