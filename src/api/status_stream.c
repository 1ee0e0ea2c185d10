/* The status of a queued request as it changes: GET …/requests/{id}/status/stream.
 *
 *   ASKING --refused--> answered, over
 *   ASKING --known, not completed--> FOLLOWING     the first event is out, the queue tells of changes
 *   FOLLOWING --changed--> ASKING again            at most one question is on its way; a change meanwhile asks once more
 *   any --COMPLETED is told; the server ends--> over
 *
 * The queue wakes us; nothing is polled. Each event tells the log lines since the one before. A caller that reads slowly
 * gets the newest status when it has read the last one. */
#include "api/call.h"

#define FOLLOWER_PING_MS 15000U

struct follower {
    struct follower *next, **link; /* in api.followers */
    struct call *call;
    struct queue_watch *watch;
    struct net_timer ping;
    char id[UUID_BYTES];
    bool begun, asking, again, blocked, over;
    /* what the last event told */
    enum store_state state;
    uint64_t position;
    size_t lines;
};

static void ask_status(struct follower *f);

static void unfollow(struct follower *f) {
    struct api *a = f->call->api;
    if (f->watch != NULL) queue_unwatch(a->queue, f->watch);
    f->watch = NULL;
    net_timer_stop(a->loop, &f->ping);
    if (f->link == NULL) return;
    *f->link = f->next;
    if (f->next != NULL) f->next->link = f->link;
    f->link = NULL;
}

static void follower_write(struct follower *f, struct slice bytes) {
    f->blocked = !net_stream_write(f->call->x, bytes);
    net_timer_start(f->call->api->loop, &f->ping, FOLLOWER_PING_MS);
}

static void follower_ping(struct net_timer *t) {
    struct follower *f = (struct follower *)(void *)((char *)t - offsetof(struct follower, ping));
    follower_write(f, SLICE(": ping\n\n"));
}

static void end_stream(struct follower *f) {
    f->over = true;
    unfollow(f);
    net_stream_end(f->call->x);
}

static void changed(void *user) {
    struct follower *f = user;
    if (f->asking || f->blocked)
        f->again = true;
    else
        ask_status(f);
}

static void begin_stream(struct follower *f) {
    struct call *c = f->call;
    call_headers(c);
    net_header(c->x, SLICE("cache-control"), SLICE("no-store"));
    net_header(c->x, SLICE("x-accel-buffering"), SLICE("no"));
    net_stream_begin(c->x, 200, SLICE("text/event-stream"));
    f->begun = true;
}

static bool is_news(const struct follower *f, const struct queue_reply *r) {
    return !f->begun || r->state != f->state ||
           (r->state == STORE_IN_QUEUE && r->position != f->position) ||
           (f->call->logs && r->nlogs > f->lines);
}

static void tell(struct follower *f, const struct queue_reply *r) {
    struct call *c = f->call;
    struct buf *b = call_scratch(c);
    if (!f->begun) begin_stream(f);
    buf_puts(b, "data: ");
    status_json(b, c, r, f->lines < r->nlogs ? f->lines : r->nlogs);
    buf_puts(b, "\n\n");
    f->state = r->state;
    f->position = r->position;
    if (r->nlogs > f->lines) f->lines = r->nlogs;
    if (b->failed) {
        f->over = true;
        unfollow(f);
        net_stream_abort(c->x);
        return;
    }
    follower_write(f, buf_slice(b));
}

static bool watch(struct follower *f) {
    if (f->watch == NULL) f->watch = queue_watch(f->call->api->queue, f->id, changed, f);
    return f->watch != NULL;
}

/* After the first event a failing store is waited for: the queue tells when it can go on. */
static void refused(struct follower *f, enum queue_code code) {
    if (f->begun) {
        if (code == QUEUE_NOT_FOUND) end_stream(f);
        return;
    }
    f->over = true;
    unfollow(f);
    call_queue_refusal(f->call, code);
}

static void answered(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct call *c = call_of(user, ticket);
    struct follower *f = c != NULL ? c->follower : NULL;
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
    else if (f->again && !f->blocked)
        ask_status(f);
}

static void ask_status(struct follower *f) {
    struct call *c = f->call;
    struct queue_find find = call_find(c);
    f->asking = true;
    f->again = false;
    queue_status(c->api->queue, &find, c->logs, call_done(c, answered));
}

void handle_status_stream(struct call *c) {
    struct api *a = c->api;
    if (!call_reads_logs(c)) return;
    struct follower *f = arena_zalloc(net_arena(c->x), sizeof *f);
    if (f == NULL) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
        return;
    }
    f->call = c;
    f->ping.fire = follower_ping;
    if (c->id.len < sizeof f->id) memcpy(f->id, c->id.ptr, c->id.len);
    c->follower = f;
    f->next = a->followers;
    f->link = &a->followers;
    if (f->next != NULL) f->next->link = &f->next;
    a->followers = f;
    ask_status(f);
}

void follower_drained(struct call *c) {
    struct follower *f = c->follower;
    if (f == NULL || f->over) return;
    f->blocked = false;
    if (f->again && !f->asking) ask_status(f);
}

void follower_gone(struct call *c) {
    if (c->follower == NULL) return;
    unfollow(c->follower);
    c->follower = NULL;
}

/* A question on its way ends its stream with the answer. */
void followers_end(struct api *a) {
    for (struct follower *f = a->followers, *next; f != NULL; f = next) {
        next = f->next;
        if (f->begun && !f->asking) ask_status(f);
    }
}
