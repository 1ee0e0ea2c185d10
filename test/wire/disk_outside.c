/* T11: 64 clients, and programs that copy the database and read it from outside: nobody is answered 5xx. */
#include "kill_load.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct killed server;

#define CLIENTS_HERE 64U

static struct crowd {
    pthread_t clients[CLIENTS_HERE], copier, reader;
    atomic_bool over;
    atomic_uint submits, polls, cancels, backups, reads;
    struct findings f;
    unsigned slow[1U << 16]; /* milliseconds of polls */
    atomic_uint nslow;
} crowd;

static bool asked(struct line *l, bool ok, const char *what) {
    if (!ok || l->status >= 500)
        found(&crowd.f, FOUND_ANSWER, "%s: %u %s", what, l->status, ok ? l->body.p : "no answer");
    return ok && l->status < 500;
}

static void poll_status(struct line *l, const char *id) {
    uint64_t began = now_ms();
    asked(l, line_about(l, server.port, "GET", id, "/status"), "status");
    unsigned at = atomic_fetch_add(&crowd.nslow, 1);
    if (at < sizeof crowd.slow / sizeof *crowd.slow) crowd.slow[at] = (unsigned)(now_ms() - began);
    atomic_fetch_add(&crowd.polls, 1);
}

static void *client(void *arg) {
    struct line l = LINE_CLOSED;
    char id[ID_BYTES];
    const char *text = "POST " QUEUE " HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
                       "Content-Length: 35\r\n\r\n{\"prompt\":\"x\",\"model\":\"test/quick\"}";
    for (unsigned i = 0; !atomic_load(&crowd.over); i++) {
        if (!asked(&l, line_ask(&l, server.port, text, strlen(text)), "submit")) continue;
        if (!line_id(&l, id)) continue;
        atomic_fetch_add(&crowd.submits, 1);
        for (unsigned k = 0; k < 4; k++) poll_status(&l, id);
        if (i % 4 != 3) continue;
        asked(&l, line_about(&l, server.port, "PUT", id, "/cancel"), "cancel");
        atomic_fetch_add(&crowd.cancels, 1);
    }
    line_close(&l);
    return arg;
}

static sqlite3 *open_outside(void) {
    char path[MAX_PATH + 16];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/anyllm.db", server.data);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        found(&crowd.f, FOUND_DATABASE, "an outsider cannot open it: %s", sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    return db;
}

/* What `sqlite3 FILE .backup` does. */
static void *copy_again_and_again(void *arg) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s.copy", server.data);
    while (!atomic_load(&crowd.over)) {
        sqlite3 *from = open_outside(), *to = NULL;
        unlink(path);
        sqlite3_open(path, &to);
        sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
        int rc = SQLITE_OK;
        while (b != NULL && (rc = sqlite3_backup_step(b, 100)) == SQLITE_OK) {
        }
        if (b == NULL || sqlite3_backup_finish(b) != SQLITE_OK)
            found(&crowd.f, FOUND_DATABASE, "a copy failed: %s", sqlite3_errstr(rc));
        sqlite3_close(to);
        sqlite3_close(from);
        database_check(path, &crowd.f);
        atomic_fetch_add(&crowd.backups, 1);
    }
    unlink(path);
    return arg;
}

/* Long reads hold checkpoints back. That an outsider makes one itself is not tried: with the SQLite of Debian 12 two
 * connections that checkpoint can damage the file (its WAL-reset fault). */
static void *read_slowly(void *arg) {
    sqlite3 *db = open_outside();
    while (!atomic_load(&crowd.over)) {
        int rc = sqlite3_exec(db, "BEGIN; SELECT count(*) FROM request", NULL, NULL, NULL);
        sleep_ms(300);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, "SELECT count(*) FROM ledger; COMMIT", NULL, NULL, NULL);
        if (rc != SQLITE_OK) found(&crowd.f, FOUND_DATABASE, "a reader: %s", sqlite3_errmsg(db));
        atomic_fetch_add(&crowd.reads, 1);
    }
    sqlite3_close(db);
    return arg;
}

static void T11_readers_from_outside_cost_nobody_an_answer(void **state) {
    memset(&crowd, 0, sizeof crowd);
    findings_init(&crowd.f);
    char *config = load_config(&mock);
    killed_init(&server, config);
    killed_start(&server);
    killed_wait_ready(&server);
    for (unsigned i = 0; i < CLIENTS_HERE; i++)
        assert_int_equal(pthread_create(&crowd.clients[i], NULL, client, NULL), 0);
    assert_int_equal(pthread_create(&crowd.copier, NULL, copy_again_and_again, NULL), 0);
    assert_int_equal(pthread_create(&crowd.reader, NULL, read_slowly, NULL), 0);
    sleep_ms(1000 * long_or(60, 4));
    atomic_store(&crowd.over, true);
    for (unsigned i = 0; i < CLIENTS_HERE; i++) pthread_join(crowd.clients[i], NULL);
    pthread_join(crowd.copier, NULL);
    pthread_join(crowd.reader, NULL);
    assert_true(killed_idle(&server));
    killed_stop(&server);
    killed_check(&server, &crowd.f);
    unsigned n = atomic_load(&crowd.nslow), most = sizeof crowd.slow / sizeof *crowd.slow;
    findings_expect_none(&crowd.f);
    if (n > most) n = most;
    const char *all = spread(crowd.slow, n); /* sorts */
    print_message("# T11: 64 clients: %u submits, %u polls (%s, p99 %u ms), %u cancels; outside %u "
                  "backups, %u long reads: 0 answers 5xx\n",
                  crowd.submits, crowd.polls, all, crowd.slow[n - 1 - n / 100], crowd.cancels,
                  crowd.backups, crowd.reads);
    assert_true(crowd.backups > 0 && crowd.reads > 0 && crowd.submits > CLIENTS_HERE);
    killed_free(&server);
    free(config);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(T11_readers_from_outside_cost_nobody_an_answer)};
    return kill_main(argc, argv, "disk_outside", tests, 1);
}
