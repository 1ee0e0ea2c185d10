/* What waits because the store cannot write: what is promised of it, and how often it is tried. */
#include "queue/world.h"

#include "queue/inside.h"

#include <stdio.h>

#define AT_ONCE 1000U
#define MANY 3000U

/* --- cancels */

static void a_cancel_that_might_be_lost_is_not_promised(void **state) {
    struct world *w = *state;
    char waits[STORE_ID_BYTES], runs[STORE_ID_BYTES];
    w->capacity = 1;
    memcpy(runs, submitted(w, 0, false), sizeof runs);
    memcpy(waits, submitted(w, 0, false), sizeof waits);
    queue_drain(w->queue, NULL, NULL);
    w->fail_next = 1000;
    assert_int_equal(ask_cancelled(w, waits), QUEUE_UNAVAILABLE);
    assert_int_equal(ask_cancelled(w, runs), QUEUE_UNAVAILABLE);
    assert_true(run_of(w, runs)->cancelled); /* it may still succeed */
    w->fail_next = 0;
    finish(w, runs, good());
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_string_equal(row_of(w, runs)->error_type, "client_cancelled");
    assert_string_equal(row_of(w, waits)->error_type, "client_cancelled");
}

static void a_cancel_that_is_durable_is_promised_while_the_server_ends(void **state) {
    struct world *w = *state;
    char waits[STORE_ID_BYTES], runs[STORE_ID_BYTES];
    w->capacity = 1;
    memcpy(runs, submitted(w, 0, false), sizeof runs);
    memcpy(waits, submitted(w, 0, false), sizeof waits);
    queue_drain(w->queue, NULL, NULL);
    assert_int_equal(ask_cancelled(w, waits), QUEUE_OK);
    assert_int_equal(ask_cancelled(w, runs), QUEUE_OK);
}

/* --- how often */

static unsigned ended(struct world *w, size_t from, size_t n) {
    unsigned sum = 0;
    for (size_t k = from; k < from + n; k++) sum += w->rows[k].state == STORE_COMPLETED;
    return sum;
}

static void cancel_many(struct world *w) {
    w->capacity = 0;
    for (unsigned k = 0; k < MANY; k++) submit(w, 0, false);
    settle_world(w);
    w->fail_percent = 100;
    for (unsigned k = 0; k < MANY; k++) cancel(w, w->rows[k].id);
    settle_world(w);
}

static void what_is_stuck_is_tried_again_in_order_and_not_all_at_once(void **state) {
    struct world *w = *state;
    cancel_many(w);
    for (unsigned seconds = 0; seconds < 7; seconds++) {
        advance(w, QUEUE_STORE_RETRY_MS);
        unsigned given = 0;
        do {
            while (queue_tick(w->queue) == 0) continue;
            given += store_waiting(w) > 0;
        } while (store_step(w));
        assert_int_equal(given, AT_ONCE);
    }
    w->fail_percent = 0;
    advance(w, QUEUE_STORE_RETRY_MS);
    while (queue_tick(w->queue) == 0) continue;
    for (unsigned k = 0; k < AT_ONCE; k++) assert_true(store_step(w));
    assert_int_equal(ended(w, AT_ONCE, AT_ONCE), AT_ONCE); /* 7,000 tries: their turn */
    assert_int_equal(ended(w, 0, MANY), AT_ONCE);
}

static void once_the_store_writes_the_rest_follows_without_a_pause(void **state) {
    struct world *w = *state;
    cancel_many(w);
    w->fail_percent = 0;
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(ended(w, 0, MANY), MANY);
    assert_int_equal(stats_of(w).cancelled, MANY);
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_cancel_that_might_be_lost_is_not_promised),
        T(a_cancel_that_is_durable_is_promised_while_the_server_ends),
        T(what_is_stuck_is_tried_again_in_order_and_not_all_at_once),
        T(once_the_store_writes_the_rest_follows_without_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
