/* What one message of a WebSocket asks of a model: the same checks, limits and books as a direct call, the answer told by
 * whoever asked. One at a time for a connection; c->request_id, c->request and c->llm are those of the present one. */
#ifndef ANYLLM_API_REALTIME_INPUT_H
#define ANYLLM_API_REALTIME_INPUT_H

#include "api/call.h"

#define INPUT_ID_MAX_BYTES 128U /* of a request_id that is echoed */

/* Why there is no answer. */
struct input_refusal {
    unsigned status;             /* as a direct call is answered */
    const char *type;            /* "request_timeout"; NULL: the input is wrong */
    struct slice reason;         /* one line */
    uint64_t wait_ms;            /* until it is worth asking again; 0: not said */
    const struct faults *faults; /* NULL, or all that is wrong with the input */
    const struct llm_error *err; /* NULL, or how the model failed */
    bool key_ended;              /* the key behind the connection opens nothing any more */
};

struct input {
    struct call *call;
    const struct llm_sink *sink; /* on_end is never called by us: see input_start */
    struct arena arena;          /* what the request borrows from, but for the parsed text */
    struct faults faults;
    struct slice id; /* request_id of the input; len 0: none */
    struct llm_error err;
};

void input_init(struct input *in, struct call *c);
/* Reads and starts it. False: it is not started, *why says why, until input_end. The sink's hooks come with c. */
bool input_start(struct input *in, struct slice json, bool stream, const struct llm_sink *sink,
                 struct input_refusal *why);
/* For the sink's on_end with an error. */
void input_failed(struct input *in, const struct llm_error *err, struct input_refusal *why);
/* After the end, or a refusal: gives back the place among the calls at once and the memory. */
void input_end(struct input *in);
void input_free(struct input *in); /* when the exchange is gone */

/* {"type":"x-fal-error","error":"RATE_LIMIT_EXCEEDED","reason":…,"status":429,…} */
void input_event(struct buf *b, const struct input *in, const struct input_refusal *why);
/* The body that a direct call is answered. */
void input_body(struct buf *b, const struct input_refusal *why);
/* "request_id":"…", for the front of an object; nothing when the input had none. */
void input_add_id(struct buf *b, const struct input *in);

#endif
