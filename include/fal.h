/* libfal: fal's HTTP API for C, against fal itself, anyllm, or any server that speaks the same
 * wire.
 *
 * The rules that hold for every function here:
 *   - Text is UTF-8 and NUL-terminated. What you pass in is borrowed for the call and copied where
 *     it must live longer; what you get out is borrowed from its handle and lives until that handle
 *     is freed.
 *   - A client is used by one thread at a time. Different clients may be used by different threads
 *     at the same time. The one function that may be called from another thread is
 *     fal_client_cancel.
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
    FAL_ERR_CANCELLED = 10 /* fal_client_cancel */
};

/* The largest answer a call takes, after decompression. */
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
};
#define FAL_OPTIONS_INIT {sizeof(struct fal_options), NULL, NULL, NULL, 0, 0, 0, false}

/* Makes a client. `options` is optional (NULL: all defaults). The environment is read here, once.
 * Opens no connection. FAL_OK: *client is yours, free it with fal_client_free. Otherwise *client is
 * NULL: FAL_ERR_ARGUMENT (base_url is no address; credentials with control characters; a size this
 * library does not know), FAL_ERR_MEMORY. */
FAL_API enum fal_code fal_client_new(const struct fal_options *options, fal_client **client);

/* Closes its connections and wipes the credentials. NULL is allowed. Not during a call, not in a
 * callback. Results live on. */
FAL_API void fal_client_free(fal_client *client);

/* Ends the call that is running in `client` with FAL_ERR_CANCELLED; when none is running, the next
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
    /* logs[first_new_log…] were not in the update before (fal_subscribe; else 0) */
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
 * What is tried again (max_retries times, honouring Retry-After up to 2 minutes, within
 * timeout_ms):
 *   - GET and PUT (status, result, cancel): transport errors and 408, 409, 429, 502, 503, 504;
 *   - POST (run, submit): what certainly was not carried out: no connection, 408, 409, 429, 503;
 *   - a submit of unknown fate (502, 504, a broken connection) only when the base is not fal's:
 *     every submit carries a random Idempotency-Key, which anyllm honours and fal ignores;
 *   - never a 504 that says the caller's own start timeout passed, nor what the server marks as not
 *     retryable.
 *
 * timeout_ms and fal_client_cancel end a call at once, except while a host's name is being looked
 * up: the system's resolver cannot be interrupted, so the call ends when it returns. */

/* For fal_run, fal_queue_status, fal_queue_result and fal_queue_cancel. */
struct fal_call_options {
    size_t size;
    /* For the whole call, retries included. 0: none. */
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
};
#define FAL_CALL_OPTIONS_INIT {sizeof(struct fal_call_options), 0, 0.0, NULL, NULL, false}

struct fal_submit_options {
    size_t size;
    /* For the submit itself. 0: none. */
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
};
#define FAL_SUBMIT_OPTIONS_INIT {sizeof(struct fal_submit_options), 0, 0.0, NULL, NULL, NULL, NULL}

struct fal_subscribe_options {
    size_t size;
    /* For everything. When it is over the request is cancelled on the server (that may take 5 s
     * more) and the call ends with FAL_ERR_TIMEOUT; when not even the submit was answered by then,
     * the request may stand on the server. 0: none. */
    int64_t timeout_ms;
    /* From the end of one status to the next. 0: 50 ms growing to 500 ms. */
    int64_t poll_interval_ms;
    /* Ask for the model's log lines. */
    bool logs;
    /* Both optional, called in the calling thread, during the call; they must not call the client
     * they belong to (FAL_ERR_BUSY), except fal_client_cancel. What they are given lives until they
     * return. on_enqueue: exactly once, after the server has accepted. on_queue_update: for every
     * status, also equal ones, the COMPLETED one last. */
    void (*on_enqueue)(const char *request_id, void *user);
    void (*on_queue_update)(const struct fal_status *status, void *user);
    void *user;
    double start_timeout_s;
    const char *hint;
    const char *priority;
    const char *webhook_url;
    const char *idempotency_key;
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
     NULL}

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

#ifdef __cplusplus
}
#endif

#endif
