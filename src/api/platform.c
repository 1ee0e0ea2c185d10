/* The platform API: what it is reached by, keys, billing; docs/platform.md. */
#include "api/platform_inner.h"

#include "api/keys.h"

#include <stdio.h>

/* --- what its files share */

#define LAST_MS (8000 * 366 * PLATFORM_DAY_MS) /* about the year 9970 */

static int64_t clamp(int64_t v, int64_t least, int64_t most) {
    return v < least ? least : v > most ? most : v;
}

bool platform_span(struct call *c, const struct param_value *start, const struct param_value *end,
                   const struct param_value *cursor, struct cursor *out) {
    int64_t now = clock_wall_ms(c->api->clock);
    if (cursor->n > 0) {
        *out = cursor->cursor;
    } else {
        out->to_ms = end->n > 0 ? end->number : now + 1;
        out->from_ms = start->n > 0 ? start->number : out->to_ms - PLATFORM_DAY_MS;
        out->at = 0;
        if (out->from_ms >= out->to_ms) return platform_refuse(c, 400, "start: is not before end");
    }
    out->from_ms = clamp(out->from_ms, 1, LAST_MS); /* 0 would leave the side open for the store */
    out->to_ms = clamp(out->to_ms, 1, LAST_MS);
    out->at = clamp(out->at, 0, INT64_MAX);
    return true;
}

void platform_add_time(struct buf *b, const char *name, int64_t at_ms) {
    char text[CLOCK_ISO_BYTES];
    clock_iso8601(at_ms, text);
    buf_printf(b, "\"%s\":\"%s\"", name, text);
}

void platform_add_micro(struct buf *b, const char *name, bool known, int64_t micro) {
    buf_printf(b, "\"%s\":", name);
    if (known)
        billing_add_usd(b, micro);
    else
        buf_puts(b, "null");
}

/* --- GET /meta, GET /account/billing */

void handle_platform_meta(struct call *c) {
    call_json(c, 200, SLICE("{\"webhook_ip_ranges\":[]}"));
}

static const char *const billing_expands[] = {"credits", NULL};
static const struct param billing_rows[] = {
    {"expand", PARAM_CHOICES, .values = billing_expands,
     .description = "Credits: there are none here, so their balance is null."},
};
const struct params billing_params = PARAMS("@billing@", billing_rows);

void handle_platform_billing(struct call *c) {
    const struct param_value *v = platform_read(c, &billing_params);
    if (v == NULL) return;
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"username\":");
    json_add_string(b, identity_owner(&c->who), true);
    if (v[0].choices != 0)
        buf_puts(b, ",\"credits\":{\"current_balance\":null,\"currency\":\"USD\"}");
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

/* --- keys */

enum { KEYS_LIMIT, KEYS_CURSOR, KEYS_EXPAND };
static const char *const keys_expands[] = {"creator", NULL};
static const struct param keys_rows[] = {
    [KEYS_LIMIT] = {"limit", PARAM_INTEGER, .min = 1, .max = 100,
                    .description = "How many at most, 50 when not given."},
    [KEYS_CURSOR] = {"cursor", PARAM_CURSOR, .description = "next_cursor of the page before."},
    [KEYS_EXPAND] = {"expand", PARAM_CHOICES, .values = keys_expands,
                     .description = "Whose each key is."},
};
const struct params keys_params = PARAMS("@keys@", keys_rows);

static void add_key(struct buf *b, const struct keyring_key *k, bool creator) {
    buf_puts(b, "{\"key_id\":");
    json_add_string(b, k->id, true);
    buf_puts(b, ",\"alias\":");
    json_add_string(b, k->alias, true);
    buf_printf(b, ",\"scope\":\"%s\",", k->scope == SCOPE_ADMIN ? "ADMIN" : "API");
    if (k->created_ms != 0)
        platform_add_time(b, "created_at", k->created_ms);
    else /* it stands in the configuration */
        buf_puts(b, "\"created_at\":null");
    if (creator) {
        buf_puts(b, ",\"creator_nickname\":");
        json_add_string(b, k->owner, true);
    }
    buf_addc(b, '}');
}

/* Those that open something. A cursor is a place in the keyring, which only grows. */
void handle_platform_keys(struct call *c) {
    const struct param_value *v = platform_read(c, &keys_params);
    if (v == NULL) return;
    const struct keyring *ring = c->api->keys;
    size_t limit = v[KEYS_LIMIT].n > 0 ? (size_t)v[KEYS_LIMIT].number : 50, n = 0;
    size_t i = v[KEYS_CURSOR].cursor.at < 0 ? 0 : (size_t)v[KEYS_CURSOR].cursor.at;
    struct cursor next = {0};
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"keys\":[");
    for (; i < keyring_count(ring); i++) {
        const struct keyring_key *k = keyring_key(ring, i);
        if (!keyring_is_usable(ring, k)) continue;
        if (n == limit) break;
        if (n++ > 0) buf_addc(b, ',');
        add_key(b, k, v[KEYS_EXPAND].choices != 0);
    }
    next.at = (int64_t)i;
    buf_addc(b, ']');
    platform_add_page(b, i < keyring_count(ring) ? &next : NULL);
    buf_addc(b, '}');
    call_scratch_json(c, 200);
}

static void key_created(struct call *c, const struct keys_made *m) {
    if (m->result != KEYS_OK) {
        keys_refuse(c, m->result);
        return;
    }
    struct buf *b = call_scratch(c);
    buf_puts(b, "{\"key_id\":");
    json_add_string(b, m->key->id, true);
    buf_puts(b, ",\"key_secret\":");
    json_add_string(b, m->secret, true);
    buf_puts(b, ",\"key\":");
    json_add_string(b, m->credential, true);
    buf_addc(b, '}');
    call_scratch_json(c, 201);
    if (b->base != NULL) secret_wipe(b->base + b->start, buf_len(b));
}

/* Keys made here are of scope API and the caller's own, as fal's are. */
void handle_platform_key_create(struct call *c) {
    struct json_error err;
    if (!call_wants_json(c)) return;
    yyjson_doc *doc = json_parse(net_body(c->x), &err);
    yyjson_val *alias = json_get(yyjson_doc_get_root(doc), "alias");
    const struct keys_new in = {.alias = json_str(alias), .scope = SCOPE_API};
    const char *why = doc == NULL             ? err.reason
                      : !yyjson_is_str(alias) ? "alias: is required, a text"
                                              : keys_fault(c->api, &in);
    if (why != NULL)
        platform_refuse(c, 400, "%s", why);
    else
        keys_create(c, &in, key_created);
    yyjson_doc_free(doc);
}

static void key_deleted(struct call *c, const struct keys_made *m) {
    if (m->result != KEYS_OK) {
        keys_refuse(c, m->result);
        return;
    }
    call_headers(c);
    net_reply(c->x, 204, SLICE(""), SLICE(""));
}

void handle_platform_key_delete(struct call *c) {
    keys_revoke(c, c->id, key_deleted);
}
