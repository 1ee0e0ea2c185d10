#include "client/events.h"

#define KEEP_BYTES 65536U

static struct client_events *of(struct client_timer *timer, size_t offset) {
    return (struct client_events *)(void *)((char *)timer - offset);
}

static void finish(struct client_events *e) {
    client_timer_off(&e->work);
    client_timer_off(&e->idle);
    e->over = true;
    e->done(e);
}

/* False: the owner wants no more, or an event was too long. */
static bool give_events(struct client_events *e, struct slice bytes) {
    struct sse_event event;
    while (bytes.len > 0) {
        size_t used = 0;
        enum sse_result result = sse_feed(&e->sse, bytes.ptr, bytes.len, &used, &event);
        bytes = slice_from(bytes, used);
        e->stopped = result == SSE_EVENT && !e->event(e, event.data);
        if (e->stopped || result == SSE_TOO_LONG) {
            return false;
        }
    }
    return true;
}

static void hear(struct client_events *e) {
    e->heard_ms = client_now_ms(e->request.client);
}

static bool read_bytes(struct client_events *e) {
    if (!e->request.exchange.reply.is_event_stream) {
        return true;
    }
    bool more = give_events(e, buf_slice(&e->bytes)) && !e->bytes.failed;
    if (more) {
        buf_reset(&e->bytes, KEEP_BYTES);
        hear(e); /* the owner may have taken his time: what came meanwhile waits in the socket */
    }
    return more;
}

static void work_due(struct client_timer *timer) {
    struct client_events *e = of(timer, offsetof(struct client_events, work));
    if (!read_bytes(e)) {
        finish(e);
    }
}

/* A pause between attempts is no silence, and the attempt after it begins when it begins. */
static void check_idle(struct client_timer *timer) {
    struct client_events *e = of(timer, offsetof(struct client_events, idle));
    uint64_t now = client_now_ms(e->request.client);
    if (e->request.exchange.easy == NULL || e->request.attempt != e->heard_attempt) {
        e->heard_attempt = e->request.attempt;
        e->heard_ms = now;
    }
    uint64_t due = e->heard_ms + (uint64_t)e->idle_ms;
    e->silent = now >= due;
    if (e->silent) {
        finish(e);
    } else {
        client_timer_set(e->request.client, &e->idle, due);
    }
}

/* libcurl tells also what has not changed. */
static void hear_sent(void *owner, uint64_t bytes) {
    struct client_events *e = owner;
    if (bytes != e->sent_bytes) {
        e->sent_bytes = bytes;
        hear(e);
    }
}

/* What has begun to answer is not asked again: its events are on their way. */
static bool take_bytes(void *owner, struct slice bytes) {
    struct client_events *e = owner;
    e->came = e->request.once = true;
    hear(e);
    if (!e->over) {
        client_timer_set(e->request.client, &e->work, e->heard_ms);
    }
    return !e->over && buf_add(&e->bytes, bytes);
}

/* The end of the answer stands for the blank line that its last event may lack: HTTP has said that the answer is whole. */
static void after(struct client_try *t) {
    struct client_events *e = t->owner;
    if (e->over) { /* its owner has ended, and not yet ended this */
        return;
    }
    if (read_bytes(e) && client_try_ok(t) && t->exchange.reply.is_event_stream) {
        e->at_end = true;
        give_events(e, SLICE("\n\n"));
    }
    finish(e);
}

void client_events_init(struct client_events *e, fal_client *c, enum client_method method) {
    *e = (struct client_events){0};
    client_try_init(&e->request, c, method, after, e);
    e->request.request.accept = "application/json, text/event-stream";
    e->request.request.sink = take_bytes;
    e->request.request.sent = hear_sent;
    e->work.fire = work_due;
    e->idle.fire = check_idle;
    buf_init(&e->bytes, FAL_MAX_REPLY_BYTES);
    sse_init(&e->sse, FAL_MAX_REPLY_BYTES, FAL_MAX_REPLY_BYTES);
}

enum fal_code client_events_begin(struct client_events *e) {
    enum fal_code code = client_try_begin(&e->request);
    if (code == FAL_OK && e->idle_ms > 0) {
        hear(e);
        client_timer_set(e->request.client, &e->idle, e->heard_ms + (uint64_t)e->idle_ms);
    }
    return code;
}

void client_events_end(struct client_events *e) {
    client_timer_off(&e->work);
    client_timer_off(&e->idle);
    client_try_end(&e->request);
    sse_free(&e->sse);
    buf_free(&e->bytes);
}

bool client_events_streaming(const struct client_events *e) {
    const struct client_reply *reply = &e->request.exchange.reply;
    return reply->is_event_stream && (e->came || client_try_ok(&e->request));
}

enum fal_code client_events_fault(const struct client_events *e) {
    if (e->bytes.no_memory || sse_no_memory(&e->sse)) {
        return FAL_ERR_MEMORY;
    }
    return e->bytes.failed || e->sse.failed ? FAL_ERR_TOO_LARGE : FAL_OK;
}
