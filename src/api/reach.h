/* How a request reached us: which surface its path is meant for, and how addresses in the answer begin. A prefix of the
 * path wins over the Host; what a reverse proxy says of the caller counts only from a trusted one. */
#ifndef ANYLLM_API_REACH_H
#define ANYLLM_API_REACH_H

#include "base/buf.h"
#include "base/config.h"
#include "net/server.h"

struct reach {
    bool tls;
    struct slice host;        /* as the caller wrote it; len 0: HTTP/1.0 without one */
    struct slice path, query; /* whole, percent-encoded */
    enum config_surface surface;
    bool by_host; /* the Host stands for a surface other than run */
    bool as_fal;  /* asked for at fal's own address, through the proxy: public_url is not it */
    struct slice prefix; /* of the path, "/queue"; len 0: the Host decided */
};

/* From the exchange itself. The slices live as long as its head. */
void reach_of(struct reach *r, const struct config *cfg, const struct net_exchange *x);
/* The caller's address as text: the connection's, or what a trusted proxy says of it. Lives as long as the head. */
struct slice reach_peer(const struct net_exchange *x);
/* Surface and prefix from host and path. */
void reach_decide(struct reach *r, const struct config *cfg);
/* What stands before "/{endpoint}" in an address of this surface: "http://localhost:8787/queue". */
void reach_base(struct buf *b, const struct config *cfg, const struct reach *r);
/* The surface a Host stands for; false: none, it serves run. */
bool reach_host(const struct config *cfg, struct slice host, enum config_surface *out);
/* The surface that a first segment names; false: none. */
bool reach_prefix(struct slice segment, enum config_surface *out);
const char *reach_prefix_name(enum config_surface s); /* "queue" */

#endif
