/* What a request wishes about its retries, its way to the runner, and how long it is kept. */
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR QUEUE_SHORT_KEEP_MS

static const char *submitted_unstored(struct world *w) {
    struct queue_submit in = plain();
    in.no_store = true;
    return submitted_in(w, &in);
}

/* --- kept for a short while */

static void without_storing_the_input_goes_with_the_end_and_the_result_an_hour_later(void **state) {
    struct world *w = *state;
    char id[STORE_ID_BYTES], stored[STORE_ID_BYTES];
    memcpy(id, submitted_unstored(w), sizeof id);
    memcpy(stored, submitted(w, 0, false), sizeof stored);
    assert_true(row_of(w, id)->input[0] != '\0');
    finish(w, id, good());
    finish(w, stored, good());
    assert_string_equal(row_of(w, id)->input, "");
    assert_true(row_of(w, stored)->input[0] != '\0');
    pass(w, HOUR - 1);
    assert_int_equal(ask_result(w, id)->http_status, 200);
    advance(w, 1); /* before any sweep */
    assert_int_equal(ask_result(w, id)->code, QUEUE_NOT_FOUND);
    assert_int_equal(ask_status(w, id)->code, QUEUE_NOT_FOUND);
    assert_int_equal(ask_cancelled(w, id), QUEUE_NOT_FOUND);
    pass(w, QUEUE_SWEEP_MS);
    assert_true(row_of(w, id)->swept);
    assert_false(row_of(w, stored)->swept);
    pass(w, 100 * (uint64_t)HOUR);
    assert_int_equal(ask_result(w, stored)->http_status, 200);
}

static void whatever_its_end_it_is_forgotten(void **state) {
    struct world *w = *state;
    char ids[3][STORE_ID_BYTES];
    memcpy(ids[0], submitted_unstored(w), STORE_ID_BYTES);
    finish(w, ids[0], retryable(1));
    w->capacity = 0;
    memcpy(ids[1], submitted_unstored(w), STORE_ID_BYTES);
    assert_int_equal(ask_cancelled(w, ids[1]), QUEUE_OK);
    struct queue_submit in = plain();
    in.no_store = true;
    in.start_timeout_ms = 1000;
    memcpy(ids[2], submitted_in(w, &in), STORE_ID_BYTES);
    pass(w, 1000);
    for (unsigned k = 0; k < 3; k++) assert_int_equal(row_of(w, ids[k])->state, STORE_COMPLETED);
    for (unsigned k = 0; k < 3; k++) assert_string_equal(row_of(w, ids[k])->input, "");
    pass(w, HOUR);
    pass(w, QUEUE_SWEEP_MS);
    for (unsigned k = 0; k < 3; k++) assert_true(row_of(w, ids[k])->swept);
}

static void a_restart_does_not_make_it_stored(void **state) {
    struct world *w = *state;
    char running[STORE_ID_BYTES], done[STORE_ID_BYTES];
    memcpy(running, submitted_unstored(w), sizeof running);
    memcpy(done, submitted_unstored(w), sizeof done);
    finish(w, done, good());
    restart(w);
    finish(w, running, good());
    assert_string_equal(row_of(w, running)->input, "");
    world_crash(w);
    advance(w, HOUR);
    world_start(w);
    settle_world(w); /* the first sweep comes at once */
    assert_true(row_of(w, running)->swept && row_of(w, done)->swept);
}

static void without_anything_to_forget_no_sweep_is_asked(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    finish(w, id, good());
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
    id = submitted_unstored(w);
    finish(w, id, good());
    assert_int_equal(queue_tick(w->queue), QUEUE_SWEEP_MS);
    pass(w, HOUR);
    pass(w, QUEUE_SWEEP_MS);
    assert_true(row_of(w, id)->swept);
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
}

static void sweeps_come_in_batches_until_all_is_gone(void **state) {
    struct world *w = *state;
    for (unsigned k = 0; k < 250; k++) finish(w, submitted_unstored(w), good());
    advance(w, HOUR);
    unsigned batches = 0;
    for (;;) {
        while (queue_tick(w->queue) == 0) continue;
        if (store_waiting(w) == 0) break;
        assert_int_equal(store_waiting(w), 1); /* others can come between */
        store_step(w);
        batches++;
    }
    assert_int_equal(batches, 3);
    for (size_t k = 0; k < w->nrows; k++) assert_true(w->rows[k].swept);
}

static void a_sweep_that_fails_is_asked_again(void **state) {
    struct world *w = *state;
    const char *id = submitted_unstored(w);
    finish(w, id, good());
    settle_world(w);
    advance(w, HOUR);
    w->fail_next = 2;
    settle_world(w);
    pass(w, QUEUE_SWEEP_MS);
    assert_false(row_of(w, id)->swept);
    pass(w, QUEUE_SWEEP_MS);
    assert_true(row_of(w, id)->swept);
}

/* --- retries */

static struct queue_outcome failure(enum queue_failure f, unsigned max_attempts) {
    struct queue_outcome o = retryable(max_attempts);
    o.failure = f;
    return o;
}

/* Lets it fail so until it is not tried again; how often it ran. */
static unsigned attempts(struct world *w, const struct queue_submit *in, struct queue_outcome o) {
    char id[STORE_ID_BYTES];
    memcpy(id, submitted_in(w, in), sizeof id);
    unsigned n = 0;
    for (; row_of(w, id)->state != STORE_COMPLETED; n++) {
        assert_non_null(run_of(w, id));
        finish(w, id, o);
        pass(w, QUEUE_BACKOFF_CAP_MS);
    }
    return n;
}

static void retries_of_the_failures_class_take_the_outcomes_place(void **state) {
    static const enum queue_failure classes[] = {QUEUE_FAILURE_SERVER_ERROR, QUEUE_FAILURE_TIMEOUT,
                                                 QUEUE_FAILURE_CONNECTION};
    struct world *w = *state;
    for (unsigned c = 0; c < 3; c++) {
        struct queue_submit in = plain();
        int *retries = c == 0   ? &in.retries_server_error
                       : c == 1 ? &in.retries_timeout
                                : &in.retries_connection_error;
        *retries = 0;
        assert_int_equal(attempts(w, &in, failure(classes[c], 4)), 1);
        assert_int_equal(attempts(w, &in, failure(classes[(c + 1) % 3], 4)), 4);
        assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_OTHER, 4)), 4);
        *retries = 2;
        assert_int_equal(attempts(w, &in, failure(classes[c], 4)), 3);
        *retries = 6;
        assert_int_equal(attempts(w, &in, failure(classes[c], 4)), 7);
    }
}

static void ten_attempts_are_the_most_whatever_is_asked(void **state) {
    struct world *w = *state;
    struct queue_submit in = plain();
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_CONNECTION, 10)), 10);
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_CONNECTION, 50)), 10);
    in.retries_connection_error = 9;
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_CONNECTION, 1)), 10);
    in.retries_connection_error = 1000000;
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_CONNECTION, 4)), 10);
    in.retries_connection_error = -1000000;
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_CONNECTION, 4)), 4);
}

static void what_is_not_retryable_or_must_not_be_is_never_tried_again(void **state) {
    struct world *w = *state;
    struct queue_submit in = plain();
    struct queue_outcome final = failure(QUEUE_FAILURE_SERVER_ERROR, 10);
    final.retryable = false;
    in.retries_server_error = 5;
    assert_int_equal(attempts(w, &in, final), 1);
    in.no_retry = true;
    assert_int_equal(attempts(w, &in, failure(QUEUE_FAILURE_SERVER_ERROR, 10)), 1);
}

/* --- on the way to the runner */

static void hint_and_fallback_reach_the_runner_at_every_attempt(void **state) {
    struct world *w = *state; /* start compares them with the row's each time */
    struct queue_submit in = plain();
    in.hint = SLICE("session-7");
    in.tags = SLICE("team=a,job=7");
    in.no_fallback = true;
    in.retries_connection_error = 1;
    char id[STORE_ID_BYTES];
    memcpy(id, submitted_in(w, &in), sizeof id);
    assert_string_equal(row_of(w, id)->hint, "session-7");
    assert_string_equal(row_of(w, id)->tags, "team=a,job=7");
    assert_string_equal(run_of(w, id)->hint, "session-7");
    assert_true(run_of(w, id)->no_fallback);
    restart(w);
    assert_int_equal(run_of(w, id)->attempt, 2);
    assert_string_equal(run_of(w, id)->hint, "session-7");
    finish(w, id, failure(QUEUE_FAILURE_OTHER, 4));
    pass(w, QUEUE_BACKOFF_CAP_MS);
    assert_string_equal(run_of(w, id)->hint, "session-7");
    finish(w, id, failure(QUEUE_FAILURE_CONNECTION, 10)); /* the third: its one retry is over */
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(without_storing_the_input_goes_with_the_end_and_the_result_an_hour_later),
        T(whatever_its_end_it_is_forgotten),
        T(a_restart_does_not_make_it_stored),
        T(without_anything_to_forget_no_sweep_is_asked),
        T(sweeps_come_in_batches_until_all_is_gone),
        T(a_sweep_that_fails_is_asked_again),
        T(retries_of_the_failures_class_take_the_outcomes_place),
        T(ten_attempts_are_the_most_whatever_is_asked),
        T(what_is_not_retryable_or_must_not_be_is_never_tried_again),
        T(hint_and_fallback_reach_the_runner_at_every_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
