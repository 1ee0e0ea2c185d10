/* Submits, and those that come again.
 *
 * A submit with an idempotency key is given to the store like another; the store alone knows whether it was there before, in
 * the same transaction that would write it, so that of copies that come at once one is the first. A repeat becomes the call
 * for the status of the first request. Where no more may wait the store is only asked. */
#include "queue/inside.h"

#include "base/broken.h"

#include <stdlib.h>

static size_t waiting(const struct queue *q) {
    return q->at[STEP_NEW] + q->at[STEP_WAITING] + q->at[STEP_CLAIMING];
}

/* The limits of server and owner count the new one; the caller's means "not when it is longer than this". */
static enum queue_code may_submit(const struct queue *q, const struct queue_submit *in,
                                  const struct owner *o) {
    size_t n = waiting(q);
    if (!q->started || q->draining || !q->stats.can_write) return QUEUE_UNAVAILABLE;
    if (q->o.max_queue_length > 0 && n >= q->o.max_queue_length) return QUEUE_FULL;
    if (in->owner_queue_length > 0 && o != NULL && o->queued >= in->owner_queue_length)
        return QUEUE_FULL;
    return in->max_queue_length > 0 && n > in->max_queue_length ? QUEUE_FULL : QUEUE_OK;
}

static uint64_t start_timeout(const struct queue_submit *in) {
    uint64_t cap = QUEUE_START_TIMEOUT_CAP_MS;
    return in->start_timeout_ms < cap ? in->start_timeout_ms : cap;
}

static int32_t retries(int told) {
    int most = QUEUE_MAX_ATTEMPTS;
    return told < 0 ? -1 : told < most ? told : most;
}

static struct store_wishes wishes_of(const struct queue_submit *in) {
    uint64_t limit = in->owner_concurrency;
    return (struct store_wishes){.start_timeout_ms = (int64_t)start_timeout(in),
                                 .no_store = in->no_store,
                                 .no_fallback = in->no_fallback,
                                 .retries_server_error = retries(in->retries_server_error),
                                 .retries_timeout = retries(in->retries_timeout),
                                 .retries_connection_error = retries(in->retries_connection_error),
                                 .owner_concurrency = limit < UINT32_MAX ? (int64_t)limit : 0};
}

static struct item *new_item(struct queue *q, const struct queue_submit *in) {
    char id[UUID_BYTES];
    /* Ids that grow with time are neighbours in the store\'s index; random ones cost a page of it for each request
     * (measured: half the cycles per second at a hundred under way). */
    random_uuid7(q->o.random, wall_ms(q), id);
    const struct queue_place where = {in->endpoint, in->model, in->no_fallback};
    struct item *i = item_new(id, in->endpoint);
    if (i == NULL) return NULL;
    item_born(q, i);
    i->priority = in->priority < 0           ? 0
                  : in->priority > UINT8_MAX ? UINT8_MAX
                                             : (uint8_t)in->priority;
    if (!item_join(q, i, in->owner, &where) ||
        (in->start_timeout_ms > 0 && !start_by(q, i, start_timeout(in)))) {
        item_free(q, i);
        return NULL;
    }
    owner_limit(q, i->line->owner, in->owner_concurrency);
    i->no_retry = in->no_retry;
    i->no_store = in->no_store;
    i->has_webhook = in->webhook.len > 0;
    return i;
}

static void give_submit(struct queue *q, uint64_t ticket, struct item *i,
                        const struct queue_submit *in) {
    int64_t now = steady_ms(q); /* a jump of the clock makes no repeat a first */
    struct store_submit row = {.id = i != NULL ? i->id : "",
                               .endpoint = in->endpoint,
                               .owner = in->owner,
                               .input = in->input,
                               .webhook = in->webhook,
                               .priority = i != NULL ? i->priority : 0,
                               .no_retry = in->no_retry,
                               .created_ms = wall_ms(q),
                               .wishes = wishes_of(in),
                               .hint = in->hint,
                               .tags = in->tags,
                               .key_id = in->key_id,
                               .model = in->model,
                               .idempotency_key = in->idempotency_key,
                               .now_ms = now,
                               .idempotency_until_ms = now + QUEUE_IDEMPOTENCY_MS,
                               .only_known = i == NULL};
    memcpy(row.body_hash, in->body_hash, sizeof row.body_hash);
    if (i != NULL) {
        struct ticket *t = slots_get(&q->tickets, ticket);
        t->item = i;
        q->at[STEP_NEW]++;
        owner_counts(q, i);
    }
    q->o.store->backend->submit(q->o.store, ticket, &row);
}

/* `refused`: what it is answered when it is no repeat. False: no memory. */
static bool ask_known(struct queue *q, const struct queue_submit *in, struct call *c) {
    uint64_t ticket = ask(q, ASKED_SUBMIT, NULL, c);
    if (ticket != 0) give_submit(q, ticket, NULL, in);
    return ticket != 0;
}

static void nobody(void *user, uint64_t ticket, const struct queue_reply *r) {
}

/* A fault on purpose: the caller hears that it is taken while the store has only been told to. */
static void answer_early(struct queue *q, uint64_t ticket) {
    struct ticket *t = slots_get(&q->tickets, ticket);
    struct call *early = t->call, *later = call_new(SLICE(""), SLICE(""));
    if (later == NULL) return;
    later->kind = CALL_SUBMIT;
    later->done.done = nobody;
    t->call = later;
    memcpy(early->id, t->item->id, sizeof early->id);
    call_keep(q, early);
}

static bool take_new(struct queue *q, const struct queue_submit *in, struct call *c) {
    struct item *i = new_item(q, in);
    uint64_t ticket = i != NULL ? ask(q, ASKED_SUBMIT, i, c) : 0;
    if (ticket != 0)
        give_submit(q, ticket, i, in);
    else if (i != NULL)
        item_free(q, i);
    if (ticket != 0 && broken(BROKEN_ANSWER_BEFORE_COMMIT)) answer_early(q, ticket);
    return ticket != 0;
}

void queue_submit(struct queue *q, const struct queue_submit *in, struct queue_done d) {
    struct owner *o = owner_find(q, in->owner);
    if (o != NULL) owner_limit(q, o, in->owner_concurrency);
    bool keyed = in->idempotency_key.len > 0;
    struct call *c = keyed ? call_new(in->endpoint, in->owner) : call_new(SLICE(""), SLICE(""));
    if (c == NULL) {
        call_refuse(q, d);
        return;
    }
    c->kind = CALL_SUBMIT;
    c->done = d;
    c->refused = may_submit(q, in, o);
    if (c->refused == QUEUE_OK) {
        if (take_new(q, in, c)) return;
        c->refused = QUEUE_UNAVAILABLE;
    } else if (c->refused == QUEUE_FULL && keyed && ask_known(q, in, c)) {
        return;
    }
    call_keep(q, c);
}

static void drop_new(struct queue *q, struct item *i) {
    if (i == NULL) return;
    q->at[STEP_NEW]--;
    owner_leaves(q, i);
    item_free(q, i);
    soon(q);
}

/* The store did not take it. */
static void not_taken(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct call *c = t->call;
    drop_new(q, t->item);
    t->item = NULL;
    if (r->status == STORE_KNOWN && r->same_body) {
        q->stats.again++;
        c->kind = CALL_STATUS;
        c->again = true;
        memcpy(c->id, r->row->id, sizeof c->id);
        call_keep(q, c);
    } else if (r->status == STORE_KNOWN) {
        call_answer_code(q, c, QUEUE_OTHER_BODY);
    } else if (r->status == STORE_NOT_FOUND) {
        call_answer_code(q, c, c->refused);
    } else {
        if (log_allow(&q->refused_log, 5))
            log_request(LOG_WARN, t->id, "submit_refused", "store=\"%s\"",
                        store_status_name(r->status));
        call_answer_code(q, c, QUEUE_UNAVAILABLE);
    }
}

/* It came with what others left, before its submit was answered: its deadline is better known here. */
static void take_deadline(struct queue *q, struct item *loaded, const struct item *i) {
    if (loaded->deadline_at == 0 || i->deadline_ms >= loaded->deadline_ms) return;
    deadlines_remove(&q->deadlines, loaded);
    loaded->deadline_ms = i->deadline_ms;
    deadlines_add(&q->deadlines, loaded); /* there is room: one has just gone */
}

static void enter(struct queue *q, struct item *i) {
    table_add(&q->items, i);
    wait_in_order(q, i);
}

static void answer_taken(struct queue *q, struct call *c, struct item *i) {
    if (c->endpoint_len > 0) sweep_later(q); /* its idempotency key is kept for a day */
    memcpy(c->id, i->id, sizeof c->id);
    if (!q->loads.whole) {
        call_park(q, c);
        return;
    }
    struct queue_reply reply = call_reply(q, i);
    call_answer(q, c, &reply); /* first: an end that finds no memory may free the request */
    if (i->timed_out && i->step == STEP_WAITING) {
        leave_order(q, i);
        end_waiting(q, i, VERDICT_LATE, NULL);
    }
}

/* NEW -> WAITING: durable, so known. */
void submit_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct item *i = t->item;
    if (r->status != STORE_OK || i == NULL) {
        not_taken(q, t, r);
        return;
    }
    t->item = NULL;
    i->seq = r->seq;
    struct item *loaded = table_find(&q->items, slice_of(i->id));
    if (loaded != NULL) {
        take_deadline(q, loaded, i);
        drop_new(q, i);
    } else {
        enter(q, i);
    }
    q->stats.submitted++;
    answer_taken(q, t->call, loaded != NULL ? loaded : i);
}
