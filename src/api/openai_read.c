/* Reading a request of OpenAI's dialect: what we decide by is judged, the rest is the upstream's business. */
#include "api/openai.h"

#include "api/inputs_inner.h"

#include "base/json.h"

#include <stdio.h>

/* Members that would steer a gateway: where a request goes, with which key, or that another model answers it. Routes and
 * keys are the operator's; these never travel (docs/bad-input.md J12). */
static const char *const steering[] = {
    "api_base",
    "api_key",
    "api_type",
    "api_version",
    "azure_endpoint",
    "base_url",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "custom_llm_provider",
    "default_headers",
    "extra_body",
    "extra_headers",
    "extra_query",
    "fallbacks",
    "headers",
    "litellm_params",
    "model_list",
    "models",
    "organization",
    "preset",
    "route",
    "user_config",
};

/* Ours to write. */
static const char *const ours[] = {"model", "stream", "stream_options"};

static bool is_one_of(struct slice name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (json_name_is(name, names[i])) return true;
    return false;
}

static bool travels(struct slice name) {
    return !is_one_of(name, ours, sizeof ours / sizeof *ours) &&
           !is_one_of(name, steering, sizeof steering / sizeof *steering);
}

__attribute__((format(printf, 5, 6))) static bool refuse(struct openai_fault *f, unsigned status,
                                                         const char *code, const char *param,
                                                         const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    f->status = status;
    f->code = code;
    f->param = param;
    return false;
}

static bool read_model(yyjson_val *root, const struct llm *llm, struct arena *a,
                       struct llm_request *r, struct openai_fault *f) {
    struct slice model = json_str(json_get(root, "model"));
    if (model.len == 0)
        return refuse(f, 400, NULL, "model", "model should be a string that names a model");
    r->model = arena_copy(a, model);
    if (r->model.ptr == NULL) return refuse(f, 503, NULL, NULL, "out of memory");
    if (llm_knows(llm, model)) return true;
    return refuse(f, 404, "model_not_found", "model",
                  "The model `%.*s` does not exist here; GET /v1/models lists those that do",
                  (int)(model.len < 200 ? model.len : 200), model.ptr);
}

static bool read_stream(yyjson_val *root, struct llm_request *r, struct openai_fault *f) {
    yyjson_val *stream = json_get(root, "stream"), *options = json_get(root, "stream_options");
    if (stream != NULL && !yyjson_is_null(stream) && !yyjson_is_bool(stream))
        return refuse(f, 400, NULL, "stream", "stream should be true or false");
    if (options != NULL && !yyjson_is_null(options) && !yyjson_is_obj(options))
        return refuse(f, 400, NULL, "stream_options", "stream_options should be an object");
    r->stream = yyjson_is_true(stream);
    r->wants_usage = yyjson_is_true(json_get(options, "include_usage"));
    return true;
}

static bool read_messages(yyjson_val *root, struct llm_request *r, struct openai_fault *f) {
    yyjson_val *messages = json_get(root, "messages");
    if (messages == NULL) return refuse(f, 400, NULL, "messages", "messages is required");
    if (!yyjson_is_arr(messages))
        return refuse(f, 400, NULL, "messages", "messages should be a list");
    parts_look(messages, r);
    return true;
}

/* Those members of an object that `pass` takes, as they stand in the text. ptr NULL: out of memory. */
static struct slice members_of(struct slice object, bool (*pass)(struct slice name),
                               struct arena *a) {
    struct slice rest = json_inside(object);
    struct json_member m;
    char *out = arena_alloc(a, rest.len + 1), *at = out; /* the text has a comma between two */
    while (out != NULL && json_next_member(&rest, &m)) {
        if (!pass(m.name)) continue;
        if (at > out) *at++ = ',';
        memcpy(at, m.text.ptr, m.text.len);
        at += m.text.len;
    }
    return out != NULL ? slice_make(out, (size_t)(at - out)) : SLICE_NONE;
}

static bool is_no_usage(struct slice name) {
    return !json_name_is(name, "include_usage");
}

static bool take_members(struct slice body, struct arena *a, struct llm_request *r,
                         struct openai_fault *f) {
    struct slice rest = json_inside(body);
    struct json_member m;
    r->members = members_of(body, travels, a);
    while (r->stream && json_next_member(&rest, &m))
        if (json_name_is(m.name, "stream_options"))
            r->stream_options = members_of(m.value, is_no_usage, a);
    return r->members.ptr != NULL || refuse(f, 503, NULL, NULL, "out of memory");
}

static bool refuse_text(const struct json_error *e, struct openai_fault *f) {
    if (e->fault == JSON_MEMORY) return refuse(f, 503, NULL, NULL, "out of memory");
    return refuse(f, 400, NULL, NULL, "The body is not JSON as it should be: %s at byte %zu",
                  e->reason, e->offset);
}

bool openai_read(struct slice body, const struct llm *llm, struct arena *a, struct llm_request *r,
                 struct openai_fault *f) {
    struct json_error e;
    yyjson_doc *doc = json_parse(body, &e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (doc == NULL) return refuse_text(&e, f);
    bool ok = yyjson_is_obj(root) || refuse(f, 400, NULL, NULL, "The body should be a JSON object");
    ok = ok && read_messages(root, r, f) && read_stream(root, r, f) &&
         read_model(root, llm, a, r, f) && take_members(body, a, r, f);
    yyjson_doc_free(doc);
    return ok;
}
