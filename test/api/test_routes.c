#include "cmocka_all.h"

#include "api/call.h"
#include "api/admin.h"
#include "api/files.h"
#include "api/openai.h"
#include "api/platform.h"
#include "api/realtime.h"
#include "api/tokens.h"
#include "api/webhooks.h"

static struct h1_head head;
static struct arena arena;
static bool trusted;
static struct config cfg;

const struct h1_head *net_head(const struct net_exchange *x) {
    return &head;
}

struct arena *net_arena(struct net_exchange *x) {
    return &arena;
}

struct slice net_peer(const struct net_exchange *x) {
    return SLICE("10.0.0.1");
}

bool net_peer_is_trusted(const struct net_exchange *x) {
    return trusted;
}

bool net_is_tls(const struct net_exchange *x) {
    return false;
}

#define HANDLER(name)           \
    void name(struct call *c) { \
    }

HANDLER(handle_run)
HANDLER(handle_stream)
HANDLER(handle_submit)
HANDLER(handle_status)
HANDLER(handle_status_stream)
HANDLER(handle_result)
HANDLER(handle_cancel)
HANDLER(handle_webhook_secret)
HANDLER(handle_health)
HANDLER(handle_ready)
HANDLER(handle_openapi)
HANDLER(handle_llms)
HANDLER(handle_metrics)
HANDLER(handle_chat)
HANDLER(handle_models)
HANDLER(handle_model)
HANDLER(handle_proxy)
HANDLER(handle_admin_keys)
HANDLER(handle_admin_key_create)
HANDLER(handle_admin_key_revoke)
HANDLER(handle_admin_usage)
HANDLER(handle_admin_webhooks)
HANDLER(handle_admin_webhooks_replay)
HANDLER(handle_admin_queue)
HANDLER(handle_admin_backup)
HANDLER(handle_admin_backup_make)
HANDLER(handle_upload_initiate)
HANDLER(handle_storage_token)
HANDLER(handle_upload)
HANDLER(handle_part)
HANDLER(handle_complete)
HANDLER(handle_multipart)
HANDLER(handle_file)
HANDLER(handle_file_delete)
HANDLER(handle_file_acl)
HANDLER(handle_file_sign)
HANDLER(head_upload_put)
HANDLER(head_upload_post)
HANDLER(head_part_signed)
HANDLER(head_complete_signed)
HANDLER(head_token)
HANDLER(head_part_token)
HANDLER(handle_platform_openapi)
HANDLER(handle_platform_models)
HANDLER(handle_platform_pricing)
HANDLER(handle_platform_estimate)
HANDLER(handle_platform_usage)
HANDLER(handle_platform_analytics)
HANDLER(handle_platform_billing_events)
HANDLER(handle_platform_requests)
HANDLER(handle_platform_drop_payloads)
HANDLER(handle_platform_keys)
HANDLER(handle_platform_key_create)
HANDLER(handle_platform_key_delete)
HANDLER(handle_platform_meta)
HANDLER(handle_platform_billing)
HANDLER(handle_realtime)
HANDLER(handle_http_over_websocket)
HANDLER(handle_token)
HANDLER(handle_token_realtime)
HANDLER(handle_jwks)

struct found {
    unsigned status; /* 0: a route */
    enum served kind;
    const char *app, *id, *prefix, *allow;
};

static void check_at(const char *host, enum h1_method method, const char *path, struct found want) {
    struct call c = {0};
    unsigned status = 0;
    const char *allow = "";
    head = (struct h1_head){.method = method, .path = slice_of(path), .host = slice_of(host)};
    reach_of(&c.at, &cfg, NULL);
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
    if (want.prefix != NULL) assert_true(slice_is(c.at.prefix, want.prefix));
}

static void check(enum h1_method method, const char *path, struct found want) {
    check_at("localhost:8787", method, path, want);
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
    check(H1_GET, "/api/openapi/queue/openapi.json", (struct found){.kind = SERVED_DOCS});
    check(H1_GET, "/models/fal-ai/any-llm/llms.txt",
          (struct found){.kind = SERVED_DOCS, .app = "fal-ai/any-llm"});
    check(H1_HEAD, "/healthz", (struct found){.kind = SERVED_OPS});
    check(H1_POST, "/api/fal/proxy", (struct found){.kind = SERVED_PROXY});
    check(H1_GET, "/api/fal/proxy/", (struct found){.kind = SERVED_PROXY});
    check_at("queue.fal.run", H1_PUT, "/api/fal/proxy", (struct found){.kind = SERVED_PROXY});
}

static void routes_read_ids_of_every_form(void **state) {
    check(H1_POST, "/queue/110602490-any-llm",
          (struct found){.kind = SERVED_SUBMIT, .app = "fal-ai/any-llm"});
    check(H1_POST, "/run/110602490/any-llm/stream",
          (struct found){.kind = SERVED_STREAM, .app = "fal-ai/any-llm"});
    check(H1_POST, "/queue/workflows/me/chat/deep",
          (struct found){.kind = SERVED_SUBMIT, .app = "workflows/me/chat/deep"});
    check(H1_GET, "/queue/workflows/me/chat/requests/x/status/stream",
          (struct found){.kind = SERVED_STATUS_STREAM, .app = "workflows/me/chat", .id = "x"});
    check(H1_POST, "/queue/workflows/me", (struct found){.status = 404});
    check(H1_POST, "/queue/any-llm", (struct found){.status = 404});
}

static void routes_answer_405_with_allow(void **state) {
    check(H1_POST, "/healthz", (struct found){.status = 405, .allow = "GET, HEAD"});
    check(H1_GET, "/run/fal-ai/any-llm", (struct found){.status = 405, .allow = "POST"});
    check(H1_POST, "/queue/fal-ai/any-llm/requests/abc/cancel",
          (struct found){.status = 405, .allow = "PUT"});
    check(H1_GET, "/queue/fal-ai/any-llm/requests/abc/cancel",
          (struct found){.status = 405, .allow = "PUT"});
    check(H1_DELETE, "/queue/fal-ai/any-llm", (struct found){.status = 405, .allow = "POST"});
    check(H1_DELETE, "/api/fal/proxy",
          (struct found){.status = 405, .allow = "GET, HEAD, POST, PUT"});
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

static void routes_go_by_the_host_where_no_prefix_stands(void **state) {
    struct found submit = {.kind = SERVED_SUBMIT, .app = "fal-ai/any-llm", .prefix = ""},
                 run = {.kind = SERVED_RUN, .app = "fal-ai/any-llm"}, none = {.status = 404};
    check_at("queue.fal.run", H1_POST, "/fal-ai/any-llm", submit);
    check_at("QUEUE.fal.run:443", H1_POST, "/fal-ai/any-llm", submit);
    check_at("queue.fal.run.", H1_POST, "/fal-ai/any-llm", submit);
    check_at("queue.example.org", H1_POST, "/fal-ai/any-llm", submit);
    check_at("queue.", H1_POST, "/fal-ai/any-llm", run);
    check_at("xqueue.fal.run", H1_POST, "/fal-ai/any-llm", run);
    check_at("fal.run", H1_POST, "/fal-ai/any-llm", run);
    check_at("queue.fal.run", H1_GET, "/fal-ai/any-llm/requests/x/status",
             (struct found){.kind = SERVED_STATUS, .id = "x"});
    check_at("queue.fal.run", H1_POST, "/run/fal-ai/any-llm",
             (struct found){.kind = SERVED_RUN, .prefix = "/run"});
    check_at("rest.fal.ai", H1_POST, "/fal-ai/any-llm", none);
    check_at("v3.fal.media", H1_POST, "/fal-ai/any-llm", none);
    check_at("api.fal.ai", H1_GET, "/healthz", (struct found){.kind = SERVED_OPS});
    check_at("fal.run", H1_POST, "/queue/fal-ai/any-llm",
             (struct found){.kind = SERVED_SUBMIT, .prefix = "/queue"});
}

static void routes_take_openais_paths_on_every_host_but_the_platforms(void **state) {
    struct found none = {.status = 404}, chat = {.kind = SERVED_OPENAI};
    check(H1_POST, "/v1/chat/completions", chat);
    check_at("fal.run", H1_POST, "/v1/chat/completions", chat);
    check_at("api.fal.ai", H1_POST, "/v1/chat/completions", none);
    check_at("api.fal.ai", H1_GET, "/v1/models", (struct found){.kind = SERVED_PLATFORM});
    check_at("api.fal.ai", H1_GET, "/v1/models/pricing", (struct found){.kind = SERVED_PLATFORM});
    check_at("api.fal.ai", H1_GET, "/v1/models/some-model", none);
    check(H1_GET, "/v1/chat/completions", (struct found){.status = 405, .allow = "POST"});
    check(H1_GET, "/v1/models", chat);
    check(H1_GET, "/v1/models/", chat);
    check(H1_GET, "/v1/embeddings", none);
}

/* SDKs escape the slashes of a name, curl's users do not; and names hold colons. */
static void routes_give_names_of_models_whole(void **state) {
    static const char *const paths[] = {"/v1/models/openai/gpt-4o:free",
                                        "/v1/models/openai%2Fgpt-4o%3Afree"};
    for (int i = 0; i < 2; i++)
        check(H1_GET, paths[i], (struct found){.kind = SERVED_OPENAI, .id = "openai/gpt-4o:free"});
    check(H1_GET, "/v1/models/a%zz", (struct found){.status = 400});
    check(H1_GET, "/v1/models/a%00", (struct found){.status = 400});
    check(H1_POST, "/v1/models/a/b", (struct found){.status = 405, .allow = "GET, HEAD"});
    check(H1_GET, "/v1/modelsx/a:b", (struct found){.status = 404});
}

static void routes_go_by_configured_hosts_first(void **state) {
    struct config_virtual_host hosts[] = {{SLICE("jobs.example.org"), SURFACE_QUEUE},
                                          {SLICE("*.run.example.org"), SURFACE_RUN},
                                          {SLICE("queue.example.org"), SURFACE_RUN}};
    cfg.virtual_hosts = hosts;
    cfg.nvirtual_hosts = 3;
    check_at("jobs.example.org", H1_POST, "/a/b", (struct found){.kind = SERVED_SUBMIT});
    check_at("queue.run.example.org", H1_POST, "/a/b", (struct found){.kind = SERVED_RUN});
    check_at("queue.example.org", H1_POST, "/a/b", (struct found){.kind = SERVED_RUN});
    check_at("queue.elsewhere.org", H1_POST, "/a/b", (struct found){.kind = SERVED_SUBMIT});
    cfg.nvirtual_hosts = 0;
}

/* What a request says of itself, in the address it gets back. */
static void check_base(const char *path, const char *header, const char *value, const char *want) {
    struct {
        struct h1_head head;
    } h = {{.path = slice_of(path), .host = SLICE("inside:8787")}};
    struct reach r;
    struct buf b;
    h.head.nheaders = header != NULL ? 1 : 0;
    if (header != NULL) h.head.headers[0] = (struct h1_header){slice_of(header), slice_of(value)};
    head = h.head;
    reach_of(&r, &cfg, NULL);
    buf_init(&b, 4096);
    reach_base(&b, &cfg, &r);
    if (!slice_is(buf_slice(&b), want))
        fail_msg("%s: %.*s instead of %s", value != NULL ? value : path, SLICE_ARG(buf_slice(&b)),
                 want);
    buf_free(&b);
}

static void reach_builds_addresses_as_the_caller_came(void **state) {
    check_base("/queue/a/b", NULL, NULL, "http://inside:8787/queue");
    cfg.public_url = "https://llm.example.org/ai";
    check_base("/queue/a/b", NULL, NULL, "https://llm.example.org/ai/queue");
    cfg.public_url = NULL;
}

static void reach_believes_trusted_proxies_only(void **state) {
    static const char *const proxies[] = {"10.0.0.0/8"};
    cfg.trusted_proxies = proxies;
    cfg.ntrusted_proxies = 1;
    const char *plain = "http://inside:8787/queue", *q = "/queue/a/b";
    check_base(q, "Forwarded", "for=1.2.3.4;proto=https;host=llm.example.org", plain);
    trusted = true;
    check_base(q, "Forwarded", "for=1.2.3.4;proto=https;host=llm.example.org",
               "https://llm.example.org/queue");
    check_base(q, "Forwarded", "host=evil.example, for=x; Proto=HTTPS; host=\"a.org:8443\"",
               "https://a.org:8443/queue");
    check_base(q, "X-Forwarded-Proto", "http, https", "https://inside:8787/queue");
    check_base(q, "X-Forwarded-Host", "a.org", "http://a.org/queue");
    check_base(q, "X-Forwarded-Host", "a.org/x?y", plain);
    check_base(q, "X-Forwarded-Host", "", plain);
    check_base(q, "Forwarded", "proto=gopher;host", plain);
    check_base("/a/b", "X-Forwarded-Host", "queue.a.org", "http://queue.a.org");
    trusted = false;
    cfg.ntrusted_proxies = 0;
}

static void reach_knows_the_caller_behind_a_trusted_proxy(void **state) {
    static const struct {
        const char *header, *value, *want;
    } cases[] = {
        {"Forwarded", "for=192.0.2.1", "192.0.2.1"},
        {"Forwarded", "for=\"192.0.2.1:4711\";proto=https", "192.0.2.1"},
        {"Forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\"", "2001:db8::1"},
        {"Forwarded", "for=\"[2001:db8::1]\"", "2001:db8::1"},
        {"X-Forwarded-For", "6.6.6.6, 192.0.2.1", "192.0.2.1"},
        {"X-Forwarded-For", "2001:db8::1", "2001:db8::1"},
        {"X-Forwarded-For", "", "10.0.0.1"},
        {"Forwarded", "proto=https", "10.0.0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        head = (struct h1_head){.nheaders = 1};
        head.headers[0] = (struct h1_header){slice_of(cases[i].header), slice_of(cases[i].value)};
        trusted = true;
        if (!slice_is(reach_peer(NULL), cases[i].want))
            fail_msg("%s: %.*s", cases[i].value, SLICE_ARG(reach_peer(NULL)));
        trusted = false;
        assert_true(slice_is(reach_peer(NULL), "10.0.0.1"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_find_every_surface),
        cmocka_unit_test(routes_read_ids_of_every_form),
        cmocka_unit_test(routes_go_by_the_host_where_no_prefix_stands),
        cmocka_unit_test(routes_take_openais_paths_on_every_host_but_the_platforms),
        cmocka_unit_test(routes_give_names_of_models_whole),
        cmocka_unit_test(routes_go_by_configured_hosts_first),
        cmocka_unit_test(reach_builds_addresses_as_the_caller_came),
        cmocka_unit_test(reach_believes_trusted_proxies_only),
        cmocka_unit_test(reach_knows_the_caller_behind_a_trusted_proxy),
        cmocka_unit_test(routes_answer_405_with_allow),
        cmocka_unit_test(routes_know_no_tricks_in_the_path),
    };
    arena_init(&arena, 1U << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
