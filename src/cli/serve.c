/* `anyllm serve`: builds the server's rooms and joins them. Start in the order of what can fail and be told apart by its
 * exit code; end in the reverse. */
#include "cli/cli.h"

#include "api/api.h"
#include "base/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum serve_exit {
    EXIT_USAGE = 64,
    EXIT_MODEL = 66,
    EXIT_PORT = 69,
    EXIT_SYSTEM = 71,
    EXIT_DATA = 73,
    EXIT_CONFIG = 78
};

/* The end, step by step; each step begins when the one before it is done. */
enum ending {
    RUNNING,
    DRAINING,       /* listeners closed, running calls and jobs finish, up to --grace */
    CLOSING_QUEUE,  /* nothing runs any more: the store writes what it was given */
    CLOSING_ENGINE, /* the local engine ends */
    ENDED
};

struct server {
    struct net_loop *loop;
    struct config *config;
    struct catalogue *catalogue;
    struct store *store;
    struct llm *llm;
    struct api *api;
    struct queue *queue;
    struct net_server *http;
    uv_signal_t term, interrupt;
    struct net_timer grace, drained;
    enum ending ending;
    bool queue_idle;
    int lock_fd;
    char node[UUID_BYTES], boot[UUID_BYTES], self[4096];
};

/* One line that says what and what to do. */
__attribute__((format(printf, 2, 3))) static int refuse(int code, const char *fmt, ...) {
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

/* Keys are in this memory: no core files, no reading by others of the same user. */
static void harden(void) {
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0);
    raise_descriptor_limit();
}

/* --- the data folder */

static int make_folders(const char *path) {
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return -ENAMETOOLONG;
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

static int read_node(struct server *s, int dir) {
    int fd = openat(dir, "node", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    ssize_t n = read(fd, s->node, UUID_BYTES - 1);
    if (n != UUID_BYTES - 1) {
        random_uuid(&random_system, s->node);
        if (ftruncate(fd, 0) != 0 || pwrite(fd, s->node, UUID_BYTES - 1, 0) != UUID_BYTES - 1 ||
            fsync(fd) != 0) {
            int e = errno;
            close(fd);
            return -e;
        }
    }
    s->node[UUID_BYTES - 1] = '\0';
    close(fd);
    return 0;
}

/* The lock is a file of its own: closing any descriptor of the database would drop SQLite's locks. */
static int open_data(struct server *s) {
    const char *path = s->config->data_dir;
    int e = make_folders(path);
    int dir = e == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0)
        return refuse(EXIT_DATA, "data folder %s: %s; choose another with --data", path,
                      strerror(e != 0 ? -e : errno));
    s->lock_fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd >= 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        close(dir);
        return refuse(
            EXIT_DATA,
            "data folder %s is in use by another server; end it, or choose another with --data",
            path);
    }
    e = s->lock_fd < 0 ? -errno : read_node(s, dir);
    close(dir);
    return e == 0 ? 0
                  : refuse(EXIT_DATA, "data folder %s: %s; choose another with --data", path,
                           strerror(-e));
}

/* --- addresses */

static bool split_address(const char *text, char *host, size_t size, uint16_t *port) {
    const char *colon = strrchr(text, ':');
    uint64_t n;
    if (colon == NULL || !slice_to_range(slice_of(colon + 1), 0, 65535, &n)) return false;
    struct slice h = slice_make(text, (size_t)(colon - text));
    if (h.len > 1 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
        h = slice_make(h.ptr + 1, h.len - 2);
    if (h.len == 0 || h.len >= size) return false;
    memcpy(host, h.ptr, h.len);
    host[h.len] = '\0';
    *port = (uint16_t)n;
    return true;
}

static bool is_loopback(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0) return true;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static int check_listen(const struct config *c) {
    for (size_t i = 0; i < c->nlisten; i++) {
        char host[256];
        uint16_t port;
        if (!split_address(c->listen[i], host, sizeof host, &port))
            return refuse(EXIT_CONFIG,
                          "--listen %s: wants ADDRESS:PORT, like 127.0.0.1:8787 or [::1]:8787",
                          c->listen[i]);
        if (c->nkeys == 0 && !is_loopback(host))
            return refuse(
                EXIT_CONFIG,
                "--listen %s: without keys the server serves loopback only; configure keys (keys: in the file, or "
                "ANYLLM_KEYS=ID:SECRET) or listen on 127.0.0.1",
                c->listen[i]);
    }
    return 0;
}

static int listen_all(struct server *s) {
    for (size_t i = 0; i < s->config->nlisten; i++) {
        char host[256];
        uint16_t port, bound = 0;
        if (!split_address(s->config->listen[i], host, sizeof host, &port)) return EXIT_CONFIG;
        const char *address = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        int e = net_server_listen(s->http, address, port, &bound);
        if (e != 0)
            return refuse(EXIT_PORT, "cannot listen on %s: %s; choose another with --listen",
                          s->config->listen[i], strerror(-e));
        bool v6 = strchr(address, ':') != NULL;
        fprintf(stderr, "listening on http://%s%s%s:%u\n", v6 ? "[" : "", address, v6 ? "]" : "",
                bound);
    }
    return 0;
}

/* --- the end */

static void advance(struct server *s);

static void on_engine_closed(void *user) {
    struct server *s = user;
    s->llm = NULL;
    s->ending = ENDED;
    advance(s);
}

static void on_store_closed(void *user) {
    struct server *s = user;
    s->store = NULL;
    s->ending = CLOSING_ENGINE;
    advance(s);
}

static void close_rooms(struct server *s) {
    s->ending = CLOSING_QUEUE;
    net_timer_stop(s->loop, &s->grace);
    net_timer_stop(s->loop, &s->drained);
    net_server_close(s->http);
    s->store->backend->close(s->store, on_store_closed, s);
}

static void advance(struct server *s) {
    if (s->ending == CLOSING_ENGINE) {
        llm_close(s->llm, on_engine_closed, s);
    } else if (s->ending == ENDED) {
        uv_close((uv_handle_t *)&s->term, NULL);
        uv_close((uv_handle_t *)&s->interrupt, NULL);
        net_loop_stop(s->loop);
    }
}

#define DRAIN_LOOK_MS 50U

static void look_drained(struct net_timer *t) {
    struct server *s = (struct server *)(void *)((char *)t - offsetof(struct server, drained));
    if (s->queue_idle && net_server_get_stats(s->http)->exchanges == 0)
        close_rooms(s);
    else
        net_timer_start(s->loop, &s->drained, DRAIN_LOOK_MS);
}

static void grace_over(struct net_timer *t) {
    struct server *s = (struct server *)(void *)((char *)t - offsetof(struct server, grace));
    struct queue_stats q;
    queue_get_stats(s->queue, &q);
    log_line(LOG_WARN, "grace_over", "running_calls=%zu running_jobs=%zu",
             net_server_get_stats(s->http)->exchanges, q.running);
    _exit(0); /* the store holds all that was promised; its jobs are taken up at the next start */
}

static void on_queue_idle(void *user) {
    ((struct server *)user)->queue_idle = true;
}

/* The first signal ends gracefully, the second at once: what is queued or running is on disk. */
static void on_signal(uv_signal_t *h, int number) {
    struct server *s = h->data;
    if (s->ending != RUNNING) {
        log_line(LOG_WARN, "stopping_now", "signal=%d", number);
        _exit(0);
    }
    log_line(LOG_INFO, "stopping", "signal=%d grace_s=%u", number, s->config->grace_s);
    s->ending = DRAINING;
    api_set_draining(s->api);
    net_server_drain(s->http);
    queue_drain(s->queue, on_queue_idle, s);
    s->grace.fire = grace_over;
    s->drained.fire = look_drained;
    net_timer_start(s->loop, &s->grace, s->config->grace_s * 1000ULL);
    net_timer_start(s->loop, &s->drained, 1);
}

/* --- the start */

static void on_store_done(void *user, uint64_t ticket, const struct store_reply *r) {
    queue_store_done(((struct server *)user)->queue, ticket, r);
}

static void on_store_health(void *user, bool can_write, const char *reason) {
    struct server *s = user;
    char text[LOG_QUOTE_BYTES];
    log_line(can_write ? LOG_INFO : LOG_ERROR, can_write ? "store_recovered" : "store_cannot_write",
             "reason=%s", log_quote(text, slice_of(reason != NULL ? reason : "")));
    api_set_store_ok(s->api, can_write);
    queue_store_health(s->queue, can_write, reason);
}

static void on_capacity(void *user) {
    struct server *s = user;
    if (s->queue != NULL && s->ending == RUNNING) queue_wake(s->queue);
}

static int store_exit(enum store_fault f) {
    switch (f) {
    case STORE_FAULT_FOLDER:
    case STORE_FAULT_BUSY: return EXIT_DATA;
    case STORE_FAULT_SYSTEM: return EXIT_SYSTEM;
    default:
        return EXIT_CONFIG; /* another store, another program's, a newer one's, a damaged one */
    }
}

static int open_store(struct server *s) {
    char reason[512];
    enum store_fault fault = STORE_FAULT_NONE;
    struct store_options o = {.url = s->config->store_url,
                              .dir = s->config->data_dir,
                              .loop = s->loop,
                              .user = s,
                              .fault = &fault,
                              .hooks = {.on_done = on_store_done, .on_health = on_store_health}};
    s->store = store_open(&o, reason, sizeof reason);
    return s->store != NULL ? 0 : refuse(store_exit(fault), "%s", reason);
}

static int open_models(struct server *s) {
    struct config_error err = {0};
    s->catalogue = catalogue_load(s->config->catalogue_file, &err);
    if (s->catalogue == NULL) return refuse(err.exit_code, "%s", err.text);
    if (s->config->nupstreams == 0)
        return refuse(
            EXIT_MODEL,
            "nothing answers: no upstream and no local model; run `make demo` once, give --local-model "
            "FILE.gguf, or set OPENROUTER_API_KEY");
    struct llm_options o = {.loop = s->loop,
                            .clock = &clock_system,
                            .random = &random_system,
                            .config = s->config,
                            .catalogue = s->catalogue,
                            .self = s->self,
                            .on_capacity = on_capacity,
                            .user = s};
    s->llm = llm_new(&o, &err);
    return s->llm != NULL ? 0 : refuse(err.exit_code, "%s", err.text);
}

static int open_queue(struct server *s) {
    struct queue_options o = {.loop = s->loop,
                              .clock = &clock_system,
                              .random = &random_system,
                              .store = s->store,
                              .runner = api_runner(s->api),
                              .node = s->node,
                              .boot = s->boot,
                              .max_queue_length = s->config->max_queue_length};
    s->queue = queue_new(&o);
    if (s->queue == NULL) return refuse(EXIT_SYSTEM, "out of memory");
    api_set_queue(s->api, s->queue);
    return 0;
}

static int open_http(struct server *s) {
    const struct config *c = s->config;
    struct net_server_limits limits = NET_SERVER_LIMITS_DEFAULT;
    struct net_server_hooks hooks = api_hooks();
    limits.max_connections = c->max_connections;
    limits.max_connections_per_address = c->max_connections_per_address;
    limits.max_body_bytes = c->max_body_bytes;
    s->http = net_server_new(s->loop, &limits, &hooks, s->api);
    if (s->http == NULL) return refuse(EXIT_SYSTEM, "out of memory");
    if (net_server_trust(s->http, c->trusted_proxies, c->ntrusted_proxies) != 0)
        return refuse(EXIT_CONFIG, "trusted_proxies wants addresses such as 10.0.0.0/8");
    api_set_server(s->api, s->http);
    return 0;
}

/* Callers are let in when the queue knows its requests: the first submit is not refused, no status is unknown. Nothing
 * was claimed yet, so a port in use still ends a start that left no trace. */
static void on_queue_ready(void *user, bool ok) {
    struct server *s = user;
    if (s->ending != RUNNING) return;
    int code = ok ? listen_all(s)
                  : refuse(EXIT_DATA,
                           "the database cannot be read; restore it from a backup or choose "
                           "another folder with --data");
    if (code != 0) _exit(code);
    char how[512];
    llm_describe(s->llm, how, sizeof how);
    log_line(LOG_INFO, "started", "version=%s data=%s %s", ANYLLM_VERSION, s->config->data_dir,
             how);
    llm_start_engines(s->llm);
}

static void start_signals(struct server *s) {
    uv_signal_init(&s->loop->uv, &s->term);
    uv_signal_init(&s->loop->uv, &s->interrupt);
    s->term.data = s->interrupt.data = s;
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
}

static int start(struct server *s) {
    struct api_options ao = {
        .loop = s->loop, .clock = &clock_system, .random = &random_system, .config = s->config};
    int code = open_data(s);
    if (code == 0) code = open_models(s);
    if (code != 0) return code;
    ao.catalogue = s->catalogue;
    ao.llm = s->llm;
    s->api = api_new(&ao);
    if (s->api == NULL) return refuse(EXIT_SYSTEM, "out of memory");
    code = open_store(s);
    if (code == 0) code = open_queue(s);
    if (code == 0) code = open_http(s);
    if (code != 0) return code;
    start_signals(s);
    queue_start(s->queue, on_queue_ready, s);
    return 0;
}

static void free_all(struct server *s) {
    queue_free(s->queue);
    api_free(s->api);
    catalogue_free(s->catalogue);
    config_free(s->config);
    if (s->lock_fd >= 0) close(s->lock_fd);
}

static int run(struct server *s) {
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
    if (n <= 0)
        return refuse(EXIT_SYSTEM, "cannot find the program's own file: %s", strerror(errno));
    s->self[n] = '\0';
    random_uuid(&random_system, s->boot);
    if (net_loop_init(s->loop) != 0)
        return refuse(EXIT_SYSTEM, "cannot make an event loop: %s", strerror(errno));
    int code = start(s);
    if (code != 0) return code; /* the process ends: nothing was promised to anybody yet */
    net_loop_run(s->loop);
    net_loop_close(s->loop);
    log_line(LOG_INFO, "stopped", "exit=0");
    free_all(s);
    return code;
}

int cmd_serve(int argc, char **argv) {
    struct config_error err;
    bool help;
    struct config *c = config_load(argc, argv, &help, &err);
    if (help) {
        config_print_help();
        return 0;
    }
    if (c == NULL) return refuse(err.exit_code, "%s", err.text);
    int code = check_listen(c);
    if (code != 0 || c->check) {
        if (code == 0) fputs("anyllm serve: the configuration is right\n", stderr);
        config_free(c);
        return code;
    }
    log_set_level(c->log_level);
    harden();
    struct server s = {.config = c, .lock_fd = -1};
    s.loop = calloc(1, sizeof *s.loop);
    if (s.loop == NULL) return refuse(EXIT_SYSTEM, "out of memory");
    code = run(&s);
    free(s.loop);
    return code;
}
