/* How the contract's suite meets SQLite. */
#include "store/store_suite.h"

#include <sqlite3.h>
#include <stdio.h>

static int64_t count_rows(struct fixture *f, const char *table, const char *id) {
    static const char *const texts[][2] = {
        {"ledger", "SELECT count(*) FROM ledger JOIN request USING(id) WHERE request.id = ?"},
        {"outbox",
         "SELECT count(*) FROM webhook_outbox JOIN request USING(seq) WHERE request.id = ?"},
        {"result", "SELECT count(*) FROM result JOIN request USING(seq) WHERE request.id = ?"},
        {"all ledger",
         "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM ledger_direct)"},
        {"all outbox", "SELECT count(*) FROM webhook_outbox"},
        {"money", "SELECT count(cost_microusd) + count(charge_microusd) FROM ledger"},
        {"all marks", "SELECT count(*) FROM cancelled"},
        {"all large", "SELECT (SELECT count(*) FROM payload) + (SELECT count(*) FROM result)"
                      " + (SELECT count(*) FROM log)"},
    };
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st = NULL;
    snprintf(path, sizeof path, "%s/anyllm.db", f->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i][0], table) == 0)
            assert_int_equal(sqlite3_prepare_v2(db, texts[i][1], -1, &st, NULL), SQLITE_OK);
    assert_non_null(st);
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

const struct suite_backend store_suite_sqlite = {"sqlite", "sqlite:anyllm.db", count_rows};
