/* One file to the server. A machine of its own, inside a call of any kind (upload.c's own, or one whose inputs name files):
 *
 *   client_upload_start
 *      | read callback                                        path, memory
 *      v                                                           |
 *   FILLING: its first part ---- it ended, and is small -----+     |
 *      | it goes on                                          v     v
 *      v                                                    INITIATING ---> PUTTING ---> ENDED
 *   INITIATING (multipart) ---> PARTS (upload_parts.c) ---> COMPLETING ---> ENDED
 *
 * An error in any state, one part's too, is ENDED. Deadline and cancel are the call's: it frees the upload. */
#ifndef ANYLLM_CLIENT_UPLOAD_H
#define ANYLLM_CLIENT_UPLOAD_H

#include "client/client.h"

#include <sys/stat.h>

#define CLIENT_MULTIPART_BYTES (90ULL << 20) /* above it fal's own clients send parts */
#define CLIENT_PART_BYTES (10ULL << 20)
#define CLIENT_STALL_MS 60000
#define CLIENT_PARALLEL_PARTS 4
#define CLIENT_PARALLEL_PARTS_MAX 16
#define CLIENT_PARTS_MAX 10000U /* of one upload: S3's limit, anyllm's too */
#define CLIENT_ETAG_BYTES CLIENT_NAME_BYTES
#define CLIENT_SIZE_UNKNOWN UINT64_MAX

/* ---- upload_plan.c: numbers and addresses. Pure. ---- */

/* The size of parts of which `bytes` need at most CLIENT_PARTS_MAX: what is wished, or more. */
uint64_t client_part_bytes(uint64_t bytes, uint64_t wished_bytes);
/* Appends {url up to its query}/{tail}{query}, NUL-terminated; a fragment is left out. */
bool client_part_url(struct buf *out, const char *upload_url, const char *tail);
/* NULL when a struct fal_file of this library's size is one, else what is wrong. Static. */
const char *client_file_fault(const struct fal_file *file);

/* ---- upload_source.c: where the bytes come from ---- */

struct client_source {
    uint64_t size_bytes; /* CLIENT_SIZE_UNKNOWN: of a read callback */
    int fd;              /* -1: none */
    struct stat before;  /* of fd */
    char *path;          /* for messages; NULL: none */
    const char *data;
    int64_t (*read)(void *buffer, size_t room, void *user);
    void *user;
};

/* FAL_OK. FAL_ERR_ARGUMENT (no such file, a folder, unreadable; `message` says so), FAL_ERR_MEMORY: nothing is to be closed. */
enum fal_code client_source_open(struct client_source *s, const struct fal_file *file,
                                 char message[CLIENT_MESSAGE_BYTES]);
void client_source_close(struct client_source *s); /* also one that is all zero but for fd -1 */
/* Up to `room` bytes of a file or of memory from `at` on, none beyond size_bytes; at least one unless `room` is 0 or it is the
 * end. -1: it cannot be read, or the file is not what it was when it was opened; `message` says so. */
int64_t client_source_read(const struct client_source *s, uint64_t at, char *out, size_t room,
                           char message[CLIENT_MESSAGE_BYTES]);

/* ---- upload.c ---- */

struct client_upload_limits {
    uint64_t multipart_bytes, part_bytes;
    unsigned parallel_parts;
    int64_t stall_ms; /* 0: never */
};
/* The defaults for what is 0. NULL when all is well, else what is wrong. Static. */
const char *client_upload_limits_set(struct client_upload_limits *out,
                                     const struct fal_upload_options *options);

struct client_upload;

/* One part on its way. */
struct client_part {
    struct client_upload *upload;
    struct client_try try;
    uint64_t number; /* from 1; 0: it rests */
    uint64_t at, bytes, sent_bytes;
    bool running;
    char *buffer; /* of a read callback: its bytes, kept until the part is confirmed */
    size_t buffer_bytes;
};

struct client_parts {
    struct client_part part[CLIENT_PARALLEL_PARTS_MAX];
    struct client_part *filling; /* the callback's bytes go here; NULL: nowhere */
    uint64_t bytes;              /* of one part */
    uint64_t taken;              /* bytes that went into parts so far */
    uint64_t confirmed;          /* bytes of the parts that the server has */
    size_t count;                /* parts so far, which is the last one's number */
    size_t done;                 /* of them confirmed */
    char **etags;                /* count of them, NULL until the part is confirmed */
    size_t etags_room;
};

enum client_upload_state {
    CLIENT_UPLOAD_NEW,
    CLIENT_UPLOAD_FILLING,
    CLIENT_UPLOAD_INITIATING,
    CLIENT_UPLOAD_PUTTING,
    CLIENT_UPLOAD_PARTS,
    CLIENT_UPLOAD_COMPLETING,
    CLIENT_UPLOAD_ENDED
};

struct client_upload {
    fal_client *client;
    enum client_upload_state state;
    struct client_source source;
    struct client_upload_limits limits;
    char *content_type, *name, *lifecycle;
    char *upload_url, *file_url; /* as the server gave them; NULL before */
    bool multipart;
    bool filled;     /* the source is known to its end */
    bool said_whole; /* progress has said that all was sent */
    uint64_t deadline_ms;
    fal_result *result;          /* the call's: gets the error */
    struct client_try try;       /* initiate, put, complete */
    struct buf body;             /* of initiate and complete */
    struct client_timer reading; /* asks the callback for bytes, once each turn of the loop */
    struct client_parts parts;
    uint64_t sent_bytes;                /* grows only */
    char message[CLIENT_MESSAGE_BYTES]; /* why the source cannot be read; "" when it can */
    /* sent_bytes or the total has grown. Optional. */
    void (*progress)(struct client_upload *u);
    /* Once, from the loop. FAL_OK: file_url is set. Else the result has the error. */
    void (*done)(struct client_upload *u, enum fal_code code);
    void *owner;
};

/* Opens the file and copies what must live. `lifecycle` is JSON or NULL, copied. FAL_ERR_ARGUMENT: `message` says why. */
enum fal_code client_upload_new(fal_client *c, const struct fal_file *file,
                                const struct client_upload_limits *limits, const char *lifecycle,
                                struct client_upload **out, char message[CLIENT_MESSAGE_BYTES]);
/* FAL_OK: done will come. Else it will not. Set progress, done and owner before. */
enum fal_code client_upload_start(struct client_upload *u, fal_result *result,
                                  uint64_t deadline_ms);
/* Aborts what runs. NULL is allowed. Allowed in `done`. */
void client_upload_free(struct client_upload *u);
/* CLIENT_SIZE_UNKNOWN while a read callback has not ended. */
uint64_t client_upload_total(const struct client_upload *u);

/* ---- Between upload.c and upload_parts.c ---- */

/* Begins to fill the callback's next part, if one rests. */
enum fal_code client_parts_fill(struct client_upload *u);
/* Begins what can be begun. Else the error is in the result, and its code is returned. */
enum fal_code client_parts_more(struct client_upload *u);
/* {"parts":[{"partNumber":1,"etag":"…"},…]} */
bool client_parts_json(const struct client_upload *u, struct buf *out);
void client_parts_free(struct client_upload *u);
/* Sets the error and returns the code that now holds: the source's own words, if it has any, go before. */
enum fal_code client_upload_fail(struct client_upload *u, enum fal_code code);
/* Of a try that is over and not client_try_ok. */
enum fal_code client_upload_fail_try(struct client_upload *u, struct client_try *t);
void client_upload_moved(struct client_upload *u); /* progress */
/* FILLING is over: the first part is full, or holds all there is. */
void client_upload_filled(struct client_upload *u);
/* All parts are confirmed (FAL_OK); else it ends, with this code unless the result has an error already. */
void client_upload_parts_done(struct client_upload *u, enum fal_code code);

#endif
