/* The handshake and the frames of a realtime connection, without one: whole and one byte at a time. */
#include "client/realtime.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void fill_with_sevens(void *user, void *out, size_t bytes) {
    (void)user;
    memset(out, 7, bytes);
}

static const struct random sevens = {fill_with_sevens, NULL};

/* --- the handshake */

static void upgrade_asks_as_the_rfc_says(void **state) {
    (void)state;
    static const char lines[] = "User-Agent: x/1\0Authorization: Key k";
    struct client_upgrade u;
    struct buf out;
    buf_init(&out, 65536);
    assert_true(client_upgrade_init(&u, &sevens));
    assert_true(client_upgrade_write(&u, SLICE("https://h.example:8443/run/a/b/realtime?t=1"),
                                     slice_make(lines, sizeof lines), &out));
    buf_addc(&out, '\0');
    assert_string_equal(
        out.base,
        "GET /run/a/b/realtime?t=1 HTTP/1.1\r\nHost: h.example:8443\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: BwcHBwcHBwcHBwcHBwcHBw==\r\nUser-Agent: x/1\r\n"
        "Authorization: Key k\r\n\r\n");
    buf_free(&out);
    client_upgrade_free(&u);
}

#define OK_LINES "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\n"

static const struct {
    const char *id, *text; /* "$A" stands for the right value */
    enum client_upgrade_state state;
    int status;
    const char *body; /* or why */
} answers[] = {
    {"right", SWITCHED OK_LINES "Sec-WebSocket-Accept: $A\r\n\r\n", UPGRADE_OPEN, 101, ""},
    {"other_case",
     "HTTP/1.1 101 \r\nUPGRADE: WebSocket\r\nconnection: keep-alive, upgrade\r\n"
     "sec-websocket-accept:  $A \r\n\r\n",
     UPGRADE_OPEN, 101, ""},
    {"after_interim",
     "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" SWITCHED OK_LINES
     "Sec-WebSocket-Accept: $A\r\n\r\n",
     UPGRADE_OPEN, 101, ""},
    {"wrong_accept", SWITCHED OK_LINES "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server's Sec-WebSocket-Accept is wrong"},
    {"no_accept", SWITCHED OK_LINES "\r\n", UPGRADE_BROKEN, 101,
     "the server's Sec-WebSocket-Accept is wrong"},
    {"two_accepts",
     SWITCHED OK_LINES "Sec-WebSocket-Accept: $A\r\nSec-WebSocket-Accept: $A\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server's Sec-WebSocket-Accept is wrong"},
    {"no_upgrade", SWITCHED "Connection: Upgrade\r\nSec-WebSocket-Accept: $A\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server switched to something that is no WebSocket"},
    {"no_connection", SWITCHED "Upgrade: websocket\r\nSec-WebSocket-Accept: $A\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server switched to something that is no WebSocket"},
    {"extension",
     SWITCHED OK_LINES "Sec-WebSocket-Accept: $A\r\nSec-WebSocket-Extensions: x\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server chose an extension that was not offered"},
    {"protocol", SWITCHED OK_LINES "Sec-WebSocket-Accept: $A\r\nSec-WebSocket-Protocol: x\r\n\r\n",
     UPGRADE_BROKEN, 101, "the server chose an extension that was not offered"},
    {"no_http", "220 mail.example ESMTP\r\n\r\n", UPGRADE_BROKEN, 0,
     "the server's answer is no HTTP"},
    {"no_status", "HTTP/1.1 abc\r\n\r\n", UPGRADE_BROKEN, 0, "the server's answer is no HTTP"},
    {"four_digits", "HTTP/1.1 1010 X\r\n\r\n", UPGRADE_BROKEN, 0, "the server's answer is no HTTP"},
    {"refused", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope", UPGRADE_REFUSED, 401,
     "nope"},
    {"refused_empty", "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", UPGRADE_REFUSED, 404, ""},
    {"refused_no_length", "HTTP/1.1 404 X\r\nContent-Length: x\r\n\r\n", UPGRADE_REFUSED, 404, ""},
    {"chunked",
     "HTTP/1.1 502 X\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n"
     "A\r\n0123456789\r\n0\r\n",
     UPGRADE_REFUSED, 502, "abc0123456789"},
    {"chunked_wrongly", "HTTP/1.1 502 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nz",
     UPGRADE_REFUSED, 502, "abc"},
    {"chunk_too_long", "HTTP/1.1 502 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff",
     UPGRADE_REFUSED, 502, ""},
};

static struct slice with_accept(const char *text, const struct client_upgrade *u, struct buf *out) {
    for (const char *at; (at = strstr(text, "$A")) != NULL; text = at + 2) {
        buf_add(out, slice_make(text, (size_t)(at - text)));
        buf_puts(out, u->accept);
    }
    buf_puts(out, text);
    return buf_slice(out);
}

/* Bytes behind the answer are not taken. */
static void read_answer(struct client_upgrade *u, const char *text, bool slowly) {
    struct buf all;
    buf_init(&all, 65536);
    assert_true(client_upgrade_init(u, &random_system));
    struct slice s = with_accept(text, u, &all);
    size_t len = s.len, used = 0;
    if (slowly)
        for (size_t i = 0; i < s.len; i++) used += client_upgrade_feed(u, slice_make(s.ptr + i, 1));
    else {
        buf_puts(&all, "\x81\x00");
        used = client_upgrade_feed(u, slice_make(all.base, len + 2));
    }
    if (u->state == UPGRADE_OPEN) assert_int_equal(used, len);
    buf_free(&all);
}

static void upgrade_reads_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * sizeof answers / sizeof *answers; i++) {
        size_t n = i / 2;
        struct client_upgrade u;
        read_answer(&u, answers[n].text, i % 2 == 1);
        bool ok = u.state == answers[n].state && u.http_status == answers[n].status &&
                  (u.state == UPGRADE_BROKEN ? strcmp(u.why, answers[n].body) == 0
                                             : slice_is(buf_slice(&u.body), answers[n].body));
        if (!ok)
            fail_msg("%s: state %d, status %d, %s \"%.*s\"", answers[n].id, (int)u.state,
                     u.http_status, u.why, SLICE_ARG(buf_slice(&u.body)));
        client_upgrade_free(&u);
    }
}

static void upgrade_cut_anywhere_is_broken(void **state) {
    (void)state;
    static const char text[] = SWITCHED OK_LINES "Sec-WebSocket-Accept: $A\r\n\r\n";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct client_upgrade u;
        char cut[sizeof text];
        memcpy(cut, text, n);
        cut[n] = '\0';
        read_answer(&u, cut, true);
        client_upgrade_end(&u);
        assert_int_equal(u.state, UPGRADE_BROKEN);
        client_upgrade_free(&u);
    }
}

static void upgrade_head_is_bounded(void **state) {
    (void)state;
    struct client_upgrade u;
    char *text = malloc(UPGRADE_HEAD_BYTES * 2);
    memset(text, 'x', UPGRADE_HEAD_BYTES * 2);
    assert_true(client_upgrade_init(&u, &random_system));
    client_upgrade_feed(&u, slice_make(text, UPGRADE_HEAD_BYTES * 2));
    assert_int_equal(u.state, UPGRADE_BROKEN);
    assert_string_equal(u.why, "the head of the server's answer is too long");
    client_upgrade_free(&u);
    assert_true(client_upgrade_init(&u, &random_system));
    for (int i = 0; i < 100; i++) client_upgrade_feed(&u, SLICE("HTTP/1.1 102 X\r\n\r\n"));
    assert_int_equal(u.state, UPGRADE_BROKEN);
    client_upgrade_free(&u);
    free(text);
}

static void upgrade_body_without_length_ends_with_the_connection_or_is_cut(void **state) {
    (void)state;
    struct client_upgrade u;
    read_answer(&u, "HTTP/1.1 503 X\r\n\r\nbusy", true);
    assert_int_equal(u.state, UPGRADE_BODY);
    client_upgrade_end(&u);
    assert_int_equal(u.state, UPGRADE_REFUSED);
    assert_true(slice_is(buf_slice(&u.body), "busy"));
    client_upgrade_free(&u);
    read_answer(&u, "HTTP/1.1 503 X\r\n\r\n", true);
    for (size_t i = 0; i <= UPGRADE_BODY_BYTES; i++) client_upgrade_feed(&u, SLICE("x"));
    assert_int_equal(u.state, UPGRADE_REFUSED);
    assert_int_equal(buf_len(&u.body), UPGRADE_BODY_BYTES);
    client_upgrade_free(&u);
}

/* --- the frames */

struct heard {
    char text[4096];
    size_t count;
    struct client_frames *f;
};

static void hear(void *owner, bool text, struct slice data) {
    struct heard *h = owner;
    size_t len = strlen(h->text);
    snprintf(h->text + len, sizeof h->text - len, "%s%.*s;",
             text ? "t:" : "b:", (int)(data.len < 100 ? data.len : 100), data.ptr);
    h->count++;
}

static const struct {
    const char *id, *bytes;
    size_t len;
    const char *heard, *answer; /* without its mask; its first byte, length and payload */
    enum fal_code fault;
    int code;
} streams[] = {
#define ROW(id, bytes, heard, answer, fault, code) \
    {id, bytes, sizeof(bytes) - 1, heard, answer, fault, code}
    ROW("text", "\x81\x02{}", "t:{};", "", FAL_OK, 1006),
    ROW("binary", "\x82\x01\x80", "b:\x80;", "", FAL_OK, 1006),
    ROW("empty", "\x82\x00", "b:;", "", FAL_OK, 1006),
    ROW("two", "\x81\x02{}\x81\x02[]", "t:{};t:[];", "", FAL_OK, 1006),
    ROW("long_form", "\x81\x7e\x00\x02{}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("fragments", "\x01\x01{\x00\x01 \x80\x01}", "t:{ };", "", FAL_OK, 1006),
    ROW("ping_between", "\x01\x01{\x89\x02hi\x80\x01}", "t:{};", "\x8a\x02hi", FAL_OK, 1006),
    ROW("ping_empty", "\x89\x00", "", "\x8a", FAL_OK, 1006),
    ROW("pong_alone", "\x8a\x02hi", "", "", FAL_OK, 1006),
    ROW("close", "\x88\x02\x03\xe8", "", "\x88\x02\x03\xe8", FAL_OK, 1000),
    ROW("close_with_words", "\x88\x05\x03\xf3oops", "", "", FAL_OK, 1011),
    ROW("close_without_code", "\x88\x00", "", "\x88", FAL_OK, 1005),
    ROW("close_of_one_byte", "\x88\x01\x03", "", "\x88\x02\x03\xea", FAL_ERR_PROTOCOL, 1002),
    ROW("nothing_after_close", "\x88\x02\x03\xe8\x81\x02{}", "", "\x88\x02\x03\xe8", FAL_OK, 1000),
    ROW("masked", "\x81\x82\x00\x00\x00\x00{}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("reserved_bit", "\xc1\x02{}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("unknown_opcode", "\x83\x02{}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("continues_nothing", "\x80\x02{}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("begins_within", "\x01\x01{\x81\x01}", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("ping_in_pieces", "\x09\x01x", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("ping_too_long", "\x89\x7e\x00\x7e", "", NULL, FAL_ERR_PROTOCOL, 1002),
    ROW("bad_text", "\x81\x01\xff", "", NULL, FAL_ERR_PROTOCOL, 1007),
    ROW("bad_text_in_pieces", "\x01\x01\xc3\x80\x01x", "", NULL, FAL_ERR_PROTOCOL, 1007),
    ROW("good_text_in_pieces", "\x01\x01\xc3\x80\x01\xa4", "t:\xc3\xa4;", "", FAL_OK, 1006),
    ROW("too_large", "\x82\x7e\x04\x01x", "", "\x88\x02\x03\xf1", FAL_ERR_TOO_LARGE, 1009),
    ROW("too_large_in_all", "\x02\x01x\x80\x7e\x04\x00x", "", "\x88\x02\x03\xf1", FAL_ERR_TOO_LARGE,
        1009),
    ROW("enormous", "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx", "", "\x88\x02\x03\xf1",
        FAL_ERR_TOO_LARGE, 1009),
};

/* One frame with its mask taken off; "" when there is none. */
static void unmasked(struct client_frames *f, char out[256], size_t room) {
    char bytes[256];
    size_t n = 0;
    for (size_t got; (got = client_frames_take(f, bytes + n, room)) > 0;) n += got;
    out[0] = '\0';
    if (n == 0) return;
    assert_true(n >= 6 && (bytes[1] & 0x80) != 0);
    size_t len = (size_t)(bytes[1] & 0x7f);
    assert_int_equal(n, len + 6);
    out[0] = bytes[0];
    out[1] = (char)len;
    for (size_t i = 0; i < len; i++) out[2 + i] = (char)(bytes[6 + i] ^ bytes[2 + i % 4]);
    out[2 + len] = '\0';
}

static void frames_are_read_and_answered(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * sizeof streams / sizeof *streams; i++) {
        size_t n = i / 2;
        struct client_frames f;
        struct heard h = {.f = &f};
        char answer[256];
        assert_int_equal(client_frames_init(&f, &random_system, 1024, hear, &h), FAL_OK);
        for (size_t k = 0; i % 2 == 1 && k < streams[n].len; k++)
            client_frames_feed(&f, slice_make(streams[n].bytes + k, 1));
        if (i % 2 == 0) client_frames_feed(&f, slice_make(streams[n].bytes, streams[n].len));
        unmasked(&f, answer, i % 2 == 1 ? 1 : 256);
        if (strcmp(h.text, streams[n].heard) != 0 || f.fault != streams[n].fault ||
            client_frames_code(&f) != streams[n].code)
            fail_msg("%s: \"%s\" fault %d code %d", streams[n].id, h.text, (int)f.fault,
                     client_frames_code(&f));
        if (streams[n].answer != NULL && streams[n].id[0] != 'c' &&
            strcmp(answer, streams[n].answer) != 0)
            fail_msg("%s: answered %02x", streams[n].id, (unsigned char)answer[0]);
        assert_int_equal(f.over, f.fault != FAL_OK || client_frames_peer_closed(&f));
        client_frames_free(&f);
    }
}

static void frames_keep_the_words_of_a_close(void **state) {
    (void)state;
    struct client_frames f;
    struct heard h = {0};
    assert_int_equal(client_frames_init(&f, &random_system, 1024, hear, &h), FAL_OK);
    client_frames_feed(&f, SLICE("\x88\x06\x03\xf3oops"));
    assert_string_equal(f.reason, "oops");
    assert_int_equal(client_frames_code(&f), 1011);
    client_frames_free(&f);
}

static void frames_close_once_and_send_nothing_after(void **state) {
    (void)state;
    struct client_frames f;
    struct heard h = {0};
    char out[256];
    assert_int_equal(client_frames_init(&f, &random_system, 1024, hear, &h), FAL_OK);
    client_frames_close(&f, 1000);
    client_frames_close(&f, 1001);
    assert_false(client_frames_send(&f, true, SLICE("{}")));
    unmasked(&f, out, 256);
    assert_string_equal(out, "\x88\x02\x03\xe8");
    client_frames_feed(&f, SLICE("\x81\x02{}\x88\x02\x03\xe8"));
    assert_int_equal(h.count, 0);
    assert_true(f.over);
    assert_int_equal(client_frames_code(&f), 1000);
    assert_int_equal(f.fault, FAL_OK);
    client_frames_free(&f);
}

static void frames_are_masked_anew_and_cut_where_room_ends(void **state) {
    (void)state;
    struct client_frames f;
    struct heard h = {0};
    char *data = malloc(100000), *out = malloc(100100);
    memset(data, 'a', 100000);
    assert_int_equal(client_frames_init(&f, &random_system, 1024, hear, &h), FAL_OK);
    assert_true(client_frames_send(&f, false, slice_make(data, 100000)));
    size_t n = 0;
    for (size_t got; (got = client_frames_take(&f, out + n, 7)) > 0;) {
        assert_int_equal(client_frames_is_sending(&f), n + got < 100014);
        n += got;
    }
    assert_int_equal(n, 100014);
    assert_memory_equal(out, "\x82\xff\x00\x00\x00\x00\x00\x01\x86\xa0", 10);
    for (size_t i = 0; i < 100000; i++) assert_int_equal(out[14 + i] ^ out[10 + i % 4], 'a');
    client_frames_free(&f);
    free(data);
    free(out);
}

/* The payloads of all pongs that wait, one after the other. */
static void expect_pongs(struct client_frames *f, const char *payloads) {
    char bytes[4096], text[1024] = "";
    size_t n = 0, at = 0, len = 0;
    for (size_t got; (got = client_frames_take(f, bytes + n, sizeof bytes - n)) > 0;) n += got;
    while (at + 6 <= n && len < 1000) {
        size_t size = (size_t)(bytes[at + 1] & 0x7f);
        assert_int_equal((unsigned char)bytes[at], 0x8a);
        for (size_t i = 0; i < size; i++)
            text[len++] = (char)(bytes[at + 6 + i] ^ bytes[at + 2 + i % 4]);
        text[len++] = ';';
        at += 6 + size;
    }
    text[len] = '\0';
    assert_string_equal(text, payloads);
}

static void frames_answer_the_newest_ping_alone(void **state) {
    (void)state;
    struct client_frames f;
    struct heard h = {0};
    char *data = calloc(1, 100000), *out = malloc(100100);
    assert_int_equal(client_frames_init(&f, &random_system, 70000, hear, &h), FAL_OK);
    for (int i = 0; i < 10000; i++) client_frames_feed(&f, SLICE("\x89\x02no\x89\x00\x81\x00"));
    client_frames_feed(&f, SLICE("\x89\x03yes"));
    expect_pongs(&f, "yes;");
    expect_pongs(&f, "");
    assert_int_equal(h.count, 10000);
    client_frames_feed(&f, SLICE("\x89\x04"
                                 "half"));
    expect_pongs(&f, "half;");
    /* While a message of ours goes out none can: they wait, and the last of them is sent. */
    assert_true(client_frames_send(&f, false, slice_make(data, 100000)));
    assert_int_equal(client_frames_take(&f, out, 1000), 1000);
    memcpy(out, "\x82\x7e\x01\x00", 4); /* looks like pings inside, and is none */
    memset(out + 4, '\x89', 256);
    for (int i = 0; i < 1000; i++) client_frames_feed(&f, SLICE("\x89\x01z\x8a\x01p\x89\x01x"));
    client_frames_feed(&f, slice_make(out, 260));
    memcpy(out, "\x82\x7f\0\0\0\0\0\1\0\1", 10);
    client_frames_feed(&f, slice_make(out, 10));
    for (int i = 0; i < 65537; i++) client_frames_feed(&f, SLICE("\x89"));
    assert_int_equal(h.count, 10002);
    assert_int_equal(f.fault, FAL_OK);
    size_t n = 1000;
    for (size_t got; n < 100014 && (got = client_frames_take(&f, out, 100014 - n)) > 0;) n += got;
    assert_int_equal(n, 100014);
    expect_pongs(&f, "x;");
    client_frames_close(&f, 1000);
    client_frames_feed(&f, SLICE("\x89\x01x"));
    unmasked(&f, out, 100);
    assert_string_equal(out, "\x88\x02\x03\xe8");
    client_frames_free(&f);
    free(data);
    free(out);
}

/* --- messages */

static const struct {
    const char *text;
    enum client_said said;
} saids[] = {
    {"{\"output\":\"x\"}", SAID_OUTPUT},
    {"[1]", SAID_OUTPUT},
    {"{\"type\":\"x-fal-message\",\"action\":\"timings\",\"timing\":0.42}", SAID_NOTHING},
    {"{\"type\":\"x-fal-error\",\"error\":\"E\",\"reason\":\"r\"}", SAID_ERROR},
    {"{\"status\":\"error\",\"error\":\"Unauthorized\"}", SAID_UNAUTHORIZED},
    {"{\"status\":\"error\",\"error\":\"other\"}", SAID_OUTPUT},
    {"hello", SAID_NONSENSE},
    {"", SAID_NONSENSE},
    {"{} {}", SAID_NONSENSE},
};

static void realtime_messages_are_told_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof saids / sizeof *saids; i++) {
        struct buf json;
        buf_init(&json, 65536);
        assert_int_equal(client_said_read(true, slice_of(saids[i].text), &json), saids[i].said);
        buf_free(&json);
    }
}

static void realtime_bytes_become_data_uris(void **state) {
    (void)state;
    struct buf json;
    buf_init(&json, 65536);
    assert_int_equal(client_said_read(false, SLICE("\x81\xa6images\x91\xc4\x04\x89PNG"), &json),
                     SAID_OUTPUT);
    assert_true(slice_is(buf_slice(&json), "{\"images\":[\"data:image/png;base64,iVBORw==\"]}"));
    buf_reset(&json, 0);
    assert_int_equal(client_said_read(false, SLICE("\x81\xa6images"), &json), SAID_NONSENSE);
    buf_free(&json);
}

static void realtime_inputs_are_objects(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(client_message_pack(false, "{\"a\":\"data:x;base64,AA==\"}", &out), FAL_OK);
    assert_true(slice_is(buf_slice(&out), "\x81\xa1"
                                          "a\xb2"
                                          "data:x;base64,AA=="));
    buf_reset(&out, 0);
    assert_int_equal(client_message_pack(true, " {} ", &out), FAL_OK);
    assert_true(slice_is(buf_slice(&out), " {} "));
    static const char *const bad[] = {NULL, "", "[]", "1", "{", "{}{}", "\"{}\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int text = 0; text < 2; text++)
            assert_int_equal(client_message_pack(text != 0, bad[i], &out), FAL_ERR_ARGUMENT);
    buf_free(&out);
}

static void realtime_messages_keep_their_order(void **state) {
    (void)state;
    struct client_messages a, b;
    client_messages_init(&a);
    client_messages_init(&b);
    assert_true(client_messages_add(&a, SLICE("3")) && client_messages_add(&b, SLICE("1")) &&
                client_messages_add(&b, SLICE("2")));
    client_messages_put_back(&a, &b);
    assert_int_equal(a.bytes, 3 * (sizeof(struct client_message) + 2)); /* what they take */
    assert_null(b.first);
    assert_int_equal(b.bytes, 0);
    for (char c = '1'; c <= '3'; c++) {
        struct client_message *m = client_messages_take(&a);
        assert_int_equal(m->data[0], c);
        free(m);
    }
    assert_null(client_messages_take(&a));
    assert_true(client_messages_add(&a, SLICE("4")));
    client_messages_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upgrade_asks_as_the_rfc_says),
        cmocka_unit_test(upgrade_reads_answers),
        cmocka_unit_test(upgrade_cut_anywhere_is_broken),
        cmocka_unit_test(upgrade_head_is_bounded),
        cmocka_unit_test(upgrade_body_without_length_ends_with_the_connection_or_is_cut),
        cmocka_unit_test(frames_are_read_and_answered),
        cmocka_unit_test(frames_keep_the_words_of_a_close),
        cmocka_unit_test(frames_close_once_and_send_nothing_after),
        cmocka_unit_test(frames_are_masked_anew_and_cut_where_room_ends),
        cmocka_unit_test(frames_answer_the_newest_ping_alone),
        cmocka_unit_test(realtime_messages_are_told_apart),
        cmocka_unit_test(realtime_bytes_become_data_uris),
        cmocka_unit_test(realtime_inputs_are_objects),
        cmocka_unit_test(realtime_messages_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
