#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    alignas(16) char data[];
};

void arena_init(struct arena *a, size_t max_bytes) {
    *a = (struct arena){.max_bytes = max_bytes};
}

static void *grow(struct arena *a, size_t bytes) {
    size_t size = bytes > ARENA_CHUNK_BYTES / 4 ? bytes : ARENA_CHUNK_BYTES;
    if (size > a->max_bytes || a->used_bytes > a->max_bytes - size) {
        a->failed = true;
        return NULL;
    }
    struct arena_chunk *c = malloc(sizeof *c + size);
    if (c == NULL) {
        a->failed = true;
        return NULL;
    }
    c->size = size;
    a->used_bytes += size;
    if (size != ARENA_CHUNK_BYTES &&
        a->head != NULL) { /* goes behind: the newest keeps its free part */
        c->next = a->head->next;
        a->head->next = c;
        return c->data;
    }
    c->next = a->head;
    a->head = c;
    a->at = c->data + bytes;
    a->end = c->data + size;
    return c->data;
}

void *arena_alloc(struct arena *a, size_t bytes) {
    size_t need = (bytes + 15U) & ~(size_t)15U;
    if (need < bytes) {
        a->failed = true;
        return NULL;
    }
    if (need == 0) need = 16;
    if (need <= (size_t)(a->end - a->at)) {
        void *p = a->at;
        a->at += need;
        return p;
    }
    return grow(a, need);
}

void *arena_zalloc(struct arena *a, size_t bytes) {
    void *p = arena_alloc(a, bytes);
    if (p != NULL) memset(p, 0, bytes);
    return p;
}

char *arena_dup(struct arena *a, struct slice s) {
    char *p = arena_alloc(a, s.len + 1);
    if (p == NULL) return NULL;
    if (s.len > 0) memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

struct slice arena_copy(struct arena *a, struct slice s) {
    char *p = arena_dup(a, s);
    return p != NULL ? slice_make(p, s.len) : SLICE_NONE;
}

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p == NULL) return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

static struct arena_chunk *free_all_but_one_ordinary(struct arena *a) {
    struct arena_chunk *keep = NULL, *next;
    for (struct arena_chunk *c = a->head; c != NULL; c = next) {
        next = c->next;
        if (keep == NULL && c->size == ARENA_CHUNK_BYTES) {
            keep = c;
            continue;
        }
        free(c);
    }
    return keep;
}

void arena_reset(struct arena *a) {
    struct arena_chunk *keep = free_all_but_one_ordinary(a);
    size_t max = a->max_bytes;
    arena_init(a, max);
    if (keep == NULL) return;
    keep->next = NULL;
    a->head = keep;
    a->at = keep->data;
    a->end = keep->data + keep->size;
    a->used_bytes = keep->size;
}

void arena_free(struct arena *a) {
    free(free_all_but_one_ordinary(a));
    arena_init(a, a->max_bytes);
}
