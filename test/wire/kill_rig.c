#include "kill_rig.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STUCK_MS 60000U
#define LINE_MS 30000U

const char *breakable_path;
struct mock mock;

static int start(void **state) {
    mock_start(&mock);
    return 0;
}

static int stop(void **state) {
    mock_stop(&mock);
    return 0;
}

int kill_main(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s ANYLLM MOCKLLM ANYLLM-BREAKABLE\n", argv[0]);
        return 2;
    }
    breakable_path = argv[3];
    return suite_main(3, argv, name, tests, n, start, stop);
}

unsigned long_or(unsigned many, unsigned few) {
    return getenv("ANYLLM_LONG") != NULL ? many : few;
}

uint64_t seed_of(const char *what) {
    const char *given = getenv("ANYLLM_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)wall_ms();
    print_message("# %s: ANYLLM_SEED=%llu\n", what, (unsigned long long)seed);
    return seed;
}

uint64_t draw(uint64_t *seed, uint64_t below) {
    uint64_t z = (*seed += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (z ^ (z >> 31)) % below;
}

int64_t wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- findings */

void findings_init(struct findings *f) {
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
}

void found(struct findings *f, enum found kind, const char *fmt, ...) {
    va_list ap;
    pthread_mutex_lock(&f->lock);
    va_start(ap, fmt);
    if (f->count[kind]++ == 0) vsnprintf(f->first[kind], sizeof f->first[kind], fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&f->lock);
}

unsigned findings_all(const struct findings *f) {
    unsigned n = 0;
    for (size_t k = 0; k < FOUND_KINDS; k++) n += f->count[k];
    return n;
}

void findings_expect_none(const struct findings *f) {
    for (size_t k = 0; k < FOUND_KINDS; k++)
        if (f->count[k] > 0) print_error("%u of this kind: %s\n", f->count[k], f->first[k]);
    assert_int_equal(findings_all(f), 0);
}

/* --- the server */

void killed_init(struct killed *k, const char *config) {
    memset(k, 0, sizeof *k);
    k->config = config;
    k->program = anyllm_path;
    scratch_make(k->data);
}

void killed_start(struct killed *k) {
    const char *real = anyllm_path;
    struct server_options o = {.config = k->config, .data = k->data};
    size_t n = 0;
    o.args[n++] = "--log-level";
    o.args[n++] = "warn";
    for (size_t i = 0; i < 6 && k->args[i] != NULL; i++) o.args[n++] = k->args[i];
    n = 0;
    if (k->break_env != NULL) o.env[n++] = k->break_env;
    for (size_t i = 0; i < 3 && k->env[i] != NULL; i++) o.env[n++] = k->env[i];
    k->began_ms = now_ms();
    anyllm_path = k->program;
    server_start(&k->server, &o);
    anyllm_path = real;
    if (k->starts++ > 0 && k->starts <= MAX_KILLS)
        k->listening_ms[k->starts - 2] = (unsigned)(now_ms() - k->began_ms);
    atomic_fetch_add(&k->run, 1);
    atomic_store(&k->port, k->server.port);
}

void killed_wait_ready(struct killed *k) {
    struct line l = LINE_CLOSED;
    const char *ask = "GET /readyz HTTP/1.1\r\n" HOST "\r\n";
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(2))
        if (line_ask(&l, k->server.port, ask, strlen(ask)) && l.status == 200) break;
    if (l.status != 200) fail_msg("the server is not ready: %s", l.body.p);
    line_close(&l);
    if (k->starts > 1 && k->readies < MAX_KILLS)
        k->ready_ms[k->readies++] = (unsigned)(now_ms() - k->began_ms);
}

/* It must not have ended by itself before, nor have made a sanitizer speak. */
static void expect_killed(const struct killed *k, int status) {
    char *log = file_text(k->server.err, NULL);
    bool sane = strstr(log, "runtime error: ") == NULL && strstr(log, "Sanitizer: ") == NULL;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || !sane)
        fail_msg("the server ended by itself (status %x):\n%s", (unsigned)status, log);
    free(log);
}

void killed_kill(struct killed *k) {
    int status = 0;
    atomic_store(&k->port, 0);
    if (k->kills < MAX_KILLS) k->kill_ms[k->kills++] = wall_ms();
    kill(k->server.pid, SIGKILL);
    waitpid(k->server.pid, &status, 0);
    expect_killed(k, status);
    scratch_remove(k->server.dir);
    k->server.pid = 0;
}

void database_check(const char *path, struct findings *f) {
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL);
    if (rc != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        found(f, FOUND_DATABASE, "%s: %s", path, sqlite3_errmsg(db));
    else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        found(f, FOUND_DATABASE, "%s: %s", path, sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    sqlite3_close(db);
}

void killed_check(struct killed *k, struct findings *f) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/anyllm.db", k->data);
    database_check(path, f);
}

bool killed_idle(struct killed *k) {
    static const char *const names[] = {"anyllm_queue_waiting", "anyllm_queue_running",
                                        "anyllm_webhooks_waiting", "anyllm_webhooks_running"};
    uint64_t end = now_ms() + STUCK_MS;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        while (metric(k->server.port, names[i]) > 0) {
            if (now_ms() > end) return false;
            sleep_ms(20);
        }
    return true;
}

void killed_stop(struct killed *k) {
    atomic_store(&k->port, 0);
    server_stop(&k->server);
}

void killed_free(struct killed *k) {
    scratch_remove(k->data);
}

unsigned killed_between(const struct killed *k, int64_t from_ms, int64_t to_ms) {
    unsigned n = 0; /* the time of a kill is read just before it */
    if (k->clock_jumps) return k->kills;
    for (unsigned i = 0; i < k->kills; i++)
        n += k->kill_ms[i] + 50 >= from_ms && k->kill_ms[i] <= to_ms + 1;
    return n;
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

const char *spread(unsigned *ms, unsigned n) {
    static char text[2][64];
    static unsigned turn;
    char *t = text[turn++ % 2];
    if (n == 0) return "none";
    qsort(ms, n, sizeof *ms, by_size);
    snprintf(t, sizeof *text, "p50 %u, max %u ms", ms[n / 2], ms[n - 1]);
    return t;
}

/* --- lines */

void line_close(struct line *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    text_free(&l->in);
    text_free(&l->body);
}

static bool line_open(struct line *l, unsigned port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    if (l->fd >= 0 && l->port == port) return true;
    if (l->fd >= 0) close(l->fd);
    l->port = port;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return l->fd >= 0 && port != 0 && connect(l->fd, (struct sockaddr *)&to, sizeof to) == 0;
}

/* Where the answer ends in l->in; 0: not whole yet. */
static size_t whole(const struct line *l, size_t *head) {
    const char *blank = l->in.len > 0 ? strstr(l->in.p, "\r\n\r\n") : NULL;
    if (blank == NULL) return 0;
    *head = (size_t)(blank - l->in.p) + 4;
    const char *at = strcasestr(l->in.p, "\r\ncontent-length:");
    size_t len = at != NULL && at < blank ? strtoul(at + 17, NULL, 10) : 0;
    return l->in.len < *head + len ? 0 : *head + len;
}

static bool line_read(struct line *l) {
    uint64_t deadline = now_ms() + LINE_MS;
    size_t head, end;
    char bytes[16384];
    l->in.len = 0;
    if (l->in.p != NULL) l->in.p[0] = '\0';
    while ((end = whole(l, &head)) == 0) {
        struct pollfd f = {.fd = l->fd, .events = POLLIN};
        int left = now_ms() < deadline ? (int)(deadline - now_ms()) : 0;
        ssize_t n = poll(&f, 1, left) == 1 ? recv(l->fd, bytes, sizeof bytes, 0) : -1;
        if (n <= 0) return false;
        text_add(&l->in, bytes, (size_t)n);
    }
    l->status = (unsigned)strtoul(l->in.p + 9, NULL, 10);
    l->body.len = 0;
    text_add(&l->body, l->in.p + head, end - head);
    return true;
}

bool line_ask(struct line *l, unsigned port, const char *bytes, size_t len) {
    bool ok = line_open(l, port);
    l->status = 0;
    for (size_t at = 0; ok && at < len;) {
        ssize_t n = send(l->fd, bytes + at, len - at, MSG_NOSIGNAL);
        ok = n > 0;
        if (ok) at += (size_t)n;
    }
    ok = ok && line_read(l);
    if (!ok && l->fd >= 0) {
        close(l->fd);
        l->fd = -1;
    }
    return ok;
}

bool line_about(struct line *l, unsigned port, const char *method, const char *id,
                const char *tail) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     "%s " QUEUE "/requests/%s%s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
                     method, id, tail);
    return line_ask(l, port, text, (size_t)n);
}

bool line_id(const struct line *l, char id[ID_BYTES]) {
    const char *at = strstr(l->body.p, "\"request_id\":\"");
    if (at == NULL) return false;
    snprintf(id, ID_BYTES, "%.36s", at + 14);
    return true;
}
