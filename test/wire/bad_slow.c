/* docs/bad-input.md, L5-L7: peers that are too slow. All at once, in one run of about 35 s; the tests then look at what
 * became of each. Of times only this is asserted: not before half of the deadline, and at all. */
#include "peer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RUN_MS 50000U
#define RUN_LINE "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST
#define SUBMIT_LINE "POST /queue/fal-ai/any-llm HTTP/1.1\r\n" HOST
#define NOT_BEFORE_MS 5000U

enum reads { READS, READS_NOTHING };

/* What a peer sends at once, what it sends each second, and how it ends. */
struct slow {
    const char *name, *first, *each;
    size_t each_bytes; /* this many of the first byte of `each`; 0: nothing more */
    unsigned seconds;  /* so often; 0: for ever */
    const char *last;  /* then this */
    enum reads reads;
    unsigned status; /* 0: none comes */
    unsigned answers_before;
};

/* clang-format off */
static const struct slow all[] = {
    {"L5_a_peer_that_says_nothing_is_let_go_without_a_word", "", NULL, 0, 0, NULL, READS, 0, 0},
    {"L5_half_a_head_is_408", "GET /healthz HTTP/1.1\r\nHost: 127", NULL, 0, 0, NULL, READS, 408, 0},
    {"L5_a_head_without_its_last_byte_is_408", "GET /healthz HTTP/1.1\r\n" HOST "\r", NULL, 0, 0, NULL, READS, 408, 0},
    {"L5_a_head_at_1_byte_per_second_is_408", "GET /", "a", 1, 0, NULL, READS, 408, 0},
    {"L5_headers_at_1_byte_per_second_are_408", "GET /healthz HTTP/1.1\r\n" HOST "X: ", "a", 1, 0, NULL, READS, 408, 0},
    {"L5_empty_lines_buy_no_time", "\r\n\r\n", NULL, 0, 0, NULL, READS, 408, 0},
    {"L5_half_a_second_request_is_408", HEALTHZ "GET /hea", "l", 1, 0, NULL, READS, 408, 1},
    {"L6_a_body_that_stops_is_408", SUBMIT_LINE "Content-Length: 100000\r\n\r\n{", NULL, 0, 0, NULL, READS, 408, 0},
    {"L6_a_body_that_never_begins_is_408", SUBMIT_LINE "Content-Length: 100000\r\n\r\n", NULL, 0, 0, NULL, READS, 408, 0},
    {"L6_a_body_at_10_bytes_per_second_is_408", SUBMIT_LINE "Content-Length: 100000\r\n\r\n", " ", 10, 0, NULL, READS, 408, 0},
    {"L6_a_body_at_500_bytes_per_second_is_408", SUBMIT_LINE "Content-Length: 100000\r\n\r\n", " ", 500, 0, NULL, READS, 408, 0},
    {"L6_a_chunked_body_that_stops_is_408", SUBMIT_LINE "Transfer-Encoding: chunked\r\n\r\nffff\r\n", " ", 10, 0, NULL, READS, 408, 0},
    {"L6_a_body_at_4_KiB_per_second_is_good", RUN_LINE "Content-Length: 53262\r\n\r\n", " ", 4096, 13, "{\"prompt\":\"x\"}", READS, 200, 0},
    {"L7_a_stream_that_nobody_reads_is_reset", "POST /run/fal-ai/any-llm/stream HTTP/1.1\r\n" HOST "Content-Length: 36\r\n\r\n{\"prompt\":\"x\",\"model\":\"test/stream\"}", NULL, 0, 0, NULL, READS_NOTHING, 0, 0},
    {"L7_an_answer_that_nobody_reads_is_reset", RUN_LINE "Content-Length: 33\r\n\r\n{\"prompt\":\"x\",\"model\":\"test/big\"}", NULL, 0, 0, NULL, READS_NOTHING, 0, 0},
};
/* clang-format on */
#define NALL (sizeof all / sizeof *all)

static struct server server;
static struct mock mock;

static struct state {
    struct peer peer;
    unsigned sent_seconds;
    bool sent_last, over;
    uint64_t over_ms;
    unsigned status, answers;
} states[NALL];
static size_t rss_before, rss_during;
static unsigned long submitted, open_upstream;

static void begin_one(size_t i) {
    struct state *s = &states[i];
    s->peer = peer_open(server.port);
    if (all[i].reads == READS_NOTHING) {
        int small = 4096;
        setsockopt(s->peer.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    peer_puts(&s->peer, all[i].first);
}

static void send_more(size_t i, unsigned second) {
    struct state *s = &states[i];
    const struct slow *w = &all[i];
    if (s->over || s->sent_last || second <= s->sent_seconds) return;
    s->sent_seconds = second;
    if (w->each_bytes > 0 && (w->seconds == 0 || second <= w->seconds)) {
        char bytes[4096];
        memset(bytes, w->each[0], w->each_bytes);
        peer_send(&s->peer, bytes, w->each_bytes);
    }
    if (w->last == NULL || second < w->seconds) return;
    peer_puts(&s->peer, w->last);
    s->sent_last = true;
}

static void finish(struct state *s, uint64_t at) {
    s->over = true;
    s->over_ms = at;
}

/* A peer that reads nothing learns of a reset from poll alone. */
static void look_unread(struct state *s, uint64_t at) {
    struct pollfd f = {.fd = s->peer.fd, .events = 0};
    if (poll(&f, 1, 0) > 0 && (f.revents & (POLLERR | POLLHUP)) != 0) finish(s, at);
}

static void look(size_t i, uint64_t at) {
    struct state *s = &states[i];
    if (s->over) return;
    if (all[i].reads == READS_NOTHING) {
        look_unread(s, at);
        return;
    }
    const struct answer *a = peer_answer_within(&s->peer, 1);
    if (a != NULL) {
        s->answers++;
        s->status = a->status;
        if (a->status == 200 && s->answers > all[i].answers_before) finish(s, at);
    } else if (s->peer.end != PEER_OPEN) {
        finish(s, at);
    }
}

static bool everything_is_over(void) {
    for (size_t i = 0; i < NALL; i++)
        if (!states[i].over) return false;
    return true;
}

static void run_all(void) {
    uint64_t begun = now_ms();
    for (size_t i = 0; i < NALL; i++) begin_one(i);
    while (!everything_is_over() && now_ms() < begun + RUN_MS) {
        uint64_t at = now_ms() - begun;
        for (size_t i = 0; i < NALL; i++) {
            send_more(i, (unsigned)(at / 1000));
            look(i, at);
        }
        size_t rss = server_rss_kib(&server);
        if (rss > rss_during) rss_during = rss;
        sleep_ms(20);
    }
}

static void slow_peer_ends_as_written(void **test_state) {
    const struct slow *w = *test_state;
    const struct state *s = &states[w - all];
    if (!s->over) fail_msg("still there after %u ms", RUN_MS);
    if (s->status != w->status || s->answers != w->answers_before + (w->status != 0))
        fail_msg("%u answers, the last %u instead of %u", s->answers, s->status, w->status);
    if (s->over_ms < NOT_BEFORE_MS) fail_msg("after %lu ms already", (unsigned long)s->over_ms);
}

static void L6_nothing_of_it_was_stored(void **state) {
    assert_int_equal(submitted, 0);
}

/* The upstream call of a stream that nobody takes ends with it, and its memory was bounded. */
static void L7_what_nobody_reads_is_let_go(void **state) {
    assert_int_equal(open_upstream, 0);
#if !defined(__SANITIZE_ADDRESS__)
    if (rss_during > rss_before + (96U << 10))
        fail_msg("%zu KiB, then %zu KiB", rss_before, rss_during);
#endif
}

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n"
        "  up:     { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n"
        "  stream: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/10000000/v1\" }\n"
        "  big:    { kind: openai, base_url: \"http://127.0.0.1:%u/bigline/9000000/v1\" }\n"
        "routes:\n  - { model: \"*\", to: [up] }\n  - { model: \"test/stream\", to: [stream] }\n"
        "  - { model: \"test/big\", to: [big] }\n",
        mock.port, CANARY_UPSTREAM, mock.port, mock.port);
    server_start_with(&server, config.p);
    text_free(&config);
    rss_before = server_rss_kib(&server);
    run_all();
    submitted = metric(server.port, "anyllm_queue_submitted_total");
    open_upstream = mock_count(&mock, "open");
    return 0;
}

static int stop(void **state) {
    for (size_t i = 0; i < NALL; i++) peer_close(&states[i].peer);
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    struct CMUnitTest tests[NALL + 2] = {cmocka_unit_test(L6_nothing_of_it_was_stored),
                                         cmocka_unit_test(L7_what_nobody_reads_is_let_go)};
    for (size_t i = 0; i < NALL; i++)
        tests[2 + i] = (struct CMUnitTest){all[i].name, slow_peer_ends_as_written, NULL, NULL,
                                           (void *)(uintptr_t)&all[i]};
    return suite_main(argc, argv, "bad_slow", tests, NALL + 2, start, stop);
}
