/* The life of a call.
 *
 *                    +--- again (retry.c) ---> BACKING_OFF ---+
 *                    |                                        | due
 *   begin ---> EXCHANGING <-----------------------------------+
 *                |   ^  |
 *                |   |  +-- run, result, cancel; submit, status unless followed ---> DONE
 *                |   |
 *                |   +-- followed: submit -> status, COMPLETED -> result
 *                |   +------------------------------ due ---+
 *                +-- followed: status not COMPLETED ---> PAUSING
 *
 *   deadline or fal_client_cancel, in any state:
 *     a followed request that the server took and has not completed -> step cancel, then DONE
 *     otherwise, or the second time -> DONE
 *
 * Each state has one function; client_call_run only turns the wheel and sleeps on the multi handle,
 * which fal_client_cancel wakes. */
#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t now_ms(const struct client_call *call) {
    return clock_mono_ms(call->client->clock);
}

static void finish(struct client_call *call) {
    client_exchange_end(&call->exchange, call->client);
    call->state = CLIENT_DONE;
}

static void finish_with(struct client_call *call, enum fal_code code, const char *message) {
    client_result_fail(call->result, code, "%s", message);
    finish(call);
}

static void finish_memory(struct client_call *call) {
    finish_with(call, FAL_ERR_MEMORY, fal_strerror(FAL_ERR_MEMORY));
}

/* ---- Building an exchange ---- */

static enum client_method step_method(enum client_step step) {
    return step == CLIENT_RUN || step == CLIENT_SUBMIT ? CLIENT_POST
           : step == CLIENT_CANCEL                     ? CLIENT_PUT
                                                       : CLIENT_GET;
}

/* What the server gave for this step, or the caller passed on; NULL when neither did, or it must
 * not be followed. */
static const char *given_url(const struct client_call *call) {
    const struct fal_status *s = call->submitted != NULL ? &call->submitted->pub : NULL;
    const char *url = call->url;
    if (s != NULL) {
        url = call->step == CLIENT_STATUS   ? s->status_url
              : call->step == CLIENT_RESULT ? s->response_url
                                            : s->cancel_url;
    }
    return url != NULL && client_base_trusts(&call->client->base, url) ? url : NULL;
}

static void add_queued_url(struct client_call *call, struct buf *out) {
    static const char *const tails[] = {
        [CLIENT_STATUS] = "/status", [CLIENT_RESULT] = "", [CLIENT_CANCEL] = "/cancel"};
    const char *given = given_url(call);
    if (given != NULL) {
        buf_puts(out, given);
    } else {
        client_url_request(out, &call->client->base, &call->endpoint, call->result->request_id,
                           tails[call->step]);
    }
    if (call->step == CLIENT_STATUS) {
        bool has_query = slice_find(buf_slice(out), '?') >= 0;
        buf_printf(out, "%clogs=%d", has_query ? '&' : '?', call->options.logs ? 1 : 0);
    }
}

/* NUL-terminated in call->url_text. */
static bool build_url(struct client_call *call) {
    const struct client_base *base = &call->client->base;
    struct buf *out = &call->url_text;
    buf_reset(out, CLIENT_URL_BYTES);
    if (call->step == CLIENT_RUN || call->step == CLIENT_SUBMIT) {
        buf_printf(out, "%s/%s", call->step == CLIENT_RUN ? base->run : base->queue,
                   call->endpoint.id);
        if (call->options.webhook_url != NULL) {
            buf_puts(out, "?fal_webhook=");
            client_url_escape(out, call->options.webhook_url);
        }
    } else {
        add_queued_url(call, out);
    }
    return buf_addc(out, '\0');
}

static bool add_extra(struct curl_slist **list, const char *name, const char *value) {
    if (value == NULL) {
        return true;
    }
    struct buf line;
    buf_init(&line, CLIENT_URL_BYTES);
    buf_printf(&line, "%s: %s", name, value);
    bool ok = buf_addc(&line, '\0');
    struct curl_slist *longer = ok ? curl_slist_append(*list, line.base) : NULL;
    *list = longer != NULL ? longer : *list;
    buf_free(&line);
    return longer != NULL;
}

/* Not with %g: the program's locale may write a decimal comma. */
static bool add_start_timeout(struct curl_slist **list, double seconds) {
    char text[40];
    int64_t ms = (int64_t)(seconds * 1000.0 + 0.5);
    if (ms == 0) {
        return true;
    }
    if (ms % 1000 == 0) {
        snprintf(text, sizeof(text), "%" PRId64, ms / 1000);
    } else {
        snprintf(text, sizeof(text), "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
    }
    return add_extra(list, "x-fal-request-timeout", text);
}

static bool add_step_headers(const struct client_call *call, struct curl_slist **list) {
    const struct fal_subscribe_options *o = &call->options;
    if (step_method(call->step) != CLIENT_POST) {
        return true;
    }
    bool ok = add_extra(list, "x-fal-runner-hint", o->hint) &&
              add_start_timeout(list, o->start_timeout_s);
    if (call->step == CLIENT_SUBMIT) {
        ok = ok &&
             add_extra(list, "x-fal-queue-priority", o->priority != NULL ? o->priority : "normal");
        ok = ok && add_extra(list, "Idempotency-Key", call->idempotency_key);
    }
    return ok;
}

static void begin_exchange(struct client_call *call) {
    struct client_request request = {.method = step_method(call->step)};
    client_exchange_end(&call->exchange, call->client);
    if (!build_url(call) || !add_step_headers(call, &request.extra)) {
        curl_slist_free_all(request.extra);
        finish_memory(call);
        return;
    }
    request.url = buf_slice(&call->url_text).ptr;
    request.body = request.method == CLIENT_POST ? slice_of(call->input) : SLICE_NONE;
    if (client_exchange_begin(&call->exchange, call->client, &request) != FAL_OK) {
        finish_memory(call);
        return;
    }
    call->state = CLIENT_EXCHANGING;
}

static void go_to(struct client_call *call, enum client_step step) {
    call->step = step;
    call->attempt = 0;
    begin_exchange(call);
}

/* ---- What an answer means, one function per step ---- */

/* True when result holds the answer; else the call is over. */
static bool take(struct client_call *call) {
    if (client_result_take(call->result, &call->exchange.reply) != FAL_OK) {
        finish_memory(call);
        return false;
    }
    return true;
}

static void after_output(struct client_call *call) {
    if (!take(call)) {
        return;
    }
    if (call->result->doc == NULL) {
        finish_with(call, FAL_ERR_PROTOCOL, "the answer is not JSON");
        return;
    }
    finish(call);
}

static void after_cancel(struct client_call *call) {
    if (take(call)) {
        finish(call);
    }
}

static struct client_status *read_status(struct client_call *call) {
    enum fal_code code;
    struct slice json = buf_slice(&call->exchange.reply.body);
    struct client_status *s = client_status_read(
        json, call->step == CLIENT_SUBMIT, call->result->request_id, call->result->status, &code);
    if (s == NULL) {
        finish_with(call, code,
                    code == FAL_ERR_MEMORY ? fal_strerror(code)
                                           : "the answer is not a queue status");
    }
    return s;
}

static void after_submit(struct client_call *call) {
    struct client_status *s = read_status(call);
    if (s == NULL) {
        return;
    }
    call->submitted = s;
    free(call->result->request_id);
    call->result->request_id = NULL;
    if (client_result_set_id(call->result, s->pub.request_id) != FAL_OK) {
        finish_memory(call);
        return;
    }
    if (!call->follow) {
        if (take(call)) {
            finish(call);
        }
        return;
    }
    if (call->options.on_enqueue != NULL) {
        call->options.on_enqueue(call->result->request_id, call->options.user);
    }
    go_to(call, CLIENT_STATUS);
}

static int64_t next_poll_ms(struct client_call *call) {
    if (call->options.poll_interval_ms > 0) {
        return call->options.poll_interval_ms;
    }
    int64_t pause = call->poll_ms > 0 ? call->poll_ms : CLIENT_POLL_FIRST_MS;
    call->poll_ms = pause + pause / 2 < CLIENT_POLL_MAX_MS ? pause + pause / 2 : CLIENT_POLL_MAX_MS;
    return pause;
}

static void after_status(struct client_call *call) {
    struct client_status *s = read_status(call);
    if (s == NULL) {
        return;
    }
    client_status_free(call->result->status);
    call->result->status = s;
    if (!call->follow) {
        after_cancel(call);
        return;
    }
    if (call->options.on_queue_update != NULL) {
        call->options.on_queue_update(&s->pub, call->options.user);
    }
    if (s->pub.state == FAL_COMPLETED) {
        go_to(call, CLIENT_RESULT);
        return;
    }
    client_exchange_end(&call->exchange, call->client);
    call->due_ms = now_ms(call) + (uint64_t)next_poll_ms(call);
    call->state = CLIENT_PAUSING;
}

static void after_success(struct client_call *call) {
    static void (*const after[])(struct client_call *) = {
        [CLIENT_RUN] = after_output,    [CLIENT_SUBMIT] = after_submit,
        [CLIENT_STATUS] = after_status, [CLIENT_RESULT] = after_output,
        [CLIENT_CANCEL] = after_cancel,
    };
    after[call->step](call);
}

static void after_failure(struct client_call *call, bool useful) {
    const struct client_reply *reply = &call->exchange.reply;
    fal_result *r = call->result;
    r->error.retryable = useful || (reply->code == FAL_OK && reply->retryable == 1);
    if (reply->code != FAL_OK) {
        r->error.retry_after_s = -1.0;
        finish_with(call, reply->code, reply->message);
        return;
    }
    if (!take(call)) {
        return;
    }
    r->error.code = FAL_ERR_HTTP;
    client_error_read(r, reply);
    finish(call);
}

/* ---- States ---- */

static bool request_is_open(const struct client_call *call) {
    const struct client_status *last = call->result->status;
    return call->follow && call->submitted != NULL &&
           (last == NULL || last->pub.state != FAL_COMPLETED);
}

static struct client_attempt describe(const struct client_call *call) {
    const struct client_reply *reply = &call->exchange.reply;
    const struct client_status *last = call->result->status;
    return (struct client_attempt){
        .method = step_method(call->step),
        .code = reply->code,
        .http_status = reply->http_status,
        .not_sent = reply->not_sent,
        .may_pass = reply->may_pass,
        .start_timeout = reply->start_timeout,
        /* The result of a request that failed is its stored error: it will not change. */
        .marked_final = reply->retryable == 0 ||
                        (call->step == CLIENT_RESULT && last != NULL && last->pub.error != NULL),
        .keyed = call->step == CLIENT_SUBMIT,
        .fal = call->client->base.fal,
    };
}

/* Negative: it is not tried again. */
static int64_t retry_pause_ms(const struct client_call *call,
                              const struct client_attempt *attempt) {
    const fal_client *c = call->client;
    double asked_s = call->exchange.reply.retry_after_s;
    bool first_connect = attempt->not_sent && attempt->code != FAL_OK && !call->answered;
    if (call->stopped != FAL_OK || call->attempt >= c->max_retries ||
        !client_retry_wanted(attempt) || (first_connect && c->no_connect_retry)) {
        return -1;
    }
    int64_t pause = client_retry_pause_ms(c->random, c->retry_base_ms, call->attempt);
    if (attempt->code == FAL_OK && asked_s >= 0.0) {
        if (asked_s > CLIENT_RETRY_AFTER_MAX_S) {
            return -1;
        }
        pause = (int64_t)(asked_s * 1000.0);
    }
    /* When the time is too short for another attempt, the error at hand says more than a timeout
     * later would. A request that stands on the server must be cancelled at the deadline, so there
     * the wait goes on. */
    bool too_late = call->deadline_ms != UINT64_MAX &&
                    now_ms(call) + (uint64_t)pause >= call->deadline_ms;
    return too_late && !request_is_open(call) ? -1 : pause;
}

static void exchanging(struct client_call *call) {
    struct client_reply *reply = &call->exchange.reply;
    if (!client_exchange_poll(&call->exchange, call->client)) {
        return;
    }
    struct client_attempt attempt = describe(call);
    int64_t pause = retry_pause_ms(call, &attempt);
    call->answered = call->answered || reply->code == FAL_OK;
    if (pause >= 0) {
        client_exchange_end(&call->exchange, call->client);
        call->attempt++;
        call->due_ms = now_ms(call) + (uint64_t)pause;
        call->state = CLIENT_BACKING_OFF;
    } else if (call->stopped != FAL_OK) {
        finish(call);
    } else if (reply->code == FAL_OK && reply->http_status / 100 == 2) {
        after_success(call);
    } else {
        after_failure(call, client_retry_useful(&attempt));
    }
}

static void backing_off(struct client_call *call) {
    if (now_ms(call) >= call->due_ms) {
        begin_exchange(call);
    }
}

static void pausing(struct client_call *call) {
    if (now_ms(call) >= call->due_ms) {
        go_to(call, CLIENT_STATUS);
    }
}

static void stop(struct client_call *call, enum fal_code why, const char *message) {
    if (call->stopped != FAL_OK) {
        finish(call);
        return;
    }
    call->stopped = why;
    call->result->error.retryable = why == FAL_ERR_TIMEOUT;
    client_result_fail(call->result, why, "%s", message);
    if (!request_is_open(call)) {
        finish(call);
        return;
    }
    call->deadline_ms = now_ms(call) + CLIENT_CANCEL_MS;
    go_to(call, CLIENT_CANCEL);
}

static void check_stop(struct client_call *call) {
    char text[80];
    if (atomic_exchange(&call->client->cancelled, false)) {
        stop(call, FAL_ERR_CANCELLED, fal_strerror(FAL_ERR_CANCELLED));
    } else if (now_ms(call) >= call->deadline_ms) {
        snprintf(text, sizeof(text), "timed out after %" PRId64 " ms", call->options.timeout_ms);
        stop(call, FAL_ERR_TIMEOUT, text);
    }
}

/* libcurl's own timers shorten this by themselves. */
static int wait_ms(const struct client_call *call) {
    uint64_t now = now_ms(call), until = call->deadline_ms;
    if (call->state != CLIENT_EXCHANGING && call->due_ms < until) {
        until = call->due_ms;
    }
    uint64_t left = until > now ? until - now : 0;
    return left < 60000 ? (int)left : 60000;
}

static void turn(struct client_call *call) {
    static void (*const states[])(struct client_call *) = {
        [CLIENT_EXCHANGING] = exchanging,
        [CLIENT_BACKING_OFF] = backing_off,
        [CLIENT_PAUSING] = pausing,
    };
    check_stop(call);
    if (call->state == CLIENT_DONE) {
        return;
    }
    states[call->state](call);
    if (call->state != CLIENT_DONE &&
        curl_multi_poll(call->client->multi, NULL, 0, wait_ms(call), NULL) != CURLM_OK) {
        finish_memory(call);
    }
}

static void start(struct client_call *call) {
    buf_init(&call->url_text, CLIENT_URL_BYTES * 4);
    call->deadline_ms = UINT64_MAX;
    if (call->options.timeout_ms > 0) {
        call->deadline_ms = now_ms(call) + (uint64_t)call->options.timeout_ms;
    }
    if (call->request_id != NULL &&
        client_result_set_id(call->result, call->request_id) != FAL_OK) {
        finish_memory(call);
        return;
    }
    go_to(call, call->first_step);
}

static void run(struct client_call *call) {
    for (start(call); call->state != CLIENT_DONE;) {
        turn(call);
    }
    if (call->result->status == NULL) {
        call->result->status = call->submitted;
    } else {
        client_status_free(call->submitted);
    }
    buf_free(&call->url_text);
}

enum fal_code client_call_run(struct client_call *call, fal_result **out) {
    call->result = client_result_new();
    if (call->result == NULL) {
        return FAL_ERR_MEMORY;
    }
    if (atomic_exchange(&call->client->busy, true)) {
        client_result_fail(call->result, FAL_ERR_BUSY, "%s", fal_strerror(FAL_ERR_BUSY));
    } else {
        run(call);
        atomic_store(&call->client->busy, false);
    }
    enum fal_code code = call->result->error.code;
    if (out != NULL) {
        *out = call->result;
    } else {
        fal_result_free(call->result);
    }
    return code;
}
