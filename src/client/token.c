#include "client/token.h"

#include "base/json.h"

#include <stdlib.h>

#define TOKEN_APPS 1000U
#define TOKEN_BODY_BYTES (TOKEN_APPS * (CLIENT_NAME_BYTES * 2U + 4U))

const char *client_token_fault(const char *const *apps, size_t app_count, int64_t expiration_s) {
    struct client_endpoint e;
    if (apps == NULL || app_count == 0 || app_count > TOKEN_APPS) {
        return "a token is for 1 to 1000 apps";
    }
    for (size_t i = 0; i < app_count; i++) {
        if (apps[i] == NULL || !client_endpoint_parse(apps[i], &e)) {
            return "an app must be in the format owner/alias";
        }
    }
    return expiration_s < 0 ? "expiration_s is negative" : NULL;
}

/* The wire names apps by their alias alone: "any-llm" of "fal-ai/any-llm/vision". */
static struct slice alias_of(const struct client_endpoint *e) {
    size_t from = e->app_bytes;
    while (from > 0 && e->id[from - 1] != '/') {
        from--;
    }
    return slice_make(e->id + from, e->app_bytes - from);
}

bool client_token_request(struct client_request *r, struct buf *body, const fal_client *c,
                          const char *const *apps, size_t app_count, int64_t expiration_s) {
    r->auth = CLIENT_AUTH_KEY;
    r->proxied = true;
    buf_printf(&r->url, "%s/tokens/", c->base.rest);
    buf_addc(&r->url, '\0');
    buf_init(body, TOKEN_BODY_BYTES);
    buf_puts(body, "{\"allowed_apps\":[");
    for (size_t i = 0; i < app_count; i++) {
        struct client_endpoint e;
        if (client_endpoint_parse(apps[i], &e)) {
            buf_puts(body, i > 0 ? "," : "");
            json_add_string(body, alias_of(&e), false);
        }
    }
    buf_puts(body, "],\"token_expiration\":");
    buf_u64(body, (uint64_t)(expiration_s > 0 ? expiration_s : CLIENT_TOKEN_S));
    buf_addc(body, '}');
    r->body = buf_slice(body);
    return !body->failed && !r->url.failed;
}

char *client_token_read(struct slice reply_json, enum fal_code *code) {
    yyjson_read_err err = {0};
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)reply_json.ptr, reply_json.len, 0, NULL,
                                       &err);
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct slice token = json_str(root);
    token = token.len > 0 ? token : json_str(json_get(root, "token"));
    token = token.len > 0 ? token : json_str(json_get(root, "detail"));
    char *copy = token.len > 0 ? slice_dup(token) : NULL;
    bool no_memory = err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION || token.len > 0;
    *code = copy != NULL ? FAL_OK : no_memory ? FAL_ERR_MEMORY : FAL_ERR_PROTOCOL;
    yyjson_doc_free(doc);
    return copy;
}

/* ---- The call ---- */

struct token_call {
    fal_call call;
    struct client_try try;
    struct buf body, lines;
    char **apps; /* app_count of them, NULL where memory was short */
    size_t app_count;
    int64_t expiration_s;
};

/* {"token": …}, whatever the server wrapped it in. */
static enum fal_code set_result(fal_result *r, const char *token) {
    struct client_reply made = {.http_status = r->http_status, .is_json = true};
    made.retry_after_s = -1.0;
    buf_init(&made.body, FAL_MAX_REPLY_BYTES);
    buf_puts(&made.body, "{\"token\":");
    json_add_string(&made.body, slice_of(token), false);
    enum fal_code code = buf_addc(&made.body, '}') ? client_result_take(r, &made) : FAL_ERR_MEMORY;
    buf_free(&made.body);
    return code;
}

static void token_done(struct client_try *t) {
    struct token_call *call = t->owner;
    if (!client_call_take(&call->call, t)) {
        return;
    }
    size_t len;
    enum fal_code code;
    const char *body = fal_result_body(call->call.result, &len);
    char *token = client_token_read(slice_make(body, len), &code);
    if (token != NULL) {
        code = set_result(call->call.result, token);
        explicit_bzero(token, strlen(token));
        free(token);
    }
    if (code == FAL_ERR_PROTOCOL) {
        client_call_fail(&call->call, code, "the answer holds no token");
    } else if (code != FAL_OK) {
        client_call_fail_code(&call->call, code);
    } else {
        client_call_end(&call->call);
    }
}

static enum fal_code token_start(fal_call *base) {
    struct token_call *call = (struct token_call *)base;
    client_try_init(&call->try, base->client, CLIENT_POST, token_done, call);
    call->try.deadline_ms = base->deadline_ms;
    call->try.repeatable = true; /* a token that nobody got ends by itself */
    bool ok = client_token_request(&call->try.request, &call->body, base->client,
                                   (const char *const *)call->apps, call->app_count,
                                   call->expiration_s) &&
              buf_add(&call->try.request.lines, buf_slice(&call->lines));
    return ok ? client_try_begin(&call->try) : FAL_ERR_MEMORY;
}

static void token_free(fal_call *base) {
    struct token_call *call = (struct token_call *)base;
    client_try_end(&call->try);
    for (size_t i = 0; i < call->app_count; i++) {
        free(call->apps[i]);
    }
    free(call->apps);
    buf_free(&call->body);
    buf_free(&call->lines);
}

static bool token_stop(fal_call *base) {
    client_try_end(&((struct token_call *)base)->try);
    return false;
}

static const struct client_kind token_kind = {token_start, token_stop, token_free};

static enum fal_code copy_texts(struct token_call *call, const char *const *apps, size_t count,
                                const struct fal_call_options *o) {
    call->apps = calloc(count, sizeof(*call->apps));
    if (call->apps == NULL) {
        return FAL_ERR_MEMORY;
    }
    call->app_count = count;
    for (size_t i = 0; i < count; i++) {
        call->apps[i] = slice_dup(slice_of(apps[i]));
        if (call->apps[i] == NULL) {
            return FAL_ERR_MEMORY;
        }
    }
    buf_init(&call->lines, CLIENT_URL_BYTES * 4);
    return client_lines_add(&call->lines, o->headers, o->header_count);
}

static enum fal_code make(fal_client *c, const char *const *apps, size_t app_count,
                          int64_t expiration_s, const struct fal_call_options *options,
                          const struct client_how *how) {
    struct fal_call_options o;
    if (c == NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "client is NULL");
    }
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    const char *why = client_token_fault(apps, app_count, expiration_s);
    why = why == NULL && o.timeout_ms < 0 ? "timeout_ms is negative" : why;
    if (why != NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, why);
    }
    struct token_call *call = client_call_new(c, &token_kind, sizeof(*call), o.timeout_ms);
    if (call == NULL) {
        return client_refuse_how(how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    call->expiration_s = expiration_s;
    enum fal_code code = copy_texts(call, apps, app_count, &o);
    if (code != FAL_OK) {
        client_call_drop(&call->call);
        return client_refuse_how(how, code,
                                 code == FAL_ERR_MEMORY ? fal_strerror(code)
                                                        : "headers holds a line that is no header");
    }
    return client_call_go(&call->call, how);
}

enum fal_code fal_token_create(fal_client *client, const char *const *apps, size_t app_count,
                               int64_t expiration_s, const struct fal_call_options *options,
                               fal_result **result) {
    struct client_how how = client_blocking(result);
    return make(client, apps, app_count, expiration_s, options, &how);
}

enum fal_code fal_token_create_start(fal_client *client, const char *const *apps, size_t app_count,
                                     int64_t expiration_s, const struct fal_call_options *options,
                                     struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return make(client, apps, app_count, expiration_s, options, &how);
}
