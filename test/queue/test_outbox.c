/* The rules of deliveries under a clock of the test's own. */
#include "queue/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define START_MS 1000000U
#define WALL_MS 1795400000000
#define MAX_STARTED 20000U

static uint64_t now, seed;
static struct outbox *box;
static struct {
    uint64_t ticket;
    char id[40];
} started[MAX_STARTED];
static size_t nstarted;

static uint64_t mono(void *user) {
    return now;
}

static int64_t wall(void *user) {
    return WALL_MS + (int64_t)(now - START_MS);
}

static void fill(void *user, void *out, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        ((unsigned char *)out)[i] = (unsigned char)(seed >> 56);
    }
}

static const struct clock clock_of_test = {.mono_ms = mono, .wall_ms = wall};
static const struct random random_of_test = {.fill = fill};

static void on_start(void *user, uint64_t ticket, const char *id) {
    assert_true(nstarted < MAX_STARTED);
    started[nstarted].ticket = ticket;
    snprintf(started[nstarted++].id, sizeof started->id, "%s", id);
}

static void make(size_t at_once, size_t per_host, unsigned retries, uint64_t window_ms) {
    struct outbox_options o = {.clock = &clock_of_test,
                               .random = &random_of_test,
                               .at_once = at_once,
                               .at_once_per_host = per_host,
                               .retries = retries,
                               .window_ms = window_ms,
                               .start = on_start};
    box = outbox_new(&o);
    assert_non_null(box);
}

static int begin(void **state) {
    now = START_MS;
    seed = 7;
    nstarted = 0;
    return 0;
}

static int end(void **state) {
    outbox_free(box);
    box = NULL;
    return 0;
}

static void add(const char *id, const char *host) {
    assert_true(outbox_add(box, id, slice_of(host), WALL_MS));
}

static void add_many(const char *prefix, const char *host, size_t n) {
    char id[40];
    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%s%zu", prefix, i);
        add(id, host);
    }
}

/* How many of those started have an id that begins so. */
static size_t started_of(const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < nstarted; i++) n += strncmp(started[i].id, prefix, strlen(prefix)) == 0;
    return n;
}

/* Out of the list of started ones. */
static uint64_t taken(const char *id) {
    for (size_t i = 0; i < nstarted; i++) {
        if (strcmp(started[i].id, id) != 0) continue;
        uint64_t ticket = started[i].ticket;
        started[i] = started[--nstarted];
        return ticket;
    }
    fail_msg("%s was not started", id);
    return 0;
}

/* As the api does it: true when another try follows. */
static bool fail_try(const char *id, uint32_t tries, int64_t retry_after_ms, uint64_t *in_ms) {
    uint64_t ticket = taken(id);
    bool again = outbox_next_try(box, tries, retry_after_ms, in_ms);
    if (again)
        outbox_retry(box, ticket, *in_ms);
    else
        outbox_done(box, ticket);
    return again;
}

/* --- */

static void the_first_try_comes_at_once(void **state) {
    make(4, 2, 10, 7200000);
    add("a", "h");
    assert_int_equal(nstarted, 0); /* not before the tick */
    assert_int_equal(outbox_waiting(box), 1);
    assert_true(outbox_tick(box) == UINT64_MAX);
    assert_int_equal(nstarted, 1);
    assert_string_equal(started[0].id, "a");
    assert_int_equal(outbox_running(box), 1);
    assert_int_equal(outbox_waiting(box), 0);
    outbox_done(box, started[0].ticket);
    assert_int_equal(outbox_running(box), 0);
    add("a", "h"); /* it was forgotten */
    assert_int_equal(outbox_waiting(box), 1);
}

static void one_that_is_here_already_is_not_added_twice(void **state) {
    make(4, 2, 10, 7200000);
    add("a", "h");
    add("a", "h");
    outbox_tick(box);
    add("a", "other");
    outbox_tick(box);
    assert_int_equal(nstarted, 1);
    assert_int_equal(outbox_waiting(box), 0);
    assert_false(outbox_add(box, "0123456789012345678901234567890123456", SLICE("h"), WALL_MS));
}

static void nothing_is_retried_before_its_time(void **state) {
    uint64_t in_ms;
    make(4, 2, 10, 7200000);
    add("a", "h");
    outbox_tick(box);
    assert_true(fail_try("a", 1, -1, &in_ms));
    assert_true(outbox_tick(box) == in_ms);
    now += in_ms - 1;
    assert_true(outbox_tick(box) == 1);
    assert_int_equal(nstarted, 0);
    now++;
    outbox_tick(box);
    assert_int_equal(nstarted, 1);
}

/* All pauses of one delivery that always fails; returns how many tries it had. */
static uint32_t run_out(uint64_t *sum_ms, uint64_t *first_ms) {
    uint32_t tries = 0;
    uint64_t in_ms = 0, before = 0;
    *sum_ms = 0;
    add("a", "h");
    do {
        now += in_ms;
        outbox_tick(box);
        *sum_ms += in_ms;
        if (tries == 1) *first_ms = in_ms;
        if (tries > 1 && tries <= 10) assert_true(in_ms > before); /* 2 * 0.8 > 1.2 */
        before = in_ms;
        tries++;
    } while (fail_try("a", tries, -1, &in_ms));
    return tries;
}

static void the_tries_fill_the_window_and_grow_apart(void **state) {
    static const struct {
        unsigned retries;
        uint64_t window_ms;
    } cases[] = {{10, 7200000}, {3, 2000}, {1, 1000}, {10, 1000}, {100, 7200000}, {10, 2592000000}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        for (unsigned round = 0; round < 50; round++) {
            uint64_t sum, first = 0, window = cases[k].window_ms;
            make(1, 1, cases[k].retries, window);
            assert_int_equal(run_out(&sum, &first), cases[k].retries + 1);
            assert_true(sum * 100 >= window * 79 && sum * 100 <= window * 121);
            if (k == 0) assert_true(first >= 5600 && first <= 8500); /* 7 s, a fifth around */
            outbox_free(box);
            box = NULL;
        }
    }
}

static void without_retries_the_first_failure_is_the_last(void **state) {
    uint64_t in_ms;
    make(1, 1, 0, 7200000);
    add("a", "h");
    outbox_tick(box);
    assert_false(fail_try("a", 1, 60000, &in_ms));
    assert_int_equal(outbox_waiting(box), 0);
    assert_int_equal(outbox_running(box), 0);
}

static void two_pauses_are_seldom_equal(void **state) {
    uint64_t a, b, same = 0;
    make(1, 1, 10, 7200000);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(outbox_next_try(box, 5, -1, &a) && outbox_next_try(box, 5, -1, &b));
        same += a == b;
        assert_true(a >= 112614 * 8 / 10 - 1 && a <= 112614 * 12 / 10 + 1);
    }
    assert_true(same < 5);
}

static void what_the_receiver_asks_for_makes_the_pause_longer_up_to_the_longest(void **state) {
    uint64_t in_ms;
    make(1, 1, 10, 7200000);
    assert_true(outbox_next_try(box, 1, 60000, &in_ms));
    assert_int_equal(in_ms, 60000);
    assert_true(outbox_next_try(box, 1, 1000, &in_ms)); /* it never makes it shorter */
    assert_true(in_ms >= 5600);
    assert_true(outbox_next_try(box, 10, 60000, &in_ms));
    assert_true(in_ms >= 2800000);
    assert_true(outbox_next_try(box, 1, 1000000000000, &in_ms));
    assert_int_equal(in_ms, 7200000ULL * 512 / 1023);
    assert_true(outbox_next_try(box, 1, 0, &in_ms));
    assert_true(in_ms >= 5600 && in_ms <= 8500);
}

static void no_more_than_its_limit_run_for_one_host(void **state) {
    make(100, 10, 10, 7200000);
    add_many("dead", "dead", 10000);
    outbox_tick(box);
    assert_int_equal(nstarted, 10);
    add_many("good", "good", 5);
    outbox_tick(box);
    assert_int_equal(started_of("good"), 5);
    outbox_done(box, taken("dead0"));
    outbox_tick(box);
    assert_int_equal(started_of("dead"), 10);
    assert_int_equal(outbox_running(box), 15);
    assert_int_equal(outbox_waiting(box), 9989);
}

static void no_more_than_all_run_at_once(void **state) {
    char host[20];
    make(7, 10, 10, 7200000);
    for (int i = 0; i < 30; i++) {
        snprintf(host, sizeof host, "h%d", i);
        add(host, host);
    }
    assert_true(outbox_tick(box) == UINT64_MAX);
    assert_int_equal(nstarted, 7);
    outbox_done(box, started[0].ticket);
    outbox_tick(box);
    assert_int_equal(nstarted, 8);
}

/* Ten hosts that hang hold all places: the next free one is for somebody else. */
static void a_host_with_none_running_goes_before_those_that_hang(void **state) {
    char host[20], prefix[20];
    make(64, 10, 10, 7200000);
    for (int i = 0; i < 10; i++) {
        snprintf(host, sizeof host, "dead%d", i);
        snprintf(prefix, sizeof prefix, "d%d-", i);
        add_many(prefix, host, 1000);
    }
    outbox_tick(box);
    assert_int_equal(nstarted, 64);
    add("good", "good");
    outbox_tick(box);
    assert_int_equal(started_of("good"), 0);
    char first[40];
    snprintf(first, sizeof first, "%s", started[0].id);
    outbox_done(box, taken(first));
    outbox_tick(box);
    assert_int_equal(started_of("good"), 1);
}

/* Six or seven of each, not ten of one and four of another. */
static void places_are_shared_evenly(void **state) {
    make(20, 20, 10, 7200000);
    add_many("a", "a", 100);
    add_many("b", "b", 100);
    add_many("c", "c", 100);
    outbox_tick(box);
    assert_int_equal(nstarted, 20);
    assert_in_range(started_of("a"), 6, 7);
    assert_in_range(started_of("b"), 6, 7);
    assert_in_range(started_of("c"), 6, 7);
}

static void of_one_host_the_first_due_goes_first(void **state) {
    make(1, 1, 10, 7200000);
    assert_true(outbox_add(box, "late", SLICE("h"), WALL_MS + 3000));
    assert_true(outbox_add(box, "soon", SLICE("h"), WALL_MS + 1000));
    assert_true(outbox_add(box, "first", SLICE("h"), WALL_MS - 5000));
    assert_true(outbox_add(box, "second", SLICE("h"), WALL_MS - 5000));
    static const char *const order[] = {"first", "second", "soon", "late"};
    outbox_tick(box);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(nstarted, 1);
        outbox_done(box, taken(order[i]));
        uint64_t in_ms = outbox_tick(box);
        if (nstarted == 0 && i < 3) {
            assert_in_range(in_ms, 1, 2000);
            now += in_ms;
            outbox_tick(box);
        }
    }
    assert_int_equal(nstarted, 0);
    assert_true(now == START_MS + 3000);
}

/* A wall clock that was wrong when it was written must not hold it back for years. */
static void a_due_time_far_away_is_the_longest_pause(void **state) {
    make(1, 1, 10, 7200000);
    assert_true(outbox_add(box, "a", SLICE("h"), WALL_MS + 1000000000000));
    uint64_t in_ms = outbox_tick(box);
    assert_in_range(in_ms, 3600000, 3600000 * 13 / 10);
    assert_true(outbox_add(box, "b", SLICE("h"), INT64_MIN));
    outbox_tick(box);
    assert_int_equal(started_of("b"), 1);
}

static void nothing_starts_after_the_stop(void **state) {
    make(4, 4, 10, 7200000);
    add("a", "h");
    outbox_tick(box);
    add("b", "h");
    outbox_stop(box);
    assert_true(outbox_tick(box) == UINT64_MAX);
    assert_int_equal(nstarted, 1);
    outbox_done(box, started[0].ticket);
    assert_true(outbox_tick(box) == UINT64_MAX);
    assert_int_equal(nstarted, 1);
}

static void a_ticket_that_is_over_is_nobodys(void **state) {
    make(4, 4, 10, 7200000);
    add("a", "h");
    outbox_tick(box);
    outbox_done(box, started[0].ticket);
    outbox_done(box, started[0].ticket);
    outbox_retry(box, started[0].ticket, 5);
    outbox_done(box, 0);
    assert_int_equal(outbox_running(box), 0);
    assert_int_equal(outbox_waiting(box), 0);
}

/* --- a walk: whatever happens, the limits hold and nothing is lost */

#define WALK_HOSTS 7U
#define WALK_ITEMS 400U

struct walk {
    uint32_t running_of[WALK_HOSTS], running, ended, tries[WALK_ITEMS];
    bool over[WALK_ITEMS];
};

static void check_walk(struct walk *w) {
    memset(w->running_of, 0, sizeof w->running_of);
    for (size_t i = 0; i < nstarted; i++) {
        unsigned n = (unsigned)strtoul(started[i].id, NULL, 10);
        assert_false(w->over[n]);
        assert_true(++w->running_of[n % WALK_HOSTS] <= 3);
    }
    assert_true(nstarted <= 10);
    assert_int_equal(outbox_running(box), nstarted);
}

static void end_one(struct walk *w, uint64_t draw) {
    size_t at = draw % nstarted;
    unsigned n = (unsigned)strtoul(started[at].id, NULL, 10);
    uint64_t in_ms;
    char id[40];
    snprintf(id, sizeof id, "%s", started[at].id);
    if (draw % 3 != 0 && fail_try(id, w->tries[n] + 1, draw % 5 == 0 ? 500 : -1, &in_ms)) {
        w->tries[n]++;
        return;
    }
    if (draw % 3 == 0) outbox_done(box, taken(id));
    w->over[n] = true;
    w->ended++;
}

static void a_walk_of_any_events_keeps_the_limits_and_loses_nothing(void **state) {
    for (unsigned round = 0; round < 30; round++) {
        struct walk w = {0};
        size_t added = 0, steps = 0;
        make(10, 3, 4, 2000);
        nstarted = 0;
        while (w.ended < WALK_ITEMS) {
            uint64_t draw = random_u64(&random_of_test);
            char id[40], host[20];
            assert_true(++steps < 100000);
            snprintf(id, sizeof id, "%zu", added);
            snprintf(host, sizeof host, "host-%zu", added % WALK_HOSTS);
            if (draw % 4 == 0 && added < WALK_ITEMS) {
                add(id, host);
                added++;
            } else if (draw % 4 == 1 && nstarted > 0) {
                end_one(&w, draw / 4);
            } else {
                now += draw % 97;
            }
            outbox_tick(box);
            check_walk(&w);
            /* What is due and has room has begun. */
            uint64_t in_ms = outbox_tick(box);
            assert_true(in_ms > 0);
        }
        assert_int_equal(outbox_waiting(box), 0);
        outbox_free(box);
        box = NULL;
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(the_first_try_comes_at_once),
        T(one_that_is_here_already_is_not_added_twice),
        T(nothing_is_retried_before_its_time),
        T(the_tries_fill_the_window_and_grow_apart),
        T(without_retries_the_first_failure_is_the_last),
        T(two_pauses_are_seldom_equal),
        T(what_the_receiver_asks_for_makes_the_pause_longer_up_to_the_longest),
        T(no_more_than_its_limit_run_for_one_host),
        T(no_more_than_all_run_at_once),
        T(a_host_with_none_running_goes_before_those_that_hang),
        T(places_are_shared_evenly),
        T(of_one_host_the_first_due_goes_first),
        T(a_due_time_far_away_is_the_longest_pause),
        T(nothing_starts_after_the_stop),
        T(a_ticket_that_is_over_is_nobodys),
        T(a_walk_of_any_events_keeps_the_limits_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
