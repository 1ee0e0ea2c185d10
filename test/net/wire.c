#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int (*wire_connect_other)(uint16_t port);
void (*wire_pump)(void);

void wire_turn(struct net_loop *l) {
    uv_run(&l->uv, UV_RUN_NOWAIT);
    if (wire_pump != NULL) wire_pump();
    poll(NULL, 0, 1);
}

void wire_turn_for(struct net_loop *l, unsigned ms) {
    for (uint64_t end = uv_hrtime() + ms * 1000000ULL; uv_hrtime() < end;) wire_turn(l);
}

static struct sockaddr_in loopback(uint16_t port) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sa;
}

int wire_connect_plain(uint16_t port) {
    struct sockaddr_in sa = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

int wire_connect(uint16_t port) {
    return wire_connect_other != NULL ? wire_connect_other(port) : wire_connect_plain(port);
}

int wire_listen(uint16_t *port) {
    struct sockaddr_in sa = loopback(0);
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

void wire_send(struct net_loop *l, int fd, struct slice data) {
    size_t at = 0;
    uint64_t end = uv_hrtime() + WIRE_PATIENCE_MS * 1000000ULL;
    while (at < data.len && uv_hrtime() < end) {
        ssize_t n = send(fd, data.ptr + at, data.len - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (errno == EAGAIN)
            wire_turn(l);
        else
            return; /* the peer left; what it answered before is what tests look at */
    }
    assert_int_equal(at, data.len);
}

void wire_sends(struct net_loop *l, int fd, const char *text) {
    wire_send(l, fd, slice_of(text));
}

bool wire_read(int fd, struct buf *b, bool *reset) {
    if (wire_pump != NULL) wire_pump();
    for (;;) {
        assert_true(buf_reserve(b, 65536));
        ssize_t n = recv(fd, b->base + b->end, 65536, MSG_DONTWAIT);
        if (n > 0) b->end += (size_t)n;
        b->base[b->end] = '\0';
        if (n > 0) continue;
        if (n < 0 && errno == EAGAIN) return true;
        if (reset != NULL) *reset = n < 0;
        return false;
    }
}

bool wire_has(const struct buf *b, const char *text) {
    return b->base != NULL && memmem(b->base + b->start, buf_len(b), text, strlen(text)) != NULL;
}

size_t wire_count(const struct buf *b, const char *text) {
    size_t n = 0, len = strlen(text);
    const char *at = b->base + b->start, *end = b->base + b->end;
    while (at != NULL && (at = memmem(at, (size_t)(end - at), text, len)) != NULL) {
        n++;
        at += len;
    }
    return n;
}

void wire_expect(struct net_loop *l, int fd, struct buf *b, const char *text) {
    bool open = true;
    uint64_t end = uv_hrtime() + WIRE_PATIENCE_MS * 1000000ULL;
    while (open && !wire_has(b, text) && uv_hrtime() < end) {
        wire_turn(l);
        open = wire_read(fd, b, NULL);
    }
    if (!wire_has(b, text)) fail_msg("no \"%s\" in:\n%.2000s", text, b->base);
}

bool wire_drain(struct net_loop *l, int fd, struct buf *b) {
    bool reset = false;
    uint64_t end = uv_hrtime() + WIRE_PATIENCE_MS * 1000000ULL;
    while (wire_read(fd, b, &reset)) {
        if (uv_hrtime() > end) fail_msg("the peer does not close");
        wire_turn(l);
    }
    return !reset;
}
