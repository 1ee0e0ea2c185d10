#include "api/files_quota.h"

#include <stdlib.h>

#define BUCKETS 256U

struct files_quota {
    uint64_t max_bytes, files, bytes;
    struct files_owner *buckets[BUCKETS];
};

struct files_quota *files_quota_new(uint64_t max_bytes) {
    struct files_quota *q = calloc(1, sizeof *q);
    if (q != NULL) q->max_bytes = max_bytes;
    return q;
}

void files_quota_free(struct files_quota *q) {
    if (q == NULL) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct files_owner *o = q->buckets[i], *next; o != NULL; o = next) {
            next = o->next;
            free(o);
        }
    }
    free(q);
}

/* FNV-1a; the names are the operator's. */
static size_t bucket_of(struct slice name) {
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < name.len; i++) h = (h ^ (unsigned char)name.ptr[i]) * 16777619U;
    return h % BUCKETS;
}

struct files_owner *files_owner(struct files_quota *q, struct slice name) {
    struct files_owner **bucket = &q->buckets[bucket_of(name)], *o;
    for (o = *bucket; o != NULL; o = o->next)
        if (slice_eq(files_owner_name(o), name)) return o;
    o = calloc(1, sizeof *o + name.len);
    if (o == NULL) return NULL;
    o->name_len = name.len;
    if (name.len > 0) memcpy(o->name, name.ptr, name.len);
    o->next = *bucket;
    *bucket = o;
    return o;
}

bool files_quota_take(struct files_quota *q, struct files_owner *o, uint64_t bytes) {
    bool full = q->max_bytes != 0 && (o->bytes > q->max_bytes || bytes > q->max_bytes - o->bytes);
    if (full && bytes > 0) return false;
    o->bytes += bytes;
    q->bytes += bytes;
    return true;
}

void files_quota_give(struct files_quota *q, struct files_owner *o, uint64_t bytes) {
    if (bytes > o->bytes) bytes = o->bytes;
    o->bytes -= bytes;
    q->bytes -= bytes;
}

void files_quota_count(struct files_quota *q, struct files_owner *o, int files) {
    uint64_t n = files > 0 ? 1 : o->files > 0 ? UINT64_MAX : 0; /* wraps: one less */
    o->files += n;
    q->files += n;
}

void files_quota_set(struct files_quota *q, struct files_owner *o, uint64_t files, uint64_t bytes) {
    q->files += files - o->files;
    q->bytes += bytes - o->bytes;
    o->files = files;
    o->bytes = bytes;
}

void files_quota_totals(const struct files_quota *q, uint64_t *files, uint64_t *bytes) {
    *files = q->files;
    *bytes = q->bytes;
}
