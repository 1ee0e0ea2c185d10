/* Addresses in the configuration: where upstreams are, how callers reach us. */
#include "base/config_keys.h"

/* What may stand unescaped in a URL's path, and so in a request line and between quotes. */
static bool path_ok(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || strchr("\"<>\\^`{|}?#", s.ptr[i]) != NULL)
            return false;
    return true;
}

static bool host_ok(struct slice s) {
    return s.len > 0 && path_ok(s) && slice_find(s, '@') < 0 && slice_find(s, '[') < 0 &&
           slice_find(s, ']') < 0;
}

/* host, host:port, [v6], [v6]:port; *port stays when none is named. */
static bool split_port(struct slice *host, uint16_t *port) {
    struct slice tail = *host;
    uint64_t n;
    if (host->len > 0 && host->ptr[0] == '[') {
        ptrdiff_t end = slice_find(*host, ']');
        if (end < 0) return false;
        tail = slice_from(*host, (size_t)end + 1);
        *host = slice_make(host->ptr + 1, (size_t)end - 1);
        if (tail.len == 0) return true;
        if (tail.ptr[0] != ':') return false;
        tail = slice_from(tail, 1);
    } else {
        *host = slice_cut(*host, ':', &tail);
        if (tail.ptr == NULL) return true;
    }
    if (!slice_to_range(tail, 1, 65535, &n)) return false;
    *port = (uint16_t)n;
    return true;
}

struct url {
    bool tls;
    struct slice host, path; /* path without slashes at either end */
    uint16_t port;
};

static bool split_url(struct slice text, struct url *u) {
    u->tls = slice_starts(text, SLICE("https://"));
    if (!u->tls && !slice_starts(text, SLICE("http://"))) return false;
    u->port = u->tls ? 443 : 80;
    u->host = slice_cut(slice_from(text, u->tls ? 8 : 7), '/', &u->path);
    while (u->path.len > 0 && u->path.ptr[u->path.len - 1] == '/') u->path.len--;
    return split_port(&u->host, &u->port) && host_ok(u->host) && path_ok(u->path);
}

bool config_set_base_url(struct config_loader *l, struct config_upstream *up, struct slice text,
                         const char *where) {
    struct url u;
    if (!split_url(text, &u))
        return config_fail(l, 78, where,
                           "base_url wants http://HOST[:PORT]/PATH or https://…, without user, "
                           "password, query or fragment");
    char *path = arena_printf(&l->config->arena, "%s%.*s", u.path.len > 0 ? "/" : "",
                              SLICE_ARG(u.path));
    up->tls = u.tls;
    up->port = u.port;
    up->base_path = slice_of(path);
    up->host = arena_dup(&l->config->arena, u.host);
    return (path != NULL && up->host != NULL) || config_fail(l, 71, where, "out of memory");
}

bool config_url_ok(struct slice text, struct slice *without_slash) {
    struct url u;
    if (!split_url(text, &u)) return false;
    while (text.len > 0 && text.ptr[text.len - 1] == '/') text.len--;
    *without_slash = text;
    return true;
}
