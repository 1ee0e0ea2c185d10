/* Watches: told of what changed, soon, once, and of positions not too often. */
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

struct watcher {
    struct world *w;
    struct queue_watch *watch, *other; /* other: to be unwatched when told */
    unsigned told;
    bool leaves; /* unwatches itself when told */
};

static void changed(void *user) {
    struct watcher *x = user;
    assert_false(x->w->in_call);
    x->told++;
    if (x->other != NULL) queue_unwatch(x->w->queue, x->other);
    x->other = NULL;
    if (!x->leaves) return;
    queue_unwatch(x->w->queue, x->watch);
    x->watch = NULL;
}

static void watch(struct world *w, struct watcher *x, const char *id) {
    *x = (struct watcher){.w = w};
    w->in_call = true;
    x->watch = queue_watch(w->queue, id, changed, x);
    w->in_call = false;
    assert_non_null(x->watch);
}

static void unwatch(struct watcher *x) {
    if (x->watch != NULL) queue_unwatch(x->w->queue, x->watch);
    x->watch = NULL;
}

/* How often it was told since it was last asked. */
static unsigned told(struct watcher *x) {
    settle_world(x->w);
    unsigned n = x->told;
    x->told = 0;
    return n;
}

static void a_watch_is_told_of_each_step_once(void **state) {
    struct world *w = *state;
    struct watcher x;
    w->capacity = 0;
    const char *id = submitted(w, 0, false);
    watch(w, &x, id);
    assert_int_equal(told(&x), 0);
    w->capacity = 1;
    queue_wake(w->queue);
    assert_int_equal(told(&x), 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    assert_int_equal(told(&x), 0);
    uint64_t run = run_of(w, id)->run;
    for (unsigned k = 0; k < 5; k++) queue_run_log(w->queue, run, "INFO", SLICE("a line"));
    assert_int_equal(x.told, 0); /* from the tick, not from within */
    assert_int_equal(told(&x), 1);
    queue_run_log(w->queue, run, "INFO", SLICE("another"));
    assert_int_equal(told(&x), 1);
    pass(w, QUEUE_LOG_FLUSH_MS);
    assert_int_equal(told(&x), 0);
    finish(w, id, good());
    assert_int_equal(told(&x), 1);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    pass(w, 100000);
    assert_int_equal(told(&x), 0);
    unwatch(&x);
}

static void completed_is_told_when_the_store_has_it(void **state) {
    struct world *w = *state;
    struct watcher x;
    const char *id = submitted(w, 0, false);
    watch(w, &x, id);
    struct queue_outcome o = good();
    end_run(w, run_of(w, id)->run, &o);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(x.told, 0);
    assert_int_equal(told(&x), 1);
    unwatch(&x);
}

static void a_retry_is_told_by_its_log_line(void **state) {
    struct world *w = *state;
    struct watcher x;
    const char *id = submitted(w, 0, false);
    watch(w, &x, id);
    finish(w, id, retryable(4));
    assert_int_equal(told(&x), 1);
    assert_non_null(strstr(ask_status(w, id)->last_log, "attempt 1 failed"));
    unwatch(&x);
}

static void cancel_and_deadline_are_told(void **state) {
    struct world *w = *state;
    struct watcher a, b;
    w->capacity = 0;
    struct queue_submit in = plain();
    in.start_timeout_ms = 1000;
    char ids[2][STORE_ID_BYTES];
    memcpy(ids[0], submitted(w, 0, false), STORE_ID_BYTES);
    memcpy(ids[1], submitted_in(w, &in), STORE_ID_BYTES);
    watch(w, &a, ids[0]);
    watch(w, &b, ids[1]);
    assert_int_equal(ask_cancelled(w, ids[0]), QUEUE_OK);
    assert_int_equal(told(&a), 1);
    told(&b);
    pass(w, 1000);
    assert_int_equal(told(&b), 1);
    unwatch(&a);
    unwatch(&b);
}

static void what_is_not_in_memory_is_told_once_and_at_once(void **state) {
    struct world *w = *state;
    struct watcher x, y;
    const char *id = submitted(w, 0, false);
    finish(w, id, good());
    watch(w, &x, id);
    watch(w, &y, "no such id");
    assert_int_equal(told(&x), 1);
    assert_int_equal(told(&y), 1);
    pass(w, 10000);
    assert_int_equal(told(&x) + told(&y), 0);
    unwatch(&x);
    unwatch(&y);
}

/* --- positions */

static void positions_are_told_when_they_fall_and_not_too_often(void **state) {
    struct world *w = *state;
    struct watcher x;
    w->capacity = 1;
    char ids[20][STORE_ID_BYTES];
    for (unsigned k = 0; k < 20; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    watch(w, &x, ids[19]);
    pass(w, 2 * QUEUE_POSITION_NEWS_MS);
    assert_int_equal(told(&x), 0);
    pass(w, 2 * QUEUE_POSITION_NEWS_MS);
    for (unsigned k = 0; k < 10; k++) finish(w, ids[k], good());
    assert_in_range(told(&x), 1, 1); /* the first fall at once, the others wait */
    assert_int_equal(queue_tick(w->queue), QUEUE_POSITION_NEWS_MS);
    pass(w, QUEUE_POSITION_NEWS_MS - 1);
    assert_int_equal(told(&x), 0);
    pass(w, 1);
    assert_int_equal(told(&x), 1);
    assert_int_equal(ask_status(w, ids[19])->position, 8);
    pass(w, 100000);
    assert_int_equal(told(&x), 0);
    assert_int_equal(queue_tick(w->queue), UINT64_MAX);
    submitted(w, 0, false); /* behind it */
    pass(w, QUEUE_POSITION_NEWS_MS);
    assert_int_equal(told(&x), 0);
    unwatch(&x);
}

/* A completion costs a watcher of another request nothing but its part of a round every half second. */
static void ten_thousand_watchers_are_told_in_rounds(void **state) {
    enum { N = 10000, WAITING = 2000 };
    struct world *w = *state;
    struct watcher *all = calloc(N, sizeof *all);
    char(*ids)[STORE_ID_BYTES] = calloc(WAITING, sizeof *ids);
    w->capacity = 1;
    for (unsigned k = 0; k < WAITING; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    for (unsigned k = 0; k < N; k++) watch(w, &all[k], ids[100 + k % (WAITING - 100)]);
    settle_world(w);
    for (unsigned k = 0; k < 100; k++) finish(w, ids[k], good());
    unsigned sum = 0;
    for (unsigned k = 0; k < N; k++) sum += all[k].told;
    assert_in_range(sum, 1, N + N / (WAITING - 100) + 1); /* one round, and the one that started */
    advance(w, QUEUE_POSITION_NEWS_MS);
    while (queue_tick(w->queue) == 0) continue;
    for (unsigned k = 0; k < N; k++) assert_in_range(all[k].told, 1, 2);
    for (unsigned k = 0; k < N; k++) unwatch(&all[k]);
    free(all);
    free(ids);
}

static void a_round_goes_on_past_those_with_no_news(void **state) {
    enum { N = 5000 };
    struct world *w = *state;
    struct watcher *all = calloc(N, sizeof *all);
    w->capacity = 0;
    char ids[10][STORE_ID_BYTES];
    for (unsigned k = 0; k < 10; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    for (unsigned k = 0; k < N; k++) watch(w, &all[k], ids[k == 0 ? 9 : 0]);
    pass(w, 2 * QUEUE_POSITION_NEWS_MS);
    assert_int_equal(ask_cancelled(w, ids[5]), QUEUE_OK);
    assert_int_equal(told(&all[0]), 1);
    for (unsigned k = 0; k < N; k++) unwatch(&all[k]);
    free(all);
}

/* --- leaving */

static void a_watch_may_leave_when_told_and_take_another_with_it(void **state) {
    struct world *w = *state;
    struct watcher x, y, z;
    const char *id = submitted(w, 0, false);
    watch(w, &x, id);
    watch(w, &y, id);
    watch(w, &z, id);
    y.leaves = true;
    y.other = z.watch;
    finish(w, id, good()); /* x is told first, then y, and z never */
    assert_int_equal(told(&x), 1);
    assert_int_equal(told(&y), 1);
    assert_int_equal(told(&z), 0);
    unwatch(&x);
}

static void a_watch_that_has_left_is_not_told(void **state) {
    struct world *w = *state;
    struct watcher x;
    w->capacity = 0;
    const char *id = submitted(w, 0, false);
    watch(w, &x, id);
    unwatch(&x);
    w->capacity = 1;
    queue_wake(w->queue);
    settle_world(w);
    watch(w, &x, id);
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("news"));
    unwatch(&x);
    finish(w, id, good());
    assert_int_equal(told(&x), 0);
}

static struct watcher again;

static void watch_again(void *user) {
    struct world *w = user;
    again.told++;
    queue_unwatch(w->queue, again.watch);
    again.watch = queue_watch(w->queue, "gone", watch_again, w);
}

/* Each tick ends, though every call asks for another. */
static void a_watch_made_when_told_is_told_in_the_next_tick(void **state) {
    struct world *w = *state;
    again = (struct watcher){.w = w};
    again.watch = queue_watch(w->queue, "gone", watch_again, w);
    for (unsigned k = 1; k <= 5; k++) {
        assert_int_equal(queue_tick(w->queue), 0);
        assert_int_equal(again.told, k);
    }
    queue_unwatch(w->queue, again.watch);
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_watch_is_told_of_each_step_once),
        T(completed_is_told_when_the_store_has_it),
        T(a_retry_is_told_by_its_log_line),
        T(cancel_and_deadline_are_told),
        T(what_is_not_in_memory_is_told_once_and_at_once),
        T(positions_are_told_when_they_fall_and_not_too_often),
        T(ten_thousand_watchers_are_told_in_rounds),
        T(a_round_goes_on_past_those_with_no_news),
        T(a_watch_may_leave_when_told_and_take_another_with_it),
        T(a_watch_that_has_left_is_not_told),
        T(a_watch_made_when_told_is_told_in_the_next_tick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
