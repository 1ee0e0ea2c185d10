/* Round trips over realtime WebSockets: a text message with an input, then what comes until the answer is whole.
 *
 *   bench_socket URL KEY INPUT CONNECTIONS SECONDS
 *
 * Each connection is its own thread and has one input under way. Prints "round_trips_per_s". Ends with 1 when a
 * connection breaks or an error comes. */
#include "http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct http_target target;
static const char *key, *input;
static int64_t until;
static atomic_llong trips;
static atomic_bool failed;

struct reader {
    int fd;
    size_t have;
    unsigned char data[1 << 20];
};

static bool fill(struct reader *r, size_t want) {
    while (r->have < want) {
        ssize_t n = want > sizeof r->data
                        ? -1
                        : recv(r->fd, r->data + r->have, sizeof r->data - r->have, 0);
        if (n <= 0) return false;
        r->have += (size_t)n;
    }
    return true;
}

static void drop(struct reader *r, size_t n) {
    r->have -= n;
    memmove(r->data, r->data + n, r->have);
}

static bool say(struct reader *r, const void *data, size_t n) {
    return send(r->fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool greet(struct reader *r) {
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: bench\r\nAuthorization: %s\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     target.path, key);
    if (!say(r, head, (size_t)n)) return false;
    for (;;) {
        if (!fill(r, r->have + 1)) return false;
        unsigned char *end = memmem(r->data, r->have, "\r\n\r\n", 4);
        if (end == NULL) continue;
        bool ok = memcmp(r->data, "HTTP/1.1 101", 12) == 0;
        drop(r, (size_t)(end - r->data) + 4);
        return ok;
    }
}

/* Masked with zeros: the mask must be there, its value is free. */
static bool ask(struct reader *r) {
    unsigned char frame[4096];
    size_t n = strlen(input), at = 0;
    if (n > 4000) return false;
    frame[at++] = 0x81;
    if (n < 126) {
        frame[at++] = (unsigned char)(0x80 | n);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(n >> 8);
        frame[at++] = (unsigned char)n;
    }
    memset(frame + at, 0, 4);
    memcpy(frame + at + 4, input, n);
    return say(r, frame, at + 4 + n);
}

static bool whole(struct reader *r) {
    for (;;) {
        size_t head = 2, n;
        if (!fill(r, 4)) return false;
        n = r->data[1] & 0x7f;
        if (n == 126) {
            n = (size_t)r->data[2] << 8 | r->data[3];
            head = 4;
        } else if (n == 127) {
            return false;
        }
        if (!fill(r, head + n)) return false;
        unsigned opcode = r->data[0] & 15;
        bool last = memmem(r->data + head, n, "\"partial\":false", 15) != NULL;
        bool error = opcode == 8 || memmem(r->data + head, n, "x-fal-error", 11) != NULL;
        if (error) fprintf(stderr, "%.*s\n", (int)n, (char *)r->data + head);
        drop(r, head + n);
        if (last || error) return !error;
    }
}

static void *run(void *arg) {
    struct http c = {0};
    struct reader *r = calloc(1, sizeof *r);
    if (r == NULL || !http_open(&c, &target)) bench_die("nobody listens");
    r->fd = c.fd;
    bool ok = greet(r);
    while (ok && now_ns() < until) {
        ok = ask(r) && whole(r);
        if (ok) atomic_fetch_add(&trips, 1);
    }
    if (!ok) atomic_store(&failed, true);
    http_close(&c);
    free(r);
    return arg;
}

int main(int argc, char **argv) {
    if (argc != 6 || !http_target_parse(argv[1], &target))
        bench_die("bench_socket URL KEY INPUT CONNECTIONS SECONDS");
    key = argv[2];
    input = argv[3];
    size_t n = strtoul(argv[4], NULL, 10);
    pthread_t *threads = calloc(n, sizeof *threads);
    if (threads == NULL) bench_die("out of memory");
    int64_t begin = now_ns();
    until = begin + strtoll(argv[5], NULL, 10) * 1000000000;
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    free(threads);
    printf("%.0f\n", (double)trips / ((double)(now_ns() - begin) / 1e9));
    return failed ? 1 : 0;
}
