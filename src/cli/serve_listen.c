/* Where `serve` listens: TCP with and without TLS, Unix sockets, and the operator's own. */
#include "api/auth.h"
#include "cli/serve.h"
#include "net/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A client like those on loopback; only the folder's owner can open the file. */
#define SOCKET_PEER "unix"
#define SOCKET_MODE 0600

static int refuse_address(const char *address, const char *flag, int e) {
    return serve_refuse(EXIT_PORT, "cannot listen on %s: %s; choose another with --%s", address,
                        strerror(e), flag);
}

static int listen_tcp(struct net_server *http, const char *address, struct net_tls_server *tls) {
    char host[SERVE_HOST_BYTES];
    uint16_t port, bound = 0;
    if (!serve_split_address(address, host, &port)) return EXIT_CONFIG;
    int e = net_server_listen_tls(http, host, port, tls, &bound);
    if (e != 0) return refuse_address(address, tls != NULL ? "listen-tls" : "listen", -e);
    bool v6 = strchr(host, ':') != NULL;
    fprintf(stderr, "listening on http%s://%s%s%s:%u\n", tls != NULL ? "s" : "", v6 ? "[" : "",
            host, v6 ? "]" : "", bound);
    return 0;
}

static int listen_socket(struct net_server *http, const char *address) {
    int e = net_server_listen_unix(http, serve_socket_of(address), SOCKET_MODE, SOCKET_PEER);
    if (e != 0) return refuse_address(address, "listen", -e);
    fprintf(stderr, "listening on %s\n", address);
    return 0;
}

/* Whoever may open it is the operator: the folder's owner. */
static int listen_admin(const struct config *c, struct net_server *http, int *data_fd) {
    char path[SERVE_SOCKET_BYTES];
    int e = serve_socket_path(c->data_dir, SERVE_ADMIN_SOCKET, data_fd, path)
                ? net_server_listen_unix(http, path, SOCKET_MODE, AUTH_ADMIN_PEER)
                : -errno;
    if (e == 0) return 0;
    return serve_refuse(EXIT_DATA, "cannot listen on %s/" SERVE_ADMIN_SOCKET ": %s", c->data_dir,
                        strerror(-e));
}

int serve_listen(const struct config *c, struct net_server *http, struct net_tls_server *tls,
                 int *data_fd) {
    int code = listen_admin(c, http, data_fd);
    for (size_t i = 0; i < c->nlisten && code == 0; i++)
        code = serve_socket_of(c->listen[i]) != NULL ? listen_socket(http, c->listen[i])
                                                     : listen_tcp(http, c->listen[i], NULL);
    for (size_t i = 0; i < c->nlisten_tls && code == 0; i++)
        code = listen_tcp(http, c->listen_tls[i], tls);
    return code;
}

bool serve_sockets_there(const struct config *c) {
    struct stat st;
    for (size_t i = 0; i < c->nlisten; i++) {
        const char *path = serve_socket_of(c->listen[i]);
        if (path != NULL && (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))) return false;
    }
    return true;
}
