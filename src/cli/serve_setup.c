#include "cli/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
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

static void raise_descriptor_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_line(LOG_WARN, "descriptor_limit", "errno=%d", errno);
}

/* Disk and names share libuv's threads, of which names get half: with its 4, two slow name servers of webhooks' hosts would
 * hold up the names of upstreams. Each takes 8 MiB of address space, which only a limit of that makes dear. */
#define POOL_THREADS 16U
#define POOL_THREADS_LEAST 4U
#define ADDRESSES_PER_THREAD (64U << 20)

static void size_thread_pool(void) {
    struct rlimit r;
    char text[16];
    rlim_t n = POOL_THREADS;
    if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur / ADDRESSES_PER_THREAD < n)
        n = r.rlim_cur / ADDRESSES_PER_THREAD;
    if (n < POOL_THREADS_LEAST) n = POOL_THREADS_LEAST;
    snprintf(text, sizeof text, "%u", (unsigned)n);
    setenv("UV_THREADPOOL_SIZE", text, 0);
}

/* One for the loop and one for all other threads: each more is 64 MiB of addresses and, a little used, pages of its own. */
#define MALLOC_ARENAS 2

/* Keys will be in this memory: no core files, no reading by others of the same user. */
void serve_prepare_process(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error of its write */
    prctl(PR_SET_DUMPABLE, 0);
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    size_thread_pool();
    raise_descriptor_limit();
}

#define STORE_THREADS 4U

static void *wait_for_end(void *lock) {
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

int serve_check_threads(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[POOL_THREADS + STORE_THREADS];
    const char *pool = getenv("UV_THREADPOOL_SIZE");
    size_t want = STORE_THREADS + (pool != NULL ? strtoul(pool, NULL, 10) : 0), n = 0;
    int e = 0;
    if (want > POOL_THREADS + STORE_THREADS) want = POOL_THREADS + STORE_THREADS;
    pthread_mutex_lock(&lock);
    while (n < want && (e = pthread_create(&threads[n], NULL, wait_for_end, &lock)) == 0) n++;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    if (e == 0) return 0;
    return serve_refuse(EXIT_SYSTEM,
                        "only %zu of %zu threads can be started: %s; raise the limit of processes "
                        "(ulimit -u) or of addresses (ulimit -v)",
                        n, want, strerror(e));
}

/* --- the data folder */

static int open_folder(const char *path, int flags) {
    int dir = open(path, flags | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 ? dir : -errno;
}

static int sync_folder(const char *path) {
    int dir = open_folder(path, O_RDONLY), e = 0;
    if (dir < 0) return dir;
    if (fsync(dir) != 0) e = -errno;
    close(dir);
    return e;
}

/* `part` ends where its own name begins at `name`. A name that is not on disk takes with it, at a power cut, all that was
 * synced below it. */
static int make_folder(char *part, size_t name, bool last) {
    bool made = mkdir(part, 0700) == 0;
    if (!made && errno != EEXIST) return -errno;
    if (!made && !last) return 0;
    char was = part[name];
    part[name] = '\0';
    int e = sync_folder(name > 0 ? part : ".");
    part[name] = was;
    /* Somebody else's folder, which may be closed to us; or a start that was cut short here. */
    return made ? e : 0;
}

int serve_make_folders(const char *path) {
    char part[4096];
    size_t n = strlen(path), name = 0;
    int e = 0;
    if (n >= sizeof part) return -ENAMETOOLONG;
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n && e == 0; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            if (part[i - 1] == '/') name = i;
            continue;
        }
        char was = part[i];
        part[i] = '\0';
        e = make_folder(part, name, was == '\0');
        part[i] = was;
    }
    return e;
}

static int read_node(int dir, char node[UUID_BYTES]) {
    int fd = openat(dir, "node", O_RDWR | O_CREAT | O_CLOEXEC, 0600), e = 0;
    if (fd < 0) return -errno;
    if (read(fd, node, UUID_BYTES - 1) != UUID_BYTES - 1) {
        random_uuid(&random_system, node);
        if (ftruncate(fd, 0) != 0 || pwrite(fd, node, UUID_BYTES - 1, 0) != UUID_BYTES - 1 ||
            fsync(fd) != 0 || fsync(dir) != 0)
            e = -errno;
    }
    node[UUID_BYTES - 1] = '\0';
    close(fd);
    return e;
}

/* The lock is a file of its own: closing any descriptor of the database would drop SQLite's locks. */
static int lock_in(int dir, int *lock_fd) {
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600), e = 0;
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        e = -errno;
        close(fd);
        return e;
    }
    *lock_fd = fd;
    return 0;
}

int serve_lock(const char *path, int *lock_fd) {
    int dir = open_folder(path, O_RDONLY), e = dir < 0 ? dir : lock_in(dir, lock_fd);
    if (dir >= 0) close(dir);
    return e;
}

/* An operator's command without a server holds it for the blink of an eye; not a backup, which takes as long as it takes:
 * who starts a server then is told to use --wait-for-lock. */
#define LOCK_LEAST_MS 1000
#define LOCK_PAUSE_MS 50

static int wait_lock(int dir, const char *path, uint32_t wait_s, int *lock_fd) {
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    uint64_t waited = 0, most = wait_s > 0 ? wait_s * 1000ULL : LOCK_LEAST_MS;
    char text[LOG_QUOTE_BYTES];
    int e = lock_in(dir, lock_fd);
    if (e == -EWOULDBLOCK && wait_s > 0)
        log_line(LOG_INFO, "waiting_for_lock", "data=%s seconds=%u",
                 log_quote(text, slice_of(path)), wait_s);
    for (; e == -EWOULDBLOCK && waited < most; waited += LOCK_PAUSE_MS) {
        nanosleep(&pause, NULL);
        e = lock_in(dir, lock_fd);
    }
    return e;
}

int serve_open_data(const char *path, uint32_t wait_s, int *lock_fd, char node[UUID_BYTES]) {
    int e = serve_make_folders(path), dir = e == 0 ? open_folder(path, O_RDONLY) : e;
    if (dir < 0) e = dir;
    if (e == 0) e = wait_lock(dir, path, wait_s, lock_fd);
    if (e == 0) e = read_node(dir, node);
    if (dir >= 0) close(dir);
    if (e == 0) return 0;
    if (e == -EWOULDBLOCK)
        return serve_refuse(
            EXIT_DATA,
            "data folder %s is in use by another server, or a backup; end it, wait for its end "
            "with --wait-for-lock SECONDS, or choose another with --data",
            path);
    return serve_refuse(EXIT_DATA, "data folder %s: %s; choose another with --data", path,
                        strerror(-e));
}

bool serve_may_hold_keys(const char *data_dir) {
    int dir = open_folder(data_dir, O_PATH);
    bool used = dir >= 0 && faccessat(dir, "lock", F_OK, 0) == 0;
    if (dir >= 0) close(dir);
    return used;
}

bool serve_socket_path(const char *data_dir, const char *name, int *dir,
                       char out[SERVE_SOCKET_BYTES]) {
    int n = snprintf(out, SERVE_SOCKET_BYTES, "%s/%s", data_dir, name);
    if (n < (int)SERVE_SOCKET_BYTES) return true;
    *dir = open_folder(data_dir, O_PATH);
    if (*dir < 0) {
        errno = -*dir;
        return false;
    }
    n = snprintf(out, SERVE_SOCKET_BYTES, "/proc/self/fd/%d/%s", *dir, name);
    return n < (int)SERVE_SOCKET_BYTES;
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

const char *serve_socket_of(const char *address) {
    return strncmp(address, "unix:", 5) == 0 ? address + 5 : NULL;
}

/* Absolute: clients find it from wherever they are. */
static int check_socket(const char *path) {
    if (path[0] != '/')
        return serve_refuse(EXIT_CONFIG, "--listen unix:%s: wants an absolute path, unix:/PATH",
                            path);
    if (strlen(path) < SERVE_SOCKET_BYTES) return 0;
    return serve_refuse(EXIT_CONFIG,
                        "--listen unix:%s: the path of a socket may have %d bytes, this has %zu",
                        path, SERVE_SOCKET_BYTES - 1, strlen(path));
}

static int check_address(const char *flag, const char *address) {
    char host[SERVE_HOST_BYTES];
    uint16_t port;
    if (serve_split_address(address, host, &port)) return 0;
    return serve_refuse(EXIT_CONFIG,
                        "--%s %s: wants ADDRESS:PORT, like 127.0.0.1:8787 or [::1]:8787%s", flag,
                        address, strcmp(flag, "listen") == 0 ? ", or unix:/PATH" : "");
}

int serve_check_listen(const struct config *c) {
    int code = 0;
    for (size_t i = 0; i < c->nlisten && code == 0; i++) {
        const char *path = serve_socket_of(c->listen[i]);
        code = path != NULL ? check_socket(path) : check_address("listen", c->listen[i]);
    }
    for (size_t i = 0; i < c->nlisten_tls && code == 0; i++)
        code = check_address("listen-tls", c->listen_tls[i]);
    return code;
}

static int check_loopback(const char *flag, const char *address) {
    char host[SERVE_HOST_BYTES];
    uint16_t port;
    bool loopback = false;
    if (!serve_split_address(address, host, &port) || !is_address(host, &loopback) || loopback)
        return 0;
    return serve_refuse(
        EXIT_CONFIG,
        "--%s %s: without keys the server serves loopback only; make a key (anyllm keys create), configure "
        "keys (keys: in the file, or ANYLLM_KEYS=ID:SECRET) or listen on 127.0.0.1",
        flag, address);
}

int serve_check_open(const struct config *c, bool stored) {
    int code = 0;
    if (c->nkeys > 0 || stored) return 0;
    for (size_t i = 0; i < c->nlisten && code == 0; i++)
        code = check_loopback("listen", c->listen[i]);
    for (size_t i = 0; i < c->nlisten_tls && code == 0; i++)
        code = check_loopback("listen-tls", c->listen_tls[i]);
    return code;
}
