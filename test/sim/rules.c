#include "sim/rules.h"

#include <inttypes.h>

const char *rules_must_find;
jmp_buf rules_next_seed;

static const char *const names[RULE_COUNT] = {
#define X(name, text) [RULE_##name] = #name,
    RULES(X)
#undef X
};

bool rules_known(const char *name) {
    for (size_t k = RULE_NONE + 1; k < RULE_COUNT; k++)
        if (strcmp(names[k], name) == 0) return true;
    return false;
}

void rule_broken(struct sim *s, enum rule which, const char *fmt, ...) {
    static const char *const texts[RULE_COUNT] = {
#define X(name, text) [RULE_##name] = text,
        RULES(X)
#undef X
    };
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (rules_must_find != NULL) {
        bool wanted = strcmp(names[which], rules_must_find) == 0;
        printf("%s at seed %" PRIu64 ", step %u: rule %d, %s: %s: %s\n",
               wanted ? "found" : "another rule is broken", s->seed, s->step, (int)which,
               names[which], texts[which], what);
        fflush(stdout);
        if (wanted) _Exit(0);
        longjmp(rules_next_seed, 1);
    }
    unsigned from = s->traced > TRACE_LINES ? s->traced - TRACE_LINES : 0;
    for (unsigned k = from; k < s->traced && !s->verbose; k++)
        fprintf(told, "%s\n", s->trace[k % TRACE_LINES]);
    fprintf(told, "seed %" PRIu64 ", step %u, rule %d is broken: %s\n  %s\n", s->seed, s->step,
            (int)which, texts[which], what);
    fprintf(told, "again: make sim SEED=%" PRIu64 "\n", s->seed);
    fflush(told);
    _Exit(1);
}

/* --- leases */

/* A look counts for a third of a lease at most (two distances of looks), however long who looks has stood still. */
void rules_buried(struct server *by, const struct living *l) {
    struct sim *s = by->sim;
    uint64_t lease_ms = s->habits.lease_ms, silent_ms = s->now_ms - l->seen_ms;
    uint64_t stood_ms = by->stood_ms - l->stood_ms[by->number];
    unsigned stood = by->stood - l->stood[by->number];
    uint64_t seen_ms = silent_ms > stood_ms ? silent_ms - stood_ms : 0;
    if (stood > 0) seen_ms += (uint64_t)stood * lease_ms / 3;
    RULE(s, LEASE_KEPT, silent_ms >= less_drift(lease_ms) && seen_ms >= less_drift(lease_ms),
         "%s was heard of %" PRIu64 " ms ago, %" PRIu64 " of which %s stood still, and is buried",
         l->boot, silent_ms, stood_ms, by->name);
    /* Answers that were late when faults stopped are heard by then. */
    RULE(s, LEASE_KEPT, !s->calm || s->now_ms < s->calm_ms + 2 * lease_ms + 12000,
         "%s is buried, and nothing fails", l->boot);
    s->totals.buried++;
}

void rules_left(struct server *v) {
    const struct sim *s = v->sim;
    for (size_t k = 0; k < s->nrows && !v->unwritten; k++) {
        const struct row *r = s->rows[k];
        RULE(v->sim, DRAINED, r->state != STORE_IN_PROGRESS || r->loose || r->holder != v->number,
             "%s leaves, and holds %s", v->name, TAIL(r));
    }
}

void rules_claimed(struct server *by, struct row *r, const struct op *op) {
    struct sim *s = by->sim;
    RULE(s, LEASE_KEPT, r->state == STORE_IN_QUEUE || r->loose, "%s takes %s from %s, which lives",
         by->name, TAIL(r), r->boot);
    s->totals.takeovers += r->state == STORE_IN_PROGRESS;
    r->claimed_ms = s->now_ms;
}

/* --- charges, lines, ends */

void rules_charged(struct sim *s, struct row *r, uint32_t attempt, unsigned call) {
    const struct call *c = &s->calls[call];
    RULE(s, ONE_CHARGE, call < s->ncalls && c->row == r && c->attempt == attempt,
         "attempt %u of %s is charged what call %u has cost, which was attempt %u of %s", attempt,
         TAIL(r), call, c->attempt, TAIL(c->row));
    for (size_t k = 0; k < s->ncharges; k++) {
        const struct charge *old = &s->charges[k];
        RULE(s, ONE_CHARGE, old->row != r || old->attempt != attempt, "attempt %u of %s", attempt,
             TAIL(r));
    }
}

/* An attempt that its holder ends is charged if it has cost something. */
void rules_paid(struct sim *s, const struct row *r, const struct op *op) {
    unsigned call = r->attempt_call[op->attempt];
    if (call == 0 || !s->calls[call].reached) return;
    RULE(s, ONE_CHARGE, op->call == call, "attempt %u of %s was call %u, and its end names call %u",
         op->attempt, TAIL(r), call, op->call);
}

void rules_logged(struct server *by, struct row *r, const struct line *l) {
    const struct call *c = &by->sim->calls[l->call];
    if (l->call == 0) return;
    RULE(by->sim, ZOMBIE, c->row == r && c->server == r->holder && c->boots == r->holder_boots,
         "a line of call %u of n%u comes to %s, held by n%u", l->call, c->server, TAIL(r),
         r->holder);
}

/* All attempts of the lease that this end gives up were runs of one server: what they said comes with it at the latest. */
void rules_completed(struct server *by, struct row *r, const struct op *op) {
    struct sim *s = by->sim;
    const size_t most = sizeof r->attempt_call / sizeof *r->attempt_call;
    for (size_t k = r->claimed_attempt; k <= op->attempt && k < most; k++) {
        unsigned call = r->attempt_call[k];
        bool there = call == 0 || !s->calls[call].said;
        for (size_t n = 0; n < r->lines.n && !there; n++) there = r->lines.base[n].call == call;
        RULE(s, LINES, there, "the line of call %u, attempt %zu of %s, is not there", call, k,
             TAIL(r));
    }
}

/* Ages count from the moment at which the end was given to the store. */
void rules_swept(struct server *by, struct row *r, uint64_t age_ms) {
    struct sim *s = by->sim;
    uint64_t old_ms = s->now_ms - r->end_given_ms;
    RULE(s, KEPT, s->wall_jumped || old_ms + 1000 >= less_drift(age_ms),
         "%s forgets %s after %" PRIu64 " of %" PRIu64 " ms", by->name, TAIL(r), old_ms, age_ms);
}

/* As its row says, whose attempt is the one that is ended: the present loss counts too. */
static void check_disconnected(struct server *by, const struct row *r) {
    unsigned crashes = r->crashes + (r->state == STORE_IN_PROGRESS && !r->released);
    bool began = r->state == STORE_IN_PROGRESS;
    RULE(by->sim, DESERVED, began && (r->no_retry || crashes >= QUEUE_MAX_CRASHES),
         "%s ends %s after %u crashes", by->name, TAIL(r), crashes);
}

/* Its deadline would have told it to stop before it ended, had it not begun by then. */
static void check_timeout(struct server *by, struct row *r, const struct op *op) {
    struct sim *s = by->sim;
    const struct call *c = &s->calls[r->attempt_call[op->attempt]];
    RULE(s, RESULT_STAYS, op->kind != OP_COMPLETE || c->row != r || !c->well,
         "call %u of %s ended well", r->attempt_call[op->attempt], TAIL(r));
    uint64_t all_ms = (uint64_t)r->wishes.start_timeout_ms, gone_ms = s->now_ms - r->born_ms;
    RULE(s, START_TIMEOUT, all_ms > 0, "%s had none", TAIL(r));
    if (s->wall_jumped) return;
    RULE(s, START_TIMEOUT, gone_ms + 1000 >= less_drift(all_ms),
         "%s ended after %" PRIu64 " of %" PRIu64 " ms", TAIL(r), gone_ms, all_ms);
}

/* A holder learns of another server's mark with its next beat, who ends what nobody holds when it loads: what these have
 * given to the store by then counts. */
static bool knows_mark(const struct server *by, const struct row *r, const struct op *op) {
    bool own = r->marked_by == by->number && r->marked_boots == by->boots;
    /* Of others' rows: the mark of one that is being loaded may be on its way when its end is given. */
    if (op->kind == OP_FINISH && by->sim->habits.servers > 1) own = false;
    bool before = op->kind == OP_COMPLETE && r->leased_at > r->marked_at;
    return own || before || (r->told_ms != 0 && op->given_ms > r->told_ms);
}

static void check_cancelled(struct server *by, struct row *r, const struct op *op,
                            const struct end *e) {
    struct sim *s = by->sim;
    r->ended_by = by->number;
    r->overtook_mark = r->cancel_requested && !knows_mark(by, r, op);
    bool here = r->cancel_at == by->number + 1 && r->cancel_at_boots == by->boots;
    bool wished = here || (r->cancelled && !r->overtook_mark);
    bool cancelled = strcmp(e->error_type, "client_cancelled") == 0;
    RULE(s, CANCELLED, !wished || cancelled, "%s: %s ends as \"%s\" though a cancel was promised",
         by->name, TAIL(r), e->error_type);
    s->totals.cancelled += cancelled;
}

void rules_ended(struct server *by, struct row *r, const struct op *op, bool by_holder) {
    struct sim *s = by->sim;
    const struct end *e = &op->row->end;
    RULE(s, ONE_RESULT, r->results == 0, "%s of %s ends again", TAIL(r), r->boot);
    RULE(s, ONE_WEBHOOK, r->hooks == 0, "%s", TAIL(r));
    RULE(s, RESULT_OF_HOLDER,
         !by_holder || (by->number == r->holder && by->boots == r->holder_boots),
         "%s ends by %s, but n%u holds it", TAIL(r), by->name, r->holder);
    if (e->http_status == 200) {
        unsigned call = (unsigned)strtoul(e->body, NULL, 10);
        const struct call *c = &s->calls[call < s->ncalls ? call : 0];
        RULE(s, RESULT_OF_HOLDER, call > 0 && c->row == r && c->attempt == r->attempt,
             "%s gets the answer of call %u, attempt %u of %s", TAIL(r), call, c->attempt,
             c->row != NULL ? TAIL(c->row) : "none");
    }
    bool kept = op->due_at_ms == 0 || op->due_at_ms >= op->at_ms + QUEUE_SHORT_KEEP_MS;
    RULE(s, NEVER_LOST, kept && (op->due_at_ms != 0) == r->wishes.no_store,
         "%s is to be forgotten %lld ms after its end", TAIL(r),
         (long long)(op->due_at_ms - op->at_ms));
    if (strcmp(e->error_type, "request_timeout") == 0) check_timeout(by, r, op);
    if (strcmp(e->error_type, "runner_disconnected") == 0) check_disconnected(by, r);
    check_cancelled(by, r, op, e);
}

/* --- answers */

static bool excused(const struct server *v, const struct ask *a) {
    const struct sim *s = v->sim;
    return v->life != UP || !s->calm || a->asked_ms <= s->calm_ms;
}

static bool may_be_gone(const struct server *v, const struct row *r) {
    return r->swept || (r->state == STORE_COMPLETED && r->forget_ms != 0 &&
                        (r->forget_ms <= server_wall(v) || v->sim->wall_jumped));
}

/* Its key is of one that is to be forgotten and is still there: known, and not to be shown. */
static bool half_gone(const struct server *v, const struct ask *a) {
    char key[16];
    snprintf(key, sizeof key, "same-%u", a->idempotency);
    for (size_t k = 0; k < v->sim->nrows && a->idempotency != 0; k++) {
        const struct row *r = v->sim->rows[k];
        if (strcmp(r->idempotency, key) == 0 && may_be_gone(v, r)) return true;
    }
    return false;
}

static struct row *row_made_by(struct sim *s, const struct ask *a) {
    unsigned number = (unsigned)(a - s->asks);
    for (size_t k = s->nrows; k-- > 0;)
        if (s->rows[k]->ask == number) return s->rows[k];
    return NULL;
}

static void check_again(struct sim *s, const struct ask *a, struct row *r) {
    char key[16];
    snprintf(key, sizeof key, "same-%u", a->idempotency);
    RULE(s, IDEMPOTENT,
         a->idempotency != 0 && strcmp(r->idempotency, key) == 0 &&
             r->key_id[1] == (char)('0' + a->owner) && r->body_hash[0] == a->body,
         "call %u is answered with %s, which is of another key or body", (unsigned)(a - s->asks),
         TAIL(r));
}

/* No second one of this key, as long as the first one's day lasts. */
static void check_only_one(struct sim *s, const struct row *r) {
    for (size_t k = 0; k < s->nrows && r->idempotency[0] != '\0'; k++) {
        const struct row *o = s->rows[k];
        RULE(s, IDEMPOTENT,
             o == r || strcmp(o->idempotency, r->idempotency) != 0 ||
                 strcmp(o->key_id, r->key_id) != 0 || o->swept || o->seq > r->seq ||
                 r->asked_ms >= o->idempotency_until_ms,
             "%s and %s are of one key", TAIL(o), TAIL(r));
    }
}

static void note_state(struct server *v, struct row *r, const struct queue_reply *reply) {
    bool shown = reply->code == QUEUE_OK && reply->state == STORE_IN_QUEUE;
    if (reply->state > r->seen) r->seen = reply->state;
    if (r->at[v->number].lives != v->lives) {
        memset(&r->at[v->number], 0, sizeof r->at[v->number]);
        r->at[v->number].lives = v->lives;
        r->at[v->number].position = NEVER;
    }
    if (!shown || reply->position >= r->at[v->number].position) return;
    r->at[v->number].position = reply->position;
    r->at[v->number].since = v->sim->accepts;
    r->at[v->number].before = 0;
}

/* Of its owner's own in its line, with itself. */
static unsigned rank_of(const struct sim *s, const struct row *r) {
    unsigned n = 0;
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *o = s->rows[k];
        n += o->state == STORE_IN_QUEUE && o->priority == r->priority &&
             pool_of_row(o) == pool_of_row(r) && strcmp(o->owner, r->owner) == 0;
    }
    return n;
}

static void accepted(struct server *v, struct ask *a, const struct queue_reply *reply) {
    struct sim *s = v->sim;
    struct row *r = disk_had(s, reply->id); /* it may be swept by now */
    RULE(s, DURABLE_FIRST, r != NULL, "call %u is answered with %s, which is not in the store",
         (unsigned)(a - s->asks), reply->id);
    if (!reply->again)
        RULE(s, IDEMPOTENT, r->ask == (unsigned)(a - s->asks), "%s is not of call %u", TAIL(r),
             (unsigned)(a - s->asks));
    else
        check_again(s, a, r);
    check_only_one(s, r);
    a->row = r;
    s->totals.accepted += !r->accepted;
    r->accepted = true;
    if (!reply->again) r->accept = ++s->accepts;
    note_state(v, r, reply);
    if (!reply->again && reply->state == STORE_IN_QUEUE) r->at[v->number].rank = rank_of(s, r);
}

static bool other_body_is_there(struct sim *s, const struct ask *a) {
    char key[16];
    snprintf(key, sizeof key, "same-%u", a->idempotency);
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        if (strcmp(r->idempotency, key) == 0 && r->key_id[1] == (char)('0' + a->owner) &&
            r->body_hash[0] != a->body)
            return true;
    }
    return false;
}

static void submit_answered(struct server *v, struct ask *a, const struct queue_reply *reply) {
    struct sim *s = v->sim;
    if (reply->code == QUEUE_OK) {
        accepted(v, a, reply);
        return;
    }
    a->refused = true;
    RULE(s, REFUSED_IS_NOTHING, row_made_by(s, a) == NULL, "call %u", (unsigned)(a - s->asks));
    if (reply->code == QUEUE_OTHER_BODY)
        RULE(s, IDEMPOTENT, a->idempotency != 0 && other_body_is_there(s, a),
             "call %u is refused, but no other body has its key", (unsigned)(a - s->asks));
    else if (reply->code == QUEUE_FULL)
        RULE(s, HARMLESS, a->queue_length > 0, "full without a limit");
    else
        RULE(s, HARMLESS, reply->code == QUEUE_UNAVAILABLE && (excused(v, a) || half_gone(v, a)),
             "submit %u: code %d", (unsigned)(a - s->asks), (int)reply->code);
}

static void check_state(struct server *v, const struct ask *a, const struct queue_reply *reply) {
    struct sim *s = v->sim;
    struct row *r = a->row;
    RULE(s, STATE_FORWARD, reply->state >= a->floor, "%s says %s is %d, %d was seen before",
         v->name, TAIL(r), (int)reply->state, (int)a->floor);
    RULE(s, STATE_FORWARD, reply->state <= r->state, "%s says %s is %d, the store has %d", v->name,
         TAIL(r), (int)reply->state, (int)r->state);
    if (reply->state == STORE_IN_QUEUE && reply->code == QUEUE_OK) {
        bool ending = v->life == DRAINING && v->abandon_ms == NEVER; /* memory is given up */
        RULE(s, POSITION_FALLS,
             ending || a->floor_position == NEVER || reply->position <= a->floor_position,
             "%s shows %" PRIu64 " for %s, and showed %" PRIu64, v->name, reply->position, TAIL(r),
             a->floor_position);
        RULE(s, STATS, reply->position < s->nrows, "%s is at %" PRIu64, TAIL(r), reply->position);
    }
    if (reply->row != NULL && r->state == STORE_COMPLETED && reply->row->body.len > 0)
        RULE(s, ONE_RESULT,
             slice_is(reply->row->body, r->end.body) &&
                 reply->row->http_status == r->end.http_status,
             "%s is answered another result than it has", TAIL(r));
    note_state(v, r, reply);
}

static void cancel_answered(struct server *v, struct ask *a, enum queue_code code) {
    struct sim *s = v->sim;
    struct row *r = a->row;
    if (code == QUEUE_ALREADY_COMPLETED) {
        RULE(s, CANCELLED, r->state == STORE_COMPLETED, "%s is not completed", TAIL(r));
        r->seen = STORE_COMPLETED;
        return;
    }
    rules_cancel_arrived(v, r);
    if (r->state == STORE_COMPLETED) {
        bool unseen = !r->cancel_requested && r->ended_by != v->number; /* and no store to ask */
        RULE(s, CANCELLED,
             r->overtook_mark || unseen || strcmp(r->end.error_type, "client_cancelled") == 0,
             "%s answers a cancel of %s well, which had ended as \"%s\"", v->name, TAIL(r),
             r->end.error_type);
    } else if (r->cancel_requested) {
        r->cancelled = true;
    } else {
        r->cancel_at = v->number + 1;
        r->cancel_at_boots = v->boots;
    }
}

void rules_answered(struct server *v, struct ask *a, const struct queue_reply *reply) {
    static const char *const codes[] = {"ok",   "not found",   "not ready", "already completed",
                                        "full", "unavailable", "other body"};
    struct sim *s = v->sim;
    struct row *r = a->row;
    trace(s, "%s: call %u is answered: %s, state %d, position %" PRIu64, v->name,
          (unsigned)(a - s->asks), codes[reply->code], (int)reply->state, reply->position);
    if (a->kind == ASK_SUBMIT) {
        submit_answered(v, a, reply);
        return;
    }
    RULE(s, NEVER_LOST, reply->code != QUEUE_NOT_FOUND || may_be_gone(v, r), "%s: %s is not found",
         v->name, TAIL(r));
    RULE(s, HARMLESS, reply->code != QUEUE_UNAVAILABLE || excused(v, a), "call %u is refused",
         (unsigned)(a - s->asks));
    if (reply->code == QUEUE_NOT_FOUND || reply->code == QUEUE_UNAVAILABLE) return;
    if (a->kind == ASK_CANCEL)
        cancel_answered(v, a, reply->code);
    else
        check_state(v, a, reply);
}

/* --- a boot */

void rules_stats(struct server *v) {
    struct sim *s = v->sim;
    struct queue_stats t;
    queue_get_stats(v->queue, &t);
    uint64_t counters[] = {t.submitted, t.claimed,     t.retried,     t.completed,
                           t.failed,    t.cancelled,   t.recovered,   t.stale_writes,
                           t.buried,    t.lost_leases, t.quarantined, t.again,
                           t.retained,  t.waiting,     t.running,     t.owners};
    for (size_t k = 0; k < sizeof counters / sizeof *counters; k++)
        RULE(s, STATS, counters[k] < 1000000, "counter %zu of %s: %" PRIu64, k, v->name,
             counters[k]);
    size_t open = 0;
    for (size_t k = 0; k < s->nrows; k++) open += s->rows[k]->state != STORE_COMPLETED;
    RULE(s, STATS, t.failed + t.cancelled <= t.completed, "%s: more fail than end", v->name);
    RULE(s, STATS, t.oldest_waiting_ms >= 0 && t.oldest_running_ms >= 0, "an age below nothing");
    if (s->calm && s->now_ms > s->calm_ms + 1000)
        RULE(s, STATS, t.can_write, "%s: the store can write", v->name);
}

void rules_boot_over(struct server *v) {
    rules_stats(v);
    struct queue_stats t;
    queue_get_stats(v->queue, &t);
    v->sim->totals.late_writes += t.stale_writes;
}

/* --- rest */

static bool is_write_of_row(const struct op *op) {
    return op->kind >= OP_SUBMIT && op->kind < OP_SWEEP;
}

static bool writes(const struct server *v) {
    for (const struct op *op = v->ops[0].given; op != NULL; op = op->next)
        if (is_write_of_row(op)) return true;
    for (const struct op *op = v->ops[0].applied; op != NULL; op = op->next)
        if (is_write_of_row(op)) return true;
    return false;
}

bool rules_rest(const struct sim *s) {
    for (unsigned k = 0; k < s->habits.servers; k++)
        if (s->servers[k].life != UP || writes(&s->servers[k])) return false;
    for (size_t k = s->first_call; k < s->ncalls; k++)
        if (s->calls[k].active) return false;
    for (size_t k = s->first_ask; k < s->nasks; k++)
        if (s->asks[k].open) return false;
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        if (r->state != STORE_COMPLETED) return false;
        if (r->hooks > 0 && r->hook_state == STORE_WEBHOOK_WAITING && !r->swept) return false;
    }
    return s->nagain == 0 && s->ndeliveries == 0;
}

/* So long after the end that all is over that was not to be kept. */
void rules_forgotten(struct sim *s) {
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        RULE(s, FORGOTTEN, r->swept == r->wishes.no_store || s->habits.retention_ms > 0, "%s",
             TAIL(r));
    }
}

static void show(void *sim, const struct queue_entry *e) {
    trace(sim, "left: %.8s %s attempt %u", e->id + 28, e->step, e->attempt);
}

void rules_at_rest(struct sim *s) {
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        RULE(s, ONE_RESULT, r->results == 1, "%s has %u", TAIL(r), r->results);
        RULE(s, ONE_WEBHOOK, r->hooks == (r->webhook[0] != '\0'), "%s has %u", TAIL(r), r->hooks);
        RULE(s, ONE_WEBHOOK, r->hooks == 0 || r->deliveries > 0, "%s was never tried", TAIL(r));
        RULE(s, REFUSED_IS_NOTHING, !s->asks[r->ask].refused, "%s is of call %u", TAIL(r), r->ask);
        check_only_one(s, r);
    }
    for (size_t k = 0; k < sizeof s->watches / sizeof *s->watches; k++) {
        const struct watch *w = &s->watches[k];
        RULE(s, WATCHED, w->watch == NULL || w->saw_end, "%s at n%u", TAIL(w->row), w->server);
    }
    for (unsigned k = 0; k < s->habits.servers; k++) {
        struct queue_stats t;
        queue_get_stats(s->servers[k].queue, &t);
        rules_stats(&s->servers[k]);
        queue_list(s->servers[k].queue, 10, show, s);
        RULE(s, STATS, t.waiting + t.running == 0, "%s: %zu wait, %zu run, and all have ended",
             s->servers[k].name, t.waiting, t.running);
    }
}
