#include "api/files_held.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BUCKETS 256U

struct held {
    struct held *next;          /* of its bucket */
    struct held *newer, *older; /* by last use */
    struct store_file row;      /* its texts lie behind it */
    int fd;
    char text[];
};

struct files_held {
    uint64_t age;
    size_t n;
    struct held *newest, *oldest;
    struct held *buckets[BUCKETS];
};

struct files_held *files_held_new(void) {
    return calloc(1, sizeof(struct files_held));
}

/* Ids are random: their first digits will do. */
static struct held **bucket_of(struct files_held *h, struct slice id) {
    size_t n = 0;
    for (size_t i = 0; i < 4 && i < id.len; i++) n = n * 16 + (unsigned char)id.ptr[i] % 16;
    return &h->buckets[n % BUCKETS];
}

static struct held **place_of(struct files_held *h, struct slice id) {
    struct held **p = bucket_of(h, id);
    while (*p != NULL && !slice_is(id, (*p)->row.id)) p = &(*p)->next;
    return p;
}

static void take_out(struct files_held *h, struct held *x) {
    *(x->newer != NULL ? &x->newer->older : &h->newest) = x->older;
    *(x->older != NULL ? &x->older->newer : &h->oldest) = x->newer;
}

static void put_in(struct files_held *h, struct held *x) {
    x->newer = NULL;
    x->older = h->newest;
    *(h->newest != NULL ? &h->newest->newer : &h->oldest) = x;
    h->newest = x;
}

static void let_go(struct files_held *h, struct slice id) {
    struct held **place = place_of(h, id), *x = *place;
    if (x == NULL) return;
    *place = x->next;
    take_out(h, x);
    h->n--;
    close(x->fd);
    free(x);
}

void files_held_free(struct files_held *h) {
    if (h == NULL) return;
    while (h->newest != NULL) let_go(h, slice_of(h->newest->row.id));
    free(h);
}

const struct store_file *files_held_find(struct files_held *h, struct slice id, int *fd) {
    struct held *x = *place_of(h, id);
    if (x == NULL) return NULL;
    take_out(h, x);
    put_in(h, x);
    *fd = x->fd;
    return &x->row;
}

uint64_t files_held_age(const struct files_held *h) {
    return h->age;
}

void files_held_changed(struct files_held *h, struct slice id) {
    h->age++;
    let_go(h, id);
}

static struct slice keep(char **to, struct slice text) {
    struct slice kept = slice_make(*to, text.len);
    if (text.len > 0) memcpy(*to, text.ptr, text.len);
    *to += text.len;
    return kept;
}

void files_held_add(struct files_held *h, uint64_t age, const struct store_file *row, int fd) {
    size_t bytes = row->owner.len + row->name.len + row->content_type.len + row->acl.len;
    struct slice id = slice_of(row->id);
    if (age != h->age || *place_of(h, id) != NULL) return;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct held *x = own >= 0 ? calloc(1, sizeof *x + bytes) : NULL;
    if (x == NULL) {
        if (own >= 0) close(own);
        return;
    }
    if (h->n == FILES_HELD_MAX) let_go(h, slice_of(h->oldest->row.id));
    char *to = x->text;
    x->row = *row;
    x->row.owner = keep(&to, row->owner);
    x->row.name = keep(&to, row->name);
    x->row.content_type = keep(&to, row->content_type);
    x->row.acl = keep(&to, row->acl);
    x->fd = own;
    struct held **bucket = bucket_of(h, id);
    x->next = *bucket;
    *bucket = x;
    put_in(h, x);
    h->n++;
}
