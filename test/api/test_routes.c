#include "cmocka_all.h"

#include "api/call.h"

static struct h1_head head;
static struct arena arena;

const struct h1_head *net_head(const struct net_exchange *x) {
    return &head;
}

struct arena *net_arena(struct net_exchange *x) {
    return &arena;
}

#define HANDLER(name)           \
    void name(struct call *c) { \
    }

HANDLER(handle_run)
HANDLER(handle_stream)
HANDLER(handle_submit)
HANDLER(handle_status)
HANDLER(handle_result)
HANDLER(handle_cancel)
HANDLER(handle_health)
HANDLER(handle_ready)
HANDLER(handle_metrics)

struct found {
    unsigned status; /* 0: a route */
    enum served kind;
    const char *app, *id, *prefix, *allow;
};

static void check(enum h1_method method, const char *path, struct found want) {
    struct call c = {0};
    unsigned status = 0;
    const char *allow = "";
    head = (struct h1_head){.method = method, .path = slice_of(path)};
    const struct route *r = routes_find(&c, &status, &allow);
    if (want.status != 0) {
        if (r != NULL || status != want.status)
            fail_msg("%s: %u instead of %u", path, r ? 200 : status, want.status);
        if (want.allow != NULL) assert_string_equal(allow, want.allow);
        return;
    }
    if (r == NULL) fail_msg("%s: %u instead of a route", path, status);
    assert_int_equal(r->kind, want.kind);
    if (want.app != NULL && !slice_is(c.app, want.app))
        fail_msg("%s: app %.*s", path, SLICE_ARG(c.app));
    if (want.id != NULL) assert_true(slice_is(c.id, want.id));
    if (want.prefix != NULL) assert_true(slice_is(c.prefix, want.prefix));
}

static void routes_find_every_surface(void **state) {
    check(H1_GET, "/healthz", (struct found){.kind = SERVED_OPS});
    check(H1_POST, "/run/fal-ai/any-llm",
          (struct found){.kind = SERVED_RUN, .app = "fal-ai/any-llm", .prefix = "/run"});
    check(H1_POST, "/fal-ai/any-llm",
          (struct found){.kind = SERVED_RUN, .app = "fal-ai/any-llm", .prefix = ""});
    check(H1_POST, "/fal-ai/any-llm/vision",
          (struct found){.kind = SERVED_RUN, .app = "fal-ai/any-llm/vision"});
    check(H1_POST, "/run/fal-ai/any-llm/stream",
          (struct found){.kind = SERVED_STREAM, .app = "fal-ai/any-llm"});
    check(H1_POST, "/fal-ai/any-llm/stream",
          (struct found){.kind = SERVED_STREAM, .app = "fal-ai/any-llm"});
    check(H1_POST, "/queue/fal-ai/any-llm",
          (struct found){.kind = SERVED_SUBMIT, .prefix = "/queue"});
    check(H1_GET, "/queue/fal-ai/any-llm/requests/abc/status",
          (struct found){.kind = SERVED_STATUS, .id = "abc"});
    check(H1_GET, "/queue/fal-ai/any-llm/requests/abc/status/",
          (struct found){.kind = SERVED_STATUS, .id = "abc"});
    check(H1_GET, "/queue/fal-ai/any-llm/vision/requests/abc",
          (struct found){.kind = SERVED_RESULT, .app = "fal-ai/any-llm/vision", .id = "abc"});
    check(H1_GET, "/queue/fal-ai/any-llm/requests/abc/response",
          (struct found){.kind = SERVED_RESULT});
    check(H1_PUT, "/queue/fal-ai/any-llm/requests/abc/cancel",
          (struct found){.kind = SERVED_CANCEL, .app = "fal-ai/any-llm"});
    check(H1_HEAD, "/healthz", (struct found){.kind = SERVED_OPS});
}

static void routes_answer_405_with_allow(void **state) {
    check(H1_POST, "/healthz", (struct found){.status = 405, .allow = "GET, HEAD"});
    check(H1_GET, "/run/fal-ai/any-llm", (struct found){.status = 405, .allow = "POST"});
    check(H1_POST, "/queue/fal-ai/any-llm/requests/abc/cancel",
          (struct found){.status = 405, .allow = "PUT"});
    check(H1_GET, "/queue/fal-ai/any-llm/requests/abc/cancel",
          (struct found){.status = 405, .allow = "PUT"});
    check(H1_DELETE, "/queue/fal-ai/any-llm", (struct found){.status = 405, .allow = "POST"});
}

static void routes_know_no_tricks_in_the_path(void **state) {
    static const char *const none[] = {"/",
                                       "",
                                       "/run",
                                       "/run/fal-ai",
                                       "/x",
                                       "//fal-ai/any-llm",
                                       "/run//fal-ai/any-llm",
                                       "/./fal-ai/any-llm",
                                       "/fal-ai/../any-llm",
                                       "/fal-ai/any-llm;/x",
                                       "/fal-ai\\any-llm",
                                       "/fal-ai/%2e%2e/any-llm",
                                       "/fal-ai/any%2Dllm",
                                       "/fal-ai/any-llm//",
                                       "/queue/a/b/requests",
                                       "/queue/a/b/requests/x/y/z",
                                       "/a/b/c/d/e/f/g/h/i/j/k/l/m"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        check(H1_POST, none[i], (struct found){.status = 404});
    check(H1_POST, "/fal-ai/%00", (struct found){.status = 400});
    check(H1_POST, "/fal-ai/%zz", (struct found){.status = 400});
    check(H1_POST, "/fal-ai/%", (struct found){.status = 400});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_find_every_surface),
        cmocka_unit_test(routes_answer_405_with_allow),
        cmocka_unit_test(routes_know_no_tricks_in_the_path),
    };
    arena_init(&arena, 1U << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
