/* Limits of an owner: what is over them waits, in order, and holds nobody else up. */
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

static struct queue_submit of(const char *owner, uint64_t limit) {
    struct queue_submit in = plain();
    in.owner = slice_of(owner);
    in.owner_concurrency = limit;
    return in;
}

static const char *submitted_of(struct world *w, const char *owner, uint64_t limit) {
    struct queue_submit in = of(owner, limit);
    return submitted_in(w, &in);
}

static unsigned runs_of(struct world *w, const char *owner) {
    unsigned n = 0;
    for (size_t k = 0; k < w->nruns; k++) n += strcmp(w->runs[k].owner, owner) == 0;
    return n;
}

static void limit(struct world *w, const char *owner, unsigned n) {
    w->limited[0] = owner;
    w->limits[0] = n;
}

static void finish_first_of(struct world *w, const char *owner) {
    for (size_t k = 0; k < w->nruns; k++) {
        if (strcmp(w->runs[k].owner, owner) != 0) continue;
        char id[STORE_ID_BYTES];
        memcpy(id, w->runs[k].id, sizeof id);
        finish(w, id, good());
        return;
    }
    fail_msg("no run of %s", owner);
}

static void no_more_than_its_limit_are_in_progress_and_others_go_by(void **state) {
    struct world *w = *state;
    limit(w, "a", 2);
    char first[STORE_ID_BYTES];
    memcpy(first, submitted_of(w, "a", 2), sizeof first);
    for (unsigned k = 0; k < 9; k++) submitted_of(w, "a", 2);
    assert_int_equal(runs_of(w, "a"), 2);
    submitted_of(w, "b", 0);
    submitted_of(w, "b", 0);
    submitted_of(w, "b", 0); /* the server has room for four */
    assert_int_equal(runs_of(w, "b"), 2);
    finish(w, first, good()); /* until that is durable it is in progress: another's goes by */
    assert_int_equal(runs_of(w, "b"), 3);
    assert_int_equal(runs_of(w, "a"), 1);
    finish_first_of(w, "b");
    assert_int_equal(runs_of(w, "a"), 2);
    for (unsigned k = 0; k < 9; k++) {
        check_world(w);
        finish_first_of(w, "a");
    }
    assert_int_equal(runs_of(w, "a"), 0);
    assert_int_equal(stats_of(w).completed, 11);
}

static void a_server_with_room_is_never_held_up_by_a_full_owner(void **state) {
    struct world *w = *state;
    limit(w, "a", 1);
    for (unsigned k = 0; k < 1000; k++) {
        struct queue_submit in = of("a", 1);
        submit_in(w, &in);
    }
    settle_world(w);
    for (unsigned k = 0; k < 50; k++) {
        const char *id = submitted_of(w, "b", 0);
        assert_non_null(run_of(w, id));
        assert_int_equal(runs_of(w, "a"), 1);
        finish(w, id, good());
    }
}

static void they_come_in_order_of_priority_then_age(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    char ids[8][STORE_ID_BYTES];
    static const int priorities[] = {1, 1, 0, 1, 0, 0, 1, 0};
    static const unsigned expected[] = {2, 4, 5, 7, 0, 1, 3, 6};
    for (unsigned k = 0; k < 8; k++) {
        struct queue_submit in = of("a", 1);
        in.priority = priorities[k];
        memcpy(ids[k], submitted_in(w, &in), STORE_ID_BYTES);
    }
    w->capacity = 4;
    queue_wake(w->queue);
    settle_world(w);
    for (unsigned k = 0; k < 8; k++) {
        assert_int_equal(w->nruns, 1);
        assert_string_equal(w->runs[0].id, ids[expected[k]]);
        finish(w, ids[expected[k]], good());
    }
}

/* What an owner has in the order does not starve what it holds dearer, when others keep the server busy. */
static void a_dearer_one_takes_the_place_of_one_in_the_order(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    struct queue_submit low = of("a", 1), normal = of("a", 1), other = of("b", 0);
    low.priority = 1;
    submitted_in(w, &low);
    char ids[2][STORE_ID_BYTES];
    memcpy(ids[0], submitted_in(w, &other), STORE_ID_BYTES);
    memcpy(ids[1], submitted_in(w, &normal), STORE_ID_BYTES);
    submitted_in(w, &other);
    w->capacity = 1;
    queue_wake(w->queue);
    settle_world(w);
    assert_string_equal(w->runs[0].id, ids[0]);
    finish(w, ids[0], good());
    assert_string_equal(w->runs[0].id, ids[1]);
}

static void positions_count_the_owners_own_and_never_rise(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    char a[6][STORE_ID_BYTES], b[3][STORE_ID_BYTES];
    for (unsigned k = 0; k < 6; k++) memcpy(a[k], submitted_of(w, "a", 2), STORE_ID_BYTES);
    for (unsigned k = 0; k < 3; k++) memcpy(b[k], submitted_of(w, "b", 0), STORE_ID_BYTES);
    static const unsigned turns[] = {1, 3, 4}; /* only two of a's go between */
    for (unsigned k = 0; k < 6; k++) assert_int_equal(ask_status(w, a[k])->position, k);
    for (unsigned k = 0; k < 3; k++) assert_int_equal(ask_status(w, b[k])->position, turns[k]);
    w->capacity = 4;
    queue_wake(w->queue);
    settle_world(w); /* two of a and two of b run */
    for (unsigned k = 2; k < 6; k++) assert_int_equal(ask_status(w, a[k])->position, k - 1);
    assert_int_equal(ask_status(w, b[2])->position, 0);
    finish(w, a[0], good());
    finish(w, a[1], good());
    assert_true(run_of(w, b[2]) != NULL && run_of(w, a[2]) != NULL);
    for (unsigned k = 3; k < 6; k++) assert_int_equal(ask_status(w, a[k])->position, k - 3);
    assert_int_equal(ask_cancelled(w, a[4]), QUEUE_OK);
    assert_int_equal(ask_status(w, a[5])->position, 1);
}

static void the_latest_submits_limit_counts_for_all(void **state) {
    struct world *w = *state;
    w->capacity = 100;
    for (unsigned k = 0; k < 6; k++) submitted_of(w, "a", 1);
    assert_int_equal(runs_of(w, "a"), 1);
    submitted_of(w, "a", 4);
    assert_int_equal(runs_of(w, "a"), 4);
    submitted_of(w, "a", 2); /* those that run go on */
    pass(w, 100);
    assert_int_equal(runs_of(w, "a"), 4);
    finish_first_of(w, "a");
    finish_first_of(w, "a");
    assert_int_equal(runs_of(w, "a"), 2);
    finish_first_of(w, "a");
    assert_int_equal(runs_of(w, "a"), 2);
    struct queue_submit full = of("a", 3);
    full.owner_queue_length = 1; /* a refused one counts too */
    uint64_t n = submit_in(w, &full);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_FULL);
    pass(w, 100);
    assert_int_equal(runs_of(w, "a"), 3);
    submitted_of(w, "a", 0);
    pass(w, 100);
    assert_int_equal(stats_of(w).waiting, 0);
}

static void between_two_attempts_it_is_in_progress(void **state) {
    struct world *w = *state;
    limit(w, "a", 1);
    char first[STORE_ID_BYTES];
    memcpy(first, submitted_of(w, "a", 1), sizeof first);
    submitted_of(w, "a", 1);
    finish(w, first, retryable(3));
    assert_int_equal(w->nruns, 0);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 1);
    pass(w, QUEUE_BACKOFF_MS);
    assert_string_equal(w->runs[0].id, first);
    finish(w, first, good());
    assert_int_equal(w->nruns, 1);
}

static void running_ones_are_counted_by_owner(void **state) {
    struct world *w = *state;
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 0);
    submitted_of(w, "a", 2);
    submitted_of(w, "b", 0);
    submitted_of(w, "a", 2);
    submitted_of(w, "a", 2);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 2);
    assert_int_equal(queue_owner_running(w->queue, SLICE("b")), 1);
    assert_int_equal(queue_owner_running(w->queue, SLICE("")), 0);
    finish_first_of(w, "a");
    finish_first_of(w, "a");
    finish_first_of(w, "a");
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 0);
}

/* A result that is not durable yet is in progress to those who ask. */
static void an_end_on_its_way_keeps_its_place(void **state) {
    struct world *w = *state;
    limit(w, "a", 1);
    submitted_of(w, "a", 1);
    submitted_of(w, "a", 1);
    struct queue_outcome o = good();
    end_run(w, w->runs[0].run, &o);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 1);
    assert_int_equal(store_waiting(w), 1);
    settle_world(w);
    assert_int_equal(w->nruns, 1);
}

static void a_cancelled_one_gives_its_place_to_the_next(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    char ids[3][STORE_ID_BYTES];
    for (unsigned k = 0; k < 3; k++) memcpy(ids[k], submitted_of(w, "a", 1), STORE_ID_BYTES);
    assert_int_equal(ask_cancelled(w, ids[0]), QUEUE_OK);
    w->capacity = 4;
    queue_wake(w->queue);
    settle_world(w);
    assert_non_null(run_of(w, ids[1]));
    assert_int_equal(ask_cancelled(w, ids[2]), QUEUE_OK);
    finish(w, ids[1], good());
    assert_int_equal(w->nruns, 0);
}

static void a_failed_claim_gives_its_place_back(void **state) {
    struct world *w = *state;
    struct queue_submit in = of("a", 1);
    uint64_t n = submit_in(w, &in);
    submit_in(w, &in);
    store_step(w);
    store_step(w);
    w->fail_next = 1;
    settle_world(w);
    assert_int_equal(w->nruns, 0);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 0);
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(w->nruns, 1);
    assert_string_equal(w->runs[0].id, w->answers[n].id);
}

static void a_restart_keeps_the_limit_and_counts_the_lost(void **state) {
    struct world *w = *state;
    limit(w, "a", 2);
    w->capacity = 100;
    submitted_of(w, "a", 5);
    for (unsigned k = 0; k < 5; k++) submitted_of(w, "a", 2);
    finish_first_of(w, "a");
    assert_int_equal(runs_of(w, "a"), 2);
    restart(w);
    assert_int_equal(runs_of(w, "a"), 2);
    assert_int_equal(stats_of(w).waiting, 3);
    check_world(w);
    while (w->nruns > 0) {
        finish_first_of(w, "a");
        check_world(w);
    }
    assert_int_equal(stats_of(w).waiting, 0);
}

/* Lost, and cancelled before it is claimed again: in progress until that end is durable. */
static void a_lost_one_keeps_its_place_until_its_end_is_durable(void **state) {
    struct world *w = *state;
    limit(w, "a", 1);
    char ids[2][STORE_ID_BYTES];
    for (unsigned k = 0; k < 2; k++) memcpy(ids[k], submitted_of(w, "a", 1), STORE_ID_BYTES);
    world_crash(w);
    w->capacity = 0;
    world_start(w);
    settle_world(w);
    cancel(w, ids[0]);
    w->capacity = 4;
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(store_waiting(w), 1); /* its end, and no claim of the other */
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 1);
    settle_world(w);
    assert_non_null(run_of(w, ids[1]));
}

static void an_owners_queue_has_a_length_of_its_own(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    struct queue_submit a = of("a", 0), b = of("b", 0);
    a.owner_queue_length = 2;
    submitted_in(w, &a);
    submitted_in(w, &b); /* waits: of another owner */
    submitted_in(w, &a);
    submitted_in(w, &a);
    uint64_t n = submit_in(w, &a);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_FULL);
    submitted_in(w, &b);
    finish_first_of(w, "a"); /* b's goes next */
    n = submit_in(w, &a);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_FULL);
    finish_first_of(w, "b");
    submitted_in(w, &a);
}

static void submits_under_way_count_for_the_length(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    struct queue_submit a = of("a", 0);
    a.owner_queue_length = 2;
    uint64_t first = submit_in(w, &a), second = submit_in(w, &a), third = submit_in(w, &a);
    settle_world(w);
    assert_int_equal(w->answers[first].code, QUEUE_OK);
    assert_int_equal(w->answers[second].code, QUEUE_OK);
    assert_int_equal(w->answers[third].code, QUEUE_FULL);
}

static void direct_calls_leave_the_queued_ones_less_room(void **state) {
    struct world *w = *state;
    limit(w, "a", 3);
    w->capacity = 100;
    char first[STORE_ID_BYTES];
    memcpy(first, submitted_of(w, "a", 3), sizeof first);
    queue_owner_calls(w->queue, SLICE("a"), 2);
    for (unsigned k = 0; k < 4; k++) submitted_of(w, "a", 3);
    assert_int_equal(runs_of(w, "a"), 1);
    queue_owner_calls(w->queue, SLICE("a"), 5); /* what runs goes on */
    settle_world(w);
    assert_int_equal(runs_of(w, "a"), 1);
    finish(w, first, good());
    assert_int_equal(runs_of(w, "a"), 0);
    queue_owner_calls(w->queue, SLICE("a"), 1);
    settle_world(w); /* woken by it */
    assert_int_equal(runs_of(w, "a"), 2);
    queue_owner_calls(w->queue, SLICE("a"), 0);
    settle_world(w);
    assert_int_equal(runs_of(w, "a"), 3);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 3);
}

static void direct_calls_of_an_owner_without_limit_are_nobodys_concern(void **state) {
    struct world *w = *state;
    w->capacity = 10;
    submitted_of(w, "a", 0);
    queue_owner_calls(w->queue, SLICE("a"), 1000);
    queue_owner_calls(w->queue, SLICE("b"), SIZE_MAX); /* of which nothing is here */
    submitted_of(w, "a", 0);
    submitted_of(w, "b", 1);
    assert_int_equal(w->nruns, 3);
    submitted_of(w, "a", 1001); /* the latest submit's limit: these two and the calls are over it */
    assert_int_equal(runs_of(w, "a"), 2);
    queue_owner_calls(w->queue, SLICE("a"), 998);
    settle_world(w);
    assert_int_equal(runs_of(w, "a"), 3);
}

/* Sooner than stats.running, which is as the callers see it; and direct calls count with them. */
static void it_counts_from_the_claim_to_the_end_in_the_store(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    struct queue_submit in = of("a", 1);
    uint64_t n = submit_in(w, &in);
    while (w->answers[n].times == 0) store_step(w);
    queue_tick(w->queue); /* its claim is given */
    assert_int_equal(stats_of(w).running, 0);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 1);
    settle_world(w);
    w->capacity = 0;
    restart(w); /* lost, and then cancelled */
    cancel(w, w->answers[n].id);
    queue_tick(w->queue);
    while (store_waiting(w) == 0) queue_tick(w->queue);
    assert_int_equal(stats_of(w).running, 1);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 1);
    settle_world(w);
    assert_int_equal(queue_owner_running(w->queue, SLICE("a")), 0);
}

static void many_owners_come_and_go(void **state) {
    struct world *w = *state;
    w->capacity = 500;
    char name[16];
    for (unsigned k = 0; k < 300; k++) {
        snprintf(name, sizeof name, "owner-%u", k);
        submitted_of(w, name, 1);
    }
    assert_int_equal(w->nruns, 300);
    for (unsigned k = 0; k < 300; k++) {
        snprintf(name, sizeof name, "owner-%u", k);
        assert_int_equal(queue_owner_running(w->queue, slice_of(name)), 1);
        finish_first_of(w, name);
        assert_int_equal(queue_owner_running(w->queue, slice_of(name)), 0);
    }
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(no_more_than_its_limit_are_in_progress_and_others_go_by),
        T(a_server_with_room_is_never_held_up_by_a_full_owner),
        T(they_come_in_order_of_priority_then_age),
        T(a_dearer_one_takes_the_place_of_one_in_the_order),
        T(positions_count_the_owners_own_and_never_rise),
        T(the_latest_submits_limit_counts_for_all),
        T(between_two_attempts_it_is_in_progress),
        T(running_ones_are_counted_by_owner),
        T(an_end_on_its_way_keeps_its_place),
        T(a_cancelled_one_gives_its_place_to_the_next),
        T(a_failed_claim_gives_its_place_back),
        T(a_restart_keeps_the_limit_and_counts_the_lost),
        T(a_lost_one_keeps_its_place_until_its_end_is_durable),
        T(an_owners_queue_has_a_length_of_its_own),
        T(submits_under_way_count_for_the_length),
        T(direct_calls_leave_the_queued_ones_less_room),
        T(direct_calls_of_an_owner_without_limit_are_nobodys_concern),
        T(it_counts_from_the_claim_to_the_end_in_the_store),
        T(many_owners_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
