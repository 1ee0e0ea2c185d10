/* The sender's published keys, fetched. */
#include "client/client.h"

struct keys_call {
    fal_call call;
    struct client_try try;
    struct buf lines;
};

static void keys_done(struct client_try *t) {
    struct keys_call *call = t->owner;
    if (!client_call_take(&call->call, t)) return;
    if (!yyjson_is_arr(yyjson_obj_get(yyjson_doc_get_root(call->call.result->doc), "keys")))
        client_call_fail(&call->call, FAL_ERR_PROTOCOL, "the answer is no list of keys");
    else
        client_call_end(&call->call);
}

static enum fal_code keys_start(fal_call *base) {
    struct keys_call *call = (struct keys_call *)base;
    struct client_try *t = &call->try;
    client_try_init(t, base->client, CLIENT_GET, keys_done, call);
    t->deadline_ms = base->deadline_ms;
    t->request.auth = CLIENT_AUTH_KEY;
    t->request.proxied = true;
    buf_printf(&t->request.url, "%s/.well-known/jwks.json", base->client->base.rest);
    buf_addc(&t->request.url, '\0');
    bool ok = buf_add(&t->request.lines, buf_slice(&call->lines)) && !t->request.url.failed;
    return ok ? client_try_begin(t) : FAL_ERR_MEMORY;
}

static bool keys_stop(fal_call *base) {
    client_try_end(&((struct keys_call *)base)->try);
    return false;
}

static void keys_free(fal_call *base) {
    struct keys_call *call = (struct keys_call *)base;
    client_try_end(&call->try);
    buf_free(&call->lines);
}

static const struct client_kind keys_kind = {keys_start, keys_stop, keys_free};

enum fal_code fal_webhook_keys_fetch(fal_client *client, const struct fal_call_options *options,
                                     fal_result **result) {
    struct fal_call_options o;
    struct client_how how = client_blocking(result);
    if (client == NULL) return client_refuse_how(&how, FAL_ERR_ARGUMENT, "client is NULL");
    if (!client_options_copy(&o, sizeof o, options))
        return client_refuse_how(&how, FAL_ERR_ARGUMENT, client_unknown_options);
    if (o.timeout_ms < 0)
        return client_refuse_how(&how, FAL_ERR_ARGUMENT, "timeout_ms is negative");
    struct keys_call *call = client_call_new(client, &keys_kind, sizeof *call, o.timeout_ms);
    if (call == NULL) return client_refuse_how(&how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    buf_init(&call->lines, CLIENT_LINES_BYTES);
    enum fal_code code = client_lines_add(&call->lines, o.headers, o.header_count);
    if (code != FAL_OK) {
        client_call_drop(&call->call);
        return client_refuse_how(&how, code,
                                 code == FAL_ERR_MEMORY ? fal_strerror(code)
                                                        : "headers holds a line that is no header");
    }
    return client_call_go(&call->call, &how);
}
