/* Submits one body N times over several connections, as fast as it is accepted.
 *
 *   bench_submits URL KEY BODY CONNECTIONS N
 *
 * Ends with 1 when one was not accepted. */
#include "http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct http_target target;
static const char *key, *body;
static atomic_llong left;
static atomic_bool failed;

static void *run(void *arg) {
    struct http c = {0};
    if (!http_open(&c, &target)) bench_die("nobody listens");
    while (atomic_fetch_sub(&left, 1) > 0 && !atomic_load(&failed)) {
        struct http_reply r = {0};
        if (!http_call(&c, target.path, key, body, NULL, &r) || r.status != 200)
            atomic_store(&failed, true);
        free(r.body);
    }
    http_close(&c);
    return arg;
}

int main(int argc, char **argv) {
    if (argc != 6 || !http_target_parse(argv[1], &target))
        bench_die("bench_submits URL KEY BODY CONNECTIONS N");
    key = argv[2];
    body = argv[3];
    size_t n = strtoul(argv[4], NULL, 10);
    left = strtoll(argv[5], NULL, 10);
    pthread_t *threads = calloc(n, sizeof *threads);
    if (threads == NULL) bench_die("out of memory");
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    free(threads);
    return failed ? 1 : 0;
}
