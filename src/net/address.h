/* Addresses of peers: text, CIDR ranges, what no stranger's URL may reach, and how many connections each one holds. */
#ifndef ANYLLM_NET_ADDRESS_H
#define ANYLLM_NET_ADDRESS_H

#include "base/slice.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define NET_ADDRESS_TEXT_BYTES 46

/* IPv4 stands as ::ffff:a.b.c.d, so that one form serves all. */
struct net_address {
    uint8_t bytes[16];
};

struct net_cidr {
    struct net_address base;
    unsigned bits; /* of the 128 */
};

union net_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "127.0.0.1", "::1" or "[::1]"; false when it is no address (a name, say). *len gets the sockaddr's size. */
bool net_sockaddr_parse(const char *text, uint16_t port, union net_sockaddr *out, socklen_t *len);
void net_address_of(const union net_sockaddr *sa, struct net_address *out);
/* "10.0.0.1", "2001:db8::1". Returns the length. */
size_t net_address_text(const struct net_address *a, char out[NET_ADDRESS_TEXT_BYTES]);
bool net_address_is_loopback(const struct net_address *a);
/* "10.0.0.0/8", "::1", "fd00::/8"; false on anything else. */
bool net_cidr_parse(const char *text, struct net_cidr *out);
bool net_cidr_has(const struct net_cidr *c, const struct net_address *a);
/* True for what a stranger's URL must not make us connect to: this host, private and link-local networks, what is no host
 * or not routed (multicast, documentation, reserved), a cloud's own services, IPv6 that stands for or carries IPv4 (mapped,
 * compatible, NAT64, 6to4, Teredo), and every family but IP. To be asked on the sockaddr that connect gets. */
bool net_address_is_private(const struct sockaddr *a);

/* Counts per address. The table is keyed with a random seed: a peer cannot choose its bucket. */
struct net_census;
struct net_census *net_census_new(void); /* NULL when out of memory */
void net_census_free(struct net_census *c);
/* One more, unless the address holds `max` already or memory is out: then false. */
bool net_census_add(struct net_census *c, const struct net_address *a, size_t max);
void net_census_remove(struct net_census *c, const struct net_address *a);

#endif
