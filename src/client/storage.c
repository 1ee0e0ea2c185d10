/* The calls over uploads: one file; the files of an input. */
#include "client/upload.h"

#include "base/json.h"

#include <stdlib.h>

/* Answers that no server gave: made here, of the address or the input. Takes text. */
static enum fal_code set_body(fal_result *r, struct buf *text) {
    struct client_reply made = {.http_status = 200, .is_json = true, .body = *text};
    made.retry_after_s = -1.0;
    enum fal_code code = text->failed ? FAL_ERR_MEMORY : client_result_take(r, &made);
    buf_free(&made.body);
    return code;
}

static void end_with(fal_call *call, enum fal_code code) {
    if (code != FAL_OK) {
        client_call_fail_code(call, code);
    } else {
        client_call_end(call);
    }
}

/* ---- One file ---- */

struct upload_call {
    fal_call call;
    struct client_upload *upload;
    void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user);
    void *user;
};

static void moved(struct client_upload *u) {
    struct upload_call *call = u->owner;
    if (call->on_progress != NULL) {
        call->on_progress(u->sent_bytes, client_upload_total(u), call->user);
    }
}

static void upload_done(struct client_upload *u, enum fal_code code) {
    struct upload_call *call = u->owner;
    if (code == FAL_OK) {
        struct buf text;
        buf_init(&text, FAL_MAX_REPLY_BYTES);
        buf_puts(&text, "{\"url\":");
        json_add_string(&text, slice_of(u->file_url), false);
        buf_addc(&text, '}');
        code = set_body(call->call.result, &text);
    }
    end_with(&call->call, code);
}

static enum fal_code upload_start(fal_call *base) {
    struct upload_call *call = (struct upload_call *)base;
    if (call->upload == NULL) {
        return base->result->error.code;
    }
    return client_upload_start(call->upload, base->result, base->deadline_ms);
}

static void upload_free(fal_call *base) {
    struct upload_call *call = (struct upload_call *)base;
    client_upload_free(call->upload);
    call->upload = NULL;
}

static bool upload_stop(fal_call *base) {
    upload_free(base);
    return false;
}

static const struct client_kind upload_kind = {upload_start, upload_stop, upload_free};

/* A file that cannot be opened is the call's error, with its words, also for those who do not block. */
static enum fal_code open_upload(struct upload_call *call, const struct fal_file *file,
                                 const struct client_upload_limits *limits, const char *lifecycle) {
    char message[CLIENT_MESSAGE_BYTES] = "";
    enum fal_code code = client_upload_new(call->call.client, file, limits, lifecycle,
                                           &call->upload, message);
    if (code == FAL_OK) {
        call->upload->owner = call;
        call->upload->progress = moved;
        call->upload->done = upload_done;
    } else if (code == FAL_ERR_ARGUMENT) {
        client_result_fail(call->call.result, code, "%s", message);
        code = FAL_OK;
    }
    return code;
}

static enum fal_code begin_upload(fal_client *c, const struct fal_file *file,
                                  const struct fal_upload_options *o, const char *lifecycle,
                                  const struct client_how *how) {
    struct client_upload_limits limits;
    const char *why = client_file_fault(file);
    why = why != NULL ? why : client_upload_limits_set(&limits, o);
    if (why != NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, why);
    }
    struct upload_call *call = client_call_new(c, &upload_kind, sizeof(*call), o->timeout_ms);
    if (call == NULL) {
        return client_refuse_how(how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    call->on_progress = o->on_progress;
    call->user = o->user;
    enum fal_code code = open_upload(call, file, &limits, lifecycle);
    if (code != FAL_OK) {
        client_call_drop(&call->call);
        return client_refuse_how(how, code, fal_strerror(code));
    }
    return client_call_go(&call->call, how);
}

static enum fal_code upload(fal_client *c, const struct fal_file *given,
                            const struct fal_upload_options *options,
                            const struct client_how *how) {
    struct fal_upload_options o;
    struct fal_file file;
    if (c == NULL || given == NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "client or file is NULL");
    }
    if (!client_options_copy(&o, sizeof(o), options) ||
        !client_options_copy(&file, sizeof(file), given)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    char *lifecycle = NULL;
    enum fal_code code = client_lifecycle_json(o.lifecycle, &lifecycle);
    if (code != FAL_OK) {
        return client_refuse_how(
            how, code, code == FAL_ERR_MEMORY ? fal_strerror(code) : "lifecycle is not one");
    }
    code = begin_upload(c, &file, &o, lifecycle, how);
    free(lifecycle);
    return code;
}

enum fal_code fal_storage_upload(fal_client *client, const struct fal_file *file,
                                 const struct fal_upload_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return upload(client, file, options, &how);
}

enum fal_code fal_storage_upload_start(fal_client *client, const struct fal_file *file,
                                       const struct fal_upload_options *options,
                                       struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return upload(client, file, options, &how);
}

/* ---- The files of an input ---- */

struct inputs_call {
    fal_call call;
    struct client_inputs *inputs;
};

static void inputs_done(enum fal_code code, char *input, void *owner) {
    struct inputs_call *call = owner;
    if (code == FAL_OK) {
        struct buf text;
        buf_init(&text, SIZE_MAX / 2);
        buf_puts(&text, input);
        code = set_body(call->call.result, &text);
    }
    free(input);
    end_with(&call->call, code);
}

static enum fal_code inputs_start(fal_call *base) {
    struct inputs_call *call = (struct inputs_call *)base;
    return client_inputs_begin(call->inputs, base->result, base->deadline_ms, inputs_done, call);
}

static void inputs_free(fal_call *base) {
    struct inputs_call *call = (struct inputs_call *)base;
    client_inputs_free(call->inputs);
    call->inputs = NULL;
}

static bool inputs_stop(fal_call *base) {
    inputs_free(base);
    return false;
}

static const struct client_kind inputs_kind = {inputs_start, inputs_stop, inputs_free};

enum fal_code fal_storage_transform_input(fal_client *client, const char *input_json,
                                          const struct fal_files *files, fal_result **result) {
    struct client_how how = client_blocking(result);
    const char *why = "client is NULL";
    enum fal_code code = client != NULL ? client_check_input(&input_json, &why) : FAL_ERR_ARGUMENT;
    if (code != FAL_OK) {
        return client_refuse_how(&how, code, why);
    }
    struct inputs_call *call = client_call_new(client, &inputs_kind, sizeof(*call), 0);
    if (call == NULL) {
        return client_refuse_how(&how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    code = client_inputs_new(client, files, input_json, &call->inputs, &why);
    if (code != FAL_OK) {
        client_call_drop(&call->call);
        return client_refuse_how(&how, code, why);
    }
    return client_call_go(&call->call, &how);
}
