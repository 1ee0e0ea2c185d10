#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct net_address address(const char *text) {
    union net_sockaddr sa;
    socklen_t len;
    struct net_address a;
    assert_true(net_sockaddr_parse(text, 0, &sa, &len));
    net_address_of(&sa, &a);
    return a;
}

static bool within(const char *cidr, const char *text) {
    struct net_cidr c;
    struct net_address a = address(text);
    assert_true(net_cidr_parse(cidr, &c));
    return net_cidr_has(&c, &a);
}

static void addresses_are_parsed_and_written(void **state) {
    static const char *const same[] = {"127.0.0.1", "10.1.2.3", "::1", "2001:db8::5"};
    char text[NET_ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < 4; i++) {
        struct net_address a = address(same[i]);
        assert_int_equal(net_address_text(&a, text), strlen(same[i]));
        assert_string_equal(text, same[i]);
    }
    struct net_address mapped = address("[::ffff:127.0.0.2]");
    net_address_text(&mapped, text);
    assert_string_equal(text, "127.0.0.2");
    assert_true(net_address_is_loopback(&mapped));
    struct net_address six = address("::1"), other = address("::2");
    assert_true(net_address_is_loopback(&six));
    assert_false(net_address_is_loopback(&other));
    union net_sockaddr sa;
    socklen_t len;
    assert_false(net_sockaddr_parse("localhost", 1, &sa, &len));
    assert_false(net_sockaddr_parse("1.2.3", 1, &sa, &len));
    assert_false(net_sockaddr_parse("", 1, &sa, &len));
}

static void ranges_hold_what_they_say(void **state) {
    struct net_cidr c;
    assert_true(within("10.0.0.0/8", "10.255.0.1"));
    assert_false(within("10.0.0.0/8", "11.0.0.1"));
    assert_true(within("192.168.4.0/22", "192.168.7.255"));
    assert_false(within("192.168.4.0/22", "192.168.8.0"));
    assert_true(within("1.2.3.4", "1.2.3.4"));
    assert_false(within("1.2.3.4", "1.2.3.5"));
    assert_true(within("fd00::/8", "fdab::1"));
    assert_false(within("fd00::/8", "10.0.0.1"));
    assert_true(within("0.0.0.0/0", "8.8.8.8"));
    assert_false(within("0.0.0.0/0", "2001:db8::1"));
    assert_true(within("::/0", "2001:db8::1"));
    static const char *const bad[] = {"",           "/8",     "10.0.0.0/33", "10.0.0.0/",
                                      "10.0.0.0/a", "::/129", "host/8"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(net_cidr_parse(bad[i], &c));
}

static bool is_private(const char *text) {
    union net_sockaddr sa;
    socklen_t len;
    assert_true(net_sockaddr_parse(text, 443, &sa, &len));
    return net_address_is_private(&sa.any);
}

/* First and last of each range, and their neighbours that are hosts like any other. */
/* clang-format off */
static const char *const private[] = {
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.0",
    "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0",
    "198.19.255.255", "198.51.100.7", "203.0.113.255", "224.0.0.1", "239.255.255.255",
    "240.0.0.0", "255.255.255.255", "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1", "100::1", "1fff:ffff::1",
    "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:1ff::1", "2001:db8::1", "2001:db8:ffff::",
    "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1",
    "7fff::1", "8000::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "fec0::1",
    "ff02::1", "ffff::ffff",
};
static const char *const public[] = {
    "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255",
    "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
    "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
    "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1",
    "2001:db9::1", "2003::1", "2606:4700:4700::1111", "2a00:1450::1", "3ffe::1", "3fff:1000::1",
};
/* clang-format on */

static void what_is_not_the_internet_is_private(void **state) {
    for (size_t i = 0; i < sizeof private / sizeof *private; i++)
        if (!is_private(private[i])) fail_msg("%s passes", private[i]);
    for (size_t i = 0; i < sizeof public / sizeof *public; i++)
        if (is_private(public[i])) fail_msg("%s is refused", public[i]);
    assert_true(net_address_is_private(&(struct sockaddr){.sa_family = AF_UNIX}));
    assert_true(net_address_is_private(&(struct sockaddr){.sa_family = AF_UNSPEC}));
}

static void an_address_holds_so_many_and_no_more(void **state) {
    struct net_census *c = net_census_new();
    char text[32];
    assert_non_null(c);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct net_address a = address(text);
        for (int n = 0; n < 3; n++) assert_true(net_census_add(c, &a, 3));
        assert_false(net_census_add(c, &a, 3));
    }
    struct net_address a = address("10.0.0.7"), never = address("10.9.9.9");
    net_census_remove(c, &a);
    assert_true(net_census_add(c, &a, 3));
    assert_false(net_census_add(c, &a, 3));
    for (int n = 0; n < 3; n++) net_census_remove(c, &a);
    net_census_remove(c, &a); /* harmless */
    net_census_remove(c, &never);
    assert_true(net_census_add(c, &a, 1));
    assert_false(net_census_add(c, &never, 0));
    net_census_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_parsed_and_written),
        cmocka_unit_test(ranges_hold_what_they_say),
        cmocka_unit_test(what_is_not_the_internet_is_private),
        cmocka_unit_test(an_address_holds_so_many_and_no_more),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
