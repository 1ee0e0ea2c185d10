#include "api/jwt.h"

#include "base/json.h"

#include <openssl/evp.h>
#include <stdlib.h>

#define CLAIMS_MAX_BYTES 6144U

/* --- base64url without padding */

static void add_base64url(struct buf *b, struct slice data) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < data.len; i += 3) {
        uint32_t v = 0;
        size_t n = data.len - i < 3 ? data.len - i : 3;
        for (size_t k = 0; k < n; k++)
            v |= (uint32_t)(unsigned char)data.ptr[i + k] << (16 - 8 * k);
        for (size_t k = 0; k <= n; k++) buf_addc(b, digits[v >> (18 - 6 * k) & 63]);
    }
}

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* False on any other character, on a length that cannot be, and on bits left over: one text for each value. */
static bool read_base64url(struct slice text, struct arena *a, struct slice *out) {
    char *to = arena_alloc(a, text.len + 1);
    uint32_t v = 0;
    unsigned bits = 0;
    size_t n = 0;
    if (to == NULL || text.len % 4 == 1) return false;
    for (size_t i = 0; i < text.len; i++) {
        int d = digit_of(text.ptr[i]);
        if (d < 0) return false;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        to[n++] = (char)(v >> bits & 255);
    }
    *out = slice_make(to, n);
    return (v & ((1U << bits) - 1)) == 0;
}

/* --- writing */

static void add_claims(struct buf *b, const struct jwt_claims *c) {
    buf_puts(b, "{\"sub\":");
    json_add_string(b, c->owner, true);
    buf_puts(b, ",\"key_id\":");
    json_add_string(b, c->key_id, true);
    buf_puts(b, ",\"allowed_apps\":[");
    for (size_t i = 0; i < c->napps; i++) {
        if (i > 0) buf_addc(b, ',');
        json_add_string(b, c->apps[i], true);
    }
    buf_printf(b, "],\"iat\":%lld,\"exp\":%lld}", (long long)c->issued_s, (long long)c->expires_s);
}

bool jwt_write(struct buf *b, const struct signer *s, const struct jwt_claims *claims) {
    unsigned char signature[SIGNER_SIGNATURE_BYTES];
    struct buf head, body;
    size_t from = buf_len(b);
    struct slice kid = signer_kid(s);
    buf_init(&head, 256);
    buf_init(&body, CLAIMS_MAX_BYTES);
    buf_printf(&head, "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%.*s\"}", SLICE_ARG(kid));
    add_claims(&body, claims);
    add_base64url(b, buf_slice(&head));
    buf_addc(b, '.');
    add_base64url(b, buf_slice(&body));
    bool ok = !head.failed && !body.failed && !b->failed &&
              signer_sign(s, slice_from(buf_slice(b), from), signature);
    buf_addc(b, '.');
    add_base64url(b, slice_make((const char *)signature, sizeof signature));
    buf_free(&head);
    buf_free(&body);
    return ok && !b->failed;
}

/* --- reading */

static yyjson_doc *read_part(struct slice text, struct arena *a) {
    struct json_error err;
    struct slice json;
    return read_base64url(text, a, &json) ? json_parse(json, &err) : NULL;
}

/* The algorithm is ours to choose, never the token's: only ours is looked at. */
static bool head_ok(struct slice text, struct arena *a, struct slice *kid) {
    yyjson_doc *doc = read_part(text, a);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool ok = slice_is(json_str(json_get(root, "alg")), "EdDSA") &&
              slice_is(json_str(json_get(root, "typ")), "JWT");
    *kid = arena_copy(a, json_str(json_get(root, "kid")));
    yyjson_doc_free(doc);
    return ok && kid->len > 0;
}

static bool signature_ok(const struct signer *s, struct slice kid, struct slice message,
                         struct slice text, struct arena *a) {
    struct slice bytes;
    return read_base64url(text, a, &bytes) && bytes.len == SIGNER_SIGNATURE_BYTES &&
           signer_verify(s, kid, message, (const unsigned char *)bytes.ptr);
}

/* We signed it, so its shape is ours; a claim that is missing is empty and opens nothing. */
static bool read_claims(yyjson_val *root, struct arena *a, struct jwt_claims *out) {
    yyjson_val *apps = json_get(root, "allowed_apps"), *app;
    size_t i, n;
    *out = (struct jwt_claims){.owner = arena_copy(a, json_str(json_get(root, "sub"))),
                               .key_id = arena_copy(a, json_str(json_get(root, "key_id"))),
                               .issued_s = yyjson_get_sint(json_get(root, "iat")),
                               .expires_s = yyjson_get_sint(json_get(root, "exp"))};
    yyjson_arr_foreach(apps, i, n, app) {
        if (out->napps < JWT_MAX_APPS) out->apps[out->napps++] = arena_copy(a, json_str(app));
    }
    return !a->failed && out->key_id.len > 0;
}

const char *jwt_read(struct slice token, const struct signer *s, int64_t now_s, struct arena *a,
                     struct jwt_claims *out) {
    static const char invalid[] = "Invalid token";
    struct slice rest, signature, kid, head = slice_cut(token, '.', &rest),
                                       body = slice_cut(rest, '.', &signature);
    if (token.len > JWT_MAX_BYTES || signature.ptr == NULL) return invalid;
    struct slice message = slice_make(token.ptr, head.len + 1 + body.len);
    if (!head_ok(head, a, &kid) || !signature_ok(s, kid, message, signature, a)) return invalid;
    yyjson_doc *doc = read_part(body, a);
    bool ok = doc != NULL && read_claims(yyjson_doc_get_root(doc), a, out);
    yyjson_doc_free(doc);
    if (!ok) return invalid;
    return now_s < out->expires_s ? NULL : "The token has expired";
}

/* --- what it is for */

struct slice jwt_app(struct slice name) {
    static const struct slice ends[] = {{"/realtime", 9}, {"/stream", 7}};
    for (size_t i = 0; i < 2; i++)
        if (slice_ends(name, ends[i])) return slice_make(name.ptr, name.len - ends[i].len);
    return name;
}

/* On whole segments. */
static bool is_below(struct slice app, struct slice top) {
    return slice_starts(app, top) && (app.len == top.len || app.ptr[top.len] == '/');
}

static struct slice alias_of(struct slice app) {
    struct slice rest, alias;
    struct slice owner = slice_cut(app, '/', &rest);
    if (slice_is(owner, "workflows") || slice_is(owner, "comfy")) slice_cut(rest, '/', &rest);
    alias = slice_cut(rest, '/', &rest);
    return alias;
}

bool jwt_allows(const struct jwt_claims *claims, struct slice app, bool whole) {
    app = jwt_app(app);
    for (size_t i = 0; i < claims->napps; i++) {
        struct slice one = jwt_app(claims->apps[i]);
        if (one.len == 0) continue;
        if (slice_find(one, '/') < 0 ? slice_eq(one, alias_of(app)) : is_below(app, one))
            return true;
        if (whole && is_below(one, app)) return true;
    }
    return false;
}
