/* Private to the api: one exchange as the handlers see it, and the answers they share. */
#ifndef ANYLLM_API_CALL_H
#define ANYLLM_API_CALL_H

#include "api/api.h"
#include "api/auth.h"
#include "api/forward.h"
#include "api/limits.h"
#include "api/options.h"
#include "api/reach.h"
#include "api/signer.h"
#include "api/validate.h"
#include "store/desk.h"

enum served {
    SERVED_RUN,
    SERVED_STREAM,
    SERVED_OPENAI,
    SERVED_SUBMIT,
    SERVED_STATUS,
    SERVED_STATUS_STREAM,
    SERVED_RESULT,
    SERVED_CANCEL,
    SERVED_DOCS,
    SERVED_OPS,
    SERVED_FILES,
    SERVED_TOKENS,
    SERVED_REALTIME,
    SERVED_PLATFORM,
    SERVED_ADMIN,
    SERVED_PROXY, /* what it leads to has a kind of its own, unless it was refused or sent on to fal */
    SERVED_NONE
};
#define SERVED_KINDS 17

#define RUNNER_UNBEGUN 32U

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
    struct limits *limits;
    struct forwarder *forwarder; /* NULL: the proxy dispatches inside */
    struct run *runs;            /* jobs of the queue that run now */
    struct net_defer end_unbegun;
    size_t nunbegun; /* jobs that there was no memory for: their ends are to come */
    uint64_t unbegun[RUNNER_UNBEGUN];
    struct follower *followers; /* status streams */
    struct socket *sockets;     /* realtime connections */
    struct buf scratch;  /* for an answer being built; nothing lives in it between two calls */
    struct store *store; /* with the desk NULL until api_open */
    struct desk *desk;
    struct signer *signer; /* each of these is a part: life.c opens, loads, closes and frees them */
    struct blobs *blobs;   /* opened and closed by files */
    struct inputs_room *inputs;
    struct files *files;
    struct webhooks *webhooks;
    struct ledger *ledger;
    size_t loading; /* parts that still read; 1 more while api_load runs */
    bool load_failed;
    void (*loaded)(void *user, bool ok);
    void *loaded_user;
    bool draining, store_ok;
    bool operator_only; /* api_load_operator: SERVED_ADMIN and nothing else */
    uint64_t requests[SERVED_KINDS], errors[SERVED_KINDS];
    uint64_t started_ms;
};

struct call;

#define ON_EVERY_HOST (-1)

enum route_flags {
    ROUTE_OPEN = 1,     /* no key needed, or its `head` looks for another permission */
    ROUTE_OPENAI = 2,   /* errors in OpenAI's shape */
    ROUTE_PLATFORM = 4, /* errors in the platform API's shape */
    ROUTE_ADMIN = 8,    /* scope ADMIN, else 403 */
    ROUTE_UPGRADE = 16, /* there only for a request that wants a WebSocket */
    ROUTE_TOKEN = 32    /* ?fal_jwt_token= opens it as well as a key does */
};

struct route {
    enum h1_method method;
    int surface; /* enum config_surface, below its prefix or on its hosts, or ON_EVERY_HOST */
    /* segments; {app} takes an endpoint's id, {id+} one or more, {id}, {sub} and {n} one */
    const char *pattern;
    enum served kind;
    unsigned flags;
    void (*handle)(struct call *c); /* the body is whole, or has gone to hooks->body */
    /* With the head, after the key was looked at, before the body is read: refuses, or calls net_stream_body. May be NULL. */
    void (*head)(struct call *c);
};

#define CALL_MAX_SEGMENTS 12U

/* What a handler wants to hear that goes on when it has returned. */
struct call_hooks {
    void (*drained)(struct call *c); /* the caller reads again; may be NULL */
    /* The start timeout: true when the answer was ended here; may be NULL. */
    bool (*timed_out)(struct call *c);
    void (*gone)(struct call *c); /* the exchange is over: give everything back */
    /* After net_stream_body or net_upgrade: bytes as they come, never empty. */
    void (*body)(struct call *c, struct slice data);
};

/* In the exchange's arena: lives until on_done or on_gone. */
struct call {
    struct api *api;
    struct net_exchange *x;
    const struct route *route;
    struct identity who;
    struct reach at; /* what it is meant for: its own address, or through the proxy another */
    struct slice app, id, sub, n; /* of the path: endpoint id, request or file id, more */
    bool proxied;                 /* through /api/fal/proxy */
    bool counted;                 /* among the calls at once, until it is gone */
    bool openai;                  /* speaks OpenAI's dialect: errors have its shape */
    bool platform;                /* errors have the platform API's shape */
    char request_id[UUID_BYTES];
    const struct endpoint *endpoint; /* of app; NULL: none */
    struct slice beyond;             /* what follows its id in app */
    struct call_options options;
    /* direct calls */
    struct llm_call *llm;
    struct inputs
        *inputs; /* files of the request, before llm_start and as long as it runs; NULL: none */
    const struct llm_sink *sink; /* who hears of both */
    yyjson_doc *input;
    struct llm_request request;
    struct net_timer start;         /* when it must have begun, if the caller said so */
    const struct call_hooks *hooks; /* NULL: nothing goes on after the handler but `llm` */
    void *own;                      /* of the handler whose hooks these are */
    bool logs;
};

/* Finds the route for c->at, and what its pattern names. NULL with *status 404, 405 (*allow gets the methods) or 400. */
const struct route *routes_find(struct call *c, unsigned *status, const char **allow);

/* The headers every answer has: request id, nosniff, CORS. The request need not be known. */
void call_headers(struct call *c);
/* {"detail":…,"error_type":…} with X-Fal-Error-Type when type is given; in OpenAI's shape where that is spoken. */
void call_error(struct call *c, unsigned status, const char *type, struct slice detail);
/* The same, and which parameter is at fault. OpenAI's shape only. */
void call_error_param(struct call *c, unsigned status, const char *code, const char *param,
                      struct slice message);
/* {"detail":[…]}: 422, X-Fal-Retryable: false, x-fal-billable-units: 0. In OpenAI's shape 400 with the first fault. */
void call_faults(struct call *c, const struct faults *f);
/* A model's failure with the headers that belong to it. */
void call_model_error(struct call *c, const struct llm_error *err);
void call_json(struct call *c, unsigned status, struct slice body);
/* The same with the scratch buffer as body; 503 when it did not take all. */
void call_scratch_json(struct call *c, unsigned status);
void call_header_u64(struct call *c, const char *name, uint64_t v);
/* {"error":{"type","message","request_id"}}; type NULL: what follows from the status. */
void platform_error_json(struct buf *b, unsigned status, const char *type, struct slice message,
                         const char *request_id);
/* Checks Content-Type and Content-Encoding of a JSON body; answers 415 and returns false. */
bool call_wants_json(struct call *c);
/* Reads the x-fal-* headers into c->options; answers 400 and returns false. */
bool call_options_ok(struct call *c);
/* Whether c->app is an endpoint's id; answers 404 and returns false. */
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

/* --- OpenAI's dialect */
/* {"error":{"message","type","param","code"}}; the type follows from the status. param.len 0, code NULL: null. */
void openai_error_json(struct buf *b, unsigned status, const char *code, struct slice param,
                       struct slice message);
void openai_model_error_json(struct buf *b, const struct llm_error *err);
/* Where OpenAI answers another status than fal: 404 for an unknown model, 400 for what 422 is there. */
unsigned openai_status(enum llm_fault f);

void handle_run(struct call *c);
void handle_stream(struct call *c);
void handle_submit(struct call *c);
void handle_status(struct call *c);
void handle_status_stream(struct call *c);
void handle_result(struct call *c);
void handle_cancel(struct call *c);
void handle_health(struct call *c);
void handle_ready(struct call *c);
void handle_metrics(struct call *c);
void handle_proxy(struct call *c);   /* proxy.forward only: the request goes on to fal */
void handle_openapi(struct call *c); /* no key: ?endpoint_id=, 404 with null when unknown */
void handle_llms(struct call *c);    /* no key: c->app */
/* The headers that say who answered. */
void call_names(struct call *c, struct slice upstream, struct slice model);
/* Parses and checks the body into c->request; answers what is wrong and returns false. */
bool call_read_input(struct call *c);
/* The parsed body; no slice of c->request but the model may be read any more, and that only if the catalogue has it. */
void call_drop_input(struct call *c);
/* Starts c->request, c as the sink's user; where files are to be read, they are first, and what then goes wrong is told as
 * the end of a call that never was: sink->on_end with an empty result. False: it cannot start, *err says why. */
bool call_launch(struct call *c, const struct llm_sink *sink, struct llm_error *err);
/* The same with the caller's start timeout; answers what cannot start. */
void call_start(struct call *c, const struct llm_sink *sink);
bool call_runs(const struct call *c); /* an end is to come */

/* --- what the queue's calls share */
struct queue_find call_find(struct call *c);
/* The exchange is looked up when the answer comes: the caller may have left. */
struct queue_done call_done(struct call *c,
                            void (*done)(void *user, uint64_t ticket, const struct queue_reply *r));
struct call *call_of(struct api *a, uint64_t ticket); /* NULL: gone */
bool call_reads_logs(struct call *c); /* ?logs= into c->logs; answers 422 and returns false */
/* Answers anything but QUEUE_OK. */
void call_queue_refusal(struct call *c, enum queue_code code);
/* The status document; of the log lines those from `from`. */
void status_json(struct buf *b, const struct call *c, const struct queue_reply *r, size_t from);

/* life.c: a part's load has ended. */
void api_loaded(struct api *a, bool ok);

/* status_stream.c */
void followers_end(struct api *a); /* the server is ending: each gets its status once more */

#endif
