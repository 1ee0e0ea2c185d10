/* A small application on net/server.h whose paths are the things a handler can do. */
#ifndef ANYLLM_TEST_NET_APP_H
#define ANYLLM_TEST_NET_APP_H

#include "net/server.h"
#include "certs.h"
#include "wire.h"

/*   /echo        answers with the body at once        /later     answers when the test says so
 *   /refuse      401 in on_head                       /stream    begins a stream, the test goes on
 *   /big         body of app.big bytes                /header    a header value with CRLF in it
 *   /abort       a stream that breaks off             /none      204
 *   /put         the body by on_body, up to app.max_stream bytes; answers how many came
 *   /file        app.length bytes of app.path from app.offset on
 *   /upgrade     bytes both ways; what comes is sent back when app.echo is set
 *   /upgrade-at-head, /upgrade-later: the same, from on_head; when the test says so              */
struct app_pair { /* files with a certificate and its key */
    char dir[40], cert[64], key[64];
};

struct app {
    struct net_loop loop;
    struct net_server *server;
    struct net_tls_server *tls; /* NULL: plain */
    struct app_pair pair;
    SSL_CTX *client; /* of wire_connect's connections, with TLS */
    uint16_t port;
    size_t big;
    unsigned heads, requests, drains, dones, gones, faults, last_fault;
    bool fault_had_request, paused;
    uint64_t waiting; /* id of the latest /later or /stream exchange */
    struct buf in;    /* what the test's client read */
    /* bodies that are given */
    uint64_t max_stream, given, answer_at; /* answer_at: refused with 409 once so much came */
    uint64_t sum;                          /* of the bytes given, by app_sum */
    size_t pieces;
    bool hold;                           /* on_body pauses, each time */
    bool hold_head, echo, count_only;    /* count_only: no sum */
    void (*end)(struct net_exchange *x); /* called by on_body */
    /* files */
    const char *path;
    uint64_t offset, length;
    char last_body[256];
    size_t last_body_len;
};

/* Before the tests run: they are to speak TLS from end to end. */
void app_over_tls(bool yes);
int app_set_up(void **state);
int app_tear_down(void **state); /* fails when an exchange was begun and not ended */
/* Another server with these limits in place of the first. */
void app_restart(struct app *a, const struct net_server_limits *limits);
struct net_exchange *app_waiting(struct app *a);
/* What this process holds in memory. Tests may ask for it where app_counts_memory: not with a sanitizer, which keeps what
 * was freed. */
size_t app_resident(void);
#ifdef __SANITIZE_ADDRESS__
#define app_counts_memory false
#else
#define app_counts_memory true
#endif
/* Depends on the bytes and their order, not on how they were cut. */
uint64_t app_sum(uint64_t sum, struct slice bytes);
/* A connection on which `text` was sent. */
int app_send(struct app *a, const char *text);
/* The same, and read until `expected` came (into a->in, emptied before). */
int app_ask(struct app *a, const char *text, const char *expected);
#define APP_UNTIL(a, condition) WIRE_UNTIL(&(a)->loop, condition)
#define APP_TEST(f) cmocka_unit_test_setup_teardown(f, app_set_up, app_tear_down)

#endif
