/* THE table of what is served. */
#include "api/call.h"
#include "api/admin.h"
#include "api/files.h"
#include "api/openai.h"
#include "api/platform.h"
#include "api/realtime.h"
#include "api/tokens.h"
#include "api/webhooks.h"

/* On any host: these stand before what a prefix or the Host decides. */
#define EVERY ON_EVERY_HOST
#define RUN SURFACE_RUN
#define QUEUE SURFACE_QUEUE

#define REST SURFACE_REST
#define CDN SURFACE_CDN
#define PLATFORM SURFACE_PLATFORM
#define OPEN ROUTE_OPEN
#define ADMIN ROUTE_ADMIN
#define ASKS ROUTE_PLATFORM
#define ASKS_ADMIN (ROUTE_PLATFORM | ROUTE_ADMIN)
#define SOCKET (ROUTE_UPGRADE | ROUTE_TOKEN)

static const struct route routes[] = {
    {H1_GET, EVERY, "/healthz", SERVED_OPS, OPEN, handle_health, NULL},
    {H1_GET, EVERY, "/readyz", SERVED_OPS, OPEN, handle_ready, NULL},
    {H1_GET, EVERY, "/metrics", SERVED_OPS, 0, handle_metrics, NULL},
    {H1_GET, EVERY, "/api/openapi/queue/openapi.json", SERVED_DOCS, OPEN, handle_openapi, NULL},
    {H1_GET, EVERY, "/api/openapi/platform/openapi.json", SERVED_DOCS, OPEN,
     handle_platform_openapi, NULL},
    {H1_GET, EVERY, "/models/{app}/llms.txt", SERVED_DOCS, OPEN, handle_llms, NULL},
    {H1_GET, EVERY, "/api/fal/proxy", SERVED_PROXY, 0, handle_proxy, NULL},
    {H1_POST, EVERY, "/api/fal/proxy", SERVED_PROXY, 0, handle_proxy, NULL},
    {H1_PUT, EVERY, "/api/fal/proxy", SERVED_PROXY, 0, handle_proxy, NULL},
    {H1_POST, EVERY, "/v1/chat/completions", SERVED_OPENAI, ROUTE_OPENAI, handle_chat, NULL},
    {H1_GET, EVERY, "/v1/models", SERVED_OPENAI, ROUTE_OPENAI, handle_models, NULL},
    {H1_GET, EVERY, "/v1/models/{id}", SERVED_OPENAI, ROUTE_OPENAI, handle_model, NULL},
    {H1_GET, EVERY, "/.well-known/jwks.json", SERVED_TOKENS, OPEN, handle_jwks, NULL},
    /* the operator's, over the admin socket or with an ADMIN key */
    {H1_GET, EVERY, "/admin/keys", SERVED_ADMIN, ADMIN, handle_admin_keys, NULL},
    {H1_POST, EVERY, "/admin/keys", SERVED_ADMIN, ADMIN, handle_admin_key_create, NULL},
    {H1_DELETE, EVERY, "/admin/keys/{id}", SERVED_ADMIN, ADMIN, handle_admin_key_revoke, NULL},
    {H1_GET, EVERY, "/admin/usage", SERVED_ADMIN, ADMIN, handle_admin_usage, NULL},
    {H1_GET, EVERY, "/admin/webhooks", SERVED_ADMIN, ADMIN, handle_admin_webhooks, NULL},
    {H1_POST, EVERY, "/admin/webhooks/replay", SERVED_ADMIN, ADMIN, handle_admin_webhooks_replay,
     NULL},
    {H1_GET, EVERY, "/admin/queue", SERVED_ADMIN, ADMIN, handle_admin_queue, NULL},
    {H1_GET, EVERY, "/admin/backup", SERVED_ADMIN, ADMIN, handle_admin_backup, NULL},
    {H1_POST, EVERY, "/admin/backup", SERVED_ADMIN, ADMIN, handle_admin_backup_make, NULL},
    {H1_POST, RUN, "/{app}/stream", SERVED_STREAM, ROUTE_TOKEN, handle_stream, NULL},
    {H1_POST, RUN, "/{app}", SERVED_RUN, 0, handle_run, NULL},
    {H1_GET, RUN, "/{app}/realtime", SERVED_REALTIME, SOCKET, handle_realtime, NULL},
    {H1_GET, RUN, "/{app}", SERVED_REALTIME, SOCKET, handle_http_over_websocket, NULL},
    {H1_GET, QUEUE, "/{app}/requests/{id}/status/stream", SERVED_STATUS_STREAM, ROUTE_TOKEN,
     handle_status_stream, NULL},
    {H1_GET, QUEUE, "/{app}/requests/{id}/status", SERVED_STATUS, 0, handle_status, NULL},
    {H1_PUT, QUEUE, "/{app}/requests/{id}/cancel", SERVED_CANCEL, 0, handle_cancel, NULL},
    {H1_GET, QUEUE, "/{app}/requests/{id}/response", SERVED_RESULT, 0, handle_result, NULL},
    {H1_GET, QUEUE, "/{app}/requests/{id}", SERVED_RESULT, 0, handle_result, NULL},
    {H1_POST, QUEUE, "/{app}", SERVED_SUBMIT, 0, handle_submit, NULL},
    {H1_POST, REST, "/tokens", SERVED_TOKENS, 0, handle_token, NULL},
    {H1_POST, REST, "/tokens/realtime", SERVED_TOKENS, 0, handle_token_realtime, NULL},
    {H1_GET, REST, "/.well-known/jwks.json", SERVED_TOKENS, OPEN, handle_jwks, NULL},
    {H1_GET, REST, "/webhooks/secret", SERVED_TOKENS, 0, handle_webhook_secret, NULL},
    {H1_POST, REST, "/storage/upload/initiate", SERVED_FILES, 0, handle_upload_initiate, NULL},
    {H1_POST, REST, "/storage/upload/initiate-multipart", SERVED_FILES, 0, handle_upload_initiate,
     NULL},
    {H1_POST, REST, "/storage/auth/token", SERVED_FILES, 0, handle_storage_token, NULL},
    /* their heads look for a signed address, a storage token or a key */
    {H1_PUT, CDN, "/upload/{id}", SERVED_FILES, OPEN, handle_upload, head_upload_put},
    {H1_PUT, CDN, "/upload/{id}/{n}", SERVED_FILES, OPEN, handle_part, head_part_signed},
    {H1_POST, CDN, "/upload/{id}/complete", SERVED_FILES, OPEN, handle_complete,
     head_complete_signed},
    {H1_POST, CDN, "/files/upload", SERVED_FILES, OPEN, handle_upload, head_upload_post},
    {H1_POST, CDN, "/files/upload/multipart", SERVED_FILES, OPEN, handle_multipart, head_token},
    {H1_PUT, CDN, "/files/b/{id}/multipart/{sub}/{n}", SERVED_FILES, OPEN, handle_part,
     head_part_token},
    {H1_POST, CDN, "/files/b/{id}/multipart/{sub}/complete", SERVED_FILES, OPEN, handle_complete,
     head_token},
    {H1_GET, CDN, "/files/b/{id}", SERVED_FILES, OPEN, handle_file, NULL},
    {H1_DELETE, CDN, "/files/b/{id}", SERVED_FILES, 0, handle_file_delete, NULL},
    {H1_GET, PLATFORM, "/v1/models", SERVED_PLATFORM, ASKS | OPEN, handle_platform_models, NULL},
    {H1_GET, PLATFORM, "/v1/models/pricing", SERVED_PLATFORM, ASKS, handle_platform_pricing, NULL},
    {H1_POST, PLATFORM, "/v1/models/pricing/estimate", SERVED_PLATFORM, ASKS,
     handle_platform_estimate, NULL},
    {H1_GET, PLATFORM, "/v1/models/usage", SERVED_PLATFORM, ASKS_ADMIN, handle_platform_usage,
     NULL},
    {H1_GET, PLATFORM, "/v1/models/analytics", SERVED_PLATFORM, ASKS, handle_platform_analytics,
     NULL},
    {H1_GET, PLATFORM, "/v1/models/billing-events", SERVED_PLATFORM, ASKS_ADMIN,
     handle_platform_billing_events, NULL},
    {H1_GET, PLATFORM, "/v1/models/requests/by-endpoint", SERVED_PLATFORM, ASKS,
     handle_platform_requests, NULL},
    {H1_DELETE, PLATFORM, "/v1/models/requests/{id}/payloads", SERVED_PLATFORM, ASKS_ADMIN,
     handle_platform_drop_payloads, NULL},
    {H1_GET, PLATFORM, "/v1/keys", SERVED_PLATFORM, ASKS_ADMIN, handle_platform_keys, NULL},
    {H1_POST, PLATFORM, "/v1/keys", SERVED_PLATFORM, ASKS_ADMIN, handle_platform_key_create, NULL},
    {H1_DELETE, PLATFORM, "/v1/keys/{id}", SERVED_PLATFORM, ASKS_ADMIN, handle_platform_key_delete,
     NULL},
    {H1_GET, PLATFORM, "/v1/meta", SERVED_PLATFORM, ASKS | OPEN, handle_platform_meta, NULL},
    {H1_GET, PLATFORM, "/v1/account/billing", SERVED_PLATFORM, ASKS_ADMIN, handle_platform_billing,
     NULL},
    {H1_GET, PLATFORM, "/v1/storage/files/acl", SERVED_PLATFORM, ASKS, handle_file_acl, NULL},
    {H1_PUT, PLATFORM, "/v1/storage/files/acl", SERVED_PLATFORM, ASKS, handle_file_acl, NULL},
    {H1_POST, PLATFORM, "/v1/storage/files/sign", SERVED_PLATFORM, ASKS, handle_file_sign, NULL},
};

#define NROUTES (sizeof routes / sizeof *routes)

static bool segment_ok(struct slice s) {
    if (s.len == 0 || slice_is(s, ".") || slice_is(s, "..")) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) continue;
        if (c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

/* No path of ours needs an escape: a broken one or %00 is a bad request, a good one names nothing. */
static unsigned escape_fault(struct slice path, struct arena *a) {
    char *out = arena_alloc(a, path.len + 1);
    size_t n;
    if (out == NULL) return 503;
    return h1_unescape(path, false, out, &n) ? 404 : 400;
}

static unsigned split(struct slice path, struct slice *seg, size_t *n, struct arena *a) {
    *n = 0;
    if (slice_find(path, '%') >= 0) return escape_fault(path, a);
    if (path.len == 0 || path.ptr[0] != '/') return 404;
    if (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--; /* fal's own tools ask with a trailing slash */
    path = slice_from(path, 1);
    while (path.ptr != NULL && path.len > 0) {
        struct slice rest, s = slice_cut(path, '/', &rest);
        if (*n == CALL_MAX_SEGMENTS || !segment_ok(s)) return 404;
        seg[(*n)++] = s;
        if (rest.ptr != NULL && rest.len == 0) return 404;
        path = rest;
    }
    return 0;
}

/* "requests" separates an app from a request id, so it stands in no app. */
static bool names_a_request(const struct slice *seg, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (slice_is(seg[i], "requests")) return true;
    return false;
}

static struct slice span(struct slice first, struct slice last) {
    return slice_make(first.ptr, (size_t)(last.ptr + last.len - first.ptr));
}

/* {app} and {id+} are greedy but leave enough segments for what follows them in the pattern. */
static bool match(const char *pattern, const struct slice *seg, size_t n, struct call *c) {
    struct slice p = slice_from(slice_of(pattern), 1), rest;
    size_t at = 0, after;
    for (; p.ptr != NULL; p = rest) {
        struct slice want = slice_cut(p, '/', &rest);
        bool app = slice_is(want, "{app}");
        if (app || slice_is(want, "{id+}")) {
            after = 0;
            for (struct slice t = rest; t.ptr != NULL; after++) slice_cut(t, '/', &t);
            if (n < at + 1 + after) return false;
            if (app && names_a_request(seg + at, n - after - at)) return false;
            *(app ? &c->app : &c->id) = span(seg[at], seg[n - after - 1]);
            at = n - after;
        } else if (at >= n) {
            return false;
        } else if (slice_is(want, "{id}")) {
            c->id = seg[at++];
        } else if (slice_is(want, "{sub}")) {
            c->sub = seg[at++];
        } else if (slice_is(want, "{n}")) {
            c->n = seg[at++];
        } else if (!slice_eq(want, seg[at++])) {
            return false;
        }
    }
    return at == n;
}

/* First segments of paths that are no application's, on hosts that stand for no surface. */
static bool is_ours(struct slice s) {
    static const char *const names[] = {"api",    "v1",      "models", "healthz",
                                        "readyz", "metrics", "admin",  ".well-known"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_is(s, names[i])) return true;
    return false;
}

/* The id as this server spells it. False: no id, as a single name is none. */
static bool read_app(struct call *c) {
    struct endpoint_id id;
    if (!endpoint_id_parse(c->app, &id)) return false;
    struct slice text = endpoint_id_text(&id, true, net_arena(c->x));
    if (text.ptr == NULL) return false;
    c->app = text;
    return true;
}

/* The surface's segments begin at `from`. */
static bool may_match(const struct route *r, const struct reach *at, const struct slice *seg,
                      size_t n, size_t *from) {
    *from = 0;
    if (r->surface == ON_EVERY_HOST && (n == 0 || r->pattern[1] != seg[0].ptr[0])) return false;
    if (r->surface == ON_EVERY_HOST) /* the platform's own paths begin with /v1 too */
        return at->surface != SURFACE_PLATFORM || n == 0 || !slice_is(seg[0], "v1");
    *from = at->prefix.len > 0 ? 1 : 0;
    return r->surface == (int)at->surface &&
           (*from > 0 || at->by_host || n == 0 || !is_ours(seg[0]));
}

static const char *allowed(unsigned methods, struct arena *a) {
    const char *text = arena_printf(a, "%s%s%s%s", methods & 1U << H1_GET ? ", GET, HEAD" : "",
                                    methods & 1U << H1_POST ? ", POST" : "",
                                    methods & 1U << H1_PUT ? ", PUT" : "",
                                    methods & 1U << H1_DELETE ? ", DELETE" : "");
    return text != NULL ? text + 2 : "";
}

/* Names of models hold what no other path does, colons and escaped slashes: the rest of such a path is one segment. */
static struct slice cut_model_name(struct slice path, struct slice *name, struct arena *a) {
    struct slice under = SLICE("/v1/models/");
    char *out = slice_starts(path, under) ? arena_alloc(a, path.len) : NULL;
    *name = SLICE("");
    if (out == NULL || !h1_unescape(slice_from(path, under.len), false, out, &name->len))
        return path;
    name->ptr = out;
    return name->len > 0 ? SLICE("/v1/models/name") : path;
}

const struct route *routes_find(struct call *c, unsigned *status, const char **allow) {
    struct slice seg[CALL_MAX_SEGMENTS];
    enum h1_method method = net_head(c->x)->method;
    unsigned methods = 0;
    size_t n, from;
    bool wants_websocket = slice_eq_nocase(h1_get(net_head(c->x), SLICE("upgrade"), NULL),
                                           SLICE("websocket"));
    struct slice name = SLICE(""), path = c->at.path;
    if (c->at.surface != SURFACE_PLATFORM) path = cut_model_name(path, &name, net_arena(c->x));
    *status = split(path, seg, &n, net_arena(c->x));
    if (*status != 0) return NULL;
    for (size_t i = 0; i < NROUTES; i++) {
        const struct route *r = &routes[i];
        c->app = c->id = c->sub = c->n = SLICE("");
        if ((r->flags & ROUTE_UPGRADE) != 0 && !wants_websocket) continue;
        if (!may_match(r, &c->at, seg, n, &from) || !match(r->pattern, seg + from, n - from, c))
            continue;
        if (c->app.len > 0 && !read_app(c)) continue;
        if (name.len > 0) c->id = name;
        if (r->method == method || (r->method == H1_GET && method == H1_HEAD)) return r;
        methods |= 1U << r->method;
    }
    if (methods != 0) *allow = allowed(methods, net_arena(c->x));
    *status = methods != 0 ? 405 : 404;
    return NULL;
}
