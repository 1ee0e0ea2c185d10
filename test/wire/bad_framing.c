/* docs/bad-input.md: bytes that are not HTTP as it should be. */
#include "bad_framing.h"

#include "waits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server, keyed;
static struct mock mock;

/* A submit, so that a request that was smuggled through leaves a trace in the queue. */
#define SMUGGLED SUBMIT("Content-Length: 21\r\n") "{\"prompt\":\"smuggled\"}"

enum way { WHOLE, BYTE_BY_BYTE, SECOND };

static void send_row(struct peer *p, const struct row *r, enum way way) {
    if (way == BYTE_BY_BYTE)
        peer_trickle(p, r->bytes, r->len);
    else
        peer_send(p, r->bytes, r->len);
}

static void expect_status(const char *name, const struct answer *a, unsigned status) {
    if (a == NULL) fail_msg("%s: no answer", name);
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", name, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

static void expect_after(struct peer *p, const struct row *r) {
    if (r->after == EITHER) return;
    if (r->after == KEPT) {
        if (!peer_is_kept(p)) fail_msg("%s: the connection is not kept", r->name);
        return;
    }
    if (!p->answer.close) fail_msg("%s: does not say Connection: close", r->name);
    if (!peer_is_ended(p))
        fail_msg("%s: the connection goes on:\n%s", r->name, p->in.len > 0 ? p->in.p : "");
}

static void try_row(const struct row *r, enum way way) {
    struct peer p = peer_open(server.port);
    if (way == SECOND) peer_puts(&p, HEALTHZ);
    send_row(&p, r, way);
    if (r->after == CLOSED) peer_puts(&p, SMUGGLED);
    if (way == SECOND) expect_status(r->name, peer_answer(&p), 200);
    const struct answer *a = peer_answer(&p);
    expect_status(r->name, a, r->status);
    if (r->says != NULL && !answer_says(a, r->says))
        fail_msg("%s: does not say \"%s\": %s", r->name, r->says, a->body.p);
    expect_after(&p, r);
    peer_close(&p);
}

static void expect_nothing_stored(void) {
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void row_is_answered_as_written(void **state) {
    const struct row *r = *state;
    try_row(r, WHOLE);
    try_row(r, BYTE_BY_BYTE);
    try_row(r, SECOND);
    expect_nothing_stored();
}

/* Rows whose bytes are made. */
static void try_made(const char *name, const struct text *t, unsigned status, enum after after) {
    struct row r = {name, t->p, t->len, status, after, NULL};
    try_row(&r, WHOLE);
    try_row(&r, BYTE_BY_BYTE);
    try_row(&r, SECOND);
}

/* --- H5, H18 */

static void H5_minus_the_length_of_the_request_is_400_and_no_endless_loop(void **state) {
    struct text t = {0};
    for (int length = 60; length < 100; length++) { /* the request's own is among these */
        t.len = 0;
        text_printf(&t, SUBMIT("Content-Length: -%d\r\n"), length);
        unsigned long before = server_cpu_ms(&server);
        try_made("H5", &t, 400, CLOSED);
        assert_true(server_cpu_ms(&server) - before < 500);
    }
    text_free(&t);
    expect_nothing_stored();
}

static void H18_no_such_byte_in_a_header_name(void **state) {
    static const char separators[] = "\"(),/;<=>?@[]{}\\ \t\x7f";
    struct text t = {0};
    for (unsigned c = 1; c < 256; c++) {
        bool bad = c < 0x20 || c >= 0x80 || strchr(separators, (int)c) != NULL;
        if (!bad || c == '\r' || c == '\n') continue;
        for (int place = 0; place < 3; place++) {
            t.len = 0;
            text_puts(&t, "GET /healthz HTTP/1.1\r\n" HOST);
            text_printf(&t, "%s%c%s: y\r\n\r\n", place > 0 ? "X" : "", (int)c,
                        place < 2 ? "Y" : "");
            try_made("H18", &t, 400, CLOSED);
        }
    }
    text_free(&t);
}

/* --- chunks: H22-H26 */

static void H22_trailer_cut_by_fin_stores_nothing(void **state) {
    static const char *const ends[] = {"0\r\nX:", "0\r\nX: y", "0\r\nX: y\r\n",
                                       "0\r\n",   "0\r",       "0"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct peer p = peer_open(server.port);
        peer_puts(&p, CHUNKED HELLO_CHUNK);
        peer_puts(&p, ends[i]);
        peer_half_close(&p);
        const struct answer *a = peer_answer(&p);
        assert_true(a == NULL || (a->status == 400 && a->close));
        assert_true(peer_is_ended(&p));
        peer_close(&p);
    }
    expect_nothing_stored();
}

static void H23_long_chunk_extension_is_400(void **state) {
    struct text t = {0};
    text_puts(&t, CHUNKED "e;");
    text_fill(&t, 'a', 257);
    text_puts(&t, "\r\n" BODY "\r\n" LAST_CHUNK);
    try_made("H23_257_bytes", &t, 400, CLOSED);
    t.len = 0;
    text_puts(&t, CHUNKED);
    for (int i = 0; i < 66; i++) { /* 66 x 250 = 16,500 */
        text_puts(&t, "1;");
        text_fill(&t, 'a', 250);
        text_puts(&t, "\r\n \r\n");
    }
    text_puts(&t, HELLO_CHUNK LAST_CHUNK);
    try_made("H23_in_all", &t, 400, CLOSED);
    text_free(&t);
    expect_nothing_stored();
}

static void H23_short_chunk_extension_is_good(void **state) {
    struct text t = {0};
    text_puts(&t,
              "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\ne;");
    text_fill(&t, 'a', 255);
    text_puts(&t, "\r\n" BODY "\r\n0;x=\"y\"\r\n\r\n");
    try_made("H23_255_bytes", &t, 200, KEPT);
    text_free(&t);
}

/* The answer must come although no more than 200 KiB were sent, of the million chunks announced by nothing. */
static void H24_a_million_one_byte_chunks_are_400(void **state) {
    struct text t = {0};
    text_puts(&t, CHUNKED);
    while (t.len < 200U << 10) text_puts(&t, "1\r\nx\r\n");
    t.len = 200U << 10;
    for (int way = WHOLE; way <= BYTE_BY_BYTE; way++) {
        struct row r = {"H24", t.p, t.len, 400, CLOSED, NULL};
        struct peer p = peer_open(server.port);
        send_row(&p, &r, (enum way)way);
        const struct answer *a = peer_answer(&p);
        expect_status("H24", a, 400);
        assert_true(answer_says(a, "chunk overhead"));
        assert_true(peer_is_ended(&p));
        peer_close(&p);
    }
    text_free(&t);
    expect_nothing_stored();
}

static void H25_no_last_chunk_then_fin_stores_nothing(void **state) {
    static const char *const cut[] = {CHUNKED,
                                      CHUNKED "e\r\n{\"pro",
                                      CHUNKED HELLO_CHUNK,
                                      CHUNKED HELLO_CHUNK "0\r\n",
                                      SUBMIT("Content-Length: 15\r\n") BODY,
                                      SUBMIT("Content-Length: 14\r\n")};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        for (int slowly = 0; slowly < 2; slowly++) {
            struct peer p = peer_open(server.port);
            if (slowly)
                peer_trickle(&p, cut[i], strlen(cut[i]));
            else
                peer_puts(&p, cut[i]);
            peer_half_close(&p);
            const struct answer *a = peer_answer(&p);
            assert_true(a == NULL || a->status == 400);
            assert_true(peer_is_ended(&p));
            peer_close(&p);
        }
    }
    expect_nothing_stored();
}

static void H26_trailers_are_dropped_never_merged(void **state) {
    static const char trailers[] =
        "Content-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: evil.example\r\n"
        "Authorization: Key evil:evil\r\nX-Fal-Queue-Priority: wrong\r\n";
    struct text t = {0};
    text_printf(&t,
                "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST
                "Transfer-Encoding: chunked\r\n\r\n" HELLO_CHUNK "0\r\n%s\r\n",
                trailers);
    try_made("H26", &t, 200, KEPT);
    /* A key in a trailer opens nothing. */
    t.len = 0;
    text_printf(&t, CHUNKED HELLO_CHUNK "0\r\nAuthorization: Key app1:%s\r\n\r\n", CANARY_CLIENT);
    struct answer a = ask(keyed.port, t.p, t.len);
    assert_int_equal(a.status, 401);
    answer_free(&a);
    text_free(&t);
}

static void H26_more_than_8_KiB_of_trailers_are_431(void **state) {
    struct text t = {0};
    text_puts(&t, CHUNKED HELLO_CHUNK "0\r\n");
    for (int i = 0; i < 10; i++) {
        text_puts(&t, "X: ");
        text_fill(&t, 'a', 900);
        text_puts(&t, "\r\n");
    }
    text_puts(&t, "\r\n");
    try_made("H26_431", &t, 431, CLOSED);
    text_free(&t);
    expect_nothing_stored();
}

/* --- methods: H33-H35 */

static void H33_a_method_of_100_KB_is_400(void **state) {
    struct text t = {0};
    text_fill(&t, 'A', 100000);
    text_puts(&t, LINE(" /healthz HTTP/1.1"));
    try_made("H33_100_KB", &t, 400, CLOSED);
    text_free(&t);
}

static void H33_known_method_but_wrong_for_the_route_is_405_with_allow(void **state) {
    static const struct {
        const char *method, *path, *allow;
    } cases[] = {
        {"DELETE", "/healthz", "GET"},
        {"POST", "/metrics", "GET"},
        {"GET", "/run/fal-ai/any-llm", "POST"},
        {"PUT", "/fal-ai/any-llm", "POST"},
        {"PATCH", "/queue/fal-ai/any-llm", "POST"},
        {"GET", "/queue/fal-ai/any-llm/requests/00000000-0000-4000-8000-000000000000/cancel",
         "PUT"},
        {"POST", "/queue/fal-ai/any-llm/requests/00000000-0000-4000-8000-000000000000/cancel",
         "PUT"},
        {"DELETE", "/queue/fal-ai/any-llm/requests/00000000-0000-4000-8000-000000000000/status",
         "GET"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text t = {0};
        char allow[64];
        text_printf(&t, "%s %s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", cases[i].method,
                    cases[i].path);
        try_made(cases[i].path, &t, 405, KEPT);
        struct answer a = ask(server.port, t.p, t.len);
        assert_true(answer_header(&a, "allow", allow, sizeof allow));
        if (strstr(allow, cases[i].allow) == NULL)
            fail_msg("%s %s: Allow: %s", cases[i].method, cases[i].path, allow);
        answer_free(&a);
        text_free(&t);
    }
}

static void H34_405_names_what_is_allowed(void **state) {
    char allow[64];
    struct answer a = ask_text(server.port, LINE("TRACE /healthz HTTP/1.1"));
    assert_true(answer_header(&a, "allow", allow, sizeof allow));
    assert_null(strstr(allow, "TRACE"));
    answer_free(&a);
}

static void H35_a_body_of_GET_HEAD_OPTIONS_is_read_and_dropped(void **state) {
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS"};
    static const size_t sizes[] = {5, 64U << 10};
    for (size_t i = 0; i < 6; i++) {
        struct peer p = peer_open(server.port);
        struct text t = {0};
        const char *method = methods[i / 2];
        text_printf(&t, "%s /healthz HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", method,
                    sizes[i % 2]);
        text_fill(&t, 'x', sizes[i % 2]);
        text_puts(&t, HEALTHZ);
        peer_send(&p, t.p, t.len);
        const struct answer *a = strcmp(method, "HEAD") == 0 ? peer_answer_to_head(&p)
                                                             : peer_answer(&p);
        expect_status(method, a, strcmp(method, "OPTIONS") == 0 ? 204 : 200);
        expect_status("H35 the next one", peer_answer(&p), 200);
        peer_close(&p);
        text_free(&t);
    }
}

static void H35_a_larger_body_of_GET_is_413(void **state) {
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < 3; i++) {
        struct peer p = peer_open(server.port);
        struct text t = {0};
        text_printf(&t, "%s /healthz HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n",
                    methods[i]);
        text_fill(&t, 'x', 65537);
        text_puts(&t, SMUGGLED);
        peer_send(&p, t.p, t.len);
        expect_status(methods[i], i == 1 ? peer_answer_to_head(&p) : peer_answer(&p), 413);
        assert_true(p.answer.close);
        assert_true(peer_is_ended(&p));
        peer_close(&p);
        text_free(&t);
    }
    expect_nothing_stored();
}

/* --- H36-H38 */

/* The id of the path comes back in a header, so the order shows. */
static void H36_a_thousand_pipelined_GETs_are_answered_in_order(void **state) {
    struct peer p = peer_open(server.port);
    struct text t = {0};
    char id[64], want[64];
    for (unsigned i = 0; i < 1000; i++)
        text_printf(
            &t,
            "GET /queue/fal-ai/any-llm/requests/00000000-0000-4000-8000-%012u/status HTTP/1.1\r\n" HOST
            "\r\n",
            i);
    text_puts(&t, "\x80garbage\r\n\r\n" SMUGGLED);
    peer_send(&p, t.p, t.len);
    for (unsigned i = 0; i < 1000; i++) {
        const struct answer *a = peer_answer(&p);
        expect_status("H36", a, 404);
        snprintf(want, sizeof want, "00000000-0000-4000-8000-%012u", i);
        assert_true(answer_header(a, "x-fal-request-id", id, sizeof id));
        assert_string_equal(id, want);
    }
    expect_status("H36 the garbage behind", peer_answer(&p), 400);
    assert_true(peer_is_ended(&p));
    peer_close(&p);
    text_free(&t);
    expect_nothing_stored();
}

static void H37_an_extra_byte_behind_a_chunked_request_hurts_nobody(void **state) {
    static const char extra[] = {'X', ' ', '\n', '\0', '\xff', '0'};
    for (size_t i = 0; i < sizeof extra; i++) {
        struct peer p = peer_open(server.port);
        struct text t = {0};
        text_puts(&t, "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST
                      "Transfer-Encoding: chunked\r\n\r\n" HELLO_CHUNK LAST_CHUNK);
        text_add(&t, extra + i, 1);
        text_puts(&t, SMUGGLED);
        peer_send(&p, t.p, t.len);
        expect_status("H37 the request", peer_answer(&p), 200);
        const struct answer *a = peer_answer(&p);
        assert_non_null(a);
        assert_true(a->status == 400 || a->status == 501); /* XPOST is a method nobody knows */
        assert_true(peer_is_ended(&p));
        peer_close(&p);
        text_free(&t);
    }
    expect_nothing_stored();
}

static void H38_expect_with_bad_auth_or_too_large_gets_no_100(void **state) {
    static const struct {
        const char *name, *head;
        unsigned status;
    } cases[] = {
        {"no key", SUBMIT("Expect: 100-continue\r\nContent-Length: 14\r\n"), 401},
        {"bad key",
         SUBMIT("Authorization: Key a:b\r\nExpect: 100-continue\r\nContent-Length: 14\r\n"), 401},
        {"too large",
         SUBMIT("Authorization: Key app1:" CANARY_CLIENT
                "\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n"),
         413},
        {"unknown",
         SUBMIT("Authorization: Key app1:" CANARY_CLIENT
                "\r\nExpect: 200-ok\r\nContent-Length: 14\r\n"),
         417},
        {"unknown, no body", GET_WITH("Expect: the-spanish-inquisition\r\n"), 417},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p = peer_open(keyed.port);
        peer_puts(&p, cases[i].head);
        const struct answer *a = peer_answer(&p);
        expect_status(cases[i].name, a, cases[i].status);
        assert_true(a->close);
        assert_true(peer_is_ended(&p));
        peer_close(&p);
    }
}

static void H38_expect_gets_100_then_the_answer(void **state) {
    struct peer p = peer_open(server.port);
    peer_puts(&p, "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST
                  "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n");
    expect_status("100", peer_answer(&p), 100);
    peer_puts(&p, BODY);
    expect_status("200", peer_answer(&p), 200);
    assert_true(peer_is_kept(&p));
    peer_close(&p);
}

/* --- H40, H45 */

static void H40_no_spelling_of_a_path_gets_around_the_key(void **state) {
    static const char *const paths[] = {
        "/run/fal-ai/any-llm",
        "//run/fal-ai/any-llm",
        "/./run/fal-ai/any-llm",
        "/run//fal-ai/any-llm",
        "/healthz/../run/fal-ai/any-llm",
        "/healthz/..;/run/fal-ai/any-llm",
        "/run/fal-ai%2fany-llm",
        "/run/fal-ai/any%2dllm",
        "/%72un/fal-ai/any-llm",
        "/run/fal-ai/any-llm/",
        "/run/fal-ai/any-llm/.",
        "/run/fal-ai/any-llm%20",
        "/healthz/run/fal-ai/any-llm",
        "/run/fal-ai/any-llm/stream",
        "/fal-ai/any-llm",
        "/queue/fal-ai/any-llm",
        "/queue/fal-ai/any-llm?/healthz",
        "/run/fal-ai/any-llm;/healthz",
        "/RUN/fal-ai/any-llm",
        "/run\\fal-ai/any-llm",
        "/run/fal-ai/any-llm/..",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct answer a = post_json(keyed.port, paths[i], BODY);
        if (a.status != 401 && a.status != 404) fail_msg("%s: %u", paths[i], a.status);
        answer_free(&a);
    }
    assert_int_equal(metric(server.port, "anyllm_queue_submitted_total"), 0);
}

static void H45_no_value_of_a_caller_breaks_a_header(void **state) {
    static const struct {
        const char *path, *body;
        unsigned status;
    } cases[] = {
        {"/run/fal-ai/any-llm", "{\"prompt\":\"x\",\"model\":\"test/x\\r\\nX-Injected: 1\"}", 422},
        {"/run/fal-ai/any-llm", "{\"prompt\":\"x\",\"model\":\"test/\\u0000\"}", 422},
        {"/run/fal-ai/any-llm/stream", "{\"prompt\":\"x\",\"model\":\"test/x\\nX-Injected: 1\"}",
         422},
        {"/run/fal-ai/any-llm%0d%0aX-Injected:1", BODY, 404},
        {"/queue/fal-ai/any-llm/requests/00000000-0000%0d%0aX-Injected:1-0000000/status", BODY,
         404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[8];
        struct answer a = post_json(server.port, cases[i].path, cases[i].body);
        if (answer_header(&a, "x-injected", value, sizeof value))
            fail_msg("injected:\n%s", a.head.p);
        expect_status(cases[i].body, &a, cases[i].status);
        answer_free(&a);
    }
}

/* --- the suite */

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
    text_puts(&config,
              "routes:\n  - { model: \"*\", to: [up] }\n  - { model: \"test/*\", to: [up] }\n"
              "max_status_polls_per_second_per_key: 0\n"); /* H36 asks a thousand at once */
    server_start_with(&server, config.p);
    text_puts(&config, "keys:\n  - { id: app1, secret: " CANARY_CLIENT " }\n");
    server_start_with(&keyed, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&server);
    server_stop(&keyed);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(H5_minus_the_length_of_the_request_is_400_and_no_endless_loop),
        cmocka_unit_test(H18_no_such_byte_in_a_header_name),
        cmocka_unit_test(H22_trailer_cut_by_fin_stores_nothing),
        cmocka_unit_test(H23_long_chunk_extension_is_400),
        cmocka_unit_test(H23_short_chunk_extension_is_good),
        cmocka_unit_test(H24_a_million_one_byte_chunks_are_400),
        cmocka_unit_test(H25_no_last_chunk_then_fin_stores_nothing),
        cmocka_unit_test(H26_trailers_are_dropped_never_merged),
        cmocka_unit_test(H26_more_than_8_KiB_of_trailers_are_431),
        cmocka_unit_test(H33_a_method_of_100_KB_is_400),
        cmocka_unit_test(H33_known_method_but_wrong_for_the_route_is_405_with_allow),
        cmocka_unit_test(H34_405_names_what_is_allowed),
        cmocka_unit_test(H35_a_body_of_GET_HEAD_OPTIONS_is_read_and_dropped),
        cmocka_unit_test(H35_a_larger_body_of_GET_is_413),
        cmocka_unit_test(H36_a_thousand_pipelined_GETs_are_answered_in_order),
        cmocka_unit_test(H37_an_extra_byte_behind_a_chunked_request_hurts_nobody),
        cmocka_unit_test(H38_expect_with_bad_auth_or_too_large_gets_no_100),
        cmocka_unit_test(H38_expect_gets_100_then_the_answer),
        cmocka_unit_test(H40_no_spelling_of_a_path_gets_around_the_key),
        cmocka_unit_test(H45_no_value_of_a_caller_breaks_a_header),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NROWS + NMADE];
    for (size_t i = 0; i < NROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_is_answered_as_written, NULL, NULL,
                                       (void *)(uintptr_t)&rows[i]};
    memcpy(tests + NROWS, made, sizeof made);
    print_waiting();
    return suite_main(argc, argv, "bad_framing", tests, NROWS + NMADE, start, stop);
}
