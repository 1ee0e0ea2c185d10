/* The desk: each asker gets the answer to its own question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/desk.h"

#include <stdlib.h>

#define MANY 1000U

struct asker {
    struct desk *desk;
    uint64_t args[MANY + 1]; /* as they were answered */
    const struct store_reply *replies[MANY + 1];
    unsigned answers;
    uint64_t asks_again; /* this many times from inside of done */
};

static void on_answer(void *user, uint64_t arg, const struct store_reply *r) {
    struct asker *a = user;
    assert_true(a->answers <= MANY);
    a->args[a->answers] = arg;
    a->replies[a->answers++] = r;
}

static int setup(void **state) {
    struct asker *a = calloc(1, sizeof *a);
    a->desk = desk_new();
    *state = a;
    return a->desk != NULL ? 0 : -1;
}

static int teardown(void **state) {
    struct asker *a = *state;
    desk_free(a->desk);
    free(a);
    return 0;
}

static void desk_answers_each_its_own_in_any_order(void **state) {
    struct asker *a = *state;
    static uint64_t tickets[MANY];
    static struct store_reply replies[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        tickets[i] = desk_ask(a->desk, on_answer, a, 7000 + i);
        assert_int_not_equal(tickets[i], 0);
        for (unsigned k = 0; k < i; k++) assert_true(tickets[k] != tickets[i]);
        assert_int_equal(desk_waiting(a->desk), i + 1);
    }
    assert_int_equal(a->answers, 0);
    for (unsigned n = 0; n < MANY; n++) {
        unsigned i = n * 379U % MANY;
        desk_answer(a->desk, tickets[i], &replies[i]);
        assert_int_equal(a->answers, n + 1);
        assert_int_equal(a->args[n], 7000 + i);
        assert_ptr_equal(a->replies[n], &replies[i]);
    }
    assert_int_equal(desk_waiting(a->desk), 0);
}

static void desk_tickets_are_told_from_the_queues(void **state) {
    struct asker *a = *state;
    for (unsigned i = 0; i < 200; i++) assert_true(desk_owns(desk_ask(a->desk, on_answer, a, i)));
    assert_false(desk_owns(0));
    assert_false(desk_owns(1));
    assert_false(desk_owns(UINT64_MAX >> 1));
}

/* So that the desk is as large as what waits at once, not as what was ever asked. */
static void desk_gives_a_place_again(void **state) {
    struct asker *a = *state;
    struct store_reply r = {.status = STORE_OK};
    uint64_t first = desk_ask(a->desk, on_answer, a, 0);
    uint64_t second = desk_ask(a->desk, on_answer, a, 1);
    for (unsigned i = 2; i < MANY; i++) {
        desk_answer(a->desk, first, &r);
        assert_int_equal(desk_ask(a->desk, on_answer, a, i), first);
    }
    desk_answer(a->desk, second, &r);
    assert_int_equal(a->args[a->answers - 1], 1);
    desk_answer(a->desk, first, &r);
    assert_int_equal(a->args[a->answers - 1], MANY - 1);
}

/* The place of the question that is being answered is free already: a chain of questions needs one. */
static void ask_again(void *user, uint64_t arg, const struct store_reply *r) {
    struct asker *a = user;
    assert_int_equal(desk_waiting(a->desk), 0);
    if (arg == 0) return;
    uint64_t ticket = desk_ask(a->desk, ask_again, a, arg - 1);
    a->asks_again++;
    desk_answer(a->desk, ticket, r);
}

static void desk_may_be_asked_from_inside_an_answer(void **state) {
    struct asker *a = *state;
    struct store_reply r = {.status = STORE_STALE};
    desk_answer(a->desk, desk_ask(a->desk, ask_again, a, 100), &r);
    assert_int_equal(a->asks_again, 100);
    assert_int_equal(desk_waiting(a->desk), 0);
}

/* The desk grows while an older question is under way, and inside of an answer. */
static void ask_many(void *user, uint64_t arg, const struct store_reply *r) {
    struct asker *a = user;
    for (unsigned i = 0; i < 500; i++) assert_true(desk_ask(a->desk, on_answer, a, i) != 0);
}

static void desk_grows_inside_an_answer(void **state) {
    struct asker *a = *state;
    struct store_reply r = {.status = STORE_OK};
    uint64_t older = desk_ask(a->desk, on_answer, a, 77);
    desk_answer(a->desk, desk_ask(a->desk, ask_many, a, 0), &r);
    assert_int_equal(desk_waiting(a->desk), 501);
    desk_answer(a->desk, older, &r);
    assert_int_equal(a->args[0], 77);
}

static void desk_free_takes_nothing_too(void **state) {
    desk_free(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(desk_answers_each_its_own_in_any_order),
        T(desk_tickets_are_told_from_the_queues),
        T(desk_gives_a_place_again),
        T(desk_may_be_asked_from_inside_an_answer),
        T(desk_grows_inside_an_answer),
        T(desk_free_takes_nothing_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
