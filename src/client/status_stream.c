/*   PAUSING --the time is over--> STREAMING
 *   STREAMING --COMPLETED came; there is no stream here; an error that stays--> over
 *   STREAMING --it ended, broke or fell silent before that--> PAUSING   max_retries times in a row without an event */
#include "client/status_stream.h"

#include <stdlib.h>

static struct client_follow *of_again(struct client_timer *timer) {
    return (struct client_follow *)(void *)((char *)timer - offsetof(struct client_follow, again));
}

bool client_follow_url(struct buf *out, struct slice status_url, bool logs) {
    struct slice query, path = slice_cut(status_url, '?', &query);
    buf_add(out, path);
    buf_printf(out, "/stream?logs=%d", logs ? 1 : 0);
    if (query.len > 0) {
        buf_addc(out, '&');
        buf_add(out, query);
    }
    return buf_addc(out, '\0');
}

/* ---- Events ---- */

static bool fail(struct client_follow *f, enum fal_code code, const char *why) {
    f->code = code;
    f->why = why;
    return false;
}

static bool same_line(const struct fal_log *a, const struct fal_log *b) {
    return strcmp(a->timestamp, b->timestamp) == 0 && strcmp(a->message, b->message) == 0;
}

/* Events tell new lines; a stream that is opened again begins with all of them, or with new ones: those up to the last that
 * is known are known. */
static size_t known_lines(const struct client_status *now, const struct client_status *before,
                          bool opened_again) {
    if (!opened_again || before->pub.log_count == 0) {
        return 0;
    }
    const struct fal_log *last = before->pub.logs[before->pub.log_count - 1];
    for (size_t i = now->pub.log_count; i > 0; i--) {
        if (same_line(now->pub.logs[i - 1], last)) {
            return i;
        }
    }
    return 0;
}

/* `now` takes the lines of `before` to the front of its own, and `before`, whose text they are in. False: no memory, and
 * nothing has changed. */
static bool join_logs(struct client_status *now, struct client_status *before, bool opened_again) {
    size_t old = before->pub.log_count;
    size_t known = known_lines(now, before, opened_again);
    size_t fresh = now->pub.log_count - known;
    if (old > 0) {
        const struct fal_log **all = realloc(before->pointers, (old + fresh) * sizeof(*all));
        if (all == NULL) {
            return false;
        }
        if (fresh > 0) {
            memcpy(all + old, now->pointers + known, fresh * sizeof(*all));
        }
        free(now->pointers);
        before->pointers = NULL;
        now->pointers = all;
        now->pub.logs = all;
        now->pub.log_count = old + fresh;
    }
    now->pub.first_new_log = old;
    now->older = before;
    return true;
}

/* One without lines of its own is not needed any more. */
static void drop_empty(struct client_status *now) {
    struct client_status *before = now->older;
    if (before != NULL && before->entries == NULL) {
        now->older = before->older;
        before->older = NULL;
        client_status_free(before);
    }
}

static bool on_event(struct client_events *e, struct slice data) {
    struct client_follow *f = e->owner;
    enum fal_code code = FAL_OK;
    if (data.len == 0) {
        return true;
    }
    struct client_status *before = *f->last;
    struct client_status *now = client_status_read(data, false, f->request_id, NULL, &code);
    if (now == NULL && e->at_end && code == FAL_ERR_PROTOCOL) {
        return true; /* the stream was cut within it */
    }
    if (now == NULL) {
        return fail(f, code,
                    code == FAL_ERR_MEMORY ? fal_strerror(code) : "an event is not a queue status");
    }
    if (before != NULL && !join_logs(now, before, !f->begun)) {
        client_status_free(now);
        return fail(f, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    *f->last = now;
    drop_empty(now);
    f->begun = true;
    f->barren = 0;
    f->enough = f->update != NULL && !f->update(f);
    return !f->enough && now->pub.state != FAL_COMPLETED && !client_call_cancelled(f->call);
}

/* ---- Streams, one after the other ---- */

static enum fal_code open_stream(struct client_follow *f);

static void open_again(struct client_timer *timer) {
    struct client_follow *f = of_again(timer);
    enum fal_code code = open_stream(f);
    if (code != FAL_OK) {
        fail(f, code, fal_strerror(code));
        f->done(f, CLIENT_FOLLOW_FAILED);
    }
}

/* Soon after one that lived, and ever later after those that gave nothing. */
static void pause_for(struct client_follow *f) {
    fal_client *c = f->call->client;
    unsigned attempt = f->barren > 0 ? f->barren - 1 : 0;
    int64_t pause = client_retry_pause_ms(c->random, &c->pauses, attempt);
    client_events_end(&f->events);
    f->events = (struct client_events){0};
    client_timer_set(c, &f->again, client_now_ms(c) + (uint64_t)pause);
}

static bool has_no_stream(const struct client_try *t) {
    int status = t->exchange.reply.http_status;
    return t->exchange.reply.code == FAL_OK && (status == 404 || status == 405 || status == 501);
}

static bool may_open_again(const struct client_follow *f) {
    const struct client_events *e = &f->events;
    return f->code == FAL_OK && client_events_streaming(e) &&
           f->barren <= f->call->client->max_retries;
}

static void on_done(struct client_events *e) {
    struct client_follow *f = e->owner;
    const struct client_status *last = *f->last;
    if (f->enough || client_call_cancelled(f->call)) {
        return;
    }
    enum fal_code fault = client_events_fault(e);
    if (fault != FAL_OK) {
        fail(f, fault, fal_strerror(fault));
    }
    f->barren += f->begun ? 0 : 1;
    if (f->begun && last->pub.state == FAL_COMPLETED) {
        f->done(f, CLIENT_FOLLOW_COMPLETED);
    } else if (may_open_again(f)) {
        pause_for(f);
    } else if (f->code == FAL_OK && (has_no_stream(&e->request) ||
                                     (client_try_ok(&e->request) && !client_events_streaming(e)))) {
        f->done(f, CLIENT_FOLLOW_NO_STREAM);
    } else {
        f->done(f, CLIENT_FOLLOW_FAILED);
    }
}

static enum fal_code open_stream(struct client_follow *f) {
    struct client_events *e = &f->events;
    client_events_init(e, f->call->client, CLIENT_GET);
    e->owner = f;
    e->event = on_event;
    e->done = on_done;
    e->idle_ms = CLIENT_IDLE_MS;
    e->request.deadline_ms = f->call->deadline_ms;
    e->request.wait_on = f->wait_on;
    e->request.answered = f->answered;
    f->begun = false;
    struct client_request *r = &e->request.request;
    r->proxied = true;
    buf_add(&r->url, buf_slice(&f->url));
    if (f->lines != NULL) {
        buf_add(&r->lines, buf_slice(f->lines));
    }
    return r->url.failed || r->lines.failed ? FAL_ERR_MEMORY : client_events_begin(e);
}

void client_follow_init(struct client_follow *f, fal_call *call) {
    *f = (struct client_follow){.call = call};
    f->again.fire = open_again;
    buf_init(&f->url, CLIENT_URL_BYTES * 2);
}

enum fal_code client_follow_begin(struct client_follow *f) {
    return open_stream(f);
}

void client_follow_end(struct client_follow *f) {
    client_timer_off(&f->again);
    client_events_end(&f->events);
    f->events = (struct client_events){0};
    buf_free(&f->url);
}

void client_follow_fail(struct client_follow *f) {
    if (f->why != NULL) {
        client_call_fail(f->call, f->code, f->why);
    } else if (client_events_streaming(&f->events)) {
        client_call_fail(f->call, FAL_ERR_PROTOCOL, "the status stream ends before COMPLETED");
    } else if (client_try_ok(&f->events.request)) {
        client_call_fail(f->call, FAL_ERR_PROTOCOL, "the answer is not a stream of events");
    } else {
        client_call_take(f->call, &f->events.request);
    }
}

/* ---- fal_queue_stream_status ---- */

struct status_stream {
    struct fal_call call;
    struct client_follow follow;
    struct buf lines;
    void (*on_queue_update)(const struct fal_status *status, void *user);
    void *user;
};

static bool tell(struct client_follow *f) {
    struct status_stream *s = (struct status_stream *)f->call;
    if (s->on_queue_update != NULL) {
        s->on_queue_update(&(*f->last)->pub, s->user);
    }
    return true;
}

/* The last event is the result. */
static enum fal_code take_last(fal_result *r, const struct client_follow *f) {
    struct client_reply last = f->events.request.exchange.reply;
    buf_init(&last.body, FAL_MAX_REPLY_BYTES);
    buf_puts(&last.body, (*f->last)->json);
    last.is_json = true;
    enum fal_code code = client_result_take(r, &last);
    buf_free(&last.body);
    return code;
}

static void followed(struct client_follow *f, enum client_followed how) {
    if (how != CLIENT_FOLLOW_COMPLETED) {
        client_follow_fail(f);
    } else if (take_last(f->call->result, f) != FAL_OK) {
        client_call_fail_code(f->call, FAL_ERR_MEMORY);
    } else {
        client_call_end(f->call);
    }
}

static enum fal_code status_stream_start(fal_call *call) {
    struct client_follow *f = &((struct status_stream *)call)->follow;
    return client_follow_begin(f);
}

static void status_stream_free(fal_call *call) {
    struct status_stream *s = (struct status_stream *)call;
    client_follow_end(&s->follow);
    buf_free(&s->lines);
}

static const struct client_kind status_stream_kind = {status_stream_start, NULL,
                                                      status_stream_free};

/* The address and the id are copied; NULL is all well, else what is not. */
static const char *set_request(struct status_stream *s, const char *endpoint_id,
                               const char *request_id, bool logs) {
    struct client_endpoint ep;
    struct client_follow *f = &s->follow;
    struct buf url;
    if (!client_endpoint_parse(endpoint_id, &ep)) {
        return "endpoint_id must be in the format owner/alias";
    }
    if (!client_request_id_is_sound(request_id)) {
        return "request_id is missing, too long, or no id";
    }
    buf_init(&url, CLIENT_URL_BYTES);
    bool ok = client_url_request(&url, &s->call.client->base, &ep, request_id, "/status") &&
              client_follow_url(&f->url, buf_slice(&url), logs) &&
              client_result_set_id(s->call.result, request_id) == FAL_OK;
    buf_free(&url);
    f->request_id = s->call.result->request_id;
    f->last = &s->call.result->status;
    f->update = tell;
    f->done = followed;
    f->lines = &s->lines;
    return ok ? NULL : fal_strerror(FAL_ERR_MEMORY);
}

static enum fal_code go(struct status_stream *s, const char *endpoint_id, const char *request_id,
                        const struct fal_subscribe_options *o, const struct client_how *how) {
    client_follow_init(&s->follow, &s->call);
    buf_init(&s->lines, CLIENT_URL_BYTES * 8);
    s->on_queue_update = o->on_queue_update;
    s->user = o->user;
    const char *why = set_request(s, endpoint_id, request_id, o->logs);
    enum fal_code code = why == NULL                           ? FAL_OK
                         : why == fal_strerror(FAL_ERR_MEMORY) ? FAL_ERR_MEMORY
                                                               : FAL_ERR_ARGUMENT;
    if (code == FAL_OK) {
        code = client_lines_add(&s->lines, o->headers, o->header_count);
        why = code == FAL_ERR_ARGUMENT ? "a header is no \"Name: value\" line" : fal_strerror(code);
    }
    if (code != FAL_OK) {
        client_call_drop(&s->call);
        return client_refuse_how(how, code, why);
    }
    return client_call_go(&s->call, how);
}

static enum fal_code status_stream_call(fal_client *client, const char *endpoint_id,
                                        const char *request_id,
                                        const struct fal_subscribe_options *options,
                                        const struct client_how *how) {
    struct fal_subscribe_options o;
    if (client == NULL || endpoint_id == NULL) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "client or endpoint_id is NULL");
    }
    if (!client_options_copy(&o, sizeof(o), options)) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, client_unknown_options);
    }
    if (o.timeout_ms < 0) {
        return client_refuse_how(how, FAL_ERR_ARGUMENT, "a time is negative or too large");
    }
    struct status_stream *s = client_call_new(client, &status_stream_kind, sizeof(*s),
                                              o.timeout_ms);
    if (s == NULL) {
        return client_refuse_how(how, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
    }
    return go(s, endpoint_id, request_id, &o, how);
}

enum fal_code fal_queue_stream_status(fal_client *client, const char *endpoint_id,
                                      const char *request_id,
                                      const struct fal_subscribe_options *options,
                                      fal_result **result) {
    struct client_how how = client_blocking(result);
    return status_stream_call(client, endpoint_id, request_id, options, &how);
}

enum fal_code fal_queue_stream_status_start(fal_client *client, const char *endpoint_id,
                                            const char *request_id,
                                            const struct fal_subscribe_options *options,
                                            struct fal_done done, fal_call **call) {
    struct client_how how = client_starting(done, call);
    return status_stream_call(client, endpoint_id, request_id, options, &how);
}
