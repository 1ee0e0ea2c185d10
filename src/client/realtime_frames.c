#include "client/realtime.h"

#define KEEP_BYTES (16U << 10) /* between two messages, so that small ones cost no malloc */

/* --- pings */

static void take_head(struct client_frames *f, uint8_t *b) {
    if (f->head == 0) {
        f->head = 1;
        f->length_left = 1;
        f->in_ping = (*b & 0x0f) == WSLAY_PING;
        if (!f->in_ping) return;
        *b ^= WSLAY_PING ^ WSLAY_PONG;
        f->pong_waits = false;
        f->pong_bytes = 0;
    } else if (f->head == 1) {
        unsigned n = *b & 0x7f;
        f->head = 2;
        f->length_left = n == 126 ? 2 : n == 127 ? 8 : 0;
        f->payload_left = f->length_left > 0 ? 0 : n;
        f->in_ping = f->in_ping && f->length_left == 0;
    } else {
        f->length_left--;
        f->payload_left = f->payload_left << 8 | *b;
    }
}

/* wslay would keep a pong for each ping until it can be sent, so it is shown none: what begins one is made to begin a pong,
 * which says nothing and is held to the same rules, and the newest alone is answered, as RFC 6455 (5.5.3) allows. */
static void hide_pings(struct client_frames *f, uint8_t *bytes, size_t len) {
    for (size_t i = 0, n; i < len; i += n) {
        n = 1;
        if (f->head < 2 || f->length_left > 0)
            take_head(f, bytes + i);
        else {
            n = f->payload_left < len - i ? (size_t)f->payload_left : len - i;
            if (f->in_ping) memcpy(f->pong + f->pong_bytes, bytes + i, n);
            if (f->in_ping) f->pong_bytes += n;
            f->payload_left -= n;
        }
        if (f->head < 2 || f->length_left > 0 || f->payload_left > 0) continue;
        f->head = 0;
        f->pong_waits = f->pong_waits || f->in_ping;
    }
}

/* wslay has one at most: none goes out within a message. */
static void give_pong(struct client_frames *f) {
    struct wslay_event_msg m = {WSLAY_PONG, (const uint8_t *)f->pong, f->pong_bytes};
    if (!f->pong_waits || client_frames_is_sending(f)) return;
    f->pong_waits = false;
    if (wslay_event_queue_msg(f->ctx, &m) == WSLAY_ERR_NOMEM)
        client_frames_refuse(f, FAL_ERR_MEMORY, WSLAY_CODE_GOING_AWAY);
}

/* --- wslay's hooks */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *to, size_t len, int flags,
                       void *user) {
    struct client_frames *f = user;
    if (f->in.len == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = f->in.len < len ? f->in.len : len;
    memcpy(to, f->in.ptr, n);
    hide_pings(f, to, n);
    f->in = slice_from(f->in, n);
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                       void *user) {
    struct client_frames *f = user;
    if (f->room == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = f->room < len ? f->room : len;
    memcpy(f->out, data, n);
    f->out += n;
    f->room -= n;
    return (ssize_t)n;
}

static int on_mask(wslay_event_context_ptr ctx, uint8_t *mask, size_t len, void *user) {
    struct client_frames *f = user;
    random_fill(f->random, mask, len);
    return 0;
}

void client_frames_refuse(struct client_frames *f, enum fal_code fault, unsigned code) {
    if (f->fault == FAL_OK) f->fault = fault;
    client_frames_close(f, code);
    wslay_event_shutdown_read(f->ctx);
    f->over = true;
}

/* wslay counts what it keeps; here it keeps nothing, so the sum of the fragments is ours. Also, a close of one byte would be
 * read as one without a code. */
static void on_frame(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_start_arg *a, void *user) {
    struct client_frames *f = user;
    f->in_control = wslay_is_ctrl_frame(a->opcode);
    if (a->opcode == WSLAY_CONNECTION_CLOSE && a->payload_length == 1)
        client_frames_refuse(f, FAL_ERR_PROTOCOL, WSLAY_CODE_PROTOCOL_ERROR);
    if (f->in_control || f->closing) return;
    if (a->payload_length > f->max_message_bytes - buf_len(&f->partial))
        client_frames_refuse(f, FAL_ERR_TOO_LARGE, WSLAY_CODE_MESSAGE_TOO_BIG);
}

static void on_chunk(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_chunk_arg *a, void *user) {
    struct client_frames *f = user;
    if (f->in_control || f->closing) return;
    if (!buf_add(&f->partial, slice_make((const char *)a->data, a->data_length)))
        client_frames_refuse(f, FAL_ERR_MEMORY, WSLAY_CODE_GOING_AWAY);
}

static void on_whole(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a,
                     void *user) {
    struct client_frames *f = user;
    if (a->opcode == WSLAY_CONNECTION_CLOSE && a->msg_length > 2) {
        size_t n = a->msg_length - 2 < sizeof f->reason ? a->msg_length - 2 : sizeof f->reason - 1;
        memcpy(f->reason, a->msg + 2, n);
        f->reason[n] = '\0';
    }
    if (wslay_is_ctrl_frame(a->opcode)) return;
    if (!f->closing) f->message(f->owner, a->opcode == WSLAY_TEXT_FRAME, buf_slice(&f->partial));
    buf_reset(&f->partial, KEEP_BYTES);
}

/* --- */

enum fal_code client_frames_init(struct client_frames *f, const struct random *random,
                                 size_t max_message_bytes,
                                 void (*message)(void *owner, bool text, struct slice data),
                                 void *owner) {
    static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
                                                           .send_callback = on_send,
                                                           .genmask_callback = on_mask,
                                                           .on_frame_recv_start_callback = on_frame,
                                                           .on_frame_recv_chunk_callback = on_chunk,
                                                           .on_msg_recv_callback = on_whole};
    *f = (struct client_frames){.random = random,
                                .message = message,
                                .owner = owner,
                                .max_message_bytes = max_message_bytes};
    buf_init(&f->partial, max_message_bytes);
    if (wslay_event_context_client_init(&f->ctx, &callbacks, f) != 0) {
        f->ctx = NULL;
        return FAL_ERR_MEMORY;
    }
    wslay_event_config_set_no_buffering(f->ctx, 1);
    wslay_event_config_set_max_recv_msg_length(f->ctx, UINT64_MAX / 2); /* on_frame looks */
    return FAL_OK;
}

void client_frames_free(struct client_frames *f) {
    if (f->ctx != NULL) wslay_event_context_free(f->ctx);
    buf_free(&f->partial);
    f->ctx = NULL;
    f->over = false;
}

void client_frames_feed(struct client_frames *f, struct slice data) {
    if (f->over) return;
    f->in = data;
    int r = wslay_event_recv(f->ctx);
    f->in = SLICE("");
    f->over = f->over || r != 0 || !wslay_event_get_read_enabled(f->ctx);
    if (f->over && f->fault == FAL_OK && !client_frames_peer_closed(f))
        f->fault = r == WSLAY_ERR_NOMEM ? FAL_ERR_MEMORY : FAL_ERR_PROTOCOL;
}

bool client_frames_send(struct client_frames *f, bool text, struct slice data) {
    struct wslay_event_msg m = {text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME,
                                (const uint8_t *)data.ptr, data.len};
    return !f->closing && !f->over && wslay_event_queue_msg(f->ctx, &m) == 0;
}

bool client_frames_is_sending(const struct client_frames *f) {
    return wslay_event_get_queued_msg_count(f->ctx) > 0;
}

void client_frames_close(struct client_frames *f, unsigned code) {
    if (f->closing || f->over) return;
    f->closing = true;
    wslay_event_queue_close(f->ctx, (uint16_t)code, NULL, 0);
}

size_t client_frames_take(struct client_frames *f, char *out, size_t room) {
    f->out = out;
    f->room = room;
    give_pong(f);
    if (wslay_event_get_write_enabled(f->ctx) && wslay_event_send(f->ctx) != 0) {
        if (f->fault == FAL_OK) f->fault = FAL_ERR_MEMORY;
        f->over = true;
    }
    return room - f->room;
}

bool client_frames_peer_closed(const struct client_frames *f) {
    return wslay_event_get_close_received(f->ctx);
}

int client_frames_code(const struct client_frames *f) {
    if (f->fault == FAL_OK && client_frames_peer_closed(f)) {
        unsigned code = wslay_event_get_status_code_received(f->ctx);
        return code != 0 ? (int)code : WSLAY_CODE_NO_STATUS_RCVD;
    }
    unsigned sent = wslay_event_get_status_code_sent(f->ctx);
    if (f->fault == FAL_OK || f->fault == FAL_ERR_MEMORY) return WSLAY_CODE_ABNORMAL_CLOSURE;
    /* wslay closes without a code when it cannot read a frame. */
    return sent >= WSLAY_CODE_PROTOCOL_ERROR && sent != WSLAY_CODE_NO_STATUS_RCVD &&
                   sent != WSLAY_CODE_ABNORMAL_CLOSURE
               ? (int)sent
               : WSLAY_CODE_PROTOCOL_ERROR;
}
