/* Keys of one owner with different limits: what a change of the limit costs, counted in requests that become eligible or
 * are no longer. */
#include "queue/world.h"

#include "queue/inside.h"

#include <stdio.h>

#define WAITING 10000U

static struct queue_submit of(uint64_t limit) {
    struct queue_submit in = plain();
    in.owner_concurrency = limit;
    return in;
}

static uint32_t eligible(struct world *w) {
    const struct owner *o = owner_find(w->queue, SLICE("app1"));
    uint32_t n = 0;
    for (const struct line *l = o != NULL ? o->lines : NULL; l != NULL; l = l->next) n += l->slots;
    return n;
}

/* Counts moves, as long as no step moves some there and back. */
struct moves {
    uint32_t last;
    uint64_t n;
};

static void look(struct world *w, struct moves *m) {
    uint32_t now = eligible(w);
    m->n += now > m->last ? now - m->last : m->last - now;
    m->last = now;
}

static void many_wait(struct world *w, unsigned n) {
    struct queue_submit in = of(0);
    w->capacity = 0;
    for (unsigned k = 0; k < n; k++) submit_in(w, &in);
    settle_world(w);
    assert_int_equal(eligible(w), n);
}

static void limits_that_alternate_move_few(void **state) {
    struct world *w = *state;
    many_wait(w, WAITING);
    struct moves m = {WAITING, 0};
    for (unsigned k = 0; k < 50; k++) {
        struct queue_submit in = of(k % 2 == 0 ? 5 : 0);
        submit_in(w, &in);
        look(w, &m);
        settle_world(w);
        look(w, &m);
    }
    assert_in_range(m.n, 1, 2 * WAITING);
    pass(w, 1000);
    assert_int_equal(eligible(w), WAITING + 50); /* the last one's */
}

/* All the time, at the speed of a busy server: a submit each millisecond. */
static void they_cost_one_change_in_a_tenth_of_a_second(void **state) {
    struct world *w = *state;
    many_wait(w, WAITING);
    struct moves m = {WAITING, 0};
    for (unsigned k = 0; k < 1000; k++) {
        struct queue_submit in = of(k % 3 == 0 ? 5 : 0);
        submit_in(w, &in);
        pass(w, 1);
        look(w, &m);
    }
    assert_in_range(m.n, WAITING, 12 * WAITING);
    struct queue_submit in = of(7);
    submit_in(w, &in);
    pass(w, 100);
    assert_int_equal(eligible(w), 7);
}

static void the_first_change_counts_at_once(void **state) {
    struct world *w = *state;
    many_wait(w, 100);
    struct queue_submit in = of(5);
    submitted_in(w, &in);
    assert_int_equal(eligible(w), 5);
    in = of(0);
    submitted_in(w, &in);
    assert_int_equal(eligible(w), 5);
    assert_in_range(queue_tick(w->queue), 1, 100); /* by itself */
    pass(w, 100);
    assert_int_equal(eligible(w), 102);
}

/* Who has gone meanwhile, and who is there again under the same name. */
static void a_wish_goes_with_its_owner(void **state) {
    struct world *w = *state;
    many_wait(w, 2);
    struct queue_submit in = of(1);
    submitted_in(w, &in);
    in = of(2);
    submitted_in(w, &in);
    for (size_t k = 0; k < w->nrows; k++) ask_cancelled(w, w->rows[k].id);
    assert_null(owner_find(w->queue, SLICE("app1")));
    many_wait(w, 9);
    pass(w, 1000);
    assert_int_equal(eligible(w), 9);
}

static void a_load_with_limits_that_alternate_moves_few(void **state) {
    struct world *w = *state;
    enum { N = 600 };
    many_wait(w, N);
    for (size_t k = 0; k < w->nrows; k++) w->rows[k].wishes.owner_concurrency = k % 2 == 0 ? 5 : 3;
    w->piece = 1;
    world_crash(w);
    world_start(w);
    struct moves m = {0, 0};
    do {
        while (queue_tick(w->queue) == 0) continue;
        look(w, &m);
    } while (store_step(w));
    assert_false(stats_of(w).loading);
    assert_in_range(m.n, 1, 20);
    assert_int_equal(eligible(w), 3); /* the last one's, as soon as all is there */
}

#define T WORLD_TEST

int main(void) {
    const struct CMUnitTest tests[] = {
        T(limits_that_alternate_move_few),
        T(they_cost_one_change_in_a_tenth_of_a_second),
        T(the_first_change_counts_at_once),
        T(a_wish_goes_with_its_owner),
        T(a_load_with_limits_that_alternate_moves_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
