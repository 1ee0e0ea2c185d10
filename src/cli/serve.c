/* `anyllm serve`: builds the server's rooms and joins them. Start in the order of what can fail and be told apart by its
 * exit code; end in the reverse. */
#include "cli/cli.h"

#include "api/api.h"
#include "api/endpoints.h"
#include "api/webhook.h"
#include "cli/serve.h"
#include "store/desk.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each step begins when the one before it is done. A start that failed goes the same way over the rooms it has built.
 *
 *   RUNNING       --signal; the database cannot be read; a port is taken--> DRAINING
 *   RUNNING       --the start failed before the database was read, or --check--> CLOSING_STORE
 *   DRAINING      listeners closed, calls and jobs finish  --nothing runs--> CLOSING_STORE
 *                                                          --grace over--> ABANDONING
 *   ABANDONING    callers cut, jobs given back             --nothing runs--> CLOSING_STORE
 *   CLOSING_STORE it writes what it was given              --closed--> CLOSING_LLM
 *   CLOSING_LLM   the local engine ends                    --closed--> ENDED
 *
 * A second signal, or STEP_MS in one of the last three steps, ends the process at once: what was promised is on disk. */
enum ending { RUNNING, DRAINING, ABANDONING, CLOSING_STORE, CLOSING_LLM, ENDED };

#define STEP_MS 10000U
#define LOOK_MS 20U

struct server {
    struct net_loop *loop;
    struct config *config;
    struct catalogue *catalogue;
    struct store *store;
    struct desk *desk; /* the store's askers beside the queue */
    struct llm *llm;
    struct api *api;
    struct queue *queue;
    struct net_server *http;    /* NULL: not yet, or no more */
    struct net_tls_server *tls; /* NULL: no listener wants it */
    uv_signal_t term, interrupt, hangup;
    uv_work_t first_work;
    struct net_timer deadline, look, idle;
    uint64_t quiet_since_ms, came; /* connections that were ever accepted */
    enum ending ending;
    bool queue_loaded, queue_idle, serving;
    int lock_fd, exit_code;
    int data_fd; /* what the admin socket's path begins with when DATA's is long; else -1 */
    char node[UUID_BYTES], boot[UUID_BYTES], self[4096];
};

/* --- the end */

static void on_llm_closed(void *user) {
    struct server *s = user;
    s->llm = NULL;
    s->ending = ENDED;
    net_timer_stop(s->loop, &s->deadline);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_close((uv_handle_t *)&s->hangup, NULL);
    net_loop_stop(s->loop);
}

static void on_store_closed(void *user) {
    struct server *s = user;
    s->store = NULL;
    s->ending = CLOSING_LLM;
    net_timer_start(s->loop, &s->deadline, STEP_MS);
    if (s->llm != NULL)
        llm_close(s->llm, on_llm_closed, s);
    else
        on_llm_closed(s);
}

/* Its memory goes soon after; answers of the queue that come later find no exchange. */
static void close_http(struct server *s) {
    if (s->http == NULL) return;
    api_set_server(s->api, NULL);
    net_server_close(s->http);
    s->http = NULL;
}

static void close_rooms(struct server *s) {
    s->ending = CLOSING_STORE;
    net_timer_stop(s->loop, &s->look);
    net_timer_start(s->loop, &s->deadline, STEP_MS);
    close_http(s);
    api_close(s->api);
    if (s->store != NULL)
        s->store->backend->close(s->store, on_store_closed, s);
    else
        on_store_closed(s);
}

/* Connections, not only exchanges: a request may be on its way on one that looks idle, an answer may still be. */
static void look(struct net_timer *t) {
    struct server *s = (struct server *)(void *)((char *)t - offsetof(struct server, look));
    bool callers = s->http != NULL && net_server_get_stats(s->http)->connections > 0;
    if (s->queue_loaded && s->queue_idle && !callers && webhooks_quiet(s->api))
        close_rooms(s);
    else
        net_timer_start(s->loop, &s->look, LOOK_MS);
}

static void on_deadline(struct net_timer *t) {
    struct server *s = (struct server *)(void *)((char *)t - offsetof(struct server, deadline));
    struct queue_stats q = {0};
    if (s->ending != DRAINING) {
        log_line(LOG_ERROR, "end_stalled", "step=%d", (int)s->ending);
        _exit(s->exit_code);
    }
    queue_get_stats(s->queue, &q);
    log_line(LOG_WARN, "grace_over", "running_calls=%zu running_jobs=%zu",
             net_server_get_stats(s->http)->exchanges, q.running);
    s->ending = ABANDONING;
    net_timer_start(s->loop, &s->deadline, STEP_MS);
    close_http(s);
    queue_abandon(s->queue);
}

static void on_queue_idle(void *user) {
    ((struct server *)user)->queue_idle = true;
}

static void drain(struct server *s) {
    s->ending = DRAINING;
    net_timer_stop(s->loop, &s->idle);
    api_set_draining(s->api);
    net_server_drain(s->http);
    queue_drain(s->queue, on_queue_idle, s);
    net_timer_start(s->loop, &s->deadline, s->config->grace_s * 1000ULL);
    net_timer_start(s->loop, &s->look, LOOK_MS);
}

static void on_signal(uv_signal_t *h, int number) {
    struct server *s = h->data;
    if (s->ending != RUNNING) {
        log_line(LOG_WARN, "stopping_now", "signal=%d", number);
        _exit(s->exit_code);
    }
    log_line(LOG_INFO, "stopping", "signal=%d grace_s=%u", number, s->config->grace_s);
    drain(s);
}

/* --- nobody comes: idle_exit */

#define IDLE_LOOK_MS 250U

static bool is_busy(const struct server *s) {
    struct queue_stats q = {0};
    queue_get_stats(s->queue, &q);
    return q.waiting + q.running > 0 || q.loading || net_server_get_stats(s->http)->connections > 0;
}

/* Who came and went between two looks has been here, too. And where a socket's file was taken away nobody can come. */
static void look_around(struct net_timer *t) {
    struct server *s = (struct server *)(void *)((char *)t - offsetof(struct server, idle));
    uint64_t now = clock_mono_ms(&clock_system), came;
    if (s->ending != RUNNING) return;
    came = net_server_get_stats(s->http)->accepted;
    if (is_busy(s) || came != s->came) s->quiet_since_ms = now;
    s->came = came;
    bool quiet = now - s->quiet_since_ms >= s->config->idle_exit_s * 1000ULL;
    if (!quiet && serve_sockets_there(s->config)) {
        net_timer_start(s->loop, &s->idle, IDLE_LOOK_MS);
        return;
    }
    log_line(LOG_INFO, "stopping", "reason=%s idle_exit_s=%u", quiet ? "idle" : "socket_gone",
             s->config->idle_exit_s);
    drain(s);
}

static void begin_idling(struct server *s) {
    s->quiet_since_ms = clock_mono_ms(&clock_system);
    s->idle.fire = look_around;
    net_timer_start(s->loop, &s->idle, IDLE_LOOK_MS);
}

/* The certificate and the keys are read again; connections keep what they began with. */
static void on_hangup(uv_signal_t *h, int number) {
    struct server *s = h->data;
    char reason[512], text[LOG_QUOTE_BYTES];
    if (s->ending == RUNNING) api_reload(s->api);
    if (s->tls == NULL) return;
    if (net_tls_server_reload(s->tls, reason, sizeof reason))
        log_line(LOG_INFO, "reloaded", "what=tls");
    else
        log_line(LOG_ERROR, "reload_failed", "what=tls reason=%s",
                 log_quote(text, slice_of(reason)));
}

/* --- the start */

static void on_store_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct server *s = user;
    if (desk_owns(ticket))
        desk_answer(s->desk, ticket, r);
    else
        queue_store_done(s->queue, ticket, r);
}

static void on_store_health(void *user, bool can_write, const char *reason) {
    struct server *s = user;
    if (s->queue == NULL) return;
    api_set_store_ok(s->api, can_write);
    queue_store_health(s->queue, can_write, reason);
}

/* What the store has told us since its last good sync may not be on disk: not one more answer. The next start recovers what
 * is there; our own callers see a broken connection, which promises nothing. */
static void on_store_broken(void *user, const char *reason) {
    char text[LOG_QUOTE_BYTES];
    log_line(LOG_ERROR, "storage_broken", "reason=%s exit=%d", log_quote(text, slice_of(reason)),
             EXIT_IO);
    _exit(EXIT_IO);
}

static void on_leases_lost(void *user, size_t runs) {
    log_line(LOG_WARN, "leases_lost", "runs=%zu", runs);
}

static void on_capacity(void *user) {
    struct server *s = user;
    if (s->queue != NULL && s->ending == RUNNING) queue_wake(s->queue);
}

static int exit_of(enum store_fault f) {
    switch (f) {
    case STORE_FAULT_FOLDER:
    case STORE_FAULT_BUSY: return EXIT_DATA;
    case STORE_FAULT_SYSTEM: return EXIT_SYSTEM;
    default: return EXIT_CONFIG;
    }
}

static int open_store(struct server *s) {
    char reason[512];
    enum store_fault fault;
    struct store_options o = {.url = s->config->store_url,
                              .dir = s->config->data_dir,
                              .loop = s->loop,
                              .user = s,
                              .hooks = {.on_done = on_store_done,
                                        .on_health = on_store_health,
                                        .on_broken = on_store_broken},
                              .fault = &fault,
                              .wal_checkpoint_pages = s->config->wal_checkpoint_pages};
    s->desk = desk_new();
    if (s->desk == NULL) return serve_refuse(EXIT_SYSTEM, "out of memory");
    s->store = store_open(&o, reason, sizeof reason);
    if (s->store == NULL) return serve_refuse(exit_of(fault), "%s", reason);
    return api_open(s->api, s->store, s->desk, reason, sizeof reason)
               ? 0
               : serve_refuse(EXIT_DATA, "%s", reason);
}

static int open_models(struct server *s) {
    struct config_error err = {0};
    s->catalogue = catalogue_load(s->config->catalogue_file, &err);
    if (s->catalogue == NULL) return serve_refuse(err.exit_code, "%s", err.text);
    if (s->config->nupstreams == 0)
        return serve_refuse(
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
    return s->llm != NULL ? 0 : serve_refuse(err.exit_code, "%s", err.text);
}

static int open_api(struct server *s) {
    struct api_options o = {.loop = s->loop,
                            .clock = &clock_system,
                            .random = &random_system,
                            .config = s->config,
                            .catalogue = s->catalogue,
                            .llm = s->llm};
    s->api = api_new(&o);
    if (s->api == NULL) return serve_refuse(EXIT_SYSTEM, "out of memory");
    const char *range = webhook_allow_fault(s->config);
    if (range != NULL)
        return serve_refuse(EXIT_CONFIG,
                            "webhook_allow wants addresses such as 10.1.2.0/24, not %s", range);
    for (size_t i = 0; i < s->config->naliases; i++) {
        const struct config_alias *alias = &s->config->aliases[i];
        const char *why = endpoint_alias_fault(alias);
        if (why != NULL)
            return serve_refuse(EXIT_CONFIG, "endpoint_aliases: %.*s: %s", SLICE_ARG(alias->name),
                                why);
    }
    return 0;
}

static int open_queue(struct server *s) {
    const struct config *c = s->config;
    struct queue_options o = {.loop = s->loop,
                              .clock = &clock_system,
                              .random = &random_system,
                              .store = s->store,
                              .runner = api_runner(s->api),
                              .node = s->node,
                              .boot = s->boot,
                              .alone = true, /* the folder's lock is ours */
                              .lease_ms = c->lease_s * 1000ULL,
                              .heartbeat_ms = c->lease_s * 1000ULL / 3,
                              .retention_age_ms = (int64_t)c->retention_age_s * 1000,
                              .retention_bytes = c->retention_bytes,
                              .max_queue_length = c->max_queue_length,
                              .on_lost = on_leases_lost,
                              .lost_user = s,
                              .on_webhook = webhooks_due,
                              .webhook_user = s->api};
    s->queue = queue_new(&o);
    if (s->queue == NULL) return serve_refuse(EXIT_SYSTEM, "out of memory");
    api_set_queue(s->api, s->queue);
    return 0;
}

static int open_tls(struct server *s) {
    const struct config *c = s->config;
    char reason[512];
    if (c->nlisten_tls == 0) return 0;
    s->tls = net_tls_server_new(c->tls_cert, c->tls_key, reason, sizeof reason);
    return s->tls != NULL ? 0 : serve_refuse(EXIT_CONFIG, "%s", reason);
}

static int open_http(struct server *s) {
    const struct config *c = s->config;
    struct net_server_limits limits = NET_SERVER_LIMITS_DEFAULT;
    struct net_server_hooks hooks = api_hooks();
    limits.max_connections = c->max_connections;
    limits.max_connections_per_address = c->max_connections_per_address;
    limits.max_body_bytes = c->max_body_bytes;
    s->http = net_server_new(s->loop, &limits, &hooks, s->api);
    if (s->http == NULL) return serve_refuse(EXIT_SYSTEM, "out of memory");
    if (net_server_trust(s->http, c->trusted_proxies, c->ntrusted_proxies) != 0)
        return serve_refuse(EXIT_CONFIG, "trusted_proxies wants addresses such as 10.0.0.0/8");
    api_set_server(s->api, s->http);
    return open_tls(s);
}

static int begin_serving(struct server *s) {
    char how[512], data[LOG_QUOTE_BYTES];
    int code = serve_check_open(s->config, !api_is_open(s->api));
    if (code == 0) code = serve_listen(s->config, s->http, s->tls, &s->data_fd);
    if (code != 0) return code;
    llm_describe(s->llm, how, sizeof how);
    log_line(LOG_INFO, "started", "version=%s data=%s models=\"%s\"", ANYLLM_VERSION,
             log_quote(data, slice_of(s->config->data_dir)), how);
    llm_start_engines(s->llm);
    s->serving = true;
    if (s->config->idle_exit_s > 0) begin_idling(s);
    return 0;
}

/* What was kept is read, or cannot be. Nobody is let in before: a submit could not be taken. */
static void on_loaded(struct server *s, bool ok) {
    if (!ok)
        s->exit_code = serve_refuse(
            EXIT_DATA,
            "the database cannot be read; restore it from a backup or choose another folder with --data");
    else if (s->ending == RUNNING)
        s->exit_code = begin_serving(s);
    if (s->exit_code != 0 && s->ending == RUNNING) drain(s);
}

static void on_api_loaded(void *user, bool ok) {
    on_loaded(user, ok);
}

static void on_queue_loaded(void *user, bool ok) {
    struct server *s = user;
    s->queue_loaded = true;
    if (ok && s->ending == RUNNING)
        api_load(s->api, on_api_loaded, s);
    else
        on_loaded(s, ok);
}

static void make_signals(struct server *s) {
    uv_signal_init(&s->loop->uv, &s->term);
    uv_signal_init(&s->loop->uv, &s->interrupt);
    uv_signal_init(&s->loop->uv, &s->hangup);
    s->term.data = s->interrupt.data = s->hangup.data = s;
}

/* Before, when nothing is ours yet, a signal does what it does to any program. */
static void start_signals(struct server *s) {
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
    uv_signal_start(&s->hangup, on_hangup, SIGHUP);
}

static void do_nothing(uv_work_t *w) {
}

/* libuv makes its pool at the first use, and ends the process when it cannot: so now, not when memory is short. */
static int start_threads(struct server *s) {
    int code = serve_check_threads();
    if (code == 0) uv_queue_work(&s->loop->uv, &s->first_work, do_nothing, NULL);
    return code;
}

/* What can be wrong is looked at before the lock is waited for: then a new version that cannot serve says so while the old
 * one still does. */
static int start(struct server *s) {
    const struct config *c = s->config;
    int code = start_threads(s);
    if (code == 0 && c->wait_for_lock_s > 0) code = open_models(s);
    if (code == 0) code = serve_open_data(c->data_dir, c->wait_for_lock_s, &s->lock_fd, s->node);
    if (code == 0) start_signals(s);
    if (code == 0 && s->llm == NULL) code = open_models(s);
    if (code == 0) code = open_api(s);
    if (code == 0) code = open_store(s);
    if (code == 0) code = open_queue(s);
    if (code == 0) code = open_http(s);
    if (code == 0) queue_start(s->queue, on_queue_loaded, s);
    return code;
}

/* All that a start looks at, except what would touch the data folder or take a port. */
static int check(struct server *s) {
    int code = open_models(s);
    if (code == 0) code = open_api(s);
    if (code == 0) code = open_http(s);
    if (code == 0 && strncmp(s->config->store_url, "sqlite:", 7) != 0)
        code = serve_refuse(EXIT_CONFIG, "store: only sqlite:FILE is known");
    if (code == 0) code = serve_check_open(s->config, serve_may_hold_keys(s->config->data_dir));
    if (code == 0) fputs("anyllm serve: the configuration is right\n", stderr);
    return code;
}

static int run(struct server *s) {
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
    if (n <= 0)
        return serve_refuse(EXIT_SYSTEM, "cannot find the program's own file: %s", strerror(errno));
    random_uuid(&random_system, s->boot);
    if (net_loop_init(s->loop) != 0)
        return serve_refuse(EXIT_SYSTEM, "cannot make an event loop: %s", strerror(errno));
    s->deadline.fire = on_deadline;
    s->look.fire = look;
    make_signals(s);
    int code = s->config->check ? check(s) : start(s);
    if (code != 0) s->exit_code = code;
    if (code != 0 || s->config->check) close_rooms(s);
    net_loop_run(s->loop);
    net_loop_close(s->loop);
    if (s->serving) log_line(LOG_INFO, "stopped", "exit=%d", s->exit_code);
    return s->exit_code;
}

static void free_all(struct server *s) {
    queue_free(s->queue);
    net_tls_server_free(s->tls);
    api_free(s->api);
    desk_free(s->desk);
    catalogue_free(s->catalogue);
    config_free(s->config);
    if (s->data_fd >= 0) close(s->data_fd);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s->loop);
}

static int serve(int argc, char **argv, void (*adapt)(struct config *c)) {
    struct config_error err;
    bool help;
    serve_prepare_process();
    struct server s = {
        .lock_fd = -1, .data_fd = -1, .config = config_load(argc, argv, &help, &err)};
    if (help) return cli_usage("serve");
    if (s.config == NULL) return serve_refuse(err.exit_code, "%s", err.text);
    if (adapt != NULL) adapt(s.config);
    log_set_level(s.config->log_level);
    s.loop = calloc(1, sizeof *s.loop);
    int code = s.loop == NULL ? serve_refuse(EXIT_SYSTEM, "out of memory")
                              : serve_check_listen(s.config);
    if (code == 0) code = run(&s);
    free_all(&s);
    return code;
}

int cmd_serve(int argc, char **argv) {
    return serve(argc, argv, NULL);
}

int cmd_private_serve(int argc, char **argv) {
    return serve(argc, argv, serve_make_private);
}
