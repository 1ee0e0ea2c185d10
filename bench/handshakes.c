/* handshakes URL CONNECTIONS SECONDS PID [resume]: new TLS connections, each with one GET and its
 * answer, by CONNECTIONS threads; prints seconds=… done=… resumed=… errors=… cpu_ms=… version=…,
 * cpu_ms being the CPU time of the process PID. Certificates are not checked. Without `resume` each
 * handshake is a full one; with it a connection offers the session of the one before. */
#include "http.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_THREADS = 256 };

static struct http_target target;
static SSL_CTX *ctx;
static bool resume, counting;
static pthread_barrier_t warm, go; /* each thread has made a first connection; the clock runs */
static int64_t stop_ns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long done, resumed, errors;
static char version[16];

/* One GET, read to the end of the connection; the sessions of TLS 1.3 come with the answer. */
static bool call(SSL *ssl) {
    char request[1024], answer[4096];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                     target.path);
    if (SSL_write(ssl, request, n) != n) return false;
    int got = SSL_read(ssl, answer, sizeof answer - 1);
    if (got < 12 || memcmp(answer, "HTTP/1.1 200", 12)) return false;
    while (SSL_read(ssl, answer, sizeof answer) > 0) continue;
    return true;
}

static void count(const SSL *ssl, bool ok) {
    if (!counting) return;
    pthread_mutex_lock(&lock);
    done += ok;
    errors += !ok;
    resumed += ok && SSL_session_reused(ssl);
    if (ok && !version[0]) snprintf(version, sizeof version, "%s", SSL_get_version(ssl));
    pthread_mutex_unlock(&lock);
}

static bool connect_once(SSL_SESSION **session) {
    struct http c;
    if (!http_open(&c, &target)) return false;
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, c.fd);
    if (*session) SSL_set_session(ssl, *session);
    bool ok = SSL_connect(ssl) == 1 && call(ssl);
    count(ssl, ok);
    if (ok && resume) {
        SSL_SESSION_free(*session);
        *session = SSL_get1_session(ssl);
    }
    SSL_shutdown(ssl);
    SSL_free(ssl);
    http_close(&c);
    return ok;
}

static void *run(void *arg) {
    SSL_SESSION *session = NULL;
    int failed = 0;
    connect_once(&session);
    pthread_barrier_wait(&warm);
    pthread_barrier_wait(&go);
    while (now_ns() < stop_ns && failed < 10) failed += !connect_once(&session);
    SSL_SESSION_free(session);
    return arg;
}

int main(int argc, char **argv) {
    pthread_t threads[MOST_THREADS];
    if (argc < 5 || !http_target_parse(argv[1], &target)) return 2;
    size_t n = strtoul(argv[2], NULL, 10);
    long pid = strtol(argv[4], NULL, 10);
    resume = argc > 5 && strcmp(argv[5], "resume") == 0;
    ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || n < 1 || n > MOST_THREADS) return 2;
    pthread_barrier_init(&warm, NULL, (unsigned)n + 1);
    pthread_barrier_init(&go, NULL, (unsigned)n + 1);
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0) bench_die("no thread");
    pthread_barrier_wait(&warm);
    double cpu = process_cpu_ms(pid);
    int64_t start = now_ns();
    stop_ns = start + (int64_t)(strtod(argv[3], NULL) * 1e9);
    counting = true;
    pthread_barrier_wait(&go);
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    printf("seconds=%.3f done=%ld resumed=%ld errors=%ld cpu_ms=%.3f version=%s\n",
           (double)(now_ns() - start) / 1e9, done, resumed, errors, process_cpu_ms(pid) - cpu,
           version);
    SSL_CTX_free(ctx);
    return done > 0 ? 0 : 1;
}
