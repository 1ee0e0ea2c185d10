#include "client/ws_peer.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_REQUESTS 16
#define MAX_BYTES ((size_t)256 << 20)
#define PATIENCE_S 20

struct ws_peer {
    struct ws_step *steps;
    size_t count, at;
    int listener;
    atomic_int fd;
    atomic_bool stopped;
    bool slowly;
    char base[64], fault[256];
    struct buf in;
    char *requests[MAX_REQUESTS];
    size_t request_count;
    pthread_t thread;
};

static bool fault(struct ws_peer *p, const char *what) {
    if (p->fault[0] == '\0' && !atomic_load(&p->stopped))
        snprintf(p->fault, sizeof p->fault, "step %zu: %s", p->at, what);
    return false;
}

static bool send_all(struct ws_peer *p, struct slice s) {
    while (s.len > 0) {
        ssize_t n = send(atomic_load(&p->fd), s.ptr, p->slowly ? 1 : s.len, MSG_NOSIGNAL);
        if (n <= 0) return fault(p, "cannot send");
        s = slice_from(s, (size_t)n);
    }
    return true;
}

/* Until that many bytes are there. */
static bool fill(struct ws_peer *p, size_t bytes) {
    static char chunk[65536];
    while (buf_len(&p->in) < bytes) {
        ssize_t n = recv(atomic_load(&p->fd), chunk, sizeof chunk, 0);
        if (n <= 0) return fault(p, n == 0 ? "the client has closed" : "nothing comes");
        if (!buf_add(&p->in, slice_make(chunk, (size_t)n))) return fault(p, "too much");
    }
    return true;
}

static bool read_request(struct ws_peer *p) {
    const char *end = NULL;
    for (size_t n = 1; end == NULL; n = buf_len(&p->in) + 1) {
        if (!fill(p, n)) return false;
        end = memmem(buf_slice(&p->in).ptr, buf_len(&p->in), "\r\n\r\n", 4);
    }
    size_t head = (size_t)(end - buf_slice(&p->in).ptr) + 4;
    char *text = slice_dup(slice_make(buf_slice(&p->in).ptr, head));
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t all = head + (length != NULL ? (size_t)strtoul(length + 17, NULL, 10) : 0);
    free(text);
    if (!fill(p, all)) return false;
    if (p->request_count == MAX_REQUESTS) return fault(p, "too many requests");
    p->requests[p->request_count++] = slice_dup(slice_make(buf_slice(&p->in).ptr, all));
    buf_consume(&p->in, all);
    return true;
}

static bool do_accept(struct ws_peer *p, const struct ws_step *s) {
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = accept(p->listener, NULL, NULL);
    if (fd < 0) return fault(p, "nobody comes");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    atomic_store(&p->fd, fd);
    buf_reset(&p->in, 0);
    return read_request(p);
}

static void add_accept(struct ws_peer *p, struct buf *out) {
    const char *request = p->requests[p->request_count - 1];
    const char *key = strcasestr(request, "\r\nSec-WebSocket-Key: ");
    unsigned char text[60], hash[EVP_MAX_MD_SIZE], accept[32];
    if (key == NULL) return;
    memcpy(text, key + 21, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    EVP_Digest(text, sizeof text, hash, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock(accept, hash, 20);
    buf_puts(out, (const char *)accept);
}

static void add_text(struct buf *out, const struct ws_step *s) {
    buf_add(out, slice_make(s->text, s->bytes > 0      ? s->bytes
                                     : s->text != NULL ? strlen(s->text)
                                                       : 0));
    for (size_t i = 0; i < s->filler; i++) buf_addc(out, 'x');
    if (s->tail != NULL) buf_puts(out, s->tail);
}

static bool do_say(struct ws_peer *p, const struct ws_step *s) {
    struct buf out;
    const char *at = s->bytes == 0 ? strstr(s->text, "$ACCEPT") : NULL;
    buf_init(&out, MAX_BYTES);
    if (at != NULL) {
        buf_add(&out, slice_make(s->text, (size_t)(at - s->text)));
        add_accept(p, &out);
        buf_puts(&out, at + 7);
    } else
        add_text(&out, s);
    bool ok = send_all(p, buf_slice(&out));
    buf_free(&out);
    return ok;
}

static bool do_send(struct ws_peer *p, const struct ws_step *s) {
    struct buf out, payload;
    buf_init(&out, MAX_BYTES);
    buf_init(&payload, MAX_BYTES);
    add_text(&payload, s);
    size_t n = buf_len(&payload);
    int width = n < 126 ? 0 : n < 65536 ? 2 : 8;
    buf_addc(&out, (char)s->first);
    buf_addc(&out, (char)(width == 0 ? n : width == 2 ? 126 : 127));
    for (int i = width - 1; i >= 0; i--) buf_addc(&out, (char)(n >> (8 * i)));
    buf_add(&out, buf_slice(&payload));
    bool ok = send_all(p, buf_slice(&out));
    buf_free(&out);
    buf_free(&payload);
    return ok;
}

static bool payload_is(const struct ws_step *s, struct slice got) {
    struct buf want;
    if (s->text == NULL) return true;
    buf_init(&want, MAX_BYTES);
    add_text(&want, s);
    bool same = slice_eq(got, buf_slice(&want));
    buf_free(&want);
    return same;
}

static bool do_expect(struct ws_peer *p, const struct ws_step *s) {
    if (!fill(p, 2)) return false;
    const unsigned char *b = (const unsigned char *)buf_slice(&p->in).ptr;
    if ((b[1] & 0x80) == 0) return fault(p, "a frame without a mask");
    unsigned char first = b[0];
    size_t n = b[1] & 0x7f, width = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (!fill(p, 2 + width + 4)) return false;
    b = (const unsigned char *)buf_slice(&p->in).ptr;
    if (width > 0) n = 0;
    for (size_t i = 0; i < width; i++) n = n << 8 | b[2 + i];
    if (!fill(p, 2 + width + 4 + n)) return false;
    char *payload = p->in.base + p->in.start + 2 + width + 4;
    for (size_t i = 0; i < n; i++) payload[i] ^= payload[(ptrdiff_t)(i % 4) - 4];
    bool same = first == s->first && payload_is(s, slice_make(payload, n));
    if (!same && p->fault[0] == '\0')
        snprintf(p->fault, sizeof p->fault, "step %zu: came: %02x \"%.*s\"", p->at, first,
                 (int)(n < 100 ? n : 100), payload);
    buf_consume(&p->in, 2 + width + 4 + n);
    return same;
}

/* Ours first, then the client's: it has read all. */
static bool do_end(struct ws_peer *p, const struct ws_step *s) {
    char rest[4096];
    int fd = atomic_load(&p->fd);
    shutdown(fd, SHUT_WR);
    while (recv(fd, rest, sizeof rest, 0) > 0) {
    }
    atomic_store(&p->fd, -1);
    close(fd);
    return true;
}

static bool do_cut(struct ws_peer *p, const struct ws_step *s) {
    struct linger now = {1, 0};
    int fd = atomic_exchange(&p->fd, -1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    return true;
}

static bool do_slowly(struct ws_peer *p, const struct ws_step *s) {
    p->slowly = true;
    return true;
}

static bool do_hang(struct ws_peer *p, const struct ws_step *s) {
    char c;
    while (!atomic_load(&p->stopped) && recv(atomic_load(&p->fd), &c, 1, 0) > 0) {
    }
    return true;
}

static void *run(void *user) {
    static bool (*const doing[])(struct ws_peer *p, const struct ws_step *s) = {
        [WS_ACCEPT] = do_accept, [WS_SAY] = do_say, [WS_SEND] = do_send, [WS_EXPECT] = do_expect,
        [WS_SLOWLY] = do_slowly, [WS_END] = do_end, [WS_CUT] = do_cut,   [WS_HANG] = do_hang};
    struct ws_peer *p = user;
    for (; p->at < p->count; p->at++) {
        const struct ws_step *s = &p->steps[p->at];
        if (s->hook != NULL) s->hook(s->user);
        if (!doing[s->what](p, s)) break;
    }
    return NULL;
}

struct ws_peer *ws_peer_start(const struct ws_step *steps, size_t count) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct ws_peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->steps = calloc(count, sizeof *steps);
    assert_non_null(p->steps);
    memcpy(p->steps, steps, count * sizeof *steps);
    p->count = count;
    buf_init(&p->in, MAX_BYTES);
    atomic_init(&p->fd, -1);
    atomic_init(&p->stopped, false);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p->listener, 16), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &len), 0);
    snprintf(p->base, sizeof p->base, "http://127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&p->thread, NULL, run, p), 0);
    return p;
}

static void halt(struct ws_peer *p, bool all) {
    if (!all) atomic_store(&p->stopped, true);
    if (!all) shutdown(p->listener, SHUT_RDWR);
    if (!all && atomic_load(&p->fd) >= 0) shutdown(atomic_load(&p->fd), SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
    if (atomic_load(&p->fd) >= 0) close(atomic_load(&p->fd));
}

void ws_peer_stop(struct ws_peer *p, bool all) {
    halt(p, all);
    if (p->fault[0] != '\0') fail_msg("the peer, %s", p->fault);
    if (all) assert_int_equal(p->at, p->count);
}

const char *ws_peer_base(const struct ws_peer *p) {
    return p->base;
}

const char *ws_peer_request(const struct ws_peer *p, size_t i) {
    return i < p->request_count ? p->requests[i] : "";
}

void ws_peer_free(struct ws_peer *p) {
    for (size_t i = 0; i < p->request_count; i++) free(p->requests[i]);
    buf_free(&p->in);
    free(p->steps);
    free(p);
}

void ws_peer_drop(struct ws_peer *p) {
    halt(p, false);
    ws_peer_free(p);
}
