/* What a delivery carries, and that the signatures are over the bytes that are sent. */
#include "cmocka_all.h"

#include "api/webhooks_body.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ID "01a20857-1438-72bd-a105-e9eb4493c990"
#define LINK "https://llm.example.org/queue/fal-ai/any-llm/requests/" ID

static struct signer *signer;
static char dir[64];

static struct store_row row_of(unsigned status, const char *body) {
    return (struct store_row){.id = ID, .http_status = status, .body = slice_of(body)};
}

static char *body_of(const struct store_row *row) {
    struct buf b;
    size_t len;
    buf_init(&b, WEBHOOK_MAX_DELIVERY_BYTES);
    webhook_body(&b, row, SLICE(LINK));
    char *text = buf_take(&b, &len);
    assert_non_null(text);
    return text;
}

static void expect_body(const struct store_row *row, const char *expected) {
    char *text = body_of(row);
    assert_string_equal(text, expected);
    free(text);
}

static void the_result_stands_in_it_as_it_is(void **state) {
    struct store_row row = row_of(200, "{\"output\":\"caf\\u00e9\", \"b\": [1,2.50]}");
    expect_body(&row, "{\"error\": null, \"gateway_request_id\": \"" ID "\", \"payload\": "
                      "{\"output\":\"caf\\u00e9\", \"b\": [1,2.50]}, \"request_id\": \"" ID "\", "
                      "\"status\": \"OK\"}");
}

static void a_failure_is_named_by_its_status(void **state) {
    struct store_row row = row_of(422, "{\"detail\":[]}");
    static const char expected[] =
        "{\"error\": \"Invalid status code: 422\", \"gateway_request_id\": \"" ID
        "\", \"payload\": "
        "{\"detail\":[]}, \"request_id\": \"" ID "\", \"status\": \"ERROR\"}";
    expect_body(&row, expected);
    row.error = SLICE("a \"text\"\n");
    expect_body(&row, expected);
}

static void what_is_no_json_is_null_and_linked(void **state) {
    static const char *const bodies[] = {"{", "{\"a\":1} x", "NaN", "{\"a\":\"\xff\"}", "'x'"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct store_row row = row_of(200, bodies[i]);
        expect_body(&row,
                    "{\"error\": null, \"gateway_request_id\": \"" ID "\", \"payload\": null, "
                    "\"payload_error\": \"Response payload is not JSON serializable. Fetch it "
                    "from " LINK "\", \"request_id\": \"" ID "\", \"status\": \"OK\"}");
    }
    struct store_row gone = row_of(200, "");
    char *text = body_of(&gone);
    assert_non_null(strstr(text, "\"payload\": null, \"payload_error\": \"Response payload is no "
                                 "longer stored."));
    free(text);
}

static void a_result_of_a_mebibyte_fits_and_no_larger_one(void **state) {
    char *json = malloc(WEBHOOK_MAX_PAYLOAD_BYTES + 2);
    memset(json, 'x', WEBHOOK_MAX_PAYLOAD_BYTES + 1);
    json[0] = json[WEBHOOK_MAX_PAYLOAD_BYTES - 1] = '"';
    struct store_row row = {
        .id = ID, .http_status = 200, .body = slice_make(json, WEBHOOK_MAX_PAYLOAD_BYTES)};
    char *text = body_of(&row);
    assert_null(strstr(text, "payload_error"));
    assert_true(strlen(text) > WEBHOOK_MAX_PAYLOAD_BYTES);
    free(text);
    json[WEBHOOK_MAX_PAYLOAD_BYTES - 1] = 'x';
    json[WEBHOOK_MAX_PAYLOAD_BYTES] = '"';
    row.body.len++;
    text = body_of(&row);
    assert_non_null(strstr(text, "\"payload_error\": \"Response payload is larger than 1 MiB."));
    free(text);
    free(json);
}

/* --- headers */

static char *headers_of(const struct webhook_delivery *d) {
    struct buf b;
    size_t len;
    buf_init(&b, 8192);
    assert_true(webhook_headers(&b, signer, d));
    char *text = buf_take(&b, &len);
    assert_non_null(text);
    return text;
}

static void value_of(const char *headers, const char *name, char out[512]) {
    char line[64];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *at = strstr(headers, line);
    if (at == NULL) fail_msg("no %s in %s", name, headers);
    at += strlen(line);
    snprintf(out, 512, "%.*s", (int)strcspn(at, "\r"), at);
}

static void both_signatures_are_over_what_is_sent(void **state) {
    const struct webhook_delivery d = {.id = ID,
                                       .user = SLICE("team-a"),
                                       .at_s = 1795436254,
                                       .hops = 1,
                                       .body = SLICE("{\"a\": 1}")};
    char *headers = headers_of(&d), hex[512], list[512], message[512];
    unsigned char signature[66], hash[32], mac[32], secret[32];
    value_of(headers, "X-Fal-Webhook-Signature", hex);
    assert_int_equal(strlen(hex), 128);
    for (size_t i = 0; i < 64; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        signature[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    int n = snprintf(message, sizeof message, "%s\nteam-a\n1795436254\n", ID);
    assert_int_equal(EVP_Digest("{\"a\": 1}", 8, hash, NULL, EVP_sha256(), NULL), 1);
    for (size_t i = 0; i < sizeof hash; i++, n += 2) snprintf(message + n, 3, "%02x", hash[i]);
    assert_true(signer_verify(signer, SLICE_NONE, slice_of(message), signature));
    value_of(headers, "webhook-signature", list);
    assert_memory_equal(list, "v1a,", 4);
    snprintf(message, sizeof message, "%s.1795436254.{\"a\": 1}", ID);
    assert_int_equal(EVP_DecodeBlock(signature, (unsigned char *)list + 4, 88), 66);
    assert_true(signer_verify(signer, SLICE_NONE, slice_of(message), signature));
    assert_memory_equal(list + 92, " v1,", 4);
    webhook_secret(signer, SLICE("team-a"), secret);
    HMAC(EVP_sha256(), secret, 32, (unsigned char *)message, strlen(message), mac, NULL);
    assert_int_equal(EVP_DecodeBlock(signature, (unsigned char *)list + 96, 44), 33);
    assert_memory_equal(signature, mac, 32);
    free(headers);
}

static void each_owner_has_a_secret_of_its_own(void **state) {
    unsigned char a[32], b[32], again[32];
    webhook_secret(signer, SLICE("a"), a);
    webhook_secret(signer, SLICE("b"), b);
    webhook_secret(signer, SLICE("a"), again);
    assert_memory_not_equal(a, b, 32);
    assert_memory_equal(a, again, 32);
}

/* Nothing of an owner's name makes a header more, or comes out of one changed. */
static void an_owner_is_made_fit_for_a_header(void **state) {
    static const struct {
        const char *owner, *header;
    } cases[] = {{"", "_"},
                 {"a b", "a_b"},
                 {" a ", "_a_"},
                 {"a\r\nX-Evil: 1", "a__X-Evil:_1"},
                 {"caf\xc3\xa9", "caf__"},
                 {"a\x7f", "a_"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct webhook_delivery d = {
            .id = ID, .user = slice_of(cases[i].owner), .at_s = 1, .body = SLICE("{}")};
        char *headers = headers_of(&d), value[512];
        value_of(headers, "X-Fal-Webhook-User-Id", value);
        assert_string_equal(value, cases[i].header);
        assert_null(strstr(headers, "\nX-Evil"));
        free(headers);
    }
}

static int open_signer(void **state) {
    char reason[512];
    snprintf(dir, sizeof dir, "/tmp/test-webhooks-body-XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    signer = signer_open(dir, &clock_system, &random_system, reason, sizeof reason);
    return signer == NULL;
}

static int close_signer(void **state) {
    char command[128];
    signer_free(signer);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_stands_in_it_as_it_is),
        cmocka_unit_test(a_failure_is_named_by_its_status),
        cmocka_unit_test(what_is_no_json_is_null_and_linked),
        cmocka_unit_test(a_result_of_a_mebibyte_fits_and_no_larger_one),
        cmocka_unit_test(both_signatures_are_over_what_is_sent),
        cmocka_unit_test(each_owner_has_a_secret_of_its_own),
        cmocka_unit_test(an_owner_is_made_fit_for_a_header),
    };
    return cmocka_run_group_tests(tests, open_signer, close_signer);
}
