/* Rows of direct calls on their way to a store of the test's own. */
#include "cmocka_all.h"

#include "api/ledger.h"

#include <stdio.h>
#include <stdlib.h>

/* --- stand-ins for the rooms beside it */

const struct catalogue_model *catalogue_find(const struct catalogue *c, struct slice id) {
    return NULL;
}

const struct llm_fault_info *llm_fault_info(enum llm_fault f) {
    static const struct llm_fault_info info = {.http_status = 502};
    return &info;
}

unsigned openai_status(enum llm_fault f) {
    return 400;
}

void llm_so_far(const struct llm_call *c, struct llm_result *out) {
    *out = (struct llm_result){.upstream = SLICE("lab"), .model = SLICE("m"), .sent = c != NULL};
}

void api_loaded(struct api *a, bool ok) {
    assert_true(ok);
}

const char *store_status_name(enum store_status s) {
    return "";
}

static struct slice units;

void net_header(struct net_exchange *x, struct slice name, struct slice value) {
    units = value.len == 1 ? SLICE("1") : SLICE("other");
}

/* --- a store that keeps what it is given, and answers when it is told to */

#define MAX_GIVEN 256U

static struct {
    uint64_t tickets[MAX_GIVEN];
    size_t sizes[MAX_GIVEN], ngiven, nanswered;
    char ids[20000][8]; /* of what was written */
    size_t written;
    struct store_charge last;
    char texts[6][64];
    bool failing;
} kept;

static void keep_text(size_t i, struct slice s) {
    snprintf(kept.texts[i], sizeof kept.texts[i], "%.*s", SLICE_ARG(s));
}

static void ledger_add(struct store *s, uint64_t ticket, const struct store_charge *rows,
                       size_t n) {
    kept.tickets[kept.ngiven] = ticket;
    kept.sizes[kept.ngiven++] = n;
    for (size_t i = 0; i < n && !kept.failing; i++)
        snprintf(kept.ids[kept.written + i], 8, "%.7s", rows[i].id);
    if (!kept.failing) kept.written += n;
    kept.last = rows[n - 1];
    const struct store_usage *u = &rows[n - 1].usage;
    const struct slice texts[] = {rows[n - 1].owner, rows[n - 1].key_id, rows[n - 1].endpoint,
                                  u->upstream,       u->model,           u->raw};
    for (size_t i = 0; i < 6; i++) keep_text(i, texts[i]);
}

static const struct store_backend backend = {.ledger_add = ledger_add};
static struct store store = {&backend};
static struct net_loop loop;
static struct config config;
static struct api api;
static const struct route route = {.kind = SERVED_RUN};
static const struct endpoint endpoint = {.id = "fal-ai/any-llm", .id_len = 14};
static unsigned number;

static void answer(void) {
    const struct store_reply r = {.status = kept.failing ? STORE_UNAVAILABLE : STORE_OK};
    while (kept.nanswered < kept.ngiven) desk_answer(api.desk, kept.tickets[kept.nanswered++], &r);
}

static int set_up(void **state) {
    char reason[64];
    memset(&kept, 0, sizeof kept);
    number = 0;
    config = (struct config){.standard_rate_microusd = 1000, .markup_micro = 1000000};
    api = (struct api){.loop = &loop,
                       .clock = &clock_system,
                       .config = &config,
                       .store = &store,
                       .desk = desk_new()};
    assert_non_null(api.desk);
    assert_int_equal(net_loop_init(&loop), 0);
    assert_true(ledger_open(&api, reason, sizeof reason));
    return 0;
}

static int tear_down(void **state) {
    ledger_close(&api);
    answer();
    ledger_free(&api);
    desk_free(api.desk);
    net_loop_close(&loop);
    return 0;
}

static struct call call_new(void) {
    struct call c = {
        .api = &api, .route = &route, .endpoint = &endpoint, .app = SLICE("fal-ai/any-llm")};
    c.who.owner = SLICE("team");
    c.who.key_id = SLICE("k1");
    snprintf(c.request_id, sizeof c.request_id, "%u", number++);
    return c;
}

static void calls(unsigned n, struct slice raw) {
    const struct llm_result r = {.upstream = SLICE("lab"),
                                 .model = SLICE("m"),
                                 .sent = true,
                                 .took_ms = 250,
                                 .usage = {.raw = raw}};
    for (unsigned i = 0; i < n; i++) {
        struct call c = call_new();
        ledger_call(&c, &r, 200, false);
    }
}

/* Each that was added was written once, in order. */
static void check_written(unsigned n) {
    char want[16];
    assert_int_equal(kept.written, n);
    for (unsigned i = 0; i < n; i++) {
        snprintf(want, sizeof want, "%u", i);
        assert_string_equal(kept.ids[i], want);
    }
}

/* --- */

static void a_row_says_who_what_and_when(void **state) {
    char mine[] = "{\"prompt_tokens\":1}";
    calls(1, slice_of(mine));
    memset(mine, 'x', sizeof mine - 1);
    assert_int_equal(kept.ngiven, 0); /* nobody waits for the store */
    ledger_drain(&api);
    assert_int_equal(kept.last.kind, STORE_CALL_RUN);
    assert_int_equal(kept.last.attempt, 0);
    assert_int_equal(kept.last.http_status, 200);
    assert_int_equal(kept.last.at_ms - kept.last.started_ms, 250);
    assert_int_equal(kept.last.usage.charge_microusd, 1000);
    static const char *const want[] = {"team", "k1", "fal-ai/any-llm",
                                       "lab",  "m",  "{\"prompt_tokens\":1}"};
    for (size_t i = 0; i < 6; i++) assert_string_equal(kept.texts[i], want[i]);
}

static void a_good_answer_names_its_units(void **state) {
    const struct llm_result r = {.upstream = SLICE("lab"), .model = SLICE("m"), .sent = true};
    struct call c = call_new();
    units = SLICE("");
    ledger_answer(&c, &r);
    assert_true(slice_is(units, "1"));
    ledger_drain(&api);
    check_written(1);
}

static void what_reached_no_upstream_is_no_row(void **state) {
    const struct llm_result r = {.upstream = SLICE("lab"), .model = SLICE("m")};
    struct call c = call_new();
    ledger_call(&c, &r, 503, false);
    ledger_left(&c, 499); /* c.llm is NULL: the stand-in says it was not sent */
    ledger_drain(&api);
    assert_int_equal(kept.ngiven, 0);
}

static void an_error_is_charged_0_and_a_caller_who_left_is_charged(void **state) {
    const struct llm_result r = {.upstream = SLICE("lab"), .model = SLICE("m"), .sent = true};
    const struct llm_error err = {.fault = LLM_CUT};
    struct call c = call_new();
    ledger_failed(&c, &r, &err);
    ledger_drain(&api);
    assert_int_equal(kept.last.http_status, 502);
    assert_true(kept.last.usage.has_charge);
    assert_int_equal(kept.last.usage.charge_microusd, 0);
    c.llm = (struct llm_call *)(void *)&c; /* some call that runs */
    ledger_left(&c, 499);
    answer();
    ledger_drain(&api);
    assert_int_equal(kept.last.http_status, 499);
    assert_true(kept.last.usage.partial);
    assert_int_equal(kept.last.usage.charge_microusd, 1000);
}

/* Many calls are few commits: full batches wait for the window too, until they take half of the room. */
static void full_batches_wait_for_others_until_half_the_room_is_taken(void **state) {
    unsigned half = LEDGER_MAX_BATCHES / 2;
    calls(half * LEDGER_BATCH_ROWS - 1, SLICE(""));
    assert_int_equal(kept.ngiven, 0);
    calls(1, SLICE(""));
    assert_int_equal(kept.ngiven, half);
    assert_int_equal(kept.sizes[0], LEDGER_BATCH_ROWS);
    calls(1, SLICE(""));
    assert_int_equal(kept.ngiven, half);
    ledger_drain(&api);
    answer();
    check_written(half * LEDGER_BATCH_ROWS + 1);
}

static void long_rows_fill_a_batch_too(void **state) {
    static char raw[4096];
    memset(raw, 'r', sizeof raw);
    calls(100, slice_make(raw, sizeof raw));
    ledger_drain(&api);
    assert_true(kept.ngiven >= 6);
    answer();
    check_written(100);
}

static void stop_loop(struct net_timer *t) {
    net_loop_stop(&loop);
}

static void the_window_writes_by_itself(void **state) {
    struct net_timer t = {.fire = stop_loop};
    calls(3, SLICE(""));
    net_timer_start(&loop, &t, LEDGER_WINDOW_MS + 200);
    net_loop_run(&loop);
    answer();
    check_written(3);
    assert_int_equal(ledger_get_stats(&api).waiting, 0);
    assert_int_equal(ledger_get_stats(&api).written, 3);
}

static void rows_wait_while_the_store_cannot_write(void **state) {
    kept.failing = true;
    calls(300, SLICE(""));
    ledger_drain(&api);
    answer();
    assert_int_equal(ledger_get_stats(&api).waiting, 300);
    calls(5, SLICE(""));
    kept.failing = false;
    ledger_drain(&api);
    answer();
    check_written(305);
    assert_int_equal(ledger_get_stats(&api).waiting, 0);
    assert_int_equal(ledger_get_stats(&api).lost, 0);
}

static void the_oldest_are_given_up_when_too_many_wait(void **state) {
    unsigned n = LEDGER_BATCH_ROWS * (LEDGER_MAX_BATCHES + 1);
    kept.failing = true;
    for (unsigned i = 0; i < n; i += LEDGER_BATCH_ROWS) {
        calls(LEDGER_BATCH_ROWS, SLICE(""));
        answer();
    }
    struct ledger_stats s = ledger_get_stats(&api);
    assert_int_equal(s.lost, LEDGER_BATCH_ROWS);
    assert_int_equal(s.waiting, n - LEDGER_BATCH_ROWS);
    kept.failing = false;
    ledger_drain(&api);
    answer();
    assert_int_equal(kept.written, n - LEDGER_BATCH_ROWS);
    assert_string_equal(kept.ids[0], "256");
}

static void the_end_hands_everything_over(void **state) {
    calls(300, SLICE(""));
    ledger_close(&api);
    answer();
    check_written(300);
    assert_int_equal(ledger_get_stats(&api).lost, 0);
}

static void what_the_end_cannot_write_is_counted(void **state) {
    calls(7, SLICE(""));
    kept.failing = true;
    ledger_close(&api);
    answer();
    assert_int_equal(ledger_get_stats(&api).lost, 7);
    assert_int_equal(ledger_get_stats(&api).waiting, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_row_says_who_what_and_when),
        T(a_good_answer_names_its_units),
        T(what_reached_no_upstream_is_no_row),
        T(an_error_is_charged_0_and_a_caller_who_left_is_charged),
        T(full_batches_wait_for_others_until_half_the_room_is_taken),
        T(long_rows_fill_a_batch_too),
        T(the_window_writes_by_itself),
        T(rows_wait_while_the_store_cannot_write),
        T(the_oldest_are_given_up_when_too_many_wait),
        T(the_end_hands_everything_over),
        T(what_the_end_cannot_write_is_counted),
    };
    return cmocka_run_group_tests_name("api_ledger", tests, NULL, NULL);
}
