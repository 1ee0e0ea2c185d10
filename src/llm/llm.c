/* The room's face over its upstreams: making and ending them, what can be known about them. */
#include "llm/inner.h"

#include "llm/adapter.h"

#include <stdio.h>
#include <stdlib.h>

/* --- health and capacity */

bool upstream_able(const struct upstream *up) {
    if (up->engine != NULL && engine_get_state(up->engine) != ENGINE_READY) return false;
    if (breaker_blocks(up)) return false;
    return up->faults_in_row < LLM_UNABLE_AFTER || net_now_ms(up->m->o.loop) >= up->unable_until_ms;
}

void upstream_judge(struct upstream *up, enum llm_fault f) {
    up->failures += f != LLM_OK;
    if (fault_blames_upstream(f)) {
        up->faults_in_row++;
        up->unable_until_ms = net_now_ms(up->m->o.loop) + LLM_UNABLE_MS;
    } else {
        up->faults_in_row = 0;
    }
    breaker_judge(up, f);
}

static void capacity_changed(struct net_defer *d) {
    struct llm *m = (struct llm *)(void *)((char *)d - offsetof(struct llm, capacity));
    m->o.on_capacity(m->o.user);
}

/* Later, so that nobody is called back inside llm_cancel or on_end. */
void llm_tell_capacity(struct llm *m) {
    if (m->o.on_capacity != NULL) net_defer(m->o.loop, &m->capacity);
}

size_t upstream_room(const struct upstream *up) {
    if (up->cfg->concurrency <= up->in_flight || breaker_blocks(up)) return 0;
    return up->cfg->concurrency - up->in_flight;
}

size_t llm_capacity(const struct llm *m) {
    size_t room = 0, waiting = 0;
    for (size_t i = 0; i < m->nupstreams; i++) {
        room += upstream_room(&m->upstreams[i]);
        waiting += m->upstreams[i].waiting.n;
    }
    return room > waiting ? room - waiting : 0;
}

bool llm_ready(const struct llm *m) {
    for (size_t i = 0; i < m->nupstreams; i++)
        if (upstream_able(&m->upstreams[i])) return true;
    return false;
}

bool llm_knows(const struct llm *m, struct slice model) {
    struct route_step steps[ROUTE_MAX_STEPS];
    return route_find(m->o.config, m->o.catalogue, model, false, steps) > 0;
}

bool llm_can_fetch(const struct llm *m, struct slice model, bool sound) {
    struct route_step steps[ROUTE_MAX_STEPS];
    size_t n = route_find(m->o.config, m->o.catalogue, model, false, steps);
    for (size_t i = 0; i < n; i++) {
        enum config_kind kind = m->o.config->upstreams[steps[i].upstream].kind;
        if (!steps[i].fallback &&
            (kind == UPSTREAM_LOCAL || (sound && kind == UPSTREAM_OPENROUTER)))
            return false;
    }
    return true;
}

/* The i-th name, of the catalogue first; ptr NULL: past the last one. */
static struct slice name_at(const struct llm *m, size_t i) {
    const struct config *cfg = m->o.config;
    size_t n = catalogue_count(m->o.catalogue);
    if (i < n) return catalogue_at(m->o.catalogue, i)->id;
    i -= n;
    if (i < cfg->nupstreams)
        return cfg->upstreams[i].kind == UPSTREAM_LOCAL ? cfg->upstreams[i].alias : SLICE("");
    i -= cfg->nupstreams;
    if (i >= cfg->nroutes) return SLICE_NONE;
    return slice_ends(cfg->routes[i].model, SLICE("*")) ? SLICE("") : cfg->routes[i].model;
}

bool llm_model_at(const struct llm *m, size_t i, struct slice *id) {
    size_t ncatalogue = catalogue_count(m->o.catalogue);
    *id = name_at(m, i);
    if (id->ptr == NULL) return false;
    bool given = i >= ncatalogue && catalogue_find(m->o.catalogue, *id) != NULL;
    for (size_t k = ncatalogue; k < i && !given; k++) given = slice_eq(name_at(m, k), *id);
    if (given || id->len == 0 || !llm_knows(m, *id)) *id = SLICE("");
    return true;
}

void llm_describe(const struct llm *m, char *out, size_t size) {
    route_describe(m->o.config, out, size);
}

size_t llm_upstreams(const struct llm *m) {
    return m->nupstreams;
}

void llm_get_stats(const struct llm *m, size_t i, struct llm_upstream_stats *out) {
    const struct upstream *up = &m->upstreams[i];
    *out = (struct llm_upstream_stats){.name = up->cfg->name,
                                       .calls = up->calls,
                                       .failures = up->failures,
                                       .retries = up->retries,
                                       .in_flight = up->in_flight,
                                       .waiting = up->waiting.n,
                                       .able = upstream_able(up)};
}

/* --- the engine's news */

static void release_starting(struct upstream *up) {
    while (up->starting.first != NULL) {
        struct llm_call *c = up->starting.first;
        call_unlist(c);
        net_timer_stop(up->m->o.loop, &c->timer);
        c->state = CALL_BEGIN;
        call_begin_later(c);
    }
}

static void on_engine(void *user, enum engine_state state, const char *text) {
    struct upstream *up = user;
    if (state == ENGINE_READY) {
        up->faults_in_row = 0;
        net_origin_flush(up->origin); /* idle connections lead to the process before this one */
        release_starting(up);
        llm_tell_capacity(up->m);
        return;
    }
    for (struct llm_call *c = up->starting.first; c != NULL; c = c->next) say_waiting_engine(c);
}

/* --- making */

static bool refuse(struct config_error *err, struct slice upstream, const char *what) {
    err->exit_code = 78;
    snprintf(err->text, sizeof err->text, "upstream %.*s: %s", SLICE_ARG(upstream), what);
    return false;
}

static bool make_engine(struct upstream *up, struct config_error *err) {
    const struct llm_options *o = &up->m->o;
    struct engine_options eo = {.loop = o->loop,
                                .random = o->random,
                                .model_file = up->cfg->model_file,
                                .alias = up->cfg->alias,
                                .program = up->cfg->engine,
                                .cache_dir = o->config->cache_dir,
                                .data_dir = o->config->data_dir,
                                .self = o->self,
                                .slots = up->cfg->concurrency,
                                .number = (unsigned)(up - up->m->upstreams),
                                .calibrate = o->config->calibrate,
                                .on_state = on_engine,
                                .user = up};
    up->engine = engine_new(&eo, err->text, sizeof err->text);
    err->exit_code = up->engine != NULL ? 0 : 66;
    return up->engine != NULL;
}

static bool same_ca(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The system's certificates cost megabytes and milliseconds: upstreams share them. */
static struct net_tls *tls_for(struct llm *m, const char *ca_file) {
    for (size_t i = 0; i < m->ntls; i++)
        if (same_ca(m->tls_ca[i], ca_file)) return m->tls[i];
    struct net_tls *t = net_tls_new(ca_file);
    if (t == NULL) return NULL;
    m->tls_ca[m->ntls] = ca_file;
    m->tls[m->ntls++] = t;
    return t;
}

static bool make_origin(struct upstream *up, struct config_error *err) {
    const struct config_upstream *cfg = up->cfg;
    struct net_origin_options o = {
        .host = cfg->host, .port = cfg->port, .max_idle = 1024, .idle_ms = 60000};
    if (up->engine != NULL) {
        o.host = NULL;
        o.unix_path = engine_socket(up->engine);
    } else if (cfg->tls && (o.tls = tls_for(up->m, cfg->ca_file)) == NULL) {
        return refuse(err, cfg->name, "the CA certificates cannot be read (ca_file)");
    }
    up->origin = net_origin_new(up->m->o.loop, &o);
    return up->origin != NULL || refuse(err, cfg->name, "out of memory");
}

#define MAX_HEAD_BYTES 16384U

static bool make_heads(struct upstream *up, struct config_error *err) {
    const struct config_upstream *cfg = up->cfg;
    const struct secret *key = up->engine != NULL ? engine_key(up->engine) : &cfg->key;
    buf_init(&up->path, MAX_HEAD_BYTES);
    buf_init(&up->whole_head, MAX_HEAD_BYTES);
    buf_init(&up->stream_head, MAX_HEAD_BYTES);
    up->secrets.host = slice_of(up->engine != NULL ? NULL : cfg->host);
    up->secrets.key = secret_is_set(key) ? secret_reveal(key) : SLICE_NONE;
    if (adapter_path(&up->path, cfg) && adapter_headers(&up->whole_head, cfg, key, false) &&
        adapter_headers(&up->stream_head, cfg, key, true))
        return true;
    return refuse(err, cfg->name, "its key, http_referer or x_title cannot stand in a header");
}

static bool make_upstream(struct llm *m, size_t i, struct config_error *err) {
    struct upstream *up = &m->upstreams[i];
    up->m = m;
    up->cfg = &m->o.config->upstreams[i];
    up->deadlines = (struct net_deadlines){up->cfg->connect_ms, up->cfg->first_byte_ms,
                                           up->cfg->idle_ms, up->cfg->total_ms};
    m->nupstreams = i + 1;
    if (up->cfg->kind == UPSTREAM_LOCAL && !make_engine(up, err)) return false;
    return (breaker_init(up) || refuse(err, up->cfg->name, "out of memory")) &&
           make_heads(up, err) && make_origin(up, err);
}

static void wipe(struct buf *b) {
    if (b->base != NULL) secret_wipe(b->base, b->cap);
    buf_free(b);
}

static void free_call(struct llm_call *c) {
    buf_free(&c->body);
    buf_free(&c->in);
    buf_free(&c->output);
    buf_free(&c->thoughts);
    buf_free(&c->events);
    buf_free(&c->raw_usage);
    buf_free(&c->message);
    free(c);
}

static void free_origins(struct llm *m) {
    for (size_t i = 0; i < m->nupstreams; i++) {
        breaker_free(&m->upstreams[i]);
        if (m->upstreams[i].origin != NULL) net_origin_free(m->upstreams[i].origin);
        m->upstreams[i].origin = NULL;
    }
}

static void free_all(struct llm *m) {
    free_origins(m);
    for (size_t i = 0; i < m->nupstreams; i++) {
        struct upstream *up = &m->upstreams[i];
        if (up->engine != NULL) engine_free(up->engine);
        wipe(&up->whole_head);
        wipe(&up->stream_head);
        buf_free(&up->path);
    }
    for (size_t i = 0; i < m->ntls; i++) net_tls_free(m->tls[i]);
    while (m->free != NULL) {
        struct llm_call *c = m->free;
        m->free = c->next;
        free_call(c);
    }
    net_defer_cancel(m->o.loop, &m->capacity);
    answer_free(&m->reader);
    upstream_sets_free(m);
    free(m->tls);
    free(m->tls_ca);
    free(m->upstreams);
    free(m);
}

struct llm *llm_new(const struct llm_options *o, struct config_error *err) {
    struct llm *m = calloc(1, sizeof *m);
    size_t n = o->config->nupstreams;
    bool ok = m != NULL;
    if (ok) {
        m->o = *o;
        m->capacity.run = capacity_changed;
        if (o->random != NULL) random_fill(o->random, &m->hints.seed, sizeof m->hints.seed);
        m->upstreams = calloc(n + 1, sizeof *m->upstreams);
        m->tls = calloc(n + 1, sizeof *m->tls);
        m->tls_ca = calloc(n + 1, sizeof *m->tls_ca);
        ok = answer_init(&m->reader) && upstream_sets_init(m, n) && m->upstreams != NULL &&
             m->tls != NULL && m->tls_ca != NULL;
    }
    if (!ok) *err = (struct config_error){78, "out of memory"};
    for (size_t i = 0; ok && i < n; i++) ok = make_upstream(m, i, err);
    if (ok) return m;
    if (m != NULL) free_all(m);
    return NULL;
}

void llm_start_engines(struct llm *m) {
    for (size_t i = 0; i < m->nupstreams; i++)
        if (m->upstreams[i].engine != NULL) engine_start(m->upstreams[i].engine);
}

/* --- ending */

static void finish_closing(struct net_timer *t) {
    struct llm *m = (struct llm *)(void *)((char *)t - offsetof(struct llm, closing));
    void (*on_closed)(void *user) = m->on_closed;
    void *user = m->closed_user;
    free_all(m);
    on_closed(user);
}

/* The TLS settings outlive the connections, which the loop closes at the end of its turn. */
static void engines_are_down(struct net_defer *d) {
    struct llm *m = (struct llm *)(void *)((char *)d - offsetof(struct llm, closed));
    free_origins(m);
    m->closing.fire = finish_closing;
    if (m->ntls > 0)
        net_timer_start(m->o.loop, &m->closing, 1);
    else
        finish_closing(&m->closing);
}

static void on_engine_stopped(void *user) {
    struct llm *m = ((struct upstream *)user)->m;
    if (--m->engines_running == 0) net_defer(m->o.loop, &m->closed);
}

void llm_close(struct llm *m, void (*on_closed)(void *user), void *user) {
    m->on_closed = on_closed;
    m->closed_user = user;
    m->closed.run = engines_are_down;
    m->o.on_capacity = NULL;
    net_defer_cancel(m->o.loop, &m->capacity);
    for (size_t i = 0; i < m->nupstreams; i++) m->engines_running += m->upstreams[i].engine != NULL;
    if (m->engines_running == 0) net_defer(m->o.loop, &m->closed);
    for (size_t i = 0; i < m->nupstreams; i++)
        if (m->upstreams[i].engine != NULL)
            engine_stop(m->upstreams[i].engine, on_engine_stopped, &m->upstreams[i]);
}
