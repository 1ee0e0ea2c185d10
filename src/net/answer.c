#include "net/put.h"
#include "net/session.h"

#include <stdio.h>
#include <unistd.h>

/* An HTTP/1.1 status line as a whole, for those we send. */
static const struct {
    unsigned status;
    struct slice line;
} lines[] = {
#define L(code, text) \
    {code, {"HTTP/1.1 " #code " " text "\r\n", sizeof "HTTP/1.1 " #code " " text "\r\n" - 1}}
    L(200, "OK"),
    L(101, "Switching Protocols"),
    L(201, "Created"),
    L(202, "Accepted"),
    L(204, "No Content"),
    L(206, "Partial Content"),
    L(301, "Moved Permanently"),
    L(302, "Found"),
    L(303, "See Other"),
    L(304, "Not Modified"),
    L(307, "Temporary Redirect"),
    L(308, "Permanent Redirect"),
    L(400, "Bad Request"),
    L(401, "Unauthorized"),
    L(402, "Payment Required"),
    L(403, "Forbidden"),
    L(404, "Not Found"),
    L(405, "Method Not Allowed"),
    L(406, "Not Acceptable"),
    L(408, "Request Timeout"),
    L(409, "Conflict"),
    L(410, "Gone"),
    L(411, "Length Required"),
    L(412, "Precondition Failed"),
    L(413, "Content Too Large"),
    L(414, "URI Too Long"),
    L(415, "Unsupported Media Type"),
    L(416, "Range Not Satisfiable"),
    L(417, "Expectation Failed"),
    L(421, "Misdirected Request"),
    L(422, "Unprocessable Content"),
    L(429, "Too Many Requests"),
    L(431, "Request Header Fields Too Large"),
    L(499, "Client Closed Request"),
    L(500, "Internal Server Error"),
    L(501, "Not Implemented"),
    L(502, "Bad Gateway"),
    L(503, "Service Unavailable"),
    L(504, "Gateway Timeout"),
    L(505, "HTTP Version Not Supported"),
    L(507, "Insufficient Storage"),
#undef L
};

static struct slice status_line(unsigned status, char own[24]) {
    if (status == 200) return lines[0].line;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i].status == status) return lines[i].line;
    return slice_make(own, (size_t)snprintf(own, 24, "HTTP/1.1 %03u Other\r\n", status % 1000));
}

/* 1xx, 204 and 304 end with their head, whatever is said about a length. */
static bool has_body(unsigned status) {
    return status >= 200 && status != 204 && status != 304;
}

static struct session *session_of(struct net_exchange *x) {
    return (struct session *)((char *)x - offsetof(struct session, x));
}

enum framing { LENGTH, STREAM };

/* What a head holds beside status line, content type and the headers set: literals, the date and a number. */
#define HEAD_BYTES 256U

/* The head into server->out. */
static void format_head(struct session *s, unsigned status, struct slice type, enum framing framing,
                        uint64_t length) {
    struct buf *out = &s->server->out;
    const struct net_exchange *x = &s->x;
    struct slice headers = buf_slice(&x->headers);
    char own[24];
    buf_reset(out, 2 * NET_READ_BYTES);
    char *at = put_begin(out, HEAD_BYTES + type.len + headers.len);
    if (at == NULL) return;
    at = put(at, status_line(status, own));
    at = PUT(at, "Date: ");
    at = put(at, net_date(s->server->loop));
    if (type.len > 0) at = put(PUT(at, "\r\nContent-Type: "), type);
    if (framing == STREAM && x->chunked)
        at = PUT(at, "\r\nTransfer-Encoding: chunked");
    else if (framing == LENGTH && has_body(status))
        at = put_u64(PUT(at, "\r\nContent-Length: "), length);
    if (!x->keep)
        at = PUT(at, "\r\nConnection: close\r\n");
    else if (x->head->minor == 0)
        at = PUT(at, "\r\nConnection: keep-alive\r\n");
    else
        at = PUT(at, "\r\n");
    at = put(at, headers);
    put_done(out, PUT(at, "\r\n"));
}

void answer_send(struct session *s, const uv_buf_t *parts, unsigned n) {
    if (net_conn_write(&s->conn, parts, n) < 0) {
        s->x.answer = ANSWER_LOST;
        session_answered(s);
    } else if (net_conn_queued(&s->conn) > 0) {
        session_guard(s);
    }
}

void answer_format_fault(struct session *s, unsigned status, const char *reason) {
    struct net_server *server = s->server;
    struct net_exchange *x = &s->x;
    struct buf *body = &server->fault_body;
    buf_reset(&x->headers, 1024);
    buf_reset(body, 4096);
    x->bad_header = false;
    if (status == 503) net_header(x, SLICE("Retry-After"), SLICE("1"));
    if (server->hooks.on_fault != NULL)
        server->hooks.on_fault(x, x->id != 0, status, reason, body, server->user);
    else
        buf_printf(body, "{\"detail\":\"%s\"}", reason);
    format_head(s, status, SLICE("application/json"), LENGTH, buf_len(body));
    if (x->head->method != H1_HEAD) buf_add(&server->out, buf_slice(body));
}

/* --- the face --- */

static bool may_answer(const struct net_exchange *x) {
    return x->id != 0 && x->answer == ANSWER_NONE;
}

void net_header(struct net_exchange *x, struct slice name, struct slice value) {
    if (x->answer != ANSWER_NONE) return;
    if (!h1_name_ok(name) || !h1_value_ok(value)) {
        x->bad_header = true;
        return;
    }
    char *at = put_begin(&x->headers, name.len + value.len + 4);
    if (at == NULL) return; /* too many: `failed` makes the answer a 500 */
    at = put(PUT(put(at, name), ": "), value);
    put_done(&x->headers, PUT(at, "\r\n"));
}

/* False when the answer became a 500 or 503. */
static bool check_headers(struct net_exchange *x, struct slice type) {
    if (!x->bad_header && !x->headers.failed && h1_value_ok(type)) return true;
    if (x->headers.no_memory)
        session_fault(session_of(x), 503, "out of memory");
    else
        session_fault(session_of(x), 500, "invalid response header");
    return false;
}

void net_reply(struct net_exchange *x, unsigned status, struct slice content_type,
               struct slice body) {
    struct session *s = session_of(x);
    if (!may_answer(x) || !check_headers(x, content_type)) return;
    session_answering(s);
    format_head(s, status, content_type, LENGTH, body.len);
    struct buf *out = &s->server->out;
    uv_buf_t parts[2] = {uv_buf_init(out->base + out->start, (unsigned)buf_len(out)),
                         uv_buf_init((char *)(uintptr_t)body.ptr, (unsigned)body.len)};
    bool bare = body.len == 0 || x->head->method == H1_HEAD || !has_body(status);
    x->answer = out->failed ? ANSWER_LOST : ANSWER_WHOLE;
    if (!out->failed) answer_send(s, parts, bare ? 1 : 2);
    session_answered(s);
}

void net_reply_file(struct net_exchange *x, unsigned status, struct slice content_type, int fd,
                    uint64_t offset, uint64_t length) {
    struct session *s = session_of(x);
    if (!may_answer(x) || !check_headers(x, content_type)) {
        close(fd);
        return;
    }
    session_answering(s);
    format_head(s, status, content_type, LENGTH, length);
    struct buf *out = &s->server->out;
    uv_buf_t head = uv_buf_init(out->base + out->start, (unsigned)buf_len(out));
    bool bare = length == 0 || x->head->method == H1_HEAD || !has_body(status);
    x->answer = out->failed ? ANSWER_LOST : ANSWER_WHOLE;
    if (out->failed || bare) close(fd);
    if (!out->failed && bare) answer_send(s, &head, 1);
    if (!out->failed && !bare) file_begin(s, &head, fd, offset, length);
    session_answered(s);
}

/* A body would stand between the head and what is the peer's own. */
static bool may_upgrade(struct net_exchange *x) {
    if (x->framing.done && x->head->minor > 0) return true;
    session_fault(session_of(x), 400, "this request cannot be upgraded");
    return false;
}

void net_upgrade(struct net_exchange *x, struct slice protocol) {
    struct session *s = session_of(x);
    if (!may_answer(x) || !may_upgrade(x)) return;
    net_header(x, SLICE("Connection"), SLICE("Upgrade"));
    net_header(x, SLICE("Upgrade"), protocol);
    if (!check_headers(x, SLICE(""))) return;
    session_answering(s);
    x->keep = true; /* no other Connection */
    format_head(s, 101, SLICE(""), STREAM, 0);
    x->keep = false;
    struct buf *out = &s->server->out;
    uv_buf_t head = uv_buf_init(out->base + out->start, (unsigned)buf_len(out));
    x->answer = out->failed ? ANSWER_LOST : ANSWER_TUNNEL;
    s->state = TUNNEL;
    if (!out->failed) answer_send(s, &head, 1);
    buf_reset(&x->headers, 0);
    session_answered(s);
}

void net_stream_begin(struct net_exchange *x, unsigned status, struct slice content_type) {
    struct session *s = session_of(x);
    if (!may_answer(x) || !check_headers(x, content_type)) return;
    x->chunked = x->head->minor > 0;
    if (!x->chunked) x->keep = false;
    session_answering(s);
    format_head(s, status, content_type, STREAM, 0);
    struct buf *out = &s->server->out;
    uv_buf_t head = uv_buf_init(out->base + out->start, (unsigned)buf_len(out));
    x->answer = out->failed ? ANSWER_LOST : ANSWER_STREAM;
    if (!out->failed) answer_send(s, &head, 1);
    buf_reset(&x->headers, 0); /* a stream may be idle for long */
    if (x->answer == ANSWER_LOST) session_answered(s);
}

/* "1f4\r\n"; returns its length. */
static size_t chunk_size(char out[20], size_t n) {
    char *at = out + 18;
    at[0] = '\r';
    at[1] = '\n';
    do {
        *--at = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n != 0);
    size_t len = (size_t)(out + 20 - at);
    memmove(out, at, len);
    return len;
}

bool net_stream_write(struct net_exchange *x, struct slice data) {
    struct session *s = session_of(x);
    if (x->id == 0 || (x->answer != ANSWER_STREAM && x->answer != ANSWER_TUNNEL)) return true;
    if (data.len > 0 && x->head->method != H1_HEAD) {
        char size[20];
        uv_buf_t parts[3] = {uv_buf_init(size, (unsigned)chunk_size(size, data.len)),
                             uv_buf_init((char *)(uintptr_t)data.ptr, (unsigned)data.len),
                             uv_buf_init("\r\n", 2)};
        answer_send(s, x->chunked ? parts : parts + 1, x->chunked ? 3 : 1);
    }
    if (net_conn_queued(&s->conn) > s->server->limits.write_high_bytes) x->paused = true;
    return !x->paused;
}

void net_stream_end(struct net_exchange *x) {
    struct session *s = session_of(x);
    if (x->id == 0 || (x->answer != ANSWER_STREAM && x->answer != ANSWER_TUNNEL)) return;
    x->answer = ANSWER_WHOLE;
    uv_buf_t last = uv_buf_init("0\r\n\r\n", 5);
    if (x->chunked && x->head->method != H1_HEAD) answer_send(s, &last, 1);
    session_answered(s);
}

void net_stream_abort(struct net_exchange *x) {
    struct session *s = session_of(x);
    bool begun = x->answer == ANSWER_STREAM || x->answer == ANSWER_TUNNEL;
    if (x->id == 0 || (!begun && x->answer != ANSWER_NONE)) return;
    if (!begun) session_answering(s);
    x->answer = ANSWER_ABORTED;
    session_answered(s);
}

bool net_answered(const struct net_exchange *x) {
    return x->id == 0 || x->answer != ANSWER_NONE;
}
