#include "webhook_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct hooks hooks;

/* --- submits */

struct answer hook_try(unsigned port, const char *url, const char *headers, const char *model) {
    struct text path = {0};
    char body[128];
    text_printf(&path, QUEUE "?fal_webhook=%s", url);
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"test/%s\"}", model);
    struct answer a = post(port, path.p, headers, body, strlen(body));
    text_free(&path);
    return a;
}

char *hook_submit(const char *url, const char *headers, const char *model) {
    struct answer a = hook_try(hooks.server.port, url, headers, model);
    expect_status(url, &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    return id;
}

const char *hook_url(const char *path) {
    static char url[512];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", hooks.receiver.port, path);
    return url;
}

char *hook_submit_to(const char *path) {
    return hook_submit(hook_url(path), "", "ok");
}

static struct answer status_of(const char *id) {
    char path[256];
    snprintf(path, sizeof path, QUEUE "/requests/%s/status?logs=1", id);
    return get(hooks.server.port, path);
}

void hook_wait_log(const char *id, const char *says) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(10)) {
        struct answer a = status_of(id);
        bool there = answer_says(&a, says);
        answer_free(&a);
        if (there) return;
    }
    struct answer a = status_of(id);
    fail_msg("no \"%s\" in the log: %s", says, a.body.p);
}

/* --- deliveries */

void hook_read_keys(unsigned port) {
    struct answer a = get(port, "/.well-known/jwks.json");
    yyjson_doc *doc = answer_json("the keys", &a);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "keys"), *k;
    size_t i, n;
    yyjson_arr_foreach(list, i, n, k) { /* padded */
        assert_int_equal(yyjson_get_len(yyjson_obj_get(k, "x")), 44);
    }
    assert_true(yyjson_arr_size(list) > 0);
    yyjson_doc_free(doc);
    free(hooks.jwks);
    free(hooks.secret);
    hooks.jwks = strdup(a.body.p);
    answer_free(&a);
    a = get(port, "/rest/webhooks/secret");
    doc = answer_json("the secret", &a);
    hooks.secret = strdup(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "secret")));
    yyjson_doc_free(doc);
    answer_free(&a);
}

struct fal_webhook hook_signed(const struct delivered *d, struct hook_headers *h) {
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    delivered_header(d, "x-fal-webhook-request-id", h->id, sizeof h->id);
    delivered_header(d, "x-fal-webhook-user-id", h->user, sizeof h->user);
    delivered_header(d, "x-fal-webhook-timestamp", h->timestamp, sizeof h->timestamp);
    delivered_header(d, "x-fal-webhook-signature", h->signature, sizeof h->signature);
    delivered_header(d, "webhook-id", h->standard_id, sizeof h->standard_id);
    delivered_header(d, "webhook-timestamp", h->standard_timestamp, sizeof h->standard_timestamp);
    delivered_header(d, "webhook-signature", h->standard_signature, sizeof h->standard_signature);
    w.body = d->body.p;
    w.body_bytes = d->body.len;
    w.request_id = h->id;
    w.user_id = h->user;
    w.timestamp = h->timestamp;
    w.signature = h->signature;
    w.standard_id = h->standard_id;
    w.standard_timestamp = h->standard_timestamp;
    w.standard_signature = h->standard_signature;
    return w;
}

enum fal_webhook_verdict hook_verdict(const struct fal_webhook *w, const char *jwks,
                                      const char *secret, int64_t now_s) {
    struct fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
    k.jwks_json = jwks;
    k.secret = secret;
    k.now_s = now_s;
    return fal_webhook_verify(w, &k);
}

/* fal's signature, v1a and v1, each by itself. */
static void expect_verified(const struct delivered *d) {
    struct hook_headers h;
    struct fal_webhook all = hook_signed(d, &h), fals = all, standard = all;
    fals.standard_id = NULL;
    standard.signature = NULL;
    if (hook_verdict(&fals, hooks.jwks, NULL, 0) != FAL_WEBHOOK_VALID ||
        hook_verdict(&standard, hooks.jwks, NULL, 0) != FAL_WEBHOOK_VALID ||
        hook_verdict(&standard, NULL, hooks.secret, 0) != FAL_WEBHOOK_VALID)
        fail_msg("not verified: %s%s", d->head.p, d->body.p);
}

void hook_expect(const struct delivered *d, const char *id) {
    char value[64];
    expect_verified(d);
    assert_true(delivered_header(d, "x-fal-webhook-request-id", value, sizeof value));
    assert_string_equal(value, id);
    assert_true(delivered_header(d, "webhook-id", value, sizeof value));
    assert_string_equal(value, id);
}

/* --- */

int hooks_start(void **state) {
    mock_start(&hooks.mock);
    receiver_start(&hooks.receiver);
    text_printf(
        &hooks.config,
        "upstreams:\n"
        "  ok:   { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\" }\n"
        "  big:  { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/40000/wide/50/v1\" }\n"
        "  most: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/20000/wide/50/v1\" }\n"
        "routes:\n  - { model: \"test/ok\", to: [ok] }\n  - { model: \"test/big\", to: [big] }\n"
        "  - { model: \"test/most\", to: [most] }\n"
        "webhook_allow: [127.0.0.0/8, \"::1\"]\nwebhook_timeout: %ums\nwebhook_retries: %u\n"
        "webhook_window: 2s\nwebhook_at_once_per_host: %u\nwebhook_at_once: 20\n",
        hooks.mock.port, hooks.mock.port, hooks.mock.port, TIMEOUT_MS, RETRIES, PER_HOST);
    server_start_with(&hooks.server, hooks.config.p);
    hook_read_keys(hooks.server.port);
    return 0;
}

int hooks_stop(void **state) {
    server_stop(&hooks.server);
    receiver_stop(&hooks.receiver);
    mock_stop(&hooks.mock);
    text_free(&hooks.config);
    free(hooks.jwks);
    free(hooks.secret);
    return 0;
}
