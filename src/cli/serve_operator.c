/* The small server of an operator's command: the store and the operator's routes, on one Unix socket. No model is called, no
 * request run, no webhook delivered. */
#include "api/api.h"
#include "api/auth.h"
#include "cli/serve.h"
#include "store/desk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct small {
    struct net_loop *loop;
    const struct config *config;
    const char *socket_name;
    struct store *store;
    struct desk *desk;
    struct api *api;
    struct net_server *http;
    uv_signal_t term;
    int ready_fd, folder, code;
};

static int refuse(struct small *s, const char *what) {
    fprintf(stderr, "anyllm: %s\n", what);
    return s->code = 1;
}

/* --- the end: callers, then the store, then the loop */

static void on_store_closed(void *user) {
    struct small *s = user;
    uv_close((uv_handle_t *)&s->term, NULL);
    net_loop_stop(s->loop);
}

static void end(struct small *s) {
    if (s->http != NULL) {
        api_set_server(s->api, NULL);
        net_server_close(s->http);
        s->http = NULL;
    }
    api_close(s->api);
    if (s->store != NULL)
        s->store->backend->close(s->store, on_store_closed, s);
    else
        on_store_closed(s);
    s->store = NULL;
}

static void on_term(uv_signal_t *h, int number) {
    uv_signal_stop(h);
    end(h->data);
}

/* --- the start */

static void on_done(void *user, uint64_t ticket, const struct store_reply *r) {
    desk_answer(((struct small *)user)->desk, ticket, r);
}

static void on_health(void *user, bool can_write, const char *reason) {
}

/* No operation is answered any more: its command must not wait for it. */
static void on_broken(void *user, const char *reason) {
    fprintf(stderr, "anyllm: the disk lost what it had synced: %s\n", reason);
    _exit(1);
}

static int listen_here(struct small *s) {
    char path[SERVE_SOCKET_BYTES];
    if (!serve_socket_path(s->config->data_dir, s->socket_name, &s->folder, path)) return -errno;
    return net_server_listen_unix(s->http, path, 0600, AUTH_ADMIN_PEER);
}

static void on_loaded(void *user, bool ok) {
    struct small *s = user;
    int e = ok ? listen_here(s) : 0;
    if (!ok) refuse(s, "the database cannot be read");
    if (e != 0) refuse(s, strerror(-e));
    if (s->code != 0 || write(s->ready_fd, "+", 1) != 1) end(s);
}

static int open_rooms(struct small *s) {
    char reason[512];
    struct net_server_limits limits = NET_SERVER_LIMITS_DEFAULT;
    struct net_server_hooks hooks = api_hooks();
    struct api_options api = {
        .loop = s->loop, .clock = &clock_system, .random = &random_system, .config = s->config};
    struct store_options store = {
        .url = s->config->store_url,
        .dir = s->config->data_dir,
        .loop = s->loop,
        .user = s,
        .hooks = {.on_done = on_done, .on_health = on_health, .on_broken = on_broken}};
    s->api = api_new(&api);
    s->desk = desk_new();
    if (s->api == NULL || s->desk == NULL) return refuse(s, "out of memory");
    s->store = store_open(&store, reason, sizeof reason);
    if (s->store == NULL) return refuse(s, reason);
    s->http = net_server_new(s->loop, &limits, &hooks, s->api);
    if (s->http == NULL) return refuse(s, "out of memory");
    api_set_server(s->api, s->http);
    return 0;
}

int serve_operator(const struct config *c, const char *socket_name, int ready_fd) {
    struct small s = {.config = c,
                      .socket_name = socket_name,
                      .ready_fd = ready_fd,
                      .folder = -1,
                      .loop = calloc(1, sizeof *s.loop)};
    if (s.loop == NULL || net_loop_init(s.loop) != 0) {
        free(s.loop);
        return refuse(&s, "cannot make an event loop");
    }
    uv_signal_init(&s.loop->uv, &s.term);
    s.term.data = &s;
    uv_signal_start(&s.term, on_term, SIGTERM);
    if (open_rooms(&s) == 0)
        api_load_operator(s.api, s.store, s.desk, on_loaded, &s);
    else
        end(&s);
    net_loop_run(s.loop);
    net_loop_close(s.loop);
    api_free(s.api);
    desk_free(s.desk);
    free(s.loop);
    if (s.folder >= 0) close(s.folder);
    return s.code;
}
