/* One HTTP exchange with the engine on a connection of its own: what the supervisor asks (/health) and what the
 * calibration measures. Requests of callers go through the pool of net/client.h, not through here. */
#include "base/buf.h"
#include "llm/engine_child.h"

#include <stdlib.h>

#define MAX_ANSWER_BYTES (1U << 20)
#define MAX_REQUEST_BYTES (64U << 10)
#define STATUS_LINE_BYTES 12U /* "HTTP/1.1 200" */

struct engine_call {
    struct net_loop *loop;
    void (*on_end)(void *user, unsigned status, struct slice body); /* NULL: cancelled */
    void *user;
    bool status_only, closing;
    unsigned status; /* of the whole answer, once it is there */
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    struct net_timer deadline;
    struct buf request, answer;
};

static void on_closed(uv_handle_t *h) {
    struct engine_call *c = h->data;
    struct slice all = buf_slice(&c->answer), body = SLICE("");
    const char *blank = c->status != 0 ? memmem(all.ptr, all.len, "\r\n\r\n", 4) : NULL;
    if (blank != NULL) body = slice_from(all, (size_t)(blank - all.ptr) + 4);
    if (c->on_end != NULL) c->on_end(c->user, c->status, body);
    buf_free(&c->request);
    buf_free(&c->answer);
    free(c);
}

/* The pipe's closing ends what is under way on it; on_end is called from there, so never too early. */
static void finish(struct engine_call *c, unsigned status) {
    if (c->closing) return;
    c->closing = true;
    c->status = status;
    net_timer_stop(c->loop, &c->deadline);
    uv_close((uv_handle_t *)&c->pipe, on_closed);
}

static unsigned answer_status(const struct engine_call *c) {
    struct slice s = buf_slice(&c->answer);
    uint64_t status;
    if (s.len < STATUS_LINE_BYTES || memcmp(s.ptr, "HTTP/1.", 7) != 0) return 0;
    return slice_to_range(slice_make(s.ptr + 9, 3), 100, 599, &status) ? (unsigned)status : 0;
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct engine_call *c = h->data;
    *buf = uv_buf_init(c->loop->read_buf, sizeof c->loop->read_buf);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    struct engine_call *c = s->data;
    if (n > 0 && !buf_add(&c->answer, slice_make(buf->base, (size_t)n)))
        finish(c, 0);
    else if (n == UV_EOF)
        finish(c, answer_status(c));
    else if (n < 0)
        finish(c, 0);
    else if (c->status_only && buf_len(&c->answer) >= STATUS_LINE_BYTES)
        finish(c, answer_status(c));
}

static void on_written(uv_write_t *w, int status) {
    struct engine_call *c = w->data;
    if (status != 0) finish(c, 0);
}

static void on_connected(uv_connect_t *r, int status) {
    struct engine_call *c = r->data;
    if (c->closing) return;
    struct slice s = buf_slice(&c->request);
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)s.ptr, (unsigned)s.len);
    uv_stream_t *stream = (uv_stream_t *)&c->pipe;
    if (status != 0 || uv_write(&c->write, stream, &out, 1, on_written) != 0 ||
        uv_read_start(stream, on_alloc, on_read) != 0)
        finish(c, 0);
}

static void on_deadline(struct net_timer *t) {
    finish((struct engine_call *)((char *)t - offsetof(struct engine_call, deadline)), 0);
}

static bool build_request(struct buf *b, const struct engine_call_options *o) {
    bool get = o->body.ptr == NULL;
    buf_printf(b, "%s %s HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n", get ? "GET" : "POST",
               o->path);
    if (o->key != NULL) {
        buf_puts(b, "Authorization: Bearer ");
        buf_add(b, secret_reveal(o->key));
        buf_puts(b, "\r\n");
    }
    if (!get)
        buf_printf(b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", o->body.len);
    buf_puts(b, "\r\n");
    if (!get) buf_add(b, o->body);
    return !b->failed;
}

struct engine_call *engine_call_start(const struct engine_call_options *o) {
    struct engine_call *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    buf_init(&c->request, MAX_REQUEST_BYTES);
    buf_init(&c->answer, MAX_ANSWER_BYTES);
    if (!build_request(&c->request, o)) {
        buf_free(&c->request);
        free(c);
        return NULL;
    }
    c->loop = o->loop;
    c->on_end = o->on_end;
    c->user = o->user;
    c->status_only = o->body.ptr == NULL;
    c->deadline.fire = on_deadline;
    uv_pipe_init(&o->loop->uv, &c->pipe, 0);
    c->pipe.data = c->connect.data = c->write.data = c;
    net_timer_start(o->loop, &c->deadline, o->timeout_ms);
    uv_pipe_connect(&c->connect, &c->pipe, o->socket, on_connected);
    return c;
}

void engine_call_cancel(struct engine_call *c) {
    c->on_end = NULL;
    finish(c, 0);
}
