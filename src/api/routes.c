/* THE table of what is served. */
#include "api/call.h"

static const struct route routes[] = {
    {H1_GET, "/healthz", SERVED_OPS, true, handle_health},
    {H1_GET, "/readyz", SERVED_OPS, true, handle_ready},
    {H1_GET, "/metrics", SERVED_OPS, false, handle_metrics},
    {H1_POST, "/run/{app}/stream", SERVED_STREAM, false, handle_stream},
    {H1_POST, "/run/{app}", SERVED_RUN, false, handle_run},
    {H1_GET, "/queue/{app}/requests/{id}/status", SERVED_STATUS, false, handle_status},
    {H1_PUT, "/queue/{app}/requests/{id}/cancel", SERVED_CANCEL, false, handle_cancel},
    {H1_GET, "/queue/{app}/requests/{id}/response", SERVED_RESULT, false, handle_result},
    {H1_GET, "/queue/{app}/requests/{id}", SERVED_RESULT, false, handle_result},
    {H1_POST, "/queue/{app}", SERVED_SUBMIT, false, handle_submit},
    {H1_POST, "/{app}/stream", SERVED_STREAM, false, handle_stream},
    {H1_POST, "/{app}", SERVED_RUN, false, handle_run},
};

#define NROUTES (sizeof routes / sizeof *routes)

/* An app has at least owner and alias. */
#define APP_MIN_SEGMENTS 2U

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

/* {app} is greedy but leaves enough segments for what follows it in the pattern. */
static bool match(const char *pattern, const struct slice *seg, size_t n, struct call *c) {
    struct slice p = slice_from(slice_of(pattern), 1), rest;
    size_t at = 0, after = 0;
    struct slice prefix = SLICE("");
    for (; p.ptr != NULL; p = rest) {
        struct slice want = slice_cut(p, '/', &rest);
        if (slice_is(want, "{app}")) {
            after = 0;
            for (struct slice t = rest; t.ptr != NULL; after++) slice_cut(t, '/', &t);
            if (n < at + APP_MIN_SEGMENTS + after || names_a_request(seg + at, n - after - at))
                return false;
            if (at == 1) prefix = slice_make(seg[0].ptr - 1, seg[0].len + 1);
            c->app = span(seg[at], seg[n - after - 1]);
            at = n - after;
        } else if (at >= n) {
            return false;
        } else if (slice_is(want, "{id}")) {
            c->id = seg[at++];
        } else if (!slice_eq(want, seg[at++])) {
            return false;
        }
    }
    c->prefix = prefix;
    return at == n;
}

static bool is_surface(struct slice s) {
    static const char *const names[] = {"run",      "queue", "rest",    "cdn",    "api",
                                        "platform", "v1",    "healthz", "readyz", "metrics"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_is(s, names[i])) return true;
    return false;
}

const struct route *routes_find(struct call *c, unsigned *status, const char **allow) {
    struct slice seg[CALL_MAX_SEGMENTS];
    const struct h1_head *h = net_head(c->x);
    size_t n, wrong = 0;
    static const char *const names[] = {
        [H1_GET] = "GET, HEAD", [H1_POST] = "POST", [H1_PUT] = "PUT"};
    *status = split(h->path, seg, &n, net_arena(c->x));
    if (*status != 0) return NULL;
    for (size_t i = 0; i < NROUTES; i++) {
        const struct route *r = &routes[i];
        if (r->pattern[1] == '{' && n > 0 && is_surface(seg[0])) continue;
        if (!match(r->pattern, seg, n, c)) continue;
        if (r->method == h->method || (r->method == H1_GET && h->method == H1_HEAD)) return r;
        if (wrong++ == 0) *allow = names[r->method];
    }
    *status = wrong > 0 ? 405 : 404;
    return NULL;
}
