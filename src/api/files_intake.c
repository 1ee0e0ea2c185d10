/* One body on its way to the disk: counted, bounded, held back while the disk is behind. */
#include "api/files_room.h"

#include <stdlib.h>

/* How often a body looks whether the disk is filling up. */
#define LOOK_BYTES (4U << 20)

struct call *intake_call(const struct intake *t) {
    return t->exchange != 0 ? call_of(t->api, t->exchange) : NULL;
}

struct intake *intake_find(const struct files *f, struct slice id) {
    for (struct intake *t = f->intakes; t != NULL; t = t->next)
        if (slice_is(id, t->id)) return t;
    return NULL;
}

/* --- ends */

static void let_go(struct intake *t) {
    struct call *c = intake_call(t);
    if (c != NULL && c->own == t) c->own = NULL;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->api->files->intakes = t->next;
    if (t->next != NULL) t->next->prev = t->prev;
    t->api->files->nintakes--;
    t->api->files->coming -= t->coming;
    free(t->facts);
    free(t);
}

static void give_back(struct intake *t) {
    if (t->owner != NULL)
        files_quota_give(t->api->files->quota, t->owner, t->covered - t->promised);
}

void intake_drop(struct intake *t) {
    blob_put_drop(t->put);
    give_back(t);
    let_go(t);
}

void intake_end(struct intake *t) {
    let_go(t);
}

void intake_undo(struct intake *t) {
    if (!t->api->files->closed) blob_delete(t->api->blobs, t->id, NULL, NULL);
    give_back(t);
    let_go(t);
}

static void answer_failed(struct call *c, enum blob_status s) {
    if (c == NULL) return;
    if (s == BLOB_FULL)
        files_refuse_full(c);
    else
        files_unavailable(c);
}

/* --- the disk */

static void drained(void *user) {
    struct call *c = intake_call(user);
    if (c != NULL) net_body_resume(c->x);
}

static void failed(void *user, enum blob_status s) {
    struct intake *t = user;
    struct call *c = intake_call(t);
    intake_drop(t);
    answer_failed(c, s);
}

static const struct blob_put_hooks put_hooks = {.drained = drained, .failed = failed};

static void flushed(void *user, enum blob_status s, const struct blob_info *info) {
    struct intake *t = user;
    struct call *c = intake_call(t);
    t->put = NULL;
    if (s != BLOB_OK) {
        intake_drop(t);
        answer_failed(c, s);
    } else if (t->api->files->closed || (c == NULL && t->use->needs_caller)) {
        intake_undo(t);
    } else {
        t->state = INTAKE_RECORDING;
        t->info = *info;
        t->use->stored(t);
    }
}

static void finish(struct intake *t) {
    struct call *c = intake_call(t);
    if (t->exact != FILE_NO_SIZE && t->received != t->exact) {
        intake_drop(t);
        call_error(c, 400, "bad_request", SLICE("incomplete upload"));
        return;
    }
    t->state = INTAKE_FLUSHING;
    blob_put_finish(t->put, flushed, t);
}

/* --- bytes */

/* Others write to the disk too: what the head was let in by does not hold for the whole body. */
static bool disk_is_full(const struct intake *t, uint64_t more) {
    return t->received / LOOK_BYTES != (t->received - more) / LOOK_BYTES &&
           blobs_free_bytes(t->api->blobs) < t->api->config->min_free_bytes;
}

/* Beyond what was declared, beyond a limit, over the quota: NULL when none of these. */
static void (*excess(struct intake *t, uint64_t more))(struct call *c) {
    if (t->received > t->room) return files_refuse_large;
    if (disk_is_full(t, more)) return files_refuse_full;
    if (t->received <= t->covered) return NULL;
    if (!files_quota_take(t->api->files->quota, t->owner, t->received - t->covered))
        return files_refuse_quota;
    t->covered = t->received;
    return NULL;
}

static void arrived(struct intake *t, uint64_t bytes) {
    if (bytes > t->coming) bytes = t->coming;
    t->coming -= bytes;
    t->api->files->coming -= bytes;
}

static void refuse_longer(struct call *c) {
    call_error(c, 413, "bad_request", SLICE("the file is larger than was declared"));
}

/* Bytes that came in one read with the head wait in the put while the row is looked for; nothing counts them yet. */
static void on_body(struct call *c, struct slice data) {
    struct intake *t = c->own;
    if (t == NULL) return;
    t->received += data.len;
    arrived(t, data.len);
    void (*refuse)(struct call *c) = t->received > t->exact      ? refuse_longer
                                     : t->state == INTAKE_TAKING ? excess(t, data.len)
                                                                 : NULL;
    if (refuse != NULL) {
        intake_drop(t);
        refuse(c);
        return;
    }
    file_ends_add(&t->ends, data);
    if (!blob_put_write(t->put, data)) net_body_pause(c->x);
}

static void on_gone(struct call *c) {
    struct intake *t = c->own;
    c->own = NULL;
    if (t == NULL) return;
    t->exchange = 0;
    if (t->state == INTAKE_ASKING || t->state == INTAKE_TAKING) intake_drop(t);
}

static const struct call_hooks hooks = {.gone = on_gone, .body = on_body};

/* --- begin */

/* What the head says of the length, against what was declared. */
static bool length_ok(struct call *c, uint64_t exact, uint64_t room) {
    const struct h1_head *h = net_head(c->x);
    uint64_t length = h->has_length ? h->content_length : 0;
    bool told = h->has_length || !h->chunked; /* neither: there is no body */
    if (exact != FILE_NO_SIZE && told && length != exact) {
        if (length > exact)
            refuse_longer(c);
        else
            call_error(c, 400, "bad_request", SLICE("incomplete upload"));
        return false;
    }
    if (length > room) {
        files_refuse_large(c);
        return false;
    }
    return files_room_for(c, length);
}

/* Bytes are kept as they come, and whole. */
static bool form_ok(struct call *c) {
    const struct h1_head *h = net_head(c->x);
    struct slice coding = h1_get(h, SLICE("content-encoding"), NULL);
    if (coding.len > 0 && !slice_eq_nocase(coding, SLICE("identity"))) {
        call_error(c, 415, "bad_request",
                   SLICE("content encoding not supported; send the file as it is"));
        return false;
    }
    if (h1_get(h, SLICE("content-range"), NULL).ptr == NULL) return true;
    call_error(c, 400, "bad_request",
               SLICE("Content-Range: a file is uploaded whole, or in parts"));
    return false;
}

struct intake *intake_new(struct call *c, const struct intake_use *use, const char *id,
                          uint64_t exact, uint64_t room) {
    struct files *f = c->api->files;
    if (!form_ok(c) || !length_ok(c, exact, room)) return NULL;
    struct intake *t = calloc(1, sizeof *t);
    if (t != NULL) t->put = blob_put_begin(c->api->blobs, id, &put_hooks, t);
    if (t == NULL || t->put == NULL) {
        free(t);
        files_unavailable(c);
        return NULL;
    }
    t->api = c->api;
    t->use = use;
    t->exchange = net_exchange_id(c->x);
    t->exact = exact;
    t->room = room;
    memcpy(t->id, id, FILE_ID_BYTES);
    t->next = f->intakes;
    if (f->intakes != NULL) f->intakes->prev = t;
    f->intakes = t;
    f->nintakes++;
    t->coming = net_head(c->x)->has_length ? net_head(c->x)->content_length : 0;
    f->coming += t->coming;
    c->own = t;
    c->hooks = &hooks;
    net_stream_body(c->x, UINT64_MAX / 2); /* the limits are looked at here */
    return t;
}

bool intake_open(struct intake *t, struct files_owner *owner, uint64_t promised) {
    struct call *c = intake_call(t);
    const struct h1_head *h = net_head(c->x);
    uint64_t want = h->has_length && h->content_length > t->received ? h->content_length
                                                                     : t->received;
    t->owner = owner;
    t->covered = t->promised = promised;
    if (want > promised && !files_quota_take(t->api->files->quota, owner, want - promised)) {
        intake_drop(t);
        files_refuse_quota(c);
        return false;
    }
    if (want > promised) t->covered = want;
    t->state = INTAKE_TAKING;
    if (t->whole) finish(t);
    return true;
}

void intake_whole(struct call *c) {
    struct intake *t = c->own;
    if (t == NULL) return;
    t->whole = true;
    if (t->state == INTAKE_TAKING) finish(t);
}
