/* What the suites of webhooks share: a server that may deliver to this machine, a receiver, and submits. Each fails the test
 * when nothing comes. */
#ifndef ANYLLM_TEST_WIRE_WEBHOOK_CALLS_H
#define ANYLLM_TEST_WIRE_WEBHOOK_CALLS_H

#include "calls.h"
#include "fal.h"
#include "receiver.h"

#define QUEUE "/queue/fal-ai/any-llm"
#define RETRIES 3U
#define TIMEOUT_MS 700U /* of a try */
#define PER_HOST 4U

struct hooks {
    struct server server;
    struct mock mock;
    struct receiver receiver;
    struct text config;  /* of the server */
    char *jwks, *secret; /* what its receivers verify with, by libfal */
};
extern struct hooks hooks;

int hooks_start(void **state);
int hooks_stop(void **state);

/* A submit of the model test/MODEL with this webhook. */
struct answer hook_try(unsigned port, const char *url, const char *headers, const char *model);
char *hook_submit(const char *url, const char *headers, const char *model); /* its id; free it */
const char *hook_url(const char *path); /* at the receiver; until the next call */
char *hook_submit_to(const char *path);
/* Until the request's log lines say so. */
void hook_wait_log(const char *id, const char *says);
void hook_read_keys(unsigned port);

struct hook_headers {
    char id[64], user[64], timestamp[32], signature[160];
    char standard_id[64], standard_timestamp[32], standard_signature[1024];
};
/* Both signatures. */
struct fal_webhook hook_signed(const struct delivered *d, struct hook_headers *h);
/* By libfal. now_s 0: now. */
enum fal_webhook_verdict hook_verdict(const struct fal_webhook *w, const char *jwks,
                                      const char *secret, int64_t now_s);
/* Each of its signatures is right, and it is of this request. */
void hook_expect(const struct delivered *d, const char *id);

#endif
