/* What a poller has seen stays true: no step backwards over kills, no position that rises while one server runs, the same
 * result for ever (T14 of docs/reliability.md). */
#include "kill_books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLLERS 20U
#define MAX_IDS 4096U

enum rank { UNKNOWN, WAITING, RUNNING, ENDED };

/* What anybody has seen of a request. Whoever asks later must not see less. */
struct seen {
    char id[ID_BYTES];
    atomic_uint rank;
    atomic_ullong position; /* run << 32 | lowest shown in it */
    atomic_ullong result;   /* hash, 0: not yet */
};

static struct watch {
    struct killed server;
    struct findings *findings;
    struct seen seen[MAX_IDS];
    atomic_uint n; /* accepted */
    unsigned wanted;
    atomic_bool over;
    atomic_ulong polls;
    uint64_t seed;
    pthread_t pollers[POLLERS], submitter;
} w;

/* --- one look */

static enum rank rank_in(const char *body) {
    if (strstr(body, "\"status\":\"COMPLETED\"") != NULL) return ENDED;
    if (strstr(body, "\"status\":\"IN_PROGRESS\"") != NULL) return RUNNING;
    return strstr(body, "\"status\":\"IN_QUEUE\"") != NULL ? WAITING : UNKNOWN;
}

static void check_rank(struct seen *s, unsigned before, enum rank now) {
    static const char *const names[] = {"nothing", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"};
    if (now < before)
        found(w.findings, FOUND_BACK, "%s was %s and is %s", s->id, names[before], names[now]);
    for (unsigned r = atomic_load(&s->rank); r < now;)
        if (atomic_compare_exchange_weak(&s->rank, &r, now)) break;
}

static void check_position(struct seen *s, unsigned run, unsigned long long before,
                           const char *body) {
    const char *at = strstr(body, "\"queue_position\":");
    if (at == NULL) return;
    unsigned long long now = (unsigned long long)run << 32 | strtoul(at + 17, NULL, 10);
    if (before >> 32 == run && now > before)
        found(w.findings, FOUND_BACK, "%s: position %u after %u", s->id, (unsigned)now,
              (unsigned)before);
    for (unsigned long long p = atomic_load(&s->position); p >> 32 < run || now < p;)
        if (atomic_compare_exchange_weak(&s->position, &p, now)) break;
}

static void check_result(struct seen *s, const struct line *l) {
    unsigned long long none = 0, now = hash_of(l->body.p, l->body.len);
    if (l->status != 200 && l->status != 503)
        found(w.findings, FOUND_ANSWER, "the result of %s is %u: %s", s->id, l->status, l->body.p);
    if (!atomic_compare_exchange_strong(&s->result, &none, now) && none != now)
        found(w.findings, FOUND_BACK, "%s has another result than before: %s", s->id, l->body.p);
}

/* The port of a run; 0: it is down, or was started again meanwhile. */
static unsigned port_of(unsigned *run) {
    *run = atomic_load(&w.server.run);
    unsigned port = atomic_load(&w.server.port);
    return atomic_load(&w.server.run) == *run ? port : 0;
}

static bool look(struct line *l, struct seen *s) {
    unsigned run, port = port_of(&run), rank = atomic_load(&s->rank);
    unsigned long long position = atomic_load(&s->position);
    if (port == 0 || !line_about(l, port, "GET", s->id, "/status")) return false;
    atomic_fetch_add(&w.polls, 1);
    if (l->status == 503) return true; /* it loads */
    if (l->status != 200 && l->status != 202) {
        found(w.findings, FOUND_ANSWER, "status of %s: %u %s", s->id, l->status, l->body.p);
        return true;
    }
    check_rank(s, rank, rank_in(l->body.p));
    check_position(s, run, position, l->body.p);
    if (l->status == 200 && line_about(l, port, "GET", s->id, "")) check_result(s, l);
    return true;
}

/* Ended ones are looked at now and then only, or there would be nothing else. */
static void *poll_all(void *state) {
    struct line l = LINE_CLOSED;
    uint64_t seed = (uint64_t)(uintptr_t)&l;
    while (!atomic_load(&w.over)) {
        unsigned n = atomic_load(&w.n);
        for (unsigned i = 0; i < n && !atomic_load(&w.over); i++) {
            if (atomic_load(&w.seen[i].rank) == ENDED && draw(&seed, n) > 8) continue;
            sleep_ms(look(&l, &w.seen[i]) ? 2 : 5);
        }
        sleep_ms(1);
    }
    line_close(&l);
    return NULL;
}

/* --- submits: dear and cheap ones in no order, so that what is shown first would rise later */

static bool submit(struct line *l, struct text *t, bool low) {
    char body[64];
    unsigned n = atomic_load(&w.n), run, port = port_of(&run);
    int len = snprintf(body, sizeof body, "{\"prompt\":\"" PROMPT "\",\"model\":\"test/x\"}", n);
    t->len = 0;
    text_printf(t,
                "POST " QUEUE " HTTP/1.1\r\n" HOST "X-Fal-Queue-Priority: %s\r\n"
                "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                low ? "low" : "normal", len, body);
    if (port == 0 || !line_ask(l, port, t->p, t->len) || l->status != 200) return false;
    if (!line_id(l, w.seen[n].id)) return false;
    atomic_store(&w.n, n + 1);
    return true;
}

static void *submit_all(void *state) {
    struct line l = LINE_CLOSED;
    struct text t = {0};
    while (!atomic_load(&w.over) && atomic_load(&w.n) < w.wanted) {
        bool burst = submit(&l, &t, draw(&w.seed, 2) == 0) && draw(&w.seed, 16) > 0;
        sleep_ms(burst ? 1 : 60);
    }
    line_close(&l);
    text_free(&t);
    return NULL;
}

/* --- */

struct plan {
    const char *program, *break_env;
    unsigned kills, ids, up_ms;
};

static char *narrow_config(void) {
    struct text t = {0};
    text_printf(&t,
                "upstreams:\n  x: { kind: openai, base_url: \"http://127.0.0.1:%u/delay/20/tokens/3"
                "/v1\", concurrency: 2 }\nroutes:\n  - { model: \"test/x\", to: [x] }\n"
                "max_status_polls_per_second_per_key: 1000000\n",
                mock.port);
    return t.p;
}

static void begin(const struct plan *p, struct findings *f, const char *config) {
    memset(&w, 0, sizeof w);
    findings_init(f);
    w.findings = f;
    w.seed = seed_of(p->break_env != NULL ? p->break_env : "status");
    w.wanted = p->ids;
    killed_init(&w.server, config);
    w.server.program = p->program;
    w.server.break_env = p->break_env;
    killed_start(&w.server);
    assert_int_equal(pthread_create(&w.submitter, NULL, submit_all, NULL), 0);
    for (size_t i = 0; i < POLLERS; i++)
        assert_int_equal(pthread_create(&w.pollers[i], NULL, poll_all, NULL), 0);
}

static void look_once_more(void) {
    struct line l = LINE_CLOSED;
    for (unsigned i = 0; i < atomic_load(&w.n); i++) {
        assert_true(look(&l, &w.seen[i]));
        if (atomic_load(&w.seen[i].rank) != ENDED)
            found(w.findings, FOUND_STUCK, "%s is not completed", w.seen[i].id);
    }
    line_close(&l);
}

static void run(const struct plan *p, struct findings *f) {
    char *config = narrow_config();
    uint64_t seed;
    begin(p, f, config);
    seed = w.seed;
    for (unsigned i = 0; i < p->kills; i++) {
        sleep_ms(50 + (unsigned)draw(&seed, p->up_ms));
        killed_kill(&w.server);
        killed_start(&w.server);
    }
    sleep_ms(p->up_ms);
    pthread_join(w.submitter, NULL);
    if (!killed_idle(&w.server)) found(f, FOUND_STUCK, "not idle 60 s after the last start");
    atomic_store(&w.over, true);
    for (size_t i = 0; i < POLLERS; i++) pthread_join(w.pollers[i], NULL);
    look_once_more();
    killed_stop(&w.server);
    killed_start(&w.server);
    look_once_more();
    killed_stop(&w.server);
    killed_free(&w.server);
    print_message("# T14: %u ids, %u pollers, %lu polls, %u kills: %u steps backwards\n",
                  atomic_load(&w.n), POLLERS, atomic_load(&w.polls), p->kills,
                  f->count[FOUND_BACK]);
    free(config);
}

static void T14_what_was_seen_stays_true(void **state) {
    const struct plan p = {.program = anyllm_path,
                           .kills = long_or(100, 12),
                           .ids = long_or(2000, 400),
                           .up_ms = long_or(1000, 700)};
    struct findings f;
    run(&p, &f);
    findings_expect_none(&f);
}

static void positions_that_rise_are_found(void **state) {
    const struct plan p = {.program = breakable_path,
                           .break_env = "BREAK=position-rises",
                           .kills = 1,
                           .ids = 120,
                           .up_ms = 500};
    struct findings f;
    run(&p, &f);
    if (f.count[FOUND_BACK] == 0) fail_msg("the planted fault was not found");
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T14_what_was_seen_stays_true),
        cmocka_unit_test(positions_that_rise_are_found),
    };
    return kill_main(argc, argv, "kill_status", tests, sizeof tests / sizeof *tests);
}
