/* The private server of a user who runs no other: where it lives, and whether it is there.
 *
 * $XDG_RUNTIME_DIR/anyllm/server.sock, else /tmp/anyllm-UID/server.sock: in a folder that is ours alone, so whoever can connect
 * is us. Its data and its log are in $XDG_STATE_HOME/anyllm, never where `anyllm serve` keeps its own. */
#include "cli/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_PORT 8787 /* of CLI_DEFAULT_BASE */
#define LOOK_TIMEOUT_S 1  /* one that loads is looked at again; chat holds Ctrl-C back meanwhile */

/* ---- Where it lives ---- */

static bool is_mine(const char *path, bool alone) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (!alone || (st.st_mode & 077) == 0);
}

/* False: `out` is too small. */
__attribute__((format(printf, 3, 4))) static bool join(char *out, size_t size, const char *fmt,
                                                       ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, size, fmt, args);
    va_end(args);
    return n >= 0 && (size_t)n < size;
}

static bool find_folder(char *out, size_t size) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/' && is_mine(runtime, false)) {
        return join(out, size, "%s/anyllm", runtime);
    }
    return join(out, size, "/tmp/anyllm-%u", (unsigned)geteuid());
}

static void find_data(struct private_place *p) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const struct passwd *user = home != NULL && home[0] == '/' ? NULL : getpwuid(geteuid());
    home = user != NULL ? user->pw_dir : home;
    if (state != NULL && state[0] == '/') {
        join(p->data, sizeof(p->data), "%s/anyllm/private", state);
        join(p->log, sizeof(p->log), "%s/anyllm/private.log", state);
    } else if (home != NULL && home[0] == '/') {
        join(p->data, sizeof(p->data), "%s/.local/state/anyllm/private", home);
        join(p->log, sizeof(p->log), "%s/.local/state/anyllm/private.log", home);
    }
}

/* NULL, or why there is no place for it. */
static const char *find_place(struct private_place *p, char *folder, size_t size) {
    *p = (struct private_place){.socket = ""};
    if (!find_folder(folder, size) ||
        !join(p->socket, sizeof(p->socket), "%s/server.sock", folder) ||
        !join(p->lock, sizeof(p->lock), "%s/server.lock", folder)) {
        return "the path is too long for a socket: set XDG_RUNTIME_DIR to a shorter one";
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return strerror(errno);
    }
    find_data(p);
    return is_mine(folder, true) ? NULL : "it is not a folder that only you can read (mode 0700)";
}

/* ---- Whether it is there ---- */

static int connect_to(int family, const void *address, socklen_t len) {
    struct timeval patience = {.tv_sec = LOOK_TIMEOUT_S};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, address, len) != 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

/* Whatever else is wrong there, the call will say it better. */
static bool nobody_listens_by_default(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(DEFAULT_PORT)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = connect_to(AF_INET, &at, sizeof(at));
    if (fd >= 0) {
        close(fd);
    }
    return fd == -ECONNREFUSED;
}

static bool answers_200(int fd) {
    static const char ask[] =
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    char answer[16] = "";
    size_t have = 0;
    ssize_t n;
    if (send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(ask) - 1) {
        return false;
    }
    while (have < 12 && (n = recv(fd, answer + have, sizeof(answer) - 1 - have, 0)) > 0) {
        have += (size_t)n;
    }
    return have >= 12 && memcmp(answer, "HTTP/1.1 200", 12) == 0;
}

static int connect_to_socket(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(at.sun_path, path, strlen(path));
    return connect_to(AF_UNIX, &at, sizeof(at));
}

int cli_try_socket(const char *path) {
    int fd = connect_to_socket(path);
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 ? fd : 0;
}

enum private_state private_look(const char *socket_path) {
    int fd = connect_to_socket(socket_path);
    if (fd < 0) {
        return fd == -EAGAIN ? PRIVATE_LOADING : PRIVATE_NONE;
    }
    bool ready = answers_200(fd);
    close(fd);
    return ready ? PRIVATE_READY : PRIVATE_LOADING;
}

/* ---- The face ---- */

static bool may_start(const char *command) {
    static const char *const starters[] = {"run", "stream", "chat"};
    for (size_t i = 0; i < sizeof(starters) / sizeof(starters[0]); i++) {
        if (strcmp(command, starters[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool cli_reach(struct cli_args *args, int *code) {
    struct private_place place;
    char folder[PATH_MAX] = "";
    bool asked_for = args->is_private || (args->base_is_default && nobody_listens_by_default());
    if (!asked_for) {
        return true;
    }
    bool starts = may_start(args->command);
    const char *why = find_place(&place, folder, sizeof(folder));
    if (why != NULL && starts) {
        cli_usage_error(args->command,
                        "no server at " CLI_DEFAULT_BASE
                        ", and no place for a private one: %s: %s; or name a server with --base",
                        folder, why);
        *code = CLI_TRANSPORT;
        return false;
    }
    if (why != NULL || (!starts && private_look(place.socket) == PRIVATE_NONE)) {
        return true;
    }
    *code = starts ? private_start(args, &place) : CLI_DONE;
    if (*code != CLI_DONE) {
        return false;
    }
    snprintf(args->private_base, sizeof(args->private_base), "unix:%s", place.socket);
    args->base = args->private_base;
    args->base_is_default = false;
    args->is_private = true;
    return true;
}
