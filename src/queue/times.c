/* Time as the queue may use it: a wall clock that does not jump, dates of a row that never go back, and who is oldest. */
#include "queue/inside.h"

/* --- the wall clock */

#define CLOCK_SLACK_MS 5000    /* what a clock is set by without anybody calling it a jump */
#define CLOCK_TRUST_MS 3600000 /* a jump is believed when it has stood for so long */

static bool near(int64_t a, int64_t b) {
    return a - b <= CLOCK_SLACK_MS && b - a <= CLOCK_SLACK_MS;
}

int64_t steady_ms(struct queue *q) {
    struct steady *s = &q->steady;
    uint64_t now = now_ms(q);
    int64_t offset = wall_ms(q) - (int64_t)now;
    if (!s->known || near(offset, s->offset)) {
        *s = (struct steady){.known = true, .offset = offset};
    } else if (!s->jumped || !near(offset, s->jump)) {
        s->jumped = true;
        s->jump = offset;
        s->since_ms = now;
    } else if (now - s->since_ms >= CLOCK_TRUST_MS) {
        *s = (struct steady){.known = true, .offset = offset};
    }
    return (int64_t)now + s->offset;
}

/* --- dates */

void item_born(struct queue *q, struct item *i) {
    i->epoch = q->epoch;
    i->created_ms = wall_ms(q);
    i->since_ms = (int64_t)now_ms(q);
}

/* Of a row that was there before: how long ago by the wall clock, but not in the future. */
void item_dates(struct queue *q, struct item *i, int64_t created_ms, int64_t started_ms) {
    int64_t age = wall_ms(q) - (i->started ? started_ms : created_ms);
    i->created_ms = created_ms;
    i->started_ms = started_ms;
    if (age > 0) i->since_ms -= age;
}

int64_t stamp_ms(const struct queue *q, const struct item *i) {
    int64_t at = wall_ms(q);
    if (at < i->created_ms) at = i->created_ms;
    if (at < i->started_ms) at = i->started_ms;
    if (i->run != NULL && at < i->run->stamped_ms) at = i->run->stamped_ms;
    if (i->run != NULL) i->run->stamped_ms = at;
    return at;
}

/* --- who is oldest */

enum { AGED_NOT, AGED_WAITING, AGED_RUNNING };

static uint8_t aged_as(const struct item *i) {
    if (i->step == STEP_NEW) return AGED_NOT;
    return i->started ? AGED_RUNNING : AGED_WAITING;
}

static struct ages *ages_of(struct queue *q, const struct item *i) {
    return i->aged == AGED_RUNNING ? &q->running_ages : &q->waiting_ages;
}

static void ages_remove(struct ages *a, struct item *i) {
    a->count--;
    if (a->last == i) a->last = i->older != NULL ? i->older : i->younger;
    if (i->older != NULL)
        i->older->younger = i->younger;
    else
        a->oldest = i->younger;
    if (i->younger != NULL)
        i->younger->older = i->older;
    else
        a->youngest = i->older;
    i->older = i->younger = NULL;
}

/* New ones come last; what is loaded comes in order of age, so its place is beside the one before it. */
static struct item *older_than(const struct ages *a, const struct item *i) {
    struct item *at = a->youngest;
    if (at == NULL || at->since_ms <= i->since_ms) return at;
    at = a->last;
    while (at != NULL && at->since_ms > i->since_ms) at = at->older;
    while (at != NULL && at->younger != NULL && at->younger->since_ms <= i->since_ms)
        at = at->younger;
    return at;
}

static void ages_add(struct ages *a, struct item *i) {
    a->count++;
    i->older = older_than(a, i);
    i->younger = i->older != NULL ? i->older->younger : a->oldest;
    if (i->older != NULL)
        i->older->younger = i;
    else
        a->oldest = i;
    if (i->younger != NULL)
        i->younger->older = i;
    else
        a->youngest = i;
    a->last = i;
}

void age_counts(struct queue *q, struct item *i) {
    uint8_t as = aged_as(i);
    if (as == i->aged) return;
    if (i->aged == AGED_WAITING && as == AGED_RUNNING) i->since_ms = (int64_t)now_ms(q);
    age_leaves(q, i);
    i->aged = as;
    if (as != AGED_NOT) ages_add(ages_of(q, i), i);
}

void age_leaves(struct queue *q, struct item *i) {
    if (i->aged != AGED_NOT) ages_remove(ages_of(q, i), i);
    i->aged = AGED_NOT;
}

int64_t oldest_ms(const struct queue *q, const struct ages *a) {
    int64_t age = a->oldest != NULL ? (int64_t)now_ms(q) - a->oldest->since_ms : 0;
    return age > 0 ? age : 0;
}
