/* The direct call and those of the queue, as the header has them: what the caller gave is checked before anything is sent. */
#include "client/queue.h"

#include <stdlib.h>

const char client_unknown_options[] =
    "options were not made with their _INIT macro, or by a newer header";

enum fal_code client_refuse(fal_result **out, enum fal_code code, const char *message) {
    fal_result *r = out != NULL ? client_result_new() : NULL;
    if (r != NULL) {
        client_result_fail(r, code, "%s", message);
        *out = r;
    }
    return code;
}

enum fal_code client_refuse_how(const struct client_how *how, enum fal_code code,
                                const char *message) {
    return client_refuse(how->blocking ? how->result : NULL, code, message);
}

struct client_how client_blocking(fal_result **result) {
    if (result != NULL) {
        *result = NULL;
    }
    return (struct client_how){.blocking = true, .result = result};
}

struct client_how client_starting(struct fal_done done, fal_call **handle) {
    if (handle != NULL) {
        *handle = NULL;
    }
    return (struct client_how){.done = done, .handle = handle};
}

enum fal_code client_check_input(const char **input, const char **why) {
    yyjson_read_err err;
    if (*input == NULL) {
        *input = "{}";
        return FAL_OK;
    }
    size_t len = strlen(*input);
    *why = "input_json is not a JSON object";
    if (len > CLIENT_INPUT_BYTES) {
        *why = "input_json is larger than 64 MiB";
        return FAL_ERR_ARGUMENT;
    }
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)*input, len, 0, NULL, &err);
    bool ok = yyjson_is_obj(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    if (doc == NULL && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        *why = fal_strerror(FAL_ERR_MEMORY);
        return FAL_ERR_MEMORY;
    }
    return ok ? FAL_OK : FAL_ERR_ARGUMENT;
}

/* ---- Making one ---- */

/* What all of them are made of; borrowed. */
struct ask {
    fal_client *client;
    const char *endpoint_id, *request_id, *url, *idempotency_key;
    enum client_step step;
    bool follow, logs, streaming;
    int64_t timeout_ms, poll_interval_ms;
    void (*on_enqueue)(const char *request_id, void *user);
    void (*on_queue_update)(const struct fal_status *status, void *user);
    void *user;
    struct client_post_options post;
};

/* NULL when all is well, else what is not. */
static const char *check(const struct ask *a) {
    bool posts = a->step == CLIENT_RUN || a->step == CLIENT_SUBMIT;
    if (a->client == NULL || a->endpoint_id == NULL) {
        return "client or endpoint_id is NULL";
    }
    if (a->timeout_ms < 0 || a->poll_interval_ms < 0 || a->poll_interval_ms > INT32_MAX) {
        return "a time is negative or too large";
    }
    if (a->idempotency_key != NULL && !client_text_is_word(a->idempotency_key, 255)) {
        return "idempotency_key must be 1 to 255 visible ASCII characters";
    }
    if (!posts && !client_request_id_is_sound(a->request_id)) {
        return "request_id is missing, too long, or no id";
    }
    return NULL;
}

static bool keep_key(struct client_queue_call *q, const struct ask *a) {
    char random[UUID_BYTES];
    const char *key = a->idempotency_key;
    if (a->step != CLIENT_SUBMIT) {
        return true;
    }
    q->random_key = key == NULL;
    if (key == NULL) {
        random_uuid(a->client->random, random);
        key = random;
    }
    q->idempotency_key = slice_dup(slice_of(key));
    return q->idempotency_key != NULL;
}

static enum fal_code fill(struct client_queue_call *q, const struct ask *a, const char **why) {
    q->first_step = a->step;
    q->follow = a->follow;
    q->logs = a->logs;
    q->streaming = a->streaming;
    q->poll_interval_ms = a->poll_interval_ms;
    q->on_enqueue = a->on_enqueue;
    q->on_queue_update = a->on_queue_update;
    q->user = a->user;
    enum fal_code code = client_post_init(&q->post, a->client, a->endpoint_id, &a->post, why);
    if (code != FAL_OK) {
        return code;
    }
    *why = fal_strerror(FAL_ERR_MEMORY);
    q->url = a->url != NULL ? slice_dup(slice_of(a->url)) : NULL;
    if ((a->url != NULL && q->url == NULL) || !keep_key(q, a)) {
        return FAL_ERR_MEMORY;
    }
    return a->request_id != NULL ? client_result_set_id(q->call.result, a->request_id) : FAL_OK;
}

static enum fal_code go(const struct ask *a, const struct client_how *how) {
    const char *why = check(a);
    if (why != NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, why);
    }
    struct client_queue_call *q = client_call_new(a->client, &client_queue_kind, sizeof(*q),
                                                  a->timeout_ms);
    if (q == NULL) {
        return FAL_ERR_MEMORY;
    }
    enum fal_code code = fill(q, a, &why);
    if (code != FAL_OK) {
        client_call_drop(&q->call);
        return client_refuse_how(how, code, why);
    }
    return client_call_go(&q->call, how);
}

/* ---- The options of the header ---- */

static enum fal_code go_plain(struct ask *a, const struct fal_call_options *options,
                              const char *input_json, const struct client_how *how) {
    struct fal_call_options o;
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    a->timeout_ms = o.timeout_ms;
    a->logs = o.logs;
    a->url = o.url;
    a->post.headers = o.headers;
    a->post.header_count = o.header_count;
    if (a->step == CLIENT_RUN) {
        a->post.input_json = input_json;
        a->post.hint = o.hint;
        a->post.start_timeout_s = o.start_timeout_s;
        a->post.files = o.files;
        a->post.lifecycle = o.lifecycle;
    }
    return go(a, how);
}

static enum fal_code go_submit(struct ask *a, const struct fal_submit_options *options,
                               const char *input_json, const struct client_how *how) {
    struct fal_submit_options o;
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    a->timeout_ms = o.timeout_ms;
    a->idempotency_key = o.idempotency_key;
    a->post = (struct client_post_options){.input_json = input_json,
                                           .hint = o.hint,
                                           .priority = o.priority,
                                           .webhook_url = o.webhook_url,
                                           .start_timeout_s = o.start_timeout_s,
                                           .headers = o.headers,
                                           .header_count = o.header_count,
                                           .files = o.files,
                                           .lifecycle = o.lifecycle};
    return go(a, how);
}

static enum fal_code go_followed(struct ask *a, const struct fal_subscribe_options *options,
                                 const char *input_json, const struct client_how *how) {
    struct fal_subscribe_options o;
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    a->follow = true;
    a->timeout_ms = o.timeout_ms;
    a->poll_interval_ms = o.poll_interval_ms;
    a->logs = o.logs;
    a->streaming = o.streaming;
    a->on_enqueue = o.on_enqueue;
    a->on_queue_update = o.on_queue_update;
    a->user = o.user;
    a->post.headers = o.headers;
    a->post.header_count = o.header_count;
    if (a->step == CLIENT_SUBMIT) {
        a->idempotency_key = o.idempotency_key;
        a->post.input_json = input_json;
        a->post.hint = o.hint;
        a->post.priority = o.priority;
        a->post.webhook_url = o.webhook_url;
        a->post.start_timeout_s = o.start_timeout_s;
        a->post.files = o.files;
        a->post.lifecycle = o.lifecycle;
    }
    return go(a, how);
}

/* ---- The header's functions ---- */

#define ASK(...) (&(struct ask){.client = client, .endpoint_id = endpoint_id, __VA_ARGS__})

enum fal_code fal_run(fal_client *client, const char *endpoint_id, const char *input_json,
                      const struct fal_call_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_plain(ASK(.step = CLIENT_RUN), options, input_json, &how);
}

enum fal_code fal_run_start(fal_client *client, const char *endpoint_id, const char *input_json,
                            const struct fal_call_options *options, struct fal_done done,
                            fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_plain(ASK(.step = CLIENT_RUN), options, input_json, &how);
}

enum fal_code fal_subscribe(fal_client *client, const char *endpoint_id, const char *input_json,
                            const struct fal_subscribe_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_followed(ASK(.step = CLIENT_SUBMIT), options, input_json, &how);
}

enum fal_code fal_subscribe_start(fal_client *client, const char *endpoint_id,
                                  const char *input_json,
                                  const struct fal_subscribe_options *options, struct fal_done done,
                                  fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_followed(ASK(.step = CLIENT_SUBMIT), options, input_json, &how);
}

enum fal_code fal_queue_submit(fal_client *client, const char *endpoint_id, const char *input_json,
                               const struct fal_submit_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_submit(ASK(.step = CLIENT_SUBMIT), options, input_json, &how);
}

enum fal_code fal_queue_submit_start(fal_client *client, const char *endpoint_id,
                                     const char *input_json,
                                     const struct fal_submit_options *options, struct fal_done done,
                                     fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_submit(ASK(.step = CLIENT_SUBMIT), options, input_json, &how);
}

enum fal_code fal_queue_status(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_plain(ASK(.step = CLIENT_STATUS, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_status_start(fal_client *client, const char *endpoint_id,
                                     const char *request_id, const struct fal_call_options *options,
                                     struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_plain(ASK(.step = CLIENT_STATUS, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_result(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_plain(ASK(.step = CLIENT_RESULT, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_result_start(fal_client *client, const char *endpoint_id,
                                     const char *request_id, const struct fal_call_options *options,
                                     struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_plain(ASK(.step = CLIENT_RESULT, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_cancel(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_plain(ASK(.step = CLIENT_CANCEL, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_cancel_start(fal_client *client, const char *endpoint_id,
                                     const char *request_id, const struct fal_call_options *options,
                                     struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_plain(ASK(.step = CLIENT_CANCEL, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_subscribe_to_status(fal_client *client, const char *endpoint_id,
                                            const char *request_id,
                                            const struct fal_subscribe_options *options,
                                            fal_result **result) {
    struct client_how how = client_blocking(result);
    return go_followed(ASK(.step = CLIENT_STATUS, .request_id = request_id), options, NULL, &how);
}

enum fal_code fal_queue_subscribe_to_status_start(fal_client *client, const char *endpoint_id,
                                                  const char *request_id,
                                                  const struct fal_subscribe_options *options,
                                                  struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return go_followed(ASK(.step = CLIENT_STATUS, .request_id = request_id), options, NULL, &how);
}
