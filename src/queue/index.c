#include "queue/index.h"

#include <stdlib.h>

struct item *item_new(const char *id, struct slice endpoint) {
    if (endpoint.len > UINT16_MAX || strlen(id) >= STORE_ID_BYTES) return NULL;
    struct item *i = calloc(1, sizeof *i + endpoint.len);
    if (i == NULL) return NULL;
    i->shown = UINT32_MAX;
    i->endpoint_len = (uint16_t)endpoint.len;
    memcpy(i->id, id, strlen(id) + 1);
    if (endpoint.len > 0) memcpy(i->endpoint, endpoint.ptr, endpoint.len);
    return i;
}

/* --- by id */

#define FIRST_BUCKETS 1024U

static uint64_t hash(struct slice id) {
    uint64_t h = 0xcbf29ce484222325ULL;
    for (size_t k = 0; k < id.len; k++) h = (h ^ (unsigned char)id.ptr[k]) * 0x100000001b3ULL;
    return h ^ h >> 32;
}

static struct item **head_of(const struct table *t, struct slice id) {
    return &t->heads[hash(id) & (t->buckets - 1)];
}

bool table_init(struct table *t) {
    *t = (struct table){.heads = calloc(FIRST_BUCKETS, sizeof *t->heads), .buckets = FIRST_BUCKETS};
    return t->heads != NULL;
}

/* Without memory it stays as it is: chains get longer, nothing breaks. */
static void grow(struct table *t) {
    struct table larger = {.heads = calloc(t->buckets * 2, sizeof *t->heads),
                           .buckets = t->buckets * 2,
                           .count = t->count};
    if (larger.heads == NULL) return;
    for (size_t b = 0; b < t->buckets; b++) {
        for (struct item *i = t->heads[b], *next; i != NULL; i = next) {
            struct item **head = head_of(&larger, slice_of(i->id));
            next = i->same_hash;
            i->same_hash = *head;
            *head = i;
        }
    }
    free(t->heads);
    *t = larger;
}

void table_add(struct table *t, struct item *i) {
    if (t->count >= t->buckets) grow(t);
    struct item **head = head_of(t, slice_of(i->id));
    i->same_hash = *head;
    *head = i;
    t->count++;
}

struct item *table_find(const struct table *t, struct slice id) {
    for (struct item *i = *head_of(t, id); i != NULL; i = i->same_hash)
        if (slice_is(id, i->id)) return i;
    return NULL;
}

void table_remove(struct table *t, struct item *i) {
    struct item **link = head_of(t, slice_of(i->id));
    while (*link != NULL && *link != i) link = &(*link)->same_hash;
    if (*link == NULL) return;
    *link = i->same_hash;
    t->count--;
}

void table_free(struct table *t, void (*each)(struct item *i)) {
    for (size_t b = 0; t->heads != NULL && b < t->buckets; b++) {
        for (struct item *i = t->heads[b], *next; i != NULL; i = next) {
            next = i->same_hash;
            each(i);
        }
    }
    free(t->heads);
    *t = (struct table){0};
}

/* --- in order */

static bool before(struct place a, struct place b) {
    if (a.priority != b.priority) return a.priority < b.priority;
    return a.at != b.at ? a.at < b.at : a.born < b.born;
}

static struct item *item_of(const struct order *o, struct node *n) {
    return (struct item *)(void *)((char *)n - o->offset);
}

static struct node *node_of(const struct order *o, struct item *i) {
    return (struct node *)(void *)((char *)i + o->offset);
}

static struct place place_of(const struct order *o, const struct item *i) {
    if (!o->of_slots) return place_by_age(i);
    return (struct place){i->priority, i->tag, i->line->born};
}

static uint32_t count_of(const struct node *n) {
    return n != NULL ? n->count : 0;
}

static void recount(struct node *n) {
    n->count = count_of(n->left) + count_of(n->right) + 1;
}

static uint32_t draw(struct order *o) {
    o->seed ^= o->seed << 13;
    o->seed ^= o->seed >> 17;
    o->seed ^= o->seed << 5;
    return o->seed;
}

/* t becomes what comes before the place and what does not. */
static void split(struct order *o, struct node *t, struct place p, struct node **left,
                  struct node **right) {
    if (t == NULL) {
        *left = *right = NULL;
    } else if (before(place_of(o, item_of(o, t)), p)) {
        split(o, t->right, p, &t->right, right);
        *left = t;
        recount(t);
    } else {
        split(o, t->left, p, left, &t->left);
        *right = t;
        recount(t);
    }
}

void order_add(struct order *o, struct item *i) {
    struct node **link = &o->root, *n = node_of(o, i);
    struct place p = place_of(o, i);
    *n = (struct node){.weight = draw(o)};
    while (*link != NULL && (*link)->weight >= n->weight) {
        (*link)->count++;
        link = before(p, place_of(o, item_of(o, *link))) ? &(*link)->left : &(*link)->right;
    }
    split(o, *link, p, &n->left, &n->right);
    recount(n);
    *link = n;
}

/* What points at the node of i, all above it counted anew by `change`. */
static struct node **link_of(struct order *o, const struct item *i, const struct node *n,
                             uint32_t change) {
    struct node **link = &o->root;
    struct place p = place_of(o, i);
    while (*link != n) {
        (*link)->count += change;
        link = before(p, place_of(o, item_of(o, *link))) ? &(*link)->left : &(*link)->right;
    }
    return link;
}

void order_remove(struct order *o, struct item *i) {
    struct node *n = node_of(o, i), **link = link_of(o, i, n, UINT32_MAX); /* less one */
    struct node *left = n->left, *right = n->right;
    while (left != NULL && right != NULL) { /* the two, one behind the other */
        struct node *top = left->weight > right->weight ? left : right;
        top->count = left->count + right->count;
        *link = top;
        link = top == left ? &left->right : &right->left;
        if (top == left)
            left = *link;
        else
            right = *link;
    }
    *link = left != NULL ? left : right;
    n->left = n->right = NULL;
}

void order_hand_over(struct order *o, struct item *from, struct item *to) {
    struct node *old = node_of(o, from), *n = node_of(o, to);
    *link_of(o, from, old, 0) = n;
    *n = *old;
    to->tag = from->tag;
}

struct item *order_first(const struct order *o) {
    struct node *n = o->root;
    while (n != NULL && n->left != NULL) n = n->left;
    return n != NULL ? item_of(o, n) : NULL;
}

struct item *order_at(const struct order *o, size_t rank) {
    struct node *n = o->root;
    while (n != NULL && rank != count_of(n->left)) {
        bool left = rank < count_of(n->left);
        if (!left) rank -= count_of(n->left) + 1;
        n = left ? n->left : n->right;
    }
    return n != NULL ? item_of(o, n) : NULL;
}

struct item *order_find(const struct order *o, struct place p) {
    struct node *n = o->root;
    while (n != NULL) {
        struct place here = place_of(o, item_of(o, n));
        bool left = before(p, here);
        if (!left && !before(here, p)) return item_of(o, n);
        n = left ? n->left : n->right;
    }
    return NULL;
}

size_t order_count(const struct order *o) {
    return count_of(o->root);
}

uint32_t order_rank(const struct order *o, struct place p) {
    uint32_t rank = 0;
    for (struct node *n = o->root; n != NULL;) {
        bool left = !before(place_of(o, item_of(o, n)), p);
        if (!left) rank += count_of(n->left) + 1;
        n = left ? n->left : n->right;
    }
    return rank;
}

/* --- by deadline */

#define FIRST_DEADLINES 64U

static void put(struct deadlines *d, uint32_t at, struct item *i) {
    d->base[at] = i;
    i->deadline_at = at + 1;
}

static void rise(struct deadlines *d, uint32_t at, struct item *i) {
    while (at > 0 && d->base[(at - 1) / 2]->deadline_ms > i->deadline_ms) {
        put(d, at, d->base[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(d, at, i);
}

static void sink(struct deadlines *d, uint32_t at, struct item *i) {
    for (uint32_t child; (child = 2 * at + 1) < d->n; at = child) {
        if (child + 1 < d->n && d->base[child + 1]->deadline_ms < d->base[child]->deadline_ms)
            child++;
        if (d->base[child]->deadline_ms >= i->deadline_ms) break;
        put(d, at, d->base[child]);
    }
    put(d, at, i);
}

bool deadlines_add(struct deadlines *d, struct item *i) {
    if (d->n == d->room) {
        uint32_t room = d->room == 0 ? FIRST_DEADLINES : d->room * 2;
        struct item **base = realloc(d->base, room * sizeof *base);
        if (base == NULL) return false;
        d->base = base;
        d->room = room;
    }
    rise(d, d->n++, i);
    return true;
}

void deadlines_remove(struct deadlines *d, struct item *i) {
    if (i->deadline_at == 0) return;
    uint32_t at = i->deadline_at - 1;
    struct item *last = d->base[--d->n];
    i->deadline_at = 0;
    if (last == i) return;
    if (at > 0 && d->base[(at - 1) / 2]->deadline_ms > last->deadline_ms)
        rise(d, at, last);
    else
        sink(d, at, last);
}

struct item *deadlines_first(const struct deadlines *d) {
    return d->n > 0 ? d->base[0] : NULL;
}
