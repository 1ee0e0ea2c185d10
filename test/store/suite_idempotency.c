/* A submit that comes again with its key is the same request. */
#include "store/store_suite.h"

#define DAY 86400000

/* Of key "k", id_of(n), body "one", at 1000; kept for a day. */
static struct store_submit keyed(unsigned n) {
    return (struct store_submit){.id = id_of(n),
                                 .endpoint = SLICE("fal-ai/any-llm"),
                                 .owner = SLICE("app1"),
                                 .key_id = SLICE("key-1"),
                                 .input = SLICE("{\"prompt\":\"one\"}"),
                                 .created_ms = 1000,
                                 .idempotency_key = SLICE("k"),
                                 .body_hash = {1, [31] = 9},
                                 .now_ms = 1000,
                                 .idempotency_until_ms = 1000 + DAY};
}

static enum store_status submitted(struct fixture *f, const struct store_submit *in) {
    return status_of(f, give_submit(f, in));
}

/* It is answered with the request of id_of(first). */
static void is_known(struct fixture *f, const struct store_submit *in, unsigned first) {
    uint64_t t = give_submit(f, in);
    assert_int_equal(status_of(f, t), STORE_KNOWN);
    assert_string_equal(f->row.id, id_of(first));
    assert_true(f->answers[t].same_body);
}

static size_t count_pending(struct fixture *f) {
    uint64_t t = ask_pending(f);
    assert_int_equal(READ(f, t), STORE_OK);
    return f->answers[t].npending;
}

/* --- what is known */

static void the_same_again_is_known_and_writes_nothing(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), again = keyed(2);
    uint64_t t = give_submit(f, &in);
    assert_int_equal(status_of(f, t), STORE_OK);
    again.created_ms = 900000;
    is_known(f, &again, 1);
    assert_int_equal(f->row.seq, f->answers[t].seq);
    assert_int_equal(f->row.state, STORE_IN_QUEUE);
    assert_int_equal(f->row.attempt, 0);
    assert_int_equal(f->row.created_ms, 1000);
    assert_true(slice_eq(f->row.owner, in.owner) && slice_eq(f->row.endpoint, in.endpoint));
    assert_int_equal(f->row.input.len, 0);
    assert_int_equal(count_pending(f), 1);
    assert_int_equal(READ(f, ask_row(f, id_of(2), 0)), STORE_NOT_FOUND);
    assert_int_equal(f->backend->count(f, "all large", ""), 1);
}

static void another_body_is_told(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), other = keyed(2);
    assert_int_equal(submitted(f, &in), STORE_OK);
    other.body_hash[31] = 8;
    uint64_t t = give_submit(f, &other);
    assert_int_equal(status_of(f, t), STORE_KNOWN);
    assert_false(f->answers[t].same_body);
    assert_string_equal(f->row.id, id_of(1));
    is_known(f, &in, 1); /* the first body stays the one */
    assert_int_equal(count_pending(f), 1);
}

static void a_key_counts_for_its_owner_key_and_endpoint_alone(void **state) {
    struct fixture *f = *state;
    struct store_submit in[5];
    for (unsigned i = 0; i < 5; i++) in[i] = keyed(i);
    in[1].owner = SLICE("app2");
    in[2].key_id = SLICE("key-2");
    in[3].endpoint = SLICE("fal-ai/any-llm/vision");
    in[4].idempotency_key = SLICE("K");
    for (unsigned i = 0; i < 5; i++) assert_int_equal(submitted(f, &in[i]), STORE_OK);
    for (unsigned i = 0; i < 5; i++) {
        in[i].id = id_of(10 + i);
        is_known(f, &in[i], i);
    }
    assert_int_equal(count_pending(f), 5);
}

/* What is written side by side must not read as one. */
static void parts_of_the_scope_do_not_run_together(void **state) {
    struct fixture *f = *state;
    static const char *const parts[][3] = {{"ab", "c", "d"}, {"a", "bc", "d"}, {"a", "b", "cd"}};
    for (unsigned i = 0; i < 3; i++) {
        struct store_submit in = keyed(i);
        in.owner = slice_of(parts[i][0]);
        in.key_id = slice_of(parts[i][1]);
        in.idempotency_key = slice_of(parts[i][2]);
        assert_int_equal(submitted(f, &in), STORE_OK);
    }
}

static void twenty_copies_in_one_batch_are_one_request(void **state) {
    struct fixture *f = *state;
    uint64_t t[20];
    for (unsigned i = 0; i < 20; i++) {
        struct store_submit in = keyed(i);
        t[i] = give_submit(f, &in);
    }
    fixture_settle(f);
    assert_int_equal(f->answers[t[0]].status, STORE_OK);
    for (unsigned i = 1; i < 20; i++) {
        assert_int_equal(f->answers[t[i]].status, STORE_KNOWN);
        assert_true(f->answers[t[i]].same_body);
        assert_int_equal(f->answers[t[i]].seq, f->answers[t[0]].seq);
    }
    assert_string_equal(f->row.id, id_of(0));
    assert_int_equal(count_pending(f), 1);
}

static void it_is_known_in_every_state(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), again = keyed(2);
    assert_int_equal(submitted(f, &in), STORE_OK);
    give_claim(f, id_of(1), 0, "boot-1", 7);
    is_known(f, &again, 1);
    assert_int_equal(f->row.state, STORE_IN_PROGRESS);
    assert_int_equal(f->row.attempt, 1);
    assert_int_equal(f->row.started_ms, 2000);
    struct store_complete c = completion(id_of(1), 1, 7);
    c.error = SLICE("it failed");
    c.error_type = SLICE("server_error");
    c.http_status = 500;
    give_complete(f, &c);
    is_known(f, &again, 1);
    assert_int_equal(f->row.state, STORE_COMPLETED);
    assert_int_equal(f->row.http_status, 500);
    assert_int_equal(f->row.completed_ms, 3000);
    assert_int_equal(f->row.inference_ms, 40);
    assert_true(slice_eq(f->row.error, c.error) && slice_eq(f->row.error_type, c.error_type));
    assert_int_equal(f->row.body.len + f->row.headers.len, 0);
}

static void it_is_known_when_the_store_is_opened_again(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), again = keyed(2);
    assert_int_equal(submitted(f, &in), STORE_OK);
    fixture_close(f);
    fixture_open(f);
    is_known(f, &again, 1);
}

static void keys_are_bytes(void **state) {
    struct fixture *f = *state;
    static char longest[255];
    memset(longest, 'k', sizeof longest);
    const struct slice keys[] = {slice_make(longest, 255),
                                 slice_make(longest, 254),
                                 slice_make("k\0", 2),
                                 slice_make("k\0a", 3),
                                 SLICE("k "),
                                 SLICE("\xff\xfe"),
                                 SLICE("'; DROP TABLE request"),
                                 SLICE("\xf0\x9f\x98\x80")};
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
            struct store_submit in = keyed(round * 100 + i);
            in.idempotency_key = keys[i];
            if (round == 0)
                assert_int_equal(submitted(f, &in), STORE_OK);
            else
                is_known(f, &in, i);
        }
}

static void a_submit_without_a_key_is_never_known(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++) {
        struct store_submit in = keyed(i);
        in.idempotency_key = SLICE_NONE;
        assert_int_equal(submitted(f, &in), STORE_OK);
    }
    assert_int_equal(count_pending(f), 3);
}

/* --- until when */

static void a_key_that_is_over_is_free(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), again = keyed(2), later = keyed(3);
    assert_int_equal(submitted(f, &in), STORE_OK);
    again.now_ms = in.idempotency_until_ms - 1;
    is_known(f, &again, 1);
    again.now_ms = in.idempotency_until_ms;
    again.body_hash[0] = 77;
    again.idempotency_until_ms = again.now_ms + DAY;
    assert_int_equal(submitted(f, &again), STORE_OK);
    later.now_ms = again.now_ms + 5;
    later.body_hash[0] = 77;
    is_known(f, &later, 2);
    assert_int_equal(count_pending(f), 2);
}

/* Its giver's wall clock has jumped; what it knows of the time has not. */
static void the_date_of_a_row_frees_no_key(void **state) {
    struct fixture *f = *state;
    static const int64_t dates[] = {0, 1000 + 2 * DAY, 1000000LL * DAY};
    struct store_submit in = keyed(1), again = keyed(2);
    assert_int_equal(submitted(f, &in), STORE_OK);
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        again.created_ms = dates[i];
        is_known(f, &again, 1);
    }
    struct store_complete c = completion(id_of(1), 0, 0);
    c.boot = "boot-1";
    c.forget_ms = 3000;
    assert_int_equal(status_of(f, give_end(f, &c)), STORE_OK);
    is_known(f, &again, 1);
}

static void sweep_removes_keys_that_are_over_in_small_numbers(void **state) {
    struct fixture *f = *state;
    static char names[10] = "0123456789";
    for (unsigned i = 0; i < 10; i++) {
        struct store_submit in = keyed(i);
        in.idempotency_key = slice_make(names + i, 1);
        in.idempotency_until_ms = 5000 - i;
        assert_int_equal(submitted(f, &in), STORE_OK);
    }
    static const struct {
        int64_t now_ms;
        unsigned max;
        size_t swept;
        int64_t left_ms;
    } sweeps[] = {{4990, 100, 0, 4991},
                  {4995, 3, 3, 4994},
                  {4995, 3, 2, 4996},
                  {9000, 100, 5, 0},
                  {9000, 9, 0, 0}};
    for (size_t i = 0; i < sizeof sweeps / sizeof *sweeps; i++) {
        uint64_t t = give_sweep(f, sweeps[i].now_ms, sweeps[i].max);
        assert_int_equal(status_of(f, t), STORE_OK);
        assert_int_equal(f->answers[t].swept, sweeps[i].swept);
        assert_int_equal(f->answers[t].forget_ms, sweeps[i].left_ms);
    }
    assert_int_equal(count_pending(f), 10); /* the requests stay */
}

static void sweep_takes_requests_and_keys_together_no_more_than_it_may(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++) {
        struct store_submit in = keyed(i);
        in.idempotency_key = slice_of(id_of(i));
        in.idempotency_until_ms = 2000;
        assert_int_equal(submitted(f, &in), STORE_OK);
        struct store_complete c = completion(id_of(i), 0, 0);
        c.boot = "boot-1";
        c.forget_ms = 2000;
        give_end(f, &c);
    }
    static const size_t swept[] = {3, 3, 2};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t t = give_sweep(f, 2000, 3);
        assert_int_equal(status_of(f, t), STORE_OK);
        assert_int_equal(f->answers[t].swept, swept[i]);
        assert_int_equal(f->answers[t].forget_ms, i < 2 ? 2000 : 0);
    }
}

/* And one that takes the place of the forgotten one is not taken for it. */
static void a_forgotten_request_frees_its_key(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), other = keyed(2), again = keyed(3);
    assert_int_equal(submitted(f, &in), STORE_OK);
    struct store_complete c = completion(id_of(1), 0, 0);
    c.boot = "boot-1";
    c.forget_ms = 3000;
    assert_int_equal(status_of(f, give_end(f, &c)), STORE_OK);
    is_known(f, &again, 1);
    uint64_t t = give_sweep(f, 3000, 10);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, 1);
    fixture_close(f);
    fixture_open(f); /* numbers of what is gone may be given again */
    other.idempotency_key = SLICE_NONE;
    assert_int_equal(submitted(f, &other), STORE_OK);
    assert_int_equal(submitted(f, &again), STORE_OK);
    is_known(f, &in, 3);
}

/* It waits for the sweep, or for its webhook: whoever asks for it is told that it is not there. */
static void a_request_whose_time_is_over_frees_its_key(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct store_submit in = keyed(10 * i), again = keyed(10 * i + 1);
        in.key_id = again.key_id = slice_of(id_of(i));
        if (i == 1) in.webhook = SLICE("http://h/");
        assert_int_equal(submitted(f, &in), STORE_OK);
        struct store_complete c = completion(in.id, 0, 0);
        c.boot = "boot-1";
        c.forget_ms = 3000;
        assert_int_equal(status_of(f, give_end(f, &c)), STORE_OK);
        again.now_ms = 2999;
        is_known(f, &again, 10 * i);
        again.now_ms = 3000;
        assert_int_equal(submitted(f, &again), STORE_OK);
        is_known(f, &again, 10 * i + 1);
    }
}

/* --- what is not taken */

static void a_submit_that_fails_leaves_its_key_free(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), taken = keyed(1), other = keyed(2);
    in.idempotency_key = SLICE("another");
    assert_int_equal(submitted(f, &in), STORE_OK);
    assert_int_equal(submitted(f, &taken), STORE_STALE);
    taken.id = "11111111-2222-4333-8444-5555555555556";
    assert_int_equal(submitted(f, &taken), STORE_NOT_FOUND);
    assert_int_equal(submitted(f, &other), STORE_OK);
}

static void only_known_takes_nothing_new(void **state) {
    struct fixture *f = *state;
    struct store_submit in = keyed(1), repeat = keyed(2), bare = keyed(3);
    repeat.only_known = bare.only_known = true;
    bare.idempotency_key = SLICE_NONE;
    assert_int_equal(submitted(f, &repeat), STORE_NOT_FOUND);
    assert_int_equal(submitted(f, &bare), STORE_NOT_FOUND);
    assert_int_equal(count_pending(f), 0);
    assert_int_equal(submitted(f, &in), STORE_OK);
    is_known(f, &repeat, 1);
    repeat.now_ms = in.idempotency_until_ms;
    assert_int_equal(submitted(f, &repeat), STORE_NOT_FOUND);
    assert_int_equal(count_pending(f), 1);
}

static void a_key_is_copied(void **state) {
    struct fixture *f = *state;
    char key[] = "mine";
    struct store_submit in = keyed(1), again = keyed(2);
    in.idempotency_key = slice_of(key);
    give_submit(f, &in);
    memset(key, 'x', 4);
    again.idempotency_key = SLICE("mine");
    is_known(f, &again, 1);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_idempotency(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(the_same_again_is_known_and_writes_nothing),
        T(another_body_is_told),
        T(a_key_counts_for_its_owner_key_and_endpoint_alone),
        T(parts_of_the_scope_do_not_run_together),
        T(twenty_copies_in_one_batch_are_one_request),
        T(it_is_known_in_every_state),
        T(it_is_known_when_the_store_is_opened_again),
        T(keys_are_bytes),
        T(a_submit_without_a_key_is_never_known),
        T(a_key_that_is_over_is_free),
        T(the_date_of_a_row_frees_no_key),
        T(sweep_removes_keys_that_are_over_in_small_numbers),
        T(sweep_takes_requests_and_keys_together_no_more_than_it_may),
        T(a_forgotten_request_frees_its_key),
        T(a_request_whose_time_is_over_frees_its_key),
        T(a_submit_that_fails_leaves_its_key_free),
        T(only_known_takes_nothing_new),
        T(a_key_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name("idempotency", tests, NULL, NULL);
}
