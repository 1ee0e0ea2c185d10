#include "store/desk.h"

#include <stdlib.h>

#define DESK_BIT (1ULL << 63)

struct question {
    desk_done *done; /* NULL: free */
    void *user;
    uint64_t arg;
    size_t next_free;
};

/* A ticket is a question's place: it is answered exactly once, so the place can be given again after that. */
struct desk {
    struct question *questions;
    size_t size, first_free, waiting;
};

struct desk *desk_new(void) {
    return calloc(1, sizeof(struct desk));
}

void desk_free(struct desk *d) {
    if (d == NULL) return;
    free(d->questions);
    free(d);
}

static bool grow(struct desk *d) {
    size_t size = d->size > 0 ? d->size * 2 : 64;
    struct question *q = realloc(d->questions, size * sizeof *q);
    if (q == NULL) return false;
    for (size_t i = d->size; i < size; i++) q[i] = (struct question){.next_free = i + 1};
    d->questions = q;
    d->size = size;
    return true;
}

uint64_t desk_ask(struct desk *d, desk_done *done, void *user, uint64_t arg) {
    size_t at = d->first_free;
    if (at == d->size && !grow(d)) return 0;
    struct question *q = &d->questions[at];
    d->first_free = q->next_free;
    *q = (struct question){.done = done, .user = user, .arg = arg};
    d->waiting++;
    return DESK_BIT | at;
}

bool desk_owns(uint64_t ticket) {
    return (ticket & DESK_BIT) != 0;
}

void desk_answer(struct desk *d, uint64_t ticket, const struct store_reply *r) {
    size_t at = (size_t)(ticket & ~DESK_BIT);
    struct question q = d->questions[at];
    d->questions[at] = (struct question){.next_free = d->first_free};
    d->first_free = at;
    d->waiting--;
    q.done(q.user, q.arg, r);
}

size_t desk_waiting(const struct desk *d) {
    return d->waiting;
}
