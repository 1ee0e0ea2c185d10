/* Files on their way out: GET, HEAD, DELETE. */
#include "api/admit.h"
#include "api/files_range.h"
#include "api/files_room.h"
#include "api/files_rules.h"
#include "base/hex.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A cache may keep what everybody may read for so long: a file that is deleted, or closed by its ACL, lives on in it. */
#define CACHE_S 86400

/* For as long as the call. */
struct wanted {
    struct store_file row; /* its texts in the call's arena, or held */
    uint64_t age;          /* of what is held, when the row was asked for */
    char etag[SECRET_HASH_BYTES * 2 + 3], modified[HTTP_DATE_BYTES];
    struct file_part part;
    int64_t cache_s; /* -1: not for caches that many share */
};

/* --- answers */

static void say_what(struct call *c, const struct wanted *w) {
    char text[48] = "private, no-cache";
    net_header(c->x, SLICE("etag"), slice_of(w->etag));
    net_header(c->x, SLICE("last-modified"), slice_of(w->modified));
    net_header(c->x, SLICE("accept-ranges"), SLICE("bytes"));
    if (w->cache_s >= 0) snprintf(text, sizeof text, "public, max-age=%lld", (long long)w->cache_s);
    net_header(c->x, SLICE("cache-control"), slice_of(text));
    if (w->part.status == 304) return;
    struct buf *b = call_scratch(c);
    file_disposition(b, file_served_as(w->row.content_type).is_inline, w->row.name);
    net_header(c->x, SLICE("content-disposition"), buf_slice(b));
    net_header(c->x, SLICE("content-security-policy"), SLICE("sandbox; default-src 'none'"));
    net_header(c->x, SLICE("cross-origin-resource-policy"), SLICE("cross-origin"));
}

static void say_range(struct call *c, const struct wanted *w) {
    char text[96];
    if (w->part.status == 206)
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)w->part.from,
                 (unsigned long long)(w->part.from + w->part.length - 1),
                 (unsigned long long)w->row.bytes);
    else
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)w->row.bytes);
    net_header(c->x, SLICE("content-range"), slice_of(text));
}

/* Takes the descriptor. */
static void answer_bytes(struct call *c, const struct wanted *w, int fd) {
    say_what(c, w);
    if (w->part.status == 206) say_range(c, w);
    call_headers(c);
    net_reply_file(c->x, w->part.status, slice_of(file_served_as(w->row.content_type).type), fd,
                   w->part.from, w->part.length);
}

struct opening {
    struct api *api;
    uint64_t exchange;
};

static void opened(void *user, enum blob_status s, int fd, uint64_t bytes) {
    struct opening *o = user;
    struct files *f = o->api->files;
    struct call *c = call_of(o->api, o->exchange);
    const struct wanted *w = c != NULL ? c->own : NULL;
    bool right = s == BLOB_OK && w != NULL && bytes == w->row.bytes;
    free(o);
    if (!right && fd >= 0) close(fd);
    if (c == NULL) return;
    if (right) {
        files_held_add(f->held, w->age, &w->row, fd);
        answer_bytes(c, w, fd);
        return;
    }
    if ((s == BLOB_OK || s == BLOB_NOT_FOUND) && log_allow(&f->damaged, 5))
        log_line(LOG_ERROR, "file_damaged", "file=%s", w->row.id);
    files_unavailable(c);
}

static void open_blob(struct call *c, const struct wanted *w) {
    struct opening *o = malloc(sizeof *o);
    if (o == NULL) {
        files_unavailable(c);
        return;
    }
    *o = (struct opening){c->api, net_exchange_id(c->x)};
    blob_get(c->api->blobs, w->row.id, opened, o);
}

/* What its texts point into may go before the call. False: answered. */
static bool keep_texts(struct call *c, struct wanted *w) {
    struct arena *a = net_arena(c->x);
    struct store_file *f = &w->row;
    f->owner = arena_copy(a, f->owner);
    f->name = arena_copy(a, f->name);
    f->content_type = arena_copy(a, f->content_type);
    f->acl = arena_copy(a, f->acl);
    if (a->failed) files_unavailable(c);
    return !a->failed;
}

/* fd: held, or -1 */
static void answer(struct call *c, struct wanted *w, int fd) {
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
    int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (own >= 0)
        answer_bytes(c, w, own);
    else if (fd < 0 || keep_texts(c, w))
        open_blob(c, w);
}

/* --- who may read */

/* A key is looked at only where it can matter; whoever guesses keys at a closed file is slowed down as anywhere. False:
 * answered. */
static bool reader(struct call *c, struct slice *who, bool *is_all) {
    enum auth_verdict v = auth_check(c->api->keys, c->x, &c->who);
    *who = v == AUTH_OK ? identity_owner(&c->who) : SLICE("");
    *is_all = v == AUTH_OK && c->who.owner.len == 0;
    return v != AUTH_INVALID || admit_guess(c);
}

static bool access_of(struct call *c, const struct store_file *f, enum file_access *out) {
    struct slice who;
    bool is_all;
    *out = FILE_ALLOW;
    if (f->acl.len == 0) return true;
    if (!reader(c, &who, &is_all)) return false;
    if (!is_all && (who.len == 0 || !slice_eq(who, f->owner))) *out = file_acl_judge(f->acl, who);
    return true;
}

static void fill(struct call *c, struct wanted *w, bool is_signed) {
    const struct store_file *f = &w->row;
    int64_t left_s = f->expires_ms > 0 ? (f->expires_ms - clock_wall_ms(c->api->clock)) / 1000
                                       : CACHE_S;
    w->etag[0] = '"';
    hex_write(w->etag + 1, f->sha256, SECRET_HASH_BYTES);
    memcpy(w->etag + 1 + SECRET_HASH_BYTES * 2, "\"", 2);
    http_date(f->created_ms, w->modified);
    w->cache_s = is_signed || f->acl.len > 0 ? -1 : left_s < CACHE_S ? left_s : CACHE_S;
    w->part = file_part_asked(net_head(c->x), slice_of(w->etag), f->created_ms, f->bytes);
}

static void serve(struct call *c, struct wanted *w, int fd) {
    bool is_signed = files_check_get(c->api, c->at.query, slice_of(w->row.id)) == 1;
    enum file_access access = FILE_ALLOW;
    if (!is_signed && !access_of(c, &w->row, &access)) return;
    if (access == FILE_HIDE) {
        files_not_found(c);
    } else if (access == FILE_FORBID) {
        call_error(c, 403, NULL, SLICE("this file is not for everybody"));
    } else {
        fill(c, w, is_signed);
        answer(c, w, fd);
    }
}

static void found(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    if (c == NULL) return;
    const struct store_file *f = files_row_of(user, r);
    struct wanted *w = c->own;
    if (f == NULL) {
        if (r->status == STORE_OK || r->status == STORE_NOT_FOUND)
            files_not_found(c);
        else
            files_unavailable(c);
        return;
    }
    w->row = *f;
    if (keep_texts(c, w)) serve(c, w, -1);
}

void handle_file(struct call *c) {
    struct files_held *h = c->api->files->held;
    struct wanted *w = arena_zalloc(net_arena(c->x), sizeof *w);
    struct slice id;
    int fd;
    if (!file_id_read(c->id, &id)) {
        files_not_found(c);
        return;
    }
    if (files_check_get(c->api, c->at.query, id) < 0) {
        call_error(c, 403, NULL,
                   SLICE("the address has expired, or was not signed by this server"));
        return;
    }
    if (w == NULL) {
        files_unavailable(c);
        return;
    }
    c->own = w;
    w->age = files_held_age(h);
    const struct store_file *held = files_held_find(h, id, &fd);
    if (held == NULL) {
        files_ask(c, id, found);
    } else if (files_is_over(c->api, held)) {
        files_not_found(c);
    } else {
        w->row = *held;
        serve(c, w, fd);
    }
}

/* --- DELETE */

static void found_to_delete(void *user, uint64_t arg, const struct store_reply *r);

/* STALE: the upload became whole in between; it does so once. */
static void deleted(struct api *a, uint64_t arg, enum store_status s) {
    struct slice id;
    struct call *c = call_of(a, arg);
    if (c == NULL) return;
    if (s == STORE_OK) {
        call_headers(c);
        net_reply(c->x, 204, SLICE(""), SLICE(""));
    } else if (s == STORE_STALE && file_id_read(c->id, &id)) {
        files_ask(c, id, found_to_delete);
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
