/* The rules of the queue.
 *
 *            submit                                               in memory (step)        in the store (state)
 *              |
 *   NEW -----------> WAITING --claim--> CLAIMING ---------+       NEW, WAITING, CLAIMING  IN_QUEUE
 *                     |  ^                |  |            |       all others              IN_PROGRESS
 *                     |  +-store failed---+  |            |       (ENDING: as before)
 *                     |                      v            |       forgotten               COMPLETED
 *   (loaded) LOST --claim--> CLAIMING --> RUNNING --done--> SETTLING --complete--> forgotten
 *               |              (HELD while  |    ^            ^   ^ stuck: the store cannot write
 *               |               no room)    |    |            |
 *               |                 retryable |    | retry      |   |
 *               |                           v    |            |
 *               |                       BACKOFF -> READY -> RETRYING
 *               |                           |        |
 *               +-----cancel, poison------> ENDING   +--drain--> GIVING_BACK --release--> forgotten, the row stays
 *   At the deadline of its start: WAITING, LOST -> ENDING; HELD, BACKOFF, READY -> SETTLING; NEW, CLAIMING, RETRYING and
 *   a RUNNING one that has not begun go there with the answer that is on its way. (due.c)
 *
 *   When others may have it (leases.c), and what becomes of it in memory; the row is as the store says:
 *     our boot is buried    HELD, RUNNING (its run is told to stop), BACKOFF, READY, RETRYING -> forgotten, loaded again as
 *                           LOST or not at all; the others wait for their answers
 *     claim STALE           another one was first -> forgotten. OK, but given by a life that is over: the same, it is loaded
 *                           again; OK, but a lease after our last beat: HELD until a beat is answered
 *     retry STALE           the lease was lost -> forgotten; late, of a life that is over: finds nobody, dropped
 *     complete STALE        the lease was lost, the result is another one's -> forgotten, counted, no webhook. OK in spite of
 *                           a burial: nobody had taken it, the result counts
 *     end STALE             somebody has claimed or ended it -> forgotten; a cancel becomes a mark for who has it
 *     release, log STALE    nothing of ours any more
 *   A LOST one that one more end of the server would quarantine waits for its turn aside of the order. (suspects.c)
 *
 * Invariants (1 to 6 are those that the store and this keep together):
 *  1. A request is answered, and known to others, only after its row is durable.
 *  2. At most one unexpired lease and at most one attempt of a request. Every change names id, attempt and lease token;
 *     each attempt has a token and a run id of its own, and what comes with an old one is dropped and counted.
 *  3. COMPLETED never changes and no poller sees a step backwards: nothing IN_PROGRESS returns to IN_QUEUE, a request
 *     leaves memory only when the store knows better, and the position shown never rises. Memory answers for what nobody
 *     else can have; for all else the store does.
 *  4. Result, log lines, usage and webhook row are one transaction. Each attempt's usage is given at most once: with the
 *     retry, the release or the completion that ends it. What a lost lease has cost is not known to the ledger.
 *  5. A cancel answered CANCELLATION_REQUESTED ends as client_cancelled unless the runner's result was durable first,
 *     and then the answer was ALREADY_COMPLETED: the store's order of operations decides. Of what another server holds
 *     the mark is durable; its result may be so first. While the store cannot write the wish lives in memory, until it
 *     can again: it goes with the process. Who is ending promises nothing then.
 *  6. If the store cannot write, submits are refused; cancels and status go on from memory; nothing is forgotten, and
 *     what waits to be written is tried again, until queue_abandon: then the row stays as it is for the next start.
 *  7. In each pool starts first what callers have seen IN_PROGRESS (LOST, HELD, READY: by priority, then age), then by
 *     priority, then by turns of the owners, then age. A full pool holds up no other. What is WAITING and eligible
 *     carries a slot; a line (owner, pool, priority) has as many slots as eligible requests, without gaps in their tags;
 *     a request that leaves takes the first one when it was claimed, else the last. (order.c)
 *  8. Of an owner with a limit no more than so many are in progress, its direct calls among them, but for those that
 *     already were when the limit fell, a call came or the server ended; of what waits for it in a pool, those that
 *     come first are eligible, as many as there is room. (owners.c)
 *  9. From the deadline of its start on no attempt of a request begins. What has not begun by then ends as
 *     request_timeout, unless a cancel was durable or its end decided first; what has runs on, with this attempt as its
 *     last.
 * 10. No run begins, and no caller is shown a position, before all that is unfinished is loaded (loading.c; queue_list
 *     shows an operator those of what is there); none begins unless a lease has not yet
 *     passed since our last beat that was answered (leases.c).
 * 11. Nothing is decided by a wall clock that has jumped: leases, retries and ages are by the monotonic one, what is to be
 *     forgotten by steady_ms; the dates of a row never go back. A start timeout alone goes on by the wall clock from one
 *     process to the next. (times.c) */
#include "queue/inside.h"

#include "base/broken.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* --- steps */

const char *step_name(enum step step) {
    static const char *const names[STEP_COUNT] = {"new",      "waiting",  "lost",    "claiming",
                                                  "held",     "running",  "backoff", "ready",
                                                  "retrying", "settling", "ending",  "giving_back"};
    return names[step];
}

void set_step(struct queue *q, struct item *i, enum step step) {
    q->at[i->step]--;
    q->at[step]++;
    if (i->step == STEP_CLAIMING || (i->step == STEP_WAITING && step != STEP_CLAIMING))
        q->moved = true; /* a claim moves nobody before it is answered */
    i->step = (uint8_t)step;
    owner_counts(q, i);
    age_counts(q, i);
    log_request(LOG_DEBUG, i->id, "queue_step", "step=%s attempt=%u", step_name(step), i->attempt);
    soon(q);
}

void forget(struct queue *q, struct item *i) {
    watch_left(q, i);
    load_left(q, i->seq);
    age_leaves(q, i);
    suspect_left(q, i);
    if (i->run != NULL) run_free(q, i->run);
    table_remove(&q->items, i);
    q->at[i->step]--;
    owner_leaves(q, i);
    item_free(q, i);
    soon(q);
}

/* A cancel that was answered while the store could not write its mark: who has the request now is to know of it. */
void pass_on_cancel(struct queue *q, const struct item *i) {
    if (i->cancel_requested) ask_cancel(q, i->id, NULL);
}

void stale(struct queue *q, struct item *i, const char *what) {
    q->stats.stale_writes++;
    log_request(LOG_WARN, i->id, "queue_stale", "what=%s attempt=%u", what, i->attempt);
    pass_on_cancel(q, i);
    forget(q, i);
    leases_doubt(q);
}

void taken(struct queue *q, struct item *i, const char *what) {
    log_request(LOG_DEBUG, i->id, "queue_taken", "what=%s attempt=%u", what, i->attempt);
    if (i->step == STEP_WAITING || i->step == STEP_LOST) leave_order(q, i);
    pass_on_cancel(q, i);
    forget(q, i);
}

bool store_failed(const struct store_reply *r) {
    return r->status == STORE_UNAVAILABLE || r->status == STORE_MEMORY;
}

void pause_claims(struct queue *q) {
    q->paused_until_ms = now_ms(q) + QUEUE_STORE_RETRY_MS;
    at_latest(q, q->paused_until_ms);
}

static struct store_lease lease_of(struct queue *q, uint64_t token) {
    return (struct store_lease){q->o.node, q->leases.boot, token,
                                wall_ms(q) + (int64_t)q->leases.lease_ms};
}

static uint64_t draw_token(struct queue *q) {
    uint64_t token;
    do token = random_u64(q->o.random);
    while (token == 0);
    return token;
}

void run_log(struct queue *q, struct run *r, const char *level, const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    run_add_log(q, r, slice_of(level), slice_make(line, len), wall_ms(q));
    if (r->flush_due_ms != 0) at_latest(q, r->flush_due_ms);
}

/* --- an attempt begins */

static void back_off(struct queue *q, struct item *i, uint64_t wait_ms) {
    struct run *r = i->run;
    r->due_ms = now_ms(q) + wait_ms;
    set_step(q, i, STEP_BACKOFF);
    at_latest(q, r->due_ms);
}

static void begin(struct queue *q, struct item *i) {
    struct run *r = i->run;
    struct queue_job job = {.run = r->id,
                            .request_id = i->id,
                            .endpoint = item_endpoint(i),
                            .owner = item_owner(i),
                            .input = slice_make(r->input, r->input_len),
                            .hint = slice_make(r->input + r->input_len, r->hint_len),
                            .no_fallback = r->no_fallback,
                            .attempt = i->attempt};
    r->began_ms = now_ms(q);
    r->told = false;
    set_step(q, i, STEP_RUNNING);
    q->o.runner.start(q->o.runner.user, &job);
}

static void drop_run_id(struct queue *q, struct run *r) {
    if (r->id != 0) slots_take(&q->run_ids, r->id);
    r->id = 0;
}

/* The lease is ours and the input is here: unless something came between, it starts. */
static void leased(struct queue *q, struct item *i, const struct store_row *row) {
    struct run *r = i->run;
    i->attempt = row->attempt;
    i->has_webhook = row->webhook.len > 0;
    bool kept = run_keep_input(r, row);
    deadline_check(q, i);
    if (row->cancel_requested) i->cancel_requested = true;
    if (kept && !doomed(i) && !q->draining) {
        if (pool_has_room(q, i) && lease_sure(q))
            begin(q, i);
        else
            put_in_order(q, i, STEP_HELD); /* its room was taken while the store wrote */
        return;
    }
    drop_run_id(q, r);
    if (doomed(i))
        settle(q, i);
    else if (q->draining)
        give_back(q, i);
    else
        back_off(q, i, QUEUE_STORE_RETRY_MS);
}

/* WAITING, LOST -> CLAIMING. False when memory is short. */
static bool claim(struct queue *q, struct item *i) {
    struct run *r = i->run != NULL ? i->run : run_new(q, i);
    if (r == NULL || (r->id = slots_add(&q->run_ids, r)) == 0) return false;
    uint64_t ticket = ask(q, ASKED_CLAIM, i, NULL);
    if (ticket == 0) {
        drop_run_id(q, r);
        return false;
    }
    r->token = draw_token(q);
    r->epoch = q->epoch;
    struct store_lease lease = lease_of(q, r->token);
    leave_to_start(q, i);
    set_step(q, i, STEP_CLAIMING);
    q->o.store->backend->claim(q->o.store, ticket, i->id, i->attempt, &lease, stamp_ms(q, i));
    return true;
}

/* The lines of the attempts before stay what a poller sees. */
static void taken_up_again(struct queue *q, struct item *i) {
    q->stats.recovered++;
    run_log(q, i->run, "WARN", "taken up again after a restart (attempt %u)", i->attempt + 1);
    i->run->old_lines = LINES_WANTED;
    flush_logs(q, i->run);
}

static void claimed(struct queue *q, struct item *i, const struct store_row *row) {
    q->stats.claimed++;
    if (i->started) taken_up_again(q, i);
    i->started_ms = row->started_ms;
    i->started = true;
    watch_news(q, i);
    leased(q, i, row);
}

/* CLAIMING -> RUNNING, or back into the order when the store could not. */
static void claim_answered(struct queue *q, struct item *i, const struct store_reply *r) {
    if (r->status == STORE_OK && i->run->epoch == q->epoch) {
        claimed(q, i, r->row);
        return;
    }
    drop_run_id(q, i->run);
    if (r->status == STORE_OK || (!store_failed(r) && !q->o.alone)) {
        taken(q, i, "claim"); /* by a life of ours that is over: it is loaded again */
        return;
    }
    if (!store_failed(r)) {
        stale(q, i, "claim");
        return;
    }
    pause_claims(q);
    if (doomed(i))
        end_waiting(q, i, VERDICT_LATE, NULL);
    else
        wait_in_order(q, i);
}

/* READY -> RETRYING. The ended attempt's usage goes with it. False when memory is short. */
static bool retry(struct queue *q, struct item *i) {
    struct run *r = i->run;
    if ((r->id = slots_add(&q->run_ids, r)) == 0) return false;
    uint64_t ticket = ask(q, ASKED_RETRY, i, NULL);
    if (ticket == 0) {
        drop_run_id(q, r);
        return false;
    }
    r->next_token = draw_token(q);
    struct store_lease lease = lease_of(q, r->next_token);
    leave_to_start(q, i);
    set_step(q, i, STEP_RETRYING);
    q->o.store->backend->retry(q->o.store, ticket, i->id, i->attempt, r->token, &lease,
                               &r->result.usage, stamp_ms(q, i));
    return true;
}

/* RETRYING -> RUNNING, or READY when the store could not. */
static void retry_answered(struct queue *q, struct item *i, const struct store_reply *r) {
    if (r->status == STORE_OK) {
        q->stats.retried++;
        i->run->token = i->run->next_token;
        if (!broken(BROKEN_TWO_CHARGES)) i->run->result.usage.present = false;
        leased(q, i, r->row);
        return;
    }
    drop_run_id(q, i->run);
    if (!store_failed(r)) {
        stale(q, i, "retry");
        return;
    }
    pause_claims(q);
    if (doomed(i))
        settle(q, i);
    else if (q->draining)
        give_back(q, i);
    else
        put_in_order(q, i, STEP_READY);
}

/* HELD -> RUNNING. */
static bool begin_held(struct queue *q, struct item *i) {
    deadline_check(q, i);
    if (i->timed_out) return true;
    leave_to_start(q, i);
    begin(q, i);
    return true;
}

bool start_one(struct queue *q, struct item *i) {
    switch ((enum step)i->step) {
    case STEP_HELD: return begin_held(q, i);
    case STEP_READY: return retry(q, i);
    default: return claim(q, i);
    }
}

/* --- an attempt ends */

/* RUNNING -> BACKOFF -> READY. */
static void fail_attempt(struct queue *q, struct item *i, const struct queue_outcome *o) {
    uint64_t wait_ms = backoff_ms(q->o.random, i->attempt, o->retry_after_ms);
    char why[LOG_QUOTE_BYTES];
    run_log(q, i->run, "WARN", "attempt %u failed: %s; the next in %u.%u s", i->attempt,
            log_quote(why, o->error), (unsigned)(wait_ms / 1000), (unsigned)(wait_ms % 1000 / 100));
    i->verdict = VERDICT_RUNNER;
    back_off(q, i, wait_ms);
}

void back_off_over(struct queue *q, struct item *i) {
    put_in_order(q, i, STEP_READY);
}

static bool may_try_again(const struct item *i, const struct queue_outcome *o) {
    bool known = o->failure > QUEUE_FAILURE_OTHER && o->failure < QUEUE_FAILURE_COUNT;
    int32_t retries = known ? i->run->retries[o->failure] : -1;
    unsigned most = retries >= 0 ? (unsigned)retries + 1 : o->max_attempts;
    if (most > QUEUE_MAX_ATTEMPTS) most = QUEUE_MAX_ATTEMPTS;
    return o->retryable && !i->no_retry && !doomed(i) && !i->late && i->attempt < most;
}

void queue_run_done(struct queue *q, uint64_t run, const struct queue_outcome *o) {
    struct run *r = slots_take(&q->run_ids, run);
    if (r == NULL) {
        q->stats.stale_writes++;
        return;
    }
    struct item *i = r->item;
    r->id = 0;
    if (!i->timed_out) r->inference_ms = (int64_t)(now_ms(q) - r->began_ms);
    run_forget_input(r);
    run_keep_result(r, o);
    if (!may_try_again(i, o))
        settle(q, i);
    else if (q->draining)
        give_back(q, i);
    else
        fail_attempt(q, i, o);
    soon(q);
}

void queue_run_log(struct queue *q, uint64_t run, const char *level, struct slice message) {
    struct run *r = slots_get(&q->run_ids, run);
    if (r == NULL) return;
    run_add_log(q, r, slice_of(level), message, wall_ms(q));
    if (r->flush_due_ms != 0) at_latest(q, r->flush_due_ms);
}

/* --- cancel */

void cancel_running(struct queue *q, struct item *i) {
    struct run *r = i->run;
    if (r->told) return;
    r->told = true;
    q->o.runner.cancel(q->o.runner.user, r->id);
}

/* The mark in the store is given before whatever ends the request, so the store sees them in this order. When a
 * completion is already on its way, the store's answer to the mark tells who was first. */
void cancel_item(struct queue *q, struct item *i, struct call *call) {
    enum step step = (enum step)i->step;
    if (step == STEP_WAITING || step == STEP_LOST) {
        leave_order(q, i);
        i->cancel_requested = true;
        end_waiting(q, i, VERDICT_CANCELLED, call);
        return;
    }
    ask_cancel(q, i->id, call);
    cancel_marked(q, i);
}

void cancel_marked(struct queue *q, struct item *i) {
    enum step step = (enum step)i->step;
    i->cancel_wanted = true;
    if (i->given) return;
    i->cancel_requested = true;
    if (step == STEP_RUNNING) cancel_running(q, i);
    if (step == STEP_READY || step == STEP_HELD) leave_order(q, i);
    if (step == STEP_READY || step == STEP_HELD || step == STEP_BACKOFF) settle(q, i);
}

/* --- the store's answers */

static void by_item(struct queue *q, struct ticket *t, const struct store_reply *r) {
    struct item *i = table_find(&q->items, slice_of(t->id));
    if (i != NULL && i->epoch != t->epoch) i = NULL;
    if (i == NULL) {
        if (t->call != NULL) call_answer_code(q, t->call, QUEUE_UNAVAILABLE);
        return;
    }
    switch (t->asked) {
    case ASKED_CLAIM: claim_answered(q, i, r); break;
    case ASKED_RETRY: retry_answered(q, i, r); break;
    case ASKED_FLUSH: flush_answered(q, i, r); break;
    case ASKED_COMPLETE: complete_answered(q, i, r); break;
    case ASKED_END: end_answered(q, i, t, r); break;
    default:
        forget(q, i);
        break; /* ASKED_GIVE_BACK: whatever the store said, it is not ours any more */
    }
}

void queue_store_done(void *queue, uint64_t ticket, const struct store_reply *r) {
    static void (*const answered[ASKED_COUNT])(struct queue *q, struct ticket *t,
                                               const struct store_reply *r) = {
        [ASKED_PENDING] = pending_answered,
        [ASKED_LOST_LOGS] = lost_logs_answered,
        [ASKED_SUBMIT] = submit_answered,
        [ASKED_CLAIM] = by_item,
        [ASKED_RETRY] = by_item,
        [ASKED_COMPLETE] = by_item,
        [ASKED_END] = by_item,
        [ASKED_GIVE_BACK] = by_item,
        [ASKED_FLUSH] = by_item,
        [ASKED_CANCEL] = cancel_answered,
        [ASKED_GET] = get_answered,
        [ASKED_SWEEP] = sweep_answered,
        [ASKED_RETAIN] = retain_answered,
        [ASKED_JOIN] = join_answered,
        [ASKED_BEAT] = beat_answered,
        [ASKED_LEAVE] = leave_answered,
        [ASKED_NODES] = nodes_answered,
        [ASKED_BURY] = bury_answered,
    };
    struct queue *q = queue;
    struct ticket *t = slots_take(&q->tickets, ticket);
    if (t == NULL) return;
    answered[t->asked](q, t, r);
    free(t);
}

uint64_t ask(struct queue *q, enum asked asked, const struct item *i, struct call *call) {
    struct ticket *t = calloc(1, sizeof *t);
    if (t == NULL) return 0;
    t->asked = asked;
    t->call = call;
    t->epoch = i != NULL ? i->epoch : q->epoch;
    if (i != NULL) memcpy(t->id, i->id, sizeof t->id);
    uint64_t handle = slots_add(&q->tickets, t);
    if (handle == 0) free(t);
    return handle;
}
