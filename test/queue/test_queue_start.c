/* The start timeout: a deadline until a request begins, whatever it waits for. */
#include "queue/world.h"

#include "queue/index.h"

#include <stdlib.h>

static struct queue_submit within(uint64_t ms) {
    struct queue_submit in = plain();
    in.start_timeout_ms = ms;
    return in;
}

static const char *submitted_within(struct world *w, uint64_t ms) {
    struct queue_submit in = within(ms);
    return submitted_in(w, &in);
}

static void ended_late(struct world *w, const char *id) {
    struct answer *a = ask_result(w, id);
    assert_int_equal(a->code, QUEUE_OK);
    assert_int_equal(a->http_status, 504);
    assert_string_equal(a->error_type, "request_timeout");
    assert_string_equal(
        a->headers, "x-fal-error-type: request_timeout\r\nx-fal-request-timeout-type: user\r\n");
    assert_string_equal(a->body,
                        "{\"detail\":\"Request timed out\",\"message\":\"Request timed out\","
                        "\"error_type\":\"request_timeout\"}");
    assert_null(run_of(w, id));
}

static void what_waits_ends_at_its_deadline_and_not_before(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted_within(w, 2000);
    const char *other = submitted(w, 0, false);
    pass(w, 1999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, 1);
    ended_late(w, id);
    assert_int_equal(row_of(w, id)->inference_ms, -1);
    assert_int_equal(row_of(w, id)->usages, 0);
    assert_int_equal(w->started, 0);
    assert_int_equal(stats_of(w).failed, 1);
    assert_int_equal(ask_status(w, other)->position, 0);
}

static void the_tick_says_when_the_next_deadline_is(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    submitted_within(w, 5000);
    submitted_within(w, 3000);
    assert_int_equal(queue_tick(w->queue), 3000);
    pass(w, 3000);
    assert_int_equal(queue_tick(w->queue), 2000);
    pass(w, 2000);
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
}

static void what_began_in_time_runs_on(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 2000);
    pass(w, 100000);
    assert_non_null(run_of(w, id));
    assert_int_equal(w->cancels, 0);
    finish(w, id, good());
    assert_int_equal(ask_result(w, id)->http_status, 200);
}

static void a_run_that_has_not_begun_is_cancelled_and_ends_late(void **state) {
    struct world *w = *state;
    w->slow = true;
    const char *id = submitted_within(w, 2000);
    pass(w, 1999);
    assert_int_equal(w->cancels, 0);
    pass(w, 1);
    assert_int_equal(w->cancels, 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    finish(w, id, retryable(10));
    ended_late(w, id);
    assert_int_equal(row_of(w, id)->inference_ms, -1);
    assert_int_equal(row_of(w, id)->usages, 1);
    pass(w, 100000);
    assert_int_equal(w->started, 1);
}

static void a_run_that_begins_late_in_its_time_runs_on(void **state) {
    struct world *w = *state;
    w->slow = true;
    const char *id = submitted_within(w, 2000);
    pass(w, 1999);
    run_of(w, id)->slow = false;
    pass(w, 1);
    assert_int_equal(w->cancels, 0);
    finish(w, id, good());
    assert_int_equal(ask_result(w, id)->http_status, 200);
}

static void a_good_result_of_a_run_that_was_told_to_stop_is_too_late(void **state) {
    struct world *w = *state;
    w->slow = true;
    const char *id = submitted_within(w, 2000);
    pass(w, 2000);
    finish(w, id, good());
    ended_late(w, id);
}

static void between_two_attempts_it_ends_and_its_usage_is_kept(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 5000);
    struct queue_outcome o = retryable(10);
    o.retry_after_ms = 60000;
    finish(w, id, o);
    pass(w, 4999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    pass(w, 1);
    ended_late(w, id);
    assert_int_equal(row_of(w, id)->usages, 1);
    pass(w, 100000);
    assert_int_equal(w->started, 1);
}

static void a_retry_that_waits_for_room_ends(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 50000);
    w->capacity = 0;
    finish(w, id, retryable(10));
    pass(w, 49999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    pass(w, 1);
    ended_late(w, id);
}

static void what_is_claimed_and_waits_for_room_ends(void **state) {
    struct world *w = *state;
    uint64_t n = submit_in(w, &(struct queue_submit){.endpoint = SLICE("fal-ai/any-llm"),
                                                     .owner = SLICE("app1"),
                                                     .input = SLICE("{}"),
                                                     .start_timeout_ms = 1000});
    store_step(w);
    while (queue_tick(w->queue) == 0) continue;
    w->capacity = 0; /* taken while the store writes the claim */
    settle_world(w);
    const char *id = w->answers[n].id;
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    pass(w, 1000);
    ended_late(w, id);
    assert_int_equal(w->started, 0);
}

/* The deadline comes when `steps` operations of the store have been answered, and `failing` more fail then. */
static void late_after(unsigned steps, unsigned failing, bool retrying, size_t room) {
    struct world *w = world_new(3 + steps);
    struct queue_submit in = within(1000);
    uint64_t n = submit_in(w, &in);
    if (retrying) {
        struct queue_outcome o = retryable(10);
        settle_world(w);
        end_run(w, w->runs[0].run, &o);
        pass(w, QUEUE_BACKOFF_MS);
    }
    for (unsigned k = 0; k < steps; k++) {
        while (queue_tick(w->queue) == 0) continue;
        store_step(w);
    }
    bool begun = w->nruns > 0;
    advance(w, 1000);
    w->capacity = room;
    w->fail_next = failing;
    settle_world(w);
    for (unsigned k = 0; k < 6; k++) pass(w, QUEUE_STORE_RETRY_MS);
    if (w->answers[n].code == QUEUE_UNAVAILABLE) {
        assert_int_equal(w->nrows, 0);
    } else if (begun) {
        assert_int_equal(w->nruns, 1);
    } else {
        assert_int_equal(w->answers[n].state, STORE_IN_QUEUE);
        ended_late(w, w->answers[n].id);
        assert_int_equal(w->started, retrying);
    }
    check_world(w);
    world_free(w);
}

static void whatever_is_on_its_way_to_the_store_it_ends(void **state) {
    for (unsigned steps = 0; steps < 4; steps++)
        for (unsigned failing = 0; failing < 4; failing++)
            for (unsigned variant = 0; variant < 4; variant++)
                late_after(steps, failing, variant & 1, variant & 2);
}

static void what_began_in_time_and_fails_later_is_not_tried_again(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 2000);
    pass(w, 3000);
    finish(w, id, retryable(10));
    assert_int_equal(ask_result(w, id)->http_status, 503);
    assert_string_equal(w->answers[w->calls].error_type, "runner_connection_error");
    pass(w, 100000);
    assert_int_equal(w->started, 1);
}

static void many_at_once_end_as_fast_as_the_store_answers(void **state) {
    struct world *w = *state;
    enum { N = 3500 };
    struct queue_submit in = within(1000);
    w->capacity = 0;
    for (unsigned k = 0; k < N; k++) submit_in(w, &in);
    settle_world(w);
    submitted(w, 0, false);
    advance(w, 1000);
    w->capacity = 4;
    size_t most = 0;
    do {
        while (queue_tick(w->queue) == 0) continue;
        if (store_waiting(w) > most) most = store_waiting(w);
    } while (store_step(w));
    assert_in_range(most, 1000, 1010);
    assert_int_equal(stats_of(w).failed, N);
    assert_int_equal(w->started, 1); /* start asserts that it was none of these */
    assert_int_equal(w->nruns, 1);
}

/* --- restart */

static void down_for(struct world *w, int64_t ms) {
    world_crash(w);
    w->mono_ms = 77777; /* of another boot */
    w->wall_ms += ms;
    world_start(w);
    settle_world(w);
}

static void after_a_restart_the_clock_goes_on(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted_within(w, 10000);
    pass(w, 4000);
    down_for(w, 3000);
    pass(w, 2999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, 1);
    ended_late(w, id);
}

static void what_was_due_while_no_server_ran_never_starts(void **state) {
    struct world *w = *state;
    const char *lost = submitted_within(w, 10000);
    w->capacity = 1;
    const char *waiting = submitted_within(w, 10000);
    assert_non_null(run_of(w, lost));
    w->capacity = 4;
    down_for(w, 10000);
    ended_late(w, lost);
    ended_late(w, waiting);
    assert_int_equal(w->started, 1);
}

static void a_clock_set_back_meanwhile_gives_the_whole_time_at_most(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted_within(w, 10000);
    down_for(w, -1000000);
    pass(w, 9999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, 1);
    ended_late(w, id);
}

static void a_drain_leaves_it_to_the_next_start(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted_within(w, 1000);
    queue_drain(w->queue, NULL, NULL);
    pass(w, 5000);
    assert_int_equal(row_of(w, id)->state, STORE_IN_QUEUE);
    assert_int_equal(store_waiting(w), 0);
    down_for(w, 0);
    ended_late(w, id);
}

static void an_abandoned_run_that_was_too_late_ends_so(void **state) {
    struct world *w = *state;
    w->slow = true;
    const char *id = submitted_within(w, 1000);
    queue_drain(w->queue, NULL, NULL);
    pass(w, 1000);
    w->runs[0].cancelled = false; /* told once by the deadline, once more by the end */
    queue_abandon(w->queue);
    settle_world(w);
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
    w->nruns = 0;
    restart(w);
    ended_late(w, id);
}

/* --- against a cancel and the end */

static void a_result_that_waits_for_the_store_is_not_replaced(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 5000);
    pass(w, 1000);
    w->fail_next = 8;
    finish(w, id, good());
    for (unsigned k = 0; k < 12; k++) pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(row_of(w, id)->http_status, 200);
    assert_string_equal(row_of(w, id)->error_type, "");
    assert_true(row_of(w, id)->inference_ms > 0);
}

static void a_result_that_waits_for_its_lines_is_not_replaced(void **state) {
    struct world *w = *state;
    const char *id = submitted_within(w, 5000);
    struct queue_outcome o = good();
    pass(w, 3900);
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("working"));
    advance(w, 1050);
    queue_tick(w->queue);
    assert_int_equal(store_waiting(w), 1); /* the flush */
    end_run(w, run_of(w, id)->run, &o);
    advance(w, 100);
    settle_world(w);
    assert_int_equal(row_of(w, id)->http_status, 200);
}

/* What it ends as is decided when its end is given, not when the store takes it. */
static void another_end_that_waits_for_the_store_is_not_replaced(void **state) {
    struct world *w = *state;
    struct queue_submit in = within(5000);
    in.no_retry = true;
    const char *id = submitted_in(w, &in);
    world_crash(w);
    world_start(w);
    while (!w->ready) {
        while (queue_tick(w->queue) == 0) continue;
        assert_true(store_step(w));
    }
    w->fail_next = 8;
    for (unsigned k = 0; k < 12; k++) pass(w, QUEUE_STORE_RETRY_MS);
    assert_string_equal(row_of(w, id)->error_type, "runner_disconnected");
}

/* A deadline, a cancel and the end of a run come at any distance from each other: answer and state agree. */
static void in_order(unsigned cancel_at, unsigned late_at, bool slow, unsigned failing) {
    struct world *w = world_new(11 + cancel_at);
    struct queue_submit in = within(1000);
    w->slow = slow;
    uint64_t n = submit_in(w, &in), c = 0;
    while (w->answers[n].times == 0) store_step(w);
    const char *id = w->answers[n].id;
    for (unsigned step = 0; step < 12; step++) {
        if (step == late_at) advance(w, 1000);
        while (queue_tick(w->queue) == 0) continue;
        if (step == cancel_at) {
            c = cancel(w, id);
            w->fail_next = failing;
        }
        if (step > 4 && run_of(w, id) != NULL) {
            struct queue_outcome o = good();
            end_run(w, run_of(w, id)->run, &o);
        }
        while (queue_tick(w->queue) == 0) continue;
        store_step(w);
    }
    for (unsigned k = 0; k < 10; k++) pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(w->answers[c].times, 1);
    unsigned status = row_of(w, id)->http_status;
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
    if (w->answers[c].code == QUEUE_OK)
        assert_int_equal(status, 499);
    else
        assert_true(status == 200 || status == 504);
    check_world(w);
    world_free(w);
}

static void deadline_cancel_and_end_agree_in_every_order(void **state) {
    for (unsigned c = 0; c < 8; c++)
        for (unsigned late = 0; late < 8; late++)
            for (unsigned slow = 0; slow < 2; slow++)
                for (unsigned failing = 0; failing < 3; failing++) in_order(c, late, slow, failing);
}

/* --- the deadlines themselves */

static void longer_than_a_year_is_a_year(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted_within(w, UINT64_MAX);
    assert_int_equal(row_of(w, id)->wishes.start_timeout_ms, QUEUE_START_TIMEOUT_CAP_MS);
    pass(w, QUEUE_START_TIMEOUT_CAP_MS - 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, 1);
    ended_late(w, id);
}

static void a_refused_submit_leaves_no_deadline(void **state) {
    struct world *w = *state;
    struct queue_submit in = within(1000);
    w->fail_next = 1;
    submit_in(w, &in);
    settle_world(w);
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
    pass(w, 1000);
}

/* Against a plain array: added and removed in any order, the first is the earliest. */
static void the_deadlines_agree_with_a_plain_array(void **state) {
    enum { N = 300 };
    static struct item items[N];
    bool in[N] = {false};
    struct deadlines d = {0};
    uint64_t x = 88172645463325252ULL;
    for (unsigned turn = 0; turn < 30000; turn++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned n = (unsigned)(x % N);
        if (in[n]) {
            deadlines_remove(&d, &items[n]);
        } else {
            items[n].deadline_ms = (x >> 32) % 1000;
            assert_true(deadlines_add(&d, &items[n]));
        }
        in[n] = !in[n];
        deadlines_remove(&d, &items[(n + 1) % N]); /* whether it is there or not */
        in[(n + 1) % N] = false;
        struct item *first = NULL;
        for (unsigned i = 0; i < N; i++)
            if (in[i] && (first == NULL || items[i].deadline_ms < first->deadline_ms))
                first = &items[i];
        struct item *got = deadlines_first(&d);
        assert_true((got == NULL) == (first == NULL));
        if (got != NULL) assert_int_equal(got->deadline_ms, first->deadline_ms);
    }
    free(d.base);
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(what_waits_ends_at_its_deadline_and_not_before),
        T(the_tick_says_when_the_next_deadline_is),
        T(what_began_in_time_runs_on),
        T(a_run_that_has_not_begun_is_cancelled_and_ends_late),
        T(a_run_that_begins_late_in_its_time_runs_on),
        T(a_good_result_of_a_run_that_was_told_to_stop_is_too_late),
        T(between_two_attempts_it_ends_and_its_usage_is_kept),
        T(a_retry_that_waits_for_room_ends),
        T(what_is_claimed_and_waits_for_room_ends),
        T(whatever_is_on_its_way_to_the_store_it_ends),
        T(what_began_in_time_and_fails_later_is_not_tried_again),
        T(many_at_once_end_as_fast_as_the_store_answers),
        T(after_a_restart_the_clock_goes_on),
        T(what_was_due_while_no_server_ran_never_starts),
        T(a_clock_set_back_meanwhile_gives_the_whole_time_at_most),
        T(a_drain_leaves_it_to_the_next_start),
        T(an_abandoned_run_that_was_too_late_ends_so),
        T(a_result_that_waits_for_the_store_is_not_replaced),
        T(a_result_that_waits_for_its_lines_is_not_replaced),
        T(another_end_that_waits_for_the_store_is_not_replaced),
        T(deadline_cancel_and_end_agree_in_every_order),
        T(longer_than_a_year_is_a_year),
        T(a_refused_submit_leaves_no_deadline),
        T(the_deadlines_agree_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
