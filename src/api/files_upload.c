/* Uploads in one piece: begun and put to a signed address (JavaScript), or posted (Python). */
#include "api/files_room.h"
#include "api/files_rules.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t now_ms(const struct api *a) {
    return clock_wall_ms(a->clock);
}

/* Rows of one owner, begun and not put: without a size they cost no quota, and stay for upload_expiry. */
#define MAX_PENDING_PER_OWNER 10000U

/* --- initiate */

struct begun {
    struct api *api;
    struct files_owner *owner;
    struct file_facts *facts;
    uint64_t exchange, size; /* FILE_NO_SIZE: not declared */
    int64_t exp_ms;
    char id[FILE_ID_BYTES];
};

static uint64_t promised(uint64_t size) {
    return size == FILE_NO_SIZE ? 0 : size;
}

static void begun_free(struct begun *g) {
    free(g->facts);
    free(g);
}

static void answer_begun(struct call *c, const struct begun *g) {
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"upload_url\":\"");
    files_base(b, c);
    buf_printf(b, "/upload/%s", g->id);
    files_sign_put(b, c->api, g->id, files_key(c), g->facts->type, g->size, g->exp_ms / 1000);
    buf_puts(b, "\",\"file_url\":\"");
    files_address(b, c, g->id, g->facts->label, g->facts->type);
    buf_puts(b, "\"}");
    call_scratch_json(c, 200);
}

/* The row counts even when the caller has left meanwhile: it expires like any other. */
static void added(void *user, uint64_t arg, const struct store_reply *r) {
    struct begun *g = user;
    struct files *f = g->api->files;
    struct call *c = call_of(g->api, g->exchange);
    if (r->status == STORE_OK) {
        files_quota_count(f->quota, g->owner, 1);
        files_due(f, g->exp_ms);
    } else {
        files_quota_give(f->quota, g->owner, promised(g->size));
        g->owner->pending--;
    }
    if (c != NULL && r->status == STORE_OK)
        answer_begun(c, g);
    else if (c != NULL)
        files_unavailable(c);
    begun_free(g);
}

/* The owner whose quota and number were taken. NULL: answered. */
static struct files_owner *taken(struct call *c, uint64_t size) {
    struct files_quota *q = c->api->files->quota;
    struct files_owner *owner = files_owner(q, identity_owner(&c->who));
    if (owner == NULL) {
        files_unavailable(c);
    } else if (owner->pending >= MAX_PENDING_PER_OWNER) {
        net_header(c->x, SLICE("retry-after"), SLICE("60"));
        call_error(c, 429, "rate_limit_exceeded",
                   SLICE("10000 uploads were begun and not put; put some"));
    } else if (!files_quota_take(q, owner, promised(size))) {
        files_refuse_quota(c);
    } else {
        owner->pending++;
        return owner;
    }
    return NULL;
}

static void begin(struct call *c, struct file_facts *facts, uint64_t size) {
    struct api *a = c->api;
    struct files_owner *owner = taken(c, size);
    if (owner == NULL) {
        free(facts);
        return;
    }
    struct begun *g = calloc(1, sizeof *g);
    uint64_t ticket = g != NULL ? desk_ask(a->desk, added, g, 0) : 0;
    if (ticket == 0) {
        files_quota_give(a->files->quota, owner, promised(size));
        owner->pending--;
        free(g);
        free(facts);
        files_unavailable(c);
        return;
    }
    *g = (struct begun){a,     owner,
                        facts, net_exchange_id(c->x),
                        size,  now_ms(a) + a->config->upload_expiry_s * INT64_C(1000),
                        ""};
    file_id_new(a->random, g->id);
    struct store_file row = file_row(facts, g->id, files_owner_name(owner), now_ms(a));
    row.state = STORE_FILE_PENDING;
    row.bytes = promised(size);
    row.expires_ms = g->exp_ms;
    a->store->backend->file_add(a->store, ticket, &row);
}

static bool read_text(yyjson_val *root, const char *name, struct slice *out, struct faults *f) {
    yyjson_val *v = json_get(root, name);
    char loc[64];
    *out = json_str(v);
    if (v == NULL || yyjson_is_null(v) || yyjson_is_str(v)) return true;
    snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
    faults_add(f, loc, "Input should be a valid string", "string_type", NULL, v);
    return false;
}

static bool read_size(yyjson_val *root, uint64_t *out, struct faults *f) {
    yyjson_val *v = json_get(root, "file_size");
    *out = FILE_NO_SIZE;
    if (v == NULL || yyjson_is_null(v)) return true;
    if (yyjson_is_uint(v)) {
        *out = yyjson_get_uint(v);
        return true;
    }
    faults_add(f, "[\"body\",\"file_size\"]", "Input should be a whole number of bytes",
               "int_parsing", NULL, v);
    return false;
}

void handle_upload_initiate(struct call *c) {
    struct faults f;
    struct slice type, name;
    struct file_facts *facts = NULL;
    uint64_t size;
    if (!call_wants_json(c)) return;
    faults_init(&f);
    yyjson_doc *doc = endpoint_parse(net_body(c->x), &f);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (doc != NULL && read_text(root, "content_type", &type, &f) &&
        read_text(root, "file_name", &name, &f) && read_size(root, &size, &f))
        facts = file_facts_read(c, type, name);
    else
        call_faults(c, &f);
    yyjson_doc_free(doc);
    faults_free(&f);
    if (facts == NULL) return;
    if (!files_room_for(c, promised(size)))
        free(facts);
    else if (strstr(c->route->pattern, "multipart") != NULL)
        multipart_initiate(c, facts, size);
    else
        begin(c, facts, size);
}

/* --- PUT to the signed address */

static struct store_file finished_row(const struct intake *t, int64_t at_ms) {
    struct store_file row = file_row(t->facts, t->id, files_owner_name(t->owner), at_ms);
    row.state = STORE_FILE_WHOLE;
    row.content_type = slice_of(file_kept_type(t->facts->type, &t->ends));
    row.bytes = t->info.bytes;
    memcpy(row.sha256, t->info.sha256, sizeof row.sha256);
    return row;
}

static void answer_stored(struct intake *t) {
    struct call *c = intake_call(t);
    struct store_file row = finished_row(t, now_ms(t->api));
    if (c != NULL) files_answer_stored(c, &row);
}

/* What was promised and did not come is given back. */
static void count_stored(struct intake *t) {
    struct files *f = t->api->files;
    if (t->covered > t->info.bytes)
        files_quota_give(f->quota, t->owner, t->covered - t->info.bytes);
    f->stored++;
    if (t->facts->lifetime_ms > 0) files_due(f, now_ms(t->api) + t->facts->lifetime_ms);
    log_line(LOG_DEBUG, "file_stored", "file=%s bytes=%llu", t->id,
             (unsigned long long)t->info.bytes);
}

static void put_recorded(void *user, uint64_t arg, const struct store_reply *r) {
    struct intake *t = user;
    struct call *c = intake_call(t);
    if (r->status == STORE_OK) {
        t->owner->pending--;
        count_stored(t);
        answer_stored(t);
        intake_end(t);
        return;
    }
    intake_undo(t);
    if (c != NULL && r->status == STORE_NOT_FOUND)
        files_not_found(c);
    else if (c != NULL)
        files_unavailable(c);
}

static void put_stored(struct intake *t) {
    struct api *a = t->api;
    struct call *c = intake_call(t);
    uint64_t ticket = desk_ask(a->desk, put_recorded, t, 0);
    if (ticket == 0) {
        intake_undo(t);
        if (c != NULL) files_unavailable(c);
        return;
    }
    struct store_file row = finished_row(t, now_ms(a));
    a->store->backend->file_finish(a->store, ticket, &row);
}

static const struct intake_use signed_put = {.stored = put_stored, .needs_caller = false};

static void refuse_used(struct call *c) {
    call_error(c, 409, "bad_request", SLICE("the address has been used; begin another upload"));
}

static bool open_put(struct intake *t, const struct store_file *row) {
    struct files_owner *owner = files_owner(t->api->files->quota, row->owner);
    char type[FILE_TYPE_BYTES], label[FILE_LABEL_BYTES];
    snprintf(type, sizeof type, "%.*s", SLICE_ARG(row->content_type));
    snprintf(label, sizeof label, "%.*s", SLICE_ARG(row->name));
    t->facts = file_facts_new(type, label, row->acl, row->lifetime_ms);
    if (owner == NULL || t->facts == NULL) {
        struct call *c = intake_call(t);
        intake_drop(t);
        files_unavailable(c);
        return false;
    }
    return intake_open(t, owner, row->bytes);
}

static void put_found(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    struct intake *t = c != NULL ? c->own : NULL;
    if (t == NULL) return;
    const struct store_file *row = r->status == STORE_OK && r->nfiles == 1 ? r->files : NULL;
    if (row != NULL && row->state == STORE_FILE_PENDING) {
        if (open_put(t, row) && !net_answered(c->x)) net_body_resume(c->x);
        return;
    }
    intake_drop(t);
    if (row != NULL)
        refuse_used(c);
    else if (r->status == STORE_NOT_FOUND || r->status == STORE_OK)
        files_not_found(c);
    else
        files_unavailable(c);
}

/* Named without its parameters; whoever names none does not contradict. */
static bool type_is(struct call *c, struct slice declared) {
    char type[FILE_TYPE_BYTES];
    struct slice header = h1_get(net_head(c->x), SLICE("content-type"), NULL);
    return header.len == 0 || (file_type(header, type) && slice_is(declared, type));
}

void head_upload_put(struct call *c) {
    struct slice id, type;
    uint64_t size, ticket;
    if (!file_id_read(c->id, &id)) {
        files_not_found(c);
        return;
    }
    const char *why = files_check_put(c, id, &type, &size);
    if (why != NULL) {
        call_error(c, 403, "bad_request", slice_of(why));
    } else if (!type_is(c, type)) {
        call_error(c, 400, "bad_request", SLICE("Content-Type is not the one that was declared"));
    } else if (intake_find(c->api->files, id) != NULL) {
        refuse_used(c);
    } else if ((ticket = desk_ask(c->api->desk, put_found, c->api, net_exchange_id(c->x))) == 0) {
        files_unavailable(c);
    } else {
        char name[FILE_ID_BYTES];
        snprintf(name, sizeof name, "%.*s", SLICE_ARG(id));
        if (intake_new(c, &signed_put, name, size, c->api->config->max_file_bytes) != NULL)
            net_body_pause(c->x);
        c->api->store->backend->file_get(c->api->store, ticket, name);
    }
}

/* --- POST */

static void post_recorded(void *user, uint64_t arg, const struct store_reply *r) {
    struct intake *t = user;
    struct call *c = intake_call(t);
    if (r->status == STORE_OK) {
        files_quota_count(t->api->files->quota, t->owner, 1);
        count_stored(t);
        answer_stored(t);
        intake_end(t);
        return;
    }
    intake_undo(t);
    if (c != NULL) files_unavailable(c);
}

static void post_stored(struct intake *t) {
    struct api *a = t->api;
    struct call *c = intake_call(t);
    uint64_t ticket = desk_ask(a->desk, post_recorded, t, 0);
    if (ticket == 0) {
        intake_undo(t);
        if (c != NULL) files_unavailable(c);
        return;
    }
    struct store_file row = finished_row(t, now_ms(a));
    a->store->backend->file_add(a->store, ticket, &row);
}

static const struct intake_use posted = {.stored = post_stored, .needs_caller = true};

void head_upload_post(struct call *c) {
    const struct h1_head *h = net_head(c->x);
    char id[FILE_ID_BYTES];
    if (!files_let_in(c)) return;
    struct file_facts *facts = file_facts_read(c, h1_get(h, SLICE("content-type"), NULL),
                                               h1_get(h, SLICE("x-fal-file-name"), NULL));
    struct files_owner *owner = files_owner(c->api->files->quota, identity_owner(&c->who));
    if (facts == NULL) return;
    file_id_new(c->api->random, id);
    struct intake *t = NULL;
    if (owner == NULL)
        files_unavailable(c);
    else
        t = intake_new(c, &posted, id, FILE_NO_SIZE, c->api->config->max_file_bytes);
    if (t == NULL) {
        free(facts);
        return;
    }
    t->facts = facts;
    intake_open(t, owner, 0);
}

void handle_upload(struct call *c) {
    intake_whole(c);
}
