/* A client under test and, beside it, an upstream played by hand: the test accepts, reads and writes itself. */
#ifndef ANYLLM_TEST_NET_UPSTREAM_H
#define ANYLLM_TEST_NET_UPSTREAM_H

#include "net/client.h"
#include "wire.h"

struct record { /* what one call's hooks saw */
    struct net_call *call;
    unsigned heads, ends, status;
    struct buf body;
    struct net_call_end end;
    char x[64]; /* value of the answer's X header, read in on_end */
    const struct h1_head *head;
    bool cancel_in_head, cancel_in_body, pause_in_body, again;
    struct up *up;
    size_t pieces;
};

struct up {
    struct net_loop loop;
    struct net_origin *origin;
    struct net_tls *tls;
    struct net_deadlines deadlines;
    int listener;
    uint16_t port;
    struct buf in; /* what the upstream read */
    struct record r[8];
};

int up_set_up(void **state);
int up_tear_down(void **state);
void up_origin(struct up *u,
               const struct net_origin_options *o); /* another one in place of the first */
/* Starts a POST with a small body. */
struct record *up_post(struct up *u, size_t i);
struct record *up_call(struct up *u, size_t i, const char *method, struct slice body);
int up_accept(struct up *u); /* waits for a connection */
bool up_nobody_waits(struct up *u);
/* Waits until a request came whole on fd (into u->in, emptied before). */
void up_read(struct up *u, int fd);
void up_end(struct up *u, struct record *r,
            enum net_fault fault); /* waits for on_end with that fault */
/* The common good case on a connection: read, answer. */
void up_answer(struct up *u, int fd, const char *answer);
#define UP_UNTIL(u, condition) WIRE_UNTIL(&(u)->loop, condition)
#define UP_TEST(f) cmocka_unit_test_setup_teardown(f, up_set_up, up_tear_down)
#define UP_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok"

#endif
