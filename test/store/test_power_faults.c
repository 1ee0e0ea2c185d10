/* A failing disk (T8): each call of the service on its folder fails once, in submits, runs, webhooks and files and in the start:
 * nothing that was told is lost, questions are answered, work goes on by itself. After a failed sync of the database nothing is
 * told any more, and the next start finds what was told, also when the kernel has dropped what it could not write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "store/power_calls.h"
#include "store/power_check.h"
#include "store/power_platter.h"

#include <errno.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS 8U
#define ALL_KINDS ((1U << CALL_KINDS) - 1U)
#define NO_SYNCS (ALL_KINDS & ~SYNCS)
#define SYNCS (1U << CALL_SYNC | 1U << CALL_SYNC_FOLDER)

static char base[64], work[80], platter[80];

static const char *const kind_names[CALL_KINDS] = {
    "making of a file", "unlink", "rename", "mkdir",           "write",
    "truncate",         "sync",   "sync",   "sync of a folder"};

static int remove_inside(const char *path, const struct stat *st, int flag, struct FTW *at) {
    (void)st;
    (void)flag;
    return at->level > 0 ? remove(path) : 0;
}

static void empty(const char *dir) {
    nftw(dir, remove_inside, 8, FTW_DEPTH | FTW_PHYS);
}

/* --- one fault */

static struct {
    unsigned points, broken, unavailable;
    unsigned of[CALL_KINDS];
} total;

static void wrong(const struct record_fault *x, const char *when, const char *why) {
    fail_msg("%s: call %llu, a %s, fails with %s%s: %s", when, (unsigned long long)x->k,
             kind_names[record_failed_kind()], strerror(x->err), x->half ? " half done" : "", why);
}

/* What the disk holds when the process that saw a sync fail is gone, and the machine with it. */
static const char *check_platter(struct flow *f, uint64_t luck) {
    struct platter *p = platter_new();
    empty(platter);
    platter_advance(p, record_count());
    platter_build(p, platter, luck);
    platter_free(p);
    return check_folder(f, SIZE_MAX, platter);
}

static void count_fault(const struct flow *f) {
    total.points++;
    total.of[record_failed_kind()]++;
    total.unavailable += f->unavailable;
    total.broken += f->s.broken;
}

static const char *what_is_wrong(struct flow *f, bool broken, uint64_t luck) {
    const char *why = f->wrong;
    if (why == NULL && !broken && f->answers != f->calls) why = "a caller got no answer";
    if (why == NULL && (1U << record_failed_kind() & SYNCS) != 0) why = check_platter(f, luck);
    if (why == NULL) why = check_folder(f, SIZE_MAX, work);
    return why;
}

/* False: there was no such call. */
static bool work_with(const struct record_fault *x) {
    static struct flow f;
    empty(work);
    record_watch(work);
    flow_begin(&f, work, 3);
    assert_true(service_open(&f.s));
    record_fail(x);
    flow_few(&f, REQUESTS);
    if (x->sticky) record_heal();
    flow_finish(&f);
    bool hit = record_failed() > 0, broken = f.s.broken;
    if (hit) count_fault(&f);
    record_heal();
    service_close(&f.s, false);
    record_stop();
    const char *why = what_is_wrong(&f, broken, x->k);
    if (why != NULL) wrong(x, "at work", why);
    flow_end(&f);
    return hit;
}

/* The folder of a process that ended when a sync of its log had failed. */
static void leave_log(struct flow *f) {
    record_fail(&(struct record_fault){.k = 40, .err = EIO, .kinds = SYNCS});
    if (service_open(&f->s)) flow_few(f, REQUESTS);
    if (!f->s.broken) fail_msg("the %u-th sync did not end the store", 40U);
    record_heal();
    service_close(&f->s, false);
}

/* A start that fails says why; the next one is well. */
static bool start_in(const struct record_fault *x, bool used) {
    static struct flow f;
    empty(work);
    record_watch(work);
    flow_begin(&f, work, 4);
    if (used) leave_log(&f);
    record_fail(x);
    bool opened = service_open(&f.s);
    bool hit = record_failed() > 0;
    if (hit) count_fault(&f);
    if (!opened && f.s.why[0] == '\0') wrong(x, "at the start", "it does not say why");
    record_heal();
    const char *why = used ? check_platter(&f, x->k) : NULL;
    if (!opened || f.s.broken || !f.s.ready_ok) flow_restart(&f, false);
    if (f.s.queue == NULL) wrong(x, "at the second start", f.s.why);
    flow_few(&f, 2);
    flow_finish(&f);
    service_close(&f.s, false);
    record_stop();
    if (why == NULL) why = what_is_wrong(&f, used, x->k);
    if (why != NULL) wrong(x, "after a start", why);
    flow_end(&f);
    return hit;
}

static bool start_with(const struct record_fault *x) {
    return start_in(x, false);
}

static bool start_again_with(const struct record_fault *x) {
    return start_in(x, true);
}

/* After a failed sync the kernel shows what the disk may not have: the next start on the same machine reads it, and must not
 * build on it. Someone who reads keeps the log from being written back. */
static bool restart_after(const struct record_fault *x) {
    static struct flow f;
    empty(work);
    record_watch(work);
    flow_begin(&f, work, 5);
    record_fail(x);
    if (service_open(&f.s)) flow_few(&f, REQUESTS);
    bool hit = record_failed() > 0;
    if (hit) count_fault(&f);
    record_heal();
    flow_restart(&f, false);
    if (f.s.queue == NULL || !f.s.ready_ok) wrong(x, "at the restart", f.s.why);
    flow_read(&f);
    flow_few(&f, 2);
    const char *why = NULL;
    for (uint64_t luck = 0; luck < 3 && why == NULL; luck++) why = check_platter(&f, x->k + luck);
    flow_finish(&f);
    service_close(&f.s, false);
    record_stop();
    if (why == NULL) why = what_is_wrong(&f, true, x->k);
    if (why != NULL) wrong(x, "after a restart", why);
    flow_end(&f);
    return hit;
}

static uint64_t beside_seed;

/* The same while another program keeps the database open: the index of the log outlives the process, and with it what the
 * index says of how much of the log is in the database. Of a part that was copied while someone read the sync comes later. */
static bool restart_beside(const struct record_fault *x) {
    static struct flow f;
    sqlite3 *other;
    empty(work);
    record_watch(work);
    flow_begin(&f, work, beside_seed);
    assert_true(service_open(&f.s));
    char path[sizeof work + 16];
    snprintf(path, sizeof path, "%s/anyllm.db", work);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "SELECT count(*) FROM request", NULL, NULL, NULL), 0);
    record_fail(x);
    flow_few(&f, 12);
    flow_read(&f);
    flow_few(&f, 12);
    flow_finish(&f);
    bool hit = record_failed() > 0;
    if (hit) count_fault(&f);
    record_heal();
    flow_restart(&f, false);
    if (f.s.queue == NULL || !f.s.ready_ok) wrong(x, "at the restart", f.s.why);
    flow_few(&f, 8);
    flow_finish(&f);
    const char *why = NULL;
    for (uint64_t luck = 0; luck < 3 && why == NULL; luck++) why = check_platter(&f, x->k + luck);
    sqlite3_close(other);
    service_close(&f.s, false);
    record_stop();
    if (why == NULL) why = what_is_wrong(&f, true, x->k);
    if (why != NULL) wrong(x, "after a restart beside another program", why);
    flow_end(&f);
    return hit;
}

/* The newest of that name. */
static unsigned node_of(const char *name) {
    for (size_t i = record_count(); i > 0; i--) {
        const struct call *c = record_get(i - 1);
        if (c->kind == CALL_LINK && strcmp(c->name, name) == 0) return c->node;
    }
    fail_msg("there is no %s", name);
    return 0;
}

/* The end of what was written to it. */
static int64_t end_of(unsigned node) {
    int64_t end = 0;
    for (size_t i = 0; i < record_count(); i++) {
        const struct call *c = record_get(i);
        if (c->kind == CALL_WRITE && c->node == node && c->at + (int64_t)c->len > end)
            end = c->at + (int64_t)c->len;
    }
    return end;
}

/* Of 1000 frames and more SQLite writes a log back with the next COMMIT of who has not told it otherwise. */
static void T8_a_start_writes_nothing_before_it_has_written_the_log_again(void **state) {
    (void)state;
    static struct flow f;
    empty(work);
    record_watch(work);
    flow_begin(&f, work, 4);
    assert_true(service_open(&f.s));
    flow_read(&f);
    flow_few(&f, 120);
    record_fail(&(struct record_fault){.k = 1, .err = EIO, .kinds = SYNCS});
    flow_few(&f, 1);
    record_heal();
    assert_true(f.s.broken);
    unsigned db = node_of("anyllm.db"), log = node_of("anyllm.db-wal");
    int64_t end = end_of(log), again = 0;
    assert_true(end > 1000 * 4120);
    size_t i = record_count();
    flow_restart(&f, false);
    record_stop();
    for (bool synced = false; i < record_count() && !synced; i++) {
        const struct call *c = record_get(i);
        synced = c->kind == CALL_SYNC && c->node == log && again >= end;
        if (c->kind != CALL_WRITE) continue;
        if (c->node == db) fail_msg("%s", "the database was written to before the log");
        assert_int_equal(c->node, log);
        assert_int_equal(c->at, again);
        again += (int64_t)c->len;
    }
    assert_int_equal(again, end);
    service_close(&f.s, false);
    flow_end(&f);
}

/* ANYLLM_LONG: each call whatever `every` says. */
static void each_fails(bool (*with)(const struct record_fault *x), struct record_fault x,
                       unsigned every) {
    memset(&total, 0, sizeof total);
    if (getenv("ANYLLM_LONG") != NULL) every = 1;
    if (x.k == 0) x.k = 1;
    while (with(&x)) x.k += every;
    print_message("# T8: %u places failed with %s%s:", total.points, strerror(x.err),
                  x.sticky ? ", all from there on" : "");
    for (unsigned k = 0; k < CALL_KINDS; k++)
        if (total.of[k] > 0) print_message(" %s %u", kind_names[k], total.of[k]);
    print_message("; %u ended the store, %u answers were 503\n", total.broken, total.unavailable);
}

static void T8_an_input_output_error_anywhere_loses_nothing(void **state) {
    (void)state;
    each_fails(work_with, (struct record_fault){.err = EIO, .kinds = NO_SYNCS}, 1);
    assert_true(total.points > 100);
}

static void T8_a_write_that_is_done_by_half_loses_nothing(void **state) {
    (void)state;
    each_fails(work_with,
               (struct record_fault){.err = EIO, .kinds = 1U << CALL_WRITE, .half = true}, 4);
}

static void T8_a_full_disk_anywhere_loses_nothing(void **state) {
    (void)state;
    each_fails(work_with, (struct record_fault){.err = ENOSPC, .kinds = NO_SYNCS, .half = true}, 1);
    assert_true(total.unavailable > 0);
}

/* From there on, until the work is over: what was taken before waits, and goes on when there is room. */
static void T8_a_disk_that_stays_full_loses_nothing(void **state) {
    (void)state;
    each_fails(work_with, (struct record_fault){.err = ENOSPC, .kinds = NO_SYNCS, .sticky = true},
               5);
    assert_true(total.unavailable > 0);
    each_fails(work_with, (struct record_fault){.err = EROFS, .kinds = NO_SYNCS, .sticky = true},
               5);
}

static void T8_a_spent_quota_anywhere_loses_nothing(void **state) {
    (void)state;
    each_fails(work_with, (struct record_fault){.err = EDQUOT, .kinds = NO_SYNCS}, 4);
    assert_true(total.unavailable > 0);
}

static void T8_after_a_failed_sync_nothing_is_told_that_is_not_so(void **state) {
    (void)state;
    each_fails(work_with, (struct record_fault){.err = EIO, .kinds = SYNCS}, 1);
    assert_true(total.broken > 10);
}

static void T8_after_a_failed_sync_and_a_restart_what_is_told_is_on_the_disk(void **state) {
    (void)state;
    each_fails(restart_after, (struct record_fault){.err = EIO, .kinds = SYNCS}, 3);
    assert_true(total.broken > 10);
}

static void T8_after_a_failed_sync_another_program_hides_nothing(void **state) {
    (void)state;
    for (beside_seed = 1; beside_seed <= 3;
         beside_seed += 2) { /* the calls after someone has read */
        each_fails(restart_beside, (struct record_fault){.k = 150, .err = EIO, .kinds = SYNCS}, 1);
        assert_true(total.broken > 3);
    }
}

static void T8_a_start_that_fails_anywhere_is_followed_by_one_that_is_well(void **state) {
    (void)state;
    each_fails(start_with, (struct record_fault){.err = EIO, .kinds = ALL_KINDS}, 1);
    each_fails(start_with, (struct record_fault){.err = ENOSPC, .kinds = NO_SYNCS, .half = true},
               4);
}

static void T8_a_start_after_a_failed_sync_that_fails_anywhere_loses_nothing(void **state) {
    (void)state;
    each_fails(start_again_with, (struct record_fault){.err = EIO, .kinds = ALL_KINDS}, 2);
    each_fails(start_again_with,
               (struct record_fault){.err = ENOSPC, .kinds = NO_SYNCS, .half = true}, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T8_an_input_output_error_anywhere_loses_nothing),
        cmocka_unit_test(T8_a_write_that_is_done_by_half_loses_nothing),
        cmocka_unit_test(T8_a_full_disk_anywhere_loses_nothing),
        cmocka_unit_test(T8_a_disk_that_stays_full_loses_nothing),
        cmocka_unit_test(T8_a_spent_quota_anywhere_loses_nothing),
        cmocka_unit_test(T8_after_a_failed_sync_nothing_is_told_that_is_not_so),
        cmocka_unit_test(T8_after_a_failed_sync_and_a_restart_what_is_told_is_on_the_disk),
        cmocka_unit_test(T8_after_a_failed_sync_another_program_hides_nothing),
        cmocka_unit_test(T8_a_start_writes_nothing_before_it_has_written_the_log_again),
        cmocka_unit_test(T8_a_start_that_fails_anywhere_is_followed_by_one_that_is_well),
        cmocka_unit_test(T8_a_start_after_a_failed_sync_that_fails_anywhere_loses_nothing),
    };
    snprintf(base, sizeof base, "%s/anyllm-faults.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(base) == NULL) abort();
    snprintf(work, sizeof work, "%s/work", base);
    snprintf(platter, sizeof platter, "%s/platter", base);
    if (mkdir(work, 0700) != 0 || mkdir(platter, 0700) != 0) abort();
    log_set_level(LOG_ERROR); /* of faults that are ours */
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    empty(base);
    rmdir(base);
    return rc;
}
