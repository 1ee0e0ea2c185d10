/* Uploads and downloads: initiate, PUT, multipart, signed addresses, expiry, quota. Their bytes are the blobs' (store/blobs.h). */
#ifndef ANYLLM_API_FILES_H
#define ANYLLM_API_FILES_H

#include "api/call.h"

/* A part of the api: see life.c. */
bool files_open(struct api *a, char *reason, size_t size);
void files_load(struct api *a); /* ends with api_loaded */
void files_drain(struct api *a);
void files_close(struct api *a);
void files_free(struct api *a);

/* --- for those who read files: inputs of models */

/* Whether url looks like an address of a file of this server: under its public_url, the Host of `at` (may be NULL: a queued
 * request has none), or fal's names of its CDN; or, because ids are not guessable and a server has many names, under any
 * host that has our path. *id gets the file's id, a slice of url. Only files_find says whether it is there. */
bool files_own_url(const struct api *a, const struct reach *at, struct slice url, struct slice *id);
/* Whether the address carries a permission of ours that holds now: it opens what the file's ACL closes. */
bool files_url_signed(const struct api *a, struct slice url);
/* An address that opens the file for so long without a key (public_url, else the base of `at`), appended. */
bool files_sign_url(struct api *a, const struct reach *at, struct slice id, uint64_t for_s,
                    struct buf *out);
/* Looks for a file that is whole, has not expired, and may be read by `owner` (is_signed: by anybody). `done` is called
 * exactly once, never before this has returned; f is NULL when there is none, and lives until done returns; `ok` is false
 * when the store did not answer. False: out of memory, done is not called. */
bool files_find(struct api *a, struct slice id, struct slice owner, bool is_signed,
                void (*done)(void *user, uint64_t arg, const struct store_file *f, bool ok),
                void *user, uint64_t arg);

struct files_stats {
    uint64_t files, bytes;    /* kept, with those that were begun */
    uint64_t stored, removed; /* since the start */
    size_t running,
        multipart; /* uploads whose bytes come now; multipart ones begun and not completed */
};
void files_get_stats(const struct api *a, struct files_stats *out);

void handle_upload_initiate(struct call *c);
void handle_storage_token(struct call *c);
void handle_upload(struct call *c);
void handle_part(struct call *c);
void handle_complete(struct call *c);
void handle_multipart(struct call *c);
void handle_file(struct call *c);
void handle_file_delete(struct call *c);
void handle_file_acl(struct call *c);
void handle_file_sign(struct call *c);
void head_upload_put(struct call *c);
void head_upload_post(struct call *c);
void head_part_signed(struct call *c);
void head_complete_signed(struct call *c);
void head_token(struct call *c);
void head_part_token(struct call *c);

#endif
