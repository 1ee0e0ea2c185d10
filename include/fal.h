/* libfal: fal's HTTP API for C, against fal itself, anyllm, or any server that speaks the same
 * wire.
 *
 * The rules that hold for every function here:
 *   - Text is UTF-8 and NUL-terminated. What you pass in is borrowed for the call and copied where
 *     it must live longer; what you get out is borrowed from its handle and lives until that handle
 *     is freed.
 *   - A client, its calls and its realtime connections are used by one thread at a time. Different
 *     clients may be used by different threads at the same time. What may be called from another
 *     thread: fal_client_cancel, fal_call_cancel. What uses no client may be called from any.
 *   - Callbacks are called in the thread that is inside a function of their client, and during it
 *     only. They may start calls (…_start) and cancel; a blocking call of the same client inside
 *     one ends with FAL_ERR_BUSY. They must not free the client.
 *   - Nothing here aborts, prints, or changes signal handlers. Lack of memory is FAL_ERR_MEMORY.
 *   - There is no global state but what fal_global_init sets up.
 *   - Structs with a `size` first are made with their _INIT macro; fields are only ever appended,
 *     so a program built against an older header keeps working. A zero field means its default.
 *   - Units stand in the names: _ms milliseconds, _s seconds, _bytes bytes. */
#ifndef FAL_H
#define FAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FAL_API __attribute__((visibility("default")))
#else
#define FAL_API
#endif

#define FAL_VERSION_MAJOR 0
#define FAL_VERSION_MINOR 1
#define FAL_VERSION_PATCH 0

/* The version of the library that is running, "0.1.0". Static. Any thread. */
FAL_API const char *fal_version(void);

/* ---- Results of calls ---- */

enum fal_code {
    FAL_OK = 0,
    FAL_ERR_ARGUMENT = 1, /* a parameter is missing or malformed; nothing was sent */
    FAL_ERR_MEMORY = 2,   /* out of memory */
    FAL_ERR_BUSY =
        3, /* the client is inside another call (a callback called back in, or two threads) */
    FAL_ERR_CONNECT = 4,   /* no connection: refused, name not found, TLS; the request never left */
    FAL_ERR_TRANSPORT = 5, /* the connection broke midway; for a submit: its fate is unknown */
    FAL_ERR_HTTP = 6,      /* the server answered with an error: see struct fal_error */
    FAL_ERR_PROTOCOL = 7,  /* the answer is not what this API says */
    FAL_ERR_TOO_LARGE = 8, /* the answer is larger than FAL_MAX_REPLY_BYTES */
    FAL_ERR_TIMEOUT = 9,   /* timeout_ms is over */
    FAL_ERR_CANCELLED = 10 /* fal_client_cancel, fal_call_cancel, or its client was freed */
};

/* The largest answer a call takes, after decompression; of a stream: the largest event. */
#define FAL_MAX_REPLY_BYTES ((size_t)64 << 20)

/* What a code means, in a few words. Static; never NULL, also for numbers that are no code. Any
 * thread. */
FAL_API const char *fal_strerror(enum fal_code code);

/* No string here is ever NULL: empty means the server said nothing. */
struct fal_error {
    enum fal_code code;
    /* of the last answer; 0 when none came */
    int http_status;
    /* fal's machine-readable type ("request_timeout", "missing", …): branch on this */
    const char *error_type;
    /* one line for people: the server's own words with the field they are about, else ours */
    const char *message;
    /* x-fal-request-id, or the id of the queued request: quote it when asking for help */
    const char *request_id;
    /* the same call may succeed later */
    bool retryable;
    /* how long the server asks to wait; negative when it did not say */
    double retry_after_s;
    /* a 504 because the caller's own start timeout passed (X-Fal-Request-Timeout-Type) */
    bool start_timeout;
};

/* ---- The library ---- */

/* Optional: fal_client_new does it when nobody has. Call it first, before other threads exist, when
 * your program also uses libcurl older than 7.84 directly. Calls nest: each successful one needs a
 * fal_global_cleanup. FAL_OK, FAL_ERR_MEMORY. */
FAL_API enum fal_code fal_global_init(void);

/* Optional, at the end of the program: after the last fal_client_free, when no other thread uses
 * libcurl. */
FAL_API void fal_global_cleanup(void);

/* ---- A client: an address, credentials, and the connections that are kept open ---- */

typedef struct fal_client fal_client;

/* For base_url: fal's own hosts, whatever the environment says. */
#define FAL_BASE_FAL "fal"

/* "Key …" is made of what it returns, borrowed until it is called again; NULL or "": none; what a header cannot hold ends the
 * call with FAL_ERR_ARGUMENT. Called in the client's thread before each exchange that carries the key. */
typedef const char *(*fal_credentials_fn)(void *user);

struct fal_options {
    size_t size;
    /* Optional, copied. The key as fal gives it ("id:secret"). NULL: $FAL_KEY, else $FAL_KEY_ID ":"
     * $FAL_KEY_SECRET, else none. "": none, whatever the environment says. Sent as "Authorization:
     * Key …" to the base and nowhere else. */
    const char *credentials;
    /* Optional, copied. http:// or https:// address with /run, /queue, /rest and /cdn under it, or
     * FAL_BASE_FAL. NULL: $FAL_BASE_URL, else fal's own hosts (https://fal.run,
     * https://queue.fal.run, …). */
    const char *base_url;
    /* Optional, copied. Put before libfal's own: "myprogram/1.2". */
    const char *user_agent;
    /* Until a connection stands, TLS included. 0: 10,000. */
    int64_t connect_timeout_ms;
    /* First pause between attempts; doubled each time up to 30 s, +-25 %. 0: 500. */
    int64_t retry_base_ms;
    /* Attempts after the first, per exchange. 0: 5. Negative: none. */
    int max_retries;
    /* A call whose very first connection fails ends at once (FAL_ERR_CONNECT) instead of trying
     * again: for programs whose user is watching. Later exchanges of the same call are retried all
     * the same. */
    bool no_connect_retry;
    /* Optional. Asked before each exchange instead of `credentials`. */
    fal_credentials_fn credentials_fn;
    void *credentials_user;
    /* Optional, copied: one surface's own address, in place of what base_url says. NULL: $FAL_RUN_URL, $FAL_QUEUE_URL,
     * $FAL_REST_URL, $FAL_CDN_URL only when neither base_url nor $FAL_BASE_URL is given, else under the base. */
    const char *run_url, *queue_url, *rest_url, *cdn_url;
    /* Optional, copied. The address of a proxy of one's own that keeps the key (fal's x-fal-target-url protocol, fal-js's
     * proxyUrl): every exchange but the bytes of uploads and realtime connections goes there, with `headers` and without
     * the credentials. An HTTP proxy is something else: http_proxy, https_proxy and no_proxy in the environment, as libcurl
     * reads them; this machine's loopback is never asked through one. */
    const char *proxy_url;
    /* Optional, copied. "Name: value" lines, header_count of them, at most 48 with those of a call, sent with each exchange to
     * the surfaces above (and the proxy_url). A name goes out once: what an option of a call says (hint, priority, …) counts
     * before the lines of the call, these before the lines here, these before what libfal sends by itself (Accept,
     * Content-Type, Authorization, User-Agent). Refused: Content-Length, Transfer-Encoding, what is no header. */
    const char *const *headers;
    size_t header_count;
    /* The longest pause between attempts. 0: 30,000. Each pause is the one before times the factor (0: 2.0; at least 1.0),
     * +-25 % unless no_retry_jitter. */
    int64_t retry_max_ms;
    double retry_factor;
    bool no_retry_jitter;
    /* Optional, copied. HTTP statuses that are tried again in place of 408, 409, 429, 502, 503, 504; none when the count is 0.
     * They do not change what is known of a POST's fate: see "What is tried again" below. */
    const int *retry_statuses;
    size_t retry_status_count;
    /* timeout_ms of every call that says none. 0: none. */
    int64_t timeout_ms;
    /* Connections kept open at most, of all hosts together. 0: 64. */
    int max_connections;
    /* Optional, copied. A unix domain socket through which the base is reached, whatever its host says (curl's
     * --unix-socket). Addresses that are not of the base never go there. */
    const char *unix_socket;
    /* Optional, copied. A PEM file of the certificates to trust in place of the system's. NULL: $SSL_CERT_FILE, else the
     * system's. */
    const char *ca_file;
};
#define FAL_OPTIONS_INIT         \
    {sizeof(struct fal_options), \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     0,                          \
     0,                          \
     0,                          \
     false,                      \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     NULL,                       \
     0,                          \
     0,                          \
     0.0,                        \
     false,                      \
     NULL,                       \
     0,                          \
     0,                          \
     0,                          \
     NULL,                       \
     NULL}

/* Makes a client. `options` is optional (NULL: all defaults). The environment is read here, once.
 * Opens no connection. FAL_OK: *client is yours, free it with fal_client_free. Otherwise *client is
 * NULL: FAL_ERR_ARGUMENT (base_url is no address; credentials with control characters; a size this
 * library does not know), FAL_ERR_MEMORY. */
FAL_API enum fal_code fal_client_new(const struct fal_options *options, fal_client **client);

/* Closes its connections and wipes the credentials. NULL is allowed. Not during a blocking call, not in a
 * callback. Calls that were started and have not ended end here: `done` of each is called with FAL_ERR_CANCELLED, nothing is
 * cancelled on the server, and what these callbacks start is refused (FAL_ERR_BUSY). Results and handles live on. */
FAL_API void fal_client_free(fal_client *client);

/* Ends the blocking call that is running in `client` with FAL_ERR_CANCELLED; when none is running, the next
 * one, so that a cancellation is never lost between two calls. One call uses one cancellation up. A
 * fal_subscribe first cancels the request on the server (it waits for that at most 5 s; a second
 * fal_client_cancel ends this wait). May be called from any thread and from callbacks, as long as
 * the client lives. Not from a signal handler. */
FAL_API void fal_client_cancel(fal_client *client);

/* The address in use, without credentials: "https://queue.fal.run", "http://127.0.0.1:8787/queue".
 * Lives as long as the client. */
FAL_API const char *fal_client_queue_url(const fal_client *client);

/* ---- Queue status ---- */

enum fal_state { FAL_IN_QUEUE = 0, FAL_IN_PROGRESS = 1, FAL_COMPLETED = 2 };

/* One line of the model's own log. Strings are never NULL. */
struct fal_log {
    const char *message;
    /* "INFO", "ERROR", "STDOUT", … */
    const char *level;
    /* "USER" or empty */
    const char *source;
    /* as the server wrote it, ISO 8601 */
    const char *timestamp;
};

/* Made by the library only; new fields may be appended. */
struct fal_status {
    enum fal_state state;
    /* never NULL */
    const char *request_id;
    /* requests ahead; -1 when the server did not say */
    int64_t queue_position;
    /* log_count pointers, NULL when there are none */
    const struct fal_log *const *logs;
    size_t log_count;
    /* logs[first_new_log…] were not in the update before (of a request that is followed; else 0) */
    size_t first_new_log;
    /* negative when the server did not say */
    double inference_time_s;
    /* a COMPLETED request that failed or was cancelled; else NULL */
    const char *error;
    /* the same, machine-readable; else NULL */
    const char *error_type;
    /* as the server gave them; NULL when it did not */
    const char *status_url, *response_url, *cancel_url;
    /* the whole status as the server sent it */
    const char *json;
};

/* ---- A result: what a call ended with ---- */

typedef struct fal_result fal_result;

/* NULL is allowed. */
FAL_API void fal_result_free(fal_result *result);

/* The answer as JSON text: the model's output (fal_run, fal_subscribe, fal_queue_result) or the
 * server's reply (the others). After an error: the error's body if it was JSON. NULL when there is
 * none. */
FAL_API const char *fal_result_json(const fal_result *result);

/* The answer's bytes whatever they are (an HTML page of a proxy, …), NUL-terminated after
 * *size_bytes (optional) bytes. Never NULL. */
FAL_API const char *fal_result_body(const fal_result *result, size_t *size_bytes);

/* The string at a JSON Pointer (RFC 6901) in fal_result_json: "/output", "/usage/cost". NULL when
 * there is no string there. */
FAL_API const char *fal_result_string(const fal_result *result, const char *pointer);

/* Of the last answer; 0 when none came. */
FAL_API int fal_result_http_status(const fal_result *result);

/* The request's id; "" when unknown. After a fal_subscribe that timed out or lost its connection
 * this is what to resume with (fal_queue_status, fal_queue_result). Never NULL. */
FAL_API const char *fal_result_request_id(const fal_result *result);

/* The queue status: of fal_queue_submit, fal_queue_status, and the last one a fal_subscribe saw.
 * Otherwise NULL. */
FAL_API const struct fal_status *fal_result_status(const fal_result *result);

/* What went wrong; code is FAL_OK when nothing did. Never NULL: for a NULL result it says
 * FAL_ERR_MEMORY, because that is the one failure that leaves no result. */
FAL_API const struct fal_error *fal_result_error(const fal_result *result);

/* ---- Calls ----
 *
 * All of them block until they are done. They return the code that fal_result_error(*result)->code
 * also holds.
 *   - `endpoint_id` is required: "owner/alias" with an optional path, "fal-ai/any-llm/vision".
 *   - `input_json` is the model's input, a JSON object; NULL means {}. It is checked before anything
 *     is sent.
 *   - `options` is optional (NULL: all defaults).
 *   - `result` is optional. It is set on every return, also on errors (so that message and id can be
 *     read); only FAL_ERR_MEMORY may leave NULL in it. Free it with fal_result_free.
 *
 * What is longer than these is FAL_ERR_ARGUMENT: input_json 64 MiB; endpoint_id 511 bytes, request_id 255; webhook_url and
 * hint 2047; the header lines of a client, and those of a call, 32 KiB each.
 *
 * What is tried again (max_retries times, honouring Retry-After up to 2 minutes, within
 * timeout_ms):
 *   - GET and PUT (status, result, cancel): transport errors and 408, 409, 429, 502, 503, 504;
 *   - POST (run, submit): what certainly was not carried out: no connection, 408, 409, 429, 503;
 *   - a submit of unknown fate (502, 504, a broken connection) only when the queue's host is not fal's:
 *     every submit carries a random Idempotency-Key, which anyllm honours and fal ignores;
 *   - never a 504 that says the caller's own start timeout passed, nor what the server marks as not
 *     retryable.
 *
 * timeout_ms and fal_client_cancel end a call at once. While a host's name is being looked up they leave the system's resolver,
 * which cannot be interrupted, to end by itself; given up in the very moment that the look-up begins, a call (and its client
 * with it) may still wait until it returns. */

struct fal_files;
struct fal_lifecycle;

/* For fal_run, fal_queue_status, fal_queue_result and fal_queue_cancel. */
struct fal_call_options {
    size_t size;
    /* For the whole call, retries included. 0: the client's. */
    int64_t timeout_ms;
    /* run: the server gives up (504, not retried) when the model has not begun by then. 0: none;
     * else more than 1. */
    double start_timeout_s;
    /* run: session affinity (x-fal-runner-hint). Optional, borrowed. */
    const char *hint;
    /* status, result, cancel: the status_url, response_url or cancel_url that the submit's reply
     * gave. Optional, borrowed. Followed when it has the base's own scheme, host and port (with
     * fal's hosts: when it is https on one of them), so that credentials never go elsewhere. NULL,
     * or any other address: the address is built from the id. */
    const char *url;
    /* status: with the log lines */
    bool logs;
    /* Optional, borrowed. "Name: value" lines for this call's requests. */
    const char *const *headers;
    size_t header_count;
    /* run: what is uploaded first; see struct fal_files. Optional, borrowed. */
    const struct fal_files *files;
    /* run: how long the files that the model makes are kept, and who may read them. Optional, borrowed. */
    const struct fal_lifecycle *lifecycle;
};
#define FAL_CALL_OPTIONS_INIT \
    {sizeof(struct fal_call_options), 0, 0.0, NULL, NULL, false, NULL, 0, NULL, NULL}

struct fal_submit_options {
    size_t size;
    /* For the submit itself. 0: the client's. */
    int64_t timeout_ms;
    /* As above. */
    double start_timeout_s;
    /* As above. */
    const char *hint;
    /* "normal" (default) or "low". Optional, borrowed. */
    const char *priority;
    /* Told when the request is done. Optional, borrowed. */
    const char *webhook_url;
    /* One of your own instead of a random one. 1 to 255 visible ASCII characters. Optional,
     * borrowed. */
    const char *idempotency_key;
    /* As above. */
    const char *const *headers;
    size_t header_count;
    const struct fal_files *files;
    const struct fal_lifecycle *lifecycle;
};
#define FAL_SUBMIT_OPTIONS_INIT \
    {sizeof(struct fal_submit_options), 0, 0.0, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL}

struct fal_subscribe_options {
    size_t size;
    /* For everything. When it is over the request is cancelled on the server (that may take 5 s
     * more) and the call ends with FAL_ERR_TIMEOUT; when not even the submit was answered by then,
     * the request may stand on the server. 0: the client's. */
    int64_t timeout_ms;
    /* From the end of one status to the next. 0: 50 ms growing to 500 ms. */
    int64_t poll_interval_ms;
    /* Ask for the model's log lines. */
    bool logs;
    /* Both optional, called in the client's thread; see the rules above for what they may do. What they are given lives
     * until they return. on_enqueue: exactly once, after the server has accepted. on_queue_update: for every
     * status, also equal ones, the COMPLETED one last. */
    void (*on_enqueue)(const char *request_id, void *user);
    void (*on_queue_update)(const struct fal_status *status, void *user);
    void *user;
    double start_timeout_s;
    const char *hint;
    const char *priority;
    const char *webhook_url;
    const char *idempotency_key;
    const char *const *headers;
    size_t header_count;
    const struct fal_files *files;
    const struct fal_lifecycle *lifecycle;
    /* Follow the request by the server's event stream of its status instead of polling. A stream that ends too early is
     * opened again; a server that has none (404, 405, another content type) is polled. */
    bool streaming;
};
#define FAL_SUBSCRIBE_OPTIONS_INIT         \
    {sizeof(struct fal_subscribe_options), \
     0,                                    \
     0,                                    \
     false,                                \
     NULL,                                 \
     NULL,                                 \
     NULL,                                 \
     0.0,                                  \
     NULL,                                 \
     NULL,                                 \
     NULL,                                 \
     NULL,                                 \
     NULL,                                 \
     0,                                    \
     NULL,                                 \
     NULL,                                 \
     false}

/* The direct call: sends the input, waits for the model's output. Nothing is kept by the server if
 * the connection breaks; for long work use fal_subscribe. */
FAL_API enum fal_code fal_run(fal_client *client, const char *endpoint_id, const char *input_json,
                              const struct fal_call_options *options, fal_result **result);

/* Submits to the queue, follows the request to its end, and returns the model's output. Follows
 * status_url, response_url and cancel_url of the reply as fal_call_options.url says. A request that
 * failed ends with FAL_ERR_HTTP and the model's own error. */
FAL_API enum fal_code fal_subscribe(fal_client *client, const char *endpoint_id,
                                    const char *input_json,
                                    const struct fal_subscribe_options *options,
                                    fal_result **result);

/* Submits and returns at once: fal_result_request_id and fal_result_status hold the id and the
 * addresses. */
FAL_API enum fal_code fal_queue_submit(fal_client *client, const char *endpoint_id,
                                       const char *input_json,
                                       const struct fal_submit_options *options,
                                       fal_result **result);

/* `request_id` is required in the three below. */

/* How it stands: fal_result_status. A request that failed is FAL_OK here, with `error` in its
 * status. */
FAL_API enum fal_code fal_queue_status(fal_client *client, const char *endpoint_id,
                                       const char *request_id,
                                       const struct fal_call_options *options, fal_result **result);

/* The output of a completed request, or its error. FAL_ERR_HTTP with 400 while it is not
 * completed. */
FAL_API enum fal_code fal_queue_result(fal_client *client, const char *endpoint_id,
                                       const char *request_id,
                                       const struct fal_call_options *options, fal_result **result);

/* FAL_OK: the server takes the wish; the request may still complete. FAL_ERR_HTTP: 400 already
 * completed, 404 unknown. */
FAL_API enum fal_code fal_queue_cancel(fal_client *client, const char *endpoint_id,
                                       const char *request_id,
                                       const struct fal_call_options *options, fal_result **result);

/* Takes up a request that is known by its id (its submit was another program's, or a fal_subscribe that timed out): follows
 * it to its end and returns its output, as fal_subscribe does after its submit. When timeout_ms is over or it is cancelled,
 * the request is cancelled on the server. Of the options those that concern a submit are not read. */
FAL_API enum fal_code fal_queue_subscribe_to_status(fal_client *client, const char *endpoint_id,
                                                    const char *request_id,
                                                    const struct fal_subscribe_options *options,
                                                    fal_result **result);

/* The event stream of a request's status: on_queue_update for each event, until COMPLETED. Returns the last status, not the
 * output; cancels nothing. Log lines of events are new ones; fal_status.logs holds all that came. A stream that breaks, falls
 * silent for a minute, or ends before COMPLETED is opened again, as long as one of max_retries + 1 in a row has an event
 * (then FAL_ERR_PROTOCOL, or what became of the last). Of the options timeout_ms, logs, on_queue_update, user and headers are
 * read. */
FAL_API enum fal_code fal_queue_stream_status(fal_client *client, const char *endpoint_id,
                                              const char *request_id,
                                              const struct fal_subscribe_options *options,
                                              fal_result **result);

/* ---- Streams ---- */

struct fal_stream_options {
    size_t size;
    /* For the whole stream. 0: the client's. */
    int64_t timeout_ms;
    /* Longest silence, comments of the server included, before the stream counts as broken (FAL_ERR_TIMEOUT). 0: 60,000.
     * Negative: none. */
    int64_t idle_timeout_ms;
    /* All optional; what they are given lives until they return.
     * on_event: each event's data, as JSON text.
     * on_text: each event's cumulative "output" string: all of the answer so far.
     * on_delta: what is new in it since the last event that had one, `bytes` of whole UTF-8 characters. When an output does not
     * begin with the one before, `restart` is true and delta holds the whole of it. */
    void (*on_event)(const char *event_json, void *user);
    void (*on_text)(const char *text, void *user);
    void (*on_delta)(const char *delta, size_t bytes, bool restart, void *user);
    void *user;
    double start_timeout_s;
    const char *hint;
    const char *const *headers;
    size_t header_count;
    const struct fal_files *files;
    const struct fal_lifecycle *lifecycle;
    /* Put after the endpoint's id unless it ends so. NULL: "/stream". "": nothing. Optional, borrowed. */
    const char *path;
};
#define FAL_STREAM_OPTIONS_INIT         \
    {sizeof(struct fal_stream_options), \
     0,                                 \
     0,                                 \
     NULL,                              \
     NULL,                              \
     NULL,                              \
     NULL,                              \
     0.0,                               \
     NULL,                              \
     NULL,                              \
     0,                                 \
     NULL,                              \
     NULL,                              \
     NULL}

/* Sends the input to the endpoint's stream and follows it to its end. fal_result_json is the last event, which is the whole
 * output; after an error the last that came, if one did. An event that is not JSON is FAL_ERR_PROTOCOL; "[DONE]" ends the
 * stream. An event with a non-empty "error" string ends it as FAL_ERR_HTTP with that message. A last event may lack the blank
 * line after it (the end of the answer stands for it); a stream that ends within an event, or without one, is
 * FAL_ERR_PROTOCOL. A JSON answer that is no event stream counts as one event. Tried again as every POST until the answer
 * begins, and never after that. */
FAL_API enum fal_code fal_stream(fal_client *client, const char *endpoint_id,
                                 const char *input_json, const struct fal_stream_options *options,
                                 fal_result **result);

/* ---- Files ---- */

enum fal_acl { FAL_ACL_DEFAULT = 0, FAL_ACL_ALLOW, FAL_ACL_FORBID, FAL_ACL_HIDE };

struct fal_acl_rule {
    const char *user;
    enum fal_acl decision;
};

#define FAL_EXPIRES_NEVER ((int64_t)-1)

/* How long a file is kept and who may read it. */
struct fal_lifecycle {
    size_t size;
    /* 0: as the server likes. FAL_EXPIRES_NEVER. Else seconds. */
    int64_t expires_in_s;
    enum fal_acl acl;
    const struct fal_acl_rule *rules;
    size_t rule_count;
};
#define FAL_LIFECYCLE_INIT {sizeof(struct fal_lifecycle), 0, FAL_ACL_DEFAULT, NULL, 0}

/* What is uploaded. Exactly one of path, data and read. All borrowed for the call (…_start copies the strings). */
struct fal_file {
    size_t size;
    /* A regular file; its bytes are never in memory as a whole. One that changes while it is sent ends the upload. */
    const char *path;
    /* May be "" with 0 bytes: an empty file. */
    const void *data;
    size_t data_bytes;
    /* Fills `buffer` with up to `room` bytes and returns how many; 0 at the end, negative on an error, which ends the upload.
     * Called in the client's thread. Read once, part by part: what must be sent again is kept in memory, part_bytes for
     * each of parallel_parts. What ends within its first part goes in one piece. */
    int64_t (*read)(void *buffer, size_t room, void *user);
    void *user;
    /* MIME type. NULL: by the name's ending, else application/octet-stream. */
    const char *content_type;
    /* NULL: the path's last part, else a name of the library's own. */
    const char *name;
    /* In fal_files, required: where its URL is put into the input, a JSON Pointer (RFC 6901): "/image_url", "/images/-". What
     * stands there is replaced; "-" appends to an array; what holds the last part must be there. */
    const char *pointer;
};
#define FAL_FILE_INIT {sizeof(struct fal_file), NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL}

/* Files that a call uploads before it sends its input, four at once: `files` to where their pointers say; with file_urls also
 * each string of the input that begins with "file://", "file:///tmp/a%20b.png" (never do that with an input that is not your
 * own: it sends local files away). Nothing is sent when one of them cannot be opened or placed: FAL_ERR_ARGUMENT, in words, as
 * the call's result. An upload's error is the call's. At most 1000 files; with
 * file_urls the input is nested at most 128 deep. */
struct fal_files {
    size_t size;
    const struct fal_file *files;
    size_t file_count;
    bool file_urls;
    /* Of the uploaded files; optional. */
    const struct fal_lifecycle *lifecycle;
    /* As in struct fal_upload_options, all files together. */
    void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user);
    void *user;
};
#define FAL_FILES_INIT {sizeof(struct fal_files), NULL, 0, false, NULL, NULL, NULL}

struct fal_upload_options {
    size_t size;
    /* For the whole upload. 0: the client's. */
    int64_t timeout_ms;
    const struct fal_lifecycle *lifecycle;
    /* A file larger than this goes in parts. 0: 90 MiB. */
    uint64_t multipart_bytes;
    /* Of one part; more where 10,000 of them would not do. 0: 10 MiB. */
    size_t part_bytes;
    /* Parts on their way at once. 0: 4. At most 16. */
    int parallel_parts;
    /* Optional. Never goes back, and ends at total_bytes; that is UINT64_MAX while a read callback has not ended. */
    void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user);
    void *user;
    /* A part, or the file that goes whole, of which the server takes no byte and about which it says nothing for so long has
     * broken. 0: 60,000. Negative: it never has. The newest member: programs built before it have the default. */
    int64_t stall_timeout_ms;
};
#define FAL_UPLOAD_OPTIONS_INIT {sizeof(struct fal_upload_options), 0, NULL, 0, 0, 0, NULL, NULL, 0}

/* Uploads one file: fal_result_string(result, "/url") is its address. A part that breaks, or stalls, is sent again, alone, as
 * often as max_retries says. FAL_ERR_ARGUMENT: the file cannot be read (no such file, a folder, it changed), in words;
 * FAL_ERR_HTTP: what the server or its upload address said. */
FAL_API enum fal_code fal_storage_upload(fal_client *client, const struct fal_file *file,
                                         const struct fal_upload_options *options,
                                         fal_result **result);

/* Uploads what `files` says and returns the input with the addresses in it: fal_result_json. */
FAL_API enum fal_code fal_storage_transform_input(fal_client *client, const char *input_json,
                                                  const struct fal_files *files,
                                                  fal_result **result);

/* ---- Tokens ---- */

/* A token that opens the endpoints of `apps` ("fal-ai/any-llm"; 1 to 1000 of them) for expiration_s (0: 120) and can be given
 * to a browser: fal_result_string(result, "/token"). */
FAL_API enum fal_code fal_token_create(fal_client *client, const char *const *apps,
                                       size_t app_count, int64_t expiration_s,
                                       const struct fal_call_options *options, fal_result **result);

/* ---- Realtime ---- */

typedef struct fal_realtime fal_realtime;

struct fal_realtime_options {
    size_t size;
    /* Put after the endpoint's id unless it ends so. NULL: "/realtime". */
    const char *path;
    /* A token of fal_token_create, borrowed for the call. NULL: one is fetched, and a new one for each new connection. */
    const char *token;
    /* of a fetched one. 0: 120 */
    int64_t token_expiration_s;
    /* The key in the handshake instead of a token. */
    bool use_key;
    /* 1 to 60; 0: not said */
    int max_buffering;
    /* JSON text frames instead of msgpack. */
    bool text;
    /* Until it is open. 0: 90,000. */
    int64_t open_timeout_ms;
    /* A message larger than this ends the connection. 0: 64 MiB. */
    size_t max_message_bytes;
    /* All optional; when on_message is NULL messages wait for fal_realtime_receive (from 64 MiB on, in the network). An
     * x-fal-error message comes to on_message as it is. */
    void (*on_open)(void *user);
    void (*on_message)(const char *message_json, void *user);
    /* Once, last: FAL_OK when either side closed it in order. close_code as RFC 6455 says, 1006 when the connection broke or
     * never was. Not called when fal_realtime_open fails: that says it. */
    void (*on_close)(const struct fal_error *error, int close_code, void *user);
    void *user;
};
#define FAL_REALTIME_OPTIONS_INIT         \
    {sizeof(struct fal_realtime_options), \
     NULL,                                \
     NULL,                                \
     0,                                   \
     false,                               \
     0,                                   \
     false,                               \
     0,                                   \
     0,                                   \
     NULL,                                \
     NULL,                                \
     NULL,                                \
     NULL}

/* Opens a WebSocket to the endpoint's realtime surface. Blocks until it is open, or could not be. *realtime is set when
 * FAL_OK; close it with fal_realtime_close before the client is freed. Pings are answered while a function of the client runs;
 * of several that wait, the newest. */
FAL_API enum fal_code fal_realtime_open(fal_client *client, const char *endpoint_id,
                                        const struct fal_realtime_options *options,
                                        fal_realtime **realtime, fal_result **result);
/* The same without blocking: on_open or on_close says how it went. */
FAL_API enum fal_code fal_realtime_start(fal_client *client, const char *endpoint_id,
                                         const struct fal_realtime_options *options,
                                         fal_realtime **realtime);

/* Queues one message, a JSON object, as a msgpack frame; a string at any place that begins with "data:" and holds base64 stays
 * text. Does not block: it goes out while a function of the client runs. FAL_ERR_ARGUMENT: not a JSON object;
 * FAL_ERR_TRANSPORT: closed; FAL_ERR_TOO_LARGE: more than 64 MiB wait. Until the server's first message what was sent is kept,
 * to be sent again with another token should the one that libfal fetched open nothing: 64 MiB; of more nothing is kept, and such
 * a token ends the connection (FAL_ERR_HTTP, 401). */
FAL_API enum fal_code fal_realtime_send(fal_realtime *realtime, const char *message_json);

/* Blocks for the next message, at most timeout_ms (0: for ever; negative: not at all): fal_result_json. An x-fal-error message
 * of the server is FAL_ERR_HTTP with its words, and the connection goes on. FAL_ERR_TIMEOUT; FAL_ERR_CANCELLED;
 * FAL_ERR_TRANSPORT: closed in order; else what ended it, each time (a token that opens nothing: FAL_ERR_HTTP, 401; one that
 * libfal fetched is fetched anew once before). Binary values of msgpack are data: URIs in the JSON. */
FAL_API enum fal_code fal_realtime_receive(fal_realtime *realtime, int64_t timeout_ms,
                                           fal_result **result);

/* Sends what is queued, closes in order (at most a second), and gives the handle back: on_close comes before it returns, and
 * nothing after. Blocks when it was opened by fal_realtime_open; else, and in a callback, the rest is done while functions of
 * the client run. One that is not open yet is dropped. NULL is allowed. Allowed in its own callbacks. */
FAL_API void fal_realtime_close(fal_realtime *realtime);

/* ---- Calls that do not block ----
 *
 * Each blocking call has a twin that only starts it; any number may be under way in one client, over one set of connections.
 * Whoever owns a loop gives it the client's descriptors and time; who has none calls fal_client_wait.
 *   - What is passed in is copied, but for the bytes and callbacks of struct fal_file and fal_files, which must live until
 *     `done`.
 *   - `done` is called exactly once, from inside fal_client_ready, fal_client_wait, or a blocking call of the same client,
 *     never from inside …_start. It gets the result, which is its to free.
 *   - `call` is optional: a handle for fal_call_cancel, to be given back with fal_call_free, before or after `done`.
 *   - FAL_OK: started; the first byte leaves when a function of the client runs next. FAL_ERR_ARGUMENT, FAL_ERR_MEMORY: not
 *     started, `done` is not called.
 *   - The callbacks of the options are called in the same way. */

typedef struct fal_call fal_call;

struct fal_done {
    /* Optional. */
    void (*done)(enum fal_code code, fal_result *result, void *user);
    void *user;
};

FAL_API enum fal_code fal_run_start(fal_client *client, const char *endpoint_id,
                                    const char *input_json, const struct fal_call_options *options,
                                    struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_subscribe_start(fal_client *client, const char *endpoint_id,
                                          const char *input_json,
                                          const struct fal_subscribe_options *options,
                                          struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_stream_start(fal_client *client, const char *endpoint_id,
                                       const char *input_json,
                                       const struct fal_stream_options *options,
                                       struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_submit_start(fal_client *client, const char *endpoint_id,
                                             const char *input_json,
                                             const struct fal_submit_options *options,
                                             struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_status_start(fal_client *client, const char *endpoint_id,
                                             const char *request_id,
                                             const struct fal_call_options *options,
                                             struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_result_start(fal_client *client, const char *endpoint_id,
                                             const char *request_id,
                                             const struct fal_call_options *options,
                                             struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_cancel_start(fal_client *client, const char *endpoint_id,
                                             const char *request_id,
                                             const struct fal_call_options *options,
                                             struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_subscribe_to_status_start(
    fal_client *client, const char *endpoint_id, const char *request_id,
    const struct fal_subscribe_options *options, struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_queue_stream_status_start(fal_client *client, const char *endpoint_id,
                                                    const char *request_id,
                                                    const struct fal_subscribe_options *options,
                                                    struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_storage_upload_start(fal_client *client, const struct fal_file *file,
                                               const struct fal_upload_options *options,
                                               struct fal_done done, fal_call **call);
FAL_API enum fal_code fal_token_create_start(fal_client *client, const char *const *apps,
                                             size_t app_count, int64_t expiration_s,
                                             const struct fal_call_options *options,
                                             struct fal_done done, fal_call **call);

/* Ends one call as fal_client_cancel ends a blocking one. Any thread, as long as the handle is not given back; nothing when
 * the call has ended. */
FAL_API void fal_call_cancel(fal_call *call);
/* Gives the handle back; the call goes on. NULL is allowed. */
FAL_API void fal_call_free(fal_call *call);

/* ---- The client in a loop ---- */

enum { FAL_READABLE = 1, FAL_WRITABLE = 2 };

struct fal_fd {
    int fd;
    int events; /* FAL_READABLE | FAL_WRITABLE: wait for these */
};

/* For poll: fills `fds` with what to wait for now and returns how many there are, which may be more than `room` (then call
 * again with more). One of them wakes for cancellations and is always there. Borrowed: never close them. They change with
 * every function of the client. */
FAL_API size_t fal_client_fds(const fal_client *client, struct fal_fd *fds, size_t room);
/* For epoll and libuv: called whenever what to wait for on a descriptor changes; events 0: forget it (a connection
 * that is given up before it stands may be closed by then). At once for those that are there. NULL: no more. */
FAL_API void fal_client_on_fd(fal_client *client, void (*changed)(int fd, int events, void *user),
                              void *user);
/* Milliseconds until fal_client_ready must be called even when no descriptor is ready; 0: now; -1: no need. It changes with
 * every function of the client. */
FAL_API int64_t fal_client_timeout_ms(const fal_client *client);
/* `fd` is ready for `events` (both, when it has an error); or, with fd -1, the time is over. Does what can be done without
 * blocking. A descriptor that is not the client's any more is passed over. FAL_ERR_BUSY inside a callback; FAL_ERR_MEMORY:
 * calls ended so that would not have otherwise. */
FAL_API enum fal_code fal_client_ready(fal_client *client, int fd, int events);
/* For programs without a loop: waits until something happened or timeout_ms (negative: as long as it takes) is over, and does
 * what can be done. Returns at once when nothing is under way and timeout_ms is negative. FAL_ERR_CANCELLED: fal_client_cancel,
 * which ends this wait and no call; FAL_ERR_BUSY, FAL_ERR_MEMORY as above. */
FAL_API enum fal_code fal_client_wait(fal_client *client, int64_t timeout_ms);
/* Calls and realtime connections under way. */
FAL_API size_t fal_client_pending(const fal_client *client);

/* ---- Webhooks, for those who receive them ---- */

/* One delivery as it came. Borrowed. `body` is the raw body: verify before you parse. */
struct fal_webhook {
    size_t size;
    const void *body;
    size_t body_bytes;
    /* X-Fal-Webhook-Request-Id, -User-Id, -Timestamp, -Signature; NULL: not there */
    const char *request_id, *user_id, *timestamp, *signature;
    /* Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature; NULL: not there */
    const char *standard_id, *standard_timestamp, *standard_signature;
};
#define FAL_WEBHOOK_INIT \
    {sizeof(struct fal_webhook), NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL}

struct fal_webhook_keys {
    size_t size;
    /* The sender's published keys, as /.well-known/jwks.json gives them: opens both ED25519 signatures. Keep them at most a
     * day. The first 32 of ED25519 are read. Optional. */
    const char *jwks_json;
    /* Your own secret for Standard Webhooks' v1, "whsec_…", at most 256 bytes when decoded. Optional. */
    const char *secret;
    /* How far a timestamp may be from now. 0: 300. */
    int64_t tolerance_s;
    /* Unix seconds. 0: the system's clock. */
    int64_t now_s;
};
#define FAL_WEBHOOK_KEYS_INIT {sizeof(struct fal_webhook_keys), NULL, NULL, 0, 0}

enum fal_webhook_verdict {
    FAL_WEBHOOK_VALID = 0,
    FAL_WEBHOOK_UNSIGNED = 1, /* a header is missing or malformed */
    FAL_WEBHOOK_EXPIRED = 2,  /* rightly signed, and too old or from the future */
    FAL_WEBHOOK_FORGED = 3,   /* no key fits */
    FAL_WEBHOOK_NO_KEY = 4, /* `keys` has none for the signature that came, or it cannot be read */
    FAL_WEBHOOK_NO_MEMORY = 5
};

/* FAL_WEBHOOK_VALID when one signature that came fits one of the keys. Any thread; constant time in the secret. */
FAL_API enum fal_webhook_verdict fal_webhook_verify(const struct fal_webhook *webhook,
                                                    const struct fal_webhook_keys *keys);
/* Fetches the published keys ({rest}/.well-known/jwks.json): fal_result_json is for jwks_json. */
FAL_API enum fal_code fal_webhook_keys_fetch(fal_client *client,
                                             const struct fal_call_options *options,
                                             fal_result **result);

#ifdef __cplusplus
}
#endif

#endif
