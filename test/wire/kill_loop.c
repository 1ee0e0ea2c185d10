/* kill -9 loses nothing, runs nothing more often than it must, and charges nothing twice (docs/reliability.md). */
#include "kill_backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Promised is 1 s; in the short form, among other tests, it is promised of half of them. */
#define READY_MS 1000U
#define SURELY_READY_MS 5000U

static struct receiver receiver;

struct plan {
    const char *program, *break_env;
    unsigned kills, most, keys, up_ms; /* up_ms: at most, between a start and its kill */
    unsigned weight[KINDS];
    bool backups;
    unsigned least, least_no_retry; /* accepted, or nothing was shown */
};

/* One in five is killed on its way up; every second one writes its log back in small pieces all the time. */
static void kills(struct killed *k, const struct plan *p, struct findings *f, uint64_t *seed) {
    for (unsigned i = 0; i < p->kills; i++) {
        bool whole = draw(seed, 5) > 0;
        if (whole) killed_wait_ready(k);
        sleep_ms((unsigned)draw(seed, whole ? p->up_ms : 30));
        killed_kill(k);
        killed_check(k, f);
        k->args[0] = "--wal-checkpoint-pages";
        k->args[1] = i % 2 == 0 ? "20" : "1000";
        killed_start(k);
    }
    killed_wait_ready(k);
}

static struct load *load_new(const struct plan *p, struct killed *k, struct findings *f,
                             uint64_t seed) {
    struct load *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->server = k;
    l->findings = f;
    l->hook_port = receiver.port;
    memcpy(l->weight, p->weight, sizeof l->weight);
    l->pause_ms = 16;
    l->most = p->most;
    l->keys = p->keys;
    l->keys_pause_ms = p->keys > 0 ? p->kills * p->up_ms / 2 / p->keys : 0;
    l->seed = seed;
    return l;
}

static struct killed server; /* threads outlive a failure */

static struct load *begin(const struct plan *p, char *config, struct findings *f, uint64_t seed) {
    mock_reset(&mock);
    receiver_start(&receiver);
    killed_init(&server, config);
    server.program = p->program;
    server.break_env = p->break_env;
    findings_init(f);
    killed_start(&server);
    return load_new(p, &server, f, seed);
}

static void end(struct load *l, struct findings *f) {
    books_end(l, &receiver, f);
    receiver_stop(&receiver);
    load_free(l);
    killed_free(&server);
}

/* --- what a run must have done to show anything */

struct done {
    unsigned accepted, no_retry, refused, backups;
};

static struct done count_done(const struct load *l, const struct backups *b) {
    struct done d = {.accepted = atomic_load(&l->naccepted), .refused = atomic_load(&l->refused)};
    for (unsigned i = 0; i < d.accepted; i++) d.no_retry += l->accepted[i].kind == NO_RETRY;
    for (unsigned i = 0; i < b->n; i++) d.backups += b->made[i].answered;
    return d;
}

static void expect_done(const struct plan *p, const struct done *d) {
    print_message("# %u accepted, %u of them with no-retry, %u refused; %u backups answered\n",
                  d->accepted, d->no_retry, d->refused, d->backups);
    if (d->accepted < p->least || d->no_retry < p->least_no_retry)
        fail_msg("fewer than %u accepted, %u with no-retry", p->least, p->least_no_retry);
    if (d->refused >= d->accepted / 10) fail_msg("a tenth is refused");
    if (p->backups && d->backups == 0) fail_msg("no backup is answered");
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static void expect_ready_soon(struct killed *k) {
    unsigned *ms = k->ready_ms, n = k->readies;
    if (n == 0) fail_msg("it was never ready again");
    qsort(ms, n, sizeof *ms, by_size);
    if (ms[n / 2] >= READY_MS || ms[n - 1] >= long_or(READY_MS, SURELY_READY_MS))
        fail_msg("ready again only after %s", spread(ms, n));
}

static void run(const struct plan *p, struct findings *f) {
    char *config = load_config(&mock);
    uint64_t seed = seed_of(p->break_env != NULL ? p->break_env : "kills");
    struct load *l = begin(p, config, f, seed);
    static struct backups backups;
    load_start(l);
    if (p->backups) backups_start(&backups, l);
    kills(&server, p, f, &seed);
    load_stop(l);
    if (p->backups) backups_end(&backups, f);
    struct done done = count_done(l, &backups);
    end(l, f);
    free(config);
    expect_ready_soon(&server);
    if (p->least > 0) expect_done(p, &done);
}

/* The second attempt of each begins a second after the first has failed, which takes 100 ms; the cancel comes about then. */
#define AT_ONCE 40U

static void cancel_retries(struct load *l, struct line *at, uint64_t *seed) {
    struct accepted *a[AT_ONCE];
    uint64_t due[AT_ONCE];
    for (size_t i = 0; i < AT_ONCE; i++) {
        a[i] = load_submit(l, at, LATER);
        due[i] = now_ms() + 1100;
    }
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (a[i] == NULL) continue;
        for (uint64_t until = due[i] + draw(seed, 8), now; (now = now_ms()) < until;)
            sleep_ms((unsigned)(until - now));
        load_cancel(l, at, a[i]);
    }
}

static void run_retries(const struct plan *p, unsigned rounds, struct findings *f) {
    char *config = load_config(&mock);
    uint64_t seed = seed_of("retries");
    struct load *l = begin(p, config, f, seed);
    struct line at = LINE_CLOSED;
    load_init(l);
    for (unsigned i = 0; i < rounds; i++) cancel_retries(l, &at, &seed);
    line_close(&at);
    end(l, f);
    free(config);
}

/* --- the promises */

static void T1_T2_T15_kills_lose_nothing_and_double_nothing(void **state) {
    const struct plan p = {.program = anyllm_path,
                           .kills = long_or(200, 40),
                           .most = MAX_PROMPTS,
                           .keys = long_or(1000, 100),
                           .up_ms = long_or(1200, 700),
                           .weight = {[PLAIN] = 36,
                                      [SLOW] = 6,
                                      [HOOK] = 15,
                                      [NO_RETRY] = 20,
                                      [CANCELLED] = 10,
                                      [FLAKY] = 8,
                                      [PICTURE] = 5,
                                      [TIMED] = 3},
                           .backups = true,
                           .least = long_or(10000, 2000),
                           .least_no_retry = long_or(2000, 300)};
    struct findings f;
    run(&p, &f);
    findings_expect_none(&f);
}

static void T2_a_retry_that_is_cancelled_is_charged_once(void **state) {
    const struct plan p = {.program = anyllm_path};
    struct findings f;
    run_retries(&p, long_or(60, 3), &f);
    findings_expect_none(&f);
}

/* --- the suite finds what breaks them */

static const struct plan small = {.kills = 6, .most = 4000, .keys = 10, .up_ms = 400};

static void with_fault(const char *fault, const unsigned weight[KINDS], struct findings *f) {
    struct plan p = small;
    p.program = breakable_path;
    p.break_env = fault;
    memcpy(p.weight, weight, sizeof p.weight);
    run(&p, f);
}

static void the_program_without_its_faults_passes(void **state) {
    struct findings f;
    with_fault(NULL, (unsigned[KINDS]){[PLAIN] = 2, [HOOK] = 1, [FLAKY] = 1}, &f);
    findings_expect_none(&f);
}

static void answers_before_the_commit_are_found(void **state) {
    struct findings f;
    with_fault("BREAK=answer-before-commit", (unsigned[KINDS]){[PLAIN] = 1}, &f);
    if (f.count[FOUND_LOST] == 0) fail_msg("the planted fault was not found");
}

static void second_charges_are_found(void **state) {
    struct findings f;
    with_fault("BREAK=two-charges", (unsigned[KINDS]){[PLAIN] = 1}, &f);
    if (f.count[FOUND_CHARGE] == 0) fail_msg("the planted fault was not found");
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T1_T2_T15_kills_lose_nothing_and_double_nothing),
        cmocka_unit_test(T2_a_retry_that_is_cancelled_is_charged_once),
        cmocka_unit_test(the_program_without_its_faults_passes),
        cmocka_unit_test(answers_before_the_commit_are_found),
        cmocka_unit_test(second_charges_are_found),
    };
    return kill_main(argc, argv, "kill_loop", tests, sizeof tests / sizeof *tests);
}
