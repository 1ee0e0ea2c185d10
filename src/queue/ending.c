/* How what a request leaves behind reaches the store: its log lines on the way, its end, its return. */
#include "queue/inside.h"

#include <stdlib.h>

#define ENDING(status, text, name, lines) \
    {.http_status = (status),             \
     .error = (text),                     \
     .type = (name),                      \
     .headers = (lines),                  \
     .body = "{\"detail\":\"" text "\",\"message\":\"" text "\",\"error_type\":\"" name "\"}"}

/* How a request ends when it is not as its runner said. */
static const struct {
    unsigned http_status;
    const char *error, *type, *headers, *body;
} endings[] = {
    [VERDICT_CANCELLED] = ENDING(499, "Request cancelled by the client.", "client_cancelled", ""),
    [VERDICT_LOST] = ENDING(503, "The server ended while the request ran.", "runner_disconnected",
                            ""),
    [VERDICT_LATE] = ENDING(
        504, "Request timed out", "request_timeout",
        "x-fal-error-type: request_timeout\r\nx-fal-request-timeout-type: user\r\n"),
    [VERDICT_POISON] = ENDING(503, "The server ended three times while the request ran.",
                              "runner_disconnected", ""),
    [VERDICT_TOO_LARGE] = ENDING(500, "The result is larger than 10 MiB.", "result_too_large", ""),
    [VERDICT_MEMORY] = ENDING(500, "The server had no memory for the result.", "internal_error",
                              ""),
};

/* --- log lines on their way */

static struct store_log *unsent(const struct run *r) {
    struct store_log *lines = malloc((r->nlines - r->sent + 1) * sizeof *lines);
    for (size_t k = r->sent; lines != NULL && k < r->nlines; k++)
        lines[k - r->sent] = (struct store_log){.id = r->item->id,
                                                .attempt = r->item->attempt,
                                                .token = r->token,
                                                .at_ms = r->lines[k].at_ms,
                                                .level = r->lines[k].level,
                                                .message = r->lines[k].message};
    return lines;
}

/* Asked for until they are here. */
static void ask_old_lines(struct queue *q, struct run *r) {
    uint64_t ticket = r->old_lines == LINES_WANTED ? ask(q, ASKED_LOST_LOGS, r->item, NULL) : 0;
    r->flush_due_ms = now_ms(q) + QUEUE_LOG_FLUSH_MS;
    at_latest(q, r->flush_due_ms);
    if (ticket == 0) return;
    r->old_lines = LINES_ASKED;
    q->o.store->backend->logs(q->o.store, ticket, r->item->id);
}

void lost_logs_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct item *i = table_find(&q->items, slice_of(t->id));
    if (i == NULL || i->epoch != t->epoch || i->run == NULL) return;
    if (i->run->old_lines != LINES_ASKED) return;
    i->run->old_lines = r->status == STORE_OK ? LINES_HERE : LINES_WANTED;
    if (r->status == STORE_OK) run_take_lines(q, i->run, r->logs, r->nlogs);
}

/* One flush at a time per run; the store keeps their order. */
void flush_logs(struct queue *q, struct run *r) {
    if (r->old_lines != LINES_HERE) {
        ask_old_lines(q, r);
        return;
    }
    r->flush_due_ms = 0;
    if (r->sent > r->stored || r->sent == r->nlines) return;
    struct store_log *lines = unsent(r);
    uint64_t ticket = lines != NULL ? ask(q, ASKED_FLUSH, r->item, NULL) : 0;
    if (ticket != 0) {
        size_t n = r->nlines - r->sent;
        r->sent = r->nlines;
        q->o.store->backend->log(q->o.store, ticket, lines, n);
    } else {
        r->flush_due_ms = now_ms(q) + QUEUE_LOG_FLUSH_MS;
    }
    free(lines);
}

static void settle_now(struct queue *q, struct item *i);

void flush_answered(struct queue *q, struct item *i, const struct store_reply *r) {
    struct run *run = i->run;
    if (run == NULL) return;
    if (r->status == STORE_OK)
        run->stored = run->sent;
    else
        run->sent = run->stored;
    if (i->step == STEP_SETTLING) {
        settle_now(q, i);
    } else if (run->sent < run->nlines) {
        run->flush_due_ms = now_ms(q) + QUEUE_LOG_FLUSH_MS;
        at_latest(q, run->flush_due_ms);
    }
}

/* --- the end of a request */

/* What waits for the store to write again keeps its step. */
static void stick(struct queue *q, struct item *i) {
    i->given = false;
    if (i->cancel_wanted) i->cancel_requested = true; /* the mark has overtaken the end */
    if (q->abandoned) {
        forget(q, i);
        return;
    }
    if (q->stuck == NULL) q->stuck_due_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
    struct item **end = q->stuck != NULL ? &q->stuck_last->next_stuck : &q->stuck;
    *end = q->stuck_last = i;
    i->next_stuck = NULL;
    i->stuck = true;
    q->nstuck++;
    at_latest(q, q->stuck_due_ms);
}

static struct store_complete ending_of(struct queue *q, struct item *i) {
    if (doomed(i)) i->verdict = i->cancel_requested ? VERDICT_CANCELLED : VERDICT_LATE;
    enum verdict v = i->verdict;
    struct store_complete c = {.id = i->id,
                               .attempt = i->attempt,
                               .boot = q->leases.boot,
                               .inference_ms = -1,
                               .completed_ms = stamp_ms(q, i)};
    if (i->no_store) c.forget_ms = c.completed_ms + QUEUE_SHORT_KEEP_MS;
    struct run *r = i->run;
    if (r != NULL) {
        c.token = r->token;
        c.inference_ms = r->inference_ms;
        c.usage = r->result.usage;
    }
    if (v == VERDICT_RUNNER && r != NULL) {
        c.http_status = r->result.http_status;
        c.headers = r->result.headers;
        c.body = r->result.body;
        c.error = r->result.error;
        c.error_type = r->result.error_type;
        return c;
    }
    c.http_status = endings[v].http_status;
    c.headers = slice_of(endings[v].headers);
    c.body = slice_of(endings[v].body);
    c.error = slice_of(endings[v].error);
    c.error_type = slice_of(endings[v].type);
    return c;
}

/* Everything the store must know of it goes in one operation: result, usage, the lines not yet there. */
static void settle_now(struct queue *q, struct item *i) {
    struct run *r = i->run;
    struct store_complete c = ending_of(q, i);
    struct store_log *lines = unsent(r);
    uint64_t ticket = lines != NULL ? ask(q, ASKED_COMPLETE, i, NULL) : 0;
    if (ticket != 0) {
        i->given = true;
        c.logs = lines;
        c.nlogs = r->nlines - r->sent;
        q->o.store->backend->complete(q->o.store, ticket, &c);
    } else {
        stick(q, i);
    }
    free(lines);
}

/* -> SETTLING. The lease is ours and no attempt runs. */
void settle(struct queue *q, struct item *i) {
    struct run *r = i->run;
    set_step(q, i, STEP_SETTLING);
    r->flush_due_ms = 0;
    if (r->sent == r->stored) settle_now(q, i); /* else when the flush is answered */
}

/* Its end is durable, and with it the row of its webhook. */
static void ended(struct queue *q, const struct item *i) {
    bool cancelled = i->verdict == VERDICT_CANCELLED;
    q->stuck_due_ms = now_ms(q); /* the store writes: what waits for that follows */
    bool failed = i->verdict != VERDICT_RUNNER || i->run == NULL || i->run->result.error.len > 0;
    q->stats.completed++;
    q->stats.quarantined += i->verdict == VERDICT_POISON;
    if (i->no_store) sweep_later(q);
    q->stats.cancelled += cancelled;
    q->stats.failed += failed && !cancelled;
    if (i->has_webhook && q->o.on_webhook != NULL) q->o.on_webhook(q->o.webhook_user, i->id);
}

void complete_answered(struct queue *q, struct item *i, const struct store_reply *r) {
    if (r->status == STORE_OK) {
        ended(q, i);
        forget(q, i);
    } else if (store_failed(r)) {
        stick(q, i);
    } else {
        stale(q, i, "complete");
    }
}

static void end_now(struct queue *q, struct item *i, struct call *call) {
    struct store_complete c = ending_of(q, i);
    uint64_t ticket = ask(q, ASKED_END, i, call);
    if (ticket != 0) {
        i->given = true;
        q->o.store->backend->finish_waiting(q->o.store, ticket, &c);
        return;
    }
    stick(q, i);
    if (call != NULL) call_answer_code(q, call, cancel_kept(q));
}

/* -> ENDING. Nobody holds it and it is not in the order. */
void end_waiting(struct queue *q, struct item *i, enum verdict v, struct call *call) {
    i->verdict = (uint8_t)v;
    set_step(q, i, STEP_ENDING);
    end_now(q, i, call);
}

/* A cancel of a waiting one is answered here. When the store cannot write, the wish is kept in memory and tried again:
 * it will not run while this process lives. */
void end_answered(struct queue *q, struct item *i, struct ticket *t, const struct store_reply *r) {
    if (r->status == STORE_OK) {
        ended(q, i);
        if (t->call != NULL) call_answer_code(q, t->call, QUEUE_OK);
        forget(q, i);
    } else if (store_failed(r)) {
        if (t->call != NULL) call_answer_code(q, t->call, cancel_kept(q));
        stick(q, i);
    } else {
        if (q->o.alone)
            stale(q, i, "end");
        else
            taken(q, i, "end");
        if (t->call != NULL) ask_cancel(q, t->id, t->call);
    }
}

/* Those that were first, as many as may be under way; the others when these have been written, or in a while. */
void try_stuck_again(struct queue *q) {
    size_t under_way = q->at[STEP_ENDING] + q->at[STEP_SETTLING] - q->nstuck;
    size_t n = under_way < ENDS_AT_ONCE ? ENDS_AT_ONCE - under_way : 0;
    q->stuck_due_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
    for (n = n < q->nstuck ? n : q->nstuck; n > 0; n--) {
        struct item *i = q->stuck;
        q->stuck = i->next_stuck;
        q->nstuck--;
        i->stuck = false;
        if (i->step == STEP_SETTLING)
            settle_now(q, i);
        else
            end_now(q, i, NULL);
    }
}

/* -> GIVING_BACK: no attempt of ours runs, and none will before the next start. */
void give_back(struct queue *q, struct item *i) {
    struct run *r = i->run;
    r->old_lines = LINES_HERE; /* nobody will read them here any more */
    flush_logs(q, r);
    uint64_t ticket = ask(q, ASKED_GIVE_BACK, i, NULL);
    if (ticket == 0) {
        forget(q, i); /* the next start finds a lost lease instead */
        return;
    }
    set_step(q, i, STEP_GIVING_BACK);
    q->o.store->backend->release(q->o.store, ticket, i->id, i->attempt, r->token, &r->result.usage,
                                 stamp_ms(q, i));
}
