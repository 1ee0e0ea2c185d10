/* The part's life: what is there at the start, what goes when its time is over, what other rooms ask. */
#include "api/files_room.h"
#include "api/files_rules.h"
#include "base/hex.h"

#include <stdio.h>
#include <stdlib.h>

/* A file is not to be had from its own time on; its row and bytes go soon after, at the latest after SWEEP_MS. While some
 * go more may be due. */
#define SWEEP_MS 30000U
#define SWEEP_SOON_MS 1000U
#define SWEEP_ROWS 200U
#define LOAD_ROWS 5000U

static int64_t now_ms(const struct api *a) {
    return clock_wall_ms(a->clock);
}

/* --- rows */

bool files_is_over(const struct api *a, const struct store_file *f) {
    return f->expires_ms > 0 && f->expires_ms <= now_ms(a);
}

const struct store_file *files_row_of(const struct api *a, const struct store_reply *r) {
    if (r->status != STORE_OK || r->nfiles != 1) return NULL;
    const struct store_file *f = r->files;
    if (f->state != STORE_FILE_WHOLE) return NULL;
    return files_is_over(a, f) ? NULL : f;
}

static bool ask(struct api *a, struct slice id, desk_done *done, void *user, uint64_t arg) {
    char name[FILE_ID_BYTES];
    uint64_t ticket = desk_ask(a->desk, done, user, arg);
    if (ticket == 0) return false;
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(id));
    a->store->backend->file_get(a->store, ticket, name);
    return true;
}

bool files_ask(struct call *c, struct slice id, desk_done *done) {
    if (ask(c->api, id, done, c->api, net_exchange_id(c->x))) return true;
    files_unavailable(c);
    return false;
}

struct search {
    struct api *api;
    bool is_signed;
    void (*done)(void *user, uint64_t arg, const struct store_file *f, bool ok);
    void *user;
    uint64_t arg;
    size_t owner_len;
    char owner[];
};

static void searched(void *user, uint64_t arg, const struct store_reply *r) {
    struct search *s = user;
    struct slice owner = slice_make(s->owner, s->owner_len);
    const struct store_file *f = files_row_of(s->api, r);
    bool mine = f != NULL && (s->is_signed || slice_eq(f->owner, owner) ||
                              file_acl_judge(f->acl, owner) == FILE_ALLOW);
    s->done(s->user, s->arg, mine ? f : NULL,
            r->status == STORE_OK || r->status == STORE_NOT_FOUND);
    free(s);
}

bool files_find(struct api *a, struct slice id, struct slice owner, bool is_signed,
                void (*done)(void *user, uint64_t arg, const struct store_file *f, bool ok),
                void *user, uint64_t arg) {
    struct search *s = malloc(sizeof *s + owner.len);
    if (s == NULL) return false;
    *s = (struct search){a, is_signed, done, user, arg, owner.len};
    if (owner.len > 0) memcpy(s->owner, owner.ptr, owner.len);
    if (ask(a, id, searched, s, 0)) return true;
    free(s);
    return false;
}

/* --- removal */

struct removal {
    struct api *api;
    struct files_owner *owner;
    bool pending;
    uint64_t bytes, arg;
    void (*done)(struct api *a, uint64_t arg, enum store_status s);
    char id[STORE_ID_BYTES];
};

static void removed(void *user, uint64_t arg, const struct store_reply *r) {
    struct removal *m = user;
    struct files *f = m->api->files;
    if (r->status == STORE_OK) {
        files_quota_give(f->quota, m->owner, m->bytes);
        files_quota_count(f->quota, m->owner, -1);
        m->owner->pending -= m->pending;
        f->removed++;
        if (!f->closed) blob_delete(m->api->blobs, m->id, NULL, NULL);
    }
    files_held_changed(f->held, slice_of(m->id));
    if (m->done != NULL) m->done(m->api, m->arg, r->status);
    free(m);
}

void files_remove(struct api *a, const struct store_file *f,
                  void (*done)(struct api *a, uint64_t arg, enum store_status s), uint64_t arg) {
    struct removal *m = calloc(1, sizeof *m);
    struct files_owner *owner = files_owner(a->files->quota, f->owner);
    uint64_t ticket = m != NULL && owner != NULL ? desk_ask(a->desk, removed, m, 0) : 0;
    if (ticket == 0) {
        free(m);
        if (done != NULL) done(a, arg, STORE_MEMORY);
        return;
    }
    *m = (struct removal){a, owner, f->state == STORE_FILE_PENDING, f->bytes, arg, done, ""};
    snprintf(m->id, sizeof m->id, "%s", f->id);
    files_held_changed(a->files->held, slice_of(f->id));
    a->store->backend->file_remove(a->store, ticket, f);
}

/* --- the sweeper */

static uint64_t until_due_ms(const struct files *f) {
    int64_t left_ms = f->due_ms - now_ms(f->api);
    return f->due_ms == 0 ? UINT64_MAX
           : left_ms > 0  ? (uint64_t)left_ms + NET_TICK_MS
                          : NET_TICK_MS;
}

static void sweep_again(struct files *f, uint64_t after_ms) {
    uint64_t due = until_due_ms(f);
    if (!f->closed) net_timer_start(f->api->loop, &f->sweep, due < after_ms ? due : after_ms);
}

void files_due(struct files *f, int64_t at_ms) {
    if (at_ms == 0 || (f->due_ms > 0 && f->due_ms <= at_ms)) return;
    f->due_ms = at_ms;
    if (net_timer_armed(&f->sweep) && net_now_ms(f->api->loop) + until_due_ms(f) < f->sweep.due_ms)
        sweep_again(f, SWEEP_MS);
}

/* Uploads that run keep their row: what they become has another time. One that has become it since the rows were read is
 * not removed: the store finds another row than was seen. */
static void swept(void *user, uint64_t arg, const struct store_reply *r) {
    struct files *f = user;
    size_t n = 0;
    if (f->closed) return;
    for (size_t i = 0; r->status == STORE_OK && i < r->nfiles; i++) {
        if (intake_find(f, slice_of(r->files[i].id)) != NULL) continue;
        files_remove(f->api, &r->files[i], NULL, 0);
        n++;
    }
    if (n > 0) log_line(LOG_INFO, "files_expired", "files=%zu", n);
    sweep_again(f, n == 0 ? SWEEP_MS : r->more ? NET_TICK_MS : SWEEP_SOON_MS);
}

static void sweep(struct net_timer *t) {
    struct files *f = (struct files *)(void *)((char *)t - offsetof(struct files, sweep));
    struct api *a = f->api;
    struct store_file_query q = {.expires_before_ms = now_ms(a) + 1, .limit = SWEEP_ROWS};
    f->due_ms = 0;
    multiparts_sweep(f, now_ms(a));
    uint64_t ticket = desk_ask(a->desk, swept, f, 0);
    if (ticket != 0)
        a->store->backend->files(a->store, ticket, &q);
    else
        sweep_again(f, SWEEP_MS);
}

/* --- the start: what each owner has; then every blob that has no row goes */

struct load {
    struct api *api;
    unsigned char (*ids)[(FILE_ID_BYTES - 1) / 2]; /* of blobs, sorted */
    bool *kept;
    size_t n, room, at, orphans;
    bool failed;
    char after[STORE_ID_BYTES]; /* the last row looked at */
};

/* At a server that ends meanwhile nobody waits for it. */
static void load_end(struct load *l, bool ok) {
    struct api *a = l->api;
    bool closed = a->files->closed;
    for (size_t i = 0; i < l->n && ok && !closed; i++) {
        char id[FILE_ID_BYTES];
        if (l->kept[i]) continue;
        hex_write(id, l->ids[i], sizeof l->ids[i]);
        blob_delete(a->blobs, id, NULL, NULL);
        l->orphans++;
    }
    if (l->orphans > 0) log_line(LOG_INFO, "files_removed", "without_row=%zu", l->orphans);
    free(l->ids);
    free(l->kept);
    free(l);
    if (closed) return;
    if (ok) sweep_again(a->files, NET_TICK_MS);
    api_loaded(a, ok);
}

static void bytes_of(const char *id, unsigned char *out) {
    for (size_t i = 0; i < (FILE_ID_BYTES - 1) / 2; i++) {
        unsigned char v = 0;
        for (size_t j = 0; j < 2; j++) {
            char c = id[2 * i + j];
            v = (unsigned char)(v << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
        }
        out[i] = v;
    }
}

static int compare(const void *a, const void *b) {
    return memcmp(a, b, (FILE_ID_BYTES - 1) / 2);
}

static void ask_rows(struct load *l);

/* Both are in order of their ids. */
static void rows_read(void *user, uint64_t arg, const struct store_reply *r) {
    struct load *l = user;
    unsigned char id[(FILE_ID_BYTES - 1) / 2];
    struct slice unused;
    for (size_t i = 0; r->status == STORE_OK && i < r->nfiles; i++) {
        snprintf(l->after, sizeof l->after, "%s", r->files[i].id);
        if (!file_id_read(slice_of(r->files[i].id), &unused)) continue;
        bytes_of(r->files[i].id, id);
        while (l->at < l->n && memcmp(l->ids[l->at], id, sizeof id) < 0) l->at++;
        if (l->at < l->n && memcmp(l->ids[l->at], id, sizeof id) == 0) l->kept[l->at] = true;
    }
    if (r->status == STORE_OK && r->more && r->nfiles > 0 && !l->api->files->closed)
        ask_rows(l);
    else
        load_end(l, r->status == STORE_OK);
}

static void ask_rows(struct load *l) {
    struct api *a = l->api;
    struct store_file_query q = {.after = l->after[0] != '\0' ? l->after : NULL,
                                 .limit = LOAD_ROWS};
    uint64_t ticket = desk_ask(a->desk, rows_read, l, 0);
    if (ticket == 0)
        load_end(l, false);
    else
        a->store->backend->files(a->store, ticket, &q);
}

static void note_blob(struct load *l, const char *id) {
    struct slice read;
    if (!file_id_read(slice_of(id), &read) || id[FILE_ID_BYTES - 1] != '\0') {
        blob_delete(l->api->blobs, id, NULL, NULL); /* no file of ours is called so */
        l->orphans++;
        return;
    }
    if (l->n == l->room) {
        size_t room = l->room > 0 ? l->room * 2 : 1024;
        void *grown = realloc(l->ids, room * sizeof *l->ids);
        if (grown == NULL) {
            l->failed = true;
            return;
        }
        l->ids = grown;
        l->room = room;
    }
    bytes_of(id, l->ids[l->n++]);
}

static void blobs_listed(void *user, const char *const *ids, size_t n, bool last) {
    struct load *l = user;
    for (size_t i = 0; i < n; i++) note_blob(l, ids[i]);
    if (!last) return;
    l->kept = calloc(l->n + 1, sizeof *l->kept);
    if (l->failed || l->kept == NULL || l->api->files->closed) {
        load_end(l, false);
        return;
    }
    if (l->n > 0) qsort(l->ids, l->n, sizeof *l->ids, compare);
    ask_rows(l);
}

static void sums_read(void *user, uint64_t arg, const struct store_reply *r) {
    struct load *l = user;
    struct files *f = l->api->files;
    for (size_t i = 0; r->status == STORE_OK && i < r->nfile_sums; i++) {
        const struct store_file_sum *s = &r->file_sums[i];
        struct files_owner *o = files_owner(f->quota, s->owner);
        if (o == NULL) {
            l->failed = true;
            continue;
        }
        files_quota_set(f->quota, o, s->files, s->bytes);
        o->pending = s->pending;
    }
    if (r->status != STORE_OK || l->failed || f->closed)
        load_end(l, false);
    else
        blob_list(l->api->blobs, blobs_listed, l);
}

void files_load(struct api *a) {
    struct load *l = calloc(1, sizeof *l);
    uint64_t ticket = l != NULL ? desk_ask(a->desk, sums_read, l, 0) : 0;
    if (ticket == 0) {
        free(l);
        api_loaded(a, false);
        return;
    }
    l->api = a;
    a->store->backend->file_sums(a->store, ticket);
}

/* --- life */

bool files_open(struct api *a, char *reason, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/files", a->config->data_dir);
    a->files = calloc(1, sizeof *a->files);
    if (a->files != NULL) a->files->quota = files_quota_new(a->config->max_stored_bytes_per_key);
    if (a->files != NULL) a->files->held = files_held_new();
    if (a->files == NULL || a->files->quota == NULL || a->files->held == NULL) {
        snprintf(reason, size, "out of memory");
        return false;
    }
    a->files->api = a;
    a->files->sweep.fire = sweep;
    a->blobs = blobs_open_dir(a->loop, path, reason, size);
    return a->blobs != NULL;
}

/* Uploads that run have the server's grace; multipart ones go on until it is over. */
void files_drain(struct api *a) {
}

/* The server is closed: every intake before FLUSHING is gone with its call. */
void files_close(struct api *a) {
    if (a->files == NULL) return;
    a->files->closed = true;
    net_timer_stop(a->loop, &a->files->sweep);
    if (a->blobs != NULL) blobs_close(a->blobs, NULL, NULL);
}

void files_free(struct api *a) {
    if (a->files == NULL) return;
    multiparts_free(a->files);
    files_quota_free(a->files->quota);
    files_held_free(a->files->held);
    free(a->files);
    a->files = NULL;
}

void files_get_stats(const struct api *a, struct files_stats *out) {
    *out = (struct files_stats){0};
    if (a->files == NULL) return;
    files_quota_totals(a->files->quota, &out->files, &out->bytes);
    out->stored = a->files->stored;
    out->removed = a->files->removed;
    out->running = a->files->nintakes;
    out->multipart = a->files->nmultiparts;
}
