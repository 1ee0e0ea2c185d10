/* From each older schema to this version's: nothing is lost, and killed in it the file is old or new. */
#include "store/fault_vfs.h"
#include "store/old_schemas.h"
#include "store/store_fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEWEST 4
static const unsigned columns[] = {0, 18, 28, 30, 32}; /* of request, by version */

static void run_sql(sqlite3 *db, const char *text) {
    char *why = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
}

static sqlite3 *open_file(struct fixture *f) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void write_rows(sqlite3 *db, int64_t version) {
    for (int64_t v = 0; v < version; v++)
        for (unsigned part = 0; part < 2; part++) run_sql(db, old_schemas[v][part]);
}

static void write_closed(struct fixture *f, int64_t version) {
    sqlite3 *db = open_file(f);
    run_sql(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
                "PRAGMA wal_autocheckpoint = 0; BEGIN");
    write_rows(db, version);
    run_sql(db, "COMMIT");
    sqlite3_close(db);
}

/* In a process that dies before it closes: all of it is in the write-ahead log. */
static void write_unclosed(struct fixture *f, int64_t version) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sqlite3 *db = open_file(f);
        run_sql(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
                    "PRAGMA wal_autocheckpoint = 0");
        write_rows(db, version);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int64_t number(struct fixture *f, const char *query) {
    sqlite3 *db = open_file(f);
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* --- what must be there, at each version */

/* A file that stands at `version` and was first written by `origin`. */
static void is_whole(struct fixture *f, int64_t origin, int64_t version) {
    assert_int_equal(number(f, "SELECT count(*) FROM pragma_integrity_check"
                               " WHERE integrity_check = 'ok'"),
                     1);
    assert_int_equal(number(f, "SELECT count(*) FROM pragma_table_info('request')"),
                     columns[version]);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'request_forget'"),
                     version > 1);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'usage'"),
                     version < 3);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'node'"),
                     version > 3);
    assert_int_equal(number(f, "SELECT count(*) FROM request"), 4 + origin);
    assert_int_equal(number(f, "SELECT sum(length(input)) FROM payload"),
                     origin == 3 ? 300028 : 300026);
    assert_int_equal(
        number(f, version < 3 ? "SELECT count(*) FROM usage" : "SELECT count(*) FROM ledger"),
        origin == 1 ? 2 : 4);
    assert_int_equal(number(f, "SELECT count(*) FROM webhook_outbox"), origin == 1 ? 1 : 3);
}

static void wishes_nothing(const struct store_wishes *w) {
    assert_true(w->start_timeout_ms == 0 && !w->no_store && !w->no_fallback);
    assert_true(w->retries_server_error == -1 && w->retries_timeout == -1 &&
                w->retries_connection_error == -1);
    assert_int_equal(w->owner_concurrency, 0);
}

static void answers_as_before(struct fixture *f, int64_t origin) {
    assert_int_equal(status_of(f, ask_pending(f)), STORE_OK);
    assert_int_equal(f->npending, origin == 3 ? 4 : 3);
    const struct store_pending *p = f->pending;
    for (size_t n = 0; n < f->npending; n++) assert_true(!p[n].held && p[n].model.len == 0);
    assert_string_equal(p[0].boot, "boot-0");
    assert_true(p[0].seq == 4 && p[0].attempt == 3 && p[0].crashes == 2 && p[0].no_retry &&
                !p[0].released);
    assert_true(p[1].seq == 5 && p[1].cancel_requested && p[1].released);
    assert_true(p[2].seq == 7 && p[2].priority == 1 && p[2].has_webhook);
    for (unsigned n = 0; n < 3; n++) wishes_nothing(&p[n].wishes);
    assert_int_equal(status_of(f, ask_row(f, id_of(1), STORE_INPUT | STORE_RESULT | STORE_LOGS)),
                     STORE_OK);
    assert_true(slice_is(f->row.input, "{\"prompt\":\"one\"}"));
    assert_true(slice_is(f->row.body, "{\"output\":\"hi\"}"));
    assert_true(slice_is(f->row.headers, "x-anyllm-model: m\r\n"));
    assert_int_equal(f->nlogs, 1);
    assert_int_equal(f->row.forget_ms, 0);
    wishes_nothing(&f->row.wishes);
    assert_int_equal(f->row.hint.len + f->row.tags.len, 0);
    assert_int_equal(status_of(f, ask_row(f, id_of(2), 0)), STORE_OK);
    assert_true(slice_is(f->row.error_type, "client_cancelled"));
}

static const struct store_charge *old_charge(struct fixture *f, const char *id, uint32_t attempt) {
    struct store_ledger_query q = {.id = slice_of(id)};
    assert_int_equal(status_of(f, ask_ledger(f, &q)), STORE_OK);
    for (size_t i = 0; i < f->ncharges; i++) {
        const struct store_charge *c = &f->charges[i];
        assert_int_equal(c->kind, STORE_CALL_QUEUE);
        assert_false(c->usage.has_charge || c->usage.partial);
        if (c->attempt == attempt) return c;
    }
    fail_msg("no attempt %u of %s", attempt, id);
    return NULL;
}

/* What was spent before: the charge is not known, an unknown cost stays unknown. */
static void the_ledger_tells_what_usage_told(struct fixture *f, int64_t origin) {
    const struct store_charge *c = old_charge(f, "i", 1);
    assert_true(!c->usage.has_cost && c->started_ms == 2000 && c->at_ms == 2500);
    assert_int_equal(c->http_status, 0);
    c = old_charge(f, "i", 2);
    assert_true(c->usage.has_cost && c->usage.cost_microusd == 12);
    assert_true(c->started_ms == 2500 && c->at_ms == 3000 && c->http_status == 200);
    assert_true(slice_is(c->owner, "app1") && slice_is(c->endpoint, "e") && c->key_id.len == 0);
    assert_true(slice_is(c->usage.upstream, "up") && slice_is(c->usage.raw, "{}"));
    if (origin == 1) return;
    c = old_charge(f, id_of(3), 1);
    assert_true(c->usage.has_cost && c->usage.cost_microusd == 0 && c->http_status == 500);
    c = old_charge(f, id_of(6), 1);
    assert_true(c->usage.cost_microusd == 7 && c->http_status == 0 && c->started_ms == 2900);
    struct store_ledger_query by_hour = {.bucket_ms = 3600000};
    assert_int_equal(status_of(f, ask_sums(f, &by_hour)), STORE_OK);
    assert_int_equal(f->nsums, 2);
    assert_true(slice_is(f->sums[1].owner, "app3") && f->sums[1].cost_microusd == 7);
    assert_true(f->sums[0].calls == 1 && f->sums[1].calls == 1 && f->sums[1].errors == 1);
    assert_true(f->sums[0].costs_unknown == 1 && f->sums[0].charges_unknown == 2);
}

/* What waited in the outbox is due at once; what there is nothing left of is dead. */
static void webhooks_wait(struct fixture *f, int64_t origin) {
    assert_int_equal(status_of(f, ask_waiting(f)), STORE_OK);
    assert_int_equal(f->nwebhooks, origin == 1 ? 1 : 2);
    const struct store_webhook *w = &f->webhooks[f->nwebhooks - 1];
    assert_string_equal(w->id, id_of(1));
    assert_true(slice_is(w->url, "http://h/") && slice_is(w->owner, "app1") &&
                slice_is(w->endpoint, "fal-ai/any-llm"));
    assert_true(w->due_ms == 3000 && w->created_ms == 3000 && w->attempt == 0 && w->ended_ms == 0);
    struct store_webhook_query dead = {.state = STORE_WEBHOOK_DEAD};
    assert_int_equal(status_of(f, ask_webhooks(f, &dead)), STORE_OK);
    assert_int_equal(f->nwebhooks, origin == 1 ? 0 : 1);
    if (origin == 1) return;
    assert_int_equal(f->webhooks[0].seq, 6);
    assert_true(f->webhooks[0].last_error.len > 0 && f->webhooks[0].ended_ms > 0);
    assert_int_equal(status_of(f, ask_webhook(f, id_of(3))), STORE_OK);
    assert_true(f->has_row && f->row.forget_ms == 5);
}

/* What only version 3 could have, and what it ran: its boot does not live here. */
static void what_version_3_had_goes_on(struct fixture *f) {
    assert_int_equal(status_of(f, ask_file(f, "f")), STORE_OK);
    assert_int_equal(f->files[0].bytes, 5);
    assert_int_equal(status_of(f, ask_keys(f)), STORE_OK);
    assert_int_equal(f->nkeys, 1);
    assert_int_equal(status_of(f, give_claim(f, id_of(9), 1, "boot-1", 55)), STORE_OK);
    assert_true(slice_is(f->row.key_id, "key-4"));
    uint64_t t = give_beat(f, "boot-1");
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].npending, 1);
    assert_string_equal(f->pending[0].id, id_of(9));
    struct store_complete c = completion(id_of(9), 1, 23);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
}

static void sweeps(struct fixture *f, size_t n) {
    uint64_t t = give_sweep(f, 10, 10);
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].swept, n);
}

/* What was begun goes on: the lost one is claimed, its old token is worth nothing; what was to be forgotten is, once
 * its webhook has ended. */
static void goes_on(struct fixture *f, int64_t origin) {
    assert_int_equal(status_of(f, give_join(f, "boot-1")), STORE_OK);
    assert_int_equal(status_of(f, give_claim(f, id_of(4), 3, "boot-1", 99)), STORE_OK);
    assert_int_equal(f->row.attempt, 4);
    struct store_complete c = completion(id_of(4), 3, (uint64_t)-5);
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_STALE);
    c = completion(id_of(4), 4, 99);
    c.forget_ms = 10;
    assert_int_equal(status_of(f, give_complete(f, &c)), STORE_OK);
    uint64_t t = give_id(f, id_of(8));
    assert_int_equal(status_of(f, t), STORE_OK);
    assert_int_equal(f->answers[t].seq, origin == 3 ? 10 : 8);
    sweeps(f, 1);
    if (origin == 3) what_version_3_had_goes_on(f);
    if (origin == 1) return;
    struct store_webhook_note n = {.id = id_of(3), .state = STORE_WEBHOOK_GONE};
    assert_int_equal(status_of(f, give_note(f, &n)), STORE_OK);
    sweeps(f, 1);
}

/* --- the tests */

static void empty(struct fixture *f) {
    char path[128];
    fixture_close(f);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (unsigned n = 0; n < 3; n++) {
        snprintf(path, sizeof path, "%s/anyllm.db%s", f->dir, ends[n]);
        unlink(path);
    }
}

static void write_old(struct fixture *f, unsigned round) {
    empty(f);
    if (round % 2 == 0)
        write_closed(f, 1 + round / 2);
    else
        write_unclosed(f, 1 + round / 2);
}

#define ROUNDS (2 * OLD_VERSIONS) /* closed and not */

static void older_versions_are_brought_to_the_newest(void **state) {
    struct fixture *f = *state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int64_t origin = 1 + round / 2;
        write_old(f, round);
        fixture_open(f);
        answers_as_before(f, origin);
        the_ledger_tells_what_usage_told(f, origin);
        webhooks_wait(f, origin);
        is_whole(f, origin, NEWEST);
        goes_on(f, origin);
        fixture_close(f);
        assert_int_equal(number(f, "PRAGMA user_version"), NEWEST);
        fixture_open(f);
        assert_int_equal(status_of(f, ask_row(f, id_of(1), 0)), STORE_OK);
    }
}

/* The child is killed in the k-th change of a file; whether it came to its end is returned. */
static bool killed(struct fixture *f, uint64_t k) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (net_loop_init(&f->loop) != 0) _exit(5);
        fault_kill_at(k);
        fixture_open(f);
        fixture_close(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void killed_in_the_migration_it_is_old_or_new(void **state) {
    struct fixture *f = *state;
    unsigned kills = 0, old = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int64_t origin = 1 + round / 2;
        unsigned step = round == ROUNDS - 1
                            ? 1
                            : 7; /* all of one, samples of the others: each takes 30 ms */
        bool more = true;
        for (uint64_t k = 1; more; k += step) {
            write_old(f, round);
            more = killed(f, k);
            kills += more;
            int64_t version = number(f, "PRAGMA user_version");
            assert_true(version == origin || version == NEWEST);
            old += version == origin;
            is_whole(f, origin, version);
            fixture_open(f);
            answers_as_before(f, origin);
            webhooks_wait(f, origin);
        }
    }
    print_message("%u kills, %u left the old version\n", kills, old);
    assert_true(kills >= 100 && old > 0 && old < kills);
}

static int teardown(void **state) {
    fault_clear();
    return fixture_teardown(state);
}

#define T(name) {#name, name, fixture_setup, teardown, (void *)(uintptr_t)&sqlite}

int main(void) {
    static const struct suite_backend sqlite = {"sqlite migrate", "sqlite:anyllm.db", NULL};
    struct CMUnitTest tests[] = {
        T(older_versions_are_brought_to_the_newest),
        T(killed_in_the_migration_it_is_old_or_new),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
