/* The parts of libfal that decide, build and read: no sockets. */
#include "base/loopback.h"
#include "client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- Addresses ---- */

static void base_puts_the_surfaces_under_one_address(void **state) {
    (void)state;
    struct client_base b;
    assert_int_equal(client_base_set(&b, "http://127.0.0.1:8787/"), FAL_OK);
    assert_string_equal(b.run, "http://127.0.0.1:8787/run");
    assert_string_equal(b.queue, "http://127.0.0.1:8787/queue");
    assert_false(b.fal);
    assert_string_equal(b.rest, "http://127.0.0.1:8787/rest");
    assert_string_equal(b.cdn, "http://127.0.0.1:8787/cdn");
    client_base_free(&b);
    assert_int_equal(client_base_set(&b, "https://llm.example.org/prefix"), FAL_OK);
    assert_string_equal(b.queue, "https://llm.example.org/prefix/queue");
    client_base_free(&b);
}

static void a_surface_of_its_own_takes_the_others_place(void **state) {
    (void)state;
    struct client_base b;
    assert_int_equal(client_base_set(&b, FAL_BASE_FAL), FAL_OK);
    assert_int_equal(client_base_put(&b, CLIENT_AT_CDN, "http://files.example:81/up/"), FAL_OK);
    assert_string_equal(b.cdn, "http://files.example:81/up");
    assert_true(b.fal);
    assert_true(client_base_trusts(&b, "http://FILES.example:81/elsewhere"));
    assert_false(client_base_trusts(&b, "http://files.example/up"));
    assert_true(client_base_trusts(&b, "https://rest.fal.ai/x"));
    assert_int_equal(client_base_put(&b, CLIENT_AT_RUN, "ftp://x"), FAL_ERR_ARGUMENT);
    assert_string_equal(b.run, "https://fal.run");
    assert_int_equal(client_base_put(&b, CLIENT_AT_QUEUE, "http://127.0.0.1:1/q"), FAL_OK);
    assert_false(b.fal);
    assert_false(client_base_trusts(&b, "https://queue.fal.run/x"));
    assert_true(client_base_trusts(&b, "https://fal.run/x"));
    client_base_free(&b);
}

static void a_socket_stands_for_the_base_alone(void **state) {
    (void)state;
    struct client_base b;
    assert_int_equal(client_base_set(&b, "http://localhost/prefix"), FAL_OK);
    assert_int_equal(client_base_put(&b, CLIENT_AT_CDN, "http://files.example"), FAL_OK);
    assert_true(client_base_is_home(&b, "http://localhost:80/prefix/run/a/b"));
    assert_true(client_base_is_home(&b, "http://LOCALHOST/x"));
    assert_false(client_base_is_home(&b, "http://files.example/x"));
    assert_false(client_base_is_home(&b, "https://localhost/x"));
    assert_false(client_base_is_home(&b, "http://localhost:81/x"));
    assert_false(client_base_is_home(&b, "http://user@localhost/x"));
    client_base_free(&b);
}

static void loopback_is_known_by_its_text(void **state) {
    (void)state;
    static const char *const near[] = {"http://127.0.0.1:80/x",
                                       "http://LOCALHOST",
                                       "http://[::1]:9/",
                                       "https://127.9.9.9/",
                                       "http://localhost:1#x",
                                       "http://[0:0:0:0:0:0:0:1]",
                                       "127.0.0.1?x"};
    static const char *const far[] = {"http://localhost.example/",
                                      "http://12.7.0.1/",
                                      "http://example/127.0.0.1",
                                      "http://[::2]/",
                                      "http://127.evil.example/",
                                      "http://127.0.0.1.evil.example/",
                                      "http://127.0.0.256/",
                                      "http://localhost:x@evil.example/",
                                      "http://[::1]@evil.example/",
                                      "http://[::1].evil.example/",
                                      "http://[::1",
                                      "http://",
                                      ""};
    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        if (!loopback_is_url(slice_of(near[i]))) {
            fail_msg("%s is far", near[i]);
        }
    }
    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        if (loopback_is_url(slice_of(far[i]))) {
            fail_msg("%s is near", far[i]);
        }
    }
}

static void base_fal_means_fals_own_hosts(void **state) {
    (void)state;
    struct client_base b;
    assert_int_equal(client_base_set(&b, FAL_BASE_FAL), FAL_OK);
    assert_string_equal(b.run, "https://fal.run");
    assert_string_equal(b.queue, "https://queue.fal.run");
    assert_string_equal(b.rest, "https://rest.fal.ai");
    assert_string_equal(b.cdn, "https://v3.fal.media");
    assert_true(b.fal);
    client_base_free(&b);
}

/* Which decides what is tried again; where the key may go besides is another question. */
static void fals_hosts_are_fals_by_whatever_way(void **state) {
    (void)state;
    static const struct {
        const char *queue;
        bool fal;
    } rows[] = {{"http://queue.fal.run", true},
                {"https://queue.fal.run:8443/x", true},
                {"http://QUEUE.fal.run.", true},
                {"http://fal.run:80", true},
                {"http://queue.fal.run.evil.example", false},
                {"http://evilqueue.fal.run", false},
                {"http://fal.run..", false},
                {"http://127.0.0.1", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client_base b;
        assert_int_equal(client_base_set(&b, "http://127.0.0.1:1"), FAL_OK);
        assert_int_equal(client_base_put(&b, CLIENT_AT_QUEUE, rows[i].queue), FAL_OK);
        if (b.fal != rows[i].fal) {
            fail_msg("%s", rows[i].queue);
        }
        assert_false(client_base_trusts(&b, "https://rest.fal.ai/x"));
        client_base_free(&b);
    }
}

static void base_refuses_what_is_no_address(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "ftp://127.0.0.1/",
                                      "file:///etc/passwd",
                                      "http://",
                                      "http://user:secret@127.0.0.1/",
                                      "http://127.0.0.1/?a=b",
                                      "http://127.0.0.1/#x",
                                      "http://127.0.0.1:99999/",
                                      "http://a b/",
                                      "http://127.0.0.1/?",
                                      "http://127.0.0.1/\r\nX: y"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client_base b;
        assert_int_equal(client_base_set(&b, bad[i]), FAL_ERR_ARGUMENT);
    }
}

static bool trusts(const char *base, const char *url) {
    struct client_base b;
    assert_int_equal(client_base_set(&b, base), FAL_OK);
    bool answer = client_base_trusts(&b, url);
    client_base_free(&b);
    return answer;
}

static void credentials_stay_at_their_origin(void **state) {
    (void)state;
    const char *base = "http://127.0.0.1:8787";
    assert_true(trusts(base, "http://127.0.0.1:8787/queue/a/b/requests/1/status"));
    assert_true(trusts(base, "HTTP://127.0.0.1:8787/else"));
    assert_false(trusts(base, "http://127.0.0.1:8788/queue/a/b/requests/1"));
    assert_false(trusts(base, "https://127.0.0.1:8787/queue/a/b/requests/1"));
    assert_false(trusts(base, "http://localhost:8787/queue/a/b/requests/1"));
    assert_false(trusts(base, "http://127.0.0.1:8787@evil.example/queue"));
    assert_false(trusts(base, "http://me@127.0.0.1:8787/queue"));
    assert_false(trusts(base, "//127.0.0.1:8787/queue"));
    assert_false(trusts(base, "/queue"));
    assert_false(trusts(base, ""));
    assert_true(trusts("https://LLM.example.org", "https://llm.example.org:443/queue"));
    assert_false(trusts("https://llm.example.org", "https://llm.example.org.evil.example/queue"));
}

static void fals_credentials_stay_at_fals_hosts(void **state) {
    (void)state;
    assert_true(trusts(FAL_BASE_FAL, "https://queue.fal.run/fal-ai/any-llm/requests/1/status"));
    assert_true(trusts(FAL_BASE_FAL, "https://fal.run/x"));
    assert_true(trusts(FAL_BASE_FAL, "https://Queue.Fal.Run/x"));
    assert_false(trusts(FAL_BASE_FAL, "http://queue.fal.run/x"));
    assert_false(trusts(FAL_BASE_FAL, "https://queue.fal.run:8443/x"));
    assert_false(trusts(FAL_BASE_FAL, "https://queue.fal.run.evil.example/x"));
    assert_false(trusts(FAL_BASE_FAL, "https://evilfal.run/x"));
    assert_false(trusts(FAL_BASE_FAL, "https://fal.run@evil.example/x"));
    assert_false(trusts("http://127.0.0.1:8787", "https://queue.fal.run/x"));
}

static void expect_endpoint(const char *id, const char *full, const char *app) {
    struct client_endpoint ep;
    assert_true(client_endpoint_parse(id, &ep));
    assert_string_equal(ep.id, full);
    assert_int_equal(ep.app_bytes, strlen(app));
    assert_memory_equal(ep.id, app, ep.app_bytes);
}

static void endpoint_ids_are_read_as_fals_clients_read_them(void **state) {
    (void)state;
    expect_endpoint("fal-ai/any-llm", "fal-ai/any-llm", "fal-ai/any-llm");
    expect_endpoint("/fal-ai/any-llm/", "fal-ai/any-llm", "fal-ai/any-llm");
    expect_endpoint("fal-ai/any-llm/vision", "fal-ai/any-llm/vision", "fal-ai/any-llm");
    expect_endpoint("openrouter/router/openai/v1/chat/completions",
                    "openrouter/router/openai/v1/chat/completions", "openrouter/router");
    expect_endpoint("workflows/me/flow/x", "workflows/me/flow/x", "workflows/me/flow");
    expect_endpoint("comfy/me/flow", "comfy/me/flow", "comfy/me/flow");
    expect_endpoint("110602490-any-llm", "110602490/any-llm", "110602490/any-llm");
}

static void endpoint_ids_that_are_none_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",       "/",           "any-llm",      "a//b",
                                      "a/../b", "a/./b",       "a/b?c=d",      "a/b#c",
                                      "a/b c",  "a/b\r\nX: y", "workflows/a",  "a/%2e%2e",
                                      "123-",   "a/\xc3\xa9",  "https://a/b/c"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client_endpoint ep;
        if (client_endpoint_parse(bad[i], &ep)) {
            fail_msg("%s was taken", bad[i]);
        }
    }
}

static void request_ids_cannot_leave_their_place_in_the_address(void **state) {
    (void)state;
    struct client_base b;
    struct client_endpoint ep;
    struct buf out;
    buf_init(&out, CLIENT_URL_BYTES);
    assert_int_equal(client_base_set(&b, "http://h"), FAL_OK);
    assert_true(client_endpoint_parse("a/b/c", &ep));
    assert_true(client_url_request(&out, &b, &ep, "../x?y#z/\r\n\xc3\xa9-_.~", "/status"));
    assert_true(slice_is(buf_slice(&out),
                         "http://h/queue/a/b/requests/..%2Fx%3Fy%23z%2F%0D%0A%C3%A9-_.~/status"));
    buf_free(&out);
    client_base_free(&b);
}

/* ---- Retries ---- */

static bool retried(enum client_method method, int status, bool keyed, bool fal) {
    return client_retry_wanted(&(struct client_attempt){
        .method = method, .code = FAL_OK, .http_status = status, .keyed = keyed, .fal = fal});
}

static void reading_is_retried_on_passing_errors_only(void **state) {
    (void)state;
    static const int passing[] = {408, 409, 429, 502, 503, 504};
    static const int lasting[] = {200, 202, 301, 400, 401, 403, 404, 422, 499, 500, 501};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        assert_true(retried(CLIENT_GET, passing[i], false, true));
        assert_true(retried(CLIENT_PUT, passing[i], false, false));
    }
    for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
        assert_false(retried(CLIENT_GET, lasting[i], true, false));
        assert_false(retried(CLIENT_POST, lasting[i], true, false));
    }
}

static void post_of_unknown_fate_goes_again_only_with_a_key_and_not_to_fal(void **state) {
    (void)state;
    struct client_attempt broken = {
        .method = CLIENT_POST, .code = FAL_ERR_TRANSPORT, .may_pass = true};
    for (int keyed = 0; keyed < 2; keyed++) {
        for (int fal = 0; fal < 2; fal++) {
            bool wanted = keyed == 1 && fal == 0;
            broken.keyed = keyed == 1;
            broken.fal = fal == 1;
            assert_int_equal(client_retry_wanted(&broken), wanted);
            assert_int_equal(retried(CLIENT_POST, 502, keyed == 1, fal == 1), wanted);
            assert_int_equal(retried(CLIENT_POST, 504, keyed == 1, fal == 1), wanted);
            assert_true(retried(CLIENT_POST, 429, keyed == 1, fal == 1));
            assert_true(retried(CLIENT_POST, 503, keyed == 1, fal == 1));
        }
    }
    broken = (struct client_attempt){.method = CLIENT_POST,
                                     .code = FAL_ERR_CONNECT,
                                     .may_pass = true,
                                     .not_sent = true,
                                     .fal = true};
    assert_true(client_retry_wanted(&broken));
}

static void a_start_timeout_and_a_final_error_are_never_retried(void **state) {
    (void)state;
    struct client_attempt a = {
        .method = CLIENT_GET, .code = FAL_OK, .http_status = 504, .start_timeout = true};
    assert_false(client_retry_wanted(&a));
    a = (struct client_attempt){
        .method = CLIENT_GET, .code = FAL_OK, .http_status = 503, .marked_final = true};
    assert_false(client_retry_wanted(&a));
    a = (struct client_attempt){
        .method = CLIENT_GET, .code = FAL_ERR_CONNECT, .not_sent = true}; /* certificate */
    assert_false(client_retry_wanted(&a));
}

static void a_list_of_the_callers_says_what_passes(void **state) {
    (void)state;
    static const int mine[] = {500, 503, 504};
    struct client_attempt a = {
        .method = CLIENT_GET, .http_status = 500, .statuses = mine, .status_count = 3};
    assert_true(client_retry_wanted(&a));
    a.http_status = 429;
    assert_false(client_retry_wanted(&a));
    a.http_status = 504;
    a.start_timeout = true;
    assert_false(client_retry_wanted(&a));
    a = (struct client_attempt){
        .method = CLIENT_POST, .http_status = 503, .statuses = mine, .status_count = 3};
    assert_true(client_retry_wanted(&a));
    a.http_status = 500; /* its fate is unknown */
    assert_false(client_retry_wanted(&a));
    a.keyed = true;
    assert_true(client_retry_wanted(&a));
    a.status_count = 0;
    assert_false(client_retry_wanted(&a));
}

static void pauses_grow_up_to_a_cap_and_vary_by_a_quarter(void **state) {
    (void)state;
    struct client_pauses p = {.base_ms = 400, .max_ms = CLIENT_RETRY_CAP_MS, .factor = 2.0};
    for (int i = 0; i < 1000; i++) {
        int64_t first = client_retry_pause_ms(&random_system, &p, 0);
        int64_t third = client_retry_pause_ms(&random_system, &p, 2);
        int64_t late = client_retry_pause_ms(&random_system, &p, 4000000000U);
        assert_in_range(first, 300, 500);
        assert_in_range(third, 1200, 2000);
        assert_in_range(late, CLIENT_RETRY_CAP_MS * 3 / 4, CLIENT_RETRY_CAP_MS * 5 / 4);
    }
    p = (struct client_pauses){.base_ms = 400, .max_ms = 1000, .factor = 1.5, .no_jitter = true};
    assert_int_equal(client_retry_pause_ms(&random_system, &p, 0), 400);
    assert_int_equal(client_retry_pause_ms(&random_system, &p, 1), 600);
    assert_int_equal(client_retry_pause_ms(&random_system, &p, 9), 1000);
    p.factor = 1.0;
    assert_int_equal(client_retry_pause_ms(&random_system, &p, 4000000000U), 400);
}

static void retry_after_is_seconds_or_a_date(void **state) {
    (void)state;
    assert_true(client_retry_after_s("0", 0) == 0.0);
    assert_true(client_retry_after_s("120", 0) == 120.0);
    assert_true(client_retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", 784111770) == 7.0);
    assert_true(client_retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", 784111800) == 0.0);
    assert_true(client_retry_after_s("soon", 0) < 0.0);
    assert_true(client_retry_after_s("-1", 0) < 0.0);
    assert_true(client_retry_after_s("", 0) < 0.0);
}

/* ---- Errors ---- */

static fal_result *read_error(const char *body, const char *header_type) {
    struct client_reply reply = {
        .code = FAL_OK, .http_status = 422, .is_json = true, .retry_after_s = -1.0};
    fal_result *r = client_result_new();
    assert_non_null(r);
    buf_init(&reply.body, FAL_MAX_REPLY_BYTES);
    assert_true(buf_puts(&reply.body, body));
    strncpy(reply.error_type, header_type, sizeof(reply.error_type) - 1);
    assert_int_equal(client_result_take(r, &reply), FAL_OK);
    client_error_read(r, &reply);
    buf_free(&reply.body);
    return r;
}

static void expect_error(const char *body, const char *message, const char *type) {
    fal_result *r = read_error(body, "from_header");
    assert_string_equal(fal_result_error(r)->message, message);
    assert_string_equal(fal_result_error(r)->error_type, type);
    fal_result_free(r);
}

static void error_text_is_taken_in_the_order_of_the_wire(void **state) {
    (void)state;
    expect_error("{\"message\":\"m\",\"error\":{\"message\":\"e\"},\"detail\":\"d\"}", "d",
                 "from_header");
    expect_error(
        "{\"message\":\"m\",\"error\":{\"message\":\"e\"},"
        "\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"field required\",\"type\":\"missing\"}]}",
        "body.prompt: field required", "missing");
    expect_error(
        "{\"detail\":[{\"loc\":[\"body\",\"messages\",0],\"msg\":\"bad\",\"type\":\"t\"},{\"msg\":\"2\"}]}",
        "body.messages.0: bad", "t");
    expect_error("{\"detail\":[{\"msg\":\"no place\"}]}", "no place", "from_header");
    expect_error("{\"message\":\"m\",\"error\":{\"message\":\"e\",\"type\":\"et\"}}", "e", "et");
    expect_error("{\"message\":\"m\",\"error\":\"e\"}", "m", "from_header");
    expect_error("{\"detail\":\"d\",\"error_type\":\"request_timeout\"}", "d", "request_timeout");
}

static void error_without_text_is_its_status(void **state) {
    (void)state;
    expect_error("{\"status\":\"ALREADY_COMPLETED\"}", "HTTP 422 ALREADY_COMPLETED", "from_header");
    expect_error("<html>nginx</html>", "HTTP 422", "from_header");
    expect_error("", "HTTP 422", "from_header");
    expect_error("{\"detail\":\"\"}", "HTTP 422", "from_header");
    expect_error("{\"detail\":[]}", "HTTP 422", "from_header");
    expect_error("{\"detail\":[7]}", "HTTP 422", "from_header");
    expect_error("[1,2]", "HTTP 422", "from_header");
}

static void error_text_is_one_bounded_line_of_whole_characters(void **state) {
    (void)state;
    char out[CLIENT_MESSAGE_BYTES];
    char text[CLIENT_MESSAGE_BYTES * 2];
    client_error_set_text(out, SLICE("a\r\n\x1b[31mb\x7f"));
    assert_string_equal(out, "a   [31mb ");
    for (size_t i = 0; i + 1 < sizeof(text); i += 2) {
        text[i] = '\xc3';
        text[i + 1] = '\xa9';
    }
    client_error_set_text(out, slice_make(text, sizeof(text)));
    assert_int_equal(strlen(out), CLIENT_MESSAGE_BYTES - 2);
}

/* ---- Queue status ---- */

static struct client_status *read_status(const char *json, const struct client_status *before) {
    enum fal_code code;
    struct client_status *s = client_status_read(slice_of(json), false, "r1", before, &code);
    assert_int_equal(code, s != NULL ? FAL_OK : FAL_ERR_PROTOCOL);
    return s;
}

static void status_reads_what_fal_sends(void **state) {
    (void)state;
    struct client_status *s = read_status(
        "{\"status\":\"COMPLETED\",\"request_id\":\"r2\",\"metrics\":{\"inference_time\":3.5},\"error\":\"e\","
        "\"error_type\":\"t\",\"queue_position\":0,\"response_url\":\"u\",\"logs\":["
        "{\"message\":\"m\",\"timestamp\":\"1\",\"labels\":{\"level\":\"WARN\",\"source\":\"USER\"}},"
        "{\"message\":\"n\",\"timestamp\":\"2\",\"level\":\"INFO\"},{},7]}",
        NULL);
    assert_non_null(s);
    assert_int_equal(s->pub.state, FAL_COMPLETED);
    assert_string_equal(s->pub.request_id, "r2");
    assert_true(s->pub.inference_time_s == 3.5);
    assert_string_equal(s->pub.error, "e");
    assert_string_equal(s->pub.error_type, "t");
    assert_string_equal(s->pub.response_url, "u");
    assert_null(s->pub.status_url);
    assert_int_equal(s->pub.log_count, 4);
    assert_string_equal(s->pub.logs[0]->level, "WARN");
    assert_string_equal(s->pub.logs[0]->source, "USER");
    assert_string_equal(s->pub.logs[1]->level, "INFO");
    assert_string_equal(s->pub.logs[3]->message, "");
    client_status_free(s);
}

static void status_that_makes_no_sense_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "[]",
                                      "7",
                                      "{}",
                                      "{\"status\":7}",
                                      "{\"status\":\"FAILED\"}",
                                      "{\"status\":\"IN_QUEUE\",\"status\":\"COMPLETED\"}",
                                      "{\"status\":\"IN_QUEUE\"",
                                      "{\"status\":\"IN_QUEUE\",\"request_id\":\"\"}",
                                      "{\"status\":\"IN_QUEUE\"} x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(read_status(bad[i], NULL));
    }
}

static size_t new_after(const char *before_logs, const char *now_logs) {
    char before[256], now[256];
    snprintf(before, sizeof(before), "{\"status\":\"IN_PROGRESS\",\"logs\":%s}", before_logs);
    snprintf(now, sizeof(now), "{\"status\":\"IN_PROGRESS\",\"logs\":%s}", now_logs);
    struct client_status *a = read_status(before, NULL), *b = read_status(now, a);
    size_t first = b->pub.first_new_log;
    client_status_free(a);
    client_status_free(b);
    return first;
}

#define A "{\"message\":\"a\",\"timestamp\":\"1\"}"
#define B "{\"message\":\"b\",\"timestamp\":\"1\"}"
#define C "{\"message\":\"c\",\"timestamp\":\"2\"}"

static void every_log_line_is_new_once(void **state) {
    (void)state;
    assert_int_equal(new_after("null", "[" A "," B "]"), 0);
    assert_int_equal(new_after("[" A "]", "[" A "," B "," C "]"), 1);
    assert_int_equal(new_after("[" A "," B "]", "[" A "," B "]"), 2);
    assert_int_equal(new_after("[" A "," B "]", "[" B "," C "]"), 1); /* a window that moved on */
    assert_int_equal(new_after("[" A "]", "[" B "," C "]"), 0);
    assert_int_equal(new_after("[" A "]", "null"), 0);
    assert_int_equal(new_after("[" A "]", "[" A "," A "]"), 1);
}

/* ---- Options ---- */

static void options_of_another_age_are_understood_or_refused(void **state) {
    (void)state;
    struct {
        struct fal_options known;
        size_t unknown;
    } newer = {FAL_OPTIONS_INIT, 0};
    struct fal_options ours;
    newer.known.size = sizeof(newer);
    newer.known.max_retries = 7;
    assert_true(client_options_copy(&ours, sizeof(ours), &newer));
    assert_int_equal(ours.max_retries, 7);
    newer.unknown = 1;
    assert_false(client_options_copy(&ours, sizeof(ours), &newer));
    struct fal_options older = FAL_OPTIONS_INIT;
    older.size = offsetof(struct fal_options, retry_base_ms);
    older.user_agent = "x";
    older.max_retries = 9;
    assert_true(client_options_copy(&ours, sizeof(ours), &older));
    assert_string_equal(ours.user_agent, "x");
    assert_int_equal(ours.max_retries, 0);
    older.size = 0;
    assert_false(client_options_copy(&ours, sizeof(ours), &older));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_puts_the_surfaces_under_one_address),
        cmocka_unit_test(a_surface_of_its_own_takes_the_others_place),
        cmocka_unit_test(a_socket_stands_for_the_base_alone),
        cmocka_unit_test(loopback_is_known_by_its_text),
        cmocka_unit_test(fals_hosts_are_fals_by_whatever_way),
        cmocka_unit_test(base_fal_means_fals_own_hosts),
        cmocka_unit_test(base_refuses_what_is_no_address),
        cmocka_unit_test(credentials_stay_at_their_origin),
        cmocka_unit_test(fals_credentials_stay_at_fals_hosts),
        cmocka_unit_test(endpoint_ids_are_read_as_fals_clients_read_them),
        cmocka_unit_test(endpoint_ids_that_are_none_are_refused),
        cmocka_unit_test(request_ids_cannot_leave_their_place_in_the_address),
        cmocka_unit_test(reading_is_retried_on_passing_errors_only),
        cmocka_unit_test(post_of_unknown_fate_goes_again_only_with_a_key_and_not_to_fal),
        cmocka_unit_test(a_start_timeout_and_a_final_error_are_never_retried),
        cmocka_unit_test(a_list_of_the_callers_says_what_passes),
        cmocka_unit_test(pauses_grow_up_to_a_cap_and_vary_by_a_quarter),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
        cmocka_unit_test(error_text_is_taken_in_the_order_of_the_wire),
        cmocka_unit_test(error_without_text_is_its_status),
        cmocka_unit_test(error_text_is_one_bounded_line_of_whole_characters),
        cmocka_unit_test(status_reads_what_fal_sends),
        cmocka_unit_test(status_that_makes_no_sense_is_refused),
        cmocka_unit_test(every_log_line_is_new_once),
        cmocka_unit_test(options_of_another_age_are_understood_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
