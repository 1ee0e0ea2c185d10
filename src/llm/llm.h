/* Running a model: neutral request in, deltas and a result out. Routing, upstream slots, adapters (OpenAI's wire,
 * OpenRouter's, the local engine's), relay with back-pressure. No HTTP server in sight: callers implement a sink.
 * Loop's thread only. */
#ifndef ANYLLM_LLM_LLM_H
#define ANYLLM_LLM_LLM_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/random.h"
#include "llm/catalogue.h"
#include "llm/engine.h"
#include "net/loop.h"

struct llm;
struct llm_call;

/* What OpenRouter chooses a provider by; NONE: as it likes, mostly by price. */
enum llm_priority { LLM_PRIORITY_NONE, LLM_PRIORITY_THROUGHPUT, LLM_PRIORITY_LATENCY };

/* Built from validated values only. Slices are borrowed until on_end (or llm_cancel). */
struct llm_request {
    const char *request_id;     /* for logs */
    struct slice model;         /* catalogue id as asked */
    struct slice system_prompt; /* len 0: none */
    struct slice prompt;
    size_t nimages, naudios, nvideos;
    const struct slice *images, *audios, *videos; /* http(s) URLs or data URIs */
    bool has_temperature, has_max_tokens;
    double temperature;
    uint32_t max_tokens;
    bool reasoning; /* the caller wants the reasoning in the answer */
    enum llm_priority priority;
    bool keeps_nothing; /* enterprise: only upstreams that keep nothing */
    bool stream;        /* deltas wanted; else one on_end with everything */
    /* queue: waits for a slot and for the engine; direct: LLM_BUSY when all slots are taken */
    bool wait;
    bool no_fallback; /* the first upstream of the route only: no failover, no fallback_model */
    /* len 0: none. Calls of one hint go to the upstream that answered its last one, while that one can */
    struct slice hint;
    /* OpenAI's dialect, len 0: not. The caller's own members as JSON text, `"messages":[…],"top_p":0.5`, without model,
     * stream and stream_options; they travel unchanged, and none of the values above but model, hint and keeps_nothing is
     * written. Then the answer travels unchanged too: as on_events or as result.body. */
    struct slice members;
    struct slice
        stream_options; /* members, stream: those of the caller's but include_usage; len 0: none */
    bool wants_usage; /* members, stream: the usage chunk was asked for; else it is not given on */
    /* members: whether a part of a message is an address, and the longest that is a data URI. For who looks at them before
     * llm_start; here they mean nothing. */
    bool has_addresses;
    size_t longest_data;
};

enum llm_fault {
    LLM_OK,
    LLM_BUSY,                /* no slot (direct): 429 concurrent_requests_limit */
    LLM_NO_ROUTE,            /* no upstream answers this model: 422 on model */
    LLM_REFUSED,             /* the upstream called the input wrong (400, 422): 422 */
    LLM_RATE_LIMITED,        /* 429 of the upstream */
    LLM_QUOTA,               /* 429 insufficient_quota, 402: waiting does not help: 502 */
    LLM_CREDENTIALS,         /* 401, 403 of the upstream: 502, our key is bad */
    LLM_UNKNOWN_MODEL,       /* 404 of the upstream: 502, names the catalogue */
    LLM_UPSTREAM_ERROR,      /* 500, 502 */
    LLM_UPSTREAM_OVERLOADED, /* 503, 504, 524, 529 */
    LLM_CONNECT,             /* DNS, refused: 503 runner_connection_refused */
    LLM_CONNECT_TIMEOUT,     /* 503 runner_connection_timeout */
    LLM_TLS,                 /* 502 */
    LLM_TIMEOUT,             /* first byte, between bytes or total: 504 request_timeout */
    LLM_CUT,                 /* died mid-answer: 502 runner_incomplete_response */
    LLM_BAD_ANSWER,          /* HTML, empty, no choices, redirect: 502 */
    LLM_ENGINE,              /* the local engine cannot start: 503 */
    LLM_CONTENT_POLICY,      /* 422 content_policy_violation */
    LLM_UNSUPPORTED,         /* the model does not take such input (images, audio, …): 422 */
    LLM_FILE, /* a file of the input cannot be had or is of another kind: 422; code and param say which */
    LLM_FILE_TOO_LARGE, /* 413 */
    LLM_MEMORY          /* 503 */
};

/* Which of the counts of x-fal-retry-config a fault falls under. */
enum llm_failure {
    LLM_FAILURE_OTHER, /* none of them: the caller's own input, our keys, our limits */
    LLM_FAILURE_SERVER_ERROR,
    LLM_FAILURE_TIMEOUT,
    LLM_FAILURE_CONNECTION
};

/* One table maps a fault to what a caller of fal's API gets; llm_fault_info never returns NULL. */
struct llm_fault_info {
    unsigned http_status;
    const char *error_type; /* fal's infrastructure type, or model error type when model_error */
    bool model_error;       /* the body is detail[] */
    bool retryable;         /* the queue may try again */
    unsigned max_attempts;  /* in all, for the queue */
    enum llm_failure failure;
};
const struct llm_fault_info *llm_fault_info(enum llm_fault f);

struct llm_error {
    enum llm_fault fault;
    struct slice message;   /* for the caller: scrubbed, no address, no key */
    int64_t retry_after_ms; /* -1: not told */
    /* OpenAI's names for a mistake of the caller's (REFUSED, CONTENT_POLICY, UNSUPPORTED), when the upstream gave some:
     * "context_length_exceeded", "messages.0.content". Letters, digits and _.-[] only. len 0: none. */
    struct slice code, param;
};

struct llm_usage {
    bool known;
    uint64_t prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_write_tokens,
        reasoning_tokens;
    bool has_cost;
    int64_t cost_microusd;
    struct slice raw; /* the upstream's usage object as JSON, len 0: none */
};

struct llm_result {
    struct slice output;    /* whole text; on an error what was produced so far */
    struct slice reasoning; /* len 0: none */
    struct slice finish_reason;
    struct slice upstream, model; /* names for the X-Anyllm- headers; len 0: never routed */
    struct llm_usage usage;
    struct slice body; /* members, not streamed: the upstream's answer as it came */
    bool shown;        /* some delta was given to the sink */
    bool sent;         /* the upstream that is named got the request */
    uint64_t took_ms;  /* since llm_start */
};

/* No hook is called before llm_start has returned. on_log in any number; on_start at most once, only for a streaming
 * request; then on_delta in any number; on_end exactly once and last. Slices are valid during the call. After llm_cancel
 * no hook is called; it may be called in any hook but on_log (which only takes note) and on_end. */
struct llm_sink {
    void (*on_log)(void *user, const char *level, struct slice line); /* may be NULL */
    /* Output begins: headers can be sent, no other upstream will be tried. `model` is the one that answers. Before the
     * first delta, and before a successful on_end without any. */
    void (*on_start)(void *user, struct slice upstream, struct slice model); /* may be NULL */
    /* What came in one read from the upstream is given as one. Reasoning only when asked for. */
    void (*on_delta)(void *user, struct slice text, struct slice reasoning); /* may be NULL */
    /* Only for a streaming request of members, and then instead of on_delta: events of the upstream's stream as they came,
     * each as `data: {…}\n\n`, all of one read in one slice; without [DONE]. */
    void (*on_events)(void *user, struct slice sse); /* may be NULL */
    /* err NULL: success */
    void (*on_end)(void *user, const struct llm_result *r, const struct llm_error *err);
};

struct llm_options {
    struct net_loop *loop;
    const struct clock *clock;
    const struct random *random;
    const struct config *config;       /* borrowed for life */
    const struct catalogue *catalogue; /* borrowed for life */
    const char *self;                  /* our executable, for the engine */
    /* A slot became free or the engine ready (the queue asks for work then). */
    void (*on_capacity)(void *user);
    void *user;
};

/* NULL with one line in err (exit_code 66 or 78). */
struct llm *llm_new(const struct llm_options *o, struct config_error *err);
void llm_start_engines(struct llm *m);
/* One upstream can serve: local when loaded, others count as able until shown otherwise. */
bool llm_ready(const struct llm *m);
/* Free slots over all upstreams, less the calls that wait for one. */
size_t llm_capacity(const struct llm *m);
/* Calls of one pool compete for the same upstreams, those of other pools need not wait for them. The pool of a call: the same for
 * the same set of upstreams; sets that do not fit among the others share the last number. Below LLM_POOLS. */
#define LLM_POOLS 32U
unsigned llm_pool(struct llm *m, struct slice model, bool keeps_nothing, bool no_fallback);
/* Free slots of its upstreams, less the calls that wait for one of them. An upstream whose breaker is open has none; where
 * nobody answers there is always some room, so that such a call starts and fails. */
size_t llm_pool_capacity(const struct llm *m, unsigned pool);
/* Is there any way to answer this id? (unknown ids are the caller's 422) */
bool llm_knows(const struct llm *m, struct slice model);
/* Whether every upstream of the model's route (fallback_model's not counted) fetches addresses of pictures and films, with
 * `sound` those of sound: local engines take none, OpenRouter none of sound. */
bool llm_can_fetch(const struct llm *m, struct slice model, bool sound);
/* The ids that GET /v1/models lists: the catalogue's, the aliases of local upstreams, those that routes name exactly. False:
 * i is past the last. *id is empty where the i-th cannot be answered, or was given already. */
bool llm_model_at(const struct llm *m, size_t i, struct slice *id);
/* One line that says how models are answered, for the start-up log ("every model is answered by local/…"). */
void llm_describe(const struct llm *m, char *out, size_t size);
/* Stops engines, cancels nothing; calls on_closed once, then the memory is gone. No call may be running. */
void llm_close(struct llm *m, void (*on_closed)(void *user), void *user);

/* NULL with *err filled at once: LLM_BUSY, LLM_NO_ROUTE, LLM_MEMORY (no hook will be called). */
struct llm_call *llm_start(struct llm *m, const struct llm_request *r, const struct llm_sink *sink,
                           void *user, struct llm_error *err);
/* Back-pressure: deltas stop, the upstream's socket is not read. */
void llm_pause(struct llm_call *c);
void llm_resume(struct llm_call *c);
/* The present upstream has the request: what a start timeout waits for. Connecting to one is not enough. */
bool llm_sent(const struct llm_call *c);
/* What there is of a call that still runs, for the ledger of one that will not end by itself; lives until the call goes on. */
void llm_so_far(const struct llm_call *c, struct llm_result *out);
/* Closes the upstream call at once. */
void llm_cancel(struct llm_call *c);

struct llm_upstream_stats {
    struct slice name;
    uint64_t calls, failures, retries;
    size_t in_flight, waiting;
    bool able;
};
size_t llm_upstreams(const struct llm *m);
void llm_get_stats(const struct llm *m, size_t i, struct llm_upstream_stats *out);

#endif
