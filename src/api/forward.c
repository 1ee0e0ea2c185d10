#include "api/forward.h"

#include "api/call.h"
#include "api/target.h"

#include <stdio.h>
#include <stdlib.h>

#define HEADERS_MAX_BYTES (H1_MAX_HEAD_BYTES + 1024U)
/* fal answers a call when its model has ended; a stream of its sends something at least every 15 s. */
static const struct net_deadlines deadlines = {
    .connect_ms = 5000, .first_byte_ms = 3600000, .idle_ms = 120000, .total_ms = 3600000};

struct forwarder {
    const struct config *config;
    struct net_tls *tls;
    struct net_origin *origins[TARGET_FAL_HOSTS]; /* with forward_to the first one alone */
    struct slice base;                            /* path of forward_to */
};

/* One call, in its exchange's arena. */
struct forward {
    struct net_call *call; /* NULL: not yet, or ended */
    struct buf headers;    /* what is sent; our key is in it */
    bool begun, bodyless, paused;
    unsigned status;
    struct slice type;
};

static struct forward *own(struct call *c) {
    return c->own;
}

/* --- connections */

/* `host` has passed h1_host_ok: name, IPv4 or [IPv6], and maybe a port. */
static struct net_origin *origin_of(struct net_loop *l, struct net_tls *tls, struct slice host) {
    char name[256];
    uint64_t n = tls != NULL ? 443 : 80;
    ptrdiff_t end = slice_find(host, ']');
    struct slice port, bare = slice_cut(end > 0 ? slice_from(host, (size_t)end) : host, ':', &port);
    if (end > 0) bare = slice_make(host.ptr + 1, (size_t)end - 1);
    if (port.ptr != NULL) slice_to_range(port, 1, 65535, &n);
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(bare));
    struct net_origin_options o = {
        .host = name, .port = (uint16_t)n, .tls = tls, .max_idle = 64, .idle_ms = 30000};
    return net_origin_new(l, &o);
}

static bool make_origins(struct forwarder *f, struct net_loop *l) {
    struct target_url to;
    if (f->config->proxy.forward_to == NULL) {
        for (size_t i = 0; i < TARGET_FAL_HOSTS; i++) {
            f->origins[i] = origin_of(l, f->tls, slice_of(target_fal_host(i)));
            if (f->origins[i] == NULL) return false;
        }
        return true;
    }
    if (!target_split(slice_of(f->config->proxy.forward_to), &to)) return false;
    f->base = slice_is(to.path, "/") ? SLICE("") : to.path;
    f->origins[0] = origin_of(l, to.tls ? f->tls : NULL, to.host);
    return f->origins[0] != NULL;
}

struct forwarder *forwarder_new(struct net_loop *l, const struct config *c) {
    struct forwarder *f = calloc(1, sizeof *f);
    if (f == NULL) return NULL;
    f->config = c;
    f->tls = net_tls_new(NULL);
    if (f->tls != NULL && make_origins(f, l)) return f;
    forwarder_close(f);
    forwarder_free(f);
    return NULL;
}

void forwarder_close(struct forwarder *f) {
    if (f == NULL) return;
    for (size_t i = 0; i < TARGET_FAL_HOSTS; i++) {
        if (f->origins[i] != NULL) net_origin_free(f->origins[i]);
        f->origins[i] = NULL;
    }
}

void forwarder_free(struct forwarder *f) {
    if (f == NULL) return;
    net_tls_free(f->tls);
    free(f);
}

/* --- outward */

static bool starts_nocase(struct slice s, struct slice prefix) {
    return s.len > prefix.len && slice_eq_nocase(slice_make(s.ptr, prefix.len), prefix);
}

static bool listed(struct slice name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (slice_eq_nocase(name, slice_of(list[i]))) return true;
    return false;
}

#define LISTED(name, list) listed(name, list, sizeof(list) / sizeof *(list))

/* x-fal-user-id would let the caller act for any team of the key's. */
static bool goes_out(struct slice name) {
    static const char *const as_they_are[] = {"content-type", "accept", "user-agent"};
    static const char *const ours[] = {"x-fal-target-url", "x-fal-client-proxy", "x-fal-user-id"};
    return LISTED(name, as_they_are) ||
           (starts_nocase(name, SLICE("x-fal-")) && !LISTED(name, ours));
}

static bool write_headers(struct call *c, struct buf *b) {
    const struct h1_head *h = net_head(c->x);
    buf_init(b, HEADERS_MAX_BYTES);
    buf_puts(b, "Authorization: Key ");
    buf_add(b, secret_reveal(&c->api->config->proxy.fal_key));
    buf_puts(b, "\r\nx-fal-client-proxy: anyllm\r\n");
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct h1_header *at = &h->headers[i];
        if (!goes_out(at->name)) continue;
        buf_printf(b, "%.*s: %.*s\r\n", SLICE_ARG(at->name), SLICE_ARG(at->value));
    }
    return !b->failed;
}

static struct net_origin *origin_for(const struct forwarder *f, const struct call *c) {
    if (f->config->proxy.forward_to != NULL) return f->origins[0];
    for (size_t i = 0; i < TARGET_FAL_HOSTS; i++)
        if (slice_is(c->at.host, target_fal_host(i))) return f->origins[i];
    return NULL;
}

/* At another place than fal's the prefix tells what the host told. */
static struct slice path_for(const struct forwarder *f, const struct call *c) {
    bool elsewhere = f->config->proxy.forward_to != NULL;
    char *path = arena_printf(
        net_arena(c->x), "%.*s%s%s%.*s%s%.*s", SLICE_ARG(f->base), elsewhere ? "/" : "",
        elsewhere ? reach_prefix_name(c->at.surface) : "", SLICE_ARG(c->at.path),
        c->at.query.len > 0 ? "?" : "", SLICE_ARG(c->at.query));
    return slice_of(path);
}

/* --- back */

static bool comes_back(struct slice name) {
    static const char *const list[] = {"content-encoding", "cache-control", "etag", "retry-after"};
    return LISTED(name, list) || (starts_nocase(name, SLICE("x-fal-")) &&
                                  !slice_eq_nocase(name, SLICE("x-fal-request-id")));
}

/* fal's id of the request is the one that callers know it by. */
static void take_request_id(struct call *c, struct slice id) {
    if (id.len != UUID_BYTES - 1) return;
    memcpy(c->request_id, id.ptr, id.len);
    c->request_id[id.len] = '\0';
}

static void on_head(struct net_call *call, const struct h1_head *head, void *user) {
    struct call *c = user;
    struct forward *f = own(c);
    f->status = head->status;
    f->type = arena_copy(net_arena(c->x), h1_get(head, SLICE("content-type"), NULL));
    f->bodyless = head->status == 204 || head->status == 304 || net_head(c->x)->method == H1_HEAD;
    take_request_id(c, h1_get(head, SLICE("x-fal-request-id"), NULL));
    for (size_t i = 0; i < head->nheaders; i++)
        if (comes_back(head->headers[i].name))
            net_header(c->x, head->headers[i].name, head->headers[i].value);
    call_headers(c);
    if (f->status >= 400) c->api->errors[SERVED_PROXY]++;
    if (f->bodyless) return;
    f->begun = true;
    net_stream_begin(c->x, f->status, f->type);
}

static void on_body(struct net_call *call, struct slice data, void *user) {
    struct call *c = user;
    if (!own(c)->begun || net_stream_write(c->x, data)) return;
    own(c)->paused = true;
    net_call_pause(call);
}

static const struct failure {
    enum net_fault fault;
    unsigned status;
    const char *type, *detail;
} failures[] = {
    {NET_DNS, 503, "runner_connection_refused", "fal could not be reached"},
    {NET_REFUSED, 503, "runner_connection_refused", "fal could not be reached"},
    {NET_CONNECT_TIMEOUT, 503, "runner_connection_timeout", "fal could not be reached in time"},
    {NET_TLS, 502, "runner_connection_error", "fal's certificate was not accepted"},
    {NET_FIRST_BYTE_TIMEOUT, 504, "request_timeout", "fal did not answer in time"},
    {NET_IDLE_TIMEOUT, 504, "request_timeout", "fal did not answer in time"},
    {NET_TOTAL_TIMEOUT, 504, "request_timeout", "fal did not answer in time"},
    {NET_OK, 502, "runner_incomplete_response", "fal's answer was not whole"}, /* and all others */
};

static void answer_failure(struct call *c, enum net_fault fault) {
    const struct failure *f = failures;
    while (f->fault != NET_OK && f->fault != fault) f++;
    call_error(c, f->status, f->type, slice_of(f->detail));
}

static void on_end(struct net_call *call, const struct net_call_end *end, void *user) {
    struct call *c = user;
    struct forward *f = own(c);
    f->call = NULL;
    buf_free(&f->headers);
    if (end->fault != NET_OK)
        log_request(LOG_WARN, c->request_id, "forward_failed",
                    "host=%.*s fault=%s sent=%d begun=%d", SLICE_ARG(c->at.host),
                    net_fault_name(end->fault), end->sent, f->begun);
    if (f->begun && end->fault == NET_OK)
        net_stream_end(c->x);
    else if (f->begun)
        net_stream_abort(c->x);
    else if (f->bodyless)
        net_reply(c->x, f->status, f->type, SLICE(""));
    else
        answer_failure(c, end->fault);
}

static void drained(struct call *c) {
    struct forward *f = own(c);
    if (!f->paused || f->call == NULL) return;
    f->paused = false;
    net_call_resume(f->call);
}

static void gone(struct call *c) {
    struct forward *f = own(c);
    if (f->call == NULL) return;
    net_call_cancel(f->call);
    f->call = NULL;
    buf_free(&f->headers);
}

void handle_proxy(struct call *c) {
    static const struct call_hooks going_on = {.drained = drained, .gone = gone};
    static const struct net_call_hooks hooks = {
        .on_head = on_head, .on_body = on_body, .on_end = on_end};
    struct forwarder *to = c->api->forwarder;
    struct forward *f = arena_zalloc(net_arena(c->x), sizeof *f);
    struct slice path = path_for(to, c);
    if (f != NULL && path.ptr != NULL && write_headers(c, &f->headers)) {
        struct net_call_options o = {.method = h1_method_name(net_head(c->x)->method),
                                     .path = path,
                                     .headers = buf_slice(&f->headers),
                                     .body = net_body(c->x),
                                     .deadlines = deadlines,
                                     .hooks = &hooks,
                                     .user = c};
        c->own = f;
        c->hooks = &going_on;
        f->call = net_call_start(origin_for(to, c), &o);
        if (f->call != NULL) return;
    }
    if (f != NULL) buf_free(&f->headers);
    call_error(c, 503, "internal_error", SLICE("out of memory"));
}
