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
#include <unistd.h>

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
#define DONE {.status = 200, .body = "{\"output\":\"42\"}", .headers = "x-fal-request-id: r1\r\n"}
#define LOGS                                                                                \
    {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"m\"}]}"}, \
        {.status = 200,                                                                     \
         .body = "{\"status\":\"COMPLETED\",\"logs\":[{\"message\":\"m\"},{\"message\":\"n\"}]}"}

#define EVENTS(length, text) \
    {.raw = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" length "\r\n" text}
#define OUTPUT(text) "data: {\"output\":\"" text "\"}\n\n"
#define STATE(state, logs) \
    "data: {\"status\":\"" state "\",\"request_id\":\"r1\",\"logs\":[" logs "]}\n\n"
#define LOG(n) "{\"message\":\"" n "\",\"timestamp\":\"" n "\"}"

static fal_client *client_at(const char *base) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = base;
    o.credentials = "kid:ksecret";
    o.user_agent = "test/1";
    o.max_retries = -1;
    o.retry_base_ms = 1; /* also the pause before a stream is opened again */
    fal_client_new(&o, &c);
    return c;
}

/* ---- Scenarios: one for each kind of call; `go` makes all that is needed and frees all but the result ---- */

static enum fal_code subscribe_and_cancel(const char *base, fal_result **r) {
    struct fal_subscribe_options s = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    s.logs = true;
    s.hint = "h";
    s.poll_interval_ms = 1;
    enum fal_code code = fal_subscribe(c, "a/b", "{\"prompt\":\"p\"}", &s, r);
    fal_queue_cancel(c, "a/b", "r1", NULL, NULL);
    fal_client_free(c);
    return code;
}

static enum fal_code resume(const char *base, fal_result **r) {
    struct fal_subscribe_options s = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    s.poll_interval_ms = 1;
    enum fal_code code = fal_queue_subscribe_to_status(c, "a/b", "r1", &s, r);
    fal_client_free(c);
    return code;
}

/* Every option that is copied, and a retry. */
static enum fal_code run_with_all_options(const char *base, fal_result **r) {
    static const char *const lines[] = {"X-A: b"};
    static const int statuses[] = {503};
    struct fal_options o = FAL_OPTIONS_INIT;
    struct fal_call_options call = FAL_CALL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = "http://127.0.0.1:1";
    o.run_url = base;
    o.credentials = "kid:ksecret";
    o.headers = call.headers = lines;
    o.header_count = call.header_count = 1;
    o.retry_statuses = statuses;
    o.retry_status_count = 1;
    o.retry_base_ms = 1;
    o.proxy_url = base;
    o.unix_socket = "/nowhere";
    call.hint = "h";
    call.start_timeout_s = 2.5;
    call.timeout_ms = 60000;
    enum fal_code code = fal_client_new(&o, &c);
    if (code == FAL_OK) {
        code = fal_run(c, "a/b", NULL, &call, r);
    }
    fal_client_free(c);
    return code;
}

static enum fal_code one_by_one(const char *base, fal_result **r) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    o.url = base;
    enum fal_code code = fal_queue_submit(c, "a/b", NULL, NULL, NULL);
    code = code == FAL_OK ? fal_queue_status(c, "a/b", "r1", &o, NULL) : code;
    code = code == FAL_OK ? fal_queue_result(c, "a/b", "r1", NULL, r) : code;
    fal_client_free(c);
    return code;
}

static enum fal_code stream(const char *base, fal_result **r) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    o.hint = "h";
    enum fal_code code = fal_stream(c, "a/b", "{\"prompt\":\"p\"}", &o, r);
    fal_client_free(c);
    return code;
}

static enum fal_code stream_status(const char *base, fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    o.logs = true;
    enum fal_code code = fal_queue_stream_status(c, "a/b", "r1", &o, r);
    fal_client_free(c);
    return code;
}

static enum fal_code subscribe_streaming(const char *base, fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    o.streaming = true;
    o.poll_interval_ms = 1;
    enum fal_code code = fal_subscribe(c, "a/b", NULL, &o, r);
    fal_client_free(c);
    return code;
}

/* How three calls at once ended: each once, the worst of them kept. */
struct ends {
    int started, ended;
    enum fal_code worst;
    fal_result *result;
};

static void note_end(enum fal_code code, fal_result *result, void *user) {
    struct ends *e = user;
    e->ended++;
    if (code != FAL_OK && e->worst == FAL_OK) {
        e->worst = code;
    }
    fal_result_free(e->result);
    e->result = result;
}

static enum fal_code three_at_once(const char *base, fal_result **r) {
    struct ends e = {0};
    struct fal_done done = {note_end, &e};
    fal_client *c = client_at(base);
    fal_call *call = NULL;
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    for (int i = 0; i < 3; i++) {
        enum fal_code code = fal_run_start(c, "a/b", NULL, NULL, done, i == 0 ? &call : NULL);
        e.started += code == FAL_OK;
        e.worst = code != FAL_OK ? code : e.worst;
    }
    while (fal_client_pending(c) > 0) {
        fal_client_wait(c, -1);
    }
    fal_call_free(call);
    fal_client_free(c);
    assert_int_equal(e.ended, e.started);
    *r = e.result;
    return e.worst;
}

static int64_t read_letters(void *buffer, size_t room, void *user) {
    size_t *left = user, n = *left < room ? *left : room;
    memset(buffer, 'x', n);
    *left -= n;
    return (int64_t)n;
}

static enum fal_code upload_in_parts(const char *base, fal_result **r) {
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct fal_file f = FAL_FILE_INIT;
    size_t left = 10;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    l.expires_in_s = 60;
    o.lifecycle = &l;
    o.part_bytes = 4;
    f.read = read_letters;
    f.user = &left;
    enum fal_code code = fal_storage_upload(c, &f, &o, r);
    fal_client_free(c);
    return code;
}

/* A file of the disk by its file:// address and one of memory by its pointer. */
static enum fal_code files_of_an_input(const char *base, fal_result **r) {
    struct fal_file f = FAL_FILE_INIT;
    struct fal_files files = FAL_FILES_INIT;
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    f.data = "text";
    f.data_bytes = 4;
    f.name = "x.txt";
    f.pointer = "/b/-";
    files.files = &f;
    files.file_count = 1;
    files.file_urls = true;
    enum fal_code code = fal_storage_transform_input(c, "{\"a\":\"file:///etc/passwd\",\"b\":[]}",
                                                     &files, r);
    fal_client_free(c);
    return code;
}

static enum fal_code token(const char *base, fal_result **r) {
    const char *const apps[] = {"fal-ai/any-llm"};
    fal_client *c = client_at(base);
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    enum fal_code code = fal_token_create(c, apps, 1, 0, NULL, r);
    fal_client_free(c);
    return code;
}

#define BEGUN                            \
    {.status = 200,                      \
     .when = "/storage/upload/initiate", \
     .body = "{\"upload_url\":\"$BASE/u/1\",\"file_url\":\"f\"}"}

static const struct scenario {
    const char *name;
    enum fal_code (*go)(const char *base, fal_result **r);
    enum fal_code code; /* when nothing fails */
    int http_status;
    struct script_step steps[6];
} scenarios[] = {
    {"subscribe, cancel",
     subscribe_and_cancel,
     FAL_ERR_HTTP,
     422,
     {{.status = 200, .body = BODY},
      LOGS,
      {.status = 422,
       .body = "{\"detail\":[{\"loc\":[\"body\",\"prompt\"],\"msg\":\"no\",\"type\":\"t\"}]}"},
      {.status = 202}}},
    {"subscribe_to_status", resume, FAL_OK, 200, {LOGS, DONE}},
    {"run with all options",
     run_with_all_options,
     FAL_OK,
     200,
     {{.status = 503, .headers = "Retry-After: 0\r\n"}, DONE, DONE}},
    {"submit, status, result",
     one_by_one,
     FAL_OK,
     200,
     {{.status = 200, .body = BODY}, {.status = 200, .body = BODY}, DONE}},
    {"stream",
     stream,
     FAL_OK,
     200,
     {EVENTS("", ": ping\n\n" OUTPUT("He") "data: {\"output\":\ndata: \"Hello\"}")}},
    {"status stream, opened again",
     stream_status,
     FAL_OK,
     200,
     {EVENTS("Content-Length: 999\r\n", STATE("IN_QUEUE", "") STATE("IN_PROGRESS", LOG("1"))),
      EVENTS("", STATE("IN_PROGRESS", LOG("1") "," LOG("2")) STATE("COMPLETED", ""))}},
    {"subscribe, streaming",
     subscribe_streaming,
     FAL_OK,
     200,
     {{.status = 200, .body = BODY}, EVENTS("", STATE("COMPLETED", LOG("1"))), DONE}},
    {"subscribe without streams",
     subscribe_streaming,
     FAL_OK,
     200,
     {{.status = 200, .body = BODY}, {.status = 404}, LOGS, DONE}},
    {"three at once", three_at_once, FAL_OK, 200, {DONE, DONE, DONE}},
    {"upload in parts",
     upload_in_parts,
     FAL_OK,
     200,
     {BEGUN,
      {.status = 200, .when = "/u/1/1", .body = "{\"etag\":\"e1\"}"},
      {.status = 200, .when = "/u/1/2", .headers = "ETag: e2\r\n"},
      {.status = 200, .when = "/u/1/3", .body = "{\"etag\":\"e3\"}"},
      {.status = 200, .when = "/u/1/complete"}}},
    {"files of an input",
     files_of_an_input,
     FAL_OK,
     200,
     {BEGUN, BEGUN, {.status = 200, .when = "PUT"}, {.status = 200, .when = "PUT"}}},
    {"token", token, FAL_OK, 200, {{.status = 200, .body = "\"t1\""}}},
};

/* ---- Each allocation of a scenario fails in turn ---- */

static bool acceptable(const struct scenario *sc, enum fal_code code, const fal_result *r) {
    switch (code) {
    case FAL_ERR_MEMORY:
    case FAL_ERR_CONNECT:
    case FAL_ERR_TRANSPORT:
    case FAL_ERR_PROTOCOL: return true; /* libcurl names some of its own failures so */
    default:                            /* the allocation could be done without */
        return code == sc->code && fal_result_http_status(r) == sc->http_status;
    }
}

/* True when it went to its end without reaching allocation n. */
static bool fail_allocation(const struct scenario *sc, long n) {
    struct script *s = script_start(sc->steps, sizeof(sc->steps) / sizeof(sc->steps[0]));
    fal_result *r = NULL;
    alarm(20);
    countdown = n;
    enum fal_code code = sc->go(script_base(s), &r);
    bool reached_the_end = countdown >= 0;
    countdown = -1;
    if (!acceptable(sc, code, r)) {
        fail_msg("%s, allocation %ld: code %d", sc->name, n, (int)code);
    }
    if (reached_the_end) {
        assert_int_equal(code, sc->code);
        assert_int_equal(fal_result_http_status(r), sc->http_status);
    }
    fal_result_free(r);
    script_stop(s);
    alarm(0);
    return reached_the_end;
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        long n = 0;
        while (n < 5000 && !fail_allocation(&scenarios[i], n)) {
            n++;
        }
        assert_true(n > 0 && n < 5000);
        print_message("%s: %ld allocations failed in turn\n", scenarios[i].name, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_may_fail)};
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free, __wrap_realloc, curl_strdup,
                             __wrap_calloc) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
