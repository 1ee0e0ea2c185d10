/* What each owner has stored. Loop's thread only. */
#ifndef ANYLLM_API_FILES_QUOTA_H
#define ANYLLM_API_FILES_QUOTA_H

#include "base/slice.h"

struct files_quota;

struct files_owner { /* stays where it is until files_quota_free */
    struct files_owner *next;
    uint64_t files,
        bytes;        /* rows of the store, whole or begun; bytes on the disk or promised room */
    size_t multipart; /* begun and not completed */
    size_t parts;     /* of these */
    uint64_t pending; /* rows of uploads in one piece, begun and not put */
    size_t name_len;
    char name[];
};

struct files_quota *files_quota_new(uint64_t max_bytes); /* 0: no limit. NULL when out of memory */
void files_quota_free(struct files_quota *q);
struct files_owner *files_owner(struct files_quota *q, struct slice name); /* NULL: no memory */
static inline struct slice files_owner_name(const struct files_owner *o) {
    return slice_make(o->name, o->name_len);
}
/* Room for so many bytes more; false: they are over the quota, nothing was taken. */
bool files_quota_take(struct files_quota *q, struct files_owner *o, uint64_t bytes);
void files_quota_give(struct files_quota *q, struct files_owner *o, uint64_t bytes);
/* A row more, or one less. */
void files_quota_count(struct files_quota *q, struct files_owner *o, int files);
/* As the store has it, at the start: what is over the limit by then stays. */
void files_quota_set(struct files_quota *q, struct files_owner *o, uint64_t files, uint64_t bytes);
void files_quota_totals(const struct files_quota *q, uint64_t *files, uint64_t *bytes);

#endif
