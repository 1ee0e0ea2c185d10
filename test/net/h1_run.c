#include "h1_run.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- memory that ends at a wall */

#define WALL_BYTES (1U << 20)

static char *before_wall(const char *bytes, size_t len) {
    static char *wall;
    if (wall == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *base = mmap(NULL, WALL_BYTES + page, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(base, MAP_FAILED);
        wall = base + WALL_BYTES;
        assert_int_equal(mprotect(wall, page, PROT_NONE), 0);
    }
    assert_true(len <= WALL_BYTES);
    if (len > 0) memcpy(wall - len, bytes, len);
    return wall - len;
}

/* --- the transcript */

static void put(struct transcript *t, const char *p, size_t n) {
    if (t->len + n + 1 > t->cap) {
        t->cap = (t->len + n + 1) * 2;
        t->text = realloc(t->text, t->cap);
        assert_non_null(t->text);
    }
    if (n > 0) memcpy(t->text + t->len, p, n);
    t->len += n;
    t->text[t->len] = '\0';
}

static void puts_to(struct transcript *t, const char *s) {
    put(t, s, strlen(s));
}

void transcript_free(struct transcript *t) {
    free(t->text);
    *t = (struct transcript){0};
}

/* --- what must hold of every accepted head */

static int stop(llhttp_t *p) {
    return HPE_PAUSED;
}

/* Node's parser, strict and on its own, reads the same head with the same framing. */
static void llhttp_agrees(enum h1_kind kind, const char *p, size_t len, const struct h1_head *h) {
    static const llhttp_settings_t settings = {.on_headers_complete = stop};
    llhttp_t parser;
    llhttp_init(&parser, kind == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    llhttp_errno_t e = llhttp_execute(&parser, p, len);
    if (e != HPE_PAUSED)
        fail_msg("llhttp refuses an accepted head: %s\n%.*s", llhttp_get_error_reason(&parser),
                 (int)len, p);
    assert_ptr_equal(llhttp_get_error_pos(&parser), p + len);
    assert_int_equal((parser.flags & F_CHUNKED) != 0, h->chunked);
    assert_int_equal((parser.flags & F_CONTENT_LENGTH) != 0, h->has_length);
    if (h->has_length) assert_int_equal(parser.content_length, h->content_length);
    assert_int_equal(parser.http_minor, h->minor);
    if (kind == H1_RESPONSE) assert_int_equal(parser.status_code, h->status);
}

static void lines_end_in_crlf(const char *p, size_t len) {
    for (size_t i = 0; i < len; i++) {
        assert_int_not_equal(p[i], '\0');
        if (p[i] == '\n') assert_true(i > 0 && p[i - 1] == '\r');
        if (p[i] == '\r') assert_true(i + 1 < len && p[i + 1] == '\n');
    }
}

static void check_head(enum h1_kind kind, const char *p, size_t len, const struct h1_head *h) {
    lines_end_in_crlf(p, len);
    llhttp_agrees(kind, p, len, h);
    assert_false(h->chunked && h->has_length);
    if (!h->has_length) assert_int_equal(h->content_length, 0);
    for (size_t i = 0; i < h->nheaders; i++) {
        assert_true(h1_name_ok(h->headers[i].name));
        assert_true(h1_value_ok(h->headers[i].value));
        assert_true(slice_trim(h->headers[i].value).len == h->headers[i].value.len);
    }
    if (kind == H1_RESPONSE) return;
    assert_true(h->minor == 0 || h->host.len > 0);
    assert_true(h->path.len > 0);
    bool expects = h->minor == 1 && h1_get(h, SLICE("expect"), NULL).ptr != NULL;
    assert_int_equal(h->expect_continue, expects);
    assert_non_null(h->query.ptr);
}

/* --- the connection */

struct connection {
    enum h1_kind kind;
    struct transcript *t;
    bool in_body, over;
    size_t at; /* consumed */
    struct h1_scan scan;
    struct h1_head head;
    struct h1_body body;
    bool keep_alive;
};

static void put_error(struct connection *c, const struct h1_error *e) {
    char line[200];
    snprintf(line, sizeof line, "! %u %s\n", e->status, e->reason);
    puts_to(c->t, line);
    c->over = true;
}

static void put_head(struct connection *c) {
    char status[20];
    if (c->kind == H1_RESPONSE) {
        snprintf(status, sizeof status, "%u <", c->head.status);
        puts_to(c->t, status);
        return;
    }
    puts_to(c->t, h1_method_name(c->head.method));
    puts_to(c->t, " ");
    put(c->t, c->head.target.ptr, c->head.target.len);
    puts_to(c->t, " <");
}

static void end_message(struct connection *c) {
    puts_to(c->t, c->keep_alive ? ">\n" : "> close\n");
    c->over = !c->keep_alive;
    c->in_body = false;
    c->scan = (struct h1_scan){0};
}

/* False: more bytes are needed. */
static bool read_head(struct connection *c, const char *bytes, size_t len) {
    struct h1_error e = {0};
    size_t used;
    const char *p = before_wall(bytes + c->at, len - c->at);
    memset(&c->head, 0xa5, sizeof c->head); /* nothing may be taken from an earlier call */
    enum h1_result result = h1_head(c->kind, p, len - c->at, &c->scan, &c->head, &used, &e);
    if (result == H1_ERROR) put_error(c, &e);
    if (result != H1_DONE) return false;
    check_head(c->kind, p, used, &c->head);
    put_head(c);
    c->at += used;
    c->keep_alive = c->head.keep_alive;
    h1_body_init(&c->body, c->kind, &c->head, false);
    c->in_body = !c->body.done;
    if (!c->in_body) end_message(c);
    return true;
}

static bool read_body(struct connection *c, const char *bytes, size_t len) {
    struct h1_error e = {0};
    struct slice out;
    size_t used, left = len - c->at;
    enum h1_result result = h1_body_feed(&c->body, before_wall(bytes + c->at, left), left, &used,
                                         &out, &e);
    put(c->t, out.ptr, out.len);
    c->at += used;
    if (result == H1_ERROR) assert_int_equal(out.len, 0);
    if (result == H1_ERROR) put_error(c, &e);
    if (result == H1_MORE) assert_true(used > 0 || left == 0);
    if (result == H1_DONE) end_message(c);
    return result == H1_DONE || (result == H1_MORE && used < left);
}

static void read_some(struct connection *c, const char *bytes, size_t len) {
    bool again = true;
    while (again && !c->over && c->at < len)
        again = c->in_body ? read_body(c, bytes, len) : read_head(c, bytes, len);
}

/* "POST / <" of a body that was refused before it gave a byte says nothing: it is taken back. */
static void forget_empty_message(struct transcript *t) {
    char *error = strstr(t->text, "! ");
    size_t line = error != NULL ? (size_t)(error - t->text) : 0;
    if (line == 0 || t->text[line - 1] != '<') return;
    size_t start = line;
    while (start > 0 && t->text[start - 1] != '\n') start--;
    memmove(t->text + start, error, t->len - line + 1);
    t->len -= line - start;
}

void run_connection(struct transcript *t, enum h1_kind kind, const char *bytes, size_t len,
                    size_t first, size_t step) {
    struct connection c = {.kind = kind, .t = t};
    t->len = 0;
    put(t, "", 0);
    for (size_t have = 0; have < len && !c.over;) {
        size_t n = have == 0 && first > 0 ? first : step > 0 ? step : len - have;
        have += n < len - have ? n : len - have;
        read_some(&c, bytes, have);
    }
    if (!c.over && (c.in_body || c.at < len)) puts_to(t, "~\n");
    forget_empty_message(t);
}
