#include "cmocka_all.h"

#include "api/api.h"

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
        if (webhook_url_fault(slice_of(urls[i])) == NULL) fail_msg("accepted: %s", urls[i]);
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
        const char *why = webhook_url_fault(slice_of(urls[i]));
        if (why != NULL) fail_msg("refused: %s: %s", urls[i], why);
    }
}

static void webhook_refuses_a_url_of_64_kib(void **state) {
    static char url[65536];
    memset(url, 'a', sizeof url);
    memcpy(url, "https://example.com/", 20);
    assert_non_null(webhook_url_fault(slice_make(url, sizeof url)));
    assert_non_null(webhook_url_fault(slice_make("https://example.com/\0", 21)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(webhook_refuses_what_may_not_be_delivered_to),
        cmocka_unit_test(webhook_accepts_public_urls),
        cmocka_unit_test(webhook_refuses_a_url_of_64_kib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
