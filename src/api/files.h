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
