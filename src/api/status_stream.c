/* The status of a queued request as it changes: GET …/requests/{id}/status/stream.
 *
 *   ASKING --refused--> answered, over
 *   ASKING --known, not completed--> FOLLOWING     the first event is out, the queue tells of changes
 *   FOLLOWING --changed--> ASKING again            at most one question is on its way; a change meanwhile asks once more
 *   any --COMPLETED is told; the server ends--> over
 *
 * The queue wakes us; nothing is polled. Each event tells the log lines since the one before. A caller that reads slowly
 * gets the newest status when it has read the last one. */
#include "api/events.h"

struct follower {
    struct follower *next, **link; /* in api.followers */
    struct events events;
    struct queue_watch *watch;
    char id[UUID_BYTES];
    bool asking, again, over;
    /* what the last event told */
    enum store_state state;
    uint64_t position;
    size_t lines;
};

static void ask_status(struct follower *f);

static void unfollow(struct follower *f) {
    struct api *a = f->events.call->api;
    if (f->watch != NULL) queue_unwatch(a->queue, f->watch);
    f->watch = NULL;
    events_stop(&f->events);
    if (f->link == NULL) return;
    *f->link = f->next;
    if (f->next != NULL) f->next->link = f->link;
    f->link = NULL;
}

static void end_stream(struct follower *f) {
    f->over = true;
    unfollow(f);
    events_end(&f->events);
}

static void changed(void *user) {
    struct follower *f = user;
    if (f->asking || f->events.blocked)
        f->again = true;
    else
        ask_status(f);
}

static bool is_news(const struct follower *f, const struct queue_reply *r) {
    return !f->events.begun || r->state != f->state ||
           (r->state == STORE_IN_QUEUE && r->position != f->position) ||
           (f->events.call->logs && r->nlogs > f->lines);
}

static void tell(struct follower *f, const struct queue_reply *r) {
    struct call *c = f->events.call;
    struct buf *b = call_scratch(c);
    buf_puts(b, "data: ");
    status_json(b, c, r, f->lines < r->nlogs ? f->lines : r->nlogs);
    buf_puts(b, "\n\n");
    f->state = r->state;
    f->position = r->position;
    if (r->nlogs > f->lines) f->lines = r->nlogs;
    if (b->failed) {
        f->over = true;
        unfollow(f);
        events_abort(&f->events);
        return;
    }
    events_write(&f->events, buf_slice(b));
}

static bool watch(struct follower *f) {
    if (f->watch == NULL) f->watch = queue_watch(f->events.call->api->queue, f->id, changed, f);
    return f->watch != NULL;
}

/* After the first event a failing store is waited for: the queue tells when it can go on. */
static void refused(struct follower *f, enum queue_code code) {
    if (f->events.begun) {
        if (code == QUEUE_NOT_FOUND) end_stream(f);
        return;
    }
    f->over = true;
    unfollow(f);
    call_queue_refusal(f->events.call, code);
}

static void answered(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    struct follower *f = c != NULL ? c->own : NULL;
    if (f == NULL || f->over) return;
    f->asking = false;
    if (r->code != QUEUE_OK) {
        refused(f, r->code);
        return;
    }
    if (is_news(f, r)) tell(f, r);
    if (f->over) return;
    if (r->state == STORE_COMPLETED || c->api->draining || !watch(f))
        end_stream(f);
    else if (f->again && !f->events.blocked)
        ask_status(f);
}

static void ask_status(struct follower *f) {
    struct call *c = f->events.call;
    struct queue_find find = call_find(c);
    f->asking = true;
    f->again = false;
    queue_status(c->api->queue, &find, c->logs, call_done(c, answered));
}

static void follower_drained(struct call *c) {
    struct follower *f = c->own;
    f->events.blocked = false;
    if (f->again && !f->asking && !f->over) ask_status(f);
}

static void follower_gone(struct call *c) {
    unfollow(c->own);
}

void handle_status_stream(struct call *c) {
    static const struct call_hooks hooks = {.drained = follower_drained, .gone = follower_gone};
    struct api *a = c->api;
    if (!call_reads_logs(c)) return;
    struct follower *f = arena_zalloc(net_arena(c->x), sizeof *f);
    if (f == NULL) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    events_start(&f->events, c);
    if (c->id.len < sizeof f->id) memcpy(f->id, c->id.ptr, c->id.len);
    c->own = f;
    c->hooks = &hooks;
    f->next = a->followers;
    f->link = &a->followers;
    if (f->next != NULL) f->next->link = &f->next;
    a->followers = f;
    ask_status(f);
}

/* A question on its way ends its stream with the answer. */
void followers_end(struct api *a) {
    for (struct follower *f = a->followers, *next; f != NULL; f = next) {
        next = f->next;
        if (f->events.begun && !f->asking) ask_status(f);
    }
}
