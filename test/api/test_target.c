/* Which addresses the proxy takes for fal's or our own, and what may be asked for there. */
#include "cmocka_all.h"

#include "api/target.h"

#include <stdio.h>
#include <stdlib.h>

static struct config cfg;
static const struct reach own = {.host = {"127.0.0.1:8787", 14}};

const struct h1_head *net_head(const struct net_exchange *x) {
    return NULL;
}

struct slice net_peer(const struct net_exchange *x) {
    return SLICE("10.0.0.1");
}

bool net_peer_is_trusted(const struct net_exchange *x) {
    return false;
}

bool net_is_tls(const struct net_exchange *x) {
    return false;
}

static bool takes(const char *url, size_t len, const struct reach *self, struct reach *at) {
    char *exact = malloc(len + 1); /* a read beyond the end is seen by the sanitizer */
    memcpy(exact, url, len);
    bool ok = target_read(slice_make(exact, len), &cfg, self, at) &&
              target_allowed(&cfg.proxy, at, true);
    free(exact);
    return ok;
}

static const char *const not_fals[] = {
    "",
    "/",
    "https",
    "https:",
    "https:/",
    "https://",
    "https:///fal-ai/any-llm",
    "https://evil.com",
    "https://evil.com/fal-ai/any-llm",
    "https://queue.fal.run.evil.com",
    "https://queue.fal.run.evil.com/fal-ai/any-llm",
    "https://queue.fal.run@evil.com",
    "https://queue.fal.run@evil.com/fal-ai/any-llm",
    "https://queue.fal.run:443@evil.com/fal-ai/any-llm",
    "https://evil.com@queue.fal.run/fal-ai/any-llm",
    "https://user:pass@queue.fal.run/fal-ai/any-llm",
    "https://:@queue.fal.run/fal-ai/any-llm",
    "https://@queue.fal.run/fal-ai/any-llm",
    "https://evil.com/queue.fal.run",
    "https://evil.com/https://queue.fal.run/fal-ai/any-llm",
    "https://evil.com?queue.fal.run/fal-ai/any-llm",
    "https://evil.com?https://fal.run",
    "https://evil.com#.fal.run",
    "https://evil.com#fal.run/x",
    "https://fal.run#@evil.com",
    "https://fal.run/fal-ai/any-llm#x",
    "https://fal.run\\@evil.com",
    "https://fal.run\\.evil.com",
    "https:\\\\fal.run/fal-ai/any-llm",
    "https://evil.com\\fal.run",
    "https://evil.com\\@fal.run/fal-ai/any-llm",
    "https://fal\t.run/fal-ai/any-llm",
    "https://fal.run/fal-ai\t/any-llm",
    "https://fal.run\n/fal-ai/any-llm",
    "https://fal.run/fal-ai/any-llm\n",
    "https://fal.run/fal-ai/any-llm\r\nHost: evil.com",
    "\thttps://fal.run/fal-ai/any-llm",
    " https://fal.run/fal-ai/any-llm",
    "https://fal.run /fal-ai/any-llm",
    "https://fal.run/fal-ai/any llm",
    "http://fal.run/fal-ai/any-llm",
    "http://queue.fal.run/fal-ai/any-llm",
    "HTTP://fal.run:443/fal-ai/any-llm",
    "ftp://fal.run/fal-ai/any-llm",
    "file:///etc/passwd",
    "file://fal.run/fal-ai/any-llm",
    "javascript:alert(1)//fal.run/",
    "wss://fal.run/fal-ai/any-llm",
    "httpss://fal.run/fal-ai/any-llm",
    "https:fal.run/fal-ai/any-llm",
    "https:/fal.run/fal-ai/any-llm",
    "//fal.run/fal-ai/any-llm",
    "//evil.com/fal-ai/any-llm",
    "/fal-ai/any-llm",
    "fal.run/fal-ai/any-llm",
    "https://fal.run:80/fal-ai/any-llm",
    "https://fal.run:8443/fal-ai/any-llm",
    "https://fal.run:0443/fal-ai/any-llm",
    "https://fal.run:/fal-ai/any-llm",
    "https://fal.run:443:443/fal-ai/any-llm",
    "https://fal.run:65979/fal-ai/any-llm",
    "https://fal.run:+443/fal-ai/any-llm",
    "https://fal.run../fal-ai/any-llm",
    "https://.fal.run/fal-ai/any-llm",
    "https://fal..run/fal-ai/any-llm",
    "https://xfal.run/fal-ai/any-llm",
    "https://evil-fal.run/fal-ai/any-llm",
    "https://fal.runx/fal-ai/any-llm",
    "https://fal.run.com/fal-ai/any-llm",
    "https://x.fal.run/fal-ai/any-llm",
    "https://queue.x.fal.run/fal-ai/any-llm",
    "https://fal.ai/fal-ai/any-llm",
    "https://api.fal.ai/v1/keys",
    "https://ws.fal.run/fal-ai/any-llm",
    "https://v3.fal.media/files/x",
    "https://f\xd0\xb0l.run/fal-ai/any-llm",
    "https://xn--fl-7kc.run/fal-ai/any-llm",
    "https://f%61l.run/fal-ai/any-llm",
    "https://fal%2erun/fal-ai/any-llm",
    "https://fal\xe3\x80\x82run/fal-ai/any-llm",
    "https://fal.run%00.evil.com/fal-ai/any-llm",
    "https://fal.run;evil.com/fal-ai/any-llm",
    "https://fal.run,evil.com/fal-ai/any-llm",
    "https://fal.run/fal-ai/any-llm, https://fal.run/fal-ai/any-llm",
    "https://fal.run/fal-ai/../any-llm",
    "https://fal.run/./fal-ai/any-llm",
    "https://fal.run/fal-ai/any-llm/..",
    "https://fal.run/fal-ai/%2e%2e/any-llm",
    "https://fal.run/fal-ai%2fany-llm",
    "https://fal.run//fal-ai/any-llm",
    "https://fal.run//evil.com/x",
    "https://fal.run/fal-ai//any-llm",
    "https://fal.run/fal-ai/any-llm;x",
    "https://fal.run/fal-ai/any-llm:x",
    "https://fal.run/fal-ai/any-llm@x",
    "https://127.0.0.1/fal-ai/any-llm",
    "https://127.0.0.1:8787/fal-ai/any-llm",
    "https://localhost/fal-ai/any-llm",
    "http://localhost:8787/fal-ai/any-llm",
    "http://127.0.0.1:8788/fal-ai/any-llm",
    "http://127.0.0.1:8787@evil.com/fal-ai/any-llm",
    "http://127.0.0.1:8787.evil.com/fal-ai/any-llm",
    "http://169.254.169.254/latest/meta-data",
    "https://[::1]/fal-ai/any-llm",
    "https://[fal.run]/fal-ai/any-llm",
    "https://2130706433/fal-ai/any-llm",
    "https://rest.fal.ai/",
    "https://rest.fal.ai/storage",
    "https://rest.fal.ai/storage/upload",
    "https://rest.fal.ai/storage/upload/initiate/x",
    "https://rest.fal.ai/billing/info",
    "https://rest.fal.ai/keys",
    "https://rest.fal.ai/fal-ai/any-llm",
    "https://rest.beta.fal.ai/tokens/",
    "http://rest.fal.ai/tokens/",
};

static void target_refuses_what_is_not_fals(void **state) {
    struct reach at;
    for (size_t i = 0; i < sizeof not_fals / sizeof *not_fals; i++)
        if (takes(not_fals[i], strlen(not_fals[i]), &own, &at)) fail_msg("taken: %s", not_fals[i]);
}

static void target_takes_fals_hosts(void **state) {
    static const struct {
        const char *url, *host, *path, *query;
        enum config_surface surface;
    } cases[] = {
        {"https://fal.run/fal-ai/any-llm", "fal.run", "/fal-ai/any-llm", "", SURFACE_RUN},
        {"HTTPS://FAL.RUN/fal-ai/any-llm", "fal.run", "/fal-ai/any-llm", "", SURFACE_RUN},
        {"https://fal.run./fal-ai/any-llm", "fal.run", "/fal-ai/any-llm", "", SURFACE_RUN},
        {"https://fal.run.:443/fal-ai/any-llm", "fal.run", "/fal-ai/any-llm", "", SURFACE_RUN},
        {"https://fal.run:443/fal-ai/any-llm/", "fal.run", "/fal-ai/any-llm/", "", SURFACE_RUN},
        {"https://fal.run", "fal.run", "/", "", SURFACE_RUN},
        {"https://fal.run?a=b", "fal.run", "/", "a=b", SURFACE_RUN},
        {"https://fal.run/queue/fal-ai/any-llm", "fal.run", "/queue/fal-ai/any-llm", "",
         SURFACE_RUN},
        {"https://Queue.Fal.Run/fal-ai/any-llm/requests/x/status?logs=1", "queue.fal.run",
         "/fal-ai/any-llm/requests/x/status", "logs=1", SURFACE_QUEUE},
        {"https://queue.fal.run/fal-ai/any-llm?fal_webhook=https%3A%2F%2Fa.b%2F%3Fc%23d",
         "queue.fal.run", "/fal-ai/any-llm", "fal_webhook=https%3A%2F%2Fa.b%2F%3Fc%23d",
         SURFACE_QUEUE},
        {"https://queue.fal.run/fal-ai/any-llm?a=//evil.com/@x?y", "queue.fal.run",
         "/fal-ai/any-llm", "a=//evil.com/@x?y", SURFACE_QUEUE},
        {"https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3", "rest.fal.ai",
         "/storage/upload/initiate", "storage_type=fal-cdn-v3", SURFACE_REST},
        {"https://rest.alpha.fal.ai/storage/upload/initiate", "rest.alpha.fal.ai",
         "/storage/upload/initiate", "", SURFACE_REST},
        {"https://rest.fal.ai/storage/upload/initiate-multipart", "rest.fal.ai",
         "/storage/upload/initiate-multipart", "", SURFACE_REST},
        {"https://rest.fal.ai/storage/upload/complete-multipart", "rest.fal.ai",
         "/storage/upload/complete-multipart", "", SURFACE_REST},
        {"https://rest.fal.ai/tokens/", "rest.fal.ai", "/tokens/", "", SURFACE_REST},
        {"https://rest.fal.ai/tokens/realtime", "rest.fal.ai", "/tokens/realtime", "",
         SURFACE_REST},
        {"https://rest.fal.ai/storage/auth/token", "rest.fal.ai", "/storage/auth/token", "",
         SURFACE_REST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reach at;
        const char *url = cases[i].url;
        if (!target_read(slice_of(url), &cfg, NULL, &at) || !target_allowed(&cfg.proxy, &at, true))
            fail_msg("refused: %s", url);
        if (!slice_is(at.host, cases[i].host) || !slice_is(at.path, cases[i].path) ||
            !slice_is(at.query, cases[i].query) || at.surface != cases[i].surface)
            fail_msg("%s: %.*s %.*s %.*s", url, SLICE_ARG(at.host), SLICE_ARG(at.path),
                     SLICE_ARG(at.query));
        assert_true(at.tls && at.as_fal);
        assert_int_equal(at.prefix.len, 0);
    }
}

static void target_split_takes_hosts_only_as_host(void **state) {
    static const char *const none[] = {
        "https://user@fal.run/x", "https://a:b@fal.run/x", "https:///x",     "https://fal.run:/x",
        "https://fal.run:99999/", "https://fal,run/x",     "https://[::1/x", "https://%66al.run/x"};
    static const char *const hosts[] = {"https://fal.run", "https://fal.run:8443/",
                                        "http://[::1]:80/x?y"};
    struct target_url u;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (target_split(slice_of(none[i]), &u)) fail_msg("taken: %s", none[i]);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        assert_true(target_split(slice_of(hosts[i]), &u));
    assert_true(slice_is(u.host, "[::1]:80") && slice_is(u.path, "/x") && slice_is(u.query, "y"));
}

/* Every beginning of a good address is either refused or names the same host. */
static void target_never_takes_a_part_for_another_host(void **state) {
    static const char url[] =
        "https://queue.fal.run:443/fal-ai/any-llm?fal_webhook=https://evil.com";
    struct reach at;
    for (size_t n = 0; n < sizeof url; n++)
        if (takes(url, n, NULL, &at)) assert_true(n >= strlen("https://queue.fal.run"));
    /* no single byte more or other lets another host through */
    for (size_t i = 0; i < strlen("https://queue.fal.run"); i++)
        for (int c = 0; c < 256; c++) {
            char changed[sizeof url];
            memcpy(changed, url, sizeof url);
            changed[i] = (char)c;
            if ((c | 32) == (url[i] | 32) && (c | 32) >= 'a' && (c | 32) <= 'z') continue;
            if (c != url[i] && takes(changed, strlen(url), &own, &at))
                fail_msg("taken: %s", changed);
        }
    /* control bytes, spaces and what is not ASCII: nowhere */
    for (size_t i = 0; i < strlen(url); i++)
        for (int c = 0; c < 256; c++) {
            char changed[sizeof url];
            memcpy(changed, url, sizeof url);
            changed[i] = (char)c;
            if ((c <= ' ' || c >= 0x7f || c == '\\' || c == '#') &&
                takes(changed, strlen(url), &own, &at))
                fail_msg("taken with %d at %zu", c, i);
        }
}

static void target_takes_addresses_of_our_own(void **state) {
    struct reach at;
    assert_true(target_read(SLICE("http://127.0.0.1:8787/queue/a/b?x=y"), &cfg, &own, &at));
    assert_true(at.surface == SURFACE_QUEUE && !at.as_fal && !at.tls);
    assert_true(slice_is(at.prefix, "/queue") && slice_is(at.query, "x=y"));
    assert_false(target_read(SLICE("http://127.0.0.1:8787/queue/a/b"), &cfg, NULL, &at));
    cfg.public_url = "https://llm.example.org/ai";
    assert_true(target_read(SLICE("https://LLM.example.org/ai/queue/a/b"), &cfg, &own, &at));
    assert_true(slice_is(at.path, "/queue/a/b") && at.surface == SURFACE_QUEUE && !at.as_fal);
    assert_true(target_read(SLICE("http://127.0.0.1:8787/run/a/b"), &cfg, &own, &at));
    static const char *const none[] = {"http://llm.example.org/ai/queue/a/b",
                                       "https://llm.example.org/ai",
                                       "https://llm.example.org/aiqueue/a/b",
                                       "https://llm.example.org/queue/a/b",
                                       "https://llm.example.org:8443/ai/queue/a/b",
                                       "https://llm.example.org.evil.com/ai/queue/a/b"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (target_read(slice_of(none[i]), &cfg, &own, &at)) fail_msg("taken: %s", none[i]);
    cfg.public_url = "https://llm.example.org";
    assert_true(target_read(SLICE("https://llm.example.org/queue/a/b"), &cfg, &own, &at));
    assert_true(slice_is(at.path, "/queue/a/b"));
    cfg.public_url = NULL;
    /* a prefix is no way round the allow-list of rest, nor to what has none */
    assert_true(target_read(SLICE("http://127.0.0.1:8787/rest/keys"), &cfg, &own, &at));
    assert_false(target_allowed(&cfg.proxy, &at, false));
    assert_true(target_read(SLICE("http://127.0.0.1:8787/rest/tokens/"), &cfg, &own, &at));
    assert_true(target_allowed(&cfg.proxy, &at, true));
    assert_true(target_read(SLICE("http://127.0.0.1:8787/platform/v1/keys"), &cfg, &own, &at));
    assert_false(target_allowed(&cfg.proxy, &at, false));
}

static void target_globs_match_segments(void **state) {
    static const struct {
        const char *glob, *path;
        bool matches;
    } cases[] = {
        {"fal-ai/any-llm", "fal-ai/any-llm", true},
        {"fal-ai/any-llm", "fal-ai/any-llm/vision", false},
        {"fal-ai/any-llm", "fal-ai", false},
        {"fal-ai/any-llm", "xfal-ai/any-llm", false},
        {"fal-ai/any-llm", "fal-ai/any-llmx", false},
        {"fal-ai/any-llm", "FAL-AI/any-llm", false},
        {"fal-ai/any-llm", "", false},
        {"", "fal-ai/any-llm", false},
        {"fal-ai/*", "fal-ai/any-llm", true},
        {"fal-ai/*", "fal-ai/any-llm/vision", false},
        {"fal-ai/*", "fal-ai", false},
        {"*/any-llm", "fal-ai/any-llm", true},
        {"*", "fal-ai/any-llm", false},
        {"fal-ai/any-*", "fal-ai/any-llm", true},
        {"fal-ai/any-*", "fal-ai/any-", true},
        {"fal-ai/any-*", "fal-ai/other", false},
        {"fal-ai/*ll*", "fal-ai/any-llm", true},
        {"fal-ai/*a*b*c", "fal-ai/xaxbxbxc", true},
        {"fal-ai/*a*b*c", "fal-ai/xaxcxb", false},
        {"**", "fal-ai/any-llm/vision", true},
        {"fal-ai/**", "fal-ai/any-llm/vision", true},
        {"fal-ai/**", "fal-ai", true},
        {"fal-ai/**", "other/any-llm", false},
        {"**/vision", "fal-ai/any-llm/vision", true},
        {"**/vision", "vision", true},
        {"**/vision", "fal-ai/vision/x", false},
        {"a/**/b/**/c", "a/x/b/y/z/b/c", true},
        {"a/**/b/**/c", "a/x/y/z/c", false},
        {"a/**/**", "a", true},
        {"a/**/b", "a/b/b", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (target_glob(slice_of(cases[i].glob), slice_of(cases[i].path)) != cases[i].matches)
            fail_msg("%s of %s", cases[i].glob, cases[i].path);
}

static bool allows(const char *url, bool post) {
    struct reach at;
    assert_true(target_read(slice_of(url), &cfg, &own, &at));
    return target_allowed(&cfg.proxy, &at, post);
}

static void target_lists_what_may_be_posted_to(void **state) {
    static const struct slice ids[] = {{"fal-ai/any-llm", 14}, {"openrouter/**", 13}};
    cfg.proxy.endpoints = ids;
    cfg.proxy.nendpoints = 2;
    assert_true(allows("https://fal.run/fal-ai/any-llm", true));
    assert_true(allows("https://fal.run/fal-ai/any-llm/", true));
    assert_true(allows("https://fal.run/fal-ai/any-llm/stream", true));
    assert_true(allows("https://queue.fal.run/fal-ai/any-llm?fal_webhook=x", true));
    assert_true(allows("https://queue.fal.run/openrouter/router/vision", true));
    assert_true(allows("http://127.0.0.1:8787/queue/fal-ai/any-llm", true));
    assert_false(allows("https://fal.run/fal-ai/any-llm/vision", true));
    assert_false(allows("https://fal.run/queue/fal-ai/any-llm", true));
    assert_false(allows("https://queue.fal.run/fal-ai/other", true));
    assert_false(allows("https://queue.fal.run/other?x=fal-ai/any-llm", true));
    assert_false(allows("http://127.0.0.1:8787/fal-ai/other", true));
    assert_false(allows("https://fal.run", true));
    assert_true(allows("https://queue.fal.run/fal-ai/other/requests/x/status", false));
    assert_true(allows("https://rest.fal.ai/tokens/", true));
    cfg.proxy.nendpoints = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_refuses_what_is_not_fals),
        cmocka_unit_test(target_takes_fals_hosts),
        cmocka_unit_test(target_split_takes_hosts_only_as_host),
        cmocka_unit_test(target_never_takes_a_part_for_another_host),
        cmocka_unit_test(target_takes_addresses_of_our_own),
        cmocka_unit_test(target_globs_match_segments),
        cmocka_unit_test(target_lists_what_may_be_posted_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
