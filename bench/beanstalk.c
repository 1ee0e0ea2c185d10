/* beanstalk PORT CLIENTS SECONDS BYTES: cycles of put, reserve, delete on a beanstalkd, so many connections at once, each
 * with a job of so many bytes; prints cycles a second. A job is whosever reserves it. */
#include "http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <unistd.h>

static int port;
static size_t bytes;
static int64_t until_ns;
static atomic_ullong cycles;

struct line {
    int fd;
    char data[65536];
    size_t len;
};

static void send_all(struct line *l, const char *data, size_t len) {
    for (ssize_t n; len > 0; data += n, len -= (size_t)n)
        if ((n = send(l->fd, data, len, MSG_NOSIGNAL)) <= 0) bench_die("beanstalkd hung up");
}

/* Reads until there are a whole line and `more` bytes after it; takes both. Returns the line in `out`. */
static void take(struct line *l, char *out, size_t size, bool job) {
    for (;;) {
        char *end = memmem(l->data, l->len, "\r\n", 2);
        size_t more = 0;
        if (end != NULL && job) {
            size_t want;
            if (sscanf(l->data, "RESERVED %*s %zu", &want) != 1) bench_die("no RESERVED");
            more = want + 2;
        }
        size_t head = end != NULL ? (size_t)(end - l->data) + 2 : 0;
        if (end != NULL && l->len >= head + more) {
            snprintf(out, size, "%.*s", (int)(end - l->data), l->data);
            l->len -= head + more;
            memmove(l->data, l->data + head + more, l->len);
            return;
        }
        ssize_t n = recv(l->fd, l->data + l->len, sizeof l->data - l->len, 0);
        if (n <= 0) bench_die("beanstalkd hung up");
        l->len += (size_t)n;
    }
}

static void cycle(struct line *l, const char *put, size_t len) {
    char said[256], id[64], line[128];
    send_all(l, put, len);
    take(l, said, sizeof said, false);
    if (strncmp(said, "INSERTED ", 9) != 0) bench_die(said);
    send_all(l, "reserve\r\n", 9);
    take(l, said, sizeof said, true);
    if (sscanf(said, "RESERVED %63s", id) != 1) bench_die(said);
    send_all(l, line, (size_t)snprintf(line, sizeof line, "delete %s\r\n", id));
    take(l, said, sizeof said, false);
    if (strcmp(said, "DELETED") != 0) bench_die(said);
}

static void *run(void *arg) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct line *l = calloc(1, sizeof *l);
    char *put = malloc(bytes + 128);
    int on = 1;
    if (l == NULL || put == NULL) bench_die("out of memory");
    int head = snprintf(put, 128, "put 0 0 120 %zu\r\n", bytes);
    memset(put + head, 'x', bytes);
    memcpy(put + head + bytes, "\r\n", 2);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&a, sizeof a) != 0)
        bench_die("nobody listens");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (now_ns() < until_ns) {
        cycle(l, put, (size_t)head + bytes + 2);
        atomic_fetch_add(&cycles, 1);
    }
    close(l->fd);
    free(l);
    free(put);
    return arg;
}

int main(int argc, char **argv) {
    pthread_t threads[1024];
    if (argc != 5) bench_die("beanstalk PORT CLIENTS SECONDS BYTES");
    port = (int)strtol(argv[1], NULL, 10);
    size_t n = strtoul(argv[2], NULL, 10);
    bytes = strtoul(argv[4], NULL, 10);
    if (n > 1024 || bytes > 60000) bench_die("too many");
    int64_t begin = now_ns();
    until_ns = begin + (int64_t)(strtod(argv[3], NULL) * 1e9);
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    printf("%.0f\n", (double)cycles * 1e9 / (double)(now_ns() - begin));
    return 0;
}
