/* Storage tokens, and what the platform API has of files: ACLs and signed addresses. */
#include "api/files_room.h"
#include "api/files_rules.h"

#include <stdio.h>
#include <stdlib.h>

/* Python reads the time with fromisoformat, which before 3.11 knows no Z. */
void handle_storage_token(struct call *c) {
    struct api *a = c->api;
    int64_t exp_s = clock_wall_ms(a->clock) / 1000 + FILE_TOKEN_S;
    char at[CLOCK_ISO_BYTES];
    struct buf *b = call_scratch(c);
    clock_iso8601_bare(exp_s * 1000, at);
    buf_puts(b, "{\"token\":\"");
    files_token(b, a, c->who.key_name, exp_s);
    buf_puts(b, "\",\"token_type\":\"Bearer\",\"base_url\":\"");
    files_base(b, c);
    buf_printf(b, "\",\"expires_at\":\"%s+00:00\"}", at);
    call_scratch_json(c, 200);
}

/* --- /storage/files/…?url= */

static bool read_url(struct call *c, struct slice *id) {
    size_t n, len;
    struct slice raw = h1_query(c->at.query, SLICE("url"), &n);
    char *text = arena_alloc(net_arena(c->x), raw.len + 1);
    if (text == NULL) {
        files_unavailable(c);
    } else if (n != 1 || !h1_unescape(raw, true, text, &len)) {
        call_error(c, 400, NULL, SLICE("query.url: give the address of one file"));
    } else if (!files_own_url(c->api, &c->at, slice_make(text, len), id)) {
        files_not_found(c);
    } else {
        return true;
    }
    return false;
}

/* Another owner's file is as unknown as one that is not there. NULL: answered. */
static const struct store_file *own_row(struct call *c, const struct store_reply *r) {
    const struct store_file *f = files_row_of(c->api, r);
    if (f != NULL && files_owns(&c->who, f->owner)) return f;
    if (r->status == STORE_OK || r->status == STORE_NOT_FOUND)
        files_not_found(c);
    else
        files_unavailable(c);
    return NULL;
}

static void answer_acl(struct call *c, struct slice acl) {
    struct buf *b = call_scratch(c);
    file_acl_json(b, acl);
    call_scratch_json(c, 200);
}

static void acl_found(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    const struct store_file *f = c != NULL ? own_row(c, r) : NULL;
    if (f != NULL) answer_acl(c, f->acl);
}

/* Told to the held files when it is given and when it is answered, whether or not the caller is still there. */
struct change {
    struct api *api;
    uint64_t exchange;
    char id[STORE_ID_BYTES];
};

static void acl_set(void *user, uint64_t arg, const struct store_reply *r) {
    struct change *x = user;
    struct call *c = call_of(x->api, x->exchange);
    const struct slice *acl = c != NULL ? c->own : NULL;
    files_held_changed(x->api->files->held, slice_of(x->id));
    free(x);
    if (acl == NULL) return;
    if (r->status == STORE_OK)
        answer_acl(c, *acl);
    else if (r->status == STORE_NOT_FOUND)
        files_not_found(c);
    else
        files_unavailable(c);
}

static void acl_found_to_set(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    const struct store_file *f = c != NULL ? own_row(c, r) : NULL;
    if (f == NULL) return;
    struct api *a = c->api;
    const struct slice *acl = c->own;
    struct change *x = calloc(1, sizeof *x);
    uint64_t ticket = x != NULL ? desk_ask(a->desk, acl_set, x, 0) : 0;
    if (ticket == 0) {
        free(x);
        files_unavailable(c);
        return;
    }
    *x = (struct change){a, arg, ""};
    snprintf(x->id, sizeof x->id, "%s", f->id);
    files_held_changed(a->files->held, slice_of(f->id));
    a->store->backend->file_set_acl(a->store, ticket, f->id, *acl);
}

/* The ACL as it is kept, in the arena. NULL: answered. */
static struct slice *read_acl(struct call *c) {
    struct json_error err;
    struct slice *kept = arena_zalloc(net_arena(c->x), sizeof *kept);
    yyjson_doc *doc = json_parse(net_body(c->x), &err);
    struct buf b;
    buf_init(&b, 2U * FILE_ACL_MAX_BYTES);
    const char *why = doc == NULL ? "the body is not JSON"
                                  : file_acl_read(yyjson_doc_get_root(doc), &b);
    if (kept != NULL) *kept = arena_copy(net_arena(c->x), buf_slice(&b));
    yyjson_doc_free(doc);
    buf_free(&b);
    if (why == NULL && kept != NULL && kept->ptr != NULL) return kept;
    if (why != NULL)
        call_error(c, 400, NULL, slice_of(why));
    else
        files_unavailable(c);
    return NULL;
}

void handle_file_acl(struct call *c) {
    struct slice id;
    bool sets = net_head(c->x)->method == H1_PUT;
    if (sets && !call_wants_json(c)) return;
    if (sets && (c->own = read_acl(c)) == NULL) return;
    if (read_url(c, &id)) files_ask(c, id, sets ? acl_found_to_set : acl_found);
}

static void sign_found(void *user, uint64_t arg, const struct store_reply *r) {
    struct call *c = call_of(user, arg);
    const struct store_file *f = c != NULL ? own_row(c, r) : NULL;
    if (f == NULL) return;
    struct reach at = c->at;
    if (c->proxied) reach_of(&at, c->api->config, c->x);
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"signed_url\":\"");
    files_sign_get(c->api, &at, slice_of(f->id), files_key(c), *(const uint64_t *)c->own, b);
    buf_puts(b, "\"}");
    call_scratch_json(c, 200);
}

static bool read_seconds(struct call *c, uint64_t *out) {
    struct json_error err;
    yyjson_doc *doc = net_body(c->x).len > 0 ? json_parse(net_body(c->x), &err) : NULL;
    yyjson_val *root = yyjson_doc_get_root(doc), *v = json_get(root, "expiration_seconds");
    bool ok = net_body(c->x).len == 0 || yyjson_is_obj(root);
    *out = 3600;
    if (v != NULL) {
        ok = yyjson_is_uint(v) && yyjson_get_uint(v) >= 1 && yyjson_get_uint(v) <= FILE_SIGN_MAX_S;
        *out = yyjson_get_uint(v);
    }
    yyjson_doc_free(doc);
    if (!ok)
        call_error(c, 400, NULL,
                   SLICE("body.expiration_seconds should be a whole number from 1 to 604800"));
    return ok;
}

void handle_file_sign(struct call *c) {
    uint64_t *seconds = arena_zalloc(net_arena(c->x), sizeof *seconds);
    struct slice id;
    if (seconds == NULL) {
        files_unavailable(c);
        return;
    }
    c->own = seconds;
    if (call_wants_json(c) && read_seconds(c, seconds) && read_url(c, &id))
        files_ask(c, id, sign_found);
}
