#include "file_host.h"

#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;
static unsigned port;
static atomic_uint asked;
static atomic_int stuck = -1; /* a connection that gets no answer */

static void say(int fd, const char *head, const char *body, size_t len) {
    char text[512];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nConnection: close\r\n\r\n", head);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) return;
    while (len > 0) {
        ssize_t sent = send(fd, body, len, MSG_NOSIGNAL);
        if (sent <= 0) return;
        body += sent;
        len -= (size_t)sent;
    }
}

static const char zeros[MAX_FILE + 1];

#define WAV "200 OK\r\nContent-Type: audio/wav"
#define LENGTH "\r\nContent-Length: "

static const struct file {
    const char *path, *head, *bytes;
    size_t len;
} files[] = {
    {"/ok", WAV "; charset=binary" LENGTH "13", SOUND, SOUND_BYTES},
    {"/ok?x=1", WAV LENGTH "13", SOUND, SOUND_BYTES},
    {"/most", WAV, zeros, MAX_FILE},
    {"/more", WAV, zeros, MAX_FILE + 1},
    {"/declared", WAV LENGTH "100001", "", 0},
    {"/html", "200 OK\r\nContent-Type: text/html" LENGTH "4", "<!--", 4},
    {"/picture", "200 OK\r\nContent-Type: image/png" LENGTH "8", PNG, 8},
    {"/typeless", "200 OK" LENGTH "13", SOUND, SOUND_BYTES},
    {"/odd-type", "200 OK\r\nContent-Type: audio/w\"av" LENGTH "13", SOUND, SOUND_BYTES},
    {"/gzip", WAV "\r\nContent-Encoding: gzip" LENGTH "13", SOUND, SOUND_BYTES},
    {"/cut", WAV LENGTH "40", SOUND, SOUND_BYTES},
    {"/redirect", "302 Found\r\nLocation: /ok\r\nContent-Type: audio/wav" LENGTH "13", SOUND,
     SOUND_BYTES},
    {"/secret-in-the-body", "500 Oops\r\nContent-Type: audio/wav" LENGTH "6", "secret", 6},
    {"", "404 Not Found" LENGTH "0", "", 0}, /* and all others */
};

static void serve(int fd, const char *path) {
    const struct file *f = files;
    while (f->path[0] != '\0' && strcmp(f->path, path) != 0) f++;
    say(fd, f->head, f->bytes, f->len);
}

static void *host(void *arg) {
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        char head[4096] = "", path[256] = "";
        size_t n = 0;
        for (ssize_t got; n + 1 < sizeof head && strstr(head, "\r\n\r\n") == NULL;
             n += (size_t)got) {
            if ((got = recv(fd, head + n, sizeof head - n - 1, 0)) <= 0) break;
            head[n + (size_t)got] = '\0';
        }
        if (n == 0) {
            close(fd); /* the end of the suite */
            break;
        }
        atomic_fetch_add(&asked, 1);
        sscanf(head, "GET %255s", path);
        if (strcmp(path, "/stuck") == 0) {
            atomic_store(&stuck, fd);
            continue;
        }
        serve(fd, path);
        shutdown(fd, SHUT_WR);
        while (recv(fd, head, sizeof head, 0) > 0) {
        }
        close(fd);
    }
    return NULL;
}

static pthread_t thread;

void host_start(void) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 64), 0);
    getsockname(listener, (struct sockaddr *)&sa, &len);
    port = ntohs(sa.sin_port);
    pthread_create(&thread, NULL, host, NULL);
}

void host_stop(void) {
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

const char *host_url(const char *path) {
    static char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    return url;
}

unsigned host_asked(void) {
    return atomic_load(&asked);
}

void host_wait_stuck(void) {
    for (int i = 0; i < 500 && atomic_load(&stuck) < 0; i++) sleep_ms(10);
    assert_true(atomic_load(&stuck) >= 0);
}

bool host_is_left(void) {
    char byte;
    int fd = atomic_exchange(&stuck, -1);
    struct timeval wait = {.tv_sec = 10};
    errno = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    bool left = recv(fd, &byte, 1, 0) <= 0 && errno != EAGAIN;
    close(fd);
    return left;
}
