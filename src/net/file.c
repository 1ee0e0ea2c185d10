/* Files as answers. Of a file that is being sent nothing waits here but, where TLS or the file wants it to pass through,
 * one piece; the next is read when the socket has taken that. */
#include "net/session.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* One connection's share of a turn of the loop. With TLS it costs a processor's time as well. */
#define TURN_BYTES (1U << 20)
#define TURN_TLS_BYTES (256U << 10)

void file_close(struct net_exchange *x) {
    struct session *s = (struct session *)((char *)x - offsetof(struct session, x));
    close(x->file);
    x->file = -1;
    net_conn_fill(&s->conn, false);
}

/* The next n bytes (at most SERVER_PIECE_BYTES) into server->piece; false when the file has not got them. */
static bool read_piece(struct session *s, size_t n) {
    struct net_server *server = s->server;
    if (server->piece == NULL) server->piece = malloc(SERVER_PIECE_BYTES);
    for (size_t at = 0; server->piece != NULL && at < n;) {
        ssize_t r = pread(s->x.file, server->piece + at, n - at, (off_t)(s->x.file_at + at));
        if (r == 0 || (r < 0 && errno != EINTR)) return false;
        if (r > 0) at += (size_t)r;
    }
    return server->piece != NULL;
}

/* Bytes sent, 0 when the socket takes none. A file that ends too early, or cannot be read, must not look sent. */
static size_t send_piece(struct session *s, size_t max) {
    struct net_exchange *x = &s->x;
    ssize_t n = UV_EINVAL;
    if (s->conn.tls == NULL) n = net_conn_send_file(&s->conn, x->file, x->file_at, max);
    if (n == UV_EINVAL) { /* a file that cannot be sent so */
        n = (ssize_t)(max < SERVER_PIECE_BYTES ? max : SERVER_PIECE_BYTES);
        uv_buf_t part = {.len = (size_t)n};
        if (!read_piece(s, (size_t)n)) {
            x->answer = ANSWER_ABORTED;
            return 0;
        }
        part.base = s->server->piece;
        int r = net_conn_write(&s->conn, &part, 1);
        if (r < 0) n = r;
    }
    if (n == UV_EOF || n == UV_EIO)
        x->answer = ANSWER_ABORTED;
    else if (n < 0 && n != UV_EAGAIN)
        x->answer = ANSWER_LOST;
    return n > 0 ? (size_t)n : 0;
}

void file_send(struct session *s) {
    struct net_exchange *x = &s->x;
    size_t turn = s->conn.tls == NULL ? TURN_BYTES : TURN_TLS_BYTES, n = 1;
    while (n > 0 && x->file_left > 0 && turn > 0 && net_conn_queued(&s->conn) == 0) {
        n = send_piece(s, x->file_left < turn ? (size_t)x->file_left : turn);
        x->file_at += n;
        x->file_left -= n;
        turn -= n;
        if (n > 0) s->guarded = false;
    }
    if (x->file_left == 0) x->answer = ANSWER_WHOLE;
    if (x->answer != ANSWER_FILE)
        file_close(x);
    else
        net_conn_fill(&s->conn, true);
    if (x->answer == ANSWER_FILE || net_conn_queued(&s->conn) > 0) session_guard(s);
}

/* What fits into one piece leaves in one write with its head. */
void file_begin(struct session *s, const uv_buf_t *head, int fd, uint64_t offset, uint64_t length) {
    struct net_exchange *x = &s->x;
    x->file = fd;
    x->file_at = offset;
    x->file_left = length;
    x->answer = ANSWER_FILE;
    if (length > SERVER_PIECE_BYTES) {
        answer_send(s, head, 1);
    } else if (read_piece(s, (size_t)length)) {
        uv_buf_t parts[2] = {*head, uv_buf_init(s->server->piece, (unsigned)length)};
        file_close(x);
        x->answer = ANSWER_WHOLE;
        answer_send(s, parts, 2);
    } else {
        x->answer = ANSWER_ABORTED;
    }
}
