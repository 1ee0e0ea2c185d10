/* Calls that do not block: many at once over one client, callbacks that start and cancel, the client in a loop of the
 * caller's. */
#include "client/rig.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 64

/* How calls ended. */
struct ends {
    fal_client *client;
    int count, ok;
    enum fal_code last, inner;
    char text[256];
    fal_call *to_cancel;
    int chain;
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    e->count++;
    e->ok += code == FAL_OK;
    e->last = code;
    assert_int_equal(fal_result_error(result)->code, code);
    const char *output = fal_result_string(result, "/output");
    snprintf(e->text, sizeof(e->text), "%s", output != NULL ? output : "");
    fal_result_free(result);
}

static struct fal_done noting(struct ends *e) {
    return (struct fal_done){note_end, e};
}

static void wait_for_all(fal_client *c) {
    alarm(20);
    while (fal_client_pending(c) > 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    alarm(0);
}

/* They wait for each other, `at_once` of them. */
static struct script *answers(size_t count, size_t at_once) {
    static struct script_step steps[256];
    for (size_t i = 0; i < count; i++) {
        steps[i] = (struct script_step)ANSWER;
        steps[i].hold = (i / at_once + 1) * at_once;
    }
    return script_start(steps, count);
}

/* ---- Side by side ---- */

static void calls_run_side_by_side_and_keep_their_connections(void **state) {
    (void)state;
    struct script *s = answers(2 * MANY, MANY);
    struct ends e = {0};
    fal_client *c = client_for(s);
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(fal_run_start(c, APP, "{}", NULL, noting(&e), NULL), FAL_OK);
        }
        assert_int_equal(e.count, (round - 1) * MANY); /* never from inside …_start */
        assert_int_equal(fal_client_pending(c), MANY);
        wait_for_all(c);
        assert_int_equal(e.ok, round * MANY);
    }
    assert_int_equal(script_connections(s), MANY);
    assert_string_equal(e.text, "42");
    fal_client_free(c);
    script_stop(s);
}

static void what_is_passed_in_is_copied(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    char endpoint[] = APP, input[] = "{\"prompt\":\"p\"}", hint[] = "h", line[] = "X-Mine: 1";
    const char *lines[] = {line};
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.hint = hint;
    o.headers = lines;
    o.header_count = 1;
    assert_int_equal(fal_run_start(c, endpoint, input, &o, noting(&e), NULL), FAL_OK);
    memset(endpoint, 'x', sizeof(endpoint) - 1);
    memset(input, 'x', sizeof(input) - 1);
    memset(hint, 'x', sizeof(hint) - 1);
    memset(line, 'x', sizeof(line) - 1);
    lines[0] = NULL;
    wait_for_all(c);
    assert_int_equal(e.ok, 1);
    assert_true(script_asked(s, 0, "POST /run/" APP " HTTP/1.1"));
    assert_true(script_has_header(s, 0, "x-fal-runner-hint: h"));
    assert_true(script_has_header(s, 0, "X-Mine: 1"));
    assert_non_null(strstr(script_request(s, 0), "{\"prompt\":\"p\"}"));
    fal_client_free(c);
    script_stop(s);
}

static void each_kind_has_its_twin(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, IN_QUEUE, ANSWER, {.status = 202, .body = "{}"}, SUBMITTED,
                              COMPLETED, ANSWER, COMPLETED, ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    assert_int_equal(fal_queue_submit_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(fal_queue_status_start(c, APP, "r1", NULL, noting(&e), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(fal_queue_result_start(c, APP, "r1", NULL, noting(&e), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(fal_queue_cancel_start(c, APP, "r1", NULL, noting(&e), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(fal_subscribe_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(fal_queue_subscribe_to_status_start(c, APP, "r1", NULL, noting(&e), NULL),
                     FAL_OK);
    wait_for_all(c);
    assert_int_equal(e.ok, 6);
    assert_true(script_asked(s, 0, "POST /queue/" APP " HTTP/1.1"));
    assert_true(script_asked(s, 1, STATUS_LINE));
    assert_true(script_asked(s, 2, RESULT_LINE));
    assert_true(script_asked(s, 3, CANCEL_LINE));
    assert_true(script_asked(s, 7, STATUS_LINE));
    assert_true(script_asked(s, 8, RESULT_LINE));
    fal_client_free(c);
    script_stop(s);
}

static void a_refused_start_does_not_call_back(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    fal_call *call = (fal_call *)&e;
    assert_int_equal(fal_run_start(c, "no-slash", NULL, NULL, noting(&e), &call), FAL_ERR_ARGUMENT);
    assert_null(call);
    assert_int_equal(fal_run_start(NULL, APP, NULL, NULL, noting(&e), NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_queue_status_start(c, APP, "", NULL, noting(&e), NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_client_pending(c), 0);
    assert_int_equal(fal_client_wait(c, -1), FAL_OK); /* nothing can come */
    assert_int_equal(fal_client_wait(c, 1), FAL_OK);
    assert_int_equal(e.count, 0);
    fal_client_free(c);
    script_stop(s);
}

static void a_blocking_call_moves_the_others_on(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(e.ok, 1);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Callbacks ---- */

static void start_next(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    note_end(code, result, e);
    if (e->chain-- > 0) {
        assert_int_equal(
            fal_run_start(e->client, APP, NULL, NULL, (struct fal_done){start_next, e}, NULL),
            FAL_OK);
    }
}

static void callbacks_start_calls(void **state) {
    (void)state;
    struct script *s = answers(100, 1);
    struct ends e = {.client = client_for(s), .chain = 99};
    assert_int_equal(
        fal_run_start(e.client, APP, NULL, NULL, (struct fal_done){start_next, &e}, NULL), FAL_OK);
    wait_for_all(e.client);
    assert_int_equal(e.ok, 100);
    assert_int_equal(script_connections(s), 1);
    fal_client_free(e.client);
    script_stop(s);
}

static void what_blocks_is_busy_inside_a_callback(enum fal_code code, fal_result *result,
                                                  void *user) {
    struct ends *e = user;
    note_end(code, result, e);
    assert_int_equal(fal_run(e->client, APP, NULL, NULL, NULL), FAL_ERR_BUSY);
    assert_int_equal(fal_client_wait(e->client, 0), FAL_ERR_BUSY);
    assert_int_equal(fal_client_ready(e->client, -1, 0), FAL_ERR_BUSY);
    assert_int_equal(fal_client_pending(e->client), 0);
}

static void blocking_inside_a_callback_is_busy(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {.client = client_for(s)};
    struct fal_done done = {what_blocks_is_busy_inside_a_callback, &e};
    assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, done, NULL), FAL_OK);
    wait_for_all(e.client);
    assert_int_equal(e.ok, 1);
    assert_int_equal(script_count(s), 1);
    fal_client_free(e.client);
    script_stop(s);
}

static void cancel_the_other(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    note_end(code, result, e);
    fal_call_cancel(e->to_cancel);
}

static void a_callback_cancels_another_call(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true}, ANSWER);
    struct ends hung = {0}, e = {.client = client_for(s)};
    assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, noting(&hung), &e.to_cancel), FAL_OK);
    while (script_count(s) < 1) {
        assert_int_equal(fal_client_wait(e.client, 10), FAL_OK);
    }
    assert_int_equal(
        fal_run_start(e.client, APP, NULL, NULL, (struct fal_done){cancel_the_other, &e}, NULL),
        FAL_OK);
    wait_for_all(e.client);
    assert_int_equal(e.ok, 1);
    assert_int_equal(hung.count, 1);
    assert_int_equal(hung.last, FAL_ERR_CANCELLED);
    fal_call_free(e.to_cancel);
    fal_client_free(e.client);
    script_stop(s);
}

/* ---- Cancel ---- */

static void a_call_cancelled_before_it_begins_sends_nothing(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    fal_call *call = NULL;
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), &call), FAL_OK);
    fal_call_cancel(call);
    assert_int_equal(e.count, 0);
    wait_for_all(c);
    assert_int_equal(e.last, FAL_ERR_CANCELLED);
    assert_int_equal(script_count(s), 0);
    fal_call_cancel(call); /* it has ended */
    fal_client_free(c);
    fal_call_cancel(call); /* the handle outlives the client */
    fal_call_free(call);
    fal_call_free(NULL);
    fal_call_cancel(NULL);
    script_stop(s);
}

static void cancel_it(void *user) {
    fal_call_cancel(*(fal_call **)user);
}

static void cancel_from_another_thread_ends_one_call_of_many(void **state) {
    (void)state;
    fal_call *call = NULL;
    struct script *s = SCRIPT(SUBMITTED, {.hang = true, .hook = cancel_it, .user = &call},
                              {.status = 202, .body = "{}"}, ANSWER);
    struct ends cancelled = {0}, other = {0};
    fal_client *c = client_for(s);
    assert_int_equal(fal_subscribe_start(c, APP, NULL, NULL, noting(&cancelled), &call), FAL_OK);
    /* Without a wake-up it would sleep until a timer of libcurl's own, 10 s later: the alarm comes before. */
    alarm(8);
    while (cancelled.count == 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    alarm(0);
    assert_int_equal(cancelled.count, 1);
    assert_int_equal(cancelled.last, FAL_ERR_CANCELLED);
    assert_true(script_asked(s, 2, CANCEL_LINE));
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&other), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(other.ok, 1);
    fal_call_free(call);
    fal_client_free(c);
    script_stop(s);
}

static void a_handle_given_back_early_leaves_the_call(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    fal_call *call = NULL;
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), &call), FAL_OK);
    fal_call_free(call);
    wait_for_all(c);
    assert_int_equal(e.ok, 1);
    fal_client_free(c);
    script_stop(s);
}

static void cancelling_the_client_ends_the_wait_and_no_call(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0};
    fal_client *c = client_for(s);
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    fal_client_cancel(c);
    assert_int_equal(fal_client_wait(c, -1), FAL_ERR_CANCELLED);
    wait_for_all(c);
    assert_int_equal(e.ok, 1);
    fal_client_free(c);
    script_stop(s);
}

static void each_call_has_its_own_deadline(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true}, {.hang = true});
    struct ends e = {0}, other = {0};
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_call *call = NULL;
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&other), &call), FAL_OK);
    o.timeout_ms = 30;
    assert_int_equal(fal_run_start(c, APP, NULL, &o, noting(&e), NULL), FAL_OK);
    alarm(20);
    while (e.count == 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    assert_int_equal(e.last, FAL_ERR_TIMEOUT);
    assert_int_equal(other.count, 0);
    fal_call_cancel(call);
    wait_for_all(c);
    assert_int_equal(other.last, FAL_ERR_CANCELLED);
    fal_call_free(call);
    fal_client_free(c);
    script_stop(s);
}

static void start_too_late(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    note_end(code, result, e);
    e->inner = fal_run_start(e->client, APP, NULL, NULL, noting(e), NULL);
    assert_int_equal(fal_run(e->client, APP, NULL, NULL, NULL), FAL_ERR_BUSY);
    assert_int_equal(fal_client_wait(e->client, 0), FAL_ERR_BUSY);
    assert_int_equal(fal_client_ready(e->client, -1, 0), FAL_ERR_BUSY);
}

static void freeing_the_client_ends_its_calls(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true}, {.hang = true});
    struct ends e = {.client = client_for(s)};
    struct fal_done done = {start_too_late, &e};
    assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, done, NULL), FAL_OK);
    assert_int_equal(fal_subscribe_start(e.client, APP, NULL, NULL, done, NULL), FAL_OK);
    while (script_count(s) < 2) {
        assert_int_equal(fal_client_wait(e.client, 10), FAL_OK);
    }
    assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, done, NULL), FAL_OK);
    fal_client_free(e.client);
    assert_int_equal(e.count, 3);
    assert_int_equal(e.last, FAL_ERR_CANCELLED);
    assert_int_equal(e.inner, FAL_ERR_BUSY);
    assert_int_equal(script_count(s), 2);
    script_stop(s);
}

/* ---- While a name is looked up ---- */

/* In place of the C library's, also for libcurl: "slow.invalid" is looked up until the test says otherwise. */
static atomic_int looking;
static atomic_bool let_go;

__attribute__((visibility("default"))) int getaddrinfo(const char *host, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **out) {
    (void)host;
    (void)service;
    (void)hints;
    *out = NULL;
    atomic_fetch_add(&looking, 1);
    while (!atomic_load(&let_go)) {
        poll(NULL, 0, 1);
    }
    atomic_fetch_sub(&looking, 1);
    return EAI_NONAME;
}

static void giving_up_does_not_wait_for_the_resolver(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER);
    struct ends e = {0}, other = {0};
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_call *call = NULL;
    fal_client *c = NULL;
    setenv("no_proxy", "*", 1); /* of forget_the_environment */
    o.base_url = "http://slow.invalid";
    o.queue_url = script_base(s);
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), &call), FAL_OK);
    alarm(20); /* a deadlock */
    while (atomic_load(&looking) == 0) {
        assert_int_equal(fal_client_wait(c, 1), FAL_OK);
    }
    fal_call_cancel(call);
    fal_call_free(call);
    while (e.count == 0) {
        assert_int_equal(fal_client_wait(c, -1), FAL_OK);
    }
    assert_int_equal(e.last, FAL_ERR_CANCELLED);
    assert_int_equal(atomic_load(&looking), 1);
    assert_int_equal(fal_queue_result_start(c, APP, "r1", NULL, noting(&other), NULL), FAL_OK);
    wait_for_all(c);
    assert_int_equal(other.ok, 1); /* nor do the others */
    fal_client_free(c);
    atomic_store(&let_go, true);
    while (atomic_load(&looking) > 0) {
        poll(NULL, 0, 1);
    }
    poll(NULL, 0, 50); /* what libcurl's thread still frees */
    unsetenv("no_proxy");
    script_stop(s);
}

/* ---- In a loop of the caller's ---- */

/* What fal_client_on_fd said, as a loop would keep it. */
struct mirror {
    struct fal_fd fds[128];
    size_t count;
};

static void mirror_change(int fd, int events, void *user) {
    struct mirror *m = user;
    size_t i = 0;
    while (i < m->count && m->fds[i].fd != fd) {
        i++;
    }
    if (events == 0) {
        assert_true(i < m->count); /* nothing is forgotten that was not told */
        m->fds[i] = m->fds[--m->count];
        return;
    }
    assert_true(i < 128);
    m->fds[i] = (struct fal_fd){fd, events};
    m->count += i == m->count;
}

static void expect_same(const struct mirror *m, const fal_client *c) {
    struct fal_fd fds[128];
    size_t n = fal_client_fds(c, fds, 128);
    assert_int_equal(n, m->count);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < n && m->fds[k].fd != fds[i].fd) {
            k++;
        }
        assert_true(k < n);
        assert_int_equal(m->fds[k].events, fds[i].events);
    }
}

static void one_turn(fal_client *c, const struct mirror *m) {
    struct pollfd fds[128];
    size_t n = m->count;
    for (size_t i = 0; i < n; i++) {
        bool in = (m->fds[i].events & FAL_READABLE) != 0,
             out = (m->fds[i].events & FAL_WRITABLE) != 0;
        fds[i] = (struct pollfd){m->fds[i].fd, (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0};
    }
    int64_t ms = fal_client_timeout_ms(c);
    int ready = poll(fds, n, ms < 0 || ms > 10000 ? 10000 : (int)ms);
    assert_true(ready >= 0);
    if (ready == 0) {
        assert_true(ms >= 0);
        assert_int_equal(fal_client_ready(c, -1, 0), FAL_OK);
    }
    for (size_t i = 0; i < n; i++) {
        int events = ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 ? FAL_READABLE : 0) |
                     ((fds[i].revents & (POLLOUT | POLLERR)) != 0 ? FAL_WRITABLE : 0);
        if (events != 0) {
            assert_int_equal(fal_client_ready(c, fds[i].fd, events), FAL_OK);
        }
    }
}

static void start_eight(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    note_end(code, result, e);
    for (int i = 0; i < 8 && e->chain > 0; i++) {
        struct fal_done done = {i == 0 ? start_eight : note_end, e};
        assert_int_equal(fal_run_start(e->client, APP, NULL, NULL, done, NULL), FAL_OK);
    }
    e->chain--;
}

static void a_loop_of_ones_own_drives_the_client(void **state) {
    (void)state;
    struct script *s = answers(MANY, 8);
    struct ends e = {.client = client_for(s), .chain = MANY / 8 - 1};
    struct mirror m = {0};
    fal_client_on_fd(e.client, mirror_change, &m);
    assert_int_equal(m.count, 1); /* what wakes it for cancellations */
    for (int i = 0; i < 8; i++) {
        struct fal_done done = {i == 0 ? start_eight : note_end, &e};
        assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, done, NULL), FAL_OK);
    }
    assert_int_equal(fal_client_timeout_ms(e.client), 0);
    while (fal_client_pending(e.client) > 0) {
        one_turn(e.client, &m);
        expect_same(&m, e.client);
    }
    assert_int_equal(e.ok, MANY);
    fal_client_free(e.client);
    assert_int_equal(m.count, 0);
    script_stop(s);
}

static void room_too_small_says_how_many_there_are(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true}, {.hang = true});
    struct ends e = {0};
    fal_client *c = client_for(s);
    struct fal_fd fds[3] = {{-7, 0}, {-7, 0}, {-7, 0}};
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    assert_int_equal(fal_run_start(c, APP, NULL, NULL, noting(&e), NULL), FAL_OK);
    while (script_count(s) < 2) {
        assert_int_equal(fal_client_wait(c, 10), FAL_OK);
    }
    assert_int_equal(fal_client_fds(c, NULL, 0), 3);
    assert_int_equal(fal_client_fds(c, fds, 2), 3);
    assert_true(fds[1].fd >= 0);
    assert_int_equal(fds[2].fd, -7);
    fal_client_free(c);
    assert_int_equal(e.count, 2);
    script_stop(s);
}

static void cancel_wakes_a_loop_of_ones_own(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true});
    struct ends e = {.client = client_for(s)};
    struct mirror m = {0};
    fal_call *call = NULL;
    fal_client_on_fd(e.client, mirror_change, &m);
    assert_int_equal(fal_run_start(e.client, APP, NULL, NULL, noting(&e), &call), FAL_OK);
    while (script_count(s) < 1) {
        one_turn(e.client, &m);
    }
    fal_call_cancel(call);
    while (fal_client_pending(e.client) > 0) {
        one_turn(e.client, &m);
    }
    assert_int_equal(e.last, FAL_ERR_CANCELLED);
    fal_call_free(call);
    fal_client_free(e.client);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_run_side_by_side_and_keep_their_connections),
        cmocka_unit_test(what_is_passed_in_is_copied),
        cmocka_unit_test(each_kind_has_its_twin),
        cmocka_unit_test(a_refused_start_does_not_call_back),
        cmocka_unit_test(a_blocking_call_moves_the_others_on),
        cmocka_unit_test(callbacks_start_calls),
        cmocka_unit_test(blocking_inside_a_callback_is_busy),
        cmocka_unit_test(a_callback_cancels_another_call),
        cmocka_unit_test(a_call_cancelled_before_it_begins_sends_nothing),
        cmocka_unit_test(cancel_from_another_thread_ends_one_call_of_many),
        cmocka_unit_test(a_handle_given_back_early_leaves_the_call),
        cmocka_unit_test(cancelling_the_client_ends_the_wait_and_no_call),
        cmocka_unit_test(each_call_has_its_own_deadline),
        cmocka_unit_test(freeing_the_client_ends_its_calls),
        cmocka_unit_test(giving_up_does_not_wait_for_the_resolver),
        cmocka_unit_test(a_loop_of_ones_own_drives_the_client),
        cmocka_unit_test(room_too_small_says_how_many_there_are),
        cmocka_unit_test(cancel_wakes_a_loop_of_ones_own),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
