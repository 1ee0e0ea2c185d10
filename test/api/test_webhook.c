#include "cmocka_all.h"

#include "api/api.h"
#include "api/webhook.h"
#include "net/address.h"

static const struct config plain;

static void webhook_refuses_what_may_not_be_delivered_to(void **state) {
    static const char *const urls[] = {
        "",
        "http://",
        "https:///x",
        "file:///etc/passwd",
        "gopher://a",
        "ftp://a",
        "dict://a",
        "javascript:alert(1)",
        "data:text/plain,x",
        "unix:/x",
        "http://127.0.0.1/",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://0",
        "http://localhost",
        "http://LocalHost.",
        "http://foo.localhost:80/",
        "http://[::1]",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://[64:ff9b::7f00:1]",
        "http://[2002:7f00:1::]",
        "http://10.1.2.3",
        "http://172.16.0.1",
        "http://172.31.255.255",
        "http://192.168.0.1",
        "http://169.254.169.254",
        "http://169.254.170.2",
        "http://100.64.0.1",
        "http://[fd00:ec2::254]",
        "http://[fe80::1%25eth0]",
        "http://metadata.google.internal/",
        "https://user:pass@example.com",
        "https://example.com/#frag",
        "https://exa mple.com",
        "https://example.com/\r\nX: y",
        "https://ex\xc3\xa4mple.com",
        "https://example.com:0",
        "https://example.com:22",
        "https://example.com:25",
        "https://example.com:70000",
        "https://example.com:x",
        "https://[::1",
        "https://[::2]x",
        "http://224.0.0.1",
        "http://255.255.255.255",
        "https://example.com\\@127.0.0.1",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (webhook_url_fault(&plain, slice_of(urls[i])) == NULL) fail_msg("accepted: %s", urls[i]);
}

static void webhook_accepts_public_urls(void **state) {
    static const char *const urls[] = {
        "https://example.com",
        "http://example.com:8080/hook?a=b&c=d",
        "HTTPS://Example.COM/x",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]:443/x",
        "https://example.com.",
        "https://172.32.0.1/",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const char *why = webhook_url_fault(&plain, slice_of(urls[i]));
        if (why != NULL) fail_msg("refused: %s: %s", urls[i], why);
    }
}

static void webhook_refuses_a_url_of_64_kib(void **state) {
    static char url[65536];
    memset(url, 'a', sizeof url);
    memcpy(url, "https://example.com/", 20);
    assert_non_null(webhook_url_fault(&plain, slice_make(url, sizeof url)));
    assert_non_null(webhook_url_fault(&plain, slice_make("https://example.com/\0", 21)));
}

/* W4: what webhook_allow names, and nothing beside it. */
static void webhook_allow_opens_what_it_names(void **state) {
    static const char *const ranges[] = {"10.1.2.0/24", "127.0.0.0/8", "fd00::/8"};
    const struct config cfg = {.webhook_allow = ranges, .nwebhook_allow = 3};
    static const struct {
        const char *url;
        bool allowed;
    } cases[] = {
        {"http://10.1.2.3/x", true},         {"http://10.1.3.3/x", false},
        {"http://127.0.0.1:9/x", true},      {"http://127.1:9/x", true},
        {"http://0x7f000001/x", true},       {"http://localhost:9/x", true},
        {"http://a.localhost./x", true},     {"http://[::ffff:127.0.0.1]/x", true},
        {"http://[fd00::1]:80/x", true},     {"http://[::1]/x", false},
        {"http://169.254.169.254/x", false}, {"http://metadata.google.internal/x", false},
        {"http://192.168.0.1/x", false},     {"https://example.com/x", true},
        {"http://10.1.2.3:25/x", false},     {"http://[10.1.2.3]/x", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if ((webhook_url_fault(&cfg, slice_of(cases[i].url)) == NULL) != cases[i].allowed)
            fail_msg("%s: %s", cases[i].allowed ? "refused" : "accepted", cases[i].url);
    assert_null(webhook_allow_fault(&cfg));
}

static void webhook_allow_must_be_ranges(void **state) {
    static const char *const ranges[] = {"10.1.2.0/24", "example.com"};
    const struct config cfg = {.webhook_allow = ranges, .nwebhook_allow = 2};
    assert_string_equal(webhook_allow_fault(&cfg), "example.com");
}

/* The same rule on the connected socket, where a name may lead anywhere. */
static void webhook_looks_at_the_connected_address(void **state) {
    static const char *const ranges[] = {"10.1.2.0/24"};
    const struct config cfg = {.webhook_allow = ranges, .nwebhook_allow = 1};
    static const struct {
        const char *address;
        bool allowed;
    } cases[] = {{"93.184.216.34", true}, {"10.1.2.3", true},        {"::ffff:10.1.2.3", true},
                 {"10.1.3.3", false},     {"127.0.0.1", false},      {"::ffff:127.0.0.1", false},
                 {"::1", false},          {"64:ff9b::7f00:1", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        union net_sockaddr sa;
        socklen_t len;
        assert_true(net_sockaddr_parse(cases[i].address, 80, &sa, &len));
        if (webhook_address_allowed(&cfg, &sa.any) != cases[i].allowed)
            fail_msg("%s", cases[i].address);
    }
    const struct sockaddr other = {.sa_family = AF_UNIX};
    assert_false(webhook_address_allowed(&cfg, &other));
}

/* W5, W18: a delivery to ourselves. */
static void webhook_refuses_its_own_port_and_address(void **state) {
    static const char *listen[] = {"0.0.0.0:8787", "[::1]:443"};
    static const char *const ranges[] = {"127.0.0.1"};
    struct config cfg = {.listen = listen, .nlisten = 2, .public_url = "https://llm.example.org"};
    assert_non_null(webhook_url_fault(&cfg, SLICE("http://example.com:8787/x")));
    assert_non_null(webhook_url_fault(&cfg, SLICE("http://93.184.216.34:8787/x")));
    assert_null(webhook_url_fault(&cfg, SLICE("http://example.com:8788/x")));
    assert_null(webhook_url_fault(&cfg, SLICE("https://example.com/x")));
    assert_non_null(webhook_url_fault(&cfg, SLICE("https://llm.example.org/queue/x")));
    assert_non_null(webhook_url_fault(&cfg, SLICE("HTTPS://LLM.example.org?x")));
    assert_null(webhook_url_fault(&cfg, SLICE("http://llm.example.org/queue/x")));
    assert_null(webhook_url_fault(&cfg, SLICE("https://llm.example.org:8443/x")));
    assert_non_null(webhook_url_fault(&cfg, SLICE("http://127.0.0.1:8787/x")));
    cfg.webhook_allow = ranges;
    cfg.nwebhook_allow = 1;
    assert_null(webhook_url_fault(&cfg, SLICE("http://127.0.0.1:8787/x")));
}

static void webhook_url_is_taken_apart(void **state) {
    static const struct {
        const char *url, *host, *path;
        unsigned port;
        bool tls;
    } cases[] = {
        {"https://Example.com", "Example.com", "", 443, true},
        {"http://example.com:8080/hook?a=b&c=d", "example.com", "/hook?a=b&c=d", 8080, false},
        {"https://example.com?x=/y", "example.com", "?x=/y", 443, true},
        {"https://[2606:2800:220::1946]:4443/x", "2606:2800:220::1946", "/x", 4443, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct webhook_url u;
        assert_null(webhook_url_read(&plain, slice_of(cases[i].url), &u));
        assert_true(slice_is(u.host, cases[i].host));
        assert_true(slice_is(u.path, cases[i].path));
        assert_int_equal(u.port, cases[i].port);
        assert_int_equal(u.tls, cases[i].tls);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(webhook_refuses_what_may_not_be_delivered_to),
        cmocka_unit_test(webhook_accepts_public_urls),
        cmocka_unit_test(webhook_refuses_a_url_of_64_kib),
        cmocka_unit_test(webhook_allow_opens_what_it_names),
        cmocka_unit_test(webhook_allow_must_be_ranges),
        cmocka_unit_test(webhook_looks_at_the_connected_address),
        cmocka_unit_test(webhook_refuses_its_own_port_and_address),
        cmocka_unit_test(webhook_url_is_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
