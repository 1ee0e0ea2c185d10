#include "cli/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int serve_refuse(int code, const char *fmt, ...) {
    va_list ap;
    fputs("anyllm serve: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

/* --- the process */

/* Started with `2>&-`, the next file that is opened would get number 2, and the log would be written into it. */
static void fill_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(EXIT_SYSTEM);
}

static void raise_descriptor_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_line(LOG_WARN, "descriptor_limit", "errno=%d", errno);
}

/* Keys will be in this memory: no core files, no reading by others of the same user. */
void serve_prepare_process(void) {
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0);
    raise_descriptor_limit();
}

/* --- the data folder */

static int make_folders(const char *path) {
    char part[4096];
    size_t n = strlen(path);
    if (n >= sizeof part) return -ENAMETOOLONG;
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char was = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return -errno;
        part[i] = was;
    }
    return 0;
}

static int read_node(int dir, char node[UUID_BYTES]) {
    int fd = openat(dir, "node", O_RDWR | O_CREAT | O_CLOEXEC, 0600), e = 0;
    if (fd < 0) return -errno;
    if (read(fd, node, UUID_BYTES - 1) != UUID_BYTES - 1) {
        random_uuid(&random_system, node);
        if (ftruncate(fd, 0) != 0 || pwrite(fd, node, UUID_BYTES - 1, 0) != UUID_BYTES - 1 ||
            fsync(fd) != 0)
            e = -errno;
    }
    node[UUID_BYTES - 1] = '\0';
    close(fd);
    return e;
}

/* The lock is a file of its own: closing any descriptor of the database would drop SQLite's locks. */
static int lock_and_read(int dir, int *lock_fd, char node[UUID_BYTES]) {
    *lock_fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*lock_fd < 0 || flock(*lock_fd, LOCK_EX | LOCK_NB) != 0) return -errno;
    return read_node(dir, node);
}

int serve_open_data(const char *path, int *lock_fd, char node[UUID_BYTES]) {
    int e = make_folders(path), dir = -1;
    if (e == 0 && (dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) e = -errno;
    if (e == 0) e = lock_and_read(dir, lock_fd, node);
    if (dir >= 0) close(dir);
    if (e == 0) return 0;
    if (e == -EWOULDBLOCK)
        return serve_refuse(
            EXIT_DATA,
            "data folder %s is in use by another server; end it, or choose another with --data",
            path);
    return serve_refuse(EXIT_DATA, "data folder %s: %s; choose another with --data", path,
                        strerror(-e));
}

/* --- addresses */

static bool is_address(const char *host, bool *loopback) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        *loopback = ntohl(v4.s_addr) >> 24 == 127;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6) != 1) return false;
    *loopback = IN6_IS_ADDR_LOOPBACK(&v6);
    return true;
}

bool serve_split_address(const char *text, char host[SERVE_HOST_BYTES], uint16_t *port) {
    const char *colon = strrchr(text, ':');
    uint64_t n;
    bool loopback;
    if (colon == NULL || !slice_to_range(slice_of(colon + 1), 0, 65535, &n)) return false;
    struct slice h = slice_make(text, (size_t)(colon - text));
    if (h.len > 1 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
        h = slice_make(h.ptr + 1, h.len - 2);
    if (slice_is(h, "localhost")) h = SLICE("127.0.0.1");
    if (h.len >= SERVE_HOST_BYTES) return false;
    memcpy(host, h.ptr, h.len);
    host[h.len] = '\0';
    *port = (uint16_t)n;
    return is_address(host, &loopback);
}

static int check_address(const struct config *c, const char *flag, const char *address) {
    char host[SERVE_HOST_BYTES];
    uint16_t port;
    bool loopback = false;
    if (!serve_split_address(address, host, &port))
        return serve_refuse(EXIT_CONFIG,
                            "--%s %s: wants ADDRESS:PORT, like 127.0.0.1:8787 or [::1]:8787", flag,
                            address);
    if (c->nkeys == 0 && is_address(host, &loopback) && !loopback)
        return serve_refuse(
            EXIT_CONFIG,
            "--%s %s: without keys the server serves loopback only; configure keys (keys: in the file, or "
            "ANYLLM_KEYS=ID:SECRET) or listen on 127.0.0.1",
            flag, address);
    return 0;
}

int serve_check_listen(const struct config *c) {
    int code = 0;
    for (size_t i = 0; i < c->nlisten && code == 0; i++)
        code = check_address(c, "listen", c->listen[i]);
    for (size_t i = 0; i < c->nlisten_tls && code == 0; i++)
        code = check_address(c, "listen-tls", c->listen_tls[i]);
    return code;
}
