#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- text */

static void reserve(struct text *t, size_t more) {
    if (t->cap - t->len > more) return;
    while (t->cap - t->len <= more) t->cap = t->cap == 0 ? 1024 : t->cap * 2;
    t->p = realloc(t->p, t->cap);
    if (t->p == NULL) abort();
}

void text_add(struct text *t, const void *bytes, size_t len) {
    reserve(t, len);
    if (len > 0) memcpy(t->p + t->len, bytes, len);
    t->len += len;
    t->p[t->len] = '\0';
}

void text_puts(struct text *t, const char *s) {
    text_add(t, s, strlen(s));
}

void text_fill(struct text *t, char c, size_t n) {
    reserve(t, n);
    memset(t->p + t->len, c, n);
    t->len += n;
    t->p[t->len] = '\0';
}

void text_printf(struct text *t, const char *fmt, ...) {
    for (size_t room = 256;;) {
        va_list ap;
        reserve(t, room);
        va_start(ap, fmt);
        int n = vsnprintf(t->p + t->len, t->cap - t->len, fmt, ap);
        va_end(ap);
        if (n < 0) abort();
        room = (size_t)n + 1;
        if (room > t->cap - t->len) continue;
        t->len += (size_t)n;
        return;
    }
}

void text_free(struct text *t) {
    free(t->p);
    *t = (struct text){0};
}

static void text_drop(struct text *t, size_t n) {
    if (t->len == 0) return;
    memmove(t->p, t->p + n, t->len - n);
    t->len -= n;
    t->p[t->len] = '\0';
}

/* --- answers */

static const char *find(const char *bytes, size_t len, const char *what) {
    return len == 0 ? NULL : memmem(bytes, len, what, strlen(what));
}

static bool header_in(const char *head, const char *name, char *out, size_t size) {
    size_t n = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) != 0 || line[n] != ':') continue;
        const char *value = line + n + 1, *end = strstr(value, "\r\n");
        while (*value == ' ') value++;
        snprintf(out, size, "%.*s", (int)(end - value), value);
        return true;
    }
    return false;
}

bool answer_header(const struct answer *a, const char *name, char *out, size_t size) {
    return header_in(a->head.p, name, out, size);
}

bool answer_says(const struct answer *a, const char *part) {
    return find(a->body.p, a->body.len, part) != NULL;
}

void answer_free(struct answer *a) {
    text_free(&a->head);
    text_free(&a->body);
    *a = (struct answer){0};
}

yyjson_doc *answer_json(const char *what, const struct answer *a) {
    yyjson_doc *doc = a->body.len == 0 ? NULL : yyjson_read(a->body.p, a->body.len, 0);
    if (doc == NULL) fail_msg("%s: not JSON: %s", what, a->body.len == 0 ? "" : a->body.p);
    return doc;
}

static bool is_text(yyjson_val *v) {
    return yyjson_is_str(v) && yyjson_get_len(v) > 0;
}

static bool is_fault_list(yyjson_val *list) {
    size_t i, n;
    yyjson_val *fault;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0) return false;
    yyjson_arr_foreach(list, i, n, fault) {
        if (yyjson_arr_size(yyjson_obj_get(fault, "loc")) == 0) return false;
        if (!is_text(yyjson_obj_get(fault, "msg")) || !is_text(yyjson_obj_get(fault, "type")))
            return false;
    }
    return true;
}

static bool is_openai_error(yyjson_val *error) {
    return is_text(yyjson_obj_get(error, "message")) && is_text(yyjson_obj_get(error, "type"));
}

/* Without `detail`: the queue's {"status":"NOT_FOUND"} and {"status":"ALREADY_COMPLETED"}, the bare text of fal's proxy,
 * the null of an OpenAPI document that is not there. */
static bool is_bare_error(yyjson_val *root, const struct answer *a) {
    return is_text(yyjson_obj_get(root, "status")) || is_text(root) ||
           (yyjson_is_null(root) && a->status == 404);
}

/* fal's shapes and OpenAI's. */
static void check_error(const char *what, const struct answer *a) {
    char type[64], header[64];
    answer_header(a, "content-type", type, sizeof type);
    if (strcmp(type, "application/json") != 0)
        fail_msg("%s: content type \"%s\" of an error", what, type);
    yyjson_doc *doc = answer_json(what, a);
    yyjson_val *root = yyjson_doc_get_root(doc), *detail = yyjson_obj_get(root, "detail");
    bool known = detail == NULL
                     ? is_bare_error(root, a) || is_openai_error(yyjson_obj_get(root, "error"))
                     : is_text(detail) || is_fault_list(detail);
    if (!known) fail_msg("%s: not the shape of an error: %s", what, a->body.p);
    const char *named = yyjson_get_str(yyjson_obj_get(root, "error_type"));
    bool has = answer_header(a, "x-fal-error-type", header, sizeof header);
    if (named == NULL && has) /* OpenAI's name for it */
        named = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(root, "error"), "code"));
    if (named != NULL && strcmp(named, header) != 0)
        fail_msg("%s: error_type %s, x-fal-error-type \"%s\"", what, named, header);
    if (named == NULL && has) fail_msg("%s: x-fal-error-type without error_type", what);
    yyjson_doc_free(doc);
}

/* Every answer has a request id and nosniff, lets any page read it but never with credentials, repeats no key; an error
 * has one of fal's shapes. */
void check_answer(const char *what, const struct answer *a) {
    char value[256];
    if (a->status < 200) return;
    if (!answer_header(a, "x-fal-request-id", value, sizeof value) || strlen(value) != 36)
        fail_msg("%s: x-fal-request-id \"%s\":\n%s", what, value, a->head.p);
    answer_header(a, "x-content-type-options", value, sizeof value);
    if (strcmp(value, "nosniff") != 0) fail_msg("%s: no nosniff:\n%s", what, a->head.p);
    answer_header(a, "access-control-allow-origin", value, sizeof value);
    if (strcmp(value, "*") != 0) fail_msg("%s: not open to every origin:\n%s", what, a->head.p);
    if (answer_header(a, "access-control-allow-credentials", value, sizeof value))
        fail_msg("%s: CORS with credentials", what);
    if (a->status >= 400 && a->body.len > 0) check_error(what, a);
}

/* --- connections */

struct peer peer_open(unsigned port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(p.fd >= 0);
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(p.fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail_msg("connect: %s", strerror(errno));
    return p;
}

void peer_close(struct peer *p) {
    if (p->fd >= 0) close(p->fd);
    text_free(&p->in);
    answer_free(&p->answer);
    p->fd = -1;
}

void peer_half_close(struct peer *p) {
    shutdown(p->fd, SHUT_WR);
}

static bool wait_for(struct peer *p, short events, uint64_t end) {
    struct pollfd f = {.fd = p->fd, .events = events};
    for (uint64_t now = now_ms(); now < end; now = now_ms())
        if (poll(&f, 1, (int)(end - now)) > 0) return true;
    return false;
}

bool peer_send(struct peer *p, const char *bytes, size_t len) {
    uint64_t end = now_ms() + PATIENCE_MS;
    while (len > 0) {
        ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN && wait_for(p, POLLOUT, end)) continue;
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool peer_puts(struct peer *p, const char *text) {
    return peer_send(p, text, strlen(text));
}

bool peer_trickle(struct peer *p, const char *bytes, size_t len) {
    struct pollfd f = {.fd = p->fd, .events = POLLIN};
    for (size_t i = 0; i < len; i++)
        if (poll(&f, 1, 0) > 0 || !peer_send(p, bytes + i, 1)) return false;
    return true;
}

/* One read. False when nothing came in time or the connection ended. */
static bool receive(struct peer *p, uint64_t end) {
    char bytes[65536];
    if (p->end != PEER_OPEN || !wait_for(p, POLLIN, end)) return false;
    ssize_t n = recv(p->fd, bytes, sizeof bytes, 0);
    if (n <= 0) {
        p->end = n == 0 ? PEER_ENDED : PEER_RESET;
        return false;
    }
    text_add(&p->in, bytes, (size_t)n);
    const char *found = canary_in(p->in.p, p->in.len);
    if (found != NULL) fail_msg("the key %s came back:\n%s", found, p->in.p);
    return true;
}

void peer_listen(struct peer *p, unsigned ms) {
    uint64_t end = now_ms() + ms;
    while (receive(p, end)) {
    }
}

static size_t chunk(const char *at, size_t len, size_t *data) {
    const char *line_end = find(at, len, "\r\n");
    if (line_end == NULL) return 0;
    *data = strtoul(at, NULL, 16);
    return (size_t)(line_end - at) + 2;
}

/* Decodes the chunks at `at` into `body`. Bytes used, 0 when they are not whole. */
static size_t dechunk(const char *bytes, size_t len, struct text *body) {
    for (size_t at = 0, size;;) {
        size_t head = chunk(bytes + at, len - at, &size);
        if (head == 0 || len - at < head + size + 2) return 0;
        text_add(body, bytes + at + head, size);
        at += head + size + 2;
        if (size == 0) return at;
    }
}

/* Bytes of the body behind the head, decoded into p->answer.body; SIZE_MAX when it is not whole yet. */
static size_t take_body(struct peer *p, size_t head_len, bool bodyless) {
    struct answer *a = &p->answer;
    const char *bytes = p->in.p + head_len;
    size_t len = p->in.len - head_len, n;
    char value[64];
    if (bodyless || a->status < 200 || a->status == 204 || a->status == 304) return 0;
    if (answer_header(a, "transfer-encoding", value, sizeof value)) {
        n = dechunk(bytes, len, &a->body);
        return n == 0 ? SIZE_MAX : n;
    }
    if (!answer_header(a, "content-length", value, sizeof value)) {
        if (p->end != PEER_ENDED) return SIZE_MAX;
        text_add(&a->body, bytes, len);
        return len;
    }
    n = strtoul(value, NULL, 10);
    if (len < n) return SIZE_MAX;
    text_add(&a->body, bytes, n);
    return n;
}

static bool take_answer(struct peer *p, bool bodyless) {
    struct answer *a = &p->answer;
    const char *blank = find(p->in.p, p->in.len, "\r\n\r\n");
    char value[64];
    answer_free(a);
    if (blank == NULL) return false;
    size_t head_len = (size_t)(blank - p->in.p) + 4;
    text_add(&a->head, p->in.p, head_len);
    if (strncmp(a->head.p, "HTTP/1.", 7) != 0) fail_msg("not an answer:\n%s", p->in.p);
    a->status = (unsigned)strtoul(a->head.p + 9, NULL, 10);
    a->close = answer_header(a, "connection", value, sizeof value) &&
               strcasecmp(value, "close") == 0;
    size_t n = take_body(p, head_len, bodyless);
    if (n == SIZE_MAX) return false;
    text_drop(&p->in, head_len + n);
    return true;
}

static const struct answer *next_answer(struct peer *p, bool bodyless, unsigned ms) {
    uint64_t end = now_ms() + ms;
    while (!take_answer(p, bodyless))
        if (!receive(p, end) && (p->end != PEER_ENDED || !take_answer(p, bodyless))) return NULL;
    if (p->answer.status >= 200) check_answer(p->answer.head.p, &p->answer);
    return &p->answer;
}

const struct answer *peer_answer(struct peer *p) {
    return next_answer(p, false, PATIENCE_MS);
}

const struct answer *peer_answer_to_head(struct peer *p) {
    return next_answer(p, true, PATIENCE_MS);
}

const struct answer *peer_answer_within(struct peer *p, unsigned ms) {
    return next_answer(p, false, ms);
}

bool peer_is_ended(struct peer *p) {
    uint64_t end = now_ms() + PATIENCE_MS;
    while (receive(p, end)) {
    }
    return p->end != PEER_OPEN && p->in.len == 0;
}

bool peer_is_kept(struct peer *p) {
    if (p->end != PEER_OPEN || !peer_puts(p, HEALTHZ)) return false;
    const struct answer *a = peer_answer(p);
    return a != NULL && a->status == 200;
}

/* --- whole requests */

struct answer ask(unsigned port, const char *bytes, size_t len) {
    struct peer p = peer_open(port);
    peer_send(&p, bytes, len);
    if (peer_answer(&p) == NULL)
        fail_msg("no answer to:\n%.*s", (int)(len < 2000 ? len : 2000), bytes);
    struct answer a = p.answer;
    p.answer = (struct answer){0};
    peer_close(&p);
    return a;
}

struct answer ask_text(unsigned port, const char *text) {
    return ask(port, text, strlen(text));
}

struct answer post(unsigned port, const char *path, const char *headers, const char *body,
                   size_t len) {
    struct text t = {0};
    text_printf(&t, "POST %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n", path, headers,
                len);
    text_add(&t, body, len);
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

struct answer post_json(unsigned port, const char *path, const char *body) {
    return post(port, path, "Content-Type: application/json\r\n", body, strlen(body));
}

struct answer get(unsigned port, const char *path) {
    struct text t = {0};
    text_printf(&t, "GET %s HTTP/1.1\r\n" HOST "\r\n", path);
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

unsigned long metric(unsigned port, const char *name) {
    struct answer a = get(port, "/metrics");
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    if (at == NULL) fail_msg("no metric %s", name);
    unsigned long v = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return v;
}

/* --- the mock: it has no request ids, so check_answer is not for it */

static struct answer ask_mock(const struct mock *m, const char *text) {
    struct peer p = peer_open(m->port);
    uint64_t end = now_ms() + PATIENCE_MS;
    peer_puts(&p, text);
    while (!take_answer(&p, false)) {
        char bytes[65536];
        ssize_t n = wait_for(&p, POLLIN, end) ? recv(p.fd, bytes, sizeof bytes, 0) : 0;
        if (n <= 0) fail_msg("the mock gives no answer");
        text_add(&p.in, bytes, (size_t)n);
    }
    struct answer a = p.answer;
    p.answer = (struct answer){0};
    peer_close(&p);
    return a;
}

yyjson_doc *mock_stats(const struct mock *m) {
    struct answer a = ask_mock(m, "GET /_stats HTTP/1.1\r\nHost: mock\r\n\r\n");
    yyjson_doc *doc = answer_json("/_stats", &a);
    answer_free(&a);
    return doc;
}

unsigned long mock_count(const struct mock *m, const char *name) {
    yyjson_doc *doc = mock_stats(m);
    unsigned long n = yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), name));
    yyjson_doc_free(doc);
    return n;
}

void mock_reset(const struct mock *m) {
    struct answer a = ask_mock(m,
                               "POST /_reset HTTP/1.1\r\nHost: mock\r\nContent-Length: 0\r\n\r\n");
    answer_free(&a);
}
