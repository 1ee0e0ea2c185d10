/* Growing buffers and spans. A buffer's maximum is its user's business (MOCK_MAX_...). */
#include "mock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void mock_die(const char *why) {
    fprintf(stderr, "mockllm: %s\n", why);
    exit(1);
}

static void reserve(struct buf *b, size_t more) {
    size_t cap = b->cap ? b->cap : 2048;
    while (cap < b->len + more) cap *= 2;
    if (cap == b->cap) return;
    b->data = realloc(b->data, cap);
    if (!b->data) mock_die("out of memory");
    b->cap = cap;
}

void buf_add(struct buf *b, const void *data, size_t len) {
    if (len == 0) return;
    reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_str(struct buf *b, const char *s) {
    buf_add(b, s, strlen(s));
}

void buf_fill(struct buf *b, char c, size_t n) {
    if (n == 0) return;
    reserve(b, n);
    memset(b->data + b->len, c, n);
    b->len += n;
}

void buf_fmt(struct buf *b, const char *fmt, ...) {
    va_list ap;
    for (size_t room = 256;;) {
        reserve(b, room);
        va_start(ap, fmt);
        int n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
        va_end(ap);
        if (n < 0) mock_die("cannot format");
        if ((size_t)n < b->cap - b->len) {
            b->len += (size_t)n;
            return;
        }
        room = (size_t)n + 1;
    }
}

void buf_num(struct buf *b, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_json(struct buf *b, struct span s) {
    for (size_t i = 0, plain; i < s.len; i++) {
        for (plain = i;
             i < s.len && (unsigned char)s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\';)
            i++;
        buf_add(b, s.p + plain, i - plain);
        if (i < s.len && (unsigned char)s.p[i] < 0x20)
            buf_fmt(b, "\\u%04x", (unsigned)(unsigned char)s.p[i]);
        else if (i < s.len)
            buf_fmt(b, "\\%c", s.p[i]);
    }
}

void buf_drop(struct buf *b, size_t n) {
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

void buf_trim(struct buf *b) {
    if (b->len == 0 && b->cap > 65536) buf_free(b);
}

void buf_free(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

bool span_is(struct span s, const char *literal) {
    return s.len == strlen(literal) && memcmp(s.p, literal, s.len) == 0;
}

bool span_is_nocase(struct span s, const char *literal) {
    return s.len == strlen(literal) && strncasecmp(s.p, literal, s.len) == 0;
}

struct span span_trim(struct span s) {
    while (s.len && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) s.len--;
    return s;
}
