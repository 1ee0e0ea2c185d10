/* Power cuts (T7): the service works, everything it does to the disk is taken down, and then the power is cut at any moment: what
 * was synced is there, of the rest any part. The service starts on that, and nothing that anybody was told may be missing.
 *
 *   test_power                     500 cuts (ANYLLM_LONG: 5,000), and every call of the first start
 *   POWER_CUTS=5000 test_power     so many
 *   test_power SEED CUT            one of them again */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "store/power_calls.h"
#include "store/power_check.h"
#include "store/power_draw.h"
#include "store/power_platter.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CUTS_OF_A_FLOW 100U
#define STEPS 400U
#define FOUND 77 /* exit code: a promise was broken */

static char base[64], work[80], cut_dir[80];
static const char *program;
static bool hunting;

static int remove_inside(const char *path, const struct stat *st, int flag, struct FTW *at) {
    (void)st;
    (void)flag;
    return at->level > 0 ? remove(path) : 0;
}

static void empty(const char *dir) {
    nftw(dir, remove_inside, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_folders(void) {
    snprintf(base, sizeof base, "%s/anyllm-power.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(base) == NULL) abort();
    snprintf(work, sizeof work, "%s/work", base);
    snprintf(cut_dir, sizeof cut_dir, "%s/cut", base);
    if (mkdir(work, 0700) != 0 || mkdir(cut_dir, 0700) != 0) abort();
}

static void remove_folders(void) {
    empty(base);
    rmdir(base);
}

/* --- a flow and its cuts */

struct day {
    struct flow flow;
    size_t opened; /* calls until the first start was over */
    size_t calls;
    unsigned syncs;
};

/* NULL, or what was wrong on the way. */
static const char *record_day(struct day *d, uint64_t seed, unsigned steps, bool calm) {
    empty(work);
    record_watch(work);
    flow_begin(&d->flow, work, seed);
    d->flow.calm = calm;
    if (!service_open(&d->flow.s)) return d->flow.s.why;
    d->opened = record_count();
    flow_steps(&d->flow, steps);
    if (d->flow.s.queue == NULL) return d->flow.s.why;
    flow_finish(&d->flow);
    service_close(&d->flow.s, true);
    record_stop();
    d->calls = record_count();
    d->syncs = 0;
    for (size_t i = 0; i < d->calls; i++) d->syncs += record_get(i)->kind == CALL_SYNC;
    return d->flow.wrong;
}

static void forget_day(struct day *d) {
    flow_end(&d->flow);
    record_free();
}

/* Where the k-th cut is: every other one before a sync, where most can be lost. */
static size_t cut_at(const struct day *d, uint64_t seed, unsigned k) {
    uint64_t own = seed * 7919 + k;
    size_t at = draw(&own) % (d->calls + 1);
    if (k % 2 == 0) return at;
    for (size_t i = at; i < d->calls; i++)
        if (record_get(i)->kind == CALL_SYNC) return i;
    return at;
}

static struct {
    unsigned cuts, undone;
    size_t marks;
} total;

/* The power is cut before the call `at`. */
static const char *cut(struct day *d, struct platter *p, size_t at, uint64_t luck) {
    empty(cut_dir);
    platter_advance(p, at);
    platter_build(p, cut_dir, luck);
    total.cuts++;
    total.undone += platter_unsynced(p) > 0;
    return check_folder(&d->flow, at, cut_dir);
}

struct place {
    size_t at;
    unsigned k;
};

static int by_place(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static const char *cut_day(struct day *d, uint64_t seed, unsigned cuts, unsigned *k) {
    struct place *places = calloc(cuts, sizeof *places);
    struct platter *p = platter_new();
    const char *wrong = NULL;
    assert_non_null(places);
    for (unsigned i = 0; i < cuts; i++) places[i] = (struct place){cut_at(d, seed, i), i};
    qsort(places, cuts, sizeof *places, by_place);
    for (unsigned i = 0; i < cuts && wrong == NULL; i++) {
        *k = places[i].k;
        wrong = cut(d, p, places[i].at, seed + *k);
    }
    platter_free(p);
    free(places);
    return wrong;
}

/* As it was before the service looked at it, for whoever wants to see. */
static void leave_folder(struct day *d, uint64_t seed, unsigned k) {
    char left[64];
    struct platter *p = platter_new();
    snprintf(left, sizeof left, "/tmp/anyllm-power-%llu-%u.XXXXXX", (unsigned long long)seed, k);
    if (mkdtemp(left) != NULL) {
        platter_advance(p, cut_at(d, seed, k));
        platter_build(p, left, seed + k);
        print_error("what the cut left: %s\n", left);
    }
    platter_free(p);
}

/* True: all is well. */
static bool day_of_cuts(uint64_t seed, unsigned cuts) {
    static struct day d;
    unsigned k = 0;
    const char *wrong = record_day(&d, seed, STEPS, false);
    if (wrong != NULL && !hunting) { /* what is planted is to be found by a cut */
        print_error("seed %llu, without a cut: %s\n", (unsigned long long)seed, wrong);
        return false;
    }
    wrong = cut_day(&d, seed, cuts, &k);
    total.marks += d.flow.nmarks;
    if (wrong != NULL) {
        print_error("cut %u of seed %llu (again: %s %llu %u): %s\n", k, (unsigned long long)seed,
                    program, (unsigned long long)seed, k, wrong);
        if (!hunting) leave_folder(&d, seed, k);
    }
    forget_day(&d);
    return wrong == NULL;
}

static uint64_t first_seed(void) {
    const char *text = getenv("POWER_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static void T7_a_power_cut_takes_back_nothing_that_was_told(void **state) {
    (void)state;
    const char *text = getenv("POWER_CUTS");
    unsigned cuts = getenv("ANYLLM_LONG") != NULL ? 5000 : 500;
    if (text != NULL) cuts = (unsigned)strtoul(text, NULL, 10);
    memset(&total, 0, sizeof total);
    for (uint64_t seed = first_seed(); total.cuts < cuts; seed++)
        assert_true(day_of_cuts(seed, CUTS_OF_A_FLOW));
    print_message(
        "# T7: %u power cuts, %u with calls to undo, %zu answers told, %llu requests and %llu "
        "files looked at: 0 corrupt, 0 lost\n",
        total.cuts, total.undone, total.marks, (unsigned long long)check_requests(),
        (unsigned long long)check_files());
    assert_true(total.undone > total.cuts / 2);
}

static void T7_a_first_start_may_be_cut_anywhere(void **state) {
    (void)state;
    static struct day d;
    assert_null(record_day(&d, 1, 0, true));
    for (unsigned luck = 0; luck < 6; luck++) {
        struct platter *p = platter_new();
        for (size_t at = 0; at <= d.opened; at++) {
            const char *wrong = cut(&d, p, at, 1000 * luck + at);
            if (wrong != NULL) fail_msg("cut before call %zu, luck %u: %s", at, luck, wrong);
        }
        platter_free(p);
    }
    print_message("# T7: %zu calls of the first start, each cut 6 times\n", d.opened);
    forget_day(&d);
}

static uint64_t sum_of(const struct day *d) {
    uint64_t sum = 0;
    for (size_t i = 0; i < d->flow.nmarks; i++) {
        const struct mark *m = &d->flow.marks[i];
        sum = sum * 31 + m->kind + 100 * m->n + 10000 * m->value;
        sum = told_result((unsigned)sum, slice_of(m->id)) ^ sum;
    }
    return sum;
}

/* What is asked and told is the seed's. When the writer copies its log back between two batches is its own affair: there the
 * record of one day differs a little from that of the next. */
static void T7_the_same_seed_is_the_same_day(void **state) {
    (void)state;
    static struct day d;
    uint64_t sums[2];
    for (unsigned round = 0; round < 2; round++) {
        assert_null(record_day(&d, 5, STEPS, false));
        sums[round] = sum_of(&d);
        forget_day(&d);
    }
    assert_true(sums[0] == sums[1]);
}

/* --- planted faults: this suite must find them */

static int hunt(void) {
    hunting = true;
    for (uint64_t seed = 1; seed <= 5; seed++)
        if (!day_of_cuts(seed, CUTS_OF_A_FLOW)) return FOUND;
    return 0;
}

static int hunt_with(const char *fault) {
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("BREAK", fault, 1);
        execl(program, program, "hunt", (char *)NULL);
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A kill leaves the kernel's copy of what was written: only here a missing sync is found. */
static void T7_finds_commits_that_are_not_synced(void **state) {
    (void)state;
    assert_int_equal(hunt_with("sync-off"), FOUND);
}

static void T7_finds_answers_before_the_commit(void **state) {
    (void)state;
    assert_int_equal(hunt_with("answer-before-commit"), FOUND);
}

static int once(uint64_t seed, unsigned k) {
    static struct day d;
    struct platter *p = platter_new();
    const char *wrong = record_day(&d, seed, STEPS, false);
    size_t at = cut_at(&d, seed, k);
    if (wrong == NULL) wrong = cut(&d, p, at, seed + k);
    printf("seed %llu, cut %u before call %zu of %zu: %s\n", (unsigned long long)seed, k, at,
           d.calls, wrong != NULL ? wrong : "all is well");
    if (wrong != NULL) leave_folder(&d, seed, k);
    platter_free(p);
    forget_day(&d);
    return wrong != NULL;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T7_a_first_start_may_be_cut_anywhere),
        cmocka_unit_test(T7_the_same_seed_is_the_same_day),
        cmocka_unit_test(T7_a_power_cut_takes_back_nothing_that_was_told),
        cmocka_unit_test(T7_finds_commits_that_are_not_synced),
        cmocka_unit_test(T7_finds_answers_before_the_commit),
    };
    int rc;
    program = argv[0];
    log_set_level(LOG_ERROR);
    make_folders();
    if (argc == 3)
        rc = once(strtoull(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10));
    else if (argc == 2)
        rc = hunt();
    else
        rc = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folders();
    return rc;
}
