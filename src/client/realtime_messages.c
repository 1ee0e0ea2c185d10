#include "base/json.h"
#include "base/msgpack_json.h"
#include "client/realtime.h"

#include <stdio.h>
#include <stdlib.h>

/* --- what waits */

void client_messages_init(struct client_messages *q) {
    *q = (struct client_messages){.last = &q->first};
}

void client_messages_free(struct client_messages *q) {
    for (struct client_message *m; (m = client_messages_take(q)) != NULL;) free(m);
}

static size_t bytes_of(const struct client_message *m) {
    return sizeof *m + m->len + 1;
}

void client_messages_append(struct client_messages *q, struct client_message *m) {
    m->next = NULL;
    *q->last = m;
    q->last = &m->next;
    q->bytes += bytes_of(m);
}

bool client_messages_add(struct client_messages *q, struct slice data) {
    struct client_message *m = malloc(sizeof *m + data.len + 1);
    if (m == NULL) return false;
    m->len = data.len;
    if (data.len > 0) memcpy(m->data, data.ptr, data.len);
    m->data[data.len] = '\0';
    client_messages_append(q, m);
    return true;
}

struct client_message *client_messages_take(struct client_messages *q) {
    struct client_message *m = q->first;
    if (m == NULL) return NULL;
    q->first = m->next;
    if (q->first == NULL) q->last = &q->first;
    q->bytes -= bytes_of(m);
    return m;
}

void client_messages_put_back(struct client_messages *q, struct client_messages *front) {
    for (struct client_message *m; (m = client_messages_take(q)) != NULL;)
        client_messages_append(front, m);
    for (struct client_message *m; (m = client_messages_take(front)) != NULL;)
        client_messages_append(q, m);
}

/* --- what the server says */

static bool any_member(void *user, struct slice member) {
    return true;
}

static bool member_is(yyjson_val *root, const char *name, const char *value) {
    return slice_is(json_str(json_get(root, name)), value);
}

/* Control messages are always text, but nothing is lost when they are not. */
static enum client_said judge(yyjson_val *root) {
    if (member_is(root, "type", "x-fal-message")) return SAID_NOTHING;
    if (member_is(root, "type", "x-fal-error")) return SAID_ERROR;
    if (member_is(root, "status", "error") && member_is(root, "error", "Unauthorized"))
        return SAID_UNAUTHORIZED;
    return SAID_OUTPUT;
}

static yyjson_doc *parse(struct slice json, bool *no_memory) {
    yyjson_read_err err = {0};
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)json.ptr, json.len, 0, NULL, &err);
    *no_memory = doc == NULL && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION;
    return doc;
}

enum client_said client_said_read(bool text, struct slice data, struct buf *json) {
    bool no_memory = false;
    if (text)
        buf_add(json, data);
    else if (msgpack_to_json(data, any_member, NULL, json) != NULL)
        return json->no_memory ? SAID_NO_MEMORY : SAID_NONSENSE;
    if (json->failed) return json->no_memory ? SAID_NO_MEMORY : SAID_NONSENSE;
    yyjson_doc *doc = parse(buf_slice(json), &no_memory);
    if (doc == NULL) return no_memory ? SAID_NO_MEMORY : SAID_NONSENSE;
    enum client_said said = judge(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return said;
}

/* --- to the server */

enum fal_code client_message_pack(bool text, const char *json, struct buf *out) {
    struct slice s = slice_of(json);
    bool no_memory = false;
    if (json == NULL || s.len > REALTIME_QUEUED_BYTES) return FAL_ERR_ARGUMENT;
    yyjson_doc *doc = parse(s, &no_memory);
    if (doc == NULL) return no_memory ? FAL_ERR_MEMORY : FAL_ERR_ARGUMENT;
    bool object = yyjson_is_obj(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    if (!object) return FAL_ERR_ARGUMENT;
    if (text) return buf_add(out, s) ? FAL_OK : FAL_ERR_MEMORY;
    if (msgpack_from_json(s, out)) return FAL_OK;
    return out->failed ? (out->no_memory ? FAL_ERR_MEMORY : FAL_ERR_TOO_LARGE) : FAL_ERR_ARGUMENT;
}

/* --- to the caller */

/* As fal's clients count: 400 where it says no status. */
static void read_error(fal_result *r, yyjson_val *root) {
    yyjson_val *reason = json_get(root, "reason"), *type = json_get(root, "error"),
               *status = json_get(root, "status"), *wait = json_get(root, "retry_after");
    struct slice words = json_str(yyjson_get_len(reason) > 0 ? reason : type);
    client_error_set_text(r->message, words.ptr != NULL ? words : SLICE("error"));
    if (yyjson_is_str(type))
        snprintf(r->error_type, sizeof r->error_type, "%s", yyjson_get_str(type));
    r->http_status = yyjson_is_int(status) ? (int)yyjson_get_int(status) : 400;
    r->error.code = FAL_ERR_HTTP;
    r->error.http_status = r->http_status;
    r->error.retryable = r->http_status == 429 || r->http_status >= 500;
    if (yyjson_is_num(wait)) r->error.retry_after_s = yyjson_get_num(wait);
}

fal_result *client_message_result(struct client_message *m) {
    struct client_reply reply = {.is_json = true, .retry_after_s = -1.0};
    fal_result *r = client_result_new();
    buf_init(&reply.body, SIZE_MAX / 4);
    buf_add(&reply.body, slice_make(m->data, m->len));
    free(m);
    if (r == NULL || reply.body.failed || client_result_take(r, &reply) != FAL_OK) {
        buf_free(&reply.body);
        fal_result_free(r);
        return NULL;
    }
    buf_free(&reply.body);
    yyjson_val *root = yyjson_doc_get_root(r->doc);
    if (judge(root) == SAID_ERROR) read_error(r, root);
    return r;
}
