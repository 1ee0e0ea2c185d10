/* Join, get, read, delete and list: each an operation that is one job after the other until it has its answer. */
#include "store/blob_inner.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A join gives its thread back after so much, so that a large one does not keep small ones waiting. */
#define JOIN_STEP_BYTES (16U << 20)
#define COPY_BYTES (128U << 10)
#define PAGE_IDS 256U
#define BLOB_PREFIX_BYTES 256U

struct join {
    size_t nparts, at;
    int from; /* the part that is being read, -1: none */
    struct disk_temp temp;
    struct blob_info info;
    char ids[][STORE_ID_BYTES];
};

struct list {
    DIR *root, *folder;
    size_t n;
    bool last;
    char ids[PAGE_IDS][STORE_ID_BYTES];
};

struct blob_op {
    struct blob_job job; /* first */
    struct blob_op *next_reserved;
    bool reserved;
    bool again; /* the job has not ended the operation */
    int err;
    const char *name;
    char id[STORE_ID_BYTES];
    struct net_defer later;
    void *user;
    void (*answer)(struct blob_op *o, enum blob_status s);
    union {
        void (*info)(void *user, enum blob_status s, const struct blob_info *info);
        void (*fd)(void *user, enum blob_status s, int fd, uint64_t bytes);
        void (*data)(void *user, enum blob_status s, struct slice data);
        void (*text)(void *user, enum blob_status s, char *text, size_t len);
        void (*status)(void *user, enum blob_status s);
        void (*page)(void *user, const char *const *ids, size_t n, bool last);
    } done;
    int fd;
    uint64_t bytes;
    size_t max, len;
    char *data; /* what was read */
    char prefix[BLOB_PREFIX_BYTES];
    struct join *join;
    struct list *list;
};

/* --- operations */

bool blob_reserve_fill(struct blobs *b) {
    for (unsigned i = 0; i < BLOB_RESERVE; i++) {
        struct blob_op *o = calloc(1, sizeof *o);
        if (o == NULL) return false;
        o->next_reserved = b->reserve;
        b->reserve = o;
    }
    return true;
}

void blob_reserve_free(struct blobs *b) {
    for (struct blob_op *o = b->reserve, *next; o != NULL; o = next) {
        next = o->next_reserved;
        free(o);
    }
}

static void op_free(struct blob_op *o) {
    struct blobs *b = o->job.b;
    free(o->data);
    free(o->join);
    free(o->list);
    if (o->reserved) {
        o->next_reserved = b->reserve;
        b->reserve = o;
    } else {
        free(o);
    }
    blob_ended(b);
}

static void op_ended(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    if (o->again) {
        blob_job_give(j->b, j);
        return;
    }
    blob_note(j->b, o->name, o->id, o->err);
    o->answer(o, blob_status_of(o->err));
    op_free(o);
}

/* Eight operations without memory, unanswered at once: such a process cannot go on; what it promised is on the disk. */
static struct blob_op *op_reserved(struct blobs *b) {
    struct blob_op *o = b->reserve;
    if (o == NULL) {
        log_line(LOG_ERROR, "out_of_memory", "room=blobs");
        abort();
    }
    b->reserve = o->next_reserved;
    memset(o, 0, sizeof *o);
    o->reserved = true;
    return o;
}

static struct blob_op *op_new(struct blobs *b, const char *name, const char *id,
                              void (*run)(struct blob_job *j),
                              void (*answer)(struct blob_op *o, enum blob_status s)) {
    struct blob_op *o = calloc(1, sizeof *o);
    if (o == NULL) o = op_reserved(b);
    o->job = (struct blob_job){.b = b, .run = run, .end = op_ended};
    o->name = name;
    o->answer = answer;
    o->fd = -1;
    if (id != NULL && disk_id_ok(id))
        memcpy(o->id, id, strlen(id) + 1);
    else if (id != NULL)
        o->err = ENOENT;
    b->active++;
    return o;
}

static void op_answer_later(struct net_defer *d) {
    struct blob_op *o = (struct blob_op *)((char *)d - offsetof(struct blob_op, later));
    o->job.end(&o->job);
}

static void op_give(struct blob_op *o) {
    if (o->err == 0) {
        blob_job_give(o->job.b, &o->job);
    } else {
        o->later.run = op_answer_later;
        net_defer(o->job.b->loop, &o->later);
    }
}

/* --- get */

static void get_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    o->err = disk_open(&j->b->disk, o->id, &o->fd, &o->bytes);
}

static void get_answer(struct blob_op *o, enum blob_status s) {
    o->done.fd(o->user, s, o->fd, o->bytes);
}

void blob_get(struct blobs *b, const char *id,
              void (*done)(void *user, enum blob_status s, int fd, uint64_t bytes), void *user) {
    struct blob_op *o = op_new(b, "get", id, get_run, get_answer);
    o->done.fd = done;
    o->user = user;
    op_give(o);
}

/* --- read */

static int read_all(int fd, char *out, size_t len) {
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, out + got, len - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return EIO; /* shorter than it said */
        got += (size_t)n;
    }
    return 0;
}

static void read_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    o->err = disk_open(&j->b->disk, o->id, &o->fd, &o->bytes);
    if (o->err != 0) return;
    if (o->bytes > o->max)
        o->err = E2BIG; /* the caller's limit */
    else if ((o->data = malloc((size_t)o->bytes + 1)) == NULL)
        o->err = ENOMEM;
    else
        o->err = read_all(o->fd, o->data, (size_t)o->bytes);
    close(o->fd);
}

static void read_answer(struct blob_op *o, enum blob_status s) {
    o->done.data(o->user, s, s == BLOB_OK ? slice_make(o->data, (size_t)o->bytes) : SLICE_NONE);
}

void blob_read(struct blobs *b, const char *id, size_t max,
               void (*done)(void *user, enum blob_status s, struct slice data), void *user) {
    struct blob_op *o = op_new(b, "read", id, read_run, read_answer);
    o->done.data = done;
    o->user = user;
    o->max = max;
    op_give(o);
}

/* --- read as base64: piece by piece, so that the bytes are never there twice */

#define ENCODE_BYTES 24576U /* of a piece: a multiple of 3, so that only the last one is padded */

static int encode(struct blob_op *o) {
    unsigned char piece[ENCODE_BYTES];
    size_t prefix = strlen(o->prefix);
    memcpy(o->data, o->prefix, prefix);
    o->len = prefix;
    for (uint64_t left = o->bytes; left > 0;) {
        size_t n = left < sizeof piece ? (size_t)left : sizeof piece;
        int err = read_all(o->fd, (char *)piece, n);
        if (err != 0) return err;
        o->len += (size_t)EVP_EncodeBlock((unsigned char *)o->data + o->len, piece, (int)n);
        left -= n;
    }
    return 0;
}

static void encode_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    o->err = disk_open(&j->b->disk, o->id, &o->fd, &o->bytes);
    if (o->err != 0) return;
    if (o->bytes > o->max)
        o->err = E2BIG;
    else if ((o->data = malloc(sizeof o->prefix + (size_t)(o->bytes + 2) / 3 * 4 + 1)) == NULL)
        o->err = ENOMEM;
    else
        o->err = encode(o);
    close(o->fd);
}

static void encode_answer(struct blob_op *o, enum blob_status s) {
    char *text = s == BLOB_OK ? o->data : NULL;
    if (s == BLOB_OK) o->data = NULL;
    o->done.text(o->user, s, text, text != NULL ? o->len : 0);
}

void blob_read_base64(struct blobs *b, const char *id, size_t max, struct slice prefix,
                      void (*done)(void *user, enum blob_status s, char *text, size_t len),
                      void *user) {
    struct blob_op *o = op_new(b, "read", id, encode_run, encode_answer);
    o->done.text = done;
    o->user = user;
    o->max = max;
    if (prefix.len < sizeof o->prefix)
        memcpy(o->prefix, prefix.ptr, prefix.len);
    else
        o->err = EINVAL;
    op_give(o);
}

/* --- delete */

static void delete_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    o->err = disk_remove(&j->b->disk, o->id);
}

static void delete_answer(struct blob_op *o, enum blob_status s) {
    if (o->done.status != NULL) o->done.status(o->user, s);
}

void blob_delete(struct blobs *b, const char *id, void (*done)(void *user, enum blob_status s),
                 void *user) {
    struct blob_op *o = op_new(b, "delete", id, delete_run, delete_answer);
    o->done.status = done;
    o->user = user;
    op_give(o);
}

/* --- join
 * The bytes are read once, to be hashed; they go the way of a put's. The parts stay until the whole is durable. */

static int join_step(struct disk *d, struct join *x, char *copy) {
    int err = disk_temp_open(d, &x->temp);
    uint64_t unused, until = x->temp.bytes + JOIN_STEP_BYTES;
    while (err == 0 && x->at < x->nparts && x->temp.bytes < until) {
        if (x->from < 0) err = disk_open(d, x->ids[x->at], &x->from, &unused);
        if (err != 0) break;
        ssize_t n = read(x->from, copy, COPY_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            err = errno;
        } else if (n > 0) {
            struct iovec part = {.iov_base = copy, .iov_len = (size_t)n};
            err = disk_temp_write(&x->temp, &part, 1);
        } else {
            close(x->from);
            x->from = -1;
            x->at++;
        }
    }
    return err;
}

static int join_end(struct disk *d, struct blob_op *o) {
    struct join *x = o->join;
    x->info.bytes = x->temp.bytes;
    int err = disk_temp_commit(d, &x->temp, o->id, x->info.sha256);
    for (size_t i = 0; i < x->nparts && err == 0; i++)
        if (strcmp(x->ids[i], o->id) != 0) disk_remove(d, x->ids[i]);
    return err;
}

static void join_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    struct join *x = o->join;
    char *copy = malloc(COPY_BYTES);
    o->err = copy != NULL ? join_step(&j->b->disk, x, copy) : ENOMEM;
    free(copy);
    o->again = o->err == 0 && x->at < x->nparts;
    if (o->again) return;
    if (o->err == 0) o->err = join_end(&j->b->disk, o);
    disk_temp_discard(&j->b->disk, &x->temp);
    if (x->from >= 0) close(x->from);
}

static void join_answer(struct blob_op *o, enum blob_status s) {
    o->done.info(o->user, s, s == BLOB_OK ? &o->join->info : NULL);
}

static struct join *join_new(const char *const *parts, size_t nparts, int *err) {
    struct join *x = calloc(1, sizeof *x + nparts * sizeof x->ids[0]);
    if (x == NULL) {
        *err = ENOMEM;
        return NULL;
    }
    x->nparts = nparts;
    x->from = x->temp.fd = -1;
    for (size_t i = 0; i < nparts; i++) {
        if (disk_id_ok(parts[i]))
            memcpy(x->ids[i], parts[i], strlen(parts[i]) + 1);
        else
            *err = ENOENT;
    }
    return x;
}

void blob_join(struct blobs *b, const char *id, const char *const *parts, size_t nparts,
               void (*done)(void *user, enum blob_status s, const struct blob_info *info),
               void *user) {
    struct blob_op *o = op_new(b, "join", id, join_run, join_answer);
    o->done.info = done;
    o->user = user;
    o->join = join_new(parts, nparts, &o->err);
    op_give(o);
}

/* --- list
 * One page per job. A folder that cannot be read is noted and left out. */

static void take_id(struct list *x, const char *id) {
    if (disk_id_ok(id)) memcpy(x->ids[x->n++], id, strlen(id) + 1);
}

/* The next folder of ids: every name of one or two characters but "." and "..". */
static bool next_folder(struct disk *d, struct list *x, int *err) {
    struct dirent *e;
    while ((e = readdir(x->root)) != NULL) {
        int fd;
        if (strlen(e->d_name) > 2 || !disk_id_ok(e->d_name)) continue;
        int failed = disk_folder(d, e->d_name, &fd);
        if (failed == 0 && (x->folder = fdopendir(fd)) != NULL) return true;
        if (failed == 0) close(fd);
        *err = failed != 0 ? failed : ENOMEM;
    }
    return false;
}

static void list_run(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    struct list *x = o->list;
    struct dirent *e;
    int fd;
    o->again = false;
    x->n = 0;
    if (x->root == NULL) {
        o->err = disk_folder(&j->b->disk, ".", &fd);
        if (o->err == 0 && (x->root = fdopendir(fd)) == NULL) o->err = ENOMEM;
    }
    while (x->root != NULL && x->n < PAGE_IDS) {
        if (x->folder == NULL && !next_folder(&j->b->disk, x, &o->err)) {
            closedir(x->root);
            x->root = NULL;
        } else if ((e = readdir(x->folder)) != NULL) {
            take_id(x, e->d_name);
        } else {
            closedir(x->folder);
            x->folder = NULL;
        }
    }
    x->last = x->root == NULL;
}

static void list_ended(struct blob_job *j) {
    struct blob_op *o = (struct blob_op *)j;
    struct list *x = o->list;
    const char *ids[PAGE_IDS];
    blob_note(j->b, "list", "", o->err);
    o->err = 0;
    for (size_t i = 0; x != NULL && i < x->n; i++) ids[i] = x->ids[i];
    bool last = x == NULL || x->last;
    o->done.page(o->user, ids, x != NULL ? x->n : 0, last);
    if (last)
        op_free(o);
    else
        blob_job_give(j->b, j);
}

void blob_list(struct blobs *b,
               void (*page)(void *user, const char *const *ids, size_t n, bool last), void *user) {
    struct blob_op *o = op_new(b, "list", NULL, list_run, NULL);
    o->done.page = page;
    o->user = user;
    o->job.end = list_ended;
    o->list = calloc(1, sizeof *o->list);
    if (o->list == NULL) o->err = ENOMEM;
    op_give(o);
}
