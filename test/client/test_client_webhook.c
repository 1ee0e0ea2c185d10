/* Webhooks, at the receiver's: signatures that others made (PyNaCl, Standard Webhooks' own example), and all that is wrong. */
#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 8032's first key signed these with PyNaCl. */
#define AT 1795436254
#define BODY \
    "{\"error\": null, \"gateway_request_id\": \"r1\", \"payload\": {\"output\": \"42\"}, \"request_id\": \"r1\", \"status\": \"OK\"}"
#define X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define OTHER_X "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" /* of RFC 8032's second key */
#define HEX                                                            \
    "aad8c7bc80a3007c2cbcefaaaf9001bc7c22541db0fcd5db0147804c2668b7be" \
    "7fd8c1216538f275a8e62a74f5cf66b9db8e5f62c92d15a4088a741418db2b0b"
#define V1A \
    "m7eWvjTA75lAbCRpBQQ46bCPSHSy2nRBDNGIg+9dJcMs9FnOVYus3/JkZvtQEEdZKH33y53xa7YrC+pmwZ0kDg=="
#define SECRET "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define V1 "xJF+Js5lyqzlpF7grNE+f879UFB3FAcQIfIf//yU5qA="
#define OTHER_V1 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY(x) "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"" x "\"}"
#define JWKS(keys) "{\"keys\":[" keys "]}"

static struct fal_webhook signed_by_fal(void) {
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    w.body = BODY;
    w.body_bytes = sizeof BODY - 1;
    w.request_id = "r1";
    w.user_id = "team-a";
    w.timestamp = "1795436254";
    w.signature = HEX;
    return w;
}

static struct fal_webhook signed_as_standard(const char *signatures) {
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    w.body = BODY;
    w.body_bytes = sizeof BODY - 1;
    w.standard_id = "r1";
    w.standard_timestamp = "1795436254";
    w.standard_signature = signatures;
    return w;
}

static enum fal_webhook_verdict verdict_at(struct fal_webhook w, const char *jwks,
                                           const char *secret, int64_t now_s) {
    struct fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
    k.jwks_json = jwks;
    k.secret = secret;
    k.now_s = now_s;
    return fal_webhook_verify(&w, &k);
}

static enum fal_webhook_verdict verdict(struct fal_webhook w, const char *jwks,
                                        const char *secret) {
    return verdict_at(w, jwks, secret, AT + 5);
}

/* --- the keys */

static const struct {
    const char *id, *jwks;
    enum fal_webhook_verdict verdict;
} lists[] = {
    {"plain", JWKS(KEY(X)), FAL_WEBHOOK_VALID},
    {"padded", JWKS(KEY(X "=")), FAL_WEBHOOK_VALID},
    {"x_alone", JWKS("{\"x\":\"" X "\"}"), FAL_WEBHOOK_VALID},
    {"second", JWKS(KEY(OTHER_X) "," KEY(X)), FAL_WEBHOOK_VALID},
    {"behind_what_is_no_key", JWKS("null,7,[],{},{\"x\":7},{\"x\":\"!\"}," KEY(X)),
     FAL_WEBHOOK_VALID},
    {"behind_another_sort", JWKS("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}," KEY(X)),
     FAL_WEBHOOK_VALID},
    {"another", JWKS(KEY(OTHER_X)), FAL_WEBHOOK_FORGED},
    {"another_sort", JWKS("{\"kty\":\"EC\",\"x\":\"" X "\"}"), FAL_WEBHOOK_NO_KEY},
    {"another_curve", JWKS("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X "\"}"),
     FAL_WEBHOOK_NO_KEY},
    {"too_short", JWKS(KEY("AAAA")), FAL_WEBHOOK_NO_KEY},
    {"too_long", JWKS(KEY(X "AA")), FAL_WEBHOOK_NO_KEY},
    {"padded_too_much", JWKS(KEY(X "==")), FAL_WEBHOOK_NO_KEY},
    {"empty_x", JWKS(KEY("")), FAL_WEBHOOK_NO_KEY},
    {"none", JWKS(""), FAL_WEBHOOK_NO_KEY},
    {"no_list", "{}", FAL_WEBHOOK_NO_KEY},
    {"list_is_none", "{\"keys\":{\"x\":1}}", FAL_WEBHOOK_NO_KEY},
    {"no_json", "<html>", FAL_WEBHOOK_NO_KEY},
    {"empty", "", FAL_WEBHOOK_NO_KEY},
    {"not_there", NULL, FAL_WEBHOOK_NO_KEY},
};

static void webhook_keys_are_read_as_they_are_published(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        int got = (int)verdict(signed_by_fal(), lists[i].jwks, NULL);
        if (got != (int)lists[i].verdict) fail_msg("%s: %d", lists[i].id, got);
        got = (int)verdict(signed_as_standard("v1a," V1A), lists[i].jwks, NULL);
        if (got != (int)lists[i].verdict) fail_msg("%s, standard: %d", lists[i].id, got);
    }
}

static const struct {
    const char *id, *secret;
    enum fal_webhook_verdict verdict;
} secrets[] = {
    {"prefixed", SECRET, FAL_WEBHOOK_VALID},
    {"bare", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", FAL_WEBHOOK_VALID},
    {"not_padded", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", FAL_WEBHOOK_VALID},
    {"spaces_around_it", " " SECRET " ", FAL_WEBHOOK_VALID},
    {"another", "whsec_AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", FAL_WEBHOOK_FORGED},
    {"empty", "", FAL_WEBHOOK_NO_KEY},
    {"prefix_alone", "whsec_", FAL_WEBHOOK_NO_KEY},
    {"no_base64", "whsec_*", FAL_WEBHOOK_NO_KEY},
    {"not_there", NULL, FAL_WEBHOOK_NO_KEY},
};

static void webhook_secret_opens_v1_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        int got = (int)verdict(signed_as_standard("v1," V1), NULL, secrets[i].secret);
        if (got != (int)secrets[i].verdict) fail_msg("%s: %d", secrets[i].id, got);
    }
    assert_int_equal(verdict(signed_as_standard("v1," V1), JWKS(KEY(X)), NULL), FAL_WEBHOOK_NO_KEY);
    assert_int_equal(verdict(signed_as_standard("v1a," V1A), NULL, SECRET), FAL_WEBHOOK_NO_KEY);
    char *long_secret = malloc(4001);
    memset(long_secret, 'A', 4000);
    long_secret[4000] = '\0';
    assert_int_equal(verdict(signed_as_standard("v1," V1), NULL, long_secret), FAL_WEBHOOK_NO_KEY);
    free(long_secret);
}

/* From the specification's own examples. */
static void webhook_standards_own_example_is_valid(void **state) {
    (void)state;
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    w.body = "{\"test\": 2432232314}";
    w.body_bytes = strlen(w.body);
    w.standard_id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    w.standard_timestamp = "1614265330";
    w.standard_signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_int_equal(verdict_at(w, NULL, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330),
                     FAL_WEBHOOK_VALID);
}

/* --- several signatures */

static const struct {
    const char *id, *signatures;
    enum fal_webhook_verdict verdict; /* with all keys */
} headers[] = {
    {"v1_first", "v1," V1 " v1a," V1A, FAL_WEBHOOK_VALID},
    {"v1a_first", "v1a," V1A " v1," V1, FAL_WEBHOOK_VALID},
    {"right_one_last", "v1," OTHER_V1 " v2,AAAA v1,! v1a," V1 "  v1," V1, FAL_WEBHOOK_VALID},
    {"wrong_ones", "v1," OTHER_V1 " v1," OTHER_V1, FAL_WEBHOOK_FORGED},
    {"mac_as_signature", "v1a," V1, FAL_WEBHOOK_UNSIGNED},
    {"signature_as_mac", "v1," V1A, FAL_WEBHOOK_UNSIGNED},
    {"unknown_versions", "v2," V1 " v," V1 " V1," V1, FAL_WEBHOOK_UNSIGNED},
    {"no_version", V1, FAL_WEBHOOK_UNSIGNED},
    {"no_signature", "v1", FAL_WEBHOOK_UNSIGNED},
    {"empty_signature", "v1,", FAL_WEBHOOK_UNSIGNED},
    {"cut", "v1,xJF+Js5lyqzlpF7grNE", FAL_WEBHOOK_UNSIGNED},
    {"longer", "v1," V1 "AAAA", FAL_WEBHOOK_UNSIGNED},
    {"spaces", "   ", FAL_WEBHOOK_UNSIGNED},
    {"empty", "", FAL_WEBHOOK_UNSIGNED},
    {"not_there", NULL, FAL_WEBHOOK_UNSIGNED},
};

static void webhook_one_right_signature_of_a_list_is_enough(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        int got = (int)verdict(signed_as_standard(headers[i].signatures), JWKS(KEY(X)), SECRET);
        if (got != (int)headers[i].verdict) fail_msg("%s: %d", headers[i].id, got);
    }
}

static void webhook_one_right_scheme_is_enough(void **state) {
    (void)state;
    struct fal_webhook w = signed_by_fal();
    w.standard_id = "r1";
    w.standard_timestamp = "1795436254";
    w.standard_signature = "v1," OTHER_V1;
    assert_int_equal(verdict(w, JWKS(KEY(X)), SECRET), FAL_WEBHOOK_VALID);
    w.standard_signature = "v1," V1;
    w.signature = NULL;
    assert_int_equal(verdict(w, JWKS(KEY(X)), SECRET), FAL_WEBHOOK_VALID);
    w.standard_signature = "v1," OTHER_V1;
    assert_int_equal(verdict(w, JWKS(KEY(X)), SECRET), FAL_WEBHOOK_FORGED);
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_NO_KEY);
}

/* Who sends a thousand signatures costs no more than 64 verifications. */
static void webhook_work_is_bounded(void **state) {
    (void)state;
    char *many = malloc(1001 * 100);
    size_t n = 0;
    for (size_t i = 0; i < 1000; i++) n += (size_t)snprintf(many + n, 100, "v1a,A%s ", V1A + 1);
    snprintf(many + n, 100, "v1," V1);
    assert_int_equal(verdict(signed_as_standard(many), JWKS(KEY(X)), SECRET), FAL_WEBHOOK_FORGED);
    free(many);
}

/* --- what is signed */

static void webhook_of_fal_wants_four_sound_headers(void **state) {
    (void)state;
    static const char *const bad_ids[] = {NULL, "", "r1\nteam-a", "r\x01", "r\xc3\xa4"};
    static const char *const bad_times[] = {
        NULL,         "", "x", "1795436254 ", "-1795436254", "1e9", "17954362540000000000000000",
        "+1795436254"};
    static const char *const bad_signatures[] = {NULL, "", "aa", HEX "aa", "zz" HEX, V1A};
    for (size_t i = 0; i < 5; i++) {
        struct fal_webhook w = signed_by_fal();
        w.request_id = bad_ids[i];
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_UNSIGNED);
        w = signed_by_fal();
        w.user_id = bad_ids[i];
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_UNSIGNED);
    }
    for (size_t i = 0; i < sizeof bad_times / sizeof *bad_times; i++) {
        struct fal_webhook w = signed_by_fal(), s = signed_as_standard("v1," V1);
        w.timestamp = s.standard_timestamp = bad_times[i];
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_UNSIGNED);
        assert_int_equal(verdict(s, NULL, SECRET), FAL_WEBHOOK_UNSIGNED);
    }
    for (size_t i = 0; i < sizeof bad_signatures / sizeof *bad_signatures; i++) {
        struct fal_webhook w = signed_by_fal();
        w.signature = bad_signatures[i];
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_UNSIGNED);
    }
}

/* Each byte of each part. */
static void webhook_changed_anywhere_is_forged(void **state) {
    (void)state;
    static char body[] = BODY, signature[] = HEX;
    struct fal_webhook w = signed_by_fal(), s = signed_as_standard("v1," V1 " v1a," V1A);
    w.body = s.body = body;
    w.signature = signature;
    for (size_t i = 0; i < sizeof BODY - 1; i++) {
        body[i] ^= 1;
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
        assert_int_equal(verdict(s, JWKS(KEY(X)), SECRET), FAL_WEBHOOK_FORGED);
        body[i] ^= 1;
    }
    for (size_t i = 0; i < 128; i++) {
        signature[i] = signature[i] == '0' ? '1' : '0';
        assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
        signature[i] = HEX[i];
    }
    w.user_id = "team-b";
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
    w = signed_by_fal();
    w.request_id = "r2";
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
    w = signed_by_fal();
    w.timestamp = "1795436255";
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
    w = signed_by_fal();
    w.body_bytes--;
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
    w.body_bytes = 0;
    w.body = NULL;
    assert_int_equal(verdict(w, JWKS(KEY(X)), NULL), FAL_WEBHOOK_FORGED);
}

/* "r1" at 1795436254 with a body that begins "…": the parts must not move over into each other. */
static void webhook_id_with_a_full_stop_is_malformed(void **state) {
    (void)state;
    struct fal_webhook s = signed_as_standard("v1," V1);
    s.standard_id = "r1.1795436254";
    assert_int_equal(verdict(s, NULL, SECRET), FAL_WEBHOOK_UNSIGNED);
}

static void webhook_is_accepted_within_its_tolerance(void **state) {
    (void)state;
    static const struct {
        int64_t off, tolerance;
        enum fal_webhook_verdict verdict;
    } times[] = {
        {0, 0, FAL_WEBHOOK_VALID},      {300, 0, FAL_WEBHOOK_VALID},
        {-300, 0, FAL_WEBHOOK_VALID},   {301, 0, FAL_WEBHOOK_EXPIRED},
        {-301, 0, FAL_WEBHOOK_EXPIRED}, {10, 10, FAL_WEBHOOK_VALID},
        {11, 10, FAL_WEBHOOK_EXPIRED},  {3600, 3600, FAL_WEBHOOK_VALID},
        {0, -1, FAL_WEBHOOK_EXPIRED},   {INT64_MAX - AT, 0, FAL_WEBHOOK_EXPIRED},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct fal_webhook w = signed_by_fal(), s = signed_as_standard("v1," V1);
        struct fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
        k.jwks_json = JWKS(KEY(X));
        k.secret = SECRET;
        k.tolerance_s = times[i].tolerance;
        k.now_s = AT + times[i].off;
        assert_int_equal(fal_webhook_verify(&w, &k), times[i].verdict);
        assert_int_equal(fal_webhook_verify(&s, &k), times[i].verdict);
        w.body_bytes--; /* expired is said of right signatures only */
        assert_int_equal(fal_webhook_verify(&w, &k), FAL_WEBHOOK_FORGED);
    }
    assert_int_equal(verdict_at(signed_by_fal(), JWKS(KEY(X)), NULL, 0), FAL_WEBHOOK_EXPIRED);
}

static void webhook_structs_of_other_versions_are_told_apart(void **state) {
    (void)state;
    struct {
        struct fal_webhook w;
        char more[16];
    } newer = {signed_by_fal(), {0}};
    struct fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
    k.jwks_json = JWKS(KEY(X));
    k.now_s = AT;
    newer.w.size = sizeof newer;
    assert_int_equal(fal_webhook_verify(&newer.w, &k), FAL_WEBHOOK_VALID);
    newer.more[3] = 1;
    assert_int_equal(fal_webhook_verify(&newer.w, &k), FAL_WEBHOOK_UNSIGNED);
    assert_int_equal(fal_webhook_verify(NULL, &k), FAL_WEBHOOK_UNSIGNED);
    assert_int_equal(fal_webhook_verify(NULL, NULL), FAL_WEBHOOK_UNSIGNED);
    newer.more[3] = 0;
    assert_int_equal(fal_webhook_verify(&newer.w, NULL), FAL_WEBHOOK_NO_KEY);
    struct fal_webhook no_body = signed_by_fal();
    no_body.body = NULL;
    assert_int_equal(fal_webhook_verify(&no_body, &k), FAL_WEBHOOK_UNSIGNED);
}

static void webhook_keys_are_fetched_from_the_base(void **state) {
    (void)state;
    struct script *s = SCRIPT({.status = 503, .body = "{}"}, {.status = 200, .body = JWKS(KEY(X))},
                              {.status = 200, .body = "{\"keys\":7}"},
                              {.status = 200, .body = "<html>"},
                              {.status = 404, .body = "{\"detail\":\"not here\"}"});
    fal_client *c = client_for(s);
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *r = NULL;
    o.headers = (const char *const[]){"X-Mine: 1"};
    o.header_count = 1;
    assert_int_equal(fal_webhook_keys_fetch(c, &o, &r), FAL_OK);
    assert_int_equal(verdict(signed_by_fal(), fal_result_json(r), NULL), FAL_WEBHOOK_VALID);
    fal_result_free(r);
    assert_true(script_asked(s, 1, "GET /rest/.well-known/jwks.json HTTP/1.1"));
    assert_true(script_has_header(s, 1, "X-Mine: 1"));
    assert_int_equal(fal_webhook_keys_fetch(c, NULL, &r), FAL_ERR_PROTOCOL);
    fal_result_free(r);
    assert_int_equal(fal_webhook_keys_fetch(c, NULL, NULL), FAL_ERR_PROTOCOL);
    assert_int_equal(fal_webhook_keys_fetch(c, NULL, &r), FAL_ERR_HTTP);
    assert_string_equal(fal_result_error(r)->message, "not here");
    fal_result_free(r);
    o.timeout_ms = -1;
    assert_int_equal(fal_webhook_keys_fetch(c, &o, NULL), FAL_ERR_ARGUMENT);
    assert_int_equal(fal_webhook_keys_fetch(NULL, NULL, NULL), FAL_ERR_ARGUMENT);
    fal_client_free(c);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(webhook_keys_are_read_as_they_are_published),
        cmocka_unit_test(webhook_secret_opens_v1_alone),
        cmocka_unit_test(webhook_standards_own_example_is_valid),
        cmocka_unit_test(webhook_one_right_signature_of_a_list_is_enough),
        cmocka_unit_test(webhook_one_right_scheme_is_enough),
        cmocka_unit_test(webhook_work_is_bounded),
        cmocka_unit_test(webhook_of_fal_wants_four_sound_headers),
        cmocka_unit_test(webhook_changed_anywhere_is_forged),
        cmocka_unit_test(webhook_id_with_a_full_stop_is_malformed),
        cmocka_unit_test(webhook_is_accepted_within_its_tolerance),
        cmocka_unit_test(webhook_structs_of_other_versions_are_told_apart),
        cmocka_unit_test(webhook_keys_are_fetched_from_the_base),
    };
    return cmocka_run_group_tests(tests, forget_the_environment, NULL);
}
