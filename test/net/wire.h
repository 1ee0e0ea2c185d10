/* Raw sockets beside a loop in one thread, for the tests of server and client: every wait turns the loop. */
#ifndef ANYLLM_TEST_NET_WIRE_H
#define ANYLLM_TEST_NET_WIRE_H

#include "base/buf.h"
#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define WIRE_PATIENCE_MS 10000U /* a test that waits longer than this has failed */

/* One turn of the loop, then a moment for the kernel. */
void wire_turn(struct net_loop *l);
/* Turns until the condition holds; fails the test when patience is over. */
#define WIRE_UNTIL(l, condition)                                                     \
    do {                                                                             \
        uint64_t wire_end_ = uv_hrtime() + WIRE_PATIENCE_MS * 1000000ULL;            \
        while (!(condition)) {                                                       \
            if (uv_hrtime() > wire_end_) fail_msg("waited in vain for " #condition); \
            wire_turn(l);                                                            \
        }                                                                            \
    } while (0)
void wire_turn_for(struct net_loop *l, unsigned ms);

int wire_connect(uint16_t port); /* blocking until connected, then non-blocking */
int wire_connect_plain(uint16_t port);
/* Of wire_tls.c: another way to connect, and what is done with every turn and read. NULL: none. */
extern int (*wire_connect_other)(uint16_t port);
extern void (*wire_pump)(void);
int wire_listen(uint16_t *port);
void wire_send(struct net_loop *l, int fd, struct slice data);
void wire_sends(struct net_loop *l, int fd, const char *text);
/* Reads what is there into `b` (NUL-terminated). False at the end: FIN or RST (*reset says which, may be NULL). */
bool wire_read(int fd, struct buf *b, bool *reset);
/* Until `text` stands in b, or the end. */
void wire_expect(struct net_loop *l, int fd, struct buf *b, const char *text);
/* Until the peer closes; true when by FIN, false by RST. */
bool wire_drain(struct net_loop *l, int fd, struct buf *b);
size_t wire_count(const struct buf *b, const char *text);
bool wire_has(const struct buf *b, const char *text);

#endif
