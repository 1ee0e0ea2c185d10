/* What callers say of a file that is to come, and the answers that uploads share. */
#include "api/files_room.h"
#include "api/files_rules.h"
#include "base/hex.h"

#include <stdio.h>
#include <stdlib.h>

struct file_facts *file_facts_new(const char *type, const char *label, struct slice acl,
                                  int64_t lifetime_ms) {
    struct file_facts *f = calloc(1, sizeof *f + acl.len + 1);
    if (f == NULL) return NULL;
    f->lifetime_ms = lifetime_ms;
    snprintf(f->type, sizeof f->type, "%s", type);
    snprintf(f->label, sizeof f->label, "%s", label);
    f->acl_len = acl.len;
    if (acl.len > 0) memcpy(f->acl, acl.ptr, acl.len);
    return f;
}

static void refuse(struct call *c, const char *loc, const char *why, const char *type) {
    struct faults faults;
    faults_init(&faults);
    faults_add(&faults, loc, why, type, NULL, NULL);
    call_faults(c, &faults);
    faults_free(&faults);
}

/* Python sends both names with the same value, JavaScript the first. */
static const char *read_lifecycle(struct call *c, int64_t *lifetime_ms, struct buf *acl) {
    static const char *const names[] = {"x-fal-object-lifecycle",
                                        "x-fal-object-lifecycle-preference"};
    for (size_t i = 0; i < 2; i++) {
        size_t n;
        struct slice v = h1_get(net_head(c->x), slice_of(names[i]), &n);
        if (n > 1) return "the object lifecycle is given twice";
        if (n == 1) return file_lifecycle_read(v, lifetime_ms, acl);
    }
    return NULL;
}

struct file_facts *file_facts_read(struct call *c, struct slice type, struct slice name) {
    char kept_type[FILE_TYPE_BYTES] = "application/octet-stream", label[FILE_LABEL_BYTES];
    struct file_facts *f = NULL;
    int64_t lifetime_ms = 0;
    struct buf acl;
    if (type.len > 0 && !file_type(type, kept_type)) {
        refuse(c, "[\"body\",\"content_type\"]", "Input should be a media type such as image/png",
               "value_error");
        return NULL;
    }
    file_label(name, label);
    buf_init(&acl, 2U * H1_MAX_HEADER_BYTES);
    const char *why = read_lifecycle(c, &lifetime_ms, &acl);
    if (why != NULL)
        refuse(c, "[\"header\",\"x-fal-object-lifecycle\"]", why, "value_error");
    else if ((f = file_facts_new(kept_type, label, buf_slice(&acl), lifetime_ms)) == NULL)
        files_unavailable(c);
    buf_free(&acl);
    return f;
}

struct store_file file_row(const struct file_facts *f, const char *id, struct slice owner,
                           int64_t now_ms) {
    struct store_file row = {.owner = owner,
                             .name = slice_of(f->label),
                             .content_type = slice_of(f->type),
                             .acl = file_facts_acl(f),
                             .created_ms = now_ms,
                             .lifetime_ms = f->lifetime_ms,
                             .expires_ms = f->lifetime_ms > 0 ? now_ms + f->lifetime_ms : 0};
    snprintf(row.id, sizeof row.id, "%s", id);
    return row;
}

/* --- answers */

void files_refuse_large(struct call *c) {
    char text[80];
    int n = snprintf(text, sizeof text, "File larger than %llu bytes",
                     (unsigned long long)c->api->config->max_file_bytes);
    call_error(c, 413, "bad_request", slice_make(text, (size_t)n));
}

void files_refuse_quota(struct call *c) {
    char text[160];
    int n = snprintf(
        text, sizeof text,
        "the files of this key's owner may take %llu bytes together; delete some, or wait until they expire",
        (unsigned long long)c->api->config->max_stored_bytes_per_key);
    call_error(c, 403, "quota_exceeded", slice_make(text, (size_t)n));
}

void files_refuse_full(struct call *c) {
    call_error(c, 507, "insufficient_storage", SLICE("insufficient storage; nothing was kept"));
}

void files_unavailable(struct call *c) {
    net_header(c->x, SLICE("retry-after"), SLICE("1"));
    call_error(c, 503, "internal_error", SLICE("storage unavailable; nothing was kept, try again"));
}

void files_not_found(struct call *c) {
    call_error(c, 404, NULL, SLICE("File not found"));
}

bool files_room_for(struct call *c, uint64_t bytes) {
    const struct config *cfg = c->api->config;
    uint64_t room = blobs_free_bytes(c->api->blobs);
    if (bytes > cfg->max_file_bytes) {
        files_refuse_large(c);
        return false;
    }
    uint64_t kept = cfg->min_free_bytes;
    kept = kept > UINT64_MAX - c->api->files->coming ? UINT64_MAX : kept + c->api->files->coming;
    if (room >= kept && room - kept >= bytes) return true;
    files_refuse_full(c);
    return false;
}

void files_answer_stored(struct call *c, const struct store_file *f) {
    struct buf *b = call_scratch(c);
    char type[FILE_TYPE_BYTES], label[FILE_LABEL_BYTES], sha256[SECRET_HASH_BYTES * 2 + 1],
        etag[72];
    snprintf(type, sizeof type, "%.*s", SLICE_ARG(f->content_type));
    snprintf(label, sizeof label, "%.*s", SLICE_ARG(f->name));
    hex_write(sha256, f->sha256, sizeof f->sha256);
    snprintf(etag, sizeof etag, "\"%s\"", sha256);
    net_header(c->x, SLICE("etag"), slice_of(etag));
    static const char *const names[] = {"{\"access_url\":\"", "\",\"file_url\":\""};
    for (size_t i = 0; i < 2; i++) {
        buf_puts(b, names[i]);
        files_address(b, c, f->id, label, type);
    }
    buf_printf(b, "\",\"file_size\":%llu,\"content_type\":\"%s\",\"sha256\":\"%s\"}",
               (unsigned long long)f->bytes, type, sha256);
    call_scratch_json(c, 200);
}
