/* When the queue has the store remove what is too old or too much, and what it says the time is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/queue.h"

#include <stdlib.h>

#define HOUR_MS 3600000
#define DAY_MS (24LL * HOUR_MS)
#define NOW_MS 1800000000000LL

/* A store with nothing in it. It answers between two steps of the queue. */
struct world {
    struct store store; /* first */
    struct queue *queue;
    struct clock clock;
    struct random random;
    uint64_t mono_ms;
    int64_t wall_ms;
    uint64_t tickets[8]; /* to be answered */
    size_t ntickets;
    uint64_t looking; /* the ticket of a look, 0: none */
    unsigned looks;
    struct store_retention asked;
    struct store_reply reply; /* to the next look */
    bool ready;
};

static uint64_t mono(void *user) {
    return ((struct world *)user)->mono_ms;
}

static int64_t wall(void *user) {
    return ((struct world *)user)->wall_ms;
}

static void given(struct store *s, uint64_t ticket) {
    struct world *w = (struct world *)s;
    w->tickets[w->ntickets++] = ticket;
}

static void join(struct store *s, uint64_t ticket, const char *node, const char *boot, bool alone,
                 int64_t at_ms) {
    given(s, ticket);
}

static void leave(struct store *s, uint64_t ticket, const char *boot) {
    given(s, ticket);
}

static void pending(struct store *s, uint64_t ticket, uint64_t after, unsigned limit) {
    given(s, ticket);
}

static void sweep(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max) {
    given(s, ticket);
}

static void retain(struct store *s, uint64_t ticket, const struct store_retention *r) {
    struct world *w = (struct world *)s;
    given(s, ticket);
    w->looking = ticket;
    w->looks++;
    w->asked = *r;
}

static const struct store_backend backend = {.name = "empty",
                                             .join = join,
                                             .leave = leave,
                                             .pending = pending,
                                             .sweep = sweep,
                                             .retain = retain};

static void answer_all(struct world *w) {
    for (size_t i = 0; i < w->ntickets; i++) {
        static const struct store_reply nothing;
        bool look = w->tickets[i] == w->looking;
        queue_store_done(w->queue, w->tickets[i], look ? &w->reply : &nothing);
    }
    w->ntickets = 0;
    w->looking = 0;
}

static void turn(struct world *w) {
    do {
        answer_all(w);
        while (queue_tick(w->queue) == 0) continue;
    } while (w->ntickets > 0);
}

static void pass(struct world *w, int64_t ms) {
    w->mono_ms += (uint64_t)ms;
    w->wall_ms += ms;
    turn(w);
}

/* Until it looks again, in steps of a second; how many ms that took. */
static int64_t until_look(struct world *w, int64_t most_ms) {
    unsigned looks = w->looks;
    int64_t gone = 0;
    for (; w->looks == looks && gone < most_ms; gone += 100) pass(w, 100);
    return gone;
}

static void on_ready(void *user, bool ok) {
    ((struct world *)user)->ready = ok;
}

static size_t no_capacity(void *user, unsigned pool) {
    return 0;
}

static void sevens(void *user, void *out, size_t bytes) {
    memset(out, 7, bytes);
}

static struct world *begin(int64_t age_ms, uint64_t bytes) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->store.backend = &backend;
    w->clock = (struct clock){.mono_ms = mono, .wall_ms = wall, .user = w};
    w->random = (struct random){.fill = sevens, .user = w};
    w->mono_ms = 1000;
    w->wall_ms = NOW_MS;
    struct queue_options o = {.clock = &w->clock,
                              .random = &w->random,
                              .store = &w->store,
                              .runner = {.capacity = no_capacity, .user = w},
                              .node = "node",
                              .boot = "boot",
                              .alone = true,
                              .retention_age_ms = age_ms,
                              .retention_bytes = bytes};
    w->queue = queue_new(&o);
    assert_non_null(w->queue);
    queue_start(w->queue, on_ready, w);
    turn(w);
    assert_true(w->ready);
    return w;
}

static void end(struct world *w) {
    queue_free(w->queue);
    free(w);
}

static void nothing_is_looked_for_when_all_is_kept(void **state) {
    struct world *w = begin(0, 0);
    for (unsigned i = 0; i < 100; i++) pass(w, HOUR_MS);
    assert_int_equal(w->looks, 0);
    end(w);
}

static void it_looks_once_a_minute_and_at_once_while_there_is_more(void **state) {
    struct world *w = begin(0, 1 << 20);
    assert_int_equal(w->looks, 1);
    assert_int_equal(w->asked.max_bytes, 1 << 20);
    assert_int_equal(w->asked.max, QUEUE_RETAIN_ROWS);
    assert_int_equal(w->asked.older_than_ms, 0);
    assert_in_range(until_look(w, DAY_MS), QUEUE_RETAIN_MS, QUEUE_RETAIN_MS + 200);
    w->reply = (struct store_reply){.more = true, .swept = 3};
    until_look(w, DAY_MS);
    assert_in_range(until_look(w, DAY_MS), 100, QUEUE_RETAIN_PAUSE_MS + 100);
    w->reply = (struct store_reply){.status = STORE_UNAVAILABLE, .more = true, .swept = 9};
    until_look(w, DAY_MS);
    assert_in_range(until_look(w, DAY_MS), QUEUE_RETAIN_MS, QUEUE_RETAIN_MS + 200);
    struct queue_stats stats;
    queue_get_stats(w->queue, &stats);
    assert_int_equal(stats.retained, 6);
    end(w);
}

static void nothing_goes_by_its_age_in_the_first_hour(void **state) {
    struct world *w = begin(30 * DAY_MS, 0);
    assert_int_equal(w->asked.older_than_ms, 0);
    for (int64_t ms = 0; ms < HOUR_MS - 61000; ms += 1000) pass(w, 1000);
    assert_int_equal(w->asked.older_than_ms, 0);
    for (unsigned i = 0; i < 180; i++) pass(w, 1000);
    assert_in_range(w->wall_ms - w->asked.older_than_ms, 30 * DAY_MS, 30 * DAY_MS + 61000);
    end(w);
}

static void a_short_age_is_waited_for_less_long(void **state) {
    struct world *w = begin(60000, 0);
    for (unsigned i = 0; i < 65; i++) pass(w, 1000);
    assert_in_range(w->wall_ms - w->asked.older_than_ms, 60000, 66000);
    end(w);
}

static void a_clock_that_jumps_ahead_makes_nothing_old_for_an_hour(void **state) {
    struct world *w = begin(30 * DAY_MS, 0);
    for (unsigned i = 0; i < 3800; i++) pass(w, 1000);
    int64_t before = w->wall_ms;
    w->wall_ms += 365 * DAY_MS;
    for (unsigned i = 0; i < 3400; i++) pass(w, 1000);
    assert_true(w->asked.older_than_ms <= before + 3400 * 1000 - 30 * DAY_MS);
    for (unsigned i = 0; i < 400; i++) pass(w, 1000);
    assert_in_range(w->wall_ms - w->asked.older_than_ms, 30 * DAY_MS, 30 * DAY_MS + 61000);
    end(w);
}

static void a_clock_that_is_set_back_makes_nothing_old(void **state) {
    struct world *w = begin(DAY_MS, 0);
    for (unsigned i = 0; i < 3800; i++) pass(w, 1000);
    w->wall_ms -= 400 * DAY_MS; /* what ends now has a date of now */
    for (unsigned i = 0; i < 7600; i++) {
        pass(w, 1000);
        if (i >= 60) assert_true(w->asked.older_than_ms <= w->wall_ms - DAY_MS);
    }
    w->wall_ms = 1000; /* 1970 */
    for (unsigned i = 0; i < 100; i++) pass(w, 1000);
    assert_int_equal(w->asked.older_than_ms, 0);
    end(w);
}

static void idle(void *user) {
}

static void a_server_that_ends_does_not_look(void **state) {
    struct world *w = begin(0, 1);
    queue_drain(w->queue, idle, w);
    unsigned looks = w->looks;
    for (unsigned i = 0; i < 100; i++) pass(w, 60000);
    assert_int_equal(w->looks, looks);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_looked_for_when_all_is_kept),
        cmocka_unit_test(it_looks_once_a_minute_and_at_once_while_there_is_more),
        cmocka_unit_test(nothing_goes_by_its_age_in_the_first_hour),
        cmocka_unit_test(a_short_age_is_waited_for_less_long),
        cmocka_unit_test(a_clock_that_jumps_ahead_makes_nothing_old_for_an_hour),
        cmocka_unit_test(a_clock_that_is_set_back_makes_nothing_old),
        cmocka_unit_test(a_server_that_ends_does_not_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
