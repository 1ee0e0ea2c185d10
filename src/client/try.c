/* One exchange, again as the policy says (retry.c decides, this waits).
 *
 *   begin ---> exchange ---> done
 *                 ^  |
 *                 |  +--- wanted again: pause (timer) ---+
 *                 +--------------------------------------+ */
#include "client/client.h"

static void exchange_done(struct client_exchange *x);
static void pause_over(struct client_timer *timer);

/* The members' owner: a try is where its exchange and its timer are. */
#define TRY_OF(member, pointer) \
    ((struct client_try *)(void *)((char *)(pointer) - offsetof(struct client_try, member)))

void client_try_init(struct client_try *t, fal_client *c, enum client_method method,
                     void (*done)(struct client_try *t), void *owner) {
    memset(t, 0, offsetof(struct client_try, exchange));
    t->exchange.client = NULL;
    t->exchange.reply.code = FAL_OK;
    t->exchange.reply.http_status = 0;
    t->client = c;
    t->done = done;
    t->owner = owner;
    t->deadline_ms = UINT64_MAX;
    t->timer.fire = pause_over;
    client_request_init(&t->request, method);
}

static enum fal_code exchange(struct client_try *t) {
    t->request.unrepeatable = t->request.method == CLIENT_POST && !t->keyed && !t->repeatable;
    return client_exchange_begin(&t->exchange, t->client, &t->request, exchange_done, t->owner);
}

enum fal_code client_try_begin(struct client_try *t) {
    return exchange(t);
}

static struct client_attempt describe(const struct client_try *t) {
    const struct client_reply *reply = &t->exchange.reply;
    return (struct client_attempt){
        .method = t->request.method,
        .code = reply->code,
        .http_status = reply->http_status,
        .not_sent = reply->not_sent,
        .may_pass = reply->may_pass,
        .start_timeout = reply->start_timeout,
        .marked_final = reply->retryable == 0 || t->final,
        .keyed = t->keyed,
        .repeatable = t->repeatable,
        .fal = t->client->base.fal,
        .statuses = t->client->retry_statuses,
        .status_count = t->client->retry_status_count,
    };
}

/* Negative: it is not tried again. */
static int64_t pause_ms(const struct client_try *t, const struct client_attempt *attempt) {
    const fal_client *c = t->client;
    double asked_s = t->exchange.reply.retry_after_s;
    bool first_connect = attempt->not_sent && attempt->code != FAL_OK && !t->answered;
    if (t->once || t->attempt >= c->max_retries || !client_retry_wanted(attempt) ||
        (first_connect && c->no_connect_retry)) {
        return -1;
    }
    int64_t pause = client_retry_pause_ms(c->random, &c->pauses, t->attempt);
    if (attempt->code == FAL_OK && asked_s >= 0.0) {
        if (asked_s > CLIENT_RETRY_AFTER_MAX_S) {
            return -1;
        }
        pause = (int64_t)(asked_s * 1000.0);
    }
    /* When the time is too short for another attempt, the error at hand says more than a timeout
     * later would. */
    bool too_late = t->deadline_ms != UINT64_MAX &&
                    client_now_ms(c) + (uint64_t)pause >= t->deadline_ms;
    return too_late && !t->wait_on ? -1 : pause;
}

static void exchange_done(struct client_exchange *x) {
    struct client_try *t = TRY_OF(exchange, x);
    struct client_attempt attempt = describe(t);
    int64_t pause = client_try_ok(t) ? -1 : pause_ms(t, &attempt);
    t->answered = t->answered || x->reply.code == FAL_OK;
    if (pause < 0) {
        t->useful = client_retry_useful(&attempt);
        t->done(t);
        return;
    }
    t->request.fresh = t->request.fresh || x->stalled;
    client_exchange_end(x);
    t->attempt++;
    client_timer_set(t->client, &t->timer, client_now_ms(t->client) + (uint64_t)pause);
}

static void pause_over(struct client_timer *timer) {
    struct client_try *t = TRY_OF(timer, timer);
    enum fal_code code = exchange(t);
    if (code != FAL_OK) {
        t->exchange.reply.code = code;
        t->exchange.reply.retry_after_s = -1.0;
        client_error_set_text(t->exchange.reply.message, slice_of(fal_strerror(code)));
        t->done(t);
    }
}

void client_try_end(struct client_try *t) {
    if (t->client == NULL) {
        return;
    }
    client_timer_off(&t->timer);
    client_exchange_end(&t->exchange);
    client_request_free(&t->request);
    t->client = NULL;
}
