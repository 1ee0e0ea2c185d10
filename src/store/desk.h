/* Who asks the store beside the queue: each gets the answer to its own operation. Loop's thread only.
 *
 *     uint64_t t = desk_ask(d, got_key, user, net_exchange_id(x));
 *     if (t != 0) store->backend->keys(store, t);
 *
 * `done` is called exactly once, never before the operation was given. What may be gone by then is named by `arg`, an id that
 * is looked up on arrival. */
#ifndef ANYLLM_STORE_DESK_H
#define ANYLLM_STORE_DESK_H

#include "store/store.h"

struct desk;

typedef void desk_done(void *user, uint64_t arg, const struct store_reply *r);

struct desk *desk_new(void);    /* NULL when out of memory */
void desk_free(struct desk *d); /* after the store is closed. NULL is fine */
/* A ticket for one operation of the store; 0 when out of memory: the operation must not be given, `done` is not called. */
uint64_t desk_ask(struct desk *d, desk_done *done, void *user, uint64_t arg);
/* Tickets of the desk have their highest bit set; the queue's have not. */
bool desk_owns(uint64_t ticket);
void desk_answer(struct desk *d, uint64_t ticket, const struct store_reply *r);
size_t desk_waiting(const struct desk *d); /* asked and not answered */

#endif
