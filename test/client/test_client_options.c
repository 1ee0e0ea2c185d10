/* What struct fal_options and the calls' options say, seen from the server. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct fal_options options_for(struct script *s) {
    struct fal_options o = FAL_OPTIONS_INIT;
    o.base_url = script_base(s);
    o.credentials = "kid:ksecret";
    o.retry_base_ms = 1;
    return o;
}

static fal_client *client_with(const struct fal_options *o) {
    fal_client *c = NULL;
    assert_int_equal(fal_client_new(o, &c), FAL_OK);
    return c;
}

static void expect_refused(const struct fal_options *o) {
    fal_client *c = (fal_client *)(uintptr_t)o;
    assert_int_equal(fal_client_new(o, &c), FAL_ERR_ARGUMENT);
    assert_null(c);
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        n++;
    }
    return n;
}

/* ---- Headers ---- */

static void the_callers_headers_go_out_once_each(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, IN_QUEUE);
    const char *all[] = {"X-Team: a", "X-Both: client", "Accept: text/plain"};
    const char *one[] = {"x-both: call", "X-Fal-Runner-Hint: lost", "X-Fal-No-Retry: 1"};
    struct fal_options o = options_for(s);
    struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
    o.headers = all;
    o.header_count = 3;
    o.user_agent = "mine/1";
    call.headers = one;
    call.header_count = 3;
    call.hint = "kept";
    fal_client *c = client_with(&o);
    all[0] = "X-Team: changed";
    assert_int_equal(fal_run(c, APP, NULL, &call, NULL), FAL_OK);
    assert_int_equal(fal_queue_status(c, APP, "r1", &call, NULL), FAL_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_true(script_has_header(s, i, "X-Team: a"));
        assert_true(script_has_header(s, i, "x-both: call"));
        assert_int_equal(count_of(script_request(s, i), "oth: "), 1);
        assert_true(script_has_header(s, i, "Accept: text/plain"));
        assert_true(script_has_header(s, i, "X-Fal-No-Retry: 1"));
        assert_true(script_has_header(s, i, "User-Agent: mine/1 libfal/0.1.0"));
        assert_true(script_has_header(s, i, "Authorization: Key kid:ksecret"));
    }
    assert_true(script_has_header(s, 0, "x-fal-runner-hint: kept"));
    assert_int_equal(count_of(script_request(s, 0), "unner-"), 1);
    fal_client_free(c);
    script_stop(s);
}

/* What libfal sends of itself gives way to the caller's own line. */
static void the_callers_headers_count_before_libfals_own(void **state) {
    (void)state;
    struct script *s = SCRIPT(SUBMITTED, SUBMITTED);
    const char *all[] = {"X-Fal-Queue-Priority: low"};
    const char *one[] = {"idempotency-key: mine"};
    struct fal_options o = options_for(s);
    struct fal_submit_options call = FAL_SUBMIT_OPTIONS_INIT;
    o.headers = all;
    o.header_count = 1;
    call.headers = one;
    call.header_count = 1;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_queue_submit(c, APP, NULL, &call, NULL), FAL_OK);
    call.priority = "normal";
    call.idempotency_key = "option";
    assert_int_equal(fal_queue_submit(c, APP, NULL, &call, NULL), FAL_OK);
    assert_true(script_has_header(s, 0, "X-Fal-Queue-Priority: low"));
    assert_true(script_has_header(s, 0, "idempotency-key: mine"));
    assert_true(script_has_header(s, 1, "X-Fal-Queue-Priority: normal"));
    assert_true(script_has_header(s, 1, "Idempotency-Key: option"));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(count_of(script_request(s, i), "riority: "), 1);
        assert_int_equal(count_of(script_request(s, i), "ey: "), 1);
    }
    fal_client_free(c);
    script_stop(s);
}

static void headers_that_are_none_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "no colon",
                                      ": value",
                                      "two words: x",
                                      "X: a\r\nY: b",
                                      "X: \x01",
                                      "Content-Length: 5",
                                      "transfer-encoding: chunked",
                                      NULL};
    struct script *s = SCRIPT(ANSWER);
    struct fal_options o = options_for(s);
    fal_client *c = client_with(&o);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
        call.headers = o.headers = &bad[i];
        call.header_count = o.header_count = 1;
        expect_refused(&o);
        assert_int_equal(fal_run(c, APP, NULL, &call, NULL), FAL_ERR_ARGUMENT);
    }
    o.headers = NULL;
    expect_refused(&o);
    assert_int_equal(script_count(s), 0);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Credentials ---- */

struct keys {
    const char *const *list;
    size_t asked;
};

static const char *next_key(void *user) {
    struct keys *k = user;
    return k->list[k->asked++];
}

static void the_key_is_asked_for_before_each_exchange(void **state) {
    (void)state;
    static const char *const list[] = {"first:1", "second:2", NULL, "", "bad\r\nX: y"};
    struct keys keys = {.list = list};
    struct script *s = SCRIPT({.status = 503, .headers = "Retry-After: 0\r\n"}, ANSWER, ANSWER,
                              ANSWER, ANSWER);
    struct fal_options o = options_for(s);
    o.credentials_fn = next_key;
    o.credentials_user = &keys;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_has_header(s, 0, "Authorization: Key first:1"));
    assert_true(script_has_header(s, 1, "Authorization: Key second:2"));
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    for (size_t i = 2; i < 4; i++) {
        assert_null(strstr(script_request(s, i), "Authorization"));
    }
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(keys.asked, 5);
    assert_int_equal(script_count(s), 4);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Addresses ---- */

static void each_surface_can_stand_alone(void **state) {
    (void)state;
    struct script *base = SCRIPT(ANSWER), *queue = SCRIPT(SUBMITTED, COMPLETED, ANSWER);
    char url[80];
    struct fal_options o = options_for(base);
    snprintf(url, sizeof(url), "%s/q/", script_base(queue));
    o.queue_url = url;
    fal_client *c = client_with(&o);
    assert_string_not_equal(fal_client_queue_url(c), url); /* without the slash */
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(fal_subscribe(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_asked(base, 0, "POST /run/" APP " HTTP/1.1"));
    assert_true(script_asked(queue, 0, "POST /q/" APP " HTTP/1.1"));
    assert_true(script_has_header(queue, 0, "Authorization: Key kid:ksecret"));
    assert_int_equal(script_count(queue), 3);
    fal_client_free(c);
    o.queue_url = "ftp://x";
    expect_refused(&o);
    script_stop(base);
    script_stop(queue);
}

static void surfaces_come_from_the_environment_when_no_base_is_named(void **state) {
    (void)state;
    struct fal_options o = FAL_OPTIONS_INIT;
    setenv("FAL_QUEUE_URL", "http://127.0.0.1:1/q", 1);
    fal_client *c = client_with(&o);
    assert_string_equal(fal_client_queue_url(c), "http://127.0.0.1:1/q");
    fal_client_free(c);
    o.base_url = "http://127.0.0.1:2";
    c = client_with(&o);
    assert_string_equal(fal_client_queue_url(c), "http://127.0.0.1:2/queue");
    fal_client_free(c);
    o.base_url = NULL;
    setenv("FAL_BASE_URL", "http://127.0.0.1:3", 1);
    c = client_with(&o);
    assert_string_equal(fal_client_queue_url(c), "http://127.0.0.1:3/queue");
    fal_client_free(c);
    unsetenv("FAL_BASE_URL");
    unsetenv("FAL_QUEUE_URL");
}

static void a_proxy_of_ones_own_gets_the_target_and_not_the_key(void **state) {
    (void)state;
    struct script *base = SCRIPT(ANSWER), *proxy = SCRIPT(ANSWER, IN_QUEUE);
    char url[80], target[160];
    const char *lines[] = {"X-Session: s1"};
    struct fal_options o = options_for(base);
    snprintf(url, sizeof(url), "%s/api/fal/proxy", script_base(proxy));
    o.proxy_url = url;
    o.headers = lines;
    o.header_count = 1;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_run(c, APP, "{\"prompt\":\"p\"}", NULL, NULL), FAL_OK);
    assert_int_equal(fal_queue_status(c, APP, "r1", NULL, NULL), FAL_OK);
    assert_true(script_asked(proxy, 0, "POST /api/fal/proxy HTTP/1.1"));
    assert_true(script_asked(proxy, 1, "GET /api/fal/proxy HTTP/1.1"));
    snprintf(target, sizeof(target), "x-fal-target-url: %s/run/" APP, script_base(base));
    assert_true(script_has_header(proxy, 0, target));
    snprintf(target, sizeof(target), "x-fal-target-url: %s/queue/" APP "/requests/r1/status?logs=0",
             script_base(base));
    assert_true(script_has_header(proxy, 1, target));
    assert_true(script_has_header(proxy, 0, "X-Session: s1"));
    assert_null(strstr(script_request(proxy, 0), "ksecret"));
    assert_int_equal(script_count(base), 0);
    fal_client_free(c);
    o.proxy_url = "nonsense";
    expect_refused(&o);
    script_stop(base);
    script_stop(proxy);
}

/* An address that a server gave must not bring lines of its own into what goes to the proxy. */
static void a_target_with_line_ends_is_not_followed(void **state) {
    (void)state;
    struct script *base = SCRIPT(ANSWER), *proxy = SCRIPT(IN_QUEUE, IN_QUEUE);
    char url[160], target[160];
    struct fal_options o = options_for(base);
    struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
    o.proxy_url = script_base(proxy);
    fal_client *c = client_with(&o);
    snprintf(target, sizeof(target), "x-fal-target-url: %s/queue/" APP "/requests/r1/status?logs=0",
             script_base(base));
    static const char *const tails[] = {"x\r\nX-Evil: 1", "two words"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(url, sizeof(url), "%s/queue/%s", script_base(base), tails[i]);
        call.url = url;
        assert_int_equal(fal_queue_status(c, APP, "r1", &call, NULL), FAL_OK);
        assert_true(script_has_header(proxy, i, target));
        assert_null(strstr(script_request(proxy, i), "Evil"));
    }
    fal_client_free(c);
    script_stop(base);
    script_stop(proxy);
}

static void a_unix_socket_stands_for_the_base_alone(void **state) {
    (void)state;
    char folder[] = "/tmp/libfal-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    const struct script_step steps[] = {ANSWER};
    struct script *near = script_start_unix(path, steps, 1), *far = SCRIPT(SUBMITTED);
    struct fal_options o = FAL_OPTIONS_INIT;
    o.base_url = "http://base.invalid";
    o.unix_socket = path;
    o.queue_url = script_base(far);
    fal_client *c = client_with(&o);
    assert_int_equal(fal_run(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_int_equal(fal_queue_submit(c, APP, NULL, NULL, NULL), FAL_OK);
    assert_true(script_asked(near, 0, "POST /run/" APP " HTTP/1.1"));
    assert_true(script_has_header(near, 0, "Host: base.invalid"));
    assert_true(script_asked(far, 0, "POST /" APP " HTTP/1.1"));
    fal_client_free(c);
    o.unix_socket = "";
    expect_refused(&o);
    script_stop(near);
    script_stop(far);
    unlink(path);
    rmdir(folder);
}

/* ---- Retries, times, connections ---- */

static void a_list_of_ones_own_says_which_statuses_are_tried_again(void **state) {
    (void)state;
    int mine[] = {500};
    struct script *s = SCRIPT({.status = 500}, {.status = 500}, ANSWER, {.status = 503}, ANSWER);
    struct fal_options o = options_for(s);
    o.retry_statuses = mine;
    o.retry_status_count = 1;
    o.retry_factor = 1.0;
    o.no_retry_jitter = true;
    fal_client *c = client_with(&o);
    mine[0] = 0;
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_OK);
    assert_int_equal(script_count(s), 3);
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_ERR_HTTP);
    assert_int_equal(script_count(s), 4);
    fal_client_free(c);
    script_stop(s);
}

static void no_retries_means_none(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 503}, ANSWER);
    struct fal_options o = options_for(s);
    o.max_retries = -1;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_queue_result(c, APP, "r1", NULL, NULL), FAL_ERR_HTTP);
    assert_int_equal(script_count(s), 1);
    fal_client_free(c);
    script_stop(s);
}

static void the_clients_time_is_that_of_calls_that_name_none(void **state) {
    (void)state;
    struct script *s = SCRIPT({.hang = true});
    struct fal_options o = options_for(s);
    fal_result *r = NULL;
    o.timeout_ms = 40;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_run(c, APP, NULL, NULL, &r), FAL_ERR_TIMEOUT);
    assert_string_equal(fal_result_error(r)->message, "timed out after 40 ms");
    fal_result_free(r);
    fal_client_free(c);
    script_stop(s);
}

static void values_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const int statuses[] = {500};
    for (int i = 0; i < 8; i++) {
        struct fal_options o = FAL_OPTIONS_INIT;
        o.retry_factor = i == 0 ? 0.5 : i == 1 ? -1.0 : 0.0;
        o.retry_max_ms = i == 2 ? -1 : 0;
        o.timeout_ms = i == 3 ? -1 : 0;
        o.max_connections = i == 4 ? -1 : 0;
        o.retry_status_count = i == 5 ? 1 : 0;
        o.connect_timeout_ms = i == 6 ? -1 : 0;
        o.retry_base_ms = i == 7 ? -1 : 0;
        expect_refused(&o);
    }
    struct fal_options o = FAL_OPTIONS_INIT;
    o.retry_statuses = statuses; /* an empty list: nothing is tried again */
    fal_client_free(client_with(&o));
}

static void note_nothing(enum fal_code code, fal_result *result, void *user) {
    *(int *)user += code == FAL_OK;
    fal_result_free(result);
}

static void no_more_connections_are_kept_than_asked_for(void **state) {
    (void)state;
    struct script_step steps[8];
    for (size_t i = 0; i < 8; i++) { /* four at once, twice */
        steps[i] = (struct script_step)ANSWER;
        steps[i].hold = i < 4 ? 4 : 8;
    }
    struct script *s = script_start(steps, 8);
    struct fal_options o = options_for(s);
    int ok = 0;
    o.max_connections = 1;
    fal_client *c = client_with(&o);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            assert_int_equal(
                fal_run_start(c, APP, NULL, NULL, (struct fal_done){note_nothing, &ok}, NULL),
                FAL_OK);
        }
        while (fal_client_pending(c) > 0) {
            assert_int_equal(fal_client_wait(c, -1), FAL_OK);
        }
    }
    assert_int_equal(ok, 8);
    assert_int_equal(script_connections(s), 7);
    fal_client_free(c);
    script_stop(s);
}

/* ---- The options of an older header ---- */

static void structs_of_an_older_header_still_work(void **state) {
    (void)state;
    struct script *s = SCRIPT(ANSWER, SUBMITTED, COMPLETED, ANSWER, SUBMITTED);
    struct fal_options o = options_for(s);
    struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
    struct fal_submit_options submit = FAL_SUBMIT_OPTIONS_INIT;
    struct fal_subscribe_options subscribe = FAL_SUBSCRIBE_OPTIONS_INIT;
    /* as they were in the first release; what follows is not theirs */
    o.size = offsetof(struct fal_options, credentials_fn);
    o.proxy_url = "nonsense";
    o.max_connections = -1;
    call.size = offsetof(struct fal_call_options, headers);
    call.header_count = 7;
    submit.size = offsetof(struct fal_submit_options, headers);
    submit.header_count = 7;
    subscribe.size = offsetof(struct fal_subscribe_options, headers);
    subscribe.header_count = 7;
    subscribe.streaming = true;
    fal_client *c = client_with(&o);
    assert_int_equal(fal_run(c, APP, NULL, &call, NULL), FAL_OK);
    assert_int_equal(fal_subscribe(c, APP, NULL, &subscribe, NULL), FAL_OK);
    assert_int_equal(fal_queue_submit(c, APP, NULL, &submit, NULL), FAL_OK);
    assert_int_equal(script_count(s), 5);
    fal_client_free(c);
    script_stop(s);
}

/* ---- Limits ---- */

/* "http://aaa…", `len` bytes. */
static char *long_text(const char *start, size_t len) {
    char *text = malloc(len + 1);
    assert_non_null(text);
    memset(text, 'a', len);
    memcpy(text, start, strlen(start));
    text[len] = '\0';
    return text;
}

static enum fal_code submit_with(fal_client *c, struct fal_submit_options o) {
    return fal_queue_submit(c, APP, NULL, &o, NULL);
}

/* Nobody answers: what is not refused cannot connect. */
static void limits_are_those_of_the_header(void **state) {
    (void)state;
    struct fal_options o = FAL_OPTIONS_INIT;
    struct fal_submit_options submit = FAL_SUBMIT_OPTIONS_INIT;
    struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
    o.base_url = "http://127.0.0.1:1";
    o.max_retries = -1;
    fal_client *c = client_with(&o);
    for (size_t over = 0; over < 2; over++) {
        enum fal_code expected = over ? FAL_ERR_ARGUMENT : FAL_ERR_CONNECT;
        char *endpoint = long_text("owner/", 511 + over), *id = long_text("i", 255 + over);
        char *url = long_text("http://", 2047 + over), *line = long_text("X-Long: ", 32767 + over);
        char *input = long_text("{\"prompt\":\"", ((size_t)64 << 20) + over);
        memcpy(input + strlen(input) - 2, "\"}", 2);
        call.headers = (const char *const *)&line;
        call.header_count = 1;
        assert_int_equal(fal_run(c, endpoint, NULL, NULL, NULL), expected);
        assert_int_equal(fal_run(c, APP, input, NULL, NULL), expected);
        assert_int_equal(fal_run(c, APP, NULL, &call, NULL), expected);
        assert_int_equal(fal_queue_status(c, APP, id, NULL, NULL), expected);
        submit.webhook_url = url;
        assert_int_equal(submit_with(c, submit), expected);
        submit.webhook_url = NULL;
        submit.hint = url;
        assert_int_equal(submit_with(c, submit), expected);
        submit.hint = NULL;
        free(endpoint);
        free(id);
        free(url);
        free(line);
        free(input);
    }
    fal_client_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_headers_go_out_once_each),
        cmocka_unit_test(the_callers_headers_count_before_libfals_own),
        cmocka_unit_test(headers_that_are_none_are_refused),
        cmocka_unit_test(the_key_is_asked_for_before_each_exchange),
        cmocka_unit_test(each_surface_can_stand_alone),
        cmocka_unit_test(surfaces_come_from_the_environment_when_no_base_is_named),
        cmocka_unit_test(a_proxy_of_ones_own_gets_the_target_and_not_the_key),
        cmocka_unit_test(a_target_with_line_ends_is_not_followed),
        cmocka_unit_test(a_unix_socket_stands_for_the_base_alone),
        cmocka_unit_test(a_list_of_ones_own_says_which_statuses_are_tried_again),
        cmocka_unit_test(no_retries_means_none),
        cmocka_unit_test(the_clients_time_is_that_of_calls_that_name_none),
        cmocka_unit_test(values_that_make_no_sense_are_refused),
        cmocka_unit_test(no_more_connections_are_kept_than_asked_for),
        cmocka_unit_test(structs_of_an_older_header_still_work),
        cmocka_unit_test(limits_are_those_of_the_header),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
