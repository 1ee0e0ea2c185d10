#include "base/json.h"
#include "client/client.h"

#include <stdlib.h>

static const char *text_or(yyjson_val *v, const char *otherwise) {
    return yyjson_is_str(v) ? yyjson_get_str(v) : otherwise;
}

static bool read_state(yyjson_val *v, bool submitted, enum fal_state *out) {
    static const struct {
        const char *name;
        enum fal_state state;
    } states[] = {
        {"IN_QUEUE", FAL_IN_QUEUE}, {"IN_PROGRESS", FAL_IN_PROGRESS}, {"COMPLETED", FAL_COMPLETED}};
    const char *name = text_or(v, submitted ? "IN_QUEUE" : "");
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(name, states[i].name) == 0) {
            *out = states[i].state;
            return true;
        }
    }
    return false;
}

static void read_log(struct fal_log *log, yyjson_val *entry) {
    yyjson_val *labels = json_get(entry, "labels");
    log->message = text_or(json_get(entry, "message"), "");
    log->level = text_or(json_get(entry, "level"), text_or(json_get(labels, "level"), ""));
    log->source = text_or(json_get(entry, "source"), text_or(json_get(labels, "source"), ""));
    log->timestamp = text_or(json_get(entry, "timestamp"), "");
}

static bool read_logs(struct client_status *s, yyjson_val *logs) {
    size_t n = yyjson_is_arr(logs) ? yyjson_arr_size(logs) : 0;
    if (n == 0) {
        return true;
    }
    s->entries = calloc(n, sizeof(*s->entries));
    s->pointers = calloc(n, sizeof(*s->pointers));
    if (s->entries == NULL || s->pointers == NULL) {
        return false;
    }
    yyjson_arr_iter it = yyjson_arr_iter_with(logs);
    for (size_t i = 0; i < n; i++) {
        read_log(&s->entries[i], yyjson_arr_iter_next(&it));
        s->pointers[i] = &s->entries[i];
    }
    s->pub.logs = s->pointers;
    s->pub.log_count = n;
    return true;
}

static bool same_log(const struct fal_log *a, const struct fal_log *b) {
    return strcmp(a->timestamp, b->timestamp) == 0 && strcmp(a->message, b->message) == 0;
}

/* Servers send all lines so far, or a window that moves on, or (a COMPLETED without logs) none. The
 * new ones begin after the last line of the update before: at its old place, else at the last place
 * where it stands. */
static size_t first_new_log(const struct fal_status *now, const struct fal_status *before) {
    if (before == NULL || before->log_count == 0) {
        return 0;
    }
    size_t n = before->log_count;
    const struct fal_log *last = before->logs[n - 1];
    if (now->log_count >= n && same_log(now->logs[n - 1], last)) {
        return n;
    }
    for (size_t i = now->log_count; i > 0; i--) {
        if (same_log(now->logs[i - 1], last)) {
            return i;
        }
    }
    return 0;
}

static void read_fields(struct fal_status *p, yyjson_val *root, const char *request_id) {
    yyjson_val *position = json_get(root, "queue_position");
    yyjson_val *seconds = json_get(json_get(root, "metrics"), "inference_time");
    p->request_id = text_or(json_get(root, "request_id"), request_id);
    p->queue_position = yyjson_is_int(position) ? yyjson_get_sint(position) : -1;
    p->inference_time_s = yyjson_is_num(seconds) ? yyjson_get_num(seconds) : -1.0;
    p->error = text_or(json_get(root, "error"), NULL);
    p->error_type = text_or(json_get(root, "error_type"), NULL);
    p->status_url = text_or(json_get(root, "status_url"), NULL);
    p->response_url = text_or(json_get(root, "response_url"), NULL);
    p->cancel_url = text_or(json_get(root, "cancel_url"), NULL);
}

struct client_status *client_status_read(struct slice json, bool submitted, const char *request_id,
                                         const struct client_status *before, enum fal_code *code) {
    struct json_error err = {0};
    *code = FAL_ERR_MEMORY;
    struct client_status *s = calloc(1, sizeof(*s));
    if (s == NULL || (s->json = slice_dup(json)) == NULL) {
        goto fail;
    }
    s->doc = json_parse(json, &err);
    yyjson_val *root = yyjson_doc_get_root(s->doc);
    if (s->doc == NULL) {
        *code = err.fault == JSON_MEMORY ? FAL_ERR_MEMORY : FAL_ERR_PROTOCOL;
        goto fail;
    }
    read_fields(&s->pub, root, request_id);
    s->pub.json = s->json;
    if (!yyjson_is_obj(root) || !read_state(json_get(root, "status"), submitted, &s->pub.state) ||
        s->pub.request_id == NULL || s->pub.request_id[0] == '\0') {
        *code = FAL_ERR_PROTOCOL;
        goto fail;
    }
    if (!read_logs(s, json_get(root, "logs"))) {
        goto fail;
    }
    s->pub.first_new_log = first_new_log(&s->pub, before != NULL ? &before->pub : NULL);
    *code = FAL_OK;
    return s;
fail:
    client_status_free(s);
    return NULL;
}

void client_status_free(struct client_status *s) {
    while (s != NULL) {
        struct client_status *older = s->older;
        yyjson_doc_free(s->doc);
        free(s->json);
        free(s->entries);
        free(s->pointers);
        free(s);
        s = older;
    }
}
