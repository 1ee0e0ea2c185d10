/* What is unfinished in the store comes into memory, in pieces: all of it at the start, later what others have left.
 *
 *   queue_start: join -> first piece -> ready: submits are taken -> … -> last piece: runs begin, positions are shown
 *
 * A row that a living server holds is that server's. Two servers may have the same waiting row in memory: the claim's guard
 * decides, and whoever loses forgets it. Until the first pass is over no position is right, so who asks for one waits;
 * as does who asks for what the store has in its queue and no memory holds. A piece that fails is asked for again. */
#include "queue/inside.h"

#include "base/log.h"

#include <stdlib.h>

#define RELOAD_LEASES 10U /* so often all is looked through: whatever nobody holds is found */

/* --- one row */

/* The clock of a start timeout goes on while no server runs, by the wall clock: nothing else outlives a process. When that
 * was set back meanwhile, or says more than any timeout, it is not believed and the time begins anew. */
static bool load_deadline(struct queue *q, struct item *i, const struct store_pending *p) {
    int64_t all = p->wishes.start_timeout_ms, gone = wall_ms(q) - p->created_ms;
    if (all <= 0) return true;
    if (gone < 0 || gone > QUEUE_START_TIMEOUT_CAP_MS) gone = 0;
    return start_by(q, i, gone < all ? (uint64_t)(all - gone) : 0);
}

static struct item *item_of(struct queue *q, const struct store_pending *p) {
    const struct queue_place where = {p->endpoint, p->model, p->wishes.no_fallback};
    struct item *i = item_new(p->id, p->endpoint);
    if (i == NULL) return NULL;
    item_born(q, i);
    i->priority = (uint8_t)p->priority;
    if (!item_join(q, i, p->owner, &where) || !load_deadline(q, i, p)) {
        item_free(q, i);
        return NULL;
    }
    i->seq = p->seq;
    i->attempt = p->attempt;
    i->no_retry = p->no_retry;
    i->no_store = p->wishes.no_store;
    i->has_webhook = p->has_webhook;
    i->started = p->state == STORE_IN_PROGRESS;
    item_dates(q, i, p->created_ms, p->started_ms);
    return i;
}

/* How often the server ended while it ran, the present loss included. */
static uint32_t losses(const struct store_pending *p) {
    return p->crashes + (p->state == STORE_IN_PROGRESS && !p->released);
}

/* LOST, WAITING, or at its end: what was cancelled; what ran and must not run twice; what has crashed us enough. */
static void place(struct queue *q, struct item *i, const struct store_pending *p) {
    if (p->cancel_requested) {
        i->cancel_requested = true;
        end_waiting(q, i, VERDICT_CANCELLED, NULL);
    } else if (i->started && p->no_retry) {
        end_waiting(q, i, VERDICT_LOST, NULL);
    } else if (i->started && !p->released && losses(p) >= QUEUE_MAX_CRASHES) {
        log_request(LOG_ERROR, i->id, "queue_poison", "crashes=%u", losses(p));
        end_waiting(q, i, VERDICT_POISON, NULL);
    } else {
        i->suspect = i->started && losses(p) + 1 >= QUEUE_MAX_CRASHES;
        wait_in_order(q, i);
    }
}

/* What memory has of a row that waits, here or for somebody to take it up, may be older than the row. */
static bool outdated(const struct item *i, const struct store_pending *p) {
    bool waits = i->step == STEP_WAITING || i->step == STEP_LOST;
    return waits && (p->attempt > i->attempt || p->held);
}

/* False: no memory. */
static bool load(struct queue *q, const struct store_pending *p) {
    struct item *i = table_find(&q->items, slice_of(p->id));
    if (i != NULL && outdated(i, p)) {
        taken(q, i, "load");
        i = NULL;
    }
    if (i != NULL && i->step == STEP_WAITING && p->cancel_requested) {
        leave_order(q, i);
        place(q, i, p);
    }
    if (i != NULL || p->held) return true;
    i = item_of(q, p);
    if (i == NULL) return false;
    q->at[STEP_NEW]++;
    table_add(&q->items, i);
    owner_limit(q, i->line->owner,
                (uint64_t)p->wishes.owner_concurrency); /* the latest one's stays */
    owner_counts(q, i);
    place(q, i, p);
    return true;
}

/* --- what left memory meanwhile */

static int by_seq(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void load_left(struct queue *q, uint64_t seq) {
    struct loads *l = &q->loads;
    if (!l->running) return;
    if (l->nleft == l->room) {
        size_t room = l->room == 0 ? 64 : l->room * 2;
        uint64_t *left = realloc(l->left, room * sizeof *left);
        l->left_more = left == NULL;
        if (left == NULL) return;
        l->left = left;
        l->room = room;
    }
    l->left[l->nleft++] = seq;
}

static bool has_left(const struct loads *l, size_t n, uint64_t seq) {
    return n > 0 && bsearch(&seq, l->left, n, sizeof seq, by_seq) != NULL;
}

/* --- pieces */

static void ask_piece(struct queue *q) {
    struct loads *l = &q->loads;
    l->nleft = 0;
    l->left_more = false;
    uint64_t ticket = ask(q, ASKED_PENDING, NULL, NULL);
    l->due_ms = ticket != 0 ? UINT64_MAX : now_ms(q) + QUEUE_STORE_RETRY_MS;
    if (ticket == 0) {
        load_failed(q);
        return;
    }
    q->o.store->backend->pending(q->o.store, ticket, l->after, QUEUE_LOAD_ROWS);
}

/* All with seq > after that is not in memory. One pass at a time; what a new one wants is done when it is over. */
void load_from(struct queue *q, uint64_t after) {
    struct loads *l = &q->loads;
    if (l->running) {
        if (!l->again || after < l->again_after) l->again_after = after;
        l->again = true;
        return;
    }
    l->running = true;
    l->after = after;
    if (after == 0) l->full_due_ms = now_ms(q) + RELOAD_LEASES * q->leases.lease_ms;
    ask_piece(q);
}

/* Another life begins: what is still on its way was asked by the one before. */
void load_stop(struct queue *q) {
    q->loads.running = q->loads.again = false;
    q->loads.due_ms = UINT64_MAX;
}

static void tell_ready(struct queue *q, bool ok) {
    void (*ready)(void *user, bool ok) = q->ready;
    if (ready == NULL) return;
    q->ready = NULL;
    q->started = ok;
    ready(q->ready_user, ok);
}

/* Before anybody was told that we are ready it ends the start; later it is tried again. */
void load_failed(struct queue *q) {
    tell_ready(q, false);
    soon(q);
}

static void pass_over(struct queue *q) {
    struct loads *l = &q->loads;
    l->running = false;
    if (!l->whole) {
        l->whole = q->moved = true; /* now there are positions */
        limits_run(q, now_ms(q));
        q->sweep_due_ms = now_ms(q);
        retain_begin(q);
    }
    calls_unpark(q);
    watch_found(q);
    if (!l->again) return;
    l->again = false;
    load_from(q, l->again_after);
}

/* False: no memory; what came before is in. */
static bool load_rows(struct queue *q, const struct store_pending *rows, size_t n) {
    struct loads *l = &q->loads;
    size_t left = l->nleft;
    if (left > 0) qsort(l->left, left, sizeof *l->left, by_seq);
    for (size_t k = 0; k < n; k++) {
        if (!has_left(l, left, rows[k].seq) && !load(q, &rows[k])) return false;
        l->after = rows[k].seq;
    }
    return true;
}

void pending_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct loads *l = &q->loads;
    if (t->epoch != q->epoch || !l->running) return;
    if (r->status != STORE_OK || l->left_more || !load_rows(q, r->pending, r->npending)) {
        l->due_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
        load_failed(q);
        return;
    }
    if (r->more)
        ask_piece(q);
    else
        pass_over(q);
    tell_ready(q, true);
    soon(q);
}

/* When there is something due again. */
uint64_t loads_tick(struct queue *q, uint64_t now) {
    if (q->loads.running && q->loads.due_ms <= now) ask_piece(q);
    return q->loads.running ? q->loads.due_ms : UINT64_MAX;
}

void queue_start(struct queue *q, void (*ready)(void *user, bool ok), void *user) {
    q->ready = ready;
    q->ready_user = user;
    q->loads.due_ms = UINT64_MAX;
    leases_join(q);
    if (q->leases.life == LIFE_OUT) load_failed(q); /* memory is short before anything began */
}
