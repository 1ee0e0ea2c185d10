/* The life of a realtime connection.
 *
 *   NEW --the loop's turn--> TOKEN --answered--> CONNECTING --connected--> UPGRADING --101--> OPEN
 *    |                                              ^  ^
 *    +--use_key, or a token of the caller's---------+  |
 *   OPEN --"Unauthorized" as the first message, to a token of ours, once--> TOKEN
 *   OPEN --fal_realtime_close--> CLOSING
 *   any --error, time, cancel; both sides have closed--> CLOSED
 *
 * What the loop calls goes through enter and leave: the caller may give the handle back in any callback, and it is freed when
 * the last of them has returned. */
#include "client/realtime.h"
#include "client/token.h"

#include <stdio.h>
#include <stdlib.h>

#define READS 32 /* in a row, then others have their turn */
#define QUERY_BYTES (CLIENT_URL_BYTES * 4U)

#define OWNER(member, p) \
    ((fal_realtime *)(void *)((char *)(p) - offsetof(struct fal_realtime, member)))

/* --- the end */

static void wipe_token(fal_realtime *rt) {
    if (rt->token != NULL) explicit_bzero(rt->token, strlen(rt->token));
    free(rt->token);
    rt->token = NULL;
}

static void drop_connection(fal_realtime *rt) {
    client_link_close(&rt->link);
    client_frames_free(&rt->frames);
    client_upgrade_free(&rt->upgrade);
    if (rt->hello.base != NULL) explicit_bzero(rt->hello.base, rt->hello.cap);
    buf_free(&rt->hello);
}

void client_realtime_tell(fal_realtime *rt) {
    if (rt->quiet) return;
    rt->quiet = true;
    if (rt->o.on_close != NULL) rt->o.on_close(&rt->end->error, rt->close_code, rt->o.user);
}

static void finish(fal_realtime *rt, enum fal_code code, int close_code, const char *message) {
    if (rt->state == REALTIME_CLOSED) return;
    if (code != FAL_OK) client_result_fail(rt->end, code, "%s", message);
    rt->state = REALTIME_CLOSED;
    rt->close_code = close_code;
    client_timer_off(&rt->limit);
    client_timer_off(&rt->soon);
    client_try_end(&rt->try);
    buf_free(&rt->body);
    drop_connection(rt);
    client_messages_free(&rt->outbox);
    client_messages_free(&rt->sent);
    wipe_token(rt);
    *rt->prev = rt->next;
    if (rt->next != NULL) rt->next->prev = rt->prev;
    rt->client->pending--;
    client_realtime_tell(rt);
}

void client_realtime_fail(fal_realtime *rt, enum fal_code code) {
    finish(rt, code, WSLAY_CODE_ABNORMAL_CLOSURE, fal_strerror(code));
}

/* An answer that is not what was hoped for. */
static void end_reply(fal_realtime *rt, struct client_reply *reply, bool useful) {
    fal_result *r = rt->end;
    if (reply->code == FAL_OK && client_result_take(r, reply) != FAL_OK) {
        client_realtime_fail(rt, FAL_ERR_MEMORY);
        return;
    }
    r->error.retryable = useful || reply->retryable == 1;
    if (reply->code == FAL_OK) {
        r->error.code = FAL_ERR_HTTP;
        client_error_read(r, reply);
    }
    finish(rt, reply->code, WSLAY_CODE_ABNORMAL_CLOSURE, reply->message);
}

void client_realtime_free(fal_realtime *rt) {
    client_messages_free(&rt->inbox);
    client_messages_free(&rt->outbox);
    fal_result_free(rt->end);
    wipe_token(rt);
    free(rt->url);
    free(rt);
}

void client_realtime_enter(fal_realtime *rt) {
    rt->inside++;
}

void client_realtime_leave(fal_realtime *rt) {
    if (--rt->inside == 0 && rt->given_back && rt->state == REALTIME_CLOSED)
        client_realtime_free(rt);
}

void client_realtime_soon(fal_realtime *rt) {
    if (rt->state != REALTIME_CLOSED)
        client_timer_set(rt->client, &rt->soon, client_now_ms(rt->client));
}

/* --- the token */

static void connected(struct client_link *link, CURLcode rc);
static void has_news(struct client_link *link);

static void open_link(fal_realtime *rt) {
    rt->state = REALTIME_CONNECTING;
    rt->heard = false;
    if (client_link_open(&rt->link, rt->client, rt->url, connected, has_news) != FAL_OK)
        client_realtime_fail(rt, FAL_ERR_MEMORY);
}

static void token_is_here(struct client_try *t) {
    fal_realtime *rt = t->owner;
    struct client_reply *reply = &t->exchange.reply;
    enum fal_code code;
    client_realtime_enter(rt);
    if (!client_try_ok(t))
        end_reply(rt, reply, t->useful);
    else if ((rt->token = client_token_read(buf_slice(&reply->body), &code)) == NULL)
        finish(rt, code, WSLAY_CODE_ABNORMAL_CLOSURE,
               code == FAL_ERR_PROTOCOL ? "the answer holds no token" : fal_strerror(code));
    else {
        client_try_end(t);
        buf_free(&rt->body);
        open_link(rt);
    }
    client_realtime_leave(rt);
}

static void fetch_token(fal_realtime *rt) {
    const char *app = rt->endpoint.id;
    rt->state = REALTIME_TOKEN;
    wipe_token(rt);
    client_try_init(&rt->try, rt->client, CLIENT_POST, token_is_here, rt);
    rt->try.deadline_ms = rt->limit.due_ms;
    rt->try.repeatable = true; /* a token that nobody got ends by itself */
    bool ok = client_token_request(&rt->try.request, &rt->body, rt->client, &app, 1,
                                   rt->o.token_expiration_s);
    enum fal_code code = ok ? client_try_begin(&rt->try) : FAL_ERR_MEMORY;
    if (code != FAL_OK) client_realtime_fail(rt, code);
}

void client_realtime_limit(fal_realtime *rt, int64_t ms) {
    client_timer_set(rt->client, &rt->limit, client_now_ms(rt->client) + (uint64_t)ms);
}

static void begin(fal_realtime *rt) {
    client_realtime_limit(rt, rt->o.open_timeout_ms);
    if (rt->fetches)
        fetch_token(rt);
    else
        open_link(rt);
}

/* A new token, a new connection; what was sent to the old one goes again, for nobody has read it. */
static void renew(fal_realtime *rt) {
    rt->renewed = true;
    rt->unauthorized = false;
    drop_connection(rt);
    client_messages_put_back(&rt->outbox, &rt->sent);
    begin(rt);
}

/* --- the handshake */

static bool write_hello(fal_realtime *rt, const struct buf *lines) {
    struct buf url;
    const char *mark = "?";
    buf_init(&url, QUERY_BYTES);
    buf_puts(&url, rt->url);
    if (rt->token != NULL) {
        buf_puts(&url, "?fal_jwt_token=");
        client_url_escape(&url, rt->token);
        mark = "&";
    }
    if (rt->o.max_buffering > 0) buf_printf(&url, "%smax_buffering=%d", mark, rt->o.max_buffering);
    bool ok = !url.failed &&
              client_upgrade_write(&rt->upgrade, buf_slice(&url), buf_slice(lines), &rt->hello);
    if (url.base != NULL) explicit_bzero(url.base, url.cap);
    buf_free(&url);
    return ok;
}

static enum fal_code say_hello(fal_realtime *rt) {
    struct buf lines;
    buf_init(&lines, QUERY_BYTES * 4);
    buf_init(&rt->hello, QUERY_BYTES * 8);
    enum fal_code code = client_lines_own(&lines, rt->client, rt->url, rt->o.use_key);
    buf_printf(&lines, "User-Agent: %s", rt->client->user_agent);
    buf_addc(&lines, '\0');
    if (code == FAL_OK && (lines.failed || !client_upgrade_init(&rt->upgrade, rt->client->random) ||
                           !write_hello(rt, &lines)))
        code = FAL_ERR_MEMORY;
    if (lines.base != NULL) explicit_bzero(lines.base, lines.cap);
    buf_free(&lines);
    return code;
}

static void take_name(char out[CLIENT_NAME_BYTES], struct slice value) {
    if (value.ptr != NULL) snprintf(out, CLIENT_NAME_BYTES, "%.*s", SLICE_ARG(value));
}

static void end_refused(fal_realtime *rt) {
    struct client_upgrade *u = &rt->upgrade;
    struct slice type = client_upgrade_header(u, "Content-Type"),
                 wait = client_upgrade_header(u, "Retry-After");
    struct client_reply reply = {
        .http_status = u->http_status, .retryable = -1, .retry_after_s = -1.0, .body = u->body};
    char text[64] = "";
    buf_init(&u->body, UPGRADE_BODY_BYTES);
    reply.body.failed = false; /* it was cut at most */
    reply.is_json = type.ptr == NULL || memmem(type.ptr, type.len, "json", 4) != NULL;
    take_name(reply.request_id, client_upgrade_header(u, "x-fal-request-id"));
    take_name(reply.error_type, client_upgrade_header(u, "X-Fal-Error-Type"));
    if (wait.ptr != NULL && wait.len < sizeof text) {
        memcpy(text, wait.ptr, wait.len);
        reply.retry_after_s = client_retry_after_s(text, clock_wall_ms(rt->client->clock) / 1000);
    }
    end_reply(rt, &reply, u->http_status == 429 || u->http_status == 503);
    buf_free(&reply.body);
}

static void said(void *owner, bool text, struct slice data);

static void is_open(fal_realtime *rt) {
    rt->state = REALTIME_OPEN;
    client_timer_off(&rt->limit);
    if (client_frames_init(&rt->frames, rt->client->random, rt->o.max_message_bytes, said, rt) !=
        FAL_OK) {
        client_realtime_fail(rt, FAL_ERR_MEMORY);
        return;
    }
    rt->sent.last = &rt->sent.first;
    if (rt->opened) return;
    rt->opened = true;
    rt->quiet = false;
    if (rt->o.on_open != NULL) rt->o.on_open(rt->o.user);
}

/* --- messages */

/* The token opens it. */
static void has_heard(fal_realtime *rt) {
    rt->heard = true;
    client_messages_free(&rt->sent);
}

static void deliver(fal_realtime *rt, struct buf *json) {
    has_heard(rt);
    bool ok = true;
    if (rt->o.on_message == NULL)
        ok = client_messages_add(&rt->inbox, buf_slice(json));
    else if ((ok = buf_addc(json, '\0')))
        rt->o.on_message(buf_slice(json).ptr, rt->o.user);
    if (!ok) client_frames_refuse(&rt->frames, FAL_ERR_MEMORY, WSLAY_CODE_GOING_AWAY);
}

static void said(void *owner, bool text, struct slice data) {
    fal_realtime *rt = owner;
    struct buf json;
    if (rt->given_back) return;
    buf_init(&json, rt->o.max_message_bytes * 4); /* escapes and base64 */
    switch (client_said_read(text, data, &json)) {
    case SAID_OUTPUT:
    case SAID_ERROR: deliver(rt, &json); break;
    case SAID_NOTHING: has_heard(rt); break;
    case SAID_UNAUTHORIZED:
        rt->unauthorized = true;
        client_frames_refuse(&rt->frames, FAL_ERR_HTTP, WSLAY_CODE_NORMAL_CLOSURE);
        break;
    case SAID_NONSENSE:
        client_frames_refuse(&rt->frames, FAL_ERR_PROTOCOL, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA);
        break;
    case SAID_NO_MEMORY:
        client_frames_refuse(&rt->frames, FAL_ERR_MEMORY, WSLAY_CODE_GOING_AWAY);
        break;
    }
    buf_free(&json);
}

static bool may_renew(const fal_realtime *rt) {
    return rt->fetches && !rt->renewed && !rt->heard;
}

/* Takes m, which has been sent. Of too much nothing is kept: a part of it would not be what the caller said. */
static void keep(fal_realtime *rt, struct client_message *m) {
    if (may_renew(rt) && !rt->let_go) {
        client_messages_append(&rt->sent, m);
        rt->let_go = rt->sent.bytes > REALTIME_KEPT_BYTES;
        if (rt->let_go) client_messages_free(&rt->sent);
    } else
        free(m);
}

/* Gives the next message of the outbox to the frames. False: there is none, or no memory. */
static bool send_next(fal_realtime *rt) {
    struct client_message *m = client_messages_take(&rt->outbox);
    if (m == NULL) return false;
    bool ok = client_frames_send(&rt->frames, rt->o.text, slice_make(m->data, m->len));
    if (!ok) client_frames_refuse(&rt->frames, FAL_ERR_MEMORY, WSLAY_CODE_GOING_AWAY);
    keep(rt, m);
    return ok;
}

/* For client_link_send. */
static size_t next_bytes(struct client_link *link, char *out, size_t room) {
    fal_realtime *rt = OWNER(link, link);
    size_t n = buf_len(&rt->hello) < room ? buf_len(&rt->hello) : room;
    if (n > 0) {
        memcpy(out, buf_slice(&rt->hello).ptr, n);
        buf_consume(&rt->hello, n);
        return n;
    }
    while (rt->state == REALTIME_OPEN || rt->state == REALTIME_CLOSING) {
        n = client_frames_take(&rt->frames, out, room);
        if (n > 0 || rt->frames.over) return n;
        if (send_next(rt)) continue;
        if (rt->state == REALTIME_OPEN || rt->frames.closing) return 0;
        client_frames_close(&rt->frames, WSLAY_CODE_NORMAL_CLOSURE);
    }
    return 0;
}

/* --- the connection */

static bool wants_bytes(const fal_realtime *rt) {
    if (rt->state == REALTIME_UPGRADING)
        return rt->upgrade.state == UPGRADE_HEAD || rt->upgrade.state == UPGRADE_BODY;
    return (rt->state == REALTIME_OPEN || rt->state == REALTIME_CLOSING) && !rt->frames.over &&
           rt->inbox.bytes <= REALTIME_QUEUED_BYTES;
}

static void take_bytes(fal_realtime *rt, struct slice bytes) {
    if (rt->state == REALTIME_UPGRADING) {
        bytes = slice_from(bytes, client_upgrade_feed(&rt->upgrade, bytes));
        if (rt->upgrade.state == UPGRADE_OPEN) is_open(rt);
    }
    if (bytes.len > 0 && (rt->state == REALTIME_OPEN || rt->state == REALTIME_CLOSING))
        client_frames_feed(&rt->frames, bytes);
}

/* False: the connection is at its end. TLS may hold bytes that the descriptor does not show: read until there are none. */
static bool read_all(fal_realtime *rt) {
    char bytes[16384];
    for (int i = 0; i < READS; i++) {
        size_t n;
        if (!wants_bytes(rt)) return true;
        CURLcode rc = client_link_receive(&rt->link, bytes, sizeof bytes, &n);
        if (rc == CURLE_AGAIN) return true;
        if (rc != CURLE_OK || n == 0) return false;
        take_bytes(rt, slice_make(bytes, n));
    }
    client_realtime_soon(rt);
    return true;
}

/* Both have closed, or the server is at fault. */
static void end_frames(fal_realtime *rt) {
    const struct client_frames *f = &rt->frames;
    int code = client_frames_code(f);
    char text[200];
    if (f->fault == FAL_ERR_TOO_LARGE)
        finish(rt, f->fault, code, "the server's message is too large");
    else if (f->fault != FAL_OK)
        finish(rt, f->fault, code, fal_strerror(f->fault));
    else if (rt->state == REALTIME_CLOSING || code == WSLAY_CODE_NORMAL_CLOSURE ||
             code == WSLAY_CODE_GOING_AWAY || code == WSLAY_CODE_NO_STATUS_RCVD)
        finish(rt, FAL_OK, code, "");
    else {
        snprintf(text, sizeof text, "the server closed the connection: %d %s", code, f->reason);
        client_error_set_text(rt->end->message, slice_of(text));
        finish(rt, FAL_ERR_TRANSPORT, code, text);
    }
}

static void end_unauthorized(fal_realtime *rt) {
    rt->end->http_status = rt->end->error.http_status = 401;
    finish(rt, FAL_ERR_HTTP, WSLAY_CODE_POLICY_VIOLATION,
           may_renew(rt) && rt->let_go
               ? "Unauthorized, and more was sent than is kept for another token"
               : "Unauthorized");
}

static void judge_upgrade(fal_realtime *rt, bool alive) {
    struct client_upgrade *u = &rt->upgrade;
    if (!alive) client_upgrade_end(u);
    if (u->state == UPGRADE_REFUSED)
        end_refused(rt);
    else if (u->state == UPGRADE_BROKEN && u->head.no_memory)
        client_realtime_fail(rt, FAL_ERR_MEMORY);
    else if (u->state == UPGRADE_BROKEN)
        finish(rt, alive ? FAL_ERR_PROTOCOL : FAL_ERR_TRANSPORT, WSLAY_CODE_ABNORMAL_CLOSURE,
               u->why);
}

/* What can be done now. */
static void pump(fal_realtime *rt) {
    bool alive = read_all(rt);
    if (rt->state == REALTIME_UPGRADING) judge_upgrade(rt, alive);
    if (rt->state == REALTIME_CLOSED) return;
    if (rt->unauthorized) {
        if (may_renew(rt) && !rt->let_go && rt->state == REALTIME_OPEN)
            renew(rt);
        else
            end_unauthorized(rt);
        return;
    }
    if (alive || rt->frames.over)
        alive = client_link_send(&rt->link, next_bytes, wants_bytes(rt)) && alive;
    if (rt->state == REALTIME_UPGRADING
            ? !alive
            : rt->frames.over && (!alive || client_link_has_sent(&rt->link)))
        end_frames(rt);
    else if (!alive)
        client_realtime_fail(rt, FAL_ERR_TRANSPORT);
    else if (rt->state == REALTIME_OPEN && rt->frames.over && rt->limit.link == NULL)
        client_realtime_limit(rt, REALTIME_CLOSE_MS); /* for what is still to be sent */
}

static void connected(struct client_link *link, CURLcode rc) {
    fal_realtime *rt = OWNER(link, link);
    client_realtime_enter(rt);
    if (rc == CURLE_OUT_OF_MEMORY)
        client_realtime_fail(rt, FAL_ERR_MEMORY);
    else if (rc != CURLE_OK) {
        rt->end->error.retryable = true;
        finish(rt, FAL_ERR_CONNECT, WSLAY_CODE_ABNORMAL_CLOSURE,
               link->error[0] != '\0' ? link->error : curl_easy_strerror(rc));
    } else {
        rt->state = REALTIME_UPGRADING;
        enum fal_code code = say_hello(rt);
        if (code != FAL_OK)
            client_realtime_fail(rt, code);
        else
            pump(rt);
    }
    client_realtime_leave(rt);
}

static void has_news(struct client_link *link) {
    fal_realtime *rt = OWNER(link, link);
    client_realtime_enter(rt);
    pump(rt);
    client_realtime_leave(rt);
}

/* --- time */

static void limit_is_over(struct client_timer *timer) {
    fal_realtime *rt = OWNER(limit, timer);
    char text[80];
    client_realtime_enter(rt);
    if (rt->frames.over)
        end_frames(rt);
    else if (rt->state == REALTIME_CLOSING)
        finish(rt, FAL_ERR_TRANSPORT, WSLAY_CODE_ABNORMAL_CLOSURE, "the server did not close");
    else {
        snprintf(text, sizeof text, "not open after %lld ms", (long long)rt->o.open_timeout_ms);
        rt->end->error.retryable = true;
        finish(rt, FAL_ERR_TIMEOUT, WSLAY_CODE_ABNORMAL_CLOSURE, text);
    }
    client_realtime_leave(rt);
}

void client_realtime_act(fal_realtime *rt) {
    if (rt->given_back && rt->state < REALTIME_OPEN)
        client_realtime_fail(rt, FAL_ERR_CANCELLED);
    else if (rt->state == REALTIME_NEW)
        begin(rt);
    else if (rt->state >= REALTIME_UPGRADING && rt->state != REALTIME_CLOSED)
        pump(rt);
}

static void soon_is_now(struct client_timer *timer) {
    fal_realtime *rt = OWNER(soon, timer);
    client_realtime_enter(rt);
    client_realtime_act(rt);
    client_realtime_leave(rt);
}

static void end_all(fal_client *c) {
    while (c->realtimes != NULL) {
        fal_realtime *rt = c->realtimes;
        rt->quiet = true;
        client_realtime_enter(rt);
        client_realtime_fail(rt, FAL_ERR_CANCELLED);
        client_realtime_leave(rt);
    }
}

void client_realtime_init(fal_realtime *rt) {
    rt->limit.fire = limit_is_over;
    rt->soon.fire = soon_is_now;
    client_messages_init(&rt->inbox);
    client_messages_init(&rt->outbox);
    client_messages_init(&rt->sent);
}

void client_realtime_enlist(fal_realtime *rt) {
    fal_client *c = rt->client;
    rt->next = c->realtimes;
    rt->prev = &c->realtimes;
    if (rt->next != NULL) rt->next->prev = &rt->next;
    c->realtimes = rt;
    c->end_realtimes = end_all;
    c->pending++;
    client_realtime_soon(rt);
}
