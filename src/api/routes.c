/* THE table of what is served. */
#include "api/call.h"
#include "api/openai.h"

/* On any host: these stand before what a prefix or the Host decides. */
#define EVERY ON_EVERY_HOST
#define RUN SURFACE_RUN
#define QUEUE SURFACE_QUEUE

static const struct route routes[] = {
    {H1_GET, EVERY, "/healthz", SERVED_OPS, true, false, handle_health},
    {H1_GET, EVERY, "/readyz", SERVED_OPS, true, false, handle_ready},
    {H1_GET, EVERY, "/metrics", SERVED_OPS, false, false, handle_metrics},
    {H1_GET, EVERY, "/api/openapi/queue/openapi.json", SERVED_DOCS, true, false, handle_openapi},
    {H1_GET, EVERY, "/models/{app}/llms.txt", SERVED_DOCS, true, false, handle_llms},
    {H1_GET, EVERY, "/api/fal/proxy", SERVED_PROXY, false, false, handle_proxy},
    {H1_POST, EVERY, "/api/fal/proxy", SERVED_PROXY, false, false, handle_proxy},
    {H1_PUT, EVERY, "/api/fal/proxy", SERVED_PROXY, false, false, handle_proxy},
    {H1_POST, EVERY, "/v1/chat/completions", SERVED_OPENAI, false, true, handle_chat},
    {H1_GET, EVERY, "/v1/models", SERVED_OPENAI, false, true, handle_models},
    {H1_GET, EVERY, "/v1/models/{id}", SERVED_OPENAI, false, true, handle_model},
    {H1_POST, RUN, "/{app}/stream", SERVED_STREAM, false, false, handle_stream},
    {H1_POST, RUN, "/{app}", SERVED_RUN, false, false, handle_run},
    {H1_GET, QUEUE, "/{app}/requests/{id}/status/stream", SERVED_STATUS_STREAM, false, false,
     handle_status_stream},
    {H1_GET, QUEUE, "/{app}/requests/{id}/status", SERVED_STATUS, false, false, handle_status},
    {H1_PUT, QUEUE, "/{app}/requests/{id}/cancel", SERVED_CANCEL, false, false, handle_cancel},
    {H1_GET, QUEUE, "/{app}/requests/{id}/response", SERVED_RESULT, false, false, handle_result},
    {H1_GET, QUEUE, "/{app}/requests/{id}", SERVED_RESULT, false, false, handle_result},
    {H1_POST, QUEUE, "/{app}", SERVED_SUBMIT, false, false, handle_submit},
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
        } else if (!slice_eq(want, seg[at++])) {
            return false;
        }
    }
    return at == n;
}

/* First segments of paths that are no application's, on hosts that stand for no surface. */
static bool is_ours(struct slice s) {
    static const char *const names[] = {"api", "v1", "models", "healthz", "readyz", "metrics"};
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
    const char *text = arena_printf(a, "%s%s%s", methods & 1U << H1_GET ? ", GET, HEAD" : "",
                                    methods & 1U << H1_POST ? ", POST" : "",
                                    methods & 1U << H1_PUT ? ", PUT" : "");
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
    struct slice name, path = cut_model_name(c->at.path, &name, net_arena(c->x));
    *status = split(path, seg, &n, net_arena(c->x));
    if (*status != 0) return NULL;
    for (size_t i = 0; i < NROUTES; i++) {
        const struct route *r = &routes[i];
        c->app = c->id = SLICE("");
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
