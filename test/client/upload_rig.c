#include "client/upload_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void watch_progress(uint64_t sent_bytes, uint64_t total_bytes, void *user) {
    struct watched *w = user;
    w->fell = w->fell || sent_bytes < w->sent || sent_bytes > total_bytes;
    w->sent = sent_bytes;
    w->total = total_bytes;
    w->calls++;
    if (w->then != NULL) {
        w->then(w->user);
    }
}

int64_t read_dribble(void *buffer, size_t room, void *user) {
    struct dribble *d = user;
    size_t n = d->left < d->each ? d->left : d->each;
    n = n < room ? n : room;
    memcpy(buffer, d->bytes, n);
    d->bytes += n;
    d->left -= n;
    return n == 0 && d->fails ? -1 : (int64_t)n;
}

void file_of(char path[40], const char *ending, const char *bytes, size_t len) {
    snprintf(path, 40, "/tmp/fal-upload-XXXXXX%s", ending);
    int fd = mkstemps(path, (int)strlen(ending));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

struct sluggard {
    int listener, pause_ms, wake[2];
    unsigned port;
    size_t piece, connections;
    pthread_t thread;
};

/* Until it is there whole, the connection ends, or the test. */
static bool take_put(struct sluggard *s, int fd, size_t piece) {
    static char bytes[65536];
    size_t head = 0, have = 0, want = SIZE_MAX;
    char text[4096] = "";
    while (have < want) {
        struct pollfd fds[2] = {{s->wake[0], POLLIN, 0}, {piece > 0 ? fd : -1, POLLIN, 0}};
        poll(fds, 2, -1);
        ssize_t n = fds[0].revents == 0 ? recv(fd, bytes, piece, 0) : 0;
        if (n <= 0) {
            return false;
        }
        for (ssize_t i = 0; head == 0 && i < n && have + (size_t)i < sizeof(text) - 1; i++) {
            text[have + (size_t)i] = bytes[i];
            head = strstr(text, "\r\n\r\n") != NULL ? have + (size_t)i + 1 : 0;
        }
        have += (size_t)n;
        if (head > 0 && want == SIZE_MAX) {
            want = head + strtoul(strcasestr(text, "\r\nContent-Length:") + 17, NULL, 10);
        }
        if (s->pause_ms > 0 && piece < sizeof(bytes)) {
            poll(NULL, 0, s->pause_ms);
        }
    }
    return true;
}

static void *serve_slowly(void *user) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nETag: e\r\nContent-Length: 0\r\n"
                                 "Connection: close\r\n\r\n";
    struct sluggard *s = user;
    int kept = -1; /* the one that nothing is read from */
    for (;;) {
        struct pollfd fds[2] = {{s->wake[0], POLLIN, 0}, {s->listener, POLLIN, 0}};
        poll(fds, 2, -1);
        if (fds[0].revents != 0) {
            break;
        }
        int fd = accept(s->listener, NULL, NULL);
        bool first = s->connections++ == 0;
        if (first && s->piece == 0) {
            kept = fd;
            continue;
        }
        if (take_put(s, fd, first ? s->piece : 65536)) {
            assert_true(send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) > 0);
        }
        close(fd);
    }
    if (kept >= 0) {
        close(kept);
    }
    return NULL;
}

struct sluggard *sluggard_start(size_t piece, int pause_ms) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int small = 131072; /* not below what loopback makes of a segment */
    struct sluggard *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->piece = piece;
    s->pause_ms = pause_ms;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pipe(s->wake), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve_slowly, s), 0);
    return s;
}

unsigned sluggard_port(const struct sluggard *s) {
    return s->port;
}

size_t sluggard_stop(struct sluggard *s) {
    assert_int_equal(write(s->wake[1], "", 1), 1);
    pthread_join(s->thread, NULL);
    size_t connections = s->connections;
    close(s->listener);
    close(s->wake[0]);
    close(s->wake[1]);
    free(s);
    return connections;
}

const char *body_of(struct script *s, size_t i) {
    const char *end = strstr(script_request(s, i), "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

size_t asked_how_often(struct script *s, const char *line, const char **body) {
    size_t n = 0;
    for (size_t i = 0; i < script_count(s); i++) {
        if (script_asked(s, i, line)) {
            n++;
            *body = body_of(s, i);
        }
    }
    return n;
}
