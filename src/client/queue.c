/* The direct call and those of the queue.
 *
 *   RUN, RESULT, CANCEL ---> end          SUBMIT, STATUS unless followed ---> end
 *
 *   followed:  SUBMIT ---> STATUS ---> not COMPLETED: pause, STATUS again
 *                             |
 *                             +------> COMPLETED: RESULT ---> end
 *
 *   with streaming STATUS is status_stream.c's, unless the server has no streams
 *
 *   deadline or cancel:
 *     a followed request that the server took and has not completed ---> CANCEL ---> end
 *     otherwise, or the second time ---> end (call.c)
 *
 * Each step is one try, and has one function for what its answer means. */
#include "client/queue.h"

#include <stdlib.h>

static void after_try(struct client_try *t);

#define QUEUE_OF_TIMER(pointer)                               \
    ((struct client_queue_call *)(void *)((char *)(pointer) - \
                                          offsetof(struct client_queue_call, timer)))

static struct client_queue_call *queue_of(fal_call *call) {
    return (struct client_queue_call *)(void *)call;
}

/* ---- Building a request ---- */

static enum client_method step_method(enum client_step step) {
    return step == CLIENT_RUN || step == CLIENT_SUBMIT ? CLIENT_POST
           : step == CLIENT_CANCEL                     ? CLIENT_PUT
                                                       : CLIENT_GET;
}

/* What the server gave for this step, or the caller passed on; NULL when neither did, or it must
 * not be followed. */
static const char *given_url(const struct client_queue_call *q) {
    const struct fal_status *s = q->submitted != NULL ? &q->submitted->pub : NULL;
    const char *url = q->url;
    if (s != NULL) {
        url = q->step == CLIENT_STATUS   ? s->status_url
              : q->step == CLIENT_RESULT ? s->response_url
                                         : s->cancel_url;
    }
    bool follow = url != NULL && client_text_is_word(url, CLIENT_URL_BYTES) &&
                  client_base_trusts(&q->call.client->base, url);
    return follow ? url : NULL;
}

static void add_queued_url(const struct client_queue_call *q, struct buf *out) {
    static const char *const tails[] = {
        [CLIENT_STATUS] = "/status", [CLIENT_RESULT] = "", [CLIENT_CANCEL] = "/cancel"};
    const char *given = given_url(q);
    if (given != NULL) {
        buf_puts(out, given);
    } else {
        client_url_request(out, &q->call.client->base, &q->post.endpoint,
                           q->call.result->request_id, tails[q->step]);
    }
}

static void add_url(const struct client_queue_call *q, struct buf *out) {
    const struct client_base *base = &q->call.client->base;
    if (step_method(q->step) != CLIENT_POST) {
        add_queued_url(q, out);
        if (q->step == CLIENT_STATUS) {
            buf_addc(out, slice_find(buf_slice(out), '?') >= 0 ? '&' : '?');
            buf_puts(out, q->logs ? "logs=1" : "logs=0");
        }
        return;
    }
    buf_puts(out, q->step == CLIENT_RUN ? base->run : base->queue);
    buf_addc(out, '/');
    buf_puts(out, q->post.endpoint.id);
    if (q->post.webhook_url != NULL) {
        buf_puts(out, "?fal_webhook=");
        client_url_escape(out, q->post.webhook_url);
    }
}

/* Of what libfal sends by itself; the caller's own lines come before that. */
static void add_default(const struct client_queue_call *q, struct client_request *r,
                        const char *name, const char *value) {
    struct slice n = slice_of(name);
    if (!client_lines_have(&q->post.headers, n) && !client_lines_have(&q->call.client->lines, n)) {
        client_request_line(r, name, value);
    }
}

static void add_submit_lines(const struct client_queue_call *q, struct client_request *r) {
    client_request_line(r, "x-fal-queue-priority", q->post.priority);
    if (q->post.priority == NULL) {
        add_default(q, r, "x-fal-queue-priority", "normal");
    }
    if (q->random_key) {
        add_default(q, r, "Idempotency-Key", q->idempotency_key);
    } else {
        client_request_line(r, "Idempotency-Key", q->idempotency_key);
    }
}

static bool fill_request(const struct client_queue_call *q, struct client_request *r) {
    add_url(q, &r->url);
    buf_addc(&r->url, '\0');
    if (step_method(q->step) != CLIENT_POST) {
        buf_add(&r->lines, buf_slice(&q->post.headers));
        return !r->url.failed && !r->lines.failed;
    }
    if (q->step == CLIENT_SUBMIT) {
        add_submit_lines(q, r);
    }
    return client_post_fill(&q->post, r) && !r->url.failed;
}

static enum fal_code send_step(struct client_queue_call *q, enum client_step step) {
    const struct client_status *last = q->call.result->status;
    client_try_end(&q->try);
    q->step = step;
    client_try_init(&q->try, q->call.client, step_method(step), after_try, q);
    q->try.request.proxied = true;
    q->try.keyed = step == CLIENT_SUBMIT;
    /* The result of a request that failed is its stored error: it will not change. */
    q->try.final = step == CLIENT_RESULT && last != NULL && last->pub.error != NULL;
    q->try.once = q->call.stopped != FAL_OK;
    q->try.answered = q->answered;
    q->try.deadline_ms = q->call.deadline_ms;
    /* A request that stands on the server must be cancelled at the deadline, so there the wait goes on. */
    q->try.wait_on = q->follow && step != CLIENT_SUBMIT && step != CLIENT_RESULT;
    if (!fill_request(q, &q->try.request)) {
        return FAL_ERR_MEMORY;
    }
    return client_try_begin(&q->try);
}

static void go_to(struct client_queue_call *q, enum client_step step) {
    enum fal_code code = send_step(q, step);
    if (code != FAL_OK) {
        client_call_fail_code(&q->call, code);
    }
}

/* ---- What an answer means, one function per step ---- */

static void after_output(struct client_queue_call *q) {
    if (!client_call_take(&q->call, &q->try)) {
        return;
    }
    if (q->call.result->doc == NULL) {
        client_result_fail(q->call.result, FAL_ERR_PROTOCOL, "the answer is not JSON");
    }
    client_call_end(&q->call);
}

static void after_cancel(struct client_queue_call *q) {
    if (client_call_take(&q->call, &q->try)) {
        client_call_end(&q->call);
    }
}

static struct client_status *read_status(struct client_queue_call *q) {
    enum fal_code code;
    fal_result *r = q->call.result;
    struct client_status *s = client_status_read(buf_slice(&q->try.exchange.reply.body),
                                                 q->step == CLIENT_SUBMIT, r->request_id, r->status,
                                                 &code);
    if (s == NULL) {
        client_call_fail(&q->call, code,
                         code == FAL_ERR_MEMORY ? fal_strerror(code)
                                                : "the answer is not a queue status");
    }
    return s;
}

/* ---- Until it is completed: by the event stream of its status, or by polling ---- */

static bool stream_update(struct client_follow *f) {
    struct client_queue_call *q = queue_of(f->call);
    if (q->on_queue_update != NULL) {
        q->on_queue_update(&(*f->last)->pub, q->user);
    }
    return true;
}

static void stream_over(struct client_follow *f, enum client_followed how) {
    struct client_queue_call *q = queue_of(f->call);
    if (how == CLIENT_FOLLOW_FAILED) {
        client_follow_fail(f);
        return;
    }
    q->answered = true;
    client_follow_end(f);
    go_to(q, how == CLIENT_FOLLOW_COMPLETED ? CLIENT_RESULT : CLIENT_STATUS);
}

static enum fal_code open_stream(struct client_queue_call *q) {
    struct client_follow *f = &q->stream;
    struct buf url;
    client_try_end(&q->try);
    q->step = CLIENT_STATUS;
    client_follow_init(f, &q->call);
    f->request_id = q->call.result->request_id;
    f->last = &q->call.result->status;
    f->lines = &q->post.headers;
    f->answered = q->answered;
    f->wait_on = true; /* as with polls */
    f->update = stream_update;
    f->done = stream_over;
    buf_init(&url, CLIENT_URL_BYTES);
    add_queued_url(q, &url);
    bool ok = !url.failed && client_follow_url(&f->url, buf_slice(&url), q->logs);
    buf_free(&url);
    return ok ? client_follow_begin(f) : FAL_ERR_MEMORY;
}

/* Of a request that the server has. */
static enum fal_code begin_following(struct client_queue_call *q) {
    return q->streaming ? open_stream(q) : send_step(q, CLIENT_STATUS);
}

static void follow(struct client_queue_call *q) {
    enum fal_code code = begin_following(q);
    if (code != FAL_OK) {
        client_call_fail_code(&q->call, code);
    }
}

static void after_submit(struct client_queue_call *q) {
    struct client_status *s = read_status(q);
    if (s == NULL) {
        return;
    }
    q->submitted = s;
    if (client_result_set_id(q->call.result, s->pub.request_id) != FAL_OK) {
        client_call_fail_code(&q->call, FAL_ERR_MEMORY);
    } else if (!q->follow) {
        after_cancel(q);
    } else {
        if (q->on_enqueue != NULL) {
            q->on_enqueue(q->call.result->request_id, q->user);
        }
        follow(q);
    }
}

static int64_t next_poll_ms(struct client_queue_call *q) {
    if (q->poll_interval_ms > 0) {
        return q->poll_interval_ms;
    }
    int64_t pause = q->poll_ms > 0 ? q->poll_ms : CLIENT_POLL_FIRST_MS;
    q->poll_ms = pause + pause / 2 < CLIENT_POLL_MAX_MS ? pause + pause / 2 : CLIENT_POLL_MAX_MS;
    return pause;
}

static void poll_again(struct client_timer *timer) {
    go_to(QUEUE_OF_TIMER(timer), CLIENT_STATUS);
}

static void after_status(struct client_queue_call *q) {
    struct client_status *s = read_status(q);
    if (s == NULL) {
        return;
    }
    client_status_free(q->call.result->status);
    q->call.result->status = s;
    if (!q->follow) {
        after_cancel(q);
        return;
    }
    if (q->on_queue_update != NULL) {
        q->on_queue_update(&s->pub, q->user);
    }
    if (s->pub.state == FAL_COMPLETED) {
        go_to(q, CLIENT_RESULT);
        return;
    }
    client_try_end(&q->try);
    fal_client *c = q->call.client;
    client_timer_set(c, &q->timer, client_now_ms(c) + (uint64_t)next_poll_ms(q));
}

static void after_try(struct client_try *t) {
    static void (*const after[])(struct client_queue_call *) = {
        [CLIENT_RUN] = after_output,    [CLIENT_SUBMIT] = after_submit,
        [CLIENT_STATUS] = after_status, [CLIENT_RESULT] = after_output,
        [CLIENT_CANCEL] = after_cancel,
    };
    struct client_queue_call *q = t->owner;
    q->answered = t->answered;
    if (q->call.stopped != FAL_OK) {
        client_call_end(&q->call);
    } else if (client_try_ok(t)) {
        after[q->step](q);
    } else {
        client_call_take(&q->call, t);
    }
}

/* ---- The kind ---- */

static enum fal_code send_first(fal_call *call) {
    struct client_queue_call *q = queue_of(call);
    bool known = q->follow && q->first_step == CLIENT_STATUS;
    return known ? begin_following(q) : send_step(q, q->first_step);
}

static enum fal_code start(fal_call *call) {
    struct client_queue_call *q = queue_of(call);
    q->timer.fire = poll_again;
    return client_post_begin(&q->post, call, send_first);
}

/* What stands on the server is cancelled there. */
static bool stop(fal_call *call) {
    struct client_queue_call *q = queue_of(call);
    const struct client_status *last = call->result->status;
    bool taken = q->submitted != NULL || q->first_step == CLIENT_STATUS;
    if (!q->follow || !taken || (last != NULL && last->pub.state == FAL_COMPLETED)) {
        return false;
    }
    client_timer_off(&q->timer);
    client_follow_end(&q->stream);
    call->deadline_ms = client_now_ms(call->client) + CLIENT_CANCEL_MS;
    return send_step(q, CLIENT_CANCEL) == FAL_OK;
}

static void free_queue(fal_call *call) {
    struct client_queue_call *q = queue_of(call);
    client_timer_off(&q->timer);
    client_follow_end(&q->stream);
    client_try_end(&q->try);
    client_post_free(&q->post);
    free(q->url);
    free(q->idempotency_key);
    if (call->result->status == NULL) {
        call->result->status = q->submitted;
    } else {
        client_status_free(q->submitted);
    }
    q->submitted = NULL;
}

const struct client_kind client_queue_kind = {start, stop, free_queue};
