/* Private to the api: one exchange as the handlers see it, and the answers they share. */
#ifndef ANYLLM_API_CALL_H
#define ANYLLM_API_CALL_H

#include "api/api.h"
#include "api/auth.h"
#include "api/validate.h"

enum served {
    SERVED_RUN,
    SERVED_STREAM,
    SERVED_SUBMIT,
    SERVED_STATUS,
    SERVED_RESULT,
    SERVED_CANCEL,
    SERVED_OPS,
    SERVED_NONE
};
#define SERVED_KINDS 8

struct api {
    struct net_loop *loop;
    const struct clock *clock;
    const struct random *random;
    const struct config *config;
    const struct catalogue *catalogue;
    struct llm *llm;
    struct queue *queue;
    struct net_server *server;
    struct keyring *keys;
    struct run *runs;   /* jobs of the queue that run now */
    struct buf scratch; /* for an answer being built; nothing lives in it between two calls */
    bool draining, store_ok;
    uint64_t requests[SERVED_KINDS], errors[SERVED_KINDS];
    uint64_t started_ms;
};

struct call;

struct route {
    enum h1_method method;
    const char *pattern; /* segments; {app} takes one or more, {id} one */
    enum served kind;
    bool open; /* no key needed */
    void (*handle)(struct call *c);
};

#define CALL_MAX_SEGMENTS 12U

/* In the exchange's arena: lives until on_done or on_gone. */
struct call {
    struct api *api;
    struct net_exchange *x;
    const struct route *route;
    struct identity who;
    struct slice app, id,
        prefix; /* of the path: endpoint id, request id, "/run" or "/queue" or "" */
    char request_id[UUID_BYTES];
    const struct endpoint *endpoint;
    /* direct calls */
    struct llm_call *llm;
    yyjson_doc *input;
    struct llm_request request;
    struct stream *stream;
    bool logs;
};

/* Finds the route for a parsed path. NULL with *status 404, 405 (*allow gets the methods) or 400. */
const struct route *routes_find(struct call *c, unsigned *status, const char **allow);

/* The headers every answer has: request id, nosniff, CORS. The request need not be known. */
void call_headers(struct call *c);
/* {"detail":…,"error_type":…} with X-Fal-Error-Type when type is given. */
void call_error(struct call *c, unsigned status, const char *type, struct slice detail);
/* {"detail":[…]}: 422, X-Fal-Retryable: false, x-fal-billable-units: 0. */
void call_faults(struct call *c, const struct faults *f);
void call_json(struct call *c, unsigned status, struct slice body);
/* The same with the scratch buffer as body; 503 when it did not take all. */
void call_scratch_json(struct call *c, unsigned status);
void call_header_u64(struct call *c, const char *name, uint64_t v);
/* Checks Content-Type and Content-Encoding of a JSON body; answers 415 and returns false. */
bool call_wants_json(struct call *c);
/* The endpoint named by c->app; answers 404 and returns false. `rest` must be empty. */
bool call_endpoint(struct call *c);

/* The scratch buffer, empty. */
struct buf *call_scratch(struct call *c);

#define JSON_TYPE SLICE("application/json")

/* --- outputs and errors of models, shared by the direct call, the stream and the runner */
void output_json(struct buf *b, const struct endpoint *e, const struct llm_request *r,
                 const struct llm_result *result, const struct llm_error *err);
/* The text as it stands between the quotes of a JSON string; on failure nothing of it is added. */
bool output_add_escaped(struct buf *b, struct slice text);
/* ,"usage":{…} */
void output_usage(struct buf *b, const struct llm_usage *u);
/* {"detail":…,"message":…} and error_type unless it is NULL. JavaScript's ApiError shows `message`. */
void flat_json(struct buf *b, struct slice detail, const char *type);
/* The body for a failed call; flat or detail[] as the table of faults says. */
void error_json(struct buf *b, const struct llm_error *err);

void handle_run(struct call *c);
void handle_stream(struct call *c);
void handle_submit(struct call *c);
void handle_status(struct call *c);
void handle_result(struct call *c);
void handle_cancel(struct call *c);
void handle_health(struct call *c);
void handle_ready(struct call *c);
void handle_metrics(struct call *c);
/* The caller is gone or the answer is out: stops what still runs for this exchange. */
void run_gone(struct call *c);
void stream_drained(struct call *c);

#endif
