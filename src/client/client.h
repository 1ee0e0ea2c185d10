/* What libfal's files share; nothing here is installed. The way of a call:
 *
 *   api.c     checks the arguments, fills a struct client_call
 *   call.c    runs it: a state machine over exchanges, pauses and retries
 *   http.c    one exchange on libcurl: request out, reply in
 *   retry.c, url.c, status.c, error.c: pure; decide, build and read
 *   result.c  what the caller gets
 *
 * Out of memory is a value that comes back through every function here, never an abort. */
#ifndef ANYLLM_CLIENT_CLIENT_H
#define ANYLLM_CLIENT_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/slice.h"
#include "fal.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <yyjson.h>

#define CLIENT_URL_BYTES 4096U         /* longest address we build or follow */
#define CLIENT_INPUT_BYTES (64U << 20) /* largest input; servers take less */
#define CLIENT_CONNECT_MS 10000
#define CLIENT_RETRIES 5
#define CLIENT_RETRY_BASE_MS 500
#define CLIENT_RETRY_CAP_MS 30000
#define CLIENT_RETRY_AFTER_MAX_S 120.0 /* a longer wait is the caller's to decide */
#define CLIENT_POLL_FIRST_MS 50
#define CLIENT_POLL_MAX_MS 500
#define CLIENT_CANCEL_MS 5000 /* for telling the server that we gave up */
#define CLIENT_MESSAGE_BYTES 1024
#define CLIENT_NAME_BYTES 256 /* error types, request ids from headers */

/* ---- url.c: addresses. Pure. ---- */

struct client_base {
    char *run, *queue; /* no trailing slash; from malloc */
    bool fal;          /* one of fal's own hosts: an Idempotency-Key is ignored there */
    bool loopback;     /* never through a proxy */
};

/* `url` as fal_options.base_url says, not NULL. On an error nothing is to be freed. */
enum fal_code client_base_set(struct client_base *base, const char *url);
void client_base_free(struct client_base *base);

/* True when credentials for `base` may be sent to `url`. */
bool client_base_trusts(const struct client_base *base, const char *url);

/* "owner/alias/path" as the wire wants it; legacy "123-alias" rewritten. app_bytes is the length of
 * its "[namespace/]owner/alias" part, which alone stands in addresses of queued requests. */
struct client_endpoint {
    char id[CLIENT_NAME_BYTES * 2];
    size_t app_bytes;
};
bool client_endpoint_parse(const char *id, struct client_endpoint *out);

/* Appends percent-encoded, all but unreserved characters. */
bool client_url_escape(struct buf *out, const char *s);
/* Appends {queue}/{app}/requests/{id}{tail}. */
bool client_url_request(struct buf *out, const struct client_base *base,
                        const struct client_endpoint *ep, const char *request_id, const char *tail);

/* ---- retry.c: what is tried again, and when. Pure. ---- */

enum client_method { CLIENT_GET, CLIENT_PUT, CLIENT_POST };

struct client_attempt {
    enum client_method method;
    enum fal_code code; /* FAL_OK: an answer came, see http_status */
    int http_status;
    bool not_sent;      /* no byte of the request left */
    bool may_pass;      /* code != FAL_OK: may work later (a refused certificate will not) */
    bool start_timeout; /* 504 with X-Fal-Request-Timeout-Type */
    bool marked_final;  /* the server said that it is not retryable */
    bool keyed;         /* carried an Idempotency-Key */
    bool fal;           /* to fal's own hosts */
};

bool client_retry_wanted(const struct client_attempt *attempt);
/* Whether the same call may succeed later, whoever decides to make it. */
bool client_retry_useful(const struct client_attempt *attempt);
/* Pause before attempt number `attempt` + 1 (from 0). */
int64_t client_retry_pause_ms(const struct random *random, int64_t base_ms, unsigned attempt);
/* The Retry-After header: seconds or a date; negative when it is neither. */
double client_retry_after_s(const char *value, int64_t now_s);

/* ---- http.c: one exchange ---- */

struct client_request {
    enum client_method method;
    const char *url;          /* borrowed until the exchange ends */
    struct slice body;        /* borrowed until the exchange ends */
    struct curl_slist *extra; /* header lines; owned by the exchange */
};

struct client_reply {
    enum fal_code code; /* FAL_OK: an answer came, whatever its status */
    int http_status;
    bool not_sent, may_pass;
    bool is_json; /* says its Content-Type, or it has none */
    bool start_timeout;
    int retryable;        /* X-Fal-Retryable and the like: 1, 0, or -1 when not said */
    double retry_after_s; /* negative when not said */
    char request_id[CLIENT_NAME_BYTES];
    char error_type[CLIENT_NAME_BYTES];
    char message[CLIENT_MESSAGE_BYTES]; /* of a transport error */
    struct buf body;
};

struct client_exchange {
    CURL *easy; /* NULL when none is running */
    struct curl_slist *headers;
    char curl_error[CURL_ERROR_SIZE];
    bool too_large;  /* the bytes at hand would pass FAL_MAX_REPLY_BYTES */
    bool head_ended; /* its empty line came */
    struct client_reply reply;
};

/* Starts it on the client's multi handle; FAL_OK: it runs until client_exchange_end. */
enum fal_code client_exchange_begin(struct client_exchange *x, fal_client *c,
                                    const struct client_request *request);
/* Moves it on. True when it is over: x->reply holds what came. */
bool client_exchange_poll(struct client_exchange *x, fal_client *c);
/* Aborts it if it runs and frees the reply. */
void client_exchange_end(struct client_exchange *x, fal_client *c);

/* ---- status.c: queue status ---- */

struct client_status {
    struct fal_status pub;
    yyjson_doc *doc; /* pub's strings live here */
    char *json;
    struct fal_log *entries;
    const struct fal_log **pointers;
};

/* Reads a status out of a reply's JSON. `submitted`: a submit's reply, which may leave `status` out
 * and must name a request_id. `request_id`: of the request asked for, when the reply does not name
 * it (must outlive the status). `before` is the status that came before, or NULL. On an error NULL,
 * and *code says why. */
struct client_status *client_status_read(struct slice json, bool submitted, const char *request_id,
                                         const struct client_status *before, enum fal_code *code);
void client_status_free(struct client_status *s);

/* ---- result.c, error.c ---- */

struct fal_result {
    struct fal_error error; /* its strings are the arrays below, or static */
    int http_status;
    char message[CLIENT_MESSAGE_BYTES];
    char error_type[CLIENT_NAME_BYTES];
    char *request_id; /* from malloc, or NULL */
    char *body;
    size_t body_bytes;
    yyjson_doc *doc; /* of body; NULL when it is not JSON */
    struct client_status *status;
};

fal_result *client_result_new(void);
/* Sets code and message when no error is set yet; printf-like. Returns the code that now holds. */
enum fal_code client_result_fail(fal_result *r, enum fal_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes body, status code and id out of the reply; parses JSON. FAL_OK or FAL_ERR_MEMORY. */
enum fal_code client_result_take(fal_result *r, struct client_reply *reply);
/* Keeps a copy of the id. FAL_OK or FAL_ERR_MEMORY. */
enum fal_code client_result_set_id(fal_result *r, const char *request_id);
/* Error text and type from the reply's JSON, in the order of the wire's description: `detail`
 * string, else the first `detail[].msg` with its `loc`, else `error.message`, else `message`, else
 * the status. */
void client_error_read(fal_result *r, const struct client_reply *reply);
/* Copies at most CLIENT_MESSAGE_BYTES - 1 bytes, whole UTF-8 characters, control characters as
 * spaces. */
void client_error_set_text(char out[CLIENT_MESSAGE_BYTES], struct slice text);

/* ---- client.c ---- */

struct fal_client {
    struct client_base base;
    char *authorization; /* "Authorization: Key …", or NULL */
    char *user_agent;
    int64_t connect_timeout_ms;
    int64_t retry_base_ms;
    unsigned max_retries;
    bool no_connect_retry;
    CURLM *multi;              /* holds the kept connections; also what fal_client_cancel wakes */
    const struct clock *clock; /* seams */
    const struct random *random;
    atomic_bool cancelled;
    atomic_bool busy;
};

/* Copies an options struct of the caller's size into ours, which is zeroed first. False when the
 * caller's is newer and uses what we do not know. */
bool client_options_copy(void *ours, size_t ours_bytes, const void *theirs);
/* Printable ASCII without line ends: fit for a header's value. */
bool client_text_is_header(const char *s);

/* ---- call.c ---- */

enum client_step { CLIENT_RUN, CLIENT_SUBMIT, CLIENT_STATUS, CLIENT_RESULT, CLIENT_CANCEL };

enum client_call_state { CLIENT_EXCHANGING, CLIENT_BACKING_OFF, CLIENT_PAUSING, CLIENT_DONE };

struct client_call {
    fal_client *client;
    /* What is asked, filled by api.c. Options hold what all kinds of calls have between them. */
    enum client_step first_step;
    bool follow; /* subscribe: go on after the submit */
    struct client_endpoint endpoint;
    const char *request_id; /* status, result, cancel */
    const char *input;
    const char *url;
    struct fal_subscribe_options options;
    char idempotency_key[CLIENT_NAME_BYTES];

    /* How far it is. */
    enum client_call_state state;
    enum client_step step; /* of the exchange that runs or is about to */
    enum fal_code stopped; /* TIMEOUT or CANCELLED while the server is being told, else FAL_OK */
    bool answered;         /* the server was there once */
    unsigned attempt;      /* of this step, from 0 */
    int64_t poll_ms;
    uint64_t due_ms;                 /* end of the pause; monotonic */
    uint64_t deadline_ms;            /* UINT64_MAX: none */
    struct client_status *submitted; /* the submit's reply: its addresses are followed */
    struct buf url_text;
    struct client_exchange exchange;
    fal_result *result;
};

/* Runs it to its end and returns how it ended; *out as the header says of `result`. */
enum fal_code client_call_run(struct client_call *call, fal_result **out);

#endif
