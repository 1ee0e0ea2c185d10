/* The store's contract, whatever stands behind it. */
#include "store/store_suite.h"

#include <stdio.h>
#include <stdlib.h>

#define ID "11111111-2222-4333-8444-555555555555"

static bool text_is(struct slice s, const char *text) {
    return slice_is(s, text);
}

/* --- submit and read */

static void submit_answers_increasing_seq(void **state) {
    struct fixture *f = *state;
    uint64_t last = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t t = give_id(f, id_of(i));
        assert_int_equal(status_of(f, t), STORE_OK);
        assert_true(f->answers[t].seq > last);
        last = f->answers[t].seq;
    }
}

static void submit_of_a_taken_id_is_stale(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    struct store_submit other = {.id = ID, .endpoint = SLICE("x/y"), .input = SLICE("{}")};
    assert_int_equal(status_of(f, give_submit(f, &other)), STORE_STALE);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT)), STORE_OK);
    assert_true(text_is(f->row.input, "{\"prompt\":\"hello\"}"));
}

static void submit_of_an_overlong_id_is_refused(void **state) {
    struct fixture *f = *state;
    const char *id = "11111111-2222-4333-8444-5555555555556";
    assert_int_equal(status_of(f, give_id(f, id)), STORE_NOT_FOUND);
    assert_int_equal(READ(f, ask_row(f, id, 0)), STORE_NOT_FOUND);
}

static void get_of_an_unknown_id_is_not_found(void **state) {
    struct fixture *f = *state;
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_NOT_FOUND);
    assert_int_equal(READ(f, ask_row(f, "", 0)), STORE_NOT_FOUND);
    assert_int_equal(READ(f, ask_row(f, "' OR 1=1 --", 0)), STORE_NOT_FOUND);
}

static void get_gives_back_what_submit_was_given(void **state) {
    struct fixture *f = *state;
    struct store_submit in = {
        .id = ID,
        .endpoint = SLICE("fal-ai/any-llm/vision"),
        .owner = SLICE("team-a"),
        .input = SLICE("{\"prompt\":\"x\"}"),
        .webhook = SLICE("https://example.org/hook"),
        .priority = 1,
        .no_retry = true,
        .created_ms = 1234567890123,
    };
    give_submit(f, &in);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT | STORE_RESULT)), STORE_OK);
    assert_string_equal(f->row.id, ID);
    assert_true(slice_eq(f->row.endpoint, in.endpoint) && slice_eq(f->row.owner, in.owner));
    assert_true(slice_eq(f->row.input, in.input) && slice_eq(f->row.webhook, in.webhook));
    assert_int_equal(f->row.priority, 1);
    assert_true(f->row.no_retry && !f->row.cancel_requested);
    assert_int_equal(f->row.created_ms, in.created_ms);
    assert_int_equal(f->row.state, STORE_IN_QUEUE);
    assert_int_equal(f->row.attempt, 0);
    assert_int_equal(f->row.inference_ms, -1);
    assert_int_equal(f->row.started_ms, 0);
}

static void get_reads_only_the_parts_named(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    give_complete(f, &c);
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_OK);
    assert_int_equal(f->row.input.len + f->row.body.len + f->row.headers.len, 0);
    assert_int_equal(f->row.http_status, 200);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_RESULT)), STORE_OK);
    assert_int_equal(f->row.input.len, 0);
    assert_true(slice_eq(f->row.body, c.body) && slice_eq(f->row.headers, c.headers));
}

static void unicode_nul_and_invalid_bytes_survive(void **state) {
    struct fixture *f = *state;
    static const char odd[] = "{\"a\":\"\xf0\x9f\x98\x80 \0 \xff\xfe '\"\"; DROP TABLE request\"}";
    struct slice bytes = slice_make(odd, sizeof odd - 1);
    struct store_submit in = {.id = ID, .endpoint = SLICE("a/b"), .owner = bytes, .input = bytes};
    give_submit(f, &in);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    struct store_log line = {.id = ID, .at_ms = 5, .level = SLICE("INFO"), .message = bytes};
    c.body = c.error = c.headers = bytes;
    c.logs = &line;
    c.nlogs = 1;
    give_complete(f, &c);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT | STORE_RESULT)), STORE_OK);
    assert_true(slice_eq(f->row.owner, bytes) && slice_eq(f->row.input, bytes));
    assert_true(slice_eq(f->row.body, bytes) && slice_eq(f->row.error, bytes) &&
                slice_eq(f->row.headers, bytes));
    assert_int_equal(READ(f, ask_logs(f, ID)), STORE_OK);
    assert_true(slice_eq(f->logs[0].message, bytes));
}

static void large_input_and_result_survive(void **state) {
    struct fixture *f = *state;
    size_t len = 12U << 20;
    char *big = malloc(len);
    for (size_t i = 0; i < len; i++) big[i] = (char)('a' + i % 23);
    struct store_submit in = {.id = ID, .endpoint = SLICE("a/b"), .input = slice_make(big, len)};
    assert_int_equal(status_of(f, give_submit(f, &in)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 7)), STORE_OK);
    assert_true(slice_eq(f->row.input, in.input));
    struct store_complete c = completion(ID, 1, 7);
    c.body = in.input;
    give_complete(f, &c);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_RESULT)), STORE_OK);
    assert_true(slice_eq(f->row.body, in.input));
    free(big);
}

/* --- leases */

static void claim_leases_the_row_and_replies_its_input(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", UINT64_MAX)), STORE_OK);
    assert_int_equal(f->row.state, STORE_IN_PROGRESS);
    assert_int_equal(f->row.attempt, 1);
    assert_int_equal(f->row.started_ms, 2000);
    assert_true(text_is(f->row.input, "{\"prompt\":\"hello\"}"));
    struct store_complete c = completion(ID, 1, UINT64_MAX);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
}

static void claim_is_guarded_by_attempt_and_boot(void **state) {
    struct fixture *f = *state;
    give_join(f, "boot-1");
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 7)), STORE_NOT_FOUND);
    give_id(f, ID);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 7)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 7)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 8)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-2", 8)), STORE_STALE);
    struct store_complete c = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 9)), STORE_STALE);
}

static const struct store_pending *the_pending(struct fixture *f) {
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 1);
    return &f->pending[0];
}

static void claim_of_a_lost_lease_counts_a_crash(void **state) {
    struct fixture *f = *state;
    give_join(f, "boot-1");
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    const struct store_pending *p = the_pending(f);
    assert_true(p->state == STORE_IN_PROGRESS && p->attempt == 1 && p->crashes == 0 &&
                !p->released && p->held);
    give_join(f, "boot-2");
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-2", 8)), STORE_OK);
    assert_int_equal(f->row.attempt, 2);
    assert_int_equal(f->row.started_ms, 2000);
    assert_int_equal(the_pending(f)->crashes, 1);
    struct store_complete late = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &late)), STORE_STALE);
}

static void claim_of_a_released_row_counts_no_crash(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_release(f, ID, 1, 8, NULL)), STORE_STALE);
    assert_int_equal(status_of(f, give_release(f, ID, 1, 7, NULL)), STORE_OK);
    assert_true(the_pending(f)->released && the_pending(f)->state == STORE_IN_PROGRESS);
    struct store_complete late = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &late)), STORE_STALE);
    assert_int_equal(status_of(f, give_claim(f, ID, 1, "boot-1", 9)), STORE_OK);
    assert_int_equal(the_pending(f)->crashes, 0);
    assert_false(the_pending(f)->released);
}

static void retry_replaces_the_token_and_records_usage(void **state) {
    struct fixture *f = *state;
    struct store_usage u = {
        .present = true, .upstream = SLICE("lab"), .model = SLICE("m"), .raw = SLICE("{}")};
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_retry(f, ID, 1, 6, 8, &u)), STORE_STALE);
    assert_int_equal(status_of(f, give_retry(f, ID, 2, 7, 8, &u)), STORE_STALE);
    assert_int_equal(f->backend->count(f, "ledger", ID), 0);
    assert_int_equal(status_of(f, give_retry(f, ID, 1, 7, 8, &u)), STORE_OK);
    assert_int_equal(f->row.attempt, 2);
    assert_true(text_is(f->row.input, "{\"prompt\":\"hello\"}"));
    struct store_complete c = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    c = completion(ID, 2, 8);
    c.usage = u;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(f->backend->count(f, "ledger", ID), 2);
    assert_int_equal(f->backend->count(f, "result", ID), 1);
}

/* --- the end of a request */

static void complete_is_guarded_and_final(void **state) {
    struct fixture *f = *state;
    struct store_complete c = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_NOT_FOUND);
    give_id(f, ID);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    give_claim(f, ID, 0, "boot-1", 7);
    c.token = 8;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    c.token = 7;
    c.attempt = 2;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    assert_int_equal(f->backend->count(f, "result", ID), 0);
    c.attempt = 1;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    c.body = SLICE("\"another\"");
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_STALE);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_RESULT)), STORE_OK);
    assert_int_equal(f->row.state, STORE_COMPLETED);
    assert_true(text_is(f->row.body, "{\"output\":\"hi\"}"));
    assert_int_equal(f->row.completed_ms, 3000);
    assert_int_equal(f->row.inference_ms, 40);
    assert_int_equal(f->backend->count(f, "result", ID), 1);
}

static void complete_writes_result_usage_and_outbox_together(void **state) {
    struct fixture *f = *state;
    struct store_submit in = {
        .id = ID, .endpoint = SLICE("a/b"), .input = SLICE("{}"), .webhook = SLICE("http://h/")};
    give_submit(f, &in);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    c.usage = (struct store_usage){true, SLICE("lab"), SLICE("m"), SLICE("{\"cost\":1}"), true, 12};
    c.token = 9; /* stale: none of the three */
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    const char *const tables[] = {"result", "ledger", "outbox"};
    for (unsigned i = 0; i < 3; i++) assert_int_equal(f->backend->count(f, tables[i], ID), 0);
    c.token = 7;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(f->backend->count(f, tables[i], ID), 1);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(f->backend->count(f, tables[i], ID), 1);
}

static void complete_without_webhook_or_usage_writes_neither(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(f->backend->count(f, "outbox", ID), 0);
    assert_int_equal(f->backend->count(f, "ledger", ID), 0);
}

static void finish_waiting_ends_what_nobody_runs(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, give_finish(f, ID, 0, "boot-1")), STORE_NOT_FOUND);
    give_id(f, ID);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-1")), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 0, "boot-1")), STORE_OK);
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_OK);
    assert_int_equal(f->row.state, STORE_COMPLETED);
    assert_int_equal(f->row.http_status, 499);
    assert_true(text_is(f->row.error_type, "client_cancelled"));
    assert_int_equal(f->row.inference_ms, -1);
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 7)), STORE_STALE);
}

static void finish_waiting_spares_what_this_boot_runs(void **state) {
    struct fixture *f = *state;
    give_join(f, "boot-1");
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-1")), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 0, "boot-2")), STORE_STALE);
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_STALE);
    give_leave(f, "boot-1");
    assert_int_equal(status_of(f, give_finish(f, ID, 1, "boot-2")), STORE_OK);
    struct store_complete late = completion(ID, 1, 7);
    assert_int_equal(status_of(f, give_complete(f, &late)), STORE_STALE);
    assert_int_equal(f->backend->count(f, "result", ID), 1);
}

static void request_cancel_replies_the_state_before(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, give_cancel(f, ID)), STORE_NOT_FOUND);
    give_id(f, ID);
    uint64_t t = give_cancel(f, ID);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].state, STORE_IN_QUEUE);
    assert_true(the_pending(f)->cancel_requested);
    give_claim(f, ID, 0, "boot-1", 7);
    t = give_cancel(f, ID);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].state, STORE_IN_PROGRESS);
    struct store_complete c = completion(ID, 1, 7);
    give_complete(f, &c);
    t = give_cancel(f, ID);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].state, STORE_COMPLETED);
}

/* --- wishes, and what is forgotten */

static struct store_wishes many_wishes(void) {
    return (struct store_wishes){.start_timeout_ms = 12500,
                                 .no_store = true,
                                 .no_fallback = true,
                                 .retries_server_error = 0,
                                 .retries_timeout = -1,
                                 .retries_connection_error = 7,
                                 .owner_concurrency = 40};
}

static void same_wishes(const struct store_wishes *a, const struct store_wishes *b) {
    assert_int_equal(a->start_timeout_ms, b->start_timeout_ms);
    assert_int_equal(a->no_store, b->no_store);
    assert_int_equal(a->no_fallback, b->no_fallback);
    assert_int_equal(a->retries_server_error, b->retries_server_error);
    assert_int_equal(a->retries_timeout, b->retries_timeout);
    assert_int_equal(a->retries_connection_error, b->retries_connection_error);
    assert_int_equal(a->owner_concurrency, b->owner_concurrency);
}

static void wishes_come_back_with_the_row_and_survive_reopening(void **state) {
    struct fixture *f = *state;
    struct store_wishes wishes = many_wishes();
    struct store_submit in = {.id = ID,
                              .endpoint = SLICE("a/b"),
                              .input = SLICE("{}"),
                              .wishes = wishes,
                              .hint = SLICE("a session"),
                              .tags = SLICE("team=a,job=7")};
    give_submit(f, &in);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_OK);
        same_wishes(&f->row.wishes, &wishes);
        assert_true(slice_eq(f->row.hint, in.hint));
        assert_true(slice_eq(f->row.tags, in.tags));
        same_wishes(&the_pending(f)->wishes, &wishes);
        fixture_close(f);
        fixture_open(f);
    }
    assert_int_equal(status_of(f, give_claim(f, ID, 0, "boot-1", 7)), STORE_OK);
    same_wishes(&f->row.wishes, &wishes);
    assert_true(slice_eq(f->row.hint, in.hint));
    assert_int_equal(status_of(f, give_retry(f, ID, 1, 7, 8, NULL)), STORE_OK);
    assert_true(slice_eq(f->row.hint, in.hint));
}

static void complete_with_a_time_to_forget_removes_the_input_at_once(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 8);
    c.forget_ms = 5000;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT)), STORE_OK);
    assert_true(f->row.input.len > 0);
    c.token = 7;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT | STORE_RESULT)), STORE_OK);
    assert_int_equal(f->row.input.len, 0);
    assert_int_equal(f->row.forget_ms, 5000);
    assert_true(slice_eq(f->row.body, c.body));
}

/* Completed by `complete` or, for odd n, by finish_waiting; with a delivered webhook, two log lines and, for even n, usage. */
static void give_forgettable(struct fixture *f, unsigned n, int64_t forget_ms) {
    struct store_submit in = {.id = id_of(n),
                              .endpoint = SLICE("a/b"),
                              .input = SLICE("{}"),
                              .webhook = SLICE("http://h/")};
    struct store_log lines[] = {{in.id, 1, SLICE("INFO"), SLICE("one")},
                                {in.id, 2, SLICE("INFO"), SLICE("two")}};
    struct store_complete c = completion(in.id, n % 2 ? 0 : 1, 7);
    c.boot = "boot-1";
    c.forget_ms = forget_ms;
    c.logs = lines;
    c.nlogs = 2;
    c.usage = (struct store_usage){.present = n % 2 == 0, .raw = SLICE("{}")};
    give_submit(f, &in);
    if (n % 2 == 0) give_claim(f, in.id, 0, "boot-1", 7);
    if (n % 2 == 0)
        give_complete(f, &c);
    else
        give_end(f, &c);
    struct store_webhook_note note = {.id = in.id, .state = STORE_WEBHOOK_DELIVERED};
    give_note(f, &note);
}

static void sweep_forgets_what_is_due_the_earliest_first(void **state) {
    struct fixture *f = *state;
    for (unsigned n = 0; n < 10; n++) give_forgettable(f, n, n == 9 ? 0 : 5000 - n);
    give_id(f, ID);
    uint64_t t = give_sweep(f, 4000, 100);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, 0);
    assert_int_equal(f->answers[t].forget_ms, 4992);
    t = give_sweep(f, 4998, 3); /* of those numbered 2 to 8 the last three */
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, 3);
    assert_int_equal(f->answers[t].forget_ms, 4995);
    for (unsigned n = 0; n < 10; n++) {
        bool gone = n >= 6 && n < 9;
        f->nlogs = 0;
        assert_int_equal(READ(f, ask_row(f, id_of(n), STORE_RESULT)),
                         gone ? STORE_NOT_FOUND : STORE_OK);
        assert_int_equal(READ(f, ask_logs(f, id_of(n))), STORE_OK);
        assert_int_equal(f->nlogs, gone ? 0 : 2);
    }
    t = give_sweep(f, 6000, 100);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, 6);
    assert_int_equal(f->answers[t].forget_ms, 0);
    assert_int_equal(READ(f, ask_row(f, id_of(9), 0)), STORE_OK);
    assert_int_equal(READ(f, ask_row(f, ID, 0)), STORE_OK);
}

static void sweep_leaves_usage_alone(void **state) {
    struct fixture *f = *state;
    give_forgettable(f, 0, 10);
    give_forgettable(f, 1, 10);
    uint64_t t = give_sweep(f, 10, 100);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, 2);
    assert_int_equal(f->backend->count(f, "all ledger", ""), 1);
    assert_int_equal(f->backend->count(f, "all outbox", ""), 0);
    assert_int_equal(f->backend->count(f, "all large", ""), 0);
    fixture_close(f);
    fixture_open(f);
    give_forgettable(f, 2, 10); /* what is new meets nothing of theirs */
    fixture_settle(f);
    assert_int_equal(f->backend->count(f, "all outbox", ""), 1);
}

/* --- log lines */

static void logs_come_back_in_order_with_those_of_the_completion(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    const struct store_log lines[] = {
        {ID, 10, SLICE("INFO"), SLICE("one"), 1, 7},
        {"nobody", 11, SLICE("INFO"), SLICE("dropped"), 1, 7},
        {ID, 12, SLICE("WARN"), SLICE("two"), 1, 7},
        {ID, 9, SLICE("DEBUG"), SLICE("three"), 1, 7},
    };
    assert_int_equal(status_of(f, give_logs(f, lines, 4)), STORE_OK);
    assert_int_equal(status_of(f, give_logs(f, NULL, 0)), STORE_OK);
    struct store_complete c = completion(ID, 1, 7);
    const struct store_log last = {ID, 13, SLICE("ERROR"), SLICE("four")};
    c.logs = &last;
    c.nlogs = 1;
    give_complete(f, &c);
    assert_int_equal(READ(f, ask_logs(f, ID)), STORE_OK);
    assert_int_equal(f->nlogs, 4);
    const char *const expected[] = {"one", "two", "three", "four"};
    for (unsigned i = 0; i < 4; i++) assert_true(text_is(f->logs[i].message, expected[i]));
    assert_true(text_is(f->logs[1].level, "WARN"));
    assert_int_equal(f->logs[2].at_ms, 9);
}

static void logs_of_a_stale_completion_are_not_written(void **state) {
    struct fixture *f = *state;
    give_id(f, ID);
    give_claim(f, ID, 0, "boot-1", 7);
    struct store_complete c = completion(ID, 1, 8);
    const struct store_log line = {ID, 13, SLICE("INFO"), SLICE("late")};
    c.logs = &line;
    c.nlogs = 1;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    f->nlogs = 99;
    f->logs = NULL;
    assert_int_equal(READ(f, ask_logs(f, ID)), STORE_OK);
    assert_null(f->logs);
}

/* --- pending */

static void pending_after_reopening_is_what_is_unfinished_in_order(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 300; i++) {
        struct store_submit in = {.id = id_of(i * 7919U % 1000U),
                                  .endpoint = SLICE("fal-ai/any-llm"),
                                  .owner = SLICE("o"),
                                  .input = SLICE("{}"),
                                  .priority = (int)(i % 2),
                                  .no_retry = i % 3 == 0,
                                  .created_ms = i};
        give_submit(f, &in);
        if (i % 10 == 4) give_claim(f, in.id, 0, "boot-1", i + 1);
        if (i % 10 == 5) give_finish(f, in.id, 0, "boot-1");
    }
    fixture_settle(f);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 270);
    for (size_t k = 0; k < f->npending; k++) {
        const struct store_pending *p = &f->pending[k];
        unsigned i = (unsigned)p->created_ms;
        assert_true(k == 0 || p->seq > f->pending[k - 1].seq);
        assert_string_equal(p->id, id_of(i * 7919U % 1000U));
        assert_int_equal(p->state, i % 10 == 4 ? STORE_IN_PROGRESS : STORE_IN_QUEUE);
        assert_int_equal(p->attempt, i % 10 == 4);
        assert_int_equal(p->priority, i % 2);
        assert_true(p->no_retry == (i % 3 == 0));
        assert_true(text_is(p->endpoint, "fal-ai/any-llm") && text_is(p->owner, "o"));
    }
    uint64_t last = f->pending[f->npending - 1].seq, t = give_id(f, ID);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_true(f->answers[t].seq > last);
}

static void pending_of_an_empty_store_is_nothing(void **state) {
    struct fixture *f = *state;
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 0);
}

/* --- order, batches, threads */

static void a_failing_operation_fails_alone(void **state) {
    struct fixture *f = *state;
    uint64_t good[200], bad[200];
    for (unsigned i = 0; i < 200; i++) {
        good[i] = give_id(f, id_of(i));
        bad[i] = i % 3 == 0 ? give_id(f, id_of(i)) : give_claim(f, "nobody", 0, "boot-1", 7);
    }
    fixture_settle(f);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(f->answers[good[i]].status, STORE_OK);
        assert_int_equal(f->answers[bad[i]].status, i % 3 == 0 ? STORE_STALE : STORE_NOT_FOUND);
    }
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 200);
    for (unsigned i = 0; i < 200; i++) assert_string_equal(f->pending[i].id, id_of(i));
}

static void two_thousand_operations_are_applied_and_answered_in_order(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 500; i++) {
        give_id(f, id_of(i));
        give_claim(f, id_of(i), 0, "boot-1", i + 1);
        const struct store_log line = {id_of(i), 1, SLICE("INFO"), SLICE("ran"), 1, i + 1};
        give_logs(f, &line, 1);
        struct store_complete c = completion(id_of(i), 1, i + 1);
        give_complete(f, &c);
    }
    fixture_settle(f);
    for (uint64_t t = 1; t <= 2000; t++) {
        assert_int_equal(f->answers[t].status, STORE_OK);
        assert_int_equal(f->order[t - 1], t);
    }
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 0);
}

/* Each answer gives the next: submit, get, claim, get, complete, get, for 100 ids. */
static void next_of_chain(struct fixture *f, uint64_t ticket) {
    unsigned i = f->step / 6;
    assert_int_equal(f->answers[ticket].status, STORE_OK);
    static const enum store_state seen[] = {STORE_IN_QUEUE, STORE_IN_PROGRESS, STORE_COMPLETED};
    if (f->step % 2 == 1) assert_int_equal(f->row.state, seen[f->step % 6 / 2]);
    f->step++;
    if (f->step == 600) return;
    if (f->step % 6 == 0) i++;
    struct store_complete c = completion(id_of(i), 1, 7);
    switch (f->step % 6) {
    case 0: give_id(f, id_of(i)); break;
    case 2: give_claim(f, id_of(i), 0, "boot-1", 7); break;
    case 4: give_complete(f, &c); break;
    default: ask_row(f, id_of(i), 0); break;
    }
}

static void a_read_sees_every_write_answered_before(void **state) {
    struct fixture *f = *state;
    f->on_answer = next_of_chain;
    give_id(f, id_of(0));
    fixture_settle(f);
    assert_int_equal(f->step, 600);
    assert_int_equal(f->nanswers, 600);
}

static void close_answers_what_was_given(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100; i++) {
        give_id(f, id_of(i));
        ask_row(f, id_of(i), 0);
    }
    fixture_close(f);
    assert_int_equal(f->nanswers, 200);
    fixture_open(f);
    assert_int_equal(READ(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, 100);
}

static void ping_is_answered(void **state) {
    struct fixture *f = *state;
    assert_int_equal(status_of(f, give_ping(f)), STORE_OK);
    assert_int_equal(f->health_changes, 0);
}

static void what_is_given_is_copied(void **state) {
    struct fixture *f = *state;
    char id[STORE_ID_BYTES] = ID, input[] = "{\"prompt\":\"kept\"}";
    struct slice all = slice_of(input);
    struct store_submit in = {
        .id = id, .endpoint = all, .owner = all, .key_id = all, .hint = all, .input = all};
    give_submit(f, &in);
    memset(id, 'x', sizeof id - 1);
    memset(input, 'x', sizeof input - 1);
    assert_int_equal(READ(f, ask_row(f, ID, STORE_INPUT)), STORE_OK);
    const struct slice kept[] = {f->row.input, f->row.endpoint, f->row.owner, f->row.key_id,
                                 f->row.hint};
    for (unsigned i = 0; i < 5; i++) assert_true(text_is(kept[i], "{\"prompt\":\"kept\"}"));
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_run(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(submit_answers_increasing_seq),
        T(submit_of_a_taken_id_is_stale),
        T(submit_of_an_overlong_id_is_refused),
        T(get_of_an_unknown_id_is_not_found),
        T(get_gives_back_what_submit_was_given),
        T(get_reads_only_the_parts_named),
        T(unicode_nul_and_invalid_bytes_survive),
        T(large_input_and_result_survive),
        T(claim_leases_the_row_and_replies_its_input),
        T(claim_is_guarded_by_attempt_and_boot),
        T(claim_of_a_lost_lease_counts_a_crash),
        T(claim_of_a_released_row_counts_no_crash),
        T(retry_replaces_the_token_and_records_usage),
        T(complete_is_guarded_and_final),
        T(complete_writes_result_usage_and_outbox_together),
        T(complete_without_webhook_or_usage_writes_neither),
        T(finish_waiting_ends_what_nobody_runs),
        T(finish_waiting_spares_what_this_boot_runs),
        T(request_cancel_replies_the_state_before),
        T(wishes_come_back_with_the_row_and_survive_reopening),
        T(complete_with_a_time_to_forget_removes_the_input_at_once),
        T(sweep_forgets_what_is_due_the_earliest_first),
        T(sweep_leaves_usage_alone),
        T(logs_come_back_in_order_with_those_of_the_completion),
        T(logs_of_a_stale_completion_are_not_written),
        T(pending_after_reopening_is_what_is_unfinished_in_order),
        T(pending_of_an_empty_store_is_nothing),
        T(a_failing_operation_fails_alone),
        T(two_thousand_operations_are_applied_and_answered_in_order),
        T(a_read_sees_every_write_answered_before),
        T(close_answers_what_was_given),
        T(ping_is_answered),
        T(what_is_given_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name(backend->name, tests, NULL, NULL) +
           store_suite_leases(backend) + store_suite_idempotency(backend) +
           store_suite_ledger(backend) + store_suite_files(backend) + store_suite_webhooks(backend);
}
