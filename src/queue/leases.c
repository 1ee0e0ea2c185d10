/* Who lives. Nobody compares clocks: each server shows that it lives by beats, which the store counts; another one that
 * has looked at the same beat for a whole lease of its own clock buries it, and then what it held may be claimed.
 *
 *   OUT --join--> JOINING --answered--> IN --drained--> LEAVING --answered--> LEFT
 *    ^               |failed            |
 *    +---------------+------------------+ our beat is STALE: we were buried. All that ran is given up, nothing more of
 *                                         it is written; with a new boot it begins again.
 *
 *  a. Nobody can have buried us within a lease of the last beat that was answered, counted from when it was given: until
 *     then memory is right about what we hold, and runs may begin (lease_sure).
 *  b. A look counts for no more than two looks' distance, and from the answer of the one before to its own question: if we
 *     stood still, or all of us did, nobody is buried for it.
 *  c. All writes of a life are answered before its successor's join is: what is loaded then has seen them.
 *  d. Of a server that nobody else can stand beside (options.alone) neither beats nor looks are needed. */
#include "queue/inside.h"

#include "base/broken.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t or_default(uint64_t told, uint64_t otherwise) {
    return told != 0 ? told : otherwise;
}

void leases_init(struct queue *q) {
    struct leases *l = &q->leases;
    l->lease_ms = or_default(q->o.lease_ms, QUEUE_LEASE_MS);
    l->heartbeat_ms = or_default(q->o.heartbeat_ms, QUEUE_HEARTBEAT_MS);
    l->scan_ms = or_default(q->o.scan_ms, QUEUE_SCAN_MS);
    l->join_due_ms = l->beat_due_ms = l->look_due_ms = UINT64_MAX;
    snprintf(l->boot, sizeof l->boot, "%s", q->o.boot);
}

void leases_free(struct queue *q) {
    free(q->leases.others);
}

/* --- join and leave */

void leases_join(struct queue *q) {
    struct leases *l = &q->leases;
    uint64_t ticket = ask(q, ASKED_JOIN, NULL, NULL);
    l->given_ms = now_ms(q);
    l->join_due_ms = ticket != 0 ? UINT64_MAX : l->given_ms + QUEUE_STORE_RETRY_MS;
    if (ticket == 0) return;
    l->life = LIFE_JOINING;
    q->o.store->backend->join(q->o.store, ticket, q->o.node, l->boot, q->o.alone, wall_ms(q));
}

static void lives_until(struct queue *q, uint64_t given_ms) {
    struct leases *l = &q->leases;
    l->sure_until_ms = given_ms + l->lease_ms;
    l->beat_due_ms = q->o.alone ? UINT64_MAX : given_ms + l->heartbeat_ms;
}

void join_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct leases *l = &q->leases;
    if (r->status != STORE_OK) {
        l->life = LIFE_OUT;
        l->join_due_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
        load_failed(q);
        return;
    }
    l->life = LIFE_IN;
    lives_until(q, l->given_ms);
    l->look_due_ms = q->o.alone ? UINT64_MAX : now_ms(q);
    if (q->epoch > 0 && q->o.on_lost != NULL) q->o.on_lost(q->o.lost_user, l->lost);
    l->lost = 0;
    load_from(q, 0);
    soon(q);
}

/* The end of a drain: what is left waiting is anybody's from now on. True when there is nothing more to wait for. */
bool leases_left(struct queue *q) {
    struct leases *l = &q->leases;
    if (l->life == LIFE_OUT || l->life == LIFE_LEFT) return true;
    if (l->life != LIFE_IN) return false;
    uint64_t ticket = ask(q, ASKED_LEAVE, NULL, NULL);
    l->life = ticket != 0 ? LIFE_LEAVING : LIFE_LEFT;
    if (ticket == 0) return true; /* the next start, or another server, buries us */
    q->o.store->backend->leave(q->o.store, ticket, l->boot);
    return false;
}

void leave_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    q->leases.life = LIFE_LEFT;
    soon(q);
}

/* --- our own beat */

static void beat(struct queue *q, uint64_t now) {
    struct leases *l = &q->leases;
    uint64_t ticket = ask(q, ASKED_BEAT, NULL, NULL);
    l->beat_due_ms = ticket != 0 ? UINT64_MAX : now + QUEUE_STORE_RETRY_MS;
    l->given_ms = now;
    if (ticket != 0) q->o.store->backend->beat(q->o.store, ticket, l->boot, wall_ms(q));
}

/* Something says that we may have been buried: the beat will tell. */
void leases_doubt(struct queue *q) {
    struct leases *l = &q->leases;
    if (l->life != LIFE_IN || l->beat_due_ms == UINT64_MAX) return;
    l->beat_due_ms = now_ms(q);
    soon(q);
}

/* What holds a lease is given up; what waits for an answer of the store learns from that how it stands. */
static void lose_run(struct queue *q, struct run *r) {
    struct item *i = r->item;
    uint64_t id = r->id;
    bool told = r->told;
    enum step step = (enum step)i->step;
    if (step == STEP_READY || step == STEP_HELD) leave_order(q, i);
    log_request(LOG_WARN, i->id, "queue_lost", "attempt=%u token=%016llx", i->attempt,
                (unsigned long long)r->token);
    q->stats.lost_leases++;
    q->leases.lost++;
    pass_on_cancel(q, i);
    forget(q, i); /* with the run's id: what the runner still says is dropped */
    if (step == STEP_RUNNING && !told) q->o.runner.cancel(q->o.runner.user, id);
}

static void lose_all(struct queue *q) {
    struct leases *l = &q->leases;
    char before[STORE_ID_BYTES];
    memcpy(before, l->boot, sizeof before);
    q->epoch++;
    random_uuid(q->o.random, l->boot); /* what the old one held is not held by the new one */
    l->life = LIFE_OUT;
    l->beat_due_ms = l->look_due_ms = UINT64_MAX;
    l->nothers = 0;
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        next = r->next;
        if (holds(r->item) && !broken(BROKEN_LATE_WRITE)) lose_run(q, r);
    }
    log_line(LOG_ERROR, "queue_buried", "boot=%s runs=%zu boot_now=%s", before, l->lost, l->boot);
    load_stop(q);
    if (!q->draining) leases_join(q);
    soon(q);
}

void beat_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct leases *l = &q->leases;
    if (l->life != LIFE_IN) return;
    if (store_failed(r)) {
        l->beat_due_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
    } else if (r->status != STORE_OK) {
        lose_all(q);
    } else {
        lives_until(q, l->given_ms);
        for (size_t k = 0; k < r->npending; k++) {
            struct item *i = table_find(&q->items, slice_of(r->pending[k].id));
            if (i != NULL) cancel_marked(q, i);
        }
    }
    soon(q);
}

/* --- the others */

static struct other *other_of(struct leases *l, const char *boot) {
    for (size_t k = 0; k < l->nothers; k++)
        if (strcmp(l->others[k].boot, boot) == 0) return &l->others[k];
    return NULL;
}

static struct other *meet(struct leases *l, const struct store_node *n) {
    if (l->nothers == l->room) {
        size_t room = l->room == 0 ? 8 : l->room * 2;
        struct other *others = realloc(l->others, room * sizeof *others);
        if (others == NULL) return NULL; /* met at the next look */
        l->others = others;
        l->room = room;
    }
    struct other *o = &l->others[l->nothers++];
    *o = (struct other){.beat = n->beat};
    memcpy(o->boot, n->boot, sizeof o->boot);
    return o;
}

static void bury(struct queue *q, const struct other *o) {
    uint64_t ticket = ask(q, ASKED_BURY, NULL, NULL);
    if (ticket == 0) return;
    struct ticket *t = slots_get(&q->tickets, ticket);
    memcpy(t->id, o->boot, sizeof t->id);
    q->o.store->backend->bury(q->o.store, ticket, o->boot, o->beat);
}

static void look_at(struct queue *q, const struct store_node *n, uint64_t counted_ms) {
    struct leases *l = &q->leases;
    struct other *o = other_of(l, n->boot);
    bool met = o != NULL;
    if (!met) o = meet(l, n);
    if (o == NULL) return;
    o->lives = true;
    o->still_ms = met && o->beat == n->beat ? o->still_ms + counted_ms : 0;
    o->beat = n->beat;
    if (o->still_ms >= l->lease_ms || broken(BROKEN_NO_LEASE_CHECK)) bury(q, o);
}

/* Whoever is gone, buried by whomever or in good order, may have left what nobody holds. */
static bool drop_gone(struct leases *l) {
    size_t kept = 0, before = l->nothers;
    for (size_t k = 0; k < before; k++) {
        if (!l->others[k].lives) continue;
        l->others[kept] = l->others[k];
        l->others[kept++].lives = false;
    }
    l->nothers = kept;
    return kept < before;
}

static void look(struct queue *q, uint64_t now) {
    struct leases *l = &q->leases;
    uint64_t ticket = ask(q, ASKED_NODES, NULL, NULL);
    l->look_due_ms = ticket != 0 ? UINT64_MAX : now + l->scan_ms;
    l->look_given_ms = now;
    if (ticket != 0) q->o.store->backend->nodes(q->o.store, ticket);
}

void nodes_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct leases *l = &q->leases;
    uint64_t now = now_ms(q), counted = l->look_given_ms - l->looked_ms;
    bool here = false;
    if (l->life != LIFE_IN || t->epoch != q->epoch) return;
    l->look_due_ms = now + l->scan_ms;
    at_latest(q, l->look_due_ms);
    if (r->status != STORE_OK) return;
    if (counted > 2 * l->scan_ms) counted = 2 * l->scan_ms;
    l->looked_ms = now;
    for (size_t k = 0; k < r->nliving; k++) {
        bool us = strcmp(r->living[k].boot, l->boot) == 0;
        here = here || us;
        if (!us) look_at(q, &r->living[k], counted);
    }
    if (!here) leases_doubt(q);
    bool gone = drop_gone(l);
    if (gone || now >= q->loads.full_due_ms) load_from(q, 0);
    watch_elsewhere(q);
}

void bury_answered(struct queue *q, struct ticket *t, const struct store_reply *r) {
    if (r->status != STORE_OK)
        return; /* it beat again, or another one was first: the next look tells */
    q->stats.buried++;
    log_line(LOG_WARN, "queue_bury", "boot=%s", t->id);
    struct other *o = other_of(&q->leases, t->id);
    if (o != NULL) *o = q->leases.others[--q->leases.nothers];
    if (q->leases.life == LIFE_IN && t->epoch == q->epoch) load_from(q, 0);
}

/* --- due work: when there is some again */

uint64_t leases_tick(struct queue *q, uint64_t now) {
    struct leases *l = &q->leases;
    uint64_t due = UINT64_MAX;
    if (l->life == LIFE_OUT && l->join_due_ms <= now && !q->draining) leases_join(q);
    if (l->life == LIFE_IN && l->beat_due_ms <= now) beat(q, now);
    if (l->life == LIFE_IN && l->look_due_ms <= now && !q->draining) look(q, now);
    if (l->life == LIFE_OUT && !q->draining) due = l->join_due_ms;
    if (l->life != LIFE_IN) return due;
    if (l->beat_due_ms < due) due = l->beat_due_ms;
    if (l->look_due_ms < due && !q->draining) due = l->look_due_ms;
    return due;
}
