#include "base/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>

bool loopback_is_host(struct slice host) {
    struct in_addr v4;
    struct in6_addr v6;
    char text[INET6_ADDRSTRLEN];
    if (slice_eq_nocase(host, SLICE("localhost"))) return true;
    bool brackets = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (brackets) host = slice_make(host.ptr + 1, host.len - 2);
    if (host.len == 0 || host.len >= sizeof text) return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (brackets) return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    return inet_pton(AF_INET, text, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

bool loopback_is_url(struct slice url) {
    static const char ends[] = "/?#";
    size_t len = 0, host = 0;
    ptrdiff_t scheme = slice_find(url, ':');
    if (scheme >= 0 && slice_starts(slice_from(url, (size_t)scheme), SLICE("://")))
        url = slice_from(url, (size_t)scheme + 3);
    while (len < url.len && memchr(ends, url.ptr[len], sizeof ends) == NULL) len++;
    url.len = len;
    if (slice_find(url, '@') >= 0) return false;
    if (url.len > 0 && url.ptr[0] == '[') {
        ptrdiff_t end = slice_find(url, ']');
        host = end >= 0 ? (size_t)end + 1 : url.len;
    } else
        while (host < url.len && url.ptr[host] != ':') host++;
    return (host == url.len || url.ptr[host] == ':') && loopback_is_host(slice_make(url.ptr, host));
}
