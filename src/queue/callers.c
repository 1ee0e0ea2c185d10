/* What callers ask: status, result, cancel; and the answers of all, submit.c's too. Nothing is answered before the call
 * has returned: a call is kept and taken up at the end of the loop's turn. */
#include "queue/inside.h"

#include <stdlib.h>

/* --- answers */

void call_answer(struct queue *q, struct call *c, const struct queue_reply *r) {
    struct queue_reply reply = *r;
    reply.again = c->again;
    /* A repeat whose first request has gone meanwhile: the next one is a first. */
    if (c->again && reply.code == QUEUE_NOT_FOUND) reply.code = QUEUE_UNAVAILABLE;
    c->done.done(c->done.user, c->done.ticket, &reply);
    free(c);
}

void call_answer_code(struct queue *q, struct call *c, enum queue_code code) {
    struct queue_reply r = {.code = code, .id = c->id};
    call_answer(q, c, &r);
}

/* No memory for a call: its refusal needs none, for as many as there is place; after that it comes at once. */
void call_refuse(struct queue *q, struct queue_done d) {
    if (q->nrefusals < REFUSALS) {
        q->refusals[q->nrefusals++] = d;
        soon(q);
        return;
    }
    struct queue_reply r = {.code = QUEUE_UNAVAILABLE, .id = ""};
    d.done(d.user, d.ticket, &r);
}

void call_keep(struct queue *q, struct call *c) {
    c->next = NULL;
    *q->calls_tail = c;
    q->calls_tail = &c->next;
    soon(q);
}

void call_park(struct queue *q, struct call *c) {
    c->parked++;
    c->next = q->parked;
    q->parked = c;
}

void calls_unpark(struct queue *q) {
    struct call *c = q->parked, *next, *first = NULL;
    q->parked = NULL;
    for (; c != NULL; c = next) { /* the last parked is at the head */
        next = c->next;
        c->next = first;
        first = c;
    }
    for (c = first; c != NULL; c = next) {
        next = c->next;
        call_keep(q, c);
    }
}

/* --- status, result, cancel */

struct queue_reply call_reply(struct queue *q, struct item *i) {
    struct queue_reply r = {.code = QUEUE_OK, .id = i->id, .endpoint = item_endpoint(i)};
    r.state = i->started ? STORE_IN_PROGRESS : STORE_IN_QUEUE;
    if (!i->started) r.position = position_of(q, i);
    return r;
}

/* "8-4-4-4-12" hex digits in lower case. */
static bool is_uuid(struct slice s) {
    if (s.len != UUID_BYTES - 1) return false;
    for (size_t k = 0; k < s.len; k++) {
        char c = s.ptr[k];
        bool dash = k == 8 || k == 13 || k == 18 || k == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return true;
}

/* With what `belongs` compares; both at most UINT16_MAX bytes. */
struct call *call_new(struct slice endpoint, struct slice owner) {
    if (endpoint.len > UINT16_MAX || owner.len > UINT16_MAX) return NULL;
    struct call *c = calloc(1, sizeof *c + endpoint.len + owner.len);
    if (c == NULL) return NULL;
    c->endpoint_len = (uint16_t)endpoint.len;
    c->owner_len = (uint16_t)owner.len;
    if (endpoint.len > 0) memcpy(c->text, endpoint.ptr, endpoint.len);
    if (owner.len > 0) memcpy(c->text + endpoint.len, owner.ptr, owner.len);
    return c;
}

static void find(struct queue *q, enum call_kind kind, const struct queue_find *f, bool logs,
                 struct queue_done d) {
    bool valid = is_uuid(f->id) && f->endpoint.len <= UINT16_MAX && f->owner.len <= UINT16_MAX;
    struct call *c = valid ? call_new(f->endpoint, f->owner) : call_new(SLICE(""), SLICE(""));
    if (c == NULL) {
        call_refuse(q, d);
        return;
    }
    c->kind = kind;
    c->logs = logs;
    c->done = d;
    if (valid) memcpy(c->id, f->id.ptr, f->id.len);
    call_keep(q, c);
}

void queue_status(struct queue *q, const struct queue_find *f, bool logs, struct queue_done d) {
    find(q, CALL_STATUS, f, logs, d);
}

void queue_result(struct queue *q, const struct queue_find *f, struct queue_done d) {
    find(q, CALL_RESULT, f, false, d);
}

void queue_cancel(struct queue *q, const struct queue_find *f, struct queue_done d) {
    find(q, CALL_CANCEL, f, false, d);
}

/* Whose it is, and whole segments of the endpoint: "fal-ai/any-llm" finds what was submitted to
 * "fal-ai/any-llm/vision", not what was submitted to "fal-ai/any-llm2". */
static bool belongs(const struct call *c, struct slice endpoint, struct slice owner) {
    struct slice asked = slice_make(c->text, c->endpoint_len);
    if (!slice_eq(slice_make(c->text + c->endpoint_len, c->owner_len), owner)) return false;
    if (!slice_starts(endpoint, asked)) return false;
    return endpoint.len == asked.len || endpoint.ptr[asked.len] == '/';
}

/* Of what waits, a status shows the position: no call for it is answered before that is right. */
static void answer_unfinished(struct queue *q, struct call *c, struct item *i) {
    if (!q->loads.whole && !i->started && c->kind == CALL_STATUS) {
        call_park(q, c);
        return;
    }
    struct queue_reply r = call_reply(q, i);
    if (c->kind == CALL_CANCEL) {
        cancel_item(q, i, c);
        return;
    }
    if (c->kind == CALL_RESULT) r.code = QUEUE_NOT_READY;
    if (c->logs && i->run != NULL) {
        r.logs = i->run->lines;
        r.nlogs = i->run->nlines;
    }
    call_answer(q, c, &r);
}

static void ask_store(struct queue *q, struct call *c) {
    unsigned parts = c->kind == CALL_RESULT ? STORE_RESULT : c->logs ? STORE_LOGS : 0;
    uint64_t ticket = ask(q, ASKED_GET, NULL, c);
    if (ticket == 0)
        call_answer_code(q, c, QUEUE_UNAVAILABLE);
    else
        q->o.store->backend->get(q->o.store, ticket, c->id, parts);
}

/* Refused; or taken while its position was not known yet. */
static void answer_submit(struct queue *q, struct call *c) {
    struct item *i = c->id[0] != '\0' ? table_find(&q->items, slice_of(c->id)) : NULL;
    if (i == NULL) {
        call_answer_code(q, c, c->refused);
        return;
    }
    struct queue_reply r = call_reply(q, i);
    call_answer(q, c, &r);
}

/* What memory says of it is so: nobody else can have it, and all that is asked for is here. A cancel finds out by itself. */
static bool known_here(const struct queue *q, const struct call *c, const struct item *i) {
    if (c->kind == CALL_CANCEL) return true;
    if (c->logs && i->started && (i->run == NULL || i->run->old_lines != LINES_HERE)) return false;
    return q->o.alone || (holds(i) && lease_sure(q));
}

static void run_call(struct queue *q, struct call *c) {
    if (c->kind == CALL_SUBMIT) {
        answer_submit(q, c);
        return;
    }
    struct item *i = c->id[0] != '\0' ? table_find(&q->items, slice_of(c->id)) : NULL;
    if (c->id[0] == '\0' || (i != NULL && !belongs(c, item_endpoint(i), item_owner(i))))
        call_answer_code(q, c, QUEUE_NOT_FOUND);
    else if (i != NULL && known_here(q, c, i))
        answer_unfinished(q, c, i);
    else
        ask_store(q, c);
}

/* Those that come while these are answered are for the next turn. */
void calls_run(struct queue *q) {
    struct call *c = q->calls, *next;
    struct queue_reply none = {.code = QUEUE_UNAVAILABLE, .id = ""};
    struct queue_done refusals[REFUSALS];
    size_t n = q->nrefusals;
    memcpy(refusals, q->refusals, n * sizeof *refusals);
    q->nrefusals = 0;
    q->calls = NULL;
    q->calls_tail = &q->calls;
    for (size_t k = 0; k < n; k++) refusals[k].done(refusals[k].user, refusals[k].ticket, &none);
    for (; c != NULL; c = next) {
        next = c->next;
        run_call(q, c);
    }
}

static void free_calls(struct call *c) {
    for (struct call *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
}

void calls_free(struct queue *q) {
    free_calls(q->calls);
    free_calls(q->parked);
}

/* --- what the store says: of requests that are not in memory, or of which it knows more */

static enum queue_code code_of_row(struct queue *q, const struct call *c,
                                   const struct store_row *row) {
    if (!belongs(c, row->endpoint, row->owner)) return QUEUE_NOT_FOUND;
    if (row->forget_ms != 0 && row->forget_ms <= steady_ms(q)) return QUEUE_NOT_FOUND;
    if (c->kind == CALL_CANCEL)
        return row->state == STORE_COMPLETED ? QUEUE_ALREADY_COMPLETED : QUEUE_OK;
    if (c->kind == CALL_RESULT && row->state != STORE_COMPLETED) return QUEUE_NOT_READY;
    return QUEUE_OK;
}

static void answer_row(struct queue *q, struct call *c, const struct store_reply *r,
                       struct queue_log *logs) {
    struct queue_reply reply = {.code = QUEUE_OK,
                                .id = r->row->id,
                                .endpoint = r->row->endpoint,
                                .state = r->row->state,
                                .logs = logs,
                                .nlogs = r->nlogs};
    reply.code = code_of_row(q, c, r->row);
    if (reply.code == QUEUE_NOT_FOUND) {
        call_answer_code(q, c, QUEUE_NOT_FOUND);
        return;
    }
    if (r->row->state == STORE_COMPLETED) reply.row = r->row;
    call_answer(q, c, &reply);
}

#define PARKED_MOST 8U /* a row that still is in no memory then: ask again later */

/* It waits, and not here: what others have left is loaded, then its position is known. A cancel of what is being loaded waits
 * too: a piece read before the mark would bring it in without. */
static bool park_unloaded(struct queue *q, struct call *c, const struct store_row *row) {
    bool waits = row->state == STORE_IN_QUEUE && c->kind != CALL_RESULT;
    bool marks = row->state == STORE_IN_PROGRESS && c->kind == CALL_CANCEL && q->loads.running;
    if ((!waits && !marks) || !belongs(c, row->endpoint, row->owner)) return false;
    if (c->parked >= PARKED_MOST) {
        call_answer_code(q, c, QUEUE_UNAVAILABLE);
        return true;
    }
    call_park(q, c);
    if (!marks && q->loads.whole) load_from(q, row->seq - 1);
    return true;
}

/* Memory and the row may each be older than the other. True when the call has been taken over. */
static bool meet_item(struct queue *q, struct call *c, struct item *i, struct store_row *row) {
    bool waits = !q->o.alone && (i->step == STEP_WAITING || i->step == STEP_LOST);
    if (known_here(q, c, i)) {
        answer_unfinished(q, c, i);
        return true;
    }
    if (q->o.alone && i->started) row->state = STORE_IN_PROGRESS; /* as others are told */
    if (waits && (row->state == STORE_COMPLETED || row->attempt > i->attempt)) {
        taken(q, i, "get");
        return false;
    }
    if (row->state == STORE_COMPLETED) return false;
    if (i->started) row->state = STORE_IN_PROGRESS;
    if (row->state == STORE_IN_PROGRESS && c->kind != CALL_CANCEL) return false;
    answer_unfinished(q, c, i);
    return true;
}

void get_answered(struct queue *q, struct ticket *t, const struct store_reply *found) {
    struct call *c = t->call;
    if (found->status != STORE_OK) {
        call_answer_code(q, c,
                         found->status == STORE_NOT_FOUND ? QUEUE_NOT_FOUND : QUEUE_UNAVAILABLE);
        return;
    }
    struct store_row row = *found->row;
    struct store_reply reply = *found, *r = &reply;
    struct item *i = table_find(&q->items, slice_of(row.id));
    r->row = &row;
    if (i != NULL && belongs(c, row.endpoint, row.owner) && meet_item(q, c, i, &row)) return;
    if (i == NULL && park_unloaded(q, c, &row)) return;
    struct queue_log *logs = malloc((r->nlogs + 1) * sizeof *logs);
    if (logs == NULL) {
        call_answer_code(q, c, QUEUE_UNAVAILABLE);
        return;
    }
    for (size_t k = 0; k < r->nlogs; k++)
        logs[k] = (struct queue_log){r->logs[k].at_ms, r->logs[k].level, r->logs[k].message};
    bool mark = c->kind == CALL_CANCEL && code_of_row(q, c, r->row) == QUEUE_OK;
    if (mark)
        ask_cancel(q, r->row->id,
                   c); /* unfinished, but not here: another node runs it, or we are starting */
    else
        answer_row(q, c, r, logs);
    free(logs);
}

/* --- the mark of a cancel */

/* The wish is in memory only: a promise as long as that is not about to go. */
enum queue_code cancel_kept(const struct queue *q) {
    return q->draining ? QUEUE_UNAVAILABLE : QUEUE_OK;
}

void ask_cancel(struct queue *q, const char *id, struct call *call) {
    uint64_t ticket = ask(q, ASKED_CANCEL, NULL, call);
    if (ticket == 0) {
        if (call != NULL) call_answer_code(q, call, cancel_kept(q));
        return;
    }
    struct ticket *t = slots_get(&q->tickets, ticket);
    memcpy(t->id, id, strlen(id) + 1);
    q->o.store->backend->request_cancel(q->o.store, ticket, t->id, wall_ms(q));
}

/* When the store could not write the mark, the request's own fate decides: still here, it will end as cancelled; gone, it
 * has ended, unless it was given back or others may have it. */
void cancel_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct item *i = table_find(&q->items, slice_of(t->id));
    enum queue_code code = QUEUE_OK;
    if (r->status == STORE_NOT_FOUND)
        code = QUEUE_NOT_FOUND;
    else if (r->status == STORE_OK)
        code = r->state == STORE_COMPLETED ? QUEUE_ALREADY_COMPLETED : QUEUE_OK;
    else if (i == NULL)
        code = q->o.alone && !q->draining ? QUEUE_ALREADY_COMPLETED : QUEUE_UNAVAILABLE;
    else
        code = cancel_kept(q);
    if (code == QUEUE_OK && i != NULL && !i->given) i->cancel_requested = true;
    if (t->call != NULL) call_answer_code(q, t->call, code);
}
