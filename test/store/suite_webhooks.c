/* The contract's outbox, whatever stands behind it. */
#include "store/store_suite.h"

#include <stdio.h>
#include <stdlib.h>

#define ID "11111111-2222-4333-8444-555555555555"

/* A completed request with a webhook, which waits from 3000 + n on. */
static void give_one(struct fixture *f, const char *id, const char *owner, unsigned n,
                     int64_t forget_ms) {
    struct store_submit in = {.id = id,
                              .endpoint = SLICE("a/b"),
                              .owner = slice_of(owner),
                              .input = SLICE("{}"),
                              .webhook = SLICE("https://example.org/hook?a=1")};
    struct store_complete c = completion(id, 1, 7);
    c.completed_ms = 3000 + n;
    c.forget_ms = forget_ms;
    give_submit(f, &in);
    give_claim(f, id, 0, "boot-1", 7);
    give_complete(f, &c);
    fixture_settle(f);
}

static enum store_status note(struct fixture *f, const char *id, uint32_t attempt,
                              enum store_webhook_state state) {
    struct store_webhook_note n = {.id = id,
                                   .attempt = attempt,
                                   .state = state,
                                   .at_ms = 4000 + attempt,
                                   .due_ms = 5000 + attempt,
                                   .status = 500 + attempt,
                                   .error = SLICE("the receiver answered 500")};
    return status_of(f, give_note(f, &n));
}

static const struct store_webhook *webhook(struct fixture *f, const char *id) {
    assert_int_equal(READ(f, ask_webhook(f, id)), STORE_OK);
    assert_int_equal(f->nwebhooks, 1);
    assert_string_equal(f->webhooks[0].id, id);
    return &f->webhooks[0];
}

static void sweeps(struct fixture *f, int64_t now_ms, size_t swept, int64_t left_ms) {
    uint64_t t = give_sweep(f, now_ms, 100);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, swept);
    assert_int_equal(f->answers[t].forget_ms, left_ms);
}

/* --- tries */

static void a_webhook_comes_with_its_request_and_result(void **state) {
    struct fixture *f = *state;
    assert_int_equal(READ(f, ask_webhook(f, ID)), STORE_NOT_FOUND);
    give_id(f, id_of(1));
    assert_int_equal(READ(f, ask_webhook(f, id_of(1))), STORE_NOT_FOUND);
    give_one(f, ID, "app1", 0, 0);
    for (unsigned round = 0; round < 2; round++) {
        const struct store_webhook *w = webhook(f, ID);
        assert_int_equal(w->state, STORE_WEBHOOK_WAITING);
        assert_true(slice_is(w->url, "https://example.org/hook?a=1"));
        assert_true(slice_is(w->owner, "app1") && slice_is(w->endpoint, "a/b"));
        assert_int_equal(w->attempt, 0);
        assert_int_equal(w->created_ms, 3000);
        assert_int_equal(w->due_ms, 3000);
        assert_int_equal(w->ended_ms, 0);
        assert_int_equal(w->last_status, 0);
        assert_int_equal(w->last_error.len, 0);
        assert_true(f->has_row && slice_is(f->row.body, "{\"output\":\"hi\"}"));
        assert_int_equal(f->row.http_status, 200);
        fixture_close(f);
        fixture_open(f);
    }
}

static void a_webhook_of_a_cancelled_request_waits_too(void **state) {
    struct fixture *f = *state;
    struct store_submit in = {
        .id = ID, .endpoint = SLICE("a/b"), .input = SLICE("{}"), .webhook = SLICE("http://h/")};
    give_submit(f, &in);
    give_finish(f, ID, 0, "boot-1");
    assert_int_equal(webhook(f, ID)->state, STORE_WEBHOOK_WAITING);
    assert_int_equal(f->row.http_status, 499);
}

static void a_note_is_guarded_by_attempt_and_waiting(void **state) {
    struct fixture *f = *state;
    assert_int_equal(note(f, ID, 0, STORE_WEBHOOK_WAITING), STORE_NOT_FOUND);
    give_one(f, ID, "app1", 0, 0);
    assert_int_equal(note(f, ID, 1, STORE_WEBHOOK_DELIVERED), STORE_STALE);
    assert_int_equal(note(f, ID, 0, STORE_WEBHOOK_WAITING), STORE_OK);
    assert_int_equal(note(f, ID, 0, STORE_WEBHOOK_WAITING), STORE_STALE);
    const struct store_webhook *w = webhook(f, ID);
    assert_int_equal(w->attempt, 1);
    assert_int_equal(w->due_ms, 5000);
    assert_int_equal(w->ended_ms, 0);
    assert_int_equal(w->last_status, 500);
    assert_true(slice_is(w->last_error, "the receiver answered 500"));
    assert_int_equal(note(f, ID, 1, STORE_WEBHOOK_DELIVERED), STORE_OK);
    w = webhook(f, ID);
    assert_int_equal(w->state, STORE_WEBHOOK_DELIVERED);
    assert_int_equal(w->attempt, 2);
    assert_int_equal(w->ended_ms, 4001);
    assert_int_equal(w->last_status, 501);
    assert_int_equal(note(f, ID, 2, STORE_WEBHOOK_WAITING), STORE_STALE);
    assert_int_equal(note(f, ID, 2, STORE_WEBHOOK_DEAD), STORE_STALE);
}

static void pending_webhooks_are_all_that_wait_in_order_of_their_time(void **state) {
    struct fixture *f = *state;
    static const enum store_webhook_state ends[] = {STORE_WEBHOOK_DELIVERED, STORE_WEBHOOK_DEAD,
                                                    STORE_WEBHOOK_GONE};
    assert_int_equal(READ(f, ask_waiting(f)), STORE_OK);
    assert_int_equal(f->nwebhooks, 0);
    for (unsigned n = 0; n < 60; n++) give_one(f, id_of(n), "app1", n * 37 % 60, 0);
    for (unsigned n = 0; n < 30; n++) note(f, id_of(n), 0, ends[n % 3]);
    note(f, id_of(30), 0, STORE_WEBHOOK_WAITING); /* later than all others */
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(READ(f, ask_waiting(f)), STORE_OK);
    assert_int_equal(f->nwebhooks, 30);
    for (unsigned i = 1; i < 30; i++)
        assert_true(f->webhooks[i].due_ms > f->webhooks[i - 1].due_ms);
    assert_string_equal(f->webhooks[29].id, id_of(30));
}

/* --- lists */

/* 90 webhooks: each second is app2's; of four one is dead, one delivered, one gone, one waits. */
static void give_many(struct fixture *f) {
    for (unsigned n = 0; n < 90; n++) {
        give_one(f, id_of(n), n % 2 ? "app2" : "app1", n, 0);
        if (n / 2 % 4 != STORE_WEBHOOK_WAITING)
            note(f, id_of(n), 0, (enum store_webhook_state)(n / 2 % 4));
    }
}

static unsigned walk(struct fixture *f, struct store_webhook_query q) {
    unsigned all = 0;
    uint64_t last = UINT64_MAX;
    q.limit = 8;
    do {
        uint64_t t = ask_webhooks(f, &q);
        assert_int_equal(READ(f, t), STORE_OK);
        assert_true(f->answers[t].next == 0 || f->nwebhooks == 8);
        for (size_t i = 0; i < f->nwebhooks; i++) {
            const struct store_webhook *w = &f->webhooks[i];
            assert_true(w->seq < last);
            assert_true(q.state < 0 || w->state == (enum store_webhook_state)q.state);
            assert_true(q.owner.len == 0 || slice_eq(w->owner, q.owner));
            last = w->seq;
        }
        all += (unsigned)f->nwebhooks;
        q.after = f->answers[t].next;
    } while (q.after != 0);
    return all;
}

static void webhooks_page_newest_first_by_owner_and_state(void **state) {
    struct fixture *f = *state;
    give_many(f);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = -1}), 90);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = -1, .owner = SLICE("app2")}),
                     45);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = STORE_WEBHOOK_WAITING}), 24);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = STORE_WEBHOOK_DEAD}), 22);
    assert_int_equal(
        walk(f, (struct store_webhook_query){.state = STORE_WEBHOOK_DEAD, .owner = SLICE("app1")}),
        11);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = -1, .owner = SLICE("app")}), 0);
}

/* --- again */

static void replay_of_one_begins_anew(void **state) {
    struct fixture *f = *state;
    static const enum store_webhook_state ends[] = {STORE_WEBHOOK_DELIVERED, STORE_WEBHOOK_DEAD,
                                                    STORE_WEBHOOK_GONE};
    assert_int_equal(status_of(f, give_replay(f, ID, SLICE_NONE, 9000)), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_replay(f, "", SLICE_NONE, 9000)), STORE_NOT_FOUND);
    give_one(f, ID, "app1", 0, 0);
    assert_int_equal(status_of(f, give_replay(f, ID, SLICE_NONE, 9000)), STORE_STALE);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(note(f, ID, 0, ends[i]), STORE_OK);
        assert_int_equal(status_of(f, give_replay(f, ID, SLICE("app2"), 9000)), STORE_NOT_FOUND);
        assert_int_equal(webhook(f, ID)->state, ends[i]);
        uint64_t t = give_replay(f, ID, i % 2 ? SLICE_NONE : SLICE("app1"), 9000 + i);
        assert_int_equal(status_of(f, t), STORE_OK);
        assert_int_equal(f->answers[t].count, 1);
        const struct store_webhook *w = webhook(f, ID);
        assert_int_equal(w->state, STORE_WEBHOOK_WAITING);
        assert_int_equal(w->attempt, 0);
        assert_int_equal(w->due_ms, 9000 + i);
        assert_int_equal(w->ended_ms, 0);
    }
}

static void replay_of_all_takes_the_dead_ones_of_the_owner(void **state) {
    struct fixture *f = *state;
    give_many(f);
    uint64_t t = give_replay(f, NULL, SLICE("app1"), 9000);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].count, 11);
    struct store_webhook_query dead = {.state = STORE_WEBHOOK_DEAD};
    struct store_webhook_query gone = {.state = STORE_WEBHOOK_GONE};
    assert_int_equal(walk(f, dead), 11);
    assert_int_equal(walk(f, gone), 22);
    t = give_replay(f, NULL, SLICE_NONE, 9000);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].count, 11);
    assert_int_equal(walk(f, dead), 0);
    assert_int_equal(READ(f, ask_waiting(f)), STORE_OK);
    assert_int_equal(f->nwebhooks, 46);
    t = give_replay(f, NULL, SLICE_NONE, 9000);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].count, 0);
}

/* --- and the sweep */

static void a_request_is_not_swept_while_its_webhook_waits(void **state) {
    struct fixture *f = *state;
    give_one(f, ID, "app1", 0, 5000);
    give_one(f, id_of(1), "app1", 0, 6000);
    assert_int_equal(note(f, id_of(1), 0, STORE_WEBHOOK_GONE), STORE_OK);
    sweeps(f, 5500, 0, 5000);
    sweeps(f, 6500, 1, 5000);
    assert_int_equal(webhook(f, ID)->state, STORE_WEBHOOK_WAITING);
    assert_true(f->has_row);
    assert_int_equal(f->row.forget_ms, 5000);
    fixture_close(f);
    fixture_open(f);
    sweeps(f, 6500, 0, 5000);
    assert_int_equal(note(f, ID, 0, STORE_WEBHOOK_WAITING), STORE_OK);
    sweeps(f, 6500, 0, 5000);
    assert_int_equal(note(f, ID, 1, STORE_WEBHOOK_DELIVERED), STORE_OK);
    sweeps(f, 4999, 0, 5000);
    sweeps(f, 5000, 1, 0);
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_NOT_FOUND);
    assert_int_equal(READ(f, ask_webhook(f, ID)), STORE_NOT_FOUND);
}

/* The others stay, and nothing that was swept is brought back to wait. */
static void an_ended_webhook_goes_with_its_request(void **state) {
    struct fixture *f = *state;
    static const enum store_webhook_state ends[] = {STORE_WEBHOOK_DELIVERED, STORE_WEBHOOK_DEAD,
                                                    STORE_WEBHOOK_GONE, STORE_WEBHOOK_DEAD};
    for (unsigned n = 0; n < 4; n++) {
        give_one(f, id_of(n), "app1", 0, 5000 + 1000 * (n == 3));
        assert_int_equal(note(f, id_of(n), 0, ends[n]), STORE_OK);
    }
    sweeps(f, 5000, 3, 6000);
    assert_int_equal(walk(f, (struct store_webhook_query){.state = -1}), 1);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(READ(f, ask_webhook(f, id_of(n))), STORE_NOT_FOUND);
        assert_int_equal(status_of(f, give_replay(f, id_of(n), SLICE_NONE, 9)), STORE_NOT_FOUND);
    }
    uint64_t t = give_replay(f, NULL, SLICE_NONE, 9);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].count, 1);
    assert_int_equal(READ(f, ask_waiting(f)), STORE_OK);
    assert_int_equal(f->nwebhooks, 1);
    assert_string_equal(f->webhooks[0].id, id_of(3));
}

static void a_replayed_webhook_holds_its_request_again(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3; n++) {
        give_one(f, id_of(n), "app1", 0, 5000 + n);
        note(f, id_of(n), 0, n == 2 ? STORE_WEBHOOK_GONE : STORE_WEBHOOK_DEAD);
    }
    assert_int_equal(status_of(f, give_replay(f, NULL, SLICE("app1"), 9)), STORE_OK);
    sweeps(f, 4000, 0, 5000);
    sweeps(f, 9000, 1, 5000);
    assert_int_equal(READ(f, ask_row(f, id_of(2), 0)), STORE_NOT_FOUND);
    assert_int_equal(note(f, id_of(0), 0, STORE_WEBHOOK_DELIVERED), STORE_OK);
    assert_int_equal(status_of(f, give_replay(f, id_of(0), SLICE_NONE, 9)), STORE_OK);
    sweeps(f, 9000, 0, 5000);
    for (unsigned n = 0; n < 2; n++) note(f, id_of(n), 0, STORE_WEBHOOK_DELIVERED);
    sweeps(f, 9000, 2, 0);
    assert_int_equal(status_of(f, give_replay(f, id_of(0), SLICE_NONE, 9)), STORE_NOT_FOUND);
    sweeps(f, 9000, 0, 0);
}

static void what_webhooks_are_given_is_copied(void **state) {
    struct fixture *f = *state;
    char id[STORE_ID_BYTES] = ID, text[] = "app1";
    struct store_webhook_note n = {.id = id, .state = STORE_WEBHOOK_DEAD, .error = slice_of(text)};
    give_one(f, ID, "app1", 0, 0);
    give_note(f, &n);
    give_replay(f, id, slice_of(text), 9000);
    memset(id, 'x', sizeof id - 1);
    memset(text, 'x', sizeof text - 1);
    memset(&n, 'x', sizeof n);
    fixture_settle(f);
    assert_int_equal(webhook(f, ID)->state, STORE_WEBHOOK_WAITING);
    assert_true(slice_is(f->webhooks[0].last_error, "app1"));
    memcpy(text, "app1", sizeof text);
    struct store_webhook_query q = {.owner = slice_of(text), .state = -1};
    ask_webhooks(f, &q);
    memset(text, 'x', sizeof text - 1);
    fixture_settle(f);
    assert_int_equal(f->nwebhooks, 1);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_webhooks(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(a_webhook_comes_with_its_request_and_result),
        T(a_webhook_of_a_cancelled_request_waits_too),
        T(a_note_is_guarded_by_attempt_and_waiting),
        T(pending_webhooks_are_all_that_wait_in_order_of_their_time),
        T(webhooks_page_newest_first_by_owner_and_state),
        T(replay_of_one_begins_anew),
        T(replay_of_all_takes_the_dead_ones_of_the_owner),
        T(a_request_is_not_swept_while_its_webhook_waits),
        T(an_ended_webhook_goes_with_its_request),
        T(a_replayed_webhook_holds_its_request_again),
        T(what_webhooks_are_given_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name("webhooks", tests, NULL, NULL);
}
