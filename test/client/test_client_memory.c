/* Every allocation of libfal and of the libcurl inside its calls fails in turn: the call ends with
 * FAL_ERR_MEMORY, or works all the same, nothing leaks (under ASan) and the next call works. */
#include "client/script.h"
#include "fal.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Counts down on the thread under test; the one that reaches 0 fails. Negative: none fails. */
static _Thread_local long countdown = -1;

static bool fails(void) {
    return countdown >= 0 && countdown-- == 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes) {
    return fails() ? NULL : __real_realloc(old, bytes);
}

static char *curl_strdup(const char *s) {
    size_t len = strlen(s) + 1;
    char *copy = __wrap_malloc(len);
    return copy != NULL ? memcpy(copy, s, len) : NULL;
}

#define BODY \
    "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"status_url\":\"$BASE/queue/a/b/requests/r1/status\"}"
#define STEPS                                                                                      \
    {.status = 200, .body = BODY},                                                                 \
        {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"m\"}]}"},    \
        {.status = 200,                                                                            \
         .body = "{\"status\":\"COMPLETED\",\"logs\":[{\"message\":\"m\"},{\"message\":\"n\"}]}"}, \
        {.status = 422,                                                                            \
         .body = "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"no\",\"type\":\"t\"}]}"},  \
        {.status = 202}

static enum fal_code subscribe_once(const char *base, fal_result **r) {
    struct fal_options o = FAL_OPTIONS_INIT;
    struct fal_subscribe_options s = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = base;
    o.credentials = "kid:ksecret";
    o.user_agent = "test/1";
    o.max_retries = -1;
    s.logs = true;
    s.hint = "h";
    s.poll_interval_ms = 1;
    enum fal_code code = fal_client_new(&o, &c);
    if (code == FAL_OK) {
        code = fal_subscribe(c, "a/b", "{\"prompt\":\"p\"}", &s, r);
        fal_queue_cancel(c, "a/b", "r1", NULL, NULL);
    }
    fal_client_free(c);
    return code;
}

static bool acceptable(enum fal_code code, const fal_result *r) {
    switch (code) {
    case FAL_ERR_MEMORY: return true;
    case FAL_ERR_HTTP:
        return fal_result_http_status(r) == 422; /* the allocation could be done without */
    case FAL_ERR_CONNECT:
    case FAL_ERR_TRANSPORT:
    case FAL_ERR_PROTOCOL: return true; /* libcurl names some of its own failures so */
    default: return false;
    }
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    bool reached_the_end = false;
    long n;
    for (n = 0; n < 5000 && !reached_the_end; n++) {
        struct script *s = SCRIPT(STEPS);
        fal_result *r = NULL;
        countdown = n;
        enum fal_code code = subscribe_once(script_base(s), &r);
        reached_the_end = countdown >= 0;
        countdown = -1;
        if (!acceptable(code, r)) {
            fail_msg("allocation %ld: code %d", n, (int)code);
        }
        if (reached_the_end) {
            assert_int_equal(code, FAL_ERR_HTTP);
            assert_string_equal(fal_result_error(r)->message, "body.prompt: no");
        }
        fal_result_free(r);
        script_stop(s);
    }
    assert_true(reached_the_end);
    print_message("%ld allocations failed in turn\n", n - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_may_fail)};
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free, __wrap_realloc, curl_strdup,
                             __wrap_calloc) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
