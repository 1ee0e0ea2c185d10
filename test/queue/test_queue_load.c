/* What is unfinished comes into memory in pieces, while callers ask; requests that end the server; clocks. */
#include "queue/world.h"

#include "queue/inside.h"

#include <stdio.h>
#include <stdlib.h>

/* So many rows that wait, as if they had been there before; the k-th of them. */
static void fill_rows(struct world *w, size_t n) {
    for (size_t k = 0; k < n; k++) {
        struct fake_row *row = &w->rows[w->nrows++];
        *row = (struct fake_row){.endpoint = "fal-ai/any-llm",
                                 .owner = "app1",
                                 .seq = ++w->next_seq,
                                 .created_ms = w->wall_ms - 60000 + (int64_t)k,
                                 .inference_ms = -1};
        snprintf(row->id, sizeof row->id, "018bcfe5-6800-7000-8000-%012x", (unsigned)k);
    }
}

/* Dies and starts again with its first piece read, and not its second. */
static struct world *half_loaded(void) {
    struct world *w = world_new(1);
    world_crash(w);
    fill_rows(w, QUEUE_LOAD_ROWS + 100);
    world_start(w);
    while (!w->ready) {
        while (queue_tick(w->queue) == 0) continue;
        assert_true(store_step(w));
    }
    assert_true(w->ready_ok && stats_of(w).loading);
    assert_int_equal(stats_of(w).waiting, QUEUE_LOAD_ROWS);
    return w;
}

static void turn(struct world *w) {
    while (queue_tick(w->queue) == 0) continue;
}

static void end_of(struct world *w) {
    settle_world(w);
    check_world(w);
    world_free(w);
}

/* --- pieces */

static void it_is_ready_after_the_first_piece_and_starts_nothing_before_the_last(void **state) {
    struct world *w = half_loaded();
    turn(w);
    assert_int_equal(w->nruns, 0);
    settle_world(w);
    assert_false(stats_of(w).loading);
    assert_int_equal(w->nruns, 4);
    assert_int_equal(stats_of(w).waiting, QUEUE_LOAD_ROWS + 96);
    end_of(w);
}

static void a_submit_meanwhile_is_taken_and_answered_with_its_right_position(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    uint64_t n = submit(w, 0, false);
    turn(w);
    assert_int_equal(store_waiting(w), 2); /* the piece, the submit */
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    assert_int_equal(w->answers[n].position, QUEUE_LOAD_ROWS + 100);
    end_of(w);
}

/* The row was read by a piece before its submit was answered. */
static void a_submit_that_a_piece_brings_first_is_one_request(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    struct queue_submit in = plain();
    in.start_timeout_ms = 5000;
    uint64_t n = submit_in(w, &in);
    w->wall_ms -= 3600000; /* the row's date is in the future now */
    store_put_off(w);      /* the piece */
    store_step_late(w);    /* the submit is durable */
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    assert_int_equal(w->answers[n].position, QUEUE_LOAD_ROWS + 100);
    assert_int_equal(stats_of(w).waiting, QUEUE_LOAD_ROWS + 101);
    assert_int_equal(ask_status(w, w->answers[n].id)->position, QUEUE_LOAD_ROWS + 100);
    pass(w, 5000);
    assert_string_equal(row_of(w, w->answers[n].id)->error_type, "request_timeout");
    end_of(w);
}

static void who_asks_for_a_position_waits_until_it_is_right(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    const char *early = w->rows[10].id, *late = w->rows[QUEUE_LOAD_ROWS + 50].id;
    uint64_t a = status(w, early, false), b = status(w, late, true);
    turn(w);
    assert_int_equal(w->answers[a].times + w->answers[b].times, 0);
    settle_world(w);
    assert_int_equal(w->answers[a].position, 10);
    assert_int_equal(w->answers[b].position, QUEUE_LOAD_ROWS + 50);
    assert_int_equal(w->answers[b].state, STORE_IN_QUEUE);
    end_of(w);
}

static void a_status_asked_before_its_row_was_loaded_waits_too(void **state) {
    struct world *w = world_new(1);
    world_crash(w);
    fill_rows(w, QUEUE_LOAD_ROWS + 100);
    world_start(w);
    w->capacity = 0;
    store_step(w); /* the join */
    uint64_t n = status(w, w->rows[10].id, false);
    turn(w);
    for (unsigned k = 0; k < 2; k++)
        store_step(w), turn(w); /* the first piece, what the store says */
    assert_true(stats_of(w).loading);
    assert_int_equal(w->answers[n].times, 0);
    settle_world(w);
    assert_int_equal(w->answers[n].position, 10);
    end_of(w);
}

static void what_needs_no_position_is_answered_while_the_rest_is_loaded(void **state) {
    struct world *w = half_loaded();
    struct fake_row *row = &w->rows[QUEUE_LOAD_ROWS + 50];
    row->state = STORE_COMPLETED, row->results = 1, row->http_status = 200;
    uint64_t n = status(w, row->id, false), early = result(w, w->rows[3].id),
             late = result(w, w->rows[QUEUE_LOAD_ROWS + 51].id);
    turn(w);
    store_put_off(w);
    for (unsigned k = 0; k < 2; k++) store_step(w), turn(w);
    assert_int_equal(w->answers[n].state, STORE_COMPLETED);
    assert_int_equal(w->answers[early].code, QUEUE_NOT_READY);
    assert_int_equal(w->answers[late].code, QUEUE_NOT_READY);
    assert_true(stats_of(w).loading);
    w->capacity = 0;
    assert_int_equal(ask_status(w, w->rows[3].id)->position, 3);
    end_of(w);
}

static void a_cancel_of_what_is_not_loaded_yet_waits_and_ends_it(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    uint64_t a = cancel(w, w->rows[7].id), b = cancel(w, w->rows[QUEUE_LOAD_ROWS + 7].id);
    settle_world(w);
    assert_true(w->answers[a].code == QUEUE_OK && w->answers[b].code == QUEUE_OK);
    assert_string_equal(w->rows[7].error_type, "client_cancelled");
    assert_string_equal(w->rows[QUEUE_LOAD_ROWS + 7].error_type, "client_cancelled");
    assert_int_equal(stats_of(w).waiting, QUEUE_LOAD_ROWS + 98);
    end_of(w);
}

/* A piece that was read before a request ended must not bring it back. */
static void what_ends_while_a_piece_is_on_its_way_stays_ended(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    submit(w, 0, false);
    store_put_off(w);
    store_step(w); /* the submit */
    const char *id = w->rows[w->nrows - 1].id;
    store_step_late(w); /* the piece, with the new row in it */
    cancel(w, id);
    turn(w);
    store_put_off(w);
    store_step(w); /* the end, */
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
    turn(w);
    settle_world(w); /* then the piece */
    assert_false(stats_of(w).loading);
    assert_int_equal(stats_of(w).waiting, QUEUE_LOAD_ROWS + 100);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
    end_of(w);
}

static void a_piece_that_fails_before_it_is_ready_ends_the_start(void **state) {
    struct world *w = *state;
    world_crash(w);
    world_start(w);
    store_step(w); /* the join */
    w->fail_next = 1, w->fail_reads = true;
    store_step(w);
    assert_true(w->ready && !w->ready_ok);
}

static void a_later_piece_that_fails_is_asked_for_again(void **state) {
    struct world *w = half_loaded();
    w->fail_next = 1, w->fail_reads = true;
    pass(w, QUEUE_STORE_RETRY_MS - 1);
    assert_true(stats_of(w).loading);
    assert_int_equal(w->nruns, 0);
    pass(w, 1);
    assert_false(stats_of(w).loading);
    assert_int_equal(w->nruns, 4);
    end_of(w);
}

static void changed(void *user) {
    ++*(unsigned *)user;
}

static void who_watches_what_is_not_loaded_yet_is_told_when_it_is(void **state) {
    struct world *w = half_loaded();
    w->capacity = 0;
    unsigned news = 0;
    const char *id = w->rows[QUEUE_LOAD_ROWS + 1].id;
    struct queue_watch *watch = queue_watch(w->queue, id, changed, &news);
    turn(w);
    assert_int_equal(news, 1); /* not in memory: look yourself */
    settle_world(w);
    assert_int_equal(news, 2);
    cancel(w, id);
    settle_world(w);
    assert_true(news > 2);
    queue_unwatch(w->queue, watch);
    end_of(w);
}

static void a_watch_of_what_waits_does_not_make_it_spin(void **state) {
    struct world *w = half_loaded();
    unsigned news = 0, ticks = 0;
    struct queue_watch *watch = queue_watch(w->queue, w->rows[3].id, changed, &news);
    while (queue_tick(w->queue) == 0) assert_true(ticks++ < 10);
    assert_int_equal(news, 0);
    w->capacity = 0;
    settle_world(w);
    assert_true(news > 0); /* now its position is known */
    queue_unwatch(w->queue, watch);
    end_of(w);
}

static void nothing_is_due_before_all_is_loaded(void **state) {
    struct world *w = world_new(1);
    world_crash(w);
    fill_rows(w, QUEUE_LOAD_ROWS + 100);
    w->rows[5].wishes.start_timeout_ms = 60001;
    w->capacity = 4;
    world_start(w);
    while (!w->ready) turn(w), store_step(w);
    advance(w, 1000);
    settle_world(w);
    assert_string_equal(w->rows[5].error_type, "request_timeout");
    assert_null(run_of(w, w->rows[5].id));
    end_of(w);
}

/* --- the lines of a lost request */

static void the_lines_before_come_first_and_are_written_once(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("one"));
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("two"));
    pass(w, QUEUE_LOG_FLUSH_MS);
    world_crash(w);
    world_start(w);
    unsigned steps = 0;
    while (w->nruns == 0) {
        turn(w);
        assert_true(steps++ < 5 &&
                    store_step(w)); /* join, piece, claim: the lines are not waited for */
    }
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("three"));
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->nlogs, 4);
    assert_string_equal(a->first_log, "one");
    assert_string_equal(a->last_log, "three");
    pass(w, QUEUE_LOG_FLUSH_MS);
    finish(w, id, good());
    assert_int_equal(row_of(w, id)->nlogs, 4);
    assert_string_equal(row_of(w, id)->logs[1].text, "two");
    assert_string_equal(row_of(w, id)->logs[3].text, "three");
}

static void lines_that_cannot_be_read_are_asked_for_again(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("one"));
    pass(w, QUEUE_LOG_FLUSH_MS);
    world_crash(w);
    world_start(w);
    while (w->nruns == 0) turn(w), store_step(w);
    w->fail_next = 1, w->fail_reads = true;
    settle_world(w);
    pass(w, QUEUE_LOG_FLUSH_MS);
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->nlogs, 2);
    assert_string_equal(a->first_log, "one");
}

static void a_lost_one_that_waits_shows_the_lines_the_store_has(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    queue_run_log(w->queue, run_of(w, id)->run, "INFO", SLICE("one"));
    pass(w, QUEUE_LOG_FLUSH_MS);
    w->capacity = 0;
    restart(w);
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->state, STORE_IN_PROGRESS);
    assert_int_equal(a->nlogs, 1);
}

/* --- requests that end the server */

/* One of many ends the process whenever it runs: it is quarantined, all others end well. */
static void only_the_one_that_ends_the_server_is_quarantined(void **state) {
    struct world *w = *state;
    char poison[STORE_ID_BYTES];
    unsigned crashes = 0;
    w->capacity = 8;
    for (unsigned k = 0; k < 40; k++) {
        uint64_t n = submit(w, 0, false);
        settle_world(w);
        if (k == 5) memcpy(poison, w->answers[n].id, sizeof poison);
    }
    for (unsigned turns = 0; turns < 200; turns++) {
        if (run_of(w, poison) != NULL) {
            assert_true(++crashes <= QUEUE_MAX_CRASHES);
            restart(w);
        }
        if (run_of(w, poison) == NULL && w->nruns > 0) {
            struct queue_outcome o = good();
            end_run(w, w->runs[0].run, &o);
        }
        pass(w, 100);
    }
    assert_int_equal(crashes, QUEUE_MAX_CRASHES);
    for (size_t k = 0; k < w->nrows; k++)
        assert_string_equal(w->rows[k].error_type,
                            strcmp(w->rows[k].id, poison) == 0 ? "runner_disconnected" : "");
    assert_int_equal(stats_of(w).quarantined, 1);
}

/* Three ran at both ends of the server. */
static void suspects(struct world *w, char ids[3][STORE_ID_BYTES]) {
    for (unsigned k = 0; k < 3; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    restart(w);
    assert_int_equal(w->nruns, 3);
    restart(w);
    assert_int_equal(w->nruns, 1);
}

static void suspects_begin_one_after_the_other(void **state) {
    struct world *w = *state;
    char ids[3][STORE_ID_BYTES];
    suspects(w, ids);
    const char *fresh = submitted(w, 0, false);
    assert_non_null(run_of(w, fresh)); /* others are not held up */
    finish(w, ids[0], good());
    assert_non_null(run_of(w, ids[1]));
    for (unsigned k = 0; k < 10; k++) pass(w, 3600000);
    assert_null(run_of(w, ids[2]));
    for (unsigned k = 1; k < 3; k++) finish(w, ids[k], good());
    assert_int_equal(stats_of(w).running, 1);
}

static void a_crash_quarantines_one_suspect_at_most(void **state) {
    struct world *w = *state;
    char ids[6][STORE_ID_BYTES];
    w->capacity = 8;
    for (unsigned k = 0; k < 6; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    for (unsigned lives = 0; lives < 2; lives++) restart(w);
    for (unsigned crashes = 1; crashes <= 3; crashes++) {
        for (unsigned k = 0; k < 10; k++) pass(w, 60000);
        assert_int_equal(w->nruns, 1);
        restart(w);
        unsigned ended = 0;
        for (unsigned k = 0; k < 6; k++) ended += row_of(w, ids[k])->state == STORE_COMPLETED;
        assert_int_equal(ended, crashes);
    }
}

static void a_suspect_without_room_holds_up_none_of_another_pool(void **state) {
    struct world *w = *state;
    char ids[3][STORE_ID_BYTES];
    struct queue_submit in = plain();
    w->pooled = true;
    for (unsigned k = 0; k < 3; k++) w->rooms[k] = 1;
    for (unsigned k = 0; k < 3; k++) {
        static const char *const pools[] = {"0", "1", "2"};
        in.model = slice_of(pools[k]);
        memcpy(ids[k], submitted_in(w, &in), STORE_ID_BYTES);
    }
    restart(w);
    w->rooms[0] = w->rooms[2] = 0;
    restart(w);
    assert_int_equal(w->nruns, 1);
    assert_non_null(run_of(w, ids[1]));
    w->rooms[0] = w->rooms[2] = 1;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->nruns, 1); /* one after the other all the same */
    for (unsigned left = 3; left > 0; left--) {
        assert_int_equal(w->nruns, 1);
        memcpy(ids[0], w->runs[0].id, STORE_ID_BYTES);
        finish(w, ids[0], good());
    }
    assert_int_equal(stats_of(w).running, 0);
}

/* None of them is in the order then. */
static void suspects_begin_when_the_store_writes_again(void **state) {
    struct world *w = *state;
    char ids[3][STORE_ID_BYTES];
    for (unsigned k = 0; k < 2; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    restart(w);
    w->capacity = 0;
    restart(w);
    w->fail_next = 1;
    w->capacity = 4;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->nruns, 0);
    assert_int_equal(ask_cancelled(w, ids[0]), QUEUE_OK);
    settle_world(w);
    assert_in_range(queue_tick(w->queue), 0, QUEUE_STORE_RETRY_MS);
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_non_null(run_of(w, ids[1]));
}

static void a_suspect_aside_is_cancelled_and_times_out_like_any(void **state) {
    struct world *w = *state;
    char ids[3][STORE_ID_BYTES];
    suspects(w, ids);
    assert_int_equal(ask_status(w, ids[2])->state, STORE_IN_PROGRESS);
    assert_int_equal(ask_cancelled(w, ids[1]), QUEUE_OK);
    assert_string_equal(row_of(w, ids[1])->error_type, "client_cancelled");
    finish(w, ids[0], good());
    finish(w, ids[2], good());
    check_world(w);
}

/* --- what an operator sees; clocks */

static void the_oldest_are_known_and_never_younger_than_they_are(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    const char *a = submitted(w, 0, false);
    pass(w, 1000);
    const char *b = submitted(w, 1, false);
    pass(w, 1000);
    submitted(w, 0, false);
    pass(w, 500);
    assert_int_equal(stats_of(w).oldest_running_ms, 2500);
    assert_int_equal(stats_of(w).oldest_waiting_ms, 1500);
    assert_int_equal(stats_of(w).owners, 1);
    assert_int_equal(ask_cancelled(w, b), QUEUE_OK);
    assert_int_equal(stats_of(w).oldest_waiting_ms, 500);
    w->capacity = 0;
    restart(w);
    pass(w, 100);
    assert_int_equal(stats_of(w).oldest_running_ms, 2600);
    assert_int_equal(stats_of(w).oldest_waiting_ms, 600);
    w->wall_ms -= 3600000; /* set back while it was down: not below 0 */
    restart(w);
    assert_int_equal(stats_of(w).oldest_running_ms + stats_of(w).oldest_waiting_ms, 0);
    w->capacity = 2;
    queue_wake(w->queue);
    settle_world(w);
    finish(w, a, good());
    assert_int_equal(stats_of(w).oldest_waiting_ms, 0);
}

static void the_oldest_are_right_in_any_order(void **state) {
    struct world *w = *state;
    int64_t since[40];
    w->capacity = 0;
    world_crash(w);
    fill_rows(w, 40);
    for (unsigned k = 0; k < 40; k++) {
        since[k] = (int64_t)draw(w, 100000);
        w->rows[k].created_ms = w->wall_ms - since[k];
    }
    world_start(w);
    settle_world(w);
    for (unsigned left = 40; left > 0; left--) {
        int64_t oldest = 0;
        unsigned k = (unsigned)draw(w, 40);
        while (w->rows[k].state == STORE_COMPLETED) k = (k + 1) % 40;
        for (unsigned j = 0; j < 40; j++)
            if (w->rows[j].state != STORE_COMPLETED && since[j] > oldest) oldest = since[j];
        assert_int_equal(stats_of(w).oldest_waiting_ms, oldest);
        assert_int_equal(ask_cancelled(w, w->rows[k].id), QUEUE_OK);
    }
    assert_int_equal(stats_of(w).oldest_waiting_ms, 0);
}

static void a_timeout_that_the_clock_cannot_know_begins_anew(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    struct queue_submit in = plain();
    in.start_timeout_ms = 10000;
    w->wall_ms = 1000; /* no clock chip: 1970 */
    const char *id = submitted_in(w, &in);
    world_crash(w);
    w->wall_ms = 1700000000000;
    world_start(w);
    pass(w, 9999);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, 1);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
}

static void a_retry_waits_its_time_whatever_the_wall_clock_does(void **state) {
    struct world *w = *state;
    static const int64_t jumps[] = {3600000, -7200000, -1700000000000, 2147483648000};
    struct queue_outcome o = retryable(10);
    o.retry_after_ms = 20000;
    const char *id = submitted(w, 0, false);
    for (unsigned k = 0; k < 4; k++) {
        finish(w, id, o);
        w->wall_ms += jumps[k];
        pass(w, 19999);
        assert_null(run_of(w, id));
        pass(w, 1);
        assert_non_null(run_of(w, id));
    }
}

/* What was not to be stored is kept for its hour, though the clock says that it is over. */
static void a_jump_of_the_clock_forgets_nothing_early(void **state) {
    struct world *w = *state;
    struct queue_submit in = plain();
    in.no_store = true;
    const char *id = submitted_in(w, &in);
    finish(w, id, good());
    w->wall_ms += 2 * QUEUE_SHORT_KEEP_MS;
    for (unsigned k = 0; k < 59; k++) {
        pass(w, 60000);
        assert_int_equal(ask_result(w, id)->code, QUEUE_OK);
    }
    for (unsigned k = 0; k < 70; k++) pass(w, 60000);
    assert_int_equal(ask_result(w, id)->code, QUEUE_NOT_FOUND);
    assert_true(row_of(w, id)->swept);
}

static void the_steady_clock_believes_a_jump_after_an_hour(void **state) {
    struct world *w = *state;
    int64_t wall = w->wall_ms;
    assert_int_equal(steady_ms(w->queue), wall);
    w->wall_ms += 4000; /* set, not jumped */
    assert_int_equal(steady_ms(w->queue), wall + 4000);
    w->wall_ms -= 50000000;
    assert_int_equal(steady_ms(w->queue), wall + 4000);
    advance(w, 3599999);
    assert_int_equal(steady_ms(w->queue), wall + 4000 + 3599999);
    advance(w, 1);
    assert_int_equal(steady_ms(w->queue), w->wall_ms);
    w->wall_ms += 50000000; /* and back before the hour is over: nothing was */
    steady_ms(w->queue);
    advance(w, 1000000);
    w->wall_ms -= 50000000;
    steady_ms(w->queue);
    advance(w, 3000000);
    assert_int_equal(steady_ms(w->queue), w->wall_ms);
}

#define T WORLD_TEST
#define P cmocka_unit_test

int main(void) {
    const struct CMUnitTest tests[] = {
        P(it_is_ready_after_the_first_piece_and_starts_nothing_before_the_last),
        P(a_submit_meanwhile_is_taken_and_answered_with_its_right_position),
        P(a_submit_that_a_piece_brings_first_is_one_request),
        P(who_asks_for_a_position_waits_until_it_is_right),
        P(a_status_asked_before_its_row_was_loaded_waits_too),
        P(what_needs_no_position_is_answered_while_the_rest_is_loaded),
        P(a_cancel_of_what_is_not_loaded_yet_waits_and_ends_it),
        P(what_ends_while_a_piece_is_on_its_way_stays_ended),
        T(a_piece_that_fails_before_it_is_ready_ends_the_start),
        P(a_later_piece_that_fails_is_asked_for_again),
        P(who_watches_what_is_not_loaded_yet_is_told_when_it_is),
        P(a_watch_of_what_waits_does_not_make_it_spin),
        P(nothing_is_due_before_all_is_loaded),
        T(the_lines_before_come_first_and_are_written_once),
        T(lines_that_cannot_be_read_are_asked_for_again),
        T(a_lost_one_that_waits_shows_the_lines_the_store_has),
        T(only_the_one_that_ends_the_server_is_quarantined),
        T(suspects_begin_one_after_the_other),
        T(a_crash_quarantines_one_suspect_at_most),
        T(a_suspect_without_room_holds_up_none_of_another_pool),
        T(suspects_begin_when_the_store_writes_again),
        T(a_suspect_aside_is_cancelled_and_times_out_like_any),
        T(the_oldest_are_known_and_never_younger_than_they_are),
        T(the_oldest_are_right_in_any_order),
        T(a_timeout_that_the_clock_cannot_know_begins_anew),
        T(a_retry_waits_its_time_whatever_the_wall_clock_does),
        T(a_jump_of_the_clock_forgets_nothing_early),
        T(the_steady_clock_believes_a_jump_after_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
