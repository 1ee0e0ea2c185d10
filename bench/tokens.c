/* tokens KIND URL KEY STREAMS TOKENS [COUNTER COUNTER_KEY]: STREAMS streamed answers at once, each
 * of up to TOKENS tokens; prints "tokens/s tokens seconds". KIND openai: the engine's own words,
 * counted by its usage. KIND fal: anyllm's cumulative output, counted by the tokenizer of a
 * llama-server at COUNTER. Temperature 0: everybody writes the same. */
#include "http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STREAMS = 64 };

static struct http_target target, counter;
static const char *key, *counter_key;
static bool fal;
static int tokens_each;
static pthread_barrier_t go;

struct stream {
    pthread_t thread;
    int number;
    struct http_reply reply;
    int64_t ended_ns;
};

static void *run(void *arg) {
    struct stream *s = arg;
    struct http c = {.fd = -1};
    char body[1024], prompt[256];
    snprintf(prompt, sizeof prompt,
             "Write a long and detailed story, number %d, about a lighthouse keeper.", s->number);
    if (fal)
        snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":%d,\"temperature\":0}",
                 prompt, tokens_each);
    else
        snprintf(
            body, sizeof body,
            "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
            "\"max_tokens\":%d,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
            tokens_each, prompt);
    if (!http_open(&c, &target)) bench_die("cannot connect");
    pthread_barrier_wait(&go);
    if (!http_call(&c, target.path, key, body, NULL, &s->reply) || s->reply.status != 200) {
        fprintf(stderr, "bench: status %d: %.300s\n", s->reply.status,
                s->reply.body ? s->reply.body : "");
        exit(1);
    }
    s->ended_ns = now_ns();
    http_close(&c);
    return NULL;
}

static long count_usage(const char *stream) {
    const char *at = NULL;
    for (const char *p = stream; (p = strstr(p, "\"completion_tokens\":")); p++) at = p;
    return at ? strtol(at + 20, NULL, 10) : 0;
}

/* Numbers in the answer {"tokens":[1,2,3]}: one more than commas. */
static long count_by_tokenizer(const char *stream) {
    const char *text;
    size_t len;
    struct http c = {.fd = -1};
    struct http_reply r;
    last_member(stream, "\"output\"", &text, &len);
    char *body = malloc(len + 64);
    if (!body || !len) return 0;
    snprintf(body, len + 64, "{\"content\":\"%.*s\"}", (int)len, text);
    if (!http_open(&c, &counter) || !http_call(&c, "/tokenize", counter_key, body, NULL, &r) ||
        r.status != 200)
        bench_die("the tokenizer does not answer");
    long n = 1;
    for (const char *p = r.body; *p; p++) n += *p == ',';
    free(r.body);
    free(body);
    http_close(&c);
    return n;
}

static const char *key_or_null(const char *k) {
    return k && strcmp(k, "-") ? k : NULL;
}

int main(int argc, char **argv) {
    static struct stream streams[MOST_STREAMS];
    if (argc < 6 || !http_target_parse(argv[2], &target)) return 2;
    fal = strcmp(argv[1], "fal") == 0;
    key = key_or_null(argv[3]);
    int n = (int)strtol(argv[4], NULL, 10);
    tokens_each = (int)strtol(argv[5], NULL, 10);
    counter_key = argc > 7 ? key_or_null(argv[7]) : NULL;
    if (n < 1 || n > MOST_STREAMS || (fal && (argc < 7 || !http_target_parse(argv[6], &counter))))
        return 2;
    pthread_barrier_init(&go, NULL, (unsigned)n + 1);
    for (int i = 0; i < n; i++) {
        streams[i].number = i;
        pthread_create(&streams[i].thread, NULL, run, &streams[i]);
    }
    pthread_barrier_wait(&go);
    int64_t start = now_ns(), end = start;
    long tokens = 0;
    for (int i = 0; i < n; i++) {
        pthread_join(streams[i].thread, NULL);
        if (streams[i].ended_ns > end) end = streams[i].ended_ns;
        tokens += fal ? count_by_tokenizer(streams[i].reply.body)
                      : count_usage(streams[i].reply.body);
    }
    double seconds = (double)(end - start) / 1e9;
    printf("%.2f %ld %.3f\n", (double)tokens / seconds, tokens, seconds);
    return tokens > 0 ? 0 : 1;
}
