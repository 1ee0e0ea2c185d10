#include "websocket.h"

#include <stdio.h>
#include <string.h>

void frame_add(struct text *t, unsigned head, const char *data, size_t len) {
    static const char mask[] = {'\x11', '\x22', '\x33', '\x44'};
    char b[10] = {(char)head};
    size_t n = 2;
    if (len < 126) {
        b[1] = (char)(0x80 | len);
    } else {
        b[1] = len < 65536 ? (char)0xfe : (char)0xff;
        for (int shift = len < 65536 ? 8 : 56; shift >= 0; shift -= 8)
            b[n++] = (char)(len >> shift);
    }
    text_add(t, b, n);
    text_add(t, mask, 4);
    for (size_t i = 0; i < len; i++) {
        char c = (char)(data[i] ^ mask[i % 4]);
        text_add(t, &c, 1);
    }
}

bool frame_send(struct peer *p, unsigned head, const char *data, size_t len) {
    struct text t = {0};
    frame_add(&t, head, data, len);
    bool ok = peer_send(p, t.p, t.len);
    text_free(&t);
    return ok;
}

bool frame_send_text(struct peer *p, const char *json) {
    return frame_send(p, 0x81, json, strlen(json));
}

static void take(struct peer *p, size_t n) {
    memmove(p->in.p, p->in.p + n, p->in.len - n + 1);
    p->in.len -= n;
}

static bool more_comes(struct peer *p, uint64_t until) {
    if (p->end != PEER_OPEN || now_ms() > until) return false;
    peer_listen(p, 5);
    return true;
}

struct peer socket_dial(const struct server *s, const char *path, const char *headers) {
    struct peer p = peer_open(s->port);
    struct text t = {0};
    text_printf(&t, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", path, headers);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    return p;
}

struct peer socket_open(const struct server *s, const char *path, const char *headers) {
    struct peer p = socket_dial(s, path, headers);
    uint64_t until = now_ms() + PATIENCE_MS;
    while ((p.in.p == NULL || strstr(p.in.p, "\r\n\r\n") == NULL) && more_comes(&p, until));
    if (p.in.p == NULL || strncmp(p.in.p, "HTTP/1.1 101 ", 13) != 0)
        fail_msg("%s: %s", path, p.in.p);
    assert_non_null(strstr(p.in.p, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    take(&p, (size_t)(strstr(p.in.p, "\r\n\r\n") - p.in.p) + 4);
    return p;
}

bool frame_next(struct peer *p, struct frame *f) {
    uint64_t until = now_ms() + PATIENCE_MS;
    text_free(&f->data);
    *f = (struct frame){0};
    for (;;) {
        const unsigned char *b = (const unsigned char *)p->in.p;
        size_t head = 2, len = p->in.len >= 2 ? b[1] : 0;
        if (len >= 126) head = len == 126 ? 4 : 10;
        if (p->in.len >= head && head > 2)
            for (size_t i = 2, v = 0; i < head; i++) len = v = v << 8 | b[i];
        if (p->in.len >= head && p->in.len >= head + len) {
            size_t skip = (b[0] & 15) == 8 && len >= 2 ? 2 : 0;
            assert_true(b[0] & 0x80);
            f->opcode = b[0] & 15;
            if (skip > 0) f->code = b[head] * 256U + b[head + 1];
            text_add(&f->data, b + head + skip, len - skip);
            assert_null(canary_in(f->data.p, f->data.len));
            take(p, head + len);
            return true;
        }
        if (!more_comes(p, until)) return false;
    }
}

void expect_frame_text(const char *what, struct peer *p, const char *part) {
    struct frame f = {0};
    if (!frame_next(p, &f) || f.opcode != 1 || strstr(f.data.p, part) == NULL)
        fail_msg("%s: opcode %u code %u: %s instead of %s", what, f.opcode, f.code, f.data.p, part);
    text_free(&f.data);
}

void expect_frame_close(const char *what, struct peer *p, unsigned code) {
    struct frame f = {0};
    uint64_t until = now_ms() + PATIENCE_MS;
    while (frame_next(p, &f) && f.opcode != 8);
    if (f.opcode != 8 || f.code != code) fail_msg("%s: close %u instead of %u", what, f.code, code);
    text_free(&f.data);
    while (more_comes(p, until));
    if (p->end == PEER_OPEN) fail_msg("%s: not ended", what);
    peer_close(p);
}

void expect_frame_answer(const char *what, struct peer *p) {
    struct frame f = {0};
    do {
        if (!frame_next(p, &f) || f.opcode != 1)
            fail_msg("%s: opcode %u code %u", what, f.opcode, f.code);
        if (strstr(f.data.p, "\"output\":\"nonce:ws") == NULL) fail_msg("%s: %s", what, f.data.p);
    } while (strstr(f.data.p, "\"partial\":false") == NULL);
    text_free(&f.data);
}
