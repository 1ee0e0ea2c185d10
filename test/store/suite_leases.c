/* Who holds a row, who may take it, and what those who lost theirs can still write: nothing. */
#include "store/store_suite.h"

#include <stdio.h>

#define ID "11111111-2222-4333-8444-555555555555"

static const struct store_pending *the_pending(struct fixture *f) {
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 1);
    return &f->pending[0];
}

/* The living boots, in the order in which they joined. */
static void live(struct fixture *f, size_t n, const char *const *boots) {
    assert_int_equal(READ(f, ask_nodes(f)), STORE_OK);
    assert_int_equal(f->nliving, n);
    for (size_t i = 0; i < n; i++) assert_string_equal(f->living[i].boot, boots[i]);
}

#define LIVE(f, ...)                                     \
    do {                                                 \
        const char *const boots_[] = {__VA_ARGS__};      \
        live(f, sizeof boots_ / sizeof *boots_, boots_); \
    } while (0)

static uint64_t beat_of(struct fixture *f, const char *boot) {
    assert_int_equal(READ(f, ask_nodes(f)), STORE_OK);
    for (size_t i = 0; i < f->nliving; i++)
        if (strcmp(f->living[i].boot, boot) == 0) return f->living[i].beat;
    fail_msg("%s does not live", boot);
    return 0;
}

/* boot-1 of node "a" and boot-2 of node "b" live. */
static void two_live(struct fixture *f) {
    assert_int_equal(status_of(f, give_join_of(f, "a", "boot-1", false)), STORE_OK);
    assert_int_equal(status_of(f, give_join_of(f, "b", "boot-2", false)), STORE_OK);
}

static void bury(struct fixture *f, const char *boot) {
    assert_int_equal(status_of(f, give_bury(f, boot, beat_of(f, boot))), STORE_OK);
}

/* --- boots */

static void nobody_lives_in_a_new_store(void **state) {
    struct fixture *f = *state;
    live(f, 0, NULL);
    assert_int_equal(status_of(f, give_beat(f, "boot-1")), STORE_STALE);
    assert_int_equal(status_of(f, give_bury(f, "boot-1", 0)), STORE_STALE);
    assert_int_equal(status_of(f, give_leave(f, "boot-1")), STORE_STALE);
    live(f, 0, NULL);
}

static void join_makes_a_boot_live_until_it_leaves(void **state) {
    struct fixture *f = *state;
    two_live(f);
    LIVE(f, "boot-1", "boot-2");
    assert_true(slice_is(f->living[0].node, "a") && slice_is(f->living[1].node, "b"));
    assert_int_equal(f->living[0].at_ms, 1500);
    assert_int_equal(status_of(f, give_leave(f, "boot-1")), STORE_OK);
    LIVE(f, "boot-2");
    assert_int_equal(status_of(f, give_leave(f, "boot-1")), STORE_STALE);
}

static void join_buries_the_earlier_boots_of_its_node(void **state) {
    struct fixture *f = *state;
    two_live(f);
    assert_int_equal(status_of(f, give_join_of(f, "a", "boot-3", false)), STORE_OK);
    LIVE(f, "boot-2", "boot-3");
    assert_int_equal(status_of(f, give_beat(f, "boot-1")), STORE_STALE);
}

static void join_alone_buries_everybody_else(void **state) {
    struct fixture *f = *state;
    two_live(f);
    assert_int_equal(status_of(f, give_join_of(f, "c", "boot-3", true)), STORE_OK);
    LIVE(f, "boot-3");
}

static void join_of_an_overlong_boot_is_refused(void **state) {
    struct fixture *f = *state;
    const char *boot = "11111111-2222-4333-8444-5555555555556";
    assert_int_equal(status_of(f, give_join(f, boot)), STORE_NOT_FOUND);
    live(f, 0, NULL);
}

static void who_lives_is_kept_when_the_store_is_opened_again(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_beat(f, "boot-1");
    uint64_t beat = beat_of(f, "boot-1");
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    fixture_settle(f);
    fixture_close(f);
    fixture_open(f);
    LIVE(f, "boot-1", "boot-2");
    assert_int_equal(beat_of(f, "boot-1"), beat);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_join_of(f, "a", "boot-3", false)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-3", 8)), STORE_OK);
}

static void a_beat_grows(void **state) {
    struct fixture *f = *state;
    two_live(f);
    uint64_t before = beat_of(f, "boot-1"), other = beat_of(f, "boot-2");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(status_of(f, give_beat(f, "boot-1")), STORE_OK);
        assert_true(beat_of(f, "boot-1") > before);
        before = beat_of(f, "boot-1");
    }
    assert_int_equal(f->living[0].at_ms, 1600);
    assert_int_equal(beat_of(f, "boot-2"), other);
}

static void bury_is_guarded_by_the_beat(void **state) {
    struct fixture *f = *state;
    two_live(f);
    uint64_t seen = beat_of(f, "boot-1");
    give_beat(f, "boot-1");
    assert_int_equal(status_of(f, give_bury(f, "boot-1", seen)), STORE_STALE);
    LIVE(f, "boot-1", "boot-2");
    bury(f, "boot-1");
    LIVE(f, "boot-2");
    assert_int_equal(status_of(f, give_beat(f, "boot-1")), STORE_STALE);
}

/* An observer that saw the earlier life must not end the later one. */
static void a_beat_of_an_earlier_life_buries_nobody(void **state) {
    struct fixture *f = *state;
    uint64_t seen[20];
    give_join(f, "boot-1");
    for (unsigned i = 0; i < 20; i++) {
        seen[i] = beat_of(f, "boot-1");
        give_beat(f, "boot-1");
    }
    bury(f, "boot-1");
    give_join(f, "boot-1");
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned k = 0; k < 20; k++)
            assert_int_equal(status_of(f, give_bury(f, "boot-1", seen[k])), STORE_STALE);
        assert_int_equal(status_of(f, give_beat(f, "boot-1")), STORE_OK);
    }
}

/* --- who may take what */

static void claim_spares_what_a_living_boot_holds(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 8)), STORE_STALE);
    bury(f, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-2", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_OK);
    assert_int_equal(f->row.attempt, 2);
    assert_int_equal(status_of(f, give_claim(f, ID, 2, "boot-3", 9)), STORE_STALE);
}

static void what_waits_or_was_given_back_may_be_claimed_by_anybody(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-2", 7)), STORE_OK);
    assert_int_equal(status_of(f, give_release(f, ID, 1, 7, NULL)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 8)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 2, "boot-2", 9)), STORE_STALE);
    assert_int_equal(the_pending(f)->crashes, 0);
}

static void retry_keeps_the_lease(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_retry(f, ID, 1, 7, 8, NULL)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 2, "boot-2", 9)), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 2, "boot-2")), STORE_STALE);
    assert_true(the_pending(f)->held);
    give_leave(f, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 2, "boot-2", 9)), STORE_OK);
}

static void finish_waiting_spares_what_a_living_boot_holds(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-1")), STORE_STALE);
    assert_int_equal(f->backend->count(f, "result", ID), 0);
    bury(f, "boot-1");
    assert_int_equal(status_of(f, give_finish(f, ID, 0, "boot-2")), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_OK);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_STALE);
    assert_int_equal(f->backend->count(f, "result", ID), 1);
}

static void a_boot_that_never_joined_holds_nothing(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "stranger", 7)), STORE_OK);
    assert_false(the_pending(f)->held);
    assert_string_equal(the_pending(f)->boot, "stranger");
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 8)), STORE_OK);
    assert_int_equal(the_pending(f)->crashes, 1);
}

static void what_is_completed_stays_when_its_boot_is_buried(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    bury(f, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_STALE);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_RESULT)), STORE_OK);
    assert_int_equal(f->row.http_status, 200);
}

static void each_lost_lease_counts_a_crash(void **state) {
    struct fixture *f = *state;
    char boot[16];
    give_id(f, ID);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(boot, sizeof boot, "boot-%u", i);
        give_join(f, boot);
        assert_int_equal(status_of(f, give_claim(f, ID, i, boot, 7 + i)), STORE_OK);
        assert_int_equal(the_pending(f)->crashes, i);
        assert_true(the_pending(f)->held);
    }
}

/* It was buried while its process stood still, and goes on under its old name. */
static void a_boot_that_joins_again_holds_nothing_of_its_earlier_life(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    bury(f, "boot-1");
    assert_int_equal(status_of(f, give_join_of(f, "a", "boot-1", false)), STORE_OK);
    assert_false(the_pending(f)->held);
    assert_string_equal(the_pending(f)->boot, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 8)), STORE_OK);
    assert_true(the_pending(f)->held);
    assert_int_equal(the_pending(f)->crashes, 1);
    struct store_complete late = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &late)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 2, "boot-2", 9)), STORE_STALE);
}

/* --- what comes too late */

static uint64_t row_count(struct fixture *f) {
    static const char *const tables[] = {"result", "ledger", "outbox"};
    uint64_t n = 0;
    for (unsigned i = 0; i < 3; i++) n += (uint64_t)f->backend->count(f, tables[i], ID);
    return n;
}

static void writes_of_a_lost_lease_change_nothing(void **state) {
    struct fixture *f = *state;
    struct store_submit in = {
        .id = ID, .endpoint = SLICE("a/b"), .input = SLICE("{}"), .webhook = SLICE("http://h/")};
    struct store_usage u = {.present = true, .upstream = SLICE("lab"), .raw = SLICE("{}")};
    struct store_complete late = completion(ID, 1, 7), good = completion(ID, 2, 8);
    late.usage = good.usage = u;
    late.body = SLICE("\"late\"");
    two_live(f);
    give_submit(f, &in);
    give_claim(f, ID, 0, "boot-1", 7);
    bury(f, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_OK);
    for (unsigned round = 0; round < 2; round++) { /* while the other runs, and after its end */
        assert_int_equal(status_of(f, give_complete(f, &late)), STORE_STALE);
        assert_int_equal(status_of(f, give_retry(f, ID, 1, 7, 9, &u)), STORE_STALE);
        assert_int_equal(status_of(f, give_release(f, ID, 1, 7, &u)), STORE_STALE);
        assert_int_equal(row_count(f), round == 0 ? 0 : 3);
        if (round == 0) assert_int_equal(status_of(f, give_complete(f, &good)), STORE_OK);
    }
    assert_int_equal(READ(f, ask_row(f, ID, STORE_RESULT)), STORE_OK);
    assert_true(slice_eq(f->row.body, good.body));
    assert_int_equal(f->row.attempt, 2);
}

/* No answer is waited for: one transaction has them all, in the order in which they were given. */
static void a_takeover_and_a_late_write_in_one_batch(void **state) {
    struct fixture *f = *state;
    two_live(f);
    uint64_t beat = beat_of(f, "boot-1");
    struct store_complete late = completion(ID, 1, 7), good = completion(ID, 2, 8);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    uint64_t t = give_bury(f, "boot-1", beat);
    uint64_t taken = give_claim(f, ID, 1, "boot-2", 8);
    uint64_t beaten = give_beat(f, "boot-1");
    uint64_t first = give_complete(f, &late), second = give_complete(f, &good);
    fixture_settle(f);
    assert_int_equal(f->answers[t].status, STORE_OK);
    assert_int_equal(f->answers[taken].status, STORE_OK);
    assert_int_equal(f->answers[beaten].status, STORE_STALE);
    assert_int_equal(f->answers[first].status, STORE_STALE);
    assert_int_equal(f->answers[second].status, STORE_OK);
}

/* A batch fails in the middle of a join: what is claimed after it is held all the same. */
static void a_join_in_a_batch_that_fails_is_made_again(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    uint64_t joined = give_join(f, "boot-1");
    uint64_t taken = give_claim(f, ID, 0, "boot-1", 7);
    uint64_t failed = give_id(f, ID); /* its id is there: the batch is rolled back */
    fixture_settle(f);
    assert_int_equal(f->answers[joined].status, STORE_OK);
    assert_int_equal(f->answers[taken].status, STORE_OK);
    assert_int_equal(f->answers[failed].status, STORE_STALE);
    assert_true(the_pending(f)->held);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_STALE);
}

static void lines_of_an_old_token_are_dropped(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    bury(f, "boot-1");
    give_claim(f, ID, 1, "boot-2", 8);
    const struct store_log lines[] = {{ID, 1, SLICE("INFO"), SLICE("late"), 1, 7},
                                      {ID, 2, SLICE("INFO"), SLICE("one"), 2, 8},
                                      {ID, 3, SLICE("INFO"), SLICE("mixed"), 2, 7},
                                      {ID, 4, SLICE("INFO"), SLICE("mixed"), 1, 8},
                                      {ID, 5, SLICE("INFO"), SLICE("two"), 2, 8},
                                      {ID, 6, SLICE("INFO"), SLICE("early"), 0, 0},
                                      {ID, 7, SLICE("INFO"), SLICE("nobody's"), 2, 0}};
    assert_int_equal(status_of(f, give_logs(f, lines, 7)), STORE_OK);
    struct store_complete c = completion(ID, 2, 8);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    const struct store_log after[] = {{ID, 8, SLICE("INFO"), SLICE("late"), 2, 8},
                                      {ID, 9, SLICE("WARN"), SLICE("three"), 0, 0}};
    assert_int_equal(status_of(f, give_logs(f, after, 2)), STORE_OK);
    assert_int_equal(READ(f, ask_logs(f, ID)), STORE_OK);
    const char *const kept[] = {"one", "two", "three"};
    assert_int_equal(f->nlogs, 3);
    for (unsigned i = 0; i < 3; i++) assert_true(slice_is(f->logs[i].message, kept[i]));
}

/* --- cancels that others asked for */

static void beat_tells(struct fixture *f, const char *boot, size_t n, const char *const *ids) {
    uint64_t t = give_beat(f, boot);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].npending, n);
    for (size_t i = 0; i < n; i++) assert_string_equal(f->pending[i].id, ids[i]);
}

#define TELLS(f, boot, ...)                                    \
    do {                                                       \
        const char *const ids_[] = {__VA_ARGS__};              \
        beat_tells(f, boot, sizeof ids_ / sizeof *ids_, ids_); \
    } while (0)

static void a_beat_tells_what_of_its_own_was_cancelled(void **state) {
    struct fixture *f = *state;
    two_live(f);
    for (unsigned i = 0; i < 6; i++) {
        give_id(f, id_of(i));
        if (i < 5) give_claim(f, id_of(i), 0, i == 2 ? "boot-2" : "boot-1", i + 1);
        if (i != 1) give_cancel(f, id_of(i)); /* 2: of the other; 5: waits */
    }
    give_cancel(f, id_of(0)); /* twice is once */
    struct store_complete c = completion(id_of(3), 1, 4);
    give_complete(f, &c);
    TELLS(f, "boot-1", id_of(0), id_of(4));
    TELLS(f, "boot-1", id_of(0), id_of(4)); /* until it has ended */
    TELLS(f, "boot-2", id_of(2));
    c = completion(id_of(0), 1, 1);
    give_complete(f, &c);
    TELLS(f, "boot-1", id_of(4));
    give_release(f, id_of(4), 1, 5, NULL);
    beat_tells(f, "boot-1", 0, NULL);
    assert_int_equal(f->backend->count(f, "all marks", ""), 3);
    give_finish(f, id_of(4), 1, "boot-1");
    give_finish(f, id_of(5), 0, "boot-1");
    c = completion(id_of(2), 1, 3);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(f->backend->count(f, "all marks", ""), 0);
}

/* Its holder changes; or it was asked for before anybody held it. */
static void a_mark_of_cancel_goes_with_the_row(void **state) {
    struct fixture *f = *state;
    two_live(f);
    give_id(f, id_of(0));
    give_cancel(f, id_of(0));
    give_claim(f, id_of(0), 0, "boot-1", 1);
    TELLS(f, "boot-1", id_of(0));
    fixture_close(f);
    fixture_open(f);
    bury(f, "boot-1");
    beat_tells(f, "boot-2", 0, NULL);
    give_claim(f, id_of(0), 1, "boot-2", 2);
    TELLS(f, "boot-2", id_of(0));
    bury(f, "boot-2");
    give_finish(f, id_of(0), 2, "boot-3");
    give_join(f, "boot-2");
    beat_tells(f, "boot-2", 0, NULL);
}

/* --- pending */

static void pending_tells_who_holds_what(void **state) {
    struct fixture *f = *state;
    two_live(f);
    for (unsigned i = 0; i < 4; i++) give_id(f, id_of(i));
    give_claim(f, id_of(1), 0, "boot-1", 1);
    give_claim(f, id_of(2), 0, "boot-2", 2);
    give_claim(f, id_of(3), 0, "boot-2", 3);
    give_release(f, id_of(3), 1, 3, NULL);
    bury(f, "boot-1");
    static const struct {
        const char *boot;
        bool held, released;
    } told[] = {
        {"", false, false}, {"boot-1", false, false}, {"boot-2", true, false}, {"", false, true}};
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(f->pending[i].boot, told[i].boot);
        assert_true(f->pending[i].held == told[i].held);
        assert_true(f->pending[i].released == told[i].released);
    }
}

/* A clock that says 0. */
static void what_ended_at_0_is_over(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) give_id(f, id_of(i));
    give_claim(f, id_of(0), 0, "boot-1", 7);
    struct store_complete c = completion(id_of(0), 1, 7), end = completion(id_of(1), 0, 0);
    c.completed_ms = end.completed_ms = 0;
    end.boot = "boot-1";
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(status_of(f, give_end(f, &end)), STORE_OK);
    uint64_t t = ask_pending(f);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].npending, 0);
}

static void pending_comes_in_pieces(void **state) {
    struct fixture *f = *state;
    unsigned seen = 0;
    uint64_t after = 0, t;
    for (unsigned i = 0; i < 250; i++) {
        give_id(f, id_of(i));
        if (i % 5 == 0) give_finish(f, id_of(i), 0, "boot-1");
    }
    fixture_settle(f);
    for (unsigned piece = 0; piece < 4; piece++) {
        t = ask_pending_after(f, after, 50);
        assert_int_equal(status_of(f, t), STORE_OK);
        assert_int_equal(f->npending, 50);
        assert_true(f->answers[t].more == (piece < 3));
        for (unsigned k = 0; k < 50; k++, seen++)
            assert_string_equal(f->pending[k].id, id_of(seen / 4 * 5 + seen % 4 + 1));
        assert_true(f->pending[0].seq > after);
        after = f->pending[49].seq;
    }
    t = ask_pending_after(f, after, 50);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].npending, 0);
    assert_false(f->answers[t].more);
    t = ask_pending_after(f, 0, UINT32_MAX);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].npending, 200);
    assert_false(f->answers[t].more);
}

static void the_model_and_texts_of_each_row_come_back(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {"a", "b", "b", "", "ab", "b"};
    for (unsigned i = 0; i < 6; i++) {
        struct slice s = slice_of(texts[i]);
        struct store_submit in = {.id = id_of(i), .endpoint = s, .owner = s, .model = s};
        give_submit(f, &in);
    }
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    for (unsigned i = 0; i < 6; i++) {
        const struct store_pending *p = &f->pending[i];
        assert_true(slice_is(p->model, texts[i]) && slice_is(p->owner, texts[i]) &&
                    slice_is(p->endpoint, texts[i]));
    }
    assert_int_equal(status_of(f, give_claim(f, id_of(4), 0, "boot-1", 7)), STORE_OK);
    assert_true(slice_is(f->row.model, "ab"));
    assert_int_equal(READ(f, ask_row(f, id_of(5), 0)), STORE_OK);
    assert_true(slice_is(f->row.model, "b"));
}

static void what_a_boot_is_given_is_copied(void **state) {
    struct fixture *f = *state;
    char node[] = "node-a", boot[] = "boot-1";
    give_join_of(f, node, boot, false);
    memset(node, 'x', sizeof node - 1);
    memset(boot, 'x', sizeof boot - 1);
    LIVE(f, "boot-1");
    assert_true(slice_is(f->living[0].node, "node-a"));
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_leases(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(nobody_lives_in_a_new_store),
        T(join_makes_a_boot_live_until_it_leaves),
        T(join_buries_the_earlier_boots_of_its_node),
        T(join_alone_buries_everybody_else),
        T(join_of_an_overlong_boot_is_refused),
        T(who_lives_is_kept_when_the_store_is_opened_again),
        T(a_beat_grows),
        T(bury_is_guarded_by_the_beat),
        T(a_beat_of_an_earlier_life_buries_nobody),
        T(claim_spares_what_a_living_boot_holds),
        T(what_waits_or_was_given_back_may_be_claimed_by_anybody),
        T(retry_keeps_the_lease),
        T(finish_waiting_spares_what_a_living_boot_holds),
        T(a_boot_that_never_joined_holds_nothing),
        T(what_is_completed_stays_when_its_boot_is_buried),
        T(each_lost_lease_counts_a_crash),
        T(a_boot_that_joins_again_holds_nothing_of_its_earlier_life),
        T(writes_of_a_lost_lease_change_nothing),
        T(a_takeover_and_a_late_write_in_one_batch),
        T(a_join_in_a_batch_that_fails_is_made_again),
        T(lines_of_an_old_token_are_dropped),
        T(a_beat_tells_what_of_its_own_was_cancelled),
        T(a_mark_of_cancel_goes_with_the_row),
        T(pending_tells_who_holds_what),
        T(what_ended_at_0_is_over),
        T(pending_comes_in_pieces),
        T(the_model_and_texts_of_each_row_come_back),
        T(what_a_boot_is_given_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name("leases", tests, NULL, NULL);
}
