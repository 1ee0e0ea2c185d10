/* Processes that come, stand still, lose their store and die; each start is a boot with a queue of its own. */
#include "sim/rules.h"

#define YEAR_MS 31536000000LL
#define BORN_MS (56 * YEAR_MS) /* the wall clock when the world begins */

/* --- clocks */

uint64_t server_mono(const struct server *v) {
    uint64_t gone = v->sim->now_ms - v->mono_since_ms;
    return v->mono_base_ms + gone + (uint64_t)((int64_t)gone * v->drift_ppm / 1000000);
}

/* The wall clock is set right by others: it does not drift for long. */
int64_t server_wall(const struct server *v) {
    return v->wall_base_ms + (int64_t)v->sim->now_ms;
}

static uint64_t mono(void *server) {
    return server_mono(server);
}

static int64_t wall(void *server) {
    return server_wall(server);
}

/* When so much has passed on its clock. */
static uint64_t true_in(const struct server *v, uint64_t ms) {
    if (ms == UINT64_MAX) return NEVER;
    return v->sim->now_ms + ms - (uint64_t)((int64_t)ms * v->drift_ppm / 1000000) + (ms > 0);
}

void server_jump(struct server *v) {
    struct sim *s = v->sim;
    static const int64_t by_ms[] = {3600000, -3600000, -56 * YEAR_MS, 12 * YEAR_MS, 90000, -90000};
    unsigned which = (unsigned)draw(s, 8);
    int64_t was = v->wall_base_ms;
    v->wall_base_ms = which < 6 ? was + by_ms[which] : BORN_MS; /* … or right again */
    if (v->wall_base_ms < -(int64_t)s->now_ms) v->wall_base_ms = -(int64_t)s->now_ms;
    if (v->wall_base_ms > BORN_MS + 13 * YEAR_MS) v->wall_base_ms = BORN_MS;
    s->wall_jumped = true;
    trace(s, "%s: the wall clock jumps by %lld s", v->name,
          (long long)((v->wall_base_ms - was) / 1000));
}

static void fill(void *server, void *out, size_t bytes) {
    struct server *v = server;
    unsigned char *at = out;
    for (size_t k = 0; k < bytes; k += 8) {
        uint64_t u = draw_u64(v->sim);
        memcpy(at + k, &u, bytes - k < 8 ? bytes - k : 8);
    }
}

void server_init(struct sim *s, unsigned number) {
    struct server *v = &s->servers[number];
    v->sim = s;
    v->number = number;
    v->store.backend = &ops_backend;
    v->clock = (struct clock){mono, wall, v};
    v->random = (struct random){fill, v};
    v->mono_base_ms = 1 + draw(s, 1000000);
    v->drift_ppm = (int64_t)draw(s, 20001) - 10000;
    v->wall_base_ms = BORN_MS + (int64_t)draw(s, 400) - 200;
    v->tick_ms = v->outbox_ms = v->well_ms = NEVER;
    for (unsigned k = 0; k < 2; k++) {
        v->ops[k].given_tail = &v->ops[k].given;
        v->ops[k].applied_tail = &v->ops[k].applied;
    }
    for (unsigned k = 0; k < POOLS; k++) v->room[k] = 1 + draw(s, 4);
    snprintf(v->name, sizeof v->name, "n%u", number);
}

/* --- work */

uint64_t server_later(const struct server *v, uint64_t due_ms) {
    return due_ms != NEVER && due_ms < v->frozen_until_ms ? v->frozen_until_ms : due_ms;
}

void server_soon(struct server *v) {
    uint64_t at = v->sim->now_ms + draw(v->sim, 3);
    if (at < v->tick_ms) v->tick_ms = at;
}

void server_tick(struct server *v) {
    v->tick_ms = NEVER;
    uint64_t queue_ms = true_in(v, queue_tick(v->queue));
    uint64_t outbox_ms = true_in(v, outbox_tick(v->outbox));
    uint64_t next = queue_ms < outbox_ms ? queue_ms : outbox_ms;
    if (next < v->tick_ms) v->tick_ms = next;
}

bool server_hears(const struct server *v) {
    return v->life == UP || v->life == DRAINING;
}

/* --- boots */

static void ready(void *server, bool ok) {
    struct server *v = server;
    trace(v->sim, "%s: %s", v->name, ok ? "ready" : "its start has failed");
    RULE(v->sim, ONE_ANSWER, v->life == STARTING, "%s is ready twice", v->name);
    v->failed = !ok;
    if (!ok) return;
    v->life = UP;
    hooks_load(v);
}

/* What a caller was told of a cancel that only this memory knew is over with it. */
static void forget_wishes(struct server *v) {
    for (size_t k = 0; k < v->sim->nrows; k++)
        if (v->sim->rows[k]->cancel_at == v->number + 1) v->sim->rows[k]->cancel_at = 0;
}

static void lost(void *server, size_t runs) {
    struct server *v = server;
    trace(v->sim, "%s: was buried; %zu runs are given up", v->name, runs);
    v->sim->totals.lost_leases += runs;
    rules_given_up(v);
    v->lives++;
    forget_wishes(v);
}

void server_start(struct server *v) {
    struct sim *s = v->sim;
    const struct habits *h = &s->habits;
    if (v->new_machine) {
        v->mono_since_ms = s->now_ms;
        v->mono_base_ms = draw(s, 20000);
        v->new_machine = false;
    }
    v->boots++;
    v->lives++;
    v->life = STARTING;
    v->failed = v->idle = v->unwritten = false;
    v->tick_ms = v->start_ms = v->abandon_ms = NEVER;
    v->frozen_until_ms = v->cut_until_ms = v->tired_ms = 0;
    snprintf(v->boot, sizeof v->boot, "%s-boot-%u", v->name, v->boots);
    struct queue_options o = {.clock = &v->clock,
                              .random = &v->random,
                              .store = &v->store,
                              .runner = upstream_runner(v),
                              .node = v->name,
                              .boot = v->boot,
                              .alone = h->alone,
                              .lease_ms = h->lease_ms,
                              .heartbeat_ms = h->lease_ms / 3,
                              .scan_ms = h->lease_ms / 6,
                              .retention_age_ms = h->retention_ms,
                              .on_lost = lost,
                              .lost_user = v,
                              .on_webhook = hooks_wanted,
                              .webhook_user = v};
    trace(s, "%s: boot %u", v->name, v->boots);
    v->outbox = hooks_new(v);
    v->queue = need(queue_new(&o));
    queue_start(v->queue, ready, v);
    server_soon(v);
}

/* It goes on, or is no more. */
void server_thaw(struct server *v) {
    if (v->frozen_until_ms <= v->sim->now_ms) return;
    v->stood_ms -= v->frozen_until_ms - v->sim->now_ms;
    v->frozen_until_ms = v->sim->now_ms;
}

static void over(struct server *v, uint64_t until_ms) {
    rules_boot_over(v);
    callers_unwatch(v);
    outbox_free(v->outbox);
    queue_free(v->queue);
    v->outbox = NULL;
    v->queue = NULL;
    v->life = DOWN;
    v->tick_ms = NEVER;
    v->start_ms = v->sim->now_ms + until_ms;
    server_thaw(v);
    forget_wishes(v);
}

void server_crash(struct server *v, bool machine) {
    struct sim *s = v->sim;
    trace(s, "%s: %s", v->name, machine ? "its machine dies" : "is killed");
    s->totals.crashes++;
    ops_drop(v);
    upstream_drop(v);
    callers_hang_up(v);
    uint64_t until_ms = s->calm || chance(s, 60) ? draw(s, 200) : draw(s, 3 * s->habits.lease_ms);
    over(v, until_ms);
    v->new_machine = machine;
}

static void idle(void *server) {
    struct server *v = server;
    RULE(v->sim, ONE_ANSWER, v->life == DRAINING && !v->idle, "%s is idle twice", v->name);
    v->idle = true;
}

void server_drain(struct server *v) {
    trace(v->sim, "%s: drains", v->name);
    v->life = DRAINING;
    v->abandon_ms = v->sim->now_ms + draw_skewed(v->sim, 40000);
    outbox_stop(v->outbox);
    queue_drain(v->queue, idle, v);
    server_soon(v);
}

void server_abandon(struct server *v) {
    trace(v->sim, "%s: abandons what runs", v->name);
    v->abandon_ms = NEVER;
    queue_abandon(v->queue);
    server_soon(v);
}

void server_close(struct server *v) {
    trace(v->sim, "%s: ends", v->name);
    ops_finish(v);
    upstream_drop(v);
    callers_hang_up(v);
    over(v, draw(v->sim, 2000));
}

/* --- the store of one server cannot write for a while */

void server_tire(struct server *v) {
    v->tired_ms = v->sim->now_ms + 1 + draw_skewed(v->sim, 2 * v->sim->habits.lease_ms);
    trace(v->sim, "%s: its store cannot write", v->name);
    queue_store_health(v->queue, false, "full");
    server_soon(v);
}

void server_rested(struct server *v) {
    v->tired_ms = 0;
    trace(v->sim, "%s: its store can write", v->name);
    queue_store_health(v->queue, true, "");
    server_soon(v);
}
