#include "app.h"
#include "wire_tls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void upgrade(struct app *a, struct net_exchange *x) {
    a->waiting = net_exchange_id(x);
    net_header(x, SLICE("X-Accept"), SLICE("it"));
    net_upgrade(x, SLICE("tunnel"));
}

static void on_head(struct net_exchange *x, void *user) {
    struct app *a = user;
    struct slice path = net_head(x)->path;
    a->heads++;
    if (slice_is(path, "/refuse")) net_reply(x, 401, SLICE("text/plain"), SLICE("no"));
    if (slice_is(path, "/put")) {
        a->waiting = net_exchange_id(x);
        a->given = a->sum = 0;
        net_stream_body(x, a->max_stream);
        if (a->hold_head) net_body_pause(x);
    }
    if (slice_is(path, "/upgrade-at-head")) upgrade(a, x);
}

uint64_t app_sum(uint64_t sum, struct slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) sum = sum * 31 + (unsigned char)bytes.ptr[i];
    return sum;
}

static void on_body(struct net_exchange *x, struct slice data, void *user) {
    struct app *a = user;
    assert_true(data.len > 0);
    a->given += data.len;
    a->pieces++;
    if (!a->count_only) a->sum = app_sum(a->sum, data);
    if (a->hold) net_body_pause(x);
    if (a->echo) net_stream_write(x, data);
    if (a->end != NULL) a->end(x);
    if (a->answer_at > 0 && a->given >= a->answer_at)
        net_reply(x, 409, SLICE("text/plain"), SLICE("enough"));
}

static void big_answer(struct app *a, struct net_exchange *x) {
    char *p = malloc(a->big + 1);
    assert_non_null(p);
    memset(p, 'b', a->big);
    net_reply(x, 200, SLICE("text/plain"), slice_make(p, a->big));
    free(p);
}

static void on_request(struct net_exchange *x, void *user) {
    struct app *a = user;
    struct slice path = net_head(x)->path, body = net_body(x);
    a->requests++;
    assert_int_equal(net_is_tls(x), a->tls != NULL && !slice_is(net_peer(x), "someone"));
    a->last_body_len = body.len;
    memcpy(a->last_body, body.ptr, body.len < sizeof a->last_body ? body.len : sizeof a->last_body);
    assert_ptr_equal(net_exchange_find(a->server, net_exchange_id(x)), x);
    if (slice_is(path, "/later")) {
        a->waiting = net_exchange_id(x);
    } else if (slice_is(path, "/put")) {
        char text[32];
        assert_int_equal(body.len, 0);
        snprintf(text, sizeof text, "%llu bytes", (unsigned long long)a->given);
        net_reply(x, 201, SLICE("text/plain"), slice_of(text));
    } else if (slice_is(path, "/file")) {
        a->waiting = net_exchange_id(x);
        int fd = open(a->path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        net_reply_file(x, a->offset > 0 ? 206 : 200, SLICE("text/plain"), fd, a->offset, a->length);
    } else if (slice_is(path, "/upgrade")) {
        upgrade(a, x);
    } else if (slice_is(path, "/upgrade-later")) {
        a->waiting = net_exchange_id(x);
    } else if (slice_is(path, "/big")) {
        big_answer(a, x);
    } else if (slice_is(path, "/header")) {
        net_header(x, SLICE("X-Name"), SLICE("a\r\nX-Evil: 1"));
        net_reply(x, 200, SLICE("text/plain"), SLICE("never"));
    } else if (slice_is(path, "/none")) {
        net_reply(x, 204, SLICE_NONE, SLICE("not sent"));
    } else if (slice_is(path, "/stream") || slice_is(path, "/abort")) {
        a->waiting = net_exchange_id(x);
        net_stream_begin(x, 200, SLICE("text/event-stream"));
        net_stream_write(x, SLICE("first"));
        if (slice_is(path, "/abort")) net_stream_abort(x);
    } else {
        net_header(x, SLICE("X-Path"), path);
        net_reply(x, 200, SLICE("text/plain"), body);
    }
}

static void on_drain(struct net_exchange *x, void *user) {
    struct app *a = user;
    a->drains++;
    a->paused = false;
}

static void on_done(struct net_exchange *x, void *user) {
    struct app *a = user;
    a->dones++;
}

static void on_gone(struct net_exchange *x, void *user) {
    struct app *a = user;
    a->gones++;
}

static void on_fault(struct net_exchange *x, bool has_request, unsigned status, const char *reason,
                     struct buf *body, void *user) {
    struct app *a = user;
    a->faults++;
    a->last_fault = status;
    a->fault_had_request = has_request;
    net_header(x, SLICE("X-Fault"), SLICE("yes"));
    buf_printf(body, "{\"detail\":\"%s\"}", reason);
}

static const struct net_server_hooks hooks = {
    .on_head = on_head,
    .on_request = on_request,
    .on_body = on_body,
    .on_drain = on_drain,
    .on_done = on_done,
    .on_gone = on_gone,
    .on_fault = on_fault,
};

/* --- TLS --- */

static bool over_tls;

void app_over_tls(bool yes) {
    over_tls = yes;
}

static void set_up_tls(struct app *a) {
    struct app_pair *p = &a->pair;
    char why[512];
    snprintf(p->dir, sizeof p->dir, "/tmp/anyllm-tls-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->cert, sizeof p->cert, "%s/cert.pem", p->dir);
    snprintf(p->key, sizeof p->key, "%s/key.pem", p->dir);
    struct cert c = cert_make("server", "DNS:localhost,IP:127.0.0.1", NULL, -1, 1);
    cert_write(&c, p->cert);
    cert_write_key(&c, p->key, 0600);
    cert_free(&c);
    a->tls = net_tls_server_new(p->cert, p->key, why, sizeof why);
    if (a->tls == NULL) fail_msg("%s", why);
    a->client = SSL_CTX_new(TLS_client_method());
    assert_non_null(a->client);
    wire_tls_use(a->client);
}

static void tear_down_tls(struct app *a) {
    wire_tls_end();
    SSL_CTX_free(a->client);
    unlink(a->pair.cert);
    unlink(a->pair.key);
    rmdir(a->pair.dir);
}

/* --- the server --- */

static void start(struct app *a, const struct net_server_limits *limits) {
    a->server = net_server_new(&a->loop, limits, &hooks, a);
    assert_non_null(a->server);
    assert_int_equal(net_server_listen_tls(a->server, "127.0.0.1", 0, a->tls, &a->port), 0);
}

int app_set_up(void **state) {
    struct app *a = calloc(1, sizeof *a);
    *state = a;
    if (a == NULL || net_loop_init(&a->loop) < 0) return -1;
    signal(SIGPIPE, SIG_IGN); /* sendfile knows no other way */
    buf_init(&a->in, 64U << 20);
    a->max_stream = UINT64_MAX;
    if (over_tls) set_up_tls(a);
    start(a, &(struct net_server_limits)NET_SERVER_LIMITS_DEFAULT);
    return 0;
}

void app_restart(struct app *a, const struct net_server_limits *limits) {
    net_server_close(a->server);
    start(a, limits);
}

int app_tear_down(void **state) {
    struct app *a = *state;
    net_server_close(a->server);
    net_tls_server_free(a->tls); /* while its connections are still closing */
    net_loop_close(&a->loop);
    if (over_tls) tear_down_tls(a);
    int owed = (int)a->heads - (int)a->dones - (int)a->gones;
    if (owed != 0) print_error("%d exchanges had not exactly one end\n", owed);
    buf_free(&a->in);
    free(a);
    return owed;
}

struct net_exchange *app_waiting(struct app *a) {
    return net_exchange_find(a->server, a->waiting);
}

int app_send(struct app *a, const char *text) {
    int fd = wire_connect(a->port);
    wire_sends(&a->loop, fd, text);
    return fd;
}

int app_ask(struct app *a, const char *text, const char *expected) {
    int fd = app_send(a, text);
    buf_reset(&a->in, SIZE_MAX);
    wire_expect(&a->loop, fd, &a->in, expected);
    return fd;
}

size_t app_resident(void) {
    size_t all = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &all, &pages), 2);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}
