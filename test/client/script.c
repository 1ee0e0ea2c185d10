#include "client/script.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS 80
#define REQUESTS 512
#define REQUEST_BYTES (8U << 20)

struct script {
    struct script_step *steps;
    bool *used;
    size_t step_count;
    int listener, wake[2];
    char base[64];
    pthread_t thread;
    pthread_mutex_t lock;
    char *requests[REQUESTS];
    size_t request_count, connection_count;
    struct {
        int fd; /* -1: free */
        struct buf in;
        const struct script_step *held;
    } conns[CONNECTIONS];
};

static void must(bool ok, const char *what) {
    if (!ok) {
        perror(what);
        abort();
    }
}

static void send_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static void add_body(struct buf *out, const struct script *s, const char *body) {
    for (const char *at; (at = strstr(body, "$BASE")) != NULL; body = at + 5) {
        buf_add(out, slice_make(body, (size_t)(at - body)));
        buf_puts(out, s->base);
    }
    buf_puts(out, body);
}

static void send_reply(const struct script *s, int fd, const struct script_step *step) {
    struct buf body, all;
    buf_init(&body, REQUEST_BYTES);
    buf_init(&all, REQUEST_BYTES);
    add_body(&body, s, step->body != NULL ? step->body : "");
    buf_printf(&all, "HTTP/1.1 %d X\r\n", step->status);
    if (step->headers == NULL || strstr(step->headers, "Content-Type") == NULL) {
        buf_puts(&all, "Content-Type: application/json\r\n");
    }
    buf_printf(&all, "Content-Length: %zu\r\n%s\r\n", buf_len(&body),
               step->headers != NULL ? step->headers : "");
    buf_add(&all, buf_slice(&body));
    send_all(fd, buf_slice(&all).ptr, buf_len(&all));
    buf_free(&body);
    buf_free(&all);
}

static void send_raw(int fd, const struct script_step *step) {
    static const char spaces[65536] = {[0 ... 65535] = ' '};
    size_t raw_bytes = step->raw_bytes > 0 ? step->raw_bytes : strlen(step->raw);
    size_t piece = step->drip ? 1 : raw_bytes;
    for (size_t at = 0; at < raw_bytes; at += piece) {
        send_all(fd, step->raw + at, piece);
        poll(NULL, 0, step->drip_ms);
    }
    for (size_t left = step->filler_bytes; left > 0;) {
        size_t n = left < sizeof(spaces) ? left : sizeof(spaces);
        send_all(fd, spaces, n);
        left -= n;
    }
}

/* The first that is left and meant for this request. */
static size_t step_for(const struct script *s, struct slice request) {
    const char *end = memchr(request.ptr, '\r', request.len);
    size_t line = end != NULL ? (size_t)(end - request.ptr) : request.len, i = 0;
    for (; i < s->step_count; i++) {
        const char *when = s->steps[i].when;
        if (!s->used[i] &&
            (when == NULL || memmem(request.ptr, line, when, strlen(when)) != NULL)) {
            break;
        }
    }
    return i;
}

/* Takes the step. */
static const struct script_step *take_step(struct script *s, struct slice request) {
    static const struct script_step over = {.status = 500,
                                            .body = "{\"detail\":\"the script is over\"}"};
    size_t i = step_for(s, request);
    if (i == s->step_count) {
        return &over;
    }
    s->used[i] = true;
    return &s->steps[i];
}

static bool hold(struct script *s, int fd, const struct script_step *step) {
    for (size_t i = 0; i < CONNECTIONS && step->hold > s->request_count; i++) {
        if (s->conns[i].fd == fd) {
            s->conns[i].held = step;
            return true;
        }
    }
    return false;
}

static void answer_held(struct script *s) {
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const struct script_step *step = s->conns[i].held;
        if (step != NULL && step->hold <= s->request_count) {
            s->conns[i].held = NULL;
            send_reply(s, s->conns[i].fd, step);
        }
    }
}

/* True when the connection stays. */
static bool answer(struct script *s, int fd, const struct script_step *step) {
    if (hold(s, fd, step)) {
        return true;
    }
    if (step->hook != NULL) {
        step->hook(step->user);
    }
    if (step->hang) {
        return true;
    }
    if (step->raw != NULL) {
        send_raw(fd, step);
        return step->stay;
    }
    send_reply(s, fd, step);
    return !step->close;
}

/* Bytes of the first whole request in `in`, 0 when it is not whole yet. */
static size_t whole_request(const struct buf *in) {
    struct slice all = buf_slice(in);
    const char *end = all.len > 3 ? memmem(all.ptr, all.len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return 0;
    }
    size_t head = (size_t)(end - all.ptr) + 4;
    char *text = slice_dup(slice_make(all.ptr, head));
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t body = length != NULL ? (size_t)strtoul(length + 17, NULL, 10) : 0;
    free(text);
    return all.len >= head + body ? head + body : 0;
}

static void remember(struct script *s, struct slice request) {
    pthread_mutex_lock(&s->lock);
    size_t number = s->request_count++;
    must(number < REQUESTS, "too many requests");
    s->requests[number] = slice_dup(request);
    pthread_mutex_unlock(&s->lock);
}

/* The one that has begun to come is not to come further. */
static bool is_cut(struct script *s, const struct buf *in) {
    struct slice request = buf_slice(in);
    if (memmem(request.ptr, request.len, "\r\n\r\n", 4) == NULL) {
        return false;
    }
    size_t i = step_for(s, request);
    if (i == s->step_count || s->steps[i].cut_bytes == 0 || request.len < s->steps[i].cut_bytes) {
        return false;
    }
    s->used[i] = true;
    remember(s, request);
    return true;
}

/* True when the connection stays. */
static bool serve(struct script *s, int fd, struct buf *in) {
    char chunk[65536];
    ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
    if (n <= 0) {
        return false;
    }
    must(buf_add(in, slice_make(chunk, (size_t)n)), "request too large");
    for (size_t len; (len = whole_request(in)) > 0 && !is_cut(s, in);) {
        struct slice request = slice_make(buf_slice(in).ptr, len);
        const struct script_step *step = take_step(s, request);
        remember(s, request);
        answer_held(s);
        buf_consume(in, len);
        if (!answer(s, fd, step)) {
            return false;
        }
    }
    return whole_request(in) == 0 && !is_cut(s, in);
}

static void take_connection(struct script *s) {
    int fd = accept(s->listener, NULL, NULL);
    int on = 1;
    must(fd >= 0, "accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    pthread_mutex_lock(&s->lock);
    s->connection_count++;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (s->conns[i].fd < 0) {
            s->conns[i].fd = fd;
            buf_init(&s->conns[i].in, REQUEST_BYTES);
            return;
        }
    }
    must(false, "too many connections");
}

/* Our side first: a reset would eat what the peer has not read yet. */
static void drop(struct script *s, size_t i) {
    char rest[4096];
    shutdown(s->conns[i].fd, SHUT_WR);
    while (recv(s->conns[i].fd, rest, sizeof(rest), MSG_DONTWAIT) > 0) {
    }
    close(s->conns[i].fd);
    buf_free(&s->conns[i].in);
    s->conns[i].fd = -1;
    s->conns[i].held = NULL;
}

static void *run(void *user) {
    struct script *s = user;
    struct pollfd fds[CONNECTIONS + 2];
    for (;;) {
        fds[0] = (struct pollfd){s->wake[0], POLLIN, 0};
        fds[1] = (struct pollfd){s->listener, POLLIN, 0};
        for (size_t i = 0; i < CONNECTIONS; i++) {
            fds[i + 2] = (struct pollfd){s->conns[i].fd, POLLIN, 0};
        }
        must(poll(fds, CONNECTIONS + 2, -1) > 0, "poll");
        if (fds[0].revents != 0) {
            return NULL;
        }
        for (size_t i = 0; i < CONNECTIONS; i++) {
            if (fds[i + 2].revents != 0 && !serve(s, s->conns[i].fd, &s->conns[i].in)) {
                drop(s, i);
            }
        }
        if (fds[1].revents != 0) {
            take_connection(s);
        }
    }
}

static int listen_on(const void *at, socklen_t len, int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, at, len) == 0 && listen(fd, CONNECTIONS) == 0, "listen");
    return fd;
}

static struct script *begin(const struct script_step *steps, size_t count) {
    struct script *s = calloc(1, sizeof(*s));
    must(s != NULL, "calloc");
    s->steps = malloc(count * sizeof(*steps));
    must(s->steps != NULL, "malloc");
    memcpy(s->steps, steps, count * sizeof(*steps));
    s->used = calloc(count + 1, sizeof(*s->used));
    must(s->used != NULL, "calloc");
    s->step_count = count;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        s->conns[i].fd = -1;
    }
    return s;
}

static struct script *serve_from_now(struct script *s) {
    must(pipe(s->wake) == 0, "pipe");
    pthread_mutex_init(&s->lock, NULL);
    must(pthread_create(&s->thread, NULL, run, s) == 0, "pthread_create");
    return s;
}

struct script *script_start(const struct script_step *steps, size_t count) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    struct script *s = begin(steps, count);
    s->listener = listen_on(&at, sizeof(at), AF_INET);
    must(getsockname(s->listener, (struct sockaddr *)&at, &len) == 0, "getsockname");
    snprintf(s->base, sizeof(s->base), "http://127.0.0.1:%d", ntohs(at.sin_port));
    return serve_from_now(s);
}

struct script *script_start_unix(const char *path, const struct script_step *steps, size_t count) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct script *s = begin(steps, count);
    must(strlen(path) < sizeof(at.sun_path), "the socket's name is too long");
    memcpy(at.sun_path, path, strlen(path) + 1);
    s->listener = listen_on(&at, sizeof(at), AF_UNIX);
    snprintf(s->base, sizeof(s->base), "http://localhost");
    return serve_from_now(s);
}

void script_stop(struct script *s) {
    must(write(s->wake[1], "", 1) == 1, "write");
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (s->conns[i].fd >= 0) {
            drop(s, i);
        }
    }
    for (size_t i = 0; i < s->request_count; i++) {
        free(s->requests[i]);
    }
    close(s->listener);
    close(s->wake[0]);
    close(s->wake[1]);
    pthread_mutex_destroy(&s->lock);
    free(s->used);
    free(s->steps);
    free(s);
}

const char *script_base(const struct script *s) {
    return s->base;
}

static size_t locked(struct script *s, const size_t *value) {
    pthread_mutex_lock(&s->lock);
    size_t copy = *value;
    pthread_mutex_unlock(&s->lock);
    return copy;
}

size_t script_count(struct script *s) {
    return locked(s, &s->request_count);
}

size_t script_connections(struct script *s) {
    return locked(s, &s->connection_count);
}

const char *script_request(struct script *s, size_t i) {
    return i < script_count(s) ? s->requests[i] : "";
}

bool script_asked(struct script *s, size_t i, const char *line) {
    const char *text = script_request(s, i);
    size_t len = strlen(line);
    return strncmp(text, line, len) == 0 && strncmp(text + len, "\r\n", 2) == 0;
}

bool script_has_header(struct script *s, size_t i, const char *line) {
    char wanted[512];
    snprintf(wanted, sizeof(wanted), "\r\n%s\r\n", line);
    const char *text = script_request(s, i);
    const char *end = strstr(text, "\r\n\r\n");
    const char *at = strcasestr(text, wanted);
    return at != NULL && end != NULL && at <= end;
}
