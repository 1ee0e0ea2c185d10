/* Uploads in parts: JavaScript's one after the other under a signed address, Python's ten at once and unsorted under a storage
 * token. Parts are blobs of their own until they are joined.
 *
 *   OPEN      parts come and may come again    --complete, all there--> JOINING
 *   JOINING   the blobs become one             --durable--> JOINED       --the disk fails--> OPEN
 *   JOINED    no part is left to be given      --complete--> RECORDING
 *   RECORDING the row is written               --durable--> DONE         --the store fails--> JOINED
 *   DONE      says so again, to whoever lost the answer, for DONE_MS
 *   OPEN, JOINED, DONE --time is over--> gone */
#include "api/files_room.h"
#include "base/hex.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_PARTS 10000U
#define MAX_PER_OWNER 1000U /* begun and not completed */
/* Parts of all of these together: two uploads may be as long as one may be. What a part takes is an inode and its entry here,
 * and neither of them counts in the quota. */
#define MAX_PARTS_PER_OWNER 20000U
#define DONE_MS 600000

enum multipart_state { OPEN, JOINING, JOINED, RECORDING, DONE };

struct part {
    unsigned number;
    char blob[FILE_ID_BYTES], etag[SECRET_HASH_BYTES * 2 + 1]; /* hex, without quotes */
    uint64_t bytes;
    struct file_ends ends;
};

struct multipart {
    struct multipart *next;
    struct api *api;
    struct files_owner *owner;
    struct file_facts *facts;
    char id[FILE_ID_BYTES], upload[FILE_ID_BYTES];
    enum multipart_state state;
    int64_t expires_ms;
    uint64_t size; /* declared; FILE_NO_SIZE */
    uint64_t bytes;
    struct part *parts; /* in order of their numbers */
    size_t nparts, room;
    uint64_t exchange; /* of the complete that runs */
    struct store_file row;
};

static int64_t now_ms(const struct api *a) {
    return clock_wall_ms(a->clock);
}

/* --- which */

static struct multipart **place_of(struct files *f, struct slice id) {
    size_t bucket = 0; /* ids are random: their first digits will do */
    for (size_t i = 0; i < 4; i++) bucket = bucket * 16 + (unsigned char)id.ptr[i] % 16;
    struct multipart **p = &f->multiparts[bucket % MULTIPART_BUCKETS];
    while (*p != NULL && !slice_is(id, (*p)->id)) p = &(*p)->next;
    return p;
}

/* Python names the upload too, and must own it; JavaScript's address is signed. */
static struct multipart *named(struct call *c, bool by_token) {
    struct slice id;
    struct multipart *m = file_id_read(c->id, &id) ? *place_of(c->api->files, id) : NULL;
    if (m == NULL || !by_token) return m;
    bool mine = slice_is(c->sub, m->upload) && files_owns(&c->who, files_owner_name(m->owner));
    return mine ? m : NULL;
}

static bool by_token(const struct call *c) {
    return c->sub.len > 0;
}

static void gone(struct multipart **place, bool with_parts) {
    struct multipart *m = *place;
    struct files *f = m->api->files;
    *place = m->next;
    for (size_t i = 0; i < m->nparts && with_parts; i++)
        blob_delete(m->api->blobs, m->parts[i].blob, NULL, NULL);
    if (with_parts && m->state == JOINED) blob_delete(m->api->blobs, m->id, NULL, NULL);
    if (m->state != DONE) {
        files_quota_give(f->quota, m->owner, m->bytes);
        m->owner->multipart--;
        m->owner->parts -= m->nparts;
        f->nmultiparts--;
    }
    free(m->parts);
    free(m->facts);
    free(m);
}

void multiparts_sweep(struct files *f, int64_t at_ms) {
    size_t given_up = 0;
    for (size_t i = 0; i < MULTIPART_BUCKETS; i++) {
        for (struct multipart **p = &f->multiparts[i]; *p != NULL;) {
            struct multipart *m = *p;
            bool busy = m->state == JOINING || m->state == RECORDING;
            if (busy || at_ms < m->expires_ms) {
                p = &m->next;
            } else {
                given_up += m->state != DONE;
                gone(p, true);
            }
        }
    }
    if (given_up > 0) log_line(LOG_INFO, "uploads_given_up", "multipart=%zu", given_up);
}

/* Their parts go with the next start. */
void multiparts_free(struct files *f) {
    for (size_t i = 0; i < MULTIPART_BUCKETS; i++)
        while (f->multiparts[i] != NULL) gone(&f->multiparts[i], false);
}

/* --- begin */

static struct multipart *begin(struct call *c, struct file_facts *facts, uint64_t size) {
    struct api *a = c->api;
    struct files *f = a->files;
    struct files_owner *owner = files_owner(f->quota, identity_owner(&c->who));
    struct multipart *m = calloc(1, sizeof *m);
    if (owner == NULL || m == NULL || owner->multipart >= MAX_PER_OWNER) {
        free(m);
        free(facts);
        net_header(c->x, SLICE("retry-after"), SLICE("60"));
        if (owner != NULL && owner->multipart >= MAX_PER_OWNER)
            call_error(c, 429, "rate_limit_exceeded",
                       SLICE("1000 uploads in parts were begun and not completed; complete some"));
        else
            files_unavailable(c);
        return NULL;
    }
    m->api = a;
    m->owner = owner;
    m->facts = facts;
    m->size = size;
    m->expires_ms = now_ms(a) + a->config->upload_expiry_s * INT64_C(1000);
    file_id_new(a->random, m->id);
    file_id_new(a->random, m->upload);
    *place_of(f, slice_of(m->id)) = m;
    owner->multipart++;
    f->nmultiparts++;
    files_due(f, m->expires_ms);
    return m;
}

/* What was declared is taken as bytes come: until then it is a promise of the caller's alone. */
void multipart_initiate(struct call *c, struct file_facts *facts, uint64_t size) {
    struct multipart *m = begin(c, facts, size);
    if (m == NULL) return;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"upload_url\":\"");
    files_base(b, c);
    buf_printf(b, "/upload/%s", m->id);
    files_sign_parts(b, c->api, m->id, files_key(c), m->expires_ms / 1000);
    buf_puts(b, "\",\"file_url\":\"");
    files_address(b, c, m->id, m->facts->label, m->facts->type);
    buf_puts(b, "\"}");
    call_scratch_json(c, 200);
}

void handle_multipart(struct call *c) {
    const struct h1_head *h = net_head(c->x);
    struct file_facts *facts = file_facts_read(c, h1_get(h, SLICE("content-type"), NULL),
                                               h1_get(h, SLICE("x-fal-file-name"), NULL));
    struct multipart *m;
    if (facts == NULL) return;
    if (!files_room_for(c, 0)) {
        free(facts);
        return;
    }
    if ((m = begin(c, facts, FILE_NO_SIZE)) == NULL) return;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"access_url\":\"");
    files_address(b, c, m->id, m->facts->label, m->facts->type);
    buf_printf(b, "\",\"uploadId\":\"%s\"}", m->upload);
    call_scratch_json(c, 200);
}

/* --- parts */

static size_t find_part(const struct multipart *m, unsigned number, bool *found) {
    size_t low = 0, high = m->nparts;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (m->parts[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    *found = low < m->nparts && m->parts[low].number == number;
    return low;
}

/* The place of that part, empty or with an earlier one in it. NULL: no memory. */
static struct part *place_part(struct multipart *m, unsigned number, bool *found) {
    size_t at = find_part(m, number, found);
    if (*found) return &m->parts[at];
    if (m->nparts == m->room) {
        size_t room = m->room > 0 ? m->room * 2 : 8;
        struct part *grown = realloc(m->parts, room * sizeof *grown);
        if (grown == NULL) return NULL;
        m->parts = grown;
        m->room = room;
    }
    memmove(m->parts + at + 1, m->parts + at, (m->nparts - at) * sizeof *m->parts);
    m->nparts++;
    m->owner->parts++;
    return &m->parts[at];
}

static void answer_part(struct call *c, const struct part *p) {
    char etag[sizeof p->etag + 2];
    struct buf *b = call_scratch(c);
    snprintf(etag, sizeof etag, "\"%s\"", p->etag);
    net_header(c->x, SLICE("etag"), slice_of(etag));
    buf_printf(b, "{\"partNumber\":%u,\"etag\":\"\\\"%s\\\"\"}", p->number, p->etag);
    call_scratch_json(c, 200);
}

static void refuse_state(struct call *c) {
    call_error(c, 409, "bad_request", SLICE("the upload is complete, or about to be"));
}

static void refuse_number_of_parts(struct call *c) {
    net_header(c->x, SLICE("retry-after"), SLICE("60"));
    call_error(c, 429, "rate_limit_exceeded",
               SLICE("20000 parts of uploads wait to be completed; complete some"));
}

/* So many bytes the part may have, beside the others that are there. */
static uint64_t room_of(const struct multipart *m, unsigned number) {
    bool again;
    size_t at = find_part(m, number, &again);
    uint64_t most = m->size != FILE_NO_SIZE ? m->size : m->api->config->max_file_bytes;
    uint64_t others = m->bytes - (again ? m->parts[at].bytes : 0);
    return most > others ? most - others : 0;
}

/* NULL: it may come, by what is there now. */
static void (*refusal(const struct multipart *m, unsigned number))(struct call *c) {
    bool again;
    if (m == NULL) return files_not_found;
    if (m->state != OPEN) return refuse_state;
    find_part(m, number, &again);
    return again || m->owner->parts < MAX_PARTS_PER_OWNER ? NULL : refuse_number_of_parts;
}

/* Several come at the same time: what the head was let in by may be taken since. Of a part that came again the last one
 * counts. */
static void part_stored(struct intake *t) {
    struct multipart *m = *place_of(t->api->files, slice_of(t->upload));
    struct call *c = intake_call(t);
    bool again = false;
    void (*refuse)(struct call *c) = refusal(m, t->part);
    if (refuse == NULL && t->info.bytes > room_of(m, t->part)) refuse = files_refuse_large;
    struct part *p = refuse == NULL ? place_part(m, t->part, &again) : NULL;
    if (p == NULL) {
        intake_undo(t);
        if (refuse == NULL) refuse = files_unavailable;
        if (c != NULL) refuse(c);
        return;
    }
    if (again) {
        blob_delete(t->api->blobs, p->blob, NULL, NULL);
        files_quota_give(t->api->files->quota, m->owner, p->bytes);
        m->bytes -= p->bytes;
    }
    *p = (struct part){.number = t->part, .bytes = t->info.bytes, .ends = t->ends};
    memcpy(p->blob, t->id, sizeof p->blob);
    hex_write(p->etag, t->info.sha256, SECRET_HASH_BYTES);
    m->bytes += t->info.bytes;
    if (t->covered > t->info.bytes)
        files_quota_give(t->api->files->quota, t->owner, t->covered - t->info.bytes);
    if (c != NULL) answer_part(c, p);
    intake_end(t);
}

static const struct intake_use part_use = {.stored = part_stored, .needs_caller = true};

static bool part_number(struct slice text, unsigned *out) {
    uint64_t v;
    if (!slice_to_range(text, 1, MAX_PARTS, &v)) return false;
    *out = (unsigned)v;
    return true;
}

static void refuse_number(struct call *c, struct slice n) {
    char text[96];
    int len = snprintf(text, sizeof text, "part %.*s: the number of a part should be 1 to 10000",
                       (int)(n.len < 24 ? n.len : 24), n.ptr);
    call_error(c, 400, "bad_request", slice_make(text, (size_t)len));
}

static void refuse_parts(struct call *c, unsigned number, const char *why) {
    char text[128];
    int n = number > 0 ? snprintf(text, sizeof text, "part %u: %s", number, why)
                       : snprintf(text, sizeof text, "%s", why);
    call_error(c, 400, "bad_request", slice_make(text, (size_t)n));
}

static void head_part(struct call *c) {
    struct multipart *m = named(c, by_token(c));
    char id[FILE_ID_BYTES];
    unsigned number;
    if (!part_number(c->n, &number)) {
        refuse_number(c, c->n);
        return;
    }
    void (*refuse)(struct call *c) = refusal(m, number);
    if (refuse != NULL) {
        refuse(c);
        return;
    }
    file_id_new(c->api->random, id);
    struct intake *t = intake_new(c, &part_use, id, FILE_NO_SIZE, room_of(m, number));
    if (t == NULL) return;
    t->part = number;
    memcpy(t->upload, m->id, sizeof t->upload);
    intake_open(t, m->owner, 0);
}

void head_token(struct call *c) {
    files_let_in(c);
}

void head_part_token(struct call *c) {
    if (files_let_in(c)) head_part(c);
}

/* Also before a complete. */
static bool signature_ok(struct call *c) {
    struct slice id;
    const char *why = file_id_read(c->id, &id) ? files_check_parts(c, id) : "no such upload";
    if (why != NULL) call_error(c, 403, "bad_request", slice_of(why));
    return why == NULL;
}

void head_part_signed(struct call *c) {
    if (signature_ok(c)) head_part(c);
}

void head_complete_signed(struct call *c) {
    signature_ok(c);
}

/* An empty file is one empty part. */
void handle_part(struct call *c) {
    struct intake *t = c->own;
    if (t == NULL || t->received > 0 || t->part == 1) {
        intake_whole(c);
        return;
    }
    unsigned number = t->part;
    intake_drop(t);
    refuse_parts(c, number, "is empty");
}

/* --- complete */

static void answer_done(struct multipart *m) {
    struct call *c = call_of(m->api, m->exchange);
    if (c != NULL) files_answer_stored(c, &m->row);
}

static void recorded(void *user, uint64_t arg, const struct store_reply *r) {
    struct multipart *m = user;
    struct files *f = m->api->files;
    struct call *c = call_of(m->api, m->exchange);
    if (r->status != STORE_OK) {
        m->state = JOINED;
        if (c != NULL) files_unavailable(c);
        return;
    }
    m->state = DONE;
    m->expires_ms = now_ms(m->api) + DONE_MS;
    m->owner->multipart--;
    f->nmultiparts--;
    f->stored++;
    files_quota_count(f->quota, m->owner, 1);
    files_due(f, m->row.expires_ms);
    log_line(LOG_DEBUG, "file_stored", "file=%s bytes=%llu", m->id,
             (unsigned long long)m->row.bytes);
    answer_done(m);
}

static void record(struct multipart *m) {
    struct api *a = m->api;
    uint64_t ticket = a->files->closed ? 0 : desk_ask(a->desk, recorded, m, 0);
    struct call *c = call_of(a, m->exchange);
    m->state = ticket != 0 ? RECORDING : JOINED;
    if (ticket != 0)
        a->store->backend->file_add(a->store, ticket, &m->row);
    else if (c != NULL)
        files_unavailable(c);
}

static void joined(void *user, enum blob_status s, const struct blob_info *info) {
    struct multipart *m = user;
    struct call *c = call_of(m->api, m->exchange);
    m->api->files->coming -= m->bytes;
    if (s != BLOB_OK) {
        m->state = OPEN;
        if (c != NULL && s == BLOB_FULL)
            files_refuse_full(c);
        else if (c != NULL)
            files_unavailable(c);
        return;
    }
    struct file_ends ends = m->parts[0].ends;
    for (size_t i = 1; i < m->nparts; i++) file_ends_join(&ends, &m->parts[i].ends);
    m->row = file_row(m->facts, m->id, files_owner_name(m->owner), now_ms(m->api));
    m->row.state = STORE_FILE_WHOLE;
    m->row.content_type = slice_of(file_kept_type(m->facts->type, &ends));
    m->row.bytes = info->bytes;
    memcpy(m->row.sha256, info->sha256, sizeof m->row.sha256);
    m->owner->parts -= m->nparts;
    m->nparts = 0; /* they are gone */
    record(m);
}

static void join(struct multipart *m) {
    const char **blobs = malloc(m->nparts * sizeof *blobs);
    if (blobs == NULL) {
        files_unavailable(call_of(m->api, m->exchange));
        return;
    }
    for (size_t i = 0; i < m->nparts; i++) blobs[i] = m->parts[i].blob;
    m->state = JOINING;
    m->api->files->coming += m->bytes;
    blob_join(m->api->blobs, m->id, blobs, m->nparts, joined, m);
    free(blobs);
}

static bool same_etag(struct slice given, const char *etag) {
    if (slice_starts(given, SLICE("W/"))) given = slice_from(given, 2);
    if (given.len >= 2 && given.ptr[0] == '"' && given.ptr[given.len - 1] == '"')
        given = slice_make(given.ptr + 1, given.len - 2);
    return slice_eq_nocase(given, slice_of(etag));
}

/* What is wrong with one that is listed, or NULL. */
static const char *part_fault(const struct multipart *m, yyjson_val *v, bool *listed,
                              unsigned *number) {
    yyjson_val *n = json_get(v, "partNumber"), *etag = json_get(v, "etag");
    bool found = false;
    *number = 0;
    if (n == NULL) n = json_get(v, "part_number");
    if (!yyjson_is_uint(n)) return "partNumber should be a whole number";
    if (yyjson_get_uint(n) < 1 || yyjson_get_uint(n) > MAX_PARTS) {
        *number = yyjson_get_uint(n) > UINT32_MAX ? UINT32_MAX : (unsigned)yyjson_get_uint(n);
        return "the number of a part should be 1 to 10000";
    }
    *number = (unsigned)yyjson_get_uint(n);
    size_t at = find_part(m, *number, &found);
    if (!found) return "was not uploaded";
    if (!yyjson_is_str(etag) || !same_etag(json_str(etag), m->parts[at].etag))
        return "the ETag is not that of the part which was uploaded last";
    if (listed[at]) return "is listed twice";
    listed[at] = true;
    return NULL;
}

/* Every part that was uploaded is listed, once, and none is missing between them. */
static const char *parts_fault(const struct multipart *m, yyjson_val *parts, bool *listed,
                               unsigned *number) {
    yyjson_val *v;
    size_t i, n;
    *number = 0;
    if (!yyjson_is_arr(parts) || yyjson_arr_size(parts) == 0)
        return "parts should be a list of {\"partNumber\",\"etag\"}";
    yyjson_arr_foreach(parts, i, n, v) {
        const char *why = i < MAX_PARTS ? part_fault(m, v, listed, number)
                                        : "an upload has at most 10000 parts";
        if (why != NULL) return why;
    }
    for (i = 0; i < m->nparts; i++) {
        *number = (unsigned)i + 1;
        if (m->parts[i].number != i + 1) return "is missing";
        if (!listed[i]) return "was uploaded and is not listed";
    }
    return NULL;
}

/* False: answered. */
static bool parts_ok(struct call *c, const struct multipart *m) {
    struct json_error err;
    yyjson_doc *doc = json_parse(net_body(c->x), &err);
    bool *listed = calloc(m->nparts + 1, sizeof *listed);
    unsigned number = 0;
    const char *why = doc == NULL ? "the body is not JSON" : NULL;
    if (listed == NULL) {
        files_unavailable(c);
    } else {
        if (why == NULL)
            why = parts_fault(m, json_get(yyjson_doc_get_root(doc), "parts"), listed, &number);
        if (why == NULL && m->size != FILE_NO_SIZE && m->bytes != m->size)
            why = "incomplete upload: the parts are fewer bytes than were declared", number = 0;
        if (why != NULL) refuse_parts(c, number, why);
    }
    yyjson_doc_free(doc);
    bool ok = listed != NULL && why == NULL;
    free(listed);
    return ok;
}

void handle_complete(struct call *c) {
    struct multipart *m = named(c, by_token(c));
    if (m == NULL) {
        files_not_found(c);
    } else if (m->state == JOINING || m->state == RECORDING) {
        net_header(c->x, SLICE("retry-after"), SLICE("1"));
        call_error(c, 409, "bad_request", SLICE("the upload is being completed"));
    } else if (m->state == OPEN) {
        if (!parts_ok(c, m) || !files_room_for(c, m->bytes)) return;
        m->exchange = net_exchange_id(c->x);
        join(m);
    } else {
        m->exchange = net_exchange_id(c->x);
        if (m->state == JOINED)
            record(m);
        else
            answer_done(m);
    }
}
