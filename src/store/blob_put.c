/* A put. Bytes wait in pieces; one job at a time takes a part of them to the disk.
 *
 *   OPEN      --(disk or memory fails: failed)-->  FAILED
 *   OPEN, FAILED --blob_put_finish-->  FINISHING --(the last job ends: done)--> gone
 *   OPEN, FAILED --blob_put_drop---->  DROPPED   --(its file is removed)-----> gone
 *
 * Held by one put: at most BLOB_PUT_HIGH_BYTES, the write that passed it, and less than two pieces of slack. */
#include "store/blob_inner.h"

#include <errno.h>
#include <stdlib.h>

#define PIECE_BYTES 65536U /* one read of the network */
#define JOB_PIECES 16
/* A job takes about half, so that the network fills one half while the disk takes the other. */
#define JOB_BYTES (BLOB_PUT_HIGH_BYTES / 2)
#define LOW_BYTES (BLOB_PUT_HIGH_BYTES / 2)

struct piece {
    struct piece *next;
    size_t len;
    char data[PIECE_BYTES];
};

enum put_state { PUT_OPEN, PUT_FAILED, PUT_FINISHING, PUT_DROPPED };

struct blob_put {
    struct blob_job job; /* first */
    struct blob_put *prev, *next;
    const struct blob_put_hooks *hooks;
    void *user;
    void (*done)(void *user, enum blob_status s, const struct blob_info *info);
    void *done_user;
    enum put_state state;
    bool busy; /* the job is given */
    bool paused;
    int err;
    struct piece *first, **last;
    size_t waiting; /* bytes, those that fly included */
    /* The job's own while busy: */
    bool commit;
    int job_err;
    struct piece *flying;
    struct disk_temp temp;
    struct net_defer tell;
    struct blob_info info;
    char id[STORE_ID_BYTES];
};

static void free_pieces(struct piece *x) {
    for (struct piece *next; x != NULL; x = next) {
        next = x->next;
        free(x);
    }
}

static void put_free(struct blob_put *p) {
    struct blobs *b = p->job.b;
    net_defer_cancel(b->loop, &p->tell);
    free_pieces(p->first);
    free_pieces(p->flying);
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        b->puts = p->next;
    if (p->next != NULL) p->next->prev = p->prev;
    free(p);
    blob_ended(b);
}

/* --- on the pool */

static int write_flying(struct blob_put *p) {
    struct iovec parts[JOB_PIECES];
    struct piece *x = p->flying;
    int err = disk_temp_open(&p->job.b->disk, &p->temp);
    while (x != NULL && err == 0) {
        int n = 0;
        for (; x != NULL && n < JOB_PIECES; x = x->next)
            parts[n++] = (struct iovec){.iov_base = x->data, .iov_len = x->len};
        err = disk_temp_write(&p->temp, parts, n);
    }
    return err;
}

static void put_run(struct blob_job *j) {
    struct blob_put *p = (struct blob_put *)j;
    struct disk *d = &j->b->disk;
    if (p->job_err == 0) p->job_err = write_flying(p);
    if (!p->commit) return;
    p->info.bytes = p->temp.bytes;
    if (p->job_err == 0)
        p->job_err = disk_temp_commit(d, &p->temp, p->id, p->info.sha256);
    else
        disk_temp_discard(d, &p->temp);
}

static void put_discard(struct blob_job *j) {
    struct blob_put *p = (struct blob_put *)j;
    disk_temp_discard(&j->b->disk, &p->temp);
}

/* --- on the loop */

/* All for the last job, else about half of the high water, and a piece that is not full only when it is alone: it takes the
 * next bytes. */
static void take_pieces(struct blob_put *p) {
    size_t bytes = 0;
    struct piece **end = &p->first;
    p->flying = p->first;
    while (*end != NULL && (p->commit || bytes < JOB_BYTES)) {
        if (!p->commit && bytes > 0 && (*end)->len < PIECE_BYTES) break;
        bytes += (*end)->len;
        end = &(*end)->next;
    }
    struct piece *rest = *end;
    *end = NULL;
    p->first = rest;
    if (rest == NULL) p->last = &p->first;
}

static void put_give(struct blob_put *p, void (*run)(struct blob_job *j)) {
    p->busy = true;
    p->job_err = p->err;
    p->job.run = run;
    blob_job_give(p->job.b, &p->job);
}

static void put_next(struct blob_put *p) {
    if (p->state == PUT_DROPPED && p->temp.fd < 0) {
        put_free(p);
    } else if (p->state == PUT_DROPPED) {
        put_give(p, put_discard);
    } else if (p->state == PUT_FINISHING || (p->state == PUT_OPEN && p->first != NULL)) {
        p->commit = p->state == PUT_FINISHING;
        take_pieces(p);
        put_give(p, put_run);
    }
}

static void put_fail(struct blob_put *p, int err) {
    p->state = PUT_FAILED;
    p->err = err;
    free_pieces(p->first);
    p->first = NULL;
    p->last = &p->first;
}

static void tell_failed(struct net_defer *d) {
    struct blob_put *p = (struct blob_put *)((char *)d - offsetof(struct blob_put, tell));
    p->hooks->failed(p->user, blob_status_of(p->err));
}

static void put_done(struct blob_put *p) {
    enum blob_status s = blob_status_of(p->err);
    p->done(p->done_user, s, s == BLOB_OK ? &p->info : NULL);
    put_free(p);
}

/* The hooks come last: the put may be dropped or finished in them. */
static void put_ended(struct blob_job *j) {
    struct blob_put *p = (struct blob_put *)j;
    bool failed = p->job_err != 0 && p->err == 0;
    p->busy = false;
    for (struct piece *x = p->flying; x != NULL; x = x->next) p->waiting -= x->len;
    free_pieces(p->flying);
    p->flying = NULL;
    if (failed) blob_note(j->b, "put", p->id, p->job_err);
    if (failed) p->err = p->job_err;
    if (p->state == PUT_FINISHING && p->commit) {
        put_done(p);
    } else if (failed && p->state == PUT_OPEN) {
        put_fail(p, p->job_err);
        tell_failed(&p->tell);
    } else {
        bool drained = p->state == PUT_OPEN && p->paused && p->waiting <= LOW_BYTES;
        if (drained) p->paused = false;
        put_next(p); /* frees a dropped one */
        if (drained) p->hooks->drained(p->user);
    }
}

/* --- the contract's */

struct blob_put *blob_put_begin(struct blobs *b, const char *id, const struct blob_put_hooks *hooks,
                                void *user) {
    struct blob_put *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->job = (struct blob_job){.b = b, .end = put_ended};
    p->hooks = hooks;
    p->user = user;
    p->last = &p->first;
    p->temp.fd = -1;
    p->tell.run = tell_failed;
    if (disk_id_ok(id))
        memcpy(p->id, id, strlen(id) + 1);
    else
        p->err = EINVAL; /* told by the first job */
    p->next = b->puts;
    if (b->puts != NULL) b->puts->prev = p;
    b->puts = p;
    b->active++;
    return p;
}

/* The last piece that waits takes what fits into it. */
static bool append(struct blob_put *p, struct piece **tail, struct slice *data) {
    struct piece *x = *tail;
    if (x == NULL || x->len == PIECE_BYTES) {
        x = malloc(sizeof *x);
        if (x == NULL) return false;
        x->next = NULL;
        x->len = 0;
        *p->last = x;
        p->last = &x->next;
        *tail = x;
    }
    size_t n = data->len < PIECE_BYTES - x->len ? data->len : PIECE_BYTES - x->len;
    memcpy(x->data + x->len, data->ptr, n);
    x->len += n;
    p->waiting += n;
    *data = slice_from(*data, n);
    return true;
}

static struct piece *last_piece(struct blob_put *p) {
    return p->first == NULL ? NULL
                            : (struct piece *)((char *)p->last - offsetof(struct piece, next));
}

bool blob_put_write(struct blob_put *p, struct slice data) {
    if (p->state != PUT_OPEN) return true; /* it was told, or is about to be */
    struct piece *tail = last_piece(p);
    while (data.len > 0) {
        if (append(p, &tail, &data)) continue;
        put_fail(p, ENOMEM);
        net_defer(p->job.b->loop, &p->tell);
        return true;
    }
    if (!p->busy) put_next(p);
    if (p->waiting > BLOB_PUT_HIGH_BYTES) p->paused = true;
    return !p->paused;
}

void blob_put_finish(struct blob_put *p,
                     void (*done)(void *user, enum blob_status s, const struct blob_info *info),
                     void *user) {
    net_defer_cancel(p->job.b->loop, &p->tell);
    p->state = PUT_FINISHING;
    p->done = done;
    p->done_user = user;
    if (!p->busy) put_next(p);
}

void blob_put_drop(struct blob_put *p) {
    if (p == NULL) return;
    net_defer_cancel(p->job.b->loop, &p->tell);
    put_fail(p, ECANCELED);
    p->state = PUT_DROPPED;
    if (!p->busy) put_next(p);
}

void blob_puts_drop(struct blobs *b) {
    for (struct blob_put *p = b->puts, *next; p != NULL; p = next) {
        next = p->next;
        if (p->state == PUT_OPEN || p->state == PUT_FAILED) blob_put_drop(p);
    }
}
