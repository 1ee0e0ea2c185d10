/* kill -9 loses nothing, runs nothing more often than it must, and charges nothing twice (docs/reliability.md). */
#include "kill_books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mock mock;
static struct receiver receiver;

struct plan {
    const char *program, *break_env;
    unsigned kills, most, keys, up_ms; /* up_ms: at most, between a start and its kill */
    unsigned weight[KINDS];
};

/* One in five is killed on its way up. */
static void kills(struct killed *k, const struct plan *p, struct findings *f, uint64_t *seed) {
    for (unsigned i = 0; i < p->kills; i++) {
        if (draw(seed, 5) > 0) killed_wait_ready(k);
        sleep_ms((unsigned)draw(seed, p->up_ms));
        killed_kill(k);
        killed_check(k, f);
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

static void run(const struct plan *p, struct findings *f) {
    static struct killed k; /* threads outlive a failure */
    char *config = load_config(&mock);
    uint64_t seed = seed_of(p->break_env != NULL ? p->break_env : "kills");
    mock_reset(&mock);
    receiver_start(&receiver);
    killed_init(&k, config);
    k.program = p->program;
    k.break_env = p->break_env;
    findings_init(f);
    killed_start(&k);
    struct load *l = load_new(p, &k, f, seed);
    load_start(l);
    kills(&k, p, f, &seed);
    load_stop(l);
    if (!killed_idle(&k)) found(f, FOUND_STUCK, "not idle 60 s after the last start");
    killed_stop(&k);
    killed_check(&k, f);
    struct books *b = calloc(1, sizeof *b);
    books_read(b, k.data);
    books_read_calls(b, &mock);
    books_read_deliveries(b, &receiver);
    receiver_stop(&receiver);
    books_check(b, l, &k, f);
    books_print(b, l, &k);
    print_message("# restarts: listening %s; ", spread(k.listening_ms, k.kills));
    print_message("ready %s\n", spread(k.ready_ms, k.readies));
    books_free(b);
    load_free(l);
    if (findings_all(f) == 0 || getenv("KEEP") == NULL)
        killed_free(&k);
    else
        print_message("# kept: %s\n", k.data);
    free(config);
}

/* --- the promises */

static void T1_T2_T15_kills_lose_nothing_and_double_nothing(void **state) {
    const struct plan p = {.program = anyllm_path,
                           .kills = long_or(200, 40),
                           .most = MAX_PROMPTS,
                           .keys = long_or(1000, 100),
                           .up_ms = long_or(1200, 900),
                           .weight = {[PLAIN] = 30,
                                      [SLOW] = 10,
                                      [HOOK] = 15,
                                      [NO_RETRY] = 20,
                                      [CANCELLED] = 10,
                                      [FLAKY] = 8,
                                      [PICTURE] = 7}};
    struct findings f;
    run(&p, &f);
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
    with_fault("BREAK=two-charges", (unsigned[KINDS]){[FLAKY] = 1}, &f);
    if (f.count[FOUND_CHARGE] == 0) fail_msg("the planted fault was not found");
}

static int start(void **state) {
    mock_start(&mock);
    return 0;
}

static int stop(void **state) {
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T1_T2_T15_kills_lose_nothing_and_double_nothing),
        cmocka_unit_test(the_program_without_its_faults_passes),
        cmocka_unit_test(answers_before_the_commit_are_found),
        cmocka_unit_test(second_charges_are_found),
    };
    return kill_main(argc, argv, "kill_loop", tests, sizeof tests / sizeof *tests, start, stop);
}
