#include "net/address.h"

#include "base/random.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const struct net_address *a) {
    return memcmp(a->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

bool net_sockaddr_parse(const char *text, uint16_t port, union net_sockaddr *out, socklen_t *len) {
    char bare[NET_ADDRESS_TEXT_BYTES];
    struct slice s = slice_of(text);
    if (s.len > 2 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']')
        s = slice_make(s.ptr + 1, s.len - 2);
    if (s.len >= sizeof bare) return false;
    memcpy(bare, s.ptr, s.len);
    bare[s.len] = '\0';
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, bare, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        *len = sizeof out->v4;
        return true;
    }
    if (inet_pton(AF_INET6, bare, &out->v6.sin6_addr) != 1) return false;
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    *len = sizeof out->v6;
    return true;
}

void net_address_of(const union net_sockaddr *sa, struct net_address *out) {
    if (sa->any.sa_family == AF_INET6) {
        memcpy(out->bytes, &sa->v6.sin6_addr, 16);
        return;
    }
    memcpy(out->bytes, v4_prefix, sizeof v4_prefix);
    memcpy(out->bytes + 12, &sa->v4.sin_addr, 4);
}

size_t net_address_text(const struct net_address *a, char out[NET_ADDRESS_TEXT_BYTES]) {
    const char *text = is_v4(a) ? inet_ntop(AF_INET, a->bytes + 12, out, NET_ADDRESS_TEXT_BYTES)
                                : inet_ntop(AF_INET6, a->bytes, out, NET_ADDRESS_TEXT_BYTES);
    return text != NULL ? strlen(text) : 0;
}

bool net_address_is_loopback(const struct net_address *a) {
    static const uint8_t one[16] = {[15] = 1};
    return is_v4(a) ? a->bytes[12] == 127 : memcmp(a->bytes, one, sizeof one) == 0;
}

bool net_cidr_parse(const char *text, struct net_cidr *out) {
    char address[NET_ADDRESS_TEXT_BYTES];
    union net_sockaddr sa;
    socklen_t len;
    struct slice bits, front = slice_cut(slice_of(text), '/', &bits);
    if (front.len == 0 || front.len >= sizeof address) return false;
    memcpy(address, front.ptr, front.len);
    address[front.len] = '\0';
    if (!net_sockaddr_parse(address, 0, &sa, &len)) return false;
    uint64_t max = sa.any.sa_family == AF_INET ? 32 : 128, n = max;
    if (bits.ptr != NULL && !slice_to_range(bits, 0, max, &n)) return false;
    net_address_of(&sa, &out->base);
    out->bits = (unsigned)(n + 128 - max);
    return true;
}

bool net_cidr_has(const struct net_cidr *c, const struct net_address *a) {
    size_t whole = c->bits / 8, rest = c->bits % 8;
    if (memcmp(c->base.bytes, a->bytes, whole) != 0) return false;
    return rest == 0 || (c->base.bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

/* --- what is not the internet --- */

#define V4(a, b, c, d, bits) \
    {{{[10] = 0xff, [11] = 0xff, [12] = (a), [13] = (b), [14] = (c), [15] = (d)}}, 96 + (bits)}

/* RFC 6890 and what was added to it. */
static const struct net_cidr private4[] = {
    V4(0, 0, 0, 0, 8),        /* this network */
    V4(10, 0, 0, 0, 8),       /* private */
    V4(100, 64, 0, 0, 10),    /* behind a carrier's NAT; one cloud's metadata */
    V4(127, 0, 0, 0, 8),      /* loopback */
    V4(168, 63, 129, 16, 32), /* public, and yet one cloud's own services */
    V4(169, 254, 0, 0, 16),   /* link-local; metadata of clouds */
    V4(172, 16, 0, 0, 12),    /* private */
    V4(192, 0, 0, 0, 24),     /* protocol assignments; one cloud's metadata */
    V4(192, 0, 2, 0, 24),     /* documentation */
    V4(192, 88, 99, 0, 24),   /* relays of 6to4 */
    V4(192, 168, 0, 0, 16),   /* private */
    V4(198, 18, 0, 0, 15),    /* measuring networks */
    V4(198, 51, 100, 0, 24),  /* documentation */
    V4(203, 0, 113, 0, 24),   /* documentation */
    V4(224, 0, 0, 0, 3),      /* multicast, reserved, broadcast */
};

/* Hosts of the internet are in 2000::/3 and nowhere else: the first three are all that is not. */
static const struct net_cidr private6[] = {
    {{{0x00}}, 3},        /* ::, ::1, v4 mapped, compatible, by NAT64 (64:ff9b::/32); 100::/64 */
    {{{0x40}}, 2},        /* 5f00::/16 and what is not given out */
    {{{0x80}}, 1},        /* fc00::/7, fe80::/10, fec0::/10, ff00::/8 and what is not given out */
    {{{0x20, 0x01}}, 23}, /* protocol assignments; Teredo */
    {{{0x20, 0x01, 0x0d, 0xb8}}, 32}, /* documentation */
    {{{0x20, 0x02}}, 16},             /* 6to4 */
    {{{0x3f, 0xff}}, 20},             /* documentation */
};

bool net_address_is_private(const struct sockaddr *sa) {
    union net_sockaddr copy;
    struct net_address a;
    bool v4 = sa->sa_family == AF_INET;
    if (!v4 && sa->sa_family != AF_INET6) return true;
    memcpy(&copy, sa, v4 ? sizeof copy.v4 : sizeof copy.v6);
    net_address_of(&copy, &a);
    const struct net_cidr *ranges = v4 ? private4 : private6;
    size_t n = v4 ? sizeof private4 / sizeof *private4 : sizeof private6 / sizeof *private6;
    for (size_t i = 0; i < n; i++)
        if (net_cidr_has(&ranges[i], &a)) return true;
    return false;
}

/* --- the census --- */

#define CENSUS_BUCKETS 1024U /* at 10,000 connections from as many addresses a chain of ten */

struct entry {
    struct entry *next;
    struct net_address address;
    size_t count;
};

struct net_census {
    uint64_t seed;
    struct entry *buckets[CENSUS_BUCKETS];
};

struct net_census *net_census_new(void) {
    struct net_census *c = calloc(1, sizeof *c);
    if (c != NULL) c->seed = random_u64(&random_system);
    return c;
}

void net_census_free(struct net_census *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < CENSUS_BUCKETS; i++)
        for (struct entry *e = c->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            free(e);
        }
    free(c);
}

static struct entry **find(struct net_census *c, const struct net_address *a) {
    uint64_t words[2], h = c->seed;
    memcpy(words, a->bytes, sizeof words);
    for (size_t i = 0; i < 2; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
    }
    struct entry **at = &c->buckets[(h ^ h >> 32) % CENSUS_BUCKETS];
    while (*at != NULL && memcmp(&(*at)->address, a, sizeof *a) != 0) at = &(*at)->next;
    return at;
}

bool net_census_add(struct net_census *c, const struct net_address *a, size_t max) {
    struct entry **at = find(c, a);
    if (*at == NULL && max > 0) {
        *at = calloc(1, sizeof **at);
        if (*at != NULL) (*at)->address = *a;
    }
    if (*at == NULL || (*at)->count >= max) return false;
    (*at)->count++;
    return true;
}

void net_census_remove(struct net_census *c, const struct net_address *a) {
    struct entry **at = find(c, a), *e = *at;
    if (e == NULL || --e->count > 0) return;
    *at = e->next;
    free(e);
}
