/* Who is let in, with keys of the configuration and keys that come and go while the server runs. */
#include "cmocka_all.h"

#include "api/auth.h"
#include "api/credential.h"

#include <stdio.h>

/* --- the exchange, as far as it is looked at */

static struct h1_head head;
static struct slice peer;

const struct h1_head *net_head(const struct net_exchange *x) {
    return &head;
}

struct slice net_peer(const struct net_exchange *x) {
    return peer;
}

static int64_t now_ms = 1000000;

static int64_t wall(void *user) {
    return now_ms;
}

static uint64_t mono(void *user) {
    return (uint64_t)now_ms;
}

static const struct clock test_clock = {mono, wall, NULL};

static struct identity who;

static enum auth_verdict ask(struct keyring *k, const char *authorization) {
    head = (struct h1_head){.host = SLICE("127.0.0.1:8787")};
    if (authorization != NULL)
        head.headers[head.nheaders++] = (struct h1_header){.name = SLICE("authorization"),
                                                           .value = slice_of(authorization)};
    peer = SLICE("127.0.0.1");
    who = (struct identity){0};
    return auth_check(k, NULL, &who);
}

static enum auth_verdict ask_key(struct keyring *k, const char *credential) {
    static char text[256] = "Key ";
    assert_true(strlen(credential) < sizeof text - 4);
    memcpy(text + 4, credential, strlen(credential) + 1);
    return ask(k, text);
}

/* --- a keyring */

static struct config_key configured[3];
static struct config cfg;
static struct limits *limits;

static struct config_key config_key(const char *id, const char *credential, const char *owner) {
    struct config_key key = {.id = slice_of(id), .owner = slice_of(owner)};
    assert_true(secret_sha256(slice_of(credential), key.sha256));
    return key;
}

/* No secret of anybody's: the names can be told beforehand. */
static void plain_mac(const void *user, struct slice message,
                      unsigned char mac[KEYRING_MAC_BYTES]) {
    assert_true(slice_starts(message, SLICE("key\n")));
    assert_int_equal(message.len, 4 + SECRET_HASH_BYTES);
    memcpy(mac, message.ptr + 4, KEYRING_MAC_BYTES);
}

static struct keyring *fresh(size_t nkeys) {
    configured[0] = config_key("app", "app:old", "team");
    configured[1] = config_key("app", "app:new", "team"); /* one id, two secrets: a rotation */
    configured[2] = config_key("other", "other:anyllm_x", "other");
    configured[2].scope = SCOPE_ADMIN;
    cfg = (struct config){.nkeys = nkeys, .keys = configured};
    limits = limits_new(&cfg, &random_system);
    struct keyring *k = keyring_new(&cfg, limits, &test_clock);
    assert_non_null(k);
    keyring_seal(k, plain_mac, NULL);
    return k;
}

static void done(struct keyring *k) {
    keyring_free(k);
    limits_free(limits);
}

struct made {
    char text[CREDENTIAL_BYTES + 1];
};

static struct made make(struct keyring *k, const char *owner, int64_t expires_ms) {
    struct made m;
    char name[32];
    credential_make(&random_system, m.text);
    snprintf(name, sizeof name, "%s", owner); /* borrowed no longer than the call */
    struct keyring_key key = {.id = slice_make(m.text, CREDENTIAL_ID_BYTES),
                              .owner = slice_of(name),
                              .expires_ms = expires_ms};
    assert_true(secret_sha256(slice_of(m.text), key.sha256));
    assert_true(keyring_add(k, &key));
    memset(name, 'x', sizeof name);
    return m;
}

/* As plain_mac seals it. */
static struct slice name_of(const char *credential) {
    static char name[128];
    unsigned char hash[SECRET_HASH_BYTES];
    int id = (int)strcspn(credential, ":");
    assert_true(secret_sha256(slice_of(credential), hash));
    snprintf(name, sizeof name, "%.*s.%02x%02x%02x%02x", id, credential, hash[0], hash[1], hash[2],
             hash[3]);
    return slice_of(name);
}

static size_t place_of(struct keyring *k, const struct made *m) {
    size_t i = SIZE_MAX;
    assert_true(keyring_find(k, slice_make(m->text, CREDENTIAL_ID_BYTES), &i));
    return i;
}

/* --- the tests */

static void configured_keys_open_whatever_their_form(void **state) {
    struct keyring *k = fresh(3);
    static const char *const right[] = {"app:old", "app:new", "other:anyllm_x"};
    for (size_t i = 0; i < 3; i++) assert_int_equal(ask_key(k, right[i]), AUTH_OK);
    assert_true(slice_is(who.owner, "other"));
    assert_int_equal(who.scope, SCOPE_ADMIN);
    assert_int_equal(ask(k, "bearer app:old"), AUTH_OK);
    assert_true(slice_is(who.key_id, "app"));
    assert_int_equal(ask(k, NULL), AUTH_MISSING);
    assert_int_equal(ask_key(k, "app:none"), AUTH_INVALID);
    done(k);
}

static void a_key_opens_from_the_moment_it_is_added(void **state) {
    struct keyring *k = fresh(1);
    struct made m = make(k, "late", 0);
    assert_int_equal(ask_key(k, m.text), AUTH_OK);
    assert_true(slice_is(who.owner, "late"));
    assert_int_equal(who.scope, SCOPE_API);
    assert_ptr_equal(who.limits, &cfg.key_limits);
    assert_int_equal(ask_key(k, "app:old"), AUTH_OK);
    done(k);
}

/* Two secrets of one id are two keys, and an id alone is none. */
static void a_name_is_of_one_secret(void **state) {
    struct keyring *k = fresh(2), *later;
    char old[64], new[64];
    static const char *const none[] = {"app", "app.", "app.00000000", ".00000000", "", "local"};
    assert_int_equal(ask_key(k, "app:old"), AUTH_OK);
    snprintf(old, sizeof old, "%.*s", SLICE_ARG(who.key_name));
    assert_true(slice_eq(who.key_name, name_of("app:old")));
    assert_true(slice_is(who.key_id, "app"));
    assert_int_equal(ask_key(k, "app:new"), AUTH_OK);
    snprintf(new, sizeof new, "%.*s", SLICE_ARG(who.key_name));
    assert_string_not_equal(old, new);
    assert_true(keyring_identity(k, slice_of(old), &who) && slice_is(who.key_name, old));
    assert_true(keyring_identity(k, slice_of(new), &who) && slice_is(who.key_name, new));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(keyring_identity(k, slice_of(none[i]), &who));
    keyring_revoke(k, 0, now_ms);
    assert_false(keyring_identity(k, slice_of(old), &who));
    assert_true(keyring_identity(k, slice_of(new), &who));
    done(k);
    later = fresh(1); /* only app:old is left */
    assert_true(keyring_identity(later, slice_of(old), &who));
    assert_false(keyring_identity(later, slice_of(new), &who));
    done(later);
}

static void a_revoked_key_opens_nothing(void **state) {
    struct keyring *k = fresh(0);
    struct made m = make(k, "o", 0), other = make(k, "o", 0);
    struct identity by_id;
    keyring_revoke(k, place_of(k, &m), now_ms);
    assert_int_equal(ask_key(k, m.text), AUTH_INVALID);
    assert_false(keyring_identity(k, name_of(m.text), &by_id));
    assert_int_equal(ask_key(k, other.text), AUTH_OK);
    assert_true(keyring_identity(k, name_of(other.text), &by_id));
    assert_int_equal(keyring_get_stats(k)->ended, 1);
    done(k);
}

static void a_key_ends_when_its_time_has_come(void **state) {
    struct keyring *k = fresh(0);
    struct made m = make(k, "o", now_ms + 1000);
    struct slice name = name_of(m.text);
    now_ms += 999;
    assert_int_equal(ask_key(k, m.text), AUTH_OK);
    assert_true(keyring_identity(k, name, &who));
    now_ms += 1;
    assert_int_equal(ask_key(k, m.text), AUTH_INVALID);
    assert_false(keyring_identity(k, name, &who));
    done(k);
}

/* Neither an expiry nor a revocation may open a server to everybody. */
static void a_server_that_had_a_key_does_not_open_again(void **state) {
    struct keyring *k = fresh(0);
    assert_true(keyring_is_open(k));
    assert_int_equal(ask(k, NULL), AUTH_OK);
    assert_true(slice_is(who.owner, "local"));
    assert_true(keyring_identity(k, SLICE("local"), &who));
    struct made m = make(k, "o", now_ms + 10);
    assert_int_equal(ask(k, NULL), AUTH_MISSING);
    assert_false(keyring_identity(k, SLICE("local"), &who));
    now_ms += 20;
    assert_int_equal(ask(k, NULL), AUTH_MISSING);
    keyring_revoke(k, place_of(k, &m), now_ms);
    assert_int_equal(ask(k, NULL), AUTH_MISSING);
    assert_false(keyring_is_open(k));
    done(k);
}

static void a_mistyped_key_is_looked_for_nowhere(void **state) {
    struct keyring *k = fresh(3);
    struct made m = make(k, "o", 0);
    uint64_t before = keyring_get_stats(k)->lookups;
    for (size_t at = 0; at < CREDENTIAL_BYTES; at++) {
        char was = m.text[at];
        bool mark = at >= CREDENTIAL_ID_BYTES && at < CREDENTIAL_ID_BYTES + 8;
        m.text[at] = was == 'a' ? 'b' : 'a';
        if (!mark) assert_int_equal(ask_key(k, m.text), AUTH_INVALID);
        m.text[at] = was;
    }
    assert_int_equal(keyring_get_stats(k)->lookups, before);
    assert_int_equal(keyring_get_stats(k)->malformed, CREDENTIAL_BYTES - 8);
    assert_int_equal(ask_key(k, m.text), AUTH_OK);
    assert_int_equal(keyring_get_stats(k)->lookups, before + 1);
    done(k);
}

/* A well-formed key that nobody made, and the right id with another's secret: one look each, as for the right one. */
static void a_wrong_key_costs_what_the_right_one_costs(void **state) {
    struct keyring *k = fresh(1);
    struct made right = make(k, "o", 0), unknown;
    credential_make(&random_system, unknown.text);
    const char *const asked[] = {right.text, unknown.text, "app:wrong", "nobody:wrong"};
    for (size_t i = 0; i < 4; i++) {
        uint64_t before = keyring_get_stats(k)->lookups;
        assert_int_equal(ask_key(k, asked[i]), i == 0 ? AUTH_OK : AUTH_INVALID);
        assert_int_equal(keyring_get_stats(k)->lookups, before + 1);
    }
    assert_int_equal(keyring_get_stats(k)->unknown, 3);
    done(k);
}

static void thousands_are_found_by_secret_and_by_id(void **state) {
    enum { N = 3000 };
    static struct made made[N];
    struct keyring *k = fresh(3);
    char owner[16];
    for (size_t i = 0; i < N; i++) {
        snprintf(owner, sizeof owner, "o-%zu", i % 100);
        made[i] = make(k, owner, 0);
        if (i % 3 == 0) keyring_revoke(k, place_of(k, &made[i]), now_ms);
    }
    assert_int_equal(keyring_count(k), N + 3);
    for (size_t i = 0; i < N; i++) {
        snprintf(owner, sizeof owner, "o-%zu", i % 100);
        assert_int_equal(ask_key(k, made[i].text), i % 3 == 0 ? AUTH_INVALID : AUTH_OK);
        assert_int_equal(keyring_identity(k, name_of(made[i].text), &who), i % 3 != 0);
        assert_int_equal(place_of(k, &made[i]), i + 3);
        if (i % 3 != 0) assert_true(slice_is(who.owner, owner));
    }
    assert_int_equal(ask_key(k, "app:new"), AUTH_OK);
    done(k);
}

/* Two keys of one owner, whichever way they came, use up one account. */
static void one_owners_keys_share_an_account(void **state) {
    struct keyring *k = fresh(3);
    struct made mate = make(k, "team", 0), stranger = make(k, "nobody else", 0);
    assert_int_equal(ask_key(k, "app:old"), AUTH_OK);
    size_t account = who.account;
    assert_int_equal(ask_key(k, mate.text), AUTH_OK);
    assert_int_equal(who.account, account);
    assert_int_equal(ask_key(k, stranger.text), AUTH_OK);
    assert_int_not_equal(who.account, account);
    done(k);
}

/* Even where there are keys, and whatever Host it names: its owner is nobody, which is to say everybody. */
static void the_admin_socket_needs_no_key(void **state) {
    for (size_t keys = 0; keys < 4; keys += 3) {
        struct keyring *k = fresh(keys);
        ask(k, NULL);
        head.host = SLICE("anything");
        peer = SLICE(AUTH_ADMIN_PEER);
        assert_int_equal(auth_check(k, NULL, &who), AUTH_OK);
        assert_int_equal(who.owner.len, 0);
        assert_int_equal(who.scope, SCOPE_ADMIN);
        assert_true(slice_is(identity_owner(&who), "local"));
        static const char *const others[] = {"unix", "admin.example", ""};
        for (size_t i = 0; i < 3; i++) {
            peer = slice_of(others[i]);
            assert_int_equal(auth_check(k, NULL, &who), keys == 0 ? AUTH_HOST : AUTH_MISSING);
        }
        done(k);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(configured_keys_open_whatever_their_form),
        cmocka_unit_test(a_key_opens_from_the_moment_it_is_added),
        cmocka_unit_test(a_name_is_of_one_secret),
        cmocka_unit_test(a_revoked_key_opens_nothing),
        cmocka_unit_test(a_key_ends_when_its_time_has_come),
        cmocka_unit_test(a_server_that_had_a_key_does_not_open_again),
        cmocka_unit_test(a_mistyped_key_is_looked_for_nowhere),
        cmocka_unit_test(a_wrong_key_costs_what_the_right_one_costs),
        cmocka_unit_test(thousands_are_found_by_secret_and_by_id),
        cmocka_unit_test(one_owners_keys_share_an_account),
        cmocka_unit_test(the_admin_socket_needs_no_key),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
