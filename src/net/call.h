/* The inside of the client: origins, their connections (links) and the calls on them. Private.
 *
 * A call:
 *   start --idle link--> HEAD                          --none--> RESOLVING, or CONNECTING to what is known of the name
 *   RESOLVING --addresses--> CONNECTING                --no such name--> end
 *   CONNECTING --connected, TLS done, request sent--> HEAD    --refused, forbidden: next address, then end
 *   HEAD --head of the answer (1xx read over)--> BODY  --reused link closed before any byte--> RESOLVING, once
 *   BODY --body whole--> end
 *   any --deadline, cut, broken framing--> end
 *
 * A link belongs to at most one call. Between two calls it lies in its origin's idle list, newest first, still reading:
 * whatever comes then, bytes or FIN, closes it. */
#ifndef ANYLLM_NET_CALL_H
#define ANYLLM_NET_CALL_H

#include "net/address.h"
#include "net/client.h"
#include "net/conn.h"

#define ORIGIN_MAX_ADDRESSES 8U
#define ORIGIN_NAME_MS 10000U   /* how long a resolved name is believed */
#define ORIGIN_STALE_MS 300000U /* how long it serves while it is asked for again */
#define ORIGIN_SPARE_CALLS 64U  /* kept for reuse */
#define LINK_MAX_IN_BYTES \
    (1U << 20) /* a head and a read, or what TLS still had when the call was paused */
#define DIAL_AGAIN_MS 10U
#define CALL_MAX_1XX 8U
#define KEEP_ALIVE_MARGIN_MS \
    500U /* we give up an idle link this long before the peer said it would */

struct link {
    struct net_conn conn; /* first: hooks cast */
    struct net_origin *origin;
    struct link *above, *below; /* in the idle list, newest on top */
    struct net_call *call;      /* NULL: idle or closing */
    struct net_timer timer;     /* while connecting: this address's share; while idle: how long */
    uv_connect_t connect;
    struct buf in; /* bytes of the answer not yet consumed */
    struct h1_scan scan;
    uint64_t served, max_served; /* answers so far, and how many the peer allows */
    uint32_t keep_ms;            /* idle time the peer allows */
    int end_status; /* how it ended while its call was paused; told when the rest of `in` is */
    bool idle;
    bool queue_full; /* of a Unix socket: connecting is tried again */
};

enum call_state { RESOLVING, CONNECTING, HEAD, BODY, ENDED };

struct net_call {
    struct net_origin *origin;
    struct net_call *prev, *next;
    struct net_call_options opt;
    struct link *link;
    enum call_state state;
    uint64_t due_ms, total_ms; /* deadlines of the state and of the whole, by the loop's clock */
    struct net_timer timer;    /* for the earlier one */
    struct net_defer defer;    /* a failure or a resumption for when the caller has returned */
    struct net_call_end end;
    size_t address; /* next to try */
    int error;      /* of the last address; 0: none was tried yet */
    struct h1_body framing;
    unsigned informational;
    bool repeated, paused, got_bytes, keep_alive;
    bool stale; /* connecting to what the name stood for a while ago */
};

struct net_origin {
    struct net_loop *loop;
    char *host, *unix_path;
    uint16_t port;
    struct net_tls *tls;
    void *tls_ticket; /* SSL_SESSION to resume */
    size_t max_idle;
    uint32_t idle_ms;
    struct buf host_line; /* "Host: …\r\n" */
    struct link *idle;
    size_t nidle;
    struct net_call *calls, *spare;
    size_t nspare;
    union net_sockaddr addresses[ORIGIN_MAX_ADDRESSES];
    size_t naddresses;
    uint64_t resolved_ms; /* 0: not, or no longer to be believed */
    bool literal;         /* the host is an address */
    bool resolving, freed;
    bool (*allow)(void *user, const struct sockaddr *address); /* NULL: every address */
    void *allow_user;
    uv_getaddrinfo_t lookup;
    size_t handles; /* links not yet closed */
    struct net_defer release;
    struct h1_head scratch;
    struct buf out;
};

/* client.c */
/* The call is over: its link goes back or is closed, on_end is called. */
void call_end(struct net_call *c, enum net_fault fault, const char *detail);
/* The same when the present caller has returned. */
void call_end_later(struct net_call *c, enum net_fault fault, const char *detail);
/* Writes the request on its link; ends the call when that fails. */
void call_send(struct net_call *c);
/* The state's deadline from now. */
void call_deadline(struct net_call *c, uint64_t after_ms);
/* The link broke. */
void call_broken(struct net_call *c, int status);
void origin_maybe_release(struct net_origin *o);

/* dial.c */
void call_dial(struct net_call *c);
/* Hooks of a link that is connecting. */
void dial_connected(struct link *k, int status);
void dial_timer(struct link *k);

/* link.c */
/* On a new socket. NULL, *status says why. */
struct link *link_new(struct net_origin *o, int family, int *status);
void link_close(struct link *k);
void link_keep(struct link *k);               /* into the idle list */
struct link *link_take(struct net_origin *o); /* NULL when none is idle */
/* Goes on with what is in k->in. */
void link_resume(struct link *k);

#endif
