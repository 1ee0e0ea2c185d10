/* Whose turn it is: fair between owners, pools apart, positions as they come true. */
#include "queue/world.h"

#include "queue/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct queue_submit of(const char *owner, int priority, const char *model) {
    struct queue_submit in = plain();
    in.owner = slice_of(owner);
    in.priority = priority;
    in.model = slice_of(model);
    return in;
}

static const char *one(struct world *w, const char *owner) {
    struct queue_submit in = of(owner, 0, "");
    return submitted_in(w, &in);
}

/* The number of the first one's answer. */
static uint64_t many(struct world *w, const char *owner, unsigned n) {
    struct queue_submit in = of(owner, 0, "");
    uint64_t first = w->calls + 1;
    for (unsigned k = 0; k < n; k++) submit_in(w, &in);
    settle_world(w);
    return first;
}

static void open_up(struct world *w, size_t capacity) {
    w->capacity = capacity;
    queue_wake(w->queue);
    settle_world(w);
}

static void finish_some(struct world *w, size_t n) {
    char id[STORE_ID_BYTES];
    for (; n > 0; n--) {
        memcpy(id, w->runs[draw(w, w->nruns)].id, sizeof id);
        finish(w, id, good());
    }
}

/* Starts one after the other; `owners` names whose turn it was. */
static void expect_turns(struct world *w, const char *owners) {
    assert_int_equal(w->nruns, 0);
    for (; *owners != '\0'; owners++) {
        open_up(w, 1);
        assert_int_equal(w->nruns, 1);
        assert_int_equal(w->runs[0].owner[0], *owners);
        w->capacity = 0;
        finish_some(w, 1);
    }
}

/* --- one owner's ten thousand and another's single one */

static void next_is(struct world *w, const char *id) {
    assert_null(run_of(w, id));
    assert_int_equal(ask_status(w, id)->position, 0);
    finish_some(w, 1);
    assert_non_null(run_of(w, id));
}

static void a_single_one_waits_for_one_running_one_of_ten_thousand(void **state) {
    struct world *w = *state;
    static const size_t workers[] = {1, 2, 5, 32};
    w->capacity = 0;
    many(w, "a", 10000);
    for (size_t k = 0; k < 4; k++) {
        char name[16];
        snprintf(name, sizeof name, "b%zu", k);
        open_up(w, workers[k]);
        finish_some(w, 7 * workers[k] + k);
        next_is(w, one(w, name));
        finish_some(w, 3);
        next_is(w, one(w, name));
    }
}

static void each_priority_has_turns_of_its_own(void **state) {
    struct world *w = *state;
    struct queue_submit a = of("a", 1, ""), b = of("b", 1, ""), c = of("c", 0, "");
    w->capacity = 0;
    for (unsigned k = 0; k < 40; k++) submit_in(w, &a);
    many(w, "a", 6);
    expect_turns(w, "aaaaaaaaaa"); /* four of them low */
    submitted_in(w, &b);
    submitted_in(w, &b);
    submitted_in(w, &c);
    expect_turns(w, "cbabaaa");
}

static void a_limited_owner_takes_turns_too(void **state) {
    struct world *w = *state;
    struct queue_submit a = of("a", 0, "");
    a.owner_concurrency = 3;
    w->capacity = 0;
    for (unsigned k = 0; k < 2000; k++) submit_in(w, &a);
    many(w, "c", 2000);
    open_up(w, 8);
    for (unsigned k = 0; k < 40; k++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", k);
        finish_some(w, k % 5);
        const char *id = one(w, name);
        uint64_t before = ask_status(w, id)->position;
        assert_in_range(before, 0, 2); /* the others' turn was due: one of each at most */
        finish_some(w, before);
        next_is(w, id);
    }
    w->limited[0] = "a";
    w->limits[0] = 3;
    check_world(w);
}

static void cancel_range(struct world *w, uint64_t first, unsigned from, unsigned to) {
    for (unsigned k = from; k < to; k++)
        assert_int_equal(ask_cancelled(w, w->answers[first + k].id), QUEUE_OK);
}

static void cancels_cost_an_owner_no_turn(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    uint64_t a = many(w, "a", 300), b = many(w, "b", 6);
    cancel_range(w, a, 100, 200); /* in the middle */
    cancel_range(w, a, 290, 300); /* at the tail */
    cancel_range(w, a, 0, 1);     /* at the head */
    expect_turns(w, "abab");
    const char *last = w->answers[a + 289].id;
    cancel_range(w, b, 2, 4);
    assert_int_equal(ask_status(w, last)->position, 186 + 2);
    expect_turns(w, "abab");
    next_is(w, (open_up(w, 1), one(w, "c")));
    w->capacity = 0;
    finish_some(w, 1);
    many(w, "b", 2);
    expect_turns(w, "abab"); /* c had a turn since a's last */
}

/* Who cancels everything and comes back is neither before the others nor behind what it has not used. */
static void who_comes_back_has_its_turn(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    uint64_t a = many(w, "a", 500);
    many(w, "b", 500);
    expect_turns(w, "ababab");
    cancel_range(w, a, 3, 500);
    many(w, "a", 5);
    expect_turns(w, "abababab");
}

/* With one always waiting it gets its share, and not a second one by being the latest to come. */
static void who_comes_again_and_again_gets_its_share(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    many(w, "a", 100);
    many(w, "c", 100);
    unsigned turns[256] = {0};
    one(w, "b");
    for (unsigned k = 0; k < 90; k++) {
        open_up(w, 1);
        char whose = w->runs[0].owner[0];
        turns[(unsigned char)whose]++;
        if (whose == 'b') one(w, "b"); /* while the one before runs */
        w->capacity = 0;
        finish_some(w, 1);
    }
    assert_in_range(turns['a'], 29, 31);
    assert_in_range(turns['b'], 29, 31);
}

static void failed_claims_keep_the_turn(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    many(w, "a", 20);
    expect_turns(w, "a");
    many(w, "b", 1);
    for (unsigned k = 0; k < 5; k++) {
        w->fail_next = 3;
        open_up(w, 3);
        assert_int_equal(w->nruns, 0);
        w->capacity = 0;
        pass(w, QUEUE_STORE_RETRY_MS);
    }
    expect_turns(w, "baa");
}

/* They come back in the order in which they were claimed, and nothing else waits. */
static void a_line_that_was_claimed_whole_comes_back_whole(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    many(w, "a", 9);
    for (unsigned k = 0; k < 3; k++) {
        w->fail_next = 9;
        open_up(w, 9);
        assert_int_equal(w->nruns, 0);
        w->capacity = 0;
        pass(w, QUEUE_STORE_RETRY_MS);
    }
    many(w, "b", 3);
    expect_turns(w, "abababaaaaaa");
}

/* --- positions */

#define OWNERS 5U
#define POOLS 3U

struct known {
    char id[STORE_ID_BYTES];
    unsigned owner, pool;
    int priority;
    uint64_t position;
};

struct walk {
    struct world *w;
    size_t n;
    struct known known[MAX_ROWS];
};

static bool waits(struct walk *k, const struct known *x) {
    return row_of(k->w, x->id)->state == STORE_IN_QUEUE;
}

static void walk_submit(struct walk *k, uint64_t limit) {
    static const char *const owners[OWNERS] = {"a", "b", "c", "d", "e"};
    static const char *const models[POOLS] = {"0", "1", "2"};
    struct known *x = &k->known[k->n++];
    x->owner = (unsigned)draw(k->w, OWNERS);
    x->pool = (unsigned)draw(k->w, POOLS);
    x->priority = draw(k->w, 4) == 0;
    struct queue_submit in = of(owners[x->owner], x->priority, models[x->pool]);
    in.owner_concurrency = limit;
    memcpy(x->id, submitted_in(k->w, &in), sizeof x->id);
    x->position = UINT64_MAX;
}

static void walk_cancel(struct walk *k) {
    const struct known *x = &k->known[draw(k->w, k->n)];
    if (waits(k, x)) assert_int_equal(ask_cancelled(k->w, x->id), QUEUE_OK);
}

static void walk_run(struct walk *k) {
    struct world *w = k->w;
    if (draw(w, 8) == 0) w->fail_next = 1 + (unsigned)draw(w, 3);
    open_up(w, w->nruns + draw(w, 4));
    w->fail_next = 0;
    w->capacity = w->nruns;
    pass(w, QUEUE_STORE_RETRY_MS);
    w->capacity = 0;
    finish_some(w, draw(w, w->nruns + 1));
}

static void walk_some(struct walk *k, uint64_t limits) {
    for (unsigned n = 0; n < 80; n++) {
        uint64_t dice = draw(k->w, 10);
        if (dice < 6 || k->n == 0)
            walk_submit(k, limits > 0 ? draw(k->w, limits) : 0);
        else if (dice < 8)
            walk_cancel(k);
        else
            walk_run(k);
    }
}

/* The position as it is now, whatever was shown before. */
static uint64_t true_position(struct world *w, const char *id) {
    table_find(&w->queue->items, slice_of(id))->shown = UINT32_MAX;
    return ask_status(w, id)->position;
}

static struct known *known_of(struct walk *k, const char *id) {
    size_t n = 0;
    while (strcmp(k->known[n].id, id) != 0) n++;
    return &k->known[n];
}

struct tally {
    unsigned started[OWNERS], left[OWNERS];
};

/* All who wait in the same pool with the same priority have had as many turns. */
static void check_fair(const struct tally *t) {
    for (unsigned x = 0; x < OWNERS; x++)
        for (unsigned y = 0; y < x; y++)
            if (t->left[x] > 0 && t->left[y] > 0)
                assert_in_range(t->started[x] + 2 - t->started[y], 0, 4);
}

static void check_start(const struct known *x, struct tally tallies[POOLS][2],
                        uint64_t started[POOLS]) {
    struct tally *t = &tallies[x->pool][x->priority];
    if (x->position == UINT64_MAX) return; /* claimed before */
    assert_int_equal(x->position, started[x->pool]++);
    t->started[x->owner]++;
    t->left[x->owner]--;
    check_fair(t);
}

/* Nothing comes any more: as many start before each as it was told. */
static void drain(struct walk *k, size_t most) {
    struct world *w = k->w;
    struct tally tallies[POOLS][2] = {0};
    uint64_t started[POOLS] = {0};
    w->capacity = 0;
    finish_some(w, w->nruns);
    for (size_t n = 0; n < k->n; n++) {
        struct known *x = &k->known[n];
        x->position = UINT64_MAX;
        if (!waits(k, x)) continue;
        x->position = true_position(w, x->id);
        tallies[x->pool][x->priority].left[x->owner]++;
    }
    for (size_t n = 0; n < most; n++) {
        open_up(w, 1);
        if (w->nruns == 0) break;
        check_start(known_of(k, w->runs[0].id), tallies, started);
        w->capacity = 0;
        finish_some(w, 1);
    }
}

static struct walk *walk_new(uint64_t seed) {
    struct walk *k = calloc(1, sizeof *k);
    k->w = world_new(seed);
    k->w->pooled = true;
    for (size_t p = 0; p < POOLS; p++) k->w->rooms[p] = SIZE_MAX;
    return k;
}

static void walk_free(struct walk *k) {
    world_free(k->w);
    free(k);
}

static void as_many_start_before_it_as_its_position_says(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct walk *k = walk_new(seed);
        for (unsigned round = 0; round < 8; round++) {
            walk_some(k, 0);
            drain(k, round % 2 == 0 ? draw(k->w, 20) : SIZE_MAX);
        }
        walk_free(k);
    }
}

static void what_is_shown_never_rises(void **state) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct walk *k = walk_new(seed);
        for (unsigned round = 0; round < 12; round++) {
            walk_some(k, seed % 2 == 0 ? 4 : 0);
            for (unsigned n = 0; n < 200; n++) {
                struct known *x = &k->known[draw(k->w, k->n)];
                struct answer *a = ask_status(k->w, x->id);
                if (a->state != STORE_IN_QUEUE) continue;
                assert_in_range(a->position, 0, x->position);
                assert_in_range(a->position, 0, stats_of(k->w).waiting);
                x->position = a->position;
            }
        }
        walk_free(k);
    }
}

/* As if its owner had no limit: its owner's own before it count, of others those that have a turn before its own. */
static void what_is_being_claimed_counts_until_it_is(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    uint64_t first = many(w, "a", 5);
    w->capacity = 3;
    queue_wake(w->queue);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(store_waiting(w), 3);
    uint64_t asked = status(w, w->answers[first + 3].id, false);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(w->answers[asked].position, 3);
    settle_world(w);
    assert_int_equal(ask_status(w, w->answers[first + 3].id)->position, 0);
}

static void what_waits_for_its_owners_others_has_a_position(void **state) {
    struct world *w = *state;
    struct queue_submit a = of("a", 0, "");
    a.owner_concurrency = 2;
    w->capacity = 0;
    uint64_t b = many(w, "b", 3), first = w->calls + 1;
    for (unsigned k = 0; k < 6; k++) submit_in(w, &a);
    settle_world(w);
    static const unsigned expected[] = {1, 3, 5, 6, 7, 8};
    for (unsigned k = 0; k < 6; k++)
        assert_int_equal(true_position(w, w->answers[first + k].id), expected[k]);
    assert_int_equal(true_position(w, w->answers[b + 2].id), 4);
    a.priority = 1;
    const char *low = submitted_in(w, &a);
    assert_int_equal(true_position(w, low), 9);
}

static const char *program;

/* BREAK=position-rises, planted in a process of its own. */
static void a_position_that_rises_is_found(void **state) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("BREAK", "position-rises", 1);
        setenv("TEST_FILTER", "what_is_shown_never_rises", 1);
        if (freopen("/dev/null", "w", stdout) != NULL && freopen("/dev/null", "w", stderr) != NULL)
            execl(program, program, (char *)NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* --- pools */

static const char *one_in(struct world *w, const char *owner, const char *model) {
    struct queue_submit in = of(owner, 0, model);
    return submitted_in(w, &in);
}

static void a_full_pool_holds_up_no_other(void **state) {
    struct world *w = *state;
    w->pooled = true;
    w->rooms[0] = 2;
    w->rooms[1] = 3;
    w->capacity = 100;
    struct queue_submit a = of("a", 0, "0");
    a.owner_concurrency = 5; /* its own are not held up either */
    for (unsigned k = 0; k < 5000; k++) submit_in(w, &a);
    settle_world(w);
    assert_int_equal(w->nruns, 2);
    assert_non_null(run_of(w, one_in(w, "b", "1")));
    a.model = SLICE("1");
    assert_non_null(run_of(w, submitted_in(w, &a)));
    assert_non_null(run_of(w, one_in(w, "b", "1")));
    const char *waiting = one_in(w, "c", "1");
    assert_null(run_of(w, waiting));
    assert_int_equal(ask_status(w, waiting)->position, 0);
    assert_int_equal(w->nruns, 5); /* and nothing is claimed that could not run */
    assert_int_equal(stats_of(w).running, 5);
    w->rooms[0] = 100;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->nruns, 7); /* five of a's */
}

/* As many as are allowed to wait for their next attempt. */
static void a_failing_pool_holds_up_no_other(void **state) {
    struct world *w = *state;
    w->pooled = true;
    w->capacity = w->rooms[0] = w->rooms[1] = 300;
    struct queue_submit a = of("a", 0, "0");
    for (unsigned k = 0; k < 600; k++) submit_in(w, &a);
    settle_world(w);
    struct queue_outcome failed = retryable(10);
    for (unsigned k = 0; k < 299; k++) {
        char id[STORE_ID_BYTES];
        memcpy(id, w->runs[0].id, sizeof id);
        end_run(w, w->runs[0].run, &failed);
    }
    settle_world(w);
    size_t n = w->nruns;
    assert_true(n < 300);
    assert_null(run_of(w, one_in(w, "b", "0")));
    assert_int_equal(w->nruns, n);
    assert_non_null(run_of(w, one_in(w, "b", "1")));
}

/* Two pools that share what there is. */
static void pools_take_turns_where_they_meet(void **state) {
    struct world *w = *state;
    struct queue_submit a = of("a", 0, "0"), b = of("b", 0, "1");
    w->pooled = true;
    w->rooms[0] = w->rooms[1] = 100;
    w->capacity = 0;
    for (unsigned k = 0; k < 1000; k++) submit_in(w, &a);
    settle_world(w);
    expect_turns(w, "aaa");
    for (unsigned k = 0; k < 3; k++) submit_in(w, &b);
    settle_world(w);
    expect_turns(w, "bababaa");
}

/* The room was taken while the store wrote the claim: it waits for room of its own pool. */
static void what_is_claimed_begins_when_its_own_pool_has_room(void **state) {
    struct world *w = *state;
    w->pooled = true;
    w->capacity = 10;
    w->rooms[0] = 5;
    w->rooms[1] = 1;
    struct queue_submit in = of("a", 0, "1");
    uint64_t n = submit_in(w, &in);
    while (store_step(w) && queue_tick(w->queue) > 0) continue; /* durable, and claimed */
    assert_int_equal(store_waiting(w), 1);
    w->rooms[1] = 0;
    settle_world(w);
    assert_int_equal(w->nruns, 0);
    assert_int_equal(ask_status(w, w->answers[n].id)->state, STORE_IN_PROGRESS);
    w->rooms[1] = 1;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->nruns, 1);
}

static void a_restart_keeps_the_pools(void **state) {
    struct world *w = *state;
    w->pooled = true;
    w->capacity = 100;
    w->rooms[0] = 0;
    w->rooms[1] = 1;
    for (unsigned k = 0; k < 20; k++) one_in(w, "a", "0");
    for (unsigned k = 0; k < 3; k++) one_in(w, "a", "1");
    assert_int_equal(w->nruns, 1);
    restart(w);
    assert_int_equal(w->nruns, 1);
    assert_int_equal(w->runs[0].pool, 1);
    assert_int_equal(w->runs[0].attempt, 2);
    finish_some(w, 1);
    assert_int_equal(w->runs[0].attempt, 1);
}

/* --- direct calls */

static void the_end_of_a_direct_call_wakes_the_queue(void **state) {
    struct world *w = *state;
    struct queue_submit in = of("a", 0, "");
    in.owner_concurrency = 1;
    submit_in(w, &in);
    queue_owner_calls(w->queue, SLICE("a"), 1);
    settle_world(w);
    assert_int_equal(w->nruns, 0);
    queue_owner_calls(w->queue, SLICE("a"), 0);
    assert_true(w->queue->wake_wanted);
    settle_world(w);
    assert_int_equal(w->nruns, 1);
}

/* --- the list */

struct listed {
    size_t n;
    struct queue_entry entries[64];
    char ids[64][STORE_ID_BYTES];
};

static void take_entry(void *user, const struct queue_entry *e) {
    struct listed *l = user;
    l->entries[l->n] = *e;
    memcpy(l->ids[l->n++], e->id, STORE_ID_BYTES);
}

static void the_list_is_what_runs_then_what_starts_next(void **state) {
    struct world *w = *state;
    struct listed l = {0};
    struct queue_submit limited = of("c", 1, "");
    limited.owner_concurrency = 1;
    w->capacity = 2;
    many(w, "a", 12);
    many(w, "b", 3);
    submitted_in(w, &limited);
    const char *over = submitted_in(w, &limited);
    assert_int_equal(queue_list(w->queue, 64, take_entry, &l), 17);
    assert_int_equal(l.n, 17);
    for (size_t k = 0; k < 2; k++) {
        assert_string_equal(l.entries[k].step, "running");
        assert_int_equal(l.entries[k].state, STORE_IN_PROGRESS);
        assert_int_equal(l.entries[k].attempt, 1);
        assert_non_null(run_of(w, l.ids[k]));
        assert_true(l.entries[k].started_ms == w->wall_ms);
    }
    for (size_t k = 2; k < 17; k++) {
        assert_string_equal(l.entries[k].step, "waiting");
        assert_true(l.entries[k].created_ms == w->wall_ms && l.entries[k].started_ms == 0);
    }
    assert_string_equal(l.ids[16], over);
    assert_int_equal(l.entries[16].priority, 1);
    w->capacity = 0;
    finish_some(w, 2);
    for (size_t k = 2; k < 16; k++) {
        open_up(w, 1);
        assert_string_equal(w->runs[0].id, l.ids[k]);
        w->capacity = 0;
        finish_some(w, 1);
    }
}

static void the_list_is_as_short_as_asked_for(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    many(w, "a", 20);
    for (size_t limit = 0; limit < 6; limit++) {
        struct listed l = {0};
        assert_int_equal(queue_list(w->queue, limit, take_entry, &l), 20);
        assert_int_equal(l.n, limit);
    }
}

static void the_list_goes_by_position_over_pools(void **state) {
    struct world *w = *state;
    struct listed l = {0};
    w->pooled = true;
    w->capacity = 0;
    static const char *const models[] = {"0", "0", "0", "1", "1", "2", "2", "2"};
    for (size_t k = 0; k < 8; k++) {
        struct queue_submit in = of("a", 0, models[k]);
        submitted_in(w, &in);
    }
    assert_int_equal(queue_list(w->queue, 64, take_entry, &l), 8);
    for (size_t k = 0; k < 8; k++) assert_int_equal(l.entries[k].position, k < 6 ? k / 3 : 2);
}

static void the_list_has_what_came_back_from_a_claim_once(void **state) {
    struct world *w = *state;
    struct listed l = {0};
    w->capacity = 0;
    many(w, "a", 4);
    w->fail_next = 4;
    open_up(w, 4);
    assert_int_equal(queue_list(w->queue, 64, take_entry, &l), 4);
    assert_int_equal(l.n, 4);
}

/* In progress to those who ask, though nobody runs it: after a restart. Each once. */
static void the_list_has_the_lost_and_each_once(void **state) {
    struct world *w = *state;
    struct listed l = {0};
    w->capacity = 3;
    many(w, "a", 6);
    world_crash(w);
    w->capacity = 0;
    world_start(w);
    settle_world(w);
    w->fail_next = 2; /* claims that come back */
    open_up(w, 5);
    assert_int_equal(queue_list(w->queue, 64, take_entry, &l), 6);
    assert_int_equal(l.n, 6);
    for (size_t k = 0; k < 6; k++) {
        assert_int_equal(l.entries[k].state, k < 5 ? STORE_IN_PROGRESS : STORE_IN_QUEUE);
        for (size_t j = 0; j < k; j++) assert_string_not_equal(l.ids[j], l.ids[k]);
    }
}

#define T WORLD_TEST

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        T(a_single_one_waits_for_one_running_one_of_ten_thousand),
        T(each_priority_has_turns_of_its_own),
        T(a_limited_owner_takes_turns_too),
        T(cancels_cost_an_owner_no_turn),
        T(who_comes_back_has_its_turn),
        T(who_comes_again_and_again_gets_its_share),
        T(failed_claims_keep_the_turn),
        T(a_line_that_was_claimed_whole_comes_back_whole),
        cmocka_unit_test(as_many_start_before_it_as_its_position_says),
        cmocka_unit_test(what_is_shown_never_rises),
        T(what_is_being_claimed_counts_until_it_is),
        T(what_waits_for_its_owners_others_has_a_position),
        cmocka_unit_test(a_position_that_rises_is_found),
        T(a_full_pool_holds_up_no_other),
        T(a_failing_pool_holds_up_no_other),
        T(pools_take_turns_where_they_meet),
        T(what_is_claimed_begins_when_its_own_pool_has_room),
        T(a_restart_keeps_the_pools),
        T(the_end_of_a_direct_call_wakes_the_queue),
        T(the_list_is_what_runs_then_what_starts_next),
        T(the_list_is_as_short_as_asked_for),
        T(the_list_goes_by_position_over_pools),
        T(the_list_has_what_came_back_from_a_claim_once),
        T(the_list_has_the_lost_and_each_once),
    };
    program = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
