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
        cmocka_unit_test(an_address_holds_so_many_and_no_more),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
