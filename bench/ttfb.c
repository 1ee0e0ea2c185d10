/* ttfb URL KEY BODY WATCH N: N streamed calls on one connection; the time from the call to the
 * arrival of WATCH (the first text of the answer) in ms: "p50 p99 min max count". KEY -: none. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    struct http_target t;
    struct http c = {.fd = -1};
    if (argc != 6 || !http_target_parse(argv[1], &t)) return 2;
    const char *key = strcmp(argv[2], "-") ? argv[2] : NULL;
    size_t n = strtoul(argv[5], NULL, 10), warm = n / 10 + 1;
    double *ms = calloc(n, sizeof *ms);
    if (!ms || !http_open(&c, &t)) bench_die("cannot connect");
    for (size_t i = 0; i < warm + n; i++) {
        struct http_reply r;
        int64_t start = now_ns();
        if (!http_call(&c, t.path, key, argv[3], argv[4], &r)) bench_die("the connection failed");
        if (r.status != 200 || !r.seen_ns) {
            fprintf(stderr, "bench: status %d without %s: %.300s\n", r.status, argv[4], r.body);
            return 1;
        }
        if (i >= warm) ms[i - warm] = (double)(r.seen_ns - start) / 1e6;
        free(r.body);
    }
    http_close(&c);
    print_spread(ms, n);
    free(ms);
    return 0;
}
