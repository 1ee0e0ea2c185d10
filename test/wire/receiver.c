#include "receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct guest {
    struct receiver *r;
    int fd;
    struct text in;
};

/* --- what came */

unsigned receiver_count(struct receiver *r, const char *path) {
    unsigned n = 0;
    pthread_mutex_lock(&r->lock);
    for (struct delivered *d = r->first; d != NULL; d = d->next) n += strcmp(d->path, path) == 0;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static const struct delivered *find(struct receiver *r, const char *path, unsigned n) {
    struct delivered *d;
    pthread_mutex_lock(&r->lock);
    for (d = r->first; d != NULL; d = d->next)
        if (strcmp(d->path, path) == 0 && n-- == 0) break;
    pthread_mutex_unlock(&r->lock);
    return d;
}

const struct delivered *receiver_wait(struct receiver *r, const char *path, unsigned n) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(5)) {
        const struct delivered *d = find(r, path, n);
        if (d != NULL) return d;
    }
    fail_msg("delivery %u of %s does not come", n, path);
    return NULL;
}

unsigned receiver_most_hanging(struct receiver *r) {
    pthread_mutex_lock(&r->lock);
    unsigned n = r->most_hanging;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static bool header_of(const char *head, const char *name, char *out, size_t size) {
    size_t len = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) != 0 || line[len] != ':') continue;
        line += len + 1;
        line += strspn(line, " ");
        snprintf(out, size, "%.*s", (int)strcspn(line, "\r"), line);
        return true;
    }
    return false;
}

bool delivered_header(const struct delivered *d, const char *name, char *out, size_t size) {
    return header_of(d->head.p, name, out, size);
}

static void keep(struct guest *g, size_t head_len, size_t body_len) {
    struct delivered *d = calloc(1, sizeof *d);
    text_add(&d->head, g->in.p, head_len);
    text_add(&d->body, g->in.p + head_len, body_len);
    const char *path = strchr(d->head.p, ' ') + 1;
    snprintf(d->path, sizeof d->path, "%.*s", (int)strcspn(path, " "), path);
    d->at_ms = now_ms();
    pthread_mutex_lock(&g->r->lock);
    *g->r->last = d;
    g->r->last = &d->next;
    pthread_mutex_unlock(&g->r->lock);
    memmove(g->in.p, g->in.p + head_len + body_len, g->in.len - head_len - body_len);
    g->in.len -= head_len + body_len;
    g->in.p[g->in.len] = '\0';
}

static bool read_more(struct guest *g) {
    char bytes[65536];
    ssize_t n = recv(g->fd, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    text_add(&g->in, bytes, (size_t)n);
    return true;
}

/* One whole request; its path into `path`. */
static bool read_request(struct guest *g, char path[256]) {
    char value[32];
    const char *end;
    while (g->in.len == 0 || (end = strstr(g->in.p, "\r\n\r\n")) == NULL)
        if (!read_more(g)) return false;
    size_t head_len = (size_t)(end - g->in.p) + 4;
    snprintf(path, 256, "%.*s", (int)strcspn(strchr(g->in.p, ' ') + 1, " "),
             strchr(g->in.p, ' ') + 1);
    header_of(g->in.p, "content-length", value, sizeof value);
    size_t body_len = strtoul(value, NULL, 10);
    while (g->in.len < head_len + body_len)
        if (!read_more(g)) return false;
    keep(g, head_len, body_len);
    return true;
}

/* --- answers */

static const char *word(const char *path, const char *name) {
    const char *at = strstr(path, name);
    return at != NULL ? at + strlen(name) : NULL;
}

static unsigned number(const char *path, const char *name, unsigned otherwise) {
    const char *at = word(path, name);
    return at != NULL ? (unsigned)strtoul(at, NULL, 10) : otherwise;
}

static void say(struct guest *g, const char *text) {
    for (size_t len = strlen(text), done = 0; done < len;) {
        ssize_t n = send(g->fd, text + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) return;
        done += (size_t)n;
    }
}

static void hang(struct guest *g, unsigned ms) {
    struct pollfd p = {.fd = g->fd, .events = POLLIN};
    pthread_mutex_lock(&g->r->lock);
    if (++g->r->hanging > g->r->most_hanging) g->r->most_hanging = g->r->hanging;
    pthread_mutex_unlock(&g->r->lock);
    poll(&p, 1, (int)ms); /* until the other end has enough */
    pthread_mutex_lock(&g->r->lock);
    g->r->hanging--;
    pthread_mutex_unlock(&g->r->lock);
}

static void say_head(struct guest *g, const char *path) {
    struct text t = {0};
    const char *after = word(path, "/retry-after/"), *to = word(path, "/location/");
    text_printf(&t, "HTTP/1.1 %u X\r\nContent-Length: 0\r\n", number(path, "/status/", 200));
    if (after != NULL) text_printf(&t, "Retry-After: %.*s\r\n", (int)strcspn(after, "/"), after);
    if (to != NULL) text_printf(&t, "Location: http://%s\r\n", to);
    text_puts(&t, "\r\n");
    say(g, t.p);
    text_free(&t);
}

static void say_endlessly(struct guest *g) {
    char bytes[1000];
    memset(bytes, 'x', sizeof bytes);
    say(g, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    while (send(g->fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) {
        pthread_mutex_lock(&g->r->lock);
        g->r->endless_bytes += sizeof bytes;
        pthread_mutex_unlock(&g->r->lock);
    }
}

static void reset(struct guest *g) {
    struct linger now = {.l_onoff = 1};
    setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* False: the connection ends. */
static bool answer(struct guest *g, const char *path) {
    bool later = receiver_count(g->r, path) > number(path, "/first/", 1U << 30);
    if (later) {
        say(g, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        return true;
    }
    if (word(path, "/hang") != NULL) {
        hang(g, 30000);
        return false;
    }
    if (word(path, "/wait/") != NULL) hang(g, number(path, "/wait/", 0));
    if (word(path, "/reset") != NULL) reset(g);
    if (word(path, "/only/") != NULL) {
        char text[64];
        snprintf(text, sizeof text, "HTTP/1.1 %u X\r\n\r\n", number(path, "/only/", 100));
        say(g, text);
    }
    if (word(path, "/half") != NULL) say(g, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    if (word(path, "/endless") != NULL) say_endlessly(g);
    if (word(path, "/reset") || word(path, "/only/") || word(path, "/half") ||
        word(path, "/endless"))
        return false;
    say_head(g, path);
    return true;
}

static void *serve(void *guest) {
    struct guest *g = guest;
    char path[256];
    while (read_request(g, path) && answer(g, path)) continue;
    close(g->fd);
    text_free(&g->in);
    free(g);
    return NULL;
}

static void *accept_all(void *receiver) {
    struct receiver *r = receiver;
    for (int fd; (fd = accept(r->fd, NULL, NULL)) >= 0;) {
        struct guest *g = calloc(1, sizeof *g);
        pthread_t thread;
        g->r = r;
        g->fd = fd;
        if (pthread_create(&thread, NULL, serve, g) == 0) pthread_detach(thread);
    }
    return NULL;
}

void receiver_start(struct receiver *r) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *r = (struct receiver){.last = NULL};
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(r->fd, 1024), 0);
    assert_int_equal(getsockname(r->fd, (struct sockaddr *)&a, &len), 0);
    r->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&r->thread, NULL, accept_all, r), 0);
}

/* Call it when the server is gone: guests end with their connections, and write nothing after that. */
void receiver_stop(struct receiver *r) {
    shutdown(r->fd, SHUT_RDWR);
    pthread_join(r->thread, NULL);
    close(r->fd);
    sleep_ms(50);
    pthread_mutex_lock(&r->lock);
    for (struct delivered *d = r->first, *next; d != NULL; d = next) {
        next = d->next;
        text_free(&d->head);
        text_free(&d->body);
        free(d);
    }
    r->first = NULL;
    r->last = &r->first;
    pthread_mutex_unlock(&r->lock);
}
