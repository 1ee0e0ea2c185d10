#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 256 << 20 };

int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

double process_cpu_ms(long pid) {
    char pattern[64];
    glob_t found;
    double sum = 0, ns;
    if (!pid) return 0;
    snprintf(pattern, sizeof pattern, "/proc/%ld/task/*/schedstat", pid);
    if (glob(pattern, 0, NULL, &found) != 0) bench_die("no such process, or no schedstat");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *f = fopen(found.gl_pathv[i], "r");
        if (f && fscanf(f, "%lf", &ns) == 1) sum += ns;
        if (f) fclose(f);
    }
    globfree(&found);
    return sum / 1e6;
}

void bench_die(const char *what) {
    fprintf(stderr, "bench: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

bool http_target_parse(const char *url, struct http_target *t) {
    *t = (struct http_target){.path = "/"};
    if (sscanf(url, "unix:%255[^:]:%511s", t->host, t->path) >= 1) return true;
    return sscanf(url, "http://%255[^:/]:%u%511s", t->host, &t->port, t->path) >= 2 ||
           sscanf(url, "https://%255[^:/]:%u%511s", t->host, &t->port, t->path) >= 2;
}

bool http_open(struct http *c, const struct http_target *t) {
    return http_open_small(c, t, 0);
}

bool http_open_small(struct http *c, const struct http_target *t, int receive_bytes) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t->port)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr *a = t->port ? (struct sockaddr *)&in : (struct sockaddr *)&un;
    int one = 1;
    *c = (struct http){.fd = socket(t->port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (t->port && inet_pton(AF_INET, t->host, &in.sin_addr) != 1)
        bench_die("the host must be a number");
    memcpy(un.sun_path, t->host, sizeof un.sun_path - 1);
    if (receive_bytes > 0)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (c->fd < 0 || connect(c->fd, a, t->port ? sizeof in : sizeof un) != 0) {
        http_close(c);
        return false;
    }
    if (t->port) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return true;
}

void http_close(struct http *c) {
    if (c->fd >= 0) close(c->fd);
    free(c->data);
    *c = (struct http){.fd = -1};
}

static bool send_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* BENCH_HEADERS: further header lines, one "Name: value" on each line. */
static void add_headers(char *head, size_t size) {
    const char *more = getenv("BENCH_HEADERS");
    while (more && *more) {
        size_t len = strcspn(more, "\n"), used = strlen(head);
        snprintf(head + used, size - used, "%.*s\r\n", (int)len, more);
        more += len + (more[len] == '\n');
    }
}

static bool send_request(struct http *c, const char *path, const char *key, const char *body) {
    char head[2048], length[96] = "";
    size_t len = body ? strlen(body) : 0;
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s%s",
             body ? "POST" : "GET", path, key ? "Authorization: " : "", key ? key : "",
             key ? "\r\n" : "");
    add_headers(head, sizeof head);
    if (body)
        snprintf(length, sizeof length, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                 len);
    size_t n = strlen(head) + strlen(length) + 2;
    if (strlen(head) >= sizeof head - 1) return false;
    char *whole = malloc(n + len + 1);
    if (!whole) return false;
    snprintf(whole, n + len + 1, "%s%s\r\n%s", head, length, body ? body : "");
    bool sent = send_all(c->fd, whole, n + len);
    free(whole);
    return sent;
}

static bool read_more(struct http *c) {
    if (c->cap - c->len < 16384) {
        c->cap = c->cap ? 2 * c->cap : 65536;
        if (c->cap > MOST_BYTES) return false;
        char *data = realloc(c->data, c->cap);
        if (!data) return false;
        c->data = data;
    }
    ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, 0);
    if (n <= 0) return false;
    c->len += (size_t)n;
    return true;
}

static void use_up(struct http *c, size_t n) {
    memmove(c->data, c->data + n, c->len - n);
    c->len -= n;
}

static bool read_head(struct http *c, struct http_reply *r, bool *chunked, size_t *length) {
    char *end;
    while (!c->len || !(end = memmem(c->data, c->len, "\r\n\r\n", 4)))
        if (!read_more(c)) return false;
    *end = 0;
    if (sscanf(c->data, "HTTP/1.1 %d", &r->status) != 1) return false;
    *chunked = false;
    *length = 0;
    for (char *line = c->data; (line = strstr(line, "\r\n"));) {
        line += 2;
        if (!strncasecmp(line, "transfer-encoding: chunked", 26)) *chunked = true;
        if (!strncasecmp(line, "content-length:", 15)) *length = strtoull(line + 15, NULL, 10);
    }
    use_up(c, (size_t)(end - c->data) + 4);
    return true;
}

static bool add_body(struct http_reply *r, const char *p, size_t n, const char *watch_for) {
    char *body = realloc(r->body, r->len + n + 1);
    if (!body) return false;
    memcpy(body + r->len, p, n);
    r->body = body;
    r->len += n;
    body[r->len] = 0;
    if (watch_for && !r->seen_ns && strstr(body, watch_for)) r->seen_ns = now_ns();
    return true;
}

static bool read_chunks(struct http *c, struct http_reply *r, const char *watch_for) {
    for (;;) {
        char *eol;
        while (!c->len || !(eol = memmem(c->data, c->len, "\r\n", 2)))
            if (!read_more(c)) return false;
        size_t n = strtoull(c->data, NULL, 16);
        size_t line = (size_t)(eol - c->data) + 2;
        while (c->len < line + n + 2)
            if (!read_more(c)) return false;
        if (!add_body(r, c->data + line, n, watch_for)) return false;
        use_up(c, line + n + 2);
        if (n == 0) return true;
    }
}

bool http_call(struct http *c, const char *path, const char *key, const char *body,
               const char *watch_for, struct http_reply *r) {
    bool chunked;
    size_t length;
    *r = (struct http_reply){0};
    if (!send_request(c, path, key, body) || !read_head(c, r, &chunked, &length)) return false;
    if (chunked) return read_chunks(c, r, watch_for);
    while (c->len < length)
        if (!read_more(c)) return false;
    bool ok = add_body(r, c->data, length, watch_for);
    use_up(c, length);
    return ok;
}

void last_member(const char *json, const char *quoted_name, const char **at, size_t *len) {
    const char *found = NULL;
    *at = "";
    *len = 0;
    for (const char *p = json; (p = strstr(p, quoted_name)); p += strlen(quoted_name)) {
        const char *v = p + strlen(quoted_name);
        v += strspn(v, ": ");
        if (*v == '"') found = v + 1;
    }
    if (!found) return;
    const char *end = found;
    while (*end && *end != '"') end += *end == '\\' && end[1] ? 2 : 1;
    *at = found;
    *len = (size_t)(end - found);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_numbers(double *v, size_t n) {
    qsort(v, n, sizeof *v, compare);
}

void print_spread(double *v, size_t n) {
    if (n == 0) bench_die("nothing was measured");
    sort_numbers(v, n);
    printf("%.3f %.3f %.3f %.3f %zu\n", v[n / 2], v[n * 99 / 100], v[0], v[n - 1], n);
}
