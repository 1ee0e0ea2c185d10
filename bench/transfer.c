/* Uploads files of one size over several connections at once, each its own thread, for some seconds.
 *
 *   bench_transfer METHOD URL KEY BYTES CONNECTIONS SECONDS
 *
 * METHOD is PUT or POST; "%" in the URL's path becomes a number that no other upload has. Prints
 * "files megabytes_per_s". Ends with 1 when an answer is not 2xx. */
#include "http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PIECE ((size_t)256 << 10)

static struct http_target target;
static const char *method, *key;
static long long size;
static int64_t until;
static atomic_int numbers;
static atomic_llong sent, files;
static atomic_bool failed;
static char piece[PIECE];

static bool send_all(int fd, const char *data, size_t n) {
    while (n > 0) {
        ssize_t w = send(fd, data, n, MSG_NOSIGNAL);
        if (w <= 0) return false;
        data += w;
        n -= (size_t)w;
    }
    return true;
}

/* The status of the answer; what follows its head is read as far as Content-Length says. */
static int read_answer(int fd) {
    char text[8192];
    size_t have = 0;
    for (;;) {
        ssize_t r = recv(fd, text + have, sizeof text - 1 - have, 0);
        if (r <= 0) return 0;
        have += (size_t)r;
        text[have] = '\0';
        char *end = strstr(text, "\r\n\r\n");
        if (end == NULL) continue;
        char *length = strcasestr(text, "\r\nContent-Length:");
        size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (have >= (size_t)(end - text) + 4 + body) return (int)strtol(text + 9, NULL, 10);
    }
}

static bool upload(struct http *c) {
    char head[1024], path[600], number[16];
    const char *mark = strchr(target.path, '%');
    size_t before = mark != NULL ? (size_t)(mark - target.path) : strlen(target.path);
    snprintf(number, sizeof number, "%d", atomic_fetch_add(&numbers, 1));
    snprintf(path, sizeof path, "%.*s%s%s", (int)before, target.path, mark != NULL ? number : "",
             mark != NULL ? mark + 1 : "");
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: bench\r\nAuthorization: %s\r\nContent-Type: "
                     "application/octet-stream\r\nContent-Length: %lld\r\n\r\n",
                     method, path, key, size);
    if (!send_all(c->fd, head, (size_t)n)) return false;
    for (long long left = size; left > 0; left -= (long long)PIECE)
        if (!send_all(c->fd, piece, left < (long long)PIECE ? (size_t)left : PIECE)) return false;
    int status = read_answer(c->fd);
    if (status / 100 != 2) {
        fprintf(stderr, "status %d\n", status);
        return false;
    }
    return true;
}

static void *run(void *arg) {
    struct http c = {0};
    if (!http_open(&c, &target)) bench_die("nobody listens");
    while (now_ns() < until && !atomic_load(&failed)) {
        if (!upload(&c)) {
            atomic_store(&failed, true);
            break;
        }
        atomic_fetch_add(&files, 1);
        atomic_fetch_add(&sent, size);
    }
    http_close(&c);
    return arg;
}

int main(int argc, char **argv) {
    if (argc != 7 || !http_target_parse(argv[2], &target))
        bench_die("bench_transfer METHOD URL KEY BYTES CONNECTIONS SECONDS");
    method = argv[1];
    key = argv[3];
    size = strtoll(argv[4], NULL, 10);
    size_t n = strtoul(argv[5], NULL, 10);
    pthread_t *threads = calloc(n, sizeof *threads);
    if (threads == NULL) bench_die("out of memory");
    for (size_t i = 0; i < PIECE; i++) piece[i] = (char)(i * 2654435761U >> 24);
    int64_t begin = now_ns();
    until = begin + strtoll(argv[6], NULL, 10) * 1000000000;
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    free(threads);
    double seconds = (double)(now_ns() - begin) / 1e9;
    printf("%lld %.1f\n", (long long)files, (double)sent / 1e6 / seconds);
    return failed ? 1 : 0;
}
