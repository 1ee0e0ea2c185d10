/* What libfal's files share; nothing here is installed. The way of a call:
 *
 *   api.c       checks the arguments and begins a call; the blocking calls begin one and turn the loop until it has ended
 *   call.c      what all calls have in common: deadline, cancel, result, end
 *   queue.c, stream.c, upload.c, token.c: the kinds of calls; each is a machine over tries
 *   post.c      what the calls have in common that POST to an endpoint
 *   try.c       one exchange, repeated as the policy says
 *   http.c      one exchange on libcurl: request out, reply in
 *   loop.c      descriptors, timers, and whose turn it is
 *   realtime.c  a WebSocket; beside the calls
 *   retry.c, url.c, status.c, error.c: pure; decide, build and read
 *   result.c    what the caller gets
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
#define CLIENT_NAME_BYTES 256          /* error types, request ids from headers */
#define CLIENT_HEADERS 64              /* lines of one request, all together */
#define CLIENT_LINES_BYTES (32U << 10) /* of those that one caller gives */
#define CLIENT_CONNECTIONS 64L

/* ---- url.c: addresses. Pure. ---- */

enum client_surface { CLIENT_AT_RUN, CLIENT_AT_QUEUE, CLIENT_AT_REST, CLIENT_AT_CDN };
#define CLIENT_SURFACES 4U

struct client_base {
    char *run, *queue, *rest, *cdn; /* no trailing slash; from malloc */
    char *origins[CLIENT_SURFACES]; /* of these, "https://queue.fal.run:443" */
    char *home;                     /* the base's own origin; NULL: fal's hosts */
    bool fal; /* the queue is fal's own, by whatever way: an Idempotency-Key is ignored there */
    bool fals_key; /* it is so by https on its port: credentials may go to all of fal's hosts */
};

/* `url` as fal_options.base_url says, not NULL. On an error nothing is to be freed. */
enum fal_code client_base_set(struct client_base *base, const char *url);
/* One surface's own address in place of what client_base_set made. On an error the base stays as it was. */
enum fal_code client_base_put(struct client_base *base, enum client_surface at, const char *url);
void client_base_free(struct client_base *base);

/* True when credentials for `base` may be sent to `url`: it has the origin of one of the surfaces. */
bool client_base_trusts(const struct client_base *base, const char *url);
/* True when `url` has the base's own origin: what a unix socket stands for. */
bool client_base_is_home(const struct client_base *base, const char *url);
/* An http(s) address without user, query or fragment: fit to be a base or a proxy. FAL_OK, FAL_ERR_ARGUMENT, FAL_ERR_MEMORY. */
enum fal_code client_url_check(const char *url);

/* "owner/alias/path" as the wire wants it; legacy "123-alias" rewritten. app_bytes is the length of
 * its "[namespace/]owner/alias" part, which alone stands in addresses of queued requests. */
struct client_endpoint {
    char id[CLIENT_NAME_BYTES * 2];
    size_t app_bytes;
};
bool client_endpoint_parse(const char *id, struct client_endpoint *out);

/* Appends percent-encoded, all but unreserved characters. */
bool client_url_escape(struct buf *out, const char *s);
/* Not empty, not too long, and no step up or down in an address. */
bool client_request_id_is_sound(const char *id);
/* Appends {queue}/{app}/requests/{id}{tail}. */
bool client_url_request(struct buf *out, const struct client_base *base,
                        const struct client_endpoint *ep, const char *request_id, const char *tail);

/* ---- retry.c: what is tried again, and when. Pure. ---- */

enum client_method { CLIENT_GET, CLIENT_PUT, CLIENT_POST };

struct client_attempt {
    enum client_method method;
    enum fal_code code; /* FAL_OK: an answer came, see http_status */
    int http_status;
    bool not_sent;       /* no byte of the request left */
    bool may_pass;       /* code != FAL_OK: may work later (a refused certificate will not) */
    bool start_timeout;  /* 504 with X-Fal-Request-Timeout-Type */
    bool marked_final;   /* the server said that it is not retryable */
    bool keyed;          /* carried an Idempotency-Key */
    bool repeatable;     /* see struct client_try */
    bool fal;            /* to fal's own hosts */
    const int *statuses; /* in place of those that are tried again; NULL: ours */
    size_t status_count;
};

struct client_pauses {
    int64_t base_ms, max_ms;
    double factor; /* at least 1 */
    bool no_jitter;
};

bool client_retry_wanted(const struct client_attempt *attempt);
/* Whether the same call may succeed later, whoever decides to make it. */
bool client_retry_useful(const struct client_attempt *attempt);
/* Pause before attempt number `attempt` + 1 (from 0). */
int64_t client_retry_pause_ms(const struct random *random, const struct client_pauses *pauses,
                              unsigned attempt);
/* The Retry-After header: seconds or a date; negative when it is neither. */
double client_retry_after_s(const char *value, int64_t now_s);

/* ---- loop.c: descriptors, timers ---- */

struct client_loop;

/* Zeroed: off. */
struct client_timer {
    uint64_t due_ms;                          /* monotonic */
    void (*fire)(struct client_timer *timer); /* it is off by then */
    struct client_timer *next, **link;        /* NULL link: off */
};

void client_timer_set(fal_client *c, struct client_timer *timer, uint64_t due_ms);
void client_timer_off(struct client_timer *timer);

/* A descriptor that is not libcurl's own. Zeroed: off. */
struct client_watch {
    int fd, events; /* FAL_READABLE | FAL_WRITABLE */
    /* May be called when nothing is ready: the descriptor must not block. */
    void (*ready)(struct client_watch *watch, int events);
    bool on;
};

/* Also changes the events of one that is on; its fd stays then. False: no memory. */
bool client_watch_set(fal_client *c, struct client_watch *watch, int fd, int events);
/* Before the descriptor is closed. */
void client_watch_off(fal_client *c, struct client_watch *watch);

uint64_t client_now_ms(const fal_client *c); /* monotonic */
/* What blocks takes its client with this and gives it back with client_leave. False: it is FAL_ERR_BUSY, a callback called
 * back in, or another thread is inside. */
bool client_enter(fal_client *c);
void client_leave(fal_client *c);
/* Waits at most timeout_ms (negative: as long as it takes), then does what can be done. Returns after anything happened, and
 * for cancellations, which it leaves to its caller (fal_client.cancelled). Between client_enter and client_leave.
 * FAL_OK, FAL_ERR_MEMORY. */
enum fal_code client_loop_turn(fal_client *c, int64_t timeout_ms);

/* ---- loop.c, for http.c and client.c ---- */

enum fal_code client_loop_new(fal_client *c);
void client_loop_free(fal_client *c);
struct client_exchange;
/* A new multi handle in place of one that ran out of memory: libcurl 7.88 divides by zero when it goes on with such a one
 * (Curl_hash_add after a failed singlesocket). Nothing runs on it any more. */
void client_loop_renew(fal_client *c);
/* Room for the descriptors of one exchange more, so that libcurl's callback never has to ask for memory; and a multi handle. */
bool client_loop_reserve(fal_client *c);
CURL *client_loop_easy(
    fal_client *c); /* of client_easy_new, perhaps used before. NULL: no memory */
void client_loop_give_easy(fal_client *c, CURL *easy);

/* Bytes that wait in this system on connections between these ports (libcurl does not say which descriptor a transfer has), as
 * far as it tells. */
uint64_t client_loop_unsent(const fal_client *c, long our_port, long their_port);

/* How other threads reach a loop. Shared by the client and its calls, whose handles may outlive it. */
struct client_wake {
    int fd;
    atomic_uint refs;
    atomic_bool calls; /* a call's `cancelled` was set and not yet seen */
};
struct client_wake *client_wake_new(void);
void client_wake_unref(struct client_wake *w);
void client_wake_up(struct client_wake *w);

/* ---- http.c: one exchange ---- */

enum client_auth {
    CLIENT_AUTH_KEY, /* "Authorization: Key …" and the caller's own headers: the surfaces of the client's base only */
    CLIENT_AUTH_NONE, /* neither: an address that a server gave */
};

struct client_request {
    enum client_method method;
    enum client_auth auth;
    struct buf url;           /* NUL-terminated; owned by who owns the request */
    struct buf lines;         /* header lines "Name: value", each NUL-terminated; owned likewise */
    struct slice body;        /* borrowed until the exchange ends */
    const char *content_type; /* NULL: application/json with POST and PUT; "": none */
    const char *accept;       /* NULL: application/json */
    bool proxied;             /* through the client's proxy_url, if there is one */
    bool unrepeatable; /* libcurl must not send it anew by itself when a kept connection breaks */
    bool fresh;        /* on a new connection */
    /* It breaks when it has begun to go out and nothing moved for so long, neither to the peer nor from it. 0: never. */
    int64_t stall_ms;
    /* A 2xx answer's bytes as they come, decompressed, in place of reply.body. False ends the exchange (FAL_ERR_PROTOCOL).
     * NULL: reply.body. http_status, is_event_stream and the names of the reply's head are known by then. libcurl is on
     * the stack: no exchange may begin or end in it; client_call_end is allowed. */
    bool (*sink)(void *owner, struct slice bytes);
    /* Body.len bytes come from here in place of body.ptr: fills `out` with up to `room` from `at` on and returns how many.
     * Negative: the exchange ends (FAL_ERR_TRANSPORT, not to be tried again; the owner has the words). libcurl is on the
     * stack, as with sink. */
    int64_t (*read)(void *owner, uint64_t at, char *out, size_t room);
    /* Bytes of the body that have gone out. NULL: nobody wants to know. */
    void (*sent)(void *owner, uint64_t bytes);
};

/* True when one of the lines, each NUL-terminated, has this name. */
bool client_lines_have(const struct buf *lines, struct slice name);
void client_request_init(struct client_request *r, enum client_method method);
void client_request_free(struct client_request *r);
/* Appends "name: value"; nothing when value is NULL. False: no memory (also sticky in lines). */
bool client_request_line(struct client_request *r, const char *name, const char *value);

/* All header lines it goes out with, each NUL-terminated. Inits `out`, which is to be freed whatever comes. */
enum fal_code client_request_lines(struct buf *out, const fal_client *c,
                                   const struct client_request *r);
bool client_request_proxied(const fal_client *c, const struct client_request *r);

struct client_reply {
    enum fal_code code; /* FAL_OK: an answer came, whatever its status */
    int http_status;
    bool not_sent, may_pass;
    bool is_json; /* says its Content-Type, or it has none */
    bool is_event_stream;
    bool start_timeout;
    int retryable;        /* X-Fal-Retryable and the like: 1, 0, or -1 when not said */
    double retry_after_s; /* negative when not said */
    struct buf body;
    char request_id[CLIENT_NAME_BYTES]; /* from here on not cleared but for the first byte */
    char error_type[CLIENT_NAME_BYTES];
    char etag[CLIENT_NAME_BYTES];
    char message[CLIENT_MESSAGE_BYTES]; /* of a transport error */
};

struct client_exchange {
    CURL *easy;                           /* NULL when none is running */
    fal_client *client;                   /* NULL: ended, or never begun */
    const struct client_request *request; /* borrowed until the exchange ends */
    struct buf lines;                     /* NUL-terminated each; `headers` points into it */
    bool too_large;                       /* the bytes at hand would pass FAL_MAX_REPLY_BYTES */
    bool head_ended;                      /* its empty line came */
    bool refused;                         /* the sink did not want more */
    bool stalled;                         /* it broke for that */
    unsigned still;                       /* looks in a row that saw nothing move since `moved` */
    uint64_t moved;
    struct client_timer look;
    /* Once, from the loop: reply holds what came. May end the exchange, or what it is part of. */
    void (*done)(struct client_exchange *x);
    void *owner;                          /* given to sink, read and sent */
    uint64_t read_bytes;                  /* of the body, by read */
    struct client_exchange *next, **link; /* those that run */
    struct client_reply reply;
    char curl_error[CURL_ERROR_SIZE];
    struct curl_slist headers[CLIENT_HEADERS];
};

/* FAL_OK: `done` will come. FAL_ERR_MEMORY, FAL_ERR_ARGUMENT (credentials_fn gave what is no header): it will not, nothing is
 * to be ended. */
enum fal_code client_exchange_begin(struct client_exchange *x, fal_client *c,
                                    const struct client_request *request,
                                    void (*done)(struct client_exchange *x), void *owner);
/* Aborts it if it runs and frees the reply. Not from a sink. */
void client_exchange_end(struct client_exchange *x);
/* What a client adds to every request to `url`, when that is of its base: the caller's own header lines and, with `key`, the
 * Authorization line; each NUL-terminated, none whose name is there already. FAL_OK, FAL_ERR_ARGUMENT (credentials_fn gave
 * what is no header); lack of memory is sticky in `lines`. */
enum fal_code client_lines_own(struct buf *lines, const fal_client *c, const char *url, bool key);
/* The address, and how it is reached: the socket or the proxy that leads there, time, certificates. */
CURLcode client_set_way(CURL *e, const fal_client *c, const char *url);
/* A handle with all that is the same for each exchange of this client. NULL: no memory. */
CURL *client_easy_new(const fal_client *c);
/* Ends with `done` those that libcurl has finished; or, when it failed as a whole, all. For loop.c. */
void client_exchanges_finish(fal_client *c);
void client_exchanges_fail(fal_client *c, enum fal_code code, const char *message);

/* ---- try.c: one exchange, again as the policy says ---- */

struct client_try {
    fal_client *client;
    struct client_request request; /* built by the owner before client_try_begin; ended with it */
    bool keyed;                    /* carries an Idempotency-Key */
    bool repeatable; /* a POST that does no harm when carried out twice: tried again as a PUT is */
    bool final;      /* an error in the answer will not change: never again */
    bool once;       /* never again, whatever comes */
    bool answered;   /* in: the server was there once. out: it is */
    uint64_t deadline_ms; /* no pause that ends after it, unless wait_on; UINT64_MAX: none */
    bool wait_on;
    unsigned attempt; /* from 0 */
    bool useful;      /* out: the same may succeed later, whoever decides to make it */
    struct client_timer timer;
    /* Once: exchange.reply holds the last answer, until client_try_end. A reply that is FAL_OK may be any status. */
    void (*done)(struct client_try *t);
    void *owner;
    struct client_exchange exchange; /* last: large, and not cleared whole */
};

void client_try_init(struct client_try *t, fal_client *c, enum client_method method,
                     void (*done)(struct client_try *t), void *owner);
/* Sends the request. Sink, read and sent are given t->owner. Never calls done itself. FAL_ERR_MEMORY, FAL_ERR_ARGUMENT: done will
 * not come. */
enum fal_code client_try_begin(struct client_try *t);
/* Aborts it if it runs; frees request and reply. It can be initialised again. NULL-safe on a zeroed one. */
void client_try_end(struct client_try *t);
static inline bool client_try_ok(const struct client_try *t) {
    return t->exchange.reply.code == FAL_OK && t->exchange.reply.http_status / 100 == 2;
}

/* ---- status.c: queue status ---- */

struct client_status {
    struct fal_status pub;
    yyjson_doc *doc; /* pub's strings live here */
    char *json;
    struct fal_log *entries;
    struct client_status *older; /* its lines are among pub.logs too; owned */
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
/* The same of a try that is over: FAL_OK, a 2xx answer is in the result; else its error is, of whatever sort. Returns the code. */
struct client_try;
enum fal_code client_result_answer(fal_result *r, struct client_try *t);
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
    fal_credentials_fn credentials_fn;
    void *credentials_user;
    char *user_agent, *proxy_url, *unix_socket, *ca_file; /* the last three may be NULL */
    struct buf lines; /* the caller's own, each NUL-terminated */
    int64_t connect_timeout_ms, timeout_ms;
    struct client_pauses pauses;
    bool no_connect_retry;
    int *retry_statuses; /* NULL: the library's own */
    size_t retry_status_count;
    unsigned max_retries;
    const struct clock *clock; /* seams */
    const struct random *random;
    atomic_bool cancelled; /* the blocking call */
    atomic_bool busy;      /* inside a function that turns the loop; see client_enter */
    bool closing;          /* in fal_client_free */
    CURLM *multi;          /* NULL: to be made, see client_loop_reserve */
    long max_connections;
    struct client_loop *loop; /* loop.c's own */
    struct client_wake *wake;
    struct client_exchange *exchanges; /* that run */
    size_t exchange_count;
    struct fal_call *calls, *fresh, *over; /* under way; not begun yet; ended, `done` to come */
    size_t pending;                        /* calls and realtime connections */
    struct fal_realtime *realtimes;        /* that have not ended */
    void (*end_realtimes)(
        fal_client
            *c); /* without a word; set when there was one: who has none need not link them */
};

/* Copies an options struct of the caller's size into ours, which is zeroed first. False when the
 * caller's is newer and uses what we do not know. */
bool client_options_copy(void *ours, size_t ours_bytes, const void *theirs);
/* Printable ASCII without line ends: fit for a header's value. */
bool client_text_is_header(const char *s);
/* The same without blanks, not empty, of at most max_bytes. */
bool client_text_is_word(const char *s, size_t max_bytes);
/* Appends "Name: value" lines of the caller's, each NUL-terminated. FAL_ERR_ARGUMENT: one is no header, or one that frames
 * messages (Content-Length, Transfer-Encoding); FAL_ERR_MEMORY. */
enum fal_code client_lines_add(struct buf *lines, const char *const *headers, size_t count);

/* ---- call.c: what all calls have in common ---- */

struct client_kind {
    /* Begins the first try. FAL_OK: client_call_end comes later. Else the call is ended with this. */
    enum fal_code (*start)(fal_call *call);
    /* Deadline or cancel, once: true when it goes on (it tells the server; call->deadline_ms is set anew) and ends itself
     * later; the second time, or then, it is ended without being asked. Optional. */
    bool (*stop)(fal_call *call);
    /* Ends its tries and frees what is its own; not the call's memory. */
    void (*free)(fal_call *call);
};

enum client_call_place { CLIENT_CALL_NEW, CLIENT_CALL_FRESH, CLIENT_CALL_ON, CLIENT_CALL_OVER };

/* First member of each kind's own struct.
 *
 *   NEW --- client_call_start ---> FRESH --- the loop: kind->start ---> ON
 *    |                               |                                   | client_call_end
 *    +--- client_call_block: ON -----|-----------------------------------|---> kind->free
 *                                    +------ client_call_end ------------+---> OVER --- the loop: kind->free, done */
struct fal_call {
    const struct client_kind *kind;
    fal_client *client; /* not for other threads */
    struct client_wake *wake;
    fal_result *result;
    int64_t timeout_ms;
    uint64_t deadline_ms;  /* UINT64_MAX: none */
    enum fal_code stopped; /* TIMEOUT or CANCELLED once that has happened, else FAL_OK */
    bool ended, blocking;
    enum client_call_place place;
    struct fal_done done;
    struct client_timer timer; /* the deadline */
    atomic_bool cancelled;
    atomic_uint refs; /* the client's until it has ended, the caller's handle */
    struct fal_call *next, **link;
};

/* `bytes` zeroed, the common part filled, a result in it. timeout_ms 0: the client's. NULL: no memory. */
void *client_call_new(fal_client *c, const struct client_kind *kind, size_t bytes,
                      int64_t timeout_ms);
/* One that was never blocked on nor started: kind->free, and its memory. */
void client_call_drop(fal_call *call);
/* How a call of api.c goes on once it is made. Takes the call. Blocking: turns the loop until it has ended. */
enum fal_code client_call_block(fal_call *call, fal_result **result);
/* Only queues it: kind->start is called from the loop. */
enum fal_code client_call_start(fal_call *call, struct fal_done done, fal_call **handle);
/* One of the two: `how` says which. */
struct client_how {
    bool blocking;
    fal_result **result;  /* blocking; may be NULL */
    struct fal_done done; /* else */
    fal_call **handle;    /* may be NULL */
};
enum fal_code client_call_go(fal_call *call, const struct client_how *how);
/* For loop.c: begins, cancels and finishes what has to be. True: it did something. */
bool client_calls_settle(fal_client *c);
bool client_calls_waiting(const fal_client *c); /* whether the next one would do something */
/* Ends all with FAL_ERR_CANCELLED and calls each done: fal_client_free. */
void client_calls_abort(fal_client *c);
/* It has ended: result->error says how. Its tries must not run any more, or end with `free`, which follows from the loop. */
void client_call_end(fal_call *call);
/* Sets the error, when none is set, and ends. */
void client_call_fail(fal_call *call, enum fal_code code, const char *message);
void client_call_fail_code(fal_call *call, enum fal_code code); /* with fal_strerror's words */
/* Takes the reply of a try that is over into the result; on an error of whatever sort ends the call with it. True: a 2xx
 * answer is in the result. */
bool client_call_take(fal_call *call, struct client_try *t);

/* ---- api.c: refusals before anything is sent ---- */

/* A result that says so. Returns code. */
enum fal_code client_refuse(fal_result **out, enum fal_code code, const char *message);
/* A JSON object; NULL is one ("{}"). */
enum fal_code client_check_input(const char **input, const char **why);
extern const char client_unknown_options[];

/* How the two twins of a call begin: *result or *handle is NULL then. */
struct client_how client_blocking(fal_result **result);
struct client_how client_starting(struct fal_done done, fal_call **handle);
/* The same, when the call blocks. */
enum fal_code client_refuse_how(const struct client_how *how, enum fal_code code,
                                const char *message);

/* ---- post.c: what the calls share that POST to an endpoint ---- */

struct client_post {
    fal_client *client;
    struct client_endpoint endpoint;
    char *input; /* from malloc; replaced when files go first */
    char *hint, *priority, *webhook_url;
    struct buf headers; /* lines of this call, each NUL-terminated */
    double start_timeout_s;
    char *lifecycle;             /* JSON, or NULL */
    struct client_inputs *files; /* NULL: none (any more) */
    enum fal_code (*go)(fal_call *call);
    fal_call *call;
};

/* What the options structs have in common; borrowed. */
struct client_post_options {
    const char *input_json, *hint, *priority, *webhook_url;
    double start_timeout_s;
    const char *const *headers;
    size_t header_count;
    const struct fal_files *files;
    const struct fal_lifecycle *lifecycle;
};

/* Checks and copies. On an error *why says what is wrong, and client_post_free is still to be called. A zeroed one is empty. */
enum fal_code client_post_init(struct client_post *p, fal_client *c, const char *endpoint_id,
                               const struct client_post_options *o, const char **why);
void client_post_free(struct client_post *p);
/* For kind->start: uploads the files if there are any, then goes on with `go`, which sends the first try; an error of it, now
 * or later, ends the call. */
enum fal_code client_post_begin(struct client_post *p, fal_call *call,
                                enum fal_code (*go)(fal_call *call));
/* Header lines and body of r, which is a client_request_init'ed POST: hint, start timeout, lifecycle, the call's own. */
bool client_post_fill(const struct client_post *p, struct client_request *r);

/* ---- upload.c, inputs.c ---- */

/* {"expiration_duration_seconds":…,"initial_acl":…} from malloc. *out NULL: nothing to say. FAL_ERR_ARGUMENT, FAL_ERR_MEMORY. */
enum fal_code client_lifecycle_json(const struct fal_lifecycle *lifecycle, char **out);

/* The files of a call, uploaded before its own first request; inside that call: its deadline, its cancel, its result's error. */
struct client_inputs;
/* Copies what fal.h says is copied. FAL_ERR_ARGUMENT: *why says what is wrong. */
enum fal_code client_inputs_new(fal_client *c, const struct fal_files *files,
                                const char *input_json, struct client_inputs **out,
                                const char **why);
/* done: once, FAL_OK: *input is the new input, from malloc, the owner's; else result holds the error. */
enum fal_code client_inputs_begin(struct client_inputs *in, fal_result *result,
                                  uint64_t deadline_ms,
                                  void (*done)(enum fal_code code, char *input, void *owner),
                                  void *owner);
void client_inputs_free(struct client_inputs *in); /* aborts what runs */

#endif
