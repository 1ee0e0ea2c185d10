/* What a webhook's URL must be. Addresses are checked again on the connected socket when it is delivered; here what can
 * be told from the text is refused at once, so that the caller learns of it. */
#include "api/api.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

#define WEBHOOK_MAX_BYTES 8192U

struct range4 {
    uint32_t net, mask;
};

/* Not reachable from outside, or not a host: RFC 6890 and its additions. */
static bool private4(uint32_t a) {
    static const struct range4 ranges[] = {
        {0x00000000, 0xff000000}, {0x0a000000, 0xff000000}, {0x64400000, 0xffc00000},
        {0x7f000000, 0xff000000}, {0xa9fe0000, 0xffff0000}, {0xac100000, 0xfff00000},
        {0xc0000000, 0xffffff00}, {0xc0000200, 0xffffff00}, {0xc0586300, 0xffffff00},
        {0xc0a80000, 0xffff0000}, {0xc6120000, 0xfffe0000}, {0xc6336400, 0xffffff00},
        {0xcb007100, 0xffffff00}, {0xe0000000, 0xf0000000}, {0xf0000000, 0xf0000000},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if ((a & ranges[i].mask) == ranges[i].net) return true;
    return false;
}

static bool starts6(const unsigned char *a, const char *bytes, size_t n) {
    return memcmp(a, bytes, n) == 0;
}

static bool private6(const unsigned char *a) {
    static const char zero[16];
    if (starts6(a, zero, 10) || starts6(a, zero, 12))
        return true;                                        /* ::, ::1, mapped and compatible v4 */
    if ((a[0] & 0xfe) == 0xfc || a[0] == 0xff) return true; /* fc00::/7, multicast */
    if (a[0] == 0xfe && (a[1] & 0x80) == 0x80) return true; /* fe80::/10 and fec0::/10 */
    return starts6(a, "\x00\x64\xff\x9b", 4) ||
           starts6(a, "\x20\x02", 2) || /* NAT64, 6to4 carry a v4 address */
           starts6(a, "\x01\x00\x00\x00\x00\x00\x00\x00", 8) || starts6(a, "\x20\x01\x0d\xb8", 4) ||
           (starts6(a, "\x3f\xff", 2) && (a[2] & 0xf0) == 0) || starts6(a, "\x5f\x00", 2);
}

static bool is_local_name(const char *host) {
    size_t n = strlen(host);
    if (n > 0 && host[n - 1] == '.') n--;
    struct slice s = slice_make(host, n);
    return slice_eq_nocase(s, SLICE("localhost")) ||
           (n > 10 && slice_eq_nocase(slice_make(host + n - 10, 10), SLICE(".localhost"))) ||
           slice_eq_nocase(s, SLICE("metadata.google.internal"));
}

static const char *v6_fault(struct slice host) {
    char text[64];
    struct in6_addr a;
    if (host.len >= sizeof text) return "invalid host";
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET6, text, &a) != 1) return "invalid host";
    return private6(a.s6_addr) ? "address not allowed" : NULL;
}

/* inet_aton reads every spelling that a resolver would: 127.1, 2130706433, 0x7f000001, 0177.0.0.1. */
static const char *name_fault(struct slice host) {
    char text[256];
    struct in_addr a;
    if (host.len == 0 || host.len >= sizeof text) return "invalid host";
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        if (!isalnum(c) && c != '-' && c != '.' && c != '_') return "invalid host";
        text[i] = (char)c;
    }
    text[host.len] = '\0';
    if (is_local_name(text)) return "address not allowed";
    if (inet_aton(text, &a) != 0 && private4(ntohl(a.s_addr))) return "address not allowed";
    return NULL;
}

static const char *port_fault(struct slice port) {
    uint64_t n;
    if (port.ptr == NULL) return NULL;
    if (!slice_to_range(port, 1, 65535, &n)) return "invalid port";
    return n == 22 || n == 25 ? "port not allowed" : NULL;
}

const char *webhook_url_fault(struct slice url) {
    if (url.len > WEBHOOK_MAX_BYTES) return "URL too long";
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] >= 0x7f)
            return "invalid character in URL";
    struct slice rest = url, port = SLICE_NONE;
    if (slice_eq_nocase(slice_make(url.ptr, url.len < 7 ? 0 : 7), SLICE("http://")))
        rest = slice_from(url, 7);
    else if (slice_eq_nocase(slice_make(url.ptr, url.len < 8 ? 0 : 8), SLICE("https://")))
        rest = slice_from(url, 8);
    else
        return "scheme must be http or https";
    if (slice_find(url, '#') >= 0 || slice_find(url, '\\') >= 0)
        return "URL must have no fragment and no backslash";
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?') end++;
    struct slice authority = slice_make(rest.ptr, end);
    if (slice_find(authority, '@') >= 0) return "URL must have no user or password";
    if (authority.len > 0 && authority.ptr[0] == '[') {
        ptrdiff_t close = slice_find(authority, ']');
        if (close < 0) return "invalid host";
        struct slice tail = slice_from(authority, (size_t)close + 1);
        if (tail.len > 0 && tail.ptr[0] != ':') return "invalid host";
        const char *why = v6_fault(slice_make(authority.ptr + 1, (size_t)close - 1));
        return why != NULL ? why : port_fault(tail.len > 0 ? slice_from(tail, 1) : SLICE_NONE);
    }
    struct slice host = slice_cut(authority, ':', &port);
    const char *why = name_fault(host);
    return why != NULL ? why : port_fault(port);
}
