#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_OF_TIMER(pointer) \
    ((fal_call *)(void *)((char *)(pointer) - offsetof(struct fal_call, timer)))

static void deadline_passed(struct client_timer *timer);

/* ---- Lists and references ---- */

static void link_front(fal_call **list, fal_call *call) {
    call->next = *list;
    call->link = list;
    if (call->next != NULL) {
        call->next->link = &call->next;
    }
    *list = call;
}

static void unlink_call(fal_call *call) {
    if (call->link == NULL) {
        return;
    }
    *call->link = call->next;
    if (call->next != NULL) {
        call->next->link = call->link;
    }
    call->link = NULL;
    call->next = NULL;
}

/* All of a list that is linked at its front, oldest first. What is added meanwhile waits for the next time. */
static void take_list(fal_call **from, fal_call **to) {
    while (*from != NULL) {
        fal_call *call = *from;
        unlink_call(call);
        link_front(to, call);
    }
}

static void unref(fal_call *call) {
    if (atomic_fetch_sub(&call->refs, 1) == 1) {
        client_wake_unref(call->wake);
        free(call);
    }
}

void *client_call_new(fal_client *c, const struct client_kind *kind, size_t bytes,
                      int64_t timeout_ms) {
    fal_call *call = calloc(1, bytes);
    fal_result *result = client_result_new();
    if (call == NULL || result == NULL) {
        free(call);
        fal_result_free(result);
        return NULL;
    }
    call->kind = kind;
    call->client = c;
    call->result = result;
    call->timer.fire = deadline_passed;
    call->timeout_ms = timeout_ms > 0 ? timeout_ms : c->timeout_ms;
    call->deadline_ms = UINT64_MAX;
    if (call->timeout_ms > 0) {
        call->deadline_ms = client_now_ms(c) + (uint64_t)call->timeout_ms;
    }
    atomic_init(&call->cancelled, false);
    atomic_init(&call->refs, 1);
    call->wake = c->wake;
    atomic_fetch_add(&c->wake->refs, 1);
    return call;
}

/* What is the kind's own, and the deadline; the memory with the last reference. */
static void release(fal_call *call) {
    client_timer_off(&call->timer);
    unlink_call(call);
    call->kind->free(call);
    call->client = NULL;
}

void client_call_drop(fal_call *call) {
    release(call);
    fal_result_free(call->result);
    call->result = NULL;
    unref(call);
}

/* ---- The end ---- */

void client_call_end(fal_call *call) {
    if (call->ended) {
        return;
    }
    call->ended = true;
    client_timer_off(&call->timer);
    if (!call->blocking) {
        unlink_call(call);
        call->place = CLIENT_CALL_OVER;
        link_front(&call->client->over, call);
    }
}

void client_call_fail(fal_call *call, enum fal_code code, const char *message) {
    client_result_fail(call->result, code, "%s", message);
    client_call_end(call);
}

void client_call_fail_code(fal_call *call, enum fal_code code) {
    client_call_fail(call, code, fal_strerror(code));
}

bool client_call_take(fal_call *call, struct client_try *t) {
    if (client_result_answer(call->result, t) == FAL_OK) {
        return true;
    }
    client_call_end(call);
    return false;
}

/* ---- Deadline and cancel ---- */

static void set_deadline(fal_call *call) {
    if (call->deadline_ms != UINT64_MAX) {
        client_timer_set(call->client, &call->timer, call->deadline_ms);
    }
}

static void stop(fal_call *call, enum fal_code why, const char *message) {
    if (call->ended) {
        return;
    }
    if (call->stopped != FAL_OK) {
        client_call_end(call);
        return;
    }
    call->stopped = why;
    call->result->error.retryable = why == FAL_ERR_TIMEOUT;
    client_result_fail(call->result, why, "%s", message);
    bool begun = call->place == CLIENT_CALL_ON;
    if (!begun || call->kind->stop == NULL || !call->kind->stop(call)) {
        client_call_end(call);
    } else if (!call->ended) {
        set_deadline(call);
    }
}

static void cancel(fal_call *call) {
    stop(call, FAL_ERR_CANCELLED, fal_strerror(FAL_ERR_CANCELLED));
}

static void deadline_passed(struct client_timer *timer) {
    fal_call *call = CALL_OF_TIMER(timer);
    char text[80];
    snprintf(text, sizeof(text), "timed out after %" PRId64 " ms", call->timeout_ms);
    stop(call, FAL_ERR_TIMEOUT, text);
}

void fal_call_cancel(fal_call *call) {
    if (call != NULL) {
        atomic_store(&call->cancelled, true);
        atomic_store(&call->wake->calls, true);
        client_wake_up(call->wake);
    }
}

void fal_call_free(fal_call *call) {
    if (call != NULL) {
        unref(call);
    }
}

/* ---- Blocking ---- */

static void begin(fal_call *call) {
    call->place = CLIENT_CALL_ON;
    set_deadline(call);
    enum fal_code code = call->kind->start(call);
    if (code != FAL_OK) {
        client_call_fail_code(call, code);
    }
}

static void wait_for(fal_call *call) {
    fal_client *c = call->client;
    for (begin(call); !call->ended;) {
        if (atomic_exchange(&c->cancelled, false)) {
            cancel(call);
        } else if (client_loop_turn(c, -1) != FAL_OK && !call->ended) {
            client_call_fail_code(call, FAL_ERR_MEMORY);
        }
    }
}

enum fal_code client_call_block(fal_call *call, fal_result **out) {
    fal_client *c = call->client;
    call->blocking = true;
    if (!client_enter(c)) {
        client_result_fail(call->result, FAL_ERR_BUSY, "%s", fal_strerror(FAL_ERR_BUSY));
        call->kind->free(call);
    } else {
        link_front(&c->calls, call);
        c->pending++;
        wait_for(call);
        c->pending--;
        release(call);
        client_leave(c);
    }
    fal_result *r = call->result;
    enum fal_code code = r->error.code;
    if (out != NULL) {
        *out = r;
    } else {
        fal_result_free(r);
    }
    unref(call);
    return code;
}

/* ---- Not blocking ---- */

enum fal_code client_call_start(fal_call *call, struct fal_done done, fal_call **handle) {
    fal_client *c = call->client;
    if (c->closing) {
        client_call_drop(call);
        return FAL_ERR_BUSY;
    }
    call->done = done;
    call->place = CLIENT_CALL_FRESH;
    link_front(&c->fresh, call);
    c->pending++;
    if (handle != NULL) {
        atomic_fetch_add(&call->refs, 1);
        *handle = call;
    }
    return FAL_OK;
}

enum fal_code client_call_go(fal_call *call, const struct client_how *how) {
    return how->blocking ? client_call_block(call, how->result)
                         : client_call_start(call, how->done, how->handle);
}

static void begin_fresh(fal_client *c) {
    fal_call *all = NULL;
    take_list(&c->fresh, &all);
    while (all != NULL) {
        fal_call *call = all;
        unlink_call(call);
        link_front(&c->calls, call);
        begin(call);
    }
}

static void cancel_marked(fal_client *c) {
    fal_call **const lists[] = {&c->fresh, &c->calls};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (fal_call *call = *lists[i], *next; call != NULL; call = next) {
            next = call->next;
            if (atomic_exchange(&call->cancelled, false)) {
                cancel(call);
            }
        }
    }
}

static void finish(fal_call *call) {
    fal_client *c = call->client;
    struct fal_done done = call->done;
    fal_result *result = call->result;
    enum fal_code code = result->error.code;
    release(call);
    c->pending--;
    unref(call);
    if (done.done != NULL) {
        done.done(code, result, done.user);
    } else {
        fal_result_free(result);
    }
}

static void finish_over(fal_client *c) {
    fal_call *all = NULL;
    take_list(&c->over, &all);
    while (all != NULL) {
        finish(all);
    }
}

bool client_calls_waiting(const fal_client *c) {
    return c->fresh != NULL || c->over != NULL || atomic_load(&c->wake->calls);
}

bool client_calls_settle(fal_client *c) {
    if (!client_calls_waiting(c)) {
        return false;
    }
    if (atomic_exchange(&c->wake->calls, false)) {
        cancel_marked(c);
    }
    begin_fresh(c);
    finish_over(c);
    return true;
}

void client_calls_abort(fal_client *c) {
    fal_call **const lists[] = {&c->fresh, &c->calls};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (*lists[i] != NULL) {
            fal_call *call = *lists[i];
            client_call_fail_code(call, FAL_ERR_CANCELLED);
        }
    }
    finish_over(c);
}
