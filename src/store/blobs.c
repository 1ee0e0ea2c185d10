/* The directory backend's jobs and its operations but put. */
#include "store/blob_inner.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* --- jobs: first come, first served */

static void job_run(uv_work_t *work) {
    struct blob_job *j = work->data;
    j->run(j);
}

static void jobs_start(struct blobs *b);

static void job_ended(uv_work_t *work, int status) {
    (void)status; /* never cancelled */
    struct blob_job *j = work->data;
    struct blobs *b = j->b;
    b->running--;
    b->active++; /* b outlives what `end` frees */
    j->end(j);
    jobs_start(b);
    blob_ended(b);
}

static void jobs_start(struct blobs *b) {
    while (b->waiting != NULL && b->running < BLOB_JOBS_AT_ONCE) {
        struct blob_job *j = b->waiting;
        b->waiting = j->next;
        if (b->waiting == NULL) b->waiting_tail = &b->waiting;
        b->running++;
        j->work.data = j;
        uv_queue_work(&b->loop->uv, &j->work, job_run, job_ended);
    }
}

void blob_job_give(struct blobs *b, struct blob_job *j) {
    j->next = NULL;
    *b->waiting_tail = j;
    b->waiting_tail = &j->next;
    jobs_start(b);
}

/* --- what the disk said */

enum blob_status blob_status_of(int err) {
    switch (err) {
    case 0: return BLOB_OK;
    case ENOENT: return BLOB_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
    case E2BIG:
    case EFBIG: return BLOB_FULL;
    case ENOMEM: return BLOB_MEMORY;
    default: return BLOB_IO;
    }
}

void blob_note(struct blobs *b, const char *op, const char *id, int err) {
    char name[LOG_QUOTE_BYTES];
    if (err == 0 || err == ENOENT || err == E2BIG || !log_allow(&b->rate, 10)) return;
    const char *why = err == DISK_PLANTED ? "not a regular file"
                      : err == ELOOP      ? "a link, refused"
                                          : strerror(err);
    log_line(LOG_ERROR, "blob_failed", "op=%s id=%s reason=\"%s\"", op,
             log_quote(name, slice_of(id)), why);
}

/* --- open and close */

struct blobs *blobs_open_dir(struct net_loop *l, const char *path, char *reason, size_t size) {
    const char *what = "open";
    struct blobs *b = calloc(1, sizeof *b);
    int err = b != NULL && blob_reserve_fill(b) ? disk_start(&b->disk, path, &what) : ENOMEM;
    if (err != 0) {
        snprintf(reason, size, "cannot %s the folder of files, %s: %s", what, path, strerror(err));
        if (b != NULL) blob_reserve_free(b);
        free(b);
        return NULL;
    }
    b->loop = l;
    b->waiting_tail = &b->waiting;
    return b;
}

static void close_now(struct net_defer *d) {
    struct blobs *b = (struct blobs *)((char *)d - offsetof(struct blobs, close_later));
    void (*on_closed)(void *user) = b->on_closed;
    void *user = b->closed_user;
    disk_end(&b->disk);
    blob_reserve_free(b);
    free(b);
    if (on_closed != NULL) on_closed(user);
}

void blob_ended(struct blobs *b) {
    if (--b->active == 0 && b->closing) net_defer(b->loop, &b->close_later);
}

void blobs_close(struct blobs *b, void (*on_closed)(void *user), void *user) {
    b->active++;
    b->closing = true;
    b->on_closed = on_closed;
    b->closed_user = user;
    b->close_later.run = close_now;
    blob_puts_drop(b);
    blob_ended(b);
}

uint64_t blobs_free_bytes(struct blobs *b) {
    struct statvfs v;
    uint64_t now_ms = net_now_ms(b->loop);
    if (b->free_asked_ms != 0 && now_ms - b->free_asked_ms < 1000) return b->free_bytes;
    b->free_asked_ms = now_ms > 0 ? now_ms : 1;
    b->free_bytes = fstatvfs(b->disk.root, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize
                                                    : UINT64_MAX;
    return b->free_bytes;
}
