/* What waits because the store cannot write: what is promised of it. */
#include "queue/world.h"

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

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_cancel_that_might_be_lost_is_not_promised),
        T(a_cancel_that_is_durable_is_promised_while_the_server_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
