/* The operator's routes: keys, and what all of them share. */
#include "api/admin.h"
#include "api/keys.h"

#include <stdio.h>

/* --- shared */

void admin_refuse(struct call *c, const char *where, const char *name, const char *why) {
    struct faults f;
    char loc[96];
    faults_init(&f);
    snprintf(loc, sizeof loc, "[\"%s\",\"%s\"]", where, name);
    faults_add(&f, loc, why, "value_error", NULL, NULL);
    call_faults(c, &f);
    faults_free(&f);
}

bool admin_query(struct call *c, const char *name, struct slice *out) {
    size_t count, len;
    struct slice raw = h1_query(c->at.query, slice_of(name), &count);
    *out = SLICE("");
    if (count == 0) return true;
    char *text = arena_alloc(net_arena(c->x), raw.len + 1);
    const char *why = count > 1                             ? "given twice"
                      : text == NULL                        ? "out of memory"
                      : !h1_unescape(raw, true, text, &len) ? "invalid percent-encoding"
                                                            : NULL;
    if (why == NULL)
        *out = slice_make(text, len);
    else
        admin_refuse(c, "query", name, why);
    return why == NULL;
}

bool admin_query_u64(struct call *c, const char *name, uint64_t max, uint64_t *out) {
    struct slice text;
    if (!admin_query(c, name, &text)) return false;
    if (text.len == 0 || slice_to_range(text, 0, max, out)) return true;
    admin_refuse(c, "query", name, "wants a whole number");
    return false;
}

yyjson_doc *admin_body(struct call *c) {
    struct faults f;
    if (!call_wants_json(c)) return NULL;
    faults_init(&f);
    yyjson_doc *doc = endpoint_parse(net_body(c->x), &f);
    if (doc == NULL) call_faults(c, &f);
    faults_free(&f);
    return doc;
}

void admin_time(struct buf *b, const char *name, int64_t at_ms) {
    char text[CLOCK_ISO_BYTES];
    if (at_ms != 0) clock_iso8601(at_ms, text);
    if (at_ms != 0)
        buf_printf(b, ",\"%s\":\"%s\"", name, text);
    else
        buf_printf(b, ",\"%s\":null", name);
}

void admin_text(struct buf *b, const char *name, struct slice text) {
    buf_printf(b, ",\"%s\":", name);
    json_add_string(b, text, true);
}

void admin_unavailable(struct call *c) {
    net_header(c->x, SLICE("retry-after"), SLICE("1"));
    call_error(c, 503, "internal_error", SLICE("storage unavailable; try again"));
}

/* --- keys */

static const char *state_of(const struct api *a, const struct keyring_key *k) {
    if (k->revoked_ms != 0) return "revoked";
    return keyring_is_usable(a->keys, k) ? "active" : "expired";
}

/* Members without the braces: more may follow. */
static void add_key(struct buf *b, const struct api *a, const struct keyring_key *k) {
    buf_puts(b, "\"key_id\":");
    json_add_string(b, k->id, true);
    admin_text(b, "alias", k->alias);
    admin_text(b, "owner", k->owner);
    admin_text(b, "scope", k->scope == SCOPE_ADMIN ? SLICE("ADMIN") : SLICE("API"));
    admin_text(b, "state", slice_of(state_of(a, k)));
    admin_text(b, "source", k->configured ? SLICE("configuration") : SLICE("store"));
    admin_time(b, "created_at", k->created_ms);
    admin_time(b, "expires_at", k->expires_ms);
    admin_time(b, "revoked_at", k->revoked_ms);
}

void handle_admin_keys(struct call *c) {
    struct buf *b = call_scratch(c);
    const struct keyring *ring = c->api->keys;
    buf_puts(b, "{\"keys\":[");
    for (size_t i = 0; i < keyring_count(ring); i++) {
        buf_puts(b, i > 0 ? ",{" : "{");
        add_key(b, c->api, keyring_key(ring, i));
        buf_addc(b, '}');
    }
    buf_puts(b, "]}");
    call_scratch_json(c, 200);
}

/* `first`: from now on nobody is served without a key. */
static void on_created(struct call *c, const struct keys_made *m) {
    if (m->result != KEYS_OK) {
        keys_refuse(c, m->result);
        return;
    }
    struct buf *b = call_scratch(c);
    buf_addc(b, '{');
    add_key(b, c->api, m->key);
    admin_text(b, "key_secret", m->secret);
    admin_text(b, "key", m->credential);
    buf_printf(b, ",\"first\":%s}", keyring_count(c->api->keys) == 1 ? "true" : "false");
    call_scratch_json(c, 201);
    if (b->base != NULL) secret_wipe(b->base + b->start, buf_len(b));
}

static const char *read_text(yyjson_val *body, const char *name, struct slice *out) {
    yyjson_val *v = json_get(body, name);
    *out = SLICE("");
    if (v == NULL || yyjson_is_null(v)) return NULL;
    if (!yyjson_is_str(v)) return "wants text";
    *out = json_str(v);
    return NULL;
}

static const char *read_scope(yyjson_val *body, enum config_scope *out) {
    struct slice text;
    const char *why = read_text(body, "scope", &text);
    *out = slice_is(text, "ADMIN") ? SCOPE_ADMIN : SCOPE_API;
    if (why != NULL || text.len == 0 || slice_is(text, "API") || slice_is(text, "ADMIN"))
        return why;
    return "wants API or ADMIN";
}

#define EXPIRY_MAX_S (100LL * 366 * 86400)

static const char *read_expiry(yyjson_val *body, int64_t now_ms, int64_t *out) {
    yyjson_val *v = json_get(body, "expires_in");
    *out = 0;
    if (v == NULL || yyjson_is_null(v)) return NULL;
    if (!yyjson_is_int(v) || yyjson_get_sint(v) <= 0 || yyjson_get_sint(v) > EXPIRY_MAX_S)
        return "wants a number of seconds, more than 0";
    *out = now_ms + yyjson_get_sint(v) * 1000;
    return NULL;
}

/* What else stands in the body is ignored. NULL, or what is wrong with *name. */
static const char *read_new(struct call *c, yyjson_val *body, struct keys_new *in,
                            const char **name) {
    const char *why = read_text(body, *name = "alias", &in->alias);
    if (why == NULL) why = read_text(body, *name = "owner", &in->owner);
    if (why == NULL) {
        *name = "scope";
        why = read_scope(body, &in->scope);
    }
    if (why == NULL) {
        *name = "expires_in";
        why = read_expiry(body, clock_wall_ms(c->api->clock), &in->expires_ms);
    }
    return why;
}

void handle_admin_key_create(struct call *c) {
    struct keys_new in;
    const char *name;
    yyjson_doc *doc = admin_body(c);
    if (doc == NULL) return;
    const char *why = read_new(c, yyjson_doc_get_root(doc), &in, &name);
    if (why != NULL)
        admin_refuse(c, "body", name, why);
    else if ((why = keys_fault(c->api, &in)) != NULL)
        call_error(c, 422, NULL, slice_of(why));
    else
        keys_create(c, &in, on_created);
    yyjson_doc_free(doc);
}

static void on_revoked(struct call *c, const struct keys_made *m) {
    if (m->result != KEYS_OK) {
        keys_refuse(c, m->result);
        return;
    }
    struct buf *b = call_scratch(c);
    buf_addc(b, '{');
    add_key(b, c->api, m->key);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

void handle_admin_key_revoke(struct call *c) {
    keys_revoke(c, c->id, on_revoked);
}
