#include "queue/outbox.h"

#include "queue/slots.h"

#include <stddef.h>
#include <stdlib.h>

#define ID_BYTES 37U
#define FIRST_BUCKETS 256U
#define MAX_DOUBLINGS 9U
#define JITTER_PART 5U         /* a fifth */
#define OUT_OF_MEMORY_MS 1000U /* until it is tried again */

#define OWNER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* --- heaps: the smallest pair of keys is at hand */

struct place {
    uint64_t key, then;
    uint32_t at; /* counted from 1; 0: in none */
};

struct heap {
    struct place **base;
    uint32_t n, room;
};

static bool before(const struct place *a, const struct place *b) {
    return a->key != b->key ? a->key < b->key : a->then < b->then;
}

static void set(struct heap *h, uint32_t at, struct place *p) {
    h->base[at - 1] = p;
    p->at = at;
}

static void rise(struct heap *h, struct place *p) {
    uint32_t at = p->at;
    for (; at > 1 && before(p, h->base[at / 2 - 1]); at /= 2) set(h, at, h->base[at / 2 - 1]);
    set(h, at, p);
}

static void sink(struct heap *h, struct place *p) {
    uint32_t at = p->at, child;
    for (; (child = at * 2) <= h->n; at = child) {
        if (child < h->n && before(h->base[child], h->base[child - 1])) child++;
        if (!before(h->base[child - 1], p)) break;
        set(h, at, h->base[child - 1]);
    }
    set(h, at, p);
}

/* So that `n` of them find room later without memory. */
static bool heap_reserve(struct heap *h, uint32_t n) {
    uint32_t room = h->room > 0 ? h->room : 4;
    while (room < n) room *= 2;
    if (room == h->room) return true;
    struct place **base = realloc(h->base, room * sizeof *base);
    if (base == NULL) return false;
    h->base = base;
    h->room = room;
    return true;
}

static void heap_put(struct heap *h, struct place *p) {
    set(h, ++h->n, p);
    rise(h, p);
}

static void heap_take(struct heap *h, struct place *p) {
    struct place *last = h->base[h->n - 1];
    uint32_t at = p->at;
    h->n--;
    p->at = 0;
    if (last == p) return;
    set(h, at, last);
    rise(h, last);
    sink(h, last);
}

static struct place *heap_first(const struct heap *h) {
    return h->n > 0 ? h->base[0] : NULL;
}

/* --- tables by name */

struct knot {
    struct knot *next;
    uint64_t hash;
};

struct table {
    struct knot **heads;
    size_t buckets, count;
};

static struct knot **head_of(const struct table *t, uint64_t hash) {
    return &t->heads[(hash ^ hash >> 32) & (t->buckets - 1)];
}

static bool table_init(struct table *t) {
    *t = (struct table){.heads = calloc(FIRST_BUCKETS, sizeof(struct knot *)),
                        .buckets = FIRST_BUCKETS};
    return t->heads != NULL;
}

/* Without memory it stays as it is. */
static void table_grow(struct table *t) {
    struct table larger = {.heads = calloc(t->buckets * 2, sizeof(struct knot *)),
                           .buckets = t->buckets * 2,
                           .count = t->count};
    if (larger.heads == NULL) return;
    for (size_t b = 0; b < t->buckets; b++) {
        for (struct knot *k = t->heads[b], *next; k != NULL; k = next) {
            struct knot **head = head_of(&larger, k->hash);
            next = k->next;
            k->next = *head;
            *head = k;
        }
    }
    free(t->heads);
    *t = larger;
}

static void table_add(struct table *t, struct knot *k, uint64_t hash) {
    if (t->count++ >= t->buckets) table_grow(t);
    struct knot **head = head_of(t, hash);
    *k = (struct knot){*head, hash};
    *head = k;
}

static void table_remove(struct table *t, struct knot *k) {
    struct knot **at = head_of(t, k->hash);
    while (*at != k) at = &(*at)->next;
    *at = k->next;
    t->count--;
}

/* --- what there is */

struct host {
    struct knot knot;
    struct place place;
    struct heap *in; /* where its place is: asleep, ready or none */
    struct heap waiting;
    uint32_t items, running;
    uint16_t len;
    char name[];
};

struct item {
    struct knot knot;
    struct place place; /* in host->waiting, by due time and age; 0: started */
    struct host *host;
    char id[ID_BYTES];
};

struct outbox {
    struct outbox_options o;
    struct table items, hosts;
    struct heap asleep; /* hosts by the time of their first */
    struct heap ready;  /* those whose first is due and may start, fewest running first */
    struct slots tickets;
    uint64_t seed, age;
    size_t running;
    bool stopped;
};

static uint64_t now_ms(const struct outbox *o) {
    return clock_mono_ms(o->o.clock);
}

static uint64_t hash_of(const struct outbox *o, struct slice s) {
    uint64_t h = o->seed;
    for (size_t i = 0; i < s.len; i++) h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3ULL;
    return h;
}

static struct item *find_item(const struct outbox *o, struct slice id) {
    uint64_t h = hash_of(o, id);
    for (struct knot *k = *head_of(&o->items, h); k != NULL; k = k->next) {
        struct item *i = OWNER_OF(k, struct item, knot);
        if (k->hash == h && slice_is(id, i->id)) return i;
    }
    return NULL;
}

static struct host *find_host(const struct outbox *o, struct slice name) {
    uint64_t h = hash_of(o, name);
    for (struct knot *k = *head_of(&o->hosts, h); k != NULL; k = k->next) {
        struct host *host = OWNER_OF(k, struct host, knot);
        if (k->hash == h && slice_eq(slice_make(host->name, host->len), name)) return host;
    }
    return NULL;
}

static struct host *add_host(struct outbox *o, struct slice name) {
    uint32_t n = (uint32_t)o->hosts.count + 1;
    if (name.len > UINT16_MAX || !heap_reserve(&o->asleep, n) || !heap_reserve(&o->ready, n))
        return NULL;
    struct host *h = calloc(1, sizeof *h + name.len);
    if (h == NULL) return NULL;
    h->len = (uint16_t)name.len;
    if (name.len > 0) memcpy(h->name, name.ptr, name.len);
    table_add(&o->hosts, &h->knot, hash_of(o, name));
    return h;
}

static void drop_host_if_empty(struct outbox *o, struct host *h) {
    if (h->items > 0) return;
    if (h->in != NULL) heap_take(h->in, &h->place);
    table_remove(&o->hosts, &h->knot);
    free(h->waiting.base);
    free(h);
}

/* Where the host stands follows from its first, and from how many of it run. */
static void settle(struct outbox *o, struct host *h, uint64_t now) {
    struct place *first = heap_first(&h->waiting);
    if (h->in != NULL) heap_take(h->in, &h->place);
    h->in = NULL;
    if (first == NULL || h->running >= o->o.at_once_per_host) return;
    bool due = first->key <= now;
    h->in = due ? &o->ready : &o->asleep;
    h->place = (struct place){due ? h->running : first->key, due ? first->key : 0, 0};
    heap_put(h->in, &h->place);
}

/* --- the schedule */

/* Parts of the window; all of them together are weight_of_all. */
static uint64_t weight(uint32_t try_number) {
    uint32_t doublings = try_number - 1;
    return 1ULL << (doublings < MAX_DOUBLINGS ? doublings : MAX_DOUBLINGS);
}

static uint64_t weight_of_all(uint32_t retries) {
    uint64_t sum = 0;
    for (uint32_t i = 1; i <= retries; i++) sum += weight(i);
    return sum;
}

/* Before the retry of that number, counted from 1. */
static uint64_t pause_ms(const struct outbox *o, uint32_t number) {
    return o->o.retries > 0 ? o->o.window_ms * weight(number) / weight_of_all(o->o.retries) : 0;
}

static uint64_t longest_ms(const struct outbox *o) {
    return pause_ms(o, o->o.retries);
}

static uint64_t jittered(const struct outbox *o, uint64_t ms) {
    uint64_t part = ms / JITTER_PART;
    return ms - part + random_below(o->o.random, 2 * part + 1);
}

bool outbox_next_try(const struct outbox *o, uint32_t tries, int64_t retry_after_ms,
                     uint64_t *in_ms) {
    if (tries > o->o.retries || tries == 0) return false;
    uint64_t asked = retry_after_ms > 0 ? (uint64_t)retry_after_ms : 0, longest = longest_ms(o);
    *in_ms = jittered(o, pause_ms(o, tries));
    if (asked > longest) asked = longest;
    if (asked > *in_ms) *in_ms = asked;
    return true;
}

/* --- */

struct outbox *outbox_new(const struct outbox_options *options) {
    struct outbox *o = calloc(1, sizeof *o);
    if (o == NULL) return NULL;
    o->o = *options;
    o->seed = random_u64(options->random);
    if (table_init(&o->items) && table_init(&o->hosts)) return o;
    outbox_free(o);
    return NULL;
}

static void free_all(struct table *t, void (*each)(struct knot *k)) {
    for (size_t b = 0; t->heads != NULL && b < t->buckets; b++) {
        for (struct knot *k = t->heads[b], *next; k != NULL; k = next) {
            next = k->next;
            each(k);
        }
    }
    free(t->heads);
}

static void free_item(struct knot *k) {
    free(OWNER_OF(k, struct item, knot));
}

static void free_host(struct knot *k) {
    struct host *h = OWNER_OF(k, struct host, knot);
    free(h->waiting.base);
    free(h);
}

void outbox_free(struct outbox *o) {
    if (o == NULL) return;
    free_all(&o->items, free_item);
    free_all(&o->hosts, free_host);
    free(o->asleep.base);
    free(o->ready.base);
    slots_free(&o->tickets);
    free(o);
}

static void wait_until(struct outbox *o, struct item *i, uint64_t due_ms, uint64_t now) {
    i->place = (struct place){due_ms, o->age++, 0};
    heap_put(&i->host->waiting, &i->place);
    settle(o, i->host, now);
}

static uint64_t until_ms(const struct outbox *o, int64_t due_ms) {
    int64_t wall = clock_wall_ms(o->o.clock);
    uint64_t longest = longest_ms(o) + longest_ms(o) / JITTER_PART,
             in_ms = due_ms > wall ? (uint64_t)(due_ms - wall) : 0;
    return in_ms < longest ? in_ms : longest;
}

bool outbox_add(struct outbox *o, const char *id, struct slice host, int64_t due_ms) {
    size_t len = strlen(id);
    if (len >= ID_BYTES) return false;
    if (find_item(o, slice_of(id)) != NULL) return true;
    struct host *h = find_host(o, host);
    if (h == NULL && (h = add_host(o, host)) == NULL) return false;
    struct item *i = calloc(1, sizeof *i);
    if (i == NULL || !heap_reserve(&h->waiting, h->items + 1)) {
        free(i);
        drop_host_if_empty(o, h);
        return false;
    }
    memcpy(i->id, id, len + 1);
    i->host = h;
    h->items++;
    table_add(&o->items, &i->knot, hash_of(o, slice_of(id)));
    uint64_t now = now_ms(o);
    wait_until(o, i, now + until_ms(o, due_ms), now);
    return true;
}

static struct item *end_try(struct outbox *o, uint64_t ticket) {
    struct item *i = slots_take(&o->tickets, ticket);
    if (i == NULL) return NULL;
    o->running--;
    i->host->running--;
    return i;
}

void outbox_retry(struct outbox *o, uint64_t ticket, uint64_t in_ms) {
    struct item *i = end_try(o, ticket);
    if (i == NULL) return;
    uint64_t now = now_ms(o);
    wait_until(o, i, now + in_ms, now);
}

void outbox_done(struct outbox *o, uint64_t ticket) {
    struct item *i = end_try(o, ticket);
    if (i == NULL) return;
    struct host *h = i->host;
    table_remove(&o->items, &i->knot);
    free(i);
    h->items--;
    settle(o, h, now_ms(o));
    drop_host_if_empty(o, h);
}

/* False when out of memory: it waits on. */
static bool start_first(struct outbox *o, struct host *h, uint64_t now) {
    struct item *i = OWNER_OF(heap_first(&h->waiting), struct item, place);
    uint64_t ticket = slots_add(&o->tickets, i);
    if (ticket == 0) return false;
    heap_take(&h->waiting, &i->place);
    h->running++;
    o->running++;
    settle(o, h, now);
    o->o.start(o->o.user, ticket, i->id);
    return true;
}

uint64_t outbox_tick(struct outbox *o) {
    uint64_t now = now_ms(o);
    struct place *p;
    if (o->stopped) return UINT64_MAX;
    while ((p = heap_first(&o->asleep)) != NULL && p->key <= now)
        settle(o, OWNER_OF(p, struct host, place), now);
    while (o->running < o->o.at_once && (p = heap_first(&o->ready)) != NULL)
        if (!start_first(o, OWNER_OF(p, struct host, place), now)) return OUT_OF_MEMORY_MS;
    p = heap_first(&o->asleep);
    return p != NULL ? p->key - now : UINT64_MAX;
}

void outbox_stop(struct outbox *o) {
    o->stopped = true;
}

size_t outbox_waiting(const struct outbox *o) {
    return o->items.count - o->running;
}

size_t outbox_running(const struct outbox *o) {
    return o->running;
}
