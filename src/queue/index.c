#include "queue/index.h"

#include <stdlib.h>

struct item *item_new(const char *id, struct slice endpoint, struct slice owner) {
    if (endpoint.len > UINT16_MAX || owner.len > UINT16_MAX || strlen(id) >= STORE_ID_BYTES)
        return NULL;
    struct item *i = calloc(1, sizeof *i + endpoint.len + owner.len);
    if (i == NULL) return NULL;
    i->shown = UINT32_MAX;
    i->endpoint_len = (uint16_t)endpoint.len;
    i->owner_len = (uint16_t)owner.len;
    memcpy(i->id, id, strlen(id) + 1);
    if (endpoint.len > 0) memcpy(i->text, endpoint.ptr, endpoint.len);
    if (owner.len > 0) memcpy(i->text + endpoint.len, owner.ptr, owner.len);
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

static bool before(const struct item *a, const struct item *b) {
    if (a->started != b->started) return a->started;
    if (a->priority != b->priority) return a->priority < b->priority;
    return a->seq < b->seq;
}

static uint32_t count_of(const struct item *i) {
    return i != NULL ? i->count : 0;
}

static void recount(struct item *i) {
    i->count = count_of(i->left) + count_of(i->right) + 1;
}

static void put_in_place_of(struct order *o, struct item *old, struct item *i) {
    struct item *parent = old->parent;
    if (parent == NULL)
        o->root = i;
    else if (parent->left == old)
        parent->left = i;
    else
        parent->right = i;
    if (i != NULL) i->parent = parent;
}

/* i takes its parent's place; the order stays. */
static void rotate_up(struct order *o, struct item *i) {
    struct item *parent = i->parent;
    put_in_place_of(o, parent, i);
    if (parent->left == i) {
        parent->left = i->right;
        if (i->right != NULL) i->right->parent = parent;
        i->right = parent;
    } else {
        parent->right = i->left;
        if (i->left != NULL) i->left->parent = parent;
        i->left = parent;
    }
    parent->parent = i;
    recount(parent);
    recount(i);
}

static uint32_t draw(struct order *o) {
    o->seed ^= o->seed << 13;
    o->seed ^= o->seed >> 17;
    o->seed ^= o->seed << 5;
    return o->seed;
}

void order_add(struct order *o, struct item *i) {
    struct item **link = &o->root, *parent = NULL;
    i->left = i->right = NULL;
    i->count = 1;
    i->weight = draw(o);
    while (*link != NULL) {
        parent = *link;
        parent->count++;
        link = before(i, parent) ? &parent->left : &parent->right;
    }
    *link = i;
    i->parent = parent;
    while (i->parent != NULL && i->weight > i->parent->weight) rotate_up(o, i);
}

void order_remove(struct order *o, struct item *i) {
    while (i->left != NULL && i->right != NULL)
        rotate_up(o, i->left->weight > i->right->weight ? i->left : i->right);
    struct item *parent = i->parent;
    put_in_place_of(o, i, i->left != NULL ? i->left : i->right);
    for (; parent != NULL; parent = parent->parent) parent->count--;
    i->left = i->right = i->parent = NULL;
}

struct item *order_first(const struct order *o) {
    struct item *i = o->root;
    while (i != NULL && i->left != NULL) i = i->left;
    return i;
}

size_t order_count(const struct order *o) {
    return count_of(o->root);
}

uint32_t order_rank(const struct item *i) {
    uint32_t rank = count_of(i->left);
    for (; i->parent != NULL; i = i->parent)
        if (i->parent->right == i) rank += count_of(i->parent->left) + 1;
    return rank;
}
