#include "api/files.h"

bool files_open(struct api *a, char *reason, size_t size) {
    return true;
}

void files_load(struct api *a) {
    api_loaded(a, true);
}

void files_drain(struct api *a) {
}

void files_close(struct api *a) {
}

void files_free(struct api *a) {
}

void handle_upload_initiate(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_storage_token(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_upload(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_part(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_complete(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_multipart(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_file(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_file_delete(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_file_acl(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_file_sign(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_upload_put(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_upload_post(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_part_signed(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_complete_signed(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_token(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void head_part_token(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}
