/* The insides of the directory backend. Under the root: tmp/NUMBER while a blob is being written, XX/ID when it is whole, where
 * XX is the first two characters of the id. Both lie on one file system, so rename decides; folders of ids are never removed.
 *
 * disk_… run on the pool's threads and answer 0 or an errno; everything else runs on the loop's. */
#ifndef ANYLLM_STORE_BLOB_INNER_H
#define ANYLLM_STORE_BLOB_INNER_H

#include "base/log.h"
#include "store/blobs.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <sys/uio.h>

/* --- the disk */

#define SHARD_CHARS 94U /* visible ASCII: '!' to '~' */
#define SHARDS (SHARD_CHARS * (SHARD_CHARS + 1U))

struct disk {
    int root, tmp;
    EVP_MD *sha256;
    atomic_uint_fast64_t next_temp;
    uv_mutex_t lock; /* of durable */
    /* Folders of ids whose own entry is known to be on the disk: their making costs an fsync of the root once a process. */
    uint64_t durable[(SHARDS + 63) / 64];
};

/* A blob in the making. Zero it but for fd = -1. */
struct disk_temp {
    int fd;
    uint64_t number;
    EVP_MD_CTX *sha;
    uint64_t bytes, started; /* written; of these given to the disk already */
};

/* What is not a regular file under an id was planted there. */
#define DISK_PLANTED EMEDIUMTYPE

bool disk_id_ok(const char *id);
/* 0 and the folders open, what was left in tmp removed; else an errno and what failed. */
int disk_start(struct disk *d, const char *path, const char **what);
void disk_end(struct disk *d);
int disk_temp_open(struct disk *d, struct disk_temp *t);              /* no-op when it is open */
int disk_temp_write(struct disk_temp *t, struct iovec *parts, int n); /* spoils parts */
/* fsync, rename to id, fsync of the folder. Open it is no more, whatever the answer; on error nothing is left. */
int disk_temp_commit(struct disk *d, struct disk_temp *t, const char *id, unsigned char *sha256);
void disk_temp_discard(struct disk *d, struct disk_temp *t); /* fine when not open */
int disk_open(struct disk *d, const char *id, int *fd, uint64_t *bytes);
int disk_remove(struct disk *d, const char *id);
/* An own descriptor of a folder under the root. */
int disk_folder(struct disk *d, const char *name, int *fd);

/* --- jobs */

/* One turn on the pool. `run` there, then `end` on the loop's thread, which may give the job again or free it. */
struct blob_job {
    uv_work_t work;
    struct blobs *b;
    struct blob_job *next; /* while it waits for a thread */
    void (*run)(struct blob_job *j);
    void (*end)(struct blob_job *j);
};

/* libuv's pool has four threads, and names are looked up on it too: a disk that hangs must not take them all. */
#define BLOB_JOBS_AT_ONCE 3U

void blob_job_give(struct blobs *b, struct blob_job *j);

#define BLOB_RESERVE 8U

struct blobs {
    struct disk disk;
    struct net_loop *loop;
    struct blob_job *waiting, **waiting_tail;
    unsigned running;
    size_t active; /* puts and operations that have not ended */
    struct blob_put *puts;
    struct blob_op *reserve; /* for when there is no memory to say so */
    uint64_t free_bytes, free_asked_ms;
    struct log_rate rate;
    bool closing;
    void (*on_closed)(void *user);
    void *closed_user;
    struct net_defer close_later;
};

enum blob_status blob_status_of(int err);
/* One line for the operator when it is one for him; `err` 0 and not found are not. */
void blob_note(struct blobs *b, const char *op, const char *id, int err);
void blob_ended(struct blobs *b); /* one of active */
void blob_puts_drop(struct blobs *b);
bool blob_reserve_fill(struct blobs *b);
void blob_reserve_free(struct blobs *b);

#endif
