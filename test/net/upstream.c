#include "upstream.h"

#include <sys/socket.h>
#include <unistd.h>

static void on_head(struct net_call *c, const struct h1_head *head, void *user) {
    struct record *r = user;
    r->heads++;
    r->status = head->status;
    r->head = head;
    if (!r->cancel_in_head) return;
    net_call_cancel(c);
    r->call = NULL;
}

static void on_body(struct net_call *c, struct slice data, void *user) {
    struct record *r = user;
    assert_true(data.len > 0 && r->heads == 1 && r->ends == 0);
    assert_true(buf_add(&r->body, data));
    r->pieces++;
    if (r->pause_in_body) net_call_pause(c);
    if (!r->cancel_in_body) return;
    net_call_cancel(c);
    r->call = NULL;
}

static void on_end(struct net_call *c, const struct net_call_end *end, void *user) {
    struct record *r = user;
    r->ends++;
    r->end = *end;
    r->call = NULL;
    if (r->head != NULL) {
        struct slice x = h1_get(r->head, SLICE("x"), NULL);
        memcpy(r->x, x.ptr != NULL ? x.ptr : "", x.len < sizeof r->x ? x.len : 0);
        r->head = NULL;
    }
    if (r->again) up_post(r->up, (size_t)(r - r->up->r) + 1);
}

static const struct net_call_hooks hooks = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end};

int up_set_up(void **state) {
    struct up *u = calloc(1, sizeof *u);
    *state = u;
    if (u == NULL || net_loop_init(&u->loop) < 0) return -1;
    u->listener = wire_listen(&u->port);
    u->deadlines = (struct net_deadlines)NET_DEADLINES_DEFAULT;
    buf_init(&u->in, 64U << 20);
    for (size_t i = 0; i < 8; i++) buf_init(&u->r[i].body, 64U << 20);
    up_origin(u, &(struct net_origin_options){.host = "127.0.0.1", .port = u->port});
    return 0;
}

void up_origin(struct up *u, const struct net_origin_options *o) {
    net_origin_free(u->origin);
    u->origin = net_origin_new(&u->loop, o);
    assert_non_null(u->origin);
}

int up_tear_down(void **state) {
    struct up *u = *state;
    unsigned too_many = 0;
    net_origin_free(u->origin);
    for (size_t i = 0; i < 8; i++) {
        if (u->r[i].ends > 1 || u->r[i].heads > 1) too_many++;
        buf_free(&u->r[i].body);
    }
    net_loop_close(&u->loop);
    net_tls_free(u->tls);
    if (u->listener >= 0) close(u->listener);
    buf_free(&u->in);
    free(u);
    return (int)too_many;
}

struct record *up_call(struct up *u, size_t i, const char *method, struct slice body) {
    struct record *r = &u->r[i];
    struct net_call_options o = {
        .method = method,
        .path = SLICE("/v1/chat?x=1"),
        .headers = SLICE("Content-Type: application/json\r\n"),
        .body = body,
        .deadlines = u->deadlines,
        .hooks = &hooks,
        .user = r,
    };
    r->up = u;
    r->call = net_call_start(u->origin, &o);
    assert_int_equal(r->ends, 0);
    return r;
}

struct record *up_post(struct up *u, size_t i) {
    return up_call(u, i, "POST", SLICE("{\"a\":1}"));
}

int up_accept(struct up *u) {
    int fd = -1;
    UP_UNTIL(u, (fd = accept4(u->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    return fd;
}

bool up_nobody_waits(struct up *u) {
    wire_turn_for(&u->loop, 30);
    int fd = accept4(u->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd < 0;
}

void up_read(struct up *u, int fd) {
    buf_reset(&u->in, SIZE_MAX);
    wire_expect(&u->loop, fd, &u->in, "\r\n\r\n{\"a\":1}");
}

void up_answer(struct up *u, int fd, const char *answer) {
    up_read(u, fd);
    wire_sends(&u->loop, fd, answer);
}

void up_end(struct up *u, struct record *r, enum net_fault fault) {
    UP_UNTIL(u, r->ends == 1);
    if (r->end.fault != fault)
        fail_msg("%s (%s) instead of %s", net_fault_name(r->end.fault),
                 r->end.detail != NULL ? r->end.detail : "", net_fault_name(fault));
}
