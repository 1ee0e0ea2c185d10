/* The calls of the header: check what the caller gave, before anything is sent. */
#include "client/client.h"

#include <stdio.h>

static enum fal_code refuse(fal_result **out, enum fal_code code, const char *message) {
    fal_result *r = out != NULL ? client_result_new() : NULL;
    if (r != NULL) {
        client_result_fail(r, code, "%s", message);
        *out = r;
    }
    return code;
}

static bool header_or_null(const char *s) {
    return s == NULL ||
           (s[0] != '\0' && strlen(s) < CLIENT_URL_BYTES / 2 && client_text_is_header(s));
}

/* NULL when all is well, else what is not. */
static const char *check_options(const struct fal_subscribe_options *o) {
    if (o->timeout_ms < 0 || o->poll_interval_ms < 0 || o->poll_interval_ms > INT32_MAX) {
        return "a time is negative or too large";
    }
    if (o->start_timeout_s != 0.0 && !(o->start_timeout_s > 1.0 && o->start_timeout_s < 1e9)) {
        return "start_timeout_s must be more than 1";
    }
    if (!header_or_null(o->hint) || !header_or_null(o->priority)) {
        return "hint or priority is empty or holds characters that a header cannot";
    }
    if (o->webhook_url != NULL && strlen(o->webhook_url) >= CLIENT_URL_BYTES / 2) {
        return "webhook_url is too long";
    }
    if (!header_or_null(o->idempotency_key) ||
        (o->idempotency_key != NULL && strlen(o->idempotency_key) > 255)) {
        return "idempotency_key must be 1 to 255 visible ASCII characters";
    }
    return NULL;
}

static enum fal_code check_input(const char **input, const char **why) {
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

static void choose_idempotency_key(struct client_call *call) {
    if (call->options.idempotency_key != NULL) {
        snprintf(call->idempotency_key, sizeof(call->idempotency_key), "%s",
                 call->options.idempotency_key);
    } else {
        random_uuid(call->client->random, call->idempotency_key);
    }
}

/* What all calls have in common, once their options are in call->options. */
static enum fal_code make_call(struct client_call *call, const char *endpoint_id,
                               fal_result **out) {
    const char *why = check_options(&call->options);
    bool posts = call->first_step == CLIENT_RUN || call->first_step == CLIENT_SUBMIT;
    if (call->client == NULL || endpoint_id == NULL) {
        return refuse(out, FAL_ERR_ARGUMENT, "client or endpoint_id is NULL");
    }
    if (why != NULL) {
        return refuse(out, FAL_ERR_ARGUMENT, why);
    }
    if (!client_endpoint_parse(endpoint_id, &call->endpoint)) {
        return refuse(out, FAL_ERR_ARGUMENT, "endpoint_id must be in the format owner/alias");
    }
    if (!posts && (call->request_id == NULL || call->request_id[0] == '\0' ||
                   strlen(call->request_id) >= CLIENT_NAME_BYTES)) {
        return refuse(out, FAL_ERR_ARGUMENT, "request_id is missing or too long");
    }
    enum fal_code code = posts ? check_input(&call->input, &why) : FAL_OK;
    if (code != FAL_OK) {
        return refuse(out, code, why);
    }
    choose_idempotency_key(call);
    return client_call_run(call, out);
}

static const char *const unknown_options =
    "options were not made with their _INIT macro, or by a newer header";

static enum fal_code plain_call(struct client_call *call, const char *endpoint_id,
                                const struct fal_call_options *options, fal_result **out) {
    struct fal_call_options o;
    if (!client_options_copy(&o, sizeof(o), options)) {
        return refuse(out, FAL_ERR_ARGUMENT, unknown_options);
    }
    call->options = (struct fal_subscribe_options){.timeout_ms = o.timeout_ms,
                                                   .logs = o.logs,
                                                   .start_timeout_s = o.start_timeout_s,
                                                   .hint = o.hint};
    call->url = o.url;
    return make_call(call, endpoint_id, out);
}

enum fal_code fal_run(fal_client *client, const char *endpoint_id, const char *input_json,
                      const struct fal_call_options *options, fal_result **result) {
    struct client_call call = {.client = client, .first_step = CLIENT_RUN, .input = input_json};
    if (result != NULL) {
        *result = NULL;
    }
    return plain_call(&call, endpoint_id, options, result);
}

enum fal_code fal_subscribe(fal_client *client, const char *endpoint_id, const char *input_json,
                            const struct fal_subscribe_options *options, fal_result **result) {
    struct client_call call = {
        .client = client, .first_step = CLIENT_SUBMIT, .follow = true, .input = input_json};
    if (result != NULL) {
        *result = NULL;
    }
    if (!client_options_copy(&call.options, sizeof(call.options), options)) {
        return refuse(result, FAL_ERR_ARGUMENT, unknown_options);
    }
    return make_call(&call, endpoint_id, result);
}

enum fal_code fal_queue_submit(fal_client *client, const char *endpoint_id, const char *input_json,
                               const struct fal_submit_options *options, fal_result **result) {
    struct client_call call = {.client = client, .first_step = CLIENT_SUBMIT, .input = input_json};
    struct fal_submit_options o;
    if (result != NULL) {
        *result = NULL;
    }
    if (!client_options_copy(&o, sizeof(o), options)) {
        return refuse(result, FAL_ERR_ARGUMENT, unknown_options);
    }
    call.options = (struct fal_subscribe_options){.timeout_ms = o.timeout_ms,
                                                  .start_timeout_s = o.start_timeout_s,
                                                  .hint = o.hint,
                                                  .priority = o.priority,
                                                  .webhook_url = o.webhook_url,
                                                  .idempotency_key = o.idempotency_key};
    return make_call(&call, endpoint_id, result);
}

static enum fal_code queued_call(fal_client *client, enum client_step step, const char *endpoint_id,
                                 const char *request_id, const struct fal_call_options *options,
                                 fal_result **result) {
    struct client_call call = {.client = client, .first_step = step, .request_id = request_id};
    if (result != NULL) {
        *result = NULL;
    }
    return plain_call(&call, endpoint_id, options, result);
}

enum fal_code fal_queue_status(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    return queued_call(client, CLIENT_STATUS, endpoint_id, request_id, options, result);
}

enum fal_code fal_queue_result(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    return queued_call(client, CLIENT_RESULT, endpoint_id, request_id, options, result);
}

enum fal_code fal_queue_cancel(fal_client *client, const char *endpoint_id, const char *request_id,
                               const struct fal_call_options *options, fal_result **result) {
    return queued_call(client, CLIENT_CANCEL, endpoint_id, request_id, options, result);
}
