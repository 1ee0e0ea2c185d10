#include "api/tokens.h"

#include "api/jwt.h"
#include "api/target.h"

#include <stdio.h>

/* --- what is asked for */

/* A name as callers of fal write one: an alias, or an id of two segments and more. */
static bool app_ok(struct slice s) {
    struct endpoint_id id;
    if (s.len == 0 || s.len > JWT_MAX_APP_BYTES) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '_' && c != '.' && c != '/') return false;
    }
    return slice_find(s, '/') < 0 || endpoint_id_parse(s, &id);
}

static void read_apps(yyjson_val *v, struct jwt_claims *out, struct faults *f, struct arena *a) {
    static const char loc[] = "[\"body\",\"allowed_apps\"]";
    struct endpoint_id id;
    yyjson_val *app;
    size_t i, n;
    if (v == NULL) {
        faults_add(f, loc, "Field required", "missing", NULL, NULL);
        return;
    }
    if (!yyjson_is_arr(v) || yyjson_arr_size(v) == 0 || yyjson_arr_size(v) > JWT_MAX_APPS) {
        faults_add(f, loc, "Input should be a list of 1 to 16 applications", "list_type", NULL, v);
        return;
    }
    yyjson_arr_foreach(v, i, n, app) {
        struct slice name = json_str(app);
        if (!app_ok(name)) {
            faults_add(f, loc, "Each should be an application: its alias or owner/alias",
                       "value_error", NULL, app);
            return;
        }
        if (endpoint_id_parse(name, &id)) name = endpoint_id_text(&id, true, a);
        out->apps[out->napps++] = name;
    }
}

static void read_seconds(yyjson_val *root, const char *name, struct jwt_claims *out,
                         struct faults *f) {
    yyjson_val *v = json_get(root, name);
    uint64_t seconds = TOKEN_STANDARD_S;
    char loc[64];
    if (v != NULL && !yyjson_is_null(v)) {
        double given = yyjson_get_num(v);
        seconds = yyjson_is_num(v) && given >= 1 && given <= TOKEN_MAX_S ? (uint64_t)given : 0;
    }
    if (seconds == 0 || (yyjson_is_real(v) && yyjson_get_real(v) != (double)seconds)) {
        snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
        faults_add(f, loc, "Input should be whole seconds from 1 to 3600", "value_error",
                   "{\"ge\":1,\"le\":3600}", v);
    }
    out->expires_s = out->issued_s + (int64_t)seconds;
}

/* --- giving out */

/* What may not be called through the proxy is not to be had with a token from there either. */
static bool apps_listed(struct call *c, const struct jwt_claims *claims) {
    for (size_t i = 0; c->proxied && i < claims->napps; i++) {
        if (target_token_allowed(&c->api->config->proxy, jwt_app(claims->apps[i]))) continue;
        call_json(c, 400, SLICE("\"Invalid request\""));
        return false;
    }
    return true;
}

/* In the exchange's arena. ptr NULL: answered. */
static struct slice make_token(struct call *c, const char *seconds_name) {
    struct jwt_claims claims = {.owner = identity_owner(&c->who),
                                .key_id = c->who.key_name,
                                .issued_s = clock_wall_ms(c->api->clock) / 1000};
    struct identity behind;
    struct faults f;
    struct slice none = SLICE_NONE;
    if (!call_wants_json(c)) return none;
    if (!keyring_identity(c->api->keys, c->who.key_name, &behind)) {
        call_error(c, 403, NULL, SLICE("A token stands for a key; this caller has none"));
        return none;
    }
    faults_init(&f);
    c->input = endpoint_parse(net_body(c->x), &f);
    if (c->input != NULL) {
        yyjson_val *root = yyjson_doc_get_root(c->input);
        read_apps(json_get(root, "allowed_apps"), &claims, &f, net_arena(c->x));
        read_seconds(root, seconds_name, &claims, &f);
    }
    bool ok = c->input != NULL && f.count == 0;
    if (!ok) call_faults(c, &f);
    faults_free(&f);
    if (!ok || !apps_listed(c, &claims)) return none;
    struct buf *b = call_scratch(c);
    struct slice token = jwt_write(b, c->api->signer, &claims)
                             ? arena_copy(net_arena(c->x), buf_slice(b))
                             : none;
    if (token.ptr == NULL) call_error(c, 503, "internal_error", SLICE("out of memory"));
    return token;
}

static void answer(struct call *c, const char *before, struct slice token, const char *after) {
    if (token.ptr == NULL) return;
    struct buf *b = call_scratch(c);
    buf_printf(b, "%s\"%.*s\"%s", before, SLICE_ARG(token), after);
    net_header(c->x, SLICE("cache-control"), SLICE("no-store"));
    call_scratch_json(c, 200);
}

void handle_token(struct call *c) {
    answer(c, "", make_token(c, "token_expiration"), "");
}

void handle_token_realtime(struct call *c) {
    answer(c, "{\"token\":", make_token(c, "duration"), "}");
}

/* A pair is published a day before it signs, so a list may be kept for a day. */
void handle_jwks(struct call *c) {
    struct buf *b = call_scratch(c);
    signer_jwks(c->api->signer, b);
    net_header(c->x, SLICE("cache-control"), SLICE("public, max-age=86400"));
    call_scratch_json(c, 200);
}

/* --- letting in */

const char *token_identity(struct call *c, struct slice token, struct identity *out) {
    struct jwt_claims claims;
    struct keyring *k = c->api->keys;
    if (keyring_is_open(k) && auth_check(k, c->x, out) != AUTH_OK)
        return "This Host or Origin may not call a server without keys";
    const char *why = jwt_read(token, c->api->signer, clock_wall_ms(c->api->clock) / 1000,
                               net_arena(c->x), &claims);
    if (why != NULL) return why;
    if (!jwt_allows(&claims, c->app, c->route->kind == SERVED_STATUS_STREAM))
        return "The token is for another application";
    if (!keyring_identity(k, claims.key_id, out) || !slice_eq(claims.owner, identity_owner(out)))
        return "The key behind the token is no longer valid";
    out->scope = SCOPE_API; /* whatever the key may do besides */
    return NULL;
}
