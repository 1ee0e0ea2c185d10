/* WebSocket frames: every row is read whole, one byte at a time and split at every offset; each way must give the same
 * transcript. In it: "t:…" and "b:…" are messages, "<ping>", "<pong x>", "<close 1002>" what goes out, "~" that it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_MESSAGE 300

/* --- a client's bytes */

enum { FIN = 0x80, CONT = 0, TEXT = 1, BIN = 2, CLOSE = 8, PING = 9, PONG = 10 };
#define UNMASKED 0x100U /* what no client may do */
#define LEN16 0x200U    /* the length in more bytes than it needs */
#define LEN64 0x400U

struct frame {
    unsigned head; /* first byte and the flags above */
    const char *data;
    size_t len; /* 0: strlen; SIZE_MAX: announced only, 2^63 */
};

static void add_length(struct buf *b, const struct frame *f, size_t len) {
    unsigned mask = f->head & UNMASKED ? 0 : 0x80;
    if (len == SIZE_MAX) {
        buf_addc(b, (char)(mask | 127));
        buf_add(b, slice_make("\x80\0\0\0\0\0\0\0", 8));
    } else if (f->head & LEN64) {
        buf_addc(b, (char)(mask | 127));
        for (int i = 7; i >= 0; i--) buf_addc(b, (char)((uint64_t)len >> (8 * i)));
    } else if (len > 125 || f->head & LEN16) {
        buf_addc(b, (char)(mask | 126));
        buf_addc(b, (char)(len >> 8));
        buf_addc(b, (char)len);
    } else {
        buf_addc(b, (char)(mask | len));
    }
}

static void add_frame(struct buf *b, const struct frame *f) {
    static const char key[] = {'\x37', '\xfa', '\x21', '\x3d'};
    size_t len = f->len > 0 ? f->len : strlen(f->data);
    buf_addc(b, (char)f->head);
    add_length(b, f, len);
    if (!(f->head & UNMASKED)) buf_add(b, slice_make(key, 4));
    if (len == SIZE_MAX) return;
    for (size_t i = 0; i < len; i++)
        buf_addc(b, (char)(f->head & UNMASKED ? f->data[i] : f->data[i] ^ key[i % 4]));
}

/* --- the transcript */

struct seen {
    struct ws *ws;
    struct buf text;
};

static void tell_frame(struct buf *t, unsigned char head, struct slice data) {
    static const char *const names[16] = {
        [TEXT] = "text", [BIN] = "binary", [CLOSE] = "close", [PING] = "ping", [PONG] = "pong"};
    assert_true(head & FIN);
    assert_non_null(names[head & 15]);
    buf_printf(t, "<%s", names[head & 15]);
    if ((head & 15) == CLOSE && data.len >= 2) {
        buf_printf(t, " %u", (unsigned char)data.ptr[0] * 256U + (unsigned char)data.ptr[1]);
        data = slice_from(data, 2);
    }
    if (data.len > 0) buf_printf(t, " %.*s", SLICE_ARG(data));
    buf_puts(t, ">\n");
}

static void tell_out(struct seen *s) {
    struct buf *out = ws_out(s->ws);
    while (buf_len(out) > 0) {
        const unsigned char *p = (const unsigned char *)buf_slice(out).ptr;
        assert_true(buf_len(out) >= 2);
        size_t len = p[1], at = 2;
        if (len == 126) {
            len = p[2] * 256U + p[3];
            at = 4;
        }
        assert_true(len < 65536 &&
                    buf_len(out) >= at + len); /* no mask, no more than 16 bits here */
        tell_frame(&s->text, p[0], slice_make((const char *)p + at, len));
        buf_consume(out, at + len);
    }
}

static void on_message(void *user, enum ws_kind kind, struct slice data) {
    struct seen *s = user;
    tell_out(s);
    buf_puts(&s->text, kind == WS_TEXT ? "t:" : "b:");
    buf_add(&s->text, data);
    buf_addc(&s->text, '\n');
    if (slice_is(data, "answer")) assert_true(ws_send(s->ws, WS_TEXT, SLICE("yes")));
    if (slice_is(data, "bye")) ws_close(s->ws, WS_NORMAL, SLICE("done"));
}

/* Fed in pieces: first `first` bytes, then in pieces of `step`. */
static void run(struct slice bytes, size_t first, size_t step, const char *expect, const char *id) {
    struct seen s = {0};
    buf_init(&s.text, 1U << 20);
    s.ws = ws_new(MAX_MESSAGE, on_message, &s);
    assert_non_null(s.ws);
    for (size_t at = 0, n; at < bytes.len; at += n) {
        n = at == 0 && first > 0 ? first : step;
        if (n > bytes.len - at) n = bytes.len - at;
        char *copy = malloc(n); /* its own block, so that a read past the end is seen */
        assert_non_null(copy);
        memcpy(copy, bytes.ptr + at, n);
        ws_feed(s.ws, slice_make(copy, n));
        free(copy);
        tell_out(&s);
    }
    if (ws_is_over(s.ws)) buf_puts(&s.text, "~");
    if (!slice_is(buf_slice(&s.text), expect))
        fail_msg("%s: first %zu, step %zu:\n%.*s\nwanted:\n%s", id, first, step,
                 SLICE_ARG(buf_slice(&s.text)), expect);
    ws_free(s.ws);
    buf_free(&s.text);
}

/* --- rows */

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct row {
    const char *id;
    struct frame frames[6];
    const char *expect;
} rows[] = {
    {"text", {{FIN | TEXT, "hello"}}, "t:hello\n"},
    {"binary_with_nul", {{FIN | BIN, "\0\1", 2}}, "b:"},
    {"answered_in_the_hook", {{FIN | TEXT, "answer"}}, "t:answer\n<text yes>\n"},
    {"empty", {{FIN | TEXT, ""}}, "t:\n"},
    {"length_16_bits", {{FIN | TEXT, HUNDRED HUNDRED}}, "t:" HUNDRED HUNDRED "\n"},
    {"largest", {{FIN | TEXT, HUNDRED HUNDRED HUNDRED}}, "t:" HUNDRED HUNDRED HUNDRED "\n"},
    {"fragments", {{TEXT, "a"}, {CONT, "b"}, {FIN | CONT, "c"}}, "t:abc\n"},
    {"empty_fragments", {{TEXT, ""}, {CONT, ""}, {FIN | CONT, ""}}, "t:\n"},
    {"ping", {{FIN | PING, "are you"}}, "<pong are you>\n"},
    {"empty_ping", {{FIN | PING, ""}}, "<pong>\n"},
    {"pong_is_nothing", {{FIN | PONG, "x"}, {FIN | TEXT, "a"}}, "t:a\n"},
    {"ping_between_fragments",
     {{TEXT, "a"}, {FIN | PING, "p"}, {FIN | CONT, "b"}},
     "<pong p>\nt:ab\n"},
    {"character_cut_by_fragments", {{TEXT, "\xe2\x82"}, {FIN | CONT, "\xac"}}, "t:\xe2\x82\xac\n"},
    {"close", {{FIN | CLOSE, "\x03\xe8", 2}, {FIN | TEXT, "late"}}, "<close 1000>\n~"},
    {"close_with_reason", {{FIN | CLOSE, "\x03\xe9going"}}, "<close 1001 going>\n~"},
    {"close_without_code", {{FIN | CLOSE, ""}}, "<close>\n~"},
    {"close_of_ours_is_answered",
     {{FIN | TEXT, "bye"}, {FIN | TEXT, "more"}, {FIN | CLOSE, "\x03\xe8", 2}},
     "t:bye\n<close 1000 done>\n~"},
    {"close_of_ours_waits", {{FIN | TEXT, "bye"}, {FIN | PING, "x"}}, "t:bye\n<close 1000 done>\n"},
    /* what breaks the rules */
    {"unmasked", {{FIN | TEXT | UNMASKED, "hello"}}, "<close 1002>\n~"},
    {"unmasked_ping", {{FIN | PING | UNMASKED, "x"}}, "<close 1002>\n~"},
    {"nothing_after_a_fault", {{FIN | TEXT | UNMASKED, "x"}, {FIN | TEXT, "y"}}, "<close 1002>\n~"},
    {"reserved_bit_1", {{FIN | 0x40 | TEXT, "x"}}, "<close 1002>\n~"},
    {"reserved_bit_3", {{FIN | 0x10 | TEXT, "x"}}, "<close 1002>\n~"},
    {"unknown_opcode", {{FIN | 3, "x"}}, "<close 1002>\n~"},
    {"unknown_control", {{FIN | 11, "x"}}, "<close 1002>\n~"},
    {"fragmented_ping", {{PING, "x"}}, "<close 1002>\n~"},
    {"long_ping", {{FIN | PING, HUNDRED TEN TEN TEN}}, "<close 1002>\n~"},
    {"continuation_of_nothing", {{FIN | CONT, "x"}}, "<close 1002>\n~"},
    {"text_within_fragments", {{TEXT, "a"}, {FIN | TEXT, "b"}}, "<close 1002>\n~"},
    {"length_in_too_many_bytes", {{FIN | TEXT | LEN16, "x"}}, "<close 1002>\n~"},
    {"length_in_far_too_many_bytes", {{FIN | TEXT | LEN64, "x"}}, "<close 1002>\n~"},
    {"length_beyond_63_bits", {{FIN | BIN, "", SIZE_MAX}}, "<close 1002>\n~"},
    {"not_utf8", {{FIN | TEXT, "a\xff"}}, "<close 1007>\n~"},
    {"utf8_cut_at_the_end", {{FIN | TEXT, "\xe2\x82"}}, "<close 1007>\n~"},
    {"surrogate", {{FIN | TEXT, "\xed\xa0\x80"}}, "<close 1007>\n~"},
    {"binary_need_not_be_utf8", {{FIN | BIN, "a\xff"}}, "b:a\xff\n"},
    {"too_big", {{FIN | TEXT, HUNDRED HUNDRED HUNDRED "x"}}, "<close 1009 message too big>\n~"},
    {"too_big_in_fragments",
     {{TEXT, HUNDRED HUNDRED}, {FIN | CONT, HUNDRED "x"}},
     "<close 1009 message too big>\n~"},
    {"two_of_the_largest",
     {{TEXT, HUNDRED HUNDRED}, {FIN | CONT, HUNDRED}, {FIN | TEXT, HUNDRED HUNDRED HUNDRED}},
     "t:" HUNDRED HUNDRED HUNDRED "\nt:" HUNDRED HUNDRED HUNDRED "\n"},
    {"close_of_one_byte", {{FIN | CLOSE, "x"}}, "<close 1002>\n~"},
    {"close_code_nobody_may_send", {{FIN | CLOSE, "\x03\xed", 2}}, "<close 1002>\n~"},
};

static void every_row_gives_the_same_however_it_is_cut(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct buf b;
        if (strcmp(r->id, "binary_with_nul") == 0) continue; /* below: its transcript holds a NUL */
        buf_init(&b, 1U << 20);
        for (size_t k = 0; k < 6 && r->frames[k].data != NULL; k++) add_frame(&b, &r->frames[k]);
        assert_false(b.failed);
        run(buf_slice(&b), 0, buf_len(&b), r->expect, r->id);
        run(buf_slice(&b), 0, 1, r->expect, r->id);
        for (size_t cut = 1; cut < buf_len(&b); cut++)
            run(buf_slice(&b), cut, buf_len(&b), r->expect, r->id);
        buf_free(&b);
    }
}

static void ws_keeps_a_nul_in_a_message(void **state) {
    static const struct frame f = {FIN | BIN, "\0\1", 2};
    struct seen s = {0};
    struct buf b;
    buf_init(&b, 100);
    buf_init(&s.text, 100);
    s.ws = ws_new(MAX_MESSAGE, on_message, &s);
    add_frame(&b, &f);
    ws_feed(s.ws, buf_slice(&b));
    assert_true(slice_eq(buf_slice(&s.text), slice_make("b:\0\1\n", 5)));
    ws_free(s.ws);
    buf_free(&b);
    buf_free(&s.text);
}

/* A gigabyte announced, a million fragments: memory follows what has come. */
static void ws_gives_no_memory_for_promises(void **state) {
    struct seen s = {0};
    struct buf b;
    static const struct frame first = {TEXT, ""}, next = {CONT, ""};
    buf_init(&b, 1U << 20);
    buf_init(&s.text, 1U << 20);
    s.ws = ws_new((size_t)1 << 40, on_message, &s);
    add_frame(&b, &first);
    for (int i = 0; i < 10000; i++) add_frame(&b, &next);
    ws_feed(s.ws, buf_slice(&b));
    assert_false(ws_is_over(s.ws));
    ws_free(s.ws);
    s.ws = ws_new((size_t)1 << 40, on_message, &s);
    ws_feed(s.ws, slice_make("\x82\xff\0\0\0\x20\0\0\0\0abcdefgh", 18)); /* 137 GB */
    assert_false(ws_is_over(s.ws));
    ws_free(s.ws);
    buf_free(&b);
    buf_free(&s.text);
}

static void ws_sends_messages_of_every_length(void **state) {
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536, 300000};
    struct seen s = {0};
    char *data = calloc(1, 300000);
    assert_non_null(data);
    s.ws = ws_new(MAX_MESSAGE, on_message, &s);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i], head = n < 126 ? 2 : n < 65536 ? 4 : 10;
        struct buf *out = ws_out(s.ws);
        assert_true(ws_send(s.ws, WS_BINARY, slice_make(data, n)));
        assert_int_equal(buf_len(out), head + n);
        assert_int_equal((unsigned char)buf_slice(out).ptr[0], FIN | BIN);
        buf_consume(out, buf_len(out));
    }
    ws_free(s.ws);
    free(data);
}

static void ws_says_nothing_after_its_close(void **state) {
    struct seen s = {0};
    s.ws = ws_new(MAX_MESSAGE, on_message, &s);
    buf_init(&s.text, 1000);
    assert_true(ws_ping(s.ws));
    ws_close(s.ws, WS_GOING_AWAY, SLICE("restart"));
    assert_true(ws_is_closing(s.ws));
    assert_false(ws_is_over(s.ws));
    assert_false(ws_send(s.ws, WS_TEXT, SLICE("x")));
    assert_false(ws_ping(s.ws));
    ws_close(s.ws, WS_NORMAL, SLICE("again"));
    tell_out(&s);
    assert_true(slice_is(buf_slice(&s.text), "<ping>\n<close 1001 restart>\n"));
    assert_int_equal(ws_peer_code(s.ws), 1006);
    ws_free(s.ws);
    buf_free(&s.text);
}

/* --- the handshake */

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define GET "GET /x HTTP/1.1\r\nHost: h\r\n"

static const struct {
    const char *id, *head;
    unsigned status; /* 0: it may */
} handshakes[] = {
    {"of_the_rfc", GET UPGRADE KEY VERSION, 0},
    {"case_and_lists",
     GET "upgrade: h2c, WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VERSION, 0},
    {"two_connection_lines",
     GET "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\n" KEY VERSION, 0},
    {"empty_body", GET UPGRADE KEY VERSION "Content-Length: 0\r\n", 0},
    {"http_1_0", "GET /x HTTP/1.0\r\nHost: h\r\n" UPGRADE KEY VERSION, 400},
    {"post", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" UPGRADE KEY VERSION, 400},
    {"body", GET UPGRADE KEY VERSION "Content-Length: 5\r\n", 400},
    {"chunked", GET UPGRADE KEY VERSION "Transfer-Encoding: chunked\r\n", 400},
    {"no_connection", GET "Upgrade: websocket\r\n" KEY VERSION, 400},
    {"connection_without_upgrade",
     GET "Upgrade: websocket\r\nConnection: keep-alive\r\n" KEY VERSION, 400},
    {"no_upgrade", GET "Connection: upgrade\r\n" KEY VERSION, 400},
    {"no_key", GET UPGRADE VERSION, 400},
    {"two_keys", GET UPGRADE KEY KEY VERSION, 400},
    {"short_key", GET UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n", 400},
    {"key_not_base64", GET UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n", 400},
    {"key_with_stray_bits", GET UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n",
     400},
    {"no_version", GET UPGRADE KEY, 400},
    {"version_8", GET UPGRADE KEY "Sec-WebSocket-Version: 8\r\n", 426},
    {"version_twice", GET UPGRADE KEY VERSION VERSION, 400},
};

static void ws_handshake_wants_the_rfcs_headers(void **state) {
    for (size_t i = 0; i < sizeof handshakes / sizeof *handshakes; i++) {
        char text[1024], accept[WS_ACCEPT_BYTES];
        const char *reason = NULL;
        unsigned status;
        size_t used;
        struct h1_head *head = calloc(1, sizeof *head);
        struct h1_error err;
        struct h1_scan scan = {0};
        int n = snprintf(text, sizeof text, "%s\r\n", handshakes[i].head);
        assert_non_null(head);
        if (h1_head(H1_REQUEST, text, (size_t)n, &scan, head, &used, &err) != H1_DONE)
            fail_msg("%s: %s", handshakes[i].id, err.reason);
        bool ok = ws_handshake(head, accept, &status, &reason);
        if (ok != (handshakes[i].status == 0) ||
            (!ok && (status != handshakes[i].status || reason == NULL)))
            fail_msg("%s: %d %u %s", handshakes[i].id, ok, status, reason);
        if (ok) assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        free(head);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_gives_the_same_however_it_is_cut),
        cmocka_unit_test(ws_keeps_a_nul_in_a_message),
        cmocka_unit_test(ws_gives_no_memory_for_promises),
        cmocka_unit_test(ws_sends_messages_of_every_length),
        cmocka_unit_test(ws_says_nothing_after_its_close),
        cmocka_unit_test(ws_handshake_wants_the_rfcs_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
