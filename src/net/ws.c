#include "net/ws.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <wslay/wslay.h>

/* Kept between two messages, so that small ones cost no malloc. */
#define KEEP_BYTES (16U << 10)
/* ws_out beyond what the caller has bounded by looking after each call; reached only out of memory. */
#define OUT_MAX_BYTES ((size_t)1 << 31)

struct ws {
    wslay_event_context_ptr ctx;
    ws_on_message *on_message;
    void *user;
    size_t max_message_bytes;
    struct slice in; /* of the present ws_feed: not yet read */
    struct buf message, out;
    bool in_control; /* the present frame is one; its bytes belong to no message */
    bool closed;     /* by us */
    bool over;       /* nothing is read any more */
};

/* --- the handshake */

/* One of the words of a list, whatever its case: "keep-alive, Upgrade". */
static bool has_word(struct slice list, struct slice word) {
    while (list.ptr != NULL) {
        struct slice rest, one = slice_trim(slice_cut(list, ',', &rest));
        if (slice_eq_nocase(one, word)) return true;
        list = rest;
    }
    return false;
}

static bool any_has_word(const struct h1_head *h, struct slice name, struct slice word) {
    for (size_t i = 0; i < h->nheaders; i++)
        if (slice_eq_nocase(h->headers[i].name, name) && has_word(h->headers[i].value, word))
            return true;
    return false;
}

/* 16 bytes in base64: 22 digits, of which the last holds two bits, and "==". */
static bool key_ok(struct slice key) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.len != 24 || !slice_ends(key, SLICE("=="))) return false;
    for (size_t i = 0; i < 22; i++)
        if (slice_find(SLICE(digits), key.ptr[i]) < 0) return false;
    return slice_find(SLICE("AQgw"), key.ptr[21]) >= 0;
}

static bool accept_of(struct slice key, char accept[WS_ACCEPT_BYTES]) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char text[24 + sizeof guid - 1], hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    memcpy(text, key.ptr, 24);
    memcpy(text + 24, guid, sizeof guid - 1);
    if (EVP_Digest(text, sizeof text, hash, &n, EVP_sha1(), NULL) != 1 || n != 20) return false;
    EVP_EncodeBlock((unsigned char *)accept, hash, 20);
    return true;
}

bool ws_handshake(const struct h1_head *head, char accept[WS_ACCEPT_BYTES], unsigned *status,
                  const char **reason) {
    size_t keys, versions;
    struct slice key = h1_get(head, SLICE("sec-websocket-key"), &keys),
                 version = h1_get(head, SLICE("sec-websocket-version"), &versions);
    *status = 400;
    if (head->method != H1_GET || head->minor != 1)
        *reason = "a WebSocket begins with a GET of HTTP/1.1";
    else if (!any_has_word(head, SLICE("upgrade"), SLICE("websocket")) ||
             !any_has_word(head, SLICE("connection"), SLICE("upgrade")))
        *reason = "a WebSocket wants Connection: Upgrade and Upgrade: websocket";
    else if (head->chunked || (head->has_length && head->content_length > 0))
        *reason = "a WebSocket begins without a body";
    else if (versions == 1 && !slice_is(version, "13")) {
        *status = 426;
        *reason = "Sec-WebSocket-Version should be 13";
    } else if (versions != 1)
        *reason = "Sec-WebSocket-Version should be there once";
    else if (keys != 1 || !key_ok(key))
        *reason = "Sec-WebSocket-Key should be 16 bytes in base64, once";
    else if (!accept_of(key, accept)) {
        *status = 503;
        *reason = "out of memory";
    } else
        return true;
    return false;
}

/* --- wslay's hooks */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *to, size_t len, int flags,
                       void *user) {
    struct ws *w = user;
    if (w->in.len == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = w->in.len < len ? w->in.len : len;
    memcpy(to, w->in.ptr, n);
    w->in = slice_from(w->in, n);
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                       void *user) {
    struct ws *w = user;
    if (buf_add(&w->out, slice_make((const char *)data, len))) return (ssize_t)len;
    wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void flush(struct ws *w) {
    if (wslay_event_get_write_enabled(w->ctx) && wslay_event_send(w->ctx) != 0) w->over = true;
}

static void refuse(struct ws *w, enum ws_code code, struct slice reason) {
    ws_close(w, code, reason);
    wslay_event_shutdown_read(w->ctx);
    w->over = true;
}

/* wslay counts what it keeps; here it keeps nothing, so the sum of the fragments is ours. Also, a close of one byte would be
 * read as one without a code. */
static void on_frame(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_start_arg *a, void *user) {
    struct ws *w = user;
    w->in_control = wslay_is_ctrl_frame(a->opcode);
    if (a->opcode == WSLAY_CONNECTION_CLOSE && a->payload_length == 1)
        refuse(w, WS_PROTOCOL_ERROR, SLICE(""));
    if (w->in_control || w->closed) return;
    if (a->payload_length > w->max_message_bytes - buf_len(&w->message))
        refuse(w, WS_TOO_BIG, SLICE("message too big"));
}

static void on_chunk(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_chunk_arg *a, void *user) {
    struct ws *w = user;
    if (w->in_control || w->closed) return;
    if (!buf_add(&w->message, slice_make((const char *)a->data, a->data_length)))
        refuse(w, WS_INTERNAL, SLICE("out of memory"));
}

static void on_whole(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a,
                     void *user) {
    struct ws *w = user;
    if (a->opcode == WSLAY_PING) flush(w);
    if (wslay_is_ctrl_frame(a->opcode)) return;
    if (!w->closed)
        w->on_message(w->user, a->opcode == WSLAY_TEXT_FRAME ? WS_TEXT : WS_BINARY,
                      buf_slice(&w->message));
    buf_reset(&w->message, KEEP_BYTES);
}

/* --- the connection */

struct ws *ws_new(size_t max_message_bytes, ws_on_message *on_message, void *user) {
    static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
                                                           .send_callback = on_send,
                                                           .on_frame_recv_start_callback = on_frame,
                                                           .on_frame_recv_chunk_callback = on_chunk,
                                                           .on_msg_recv_callback = on_whole};
    struct ws *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    if (wslay_event_context_server_init(&w->ctx, &callbacks, w) != 0) {
        free(w);
        return NULL;
    }
    wslay_event_config_set_no_buffering(w->ctx, 1);
    wslay_event_config_set_max_recv_msg_length(w->ctx, UINT64_MAX / 2); /* on_frame looks */
    w->on_message = on_message;
    w->user = user;
    w->max_message_bytes = max_message_bytes;
    buf_init(&w->message, max_message_bytes);
    buf_init(&w->out, OUT_MAX_BYTES);
    return w;
}

void ws_free(struct ws *w) {
    if (w == NULL) return;
    wslay_event_context_free(w->ctx);
    buf_free(&w->message);
    buf_free(&w->out);
    free(w);
}

/* wslay's own close for a frame that it cannot read has no code: ours goes out in its place, and it says nothing more. */
static void fail(struct ws *w, enum ws_code code) {
    const char frame[] = {'\x88', 2, (char)(code >> 8), (char)(code & 255)};
    if (wslay_event_get_close_sent(w->ctx)) return;
    wslay_event_shutdown_write(w->ctx);
    buf_add(&w->out, slice_make(frame, sizeof frame));
}

void ws_feed(struct ws *w, struct slice data) {
    if (ws_is_over(w)) return;
    w->in = data;
    int r = wslay_event_recv(w->ctx);
    if (r != 0) fail(w, r == WSLAY_ERR_NOMEM ? WS_INTERNAL : WS_PROTOCOL_ERROR);
    flush(w);
    if (r != 0 || !wslay_event_get_read_enabled(w->ctx)) w->over = true;
    w->in = SLICE("");
}

static bool queue(struct ws *w, uint8_t opcode, struct slice data) {
    struct wslay_event_msg m = {opcode, (const uint8_t *)data.ptr, data.len};
    if (ws_is_closing(w) || wslay_event_queue_msg(w->ctx, &m) != 0) return false;
    flush(w);
    return !w->over;
}

bool ws_send(struct ws *w, enum ws_kind kind, struct slice data) {
    return queue(w, kind == WS_TEXT ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, data);
}

bool ws_ping(struct ws *w) {
    return queue(w, WSLAY_PING, SLICE(""));
}

void ws_close(struct ws *w, enum ws_code code, struct slice reason) {
    if (ws_is_closing(w)) return;
    wslay_event_queue_close(w->ctx, (uint16_t)code, (const uint8_t *)reason.ptr, reason.len);
    w->closed = true;
    flush(w);
}

struct buf *ws_out(struct ws *w) {
    return &w->out;
}

bool ws_is_closing(const struct ws *w) {
    return w->closed || w->over || wslay_event_get_close_received(w->ctx);
}

bool ws_is_over(const struct ws *w) {
    return w->over;
}

unsigned ws_peer_code(const struct ws *w) {
    return wslay_event_get_status_code_received(w->ctx);
}
