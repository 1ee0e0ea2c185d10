/* Listening sockets of our own on uv_poll: libuv's uv_listen closes connections silently when descriptors run out. */
#include "net/session.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_PER_WAKE 64
#define REFUSALS_PER_WAKE \
    16 /* when descriptors are gone; then the others wait for PAUSE_MS in the kernel's queue */
#define PAUSE_MS 100U
#define BACKLOG 4096

struct listener {
    uv_poll_t poll;
    struct listener *next;
    struct net_server *server;
    struct net_timer pause;
    int fd;
    bool is_tcp;
    struct net_tls_server *tls; /* NULL: plain */
    char *path;                 /* of a Unix socket, removed at the end */
    const char *peer;           /* of a Unix socket: who comes by it */
};

/* Takes what has come without waiting, says no without keeping anything; to a client that expects TLS by closing. */
static void refuse_now(struct net_server *server, int fd, bool is_tls) {
    char drop[4096];
    struct session *spare = server->spare;
    server->stats.refused++;
    if (is_tls) {
        close(fd);
        return;
    }
    answer_format_fault(spare, 503, "too many connections");
    while (recv(fd, drop, sizeof drop, MSG_DONTWAIT) == (ssize_t)sizeof drop) continue;
    send(fd, server->out.base + server->out.start, buf_len(&server->out),
         MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    close(fd);
}

static struct session *open_session(const struct listener *l, int fd,
                                    const struct net_address *address) {
    struct session *s = session_open(l->server, fd, l->is_tcp, address, l->tls);
    if (s != NULL && !l->is_tcp)
        s->peer_len = (size_t)snprintf(s->peer, sizeof s->peer, "%s", l->peer);
    return s;
}

static void refuse(const struct listener *l, int fd, const struct net_address *address) {
    struct net_server *server = l->server;
    if (server->refusing >= SERVER_MAX_REFUSING) {
        refuse_now(server, fd, l->tls != NULL);
        return;
    }
    server->stats.refused++;
    struct session *s = open_session(l, fd, address);
    if (s != NULL) session_refuse(s);
}

static bool is_exempt(const struct net_server *s, bool is_tcp, const struct net_address *a) {
    if (!is_tcp || net_address_is_loopback(a)) return true;
    for (size_t i = 0; i < s->ntrusted; i++)
        if (net_cidr_has(&s->trusted[i], a)) return true;
    return false;
}

static void admit(struct listener *l, int fd, const union net_sockaddr *peer) {
    struct net_server *server = l->server;
    struct net_address address = {{0}};
    server->stats.accepted++;
    if (l->is_tcp) net_address_of(peer, &address);
    bool counted = !is_exempt(server, l->is_tcp, &address);
    if (server->stats.connections >= server->limits.max_connections ||
        (counted &&
         !net_census_add(server->census, &address, server->limits.max_connections_per_address))) {
        refuse(l, fd, &address);
        return;
    }
    struct session *s = open_session(l, fd, &address);
    if (s == NULL) {
        if (counted) net_census_remove(server->census, &address);
        return;
    }
    s->counted = counted;
    server->stats.connections++;
    session_begin(s);
}

/* --- descriptors gone --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_pause_over(struct net_timer *t) {
    struct listener *l = (struct listener *)((char *)t - offsetof(struct listener, pause));
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void pause_accepting(struct listener *l) {
    uv_poll_stop(&l->poll);
    net_timer_start(l->server->loop, &l->pause, PAUSE_MS);
}

/* The reserve descriptor is given up for the time of one refusal each. */
static void refuse_waiting(struct listener *l) {
    struct net_server *server = l->server;
    for (int i = 0; i < REFUSALS_PER_WAKE && server->reserve_fd >= 0; i++) {
        close(server->reserve_fd);
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            server->stats.accepted++;
            refuse_now(server, fd, l->tls != NULL);
        }
        server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0) break;
    }
    if (server->reserve_fd < 0) server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* --- accepting --- */

/* False when nothing more waits or can be taken. */
static bool accept_one(struct listener *l) {
    union net_sockaddr peer;
    socklen_t len = sizeof peer;
    int fd = accept4(l->fd, &peer.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        admit(l, fd, &peer);
        return true;
    }
    switch (errno) {
    case EAGAIN: return false;
    case EMFILE:
    case ENFILE: refuse_waiting(l); /* fall through */
    case ENOBUFS:
    case ENOMEM: pause_accepting(l); return false;
    default: return true; /* that one connection failed: ECONNABORTED and the like */
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct listener *l = poll->data;
    for (int i = 0; i < ACCEPTS_PER_WAKE && !l->server->closed; i++)
        if (!accept_one(l)) break;
}

void listeners_sweep(struct net_server *s) {
    for (struct listener *l = s->listeners; l != NULL; l = l->next)
        for (int i = 0; i < BACKLOG && !net_timer_armed(&l->pause); i++)
            if (!accept_one(l)) break;
}

/* --- beginning and end --- */

static void on_listener_closed(uv_handle_t *handle) {
    struct listener *l = handle->data;
    struct net_server *server = l->server;
    free(l->path);
    free(l);
    server_handle_closed(server);
}

void listeners_close(struct net_server *s) {
    for (struct listener *l = s->listeners, *next; l != NULL; l = next) {
        next = l->next;
        net_timer_stop(s->loop, &l->pause);
        uv_close((uv_handle_t *)&l->poll, on_listener_closed);
        close(l->fd);
        if (l->path != NULL) unlink(l->path);
    }
    s->listeners = NULL;
}

/* Takes the listening descriptor whatever happens. */
static int add_listener(struct net_server *s, int fd, bool is_tcp, struct net_tls_server *tls,
                        const char *path, const char *peer) {
    struct listener *l = calloc(1, sizeof *l);
    char *copy = path != NULL ? slice_dup(slice_of(path)) : NULL;
    int r = -ENOMEM;
    if (l == NULL || (path != NULL && copy == NULL)) goto fail;
    *l = (struct listener){.server = s,
                           .fd = fd,
                           .is_tcp = is_tcp,
                           .tls = tls,
                           .path = copy,
                           .peer = peer,
                           .pause.fire = on_pause_over};
    if ((r = uv_poll_init(&s->loop->uv, &l->poll, fd)) < 0) goto fail;
    l->poll.data = l;
    s->handles++;
    l->next = s->listeners;
    s->listeners = l;
    return uv_poll_start(&l->poll, UV_READABLE, on_poll);
fail:
    free(copy);
    free(l);
    close(fd);
    return r;
}

static int listen_on(int fd, const struct sockaddr *sa, socklen_t len) {
    if (bind(fd, sa, len) < 0 || listen(fd, BACKLOG) < 0) return -errno;
    return 0;
}

int net_server_listen(struct net_server *s, const char *address, uint16_t port,
                      uint16_t *bound_port) {
    return net_server_listen_tls(s, address, port, NULL, bound_port);
}

int net_server_listen_tls(struct net_server *s, const char *address, uint16_t port,
                          struct net_tls_server *t, uint16_t *bound_port) {
    union net_sockaddr sa;
    socklen_t len;
    int one = 1;
    if (!net_sockaddr_parse(address, port, &sa, &len)) return -EINVAL;
    int fd = socket(sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    if (sa.any.sa_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    int r = listen_on(fd, &sa.any, len);
    if (r == 0 && getsockname(fd, &sa.any, &len) < 0) r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    if (bound_port != NULL)
        *bound_port = ntohs(sa.any.sa_family == AF_INET ? sa.v4.sin_port : sa.v6.sin6_port);
    return add_listener(s, fd, true, t, NULL, NULL);
}

/* A socket file left over by a process that is gone is removed; one that answers is not. */
static void remove_stale(const struct sockaddr_un *sa) {
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return;
    if (connect(fd, (const struct sockaddr *)sa, sizeof *sa) < 0 && errno == ECONNREFUSED)
        unlink(sa->sun_path);
    close(fd);
}

int net_server_listen_unix(struct net_server *s, const char *path, unsigned mode,
                           const char *peer) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct slice p = slice_of(path);
    if (p.len == 0 || p.len >= sizeof sa.sun_path) return -ENAMETOOLONG;
    memcpy(sa.sun_path, p.ptr, p.len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    remove_stale(&sa);
    mode_t before = umask(0777 &
                          ~(mode_t)mode); /* never open to more than asked, not even for a moment */
    int r = listen_on(fd, (struct sockaddr *)&sa, sizeof sa);
    umask(before);
    if (r < 0) {
        close(fd);
        return r;
    }
    return add_listener(s, fd, false, NULL, path, peer);
}
