/* Several servers over one store: who lives, who is buried, who may write. */
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

/* The servers that are not stopped live for so long, a second at a time. */
static void live(struct world *w, uint64_t ms) {
    for (uint64_t at = 0; at < ms; at += 1000) pass(w, 1000);
}

static void stop(struct world *w, unsigned seat) {
    w->seats[seat].stopped = true;
}

static void go_on(struct world *w, unsigned seat) {
    w->seats[seat].stopped = false;
}

static void stop_all(struct world *w, bool stopped) {
    for (unsigned k = 0; k < w->nseats; k++) w->seats[k].stopped = stopped;
}

static struct world *two(void) {
    return world_together(1, 2);
}

/* Whoever stood still learns what has become of it. */
static void end_of(struct world *w) {
    for (unsigned k = 0; k < w->nseats; k++) w->seats[k].stopped = false;
    live(w, 2000);
    for (unsigned k = 0; k < w->nseats; k++) {
        world_sit(w, k);
        check_world(w);
    }
    world_free(w);
}

/* Submitted to this seat, which has no room for it. */
static void waits_at(struct world *w, unsigned seat, char *id) {
    world_sit(w, seat);
    size_t room = w->capacity;
    w->capacity = 0;
    memcpy(id, submitted(w, 0, false), STORE_ID_BYTES);
    w->capacity = room;
}

static void runs_at(struct world *w, unsigned seat, char *id) {
    world_sit(w, seat);
    memcpy(id, submitted(w, 0, false), STORE_ID_BYTES);
    assert_non_null(run_of(w, id));
}

/* Until the other seat has taken up what ran on a stopped one. */
static void take_up(struct world *w, unsigned seat, const char *id) {
    world_sit(w, seat);
    live(w, QUEUE_LEASE_MS + 3 * QUEUE_SCAN_MS);
    assert_non_null(run_of(w, id));
}

static void on_idle(void *user) {
    ((struct world *)user)->idle = true;
}

/* --- join, beat, leave */

static void a_server_joins_before_all_else_and_is_ready_when_that_is_durable(void **state) {
    struct world *w = *state;
    world_crash(w);
    world_start(w);
    for (unsigned k = 0; k < 5; k++) queue_tick(w->queue);
    assert_int_equal(store_waiting(w), 1);
    assert_int_equal(w->nnodes, 1); /* the one that died */
    store_step(w);
    assert_int_equal(w->nnodes, 1);
    assert_false(w->ready);
    settle_world(w);
    assert_true(w->ready && w->ready_ok);
}

static void a_join_that_fails_ends_the_start(void **state) {
    struct world *w = *state;
    world_crash(w);
    world_start(w);
    w->fail_next = 1;
    store_step(w);
    assert_true(w->ready && !w->ready_ok);
}

static void alone_it_neither_beats_nor_looks(void **state) {
    struct world *w = *state;
    live(w, 60000);
    assert_int_equal(w->beats + w->looks, 0);
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
}

static void beside_others_it_beats_and_looks(void **state) {
    struct world *w = world_together(1, 1);
    unsigned beats = w->beats, looks = w->looks;
    live(w, 60000);
    assert_int_equal(w->beats - beats, 60000 / QUEUE_HEARTBEAT_MS);
    assert_in_range(w->looks - looks, 60000 / QUEUE_SCAN_MS - 2, 60000 / QUEUE_SCAN_MS);
    end_of(w);
}

static void who_drains_leaves_when_nothing_runs(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    assert_int_equal(w->nnodes, 1);
    finish(w, id, good());
    assert_int_equal(w->nnodes, 0);
    assert_true(w->idle);
}

static void a_leave_that_cannot_be_written_ends_the_drain_too(void **state) {
    struct world *w = *state;
    w->fail_percent = 100;
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    assert_true(w->idle);
    w->fail_percent = 0;
}

static void what_one_leaves_waiting_another_takes_up_at_its_next_look(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    waits_at(w, 0, id);
    w->capacity = 0;
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    assert_true(w->idle);
    world_crash(w);
    world_sit(w, 1);
    live(w, 2 * QUEUE_SCAN_MS);
    finish(w, id, good());
    assert_int_equal(w->burials, 0);
    end_of(w);
}

static void own_work_is_claimed_at_once_after_a_restart(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    restart(w);
    assert_non_null(run_of(w, id));
    assert_int_equal(row_of(w, id)->crashes, 1);
    end_of(w);
}

/* --- burial */

static void who_stands_still_for_a_lease_is_buried_and_its_work_is_done_by_another(void **state) {
    struct world *w = two();
    char running[STORE_ID_BYTES], waiting[STORE_ID_BYTES];
    runs_at(w, 0, running);
    waits_at(w, 0, waiting);
    stop(w, 0);
    world_sit(w, 1);
    live(w, QUEUE_LEASE_MS - QUEUE_SCAN_MS);
    assert_int_equal(w->nruns + w->burials, 0);
    live(w, 45000 - QUEUE_LEASE_MS + QUEUE_SCAN_MS); /* 45 s in all */
    assert_non_null(run_of(w, running));
    assert_non_null(run_of(w, waiting));
    assert_int_equal(row_of(w, running)->crashes, 1);
    assert_int_equal(stats_of(w).buried, 1);
    assert_int_equal(stats_of(w).recovered, 1);
    finish(w, running, good());
    finish(w, waiting, good());
    assert_int_equal(ask_result(w, running)->http_status, 200);
    end_of(w);
}

static void who_beats_is_never_buried(void **state) {
    struct world *w = world_together(1, 3);
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    live(w, 600000);
    assert_int_equal(w->burials + w->losses, 0);
    assert_int_equal(seats_running(w, id), 1);
    end_of(w);
}

/* The whole machine was suspended, or its clock leapt: all beats are old, and nobody is dead. */
static void nobody_is_buried_because_all_stood_still(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    live(w, 20000);
    stop_all(w, true);
    advance(w, 3600000);
    go_on(w, 1); /* the observer comes first, the other a moment later */
    world_sit(w, 1);
    live(w, 5000);
    go_on(w, 0);
    live(w, 120000);
    assert_int_equal(w->burials + w->losses, 0);
    assert_int_equal(seats_running(w, id), 1);
    end_of(w);
}

/* An answer that waited while we stood still says how things were before. */
static void a_look_that_is_answered_late_counts_from_its_question(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    for (unsigned k = 0; k < 12; k++) {
        unsigned looks = w->looks;
        world_sit(w, 1);
        while (w->looks == looks) {
            advance(w, 1000);
            queue_tick(w->queue);
        }
        stop(w, 1); /* with the answer on its way */
        world_sit(w, 0);
        live(w, 9000);
        go_on(w, 1);
        settle_world(w);
    }
    assert_int_equal(w->burials, 0);
    end_of(w);
}

static void a_new_observer_counts_from_its_own_first_look(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    world_sit(w, 1);
    world_crash(w);
    stop(w, 0);
    advance(w, QUEUE_LEASE_MS);
    world_start(w);
    live(w, QUEUE_LEASE_MS - QUEUE_SCAN_MS);
    assert_int_equal(w->burials, 0);
    take_up(w, 1, id);
    end_of(w);
}

static void a_beat_between_look_and_burial_saves(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    stop(w, 0);
    world_sit(w, 1);
    while (w->burials == 0) {
        advance(w, 500);
        while (queue_tick(w->queue) == 0) continue;
        if (w->burials == 0) store_step(w);
    }
    for (size_t k = 0; k < w->nnodes; k++) w->nodes[k].beat++; /* before it is applied */
    go_on(w, 0);
    live(w, 20000);
    assert_int_equal(w->losses, 0);
    assert_int_equal(seats_running(w, id), 1);
    world_sit(w, 1);
    assert_int_equal(stats_of(w).buried, 0);
    end_of(w);
}

static void wall_clocks_decide_nothing(void **state) {
    static const int64_t walls[] = {
        1700000000000 + 3600000, 1700000000000 - 3600000, 0, 2147483648000, -5, 1700000000000};
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    struct queue_submit in = plain();
    in.start_timeout_ms = 2000000;
    w->capacity = 1;
    uint64_t n = submit_in(w, &in);
    settle_world(w);
    for (size_t k = 0; k < sizeof walls / sizeof *walls; k++) {
        w->wall_ms = walls[k];
        live(w, 60000);
        for (unsigned s = 0; s < 2; s++) {
            world_sit(w, s);
            struct queue_stats q = stats_of(w);
            assert_true(q.oldest_waiting_ms >= 0 && q.oldest_waiting_ms <= 400000);
            assert_true(q.oldest_running_ms >= 0 && q.oldest_running_ms <= 400000);
        }
    }
    assert_int_equal(w->burials + w->losses, 0);
    const struct fake_row *row = row_of(w, w->answers[n].id);
    assert_int_not_equal(row->state, STORE_COMPLETED);
    world_sit(w, 0);
    w->wall_ms = 1;
    finish(w, id, good());
    row = row_of(w, id);
    assert_true(row->created_ms <= row->started_ms && row->started_ms <= row->completed_ms);
    end_of(w);
}

/* --- we are the buried */

static void a_buried_server_gives_up_its_runs_and_writes_nothing_of_them(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    uint64_t run = run_of(w, id)->run;
    char boot[STORE_ID_BYTES];
    memcpy(boot, row_of(w, id)->boot, sizeof boot);
    stop(w, 0);
    take_up(w, 1, id);
    go_on(w, 0);
    world_sit(w, 0);
    settle_world(w); /* its beat is due */
    assert_int_equal(stats_of(w).lost_leases, 1);
    assert_true(w->losses == 1 && w->lost == 1);
    assert_true(run_of(w, id)->cancelled);
    struct queue_outcome o = good();
    end_run(w, run, &o); /* late */
    queue_run_log(w->queue, run, "INFO", SLICE("late"));
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(store_waiting(w), 0);
    assert_int_equal(stats_of(w).stale_writes, 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    world_sit(w, 1);
    finish(w, id, good());
    assert_int_equal(row_of(w, id)->usages, 1);
    world_sit(w, 0);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    assert_int_equal(w->nnodes, 2); /* it has joined again, as another boot */
    for (size_t k = 0; k < w->nnodes; k++) assert_string_not_equal(w->nodes[k].boot, boot);
    runs_at(w, 0, id);
    finish(w, id, good());
    end_of(w);
}

/* Nobody has taken its work meanwhile: it takes it up itself, as after a crash. */
static void a_buried_server_whose_work_nobody_took_takes_it_up_again(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES], waiting[STORE_ID_BYTES];
    runs_at(w, 0, id);
    w->capacity = 1;
    waits_at(w, 0, waiting);
    world_sit(w, 1);
    w->capacity = 0;
    stop(w, 0);
    live(w, QUEUE_LEASE_MS + 3 * QUEUE_SCAN_MS);
    assert_int_equal(stats_of(w).buried, 1);
    go_on(w, 0);
    world_sit(w, 0);
    settle_world(w);
    assert_true(w->runs[0].cancelled);
    w->nruns = 0; /* its runner obeys */
    queue_wake(w->queue);
    settle_world(w);
    assert_non_null(run_of(w, id));
    assert_int_equal(run_of(w, id)->attempt, 2);
    assert_int_equal(row_of(w, id)->crashes, 1);
    finish(w, id, good());
    finish(w, waiting, good());
    end_of(w);
}

static void what_waits_between_two_attempts_is_given_up_too(void **state) {
    for (unsigned step = 0; step < 3; step++) { /* BACKOFF, READY, RETRYING */
        struct world *w = two();
        char id[STORE_ID_BYTES];
        runs_at(w, 0, id);
        struct queue_outcome o = retryable(9);
        if (step == 0) o.retry_after_ms = 300000;
        finish(w, id, o);
        if (step == 1) w->capacity = 0;
        if (step == 2) {
            advance(w, QUEUE_BACKOFF_MS);
            while (queue_tick(w->queue) == 0) continue;
            assert_int_equal(store_waiting(w), 1);
        }
        stop(w, 0);
        take_up(w, 1, id);
        go_on(w, 0);
        world_sit(w, 0);
        settle_world(w);
        assert_int_equal(stats_of(w).lost_leases + stats_of(w).stale_writes, 1);
        assert_null(run_of(w, id));
        world_sit(w, 1);
        finish(w, id, good());
        assert_int_equal(row_of(w, id)->attempt, 2);
        end_of(w);
    }
}

/* The claim was durable before the burial, its answer comes after: nothing starts. */
static void a_claim_answered_after_the_burial_starts_nothing(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    waits_at(w, 0, id);
    queue_wake(w->queue);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(store_waiting(w), 1); /* the claim */
    stop(w, 0);
    world_sit(w, 1);
    live(w, QUEUE_LEASE_MS + 3 * QUEUE_SCAN_MS);
    finish(w, id, good());
    go_on(w, 0);
    world_sit(w, 0);
    unsigned started = w->started;
    live(w, 20000);
    assert_int_equal(w->started, started);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    end_of(w);
}

/* The claim is answered a lease after our last beat: whether we still live is not known, so nothing begins before it is. */
static void nothing_begins_while_it_is_not_sure_that_we_live(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    waits_at(w, 0, id);
    stop(w, 1);
    queue_wake(w->queue);
    while (queue_tick(w->queue) == 0) continue;
    advance(w, QUEUE_LEASE_MS + 1);
    store_step(w); /* the claim's answer */
    assert_int_equal(row_of(w, id)->state, STORE_IN_PROGRESS);
    assert_null(run_of(w, id));
    settle_world(w); /* the beat's */
    assert_non_null(run_of(w, id));
    end_of(w);
}

static void while_it_cannot_beat_the_store_is_asked_how_things_stand(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    stop(w, 0);
    take_up(w, 1, id);
    finish(w, id, good());
    stop(w, 1);
    world_sit(w, 0);
    go_on(w, 0);
    uint64_t n = status(w, id, false); /* before its beat is answered */
    w->fail_percent = 100;             /* and that fails */
    settle_world(w);
    assert_int_equal(w->losses, 0);
    assert_int_equal(w->answers[n].state, STORE_COMPLETED);
    w->fail_percent = 0;
    live(w, 2000);
    assert_int_equal(w->losses, 1);
    end_of(w);
}

static void a_beat_that_fails_is_given_again_soon(void **state) {
    struct world *w = world_together(1, 1);
    w->fail_percent = 100;
    live(w, 20000);
    unsigned beats = w->beats;
    live(w, 10000);
    assert_in_range(w->beats - beats, 8, 11);
    w->fail_percent = 0;
    live(w, 2000);
    submitted(w, 0, false);
    settle_world(w);
    assert_int_equal(w->nruns, 1);
    end_of(w);
}

static void a_join_after_a_burial_is_given_until_it_is_written(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    stop(w, 0);
    take_up(w, 1, id);
    stop(w, 1);
    go_on(w, 0);
    world_sit(w, 0);
    while (queue_tick(w->queue) == 0) continue;
    while (stats_of(w).lost_leases == 0) store_step(w);
    w->fail_percent = 100;
    live(w, 5000);
    assert_int_equal(w->losses, 0);
    w->fail_percent = 0;
    live(w, 2000);
    assert_int_equal(w->losses, 1);
    end_of(w);
}

/* --- rows that two servers have */

static void of_two_that_have_a_row_the_claims_guard_decides(void **state) {
    struct world *w = two();
    char ids[8][STORE_ID_BYTES];
    w->capacity = 0;
    world_sit(w, 1);
    w->capacity = 0;
    for (unsigned k = 0; k < 8; k++) waits_at(w, 0, ids[k]);
    world_sit(w, 0), w->capacity = 0;
    world_sit(w, 1), w->capacity = 0;
    for (unsigned k = 0; k < 8; k++) assert_int_equal(ask_status(w, ids[k])->position, k);
    for (unsigned s = 0; s < 2; s++) world_sit(w, s), w->capacity = 8, queue_wake(w->queue);
    settle_world(w);
    size_t runs = w->nruns;
    world_sit(w, 0);
    assert_int_equal(runs + w->nruns, 8);
    for (unsigned s = 0; s < 2; s++) {
        world_sit(w, s);
        assert_int_equal(stats_of(w).stale_writes, 0);
        for (unsigned k = 0; k < 8; k++)
            assert_int_equal(ask_status(w, ids[k])->state, STORE_IN_PROGRESS);
    }
    end_of(w);
}

/* Memory says that it waits, the store that another one runs it or has ended it: the store is right. */
static void what_another_took_is_never_shown_as_waiting(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    waits_at(w, 0, id);
    world_sit(w, 0), w->capacity = 0;
    world_sit(w, 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE); /* and now it has it too */
    queue_wake(w->queue);
    settle_world(w);
    assert_non_null(run_of(w, id));
    world_sit(w, 0);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    assert_int_equal(ask_result(w, id)->code, QUEUE_NOT_READY);
    world_sit(w, 1);
    finish(w, id, good());
    world_sit(w, 0);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    assert_int_equal(stats_of(w).waiting, 0);
    end_of(w);
}

static void a_cancel_reaches_the_holder_with_its_next_beat(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    world_sit(w, 1);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    live(w, QUEUE_HEARTBEAT_MS);
    world_sit(w, 0);
    assert_true(run_of(w, id)->cancelled);
    finish(w, id, good());
    assert_string_equal(row_of(w, id)->error_type, "client_cancelled");
    world_sit(w, 1);
    assert_int_equal(ask_cancelled(w, id), QUEUE_ALREADY_COMPLETED);
    end_of(w);
}

static void a_cancel_elsewhere_of_what_waits_ends_it(void **state) {
    struct world *w = two();
    char id[STORE_ID_BYTES];
    waits_at(w, 0, id);
    world_sit(w, 0), w->capacity = 0;
    world_sit(w, 1), w->capacity = 0;
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_string_equal(row_of(w, id)->error_type, "client_cancelled");
    world_sit(w, 0);
    w->capacity = 4;
    queue_wake(w->queue);
    live(w, 2000);
    assert_int_equal(w->started, 0);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    end_of(w);
}

static void a_marked_row_is_claimed_and_ends_unrun(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted(w, 0, false);
    row_of(w, id)->cancel_requested = true; /* by somebody who had it not in memory */
    w->capacity = 1;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->started, 0);
    assert_string_equal(row_of(w, id)->error_type, "client_cancelled");
}

static void three_servers_that_one_request_kills_end_it(void **state) {
    struct world *w = world_together(1, 4);
    char id[STORE_ID_BYTES];
    for (unsigned k = 1; k < 4; k++) world_sit(w, k), w->capacity = 0;
    runs_at(w, 0, id);
    for (unsigned k = 0; k < 3; k++) {
        world_sit(w, k);
        assert_non_null(run_of(w, id));
        world_crash(w);
        world_sit(w, k + 1), w->capacity = k < 2 ? 4 : 0;
        live(w, QUEUE_LEASE_MS + 3 * QUEUE_SCAN_MS);
    }
    assert_string_equal(row_of(w, id)->error_type, "runner_disconnected");
    assert_int_equal(w->started, 3);
    assert_int_equal(stats_of(w).quarantined, 1);
    end_of(w);
}

/* What no memory holds and whose server nobody has seen is found all the same. */
static void what_nobody_holds_is_found_in_the_end(void **state) {
    struct world *w = world_together(1, 1);
    struct fake_row *row = &w->rows[w->nrows++];
    *row = (struct fake_row){.id = "018bcfe5-6800-7000-8000-000000000000",
                             .endpoint = "fal-ai/any-llm",
                             .owner = "app1",
                             .seq = ++w->next_seq,
                             .created_ms = w->wall_ms};
    live(w, 11 * QUEUE_LEASE_MS);
    assert_non_null(run_of(w, row->id));
    end_of(w);
}

/* --- races */

/* The one that stood still ends its run while the other one takes it up, at every distance: one result, and it stays. */
static void race(uint64_t seed) {
    struct world *w = world_together(seed, 2);
    char id[STORE_ID_BYTES];
    runs_at(w, 0, id);
    uint64_t run = run_of(w, id)->run;
    bool ended = false;
    stop(w, 0);
    world_sit(w, 1);
    live(w, QUEUE_LEASE_MS - QUEUE_SCAN_MS);
    go_on(w, 0);
    for (unsigned k = 0; k < 400; k++) {
        unsigned seat = (unsigned)draw(w, 8) == 0 ? 0 : 1;
        world_sit(w, seat);
        if (draw(w, 3) == 0) queue_tick(w->queue);
        if (draw(w, 3) == 0) store_step(w);
        if (seat == 1 && draw(w, 4) == 0) advance(w, draw(w, 2000));
        if (seat == 1 && run_of(w, id) != NULL && draw(w, 20) == 0) {
            struct queue_outcome o = good();
            end_run(w, run_of(w, id)->run, &o);
        }
        if (seat == 0 && !ended && draw(w, 4) == 0) {
            struct queue_outcome o = good();
            ended = true;
            end_run(w, run, &o);
        }
        if (row_of(w, id)->state == STORE_COMPLETED) {
            uint64_t n = status(w, id, false);
            settle_world(w);
            assert_int_equal(w->answers[n].state, STORE_COMPLETED);
        }
    }
    for (unsigned s = 0; s < 2; s++) {
        world_sit(w, s);
        struct queue_outcome o = good();
        settle_world(w);
        while (w->nruns > 0) end_run(w, w->runs[0].run, &o);
        settle_world(w);
    }
    live(w, 60000);
    for (unsigned s = 0; s < 2; s++) {
        world_sit(w, s);
        if (run_of(w, id) != NULL) finish(w, id, good());
    }
    const struct fake_row *row = row_of(w, id);
    assert_int_equal(row->state, STORE_COMPLETED); /* end_row asserts that it becomes so once */
    assert_int_equal(row->results, 1);
    assert_in_range(row->usages, 1, row->attempt);
    end_of(w);
}

static void a_completion_between_look_and_takeover_is_never_written_over(void **state) {
    for (uint64_t seed = 1; seed <= 1000; seed++) race(seed);
}

static void the_planted_faults_are_found(void **state) {
    static const char *const faults[][2] = {
        {"no-lease-check", "who_beats_is_never_buried"},
        {"late-write", "a_buried_server_gives_up_its_runs_and_writes_nothing_of_them"}};
    suite_must_find(faults, 2);
}

#define T WORLD_TEST
#define P cmocka_unit_test

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        T(a_server_joins_before_all_else_and_is_ready_when_that_is_durable),
        T(a_join_that_fails_ends_the_start),
        T(alone_it_neither_beats_nor_looks),
        P(beside_others_it_beats_and_looks),
        T(who_drains_leaves_when_nothing_runs),
        T(a_leave_that_cannot_be_written_ends_the_drain_too),
        P(what_one_leaves_waiting_another_takes_up_at_its_next_look),
        P(own_work_is_claimed_at_once_after_a_restart),
        P(who_stands_still_for_a_lease_is_buried_and_its_work_is_done_by_another),
        P(who_beats_is_never_buried),
        P(nobody_is_buried_because_all_stood_still),
        P(a_look_that_is_answered_late_counts_from_its_question),
        P(a_new_observer_counts_from_its_own_first_look),
        P(a_beat_between_look_and_burial_saves),
        P(wall_clocks_decide_nothing),
        P(a_buried_server_gives_up_its_runs_and_writes_nothing_of_them),
        P(a_buried_server_whose_work_nobody_took_takes_it_up_again),
        P(what_waits_between_two_attempts_is_given_up_too),
        P(a_claim_answered_after_the_burial_starts_nothing),
        P(nothing_begins_while_it_is_not_sure_that_we_live),
        P(while_it_cannot_beat_the_store_is_asked_how_things_stand),
        P(a_beat_that_fails_is_given_again_soon),
        P(a_join_after_a_burial_is_given_until_it_is_written),
        P(of_two_that_have_a_row_the_claims_guard_decides),
        P(what_another_took_is_never_shown_as_waiting),
        P(a_cancel_reaches_the_holder_with_its_next_beat),
        P(a_cancel_elsewhere_of_what_waits_ends_it),
        T(a_marked_row_is_claimed_and_ends_unrun),
        P(three_servers_that_one_request_kills_end_it),
        P(what_nobody_holds_is_found_in_the_end),
        P(a_completion_between_look_and_takeover_is_never_written_over),
        P(the_planted_faults_are_found),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
