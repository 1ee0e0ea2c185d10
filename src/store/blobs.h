/* The blobs' contract: bytes under ids, behind which a directory stands (S3 later). What they mean is the store's (struct
 * store_file); a blob that is there is whole and durable.
 *
 * Loop's thread only; the work is done on libuv's pool. Every operation is answered exactly once by its `done`, never before it
 * has returned; what it is given is copied unless said otherwise. Ids are visible ASCII without slashes and dots, shorter than
 * STORE_ID_BYTES. */
#ifndef ANYLLM_STORE_BLOBS_H
#define ANYLLM_STORE_BLOBS_H

#include "base/slice.h"
#include "net/loop.h"
#include "store/store.h"

struct blobs;
struct blob_put;

enum blob_status {
    BLOB_OK,
    BLOB_NOT_FOUND,
    BLOB_FULL, /* no room: ENOSPC, EDQUOT, EFBIG */
    BLOB_IO,   /* anything else the disk says */
    BLOB_MEMORY
};

struct blob_info {
    uint64_t bytes;
    unsigned char sha256[32];
};

/* --- put: begin, write any number, then finish or drop
 * While more than BLOB_PUT_HIGH_BYTES of one put wait for the disk, blob_put_write says pause; `drained` follows. */
#define BLOB_PUT_HIGH_BYTES (256U << 10)
struct blob_put_hooks {
    void (*drained)(
        void *user); /* once per pause; the put may be written, finished or dropped in it */
    /* The first failure, at once; what is written after it goes nowhere. blob_put_drop is then due, or a finish that fails. */
    void (*failed)(void *user, enum blob_status s);
};
/* The id is chosen now; nothing is visible before finish. NULL when out of memory. The hooks are borrowed until the put has ended. */
struct blob_put *blob_put_begin(struct blobs *b, const char *id, const struct blob_put_hooks *hooks,
                                void *user);
bool blob_put_write(struct blob_put *p, struct slice data); /* copies; false: pause */
/* fsync, rename, fsync of the folder: then `done` with BLOB_OK, and only then it is there. No hook is called any more; the put is
 * gone after `done`, which gets info with BLOB_OK only. */
void blob_put_finish(struct blob_put *p,
                     void (*done)(void *user, enum blob_status s, const struct blob_info *info),
                     void *user);
/* Its file is removed; no hook is called any more. Not after finish. NULL is fine. */
void blob_put_drop(struct blob_put *p);

/* --- the rest */
/* One out of several, in the order given, which are removed then, but stay when it fails; their bytes are hashed on the way. As
 * durable as finish. */
void blob_join(struct blobs *b, const char *id, const char *const *parts, size_t nparts,
               void (*done)(void *user, enum blob_status s, const struct blob_info *info),
               void *user);
/* An open descriptor at its beginning, the receiver's to close; -1 with the status. */
void blob_get(struct blobs *b, const char *id,
              void (*done)(void *user, enum blob_status s, int fd, uint64_t bytes), void *user);
/* The whole blob into memory, not more than max (else BLOB_FULL); data is valid during done. */
void blob_read(struct blobs *b, const char *id, size_t max,
               void (*done)(void *user, enum blob_status s, struct slice data), void *user);
/* The same as text: the prefix (copied) and the bytes in base64. `text` is malloc's and the receiver's; NULL unless BLOB_OK. */
void blob_read_base64(struct blobs *b, const char *id, size_t max, struct slice prefix,
                      void (*done)(void *user, enum blob_status s, char *text, size_t len),
                      void *user);
void blob_delete(struct blobs *b, const char *id, void (*done)(void *user, enum blob_status s),
                 void *user); /* done may be NULL */
/* Every blob's id, in any order, in pages; last: no more come. For the look at the start. What cannot be read is logged and left
 * out, and what is made or deleted meanwhile may be: an id that is not listed need not be missing. */
void blob_list(struct blobs *b,
               void (*page)(void *user, const char *const *ids, size_t n, bool last), void *user);
/* Room left on the disk; UINT64_MAX: not known. Asked of the system at most once a second. */
uint64_t blobs_free_bytes(struct blobs *b);

/* path: DATA/files, made when missing, 0700; what unfinished puts left behind is removed. NULL with one line in reason. SIGXFSZ
 * is to be ignored by the process. */
struct blobs *blobs_open_dir(struct net_loop *l, const char *path, char *reason, size_t size);
/* After the server is closed: what was begun is dropped (those puts are gone for their owners), what was given is finished and
 * answered; then on_closed (may be NULL), never before it has returned. */
void blobs_close(struct blobs *b, void (*on_closed)(void *user), void *user);

#endif
