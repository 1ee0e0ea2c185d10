/* What stands still (T4), dies of its work (T3, T12), is told to end under load (Q14), is locked out of its database (Q10),
 * and a cancel that meets the completion (Q4). */
#include "kill_books.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct killed server;

/* --- small things */

static char *config_of(const char *upstreams, const char *more) {
    struct text t = {0};
    text_puts(&t, "upstreams:\n");
    for (const char *at = upstreams; *at != '\0'; at += strcspn(at, " "), at += *at == ' ') {
        char name[32], path[64];
        unsigned most;
        assert_int_equal(sscanf(at, "%31[^=]=%63[^,],%u", name, path, &most), 3);
        text_printf(&t,
                    "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u%s/v1\", "
                    "concurrency: %u }\n",
                    name, mock.port, path, most);
    }
    text_puts(&t, "routes:\n");
    for (const char *at = upstreams; *at != '\0'; at += strcspn(at, " "), at += *at == ' ') {
        char name[32];
        assert_int_equal(sscanf(at, "%31[^=]", name), 1);
        text_printf(&t, "  - { model: \"test/%s\", to: [%s] }\n", name, name);
    }
    text_puts(&t, more);
    return t.p;
}

static void begin(char *config, const char *lease) {
    mock_reset(&mock);
    killed_init(&server, config);
    if (lease != NULL) {
        server.args[0] = "--lease";
        server.args[1] = lease;
    }
    killed_start(&server);
}

static void end(char *config) {
    killed_stop(&server);
    killed_free(&server);
    free(config);
}

static bool post_prompt(struct line *l, unsigned n, const char *model, const char *headers,
                        char id[ID_BYTES]) {
    char text[512], body[128];
    int len = snprintf(body, sizeof body, "{\"prompt\":\"" PROMPT "\",\"model\":\"test/%s\"}", n,
                       model);
    len = snprintf(text, sizeof text,
                   "POST " QUEUE " HTTP/1.1\r\n" HOST "%sContent-Type: application/json\r\n"
                   "Content-Length: %d\r\n\r\n%s",
                   headers, len, body);
    return line_ask(l, atomic_load(&server.port), text, (size_t)len) && l->status == 200 &&
           line_id(l, id);
}

static void submit(struct line *l, unsigned n, const char *model, char id[ID_BYTES]) {
    if (!post_prompt(l, n, model, "", id)) fail_msg("submit: %u %s", l->status, l->body.p);
}

static void wait_open(unsigned long want) {
    for (uint64_t end = now_ms() + PATIENCE_MS; mock_count(&mock, "open") < want; sleep_ms(2))
        if (now_ms() > end) fail_msg("%lu calls do not come", want);
}

static unsigned status_of(struct line *l, const char *id) {
    assert_true(line_about(l, atomic_load(&server.port), "GET", id, ""));
    return l->status;
}

static void wait_idle(void) {
    if (!killed_idle(&server)) fail_msg("not idle after a minute");
}

/* --- T4: one server alone. Nobody may take over, so nothing may be lost or doubled. */

#define STILL 12U
#define PAST_LEASE_MS 3000U /* --lease 2 */

static void expect_each_once(struct line *l, char ids[][ID_BYTES], unsigned n) {
    struct books *b = calloc(1, sizeof *b);
    for (unsigned i = 0; i < n; i++) assert_int_equal(status_of(l, ids[i]), 200);
    books_read_calls(b, &mock);
    killed_stop(&server);
    books_read(b, server.data);
    for (unsigned i = 0; i < n; i++) {
        const struct book_row *r = books_find(b, ids[i]);
        assert_non_null(r);
        assert_int_equal(r->attempt, 1);
        assert_int_equal(r->charges, 1);
        assert_int_equal(b->calls[r->n], 1);
        assert_true(r->repeats);
    }
    books_free(b);
    killed_start(&server);
}

static void stand_still(pid_t pid) {
    assert_int_equal(kill(pid, SIGSTOP), 0);
    sleep_ms(PAST_LEASE_MS);
    assert_int_equal(kill(pid, SIGCONT), 0);
}

static void T4_past_their_lease(bool of_server) {
    char *config = config_of("slow=/delay/500/tokens/3,6", ""), ids[STILL][ID_BYTES];
    struct line l = LINE_CLOSED;
    begin(config, "2");
    for (unsigned i = 0; i < STILL; i++) submit(&l, i, "slow", ids[i]);
    wait_open(6);
    stand_still(of_server ? server.server.pid : mock.pid);
    wait_idle();
    expect_each_once(&l, ids, STILL);
    print_message(
        "# T4: %s stood still for %u ms with a lease of 2 s: %u of %u requests ended once\n",
        of_server ? "the server" : "the upstream", PAST_LEASE_MS, STILL, STILL);
    line_close(&l);
    end(config);
}

static void T4_an_upstream_still_past_the_lease_is_waited_for(void **state) {
    T4_past_their_lease(false);
}

static void T4_a_server_still_past_its_lease_goes_on(void **state) {
    T4_past_their_lease(true);
}

/* The upstream has taken the request and says nothing: the cancel ends its connection. */
static void T4_a_cancel_reaches_an_upstream_that_stands_still(void **state) {
    enum { ROUNDS = 20 };
    char *config = config_of("silent=/silent,64", ""), id[ID_BYTES];
    struct line l = LINE_CLOSED;
    unsigned ms[ROUNDS], slow = 0;
    begin(config, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        submit(&l, i, "silent", id);
        wait_open(1);
        uint64_t from = now_ms();
        assert_true(line_about(&l, atomic_load(&server.port), "PUT", id, "/cancel"));
        assert_int_equal(l.status, 202);
        while (mock_count(&mock, "aborted") <= i) assert_true(now_ms() < from + PATIENCE_MS);
        ms[i] = (unsigned)(now_ms() - from);
        slow += ms[i] > 100;
    }
    print_message("# T4: from the cancel to the upstream's socket: %s\n", spread(ms, ROUNDS));
    assert_true(slow < ROUNDS / 2); /* the machine may be busy, not us */
    wait_idle();
    line_close(&l);
    end(config);
}

/* --- T3, of one server */

static void T3_what_ran_is_taken_up_again_at_once(void **state) {
    char *config = config_of("slow=/delay/400/tokens/3,8", ""), ids[8][ID_BYTES];
    struct line l = LINE_CLOSED;
    begin(config, NULL); /* a lease of 30 s: it is not waited for */
    for (unsigned i = 0; i < 8; i++) submit(&l, i, "slow", ids[i]);
    wait_open(8);
    killed_kill(&server);
    uint64_t from = now_ms();
    killed_start(&server);
    while (mock_count(&mock, "calls") < 16) assert_true(now_ms() < from + PATIENCE_MS);
    print_message("# T3: 8 of 8 that ran run again %u ms after the restart\n",
                  (unsigned)(now_ms() - from));
    wait_idle();
    for (unsigned i = 0; i < 8; i++) assert_int_equal(status_of(&l, ids[i]), 200);
    line_close(&l);
    end(config);
}

/* --- T12 */

#define POISON 50U
#define ALL 100U

static unsigned calls_of(unsigned n) {
    char prompt[32];
    snprintf(prompt, sizeof prompt, PROMPT, n);
    yyjson_doc *doc = mock_stats(&mock);
    yyjson_val *calls = yyjson_obj_get(yyjson_doc_get_root(doc), "calls_by_prompt");
    unsigned k = (unsigned)yyjson_get_uint(yyjson_obj_get(calls, prompt));
    yyjson_doc_free(doc);
    return k;
}

/* It dies as soon as the poison runs. */
static void die_of_it(unsigned times) {
    for (unsigned k = 1; k <= times; k++) {
        for (uint64_t end = now_ms() + PATIENCE_MS; calls_of(POISON) < k; sleep_ms(1))
            if (now_ms() > end) fail_msg("the poison is not run for the %u. time", k);
        killed_kill(&server);
        killed_start(&server);
    }
}

static void T12_Q20_poison_ends_and_the_others_finish(void **state) {
    char *config = config_of("x=/delay/30/tokens/3,8 poison=/silent,8", ""), ids[ALL][ID_BYTES];
    struct line l = LINE_CLOSED;
    unsigned bystanders = 0;
    begin(config, NULL);
    for (unsigned i = 0; i < ALL; i++) submit(&l, i, i == POISON ? "poison" : "x", ids[i]);
    die_of_it(3);
    killed_wait_ready(&server);
    wait_idle();
    assert_int_equal(calls_of(POISON), 3);
    assert_int_equal(metric(server.server.port, "anyllm_queue_quarantined_total"), 1);
    assert_int_equal(status_of(&l, ids[POISON]), 503);
    assert_non_null(strstr(l.body.p, "runner_disconnected"));
    for (unsigned i = 0; i < ALL; i++) {
        if (i == POISON || status_of(&l, ids[i]) == 200) continue;
        bystanders++;
        print_message("# T12: request %u: %u %s\n", i, l.status, l.body.p);
    }
    print_message("# T12: three crashes by 1 of %u queued requests: it is quarantined, %u of the "
                  "others are not done\n",
                  ALL, bystanders);
    assert_int_equal(bystanders, 0);
    line_close(&l);
    end(config);
}

/* --- Q4 */

#define RACES 1000U
#define RACERS 4U

static struct race {
    char id[ID_BYTES];
    unsigned cancel, result; /* as answered */
    uint64_t body;
} races[RACES];
static struct findings race_findings;

static unsigned wait_result(struct line *l, const char *id) {
    do {
        if (!line_about(l, atomic_load(&server.port), "GET", id, "/status")) return 0;
    } while (l->status == 202);
    return line_about(l, atomic_load(&server.port), "GET", id, "") ? l->status : 0;
}

static void race(struct line *l, unsigned n, uint64_t *seed) {
    struct race *r = &races[n];
    if (!post_prompt(l, n, "ok", "", r->id)) {
        found(&race_findings, FOUND_ANSWER, "submit: %u", l->status);
        return;
    }
    uint64_t until = now_ms() + draw(seed, 10);
    while (now_ms() < until) sleep_ms(1);
    line_about(l, atomic_load(&server.port), "PUT", r->id, "/cancel");
    r->cancel = l->status;
    r->result = wait_result(l, r->id);
    r->body = hash_of(l->body.p, l->body.len);
    if (!(r->cancel == 202 && r->result == 499) && !(r->cancel == 400 && r->result == 200))
        found(&race_findings, FOUND_RESULT, "%s: cancel %u, result %u", r->id, r->cancel,
              r->result);
}

static void *race_some(void *first) {
    struct line l = LINE_CLOSED;
    uint64_t seed = *(unsigned *)first;
    for (unsigned n = *(unsigned *)first; n < RACES; n += RACERS) race(&l, n, &seed);
    line_close(&l);
    return NULL;
}

static void expect_races_as_before(void) {
    struct line l = LINE_CLOSED;
    for (unsigned n = 0; n < RACES; n++) {
        assert_int_equal(status_of(&l, races[n].id), races[n].result);
        assert_int_equal(hash_of(l.body.p, l.body.len), races[n].body);
    }
    line_close(&l);
}

static void Q4_a_cancel_and_a_completion_have_one_winner(void **state) {
    char *config = config_of("ok=/delay/3/tokens/3,64",
                             "max_status_polls_per_second_per_key: 1000000\n");
    pthread_t racers[RACERS];
    unsigned first[RACERS], cancelled = 0;
    findings_init(&race_findings);
    begin(config, NULL);
    for (unsigned i = 0; i < RACERS; i++) {
        first[i] = i;
        assert_int_equal(pthread_create(&racers[i], NULL, race_some, &first[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) pthread_join(racers[i], NULL);
    findings_expect_none(&race_findings);
    for (unsigned n = 0; n < RACES; n++) cancelled += races[n].result == 499;
    print_message("# Q4: of %u, %u were cancelled and %u completed\n", RACES, cancelled,
                  RACES - cancelled);
    assert_true(cancelled > RACES / 20 && cancelled < RACES - RACES / 20);
    killed_kill(&server);
    killed_start(&server);
    expect_races_as_before();
    end(config);
}

/* --- Q10 */

static sqlite3 *lock_from_outside(void) {
    char path[MAX_PATH + 16];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/anyllm.db", server.data);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void Q10_a_database_locked_by_an_outsider_refuses_submits(void **state) {
    char *config = config_of("slow=/delay/1000/tokens/3,8 silent=/silent,8", "");
    char running[ID_BYTES], silent[ID_BYTES], refused[ID_BYTES];
    struct line l = LINE_CLOSED;
    begin(config, NULL);
    submit(&l, 0, "slow", running);
    submit(&l, 1, "silent", silent);
    wait_open(2);
    uint64_t from = now_ms();
    sqlite3 *outsider = lock_from_outside();
    assert_false(post_prompt(&l, 2, "slow", "", refused));
    print_message("# Q10: refused after %u ms\n", (unsigned)(now_ms() - from));
    assert_int_equal(l.status, 503);
    assert_non_null(strcasestr(l.in.p, "\r\nretry-after: "));
    assert_true(now_ms() - from < 10000); /* 5 s, and a busy machine */
    for (from = now_ms(); now_ms() < from + long_or(25000, 1000); sleep_ms(50)) {
        assert_true(line_about(&l, atomic_load(&server.port), "GET", silent, "/status"));
        assert_int_equal(l.status, 202);
    }
    assert_int_equal(sqlite3_exec(outsider, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(outsider);
    for (from = now_ms(); !post_prompt(&l, 3, "slow", "", refused); sleep_ms(20))
        assert_true(now_ms() < from + PATIENCE_MS);
    assert_true(line_about(&l, atomic_load(&server.port), "PUT", silent, "/cancel"));
    wait_idle();
    assert_int_equal(status_of(&l, running), 200);
    assert_int_equal(status_of(&l, refused), 200);
    line_close(&l);
    end(config);
}

/* --- Q14 */

/* Its end counts as a restart from the moment it is gone. */
static void wait_gone(struct killed *k) {
    int code = process_end(k->server.pid, PATIENCE_MS);
    if (code == INT32_MIN) fail_msg("told to end, it does not");
    if (code != 0) fail_msg("it ended with %d:\n%s", code, file_text(k->server.err, NULL));
    k->kill_ms[k->kills++] = wall_ms();
    scratch_remove(k->server.dir);
    k->server.pid = 0;
}

static void told_to_end(struct killed *k, unsigned signals) {
    atomic_store(&k->port, 0);
    for (unsigned i = 0; i < signals; i++) {
        if (i > 0) sleep_ms(20);
        kill(k->server.pid, SIGTERM);
    }
    wait_gone(k);
    killed_start(k);
}

static void stopped_for(struct killed *k, unsigned ms) {
    kill(k->server.pid, SIGSTOP);
    sleep_ms(ms);
    kill(k->server.pid, SIGCONT);
}

static void hung_up(struct killed *k) {
    for (unsigned i = 0; i < 20; i++) {
        kill(k->server.pid, SIGHUP);
        sleep_ms(10);
    }
}

static void every_signal(struct killed *k) {
    for (unsigned round = 0; round < long_or(20, 2); round++) {
        sleep_ms(300);
        told_to_end(k, 1);
        sleep_ms(300);
        hung_up(k);
        told_to_end(k, 2);
        sleep_ms(200);
        stopped_for(k, round == 0 ? long_or(120000, 1500) : 1500);
        sleep_ms(100);
        killed_kill(k);
        killed_start(k);
    }
    sleep_ms(300);
}

static void Q14_signals_under_load_lose_nothing(void **state) {
    char *config = load_config(&mock);
    struct findings f;
    struct load *l = calloc(1, sizeof *l);
    findings_init(&f);
    begin(config, NULL);
    *l = (struct load){.server = &server,
                       .findings = &f,
                       .weight = {[PLAIN] = 5, [SLOW] = 2, [NO_RETRY] = 2, [CANCELLED] = 1},
                       .pause_ms = 12,
                       .most = 20000,
                       .seed = seed_of("signals")};
    load_start(l);
    every_signal(&server);
    load_stop(l);
    books_end(l, NULL, &f);
    findings_expect_none(&f);
    load_free(l);
    killed_free(&server);
    free(config);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T3_what_ran_is_taken_up_again_at_once),
        cmocka_unit_test(T4_an_upstream_still_past_the_lease_is_waited_for),
        cmocka_unit_test(T4_a_server_still_past_its_lease_goes_on),
        cmocka_unit_test(T4_a_cancel_reaches_an_upstream_that_stands_still),
        cmocka_unit_test(T12_Q20_poison_ends_and_the_others_finish),
        cmocka_unit_test(Q4_a_cancel_and_a_completion_have_one_winner),
        cmocka_unit_test(Q10_a_database_locked_by_an_outsider_refuses_submits),
        cmocka_unit_test(Q14_signals_under_load_lose_nothing),
    };
    return kill_main(argc, argv, "kill_ends", tests, sizeof tests / sizeof *tests);
}
