/* Realtime connections, as the header has them. */
#include "client/realtime.h"

#include <stdlib.h>

/* --- making one */

static const char *check(const fal_client *c, const char *endpoint_id,
                         const struct fal_realtime_options *o) {
    if (c == NULL || endpoint_id == NULL) return "client or endpoint_id is NULL";
    if (o->token_expiration_s < 0 || o->open_timeout_ms < 0 || o->open_timeout_ms > INT32_MAX)
        return "a time is negative or too large";
    if (o->max_buffering < 0 || o->max_buffering > 60) return "max_buffering is 1 to 60";
    if (o->max_message_bytes > SIZE_MAX / 16) return "max_message_bytes is too large";
    if (o->token != NULL && (o->token[0] == '\0' || strlen(o->token) > CLIENT_URL_BYTES))
        return "token is empty or too long";
    return o->token != NULL && o->use_key ? "token and use_key exclude each other" : NULL;
}

static void set_defaults(struct fal_realtime_options *o) {
    if (o->token_expiration_s == 0) o->token_expiration_s = REALTIME_TOKEN_S;
    if (o->open_timeout_ms == 0) o->open_timeout_ms = REALTIME_OPEN_MS;
    if (o->max_message_bytes == 0) o->max_message_bytes = REALTIME_MESSAGE_BYTES;
}

/* Of the endpoint's id and the path: {run}/{id}{path}. */
static const char *set_url(fal_realtime *rt, const char *endpoint_id, const char *path) {
    static const char bad[] = "endpoint_id must be in the format owner/alias";
    struct client_endpoint whole;
    struct buf b;
    size_t len;
    if (!client_endpoint_parse(endpoint_id, &rt->endpoint)) return bad;
    buf_init(&b, CLIENT_URL_BYTES);
    path = path != NULL ? path : "/realtime";
    size_t id = strlen(rt->endpoint.id);
    buf_puts(&b, rt->endpoint.id);
    if (path[0] != '\0' && path[0] != '/') buf_addc(&b, '/');
    buf_puts(&b, path);
    if (slice_ends(slice_of(rt->endpoint.id), slice_from(buf_slice(&b), id))) b.end = b.start + id;
    buf_addc(&b, '\0');
    bool ok = !b.failed && client_endpoint_parse(b.base, &whole);
    bool no_memory = b.no_memory;
    buf_reset(&b, CLIENT_URL_BYTES);
    if (ok) {
        buf_printf(&b, "%s/%s", rt->client->base.run, whole.id);
        rt->url = buf_take(&b, &len);
    }
    buf_free(&b);
    if (rt->url != NULL) return NULL;
    return ok || no_memory ? fal_strerror(FAL_ERR_MEMORY) : "path is no path";
}

static enum fal_code make(fal_client *c, const char *endpoint_id,
                          const struct fal_realtime_options *options, fal_realtime **out,
                          const char **why) {
    struct fal_realtime_options o;
    *why = client_unknown_options;
    if (!client_options_copy(&o, sizeof o, options)) return FAL_ERR_ARGUMENT;
    if ((*why = check(c, endpoint_id, &o)) != NULL) return FAL_ERR_ARGUMENT;
    fal_realtime *rt = calloc(1, sizeof *rt);
    *why = fal_strerror(FAL_ERR_MEMORY);
    if (rt == NULL) return FAL_ERR_MEMORY;
    set_defaults(&o);
    rt->client = c;
    rt->o = o;
    rt->fetches = o.token == NULL && !o.use_key;
    client_realtime_init(rt);
    rt->end = client_result_new();
    rt->token = o.token != NULL ? slice_dup(slice_of(o.token)) : NULL;
    const char *fault = set_url(rt, endpoint_id, o.path);
    bool no_memory = rt->end == NULL || (o.token != NULL && rt->token == NULL) ||
                     (fault != NULL && fault == fal_strerror(FAL_ERR_MEMORY));
    if (no_memory || fault != NULL) {
        client_realtime_free(rt);
        *why = no_memory ? *why : fault;
        return no_memory ? FAL_ERR_MEMORY : FAL_ERR_ARGUMENT;
    }
    *out = rt;
    return FAL_OK;
}

/* --- public */

enum fal_code fal_realtime_start(fal_client *client, const char *endpoint_id,
                                 const struct fal_realtime_options *options,
                                 fal_realtime **realtime) {
    const char *why;
    if (realtime == NULL) return FAL_ERR_ARGUMENT;
    *realtime = NULL;
    if (client != NULL && client->closing) return FAL_ERR_BUSY;
    enum fal_code code = make(client, endpoint_id, options, realtime, &why);
    if (code == FAL_OK) client_realtime_enlist(*realtime);
    return code;
}

static void wait_until_open(fal_realtime *rt) {
    fal_client *c = rt->client;
    while (!rt->opened && rt->state != REALTIME_CLOSED) {
        if (atomic_exchange(&c->cancelled, false))
            client_realtime_fail(rt, FAL_ERR_CANCELLED);
        else if (client_loop_turn(c, -1) != FAL_OK)
            client_realtime_fail(rt, FAL_ERR_MEMORY);
    }
}

enum fal_code fal_realtime_open(fal_client *client, const char *endpoint_id,
                                const struct fal_realtime_options *options, fal_realtime **realtime,
                                fal_result **result) {
    const char *why = "realtime is NULL";
    fal_realtime *rt = NULL;
    enum fal_code code = FAL_ERR_ARGUMENT;
    if (result != NULL) *result = NULL;
    if (realtime != NULL) {
        *realtime = NULL;
        code = make(client, endpoint_id, options, &rt, &why);
    }
    if (code != FAL_OK) return client_refuse(result, code, why);
    if (!client_enter(client)) {
        client_realtime_free(rt);
        return client_refuse(result, FAL_ERR_BUSY, fal_strerror(FAL_ERR_BUSY));
    }
    rt->blocking = rt->quiet = true;
    client_realtime_enlist(rt);
    wait_until_open(rt);
    client_leave(client);
    if (rt->opened) {
        *realtime = rt;
        if (result != NULL) *result = client_result_new();
        return FAL_OK;
    }
    code = rt->end->error.code;
    if (result != NULL) {
        *result = rt->end;
        rt->end = NULL;
    }
    client_realtime_free(rt);
    return code;
}

enum fal_code fal_realtime_send(fal_realtime *realtime, const char *message_json) {
    fal_realtime *rt = realtime;
    struct buf packed;
    if (rt == NULL) return FAL_ERR_ARGUMENT;
    if (rt->state == REALTIME_CLOSED || rt->state == REALTIME_CLOSING || rt->frames.over)
        return FAL_ERR_TRANSPORT;
    buf_init(&packed, REALTIME_QUEUED_BYTES);
    enum fal_code code = client_message_pack(rt->o.text, message_json, &packed);
    size_t room = rt->outbox.bytes < REALTIME_QUEUED_BYTES
                      ? REALTIME_QUEUED_BYTES - rt->outbox.bytes
                      : 0; /* what is to be sent again may be more */
    if (code == FAL_OK && buf_len(&packed) > room) code = FAL_ERR_TOO_LARGE;
    if (code == FAL_OK && !client_messages_add(&rt->outbox, buf_slice(&packed)))
        code = FAL_ERR_MEMORY;
    buf_free(&packed);
    if (code == FAL_OK && rt->state == REALTIME_OPEN) client_realtime_soon(rt);
    return code;
}

/* There will be no message any more. */
static enum fal_code say_closed(const fal_realtime *rt, fal_result **result) {
    const fal_result *end = rt->end;
    fal_result *r = result != NULL ? client_result_new() : NULL;
    enum fal_code code = end->error.code != FAL_OK ? end->error.code : FAL_ERR_TRANSPORT;
    if (r == NULL) return code;
    r->http_status = r->error.http_status = end->http_status;
    r->error.retryable = end->error.retryable;
    memcpy(r->error_type, end->error_type, sizeof r->error_type);
    client_result_fail(r, code, "%s",
                       end->error.code != FAL_OK ? end->message : "the connection is closed");
    *result = r;
    return code;
}

/* What there is without waiting. */
static enum fal_code take_message(fal_realtime *rt, fal_result **result) {
    bool was_full = rt->inbox.bytes > REALTIME_QUEUED_BYTES;
    struct client_message *m = client_messages_take(&rt->inbox);
    if (m == NULL) return say_closed(rt, result);
    if (was_full) client_realtime_soon(rt); /* it was not read from */
    fal_result *r = client_message_result(m);
    if (r == NULL) return FAL_ERR_MEMORY;
    enum fal_code code = r->error.code;
    if (result != NULL)
        *result = r;
    else
        fal_result_free(r);
    return code;
}

static enum fal_code wait_for_message(fal_realtime *rt, int64_t timeout_ms) {
    fal_client *c = rt->client;
    uint64_t until = timeout_ms > 0 ? client_now_ms(c) + (uint64_t)timeout_ms : UINT64_MAX;
    for (bool once = timeout_ms < 0; rt->inbox.first == NULL && rt->state != REALTIME_CLOSED;) {
        uint64_t now = client_now_ms(c);
        if (atomic_exchange(&c->cancelled, false)) return FAL_ERR_CANCELLED;
        if (now >= until) return FAL_ERR_TIMEOUT;
        int64_t left = timeout_ms < 0 ? 0 : timeout_ms == 0 ? -1 : (int64_t)(until - now);
        if (client_loop_turn(c, left) != FAL_OK) return FAL_ERR_MEMORY;
        if (once && rt->inbox.first == NULL && rt->state != REALTIME_CLOSED) return FAL_ERR_TIMEOUT;
    }
    return FAL_OK;
}

enum fal_code fal_realtime_receive(fal_realtime *realtime, int64_t timeout_ms,
                                   fal_result **result) {
    fal_realtime *rt = realtime;
    if (result != NULL) *result = NULL;
    if (rt == NULL || rt->o.on_message != NULL)
        return client_refuse(result, FAL_ERR_ARGUMENT, "realtime is NULL, or has an on_message");
    if (rt->inbox.first != NULL || rt->state == REALTIME_CLOSED) return take_message(rt, result);
    fal_client *c = rt->client;
    if (!client_enter(c)) return client_refuse(result, FAL_ERR_BUSY, fal_strerror(FAL_ERR_BUSY));
    client_realtime_enter(rt);
    enum fal_code code = wait_for_message(rt, timeout_ms);
    client_leave(c);
    code = code != FAL_OK ? client_refuse(result, code, fal_strerror(code))
                          : take_message(rt, result);
    client_realtime_leave(rt);
    return code;
}

static void close_now(fal_realtime *rt) {
    fal_client *c = rt->client;
    client_realtime_act(rt);
    while (rt->blocking && rt->state != REALTIME_CLOSED)
        if (client_loop_turn(c, -1) != FAL_OK) client_realtime_fail(rt, FAL_ERR_MEMORY);
    client_leave(c);
}

/* Nothing is called any more once it is given back, so what will come of it is said before. */
static void tell_now(fal_realtime *rt) {
    bool open = rt->state == REALTIME_CLOSING;
    rt->close_code = open ? WSLAY_CODE_NORMAL_CLOSURE : WSLAY_CODE_ABNORMAL_CLOSURE;
    if (!open)
        client_result_fail(rt->end, FAL_ERR_CANCELLED, "%s", fal_strerror(FAL_ERR_CANCELLED));
    client_realtime_tell(rt);
}

void fal_realtime_close(fal_realtime *realtime) {
    fal_realtime *rt = realtime;
    if (rt == NULL || rt->given_back) return;
    client_realtime_enter(rt);
    rt->given_back = true;
    if (rt->state == REALTIME_OPEN) {
        rt->state = REALTIME_CLOSING;
        client_realtime_limit(rt, REALTIME_CLOSE_MS);
    }
    if (rt->state != REALTIME_CLOSED) {
        bool inside = !client_enter(rt->client);
        if (inside || !rt->blocking) tell_now(rt);
        if (inside)
            client_realtime_soon(rt);
        else
            close_now(rt);
    }
    client_realtime_leave(rt);
}
