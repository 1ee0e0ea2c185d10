/* A room of models over the scripted upstream (test/mock): upstreams u0, u1 … whose faults their paths choose. */
#ifndef TEST_LLM_CALL_RIG_H
#define TEST_LLM_CALL_RIG_H

#include "tap.h"

#include "base/buf.h"
#include "llm/llm.h"

#include <sys/types.h>

#define RIG_UPSTREAMS 6
#define RIG_KEY "CANARY-upstream-key-77"
#define RIG_MODEL "openai/gpt-oss-120b"
#define RIG_NOBODY "refused" /* a path that means: nobody listens there */

struct rig {
    struct net_loop loop;
    struct config config;
    struct config_upstream upstreams[RIG_UPSTREAMS];
    struct config_route route;
    size_t to[RIG_UPSTREAMS];
    struct catalogue *catalogue;
    struct llm *m;
    size_t capacity_calls;
    bool closed;
};

/* What a sink saw. */
struct got {
    struct rig *rig;
    struct llm_call *call;
    enum llm_fault fault;
    size_t starts, deltas, events, ends, logs;
    bool shown;
    struct buf text;     /* of the deltas */
    struct buf thoughts; /* reasoning of the deltas */
    struct buf sse;      /* events of the upstream's stream */
    struct buf body;     /* its whole answer */
    char output[1 << 16], reasoning[1024], finish[32], upstream[64], model[128], message[2500],
        raw[4096], code[64];
    char log[8192];
    int64_t retry_after_ms;
    struct llm_usage usage;
    size_t cancel_at_delta, pause_at_delta; /* 1: the first */
};

/* The mock runs for the whole program; ports are the kernel's choice. `socket` may be NULL. */
int mock_start(const char *socket);
void mock_stop(void);
uint16_t mock_port(void);

/* Deadlines are short where a path is to run into them: first_byte and idle 300 ms. */
void rig_open(struct rig *r, const char *const *paths, size_t n);
void rig_open_one(struct rig *r, const char *path);
void rig_close(struct rig *r);

extern const struct llm_sink rig_sink;     /* all hooks */
extern const struct llm_sink rig_end_only; /* as a direct call that is not streamed */
extern const struct llm_sink rig_queue;    /* as the queue's runner: log and end */

void got_init(struct got *g, struct rig *r);
void got_free(struct got *g);
/* Until g has ended, at most 10 s. */
void rig_wait(struct got *g);
void rig_turns(struct rig *r, unsigned ms);
/* One call from start to end; `how` is "direct", "stream" or "queue". */
void rig_call(struct rig *r, struct got *g, const char *how);
struct llm_request rig_request(const char *how);
/* The same with a request of one's own; sinks as for `how`. */
void rig_call_with(struct rig *r, struct got *g, const char *how, const struct llm_request *q);

#endif
