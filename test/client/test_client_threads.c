/* What fal.h says of threads, built with -fsanitize=thread: cancelling from another one, and clients side by side. */
#include "client/rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define CALLS 100

static struct script *many_answers(void) {
    static struct script_step steps[4 * CALLS];
    for (size_t i = 0; i < 4 * CALLS; i++) {
        steps[i] = (struct script_step)ANSWER;
    }
    return script_start(steps, 4 * CALLS);
}

/* ---- One cancels what the other runs ---- */

struct shared {
    fal_client *client;
    _Atomic(fal_call *) call;
    atomic_bool over;
    atomic_int ended;
};

static void *cancel_all_the_time(void *user) {
    struct shared *s = user;
    while (!atomic_load(&s->over)) {
        fal_client_cancel(s->client);
        usleep(300);
    }
    return NULL;
}

static void *cancel_the_call(void *user) {
    struct shared *s = user;
    while (!atomic_load(&s->over)) {
        fal_call *call = atomic_exchange(&s->call, NULL);
        if (call != NULL) {
            fal_call_cancel(call);
            fal_call_cancel(call);
            fal_call_free(call);
        }
    }
    return NULL;
}

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct shared *s = user;
    assert_true(code == FAL_OK || code == FAL_ERR_CANCELLED);
    fal_result_free(result);
    atomic_fetch_add(&s->ended, 1);
}

static void a_client_is_cancelled_from_another_thread(void **state) {
    (void)state;
    struct script *server = many_answers();
    struct shared s = {.client = client_for(server)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_all_the_time, &s), 0);
    for (int i = 0; i < CALLS; i++) {
        enum fal_code code = fal_run(s.client, APP, NULL, NULL, NULL);
        assert_true(code == FAL_OK || code == FAL_ERR_CANCELLED);
    }
    atomic_store(&s.over, true);
    pthread_join(thread, NULL);
    fal_client_free(s.client);
    script_stop(server);
}

static void calls_are_cancelled_from_another_thread(void **state) {
    (void)state;
    struct script *server = many_answers();
    struct shared s = {.client = client_for(server)};
    struct fal_done done = {note_end, &s};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_the_call, &s), 0);
    for (int i = 0; i < CALLS; i++) {
        fal_call *call = NULL;
        assert_int_equal(fal_run_start(s.client, APP, NULL, NULL, done, &call), FAL_OK);
        fal_call_free(atomic_exchange(&s.call, call)); /* the one before, if nobody wanted it */
        while (fal_client_pending(s.client) > 0) {
            assert_int_equal(fal_client_wait(s.client, -1), FAL_OK);
        }
    }
    atomic_store(&s.over, true);
    pthread_join(thread, NULL);
    fal_call_free(atomic_load(&s.call));
    assert_int_equal(atomic_load(&s.ended), CALLS);
    fal_client_free(s.client); /* handles and cancellations may come after it */
    script_stop(server);
}

/* ---- Each with a client of its own ---- */

static void *run_on_its_own(void *user) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = user;
    intptr_t failed = fal_client_new(&o, &c) != FAL_OK;
    for (int i = 0; i < CALLS && failed == 0; i++) {
        failed += fal_run(c, APP, NULL, NULL, NULL) != FAL_OK;
    }
    fal_client_free(c);
    return (void *)failed;
}

static void two_clients_run_in_two_threads(void **state) {
    (void)state;
    struct script *server = many_answers();
    pthread_t threads[2];
    char base[80];
    snprintf(base, sizeof(base), "%s", script_base(server));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_on_its_own, base), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    script_stop(server);
}

/* A handle that outlives its client is not of it. */
static void *cancel_late(void *user) {
    fal_call_cancel(user);
    fal_call_free(user);
    return NULL;
}

static void a_handle_is_cancelled_while_its_client_goes(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct script *server = SCRIPT({.hang = true});
        struct shared s = {.client = client_for(server)};
        fal_call *call = NULL;
        pthread_t thread;
        assert_int_equal(
            fal_run_start(s.client, APP, NULL, NULL, (struct fal_done){note_end, &s}, &call),
            FAL_OK);
        assert_int_equal(fal_client_wait(s.client, 0), FAL_OK);
        assert_int_equal(pthread_create(&thread, NULL, cancel_late, call), 0);
        fal_client_free(s.client);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&s.ended), 1);
        script_stop(server);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_cancelled_from_another_thread),
        cmocka_unit_test(calls_are_cancelled_from_another_thread),
        cmocka_unit_test(two_clients_run_in_two_threads),
        cmocka_unit_test(a_handle_is_cancelled_while_its_client_goes),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
