/* The client side of HTTP/1.1: a keep-alive pool per origin and calls on it. Loop's thread only.
 *
 * net_call_start never calls back before it has returned. Then: on_head at most once, on_body any number of times, and
 * on_end exactly once, last, with or without a fault. After net_call_cancel no hook is called any more; the connection
 * is closed at once. A connection with an unfinished or odd exchange (surplus bytes, two answers) is closed, never pooled.
 * A request on a reused connection that closes before any byte of the answer is repeated once on a fresh one.
 * All addresses of a name are tried in turn within connect_ms; a name is resolved again after 10 s, for up to 5 minutes beside
 * calls that go on with what it stood for, or when none answers. */
#ifndef ANYLLM_NET_CLIENT_H
#define ANYLLM_NET_CLIENT_H

#include "net/h1.h"
#include "net/loop.h"

struct
    net_tls; /* client TLS settings shared by origins: one SSL_CTX with the system's CA certificates */
struct net_tls *net_tls_new(const char *ca_file); /* NULL: the system's store. NULL on failure */
void net_tls_free(struct net_tls *t); /* after the loop has closed the connections of its origins */

struct net_origin; /* host:port or Unix socket, and its idle connections */

struct net_origin_options {
    const char *host; /* name or address, for connecting, SNI, verification and the Host header */
    uint16_t port;
    const char *unix_path; /* instead of host:port; Host is then "localhost" */
    struct net_tls *tls;   /* NULL: plain */
    size_t max_idle;       /* idle connections kept, 1,024 */
    uint32_t idle_ms;      /* how long, 60,000; an answer's Keep-Alive: timeout=, max= lower it */
    /* NULL: every address. Asked on the sockaddr that is connected to, each time just before, literals and names alike (not
     * of unix_path); those it refuses are passed over, and when none was left to try the call ends with NET_FORBIDDEN. What
     * is pooled was asked when it was connected. `allow_user` lives as long as the origin. */
    bool (*allow)(void *user, const struct sockaddr *address);
    void *allow_user;
};

/* Strings are copied. NULL when out of memory. */
struct net_origin *net_origin_new(struct net_loop *l, const struct net_origin_options *o);
/* Closes idle connections; running calls end with NET_CANCELLED before it returns. */
void net_origin_free(struct net_origin *o);
/* Closes idle connections only (the process behind a Unix socket was restarted). */
void net_origin_flush(struct net_origin *o);

enum net_fault {
    NET_OK,
    NET_DNS,
    NET_FORBIDDEN, /* no address that net_origin_options.allow lets through */
    NET_REFUSED,   /* connect failed */
    NET_CONNECT_TIMEOUT,
    NET_TLS, /* handshake or verification */
    NET_FIRST_BYTE_TIMEOUT,
    NET_IDLE_TIMEOUT, /* between bytes */
    NET_TOTAL_TIMEOUT,
    NET_CUT,      /* closed or reset before the answer was whole */
    NET_PROTOCOL, /* not HTTP, broken framing, head too large, too many 1xx */
    NET_CANCELLED,
    NET_MEMORY
};
const char *net_fault_name(enum net_fault f); /* "refused", "first_byte_timeout", … */

struct net_deadlines {
    uint32_t connect_ms;    /* 5,000: name, connect and TLS handshake */
    uint32_t first_byte_ms; /* 120,000: from the request sent to the answer's head, whole */
    uint32_t idle_ms;       /* 120,000: between bytes of the answer; stopped while paused */
    uint32_t total_ms;      /* 3,600,000 */
};
#define NET_DEADLINES_DEFAULT {5000, 120000, 120000, 3600000}

struct net_call;

struct net_call_end {
    enum net_fault fault;
    const char *detail; /* NULL or static; for logs, may name what TLS refused */
    bool sent;          /* some byte of the request may have reached the peer (of a repeat too) */
    bool reused;        /* ran on a pooled connection */
};

struct net_call_hooks {
    /* head is valid during the hook; it is only as large as its nheaders: never copy the struct. 1xx are read over. */
    void (*on_head)(struct net_call *c, const struct h1_head *head, void *user);
    void (*on_body)(struct net_call *c, struct slice data,
                    void *user); /* data is valid during the hook; never empty */
    void (*on_end)(struct net_call *c, const struct net_call_end *end,
                   void *user); /* c is gone afterwards */
};

struct net_call_options {
    const char *method; /* "POST" */
    struct slice path;  /* with query */
    struct slice
        headers; /* ready lines, each ending CRLF; Host, Content-Length and Connection are added here */
    struct slice
        body; /* path, headers and body are borrowed until on_head, on_end or cancel (a repeat needs them) */
    struct net_deadlines deadlines;
    const struct net_call_hooks *hooks; /* borrowed until on_end */
    void *user;
};

/* NULL when out of memory (no hook will be called). */
struct net_call *net_call_start(struct net_origin *o, const struct net_call_options *opt);
/* Stops reading from the peer: back-pressure through TCP. on_body is not called while paused (on_head may be), nor is
 * on_end for an answer that is complete or cut; a deadline still ends the call, but the one between bytes stands still. */
void net_call_pause(struct net_call *c);
void net_call_resume(struct net_call *c);
void net_call_cancel(struct net_call *c);
/* Connected, and the request is on its way: before that the peer knows nothing of it. */
bool net_call_sent(const struct net_call *c);

#endif
