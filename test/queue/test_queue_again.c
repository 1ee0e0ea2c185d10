/* Submits that come again: what the queue makes of what the store says of an idempotency key. The store here is the world's
 * with a memory of keys before it. */
#include "queue/world.h"

#include <stdio.h>
#include <string.h>

#define MAX_KEYS 16U

static struct known {
    char key[16], id[STORE_ID_BYTES];
    unsigned char hash[32];
    int64_t until_ms;
} keys[MAX_KEYS];
static size_t nkeys;

/* Answers to come: of repeats, and of those that were only asked for. */
static struct pending {
    uint64_t ticket;
    const struct known *known; /* NULL: not found */
    bool same_body;
} answers[MAX_KEYS];
static size_t nanswers;

static const struct store_backend *worlds;
static struct store_backend with_keys;

static const struct known *known_of(const struct store_submit *in) {
    for (size_t i = 0; i < nkeys; i++)
        if (slice_is(in->idempotency_key, keys[i].key) && in->now_ms < keys[i].until_ms)
            return &keys[i];
    return NULL;
}

static void give_submit(struct store *s, uint64_t ticket, const struct store_submit *in) {
    const struct known *k = in->idempotency_key.len > 0 ? known_of(in) : NULL;
    if (k != NULL || in->only_known) {
        bool same = k != NULL && memcmp(k->hash, in->body_hash, sizeof k->hash) == 0;
        assert_true(nanswers < MAX_KEYS);
        answers[nanswers++] = (struct pending){ticket, k, same};
        return;
    }
    if (in->idempotency_key.len > 0) {
        struct known *new = &keys[nkeys++];
        assert_true(nkeys <= MAX_KEYS);
        snprintf(new->key, sizeof new->key, "%.*s", SLICE_ARG(in->idempotency_key));
        snprintf(new->id, sizeof new->id, "%s", in->id);
        memcpy(new->hash, in->body_hash, sizeof new->hash);
        new->until_ms = in->idempotency_until_ms;
        assert_true(in->idempotency_until_ms == in->now_ms + QUEUE_IDEMPOTENCY_MS);
    }
    worlds->submit(s, ticket, in);
}

/* The store answers what was given after the rest. */
static void answer_repeats(struct world *w) {
    settle_world(w);
    for (size_t i = 0; i < nanswers; i++) {
        struct store_row row = {0};
        struct store_reply r = {.status = STORE_NOT_FOUND};
        if (answers[i].known != NULL) {
            memcpy(row.id, answers[i].known->id, sizeof row.id);
            r = (struct store_reply){
                .status = STORE_KNOWN, .same_body = answers[i].same_body, .row = &row};
        }
        queue_store_done(w->queue, answers[i].ticket, &r);
    }
    nanswers = 0;
    settle_world(w);
}

static int setup(void **state) {
    int rc = world_setup(state);
    struct world *w = *state;
    worlds = w->store.backend;
    with_keys = *worlds;
    with_keys.submit = give_submit;
    w->store.backend = &with_keys;
    nkeys = nanswers = 0;
    return rc;
}

static struct queue_submit keyed(const char *key, unsigned char body) {
    struct queue_submit in = plain();
    in.idempotency_key = slice_of(key);
    in.body_hash[0] = body;
    return in;
}

static struct answer *submit_keyed(struct world *w, const char *key, unsigned char body) {
    struct queue_submit in = keyed(key, body);
    uint64_t n = submit_in(w, &in);
    answer_repeats(w);
    return &w->answers[n];
}

static void expect_again(struct world *w, const char *key, const char *id, enum store_state state) {
    const struct answer *a = submit_keyed(w, key, 1);
    assert_int_equal(a->times, 1);
    assert_int_equal(a->code, QUEUE_OK);
    assert_string_equal(a->id, id);
    assert_int_equal(a->state, state);
}

static void a_repeat_is_answered_with_the_first_request_as_it_stands(void **state) {
    struct world *w = *state;
    char id[STORE_ID_BYTES];
    w->capacity = 1;
    submitted(w, 0, false);
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    expect_again(w, "k", id, STORE_IN_QUEUE);
    finish(w, w->runs[0].id, good());
    expect_again(w, "k", id, STORE_IN_PROGRESS);
    finish(w, id, good());
    expect_again(w, "k", id, STORE_COMPLETED);
    assert_int_equal(stats_of(w).again, 3);
    assert_int_equal(stats_of(w).submitted, 2);
    restart(w);
    expect_again(w, "k", id, STORE_COMPLETED);
    check_world(w);
}

static void a_jump_of_the_clock_frees_no_key(void **state) {
    struct world *w = *state;
    static const int64_t years[] = {27, -54, 30}; /* ahead, before 1970, and nearly right */
    char id[STORE_ID_BYTES];
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    for (size_t k = 0; k < sizeof years / sizeof *years; k++) {
        w->wall_ms += years[k] * 365 * 86400000;
        expect_again(w, "k", id, STORE_IN_PROGRESS);
        pass(w, 60000);
        expect_again(w, "k", id, STORE_IN_PROGRESS);
    }
    assert_int_equal(stats_of(w).submitted, 1);
    finish(w, id, good());
    check_world(w);
}

/* The machine's first clock is that of 1970, and is set right with work under way. */
static void a_key_of_1970_is_known_when_the_clock_is_right(void **state) {
    struct world *w = *state;
    int64_t right = w->wall_ms;
    char id[STORE_ID_BYTES];
    w->wall_ms = 5000;
    restart(w);
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    assert_int_equal(row_of(w, id)->created_ms, w->wall_ms);
    w->wall_ms = right;
    expect_again(w, "k", id, STORE_IN_PROGRESS);
    finish(w, id, good());
    expect_again(w, "k", id, STORE_COMPLETED);
    check_world(w);
}

static void a_key_is_free_when_its_day_has_passed(void **state) {
    struct world *w = *state;
    char id[STORE_ID_BYTES];
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    finish(w, id, good());
    pass(w, QUEUE_IDEMPOTENCY_MS - 1000);
    expect_again(w, "k", id, STORE_COMPLETED);
    pass(w, 1000);
    assert_string_not_equal(submit_keyed(w, "k", 1)->id, id);
}

static void copies_at_once_are_one_request(void **state) {
    struct world *w = *state;
    struct queue_submit in = keyed("k", 1);
    uint64_t first = submit_in(w, &in), n = first;
    for (unsigned i = 0; i < 10; i++) n = submit_in(w, &in);
    answer_repeats(w);
    for (; n > first; n--) {
        assert_int_equal(w->answers[n].times, 1);
        assert_string_equal(w->answers[n].id, w->answers[first].id);
    }
    assert_int_equal(stats_of(w).submitted, 1);
    assert_int_equal(w->nruns, 1);
    check_world(w);
}

static void another_body_is_told_and_changes_nothing(void **state) {
    struct world *w = *state;
    char id[STORE_ID_BYTES];
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    assert_int_equal(submit_keyed(w, "k", 2)->code, QUEUE_OTHER_BODY);
    expect_again(w, "k", id, STORE_IN_PROGRESS);
    assert_int_equal(stats_of(w).again, 1);
    check_world(w);
}

/* Of its owner's share too: a repeat has none, also while it is under way. */
static void where_no_more_may_wait_repeats_are_answered_and_new_ones_refused(void **state) {
    struct world *w = *state;
    struct queue_submit in = keyed("k", 1), new = keyed("new", 1);
    char id[STORE_ID_BYTES];
    w->capacity = 0;
    in.owner_queue_length = new.owner_queue_length = 1;
    uint64_t n = submit_in(w, &in);
    answer_repeats(w);
    memcpy(id, w->answers[n].id, sizeof id);
    uint64_t refused = submit_in(w, &new), again = submit_in(w, &in);
    assert_int_equal(stats_of(w).waiting, 1);
    answer_repeats(w);
    assert_int_equal(w->answers[refused].code, QUEUE_FULL);
    assert_int_equal(w->answers[again].code, QUEUE_OK);
    assert_string_equal(w->answers[again].id, id);
    assert_int_equal(nkeys, 1); /* what was refused was only asked for */
    ask_cancelled(w, id);
    n = submit_in(w, &new);
    answer_repeats(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    check_world(w);
}

static void a_repeat_leaves_its_owner_as_it_was(void **state) {
    struct world *w = *state;
    struct queue_submit in = keyed("k", 1);
    w->capacity = 0;
    in.owner_queue_length = 2;
    submit_in(w, &in);
    answer_repeats(w);
    for (unsigned i = 0; i < 5; i++) {
        submit_in(w, &in); /* for a while they look like new ones */
        answer_repeats(w);
    }
    in = keyed("other", 1);
    in.owner_queue_length = 2;
    uint64_t n = submit_in(w, &in);
    answer_repeats(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    assert_int_equal(stats_of(w).waiting, 2);
    check_world(w);
}

/* Forgotten between the store's two answers: not "not found", which no submit is told, but try again. */
static void a_repeat_of_what_goes_at_that_moment_is_unavailable(void **state) {
    struct world *w = *state;
    char id[STORE_ID_BYTES];
    memcpy(id, submit_keyed(w, "k", 1)->id, sizeof id);
    finish(w, id, good());
    row_of(w, id)->swept = true;
    assert_int_equal(submit_keyed(w, "k", 1)->code, QUEUE_UNAVAILABLE);
}

static void a_repeat_while_the_server_ends_is_unavailable(void **state) {
    struct world *w = *state;
    submit_keyed(w, "k", 1);
    queue_drain(w->queue, NULL, NULL);
    assert_int_equal(submit_keyed(w, "k", 1)->code, QUEUE_UNAVAILABLE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_repeat_is_answered_with_the_first_request_as_it_stands),
        T(a_jump_of_the_clock_frees_no_key),
        T(a_key_of_1970_is_known_when_the_clock_is_right),
        T(a_key_is_free_when_its_day_has_passed),
        T(copies_at_once_are_one_request),
        T(another_body_is_told_and_changes_nothing),
        T(where_no_more_may_wait_repeats_are_answered_and_new_ones_refused),
        T(a_repeat_leaves_its_owner_as_it_was),
        T(a_repeat_of_what_goes_at_that_moment_is_unavailable),
        T(a_repeat_while_the_server_ends_is_unavailable),
    };
    return cmocka_run_group_tests_name("queue_again", tests, NULL, NULL);
}
