#include "store/power_platter.h"

#include "store/power_calls.h"
#include "store/power_draw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_NODES 4096U
#define MAX_NAMES 4096U

struct bytes {
    unsigned char *p;
    size_t len, cap;
};

struct list {
    const struct call **calls;
    size_t n, cap;
};

struct node {
    struct bytes synced;
    struct list pending;
};

struct name {
    const char *text; /* of the record */
    unsigned node;    /* NO_NODE: a folder */
};
#define NO_NODE UINT32_MAX

struct names {
    struct name at[MAX_NAMES];
    size_t n;
};

struct platter {
    size_t taken;
    struct node nodes[MAX_NODES];
    unsigned nnodes;
    struct names synced;
    struct list names; /* pending */
};

static void give_up(const char *what) {
    fprintf(stderr, "power_platter: %s: %s\n", what, strerror(errno));
    abort();
}

/* --- bytes */

static void resize(struct bytes *b, size_t len) {
    if (len > b->cap) {
        size_t cap = len > 2 * b->cap ? len : 2 * b->cap;
        b->p = realloc(b->p, cap);
        if (b->p == NULL) give_up("memory");
        b->cap = cap;
    }
    if (len > b->len) memset(b->p + b->len, 0, len - b->len);
    b->len = len;
}

static void put(struct bytes *b, size_t at, const unsigned char *p, size_t len) {
    if (at + len > b->len) resize(b, at + len);
    memcpy(b->p + at, p, len);
}

static void apply(struct bytes *b, const struct call *c) {
    if (c->kind == CALL_WRITE)
        put(b, (size_t)c->at, c->bytes, c->len);
    else
        resize(b, (size_t)c->at);
}

/* --- lists */

static void add(struct list *l, const struct call *c) {
    if (l->n == l->cap) {
        l->cap = l->cap > 0 ? 2 * l->cap : 16;
        l->calls = realloc(l->calls, l->cap * sizeof(struct call *));
        if (l->calls == NULL) give_up("memory");
    }
    l->calls[l->n++] = c;
}

/* --- names */

static size_t find(const struct names *s, const char *text) {
    size_t i = 0;
    while (i < s->n && strcmp(s->at[i].text, text) != 0) i++;
    return i;
}

static void set(struct names *s, const char *text, unsigned node) {
    size_t i = find(s, text);
    if (i == MAX_NAMES) give_up("too many names");
    if (i == s->n) s->n++;
    s->at[i] = (struct name){text, node};
}

static void unset(struct names *s, const char *text) {
    size_t i = find(s, text);
    if (i < s->n) s->at[i] = s->at[--s->n];
}

static void apply_name(struct names *s, const struct call *c) {
    switch (c->kind) {
    case CALL_LINK:
    case CALL_MKDIR: set(s, c->name, c->node); break;
    case CALL_UNLINK: unset(s, c->name); break;
    case CALL_RENAME:
        unset(s, c->name);
        set(s, c->to, c->node);
        break;
    default: break;
    }
}

/* Whether `name` stands in this folder. */
static bool stands_in(const char *name, const char *folder) {
    size_t n = strlen(folder);
    if (n > 0 && (strncmp(name, folder, n) != 0 || name[n] != '/')) return false;
    return strchr(name + n + (n > 0), '/') == NULL;
}

static void sync_names(struct platter *p, const char *folder) {
    size_t left = 0;
    for (size_t i = 0; i < p->names.n; i++) {
        const struct call *c = p->names.calls[i];
        if (stands_in(c->kind == CALL_RENAME ? c->to : c->name, folder))
            apply_name(&p->synced, c);
        else
            p->names.calls[left++] = c;
    }
    p->names.n = left;
}

/* --- what a cut leaves of what was not synced */

/* How much of it: nothing, all, or each piece for itself in so many of a hundred cases. */
struct luck {
    unsigned percent;
    size_t sector;
    bool noise;
};

static struct luck draw_luck(uint64_t *seed) {
    static const unsigned percents[] = {0, 100, 10, 50, 50, 90};
    return (struct luck){.percent = percents[draw_below(seed, 6)],
                         .sector = draw_percent(seed, 50) ? 512 : 4096,
                         .noise = draw_percent(seed, 30)};
}

static void grow(struct bytes *b, size_t len, const struct luck *l, uint64_t *seed) {
    size_t was = b->len;
    if (len <= was) return;
    resize(b, len);
    for (size_t i = was; l->noise && i < len; i++) b->p[i] = (unsigned char)draw(seed);
}

static void tear(struct bytes *b, const struct call *c, const struct luck *l, uint64_t *seed) {
    size_t at = (size_t)c->at, end = at + c->len;
    while (at < end) {
        size_t next = (at / l->sector + 1) * l->sector;
        if (next > end) next = end;
        if (draw_percent(seed, l->percent)) {
            grow(b, at, l, seed);
            put(b, at, c->bytes + (at - (size_t)c->at), next - at);
        } else if (draw_percent(seed, l->percent / 2)) {
            grow(b, next, l, seed); /* the size came, the bytes did not */
        }
        at = next;
    }
}

static void leave(struct bytes *b, const struct list *pending, const struct luck *l,
                  uint64_t *seed) {
    for (size_t i = 0; i < pending->n; i++) {
        const struct call *c = pending->calls[i];
        if (c->kind == CALL_WRITE)
            tear(b, c, l, seed);
        else if (draw_percent(seed, l->percent))
            apply(b, c);
    }
}

/* --- the record */

static void take(struct platter *p, const struct call *c) {
    struct node *n = c->node != NO_NODE ? &p->nodes[c->node] : NULL;
    if (n != NULL && c->node >= MAX_NODES) give_up("too many files");
    if (n != NULL && c->node >= p->nnodes) p->nnodes = c->node + 1;
    switch (c->kind) {
    case CALL_WRITE:
    case CALL_TRUNCATE: add(&n->pending, c); break;
    case CALL_SYNC:
        for (size_t i = 0; i < n->pending.n; i++) apply(&n->synced, n->pending.calls[i]);
        n->pending.n = 0;
        break;
    case CALL_SYNC_FAILED: n->pending.n = 0; break;
    case CALL_SYNC_FOLDER: sync_names(p, c->name); break;
    default: add(&p->names, c);
    }
}

struct platter *platter_new(void) {
    struct platter *p = calloc(1, sizeof *p);
    if (p == NULL) give_up("memory");
    return p;
}

void platter_free(struct platter *p) {
    for (unsigned i = 0; i < p->nnodes; i++) {
        free(p->nodes[i].synced.p);
        free(p->nodes[i].pending.calls);
    }
    free(p->names.calls);
    free(p);
}

void platter_advance(struct platter *p, size_t to) {
    for (; p->taken < to; p->taken++) take(p, record_get(p->taken));
}

size_t platter_unsynced(const struct platter *p) {
    size_t n = p->names.n;
    for (unsigned i = 0; i < p->nnodes; i++) n += p->nodes[i].pending.n;
    return n;
}

/* --- the folder */

static void write_file(const char *path, const struct bytes *b) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) give_up(path);
    for (size_t at = 0; at < b->len;) {
        ssize_t n = write(fd, b->p + at, b->len - at);
        if (n <= 0) give_up(path);
        at += (size_t)n;
    }
    close(fd);
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* A name whose folder is not there is lost with it. Folders come before what stands in them, in order of names. */
static void write_name(const struct platter *p, const char *folder, const struct name *name,
                       uint64_t *seed) {
    char path[512];
    struct bytes b = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name->text);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    bool lost = access(path, F_OK) != 0;
    *slash = '/';
    if (lost) return;
    if (name->node == NO_NODE) {
        if (mkdir(path, 0700) != 0) give_up(path);
        return;
    }
    const struct node *n = &p->nodes[name->node];
    struct luck l = draw_luck(seed);
    resize(&b, n->synced.len);
    if (b.len > 0) memcpy(b.p, n->synced.p, b.len);
    leave(&b, &n->pending, &l, seed);
    write_file(path, &b);
    free(b.p);
}

void platter_build(const struct platter *p, const char *folder, uint64_t seed) {
    struct names *s = malloc(sizeof *s);
    if (s == NULL) give_up("memory");
    *s = p->synced;
    struct luck l = draw_luck(&seed);
    for (size_t i = 0; i < p->names.n; i++)
        if (draw_percent(&seed, l.percent)) apply_name(s, p->names.calls[i]);
    qsort(s->at, s->n, sizeof s->at[0], by_text);
    for (size_t i = 0; i < s->n; i++) write_name(p, folder, &s->at[i], &seed);
    free(s);
}
