/* Private to files*.c: what they share.
 *
 * A file is a row of the store and a blob of the same id. Written: the blob first, then the row says it is whole. Removed: the
 * row first, then the blob. So a row that says whole has its bytes at any moment, and a blob without a row is rubbish, which a
 * start removes. Multipart uploads have no row before they are completed: they and their parts end with the process. */
#ifndef ANYLLM_API_FILES_ROOM_H
#define ANYLLM_API_FILES_ROOM_H

#include "api/files.h"
#include "api/files_held.h"
#include "api/files_names.h"
#include "api/files_quota.h"
#include "store/blobs.h"

#define FILE_NO_SIZE UINT64_MAX
#define FILE_TOKEN_S 86400U     /* of a storage token */
#define FILE_SIGN_MAX_S 604800U /* of a signed address: fal's limit */

struct intake;
struct multipart;

#define MULTIPART_BUCKETS 256U

struct files {
    struct api *api;
    struct files_quota *quota;
    struct files_held *held;
    struct intake *intakes; /* uploads whose bytes come now */
    size_t nintakes;
    uint64_t
        coming; /* bytes that were let in and are not on the disk yet: of intakes and of joins */
    struct multipart *multiparts[MULTIPART_BUCKETS];
    size_t nmultiparts;
    uint64_t stored, removed;
    struct log_rate damaged;
    struct net_timer sweep;
    int64_t due_ms; /* what expires first of what came since the last sweep; 0: nothing */
    bool closed;    /* the store takes nothing any more */
};

/* What is said of a file before it is there. */
struct file_facts {
    int64_t lifetime_ms; /* 0: kept */
    char type[FILE_TYPE_BYTES], label[FILE_LABEL_BYTES];
    size_t acl_len;
    char acl[];
};
static inline struct slice file_facts_acl(const struct file_facts *f) {
    return slice_make(f->acl, f->acl_len);
}

/* --- files_facts.c: reading what callers say, and answers that uploads share */
/* NULL when out of memory. Free it. */
struct file_facts *file_facts_new(const char *type, const char *label, struct slice acl,
                                  int64_t lifetime_ms);
/* With the lifecycle headers of the request. NULL: answered. Free it. */
struct file_facts *file_facts_read(struct call *c, struct slice type, struct slice name);
struct store_file file_row(const struct file_facts *f, const char *id, struct slice owner,
                           int64_t now_ms);
/* Whether so many bytes more may come, beside those that are coming: max_file_bytes, min_free_bytes. False: answered. */
bool files_room_for(struct call *c, uint64_t bytes);
void files_refuse_quota(struct call *c);
void files_refuse_large(struct call *c);
void files_refuse_full(struct call *c);
void files_unavailable(struct call *c); /* the store, the disk or memory: 503 */
void files_not_found(struct call *c);
/* {"access_url","file_url","file_size","sha256"} with the ETag */
void files_answer_stored(struct call *c, const struct store_file *f);

/* --- files_urls.c: addresses */
/* "http://localhost:8787/cdn" */
void files_add_base(struct buf *b, const struct config *cfg, const struct reach *at);
/* The same where this caller reaches us himself, past any proxy of ours. */
void files_base(struct buf *b, struct call *c);
/* base/files/b/{id}.{extension} */
void files_address(struct buf *b, struct call *c, const char *id, const char *label,
                   const char *type);

/* --- files_signed.c: what addresses and tokens permit. `key` is the name (auth.h) of the key that asked for it: revoked, it ends the permit;
 * empty: the server's own */
static inline struct slice files_key(const struct call *c) {
    return c->who.owner.len > 0 ? c->who.key_name
                                : SLICE(""); /* the operator's socket has no key */
}
/* Appends "?exp=…&sig=…" (and between them key, type and size). */
void files_sign_put(struct buf *b, const struct api *a, const char *id, struct slice key,
                    const char *type, uint64_t size, int64_t exp_s);
void files_sign_parts(struct buf *b, const struct api *a, const char *id, struct slice key,
                      int64_t exp_s);
bool files_sign_get(struct api *a, const struct reach *at, struct slice id, struct slice key,
                    uint64_t for_s, struct buf *out);
/* Of the request's query: NULL, or what is wrong with it. A PUT's type and size as they were declared. */
const char *files_check_put(struct call *c, struct slice id, struct slice *type, uint64_t *size);
const char *files_check_parts(struct call *c, struct slice id);
/* 1: opens the file, 0: carries no permission, -1: one that is wrong or over */
int files_check_get(const struct api *a, struct slice query, struct slice id);
void files_token(struct buf *b, const struct api *a, struct slice key, int64_t exp_s);
/* A storage token or a key, into c->who. False: answered. */
bool files_let_in(struct call *c);
/* Whether who is the owner; the operator's socket owns all. */
bool files_owns(const struct identity *who, struct slice owner);

/* --- files_intake.c: one body on its way to the disk */
struct intake_use {
    /* The blob is whole and durable: record it, then intake_end. The caller may have left (t->exchange 0). */
    void (*stored)(struct intake *t);
    bool needs_caller; /* nobody else learns what becomes of it: dropped when he leaves */
};

/*   ASKING    the row is looked for, the body waits   --intake_open--> TAKING
 *   TAKING    bytes come and go to the disk           --body whole--> FLUSHING
 *   FLUSHING  fsync, rename                           --durable--> RECORDING
 *   RECORDING the use's: the store, the parts         --intake_end--> gone
 *   ASKING, TAKING --refused, caller left--> gone     FLUSHING, RECORDING --caller left--> the same, exchange 0 */
enum intake_state { INTAKE_ASKING, INTAKE_TAKING, INTAKE_FLUSHING, INTAKE_RECORDING };

struct intake {
    struct intake *prev, *next;
    struct api *api;
    const struct intake_use *use;
    enum intake_state state;
    bool whole;
    uint64_t exchange; /* 0: the caller left */
    char id[FILE_ID_BYTES];
    uint64_t exact; /* so many bytes must come; FILE_NO_SIZE: any number */
    uint64_t room;  /* of max_file_bytes, for it */
    uint64_t received;
    uint64_t coming; /* of its declared length; its share of files->coming */
    struct files_owner *owner;
    uint64_t covered;  /* bytes of the quota that stand for it */
    uint64_t promised; /* of these, those its row keeps when the upload fails */
    struct blob_put *put;
    struct file_ends ends;
    struct blob_info info;      /* from RECORDING on */
    struct file_facts *facts;   /* NULL: a part */
    char upload[FILE_ID_BYTES]; /* a part's multipart upload */
    unsigned part;
};

/* Within a head hook: refuses what is known to be too much (NULL: answered), else streams the body. ASKING. */
struct intake *intake_new(struct call *c, const struct intake_use *use, const char *id,
                          uint64_t exact, uint64_t room);
/* The owner is known: bytes are taken from now on, counted against his quota beyond `promised`. False: answered, gone. */
bool intake_open(struct intake *t, struct files_owner *owner, uint64_t promised);
/* The body is whole: call it from `handle`. */
void intake_whole(struct call *c);
struct call *intake_call(const struct intake *t); /* NULL: the caller left */
struct intake *intake_find(const struct files *f, struct slice id);
/* Ends it: what it wrote is dropped, what it took of the quota given back. The caller is still to be answered. */
void intake_drop(struct intake *t);
/* Ends it in RECORDING; its quota stays taken. */
void intake_end(struct intake *t);
/* Ends it in RECORDING, the blob goes, the quota is given back. */
void intake_undo(struct intake *t);

/* --- files_multipart.c */
void multipart_initiate(struct call *c, struct file_facts *facts, uint64_t size); /* takes facts */
void multiparts_sweep(struct files *f, int64_t now_ms);
void multiparts_free(struct files *f);

/* --- files.c */
/* Something expires then (wall clock); 0: never. */
void files_due(struct files *f, int64_t at_ms);
/* The row goes, then the blob; the quota is given back. STORE_STALE: it is not the row that was seen, nothing was done. `done`
 * may be NULL. */
void files_remove(struct api *a, const struct store_file *f,
                  void (*done)(struct api *a, uint64_t arg, enum store_status s), uint64_t arg);
/* Asks for the row; done as the desk's, user is the api, arg the exchange. False: answered. */
bool files_ask(struct call *c, struct slice id, desk_done *done);
bool files_is_over(const struct api *a, const struct store_file *f); /* it has expired */
/* NULL unless it is there, whole and not expired. */
const struct store_file *files_row_of(const struct api *a, const struct store_reply *r);

#endif
