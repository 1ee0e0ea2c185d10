/* Submits one body N times over several connections, as fast as it is accepted.
 *
 *   bench_submits URL KEY BODY CONNECTIONS N [IDS]
 *
 * Prints "per_second p50_ms p99_ms max_ms"; the request ids go to the file IDS, one a line. Ends with 1 when one was not
 * accepted. */
#include "http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct http_target target;
static const char *key, *body;
static double *took_ms;
static long long all;
static atomic_llong next;
static atomic_bool failed;
static FILE *ids;

static void keep_id(const struct http_reply *r) {
    const char *at;
    size_t len;
    if (ids == NULL) return;
    last_member(r->body, "\"request_id\"", &at, &len);
    fprintf(ids, "%.*s\n", (int)len, at);
}

static void *run(void *arg) {
    struct http c = {0};
    if (!http_open(&c, &target)) bench_die("nobody listens");
    for (long long i; (i = atomic_fetch_add(&next, 1)) < all && !atomic_load(&failed);) {
        struct http_reply r = {0};
        int64_t begin = now_ns();
        if (!http_call(&c, target.path, key, body, NULL, &r) || r.status != 200)
            atomic_store(&failed, true);
        took_ms[i] = (double)(now_ns() - begin) / 1e6;
        if (!atomic_load(&failed)) keep_id(&r);
        free(r.body);
    }
    http_close(&c);
    return arg;
}

int main(int argc, char **argv) {
    if (argc < 6 || argc > 7 || !http_target_parse(argv[1], &target))
        bench_die("bench_submits URL KEY BODY CONNECTIONS N [IDS]");
    key = argv[2];
    body = argv[3];
    size_t n = strtoul(argv[4], NULL, 10);
    all = strtoll(argv[5], NULL, 10);
    if (argc == 7 && (ids = fopen(argv[6], "w")) == NULL) bench_die(argv[6]);
    pthread_t *threads = calloc(n, sizeof *threads);
    took_ms = calloc((size_t)all, sizeof *took_ms);
    if (threads == NULL || took_ms == NULL) bench_die("out of memory");
    int64_t begin = now_ns();
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    double seconds = (double)(now_ns() - begin) / 1e9;
    sort_numbers(took_ms, (size_t)all);
    printf("%.0f %.3f %.3f %.3f\n", (double)all / seconds, took_ms[all / 2],
           took_ms[all * 99 / 100], took_ms[all - 1]);
    if (ids != NULL) fclose(ids);
    free(threads);
    free(took_ms);
    return failed ? 1 : 0;
}
