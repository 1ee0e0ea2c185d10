#include "client/upload.h"

#define MIB (1ULL << 20)

uint64_t client_part_bytes(uint64_t bytes, uint64_t wished_bytes) {
    uint64_t least = bytes / CLIENT_PARTS_MAX + (bytes % CLIENT_PARTS_MAX != 0 ? 1 : 0);
    if (least <= wished_bytes) {
        return wished_bytes;
    }
    return least > UINT64_MAX - MIB ? least : (least + MIB - 1) / MIB * MIB;
}

bool client_part_url(struct buf *out, const char *upload_url, const char *tail) {
    size_t whole = strcspn(upload_url, "#"), path = strcspn(upload_url, "?#");
    buf_add(out, slice_make(upload_url, path));
    buf_addc(out, '/');
    buf_puts(out, tail);
    buf_add(out, slice_make(upload_url + path, whole - path));
    return buf_addc(out, '\0');
}

const char *client_file_fault(const struct fal_file *file) {
    int sources = (file->path != NULL) + (file->data != NULL || file->data_bytes > 0) +
                  (file->read != NULL);
    if (sources == 0) {
        return "a file needs one of path, data and read";
    }
    if (sources > 1) {
        return "a file has more than one of path, data and read";
    }
    if (file->data == NULL && file->data_bytes > 0) {
        return "a file's data is NULL";
    }
    if (file->path != NULL && file->path[0] == '\0') {
        return "a file's path is empty";
    }
    if (file->content_type != NULL &&
        (file->content_type[0] == '\0' || strlen(file->content_type) >= CLIENT_NAME_BYTES ||
         !client_text_is_header(file->content_type))) {
        return "a file's content_type is no media type";
    }
    if (file->name != NULL && strlen(file->name) > CLIENT_URL_BYTES) {
        return "a file's name is too long";
    }
    return NULL;
}
