/* The rules of what begins: how often, when, in which order. */
#include "sim/rules.h"

#include <inttypes.h>

#define IN_FLIGHT \
    5U /* claims that may be under way when a request comes: the places of a pool, and one */

static void check_calls(struct server *v, struct row *r, const struct queue_job *job) {
    struct sim *s = v->sim;
    r->calls++;
    s->totals.calls++;
    RULE(s, CALLS, r->calls <= 1 + r->losses + r->retryable,
         "call %u of %s; %u leases were lost, %u failures allow another one", r->calls, TAIL(r),
         r->losses, r->retryable);
    RULE(s, NO_RETRY, !r->no_retry || r->calls == 1, "call %u of %s", r->calls, TAIL(r));
    RULE(s, POISON, r->crashes < QUEUE_MAX_CRASHES, "%s begins after %u crashes", TAIL(r),
         r->crashes);
    RULE(s, CALLS,
         job->attempt < sizeof r->attempt_call / sizeof *r->attempt_call &&
             r->attempt_call[job->attempt] == 0,
         "two calls of attempt %u of %s", job->attempt, TAIL(r));
    bool ours = !r->loose && r->holder == v->number && r->holder_boots == v->boots;
    RULE(s, LEASE_KEPT, ours || s->now_ms - r->lost_ms <= s->habits.lease_ms / 33,
         "%s begins %s, whose lease was lost %" PRIu64 " ms ago", v->name, TAIL(r),
         s->now_ms - r->lost_ms);
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        if (!c->active || c->row != r || c->run == job->run) continue;
        RULE(s, LEASE_KEPT, !disk_lives(s, c->boot) || c->cancelled || r->losses > 0,
             "%s runs at %s already", TAIL(r), c->boot);
    }
}

/* One that one more crash would quarantine runs beside no other such one. */
static void check_suspects(struct server *v, const struct row *r, const struct queue_job *job) {
    const struct sim *s = v->sim;
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        bool beside = c->active && !c->cancelled && c->server == v->number &&
                      c->boots == v->boots && c->run != job->run;
        RULE(v->sim, ONE_SUSPECT,
             !beside || r->crashes + 1 < QUEUE_MAX_CRASHES ||
                 c->row->crashes + 1 < QUEUE_MAX_CRASHES,
             "%s begins beside %s", TAIL(r), TAIL(c->row));
    }
}

static void check_time(struct server *v, const struct row *r, const struct queue_job *job) {
    struct sim *s = v->sim;
    uint64_t all_ms = (uint64_t)r->wishes.start_timeout_ms, gone_ms = s->now_ms - r->born_ms;
    RULE(s, START_TIMEOUT, all_ms == 0 || s->wall_jumped || less_drift(gone_ms) <= all_ms + 1500,
         "%s begins after %" PRIu64 " of %" PRIu64 " ms", TAIL(r), gone_ms, all_ms);
    uint64_t mono_ms = server_mono(v) - r->born_mono_ms;
    bool here = r->born_server == v->number && r->born_lives == v->lives;
    if (s->wall_jumped && s->habits.servers > 1)
        here = false; /* it may have come back from another */
    RULE(s, START_TIMEOUT, all_ms == 0 || !here || mono_ms < all_ms,
         "%s begins after %" PRIu64 " of %" PRIu64 " ms of its server", TAIL(r), mono_ms, all_ms);
    if (!r->by_retry || job->attempt < 2) return;
    const struct call *before = &s->calls[r->attempt_call[job->attempt - 1]];
    if (before == s->calls || before->retry_after_ms <= 0) return;
    uint64_t waited_ms = s->now_ms - before->end_ms;
    RULE(s, RETRY_AFTER, waited_ms + 1 >= less_drift((uint64_t)before->retry_after_ms),
         "attempt %u of %s begins after %" PRIu64 " of %lld ms", job->attempt, TAIL(r), waited_ms,
         (long long)before->retry_after_ms);
}

/* --- what has not begun by its deadline, and does not end */

#define SOON_MS 5000U /* a server that works has told its store by then … */

static void note_health(struct sim *s, struct server *v) {
    struct queue_stats t = {.loading = true};
    if (v->queue != NULL) queue_get_stats(v->queue, &t);
    bool well = v->life == UP && v->frozen_until_ms <= s->now_ms && v->cut_until_ms <= s->now_ms &&
                v->tired_ms == 0 && !t.loading;
    if (well && (v->well_ms == NEVER || v->well_lives != v->lives)) v->well_ms = s->now_ms;
    if (!well) v->well_ms = NEVER;
    v->well_lives = v->lives;
}

static bool on_its_way(const struct server *v, const struct row *r) {
    for (const struct op *op = v->ops[0].given; op != NULL; op = op->next)
        if (strcmp(op->id, r->id) == 0) return true;
    for (const struct op *op = v->ops[0].applied; op != NULL; op = op->next)
        if (strcmp(op->id, r->id) == 0) return true;
    return false;
}

/* Who has it in memory for certain: NULL when that is nobody, or when others than the one server may have it. */
static const struct server *keeper(const struct sim *s, const struct row *r) {
    if (s->habits.servers == 1) return &s->servers[0];
    const struct server *holder = &s->servers[r->holder], *maker = &s->servers[r->born_server];
    if (r->state == STORE_IN_PROGRESS)
        return !r->loose && holder->boots == r->holder_boots ? holder : NULL;
    return maker->lives == r->born_lives ? maker : NULL;
}

static bool runs(const struct sim *s, const struct row *r) {
    for (size_t k = s->first_call; k < s->ncalls; k++)
        if (s->calls[k].active && s->calls[k].row == r) return true;
    return false;
}

static void check_overdue(struct sim *s, const struct row *r) {
    uint64_t all_ms = (uint64_t)r->wishes.start_timeout_ms, gone_ms = s->now_ms - r->born_ms;
    if (all_ms == 0 || r->state == STORE_COMPLETED || less_drift(gone_ms) <= all_ms + SOON_MS)
        return;
    const struct server *v = keeper(s, r);
    if (v == NULL || v->well_ms == NEVER || s->now_ms - v->well_ms <= SOON_MS) return;
    if (s->now_ms - r->touched_ms <= SOON_MS || runs(s, r) || on_its_way(v, r)) return;
    RULE(s, START_TIMEOUT, false,
         "%s is in state %d, attempt %u, after %" PRIu64 " of %" PRIu64 " ms, and %s is well",
         TAIL(r), (int)r->state, r->attempt, gone_ms, all_ms, v->name);
}

void rules_overdue(struct sim *s) {
    for (unsigned k = 0; k < s->habits.servers; k++) note_health(s, &s->servers[k]);
    for (size_t k = 0; k < s->nrows && !s->wall_jumped; k++) check_overdue(s, s->rows[k]);
}

static void check_places(struct server *v, const struct row *r) {
    struct sim *s = v->sim;
    unsigned n = 0;
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        n += c->active && !c->cancelled && c->server == v->number && c->boots == v->boots &&
             strcmp(c->row->owner, r->owner) == 0;
    }
    if (r->wishes.owner_concurrency > 0 && r->attempt == 1 &&
        s->habits.servers == 1) /* others leave more */
        RULE(s, PLACES, n <= 2, "%u of %s run at %s", n, r->owner, v->name);
}

/* `r` leaves the queue, `w` goes on waiting in it. */
static void check_passed(struct server *v, const struct row *r, struct row *w) {
    struct sim *s = v->sim;
    unsigned owner = (unsigned)(r->owner[1] - '0');
    /* Not where others begin some, where room comes to an owner, or when it may be ending. */
    bool counted = s->habits.servers == 1 && s->habits.limited == 0 &&
                   w->wishes.start_timeout_ms == 0 && w->cancel_at == 0 && !w->watched &&
                   !w->put_back;
    if (counted && r->accept <= w->at[v->number].since && w->at[v->number].position != NEVER)
        RULE(s, POSITION_TRUE, ++w->at[v->number].before <= w->at[v->number].position,
             "%s (%s, %d) had position %" PRIu64 " and now sees %s (%s, %d) begin", TAIL(w),
             w->owner, w->priority, w->at[v->number].position, TAIL(r), r->owner, r->priority);
    bool ending = w->cancel_at != 0 || w->cancel_requested || w->wishes.start_timeout_ms > 0;
    if (ending || w->at[v->number].rank == 0 || w->wishes.owner_concurrency > 0) return;
    if (r->priority > w->priority)
        RULE(s, FAIR, ++w->at[v->number].cheaper <= IN_FLIGHT, "%s waits for cheaper ones",
             TAIL(w));
    else if (r->priority == w->priority && strcmp(r->owner, w->owner) != 0)
        RULE(s, FAIR, ++w->at[v->number].overtaken[owner] <= w->at[v->number].rank + 2 + IN_FLIGHT,
             "%s, number %u of %s, waits for %u of %s", TAIL(w), w->at[v->number].rank, w->owner,
             w->at[v->number].overtaken[owner], r->owner);
}

void rules_started(struct server *v, struct row *r, const struct queue_job *job) {
    check_calls(v, r, job);
    check_suspects(v, r, job);
    check_time(v, r, job);
    check_places(v, r);
}

void rules_leased(struct server *v, const struct row *r) {
    const struct sim *s = v->sim;
    for (size_t k = 0; k < s->nrows; k++) {
        struct row *w = s->rows[k];
        if (w != r && w->state == STORE_IN_QUEUE && w->at[v->number].lives == v->lives &&
            pool_of_row(w) == pool_of_row(r))
            check_passed(v, r, w);
    }
}

/* All of an earlier life are told to end before another one begins. */
void rules_given_up(struct server *v) {
    const struct sim *s = v->sim;
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        bool here = c->active && c->server == v->number && c->boots == v->boots;
        RULE(v->sim, ZOMBIE, !here || c->cancelled,
             "call %zu of %s goes on after its lease was lost", k, v->name);
    }
}

void rules_cancel_arrived(struct server *v, const struct row *r) {
    const struct sim *s = v->sim;
    for (size_t k = s->first_call; k < s->ncalls; k++) {
        const struct call *c = &s->calls[k];
        if (!c->active || c->row != r || c->server != v->number || c->boots != v->boots) continue;
        RULE(v->sim, CANCEL_ARRIVES, c->cancelled, "call %zu of %s goes on", k, TAIL(r));
    }
}
