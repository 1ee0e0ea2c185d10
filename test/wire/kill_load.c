#include "kill_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A picture of one point. */
#define PNG                                                                                 \
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9" \
    "QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

static const struct {
    const char *model, *headers;
} kinds[KINDS] = {
    [PLAIN] = {"test/quick", ""},     [SLOW] = {"test/slow", ""},
    [HOOK] = {"test/quick", ""},      [NO_RETRY] = {"test/slow", "X-Fal-No-Retry: 1\r\n"},
    [CANCELLED] = {"test/quick", ""}, [FLAKY] = {"test/flaky", ""},
    [PICTURE] = {"test/quick", ""},   [TIMED] = {"test/slow", "X-Fal-Request-Timeout: 0.3\r\n"},
    [KEYED] = {"test/quick", ""},     [LATER] = {"test/later", ""},
};

char *load_config(const struct mock *m) {
    struct text t = {0};
    text_puts(&t, "upstreams:\n");
    static const char *const upstreams[][2] = {
        {"quick", "delay/5/"},
        {"slow", "delay/250/"},
        {"flaky", "flaky/1/status/429/"},
        {"later", "delay/100/flaky/1/status/429/retry-after/1/"}};
    const size_t n = sizeof upstreams / sizeof *upstreams;
    for (size_t i = 0; i < n; i++)
        text_printf(&t,
                    "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u/%stokens/3/v1\", "
                    "concurrency: 96, key: %s }\n",
                    upstreams[i][0], m->port, upstreams[i][1], CANARY_UPSTREAM);
    text_puts(&t, "routes:\n");
    for (size_t i = 0; i < n; i++)
        text_printf(&t, "  - { model: \"test/%s\", to: [%s] }\n", upstreams[i][0], upstreams[i][0]);
    text_puts(&t, "webhook_allow: [127.0.0.0/8]\nwebhook_timeout: 5s\nwebhook_retries: 5\n"
                  "webhook_window: 3s\nmax_status_polls_per_second_per_key: 0\n");
    return t.p;
}

/* --- one submit */

static unsigned wait_port(struct load *l) {
    unsigned port;
    while ((port = atomic_load(&l->server->port)) == 0) sleep_ms(1);
    return port;
}

static void write_submit(struct text *t, const struct load *l, enum kind kind, unsigned n,
                         const char *headers) {
    char body[512], hook[64] = "";
    int len = snprintf(body, sizeof body, "{\"prompt\":\"" PROMPT "\",\"model\":\"%s\"%s}", n,
                       kinds[kind].model, kind == PICTURE ? ",\"image_urls\":[\"" PNG "\"]" : "");
    if (kind == HOOK)
        snprintf(hook, sizeof hook, "?fal_webhook=http://127.0.0.1:%u/k%07u", l->hook_port, n);
    t->len = 0;
    text_printf(t,
                "POST " QUEUE "%s%s HTTP/1.1\r\n" HOST "%s%sContent-Type: application/json\r\n"
                "Content-Length: %d\r\n\r\n%s",
                kind == PICTURE ? "/vision" : "", hook, kinds[kind].headers, headers, len, body);
}

static struct accepted *keep(struct load *l, const char *id, unsigned n, enum kind kind) {
    struct accepted *a = &l->accepted[atomic_fetch_add(&l->naccepted, 1)];
    memcpy(a->id, id, ID_BYTES);
    a->n = n;
    a->kind = kind;
    return a;
}

static void expect_refusal(struct load *l, const struct line *at) {
    if (at->status == 503) /* it loads, or it ends */
        atomic_fetch_add(&l->refused, 1);
    else
        found(l->findings, FOUND_ANSWER, "a submit was answered %u: %s", at->status, at->body.p);
}

/* --- those that say nothing twice */

void load_cancel(struct load *l, struct line *at, struct accepted *a) {
    if (!line_about(at, wait_port(l), "PUT", a->id, "/cancel")) return;
    a->cancel = at->status;
    if (at->status != 202 && at->status != 400 && at->status != 503)
        found(l->findings, FOUND_ANSWER, "the cancel of %s was answered %u: %s", a->id, at->status,
              at->body.p);
}

static enum kind draw_kind(const struct load *l, uint64_t *seed) {
    unsigned all = 0, at = 0;
    for (size_t k = 0; k < KEYED; k++) all += l->weight[k];
    uint64_t x = draw(seed, all);
    while (x >= l->weight[at]) x -= l->weight[at++];
    return (enum kind)at;
}

struct accepted *load_submit(struct load *l, struct line *at, enum kind kind) {
    unsigned n = atomic_fetch_add(&l->prompts, 1);
    struct accepted *a = NULL;
    struct text t = {0};
    char id[ID_BYTES];
    l->kind_of[n] = kind;
    write_submit(&t, l, kind, n, "");
    if (!line_ask(at, wait_port(l), t.p, t.len))
        atomic_fetch_add(&l->unanswered, 1);
    else if (at->status != 200 || !line_id(at, id))
        expect_refusal(l, at);
    else
        a = keep(l, id, n, kind);
    text_free(&t);
    return a;
}

static void submit_one(struct load *l, struct line *at, uint64_t *seed) {
    enum kind kind = draw_kind(l, seed);
    struct accepted *a = load_submit(l, at, kind);
    if (a == NULL) return;
    bool soon = kind == CANCELLED, later = kind == FLAKY && draw(seed, 4) == 0;
    if (!soon && !later) return;
    sleep_ms((unsigned)draw(seed, soon ? 20 : 400));
    load_cancel(l, at, a);
}

static void *client(void *load) {
    struct load *l = load;
    struct line at = LINE_CLOSED;
    pthread_mutex_lock(&l->lock);
    uint64_t seed = draw(&l->seed, UINT64_MAX);
    pthread_mutex_unlock(&l->lock);
    while (!atomic_load(&l->over) && atomic_load(&l->prompts) + CLIENTS < l->most) {
        submit_one(l, &at, &seed);
        sleep_ms((unsigned)draw(&seed, l->pause_ms + 1));
    }
    line_close(&at);
    return NULL;
}

/* --- those that send copies, as a client does that resends what was not answered */

/* Until it is answered with an id. */
static void submit_copy(struct load *l, struct line *at, struct text *t, unsigned key,
                        char id[ID_BYTES]) {
    char header[64];
    snprintf(header, sizeof header, "Idempotency-Key: key-%u\r\n", key);
    write_submit(t, l, KEYED, l->key_prompts[key], header);
    for (;;) {
        if (!line_ask(at, wait_port(l), t->p, t->len)) continue;
        if (at->status == 200 && line_id(at, id)) return;
        expect_refusal(l, at);
        sleep_ms(5);
    }
}

/* Another body under the same key. */
static void submit_other(struct load *l, struct line *at, struct text *t, unsigned key) {
    char header[64];
    snprintf(header, sizeof header, "Idempotency-Key: key-%u\r\n", key);
    write_submit(t, l, SLOW, l->key_prompts[key], header);
    do
        while (!line_ask(at, wait_port(l), t->p, t->len)) continue;
    while (at->status == 503);
    if (at->status == 422)
        atomic_fetch_add(&l->other_bodies, 1);
    else
        found(l->findings, FOUND_ANSWER, "another body under key %u was answered %u", key,
              at->status);
}

static void compare(struct load *l, unsigned key, const char *id) {
    pthread_mutex_lock(&l->lock);
    if (l->key_ids[key][0] == '\0') {
        memcpy(l->key_ids[key], id, ID_BYTES);
        keep(l, id, l->key_prompts[key], KEYED);
    } else if (strcmp(l->key_ids[key], id) != 0) {
        found(l->findings, FOUND_TWICE, "key %u: %s and %s", key, l->key_ids[key], id);
    }
    pthread_mutex_unlock(&l->lock);
}

static void *copies(void *load) {
    struct load *l = load;
    struct line at = LINE_CLOSED;
    struct text t = {0};
    char id[ID_BYTES];
    for (unsigned key = 0; key < l->keys; key++) {
        bool first = pthread_barrier_wait(&l->together) == PTHREAD_BARRIER_SERIAL_THREAD;
        if (first) {
            sleep_ms(l->keys_pause_ms);
            l->key_prompts[key] = atomic_fetch_add(&l->prompts, 1);
            l->kind_of[l->key_prompts[key]] = KEYED;
        }
        pthread_barrier_wait(&l->together);
        submit_copy(l, &at, &t, key, id);
        compare(l, key, id);
        if (first) submit_other(l, &at, &t, key);
    }
    line_close(&at);
    text_free(&t);
    return NULL;
}

/* --- all of them */

void load_init(struct load *l) {
    pthread_mutex_init(&l->lock, NULL);
    pthread_barrier_init(&l->together, NULL, COPIES);
    l->accepted = calloc(MAX_PROMPTS, sizeof *l->accepted);
    l->key_ids = calloc(l->keys + 1, sizeof *l->key_ids);
    l->key_prompts = calloc(l->keys + 1, sizeof *l->key_prompts);
}

void load_start(struct load *l) {
    load_init(l);
    for (size_t i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&l->clients[i], NULL, client, l), 0);
    for (size_t i = 0; i < COPIES && l->keys > 0; i++)
        assert_int_equal(pthread_create(&l->copies[i], NULL, copies, l), 0);
}

void load_stop(struct load *l) {
    atomic_store(&l->over, true);
    for (size_t i = 0; i < CLIENTS; i++) pthread_join(l->clients[i], NULL);
    for (size_t i = 0; i < COPIES && l->keys > 0; i++) pthread_join(l->copies[i], NULL);
}

void load_free(struct load *l) {
    free(l->accepted);
    free(l->key_ids);
    free(l->key_prompts);
    free(l);
}
