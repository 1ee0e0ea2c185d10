#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct net_loop loop;
    int log[64];
    size_t n;
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return f != NULL ? net_loop_init(&f->loop) : -1;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    net_loop_close(&f->loop);
    free(f);
    return 0;
}

/* --- timers --- */

struct alarm {
    struct net_timer timer;
    struct fixture *f;
    uint64_t wanted_ms, fired_ms;
    int fired;
    struct net_timer *stop, *start;
};

static void ring(struct net_timer *t) {
    struct alarm *a = (struct alarm *)t;
    assert_false(net_timer_armed(t));
    a->fired++;
    a->fired_ms = net_now_ms(&a->f->loop);
    if (a->stop != NULL) net_timer_stop(&a->f->loop, a->stop);
    if (a->start != NULL) net_timer_start(&a->f->loop, a->start, 0);
    a->start = NULL;
}

static void arm(struct fixture *f, struct alarm *a, uint64_t after_ms) {
    a->f = f;
    a->timer.fire = ring;
    a->wanted_ms = net_now_ms(&f->loop) + after_ms;
    net_timer_start(&f->loop, &a->timer, after_ms);
}

static void timers_fire_once_and_never_early(void **state) {
    struct fixture *f = *state;
    struct alarm a[40] = {0};
    for (size_t i = 0; i < 40; i++) arm(f, &a[i], i * 7 % 150);
    net_loop_run(&f->loop);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(a[i].fired, 1);
        assert_true(a[i].fired_ms >= a[i].wanted_ms);
    }
    assert_int_equal(f->loop.armed, 0);
}

static void a_stopped_timer_never_fires_and_keeps_no_loop(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0}, b = {0};
    arm(f, &a, 3600000);
    arm(f, &b, 30);
    net_timer_stop(&f->loop, &a.timer);
    net_timer_stop(&f->loop, &a.timer);
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 0);
    assert_int_equal(b.fired, 1);
}

static void a_timer_armed_again_counts_from_then(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0};
    arm(f, &a, 20);
    arm(f, &a, 90);
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 1);
    assert_true(a.fired_ms >= a.wanted_ms);
}

static void a_timer_armed_again_for_earlier_fires_then(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0};
    arm(f, &a, 3600000);
    arm(f, &a, 3600001);
    arm(f, &a, 30);
    arm(f, &a, 60);
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 1);
    assert_true(a.fired_ms >= a.wanted_ms);
}

static void a_timer_put_off_again_and_again_fires_once_at_last(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0};
    for (int i = 0; i < 30; i++) {
        arm(f, &a, 1000);
        uv_sleep(5);
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        assert_int_equal(a.fired, 0);
    }
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 1);
    assert_true(a.fired_ms >= a.wanted_ms);
}

static void a_timer_may_stop_or_arm_another_of_its_slot(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0}, b = {0}, c = {0};
    arm(f, &a, 40);
    arm(f, &b, 40);
    c.f = f;
    c.timer.fire = ring;
    a.stop = &b.timer;
    a.start = &c.timer;
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 0);
    assert_int_equal(c.fired, 1);
}

static void a_timer_may_arm_itself(void **state) {
    struct fixture *f = *state;
    struct alarm a = {0};
    arm(f, &a, 5);
    a.start = &a.timer;
    net_loop_run(&f->loop);
    assert_int_equal(a.fired, 2);
}

/* The wheel is turned by hand past its circumference: the timer's slot comes round before its turn. */
static void a_timer_beyond_one_turn_waits_for_its_own(void **state) {
    struct fixture *f = *state;
    struct alarm far = {0}, near = {0};
    uint64_t turn_ms = (uint64_t)NET_TICK_MS * NET_WHEEL_SLOTS;
    arm(f, &far, 3 * turn_ms + 40);
    arm(f, &near, 40);
    for (int i = 0; i < 20 && near.fired == 0; i++) uv_run(&f->loop.uv, UV_RUN_ONCE);
    assert_int_equal(near.fired, 1);
    assert_int_equal(far.fired, 0);
    for (uint64_t i = 1; i <= 3; i++) {
        f->loop.uv.time += turn_ms;
        uv_timer_start(&f->loop.tick, f->loop.tick.timer_cb, 0, 0);
        f->loop.tick_ms = f->loop.uv.time; /* as if it came when it was due */
        f->loop.tick.timer_cb(&f->loop.tick);
        assert_int_equal(far.fired, i == 3);
    }
}

/* --- deferred work --- */

struct later {
    struct net_defer defer;
    struct fixture *f;
    int id, again;
};

static void note_later(struct net_defer *d) {
    struct later *w = (struct later *)d;
    w->f->log[w->f->n++] = w->id;
    if (w->again-- > 0) net_defer(&w->f->loop, d);
}

static void deferred_work_runs_in_order_once_and_keeps_the_loop(void **state) {
    struct fixture *f = *state;
    struct later w[3] = {0};
    for (int i = 0; i < 3; i++) w[i] = (struct later){.defer.run = note_later, .f = f, .id = i};
    w[1].again = 1;
    for (int i = 0; i < 3; i++) net_defer(&f->loop, &w[i].defer);
    net_defer(&f->loop, &w[0].defer);
    assert_int_equal(f->n, 0);
    net_loop_run(&f->loop);
    assert_int_equal(f->n, 4);
    const int expected[] = {0, 1, 2, 1};
    assert_memory_equal(f->log, expected, sizeof expected);
}

static void cancelled_work_does_not_run(void **state) {
    struct fixture *f = *state;
    struct later w = {.defer.run = note_later, .f = f};
    net_defer(&f->loop, &w.defer);
    net_defer_cancel(&f->loop, &w.defer);
    net_defer_cancel(&f->loop, &w.defer);
    net_loop_run(&f->loop);
    assert_int_equal(f->n, 0);
}

/* --- posts --- */

#define POSTS 1000

struct poster {
    struct fixture *f;
    int seen, expected;
};

static void note_post(void *arg) {
    struct poster *p = arg;
    if (++p->seen < p->expected) return;
    net_loop_release(&p->f->loop);
}

static void post_all(void *arg) {
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) assert_int_equal(net_loop_post(&p->f->loop, note_post, p), 0);
}

static void posts_of_threads_all_arrive_while_the_loop_is_held(void **state) {
    struct fixture *f = *state;
    struct poster p[3];
    uv_thread_t t[3];
    for (int i = 0; i < 3; i++) {
        p[i] = (struct poster){.f = f, .expected = POSTS};
        net_loop_hold(&f->loop);
        assert_int_equal(uv_thread_create(&t[i], post_all, &p[i]), 0);
    }
    net_loop_run(&f->loop);
    for (int i = 0; i < 3; i++) {
        uv_thread_join(&t[i]);
        assert_int_equal(p[i].seen, POSTS);
    }
}

static void count_post(void *arg) {
    ++*(int *)arg;
}

static void posts_left_at_the_end_are_run_by_close(void **state) {
    (void)state;
    struct net_loop *l = calloc(1, sizeof *l);
    int seen = 0;
    assert_non_null(l);
    assert_int_equal(net_loop_init(l), 0);
    assert_int_equal(net_loop_post(l, count_post, &seen), 0);
    net_loop_close(l);
    free(l);
    assert_int_equal(seen, 1);
}

/* --- a process that stood still --- */

#define STILL_US 600000U /* well over NET_LATE_MS */

struct still {
    struct fixture *f;
    uv_poll_t poll;
    int pipe[2];
    struct alarm timeout; /* of what is waited for */
    bool read_first;
};

static void stand_still(void *arg) {
    struct still *s = arg;
    assert_int_equal(write(s->pipe[1], "x", 1), 1);
    usleep(STILL_US);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct still *s = poll->data;
    s->read_first = s->timeout.fired == 0;
    uv_poll_stop(poll);
}

/* What came meanwhile is read before its timeout fires: the other end was not late, we were. */
static void after_a_standstill_what_came_is_read_before_timers_fire(void **state) {
    struct fixture *f = *state;
    struct still s = {.f = f};
    assert_int_equal(pipe(s.pipe), 0);
    s.poll.data = &s;
    assert_int_equal(uv_poll_init(&f->loop.uv, &s.poll, s.pipe[0]), 0);
    assert_int_equal(uv_poll_start(&s.poll, UV_READABLE, on_readable), 0);
    arm(f, &s.timeout, STILL_US / 2000);
    assert_int_equal(net_loop_post(&f->loop, stand_still, &s), 0);
    net_loop_run(&f->loop);
    assert_true(s.read_first);
    assert_int_equal(s.timeout.fired, 1);
    uv_close((uv_handle_t *)&s.poll, NULL);
    net_loop_run(&f->loop);
    close(s.pipe[0]);
    close(s.pipe[1]);
}

static void the_date_has_the_fixed_form(void **state) {
    struct fixture *f = *state;
    struct slice d = net_date(&f->loop);
    assert_int_equal(d.len, 29);
    assert_memory_equal(d.ptr + 3, ", ", 2);
    assert_memory_equal(d.ptr + 25, " GMT", 4);
    assert_true(d.ptr[19] == ':' && d.ptr[22] == ':');
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(timers_fire_once_and_never_early),
        T(a_stopped_timer_never_fires_and_keeps_no_loop),
        T(a_timer_armed_again_counts_from_then),
        T(a_timer_armed_again_for_earlier_fires_then),
        T(a_timer_put_off_again_and_again_fires_once_at_last),
        T(a_timer_may_stop_or_arm_another_of_its_slot),
        T(a_timer_may_arm_itself),
        T(a_timer_beyond_one_turn_waits_for_its_own),
        T(deferred_work_runs_in_order_once_and_keeps_the_loop),
        T(cancelled_work_does_not_run),
        T(posts_of_threads_all_arrive_while_the_loop_is_held),
        T(posts_left_at_the_end_are_run_by_close),
        T(after_a_standstill_what_came_is_read_before_timers_fire),
        T(the_date_has_the_fixed_form),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
