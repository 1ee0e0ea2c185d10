/* Random walks over everything that can happen, with the invariants checked after each step. A seed repeats a walk:
 * test_queue_walk SEED [STEPS]. Also the order's own walk against a plain array. */
#include "queue/world.h"

#include "queue/index.h"

#include <stdio.h>
#include <stdlib.h>

struct known {
    char id[STORE_ID_BYTES];
    struct walk *walk;
    struct queue_watch *watch;
    unsigned seat;            /* where it is watched */
    bool saw_end;             /* its watch was told after the end was durable */
    uint64_t position[SEATS]; /* lowest shown there */
    enum store_state state;
    bool cancelled; /* a cancel was answered with CANCELLATION_REQUESTED */
};

struct walk {
    struct world *w;
    struct known known[MAX_ROWS];
    size_t nknown;
    uint64_t pending[4096]; /* calls not yet looked at */
    enum { SUBMITTED, STATUS, RESULT, CANCELLED } what[4096];
    unsigned seat[4096]; /* who was asked */
    struct {
        enum store_state state;
        uint64_t position;
    } known_as[4096]; /* how it stood to callers of this server then */
    size_t npending;
    size_t late; /* how many ended as request_timeout */
    bool crashes, failures;
    unsigned servers;
    const char *asked;
};

/* --- watches */

static void changed(void *user) {
    struct known *n = user;
    n->saw_end = n->saw_end || row_of(n->walk->w, n->id)->state == STORE_COMPLETED;
    if (draw(n->walk->w, 20) != 0) return;
    queue_unwatch(n->walk->w->queue, n->watch); /* leaves and comes back */
    n->watch = queue_watch(n->walk->w->queue, n->id, changed, n);
}

/* Of the present server. */
static void watch_all(struct walk *k) {
    for (size_t n = 0; n < k->nknown; n++)
        if (k->known[n].seat == k->w->seat)
            k->known[n].watch = queue_watch(k->w->queue, k->known[n].id, changed, &k->known[n]);
}

static void unwatch_all(struct walk *k) {
    for (size_t n = 0; n < k->nknown; n++) {
        if (k->known[n].seat != k->w->seat) continue;
        queue_unwatch(k->w->queue, k->known[n].watch);
        k->known[n].watch = NULL;
    }
}

/* --- what was answered */

static struct known *find(struct walk *k, const char *id) {
    for (size_t n = 0; n < k->nknown; n++)
        if (strcmp(k->known[n].id, id) == 0) return &k->known[n];
    return NULL;
}

static void note(struct walk *k, uint64_t call, int what) {
    assert_true(k->npending < 4096);
    struct known *n = what == STATUS ? find(k, k->asked) : NULL;
    k->pending[k->npending] = call;
    k->seat[k->npending] = k->w->seat;
    k->known_as[k->npending].state = n != NULL ? n->state : STORE_IN_QUEUE;
    k->known_as[k->npending].position = n != NULL ? n->position[k->w->seat] : UINT64_MAX;
    k->what[k->npending++] = what;
}

static void look_at_submit(struct walk *k, const struct answer *a) {
    if (a->code != QUEUE_OK) return;
    struct known *n = &k->known[k->nknown++];
    memset(n, 0, sizeof *n);
    memcpy(n->id, a->id, sizeof n->id);
    n->seat = k->w->seat;
    for (unsigned s = 0; s < SEATS; s++) n->position[s] = UINT64_MAX;
    n->position[n->seat] = a->position;
    assert_non_null(row_of(k->w, n->id)); /* answered only when durable */
    n->walk = k;
    n->watch = queue_watch(k->w->queue, n->id, changed, n);
}

/* Only what was not to be stored is not found again, and not before its time. */
static bool forgotten(struct walk *k, const struct answer *a) {
    if (a->code != QUEUE_NOT_FOUND) return false;
    const struct fake_row *row = row_of(k->w, a->id);
    assert_true(row->wishes.no_store && row->state == STORE_COMPLETED);
    assert_true(row->completed_ms + QUEUE_SHORT_KEEP_MS <= k->w->wall_ms);
    return true;
}

/* Of several servers one may stand still with an answer: what was known when it was asked counts. */
static void look_at_status(struct walk *k, const struct answer *a, size_t call) {
    assert_int_equal(a->code, QUEUE_OK);
    struct known *n = find(k, a->id);
    assert_true(a->state >= (k->servers > 1 ? k->known_as[call].state : n->state));
    if (a->state > n->state) n->state = a->state;
    if (a->state == STORE_COMPLETED) assert_int_equal(row_of(k->w, a->id)->state, STORE_COMPLETED);
    if (a->state != STORE_IN_QUEUE) return;
    uint64_t *lowest = &n->position[k->w->seat];
    assert_true(a->position <= (k->servers > 1 ? k->known_as[call].position : *lowest));
    if (a->position < *lowest) *lowest = a->position;
}

static void look_at(struct walk *k, const struct answer *a, int what, size_t call) {
    if (what != SUBMITTED && forgotten(k, a)) return;
    if (what == SUBMITTED) look_at_submit(k, a);
    if (what == STATUS) look_at_status(k, a, call);
    if (what == RESULT && a->code == QUEUE_OK)
        assert_int_equal(row_of(k->w, a->id)->state, STORE_COMPLETED);
    if (what == CANCELLED && a->code == QUEUE_ALREADY_COMPLETED)
        assert_int_equal(row_of(k->w, a->id)->state, STORE_COMPLETED);
    if (what == CANCELLED && a->code == QUEUE_OK) find(k, a->id)->cancelled = true;
    if (what == CANCELLED && k->servers == 1)
        assert_true(a->code == QUEUE_OK || a->code == QUEUE_ALREADY_COMPLETED);
}

static void look_at_answers(struct walk *k) {
    size_t left = 0;
    unsigned seat = k->w->seat;
    for (size_t n = 0; n < k->npending; n++) {
        const struct answer *a = &k->w->answers[k->pending[n]];
        if (a->times == 0) {
            k->pending[left] = k->pending[n];
            k->seat[left] = k->seat[n];
            k->known_as[left] = k->known_as[n];
            k->what[left++] = k->what[n];
        } else {
            world_sit(k->w, k->seat[n]);
            look_at(k, a, k->what[n], n);
        }
    }
    k->npending = left;
    world_sit(k->w, seat);
}

static const char *any_id(struct walk *k) {
    size_t recent = k->nknown < 40 ? k->nknown : 40;
    k->asked = k->known[k->nknown - 1 - draw(k->w, recent)].id;
    return k->asked;
}

static void end_any_run(struct walk *k) {
    struct world *w = k->w;
    if (w->nruns == 0) return;
    struct run_seen *r = &w->runs[draw(w, w->nruns)];
    struct queue_outcome o = draw(w, 3) == 0 ? retryable((unsigned)draw(w, 5)) : good();
    o.failure = (enum queue_failure)draw(w, QUEUE_FAILURE_COUNT);
    if (draw(w, 10) == 0) o.retry_after_ms = (int64_t)draw(w, 2000);
    end_run(w, r->run, &o);
}

static void forget_calls(struct walk *k) {
    size_t left = 0;
    for (size_t n = 0; n < k->npending; n++) {
        if (k->seat[n] == k->w->seat) continue;
        k->pending[left] = k->pending[n];
        k->seat[left] = k->seat[n];
        k->known_as[left] = k->known_as[n];
        k->what[left++] = k->what[n];
    }
    k->npending = left;
}

static void crash(struct walk *k) {
    struct world *w = k->w;
    unwatch_all(k);
    world_crash(w);
    forget_calls(k); /* nobody waits for those any more */
    w->fail_next = w->fail_percent = 0;
    w->seats[w->seat].stopped = false;
    for (size_t n = 0; n < k->nknown; n++)
        k->known[n].position[w->seat] = UINT64_MAX; /* not kept on disk */
    world_start(w);
    for (unsigned steps = 0; !w->ready; steps++) {
        queue_tick(w->queue);
        store_step(w);
        assert_true(steps < 100000);
    }
    assert_true(w->ready_ok);
    if (draw(w, 3) > 0) settle_world(w);
    watch_all(k);
}

static void stop_or_go_on(struct walk *k) {
    struct world *w = k->w;
    struct seat *s = &w->seats[w->seat];
    s->stopped = !s->stopped;
    if (s->stopped && draw(w, 3) == 0) advance(w, draw(w, 60000));
}

/* Owners with and without a limit, all wishes. */
static void submit_any(struct walk *k) {
    struct world *w = k->w;
    struct queue_submit in = plain();
    unsigned owner = (unsigned)draw(w, 3);
    in.owner = owner == 2 ? SLICE("app1") : slice_of(w->limited[owner]);
    in.owner_concurrency = owner == 2 ? 0 : w->limits[owner];
    in.owner_queue_length = draw(w, 4) == 0 ? 20 : 0;
    in.priority = (int)draw(w, 2);
    in.no_retry = draw(w, 10) == 0;
    in.no_store = draw(w, 4) == 0;
    in.no_fallback = draw(w, 2) == 0;
    if (draw(w, 3) == 0) in.start_timeout_ms = 1 + draw(w, 20000);
    if (draw(w, 3) == 0) in.hint = SLICE("warm");
    if (draw(w, 4) == 0) in.retries_timeout = (int)draw(w, 3);
    note(k, submit_in(w, &in), SUBMITTED);
}

static void step(struct walk *k) {
    struct world *w = k->w;
    if (k->servers > 1) world_sit(w, (unsigned)draw(w, k->servers));
    unsigned dice = (unsigned)draw(w, 100);
    if (k->servers > 1 && draw(w, w->seats[w->seat].stopped ? 400 : 200) == 0) stop_or_go_on(k);
    for (uint64_t n = k->servers > 1 ? draw(w, 4) : 0; n > 0; n--)
        store_step(w); /* beats come through */
    if (w->seats[w->seat].stopped) return;
    if (dice < 12 && w->nrows + 10 < MAX_ROWS && w->calls + 10 < MAX_CALLS) {
        submit_any(k);
    } else if (dice < 30 && k->nknown > 0) {
        note(k, status(w, any_id(k), draw(w, 2)), STATUS);
    } else if (dice < 33 && k->nknown > 0) {
        note(k, result(w, any_id(k)), RESULT);
    } else if (dice < 37 && k->nknown > 0) {
        note(k, cancel(w, any_id(k)), CANCELLED);
    } else if (dice < 55) {
        store_step(w);
    } else if (dice < 75) {
        queue_tick(w->queue);
    } else if (dice < 87) {
        end_any_run(k);
    } else if (dice < 92) {
        advance(w, draw(w, 400) == 0 ? QUEUE_SHORT_KEEP_MS : draw(w, 3000));
    } else if (dice < 94 && w->nruns > 0) {
        queue_run_log(w->queue, w->runs[draw(w, w->nruns)].run, "INFO", SLICE("a line"));
    } else if (dice < 95) {
        w->capacity = draw(w, 6);
        w->slow = draw(w, 3) == 0;
        queue_wake(w->queue);
    } else if (dice < 97 && k->failures) {
        w->fail_percent = draw(w, 2) ? 0 : (unsigned)draw(w, 100);
        w->fail_with = draw(w, 2) ? STORE_UNAVAILABLE : STORE_MEMORY;
    } else if (dice < 98 && k->failures) {
        queue_store_health(w->queue, draw(w, 4) > 0, "a fault");
    } else if (dice == 99 && k->crashes && draw(w, 3) == 0) {
        crash(k);
    }
}

static void check_end(struct walk *k, const struct known *n) {
    const struct fake_row *row = row_of(k->w, n->id);
    assert_int_equal(row->state, STORE_COMPLETED);
    assert_true(n->saw_end);
    if (n->cancelled && !(k->crashes && k->failures) && k->servers == 1)
        assert_string_equal(row->error_type, "client_cancelled");
    assert_int_equal(row->forget_ms != 0, row->wishes.no_store);
    assert_int_equal(row->input[0] == '\0', row->wishes.no_store);
    if (strcmp(row->error_type, "request_timeout") != 0) return;
    k->late++;
    assert_true(row->wishes.start_timeout_ms > 0);
    assert_true(row->completed_ms >= row->created_ms + row->wishes.start_timeout_ms);
}

/* How many are left here. */
static size_t end_all_runs(struct world *w, unsigned seat) {
    struct queue_outcome o = good();
    world_sit(w, seat);
    while (w->nruns > 0) end_run(w, w->runs[0].run, &o);
    struct queue_stats s = stats_of(w);
    return s.waiting + s.running;
}

/* Everything accepted ends, and as it was promised. */
static void bring_to_its_end(struct walk *k) {
    struct world *w = k->w;
    w->fail_percent = w->fail_next = 0;
    w->fail_reads = false;
    for (unsigned s = 0; s < k->servers; s++) {
        world_sit(w, s);
        w->seats[s].stopped = false;
        w->capacity = 5;
        queue_store_health(w->queue, true, "");
    }
    for (unsigned n = 0; n < 100000; n++) {
        size_t left = 0;
        pass(w, 200);
        for (unsigned s = 0; s < k->servers; s++) left += end_all_runs(w, s);
        if (n % 64 == 63 && left == 0) break;
    }
    settle_world(w);
    look_at_answers(k);
    assert_int_equal(k->npending, 0);
    settle_world(w);                            /* the watches just made */
    if (k->servers > 1) pass(w, QUEUE_SCAN_MS); /* who watches elsewhere is told at the next look */
    for (size_t n = 0; n < k->nknown; n++) check_end(k, &k->known[n]);
    for (unsigned s = 0; s < k->servers; s++) world_sit(w, s), unwatch_all(k);
    pass(w, QUEUE_SHORT_KEEP_MS);
    pass(w, QUEUE_SWEEP_MS);
    for (size_t n = 0; n < w->nrows; n++)
        assert_int_equal(w->rows[n].swept, w->rows[n].wishes.no_store);
    for (unsigned n = 0; n < 3; n++)
        assert_int_equal(queue_owner_running(w->queue, slice_of(n < 2 ? w->limited[n] : "app1")),
                         0);
}

static unsigned burials, losses;

static void walk_with(uint64_t seed, unsigned steps, bool crashes, bool failures,
                      unsigned servers) {
    struct walk *k = calloc(1, sizeof *k);
    k->w = servers > 1 ? world_together(seed, servers) : world_new(seed);
    k->servers = servers;
    k->w->piece = seed % 3 == 0 ? 0 : 5 + (unsigned)(seed % 17);
    k->w->fail_reads = failures && seed % 2 == 0 && servers > 1;
    k->w->limited[0] = "app2";
    k->w->limits[0] = 1;
    k->w->limited[1] = "app3";
    k->w->limits[1] = 2;
    k->crashes = crashes;
    k->failures = failures;
    for (unsigned n = 0; n < steps; n++) {
        step(k);
        look_at_answers(k);
        if (n % 16 == 0) check_world(k->w);
    }
    bring_to_its_end(k);
    check_world(k->w);
    if (steps >= 10000) assert_true(k->nknown > 100 && k->late > 0); /* not an idle walk */
    burials += k->w->burials;
    losses += k->w->losses;
    world_free(k->w);
    free(k);
}

static void walk(uint64_t seed, unsigned steps, bool crashes, bool failures) {
    walk_with(seed, steps, crashes, failures, 1);
}

static unsigned walk_steps = 10000;
static uint64_t first_seed = 1;

static void a_random_walk_keeps_every_rule(void **state) {
    walk(first_seed, walk_steps, false, false);
}

static void a_random_walk_with_a_failing_store_keeps_every_rule(void **state) {
    walk(first_seed, walk_steps, false, true);
}

static void a_random_walk_with_crashes_keeps_every_rule(void **state) {
    walk(first_seed, walk_steps, true, false);
}

static void a_random_walk_with_crashes_and_failures_keeps_every_rule(void **state) {
    walk(first_seed, walk_steps, true, true);
}

static void many_short_walks_keep_every_rule(void **state) {
    for (uint64_t seed = 100; seed < 600; seed++) walk(first_seed + seed, 600, seed & 1, seed & 2);
}

static void walks_of_several_servers_keep_every_rule(void **state) {
    for (unsigned k = 0; k < 4; k++)
        walk_with(first_seed + k, walk_steps, k & 1, k & 2, 2 + (k & 1));
    for (uint64_t seed = 1000; seed < 1300; seed++)
        walk_with(first_seed + seed, 800, seed & 1, seed & 2, 2 + (unsigned)(seed % 3));
    printf("%u burials, %u times of one that lived\n", burials, losses);
    assert_true(burials > 20 && losses > 10);
}

/* --- the order */

static void the_order_agrees_with_a_plain_array(void **state) {
    enum { N = 400 };
    static struct item items[N];
    bool in[N] = {false};
    struct order o = ORDER(in_order, 12345, false);
    uint64_t x = 88172645463325252ULL;
    for (unsigned n = 0; n < N; n++) {
        items[n].seq = n;
        items[n].priority = n % 3 == 0;
    }
    for (unsigned turn = 0; turn < 20000; turn++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned n = (unsigned)(x % N), rank = 0, first = N;
        if (in[n])
            order_remove(&o, &items[n]);
        else
            order_add(&o, &items[n]);
        in[n] = !in[n];
        n = (unsigned)(x >> 32) % N;
#define KEY(i) ((unsigned)items[i].priority << 16 | (unsigned)items[i].seq)
        for (unsigned i = 0; i < N; i++) {
            if (in[i] && KEY(i) < KEY(n)) rank++;
            if (in[i] && (first == N || KEY(i) < KEY(first))) first = i;
        }
        assert_int_equal(order_rank(&o, place_by_age(&items[n])), rank);
        if (in[n]) assert_ptr_equal(order_at(&o, rank), &items[n]);
        assert_ptr_equal(order_find(&o, place_by_age(&items[n])), in[n] ? &items[n] : NULL);
        assert_null(order_at(&o, order_count(&o)));
        assert_ptr_equal(order_first(&o), first == N ? NULL : &items[first]);
    }
}

static void a_hundred_thousand_are_found_and_placed(void **state) {
    enum { N = 100000 };
    struct item **items = calloc(N, sizeof *items);
    struct table t;
    struct order o = ORDER(in_order, 1, false);
    assert_true(table_init(&t));
    for (unsigned n = 0; n < N; n++) {
        char id[STORE_ID_BYTES];
        snprintf(id, sizeof id, "%08x-0000-4000-8000-000000000000", n * 2654435761U);
        items[n] = item_new(id, SLICE("fal-ai/any-llm"));
        items[n]->seq = n;
        table_add(&t, items[n]);
        order_add(&o, items[n]);
    }
    for (unsigned n = 0; n < N; n += 37) {
        assert_int_equal(order_rank(&o, place_by_age(items[n])), n);
        assert_ptr_equal(table_find(&t, slice_of(items[n]->id)), items[n]);
    }
    for (unsigned n = 0; n < N; n++) {
        assert_ptr_equal(order_first(&o), items[n]);
        order_remove(&o, items[n]);
        table_remove(&t, items[n]);
        free(items[n]);
    }
    assert_int_equal(t.count, 0);
    table_free(&t, NULL);
    free(items);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_walk_keeps_every_rule),
        cmocka_unit_test(a_random_walk_with_a_failing_store_keeps_every_rule),
        cmocka_unit_test(a_random_walk_with_crashes_keeps_every_rule),
        cmocka_unit_test(a_random_walk_with_crashes_and_failures_keeps_every_rule),
        cmocka_unit_test(many_short_walks_keep_every_rule),
        cmocka_unit_test(walks_of_several_servers_keep_every_rule),
        cmocka_unit_test(the_order_agrees_with_a_plain_array),
        cmocka_unit_test(a_hundred_thousand_are_found_and_placed),
    };
    if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2) walk_steps = (unsigned)strtoul(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
