/* A model's stream.
 *
 *   UPLOADING --the input is whole--> FOLLOWING     only with files
 *   FOLLOWING --an event--> FOLLOWING               told, and kept: the last one is the result
 *   FOLLOWING --the answer ends, "[DONE]", an event with an error or that is not JSON, silence--> over */
#include "base/json.h"
#include "client/events.h"

#include <inttypes.h>
#include <stdio.h>

struct stream {
    struct fal_call call;
    struct client_post post;
    struct fal_stream_options told; /* callbacks and user; what it borrowed is in post */
    struct client_events events;
    struct buf last;    /* the last event's text, with a NUL */
    yyjson_doc *doc;    /* the same, read */
    yyjson_doc *spoken; /* the last event with a text; may be doc */
    enum fal_code code; /* how the events at hand end the call; FAL_OK: not */
    const char *why;
};

/* ---- What an event says ---- */

static struct slice output_of(yyjson_doc *doc) {
    return json_str(json_get(yyjson_doc_get_root(doc), "output"));
}

/* Both are whole characters, as JSON's strings are, so what follows the one in the other is too. */
static void tell_output(const struct stream *s, struct slice before, struct slice now) {
    const struct fal_stream_options *o = &s->told;
    if (o->on_text != NULL) {
        o->on_text(now.ptr, o->user);
    }
    bool restart = !slice_starts(now, before);
    struct slice delta = restart ? now : slice_from(now, before.len);
    if (o->on_delta != NULL && (restart || delta.len > 0)) {
        o->on_delta(delta.ptr, delta.len, restart, o->user);
    }
}

static bool stop_with(struct stream *s, enum fal_code code, const char *why) {
    s->code = code;
    s->why = why;
    return false;
}

static void forget_spoken(struct stream *s) {
    if (s->spoken != s->doc) {
        yyjson_doc_free(s->spoken);
    }
}

/* Tells the last event. */
static bool tell(struct stream *s) {
    const struct fal_stream_options *o = &s->told;
    if (o->on_event != NULL) {
        o->on_event(buf_slice(&s->last).ptr, o->user);
    }
    struct slice now = output_of(s->doc);
    if (now.ptr != NULL) {
        tell_output(s, output_of(s->spoken), now);
        forget_spoken(s);
        s->spoken = s->doc;
    }
    struct slice error = json_str(json_get(yyjson_doc_get_root(s->doc), "error"));
    if (error.len > 0) {
        return stop_with(s, FAL_ERR_HTTP, error.ptr);
    }
    return !client_call_cancelled(&s->call);
}

static bool keep_text(struct stream *s, struct slice text) {
    buf_reset(&s->last, FAL_MAX_REPLY_BYTES);
    return buf_add(&s->last, text) && buf_addc(&s->last, '\0');
}

static bool on_json(struct stream *s, struct slice text) {
    struct json_error fault = {0};
    yyjson_doc *doc = json_parse(text, &fault);
    if (doc == NULL) {
        return fault.fault == JSON_MEMORY
                   ? stop_with(s, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY))
               : s->events.at_end
                   ? stop_with(s, FAL_ERR_PROTOCOL, "the stream ended within an event")
                   : stop_with(s, FAL_ERR_PROTOCOL, "an event is not JSON");
    }
    if (s->doc != s->spoken) {
        yyjson_doc_free(s->doc);
    }
    s->doc = doc;
    return keep_text(s, text) ? tell(s)
                              : stop_with(s, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
}

static bool on_event(struct client_events *e, struct slice data) {
    struct stream *s = e->owner;
    return !slice_is(data, "[DONE]") && (data.len == 0 || on_json(s, data));
}

/* ---- How it ends ---- */

/* The last event is the result, also of a stream that failed later. */
static enum fal_code take_last(struct stream *s) {
    struct client_reply *reply = &s->events.request.exchange.reply;
    if (s->doc == NULL) {
        bool named = reply->request_id[0] != '\0';
        return named ? client_result_set_id(s->call.result, reply->request_id) : FAL_OK;
    }
    struct client_reply last = *reply;
    last.body = s->last;
    last.body.end--; /* its NUL */
    last.is_json = true;
    enum fal_code code = client_result_take(s->call.result, &last);
    s->last = last.body;
    return code;
}

static void fail_with_event(struct stream *s) {
    fal_result *r = s->call.result;
    struct slice type = json_str(json_get(yyjson_doc_get_root(s->doc), "error_type"));
    if (type.len > 0 && type.len < sizeof(r->error_type)) {
        memcpy(r->error_type, type.ptr, type.len + 1);
    }
    client_call_fail(&s->call, FAL_ERR_HTTP, s->why);
}

static void fail_silent(struct stream *s) {
    char text[80];
    snprintf(text, sizeof(text), "the stream was silent for %" PRId64 " ms", s->events.idle_ms);
    s->call.result->error.retryable = true;
    client_call_fail(&s->call, FAL_ERR_TIMEOUT, text);
}

/* A whole answer that is no stream is one event. */
static void read_plain(struct stream *s) {
    if (client_try_ok(&s->events.request) && !client_events_streaming(&s->events)) {
        on_json(s, buf_slice(&s->events.bytes));
        if (s->code == FAL_ERR_PROTOCOL) {
            s->why = "the answer is neither a stream of events nor JSON";
        }
    }
}

static void end_call(struct stream *s) {
    fal_call *call = &s->call;
    struct client_try *t = &s->events.request;
    enum fal_code fault = client_events_fault(&s->events);
    bool broke = t->exchange.reply.code != FAL_OK && !s->events.stopped;
    if (take_last(s) != FAL_OK) {
        fault = FAL_ERR_MEMORY;
    }
    if (fault != FAL_OK) {
        client_call_fail_code(call, fault);
    } else if (s->code == FAL_ERR_HTTP) {
        fail_with_event(s);
    } else if (s->code != FAL_OK) {
        client_call_fail(call, s->code, s->why);
    } else if (s->events.silent) {
        fail_silent(s);
    } else if (broke || t->exchange.reply.http_status / 100 != 2) {
        client_call_take(call, t);
    } else if (s->doc == NULL) {
        client_call_fail(call, FAL_ERR_PROTOCOL, "the stream ended without an event");
    } else {
        client_call_end(call);
    }
}

static void on_done(struct client_events *e) {
    struct stream *s = e->owner;
    read_plain(s);
    if (!client_call_cancelled(&s->call)) { /* else the loop ends it */
        end_call(s);
    }
}

/* ---- The call ---- */

static enum fal_code follow(fal_call *call) {
    struct stream *s = (struct stream *)call;
    struct client_events *e = &s->events;
    struct client_request *r = &e->request.request;
    client_events_init(e, call->client, CLIENT_POST);
    e->owner = s;
    e->event = on_event;
    e->done = on_done;
    e->idle_ms = s->told.idle_timeout_ms == 0  ? CLIENT_IDLE_MS
                 : s->told.idle_timeout_ms < 0 ? 0
                                               : s->told.idle_timeout_ms;
    e->request.deadline_ms = call->deadline_ms;
    r->proxied = true;
    buf_printf(&r->url, "%s/%s", call->client->base.run, s->post.endpoint.id);
    if (!buf_addc(&r->url, '\0') || !client_post_fill(&s->post, r)) {
        return FAL_ERR_MEMORY;
    }
    return client_events_begin(e);
}

static enum fal_code stream_start(fal_call *call) {
    return client_post_begin(&((struct stream *)call)->post, call, follow);
}

static bool stream_stop(fal_call *call) {
    take_last((struct stream *)call);
    return false;
}

static void stream_free(fal_call *call) {
    struct stream *s = (struct stream *)call;
    client_events_end(&s->events);
    client_post_free(&s->post);
    buf_free(&s->last);
    forget_spoken(s);
    yyjson_doc_free(s->doc);
}

static const struct client_kind stream_kind = {stream_start, stream_stop, stream_free};

/* The path behind the endpoint's id, unless it ends so. False: too long. */
static bool add_path(struct client_endpoint *ep, const char *path) {
    size_t len = strlen(ep->id), room = sizeof(ep->id) - len;
    const char *slash = path[0] == '/' || path[0] == '\0' ? "" : "/";
    int n = snprintf(ep->id + len, room, "%s%s", slash, path);
    if (n < 0 || (size_t)n >= room) {
        return false;
    }
    if (slice_ends(slice_make(ep->id, len), slice_of(ep->id + len))) {
        ep->id[len] = '\0';
    }
    return true;
}

static enum fal_code go(struct stream *s, const char *id, const char *input_json,
                        const struct client_how *how) {
    const struct fal_stream_options *o = &s->told;
    const char *why = NULL;
    struct client_post_options post = {.input_json = input_json,
                                       .hint = o->hint,
                                       .start_timeout_s = o->start_timeout_s,
                                       .headers = o->headers,
                                       .header_count = o->header_count,
                                       .files = o->files,
                                       .lifecycle = o->lifecycle};
    enum fal_code code = client_post_init(&s->post, s->call.client, id, &post, &why);
    if (code != FAL_OK) {
        client_call_drop(&s->call);
        return client_refuse_how(how, code, why);
    }
    return client_call_go(&s->call, how);
}

static enum fal_code stream_call(fal_client *client, const char *endpoint_id,
                                 const char *input_json, const struct fal_stream_options *options,
                                 const struct client_how *how) {
    struct client_endpoint ep;
    struct fal_stream_options o;
    if (client == NULL || endpoint_id == NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "client or endpoint_id is NULL");
    }
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    if (o.timeout_ms < 0 || o.idle_timeout_ms > INT32_MAX) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "a time is negative or too large");
    }
    if (!client_endpoint_parse(endpoint_id, &ep) ||
        !add_path(&ep, o.path != NULL ? o.path : "/stream")) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT,
                                 "endpoint_id must be in the format owner/alias");
    }
    struct stream *s = client_call_new(client, &stream_kind, sizeof(*s), o.timeout_ms);
    if (s == NULL) {
        return client_refuse_how(how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    s->told = o;
    buf_init(&s->last, FAL_MAX_REPLY_BYTES + 1);
    return go(s, ep.id, input_json, how);
}

enum fal_code fal_stream(fal_client *client, const char *endpoint_id, const char *input_json,
                         const struct fal_stream_options *options, fal_result **result) {
    struct client_how how = client_blocking(result);
    return stream_call(client, endpoint_id, input_json, options, &how);
}

enum fal_code fal_stream_start(fal_client *client, const char *endpoint_id, const char *input_json,
                               const struct fal_stream_options *options, struct fal_done done,
                               fal_call **call) {
    struct client_how how = client_starting(done, call);
    return stream_call(client, endpoint_id, input_json, options, &how);
}
