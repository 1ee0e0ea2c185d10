/* docs/bad-input.md, W20: servers that end while they deliver. */
#include "webhook_calls.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 5U
#define PER_ROUND 40U

static void start_on(struct server *s, const char *data) {
    const struct server_options o = {
        .config = hooks.config.p, .data = data, .args = {"--log-level", "warn"}};
    server_start(s, &o);
}

static void kill_server(struct server *s) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    scratch_remove(s->dir);
    s->pid = 0;
}

/* One third of the deliveries meet a receiver that is well, the others one that is ill at first. */
static const char *const paths[] = {"/wait/3/kill", "/first/20/status/500/kill",
                                    "/first/15/reset/kill"};
#define NPATHS (sizeof paths / sizeof *paths)

static void submit_round(const struct server *s, char *ids[PER_ROUND]) {
    for (unsigned i = 0; i < PER_ROUND; i++) {
        struct answer a = hook_try(s->port, hook_url(paths[i % NPATHS]), "", "ok");
        expect_status("submit", &a, 200);
        ids[i] = submitted_id(&a);
        answer_free(&a);
    }
}

static unsigned tries_of(const char *id) {
    char value[64];
    unsigned n = 0;
    pthread_mutex_lock(&hooks.receiver.lock);
    for (struct delivered *d = hooks.receiver.first; d != NULL; d = d->next)
        n += delivered_header(d, "webhook-id", value, sizeof value) && strcmp(value, id) == 0;
    pthread_mutex_unlock(&hooks.receiver.lock);
    return n;
}

static void wait_until_idle(const struct server *s) {
    static const char *const names[] = {"anyllm_queue_waiting", "anyllm_queue_running",
                                        "anyllm_webhooks_waiting", "anyllm_webhooks_running"};
    uint64_t end = now_ms() + PATIENCE_MS;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        while (metric(s->port, names[i]) > 0) {
            assert_true(now_ms() < end);
            sleep_ms(20);
        }
}

static void expect_none(const struct server *s, const char *state) {
    char path[64];
    snprintf(path, sizeof path, "/admin/webhooks?state=%s", state);
    struct answer a = get(s->port, path);
    expect_says(path, &a, "\"webhooks\":[]");
    answer_free(&a);
}

/* Each delivery comes; more often than its receiver wants only where the kill was between the answer and our commit. */
static void W20_no_delivery_is_lost_to_kills(void **state) {
    char data[MAX_PATH], *ids[ROUNDS * PER_ROUND];
    unsigned twice = 0;
    struct server s;
    scratch_make(data);
    for (unsigned round = 0; round < ROUNDS; round++) {
        start_on(&s, data);
        submit_round(&s, &ids[round * PER_ROUND]);
        sleep_ms(3 + round * 7);
        kill_server(&s);
    }
    start_on(&s, data);
    wait_until_idle(&s);
    expect_none(&s, "waiting");
    expect_none(&s, "dead");
    for (unsigned i = 0; i < ROUNDS * PER_ROUND; i++) {
        unsigned tries = tries_of(ids[i]);
        if (tries == 0) fail_msg("delivery %u is lost", i);
        if (i % PER_ROUND % NPATHS == 0) twice += tries - 1;
        free(ids[i]);
    }
    print_message("# %u deliveries, %u kills, %u came once more to the one that is well\n",
                  ROUNDS * PER_ROUND, ROUNDS, twice);
    assert_true(twice <= ROUNDS * PER_HOST);
    server_stop(&s);
    scratch_remove(data);
}

/* What is on its way at SIGTERM is let end and written down: it does not come twice. */
static void what_runs_at_the_end_is_let_end(void **state) {
    char data[MAX_PATH];
    struct server s;
    scratch_make(data);
    start_on(&s, data);
    struct answer a = hook_try(s.port, hook_url("/wait/300/term"), "", "ok");
    char *id = submitted_id(&a);
    answer_free(&a);
    receiver_wait(&hooks.receiver, "/wait/300/term", 0);
    server_stop(&s);
    start_on(&s, data);
    assert_int_equal(metric(s.port, "anyllm_webhooks_waiting"), 0);
    assert_int_equal(metric(s.port, "anyllm_webhooks_running"), 0);
    server_stop(&s);
    assert_int_equal(receiver_count(&hooks.receiver, "/wait/300/term"), 1);
    scratch_remove(data);
    free(id);
}

/* The end of the server waits for no receiver; the next start delivers. */
static void what_hangs_at_the_end_is_delivered_after_the_next_start(void **state) {
    char data[MAX_PATH];
    struct server s;
    scratch_make(data);
    start_on(&s, data);
    struct answer a = hook_try(s.port, hook_url("/first/1/hang/end"), "", "ok");
    char *id = submitted_id(&a);
    answer_free(&a);
    receiver_wait(&hooks.receiver, "/first/1/hang/end", 0);
    server_stop(&s);
    start_on(&s, data);
    hook_read_keys(s.port);
    hook_expect(receiver_wait(&hooks.receiver, "/first/1/hang/end", 1), id);
    server_stop(&s);
    scratch_remove(data);
    free(id);
}

static void forget_request(const char *data) {
    char path[2 * MAX_PATH];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/anyllm.db", data);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM result; DELETE FROM request;", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
}

static void expect_replay(const struct server *s, const char *body, unsigned status,
                          const char *says) {
    struct answer a = post_json(s->port, "/admin/webhooks/replay", body);
    expect_status(body, &a, status);
    expect_says(body, &a, says);
    answer_free(&a);
}

/* As earlier versions left them: they removed requests without their webhooks, and let these be replayed. */
static void what_waits_without_its_request_is_dead(void **state) {
    char data[MAX_PATH], body[128];
    struct server s;
    scratch_make(data);
    start_on(&s, data);
    struct answer a = hook_try(s.port, hook_url("/hang/forgotten"), "", "ok");
    char *id = submitted_id(&a);
    answer_free(&a);
    receiver_wait(&hooks.receiver, "/hang/forgotten", 0);
    kill_server(&s);
    forget_request(data);
    start_on(&s, data);
    wait_until_idle(&s);
    expect_none(&s, "waiting");
    a = get(s.port, "/admin/webhooks?state=dead");
    expect_says("dead", &a, id);
    expect_says("dead", &a, "The result was forgotten before it could be delivered.");
    answer_free(&a);
    snprintf(body, sizeof body, "{\"id\":\"%s\"}", id);
    expect_replay(&s, body, 404, "or its request was forgotten");
    expect_replay(&s, "{\"all\":true}", 200, "{\"replayed\":0}");
    expect_none(&s, "waiting");
    server_stop(&s);
    scratch_remove(data);
    free(id);
}

/* --- starts that must fail */

static void a_range_that_is_none_ends_the_start(void **state) {
    char err[MAX_ERR];
    const struct server_options o = {.config = hooks.config.p,
                                     .args = {"--webhook-allow", "example.com"}};
    assert_int_equal(server_fails(&o, err), 78);
    assert_non_null(
        strstr(err, "webhook_allow wants addresses such as 10.1.2.0/24, not example.com"));
}

static void a_key_that_others_can_read_ends_the_start(void **state) {
    char data[MAX_PATH], path[2 * MAX_PATH], err[MAX_ERR];
    scratch_make(data);
    snprintf(path, sizeof path, "%s/keys", data);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/keys/secret", data);
    file_write(path, "01234567890123456789012345678901", 32);
    assert_int_equal(chmod(path, 0640), 0);
    const struct server_options o = {.config = hooks.config.p, .data = data};
    assert_int_equal(server_fails(&o, err), 73);
    assert_non_null(strstr(err, "/keys/secret: others than its owner may read or write it"));
    assert_int_equal(chmod(path, 0600), 0);
    struct server s;
    start_on(&s, data);
    server_stop(&s);
    scratch_remove(data);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(W20_no_delivery_is_lost_to_kills),
        cmocka_unit_test(what_runs_at_the_end_is_let_end),
        cmocka_unit_test(what_waits_without_its_request_is_dead),
        cmocka_unit_test(a_range_that_is_none_ends_the_start),
        cmocka_unit_test(a_key_that_others_can_read_ends_the_start),
        cmocka_unit_test(what_hangs_at_the_end_is_delivered_after_the_next_start),
    };
    return suite_main(argc, argv, "webhook_ends", tests, sizeof tests / sizeof *tests, hooks_start,
                      hooks_stop);
}
