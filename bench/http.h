/* A small blocking HTTP/1.1 client for the benchmark's own programs: one connection, one call at a
 * time.
 * Nothing of src/: what is measured does not measure itself. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to call: "http://HOST:PORT/PATH" (https too, where TLS is spoken) or "unix:/SOCKET:/PATH". */
struct http_target {
    char host[256]; /* a number, or the path of a socket */
    char path[512];
    unsigned port; /* 0: a socket */
};

struct http {
    int fd;
    char *data; /* what was read and not yet used, then room */
    size_t len, cap;
};

struct http_reply {
    int status;
    char *body; /* ends in NUL; the caller frees it */
    size_t len;
    int64_t seen_ns; /* when `watch_for` was in the body; 0 = never */
};

int64_t now_ns(void);
/* On a CPU so far, all threads, as the scheduler counts it; 0 for pid 0. */
double process_cpu_ms(long pid);
_Noreturn void bench_die(const char *what);
bool http_target_parse(const char *url, struct http_target *t);
/* False when nobody listens. */
bool http_open(struct http *c, const struct http_target *t);
/* The same with a receive buffer of that size (0: the system's): a reader that falls behind. */
bool http_open_small(struct http *c, const struct http_target *t, int receive_bytes);
void http_close(struct http *c);
/* Sends and reads the whole answer. key: the text of Authorization, or NULL. body: NULL = GET.
 * watch_for: a text whose arrival is timed, or NULL. False when the connection failed. */
bool http_call(struct http *c, const char *path, const char *key, const char *body,
               const char *watch_for, struct http_reply *r);
/* The raw text of a JSON string member, found by its quoted name: the last one in the text. Empty
 * if none. Good enough for answers whose texts hold no such name. */
void last_member(const char *json, const char *quoted_name, const char **at, size_t *len);

void sort_numbers(double *values, size_t n);
/* Sorts, then prints "p50 p99 min max count" with three decimals. */
void print_spread(double *values, size_t n);

#endif
