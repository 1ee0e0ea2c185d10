/* Each rule of the queue, over a store that answers when told to. */
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the plain way */

static void a_request_is_submitted_claimed_run_and_completed(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    assert_int_equal(strlen(id), 36);
    assert_true(id[14] == '7' && strncmp(id, "018bcfe5-6800", 13) == 0); /* 1700000000000 ms */
    struct run_seen *r = run_of(w, id);
    assert_non_null(r);
    assert_string_equal(r->input, "{\"prompt\":\"x\"}");
    assert_int_equal(r->attempt, 1);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    assert_int_equal(ask_result(w, id)->code, QUEUE_NOT_READY);
    w->mono_ms += 40;
    finish(w, id, good());
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->state, STORE_COMPLETED);
    a = ask_result(w, id);
    assert_int_equal(a->code, QUEUE_OK);
    assert_int_equal(a->http_status, 200);
    assert_string_equal(a->body, "{\"output\":\"42\"}");
    assert_int_equal(row_of(w, id)->inference_ms, 40);
    assert_int_equal(row_of(w, id)->usages, 1);
    struct queue_stats s = stats_of(w);
    assert_true(s.submitted == 1 && s.claimed == 1 && s.completed == 1 && s.failed == 0 &&
                s.waiting == 0 && s.running == 0);
}

static void submit_is_answered_only_after_the_store_has_it(void **state) {
    struct world *w = *state;
    uint64_t n = submit(w, 0, false);
    for (unsigned k = 0; k < 5; k++) queue_tick(w->queue);
    assert_int_equal(w->answers[n].times, 0);
    store_step(w);
    assert_int_equal(w->answers[n].times, 1);
    assert_int_equal(w->answers[n].state, STORE_IN_QUEUE);
}

static void completed_is_shown_only_after_the_store_has_it(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    struct queue_outcome o = good();
    end_run(w, run_of(w, id)->run, &o);
    uint64_t n = status(w, id, false);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(w->answers[n].state, STORE_IN_PROGRESS);
    settle_world(w);
    assert_int_equal(ask_status(w, id)->state, STORE_COMPLETED);
}

static void a_refused_submit_leaves_nothing(void **state) {
    struct world *w = *state;
    w->fail_next = 1;
    uint64_t n = submit(w, 0, false);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_UNAVAILABLE);
    assert_int_equal(w->nrows, 0);
    assert_int_equal(stats_of(w).waiting, 0);
}

static void submits_are_refused_while_the_store_cannot_write(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    queue_store_health(w->queue, false, "disk full");
    uint64_t n = submit(w, 0, false);
    assert_int_equal(w->answers[n].times, 0);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_UNAVAILABLE);
    assert_int_equal(ask_status(w, id)->code, QUEUE_OK);
    queue_store_health(w->queue, true, "");
    submitted(w, 0, false);
}

static void limits_of_server_and_caller_refuse_as_full(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    struct queue_submit in = {.endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE("{}"),
                              .max_queue_length = 1};
    uint64_t a = submit_in(w, &in), b = submit_in(w, &in), c = submit_in(w, &in);
    settle_world(w);
    assert_int_equal(w->answers[a].code, QUEUE_OK);
    assert_int_equal(w->answers[b].code, QUEUE_OK); /* one waits: not longer than one */
    assert_int_equal(w->answers[c].code, QUEUE_FULL);
    in.max_queue_length = 0;
    uint64_t d = submit_in(w, &in);
    settle_world(w);
    assert_int_equal(w->answers[d].code, QUEUE_OK);
}

/* --- who may see it */

static enum queue_code status_as(struct world *w, const char *id, const char *owner,
                                 const char *endpoint) {
    struct queue_find f = {slice_of(id), slice_of(owner), slice_of(endpoint)};
    uint64_t n = status_find(w, &f);
    settle_world(w);
    return w->answers[n].code;
}

static void another_owner_or_endpoint_finds_nothing(void **state) {
    struct world *w = *state;
    struct queue_submit in = {
        .endpoint = SLICE("fal-ai/any-llm/vision"), .owner = SLICE("app1"), .input = SLICE("{}")};
    uint64_t n = submit_in(w, &in);
    settle_world(w);
    const char *id = w->answers[n].id;
    for (unsigned round = 0; round < 2; round++) { /* from memory, then from the store */
        assert_int_equal(status_as(w, id, "app1", "fal-ai/any-llm"), QUEUE_OK);
        assert_int_equal(status_as(w, id, "app1", "fal-ai/any-llm/vision"), QUEUE_OK);
        assert_int_equal(status_as(w, id, "app1", "fal-ai"), QUEUE_OK);
        assert_int_equal(status_as(w, id, "app1", "fal-ai/any"), QUEUE_NOT_FOUND);
        assert_int_equal(status_as(w, id, "app1", "fal-ai/any-llm/vision/x"), QUEUE_NOT_FOUND);
        assert_int_equal(status_as(w, id, "app1", "openrouter/router"), QUEUE_NOT_FOUND);
        assert_int_equal(status_as(w, id, "app2", "fal-ai/any-llm"), QUEUE_NOT_FOUND);
        assert_int_equal(status_as(w, id, "", "fal-ai/any-llm"), QUEUE_NOT_FOUND);
        if (round == 0) finish(w, id, good());
    }
}

static void what_is_not_a_lower_case_uuid_is_not_found(void **state) {
    struct world *w = *state;
    static const char *const ids[] = {"",
                                      "x",
                                      "11111111-2222-4333-8444-55555555555",
                                      "11111111-2222-4333-8444-5555555555555",
                                      "11111111-2222-4333-8444-55555555555G",
                                      "AAAAAAAA-2222-4333-8444-555555555555",
                                      "11111111x2222-4333-8444-555555555555",
                                      "' OR 1=1; --                        "};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        assert_int_equal(ask_status(w, ids[k])->code, QUEUE_NOT_FOUND);
        assert_int_equal(ask_cancelled(w, ids[k]), QUEUE_NOT_FOUND);
    }
    assert_int_equal(ask_status(w, "11111111-2222-4333-8444-555555555555")->code, QUEUE_NOT_FOUND);
    assert_int_equal(ask_result(w, "11111111-2222-4333-8444-555555555555")->code, QUEUE_NOT_FOUND);
    assert_int_equal(ask_cancelled(w, "11111111-2222-4333-8444-555555555555"), QUEUE_NOT_FOUND);
}

/* --- order */

static void never_more_runs_than_the_runner_takes(void **state) {
    struct world *w = *state;
    for (unsigned k = 0; k < 20; k++) submit(w, 0, false);
    settle_world(w);
    assert_int_equal(w->nruns, 4);
    assert_int_equal(stats_of(w).waiting, 16);
    struct queue_outcome o = good();
    while (w->nruns > 0) {
        end_run(w, w->runs[0].run, &o);
        settle_world(w);
    }
    assert_int_equal(stats_of(w).completed, 20);
}

static void order_is_priority_then_age(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    char ids[6][STORE_ID_BYTES];
    static const int priorities[] = {1, 0, 1, 0, 0, 1};
    static const unsigned expected[] = {1, 3, 4, 0, 2, 5};
    for (unsigned k = 0; k < 6; k++)
        memcpy(ids[k], submitted(w, priorities[k], false), STORE_ID_BYTES);
    w->capacity = 1;
    for (unsigned k = 0; k < 6; k++) {
        queue_wake(w->queue);
        settle_world(w);
        assert_string_equal(w->runs[0].id, ids[expected[k]]);
        finish(w, ids[expected[k]], good());
    }
}

static void position_counts_those_before_and_never_rises(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    char ids[5][STORE_ID_BYTES];
    for (unsigned k = 0; k < 5; k++) memcpy(ids[k], submitted(w, 1, false), STORE_ID_BYTES);
    for (unsigned k = 0; k < 5; k++) assert_int_equal(ask_status(w, ids[k])->position, k);
    submitted(w, 0, false); /* goes before them all, but what was shown stays */
    for (unsigned k = 0; k < 5; k++) assert_int_equal(ask_status(w, ids[k])->position, k);
    assert_int_equal(ask_cancelled(w, ids[1]), QUEUE_OK);
    assert_int_equal(ask_cancelled(w, ids[2]), QUEUE_OK);
    assert_int_equal(ask_status(w, ids[3])->position, 2);
    assert_int_equal(ask_status(w, ids[4])->position, 3);
}

static void more_room_is_used_when_woken(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    for (unsigned k = 0; k < 3; k++) submit(w, 0, false);
    settle_world(w);
    assert_int_equal(w->nruns, 0);
    w->capacity = 2;
    queue_wake(w->queue);
    settle_world(w);
    assert_int_equal(w->nruns, 2);
}

/* --- retries */

static void a_retryable_failure_is_tried_again_with_a_new_token(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    uint64_t first = run_of(w, id)->run, token = row_of(w, id)->token;
    finish(w, id, retryable(4));
    assert_null(run_of(w, id));
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    pass(w, QUEUE_BACKOFF_MS);
    assert_non_null(run_of(w, id));
    assert_int_equal(run_of(w, id)->attempt, 2);
    assert_string_equal(run_of(w, id)->input, "{\"prompt\":\"x\"}");
    assert_true(run_of(w, id)->run != first && row_of(w, id)->token != token);
    assert_int_equal(row_of(w, id)->usages, 1);
    finish(w, id, good());
    assert_int_equal(row_of(w, id)->usages, 2);
    assert_int_equal(ask_result(w, id)->http_status, 200);
    assert_int_equal(stats_of(w).retried, 1);
}

static void an_attempts_usage_is_given_once(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    finish(w, id, retryable(4));
    w->mono_ms += QUEUE_BACKOFF_MS;
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(store_waiting(w), 1); /* the retry, with the first attempt's usage */
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
    assert_int_equal(row_of(w, id)->usages, 1);
    assert_int_equal(w->started, 1);
}

static void attempts_end_at_their_maximum(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    for (unsigned attempt = 1; attempt <= 4; attempt++) {
        assert_int_equal(run_of(w, id)->attempt, attempt);
        finish(w, id, retryable(4));
        pass(w, QUEUE_BACKOFF_CAP_MS);
    }
    assert_int_equal(ask_result(w, id)->http_status, 503);
    assert_string_equal(w->answers[w->calls].error_type, "runner_connection_error");
    assert_int_equal(w->started, 4);
    assert_int_equal(stats_of(w).failed, 1);
}

static void no_retry_is_never_tried_again(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, true);
    finish(w, id, retryable(10));
    pass(w, 1000000);
    assert_int_equal(ask_result(w, id)->http_status, 503);
    assert_int_equal(w->started, 1);
}

static void retry_after_is_a_floor_and_has_a_cap(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    struct queue_outcome o = retryable(10);
    o.retry_after_ms = 60000;
    finish(w, id, o);
    pass(w, 59999);
    assert_null(run_of(w, id));
    pass(w, 1);
    assert_non_null(run_of(w, id));
    o.retry_after_ms = INT64_MAX;
    finish(w, id, o);
    pass(w, QUEUE_RETRY_AFTER_CAP_MS - 1);
    assert_null(run_of(w, id));
    pass(w, 1);
    assert_non_null(run_of(w, id));
}

static void a_waiting_retry_goes_before_new_requests(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    char id[STORE_ID_BYTES];
    memcpy(id, submitted(w, 1, false), sizeof id);
    char other[STORE_ID_BYTES];
    finish(w, id, retryable(4));
    memcpy(other, submitted(w, 0, false), sizeof other);
    submitted(w, 0, false);
    assert_non_null(run_of(w, other));
    pass(w, QUEUE_BACKOFF_CAP_MS);
    assert_null(run_of(w, id));
    finish(w, other, good());
    assert_non_null(run_of(w, id));
}

static void a_late_result_of_an_old_attempt_is_dropped_and_counted(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    uint64_t old = run_of(w, id)->run;
    finish(w, id, retryable(4));
    struct queue_outcome o = good();
    queue_run_done(w->queue, old, &o);
    queue_run_log(w->queue, old, "INFO", SLICE("late"));
    queue_run_done(w->queue, 12345, &o);
    pass(w, QUEUE_BACKOFF_CAP_MS);
    queue_run_done(w->queue, old, &o);
    assert_int_equal(stats_of(w).stale_writes, 3);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    finish(w, id, good());
    assert_int_equal(stats_of(w).completed, 1);
}

static void an_upstream_that_is_down_does_not_swallow_the_queue(void **state) {
    struct world *w = *state;
    for (unsigned k = 0; k < 400; k++) submit(w, 0, false);
    settle_world(w);
    struct queue_outcome o = retryable(10);
    o.retry_after_ms = 100000;
    while (w->nruns > 0) {
        end_run(w, w->runs[0].run, &o);
        settle_world(w);
    }
    assert_in_range(w->started, QUEUE_MAX_BACKOFF, QUEUE_MAX_BACKOFF + 4);
    assert_int_equal(stats_of(w).waiting, 400 - w->started);
}

/* --- results */

static void a_result_over_the_limit_fails_and_is_never_cut(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    char *big = calloc(1, QUEUE_MAX_RESULT_BYTES + 1);
    struct queue_outcome o = good();
    o.body = slice_make(big, QUEUE_MAX_RESULT_BYTES + 1);
    finish(w, id, o);
    free(big);
    assert_int_equal(ask_result(w, id)->http_status, 500);
    assert_string_equal(w->answers[w->calls].error_type, "result_too_large");
    assert_int_equal(row_of(w, id)->usages, 1);
}

static const char *with_webhook(struct world *w) {
    struct queue_submit in = plain();
    in.webhook = SLICE("http://h/");
    return submitted_in(w, &in);
}

static void a_webhook_gets_its_row_with_the_result_and_is_told_of_once_durable(void **state) {
    struct world *w = *state;
    const char *id = with_webhook(w);
    w->fail_next = 2; /* the store cannot write at first */
    finish(w, id, good());
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(w->webhooks, 0);
        pass(w, QUEUE_STORE_RETRY_MS);
    }
    assert_int_equal(row_of(w, id)->outbox, 1);
    assert_int_equal(row_of(w, id)->nlogs, 0);
    assert_int_equal(w->webhooks, 1);
    assert_string_equal(w->webhook_id, id);
    submitted(w, 0, false); /* one without */
    assert_int_equal(w->webhooks, 1);
}

static void a_webhook_of_what_was_cancelled_while_it_waited_is_told_of(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = with_webhook(w);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    settle_world(w);
    assert_int_equal(row_of(w, id)->outbox, 1);
    assert_int_equal(w->webhooks, 1);
    assert_string_equal(w->webhook_id, id);
}

/* --- log lines */

static void log_lines_are_seen_at_once_and_all_there_when_completed(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    uint64_t run = run_of(w, id)->run;
    queue_run_log(w->queue, run, "INFO", SLICE("one"));
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->nlogs, 1);
    assert_string_equal(a->last_log, "one");
    assert_int_equal(row_of(w, id)->nlogs, 0);
    pass(w, QUEUE_LOG_FLUSH_MS);
    assert_int_equal(row_of(w, id)->nlogs, 1);
    queue_run_log(w->queue, run, "WARN", SLICE("two"));
    finish(w, id, good());
    a = ask_status(w, id);
    assert_int_equal(a->nlogs, 2);
    assert_string_equal(a->last_log, "two");
}

static void log_lines_survive_a_failed_flush_in_order(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    uint64_t run = run_of(w, id)->run;
    queue_run_log(w->queue, run, "INFO", SLICE("one"));
    w->fail_next = 2;
    pass(w, QUEUE_LOG_FLUSH_MS);
    queue_run_log(w->queue, run, "INFO", SLICE("two"));
    w->mono_ms += QUEUE_LOG_FLUSH_MS;
    queue_tick(w->queue); /* the flush is on its way (and will fail) when the run ends */
    assert_int_equal(store_waiting(w), 1);
    queue_run_log(w->queue, run, "INFO", SLICE("three"));
    finish(w, id, good());
    assert_int_equal(row_of(w, id)->nlogs, 3);
    static const char *const expected[] = {"one", "two", "three"};
    for (unsigned k = 0; k < 3; k++) assert_string_equal(row_of(w, id)->logs[k].text, expected[k]);
}

static void log_lines_are_capped_in_length_count_and_sum(void **state) {
    struct world *w = *state;
    char *line = malloc(20000);
    const char *id = submitted(w, 0, false);
    uint64_t run = run_of(w, id)->run;
    for (unsigned k = 0; k < 12000; k++) queue_run_log(w->queue, run, "INFO", SLICE("short"));
    struct answer *a = ask_status(w, id);
    assert_int_equal(a->nlogs, QUEUE_MAX_LOG_LINES);
    assert_string_equal(a->last_log, "too many log lines: further ones are dropped");
    finish(w, id, good());
    assert_int_equal(row_of(w, id)->nlogs, QUEUE_MAX_LOG_LINES);
    id = submitted(w, 0, false);
    run = run_of(w, id)->run;
    for (size_t k = 0; k < 20000; k += 2) memcpy(line + k, "\xc3\xa9", 2);
    for (unsigned k = 0; k < 2000; k++)
        queue_run_log(w->queue, run, "nonsense", slice_make(line + 1, 19999));
    a = ask_status(w, id);
    assert_int_equal(a->nlogs, QUEUE_MAX_LOG_TOTAL / (QUEUE_MAX_LOG_BYTES - 1) + 1);
    free(line);
}

/* --- cancel */

static void cancel_of_a_waiting_request_ends_it_unrun(void **state) {
    struct world *w = *state;
    w->capacity = 0;
    const char *id = submitted(w, 0, false);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_int_equal(ask_result(w, id)->http_status, 499);
    struct answer *a = &w->answers[w->calls];
    assert_string_equal(a->error_type, "client_cancelled");
    assert_string_equal(a->body, "{\"detail\":\"Request cancelled by the client.\","
                                 "\"message\":\"Request cancelled by the client.\","
                                 "\"error_type\":\"client_cancelled\"}");
    assert_int_equal(row_of(w, id)->inference_ms, -1);
    assert_int_equal(ask_cancelled(w, id), QUEUE_ALREADY_COMPLETED);
    assert_int_equal(w->started, 0);
    assert_int_equal(stats_of(w).cancelled, 1);
}

static void cancel_of_a_running_request_reaches_the_runner_once(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_int_equal(w->cancels, 1);
    assert_true(row_of(w, id)->cancel_requested);
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_int_equal(w->cancels, 1);
    finish(w, id, good()); /* too late: the cancel was durable first */
    assert_int_equal(ask_result(w, id)->http_status, 499);
    assert_int_equal(row_of(w, id)->usages, 1);
    assert_int_equal(ask_cancelled(w, id), QUEUE_ALREADY_COMPLETED);
}

static void cancel_between_attempts_ends_it(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    finish(w, id, retryable(4));
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    assert_int_equal(ask_result(w, id)->http_status, 499);
    pass(w, 100000);
    assert_int_equal(w->started, 1);
    assert_int_equal(row_of(w, id)->usages, 1);
}

/* One request, its run ending well after `before_end` operations of the store, a cancel coming after `before_cancel`:
 * in all orders the answer and the final state agree. */
static void cancel_and_end_in_order(unsigned steps_before_cancel, bool end_first, bool ends,
                                    unsigned failing) {
    struct world *w = world_new(7 + steps_before_cancel);
    uint64_t n = submit(w, 0, false);
    while (w->answers[n].times == 0) store_step(w);
    const char *id = w->answers[n].id;
    bool ended = false;
    uint64_t c = 0;
    for (unsigned step = 0; step < 12; step++) {
        while (queue_tick(w->queue) == 0) continue;
        if (step == steps_before_cancel && !end_first) c = cancel(w, id);
        if (step == steps_before_cancel) w->fail_next = failing;
        if (!ended && ends && run_of(w, id) != NULL && step + 1 >= steps_before_cancel) {
            struct queue_outcome o = good();
            end_run(w, run_of(w, id)->run, &o);
            ended = true;
        }
        if (step == steps_before_cancel && end_first) c = cancel(w, id);
        while (queue_tick(w->queue) == 0) continue;
        store_step(w);
    }
    for (unsigned k = 0; k < 10; k++) {
        struct queue_outcome o = good();
        pass(w, QUEUE_STORE_RETRY_MS);
        if (run_of(w, id) != NULL) end_run(w, run_of(w, id)->run, &o);
    }
    assert_int_equal(w->answers[c].times, 1);
    assert_int_equal(row_of(w, id)->state, STORE_COMPLETED);
    assert_int_equal(row_of(w, id)->http_status, w->answers[c].code == QUEUE_OK ? 499 : 200);
    if (w->answers[c].code != QUEUE_OK)
        assert_int_equal(w->answers[c].code, QUEUE_ALREADY_COMPLETED);
    check_world(w);
    world_free(w);
}

static void cancel_and_completion_agree_in_every_order(void **state) {
    for (unsigned steps = 0; steps < 6; steps++)
        for (unsigned variant = 0; variant < 4; variant++)
            for (unsigned failing = 0; failing < 4; failing++)
                cancel_and_end_in_order(steps, variant & 1, variant & 2, failing);
}

static void cancels_go_on_while_the_store_cannot_write(void **state) {
    struct world *w = *state;
    char running[STORE_ID_BYTES], waiting[STORE_ID_BYTES];
    w->capacity = 1;
    memcpy(running, submitted(w, 0, false), sizeof running);
    memcpy(waiting, submitted(w, 0, false), sizeof waiting);
    w->fail_next = 100;
    queue_store_health(w->queue, false, "disk full");
    assert_int_equal(ask_cancelled(w, waiting), QUEUE_OK);
    assert_int_equal(ask_cancelled(w, running), QUEUE_OK);
    assert_int_equal(w->cancels, 1);
    finish(w, running, good());
    assert_int_equal(ask_status(w, waiting)->state, STORE_IN_QUEUE);
    assert_int_equal(ask_status(w, running)->state, STORE_IN_PROGRESS);
    w->fail_next = 0;
    queue_store_health(w->queue, true, "");
    settle_world(w);
    assert_int_equal(ask_result(w, waiting)->http_status, 499);
    assert_int_equal(ask_result(w, running)->http_status, 499);
    assert_int_equal(w->started, 1);
}

/* --- a store that fails */

static void a_result_waits_for_the_store_and_is_not_lost(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    w->fail_next = 5;
    finish(w, id, good());
    assert_int_equal(ask_status(w, id)->state, STORE_IN_PROGRESS);
    for (unsigned k = 0; k < 5; k++) pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(ask_result(w, id)->http_status, 200);
    assert_int_equal(w->started, 1);
}

static void a_claim_that_fails_leaves_the_request_waiting(void **state) {
    struct world *w = *state;
    uint64_t n = submit(w, 0, false);
    store_step(w);
    w->fail_next = 2;
    settle_world(w);
    const char *id = w->answers[n].id;
    assert_null(run_of(w, id));
    assert_int_equal(ask_status(w, id)->state, STORE_IN_QUEUE);
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_null(run_of(w, id));
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_non_null(run_of(w, id));
}

static void a_retry_that_fails_is_tried_again(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    finish(w, id, retryable(4));
    w->fail_next = 1;
    pass(w, QUEUE_BACKOFF_MS);
    assert_null(run_of(w, id));
    pass(w, QUEUE_STORE_RETRY_MS);
    assert_int_equal(run_of(w, id)->attempt, 2);
}

/* --- restart */

static void after_a_crash_running_requests_run_again_at_once(void **state) {
    struct world *w = *state;
    w->capacity = 1;
    char running[STORE_ID_BYTES], waiting[STORE_ID_BYTES];
    memcpy(running, submitted(w, 1, false), sizeof running);
    memcpy(waiting, submitted(w, 0, false), sizeof waiting);
    queue_run_log(w->queue, run_of(w, running)->run, "INFO", SLICE("before the crash"));
    pass(w, QUEUE_LOG_FLUSH_MS);
    restart(w);
    assert_non_null(run_of(w, running));
    assert_int_equal(run_of(w, running)->attempt, 2);
    struct answer *a = ask_status(w, running);
    assert_int_equal(a->state, STORE_IN_PROGRESS);
    assert_string_equal(a->first_log, "before the crash");
    assert_int_equal(a->nlogs, 2);
    assert_int_equal(ask_status(w, waiting)->state, STORE_IN_QUEUE);
    finish(w, running, good());
    finish(w, waiting, good());
    assert_int_equal(row_of(w, running)->nlogs, 2);
    assert_int_equal(stats_of(w).recovered, 1);
}

static void after_a_crash_no_retry_ends_instead_of_running_twice(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, true);
    restart(w);
    assert_int_equal(ask_result(w, id)->http_status, 503);
    assert_string_equal(w->answers[w->calls].error_type, "runner_disconnected");
    assert_int_equal(w->started, 1);
}

static void after_a_crash_a_cancelled_request_stays_cancelled(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    assert_int_equal(ask_cancelled(w, id), QUEUE_OK);
    restart(w);
    assert_int_equal(ask_result(w, id)->http_status, 499);
    assert_int_equal(w->started, 1);
}

static void three_crashes_with_the_same_request_end_it(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    restart(w);
    restart(w);
    assert_non_null(run_of(w, id));
    assert_int_equal(run_of(w, id)->attempt, 3);
    restart(w);
    assert_int_equal(ask_result(w, id)->http_status, 503);
    assert_string_equal(w->answers[w->calls].error_type, "runner_disconnected");
    assert_int_equal(w->started, 3);
}

/* At no step between two lives, nor at its end, is a request neither waiting nor running. */
static void what_is_unfinished_is_counted_as_its_callers_see_it(void **state) {
    struct world *w = *state;
    const struct fake_row *row = row_of(w, submitted(w, 0, false));
    for (unsigned crashes = 1; crashes <= 3; crashes++) {
        world_crash(w);
        world_start(w);
        do {
            while (queue_tick(w->queue) == 0) continue;
            struct queue_stats s = stats_of(w);
            assert_int_equal(s.waiting, 0);
            if (!s.loading) assert_int_equal(s.running, row->state == STORE_IN_PROGRESS);
        } while (store_step(w));
        assert_int_equal(row->state, crashes < 3 ? STORE_IN_PROGRESS : STORE_COMPLETED);
    }
}

static void retries_are_not_taken_for_crashes(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    for (unsigned k = 0; k < 5; k++) {
        finish(w, id, retryable(10));
        pass(w, QUEUE_BACKOFF_CAP_MS);
    }
    restart(w);
    assert_non_null(run_of(w, id));
}

static void before_it_is_ready_nothing_is_accepted(void **state) {
    struct world *w = *state;
    world_crash(w);
    world_start(w);
    uint64_t n = submit(w, 0, false);
    while (queue_tick(w->queue) == 0) continue;
    assert_int_equal(w->answers[n].code, QUEUE_UNAVAILABLE);
    settle_world(w);
    assert_true(w->ready);
}

/* --- drain */

static void on_idle(void *user) {
    struct world *w = user;
    assert_false(w->idle);
    w->idle = true;
}

static void drain_lets_runs_finish_and_keeps_the_rest(void **state) {
    struct world *w = *state;
    char ids[6][STORE_ID_BYTES];
    for (unsigned k = 0; k < 6; k++) memcpy(ids[k], submitted(w, 0, false), STORE_ID_BYTES);
    finish(w, ids[0], retryable(4)); /* one between two attempts */
    assert_int_equal(w->nruns, 4);
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    assert_false(w->idle);
    uint64_t n = submit(w, 0, false);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_UNAVAILABLE);
    finish(w, ids[1], good());
    finish(w, ids[2], retryable(4));
    finish(w, ids[3], good());
    assert_false(w->idle);
    finish(w, ids[4], good());
    assert_true(w->idle);
    assert_int_equal(w->nruns, 0);
    assert_int_equal(row_of(w, ids[0])->state, STORE_IN_PROGRESS);
    assert_string_equal(row_of(w, ids[0])->boot, "");
    assert_int_equal(row_of(w, ids[5])->state, STORE_IN_QUEUE);
    restart(w);
    assert_non_null(run_of(w, ids[0]));
    assert_non_null(run_of(w, ids[2]));
    assert_non_null(run_of(w, ids[5]));
    assert_int_equal(row_of(w, ids[0])->crashes, 0);
    assert_int_equal(row_of(w, ids[2])->usages, 1);
}

static void drain_of_an_idle_queue_ends_at_once(void **state) {
    struct world *w = *state;
    queue_drain(w->queue, on_idle, w);
    assert_false(w->idle);
    settle_world(w);
    assert_true(w->idle);
}

static void abandoned_runs_are_given_back_and_are_no_crash(void **state) {
    struct world *w = *state;
    char a[STORE_ID_BYTES], b[STORE_ID_BYTES], c[STORE_ID_BYTES];
    memcpy(a, submitted(w, 0, false), sizeof a);
    memcpy(b, submitted(w, 0, true), sizeof b);
    memcpy(c, submitted(w, 0, false), sizeof c);
    assert_int_equal(ask_cancelled(w, c), QUEUE_OK);
    uint64_t run = run_of(w, a)->run;
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    w->runs[2].cancelled = false; /* told once by the cancel, once more by the end */
    queue_abandon(w->queue);
    settle_world(w);
    assert_true(w->idle);
    struct queue_outcome o = good();
    queue_run_done(w->queue, run, &o);
    settle_world(w);
    assert_int_equal(row_of(w, a)->state, STORE_IN_PROGRESS);
    assert_string_equal(row_of(w, b)->error_type, "runner_disconnected");
    assert_string_equal(row_of(w, c)->error_type, "client_cancelled");
    w->nruns = 0;
    restart(w);
    assert_non_null(run_of(w, a));
    assert_int_equal(row_of(w, a)->crashes, 0);
}

static void what_an_abandoned_run_has_used_is_kept(void **state) {
    struct world *w = *state;
    char given_back[STORE_ID_BYTES], ended[STORE_ID_BYTES], unsent[STORE_ID_BYTES];
    memcpy(given_back, submitted(w, 0, false), sizeof given_back);
    memcpy(ended, submitted(w, 0, true), sizeof ended);
    memcpy(unsent, submitted(w, 0, false), sizeof unsent);
    run_of(w, unsent)->slow = true;
    queue_drain(w->queue, on_idle, w);
    queue_abandon(w->queue);
    settle_world(w);
    assert_int_equal(row_of(w, given_back)->usages, 1);
    assert_int_equal(row_of(w, ended)->usages, 1);
    assert_int_equal(row_of(w, unsent)->usages, 0);
    w->nruns = 0; /* what their runner still says is dropped */
}

static void abandon_with_a_dead_store_still_ends(void **state) {
    struct world *w = *state;
    const char *id = submitted(w, 0, false);
    const char *other = submitted(w, 0, false);
    w->fail_percent = 100;
    finish(w, id, good());
    queue_drain(w->queue, on_idle, w);
    settle_world(w);
    assert_false(w->idle);
    queue_abandon(w->queue);
    settle_world(w);
    assert_true(w->idle);
    w->nruns = 0;
    w->fail_percent = 0;
    restart(w);
    assert_non_null(run_of(w, id));
    assert_non_null(run_of(w, other));
}

static void the_planted_faults_are_found(void **state) {
    static const char *const faults[][2] = {
        {"answer-before-commit", "submit_is_answered_only_after_the_store_has_it"},
        {"two-charges", "an_attempts_usage_is_given_once"}};
    suite_must_find(faults, 2);
}

#define T WORLD_TEST

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        T(a_request_is_submitted_claimed_run_and_completed),
        T(submit_is_answered_only_after_the_store_has_it),
        T(completed_is_shown_only_after_the_store_has_it),
        T(a_refused_submit_leaves_nothing),
        T(submits_are_refused_while_the_store_cannot_write),
        T(limits_of_server_and_caller_refuse_as_full),
        T(another_owner_or_endpoint_finds_nothing),
        T(what_is_not_a_lower_case_uuid_is_not_found),
        T(never_more_runs_than_the_runner_takes),
        T(order_is_priority_then_age),
        T(position_counts_those_before_and_never_rises),
        T(more_room_is_used_when_woken),
        T(a_retryable_failure_is_tried_again_with_a_new_token),
        T(an_attempts_usage_is_given_once),
        T(attempts_end_at_their_maximum),
        T(no_retry_is_never_tried_again),
        T(retry_after_is_a_floor_and_has_a_cap),
        T(a_waiting_retry_goes_before_new_requests),
        T(a_late_result_of_an_old_attempt_is_dropped_and_counted),
        T(an_upstream_that_is_down_does_not_swallow_the_queue),
        T(a_result_over_the_limit_fails_and_is_never_cut),
        T(a_webhook_gets_its_row_with_the_result_and_is_told_of_once_durable),
        T(a_webhook_of_what_was_cancelled_while_it_waited_is_told_of),
        T(log_lines_are_seen_at_once_and_all_there_when_completed),
        T(log_lines_survive_a_failed_flush_in_order),
        T(log_lines_are_capped_in_length_count_and_sum),
        T(cancel_of_a_waiting_request_ends_it_unrun),
        T(cancel_of_a_running_request_reaches_the_runner_once),
        T(cancel_between_attempts_ends_it),
        T(cancel_and_completion_agree_in_every_order),
        T(cancels_go_on_while_the_store_cannot_write),
        T(a_result_waits_for_the_store_and_is_not_lost),
        T(a_claim_that_fails_leaves_the_request_waiting),
        T(a_retry_that_fails_is_tried_again),
        T(after_a_crash_running_requests_run_again_at_once),
        T(after_a_crash_no_retry_ends_instead_of_running_twice),
        T(after_a_crash_a_cancelled_request_stays_cancelled),
        T(three_crashes_with_the_same_request_end_it),
        T(what_is_unfinished_is_counted_as_its_callers_see_it),
        T(retries_are_not_taken_for_crashes),
        T(before_it_is_ready_nothing_is_accepted),
        T(drain_lets_runs_finish_and_keeps_the_rest),
        T(drain_of_an_idle_queue_ends_at_once),
        T(abandoned_runs_are_given_back_and_are_no_crash),
        T(what_an_abandoned_run_has_used_is_kept),
        T(abandon_with_a_dead_store_still_ends),
        T(the_planted_faults_are_found),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
