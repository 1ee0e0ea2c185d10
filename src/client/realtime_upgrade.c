#include "client/realtime.h"

#include <openssl/evp.h>

#define MAX_INTERIM 8U

/* NONE is a body with a length, or up to the end of the connection.
 *
 *   SIZE --digit--> SIZE, --;--> EXTENSION
 *   SIZE, EXTENSION --\n--> DATA, or the end when the size is 0
 *   DATA --its bytes--> AFTER --\n--> SIZE */
enum { NONE, SIZE, EXTENSION, DATA, AFTER };

bool client_upgrade_init(struct client_upgrade *u, const struct random *random) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char nonce[16], hash[EVP_MAX_MD_SIZE];
    char text[24 + sizeof guid];
    unsigned n = 0;
    *u = (struct client_upgrade){.state = UPGRADE_HEAD, .why = ""};
    buf_init(&u->head, UPGRADE_HEAD_BYTES);
    buf_init(&u->body, UPGRADE_BODY_BYTES);
    random_fill(random, nonce, sizeof nonce);
    EVP_EncodeBlock((unsigned char *)u->key, nonce, sizeof nonce);
    memcpy(text, u->key, 24);
    memcpy(text + 24, guid, sizeof guid);
    if (EVP_Digest(text, sizeof text - 1, hash, &n, EVP_sha1(), NULL) != 1) return false;
    EVP_EncodeBlock((unsigned char *)u->accept, hash, 20);
    return true;
}

void client_upgrade_free(struct client_upgrade *u) {
    buf_free(&u->head);
    buf_free(&u->body);
}

bool client_upgrade_write(const struct client_upgrade *u, struct slice url, struct slice lines,
                          struct buf *out) {
    struct slice host = slice_from(url, slice_starts(url, SLICE("https")) ? 8 : 7);
    ptrdiff_t at = slice_find(host, '/');
    struct slice target = at >= 0 ? slice_from(host, (size_t)at) : SLICE("/");
    if (at >= 0) host.len = (size_t)at;
    buf_printf(out, "GET %.*s HTTP/1.1\r\nHost: %.*s\r\n", SLICE_ARG(target), SLICE_ARG(host));
    buf_printf(out,
               "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: %s\r\n",
               u->key);
    while (lines.len > 0) {
        struct slice line = slice_make(lines.ptr, strnlen(lines.ptr, lines.len));
        lines = slice_from(lines, line.len + 1);
        buf_add(out, line);
        buf_puts(out, "\r\n");
    }
    return buf_puts(out, "\r\n");
}

/* --- the head */

static bool broken(struct client_upgrade *u, const char *why) {
    u->state = UPGRADE_BROKEN;
    u->why = why;
    return false;
}

/* The next header of *rest; false: there is none left. */
static bool next_header(struct slice *rest, struct slice *name, struct slice *value) {
    struct slice line = slice_cut(*rest, '\n', rest);
    if (rest->ptr == NULL || line.len < 2) return false;
    line.len--; /* \r */
    *name = slice_cut(line, ':', value);
    *value = value->ptr != NULL ? slice_trim(*value) : SLICE("");
    return true;
}

static struct slice header_lines(const struct client_upgrade *u) {
    struct slice rest;
    slice_cut(buf_slice(&u->head), '\n', &rest);
    return rest.ptr != NULL ? rest : SLICE("");
}

static struct slice find(const struct client_upgrade *u, const char *wanted, unsigned *count) {
    struct slice rest = header_lines(u), name, value, found = SLICE_NONE;
    *count = 0;
    while (next_header(&rest, &name, &value)) {
        if (!slice_eq_nocase(name, slice_of(wanted))) continue;
        if ((*count)++ == 0) found = value;
    }
    return found;
}

struct slice client_upgrade_header(const struct client_upgrade *u, const char *name) {
    unsigned count;
    return find(u, name, &count);
}

static bool has_word(struct slice list, struct slice word) {
    while (list.ptr != NULL)
        if (slice_eq_nocase(slice_trim(slice_cut(list, ',', &list)), word)) return true;
    return false;
}

static bool judge_switch(struct client_upgrade *u) {
    unsigned count;
    struct slice accept = find(u, "Sec-WebSocket-Accept", &count);
    if (!has_word(client_upgrade_header(u, "Upgrade"), SLICE("websocket")) ||
        !has_word(client_upgrade_header(u, "Connection"), SLICE("upgrade")))
        return broken(u, "the server switched to something that is no WebSocket");
    if (count != 1 || !slice_is(accept, u->accept))
        return broken(u, "the server's Sec-WebSocket-Accept is wrong");
    if (client_upgrade_header(u, "Sec-WebSocket-Extensions").ptr != NULL ||
        client_upgrade_header(u, "Sec-WebSocket-Protocol").ptr != NULL)
        return broken(u, "the server chose an extension that was not offered");
    u->state = UPGRADE_OPEN;
    return true;
}

static void judge_refusal(struct client_upgrade *u) {
    struct slice length = client_upgrade_header(u, "Content-Length");
    uint64_t n = UINT64_MAX;
    if (has_word(client_upgrade_header(u, "Transfer-Encoding"), SLICE("chunked")))
        u->chunk = SIZE;
    else if (length.ptr != NULL && !slice_to_u64(length, &n))
        n = 0;
    u->left = u->chunk == SIZE ? 0 : (size_t)n;
    u->state = u->chunk == NONE && n == 0 ? UPGRADE_REFUSED : UPGRADE_BODY;
}

/* "HTTP/1.1 101 Switching Protocols": the status, 0 when it is no such line. */
static int status_of(struct slice head) {
    uint64_t status = 0;
    if (head.len < 13 || !slice_starts(head, SLICE("HTTP/1.")) || head.ptr[8] != ' ') return 0;
    if (!slice_to_range(slice_make(head.ptr + 9, 3), 100, 599, &status)) return 0;
    return head.ptr[12] == ' ' || head.ptr[12] == '\r' ? (int)status : 0;
}

static void judge_head(struct client_upgrade *u) {
    u->http_status = status_of(buf_slice(&u->head));
    if (u->http_status == 0)
        broken(u, "the server's answer is no HTTP");
    else if (u->http_status == 101)
        judge_switch(u);
    else if (u->http_status >= 200)
        judge_refusal(u);
    else if (++u->interim > MAX_INTERIM)
        broken(u, "the server's answer does not come");
    else
        buf_reset(&u->head, UPGRADE_HEAD_BYTES);
}

static void feed_head(struct client_upgrade *u, char c) {
    if (!buf_addc(&u->head, c)) {
        broken(u,
               u->head.no_memory ? "out of memory" : "the head of the server's answer is too long");
        return;
    }
    if (c == '\n' && slice_ends(buf_slice(&u->head), SLICE("\r\n\r\n"))) judge_head(u);
}

/* --- the body */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: it is over, or makes no sense any more. */
static bool feed_chunk(struct client_upgrade *u, char c) {
    int digit = hex_digit(c);
    if (u->chunk == DATA) {
        buf_addc(&u->body, c);
        if (--u->left == 0) u->chunk = AFTER;
        return true;
    }
    if (c == '\n' && u->chunk == AFTER) {
        u->chunk = SIZE;
        return true;
    }
    if (c == '\n') {
        u->chunk = DATA;
        return u->left > 0;
    }
    if (u->chunk == SIZE && digit >= 0) {
        u->left = u->left << 4 | (size_t)digit;
        return u->left <= UPGRADE_BODY_BYTES;
    }
    if (u->chunk == SIZE && (c == ';' || c == ' ')) u->chunk = EXTENSION;
    return c == '\r' || u->chunk == EXTENSION;
}

static void feed_body(struct client_upgrade *u, char c) {
    bool more = true;
    if (u->chunk != NONE)
        more = feed_chunk(u, c);
    else {
        buf_addc(&u->body, c);
        more = u->left == SIZE_MAX || --u->left > 0;
    }
    if (!more || u->body.failed) u->state = UPGRADE_REFUSED;
}

size_t client_upgrade_feed(struct client_upgrade *u, struct slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (u->state == UPGRADE_HEAD)
            feed_head(u, bytes.ptr[i]);
        else if (u->state == UPGRADE_BODY)
            feed_body(u, bytes.ptr[i]);
        else if (u->state == UPGRADE_OPEN)
            return i;
    }
    return bytes.len;
}

void client_upgrade_end(struct client_upgrade *u) {
    if (u->state == UPGRADE_BODY)
        u->state = UPGRADE_REFUSED;
    else if (u->state == UPGRADE_HEAD)
        broken(u, "the server closed the connection before it answered");
}
