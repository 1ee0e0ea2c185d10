/* queued BASE KEY BODY N: N times submit, wait for the result, next; the time between in ms:
 * "p50 p99 min max count". BASE is http://HOST:PORT/queue/ENDPOINT. Waits by asking for the status
 * again and again: the figure holds at most one such round trip that is not the queue's. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct http c = {.fd = -1};
static struct http_target t;
static const char *key;

static struct http_reply call(const char *path, const char *body, int want) {
    struct http_reply r;
    if (!http_call(&c, path, key, body, NULL, &r)) bench_die("the connection failed");
    if (r.status != want && r.status != 202) {
        fprintf(stderr, "bench: %s: status %d: %.300s\n", path, r.status, r.body);
        exit(1);
    }
    return r;
}

static void submit(const char *body, char *id, size_t size) {
    const char *at;
    size_t len;
    struct http_reply r = call(t.path, body, 200);
    last_member(r.body, "\"request_id\"", &at, &len);
    if (len == 0 || len >= size) bench_die("no request_id");
    memcpy(id, at, len);
    id[len] = 0;
    free(r.body);
}

static void wait_for(const char *id) {
    char path[1024];
    for (bool done = false; !done;) {
        snprintf(path, sizeof path, "%s/requests/%s/status", t.path, id);
        struct http_reply r = call(path, NULL, 200);
        done = strstr(r.body, "\"COMPLETED\"") != NULL;
        free(r.body);
    }
    snprintf(path, sizeof path, "%s/requests/%s", t.path, id);
    free(call(path, NULL, 200).body);
}

int main(int argc, char **argv) {
    char id[128];
    if (argc != 5 || !http_target_parse(argv[1], &t)) return 2;
    key = strcmp(argv[2], "-") ? argv[2] : NULL;
    size_t n = strtoul(argv[4], NULL, 10), warm = n / 10 + 1;
    double *ms = calloc(n, sizeof *ms);
    if (!ms || !http_open(&c, &t)) bench_die("cannot connect");
    for (size_t i = 0; i < warm + n; i++) {
        int64_t start = now_ns();
        submit(argv[3], id, sizeof id);
        wait_for(id);
        if (i >= warm) ms[i - warm] = (double)(now_ns() - start) / 1e6;
    }
    http_close(&c);
    print_spread(ms, n);
    free(ms);
    return 0;
}
