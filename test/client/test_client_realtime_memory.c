/* Every allocation of a realtime connection and of a webhook's verification fails in turn, those of libcurl, OpenSSL, wslay,
 * msgpack-c and yyjson too: it ends in order or works all the same, nothing leaks (under ASan), nobody hangs. */
#include "client/ws_peer.h"
#include "fal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Counts down on the thread under test; the one that reaches 0 fails. Negative: none fails. */
static _Thread_local long countdown = -1;

static bool fails(void) {
    return countdown >= 0 && countdown-- == 0;
}

#ifdef __SANITIZE_ADDRESS__
#define REAL(name) __real_##name
#define OURS(name) __wrap_##name
#else
#define REAL(name) __libc_##name
#define OURS(name) name
#endif
#define SEEN __attribute__((visibility("default"))) /* to the libraries */
void *REAL(malloc)(size_t bytes);
void *REAL(calloc)(size_t count, size_t bytes);
void *REAL(realloc)(void *old, size_t bytes);
SEEN void *OURS(malloc)(size_t bytes);
SEEN void *OURS(calloc)(size_t count, size_t bytes);
SEEN void *OURS(realloc)(void *old, size_t bytes);

void *OURS(malloc)(size_t bytes) {
    return fails() ? NULL : REAL(malloc)(bytes);
}

void *OURS(calloc)(size_t count, size_t bytes) {
    return fails() ? NULL : REAL(calloc)(count, bytes);
}

void *OURS(realloc)(void *old, size_t bytes) {
    return fails() ? NULL : REAL(realloc)(old, bytes);
}

#define APP "fal-ai/any-llm"
#define SIGNED_BODY \
    "{\"error\": null, \"gateway_request_id\": \"r1\", \"payload\": {\"output\": \"42\"}, \"request_id\": \"r1\", \"status\": \"OK\"}"

static const struct ws_step steps[] = {
    WS_TOKEN("t"),
    WS_OPENED,
    {.what = WS_EXPECT, .first = WS_BINARY_FRAME, .text = "\x81\xa6prompt\xa2hi"},
    {.what = WS_SEND, .first = WS_PING_FRAME, .text = "p"},
    {.what = WS_SEND, .first = WS_BINARY_FRAME, .text = "\x81\xa6output\xa2ho"},
    {.what = WS_EXPECT, .first = WS_PONG_FRAME, .text = "p"},
    WS_JSON("{\"type\":\"x-fal-error\",\"error\":\"E\",\"reason\":\"r\"}"),
    WS_CLOSED};

static enum fal_code expect(fal_realtime *rt, enum fal_code wanted) {
    fal_result *r = NULL;
    enum fal_code code = fal_realtime_receive(rt, 10000, &r);
    fal_result_free(r);
    return code == wanted ? FAL_OK : code;
}

static enum fal_code talk(const char *base) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    fal_realtime *rt = NULL;
    fal_result *r = NULL;
    o.base_url = base;
    o.credentials = "k";
    o.max_retries = -1;
    o.ca_file = "/etc/ssl/certs/ca-certificates.crt";
    enum fal_code code = fal_client_new(&o, &c);
    if (code == FAL_OK) code = fal_realtime_open(c, APP, NULL, &rt, &r);
    if (code == FAL_OK) code = fal_realtime_send(rt, "{\"prompt\":\"hi\"}");
    if (code == FAL_OK) code = expect(rt, FAL_OK);
    if (code == FAL_OK) code = expect(rt, FAL_ERR_HTTP);
    fal_result_free(r);
    fal_realtime_close(rt);
    fal_client_free(c);
    return code;
}

static bool acceptable(enum fal_code code) {
    return code == FAL_OK || code == FAL_ERR_MEMORY || code == FAL_ERR_CONNECT ||
           code == FAL_ERR_TRANSPORT || code == FAL_ERR_PROTOCOL;
}

/* True when it went to its end without reaching allocation n. */
static bool talk_without(long n) {
    struct ws_peer *p = ws_peer_start(steps, sizeof steps / sizeof *steps);
    alarm(30);
    countdown = n;
    enum fal_code code = talk(ws_peer_base(p));
    bool reached_the_end = countdown >= 0;
    countdown = -1;
    alarm(0);
    ws_peer_drop(p);
    if (!acceptable(code)) fail_msg("allocation %ld: code %d", n, (int)code);
    if (reached_the_end) assert_int_equal(code, FAL_OK);
    return reached_the_end;
}

static void realtime_survives_each_allocation(void **state) {
    (void)state;
    long n = 0;
    assert_true(talk_without(1000000)); /* what libraries keep is there from now on */
    while (n < 5000 && !talk_without(n)) n++;
    assert_true(n > 20 && n < 5000);
    print_message("%ld allocations failed in turn\n", n);
}

static enum fal_webhook_verdict verify_without(long n, bool *reached_the_end) {
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    struct fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
    w.body = SIGNED_BODY;
    w.body_bytes = sizeof SIGNED_BODY - 1;
    w.request_id = w.standard_id = "r1";
    w.user_id = "team-b"; /* wrong: the other scheme is looked at too */
    w.timestamp = w.standard_timestamp = "1795436254";
    w.signature = "aad8c7bc80a3007c2cbcefaaaf9001bc7c22541db0fcd5db0147804c2668b7be"
                  "7fd8c1216538f275a8e62a74f5cf66b9db8e5f62c92d15a4088a741418db2b0b";
    w.standard_signature = "v1,xJF+Js5lyqzlpF7grNE+f879UFB3FAcQIfIf//yU5qA=";
    k.jwks_json = "{\"keys\":[{\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}]}";
    k.secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    k.now_s = 1795436254;
    countdown = n;
    enum fal_webhook_verdict verdict = fal_webhook_verify(&w, &k);
    *reached_the_end = countdown >= 0;
    countdown = -1;
    return verdict;
}

static void webhook_verification_survives_each_allocation(void **state) {
    (void)state;
    bool reached_the_end = false;
    long n = 0;
    assert_int_equal(verify_without(1000000, &reached_the_end), FAL_WEBHOOK_VALID);
    for (reached_the_end = false; n < 1000 && !reached_the_end; n++) {
        enum fal_webhook_verdict v = verify_without(n, &reached_the_end);
        if (v != FAL_WEBHOOK_VALID && v != FAL_WEBHOOK_NO_MEMORY)
            fail_msg("allocation %ld: verdict %d", n, (int)v);
        if (reached_the_end) assert_int_equal(v, FAL_WEBHOOK_VALID);
    }
    assert_true(n > 2 && reached_the_end);
    print_message("%ld allocations failed in turn\n", n - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(realtime_survives_each_allocation),
        cmocka_unit_test(webhook_verification_survives_each_allocation),
    };
    unsetenv("SSL_CERT_FILE");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
