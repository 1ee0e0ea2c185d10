/* Files on their way out: GET, HEAD, DELETE. */
#include "api/admit.h"
#include "api/files_range.h"
#include "api/files_room.h"
#include "api/files_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A cache may keep what everybody may read for so long: a file that is deleted, or closed by its ACL, lives on in it. */
#define CACHE_S 86400

/* The row, for as long as the call. */
struct wanted {
    char etag[SECRET_HASH_BYTES * 2 + 3], modified[HTTP_DATE_BYTES];
    struct file_part part;
    struct slice label, type, acl;
    uint64_t bytes;
    int64_t cache_s; /* -1: not for caches that many share */
    bool is_head;
};

/* --- answers */

static void say_what(struct call *c, const struct wanted *w) {
    struct buf b;
    char text[48] = "private, no-cache";
    net_header(c->x, SLICE("etag"), slice_of(w->etag));
    net_header(c->x, SLICE("last-modified"), slice_of(w->modified));
    net_header(c->x, SLICE("accept-ranges"), SLICE("bytes"));
    if (w->cache_s >= 0) snprintf(text, sizeof text, "public, max-age=%lld", (long long)w->cache_s);
    net_header(c->x, SLICE("cache-control"), slice_of(text));
    if (w->part.status == 304) return;
    buf_init(&b, 4096);
    file_disposition(&b, file_served_as(w->type).is_inline, w->label);
    net_header(c->x, SLICE("content-disposition"), buf_slice(&b));
    buf_free(&b);
    net_header(c->x, SLICE("content-security-policy"), SLICE("sandbox; default-src 'none'"));
    net_header(c->x, SLICE("cross-origin-resource-policy"), SLICE("cross-origin"));
}

static void say_range(struct call *c, const struct wanted *w) {
    char text[96];
    if (w->part.status == 206)
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)w->part.from,
                 (unsigned long long)(w->part.from + w->part.length - 1),
                 (unsigned long long)w->bytes);
    else
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)w->bytes);
    net_header(c->x, SLICE("content-range"), slice_of(text));
}

struct opening {
    struct api *api;
    uint64_t exchange;
};

static void opened(void *user, enum blob_status s, int fd, uint64_t bytes) {
    struct opening *o = user;
    struct call *c = call_of(o->api, o->exchange);
    const struct wanted *w = c != NULL ? c->own : NULL;
    free(o);
    if (c == NULL) {
        if (fd >= 0) close(fd);
        return;
    }
    if (s != BLOB_OK || bytes != w->bytes) {
        if (fd >= 0) close(fd);
        if (s == BLOB_OK || s == BLOB_NOT_FOUND)
            log_line(LOG_ERROR, "file_damaged", "file=%.32s", c->id.ptr);
        files_unavailable(c);
        return;
    }
    say_what(c, w);
    if (w->part.status == 206) say_range(c, w);
    call_headers(c);
    net_reply_file(c->x, w->part.status, slice_of(file_served_as(w->type).type), fd, w->part.from,
                   w->part.length);
}

static void open_blob(struct call *c, struct slice id) {
    struct opening *o = malloc(sizeof *o);
    char name[FILE_ID_BYTES];
    if (o == NULL) {
        files_unavailable(c);
        return;
    }
    *o = (struct opening){c->api, net_exchange_id(c->x)};
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(id));
    blob_get(c->api->blobs, name, opened, o);
}

static void answer(struct call *c, const struct wanted *w) {
    struct slice id;
    switch (w->part.status) {
    case 304:
        say_what(c, w);
        call_headers(c);
        net_reply(c->x, 304, SLICE(""), SLICE(""));
        return;
    case 412:
        call_error(c, 412, "bad_request", SLICE("the file is not as the condition says"));
        return;
    case 416:
        say_range(c, w);
        call_error(c, 416, "bad_request", SLICE("the file has no such part"));
        return;
    default: break;
    }
    if (file_id_read(c->id, &id)) open_blob(c, id);
}

/* --- who may read */

/* A key is looked at only where it can matter. */
static struct slice reader(struct call *c, bool *is_all) {
    size_t n;
    struct slice header = h1_get(net_head(c->x), SLICE("authorization"), &n);
    *is_all = false;
    if (header.len == 0 && !keyring_is_open(c->api->keys)) return SLICE("");
    if (auth_check(c->api->keys, c->x, &c->who) != AUTH_OK) return SLICE("");
    *is_all = c->who.owner.len == 0;
    return identity_owner(&c->who);
}

static enum file_access access_of(struct call *c, const struct store_file *f) {
    bool is_all;
    if (f->acl.len == 0) return FILE_ALLOW;
    struct slice who = reader(c, &is_all);
    if (is_all || (who.len > 0 && slice_eq(who, f->owner))) return FILE_ALLOW;
    return file_acl_judge(f->acl, who);
}

static struct wanted *wanted_of(struct call *c, const struct store_file *f, bool is_signed) {
    struct arena *a = net_arena(c->x);
    struct wanted *w = arena_zalloc(a, sizeof *w);
    int64_t left_s = f->expires_ms > 0 ? (f->expires_ms - clock_wall_ms(c->api->clock)) / 1000
                                       : CACHE_S;
    if (w == NULL) return NULL;
    w->etag[0] = '"';
    for (size_t i = 0; i < SECRET_HASH_BYTES; i++)
        snprintf(w->etag + 1 + 2 * i, 3, "%02x", f->sha256[i]);
    memcpy(w->etag + 1 + SECRET_HASH_BYTES * 2, "\"", 2);
    http_date(f->created_ms, w->modified);
    w->label = arena_copy(a, f->name);
    w->type = arena_copy(a, f->content_type);
    w->bytes = f->bytes;
    w->cache_s = is_signed || f->acl.len > 0 ? -1 : left_s < CACHE_S ? left_s : CACHE_S;
    w->part = file_part_asked(net_head(c->x), slice_of(w->etag), f->created_ms, f->bytes);
    return w->label.ptr != NULL && w->type.ptr != NULL ? w : NULL;
}

static void found(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    struct slice id;
    if (c == NULL) return;
    const struct store_file *f = files_row_of(user, r);
    if (f == NULL) {
        if (r->status == STORE_OK || r->status == STORE_NOT_FOUND)
            files_not_found(c);
        else
            files_unavailable(c);
        return;
    }
    bool is_signed = file_id_read(c->id, &id) && files_check_get(c->api, c->at.query, id) == 1;
    enum file_access access = is_signed ? FILE_ALLOW : access_of(c, f);
    struct wanted *w = access == FILE_ALLOW ? wanted_of(c, f, is_signed) : NULL;
    c->own = w;
    if (access == FILE_HIDE)
        files_not_found(c);
    else if (access == FILE_FORBID)
        call_error(c, 403, NULL, SLICE("this file is not for everybody"));
    else if (w == NULL)
        files_unavailable(c);
    else
        answer(c, w);
}

void handle_file(struct call *c) {
    struct slice id;
    if (!file_id_read(c->id, &id))
        files_not_found(c);
    else if (files_check_get(c->api, c->at.query, id) < 0)
        call_error(c, 403, NULL, SLICE("the address has expired, or was not signed by this server"));
    else
        files_ask(c, id, found);
}

/* --- DELETE */

static void deleted(struct api *a, uint64_t arg, enum store_status s) {
    struct call *c = call_of(a, arg);
    if (c == NULL) return;
    if (s == STORE_OK) {
        call_headers(c);
        net_reply(c->x, 204, SLICE(""), SLICE(""));
    } else if (s == STORE_NOT_FOUND) {
        files_not_found(c);
    } else {
        files_unavailable(c);
    }
}

static void found_to_delete(void *user, uint64_t arg, const struct store_reply *r) {
    struct api *a = user;
    struct call *c = call_of(a, arg);
    if (c == NULL) return;
    if (r->status != STORE_OK && r->status != STORE_NOT_FOUND)
        files_unavailable(c);
    else if (r->nfiles != 1 || !files_owns(&c->who, r->files->owner))
        files_not_found(c);
    else if (intake_find(a->files, slice_of(r->files->id)) != NULL)
        call_error(c, 409, "bad_request", SLICE("the file is being uploaded"));
    else
        files_remove(a, r->files, deleted, arg);
}

void handle_file_delete(struct call *c) {
    struct slice id;
    if (file_id_read(c->id, &id))
        files_ask(c, id, found_to_delete);
    else
        files_not_found(c);
}
