#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

fal_result *client_result_new(void) {
    fal_result *r = calloc(1, sizeof(*r));
    if (r != NULL) {
        r->error = (struct fal_error){FAL_OK, 0, r->error_type, r->message, "", false, -1.0, false};
    }
    return r;
}

void fal_result_free(fal_result *result) {
    if (result == NULL) {
        return;
    }
    client_status_free(result->status);
    yyjson_doc_free(result->doc);
    free(result->body);
    free(result->request_id);
    free(result);
}

enum fal_code client_result_fail(fal_result *r, enum fal_code code, const char *fmt, ...) {
    if (r->error.code == FAL_OK) {
        char text[CLIENT_MESSAGE_BYTES + 8]; /* one too long is to be seen */
        va_list args;
        r->error.code = code;
        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        client_error_set_text(r->message, slice_of(text));
    }
    return r->error.code;
}

enum fal_code client_result_set_id(fal_result *r, const char *request_id) {
    char *copy = slice_dup(slice_of(request_id));
    if (copy == NULL) {
        return FAL_ERR_MEMORY;
    }
    free(r->request_id);
    r->request_id = copy;
    r->error.request_id = copy;
    return FAL_OK;
}

enum fal_code client_result_take(fal_result *r, struct client_reply *reply) {
    yyjson_read_err err = {0};
    free(r->body);
    yyjson_doc_free(r->doc);
    r->doc = NULL;
    r->http_status = r->error.http_status = reply->http_status;
    r->error.retry_after_s = reply->retry_after_s;
    r->body = buf_take(&reply->body, &r->body_bytes);
    if (r->body == NULL) {
        r->body_bytes = 0;
        return FAL_ERR_MEMORY;
    }
    if (reply->is_json && r->body_bytes > 0) {
        r->doc = yyjson_read_opts(r->body, r->body_bytes, 0, NULL, &err);
        if (r->doc == NULL && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
            return FAL_ERR_MEMORY;
        }
    }
    if (r->request_id == NULL && reply->request_id[0] != '\0') {
        return client_result_set_id(r, reply->request_id);
    }
    return FAL_OK;
}

enum fal_code client_result_answer(fal_result *r, struct client_try *t) {
    struct client_reply *reply = &t->exchange.reply;
    if (reply->code != FAL_OK) {
        r->error.retryable = t->useful;
        r->error.retry_after_s = -1.0;
        return client_result_fail(r, reply->code, "%s", reply->message);
    }
    if (client_result_take(r, reply) != FAL_OK) {
        return client_result_fail(r, FAL_ERR_MEMORY, "%s", fal_strerror(FAL_ERR_MEMORY));
    }
    if (client_try_ok(t)) {
        return FAL_OK;
    }
    if (r->error.code == FAL_OK) {
        r->error.retryable = t->useful || reply->retryable == 1;
        r->error.start_timeout = reply->start_timeout;
        r->error.code = FAL_ERR_HTTP;
        client_error_read(r, reply);
    }
    return r->error.code;
}

const char *fal_result_json(const fal_result *result) {
    return result != NULL && result->doc != NULL ? result->body : NULL;
}

const char *fal_result_body(const fal_result *result, size_t *size_bytes) {
    bool has = result != NULL && result->body != NULL;
    if (size_bytes != NULL) {
        *size_bytes = has ? result->body_bytes : 0;
    }
    return has ? result->body : "";
}

const char *fal_result_string(const fal_result *result, const char *pointer) {
    if (result == NULL || result->doc == NULL || pointer == NULL) {
        return NULL;
    }
    return yyjson_get_str(yyjson_doc_ptr_get(result->doc, pointer));
}

int fal_result_http_status(const fal_result *result) {
    return result != NULL ? result->http_status : 0;
}

const char *fal_result_request_id(const fal_result *result) {
    return result != NULL && result->request_id != NULL ? result->request_id : "";
}

const struct fal_status *fal_result_status(const fal_result *result) {
    return result != NULL && result->status != NULL ? &result->status->pub : NULL;
}

const struct fal_error *fal_result_error(const fal_result *result) {
    static const struct fal_error no_memory = {FAL_ERR_MEMORY, 0,    "",   "out of memory", "",
                                               false,          -1.0, false};
    return result != NULL ? &result->error : &no_memory;
}
