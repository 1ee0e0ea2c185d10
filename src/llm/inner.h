/* The room's inside: what llm.c (upstreams), call.c (the way of a call), relay.c (its answer) and say.c (its words)
 * share. */
#ifndef ANYLLM_LLM_INNER_H
#define ANYLLM_LLM_INNER_H

#include "base/sse.h"
#include "llm/answer.h"
#include "llm/breaker.h"
#include "llm/fault.h"
#include "llm/hints.h"
#include "llm/llm.h"
#include "llm/route.h"
#include "net/client.h"

#define LLM_MAX_REQUEST_BYTES (256U << 20) /* a body of max_body_bytes with every byte escaped */
#define LLM_MAX_ANSWER_BYTES (32U << 20)   /* of a whole answer, before it is parsed */
#define LLM_MAX_OUTPUT_BYTES (16U << 20)   /* of its text */
#define LLM_MAX_ERROR_BYTES 65536U         /* of an error's body; the rest is not read */
#define LLM_MAX_LINE_BYTES (1U << 20)      /* of a stream of events, */
#define LLM_MAX_EVENT_BYTES (4U << 20)     /* and one of these */
#define LLM_MAX_MESSAGE_BYTES 2048U
#define LLM_KEEP_BYTES 16384U /* of each buffer of a call that waits to be used again */
#define LLM_KEEP_CALLS 128U

/* Faults in a row after which an upstream counts as unable, and for how long it is then only the last choice. */
#define LLM_UNABLE_AFTER 5U
#define LLM_UNABLE_MS 5000U

struct call_list {
    struct llm_call *first, *last;
    size_t n;
};

struct upstream {
    struct llm *m;
    const struct config_upstream *cfg;
    struct net_origin *origin;
    struct engine *engine; /* local only */
    struct buf path;
    struct buf whole_head, stream_head; /* header lines; they hold the key */
    struct fault_secrets secrets;       /* what its texts must not repeat */
    struct net_deadlines deadlines;
    size_t in_flight;          /* slots taken */
    struct call_list waiting;  /* for a slot, in order */
    struct call_list starting; /* hold a slot, wait for the engine */
    uint64_t calls, failures, retries;
    unsigned faults_in_row;
    uint64_t unable_until_ms;
    struct breaker breaker;
};

struct llm {
    struct llm_options o;
    size_t nupstreams;
    struct upstream *upstreams;
    size_t ntls;
    struct net_tls **tls; /* one per distinct ca_file */
    const char **tls_ca;
    struct answer_reader reader;
    struct hints hints;
    unsigned npools; /* known sets of upstreams … */
    bool *pools;     /* … each a row of nupstreams + 1; one more row to make the next in */
    struct llm_call *free;
    size_t nfree;
    struct net_defer capacity;
    struct log_rate fault_rate, replaced_rate;
    size_t engines_running;
    void (*on_closed)(void *user);
    void *closed_user;
    struct net_defer closed;
    struct net_timer closing;
};

/* The way of a call:
 *
 *   CALL_SLOT    --slot free-->  CALL_BEGIN
 *   CALL_BEGIN   --engine not ready--> CALL_ENGINE --ready--> CALL_BEGIN
 *   CALL_BEGIN   --sent--> CALL_SENT
 *   CALL_SENT    --200--> CALL_WHOLE or CALL_STREAM    --other status--> CALL_ERROR
 *   CALL_WHOLE, CALL_STREAM, CALL_ERROR, CALL_SENT, CALL_ENGINE:
 *                --answer whole--> CALL_OVER (on_end)
 *                --fault, nothing put out, another upstream--> CALL_BEGIN or CALL_SLOT
 *                --fault else--> CALL_OVER (on_end)
 *   any          --llm_cancel--> CALL_OVER (no hook)
 */
enum call_state {
    CALL_SLOT,
    CALL_BEGIN,
    CALL_ENGINE,
    CALL_SENT,
    CALL_WHOLE,
    CALL_STREAM,
    CALL_ERROR,
    CALL_OVER
};

struct llm_call {
    struct llm *m;
    enum call_state state;
    struct llm_request r;
    char model
        [ROUTE_MAX_MODEL_BYTES]; /* of r: the caller may drop its input once output has begun */
    const struct llm_sink *sink;
    void *user;
    struct route_step steps[ROUTE_MAX_STEPS];
    size_t nsteps, at; /* the present one */
    uint32_t tried;    /* bits of steps */
    struct upstream *up;
    bool has_slot, paused;
    bool again;    /* the one repeat of U12 is used up */
    bool started;  /* on_start was called */
    bool shown;    /* on_delta was called */
    bool streamed; /* the upstream was asked to stream */
    bool saw_chunk, saw_finish, saw_done;
    bool says;                    /* members: the events hold more than a role */
    unsigned depth;               /* hooks of ours on the stack: the memory stays until 0 */
    struct llm_call *next, *prev; /* in a list of its upstream, or in the free list */
    struct call_list *list;
    struct net_call *net;
    struct net_timer timer; /* CALL_ENGINE */
    struct net_defer later; /* what could not be done at once: begin, or fail with `fault` */
    bool failing;
    struct net_defer tell;       /* CALL_STREAM: what came is told when the read is done */
    struct buf body;             /* the request */
    struct buf in;               /* CALL_WHOLE, CALL_ERROR: the answer's bytes */
    struct buf output, thoughts; /* CALL_STREAM: text and reasoning so far */
    struct buf events;           /* CALL_STREAM of members: what the sink has not seen yet */
    size_t told, thoughts_told;  /* how much of them the sink has seen */
    struct sse_reader sse;
    struct llm_usage usage;
    struct buf raw_usage;
    char finish_reason[32];
    char code[64], param[64];             /* of an error, for callers of OpenAI's dialect */
    uint64_t begun_ms, sent_ms, first_ms; /* first_ms 0: no token yet */
    unsigned status;
    enum llm_fault fault;
    int64_t retry_after_ms;
    struct buf message;
};

/* --- llm.c */
bool upstream_able(const struct upstream *up);
void upstream_judge(struct upstream *up,
                    enum llm_fault f); /* after each call, LLM_OK for a good one */
void llm_tell_capacity(struct llm *m);
size_t upstream_room(const struct upstream *up); /* free slots, none while nothing may be sent */

/* --- pools.c */
bool upstream_sets_init(struct llm *m, size_t nupstreams);
void upstream_sets_free(struct llm *m);

/* --- call.c */
void call_begin(struct llm_call *c);
void call_begin_later(struct llm_call *c);
/* Something went wrong at the present upstream: the next one, or the end. The message is made here from `e` (may be
 * NULL). No call of net is running any more. c may be gone afterwards unless depth > 0. */
void call_fail(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
               const char *detail);
/* The end with success. */
void call_finish(struct llm_call *c, struct llm_result *r);
void call_enter(struct llm_call *c);
void call_leave(struct llm_call *c);
void call_unlist(struct llm_call *c);
void call_list_add(struct call_list *l, struct llm_call *c);
void call_abort_net(struct llm_call *c);

/* --- relay.c */
static inline bool call_is_raw(const struct llm_call *c) {
    return c->r.members.len > 0;
}
extern const struct net_call_hooks relay_hooks;
void relay_tell(struct net_defer *d); /* what llm_call.tell runs */
/* Before each sending. */
void relay_reset(struct llm_call *c);
/* The cost of what was used, where it can be known. */
void relay_price(const struct llm_call *c, struct llm_usage *u);

/* --- say.c: lines for the caller's log (nothing is formatted without a sink for them) and texts of errors */
void say(struct llm_call *c, const char *level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void say_route(struct llm_call *c);
void say_waiting_slot(struct llm_call *c);
void say_waiting_engine(struct llm_call *c);
/* The name OpenRouter gives an answer, by which its operators find it; for our operators' log. */
void say_generation(const struct llm_call *c, struct slice id);
void say_first_token(struct llm_call *c);
void say_done(struct llm_call *c, const struct llm_result *r);
void say_odd_usage(const struct llm_call *c, const struct llm_usage *u);
void say_fault(struct llm_call *c, enum llm_fault f, const char *detail);
void say_names(struct llm_call *c, enum llm_fault f, const struct upstream_error *e);
void say_message(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
                 const char *detail);

#endif
