#include "api/webhook.h"

#include "api/api.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <ctype.h>

#define HOST_BYTES 256U

/* --- addresses */

const char *webhook_allow_fault(const struct config *cfg) {
    struct net_cidr range;
    for (size_t i = 0; i < cfg->nwebhook_allow; i++)
        if (!net_cidr_parse(cfg->webhook_allow[i], &range)) return cfg->webhook_allow[i];
    return NULL;
}

static bool named(const struct config *cfg, const union net_sockaddr *sa) {
    struct net_cidr range;
    struct net_address a;
    net_address_of(sa, &a);
    for (size_t i = 0; i < cfg->nwebhook_allow; i++)
        if (net_cidr_parse(cfg->webhook_allow[i], &range) && net_cidr_has(&range, &a)) return true;
    return false;
}

bool webhook_address_allowed(const struct config *cfg, const struct sockaddr *address) {
    union net_sockaddr sa = {0};
    if (!net_address_is_private(address)) return true;
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return false;
    memcpy(&sa, address, address->sa_family == AF_INET ? sizeof sa.v4 : sizeof sa.v6);
    return named(cfg, &sa);
}

/* --- hosts */

/* Names that stand for one address everywhere. */
static const char *local_address(struct slice host) {
    if (host.len > 0 && host.ptr[host.len - 1] == '.') host.len--;
    if (slice_eq_nocase(host, SLICE("localhost")) ||
        (host.len > 10 && slice_eq_nocase(slice_from(host, host.len - 10), SLICE(".localhost"))))
        return "127.0.0.1";
    return slice_eq_nocase(host, SLICE("metadata.google.internal")) ? "169.254.169.254" : NULL;
}

/* inet_aton reads every spelling that a resolver would: 127.1, 2130706433, 0x7f000001, 0177.0.0.1. */
static bool address_of(const char *host, union net_sockaddr *out) {
    socklen_t len;
    if (net_sockaddr_parse(host, 0, out, &len)) return true;
    out->v4.sin_family = AF_INET;
    return inet_aton(host, &out->v4.sin_addr) != 0;
}

static bool copy_host(struct slice host, bool brackets, char text[HOST_BYTES]) {
    if (host.len == 0 || host.len >= HOST_BYTES) return false;
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        bool ok = brackets ? isxdigit(c) || c == ':' || c == '.'
                           : isalnum(c) || c == '-' || c == '.' || c == '_';
        if (!ok) return false;
        text[i] = (char)c;
    }
    text[host.len] = '\0';
    return true;
}

/* *by_name: webhook_allow names the very address. */
static const char *host_fault(const struct config *cfg, struct slice host, bool brackets,
                              bool *by_name) {
    char text[HOST_BYTES];
    union net_sockaddr sa = {0};
    if (!copy_host(host, brackets, text)) return "invalid host";
    const char *local = brackets ? NULL : local_address(host);
    if (!address_of(local != NULL ? local : text, &sa)) return brackets ? "invalid host" : NULL;
    if (brackets != (sa.any.sa_family == AF_INET6)) return "invalid host";
    *by_name = named(cfg, &sa);
    return webhook_address_allowed(cfg, &sa.any) ? NULL : "address not allowed";
}

/* --- ports */

/* Of "127.0.0.1:8787". The usual ones say nothing: a port of ours is everybody's there. */
static bool listens_on(const char *const *addresses, size_t n, uint16_t port) {
    uint64_t own;
    if (port == 80 || port == 443) return false;
    for (size_t i = 0; i < n; i++) {
        const char *colon = strrchr(addresses[i], ':');
        if (colon != NULL && slice_to_u64(slice_of(colon + 1), &own) && own == port) return true;
    }
    return false;
}

static const char *port_fault(const struct config *cfg, struct slice text, bool by_name,
                              uint16_t *port) {
    uint64_t n;
    if (text.ptr != NULL) {
        if (!slice_to_range(text, 1, 65535, &n)) return "invalid port";
        *port = (uint16_t)n;
    }
    bool own = listens_on((const char *const *)cfg->listen, cfg->nlisten, *port) ||
               listens_on((const char *const *)cfg->listen_tls, cfg->nlisten_tls, *port);
    return *port == 22 || *port == 25 || (own && !by_name) ? "port not allowed" : NULL;
}

/* --- the whole */

static bool starts_nocase(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && slice_eq_nocase(slice_make(s.ptr, prefix.len), prefix);
}

static struct slice authority_of(struct slice rest) {
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?') end++;
    return slice_make(rest.ptr, end);
}

static const char *split_host(struct slice authority, bool *brackets, struct slice *host,
                              struct slice *port) {
    *port = SLICE_NONE;
    *brackets = authority.len > 0 && authority.ptr[0] == '[';
    if (!*brackets) {
        *host = slice_cut(authority, ':', port);
        return NULL;
    }
    ptrdiff_t close = slice_find(authority, ']');
    if (close < 0) return "invalid host";
    struct slice tail = slice_from(authority, (size_t)close + 1);
    *host = slice_make(authority.ptr + 1, (size_t)close - 1);
    if (tail.len > 0) *port = slice_from(tail, 1);
    return tail.len > 0 && tail.ptr[0] != ':' ? "invalid host" : NULL;
}

static const char *text_fault(struct slice url) {
    if (url.len > WEBHOOK_MAX_BYTES) return "URL too long";
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] >= 0x7f)
            return "invalid character in URL";
    if (!starts_nocase(url, SLICE("http://")) && !starts_nocase(url, SLICE("https://")))
        return "scheme must be http or https";
    return slice_find(url, '#') >= 0 || slice_find(url, '\\') >= 0
               ? "URL must have no fragment and no backslash"
               : NULL;
}

/* It would call itself. */
static bool is_public_url(const struct config *cfg, struct slice authority, bool tls) {
    struct slice own = slice_of(cfg->public_url);
    bool own_tls = starts_nocase(own, SLICE("https://"));
    if (own.len == 0 || own_tls != tls) return false;
    return slice_eq_nocase(authority_of(slice_from(own, own_tls ? 8 : 7)), authority);
}

const char *webhook_url_read(const struct config *cfg, struct slice url, struct webhook_url *out) {
    struct slice port;
    bool brackets, by_name = false;
    const char *why = text_fault(url);
    if (why != NULL) return why;
    out->tls = starts_nocase(url, SLICE("https://"));
    out->port = out->tls ? 443 : 80;
    struct slice rest = slice_from(url, out->tls ? 8 : 7), authority = authority_of(rest);
    out->path = slice_from(rest, authority.len);
    if (slice_find(authority, '@') >= 0) return "URL must have no user or password";
    why = split_host(authority, &brackets, &out->host, &port);
    if (why == NULL) why = host_fault(cfg, out->host, brackets, &by_name);
    if (why == NULL) why = port_fault(cfg, port, by_name, &out->port);
    if (why == NULL && !by_name && is_public_url(cfg, authority, out->tls))
        why = "address not allowed";
    return why;
}

const char *webhook_url_fault(const struct config *cfg, struct slice url) {
    struct webhook_url parts;
    return webhook_url_read(cfg, url, &parts);
}

unsigned webhook_hops(struct slice *url) {
    struct slice mark;
    uint64_t hops = 0;
    *url = slice_cut(*url, '#', &mark);
    if (slice_starts(mark, SLICE("hops="))) slice_to_range(slice_from(mark, 5), 0, 1000, &hops);
    return (unsigned)hops;
}
